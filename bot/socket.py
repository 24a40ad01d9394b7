"""Socket Mode: connected for as long as the process lives, watched, and closed without dropping a click."""

from __future__ import annotations

import logging
import threading
import time

from slack_bolt import App
from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bot.slack import UNWELL, trouble

log = logging.getLogger(__name__)

THREADS = 32  # as in bot/server.py: a listener holds one for a short transaction
LOOK_EVERY = 2.0  # seconds
RECONNECT_AFTER = 20.0  # seconds without a connection; the client itself reconnects sooner where it notices


class _Counting(SocketModeHandler):
    """Bolt's handler, which also counts the requests under way."""

    def __init__(self, app: App, app_token: str) -> None:
        super().__init__(app, app_token, concurrency=THREADS, ping_interval=5)
        self._lock, self._busy = threading.Condition(), 0
        self.last_frame = time.monotonic()

    def handle(self, client: SocketModeClient, req: SocketModeRequest) -> None:  # type: ignore[override]
        self.last_frame = time.monotonic()
        with self._lock:
            self._busy += 1
        try:
            super().handle(client, req)
        finally:
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()

    def wait_until_idle(self, seconds: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: self._busy == 0, timeout=seconds)


class Socket:
    """The connection to Slack, kept up by a thread of its own."""

    def __init__(self, app: App, app_token: str) -> None:
        self._handler = _Counting(app, app_token)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="socket", daemon=True)

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is gone."""
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """Whether requests can reach us right now."""
        return self._handler.client.is_connected()

    def _watch(self) -> None:
        # A dropped connection shows at once or, where it dies silently, after four missed pings; then the client
        # connects again by itself. Its very first connection, and one that it gave up on, are ours to make.
        gone_since = -RECONNECT_AFTER
        while not self._ended.is_set():
            now = time.monotonic()
            if self.is_connected:
                gone_since = now
            elif now - gone_since >= RECONNECT_AFTER:
                gone_since = now
                self._connect()
            self._ended.wait(LOOK_EVERY)

    def _connect(self) -> None:
        try:
            self._handler.client.connect_to_new_endpoint()
        except UNWELL as error:
            log.warning("Slack's socket cannot be reached: %s", trouble(error).code)

    def close(self, seconds: float) -> None:
        """Finish the requests under way, acks included, then hang up."""
        self._ended.set()
        if not self._handler.wait_until_idle(seconds):
            log.warning("a request was still under way when the connection was closed")
        self._handler.client.close()
