"""Look at every source, write down what was seen and what was not, and find what breaks a rule.

Reads clouds, never writes to them. Writes in small transactions, so that a click is never kept waiting by a scan; a
scan that dies half way is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import around, exercises, itself, judge, trails
from nhi import findings, inventory, ledger, permission_records
from nhi.database import Sessions, reading
from nhi.environment import Accounts, accounts_of
from nhi.identity import DELEGATED, Credential, Gap, Identity
from nhi.policy import Policy, Source
from nhi.providers import Connect, LooksAtSome, Memory, Progress, Provider, ReadsDocuments, SpansAccounts, TellsQueries
from nhi.records import identity_of, storable, write_identity
from nhi.tables import CredentialRow, EvidenceRow, GapRow, IdentityRow, ScanRow, new_id

BATCH = 50  # identities a transaction: about 0.1 s of write lock on SQLite

OnProgress = Callable[[str, Progress], None]


@dataclass
class SourceTally:
    """What one source showed."""

    provider: str
    scope: str
    identities: int = 0
    credentials: int = 0
    gaps: list[Gap] = field(default_factory=list)
    api_calls: dict[str, int] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)  # with which parameters it was asked, by action
    opened: int = 0
    resolved: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "scope": self.scope,
            "identities": self.identities,
            "credentials": self.credentials,
            "complete": not self.gaps,
            "gaps": [{"scope": gap.scope, "reason": gap.reason} for gap in self.gaps],
            "api_calls": dict(sorted(self.api_calls.items())),
            "queries": dict(sorted(self.queries.items())),
        }


@dataclass(frozen=True)
class Tally:
    """What one scan did, source by source."""

    sources: tuple[SourceTally, ...]
    gaps: tuple[Gap, ...]  # beside the sources: the directory
    seconds: float

    @property
    def complete(self) -> bool:
        return not self.gaps and all(not source.gaps for source in self.sources)

    @property
    def opened(self) -> int:
        return sum(source.opened for source in self.sources)

    @property
    def resolved(self) -> int:
        return sum(source.resolved for source in self.sources)

    def as_json(self) -> dict[str, Any]:
        return {
            "sources": [source.as_json() for source in self.sources],
            "gaps": [{"scope": gap.scope, "reason": gap.reason} for gap in self.gaps],
            "opened": self.opened,
            "resolved": self.resolved,
            "seconds": round(self.seconds, 3),
        }

    def sentence(self) -> str:
        """Return the run's account: `Saw 60 identities and 71 credentials in 1 source. Opened 40 findings, …`."""
        identities = sum(source.identities for source in self.sources)
        credentials = sum(source.credentials for source in self.sources)
        text = (
            f"Saw {identities} identities and {credentials} credentials in {len(self.sources)}"
            f" source{'' if len(self.sources) == 1 else 's'}. Opened {self.opened} findings, resolved {self.resolved}."
        )
        gaps = [gap for source in self.sources for gap in source.gaps] + list(self.gaps)
        if gaps:
            text += " Could not see " + "; ".join(f"{gap.scope} ({gap.reason})" for gap in gaps[:5])
            text += f" and {len(gaps) - 5} more places." if len(gaps) > 5 else "."
        return text


def scan_source(
    sessions: Sessions, source: Source, connect: Connect, policy: Policy, now: datetime, progress: OnProgress
) -> SourceTally:
    """Look at one source and write down everything about it: inventory, gaps, findings, evidence of owners."""
    provider = connect(source)
    identities, gaps = _gather(sessions, provider, policy, now, progress)
    tally = SourceTally(provider=provider.name, scope=provider.account, gaps=gaps)
    tally.identities = len(identities)
    tally.credentials = sum(len(identity.credentials) for identity in identities)
    _write_inventory(sessions, provider, identities, tally, policy, now)
    itself.note(sessions, provider, policy, now)
    tally.gaps += trails.gather(sessions, provider, now)
    gaps, opened, resolved = exercises.gather(sessions, provider, policy, now)
    tally.gaps, tally.opened, tally.resolved = tally.gaps + gaps, tally.opened + opened, tally.resolved + resolved
    tally.api_calls = dict(provider.api_calls)
    tally.queries = dict(provider.queries) if isinstance(provider, TellsQueries) else {}
    with sessions.begin() as session:
        _write_scan(session, tally, now)
    return tally


def _gather(
    sessions: Sessions, provider: Provider, policy: Policy, now: datetime, progress: OnProgress
) -> tuple[list[Identity], list[Gap]]:
    def matters(identity: Identity, credential: Credential) -> bool:
        return findings.matters(identity, credential, policy, now)

    identities: list[Identity] = []
    gaps: list[Gap] = []
    for seen in provider.scan(memory=_memory(sessions, provider), matters=matters, now=now):
        match seen:
            case Identity():
                identities.append(seen)
            case Gap():
                gaps.append(seen)
            case Progress():
                progress(provider.account, seen)
    return identities, gaps


def _memory(sessions: Sessions, provider: Provider) -> Memory:
    with reading(sessions) as session:
        rows = session.execute(
            select(IdentityRow.key, CredentialRow.key, CredentialRow.external_id)
            .join(CredentialRow, CredentialRow.identity_id == IdentityRow.id)
            .where(IdentityRow.provider == provider.name, CredentialRow.external_id.is_not(None))
        )
        ids = {(identity, credential): str(key) for identity, credential, key in rows}
        scopes = IdentityRow.tags[DELEGATED].as_string()
        accounts = select(IdentityRow.key, scopes).where(
            IdentityRow.provider == provider.name, IdentityRow.kind == "service_account", scopes.is_not(None)
        )
        delegated = {key: str(told) for key, told in session.execute(accounts)}
        return Memory(credential_ids=ids, documents=permission_records.documents(session), delegated=delegated)


def _write_inventory(
    sessions: Sessions,
    provider: Provider,
    identities: Sequence[Identity],
    tally: SourceTally,
    policy: Policy,
    now: datetime,
) -> None:
    with reading(sessions) as session:
        known = _known(session, provider)
    changes = inventory.reconcile(identities, known, tally.gaps)
    accounts = accounts_of([*known, *identities])
    if isinstance(provider, ReadsDocuments) and provider.documents:
        with sessions.begin() as session:
            permission_records.write_documents(session, provider.documents, now)
    for batch in _batches([*changes.appeared, *changes.updated]):
        with sessions.begin() as session:
            _write_batch(session, provider, batch, tally, accounts, policy, now)
    for gone in changes.gone:
        with sessions.begin() as session:
            row = _rows(session, provider, [gone.key])[gone.key]
            tally.resolved += judge.mark_gone(session, row, now)


def _write_batch(
    session: Session,
    provider: Provider,
    batch: Sequence[Identity],
    tally: SourceTally,
    accounts: Accounts,
    policy: Policy,
    now: datetime,
) -> None:
    known = _rows(session, provider, [identity.key for identity in batch])
    rows = [_write(session, known.get(identity.key), identity, now) for identity in batch]
    session.flush()
    permission_records.write(session, [row.id for row in rows], batch, tally.gaps, now)
    around.refresh(session, provider, [row.id for row in rows], batch, tally.gaps, policy, now)
    before = judge.Before(session, rows, now, accounts)
    for row, identity in zip(rows, batch, strict=True):
        _write_tags(session, row, before.tags[row.id], identity, policy, now)
        opened, resolved = judge.judge(session, row, before, tally.gaps, policy, now)
        tally.opened += opened
        tally.resolved += resolved


def _known(session: Session, provider: Provider) -> list[Identity]:
    """Return what is known, and not gone, of everything that this source holds."""
    rows = session.scalars(_of_account(provider, gone=False))
    known = [identity_of(row) for row in rows]
    if isinstance(provider, SpansAccounts):
        known = [one for one in known if provider.holds(one)]
    return [one for one in known if provider.looks_at(one)] if isinstance(provider, LooksAtSome) else known


def _of_account(provider: Provider, *, gone: bool) -> Any:
    """Select the source's account; of a source that spans accounts, all of its provider's: keys are unique there."""
    query = select(IdentityRow).where(IdentityRow.provider == provider.name)
    if not isinstance(provider, SpansAccounts):
        query = query.where(IdentityRow.account == provider.account)
    return query if gone else query.where(IdentityRow.gone_at.is_(None))


def _rows(session: Session, provider: Provider, keys: Sequence[str]) -> dict[str, IdentityRow]:
    query = _of_account(provider, gone=True).where(IdentityRow.key.in_(keys))
    return {row.key: row for row in session.scalars(query)}


def _batches(identities: Sequence[Identity]) -> Iterator[Sequence[Identity]]:
    for start in range(0, len(identities), BATCH):
        yield identities[start : start + BATCH]


def _write(session: Session, row: IdentityRow | None, identity: Identity, now: datetime) -> IdentityRow:
    appeared = row is None or row.gone_at is not None
    if row is None:
        row = IdentityRow(id=new_id(), first_seen_at=now)
        session.add(row)
    write_identity(row, identity, now)
    if appeared:
        facts = {"principal": identity.principal, "kind": identity.kind, "credentials": len(identity.credentials)}
        ledger.record(session, "identity.seen", now=now, identity_id=row.id, facts=facts)
    return row


def _write_tags(
    session: Session,
    row: IdentityRow,
    before: Sequence[EvidenceRow],
    identity: Identity,
    policy: Policy,
    now: datetime,
) -> None:
    """Keep the tags' evidence as it is now: a tag that is gone does not speak any more."""
    current = {fact.fact: fact for fact in judge.tag_evidence(identity, policy)}
    for old in before:
        if old.fact in current:
            old.seen_at = now
            del current[old.fact]
        else:
            session.delete(old)
    for fact in current.values():
        session.add(trails.evidence_row(row.id, fact, now))


def _write_scan(session: Session, tally: SourceTally, now: datetime) -> None:
    session.add(
        ScanRow(
            id=new_id(),
            provider=tally.provider,
            account=tally.scope,
            started_at=now,
            finished_at=now,
            complete=not tally.gaps,
            identities=tally.identities,
            credentials=tally.credentials,
            api_calls=tally.api_calls,
            gaps=[
                GapRow(id=new_id(), scope=storable(gap.scope), reason=storable(gap.reason), hides=sorted(gap.hides))
                for gap in tally.gaps
            ],
        )
    )
    ledger.record(session, "scan.finished", now=now, facts=tally.as_json())
