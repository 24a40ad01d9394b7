"""HTTP for Slack and for operators, and Socket Mode: how requests reach the app, and how the process ends.

On one port: Slack's path (HTTP mode only), `/healthz`, `/readyz`, `/metrics`, and the pages of a sign-in
(bot/sign_in.py) where the settings name an identity provider. What is not signed is refused before
anything of it is read or logged.
"""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from io import BytesIO
from typing import Any

from slack_bolt.adapter.wsgi import SlackRequestHandler
from waitress.server import create_server
from waitress.wasyncore import close_all

from bot import clicks, metrics
from bot.after import AfterAck
from bot.app import Slackbot, is_signed
from bot.health import Health
from bot.inbox import NOT_RECORDED, Inbox
from bot.sign_in import PREFIX, SignIn
from bot.socket import Socket
from nhi import oidc
from nhi.database import Sessions
from nhi.settings import Settings

log = logging.getLogger(__name__)

SLACK_PATH = "/slack/events"
BODY_AT_MOST = 1_000_000  # bytes; Slack's own payloads stay far below
# A request holds the thread that took it until it is acknowledged. Clicks only wait in it for a commit that they share;
# with 12 threads, of 50 clicks a second on a database whose commits take 100 ms, some waited for a thread instead.
THREADS = 32
CONNECTIONS = 1000  # waitress's own default of 100 would leave half of a burst unaccepted
SEEN_FOR = 600.0  # seconds; a signature is good for five minutes before and after its timestamp

Start = Callable[..., Any]
Environ = dict[str, Any]


class Once:
    """Signatures seen lately: one signed request could otherwise be sent again for five minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: dict[str, float] = {}

    def is_new(self, signature: str) -> bool:
        """Whether it was not seen yet; it counts as seen from now on."""
        now = self._clock()
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now - SEEN_FOR:
                del self._seen[next(iter(self._seen))]
            if signature in self._seen:
                return False
            self._seen[signature] = now
            return True

    def forget(self, signature: str) -> None:
        """Let it be sent again: what was asked for was not done."""
        with self._lock:
            self._seen.pop(signature, None)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The WSGI application. `secret` None: Socket Mode, where nothing of Slack's comes by HTTP."""

    slack: SlackRequestHandler
    inbox: Inbox
    secret: str | None
    sessions: Sessions
    health: Health
    sign_in: SignIn | None = None  # None: the settings name no identity provider
    once: Once = field(default_factory=Once)

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD", "GET")
        if path == SLACK_PATH and self.secret is not None:
            return self._slack(self.secret, environ, start) if method == "POST" else _refuse(start, 405, "POST")
        if path.startswith(PREFIX) and self.sign_in is not None:
            return self.sign_in(environ, start) if method == "GET" else _refuse(start, 405, "GET")
        pages = {"/healthz": self._alive, "/readyz": self._ready, "/metrics": self._metrics}
        if path not in pages:
            return _refuse(start, 404)
        return pages[path](start) if method in ("GET", "HEAD") else _refuse(start, 405, "GET, HEAD")

    def _slack(self, secret: str, environ: Environ, start: Start) -> Iterable[bytes]:
        began = time.monotonic()
        body = environ["wsgi.input"].read(BODY_AT_MOST + 1)
        if len(body) > BODY_AT_MOST:
            return _refuse(start, 413)
        timestamp = environ.get("HTTP_X_SLACK_REQUEST_TIMESTAMP", "")
        signature = environ.get("HTTP_X_SLACK_SIGNATURE", "")
        if not is_signed(secret, body, timestamp, signature, time.time()):
            metrics.REQUESTS.labels(status="401").inc()
            return _refuse(start, 401)
        if not self.once.is_new(signature):
            return _answer(start, 200, b"", "text/plain")
        answered = self._take(body, environ) or self._dispatch(body, environ)
        if answered.status >= 500:
            self.once.forget(signature)
        metrics.REQUESTS.labels(status=str(answered.status)).inc()
        metrics.ACK_SECONDS.observe(time.monotonic() - began)
        start(f"{answered.status} {HTTPStatus(answered.status).phrase}", answered.headers)
        return answered.body

    def _take(self, body: bytes, environ: Environ) -> _Answered | None:
        """Put a click that only decides into the inbox, past Bolt: that is all its answer says. None: it is no such."""
        payload = clicks.read(body, environ.get("CONTENT_TYPE", ""))
        if payload is None:
            return None
        try:
            if not self.inbox.take(payload):
                return None
        except NOT_RECORDED as error:
            return _Answered(status=self.inbox.could_not(error, payload))
        return _Answered(status=200)

    def _dispatch(self, body: bytes, environ: Environ) -> _Answered:
        """Hand a signed request to Bolt. What Bolt cannot read is the sender's mistake, not ours: 400."""
        answered = _Answered()
        environ = environ | {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        try:
            answered.body = list(self.slack(environ, answered.start))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            answered.start("400 Bad Request", [("Content-Type", "text/plain")])
            answered.body = [b"not a request of Slack's\n"]
        return answered

    def _alive(self, start: Start) -> Iterable[bytes]:
        return _answer(start, 200, b"ok\n", "text/plain")

    def _ready(self, start: Start) -> Iterable[bytes]:
        reasons = self.health.reasons()
        body = json.dumps({"ready": not reasons, "reasons": reasons}).encode()
        return _answer(start, 503 if reasons else 200, body, "application/json")

    def _metrics(self, start: Start) -> Iterable[bytes]:
        return _answer(start, 200, metrics.exposition(self.sessions), "text/plain; version=0.0.4; charset=utf-8")


@dataclass(kw_only=True)
class _Answered:
    """What Bolt's adapter answered."""

    status: int = 500
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)

    def start(self, status: str, headers: list[tuple[str, str]], *_: object) -> Callable[[bytes], object]:
        self.status, self.headers = int(status.split()[0]), headers
        return self.body.append


def _refuse(start: Start, status: int, allow: str = "") -> Iterable[bytes]:
    return _answer(start, status, f"{HTTPStatus(status).phrase}\n".encode(), "text/plain", allow)


def _answer(start: Start, status: int, body: bytes, content_type: str, allow: str = "") -> Iterable[bytes]:
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start(f"{status} {HTTPStatus(status).phrase}", headers + ([("Allow", allow)] if allow else []))
    return [body]


class Serving:
    """A running server. `port` is the one that the system gave where 0 was asked for."""

    def __init__(self, app: Slackbot, site: Site, socket: Socket | None, host: str, port: int) -> None:
        for noisy in ("waitress", "waitress.queue"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._app, self._socket = app, socket
        server: Any = create_server(
            site,
            host=host,
            port=port,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            backlog=CONNECTIONS,
            asyncore_use_poll=True,  # select() ends the server at the first descriptor above 1,023
            channel_timeout=30,
            cleanup_interval=10,
            max_request_body_size=BODY_AT_MOST + 1,  # it refuses what reaches its limit
            ident="",
            clear_untrusted_proxy_headers=True,
        )
        self._server, self.port = server, int(server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()
        app.inbox.start()
        if socket is not None:
            socket.start()

    @property
    def where(self) -> str:
        """Where Slack reaches this process, to stand after "Slack reaches it"."""
        return "by Socket Mode" if self._socket is not None else f"on port {self.port}, path {SLACK_PATH}"

    def close(self, timeout: float = 20.0) -> None:
        """Accept nothing more, finish what is under way, and return within about `timeout` seconds."""
        ends = time.monotonic() + timeout
        if self._socket is not None:
            self._socket.close(timeout / 2)
        self._in_loop(self._stop_listening)
        while self._is_busy() and time.monotonic() < ends - timeout / 4:
            time.sleep(0.02)
        self._in_loop(self._drop_connections)
        self._thread.join(2)
        self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=1)
        self._server.trigger.close()
        self._app.inbox.close(timeout / 4)
        after = self._app.listener_runner.listener_executor
        if isinstance(after, AfterAck) and not after.finish(max(0.1, ends - time.monotonic())):
            log.warning("not all redraws were finished; the worker's next tick does them")

    def _in_loop(self, function: Callable[[], None]) -> None:
        """Run it in the server's own loop: its sockets belong to that thread."""
        self._server.trigger.pull_trigger(function)

    def _stop_listening(self) -> None:
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()

    def _drop_connections(self) -> None:
        """Close what is left; the loop ends, since nothing is left to watch.

        The trigger stays open until both the loop and the workers have ended: whoever pulls it only then writes to a
        descriptor that is ours no more, and may be a stranger's by now.
        """
        self._server.trigger.del_channel()
        close_all(self._server._map, ignore_all=True)

    def _is_busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)


def get_ready_for_bursts() -> None:
    """Let the garbage collector leave alone what lives as long as the process, and look less often at the rest.

    For the process as a whole, so its `main` calls it, last. Of 200 clicks at once it saves a sixth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def serve(
    settings: Settings,
    app: Slackbot,
    sessions: Sessions,
    clock: Callable[[], datetime],
    *,
    host: str = "0.0.0.0",  # noqa: S104  a server's work is to be reached; the port is the operator's to guard
    port: int | None = None,
) -> Serving:
    """Serve the app in the background: by Socket Mode where an app token is set, else by HTTP.

    `port` None takes the one of the settings, 0 a free one. Raises OSError where the port is taken.
    """
    socket = Socket(app, settings.app_token()) if settings.socket_mode else None
    client = oidc.client_of(settings)
    site = Site(
        slack=SlackRequestHandler(app, SLACK_PATH),
        inbox=app.inbox,
        secret=None if settings.socket_mode else settings.signing_secret(),
        sessions=sessions,
        health=Health(settings=settings, app=app, sessions=sessions, clock=clock, socket=socket),
        sign_in=SignIn(issuer=oidc.Issuer(client), sessions=sessions, clock=clock) if client else None,
    )
    return Serving(app, site, socket, host, settings.port if port is None else port)
