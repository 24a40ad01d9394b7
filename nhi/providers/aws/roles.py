"""One role: quarantined by one deny-all inline policy of ours, and freed by taking it off; or its sessions ended.

The trust policy, the attached and the other inline policies, the boundary and the tags are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.certificate import Read
from nhi.identity import CredentialStatus
from nhi.providers import CredentialState, Target
from nhi.providers.aws.calls import Calls, reading
from nhi.providers.aws.denials import QUARANTINE, REVOKE, Denial, Found
from nhi.providers.aws.details import utc
from nhi.providers.aws.trail import with_caller
from nhi.providers.aws.who import STATUS_OF, names, same_role, tags_of
from nhi.words import sentence

SESSIONS = "role_sessions"  # a target's kind: not the role, only what is under way
_LAG = timedelta(hours=4)
_KEPT = timedelta(days=400)


def look(calls: Calls, target: Target) -> CredentialState | None:
    """Read one role. None: it is gone, or the name now belongs to another. Raises CannotSee."""
    role = same_role(calls, target)
    if role is None:
        return None
    denial = _denial(target)
    found, _ = denial.find(calls, target.identity_name)
    with reading("iam:GetRole"):
        used = role.get("RoleLastUsed") or {}
        at: datetime | None = used.get("LastUsedDate")
        region: str | None = used.get("Region")
    state = CredentialState(
        status=STATUS_OF[found is Found.OURS],
        last_used_at=None if at is None else utc(at),
        last_used_region=region,
        blocked=_blocked(denial, found),
        reads=(_read(),),
        former=_former(calls, role, target, denial),
    )
    # CloudTrail names the role of a session by its ARN, never by its bare name.
    return with_caller(calls, state, "ResourceName", _arn(role), region=None, mine=assumes)


def _blocked(denial: Denial, found: Found) -> str | None:
    return sentence("clouds.aws_blocked_by_policy", policy=denial.name) if found is Found.ANOTHER else None


def _arn(role: Mapping[str, Any]) -> str:
    with reading("iam:GetRole"):
        return str(role["Arn"])


def _denial(target: Target) -> Denial:
    return REVOKE if target.credential_kind == SESSIONS else QUARANTINE


def _former(calls: Calls, role: Mapping[str, Any], target: Target, denial: Denial) -> dict[str, Any]:
    """Return what an undo must leave behind: everything about the role that a policy can change, without ours."""
    who = {"RoleName": target.identity_name}
    inline = names(calls, "iam:ListRolePolicies", "PolicyNames", **who)
    with reading("iam:GetRole"):
        boundary = (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
        return {
            "inline": [name for name in inline if name != denial.name],
            "attached": names(calls, "iam:ListAttachedRolePolicies", "AttachedPolicies", "PolicyArn", **who),
            "boundary": boundary,
            "tags": tags_of(role),
        }


def assumes(told: Mapping[str, Any]) -> bool:
    """Whether an event is somebody beginning a session of a role; who was refused one never had it."""
    return str(told.get("eventName", "")).startswith("AssumeRole") and not told.get("errorCode")


def status(calls: Calls, target: Target) -> CredentialStatus | None:
    """Read whether our policy is on it. Raises CannotSee."""
    found, _ = _denial(target).find(calls, target.identity_name)
    return STATUS_OF[found is Found.OURS]


def switch(acting: Calls, target: Target, status: CredentialStatus) -> None:
    """Put our policy on, or take it off. Raises CannotSee."""
    denial = _denial(target)
    if status is CredentialStatus.ACTIVE:
        denial.take_off(acting, target.identity_name)
    elif denial is REVOKE:
        # The instant of the act itself, by this machine's clock: a session that begins later is let be.
        denial.put(acting, target.identity_name, before=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    else:
        denial.put(acting, target.identity_name)


def _read() -> Read:
    return Read(
        source=sentence("clouds.aws_read_role"),
        seen_from=None,
        seen_until=None,
        lag=_LAG,
        hidden=sentence("clouds.aws_read_role_not"),
    )
