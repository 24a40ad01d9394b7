"""The review inside Slack: buttons and forms of its boards, `/nhi review`, and the signature.

Each listener parses, calls one use case in one short transaction, acknowledges, and then lets the board be redrawn with
the next card; what only decides comes from the inbox, acknowledged. What follows is harmless if it is lost: the board's
row says that it is due.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from slack_bolt import Ack, App
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import delivery, directory, messages, metrics, modals, review_boards, review_cards, review_places, whois
from bot.slack import UNWELL, After, Bot, Decide, Json, tell, trouble
from nhi import authority, facts, review_answers, review_facts, review_handover, signing
from nhi.database import reading
from nhi.errors import BadAnswer, NotAllowed, OutOfDate
from nhi.policy import Policy
from nhi.review_pieces import Reviewed, Reviewing
from nhi.reviews import Answer, Risk
from nhi.signing import Signer
from nhi.tables import (
    DeliveryRow,
    IdentityRow,
    PersonRow,
    ReviewBoardRow,
    ReviewCampaignRow,
)
from nhi.words import sentence

log = logging.getLogger(__name__)

UseCase = Callable[[Session, Reviewing, Policy, datetime], Reviewed]


def register(app: App, bot: Bot) -> None:
    """Listen for every button and form of the review."""
    clicks, forms = Clicks(bot=bot), Forms(bot=bot)
    for name in ("keep", "off", "reassign", "details", "later", "sign", "open"):
        app.action(f"nhi:review_{name}")(getattr(clicks, name))
    for name in ("list", "cards", "more", "back"):
        app.action(f"nhi:review_{name}")(clicks.turn)
    for name in ("keep", "off", "reassign", "sign"):
        app.view(f"nhi:review_{name}")(getattr(forms, name))


def deciding(bot: Bot) -> dict[str, Decide]:
    """Return the buttons of the review that only decide."""
    clicks = Clicks(bot=bot)
    return {"nhi:review_all": clicks.all, "nhi:review_reopen": clicks.reopen}


# -- buttons -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Buttons on boards."""

    bot: Bot

    def keep(self, ack: Ack, body: Json) -> None:
        """Keep one item; of high risk, a form asks why first."""
        self._decide_or_ask(ack, body, Answer.KEEP, _needs_reason, review_cards.keep_form, _keep)

    def all(self, session: Session, body: Json) -> After:
        """Keep all with the same facts, at one press."""
        return self._decide(session, body, Answer.KEEP, _keep)

    def off(self, ack: Ack, body: Json) -> None:
        """Turn the one credential off; where there are several, or none that can be, a form says so first."""
        self._decide_or_ask(ack, body, Answer.OFF, _needs_choice, review_cards.off_form, _off_the_only_one)

    def reopen(self, session: Session, body: Json) -> After:
        return self._decide(
            session, body, Answer.REOPEN, lambda session, who, policy, now: review_answers.reopen(session, who, now)
        )

    def reassign(self, ack: Ack, body: Json) -> None:
        with reading(self.bot.sessions) as session:
            reviewing = _begin(self.bot, session, body, Answer.REASSIGN)
            view = review_cards.reassign_form(_facts(reviewing), reviewing.offer.id)
        ack()
        self.bot.later(_open, self.bot, body, view)

    def details(self, ack: Ack, body: Json) -> None:
        """Show everything known, and write down that it was opened."""
        now, policy = self.bot.clock(), self.bot.policy()
        with self.bot.writing() as session:
            reviewing = _begin(self.bot, session, body, "details")
            review_answers.look_closer(session, reviewing, now)
            identity = session.get_one(IdentityRow, reviewing.item.identity_id)
            known = [
                each for each in facts.whois(session, identity.id, policy, now) if each["identity"]["id"] == identity.id
            ]
        ack()
        shown = known[0] | {"mode": policy.remediation.mode, "can": [], "drawn_at": facts.when(now)}
        self.bot.later(_open, self.bot, body, review_cards.details(whois.full(shown)))

    def later(self, ack: Ack, body: Json) -> None:
        now = self.bot.clock()
        with self.bot.writing() as session:
            reviewing = _begin(self.bot, session, body, "later")
            review_answers.later(session, reviewing, now)
            boards = _boards(session, reviewing.campaign.id, {reviewing.item.reviewer})
        ack()
        self.bot.later(redraw, self.bot, boards)

    def turn(self, ack: Ack, body: Json) -> None:
        """Show the list, the cards, or another page."""
        name = str(body["actions"][0]["action_id"]).removeprefix("nhi:review_")
        with self.bot.writing() as session:
            board = _board(session, _value(body), body["user"]["id"], self.bot.policy(), self.bot.clock())
            board.as_list = {"list": True, "cards": False}.get(name, board.as_list)
            board.page = max(0, board.page + {"more": 1, "back": -1}.get(name, -board.page))
            wanted = update(DeliveryRow).where(DeliveryRow.id == board.delivery_id)
            session.execute(wanted.values(wanted_version=DeliveryRow.wanted_version + 1))
            delivery_id = board.delivery_id
        ack()
        self.bot.later(redraw, self.bot, [delivery_id])

    def open(self, ack: Ack, body: Json) -> None:
        """Bring the board to the end of the direct messages, from the Home tab."""
        with self.bot.writing() as session:
            who = authority.person(session, body["user"]["id"])
            message, boards = review_places.bring(session, who, self.bot.clock())
        ack()
        self.bot.later(redraw, self.bot, boards)
        self.bot.later(tell, self.bot, body, message)

    def sign(self, ack: Ack, body: Json) -> None:
        with reading(self.bot.sessions) as session:
            campaign = session.get(ReviewCampaignRow, _value(body))
            if campaign is None or campaign.closed_at is None:
                raise OutOfDate(sentence("refusals.sign_what"))
            who = _signer(session, body["user"]["id"], self.bot.policy())
            view = review_cards.sign_form(review_boards.closing(session, campaign), who.name)
        ack()
        self.bot.later(_open, self.bot, body, view)

    def _decide(self, session: Session, body: Json, action: str, use_case: UseCase) -> After:
        now, policy = self.bot.clock(), self.bot.policy()
        reviewing = _begin(self.bot, session, body, action)
        reviewed = use_case(session, reviewing, policy, now)
        boards = _boards(session, reviewing.campaign.id, {item.reviewer for item in reviewing.items})
        return partial(_follow_up, self.bot, reviewed, boards)

    def _decide_or_ask(
        self,
        ack: Ack,
        body: Json,
        action: str,
        asks: Callable[[Reviewing], bool],
        form: Callable[[Json, str], Json],
        use_case: UseCase,
    ) -> None:
        """Decide at once, or open the form where a press alone does not say enough."""
        with reading(self.bot.sessions) as session:
            reviewing = _begin(self.bot, session, body, action)
            view = form(_facts(reviewing), reviewing.offer.id) if asks(reviewing) else None
        if view is None:
            with self.bot.writing() as session:
                then = self._decide(session, body, action, use_case)
            ack()
            then()
            return
        ack()
        self.bot.later(_open, self.bot, body, view)


def _needs_reason(reviewing: Reviewing) -> bool:
    return reviewing.item.risk is Risk.HIGH


def _needs_choice(reviewing: Reviewing) -> bool:
    return len(_facts(reviewing)["can_disable"]) != 1


def _keep(session: Session, reviewing: Reviewing, policy: Policy, now: datetime) -> Reviewed:
    return review_answers.keep(session, reviewing, now)


def _off_the_only_one(session: Session, reviewing: Reviewing, policy: Policy, now: datetime) -> Reviewed:
    return review_answers.turn_off(session, reviewing, _facts(reviewing)["can_disable"], policy, now)


# -- forms -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Forms:
    """Submitted forms. Who submits is checked again: minutes may have passed since the click."""

    bot: Bot

    def keep(self, ack: Ack, body: Json, view: Json) -> None:
        def decide(session: Session, reviewing: Reviewing, policy: Policy, now: datetime) -> Reviewed:
            return review_answers.keep(session, reviewing, now, words=review_cards.read_text(view, "reason"))

        self._submit(ack, body, view, Answer.KEEP, decide)

    def off(self, ack: Ack, body: Json, view: Json) -> None:
        def decide(session: Session, reviewing: Reviewing, policy: Policy, now: datetime) -> Reviewed:
            return review_answers.turn_off(session, reviewing, review_cards.read_credentials(view), policy, now)

        self._submit(ack, body, view, Answer.OFF, decide)

    def reassign(self, ack: Ack, body: Json, view: Json) -> None:
        """Hand it over. Somebody we never met is looked up in Slack first, after the ack, and told so."""
        to = review_cards.read_person(view)
        with reading(self.bot.sessions) as session:
            stranger = to is not None and session.get(PersonRow, to) is None
        if stranger and to is not None:
            self.bot.later(_get_to_know, self.bot, to)

        def decide(session: Session, reviewing: Reviewing, policy: Policy, now: datetime) -> Reviewed:
            note = review_cards.read_text(view, "note")
            return review_handover.reassign(session, reviewing, to=to, note=note, policy=policy, now=now)

        self._submit(ack, body, view, Answer.REASSIGN, decide)

    def sign(self, ack: Ack, body: Json, view: Json) -> None:
        policy, now = self.bot.policy(), self.bot.clock()
        try:
            with self.bot.writing() as session:
                campaign = session.get(ReviewCampaignRow, review_cards.read_private(view))
                if campaign is None:
                    raise OutOfDate(sentence("refusals.sign_what"))
                name, role, words = (review_cards.read_text(view, field) for field in ("name", "role", "words"))
                who = _signer(session, body["user"]["id"], policy)
                signer = Signer(name=name, role=role, words=words, by="Slack", person=who)
                signing.sign(session, campaign.quarter, signer, policy, now)
                boards = redraw_closed(session, campaign.id)
        except BadAnswer as error:
            ack(response_action="errors", errors=_errors(error, view))
            return
        ack()
        self.bot.later(redraw, self.bot, boards)

    def _submit(self, ack: Ack, body: Json, view: Json, action: str, decide: UseCase) -> None:
        now, policy = self.bot.clock(), self.bot.policy()
        try:
            with self.bot.writing() as session:
                offer_id = review_cards.read_private(view)
                reviewing = review_answers.begin(
                    session, offer_id, action, slack_id=body["user"]["id"], policy=policy, now=now
                )
                before = {item.reviewer for item in reviewing.items}
                reviewed = decide(session, reviewing, policy, now)
                session.expire_all()
                boards = _boards(session, reviewed.campaign_id, before | {item.reviewer for item in reviewing.items})
        except BadAnswer as error:
            if not any(block.get("type") == "input" for block in view["blocks"]):
                raise
            ack(response_action="errors", errors=_errors(error, view))
            return
        ack()
        _follow_up(self.bot, reviewed, boards)


def _errors(error: BadAnswer, view: Json) -> Json:
    """Return the sentence beside its field; a note is checked as a reason is."""
    metrics.REFUSALS.labels(reason="BadAnswer").inc()
    blocks = {block.get("block_id") for block in view["blocks"]}
    field = "note" if error.field == "reason" and "note" in blocks else error.field
    return modals.errors(BadAnswer(str(error), field=field), view)


def _get_to_know(bot: Bot, slack_id: str) -> None:
    directory.refresh(bot.sessions, bot.client, [slack_id], bot.clock())


# -- what they share ---------------------------------------------------------------------------------------------------


def _value(body: Json) -> str:
    value = str(body["actions"][0].get("value"))
    return value if value.isalnum() and len(value) <= 32 else ""


def _begin(bot: Bot, session: Session, body: Json, action: str) -> Reviewing:
    slack_id = body["user"]["id"]
    return review_answers.begin(session, _value(body), action, slack_id=slack_id, policy=bot.policy(), now=bot.clock())


def _facts(reviewing: Reviewing) -> Json:
    shown: Json = reviewing.offer.shown["items"][reviewing.item.id]
    return shown


def _board(session: Session, delivery_id: str, slack_id: str, policy: Policy, now: datetime) -> ReviewBoardRow:
    """Return the board whose page is turned, by its reader, their delegate or an admin."""
    board = session.get(ReviewBoardRow, delivery_id) if delivery_id else None
    if board is None:
        raise OutOfDate(sentence("refusals.review_out_of_date"))
    who = authority.person(session, slack_id)
    theirs = board.email == who.email or board.email in authority.delegating_to(session, who.email, now)
    if not theirs and not authority.is_admin(who, policy):
        raise NotAllowed(sentence("refusals.review_not_yours_to_turn"))
    return board


def _boards(session: Session, campaign_id: str, emails: set[str]) -> list[str]:
    mine = select(ReviewBoardRow.delivery_id).where(
        ReviewBoardRow.campaign_id == campaign_id, ReviewBoardRow.email.in_(emails)
    )
    return list(session.scalars(mine.order_by(ReviewBoardRow.created_at.desc())))


def redraw(bot: Bot, delivery_ids: list[str]) -> None:
    """Post or redraw these messages now; whatever is lost here, the worker does."""
    delivery.drain(bot.sessions, bot.client, bot.policy(), bot.clock, only_deliveries=delivery_ids)


def redraw_closed(session: Session, campaign_id: str) -> list[str]:
    """Mark every copy of a campaign's closing message as due for a redraw; return their ids."""
    rows = session.scalars(select(DeliveryRow).where(DeliveryRow.kind == "review_closed"))
    ids = [row.id for row in rows if row.words.get("campaign") == campaign_id]
    wanted = update(DeliveryRow).where(DeliveryRow.id.in_(ids))
    session.execute(wanted.values(wanted_version=DeliveryRow.wanted_version + 1))
    return ids


def _follow_up(bot: Bot, reviewed: Reviewed, boards: list[str]) -> None:
    metrics.CLICKS.labels(verdict=f"review_{reviewed.answer.value}").inc(reviewed.items)
    bot.later(redraw, bot, boards)
    for remediation_id in reviewed.remediation_ids:
        bot.later(bot.defer, "remediate", remediation_id)


def _open(bot: Bot, body: Json, view: Json) -> None:
    try:
        bot.client.views_open(trigger_id=body["trigger_id"], view=view)
    except UNWELL as error:
        log.warning("a form could not be opened: %s", trouble(error).code)
        if body.get("response_url"):
            tell(bot, body, messages.sorry(sentence("commands.form_late")))


def _signer(session: Session, slack_id: str, policy: Policy) -> PersonRow:
    who = authority.person(session, slack_id)
    if who.slack_id not in {row.slack_id for row in review_facts.signers(session, policy)}:
        raise NotAllowed(sentence("refusals.sign_not_you"))
    return who
