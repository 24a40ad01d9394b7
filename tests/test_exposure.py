"""Which trust lets strangers in, and which names somebody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from nhi.exposure import exposed
from nhi.finding import Severity
from nhi.identity import Access, Custody, Identity, Trust, TrustKind

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
POOL = "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/gh"
GITHUB = "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com"
TFC = "app.terraform.io"
TERRAFORM = f"arn:aws:iam::111111111111:oidc-provider/{TFC}"
SUB, AUD = "token.actions.githubusercontent.com:sub", "token.actions.githubusercontent.com:aud"


def trusting(who: str, kind: TrustKind, condition: Any = None, **changes: Any) -> Identity:
    text = condition if isinstance(condition, str) else json.dumps(condition) if condition else ""
    trust = Trust(who=who, kind=kind, outside=True, condition=text)
    values: dict[str, Any] = {
        "provider": "aws",
        "kind": "iam_role",
        "account": "111111111111",
        "key": "AROA1",
        "name": "deploy",
        "principal": "arn:aws:iam::111111111111:role/deploy",
        "custody": Custody.NOBODY,
        "created_at": None,
        "last_used_at": None,
        "access": Access(trust=(trust,)),
    }
    return Identity(**(values | changes))


@pytest.mark.parametrize(
    ("who", "kind", "condition", "is_open"),
    [
        ("*", TrustKind.ANYONE, None, True),
        ("*", TrustKind.ANYONE, {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ("*", TrustKind.ANYONE, {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ("*", TrustKind.ANYONE, {"Bool": {"aws:SecureTransport": "true"}}, True),
        ("allUsers", TrustKind.ANYONE, "", True),
        (GITHUB, TrustKind.FEDERATED, None, True),
        (GITHUB, TrustKind.FEDERATED, {"StringEquals": {AUD: "sts.amazonaws.com"}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: "repo:*"}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: ["repo:harbour/site:*"]}}, False),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: ["repo:harbour/site:*", "repo:*/site:*"]}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: "repo:*/*:ref:refs/heads/main"}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: "repo:harbour*"}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: "repo:?*"}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringLike": {SUB: "**"}}, True),
        (GITHUB, TrustKind.FEDERATED, {"StringEquals": {SUB: "repo:harbour/site:ref:refs/heads/main"}}, False),
        (TERRAFORM, TrustKind.FEDERATED, {"StringLike": {f"{TFC}:sub": "organization:*:project:x:*"}}, True),
        (TERRAFORM, TrustKind.FEDERATED, {"StringLike": {f"{TFC}:sub": "organization:harbour:*"}}, False),
        ("*", TrustKind.ANYONE, {"StringLike": {"aws:PrincipalArn": "*"}}, True),
        ("*", TrustKind.ANYONE, {"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, True),
        ("*", TrustKind.ANYONE, {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/*"}}, False),
        ("*", TrustKind.ANYONE, {"StringLike": {"sts:ExternalId": "*"}}, True),
        ("*", TrustKind.ANYONE, {"StringEquals": {"sts:ExternalId": "*"}}, False),
        ("*", TrustKind.ANYONE, {"StringEqualsIfExists": {"sts:ExternalId": "a1b2"}}, True),
        ("*", TrustKind.ANYONE, {"ForAllValues:StringLike": {"aws:PrincipalOrgPaths": "o-1/*"}}, True),
        ("*", TrustKind.ANYONE, {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-1/*"}}, False),
        ("*", TrustKind.ANYONE, {"StringLike": {"aws:SourceArn": "arn:aws:s3:::*"}}, True),
        ("arn:aws:iam::1:oidc-provider/idp.example.com", TrustKind.FEDERATED, None, False),
        ("arn:aws:iam::1:saml-provider/okta", TrustKind.FEDERATED, None, False),
        (
            f"{POOL}/*",
            TrustKind.FEDERATED,
            "",
            True,
        ),
        (f"{POOL}/attribute.repository/a/b", TrustKind.FEDERATED, "", False),
        ("arn:aws:iam::444455556666:root", TrustKind.IDENTITY, None, False),
        ("lambda.amazonaws.com", TrustKind.SERVICE, None, False),
        ("*", TrustKind.ANYONE, "not json", True),
    ],
)
def test_trust_that_names_nobody_in_particular_is_exposed(
    who: str, kind: TrustKind, condition: Any, is_open: bool
) -> None:
    found = list(exposed(trusting(who, kind, condition), NOW))
    assert bool(found) is is_open
    for finding in found:
        assert (finding.owasp, finding.severity) == ("NHI6", Severity.HIGH)


def test_an_administrator_whom_strangers_can_become_is_critical() -> None:
    (finding,) = exposed(trusting("*", TrustKind.ANYONE, privileged=True), NOW)
    assert finding.severity is Severity.CRITICAL
    assert "Strangers can become it: it trusts everybody (*)." in finding.why
