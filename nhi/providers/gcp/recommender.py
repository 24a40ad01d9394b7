"""What Google's own recommender says of roles on projects: which are not used, and which smaller ones would do.

One call a project and, for each role that is to take another one's place, one a role: that it holds nothing that the
former did not is looked at here, and not believed. Source:
https://cloud.google.com/policy-intelligence/docs/role-recommendations-overview.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Exercise, Gap, Identity, Need, scope_of
from nhi.least import google_key
from nhi.providers import Exercised
from nhi.providers.gcp.calls import Calls, CannotSee, instant, reading

LIST, ROLE = "recommender.iamPolicyRecommendations.list", "iam.roles.get"
PERMISSIONS = (
    Need(action=LIST, why="tells which roles on projects are not used, and what would do instead"),
    Need(action=ROLE, why="tells what a role holds, to check that what would do instead holds nothing new"),
)
_OBSERVED = timedelta(days=90)  # Google's longest; a younger role is recommended about on less
_MEMBER, _ROLE = "/iamPolicy/bindings/*/members/*", "/iamPolicy/bindings/*/role"


@dataclass
class _Advice:
    """What is recommended for one member in one project."""

    removed: dict[str, datetime] = field(default_factory=dict)  # role: when that was last looked at
    added: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # role: what would do instead


class Recommender:
    """One asking for several identities. A project that cannot be asked is one gap."""

    def __init__(self, calls: Calls, now: datetime) -> None:
        self._calls = calls
        self._now = now
        self._held: dict[str, frozenset[str]] = {}  # what roles hold

    def exercises(self, identities: Sequence[Identity]) -> Iterator[Exercised | Gap]:
        by_project: dict[str, list[Identity]] = defaultdict(list)
        for identity in identities:
            if identity.kind == "service_account":
                by_project[identity.account].append(identity)
        for project, theirs in by_project.items():
            try:
                advice = self._read(project)
                told = [self._exercised(one, advice.get(one.principal, _Advice())) for one in theirs]
            except CannotSee as fault:
                scope = scope_of("gcp", project, "service_account")
                yield Gap(scope=scope, reason=fault.reason, hides=frozenset({Aspect.PERMISSIONS}))
                continue
            yield from told

    def _read(self, project: str) -> Mapping[str, _Advice]:
        """Return the advice on members of a project. Raises CannotSee."""
        where = f"projects/{project}/locations/global/recommenders/google.iam.policy.Recommender"
        found: dict[str, _Advice] = defaultdict(_Advice)
        url = f"recommender.googleapis.com/v1/{where}/recommendations"
        for page in self._calls.pages(LIST, url, pageSize=1000):
            with reading(LIST):
                for one in page.get("recommendations", ()):
                    if (one.get("stateInfo") or {}).get("state", "ACTIVE") == "ACTIVE":
                        _take(one, found)
        return found

    def _exercised(self, identity: Identity, advice: _Advice) -> Exercised:
        """Return what an identity uses, as far as the advice tells: a role that none is about is taken for used."""
        place = f"projects/{identity.account}"
        roles = {grant for grant in identity.policies if grant.endswith(f" on {place}")}
        services: dict[str, datetime | None] = dict.fromkeys(roles, self._now)
        instead: dict[str, tuple[str, ...]] = {}
        for role in advice.removed:
            key = google_key(role, place)
            smaller = tuple(dict.fromkeys(advice.added[role]))
            if not smaller:
                services[key] = None
            elif self._holds_no_more(role, smaller):
                instead[key] = smaller
        seen_until = min(advice.removed.values(), default=self._now)
        exercise = Exercise(
            services=services,
            actions={},
            seen_from=seen_until - _OBSERVED,
            seen_until=seen_until,
            source=LIST,
            instead=instead,
        )
        return Exercised(identity_key=identity.key, exercise=exercise)

    def _holds_no_more(self, role: str, smaller: Iterable[str]) -> bool:
        """Whether roles hold nothing that another does not. Raises CannotSee."""
        return all(self._permissions(one) <= self._permissions(role) for one in smaller)

    def _permissions(self, role: str) -> frozenset[str]:
        if role not in self._held:
            answer = self._calls.get(ROLE, f"iam.googleapis.com/v1/{role}")
            with reading(ROLE):
                self._held[role] = frozenset(map(str, answer.get("includedPermissions", ())))
        return self._held[role]


def _take(recommendation: Mapping[str, Any], found: dict[str, _Advice]) -> None:
    """Read one recommendation: a role is taken from a member and, it may be, smaller ones given instead."""
    looked_at = instant(str(recommendation["lastRefreshTime"]))
    removed: tuple[str, str] | None = None
    added: list[str] = []
    for group in recommendation["content"]["operationGroups"]:
        for operation in group["operations"]:
            filters = operation.get("pathFilters") or {}
            if filters.get("/iamPolicy/bindings/*/condition/expression"):
                return  # a role under a condition is left as it is
            if operation["action"] == "remove":
                removed = str(filters[_MEMBER]), str(filters[_ROLE])
            elif operation["action"] == "add":
                added.append(str(filters[_ROLE]))
    if removed is not None:
        member, role = removed
        found[member].removed[role] = looked_at
        found[member].added[role] += added
