"""Who called last, from where and for what: one question to CloudTrail, right before an act.

CloudTrail keeps management events for 90 days, a region at a time, minutes late. It shows no data events (an object
read from S3), so silence here is no proof; a call that it does show is one, and counts as a use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nhi.certificate import Caller, Read
from nhi.providers import CredentialState
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.creators import person_behind
from nhi.providers.aws.details import utc
from nhi.redact import tidy
from nhi.words import sentence

_ACTION = "cloudtrail:LookupEvents"
_LAG = timedelta(minutes=15)  # AWS: events are there within about 15 minutes
_LONGEST = 200
_AT_MOST = 50

Mine = Callable[[Mapping[str, Any]], bool]


def with_caller(
    calls: Calls, state: CredentialState, attribute: str, value: str, *, region: str | None, mine: Mine = lambda _: True
) -> CredentialState:
    """Return the state with its last call in the trail, where there is one; a later one than IAM tells is the last use.

    A trail that cannot be read is said in the certificate and stops nothing: IAM's own word stands.
    """
    try:
        caller = last_call(calls, attribute, value, region=region, mine=mine)
    except CannotSee as fault:
        return replace(state, reads=(*state.reads, _read(region, fault.reason)))
    used = [at for at in (state.last_used_at, caller.at if caller else None) if at is not None]
    return replace(
        state, reads=(*state.reads, _read(region, None)), caller=caller, last_used_at=max(used, default=None)
    )


def _read(region: str | None, gap: str | None) -> Read:
    return Read(
        source=sentence("clouds.aws_read_trail", region=region),
        seen_from=None,
        seen_until=None,
        lag=_LAG,
        hidden=sentence("clouds.aws_read_trail_not"),
        gap=gap,
    )


def last_call(calls: Calls, attribute: str, value: str, *, region: str | None, mine: Mine) -> Caller | None:
    """Return the newest call that the trail tells of; None: it tells of none. Raises CannotSee."""
    asked = [{"AttributeKey": attribute, "AttributeValue": value}]
    answer = calls.ask(_ACTION, region=region, LookupAttributes=asked, MaxResults=_AT_MOST)
    with reading(_ACTION):
        for event in answer["Events"]:
            told = json.loads(event["CloudTrailEvent"])
            if mine(told):
                return _caller(utc(event["EventTime"]), told)
    return None


def calls_since(
    calls: Calls, attribute: str, value: str, since: datetime, *, region: str | None, mine: Mine = lambda _: True
) -> list[Caller]:
    """Return the calls that the trail tells of since an instant, oldest first: at most a page. Raises CannotSee."""
    asked = [{"AttributeKey": attribute, "AttributeValue": value}]
    answer = calls.ask(_ACTION, region=region, LookupAttributes=asked, StartTime=since, MaxResults=_AT_MOST)
    with reading(_ACTION):
        events = [(utc(event["EventTime"]), json.loads(event["CloudTrailEvent"])) for event in answer["Events"]]
        return sorted(
            (_caller(at, told) for at, told in events if at >= since and mine(told)), key=lambda caller: caller.at
        )


def _caller(at: Any, told: Mapping[str, Any]) -> Caller:
    who = told.get("userIdentity") or {}
    source = str(told.get("eventSource") or "").partition(".")[0]
    return Caller(
        at=at,
        who=_words(who.get("arn") or who.get("invokedBy") or who.get("principalId")),
        where=_words(told.get("sourceIPAddress")),
        what=_words(f"{source}:{told.get('eventName')}" if told.get("eventName") else None),
        tool=_words(told.get("userAgent")),
        person=_words(person_behind(who)) if who.get("type") != "IAMUser" else None,
    )


def _words(value: object) -> str | None:
    return tidy(str(value), _LONGEST) if value else None
