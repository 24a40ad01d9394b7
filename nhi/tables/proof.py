"""What seals the ledger, where the seals are kept beside it, and how complete a look at a cloud was."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.tables.columns import Base, Id, Instant, Short, Words


class CheckpointRow(Base):
    """One signed note over the first `size` events. Never changed."""

    __tablename__ = "checkpoint"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[str] = mapped_column(String(64))  # hexadecimal
    note: Mapped[Words]
    because: Mapped[Short]  # hourly, export, by hand, review 2026Q4 closed
    at: Mapped[Instant]


class AnchorRow(Base):
    """One place where a checkpoint is to be kept, or is: written before it is brought there, the receipt after."""

    __tablename__ = "anchor"
    __table_args__ = (UniqueConstraint("size", "target"), Index(None, "state", "not_before"))

    id: Mapped[Id]
    size: Mapped[int] = mapped_column(ForeignKey("checkpoint.size"))
    target: Mapped[Short]  # as policy names it: "slack:#audit"
    state: Mapped[Short]  # waiting, kept, dead
    attempts: Mapped[int]
    not_before: Mapped[Instant]
    claimed_until: Mapped[Instant | None]  # a worker has it; None: free
    error: Mapped[Words | None]
    receipt: Mapped[dict[str, Any]]  # what the place gave back: a version, a token, a message's delivery
    kept_at: Mapped[Instant | None]

    checkpoint: Mapped[CheckpointRow] = relationship(lazy="joined", innerjoin=True)


class PopulationCountRow(Base):
    """What a cloud itself says there is of a kind, beside what the scan right before it saw."""

    __tablename__ = "population_count"
    __table_args__ = (Index(None, "provider", "account", "at"),)

    id: Mapped[Id]
    provider: Mapped[Short]
    account: Mapped[Short]
    kind: Mapped[Short]  # of identities: iam_user
    counted: Mapped[int | None]  # None: it could not be counted
    seen: Mapped[int]
    source: Mapped[Short]  # "iam:GetAccountSummary Users"; where it could not be counted, the reason
    at: Mapped[Instant]
