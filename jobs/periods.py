"""A period runs once, and a kind of work runs in one place at a time: both are rows, not memory.

A run that died leaves its claim behind; when the claim's lease is over, the next tick takes it up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from nhi.database import Sessions
from nhi.tables import RunRow, new_id

LEASE = timedelta(minutes=30)
ALONE = timedelta(minutes=2)
BEAT_SECONDS = 20.0


def claim(sessions: Sessions, job: str, period: str, now: datetime, lease: timedelta = LEASE) -> str | None:
    """Return the run's id if this process may run the job for this period; None: it ran, or runs elsewhere."""
    run_id = new_id()
    try:
        with sessions.begin() as session:
            session.add(RunRow(id=run_id, job=job, period=period, started_at=now, claimed_until=now + lease))
        return run_id
    except IntegrityError:
        with sessions.begin() as session:
            return _take_over(session, job, period, now, lease)


def _take_over(session: Session, job: str, period: str, now: datetime, lease: timedelta) -> str | None:
    """Claim a run that started, did not finish, and whose lease is over."""
    taken = session.execute(
        update(RunRow)
        .where(RunRow.job == job, RunRow.period == period, RunRow.finished_at.is_(None), RunRow.claimed_until <= now)
        .values(claimed_until=now + lease, started_at=now)
        .returning(RunRow.id)
        .execution_options(synchronize_session=False)
    )
    return taken.scalar_one_or_none()


def finish(sessions: Sessions, run_id: str, tally: str, now: datetime) -> None:
    """Write down how a run ended."""
    with sessions.begin() as session:
        session.execute(update(RunRow).where(RunRow.id == run_id).values(finished_at=now, tally=tally))


def release(sessions: Sessions, run_id: str) -> None:
    """Give a run back undone, so that the next tick takes it up at once."""
    with sessions.begin() as session:
        session.execute(
            update(RunRow)
            .where(RunRow.id == run_id, RunRow.finished_at.is_(None))
            .values(claimed_until=RunRow.started_at)
        )


@contextmanager
def alone(sessions: Sessions, job: str, clock: Callable[[], datetime]) -> Iterator[bool]:
    """Hold a kind of work for this process; yield whether it is ours to do.

    While it is held a heartbeat renews the claim, so that one whose process was killed ends within ALONE.
    """
    run_id = claim(sessions, job, "one at a time", clock(), ALONE)
    if run_id is None:
        yield False
        return
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(sessions, run_id, clock, over), name=f"{job} heartbeat", daemon=True)
    heart.start()
    try:
        yield True
    finally:
        over.set()
        heart.join()
        release(sessions, run_id)


def _beat(sessions: Sessions, run_id: str, clock: Callable[[], datetime], over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with sessions.begin() as session:
            session.execute(update(RunRow).where(RunRow.id == run_id).values(claimed_until=clock() + ALONE))


def once(sessions: Sessions, job: str, period: str, work: Callable[[], str], clock: Callable[[], datetime]) -> bool:
    """Run `work` if this period's run is still to be had, and write its tally; return whether it ran here."""
    run_id = claim(sessions, job, period, clock())
    if run_id is None:
        return False
    done = False
    try:
        tally = work()
        done = True
    finally:
        if not done:
            release(sessions, run_id)
    finish(sessions, run_id, tally, clock())
    return True
