"""The steps of an act, written down: the one way by which a remediation gets from one state to the next."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi.database import lock_writers
from nhi.ledger import plain
from nhi.remediation import RESTS, STATUS, State, check_step
from nhi.screaming import Outcome
from nhi.tables import RemediationRow, RemediationStepRow, ScreamStepRow, new_id


def state_of(row: RemediationRow) -> State:
    """Return where an act stands; one without steps (it is older than they are) stands where its status says."""
    if row.steps and STATUS[row.steps[-1].state] is row.status:
        return row.steps[-1].state
    return RESTS[row.status]


def begin(session: Session, row: RemediationRow, state: State, now: datetime, **facts: Any) -> None:
    """Write the first step of a new act. Raises WrongStep."""
    check_step(None, state)
    _write(session, row, state, now, None, facts)


def advance(
    session: Session,
    row: RemediationRow,
    state: State,
    now: datetime,
    *,
    because: str | None = None,
    after: State | None = None,
    **facts: Any,
) -> None:
    """Take an act to its next state, and its status with it. Raises WrongStep where the machine has no such step.

    `after` is the state that it had, where the conditional UPDATE that claimed it has changed the status already.
    """
    check_step(after or state_of(row), state)
    row.status, row.because = STATUS[state], because
    _write(session, row, state, now, because, facts)


def put_off(session: Session, row: RemediationRow, because: str, now: datetime) -> None:
    """Write why an act waits; the same reason again is not written again."""
    if row.because != because and state_of(row) is State.SCHEDULED:
        _write(session, row, State.SCHEDULED, now, because, {})
    row.because = because


def _write(
    session: Session, row: RemediationRow, state: State, now: datetime, because: str | None, facts: dict[str, Any]
) -> None:
    number = row.steps[-1].number + 1 if row.steps else 1
    row.steps.append(
        RemediationStepRow(id=new_id(), number=number, state=state, at=now, because=because, facts=plain(facts))
    )
    session.flush()


def locked(session: Session, remediation_id: str) -> RemediationRow:
    """Return an act as it is now, and let nobody else change it before this transaction ends."""
    lock_writers(session)  # first: who renews a hold has that lock when it waits for the row
    return session.get_one(RemediationRow, remediation_id, populate_existing=True, with_for_update=True)


def newer(session: Session, row: RemediationRow) -> list[RemediationRow]:
    """Return the acts of the same kind on the same credential that were planned after this one, the newest first."""
    others = select(RemediationRow).where(
        RemediationRow.credential_id == row.credential_id,
        RemediationRow.kind == row.kind,
        RemediationRow.id != row.id,
        RemediationRow.planned_at >= row.planned_at,
    )
    return list(session.scalars(others.order_by(RemediationRow.planned_at.desc(), RemediationRow.id)))


def step_of(row: RemediationRow) -> ScreamStepRow | None:
    """Return the step of a scream test that is under way; None: none is."""
    return row.trials[-1] if row.trials and row.trials[-1].back_at is None else None


def void(row: RemediationRow, now: datetime) -> None:
    """End a step of a scream test that had no effect."""
    trial = step_of(row)
    if trial is not None:
        trial.back_at, trial.outcome = now, Outcome.VOID


def because_of(row: RemediationRow, state: State) -> str | None:
    """Return the reason that was written when an act last came into a state; None: there was none."""
    return next((step.because for step in reversed(row.steps) if step.state is state), None)


def certificate_of(row: RemediationRow) -> dict[str, Any] | None:
    """Return what was checked right before the act, as nhi/certificate.py writes it; None: it was not acted on."""
    found = (step.facts.get("certificate") for step in reversed(row.steps) if step.state is State.CHECKED)
    return next(found, None)
