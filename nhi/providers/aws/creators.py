"""Who made it: CloudTrail's management events of the last 90 days (LookupEvents).

CloudTrail answers one attribute a call, 50 events a page, twice a second. So what is older than 90 days is not asked
for (nothing can be found, which is no gap), few identities are asked for by name, and many by the kind of event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Evidence, Gap, Identity, scope_of
from nhi.providers.aws.calls import Calls, CannotSee, reading

_KEPT = timedelta(days=90)
_ACTION = "cloudtrail:LookupEvents"
_EVENTS = ("CreateUser", "CreateAccessKey", "CreateLoginProfile", "CreateServiceSpecificCredential", "CreateRole")
_BY_NAME_AT_MOST = 20  # identities; above that, five lists of events are fewer calls than a lookup for each
_PAGES = 20  # of one lookup, 10 seconds' worth; the rest is a gap
_EMAIL = re.compile(r"[^@\s/]+@[^@\s/]+\.[^@\s/]+")
_MACHINE_SESSION = re.compile(r"(i-[0-9a-f]{8,}|botocore-session-\d+|aws-go-sdk-\d+|aws-sdk-\S+|AWSCloudFormation|\d+)")


def find_creators(
    calls: Calls, account: str, identities: Sequence[Identity], now: datetime
) -> Iterator[Evidence | Gap]:
    """Yield who made these identities and their credentials; one gap where CloudTrail could not be asked."""
    young = {(one.kind, one.name): one for one in identities if _made_after(one, now - _KEPT)}
    seen: set[str] = set()
    try:
        for event in _events(calls, [one.name for one in young.values()], now):
            if (found := _evidence(event, young)) is not None and event["EventId"] not in seen:
                seen.add(event["EventId"])
                yield found
    except CannotSee as fault:
        yield Gap(scope=scope_of("aws", account), reason=fault.reason, hides=frozenset({Aspect.OWNER}))


def _made_after(identity: Identity, start: datetime) -> bool:
    times = [identity.created_at, *(credential.created_at for credential in identity.credentials)]
    return any(time is not None and time >= start for time in times)


def _events(calls: Calls, names: Sequence[str], now: datetime) -> Iterator[Mapping[str, Any]]:
    if len(names) <= _BY_NAME_AT_MOST:
        lookups = [("ResourceName", name) for name in sorted(set(names))]
    else:
        lookups = [("EventName", event) for event in _EVENTS]
    for key, value in lookups:
        yield from _pages(calls, key, value, now)


def _pages(calls: Calls, key: str, value: str, now: datetime) -> Iterator[Mapping[str, Any]]:
    more: dict[str, str] = {}
    for _ in range(_PAGES):
        page = calls.ask(
            _ACTION,
            LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}],
            StartTime=now - _KEPT,
            EndTime=now,
            MaxResults=50,
            **more,
        )
        with reading(_ACTION):
            yield from page.get("Events", ())
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}
    raise CannotSee("TooManyEvents", _ACTION, passing=False)


def _evidence(event: Mapping[str, Any], young: Mapping[tuple[str, str], Identity]) -> Evidence | None:
    """Read one event. None: it is of another kind, failed, is about something else, or names no person."""
    try:
        told = json.loads(event["CloudTrailEvent"])
        if told.get("errorCode") or told["eventName"] not in _EVENTS:
            return None
        identity = young.get(_subject(told))
        by = _person(told["userIdentity"])
        if identity is None or by is None or not _is_same(identity, told):
            return None
        at = datetime.fromisoformat(told["eventTime"]).astimezone(UTC)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # an event in no known shape is no evidence of anything
    fact = f"{told['eventName']} by {by}"
    return Evidence(source="creator", fact=fact, points_to=by, at=at, identity_key=identity.key)


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


def _person(who: Mapping[str, Any]) -> str | None:
    """Return the e-mail or name of whoever called; None: an AWS service, root, or a machine's session."""
    if who.get("invokedBy") or who.get("type") in ("AWSService", "AWSAccount", "Root"):
        return None
    name = str(who.get("userName") or "")
    if who.get("type") in ("AssumedRole", "FederatedUser"):
        name = str(who.get("arn") or who.get("principalId") or "").rpartition("/")[2].rpartition(":")[2]
    email = _EMAIL.search(name)
    if email is not None:
        return email[0]
    return None if not name or _MACHINE_SESSION.fullmatch(name) else name
