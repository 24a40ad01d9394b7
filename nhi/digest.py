"""In which order to ask somebody, and what to ask at once: the most risk a minute of attention first. Pure.

Alike questions, to which one answer fits, are one piece of a message. What is privileged always stands alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

SECONDS_A_PIECE = 20
SECONDS_A_FURTHER_ONE = 3  # of a piece: one more name to read
GROUP_AT_LEAST = 3
GROUP_AT_MOST = 10  # names that one can still take in, and that one message has room for
RISKS = (1.0, 3.0, 9.0, 27.0)  # by the rank of the gravest finding: low, medium, high, critical
PRIVILEGED = 2.0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question. `alike`: what it shares with those that the same answer fits; None: it stands alone."""

    id: str
    rank: int  # of its gravest finding, 0 (low) to 3 (critical)
    privileged: bool
    alike: Hashable | None
    reader: str | None = None  # whom it goes to; None: it waits for its answer, or goes to nobody
    roughly: Hashable | None = None  # what `alike` is to who has too many questions; None: nothing

    @property
    def risk(self) -> float:
        return RISKS[self.rank] * (PRIVILEGED if self.privileged else 1.0)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Questions that are asked as one."""

    items: tuple[Item, ...]

    @property
    def seconds(self) -> int:
        return seconds(len(self.items))

    @property
    def worth(self) -> float:
        """How much risk a minute of attention settles."""
        return sum(item.risk for item in self.items) * 60 / self.seconds


def seconds(items: int) -> int:
    """Return about how long one answer to so many alike questions takes."""
    return SECONDS_A_PIECE + SECONDS_A_FURTHER_ONE * (items - 1)


def arrange(items: Iterable[Item], *, a_week: int | None = None) -> list[Piece]:
    """Return the pieces, the most worth first; of equal ones the order of `items` decides, within a piece too.

    Who would get more than `a_week` pieces (None: no number is too many) gets what is roughly alike as one, so that
    nothing waits weeks for its turn; who would not keeps a card of its own for each that differs.
    """
    items = list(items)
    pieces = _group(items)
    counted = Counter(piece.items[0].reader for piece in pieces)
    many = {reader for reader, count in counted.items() if reader and a_week is not None and count > a_week}
    if many:
        pieces = _group(
            [
                replace(one, alike=one.alike if one.roughly is None else one.roughly) if one.reader in many else one
                for one in items
            ]
        )
    return sorted(pieces, key=lambda piece: -piece.worth)


def _group(items: Iterable[Item]) -> list[Piece]:
    alike: dict[Hashable, list[Item]] = defaultdict(list)
    pieces: list[Piece] = []
    for item in items:
        if item.alike is None or item.privileged:
            pieces.append(Piece(items=(item,)))
        else:
            alike[item.alike].append(item)
    for members in alike.values():
        pieces += _cut(members)
    return pieces


def _cut(members: list[Item]) -> list[Piece]:
    """Return groups of GROUP_AT_MOST at the most; what is too few for a group stands alone."""
    found: list[Piece] = []
    for start in range(0, len(members), GROUP_AT_MOST):
        part = tuple(members[start : start + GROUP_AT_MOST])
        found += [Piece(items=part)] if len(part) >= GROUP_AT_LEAST else [Piece(items=(one,)) for one in part]
    return found
