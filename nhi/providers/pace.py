"""An upper limit on requests a second, shared by threads."""

from __future__ import annotations

import threading
import time


class Pace:
    """An upper limit on requests a second, shared by all threads: each waits for its own turn.

    `burst` requests may go at once after a rest; None: a second's worth, and at most ten.
    """

    def __init__(self, a_second: float, *, burst: float | None = None) -> None:
        self._every = 1 / a_second
        self._burst = (min(10.0, a_second) if burst is None else burst) * self._every
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - self._burst) + self._every
            pause = self._next - now
        if pause > 0:
            time.sleep(pause)

    def hold(self, seconds: float) -> None:
        """Let nobody go for so long: the other side said when to come again."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
