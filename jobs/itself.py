"""The program itself in the inventory: which identities it runs as, and who answers for it by policy."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from jobs.trails import renew_evidence
from nhi import risk
from nhi.database import Sessions
from nhi.identity import Evidence
from nhi.policy import Policy
from nhi.providers import Provider, TellsItself
from nhi.tables import EvidenceRow, IdentityRow
from nhi.words import sentence


def note(sessions: Sessions, provider: Provider, policy: Policy, now: datetime) -> None:
    """Write evidence of who answers for what this program runs as, so that it is asked about as everything else is."""
    names = provider.itself() if isinstance(provider, TellsItself) else ()
    if not names:
        return
    whom = risk.answers_for_us(policy) or ""  # what it runs as is known, and protected, also where nobody is named
    called = or_(IdentityRow.principal.in_(names), IdentityRow.name.in_({name.rpartition("/")[2] for name in names}))
    query = select(IdentityRow).where(IdentityRow.provider == provider.name, IdentityRow.gone_at.is_(None), called)
    with sessions.begin() as session:
        for row in session.scalars(query):
            if any(risk.is_same(row.principal, name) for name in names):
                said = sentence("evidence.itself")
                fact = Evidence(source=risk.ITSELF, fact=said, points_to=whom, at=None, identity_key=row.key)
                _forget_former(session, row.id, fact)
                renew_evidence(session, row.id, fact, now)


def _forget_former(session: Session, identity_id: str, fact: Evidence) -> None:
    """Delete what was said of it while policy named somebody else, or in another language."""
    former = or_(EvidenceRow.points_to != fact.points_to, EvidenceRow.fact != fact.fact)
    session.execute(
        delete(EvidenceRow).where(EvidenceRow.identity_id == identity_id, EvidenceRow.source == fact.source, former)
    )
