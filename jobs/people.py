"""Who is who: everybody in Slack, the company's own list, its identity provider, and whom to look up in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slack_sdk import WebClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import directory
from nhi import authority, people_csv, roster
from nhi.database import Sessions, reading
from nhi.escalation import ADMINS, AskStatus, is_back_soon
from nhi.findings import FindingStatus
from nhi.identity import Gap
from nhi.ownership import names_of
from nhi.people import Entry, team_of
from nhi.people_csv import Problem
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
    return names | _above(session, {name for name in names if "@" in name}, policy)


def _above(session: Session, emails: set[str], policy: Policy) -> set[str]:
    """Return who may be asked instead of these people: the managers next above them, and their teams' defaults."""
    told = roster.people(session)
    managers = {above for email in emails for above in told.managers(email).emails[:2]}
    return managers | {team.default.lower() for team in roster.known_teams(policy, told) if team.default}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a file: how many people it told something new of, and what could not be taken."""

    people: int
    changed: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    written: bool

    def as_json(self) -> dict[str, Any]:
        problems = [{"line": one.line, "problem": one.says} for one in self.problems]
        return {
            "people": self.people,
            "changed": self.changed,
            "written": self.written,
            "problems": problems,
            "notes": list(self.notes),
        }

    def sentence(self) -> str:
        """Return the account in a sentence or two."""
        if not self.written:
            return (
                f"Nothing was written: {_rows(self.problems)} cannot be taken. Mend what is told above, or take the"
                f" other {self.people} with --partial."
            )
        left_out = f" Left out {_rows(self.problems)} that cannot be taken." if self.problems else ""
        return f"Read {self.people} people, {self.changed} of them new or changed.{left_out}"


def _rows(problems: Sequence[Problem]) -> str:
    return "1 row" if len(problems) == 1 else f"{len(problems)} rows"


def import_csv(sessions: Sessions, data: bytes, now: datetime, *, partial: bool = False) -> Imported:
    """Read the company's list. A file with a bad row writes nothing, unless `partial`: then the good rows count.

    Whom the file does not name stays as they are known: a shorter list is no sign that somebody left.
    """
    with reading(sessions) as session:
        found = people_csv.read(data, roster.people(session))
    if (found.problems and not partial) or not found.entries:
        return _imported(found, changed=0, written=not found.problems)
    with sessions.begin() as session:
        changed = roster.write(session, "csv", found.entries, now)
    return _imported(found, changed=changed, written=True)


def _imported(found: people_csv.Read, *, changed: int, written: bool) -> Imported:
    return Imported(
        people=len(found.entries), changed=changed, problems=found.problems, notes=found.notes, written=written
    )


def listing(session: Session, policy: Policy, now: datetime) -> list[dict[str, Any]]:
    """Return everybody known from anywhere, merged by e-mail, in the order of their addresses."""
    known = roster.Roster.read(session, policy, now)
    emails = {one.email for one in known.told} | {row.email for row in known.slack.values() if not row.bot}
    return [_listed(email, known) for email in sorted(emails)]


def _listed(email: str, known: roster.Roster) -> dict[str, Any]:
    told = known.told.find(email) or Entry(email=email)
    row = known.slack.get(email) or known.slack.get(told.email)
    manager = known.manager(email)
    team = team_of(email, known.teams)
    return {
        "email": email,
        "name": told.name or (row.name if row else ""),
        "slack_id": row.slack_id if row else None,
        "tz": row.tz if row else None,
        "can_answer": known.able(email) is not None,
        "manager": told.manager,
        "asks_manager": manager.email if manager else None,
        "team": told.team or (team.name if team else None),
        "starts_on": told.starts_on.isoformat() if told.starts_on else None,
        "ends_on": told.ends_on.isoformat() if told.ends_on else None,
        "aliases": list(told.aliases),
        "logins": list(told.logins),
    }


def recipient(session: Session, asked: str, rung: str, policy: Policy, now: datetime) -> str | None:
    """Return where silence of somebody goes: a channel by its name, a person's Slack id; None: nobody can be told."""
    if rung == "manager":
        manager = roster.manager_of(session, asked, policy, now)
        return manager.slack_id if manager and is_back_soon(manager.away_until, now) else None
    if rung == ADMINS:
        others = [row for row in authority.admins(session, policy) if row.email != asked]
        others.sort(key=lambda row: not is_back_soon(row.away_until, now))
        return others[0].slack_id if others else None
    if rung.startswith(("#", "C", "G")) and "@" not in rung:
        return rung
    return session.scalar(
        select(PersonRow.slack_id).where(PersonRow.email == rung.lower(), PersonRow.active.is_(True)).limit(1)
    )
