"""Say what is due: ask, remind, escalate. Decides in `nhi.escalation`, writes rows, leaves the posting to the outbox.

One message a person, with their most valuable questions first. Nothing is ever turned off because of silence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot import delivery
from jobs import candidates, claims, people
from jobs.judge import withdraw
from nhi import facts, ledger
from nhi.database import Sessions
from nhi.escalation import (
    Ask,
    AskStatus,
    Escalate,
    History,
    Remind,
    Verdict,
    Wait,
    next_step,
    zone,
)
from nhi.findings import FindingKind, FindingStatus
from nhi.policy import Policy
from nhi.roster import Roster
from nhi.tables import (
    AskFindingRow,
    AskRow,
    AttestationRow,
    DeliveryRow,
    FindingRow,
    PersonRow,
    SwitchRow,
    new_id,
)

CARDS_A_MESSAGE = 6
LIVE_SWITCH = "live"


@dataclass
class Tally:
    """What one run said, and what it left unsaid and why."""

    sent: int = 0
    people: int = 0
    items: int = 0
    reminded: int = 0
    escalated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    previews: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        skipped = [{"reason": reason, "count": count} for reason, count in sorted(self.skipped.items())]
        return {
            "sent": self.sent,
            "people": self.people,
            "items": self.items,
            "reminded": self.reminded,
            "escalated": self.escalated,
            "skipped": skipped,
        }

    def sentence(self) -> str:
        """Return the run's account: `Asked 12 people about 30 identities. Skipped 3: 2 nobody is known to ask, …`."""
        text = f"Asked {self.people} people about {self.items} identities in {self.sent} messages."
        if self.reminded or self.escalated:
            text += f" Reminded about {self.reminded}, escalated {self.escalated}."
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
            text += f" Skipped {sum(self.skipped.values())}: {reasons}."
        return text


@dataclass(frozen=True, kw_only=True)
class Case:
    """One identity with open findings, and what has been said about it."""

    identity_id: str
    findings: list[FindingRow]
    ask: AskRow | None  # the open one
    history: History
    candidate: candidates.Candidate | None

    @property
    def is_orphaned(self) -> bool:
        """Whether its confirmed owner is gone."""
        return any(finding.kind is FindingKind.ORPHANED for finding in self.findings)

    @property
    def worth(self) -> tuple[int, int, float]:
        """How much an answer is worth: the gravest finding, privileges, then age. Higher is first."""
        gravest = max(facts.rank_of(finding) for finding in self.findings)
        oldest = min(finding.since for finding in self.findings)
        return gravest, int(self.findings[0].identity.privileged), -oldest.timestamp()


def run(sessions: Sessions, policy: Policy, *, now: datetime, dry_run: bool = False, to_admin: bool = False) -> Tally:
    """Decide and write what is due now. With `dry_run` nothing is written; with `to_admin` admins get all cards."""
    tally = Tally()
    with sessions.begin() as session:
        shadow = to_admin or is_shadow(session, policy)
        if not dry_run:
            _end_shadow_asks(session, shadow, now)
            claims.hand_over_due(session, policy, now)
        stand_in = next(iter(people.admins(session, policy)), None) if shadow else None
        if shadow and stand_in is None:
            tally.skipped["questions: shadow mode, and no admin of policy.toml is known in Slack"] += 1
            return tally
        cases = sorted(_cases(session, policy, now), key=lambda case: case.worth, reverse=True)
        due = _decide(session, cases, stand_in, policy, now, tally)
        if dry_run:
            session.rollback()
            return tally
        _say(session, due, stand_in, policy, now)
        if stand_in is not None and not to_admin:
            _offer_to_go_live(session, cases, policy, now)
    return tally


def is_shadow(session: Session, policy: Policy) -> bool:
    """Whether cards go to admins only: policy says so, and no admin has pressed Go."""
    return policy.conversation.shadow and session.get(SwitchRow, LIVE_SWITCH) is None


def _offer_to_go_live(session: Session, cases: list[Case], policy: Policy, now: datetime) -> None:
    """Once a week, tell each admin what would be said to whom, with the button that ends shadow mode."""
    would = [case.candidate.person.email for case in cases if case.candidate is not None]
    for admin in people.admins(session, policy) if would else ():
        lately = select(DeliveryRow.id).where(
            DeliveryRow.recipient == admin.slack_id,
            DeliveryRow.kind == "golive",
            DeliveryRow.created_at > now - timedelta(days=7),
        )
        if session.scalar(lately.limit(1)) is None:
            words = {"people": len(set(would)), "identities": len(would), "offer": new_id()}
            delivery.queue(session, "golive", admin.slack_id, words, [], now)


def _end_shadow_asks(session: Session, shadow: bool, now: datetime) -> None:
    """Withdraw what an admin was asked in somebody's stead, once the somebody can be asked."""
    if shadow:
        return
    for ask in session.scalars(select(AskRow).where(AskRow.status == AskStatus.OPEN, AskRow.shadow.is_(True))):
        withdraw(session, ask, "the likely owner is asked now", now)
        _reopen(session, ask)


def _reopen(session: Session, ask: AskRow) -> None:
    for finding in session.scalars(
        select(FindingRow)
        .join(AskFindingRow, AskFindingRow.finding_id == FindingRow.id)
        .where(AskFindingRow.ask_id == ask.id, FindingRow.status == FindingStatus.ASKED)
    ):
        finding.status = FindingStatus.OPEN


def _cases(session: Session, policy: Policy, now: datetime) -> list[Case]:
    by_identity: dict[str, list[FindingRow]] = defaultdict(list)
    for finding in facts.open_findings(session):
        if finding.status in (FindingStatus.OPEN, FindingStatus.ASKED):
            by_identity[finding.identity_id].append(finding)
    asks: dict[str, list[AskRow]] = defaultdict(list)
    for row in session.scalars(select(AskRow).order_by(AskRow.asked_at)):
        asks[row.identity_id].append(row)
    who = candidates.candidates(session, list(by_identity), policy, now)
    said = _last_verdicts(session)
    cases = []
    for identity_id, findings in by_identity.items():
        ask = _open_ask(session, asks[identity_id], now)
        cases.append(
            Case(
                identity_id=identity_id,
                findings=findings,
                ask=ask,
                history=_history(ask, asks[identity_id], said.get(identity_id)),
                candidate=who[identity_id],
            )
        )
    return cases


def _open_ask(session: Session, asks: list[AskRow], now: datetime) -> AskRow | None:
    """Return the open question; one whose person cannot answer any more is withdrawn, so that the next is asked."""
    ask = next((ask for ask in asks if ask.status is AskStatus.OPEN), None)
    if ask is None or _can_still_answer(session, ask):
        return ask
    withdraw(session, ask, "the person asked cannot answer any more", now)
    _reopen(session, ask)
    return None


def _can_still_answer(session: Session, ask: AskRow) -> bool:
    rows = session.scalars(select(PersonRow).where(PersonRow.email == ask.email))
    return any(row.active and not (row.guest or row.bot or row.stranger) for row in rows)


def _last_verdicts(session: Session) -> dict[str, AttestationRow]:
    rows = session.scalars(select(AttestationRow).order_by(AttestationRow.at))
    return {row.identity_id: row for row in rows if row.verdict is not Verdict.UNDO}


def _history(ask: AskRow | None, asks: list[AskRow], said: AttestationRow | None) -> History:
    return History(
        open_since=ask.asked_at if ask else None,
        reminders=ask.reminders if ask else 0,
        escalated_to=tuple(ask.escalated_to) if ask else (),
        last_step_at=ask.last_step_at if ask else None,
        last_verdict=said.verdict if said else None,
        last_verdict_at=said.at if said else None,
        asked=tuple(past.email for past in asks if past.status is AskStatus.PASSED),
    )


@dataclass
class Due:
    """What is to be said, by person."""

    questions: dict[str, list[Case]] = field(default_factory=lambda: defaultdict(list))
    reminders: dict[str, list[Case]] = field(default_factory=lambda: defaultdict(list))
    escalations: list[tuple[Case, str]] = field(default_factory=list)
    claims: list[Case] = field(default_factory=list)  # questions to whole teams
    rows: dict[str, PersonRow] = field(default_factory=dict)


def _decide(
    session: Session, cases: Iterable[Case], stand_in: PersonRow | None, policy: Policy, now: datetime, tally: Tally
) -> Due:
    due, waiting, roster = Due(), claims.Waiting(session), Roster.read(session, policy, now)
    for case in cases:
        if waits := waiting.why(case.identity_id, case.ask, owner_left=case.is_orphaned):
            tally.skipped[waits] += 1
            continue
        asked = stand_in or (_person(session, case.ask.email) if case.ask else None) or _candidate(case)
        email = asked.email if asked and (stand_in or case.candidate or case.ask) else None
        left = _questions_left(session, asked, due, policy, now) if asked else 0
        team = case.candidate.team if case.candidate and stand_in is None else None
        step = next_step(
            case.history,
            candidate=email,
            tz=asked.tz if asked else "UTC",
            questions_left=max(left, 1) if team else left,  # a question to a team is not one of its default person's
            policy=policy.conversation,
            now=now,
            manager_known=case.ask is not None and roster.manager(case.ask.email) is not None,
        )
        match step:
            case Ask() if team is not None:
                due.claims.append(case)
            case Ask() if asked is not None:
                due.rows[asked.slack_id] = asked
                due.questions[asked.slack_id].append(case)
            case Remind() if asked is not None:
                due.rows[asked.slack_id] = asked
                due.reminders[asked.slack_id].append(case)
            case Escalate(to=rung):
                due.escalations.append((case, rung))
            case Wait(why=why):
                tally.skipped[why] += 1
            case Ask() | Remind():
                tally.skipped["nobody is known to ask"] += 1
    _count(due, tally)
    return due


def _candidate(case: Case) -> PersonRow | None:
    return case.candidate.person if case.candidate else None


def _person(session: Session, email: str) -> PersonRow | None:
    return session.scalar(select(PersonRow).where(PersonRow.email == email, PersonRow.active.is_(True)))


def _questions_left(session: Session, who: PersonRow, due: Due, policy: Policy, now: datetime) -> int:
    """How many more questions this person may get: within the week, the day's one message, and its room."""
    if _had_a_digest_today(session, who, now):
        return 0
    lately = session.scalar(
        select(func.count())
        .select_from(AskRow)
        .where(AskRow.email == who.email, AskRow.asked_at > now - timedelta(days=7))
    )
    planned = len(due.questions[who.slack_id])
    return min(policy.conversation.questions_a_week - (lately or 0), CARDS_A_MESSAGE) - planned


def _had_a_digest_today(session: Session, who: PersonRow, now: datetime) -> bool:
    last = session.scalar(
        select(func.max(DeliveryRow.created_at)).where(
            DeliveryRow.recipient == who.slack_id, DeliveryRow.kind.in_(("digest", "shadow"))
        )
    )
    if last is None:
        return False
    here = zone(who.tz)
    return bool(last.astimezone(here).date() == now.astimezone(here).date())


def _count(due: Due, tally: Tally) -> None:
    tally.people = len([asked for asked in due.questions.values() if asked])
    tally.items = sum(len(asked) for asked in due.questions.values())
    tally.reminded = sum(len(asked) for asked in due.reminders.values())
    tally.escalated = len(due.escalations)
    tally.items += len(due.claims)
    tally.sent = (
        tally.people + len(due.claims) + len([asked for asked in due.reminders.values() if asked]) + tally.escalated
    )


def _say(session: Session, due: Due, stand_in: PersonRow | None, policy: Policy, now: datetime) -> None:
    """Write asks, reminders and escalations, each with its message, in this one transaction."""
    for slack_id, cases in due.questions.items():
        if cases:
            who = due.rows[slack_id]
            asks = [_ask(session, case, who, stand_in is not None, now) for case in cases]
            words = {"kind": "shadow" if stand_in else "digest", "name": who.name}
            delivery.queue(session, words["kind"], slack_id, words, [ask.id for ask in asks], now)
    for case in due.claims:
        if case.candidate is not None and case.candidate.team is not None:
            default = case.candidate.person
            claims.begin(
                session, _ask(session, case, default, False, now), case.candidate.team, default.tz, policy, now
            )
    for slack_id, cases in due.reminders.items():
        if cases:
            number = max(_remind(session, case, now) for case in cases)
            reminded: dict[str, Any] = {"kind": "reminder", "name": due.rows[slack_id].name, "number": number}
            delivery.queue(session, "reminder", slack_id, reminded, [case.ask.id for case in cases if case.ask], now)
    for case, rung in due.escalations:
        _escalate(session, case, rung, policy, now)


def _ask(session: Session, case: Case, who: PersonRow, shadow: bool, now: datetime) -> AskRow:
    ask = AskRow(
        id=new_id(),
        identity_id=case.identity_id,
        email=who.email,
        because=candidates.why_you(case.candidate, shadow=shadow),
        shadow=shadow,
        status=AskStatus.OPEN,
        asked_at=now,
        reminders=0,
        escalated_to=[],
        last_step_at=now,
    )
    session.add(ask)
    session.flush()
    for finding in case.findings:
        finding.status = FindingStatus.ASKED
        session.add(AskFindingRow(ask_id=ask.id, finding_id=finding.id))
    session.flush()
    facts_of = {"ask": ask.id, "findings": [finding.id for finding in case.findings], "shadow": shadow}
    private = {"email": who.email, "because": ask.because}
    ledger.record(session, "owner.asked", now=now, identity_id=case.identity_id, facts=facts_of, private=private)
    return ask


def _remind(session: Session, case: Case, now: datetime) -> int:
    assert case.ask is not None
    case.ask.reminders += 1
    case.ask.last_step_at = now
    session.flush()
    facts_of = {"ask": case.ask.id, "number": case.ask.reminders}
    ledger.record(session, "owner.reminded", now=now, identity_id=case.identity_id, facts=facts_of)
    return case.ask.reminders


def _escalate(session: Session, case: Case, rung: str, policy: Policy, now: datetime) -> None:
    assert case.ask is not None
    asked = _person(session, case.ask.email)
    case.ask.escalated_to = [*case.ask.escalated_to, rung]
    case.ask.last_step_at = now
    words = {
        "kind": "escalation",
        "name": asked.name if asked else case.ask.email,
        "asked_at": facts.when(case.ask.asked_at),
    }
    recipient = people.recipient(session, case.ask.email, rung, policy, now)
    if recipient is not None:
        delivery.queue(session, "escalation", recipient, words, [case.ask.id], now)
    session.flush()
    facts_of = {"ask": case.ask.id, "to": rung, "reached": recipient is not None}
    ledger.record(session, "finding.escalated", now=now, identity_id=case.identity_id, facts=facts_of)
