"""Activity by CloudTrail's LookupEvents, for who has no trail in a bucket: free of charge, and two calls a second.

A region at a time, newest first, fifty events a call. Each reading covers the time since the last one, with an overlap
for events that come late; calls that are left of policy's allowance go to what earlier readings had no calls for, and
then to the time before the first reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nhi.activity import Use
from nhi.identity import Aspect, Gap, scope_of
from nhi.policy_activity import Activity
from nhi.providers import Batch, Reading
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.cloudtrail import use_of
from nhi.providers.aws.details import utc
from nhi.words import sentence

ACTION = "cloudtrail:LookupEvents"
KEPT = timedelta(days=90)
LATE = timedelta(minutes=30)  # AWS: an event is there within about 15 minutes
STEP = timedelta(hours=6)  # of the past, at once; where little was done, more
WIDEST = timedelta(days=8)
_PAGE = 50
_HOLES = 20  # stretches of time that wait to be read; beyond that the oldest become one


@dataclass
class Allowance:
    """How many more calls this reading may make."""

    calls: int


def read(
    calls: Calls, account: str, region: str, going: Reading, limits: Activity, now: datetime
) -> Iterator[Batch | Gap]:
    """Yield what one region tells. A fault is a gap, and the next reading goes on from where this one came to."""
    place = f"{scope_of('aws', account)}/{region}"
    allowance = Allowance(calls=int(limits.lookups_an_hour * min(limits.read_every / timedelta(hours=1), 1.0)))
    known = going.positions.get(place, {})
    until = datetime.fromisoformat(known["until"]) if "until" in known else None
    since = datetime.fromisoformat(known["since"]) if "since" in known else now
    holes = _Holes.of(known.get("holes", ""), oldest=now - KEPT)

    def read_to(uses: Sequence[Use]) -> Batch:
        position = {"until": now.isoformat(), "since": since.isoformat(), "holes": str(holes)}
        return Batch(place=place, uses=uses, position=position)

    try:
        begin = max(until - LATE, now - KEPT) if until else max(now - STEP, now - KEPT)
        uses, reached = _window(calls, region, begin, now, allowance)
        since = min(since, reached)
        if until and reached > until:
            holes.add(until, reached)
        yield read_to(uses)
        while holes.found and allowance.calls > 0 and not going.ends():
            start, end = holes.found.pop()
            uses, reached = _window(calls, region, start, end, allowance)
            if reached > start:
                holes.add(start, reached)
            yield read_to(uses)
        oldest, step = now - min(limits.history, KEPT), STEP
        while since > oldest and allowance.calls > 0 and not going.ends():
            before = allowance.calls
            uses, since = _window(calls, region, max(since - step, oldest), since, allowance)
            step = min(2 * step, WIDEST) if before - allowance.calls <= 2 else STEP
            yield read_to(uses)
    except CannotSee as fault:
        yield _gap(account, fault.reason)
    for start, end in holes.found:
        yield _gap(account, sentence("clouds.aws_gap_too_many", action=ACTION, since=start, until=end))


@dataclass
class _Holes:
    """Stretches of time for which there were no calls left, the newest last: each is a gap until it is read."""

    found: list[tuple[datetime, datetime]]

    @classmethod
    def of(cls, told: str, *, oldest: datetime) -> _Holes:
        """Read them as a position has them, but for what AWS does not keep any more."""
        pairs = (each.split("/") for each in told.split())
        times = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in pairs]
        return cls(found=[(max(start, oldest), end) for start, end in times if end > oldest])

    def add(self, start: datetime, end: datetime) -> None:
        """Note the newest one."""
        self.found.append((start, end))
        if len(self.found) > _HOLES:
            (first, _), (_, second), *rest = self.found
            self.found = [(first, second), *rest]

    def __str__(self) -> str:
        return " ".join(f"{start.isoformat()}/{end.isoformat()}" for start, end in self.found)


def _gap(account: str, reason: str) -> Gap:
    return Gap(scope=scope_of("aws", account), reason=reason, hides=frozenset({Aspect.ACTIVITY}))


def _window(
    calls: Calls, region: str, begin: datetime, end: datetime, allowance: Allowance
) -> tuple[Sequence[Use], datetime]:
    """Read a stretch of time, newest first; return its uses, and back to when it was read. Raises CannotSee."""
    uses: list[Use] = []
    more: dict[str, str] = {}
    reached = end
    while allowance.calls > 0:
        allowance.calls -= 1
        page = calls.ask(ACTION, region=region, StartTime=begin, EndTime=end, MaxResults=_PAGE, **more)
        with reading(ACTION):
            for event in page["Events"]:
                reached = min(reached, utc(event["EventTime"]))
                if (use := _use(event)) is not None:
                    uses.append(use)
        if not page.get("NextToken"):
            return uses, begin
        more = {"NextToken": page["NextToken"]}
    return uses, reached


def _use(event: Mapping[str, Any]) -> Use | None:
    try:
        return use_of(json.loads(event["CloudTrailEvent"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
