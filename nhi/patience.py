"""Snoozes and promises: what is left alone until a day, and asked about again from then on. One transaction each."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from nhi import answers, days, ledger
from nhi.errors import NotAllowed
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.tables import (
    AskFindingRow,
    AskRow,
    AttestationRow,
    FindingRow,
    IdentityRow,
    PersonRow,
    PromiseRow,
    SnoozeRow,
    new_id,
)
from nhi.words import sentence
from nhi.working_days import zone

SNOOZED_AT_MOST = timedelta(days=30)  # from the first snooze on, until somebody answers
UNTOUCHED = (FindingStatus.OPEN, FindingStatus.ASKED)


def end_of(day: date, tz: str = "UTC") -> datetime:
    """Return the instant at which a day is over in a zone, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(0), zone(tz)).astimezone(UTC)


def snooze(session: Session, identity: IdentityRow, who: PersonRow, until: date, now: datetime) -> SnoozeRow:
    """Leave an identity alone until the end of a day, in the zone of who says so. Raises NotAllowed for a day that is
    past or too far: several snoozes after another last no longer than one may. It takes the place of any that lasts.

    The open question stays open and can be answered; its reminders count from the end of the snooze.
    """
    today, latest = now.astimezone(zone(who.tz)).date(), _latest(session, identity.id, now)
    if not today <= until <= latest:
        raise NotAllowed(sentence("refusals.snooze_between", latest=latest))
    lasting = (SnoozeRow.identity_id == identity.id, SnoozeRow.until > now)
    session.execute(update(SnoozeRow).where(*lasting).values(until=now))
    row = SnoozeRow(id=new_id(), identity_id=identity.id, email=who.email, since=now, until=end_of(until, who.tz))
    session.add(row)
    session.execute(
        update(AskRow)
        .where(AskRow.identity_id == identity.id, AskRow.status == AskStatus.OPEN)
        .values(last_step_at=row.until)
    )
    session.execute(
        update(FindingRow)
        .where(FindingRow.identity_id == identity.id, FindingRow.status.in_(UNTOUCHED))
        .values(status=FindingStatus.SNOOZED)
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


def _latest(session: Session, identity_id: str, now: datetime) -> date:
    """Return until when an identity may be snoozed: so long after the first snooze since anybody answered."""
    answered_at = session.scalar(select(func.max(AttestationRow.at)).where(AttestationRow.identity_id == identity_id))
    first = select(func.min(SnoozeRow.since)).where(SnoozeRow.identity_id == identity_id)
    if answered_at is not None:
        first = first.where(SnoozeRow.since > answered_at)
    began = session.scalar(first)
    return ((began or now) + SNOOZED_AT_MOST).date()


def snoozed(session: Session, now: datetime) -> set[str]:
    """Return the identities that are to be left alone now."""
    rows = session.scalars(select(SnoozeRow.identity_id).where(SnoozeRow.since <= now, SnoozeRow.until > now))
    return set(rows)


def snooze_of(session: Session, identity_id: str, now: datetime) -> SnoozeRow | None:
    """Return the snooze that an identity is in; None: it is in none."""
    lasting = select(SnoozeRow).where(SnoozeRow.identity_id == identity_id, SnoozeRow.until > now)
    return session.scalar(lasting.order_by(SnoozeRow.until.desc(), SnoozeRow.id).limit(1))


def wake(session: Session, now: datetime) -> int:
    """Let findings whose snooze is over be asked about again; return of how many."""
    asleep = select(FindingRow).where(FindingRow.status == FindingStatus.SNOOZED)
    rows = [row for row in session.scalars(asleep) if snooze_of(session, row.identity_id, now) is None]
    asked = (
        select(AskFindingRow.finding_id, AskFindingRow.ask_id)
        .join(AskRow, AskRow.id == AskFindingRow.ask_id)
        .where(AskRow.status == AskStatus.OPEN, AskFindingRow.finding_id.in_([row.id for row in rows]))
    )
    open_questions = {row.finding_id: row.ask_id for row in session.execute(asked)} if rows else {}
    for row in rows:
        row.status = FindingStatus.ASKED if row.id in open_questions else FindingStatus.OPEN
    session.flush()
    for ask_id in sorted(set(open_questions.values())):
        answers.redraw(session, ask_id)  # its copies still say until when it is put off
    return len(rows)


def promise(session: Session, attestation: AttestationRow, now: datetime) -> PromiseRow | None:
    """Keep the day that a justification names before its own end; None: it names none, so there is none to wait for."""
    if attestation.words is None or attestation.until is None:
        return None
    ahead = (day for day in days.dates_in(attestation.words, now.date()) if day > now.date())
    due = next(ahead, None)
    if due is None or end_of(due) >= attestation.until:
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
        until = session.scalar(select(AttestationRow.until).where(AttestationRow.id == row.attestation_id))
        justified = select(FindingRow).where(
            FindingRow.identity_id == row.identity_id,
            FindingRow.status == FindingStatus.JUSTIFIED,
            FindingRow.justified_until == until,  # another justification, made since, holds
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
    """Return what this person promised of this identity, as half a sentence; None: nothing, or they answered since."""
    newest = select(PromiseRow).where(
        PromiseRow.identity_id == identity_id, PromiseRow.email == email, PromiseRow.followed_up_at.is_not(None)
    )
    row = session.scalar(newest.order_by(PromiseRow.due_on.desc(), PromiseRow.id).limit(1))
    if row is None:
        return None
    since = select(AttestationRow.id).where(
        AttestationRow.identity_id == identity_id,
        AttestationRow.email == email,
        AttestationRow.at >= row.followed_up_at,
    )
    if session.scalar(since.limit(1)) is not None:
        return None
    return sentence("answers.promised", at=row.made_at, words=row.words)
