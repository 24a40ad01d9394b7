"""Say at once what a command wrote down to be said, and tell what is not said yet, and why."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

from sqlalchemy import select

from bot import delivery
from bot.slack import ALL_SENDING, reopen_if_mended, why_shut
from jobs.program import Program
from nhi.database import reading
from nhi.tables import DeliveryRow

ROUNDS = 60  # a second apart, as one channel takes one message a second


def say_now(program: Program, since: datetime) -> Counter[str]:
    """Post what was written since then; return what is not posted after that, by reason: Slack's own code, or "busy".

    It stays in the outbox: where `nhi up` or a worker runs, it is tried again.
    """
    assert program.slack is not None
    reopen_if_mended(program.sessions, program.slack, program.clock())
    for _ in range(ROUNDS):
        delivery.drain(program.sessions, program.slack, program.policy(), program.clock)
        left = _left(program, since)
        if not left["busy"]:
            break
        time.sleep(1)
    return left


def _left(program: Program, since: datetime) -> Counter[str]:
    """Count what is not posted, by reason; "busy" is what can be in a moment, or what a worker is just posting."""
    query = select(DeliveryRow.error).where(DeliveryRow.created_at >= since, DeliveryRow.state != delivery.POSTED)
    with reading(program.sessions) as session:
        shut = why_shut(session, ALL_SENDING, program.clock())
        return Counter(error or shut or "busy" for error in session.scalars(query))
