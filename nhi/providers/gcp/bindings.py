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
        "roles/admin",
        "roles/owner",
        "roles/writer",
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
        *("roles/iam.serviceAccountAdmin", "roles/iam.securityAdmin"),  # they give themselves one of those
        *("roles/admin", "roles/owner", "roles/writer", "roles/editor"),
    }
)
# The projects of Google's in which its services' own accounts lie, beside those that are called gcp-sa-….
_GOOGLES = frozenset(
    {
        *("compute-system", "container-engine-robot", "containerregistry", "dataflow-service-producer-prod"),
        *("dataproc-accounts", "cloudcomposer-accounts", "serverless-robot-prod", "gcf-admin-robot", "cloud-ml"),
    }
)
_PUBLIC_MAIL = ("@gmail.com", "@googlemail.com")  # no organisation's
_OF_CLUSTERS = (".svc.id.goog", ".hub.id.goog")  # pools that Google makes for the clusters of one project
_NUMBER = re.compile(r"\d+")
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

    def trusting(self, project: str, number: str, names: Sequence[str], above: Sequence[str]) -> tuple[Trust, ...]:
        """Return who can be an account that goes by these names, by a role on it, its project, or what is above.

        `number` is the project's ("projects/123"), `above` are its folders and organisation.
        """
        own = (f"projects/{project}/serviceAccounts/{name}" for name in names)
        home = _Home(project=project, numbers=frozenset(one.rpartition("/")[2] for one in (number, *above)))
        return tuple(
            trust
            for place in (*own, f"projects/{project}", *above)
            for member, role, condition in self._become.get(place, ())
            if (trust := _trust(member, f"{role} on {place}", condition, home)) is not None
        )


@dataclass(frozen=True, kw_only=True)
class _Home:
    """The project that an account lies in, with its number and those of its folders and organisation."""

    project: str
    numbers: frozenset[str]


def _trust(member: str, via: str, condition: str, home: _Home) -> Trust | None:
    """Read one member; None: it is deleted."""
    kind, _, name = member.partition(":")
    if kind == "deleted":
        return None
    pooled = _pool_of(member)
    federated = pooled is not None or member.startswith(("principal://", "principalSet://"))
    if member in ("allUsers", "allAuthenticatedUsers"):
        sort, outside = TrustKind.ANYONE, True
    elif federated:  # of its own project are only those whom a cluster there vouches for
        sort, outside = TrustKind.FEDERATED, pooled not in {home.project + ending for ending in _OF_CLUSTERS}
    elif kind in ("projectOwner", "projectEditor", "projectViewer"):
        sort, outside = TrustKind.IDENTITY, name != home.project
    elif kind == "serviceAccount":
        sort, outside = TrustKind.IDENTITY, not _is_of(name, home)
    else:  # whose an address of people is, is known only of public mail
        sort, outside = TrustKind.IDENTITY, f"@{name}".endswith(_PUBLIC_MAIL)
    return Trust(who=member, kind=sort, outside=outside, condition=condition, via=via)


def _pool_of(member: str) -> str | None:
    """Return the id of the pool that vouches for a member; None: it is none of a pool."""
    if (found := _POOLED.fullmatch(member)) is not None:
        return found[1].rpartition("/")[2]
    name = member.partition(":")[2]  # a cluster's, as it is written since long: "project.svc.id.goog[space/name]"
    pool = name.partition("[")[0]
    return pool if name.endswith("]") and pool.endswith(_OF_CLUSTERS) else None


def _is_of(email: str, home: _Home) -> bool:
    """Whether an account lies in a project, or is one that Google made to act for it or for what it lies in."""
    name, _, domain = email.partition("@")
    place = domain.removesuffix(".gserviceaccount.com")
    project = ".".join(reversed(home.project.split(":")))  # of "example.com:shop", addresses say "shop.example.com"
    if place == f"{project}.iam" or email == f"{project}@appspot.gserviceaccount.com":
        return True
    system = place.removesuffix(".iam")
    googles = system == place or system.startswith("gcp-sa-") or system in _GOOGLES
    return googles and not home.numbers.isdisjoint(_NUMBER.findall(name))


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
