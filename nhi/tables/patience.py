"""What people asked to be left alone with until a day, and what they said they would do by one."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Date, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from nhi.tables.columns import Base, Id, Instant, Words


class SnoozeRow(Base):
    """Nobody is asked or reminded about this identity until then. It always ends, and security is told of it."""

    __tablename__ = "snooze"

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    email: Mapped[str] = mapped_column(String(320))  # who asked for it
    since: Mapped[Instant]
    until: Mapped[Instant]


class PromiseRow(Base):
    """Somebody said in their justification what they would do by a day; from that day on they are asked again."""

    __tablename__ = "promise"

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    attestation_id: Mapped[str] = mapped_column(ForeignKey("attestation.id"))
    email: Mapped[str] = mapped_column(String(320))
    words: Mapped[Words]
    due_on: Mapped[date] = mapped_column(Date)
    made_at: Mapped[Instant]
    followed_up_at: Mapped[Instant | None]  # when the question was opened again; None: not yet
