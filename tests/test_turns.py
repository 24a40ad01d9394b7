"""Several listeners share a commit: each is told only once it is done, and what one raises is its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select

from bot.turns import Turns
from nhi import ledger
from nhi.database import Sessions, reading
from nhi.tables import EventRow, GateRow
from tests.factories import NOW

WRITERS = 12


def at_once(deeds: list[Callable[[], None]]) -> list[str]:
    """Do everything at once; return what each raised, or nothing."""
    ready, raised = threading.Barrier(len(deeds)), [""] * len(deeds)

    def do(number: int) -> None:
        ready.wait()
        try:
            deeds[number]()
        except (ValueError, RuntimeError, OSError) as error:
            raised[number] = str(error)

    threads = [threading.Thread(target=do, args=(number,)) for number in range(len(deeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def writer(turns: Turns, number: int, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
    def write() -> None:
        with turns.writing() as session:
            session.add(GateRow(name=f"gate {number}", not_before=NOW, because="a test"))
            ledger.record(session, "test.written", now=NOW, facts={"number": number})
            then()

    return write


def names(sessions: Sessions) -> set[str]:
    with reading(sessions) as session:
        return set(session.scalars(select(GateRow.name)))


def test_writers_at_once_share_commits_and_each_finds_its_own_kept(sessions: Sessions) -> None:
    commits: list[float] = []

    @event.listens_for(sessions.kw["bind"], "commit")
    def slowly(connection: Any) -> None:
        commits.append(time.monotonic())
        time.sleep(0.05)

    turns, kept = Turns(sessions), []

    def look(number: int) -> Callable[[], None]:
        def deed() -> None:
            writer(turns, number)()
            kept.append(f"gate {number}" in names(sessions))  # not before it is committed does `writing` end

        return deed

    assert at_once([look(number) for number in range(WRITERS)]) == [""] * WRITERS
    assert kept == [True] * WRITERS
    assert len(commits) < WRITERS
    with reading(sessions) as session:
        assert session.scalar(select(func.count()).select_from(EventRow)) == WRITERS
        assert ledger.verify(session).first_wrong is None


def test_what_one_writer_raises_takes_back_its_own_and_nothing_else(sessions: Sessions) -> None:
    turns = Turns(sessions)

    def fail() -> None:
        raise ValueError("not this one")

    deeds = [writer(turns, number, fail if number % 3 == 0 else lambda: None) for number in range(WRITERS)]
    raised = at_once(deeds)
    assert [number for number, why in enumerate(raised) if why] == [0, 3, 6, 9]
    assert names(sessions) == {f"gate {number}" for number in range(WRITERS) if number % 3}
    with reading(sessions) as session:
        assert ledger.verify(session).first_wrong is None


def test_a_commit_that_fails_is_told_to_everybody_who_shared_it(sessions: Sessions) -> None:
    turns, broken = Turns(sessions), threading.Event()
    broken.set()

    @event.listens_for(sessions.kw["bind"], "commit")
    def fails(connection: Any) -> None:
        time.sleep(0.05)
        if broken.is_set():
            raise OSError("the disk is full")

    raised = at_once([writer(turns, number) for number in range(WRITERS)])
    assert [why for why in raised if "the disk is full" not in why and "was not committed" not in why] == []
    assert names(sessions) == set()
    broken.clear()
    writer(turns, 99)()
    assert names(sessions) == {"gate 99"}, "the next is not held up"


def test_a_database_that_cannot_be_opened_holds_nobody_up(sessions: Sessions) -> None:
    turns, broken = Turns(sessions), threading.Event()
    broken.set()

    @event.listens_for(sessions.kw["bind"], "begin")
    def fails(connection: Any) -> None:
        if broken.is_set():
            raise OSError("unable to open the database")

    with pytest.raises(OSError, match="unable to open"):
        writer(turns, 1)()
    broken.clear()
    writer(turns, 2)()
    assert names(sessions) == {"gate 2"}
