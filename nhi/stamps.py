"""The rubber-stamp meter: was a review looked at, or only clicked through? Pure.

It judges nobody: who was quick is asked once, kindly, to look again at what matters most.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nhi.reviews import Answer, Risk
from nhi.words import sentence

ENOUGH_TO_JUDGE = 10
QUICK_SECONDS = 3.0
LONG_STREAK = 20
STREAK_SECONDS = 6.0
AGAIN_AT_MOST = 10


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """One decision, as the meter reads it. Oldest first."""

    item_id: str
    answer: Answer
    seconds: float
    opened: bool  # its evidence was looked at
    together: int  # answered with so many at one press
    risk: Risk
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How somebody reviewed. `low` says why it is doubted; (): it is not."""

    decided: int
    median_seconds: float | None
    kept: int
    longest_streak: int  # of "still needed", one after the other
    opened: int
    low: tuple[str, ...]


def quality(stamps: Sequence[Stamp]) -> Quality:
    """Measure a reviewer's decisions: the time for each, unbroken rows of "still needed", and evidence opened."""
    alone = [stamp.seconds for stamp in stamps if stamp.together == 1]
    median = statistics.median(alone) if alone else None
    streak, opened = _longest_streak(stamps), sum(stamp.opened for stamp in stamps)
    low = []
    if median is not None and len(alone) >= ENOUGH_TO_JUDGE:
        if median < QUICK_SECONDS:
            low.append(sentence("review.low_quick", seconds=int(QUICK_SECONDS)))
        if streak >= LONG_STREAK and opened == 0 and median < STREAK_SECONDS:
            low.append(sentence("review.low_streak", streak=streak))
    return Quality(
        decided=len(stamps),
        median_seconds=None if median is None else round(median, 1),
        kept=sum(stamp.answer is Answer.KEEP for stamp in stamps),
        longest_streak=streak,
        opened=opened,
        low=tuple(low),
    )


def _longest_streak(stamps: Iterable[Stamp]) -> int:
    longest = running = 0
    for stamp in stamps:
        running = running + 1 if stamp.answer is Answer.KEEP else 0
        longest = max(longest, running)
    return longest


def to_ask_again(stamps: Sequence[Stamp]) -> tuple[str, ...]:
    """Return the items to ask about once more: kept, the riskiest, changed and quickest first; AGAIN_AT_MOST."""
    rank = [Risk.HIGH, Risk.MEDIUM, Risk.LOW]
    kept = [stamp for stamp in stamps if stamp.answer is Answer.KEEP]
    worst = sorted(kept, key=lambda stamp: (rank.index(stamp.risk), not stamp.changed, stamp.seconds, stamp.item_id))
    return tuple(stamp.item_id for stamp in worst[:AGAIN_AT_MOST])
