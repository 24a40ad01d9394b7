"""Opening the database, units of work on both engines, and a schema that is made or asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, inspect, select, text, update
from sqlalchemy.orm import Session

from nhi import database, ledger
from nhi.database import (
    Sessions,
    alembic_config,
    make_ready,
    migrate,
    newest_revision,
    open_engine,
    open_sessions,
    reading,
    what_is_missing,
)
from nhi.errors import DatabaseNotReady, SettingsError
from nhi.tables import Base, EventRow, PersonRow
from tests.factories import NOW, make_person

ROOT = database.ROOT


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nhi.db",
        "mysql://localhost/nhi",
        "postgresql+nosuchdriver://localhost/nhi",
        "postgresql://user:s3cret@localhost:port/nhi",
        "sqlite+nosuchdriver:///nhi.db",
        "\0",
    ],
)
def test_an_address_that_is_none_is_one_sentence_that_names_the_setting(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL") as refused:
        open_engine(url)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg_however_its_address_is_written(scheme: str) -> None:
    engine = open_engine(f"{scheme}://localhost/nhi")

    assert engine.url.drivername == "postgresql+psycopg"
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/nhi.db",
        "postgresql://nobody:s3cret@127.0.0.1:1/nhi",
        "postgresql://127.0.0.1:1/nhi?nosuchoption=1",
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence_without_the_password(url: str) -> None:
    engine = open_engine(url)

    with pytest.raises(
        DatabaseNotReady, match=r"^The database cannot be opened \(.*\); check DATABASE_URL(;.*)?$"
    ) as refused:
        what_is_missing(engine, url)

    assert "s3cret" not in str(refused.value)
    engine.dispose()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "nhi.db").write_text("dear diary, " * 100)
    url = f"sqlite:///{tmp_path}/nhi.db"
    engine = open_engine(url)

    with pytest.raises(DatabaseNotReady, match="cannot be opened"):
        make_ready(engine, url)
    engine.dispose()


# -- the schema --------------------------------------------------------------------------------------------------------


def test_an_empty_sqlite_database_migrates_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nhi.db"
    engine = open_engine(url)
    missing = what_is_missing(engine, url)
    assert missing is not None
    assert "alembic upgrade head" in missing

    make_ready(engine, url)

    assert what_is_missing(engine, url) is None
    assert set(Base.metadata.tables) <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_two_processes_that_start_at_once_on_an_empty_sqlite_database_both_come_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nhi.db"
    code = f"from nhi.database import *; make_ready(open_engine({url!r}), {url!r})"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    started = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]

    assert [process.wait(60) for process in started] == [0, 0]


def test_connections_that_are_the_first_on_a_new_file_at_the_same_moment_all_open(tmp_path: Path) -> None:
    """SQLite refuses to switch to WAL while another does; without a second try this fails about once in 25 rounds."""
    for number in range(60):
        engine = open_engine(f"sqlite:///{tmp_path}/{number}.db")
        ready = threading.Barrier(4)

        def connect(engine: Engine = engine, ready: threading.Barrier = ready) -> None:
            ready.wait(10)
            with engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"

        in_threads(*[connect] * 4)
        engine.dispose()


@pytest.mark.postgres
def test_an_unmigrated_postgresql_database_is_one_sentence_with_the_command(postgres_server: object) -> None:
    url = postgres_server.get_uri("postgres")  # type: ignore[attr-defined]
    engine = open_engine(url)

    with pytest.raises(DatabaseNotReady, match="has no schema yet; run `nhi migrate`, or `alembic upgrade head`"):
        make_ready(engine, url)

    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_the_newest_file_of_migrations_is_the_head_of_all() -> None:
    scripts = ScriptDirectory.from_config(alembic_config("sqlite://"))
    assert scripts.get_heads() == [newest_revision()]


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(DatabaseNotReady, match="newer version"):
        make_ready(engine, database_url)


def test_a_schema_is_brought_up_to_date_once_and_a_newer_one_is_left_alone(engine: Engine, database_url: str) -> None:
    command.downgrade(database.alembic_config(database_url), "-1")

    assert [migrate(engine, database_url), migrate(engine, database_url)] == [True, False]

    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseNotReady, match="newer version"):
        migrate(engine, database_url)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_command_starts_while_somebody_writes_for_long(sessions: Sessions, engine: Engine, database_url: str) -> None:
    with sessions.begin():
        assert what_is_missing(engine, database_url) is None


def test_alembic_itself_takes_the_address_from_the_env_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=sqlite:///{tmp_path}/other.db\n")
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    code = "from alembic.config import main; main()"
    words = ["-c", str(ROOT / "pyproject.toml"), "upgrade", "head"]

    ran = subprocess.run([sys.executable, "-c", code, *words], check=False, cwd=tmp_path, env=environment)

    assert (ran.returncode, [path.name for path in tmp_path.glob("*.db")]) == (0, ["other.db"])


# -- units of work -----------------------------------------------------------------------------------------------------


def test_what_was_acknowledged_is_on_the_disk(tmp_path: Path) -> None:
    engine = database.open_engine(f"sqlite:///{tmp_path}/new.db")
    connection = engine.raw_connection()  # as it comes: tests/conftest.py hurries the others
    cursor = connection.cursor()
    assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    engine.dispose()


def test_rows_stay_readable_after_the_commit(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ana = make_person(session)

    with reading(sessions) as session:
        read = session.scalars(select(PersonRow)).one()

    assert ana.email == read.email == "ana@example.com"


def test_a_unit_of_work_that_fails_leaves_nothing(sessions: Sessions) -> None:
    with pytest.raises(ZeroDivisionError), sessions.begin() as session:
        fail_after(make_person(session), ledger.record(session, "test.begun", now=NOW))

    with reading(sessions) as session:
        assert session.scalars(select(PersonRow)).all() == []
        assert ledger.count(session) == 0


def test_reading_waits_for_no_writer(sessions: Sessions) -> None:
    with sessions.begin() as writer:
        make_person(writer)
        with reading(sessions) as session:
            assert session.scalars(select(PersonRow)).all() == []


def test_reading_is_never_committed(sessions: Sessions) -> None:
    with reading(sessions) as session:
        make_person(session)

    with reading(sessions) as session:
        assert session.scalars(select(PersonRow)).all() == []


def test_transactions_that_write_in_opposite_orders_do_not_wait_for_each_other_for_ever(sessions: Sessions) -> None:
    """A click changes its rows and then tells the ledger; a scan tells the ledger and then changes rows."""
    with sessions.begin() as session:
        make_person(session)
    scanned, clicked = threading.Event(), threading.Event()

    def rename(session: Session, name: str) -> None:
        session.execute(update(PersonRow).values(name=name))

    def scan() -> None:
        with sessions.begin() as session:
            ledger.record(session, "identity.seen", now=NOW)
            session.flush()
            scanned.set()
            clicked.wait(0.5)
            rename(session, "scan")

    def click() -> None:
        scanned.wait(5)
        with sessions.begin() as session:
            rename(session, "click")
            clicked.set()
            ledger.record(session, "attestation.claim", now=NOW)

    in_threads(scan, click)

    with reading(sessions) as session:
        assert session.scalars(select(EventRow.kind).order_by(EventRow.seq)).all() == [
            "identity.seen",
            "attestation.claim",
        ]
        assert session.scalar(select(PersonRow.name)) == "click"


def test_the_writers_lock_ends_with_its_transaction_also_after_a_savepoint_that_failed(sessions: Sessions) -> None:
    with sessions() as session:
        with session.begin():
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                fail_after(make_person(session))
            make_person(session, "bea")
        with session.begin():
            make_person(session, "cem")

    with reading(sessions) as session:
        assert sorted(session.scalars(select(PersonRow.handle))) == ["bea", "cem"]


@pytest.mark.postgres
def test_the_writers_lock_is_taken_once_in_a_transaction(sessions: Sessions, engine: Engine) -> None:
    taken: list[str] = []

    def executed(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if "pg_advisory_xact_lock" in statement:
            taken.append(statement)

    event.listen(engine, "before_cursor_execute", executed)
    with sessions.begin() as session:
        make_person(session)
        make_person(session, "bea")
        session.execute(update(PersonRow).values(name="x"))
        ledger.record(session, "test.done", now=NOW)
    with reading(sessions) as session:
        session.scalars(select(PersonRow)).all()

    assert len(taken) == (1 if engine.dialect.name == "postgresql" else 0)


def fail_after(*done: object) -> None:
    """Fail, once this is done."""
    raise ZeroDivisionError


def in_threads(*works: Callable[[], None]) -> None:
    """Run these at once, and raise what any of them raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(work) for work in works]:
            future.result(60)


def test_a_factory_of_units_of_work_can_be_opened_twice_on_one_engine(engine: Engine) -> None:
    for _ in range(2):
        with open_sessions(engine).begin() as session:
            ledger.record(session, "test.begun", now=NOW)

    with reading(open_sessions(engine)) as session:
        assert ledger.count(session) == 2
