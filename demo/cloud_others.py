"""What the stand-in cloud says of secrets, Roles Anywhere, Identity Center, and what runs as which role, by region."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Response

from demo.cloud_faults import Asked
from demo.cloud_shapes import iso

Json = dict[str, Any]

# The field of each list, and of its next page in the answer and in the question.
LISTS = {
    "secretsmanager:ListSecrets": ("SecretList", "NextToken", "NextToken"),
    "rolesanywhere:ListTrustAnchors": ("trustAnchors", "nextToken", "nextToken"),
    "rolesanywhere:ListSubjects": ("subjects", "nextToken", "nextToken"),
    "sso:ListInstances": ("Instances", "NextToken", "NextToken"),
    "sso:ListApplications": ("Applications", "NextToken", "NextToken"),
    "sso:ListPermissionSets": ("PermissionSets", "NextToken", "NextToken"),
    "lambda:ListFunctions": ("Functions", "NextMarker", "Marker"),
    "codebuild:ListProjects": ("projects", "nextToken", "nextToken"),
    "access-analyzer:ListFindingsV2": ("findings", "nextToken", "nextToken"),
    "ecr:DescribeRepositoryCreationTemplates": ("repositoryCreationTemplates", "nextToken", "nextToken"),
}


INSTANCE = "arn:aws:sso:::instance/ssoins-0123456789abcdef"
_OF_SETS = (
    *("DescribePermissionSet", "ListManagedPoliciesInPermissionSet", "GetInlinePolicyForPermissionSet"),
    *("ListCustomerManagedPolicyReferencesInPermissionSet", "GetPermissionsBoundaryForPermissionSet"),
    *("ListTagsForResource", "ListAccountsForProvisionedPermissionSet", "ListAccountAssignments"),
)
OF_CENTER = frozenset(
    {f"sso:{name}" for name in _OF_SETS} | {"identitystore:DescribeGroup", "identitystore:DescribeUser"}
)


@dataclass
class Others:
    """The part of an account's state that lies in regions. Set it from the outside."""

    account: str
    listed: dict[tuple[str, str], list[Any]] = field(default_factory=lambda: defaultdict(list))  # by action and region
    builds: dict[str, Json] = field(default_factory=dict)  # CodeBuild's projects, by name
    analyzed: dict[str, Json] = field(default_factory=dict)  # findings of Access Analyzer, by id
    sets: dict[str, Json] = field(default_factory=dict)  # Identity Center's permission sets, by ARN
    called: dict[str, str] = field(default_factory=dict)  # its groups and people, by id
    page: int = 100  # items a page

    def add_secret(
        self, name: str, *, made_at: datetime, used_at: datetime | None = None, region: str = "eu-west-1", **more: Any
    ) -> str:
        arn = f"arn:aws:secretsmanager:{region}:{self.account}:secret:{name}-AbCdEf"
        times = {
            "CreatedDate": made_at,
            "LastChangedDate": more.pop("changed_at", made_at),
            "LastAccessedDate": used_at,
        }
        told = {key: at.timestamp() for key, at in times.items() if at is not None}
        self.listed["secretsmanager:ListSecrets", region].append({"ARN": arn, "Name": name, **told, **more})
        return arn

    def add_subject(self, name: str, *, made_at: datetime, seen_at: datetime, region: str = "eu-west-1") -> str:
        arn = f"arn:aws:rolesanywhere:{region}:{self.account}:subject/{name}"
        told = {"subjectArn": arn, "subjectId": name, "x509Subject": f"CN={name}", "enabled": True}
        times = {"createdAt": iso(made_at), "lastSeenAt": iso(seen_at)}
        self.listed["rolesanywhere:ListSubjects", region].append(told | times)
        return arn

    def add_anchor(self, name: str, *, made_at: datetime, region: str = "eu-west-1") -> None:
        arn = f"arn:aws:rolesanywhere:{region}:{self.account}:trust-anchor/{name}"
        told = {"trustAnchorArn": arn, "trustAnchorId": name, "name": name, "enabled": True, "createdAt": iso(made_at)}
        source = {"sourceType": "CERTIFICATE_BUNDLE"}
        self.listed["rolesanywhere:ListTrustAnchors", region].append(told | {"source": source})

    def add_application(self, name: str, *, made_at: datetime, region: str = "eu-west-1", custom: bool = True) -> None:
        self._open_center(region)
        provider = "arn:aws:sso::aws:applicationProvider/" + ("custom" if custom else "catalog")
        arn = f"arn:aws:sso::{self.account}:application/ssoins-0123456789abcdef/{name}"
        told = {"ApplicationArn": arn, "ApplicationProviderArn": provider, "Name": name, "Status": "ENABLED"}
        self.listed["sso:ListApplications", region].append(told | {"CreatedDate": made_at.timestamp()})

    def _open_center(self, region: str) -> None:
        about = {"InstanceArn": INSTANCE, "IdentityStoreId": "d-0123456789", "OwnerAccountId": self.account}
        self.listed["sso:ListInstances", region] = [about]

    def add_permission_set(
        self, name: str, *, made_at: datetime, region: str = "eu-west-1", inline: Json | None = None, **more: Any
    ) -> str:
        """Add a permission set; `more` are its `managed`, `customer`, `boundary`, `tags` and `assigned`.

        `assigned` are pairs of an account and whom: ("111122223333", "GROUP/1234").
        """
        self._open_center(region)
        arn = f"arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-{len(self.sets):016}"
        about = {"Name": name, "PermissionSetArn": arn, "CreatedDate": made_at.timestamp(), "SessionDuration": "PT8H"}
        self.sets[arn] = {"about": about, "inline": json.dumps(inline) if inline else "", **more}
        self.listed["sso:ListPermissionSets", region].append(arn)
        return arn

    def _of_center(self, action: str, told: Json) -> Response:
        """Answer what is asked of one permission set, or of whom it is assigned to."""
        if action.startswith("identitystore:"):
            name = self.called[told.get("GroupId") or told["UserId"]]
            return _json({"DisplayName": name} if "GroupId" in told else {"UserName": name})
        found = self.sets[told.get("PermissionSetArn") or told["ResourceArn"]]
        assigned = found.get("assigned", ())
        match action.partition(":")[2]:
            case "DescribePermissionSet":
                return _json({"PermissionSet": found["about"]})
            case "ListManagedPoliciesInPermissionSet":
                arns = [{"Name": one.rpartition("/")[2], "Arn": one} for one in found.get("managed", ())]
                return _json({"AttachedManagedPolicies": arns})
            case "ListCustomerManagedPolicyReferencesInPermissionSet":
                named = [{"Name": one, "Path": "/"} for one in found.get("customer", ())]
                return _json({"CustomerManagedPolicyReferences": named})
            case "GetInlinePolicyForPermissionSet":
                return _json({"InlinePolicy": found["inline"]})
            case "GetPermissionsBoundaryForPermissionSet" if "boundary" not in found:
                body = {"__type": "ResourceNotFoundException", "Message": "none"}
                return Response(json.dumps(body), status=400, mimetype="application/x-amz-json-1.1")
            case "GetPermissionsBoundaryForPermissionSet":
                return _json({"PermissionsBoundary": found["boundary"]})
            case "ListTagsForResource":
                return _json({"Tags": [{"Key": key, "Value": value} for key, value in found.get("tags", {}).items()]})
            case "ListAccountsForProvisionedPermissionSet":
                return _json({"AccountIds": sorted({account for account, _ in assigned})})
            case _:
                whom = [who.split("/") for account, who in assigned if account == told["AccountId"]]
                return _json(
                    {"AccountAssignments": [{"PrincipalType": kind, "PrincipalId": one} for kind, one in whom]}
                )

    def add_function(self, name: str, role_arn: str, *, region: str = "eu-west-1") -> None:
        self.listed["lambda:ListFunctions", region].append({"FunctionName": name, "Role": role_arn})

    def add_build(self, name: str, role_arn: str, *, region: str = "eu-west-1") -> None:
        self.listed["codebuild:ListProjects", region].append(name)
        self.builds[name] = {"name": name, "serviceRole": role_arn}

    def add_unused(
        self, resource: str, *services: str, actions: tuple[str, ...] = (), at: datetime, region: str = "eu-west-1"
    ) -> None:
        """Let Access Analyzer say which services an identity does not use, and which actions of one that it does."""
        number = f"finding-{len(self.analyzed)}"
        common = {"id": number, "resource": resource, "resourceType": "AWS::IAM::Role", "status": "ACTIVE"}
        times = {"analyzedAt": iso(at), "createdAt": iso(at), "updatedAt": iso(at)}
        told = common | times | {"findingType": "UnusedPermission", "resourceOwnerAccount": self.account}
        self.listed["access-analyzer:ListFindingsV2", region].append(told)
        details: list[Json] = [{"serviceNamespace": one} for one in services]
        for service in sorted({action.partition(":")[0] for action in actions}):
            mine = [{"action": action.partition(":")[2]} for action in actions if action.startswith(f"{service}:")]
            details.append({"serviceNamespace": service, "actions": mine})
        self.analyzed[number] = told | {"findingDetails": [{"unusedPermissionDetails": one} for one in details]}

    def add_template(self, prefix: str, role_arn: str, *, region: str = "eu-west-1") -> None:
        told = {"prefix": prefix, "customRoleArn": role_arn}
        self.listed["ecr:DescribeRepositoryCreationTemplates", region].append(told)

    def answer(self, asked: Asked) -> Response | None:
        """Return this part's answer; None: it has none."""
        if asked.action == "codebuild:BatchGetProjects":
            names = json.loads(asked.parameters["body"])["names"]
            return _json({"projects": [self.builds[name] for name in names if name in self.builds]})
        if asked.action == "access-analyzer:GetFindingV2":
            return _json(self.analyzed[asked.parameters["id"]])
        if asked.action in OF_CENTER:
            return self._of_center(asked.action, json.loads(asked.parameters["body"]))
        if asked.action not in LISTS:
            return None
        name, following, ask = LISTS[asked.action]
        told = json.loads(asked.parameters.get("body") or "{}") | asked.parameters
        first = int(told.get(ask) or 0)
        every = self.listed[asked.action, asked.region]
        more = {following: str(first + self.page)} if first + self.page < len(every) else {}
        return _json({name: every[first : first + self.page], **more})


def _json(body: Json) -> Response:
    return Response(json.dumps(body), mimetype="application/x-amz-json-1.1")
