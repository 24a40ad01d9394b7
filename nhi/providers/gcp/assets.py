"""What Cloud Asset Inventory tells of projects, accounts, keys and pools, made sense of: pure.

One search over all the types at once is the fewest pages there can be. The full resource stands in
`versionedResources`, in the form of its own API; the search's own fields are the second choice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from nhi.providers.gcp.calls import instant

_IAM = "iam.googleapis.com/"
PROJECT = "cloudresourcemanager.googleapis.com/Project"
ACCOUNT = _IAM + "ServiceAccount"
KEY = _IAM + "ServiceAccountKey"
API_KEY = "apikeys.googleapis.com/Key"
POOL = _IAM + "WorkloadIdentityPool"
POOL_PROVIDER = _IAM + "WorkloadIdentityPoolProvider"
TYPES = (PROJECT, ACCOUNT, KEY, API_KEY, POOL, POOL_PROVIDER)
FIELDS = (
    "name,assetType,project,folders,organization,displayName,description,labels,createTime,state,"
    "additionalAttributes,versionedResources"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a resource lies: `project` is "projects/NUMBER"; the others are "" and () where there is none."""

    project: str
    folders: tuple[str, ...] = ()
    organization: str = ""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One project: its id, as people write it, and its labels."""

    number: str  # "projects/123"
    id: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Account:
    """One service account."""

    place: Place
    project: str  # the id
    unique_id: str
    email: str
    client_id: str  # as Workspace names it for domain-wide delegation
    display_name: str
    description: str
    disabled: bool
    created_at: datetime | None  # None: not told

    @property
    def default(self) -> str | None:
        """Return which default account it is; None: somebody here made it."""
        domain = self.email.partition("@")[2]
        return {"developer.gserviceaccount.com": "compute", "appspot.gserviceaccount.com": "appengine"}.get(domain)


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a service account. `ours` None: the inventory does not tell who holds it."""

    account: str  # e-mail or unique id
    project: str
    id: str
    ours: bool | None
    made_at: datetime | None
    ends_at: datetime | None
    disabled: bool


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One API key, never its string."""

    place: Place
    name: str
    uid: str
    display_name: str
    made_at: datetime | None
    annotations: Mapping[str, str]
    restricted: bool
    account: str  # the e-mail of the account that it stands for; "": none


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One workload identity pool, or one of a pool's providers."""

    place: Place
    name: str  # projects/NUMBER/locations/global/workloadIdentityPools/ID, and /providers/ID
    display_name: str
    description: str
    disabled: bool
    trusts: str = ""  # of a provider: the issuer, the AWS account, ...

    @property
    def id(self) -> str:
        return self.name.rpartition("/")[2]


class Assets:
    """Everything that the search found, page by page."""

    def __init__(self) -> None:
        self.projects: dict[str, Project] = {}  # by number
        self.accounts: dict[str, Account] = {}  # by unique id
        self.keys: dict[str, list[Key]] = defaultdict(list)  # by e-mail or unique id, as the inventory writes it
        self.api_keys: list[ApiKey] = []
        self.pools: dict[str, Pool] = {}  # by name
        self.providers: dict[str, list[Pool]] = defaultdict(list)  # by pool
        self._read = {
            PROJECT: self._project,
            ACCOUNT: self._account,
            KEY: self._key,
            API_KEY: self._api_key,
            POOL: self._pool,
            POOL_PROVIDER: self._pool_provider,
        }

    def __len__(self) -> int:
        return len(self.projects) + len(self.accounts) + len(self.api_keys) + len(self.pools)

    def add(self, page: Mapping[str, Any]) -> None:
        """Take in one page. Raises ValueError, TypeError, KeyError or AttributeError on a page in no known shape."""
        for found in page.get("results", ()):
            if (read := self._read.get(found["assetType"])) is not None:
                read(found, _resource(found))

    def id_of(self, number: str) -> str:
        """Return a project's id from "projects/NUMBER"; the number where the project was not seen."""
        return self.projects[number].id if number in self.projects else number.removeprefix("projects/")

    def keys_of(self, account: Account) -> list[Key]:
        """Return the account's keys, whichever way the inventory names it."""
        return [*self.keys.get(account.unique_id, ()), *self.keys.get(account.email, ())]

    def accounts_by_email(self) -> dict[str, Account]:
        return {account.email: account for account in self.accounts.values()}

    def _project(self, found: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        number = str(found["project"])
        known = found.get("additionalAttributes", {}).get("projectId") or resource.get("projectId")
        labels = found.get("labels") or resource.get("labels") or {}
        self.projects[number] = Project(number=number, id=str(known or _last(found["name"])), labels=dict(labels))

    def _account(self, found: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        more = found.get("additionalAttributes", {})
        email, unique = resource.get("email") or more["email"], resource.get("uniqueId") or more["uniqueId"]
        self.accounts[str(unique)] = Account(
            place=_place(found),
            project=str(resource.get("projectId") or _segment(found["name"], "projects")),
            unique_id=str(unique),
            email=str(email),
            client_id=str(resource.get("oauth2ClientId", unique)),
            display_name=str(found.get("displayName", "")),
            description=str(found.get("description", "")),
            disabled=bool(resource.get("disabled", found.get("state") == "DISABLED")),
            created_at=_instant(found.get("createTime")),
        )

    def _key(self, found: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        if (key := read_key(str(found["name"]), resource)).ours is not False:
            self.keys[key.account].append(key)

    def _api_key(self, found: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        if resource.get("deleteTime") or found.get("state") == "DELETED":
            return
        limits = resource.get("restrictions", {})
        self.api_keys.append(
            ApiKey(
                place=_place(found),
                name=str(found["name"]).removeprefix("//apikeys.googleapis.com/"),
                uid=str(resource.get("uid") or _last(found["name"])),
                display_name=str(found.get("displayName", "")),
                made_at=_instant(resource.get("createTime") or found.get("createTime")),
                annotations=dict(resource.get("annotations", {})),
                restricted=bool(limits.get("apiTargets")),
                account=str(resource.get("serviceAccountEmail", "")),
            )
        )

    def _pool(self, found: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        if (pool := _pool(found, resource)) is not None:
            self.pools[pool.name] = pool

    def _pool_provider(self, found: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        if (pool := _pool(found, resource)) is not None:
            self.providers[pool.name.partition("/providers/")[0]].append(replace(pool, trusts=_trusts(resource)))


def read_key(name: str, resource: Mapping[str, Any]) -> Key:
    """Read a key in the form of the IAM API (keys.list, and Cloud Asset's copy). Raises ValueError, TypeError, ..."""
    kind, made = resource.get("keyType"), resource.get("validAfterTime")
    return Key(
        account=_segment(name, "serviceAccounts"),
        project=_segment(name, "projects"),
        id=_last(name),
        ours=None if kind is None or made is None else kind == "USER_MANAGED",
        made_at=_instant(made),
        ends_at=_instant(resource.get("validBeforeTime")),
        disabled=bool(resource.get("disabled")),
    )


def _pool(found: Mapping[str, Any], resource: Mapping[str, Any]) -> Pool | None:
    """Read a pool or a provider; None: it is deleted, and only kept for a while."""
    if "DELETED" in (found.get("state"), resource.get("state")):
        return None
    name = str(found["name"]).removeprefix("//iam.googleapis.com/")
    place = _place(found)
    return Pool(
        place=place,
        name="/".join([place.project, *name.split("/")[2:]]),  # by number, as bindings name it
        display_name=str(found.get("displayName", "")),
        description=str(found.get("description", "")),
        disabled=bool(resource.get("disabled", found.get("state") == "DISABLED")),
    )


def _trusts(resource: Mapping[str, Any]) -> str:
    if "aws" in resource:
        return f"AWS account {resource['aws'].get('accountId', '')}"
    if "oidc" in resource:
        return str(resource["oidc"].get("issuerUri", ""))
    return next((kind.upper() for kind in ("saml", "x509") if kind in resource), "")


def _resource(found: Mapping[str, Any]) -> Mapping[str, Any]:
    versions = found.get("versionedResources") or [{}]
    resource: Mapping[str, Any] = versions[-1].get("resource", {})
    return resource


def _place(found: Mapping[str, Any]) -> Place:
    return Place(
        project=str(found["project"]),
        folders=tuple(map(str, found.get("folders", ()))),
        organization=str(found.get("organization", "")),
    )


def _segment(name: str, after: str) -> str:
    """Return the part of a resource's name that follows `after`: the project of "…/projects/shop/…"."""
    pieces = name.split("/")
    return pieces[pieces.index(after) + 1]


def _last(name: Any) -> str:
    return str(name).rpartition("/")[2]


def _instant(text: Any) -> datetime | None:
    return instant(text) if text else None
