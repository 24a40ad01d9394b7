"""Socket Mode: connected for as long as the process lives, watched, and closed without dropping a click."""

from __future__ import annotations

import logging
import threading
import time

from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from bot import metrics
from bot.app import Slackbot
from bot.inbox import NOT_RECORDED
from bot.slack import UNWELL, trouble

log = logging.getLogger(__name__)

THREADS = 32  # as in bot/server.py
PING_EVERY = 5  # seconds
SILENT_AFTER = 3.5 * PING_EVERY  # a connection can die without a word: then pings stay unanswered
LOOK_EVERY = 1.0  # seconds
LONGEST_PAUSE = 30.0  # seconds between two tries to connect


class _Counting(SocketModeHandler):
    """Bolt's handler, which also counts the requests under way."""

    def __init__(self, app: Slackbot, app_token: str) -> None:
        self._inbox = app.inbox
        super().__init__(app, app_token, concurrency=THREADS, ping_interval=PING_EVERY)
        self._lock, self._busy = threading.Condition(), 0

    def handle(self, client: SocketModeClient, req: SocketModeRequest) -> None:  # type: ignore[override]
        with self._lock:
            self._busy += 1
        try:
            if not self._take(client, req):
                super().handle(client, req)
        finally:
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()

    def _take(self, client: SocketModeClient, req: SocketModeRequest) -> bool:
        """Put a click that only decides into the inbox, and acknowledge it; return False for anything else."""
        payload = req.payload
        if req.type != "interactive" or payload.get("type") != "block_actions":
            return False
        began = time.monotonic()
        try:
            if not self._inbox.take(payload):
                return False
        except NOT_RECORDED as error:
            self._inbox.could_not(error, payload)  # without an acknowledgement Slack shows an error
            return True
        client.send_socket_mode_response(SocketModeResponse(envelope_id=req.envelope_id))
        metrics.ACK_SECONDS.observe(time.monotonic() - began)
        return True

    def wait_until_idle(self, seconds: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: self._busy == 0, timeout=seconds)


class Socket:
    """The connection to Slack, kept up by a thread of its own."""

    def __init__(self, app: Slackbot, app_token: str) -> None:
        self._handler = _Counting(app, app_token)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="socket", daemon=True)

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is gone."""
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """Whether requests can reach us right now: connected, and the last pings were answered."""
        session = self._handler.client.current_session
        if session is None or not session.is_active():
            return False
        answered_at = session.last_ping_pong_time
        is_silent = answered_at is not None and time.time() - answered_at > SILENT_AFTER
        return not is_silent and session.consecutive_check_state_error_count == 0

    def _watch(self) -> None:
        pause = LOOK_EVERY
        while not self._ended.is_set():
            is_well = self.is_connected or self._connects()
            pause = LOOK_EVERY if is_well else min(pause * 2, LONGEST_PAUSE)
            self._ended.wait(pause)

    def _connects(self) -> bool:
        try:
            self._handler.client.connect_to_new_endpoint(force=True)
        except UNWELL as error:
            log.warning("Slack's socket cannot be reached: %s", trouble(error).code)
            return False
        log.info("connected to Slack by Socket Mode")
        return True

    def close(self, seconds: float) -> None:
        """Finish the requests under way, acks included, then hang up."""
        self._ended.set()
        if not self._handler.wait_until_idle(seconds):
            log.warning("a request was still under way when the connection was closed")
        self._handler.client.close()
