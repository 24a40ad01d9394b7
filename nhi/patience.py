"""Snoozes and promises: what is left alone until a day, and asked about again from then on. One transaction each."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from nhi import days, ledger
from nhi.errors import NotAllowed
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.tables import AskRow, AttestationRow, FindingRow, IdentityRow, PersonRow, PromiseRow, SnoozeRow, new_id

SNOOZED_AT_MOST = timedelta(days=30)


def end_of(day: date) -> datetime:
    """Return the instant at which a day is over, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(0), UTC)


def snooze(session: Session, identity: IdentityRow, who: PersonRow, until: date, now: datetime) -> SnoozeRow:
    """Leave an identity alone until the end of a day. Raises NotAllowed for a day that is past or too far.

    The open question stays open and can be answered; its reminders count from the end of the snooze.
    """
    latest = (now + SNOOZED_AT_MOST).date()
    if not now.date() <= until <= latest:
        raise NotAllowed(f"A snooze ends between today and {latest:%-d %B %Y}; to keep it longer, justify it.")
    row = SnoozeRow(id=new_id(), identity_id=identity.id, email=who.email, since=now, until=end_of(until))
    session.add(row)
    session.execute(
        update(AskRow)
        .where(AskRow.identity_id == identity.id, AskRow.status == AskStatus.OPEN)
        .values(last_step_at=row.until)
    )
    session.flush()
    ledger.record(
        session,
        "finding.snoozed",
        now=now,
        identity_id=identity.id,
        facts={"snooze": row.id, "until": row.until},
        private={"email": who.email},
    )
    return row


def snoozed(session: Session, now: datetime) -> set[str]:
    """Return the identities that are to be left alone now."""
    rows = session.scalars(select(SnoozeRow.identity_id).where(SnoozeRow.since <= now, SnoozeRow.until > now))
    return set(rows)


def promise(session: Session, attestation: AttestationRow, now: datetime) -> PromiseRow | None:
    """Keep the day that a justification names before its own end; None: it names none, so there is none to wait for."""
    if attestation.words is None or attestation.until is None:
        return None
    due = days.read_day(attestation.words, now.date())
    if due is None or not now.date() < due or end_of(due) >= attestation.until:
        return None
    row = PromiseRow(
        id=new_id(),
        identity_id=attestation.identity_id,
        attestation_id=attestation.id,
        email=attestation.email,
        words=attestation.words,
        due_on=due,
        made_at=now,
        followed_up_at=None,
    )
    session.add(row)
    session.flush()
    ledger.record(
        session,
        "promise.made",
        now=now,
        identity_id=row.identity_id,
        facts={"promise": row.id, "attestation": attestation.id, "due_on": due.isoformat()},
    )
    return row


def follow_up(session: Session, now: datetime) -> int:
    """Let what was promised by a day that is over be asked about again, where it is still so; return of how many."""
    due = select(PromiseRow).where(PromiseRow.followed_up_at.is_(None), PromiseRow.due_on < now.date())
    rows = list(session.scalars(due.order_by(PromiseRow.due_on, PromiseRow.id)))
    for row in rows:
        row.followed_up_at = now
        justified = select(FindingRow).where(
            FindingRow.identity_id == row.identity_id, FindingRow.status == FindingStatus.JUSTIFIED
        )
        reopened = list(session.scalars(justified))
        for finding in reopened:
            finding.status, finding.justified_until = FindingStatus.OPEN, None
        session.flush()
        ledger.record(
            session,
            "promise.due",
            now=now,
            identity_id=row.identity_id,
            facts={"promise": row.id, "findings": [finding.id for finding in reopened]},
        )
    return len(rows)


def reminder_of(session: Session, identity_id: str, email: str) -> str | None:
    """Return what this person promised lately of this identity, as half a sentence; None: nothing."""
    newest = select(PromiseRow).where(
        PromiseRow.identity_id == identity_id, PromiseRow.email == email, PromiseRow.followed_up_at.is_not(None)
    )
    row = session.scalar(newest.order_by(PromiseRow.due_on.desc()).limit(1))
    return f"on {row.made_at:%-d %B} you said: “{row.words}”" if row else None
