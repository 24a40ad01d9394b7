"""Permission sets of IAM Identity Center: what each allows, in which accounts, and to which groups and people.

Identity Center makes a role of each set in every account that it is assigned in, which IAM lets nobody edit; so the set
is what has an owner and is reviewed. The account that owns the instance is asked, or one that administers it in its
stead where the owner is not read; in the region that it lives in. Who
holds a provisioning token (SCIM), and since when, no API of AWS tells: that is said with each set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from nhi.identity import Access, Coverage, Custody, Identity, Need, Permission, Trust, TrustKind
from nhi.powers import administers
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.details import utc
from nhi.providers.aws.policies import UnreadablePolicy, statements
from nhi.words import sentence

KIND = "permission_set"
_WHY = {
    "sso:ListPermissionSets": "lists the permission sets of Identity Center",
    "sso:DescribePermissionSet": "tells what a permission set is called, and since when it is there",
    "sso:ListManagedPoliciesInPermissionSet": "tells which of AWS's own policies a permission set has",
    "sso:GetInlinePolicyForPermissionSet": "tells what a permission set allows by itself",
    "sso:ListCustomerManagedPolicyReferencesInPermissionSet": "tells which of the accounts' policies it has",
    "sso:GetPermissionsBoundaryForPermissionSet": "tells what limits it",
    "sso:ListTagsForResource": "tells a permission set's tags",
    "sso:ListAccountsForProvisionedPermissionSet": "tells in which accounts it is assigned",
    "sso:ListAccountAssignments": "tells to which groups and people",
    "identitystore:DescribeGroup": "tells what such a group is called",
    "identitystore:DescribeUser": "tells who such a person is",
}
PERMISSIONS = tuple(Need(action=action, why=why) for action, why in _WHY.items())
_SETS, _SET, _MANAGED, _INLINE, _CUSTOMER, _BOUNDARY, _TAGS, _ACCOUNTS, _ASSIGNED, _GROUP, _USER = _WHY
_AT_ONCE = 8  # sets being read: more than 20 calls a second are refused
_LONGEST = 250

Pages = Callable[..., list[Any]]  # as Others has it: the items of a list, all pages


@dataclass(frozen=True, kw_only=True)
class Told:
    """What Identity Center tells of one set."""

    region: str
    about: Mapping[str, Any]
    managed: tuple[str, ...]  # ARNs of AWS's own policies
    customer: tuple[str, ...]  # names of policies that each account has of its own
    inline: str  # JSON; "": none
    boundary: Mapping[str, Any]
    tags: Mapping[str, str]
    assigned: tuple[tuple[str, str], ...]  # to whom ("group:Admins"), and the account

    @property
    def documents(self) -> frozenset[str]:
        """The ARNs of AWS's own policies whose words are needed to tell what it allows."""
        limit = self.boundary.get("ManagedPolicyArn")
        return frozenset((*self.managed, *([str(limit)] if limit else [])))


def read(calls: Calls, region: str, instances: list[Any], pages: Pages) -> tuple[list[Told], frozenset[str]]:
    """Read the sets of these instances; return them, and why names could not be read. Raises CannotSee."""
    found: list[Told] = []
    nameless: set[str] = set()
    for instance in instances:
        with reading("sso:ListInstances"):
            arn, store = str(instance["InstanceArn"]), str(instance.get("IdentityStoreId") or "")
        names = _Names(calls, region, store)
        sets = pages(_SETS, region, "PermissionSets", InstanceArn=arn)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sets") as pool:
            found += pool.map(partial(_one, calls, region, arn, names, pages), sets)
        nameless |= names.faults
    return found, frozenset(nameless)


def _one(calls: Calls, region: str, instance: str, names: _Names, pages: Pages, arn: str) -> Told:
    of = {"InstanceArn": instance, "PermissionSetArn": arn}
    about = calls.ask(_SET, region=region, **of)
    managed = pages(_MANAGED, region, "AttachedManagedPolicies", **of)
    customer = pages(_CUSTOMER, region, "CustomerManagedPolicyReferences", **of)
    inline = calls.ask(_INLINE, region=region, **of)
    tags = pages(_TAGS, region, "Tags", InstanceArn=instance, ResourceArn=arn)
    assigned = []
    for account in pages(_ACCOUNTS, region, "AccountIds", **of):
        for one in pages(_ASSIGNED, region, "AccountAssignments", AccountId=account, **of):
            with reading(_ASSIGNED):
                assigned.append((names.of(str(one["PrincipalType"]), str(one["PrincipalId"])), str(account)))
    with reading(_SET):
        return Told(
            region=region,
            about=about["PermissionSet"],
            managed=tuple(str(one["Arn"]) for one in managed),
            customer=tuple(str(one["Name"]) for one in customer),
            inline=str(inline.get("InlinePolicy") or ""),
            boundary=_boundary(calls, region, of),
            tags={str(one["Key"]): str(one.get("Value", "")) for one in tags},
            assigned=tuple(sorted(assigned)),
        )


def _boundary(calls: Calls, region: str, of: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        answer = calls.ask(_BOUNDARY, region=region, **of)
    except CannotSee as fault:
        if fault.code == "ResourceNotFoundException":
            return {}  # there is none
        raise
    with reading(_BOUNDARY):
        found: Mapping[str, Any] = answer.get("PermissionsBoundary") or {}
        return found


class _Names:
    """What groups and people are called; where that may not be read, they go by their ids."""

    def __init__(self, calls: Calls, region: str, store: str) -> None:
        self._calls = calls
        self._region = region
        self._store = store
        self._known: dict[tuple[str, str], str] = {}
        self.faults: set[str] = set()

    def of(self, kind: str, number: str) -> str:
        if (kind, number) not in self._known:
            self._known[kind, number] = self._ask(kind, number)
        return self._known[kind, number]

    def _ask(self, kind: str, number: str) -> str:
        action, key, field = (_GROUP, "GroupId", "DisplayName") if kind == "GROUP" else (_USER, "UserId", "UserName")
        try:
            answer = self._calls.ask(action, region=self._region, IdentityStoreId=self._store, **{key: number})
        except CannotSee as fault:
            self.faults.add(fault.reason)
            answer = {}
        return f"{kind.lower()}:{answer.get(field) or number}"


def identity(account: str, told: Told, policy: Callable[[str, str], tuple[Permission, ...] | None]) -> Identity:
    """Return a set as an identity; `policy` tells what one of AWS's own policies says, by ARN and by what it is for.

    Raises KeyError, TypeError or ValueError where what was told is in no known shape.
    """
    arn, name = str(told.about["PermissionSetArn"]), str(told.about["Name"])
    made_at = told.about.get("CreatedDate")
    access = _access(told, policy)
    accounts = sorted({where for _, where in told.assigned})
    more = {"aws:region": told.region, "aws:accounts": ", ".join(accounts)[:_LONGEST]}
    return Identity(
        provider="aws",
        kind=KIND,
        account=account,
        key=arn,
        name=name,
        principal=arn,
        custody=Custody.NOBODY,
        created_at=utc(made_at) if isinstance(made_at, datetime) else None,
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_set_use"),
        tags={**told.tags, **more},
        privileged=administers(access),
        coverage=Coverage(says=sentence("clouds.aws_sees_set")),
        policies=(
            *(one.rpartition("/")[2] for one in told.managed),
            *told.customer,
            *(["inline"] if told.inline else []),
        ),
        access=access,
    )


def _access(told: Told, policy: Callable[[str, str], tuple[Permission, ...] | None]) -> Access:
    found: list[Permission] = []
    unread = [f"{name}, of each account's own" for name in told.customer]
    for arn in told.managed:
        said = policy(arn, arn.rpartition("/")[2])
        found += said or ()
        unread += [arn.rpartition("/")[2]] if said is None else []
    try:
        found += statements(json.loads(told.inline), "inline") if told.inline else ()
    except (UnreadablePolicy, ValueError):
        unread.append("inline")
    limit, limited = told.boundary.get("ManagedPolicyArn"), None
    called = f"boundary {str(limit).rpartition('/')[2]}" if limit else "its boundary"
    if limit:
        limited = policy(str(limit), called)
    if told.boundary and limited is None:
        unread.append(called)
    return Access(
        permissions=tuple(found), boundary=limited, trust=tuple(_trusts(told)), unread=tuple(dict.fromkeys(unread))
    )


def _trusts(told: Told) -> Iterator[Trust]:
    """Yield to whom it is assigned, account by account: each is a grant of its own."""
    for who, account in dict.fromkeys(told.assigned):
        yield Trust(
            who=f"{who} in {account}", kind=TrustKind.IDENTITY, outside=False, via="assigned in Identity Center"
        )
