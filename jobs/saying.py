"""Write what was decided to be said: asks, reminders and escalations, each with its message, in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import delivery
from bot.messages import OF_OTHERS
from jobs import candidates, claims, people
from jobs.asking import Case, Due
from nhi import answers, facts, ledger, patience
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.policy import Policy
from nhi.tables import AskFindingRow, AskRow, CardRow, DeliveryRow, PersonRow, new_id
from nhi.words import sentence

Json = dict[str, Any]
Silent = dict[str, list[Case]]  # by the address of who was asked, what they have not answered


def say(session: Session, due: Due, *, shadow: bool, policy: Policy, now: datetime) -> None:
    """Write rows and messages: one message a person, and for each channel one a silent person."""
    told = _told(session, due, policy, now)
    for slack_id, who in due.rows.items():
        if due.questions[slack_id] or due.reminders[slack_id]:
            _tell(session, due, slack_id, who, shadow, now, told.pop(slack_id, {}))
    for case in due.claims:
        if case.candidate is not None and case.candidate.team is not None:
            default = case.candidate.person
            why = candidates.why_you(case.candidate, shadow=False)
            ask = _ask(session, case, default.email, why, False, now)
            claims.begin(session, ask, case.candidate.team, default.tz, policy, now)
    for recipient, silent in told.items():
        if session.get(PersonRow, recipient) is not None:
            _escalate(session, recipient, silent, now)
            continue
        for email, cases in silent.items():
            _escalate(session, recipient, {email: cases}, now)


def _told(session: Session, due: Due, policy: Policy, now: datetime) -> dict[str, Silent]:
    """Write down that questions go up; return by who hears of it the questions of each silent person."""
    told: dict[str, Silent] = defaultdict(lambda: defaultdict(list))
    for case, rung in _opened(session, due.escalations, now):
        assert case.ask is not None
        recipient = people.recipient(session, case.ask.email, rung, policy, now)
        _step_up(session, case, rung, recipient is not None, now)
        if recipient is not None:
            told[recipient][case.ask.email].append(case)
    return told


def _tell(
    session: Session, due: Due, slack_id: str, who: PersonRow, shadow: bool, now: datetime, silent: Silent
) -> None:
    """Put what others left open, what is new and what is still open into one message; what waits longest comes first.

    What is of others is never cut off for want of room: its reader could not find it elsewhere.
    """
    number = max((_remind(session, case, now) for case in due.reminders[slack_id]), default=0)
    known, unseen = _seen(session, due, slack_id)
    silent = {email: [*silent.get(email, ()), *unseen.get(email, ())] for email in dict.fromkeys((*silent, *unseen))}
    others = [case.ask.id for cases in silent.values() for case in cases if case.ask is not None]
    again = [case.ask.id for case in known if case.ask is not None]
    asked = [ask.id for ask in _questions(session, due, slack_id, who, shadow, now)]
    instead = [case.ask.id for case in known if case.ask and "manager" in case.ask.escalated_to]
    went = [ask_id for ask_id in instead if not _was_shown(session, ask_id, slack_id)]
    kind = ("shadow" if shadow else "digest") if asked or went or unseen else "reminder"
    words: Json = {"kind": kind, "name": who.name, "one": _likes_one(session, slack_id)}
    words |= {"number": number} if kind == "reminder" else {"again": len(again) - len(went), "meanwhile": len(went)}
    if others:
        words |= {OF_OTHERS: others, "silent_names": _names(session, silent)}
    if unseen:
        words |= {"away_names": _names(session, unseen)}
    delivery.queue(session, kind, slack_id, words, [*others, *again, *asked], now)


def _seen(session: Session, due: Due, slack_id: str) -> tuple[list[Case], Silent]:
    """Part what somebody is reminded of from what they have not seen: they are its person's delegate only now."""
    known: list[Case] = []
    unseen: Silent = {}
    for case in due.reminders[slack_id]:
        assert case.ask is not None
        if case.identity_id in due.instead_of and not _was_shown(session, case.ask.id, slack_id):
            unseen.setdefault(case.ask.email, []).append(case)
        else:
            known.append(case)
    return known, unseen


def _was_shown(session: Session, ask_id: str, slack_id: str) -> bool:
    """Whether this person had a message about this question; not, where their manager was asked in their stead."""
    shown = select(CardRow.id).join(DeliveryRow, DeliveryRow.id == CardRow.delivery_id)
    mine = shown.where(CardRow.ask_id == ask_id, DeliveryRow.recipient == slack_id)
    return session.scalar(mine.limit(1)) is not None


def _questions(session: Session, due: Due, slack_id: str, who: PersonRow, shadow: bool, now: datetime) -> list[AskRow]:
    cases = due.questions[slack_id]
    sizes = Counter(case.piece for case in cases)
    groups = {piece: new_id() for piece, size in sizes.items() if size > 1}
    asked = []
    for case in cases:
        why = candidates.why_you(case.candidate, shadow=shadow)
        email = who.email
        if case.identity_id in due.instead_of and case.candidate is not None:
            email = case.candidate.person.email
            why = sentence("evidence.why_instead", name=due.instead_of[case.identity_id], why=why)
        if promised := patience.reminder_of(session, case.identity_id, email):
            why = sentence("evidence.why_promised", promised=promised, why=why)
        asked.append(_ask(session, case, email, why, shadow, now, groups.get(case.piece)))
    return asked


def _likes_one(session: Session, slack_id: str) -> bool:
    """Whether this person chose, in their last message, to see one question at a time."""
    last = select(DeliveryRow.words).where(
        DeliveryRow.recipient == slack_id, DeliveryRow.kind.in_(["digest", "reminder"])
    )
    words = session.scalar(last.order_by(DeliveryRow.created_at.desc()).limit(1))
    return bool(words and words.get("one"))


def _ask(
    session: Session, case: Case, email: str, because: str, shadow: bool, now: datetime, group_id: str | None = None
) -> AskRow:
    ask = AskRow(
        id=new_id(),
        identity_id=case.identity_id,
        email=email,
        because=because,
        shadow=shadow,
        status=AskStatus.OPEN,
        asked_at=now,
        reminders=0,
        escalated_to=[],
        last_step_at=now,
        group_id=group_id,
    )
    session.add(ask)
    session.flush()
    for finding in case.findings:
        finding.status = FindingStatus.ASKED
        session.add(AskFindingRow(ask_id=ask.id, finding_id=finding.id))
    session.flush()
    facts_of = {"ask": ask.id, "findings": [finding.id for finding in case.findings], "shadow": shadow}
    private = {"email": email, "because": ask.because}
    ledger.record(session, "owner.asked", now=now, identity_id=case.identity_id, facts=facts_of, private=private)
    return ask


def _remind(session: Session, case: Case, now: datetime) -> int:
    assert case.ask is not None
    case.ask.reminders += 1
    case.ask.last_step_at = now
    session.flush()
    answers.redraw(session, case.ask.id)  # who has it already must not read of a step that is over as one to come
    facts_of = {"ask": case.ask.id, "number": case.ask.reminders}
    ledger.record(session, "owner.reminded", now=now, identity_id=case.identity_id, facts=facts_of)
    return case.ask.reminders


def _opened(session: Session, escalations: Sequence[tuple[Case, str]], now: datetime) -> Iterator[tuple[Case, str]]:
    """Yield each with its question; one that begins with a manager, as who may own it is away, is opened here."""
    for case, rung in escalations:
        if case.ask is None and case.candidate is not None:
            why = candidates.why_you(case.candidate, shadow=False)
            case = replace(case, ask=_ask(session, case, case.candidate.person.email, why, False, now))
        yield case, rung


def _step_up(session: Session, case: Case, rung: str, reached: bool, now: datetime) -> None:
    """Write down that a question goes one rung up."""
    assert case.ask is not None
    case.ask.escalated_to = [*case.ask.escalated_to, rung]
    if reached:  # else the next rung is not kept waiting
        case.ask.last_step_at = now
    session.flush()
    answers.redraw(session, case.ask.id)
    facts_of = {"ask": case.ask.id, "to": rung, "reached": reached}
    ledger.record(session, "finding.escalated", now=now, identity_id=case.identity_id, facts=facts_of)


def _escalate(session: Session, recipient: str, silent: Silent, now: datetime) -> None:
    """Tell of silence: one message, whatever number of questions, and to a manager of people, it is about."""
    asks = [case.ask for cases in silent.values() for case in cases if case.ask is not None]
    first = min(ask.asked_at for ask in asks)
    words: Json = {"kind": "escalation", "name": _names(session, silent), "asked_at": facts.when(first)}
    away = [who.away_until if who is not None else None for who in (_person(session, email) for email in silent)]
    if all(until is not None and until > now for until in away):
        words["away_until"] = facts.when(min(until for until in away if until is not None))
    if len(silent) > 1:
        words["people"] = len(silent)
    delivery.queue(session, "escalation", recipient, words, [ask.id for ask in asks], now)


def _names(session: Session, silent: Silent) -> str:
    """Return who was asked, in words: "Ana Diaz, Bea Okoye and Cem Sato"."""
    found = [(email, _person(session, email)) for email in silent]
    return sentence("words.names", names=[who.name if who is not None else email for email, who in found])


def _person(session: Session, email: str) -> PersonRow | None:
    return session.scalar(select(PersonRow).where(PersonRow.email == email, PersonRow.active.is_(True)).limit(1))
