"""An identity's habits: what its own history says is usual, and how surprising something new would be. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from nhi.activity import CAPS, Count, Facet, Profile, fold

BURN_IN = 7  # active days in which everything is new, and so tells nothing of how often something new comes
_RARE = 0.05  # of the active days: hours that are seen less often are not called usual


@dataclass(frozen=True, kw_only=True)
class Habit:
    """What is usual for one identity."""

    active_days: int
    first_on: date
    last_on: date
    seen: Mapping[Facet, Mapping[str, Count]]
    novel_days: Mapping[Facet, int]  # after the burn-in, on how many days something of this facet was new
    most_denied: int  # on one day
    most_denied_kinds: int
    most_new_actions: int
    overflowed: frozenset[Facet]  # facets that were too many to keep on some day before

    @property
    def span(self) -> timedelta:
        """How long the history is."""
        return self.last_on - self.first_on + timedelta(days=1)

    def knows(self, facet: Facet, value: str) -> bool:
        return value in self.seen.get(facet, {})

    def surprise(self, facet: Facet) -> float:
        """Return how surprising something new in a facet is, in bits: little where new things come often."""
        judged = max(self.active_days - BURN_IN, 0)
        return -math.log2((self.novel_days.get(facet, 0) + 0.5) / (judged + 1))

    def surprise_of_hour(self, slot: str) -> float:
        """Return how surprising it is to be active then, in bits: against all such days, working or weekend days."""
        weekday, hour = int(slot[0]), int(slot[2:])
        weekend = weekday >= 5
        alike = range(5, 7) if weekend else range(5)
        near = {(hour + by) % 24 for by in (-1, 0, 1)}
        hours = self.seen.get(Facet.HOUR, {})
        # The most days that any near hour was seen, over all alike weekdays: a day counts once.
        active = max(sum(hours.get(f"{day}-{one:02d}", (0, 0, 0))[1] for day in alike) for one in near)
        return -math.log2((active + 0.5) / (max(self._days_like(weekend), active) + 1))

    def _days_like(self, weekend: bool) -> int:
        days = self.span.days
        whole, rest = divmod(days, 7)
        extra = sum(((self.first_on.weekday() + offset) % 7 >= 5) == weekend for offset in range(rest))
        return whole * (2 if weekend else 5) + extra


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What somebody said was theirs for a while, which is over. What was seen of it meanwhile makes no habit."""

    facet: Facet
    value: str
    since: date
    until: date


def without(profiles: Sequence[Profile], ended: Sequence[Ended]) -> list[Profile]:
    """Return the profiles without what was usual only because somebody said so, for as long as they said."""
    return [_without(profile, ended) for profile in profiles] if ended else list(profiles)


def _without(profile: Profile, ended: Sequence[Ended]) -> Profile:
    last = profile.day + timedelta(days=profile.days - 1)
    gone = {(one.facet, one.value) for one in ended if one.since <= last and profile.day <= one.until}
    if not gone:
        return profile
    kept = {
        facet: {value: count for value, count in values.items() if (facet, value) not in gone}
        for facet, values in profile.seen.items()
    }
    return replace(profile, seen=kept)


def habit_of(profiles: Sequence[Profile], learned: Iterable[tuple[Facet, str]] = ()) -> Habit | None:
    """Return the habits that earlier days tell of, with what people said is theirs; None: there was no earlier day."""
    if not profiles:
        return None
    ordered = sorted(profiles, key=lambda profile: profile.day)
    whole = fold(ordered)
    seen: dict[Facet, dict[str, Count]] = {Facet(facet): dict(found) for facet, found in whole.seen.items()}
    for facet, value in learned:
        seen.setdefault(facet, {}).setdefault(value, [1, 1, 0])
    novel, new_actions = _novelties(ordered)
    return Habit(
        active_days=whole.active_days,
        first_on=ordered[0].day,
        last_on=max(profile.day + timedelta(days=profile.days - 1) for profile in ordered),
        seen=seen,
        novel_days=novel,
        most_denied=whole.most_denied,
        most_denied_kinds=max(len(profile.values(Facet.DENIED)) for profile in ordered),
        most_new_actions=new_actions,
        overflowed=frozenset(Facet(facet) for facet in whole.over if facet in CAPS),
    )


def _novelties(ordered: Sequence[Profile]) -> tuple[dict[Facet, int], int]:
    """Count the days on which something was new that had never been before, once the first days are over."""
    known: dict[str, set[str]] = {}
    found: dict[Facet, int] = {}
    active = most = 0
    for profile in ordered:
        for facet, values in profile.seen.items():
            before = known.setdefault(facet, set())
            new = values.keys() - before
            before |= new
            if new and active >= BURN_IN:
                found[Facet(facet)] = found.get(Facet(facet), 0) + 1
                most = max(most, len(new)) if facet == Facet.ACTION else most
        active += profile.active_days
    return found, most


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What is usual, for people to read beside what happened."""

    days: int
    networks: int
    network: str | None  # where there is only one
    countries: tuple[str, ...]  # codes, the most usual first
    countries_known: int
    agents: tuple[str, ...]
    services: tuple[str, ...]
    actions: int
    weekdays_only: bool
    hours: tuple[int, int] | None  # from, until (UTC, the hour after the last); None: around the clock
    denied: int  # on its worst day


def usual_of(habit: Habit) -> Usual:
    """Return a habit in few values."""
    networks = habit.seen.get(Facet.NETWORK, {})
    return Usual(
        days=habit.active_days,
        networks=len(networks),
        network=next(iter(networks)) if len(networks) == 1 else None,
        countries=_most(habit, Facet.COUNTRY, 3),
        countries_known=len(habit.seen.get(Facet.COUNTRY, {})),
        agents=_most(habit, Facet.AGENT, 2),
        services=_most(habit, Facet.SERVICE, 4),
        actions=len(habit.seen.get(Facet.ACTION, {})),
        weekdays_only=all(int(slot[0]) < 5 for slot in habit.seen.get(Facet.HOUR, {})),
        hours=_hours(habit),
        denied=habit.most_denied,
    )


def _most(habit: Habit, facet: Facet, most: int) -> tuple[str, ...]:
    found = habit.seen.get(facet, {})
    return tuple(sorted(found, key=lambda value: (-found[value][1], -found[value][0], value))[:most])


def _hours(habit: Habit) -> tuple[int, int] | None:
    """Return the shortest stretch of the clock that holds all usual hours; None: there is no such stretch."""
    days = [0] * 24
    for slot, count in habit.seen.get(Facet.HOUR, {}).items():
        days[int(slot[2:])] += count[1]
    busy = [hour for hour in range(24) if days[hour] > _RARE * habit.active_days]
    if not busy:
        return None
    # The longest pause between two busy hours is the night; what is left is the day.
    gaps = [((busy[(n + 1) % len(busy)] - hour - 1) % 24, n) for n, hour in enumerate(busy)]
    longest, at = max(gaps) if len(busy) > 1 else (23, 0)
    if longest < 6:
        return None
    return busy[(at + 1) % len(busy)], (busy[at] + 1) % 24
