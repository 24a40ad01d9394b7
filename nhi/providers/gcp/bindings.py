"""What allow policies tell of identities and of projects' owners, made sense of: pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One role on one resource; `to` is the part of a pool that has it ("": the identity itself)."""

    role: str
    resource: str  # "projects/shop-prod"
    admin: bool
    to: str = ""

    def __str__(self) -> str:
        return f"{self.role} on {self.resource}" + (f" for {self.to}" if self.to else "")


class Bindings:
    """Who has what, page by page."""

    def __init__(self) -> None:
        self.accounts: dict[str, list[Grant]] = defaultdict(list)  # by e-mail
        self.pools: dict[str, list[Grant]] = defaultdict(list)  # by the pool's name
        self.owners: dict[str, list[str]] = defaultdict(list)  # people with roles/owner, by "projects/NUMBER"

    def add(self, page: Mapping[str, Any]) -> None:
        """Take in one page. Raises ValueError, TypeError, KeyError or AttributeError on a page in no known shape."""
        for found in page.get("results", ()):
            resource = "/".join(str(found["resource"]).split("/")[3:])
            container = str(found.get("assetType", "")).startswith(_CONTAINER)
            for binding in found.get("policy", {}).get("bindings", ()):
                role = str(binding["role"])
                grant = Grant(role=role, resource=resource, admin=container and role in _ADMIN)
                for member in binding.get("members", ()):
                    self._member(str(member), grant, str(found.get("project", "")) if container else "")

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
            self.pools[found[1]].append(Grant(role=grant.role, resource=grant.resource, admin=grant.admin, to=found[2]))
