"""The clock and the executor: what ticks, what is handed over at once, and how it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.workspace import Workspace
from jobs import periods, work
from jobs.clock import TIMETABLE, Ticker
from jobs.program import open_program
from jobs.up import within
from nhi.errors import NhiError
from nhi.settings import Settings
from nhi.tables import RunRow, ScanRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


def test_every_task_of_the_timetable_is_there_and_is_looked_at_often_enough() -> None:
    assert set(TIMETABLE) == set(work.TASKS)
    assert TIMETABLE["remediate"] <= timedelta(seconds=15)
    assert TIMETABLE["deliver"] <= timedelta(seconds=5)


@on_sqlite
def test_a_started_clock_does_what_is_due_at_once(world: World) -> None:
    world.clock.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    world.add_user("ci-deploy", 200)
    world.scan()
    ticker = Ticker(world.program)
    ticker.start()
    try:
        world.workspace.wait_for(lambda: world.messages("ana"), 20)
    finally:
        ticker.stop()
    assert "ci-deploy" in f"{world.messages('ana')[0]['blocks']}"


@on_sqlite
def test_what_is_deferred_is_done_without_waiting_for_the_next_tick(world: World) -> None:
    world.clock.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    ticker = Ticker(world.program)
    ticker._scheduler.start()  # nothing on the timetable: only what is deferred
    try:
        world.add_user("ci-deploy", 200)
        ticker.defer("scan", "now")
        world.workspace.wait_for(lambda: world.rows(ScanRow), 20)
    finally:
        ticker.stop()


@on_sqlite
def test_a_database_that_is_down_is_told_once_and_once_that_it_is_back(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    ticker, there, away = Ticker(world.program), tmp_path / "nhi.db", tmp_path / "away.db"
    with world.program.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    world.program.engine.dispose()
    there.rename(away)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            ticker._run("deliver")
        world.program.engine.dispose()
        away.rename(there)
        for _ in range(3):
            ticker._run("deliver")
    told = [(record.levelname, record.getMessage().partition(" (")[0]) for record in caplog.records]
    assert told == [
        ("ERROR", "the database does not answer"),
        ("WARNING", "the database answers again; what was due meanwhile is done now"),
    ]
    assert [record.exc_info for record in caplog.records] == [None, None]


@on_sqlite
def test_a_task_that_fails_is_logged_and_does_not_stop_the_clock(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, ran = threading.Event(), threading.Event()

    def fail(*_: object, **__: object) -> None:
        failed.set()
        raise LookupError("no such thing")

    monkeypatch.setitem(work.TASKS, "broken", fail)
    monkeypatch.setitem(work.TASKS, "fine", lambda *_, **__: ran.set())
    ticker = Ticker(world.program)
    ticker._scheduler.start()
    with caplog.at_level(logging.ERROR):
        ticker.defer("broken", "now")
        assert failed.wait(20)
        ticker.defer("fine", "now")
        assert ran.wait(20)
        ticker.stop()
    assert "the task broken failed; the next tick tries again" in caplog.text


@on_sqlite
def test_stopping_waits_for_what_is_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        begun.set()
        go_on.wait(20)
        ended.set()

    monkeypatch.setitem(work.TASKS, "slow", slow)
    ticker = Ticker(world.program)
    ticker._scheduler.start()
    ticker.defer("slow", "now")
    assert begun.wait(20)
    threading.Timer(0.2, go_on.set).start()
    ticker.stop()
    assert ended.is_set()


@on_sqlite
def test_a_clock_that_never_started_can_be_stopped(world: World) -> None:
    Ticker(world.program).stop()


def test_a_step_that_hangs_is_not_waited_for_longer_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def waits() -> None:
        go_on.wait(20)

    within(0.05, waits)
    go_on.set()
    assert "the next start takes it up" in caplog.text


# -- each day's scan ---------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_day_is_scanned_once_from_two_oclock_on(world: World) -> None:
    world.add_user("ci-deploy", 200)
    scans = []
    for at in ("22T01:59", "22T02:00", "22T02:05", "22T23:00", "23T01:59", "23T02:00"):
        world.clock.now = datetime.fromisoformat(f"2026-11-{at}:00+00:00")
        before = len(world.rows(ScanRow))
        work.task_scan(world.program)
        scans.append(len(world.rows(ScanRow)) - before)
    assert scans == [1, 1, 0, 0, 0, 1]


@on_sqlite
def test_a_scan_that_was_missed_is_made_up_for_at_the_next_tick(world: World) -> None:
    world.clock.now = datetime(2026, 11, 23, 17, 30, tzinfo=UTC)
    work.task_scan(world.program)
    assert [(row.job, row.period) for row in world.rows(RunRow) if row.job == "scan"] == [("scan", "2026-11-23")]


@on_sqlite
def test_a_tick_that_finds_a_scan_under_way_leaves_the_day_to_the_next_tick(world: World) -> None:
    with periods.alone(world.sessions, "scan-now", world.clock) as ours:
        assert ours
        with pytest.raises(NhiError, match="A scan is under way already"):
            work.task_scan(world.program)
    work.task_scan(world.program)
    assert len(world.rows(ScanRow)) == 1


@on_sqlite
def test_a_process_without_a_bot_token_delivers_nothing_and_does_not_fail(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    settings = world.program.settings.model_copy(update={"slack_bot_token": None})
    program = open_program(settings, clock=world.clock)
    work.task_deliver(program)
    program.engine.dispose()
    assert not world.workspace.calls("chat.postMessage")


@on_sqlite
def test_a_broken_edit_of_the_policy_keeps_the_last_good_one_in_force(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    before = world.program.policy()
    path = world.program.settings.nhi_policy
    good = path.read_text()
    path.write_text("[rules]\nunused_afer = '1d'\n")
    assert world.program.policy() == before
    assert "did you mean `unused_after`" in caplog.text
    path.write_text(good.replace("[people]", "[rules]\nunused_after = '30d'\n[people]"))
    assert world.program.policy().rules.unused_after == timedelta(days=30)
