"""Say what is due: ask, remind, escalate. Decides in `nhi.escalation`, writes rows, leaves the posting to the outbox.

One message a person, with their most valuable questions first. Nothing is ever turned off because of silence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import asking, candidates, claims, people, saying, shadow, unsaid
from jobs.asking import Case, Due
from jobs.judge import withdraw
from jobs.shadow import is_shadow
from nhi import alarms, facts, patience
from nhi.database import Sessions
from nhi.escalation import (
    Ask,
    AskStatus,
    Cover,
    Escalate,
    History,
    Remind,
    Verdict,
    Wait,
    next_step,
)
from nhi.findings import OF_ACTIVITY, FindingStatus
from nhi.policy import Policy
from nhi.roster import Roster
from nhi.tables import (
    AskRow,
    AttestationRow,
    FindingRow,
    PersonRow,
)

CARDS_A_MESSAGE = 6
Said = tuple[Verdict, datetime]


@dataclass
class Tally:
    """What one run said, and what it left unsaid and why."""

    sent: int = 0
    people: int = 0
    items: int = 0
    reminded: int = 0
    escalated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    is_stuck: bool = False  # nothing can be asked before a person mends something
    unsaid: Counter[str] = field(default_factory=Counter)  # of the messages, by reason: written down, and not posted
    would: dict[str, Any] | None = None  # in shadow mode: whom we would message, and of whom we are least sure

    def as_json(self) -> dict[str, Any]:
        counts = {"sent": self.sent - self.unsaid.total(), "people": self.people, "items": self.items}
        steps = {"reminded": self.reminded, "escalated": self.escalated}
        reasons = {"skipped": _reasons(self.skipped), "unsaid": _reasons(self.unsaid)}
        return counts | steps | reasons | ({"would": self.would} if self.would else {})

    def sentence(self) -> str:
        """Return the run's account: `Asked 12 people about 30 identities. Skipped 3: 2 nobody is known to ask, …`."""
        text = f"Asked {self.people} people about {self.items} identities in {self.sent} messages."
        if self.reminded or self.escalated:
            text += f" Reminded about {self.reminded}, escalated {self.escalated}."
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
            text += f" Skipped {sum(self.skipped.values())}: {reasons}."
        if self.unsaid:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self.unsaid.most_common())
            text += (
                f" {self.unsaid.total()} of the messages are written down and not said yet: {reasons}."
                " `nhi doctor` says what is amiss; `nhi up`, or the next `nhi ask`, says them."
            )
        return text + (_preview(self.would) if self.would else "")


def _reasons(counted: Counter[str]) -> list[dict[str, Any]]:
    return [{"reason": reason, "count": count} for reason, count in sorted(counted.items())]


def _preview(would: dict[str, Any]) -> str:
    text = f"\nI would message {would['people']} people about {would['identities']} identities."
    if not would["unsure"]:
        return text
    lines = [
        f"  {one['name']} in {one['account']}: {one['email']} ({one['confidence']:.0%}), because {one['because']}"
        for one in would["unsure"]
    ]
    return "\n".join([f"{text} Here are the {len(lines)} I am least sure of:", *lines])


def run(sessions: Sessions, policy: Policy, *, now: datetime, dry_run: bool = False, to_admin: bool = False) -> Tally:
    """Decide and write what is due now. With `dry_run` nothing is written; with `to_admin` admins get all cards."""
    tally = Tally()
    with sessions.begin() as session:
        in_shadow = is_shadow(session, policy)
        quietly = to_admin or in_shadow
        if not dry_run:
            if not quietly:
                shadow.end_asks(session, now)
            unsaid.pick_up(session, policy, now)
            claims.hand_over_due(session, policy, now)
            patience.wake(session, now)
            patience.follow_up(session, now)
        stand_in = next(iter(people.admins(session, policy)), None) if quietly else None
        if quietly and stand_in is None:
            tally.skipped["questions: shadow mode, and no admin of policy.toml is known in Slack"] += 1
            tally.is_stuck = True
            return tally
        cases = asking.in_order(_cases(session, policy, now), a_week=policy.conversation.questions_a_week)
        due = _decide(session, cases, stand_in, policy, now, tally)
        tally.would = shadow.would(cases) if quietly else None
        if dry_run:
            session.rollback()
            return tally
        saying.say(session, due, shadow=stand_in is not None, policy=policy, now=now)
        if tally.would is not None:
            shadow.tell_admins(session, tally.would, policy, now, is_live=not in_shadow, asked_for=to_admin)
    return tally


def _cases(session: Session, policy: Policy, now: datetime) -> list[Case]:
    by_identity: dict[str, list[FindingRow]] = defaultdict(list)
    urgent = alarms.open_alarms(session)
    for finding in facts.open_findings(session):
        asked_elsewhere = finding.kind in OF_ACTIVITY or finding.identity_id in urgent  # at once, by jobs/alarms.py
        if finding.status is not FindingStatus.JUSTIFIED and not asked_elsewhere:
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
    shadow.reopen(session, ask)
    return None


def _can_still_answer(session: Session, ask: AskRow) -> bool:
    rows = session.scalars(select(PersonRow).where(PersonRow.email == ask.email))
    return any(row.active and not (row.guest or row.bot or row.stranger) for row in rows)


def _last_verdicts(session: Session) -> dict[str, Said]:
    """Return what was said last of each identity; a claim made in the form of another answer gives way to that."""
    said = AttestationRow
    rows = session.execute(select(said.identity_id, said.verdict, said.at).where(said.verdict != Verdict.UNDO))
    in_order = sorted(rows, key=lambda row: (row.at, row.verdict is not Verdict.CLAIM))
    return {identity_id: (verdict, at) for identity_id, verdict, at in in_order}


def _history(ask: AskRow | None, asks: list[AskRow], said: Said | None) -> History:
    return History(
        open_since=ask.asked_at if ask else None,
        reminders=ask.reminders if ask else 0,
        escalated_to=tuple(ask.escalated_to) if ask else (),
        last_step_at=ask.last_step_at if ask else None,
        last_verdict=said[0] if said else None,
        last_verdict_at=said[1] if said else None,
        asked=tuple(past.email for past in asks if past.status is AskStatus.PASSED),
    )


def _decide(
    session: Session, cases: Iterable[Case], stand_in: PersonRow | None, policy: Policy, now: datetime, tally: Tally
) -> Due:
    due, waiting, roster = Due(), claims.Waiting(session), Roster.read(session, policy, now)
    snoozed = patience.snoozed(session, now)
    for case in cases:
        waits = waiting.why(case)
        if waits is None and case.identity_id in snoozed:
            waits = "snoozed"
        if waits is None and stand_in is not None and case.ask is not None and not case.ask.shadow:
            waits = "asked already, outside shadow mode"
        if waits is not None:
            tally.skipped[waits] += 1
            continue
        _decide_one(session, case, stand_in, due, roster, policy, now, tally)
    _one_message_each(session, due, policy, now, tally)
    _count(due, tally)
    return due


def _decide_one(
    session: Session,
    case: Case,
    stand_in: PersonRow | None,
    due: Due,
    roster: Roster,
    policy: Policy,
    now: datetime,
    tally: Tally,
) -> None:
    asked = stand_in or (_person(session, case.ask.email) if case.ask else None) or _candidate(case)
    team = case.candidate.team if case.candidate and stand_in is None else None
    delegate = asking.delegate_of(session, asked.email, now) if asked and not (stand_in or team) else None
    if asked is not None and delegate is not None:
        due.instead_of[case.identity_id] = f"{asked.name} is away and asked you to answer for them"
    reader = delegate or asked
    left = _questions_left(session, reader, case, due, policy, now) if reader else 0
    step = next_step(
        case.history,
        candidate=asked.email if asked and (stand_in or case.candidate or case.ask) else None,
        tz=reader.tz if reader else "UTC",
        questions_left=max(left, 1) if team else left,  # a question to a team is not one of its default person's
        policy=policy.conversation,
        now=now,
        manager_known=case.ask is not None and roster.manager(case.ask.email) is not None,
        away_until=reader.away_until if reader and not team else None,
        cover_known=not (stand_in or team or delegate) and asking.cover_of(case, roster, now) is not None,
    )
    match step:
        case Ask() if team is not None:
            due.claims.append(case)
        case Ask() if reader is not None:
            due.rows[reader.slack_id] = reader
            due.questions[reader.slack_id].append(case)
        case Remind() if reader is not None and asking.had_a_message_today(session, reader, now):
            tally.skipped["had a message today"] += 1
        case Remind() if reader is not None:
            due.rows[reader.slack_id] = reader
            due.reminders[reader.slack_id].append(case)
        case Cover():
            due.escalations.append((case, "manager"))
        case Escalate() if stand_in is not None:
            tally.skipped["shadow mode: silence of admins goes to nobody"] += 1
        case Escalate(to=rung):
            due.escalations.append((case, rung))
        case Wait(why=why):
            tally.skipped[why] += 1
        case Ask() | Remind():
            tally.skipped["nobody is known to ask"] += 1


def _one_message_each(session: Session, due: Due, policy: Policy, now: datetime, tally: Tally) -> None:
    """Let somebody hear of others' silence and of what is theirs in one message a day, with room for both."""
    kept: list[tuple[Case, str]] = []
    told: Counter[str] = Counter()
    for case, rung in due.escalations:
        assert case.asked_email is not None
        to = people.recipient(session, case.asked_email, rung, policy, now)
        person = session.get(PersonRow, to) if to else None
        if to is not None and person is not None:
            waits = asking.why_not_now(person, policy.conversation, now)
            if told[to] >= CARDS_A_MESSAGE or asking.had_a_message_today(session, person, now):
                waits = "had a message today"
            if waits is not None:
                tally.skipped[waits] += 1
                continue
            told[to] += 1
        kept.append((case, rung))
    due.escalations = kept
    for to, count in told.items():
        tally.skipped["had a message today"] += due.keep(to, CARDS_A_MESSAGE - count)
    tally.skipped = +tally.skipped  # without those of which there are none


def _candidate(case: Case) -> PersonRow | None:
    return case.candidate.person if case.candidate else None


def _person(session: Session, email: str) -> PersonRow | None:
    return session.scalar(select(PersonRow).where(PersonRow.email == email, PersonRow.active.is_(True)))


def _questions_left(session: Session, who: PersonRow, case: Case, due: Due, policy: Policy, now: datetime) -> int:
    """How many more questions this person may get: within the week, the day's one message, and its room."""
    if asking.had_a_message_today(session, who, now):
        return 0
    planned = due.pieces_for(who.slack_id)
    if case.piece in planned:
        return 1  # one more name in a piece takes no room
    lately = asking.asked_lately(session, who, now)
    return min(policy.conversation.questions_a_week - lately, CARDS_A_MESSAGE) - len(planned)


def _count(due: Due, tally: Tally) -> None:
    tally.people = len([asked for asked in due.questions.values() if asked])
    tally.items = sum(len(asked) for asked in due.questions.values())
    tally.reminded = sum(len(asked) for asked in due.reminders.values())
    tally.escalated = len(due.escalations)
    tally.items += len(due.claims)
    tally.sent = (
        tally.people + len(due.claims) + len([asked for asked in due.reminders.values() if asked]) + tally.escalated
    )
