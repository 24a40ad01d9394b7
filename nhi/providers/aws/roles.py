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
_REVOKED = "revoked_before"
_LAG = timedelta(hours=4)
_KEPT = timedelta(days=400)


def look(calls: Calls, target: Target) -> CredentialState | None:
    """Read one role. None: it is gone, or the name now belongs to another. Raises CannotSee."""
    role = same_role(calls, target)
    if role is None:
        return None
    denial = _denial(target)
    found, document = denial.find(calls, target.identity_name)
    with reading("iam:GetRole"):
        used = role.get("RoleLastUsed") or {}
        at: datetime | None = used.get("LastUsedDate")
        region: str | None = used.get("Region")
    state = CredentialState(
        status=STATUS_OF[_is_done(target, found, document)],
        last_used_at=None if at is None else utc(at),
        last_used_region=region,
        blocked=_blocked(denial, found),
        reads=(_read(),),
        former=_former(calls, role, target, denial) | _revoked_before(target, found, document),
    )
    # CloudTrail names the role of a session by its ARN, never by its bare name.
    return with_caller(calls, state, "ResourceName", _arn(role), region=None, mine=assumes)


def _is_done(target: Target, found: Found, document: Mapping[str, Any] | None) -> bool:
    """Whether our denial does what the act is for. Sessions that were ended once say nothing of newer ones."""
    if found is not Found.OURS or target.credential_kind != SESSIONS:
        return found is Found.OURS
    before = REVOKE.value(document, "before")
    return target.begun_at is not None and before is not None and before >= _second(target.begun_at)


def _revoked_before(target: Target, found: Found, document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return up to when sessions were ended already, which an undo gives back; nothing: none were."""
    if target.credential_kind != SESSIONS or found is not Found.OURS:
        return {}
    if _is_done(target, found, document):
        return {name: value for name, value in target.former.items() if name == _REVOKED}
    return {_REVOKED: REVOKE.value(document, "before")}


def _second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


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
    """Read whether our policy is on it, for sessions that of this act. Raises CannotSee."""
    return STATUS_OF[_is_done(target, *_denial(target).find(calls, target.identity_name))]


def switch(acting: Calls, target: Target, status: CredentialStatus) -> None:
    """Put our policy on, or take it off; where sessions had been ended before, that is put back. Raises CannotSee."""
    denial, former = _denial(target), target.former.get(_REVOKED)
    if status is CredentialStatus.ACTIVE and denial is REVOKE and former is not None:
        denial.put(acting, target.identity_name, before=str(former))
    elif status is CredentialStatus.ACTIVE:
        denial.take_off(acting, target.identity_name)
    elif denial is REVOKE:
        # The instant of the act itself: a session that begins later is let be.
        denial.put(acting, target.identity_name, before=_second(target.begun_at or datetime.now(UTC)))
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
