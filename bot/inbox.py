"""The inbox: a click that only decides is written down as it came, acknowledged, and decided right after.

Slack gives a click three seconds. Deciding takes some fifteen statements, one after the other; that it was pressed is
one row, and many share a commit. So nothing is acknowledged that is not in the database, and an acknowledgement waits
for no decision longer than one transaction. bot/deciding.py decides what is here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping

from slack_bolt import Ack
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from bot import clicks
from bot.after import AfterAck
from bot.clicks import Click, Ours
from bot.deciding import AT_MOST_SECONDS, Decider
from bot.refusals import Refusals
from bot.slack import Bot, Decide, Json
from nhi.errors import OutOfDate
from nhi.tables import InboxRow
from nhi.words import sentence

PATIENCE_SECONDS = 1.0  # of deciding with a burst of clicks; with more that go on coming, it takes turns with them
SHORT_PATIENCE_SECONDS = 0.1
BREATH_SECONDS = 0.05  # between two transactions: SQLite lets another process that waits look only every so often
PAUSE_SECONDS = 1.0  # after a fault of what all need: the database, Slack's word on whose app this is
LOOKS_EVERY = 15.0  # seconds: for what is to be tried again
NOT_RECORDED = (SQLAlchemyError, sqlite3.Error, OSError, RuntimeError)  # what taking a click in may raise

_TABLE: Table = InboxRow.__table__  # type: ignore[assignment]


class _Batch:
    """Rows that are written in one commit, and how it ended."""

    def __init__(self) -> None:
        self.rows: list[Json] = []
        self.ended, self.is_kept = threading.Event(), False


class Intake:
    """Writes clicks: whoever comes first writes for all who come until then."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._lock, self._pen = threading.Lock(), threading.Lock()
        self._filling = _Batch()

    def write(self, click: Click) -> None:
        """Return once the click is in the database; one that is there already stays as it is.

        Raises whatever the database does: then it is not there.
        """
        with self._lock:
            batch = self._filling
            batch.rows.append(self._row(click))
            is_first = len(batch.rows) == 1
        if is_first:
            try:
                with self._pen:
                    with self._lock:
                        self._filling = _Batch()
                    self._commit(batch.rows)
                batch.is_kept = True
            finally:
                batch.ended.set()
            return
        batch.ended.wait()
        if not batch.is_kept:
            raise RuntimeError("the transaction that this click shared was not committed")

    def _row(self, click: Click) -> Json:
        now = self._bot.clock()
        return {
            "digest": click.digest,
            "action": click.action,
            "body": click.body,
            "response_url": click.response_url,
            "received_at": now,
            "not_before": now,
            "attempts": 0,
        }

    def _commit(self, rows: list[Json]) -> None:
        engine = self._bot.sessions.kw["bind"]
        if engine.dialect.name == "postgresql":  # only the ledger's writers take turns there, and this tells it nothing
            with engine.begin() as connection:
                connection.execute(postgresql.insert(_TABLE).on_conflict_do_nothing(), rows)
            return
        with self._bot.turns.writing() as session:
            session.connection().execute(sqlite.insert(_TABLE).on_conflict_do_nothing(), rows)


class Inbox:
    """The inbox of a bot: what it takes in, it decides in a thread of its own."""

    def __init__(
        self, bot: Bot, decides: Mapping[str, Decide], refusals: Refusals, ours: Ours, after: AfterAck
    ) -> None:
        self._bot, self._refusals, self._after = bot, refusals, after
        self._intake = Intake(bot)
        self._decider = Decider(bot=bot, decides=decides, refusals=refusals, ours=ours, after=after)
        self.actions = frozenset(decides)
        self._news = threading.Condition()
        self._wanted, self._done, self._ended = 1, 0, False  # what a crash left is looked for first
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    # -- taking in -----------------------------------------------------------------------------------------------------

    def listen(self, ack: Ack, body: Json) -> None:
        """Take a click in that came through Bolt."""
        click = clicks.of(body, self.actions)
        if click is None:
            raise OutOfDate(sentence("refusals.out_of_date"))
        self._take(click)
        ack()

    def take(self, payload: Json) -> bool:
        """Take a click in; return False where it is none of ours. Raises what the database does: it is not recorded."""
        self._after.begin()
        try:
            click = clicks.of(payload, self.actions)
            if click is None:
                return False
            self._take(click)
            return True
        finally:
            self._after.end()

    def _take(self, click: Click) -> None:
        self._intake.write(click)
        self.look()

    def could_not(self, error: Exception, payload: Json) -> int:
        """Tell the person that their click is not recorded; return the HTTP status that Slack shows as an error."""
        return self._refusals.answer(error, payload).status

    # -- deciding ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Decide from now on: first what an earlier process left."""
        self._thread.start()

    def look(self) -> None:
        """Let the thread look for rows that are due."""
        self._after.deciding(True)
        with self._news:
            self._wanted += 1
            self._news.notify_all()

    def settle(self, seconds: float = 60.0) -> bool:
        """Wait until all that was taken in, and is due, is decided; return whether it is."""
        self.look()
        with self._news:
            wanted = self._wanted
            return self._news.wait_for(lambda: self._done >= wanted or self._ended, timeout=seconds)

    def close(self, seconds: float) -> None:
        """Decide what is left, for so long; then stop. Rows say what is left after that."""
        if self._thread.is_alive():
            self.settle(seconds)
        with self._news:
            self._ended = True
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(AT_MOST_SECONDS * 4)

    def _run(self) -> None:
        is_calm = True
        while not self._ended:
            with self._news:
                wanted = self._wanted
            is_calm = self._after.wait_for_calm(PATIENCE_SECONDS if is_calm else SHORT_PATIENCE_SECONDS)
            has_more, has_failed = self._decider.turn(), self._decider.failed is not None
            if has_more or has_failed:
                with self._news:
                    self._news.wait_for(lambda: self._ended, timeout=BREATH_SECONDS if has_more else PAUSE_SECONDS)
                continue
            with self._news:
                self._done = wanted
                self._news.notify_all()
                if self._wanted == self._done:
                    self._after.deciding(False)
                self._news.wait_for(lambda: self._wanted > self._done or self._ended, timeout=LOOKS_EVERY)
