"""Whether a day of an identity is unlike its own history, by how much, and in which facts. Pure.

Each fact that is new weighs as many bits as it is surprising for this identity: one that often comes from new networks
surprises nobody with one more. Facts of one kind are not added up in full. A sum above the threshold is an anomaly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from nhi.activity import Facet, Profile
from nhi.findings import Severity
from nhi.habits import BURN_IN, Habit, Usual, usual_of
from nhi.sensitive import HIDES, is_grave, is_sensitive, meaning_of, only_reads

THRESHOLDS = {"low": 14.0, "normal": 11.0, "high": 8.5}  # bits, by policy's sensitivity
FEWEST_DAYS = 5  # active ones; before that nothing is usual
_SETTLED = 2 * BURN_IN  # active ones; before that nobody knows how many new actions a day may bring
_SURE = 4.0  # bits of surprise: nothing new on a week of days that could have told of it
GRAVE = 7.0  # bits above the threshold that make it grave by themselves
_DEAD, _TRAVEL, _ATTACK_TOOL = 14.0, 5.0, 5.0
_KILOMETRES_AN_HOUR, _FAR, _SOON = 1000.0, 500.0, 1800  # a plane; kilometres; seconds, where only countries are known
_DEGREE = 111.2  # kilometres
_BURST_KINDS, _BURST = 4, 20  # kinds of refused actions, and refusals of few kinds, below which nothing is a burst


class Kind(StrEnum):
    """How a day can be unlike the others."""

    DEAD_KEY = "dead_key"
    TRAVEL = "travel"
    COUNTRY = "country"
    NETWORK = "network"
    AGENT = "agent"
    ACTION = "action"
    BREADTH = "breadth"
    DENIALS = "denials"
    HOUR = "hour"


class Of(StrEnum):
    """The question that a signal answers: those of one question overlap."""

    WHO = "who"
    WHERE = "where"
    HOW = "how"
    WHAT = "what"
    REFUSED = "refused"
    WHEN = "when"


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One fact that is unlike before."""

    kind: Kind
    of: Of
    bits: float
    at: int  # the first of it
    facet: Facet
    values: tuple[str, ...]  # all of it: what is learned where somebody says that it was them
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Dead:
    """A credential that nobody thought alive."""

    why: str  # "unused for 214 days"
    since: int = 0  # seconds; a day on which it was used before tells nothing: it was alive then


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What policy says."""

    threshold: float
    learn_for: timedelta


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """A day that is unlike this identity's own."""

    who: str
    day: date
    at: int  # when it began
    score: float
    severity: Severity
    owasp: str  # "" where the evidence shows none of the ten
    signals: tuple[Signal, ...]  # the weightiest first
    usual: Usual | None  # None: there is no history to hold it against
    credential: str | None  # the key's public id, where all of it is by one


def judge_day(
    today: Profile,
    habit: Habit | None,
    *,
    learned: frozenset[tuple[Facet, str]] = frozenset(),
    dead: Mapping[str, Dead] | None = None,
    privileged: bool = False,
    limits: Limits,
) -> Anomaly | None:
    """Hold one day against an identity's history; None: it is like the others, or too little is known of them.

    `learned` is what people said is theirs; `dead` the credentials that were thought dead, by their public id.
    """
    signals = list(_dead_keys(today, dead or {}, learned))
    known = habit if habit is not None and _is_known(habit, limits) else None
    if known is not None:
        signals += [signal for signal in _signals(today, known) if not _is_learned(signal, learned)]
    score = _sum(signals)
    if score < limits.threshold:
        return None
    ordered = tuple(sorted(signals, key=lambda signal: -signal.bits))
    dead_one = next((signal.values[0] for signal in ordered if signal.kind is Kind.DEAD_KEY), None)
    return Anomaly(
        who=today.who,
        day=today.day,
        at=min(signal.at for signal in ordered),
        score=round(score, 1),
        severity=_severity(ordered, score, privileged, limits),
        owasp=_owasp(ordered),
        signals=ordered,
        usual=usual_of(known) if known is not None else None,
        credential=dead_one or _only_key(today),
    )


def _only_key(today: Profile) -> str | None:
    """Return the key that all of a day was done with; None: there were several, or some of it was done with none."""
    keys = today.values(Facet.CREDENTIAL)
    key = next(iter(keys)) if len(keys) == 1 else None
    return key if key is not None and keys[key][0] == today.events else None


def _is_known(habit: Habit, limits: Limits) -> bool:
    return habit.active_days >= FEWEST_DAYS and habit.span >= limits.learn_for


def _is_learned(signal: Signal, learned: frozenset[tuple[Facet, str]]) -> bool:
    """Whether somebody said that all of it was them."""
    return all((signal.facet, value) in learned for value in signal.values)


def _signals(today: Profile, habit: Habit) -> Iterator[Signal]:
    yield from _where(today, habit)
    yield from _how(today, habit)
    yield from _what(today, habit)
    yield from _refused(today, habit)
    yield from _when(today, habit)


def _sum(signals: Sequence[Signal]) -> float:
    """Add the weightiest of each question in full, and a third of the others: they say much of the same."""
    total = 0.0
    for question in Of:
        found = sorted((signal.bits for signal in signals if signal.of is question), reverse=True)
        total += sum(found[:1]) + sum(found[1:]) / 3
    return total


def _severity(signals: Sequence[Signal], score: float, privileged: bool, limits: Limits) -> Severity:
    sensitive = [value for signal in signals if signal.kind is Kind.ACTION for value in signal.values]
    grave = any(is_sensitive(value) for value in sensitive)
    high = grave or score >= limits.threshold + GRAVE or any(one.kind is Kind.TRAVEL for one in signals)
    if high and ((privileged and grave) or any(meaning_of(value) == HIDES for value in sensitive)):
        return Severity.CRITICAL
    return Severity.HIGH if high or any(one.kind is Kind.DEAD_KEY for one in signals) else Severity.MEDIUM


def _owasp(signals: Sequence[Signal]) -> str:
    """A key that should be gone is in use (NHI1); one key in two places at once has a copy somewhere (NHI2)."""
    kinds = {signal.kind for signal in signals}
    if Kind.DEAD_KEY in kinds:
        return "NHI1"
    travels = [signal for signal in signals if signal.kind is Kind.TRAVEL]
    return "NHI2" if travels and travels[0].facts.get("one_key") else ""


# -- who ---------------------------------------------------------------------------------------------------------------


def _dead_keys(today: Profile, dead: Mapping[str, Dead], learned: frozenset[tuple[Facet, str]]) -> Iterator[Signal]:
    for key, count in today.values(Facet.CREDENTIAL).items():
        if key in dead and count[2] > dead[key].since and (Facet.CREDENTIAL, key) not in learned:
            yield Signal(
                kind=Kind.DEAD_KEY,
                of=Of.WHO,
                bits=_DEAD,
                at=count[2],
                facet=Facet.CREDENTIAL,
                values=(key,),
                facts={"why": dead[key].why},
            )


# -- where -------------------------------------------------------------------------------------------------------------


def _where(today: Profile, habit: Habit) -> Iterator[Signal]:
    countries = _new(today, habit, Facet.COUNTRY)
    if countries and habit.seen.get(Facet.COUNTRY):
        yield _told(today, Kind.COUNTRY, Of.WHERE, Facet.COUNTRY, countries, 1.3 * habit.surprise(Facet.COUNTRY))
        yield from _travel(today, habit, frozenset(countries))
    networks = [one for one in _new(today, habit, Facet.NETWORK) if not one.startswith("cloud:")]
    if networks:
        yield _told(today, Kind.NETWORK, Of.WHERE, Facet.NETWORK, networks, 0.65 * habit.surprise(Facet.NETWORK))


def _travel(today: Profile, habit: Habit, new: frozenset[str]) -> Iterator[Signal]:
    """Find the shortest way between a usual and a new country that nobody can have gone in that time."""
    stays = [_stay(key, begin, end) for key, (begin, end) in today.stays.items()]
    usual = [one for one in stays if one.country not in new and habit.knows(Facet.COUNTRY, one.country)]
    ways = [(near, far) for near in usual for far in stays if far.country in new]
    impossible = [way for way in ways if _is_impossible(*way)]
    if impossible:
        near, far = min(impossible, key=lambda way: _apart(*way))
        one_key = _only_key(today) is not None
        yield Signal(
            kind=Kind.TRAVEL,
            of=Of.WHERE,
            bits=3 * _TRAVEL,  # a third of it counts where the country weighs more
            at=far.begin,
            facet=Facet.COUNTRY,
            values=(far.country,),
            facts={"from": near.country, "to": far.country, "minutes": _apart(near, far) // 60, "one_key": one_key},
        )


class _Stay(NamedTuple):
    """Somewhere, from its first to its last use in one hour."""

    country: str
    at: tuple[float, float] | None  # None: only the country is known
    begin: int
    end: int


def _stay(key: str, begin: int, end: int) -> _Stay:
    country, _, degrees = key.partition("|")[0].partition(":")
    latitude, _, longitude = degrees.partition(",")
    return _Stay(country, (float(latitude), float(longitude)) if longitude else None, begin, end)


def _apart(near: _Stay, far: _Stay) -> int:
    """Return how many seconds lie between two stays; 0: they overlap."""
    return max(0, far.begin - near.end, near.begin - far.end)


def _is_impossible(near: _Stay, far: _Stay) -> bool:
    seconds = _apart(near, far)
    if near.at is None or far.at is None:
        return seconds <= _SOON
    distance = kilometres(near.at, far.at)
    return distance > _FAR and distance > _KILOMETRES_AN_HOUR * seconds / 3600


def kilometres(near: tuple[float, float], far: tuple[float, float]) -> float:
    """Return the distance between two places on a globe, by great circle."""
    (a, b), (c, d) = ((math.radians(x), math.radians(y)) for x, y in (near, far))
    inner = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(inner)))) * _DEGREE


# -- how, what, refused, when ------------------------------------------------------------------------------------------


def _how(today: Profile, habit: Habit) -> Iterator[Signal]:
    agents = [one for one in _new(today, habit, Facet.AGENT) if not one.startswith("cloud:")]
    if agents:
        tool = _ATTACK_TOOL if any("kali" in one for one in agents) else 0.0
        yield _told(today, Kind.AGENT, Of.HOW, Facet.AGENT, agents, 0.75 * habit.surprise(Facet.AGENT) + tool)


def _what(today: Profile, habit: Habit) -> Iterator[Signal]:
    new = _new(today, habit, Facet.ACTION)
    base = habit.surprise(Facet.ACTION)
    weights = {
        "grave": ([one for one in new if is_grave(one)], 1.9, 1.0),
        "sensitive": ([one for one in new if is_sensitive(one) and not is_grave(one)], 1.3, 1.0),
        "changes": ([one for one in new if not is_sensitive(one) and not only_reads(one)], 0.6, 0.5),
        "reads": ([one for one in new if not is_sensitive(one) and only_reads(one)], 0.35, 0.6),
    }
    for name, (actions, weight, each) in weights.items():
        if actions:
            services = {one.partition(":")[0] for one in actions}
            foreign = sorted(one for one in services if not habit.knows(Facet.SERVICE, one))
            bits = (
                weight * base
                + each * math.log2(len(actions))
                + (2.0 if foreign and name == "grave" else 1.0 if foreign else 0.0)
            )
            facts = {"class": name, "services": foreign[:3], "meanings": _meanings(actions)}
            yield _told(today, Kind.ACTION, Of.WHAT, Facet.ACTION, actions, bits, **facts)
    beyond = Facet.ACTION in today.over and Facet.ACTION not in habit.overflowed
    expected = 2 * habit.most_new_actions + 8
    if (len(new) > expected or beyond) and habit.active_days >= _SETTLED:
        bits = 3.0 + math.log2(max(len(new), 1) / expected + 1) + (3.0 if beyond else 0.0)
        bits *= 3 * min(1.0, base / _SURE)  # in full only where something new is rare
        yield _told(today, Kind.BREADTH, Of.WHAT, Facet.ACTION, new, bits, before=habit.most_new_actions)


def _meanings(actions: Sequence[str]) -> list[str]:
    return sorted({meaning for one in actions if (meaning := meaning_of(one)) is not None})


def _refused(today: Profile, habit: Habit) -> Iterator[Signal]:
    """A broken job is refused the same thing again and again; who tries doors is refused many."""
    new = _new(today, habit, Facet.DENIED)
    kinds = len(today.values(Facet.DENIED))
    bits = 0.0
    if len(new) >= _BURST_KINDS and kinds > 2 * habit.most_denied_kinds:
        bits = 4.0 + 2.0 * math.log2(kinds / max(1, 2 * habit.most_denied_kinds))
    elif new and today.denied >= _BURST and today.denied > 10 * habit.most_denied:
        bits = min(5.0, math.log2(today.denied / max(1, habit.most_denied)) / 1.5)
    if bits:
        facts = {"number": today.denied, "kinds": kinds, "before": habit.most_denied}
        yield _told(today, Kind.DENIALS, Of.REFUSED, Facet.DENIED, new, bits, **facts)


def _when(today: Profile, habit: Habit) -> Iterator[Signal]:
    bits, slot = max((habit.surprise_of_hour(one), one) for one in today.values(Facet.HOUR))
    if bits >= 3.0:
        odd = [one for one in today.values(Facet.HOUR) if habit.surprise_of_hour(one) >= bits - 1.0]
        yield _told(today, Kind.HOUR, Of.WHEN, Facet.HOUR, sorted({slot, *odd}), 0.75 * bits)


def _new(today: Profile, habit: Habit, facet: Facet) -> list[str]:
    """Return what of a facet was never before, in the order in which it came."""
    found = today.values(facet)
    return sorted(
        (value for value in found if not habit.knows(facet, value)), key=lambda value: (found[value][2], value)
    )


def _told(today: Profile, kind: Kind, of: Of, facet: Facet, values: Sequence[str], bits: float, **facts: Any) -> Signal:
    found = today.values(facet)
    return Signal(
        kind=kind,
        of=of,
        bits=round(bits, 2),
        at=min(found[value][2] for value in values),
        facet=facet,
        values=tuple(values),
        facts=facts,
    )
