"""What there is to ask, and to whom: the values between deciding (jobs/ask.py) and saying (jobs/saying.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from bot.delivery import DEAD, WAITING
from bot.messages import OF_OTHERS
from jobs import candidates
from nhi import digest, facts
from nhi.escalation import AWAY_AT_MOST, History, is_back_soon, is_working_time, zone
from nhi.findings import OWNERSHIP, FindingKind
from nhi.policy import Conversation
from nhi.roster import Roster
from nhi.tables import AskRow, CardRow, DelegationRow, DeliveryRow, FindingRow, PersonRow, TeamClaimRow

NO_QUESTION = ("golive", "notice", "checkpoint")  # messages that ask nothing of who gets them


@dataclass(frozen=True, kw_only=True)
class Case:
    """One identity with open findings, and what has been said about it."""

    identity_id: str
    findings: list[FindingRow]
    ask: AskRow | None  # the open one
    history: History
    candidate: candidates.Candidate | None
    piece: int = 0  # cases of the same piece are asked as one, where one answer fits
    place: int = 0  # among all cases: the most risk a minute first

    @property
    def is_orphaned(self) -> bool:
        """Whether its confirmed owner is gone."""
        return any(finding.kind is FindingKind.ORPHANED for finding in self.findings)

    @property
    def asked_email(self) -> str | None:
        """Whom the question is for, whoever reads it; None: nobody."""
        if self.ask is not None:
            return self.ask.email
        return self.candidate.person.email if self.candidate is not None else None

    @property
    def worth(self) -> tuple[int, int, float]:
        """How much an answer is worth: the gravest finding, privileges, then age. Higher is first."""
        gravest = max(facts.rank_of(finding) for finding in self.findings)
        oldest = min(finding.since for finding in self.findings)
        return gravest, int(self.findings[0].identity.privileged), -oldest.timestamp()


@dataclass
class Due:
    """What is to be said, by person."""

    questions: dict[str, list[Case]] = field(default_factory=lambda: defaultdict(list))
    reminders: dict[str, list[Case]] = field(default_factory=lambda: defaultdict(list))
    escalations: list[tuple[Case, str]] = field(default_factory=list)
    claims: list[Case] = field(default_factory=list)  # questions to whole teams
    rows: dict[str, PersonRow] = field(default_factory=dict)
    instead_of: dict[str, str] = field(default_factory=dict)  # identity -> who is away, and has a delegate

    @property
    def cases(self) -> list[Case]:
        """All that is due, in the order in which it was decided: the first of alike ones first."""
        by_person = [*self.questions.values(), *self.reminders.values()]
        found = [case for cases in by_person for case in cases] + [case for case, _ in self.escalations] + self.claims
        return sorted(found, key=lambda case: case.place)

    def pieces_for(self, slack_id: str) -> set[int]:
        """Return which pieces this person gets already."""
        return {case.piece for case in self.questions[slack_id]}

    def keep(self, slack_id: str, pieces: int) -> int:
        """Keep to the first so many pieces of what this person would be asked; return how many questions that cuts."""
        asked = self.questions[slack_id]
        kept = list(dict.fromkeys(case.piece for case in asked))[:pieces]
        self.questions[slack_id] = [case for case in asked if case.piece in kept]
        return len(asked) - len(self.questions[slack_id])


def in_order(cases: Sequence[Case], *, a_week: int) -> list[Case]:
    """Return the cases as people are to be asked: the most risk a minute first, alike ones beside each other."""
    by_id = {case.identity_id: case for case in sorted(cases, key=lambda case: case.worth, reverse=True)}
    pieces = digest.arrange((_item(case) for case in by_id.values()), a_week=a_week)
    found = [(by_id[item.id], number) for number, piece in enumerate(pieces, start=1) for item in piece.items]
    return [replace(case, piece=piece, place=place) for place, (case, piece) in enumerate(found)]


def _item(case: Case) -> digest.Item:
    identity = case.findings[0].identity
    gravest = max(facts.rank_of(finding) for finding in case.findings)
    alike, roughly = _alike(case)
    asked = case.candidate is not None and case.ask is None and case.candidate.team is None
    reader = case.candidate.person.slack_id if case.candidate is not None and asked else None
    return digest.Item(
        id=case.identity_id,
        rank=gravest,
        privileged=identity.privileged,
        alike=alike,
        reader=reader,
        roughly=roughly,
    )


def _alike(case: Case) -> tuple[Hashable | None, Hashable | None]:
    """Return what questions share that one answer fits: the place, the findings, whom they go to, and why them.

    Where nothing is asked but whose they are, each line tells its own reason, and they share only how sure it is. To
    who has too many questions, the second of what is returned, whatever else is wrong with each parts them no longer:
    whose they are comes first. What has an owner who is asked stands by itself: whose it is, is known.
    """
    if case.ask is not None or case.candidate is None or case.candidate.team is not None or case.is_orphaned:
        return None, None
    state, person = case.candidate.owner["state"], case.candidate.person
    if state == "confirmed" and case.candidate.owner["email"] == person.email:
        return None, None
    identity = case.findings[0].identity
    kinds = frozenset(finding.kind for finding in case.findings)
    roughly = identity.provider, identity.account, identity.kind, person.slack_id, state
    why = state if kinds <= OWNERSHIP else candidates.why_you(case.candidate, shadow=False)
    return (*roughly, kinds, why), roughly if kinds & OWNERSHIP else None


def had_a_message_today(session: Session, who: PersonRow, now: datetime) -> bool:
    """Whether this person got a question of ours, of whatever kind, on this day of theirs, or is about to get one.

    What Slack has not taken yet counts, whenever it was written: after an outage it arrives before anything else.
    """
    return _is_of_today(_messages(session, now, DeliveryRow.recipient == who.slack_id)[who.slack_id], who, now)


Said = set[datetime | None]  # when something was written to somebody, and posted; None: not yet


def _messages(session: Session, now: datetime, *where: ColumnElement[bool]) -> dict[str, Said]:
    """Return by recipient the messages with questions of today and yesterday, and those that wait for Slack."""
    since = now - timedelta(days=2)
    said = DeliveryRow
    query = select(said.recipient, said.state, said.created_at, said.ts).where(
        said.kind.not_in(NO_QUESTION),
        or_(
            said.state == WAITING,
            and_(said.state != DEAD, or_(said.created_at > since, said.ts > f"{since.timestamp():.6f}")),
        ),
        *where,
    )
    found: dict[str, Said] = defaultdict(set)
    for recipient, state, created_at, ts in session.execute(query):
        found[recipient] |= {None} if state == WAITING else {created_at, _instant(ts)}
    return found


def _instant(ts: str | None) -> datetime | None:
    """Return when Slack took a message, by its own clock."""
    return datetime.fromtimestamp(float(ts), UTC) if ts else None


def _is_of_today(said: Said, who: PersonRow, now: datetime) -> bool:
    here = zone(who.tz)
    today = now.astimezone(here).date()
    return any(at is None or at.astimezone(here).date() == today for at in said)


def why_not_now(who: PersonRow, policy: Conversation, now: datetime) -> str | None:
    """Return why somebody is not to be disturbed at this moment; None: they may be."""
    if who.away_until is not None and now < who.away_until <= now + AWAY_AT_MOST:
        return "away"
    return None if is_working_time(now, who.tz, policy) else "outside working hours"


def _asked(session: Session, now: datetime) -> dict[str, set[str]]:
    """Return by recipient the questions that somebody had within a week, also in somebody's stead.

    A group that one press answers is one to its reader; a reminder is not another one, nor is what a manager hears of
    somebody else's silence. What a team left counts from when its default person was asked.
    """
    lately = (
        select(DeliveryRow.recipient, AskRow.id, AskRow.group_id, DeliveryRow.words)
        .join(CardRow, CardRow.ask_id == AskRow.id)
        .join(DeliveryRow, DeliveryRow.id == CardRow.delivery_id)
        .outerjoin(TeamClaimRow, TeamClaimRow.ask_id == AskRow.id)
        .where(
            DeliveryRow.kind.in_(("digest", "shadow")),
            DeliveryRow.state != DEAD,
            func.coalesce(TeamClaimRow.handed_at, AskRow.asked_at) > now - timedelta(days=7),
        )
    )
    found: dict[str, set[str]] = defaultdict(set)
    for recipient, ask, group, words in session.execute(lately):
        if ask not in words.get(OF_OTHERS, ()):
            found[recipient].add(group or ask)
    return found


def delegate_of(session: Session, email: str, now: datetime) -> PersonRow | None:
    """Return who answers for this person while they are away; None: nobody was named, or can.

    Who has handed their own questions on is no help, and who is away for long is not either: the person is asked.
    """
    gave = select(DelegationRow).where(DelegationRow.since <= now, DelegationRow.until > now)
    named = gave.where(DelegationRow.email == email)
    for row in session.scalars(named.order_by(DelegationRow.since.desc(), DelegationRow.id)):
        able = select(PersonRow).where(
            PersonRow.email == row.delegate,
            PersonRow.active.is_(True),
            PersonRow.guest.is_(False),
            PersonRow.bot.is_(False),
            PersonRow.stranger.is_(False),
        )
        found = session.scalar(able.limit(1))
        handed_on = session.scalar(gave.where(DelegationRow.email == row.delegate).limit(1))
        if found is not None and handed_on is None and is_back_soon(found.away_until, now):
            return found
    return None


class Lately:
    """What a run asks about people again and again, read once: nothing of it changes before the run's end."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.person = cache(partial(_person, session))
        self.delegate_of = cache(lambda email: delegate_of(session, email, now))
        self._now = now
        self._messages = _messages(session, now)
        self._asked = _asked(session, now)

    def had_a_message_today(self, who: PersonRow) -> bool:
        return _is_of_today(self._messages[who.slack_id], who, self._now)

    def asked(self, who: PersonRow) -> int:
        """Return how many questions this person had within a week."""
        return len(self._asked[who.slack_id])


def _person(session: Session, email: str) -> PersonRow | None:
    return session.scalar(select(PersonRow).where(PersonRow.email == email, PersonRow.active.is_(True)).limit(1))


def cover_of(case: Case, roster: Roster, now: datetime) -> PersonRow | None:
    """Return the manager who can be asked whose it is while who may own it is away; None: nobody above is here.

    What has an owner waits for them: nobody else is answerable for it because of a holiday.
    """
    if case.asked_email is None or case.candidate is None or case.candidate.owner["state"] == "confirmed":
        return None
    manager = roster.manager(case.asked_email)
    return manager if manager is not None and (manager.away_until is None or manager.away_until <= now) else None
