"""Seasonal use: what pauses by itself (month-end, quarterly, yearly jobs) is given time to come back. Pure.

The pauses are its own: spells without a use that ended with one, as scans witnessed them. A pause that is still going
on is no pause yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WORTH_KEEPING = timedelta(days=14)  # shorter pauses say nothing that policy's patience does not
KEPT = 12  # the longest ones of a credential
REMEMBERED = timedelta(days=3 * 365)  # a job that last paused so long ago has changed its habits
_MARGIN = 1.25  # of a pause that was seen: a quarter may be 92 days, a month-end fall on a weekend
_SLACK = timedelta(days=7)

_NAMES = (  # the longest pause of a job of that rhythm; the words for each are in templates
    (timedelta(days=10), "weekly"),
    (timedelta(days=45), "monthly"),
    (timedelta(days=125), "quarterly"),
    (timedelta(days=215), "half-yearly"),
    (timedelta(days=440), "yearly"),
)


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A spell without use that ended with one. `quiet_at` is the last instant at which it was seen to be quiet."""

    began_at: datetime
    ended_at: datetime
    quiet_at: datetime

    @property
    def length(self) -> timedelta:
        """How long it can have been."""
        return self.ended_at - self.began_at


@dataclass(frozen=True, kw_only=True)
class Season:
    """The rhythm of a credential's own history, and the patience that it earns."""

    name: str  # "quarterly"
    longest: timedelta
    pauses: int
    patience: timedelta


def witnessed(before: datetime | None, after: datetime | None, seen_until: datetime | None) -> Pause | None:
    """Return the pause that a new last use ended; None: there was none worth keeping.

    `before` and `after` are the last use as two scans in a row told it, `seen_until` how far the former could see. Only
    what the former scan saw to be quiet is believed: a use between two scans far apart may have hidden others.
    """
    if before is None or after is None or seen_until is None or after <= before:
        return None
    quiet_at = min(seen_until, after)
    if quiet_at - before < WORTH_KEEPING:
        return None
    return Pause(began_at=before, ended_at=after, quiet_at=quiet_at)


def kept(pauses: Sequence[Pause]) -> tuple[Pause, ...]:
    """Return those worth remembering: the longest ones, oldest first."""
    longest = sorted(pauses, key=lambda pause: pause.length, reverse=True)[:KEPT]
    return tuple(sorted(longest, key=lambda pause: pause.began_at))


def season_of(pauses: Sequence[Pause], now: datetime) -> Season | None:
    """Return the rhythm of these pauses; None: it never paused for long, or not in the time that is remembered."""
    lately = [pause for pause in pauses if pause.ended_at > now - REMEMBERED]
    if not lately:
        return None
    longest = max(pause.length for pause in lately)
    name = next((name for most, name in _NAMES if longest <= most), "rare")
    return Season(name=name, longest=longest, pauses=len(lately), patience=longest * _MARGIN + _SLACK)


def patience(allowed: timedelta, pauses: Sequence[Pause], now: datetime) -> tuple[timedelta, Season | None]:
    """Return how long something may be unused, and the season that made it longer (None: none did)."""
    season = season_of(pauses, now)
    if season is None or season.patience <= allowed:
        return allowed, None
    return season.patience, season
