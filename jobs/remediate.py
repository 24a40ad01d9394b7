"""Carry out what people decided: look again, store the undo, act on one credential, read back, write it down.

Every step is a row before and after. A run that dies between two steps leaves a row that says where it was; the next
run looks again before it does anything. Turning a credential off twice, or on twice, is the same as once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from nhi import authority, ledger
from nhi.answers import redraw, resolve
from nhi.database import Sessions
from nhi.errors import ProviderError
from nhi.findings import FindingStatus
from nhi.identity import CredentialStatus, Gap
from nhi.policy import Policy
from nhi.providers import Connect, CredentialState, Disables, Provider, Target
from nhi.remediation import Go, Look, Plan, RemediationKind, RemediationStatus, Stop, check, was_used_since
from nhi.tables import AskRow, AttestationRow, FindingRow, IdentityRow, PersonRow, RemediationRow

LEASE = timedelta(minutes=5)  # after that a worker that took a row counts as dead
LATER = timedelta(minutes=10)

Providers = Mapping[str, Connect]


@dataclass
class Tally:
    """What one run did, refused and left, item by item."""

    done: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    proposed: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "undone": self.undone,
            "proposed": self.proposed,
            "refused": [{"remediation": id_, "reason": why} for id_, why in self.refused],
            "waiting": [{"remediation": id_, "reason": why} for id_, why in self.waiting],
        }

    def sentence(self) -> str:
        """Return the run's account: `Disabled 1, turned 0 back on. Refused 1: It was used on …`."""
        text = f"Disabled {len(self.done)}, turned {len(self.undone)} back on."
        if self.proposed:
            text += f" {len(self.proposed)} are proposed only, as policy says."
        for what, items in (("Refused", self.refused), ("Waiting", self.waiting)):
            if items:
                text += f" {what} {len(items)}: " + " ".join(sorted({why for _, why in items}))
        return text


@dataclass(frozen=True, kw_only=True)
class Work:
    """One claimed row and the way to its cloud."""

    row: RemediationRow
    provider: Provider
    target: Target


def run(
    sessions: Sessions,
    policy: Policy,
    providers: Providers,
    *,
    clock: Callable[[], datetime],
    dry_run: bool = False,
) -> Tally:
    """Do what is due. With `dry_run` nothing is claimed and nothing is done: the tally says what would be."""
    tally = Tally()
    _list_proposed(sessions, tally)
    for remediation_id in _due(sessions, policy, clock()):
        if dry_run:
            tally.waiting.append((remediation_id, "Due now; not done, as this is a dry run."))
            continue
        _one(sessions, remediation_id, policy, providers, clock, tally)
    return tally


def _list_proposed(sessions: Sessions, tally: Tally) -> None:
    with sessions() as session:
        query = select(RemediationRow.id).where(RemediationRow.status == RemediationStatus.PROPOSED)
        tally.proposed.extend(session.scalars(query.order_by(RemediationRow.planned_at)))


def _due(sessions: Sessions, policy: Policy, now: datetime) -> list[str]:
    active = [RemediationStatus.UNDOING]  # an undo is always done
    if policy.remediation.mode == "reversible":
        active += [RemediationStatus.PLANNED, RemediationStatus.ACTING]
    with sessions() as session:
        query = (
            select(RemediationRow.id)
            .where(
                RemediationRow.status.in_(active),
                RemediationRow.kind == RemediationKind.DISABLE,
                RemediationRow.due_at <= now,
            )
            .where(or_(RemediationRow.claimed_until.is_(None), RemediationRow.claimed_until <= now))
            .order_by(RemediationRow.due_at)
        )
        return list(session.scalars(query))


def _one(
    sessions: Sessions,
    remediation_id: str,
    policy: Policy,
    providers: Providers,
    clock: Callable[[], datetime],
    tally: Tally,
) -> None:
    row = _claim(sessions, remediation_id, clock())
    if row is None:
        return
    work = _open(sessions, row, policy, providers)
    if work is None:
        _postpone(sessions, row, "No source of policy.toml reaches this account any more.", clock(), tally)
    elif row.status is RemediationStatus.UNDOING:
        _undo(sessions, work, clock, tally)
    else:
        _disable(sessions, work, policy, clock, tally)


def _claim(sessions: Sessions, remediation_id: str, now: datetime) -> RemediationRow | None:
    """Take the row by one conditional UPDATE; None: another worker was faster, or it is not due any more."""
    with sessions.begin() as session:
        free = or_(RemediationRow.claimed_until.is_(None), RemediationRow.claimed_until <= now)
        active = [RemediationStatus.PLANNED, RemediationStatus.ACTING, RemediationStatus.UNDOING]
        taken = session.execute(
            update(RemediationRow)
            .where(RemediationRow.id == remediation_id, RemediationRow.status.in_(active), free)
            .values(claimed_until=now + LEASE)
            .execution_options(synchronize_session=False)
        )
        if taken.rowcount != 1:  # type: ignore[attr-defined]
            return None
        row = session.get_one(RemediationRow, remediation_id)
        _ = row.identity, row.credential  # loaded now, read after the session is closed
        return row


def _open(sessions: Sessions, row: RemediationRow, policy: Policy, providers: Providers) -> Work | None:
    """Find the source that reaches the account of this credential."""
    for source in policy.sources:
        if source.provider != row.identity.provider or source.provider not in providers:
            continue
        provider = providers[source.provider](source)
        if provider.account == row.identity.account:
            return Work(row=row, provider=provider, target=_target(row))
    return None


def _target(row: RemediationRow) -> Target:
    assert row.credential.external_id is not None
    return Target(
        account=row.identity.account,
        identity_name=row.identity.name,
        identity_key=row.identity.key,
        credential_kind=row.credential.kind,
        credential_id=row.credential.external_id,
    )


def _disable(sessions: Sessions, work: Work, policy: Policy, clock: Callable[[], datetime], tally: Tally) -> None:
    if not isinstance(work.provider, Disables) or not work.provider.disables(work.target.credential_kind):
        _stop(
            sessions, work, RemediationStatus.REFUSED, "This kind of credential cannot be turned off.", clock(), tally
        )
        return
    seen = work.provider.look(work.target)
    if work.row.status is RemediationStatus.ACTING and _is_off(seen):
        _done(sessions, work, clock(), tally)  # a former run turned it off, and died before it could write so
        return
    with sessions.begin() as session:
        answer = check(_plan(work.row), _look(session, work.row, seen, policy, clock()), **_breaker(policy))
    match answer:
        case Stop(later=True):
            _postpone(sessions, work.row, answer.why, clock(), tally)
        case Stop():
            _stop(sessions, work, RemediationStatus.REFUSED, answer.why, clock(), tally)
        case Go():
            assert isinstance(seen, CredentialState)
            _act(sessions, work, work.provider, seen, clock, tally)


def _breaker(policy: Policy) -> dict[str, int]:
    return {"actions_an_hour": policy.remediation.actions_an_hour}


def _is_off(seen: CredentialState | Gap | None) -> bool:
    return isinstance(seen, CredentialState) and seen.status is CredentialStatus.INACTIVE


def _plan(row: RemediationRow) -> Plan:
    shown = row.facts["shown_last_used_at"]
    return Plan(
        shown_last_used_at=datetime.fromisoformat(shown) if shown else None,
        shown_at=datetime.fromisoformat(row.facts["shown_at"]),
        owner_then=row.facts["owner"],
    )


def _look(
    session: Session, row: RemediationRow, seen: CredentialState | Gap | None, policy: Policy, now: datetime
) -> Look:
    owner = authority.current_owner(session, row.identity_id)
    state = seen if isinstance(seen, CredentialState) else None
    return Look(
        status=state.status if state else None,
        last_used_at=state.last_used_at if state else None,
        gap=seen.reason if isinstance(seen, Gap) else None,
        owner_now=owner.email if owner else None,
        decider_may=_may_decide(session, row, policy, now),
        acts_this_hour=_acts_this_hour(session, now),
    )


def _may_decide(session: Session, row: RemediationRow, policy: Policy, now: datetime) -> bool:
    """Whether who decided this is still somebody who may."""
    attestation = session.get_one(AttestationRow, row.attestation_id)
    who = session.get(PersonRow, attestation.slack_id)
    identity = session.get_one(IdentityRow, row.identity_id)
    ask = session.get(AskRow, row.ask_id) if row.ask_id else None
    return who is not None and authority.authority(session, who, identity, ask, policy, now) is not None


def _acts_this_hour(session: Session, now: datetime) -> int:
    query = select(func.count()).select_from(RemediationRow)
    return session.scalar(query.where(RemediationRow.acted_at > now - timedelta(hours=1))) or 0


def _act(
    sessions: Sessions,
    work: Work,
    provider: Disables,
    seen: CredentialState,
    clock: Callable[[], datetime],
    tally: Tally,
) -> None:
    """Store the undo, act, and write down what the cloud answered."""
    if not _start_acting(sessions, work, seen, clock()):
        return  # somebody undid it while it was looked at
    try:
        provider.disable(work.target)
        after = provider.look(work.target)
        if isinstance(after, CredentialState) and was_used_since(after.last_used_at, _plan(work.row)):
            provider.enable(work.target)
            why = "It was used while it was being turned off, so it was turned back on."
            _stop(sessions, work, RemediationStatus.REFUSED, why, clock(), tally)
            return
    except ProviderError as error:
        if error.permanent:
            _stop(sessions, work, RemediationStatus.FAILED, f"The cloud refused: {error}", clock(), tally)
        else:
            _postpone(sessions, work.row, f"The cloud could not do it yet: {error}", clock(), tally)
        return
    _done(sessions, work, clock(), tally)


def _start_acting(sessions: Sessions, work: Work, seen: CredentialState, now: datetime) -> bool:
    """Store the undo and say that the act begins, by one conditional UPDATE; return whether it is still wanted."""
    with sessions.begin() as session:
        startable = [RemediationStatus.PLANNED, RemediationStatus.ACTING]
        started = session.execute(
            update(RemediationRow)
            .where(RemediationRow.id == work.row.id, RemediationRow.status.in_(startable))
            .values(status=RemediationStatus.ACTING, acted_at=now, undo={"status": seen.status.value})
            .execution_options(synchronize_session=False)
        )
        if started.rowcount != 1:  # type: ignore[attr-defined]
            return False
        _record(session, session.get_one(RemediationRow, work.row.id), "remediation.acting", now)
        return True


def _done(sessions: Sessions, work: Work, now: datetime, tally: Tally) -> None:
    with sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        row.status, row.verified_at, row.claimed_until = RemediationStatus.DONE, now, None
        row.acted_at = row.acted_at or now
        row.credential.status = CredentialStatus.INACTIVE
        for finding in session.scalars(
            select(FindingRow).where(
                FindingRow.credential_id == row.credential_id, FindingRow.status != FindingStatus.RESOLVED
            )
        ):
            resolve(session, finding, "The credential is turned off.", now)
        _record(session, row, "credential.disabled", now)
        redraw(session, row.ask_id)
    tally.done.append(work.row.id)


def _undo(sessions: Sessions, work: Work, clock: Callable[[], datetime], tally: Tally) -> None:
    if not isinstance(work.provider, Disables):
        return
    try:
        seen = work.provider.look(work.target)
        if isinstance(seen, Gap):
            _postpone(sessions, work.row, f"It cannot be seen ({seen.reason}).", clock(), tally)
            return
        if seen is None:
            _stop(
                sessions,
                work,
                RemediationStatus.FAILED,
                "It is not there any more: somebody deleted it.",
                clock(),
                tally,
            )
            return
        if (work.row.undo or {}).get("status") == CredentialStatus.ACTIVE.value:
            work.provider.enable(work.target)
    except ProviderError as error:
        _postpone(sessions, work.row, f"The cloud could not turn it on yet: {error}", clock(), tally)
        return
    _undone(sessions, work, clock(), tally)


def _undone(sessions: Sessions, work: Work, now: datetime, tally: Tally) -> None:
    with sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        row.status, row.undone_at, row.claimed_until, row.because = RemediationStatus.UNDONE, now, None, None
        row.credential.status = CredentialStatus.ACTIVE
        _record(session, row, "credential.enabled", now)
        redraw(session, row.ask_id)
    tally.undone.append(work.row.id)


def _stop(sessions: Sessions, work: Work, status: RemediationStatus, why: str, now: datetime, tally: Tally) -> None:
    """End a row that was not done; the reason goes on the card."""
    with sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        row.status, row.because, row.claimed_until = status, why, None
        _record(session, row, f"remediation.{status.value}", now, because=why)
        redraw(session, row.ask_id)
    tally.refused.append((work.row.id, why))


def _postpone(sessions: Sessions, work_row: RemediationRow, why: str, now: datetime, tally: Tally) -> None:
    with sessions.begin() as session:
        row = session.get_one(RemediationRow, work_row.id)
        row.due_at, row.because, row.claimed_until = now + LATER, why, None
        redraw(session, row.ask_id)
    tally.waiting.append((work_row.id, why))


def _record(session: Session, row: RemediationRow, kind: str, now: datetime, **facts: Any) -> None:
    session.flush()
    about = {"remediation": row.id, "credential": row.credential.external_id, **facts}
    ledger.record(session, kind, now=now, identity_id=row.identity_id, facts=about)
