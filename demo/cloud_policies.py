"""What the stand-in cloud says of AWS's own policies: which are attached, and what a few of them allow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Response

from demo.cloud_faults import Asked, refuse
from demo.cloud_shapes import answer_of, marker, next_page

_PREFIX = "arn:aws:iam::aws:policy/"


def _allowing(*actions: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


DOCUMENTS: dict[str, dict[str, Any]] = {  # cut down to what tells them apart
    "AdministratorAccess": _allowing("*"),
    "PowerUserAccess": {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
            {"Effect": "Allow", "Action": ["iam:CreateServiceLinkedRole", "iam:ListRoles"], "Resource": "*"},
        ],
    },
    "IAMFullAccess": _allowing("iam:*", "organizations:DescribeAccount"),
    "ReadOnlyAccess": _allowing("s3:Get*", "s3:List*", "ec2:Describe*", "dynamodb:GetItem", "iam:Get*"),
    "AmazonS3FullAccess": _allowing("s3:*", "s3-object-lambda:*"),
    "AmazonDynamoDBFullAccess": _allowing("dynamodb:*", "cloudwatch:GetMetricData", "iam:PassRole"),
    "SecretsManagerReadWrite": _allowing("secretsmanager:*", "kms:ListKeys", "lambda:CreateFunction"),
}


def answer(asked: Asked, iam: Any) -> Response | None:
    """Return this part's answer; None: it has none."""
    match asked.action:
        case "iam:ListPolicies" if asked.parameters.get("Scope") == "AWS":
            others = () if asked.parameters.get("OnlyAttached") == "true" else (_PREFIX + name for name in DOCUMENTS)
            found = [_summary(arn) for arn in sorted(_attached(iam).union(others))]
            size, first = int(asked.parameters.get("MaxItems", 100)), marker(asked)
            body = {"Policies": found[first : first + size], **next_page(first + size, len(found))}
            return answer_of("ListPolicies", body)
        case "iam:GetPolicyVersion" if asked.parameters["PolicyArn"].startswith(_PREFIX):
            document = DOCUMENTS.get(asked.parameters["PolicyArn"].removeprefix(_PREFIX))
            if document is None:
                return refuse(asked, 404, "NoSuchEntity")
            version = {"Document": quote(json.dumps(document)), "VersionId": "v1", "IsDefaultVersion": "true"}
            return answer_of("GetPolicyVersion", {"PolicyVersion": version})
        case _:
            return None


def _attached(iam: Any) -> set[str]:
    everybody: Iterable[Any] = (*iam.users.values(), *iam.roles.values(), *iam.groups.values())
    return {arn for one in everybody for arn in one.managed_policies if arn.startswith(_PREFIX)}


def _summary(arn: str) -> dict[str, str]:
    return {"Arn": arn, "PolicyName": arn.rpartition("/")[2], "DefaultVersionId": "v1", "IsAttachable": "true"}
