"""The merged directory as rows: what sources told, kept as snapshots, and read back as people, managers and teams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from nhi import ledger
from nhi.escalation import zone
from nhi.identity import Person, Team
from nhi.ownership import Directory
from nhi.people import Departure, Entry, People, departure, has_left, managers, teams, with_told
from nhi.policy import Policy
from nhi.records import person_of, storable
from nhi.tables import AttestationRow, DirectoryEntryRow, OwnerRow, PersonRow, new_id


def is_able(row: PersonRow) -> bool:
    """Whether this person can answer for anything at all, as far as Slack tells."""
    return person_of(row).may_own


A_CHUNK = 500
_FIELDS = tuple(field.name for field in fields(Entry))


# -- writing -----------------------------------------------------------------------------------------------------------


def write(session: Session, source: str, entries: Iterable[Entry], now: datetime) -> int:
    """Keep what a source says now; return of how many people it says something new.

    What it said before is closed, not overwritten. Whom it does not name stays as they are known.
    """
    current = {
        row.email: row
        for row in session.scalars(
            select(DirectoryEntryRow).where(DirectoryEntryRow.source == source, DirectoryEntryRow.until.is_(None))
        )
    }
    changed = 0
    for entry in entries:
        known = current.get(entry.email)
        if known is not None and entry_of(known) == entry:
            continue
        if known is not None:
            known.until = now
            session.flush()  # the index allows one current row: the old one ends first
        current[entry.email] = _row(source, entry, now)
        session.add(current[entry.email])
        changed += 1
    session.flush()
    if changed:
        ledger.record(session, "people.told", now=now, facts={"source": source, "people": changed})
    return changed


def _row(source: str, entry: Entry, now: datetime) -> DirectoryEntryRow:
    values: dict[str, Any] = {name: storable(getattr(entry, name)) for name in _FIELDS}
    values["aliases"], values["logins"] = list(entry.aliases), list(entry.logins)
    return DirectoryEntryRow(id=new_id(), source=source, since=now, **values)


def entry_of(row: DirectoryEntryRow) -> Entry:
    """Return the value of a row."""
    values = {name: getattr(row, name) for name in _FIELDS}
    values["aliases"], values["logins"] = tuple(row.aliases), tuple(row.logins)
    return Entry(**values)


def end(session: Session, source: str, emails: Sequence[str], now: datetime) -> None:
    """Write that a complete pull of a source does not know these people any more: it has switched them off."""
    for email in emails:
        row = session.scalar(
            select(DirectoryEntryRow).where(
                DirectoryEntryRow.source == source, DirectoryEntryRow.email == email, DirectoryEntryRow.until.is_(None)
            )
        )
        if row is not None and row.active is not False:
            entry = entry_of(row)
            write(session, source, [Entry(**{name: getattr(entry, name) for name in _FIELDS} | {"active": False})], now)


def add_former_address(session: Session, email: str, former: str, now: datetime) -> None:
    """Remember that Slack knew somebody by another address before: what names that one still means them."""
    row = session.scalar(
        select(DirectoryEntryRow).where(
            DirectoryEntryRow.source == "slack", DirectoryEntryRow.email == email, DirectoryEntryRow.until.is_(None)
        )
    )
    known = row.aliases if row is not None else []
    write(session, "slack", [Entry(email=email, aliases=tuple(dict.fromkeys((*known, former))))], now)


# -- reading -----------------------------------------------------------------------------------------------------------


def people(session: Session) -> People:
    """Return everybody that any source ever told of, by what each said last."""
    return _told(session)


def _told(session: Session, *where: ColumnElement[bool]) -> People:
    columns = (DirectoryEntryRow.source, *(getattr(DirectoryEntryRow, name) for name in _FIELDS))
    query = select(*columns).where(*where).order_by(DirectoryEntryRow.since, DirectoryEntryRow.id)
    return People((row[0], _entry(row[1:])) for row in session.execute(query))


def _entry(values: Sequence[Any]) -> Entry:
    told = dict(zip(_FIELDS, values, strict=True))
    return Entry(**told | {"aliases": tuple(told["aliases"]), "logins": tuple(told["logins"])})


def directory(session: Session, policy: Policy, now: datetime, leaving: frozenset[str] = frozenset()) -> Directory:
    """Return everybody in Slack with what other sources know of them, and the teams.

    Whoever is `leaving` (addresses) counts as gone already: what they own needs somebody else.
    """
    told = people(session)
    rows = session.scalars(select(PersonRow))
    merged = (with_told(person_of(row), told.find(row.email), today(row.tz, now)) for row in rows)
    gone = (replace(one, active=False) if one.email in leaving else one for one in merged)
    return Directory(gone, known_teams(policy, told))


def known_teams(policy: Policy, told: People) -> tuple[Team, ...]:
    """Return the teams that policy names, and those that sources tell of."""
    named = [Team(**team.model_dump()) for team in policy.people.teams]
    return teams(named, told)


def today(tz: str, now: datetime) -> date:
    """Return which day it is in that zone."""
    return now.astimezone(zone(tz)).date()


@dataclass(frozen=True, kw_only=True)
class Roster:
    """One reading of everybody, for jobs that look at many."""

    told: People
    slack: dict[str, PersonRow]  # by address; of two accounts with one address the one that can answer
    by_id: dict[str, PersonRow]
    teams: tuple[Team, ...]
    now: datetime

    @classmethod
    def read(cls, session: Session, policy: Policy, now: datetime) -> Roster:
        told = people(session)
        rows = list(session.scalars(select(PersonRow)))
        return cls(
            told=told,
            slack={row.email: row for row in sorted(rows, key=is_able) if row.email},
            by_id={row.slack_id: row for row in rows},
            teams=known_teams(policy, told),
            now=now,
        )

    def able(self, email: str | None) -> PersonRow | None:
        """Return who can be asked at this address; None: nobody, or somebody who cannot answer (any more)."""
        row = self.slack.get((email or "").lower())
        return row if row is not None and is_able(row) and not self.has_left(row) else None

    def has_left(self, row: PersonRow) -> bool:
        return _is_gone(self.told.find(row.email), row, self.now)

    def manager_told(self, email: str) -> str | None:
        """Return the address of somebody's own manager; None: none was told."""
        told = self.told.find(email)
        return told.manager if told else None

    def manager(self, email: str) -> PersonRow | None:
        """Return the nearest manager who can be asked; None: nobody above can, or no manager is known."""
        return self.able(self.told.manager(email, lambda above: self.able(above) is not None))


def manager_of(session: Session, email: str, policy: Policy, now: datetime) -> PersonRow | None:
    """Return the nearest manager of one person who can be asked; None: there is none.

    Reads the few people above them; only where an address up there may be an alias, everybody is read.
    """
    if session.scalar(select(DirectoryEntryRow.id).where(DirectoryEntryRow.manager.is_not(None)).limit(1)) is None:
        return None

    def find(address: str | None) -> Entry | None:
        address = (address or "").lower()
        return _told(session, DirectoryEntryRow.email == address).find(address)

    emails = (email.lower(), *managers(email, find).emails)
    found = session.scalars(select(PersonRow).where(PersonRow.email.in_(emails)))
    rows = {row.email: row for row in sorted(found, key=is_able)}
    for address in emails:
        row, entry = rows.get(address), find(address)
        if row is None and entry is None:
            return Roster.read(session, policy, now).manager(email)
        if address != emails[0] and row is not None and is_able(row) and not _is_gone(entry, row, now):
            return row
    return None


def _is_gone(told: Entry | None, row: PersonRow, now: datetime) -> bool:
    return told is not None and has_left(told, today(row.tz, now))


# -- owners ------------------------------------------------------------------------------------------------------------


def is_of_team(session: Session, email: str, name: str, policy: Policy) -> bool:
    """Whether somebody is of that team. Of a team without known members everybody is: nobody is known to be a stranger.

    A channel's membership is no sign of it: anybody may join a channel.
    """
    team = next((one for one in known_teams(policy, people(session)) if one.name == name), None)
    if team is None or not team.members:
        return True
    return email.lower() in {member.lower() for member in (*team.members, team.default or "")}


def owner_people(
    session: Session, identity_ids: Sequence[str] | None = None
) -> list[tuple[OwnerRow, PersonRow | None]]:
    """Return every confirmed owner (of these identities) with who they are in Slack now; None: nobody any more.

    The account that claimed tells who it is, so a new address is the same person, and a new person at an old address
    is not. Where that account is not known the address tells.
    """
    found = [pair for chunk in _chunks(identity_ids) for pair in _claims(session, chunk)]
    emails, ids = {owner.email for owner, _ in found}, {slack_id for _, slack_id in found}
    query = select(PersonRow)
    if len(emails) + len(ids) <= A_CHUNK:  # else everybody is read: no database takes any number of values at once
        query = query.where(PersonRow.slack_id.in_(ids) | PersonRow.email.in_(emails))
    rows = list(session.scalars(query)) if found else []
    by_id = {row.slack_id: row for row in rows}
    by_email = {row.email: row for row in sorted(rows, key=is_able)}
    return [(owner, _who(owner, by_id.get(slack_id), by_email)) for owner, slack_id in found]


def _chunks(identity_ids: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    if identity_ids is None:
        yield None
        return
    for start in range(0, len(identity_ids), A_CHUNK):
        yield identity_ids[start : start + A_CHUNK]


def _claims(session: Session, identity_ids: Sequence[str] | None) -> list[tuple[OwnerRow, str]]:
    query = (
        select(OwnerRow, AttestationRow.slack_id)
        .join(AttestationRow, AttestationRow.id == OwnerRow.attestation_id)
        .where(OwnerRow.ended_at.is_(None))
        .order_by(OwnerRow.since, OwnerRow.id)
    )
    if identity_ids is not None:
        query = query.where(OwnerRow.identity_id.in_(identity_ids))
    return [(owner, slack_id) for owner, slack_id in session.execute(query)]


def _who(owner: OwnerRow, claimed_by: PersonRow | None, by_email: dict[str, PersonRow]) -> PersonRow | None:
    return claimed_by if claimed_by is not None and claimed_by.email else by_email.get(owner.email, claimed_by)


def owners_active(session: Session, identity_ids: Sequence[str], now: datetime) -> dict[str, bool]:
    """Return for each of these identities that has a confirmed owner whether that owner is still here."""
    found = owner_people(session, identity_ids)
    told = _told_of(session, [row.email for _, row in found if row is not None])
    active: dict[str, bool] = {}
    for owner, row in found:
        active[owner.identity_id] = row is not None and is_able(row) and not _is_gone(told.find(row.email), row, now)
    return active


def _told_of(session: Session, emails: Sequence[str]) -> People:
    if session.scalar(select(DirectoryEntryRow.id).limit(1)) is None:
        return People(())
    return people(session) if emails else People(())


def departure_of(owner: OwnerRow, row: PersonRow | None, roster: Roster, policy: Policy) -> Departure | None:
    """Return how an owner leaves or left; None: they stay."""
    told = roster.told.find(row.email if row is not None else owner.email) or roster.told.find(owner.email)
    slack: Person | None = person_of(row) if row is not None else None
    here = today(row.tz if row is not None else "UTC", roster.now)
    return departure(owner.email, slack=slack, told=told, today=here, notice=policy.people.leaver_notice)


def follow_new_addresses(session: Session, now: datetime) -> int:
    """Let ownership follow people to their new address: the same account, so the same person. Return how many rows."""
    moved = 0
    for owner, row in owner_people(session):
        if row is None or not row.email or row.email == owner.email or not is_able(row):
            continue
        former = owner.email
        session.execute(update(OwnerRow).where(OwnerRow.id == owner.id).values(email=row.email))
        ledger.record(
            session,
            "owner.new_address",
            now=now,
            identity_id=owner.identity_id,
            facts={"owner": owner.id},
            private={"slack_id": row.slack_id, "former": former, "email": row.email},
        )
        moved += 1
    return moved


def count(session: Session) -> int:
    """Return how many people are known in Slack."""
    return session.scalar(select(func.count()).select_from(PersonRow)) or 0
