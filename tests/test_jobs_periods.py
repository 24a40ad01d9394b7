"""A period runs once: in one process, in many, after a failure, and after a death."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from jobs import periods
from nhi.database import Sessions, reading
from nhi.tables import RunRow
from tests.conftest import Clock
from tests.factories import NOW

ROOT = Path(__file__).resolve().parent.parent


def run_row(sessions: Sessions) -> RunRow:
    with reading(sessions) as session:
        (row,) = session.query(RunRow)
        session.expunge_all()
        return row


def test_a_period_can_be_written_down_once(sessions: Sessions) -> None:
    def add() -> None:
        with sessions.begin() as session:
            session.add(RunRow(job="scan", period="2026-11-23", started_at=NOW, claimed_until=NOW))

    add()
    with pytest.raises(IntegrityError):
        add()


def test_a_period_runs_once_and_its_tally_is_kept(sessions: Sessions, clock: Clock) -> None:
    ran: list[int] = []

    def work() -> str:
        ran.append(1)
        return "Saw nothing."

    assert periods.once(sessions, "scan", "2026-11-23", work, clock)
    clock.pass_by(days=2)
    assert not periods.once(sessions, "scan", "2026-11-23", work, clock)
    assert (len(ran), run_row(sessions).tally, run_row(sessions).finished_at) == (1, "Saw nothing.", NOW)


def test_periods_and_jobs_do_not_keep_each_other_away(sessions: Sessions) -> None:
    claimed = [periods.claim(sessions, job, day, NOW) for job in ("scan", "ask") for day in ("23", "24")]
    assert None not in claimed


def test_a_period_under_way_is_not_taken_over_before_its_lease_ends(sessions: Sessions) -> None:
    first = periods.claim(sessions, "scan", "23", NOW)
    assert periods.claim(sessions, "scan", "23", NOW + periods.LEASE - timedelta(seconds=1)) is None
    assert periods.claim(sessions, "scan", "23", NOW + periods.LEASE) == first
    assert periods.claim(sessions, "scan", "23", NOW + periods.LEASE) is None


def test_a_period_that_failed_is_free_at_once_and_the_failure_is_not_hidden(sessions: Sessions, clock: Clock) -> None:
    def fail() -> str:
        raise LookupError("no cloud")

    with pytest.raises(LookupError, match="no cloud"):
        periods.once(sessions, "scan", "23", fail, clock)
    assert run_row(sessions).finished_at is None
    assert periods.once(sessions, "scan", "23", lambda: "done", clock)


def test_releasing_a_finished_period_does_not_open_it_again(sessions: Sessions) -> None:
    run_id = periods.claim(sessions, "scan", "23", NOW)
    assert run_id is not None
    periods.finish(sessions, run_id, "done", NOW)
    periods.release(sessions, run_id)
    assert periods.claim(sessions, "scan", "23", NOW + timedelta(days=1)) is None


@pytest.mark.parametrize("taken_before", [False, True])
def test_of_many_threads_one_gets_the_period(sessions: Sessions, taken_before: bool) -> None:
    if taken_before:
        periods.claim(sessions, "scan", "23", NOW - periods.LEASE)  # by somebody who died
    together = threading.Barrier(8)
    got: list[str | None] = []

    def claim() -> None:
        together.wait()
        got.append(periods.claim(sessions, "scan", "23", NOW))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([run_id for run_id in got if run_id]) == 1
    assert len(got) == 8


CLAIM = """
import sys
from datetime import UTC, datetime
from jobs import periods
from nhi import database
sessions = database.open_sessions(database.open_engine(sys.argv[1]))
sys.stdin.readline()
for day in range(20):
    if periods.claim(sessions, "scan", str(day), datetime(2026, 11, 23, tzinfo=UTC)):
        print(day)
"""


def test_two_processes_share_the_periods_and_none_runs_twice(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, database_url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ran = [day for process in processes for day in process.communicate(timeout=60)[0].split()]
    assert sorted(ran, key=int) == [str(day) for day in range(20)]


def test_work_that_is_held_alone_is_nobody_elses_until_it_ends(sessions: Sessions, clock: Clock) -> None:
    with periods.alone(sessions, "scan-now", clock) as ours:
        assert ours
        with periods.alone(sessions, "scan-now", clock) as theirs:
            assert not theirs
    with periods.alone(sessions, "scan-now", clock) as again:
        assert again


def test_work_whose_process_was_killed_is_to_be_had_again_two_minutes_later(sessions: Sessions, clock: Clock) -> None:
    assert periods.claim(sessions, "scan-now", "one at a time", clock(), periods.ALONE) is not None
    clock.pass_by(seconds=119)
    with periods.alone(sessions, "scan-now", clock) as ours:
        assert not ours
    clock.pass_by(seconds=1)
    with periods.alone(sessions, "scan-now", clock) as ours:
        assert ours


def test_a_heartbeat_keeps_long_work_from_being_taken_over(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periods, "BEAT_SECONDS", 0.01)
    with periods.alone(sessions, "scan-now", clock):
        clock.pass_by(hours=1)
        renewed = time.monotonic() + 20
        while time.monotonic() < renewed:
            with sessions() as session:
                until = session.scalars(select(RunRow.claimed_until)).one()
            if until > clock():
                break
            time.sleep(0.02)
        with periods.alone(sessions, "scan-now", clock) as theirs:
            assert not theirs
