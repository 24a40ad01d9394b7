"""What follows an acknowledgement, in threads of its own. Whatever is lost here, rows still say what is due.

Forms and sentences come first: a form has three seconds to open. Redraws take turns on a few threads, and wait while
clicks are not acknowledged: in a burst, each message is then redrawn once and not once a click.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

from slack_bolt import BoltRequest, BoltResponse
from slack_bolt.listener.listener_completion_handler import ListenerCompletionHandler
from slack_bolt.listener.listener_start_handler import ListenerStartHandler

from bot.slack import UNWELL, trouble

log = logging.getLogger(__name__)

THREADS = 100  # for calls that a person waits for, a few hundred milliseconds each
REDRAW_THREADS = 4
PATIENCE_SECONDS = 5.0  # of a redraw with clicks that go on coming in
CALM_SECONDS = 0.01  # without a request: a burst has pauses, too, while its next requests are being read


class Started(ListenerStartHandler):
    """Tells that a listener starts."""

    def __init__(self, after: AfterAck) -> None:
        self._after = after

    def handle(self, request: BoltRequest, response: BoltResponse | None) -> None:
        self._after.begin()


class Completed(ListenerCompletionHandler):
    """Tells that a listener is done, well or not."""

    def __init__(self, after: AfterAck) -> None:
        self._after = after

    def handle(self, request: BoltRequest, response: BoltResponse | None) -> None:
        self._after.end()


class AfterAck(ThreadPoolExecutor):
    """The threads for what follows an acknowledgement."""

    def __init__(self) -> None:
        super().__init__(max_workers=THREADS, thread_name_prefix="after-ack")
        self._redraws = ThreadPoolExecutor(max_workers=REDRAW_THREADS, thread_name_prefix="redraw")
        self._lock = threading.Condition()
        self._under_way = 0  # requests that are not acknowledged yet
        self._last_came = 0.0
        self._is_deciding = False
        self._pending: set[Future[Any]] = set()
        self._wanted: set[str] = set()

    def begin(self) -> None:
        """Count a request that came."""
        with self._lock:
            self._under_way += 1
            self._last_came = time.monotonic()

    def end(self) -> None:
        """Count a request that is done: its answer is on its way to Slack."""
        with self._lock:
            self._under_way -= 1
            self._lock.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a request waits for its acknowledgement."""
        return self._under_way > 0

    def wait_for_calm(self, seconds: float) -> bool:
        """Wait until nobody waits for an acknowledgement, nor came just now; return whether that was so in time."""
        ends = time.monotonic() + seconds
        with self._lock:
            while (now := time.monotonic()) < ends:
                calm_at = self._last_came + CALM_SECONDS
                if self._under_way == 0 and now >= calm_at:
                    return True
                self._lock.wait(ends - now if self._under_way else min(calm_at, ends) - now)
        return False

    def deciding(self, is_deciding: bool) -> None:
        """Tell whether acknowledged clicks wait to be decided: a message is then redrawn once, and not at each."""
        with self._lock:
            self._is_deciding = is_deciding
            self._lock.notify_all()

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Run it soon, in another thread; what it raises is logged."""
        self._hand_to(self, function, *arguments)

    def redraw(self, key: str, function: Callable[[], object]) -> None:
        """Run it when there is time; of several with one key that did not start yet, one is enough."""
        with self._lock:
            if key in self._wanted:
                return
            self._wanted.add(key)

        def run() -> None:
            with self._lock:
                self._lock.wait_for(lambda: not (self._under_way or self._is_deciding), timeout=PATIENCE_SECONDS)
                self._wanted.discard(key)
            function()

        self._hand_to(self._redraws, run)

    def _hand_to(self, pool: Executor, function: Callable[..., object], *arguments: object) -> None:
        try:
            future = pool.submit(copy_context().run, function, *arguments)  # in the language of the request
        except RuntimeError:
            log.info("stopping: what is left is the worker's")
            return
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._done)

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self._pending.discard(future)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, UNWELL):
            log.warning("after an ack: Slack answers %s", trouble(error).code)
        elif error is not None:
            log.error("after an ack", exc_info=error)

    def finish(self, seconds: float) -> bool:
        """Take no more, and wait for what is under way; return whether all of it ended in time."""
        ends = time.monotonic() + seconds
        self.shutdown(wait=False)
        self._redraws.shutdown(wait=False, cancel_futures=True)  # they are rows: the worker does them
        with self._lock:
            pending = list(self._pending)
        return not wait(pending, timeout=max(0.0, ends - time.monotonic())).not_done
