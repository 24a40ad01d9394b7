"""The two pages of a sign-in that policy asks for: the link from Slack, and the way back from the identity provider.

Nothing of a request is logged, and nobody is sent anywhere but to the provider that the settings name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nhi import sign_ins
from nhi.database import ROOT, UNWELL, Sessions
from nhi.errors import NhiError
from nhi.oidc import CALLBACK, Issuer, SignInFailed
from nhi.words import sentence

log = logging.getLogger(__name__)

PREFIX = "/step-up/"
COOKIE = "nhi_step_up"
AT_ONCE = 3  # a provider that is slow must not keep clicks waiting: they have three seconds
_LONGEST = 200  # characters of a token, a state or a cookie of ours; a provider's code may be longer
_LONGEST_CODE = 4_000
_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
]

Start = Callable[..., Any]
Environ = dict[str, Any]
Page = Iterable[bytes]


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """The pages, as a part of the bot's site."""

    issuer: Issuer
    sessions: Sessions
    clock: Callable[[], datetime]
    _free: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))

    def __call__(self, environ: Environ, start: Start) -> Page:
        """Answer a GET below PREFIX."""
        if not self._free.acquire(blocking=False):
            return _page(start, 503, sentence("sign_in.busy"))
        try:
            if environ.get("PATH_INFO") == CALLBACK:
                return self._come_back(environ, start)
            return self._go(str(environ.get("PATH_INFO", "")).removeprefix(PREFIX), start)
        except NhiError as error:
            return _page(start, 400, str(error))
        except UNWELL:
            return _page(start, 503, sentence("sign_in.busy"))
        finally:
            self._free.release()

    def _go(self, token: str, start: Start) -> Page:
        """Send the browser to the provider, with a cookie that it comes back with."""
        now = self.clock()
        self.issuer.metadata(now)  # asked before anything is written
        with self.sessions.begin() as session:
            begun = sign_ins.begin(session, token[:_LONGEST], now)
        address = self.issuer.address(state=begun.state, nonce=begun.nonce, verifier_hash=begun.verifier_hash, now=now)
        start("302 Found", [("Location", address), ("Content-Length", "0"), self._cookie(begun.cookie, 900), *_HEADERS])
        return [b""]

    def _come_back(self, environ: Environ, start: Start) -> Page:
        """Take the provider's answer, once, and write the proof."""
        now, told = self.clock(), parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=20)
        state, code = told.get("state", [""])[0], told.get("code", [""])[0]
        with self.sessions.begin() as session:
            taken = sign_ins.take(session, state[:_LONGEST], _cookie_of(environ)[:_LONGEST], now)
        try:
            if not code or len(code) > _LONGEST_CODE:
                raise SignInFailed(sentence("sign_in.not_signed_in"))
            begun = taken.begun
            claims = self.issuer.claims(code, verifier=begun.verifier, nonce=begun.nonce, since=taken.began_at, now=now)
            with self.sessions.begin() as session:
                who = sign_ins.finish(session, taken, claims, now)
        except NhiError as error:
            log.warning("a sign-in proved nothing: %s", error)
            with self.sessions.begin() as session:
                sign_ins.failed(session, taken, now)
            raise
        return _page(start, 200, sentence("sign_in.done", name=who.name), self._cookie("", 0))

    def _cookie(self, value: str, seconds: int) -> tuple[str, str]:
        secure = "; Secure" if self.issuer.client.public_url.startswith("https:") else ""
        return "Set-Cookie", f"{COOKIE}={value}; Path={PREFIX}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _cookie_of(environ: Environ) -> str:
    try:
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _page(start: Start, status: int, words: str, *headers: tuple[str, str]) -> Page:
    heading = sentence("sign_in.heading_done" if status == 200 else "sign_in.heading_failed")
    body = _environment().get_template("page.html.j2").render(heading=heading, words=words).encode()
    about = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    start(f"{status} {HTTPStatus(status).phrase}", [*about, *_HEADERS, *headers])
    return [body]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(ROOT / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
