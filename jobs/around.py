"""Keep the evidence that lies around an identity, beside its own tags, as the last scan read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi.identity import Aspect, Evidence, Gap, Identity
from nhi.policy import Policy
from nhi.providers import Provider, TellsOwners
from nhi.records import storable
from nhi.redact import redact, tidy
from nhi.tables import EvidenceRow


def refresh(
    session: Session,
    provider: Provider,
    rows: Sequence[str],
    identities: Sequence[Identity],
    gaps: Sequence[Gap],
    policy: Policy,
    now: datetime,
) -> None:
    """Write what a scan read around these identities; `rows` are the ids of theirs, in the same order.

    What is not told any more does not speak any more, unless a gap may hide it.
    """
    if not isinstance(provider, TellsOwners):
        return
    before = _before(session, provider.owner_sources, rows)
    for row_id, identity in zip(rows, identities, strict=True):
        told = provider.owner_evidence(identity, keys=policy.owners.tags)
        current = {(fact.source, fact.fact): fact for fact in map(_tidied, told)}
        hidden = any(gap.covers(identity.scope, Aspect.OWNER) for gap in gaps)
        for old in before[row_id]:
            if current.pop((old.source, old.fact), None) is not None:
                old.seen_at = now
            elif not hidden:
                session.delete(old)
        session.add_all(_row(row_id, fact, now) for fact in current.values())


def _before(session: Session, sources: Sequence[str], rows: Sequence[str]) -> dict[str, list[EvidenceRow]]:
    found: dict[str, list[EvidenceRow]] = defaultdict(list)
    query = select(EvidenceRow).where(EvidenceRow.identity_id.in_(rows), EvidenceRow.source.in_(sources))
    for row in session.scalars(query):
        found[row.identity_id].append(row)
    return found


def _tidied(fact: Evidence) -> Evidence:
    return Evidence(
        source=fact.source,
        fact=storable(tidy(fact.fact, 300)),
        points_to=storable(redact(fact.points_to)[:320]),
        at=fact.at,
        identity_key=fact.identity_key,
    )


def _row(identity_id: str, fact: Evidence, now: datetime) -> EvidenceRow:
    return EvidenceRow(
        identity_id=identity_id,
        source=fact.source,
        fact=fact.fact,
        points_to=fact.points_to,
        at=fact.at,
        seen_at=now,
    )
