"""What calls while it is off, as far as CloudTrail tells: a scream test turns off so that it can be heard.

CloudTrail writes down calls that are denied, and none that fail to authenticate: of a key that is Inactive it tells
nothing at all (https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging.html, its first note). So the
only active key of a user is denied everything by one inline policy of ours, which the trail shows with the key's id. A
user with anything else that is active keeps its key for the deaf way: Inactive, and only people can scream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nhi.certificate import Caller
from nhi.identity import CredentialStatus
from nhi.providers import CredentialState, Target
from nhi.providers.aws import keys, roles
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.console import has_password
from nhi.providers.aws.denials import SCREAM, Found
from nhi.providers.aws.trail import calls_since
from nhi.providers.aws.users import list_keys
from nhi.providers.aws.who import STATUS_OF, names, same_user, tags_of
from nhi.screaming import Hearing
from nhi.words import sentence

DENIED_KEY = "denied_access_key"  # a target's kind: the user's one active key, by a policy instead of its status
KINDS: Mapping[str, str] = {
    "access_key": DENIED_KEY,
    "role": "role",
    "console_password": "console_password",
}
_LAG = timedelta(minutes=15)  # AWS: events are there within about 15 minutes, most within five
_HOME = "us-east-1"
_SERVICES = "iam:ListServiceSpecificCredentials"
_SSH = "iam:ListSSHPublicKeys"


def look(calls: Calls, target: Target) -> CredentialState | None:
    """Read one key, and whether our denial is on its user. None as for keys. Raises CannotSee."""
    state = keys.look(calls, target)
    if state is None:
        return _left_behind(calls, target)
    found, _ = SCREAM.find(calls, target.identity_name)
    is_off = found is Found.OURS or state.status is CredentialStatus.INACTIVE
    return replace(
        state,
        status=STATUS_OF[is_off],
        blocked=_blocked(calls, target, found),
        former=_former(calls, target),
    )


def _left_behind(calls: Calls, target: Target) -> CredentialState | None:
    """Return the state of a denial whose key is gone: it reaches what its user has by now, and is to be taken off."""
    user = same_user(calls, target)
    if user is None or SCREAM.find(calls, target.identity_name)[0] is not Found.OURS:
        return None
    return CredentialState(
        status=CredentialStatus.INACTIVE, last_used_at=None, blocked=sentence("clouds.aws_key_is_gone")
    )


def _blocked(calls: Calls, target: Target, found: Found) -> str | None:
    """Return why the denial would reach more than this one key; None: it would not."""
    if found is Found.ANOTHER:
        return sentence("clouds.aws_blocked_by_policy", policy=SCREAM.name)
    active = [
        one.external_id for one in list_keys(calls, target.identity_name) if one.status is CredentialStatus.ACTIVE
    ]
    if any(one != target.credential_id for one in active):
        return sentence("clouds.aws_blocked_by_other_key")
    if has_password(calls, target):
        return sentence("clouds.aws_blocked_by_password")
    answer = calls.ask(_SERVICES, UserName=target.identity_name)
    with reading(_SERVICES):
        if any(one["Status"] == "Active" for one in answer["ServiceSpecificCredentials"]):
            return sentence("clouds.aws_blocked_by_service_credential")
    return _blocked_by_ssh(calls, target)


def _blocked_by_ssh(calls: Calls, target: Target) -> str | None:
    """Return why the denial would reach SSH keys (for CodeCommit), or that nobody can tell; None: it would not."""
    try:
        found = [one for page in calls.pages(_SSH, UserName=target.identity_name) for one in page["SSHPublicKeys"]]
        with reading(_SSH):
            is_active = any(one["Status"] == "Active" for one in found)
    except CannotSee as fault:
        if fault.passing:
            raise
        return sentence("clouds.aws_blocked_by_unseen_ssh", reason=fault.reason)
    return sentence("clouds.aws_blocked_by_ssh") if is_active else None


def _former(calls: Calls, target: Target) -> dict[str, Any]:
    user, who = same_user(calls, target), {"UserName": target.identity_name}
    inline = names(calls, "iam:ListUserPolicies", "PolicyNames", **who)
    return {
        "inline": [name for name in inline if name != SCREAM.name],
        "attached": names(calls, "iam:ListAttachedUserPolicies", "AttachedPolicies", "PolicyArn", **who),
        "tags": tags_of(user or {}),
    }


def status(calls: Calls, target: Target) -> CredentialStatus | None:
    """Read whether our denial is on its user. Raises CannotSee."""
    found, _ = SCREAM.find(calls, target.identity_name)
    return STATUS_OF[found is Found.OURS]


def switch(acting: Calls, target: Target, status: CredentialStatus) -> None:
    """Put our denial on, or take it off. Raises CannotSee."""
    if status is CredentialStatus.ACTIVE:
        SCREAM.take_off(acting, target.identity_name)
    else:
        SCREAM.put(acting, target.identity_name)


# -- listening ---------------------------------------------------------------------------------------------------------


def hearing(target: Target) -> Hearing:
    """Say what can be heard of a target while it is off. Pure."""
    match target.credential_kind:
        case kind if kind == DENIED_KEY:
            says = sentence("clouds.aws_hears_denied_key")
        case "role":
            says = sentence("clouds.aws_hears_role")
        case "console_password":
            says = sentence("clouds.aws_hears_password")
        case "access_key":
            return Hearing(audible=False, says=sentence("clouds.aws_hears_no_key"))
        case _:
            return Hearing(audible=False, says=sentence("acts.scream_deaf"))
    return Hearing(audible=True, says=says, lag=_LAG)


def heard(calls: Calls, target: Target, since: datetime) -> list[Caller]:
    """Return calls with a target since an instant, oldest first. Raises CannotSee."""
    match target.credential_kind:
        case kind if kind == DENIED_KEY:
            return _of_key(calls, target, since)
        case "role":
            role = calls.ask("iam:GetRole", RoleName=target.identity_name)
            with reading("iam:GetRole"):
                arn = str(role["Role"]["Arn"])
            return calls_since(calls, "ResourceName", arn, since, region=None, mine=roles.assumes)
        case "console_password":
            return calls_since(calls, "Username", target.identity_name, since, region=None, mine=_signs_in)
        case _:
            return []


def _of_key(calls: Calls, target: Target, since: datetime) -> list[Caller]:
    state = keys.look(calls, target)
    last = state.last_used_region if state else None
    regions = [None] if last in (None, _HOME, "aws-global") else [None, last]

    def is_users(told: Mapping[str, Any]) -> bool:
        """Whether the user itself called, and no session of a role that somebody named alike."""
        return (told.get("userIdentity") or {}).get("type") == "IAMUser"

    found = [
        call
        for region in regions
        for call in calls_since(calls, "Username", target.identity_name, since, region=region, mine=is_users)
    ]
    return sorted(found, key=lambda caller: caller.at)


def _signs_in(told: Mapping[str, Any]) -> bool:
    return (
        told.get("eventName") == "ConsoleLogin"
        and (told.get("responseElements") or {}).get("ConsoleLogin") != "Failure"
    )
