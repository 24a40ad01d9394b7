"""What admins see at a glance: the funnel, the oldest silence, what could not be seen or said. Nothing is written."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, func, select
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
from nhi.words import sentence

Json = dict[str, Any]
LATE_AFTER = timedelta(minutes=15)
UNSAID_FOR = timedelta(days=7)  # how long a message that died is told of: by then its questions are asked anew
SNOOZED_AT_MOST = 5
ALL_SENDING = "slack"  # the gate of bot.slack


def read(session: Session, now: datetime) -> Json:
    """Return the figures; of identities each is counted once."""
    dead, snoozed = unsaid(session, now), _snoozed(session, now)
    stopped = session.scalar(select(GateRow.because).where(GateRow.name == ALL_SENDING, GateRow.not_before > now))
    return _funnel(session) | {
        "silence": _silence(session),
        "gaps": _gaps(session),
        "dead": len(dead),
        "dead_because": ", ".join(sorted({error or sentence("home.no_reason") for error in dead})),
        "unsaid_for": UNSAID_FOR,
        "snoozed": snoozed[:SNOOZED_AT_MOST],
        "snoozed_more": len(snoozed[SNOOZED_AT_MOST:]),
        "scanned_at": facts.when(session.scalar(select(func.max(ScanRow.finished_at)))),
        "stopped": stopped,
        "late": _late(session, now),
    }


def unsaid(session: Session, now: datetime) -> list[str | None]:
    """Return why messages of late could not be said, in Slack's words, one for each; None: it gave no reason."""
    dead = select(DeliveryRow.error).where(DeliveryRow.state == "dead", DeliveryRow.created_at > now - UNSAID_FOR)
    return list(session.scalars(dead.order_by(DeliveryRow.created_at, DeliveryRow.id)))


def last_preview(session: Session) -> Json | None:
    """Return what the newest message of shadow mode told admins; None: there was none yet."""
    newest = select(DeliveryRow.words).where(DeliveryRow.kind == "golive").order_by(DeliveryRow.created_at.desc())
    return session.scalar(newest.limit(1))


def _funnel(session: Session) -> Json:
    """Return how many identities came how far; each step counts only those of the step before it that is named."""
    found = select(FindingRow.identity_id)
    of_found = {
        "owned": select(OwnerRow.identity_id).where(OwnerRow.ended_at.is_(None)),
        "asked": select(AskRow.identity_id).where(AskRow.shadow.is_(False)),
        "answered": select(AttestationRow.identity_id),
    }
    counts = {"found": _number(session, select(func.count(func.distinct(FindingRow.identity_id))))}
    for name, query in of_found.items():
        column = query.selected_columns[0]
        counts[name] = _number(
            session, query.with_only_columns(func.count(func.distinct(column))).where(column.in_(found))
        )
    still_open = select(FindingRow.identity_id).where(FindingRow.status != FindingStatus.RESOLVED)
    done = select(func.count(func.distinct(FindingRow.identity_id))).where(FindingRow.identity_id.not_in(still_open))
    return counts | {"done": _number(session, done)}


def _number(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)


def _silence(session: Session) -> Json | None:
    oldest = (
        select(AskRow)
        .where(AskRow.status == AskStatus.OPEN, AskRow.shadow.is_(False))
        .order_by(AskRow.asked_at, AskRow.id)
        .limit(1)
    )
    ask = session.scalar(oldest)
    return None if ask is None else {"name": ask.identity.name, "email": ask.email, "at": facts.when(ask.asked_at)}


def _gaps(session: Session) -> list[Json]:
    """Return what the newest scan of each account could not see."""
    newest = select(ScanRow.provider, ScanRow.account, func.max(ScanRow.finished_at).label("at")).group_by(
        ScanRow.provider, ScanRow.account
    )
    last = newest.subquery()
    same = and_(
        last.c.provider == ScanRow.provider, last.c.account == ScanRow.account, last.c.at == ScanRow.finished_at
    )
    scans = session.scalars(select(ScanRow).join(last, same).order_by(ScanRow.provider, ScanRow.account, ScanRow.id))
    return [{"scope": gap.scope, "reason": gap.reason} for scan in scans for gap in scan.gaps]


def _snoozed(session: Session, now: datetime) -> list[Json]:
    rows = session.execute(
        select(IdentityRow.name, SnoozeRow.email, SnoozeRow.until)
        .join(IdentityRow, IdentityRow.id == SnoozeRow.identity_id)
        .where(SnoozeRow.since <= now, SnoozeRow.until > now)
        .order_by(SnoozeRow.until.desc(), IdentityRow.name)
    )
    return [{"name": name, "email": email, "until": facts.when(until)} for name, email, until in rows]


def _late(session: Session, now: datetime) -> int:
    waiting = select(func.count()).select_from(DeliveryRow)
    return _number(session, waiting.where(DeliveryRow.state == "waiting", DeliveryRow.created_at < now - LATE_AFTER))
