"""From a delivery's row to the message that it says now, and the offers that stand behind its buttons.

Offers are committed before the message is sent: a button that somebody can see always stands for something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import messages
from bot.offers import with_offer
from bot.slack import Json
from nhi import cards
from nhi.database import Sessions
from nhi.policy import Policy
from nhi.tables import AskRow, CardRow, DeliveryRow, OfferRow


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A message ready to be sent, and the version of the truth that it shows."""

    message: messages.Message
    version: int
    offers: frozenset[str]


def draw(sessions: Sessions, delivery_id: str, policy: Policy, now: datetime) -> Drawn:
    """Draw a delivery as things are now. Commits the offers."""
    with sessions.begin() as session:
        row = session.get_one(DeliveryRow, delivery_id)
        version = row.wanted_version  # read before the facts: an answer that comes in while we draw counts as not shown
        drawn = [_card(session, card, policy, now) for card in _cards(session, delivery_id)]
        if row.kind == "golive":
            message = messages.golive(row.words)
        elif row.kind == "notice":
            message = messages.note(str(row.words["sentence"]))
        else:
            message = messages.digest(row.words | {"kind": row.kind}, drawn)
        offers = frozenset(offer for _, offer in drawn if offer)
    return Drawn(message=message, version=version, offers=offers)


def void_older(session: Session, delivery_id: str, drawn: Drawn, now: datetime) -> None:
    """Let the buttons of earlier drawings of these cards stand for nothing any more."""
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


def _card(session: Session, card: CardRow, policy: Policy, now: datetime) -> tuple[Json, str | None]:
    ask = session.get_one(AskRow, card.ask_id)
    facts = cards.of_ask(session, ask, policy, now)
    return with_offer(
        session, facts, messages.card, identity_id=ask.identity_id, ask_id=ask.id, card_id=card.id, now=now
    )
