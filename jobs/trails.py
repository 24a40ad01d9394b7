"""Ask a provider's audit trail who made identities and whose sessions use them, as seldom as will do.

Trails are slow (CloudTrail answers twice a second), and what they told of the past does not change. So each identity
with a finding and no confirmed owner is looked up once, and again when it got a new credential. Whose sessions use one
with a finding is asked once a week, of the unowned first: an owned one too may be used by people. What could not be
asked is a gap, and is asked again at the next scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from nhi.database import Sessions, reading
from nhi.findings import FindingStatus
from nhi.identity import Aspect, Evidence, Gap, Identity
from nhi.providers import Provider, SpansAccounts, TellsCreators, TellsUses
from nhi.records import identity_of, storable
from nhi.tables import CredentialRow, EvidenceRow, EvidenceSearchRow, FindingRow, IdentityRow, OwnerRow

CREATORS, USES = "creators", "uses"
USES_AGAIN_AFTER = timedelta(days=7)
TRAIL_LAG = timedelta(hours=1)  # CloudTrail shows an event within 15 minutes, as a rule
LOOKUPS_AT_MOST = 100  # of uses in one scan: 50 seconds' worth
TOGETHER = 25


def gather(sessions: Sessions, provider: Provider, now: datetime) -> list[Gap]:
    """Ask what is not known yet, write it down as evidence, and return what could not be asked."""
    gaps: list[Gap] = []
    if isinstance(provider, TellsCreators):
        asked = _wanted(sessions, provider, _creator_is_unasked(), CREATORS)
        gaps += _write(sessions, CREATORS, asked, provider.creators([one for _, one in asked], now=now), now)
    if isinstance(provider, TellsUses):
        gaps += _gather_uses(sessions, provider, now)
    return gaps


def _gather_uses(sessions: Sessions, provider: Provider, now: datetime) -> list[Gap]:
    """Ask whose sessions use what; the rest has its turn at the next scan, so that no scan waits for long."""
    assert isinstance(provider, TellsUses)
    asked = _wanted(sessions, provider, _uses_are_unasked(now), USES)
    before = sum(provider.api_calls.values())
    gaps: list[Gap] = []
    for start in range(0, len(asked), TOGETHER):
        if sum(provider.api_calls.values()) - before >= LOOKUPS_AT_MOST:
            break
        batch = [one for one in asked[start : start + TOGETHER] if not _is_hidden(one[1], gaps)]
        gaps += _write(sessions, USES, batch, provider.uses([one for _, one in batch], now=now), now)
    return gaps


def _wanted(
    sessions: Sessions, provider: Provider, unasked: ColumnElement[bool], question: str
) -> list[tuple[str, Identity]]:
    """Return the identities with findings that are to be asked about, with their row ids; of makers the unowned alone.

    Of one account, or where the provider spans accounts of all of its own; the unowned and longest unasked first.
    """
    with_findings = select(FindingRow.identity_id).where(FindingRow.status != FindingStatus.RESOLVED)
    owned = select(OwnerRow.identity_id).where(OwnerRow.ended_at.is_(None))
    query: Select[IdentityRow] = select(IdentityRow).where(
        IdentityRow.provider == provider.name,
        IdentityRow.gone_at.is_(None),
        IdentityRow.id.in_(with_findings),
        unasked,
    )
    if question == CREATORS:
        query = query.where(IdentityRow.id.not_in(owned))
    if not isinstance(provider, SpansAccounts):
        query = query.where(IdentityRow.account == provider.account)
    with reading(sessions) as session:
        oldest_first = query.order_by(IdentityRow.id.in_(owned), _searched_at(question).asc().nulls_first())
        found = [(row.id, identity_of(row)) for row in session.scalars(oldest_first)]
    return [one for one in found if provider.holds(one[1])] if isinstance(provider, SpansAccounts) else found


def _creator_is_unasked() -> ColumnElement[bool]:
    """Whether an identity was never looked up since the youngest of its credentials could be in the trail."""
    youngest = (
        select(func.max(CredentialRow.first_seen_at))
        .where(CredentialRow.identity_id == IdentityRow.id, CredentialRow.gone_at.is_(None))
        .scalar_subquery()
    )
    searched = _searched_at(CREATORS)
    return or_(searched.is_(None), searched < youngest)


def _uses_are_unasked(now: datetime) -> ColumnElement[bool]:
    searched = _searched_at(USES)
    return or_(searched.is_(None), searched < now - USES_AGAIN_AFTER)


def _searched_at(question: str) -> ColumnElement[datetime]:
    return (
        select(EvidenceSearchRow.searched_at)
        .where(EvidenceSearchRow.identity_id == IdentityRow.id, EvidenceSearchRow.question == question)
        .scalar_subquery()
    )


def _write(
    sessions: Sessions,
    question: str,
    asked: Sequence[tuple[str, Identity]],
    answers: Iterable[Evidence | Gap],
    now: datetime,
) -> list[Gap]:
    """Write down what was told and who was asked about; return what could not be asked."""
    if not asked:
        return []
    ids = {identity.key: row_id for row_id, identity in asked}
    gaps: list[Gap] = []
    for found in answers:
        if isinstance(found, Gap):
            gaps.append(found)
            continue
        with sessions.begin() as session:
            renew_evidence(session, ids[found.identity_key], found, now)
    done = [row_id for row_id, identity in asked if _is_answered(identity, gaps, now)]
    with sessions.begin() as session:
        for row_id in done:
            session.merge(EvidenceSearchRow(identity_id=row_id, question=question, searched_at=now))
    return gaps


def _is_answered(identity: Identity, gaps: Sequence[Gap], now: datetime) -> bool:
    """Whether a later look would find nothing more: no gap hides it, and it is old enough to be in the trail."""
    made = [identity.created_at, *(credential.created_at for credential in identity.credentials)]
    is_in_trail = all(at is None or at < now - TRAIL_LAG for at in made)
    return is_in_trail and not _is_hidden(identity, gaps)


def _is_hidden(identity: Identity, gaps: Sequence[Gap]) -> bool:
    """Whether its trail would not answer; those of other accounts may."""
    return any(gap.covers(identity.scope, Aspect.OWNER) for gap in gaps)


def evidence_row(identity_id: str, fact: Evidence, now: datetime) -> EvidenceRow:
    """Return a fact as a row that any database can hold."""
    return EvidenceRow(
        identity_id=identity_id,
        source=fact.source,
        fact=storable(fact.fact)[:1000],
        points_to=storable(fact.points_to),
        at=fact.at,
        seen_at=now,
    )


def renew_evidence(session: Session, identity_id: str, fact: Evidence, now: datetime) -> None:
    """Write one fact; where it is known, when it was last true."""
    row = evidence_row(identity_id, fact, now)
    # In another language it is the same fact: of whom a session tells, it tells once.
    is_same = EvidenceRow.points_to == row.points_to if row.source == "session" else EvidenceRow.fact == row.fact
    same = (EvidenceRow.identity_id == identity_id, EvidenceRow.source == row.source, is_same)
    known = session.scalar(select(EvidenceRow).where(*same))
    if known is None:
        session.add(row)
        session.flush()
    else:
        known.at, known.seen_at, known.fact = fact.at, now, row.fact
