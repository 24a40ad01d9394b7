"""What admins see at a glance: the funnel, the oldest silence, what could not be seen or said. Nothing is written."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from nhi import facts
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.tables import (
    AskRow,
    AttestationRow,
    DeliveryRow,
    FindingRow,
    GateRow,
    IdentityRow,
    OwnerRow,
    ScanRow,
    SnoozeRow,
)

Json = dict[str, Any]
LATE_AFTER = timedelta(minutes=15)
SNOOZED_AT_MOST = 5
ALL_SENDING = "slack"  # the gate of bot.slack


def read(session: Session, now: datetime) -> Json:
    """Return the figures; of identities each is counted once."""
    dead = session.scalars(select(DeliveryRow.error).where(DeliveryRow.state == "dead")).all()
    stopped = session.scalar(select(GateRow.because).where(GateRow.name == ALL_SENDING, GateRow.not_before > now))
    return _funnel(session) | {
        "silence": _silence(session),
        "gaps": _gaps(session),
        "dead": len(dead),
        "dead_because": ", ".join(sorted({error or "no reason is known" for error in dead})),
        "snoozed": _snoozed(session, now),
        "scanned_at": facts.when(session.scalar(select(func.max(ScanRow.finished_at)))),
        "stopped": stopped,
        "late": _late(session, now),
    }


def _funnel(session: Session) -> Json:
    asked = select(func.count(func.distinct(AskRow.identity_id)))
    done = select(func.count(func.distinct(FindingRow.identity_id))).where(FindingRow.status == FindingStatus.RESOLVED)
    return {
        "found": _number(session, select(func.count(func.distinct(FindingRow.identity_id)))),
        "owned": _number(session, select(func.count()).select_from(OwnerRow).where(OwnerRow.ended_at.is_(None))),
        "asked": _number(session, asked),
        "answered": _number(session, select(func.count(func.distinct(AttestationRow.identity_id)))),
        "done": _number(session, done),
    }


def _number(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)


def _silence(session: Session) -> Json | None:
    oldest = select(AskRow).where(AskRow.status == AskStatus.OPEN).order_by(AskRow.asked_at, AskRow.id).limit(1)
    ask = session.scalar(oldest)
    return None if ask is None else {"name": ask.identity.name, "email": ask.email, "at": facts.when(ask.asked_at)}


def _gaps(session: Session) -> list[Json]:
    """Return what the newest scan of each account could not see."""
    newest: dict[tuple[str, str], ScanRow] = {}
    for scan in session.scalars(select(ScanRow).order_by(ScanRow.finished_at)):
        newest[scan.provider, scan.account] = scan
    return [{"scope": gap.scope, "reason": gap.reason} for scan in newest.values() for gap in scan.gaps]


def _snoozed(session: Session, now: datetime) -> list[Json]:
    rows = session.execute(
        select(IdentityRow.name, SnoozeRow.email, SnoozeRow.until)
        .join(IdentityRow, IdentityRow.id == SnoozeRow.identity_id)
        .where(SnoozeRow.since <= now, SnoozeRow.until > now)
        .order_by(SnoozeRow.until.desc())
        .limit(SNOOZED_AT_MOST)
    )
    return [{"name": name, "email": email, "until": facts.when(until)} for name, email, until in rows]


def _late(session: Session, now: datetime) -> int:
    waiting = select(func.count()).select_from(DeliveryRow)
    return _number(session, waiting.where(DeliveryRow.state == "waiting", DeliveryRow.created_at < now - LATE_AFTER))
