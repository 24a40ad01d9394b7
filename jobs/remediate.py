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

from nhi import authority, ledger, review_facts
from nhi.answers import redraw, resolve
from nhi.database import Sessions, lock_writers
from nhi.errors import ProviderError
from nhi.findings import FindingStatus
from nhi.identity import CredentialStatus, Gap
from nhi.policy import Policy
from nhi.providers import Connect, CredentialState, Disables, Provider, SpansAccounts, Target
from nhi.records import identity_of
from nhi.remediation import Go, Look, Plan, RemediationKind, RemediationStatus, Stop, check, was_used_since
from nhi.tables import AskRow, AttestationRow, FindingRow, IdentityRow, PersonRow, RemediationRow

LEASE = timedelta(minutes=5)  # after that a worker that took a row counts as dead
LATER = timedelta(minutes=10)
DELETED = "It is not there any more: somebody deleted it."

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
    """One claimed row, the way to its cloud, and where to write what came of it."""

    row: RemediationRow
    provider: Provider
    target: Target
    sessions: Sessions
    clock: Callable[[], datetime]
    tally: Tally

    @property
    def plan(self) -> Plan:
        shown = self.row.facts["shown_last_used_at"]
        return Plan(
            shown_last_used_at=datetime.fromisoformat(shown) if shown else None,
            shown_at=datetime.fromisoformat(self.row.facts["shown_at"]),
            owner_then=self.row.facts["owner"],
        )


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
    provider = open_source(row, policy, providers)
    if provider is None:
        _postpone(sessions, row, "No source of policy.toml reaches this account any more.", clock(), tally)
        return
    work = Work(row=row, provider=provider, target=target_of(row), sessions=sessions, clock=clock, tally=tally)
    if row.status is RemediationStatus.UNDOING:
        _undo(work)
    else:
        _disable(work, policy)


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


def open_source(row: RemediationRow, policy: Policy, providers: Providers) -> Provider | None:
    """Open the source that reaches the account of this credential."""
    for source in policy.sources:
        if source.provider != row.identity.provider or source.provider not in providers:
            continue
        provider = providers[source.provider](source)
        if _reaches(provider, row.identity):
            return provider
    return None


def _reaches(provider: Provider, row: IdentityRow) -> bool:
    if isinstance(provider, SpansAccounts):
        return provider.holds(identity_of(row))
    return provider.account == row.account


def target_of(row: RemediationRow) -> Target:
    """Return the one credential that a row is about; it has a public id."""
    assert row.credential.external_id is not None
    return Target(
        account=row.identity.account,
        identity_name=row.identity.name,
        identity_key=row.identity.key,
        credential_kind=row.credential.kind,
        credential_id=row.credential.external_id,
    )


def _disable(work: Work, policy: Policy) -> None:
    provider = work.provider
    if not isinstance(provider, Disables) or not provider.disables(work.target.credential_kind):
        _stop(work, RemediationStatus.REFUSED, "This kind of credential cannot be turned off.")
        return
    seen = provider.look(work.target)
    if work.row.status is RemediationStatus.ACTING and not _is_on(seen):
        _resume(work, provider, seen)
        return
    match _decide(work, seen, policy):
        case None:
            return  # somebody undid it while it was looked at
        case Stop(why=why, later=True):
            _later(work, why)
        case Stop(why=why):
            _stop(work, RemediationStatus.REFUSED, why)
        case Go():
            _act(work, provider)


def _is_on(seen: CredentialState | Gap | None) -> bool:
    return isinstance(seen, CredentialState) and seen.status is CredentialStatus.ACTIVE


def _resume(work: Work, provider: Disables, seen: CredentialState | Gap | None) -> None:
    """Finish what a former run began and could not write down: it may have turned the credential off."""
    match seen:
        case CredentialState():
            _after(work, provider, seen)
        case Gap(reason=reason):
            _later(work, f"It cannot be seen whether it is off already ({reason}).")
        case None:
            _stop(work, RemediationStatus.REFUSED, DELETED)


def _decide(work: Work, seen: CredentialState | Gap | None, policy: Policy) -> Go | Stop | None:
    """Check the plan against what is so now and, if nothing speaks against it, write that the act begins.

    One transaction, in which no other worker can write: two of them cannot both take the hour's last act. None: it is
    not wanted any more.
    """
    now, limit = work.clock(), policy.remediation.actions_an_hour
    with work.sessions.begin() as session:
        lock_writers(session)
        answer = check(work.plan, _look(session, work.row, seen, policy, now), actions_an_hour=limit)
        if isinstance(answer, Stop):
            return answer
        assert isinstance(seen, CredentialState)
        return answer if _start_acting(session, work.row.id, seen, now) else None


def _start_acting(session: Session, remediation_id: str, seen: CredentialState, now: datetime) -> bool:
    """Store the undo and say that the act begins, by one conditional UPDATE; return whether it is still wanted."""
    startable = [RemediationStatus.PLANNED, RemediationStatus.ACTING]
    started = session.execute(
        update(RemediationRow)
        .where(RemediationRow.id == remediation_id, RemediationRow.status.in_(startable))
        .values(status=RemediationStatus.ACTING, acted_at=now, undo={"status": seen.status.value})
        .execution_options(synchronize_session=False)
    )
    if started.rowcount != 1:  # type: ignore[attr-defined]
        return False
    _record(session, session.get_one(RemediationRow, remediation_id), "remediation.acting", now)
    return True


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
        acts_this_hour=_other_acts_this_hour(session, row, now),
    )


def _may_decide(session: Session, row: RemediationRow, policy: Policy, now: datetime) -> bool:
    """Whether who decided this is still somebody who may."""
    attestation = session.get_one(AttestationRow, row.attestation_id)
    who = session.get(PersonRow, attestation.slack_id)
    identity = session.get_one(IdentityRow, row.identity_id)
    ask = session.get(AskRow, row.ask_id) if row.ask_id else None
    if who is None:
        return False
    right = authority.authority(session, who, identity, ask, policy, now)
    return right is not None or review_facts.decided_in_review(session, who, attestation)


def _other_acts_this_hour(session: Session, row: RemediationRow, now: datetime) -> int:
    query = select(func.count()).select_from(RemediationRow).where(RemediationRow.id != row.id)
    return session.scalar(query.where(RemediationRow.acted_at > now - timedelta(hours=1))) or 0


def _act(work: Work, provider: Disables) -> None:
    """Turn it off, look once more, and write down what came of it; the undo is stored already."""
    try:
        provider.disable(work.target)
    except ProviderError as error:
        # Given up only where it is seen to be on: what may be off is finished by a later run, and can be undone then.
        if error.permanent and _is_on(provider.look(work.target)):
            _stop(work, RemediationStatus.FAILED, f"The cloud refused: {error}")
        else:
            _later(work, f"The cloud could not do it yet: {error}")
        return
    after = provider.look(work.target)
    _after(work, provider, after if isinstance(after, CredentialState) else None)


def _after(work: Work, provider: Disables, seen: CredentialState | None) -> None:
    """Write that it is off; one that was used in spite of what the card said is turned on again at once."""
    if seen is None or not was_used_since(seen.last_used_at, work.plan):
        _done(work)
        return
    try:
        provider.enable(work.target)
    except ProviderError as error:
        _later(work, f"It was used, and could not be turned on again yet: {error}")
        return
    why = "It was used while it was being turned off, so it was turned back on."
    _stop(work, RemediationStatus.REFUSED, why)


def _done(work: Work) -> None:
    now = work.clock()
    with work.sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        row.status, row.verified_at, row.claimed_until, row.because = RemediationStatus.DONE, now, None, None
        row.credential.status = CredentialStatus.INACTIVE
        for finding in session.scalars(
            select(FindingRow).where(
                FindingRow.credential_id == row.credential_id, FindingRow.status != FindingStatus.RESOLVED
            )
        ):
            resolve(session, finding, "The credential is turned off.", now)
        _record(session, row, "credential.disabled", now)
        redraw(session, row.ask_id)
    work.tally.done.append(work.row.id)


def _undo(work: Work) -> None:
    if not isinstance(work.provider, Disables):
        _stop(work, RemediationStatus.FAILED, "This kind of credential cannot be turned on from here.")
        return
    seen = work.provider.look(work.target)
    if isinstance(seen, Gap):
        _later(work, f"It cannot be seen ({seen.reason}).")
        return
    if seen is None:
        _stop(work, RemediationStatus.FAILED, DELETED)
        return
    try:
        if (work.row.undo or {}).get("status") == CredentialStatus.ACTIVE.value:
            work.provider.enable(work.target)
    except ProviderError as error:
        _later(work, f"The cloud could not turn it on yet: {error}")
        return
    _undone(work)


def _undone(work: Work) -> None:
    now = work.clock()
    with work.sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        row.status, row.undone_at, row.claimed_until, row.because = RemediationStatus.UNDONE, now, None, None
        row.credential.status = CredentialStatus.ACTIVE
        _record(session, row, "credential.enabled", now)
        redraw(session, row.ask_id)
    work.tally.undone.append(work.row.id)


def _stop(work: Work, status: RemediationStatus, why: str) -> None:
    """End a row that was not done; the reason goes on the card."""
    with work.sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        if row.status is RemediationStatus.UNDONE:
            return  # somebody called it off while it was looked at
        row.status, row.because, row.claimed_until = status, why, None
        _record(session, row, f"remediation.{status.value}", work.clock(), because=why)
        redraw(session, row.ask_id)
    work.tally.refused.append((work.row.id, why))


def _later(work: Work, why: str) -> None:
    _postpone(work.sessions, work.row, why, work.clock(), work.tally)


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
