"""Ask "was this you?" as soon as it may be asked, with security in the loop; and tell others where nobody answers.

One question an identity is open at a time, and this one goes first: an ordinary one is withdrawn, and asked again
when this is answered. Nothing is ever turned off because of silence.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from bot import delivery
from jobs import asking, candidates, people, shadow
from jobs.candidates import Candidate
from jobs.judge import withdraw
from nhi import alarms, authority, facts, ledger
from nhi.alarm import Alarm, next_alarm
from nhi.database import Sessions
from nhi.escalation import Ask, AskStatus, Escalate, Verdict, Wait
from nhi.findings import FindingKind, FindingStatus
from nhi.policy import Policy
from nhi.roster import Roster
from nhi.tables import (
    AnnouncementRow,
    AskFindingRow,
    AskRow,
    AttestationRow,
    FindingRow,
    IdentityRow,
    PersonRow,
    new_id,
)

A_DAY = timedelta(days=1)


@dataclass
class Tally:
    """What one run asked and told, and what it left unsaid and why."""

    asked: int = 0
    escalated: int = 0
    told: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def is_quiet(self) -> bool:
        return not (self.asked or self.escalated or self.told)

    def sentence(self) -> str:
        """Return the run's account: `Asked about 2 unusual days, told somebody else of 1 silence, …`."""
        text = f"Asked about {self.asked} unusual days, told somebody else of {self.escalated}, announced {self.told}."
        if self.skipped:
            text += " Left for later: " + ", ".join(f"{n} {why}" for why, n in self.skipped.most_common()) + "."
        return text


def run(sessions: Sessions, policy: Policy, *, now: datetime) -> Tally:
    """Ask and tell what is due now."""
    tally = Tally()
    with sessions.begin() as session:
        cases = _cases(session)
        if cases:
            _Round(session, policy, now, tally).go(cases)
        _announce_answers(session, policy, now, tally)
    return tally


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One open finding of activity, and its open question."""

    finding: FindingRow
    ask: AskRow | None


def _cases(session: Session) -> list[_Case]:
    """Return what is to be asked or is waited for, the gravest first; what somebody said of is not asked again."""
    query = select(FindingRow).where(
        FindingRow.kind == FindingKind.ANOMALOUS, FindingRow.status.in_([FindingStatus.OPEN, FindingStatus.ASKED])
    )
    found = sorted(session.scalars(query), key=lambda row: (-facts.rank_of(row), row.since, row.id))
    asks = {finding_id: ask_row for ask_row, finding_id in session.execute(_open_asks(found))}
    cases = [_Case(finding=row, ask=asks.get(row.id)) for row in found]
    return [case for case in cases if case.ask is not None or case.finding.status is FindingStatus.OPEN]


def _open_asks(found: list[FindingRow]) -> Select[AskRow, str]:
    return (
        select(AskRow, AskFindingRow.finding_id)
        .join(AskFindingRow, AskFindingRow.ask_id == AskRow.id)
        .where(AskFindingRow.finding_id.in_([row.id for row in found]), AskRow.status == AskStatus.OPEN)
    )


class _Round:
    """One run over what is open."""

    def __init__(self, session: Session, policy: Policy, now: datetime, tally: Tally) -> None:
        self._session = session
        self._policy = policy
        self._now = now
        self._tally = tally
        self._roster = Roster.read(session, policy, now)
        self._shadow = shadow.is_shadow(session, policy)
        self._admin = next(iter(authority.admins(session, policy)), None)

    def go(self, cases: list[_Case]) -> None:
        ids = [case.finding.identity_id for case in cases]
        who = candidates.candidates(self._session, ids, self._policy, self._now)
        for case in cases:
            self._one(case, who[case.finding.identity_id])

    def _one(self, case: _Case, candidate: Candidate | None) -> None:
        if case.ask is not None and self._roster.able(case.ask.email) is None:
            withdraw(self._session, case.ask, "the person asked cannot answer any more", self._now)
            shadow.reopen(self._session, case.ask)
            case = _Case(finding=case.finding, ask=None)
        asked = self._admin if self._shadow or candidate is None else candidate.person
        reader = asked
        if asked is not None and not self._shadow:
            reader = asking.delegate_of(self._session, asked.email, self._now) or asked
        step = next_alarm(
            _alarm(case),
            candidate=asked.email if asked else None,
            tz=reader.tz if reader else "UTC",
            today=self._asked_today(None),
            today_of_candidate=self._asked_today(asked.email) if asked else 0,
            manager_known=case.ask is not None and self._roster.manager(case.ask.email) is not None,
            policy=self._policy,
            now=self._now,
        )
        match step:
            case Ask() if asked is not None and reader is not None:
                self._ask(case, asked, reader, candidate)
            case Escalate(to=rung):
                self._escalate(case, rung)
            case Wait(why=why):
                self._tally.skipped[why] += 1
            case _:
                self._tally.skipped["nobody is known to ask"] += 1

    def _asked_today(self, email: str | None) -> int:
        query = (
            select(func.count(func.distinct(AskRow.id)))
            .join(AskFindingRow, AskFindingRow.ask_id == AskRow.id)
            .join(FindingRow, FindingRow.id == AskFindingRow.finding_id)
            .where(FindingRow.kind == FindingKind.ANOMALOUS, AskRow.asked_at > self._now - A_DAY)
        )
        return self._session.scalar(query.where(AskRow.email == email) if email else query) or 0

    def _ask(self, case: _Case, asked: PersonRow, reader: PersonRow, candidate: Candidate | None) -> None:
        session, now, finding = self._session, self._now, case.finding
        _make_room(session, finding.identity_id, now)
        row = AskRow(
            id=new_id(),
            identity_id=finding.identity_id,
            email=asked.email,
            because=candidates.why_you(candidate, shadow=self._shadow),
            shadow=self._shadow,
            status=AskStatus.OPEN,
            asked_at=now,
            reminders=0,
            escalated_to=[],
            last_step_at=now,
        )
        session.add(row)
        session.flush()
        session.add(AskFindingRow(ask_id=row.id, finding_id=finding.id))
        finding.status = FindingStatus.ASKED
        session.flush()
        told = {"ask": row.id, "findings": [finding.id], "shadow": self._shadow, "at_once": True}
        private = {"email": row.email, "because": row.because}
        ledger.record(session, "owner.asked", now=now, identity_id=row.identity_id, facts=told, private=private)
        words = {"name": reader.name, "shadow": self._shadow}
        delivery.queue(session, "alarm", reader.slack_id, words, [row.id], now)
        self._tell_security(row, asked, reader)
        self._tally.asked += 1

    def _tell_security(self, row: AskRow, asked: PersonRow, reader: PersonRow) -> None:
        """Show security the same card at once; an admin there may answer it as well."""
        for place in _security(self._session, self._policy, shadow=self._shadow):
            if place != reader.slack_id:
                delivery.queue(self._session, "alarm_told", place, {"asked": asked.name}, [row.id], self._now)

    def _escalate(self, case: _Case, rung: str) -> None:
        assert case.ask is not None
        row = case.ask
        recipient = people.recipient(self._session, row.email, rung, self._policy, self._now)
        row.escalated_to, row.last_step_at = [*row.escalated_to, rung], self._now
        self._session.flush()
        told = {"ask": row.id, "to": rung, "reached": recipient is not None}
        ledger.record(self._session, "finding.escalated", now=self._now, identity_id=row.identity_id, facts=told)
        if recipient is not None:
            name = self._session.scalar(select(PersonRow.name).where(PersonRow.email == row.email).limit(1))
            words = {"asked": name or row.email, "asked_at": facts.when(row.asked_at), "silent": True}
            delivery.queue(self._session, "alarm_told", recipient, words, [row.id], self._now)
            self._tally.escalated += 1


def _alarm(case: _Case) -> Alarm:
    row = case.ask
    return Alarm(
        severity=case.finding.severity,
        asked_at=row.asked_at if row else None,
        last_step_at=row.last_step_at if row else None,
        escalated_to=tuple(row.escalated_to) if row else (),
    )


def _make_room(session: Session, identity_id: str, now: datetime) -> None:
    """Withdraw an ordinary question about it; what that asked is asked again when this one is answered."""
    query = select(AskRow).where(AskRow.identity_id == identity_id, AskRow.status == AskStatus.OPEN)
    for row in session.scalars(query):
        withdraw(session, row, "something more urgent is asked about it", now)
        shadow.reopen(session, row)
    session.flush()


def _security(session: Session, policy: Policy, *, shadow: bool) -> list[str]:
    """Return where security is told: the admins' channel; without one, and in shadow mode, the admins themselves."""
    channel = policy.remediation.announce_to or next(
        (rung for rung in policy.conversation.escalate_to if rung.startswith("#")), None
    )
    if channel is not None and not shadow:
        return [channel]
    return [admin.slack_id for admin in authority.admins(session, policy)]


def _announce_answers(session: Session, policy: Policy, now: datetime, tally: Tally) -> None:
    """Tell security of each "Not us", once: it is theirs to follow up."""
    said = (
        select(AttestationRow)
        .outerjoin(AnnouncementRow, AnnouncementRow.about == AttestationRow.id)
        .where(AttestationRow.verdict == Verdict.NOT_US, AnnouncementRow.about.is_(None))
    )
    for row in session.scalars(said.order_by(AttestationRow.at)):
        identity = session.get_one(IdentityRow, row.identity_id)
        words = alarms.announcement(session, row)
        places = _security(session, policy, shadow=shadow.is_shadow(session, policy))
        first = None
        for place in places:
            told = {"name": row.name, "identity": facts.identity_json(identity), **words}
            queued = delivery.queue(session, "alarm_not_us", place, told, [], now)
            first = first or queued.id
        if first is not None:
            session.add(AnnouncementRow(about=row.id, delivery_id=first, at=now))
            session.flush()
            tally.told += 1
