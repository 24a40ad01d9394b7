"""The HTTP server of the stand-in: threads, keep-alive, and sockets that it can drop or turn into WebSockets.

The standard library's server is used on purpose. Faults have to drop a connection half-way and Socket Mode has to take
one over, and no WSGI server lets an application do either.
"""

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, urlsplit

from demo.slack_socket import Link, accept_key

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODY_AT_MOST = 5_000_000
IDLE_SECONDS = 30
JOIN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def is_json(self) -> bool:
        """Tell whether the body says that it is JSON."""
        return self.headers.get("content-type", "").partition(";")[0].strip() == "application/json"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of query and body, form-encoded or JSON; raises ValueError where they are neither."""
        found: dict[str, Any] = dict(self.query)
        if self.is_json:
            decoded = json.loads(self.body or b"{}")
            if not isinstance(decoded, dict):
                raise ValueError("the body is no JSON object")
            return found | decoded
        return found | dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True, kw_only=True)
class Response:
    """One answer. `status` None drops the connection; `link` turns it into a WebSocket and serves it."""

    status: int | None = 200
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    link: Callable[[Link], None] | None = None


def as_json(body: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON answer."""
    return Response(status=status, body=json.dumps(body).encode(), headers=headers)


Application = Callable[[Request], Response]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: "Server"

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > BODY_AT_MOST:
            self.close_connection = True
            self._write(Response(status=413))
            return
        if self._host() not in LOOPBACK:
            # A page elsewhere can make its own name point here (DNS rebinding); its name is then in the Host header.
            self.close_connection = True
            self._write(Response(status=421, body=b"only for loopback", content_type="text/plain"))
            return
        target = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=target.path,
            query=dict(parse_qsl(target.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(size),
        )
        self._write(self.server.application(request))

    do_GET = do_POST = _answer  # noqa: N815  the names are http.server's

    def _host(self) -> str:
        host = self.headers.get("Host") or ""
        return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]

    def _write(self, response: Response) -> None:
        if response.link:
            self._become_link(response.link)
            return
        if response.status is None:
            self.close_connection = True
            return
        self.send_response_only(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(response.body)

    def _become_link(self, serve: Callable[[Link], None]) -> None:
        self.close_connection = True
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers.get("Sec-WebSocket-Key") or ""))
        self.end_headers()
        self.connection.settimeout(None)
        serve(Link(self.connection, cast(BinaryIO, self.rfile)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
        """Stay quiet: `workspace.posts` is the log, and a terminal belongs to the demo."""


class Server(ThreadingHTTPServer):
    """Serves an application in threads and can be stopped at any moment, open connections and all."""

    request_queue_size = 256

    def __init__(self, application: Application, host: str, port: int) -> None:
        self.application = application
        self._open: dict[socket.socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="stand-in-slack", daemon=True)

    @property
    def port(self) -> int:
        """Return the port that the system gave."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, cut all open connections and wait for their threads."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._open_lock:
            left = dict(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(JOIN_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its own thread, and remember it so that stop() can cut it."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="stand-in-slack-call", daemon=True
        )
        with self._open_lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close and forget a connection that ended."""
        super().shutdown_request(request)
        with self._open_lock:
            self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away; let anything else be seen."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
