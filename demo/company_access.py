"""What the sample company's identities may do, who may become them, and what they really use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from demo.cloud import Cloud

Json = Mapping[str, Any]
_AWS = "arn:aws:iam::aws:policy/"
_SUPPLIER = "arn:aws:iam::444455556666:root"


def service(name: str) -> Json:
    return {"Principal": {"Service": f"{name}.amazonaws.com"}}


def _allow(*actions: str, on: str = "*") -> Json:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on}


@dataclass(frozen=True, kw_only=True)
class May:
    """What one identity may do, and the services that it reached lately."""

    trust: Json | None = None
    attached: tuple[str, ...] = ()  # AWS's own policies
    inline: tuple[Json, ...] = ()
    reached: tuple[str, ...] = ()
    reachable: tuple[str, ...] = ()  # what AWS lists besides


MAY: Mapping[str, May] = {
    "lambda-thumbnails": May(
        trust=service("lambda"),
        inline=(_allow("s3:GetObject", "s3:PutObject", on="arn:aws:s3:::harbour-images/*"),),
        reached=("s3",),
    ),
    "lambda-receipts": May(
        trust=service("lambda"), inline=(_allow("dynamodb:PutItem", on="arn:aws:dynamodb:*:*:table/receipts"),)
    ),
    "support-impersonation": May(
        trust={"Principal": {"AWS": _SUPPLIER}, "Condition": {"StringEquals": {"sts:ExternalId": "harbour"}}},
        attached=("PowerUserAccess",),
        reached=("s3", "dynamodb", "logs"),
        reachable=("ec2", "lambda", "secretsmanager", "kms", "sts", "iam"),
    ),
    "github-actions-deploy": May(
        trust={
            "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringLike": {"token.actions.githubusercontent.com:sub": "repo:harbour/site:ref:refs/heads/main"}
            },
        },
        inline=(_allow("s3:PutObject", on="arn:aws:s3:::harbour-site/*"), _allow("cloudfront:CreateInvalidation")),
        reached=("s3", "cloudfront"),
    ),
    "glue-crawler": May(trust=service("glue"), inline=(_allow("s3:GetObject", on="arn:aws:s3:::harbour-lake/*"),)),
    "eks-node-group": May(trust=service("ec2"), attached=("ReadOnlyAccess",)),
}


def trust_of(name: str) -> Json | None:
    may = MAY.get(name)
    return may.trust if may else None


def grant(cloud: Cloud, now: datetime) -> None:
    """Give everybody what they may do, and say what they reached an hour ago."""
    for name, may in MAY.items():
        is_role = any(role.name == name for role in cloud.iam.roles.values())
        to: dict[str, Any] = {"role": name} if is_role else {"user": name}
        for policy in may.attached:
            cloud.attach(_AWS + policy, **to)
        if may.inline:
            cloud.put_policy("own", *may.inline, **to)
        for reached in may.reached:
            cloud.acts.reached[name, reached] = now - timedelta(hours=6)
        cloud.acts.reachable[name] = {*may.reached, *may.reachable}
