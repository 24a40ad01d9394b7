"""From a delivery's row to the message that it says now, and the offers that stand behind its buttons.

Offers are committed before the message is sent: a button that somebody can see always stands for something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import groups, handover, messages, offers, review_boards, rotation_cards, second
from bot.slack import Json
from nhi import cards
from nhi.database import Sessions, reading
from nhi.policy import Policy
from nhi.shadow import LIVE_SWITCH
from nhi.tables import AskRow, CardRow, DeliveryRow, OfferRow, SwitchRow
from nhi.words import speaking


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A message ready to be sent, and the version of the truth that it shows."""

    message: messages.Message
    version: int
    offers: frozenset[str]


def draw(sessions: Sessions, delivery_id: str, policy: Policy, now: datetime) -> Drawn:
    """Draw a delivery as things are now, in policy's language. Commits the offers that are new."""
    with speaking(policy.conversation.language):
        return _draw(sessions, delivery_id, policy, now)


def _draw(sessions: Sessions, delivery_id: str, policy: Policy, now: datetime) -> Drawn:
    # What takes long, reading the facts, takes no write lock: clicks that wait for their ack come first.
    with reading(sessions) as session:
        row = session.get_one(DeliveryRow, delivery_id)
        version = row.wanted_version  # read before the facts: an answer that comes in while we draw counts as not shown
        kind, words = row.kind, row.words
        if kind in handover.KINDS:
            drawn_anew = handover.draw(sessions, delivery_id, version, words, policy, now)
            return Drawn(message=drawn_anew.message, version=version, offers=drawn_anew.offers)
        if kind == second.KIND:
            return Drawn(message=second.draw(session, delivery_id, policy), version=version, offers=frozenset())
        if kind == "golive" and session.get(SwitchRow, LIVE_SWITCH) is not None:
            words = words | {"offer": None}  # it was pressed: nothing is left to press
        seen = [_look(session, card, policy, now) for card in _cards(session, delivery_id)]
    if kind == rotation_cards.KIND:
        message, offer_ids = rotation_cards.draw(sessions, delivery_id, policy, now)
        return Drawn(message=message, version=version, offers=offer_ids)
    if kind in review_boards.KINDS:
        message, offer_ids = review_boards.draw(sessions, delivery_id, policy, now)
        return Drawn(message=message, version=version, offers=offer_ids)
    if any(card.needs_offer for card in seen):
        with sessions.begin() as session:
            drawn = [
                _offered(session, card, now, reader_is_asked=messages.is_readers(kind, words, card.ask_id))
                for card in seen
            ]
    else:
        drawn = [(card.facts, card.offer_id) for card in seen]
    shown = frozenset(offer_id for _, offer_id in drawn if offer_id)
    return Drawn(message=_message(delivery_id, kind, words, drawn), version=version, offers=shown)


def _message(delivery_id: str, kind: str, words: Json, drawn: messages.Cards) -> messages.Message:
    match kind:
        case "golive":
            return messages.golive(words)
        case "checkpoint":
            return messages.checkpoint(words)
        case "alarm_not_us":
            return messages.alarm_not_us(words)
        case "notice":
            return messages.note(str(words["sentence"]))
        case _:
            return messages.digest(words | {"kind": kind, "delivery": delivery_id}, drawn)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One card as its rows say it is, and the offer that it has already."""

    card_id: str
    ask_id: str
    identity_id: str
    facts: Json
    offer_id: str | None

    @property
    def needs_offer(self) -> bool:
        return self.offer_id is None and bool(self.facts["can"])


def _look(session: Session, card: CardRow, policy: Policy, now: datetime) -> _Seen:
    ask = session.get_one(AskRow, card.ask_id)
    facts = cards.of_ask(session, ask, policy, now)
    kept = offers.unspent(session, facts, card.id)
    if kept is not None:
        facts = kept.shown["facts"]
    offer_id = kept.id if kept else None
    return _Seen(card_id=card.id, ask_id=ask.id, identity_id=ask.identity_id, facts=facts, offer_id=offer_id)


def _offered(session: Session, card: _Seen, now: datetime, *, reader_is_asked: bool) -> tuple[Json, str | None]:
    if not card.needs_offer:
        return card.facts, card.offer_id
    return offers.with_offer(
        session,
        card.facts,
        partial(groups.shown, reader_is_asked=reader_is_asked),
        identity_id=card.identity_id,
        ask_id=card.ask_id,
        card_id=card.card_id,
        now=now,
    )


def void_older(session: Session, delivery_id: str, drawn: Drawn, now: datetime) -> None:
    """Let the buttons of earlier drawings of these cards stand for nothing any more."""
    review_boards.void_older(session, delivery_id, drawn.offers, now)
    shown = select(CardRow.id).where(CardRow.delivery_id == delivery_id)
    session.execute(
        update(OfferRow)
        .where(OfferRow.card_id.in_(shown), OfferRow.used_at.is_(None), OfferRow.id.not_in(drawn.offers))
        .values(used_at=now)
        .execution_options(synchronize_session=False)
    )


def _cards(session: Session, delivery_id: str) -> list[CardRow]:
    in_order = select(CardRow).where(CardRow.delivery_id == delivery_id).order_by(CardRow.position, CardRow.id)
    return list(session.scalars(in_order))
