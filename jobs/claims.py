"""Questions to a whole team: asked once in its channel, and at the deadline of its default person."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import delivery
from nhi import ledger
from nhi.answers import redraw
from nhi.escalation import AskStatus, is_working_time
from nhi.passing import AskTeam, claim_deadline
from nhi.policy import Policy
from nhi.roster import Roster
from nhi.tables import AskRow, HandoverItemRow, HandoverItemStatus, TeamClaimRow

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
    return sum(_hand_over(session, claim, ask, roster, policy, now) for claim, ask in due)


def _hand_over(
    session: Session, claim: TeamClaimRow, ask: AskRow, roster: Roster, policy: Policy, now: datetime
) -> bool:
    default = roster.able(ask.email)
    if default is None or not is_working_time(now, default.tz, policy.conversation):
        return False  # who cannot answer any more is seen by jobs/ask, which withdraws the question
    claim.handed_at = now
    ask.last_step_at = now  # reminders count from here
    session.flush()
    delivery.queue(session, "digest", default.slack_id, {"kind": "digest", "name": default.name}, [ask.id], now)
    redraw(session, ask.id)
    ledger.record(
        session,
        "team.default_asked",
        now=now,
        identity_id=ask.identity_id,
        facts={"ask": ask.id, "team": claim.team},
        private={"email": ask.email},
    )
    return True


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
