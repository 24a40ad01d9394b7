"""Whether this process can do its work: database, migrations, Slack, socket and clock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from slack_bolt import App
from sqlalchemy import Engine

from bot.slack import UNWELL, trouble
from bot.socket import Socket
from nhi.database import Sessions, what_is_missing
from nhi.errors import DatabaseNotReady
from nhi.settings import Settings

SKEW_AT_MOST = timedelta(minutes=2)  # Slack's signatures are good for five
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # this program did not exist before

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Health:
    """Answers `/readyz`. Slack is asked until it has said yes once; after that the outbox knows better."""

    settings: Settings
    app: App
    sessions: Sessions
    clock: Callable[[], datetime]
    socket: Socket | None
    _slack_said_yes: bool = False
    _skew: timedelta = timedelta(0)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reasons(self) -> list[str]:
        """Return one sentence for each thing that is not well; none: ready."""
        found = [self._database(), self._slack(), self._socket(), self._clock()]
        return [sentence for sentence in found if sentence]

    def _database(self) -> str | None:
        engine = self.sessions.kw["bind"]
        assert isinstance(engine, Engine)
        try:
            return what_is_missing(engine, self.settings.database_url)
        except DatabaseNotReady as error:
            return str(error)

    def _slack(self) -> str | None:
        with self._lock:
            if self._slack_said_yes:
                return None
            try:
                answer = self.app.client.auth_test()
            except UNWELL as error:
                return f"Slack does not know us ({trouble(error).code}); check SLACK_BOT_TOKEN and the network"
            self._slack_said_yes = True
            self._skew = _skew({str(name).lower(): value for name, value in answer.headers.items()}.get("date"))
            return None

    def _socket(self) -> str | None:
        if self.socket is None or self.socket.is_connected:
            return None
        return "The socket to Slack is not connected; it is tried again every few seconds"

    def _clock(self) -> str | None:
        if abs(self._skew) > SKEW_AT_MOST:
            return f"This machine's clock is {self._skew.total_seconds():.0f} s off Slack's; set it (NTP)"
        if self.clock() < EPOCH:
            return "This machine's clock is in the past; set it (NTP)"
        return None


def _skew(date: str | None) -> timedelta:
    """Return how far our clock is ahead of the one that wrote an HTTP date; nothing where there is none."""
    try:
        return datetime.now(UTC) - parsedate_to_datetime(date or "")
    except (ValueError, TypeError):
        return timedelta(0)
