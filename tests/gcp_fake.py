"""A stand-in Google Cloud over HTTP, at ENDPOINT/HOST/PATH: one organisation with whatever a test puts into it.

It is held to Google's discovery documents: a request that Google does not know, and an answer that Google would not
give, is a violation, which `Google.__exit__` raises. Like the real one it is late and partial: the activity analyser
has the days up to two days ago, pages may be small, and any call can be refused, throttled, slow or broken.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tests import gcp_discovery
from tests.gcp_discovery import Json, Method

ORGANIZATION = "organizations/1234567890"
_CRM, _IAM = "//cloudresourcemanager.googleapis.com/", "//iam.googleapis.com/"
_CAPS = {
    "cloudasset": 500,
    "policyanalyzer": 1000,
    "logging": 1000,
    "monitoring": 100_000,
    "recommender": 1000,
    "iam": 1000,
}
_CODES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_CODES |= {409: "ALREADY_EXISTS", 500: "INTERNAL", 503: "UNAVAILABLE"}


def written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def lies_in(asset: Json, place: str) -> bool:
    return place in (asset.get("organization"), asset.get("project")) or place in asset.get("folders", ())


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str  # "cloudasset.searchAllResources"
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any
    status: int


@dataclass(kw_only=True)
class Fault:
    """What is answered instead, to requests that fit. `times` None: always."""

    method: str
    place: str = ""  # in the path or the body
    page: int | None = None  # 1 for the first
    times: int | None = None
    status: int = 403
    reason: str | None = None  # ErrorInfo's: SERVICE_DISABLED
    retry_after: str | None = None
    lost: bool = False  # it is carried out, and only the answer is lost
    raw: bytes | None = None  # sent as it is, with `status`

    def takes(self, method: str, place: str, page: int) -> bool:
        fits = method == self.method and self.place in place and self.page in (None, page) and self.times != 0
        if fits and self.times is not None:
            self.times -= 1
        return fits


class Answer(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str = "no", *, reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]
        self.body = {"error": {"code": status, "message": message, "status": _CODES[status]}}
        if reason:
            self.body["error"]["details"] = details


@dataclass
class Project:
    """One project of the stand-in."""

    id: str
    number: str
    labels: Mapping[str, str]
    folders: tuple[str, ...]
    entries: list[Json] = field(default_factory=list)


@dataclass
class Key:
    """One key of an account; the private half was never here."""

    id: str
    made_at: datetime
    ends_at: datetime
    kind: str = "USER_MANAGED"
    last_used_at: datetime | None = None
    disabled: bool = False


@dataclass
class Account:
    """One service account."""

    project: Project
    email: str
    unique_id: str
    made_at: datetime
    last_used_at: datetime | None = None
    display_name: str = ""
    description: str = ""
    disabled: bool = False
    keys: dict[str, Key] = field(default_factory=dict)


@dataclass
class Secret:
    """One secret of Secret Manager, with what is really in its versions."""

    about: Json
    versions: list[Json] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


class Google:
    """The stand-in: fill it, start it, set its faults, and look at what it was asked."""

    def __init__(self, *, now: Callable[[], datetime], checked: bool = True) -> None:
        self.now = now
        self.checked = checked
        self.projects: dict[str, Project] = {}
        self.accounts: dict[str, Account] = {}  # by unique id
        self.others: list[Json] = []  # further assets
        self.policies: list[Json] = []
        self.denials: dict[str, list[Json]] = {}  # deny policies, by place: "projects/100000"
        self.recommendations: dict[str, list[Json]] = {}  # by project
        self.roles: dict[str, Sequence[str]] = {}  # what each holds
        self.organization_entries: list[Json] = []
        self.secrets: dict[str, Secret] = {}  # by "projects/PROJECT/secrets/ID"
        self.may: set[str] = set()  # permissions that whoever asks has
        self.acts_as = "nhi-remediator@audit.iam.gserviceaccount.com"  # whom the audit log names of what is asked here
        self.private_keys: dict[str, str] = {}  # of keys made here, by their id
        self.page_size = 1000  # at most, below Google's own caps
        self.named_by_email = False  # how the inventory names accounts
        self.tells_key_types = True  # whether the inventory has the keys' full resource
        self.unlisted: set[str] = set()  # unique ids of accounts that the inventory does not have yet
        self.latency = 0.0  # seconds before every answer
        self.throttle: float | None = None  # requests a second; the others get 429
        self.update_lag = 0  # how many reads still show what was before a disable or enable
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.violations: list[str] = []
        self._stale: dict[str, tuple[int, bool]] = {}
        self._assets: list[Json] = []
        self._tokens, self._refilled = 0.0, 0.0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    # What is in it

    def add_project(self, name: str, *, folders: Sequence[str] = (), **labels: str) -> Project:
        project = Project(name, f"projects/{100000 + len(self.projects)}", labels, tuple(folders))
        self.projects[name] = project
        return project

    def add_account(
        self,
        project: Project,
        name: str,
        *,
        made_at: datetime,
        last_used_at: datetime | None = None,
        by: str | None = None,
        email: str | None = None,
        **more: Any,
    ) -> Account:
        """Add an account; `by` who made it, as the audit log tells (None: the log has lost it)."""
        address = email or f"{name}@{project.id}.iam.gserviceaccount.com"
        account = Account(project, address, f"1{len(self.accounts):020}", made_at, last_used_at, **more)
        self.accounts[account.unique_id] = account
        if by:
            self._log(account, "google.iam.admin.v1.CreateServiceAccount", by, made_at)
        return account

    def add_key(
        self,
        account: Account,
        *,
        made_at: datetime,
        last_used_at: datetime | None = None,
        by: str | None = None,
        **more: Any,
    ) -> Key:
        number = sum(len(one.keys) for one in self.accounts.values()) if len(self.accounts) < 500 else len(account.keys)
        key_id = f"{int(account.unique_id) * 100 + number:040x}"
        ends_at = more.pop("ends_at", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        key = Key(key_id, made_at, ends_at, last_used_at=last_used_at, **more)
        account.keys[key_id] = key
        if by:
            self._log(account, "google.iam.admin.v1.CreateServiceAccountKey", by, made_at)
        return key

    def add_api_key(self, project: Project, name: str, *, made_at: datetime, **resource: Any) -> str:
        uid = f"b7ff1f9f-8275-410a-94dd-{len(self.others):012}"
        full = f"{project.number}/locations/global/keys/{uid}"
        document = {"name": full, "uid": uid, "displayName": name, "createTime": written(made_at), **resource}
        self._add_other(project, "apikeys.googleapis.com/Key", f"//apikeys.googleapis.com/{full}", document, name)
        return uid

    def add_pool(self, project: Project, name: str, **resource: Any) -> str:
        """Add a workload identity pool; return its name as bindings write it."""
        full = f"{project.number}/locations/global/workloadIdentityPools/{name}"
        self._add_other(
            project, "iam.googleapis.com/WorkloadIdentityPool", _IAM + full, {"name": full, **resource}, name
        )
        return full

    def add_provider(self, project: Project, pool: str, name: str, **resource: Any) -> None:
        full, kind = f"{pool}/providers/{name}", "iam.googleapis.com/WorkloadIdentityPoolProvider"
        self._add_other(project, kind, _IAM + full, {"name": full, **resource}, name)

    def _add_other(self, project: Project, kind: str, name: str, resource: Json, shown: str) -> None:
        told = {"displayName": shown, "state": resource.get("state", "ACTIVE")}
        self.others.append(self._asset(project, kind, name, resource, **told))

    def recommend(self, account: Account, role: str, *instead: str, at: datetime) -> None:
        """Let the recommender say that a role on its project is not used, or which smaller ones would do."""
        member = f"serviceAccount:{account.email}"
        resource = f"{_CRM}projects/{account.project.number.partition('/')[2]}"
        path, role_path = "/iamPolicy/bindings/*/members/*", "/iamPolicy/bindings/*/role"
        common = {"resource": resource, "resourceType": "cloudresourcemanager.googleapis.com/Project"}
        operations: list[Json] = [
            common
            | {"action": "add", "path": "/iamPolicy/bindings/*/members/-", "value": member}
            | {"pathFilters": {role_path: smaller}}
            for smaller in instead
        ]
        filters = {path: member, role_path: role, "/iamPolicy/bindings/*/condition/expression": ""}
        operations.append(common | {"action": "remove", "path": path, "pathFilters": filters})
        self.recommendations.setdefault(account.project.id, []).append(
            {
                "name": f"{account.project.number}/locations/global/recommenders/google.iam.policy.Recommender/"
                f"recommendations/{len(self.recommendations)}",
                "recommenderSubtype": "REPLACE_ROLE" if instead else "REMOVE_ROLE",
                "lastRefreshTime": written(at),
                "stateInfo": {"state": "ACTIVE"},
                "content": {"operationGroups": [{"operations": operations}]},
            }
        )

    def bind(self, role: str, *members: str, on: Project | Account | None = None) -> None:
        """Give a role on a project or account, or on the whole organisation."""
        found: Json = {"organization": ORGANIZATION, "policy": {"bindings": [{"role": role, "members": list(members)}]}}
        match on:
            case None:
                found |= {
                    "resource": _CRM + ORGANIZATION,
                    "assetType": "cloudresourcemanager.googleapis.com/Organization",
                }
            case Project():
                found |= {
                    "resource": f"{_CRM}projects/{on.id}",
                    "assetType": "cloudresourcemanager.googleapis.com/Project",
                }
                found |= {"project": on.number, "folders": list(on.folders)}
            case Account():
                name = f"{_IAM}projects/{on.project.id}/serviceAccounts/{on.email}"
                found |= {
                    "resource": name,
                    "assetType": "iam.googleapis.com/ServiceAccount",
                    "project": on.project.number,
                }
                found |= {"folders": list(on.project.folders)}
        self.policies.append(found)

    def deny(
        self, place: str, *permissions: str, to: Sequence[str] = ("principalSet://goog/public:all",), **more: Any
    ) -> None:
        """Hang a deny policy of one rule on a place; `more` are further fields of the rule."""
        parent = f"policies/cloudresourcemanager.googleapis.com%2F{place.replace('/', '%2F')}/denypolicies"
        hanging = self.denials.setdefault(place, [])
        rule = {"deniedPermissions": list(permissions), "deniedPrincipals": list(to), **more}
        about = {"name": f"{parent}/deny-{len(hanging)}", "kind": "DenyPolicy", "rules": [{"denyRule": rule}]}
        hanging.append(about)

    def delegate(self, client: str, scopes: Sequence[str], *, at: datetime, withdrawn: bool = False) -> None:
        """Let Workspace's admin log tell that a client may, or may no longer, act for its people."""
        verb = "remove" if withdrawn else "authorize"
        event = {
            "eventName": f"{verb.upper()}_API_CLIENT_ACCESS",
            "eventType": "DOMAIN_SETTINGS",
            "parameter": [
                {"name": "API_CLIENT_NAME", "type": "TYPE_STRING", "value": client},
                {"name": "API_SCOPES", "type": "TYPE_STRING", "multiStrValue": list(scopes)},
            ],
        }
        payload = {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "admin.googleapis.com",
            "methodName": f"google.admin.AdminService.{verb}ApiClientAccess",
            "metadata": {"event": [event]},
        }
        name = f"{ORGANIZATION}/logs/cloudaudit.googleapis.com%2Factivity"
        self.organization_entries.append({"logName": name, "timestamp": written(at), "protoPayload": payload})

    def _log(self, account: Account, method: str, by: str, at: datetime) -> None:
        name = f"projects/{account.project.id}/serviceAccounts/{account.unique_id}"
        payload = {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "iam.googleapis.com",
            "methodName": method,
            "resourceName": name,
            "authenticationInfo": {"principalEmail": by},
            "response": {"email": account.email, "unique_id": account.unique_id},
        }
        labels = {"project_id": account.project.id, "email_id": account.email, "unique_id": account.unique_id}
        account.project.entries.append(
            {
                "logName": f"projects/{account.project.id}/logs/cloudaudit.googleapis.com%2Factivity",
                "resource": {"type": "service_account", "labels": labels},
                "timestamp": written(at),
                "insertId": f"{at.timestamp():.0f}",
                "protoPayload": payload,
            }
        )

    def add_use(
        self,
        account: Account,
        method: str,
        at: datetime,
        *,
        key: str | None = None,
        denied: bool = False,
        on: Project | None = None,
    ) -> None:
        """Write into a project's audit log (`on`; its own) that an account called something, with a key or without."""
        where, project = on or account.project, account.project.id
        name = f"//iam.googleapis.com/projects/{project}/serviceAccounts/{account.email}/keys/{key}"
        service = (
            "iam.googleapis.com" if method.startswith("google.iam") else f"{method.partition('.')[0]}.googleapis.com"
        )
        caller = {"principalEmail": account.email, **({"serviceAccountKeyName": name} if key else {})}
        payload = {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": service,
            "methodName": method,
            "authenticationInfo": caller,
            "requestMetadata": {
                "callerIp": "198.51.100.7",
                "callerSuppliedUserAgent": "google-api-python-client/2.1 (gzip)",
            },
            **({"status": {"code": 7, "message": "PERMISSION_DENIED"}} if denied else {}),
        }
        where.entries.append(
            {
                "logName": f"projects/{where.id}/logs/cloudaudit.googleapis.com%2Factivity",
                "resource": {"type": "service_account", "labels": {"project_id": where.id}},
                "timestamp": written(at),
                "insertId": f"use-{len(where.entries)}",
                "protoPayload": payload,
            }
        )

    def held(self, secret: str, version: str = "latest") -> Json | None:
        """Return what a secret really holds; None: nothing that can be read."""
        found = self.secrets.get(secret)
        number = self._numbered(found, version) if found else 0
        if found is None or not number or found.versions[number - 1]["state"] != "ENABLED":
            return None
        told: Json = json.loads(found.payloads[number - 1])
        return told

    def refuse(self, method: str, place: str = "", **more: Any) -> None:
        """Answer such requests with an error from now on; 403 unless another `status` is given."""
        self.faults.append(Fault(method=method, place=place, **more))

    def lose(self, method: str, *, times: int) -> None:
        """Carry such requests out, and answer as if the other side had broken down in between."""
        self.faults.append(Fault(method=method, times=times, status=503, lost=True))

    # What is asked of it

    def calls(self, *methods: str) -> Counter[str]:
        """Return how many requests came in, by method, of these or of all."""
        return Counter(one.method for one in self.asked if not methods or one.method in methods)

    def switched(self) -> list[str]:
        """Return every disable and enable that was carried out: "disable …/keys/1"."""
        found = (one.path.rpartition(":") for one in self.asked if one.path.endswith((":disable", ":enable")))
        return [f"{verb} {path.partition('/serviceAccounts/')[2]}" for path, _, verb in found]

    def answer(self, method: Method, query: Sequence[tuple[str, str]], body: Any) -> Json:
        match method.id.partition(".")[0], method.id.rpartition(".")[2]:
            case "cloudasset", "searchAllResources":
                return self._search(method, query, self._resources(again="pageToken" in dict(query)), "results")
            case "cloudasset", "searchAllIamPolicies":
                return self._search(method, query, self.policies, "results")
            case "policyanalyzer", "query":
                return self._paged(method, query, self._activities(method, dict(query)), "activities")
            case "logging", "list":
                asked = [(name, str(value)) for name, value in body.items()]
                return self._paged(method, asked, list(self._entries(body)), "entries")
            case "monitoring", "list":
                return self._paged(method, query, self._series(method, dict(query)), "timeSeries")
            case "recommender", "list":
                found = self.recommendations.get(method.path["parent"].split("/")[1], [])
                return self._paged(method, query, found, "recommendations")
            case "iam", "get" if method.id == "iam.roles.get":
                name = method.path["name"]
                return {"name": name, "includedPermissions": list(self.roles.get(name, ()))}
            case "iam", _ if method.id.startswith("iam.policies."):
                return self._deny_policies(method, query)
            case "iam", verb:
                return self._iam(method, verb)
            case "cloudresourcemanager", "testIamPermissions":
                return {"permissions": [one for one in body["permissions"] if one in self.may]}
            case "secretmanager", verb:
                return self._secretmanager(method.path, verb, dict(query), body)
            case _:
                raise Answer(404, method.id)

    def _search(self, method: Method, query: Sequence[tuple[str, str]], found: list[Json], name: str) -> Json:
        types = {value for key, value in query if key == "assetTypes"}
        scope = method.path["scope"]
        place = next((one.number for one in self.projects.values() if scope == f"projects/{one.id}"), scope)
        page = self._paged(
            method, query, [one for one in found if one["assetType"] in types and lies_in(one, place)], name
        )
        mask = dict(query).get("readMask")
        if mask is not None:
            page[name] = [{key: one[key] for key in mask.split(",") if key in one} for one in page[name]]
        return page

    def _paged(self, method: Method, query: Sequence[tuple[str, str]], found: Sequence[Json], name: str) -> Json:
        rest = sorted(pair for pair in query if pair[0] not in ("pageToken", "pageSize"))
        about = re.sub(r"\W", "", repr(rest))[:2000]
        given = dict(query)
        token, start = given.get("pageToken", ""), 0
        if token:
            start, known = int(token.split(".")[0]), token.partition(".")[2]
            if known != str(len(about)):
                raise Answer(400, "the other parameters must be the same for all pages")
        size = min(int(given.get("pageSize", 100)), _CAPS[method.id.partition(".")[0]], self.page_size)
        page: Json = {name: list(found[start : start + size])}
        if start + size < len(found):
            page["nextPageToken"] = f"{start + size}.{len(about)}"
        return page

    def _resources(self, *, again: bool) -> list[Json]:
        """Return all assets as they were at the first page, as a search shows them."""
        if not again or not self._assets:
            self._assets = list(self._all_resources())
        return self._assets

    def _all_resources(self) -> Iterator[Json]:
        for project in self.projects.values():
            resource = {"projectId": project.id, "lifecycleState": "ACTIVE"}
            more = {
                "labels": dict(project.labels),
                "additionalAttributes": {"projectId": project.id},
                "state": "ACTIVE",
            }
            kind = "cloudresourcemanager.googleapis.com/Project"
            yield self._asset(project, kind, f"{_CRM}projects/{project.id}", resource, **more)
        for account in self.accounts.values():
            if account.unique_id not in self.unlisted:
                yield self._account_asset(account)
            for key in account.keys.values():
                full = f"{self._name(account)}/keys/{key.id}"
                told = self._key(account, key) if self.tells_key_types else None
                yield self._asset(account.project, "iam.googleapis.com/ServiceAccountKey", _IAM + full, told)
        yield from self.others

    def _account_asset(self, account: Account) -> Json:
        told = {"displayName": account.display_name, "description": account.description}
        told |= {"state": "DISABLED" if account.disabled else "ENABLED"}
        more = {"email": account.email, "uniqueId": account.unique_id}
        resource = self._account(account)
        kind, name = "iam.googleapis.com/ServiceAccount", _IAM + self._name(account)
        return self._asset(account.project, kind, name, resource, additionalAttributes=more, **told)

    @staticmethod
    def _asset(project: Project, kind: str, name: str, resource: Json | None, **told: Any) -> Json:
        place = {"project": project.number, "folders": list(project.folders), "organization": ORGANIZATION}
        versions = {} if resource is None else {"versionedResources": [{"version": "v1", "resource": resource}]}
        return {"name": name, "assetType": kind, **place, **versions, **{key: one for key, one in told.items() if one}}

    def _name(self, account: Account) -> str:
        last = account.email if self.named_by_email else account.unique_id
        return f"projects/{account.project.id}/serviceAccounts/{last}"

    @staticmethod
    def _account(account: Account) -> Json:
        name = f"projects/{account.project.id}/serviceAccounts/{account.email}"
        found: Json = {"name": name, "projectId": account.project.id, "email": account.email}
        found |= {"uniqueId": account.unique_id, "oauth2ClientId": account.unique_id}
        found |= {"displayName": account.display_name, "description": account.description, "disabled": account.disabled}
        return {key: value for key, value in found.items() if value}

    @staticmethod
    def _key(account: Account, key: Key) -> Json:
        name = f"projects/{account.project.id}/serviceAccounts/{account.email}/keys/{key.id}"
        found: Json = {"name": name, "validAfterTime": written(key.made_at), "validBeforeTime": written(key.ends_at)}
        found |= {"keyAlgorithm": "KEY_ALG_RSA_2048", "keyOrigin": "GOOGLE_PROVIDED", "keyType": key.kind}
        return found | ({"disabled": True} if key.disabled else {})

    @property
    def seen_until(self) -> datetime:
        """Up to when the activity analyser has looked."""
        return (self.now() - timedelta(days=2)).replace(hour=7, minute=0, second=0, microsecond=0)

    def _activities(self, method: Method, query: Mapping[str, str]) -> list[Json]:
        _, project, _, _, _, kind = method.path["parent"].split("/")
        wanted = re.search(r'fullResourceName="([^"]+)"', query.get("filter", ""))
        found = list(self._all_activities(project, kind))
        return [one for one in found if wanted is None or one["fullResourceName"] == wanted[1]]

    def _all_activities(self, project: str, kind: str) -> Iterator[Json]:
        for account in self._accounts_of(project):
            full = f"{_IAM}projects/{project}/serviceAccounts/{account.email}"
            who = {"serviceAccountId": account.unique_id, "projectNumber": account.project.number[9:]}
            if kind == "serviceAccountLastAuthentication":
                yield from self._activity(full, kind, "serviceAccount", who, account.last_used_at)
                continue
            for key in account.keys.values():
                name = f"{full}/keys/{key.id}"
                yield from self._activity(name, kind, "serviceAccountKey", who, key.last_used_at)

    def _accounts_of(self, project: str) -> list[Account]:
        if len(self.accounts) < 100:
            return [one for one in self.accounts.values() if project in (one.project.id, one.project.number[9:])]
        if not hasattr(self, "_by_project"):
            self._by_project: dict[str, list[Account]] = {}
            for one in self.accounts.values():
                self._by_project.setdefault(one.project.id, []).append(one)
        return self._by_project.get(project, [])

    def _activity(self, full: str, kind: str, what: str, who: Json, at: datetime | None) -> Iterator[Json]:
        end = self.seen_until
        if at is None or at >= end:
            return
        day = at.replace(hour=7, minute=0, second=0, microsecond=0)
        yield {
            "fullResourceName": full,
            "activityType": kind,
            "observationPeriod": {"startTime": written(end - timedelta(days=500)), "endTime": written(end)},
            "activity": {"lastAuthenticatedTime": written(day), what: {**who, "fullResourceName": full}},
        }

    def _entries(self, body: Json) -> Iterator[Json]:
        names, told = body["resourceNames"], body["filter"]
        if len(names) > 100:
            raise Answer(400, "at most 100 resources")
        methods = set(re.findall(r'"(google\.[\w.]+)"', told))
        since = cast("re.Match[str]", re.search(r'timestamp>="([^"]+)"', told))[1]
        until = re.search(r'timestamp<"([^"]+)"', told)
        by = re.search(r'principalEmail[:=]"([^"]+)"', told)
        with_key = re.search(r'serviceAccountKeyName:"([^"]+)"', told)
        acted_as = re.search(r'iamcredentials.*unique_id="(\d+)"', told)
        every: list[Json] = []
        for name in names:
            project = self.projects.get(name.removeprefix("projects/"))
            every += project.entries if project else self.organization_entries if name == ORGANIZATION else []
        newest_first = body.get("orderBy") == "timestamp desc"
        for entry in sorted(every, key=lambda one: str(one["timestamp"]), reverse=newest_first):
            if not since <= entry["timestamp"] < (until[1] if until else "9999"):
                continue
            payload = entry["protoPayload"]
            caller = payload.get("authenticationInfo", {})  # what Workspace writes down may have none
            used = (by and str(caller.get("principalEmail", "")).endswith(by[1])) or (
                with_key and with_key[1] in caller.get("serviceAccountKeyName", "")
            )
            if acted_as and payload["serviceName"] == "iamcredentials.googleapis.com":
                used = used or entry["resource"]["labels"].get("unique_id") == acted_as[1]
            if used or entry["protoPayload"]["methodName"] in methods:
                yield entry

    def _series(self, method: Method, query: Mapping[str, str]) -> list[Json]:
        told = query["filter"]
        account = self._find(cast("re.Match[str]", re.search(r'unique_id="(\d+)"', told))[1])
        key = re.search(r'key_id="(\w+)"', told)
        used = account.keys[key[1]].last_used_at if key else account.last_used_at
        if used is None or not query["interval.startTime"] <= written(used) <= query["interval.endTime"]:
            return []
        interval = {"startTime": written(used), "endTime": written(used)}
        return [{"points": [{"interval": interval, "value": {"int64Value": "3"}}]}]

    def _deny_policies(self, method: Method, query: Sequence[tuple[str, str]]) -> Json:
        place, _, name = unquote(method.path.get("parent") or method.path["name"]).partition("/denypolicies")
        hanging = self.denials.get("/".join(place.split("/")[2:]), [])
        if method.id.endswith("listPolicies"):
            told = [{key: one[key] for key in ("name", "kind")} for one in hanging]
            return self._paged(method, query, told, "policies")
        return next(one for one in hanging if one["name"].endswith(name))

    def _iam(self, method: Method, verb: str) -> Json:
        if verb == "create":
            return self._make_key(self._find(method.path["name"].split("/")[3]))
        pieces = method.path["name"].split("/")
        account = self._find(pieces[3])
        if method.id.endswith("keys.list"):
            return {"keys": [self._key(account, key) for key in account.keys.values() if key.kind == "USER_MANAGED"]}
        key = account.keys.get(pieces[5]) if len(pieces) > 5 else None
        if len(pieces) > 5 and key is None:
            raise Answer(404, "no such key")
        subject: Account | Key = key or account
        if verb in ("disable", "enable"):
            self._stale[method.path["name"]] = (self.update_lag, subject.disabled)
            subject.disabled = verb == "disable"
            return {}
        found = self._key(account, key) if key else self._account(account)
        return self._as_read(method.path["name"], found)

    def _make_key(self, account: Account) -> Json:
        key = self.add_key(account, made_at=self.now(), by=self.acts_as)
        told = self._key(account, key)
        account.project.entries[-1]["protoPayload"]["response"]["name"] = told["name"]
        private = f"-----BEGIN PRIVATE KEY-----\n{key.id[::-1]}\n-----END PRIVATE KEY-----\n"
        self.private_keys[key.id] = private
        document = {"type": "service_account", "private_key_id": key.id, "private_key": private}
        data = base64.b64encode(json.dumps(document).encode()).decode()
        return told | {"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "privateKeyData": data}

    def _secretmanager(self, path: Mapping[str, str], verb: str, query: Mapping[str, str], body: Any) -> Json:
        name, _, version = (path.get("name") or path["parent"]).partition("/versions/")
        if verb == "create":
            return self._make_secret(f"{name}/secrets/{query['secretId']}", body)
        found = self.secrets.get(name)
        if found is None:
            raise Answer(404, "no such secret")
        if verb == "addVersion":
            about = {"name": f"{name}/versions/{len(found.versions) + 1}", "state": "ENABLED"}
            found.versions.append(about | {"createTime": written(self.now())})
            found.payloads.append(base64.b64decode(body["payload"]["data"]))
            return found.versions[-1]
        if verb == "patch":
            if body["etag"] != found.about["etag"]:
                raise Answer(400, "the secret changed meanwhile")
            found.about |= {query["updateMask"]: body[query["updateMask"]], "etag": f'"{len(self.asked)}"'}
            return found.about
        if not version:
            return found.about
        number = self._numbered(found, version)
        if not number:
            raise Answer(404, "no such version")
        if verb == "disable":
            found.versions[number - 1]["state"] = "DISABLED"
        return found.versions[number - 1]

    def _make_secret(self, name: str, body: Json) -> Json:
        if not re.fullmatch(r"projects/[^/]+/secrets/[A-Za-z0-9_-]{1,255}", name):
            raise Answer(400, "no name of a secret")
        if name in self.secrets:
            raise Answer(409, "it is there already")
        self.secrets[name] = Secret({"name": name, "createTime": written(self.now()), "etag": '"0"', **body})
        return self.secrets[name].about

    @staticmethod
    def _numbered(secret: Secret, version: str) -> int:
        """Return a version's number; 0: there is none such. `latest` is the newest, whatever its state."""
        told = secret.about.get("versionAliases", {}).get(version, version)
        number = len(secret.versions) if told == "latest" else int(told) if told.isdigit() else 0
        return number if number <= len(secret.versions) else 0

    def _as_read(self, name: str, found: Json) -> Json:
        left, was = self._stale.get(name, (0, False))
        if left:
            self._stale[name] = (left - 1, was)
            return {key: value for key, value in found.items() if key != "disabled"} | (
                {"disabled": True} if was else {}
            )
        return found

    def _find(self, name: str) -> Account:
        found = self.accounts.get(name) or next((one for one in self.accounts.values() if one.email == name), None)
        if found is None:
            raise Answer(404, "no such account")
        return found

    # How it is reached

    def handle(self, http_method: str, address: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer one request: status, headers, body."""
        parts = urlsplit(address)
        host, _, path = parts.path.lstrip("/").partition("/")
        query, body = parse_qsl(parts.query, keep_blank_values=True), json.loads(sent) if sent else None
        method = gcp_discovery.find(host, http_method, path)
        if method is None:
            self.violations.append(f"Google has no {http_method} {host}/{path}")
            return 404, {}, b""
        if self.latency:
            time.sleep(self.latency)
        with self._lock:
            status, headers, answer = self._answered(method, path, query, body)
            self.asked.append(Asked(method.id, path, tuple(query), body, status))
        return status, headers, answer

    def _answered(self, method: Method, path: str, query: Any, body: Any) -> tuple[int, dict[str, str], bytes]:
        if self.checked and (wrong := gcp_discovery.wrong_with_request(method, query, body)):
            self.violations += wrong
        token = dict(query).get("pageToken") or (body or {}).get("pageToken") or ""
        place = f"{path}/ {json.dumps(body)}"
        if self._is_too_fast():
            return 429, {"Retry-After": "1"}, json.dumps(Answer(429, "slower").body).encode()
        fault = next((one for one in self.faults if one.takes(method.id, place, 2 if token else 1)), None)
        if fault is not None:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            if fault.lost:
                self.answer(method, query, body)
            if fault.raw is not None:
                return fault.status, headers, fault.raw
            return fault.status, headers, json.dumps(Answer(fault.status, "refused", reason=fault.reason).body).encode()
        try:
            answer = self.answer(method, query, body)
        except Answer as error:
            return error.status, {}, json.dumps(error.body).encode()
        if self.checked:
            self.violations += gcp_discovery.wrong_with_answer(method, answer)
        return 200, {}, json.dumps(answer).encode()

    def _is_too_fast(self) -> bool:
        if self.throttle is None:
            return False
        now = time.monotonic()
        self._tokens = min(self.throttle, self._tokens + (now - self._refilled) * self.throttle)
        self._refilled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Google:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Google:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None and self.violations:
            raise AssertionError("\n".join(dict.fromkeys(self.violations)))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def _handler(google: Google) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20  # headers and body go out together
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = google.handle(self.command, self.path, sent)
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                **headers,
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815  # as http.server names them

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(google.now(), usegmt=True)

        def log_message(self, *_: object) -> None:
            """Say nothing: tests look at `asked`."""

    return Handler
