"""Rows for tests, each with everything that a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus, Severity
from nhi.identity import CredentialStatus, Custody
from nhi.tables import (
    AskFindingRow,
    AskRow,
    AttestationRow,
    CredentialRow,
    FindingRow,
    IdentityRow,
    OwnerRow,
    PersonRow,
    new_id,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
ACCOUNT = "123456789012"
COVERAGE: dict[str, Any] = {"says": "The credential report sees every use.", "seen_from": None, "seen_until": None}


def make_person(session: Session, handle: str = "ana", **changes: Any) -> PersonRow:
    """Write somebody as the directory would: `ana` is UANA, ana@example.com."""
    values: dict[str, Any] = {
        "slack_id": "U" + handle.upper(),
        "email": f"{handle}@example.com",
        "name": handle.title(),
        "handle": handle,
        "tz": "UTC",
        "active": True,
        "guest": False,
        "bot": False,
        "stranger": False,
        "checked_at": NOW,
    }
    row = PersonRow(**(values | changes))
    session.add(row)
    session.flush()
    return row


def make_identity(
    session: Session,
    name: str = "ci-deploy",
    kind: str = "iam_user",
    keys: Sequence[str] = ("AKIAIOSFODNN7EXAMPLE",),
    **changes: Any,
) -> IdentityRow:
    """Write an AWS user, or a role, with an active access key for each id in `keys`."""
    number = (session.scalar(select(func.count()).select_from(IdentityRow)) or 0) + 1
    custody = Custody.OURS if kind == "iam_user" else Custody.NOBODY
    values: dict[str, Any] = {
        "provider": "aws",
        "kind": kind,
        "account": ACCOUNT,
        "key": f"AIDA{number:017d}",
        "name": name,
        "principal": f"arn:aws:iam::{ACCOUNT}:{kind.removeprefix('iam_')}/{name}",
        "custody": custody,
        "created_at": NOW - timedelta(days=400),
        "coverage": COVERAGE,
        "tags": {},
        "policies": [],
        "privileged": False,
        "service_linked": False,
        "first_seen_at": NOW - timedelta(days=30),
        "seen_at": NOW,
    }
    identity = IdentityRow(id=new_id(), **(values | changes))
    identity.credentials = [make_key(key, number) for number, key in enumerate(keys)]
    session.add(identity)
    session.flush()
    return identity


def make_key(key_id: str | None, number: int = 0, **changes: Any) -> CredentialRow:
    """Return an access key that is not yet of any identity."""
    created_at = NOW - timedelta(days=300 - number)
    values: dict[str, Any] = {
        "key": f"access_key/{created_at.isoformat()}",
        "kind": "access_key",
        "external_id": key_id,
        "status": CredentialStatus.ACTIVE,
        "custody": Custody.OURS,
        "created_at": created_at,
        "rotated_at": created_at,
        "last_used_at": NOW - timedelta(days=200),
        "coverage": COVERAGE,
        "first_seen_at": created_at,
        "seen_at": NOW,
    }
    return CredentialRow(id=new_id(), **(values | changes))


def make_finding(
    session: Session, identity: IdentityRow, kind: FindingKind = FindingKind.UNUSED, **changes: Any
) -> FindingRow:
    """Write an open finding: about the identity's first credential, or the whole of it where it is unowned."""
    about_credential = kind is not FindingKind.UNOWNED and identity.credentials
    values: dict[str, Any] = {
        "identity_id": identity.id,
        "credential_id": identity.credentials[0].id if about_credential else None,
        "kind": kind,
        "status": FindingStatus.ASKED,
        "severity": Severity.MEDIUM,
        "owasp": "NHI1",
        "since": NOW - timedelta(days=110),
        "why": f"{identity.name} is {kind.value}.",
        "coverage": COVERAGE["says"],
        "opened_at": NOW - timedelta(days=1),
    }
    row = FindingRow(id=new_id(), **(values | changes))
    session.add(row)
    session.flush()
    return row


def make_ask(
    session: Session, identity: IdentityRow, email: str = "ana@example.com", *, now: datetime = NOW, **changes: Any
) -> AskRow:
    """Write an open question about every open finding of the identity; where it has none, an unused and an unowned."""
    open_ones = select(FindingRow).where(
        FindingRow.identity_id == identity.id, FindingRow.status != FindingStatus.RESOLVED
    )
    findings = list(session.scalars(open_ones))
    if not findings:
        findings = [make_finding(session, identity, kind) for kind in (FindingKind.UNUSED, FindingKind.UNOWNED)]
    values: dict[str, Any] = {
        "identity_id": identity.id,
        "email": email,
        "because": "tag owner names you",
        "shadow": False,
        "status": AskStatus.OPEN,
        "asked_at": now,
        "reminders": 0,
        "escalated_to": [],
        "last_step_at": now,
    }
    ask = AskRow(id=new_id(), **(values | changes))
    session.add(ask)
    session.flush()
    session.add_all(AskFindingRow(ask_id=ask.id, finding_id=finding.id) for finding in findings)
    session.flush()
    return ask


def make_owner(session: Session, identity: IdentityRow, person: PersonRow) -> OwnerRow:
    """Let somebody have claimed the identity a week ago."""
    at = NOW - timedelta(days=7)
    attestation = AttestationRow(
        id=new_id(),
        identity_id=identity.id,
        verdict=Verdict.CLAIM,
        email=person.email,
        slack_id=person.slack_id,
        name=person.name,
        authority="asked",
        shown={},
        at=at,
    )
    session.add(attestation)
    session.flush()
    owner = OwnerRow(id=new_id(), identity_id=identity.id, email=person.email, since=at, attestation_id=attestation.id)
    session.add(owner)
    session.flush()
    return owner
