"""What a review asks about, read from the database: how fresh it is, each identity as it is now, and its people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from nhi import facts, permission_facts, permission_records, reviews, roster
from nhi.authority import is_able, is_admin
from nhi.ownership import Directory, names_of
from nhi.policy import Policy
from nhi.reviews import Answer, Assigned, Before, Looked, Subject, assign
from nhi.tables import (
    AttestationRow,
    EvidenceRow,
    FindingRow,
    IdentityRow,
    PersonRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ScanRow,
)

Json = dict[str, Any]
BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One identity as it is now, and who would review it (None: nobody at all can)."""

    identity_id: str
    name: str
    facts: Json
    assigned: Assigned | None


def sources(session: Session) -> list[Looked]:
    """Return the last looks at each account that has identities, or was ever scanned."""
    accounts = set(session.execute(select(ScanRow.provider, ScanRow.account).distinct()))
    present = select(IdentityRow.provider, IdentityRow.account).where(IdentityRow.gone_at.is_(None)).distinct()
    accounts |= set(session.execute(present))
    return [_looked(session, provider, account) for provider, account in sorted(accounts)]


def _looked(session: Session, provider: str, account: str) -> Looked:
    of_it = select(ScanRow).where(ScanRow.provider == provider, ScanRow.account == account)
    last = session.scalar(of_it.order_by(ScanRow.finished_at.desc()).limit(1))
    whole = select(func.max(ScanRow.finished_at)).where(
        ScanRow.provider == provider, ScanRow.account == account, ScanRow.complete.is_(True)
    )
    return Looked(
        source=f"{provider} {account}",
        complete_at=session.scalar(whole),
        last_at=last.finished_at if last else None,
        gaps=tuple(f"{gap.scope} ({gap.reason})" for gap in last.gaps) if last else (),
    )


def scans_of(session: Session) -> list[Json]:
    """Return the scans that the facts rest on: the last whole one of each source."""
    return [
        {"source": looked.source, "complete_at": facts.when(looked.complete_at), "last_at": facts.when(looked.last_at)}
        for looked in sources(session)
    ]


def population(session: Session, known: Iterable[str] = ()) -> tuple[list[str], int]:
    """Return the ids of all identities to review that are not `known`, and how many are left out.

    Left out are those that a platform made for itself: nobody here can own, change or turn them off.
    """
    skip = set(known)
    present = select(IdentityRow.id, IdentityRow.service_linked).where(IdentityRow.gone_at.is_(None))
    rows = session.execute(present.order_by(IdentityRow.id)).all()
    return [id_ for id_, linked in rows if not linked and id_ not in skip], sum(linked for _, linked in rows)


def snapshots(session: Session, ids: Sequence[str], policy: Policy, now: datetime) -> list[Snapshot]:
    """Return these identities as they are now, in the order of their ids."""
    who = _Who(session, policy, now)
    owners = facts.owners(session, ids, policy, now)
    found = []
    for start in range(0, len(ids), BATCH):
        chunk = ids[start : start + BATCH]
        findings = _findings(session, chunk)
        creators = _creators(session, chunk)
        powers = permission_records.powers_in_force(session, chunk)
        rows = session.scalars(select(IdentityRow).where(IdentityRow.id.in_(chunk)))
        for row in rows:
            made_by = who.people_named(creators[row.id])
            frozen = frozen_facts(row, findings[row.id], powers.get(row.id))
            frozen |= {"owner": owners[row.id], "creators": sorted(made_by)}
            found.append(_snapshot(row, frozen, who, made_by))
        session.expunge_all()  # ten thousand rows need not stay in memory
    return sorted(found, key=lambda snapshot: snapshot.identity_id)


def _snapshot(row: IdentityRow, frozen: Json, who: _Who, made_by: frozenset[str]) -> Snapshot:
    subject = who.subject(frozen["owner"], made_by, row.privileged)
    assigned = assign(subject, who.security)
    managers = {"managers": list(subject.managers)}
    return Snapshot(identity_id=row.id, name=row.name, facts=frozen | managers, assigned=assigned)


def frozen_facts(row: IdentityRow, findings: Sequence[FindingRow], powers: Sequence[str] | None) -> Json:
    """Return what is frozen of an identity itself: what it is, its credentials, permissions and open findings.

    `powers` are those that it has, the gravest first; None: what it may do is not known.
    """
    of = {c.id: {"id": c.external_id, "kind": c.kind} for c in row.credentials}
    return {
        "identity": facts.identity_json(row) | {"tags": row.tags},
        "credentials": [
            facts.credential_json(c) | {"custody": c.custody.value} for c in row.credentials if not c.gone_at
        ],
        "permissions": {
            "policies": list(row.policies),
            "privileged": row.privileged,
            "powers": None if powers is None else list(powers),
        },
        "findings": [
            {
                "id": f.id,
                "kind": f.kind.value,
                "severity": f.severity.value,
                "why": f.why,
                "since": facts.when(f.since),
                "credential": of.get(f.credential_id or ""),
            }
            for f in findings
        ],
    }


def _findings(session: Session, ids: Sequence[str]) -> dict[str, list[FindingRow]]:
    found: dict[str, list[FindingRow]] = defaultdict(list)
    for row in facts.open_findings(session, ids):
        found[row.identity_id].append(row)
    return found


def _creators(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    query = select(EvidenceRow.identity_id, EvidenceRow.points_to).where(
        EvidenceRow.identity_id.in_(ids), EvidenceRow.source == "creator"
    )
    found: dict[str, list[str]] = defaultdict(list)
    for identity_id, points_to in session.execute(query):
        found[identity_id].append(points_to)
    return found


class _Who:
    """Everybody who can answer, read once for all items."""

    def __init__(self, session: Session, policy: Policy, now: datetime) -> None:
        rows = list(session.scalars(select(PersonRow).order_by(PersonRow.email)))
        self._directory: Directory = roster.directory(session, policy, now)
        self._told = roster.people(session)
        self._able = {row.email for row in rows if row.email and is_able(row)}
        self._policy = policy
        self.security = security(rows, policy)

    def people_named(self, named: Iterable[str]) -> frozenset[str]:
        """Return the addresses of the people that evidence names, whether or not they can answer."""
        keys = [key for name in named for key in names_of(name, self._policy.people)]
        return frozenset(person.email for key in keys if (person := self._directory.find(key)) is not None)

    def subject(self, owner: Json, creators: frozenset[str], privileged: bool) -> Subject:
        email = owner["email"]
        confirmed = owner["state"] == "confirmed"
        able = email in self._able and owner.get("active", True)
        return Subject(
            owner=email if confirmed and able else None,
            likely=email if owner["state"] == "likely" and able else None,
            managers=self._managers(email) if email else (),
            creators=creators,
            privileged=privileged,
        )

    def _managers(self, email: str) -> tuple[str, ...]:
        """Return the managers above somebody who can answer, the nearest first."""
        return tuple(name for name in self._told.managers(email).emails if name in self._able)


def security(rows: Sequence[PersonRow], policy: Policy) -> tuple[str, ...]:
    """Return who reviews what nobody owns: policy's fallback, then its admins, as far as they can answer."""
    by_name = {name: row for row in rows for name in (row.email.lower(), row.slack_id.lower()) if is_able(row)}
    named = [policy.owners.fallback or "", *policy.people.admins]
    found = (by_name.get(name.lower()) for name in named)
    return tuple(dict.fromkeys(row.email for row in found if row is not None and row.email))


def signers(session: Session, policy: Policy) -> list[PersonRow]:
    """Return who may sign a closed campaign in Slack: those that policy names, else the admins."""
    rows = [row for row in session.scalars(select(PersonRow).order_by(PersonRow.email)) if is_able(row)]
    named = {name.lower() for name in policy.review.signers}
    if named:
        return [row for row in rows if row.email.lower() in named]
    return [row for row in rows if is_admin(row, policy)]


def last_decisions(session: Session, ids: Sequence[str], but: str | None = None) -> dict[str, Before]:
    """Return each identity's last decision in a campaign other than `but`, with the gist of what it rested on."""
    found: dict[str, Before] = {}
    for start in range(0, len(ids), BATCH):
        query = (
            select(ReviewDecisionRow, ReviewItemRow.facts)
            .join(ReviewItemRow, ReviewItemRow.decision_id == ReviewDecisionRow.id)
            .where(ReviewDecisionRow.identity_id.in_(ids[start : start + BATCH]))
            .where(ReviewDecisionRow.answer.in_([Answer.KEEP, Answer.OFF]))
            .order_by(ReviewDecisionRow.at)
        )
        for row, frozen in session.execute(query if but is None else query.where(ReviewItemRow.campaign_id != but)):
            found[row.identity_id] = Before(decision_id=row.id, answer=row.answer, at=row.at, gist=frozen["gist"])
    return found


def decided_in_review(session: Session, who: PersonRow | None, attestation: AttestationRow) -> bool:
    """Whether this person, who can still answer, said this as an identity's reviewer: that right outlives the review.

    A reviewer need not be the owner: a manager or security answers for what nobody owns.
    """
    if who is None or not is_able(who):
        return False
    mine = select(ReviewDecisionRow.id).where(
        ReviewDecisionRow.identity_id == attestation.identity_id,
        ReviewDecisionRow.slack_id == who.slack_id,
        ReviewDecisionRow.answer == Answer.OFF,
        ReviewDecisionRow.at == attestation.at,
    )
    return session.scalar(mine.limit(1)) is not None


def live(session: Session, item: ReviewItemRow, now: datetime) -> Json:
    """Return an item's facts as a card shows them: permissions as frozen, use and credentials as they are now.

    A remediation rests on the last use that was shown, so that must not be weeks old. What differs from the frozen
    facts stands under `since_opening`.
    """
    row = session.get_one(IdentityRow, item.identity_id)
    powers = permission_records.powers_in_force(session, [row.id]).get(row.id)
    current = frozen_facts(row, _findings(session, [row.id])[row.id], powers) | {"owner": item.facts["owner"]}
    gist = reviews.gist(current, item.added_at)
    of_use = {name: current["identity"][name] for name in ("last_used_at", "use_gap", "gone_at")}
    shown = {name: value for name, value in item.facts.items() if name != "gist"}
    return shown | {
        "item": item.id,
        "identity": item.facts["identity"] | of_use,
        "credentials": current["credentials"],
        "grew": permission_facts.grew(session, row),
        "since_opening": reviews.changes(item.facts["gist"], gist),
        "changes": item.changes,
        "risk": item.risk.value,
        "privileged": item.privileged,
        "reviewer": item.reviewer,
        "because": item.because.value,
        "self_review": item.self_review,
        "by_creator": item.by_creator,
        "late": item.late,
        "asked_again": item.asked_again_at is not None,
        "drawn_at": facts.when(now),
    }
