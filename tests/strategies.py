"""What hypothesis draws for tests, and the plain values that examples are written with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from nhi.identity import (
    Aspect,
    Coverage,
    Credential,
    CredentialStatus,
    Custody,
    Evidence,
    Gap,
    Identity,
    scope_of,
)
from nhi.policy import NEVER, Policy, Rules
from nhi.preflight import Limits, Look, Plan
from tests.factories import ACCOUNT, NOW

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)  # the least that a boundary can be missed by
KEY = "access_key/2026-01-31T09:00:00Z"


def ago(days: float, now: datetime = NOW) -> datetime:
    return now - timedelta(days=days)


def a_key(**changes: Any) -> Credential:
    """Return an active access key, made 300 days ago, never used, whose use is seen up to the scan."""
    values: dict[str, Any] = {
        "key": KEY,
        "kind": "access_key",
        "external_id": "AKIAIOSFODNN7EXAMPLE",
        "status": CredentialStatus.ACTIVE,
        "custody": Custody.OURS,
        "created_at": ago(300),
        "rotated_at": ago(300),
        "last_used_at": None,
        "coverage": Coverage(says="IAM sees every request signed with a key."),
    }
    return Credential(**(values | changes))


def a_user(*credentials: Credential, **changes: Any) -> Identity:
    """Return an IAM user made 400 days ago, with these credentials."""
    values: dict[str, Any] = {
        "provider": "aws",
        "kind": "iam_user",
        "account": ACCOUNT,
        "key": "AIDAEXAMPLE",
        "name": "ci-deploy",
        "principal": f"arn:aws:iam::{ACCOUNT}:user/ci-deploy",
        "custody": Custody.OURS,
        "created_at": ago(400),
        "last_used_at": None,
    }
    return Identity(**(values | changes), credentials=credentials)


def a_role(**changes: Any) -> Identity:
    """Return an IAM role made 800 days ago, never assumed in the 400 days that AWS remembers."""
    values: dict[str, Any] = {
        "kind": "iam_role",
        "key": "AROAEXAMPLE",
        "principal": f"arn:aws:iam::{ACCOUNT}:role/ci-deploy",
        "custody": Custody.NOBODY,
        "created_at": ago(800),
        "coverage": Coverage(says="AWS keeps a role's last use for 400 days.", seen_from=ago(400)),
    }
    return a_user(**(values | changes))


def a_gap(*hides: Aspect, scope: str | None = None) -> Gap:
    """Return a gap over everything in the account, or over `scope`."""
    return Gap(
        scope=scope or scope_of("aws", ACCOUNT), reason="AccessDenied: iam:ListAccessKeys", hides=frozenset(hides)
    )


def a_fact(source: str = "tag", points_to: str = "ana@example.com", at: datetime | None = None) -> Evidence:
    return Evidence(
        source=source, fact=f"{source}: {points_to}", points_to=points_to, at=at, identity_key="AIDAEXAMPLE"
    )


# -- for hypothesis ----------------------------------------------------------------------------------------------------

MOMENTS = st.integers(min_value=0, max_value=14 * 365 * 86_400).map(
    lambda seconds: datetime(2014, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
SPANS = st.one_of(
    st.integers(min_value=1, max_value=3000).map(lambda hours: timedelta(hours=hours)),
    st.integers(min_value=1, max_value=999).map(lambda days: timedelta(days=days)),
)
MAYBE = st.none() | MOMENTS

# What people and clouds write where we expect a name: mark-up, bidi controls, NUL, lone surrogates, and far too much.
HOSTILE_TEXTS = st.one_of(
    st.text(st.characters(), max_size=40),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lu"]), max_size=20),
    st.sampled_from(
        [
            "<!channel>",
            "<@UANA>",
            "*_`~",
            "\u202eetirw\u202c",
            "a\0b",
            "\ud800",
            "'; DROP TABLE identity; --",
            "%",
            "_",
            "\\",
            "x" * 10_000,
            "line\nline",
        ]
    ),
)

COVERAGES = st.builds(Coverage, says=st.just("What the provider sees."), seen_from=MAYBE, seen_until=MAYBE)

CREDENTIALS = st.builds(
    Credential,
    key=st.sampled_from(["access_key/1", "access_key/2", "password", "service_specific_credential/1"]),
    kind=st.sampled_from(["access_key", "console_password", "service_specific_credential"]),
    external_id=st.none() | st.just("AKIAIOSFODNN7EXAMPLE"),
    status=st.sampled_from(CredentialStatus),
    custody=st.sampled_from(Custody),
    created_at=MAYBE,
    rotated_at=MAYBE,
    last_used_at=MAYBE,
    last_used_service=st.none() | st.just("s3"),
    use_gap=st.none() | st.just("AccessDenied: iam:GetAccessKeyLastUsed"),
    coverage=COVERAGES,
)

IDENTITIES = st.builds(
    Identity,
    provider=st.just("aws"),
    kind=st.sampled_from(["iam_user", "iam_role"]),
    account=st.just(ACCOUNT),
    key=st.sampled_from([f"AIDA{number}" for number in range(6)]),
    name=st.sampled_from(["ci", "ci-deploy", "backup", "ci/deploy"]),
    principal=st.just("arn:aws:iam::123456789012:user/x"),
    custody=st.sampled_from(Custody),
    created_at=MAYBE,
    last_used_at=MAYBE,
    use_gap=st.none() | st.just("AccessDenied"),
    tags=st.just({}),
    credentials=st.lists(CREDENTIALS, max_size=3, unique_by=lambda credential: credential.key).map(tuple),
    privileged=st.booleans(),
    service_linked=st.booleans(),
    coverage=COVERAGES,
)

SCOPES = st.sampled_from(
    [
        "aws",
        "aws/1",
        f"aws/{ACCOUNT}",
        f"aws/{ACCOUNT}/iam_user",
        f"aws/{ACCOUNT}/iam_role",
        f"aws/{ACCOUNT}/iam_user/ci",
    ]
)
GAPS = st.builds(
    Gap, scope=SCOPES, reason=st.just("AccessDenied"), hides=st.frozensets(st.sampled_from(Aspect), min_size=1)
)
GAP_LISTS = st.lists(GAPS, max_size=3)

POLICIES = st.builds(
    lambda unused, unrotated: Policy(rules=Rules(unused_after=unused, unrotated_after=unrotated)),
    SPANS | st.just(NEVER),
    SPANS | st.just(NEVER),
)

# Few values, and the good ones often, so that plans and looks fit together often enough for an act to go ahead.
_OWNERS = st.sampled_from(["ana@example.com"] * 3 + [None, "bea@example.com"])
_USES = st.sampled_from([ago(100)] * 3 + [None, ago(100) - TICK, ago(100) + TICK, ago(2), NOW])
PLANS = st.builds(
    Plan,
    shown_last_used_at=_USES,
    use_was_shown=st.sampled_from([True] * 4 + [False]),
    shown_at=st.sampled_from([ago(1), ago(150)]),
    owner_then=_OWNERS,
    likely_then=_OWNERS,
    principal_then=st.sampled_from(["arn:ci"] * 3 + [None]),
    ends_sessions=st.sampled_from([False] * 5 + [True]),
)
_MOSTLY_NOT = st.sampled_from([None] * 6 + ["AccessDenied"])
LOOKS = st.builds(
    Look,
    status=st.sampled_from([CredentialStatus.ACTIVE] * 4 + [CredentialStatus.INACTIVE, None]),
    last_used_at=_USES,
    gap=_MOSTLY_NOT,
    blocked=_MOSTLY_NOT,
    principal_now=st.sampled_from(["arn:ci"] * 6 + ["arn:other"]),
    owner_now=_OWNERS,
    likely_now=_OWNERS,
    decider_may=st.sampled_from([True] * 4 + [False]),
    second_is_missing=st.sampled_from([False] * 6 + [True]),
    never_touch=_MOSTLY_NOT,
    break_glass=_MOSTLY_NOT,
    frozen=_MOSTLY_NOT,
    freeze_gap=_MOSTLY_NOT,
    acts_this_hour=st.integers(min_value=0, max_value=6),
    acts_in_account_today=st.integers(min_value=0, max_value=6),
    credentials_in_account=st.integers(min_value=0, max_value=60),
    account_is_busy=st.sampled_from([False] * 6 + [True]),
)
LIMITS = st.builds(
    Limits,
    actions_an_hour=st.integers(min_value=1, max_value=8),
    share_of_account=st.sampled_from([0.01, 0.1, 1.0]),
    unused_after=SPANS | st.just(NEVER),
)

# Anything that a fact of an event may hold, and more: what JSON cannot say included.
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | HOSTILE_TEXTS
    | MOMENTS
    | SPANS
    | st.dates()
    | st.binary(max_size=8)
    | st.decimals()
    | st.sampled_from(Custody),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE_TEXTS | st.integers(), inner, max_size=4),
    max_leaves=12,
)
