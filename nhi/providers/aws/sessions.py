"""Whose sessions use a role: CloudTrail's AssumeRole events of the last 90 days (LookupEvents).

An event names who called, or (with SAML, or a source identity) the person behind. CloudTrail answers twice a second, so
one page is read of each role: its latest fifty uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Evidence, Gap, Identity, scope_of
from nhi.providers.aws.calls import Calls, CannotSee
from nhi.providers.aws.creators import person_behind
from nhi.words import sentence

_KEPT = timedelta(days=90)
_ACTION = "cloudtrail:LookupEvents"
_EVENTS = frozenset({"AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"})


def find_uses(calls: Calls, account: str, identities: Sequence[Identity], now: datetime) -> Iterator[Evidence | Gap]:
    """Yield for each role who assumed it lately, each person once; a gap where CloudTrail could not tell."""
    roles = [one for one in identities if one.kind == "iam_role" and not one.service_linked and _is_used(one, now)]
    hides = frozenset({Aspect.OWNER})
    for role in roles:
        attribute = {"AttributeKey": "ResourceName", "AttributeValue": role.principal}
        try:
            page = calls.ask(_ACTION, LookupAttributes=[attribute], StartTime=now - _KEPT, EndTime=now, MaxResults=50)
        except CannotSee as fault:
            yield Gap(scope=scope_of("aws", account), reason=fault.reason, hides=hides)
            return
        yield from _uses(page.get("Events", ()), role)


def _is_used(role: Identity, now: datetime) -> bool:
    """Whether there can be an event: AWS tells a role's last use, if hours late; never used costs no call."""
    return role.use_gap is not None or (role.last_used_at is not None and role.last_used_at >= now - _KEPT)


def _uses(events: Sequence[Mapping[str, Any]], role: Identity) -> Iterator[Evidence]:
    latest: dict[str, datetime] = {}
    for event in events:
        if (found := _use(event)) is not None:
            who, at = found
            latest[who] = max(at, latest.get(who, at))
    for who, at in latest.items():
        yield Evidence(
            source="session",
            fact=sentence("clouds.aws_used_by", who=who),
            points_to=who,
            at=at,
            identity_key=role.key,
        )


def _use(event: Mapping[str, Any]) -> tuple[str, datetime] | None:
    """Read one event. None: it is of another kind, failed, or was made by an AWS service."""
    try:
        told = json.loads(event["CloudTrailEvent"])
        if told.get("errorCode") or told["eventName"] not in _EVENTS:
            return None
        who = _who(told)
        return (who, datetime.fromisoformat(told["eventTime"]).astimezone(UTC)) if who else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # an event in no known shape is no evidence of anything


def _who(told: Mapping[str, Any]) -> str | None:
    """Return who stands behind a session: the source identity where one was set, else an address, else the caller."""
    asked = told.get("requestParameters") or {}
    for name in (asked.get("sourceIdentity"), asked.get("roleSessionName")):
        if isinstance(name, str) and "@" in name:
            return name
    return person_behind(told["userIdentity"])
