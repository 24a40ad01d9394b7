"""People who leave: what they own is listed, and they, then their manager, are asked to hand each thing over.

The identity of somebody who is gone is `orphaned` until somebody active has accepted it. Nothing changes owner, and
nothing is turned off, because of silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import delivery
from jobs import judge, shadow
from jobs.asking import Lately
from nhi import facts, handover, ledger, people, roster
from nhi.database import Sessions, reading
from nhi.escalation import is_working_time
from nhi.findings import FindingKind, FindingStatus
from nhi.ownership import explain
from nhi.people import AskLeaver, AskManager, Departure, Leaving, Release, RemindManager, Stay
from nhi.policy import Policy
from nhi.roster import Roster
from nhi.tables import (
    FindingRow,
    HandoverCardRow,
    HandoverItemRow,
    HandoverItemStatus,
    HandoverRow,
    IdentityRow,
    OwnerRow,
    PersonRow,
    new_id,
)
from nhi.words import sentence

DAYS = timedelta(days=3)  # of patience where policy knows no reminders
A_BATCH = 500
FAINT = 0.3  # below this confidence nobody is proposed


@dataclass
class Tally:
    """What one run noticed and said, and what it left unsaid and why."""

    leavers: int = 0
    identities: int = 0
    asked: int = 0
    heirs: int = 0
    reminded: int = 0
    released: int = 0
    orphaned: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def is_quiet(self) -> bool:
        return not (self.asked or self.heirs or self.reminded or self.released or self.orphaned)

    def sentence(self) -> str:
        """Return the run's account."""
        text = (
            f"{self.leavers} people leave or left, with {self.identities} identities. Asked {self.asked} to hand over"
            f" and {self.heirs} to take over, reminded {self.reminded}, released {self.released};"
            f" {self.orphaned} newly orphaned."
        )
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
        return f"{text} Skipped {sum(self.skipped.values())}: {reasons}." if reasons else text


def run(sessions: Sessions, policy: Policy, *, now: datetime) -> Tally:
    """Notice who leaves, write down what they own, and say what is due."""
    tally = Tally()
    with reading(sessions) as session:  # what takes long takes no write lock: clicks come first
        known = Roster.read(session, policy, now)
    with sessions.begin() as session:
        roster.follow_new_addresses(session, now)
        owned = _departures(session, known, policy)
        _settle(session, owned, now)
        for departure, rows in owned.values():
            _open(session, departure, rows, known, now)
        tally.orphaned = _judge(session, owned, policy, now)
        live = list(session.scalars(select(HandoverRow).where(HandoverRow.closed_at.is_(None))))
        tally.leavers, tally.identities = len(live), sum(len(_live(one)) for one in live)
        if live and shadow.is_shadow(session, policy):
            tally.skipped["hand-overs: shadow mode, until an admin presses Go"] += len(live)
            return tally
        saying = _Saying(session=session, known=known, lately=Lately(session, now), policy=policy, now=now)
        for one in live:
            _ask_heirs(one, saying, tally)
        _suggest(session, live, known, policy, now)
        for one in live:
            _step(one, saying, tally)
    return tally


# -- noticing ----------------------------------------------------------------------------------------------------------

Owned = dict[str, tuple[Departure, list[OwnerRow]]]


def _departures(session: Session, known: Roster, policy: Policy) -> Owned:
    """Return the owners who leave or left, each with what they own that is still there."""
    found: Owned = {}
    for owner, row in roster.owner_people(session):
        departure = roster.departure_of(owner, row, known, policy)
        if departure is not None and session.get_one(IdentityRow, owner.identity_id).gone_at is None:
            found.setdefault(owner.email, (departure, []))[1].append(owner)
    return found


def _settle(session: Session, owned: Owned, now: datetime) -> None:
    """Close what needs no hand-over any more: it has another owner, is gone, or the leaver stays."""
    theirs = {email: {row.identity_id for row in rows} for email, (_, rows) in owned.items()}
    for one in session.scalars(select(HandoverRow).where(HandoverRow.closed_at.is_(None))):
        for item in _live(one):
            if item.identity_id not in theirs.get(one.email, set()):
                item.status, item.ended_at = HandoverItemStatus.CLOSED, now
                handover.redraw_cards(session, one.id)
        if not _live(one):
            one.closed_at = now
            session.flush()
            ledger.record(session, "handover.closed", now=now, facts={"handover": one.id})


def _live(one: HandoverRow) -> list[HandoverItemRow]:
    return [item for item in one.items if item.status in handover.LIVE]


def _open(session: Session, departure: Departure, rows: Sequence[OwnerRow], known: Roster, now: datetime) -> None:
    """Write down that somebody leaves and what they own; what is written already is only brought up to date."""
    query = select(HandoverRow).where(HandoverRow.email == departure.email, HandoverRow.closed_at.is_(None))
    one = session.scalar(query)
    new = [row for row in rows if row.identity_id not in _handled(session, row)]
    if one is None and not new:
        return
    if one is None:
        one = _new(session, departure, known, now)
    elif (one.reason, one.last_day) != (departure.reason.value, departure.last_day):
        one.reason, one.last_day = departure.reason.value, departure.last_day
        handover.redraw_cards(session, one.id)
    for row in new:
        _add(session, one, row.identity_id, now)


def _handled(session: Session, owner: OwnerRow) -> set[str]:
    """Return the identity's id where it stands in a hand-over of this ownership already."""
    query = (
        select(HandoverItemRow.identity_id)
        .join(HandoverRow, HandoverRow.id == HandoverItemRow.handover_id)
        .where(
            HandoverItemRow.identity_id == owner.identity_id,
            HandoverRow.email == owner.email,
            HandoverRow.opened_at >= owner.since,
            HandoverItemRow.status != HandoverItemStatus.CLOSED,
        )
    )
    return set(session.scalars(query))


def _new(session: Session, departure: Departure, known: Roster, now: datetime) -> HandoverRow:
    row = known.slack.get(departure.email)
    told = known.told.find(departure.email)
    one = HandoverRow(
        id=new_id(),
        email=departure.email,
        name=(row.name if row else "") or (told.name if told else "") or departure.email,
        reason=departure.reason.value,
        last_day=departure.last_day,
        opened_at=now,
    )
    session.add(one)
    session.flush()
    ledger.record(
        session,
        "handover.opened",
        now=now,
        facts={"handover": one.id, "reason": one.reason, "last_day": one.last_day},
        private={"email": one.email, "name": one.name},
    )
    return one


def _add(session: Session, one: HandoverRow, identity_id: str, now: datetime) -> None:
    again = next((item for item in one.items if item.identity_id == identity_id), None)
    if again is not None:
        again.status, again.ended_at, again.heir = HandoverItemStatus.OPEN, None, None
        return
    one.items.append(
        HandoverItemRow(
            id=new_id(),
            identity_id=identity_id,
            position=len(one.items),
            status=HandoverItemStatus.OPEN,
            why=[],
            passed=[],
        )
    )
    session.flush()
    ledger.record(session, "handover.listed", now=now, identity_id=identity_id, facts={"handover": one.id})


def _judge(session: Session, owned: Owned, policy: Policy, now: datetime) -> int:
    """Open `orphaned` for what has lost its owner, without waiting for the next scan; return how many are new."""
    gone = {row.identity_id for departure, rows in owned.values() if departure.left for row in rows}
    orphans = select(FindingRow.identity_id).where(
        FindingRow.kind == FindingKind.ORPHANED, FindingRow.status != FindingStatus.RESOLVED
    )
    known = set(session.scalars(orphans))
    wrong = sorted((gone - known) | (known - gone))
    for start in range(0, len(wrong), A_BATCH):
        query = select(IdentityRow).where(IdentityRow.id.in_(wrong[start : start + A_BATCH]))
        judge.judge_ownership(session, list(session.scalars(query)), policy, now)
    return len(set(session.scalars(orphans)) - known)


# -- whom to propose ---------------------------------------------------------------------------------------------------


def _suggest(session: Session, live: Sequence[HandoverRow], known: Roster, policy: Policy, now: datetime) -> None:
    """Find an heir by evidence for each item that has none, as if its owner were gone already."""
    wanted = [item for one in live for item in one.items if item.status is HandoverItemStatus.OPEN]
    wanted = [item for item in wanted if known.able(item.suggested) is None or item.suggested in item.passed]
    if not wanted:
        return
    leaving = frozenset(one.email for one in live)
    directory = roster.directory(session, policy, now, leaving)
    evidence = facts.evidence(session, [item.identity_id for item in wanted])
    for item in wanted:
        ranking = explain(
            evidence[item.identity_id], directory=directory, people=policy.people, owners=policy.owners, now=now
        )
        ranked = [
            (one.email, tuple(fact.fact for fact in one.evidence[:2]))
            for one in ranking.likely or ranking.possible
            if one.confidence >= FAINT
        ]
        team = people.team_of(item.handover.email, known.teams)
        found = people.heir(
            ranked,
            leaver=item.handover.email,
            passed=item.passed,
            team=team,
            can=lambda email: known.able(email) is not None,
        )
        item.suggested, item.why = (found.email, list(found.why)) if found else (None, [])
    session.flush()


# -- saying ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Saying:
    """A good time for somebody, read before anything is said: all who leave may share one day of their manager."""

    session: Session
    known: Roster
    lately: Lately
    policy: Policy
    now: datetime

    def why_not(self, to: PersonRow) -> str | None:
        """Return why somebody is not to be told at this moment; None: they may be."""
        if not is_working_time(self.now, to.tz, self.policy.conversation):
            return "outside working hours"
        return "had a message today" if self.lately.had_a_message_today(to) else None


def _step(one: HandoverRow, saying: _Saying, tally: Tally) -> None:
    session, known, policy, now = saying.session, saying.known, saying.policy, saying.now
    if not any(item.status is HandoverItemStatus.OPEN for item in one.items):
        return
    leaver = known.slack.get(one.email)
    manager, because = _manager(one, known, policy)
    step = people.next_handover_step(
        _leaving(one),
        leaver_can=known.able(one.email) is not None,
        manager_known=manager is not None,
        patience=_patience(policy),
        now=now,
        today=roster.today(leaver.tz if leaver else "UTC", now),
    )
    match step:
        case AskLeaver() if leaver is not None:
            tally.asked += _tell(one, leaver, "leaver", saying, tally)
        case AskManager() if manager is not None:
            tally.asked += _tell_manager(one, manager, because, saying, tally)
        case RemindManager() if manager is not None:
            tally.reminded += _tell_manager(one, manager, because, saying, tally)
        case Release():
            for item in one.items:
                if item.status is HandoverItemStatus.OPEN:
                    handover.release(session, item, now)
                    tally.released += 1
            handover.redraw_cards(session, one.id)
        case AskLeaver() | AskManager() | RemindManager():
            tally.skipped["nobody is known to ask"] += 1
        case Stay():
            tally.skipped["hand-over: waiting for an answer"] += 1


def _leaving(one: HandoverRow) -> Leaving:
    return Leaving(
        left=one.reason != people.Reason.ANNOUNCED.value,
        last_day=one.last_day,
        leaver_asked_at=one.leaver_asked_at,
        manager_asked_at=one.manager_asked_at,
        reminded=one.reminded_at is not None,
    )


def _patience(policy: Policy) -> timedelta:
    return policy.conversation.remind_after[0] if policy.conversation.remind_after else DAYS


def _manager(one: HandoverRow, known: Roster, policy: Policy) -> tuple[PersonRow | None, str]:
    """Return who is asked besides the leaver, and why them: the nearest manager who can answer, else the fallback."""
    above = known.told.managers(one.email)
    manager = known.manager(one.email)
    if manager is not None:
        nearest = bool(above.emails) and manager.email == above.emails[0]
        return manager, sentence("evidence.why_manager" if nearest else "evidence.why_manager_above")
    why = sentence("evidence.why_managers_in_a_circle" if above.cyclic else "evidence.why_no_manager")
    return known.able(policy.owners.fallback), why


def _tell(one: HandoverRow, to: PersonRow, role: str, saying: _Saying, tally: Tally) -> bool:
    """Send somebody the list, in their working hours and as the one message of their day; return whether it was sent.

    On the last days of who leaves it does not wait for another day: they would be gone.
    """
    session, now = saying.session, saying.now
    why_not, tomorrow = saying.why_not(to), roster.today(to.tz, now) + timedelta(days=1)
    is_last_call = not _leaving(one).left and one.last_day is not None and one.last_day <= tomorrow
    if why_not is not None and not (is_last_call and why_not == "had a message today"):
        tally.skipped[why_not] += 1
        return False
    if role == "leaver":
        one.leaver_asked_at = now
    elif one.manager_asked_at is None:
        one.manager_asked_at = now
    else:
        one.reminded_at = now
    _queue("handover", to, {"to": role}, one, None, saying)
    facts_of = {"handover": one.id, "role": role, "reminder": one.reminded_at == now}
    ledger.record(session, "handover.asked", now=now, facts=facts_of, private={"email": to.email})
    return True


def _tell_manager(one: HandoverRow, to: PersonRow, because: str, saying: _Saying, tally: Tally) -> bool:
    if not _tell(one, to, "manager", saying, tally):
        return False
    one.manager, one.manager_because = to.email, because  # who has the list may name heirs from now on
    return True


def _queue(
    kind: str, to: PersonRow, words: dict[str, str], one: HandoverRow, item: HandoverItemRow | None, saying: _Saying
) -> None:
    told = delivery.queue(saying.session, kind, to.slack_id, {**words, "name": to.name}, [], saying.now)
    saying.session.add(HandoverCardRow(delivery_id=told.id, handover_id=one.id, item_id=item.id if item else None))
    saying.session.flush()


def _ask_heirs(one: HandoverRow, saying: _Saying, tally: Tally) -> None:
    """Ask who was named; remind once; after that silence, let somebody else be named."""
    session, known, policy, now = saying.session, saying.known, saying.policy, saying.now
    for item in one.items:
        if item.status is not HandoverItemStatus.PROPOSED or item.heir is None:
            continue
        heir, patience = known.able(item.heir), _patience(policy)
        if heir is None or (item.asked_at is not None and now >= item.asked_at + 2 * patience):
            handover.pass_on(session, item, item.heir, now)
            handover.redraw_cards(session, one.id)
            tally.skipped["named, and silent or not here any more"] += 1
        elif item.asked_at is None:
            tally.heirs += _tell_heir(item, heir, saying, tally)
        elif item.reminded_at is None and now >= item.asked_at + patience:
            tally.reminded += _tell_heir(item, heir, saying, tally)


def _tell_heir(item: HandoverItemRow, heir: PersonRow, saying: _Saying, tally: Tally) -> bool:
    session, now = saying.session, saying.now
    if why_not := saying.why_not(heir):
        tally.skipped[why_not] += 1
        return False
    if item.asked_at is None:
        item.asked_at = now
    else:
        item.reminded_at = now
    _queue("heir", heir, {}, item.handover, item, saying)
    told: dict[str, Any] = {"facts": {"item": item.id}, "private": {"email": heir.email}}
    ledger.record(session, "handover.heir_asked", now=now, identity_id=item.identity_id, **told)
    return True
