"""The least policy that still covers the use that was seen, and the proof that it grants nothing new. Pure.

A service that was not used is taken out; of one that was, the actions that the cloud tracks one by one and saw no use
of. What nothing tells of stays, named or under a wildcard: services that are not tracked, and roles that are passed on.
Resources and conditions stay as they are, and so does every denial: what comes out can only be narrower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from nhi import catalog, globs
from nhi.identity import Access, Exercise, Identity, Permission
from nhi.permissions import new_grants, services
from nhi.powers import Held, held

# Uses of these leave no trace in what AWS tells of its services:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html.
_NEVER_TOLD = ("iam:PassRole",)
ACTIONS_AT_MOST = 120  # in place of one pattern; beyond that the pattern stays, since nobody would read the list
_IN_ALL = 600  # in place of one statement; beyond that it stays: AWS takes no policy of that length


@dataclass(frozen=True, kw_only=True)
class Least:
    """What would do. `dropped` services go; of those that stay some tracked actions may go too."""

    before: tuple[Permission, ...]
    permissions: tuple[Permission, ...]
    used: tuple[str, ...]  # services, since then
    kept: tuple[str, ...]  # those that were used, and those of whose use nothing tells
    dropped: tuple[str, ...]
    lost: tuple[Held, ...]  # powers that it would not have any more

    @property
    def is_narrower(self) -> bool:
        return self.permissions != self.before


def least(identity: Identity, since: datetime) -> Least | None:
    """Return the least that covers the use since then; None: that cannot be told, or nothing was used at all.

    What was not used at all needs no smaller policy: it needs to be turned off.
    """
    access, exercise = identity.access, identity.exercise
    if access is None or exercise is None:
        return None
    if identity.provider == "gcp":
        return _least_of_google(identity, access, exercise, since)
    if access.unread:
        return None
    used = frozenset(name for name, at in exercise.services.items() if at is not None and at >= since)
    if not used:
        return None
    idle = frozenset(name.lower() for name, at in exercise.actions.items() if at is None or at < since)
    known = frozenset(exercise.services)
    narrowed = (_narrowed(one, used, known, idle) for one in access.permissions)
    permissions = tuple(one for one in narrowed if one is not None)
    if new_grants(access.permissions, permissions):
        return None  # never offered: it is not certain that it grants nothing new
    return _result(identity, access, permissions, used)


def google_key(role: str, resource: str) -> str:
    """Return the name of a role on a resource, as an `Exercise` of Google Cloud has it."""
    return f"{role} on {resource}"


def _least_of_google(identity: Identity, access: Access, exercise: Exercise, since: datetime) -> Least | None:
    """Take out roles that are not used, and put smaller ones in the place of others: those were looked into before."""
    kept: list[Permission] = []
    used: set[str] = set()
    for one in access.permissions:
        key = google_key(one.actions[0], one.resources[0])
        at = exercise.services.get(key, since)
        if one.condition or (at is not None and at >= since and key not in exercise.instead):
            kept.append(one)
            used |= {key} & exercise.services.keys()
        elif key in exercise.instead:
            kept += [replace(one, actions=(role,)) for role in exercise.instead[key]]
            used.add(key)
    before = {google_key(one.actions[0], one.resources[0]) for one in access.permissions}
    after = {google_key(one.actions[0], one.resources[0]) for one in kept}
    left = {one.power for one in _held(identity, replace(access, permissions=tuple(kept)))}
    return Least(
        before=access.permissions,
        permissions=tuple(kept),
        used=tuple(sorted(used)),
        kept=tuple(sorted(after & before)),
        dropped=tuple(sorted(before - after)),
        lost=tuple(one for one in _held(identity, access) if one.power not in left),
    )


def _result(identity: Identity, access: Access, permissions: tuple[Permission, ...], used: frozenset[str]) -> Least:
    before, after = services(access.permissions), services(permissions)
    left = {one.power for one in _held(identity, replace(access, permissions=permissions))}
    return Least(
        before=access.permissions,
        permissions=permissions,
        used=tuple(sorted(used & before)),
        kept=tuple(sorted(after)),
        dropped=tuple(sorted(before - after)),
        lost=tuple(one for one in _held(identity, access) if one.power not in left),
    )


def _held(identity: Identity, access: Access) -> tuple[Held, ...]:
    return held(access, provider=identity.provider, account=identity.account)


def _narrowed(
    permission: Permission, used: frozenset[str], known: frozenset[str], idle: frozenset[str]
) -> Permission | None:
    """Return the statement with the used actions alone; None: nothing of it is left."""
    if not permission.allows:
        return permission
    if permission.but_actions:
        actions = list(_all_but(permission.but_actions, used, known, idle))
    else:
        actions = [one for pattern in permission.actions for one in _of_pattern(pattern, used, known, idle)]
    kept = tuple(dict.fromkeys(actions))
    if not kept:
        return None
    stays = kept == permission.actions or len(kept) > max(_IN_ALL, len(permission.actions))
    return permission if stays else replace(permission, actions=kept, but_actions=())


def _of_pattern(pattern: str, used: frozenset[str], known: frozenset[str], idle: frozenset[str]) -> Iterable[str]:
    prefix, colon, name = pattern.partition(":")
    if not colon:
        prefix, name = pattern, "*"
    if not globs.is_pattern(prefix):
        service = prefix.lower()
        return _tracked(pattern, idle) if service in used or service not in known else _never_told(pattern)
    stay = (one for one in _staying(used, known) if globs.fits(prefix, one, ignore_case=True))
    found = [f"{service}:{name}" for service in stay]
    kept = [action for each in found if catalog.expand(each) for action in _tracked(each, idle)]
    return kept if f"iam:{name}" in found else [*kept, *_never_told(pattern)]


def _staying(used: frozenset[str], known: frozenset[str]) -> list[str]:
    """Return the services that were used, and those of which the cloud does not tell whether they were, sorted."""
    return sorted(used | (catalog.services() - known))


def _never_told(pattern: str) -> Sequence[str]:
    if not globs.is_pattern(pattern):
        return [pattern] if any(pattern.lower() == one.lower() for one in _NEVER_TOLD) else []
    return [one for one in _NEVER_TOLD if globs.fits(pattern, one, ignore_case=True)]


def _tracked(pattern: str, idle: frozenset[str]) -> Sequence[str]:
    """Return the pattern, or in its place its actions without those that are tracked and were not used."""
    found = catalog.expand(pattern)
    left = [action for action in found if action.lower() not in idle or action in _NEVER_TOLD]
    if len(left) == len(found):
        return (pattern,)
    return left if len(left) <= ACTIONS_AT_MOST else (pattern,)


def _all_but(
    excluded: Sequence[str], used: frozenset[str], known: frozenset[str], idle: frozenset[str]
) -> Iterable[str]:
    """Yield what is used, and what nothing tells of, of everything but what is excluded."""
    for service in _staying(used, known):
        whole = f"{service}:*"
        if all(globs.apart(whole, one, ignore_case=True) for one in excluded):
            yield from _tracked(whole, idle)
            continue
        found = [one for one in catalog.actions_of(service) if not globs.fits_any(excluded, one, ignore_case=True)]
        yield from (one for one in found if one.lower() not in idle or one in _NEVER_TOLD)
    if "iam" in known - used:
        yield from (one for one in _NEVER_TOLD if not globs.fits_any(excluded, one, ignore_case=True))
