"""Rotation, decided: whether a second key may be made, what a broken run left behind, when the old key can go. Pure.

    making ──> storing ──> watching ──> ready ──> off        the old key is off; it is watched as any other act is
    making, storing ──> lost       made, but not known to be stored: turned off, and marked
    making ──> failed              nothing was made
    watching, ready ──> taken_back the new key is turned off again, and the secret has its former value

A key that was made and never stored is turned off and marked, and not deleted. That nobody holds its secret is only
inferred (from a row, a list and a trail); turning off can be taken back where the inference is wrong, deleting cannot.
And a program that holds no right to delete keys cannot be made to delete one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from nhi.identity import CredentialStatus, Identity
from nhi.policy_rotation import Destination

SETTLES = timedelta(minutes=10)  # by then a list of keys shows what was made before: IAM is eventually consistent
TRAIL_TELLS = timedelta(hours=1)  # by then CloudTrail tells who made a key; it usually takes 15 minutes
OURS_WITHIN = timedelta(minutes=5)  # between the row that says we begin and the time of a key that we made
CLOCKS_DIFFER = timedelta(minutes=1)
_NOT_IN_NAMES = {"aws": r"[^A-Za-z0-9/_+=.@-]", "gcp": r"[^A-Za-z0-9_-]"}  # of secrets
_IN_PROJECT = re.compile(r"projects/([^/]+)/secrets/(.+)", re.DOTALL)
USE_LAGS = timedelta(hours=4)  # how late a use of a key may show


class Stage(StrEnum):
    """Where a rotation stands."""

    MAKING = "making"  # written before the cloud is asked to make a key
    STORING = "storing"  # a key was made, its id is written; whether it is stored is not known yet
    WATCHING = "watching"
    READY = "ready"  # the owner is asked to turn the old key off
    OFF = "off"
    LOST = "lost"
    FAILED = "failed"
    TAKEN_BACK = "taken_back"


ENDS = frozenset({Stage.OFF, Stage.LOST, Stage.FAILED, Stage.TAKEN_BACK})
STORED = frozenset({Stage.WATCHING, Stage.READY, Stage.OFF})


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one new secret goes. Holds names only, and is kept in the database."""

    secret: str  # its name or ARN; of Google Cloud its full name, "projects/PROJECT/secrets/ID"
    mark: str  # whose it is; only a secret that carries this mark, or is made for it, is written to
    region: str | None = None
    kms_key: str | None = None
    native: bool = False


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of an identity, as it is right now; never its secret."""

    id: str
    status: CredentialStatus
    created_at: datetime
    last_used_at: datetime | None  # None: never


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A new secret is in its place."""

    where: str  # its ARN or full name
    version: str


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The place can be written to. `former` tells the version that is current now; None: it holds nothing yet."""

    former: str | None  # in the provider's own words, which only it reads
    acting_as: str  # the provider's own name of who makes the key, by which its trail can be asked; "": not known


def place_for(identity: Identity, destination: Destination) -> Place:
    """Return where an identity's new secret goes, with the holes of its name filled in."""
    holes = {"account": identity.account, "name": identity.name, "provider": identity.provider}
    no_name = _NOT_IN_NAMES.get(identity.provider, _NOT_IN_NAMES["aws"])
    secret = re.sub(r"\{(\w+)\}", lambda hole: re.sub(no_name, "-", holes[hole[1]]), destination.secret)
    return Place(
        secret=_in_project(secret, identity.account) if identity.provider == "gcp" else secret,
        mark=identity.principal,
        region=destination.region,
        kms_key=destination.kms_key,
        native=destination.native,
    )


def _in_project(secret: str, project: str) -> str:
    """Return a Google secret's full name: in the identity's own project, unless policy names another."""
    named = _IN_PROJECT.fullmatch(secret)
    where, name = (named[1], named[2]) if named else (project, secret)
    return f"projects/{where}/secrets/{re.sub(_NOT_IN_NAMES['gcp'], '-', name)}"


# -- before ------------------------------------------------------------------------------------------------------------


class Hindrance(StrEnum):
    """Why no second key can be made, as far as the keys themselves tell."""

    OLD_IS_GONE = "old_is_gone"
    OLD_IS_OFF = "old_is_off"
    TOO_MANY_KEYS = "too_many_keys"


@dataclass(frozen=True, kw_only=True)
class Hindered:
    """A second key cannot be made. `others` are the keys beside the one to be rotated."""

    why: Hindrance
    others: tuple[Key, ...] = ()


def hindrance(old_id: str, keys: Sequence[Key], most: int) -> Hindered | None:
    """Return what stands against making a key beside `old_id`; None: nothing. `most` keys are what a cloud allows."""
    old = next((key for key in keys if key.id == old_id), None)
    if old is None:
        return Hindered(why=Hindrance.OLD_IS_GONE)
    if old.status is not CredentialStatus.ACTIVE:
        return Hindered(why=Hindrance.OLD_IS_OFF)
    if len(keys) >= most:
        return Hindered(why=Hindrance.TOO_MANY_KEYS, others=tuple(key for key in keys if key.id != old_id))
    return None


# -- a run that broke off ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What is known of a rotation that began, and whose run ended before it could say how."""

    keys_before: frozenset[str]
    began_at: datetime
    new_id: str | None  # None: the run ended before it could write which key was made, if one was
    is_stored: bool  # the new version is in its place


@dataclass(frozen=True, kw_only=True)
class Adopt:
    """The new secret is in its place: go on as if nothing had happened. `key_id` None: which key it is, is not seen."""

    key_id: str | None


@dataclass(frozen=True, kw_only=True)
class Again:
    """Nothing was made: begin anew."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """It cannot be told yet."""


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """A key was made and its secret is lost. It is to be turned off where it is not off already."""

    key_id: str
    is_off: bool


@dataclass(frozen=True, kw_only=True)
class NotOurs:
    """A key appeared that somebody else made, or that somebody uses: it is left alone."""

    key_id: str


@dataclass(frozen=True, kw_only=True)
class Vanished:
    """The key that was made is not there any more: somebody deleted it."""

    key_id: str


After = Adopt | Again | Wait | GiveUp | NotOurs | Vanished


def suspects(broken: Broken, keys: Sequence[Key]) -> list[Key]:
    """Return the keys that may be the one which the broken run made, the newest first."""
    if broken.new_id is not None:
        return [key for key in keys if key.id == broken.new_id]
    found = [key for key in keys if key.id not in broken.keys_before]
    return sorted(found, key=lambda key: (key.created_at, key.id), reverse=True)


def after_break(broken: Broken, keys: Sequence[Key], made_by_us: bool | None, now: datetime) -> After:
    """Decide what becomes of a rotation whose run broke off.

    `made_by_us` is what the cloud's trail says of the first suspect; None: it does not tell (yet).
    """
    found, age = suspects(broken, keys), now - broken.began_at
    if broken.is_stored:
        return Adopt(key_id=found[0].id if found else broken.new_id)
    if broken.new_id is not None:
        if age < SETTLES:
            return Wait()  # a list, or a secret, may not show yet what was done
        return _lost(found[0]) if found else Vanished(key_id=broken.new_id)
    if not found:
        return Wait() if age < SETTLES else Again()
    return _suspected(found[0], broken, made_by_us, age)


def _suspected(key: Key, broken: Broken, made_by_us: bool | None, age: timedelta) -> After:
    """Judge a key that appeared. Nobody can use a key whose secret is lost: one that is used is somebody's."""
    if key.last_used_at is not None or made_by_us is False:
        return NotOurs(key_id=key.id)
    if made_by_us:
        return _lost(key)
    if age < TRAIL_TELLS:
        return Wait()
    since = key.created_at - broken.began_at
    return _lost(key) if -CLOCKS_DIFFER <= since <= OURS_WITHIN else NotOurs(key_id=key.id)


def _lost(key: Key) -> GiveUp | NotOurs:
    if key.last_used_at is not None:
        return NotOurs(key_id=key.id)
    return GiveUp(key_id=key.id, is_off=key.status is not CredentialStatus.ACTIVE)


# -- the watch ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the two keys tell. `still_since` is when the old one was last used, or else when the new one was stored."""

    still_since: datetime
    ready_from: datetime  # the earliest instant at which the old one has been still long enough
    new_moved: bool  # the new one was used
    is_ready: bool


def watch(
    *,
    old_used_at: datetime | None,
    new_used_at: datetime | None,
    stored_at: datetime,
    turned_on_at: datetime | None,
    still_for: timedelta,
    now: datetime,
) -> Watched:
    """Judge whether the old key can go: still for `still_for` (and as long as a use may lag), and the new one moved.

    What was used before the new secret was stored tells nothing of the move, so stillness counts from then at the
    earliest; and from `turned_on_at`, where the old key was off already and somebody wanted it back.
    """
    still_since = max(at for at in (old_used_at, stored_at, turned_on_at) if at is not None)
    ready_from = still_since + still_for + USE_LAGS
    moved = new_used_at is not None and new_used_at >= stored_at - CLOCKS_DIFFER
    return Watched(
        still_since=still_since, ready_from=ready_from, new_moved=moved, is_ready=moved and now >= ready_from
    )


class Objection(StrEnum):
    """Why a new key is not taken back."""

    NEW_IS_USED = "new_is_used"
    OLD_IS_OFF = "old_is_off"
    OLD_IS_GONE = "old_is_gone"


def objection(old_id: str, new_id: str, keys: Sequence[Key]) -> Objection | None:
    """Return what stands against taking the new key back; None: nothing. Whoever uses one must not lose it."""
    by_id = {key.id: key for key in keys}
    old, new = by_id.get(old_id), by_id.get(new_id)
    if new is not None and new.last_used_at is not None:
        return Objection.NEW_IS_USED
    if old is None:
        return Objection.OLD_IS_GONE
    return Objection.OLD_IS_OFF if old.status is not CredentialStatus.ACTIVE else None
