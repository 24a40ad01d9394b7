"""An act's life: the one machine of states, pure.

    proposed                                policy's mode is "propose": written down, shown, never done
    awaiting_second ─┐                      another person must say yes first
    scheduled ───────┴─> checked            looked at again; nothing speaks against it; the undo is stored
    checked ──> acting ──> verified         the cloud is asked, and read back until it shows
    verified ──> watching ──> closed        one press undoes it for 30 days; then it stays as it is
    watching ──> undoing ──> undone         the former state, exactly
    acting ──> testing ──> restoring        a scream test's step: off for a while, and on again (nhi/screaming.py)
    restoring ──> scheduled                 nothing called: the next step of its ladder, or for good
    testing ──> verified                    somebody else has it: it stays off
    refused, failed                         ended on the way, with the reason
    undone, refused, failed, ... ──> undoing    a worker that had stood still turned it off after all (jobs/late.py)

Every step is a row of its own, written before and after (nhi/steps.py). `RemediationStatus` is the word for where an
act stands that the database is asked by, and that cards, evidence and scripts read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum


class RemediationKind(StrEnum):
    DISABLE = "disable"
    ROTATE = "rotate"
    REVOKE = "revoke"  # end the sessions under way; whoever may begin a new one still can


class RemediationStatus(StrEnum):
    PROPOSED = "proposed"
    AWAITING = "awaiting"
    PLANNED = "planned"
    ACTING = "acting"
    TESTING = "testing"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    CLOSED = "closed"


class State(StrEnum):
    """A step of an act's life."""

    PROPOSED = "proposed"
    AWAITING_SECOND = "awaiting_second"
    SCHEDULED = "scheduled"
    CHECKED = "checked"
    ACTING = "acting"
    TESTING = "testing"
    RESTORING = "restoring"
    VERIFIED = "verified"
    WATCHING = "watching"
    UNDOING = "undoing"
    UNDONE = "undone"
    REFUSED = "refused"
    FAILED = "failed"
    CLOSED = "closed"


LIVE = (
    RemediationStatus.PROPOSED,
    RemediationStatus.AWAITING,
    RemediationStatus.PLANNED,
    RemediationStatus.ACTING,
    RemediationStatus.TESTING,
)
NOT_BEGUN = (RemediationStatus.PROPOSED, RemediationStatus.AWAITING, RemediationStatus.PLANNED)  # called off by undo
REVERSIBLE = (RemediationKind.DISABLE, RemediationKind.REVOKE)  # what the worker does by itself, and undoes
UNDO_FOR = timedelta(days=30)

STATUS: Mapping[State, RemediationStatus] = {
    State.PROPOSED: RemediationStatus.PROPOSED,
    State.AWAITING_SECOND: RemediationStatus.AWAITING,
    State.SCHEDULED: RemediationStatus.PLANNED,
    State.CHECKED: RemediationStatus.ACTING,  # written together with the next step, so nothing ever rests here
    State.ACTING: RemediationStatus.ACTING,
    State.TESTING: RemediationStatus.TESTING,
    State.RESTORING: RemediationStatus.TESTING,
    State.VERIFIED: RemediationStatus.DONE,
    State.WATCHING: RemediationStatus.DONE,
    State.UNDOING: RemediationStatus.UNDOING,
    State.UNDONE: RemediationStatus.UNDONE,
    State.REFUSED: RemediationStatus.REFUSED,
    State.FAILED: RemediationStatus.FAILED,
    State.CLOSED: RemediationStatus.CLOSED,
}

# Where an act rests in each status: for one that was written before steps were.
RESTS: Mapping[RemediationStatus, State] = {
    status: state for state, status in STATUS.items() if state not in (State.CHECKED, State.RESTORING, State.VERIFIED)
}

BEGINNINGS = frozenset({State.PROPOSED, State.AWAITING_SECOND, State.SCHEDULED})
ENDS = frozenset({State.UNDONE, State.REFUSED, State.FAILED, State.CLOSED})

FOLLOWS: Mapping[State, frozenset[State]] = {
    State.PROPOSED: frozenset({State.UNDONE}),
    State.AWAITING_SECOND: frozenset({State.SCHEDULED, State.REFUSED, State.UNDONE, State.UNDOING}),
    # To itself: put off, with another reason than before.
    State.SCHEDULED: frozenset(
        {
            *(State.SCHEDULED, State.AWAITING_SECOND, State.CHECKED),
            *(State.REFUSED, State.FAILED, State.UNDONE, State.UNDOING),
        }
    ),
    State.CHECKED: frozenset({State.ACTING}),
    # A run that died here may have changed nothing: then it is looked at again, and another reason may stop it.
    State.ACTING: frozenset(
        {
            *(State.ACTING, State.CHECKED, State.SCHEDULED, State.AWAITING_SECOND),
            *(State.TESTING, State.VERIFIED, State.REFUSED, State.FAILED),
        }
    ),
    # Right to verified: what somebody else turns out to have stays off.
    State.TESTING: frozenset({State.TESTING, State.RESTORING, State.VERIFIED, State.UNDOING, State.FAILED}),
    # To itself: the cloud could not turn it on yet.
    State.RESTORING: frozenset(
        {State.RESTORING, State.SCHEDULED, State.VERIFIED, State.REFUSED, State.UNDOING, State.FAILED}
    ),
    State.VERIFIED: frozenset({State.WATCHING}),
    State.WATCHING: frozenset({State.UNDOING, State.CLOSED}),
    # Back to watching: a new key that somebody uses by now is not taken back.
    State.UNDOING: frozenset({State.UNDOING, State.UNDONE, State.FAILED, State.WATCHING}),
    # What has ended with the credential on may be turned off once more, late, and is turned on again then.
    State.UNDONE: frozenset({State.UNDOING}),
    State.REFUSED: frozenset({State.UNDOING}),
    State.FAILED: frozenset({State.UNDOING}),
    State.CLOSED: frozenset(),
}


class WrongStep(Exception):
    """A step that the machine does not have: a fault of this program, and never shown as advice."""

    def __init__(self, before: State | None, after: State) -> None:
        super().__init__(f"{before or 'nothing'} is not followed by {after}")


def check_step(before: State | None, after: State) -> None:
    """Raise WrongStep where `after` may not follow `before` (None: the act begins)."""
    allowed = BEGINNINGS if before is None else FOLLOWS[before]
    if after not in allowed:
        raise WrongStep(before, after)
