"""What scans saw, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.findings import FindingKind, FindingStatus, Severity
from nhi.identity import CredentialStatus, Custody
from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value


def _open_finding(name: str, where: str, *columns: str) -> Index:
    condition = text(f"status <> 'resolved' AND {where}")
    return Index(name, "identity_id", *columns, "kind", unique=True, sqlite_where=condition, postgresql_where=condition)


class IdentityRow(Base):
    """One identity, as last seen. `gone_at` is set only when its whole place was seen without it."""

    __tablename__ = "identity"
    __table_args__ = (UniqueConstraint("provider", "account", "key"),)

    id: Mapped[Id]
    provider: Mapped[Short]
    kind: Mapped[Short]
    account: Mapped[Short]
    key: Mapped[Short]
    name: Mapped[Words]
    principal: Mapped[Words]
    custody: Mapped[Custody] = mapped_column(by_value(Custody, closed=True))
    created_at: Mapped[Instant | None]
    last_used_at: Mapped[Instant | None]
    use_gap: Mapped[Words | None]
    coverage: Mapped[dict[str, Any]]
    tags: Mapped[dict[str, str]]
    policies: Mapped[list[str]]
    privileged: Mapped[bool] = mapped_column(Boolean)
    service_linked: Mapped[bool] = mapped_column(Boolean)
    first_seen_at: Mapped[Instant]
    seen_at: Mapped[Instant]
    gone_at: Mapped[Instant | None]

    credentials: Mapped[list[CredentialRow]] = relationship(
        back_populates="identity", order_by="CredentialRow.created_at", lazy="selectin"
    )


class CredentialRow(Base):
    """One credential, never its secret. `external_id` is learnt only where it is needed, then kept."""

    __tablename__ = "credential"
    __table_args__ = (UniqueConstraint("identity_id", "key"), Index(None, "external_id"))

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"))
    key: Mapped[Short]
    kind: Mapped[Short]
    external_id: Mapped[Short | None]
    status: Mapped[CredentialStatus] = mapped_column(by_value(CredentialStatus, closed=True))
    custody: Mapped[Custody] = mapped_column(by_value(Custody, closed=True))
    created_at: Mapped[Instant | None]
    rotated_at: Mapped[Instant | None]
    last_used_at: Mapped[Instant | None]
    last_used_service: Mapped[Short | None]
    last_used_region: Mapped[Short | None]
    use_gap: Mapped[Words | None]
    coverage: Mapped[dict[str, Any]]
    pauses: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default=text("'[]'"))  # nhi/seasons.py
    first_seen_at: Mapped[Instant]
    seen_at: Mapped[Instant]
    gone_at: Mapped[Instant | None]

    identity: Mapped[IdentityRow] = relationship(back_populates="credentials")


class ScanRow(Base):
    """One look at one source, and what it cost."""

    __tablename__ = "scan"

    id: Mapped[Id]
    provider: Mapped[Short]
    account: Mapped[Short]
    started_at: Mapped[Instant]
    finished_at: Mapped[Instant]
    complete: Mapped[bool] = mapped_column(Boolean)
    identities: Mapped[int]
    credentials: Mapped[int]
    api_calls: Mapped[dict[str, int]]

    gaps: Mapped[list[GapRow]] = relationship(order_by="GapRow.scope", lazy="selectin")


class GapRow(Base):
    """A place that this scan could not see, and why."""

    __tablename__ = "gap"

    id: Mapped[Id]
    scan_id: Mapped[str] = mapped_column(ForeignKey("scan.id"), index=True)
    scope: Mapped[Words]
    reason: Mapped[Words]
    hides: Mapped[list[str]]


class FindingRow(Base):
    """This identity breaks this rule, since then, on this evidence."""

    __tablename__ = "finding"
    __table_args__ = (
        # Two scans at once, or a crash and a second try, cannot open the same finding twice.
        # (Two indexes, since no database holds NULLs equal.)
        _open_finding("uq_finding_open_of_credential", "credential_id IS NOT NULL", "credential_id"),
        _open_finding("uq_finding_open_of_identity", "credential_id IS NULL"),
    )

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    credential_id: Mapped[str | None] = mapped_column(ForeignKey("credential.id"))
    kind: Mapped[FindingKind] = mapped_column(by_value(FindingKind))
    status: Mapped[FindingStatus] = mapped_column(by_value(FindingStatus))
    severity: Mapped[Severity] = mapped_column(by_value(Severity, closed=True))
    owasp: Mapped[Short]
    since: Mapped[Instant]
    why: Mapped[Words]
    coverage: Mapped[Words]
    opened_at: Mapped[Instant]
    justified_until: Mapped[Instant | None]
    resolved_at: Mapped[Instant | None]
    resolved_because: Mapped[Words | None]

    identity: Mapped[IdentityRow] = relationship()
    credential: Mapped[CredentialRow | None] = relationship()


class EvidenceRow(Base):
    """A fact that speaks for, or against, somebody as the owner."""

    __tablename__ = "evidence"
    __table_args__ = (UniqueConstraint("identity_id", "source", "fact"),)

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    source: Mapped[Short]
    fact: Mapped[str] = mapped_column(String(1000))
    points_to: Mapped[Words]
    at: Mapped[Instant | None]
    seen_at: Mapped[Instant]
    url: Mapped[Words | None]  # where the fact can be looked up


class EvidenceSearchRow(Base):
    """When an audit trail last answered a question about an identity: what it told of the past does not change."""

    __tablename__ = "evidence_search"

    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), primary_key=True)
    question: Mapped[str] = mapped_column(String(32), primary_key=True)
    searched_at: Mapped[Instant]
