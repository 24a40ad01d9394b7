"""When accounts and keys were last used, by Google's activity analyser (policyanalyzer's activities:query).

It answers a project at a time, to the day, two or three days late, and remembers as far back as its observation period
says. It counts calls of Google APIs, failed ones too. What it does not see is said in the coverage of each use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from nhi.identity import Coverage
from nhi.providers.gcp.calls import Calls, CannotSee, instant, reading
from nhi.words import sentence

ACCOUNTS = "serviceAccountLastAuthentication"
KEYS = "serviceAccountKeyLastAuthentication"
ACTIONS = {kind: f"policyanalyzer.{kind}Activities.query" for kind in (ACCOUNTS, KEYS)}
PAGE = 1000  # its greatest
_LATE = timedelta(days=3)  # where it names no observation period
_SEES = {ACCOUNTS: "clouds.gcp_sees_account", KEYS: "clouds.gcp_sees_key"}


@dataclass(frozen=True, kw_only=True)
class Period:
    """The time that the analyser has looked at."""

    start: datetime | None  # None: not told
    end: datetime | None

    def narrowed(self, other: Period) -> Period:
        """Return the time that both have looked at."""
        return Period(start=_chosen(max, self.start, other.start), end=_chosen(min, self.end, other.end))


NOT_TOLD = Period(start=None, end=None)


@dataclass(frozen=True, kw_only=True)
class Used:
    """When one thing was last used (None: not in the period), and the period."""

    at: datetime | None
    period: Period


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What one project's activities of one kind tell. Either `fault` or the rest."""

    project: str
    used: Mapping[str, Used]  # by unique id and by e-mail, or by the key's id
    period: Period = NOT_TOLD
    fault: CannotSee | None = None


def ask(calls: Calls, project: str, kind: str) -> Activity:
    """Read all the activities of one kind in one project; never raises CannotSee, but returns it."""
    used: dict[str, Used] = {}
    period = NOT_TOLD
    try:
        for page in calls.pages(ACTIONS[kind], _url(project, kind), pageSize=PAGE):
            with reading(ACTIONS[kind]):
                for found in page.get("activities", ()):
                    one = _used(found)
                    period = period.narrowed(one.period)
                    used.update(dict.fromkeys(_names(found, kind), one))
    except CannotSee as fault:
        return Activity(project=project, used={}, fault=fault)
    return Activity(project=project, used=used, period=period)


def ask_one(calls: Calls, project: str, kind: str, full_name: str) -> Used:
    """Read the activity of one account or key. Raises CannotSee."""
    query = f'activities.fullResourceName="{full_name}"'
    page = calls.get(ACTIONS[kind], _url(project, kind), filter=query)
    with reading(ACTIONS[kind]):
        found = [_used(one) for one in page.get("activities", ())]
    return max(found, key=lambda one: one.at.timestamp() if one.at else 0.0, default=Used(at=None, period=NOT_TOLD))


def coverage(kind: str, period: Period, now: datetime) -> Coverage:
    """Return what can be said of a use that the analyser tells."""
    return Coverage(says=says(kind), seen_from=period.start, seen_until=min(now, period.end or now - _LATE))


def says(kind: str) -> str:
    """Return what the analyser sees and does not, as a sentence."""
    return sentence(_SEES[kind])


def or_else(used: Used, period: Period) -> Used:
    """Return the use with this period where it has none of its own."""
    return used if used.period.end is not None else replace(used, period=period)


def _url(project: str, kind: str) -> str:
    return f"policyanalyzer.googleapis.com/v1/projects/{project}/locations/global/activityTypes/{kind}/activities:query"


def _used(found: Mapping[str, Any]) -> Used:
    told, period = found.get("activity", {}).get("lastAuthenticatedTime"), found.get("observationPeriod", {})
    return Used(
        at=instant(told) if told else None,
        period=Period(start=_time(period.get("startTime")), end=_time(period.get("endTime"))),
    )


def _names(found: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    name = str(found["fullResourceName"]).rpartition("/")[2]
    unique = found.get("activity", {}).get("serviceAccount", {}).get("serviceAccountId") if kind == ACCOUNTS else None
    return (name, str(unique)) if unique else (name,)


def _time(text: Any) -> datetime | None:
    return instant(text) if text else None


def _chosen(choose: Any, one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    found: datetime = choose(one, other)
    return found
