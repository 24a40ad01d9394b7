"""What an identity may really do: statements weighed against each other, as the clouds themselves weigh them. Pure.

A denial wins over whatever allows, a boundary allows at most what it says. A condition is not judged but kept: what is
allowed under one counts as allowed in part, and a denial under one, or of some resources, takes nothing away but the
word "everywhere", since it may not apply. What the organisation limits is a ceiling, as a boundary is, at each of its
levels. Source:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html. Policies of resources are not
seen here; whoever shows a result says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

from nhi import catalog, globs
from nhi.identity import Access, Permission
from nhi.words import sentence

OWN_ACCOUNT = "${aws:PrincipalAccount}"
_SHORT = 16  # patterns, which are held against an action one by one
_OWN_NAMES = ("/${aws:username}", "/${aws:userid}")  # other variables name an account, or what others share


def says(provider: str, access: Access | None) -> str:
    """Return what is seen of what an identity may do, and what is not, in a sentence."""
    above = access is not None and access.ceilings is not None
    if provider == "gcp":
        return sentence("findings.permissions_gcp_denials" if above else "findings.permissions_gcp")
    if provider != "aws":
        return ""
    named = access is not None and access.by_resources is not None
    seen = {(False, False): "", (True, False): "_resources", (False, True): "_organisations", (True, True): "_both"}
    return sentence(f"findings.permissions_aws{seen[named, above]}")


class Reach(IntEnum):
    """How far an action is allowed."""

    NONE = 0
    SOME = 1  # on some resources, or under a condition
    ALL = 2


def names(permission: Permission, action: str) -> bool:
    """Whether a statement is about an action. Actions are compared without regard to case, as AWS does."""
    patterns = permission.but_actions or permission.actions
    fits = globs.fits_any(_of_its_service(patterns, action), action, ignore_case=True)
    return fits is not bool(permission.but_actions)


def _of_its_service(patterns: tuple[str, ...], action: str) -> tuple[str, ...]:
    """Return those of an action's service, and those of several: no other takes it in. AWS's own policies are long."""
    if len(patterns) <= _SHORT:
        return patterns
    found = _by_service(patterns)
    return found.get(action.partition(":")[0].lower(), ()) + found.get("*", ())


@lru_cache(maxsize=2048)
def _by_service(patterns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return patterns by the service they begin with; those of several services by "*"."""
    found: dict[str, list[str]] = {}
    for one in patterns:
        service = one.partition(":")[0].lower()
        found.setdefault("*" if globs.is_pattern(service) else service, []).append(one)
    return {service: tuple(several) for service, several in found.items()}


def is_about(permission: Permission, resource: str) -> bool:
    """Whether a statement is about a resource."""
    if permission.but_resources:
        return not globs.fits_any(permission.but_resources, resource)
    return globs.fits_any(permission.resources, resource)


def allows(
    permissions: Sequence[Permission], action: str, resource: str, holds: Callable[[str], bool] = lambda _: True
) -> bool:
    """Whether these statements allow one action on one resource; `holds` tells of each condition whether it is met."""
    fitting = [
        one
        for one in permissions
        if names(one, action) and is_about(one, resource) and (not one.condition or holds(one.condition))
    ]
    return any(one.allows for one in fitting) and all(one.allows for one in fitting)


def reach(access: Access, action: str) -> Reach:
    """Return how far an identity may do an action, its boundary and what stands above it considered."""
    given = access.by_resources or ()
    own = _reach((*access.permissions, *_denying(given)), action)
    bound = Reach.ALL if access.boundary is None else _reach(access.boundary, action)
    own = min(own, bound)
    if given:  # what a resource gives to a user by name, no boundary takes away, but denials do; a role's boundary does
        theirs = _reach((*given, *_denying(access.permissions), *_denying(access.boundary or ())), action)
        own = max(own, min(theirs, bound) if access.bounds_given else theirs)
    return min([own, *(_ceiling(one, action) for one in access.ceilings or ())]) if own is not Reach.NONE else own


def _denying(permissions: Iterable[Permission]) -> Iterator[Permission]:
    return (one for one in permissions if not one.allows)


@lru_cache(maxsize=50_000)
def _ceiling(permissions: tuple[Permission, ...], action: str) -> Reach:
    """Return the same of one ceiling: kept, because all of an account have it."""
    return _reach(permissions, action)


def _reach(permissions: Iterable[Permission], action: str) -> Reach:
    found = Reach.NONE
    limited = False
    for one in permissions:
        if not names(one, action):
            continue
        if one.allows:
            found = max(found, Reach.ALL if _is_everywhere(one) else Reach.SOME)
        elif not one.condition and "*" in one.resources:
            return Reach.NONE
        else:
            limited = True
    return min(found, Reach.SOME) if limited else found


def _is_everywhere(permission: Permission) -> bool:
    """Whether it is about everything, or about everything but something, with no condition."""
    return not permission.condition and ("*" in permission.resources or bool(permission.but_resources))


def leaves(access: Access, given: Permission, resource: str) -> bool:
    """Whether what denies and limits leaves anything of what one of its statements allows on a resource of AWS."""
    limits = (access.boundary or (), *(access.ceilings or ()))
    denials = [one for each in (access.permissions, *limits) for one in _denying(each) if not one.condition]
    if _is_within(replace(given, resources=(resource,)), denials):
        return False
    known = (action for pattern in given.actions for action in catalog.expand(pattern) or (pattern,))
    return bool(given.but_actions) or any(reach(access, action) is not Reach.NONE for action in known)


def reach_of_others(access: Access, action: str) -> Reach:
    """Return the same, leaving out what is allowed on the identity's own name alone (`user/${aws:username}`)."""
    kept = tuple(one for one in access.permissions if not one.allows or not _is_own(one))
    return reach(replace(access, permissions=kept), action)


def _is_own(permission: Permission) -> bool:
    return bool(permission.resources) and all(one.lower().endswith(_OWN_NAMES) for one in permission.resources)


def is_allowed_at_large(access: Access, action: str, kind: str) -> bool:
    """Whether an identity may do an IAM action on all things of a kind (`role`), but for those that are kept from it.

    A denial under a condition, or of some of them, keeps it from those and no more.
    """
    limits = [] if access.boundary is None else [access.boundary]
    return all(_at_large(one, action, kind) for one in (access.permissions, *limits, *(access.ceilings or ())))


def _at_large(permissions: Iterable[Permission], action: str, kind: str) -> bool:
    found = [one for one in permissions if names(one, action)]
    denied = (one for one in found if not one.allows and not one.condition)
    return any(one.allows and _is_everywhere(one) for one in found) and not any(_has_all(one, kind) for one in denied)


def _has_all(permission: Permission, kind: str) -> bool:
    """Whether it is about all of a kind of IAM's things in an account, or about all but some."""
    return bool(permission.but_resources) or any(_takes_kind(one, kind) for one in permission.resources)


def _takes_kind(resource: str, kind: str) -> bool:
    if resource == "*":
        return True
    parts = resource.replace(OWN_ACCOUNT, "*").split(":", 5)
    return len(parts) > 2 and globs.fits(parts[2], "iam") and globs.within(f"{kind}/*", parts[-1])


def services(permissions: Iterable[Permission]) -> frozenset[str]:
    """Return the services in which anything is allowed, denials left out of account."""
    found: set[str] = set()
    for one in permissions:
        if not one.allows:
            continue
        if one.but_actions:
            whole = {pattern.partition(":")[0].lower() for pattern in one.but_actions if pattern.endswith(":*")}
            found |= catalog.services() - whole
        for pattern in one.actions:
            found |= catalog.services_of(pattern)
    return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class Grown:
    """What an identity may do now and might not before."""

    permissions: tuple[Permission, ...]
    trust: tuple[str, ...]  # who may become it now, and might not before


def grew(before: Access, now: Access) -> Grown:
    """Return the statements that allow something new, and the newly trusted.

    A statement is new if nothing certain that allowed it stood there before. One that only moved from a policy to
    another is not, nor is one that was cut. A denial, a boundary or a ceiling that is gone lets everything under it
    grow; where what stands above was not told, then or now, nothing is judged by it.
    """
    loosened = _is_loosened(before, now)
    old = (*before.permissions, *(before.by_resources or ()))
    told = now.by_resources or () if before.by_resources is not None else ()
    new = [one for one in (*now.permissions, *told) if one.allows and (loosened or not is_covered(one, old))]
    trusted = {(one.who, one.condition) for one in before.trust}
    return Grown(
        permissions=tuple(new),
        trust=tuple(dict.fromkeys(one.who for one in now.trust if (one.who, one.condition) not in trusted)),
    )


def _is_loosened(before: Access, now: Access) -> bool:
    if before.boundary is not None and (now.boundary is None or not _is_as_tight(now.boundary, before.boundary)):
        return True
    if before.ceilings is not None and now.ceilings is not None:
        for old in before.ceilings:
            if not any(_is_as_tight(new, old) for new in now.ceilings):
                return True
    return bool(_lost_denials(before.permissions, now.permissions))


def _is_as_tight(new: Sequence[Permission], old: Sequence[Permission]) -> bool:
    """Whether it is certain that a boundary or ceiling lets nothing through that the old one did not."""
    return all(is_covered(one, old) for one in new if one.allows) and not _lost_denials(old, new)


def _lost_denials(old: Sequence[Permission], new: Sequence[Permission]) -> list[Permission]:
    """Return the old denials of which it is not certain that all that they deny is still denied."""
    stay = [one for one in new if not one.allows]
    same = {replace(one, via="") for one in stay}
    return [one for one in old if not one.allows and replace(one, via="") not in same and not _is_within(one, stay)]


def is_covered(new: Permission, old: Sequence[Permission]) -> bool:
    """Whether it is certain that all that a statement allows was allowed by one of the others, action by action."""
    return _is_within(new, [one for one in old if one.allows])


def _is_within(new: Permission, old: Sequence[Permission]) -> bool:
    """Whether it is certain that all that a statement is about is what others are about, action by action."""
    if new.but_actions:
        return any(_same_place(new, one) and _takes_all_but(one, new.but_actions) for one in old)
    return all(any(_takes(one, action, new) for one in old) for action in new.actions)


def _takes(old: Permission, action: str, new: Permission) -> bool:
    if not _same_place(new, old):
        return False
    if old.but_actions:
        return all(globs.apart(action, other, ignore_case=True) for other in old.but_actions)
    return any(globs.within(action, other, ignore_case=True) for other in _of_its_service(old.actions, action))


def _takes_all_but(old: Permission, excluded: Sequence[str]) -> bool:
    if old.but_actions:
        return set(old.but_actions) <= set(excluded)
    return "*" in old.actions


def _same_place(new: Permission, old: Permission) -> bool:
    """Whether all of the new statement's resources lie within the old one's, under the same condition or a stricter."""
    if old.condition and new.condition != old.condition:
        return False
    if new.but_resources:
        if old.but_resources:
            return set(old.but_resources) <= set(new.but_resources)
        return "*" in old.resources
    if old.but_resources:
        return all(globs.apart(one, other) for one in new.resources for other in old.but_resources)
    return all(any(globs.within(one, other) for other in old.resources) for one in new.resources)


def new_grants(old: Sequence[Permission], new: Sequence[Permission]) -> tuple[Permission, ...]:
    """Return what keeps it from being certain that `new` grants nothing that `old` did not; none: it is certain."""
    return (*(one for one in new if one.allows and not is_covered(one, old)), *_lost_denials(old, new))
