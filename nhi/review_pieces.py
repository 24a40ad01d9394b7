"""The pieces that every answer of a review is made of: the check, the one-time offer, the decision, the redraw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from nhi import authority, ledger, reviews
from nhi.errors import AlreadyAnswered, NhiError, NotAllowed, OutOfDate
from nhi.policy import Policy
from nhi.reviews import Answer, ItemStatus
from nhi.tables import (
    DeliveryRow,
    PersonRow,
    ReviewBoardRow,
    ReviewCampaignRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewOfferRow,
    new_id,
)
from nhi.words import sentence

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reviewing:
    """Somebody about to answer: checked, nothing written yet. `items` are those still open."""

    offer: ReviewOfferRow
    campaign: ReviewCampaignRow
    items: Sequence[ReviewItemRow]
    who: PersonRow
    by_right: str

    @property
    def item(self) -> ReviewItemRow:
        return self.items[0]


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """What an answer led to."""

    campaign_id: str
    answer: Answer
    items: int
    by_hand: bool = False  # turned off by somebody else: nothing here can
    remediation_ids: tuple[str, ...] = ()


def begin(session: Session, offer_id: str, action: str, *, slack_id: str, policy: Policy, now: datetime) -> Reviewing:
    """Check that this person may press this button now. Writes nothing.

    Raises OutOfDate for a button that stands for nothing any more or a closed campaign, AlreadyAnswered where somebody
    was faster, and NotAllowed for anyone but the reviewer, their delegate or an admin, and for who reviews themselves.
    """
    offer = session.get(ReviewOfferRow, offer_id) if offer_id else None
    if offer is None or action not in offer.actions:
        raise OutOfDate(sentence("refusals.review_out_of_date"))
    campaign = session.get_one(ReviewCampaignRow, offer.campaign_id)
    if campaign.closed_at is not None:
        raise OutOfDate(sentence("refusals.review_closed_on", quarter=campaign.quarter, at=campaign.closed_at))
    who = authority.person(session, slack_id)
    wanted = select(ReviewItemRow).where(ReviewItemRow.id.in_(offer.item_ids)).order_by(ReviewItemRow.position)
    rows = list(session.scalars(wanted.execution_options(populate_existing=True)))
    rights = [_right(session, who, row, policy, now) for row in rows]
    if not rows or any(right is None for right in rights):
        raise NotAllowed(sentence("refusals.review_not_for_you"))
    still = [row for row in rows if row.status is ItemStatus.PENDING or action == Answer.REOPEN]
    if not still or offer.used_at is not None:
        raise too_late(session, rows)
    if action in (Answer.KEEP, Answer.OFF):
        _refuse_self_review(still, who)
    return Reviewing(offer=offer, campaign=campaign, items=still, who=who, by_right=str(rights[0]))


def _right(session: Session, who: PersonRow, item: ReviewItemRow, policy: Policy, now: datetime) -> str | None:
    if item.reviewer == who.email:
        return "reviewer"
    if item.reviewer in authority.delegating_to(session, who.email, now):
        return f"delegate of {item.reviewer}"
    return "admin" if authority.is_admin(who, policy) else None


def _refuse_self_review(items: Iterable[ReviewItemRow], who: PersonRow) -> None:
    for item in items:
        if why := reviews.forbidden(item.facts, item.privileged, who.email):
            raise NotAllowed(why)


def too_late(session: Session, items: Sequence[ReviewItemRow]) -> NhiError:
    ids = [item.decision_id for item in items if item.decision_id]
    first = session.get(ReviewDecisionRow, ids[0]) if ids else None
    if first is None:
        return OutOfDate(sentence("refusals.review_out_of_date"))
    about = {"name": first.name, "answer": first.answer.value, "at": first.at}
    return AlreadyAnswered(sentence("refusals.review_answered_already", **about))


def decide(
    session: Session,
    reviewing: Reviewing,
    item: ReviewItemRow,
    answer: Answer,
    now: datetime,
    *,
    words: str | None = None,
    reassigned_to: str | None = None,
    attestation_id: str | None = None,
    remediation_ids: Sequence[str] = (),
) -> ReviewDecisionRow:
    """Write what was said, with the card as it was seen, and tell the ledger."""
    who, offer = reviewing.who, reviewing.offer
    shown = offer.shown["items"].get(item.id, {}) | {"reviewer": item.reviewer}
    row = ReviewDecisionRow(
        id=new_id(),
        campaign_id=item.campaign_id,
        item_id=item.id,
        identity_id=item.identity_id,
        answer=answer,
        email=who.email,
        slack_id=who.slack_id,
        name=who.name,
        authority=reviewing.by_right,
        words=words,
        reassigned_to=reassigned_to,
        fingerprint=item.fingerprint,
        shown=shown,
        shown_at=offer.created_at,
        at=now,
        dwell_seconds=reviews.dwell(offer.created_at, _previous(session, reviewing, now), now),
        evidence_opened=offer.opened_at is not None,
        together=len(reviewing.items),
        self_review=who.email in reviews.themselves_of(item.facts),
        by_creator=who.email in item.facts["creators"],
        attestation_id=attestation_id,
        remediation_ids=list(remediation_ids),
    )
    session.add(row)
    session.flush()
    _tell_ledger(session, row, now)
    return row


def _tell_ledger(session: Session, row: ReviewDecisionRow, now: datetime) -> None:
    kind = {Answer.REASSIGN: "review.reassigned", Answer.REOPEN: "review.reopened"}.get(row.answer, "review.decided")
    ledger.record(
        session,
        kind,
        now=now,
        identity_id=row.identity_id,
        facts={
            "campaign": row.campaign_id,
            "item": row.item_id,
            "decision": row.id,
            "attestation": row.attestation_id,
            "answer": row.answer,
            "fingerprint": row.fingerprint,
            "shown": ledger.commitment("", ledger.canonical(row.shown)),
            "dwell_seconds": round(row.dwell_seconds, 1),
            "evidence_opened": row.evidence_opened,
            "together": row.together,
            "self_review": row.self_review,
            "by_creator": row.by_creator,
            "remediations": row.remediation_ids,
        },
        private={
            "email": row.email,
            "slack_id": row.slack_id,
            "authority": row.authority,
            "words": row.words,
            "to": row.reassigned_to,
        },
    )


def _previous(session: Session, reviewing: Reviewing, now: datetime) -> datetime | None:
    """Return this person's last answer before this press; None: it is their first."""
    mine = select(func.max(ReviewDecisionRow.at)).where(
        ReviewDecisionRow.campaign_id == reviewing.campaign.id,
        ReviewDecisionRow.email == reviewing.who.email,
        ReviewDecisionRow.at < now,
    )
    return session.scalar(mine)


def spend(session: Session, reviewing: Reviewing, now: datetime) -> None:
    spent = session.execute(
        update(ReviewOfferRow)
        .where(ReviewOfferRow.id == reviewing.offer.id, ReviewOfferRow.used_at.is_(None))
        .values(used_at=now)
    )
    if spent.rowcount != 1:  # type: ignore[attr-defined]
        raise too_late(session, reviewing.items)
    # Two answers must not cross a closing: whoever comes second sees what the first did.
    still = select(ReviewCampaignRow.closed_at).where(ReviewCampaignRow.id == reviewing.campaign.id)
    if session.scalar(still) is not None:
        raise OutOfDate(sentence("refusals.review_is_closed", quarter=reviewing.campaign.quarter))


def take(session: Session, item: ReviewItemRow, status: ItemStatus, decision: ReviewDecisionRow, now: datetime) -> None:
    taken = session.execute(
        update(ReviewItemRow)
        .where(ReviewItemRow.id == item.id, ReviewItemRow.status == ItemStatus.PENDING)
        .values(status=status, decision_id=decision.id, decided_at=now)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise too_late(session, [item])


def redraw_boards(session: Session, campaign_id: str, emails: Iterable[str]) -> None:
    """Mark every board of these reviewers as due for a redraw."""
    boards = select(ReviewBoardRow.delivery_id).where(
        ReviewBoardRow.campaign_id == campaign_id, ReviewBoardRow.email.in_(list(emails))
    )
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(boards))
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )
