"""One user's credentials, read singly: which key is which, and users that the credential report does not know.

The report shows a key without its id, and it may be four hours old. What is read here is fresh, so it wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nhi.identity import Aspect, Credential, CredentialStatus, Custody, Gap, Identity
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.denials import CONSOLE
from nhi.providers.aws.details import utc
from nhi.providers.aws.report import access_key_key, in_slots, key_coverage, password

_UNKNOWN = frozenset({"", "N/A"})


@dataclass(frozen=True, kw_only=True)
class Read:
    """One user, and what of it could not be read."""

    identity: Identity
    gaps: tuple[Gap, ...] = ()


def learn_ids(calls: Calls, user: Identity) -> Read:
    """Read the ids of a user's access keys, and what changed since the report was made (ListAccessKeys).

    A key that the report does not have is younger than it; one that only the report has was deleted since.
    """
    try:
        listed = list_keys(calls, user.name)
        known = [credential for credential in user.credentials if credential.kind == "access_key"]
        keys = _match(calls, known, listed)
    except CannotSee as fault:
        return Read(identity=user, gaps=(_gap(user, fault, Aspect.CREDENTIALS),))
    others = (credential for credential in user.credentials if credential.kind != "access_key")
    return Read(identity=replace(user, credentials=(*keys, *others)))


def read_singly(calls: Calls, user: Identity) -> Read:
    """Read all credentials of a user that the report does not have, mostly because it is younger."""
    keys, key_gaps = _keys_read_singly(calls, user)
    passwords, password_gaps = _password_read_singly(calls, user)
    others = tuple(credential for credential in user.credentials if credential.kind == "service_specific_credential")
    return Read(identity=replace(user, credentials=(*keys, *passwords, *others)), gaps=(*key_gaps, *password_gaps))


def list_keys(calls: Calls, name: str) -> list[Credential]:
    """Return a user's access keys with their ids, their use not yet known. Raises CannotSee."""
    action = "iam:ListAccessKeys"
    with reading(action):
        found = [_listed(one) for page in calls.pages(action, UserName=name) for one in page["AccessKeyMetadata"]]
    return in_slots(sorted(found, key=lambda key: key.key))


def with_use(calls: Calls, key: Credential) -> Credential:
    """Return the key with its last use (GetAccessKeyLastUsed). Raises CannotSee."""
    answer = calls.ask("iam:GetAccessKeyLastUsed", AccessKeyId=key.external_id)
    with reading("iam:GetAccessKeyLastUsed"):
        used = answer["AccessKeyLastUsed"]
        at: datetime | None = used.get("LastUsedDate")
        return replace(
            key,
            last_used_at=None if at is None else utc(at),
            last_used_service=_told(used, "ServiceName"),
            last_used_region=_told(used, "Region"),
            use_gap=None,
            coverage=key_coverage(),
        )


def _told(used: Mapping[str, Any], name: str) -> str | None:
    value: str = used.get(name, "")
    return None if value in _UNKNOWN else value


def _listed(one: Mapping[str, Any]) -> Credential:
    created_at = utc(one["CreateDate"])
    return Credential(
        key=access_key_key(created_at),
        kind="access_key",
        external_id=one["AccessKeyId"],
        status=CredentialStatus.ACTIVE if one["Status"] == "Active" else CredentialStatus.INACTIVE,
        custody=Custody.OURS,
        created_at=created_at,
        rotated_at=created_at,
        last_used_at=None,
    )


def _match(calls: Calls, known: Sequence[Credential], listed: Sequence[Credential]) -> list[Credential]:
    """Join what the report knows (use) with what the list knows (id, status now)."""
    facts = {credential.key: credential for credential in known}
    if len(known) == len(listed) == 2 and known[0].created_at == known[1].created_at == listed[0].created_at:
        listed = _twins_in_slots(calls, known, listed)
    joined = []
    for key in listed:
        fact = facts.get(key.key)
        known_use = fact and replace(fact, external_id=key.external_id, status=key.status)
        joined.append(known_use or with_use(calls, key))
    return joined


def _twins_in_slots(calls: Calls, known: Sequence[Credential], listed: Sequence[Credential]) -> Sequence[Credential]:
    """Put two keys of one second into the report's slots, so that no id stands beside the other's facts.

    Their status may tell them apart, or else the last use of one of them, which costs a call. Where neither does,
    their facts are the same, and the order that AWS lists them in is as good as any.
    """
    first, second = listed
    if known[0].status != known[1].status:
        crossed = first.status == known[1].status and second.status == known[0].status
    elif known[0].last_used_at != known[1].last_used_at:
        used_at = with_use(calls, first).last_used_at
        crossed = used_at == known[1].last_used_at
    else:
        crossed = False
    return [replace(second, key=first.key), replace(first, key=second.key)] if crossed else listed


def _keys_read_singly(calls: Calls, user: Identity) -> tuple[list[Credential], list[Gap]]:
    try:
        listed = list_keys(calls, user.name)
    except CannotSee as fault:
        return [], [_gap(user, fault, Aspect.CREDENTIALS, Aspect.USE)]
    keys: list[Credential] = []
    gaps: list[Gap] = []
    for key in listed:
        try:
            keys.append(with_use(calls, key))
        except CannotSee as fault:
            keys.append(replace(key, use_gap=fault.reason))
            gaps.append(_gap(user, fault, Aspect.USE))
    return keys, gaps


def _password_read_singly(calls: Calls, user: Identity) -> tuple[list[Credential], list[Gap]]:
    try:
        answer = calls.ask("iam:GetLoginProfile", UserName=user.name)
        with reading("iam:GetLoginProfile"):
            found = password(rotated_at=utc(answer["LoginProfile"]["CreateDate"]), last_used_at=None)
    except CannotSee as fault:
        return ([], []) if fault.code == "NoSuchEntity" else ([], [_gap(user, fault, Aspect.CREDENTIALS, Aspect.USE)])
    try:
        found = of_user(found, user)
        return [replace(found, last_used_at=_signed_in_at(calls, user))], []
    except CannotSee as fault:
        return [replace(found, use_gap=fault.reason)], [_gap(user, fault, Aspect.USE)]


def of_user(password: Credential, user: Identity) -> Credential:
    """Return a user's password as that user's: named by the user's unique id, and off where our denial is on."""
    denied = CONSOLE.name in user.policies
    status = CredentialStatus.INACTIVE if denied else CredentialStatus.ACTIVE
    return replace(password, external_id=user.key, status=status)


def _signed_in_at(calls: Calls, user: Identity) -> datetime | None:
    """Return when the password was last used; None: never. Raises CannotSee."""
    answer = calls.ask("iam:GetUser", UserName=user.name)
    with reading("iam:GetUser"):
        used_at: datetime | None = answer["User"].get("PasswordLastUsed")
        return None if used_at is None else utc(used_at)


def _gap(user: Identity, fault: CannotSee, *hides: Aspect) -> Gap:
    return Gap(scope=user.scope, reason=fault.reason, hides=frozenset(hides))
