"""What reviewers decide: one use case each, one short transaction each, the ledger's event in it.

An offer is good for one answer, and an item is taken by one conditional UPDATE: a double click, two copies of a message
and two people at once are the same case. A decision is a new row and is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from nhi import authority, cards, decisions, ledger, review_facts, reviews
from nhi.answers import Answering, redraw
from nhi.campaigns import ensure_reviewer
from nhi.decisions import check_reason
from nhi.errors import AlreadyAnswered, BadAnswer, NhiError, NotAllowed, OutOfDate
from nhi.escalation import AskStatus
from nhi.identity import CredentialStatus, Custody
from nhi.policy import Policy
from nhi.redact import tidy
from nhi.remediation import RemediationStatus
from nhi.reviews import Answer, Because, ItemStatus, Risk
from nhi.tables import (
    AskRow,
    CredentialRow,
    DeliveryRow,
    EvidenceRow,
    IdentityRow,
    OfferRow,
    PersonRow,
    RemediationRow,
    ReviewBoardRow,
    ReviewCampaignRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewOfferRow,
    ReviewReviewerRow,
    new_id,
)

Json = dict[str, Any]
# What taking an answer back calls off or turns back; an act under way says so, one that was refused did nothing.
CALLED_OFF = (
    RemediationStatus.PROPOSED,
    RemediationStatus.PLANNED,
    RemediationStatus.ACTING,
    RemediationStatus.DONE,
)
STALE = "This card is out of date. `/nhi review` shows what is left."


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
        raise OutOfDate(STALE)
    campaign = session.get_one(ReviewCampaignRow, offer.campaign_id)
    if campaign.closed_at is not None:
        raise OutOfDate(f"The review of {campaign.quarter} closed on {campaign.closed_at:%-d %B %Y}.")
    who = authority.person(session, slack_id)
    wanted = select(ReviewItemRow).where(ReviewItemRow.id.in_(offer.item_ids)).order_by(ReviewItemRow.position)
    rows = list(session.scalars(wanted.execution_options(populate_existing=True)))
    rights = [_right(session, who, row, policy, now) for row in rows]
    if not rows or any(right is None for right in rights):
        raise NotAllowed("Thanks for looking! These are for somebody else to review, so I can't take your answer.")
    still = [row for row in rows if row.status is ItemStatus.PENDING or action == Answer.REOPEN]
    if not still or offer.used_at is not None:
        raise _too_late(session, rows)
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


def _too_late(session: Session, items: Sequence[ReviewItemRow]) -> NhiError:
    ids = [item.decision_id for item in items if item.decision_id]
    first = session.get(ReviewDecisionRow, ids[0]) if ids else None
    if first is None:
        return OutOfDate(STALE)
    said = "said that it is still needed" if first.answer is Answer.KEEP else "asked to turn it off"
    return AlreadyAnswered(f"{tidy(first.name, 80)} {said} on {first.at:%-d %B at %H:%M} UTC already.")


# -- the answers -------------------------------------------------------------------------------------------------------


def keep(session: Session, reviewing: Reviewing, now: datetime, *, words: str | None = None) -> Reviewed:
    """Record that it is still needed: one item, or several with the same facts. High risk needs a reason."""
    reason = check_reason(words) if words is not None else None
    if reason is None and any(item.risk is Risk.HIGH for item in reviewing.items):
        raise BadAnswer("Its risk is high, so please say why it is still needed.", field="reason")
    _refuse_mixed(reviewing.items)
    _spend(session, reviewing, now)
    for item in reviewing.items:
        decision = _decide(session, reviewing, item, Answer.KEEP, now, words=reason)
        _take(session, item, ItemStatus.KEPT, decision, now)
    _redraw(session, reviewing.campaign.id, {item.reviewer for item in reviewing.items})
    return Reviewed(campaign_id=reviewing.campaign.id, answer=Answer.KEEP, items=len(reviewing.items))


def _refuse_mixed(items: Sequence[ReviewItemRow]) -> None:
    """Raise where items that are not alike, or privileged ones, would be answered at one press."""
    if len(items) > 1 and (items[0].kin is None or any(item.kin != items[0].kin for item in items)):
        raise OutOfDate("These are not the same any more; please answer them one by one.")


def turn_off(
    session: Session, reviewing: Reviewing, credential_ids: Sequence[str], policy: Policy, now: datetime
) -> Reviewed:
    """Record that it is to be turned off, and plan it: a remediation for each credential named.

    Where nothing of it can be turned off from here, the decision stands, and somebody does it by hand.
    """
    item, possible = reviewing.item, can_disable(session, reviewing.item.identity_id)
    chosen = [credential for credential in possible if credential.id in credential_ids]
    if possible and not chosen:
        raise BadAnswer("Please choose what is to be turned off.", field="credentials")
    _spend(session, reviewing, now)
    answering = _answering(session, reviewing, item)
    planned = [decisions.plan_disable(session, answering, credential.id, policy, now) for credential in chosen]
    if planned and answering.ask is not None:
        _settle(session, answering.ask, now)
    acts = tuple(act.remediation_id for act in planned if act.remediation_id)
    attestation_id = planned[0].attestation_id if planned else None
    decision = _decide(
        session, reviewing, item, Answer.OFF, now, attestation_id=attestation_id, remediation_ids=list(acts)
    )
    _take(session, item, ItemStatus.OFF, decision, now)
    _redraw(session, reviewing.campaign.id, {item.reviewer})
    return Reviewed(
        campaign_id=reviewing.campaign.id, answer=Answer.OFF, items=1, by_hand=not acts, remediation_ids=acts
    )


def can_disable(session: Session, identity_id: str) -> list[CredentialRow]:
    """Return the credentials that this program can turn off, reversibly."""
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
    ask = session.scalar(
        select(AskRow).where(AskRow.identity_id == item.identity_id, AskRow.status == AskStatus.OPEN)
    )
    identity = session.get_one(IdentityRow, item.identity_id)
    right = f"{reviewing.by_right} in the review of {reviewing.campaign.quarter}"
    return Answering(offer=offer, identity=identity, ask=ask, who=reviewing.who, by_right=right)


def _settle(session: Session, ask: AskRow, now: datetime) -> None:
    """End the conversation's own question: it is answered by this."""
    session.execute(
        update(AskRow)
        .where(AskRow.id == ask.id, AskRow.status == AskStatus.OPEN)
        .values(status=AskStatus.ANSWERED, ended_at=now)
    )
    redraw(session, ask.id)


def reassign(
    session: Session, reviewing: Reviewing, *, to: str | None, note: str, policy: Policy, now: datetime
) -> Reviewed:
    """Hand an item to somebody else, with a note. `to` is a Slack id; None: to the next who is answerable.

    Raises BadAnswer where that person cannot review it.
    """
    item, said = reviewing.item, check_reason(note)
    former = item.reviewer
    heir = _named(session, item, to) if to else _next(session, item, policy)
    _spend(session, reviewing, now)
    _decide(session, reviewing, item, Answer.REASSIGN, now, words=said, reassigned_to=heir)
    moved = session.execute(
        update(ReviewItemRow)
        .where(ReviewItemRow.id == item.id, ReviewItemRow.status == ItemStatus.PENDING)
        .where(ReviewItemRow.reviewer == former)
        .values(
            reviewer=heir,
            because=Because.REASSIGNED,
            self_review=heir in reviews.themselves_of(item.facts),
            by_creator=heir in item.facts["creators"],
            later_at=None,
        )
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]
        raise _too_late(session, [item])
    if item.because is Because.LIKELY and former == reviewing.who.email:
        _not_theirs(session, item, former, reviewing.campaign.quarter, now)
    ensure_reviewer(session, item.campaign_id, heir).told_at = None  # told of it with the next message
    _redraw(session, reviewing.campaign.id, {former, heir})
    return Reviewed(campaign_id=reviewing.campaign.id, answer=Answer.REASSIGN, items=1)


def _named(session: Session, item: ReviewItemRow, slack_id: str) -> str:
    person = session.get(PersonRow, slack_id)
    if person is None:
        raise BadAnswer("I don't know that person yet; please try again in a moment.", field="to")
    if not authority.is_able(person) or not person.email:
        raise BadAnswer("Guests, bots and people who left cannot review; please choose a member.", field="to")
    if person.email == item.reviewer:
        raise BadAnswer("They review it already; please choose somebody else.", field="to")
    if reviews.forbidden(item.facts, item.privileged, person.email):
        raise BadAnswer("They own it and it can administer its account: please choose somebody else.", field="to")
    return person.email


def _next(session: Session, item: ReviewItemRow, policy: Policy) -> str:
    """Return the next who is answerable and did not pass it on already: the managers, then security."""
    passed = select(ReviewDecisionRow.shown).where(
        ReviewDecisionRow.item_id == item.id, ReviewDecisionRow.answer == Answer.REASSIGN
    )
    had_it = {shown.get("reviewer") for shown in session.scalars(passed)} | {item.reviewer}
    people = list(session.scalars(select(PersonRow)))
    able = {row.email for row in people if authority.is_able(row)}
    ladder = [*item.facts["managers"], *review_facts.security(people, policy)]
    for email in ladder:
        if email in able and email not in had_it and not reviews.forbidden(item.facts, item.privileged, email):
            return str(email)
    raise BadAnswer("Nobody else is known who could; please choose a person.", field="to")


def _not_theirs(session: Session, item: ReviewItemRow, email: str, quarter: str, now: datetime) -> None:
    """Keep as evidence that a likely owner said no: the conversation then asks somebody else as well."""
    fact = f"{email} said in the review of {quarter} that it is not theirs"
    known = select(EvidenceRow.id).where(
        EvidenceRow.identity_id == item.identity_id, EvidenceRow.source == "not_mine", EvidenceRow.fact == fact
    )
    if session.scalar(known) is None:
        row = EvidenceRow(
            identity_id=item.identity_id, source="not_mine", fact=fact, points_to=email, at=now, seen_at=now
        )
        session.add(row)


def reopen(session: Session, reviewing: Reviewing, now: datetime) -> Reviewed:
    """Take one's own answer back: the item is open again, and what was planned is called off."""
    item = reviewing.item
    former = session.get(ReviewDecisionRow, item.decision_id) if item.decision_id else None
    if former is None:
        raise OutOfDate(STALE)
    _spend(session, reviewing, now)
    for act in session.scalars(select(RemediationRow).where(RemediationRow.id.in_(former.remediation_ids))):
        if act.status in CALLED_OFF:
            decisions.request_undo(session, act.id, by=reviewing.who.email, now=now)
    _decide(session, reviewing, item, Answer.REOPEN, now)
    _open_again(session, item, former.id)
    _redraw(session, reviewing.campaign.id, {item.reviewer})
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
        raise OutOfDate(STALE)


def later(session: Session, reviewing: Reviewing, now: datetime) -> None:
    """Put an item off: it comes after the others. No decision, and no promise."""
    session.execute(update(ReviewItemRow).where(ReviewItemRow.id == reviewing.item.id).values(later_at=now))
    _redraw(session, reviewing.campaign.id, {reviewing.item.reviewer})


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
    ids = reviews.to_ask_again(stamps(session, row.campaign_id, row.email))
    items = list(session.scalars(select(ReviewItemRow).where(ReviewItemRow.id.in_(ids))))
    for item in items:
        if item.decision_id:
            _open_again(session, item, item.decision_id, asked_again_at=now)
    facts = {"campaign": row.campaign_id, "items": sorted(ids), "because": list(low)}
    ledger.record(session, "review.asked_again", now=now, facts=facts, private={"email": row.email})
    _redraw(session, row.campaign_id, {row.email})
    return len(items)


def stamps(session: Session, campaign_id: str, email: str) -> list[reviews.Stamp]:
    """Return the decisions that count, as the meter reads them: of who decided them, oldest first."""
    query = (
        select(ReviewDecisionRow, ReviewItemRow.risk, ReviewItemRow.changes)
        .join(ReviewItemRow, ReviewItemRow.decision_id == ReviewDecisionRow.id)
        .where(ReviewDecisionRow.campaign_id == campaign_id, ReviewDecisionRow.email == email)
        .order_by(ReviewDecisionRow.at, ReviewItemRow.position)
    )
    return [
        reviews.Stamp(
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


# -- what every answer is made of --------------------------------------------------------------------------------------


def _decide(
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


def _spend(session: Session, reviewing: Reviewing, now: datetime) -> None:
    spent = session.execute(
        update(ReviewOfferRow)
        .where(ReviewOfferRow.id == reviewing.offer.id, ReviewOfferRow.used_at.is_(None))
        .values(used_at=now)
    )
    if spent.rowcount != 1:  # type: ignore[attr-defined]
        raise _too_late(session, reviewing.items)
    # Two answers must not cross a closing: whoever comes second sees what the first did.
    still = select(ReviewCampaignRow.closed_at).where(ReviewCampaignRow.id == reviewing.campaign.id)
    if session.scalar(still) is not None:
        raise OutOfDate(f"The review of {reviewing.campaign.quarter} is closed.")


def _take(
    session: Session, item: ReviewItemRow, status: ItemStatus, decision: ReviewDecisionRow, now: datetime
) -> None:
    taken = session.execute(
        update(ReviewItemRow)
        .where(ReviewItemRow.id == item.id, ReviewItemRow.status == ItemStatus.PENDING)
        .values(status=status, decision_id=decision.id, decided_at=now)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise _too_late(session, [item])


def _redraw(session: Session, campaign_id: str, emails: Iterable[str]) -> None:
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
