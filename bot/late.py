"""What Slack took late counts from when it was said: nobody is reminded, or reported as silent, by a clock they did not
hear start.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi.answers import redraw
from nhi.escalation import AskStatus
from nhi.passing import claim_deadline
from nhi.policy import Policy
from nhi.tables import AskRow, CardRow, DeliveryRow, PersonRow, TeamClaimRow

COUNTED = frozenset({"digest", "shadow", "reminder", "escalation", "claim"})
LATE_AFTER = timedelta(minutes=15)  # before that, nothing was amiss, and the day is the same


def count_anew(session: Session, row: DeliveryRow, policy: Policy, now: datetime) -> None:
    """Let what a message begins count from now on, if it is late: before it is drawn, so that its dates come true."""
    if row.kind not in COUNTED or now - row.created_at < LATE_AFTER:
        return
    on_it = select(AskRow).join(CardRow, CardRow.ask_id == AskRow.id).where(CardRow.delivery_id == row.id)
    for ask in session.scalars(on_it.where(AskRow.status == AskStatus.OPEN)):
        if row.created_at <= ask.asked_at:
            ask.asked_at = now
        if row.created_at <= ask.last_step_at < now:
            ask.last_step_at = now
        if row.kind == "claim":
            _lengthen(session, ask, policy, now)
        redraw(session, ask.id)


def _lengthen(session: Session, ask: AskRow, policy: Policy, now: datetime) -> None:
    """Give a team the time that policy promises it."""
    claim = session.get(TeamClaimRow, ask.id)
    default = session.scalar(select(PersonRow.tz).where(PersonRow.email == ask.email).limit(1))
    if claim is not None and claim.handed_at is None:
        claim.deadline_at = claim_deadline(now, policy.people.claim_within, default or "UTC", policy.conversation)
