"""Writes down the review's boards to be posted; drawing them is bot/review_boards.py's."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import delivery
from nhi import authority
from nhi.tables import DelegationRow, DeliveryRow, PersonRow, ReviewBoardRow


def queue_board(session: Session, campaign_id: str, email: str, reader: str, kind: str, now: datetime) -> DeliveryRow:
    """Write down a board to be posted to `reader` (a Slack id): the items of `email`. Earlier ones point to it."""
    former = select(ReviewBoardRow.delivery_id).join(DeliveryRow, DeliveryRow.id == ReviewBoardRow.delivery_id)
    mine = former.where(
        ReviewBoardRow.campaign_id == campaign_id, ReviewBoardRow.email == email, DeliveryRow.recipient == reader
    )
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(mine))
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )
    row = delivery.queue(session, kind, reader, {"campaign": campaign_id, "email": email}, [], now)
    session.add(
        ReviewBoardRow(delivery_id=row.id, campaign_id=campaign_id, email=email, as_list=False, page=0, created_at=now)
    )
    session.flush()
    return row


def readers(session: Session, email: str, now: datetime) -> list[PersonRow]:
    """Return who is shown somebody's items: they themselves, and whoever answers for them while they are away."""
    stand_ins = select(DelegationRow.delegate).where(
        DelegationRow.email == email, DelegationRow.since <= now, DelegationRow.until > now
    )
    emails = dict.fromkeys([email, *session.scalars(stand_ins.order_by(DelegationRow.since))])
    found = [_person(session, each) for each in emails]
    return [row for row in found if row is not None]


def _person(session: Session, email: str) -> PersonRow | None:
    rows = session.scalars(select(PersonRow).where(PersonRow.email == email).order_by(PersonRow.slack_id))
    return next((row for row in rows if authority.is_able(row)), None)


def redraw_all(session: Session, campaign_id: str) -> None:
    """Mark every board of a campaign as due for a redraw: it closed, and its buttons stand for nothing any more."""
    boards = select(ReviewBoardRow.delivery_id).where(ReviewBoardRow.campaign_id == campaign_id)
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(boards))
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )
