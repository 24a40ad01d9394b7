"""The identity provider's people over SCIM 2.0 (RFC 7643, RFC 7644): read, page by page, and never written.

Only a complete pull says that somebody is not there any more. One that stops half-way, or that suddenly lacks a fifth
of the company, is a Gap: nobody is called gone for it.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from sqlalchemy import select

from nhi import roster
from nhi.database import Sessions, reading
from nhi.errors import SettingsError
from nhi.identity import Aspect, Gap
from nhi.people import Entry
from nhi.redact import tidy
from nhi.tables import DirectoryEntryRow, DirectoryPullRow

Json = dict[str, Any]
SOURCE = "scim"
SCOPE = "scim/users"
A_PAGE = 200
MOST_PAGES = 5_000
MOST_BYTES = 32_000_000  # of one page
SECONDS = 20  # of patience with one page
MISSING_AT_MOST, MISSING_FEW = 0.2, 5  # the share of known people that may be missing at once, and how many always may
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
_EMAIL = re.compile(r"[^@\s<>\"',;]{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,63}")
_HERE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What one pull saw. `gaps` is empty where it was complete."""

    people: int
    changed: int
    ended: int
    gaps: tuple[Gap, ...] = ()
    retry_after: timedelta | None = None

    def sentence(self) -> str:
        """Return the run's account."""
        text = f"Read {self.people} people over SCIM: {self.changed} changed, {self.ended} not there any more."
        return text + "".join(f" Not complete: {gap.reason}." for gap in self.gaps)


class _UnreadableError(Exception):
    """The service did not answer as it should; says why."""

    def __init__(self, why: str, retry_after: timedelta | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follow nobody elsewhere: the token would go along."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def pull(sessions: Sessions, url: str, token: str, now: datetime) -> Tally:
    """Read everybody and keep what is new. Raises SettingsError where the address would show the token to others."""
    base = check(url)
    users: list[Json] = []
    try:
        for page in _pages(base, token):
            users += page
    except _UnreadableError as error:
        gap = Gap(scope=SCOPE, reason=str(error), hides=frozenset([Aspect.OWNER]))
        return Tally(people=len(users), changed=0, ended=0, gaps=(gap,), retry_after=error.retry_after)
    return _keep(sessions, [entry for entry in entries(users) if entry.email], now)


def check(url: str) -> str:
    """Return the service's address without a slash at its end. Raises SettingsError, one sentence."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE):
        return url.rstrip("/").removesuffix("/Users")
    raise SettingsError("`people.scim_url` must begin with https://, or the token could be read on the way")


def _keep(sessions: Sessions, people: list[Entry], now: datetime) -> Tally:
    with sessions.begin() as session:
        current = select(DirectoryEntryRow.email).where(
            DirectoryEntryRow.source == SOURCE,
            DirectoryEntryRow.until.is_(None),
            DirectoryEntryRow.active.is_not(False),
        )
        before = set(session.scalars(current))
        missing = sorted(before - {entry.email for entry in people})
        changed = roster.write(session, SOURCE, people, now)
        if len(missing) > max(MISSING_FEW, MISSING_AT_MOST * len(before)):
            why = f"{len(missing)} of {len(before)} known people are missing at once; nobody is called gone for that"
            gap = Gap(scope=SCOPE, reason=why, hides=frozenset([Aspect.OWNER]))
            return Tally(people=len(people), changed=changed, ended=0, gaps=(gap,))
        roster.end(session, SOURCE, missing, now)
        at = session.get(DirectoryPullRow, SOURCE) or DirectoryPullRow(source=SOURCE, cursor="")
        at.started_at, at.finished_at, at.people = now, now, len(people)
        session.add(at)
        return Tally(people=len(people), changed=changed, ended=len(missing))


# -- the wire ----------------------------------------------------------------------------------------------------------


def _pages(base: str, token: str) -> Iterator[list[Json]]:
    """Yield each page's resources (RFC 7644, 3.4.2.4). A server may give fewer than we ask for."""
    host = urllib.parse.urlsplit(base).hostname or ""
    direct = [urllib.request.ProxyHandler({})] if host in _HERE else []
    opener = urllib.request.build_opener(_StayHere, *direct)
    start = 1
    for _ in range(MOST_PAGES):
        page = _page(opener, f"{base}/Users?startIndex={start}&count={A_PAGE}", token)
        found = page.get("Resources") or []
        total = page.get("totalResults")
        if not isinstance(found, list) or not isinstance(total, int):
            raise _UnreadableError("the answer is no SCIM list of users; is `people.scim_url` the service's base?")
        yield [user for user in found if isinstance(user, dict)]
        start += len(found)
        if start > total:
            return
        if not found:
            raise _UnreadableError(f"{total} people were promised, and only {start - 1} came")
    raise _UnreadableError(f"more than {MOST_PAGES} pages")


def _page(opener: urllib.request.OpenerDirector, url: str, token: str) -> Json:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/scim+json"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (check() has seen its scheme)
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            body = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise _refused(error) from None
    except (OSError, HTTPException) as error:
        raise _UnreadableError(f"it cannot be reached ({type(error).__name__})") from None
    if len(body) > MOST_BYTES:
        raise _UnreadableError("one page has more than 32 MB")
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        raise _UnreadableError("the answer is no JSON") from None
    if not isinstance(page, dict):
        raise _UnreadableError("the answer is no SCIM list of users; is `people.scim_url` the service's base?")
    return page


def _refused(error: urllib.error.HTTPError) -> _UnreadableError:
    error.close()
    if error.code in (401, 403):
        return _UnreadableError(f"it answers {error.code}: NHI_SCIM_TOKEN is missing, wrong, or may not read users")
    if 300 <= error.code < 400:
        return _UnreadableError(f"it answers {error.code} and points elsewhere; put the final address into policy")
    waits = str(error.headers.get("Retry-After") or "")
    after = timedelta(seconds=min(int(waits), 3600)) if waits.isdecimal() else None
    return _UnreadableError(f"it answers {error.code}", after)


# -- what it says ------------------------------------------------------------------------------------------------------


def entries(users: list[Json]) -> Iterator[Entry]:
    """Yield what the resources say of people; those without an e-mail address are passed over."""
    by_id = {user["id"]: email for user in users if isinstance(user.get("id"), str) and (email := _email(user))}
    seen: set[str] = set()
    for user in users:
        email = _email(user)
        if email and email not in seen:
            seen.add(email)
            yield _entry(user, email, by_id)


def _entry(user: Json, email: str, by_id: Mapping[str, str]) -> Entry:
    work = user.get(ENTERPRISE)
    work = work if isinstance(work, dict) else {}
    name = user.get("name")
    login = _text(user.get("userName")).lower()
    active = user.get("active")
    others = [address for address in _emails(user) if address != email]
    called = user.get("displayName") or (name.get("formatted") if isinstance(name, dict) else "")
    return Entry(
        email=email,
        name=tidy(_text(called), 200),
        manager=_manager(work.get("manager"), by_id),
        team=tidy(_text(work.get("department")), 100) or None,
        aliases=tuple(dict.fromkeys(others)),
        logins=(login[:64],) if login and "@" not in login and " " not in login else (),
        active=active if isinstance(active, bool) else None,
    )


def _manager(told: Any, by_id: Mapping[str, str]) -> str | None:
    """Return the manager's address. By the RFC it is a complex value with the manager's id; some send the id alone."""
    value = told.get("value") if isinstance(told, dict) else told
    text = _text(value)
    return by_id.get(text) or (text.lower() if _EMAIL.fullmatch(text) else None)


def _email(user: Json) -> str | None:
    """Return the primary address, else the first work address, else the user name where it is an address."""
    return next(iter(_emails(user)), None)


def _emails(user: Json) -> list[str]:
    told = user.get("emails")
    values = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    ranked = sorted(values, key=lambda one: (one.get("primary") is not True, one.get("type") != "work"))
    addresses = [_text(one.get("value")).lower() for one in ranked] + [_text(user.get("userName")).lower()]
    return [address for address in dict.fromkeys(addresses) if _EMAIL.fullmatch(address)]


def _text(value: Any) -> str:
    return value.strip()[:320] if isinstance(value, str) else ""


def known(sessions: Sessions) -> DirectoryPullRow | None:
    """Return how the last complete pull went; None: there was none."""
    with reading(sessions) as session:
        return session.get(DirectoryPullRow, SOURCE)
