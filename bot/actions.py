"""Clicks and forms: parse, one use case in one short local transaction, then ack, then redraw.

A click that decides comes from the inbox, which acknowledged it (bot/inbox.py). No call over the network comes before
an ack, so a click that was not recorded shows the person an error, which is then true. What follows is harmless if it
is lost: rows say what is due. An error that is raised here on purpose becomes a sentence for the person in
bot/refusals.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from slack_bolt import Ack, App
from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot import codes, events, messages, metrics, modals, suggest
from bot.slack import After, Bot, Decide, Json, one_sentence, tell
from nhi import alarms, answers, authority, decisions, facts, ledger, risk
from nhi.answers import Answered, Answering
from nhi.database import reading
from nhi.errors import AlreadyAnswered, BadAnswer, NotAllowed
from nhi.escalation import Verdict
from nhi.identity import CredentialStatus
from nhi.policy import Policy
from nhi.shadow import LIVE_SWITCH
from nhi.tables import DeliveryRow, IdentityRow, SwitchRow
from nhi.words import sentence

log = logging.getLogger(__name__)

UseCase = Callable[[Session, Answering, datetime], Answered]
Submit = Callable[[Session, datetime, Policy], tuple[Answered, bool]]


def register(app: App, bot: Bot) -> None:
    """Listen for every button and form of ours."""
    clicks, forms = Clicks(bot=bot), Forms(bot=bot)
    app.action("nhi:justify")(clicks.justify)
    app.action("nhi:rotate")(clicks.rotate)
    app.action("nhi:disable")(clicks.disable)
    app.action("nhi:was_us")(clicks.was_us)
    app.action("nhi:not_us")(clicks.not_us)
    app.action("nhi:go")(clicks.go)
    suggest.register(app, bot)
    app.view("nhi:justify")(forms.justify)
    app.view("nhi:rotate")(forms.rotate)
    app.view("nhi:disable")(forms.disable)
    app.view("nhi:was_us")(forms.was_us)
    app.view("nhi:not_us")(forms.not_us)


def deciding(bot: Bot) -> dict[str, Decide]:
    """Return the buttons on cards that only decide."""
    clicks = Clicks(bot=bot)
    return {"nhi:claim": clicks.claim, "nhi:not_mine": clicks.not_mine, "nhi:undo": clicks.undo}


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Buttons on cards."""

    bot: Bot

    def claim(self, session: Session, body: Json) -> After:
        return self._decide(session, body, Verdict.CLAIM, decisions.claim)

    def not_mine(self, session: Session, body: Json) -> After:
        """Record it, and only then ask whose it may be: closing that form loses nothing."""
        return self._decide(session, body, Verdict.NOT_MINE, decisions.not_mine)

    def undo(self, session: Session, body: Json) -> After:
        return self._decide(session, body, Verdict.UNDO, decisions.undo)

    def _decide(self, session: Session, body: Json, verdict: Verdict, use_case: UseCase) -> After:
        now, policy = self.bot.clock(), self.bot.policy()
        answering = _begin(session, body, verdict, policy, now)
        answered, on_card = use_case(session, answering, now), answering.offer.card_id is not None

        def then() -> None:
            _follow_up(self.bot, answered, None if on_card else body)
            if verdict is Verdict.NOT_MINE:
                self.bot.later(suggest.offer, self.bot, body, answered)

        return then

    def justify(self, ack: Ack, body: Json) -> None:
        now, policy = self.bot.clock(), self.bot.policy()
        shown, offer_id = self._checked(body, Verdict.JUSTIFY, policy, now)
        ack()
        self._open(body, modals.justify(shown, offer_id, policy=policy, now=now))

    def rotate(self, ack: Ack, body: Json) -> None:
        self._confirm(ack, body, Verdict.ROTATE, modals.rotate)

    def disable(self, ack: Ack, body: Json) -> None:
        self._confirm(ack, body, Verdict.DISABLE, modals.disable)

    def _confirm(self, ack: Ack, body: Json, verdict: Verdict, draw: Callable[[Json, str, modals.Takes], Json]) -> None:
        """Open the form that says what an act takes beside a click."""
        now, policy = self.bot.clock(), self.bot.policy()
        with reading(self.bot.sessions) as session:
            answering = _begin(session, body, verdict, policy, now)
            shown, offer_id = answering.offer.shown["facts"], answering.offer.id
            takes = _takes(answering, policy)
        if takes.code:
            ways = codes.ways(self.bot, body["user"]["id"], offer_id)
            takes = replace(takes, typed=ways.typed, link=ways.link)
        ack()
        self._open(body, draw(shown, offer_id, takes))

    def was_us(self, ack: Ack, body: Json) -> None:
        now, policy = self.bot.clock(), self.bot.policy()
        shown, offer_id = self._checked(body, Verdict.WAS_US, policy, now)
        ack()
        self._open(body, modals.was_us(shown, offer_id, policy=policy, now=now))

    def not_us(self, ack: Ack, body: Json) -> None:
        shown, offer_id = self._checked(body, Verdict.NOT_US, self.bot.policy(), self.bot.clock())
        ack()
        self._open(body, modals.not_us(shown, offer_id))

    def _checked(self, body: Json, verdict: Verdict, policy: Policy, now: datetime) -> tuple[Json, str]:
        """Return the facts that the pressed button stands for, and its offer's id. Writes nothing."""
        with reading(self.bot.sessions) as session:
            offer = _begin(session, body, verdict, policy, now).offer
            return offer.shown["facts"], offer.id

    def _open(self, body: Json, view: Json) -> None:
        self.bot.later(codes.open_form, self.bot, body, view)

    def go(self, ack: Ack, body: Json) -> None:
        """End shadow mode: from now on the people themselves are asked."""
        now = self.bot.clock()
        with self.bot.writing() as session:
            _go_live(session, body["user"]["id"], self.bot.policy(), now)
        ack()
        self.bot.later(_told_of_go, self.bot, body, messages.note(sentence("commands.go")))


@dataclass(frozen=True, kw_only=True)
class Forms:
    """Submitted modals. Who submits is checked again: minutes may have passed since the click."""

    bot: Bot

    def justify(self, ack: Ack, body: Json, view: Json) -> None:
        def decide(session: Session, now: datetime, policy: Policy) -> tuple[Answered, bool]:
            offer_id, words, until, also_claim = modals.read_justify(view)
            who = _answering(session, offer_id, Verdict.JUSTIFY, body, policy, now)
            answered = decisions.justify(
                session, who, words=words, until=until, also_claim=also_claim, policy=policy, now=now
            )
            return answered, who.offer.card_id is not None

        self._submit(ack, body, decide)

    def rotate(self, ack: Ack, body: Json, view: Json) -> None:
        self._submit_credential(ack, body, view, Verdict.ROTATE)

    def disable(self, ack: Ack, body: Json, view: Json) -> None:
        self._submit_credential(ack, body, view, Verdict.DISABLE)

    def was_us(self, ack: Ack, body: Json, view: Json) -> None:
        def decide(session: Session, now: datetime, policy: Policy) -> tuple[Answered, bool]:
            offer_id, words, until, _ = modals.read_justify(view)
            who = _answering(session, offer_id, Verdict.WAS_US, body, policy, now)
            answered = alarms.was_us(session, who, words=words, until=until, policy=policy, now=now)
            return answered, who.offer.card_id is not None

        self._submit(ack, body, decide)

    def not_us(self, ack: Ack, body: Json, view: Json) -> None:
        def decide(session: Session, now: datetime, policy: Policy) -> tuple[Answered, bool]:
            offer_id, chosen = modals.read_not_us(view)
            who = _answering(session, offer_id, Verdict.NOT_US, body, policy, now)
            answered = alarms.not_us(session, who, policy=policy, now=now, chosen=chosen)
            return answered, who.offer.card_id is not None

        self._submit(ack, body, decide)
        self.bot.later(self.bot.defer, "alarms", "somebody said not us")

    def _submit_credential(self, ack: Ack, body: Json, view: Json, verdict: Verdict) -> None:
        way = modals.read_way(view)
        use_case: Callable[..., Answered] = decisions.rotate
        if verdict is Verdict.DISABLE:
            use_case = partial(decisions.disable, sessions_only=way == "sessions", scream_test=way == "test")

        def decide(session: Session, now: datetime, policy: Policy) -> tuple[Answered, bool]:
            offer_id, credential_id, also_claim = modals.read_credential(view)
            who = _answering(session, offer_id, verdict, body, policy, now)
            answered = use_case(
                session, who, credential_id=credential_id, also_claim=also_claim, policy=policy, now=now
            )
            return answered, who.offer.card_id is not None

        def prove() -> None:
            codes.prove(self.bot, modals.read_credential(view)[0], body["user"]["id"], view)

        self._submit(ack, body, decide, prove if codes.is_asked(view) else None)

    def _submit(self, ack: Ack, body: Json, decide: Submit, first: Callable[[], None] | None = None) -> None:
        """Decide in one transaction; `first` comes before it, in one of its own."""
        now, policy, view = self.bot.clock(), self.bot.policy(), body["view"]
        try:
            if first is not None:
                first()
            with self.bot.writing() as session:
                answered, on_card = decide(session, now, policy)
                thanks = None if on_card else _thanks(session, answered, policy)
        except BadAnswer as error:
            if error.field != "code" and not any(block.get("type") == "input" for block in view["blocks"]):
                raise  # there is no field to say it beside: the whole form says it
            metrics.REFUSALS.labels(reason="BadAnswer").inc()
            codes.refuse(ack, error, view)
            return
        if thanks is None:
            ack()
        else:
            ack(response_action="update", view=one_sentence(thanks))
            # A form does not tell where it was opened; the Home tab below it would go on asking.
            self.bot.later(events.publish_home, self.bot, body["user"]["id"])
        _follow_up(self.bot, answered, None)


def _takes(answering: Answering, policy: Policy) -> modals.Takes:
    """Return what the form has to say of how this is turned off."""
    live = [each for each in answering.identity.credentials if each.status is CredentialStatus.ACTIVE]
    needs = [decisions.needs(answering, policy, each.kind) for each in live] or [decisions.needs(answering, policy)]
    second = next((each.second for each in needs if each.second), None)
    acts, test = policy.remediation.mode == "reversible", policy.remediation.scream_test
    return modals.Takes(
        second=risk.in_words(second) if acts and second else None,
        code=any(each.step_up for each in needs),
        ladder=test.ladder if test.when != "never" else (),
        only_test=test.when == "always",
        sessions=answering.identity.provider == "aws" and any(each.kind == "role" for each in live),
    )


def _begin(session: Session, body: Json, verdict: Verdict, policy: Policy, now: datetime) -> Answering:
    value = str(body["actions"][0].get("value"))
    # Whatever is no id of ours stands for nothing; PostgreSQL would not even take some of it as a text.
    return _answering(session, value if value.isalnum() else "", verdict, body, policy, now)


def _answering(
    session: Session, offer_id: str, verdict: Verdict, body: Json, policy: Policy, now: datetime
) -> Answering:
    return answers.begin(session, offer_id, verdict, slack_id=body["user"]["id"], policy=policy, now=now)


def _thanks(session: Session, answered: Answered, policy: Policy) -> messages.Message:
    """Return what is said where no card is redrawn: the answer came from `whois`, `mine` or the Home tab."""
    identity = session.get_one(IdentityRow, answered.identity_id)
    said = [each for each in facts.answers(session, identity.id) if each["id"] == answered.attestation_id]
    about = {"identity": facts.identity_json(identity), "answers": said, "mode": policy.remediation.mode}
    return messages.answered(about)


def _follow_up(bot: Bot, answered: Answered, body: Json | None) -> None:
    """Redraw every copy of the card, hand an act to the worker, thank who is looking at no copy. All may be lost."""
    metrics.CLICKS.labels(verdict=answered.verdict.value).inc()
    if answered.ask_id is not None:
        bot.redraw(answered.ask_id)
    if answered.remediation_id is not None:
        bot.later(bot.defer, "remediate", answered.remediation_id)
    if body is not None:
        bot.later(_thank, bot, answered, body)


def _thank(bot: Bot, answered: Answered, body: Json) -> None:
    if (body.get("view") or {}).get("type") == "home":
        events.publish_home(bot, body["user"]["id"])
        return
    with reading(bot.sessions) as session:
        thanks = _thanks(session, answered, bot.policy())
    tell(bot, body, thanks)


def _go_live(session: Session, slack_id: str, policy: Policy, now: datetime) -> None:
    who = authority.person(session, slack_id)
    if not authority.is_admin(who, policy):
        raise NotAllowed(sentence("commands.go_refused"))
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    pressed = insert(SwitchRow).values(name=LIVE_SWITCH, on_at=now, by=who.email or who.slack_id)
    first = session.scalar(pressed.on_conflict_do_nothing().returning(SwitchRow.name))
    if first is None:
        before = session.get_one(SwitchRow, LIVE_SWITCH)
        raise AlreadyAnswered(sentence("commands.go_already", by=before.by, at=before.on_at))
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.kind == "golive")
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )
    ledger.record(
        session,
        "conversation.went_live",
        now=now,
        private={"email": who.email, "slack_id": who.slack_id, "name": who.name},
    )


def _told_of_go(bot: Bot, body: Json, message: messages.Message) -> None:
    bot.defer("ask", "went live")
    if (body.get("view") or {}).get("type") == "home":
        events.publish_home(bot, body["user"]["id"])
    else:
        tell(bot, body, message)
