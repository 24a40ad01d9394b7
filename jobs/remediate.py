"""Carry out what people decided: what is due, claimed one at a time, each by the steps of jobs/acting.py."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import acting, holds, late, screaming
from jobs.handling import Work, no_source, not_now, postpone, sentence
from jobs.holds import Hold
from jobs.reach import BEGUN, Providers, open_source, target_of
from jobs.tallying import Tally
from nhi import ledger, steps
from nhi.answers import redraw
from nhi.database import Sessions
from nhi.policy import Policy
from nhi.preflight import Go, Stop
from nhi.remediation import REVERSIBLE, UNDO_FOR, RemediationStatus, State
from nhi.tables import RemediationRow

log = logging.getLogger(__name__)

OnStep = Callable[[int, int], None]  # how many of how many are looked at

__all__ = ["Tally", "open_source", "run", "target_of"]


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
    for number, (remediation_id, left) in enumerate(_in_order(sessions, policy, clock, dry_run=dry_run), start=1):
        if dry_run:
            _rehearse(sessions, remediation_id, policy, providers, clock, tally)
        else:
            _one(sessions, remediation_id, policy, providers, clock, tally)
        progress(number, number + left)
    return tally


def _in_order(
    sessions: Sessions, policy: Policy, clock: Callable[[], datetime], *, dry_run: bool
) -> Iterator[tuple[str, int]]:
    """Yield what is due, each with how many are left after it; what turns something on again comes before the rest.

    It is looked for anew before each: who waits for an undo does not wait for a hundred acts that only wait themselves.
    """
    tried, seen = set[object](), set[str]()
    while True:
        due = _due(sessions, policy, clock(), dry_run=dry_run)
        # Whatever is to be turned on, and was put off, is tried again once that is due; anything else in the next run.
        left = [one for one in due if (one not in tried if one[1] in holds.TURNS_ON else one[0] not in seen)]
        if not left:
            return
        tried.add(left[0])
        seen.add(left[0][0])
        yield left[0][0], len(left) - 1


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


def _due(
    sessions: Sessions, policy: Policy, now: datetime, *, dry_run: bool
) -> list[tuple[str, RemediationStatus, datetime]]:
    # An undo is always done, and what began always ended.
    active = [RemediationStatus.UNDOING, RemediationStatus.TESTING, RemediationStatus.ACTING]
    if policy.remediation.mode == "reversible" or dry_run:
        active.append(RemediationStatus.PLANNED)
    with sessions() as session:
        query = (
            select(RemediationRow.id, RemediationRow.status, RemediationRow.due_at)
            .where(
                RemediationRow.status.in_(active),
                RemediationRow.kind.in_(REVERSIBLE),
                RemediationRow.due_at <= now,
            )
            .where(holds.is_free(now))
            .order_by(*holds.in_order_of_haste())
        )
        return [(row_id, status, due_at) for row_id, status, due_at in session.execute(query)]


def _one(
    sessions: Sessions,
    remediation_id: str,
    policy: Policy,
    providers: Providers,
    clock: Callable[[], datetime],
    tally: Tally,
) -> None:
    taken = _claim(sessions, remediation_id, clock)
    if taken is None:
        return
    row, hold = taken
    with hold.kept():
        work = _work(sessions, row, hold, policy, providers, clock, tally)
        try:
            _do(work, row, hold, sessions, clock, tally)
        except acting.Late as lost:
            log.warning("this worker slept while it turned a credential off, and another one took its act over")
            late.make_up(lost.work)
            return
        except holds.Lost:
            log.warning("this worker slept for so long that another one took its act over")
            return
    if row.status is not RemediationStatus.UNDOING and _is_to_be_undone(sessions, remediation_id):
        _one(sessions, remediation_id, policy, providers, clock, tally)


def _do(
    work: Work | None, row: RemediationRow, hold: Hold, sessions: Sessions, clock: Callable[[], datetime], tally: Tally
) -> None:
    if work is None:
        postpone(sessions, row, hold, no_source(), clock(), tally)
    elif row.status is RemediationStatus.UNDOING:
        acting.undo(work)
    elif row.status is RemediationStatus.TESTING and work.plan.despite_use:
        acting.stay_off(work)
    elif row.status is RemediationStatus.TESTING:
        screaming.listen(work)
    else:
        acting.disable(work)


def _is_to_be_undone(sessions: Sessions, remediation_id: str) -> bool:
    """Whether somebody pressed Undo while it was being done: whoever did so waits for it."""
    with sessions() as session:
        return session.get_one(RemediationRow, remediation_id).status is RemediationStatus.UNDOING


def _work(
    sessions: Sessions,
    row: RemediationRow,
    hold: Hold,
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
        hold=hold,
        provider=provider,
        target=target,
        policy=policy,
        providers=providers,
        sessions=sessions,
        clock=clock,
        tally=tally,
    )


def _claim(
    sessions: Sessions, remediation_id: str, clock: Callable[[], datetime]
) -> tuple[RemediationRow, Hold] | None:
    """Take the row; None: another worker was faster, or it is not due any more."""
    with sessions.begin() as session:
        active = RemediationRow.status.in_([RemediationStatus.PLANNED, *BEGUN])
        hold = holds.take(session, sessions, remediation_id, active, now=clock(), clock=clock)
        return None if hold is None else (_loaded(session, remediation_id), hold)


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
    work = _work(sessions, row, Hold(sessions, row.id, clock(), clock), policy, providers, clock, tally)
    if work is None:
        tally.waiting.append((remediation_id, no_source()))
        return
    ends = (RemediationStatus.UNDOING, RemediationStatus.TESTING)
    would = Go() if row.status in ends else acting.rehearse(work)
    match would:
        case Go():
            tally.waiting.append((remediation_id, not_now()))
        case Stop() as stop if stop.later:
            tally.waiting.append((remediation_id, sentence(stop)))
        case Stop() as stop:
            tally.refused.append((remediation_id, sentence(stop)))
        case None:
            tally.refused.append((remediation_id, acting.not_supported()))
