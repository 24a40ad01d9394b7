"""Carry out rotations: what is due, claimed one at a time, each by the steps of jobs/rotating.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import handling, holds, rotating, rotation_broken, rotation_watch
from jobs.handling import Work, no_source, not_now
from jobs.holds import Hold
from jobs.reach import Providers, open_source, target_of
from jobs.tallying import Tally
from nhi import ledger, rotations, steps
from nhi.answers import redraw
from nhi.database import Sessions
from nhi.policy import Policy
from nhi.providers import Rotates
from nhi.remediation import UNDO_FOR, RemediationKind, RemediationStatus, State
from nhi.rotation import Stage
from nhi.tables import RemediationRow, RotationRow

_ALWAYS = (RemediationStatus.ACTING, RemediationStatus.UNDOING, RemediationStatus.DONE)
_SHOWN = (Stage.WATCHING, Stage.READY, Stage.OFF)


def run(
    sessions: Sessions,
    policy: Policy,
    providers: Providers,
    *,
    clock: Callable[[], datetime],
    tally: Tally,
    dry_run: bool = False,
) -> None:
    """Do what is due of rotations, and add it to the tally. With `dry_run` nothing is claimed, written or made."""
    if not dry_run:
        _follow(sessions, clock())
    for remediation_id in _due(sessions, policy, clock(), dry_run=dry_run):
        taken = _rehearsed(sessions, remediation_id, clock) if dry_run else _claim(sessions, remediation_id, clock)
        if taken is None:
            continue
        row, hold = taken
        provider = open_source(row, policy, providers)
        if provider is None:
            if dry_run:
                tally.waiting.append((remediation_id, no_source()))
            else:
                handling.postpone(sessions, row, hold, no_source(), clock(), tally)
            continue
        work = Work(
            row=row,
            hold=hold,
            provider=provider,
            target=target_of(row),
            policy=policy,
            providers=providers,
            sessions=sessions,
            clock=clock,
            tally=tally,
        )
        if dry_run:
            _rehearse(work)
            continue
        with hold.kept():
            _one(work)


def _one(work: Work) -> None:
    provider = work.provider
    if not isinstance(provider, Rotates) or not provider.rotates(work.target.credential_kind):
        handling.later(work, rotating.words("not_here"))
        return
    try:
        match work.row.status:
            case RemediationStatus.PLANNED:
                if not rotating.begin(work, provider):
                    rotation_broken.resume(work, provider)
            case RemediationStatus.ACTING:
                rotation_broken.resume(work, provider)
            case RemediationStatus.UNDOING:
                rotation_watch.undo(work, provider)
            case _:
                rotation_watch.watch(work, provider)
    except (rotating.Begun, holds.Lost):
        return  # the next run sees what became of it


def _rehearse(work: Work) -> None:
    if work.row.status is not RemediationStatus.PLANNED:
        return
    provider = work.provider
    if not isinstance(provider, Rotates) or not provider.rotates(work.target.credential_kind):
        work.tally.refused.append((work.row.id, rotating.words("not_here")))
        return
    match rotating.rehearse(work, provider):
        case None:
            work.tally.waiting.append((work.row.id, not_now()))
        case (why, True):
            work.tally.waiting.append((work.row.id, why))
        case (why, _):
            work.tally.refused.append((work.row.id, why))


def _due(sessions: Sessions, policy: Policy, now: datetime, *, dry_run: bool) -> list[str]:
    active = list(_ALWAYS)  # what began is always ended, and always watched
    if dry_run or (policy.rotation.enabled and policy.remediation.mode == "reversible"):
        active.append(RemediationStatus.PLANNED)
    query = (
        select(RemediationRow.id)
        .where(
            RemediationRow.kind == RemediationKind.ROTATE,
            RemediationRow.status.in_(active),
            RemediationRow.due_at <= now,
            holds.is_free(now),
        )
        .order_by(*holds.in_order_of_haste())
    )
    with sessions() as session:
        return list(session.scalars(query))


def _claim(
    sessions: Sessions, remediation_id: str, clock: Callable[[], datetime]
) -> tuple[RemediationRow, Hold] | None:
    """Take the row; None: another worker was faster, or it is not due any more."""
    now = clock()
    with sessions.begin() as session:
        is_due = RemediationRow.status.in_([*_ALWAYS, RemediationStatus.PLANNED]) & (RemediationRow.due_at <= now)
        hold = holds.take(session, sessions, remediation_id, is_due, now=now, clock=clock)
        return None if hold is None else (_read(session, remediation_id), hold)


def _rehearsed(sessions: Sessions, remediation_id: str, clock: Callable[[], datetime]) -> tuple[RemediationRow, Hold]:
    """Read the row and hold nothing."""
    with sessions() as session:
        return _read(session, remediation_id), Hold(sessions, remediation_id, clock(), clock)


def _read(session: Session, remediation_id: str) -> RemediationRow:
    row = session.get_one(RemediationRow, remediation_id)
    _ = row.identity, row.credential, row.steps  # loaded now, read after the session is closed
    return row


# -- what became of the old key ----------------------------------------------------------------------------------------


def _follow(sessions: Sessions, now: datetime) -> None:
    """Follow the act that turns the old key off, end what is over, and let cards show what changed."""
    live = (
        select(RotationRow.id)
        .join(RemediationRow, RemediationRow.id == RotationRow.remediation_id)
        .where(RemediationRow.status.in_([RemediationStatus.DONE, RemediationStatus.UNDOING]))
    )
    with sessions() as session:
        ids = list(session.scalars(live))
    for rotation_id in ids:
        with sessions.begin() as session:
            _follow_one(session, session.get_one(RotationRow, rotation_id), now)


def _follow_one(session: Session, row: RotationRow, now: datetime) -> None:
    act, off = row.remediation, rotations.off_act(session, row)
    status = off.status if off is not None else None
    if status in (RemediationStatus.DONE, RemediationStatus.CLOSED):
        row.stage = Stage.OFF
    elif row.stage is Stage.OFF:
        row.stage = Stage.WATCHING  # it was turned on again: the move goes on, and is judged anew
        act.due_at = now
    is_over = status is RemediationStatus.CLOSED or (
        row.stage is Stage.OFF and off is not None and off.acted_at is not None and now > off.acted_at + UNDO_FOR
    )
    if is_over and act.status is RemediationStatus.DONE:
        steps.advance(session, act, State.CLOSED, now)
        ledger.record(
            session, "remediation.closed", now=now, identity_id=act.identity_id, facts={"remediation": act.id}
        )
        redraw(session, act.ask_id)
    shown = "|".join(
        str(one) for one in (act.status, row.stage, status, row.old_used_at, row.new_used_at, row.blind, act.because)
    )[:255]
    if shown != row.drawn:
        row.drawn = shown
        rotations.redraw(session, row)
