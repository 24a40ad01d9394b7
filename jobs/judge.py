"""Write down which rules an identity breaks now, and what that means for the questions that are open about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import findings, ledger, permission_records, profiles, roster
from nhi.answers import redraw, resolve
from nhi.environment import NONE_KNOWN, Accounts
from nhi.escalation import AskStatus
from nhi.findings import OWNERSHIP, Finding, FindingKind, FindingStatus, Known
from nhi.identity import Access, Evidence, Gap, Identity
from nhi.misuse import CONDUCT_OF
from nhi.ownership import tag_evidence as evidence_of_tags
from nhi.policy import Policy
from nhi.records import evidence_of, identity_of
from nhi.redact import redact, tidy
from nhi.tables import AskFindingRow, AskRow, EvidenceRow, FindingRow, IdentityRow, new_id
from nhi.words import sentence


class Before:
    """What is known of some identities before they are judged, read in a few queries for all of them."""

    def __init__(
        self, session: Session, rows: Sequence[IdentityRow], now: datetime, accounts: Accounts = NONE_KNOWN
    ) -> None:
        self.accounts = accounts
        ids = [row.id for row in rows]
        self.findings: dict[str, list[FindingRow]] = defaultdict(list)
        for finding in session.scalars(
            select(FindingRow).where(FindingRow.identity_id.in_(ids), FindingRow.status != FindingStatus.RESOLVED)
        ):
            self.findings[finding.identity_id].append(finding)
        self.resolved = {
            tuple(found)
            for found in session.execute(
                select(FindingRow.identity_id, FindingRow.credential_id, FindingRow.kind)
                .where(FindingRow.identity_id.in_(ids), FindingRow.status == FindingStatus.RESOLVED)
                .distinct()
            )
        }
        self.tags: dict[str, list[EvidenceRow]] = defaultdict(list)
        for fact in session.scalars(
            select(EvidenceRow).where(EvidenceRow.identity_id.in_(ids), EvidenceRow.source == "tag")
        ):
            self.tags[fact.identity_id].append(fact)
        self.owner_active = roster.owners_active(session, ids, now)  # of those that have a confirmed owner
        self._sessions: dict[str, list[EvidenceRow]] = defaultdict(list)
        for fact in session.scalars(
            select(EvidenceRow).where(EvidenceRow.identity_id.in_(ids), EvidenceRow.source == "session")
        ):
            self._sessions[fact.identity_id].append(fact)
        self.conduct = profiles.lately(session, rows, (now - CONDUCT_OF).date())
        self._access: dict[str, Access] = {}
        self._sets = permission_records.sets_in_force(session, ids)
        self._uses = permission_records.uses(session, ids)

    def identity(self, row: IdentityRow) -> Identity:
        """Return the identity with what it may do and what of it it uses, where that is known."""
        found = self._sets.get(row.id)
        if found is not None and found.digest not in self._access:  # many have the same
            self._access[found.digest] = permission_records.access_of(found.body)
        access = self._access[found.digest] if found is not None else None
        return replace(identity_of(row), access=access, exercise=self._uses.get(row.id))

    def sessions(self, row: IdentityRow) -> Sequence[Evidence]:
        """Return who took it, as far as a trail was asked."""
        return [evidence_of(fact, row.key) for fact in self._sessions[row.id]]


def judge(
    session: Session, row: IdentityRow, before: Before, gaps: Sequence[Gap], policy: Policy, now: datetime
) -> tuple[int, int]:
    """Assess one identity and write what changed; return how many findings were opened and resolved."""
    identity = before.identity(row)
    open_rows = {finding.id: finding for finding in before.findings[row.id]}
    keys = {credential.id: credential.key for credential in row.credentials}
    known = [_known(finding, keys) for finding in open_rows.values()]
    active, sessions = before.owner_active.get(row.id), before.sessions(row)
    assessed = findings.assess(
        identity,
        owner_active=active,
        gaps=gaps,
        policy=policy,
        now=now,
        sessions=sessions,
        conduct=before.conduct.get(row.id),
        accounts=before.accounts,
    )
    changes = findings.reconcile(assessed, known, identity=identity, gaps=gaps, now=now)
    for finding in changes.opened:
        _open_finding(session, row, finding, before, now)
    for finding_id, finding in changes.kept:
        _refresh(open_rows[finding_id], finding)
    for finding_id in changes.expired:
        _wake(session, open_rows[finding_id], now)
    for finding_id, because in changes.resolved:
        resolve(session, open_rows[finding_id], because, now)
    if changes.resolved:
        settle_asks(session, row.id, now)
    return len(changes.opened), len(changes.resolved)


def judge_ownership(session: Session, rows: Sequence[IdentityRow], policy: Policy, now: datetime) -> tuple[int, int]:
    """Assess between scans only whether these identities have an owner; return how many were opened and resolved."""
    return _judge_only(session, rows, OWNERSHIP, policy, now)


def judge_permissions(session: Session, rows: Sequence[IdentityRow], policy: Policy, now: datetime) -> tuple[int, int]:
    """Assess only what these identities may do; return how many were opened and resolved."""
    return _judge_only(session, rows, frozenset({FindingKind.OVERPRIVILEGED}), policy, now)


def _judge_only(
    session: Session, rows: Sequence[IdentityRow], kinds: frozenset[FindingKind], policy: Policy, now: datetime
) -> tuple[int, int]:
    before, opened, resolved = Before(session, rows, now), 0, 0
    for row in rows:
        identity, active = before.identity(row), before.owner_active.get(row.id)
        assessed = findings.assess(identity, owner_active=active, gaps=(), policy=policy, now=now)
        old = {finding.id: finding for finding in before.findings[row.id] if finding.kind in kinds}
        changes = findings.reconcile(
            [finding for finding in assessed if finding.kind in kinds],
            [_known(finding, {}) for finding in old.values()],
            identity=identity,
            gaps=(),
            now=now,
        )
        for finding in changes.opened:
            _open_finding(session, row, finding, before, now)
        for finding_id, finding in changes.kept:
            _refresh(old[finding_id], finding)
        for finding_id, because in changes.resolved:
            resolve(session, old[finding_id], because, now)
        if changes.resolved:
            settle_asks(session, row.id, now)
        opened, resolved = opened + len(changes.opened), resolved + len(changes.resolved)
    return opened, resolved


def _open(session: Session, row: IdentityRow) -> list[FindingRow]:
    query = select(FindingRow).where(FindingRow.identity_id == row.id, FindingRow.status != FindingStatus.RESOLVED)
    return list(session.scalars(query))


def _known(finding: FindingRow, keys: dict[str, str]) -> Known:
    return Known(
        id=finding.id,
        kind=finding.kind,
        credential_key=keys.get(finding.credential_id) if finding.credential_id else None,
        status=finding.status,
        justified_until=finding.justified_until,
    )


def _open_finding(session: Session, row: IdentityRow, finding: Finding, before: Before, now: datetime) -> None:
    """Write a new finding. One that was resolved before gets a new row too, as history is not rewritten."""
    credential = next((c for c in row.credentials if c.key == finding.credential_key), None)
    opened = FindingRow(
        id=new_id(),
        identity_id=row.id,
        credential_id=credential.id if credential else None,
        kind=finding.kind,
        status=FindingStatus.OPEN,
        opened_at=now,
        severity=finding.severity,
        owasp=finding.owasp,
        since=finding.since,
        why=finding.why,
        coverage=finding.coverage,
    )
    session.add(opened)
    facts = {"finding": opened.id, "kind": finding.kind, "since": finding.since, "why": finding.why}
    again = (row.id, opened.credential_id, opened.kind) in before.resolved
    kind = "finding.reopened" if again else "finding.opened"
    ledger.record(session, kind, now=now, identity_id=row.id, facts=facts)


def _refresh(row: FindingRow, finding: Finding) -> None:
    """Bring the sentence up to date. A start told exactly follows the facts; any other stays the earliest known."""
    row.since = finding.since if finding.exact else min(row.since, finding.since)
    row.severity, row.why, row.coverage = finding.severity, finding.why, finding.coverage


def _wake(session: Session, row: FindingRow, now: datetime) -> None:
    row.status, row.justified_until = FindingStatus.OPEN, None
    session.flush()
    facts = {"finding": row.id, "kind": row.kind}
    ledger.record(session, "finding.expired", now=now, identity_id=row.identity_id, facts=facts)


def mark_gone(session: Session, row: IdentityRow, now: datetime) -> int:
    """Write that an identity is not there any more; return how many findings that resolved."""
    row.gone_at = now
    for credential in row.credentials:
        credential.gone_at = credential.gone_at or now
    ledger.record(session, "identity.gone", now=now, identity_id=row.id, facts={"principal": row.principal})
    resolved = _open(session, row)
    for finding in resolved:
        resolve(session, finding, sentence("findings.resolved_identity_gone"), now)
    settle_asks(session, row.id, now)
    return len(resolved)


def settle_asks(session: Session, identity_id: str, now: datetime) -> None:
    """Withdraw an open question about which nothing is left to ask, and redraw its cards either way."""
    for ask in session.scalars(
        select(AskRow).where(AskRow.identity_id == identity_id, AskRow.status == AskStatus.OPEN)
    ):
        left = session.scalar(
            select(FindingRow.id)
            .join(AskFindingRow, AskFindingRow.finding_id == FindingRow.id)
            .where(AskFindingRow.ask_id == ask.id, FindingRow.status != FindingStatus.RESOLVED)
            .limit(1)
        )
        if left is None:
            withdraw(session, ask, "nothing is left to ask", now)
        redraw(session, ask.id)


def withdraw(session: Session, ask: AskRow, because: str, now: datetime) -> None:
    """End a question that nobody needs to answer any more."""
    ask.status, ask.ended_at = AskStatus.WITHDRAWN, now
    session.flush()
    facts = {"ask": ask.id, "because": because}
    ledger.record(session, "ask.withdrawn", now=now, identity_id=ask.identity_id, facts=facts)
    redraw(session, ask.id)


def tag_evidence(identity: Identity, policy: Policy) -> tuple[Evidence, ...]:
    """Return what tags say of the owner, tidied: a tag may hold anything that somebody typed."""
    return tuple(
        Evidence(
            source=fact.source,
            fact=tidy(fact.fact, 300),
            points_to=redact(fact.points_to)[:320],
            at=fact.at,
            identity_key=fact.identity_key,
        )
        for fact in evidence_of_tags(identity, policy.owners)
    )
