"""What a worker did that stood still for longer than its hold: its call to turn off comes after another one went on.

Where the act has ended with the credential on by then, it is undone once more, by the same steps as any undo; so a run
that dies in between, or a cloud that refuses, leaves what the next run does.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from sqlalchemy.orm import Session

from bot.render import say
from jobs import acting, holds
from jobs.handling import Work, record
from nhi import approvals, steps
from nhi.errors import ProviderError
from nhi.providers import Disables
from nhi.remediation import RemediationKind, RemediationStatus, State
from nhi.tables import RemediationRow

log = logging.getLogger(__name__)

_UNDER_WAY = (RemediationStatus.ACTING, RemediationStatus.TESTING, RemediationStatus.UNDOING)
_OFF = (RemediationStatus.DONE, RemediationStatus.CLOSED)
_TRIES = 3  # of what no row can tell the next worker of


def make_up(work: Work) -> None:
    """Let what was turned off late be as the rows say; where it is to be on, turn it on (or let the next run do so)."""
    hold = None
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        acts = [row, *steps.newer(session, row)]
        same = next((act for act in acts if act.status in (*_UNDER_WAY, *_OFF) and _is_by_the_same(act, work)), None)
        is_elsewhere = row.status in (*_UNDER_WAY, *_OFF) and same is None
        if same is not None and same.status in _UNDER_WAY:
            # Who has it may have read, or turned it on, before this call took effect: it is looked at again.
            same.claimed_until, same.due_at = None, work.clock()
        if same is None and not is_elsewhere:
            hold = _begin_undo(session, row, work)
            _ = row.identity, row.credential, row.steps, row.trials
    if is_elsewhere:
        _turn_on(work)
    if hold is not None:
        with hold.kept():
            acting.undo(replace(work, row=row, hold=hold))


def _is_by_the_same(act: RemediationRow, work: Work) -> bool:
    """Whether an act turns off by the same switch: a step of a scream test may do it by another than the end does."""
    if act.kind is RemediationKind.REVOKE:
        return True
    return bool((act.undo or {}).get("target_kind", act.credential.kind) == work.target.credential_kind)


def _begin_undo(session: Session, row: RemediationRow, work: Work) -> holds.Hold:
    now = work.clock()
    if row.kind is not RemediationKind.REVOKE:
        row.undo = {**(row.undo or {}), "target_kind": work.target.credential_kind}
    approvals.call_off(session, row, now)
    record(session, row, "remediation.came_late", now)
    steps.advance(session, row, State.UNDOING, now, because=say("acts.came_late", before=row.because).plain())
    row.due_at = now
    return holds.seize(row, work.sessions, work.clock)


def _turn_on(work: Work) -> None:
    """Turn on by a switch that no act uses any more."""
    assert isinstance(work.provider, Disables)
    for left in reversed(range(_TRIES)):
        try:
            work.provider.enable(work.target)
            return
        except ProviderError as error:
            if not left:
                log.error("%s was turned off late and cannot be turned on: %s", work.target.credential_id, error)
