"""Look at the clouds again: count what there is, and read back what was to be turned off. Never writes to a cloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs.pack.model import After
from jobs.program import Program
from nhi import act_facts, facts, steps
from nhi.database import reading
from nhi.identity import CredentialStatus, Gap
from nhi.providers import Count, Counts, CredentialState, Disables, Provider, SpansAccounts, Target
from nhi.records import identity_of
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.reviews import Answer, Quarter
from nhi.tables import (
    AttestationRow,
    IdentityRow,
    PopulationCountRow,
    RemediationRow,
    ReviewDecisionRow,
    ReviewItemRow,
    new_id,
)


def count(program: Program) -> None:
    """Write down what each source itself says it holds, beside what is known of it. Call it right after a scan."""
    for source in program.policy().sources:
        provider = program.providers[source.provider](source)
        if not isinstance(provider, Counts):
            continue
        told, seen, now = list(provider.counts()), _seen(program, provider), program.clock()
        with program.sessions.begin() as session:
            session.add_all(_row(provider, one, seen, now) for one in told)


def _seen(program: Program, provider: Provider) -> dict[str, int]:
    query = (
        select(IdentityRow.kind, func.count())
        .where(
            IdentityRow.provider == provider.name,
            IdentityRow.account == provider.account,
            IdentityRow.gone_at.is_(None),
        )
        .group_by(IdentityRow.kind)
    )
    with reading(program.sessions) as session:
        return dict(session.execute(query).all())


def _row(provider: Provider, told: Count | Gap, seen: dict[str, int], now: datetime) -> PopulationCountRow:
    if isinstance(told, Gap):
        kind, counted, known, source = "all kinds", None, sum(seen.values()), told.reason
    else:
        kind, counted, known, source = told.kind, told.number, seen.get(told.kind, 0), told.source
    return PopulationCountRow(
        id=new_id(),
        provider=provider.name,
        account=provider.account,
        kind=kind,
        counted=counted,
        seen=known,
        source=source[:255],
        at=now,
    )


def read_back(program: Program, quarter: Quarter) -> tuple[After, ...]:
    """Look at each credential that was decided in the quarter to be turned off or rotated, as it is right now.

    What the review left to somebody's hands is told as the last scan saw it.
    """
    with reading(program.sessions) as session:
        rows = session.execute(
            select(RemediationRow, AttestationRow.email)
            .join(AttestationRow, AttestationRow.id == RemediationRow.attestation_id)
            .where(RemediationRow.planned_at >= quarter.begins_at, RemediationRow.planned_at < quarter.ends_at)
            .order_by(RemediationRow.planned_at, RemediationRow.id)
        )
        return (*_looked(program, list(rows)), *_by_hand(session, quarter, program))


def _looked(program: Program, rows: Sequence[tuple[RemediationRow, str]]) -> Iterator[After]:
    opened: dict[tuple[str, str], Provider | None] = {}
    newest = {row.credential_id: row.id for row, _ in rows}
    for row, email in rows:
        place = (row.identity.provider, row.identity.account)
        if place not in opened:
            opened[place] = _open(program, row)
        seen, why = _look(opened[place], row)
        is_newest = newest[row.credential_id] == row.id
        yield _after(row, email, seen, why, program.clock(), _as_decided(row, seen) if is_newest else None)


def _look(provider: Provider | None, row: RemediationRow) -> tuple[str, str]:
    """Return what the credential is now (inactive, active, gone, not seen), and why where it could not be seen."""
    if provider is None:
        return "not seen", "no source of policy.toml reaches this account"
    if not isinstance(provider, Disables) or row.credential.external_id is None:
        return "not seen", "credentials of this kind cannot be read back"
    match provider.look(_target(row, row.credential.external_id)):
        case None:
            return "gone", ""
        case CredentialState(status=status):
            return ("inactive" if status is CredentialStatus.INACTIVE else "active"), ""
        case Gap(reason=reason):
            return "not seen", reason


def _open(program: Program, row: RemediationRow) -> Provider | None:
    """Open the source that reaches the account of this credential; None: there is none any more."""
    for source in program.policy().sources:
        if source.provider != row.identity.provider or source.provider not in program.providers:
            continue
        provider = program.providers[source.provider](source)
        if isinstance(provider, SpansAccounts):
            is_there = provider.holds(identity_of(row.identity))
        else:
            is_there = provider.account == row.identity.account
        if is_there:
            return provider
    return None


def _target(row: RemediationRow, credential_id: str) -> Target:
    return Target(
        account=row.identity.account,
        identity_name=row.identity.name,
        identity_key=row.identity.key,
        credential_kind=row.credential.kind,
        credential_id=credential_id,
        principal=row.identity.principal,
    )


def _after(row: RemediationRow, email: str, seen: str, why: str, now: datetime, as_decided: bool | None) -> After:
    return After(
        remediation=row.id,
        identity=facts.identity_json(row.identity),
        credential=row.credential.external_id or row.credential.kind,
        kind=row.kind.value,
        status=row.status.value,
        decided_by=email,
        decided_at=row.planned_at,
        acted_at=row.acted_at,
        verified_at=row.verified_at,
        undone_at=row.undone_at,
        now=seen,
        looked_at=now,
        as_decided=as_decided,
        why=why or row.because or "",
        certificate=steps.certificate_of(row),
        scream_test=act_facts.scream_test(row),
    )


def _as_decided(row: RemediationRow, seen: str) -> bool | None:
    """Return whether it is off, as was decided, whoever turned it off (or on again, where that was taken back).

    None: that decision does not stand any more, or it could not be seen.
    """
    if seen == "not seen" or row.kind is not RemediationKind.DISABLE:
        return None
    if row.status is RemediationStatus.UNDONE:
        return seen == "active" if row.acted_at else None
    return seen in ("inactive", "gone")


# -- left to hands -----------------------------------------------------------------------------------------------------


def _by_hand(session: Session, quarter: Quarter, program: Program) -> Iterator[After]:
    """Yield what reviewers said to turn off, and nothing here could: that is somebody's to do."""
    fresh = program.clock() - program.policy().review.fresh_within
    query = (
        select(ReviewDecisionRow, IdentityRow)
        .join(ReviewItemRow, ReviewItemRow.decision_id == ReviewDecisionRow.id)
        .join(IdentityRow, IdentityRow.id == ReviewDecisionRow.identity_id)
        .where(ReviewDecisionRow.answer == Answer.OFF)
        .where(ReviewDecisionRow.at >= quarter.begins_at, ReviewDecisionRow.at < quarter.ends_at)
        .order_by(ReviewDecisionRow.at, ReviewDecisionRow.id)
    )
    for decision, identity in session.execute(query):
        if not decision.remediation_ids:
            yield _left_to_hands(decision, identity, _state(identity, fresh))


def _state(identity: IdentityRow, fresh: datetime) -> str:
    """Return what the last scan saw of an identity as a whole."""
    if identity.gone_at is not None:
        return "gone"
    if identity.seen_at < fresh:
        return "not seen"
    held = [one for one in identity.credentials if one.gone_at is None]
    return "active" if not held or any(one.status is CredentialStatus.ACTIVE for one in held) else "inactive"


def _left_to_hands(decision: ReviewDecisionRow, identity: IdentityRow, seen: str) -> After:
    return After(
        remediation=decision.id,
        identity=facts.identity_json(identity),
        credential="all of it",
        kind="by hand",
        status="by hand",
        decided_by=decision.email,
        decided_at=decision.at,
        acted_at=None,
        verified_at=None,
        undone_at=None,
        now=seen,
        looked_at=identity.gone_at or identity.seen_at,
        as_decided=None if seen == "not seen" else seen != "active",
        why="nothing of it can be turned off from here",
    )
