"""Turning one credential off and on, and looking at it right before: access keys, service-specific credentials,
console passwords and roles, each in a module of its own.

IAM is eventually consistent, so an act is believed when two reads in a row, with a pause between, show it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType

from nhi.errors import ProviderError
from nhi.identity import Aspect, CredentialStatus, Gap, Need, scope_of
from nhi.providers import CredentialState, Target
from nhi.providers.aws import audible, console, keys, roles, services, who
from nhi.providers.aws.calls import Calls, CannotSee
from nhi.providers.aws.denials import CONSOLE, QUARANTINE, REVOKE, SCREAM, Denial, Found
from nhi.words import sentence

SWITCHED: Mapping[str, ModuleType] = {
    "access_key": keys,
    "service_specific_credential": services,
    "console_password": console,
    "role": roles,
    roles.SESSIONS: roles,
    audible.DENIED_KEY: audible,
}
DENIALS: Mapping[str, Denial] = {
    "console_password": CONSOLE,
    "role": QUARANTINE,
    roles.SESSIONS: REVOKE,
    audible.DENIED_KEY: SCREAM,
}
PERMISSIONS = tuple(
    Need(action=action, why=why, writes=True)
    for action, why in {
        "iam:UpdateAccessKey": "turns one access key off, and on again",
        "iam:UpdateServiceSpecificCredential": "turns one service-specific credential off, and on again",
        "iam:PutUserPolicy": "denies a user's console sessions (`nhi-deny-console`), or, in a scream test, a user's"
        " only active key (`nhi-scream-test`)",
        "iam:DeleteUserPolicy": "takes `nhi-deny-console` or `nhi-scream-test` off again",
        "iam:PutRolePolicy": "denies a role everything (`nhi-quarantine`), or its sessions (`nhi-revoke-sessions`)",
        "iam:DeleteRolePolicy": "takes `nhi-quarantine` or `nhi-revoke-sessions` off again",
    }.items()
)
LOOK_PERMISSIONS = tuple(
    Need(action=action, why=why)
    for action, why in {
        "iam:GetRole": "tells that the role is still the same, and when it was last used",
        "iam:GetRolePolicy": "tells whether our denial is on a role",
        "iam:ListRolePolicies": "tells what an undo must leave on a role",
        "iam:ListAttachedRolePolicies": "tells what an undo must leave attached to a role",
        "iam:GetUserPolicy": "tells whether our denial is on a user",
        "iam:ListUserPolicies": "tells what an undo must leave on a user",
        "iam:ListSSHPublicKeys": "tells whether a denial would reach a user's SSH keys too",
        "iam:ListAttachedUserPolicies": "tells what an undo must leave attached to a user",
        "ssm:GetCalendarState": "tells whether the change calendar that policy names is open",
    }.items()
)
_READS = 6  # at most; then the act did not take
_PAUSE = 0.5  # seconds between two reads


def look(calls: Calls, target: Target) -> CredentialState | Gap | None:
    """Read one credential right now. None: it or its identity is gone, or the name now belongs to another."""
    module = SWITCHED.get(target.credential_kind)
    if module is None:
        return _gap(target, f"NotSupported: {target.credential_kind}")
    try:
        state = _look(module, calls, target)
        moved = None if state is not None else _moved(module, calls, target)
        if moved is None:
            return state
        state = _look(module, calls, moved)
    except CannotSee as fault:
        return _gap(target, fault.reason)
    if state is None:
        return None
    return replace(state, blocked=sentence("clouds.aws_blocked_by_name", name=moved.identity_name))


def _look(module: ModuleType, calls: Calls, target: Target) -> CredentialState | None:
    try:
        state: CredentialState | None = module.look(calls, target)
    except CannotSee as fault:
        if fault.code == "NoSuchEntity":
            return None
        raise
    return state


def _moved(module: ModuleType, calls: Calls, target: Target) -> Target | None:
    """Return the target under its user's new name; None: it was not renamed. Raises CannotSee."""
    return None if module is roles or who.known(calls, target) is not None else who.renamed(calls, target)


def switch(acting: Calls, reading_calls: Calls, target: Target, status: CredentialStatus) -> None:
    """Turn this one credential, as `as_called_now` tells of it, off or on, and read it back.

    Raises ProviderError, permanent where trying again cannot help.
    """
    module = _module(target)
    if status is CredentialStatus.INACTIVE and target.begun_at is None:
        target = replace(target, begun_at=datetime.now(UTC))
    try:
        if status is CredentialStatus.INACTIVE or not _is_anothers(reading_calls, target):
            module.switch(acting, target, status)
    except CannotSee as fault:
        raise _failure("aws_not_changed", target, fault) from None
    try:
        took = _reads_twice_as(module, reading_calls, target, status)
    except CannotSee as fault:
        raise _failure("aws_not_read_back", target, fault) from None
    if not took:
        off = status is CredentialStatus.INACTIVE
        message = sentence("clouds.aws_not_verified", id=target.credential_id, off=off)
        raise ProviderError(message, code="NotVerified", permanent=False)


def _is_anothers(calls: Calls, target: Target) -> bool:
    """Whether somebody else's policy stands under the name of our denial by now: ours is off, and theirs stays.

    Where that cannot be seen, ours is taken off.
    """
    denial = DENIALS.get(target.credential_kind)
    try:
        return denial is not None and denial.find(calls, target.identity_name)[0] is Found.ANOTHER
    except CannotSee:
        return False


def _module(target: Target) -> ModuleType:
    module = SWITCHED.get(target.credential_kind)
    if module is None:
        message = sentence("clouds.aws_cannot_switch", kind=target.credential_kind)
        raise ProviderError(message, code="NotSupported", permanent=True)
    return module


def as_called_now(calls: Calls, target: Target, status: CredentialStatus) -> Target:
    """Return the target under the name and ARN of today, for the act's session to reach exactly that one.

    Nothing is turned off under another name than was decided about. Where that cannot be seen, nothing is turned off,
    and what was turned off is turned on only where it is found. Raises ProviderError.
    """
    module = _module(target)
    if module is roles:
        return target  # a role has one name and one path all its life
    try:
        known = who.known(calls, target)
    except CannotSee as fault:
        if status is CredentialStatus.ACTIVE:
            return _found_otherwise(module, calls, target, fault)
        raise _failure("aws_not_asked", target, fault) from None
    if known is not None:
        return known
    try:
        moved = who.renamed(calls, target)
    except CannotSee as fault:
        raise _not_found(target, fault) from None
    if moved is None or status is CredentialStatus.INACTIVE:
        message = sentence("clouds.aws_another_user", name=target.identity_name)
        raise ProviderError(message, code="NoSuchEntity", permanent=True)
    return moved


def _found_otherwise(module: ModuleType, calls: Calls, target: Target, fault: CannotSee) -> Target:
    """Return the target to turn on where its user cannot be read: by the list of all, or by what is there of ours.

    A denial that is not there under the name known then may be there under another: that is not turned on again.
    """
    try:
        return who.renamed(calls, target) or target
    except CannotSee:
        pass
    if module in (audible, console) and _is_on(module, calls, target):
        raise _not_found(target, fault)
    return target


def _is_on(module: ModuleType, calls: Calls, target: Target) -> bool:
    try:
        return bool(module.status(calls, target) is CredentialStatus.ACTIVE)
    except CannotSee:
        return False


def _not_found(target: Target, fault: CannotSee) -> ProviderError:
    message = sentence("clouds.aws_name_not_seen", name=target.identity_name, reason=fault.reason)
    return ProviderError(message, code=fault.code, permanent=False)


def _reads_twice_as(module: ModuleType, calls: Calls, target: Target, status: CredentialStatus) -> bool:
    agreed = 0
    for attempt in range(_READS):
        if attempt:
            time.sleep(_PAUSE)
        agreed = agreed + 1 if module.status(calls, target) is status else 0
        if agreed == 2:
            return True
    return False


def _failure(block: str, target: Target, fault: CannotSee) -> ProviderError:
    message = sentence(f"clouds.{block}", id=target.credential_id, name=target.identity_name, reason=fault.reason)
    return ProviderError(message, code=fault.code, permanent=not fault.passing)


def _gap(target: Target, reason: str) -> Gap:
    kind = "iam_role" if SWITCHED.get(target.credential_kind) is roles else "iam_user"
    scope = scope_of("aws", target.account, kind, target.identity_name)
    return Gap(scope=scope, reason=reason, hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}))
