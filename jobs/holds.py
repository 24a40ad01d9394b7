"""A worker's hold on one act: taken by one conditional UPDATE, renewed while the worker lives, free soon after it died.

Who waits for an undo may wait for a worker that is dead, so a hold is short; how long a call to a cloud takes does not
matter to it, as it is renewed beside the work. What it is held until is told to the microsecond, and drawn: so it says
whose it is, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

from sqlalchemy import ColumnElement, case, or_, update
from sqlalchemy.orm import Session

from nhi.database import UNWELL, Sessions
from nhi.remediation import RemediationStatus
from nhi.tables import RemediationRow

LEASE = timedelta(seconds=30)  # after that a worker that does not renew its hold counts as dead
RENEWED_EVERY = timedelta(seconds=8)  # so that two renewals may fail


TURNS_ON = (RemediationStatus.UNDOING, RemediationStatus.TESTING)


class Lost(Exception):
    """Another worker has the act by now: this one slept for longer than its hold. It changes nothing any more."""


def is_free(now: datetime) -> ColumnElement[bool]:
    """Return the condition that nobody holds a row."""
    return or_(RemediationRow.claimed_until.is_(None), RemediationRow.claimed_until <= now)


def in_order_of_haste() -> tuple[ColumnElement[Any], ...]:
    """Return by what acts are ordered: what turns something on again comes first."""
    ranks = {status: number for number, status in enumerate(TURNS_ON)}
    rank = case(ranks, value=RemediationRow.status, else_=len(ranks))
    return rank, RemediationRow.due_at.expression, RemediationRow.id.expression


class Hold:
    """One act in one worker's hands."""

    def __init__(self, sessions: Sessions, remediation_id: str, until: datetime, clock: Callable[[], datetime]) -> None:
        self._sessions, self._id, self._clock = sessions, remediation_id, clock
        self._until = until
        self._marks: tuple[datetime, ...] = (
            until,
        )  # what the row may say while it is ours: a renewal may be on its way

    def is_of(self, row: RemediationRow) -> bool:
        """Whether a row, as just read, is held by this worker."""
        return row.claimed_until in self._marks

    def check_of(self, row: RemediationRow) -> None:
        """Raise Lost where a row, as just read, is held by another worker: to be asked before it is written."""
        if not self.is_of(row):
            raise Lost

    def check(self) -> None:
        """Raise Lost where the hold has run out: to be asked right before a cloud is told to change something."""
        if self._clock() >= self._until:
            raise Lost

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the hold until the work is done."""
        done = Event()
        keeper = Thread(target=self._keep, args=(done,), daemon=True, name="hold")
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

    def _keep(self, done: Event) -> None:
        while not done.wait(RENEWED_EVERY.total_seconds()):
            try:
                if not self._renew():
                    return
            except UNWELL:
                continue  # the next renewal may reach the database; else the hold runs out, and `check` says so

    def _renew(self) -> bool:
        before, after = self._until, _until(self._clock())
        self._marks = (before, after)
        with self._sessions.begin() as session:
            if not _move(session, self._id, RemediationRow.claimed_until == before, after):
                return False
        self._until, self._marks = after, (after,)
        return True


def take(
    session: Session,
    sessions: Sessions,
    remediation_id: str,
    *conditions: ColumnElement[bool],
    now: datetime,
    clock: Callable[[], datetime],
) -> Hold | None:
    """Take an act that is free and fits; None: another worker was faster, or it is not due any more."""
    until = _until(now)
    if not _move(session, remediation_id, is_free(now), until, *conditions):
        return None
    return Hold(sessions, remediation_id, until, clock)


def seize(row: RemediationRow, sessions: Sessions, clock: Callable[[], datetime]) -> Hold:
    """Take an act, locked, from whoever has it: they hear that it is lost when they next write."""
    row.claimed_until = _until(clock())
    return Hold(sessions, row.id, row.claimed_until, clock)


def _move(
    session: Session,
    remediation_id: str,
    held: ColumnElement[bool],
    until: datetime,
    *conditions: ColumnElement[bool],
) -> bool:
    moved = session.execute(
        update(RemediationRow)
        .where(RemediationRow.id == remediation_id, held, *conditions)
        .values(claimed_until=until)
        .execution_options(synchronize_session=False)
    )
    return bool(moved.rowcount == 1)  # type: ignore[attr-defined]


def _until(now: datetime) -> datetime:
    """Return until when a hold lasts that begins now. No two are alike."""
    return now + LEASE + timedelta(microseconds=random.randrange(1_000_000))  # noqa: S311  # a mark, no secret
