"""One access key: its state right now, and its two statuses.

A key is named by its user and its id, and IAM refuses an id that is not that user's: nothing else can be hit.
"""

from __future__ import annotations

from datetime import timedelta

from nhi.certificate import Read
from nhi.identity import Credential, CredentialStatus
from nhi.providers import CredentialState, Target
from nhi.providers.aws.calls import Calls
from nhi.providers.aws.trail import with_caller
from nhi.providers.aws.users import list_keys, with_use
from nhi.providers.aws.who import same_user
from nhi.words import sentence

_ACTION = "iam:UpdateAccessKey"
_GLOBAL = frozenset({"aws-global", "us-east-1"})


def look(calls: Calls, target: Target) -> CredentialState | None:
    """Read one key. None: the key or the user is gone, or the name now belongs to another user. Raises CannotSee."""
    user = same_user(calls, target)
    key = _find(calls, target) if user is not None else None
    if key is None:
        return None
    key = with_use(calls, key)
    state = CredentialState(
        status=key.status,
        last_used_at=key.last_used_at,
        last_used_service=key.last_used_service,
        last_used_region=key.last_used_region,
        reads=(_read(key),),
    )
    region = None if key.last_used_region in _GLOBAL else key.last_used_region
    return with_caller(calls, state, "AccessKeyId", target.credential_id, region=region)


def status(calls: Calls, target: Target) -> CredentialStatus | None:
    """Read its status alone; None: it is gone. Raises CannotSee."""
    key = _find(calls, target)
    return key.status if key else None


def switch(acting: Calls, target: Target, status: CredentialStatus) -> None:
    """Set its status. Raises CannotSee."""
    wanted = status.value.capitalize()
    acting.ask(_ACTION, UserName=target.identity_name, AccessKeyId=target.credential_id, Status=wanted)


def _find(calls: Calls, target: Target) -> Credential | None:
    found = list_keys(calls, target.identity_name)
    return next((key for key in found if key.external_id == target.credential_id), None)


def _read(key: Credential) -> Read:
    return Read(
        source=sentence("clouds.aws_read_key"),
        seen_from=key.coverage.seen_from,
        seen_until=None,
        lag=timedelta(hours=4),
        hidden=sentence("clouds.aws_read_key_not"),
    )
