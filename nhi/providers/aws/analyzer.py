"""What IAM Access Analyzer found of unused permissions, where the source names an analyzer: AWS's own judgement.

One list of findings an analyzer, by the page, and one call for each identity that is asked about and has a finding.
What an analyzer does not call unused counts as used up to when it looked. Source:
https://docs.aws.amazon.com/access-analyzer/latest/APIReference/API_GetFindingV2.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Exercise, Gap, Identity, Need
from nhi.permissions import services
from nhi.providers import Exercised
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.details import utc
from nhi.words import sentence

LIST, GET = "access-analyzer:ListFindingsV2", "access-analyzer:GetFindingV2"
PERMISSIONS = (
    Need(action=LIST, why="lists what an analyzer of unused access found"),
    Need(action=GET, why="tells which services and actions an identity does not use"),
)
_KEPT = timedelta(days=400)  # IAM's, which the analyzer rests on
_ACTIVE_UNUSED = {"status": {"eq": ["ACTIVE"]}, "findingType": {"eq": ["UnusedPermission"]}}


def find_unused(
    calls: Calls, analyzers: Sequence[str], identities: Sequence[Identity], now: datetime
) -> Iterator[Exercised | Gap]:
    """Yield what analyzers tell of these identities, and a gap for an analyzer that cannot be asked.

    Who has no finding is not told of: the analyzer may not have looked yet.
    """
    wanted = {one.principal: one for one in identities if one.access is not None}
    for analyzer in analyzers:
        region, account = analyzer.split(":")[3:5]
        try:
            for identity, finding in _findings(calls, analyzer, region, wanted):
                yield _read(calls, analyzer, region, identity, finding, now)
        except CannotSee as fault:
            reason = sentence("clouds.aws_gap_in_region", reason=fault.reason, region=region)
            yield Gap(scope=f"aws/{account}", reason=reason, hides=frozenset({Aspect.PERMISSIONS}))


def _findings(
    calls: Calls, analyzer: str, region: str, wanted: Mapping[str, Identity]
) -> list[tuple[Identity, Mapping[str, Any]]]:
    """Return the findings about the wanted identities. Raises CannotSee."""
    found: list[tuple[Identity, Mapping[str, Any]]] = []
    for page in _pages(calls, LIST, region, analyzerArn=analyzer, filter=_ACTIVE_UNUSED, maxResults=100):
        with reading(LIST):
            found += [(wanted[one["resource"]], one) for one in page["findings"] if one.get("resource") in wanted]
    return found


def _read(
    calls: Calls, analyzer: str, region: str, identity: Identity, finding: Mapping[str, Any], now: datetime
) -> Exercised:
    """Read one finding whole. Raises CannotSee."""
    assert identity.access is not None
    with reading(LIST):
        finding_id, looked_at = str(finding["id"]), min(now, utc(finding["analyzedAt"]))
    used: dict[str, datetime | None] = dict.fromkeys(services(identity.access.permissions), looked_at)
    actions: dict[str, datetime | None] = {}
    for page in _pages(calls, GET, region, analyzerArn=analyzer, id=finding_id, maxResults=100):
        with reading(GET):
            for detail in page["findingDetails"]:
                _take(detail.get("unusedPermissionDetails") or {}, used, actions)
    exercise = Exercise(
        services=used, actions=actions, seen_from=now - _KEPT, seen_until=looked_at, source=f"{GET} of {analyzer}"
    )
    return Exercised(identity_key=identity.key, exercise=exercise)


def _take(told: Mapping[str, Any], used: dict[str, datetime | None], actions: dict[str, datetime | None]) -> None:
    """Note an unused service; or of a used one its unused actions, which are then listed."""
    name = told.get("serviceNamespace")
    if not name:
        return
    listed = told.get("actions") or ()
    if not listed:
        used[str(name)] = _at(told.get("lastAccessed"))
    for one in listed:
        actions[f"{name}:{str(one['action']).rpartition(':')[2]}"] = _at(one.get("lastAccessed"))


def _at(value: Any) -> datetime | None:
    return utc(value) if isinstance(value, datetime) else None


def _pages(calls: Calls, action: str, region: str, **asked: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the pages of an answer. Raises CannotSee."""
    seen: set[str] = set()
    while True:
        page = calls.ask(action, region=region, **asked)
        yield page
        token = page.get("nextToken")
        if not token:
            return
        if token in seen:
            raise CannotSee("BrokenPaging", action, passing=True)
        seen.add(token)
        asked["nextToken"] = token
