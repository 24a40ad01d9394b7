"""What identities do, day by day: each use becomes a mark in the profile of its day. Pure.

A profile is bounded: each facet keeps as many values as CAPS says, and counts what came beyond. Values that matter
most to a judge (nhi/sensitive.py) are kept in any case. Times are whole seconds since 1970, in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from nhi.sensitive import is_sensitive

DAY = 86_400
HOUR = 3_600
EPOCH = date(1970, 1, 1)
PLACES_AT_MOST = 96  # (place, hour) pairs of one day, to see impossible travel by
LONGEST = 120  # characters of a value
AT = " @ "  # between an agent and its network: neither has that sign


class Facet(StrEnum):
    """A way to look at what an identity does."""

    HOUR = "hour"  # "5-03": Saturday, from 03:00 UTC
    NETWORK = "network"  # "198.51.100.0/24", or "cloud:cloudformation" where a service calls for it
    COUNTRY = "country"  # "IE"
    AGENT = "agent"  # "aws-cli on linux"
    SERVICE = "service"  # "iam"
    ACTION = "action"  # "iam:CreateUser"
    ERROR = "error"  # "ThrottlingException"
    DENIED = "denied"  # actions that were refused for want of permission
    CREDENTIAL = "credential"  # "AKIA...": which of its keys
    PROGRAM = "program"  # "aws-cli on linux @ 198.51.100.0/24": which agent called from which network
    ELSEWHERE = "elsewhere"  # another account or project than its own, which it reached


CAPS: Mapping[Facet, int] = {
    Facet.HOUR: 168,
    Facet.NETWORK: 48,
    Facet.COUNTRY: 24,
    Facet.AGENT: 16,
    Facet.SERVICE: 48,
    Facet.ACTION: 160,
    Facet.ERROR: 24,
    Facet.DENIED: 64,
    Facet.CREDENTIAL: 8,
    Facet.PROGRAM: 32,
    Facet.ELSEWHERE: 16,
}


class Use(NamedTuple):
    """One thing that an identity did, as an audit trail tells of it."""

    id: str  # the trail's own: an event that is read twice has it twice
    who: str  # the identity as the trail knows it: AIDA..., AROA..., or a service account's e-mail
    at: int
    service: str
    action: str
    network: str
    address: str | None  # to look its country up; None: a service of the cloud called for it
    agent: str
    error: str | None  # the cloud's code; None: it was done
    denied: bool  # the error is for want of permission
    credential: str | None  # the key's public id; None: the trail does not tell, or it was a session
    elsewhere: str | None = None  # the account or project that it reached; None: its own, or not told


class Place(NamedTuple):
    """Where an address is. Degrees are None where the file tells countries only."""

    country: str
    latitude: float | None = None
    longitude: float | None = None

    @property
    def mark(self) -> str:
        """The place as a profile keeps it: "IE", or "IE:53,-6" to whole degrees."""
        if self.latitude is None or self.longitude is None:
            return self.country
        return f"{self.country}:{round(self.latitude)},{round(self.longitude)}"


Count = list[int]  # how many events, on how many days, and the first of them
Seen = dict[str, dict[str, Count]]  # by facet, by value


@dataclass
class Profile:
    """What one identity did on one day, or (folded) in one week."""

    who: str
    day: date  # the first of them
    days: int = 1  # how many calendar days it covers
    active_days: int = 1
    events: int = 0
    denied: int = 0
    most_denied: int = 0  # on its worst day
    first_at: int = 0
    last_at: int = 0
    seen: Seen = field(default_factory=dict)
    over: dict[str, int] = field(default_factory=dict)  # events with values beyond the caps, by facet
    stays: dict[str, list[int]] = field(default_factory=dict)  # "IE|14" -> its first and last second there in that hour

    def values(self, facet: Facet) -> Mapping[str, Count]:
        return self.seen.get(facet, {})


class DayBook:
    """Collects uses into the profiles of their days. Order does not matter."""

    def __init__(self) -> None:
        self.profiles: dict[tuple[str, int], Profile] = {}
        self.events = 0

    def add(self, use: Use, place: Place | None) -> None:
        """Mark one use. The caller saw to it that it was not marked before."""
        number = use.at // DAY
        profile = self.profiles.get((use.who, number))
        if profile is None:
            profile = Profile(who=use.who, day=EPOCH + timedelta(days=number), first_at=use.at, last_at=use.at)
            self.profiles[use.who, number] = profile
        self.events += 1
        profile.events += 1
        profile.first_at, profile.last_at = min(profile.first_at, use.at), max(profile.last_at, use.at)
        mark(profile, Facet.HOUR, slot(use.at), use.at)
        mark(profile, Facet.NETWORK, use.network, use.at)
        mark(profile, Facet.AGENT, use.agent, use.at)
        mark(profile, Facet.PROGRAM, f"{use.agent}{AT}{use.network}", use.at)
        mark(profile, Facet.SERVICE, use.service, use.at)
        mark(profile, Facet.ACTION, use.action, use.at)
        if place is not None:
            mark(profile, Facet.COUNTRY, place.country, use.at)
            _stay(profile, place, use.at)
        if use.credential is not None:
            mark(profile, Facet.CREDENTIAL, use.credential, use.at)
        if use.elsewhere is not None:
            mark(profile, Facet.ELSEWHERE, use.elsewhere, use.at)
        if use.error is not None:
            mark(profile, Facet.ERROR, use.error, use.at)
            if use.denied:
                profile.denied += 1
                profile.most_denied = profile.denied
                mark(profile, Facet.DENIED, use.action, use.at)


def mark(profile: Profile, facet: Facet, value: str, at: int) -> None:
    """Count one value of a facet, within its cap."""
    found = profile.seen.get(facet)
    if found is None:
        found = profile.seen[facet] = {}
    count = found.get(value)
    if count is not None:
        count[0] += 1
        if at < count[2]:
            count[2] = at
    elif len(found) < CAPS[facet] or (facet is Facet.ACTION and is_sensitive(value)):
        found[value] = [1, 1, at]
    else:
        profile.over[facet] = profile.over.get(facet, 0) + 1


def _stay(profile: Profile, place: Place, at: int) -> None:
    key = f"{place.mark}|{at % DAY // HOUR}"
    stay = profile.stays.get(key)
    if stay is not None:
        stay[0], stay[1] = min(stay[0], at), max(stay[1], at)
    elif len(profile.stays) < PLACES_AT_MOST:
        profile.stays[key] = [at, at]


@lru_cache(maxsize=4096)
def _slot(hour: int) -> str:
    return f"{(hour // 24 + 3) % 7}-{hour % 24:02d}"  # 1 January 1970 was a Thursday


def slot(at: int) -> str:
    """Return the hour of the week of an instant: "5-03" is Saturday, from 03:00 UTC."""
    return _slot(at // HOUR)


def join(old: Profile, new: Profile) -> Profile:
    """Return the profile of a day of which one part was known and another was read now. Neither is changed."""
    return _together(old, new, same_day=True)


def fold(profiles: Iterable[Profile]) -> Profile:
    """Return one profile for several days of one identity. At least one; where it was when is not kept."""
    first, *rest = sorted(profiles, key=lambda profile: profile.day)
    together = _together(Profile(who=first.who, day=first.day, days=0, active_days=0), first, same_day=False)
    for profile in rest:
        together = _together(together, profile, same_day=False)
    together.stays = {}
    return together


def _together(old: Profile, new: Profile, *, same_day: bool) -> Profile:
    denied = old.denied + new.denied
    both = Profile(
        who=old.who,
        day=min(old.day, new.day),
        days=old.days if same_day else old.days + new.days,
        active_days=old.active_days if same_day else old.active_days + new.active_days,
        events=old.events + new.events,
        denied=denied,
        most_denied=denied if same_day else max(old.most_denied, new.most_denied),
        first_at=min(old.first_at or new.first_at, new.first_at),
        last_at=max(old.last_at, new.last_at),
        seen={facet: {value: list(count) for value, count in found.items()} for facet, found in old.seen.items()},
        over={facet: old.over.get(facet, 0) + new.over.get(facet, 0) for facet in {**old.over, **new.over}},
        stays={key: list(stay) for key, stay in old.stays.items()},
    )
    for facet, found in new.seen.items():
        _add_counts(both, Facet(facet), found, same_day=same_day)
    for key, (begin, end) in new.stays.items():
        if key in both.stays or len(both.stays) < PLACES_AT_MOST:
            before = both.stays.get(key, [begin, end])
            both.stays[key] = [min(before[0], begin), max(before[1], end)]
    return both


def _add_counts(both: Profile, facet: Facet, found: Mapping[str, Count], *, same_day: bool) -> None:
    kept = both.seen.setdefault(facet, {})
    for value, (events, days, first) in found.items():
        known = kept.get(value)
        if known is not None:
            kept[value] = [
                known[0] + events,
                max(known[1], days) if same_day else known[1] + days,
                min(known[2], first),
            ]
        elif len(kept) < CAPS[facet] or (facet is Facet.ACTION and is_sensitive(value)):
            kept[value] = [events, days, first]
        else:
            both.over[facet] = both.over.get(facet, 0) + events


def body_of(profile: Profile) -> dict[str, Any]:
    """Return what a row keeps of a profile beside its columns."""
    return {
        "seen": profile.seen,
        "over": profile.over,
        "stays": profile.stays,
        "most_denied": profile.most_denied,
        "active_days": profile.active_days,
    }


# -- how trails word things, made comparable ---------------------------------------------------------------------------

_WORD = re.compile(r"[^A-Za-z0-9._:/ +()-]+")
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9._ -]{0,39}")
_SYSTEMS = (
    ("kali", re.compile(r"kali|parrot|pentoo", re.IGNORECASE)),
    ("windows", re.compile(r"windows|win32|win64|os/win", re.IGNORECASE)),
    ("macos", re.compile(r"darwin|macos|mac os", re.IGNORECASE)),
    ("linux", re.compile(r"linux", re.IGNORECASE)),
)
_CALLERS = re.compile(r"([a-z0-9-]+)(?:\.[a-z0-9-]+)*\.(?:amazonaws\.com|googleapis\.com|amazonaws\.com\.cn)")


def tidy_value(text: str) -> str:
    """Return a value of a trail as it may be kept and shown: short, and of plain characters."""
    return _WORD.sub("", text)[:LONGEST]


_LAST = frozenset(str(number) for number in range(256))


def network_of(source: str) -> tuple[str, str | None]:
    """Return the network of a caller's address, and the address where it is one: IPv4 by /24, IPv6 by /48."""
    head, _, last = source.rpartition(".")
    if last in _LAST and (network := _network_of_24(head)):
        return network, source
    return _network_of(source)


@lru_cache(maxsize=20_000)
def _network_of_24(head: str) -> str | None:
    """Return the network of what stands before an address's last dot; None: that is no part of an address."""
    try:
        return str(ip_network(f"{head}.0/24"))
    except ValueError:
        return None


@lru_cache(maxsize=20_000)
def _network_of(source: str) -> tuple[str, str | None]:
    try:
        address = ip_address(source)
    except ValueError:
        caller = _CALLERS.fullmatch(source.lower())
        return (f"cloud:{caller[1]}" if caller else tidy_value(source) or "unknown"), None
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    wide = 24 if address.version == 4 else 48
    return str(ip_network((address, wide), strict=False)), str(address)


@lru_cache(maxsize=20_000)
def agent_of(text: str) -> str:
    """Return the tool behind a user agent, without what changes with each release: "aws-cli on linux"."""
    head = text.strip().lstrip("[").partition("/")[0].split("(")[0]
    product = _PRODUCT.match(head)
    tool = product[0].strip() if product else "unknown"
    if _CALLERS.fullmatch(text.strip().lower()):
        tool = f"cloud:{text.strip().lower().partition('.')[0]}"
    system = next((name for name, pattern in _SYSTEMS if pattern.search(text)), None)
    return tidy_value(f"{tool} on {system}" if system else tool)


def instant(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
