"""One console password: its sessions denied by one inline policy of ours, the password itself left alone.

IAM cannot refuse the sign-in itself; it can refuse everything that a signed-in session does. Deleting the password
would have no exact undo, so it is not offered. The denial reaches sessions that access keys ask STS for as well, so
it is not put on a user who has an active key: that would touch more than the one credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from nhi.certificate import Read
from nhi.identity import CredentialStatus
from nhi.providers import CredentialState, Target
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.denials import CONSOLE, Found
from nhi.providers.aws.details import utc
from nhi.providers.aws.trail import with_caller
from nhi.providers.aws.users import list_keys
from nhi.providers.aws.who import STATUS_OF, names, same_user, tags_of
from nhi.words import sentence


def look(calls: Calls, target: Target) -> CredentialState | None:
    """Read one password. None: it or the user is gone, or the name now belongs to another user. Raises CannotSee."""
    user = same_user(calls, target)
    if user is None:
        return None
    found, _ = CONSOLE.find(calls, target.identity_name)
    if not has_password(calls, target):
        return _left_behind() if found is Found.OURS else None
    with reading("iam:GetUser"):
        used_at = user.get("PasswordLastUsed")
    state = CredentialState(
        status=STATUS_OF[found is Found.OURS],
        last_used_at=None if used_at is None else utc(used_at),
        last_used_service="signin" if used_at is not None else None,
        blocked=_blocked(calls, target, found),
        reads=(_read(),),
        former=_former(calls, user, target),
    )
    return with_caller(calls, state, "Username", target.identity_name, region=None, mine=_signs_in)


def _left_behind() -> CredentialState:
    """Return the state of a denial whose password is gone: it is to be taken off, as there may be a new one."""
    return CredentialState(
        status=CredentialStatus.INACTIVE, last_used_at=None, blocked=sentence("clouds.aws_password_is_gone")
    )


def has_password(calls: Calls, target: Target) -> bool:
    """Whether a user has a console password. Raises CannotSee."""
    try:
        calls.ask("iam:GetLoginProfile", UserName=target.identity_name)
    except CannotSee as fault:
        if fault.code == "NoSuchEntity":
            return False
        raise
    return True


def _blocked(calls: Calls, target: Target, found: Found) -> str | None:
    if found is Found.ANOTHER:
        return sentence("clouds.aws_blocked_by_policy", policy=CONSOLE.name)
    if any(key.status is CredentialStatus.ACTIVE for key in list_keys(calls, target.identity_name)):
        return sentence("clouds.aws_blocked_by_sessions")
    return None


def _former(calls: Calls, user: Mapping[str, Any], target: Target) -> dict[str, Any]:
    who = {"UserName": target.identity_name}
    inline = names(calls, "iam:ListUserPolicies", "PolicyNames", **who)
    return {
        "inline": [name for name in inline if name != CONSOLE.name],
        "attached": names(calls, "iam:ListAttachedUserPolicies", "AttachedPolicies", "PolicyArn", **who),
        "tags": tags_of(user),
    }


def _signs_in(told: Mapping[str, Any]) -> bool:
    return told.get("eventName") == "ConsoleLogin"


def status(calls: Calls, target: Target) -> CredentialStatus | None:
    """Read whether our policy is on it. Raises CannotSee."""
    found, _ = CONSOLE.find(calls, target.identity_name)
    return STATUS_OF[found is Found.OURS]


def switch(acting: Calls, target: Target, status: CredentialStatus) -> None:
    """Put our policy on, or take it off. Raises CannotSee."""
    if status is CredentialStatus.ACTIVE:
        CONSOLE.take_off(acting, target.identity_name)
    else:
        CONSOLE.put(acting, target.identity_name)


def _read() -> Read:
    return Read(
        source=sentence("clouds.aws_read_password"),
        seen_from=None,
        seen_until=None,
        lag=timedelta(hours=4),
        hidden=sentence("clouds.aws_read_password_not"),
    )
