"""What identities may do, since when, and what of it they were seen to use."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from nhi.tables.columns import Base, Id, Instant


class PermissionSetRow(Base):
    """One set of permissions, named by its digest: many identities have the same, and most never change."""

    __tablename__ = "permission_set"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[dict[str, Any]]
    powers: Mapped[list[dict[str, Any]]]  # what is dangerous about it: nhi/powers.py
    gravity: Mapped[int] = mapped_column(Integer)  # of the gravest power, 0 the gravest; 99: there is none


class PermissionSpellRow(Base):
    """From when until when an identity had a set of permissions; `ended_at` None: it has them now."""

    __tablename__ = "permission_spell"
    __table_args__ = (
        Index(
            "uq_permission_spell_in_force",
            "identity_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index(None, "identity_id", "began_at"),
    )

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"))
    digest: Mapped[str] = mapped_column(ForeignKey("permission_set.digest"), index=True)
    began_at: Mapped[Instant]
    ended_at: Mapped[Instant | None]


class PermissionUseRow(Base):
    """What of its permissions an identity was last seen to use."""

    __tablename__ = "permission_use"

    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), primary_key=True)
    body: Mapped[dict[str, Any]]
    asked_at: Mapped[Instant]


class PolicyDocumentRow(Base):
    """What one version of a policy of the cloud's own says: it never changes, so it is read once."""

    __tablename__ = "policy_document"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)  # "arn:aws:iam::aws:policy/ReadOnlyAccess@v3"
    body: Mapped[dict[str, Any]]
    read_at: Mapped[Instant]
