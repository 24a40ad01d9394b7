"""What could not be said: nobody's question is lost because a person left, a channel was archived, or Slack was down.

A message that nobody will ever read must not be waited for. Whose recipient is gone moves up the ladder at once; what
Slack was too unwell to take for hours is asked anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.delivery import DEAD
from bot.messages import OF_OTHERS
from bot.slack import is_hopeless
from jobs import shadow
from jobs.judge import withdraw
from nhi import ledger
from nhi.escalation import AskStatus
from nhi.policy import Policy
from nhi.tables import AskRow, CardRow, DeliveryRow, TeamClaimRow
from nhi.words import sentence

QUESTIONS = ("digest", "shadow", "reminder", "escalation", "claim")
PICKED_UP = "picked_up"  # in a delivery's words: its questions are taken care of


def pick_up(session: Session, policy: Policy, now: datetime) -> int:
    """Take care of the questions in messages that died since the last look; return how many questions that were."""
    dead = select(DeliveryRow).where(DeliveryRow.state == DEAD, DeliveryRow.kind.in_(QUESTIONS))
    count = 0
    for row in session.scalars(dead.order_by(DeliveryRow.created_at, DeliveryRow.id)):
        if row.words.get(PICKED_UP):
            continue
        row.words = row.words | {PICKED_UP: True}
        for ask in _open_asks(session, row):
            count += 1
            _go_on(session, row, ask, policy, now)
            facts = {"ask": ask.id, "delivery": row.id, "kind": row.kind, "error": row.error}
            ledger.record(session, "message.unsaid", now=now, identity_id=ask.identity_id, facts=facts)
    return count


def _open_asks(session: Session, row: DeliveryRow) -> list[AskRow]:
    on_it = select(AskRow).join(CardRow, CardRow.ask_id == AskRow.id).where(CardRow.delivery_id == row.id)
    return list(session.scalars(on_it.where(AskRow.status == AskStatus.OPEN).order_by(CardRow.position, CardRow.id)))


def _go_on(session: Session, row: DeliveryRow, ask: AskRow, policy: Policy, now: datetime) -> None:
    hopeless = is_hopeless(row.error)
    if row.kind == "claim":
        _hand_over(session, ask, now)
    elif row.kind == "escalation" or ask.id in row.words.get(OF_OTHERS, ()):
        if not hopeless and ask.escalated_to:
            ask.escalated_to = ask.escalated_to[:-1]  # to be told again
        _hurry(ask, policy, now)
    elif _is_seen_elsewhere(session, row, ask):
        return
    elif hopeless and ask.shadow:
        return  # `nhi doctor` tells of it: there is nobody above an admin
    elif hopeless:
        ask.reminders = len(policy.conversation.remind_after)
        _hurry(ask, policy, now)
    else:
        withdraw(session, ask, sentence("messages.unsaid", error=row.error), now)
        shadow.reopen(session, ask)


def _hurry(ask: AskRow, policy: Policy, now: datetime) -> None:
    """Let the next step of the ladder be due at once."""
    ask.last_step_at = now - max(policy.conversation.remind_after, default=timedelta(days=4))


def _hand_over(session: Session, ask: AskRow, now: datetime) -> None:
    claim = session.get(TeamClaimRow, ask.id)
    if claim is not None and claim.handed_at is None:
        claim.deadline_at = min(claim.deadline_at, now)


def _is_seen_elsewhere(session: Session, row: DeliveryRow, ask: AskRow) -> bool:
    """Whether the same question stands, or is about to stand, in another message to the same person."""
    others = (
        select(CardRow.id)
        .join(DeliveryRow, DeliveryRow.id == CardRow.delivery_id)
        .where(
            CardRow.ask_id == ask.id,
            DeliveryRow.id != row.id,
            DeliveryRow.recipient == row.recipient,
            DeliveryRow.state != DEAD,
        )
    )
    return session.scalar(others.limit(1)) is not None
