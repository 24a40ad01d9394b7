"""The account's users, roles, groups and policies: pages of GetAccountAuthorizationDetails in, identities out. Pure.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html. A user comes
before the groups and policies that make it an administrator, so pages are boiled down as they come, and identities
are built when the last one is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.identity import Access, Coverage, Credential, CredentialStatus, Custody, Identity, Permission, Trust
from nhi.powers import administers
from nhi.providers.aws import policies
from nhi.providers.aws.denials import QUARANTINE
from nhi.providers.aws.policies import UnreadablePolicy
from nhi.words import sentence

FILTER = ("User", "Role", "Group", "LocalManagedPolicy")  # AWS's own policies would be thousands: they are known by ARN
_ADMIN_POLICIES = ("aws:policy/AdministratorAccess", "aws:policy/IAMFullAccess")
_ALL_POWERS = frozenset({"*", "*:*", "iam:*"})
_SERVICE_ROLES = (
    "/aws-service-role/"  # https://docs.aws.amazon.com/IAM/latest/UserGuide/using-service-linked-roles.html
)
_RESERVED_ROLES = "/aws-reserved/"  # those of IAM Identity Center, which IAM lets nobody edit
_ROLES_KEPT = timedelta(days=400)  # how long IAM remembers that a role was used
_ROLES_LAG = timedelta(hours=4)  # how late a use may show


@dataclass(frozen=True, kw_only=True)
class _Grants:
    """What is attached to something: names for people, ARNs to look up, and what its inline policies say."""

    names: tuple[str, ...]
    arns: tuple[str, ...]
    inline: tuple[Permission, ...]
    unread: tuple[str, ...]  # inline policies in no known shape
    admin: bool


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One user or role, before it is known what its groups and policies grant."""

    identity: Identity
    grants: _Grants
    groups: tuple[str, ...]
    boundary: str | None = None  # the ARN of the policy that limits it
    trust: tuple[Trust, ...] = ()


@dataclass
class Details:
    """What the pages said so far."""

    account: str
    now: datetime
    ceilings: tuple[tuple[Permission, ...], ...] | None = (
        None  # of the account, as its organisation tells; None: not told
    )
    _seen: list[_Seen] = field(default_factory=list)
    _groups: dict[str, _Grants] = field(default_factory=dict)
    _admin_policies: set[str] = field(default_factory=set)
    _documents: dict[str, object] = field(default_factory=dict)  # of managed policies, by ARN
    _read: dict[tuple[str, str], tuple[Permission, ...] | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, page: Mapping[str, Any]) -> None:
        """Take in one page. Raises KeyError, TypeError, ValueError or AttributeError where it is not one."""
        page[
            "IsTruncated"
        ]  # which AWS always tells: without it, an answer without users is no proof that there are none
        for user in page.get("UserDetailList", ()):
            self._seen.append(_user(self.account, user))
        for role in page.get("RoleDetailList", ()):
            self._seen.append(_role(self.account, role, self.now))
        for group in page.get("GroupDetailList", ()):
            self._groups[group["GroupName"]] = _grants(group, "GroupPolicyList")
        for policy in page.get("Policies", ()):
            for version in _in_force(policy):
                self.learn(policy["Arn"], version.get("Document"))

    def learn(self, arn: str, document: object) -> None:
        """Take in what a managed policy says."""
        self._documents[arn] = document
        if _is_admin(document):
            self._admin_policies.add(arn)

    def unread(self) -> frozenset[str]:
        """Return the ARNs of policies that somebody has and whose words are not known yet: AWS's own."""
        grants = [*(seen.grants for seen in self._seen), *self._groups.values()]
        used = {arn for one in grants for arn in one.arns} | {seen.boundary for seen in self._seen if seen.boundary}
        return frozenset(used - self._documents.keys())

    def identities(self) -> Iterator[Identity]:
        """Yield users (without their credentials) and roles; what they are granted is judged now."""
        for seen in self._seen:
            groups = {group: self._groups[group] for group in seen.groups if group in self._groups}
            access = self._access(seen, groups)
            granted = any(self._administers(grants) for grants in (seen.grants, *groups.values()))
            yield replace(
                seen.identity,
                privileged=granted or administers(access),
                policies=(
                    *seen.grants.names,
                    *(f"{group}/{name}" for group, grants in groups.items() for name in grants.names),
                ),
                access=access,
            )

    def _administers(self, grants: _Grants) -> bool:
        return grants.admin or any(arn in self._admin_policies or arn.endswith(_ADMIN_POLICIES) for arn in grants.arns)

    def _access(self, seen: _Seen, groups: Mapping[str, _Grants]) -> Access:
        """Return what it may do: by its own policies, those of its groups, and at most what its boundary says."""
        places = [("", seen.grants), *((f"group {name}, ", grants) for name, grants in groups.items())]
        found: list[Permission] = []
        unread: list[str] = []
        for place, grants in places:
            found += [replace(one, via=place + one.via) for one in grants.inline] if place else grants.inline
            unread += [place + name for name in grants.unread]
            for arn in grants.arns:
                read = self.policy(arn, f"{place}{_name(arn)}")
                found += read or ()
                unread += [f"{place}{_name(arn)}"] if read is None else []
        missing = [f"group {name}" for name in seen.groups if name not in self._groups]
        boundary = None
        if seen.boundary is not None:
            boundary = self.policy(seen.boundary, f"boundary {_name(seen.boundary)}")
            missing += [f"boundary {_name(seen.boundary)}"] if boundary is None else []
        return Access(
            permissions=tuple(found),
            boundary=boundary,
            trust=seen.trust,
            unread=(*unread, *missing),
            # Service control policies leave service-linked roles alone.
            ceilings=() if self.ceilings is not None and seen.identity.service_linked else self.ceilings,
        )

    def policy(self, arn: str, via: str) -> tuple[Permission, ...] | None:
        """Return a managed policy's statements, one tuple for all who have it; None: its words are not known."""
        if (arn, via) not in self._read:
            try:
                self._read[arn, via] = policies.statements(self._documents.get(arn), via)
            except UnreadablePolicy:
                self._read[arn, via] = None
        return self._read[arn, via]


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


def utc(instant: datetime) -> datetime:
    """Return the instant in UTC, in whole seconds: IAM's own precision, on which its sources agree."""
    return instant.astimezone(UTC).replace(microsecond=0)


def _user(account: str, user: Mapping[str, Any]) -> _Seen:
    identity = Identity(
        provider="aws",
        kind="iam_user",
        account=account,
        key=user["UserId"],
        name=user["UserName"],
        principal=user["Arn"],
        custody=Custody.OURS,
        created_at=utc(user["CreateDate"]),
        last_used_at=None,
        tags=_tags(user),
    )
    return _Seen(
        identity=identity,
        grants=_grants(user, "UserPolicyList"),
        groups=tuple(user.get("GroupList", ())),
        boundary=_boundary(user),
    )


def _role(account: str, role: Mapping[str, Any], now: datetime) -> _Seen:
    """Read a role. AWS keeps its last use for 400 days: an empty RoleLastUsed is "not in those"."""
    told = role.get("RoleLastUsed") or {}
    used = told.get("LastUsedDate")
    grants = _grants(role, "RolePolicyList")
    identity = Identity(
        provider="aws",
        kind="iam_role",
        account=account,
        key=role["RoleId"],
        name=role["RoleName"],
        principal=role["Arn"],
        custody=Custody.NOBODY,
        created_at=utc(role["CreateDate"]),
        last_used_at=None if used is None else utc(used),
        tags=_tags(role),
        coverage=Coverage(
            says=sentence("clouds.aws_sees_role"), seen_from=now - _ROLES_KEPT, seen_until=now - _ROLES_LAG
        ),
        service_linked=role.get("Path", "/").startswith(_SERVICE_ROLES) or f":role{_SERVICE_ROLES}" in role["Arn"],
    )
    if not identity.service_linked and f":role{_RESERVED_ROLES}" not in role["Arn"]:  # nobody here can change those
        own = _being_assumed(identity, region=told.get("Region"), quarantined=QUARANTINE.name in grants.names)
        identity = replace(identity, credentials=(own,))
    trust = _trust(role, account)
    if trust is None:
        grants = replace(grants, unread=(*grants.unread, "the trust policy"))
    return _Seen(identity=identity, grants=grants, groups=(), boundary=_boundary(role), trust=trust or ())


def _trust(role: Mapping[str, Any], account: str) -> tuple[Trust, ...] | None:
    """Return who may take a role; None: its trust policy is in no known shape."""
    try:
        return policies.trusted(role.get("AssumeRolePolicyDocument"), account)
    except UnreadablePolicy:
        return None


def _boundary(thing: Mapping[str, Any]) -> str | None:
    arn = (thing.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
    return str(arn) if arn else None


def _being_assumed(role: Identity, *, region: str | None, quarantined: bool) -> Credential:
    """Return a role's one credential: that it can be assumed. Nobody holds a secret of it."""
    return Credential(
        key="role",
        kind="role",
        external_id=role.key,
        status=CredentialStatus.INACTIVE if quarantined else CredentialStatus.ACTIVE,
        custody=Custody.NOBODY,
        created_at=role.created_at,
        rotated_at=None,
        last_used_at=role.last_used_at,
        last_used_region=region,
        coverage=role.coverage,
    )


def _tags(thing: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in thing.get("Tags") or ()}


def _grants(thing: Mapping[str, Any], inline: str) -> _Grants:
    attached = thing.get("AttachedManagedPolicies") or ()
    own = thing.get(inline) or ()
    read: list[Permission] = []
    unread: list[str] = []
    for policy in own:
        via = f"inline {policy['PolicyName']}"
        try:
            read += policies.statements(policy.get("PolicyDocument"), via)
        except UnreadablePolicy:
            unread.append(via)
    return _Grants(
        names=(*(policy["PolicyName"] for policy in attached), *(policy["PolicyName"] for policy in own)),
        arns=tuple(policy["PolicyArn"] for policy in attached),
        inline=tuple(read),
        unread=tuple(unread),
        admin=any(_is_admin(policy.get("PolicyDocument")) for policy in own),
    )


def _in_force(policy: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (version for version in policy.get("PolicyVersionList") or () if version.get("IsDefaultVersion"))


def _is_admin(document: object) -> bool:
    """Whether a policy allows everything, or everything in IAM, on every resource. One that cannot be read is not."""
    if not isinstance(document, Mapping):  # botocore leaves what is not JSON as text
        return False
    return any(isinstance(one, Mapping) and _grants_all(one) for one in _several(document.get("Statement")))


def _grants_all(statement: Mapping[str, Any]) -> bool:
    actions = {action.lower() for action in _several(statement.get("Action")) if isinstance(action, str)}
    everywhere = "*" in _several(statement.get("Resource"))
    return statement.get("Effect") == "Allow" and everywhere and not actions.isdisjoint(_ALL_POWERS)


def _several(value: object) -> Iterable[object]:
    """A policy's element may stand alone or in a list."""
    return value if isinstance(value, list) else (value,)
