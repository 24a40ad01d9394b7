"""Questions to a whole team: asked once in its channel, and at the deadline of its default person."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import delivery
from jobs import asking
from nhi import ledger
from nhi.answers import redraw
from nhi.escalation import AskStatus, is_working_time
from nhi.passing import AskTeam, claim_deadline
from nhi.policy import Policy
from nhi.roster import Roster
from nhi.tables import AskRow, HandoverItemRow, HandoverItemStatus, PersonRow, TeamClaimRow

AT_ONCE = 6  # questions of one message
LIVE_ITEMS = (HandoverItemStatus.OPEN, HandoverItemStatus.PROPOSED)


def begin(session: Session, ask: AskRow, team: AskTeam, tz: str, policy: Policy, now: datetime) -> TeamClaimRow:
    """Ask a team in its channel about what `ask` is about. `tz` is the default person's: Friday 17:00 is theirs."""
    deadline = claim_deadline(now, policy.people.claim_within, tz, policy.conversation.working_hours)
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
    """Ask the default person where the team's time is over; return of how many. It is not theirs before they say so."""
    due = session.execute(
        select(TeamClaimRow, AskRow)
        .join(AskRow, AskRow.id == TeamClaimRow.ask_id)
        .where(AskRow.status == AskStatus.OPEN, TeamClaimRow.handed_at.is_(None), TeamClaimRow.deadline_at <= now)
    ).all()
    if not due:
        return 0
    roster = Roster.read(session, policy, now)
    by_default: dict[str, list[tuple[TeamClaimRow, AskRow]]] = defaultdict(list)
    for claim, ask in due:
        by_default[ask.email].append((claim, ask))
    return sum(_hand_over(session, roster.able(email), rows, policy, now) for email, rows in by_default.items())


def _hand_over(
    session: Session, default: PersonRow | None, rows: list[tuple[TeamClaimRow, AskRow]], policy: Policy, now: datetime
) -> int:
    """Put all of a default person's into the one message of their day; what has no room waits for the next."""
    if default is None or not is_working_time(now, default.tz, policy.conversation):
        return 0  # who cannot answer any more is seen by jobs/ask, which withdraws the question
    if asking.had_a_message_today(session, default, now):
        return 0
    rows = rows[:AT_ONCE]
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
    """What waits for somebody else than one likely owner: a team that may claim, a leaver who hands over."""

    def __init__(self, session: Session) -> None:
        open_claims = select(TeamClaimRow.ask_id).where(TeamClaimRow.handed_at.is_(None))
        self._asks = set(session.scalars(open_claims))
        live = select(HandoverItemRow.identity_id).where(HandoverItemRow.status.in_(LIVE_ITEMS))
        self._identities = set(session.scalars(live))

    def why(self, identity_id: str, ask: AskRow | None, *, owner_left: bool) -> str | None:
        """Return why nobody else is asked about it now; None: nothing is waited for."""
        if ask is not None:
            return "asked, the team may claim it" if ask.id in self._asks else None
        return "is being handed over" if owner_left and identity_id in self._identities else None
