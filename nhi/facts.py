"""What is known, in the shapes that interface.md promises: read from the database, never decided here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, selectinload

from nhi import act_facts, environment, helps, permission_facts, roster, steps
from nhi.activity_facts import activity_of, unusual
from nhi.findings import FindingStatus
from nhi.identity import Evidence
from nhi.ledger import instant
from nhi.ownership import Directory, LikelyOwner, Note, Ranking, explain, rank
from nhi.policy import Policy
from nhi.records import evidence_of, identity_of, person_of, storable
from nhi.tables import (
    AttestationRow,
    CredentialRow,
    EventRow,
    EvidenceRow,
    FindingRow,
    IdentityRow,
    OwnerRow,
    PersonRow,
    RemediationRow,
)
from nhi.words import sentence

Json = dict[str, Any]
MOST_MATCHES = 20
MOST_WORDS = 500
MOST_RIVALS = 3
LONGEST_NAME = 255  # in characters; SQLite refuses a LIKE pattern of more than 50,000 bytes


def when(moment: datetime | None) -> str | None:
    """Return an instant for JSON; None stays None, with the meaning it has there."""
    return instant(moment) if moment else None


def identity_json(row: IdentityRow) -> Json:
    return {
        "id": row.id,
        "provider": row.provider,
        "kind": row.kind,
        "account": row.account,
        "name": row.name,
        "principal": row.principal,
        "custody": row.custody.value,
        "privileged": row.privileged,
        "created_at": when(row.created_at),
        "last_used_at": when(last_use(row)),
        "use_gap": row.use_gap,
        "gone_at": when(row.gone_at),
    }


def environment_json(row: IdentityRow, policy: Policy) -> Json | None:
    """Return the environment that an identity belongs to, and how that is known; None: nothing tells."""
    found = environment.belongs(identity_of(row), policy)
    return {"name": found.name, "because": found.because} if found else None


def last_use(row: IdentityRow) -> datetime | None:
    """Return the last use known of an identity, by itself or by any of its credentials; None: never, or not known."""
    uses = [row.last_used_at, *(credential.last_used_at for credential in row.credentials)]
    return max((use for use in uses if use is not None), default=None)


def credential_json(row: CredentialRow) -> Json:
    """Return a credential; its `id` is the provider's public id, or null where none is known."""
    return {
        "id": row.external_id,
        "row": row.id,
        "kind": row.kind,
        "status": row.status.value,
        "created_at": when(row.created_at),
        "rotated_at": when(row.rotated_at),
        "last_used_at": when(row.last_used_at),
        "last_used_service": row.last_used_service,
        "last_used_region": row.last_used_region,
        "use_gap": row.use_gap,
    }


def finding_json(row: FindingRow, owner: Json) -> Json:
    return {
        "id": row.id,
        "kind": row.kind.value,
        "owasp": row.owasp or None,
        "severity": row.severity.value,
        "status": row.status.value,
        "since": when(row.since),
        "why": row.why,
        "coverage": row.coverage,
        "justified_until": when(row.justified_until),
        "identity": identity_json(row.identity),
        "credential": credential_json(row.credential) if row.credential else None,
        "owner": owner,
    }


def directory(session: Session) -> Directory:
    """Return everybody that was ever looked up in Slack, without what other sources know: see nhi.roster."""
    return Directory(person_of(row) for row in session.scalars(select(PersonRow)))


def evidence(session: Session, identity_ids: Sequence[str]) -> dict[str, list[Evidence]]:
    """Return the evidence of these identities, each list in no order."""
    found: dict[str, list[Evidence]] = {identity_id: [] for identity_id in identity_ids}
    for start in range(0, len(identity_ids), 500):
        chunk = identity_ids[start : start + 500]
        for row in session.scalars(select(EvidenceRow).where(EvidenceRow.identity_id.in_(chunk))):
            found[row.identity_id].append(evidence_of(row, row.identity_id))
    return found


def owners(session: Session, identity_ids: Sequence[str], policy: Policy, now: datetime) -> dict[str, Json]:
    """Return who owns each identity: confirmed, likely with its evidence, or none."""
    people = roster.directory(session, policy, now)
    facts = evidence(session, identity_ids)
    wanted = set(identity_ids)
    confirmed = {
        row.identity_id: row
        for row in session.scalars(select(OwnerRow).where(OwnerRow.ended_at.is_(None)))
        if row.identity_id in wanted
    }
    return {
        identity_id: _owner_json(confirmed.get(identity_id), facts[identity_id], people, policy, now)
        for identity_id in identity_ids
    }


def _owner_json(
    confirmed: OwnerRow | None, facts: list[Evidence], people: Directory, policy: Policy, now: datetime
) -> Json:
    if confirmed is not None:
        person = people.find(confirmed.email)
        said = sentence("evidence.claimed", email=confirmed.email)
        claimed = {"source": "claim", "fact": said, "at": when(confirmed.since)}
        active = bool(person and person.may_own)
        return {
            "state": "confirmed",
            "email": confirmed.email,
            "name": person.name if person else confirmed.email,
            "active": active,
            "confidence": 1.0,
            "evidence": [claimed],
            "others": [] if active else _heirs(confirmed, facts, people, policy, now),
        }
    ranking = explain(facts, directory=people, people=policy.people, owners=policy.owners, now=now)
    notes = [note_json(note) for note in ranking.notes]
    if not ranking.likely:
        return {
            "state": "none",
            "email": None,
            "confidence": 0.0,
            "evidence": [evidence_json(fact) for fact in _seen(facts, ranking)],
            "possible": [_possible_json(one, people) for one in ranking.possible[:MOST_RIVALS]],
            "would_help": [{"source": source, "words": helps.in_words(source, facts)} for source in ranking.would_help],
            "notes": notes,
        }
    ranked = ranking.likely
    best = ranked[0]
    person = people.find(best.email)
    return {
        "state": "likely",
        "email": best.email,
        "name": person.name if person else best.email,
        "confidence": best.confidence,
        "evidence": [evidence_json(fact) for fact in best.evidence],
        "others": [_possible_json(other, people) for other in ranked[1 : 1 + MOST_RIVALS]],
        "notes": notes,
    }


def _possible_json(one: LikelyOwner, people: Directory) -> Json:
    """Return a rival, or who it might be where nobody is known: side by side, each with their own reasons."""
    person = people.find(one.email)
    return {
        "email": one.email,
        "name": person.name if person else one.email,
        "confidence": one.confidence,
        "evidence": [evidence_json(fact) for fact in one.evidence],
    }


def _seen(facts: Sequence[Evidence], ranking: Ranking) -> list[Evidence]:
    """Return the evidence where nobody is known: that of the likeliest first, so that the best reasons are shown."""
    ordered = [fact for one in ranking.possible for fact in one.evidence] + list(facts)
    return list(dict.fromkeys(ordered))


def note_json(note: Note) -> Json:
    """Return why a fact speaks for nobody, or for more than one, in a sentence."""
    words = sentence("evidence.note", value=note.value, fit=note.fit.value, nearest=note.nearest)
    return {"fit": note.fit.value, "fact": note.fact.fact, "words": words, "nearest": note.nearest}


def _heirs(gone: OwnerRow, facts: list[Evidence], people: Directory, policy: Policy, now: datetime) -> list[Json]:
    """Return who else evidence names for what somebody owned who is gone, the likeliest first, each with reasons."""
    ranked = rank(facts, directory=people, people=policy.people, owners=policy.owners, now=now)
    return [
        {
            "email": other.email,
            "confidence": other.confidence,
            "evidence": [evidence_json(fact) for fact in other.evidence],
        }
        for other in ranked[:4]
        if other.email != gone.email
    ]


def evidence_json(fact: Evidence) -> Json:
    return {"source": fact.source, "fact": fact.fact, "at": when(fact.at), "url": fact.url}


def open_findings(session: Session, identity_ids: Iterable[str] | None = None) -> list[FindingRow]:
    """Return the findings that are not resolved, the most severe and oldest first; of these identities, or of all."""
    query = (
        select(FindingRow)
        .where(FindingRow.status != FindingStatus.RESOLVED)
        .options(selectinload(FindingRow.identity), selectinload(FindingRow.credential))
    )
    if identity_ids is not None:
        query = query.where(FindingRow.identity_id.in_(list(identity_ids)))
    rows = list(session.scalars(query))
    return sorted(rows, key=lambda row: (-rank_of(row), row.since, row.id))


def rank_of(row: FindingRow) -> int:
    """Return how severe a finding is, as a number that rises."""
    return ["low", "medium", "high", "critical"].index(row.severity.value)


_ARN = re.compile(r"arn:[a-z-]+:[a-z0-9-]*:[a-z0-9-]*:\d*:[A-Za-z0-9+=,.@_/:-]+")
_ASSUMED = re.compile(r"arn:[a-z-]+:sts::(\d+):assumed-role/([^/\s]+)/\S*")
_ID = re.compile(r"[A-Z0-9]{16,128}")  # as IAM writes ids; in a long log they are looked for before other words
_EMAIL = re.compile(r"[^@\s<>]{1,64}@[a-z0-9.-]{1,255}")
_WORD = re.compile(r"[A-Za-z0-9+=,.@_-]{2,}")


def find(session: Session, query: str) -> list[IdentityRow]:
    """Return the identities that a text names: by ARN, key id, unique id, name or owner's e-mail, anywhere in it.

    Where nothing is named exactly and the text is one word, names that hold it. At most MOST_MATCHES, those still
    there first.
    """
    text = storable(query).strip().strip("`<>\"'")[:20_000]
    arns = {arn.rstrip(".,:") for arn in _ARN.findall(text)}
    words = {word.strip(".,") for word in _WORD.findall(text)} | {text}
    roles = [(account, role) for account, role in _ASSUMED.findall(text)]
    words = set(sorted(words, key=lambda word: (not _ID.fullmatch(word), word))[:MOST_WORDS])
    lowered = {word.lower() for word in words}
    by_credential = select(CredentialRow.identity_id).where(CredentialRow.external_id.in_(words))
    by_owner = select(OwnerRow.identity_id).where(OwnerRow.email.in_(lowered), OwnerRow.ended_at.is_(None))
    conditions = [
        IdentityRow.principal.in_(arns | {text}),
        IdentityRow.key.in_(words),
        IdentityRow.id.in_(words),
        IdentityRow.id.in_(by_credential),
        IdentityRow.id.in_(by_owner),
        *(
            (IdentityRow.account == account) & (IdentityRow.name == role) & (IdentityRow.kind == "iam_role")
            for account, role in roles
        ),
    ]
    # A name inside an ARN must not also match identities of the same name in other accounts.
    if not arns:
        conditions.append(func.lower(IdentityRow.name).in_(lowered))
    found = _first(session, or_(*conditions))
    if not found and 3 <= len(text) <= LONGEST_NAME and not re.search(r"\s", text):
        like = "%" + re.sub(r"([%_\\])", r"\\\1", text.lower()) + "%"
        found = _first(session, func.lower(IdentityRow.name).like(like, escape="\\"))
    return found


def _first(session: Session, condition: ColumnElement[bool]) -> list[IdentityRow]:
    order = (IdentityRow.gone_at.is_not(None), IdentityRow.name, IdentityRow.id)
    return list(session.scalars(select(IdentityRow).where(condition).order_by(*order).limit(MOST_MATCHES)))


def whois(session: Session, query: str, policy: Policy, now: datetime) -> list[Json]:
    """Return everything known of the identities that a text names, as `nhi whois --json` prints it."""
    rows = find(session, query)
    rows += [row for row in _likely_of(session, query, policy, now) if row not in rows][: MOST_MATCHES - len(rows)]
    ids = [row.id for row in rows]
    owner = owners(session, ids, policy, now)
    findings = open_findings(session, ids)
    may = permission_facts.of(session, rows, policy)
    return [
        {
            "identity": identity_json(row)
            | {"tags": row.tags, "coverage": row.coverage.get("says", "")}
            | {"environment": environment_json(row, policy)},
            "owner": owner[row.id],
            "credentials": [credential_json(c) for c in row.credentials if c.gone_at is None],
            "permissions": may[row.id],
            "findings": [finding_json(f, owner[row.id]) | unusual(session, f) for f in findings if f.identity is row],
            "activity": activity_of(session, row, now),
            "answers": answers(session, row.id),
            "remediations": remediations(session, row.id),
            "history": history(session, row.id),
        }
        for row in rows
    ]


def _likely_of(session: Session, query: str, policy: Policy, now: datetime) -> list[IdentityRow]:
    """Return what somebody likely owns, where the text is their e-mail address and nothing else."""
    email = storable(query).strip().lower()
    if not _EMAIL.fullmatch(email):
        return []
    person = session.scalar(select(PersonRow).where(PersonRow.email == email).limit(1))
    names = {email, email.partition("@")[0], *((person.slack_id.lower(), person.handle.lower()) if person else ())}
    named = select(EvidenceRow.identity_id).where(func.lower(EvidenceRow.points_to).in_(names))
    there = select(IdentityRow).where(IdentityRow.id.in_(named), IdentityRow.gone_at.is_(None))
    rows = list(session.scalars(there.order_by(IdentityRow.name, IdentityRow.id)))
    owner = owners(session, [row.id for row in rows], policy, now)
    return [row for row in rows if owner[row.id]["email"] == email]


def history(session: Session, identity_id: str, most: int = 100) -> list[Json]:
    """Return the identity's ledger events, newest first."""
    rows = session.scalars(
        select(EventRow).where(EventRow.identity_id == identity_id).order_by(EventRow.seq.desc()).limit(most)
    )
    return [
        {"seq": row.seq, "at": when(row.at), "kind": row.kind, "facts": json.loads(row.body)["facts"]} for row in rows
    ]


def answers(session: Session, identity_id: str, ask_id: str | None = None) -> list[Json]:
    """Return what people said of an identity (or on one ask), newest first."""
    query = select(AttestationRow).where(AttestationRow.identity_id == identity_id)
    if ask_id is not None:
        query = query.where(AttestationRow.ask_id == ask_id)
    rows = session.scalars(query.order_by(AttestationRow.at.desc(), AttestationRow.id))
    return [
        {
            "id": row.id,
            "verdict": row.verdict.value,
            "email": row.email,
            "name": row.name,
            "slack_id": row.slack_id,
            "authority": row.authority,
            "words": row.words,
            "credential": row.credential_id,
            "at": when(row.at),
            "until": when(row.until),
        }
        for row in rows
    ]


def remediations(session: Session, identity_id: str, ask_id: str | None = None) -> list[Json]:
    """Return the acts planned or done on an identity (or from one ask), newest first."""
    query = select(RemediationRow).where(RemediationRow.identity_id == identity_id)
    if ask_id is not None:
        query = query.where(RemediationRow.ask_id == ask_id)
    rows = session.scalars(query.order_by(RemediationRow.planned_at.desc(), RemediationRow.id))
    return [remediation_json(row) for row in rows]


def remediation_json(row: RemediationRow) -> Json:
    return {
        "id": row.id,
        "kind": row.kind.value,
        "status": row.status.value,
        "credential": credential_json(row.credential),
        "planned_at": when(row.planned_at),
        "acted_at": when(row.acted_at),
        "verified_at": when(row.verified_at),
        "undone_at": when(row.undone_at),
        "undo_by": row.undo_by,
        "because": row.because,
        "test": act_facts.scream_test(row),
        "certificate": steps.certificate_of(row),  # what was checked right before; None: not acted on
    }
