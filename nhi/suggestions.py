"""Whose it may be instead: what somebody suggests after saying "not mine". Evidence, and never more than that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import ledger, roster
from nhi.authority import person as person_at
from nhi.database import lock_writers
from nhi.errors import AlreadyAnswered, BadAnswer, NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.naming import Directory, Fit
from nhi.passing import loop_of
from nhi.policy import Policy
from nhi.redact import tidy
from nhi.tables import AskRow, AttestationRow, EvidenceRow, PersonRow
from nhi.words import sentence

SOURCE = "not_mine_suggestion"


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """What a suggestion led to."""

    identity_id: str
    name: str  # of whom was suggested
    passed_before: bool  # they said themselves that it is not theirs: nobody is asked twice
    loop: tuple[str, ...] | None  # the addresses that point at each other; None: no circle


def suggest(
    session: Session,
    attestation_id: str,
    *,
    slack_id: str,
    chosen: str | None,
    typed: str | None,
    policy: Policy,
    now: datetime,
) -> Suggested:
    """Record whose it may be instead, as somebody says who said "not mine".

    `chosen` is a Slack id, `typed` an e-mail address; the choice counts where both are given. Raises NotAllowed for
    anybody but who said "not mine", AlreadyAnswered for a second suggestion, BadAnswer that names the field.
    """
    lock_writers(session)
    said = session.get(AttestationRow, attestation_id)
    if said is None or said.verdict is not Verdict.NOT_MINE:
        raise OutOfDate(sentence("refusals.form_out_of_date"))
    who = person_at(session, slack_id)
    if said.slack_id != who.slack_id:
        raise NotAllowed(sentence("refusals.suggestion_not_yours"))
    mark = _mark(said)
    before = select(EvidenceRow.id).where(
        EvidenceRow.identity_id == said.identity_id, EvidenceRow.source == SOURCE, EvidenceRow.fact.endswith(mark)
    )
    if session.scalar(before) is not None:
        raise AlreadyAnswered(sentence("refusals.suggested_already"))
    points_to, name, email = _whom(session, who, chosen, typed, policy, now)
    _write(session, said, points_to, sentence("answers.suggested", who=who.email, whom=name), mark, now)
    passed = {email for email in _passed(session, said.identity_id) if email}
    return Suggested(
        identity_id=said.identity_id,
        name=name,
        passed_before=email in passed,
        loop=loop_of(suggestions(session, said.identity_id)),
    )


def _write(session: Session, said: AttestationRow, points_to: str, told: str, mark: str, now: datetime) -> None:
    fact = f"{tidy(told, 300 - len(mark) - 1)} {mark}"
    session.add(
        EvidenceRow(identity_id=said.identity_id, source=SOURCE, fact=fact, points_to=points_to, at=now, seen_at=now)
    )
    session.flush()
    ledger.record(
        session,
        "owner.suggested",
        now=now,
        identity_id=said.identity_id,
        facts={"attestation": said.id},
        private={"by": said.email, "suggested": points_to},
    )


def _whom(
    session: Session, who: PersonRow, chosen: str | None, typed: str | None, policy: Policy, now: datetime
) -> tuple[str, str, str]:
    """Return what the evidence points to, what to call them, and their address. Raises BadAnswer."""
    directory = roster.directory(session, policy, now)
    if chosen:
        known = directory.find(chosen)
        if known is not None and not known.may_own:
            raise BadAnswer(sentence("refusals.suggested_cannot_own", name=known.name), field="person")
        if chosen == who.slack_id:
            raise BadAnswer(sentence("refusals.suggested_is_you_choose"), field="person")
        if known is None or not known.email:
            return chosen, tidy(known.name, 80) if known else chosen, ""
        return known.email, tidy(known.name, 80), known.email
    if not typed or not typed.strip():
        raise BadAnswer(sentence("refusals.suggest_whom"), field="person")
    return _typed(typed.strip().lower(), who, directory, policy)


def _typed(address: str, who: PersonRow, directory: Directory, policy: Policy) -> tuple[str, str, str]:
    resolved = directory.resolve(address, policy.people)
    match resolved.fit:
        case Fit.PERSON if resolved.people[0].slack_id == who.slack_id:
            raise BadAnswer(sentence("refusals.suggested_is_you_name"), field="email")
        case Fit.PERSON:
            found = resolved.people[0]
            return found.email, tidy(found.name, 80), found.email
        case Fit.TEAM if resolved.team is not None:
            return address, tidy(resolved.team.name, 80), ""
        case Fit.OUTSIDE:
            raise BadAnswer(sentence("refusals.suggested_outside"), field="email")
        case Fit.LEFT:
            raise BadAnswer(sentence("refusals.suggested_left"), field="email")
        case Fit.ROBOT:
            raise BadAnswer(sentence("refusals.suggested_robot"), field="email")
        case _:
            pass
    nearest = directory.nearest(address, policy.people)
    if nearest is not None:
        raise BadAnswer(sentence("refusals.suggested_unknown", nearest=nearest), field="email")
    return address, tidy(address, 80), address


def _passed(session: Session, identity_id: str) -> set[str]:
    asks = select(AskRow.email).where(AskRow.identity_id == identity_id, AskRow.status == AskStatus.PASSED)
    return set(session.scalars(asks))


def suggestions(session: Session, identity_id: str) -> list[tuple[str, str]]:
    """Return who suggested whom, as addresses where they are known, in their order."""
    rows = session.scalars(
        select(EvidenceRow)
        .where(EvidenceRow.identity_id == identity_id, EvidenceRow.source == SOURCE)
        .order_by(EvidenceRow.at, EvidenceRow.id)
    )
    said_no = select(AttestationRow).where(
        AttestationRow.identity_id == identity_id, AttestationRow.verdict == Verdict.NOT_MINE
    )
    by = {_mark(said): said.email for said in session.scalars(said_no)}
    found = []
    for row in rows:
        known = session.get(PersonRow, row.points_to)
        found.append((by.get(row.fact.rpartition(" ")[2], ""), known.email if known else row.points_to))
    return found


def _mark(said: AttestationRow) -> str:
    """Return what a suggestion's evidence ends with: of which "not mine" it is."""
    return f"({said.id[:8]})"
