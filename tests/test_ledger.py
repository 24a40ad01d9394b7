"""The append-only history: its words, its chain, and what refuses to change it."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nhi import ledger
from nhi.database import Sessions, reading
from nhi.identity import Custody
from nhi.tables import EventPrivateRow, EventRow, OwnerRow
from tests.factories import NOW, make_identity, make_owner, make_person
from tests.strategies import VALUES


def tell(sessions: Sessions, *kinds: str, **values: Any) -> None:
    with sessions.begin() as session:
        for kind in kinds:
            ledger.record(session, kind, now=NOW, **values)


def lose(session: Session) -> None:
    """Tell of something, and fail."""
    ledger.record(session, "a.lost", now=NOW)
    session.flush()
    raise ZeroDivisionError


def events(sessions: Sessions) -> list[EventRow]:
    with reading(sessions) as session:
        return list(session.scalars(select(EventRow).order_by(EventRow.seq)))


def verified(sessions: Sessions) -> ledger.Verified:
    with reading(sessions) as session:
        return ledger.verify(session)


# -- canonical JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, b"null"),
        (True, b"true"),
        (2**53 - 1, b"9007199254740991"),
        (2**53, b'"9007199254740992"'),
        (-(2**60), b'"-1152921504606846976"'),
        (0.5, b"0.5"),
        (float("nan"), b'"nan"'),
        (float("-inf"), b'"-inf"'),
        ("\ud800x", b'"?x"'),
        ("a\0b", b'"a\\u0000b"'),
        ("é", '"é"'.encode()),
        (datetime(2026, 5, 1, tzinfo=UTC), b'"2026-05-01T00:00:00Z"'),
        (datetime(2026, 5, 1, 2, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))), b'"2026-05-01T00:00:00.000005Z"'),
        (date(2026, 5, 1), b'"2026-05-01"'),
        (timedelta(hours=1), b"3600"),
        (Custody.OURS, b'"ours"'),
        (Decimal("1.10"), b'"1.10"'),
        (b"\xff", b"\"b'\\\\xff'\""),
        ({"b": 1, "a": [1, (2,)]}, b'{"a":[1,[2]],"b":1}'),
        ({1: "one"}, b'{"1":"one"}'),
    ],
)
def test_every_value_has_one_canonical_form(value: object, said: bytes) -> None:
    assert ledger.canonical(value) == said


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_nothing_that_a_cloud_or_a_person_writes_stops_the_ledger(value: object) -> None:
    said = ledger.canonical(value)

    assert ledger.canonical(value) == said
    assert ledger.canonical(json.loads(said, parse_int=float)) == said
    assert b"\0" not in said


# -- the chain ---------------------------------------------------------------------------------------------------------


def test_events_are_numbered_without_a_gap_and_each_follows_the_one_before(sessions: Sessions) -> None:
    tell(sessions, "a.one", "a.two")
    tell(sessions, "a.three")

    rows = events(sessions)

    assert [row.seq for row in rows] == [1, 2, 3]
    assert [row.prev_hash for row in rows] == [ledger.GENESIS, rows[0].hash, rows[1].hash]
    first = hashlib.sha256(bytes(32) + rows[0].body.encode()).hexdigest()
    assert rows[0].hash == first
    assert verified(sessions) == ledger.Verified(events=3, last_hash=rows[2].hash, first_wrong=None, why=None)


def test_an_empty_ledger_is_well(sessions: Sessions) -> None:
    assert verified(sessions) == ledger.Verified(events=0, last_hash=ledger.GENESIS, first_wrong=None, why=None)


def test_a_hostile_name_is_written_and_the_chain_still_verifies(sessions: Sessions) -> None:
    for name in ("\ud800", "a\0b", "x" * 10_000, "'; DROP TABLE event; --", "<!channel>", "\u202e"):
        tell(sessions, "identity.seen", facts={name: name, "number": 2**60}, private={"name": name})

    assert verified(sessions).first_wrong is None
    assert json.loads(events(sessions)[0].body)["facts"]["number"] == str(2**60)


def test_numbers_have_no_gap_after_a_unit_of_work_that_failed(sessions: Sessions) -> None:
    tell(sessions, "a.one")
    with pytest.raises(ZeroDivisionError), sessions.begin() as session:
        lose(session)
    tell(sessions, "a.two")

    assert [(row.seq, row.kind) for row in events(sessions)] == [(1, "a.one"), (2, "a.two")]
    assert verified(sessions).first_wrong is None


def test_numbers_have_no_gap_after_a_savepoint_that_failed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ledger.record(session, "a.one", now=NOW)
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            lose(session)
        ledger.record(session, "a.two", now=NOW)
        with session.begin_nested():
            ledger.record(session, "a.three", now=NOW)
        ledger.record(session, "a.four", now=NOW)

    assert [row.kind for row in events(sessions)] == ["a.one", "a.two", "a.three", "a.four"]
    assert verified(sessions).first_wrong is None


def test_one_session_used_for_several_units_of_work_does_not_remember_the_wrong_end(sessions: Sessions) -> None:
    with sessions() as session:
        with session.begin():
            ledger.record(session, "a.one", now=NOW)
        tell(sessions, "a.two")
        with session.begin():
            ledger.record(session, "a.three", now=NOW)
        with pytest.raises(ZeroDivisionError), session.begin():
            lose(session)
        with session.begin():
            ledger.record(session, "a.four", now=NOW)

    assert [row.kind for row in events(sessions)] == ["a.one", "a.two", "a.three", "a.four"]
    assert verified(sessions).first_wrong is None


def test_many_writers_at_once_leave_one_chain_without_a_gap(sessions: Sessions) -> None:
    def write(number: int) -> None:
        for turn in range(5):
            tell(sessions, "a.first", "a.second", facts={"writer": number, "turn": turn}, private={"who": "ana"})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    assert [row.seq for row in events(sessions)] == list(range(1, 81))
    assert verified(sessions).first_wrong is None


# -- what is personal --------------------------------------------------------------------------------------------------


def test_what_is_personal_lies_apart_under_a_commitment_that_can_be_erased(sessions: Sessions) -> None:
    tell(sessions, "attestation.claim", private={"email": "ana@example.com"})
    [event] = events(sessions)
    assert "ana" not in event.body
    with sessions.begin() as session:
        private = session.scalars(select(EventPrivateRow)).one()
        assert json.loads(event.body)["private"] == ledger.commitment(private.salt, private.body.encode())
        assert json.loads(private.body) == {"email": "ana@example.com"}
        session.delete(private)

    assert verified(sessions).first_wrong is None


def test_the_same_words_of_the_same_person_have_another_commitment_each_time(sessions: Sessions) -> None:
    tell(sessions, "a.one", "a.two", private={"email": "ana@example.com"})

    first, second = (json.loads(row.body)["private"] for row in events(sessions))
    assert first != second


# -- what refuses ------------------------------------------------------------------------------------------------------

CHANGES = (
    "UPDATE event SET kind = 'x'",
    "UPDATE event SET kind = kind WHERE seq = 1",
    "DELETE FROM event",
    "DELETE FROM event WHERE seq = 1",
    "UPDATE attestation SET verdict = 'justify'",
    "DELETE FROM attestation",
)
ONLY_SQLITE = (
    "INSERT OR REPLACE INTO event SELECT seq, at, 'x', identity_id, body, prev_hash, hash FROM event",
    "INSERT OR REPLACE INTO attestation SELECT * FROM attestation",
    "UPDATE OR REPLACE event SET kind = 'x'",
)
ONLY_POSTGRESQL = (
    "TRUNCATE event CASCADE",
    "TRUNCATE attestation CASCADE",
    "INSERT INTO event SELECT * FROM event ON CONFLICT (seq) DO UPDATE SET kind = 'x'",
)


@pytest.fixture
def written(sessions: Sessions) -> None:
    """One attestation and one event."""
    with sessions.begin() as session:
        make_owner(session, make_identity(session), make_person(session))
        ledger.record(session, "attestation.claim", now=NOW)


def test_the_database_itself_refuses_to_change_an_event_or_an_attestation(engine: Engine, written: None) -> None:
    for change in CHANGES + (ONLY_SQLITE if engine.dialect.name == "sqlite" else ONLY_POSTGRESQL):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(change))

    with engine.connect() as connection:
        assert connection.execute(text("SELECT seq, kind FROM event")).all() == [(1, "attestation.claim")]
        assert connection.execute(text("SELECT verdict FROM attestation")).all() == [("claim",)]


def test_rows_beside_the_history_can_be_changed(sessions: Sessions, written: None) -> None:
    with sessions.begin() as session:
        owner = session.scalars(select(OwnerRow)).one()
        owner.ended_at = NOW


# -- verify, after somebody got past the triggers ----------------------------------------------------------------------


def tamper(engine: Engine, *statements: str) -> None:
    """Change history as who owns the database can: without the triggers."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER event_refuses_update"))
            connection.execute(text("DROP TRIGGER event_refuses_delete"))
        else:
            connection.execute(text("ALTER TABLE event DISABLE TRIGGER USER"))
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize(
    ("change", "wrong", "why"),
    [
        ("UPDATE event SET body = '{}' WHERE seq = 2", 2, "its body was changed after it was written"),
        ("UPDATE event SET body = body || ' ' WHERE seq = 3", 3, "its body was changed after it was written"),
        ("UPDATE event SET kind = 'a.forged' WHERE seq = 2", 2, "its columns do not say what its body says"),
        ("UPDATE event SET identity_id = 'x' WHERE seq = 2", 2, "its columns do not say what its body says"),
        ("DELETE FROM event WHERE seq = 2", 2, "event 2 is missing"),
        ("DELETE FROM event WHERE seq = 1", 1, "event 1 is missing"),
        ("UPDATE event SET prev_hash = hash WHERE seq = 2", 2, "it does not follow the event before it"),
        ("UPDATE event SET hash = prev_hash || 'x' WHERE seq = 4", 4, "its body was changed after it was written"),
        ("UPDATE event SET seq = 9 WHERE seq = 4", 4, "event 4 is missing"),
    ],
)
def test_verify_names_the_first_wrong_event_and_what_is_wrong(
    engine: Engine, sessions: Sessions, change: str, wrong: int, why: str
) -> None:
    tell(sessions, "a.one", "a.two", "a.three", "a.four")
    before = [ledger.GENESIS, *(row.hash for row in events(sessions))]
    tamper(engine, change.replace("prev_hash || 'x'", "'" + "0" * 63 + "x'"))

    assert verified(sessions) == ledger.Verified(
        events=wrong - 1, last_hash=before[wrong - 1], first_wrong=wrong, why=why
    )


def test_a_body_that_was_rewritten_hash_and_all_is_named_and_does_not_stop_the_check(
    engine: Engine, sessions: Sessions
) -> None:
    tell(sessions, "a.one")
    tamper(engine)
    for body in ("", "no JSON", "[]", "null", "{}", '{"seq":1}'):
        digest = ledger.chain(ledger.GENESIS, body)
        with engine.begin() as connection:
            connection.execute(text("UPDATE event SET body = :body, hash = :hash"), {"body": body, "hash": digest})
        assert verified(sessions).first_wrong == 1
