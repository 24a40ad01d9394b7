"""What reviewers decide: one use case each, one short transaction each, the ledger's event in it.

An offer is good for one answer, and an item is taken by one conditional UPDATE: a double click, two copies of a message
and two people at once are the same case. A decision is a new row and is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from nhi import authority, cards, decisions, ledger, risk
from nhi.answers import Answering, redraw
from nhi.errors import BadAnswer, OutOfDate
from nhi.escalation import AskStatus
from nhi.identity import CredentialStatus, Custody
from nhi.policy import Policy
from nhi.reasons import check_reason
from nhi.records import identity_of
from nhi.remediation import RemediationStatus
from nhi.review_pieces import Reviewed, Reviewing, begin, decide, redraw_boards, spend, take
from nhi.reviews import Answer, ItemStatus, Risk
from nhi.stamps import Stamp, to_ask_again
from nhi.tables import (
    AskRow,
    CredentialRow,
    IdentityRow,
    OfferRow,
    RemediationRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewOfferRow,
    ReviewReviewerRow,
)
from nhi.words import sentence

Json = dict[str, Any]
# What taking an answer back calls off or turns back; an act under way says so, one that was refused did nothing.
CALLED_OFF = (
    RemediationStatus.PROPOSED,
    RemediationStatus.AWAITING,
    RemediationStatus.PLANNED,
    RemediationStatus.ACTING,
    RemediationStatus.DONE,
)


# -- the answers -------------------------------------------------------------------------------------------------------


def keep(session: Session, reviewing: Reviewing, now: datetime, *, words: str | None = None) -> Reviewed:
    """Record that it is still needed: one item, or several with the same facts. High risk needs a reason."""
    reason = check_reason(words) if words is not None else None
    if reason is None and any(item.risk is Risk.HIGH for item in reviewing.items):
        raise BadAnswer(sentence("refusals.review_say_why"), field="reason")
    _refuse_mixed(reviewing.items)
    spend(session, reviewing, now)
    for item in reviewing.items:
        decision = decide(session, reviewing, item, Answer.KEEP, now, words=reason)
        take(session, item, ItemStatus.KEPT, decision, now)
    redraw_boards(session, reviewing.campaign.id, {item.reviewer for item in reviewing.items})
    return Reviewed(campaign_id=reviewing.campaign.id, answer=Answer.KEEP, items=len(reviewing.items))


def _refuse_mixed(items: Sequence[ReviewItemRow]) -> None:
    """Raise where items that are not alike, or privileged ones, would be answered at one press."""
    if len(items) > 1 and (items[0].kin is None or any(item.kin != items[0].kin for item in items)):
        raise OutOfDate(sentence("refusals.review_not_alike"))


def turn_off(
    session: Session, reviewing: Reviewing, credential_ids: Sequence[str], policy: Policy, now: datetime
) -> Reviewed:
    """Record that it is to be turned off, and plan it: a remediation for each credential named.

    Where nothing of it can be turned off from here, the decision stands, and somebody does it by hand.
    """
    item, possible = reviewing.item, can_disable(session, reviewing.item.identity_id, policy)
    chosen = [credential for credential in possible if credential.id in credential_ids]
    if possible and not chosen:
        raise BadAnswer(sentence("refusals.review_choose_off"), field="credentials")
    spend(session, reviewing, now)
    answering = _answering(session, reviewing, item)
    planned = [decisions.plan_disable(session, answering, credential.id, policy, now) for credential in chosen]
    if planned and answering.ask is not None:
        _settle(session, answering.ask, now)
    acts = tuple(act.remediation_id for act in planned if act.remediation_id)
    attestation_id = planned[0].attestation_id if planned else None
    decision = decide(
        session, reviewing, item, Answer.OFF, now, attestation_id=attestation_id, remediation_ids=list(acts)
    )
    take(session, item, ItemStatus.OFF, decision, now)
    redraw_boards(session, reviewing.campaign.id, {item.reviewer})
    return Reviewed(
        campaign_id=reviewing.campaign.id, answer=Answer.OFF, items=1, by_hand=not acts, remediation_ids=acts
    )


def can_disable(session: Session, identity_id: str, policy: Policy) -> list[CredentialRow]:
    """Return the credentials that can be turned off from a review, reversibly.

    None where policy asks for an authenticator's code: a board has no place for one, so that is done with Disable on
    `/nhi whois`, and the review says that it is left to hands.
    """
    if risk.required(identity_of(session.get_one(IdentityRow, identity_id)), policy).step_up:
        return []
    rows = session.scalars(select(CredentialRow).where(CredentialRow.identity_id == identity_id))
    return [
        row
        for row in rows
        if row.gone_at is None
        and row.status is CredentialStatus.ACTIVE
        and row.custody is Custody.OURS
        and row.external_id
        and row.kind in cards.DISABLES
    ]


def _answering(session: Session, reviewing: Reviewing, item: ReviewItemRow) -> Answering:
    """Return the answer in the form of the conversation's. Its offer is a value only: the review's own was spent."""
    shown = reviewing.offer.shown["items"][item.id]
    offer = OfferRow(
        id=reviewing.offer.id,
        actions=[],
        identity_id=item.identity_id,
        shown={"facts": shown},
        created_at=reviewing.offer.created_at,
    )
    ask = session.scalar(select(AskRow).where(AskRow.identity_id == item.identity_id, AskRow.status == AskStatus.OPEN))
    identity = session.get_one(IdentityRow, item.identity_id)
    right = f"{reviewing.by_right}{authority.IN_REVIEW}{reviewing.campaign.quarter}"
    return Answering(offer=offer, identity=identity, ask=ask, who=reviewing.who, by_right=right)


def _settle(session: Session, ask: AskRow, now: datetime) -> None:
    """End the conversation's own question: it is answered by this."""
    session.execute(
        update(AskRow)
        .where(AskRow.id == ask.id, AskRow.status == AskStatus.OPEN)
        .values(status=AskStatus.ANSWERED, ended_at=now)
    )
    redraw(session, ask.id)


def reopen(session: Session, reviewing: Reviewing, now: datetime) -> Reviewed:
    """Take one's own answer back: the item is open again, and what was planned is called off."""
    item = reviewing.item
    former = session.get(ReviewDecisionRow, item.decision_id) if item.decision_id else None
    if former is None:
        raise OutOfDate(sentence("refusals.review_out_of_date"))
    spend(session, reviewing, now)
    for act in session.scalars(select(RemediationRow).where(RemediationRow.id.in_(former.remediation_ids))):
        if act.status in CALLED_OFF:
            decisions.request_undo(session, act.id, by=reviewing.who.email, now=now)
    decide(session, reviewing, item, Answer.REOPEN, now)
    _open_again(session, item, former.id)
    redraw_boards(session, reviewing.campaign.id, {item.reviewer})
    return Reviewed(
        campaign_id=reviewing.campaign.id,
        answer=Answer.REOPEN,
        items=1,
        remediation_ids=tuple(former.remediation_ids),
    )


def _open_again(session: Session, item: ReviewItemRow, decision_id: str, **more: Any) -> None:
    opened = session.execute(
        update(ReviewItemRow)
        .where(ReviewItemRow.id == item.id, ReviewItemRow.decision_id == decision_id)
        .values(status=ItemStatus.PENDING, decision_id=None, decided_at=None, later_at=None, **more)
    )
    if opened.rowcount != 1:  # type: ignore[attr-defined]
        raise OutOfDate(sentence("refusals.review_out_of_date"))


def later(session: Session, reviewing: Reviewing, now: datetime) -> None:
    """Put an item off: it comes after the others. No decision, and no promise."""
    session.execute(update(ReviewItemRow).where(ReviewItemRow.id == reviewing.item.id).values(later_at=now))
    redraw_boards(session, reviewing.campaign.id, {reviewing.item.reviewer})


def look_closer(session: Session, reviewing: Reviewing, now: datetime) -> None:
    """Write down that the evidence behind a card was opened; the first time counts."""
    offer = ReviewOfferRow
    first = update(offer).where(offer.id == reviewing.offer.id, offer.opened_at.is_(None)).values(opened_at=now)
    session.execute(first)


# -- asked again -------------------------------------------------------------------------------------------------------


def ask_again(session: Session, row: ReviewReviewerRow, low: Sequence[str], now: datetime) -> int:
    """Open the riskiest of somebody's quick answers once more, once in a campaign; return how many."""
    taken = session.execute(
        update(ReviewReviewerRow)
        .where(ReviewReviewerRow.campaign_id == row.campaign_id, ReviewReviewerRow.email == row.email)
        .where(ReviewReviewerRow.asked_again_at.is_(None))
        .values(asked_again_at=now, asked_again_because="; ".join(low), told_at=None)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        return 0
    ids = to_ask_again(stamps(session, row.campaign_id, row.email))
    items = list(session.scalars(select(ReviewItemRow).where(ReviewItemRow.id.in_(ids))))
    for item in items:
        if item.decision_id:
            _open_again(session, item, item.decision_id, asked_again_at=now)
    facts = {"campaign": row.campaign_id, "items": sorted(ids), "because": list(low)}
    ledger.record(session, "review.asked_again", now=now, facts=facts, private={"email": row.email})
    redraw_boards(session, row.campaign_id, {row.email})
    return len(items)


def stamps(session: Session, campaign_id: str, email: str) -> list[Stamp]:
    """Return the decisions that count, as the meter reads them: of who decided them, oldest first."""
    query = (
        select(ReviewDecisionRow, ReviewItemRow.risk, ReviewItemRow.changes)
        .join(ReviewItemRow, ReviewItemRow.decision_id == ReviewDecisionRow.id)
        .where(ReviewDecisionRow.campaign_id == campaign_id, ReviewDecisionRow.email == email)
        .order_by(ReviewDecisionRow.at, ReviewItemRow.position)
    )
    return [
        Stamp(
            item_id=row.item_id,
            answer=row.answer,
            seconds=row.dwell_seconds,
            opened=row.evidence_opened,
            together=row.together,
            risk=risk,
            changed=bool(changes),
        )
        for row, risk, changes in session.execute(query)
    ]


__all__ = ["Reviewed", "Reviewing", "begin"]
