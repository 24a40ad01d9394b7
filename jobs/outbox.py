"""Say at once what a command wrote down to be said, and tell what is not said yet, and why."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

from sqlalchemy import and_, or_, select

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
    now, row = program.clock(), DeliveryRow
    is_due = and_(row.state == delivery.WAITING, row.not_before <= now)
    query = select(row).where(row.state != delivery.POSTED, or_(row.created_at >= since, is_due))
    with reading(program.sessions) as session:
        shut = why_shut(session, ALL_SENDING, now)
        rows = session.scalars(query.where(or_(row.state != delivery.DEAD, row.created_at >= since)))
        return Counter(shut or (each.error if _must_wait(each, now) else None) or "busy" for each in rows)


def _must_wait(row: DeliveryRow, now: datetime) -> bool:
    return row.state == delivery.DEAD or row.not_before > now
