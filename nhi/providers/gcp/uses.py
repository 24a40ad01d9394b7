"""Activity by Cloud Audit Logs (logging entries:list): what service accounts did, event by event.

Admin activity is always logged; reads of data only where the project turned data access logs on. A hundred projects a
call, oldest first: what policy's allowance does not reach is read next time. Then the days before the first reading,
newest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from nhi.activity import Use, agent_of, network_of, tidy_value
from nhi.identity import Aspect, Gap, Identity, scope_of
from nhi.policy_activity import Activity
from nhi.providers import Batch, Reading
from nhi.providers.gcp.calls import Calls, CannotSee, instant, reading
from nhi.providers.gcp.logs import ACTION
from nhi.words import sentence

LATE = timedelta(minutes=15)
STEP = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_URL = "logging.googleapis.com/v2/entries:list"
_TOGETHER = 100  # projects a call, Google's greatest
_PAGE = 1000
_DENIED = 7  # PERMISSION_DENIED
_CODES = {5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 16: "UNAUTHENTICATED"}
_OWN_PROJECT = re.compile(r"[^@]+@([a-z0-9-]+)\.iam\.gserviceaccount\.com")
_FILTER = (
    '(log_id("cloudaudit.googleapis.com/activity") OR log_id("cloudaudit.googleapis.com/data_access"))'
    ' AND protoPayload.authenticationInfo.principalEmail:"gserviceaccount.com"'
)


@dataclass(frozen=True, kw_only=True)
class _Position:
    """How far one project was read: all from `since` to `until`, and nothing yet where that is None."""

    until: datetime | None
    since: datetime


class _Positions:
    """How far each project was read, kept as one position of the scope.

    By the project, and not by those asked together with it: one that is new puts the others into other groups.
    """

    def __init__(self, scope: str, projects: Iterable[str], going: Reading, now: datetime) -> None:
        self._place = f"gcp/{scope}"
        told = going.positions.get(self._place, {})
        self._of = {project: _position(told.get(project), now) for project in projects}

    def __getitem__(self, project: str) -> _Position:
        return self._of[project]

    def moved(self, uses: Sequence[Use], to: Mapping[str, _Position]) -> Batch:
        """Return what was read, with how far each project now is."""
        self._of.update(to)
        return Batch(place=self._place, uses=uses, position={project: str(one) for project, one in self._told()})

    def _told(self) -> Iterator[tuple[str, str]]:
        for project, one in self._of.items():
            if one.until is not None:
                yield project, f"{one.since.isoformat()} {one.until.isoformat()}"


def _position(told: str | None, now: datetime) -> _Position:
    if told is None:
        return _Position(until=None, since=now - STEP)
    since, until = told.split(" ")
    return _Position(until=datetime.fromisoformat(until), since=datetime.fromisoformat(since))


def read(
    calls: Calls, scope: str, identities: Sequence[Identity], going: Reading, limits: Activity, now: datetime
) -> Iterator[Batch | Gap]:
    """Yield what the accounts among these identities did. A project that refuses is a gap, and stops no other."""
    projects = sorted({one.account for one in identities if one.kind == "service_account"})
    read_to = _Positions(scope, projects, going, now)
    groups = list(_alike(projects, lambda one: read_to[one].until or _NEVER))
    share = min(limits.read_every / timedelta(hours=1), 1.0) * limits.lookups_an_hour / max(len(groups), 1)
    for group in groups:
        reader = _Group(calls, read_to, going, limits, now, pages=max(int(share), 1))
        yield from reader.read(group)


def _alike(projects: Iterable[str], of: Callable[[str], datetime]) -> Iterator[Sequence[str]]:
    """Yield projects that can be asked together, the most lately read first."""
    for _, found in groupby(sorted(projects, key=lambda one: (-of(one).timestamp(), one)), key=of):
        alike = list(found)
        yield from (alike[start : start + _TOGETHER] for start in range(0, len(alike), _TOGETHER))


class _Group:
    """One reading of projects that were read up to the same time, with `pages` to spend."""

    def __init__(
        self, calls: Calls, read_to: _Positions, going: Reading, limits: Activity, now: datetime, *, pages: int
    ) -> None:
        self._calls = calls
        self._read_to = read_to
        self._going = going
        self._limits = limits
        self._now = now
        self._pages = pages

    def read(self, projects: Sequence[str]) -> Iterator[Batch | Gap]:
        try:
            yield from self._forth(projects)
            yield from self._back(projects)
        except CannotSee as fault:
            if len(projects) > 1 and not fault.passing:
                middle = len(projects) // 2
                for half in (projects[:middle], projects[middle:]):
                    yield from self.read(half)
            else:
                yield from _gaps(projects, fault.reason)

    def _forth(self, projects: Sequence[str]) -> Iterator[Batch | Gap]:
        """Read on from where the last reading ended, oldest first. Raises CannotSee."""
        known = self._read_to[projects[0]].until
        begin = self._now - STEP if known is None else known - LATE
        uses, reached = self._window(projects, begin, self._now, newest_first=False)
        until = max(reached, known or reached)
        yield self._read_to.moved(uses, {one: replace(self._read_to[one], until=until) for one in projects})
        if until < self._now - STEP:
            yield from _gaps(projects, sentence("clouds.gcp_gap_behind", action=ACTION, until=until))

    def _back(self, projects: Sequence[str]) -> Iterator[Batch | Gap]:
        """Read the days before the first reading, newest first; what does not fit is read next time. Raises CannotSee.

        A day that is more than one reading may take is read in parts, so that it is read at all.
        """
        oldest = self._now - self._limits.history
        behind = [one for one in projects if self._read_to[one].since > oldest]
        if self._read_to[projects[0]].until != self._now:
            return
        for group in _alike(behind, lambda one: self._read_to[one].since):
            since = self._read_to[group[0]].since
            while since > oldest and self._pages > 0 and not self._going.ends():
                start = max(since - STEP, oldest)
                uses, reached = self._window(group, start, since, newest_first=True)
                since = min(reached, since - _SECOND)
                yield self._read_to.moved(uses, {one: replace(self._read_to[one], since=since) for one in group})

    def _window(
        self, projects: Sequence[str], begin: datetime, end: datetime, *, newest_first: bool
    ) -> tuple[Sequence[Use], datetime]:
        """Read a stretch of time; return its uses, and up to when, or down to when, it was read. Raises CannotSee."""
        body = {
            "resourceNames": [f"projects/{project}" for project in projects],
            "filter": f'{_FILTER} AND timestamp>="{_stamp(begin)}" AND timestamp<"{_stamp(end)}"',
            "orderBy": "timestamp desc" if newest_first else "timestamp asc",
            "pageSize": _PAGE,
        }
        uses: list[Use] = []
        times: list[datetime] = []
        for page in self._calls.posted_pages(ACTION, _URL, body):
            self._pages -= 1
            with reading(ACTION):
                for entry in page.get("entries", ()):
                    times.append(instant(entry["timestamp"]))
                    if (use := use_of(entry)) is not None:
                        uses.append(use)
            if page.get("nextPageToken") and self._pages <= 0:
                if newest_first:  # the rest of its first second is read with what lies before
                    return uses, (min(times, default=end) + _SECOND).replace(microsecond=0)
                return uses, max(times, default=begin)
        return uses, begin if newest_first else end


def _gaps(projects: Sequence[str], reason: str) -> Iterator[Gap]:
    for project in projects:
        yield Gap(scope=scope_of("gcp", project), reason=reason, hides=frozenset({Aspect.ACTIVITY}))


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def use_of(entry: Mapping[str, Any]) -> Use | None:
    """Read one entry. None: it is no service account's, or in no known shape, and so tells of nothing."""
    try:
        told = entry["protoPayload"]
        caller = told["authenticationInfo"]
        who = caller["principalEmail"]
        if not who.endswith(".gserviceaccount.com"):
            return None
        service = told["serviceName"].partition(".")[0]
        around = told.get("requestMetadata") or {}
        code = (told.get("status") or {}).get("code") or 0
        network, address = network_of(around.get("callerIp") or "")
        key = (caller.get("serviceAccountKeyName") or "").rpartition("/keys/")[2]
        return Use(
            id=f"{entry.get('logName', '')}/{entry['insertId']}/{entry['timestamp']}",
            who=who,
            at=int(instant(entry["timestamp"]).timestamp()),
            service=tidy_value(service),
            action=tidy_value(f"{service}:{told['methodName']}"),
            network=network,
            address=address,
            agent=agent_of(around.get("callerSuppliedUserAgent") or "unknown"),
            error=_CODES.get(code, f"CODE_{code}") if code else None,
            denied=code == _DENIED,
            credential=key or None,
            elsewhere=_elsewhere(who, entry.get("logName", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _elsewhere(who: str, log: str) -> str | None:
    """Return the project whose log tells of it, where that is not the account's own; None: it is, or is not told."""
    own = _OWN_PROJECT.fullmatch(who)
    project = log.removeprefix("projects/").partition("/")[0] if log.startswith("projects/") else ""
    return tidy_value(project) if own is not None and project and project != own[1] else None
