"""What audit logs tell (logging entries:list): who made accounts and keys, and whom Workspace lets act for its people.

A project's own log keeps such events for 400 days. One call reads a hundred projects, sixty calls a minute are allowed,
so what is older is not asked for, and projects are asked about together. One project that refuses makes the whole call
fail: such a group is halved until the refusing ones stand alone, as long as that takes few calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Evidence, Gap, Identity, scope_of
from nhi.providers.gcp.calls import Calls, CannotSee, instant, reading

ACTION = "logging.logEntries.list"
KEPT = timedelta(days=400)
CREATED = "google.iam.admin.v1.CreateServiceAccount"
KEY_CREATED = "google.iam.admin.v1.CreateServiceAccountKey"
_DELEGATED = "google.admin.AdminService.authorizeApiClientAccess"
_WITHDRAWN = "google.admin.AdminService.removeApiClientAccess"
_URL = "logging.googleapis.com/v2/entries:list"
_TOGETHER = 100  # projects a call, Google's greatest
_PAGE = 1000
_PAGES = 50  # of one question; the rest is a gap
_HALVINGS = 40  # further calls that a scan spends on finding which projects refuse
_MACHINE = re.compile(r".*\.gserviceaccount\.com")


@dataclass(frozen=True, kw_only=True)
class Made:
    """One account or key was made."""

    method: str
    by: str | None  # an e-mail; None: a machine made it, or the log does not tell
    at: datetime
    account: frozenset[str]  # what the event calls the account: its e-mail, its unique id


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Projects whose log could not be read."""

    projects: tuple[str, ...]
    fault: CannotSee


def made(calls: Calls, projects: Sequence[str], methods: Sequence[str], now: datetime) -> Iterator[Made | Unread]:
    """Yield what these methods made in these projects, and the projects that could not be read."""
    groups = [tuple(projects[start : start + _TOGETHER]) for start in range(0, len(projects), _TOGETHER)]
    halvings = _HALVINGS
    while groups:
        group = groups.pop()
        try:
            yield from list(_made(calls, group, methods, now))
        except CannotSee as fault:
            if len(group) > 1 and not fault.passing and halvings >= 2:
                halvings -= 2
                groups += [group[: len(group) // 2], group[len(group) // 2 :]]
            else:
                yield Unread(projects=group, fault=fault)


def _made(calls: Calls, projects: Sequence[str], methods: Sequence[str], now: datetime) -> Iterator[Made]:
    chosen = " OR ".join(f'"{method}"' for method in methods)
    told = f'log_id("cloudaudit.googleapis.com/activity") AND protoPayload.methodName=({chosen})'
    for entry in _entries(calls, [f"projects/{project}" for project in projects], told, now):
        if (event := _event(entry)) is not None:
            yield event


def makers_of(calls: Calls, project: str, key_id: str, since: datetime) -> Iterator[str]:
    """Yield who made a key, as the project's log tells of the time since then. Raises CannotSee."""
    told = f'log_id("cloudaudit.googleapis.com/activity") AND protoPayload.methodName=("{KEY_CREATED}")'
    for entry in _entries(calls, [f"projects/{project}"], told, since + KEPT):
        with reading(ACTION):
            payload = entry["protoPayload"]
            made = str(payload.get("response", {}).get("name", "")).rpartition("/keys/")[2]
            if made == key_id and not payload.get("status", {}).get("code"):
                yield str(payload.get("authenticationInfo", {}).get("principalEmail", ""))


def _entries(calls: Calls, resources: Sequence[str], told: str, now: datetime) -> Iterator[Mapping[str, Any]]:
    body = {
        "resourceNames": list(resources),
        "filter": f'{told} AND timestamp>="{now - KEPT:%Y-%m-%dT%H:%M:%SZ}"',
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    for number, page in enumerate(calls.posted_pages(ACTION, _URL, body), start=1):
        with reading(ACTION):
            yield from list(page.get("entries", ()))
        if number >= _PAGES and page.get("nextPageToken"):
            raise CannotSee("TooManyEntries", ACTION, passing=True)


def _event(entry: Mapping[str, Any]) -> Made | None:
    """Read one entry. None: the call failed, or is in no known shape, and so is evidence of nothing."""
    try:
        told = entry["protoPayload"]
        if told.get("status", {}).get("code"):
            return None
        labels, made_now = entry.get("resource", {}).get("labels", {}), told.get("response", {})
        resource = str(told.get("resourceName", "")).partition("serviceAccounts/")[2].partition("/")[0]
        names = (labels.get("unique_id"), labels.get("email_id"), made_now.get("unique_id"), made_now.get("email"))
        by = str(told.get("authenticationInfo", {}).get("principalEmail", ""))
        return Made(
            method=str(told["methodName"]),
            by=by if "@" in by and not _MACHINE.fullmatch(by) else None,
            at=instant(entry["timestamp"]),
            account=frozenset(str(name) for name in (*names, resource) if name),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def creators(calls: Calls, identities: Sequence[Identity], now: datetime) -> Iterator[Evidence | Gap]:
    """Yield who made these accounts and their keys, as far as the logs go; a gap for each project that cannot tell."""
    asked = [one for one in identities if one.kind == "service_account" and _may_be_remembered(one, now)]
    by_name = {name: one for one in asked for name in (one.key, one.name)}
    projects = sorted({one.account for one in asked})
    seen: set[tuple[str, str]] = set()
    for found in made(calls, projects, (CREATED, KEY_CREATED), now) if projects else ():
        if isinstance(found, Unread):
            yield from gaps(found, Aspect.OWNER)
            continue
        identity = next((by_name[name] for name in sorted(found.account) if name in by_name), None)
        if identity is None or found.by is None or not _is_same(identity, found):
            continue
        fact = f"{found.method.rpartition('.')[2]} by {found.by}"  # a notation: by it the same event is known again
        if (identity.key, fact) not in seen:
            seen.add((identity.key, fact))
            yield Evidence(source="creator", fact=fact, points_to=found.by, at=found.at, identity_key=identity.key)


def _may_be_remembered(identity: Identity, now: datetime) -> bool:
    """Whether the logs can still hold how the account, or one of its keys, was made."""
    times = (identity.created_at, *(key.created_at for key in identity.credentials))
    return any(at is None or at >= now - KEPT for at in times)


def _is_same(identity: Identity, event: Made) -> bool:
    """Whether the event is about this account and not about an earlier one of the same e-mail."""
    numbers = {name for name in event.account if name.isdigit()}
    return not numbers or identity.key in numbers


def gaps(unread: Unread, *hides: Aspect) -> Iterator[Gap]:
    """Yield a gap for each project that could not be read."""
    for project in unread.projects:
        scope = scope_of("gcp", project, "service_account")
        yield Gap(scope=scope, reason=unread.fault.reason, hides=frozenset(hides))


@dataclass(frozen=True, kw_only=True)
class Delegations:
    """OAuth clients that Workspace lets act for its people, each with its scopes, and those that it lets no more."""

    given: Mapping[str, str] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()


def delegations(calls: Calls, organization: str, now: datetime) -> Delegations:
    """Return the delegations of which an organisation's log tells. Raises CannotSee.

    Workspace writes this into the organisation's log where sharing its audit log with Google Cloud is turned on.
    """
    told = f'protoPayload.methodName=("{_DELEGATED}" OR "{_WITHDRAWN}")'
    found: dict[str, str] = {}
    ended: set[str] = set()
    for entry in _entries(calls, [organization], told, now):
        with reading(ACTION):
            payload = entry["protoPayload"]
            for event in payload.get("metadata", {}).get("event", ()):
                values = {one.get("name"): _value(one) for one in event.get("parameter", ())}
                client = values.get("API_CLIENT_NAME", "")
                if not client:
                    continue
                found.pop(client, None)
                ended.add(client)
                if payload["methodName"] == _DELEGATED:
                    found[client] = values.get("API_SCOPES", "")
                    ended.remove(client)
    return Delegations(given=found, ended=frozenset(ended))


def _value(parameter: Mapping[str, Any]) -> str:
    many = parameter.get("multiStrValue") or parameter.get("multiValue")
    return ",".join(map(str, many)) if many else str(parameter.get("value", ""))
