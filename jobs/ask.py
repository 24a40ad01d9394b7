"""Say what is due: ask, remind, escalate. Decides in `nhi.escalation`, writes rows, leaves the posting to the outbox.

One message a person, with their most valuable questions first. Nothing is ever turned off because of silence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from bot import delivery
from bot.messages import OF_OTHERS
from jobs import asking, candidates, claims, people, saying, shadow, unsaid
from jobs.asking import Case, Due
from jobs.judge import withdraw
from jobs.shadow import is_shadow
from nhi import alarms, authority, facts, patience
from nhi.database import Sessions, lock_writers, reading
from nhi.escalation import (
    Ask,
    AskStatus,
    Cover,
    Escalate,
    History,
    Remind,
    Verdict,
    Wait,
    is_back_soon,
    next_step,
)
from nhi.findings import OF_ACTIVITY, FindingStatus
from nhi.policy import Policy
from nhi.remediation import RemediationStatus
from nhi.roster import Roster
from nhi.tables import (
    ApprovalRow,
    AskRow,
    AttestationRow,
    CardRow,
    DeliveryRow,
    FindingRow,
    PersonRow,
    RemediationRow,
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
    """Decide and write what is due now. With `dry_run` nothing is written; with `to_admin` admins get all cards.

    What to do about each of very many is found out while others may write, so that a click waits for nothing. What is
    due is then decided once more, alone, on what is true by then.
    """
    tally = Tally()
    if not dry_run:
        _clear_up(sessions, policy, to_admin, now)
    with reading(sessions) as session:
        in_shadow = is_shadow(session, policy)
        quietly = to_admin or in_shadow
        stand_in = next(iter(authority.admins(session, policy)), None) if quietly else None
        if quietly and stand_in is None:
            tally.skipped["questions: shadow mode, and no admin of policy.toml is known in Slack"] += 1
            tally.is_stuck = True
            return tally
        cases = asking.in_order(_cases(session, policy, now), a_week=policy.conversation.questions_a_week)
        due = _decide(session, cases, stand_in, policy, now, tally)
        tally.would = shadow.would(cases) if quietly else None
    if not dry_run and (due.cases or tally.would is not None):
        with sessions.begin() as session:
            lock_writers(session)
            _say(session, due, stand_in, policy, now, tally)
            if tally.would is not None:
                shadow.tell_admins(session, tally.would, policy, now, is_live=not in_shadow, asked_for=to_admin)
    return tally


def _clear_up(sessions: Sessions, policy: Policy, to_admin: bool, now: datetime) -> None:
    """End what is over, and let what is over with it be asked about again."""
    with sessions.begin() as session:
        if not (to_admin or is_shadow(session, policy)):
            shadow.end_asks(session, now)
        unsaid.pick_up(session, policy, now)
        claims.hand_over_due(session, policy, now)
        patience.wake(session, now)
        patience.follow_up(session, now)
        _withdraw_unanswerable(session, now)


def _say(session: Session, found: Due, stand_in: PersonRow | None, policy: Policy, now: datetime, tally: Tally) -> None:
    """Decide once more about what was found to be due, in the order and the pieces that all of it had, and say it."""
    _withdraw_unanswerable(session, now)
    cases = {case.identity_id: case for case in _cases(session, policy, now, [one.identity_id for one in found.cases])}
    kept = [(cases.get(one.identity_id), one.piece) for one in found.cases]
    again = Tally()
    due = _decide(session, [replace(case, piece=piece) for case, piece in kept if case], stand_in, policy, now, again)
    tally.skipped += again.skipped
    _count(due, tally)
    saying.say(session, due, shadow=stand_in is not None, policy=policy, now=now)


def _cases(session: Session, policy: Policy, now: datetime, only: Sequence[str] | None = None) -> list[Case]:
    """Return what there is to ask about, of all identities or of some."""
    by_identity: dict[str, list[FindingRow]] = defaultdict(list)
    urgent = alarms.open_alarms(session)
    for finding in facts.open_findings(session, only):
        asked_elsewhere = finding.kind in OF_ACTIVITY or finding.identity_id in urgent  # at once, by jobs/alarms.py
        if finding.status is not FindingStatus.JUSTIFIED and not asked_elsewhere:
            by_identity[finding.identity_id].append(finding)
    asks: dict[str, list[AskRow]] = defaultdict(list)
    of_these = select(AskRow) if only is None else select(AskRow).where(AskRow.identity_id.in_(only))
    for row in session.scalars(of_these.order_by(AskRow.asked_at)):
        asks[row.identity_id].append(row)
    who = candidates.candidates(session, list(by_identity), policy, now)
    said = _last_verdicts(session, only)
    can, heard = set(session.scalars(_who_can_answer())), _heard(session)
    cases = []
    for identity_id, findings in by_identity.items():
        ask = next((ask for ask in asks[identity_id] if ask.status is AskStatus.OPEN and ask.email in can), None)
        cases.append(
            Case(
                identity_id=identity_id,
                findings=findings,
                ask=ask,
                history=_history(ask, asks[identity_id], said.get(identity_id), heard),
                candidate=who[identity_id],
            )
        )
    return cases


def _who_can_answer() -> Select[str]:
    barred = PersonRow.guest | PersonRow.bot | PersonRow.stranger
    return select(PersonRow.email).where(PersonRow.active, ~barred)


def _withdraw_unanswerable(session: Session, now: datetime) -> None:
    """End questions whose person cannot answer any more, so that the next is asked; alarms go their own way."""
    stuck = select(AskRow).where(AskRow.status == AskStatus.OPEN, AskRow.email.not_in(_who_can_answer()))
    urgent = alarms.open_alarms(session)
    for ask in session.scalars(stuck.order_by(AskRow.asked_at, AskRow.id)):
        if ask.identity_id not in urgent:
            withdraw(session, ask, "the person asked cannot answer any more", now)
            shadow.reopen(session, ask)


def _last_verdicts(session: Session, only: Sequence[str] | None) -> dict[str, Said]:
    """Return what was said last of each identity; a claim made in the form of another answer gives way to that.

    What was decided and could not be done was not said for good: its card says why, and it can be decided anew.
    """
    said = AttestationRow
    rows = select(said.identity_id, said.verdict, said.at)
    rows = rows.where(said.verdict != Verdict.UNDO, said.id.not_in(_not_done()))
    rows = rows if only is None else rows.where(said.identity_id.in_(only))
    in_order = sorted(session.execute(rows), key=lambda row: (row.at, row.verdict is not Verdict.CLAIM))
    return {identity_id: (verdict, at) for identity_id, verdict, at in in_order}


def _not_done() -> Select[str]:
    """Return the decisions whose act was refused or failed; not those that a second person did not agree to."""
    declined = select(ApprovalRow.remediation_id).where(ApprovalRow.decided_at.is_not(None))
    return select(RemediationRow.attestation_id).where(
        RemediationRow.status.in_((RemediationStatus.REFUSED, RemediationStatus.FAILED)),
        RemediationRow.id.not_in(declined.where(ApprovalRow.agreed.is_not(True))),
    )


def _heard(session: Session) -> set[str]:
    """Return the open questions of whose silence somebody has heard, or is about to."""
    on_it = (
        select(AskRow.id, AskRow.escalated_to, DeliveryRow.kind, DeliveryRow.words)
        .join(CardRow, CardRow.ask_id == AskRow.id)
        .join(DeliveryRow, DeliveryRow.id == CardRow.delivery_id)
        .where(AskRow.status == AskStatus.OPEN, DeliveryRow.state != delivery.DEAD)
    )
    rows = session.execute(on_it)
    return {
        ask
        for ask, escalated_to, kind, words in rows
        if kind == "escalation" or (escalated_to and ask in words.get(OF_OTHERS, ()))
    }


def _history(ask: AskRow | None, asks: list[AskRow], said: Said | None, heard: set[str]) -> History:
    return History(
        open_since=ask.asked_at if ask else None,
        reminders=ask.reminders if ask else 0,
        escalated_to=tuple(ask.escalated_to) if ask else (),
        is_heard=ask is None or ask.id in heard,
        last_step_at=ask.last_step_at if ask else None,
        last_verdict=said[0] if said else None,
        last_verdict_at=said[1] if said else None,
        asked=tuple(past.email for past in asks if past.status is AskStatus.PASSED),
    )


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """What decisions rest on besides the case: read once a run."""

    session: Session
    lately: asking.Lately
    roster: Roster
    stand_in: PersonRow | None  # who gets all cards; None: outside shadow mode
    policy: Policy
    now: datetime


def _decide(
    session: Session, cases: Iterable[Case], stand_in: PersonRow | None, policy: Policy, now: datetime, tally: Tally
) -> Due:
    due, waiting, roster = Due(), claims.Waiting(session), Roster.read(session, policy, now)
    lately = asking.Lately(session, now)
    on = _Ground(session=session, lately=lately, roster=roster, stand_in=stand_in, policy=policy, now=now)
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
        _decide_one(case, due, on, tally)
    _one_message_each(due, on, tally)
    _count(due, tally)
    return due


def _decide_one(case: Case, due: Due, on: _Ground, tally: Tally) -> None:
    stand_in, lately, roster, now = on.stand_in, on.lately, on.roster, on.now
    asked = stand_in or (lately.person(case.ask.email) if case.ask else None) or _candidate(case)
    team = case.candidate.team if case.candidate and stand_in is None else None
    delegate = lately.delegate_of(asked.email) if asked and not (stand_in or team) else None
    if asked is not None and delegate is not None:
        due.instead_of[case.identity_id] = asked.name
    reader = delegate or asked
    left = _questions_left(reader, case, due, on) if reader else 0
    manager = roster.manager(case.ask.email) if case.ask else None
    step = next_step(
        case.history,
        candidate=asked.email if asked and (stand_in or case.candidate or case.ask) else None,
        tz=reader.tz if reader else "UTC",
        questions_left=max(left, 1) if team else left,  # a question to a team is not one of its default person's
        policy=on.policy.conversation,
        now=now,
        manager_known=manager is not None and is_back_soon(manager.away_until, now),
        away_until=reader.away_until if reader and not team else None,
        cover_known=not (stand_in or team or delegate) and asking.cover_of(case, roster, now) is not None,
    )
    match step:
        case Ask() if team is not None:
            due.claims.append(case)
        case Ask() if reader is not None:
            due.rows[reader.slack_id] = reader
            due.questions[reader.slack_id].append(case)
        case Remind() if reader is not None and lately.had_a_message_today(reader):
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


def _one_message_each(due: Due, on: _Ground, tally: Tally) -> None:
    """Let somebody hear of others' silence and of what is theirs in one message a day, with room for both."""
    kept: list[tuple[Case, str]] = []
    told: Counter[str] = Counter()
    for case, rung in due.escalations:
        assert case.asked_email is not None
        to = people.recipient(on.session, case.asked_email, rung, on.policy, on.now)
        person = on.session.get(PersonRow, to) if to else None
        if to is not None and person is not None:
            waits = asking.why_not_now(person, on.policy.conversation, on.now)
            if told[to] >= CARDS_A_MESSAGE or on.lately.had_a_message_today(person):
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


def _questions_left(who: PersonRow, case: Case, due: Due, on: _Ground) -> int:
    """How many more questions this person may get: within the week, the day's one message, and its room."""
    if on.lately.had_a_message_today(who):
        return 0
    planned = due.pieces_for(who.slack_id)
    if case.piece in planned:
        return 1  # one more name in a piece takes no room
    lately = on.lately.asked(who)
    return min(on.policy.conversation.questions_a_week - lately, CARDS_A_MESSAGE) - len(planned)


def _count(due: Due, tally: Tally) -> None:
    tally.people = len([asked for asked in due.questions.values() if asked])
    tally.items = sum(len(asked) for asked in due.questions.values())
    tally.reminded = sum(len(asked) for asked in due.reminders.values())
    tally.escalated = len(due.escalations)
    tally.items += len(due.claims)
    tally.sent = (
        tally.people + len(due.claims) + len([asked for asked in due.reminders.values() if asked]) + tally.escalated
    )
