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
        *("iam.serviceAccountKeys.delete", "iam.serviceAccounts.delete", "iam.serviceAccounts.create"),
        *("iam.serviceAccounts.setIamPolicy", "iam.serviceAccounts.actAs", "secretmanager.versions.access"),
        *(f"resourcemanager.{kind}.setIamPolicy" for kind in ("organizations", "folders", "projects")),
    }
)
NEW_KEYS = "iam:CreateAccessKey"
NEW_GOOGLE_KEYS = "iam.serviceAccountKeys.create"


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
            fix = (
                "Let it be taken: in AWS its trust policy names who may (docs/aws-roles.yaml makes both roles), in"
                " Google Cloud roles/iam.serviceAccountTokenCreator on it."
            )
            yield Judged(
                status="fail", detail=f"what {power.purpose} cannot be taken or asked about ({power.unseen})", fix=fix
            )
        elif power.purpose == ACTING and not power.own_role:
            yield _no_role_of_its_own(power, policy)
        elif power.unseen is not None:
            fix = "Grant iam:SimulatePrincipalPolicy to the reader: then this says what both roles may do."
            detail = f"{power.principal} {power.purpose}; what it may do is not told ({power.unseen})"
            yield Judged(status="ok", detail=detail, fix=fix)
        else:
            yield _of(power, policy)


def _is_google(power: Power) -> bool:
    return not power.principal.startswith("arn:")


def _no_role_of_its_own(power: Power, policy: Policy) -> Judged:
    detail = f"{power.principal} acts with whatever it may do: it has no role for acts alone"
    fix = (
        "Set remediator_role_arn (remediator_role_name in an organisation): then each act has a session that reaches"
        " one ARN. docs/aws-roles.yaml makes the role."
    )
    if _is_google(power):
        detail = f"{power.principal} acts with whatever it may do: it has no account for acts alone"
        fix = "Set remediator_impersonate: then who reads cannot act. docs/permissions.md lists what each needs."
    acts = policy.remediation.mode == "reversible"
    return Judged(status="warn" if acts else "ok", detail=detail, fix=fix)


def _of(power: Power, policy: Policy) -> Judged:
    told = (
        f"{power.principal} {power.purpose}, and may: {', '.join(sorted(power.may)) or 'none of what was asked about'}"
    )
    new_keys = NEW_GOOGLE_KEYS if _is_google(power) else NEW_KEYS
    rotates = policy.rotation.enabled and power.purpose == ACTING
    too_much = power.may & NEVER_NEEDED | (frozenset() if rotates else power.may & {new_keys})
    if too_much:
        way = "A role of one's own without them does." if _is_google(power) else "docs/aws-roles.yaml does."
        fix = f"Deny it {', '.join(sorted(too_much))}: it never needs them. {way}"
        return Judged(status="warn", detail=told, fix=fix)
    if rotates and new_keys not in power.may:
        return Judged(status="warn", detail=told, fix=f"Rotation is on: allow it {new_keys}, or switch rotation off.")
    return Judged(status="ok", detail=told)
