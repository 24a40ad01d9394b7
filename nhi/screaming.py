"""The scream test: off for a while, listening; on again by itself; off for longer; and only then for good. Pure.

    checked ──> acting ──> testing          off until an instant that is written down first, and listened for
    testing ──> restoring ──> scheduled     nobody screamed: the next, longer step, when somebody is at work
    testing ──> restoring ──> refused       something called: it is on again, and stays on

A step that could not be listened to is repeated, not counted. What calls too late to be seen before a step ends is
still looked for before the next one begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum

from nhi.words import sentence
from nhi.working_days import is_holiday, zone

LISTENS_AT_LEAST_EVERY = timedelta(minutes=5)
LISTENS_AT_MOST_EVERY = timedelta(minutes=1)
DEAF_AT_MOST = timedelta(minutes=15)  # so long may a step go on while the log cannot be read
REPEATED_AT_MOST = 3  # steps that could not be listened to; then a person has to decide anew
DAYS_AHEAD = 30


class Outcome(StrEnum):
    """How a step ended."""

    HEARD = "heard"  # something called
    SILENT = "silent"  # nothing did, as far as could be heard
    UNHEARD = "unheard"  # the log could not be read
    DISTURBED = "disturbed"  # somebody else changed it meanwhile
    UNDONE = "undone"  # somebody pressed Undo
    CUT_SHORT = "cut_short"  # somebody else has it: it stays off
    VOID = "void"  # it never took effect


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """What can be heard of something that is turned off. `lag`: how late a call shows."""

    audible: bool
    says: str
    lag: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that was begun."""

    off_at: datetime
    back_on_at: datetime
    heard_until: datetime  # up to here the log was read
    outcome: Outcome | None = None  # None: it is under way


@dataclass(frozen=True, kw_only=True)
class Listened:
    """What one look during a step found."""

    calls: bool = False  # something called since it was turned off
    gap: str | None = None  # why the log could not be read; None: it could
    changed: str | None = None  # what somebody else changed; None: nothing


@dataclass(frozen=True, kw_only=True)
class Keep:
    """It stays off; look again then."""

    again_at: datetime


@dataclass(frozen=True, kw_only=True)
class Back:
    """It is turned on again now."""

    outcome: Outcome
    because: str | None = None


def step_length(ladder: Sequence[timedelta], outcomes: Sequence[Outcome]) -> timedelta | None:
    """Return for how long it is turned off next; None: for good, as every step of the ladder was silent."""
    done = sum(outcome is Outcome.SILENT for outcome in outcomes)
    return ladder[done] if done < len(ladder) else None


def is_hopeless(outcomes: Sequence[Outcome]) -> bool:
    """Whether so many steps could not be listened to that repeating them makes no sense."""
    return sum(outcome is Outcome.UNHEARD for outcome in outcomes) >= REPEATED_AT_MOST


def what_next(step: Step, found: Listened, now: datetime) -> Keep | Back:
    """Decide during a step whether it stays off. Whatever speaks for turning it on again does."""
    if found.calls:
        return Back(outcome=Outcome.HEARD)
    if found.changed is not None:
        return Back(outcome=Outcome.DISTURBED, because=found.changed)
    if found.gap is not None and now - step.heard_until >= DEAF_AT_MOST:
        return Back(outcome=Outcome.UNHEARD, because=found.gap)
    if now >= step.back_on_at:
        return Back(outcome=Outcome.UNHEARD if found.gap is not None else Outcome.SILENT, because=found.gap)
    return Keep(again_at=min(now + listens_every(step.back_on_at - step.off_at), step.back_on_at))


def listens_every(length: timedelta) -> timedelta:
    """Return how often a step of this length is listened to: the first scream of a long one can wait for minutes."""
    return max(LISTENS_AT_MOST_EVERY, min(length / 15, LISTENS_AT_LEAST_EVERY))


def begins_at(
    now: datetime, length: timedelta | None, *, tz: str, hours: tuple[time, time], holidays: Mapping[str, str]
) -> datetime:
    """Return the first instant from `now` on at which a step of this length may begin: somebody is at work then.

    A step that fits into a working day ends within it; a longer one, or the one for good (None), begins within one.
    Where no working day comes within a month, it may begin at once.
    """
    here = zone(tz)
    today = now.astimezone(here).date()
    for number in range(DAYS_AHEAD):
        day = today + timedelta(days=number)
        if day.weekday() > 4 or is_holiday(day, tz, holidays):
            continue
        opens, closes = (datetime.combine(day, hour, here).astimezone(now.tzinfo) for hour in hours)
        fits = length is not None and length <= closes - opens
        latest = closes - length if fits and length is not None else closes - timedelta(microseconds=1)
        if now <= latest:
            return max(now, opens)
    return now


def in_words(length: timedelta) -> str:
    """Return a step's length as people say it: "15 minutes", "1 hour"."""
    for unit, one in (("days", timedelta(days=1)), ("hours", timedelta(hours=1))):
        if length >= one and not length % one:
            return sentence(f"words.{unit}", number=length // one)
    return sentence("words.minutes", number=length // timedelta(minutes=1))
