"""Questions to a whole team: asked once in its channel, and at the deadline of its default person."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from bot import delivery
from jobs import asking
from jobs.asking import Case
from nhi import ledger, patience
from nhi.answers import redraw
from nhi.escalation import AskStatus, is_working_time
from nhi.identity import CredentialStatus
from nhi.passing import AskTeam, claim_deadline
from nhi.policy import Policy
from nhi.remediation import LIVE, RemediationStatus
from nhi.roster import Roster
from nhi.tables import (
    AskRow,
    CardRow,
    CredentialRow,
    DeliveryRow,
    HandoverItemRow,
    HandoverItemStatus,
    PersonRow,
    RemediationRow,
    TeamClaimRow,
)

AT_ONCE = 6  # questions of one message
LIVE_ITEMS = (HandoverItemStatus.OPEN, HandoverItemStatus.PROPOSED)


def begin(session: Session, ask: AskRow, team: AskTeam, tz: str, policy: Policy, now: datetime) -> TeamClaimRow:
    """Ask a team in its channel about what `ask` is about. `tz` is the default person's: Friday 17:00 is theirs."""
    deadline = claim_deadline(now, policy.people.claim_within, tz, policy.conversation)
    row = TeamClaimRow(ask_id=ask.id, team=team.team.name, channel=team.channel, deadline_at=deadline)
    session.add(row)
    session.flush()
    delivery.queue(session, "claim", team.channel, {"team": team.team.name}, [ask.id], now)
    ledger.record(
        session,
        "team.asked",
        now=now,
        identity_id=ask.identity_id,
        facts={"ask": ask.id, "team": team.team.name, "channel": team.channel, "until": deadline},
        private={"default": ask.email},
    )
    return row


def hand_over_due(session: Session, policy: Policy, now: datetime) -> int:
    """Ask the default person where the team's time is over; return of how many. It is not theirs before they say so.

    What is snoozed is left alone, and what has no room in the default person's day or week waits for the next.
    """
    due = session.execute(
        select(TeamClaimRow, AskRow)
        .join(AskRow, AskRow.id == TeamClaimRow.ask_id)
        .where(AskRow.status == AskStatus.OPEN, TeamClaimRow.handed_at.is_(None), TeamClaimRow.deadline_at <= now)
        .where(AskRow.id.not_in(_unsaid()))
        .order_by(TeamClaimRow.deadline_at, AskRow.asked_at, AskRow.id)
    ).all()
    if not due:
        return 0
    snoozed, lately = patience.snoozed(session, now), asking.Lately(session, now)
    by_default: dict[str, list[tuple[TeamClaimRow, AskRow]]] = defaultdict(list)
    for claim, ask in due:
        if ask.identity_id not in snoozed:
            by_default[ask.email].append((claim, ask))
    rooms = {email: _room(lately.person(email), lately, policy, now) for email in by_default}
    if not any(rooms.values()):
        return 0
    roster = Roster.read(session, policy, now)
    return sum(_hand_over(session, roster.able(email), rows[: rooms[email]], now) for email, rows in by_default.items())


def _room(default: PersonRow | None, lately: asking.Lately, policy: Policy, now: datetime) -> int:
    """Return how many questions somebody may be asked now: in the one message of their day, and within their week."""
    if default is None or not is_working_time(now, default.tz, policy.conversation):
        return 0
    if lately.had_a_message_today(default):
        return 0
    return max(0, min(AT_ONCE, policy.conversation.questions_a_week - lately.asked(default)))


def _hand_over(
    session: Session, default: PersonRow | None, rows: list[tuple[TeamClaimRow, AskRow]], now: datetime
) -> int:
    """Put what goes to a default person into one message."""
    if default is None or not rows:
        return 0  # who cannot answer any more is seen by jobs/ask, which withdraws the question
    for claim, ask in rows:
        claim.handed_at = now
        ask.last_step_at = now  # reminders count from here
    session.flush()
    words = {"kind": "digest", "name": default.name}
    delivery.queue(session, "digest", default.slack_id, words, [ask.id for _, ask in rows], now)
    for claim, ask in rows:
        redraw(session, ask.id)
        ledger.record(
            session,
            "team.default_asked",
            now=now,
            identity_id=ask.identity_id,
            facts={"ask": ask.id, "team": claim.team},
            private={"email": ask.email},
        )
    return len(rows)


class Waiting:
    """What waits for somebody else than one likely owner: Slack, a team, a leaver, who carries out an act."""

    def __init__(self, session: Session) -> None:
        open_claims = select(TeamClaimRow.ask_id).where(TeamClaimRow.handed_at.is_(None))
        self._asks = set(session.scalars(open_claims))
        live = select(HandoverItemRow.identity_id).where(HandoverItemRow.status.in_(LIVE_ITEMS))
        self._identities = set(session.scalars(live))
        self._acts = _under_way(session)
        self._unsaid = set(session.scalars(_unsaid()))

    def why(self, case: Case) -> str | None:
        """Return why nobody else is asked about it now; None: nothing is waited for."""
        if case.ask is not None and case.ask.id in self._unsaid:
            return "asked, and Slack has not taken the message yet"
        if case.ask is not None:
            return "asked, the team may claim it" if case.ask.id in self._asks else None
        if case.is_orphaned and case.identity_id in self._identities:
            return "is being handed over"
        acts = self._acts.get(case.identity_id)
        if acts and all(finding.credential_id in acts or finding.credential_id is None for finding in case.findings):
            return "answered: what was decided is not done yet"
        return None


def _unsaid() -> Select[str]:
    """Return the questions that stand in a message which Slack has not taken yet."""
    on_it = select(CardRow.ask_id).join(DeliveryRow, DeliveryRow.id == CardRow.delivery_id)
    return on_it.where(DeliveryRow.state == delivery.WAITING)


def _under_way(session: Session) -> dict[str, set[str]]:
    """Return by identity the credentials of which somebody's decision is still to be carried out.

    A proposal counts for as long as its credential is as it was: nobody tells us that security has carried it out.
    """
    act, credential = RemediationRow, CredentialRow
    is_as_it_was = and_(
        credential.gone_at.is_(None),
        credential.status == CredentialStatus.ACTIVE,
        or_(credential.rotated_at.is_(None), credential.rotated_at <= act.planned_at),
    )
    live = (
        select(act.identity_id, act.credential_id)
        .join(credential, credential.id == act.credential_id)
        .where(act.status.in_(LIVE), or_(act.status != RemediationStatus.PROPOSED, is_as_it_was))
    )
    found: dict[str, set[str]] = defaultdict(set)
    for identity_id, credential_id in session.execute(live):
        found[identity_id].add(credential_id)
    return found
