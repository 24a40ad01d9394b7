"""Service control policies: what nobody in an account may do, whatever the account's own policies allow.

They hang on the organisation's root, its units and its accounts. What an identity may do must be allowed at every level
on its way down, so each level is one ceiling. The management account and service-linked roles are under none. A few
calls see them all: each policy's words and where it hangs, and the units as a tree. Source:
https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_evaluation.html.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nhi.identity import Need, Permission
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.policies import UnreadablePolicy, statements

_WHY = {
    "organizations:ListRoots": "tells whether the organisation limits its accounts (service control policies)",
    "organizations:ListOrganizationalUnitsForParent": "tells which unit lies below which",
    "organizations:ListAccountsForParent": "tells which account lies in which unit",
    "organizations:ListPolicies": "lists the service control policies",
    "organizations:ListTargetsForPolicy": "tells where each of them hangs",
    "organizations:DescribePolicy": "tells what each of them says",
}
PERMISSIONS = tuple(Need(action=action, why=why) for action, why in _WHY.items())
_ROOTS, _UNITS, _ACCOUNTS, _POLICIES, _TARGETS, _DESCRIBE = _WHY
_TYPE = "SERVICE_CONTROL_POLICY"

Ceiling = tuple[Permission, ...]


@dataclass(frozen=True, kw_only=True)
class _Root:
    id: str
    limits: bool  # whether service control policies are in force


def read(calls: Calls) -> Mapping[str, tuple[Ceiling, ...]]:
    """Return the ceilings of each account, by its number; an account without one is under none. Raises CannotSee."""
    found: dict[str, tuple[Ceiling, ...]] = {}
    for root in _roots(calls):
        if root.limits:
            hanging = _hanging(calls)
            _walk(calls, root.id, _with((), hanging.get(root.id)), hanging, found)
    return found


def _roots(calls: Calls) -> list[_Root]:
    with reading(_ROOTS):
        return [
            _Root(
                id=str(one["Id"]),
                limits=any(kind["Type"] == _TYPE and kind["Status"] == "ENABLED" for kind in one["PolicyTypes"]),
            )
            for one in _listed(calls, _ROOTS, "Roots")
        ]


def _hanging(calls: Calls) -> Mapping[str, Ceiling]:
    """Return what the policies say that hang on each root, unit and account."""
    found: dict[str, list[Permission]] = defaultdict(list)
    for policy in list(_listed(calls, _POLICIES, "Policies", Filter=_TYPE)):
        with reading(_POLICIES):
            number, name = str(policy["Id"]), str(policy["Name"])
        said = _said(calls, number, f"SCP {name}")
        with reading(_TARGETS):
            for target in _listed(calls, _TARGETS, "Targets", PolicyId=number):
                found[str(target["TargetId"])] += said
    return {target: tuple(said) for target, said in found.items()}


def _said(calls: Calls, number: str, via: str) -> Ceiling:
    answer = calls.ask(_DESCRIBE, PolicyId=number)
    with reading(_DESCRIBE):
        try:
            return statements(json.loads(answer["Policy"]["Content"]), via)
        except UnreadablePolicy:
            raise CannotSee("MalformedPolicy", f"{_DESCRIBE} of {via}", passing=False) from None


def _walk(
    calls: Calls,
    parent: str,
    above: tuple[Ceiling, ...],
    hanging: Mapping[str, Ceiling],
    found: dict[str, tuple[Ceiling, ...]],
) -> None:
    with reading(_ACCOUNTS):
        for account in _listed(calls, _ACCOUNTS, "Accounts", ParentId=parent):
            number = str(account["Id"])
            if (
                str(account["Arn"]).split(":")[4] != number
            ):  # the management account, which the ARN names, is under none
                found[number] = _with(above, hanging.get(number))
    for unit in list(_listed(calls, _UNITS, "OrganizationalUnits", ParentId=parent)):
        with reading(_UNITS):
            number = str(unit["Id"])
        _walk(calls, number, _with(above, hanging.get(number)), hanging, found)


def _with(above: tuple[Ceiling, ...], level: Ceiling | None) -> tuple[Ceiling, ...]:
    """Add a level's ceiling, unless it says nothing or takes nothing away, or hangs further up already."""
    return above if level is None or level in above or _takes_nothing(level) else (*above, level)


def _takes_nothing(level: Ceiling) -> bool:
    whole = any("*" in one.actions and "*" in one.resources and not one.condition for one in level if one.allows)
    return whole and all(one.allows for one in level)


def _listed(calls: Calls, action: str, field: str, **asked: Any) -> Iterator[Mapping[str, Any]]:
    """Yield what a list holds, page by page. Raises CannotSee."""
    seen: set[str] = set()
    while True:
        page = calls.ask(action, **asked)
        with reading(action):
            every = list(page[field])
        yield from every
        token = page.get("NextToken")
        if not token:
            return
        if token in seen:
            raise CannotSee("BrokenPaging", action, passing=True)
        seen.add(token)
        asked["NextToken"] = token
