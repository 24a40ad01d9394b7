"""Who made it: CloudTrail's management events of the last 90 days (LookupEvents).

CloudTrail answers one attribute a call, 50 events a page, twice a second. So what is older than 90 days is not asked
for (nothing can be found, which is no gap), few identities are asked for by name, and many by the kind of event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Evidence, Gap, Identity, scope_of
from nhi.providers.aws.calls import Calls, CannotSee

_KEPT = timedelta(days=90)
_DAY = timedelta(days=1)  # a key that is made later than this is no part of making its user
_SLACK = timedelta(minutes=15)  # between IAM's time of creation and the event's
_TOO_MANY = "TooManyEvents"
_ACTION = "cloudtrail:LookupEvents"
_EVENTS = ("CreateUser", "CreateAccessKey", "CreateLoginProfile", "CreateServiceSpecificCredential", "CreateRole")
_BY_NAME_AT_MOST = 20  # identities; above that, five lists of events are fewer calls than a lookup for each
_PAGES = 20  # of one lookup, 10 seconds' worth; the rest is a gap
_EMAIL = re.compile(r"[^@\s/]+@[^@\s/]+\.[^@\s/]+")
_MACHINE_SESSION = re.compile(r"(i-[0-9a-f]{8,}|botocore-session-\d+|aws-go-sdk-\d+|aws-sdk-\S+|AWSCloudFormation|\d+)")


@dataclass(frozen=True, kw_only=True)
class _Lookup:
    """One question to CloudTrail: events with this attribute in this time."""

    key: str
    value: str
    start: datetime
    end: datetime


def find_creators(
    calls: Calls, account: str, identities: Sequence[Identity], now: datetime
) -> Iterator[Evidence | Gap]:
    """Yield who made these identities and their credentials; a gap where CloudTrail could not tell."""
    made = {(one.kind, one.name): (one, times) for one in identities if (times := _made_at(one, now - _KEPT))}
    young = {place: identity for place, (identity, _) in made.items()}
    seen: set[str] = set()
    for lookup in _lookups([(one.name, times) for one, times in made.values()], now):
        try:
            for event in _events(calls, lookup):
                event_id = event.get("EventId", "")
                if event_id not in seen and (found := _evidence(event, young)) is not None:
                    seen.add(event_id)
                    yield found
        except CannotSee as fault:
            yield Gap(scope=scope_of("aws", account), reason=fault.reason, hides=frozenset({Aspect.OWNER}))
            if fault.code != _TOO_MANY:
                return


def _made_at(identity: Identity, start: datetime) -> list[datetime]:
    """Return when the identity and its credentials were made, as far as CloudTrail remembers."""
    times = (identity.created_at, *(one.created_at or one.rotated_at for one in identity.credentials))
    return [time for time in times if time is not None and time >= start]


def _lookups(made: Sequence[tuple[str, Sequence[datetime]]], now: datetime) -> list[_Lookup]:
    """Return as few questions as there can be. By name, the time is kept short: a busy role has many events."""
    if len(made) > _BY_NAME_AT_MOST:
        return [_Lookup(key="EventName", value=event, start=now - _KEPT, end=now) for event in _EVENTS]
    return [
        _Lookup(key="ResourceName", value=name, start=min(times) - _SLACK, end=max(times) + _SLACK)
        for name, times in made
    ]


def _events(calls: Calls, lookup: _Lookup) -> Iterator[Mapping[str, Any]]:
    attribute = {"AttributeKey": lookup.key, "AttributeValue": lookup.value}
    more: dict[str, str] = {}
    for _ in range(_PAGES):
        page = calls.ask(
            _ACTION, LookupAttributes=[attribute], StartTime=lookup.start, EndTime=lookup.end, MaxResults=50, **more
        )
        yield from page.get("Events", ())
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}
    raise CannotSee(_TOO_MANY, _ACTION, passing=False)


def _evidence(event: Mapping[str, Any], young: Mapping[tuple[str, str], Identity]) -> Evidence | None:
    """Read one event. None: it is of another kind, failed, is about something else, or names no person."""
    try:
        told = json.loads(event["CloudTrailEvent"])
        if told.get("errorCode") or told["eventName"] not in _EVENTS:
            return None
        identity = young.get(_subject(told))
        by = person_behind(told["userIdentity"])
        if identity is None or by is None or not _is_same(identity, told):
            return None
        at = datetime.fromisoformat(told["eventTime"]).astimezone(UTC)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # an event in no known shape is no evidence of anything
    fact = f"{told['eventName']} by {by}"  # a notation, in no language: by it the same event is known again
    later = identity.created_at is not None and at - identity.created_at > _DAY
    return Evidence(source="rotator" if later else "creator", fact=fact, points_to=by, at=at, identity_key=identity.key)


def _subject(told: Mapping[str, Any]) -> tuple[str, str]:
    asked = told.get("requestParameters") or {}
    if told["eventName"] == "CreateRole":
        return "iam_role", asked["roleName"]
    made = told.get("responseElements") or {}  # a user that makes a key for itself need not say for whom
    return "iam_user", asked.get("userName") or made["accessKey"]["userName"]


def _is_same(identity: Identity, told: Mapping[str, Any]) -> bool:
    """Whether the event made this identity and not an earlier one of that name, where the event tells."""
    made = told.get("responseElements") or {}
    unique = (made.get("user") or {}).get("userId") or (made.get("role") or {}).get("roleId")
    return unique in (None, identity.key)


def person_behind(who: Mapping[str, Any]) -> str | None:
    """Return the e-mail or name of whoever called; None: an AWS service, root, or a machine's session."""
    if who.get("type") in ("AWSService", "AWSAccount", "Root"):
        return None
    name = str(who.get("userName") or "")
    if who.get("type") in ("AssumedRole", "FederatedUser"):
        name = str(who.get("arn") or who.get("principalId") or "").rpartition("/")[2].rpartition(":")[2]
    email = _EMAIL.search(name)
    if email is not None:
        return email[0]
    # A service acting for somebody (CloudFormation) shows that session; without an e-mail it is likely a machine's.
    return None if not name or who.get("invokedBy") or _MACHINE_SESSION.fullmatch(name) else name
