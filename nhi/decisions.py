"""What people decide: one use case each, one short transaction each.

Each writes the attestation (who, verdict, words, the card as shown, until when), what follows from it, and the ledger
event, together. An offer is good for one answer: a double click, a replayed request and two copies of a card are the
same case, and the second hears who was first.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from nhi import approvals, authority, ledger, patience, planning, risk, rotations, step_up, steps
from nhi.answers import (
    Answered,
    Answering,
    answered,
    attest,
    findings_of,
    not_theirs,
    redraw,
    resolve,
    spend,
    spend_offer,
    whose,
)
from nhi.errors import AlreadyAnswered, BadAnswer, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.findings import OF_ACTIVITY, OWNERSHIP, FindingStatus
from nhi.identity import CredentialStatus
from nhi.policy import Policy
from nhi.reasons import check_reason, check_until
from nhi.remediation import (
    NOT_BEGUN,
    REVERSIBLE,
    STATUS,
    UNDO_FOR,
    RemediationKind,
    RemediationStatus,
    State,
)
from nhi.tables import (
    AttestationRow,
    CredentialRow,
    EvidenceRow,
    OwnerRow,
    RemediationRow,
)
from nhi.words import sentence


def claim(session: Session, answering: Answering, now: datetime) -> Answered:
    """Record that this person is answerable for the identity from now on."""
    spend(session, answering, AskStatus.ANSWERED, now)
    claimed = _claim(session, answering, now)
    _reopen(session, answering)
    return claimed


def take_over(session: Session, answering: Answering, now: datetime) -> Answered:
    """Record a claim that answers no question of its own: what a leaver owned was handed to this person."""
    return _claim(session, answering, now)


def _claim(session: Session, answering: Answering, now: datetime) -> Answered:
    attestation = attest(session, answering, Verdict.CLAIM, now)
    identity, email = answering.identity, answering.who.email
    session.execute(
        update(OwnerRow)
        .where(OwnerRow.identity_id == identity.id, OwnerRow.ended_at.is_(None))
        .values(ended_at=now, ended_because=authority.OwnerEnd.CLAIMED)
    )
    session.add(OwnerRow(identity_id=identity.id, email=email, since=now, attestation_id=attestation.id))
    for finding in findings_of(session, answering, OWNERSHIP):
        resolve(session, finding, sentence("findings.resolved_owned"), now)
    return answered(answering, attestation)


def not_mine(session: Session, answering: Answering, now: datetime) -> Answered:
    """Record that the identity is not this person's: evidence against them, and the next candidate is asked.

    A delegate or an admin says it of the person in whose stead they answer. An owner who says it is no owner any more.
    """
    spend(session, answering, AskStatus.PASSED, now)
    attestation = attest(session, answering, Verdict.NOT_MINE, now)
    them = whose(answering)
    session.execute(
        update(OwnerRow)
        .where(OwnerRow.identity_id == answering.identity.id, OwnerRow.ended_at.is_(None), OwnerRow.email == them)
        .values(ended_at=now, ended_because=authority.OwnerEnd.NOT_THEIRS)
    )
    session.add(
        EvidenceRow(
            identity_id=answering.identity.id,
            source="not_mine",
            fact=not_theirs(answering.who.email, them) + f" ({attestation.id[:8]})",
            points_to=them,
            at=now,
            seen_at=now,
        )
    )
    _reopen(session, answering)
    return answered(answering, attestation)


def _reopen(session: Session, answering: Answering) -> None:
    """Let the findings that are left be asked about again: nobody's answer is waited for any more."""
    for finding in findings_of(session, answering):
        if finding.status is FindingStatus.ASKED:
            finding.status = FindingStatus.OPEN


def justify(
    session: Session, answering: Answering, *, words: str, until: date, also_claim: bool, policy: Policy, now: datetime
) -> Answered:
    """Record why the identity stays as it is, until a day within policy. Raises BadAnswer that names the field.

    Covers the findings on the card except `unowned` and `orphaned`: a reason does not make somebody answerable.
    """
    reason = check_reason(words)
    ends = check_until(until, policy, now)
    spend(session, answering, AskStatus.ANSWERED, now)
    attestation = attest(session, answering, Verdict.JUSTIFY, now, words=reason, until=ends)
    patience.promise(session, attestation, now)
    for finding in findings_of(session, answering):
        if finding.kind not in OWNERSHIP | OF_ACTIVITY:
            finding.status, finding.justified_until = FindingStatus.JUSTIFIED, ends
    _reopen(session, answering)
    _also_claim(session, answering, also_claim, now)
    return answered(answering, attestation)


def rotate(
    session: Session, answering: Answering, *, credential_id: str, also_claim: bool, policy: Policy, now: datetime
) -> Answered:
    """Record that this credential is to be rotated, and plan it. Raises BadAnswer as `disable` does."""
    if rotations.destination(answering.identity, _credential(session, answering, credential_id).kind, policy):
        _demand_step_up(session, answering, policy, now)
    return _plan(session, answering, RemediationKind.ROTATE, credential_id, also_claim, policy, now)


def disable(
    session: Session,
    answering: Answering,
    *,
    credential_id: str,
    also_claim: bool,
    policy: Policy,
    now: datetime,
    sessions_only: bool = False,
    scream_test: bool = False,
) -> Answered:
    """Record that this one credential is to be turned off, reversibly, and plan it.

    With `sessions_only`, only what it was used to begin is ended. With `scream_test`, where policy offers one, it is
    off for short whiles first. Raises BadAnswer about the field `code` where policy
    asks for a step-up and there was none for this offer.
    """
    kind = RemediationKind.REVOKE if sessions_only else RemediationKind.DISABLE
    if sessions_only and _credential(session, answering, credential_id).kind != "role":
        raise BadAnswer(sentence("refusals.only_roles_have_sessions"), field="credential")
    _demand_step_up(session, answering, policy, now)
    return _plan(session, answering, kind, credential_id, also_claim, policy, now, scream_test=scream_test)


def _demand_step_up(session: Session, answering: Answering, policy: Policy, now: datetime) -> None:
    if needs(answering, policy).step_up:
        step_up.demand(session, answering.who.email, answering.offer.id, now)


def needs(answering: Answering, policy: Policy, credential_kind: str | None = None) -> risk.Required:
    """Return what turning off something of this identity takes beside one person's click."""
    return planning.needs(answering, policy, credential_kind)


def _plan(
    session: Session,
    answering: Answering,
    kind: RemediationKind,
    credential_id: str,
    also_claim: bool,
    policy: Policy,
    now: datetime,
    *,
    scream_test: bool = False,
) -> Answered:
    credential = _credential(session, answering, credential_id)
    spend(session, answering, AskStatus.ANSWERED, now)
    verdict = Verdict.ROTATE if kind is RemediationKind.ROTATE else Verdict.DISABLE
    attestation = attest(session, answering, verdict, now, credential=credential)
    _also_claim(session, answering, also_claim, now)
    planned = planning.live_or_new(
        session, answering, kind, credential, attestation, policy, now, scream_test=scream_test
    )
    return answered(answering, attestation, planned.id)


def plan_disable(session: Session, answering: Answering, credential_id: str, policy: Policy, now: datetime) -> Answered:
    """Plan turning one credential off by a decision made elsewhere (a review), whose caller closed its own question."""
    _demand_step_up(session, answering, policy, now)
    credential = _credential(session, answering, credential_id)
    attestation = attest(session, answering, Verdict.DISABLE, now, credential=credential)
    planned = planning.live_or_new(session, answering, RemediationKind.DISABLE, credential, attestation, policy, now)
    return answered(answering, attestation, planned.id)


def quarantine(
    session: Session,
    answering: Answering,
    credential: CredentialRow,
    attestation: AttestationRow,
    policy: Policy,
    now: datetime,
) -> str | None:
    """Plan turning off what somebody else has: that it is being used speaks for it, and not against it.

    Returns the act's id; None where policy asks for a step-up that was not made: the answer counts all the same, and
    somebody disables it with one.
    """
    try:
        _demand_step_up(session, answering, policy, now)
    except BadAnswer:
        return None
    kind = RemediationKind.DISABLE
    return planning.live_or_new(session, answering, kind, credential, attestation, policy, now, despite_use=True).id


def _credential(session: Session, answering: Answering, credential_id: str) -> CredentialRow:
    credential = session.get(CredentialRow, credential_id)
    if credential is None or credential.identity_id != answering.identity.id:
        raise BadAnswer(sentence("refusals.choose_credential"), field="credential")
    if credential.gone_at is not None or credential.status is not CredentialStatus.ACTIVE:
        raise BadAnswer(sentence("refusals.credential_is_off"), field="credential")
    if credential.external_id is None:
        raise BadAnswer(sentence("refusals.credential_stays"), field="credential")
    return credential


def undo(session: Session, answering: Answering, now: datetime) -> Answered:
    """Record that an act is to be taken back, and hand it to the worker. Raises OutOfDate: nothing to undo."""
    if answering.offer.remediation_id is None:
        raise OutOfDate(sentence("refusals.nothing_to_undo_here"))
    if not spend_offer(session, answering.offer, now):
        raise AlreadyAnswered(sentence("refusals.undo_pressed"))
    attestation = attest(session, answering, Verdict.UNDO, now)
    request_undo(session, answering.offer.remediation_id, by=answering.who.email, now=now)
    return answered(answering, attestation, answering.offer.remediation_id)


_UNDO_LEADS_TO = {
    **dict.fromkeys(NOT_BEGUN, State.UNDONE),
    RemediationStatus.ACTING: State.ACTING,  # the worker reads `undo_by` when it is done, and goes on to undo it
    RemediationStatus.TESTING: State.UNDOING,
    RemediationStatus.DONE: State.UNDOING,
}


def request_undo(session: Session, remediation_id: str, *, by: str, now: datetime) -> RemediationRow:
    """Hand an act to the worker to be taken back; what was not done yet is called off on the spot.

    What is being done right now is taken back as soon as it is done. Raises OutOfDate where there is nothing (left) to
    undo, in a sentence that says why.
    """
    row = session.get(RemediationRow, remediation_id)
    if row is None:
        raise OutOfDate(sentence("refusals.no_such_act", id=remediation_id))
    next_state = _UNDO_LEADS_TO.get(row.status)
    if next_state is None:
        raise OutOfDate(sentence("refusals.nothing_to_undo", status=row.status.value))
    if row.acted_at is not None and now > row.acted_at + UNDO_FOR:
        raise OutOfDate(sentence("refusals.undo_is_over", until=row.acted_at + UNDO_FOR))
    _check_newer(session, row)
    rotations.check_undo(session, row)
    before = steps.state_of(row)
    moved = session.execute(
        update(RemediationRow)
        .where(RemediationRow.id == row.id, RemediationRow.status == row.status)
        .values(
            status=STATUS[next_state],
            undo_by=by,
            due_at=now,  # also of what is put off: it is looked at at once
            undone_at=now if row.status in NOT_BEGUN else None,
        )
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]
        raise AlreadyAnswered(sentence("refusals.at_it_already"))
    session.refresh(row)
    steps.advance(session, row, next_state, now, after=before)
    approvals.call_off(session, row, now)
    ledger.record(
        session,
        "remediation.undo_requested",
        now=now,
        identity_id=row.identity_id,
        facts={"remediation": row.id},
        private={"by": by},
    )
    redraw(session, row.ask_id)
    return row


def _check_newer(session: Session, row: RemediationRow) -> None:
    """Raise OutOfDate where a newer act has the credential off: taking an older one back would undo that one's work."""
    if row.status in NOT_BEGUN:
        return
    off = (RemediationStatus.ACTING, RemediationStatus.TESTING, RemediationStatus.DONE)
    newer = next((act for act in steps.newer(session, row) if act.status in off), None)
    if newer is not None and row.kind in REVERSIBLE:
        raise OutOfDate(sentence("refusals.undo_the_newer", act=newer.id[:8]))


def _also_claim(session: Session, answering: Answering, also_claim: bool, now: datetime) -> None:
    owner = authority.current_owner(session, answering.identity.id)
    if also_claim and (owner is None or owner.email != answering.who.email):
        _claim(session, answering, now)
