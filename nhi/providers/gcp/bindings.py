"""What allow policies tell of identities and of projects' owners, made sense of: pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nhi.identity import Access, Permission, Trust, TrustKind

_CONTAINER = "cloudresourcemanager.googleapis.com/"
TYPES = (
    _CONTAINER + "Organization",
    _CONTAINER + "Folder",
    _CONTAINER + "Project",
    "iam.googleapis.com/ServiceAccount",
)

# Roles that, on a whole project, folder or organisation, let one take everything in it: by writing policies, by acting
# as any account, or by running code as one.
_ADMIN = frozenset(
    {
        "roles/owner",
        "roles/editor",
        "roles/iam.securityAdmin",
        "roles/iam.serviceAccountAdmin",
        "roles/iam.serviceAccountKeyAdmin",
        "roles/iam.serviceAccountTokenCreator",
        "roles/iam.serviceAccountUser",
        "roles/iam.organizationRoleAdmin",
        "roles/iam.workloadIdentityPoolAdmin",
        "roles/resourcemanager.folderAdmin",
        "roles/resourcemanager.folderIamAdmin",
        "roles/resourcemanager.organizationAdmin",
        "roles/resourcemanager.projectIamAdmin",
    }
)
_POOLED = re.compile(
    r"principal(?:Set)?://iam\.googleapis\.com/(projects/\d+/locations/global/workloadIdentityPools/[^/]+)/(.+)"
)
# Accounts that Google makes in projects of its own to act for a service: service-123@gcp-sa-…, 123@cloudservices…, ...
_AGENT = re.compile(
    r"(?:service-|project-|cloud-ml\.google\.com\.)?(\d+)@(?!developer\.)([a-z0-9.-]+)\.gserviceaccount\.com"
)


# Who has one of these on an account, or on what it lies in, can be that account.
_BECOMES = frozenset(
    {
        *("roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser", "roles/iam.workloadIdentityUser"),
        *("roles/iam.serviceAccountOpenIdTokenCreator", "roles/iam.serviceAccountKeyAdmin"),
    }
)
_CUSTOM = re.compile(r"(organizations|projects)/[^/]+/roles/.+")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One role on one resource; `to` is the part of a pool that has it ("": the identity itself)."""

    role: str
    resource: str  # "projects/shop-prod"
    admin: bool
    to: str = ""
    condition: str = ""  # CEL; "": always
    above: tuple[str, ...] = ()  # what the resource lies in, a project by its number: "projects/123", "folders/1"

    def __str__(self) -> str:
        return f"{self.role} on {self.resource}" + (f" for {self.to}" if self.to else "")


class Bindings:
    """Who has what, page by page."""

    def __init__(self) -> None:
        self.accounts: dict[str, list[Grant]] = defaultdict(list)  # by e-mail
        self.pools: dict[str, list[Grant]] = defaultdict(list)  # by the pool's name
        self.owners: dict[str, list[str]] = defaultdict(list)  # people with roles/owner, by "projects/NUMBER"
        self._become: dict[str, list[tuple[str, str, str]]] = defaultdict(list)  # by resource: member, role, condition

    def add(self, page: Mapping[str, Any]) -> None:
        """Take in one page. Raises ValueError, TypeError, KeyError or AttributeError on a page in no known shape."""
        for found in page.get("results", ()):
            resource = "/".join(str(found["resource"]).split("/")[3:])
            container = str(found.get("assetType", "")).startswith(_CONTAINER)
            places = (found.get("project"), *found.get("folders", ()), found.get("organization"))
            above = tuple(str(place) for place in places if place and place != resource)
            for binding in found.get("policy", {}).get("bindings", ()):
                role = str(binding["role"])
                condition = str((binding.get("condition") or {}).get("expression", ""))
                admin = container and role in _ADMIN
                grant = Grant(role=role, resource=resource, admin=admin, condition=condition, above=above)
                for member in binding.get("members", ()):
                    self._member(str(member), grant, str(found.get("project", "")) if container else "")
                    if role in _BECOMES:
                        self._become[resource].append((str(member), role, condition))

    def agents(self) -> dict[str, str]:
        """Return the accounts that Google itself makes, each with the number of the project that it works for."""
        found = ((email, _AGENT.fullmatch(email)) for email in self.accounts)
        return {email: match[1] for email, match in found if match is not None}

    def _member(self, member: str, grant: Grant, project: str) -> None:
        kind, _, name = member.partition(":")
        if kind == "serviceAccount":
            self.accounts[name].append(grant)
        elif kind == "user" and grant.role == "roles/owner" and project:
            self.owners[project].append(name)
        elif (found := _POOLED.fullmatch(member)) is not None:
            self.pools[found[1]].append(replace(grant, to=found[2]))

    def trusting(self, project: str, names: Sequence[str], above: Sequence[str]) -> tuple[Trust, ...]:
        """Return who can be an account that goes by these names, by a role on it, its project, or what is above."""
        own = (f"projects/{project}/serviceAccounts/{name}" for name in names)
        return tuple(
            trust
            for place in (*own, f"projects/{project}", *above)
            for member, role, condition in self._become.get(place, ())
            if (trust := _trust(member, f"{role} on {place}", condition, project)) is not None
        )


def _trust(member: str, via: str, condition: str, project: str) -> Trust | None:
    """Read one member; None: it is deleted."""
    kind, _, name = member.partition(":")
    if kind == "deleted":
        return None
    if member in ("allUsers", "allAuthenticatedUsers"):
        return Trust(who=member, kind=TrustKind.ANYONE, outside=True, condition=condition, via=via)
    if _POOLED.fullmatch(member) or member.startswith(("principal://", "principalSet://")):
        return Trust(who=member, kind=TrustKind.FEDERATED, outside=True, condition=condition, via=via)
    pooled = name.endswith("]") and ".svc.id.goog[" in name  # a Kubernetes account: "project.svc.id.goog[space/name]"
    elsewhere = kind == "serviceAccount" and not pooled and not _is_of(name, project)
    federated = TrustKind.FEDERATED if pooled else TrustKind.IDENTITY
    return Trust(who=member, kind=federated, outside=elsewhere, condition=condition, via=via)


def _is_of(email: str, project: str) -> bool:
    """Whether an account lies in a project, or is Google's own, which belongs to none of ours."""
    domain = email.partition("@")[2]
    return domain.startswith((f"{project}.iam.", "developer.", "gcp-sa-")) or email.startswith(f"{project}@")


def access(grants: Sequence[Grant], trust: tuple[Trust, ...] = ()) -> Access:
    """Return what these grants let one do. What a custom role holds is not told with them."""
    return Access(
        permissions=tuple(
            Permission(
                allows=True,
                actions=(grant.role,),
                resources=(grant.resource,),
                condition=grant.condition,
                via=f"{grant.resource}, for {grant.to}" if grant.to else grant.resource,
            )
            for grant in dict.fromkeys(grants)
        ),
        trust=trust,
        unread=tuple(dict.fromkeys(grant.role for grant in grants if _CUSTOM.fullmatch(grant.role))),
    )
