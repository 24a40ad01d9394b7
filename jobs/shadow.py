"""Shadow mode: until an admin presses Go, admins see what would be said to whom, and nobody else hears anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import delivery
from jobs import candidates
from jobs.asking import Case
from jobs.judge import withdraw
from nhi import authority
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.policy import Policy
from nhi.shadow import LIVE_SWITCH as LIVE_SWITCH
from nhi.shadow import is_shadow as is_shadow
from nhi.tables import AskFindingRow, AskRow, DeliveryRow, FindingRow, new_id

Json = dict[str, Any]
UNSURE_SHOWN = 3
OFFERED_EVERY = timedelta(days=7)


def would(cases: Sequence[Case]) -> Json:
    """Return whom we would message about how much, and of whom we are least sure."""
    known = [(case, case.candidate) for case in cases if case.candidate is not None]
    guesses = [(case, one) for case, one in known if one.owner["state"] != "confirmed"]
    guesses.sort(key=lambda each: (candidates.confidence(each[1]), each[0].identity_id))
    return {
        "people": len({one.person.email for _, one in known}),
        "identities": len(known),
        "unsure": [_guess(case, one) for case, one in guesses[:UNSURE_SHOWN]],
    }


def _guess(case: Case, candidate: candidates.Candidate) -> Json:
    identity = case.findings[0].identity
    return {
        "name": identity.name,
        "account": identity.account,
        "who": candidate.person.name,
        "email": candidate.person.email,
        "confidence": round(candidates.confidence(candidate), 2),
        "because": candidates.why_you(candidate, shadow=False),
    }


def tell_admins(session: Session, said: Json, policy: Policy, now: datetime, *, is_live: bool, asked_for: bool) -> None:
    """Tell each admin what would be said to whom, with the button that ends shadow mode where it is on.

    Once a week; each time where somebody asked for it.
    """
    for admin in authority.admins(session, policy) if said["identities"] else ():
        lately = select(DeliveryRow.id).where(
            DeliveryRow.recipient == admin.slack_id,
            DeliveryRow.kind == "golive",
            DeliveryRow.created_at > now - OFFERED_EVERY,
        )
        if asked_for or session.scalar(lately.limit(1)) is None:
            offer = None if is_live else new_id()
            delivery.queue(session, "golive", admin.slack_id, said | {"offer": offer}, [], now)


def end_asks(session: Session, now: datetime) -> None:
    """Withdraw what an admin was asked in somebody's stead: the somebody can be asked now."""
    for ask in session.scalars(select(AskRow).where(AskRow.status == AskStatus.OPEN, AskRow.shadow.is_(True))):
        withdraw(session, ask, "the likely owner is asked now", now)
        reopen(session, ask)


def reopen(session: Session, ask: AskRow) -> None:
    """Let what an ended question was about be asked again."""
    for finding in session.scalars(
        select(FindingRow)
        .join(AskFindingRow, AskFindingRow.finding_id == FindingRow.id)
        .where(AskFindingRow.ask_id == ask.id, FindingRow.status == FindingStatus.ASKED)
    ):
        finding.status = FindingStatus.OPEN
