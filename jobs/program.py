"""What every command and process stands on: settings, database, policy, clock, Slack, providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from slack_sdk import WebClient
from sqlalchemy import Engine

from nhi import database, settings
from nhi.database import Sessions
from nhi.policy import Policy
from nhi.policy_file import PolicyFile
from nhi.providers import Connect, providers
from nhi.settings import Settings

Clock = Callable[[], datetime]
SLACK_SECONDS = 10  # of patience with one call to Slack


def real_clock() -> datetime:
    """Read the clock: the one place outside the demo that does."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Program:
    """One opened program. `slack` is None where no bot token is set."""

    settings: Settings
    engine: Engine
    sessions: Sessions
    policy: Callable[[], Policy]
    clock: Clock
    slack: WebClient | None
    providers: Mapping[str, Connect]


def open_program(given: Settings | None = None, *, clock: Clock = real_clock) -> Program:
    """Read the settings, open and ready the database, read the policy.

    Raises SettingsError, PolicyError or DatabaseNotReady: one sentence each, exit status 2.
    """
    chosen = given or settings.read()
    policy_file = PolicyFile(chosen.nhi_policy)
    engine = open_database(chosen)
    return Program(
        settings=chosen,
        engine=engine,
        sessions=database.open_sessions(engine),
        policy=policy_file,
        clock=clock,
        slack=slack_client(chosen),
        providers=providers(),
    )


def open_database(chosen: Settings) -> Engine:
    """Open the database and see that its schema is right. Raises SettingsError or DatabaseNotReady."""
    engine = database.open_engine(chosen.database_url)
    database.make_ready(engine, chosen.database_url)
    return engine


def slack_client(chosen: Settings) -> WebClient | None:
    """Return the client of Slack's Web API; None where no bot token is set.

    It retries nothing by itself: a call that was sent twice posts twice, so the outbox decides what to do.
    """
    if chosen.slack_bot_token is None:
        return None
    return WebClient(token=chosen.bot_token(), base_url=chosen.slack_api_url, timeout=SLACK_SECONDS, retry_handlers=[])
