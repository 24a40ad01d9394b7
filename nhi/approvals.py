"""The second person: asked before an act on what is privileged, and never the first one again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from nhi import authority, ledger, steps
from nhi.answers import redraw
from nhi.errors import AlreadyAnswered, NotAllowed, OutOfDate
from nhi.policy import Policy
from nhi.remediation import RemediationStatus, State
from nhi.tables import ApprovalRow, AskRow, AttestationRow, DeliveryRow, PersonRow, RemediationRow, new_id
from nhi.words import sentence


@dataclass(frozen=True, kw_only=True)
class Approving:
    """Somebody about to agree, or not: checked, nothing written yet."""

    approval: ApprovalRow
    act: RemediationRow
    who: PersonRow
    by_right: str


def ask(session: Session, act: RemediationRow, because: str, first: str, now: datetime) -> ApprovalRow:
    """Open the question to a second person; the worker posts it. `first` is the e-mail of who decided."""
    row = ApprovalRow(id=new_id(), remediation_id=act.id, because=because, first=first, asked_at=now)
    session.add(row)
    session.flush()
    facts = {"remediation": act.id, "approval": row.id, "because": because}
    ledger.record(session, "approval.asked", now=now, identity_id=act.identity_id, facts=facts)
    return row


def begin(session: Session, approval_id: str, *, slack_id: str, policy: Policy, now: datetime) -> Approving:
    """Check that this person may be the second one. Writes nothing.

    Raises OutOfDate, AlreadyAnswered, or NotAllowed for the first person and for whoever may not decide it at all. That
    somebody is in the channel where it is asked is no right.
    """
    approval = session.get(ApprovalRow, approval_id)
    if approval is None:
        raise OutOfDate(sentence("refusals.question_out_of_date"))
    act = session.get_one(RemediationRow, approval.remediation_id)
    who = authority.person(session, slack_id)
    is_over = now >= ends_at(approval, policy)
    if approval.decided_at is not None or act.status is not RemediationStatus.AWAITING or is_over:
        raise _too_late(approval, act)
    if _is_first(session, who, act, approval):
        raise NotAllowed(sentence("refusals.you_were_first"))
    right = right_of(session, who, act, approval, policy, now)
    if right is None:
        raise NotAllowed(sentence("refusals.not_yours_to_agree"))
    return Approving(approval=approval, act=act, who=who, by_right=right)


def right_of(
    session: Session, who: PersonRow, act: RemediationRow, approval: ApprovalRow, policy: Policy, now: datetime
) -> str | None:
    """Return by what right somebody may be the second person; None: they may not. Whoever stands in for the first is
    no second."""
    ask_row = session.get(AskRow, act.ask_id) if act.ask_id else None
    right = authority.authority(session, who, act.identity, ask_row, policy, now)
    if right is None or right.startswith(authority.MEMBER_OF) or _is_first(session, who, act, approval):
        return None
    return None if right == f"delegate of {approval.first}" else right


def _is_first(session: Session, who: PersonRow, act: RemediationRow, approval: ApprovalRow) -> bool:
    """Whether somebody decided the act: by address, or by Slack's own id, which stays when the address changes."""
    decided = session.get_one(AttestationRow, act.attestation_id)
    return who.email == approval.first or who.slack_id == decided.slack_id


def _too_late(approval: ApprovalRow, act: RemediationRow) -> AlreadyAnswered | OutOfDate:
    if is_late(approval, act) or (approval.decided_at is None and act.status is RemediationStatus.AWAITING):
        return OutOfDate(sentence("refusals.nobody_agreed"))
    if approval.decided_at is None or approval.name is None:
        return OutOfDate(sentence("refusals.called_off"))
    about = {"name": approval.name, "agreed": approval.agreed, "at": approval.decided_at}
    return AlreadyAnswered(sentence("refusals.agreed_already", **about))


def decide(session: Session, approving: Approving, *, agrees: bool, now: datetime) -> RemediationRow:
    """Record what the second person says: the act is done next, or ended. Raises AlreadyAnswered."""
    approval, act, who = approving.approval, approving.act, approving.who
    taken = session.execute(
        update(ApprovalRow)
        .where(ApprovalRow.id == approval.id, ApprovalRow.decided_at.is_(None))
        .values(
            decided_at=now,
            agreed=agrees,
            email=who.email,
            slack_id=who.slack_id,
            name=who.name,
            authority=approving.by_right,
        )
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise AlreadyAnswered(sentence("refusals.somebody_was_faster"))
    if agrees:
        act.due_at = now
        steps.advance(session, act, State.SCHEDULED, now, approval=approval.id)
    else:
        because = sentence("second.declined_because", name=who.name)
        steps.advance(session, act, State.REFUSED, now, because=because, approval=approval.id)
    ledger.record(
        session,
        "approval.agreed" if agrees else "approval.declined",
        now=now,
        identity_id=act.identity_id,
        facts={"remediation": act.id, "approval": approval.id},
        private={"email": who.email, "slack_id": who.slack_id, "authority": approving.by_right},
    )
    redraw(session, act.ask_id)
    redraw_question(session, approval)
    return act


def ends_at(approval: ApprovalRow, policy: Policy) -> datetime:
    """Return by when somebody has to agree: what was decided on what was known then is not done for ever after."""
    return approval.asked_at + policy.remediation.second_person_within


def reminds_at(approval: ApprovalRow, policy: Policy) -> datetime:
    return approval.asked_at + policy.remediation.second_person_within / 2


def is_late(approval: ApprovalRow, act: RemediationRow) -> bool:
    """Whether a question was closed because nobody answered it in time."""
    return approval.agreed is None and act.status is RemediationStatus.REFUSED


def expire(session: Session, approval: ApprovalRow, because: str, now: datetime) -> RemediationRow | None:
    """End an act that nobody agreed to in time; `because` is the sentence on its card. None: somebody was faster."""
    act = steps.locked(session, approval.remediation_id)
    taken = session.execute(
        update(ApprovalRow)
        .where(ApprovalRow.id == approval.id, ApprovalRow.decided_at.is_(None))
        .values(decided_at=now)
    )
    if taken.rowcount != 1 or act.status is not RemediationStatus.AWAITING:  # type: ignore[attr-defined]
        return None
    steps.advance(session, act, State.REFUSED, now, because=because, approval=approval.id)
    facts = {"remediation": act.id, "approval": approval.id}
    ledger.record(session, "approval.expired", now=now, identity_id=act.identity_id, facts=facts)
    redraw(session, act.ask_id)
    redraw_question(session, approval)
    return act


def call_off(session: Session, act: RemediationRow, now: datetime) -> None:
    """Close an open question about an act that is not wanted any more."""
    open_one = select(ApprovalRow).where(ApprovalRow.remediation_id == act.id, ApprovalRow.decided_at.is_(None))
    for approval in session.scalars(open_one):
        approval.decided_at = now
        session.flush()
        redraw_question(session, approval)


def redraw_question(session: Session, approval: ApprovalRow) -> None:
    """Mark the posted question as due for a redraw."""
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == approval.delivery_id)
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )


def agreed(session: Session, act: RemediationRow, policy: Policy, now: datetime) -> bool:
    """Whether a second person, who may still decide it, agreed to this act."""
    rows = select(ApprovalRow).where(ApprovalRow.remediation_id == act.id, ApprovalRow.agreed.is_(True))
    for approval in session.scalars(rows):
        who = session.get(PersonRow, approval.slack_id)
        if who is not None and right_of(session, who, act, approval, policy, now) is not None:
            return True
    return False
