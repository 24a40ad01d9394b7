"""Whom to look up in Slack: everybody that evidence, policy or an open question names."""

from __future__ import annotations

from datetime import datetime

from slack_sdk import WebClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import directory
from nhi import roster
from nhi.database import Sessions, reading
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.identity import Gap
from nhi.ownership import names_of
from nhi.policy import Policy
from nhi.tables import AskRow, EvidenceRow, FindingRow, OwnerRow, PersonRow


def refresh(sessions: Sessions, client: WebClient, policy: Policy, now: datetime) -> tuple[Gap, ...]:
    """Look up everybody who may be asked or may decide; return a gap where Slack could not be asked."""
    with reading(sessions) as session:
        names = wanted(session, policy)
    return directory.refresh(sessions, client, sorted(names), now)


def wanted(session: Session, policy: Policy) -> set[str]:
    """Return e-mails (lower case) and Slack ids of everybody that matters to a question, and of admins."""
    with_findings = select(FindingRow.identity_id).where(FindingRow.status != FindingStatus.RESOLVED)
    facts = session.scalars(select(EvidenceRow.points_to).where(EvidenceRow.identity_id.in_(with_findings)).distinct())
    names = {name for fact in facts for name in names_of(fact, policy.people)}
    for admin in (*policy.people.admins, *((policy.owners.fallback,) if policy.owners.fallback else ())):
        names.update(names_of(admin, policy.people))
    names.update(session.scalars(select(OwnerRow.email).where(OwnerRow.ended_at.is_(None)).distinct()))
    names.update(session.scalars(select(AskRow.email).where(AskRow.status == AskStatus.OPEN).distinct()))
    return names


def admins(session: Session, policy: Policy) -> list[PersonRow]:
    """Return the admins that policy names and Slack knows, in policy's order."""
    found: dict[str, PersonRow] = {}
    for admin in policy.people.admins:
        query = select(PersonRow).where((PersonRow.email == admin.lower()) | (PersonRow.slack_id == admin))
        for row in session.scalars(query):
            if row.active and not (row.bot or row.guest or row.stranger):
                found[row.slack_id] = row
    return list(found.values())


def recipient(session: Session, asked: str, rung: str, policy: Policy, now: datetime) -> str | None:
    """Return where silence of somebody goes: a channel by its name, a person's Slack id; None: nobody can be told."""
    if rung == "manager":
        manager = roster.manager_of(session, asked, policy, now)
        return manager.slack_id if manager else None
    if rung.startswith(("#", "C", "G")) and "@" not in rung:
        return rung
    return session.scalar(
        select(PersonRow.slack_id).where(PersonRow.email == rung.lower(), PersonRow.active.is_(True)).limit(1)
    )
