"""What this program may do to a cloud, judged against what policy lets it do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nhi.policy import Policy

ACTING = "acts"
# Nothing here needs these, and whoever takes over this program could do with them what it never does.
NEVER_NEEDED = frozenset(
    {
        *("iam:DeleteAccessKey", "iam:DeleteUser", "iam:DeleteRole", "iam:AttachUserPolicy", "iam:AttachRolePolicy"),
        *(
            "iam:CreateUser",
            "iam:UpdateAssumeRolePolicy",
            "secretsmanager:GetSecretValue",
            "secretsmanager:DeleteSecret",
        ),
    }
)
NEW_KEYS = "iam:CreateAccessKey"


@dataclass(frozen=True, kw_only=True)
class Power:
    """What one role of ours may do, of what was asked about. `unseen` says why it could not be told; None: it could."""

    purpose: str  # "reads", "acts"
    principal: str  # the provider's name of whom we are then; empty where we cannot be it
    own_role: bool  # taken for this purpose alone, anew for each act
    may: frozenset[str] = frozenset()
    unseen: str | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One sentence about a power: "ok" or "warn" or "fail", and what to do."""

    status: str
    detail: str
    fix: str = ""


def judge(powers: Sequence[Power], policy: Policy) -> Iterator[Judged]:
    """Yield what is to be said of these powers, one sentence each."""
    for power in powers:
        if not power.principal:
            fix = "Let it be taken: its trust policy names who may. docs/aws-roles.yaml makes both roles."
            yield Judged(
                status="fail", detail=f"the role that {power.purpose} cannot be taken ({power.unseen})", fix=fix
            )
        elif power.purpose == ACTING and not power.own_role:
            yield _no_role_of_its_own(power, policy)
        elif power.unseen is not None:
            fix = "Grant iam:SimulatePrincipalPolicy to the reader: then this says what both roles may do."
            detail = f"{power.principal} {power.purpose}; what it may do is not told ({power.unseen})"
            yield Judged(status="ok", detail=detail, fix=fix)
        else:
            yield _of(power, policy)


def _no_role_of_its_own(power: Power, policy: Policy) -> Judged:
    detail = f"{power.principal} acts with whatever it may do: it has no role for acts alone"
    fix = (
        "Set remediator_role_arn: then each act has a session that reaches one ARN. docs/aws-roles.yaml makes the role."
    )
    acts = policy.remediation.mode == "reversible"
    return Judged(status="warn" if acts else "ok", detail=detail, fix=fix)


def _of(power: Power, policy: Policy) -> Judged:
    told = (
        f"{power.principal} {power.purpose}, and may: {', '.join(sorted(power.may)) or 'none of what was asked about'}"
    )
    too_much = power.may & NEVER_NEEDED
    if not policy.rotation.enabled or power.purpose != ACTING:
        too_much |= power.may & {NEW_KEYS}
    if too_much:
        fix = f"Deny it {', '.join(sorted(too_much))}: it never needs them. docs/aws-roles.yaml does."
        return Judged(status="warn", detail=told, fix=fix)
    if policy.rotation.enabled and power.purpose == ACTING and NEW_KEYS not in power.may:
        return Judged(status="warn", detail=told, fix=f"Rotation is on: allow it {NEW_KEYS}, or switch rotation off.")
    return Judged(status="ok", detail=told)
