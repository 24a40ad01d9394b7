"""What a campaign came to, for the command line, the burn-down and the auditor's pack. Reads only."""

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
    RemediationRow,
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


# -- the auditor's pack ------------------------------------------------------------------------------------------------


def rows(session: Session, quarter: Quarter | str) -> Json:
    """Return a campaign for the pack: what it froze, each item with its whole trail, what came of "turn it off".

    `{"campaign": status, "items": [...]}`; an item holds identity, reviewer and why, status, risk, frozen `facts` and
    their `fingerprint`, `changes`, `decisions` (oldest first: who, answer, words, by what right, dwell, what was
    shown), and `remediations` with their read-back. Times are RFC 3339. Raises OutOfDate where there is no campaign.
    """
    campaign = campaigns.get(session, quarter)
    trails = _trails(session, campaign.id)
    query = select(ReviewItemRow).where(ReviewItemRow.campaign_id == campaign.id)
    items = session.scalars(query.order_by(ReviewItemRow.added_at, ReviewItemRow.position, ReviewItemRow.id))
    return {
        "campaign": status(session, quarter),
        "items": [_item(session, row, trails.get(row.id, [])) for row in items],
    }


def _trails(session: Session, campaign_id: str) -> dict[str, list[ReviewDecisionRow]]:
    found: dict[str, list[ReviewDecisionRow]] = {}
    query = select(ReviewDecisionRow).where(ReviewDecisionRow.campaign_id == campaign_id)
    for row in session.scalars(query.order_by(ReviewDecisionRow.at, ReviewDecisionRow.id)):
        found.setdefault(row.item_id, []).append(row)
    return found


def _item(session: Session, row: ReviewItemRow, trail: list[ReviewDecisionRow]) -> Json:
    identity = row.facts["identity"]
    acts = [act for decision in trail for act in decision.remediation_ids]
    return {
        "item": row.id,
        "identity": {name: identity[name] for name in ("id", "provider", "kind", "account", "name", "principal")},
        "reviewer": row.reviewer,
        "because": row.because.value,
        "self_review": row.self_review,
        "by_creator": row.by_creator,
        "status": row.status.value,
        "risk": row.risk.value,
        "privileged": row.privileged,
        "facts": row.facts,
        "fingerprint": row.fingerprint,
        "changes": row.changes,
        "late": row.late,
        "added_at": facts.when(row.added_at),
        "carried_from": _carried(session, row),
        "asked_again_at": facts.when(row.asked_again_at),
        "decided_at": facts.when(row.decided_at),
        "decision": row.decision_id,
        "decisions": [_decision(decision) for decision in trail],
        "remediations": _acts(session, acts),
        "by_hand": row.status is ItemStatus.OFF and not acts,
    }


def _carried(session: Session, row: ReviewItemRow) -> Json | None:
    """Return the decision that still stands; None: the item was not carried over."""
    decision = session.get(ReviewDecisionRow, row.carried_from) if row.carried_from else None
    if decision is None:
        return None
    former = session.get_one(ReviewCampaignRow, decision.campaign_id)
    return {"quarter": former.quarter, **_decision(decision)}


def _decision(row: ReviewDecisionRow) -> Json:
    return {
        "id": row.id,
        "at": facts.when(row.at),
        "answer": row.answer.value,
        "email": row.email,
        "slack_id": row.slack_id,
        "name": row.name,
        "authority": row.authority,
        "words": row.words,
        "reassigned_to": row.reassigned_to,
        "shown_at": facts.when(row.shown_at),
        "dwell_seconds": round(row.dwell_seconds, 1),
        "evidence_opened": row.evidence_opened,
        "together": row.together,
        "self_review": row.self_review,
        "by_creator": row.by_creator,
        "shown": row.shown,
    }


def _acts(session: Session, ids: list[str]) -> list[Json]:
    if not ids:
        return []
    query = select(RemediationRow).where(RemediationRow.id.in_(ids)).order_by(RemediationRow.planned_at)
    return [facts.remediation_json(act) for act in session.scalars(query)]


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
