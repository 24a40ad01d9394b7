"""Carry out what people decided: what is due, claimed one at a time, each by the steps of jobs/acting.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import case, or_, select, update
from sqlalchemy.orm import Session

from jobs import acting, screaming
from jobs.handling import Work, postpone, sentence
from jobs.reach import BEGUN, Providers, open_source, target_of
from jobs.tallying import Tally
from nhi import ledger, steps
from nhi.answers import redraw
from nhi.database import Sessions
from nhi.policy import Policy
from nhi.preflight import Go, Stop
from nhi.remediation import REVERSIBLE, UNDO_FOR, RemediationStatus, State
from nhi.tables import RemediationRow

LEASE = timedelta(minutes=5)  # after that a worker that took a row counts as dead
SHORT_LEASE = timedelta(seconds=45)  # of what turns something on again: twice is the same as once
BACK_ON = (RemediationStatus.UNDOING, RemediationStatus.TESTING)
NOT_NOW = "Due now; not done, as this is a dry run."
NO_SOURCE = "No source of policy.toml reaches this account any more."

OnStep = Callable[[int, int], None]  # how many of how many are looked at

__all__ = ["LEASE", "Tally", "open_source", "run", "target_of"]


def run(
    sessions: Sessions,
    policy: Policy,
    providers: Providers,
    *,
    clock: Callable[[], datetime],
    dry_run: bool = False,
    progress: OnStep = lambda done, total: None,
) -> Tally:
    """Do what is due. With `dry_run` nothing is claimed and nothing is written: the tally says what would be."""
    tally = Tally(dry_run=dry_run)
    _list_resting(sessions, tally)
    if not dry_run:
        _close(sessions, clock(), tally)
    due = _due(sessions, policy, clock(), dry_run=dry_run)
    for number, remediation_id in enumerate(due, start=1):
        if dry_run:
            _rehearse(sessions, remediation_id, policy, providers, clock, tally)
        else:
            _one(sessions, remediation_id, policy, providers, clock, tally)
        progress(number, len(due))
    return tally


def _list_resting(sessions: Sessions, tally: Tally) -> None:
    """List what only a person's word can move."""
    lists = {RemediationStatus.PROPOSED: tally.proposed, RemediationStatus.AWAITING: tally.awaiting}
    with sessions() as session:
        for status, ids in lists.items():
            query = select(RemediationRow.id).where(RemediationRow.status == status)
            ids.extend(session.scalars(query.order_by(RemediationRow.planned_at, RemediationRow.id)))


def _close(sessions: Sessions, now: datetime, tally: Tally) -> None:
    """End what was done so long ago that one press does not undo it any more."""
    over = select(RemediationRow.id).where(
        RemediationRow.kind.in_(REVERSIBLE),
        RemediationRow.status == RemediationStatus.DONE,
        RemediationRow.acted_at < now - UNDO_FOR,
    )
    with sessions() as session:
        ids = list(session.scalars(over))
    for remediation_id in ids:
        with sessions.begin() as session:
            if _close_one(session, remediation_id, now):
                tally.closed.append(remediation_id)


def _close_one(session: Session, remediation_id: str, now: datetime) -> bool:
    row = session.get_one(RemediationRow, remediation_id)
    if row.status is not RemediationStatus.DONE:
        return False
    steps.advance(session, row, State.CLOSED, now)
    ledger.record(session, "remediation.closed", now=now, identity_id=row.identity_id, facts={"remediation": row.id})
    redraw(session, row.ask_id)
    return True


def _due(sessions: Sessions, policy: Policy, now: datetime, *, dry_run: bool) -> list[str]:
    # An undo is always done, and what began always ended.
    active = [RemediationStatus.UNDOING, RemediationStatus.TESTING, RemediationStatus.ACTING]
    if policy.remediation.mode == "reversible" or dry_run:
        active.append(RemediationStatus.PLANNED)
    with sessions() as session:
        query = (
            select(RemediationRow.id)
            .where(
                RemediationRow.status.in_(active),
                RemediationRow.kind.in_(REVERSIBLE),
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
    work = _work(sessions, row, policy, providers, clock, tally)
    if work is None:
        postpone(sessions, row, NO_SOURCE, clock(), tally)
    elif row.status is RemediationStatus.UNDOING:
        acting.undo(work)
    elif row.status is RemediationStatus.TESTING:
        screaming.listen(work)
    else:
        acting.disable(work)


def _work(
    sessions: Sessions,
    row: RemediationRow,
    policy: Policy,
    providers: Providers,
    clock: Callable[[], datetime],
    tally: Tally,
) -> Work | None:
    """Open the way to a row's cloud; None: no source reaches it."""
    provider = open_source(row, policy, providers)
    if provider is None:
        return None
    target = target_of(row, provider)
    return Work(
        row=row,
        provider=provider,
        target=target,
        policy=policy,
        providers=providers,
        sessions=sessions,
        clock=clock,
        tally=tally,
    )


def _claim(sessions: Sessions, remediation_id: str, now: datetime) -> RemediationRow | None:
    """Take the row by one conditional UPDATE; None: another worker was faster, or it is not due any more."""
    with sessions.begin() as session:
        free = or_(RemediationRow.claimed_until.is_(None), RemediationRow.claimed_until <= now)
        active = [RemediationStatus.PLANNED, *BEGUN]
        taken = session.execute(
            update(RemediationRow)
            .where(RemediationRow.id == remediation_id, RemediationRow.status.in_(active), free)
            .values(claimed_until=case((RemediationRow.status.in_(BACK_ON), now + SHORT_LEASE), else_=now + LEASE))
            .execution_options(synchronize_session=False)
        )
        if taken.rowcount != 1:  # type: ignore[attr-defined]
            return None
        return _loaded(session, remediation_id)


def _loaded(session: Session, remediation_id: str) -> RemediationRow:
    row = session.get_one(RemediationRow, remediation_id)
    _ = row.identity, row.credential, row.steps, row.trials  # loaded now, read after the session is closed
    return row


def _rehearse(
    sessions: Sessions,
    remediation_id: str,
    policy: Policy,
    providers: Providers,
    clock: Callable[[], datetime],
    tally: Tally,
) -> None:
    """Look at one row as if it were to be done now, and say what would come of it."""
    with sessions() as session:
        row = _loaded(session, remediation_id)
    work = _work(sessions, row, policy, providers, clock, tally)
    if work is None:
        tally.waiting.append((remediation_id, NO_SOURCE))
        return
    ends = (RemediationStatus.UNDOING, RemediationStatus.TESTING)
    would = Go() if row.status in ends else acting.rehearse(work)
    match would:
        case Go():
            tally.waiting.append((remediation_id, NOT_NOW))
        case Stop() as stop if stop.later:
            tally.waiting.append((remediation_id, sentence(stop)))
        case Stop() as stop:
            tally.refused.append((remediation_id, sentence(stop)))
        case None:
            tally.refused.append((remediation_id, acting.not_supported()))
