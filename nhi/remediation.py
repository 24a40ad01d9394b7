"""An act's life and the look before it: pure.

proposed -> planned -> acting -> done -> undoing -> undone, or refused / failed on the way. Proposed is what policy's
`mode = "propose"` makes of a plan: written down, shown, never done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from nhi.identity import CredentialStatus


class RemediationKind(StrEnum):
    DISABLE = "disable"
    ROTATE = "rotate"


class RemediationStatus(StrEnum):
    PROPOSED = "proposed"
    PLANNED = "planned"
    ACTING = "acting"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


LIVE = (RemediationStatus.PROPOSED, RemediationStatus.PLANNED, RemediationStatus.ACTING)
UNDO_FOR = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was decided, on which facts."""

    shown_last_used_at: datetime | None  # on the card that the person saw; None: never used
    shown_at: datetime
    owner_then: str | None  # confirmed owner when decided; None: there was none


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is so right now. `gap` says what could not be seen; `status` None: the credential is gone."""

    status: CredentialStatus | None
    last_used_at: datetime | None  # None: never used
    gap: str | None
    owner_now: str | None
    decider_may: bool  # whether who decided may still decide
    acts_this_hour: int


@dataclass(frozen=True, kw_only=True)
class Go:
    """Nothing speaks against it."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Something speaks against it; the sentence goes on the card."""

    why: str
    later: bool = False  # True: nothing is wrong with it, only not now


def check(plan: Plan, look: Look, *, actions_an_hour: int) -> Go | Stop:
    """Decide whether a planned disable may be done now. Every doubt stops it."""
    if look.gap is not None:
        return Stop(why=f"It could not be looked at before acting ({look.gap}), so it was left as it is.")
    if look.status is None:
        return Stop(why="It is not there any more: somebody deleted it.")
    if look.status is CredentialStatus.INACTIVE:
        return Stop(why="It was already turned off by somebody else.")
    if was_used_since(look.last_used_at, plan):
        return Stop(why=f"It was used on {look.last_used_at:%-d %B %Y at %H:%M} UTC, after the card was made.")
    if look.owner_now != plan.owner_then:
        return Stop(why="Its owner changed after this was decided.")
    if not look.decider_may:
        return Stop(why="Who decided this may not decide it any more.")
    if look.acts_this_hour >= actions_an_hour:
        return Stop(why=f"Policy allows {actions_an_hour} acts an hour.", later=True)
    return Go()


def was_used_since(last_used_at: datetime | None, plan: Plan) -> bool:
    """Whether a use is known that the card did not show: any later one, whatever the card's age."""
    if last_used_at is None:
        return False
    return plan.shown_last_used_at is None or last_used_at > plan.shown_last_used_at
