"""A second key of a service account, put straight into Google's Secret Manager.

The secret lives in one local variable between keys.create's answer and addVersion's request, and goes on as it came: it
is not even decoded. It is in no error (ours name codes and permissions only), no log, no row, and is never read back:
there is no call of versions.access, and no permission for it.

keys.create is asked once and never retried: asked twice, it makes two keys. Google numbers a secret's versions by
itself, so which one is current is told by an alias (`nhi-current`): it moves to the new version, and back on undo.
`latest` cannot move back: it is always the newest version, also one that is turned off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.errors import ProviderError
from nhi.identity import CredentialStatus, Gap, Need
from nhi.providers import Target
from nhi.providers.gcp import acts, keys, logs
from nhi.providers.gcp.calls import Calls, CannotSee, instant, reading
from nhi.rotation import Key, Place, Ready, Stored
from nhi.words import sentence

KEYS_AT_MOST = 10  # that Google allows an account
MARK = "nhi-rotates"  # the annotation by which a secret says for whom it may be written
CURRENT = "nhi-current"  # the alias of the version that is in force
_WHY = {
    "iam.serviceAccountKeys.create": "makes the second key of one account",
    "secretmanager.secrets.get": "tells whether the secret is there and for whom; never reads its value",
    "secretmanager.secrets.create": "makes the secret where there is none yet, empty, marked by `nhi-rotates`",
    "secretmanager.secrets.update": "moves the alias `nhi-current` to the new version, and back on undo",
    "secretmanager.versions.get": "tells which version is the newest; never reads its value",
    "secretmanager.versions.add": "puts the new key into the secret",
    "secretmanager.versions.disable": "turns the new version off, on undo",
}
PERMISSIONS = tuple(Need(action=action, why=why, writes=True) for action, why in _WHY.items())
_MAKE, _GET, _CREATE, _ALIAS, _NEWEST, _ADD, _OFF = _WHY
_HOST = "secretmanager.googleapis.com/v1"
_SLACK = timedelta(minutes=15)
_EXACT = timedelta(days=14)  # for so long uses are told to the minute: stillness is counted from them
_KIND = {"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "keyAlgorithm": "KEY_ALG_RSA_2048"}


@dataclass(frozen=True)
class Versions:
    """What a secret held before: the version in force (0: none), and the newest."""

    current: int
    newest: int

    def __str__(self) -> str:
        return f"{self.current}/{self.newest}"


def _versions(former: str | None) -> Versions:
    current, _, newest = (former or "0/0").partition("/")
    return Versions(int(current), int(newest))


def read_keys(calls: Calls, target: Target) -> tuple[Key, ...] | Gap | None:
    """Read an account's own keys and their last use; None: the account is gone."""
    try:
        answer, now = calls.get_dated(keys.ACTION, f"{_account(target)}/keys", keyTypes="USER_MANAGED")
        with reading(keys.ACTION):
            found = [(str(one["name"]).rpartition("/")[2], one) for one in answer.get("keys", ())]
            return tuple(_key(calls, target, key_id, told, now) for key_id, told in found)
    except CannotSee as fault:
        return None if fault.code == "NOT_FOUND" else acts.gap(target, fault.reason)


def _key(calls: Calls, target: Target, key_id: str, told: Mapping[str, Any], now: datetime) -> Key:
    made_at = instant(told["validAfterTime"]) if "validAfterTime" in told else datetime.min.replace(tzinfo=UTC)
    used_at, *_ = acts.last_use(calls, acts.key_of(target, key_id), now, _EXACT)
    return Key(
        id=key_id,
        status=CredentialStatus.INACTIVE if told.get("disabled") else CredentialStatus.ACTIVE,
        created_at=made_at,
        last_used_at=max(used_at, made_at) if used_at is not None else None,  # a day may begin before the key was made
    )


def prepare(acting: Calls, place: Place) -> Ready:
    """Make sure that the secret is there and is this identity's, before a key is made. Raises ProviderError."""
    if place.native:
        raise ProviderError(sentence("clouds.gcp_secret_without_rotation"), code="NoRotation", permanent=True)
    try:
        acting_as = acting.acts_as()
        found = _secret(acting, place)
        if found is None:
            _create(acting, place)
            return Ready(former=None, acting_as=acting_as)
        _check_mark(place, found)
        return Ready(former=_former(acting, place, found), acting_as=acting_as)
    except CannotSee as fault:
        raise _failure("secret_not_ready", place, fault) from None


def _check_mark(place: Place, found: Mapping[str, Any]) -> None:
    with reading(_GET):
        marked = (found.get("annotations") or {}).get(MARK)
    if marked != place.mark:
        message = sentence("clouds.gcp_secret_not_marked", secret=place.secret, mark=MARK, value=place.mark)
        raise ProviderError(message, code="NotMarked", permanent=True)


def _former(acting: Calls, place: Place, found: Mapping[str, Any]) -> str | None:
    newest = _newest(acting, place)
    if newest is None:
        return None
    number, is_on = newest
    return str(Versions(_aliased(found) or (number if is_on else 0), number))


def _secret(acting: Calls, place: Place) -> Mapping[str, Any] | None:
    try:
        return acting.get(_GET, f"{_HOST}/{place.secret}")
    except CannotSee as fault:
        if fault.code == "NOT_FOUND":
            return None
        raise


def _newest(acting: Calls, place: Place) -> tuple[int, bool] | None:
    """Return the number of the newest version, and whether it is on; None: there is none. Raises CannotSee."""
    try:
        told = acting.get(_NEWEST, f"{_HOST}/{place.secret}/versions/latest")
    except CannotSee as fault:
        if fault.code == "NOT_FOUND":
            return None
        raise
    with reading(_NEWEST):
        return _number(told), told.get("state") == "ENABLED"


def _number(version: Mapping[str, Any]) -> int:
    return int(str(version["name"]).rpartition("/")[2])


def _aliased(found: Mapping[str, Any]) -> int:
    """Return the version that the alias names; 0: it names none."""
    with reading(_GET):
        return int((found.get("versionAliases") or {}).get(CURRENT, 0))


def _create(acting: Calls, place: Place) -> None:
    encrypted = {"customerManagedEncryption": {"kmsKeyName": place.kms_key}} if place.kms_key else {}
    replication = (
        {"userManaged": {"replicas": [{"location": place.region, **encrypted}]}}
        if place.region
        else {"automatic": encrypted}
    )
    project, _, name = place.secret.partition("/secrets/")
    body = {"replication": replication, "annotations": {MARK: place.mark}}
    acting.post(_CREATE, f"{_HOST}/{project}/secrets", body, secretId=name)


def make(acting: Calls, target: Target, place: Place, made: Callable[[str], None]) -> Stored:
    """Make a key and store it. Raises ProviderError."""
    try:
        answer = acting.post(_MAKE, f"{_account(target)}/keys", _KIND, once=True)
        with reading(_MAKE):
            key_id, secret = str(answer["name"]).rpartition("/")[2], str(answer["privateKeyData"])
    except CannotSee as fault:
        message = sentence("clouds.gcp_no_second_key", name=target.identity_name, reason=fault.reason)
        raise ProviderError(message, code=fault.code, permanent=fault.said_no) from None
    made(key_id)
    try:
        version = acting.post(_ADD, f"{_HOST}/{place.secret}:addVersion", {"payload": {"data": secret}})
        with reading(_ADD):
            number = _number(version)
        _point(acting, place, number)
    except CannotSee as fault:
        message = sentence("clouds.key_not_stored", id=key_id, secret=place.secret, reason=fault.reason)
        raise ProviderError(message, code=fault.code, permanent=False) from None
    return _stored(place, number)


def _stored(place: Place, number: int) -> Stored:
    return Stored(where=f"{place.secret}/versions/{number}", version=str(number))


def _point(acting: Calls, place: Place, number: int) -> None:
    """Let the alias name this version (0: none). Raises CannotSee."""
    found = _secret(acting, place)
    if found is None:
        raise CannotSee("NOT_FOUND", _GET, passing=False)
    with reading(_GET):
        aliases = dict(found.get("versionAliases") or {})
        etag = {"etag": found["etag"]} if "etag" in found else {}
    if aliases.get(CURRENT, "0") == str(number):
        return
    aliases = {name: one for name, one in aliases.items() if name != CURRENT} | (
        {CURRENT: str(number)} if number else {}
    )
    body = {"versionAliases": aliases, **etag}
    acting.patch(_ALIAS, f"{_HOST}/{place.secret}", body, updateMask="versionAliases")


def stored(acting: Calls, place: Place, former: str | None) -> Stored | None:
    """Return where the new version is, if there is one; the alias is moved to it where a run broke off before that.

    Whatever is newer than what was there before, and on, is it: only this program writes to a secret with its mark.
    Raises ProviderError.
    """
    try:
        newest = _newest(acting, place)
        if newest is None or newest[0] <= _versions(former).newest or not newest[1]:
            return None
        _point(acting, place, newest[0])
    except CannotSee as fault:
        raise _failure("secret_not_looked_at", place, fault) from None
    return _stored(place, newest[0])


def put_back(acting: Calls, place: Place, former: str | None) -> None:
    """Let the former version be the current one again, and turn off what came after it. Raises ProviderError."""
    before = _versions(former)
    try:
        found = _secret(acting, place)
        if found is None or _aliased(found) <= before.newest:
            return  # it is back already, or somebody moved it: that is theirs
        for number in range(before.newest + 1, _aliased(found) + 1):
            acting.post(_OFF, f"{_HOST}/{place.secret}/versions/{number}:disable", {})
        _point(acting, place, before.current)
    except CannotSee as fault:
        raise _failure("secret_not_put_back", place, fault) from None


def made_by(calls: Calls, target: Target, key_id: str, acting_as: str, since: datetime) -> bool | None:
    """Whether `acting_as` made this key, as the audit log tells; None: it does not tell, or cannot be asked."""
    if not acting_as:
        return None
    try:
        makers = list(logs.makers_of(calls, target.account, key_id, since - _SLACK))
    except CannotSee:
        return None
    return acting_as in makers if makers else None


def _account(target: Target) -> str:
    return f"iam.googleapis.com/v1/projects/{target.account}/serviceAccounts/{target.identity_key}"


def _failure(block: str, place: Place, fault: CannotSee) -> ProviderError:
    message = sentence(f"clouds.{block}", secret=place.secret, reason=fault.reason)
    return ProviderError(message, code=fault.code, permanent=not fault.passing)
