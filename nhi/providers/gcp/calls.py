"""Google Cloud as a thing to ask: credentials, pace, retries, the count of requests, and faults as one error.

Everything that can go wrong between us and Google comes out of `Calls` as `CannotSee`, whose words become the reason
of a `Gap`. Calls are named by the permission that they need. Neither bodies nor credentials are ever logged or kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import google.auth
from google.auth import credentials, impersonated_credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from requests import RequestException, Response
from requests.adapters import HTTPAdapter

from nhi.policy import Source
from nhi.providers.pace import Pace
from nhi.words import sentence

AT_ONCE = 16  # calls in flight
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_MACHINES_OWN = "default"  # what a machine's own account is called until it was first asked for
_PATIENCE = (5.0, 30.0)  # seconds to connect, and between two bytes of an answer
_ATTEMPTS = 6
_BACK_OFF = 0.5  # seconds before the second attempt, doubled before each further one
_LONGEST_WAIT = 64.0  # seconds; a greater Retry-After is cut to this
_PAGES_AT_MOST = 20_000  # a list that never ends is a fault of the other side
# Requests a second, and at once after a rest: in any minute a little below Google's own quotas (a consumer project):
# Cloud Asset search 400, reading of log entries 60. Others are far above what a scan asks, or say with 429 that not.
_QUOTAS = {"cloudasset.googleapis.com": (6.0, 30.0), "logging.googleapis.com": (0.8, 10.0)}
_TELLING = ("assetTypes", "readMask", "pageSize", "orderBy", "keyTypes", "publicKeyType", "view")
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})

# Google's library logs requests below this, and some of them hold a new secret.
logging.getLogger("google.auth").setLevel(logging.WARNING)


class CannotSee(Exception):
    """A call that did not answer. `reason` is a Gap's reason: "PERMISSION_DENIED: iam.serviceAccountKeys.list"."""

    def __init__(self, code: str, action: str, *, passing: bool, said_no: bool = False) -> None:
        super().__init__(f"{code}: {action}")
        self.reason = f"{code}: {action}"
        self.code = code
        self.action = action
        self.passing = passing  # the same call may answer later
        self.said_no = said_no  # Google itself refused, so that the call surely changed nothing


@contextmanager
def reading(action: str) -> Iterator[None]:
    """Take values out of an answer: one that lacks them, or has others in their place, raises CannotSee."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise CannotSee("MalformedResponse", action, passing=True) from None


def instant(text: str) -> datetime:
    """Read a time as Google writes it (RFC 3339, up to nanoseconds). Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)


class Calls:
    """The calls of one source, as one account. Safe to use from many threads."""

    def __init__(self, source: Source, *, impersonate: str | None) -> None:
        self._endpoint = source.endpoint
        self._impersonate = impersonate
        self._pace = Pace(source.calls_a_second)
        limit = source.calls_a_second
        self._paces = {
            host: Pace(min(quota, limit), burst=min(burst, limit)) for host, (quota, burst) in _QUOTAS.items()
        }
        self._lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._session: Any = None  # an AuthorizedSession, which has no types
        self._project: str | None = None
        self.made: Counter[str] = Counter()
        self.queries: dict[str, str] = {}  # the parameters of the first request of each action, without its place

    def get(self, action: str, url: str, **query: Any) -> dict[str, Any]:
        """Make one GET to `url` ("iam.googleapis.com/v1/…") and return its answer. Raises CannotSee."""
        return self._ask(action, "GET", url, query=query)[0]

    def get_dated(self, action: str, url: str, **query: Any) -> tuple[dict[str, Any], datetime]:
        """Make one GET; return its answer, and what time it was for Google then. Raises CannotSee."""
        answer, response = self._ask(action, "GET", url, query=query)
        with reading(action):
            return answer, parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)

    def post(
        self, action: str, url: str, body: Mapping[str, Any], *, once: bool = False, **query: Any
    ) -> dict[str, Any]:
        """Make one POST and return its answer; with `once` it is never sent a second time. Raises CannotSee."""
        return self._ask(action, "POST", url, query=query, body=body, attempts=1 if once else _ATTEMPTS)[0]

    def patch(self, action: str, url: str, body: Mapping[str, Any], **query: Any) -> dict[str, Any]:
        """Make one PATCH and return its answer. Raises CannotSee."""
        return self._ask(action, "PATCH", url, query=query, body=body)[0]

    def acts_as(self) -> str:
        """Return the e-mail of the account that asks; "": it is not known here. Raises CannotSee."""
        if self._impersonate is not None:
            return self._impersonate
        ambient = self._open().credentials
        if getattr(ambient, "service_account_email", None) == _MACHINES_OWN:
            try:
                ambient.refresh(Request())  # type: ignore[no-untyped-call, unused-ignore]
            except GoogleAuthError as error:
                raise CannotSee(type(error).__name__, "the machine's own account", passing=True) from None
        told = str(getattr(ambient, "service_account_email", None) or "")
        return told if "@" in told else ""

    def pages(self, action: str, url: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list that is read by GET. Raises CannotSee."""
        return self._pages(action, lambda token: self.get(action, url, **query, **token))

    def posted_pages(self, action: str, url: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list that is read by POST. Raises CannotSee."""
        return self._pages(action, lambda token: self.post(action, url, {**body, **token}))

    def ambient_project(self) -> str:
        """Return the project of the ambient credentials. Raises CannotSee."""
        self._open()
        if self._project is None:
            raise CannotSee("NoScope", sentence("clouds.gcp_no_scope"), passing=False)
        return self._project

    def close(self) -> None:
        """Close idle connections. The next call opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    @staticmethod
    def _pages(action: str, ask: Any) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        token: dict[str, str] = {}
        while len(seen) < _PAGES_AT_MOST:
            page: dict[str, Any] = ask(token)
            yield page
            following = page.get("nextPageToken")
            if not following:
                return
            if following in seen:
                break
            seen.add(following)
            token = {"pageToken": following}
        raise CannotSee("BrokenPaging", action, passing=True)

    def _ask(
        self,
        action: str,
        method: str,
        url: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        attempts: int = _ATTEMPTS,
    ) -> tuple[dict[str, Any], Response]:
        for attempt in range(attempts):
            wait = _BACK_OFF * 2**attempt
            try:
                response = self._send(action, method, url, query, body)
            except CannotSee as lost:
                if not lost.passing or attempt + 1 == attempts:
                    raise
            else:
                if response.ok:
                    return _document(response, action), response
                refusal = _refusal(response, action)
                if not refusal.passing or attempt + 1 == attempts:
                    raise refusal
                wait = _retry_after(response, wait)
                if response.status_code == 429:
                    self._pace_of(url).hold(wait)  # the other threads wait as well, and are not refused one by one
            time.sleep(min(wait, _LONGEST_WAIT))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _send(self, action: str, method: str, url: str, query: Any, body: Any) -> Response:
        session = self._open()
        self._pace_of(url).wait()
        with self._count_lock:
            self.made[action] += 1
            self.queries.setdefault(action, _told(query, body))
        try:
            response: Response = session.request(
                method, self._address(url), params=query, json=body, timeout=_PATIENCE, allow_redirects=False
            )
            return response
        except GoogleAuthError as error:
            raise CannotSee(type(error).__name__, action, passing=bool(error.retryable)) from None
        except RequestException as error:
            raise CannotSee(type(error).__name__, action, passing=True) from None

    def _address(self, url: str) -> str:
        return f"https://{url}" if self._endpoint is None else f"{self._endpoint.rstrip('/')}/{url}"

    def _pace_of(self, url: str) -> Pace:
        return self._paces.get(url.partition("/")[0], self._pace)

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = AuthorizedSession(self._credentials())  # type: ignore[no-untyped-call, unused-ignore]
                self._session.mount("https://", HTTPAdapter(pool_maxsize=AT_ONCE))
                self._session.mount("http://", HTTPAdapter(pool_maxsize=AT_ONCE))
                self._session.headers["User-Agent"] = "nhi-audit"
            return self._session

    def _credentials(self) -> credentials.Credentials:
        """Return the ambient credentials, or those of the account to impersonate. Raises CannotSee.

        The ambient ones are whatever Google's own rules find: a file named by GOOGLE_APPLICATION_CREDENTIALS (a key, or
        workload identity federation from another cloud), gcloud's login, or the machine's own account.
        """
        if self._endpoint is not None:
            return credentials.AnonymousCredentials()  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
        try:
            # Scopes come after: with them, federated credentials would look their project's name up at once.
            found, self._project = google.auth.default()  # type: ignore[no-untyped-call, unused-ignore]
            found = credentials.with_scopes_if_required(found, _SCOPES)  # type: ignore[no-untyped-call, unused-ignore]
            if self._impersonate is None:
                return found  # type: ignore[no-any-return, unused-ignore]
            return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
                source_credentials=found, target_principal=self._impersonate, target_scopes=list(_SCOPES)
            )
        except GoogleAuthError as error:
            raise CannotSee(type(error).__name__, "application default credentials", passing=False) from None


def _told(query: Mapping[str, Any] | None, body: Mapping[str, Any] | None) -> str:
    """Return what was asked for, without what names one place or resource: `pageSize=500; readMask=…`."""
    told = {name: value for name, value in {**(query or {}), **(body or {})}.items() if name in _TELLING}
    listed = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in told.items()}
    return "; ".join(f"{name}={value}" for name, value in listed.items())


def _document(response: Response, action: str) -> dict[str, Any]:
    with reading(action):
        found = response.json()
        if not isinstance(found, dict):
            raise TypeError
        return found


def _refusal(response: Response, action: str) -> CannotSee:
    """Turn Google's error into ours: its status, or the more telling reason (the API is not enabled)."""
    try:
        said = response.json()["error"]
        reasons = [each.get("reason") for each in said.get("details", ())]
        telling = next((reason for reason in reasons if reason in ("SERVICE_DISABLED", "RATE_LIMIT_EXCEEDED")), None)
        code = str(telling or said.get("status") or response.status_code)
    except (ValueError, TypeError, KeyError, AttributeError):
        code = str(response.status_code)
    passing = response.status_code in _AGAIN or code == "RATE_LIMIT_EXCEEDED"
    return CannotSee(code, action, passing=passing, said_no=400 <= response.status_code < 500 and not passing)


def _retry_after(response: Response, otherwise: float) -> float:
    """Return for how many seconds the answer asks to wait."""
    told = response.headers.get("Retry-After", "")
    return min(float(told), _LONGEST_WAIT) if told.isdigit() else otherwise
