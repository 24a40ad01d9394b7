"""Clicks on alike questions, and on how a message is read. One press, one attestation an identity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import messages, metrics, offers
from bot.render import say
from bot.slack import After, Bot, Decide, Json, tell
from nhi import answers, authority, decisions
from nhi.answers import Answered, Answering
from nhi.errors import AlreadyAnswered, NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.policy import Policy
from nhi.tables import AskRow, CardRow, DeliveryRow, IdentityRow, OfferRow
from nhi.words import sentence

UseCase = Callable[..., Answered]


def register(app: App, bot: Bot) -> None:
    """Listen for the buttons of groups, and for the one that changes the pace."""
    clicks = Clicks(bot=bot)
    app.action("nhi:group_each")(clicks.each)
    app.action("nhi:pace")(clicks.pace)


def deciding(bot: Bot) -> dict[str, Decide]:
    """Return the buttons of groups that only decide."""
    clicks = Clicks(bot=bot)
    return {"nhi:group_claim": clicks.claim, "nhi:group_not_mine": clicks.not_mine}


@dataclass(frozen=True, kw_only=True)
class Clicks:
    bot: Bot

    def claim(self, session: Session, body: Json) -> After:
        return self._decide(session, body, Verdict.CLAIM, decisions.claim)

    def not_mine(self, session: Session, body: Json) -> After:
        return self._decide(session, body, Verdict.NOT_MINE, decisions.not_mine)

    def _decide(self, session: Session, body: Json, verdict: Verdict, use_case: UseCase) -> After:
        """Answer each question of the group that is still open, in one transaction; who may not, answers none."""
        now, policy = self.bot.clock(), self.bot.policy()
        done: list[Answered] = []
        waiting = _waiting(session, body)
        for offer in waiting:
            answering = _still_open(session, offer, verdict, body["user"]["id"], policy, now)
            if answering is not None:
                done.append(use_case(session, answering, now))
        if not done:
            raise OutOfDate(sentence("refusals.out_of_date"))
        thanks = say("groups.thanks", done=len(done), skipped=len(waiting) - len(done))

        def then() -> None:
            metrics.CLICKS.labels(verdict=verdict.value).inc(len(done))
            for answered in done:
                if answered.ask_id is not None:
                    self.bot.redraw(answered.ask_id)
            self.bot.later(tell, self.bot, body, messages.Message(blocks=[thanks.rich()], text=thanks.spoken()))

        return then

    def each(self, ack: Ack, body: Json) -> None:
        """Show the questions of a group as cards of their own, to who pressed."""
        now, policy = self.bot.clock(), self.bot.policy()
        with self.bot.writing() as session:
            who = authority.person(session, body["user"]["id"])
            waiting = offers.asked_of(session, who, policy, now, group=_opaque(body))
        if not waiting.cards:
            raise OutOfDate(sentence("refusals.out_of_date"))
        ack()
        self.bot.later(tell, self.bot, body, messages.each(waiting.cards, waiting.count))

    def pace(self, ack: Ack, body: Json) -> None:
        """Turn a message between one piece at a time and all at once; the next messages begin as this one was left."""
        with self.bot.writing() as session:
            row = session.get(DeliveryRow, _opaque(body))
            if row is None:
                raise OutOfDate(sentence("refusals.out_of_date"))
            if row.recipient != body["user"]["id"]:
                raise NotAllowed(sentence("commands.turn_refused"))
            row.words = row.words | {"one": not row.words.get("one")}
            row.wanted_version += 1
            ask_id = session.scalar(select(CardRow.ask_id).where(CardRow.delivery_id == row.id).limit(1))
        ack()
        if ask_id is not None:
            self.bot.redraw(ask_id)


def _opaque(body: Json) -> str:
    value = str(body["actions"][0].get("value"))
    return value if value.isalnum() and len(value) == 32 else ""


def _waiting(session: Session, body: Json) -> list[OfferRow]:
    """Return the unspent offers of the message that was pressed, for the open, unprivileged questions of its group."""
    place, message = body.get("container") or {}, body.get("message") or {}
    query = (
        select(OfferRow)
        .join(CardRow, CardRow.id == OfferRow.card_id)
        .join(DeliveryRow, DeliveryRow.id == CardRow.delivery_id)
        .join(AskRow, AskRow.id == CardRow.ask_id)
        .join(IdentityRow, IdentityRow.id == AskRow.identity_id)
        .where(
            AskRow.group_id == _opaque(body),
            AskRow.group_id != "",
            AskRow.status == AskStatus.OPEN,
            IdentityRow.privileged.is_(False),
            OfferRow.used_at.is_(None),
            DeliveryRow.ts == str(place.get("message_ts") or message.get("ts") or ""),
            DeliveryRow.channel == str(place.get("channel_id") or (body.get("channel") or {}).get("id") or ""),
        )
        .order_by(OfferRow.created_at.desc(), OfferRow.id)
    )
    newest: dict[str, OfferRow] = {}
    for offer in session.scalars(query):
        newest.setdefault(str(offer.ask_id), offer)
    return list(newest.values())


def _still_open(
    session: Session, offer: OfferRow, verdict: Verdict, slack_id: str, policy: Policy, now: datetime
) -> Answering | None:
    """Return the checked answer; None: this one has another answer already. Raises NotAllowed for who may not."""
    try:
        return answers.begin(session, offer.id, verdict, slack_id=slack_id, policy=policy, now=now)
    except (AlreadyAnswered, OutOfDate):
        return None
