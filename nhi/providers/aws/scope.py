"""What one act's session may do: its own calls, on the one thing that it is about. Pure.

The remediator's role is taken anew for each act, with a session policy. AWS lets a session do only what the role and
this policy both allow: a fault of ours, in the middle of an act, reaches one ARN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nhi.providers import Target
from nhi.providers.aws import audible, roles
from nhi.providers.aws.calls import Scope
from nhi.rotation import Place

ACTIONS: Mapping[str, Sequence[str]] = {
    "access_key": ("iam:UpdateAccessKey",),
    "service_specific_credential": ("iam:UpdateServiceSpecificCredential",),
    "console_password": ("iam:PutUserPolicy", "iam:DeleteUserPolicy"),
    "role": ("iam:PutRolePolicy", "iam:DeleteRolePolicy"),
    roles.SESSIONS: ("iam:PutRolePolicy", "iam:DeleteRolePolicy"),
    audible.DENIED_KEY: ("iam:PutUserPolicy", "iam:DeleteUserPolicy"),
}
SECRETS = (
    *("secretsmanager:DescribeSecret", "secretsmanager:CreateSecret", "secretsmanager:TagResource"),
    *("secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage", "secretsmanager:RotateSecret"),
)
KMS = ("kms:GenerateDataKey", "kms:Decrypt")  # that Secrets Manager asks for in our name, under a key of one's own
VIA_SECRETS = {"StringLike": {"kms:ViaService": "secretsmanager.*.amazonaws.com"}}


# A session that may do nothing: to see that a role can be taken.
NOTHING = Scope(
    name="nhi-doctor",
    policy='{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}',
)


def of_act(target: Target) -> Scope:
    """Return the session of turning one credential off or on."""
    return _scope(target, _allow(ACTIONS.get(target.credential_kind, ()), identity_arn(target)))


def of_rotation(target: Target, place: Place) -> Scope:
    """Return the session of one rotation: one user's new key, one secret."""
    return _scope(
        target,
        _allow(("iam:CreateAccessKey",), identity_arn(target)),
        _allow(SECRETS, secret_arn(place)),
        _allow(KMS, "*") | {"Condition": VIA_SECRETS},
    )


def session_name(about: str) -> str:
    """Return the name under which CloudTrail shows an act: `nhi-` and what it is about."""
    return ("nhi-" + re.sub(r"[^A-Za-z0-9=,.@_-]", "-", about))[:64]


def identity_arn(target: Target) -> str:
    """Return the ARN that IAM knows the target's user or role by; its path is in the principal."""
    kind = "role" if target.credential_kind in ("role", roles.SESSIONS) else "user"
    return target.principal or f"arn:aws:iam::{target.account}:{kind}/{target.identity_name}"


def secret_arn(place: Place) -> str:
    """Return the ARN of a secret, of which six characters are made up by AWS."""
    if place.secret.startswith("arn:"):
        return place.secret
    return f"arn:*:secretsmanager:{place.region or '*'}:*:secret:{place.secret}-??????"


def _scope(target: Target, *statements: Mapping[str, Any]) -> Scope:
    """Return the scope as STS takes it, in at most 2,048 characters."""
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    return Scope(name=session_name(target.identity_name), policy=json.dumps(policy, separators=(",", ":")))


def _allow(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}
