"""The quarter's campaign: opened on fresh data, added to, closed once. Each use case is one short transaction.

Facts are gathered and decided on before the transaction begins, so that clicks do not wait; the ledger's event is
written with the change. What people answer is in nhi/review_answers.py, and who
signs in nhi/signing.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from nhi import ledger, review_facts, reviews
from nhi.database import Sessions, lock_writers, reading
from nhi.errors import AlreadyAnswered, NhiError, OutOfDate
from nhi.policy import Policy
from nhi.review_facts import Snapshot
from nhi.reviews import Before, ItemStatus, Quarter, Risk
from nhi.tables import (
    IdentityRow,
    ReviewCampaignRow,
    ReviewItemRow,
    ReviewReviewerRow,
    ReviewSignatureRow,
    new_id,
)
from nhi.words import sentence

Json = dict[str, Any]
BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What an opening froze."""

    campaign_id: str
    quarter: str
    items: int
    carried: int
    reviewers: int


# -- open --------------------------------------------------------------------------------------------------------------


def open_campaign(sessions: Sessions, policy: Policy, *, by: str, now: datetime) -> Opened:
    """Open this quarter's campaign: freeze every identity with its permissions, owner and one reviewer.

    Raises NhiError where data is stale (it says which, and what to do), where nobody can review, and AlreadyAnswered
    where the quarter has its campaign.
    """
    quarter = reviews.quarter_of(now)
    with reading(sessions) as session:
        refuse_second(session, quarter)
        check_fresh(session, policy, now)
        ids, left_out = review_facts.population(session)
        before = review_facts.last_decisions(session, ids)
        scans = review_facts.scans_of(session)
        taken = review_facts.snapshots(session, ids, policy, now)
    campaign_id = new_id()
    items = _items(campaign_id, taken, before, policy, now, late=False)
    row = _campaign(campaign_id, quarter, items, policy, by, now)
    row.facts |= {"scans": scans, "left_out": {"made by the platform for itself": left_out}}
    try:
        with sessions.begin() as session:
            _write_opening(session, row, items, now)
    except IntegrityError:
        raise AlreadyAnswered(sentence("refusals.review_is_open", quarter=quarter)) from None
    return Opened(
        campaign_id=campaign_id,
        quarter=str(quarter),
        items=len(items),
        carried=sum(item["status"] is ItemStatus.CARRIED for item in items),
        reviewers=len({item["reviewer"] for item in items if item["status"] is ItemStatus.PENDING}),
    )


def wanted(quarter: Quarter) -> str:
    """Return the name of the switch by which an admin asks for a quarter's campaign."""
    return f"open review {quarter}"


def refuse_second(session: Session, quarter: Quarter) -> None:
    """Raise AlreadyAnswered where the quarter's campaign is open, OutOfDate where it is closed."""
    known = find(session, quarter)
    if known is None:
        return
    if known.closed_at is not None:
        raise OutOfDate(sentence("refusals.review_was_closed", quarter=quarter))
    raise AlreadyAnswered(sentence("refusals.review_is_open", quarter=quarter))


def check_fresh(session: Session, policy: Policy, now: datetime) -> None:
    """Raise NhiError with a sentence for each source that was not seen whole lately."""
    problems = reviews.stale(review_facts.sources(session), policy.review.fresh_within, now)
    if problems:
        raise NhiError(sentence("refusals.review_needs_fresh", problems=problems), permanent=False)


def _campaign(
    campaign_id: str, quarter: Quarter, items: Sequence[Json], policy: Policy, by: str, now: datetime
) -> ReviewCampaignRow:
    return ReviewCampaignRow(
        id=campaign_id,
        quarter=str(quarter),
        opened_at=now,
        opened_by=by[:255],
        due_at=reviews.due_at(quarter, now, policy.review.due_after),
        population=digest_of([[item["identity_id"], item["fingerprint"]] for item in items]),
        facts={"policy": policy.review.model_dump(mode="json")},
    )


def digest_of(items: Sequence[Sequence[str]]) -> str:
    """Return the digest of a population: each item's identity and fingerprint, in the order of their cards."""
    return reviews.digest([list(item) for item in items])


def _items(
    campaign_id: str,
    taken: Sequence[Snapshot],
    before: dict[str, Before],
    policy: Policy,
    now: datetime,
    *,
    late: bool,
    after: int = 0,
) -> list[Json]:
    """Return the rows of new items, in the order of their cards. Raises NhiError where nobody can review one."""
    items = [_item(campaign_id, one, before.get(one.identity_id), policy, now, late=late) for one in taken]
    first: dict[str, str] = {}
    for item in items:
        if item["kin"]:
            first[item["kin"]] = min(first.get(item["kin"], _name(item)), _name(item))
    items.sort(key=lambda item: _order(item, first))
    return [item | {"position": after + number} for number, item in enumerate(items)]


def _name(item: Json) -> str:
    return str(item["facts"]["identity"]["name"])


def _order(item: Json, first: dict[str, str]) -> tuple[object, ...]:
    is_new = item["facts"]["last_decided_at"] is None
    first_of_kin = first.get(item["kin"] or "", _name(item))
    return reviews.order_of(item["changes"], is_new, item["risk"], first_of_kin, _name(item))


def _item(
    campaign_id: str, taken: Snapshot, before: Before | None, policy: Policy, now: datetime, *, late: bool
) -> Json:
    if taken.assigned is None:
        raise NhiError(sentence("refusals.review_by_nobody"))
    risk = reviews.risk_of(taken.facts)
    gist = reviews.gist(taken.facts, now)
    since = reviews.changes(before.gist, gist) if before else []
    carries = reviews.carries(before, gist, risk, _allowed(policy), now)
    kin = reviews.kin_of(taken.facts, gist, since, risk)
    last = ledger.instant(before.at) if before else None
    frozen = taken.facts | {"gist": gist, "last_decided_at": last, "assigned": taken.assigned.email}
    return {
        "id": new_id(),
        "campaign_id": campaign_id,
        "identity_id": taken.identity_id,
        "reviewer": taken.assigned.email,
        "because": taken.assigned.because,
        "self_review": taken.assigned.self_review,
        "by_creator": taken.assigned.by_creator,
        "status": ItemStatus.CARRIED if carries else ItemStatus.PENDING,
        "risk": risk,
        "privileged": taken.facts["permissions"]["privileged"],
        "facts": frozen,
        "fingerprint": reviews.digest(frozen),
        "kin": kin,
        "changes": since,
        "late": late,
        "added_at": now,
        "carried_from": before.decision_id if carries and before else None,
    }


def _allowed(policy: Policy) -> dict[Risk, Any]:
    return {Risk.LOW: policy.review.carry_over.low, Risk.MEDIUM: policy.review.carry_over.medium}


def _write_opening(session: Session, row: ReviewCampaignRow, items: Sequence[Json], now: datetime) -> None:
    lock_writers(session)
    session.add(row)
    session.flush()
    _write_items(session, row.id, items)
    carried = [item["identity_id"] for item in items if item["status"] is ItemStatus.CARRIED]
    ledger.record(
        session,
        "review.opened",
        now=now,
        facts={
            "campaign": row.id,
            "quarter": row.quarter,
            "items": len(items),
            "carried_over": len(carried),
            "population": row.population,
            "due_at": row.due_at,
            "scans": row.facts["scans"],
            "left_out": row.facts["left_out"],
        },
        private={"by": row.opened_by},
    )


def _write_items(session: Session, campaign_id: str, items: Sequence[Json]) -> None:
    for start in range(0, len(items), BATCH):
        session.execute(insert(ReviewItemRow), list(items[start : start + BATCH]))
    for email in sorted({item["reviewer"] for item in items}):
        ensure_reviewer(session, campaign_id, email)


def ensure_reviewer(session: Session, campaign_id: str, email: str) -> ReviewReviewerRow:
    """Return the row of one reviewer in a campaign, new if there is none."""
    row = session.get(ReviewReviewerRow, (campaign_id, email))
    if row is None:
        row = ReviewReviewerRow(campaign_id=campaign_id, email=email, reminders=0, escalated_to=[])
        session.add(row)
        session.flush()
    return row


# -- while it is open --------------------------------------------------------------------------------------------------


def add_late(sessions: Sessions, campaign_id: str, policy: Policy, now: datetime) -> int:
    """Add what appeared after the opening, and end what is gone; return how many were added. Fresh data only."""
    with reading(sessions) as session:
        if reviews.stale(review_facts.sources(session), policy.review.fresh_within, now):
            return 0
        known = set(session.scalars(select(ReviewItemRow.identity_id).where(ReviewItemRow.campaign_id == campaign_id)))
        ids, _ = review_facts.population(session, known)
        before = review_facts.last_decisions(session, ids, but=campaign_id)
        taken = review_facts.snapshots(session, ids, policy, now)
    items = _items(campaign_id, taken, before, policy, now, late=True, after=len(known))
    if items:
        with sessions.begin() as session:
            if not _is_open(session, campaign_id):
                return 0
            _write_items(session, campaign_id, items)
            for item in items:
                facts = {"campaign": campaign_id, "item": item["id"], "fingerprint": item["fingerprint"]}
                ledger.record(session, "review.item_added", now=now, identity_id=item["identity_id"], facts=facts)
    return len(items)


def end_gone(sessions: Sessions, campaign_id: str, now: datetime) -> int:
    """End the items of identities that were deleted before anybody answered; return how many."""

    with sessions.begin() as session:
        query = (
            select(ReviewItemRow)
            .join(IdentityRow, IdentityRow.id == ReviewItemRow.identity_id)
            .where(ReviewItemRow.campaign_id == campaign_id, ReviewItemRow.status == ItemStatus.PENDING)
            .where(IdentityRow.gone_at.is_not(None))
        )
        rows = list(session.scalars(query)) if _is_open(session, campaign_id) else []
        for row in rows:
            row.status = ItemStatus.GONE
            session.flush()
            facts = {"campaign": campaign_id, "item": row.id}
            ledger.record(session, "review.item_gone", now=now, identity_id=row.identity_id, facts=facts)
        return len(rows)


def _is_open(session: Session, campaign_id: str) -> bool:
    lock_writers(session)
    row = session.get(ReviewCampaignRow, campaign_id, populate_existing=True)
    return row is not None and row.closed_at is None


# -- close -------------------------------------------------------------------------------------------------------------


def close(session: Session, quarter: Quarter | str, *, by: str, now: datetime) -> ReviewCampaignRow:
    """Close a campaign for good. What nobody answered is written down as unanswered: never as kept.

    Raises OutOfDate where there is none, or it is closed already.
    """
    lock_writers(session)
    row = get(session, quarter)
    taken = session.execute(
        update(ReviewCampaignRow)
        .where(ReviewCampaignRow.id == row.id, ReviewCampaignRow.closed_at.is_(None))
        .values(closed_at=now, closed_by=by[:255])
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise OutOfDate(sentence("refusals.review_closed_already", quarter=row.quarter))
    unanswered = _end_unanswered(session, row.id, now)
    session.refresh(row)
    row.result = result(session, row.id)
    session.flush()
    facts = {"campaign": row.id, "quarter": row.quarter, "result": row.result, "unanswered": len(unanswered)}
    ledger.record(session, "review.closed", now=now, facts=facts, private={"by": by})
    return row


def _end_unanswered(session: Session, campaign_id: str, now: datetime) -> list[str]:
    pending = select(ReviewItemRow).where(
        ReviewItemRow.campaign_id == campaign_id, ReviewItemRow.status == ItemStatus.PENDING
    )
    ids = []
    for row in session.scalars(pending.order_by(ReviewItemRow.position)):
        row.status = ItemStatus.UNANSWERED
        ids.append(row.identity_id)
        facts = {"campaign": campaign_id, "item": row.id, "asked_again": row.asked_again_at is not None}
        private = {"reviewer": row.reviewer}
        ledger.record(session, "review.unanswered", now=now, identity_id=row.identity_id, facts=facts, private=private)
    session.flush()
    return ids


def result(session: Session, campaign_id: str) -> Json:
    """Return the counts by status."""
    query = (
        select(ReviewItemRow.status, func.count())
        .where(ReviewItemRow.campaign_id == campaign_id)
        .group_by(ReviewItemRow.status)
    )
    counted = Counter({status.value: n for status, n in session.execute(query)})
    return {"items": counted.total()} | {status.value: counted[status.value] for status in ItemStatus}


# -- look-ups ----------------------------------------------------------------------------------------------------------


def find(session: Session, quarter: Quarter | str) -> ReviewCampaignRow | None:
    """Return the quarter's campaign; None: it has none."""
    return session.scalar(select(ReviewCampaignRow).where(ReviewCampaignRow.quarter == str(quarter)))


def get(session: Session, quarter: Quarter | str) -> ReviewCampaignRow:
    """Return the quarter's campaign. Raises OutOfDate where it has none."""
    row = find(session, quarter)
    if row is None:
        raise OutOfDate(sentence("refusals.review_unknown", quarter=quarter))
    return row


def current(session: Session) -> ReviewCampaignRow | None:
    """Return the campaign that is open, the newest first; None: none is."""
    return session.scalar(
        select(ReviewCampaignRow)
        .where(ReviewCampaignRow.closed_at.is_(None))
        .order_by(ReviewCampaignRow.opened_at.desc())
        .limit(1)
    )


def signature_of(session: Session, campaign_id: str) -> ReviewSignatureRow | None:
    """Return who signed; None: nobody did."""
    return session.scalar(select(ReviewSignatureRow).where(ReviewSignatureRow.campaign_id == campaign_id))


def left_of(session: Session, campaign_id: str, email: str) -> int:
    """Return how many items of somebody wait for an answer."""
    query = select(ReviewItemRow.id).where(
        ReviewItemRow.campaign_id == campaign_id,
        ReviewItemRow.reviewer == email,
        ReviewItemRow.status == ItemStatus.PENDING,
    )
    return len(session.scalars(query).all())


def pack_rows(session: Session, quarter: Quarter | str) -> Json:
    """Return a campaign and its items for the auditor's pack; nhi/review_report.py says in which shape."""
    from nhi import review_report

    return review_report.rows(session, quarter)
