"""Turning one access key off and on, and looking at it right before.

A key is named by its user and its id, and IAM refuses an id that is not that user's: nothing else can be hit.
IAM is eventually consistent, so an act is believed when two reads in a row, with a pause between, show it.
"""

from __future__ import annotations

import time

from nhi.errors import ProviderError
from nhi.identity import Aspect, Credential, CredentialStatus, Gap, scope_of
from nhi.providers import CredentialState, Target
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.users import list_keys, with_use

_READS = 6  # at most; then the act did not take
_PAUSE = 0.5  # seconds between two reads


def look(calls: Calls, target: Target) -> CredentialState | Gap | None:
    """Read one access key right now. None: the key or the user is gone, or the name now belongs to another user."""
    if target.credential_kind != "access_key":
        return _gap(target, f"NotSupported: {target.credential_kind}")
    try:
        key = _find(calls, target) if _is_same_user(calls, target) else None
        key = key and with_use(calls, key)
    except CannotSee as fault:
        return None if fault.code == "NoSuchEntity" else _gap(target, fault.reason)
    if key is None:
        return None
    return CredentialState(status=key.status, last_used_at=key.last_used_at, last_used_service=key.last_used_service)


def switch(acting: Calls, reading_calls: Calls, target: Target, status: CredentialStatus) -> None:
    """Set the status of this one key and read it back.

    Raises ProviderError, permanent where trying again cannot help.
    """
    if target.credential_kind != "access_key":
        message = f"AWS cannot turn a {target.credential_kind} off and on again"
        raise ProviderError(message, code="NotSupported", permanent=True)
    wanted, key = status.value.capitalize(), target.credential_id
    try:
        acting.ask("iam:UpdateAccessKey", UserName=target.identity_name, AccessKeyId=key, Status=wanted)
    except CannotSee as fault:
        raise _failure(f"AWS did not change {key} of {target.identity_name} ({fault.reason})", fault) from None
    try:
        took = _reads_twice_as(reading_calls, target, status)
    except CannotSee as fault:
        raise _failure(f"AWS changed {key}, but it cannot be read back ({fault.reason})", fault) from None
    if not took:
        message = f"AWS took the change of {key}, but it does not read as {wanted}; look at it by hand"
        raise ProviderError(message, code="NotVerified", permanent=False)


def _is_same_user(calls: Calls, target: Target) -> bool:
    """Whether the name still belongs to the identity: a user deleted and made again has another UserId."""
    answer = calls.ask("iam:GetUser", UserName=target.identity_name)
    with reading("iam:GetUser"):
        return bool(answer["User"]["UserId"] == target.identity_key)


def _find(calls: Calls, target: Target) -> Credential | None:
    found = list_keys(calls, target.identity_name)
    return next((key for key in found if key.external_id == target.credential_id), None)


def _reads_twice_as(calls: Calls, target: Target, status: CredentialStatus) -> bool:
    agreed = 0
    for attempt in range(_READS):
        if attempt:
            time.sleep(_PAUSE)
        key = _find(calls, target)
        agreed = agreed + 1 if key is not None and key.status is status else 0
        if agreed == 2:
            return True
    return False


def _failure(message: str, fault: CannotSee) -> ProviderError:
    return ProviderError(message, code=fault.code, permanent=not fault.passing)


def _gap(target: Target, reason: str) -> Gap:
    scope = scope_of("aws", target.account, "iam_user", target.identity_name)
    return Gap(scope=scope, reason=reason, hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}))
