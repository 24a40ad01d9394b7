"""The program itself in the inventory: which identities it runs as, and who answers for it by policy."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from jobs.trails import renew_evidence
from nhi import risk
from nhi.database import Sessions
from nhi.identity import Evidence
from nhi.policy import Policy
from nhi.providers import Provider, SpansAccounts, TellsItself
from nhi.tables import IdentityRow

FACT = "This program itself runs as it; policy names who answers for the program"


def note(sessions: Sessions, provider: Provider, policy: Policy, now: datetime) -> None:
    """Write evidence of who answers for what this program runs as, so that it is asked about as everything else is."""
    email = risk.answers_for_us(policy)
    names = provider.itself() if isinstance(provider, TellsItself) else ()
    if not names or email is None:
        return
    query = select(IdentityRow).where(IdentityRow.provider == provider.name, IdentityRow.gone_at.is_(None))
    if not isinstance(provider, SpansAccounts):
        query = query.where(IdentityRow.account == provider.account)
    with sessions.begin() as session:
        for row in session.scalars(query):
            if any(risk.is_same(row.principal, name) for name in names):
                fact = Evidence(source=risk.ITSELF, fact=FACT, points_to=email, at=None, identity_key=row.key)
                renew_evidence(session, row.id, fact, now)
