"""Google's deny policies: what somebody may not do in a place, whatever roles allow; where the source asks for them.

One list a place (an organisation, folder or project in which accounts have roles, and what is above it) and one call a
policy. A denial counts as certain only where it surely meets the account, has no condition and leaves nothing out: who
is in a group is not known here. Source: https://cloud.google.com/iam/docs/deny-overview.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from nhi.globs import fits_any, is_pattern
from nhi.identity import Need, Permission
from nhi.providers.gcp.bindings import Grant
from nhi.providers.gcp.calls import Calls, CannotSee, reading

LIST, GET = "iam.denypolicies.list", "iam.denypolicies.get"
PERMISSIONS = (
    Need(action=LIST, why="tells which deny policies there are in a place"),
    Need(action=GET, why="tells what each of them says"),
)
_CONTAINERS = ("organizations/", "folders/", "projects/")
_HOST = "iam.googleapis.com/v2"
_EVERYBODY = "principalSet://goog/public:all"
_ONE_ACCOUNT = "principal://iam.googleapis.com/projects/-/serviceAccounts/"
_OF_A_PLACE = "principalSet://cloudresourcemanager.googleapis.com/"
_POOLS = ("principal://iam.googleapis.com/projects/", "principalSet://iam.googleapis.com/projects/")
_PEOPLE = ("principal://goog/subject/", "deleted:")
_WORKFORCE = "://iam.googleapis.com/locations/global/workforcePools/"
_ALL = Permission(allows=True, actions=("*",), resources=("*",), via="where no deny policy stands against it")


@dataclass(frozen=True, kw_only=True)
class Denial:
    """One rule of a deny policy."""

    place: str  # "projects/123"
    policy: str
    permissions: tuple[str, ...]  # "secretmanager.googleapis.com/versions.access", "iam.googleapis.com/*.*"
    but: tuple[str, ...]
    who: tuple[str, ...]
    but_who: tuple[str, ...]
    condition: str


@dataclass(frozen=True, kw_only=True)
class Denials:
    """What denies in one place, or why that could not be read."""

    place: str
    found: tuple[Denial, ...] = ()
    fault: CannotSee | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An account or pool, as deny policies name it."""

    kind: str  # "ServiceAccount", "ServiceAgent", "" for a pool
    name: str  # its e-mail, or the pool's name
    places: frozenset[str]  # where it lies: "projects/123", "folders/1", "organizations/1"


def places(grants: Iterable[Grant]) -> list[str]:
    """Return the containers in which these roles are given, and those above them."""
    found = {place for grant in grants for place in _chain(grant)}
    return sorted(found)


def _chain(grant: Grant) -> list[str]:
    """Return the containers that a role lies in; a project by its number where that is told."""
    chain = [grant.resource, *grant.above]
    numbered = any(place.startswith("projects/") for place in grant.above)
    named = [one for one in chain if one.startswith(_CONTAINERS) and one.count("/") == 1]
    return [one for one in named if not (numbered and one.startswith("projects/") and not one[9:].isdigit())]


def ask(calls: Calls, place: str) -> Denials:
    """Read the deny policies of one place; never raises CannotSee, but returns it."""
    parent = f"{_HOST}/policies/{quote(f'cloudresourcemanager.googleapis.com/{place}', safe='')}/denypolicies"
    try:
        names = []
        for page in calls.pages(LIST, parent):
            with reading(LIST):
                names += [str(one["name"]).rpartition("/")[2] for one in page.get("policies", ())]
        return Denials(place=place, found=tuple(one for name in names for one in _rules(calls, parent, place, name)))
    except CannotSee as fault:
        return Denials(place=place, fault=fault)


def _rules(calls: Calls, parent: str, place: str, name: str) -> Iterator[Denial]:
    told = calls.get(GET, f"{parent}/{quote(name, safe='')}")
    with reading(GET):
        yield from [_denial(place, name, one["denyRule"]) for one in told.get("rules", ()) if "denyRule" in one]


def _denial(place: str, name: str, rule: Mapping[str, Any]) -> Denial:
    return Denial(
        place=place,
        policy=name,
        permissions=tuple(map(str, rule.get("deniedPermissions", ()))),
        but=tuple(map(str, rule.get("exceptionPermissions", ()))),
        who=tuple(map(str, rule.get("deniedPrincipals", ()))),
        but_who=tuple(map(str, rule.get("exceptionPrincipals", ()))),
        condition=str((rule.get("denialCondition") or {}).get("expression", "")),
    )


def ceilings(
    subject: Subject, grants: Sequence[Grant], denials: Mapping[str, Sequence[Denial]]
) -> tuple[tuple[Permission, ...], ...]:
    """Return what stands above an identity: one ceiling, of everything but what is denied; none where nothing is."""
    found = []
    for place, rules in denials.items():
        covered = tuple(dict.fromkeys(grant.resource for grant in grants if place in (grant.resource, *grant.above)))
        found += [told for rule in rules if covered and (told := _told(rule, subject, covered)) is not None]
    return ((_ALL, *found),) if found else ()


def _told(rule: Denial, subject: Subject, covered: tuple[str, ...]) -> Permission | None:
    """Return what a rule denies somebody on the resources that it covers; None: it does not meet them."""
    meets, spares = _any(rule.who, subject), _any(rule.but_who, subject)
    if meets is False or spares is True or not rule.permissions:
        return None
    denied = tuple(one for one in rule.permissions if not fits_any(rule.but, one))
    partly = [one for one in rule.but if any(is_pattern(pattern) and fits_any((pattern,), one) for pattern in denied)]
    unsure = [
        rule.condition,
        f"where it is one of {', '.join(rule.who)}" if meets is None else "",
        f"unless it is one of {', '.join(rule.but_who)}" if spares is None else "",
        f"but for {', '.join(partly)}" if partly else "",
    ]
    return Permission(
        allows=False,
        actions=denied,
        resources=covered,
        condition="; ".join(filter(None, unsure)),
        via=f"deny policy {rule.policy} on {rule.place}",
    )


def _any(principals: Iterable[str], subject: Subject) -> bool | None:
    """Whether one of these is, or holds, the subject; None: that is not known."""
    found = [_is(one, subject) for one in principals]
    return True if True in found else None if None in found else False


def _is(principal: str, subject: Subject) -> bool | None:
    if principal == _EVERYBODY:
        return True
    if principal.startswith(_PEOPLE) or _WORKFORCE in principal:
        return False
    if principal.startswith(_ONE_ACCOUNT):
        return principal == _ONE_ACCOUNT + subject.name
    if principal.startswith(_OF_A_PLACE):
        place, _, kind = principal.removeprefix(_OF_A_PLACE).partition("/type/")
        return kind == subject.kind and place in subject.places
    if principal.startswith(_POOLS):
        return _holds_pool(principal, subject)
    return None  # a group, a customer, or what is not known yet


def _holds_pool(principal: str, subject: Subject) -> bool | None:
    """Whether a set of a pool's identities is the whole pool; a part of it may be whoever uses it."""
    part = principal.partition("iam.googleapis.com/")[2]
    if subject.kind or not part.startswith(f"{subject.name}/"):
        return False
    return True if part == f"{subject.name}/*" else None
