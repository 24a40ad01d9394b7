"""How well likely owners fit the truth, and which weights would fit it better: pure.

The measures: *precision*, of the identities that the ranking names an owner for, how many it names rightly; *coverage*,
of all identities, how many it names one for; *calibration error* (ECE), the mean gap between the confidence in the
first candidate and how often the first candidate is right, over ten bins of equal width, each weighed by its share.
The fit is that of a conditional logit by maximum likelihood, with a ridge that draws each weight to the one in force,
by Newton's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nhi.ownership import LikelyOwner
from nhi.weights import NOBODY, Worth

BINS = 10
_ROUNDS = 30
_CLOSE = 1e-6  # of the log-likelihood for each identity: less gain than that ends the fit

Features = Mapping[str, Mapping[str, float]]  # by candidate: how much of each source's weight speaks for them


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The first candidate for one identity, and whether they are the owner."""

    confidence: float  # 0: evidence named nobody at all
    right: bool


@dataclass(frozen=True, kw_only=True)
class Bin:
    """First candidates of much the same confidence."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    right: float  # share


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good the ranking is on identities whose owner is known."""

    identities: int
    named: int  # at or above the threshold
    right: int  # of those
    calibration_error: float
    bins: tuple[Bin, ...]

    @property
    def precision(self) -> float:
        return self.right / self.named if self.named else 0.0

    @property
    def coverage(self) -> float:
        return self.named / self.identities if self.identities else 0.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One identity for a fit: its candidates, and which of them is the owner."""

    candidates: Features
    owner: str | None  # None, or somebody who is no candidate: the truth is "none of these"


def outcome(candidates: Sequence[LikelyOwner], owner: str) -> Outcome:
    """Compare a ranking (without a threshold) with the truth."""
    if not candidates:
        return Outcome(confidence=0.0, right=False)
    return Outcome(confidence=candidates[0].confidence, right=candidates[0].email.lower() == owner.lower())


def quality(outcomes: Iterable[Outcome], threshold: float) -> Quality:
    """Measure the ranking. Identities that evidence names nobody for count in coverage, and in no bin."""
    found = list(outcomes)
    named = [one for one in found if one.confidence >= threshold and one.confidence > 0]
    bins = tuple(_bins([one for one in found if one.confidence > 0]))
    in_bins = sum(one.count for one in bins)
    gaps = math.fsum(one.count * abs(one.confidence - one.right) for one in bins)
    return Quality(
        identities=len(found),
        named=len(named),
        right=sum(one.right for one in named),
        calibration_error=gaps / in_bins if in_bins else 0.0,
        bins=bins,
    )


def _bins(outcomes: Sequence[Outcome]) -> Iterable[Bin]:
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [
            one for one in outcomes if low <= one.confidence < high or (number == BINS - 1 and one.confidence >= 1)
        ]
        if inside:
            yield Bin(
                low=low,
                high=high,
                count=len(inside),
                confidence=math.fsum(one.confidence for one in inside) / len(inside),
                right=sum(one.right for one in inside) / len(inside),
            )


def fit(samples: Sequence[Sample], weights: Mapping[str, Worth], *, ridge: float = 1.0) -> dict[str, Worth]:
    """Return the weights under which the samples are likeliest; half-lives stay.

    `ridge` says how strongly each weight is drawn to the one given: like so many identities' worth of certainty about
    it, so that a source with few facts moves little. Sources of which no sample has a fact stay as they are.
    """
    used = {source for one in samples for row in one.candidates.values() for source in row}
    names = [NOBODY, *sorted(used & weights.keys())]
    problem = _Problem(samples, names, [weights[name].weight for name in names], ridge)
    found = problem.solve()
    return dict(weights) | {
        name: Worth(value, weights[name].half_life) for name, value in zip(names, found, strict=True)
    }


Row = tuple[tuple[int, float], ...]


class _Problem:
    """The fit as numbers: for each identity the sparse rows of its candidates, of which one is true (or nobody)."""

    def __init__(self, samples: Sequence[Sample], names: Sequence[str], start: list[float], ridge: float) -> None:
        place = {name: number for number, name in enumerate(names)}
        self._start = start
        self._ridge = ridge
        self._cases: list[tuple[list[Row], int]] = []
        for one in samples:
            rows: list[Row] = [((0, 1.0),)]  # nobody: its own weight, which is the first
            chosen = 0
            for email, row in one.candidates.items():
                rows.append(tuple((place[source], value) for source, value in row.items() if source in place))
                chosen = len(rows) - 1 if email == one.owner else chosen
            if len(rows) > 1:
                self._cases.append((rows, chosen))

    def solve(self) -> list[float]:
        """Newton's method; a step that does not gain is halved."""
        weights = list(self._start)
        value, gradient, curvature = self._look(weights)
        for _ in range(_ROUNDS):
            step = _solve(curvature, gradient)
            for _ in range(_ROUNDS):
                moved = [weight + change for weight, change in zip(weights, step, strict=True)]
                gained = self._value(moved) - value
                if gained >= 0:
                    break
                step = [change / 2 for change in step]
            else:
                return weights
            weights = moved
            if gained < _CLOSE * max(len(self._cases), 1):
                return weights
            value, gradient, curvature = self._look(weights)
        return weights

    def _pull(self, weights: Sequence[float]) -> float:
        squares = ((weight - first) ** 2 for weight, first in zip(weights, self._start, strict=True))
        return self._ridge / 2 * math.fsum(squares)

    def _value(self, weights: Sequence[float]) -> float:
        return math.fsum(math.log(_shares(rows, weights)[chosen]) for rows, chosen in self._cases) - self._pull(weights)

    def _look(self, weights: Sequence[float]) -> tuple[float, list[float], list[list[float]]]:
        """Return the penalised log-likelihood, its gradient, and its curvature (the Hessian, negated)."""
        size = len(weights)
        gradient = [self._ridge * (first - weight) for weight, first in zip(weights, self._start, strict=True)]
        curvature = [[self._ridge if row == column else 0.0 for column in range(size)] for row in range(size)]
        total = -self._pull(weights)
        for rows, chosen in self._cases:
            shares = _shares(rows, weights)
            total += math.log(shares[chosen])
            mean: dict[int, float] = {}
            for row, share in zip(rows, shares, strict=True):
                for place, value in row:
                    mean[place] = mean.get(place, 0.0) + share * value
                    for other, second in row:
                        curvature[place][other] += share * value * second
            for place, value in mean.items():
                gradient[place] -= value
                for other, second in mean.items():
                    curvature[place][other] -= value * second
            for place, value in rows[chosen]:
                gradient[place] += value
        return total, gradient, curvature


def _shares(rows: Sequence[Row], weights: Sequence[float]) -> list[float]:
    scores = [sum(weights[place] * value for place, value in row) for row in rows]
    top = max(scores)
    odds = [math.exp(max(score - top, -700.0)) for score in scores]
    total = math.fsum(odds)
    return [max(one / total, 1e-300) for one in odds]


def _solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve a positive definite system of linear equations by elimination."""
    size = len(right)
    table = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(table[row][column]))
        table[column], table[pivot] = table[pivot], table[column]
        for row in range(column + 1, size):
            factor = table[row][column] / table[column][column]
            for place in range(column, size + 1):
                table[row][place] -= factor * table[column][place]
    found = [0.0] * size
    for row in reversed(range(size)):
        known = sum(table[row][place] * found[place] for place in range(row + 1, size))
        found[row] = (table[row][size] - known) / table[row][row]
    return found
