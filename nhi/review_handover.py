"""An item goes to another reviewer: because somebody says that it is not theirs, or because they left."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from nhi import authority, ledger, review_facts, reviews
from nhi.campaigns import ensure_reviewer
from nhi.errors import BadAnswer
from nhi.policy import Policy
from nhi.reasons import check_reason
from nhi.review_pieces import Reviewed, Reviewing, decide, redraw_boards, spend, too_late
from nhi.reviews import Answer, Because, ItemStatus
from nhi.tables import (
    EvidenceRow,
    PersonRow,
    ReviewDecisionRow,
    ReviewItemRow,
)
from nhi.words import sentence

Json = dict[str, Any]


def reassign(
    session: Session, reviewing: Reviewing, *, to: str | None, note: str, policy: Policy, now: datetime
) -> Reviewed:
    """Hand an item to somebody else, with a note. `to` is a Slack id; None: to the next who is answerable.

    Raises BadAnswer where that person cannot review it.
    """
    item, said = reviewing.item, check_reason(note)
    former, was_likely = item.reviewer, item.because is Because.LIKELY
    heir = _named(session, item, to) if to else _next(session, item, policy)
    if heir is None:
        raise BadAnswer(sentence("refusals.reviewer_nobody_left"), field="to")
    spend(session, reviewing, now)
    decide(session, reviewing, item, Answer.REASSIGN, now, words=said, reassigned_to=heir)
    if not _move(session, item, heir):
        raise too_late(session, [item])
    if was_likely and former == reviewing.who.email:
        _not_theirs(session, item, former, reviewing.campaign.quarter, now)
    return Reviewed(campaign_id=reviewing.campaign.id, answer=Answer.REASSIGN, items=1)


def hand_on(session: Session, item: ReviewItemRow, policy: Policy, now: datetime) -> bool:
    """Give an item whose reviewer left to the next who is answerable; return whether there is somebody."""
    former, heir = item.reviewer, _next(session, item, policy)
    if heir is None or not _move(session, item, heir):
        return False
    about = {"campaign": item.campaign_id, "item": item.id, "because": "the reviewer left"}
    private = {"from": former, "to": heir}
    ledger.record(session, "review.reassigned", now=now, identity_id=item.identity_id, facts=about, private=private)
    return True


def _move(session: Session, item: ReviewItemRow, heir: str) -> bool:
    """Change the reviewer by one conditional UPDATE; return whether it was still to be had."""
    former = item.reviewer
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
    ensure_reviewer(session, item.campaign_id, heir).told_at = None  # told of it with the next message
    redraw_boards(session, item.campaign_id, {former, heir})
    return bool(moved.rowcount == 1)  # type: ignore[attr-defined]


def _named(session: Session, item: ReviewItemRow, slack_id: str) -> str:
    person = session.get(PersonRow, slack_id)
    if person is None:
        raise BadAnswer(sentence("refusals.reviewer_unknown"), field="to")
    if not authority.is_able(person) or not person.email:
        raise BadAnswer(sentence("refusals.reviewer_cannot"), field="to")
    if person.email == item.reviewer:
        raise BadAnswer(sentence("refusals.reviewer_the_same"), field="to")
    if reviews.forbidden(item.facts, item.privileged, person.email):
        raise BadAnswer(sentence("refusals.reviewer_owns_it"), field="to")
    return person.email


def _next(session: Session, item: ReviewItemRow, policy: Policy) -> str | None:
    """Return the next who is answerable and did not pass it on already: the managers, then security.

    None: there is nobody.
    """
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
    return None


def _not_theirs(session: Session, item: ReviewItemRow, email: str, quarter: str, now: datetime) -> None:
    """Keep as evidence that a likely owner said no: the conversation then asks somebody else as well."""
    fact = sentence("answers.not_theirs_in_review", who=email, quarter=quarter)
    known = select(EvidenceRow.id).where(
        EvidenceRow.identity_id == item.identity_id, EvidenceRow.source == "not_mine", EvidenceRow.fact == fact
    )
    if session.scalar(known) is None:
        row = EvidenceRow(
            identity_id=item.identity_id, source="not_mine", fact=fact, points_to=email, at=now, seen_at=now
        )
        session.add(row)
