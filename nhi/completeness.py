"""Whether a population is whole: what a cloud itself counts, held against what a scan saw. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One kind of identity in one account. `counted` None: it could not be counted, and `source` says why."""

    place: str  # "aws 123456789012"
    kind: str  # "iam_user"; "all kinds" where nothing could be counted
    counted: int | None
    seen: int
    source: str

    @property
    def sentence(self) -> str | None:
        """Return the difference in words; None: there is none."""
        if self.counted is None:
            return f"{self.place}: {self.kind} could not be counted ({self.source}); seen: {self.seen}."
        if self.counted == self.seen:
            return None
        more = self.counted - self.seen
        side = f"{more} more than we saw" if more > 0 else f"{-more} fewer than we saw"
        return f"{self.place}: {self.source} counts {self.counted} {self.kind}, {side} ({self.seen})."


def incomplete(gaps: Iterable[tuple[str, str]], counts: Sequence[Counted]) -> tuple[str, ...]:
    """Return why a population is not whole, a sentence each; () where it is. `gaps`: pairs of scope and reason."""
    unseen = tuple(f"{scope} could not be seen: {reason}." for scope, reason in gaps)
    return unseen + tuple(sentence for count in counts if (sentence := count.sentence))
