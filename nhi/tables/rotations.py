"""Rotations: which new key stands for which old one, where its secret was put, and how far the move is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.rotation import Stage
from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value
from nhi.tables.history import RemediationRow


class RotationRow(Base):
    """One rotation, written before the cloud is asked to make a key. Never a secret: names and times only."""

    __tablename__ = "rotation"

    id: Mapped[Id]
    remediation_id: Mapped[str] = mapped_column(ForeignKey("remediation.id"), unique=True)
    stage: Mapped[Stage] = mapped_column(by_value(Stage))
    place: Mapped[dict[str, Any]]  # nhi/rotation.py's Place
    keys_before: Mapped[list[str]]  # ids, so that a key which a killed run made is found by what was not there before
    acting_as: Mapped[Words]  # the provider's name of who makes the key
    version: Mapped[Short]  # what the new version of the secret is called: fixed before, so that it is written once
    former: Mapped[Short | None]  # the version that was current before; None: the secret held nothing
    began_at: Mapped[Instant]
    new_key: Mapped[Short | None]  # the new key's public id; None: not known (yet)
    stored_at: Mapped[Instant | None]
    where: Mapped[Words | None]  # the secret's own full name
    old_used_at: Mapped[Instant | None]
    new_used_at: Mapped[Instant | None]
    looked_at: Mapped[Instant | None]  # when the uses above were read; None: not yet
    blind: Mapped[Words | None]  # why the last look saw nothing; None: it saw
    ready_at: Mapped[Instant | None]
    drawn: Mapped[Short]  # what the cards show, in short: where it is not so any more, they are drawn anew

    remediation: Mapped[RemediationRow] = relationship(lazy="selectin")


class RotationCardRow(Base):
    """One posted copy of a rotation's card."""

    __tablename__ = "rotation_card"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    rotation_id: Mapped[str] = mapped_column(ForeignKey("rotation.id"), index=True)
