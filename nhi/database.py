"""The database: how it is opened, how one unit of work looks, and whether its schema is the one we need.

`with sessions.begin() as session:` is the unit of work. On SQLite it starts with BEGIN IMMEDIATE: a transaction that
reads and then writes would otherwise fail at once with BUSY in WAL mode. `reading(sessions)` takes no write lock. On
PostgreSQL one transaction writes at a time as well: see `open_sessions`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker

from nhi.errors import DatabaseFailed, DatabaseNotReady, SettingsError

if TYPE_CHECKING:
    from alembic.config import Config  # loaded only where the schema is not the newest: each start would wait for it

Sessions = sessionmaker[Session]

ROOT = Path(__file__).resolve().parent.parent
BUSY_MILLISECONDS = 15_000
WRITERS = 0x6E6869  # "nhi": PostgreSQL's advisory lock that lets one transaction write at a time
UNWELL = (OperationalError, InterfaceError, sqlite3.OperationalError)  # no fault of what was asked: out of reach, full
_WAYS_OUT = {  # SQLite's words
    "disk is full": "make room on its disk",
    "disk I/O error": "see whether its disk is full or broken",
    "readonly": "let this user write the file and its folder",
    "unable to open": "check DATABASE_URL; its folder must be there, and this user must be able to write it",
    "is locked": "another process has been writing for long; try again",
}
_LOCKED_IN = "database.locked_in"  # in Session.info: the transaction that holds it


def open_engine(url: str) -> Engine:
    """Return an engine for this address. Raises SettingsError where the address is none of SQLite or PostgreSQL."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is a plain ValueError
        raise SettingsError("DATABASE_URL is not a database address; use sqlite:///nhi.db or postgresql://…") from None
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise SettingsError(f"DATABASE_URL names {address.drivername}; use an address of SQLite or PostgreSQL")
    quiet: Any = {"hide_parameters": True}  # people's words are bound parameters: no error message may repeat them
    try:
        if address.get_backend_name() == "sqlite":
            return _sqlite(create_engine(address, connect_args={"timeout": BUSY_MILLISECONDS / 1000}, **quiet))
        return create_engine(address, pool_pre_ping=True, pool_size=20, max_overflow=20, **quiet)
    except NoSuchModuleError as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None


def _sqlite(engine: Engine) -> Engine:
    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")  # an answer that was acked survives a power cut
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA recursive_triggers=ON")  # INSERT OR REPLACE must not slip past the triggers
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL mode, which it then keeps.

    Of several processes that do so at the same moment on a new file SQLite refuses all but one at once, whatever the
    busy timeout: so try again.
    """
    for pause in (0.01, 0.03, 0.1, 0.3, 1.0):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(pause)
    connection.execute("PRAGMA journal_mode=WAL")


def open_sessions(engine: Engine) -> Sessions:
    """Return the factory of units of work. Rows stay readable after the commit.

    On PostgreSQL a unit of work takes the writers' lock before its first write, and keeps it to its end. Whatever is
    written is also told to the ledger, which lets one transaction append at a time; a click that had changed its rows
    first, and a scan that had told the ledger first, would wait for each other for ever.
    """
    sessions = sessionmaker(engine, expire_on_commit=False)
    if engine.dialect.name == "postgresql":
        event.listen(sessions, "before_flush", _before_flush)
        event.listen(sessions, "do_orm_execute", _before_execute)
    return sessions


def _before_flush(session: Session, context: Any, instances: Any) -> None:
    lock_writers(session)


def _before_execute(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        lock_writers(state.session)


def lock_writers(session: Session) -> None:
    """Wait until no other transaction writes; on SQLite BEGIN IMMEDIATE has done so already.

    The lock ends with the transaction. It is taken once in each; inside a savepoint, whose end may drop it, again.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    if session.info.get(_LOCKED_IN) is not None and session.info[_LOCKED_IN] is session.get_transaction():
        return
    session.connection().execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS})
    if not session.in_nested_transaction():
        session.info[_LOCKED_IN] = session.get_transaction()


@contextmanager
def reading(sessions: Sessions) -> Iterator[Session]:
    """Open a session that only reads: it takes no write lock, and is rolled back at its end. Its rows stay readable."""
    with sessions() as session:  # closing it rolls back; `rollback()` would make the rows forget what they hold
        session.connection(execution_options={"reads_only": True})
        yield session


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for this database: the migrations that lie beside the packages."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["url"] = url
    return config


def make_ready(engine: Engine, url: str) -> None:
    """Check the schema; an empty or older SQLite database is migrated on the spot.

    Raises DatabaseNotReady, one sentence with the command to run, for an unmigrated PostgreSQL database: there, several
    processes start at once, and a person decides when to migrate.
    """
    problem = what_is_missing(engine, url)
    if problem is None:
        return
    if engine.dialect.name != "sqlite" or "newer" in problem:
        raise DatabaseNotReady(problem)
    migrate(engine, url)


def migrate(engine: Engine, url: str) -> bool:
    """Bring the schema up to date; return whether there was anything to do. Raises DatabaseNotReady, one sentence.

    Every installation can do this; Alembic's own command needs a checkout.
    """
    problem = what_is_missing(engine, url)
    if problem is None:
        return False
    if "newer" in problem:
        raise DatabaseNotReady(problem)
    from alembic import command

    try:
        command.upgrade(alembic_config(url), "head")
    except UNWELL as error:
        raise DatabaseNotReady(f"The database cannot be migrated ({reason_of(error)}); {way_out(error)}") from None
    return True


def newest_revision() -> str:
    """Return the revision that this program needs: the last by number, which is how their files are named."""
    return max(path.name.partition("_")[0] for path in (ROOT / "migrations" / "versions").glob("[0-9]*_*.py"))


def what_is_missing(engine: Engine, url: str) -> str | None:
    """Return one sentence of what is wrong with the schema, or None when it is well."""
    try:
        with engine.connect().execution_options(reads_only=True) as connection:
            current = _revision(connection)
    except (DBAPIError, sqlite3.DatabaseError) as error:
        raise DatabaseNotReady(
            f"The database cannot be opened ({reason_of(error)}); {way_out(error)}", permanent=False
        ) from None
    if current == newest_revision():
        return None
    if current is not None and current not in _known_revisions(url):
        return "The database was migrated by a newer version of this program; install that version"
    state = "has no schema yet" if current is None else "has an older schema"
    return (
        f"The database {state}; run `nhi migrate`, or `alembic upgrade head` in a checkout (with DATABASE_URL set),"
        " then start again"
    )


def _revision(connection: Connection) -> str | None:
    """Return the revision that Alembic wrote down; None: it never did."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _known_revisions(url: str) -> set[str]:
    from alembic.script import ScriptDirectory

    return {each.revision for each in ScriptDirectory.from_config(alembic_config(url)).walk_revisions()}


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Raise DatabaseFailed, one sentence, where the database fails in between."""
    try:
        yield
    except UNWELL as error:
        raise DatabaseFailed(
            f"The database failed ({reason_of(error)}). What was written until then is whole; {way_out(error)},"
            " and run the command again"
        ) from None


def reason_of(error: BaseException) -> str:
    """Return the database's own words, in a line."""
    return (str(getattr(error, "orig", error)).strip() or type(error).__name__).splitlines()[0]


def way_out(error: BaseException) -> str:
    """Return what to do about a database that does not answer, does not take a write, or is none."""
    reason = reason_of(error)
    ways = (words for sign, words in _WAYS_OUT.items() if sign in reason)
    return next(ways, "check DATABASE_URL")
