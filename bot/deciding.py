"""Deciding what is in the inbox: in its order, each click once, and also what a crash left.

A click is decided in one transaction with the mark that it is. Only who holds the writers' turn looks for the next row,
so two processes never decide the same one; killed anywhere, its row still waits, for the next start of a bot or for
the worker's tick.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from bot import metrics
from bot.after import AfterAck
from bot.clicks import Ours
from bot.refusals import Refusals
from bot.slack import UNWELL, After, Bot, Decide, Json
from nhi import database
from nhi.database import Sessions, lock_writers, reading
from nhi.errors import NhiError, OutOfDate
from nhi.tables import InboxRow
from nhi.words import sentence, speak

log = logging.getLogger(__name__)

RECORDED, REFUSED, GIVEN_UP = "recorded", "refused", "given up"
TRIES = 3
BETWEEN_TRIES = timedelta(seconds=5)
KEPT_FOR = timedelta(days=1)  # of a decided row: only its digest tells a late double
ANSWERS_FOR = timedelta(minutes=29)  # a response_url; Slack says thirty
FORMS_FOR = timedelta(seconds=2.5)  # a trigger_id; Slack says three

ROWS_AT_ONCE = 32
AT_MOST_SECONDS = 0.5  # of deciding in one transaction
GIVES_WAY_SECONDS = 0.0  # of deciding while somebody waits for an acknowledgement: one click

_TABLE: Table = InboxRow.__table__  # type: ignore[assignment]


@dataclass(kw_only=True)
class Decider:
    """Decides what is in the inbox. One thread at a time uses it."""

    bot: Bot
    decides: Mapping[str, Decide]
    refusals: Refusals
    ours: Ours
    after: AfterAck | None = None  # None: no requests come to this process
    waited: timedelta = timedelta(0)  # before a row is taken up: a worker leaves what is new to the bots
    failed: Exception | None = field(default=None, init=False)  # what the last turn ended with
    _at: int | None = field(default=None, init=False)  # the row that is being decided

    def turn(self) -> bool:
        """Decide some of what is due, in its order; return whether more may be. Raises nothing: `failed` tells."""
        fault, at = self.failed, self._at
        self.failed, self._at = None, None
        try:
            if not self._is_any_due():
                return False
            self.ours.learn()
            if fault is not None and at is not None:
                self._failed(at, fault)
            return self._some()
        except Exception as error:
            # This loop must outlive any click's fault: the next turn writes it down, or what all need is waited for.
            if self._at is None:
                is_known = isinstance(error, UNWELL + database.UNWELL)
                log.warning("no click can be decided for now: %s", error, exc_info=None if is_known else error)
            self.failed = error
            return self._at is not None

    def _is_any_due(self) -> bool:
        with reading(self.bot.sessions) as session:
            due = _due(self.bot.clock(), self.waited).limit(1)
            return session.connection().execute(due).first() is not None

    def _some(self) -> bool:
        then: list[After] = []
        began, more = time.monotonic(), False
        with self.bot.turns.writing() as session:
            lock_writers(session)
            connection = session.connection()
            rows = connection.execute(_due(self.bot.clock(), self.waited).limit(ROWS_AT_ONCE)).all()
            more = len(rows) == ROWS_AT_ONCE
            for row in rows:
                if then and self._is_long(time.monotonic() - began):
                    more = True
                    break
                self._at = row.number
                then.append(self._decide(connection, row))
        self._at = None
        for follow_up in then:
            follow_up()
        return more

    def _is_long(self, seconds: float) -> bool:
        is_waited_for = self.after is not None and self.after.is_busy
        return seconds > (GIVES_WAY_SECONDS if is_waited_for else AT_MOST_SECONDS)

    def _decide(self, connection: Connection, row: Row[Any]) -> After:
        """Decide one row, and mark it in the same transaction; return what follows the commit."""
        now, body = self.bot.clock(), _whole(row, self.bot.clock())
        speak(self.bot.policy().conversation.language)
        try:
            self.ours.check(body)
            decide = self.decides.get(row.action)
            if decide is None:
                raise OutOfDate(sentence("refusals.out_of_date"))
            with self._session(connection) as session, session.begin():
                then, outcome = decide(session, body), RECORDED
        except NhiError as error:
            if not error.permanent:
                raise
            then, outcome = self._tell(connection, error, row, body, now), REFUSED
        _close(connection, row.number, outcome, now)
        metrics.DECIDED_SECONDS.observe(max(0.0, (now - row.received_at).total_seconds()))
        return then

    def _tell(self, connection: Connection, error: Exception, row: Row[Any], body: Json, now: datetime) -> After:
        """Return how the person is told why not; where it is too late to answer the click, the outbox tells them."""
        if _can_be_answered(row, body, now):
            return partial(_ignore, self.refusals.answer, error, body)
        with self._session(connection) as session, session.begin():
            self.refusals.write(error, body, session, now)
        return partial(self.bot.defer, "deliver", "a click came too late")

    def _session(self, connection: Connection) -> Session:
        return self.bot.sessions(bind=connection, join_transaction_mode="create_savepoint")

    def _failed(self, number: int, error: Exception) -> None:
        """Write down that a click could not be decided, to try it again; after so many tries its person is told."""
        then: After | None = None
        with self.bot.turns.writing() as session:
            lock_writers(session)
            connection = session.connection()
            row = connection.execute(select(_TABLE).where(_TABLE.c.number == number)).one_or_none()
            if row is None or row.decided_at is not None:
                return
            now = self.bot.clock()
            tries = row.attempts + 1
            noted = {"attempts": tries, "error": type(error).__name__, "not_before": now + BETWEEN_TRIES * tries}
            connection.execute(update(_TABLE).where(_TABLE.c.number == number).values(noted))
            if tries >= TRIES:
                then = self._tell(connection, error, row, _whole(row, now), now)
                _close(connection, number, GIVEN_UP, now)
        if then is None:
            log.warning("a click could not be decided; it is tried again", exc_info=error)
        else:
            then()


def _ignore(function: Any, *arguments: Any) -> None:
    function(*arguments)


def _due(now: datetime, waited: timedelta) -> Select[Any]:
    columns = _TABLE.c
    waiting = and_(columns.decided_at.is_(None), columns.not_before <= now, columns.received_at <= now - waited)
    return select(_TABLE).where(waiting).order_by(columns.number)


def _whole(row: Row[Any], now: datetime) -> Json:
    """Return a click as its use case reads it: with what Slack still takes an answer by."""
    body: Json = dict(row.body)
    if row.response_url and row.received_at > now - ANSWERS_FOR:
        body["response_url"] = row.response_url
    return body


def _can_be_answered(row: Row[Any], body: Json, now: datetime) -> bool:
    return "response_url" in body or row.received_at > now - FORMS_FOR


def _close(connection: Connection, number: int, outcome: str, now: datetime) -> None:
    """Mark a row as done, and take out what was said. Raises where another had marked it: then nothing is kept."""
    done = connection.execute(
        update(_TABLE)
        .where(_TABLE.c.number == number, _TABLE.c.decided_at.is_(None))
        .values(decided_at=now, outcome=outcome, body={}, response_url=None)
    )
    if done.rowcount != 1:
        raise RuntimeError("another process decided this click")


# -- for the worker ----------------------------------------------------------------------------------------------------


def waiting(sessions: Sessions, received_by: datetime) -> int:
    """Return how many clicks that came by then are not decided."""
    with reading(sessions) as session:
        query = select(func.count()).select_from(InboxRow)
        return session.scalar(query.where(InboxRow.decided_at.is_(None), InboxRow.received_at <= received_by)) or 0


def tidy(sessions: Sessions, now: datetime) -> None:
    """Remove what was decided a day ago, and what an answer can no longer be sent by."""
    old = and_(InboxRow.decided_at.is_not(None), InboxRow.decided_at <= now - KEPT_FOR)
    stale = and_(InboxRow.response_url.is_not(None), InboxRow.received_at <= now - ANSWERS_FOR)
    with reading(sessions) as session:
        if session.scalar(select(InboxRow.number).where(or_(old, stale)).limit(1)) is None:
            return
    with sessions.begin() as session:
        session.execute(delete(InboxRow).where(old).execution_options(synchronize_session=False))
        session.execute(update(InboxRow).where(stale).values(response_url=None))
