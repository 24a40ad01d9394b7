"""What a campaign came to, for the command line and the burn-down. Reads only."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import campaigns, facts
from nhi.review_answers import stamps
from nhi.reviews import Answer, ItemStatus, Quarter
from nhi.stamps import quality as quality_of
from nhi.tables import (
    ReviewCampaignRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewReviewerRow,
)

Json = dict[str, Any]


def status(session: Session, quarter: Quarter | str) -> Json:
    """Return how far a campaign is, and how each reviewer is doing. Raises OutOfDate where the quarter has none."""
    campaign = campaigns.get(session, quarter)
    signed = campaigns.signature_of(session, campaign.id)
    return {
        "quarter": campaign.quarter,
        "state": state_of(session, campaign),
        "opened_at": facts.when(campaign.opened_at),
        "opened_by": campaign.opened_by,
        "due_at": facts.when(campaign.due_at),
        "closed_at": facts.when(campaign.closed_at),
        "population": campaign.population,
        "left_out": campaign.facts.get("left_out", {}),
        "scans": campaign.facts.get("scans", []),
        "counts": campaign.result or campaigns.result(session, campaign.id),
        "reviewers": reviewers(session, campaign.id),
        "signature": None
        if signed is None
        else {
            "name": signed.name,
            "role": signed.role,
            "words": signed.words,
            "by": signed.by,
            "email": signed.email,
            "at": facts.when(signed.at),
            "result": signed.result_hash,
        },
    }


def state_of(session: Session, campaign: ReviewCampaignRow) -> str:
    """Return open, closed or signed."""
    if campaign.closed_at is None:
        return "open"
    return "signed" if campaigns.signature_of(session, campaign.id) else "closed"


def reviewers(session: Session, campaign_id: str) -> list[Json]:
    """Return each reviewer with what is left of theirs and the rubber-stamp meter, those with most left first."""
    told = select(ReviewReviewerRow).where(ReviewReviewerRow.campaign_id == campaign_id)
    counts: dict[str, dict[str, int]] = {}
    items = select(ReviewItemRow.reviewer, ReviewItemRow.status).where(ReviewItemRow.campaign_id == campaign_id)
    for email, item_status in session.execute(items):
        of_them = counts.setdefault(email, {})
        of_them[item_status.value] = of_them.get(item_status.value, 0) + 1
    found = [_reviewer(session, row, counts.get(row.email, {})) for row in session.scalars(told)]
    return sorted(found, key=lambda one: (-one["left"], one["email"]))


def _reviewer(session: Session, row: ReviewReviewerRow, counts: dict[str, int]) -> Json:
    quality = quality_of(stamps(session, row.campaign_id, row.email))
    return {
        "email": row.email,
        "items": sum(counts.values()),
        "left": counts.get("pending", 0) + counts.get("unanswered", 0),
        "counts": counts,
        "told_at": facts.when(row.told_at),
        "reminders": row.reminders,
        "escalated_to": row.escalated_to,
        "asked_again_at": facts.when(row.asked_again_at),
        "asked_again_because": row.asked_again_because,
        "quality": {
            "decided": quality.decided,
            "median_seconds": quality.median_seconds,
            "kept": quality.kept,
            "longest_streak": quality.longest_streak,
            "evidence_opened": quality.opened,
            "low": list(quality.low),
        },
    }


# -- the burn-down -----------------------------------------------------------------------------------------------------


def burn_down(session: Session, campaign: ReviewCampaignRow, now: datetime) -> list[tuple[date, int]]:
    """Return how many items were left when each day began (UTC): first at the opening, last now; carried ones apart."""
    query = select(ReviewItemRow.added_at, ReviewItemRow.decided_at, ReviewItemRow.status).where(
        ReviewItemRow.campaign_id == campaign.id, ReviewItemRow.status != ItemStatus.CARRIED
    )
    items = [(added, _ended(decided, status, now)) for added, decided, status in session.execute(query)]
    until = min(now, campaign.closed_at or now)
    days = (until.date() - campaign.opened_at.date()).days
    found = []
    for number in range(days + 1):
        day = campaign.opened_at.date() + timedelta(days=number)
        morning = datetime.combine(day, datetime.min.time(), UTC)
        at = until if number == days else max(morning, campaign.opened_at)
        left = sum(1 for added, ended in items if added <= at and (ended is None or ended > at))
        found.append((day, left))
    return found


def _ended(decided_at: datetime | None, item_status: ItemStatus, now: datetime) -> datetime | None:
    """Return when an item stopped waiting; None: it waits still. One that is gone has no time, and counts as gone."""
    if item_status in (ItemStatus.PENDING, ItemStatus.UNANSWERED):
        return None
    return decided_at or datetime.min.replace(tzinfo=UTC)


def answered_at(session: Session, campaign_id: str, email: str) -> datetime | None:
    """Return somebody's last answer in a campaign; None: they gave none."""
    query = select(ReviewDecisionRow.at).where(
        ReviewDecisionRow.campaign_id == campaign_id,
        ReviewDecisionRow.email == email,
        ReviewDecisionRow.answer != Answer.REOPEN,
    )
    return session.scalar(query.order_by(ReviewDecisionRow.at.desc()).limit(1))
