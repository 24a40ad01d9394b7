"""Acts named by their ids, as cards and terminals show them: found, and taken back by a command."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import decisions
from nhi.answers import attest_beside
from nhi.errors import OutOfDate
from nhi.escalation import Verdict
from nhi.tables import AttestationRow, PersonRow, RemediationRow
from nhi.words import sentence


def find(session: Session, start: str) -> RemediationRow:
    """Return the remediation whose id starts so. Raises OutOfDate where there is none, or more than one."""
    rows = session.scalars(select(RemediationRow).where(RemediationRow.id.startswith(start, autoescape=True)).limit(2))
    found = list(rows) if start else []
    if len(found) != 1:
        raise OutOfDate(sentence("refusals.acts_start_so", several=bool(found), start=start))
    return found[0]


def undo(
    session: Session, row: RemediationRow, who: PersonRow, *, by_right: str, said: str, now: datetime
) -> AttestationRow:
    """Record that somebody with the right to it takes an act back by its id; `said` is the command that they gave.

    Raises OutOfDate where there is nothing (left) to undo.
    """
    decisions.request_undo(session, row.id, by=who.email, now=now)
    return attest_beside(
        session,
        who,
        Verdict.UNDO,
        now,
        identity_id=row.identity_id,
        by_right=by_right,
        shown={"command": said, "remediation": row.id},
        ask_id=row.ask_id,
        credential_id=row.credential_id,
    )
