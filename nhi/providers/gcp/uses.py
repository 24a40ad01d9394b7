"""Activity by Cloud Audit Logs (logging entries:list): what service accounts did, event by event.

Admin activity is always logged; reads of data only where the project turned data access logs on. A hundred projects a
call, oldest first: what policy's allowance does not reach is read next time. Then the days before the first reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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


@dataclass
class _Allowance:
    pages: int


def read(
    calls: Calls, identities: Sequence[Identity], going: Reading, limits: Activity, now: datetime
) -> Iterator[Batch | Gap]:
    """Yield what the accounts among these identities did. A project that refuses is a gap, and stops no other."""
    projects = sorted({one.account for one in identities if one.kind == "service_account"})
    groups = [projects[start : start + _TOGETHER] for start in range(0, len(projects), _TOGETHER)]
    share = min(limits.read_every / timedelta(hours=1), 1.0) * limits.lookups_an_hour / max(len(groups), 1)
    for group in groups:
        yield from _read_group(calls, group, going, limits, _Allowance(pages=max(int(share), 1)), now)


def _read_group(
    calls: Calls, projects: Sequence[str], going: Reading, limits: Activity, allowance: _Allowance, now: datetime
) -> Iterator[Batch | Gap]:
    place = f"gcp/{projects[0]}" + (f"..{projects[-1]}" if len(projects) > 1 else "")
    known = going.positions.get(place, {})
    begin = datetime.fromisoformat(known["until"]) - LATE if "until" in known else now - STEP
    since = datetime.fromisoformat(known["since"]) if "since" in known else begin
    try:
        uses, reached = _window(calls, projects, begin, now, allowance)
        yield Batch(place=place, uses=uses, position={"until": reached.isoformat(), "since": since.isoformat()})
        if reached < now - STEP:
            yield from _gaps(projects, sentence("clouds.gcp_gap_behind", action=ACTION, until=reached))
        oldest = now - limits.history
        while reached == now and since > oldest and allowance.pages > 0 and not going.ends():
            start = max(since - STEP, oldest)
            uses, got = _window(calls, projects, start, since, allowance)
            if got < since:
                return  # the rest of that day did not fit: it is read again next time
            since = start
            yield Batch(place=place, uses=uses, position={"until": now.isoformat(), "since": since.isoformat()})
    except CannotSee as fault:
        if len(projects) > 1 and not fault.passing:
            middle = len(projects) // 2
            for half in (projects[:middle], projects[middle:]):
                yield from _read_group(calls, half, going, limits, allowance, now)
        else:
            yield from _gaps(projects, fault.reason)


def _gaps(projects: Sequence[str], reason: str) -> Iterator[Gap]:
    for project in projects:
        yield Gap(scope=scope_of("gcp", project), reason=reason, hides=frozenset({Aspect.ACTIVITY}))


def _window(
    calls: Calls, projects: Sequence[str], begin: datetime, end: datetime, allowance: _Allowance
) -> tuple[Sequence[Use], datetime]:
    """Read a stretch of time, oldest first; return its uses, and up to when it was read. Raises CannotSee."""
    body = {
        "resourceNames": [f"projects/{project}" for project in projects],
        "filter": f'{_FILTER} AND timestamp>="{_stamp(begin)}" AND timestamp<"{_stamp(end)}"',
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    uses: list[Use] = []
    reached = begin
    for page in calls.posted_pages(ACTION, _URL, body):
        allowance.pages -= 1
        with reading(ACTION):
            for entry in page.get("entries", ()):
                reached = max(reached, instant(entry["timestamp"]))
                if (use := use_of(entry)) is not None:
                    uses.append(use)
        if page.get("nextPageToken") and allowance.pages <= 0:
            return uses, reached
    return uses, end


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
