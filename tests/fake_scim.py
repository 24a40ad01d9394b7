"""A small SCIM 2.0 service over HTTP: pages as RFC 7644 says, and can be made to fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
TOKEN = "scim-secret"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def user(handle: str, manager: str | None = None, **more: Any) -> Json:
    """Return a user resource as RFC 7643 draws one."""
    work: Json = {"department": "Infra"} | ({"manager": {"value": f"id-{manager}"}} if manager else {})
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
        "id": f"id-{handle}",
        "userName": handle,
        "displayName": handle.title(),
        "emails": [{"value": f"{handle}@example.com", "type": "work", "primary": True}],
        "active": True,
        ENTERPRISE: work,
    } | more


class Scim:
    """The service: its users, how many it gives at once, and what it answers instead where told to."""

    def __init__(self) -> None:
        self.users: list[Json] = []
        self.most_a_page = 2
        self.answers: list[tuple[int, dict[str, str], bytes]] = []  # taken one a request, before the users
        self.asked: list[tuple[int, int]] = []
        self.tokens: list[str] = []
        self.url = ""

    def answer(self, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        self.tokens.append(token)
        if self.answers:
            return self.answers.pop(0)
        if token != f"Bearer {TOKEN}":
            return 401, {}, b"{}"
        query = parse_qs(urlsplit(path).query)
        start, count = int(query["startIndex"][0]), int(query["count"][0])
        self.asked.append((start, count))
        page = self.users[start - 1 : start - 1 + min(count, self.most_a_page)]
        body = {"totalResults": len(self.users), "startIndex": start, "itemsPerPage": len(page), "Resources": page}
        return 200, {"Content-Type": "application/scim+json"}, json.dumps(body).encode()


@contextmanager
def serving() -> Iterator[Scim]:
    """Serve on a free port of this machine."""
    scim = Scim()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = scim.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    scim.url = f"http://127.0.0.1:{server.server_port}/scim/v2"
    try:
        yield scim
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
