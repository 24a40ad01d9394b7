"""What people said, what was done, the ledger, and the clock's own rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.escalation import Verdict
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.tables.acts import RemediationStepRow, ScreamStepRow
from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value
from nhi.tables.inventory import CredentialRow, IdentityRow


class AttestationRow(Base):
    """A person's recorded statement. Never changed: a correction is a new row."""

    __tablename__ = "attestation"

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    ask_id: Mapped[str | None] = mapped_column(ForeignKey("ask.id"), index=True)
    credential_id: Mapped[str | None] = mapped_column(ForeignKey("credential.id"))
    verdict: Mapped[Verdict] = mapped_column(by_value(Verdict))
    email: Mapped[str] = mapped_column(String(320), index=True)
    slack_id: Mapped[str] = mapped_column(String(32))
    name: Mapped[Words]
    authority: Mapped[Words]  # asked, owner, admin, delegate of ...
    words: Mapped[Words | None]
    shown: Mapped[dict[str, Any]]
    at: Mapped[Instant]
    until: Mapped[Instant | None]


class RemediationRow(Base):
    """The act that resolves a finding. The undo is stored before the act."""

    __tablename__ = "remediation"
    __table_args__ = (
        Index(
            "uq_remediation_live",
            "credential_id",
            "kind",
            unique=True,
            sqlite_where=text("status IN ('proposed', 'awaiting', 'planned', 'acting', 'testing')"),
            postgresql_where=text("status IN ('proposed', 'awaiting', 'planned', 'acting', 'testing')"),
        ),
        Index(None, "status", "due_at"),
    )

    id: Mapped[Id]
    kind: Mapped[RemediationKind] = mapped_column(by_value(RemediationKind))
    status: Mapped[RemediationStatus] = mapped_column(by_value(RemediationStatus))
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    credential_id: Mapped[str] = mapped_column(ForeignKey("credential.id"), index=True)
    attestation_id: Mapped[str] = mapped_column(ForeignKey("attestation.id"))
    ask_id: Mapped[str | None] = mapped_column(ForeignKey("ask.id"))
    facts: Mapped[dict[str, Any]]  # what the person was shown: last use, owner, at when
    ladder: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))  # seconds of each step of its scream test
    planned_at: Mapped[Instant]
    due_at: Mapped[Instant]
    claimed_until: Mapped[Instant | None]
    undo: Mapped[dict[str, Any] | None]  # the former state, stored before the act
    acted_at: Mapped[Instant | None]
    verified_at: Mapped[Instant | None]
    undone_at: Mapped[Instant | None]
    undo_by: Mapped[Short | None]
    because: Mapped[Words | None]  # why it was refused or failed

    identity: Mapped[IdentityRow] = relationship(lazy="selectin")
    credential: Mapped[CredentialRow] = relationship(lazy="selectin")
    steps: Mapped[list[RemediationStepRow]] = relationship(order_by=RemediationStepRow.number, lazy="selectin")
    trials: Mapped[list[ScreamStepRow]] = relationship(order_by=ScreamStepRow.number, lazy="selectin")


class EventRow(Base):
    """One row of the ledger: canonical JSON, chained to the row before. Never changed."""

    __tablename__ = "event"

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[Instant]
    kind: Mapped[Short]
    identity_id: Mapped[str | None] = mapped_column(String(32), index=True)
    body: Mapped[Words]  # RFC 8785 canonical JSON, exactly as hashed
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class EventPrivateRow(Base):
    """The personal part of an event, apart from its hashed body: it can be erased without breaking the chain."""

    __tablename__ = "event_private"

    seq: Mapped[int] = mapped_column(ForeignKey("event.seq"), primary_key=True, autoincrement=False)
    salt: Mapped[str] = mapped_column(String(64))
    body: Mapped[Words]


class RunRow(Base):
    """One run of a job for one period: UNIQUE, so that a period runs once."""

    __tablename__ = "run"
    __table_args__ = (UniqueConstraint("job", "period"),)

    id: Mapped[Id]
    job: Mapped[Short]
    period: Mapped[Short]
    started_at: Mapped[Instant]
    finished_at: Mapped[Instant | None]
    tally: Mapped[Words | None]
    claimed_until: Mapped[Instant]


class GateRow(Base):
    """A pause that all workers keep: nothing passes this gate before then."""

    __tablename__ = "gate"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    not_before: Mapped[Instant]
    because: Mapped[Words]


class SwitchRow(Base):
    """A decision of an admin that is on until turned off: `live` ends shadow mode."""

    __tablename__ = "switch"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    on_at: Mapped[Instant]
    by: Mapped[Short]
