"""How a bot writes: one after the other, and several in one commit.

A database lets one transaction write at a time, and makes each commit safe on its disk before the next. In a burst that
wait is most of what a click costs; so whoever finds others waiting leaves the commit to them. Each writes inside a
savepoint of its own: what one of them raises takes back only its own. Nobody is told that anything is recorded before
it is committed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from nhi.database import Sessions

TOGETHER_SECONDS = 0.1  # after which a commit waits for nobody else
TOGETHER_AT_MOST = 32


class _Group:
    """A transaction that several listeners share, and how it ended."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.began = time.monotonic()
        self.members = 0
        self._ended, self._is_kept = threading.Event(), False

    def commit(self) -> None:
        """Commit for all members, and let each know how it went."""
        try:
            self.connection.commit()
            self._is_kept = True
        finally:
            if not self._is_kept:
                self.connection.invalidate()  # nobody may be given what such a connection has begun
            self.connection.close()
            self._ended.set()

    def wait(self) -> None:
        """Return once all is committed. Raises where it could not be: then nothing was recorded."""
        self._ended.wait()
        if not self._is_kept:
            raise RuntimeError("the transaction that this listener shared was not committed")


class Turns:
    """Gives each listener its turn."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._turn, self._count = threading.Lock(), threading.Lock()
        self._waiting = 0
        self._group: _Group | None = None

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open one unit of work; at its end everything in it is committed, or an exception says that nothing is."""
        group = self._join()
        try:
            session = self._sessions(bind=group.connection, join_transaction_mode="create_savepoint")
            with session, session.begin():
                yield session
        finally:
            self._leave(group)
        group.wait()

    def _join(self) -> _Group:
        """Take the turn, and a place in the transaction that is under way, or a new one."""
        with self._count:
            self._waiting += 1
        self._turn.acquire()
        with self._count:
            self._waiting -= 1
        with ExitStack() as on_failure:
            on_failure.callback(self._turn.release)
            if self._group is None:
                connection = on_failure.enter_context(self._sessions.kw["bind"].connect())
                connection.begin()
                self._group = _Group(connection)
            on_failure.pop_all()
        return self._group

    def _leave(self, group: _Group) -> None:
        """Hand the turn to the next; where nobody waits, or others have waited long enough, commit first."""
        group.members += 1
        try:
            if self._is_last(group):
                self._group = None
                group.commit()
        finally:
            self._turn.release()

    def _is_last(self, group: _Group) -> bool:
        with self._count:
            nobody = self._waiting == 0
        late = time.monotonic() - group.began > TOGETHER_SECONDS
        return nobody or late or group.members >= TOGETHER_AT_MOST


class Together(sessionmaker[Session]):
    """The same sessions, but each that begins takes its turn with all other writers of this process.

    A redraw's small transactions would else stand in the way of clicks: SQLite lets a writer that waits look only every
    so often whether it may, in no order, and each commit is one more to wait for.
    """

    def __init__(self, sessions: Sessions, turns: Turns) -> None:
        self.kw, self.class_, self._turns = sessions.kw, sessions.class_, turns

    def begin(self) -> AbstractContextManager[Session]:
        return self._turns.writing()
