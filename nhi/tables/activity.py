"""What identities do, day by day; how far it was read; what was unlike before; and what somebody said is theirs."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Boolean, Date, Float, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from nhi.tables.columns import Base, Id, Instant, Short, Words


class ActivityProfileRow(Base):
    """What one identity did on one day, or in one week once that is over long enough; bounded (nhi/activity.py)."""

    __tablename__ = "activity_profile"
    __table_args__ = (UniqueConstraint("provider", "who", "day", "days"), Index(None, "day"))

    id: Mapped[Id]
    provider: Mapped[Short]
    who: Mapped[str] = mapped_column(String(320))  # as the trail calls it: AIDA..., AROA..., an account's e-mail
    day: Mapped[date] = mapped_column(Date)  # the first, of a week
    days: Mapped[int]
    unlike: Mapped[bool] = mapped_column(Boolean)  # an anomaly was found in it: it tells nothing of what is usual
    events: Mapped[int]
    denied: Mapped[int]
    first_at: Mapped[Instant]
    last_at: Mapped[Instant]
    body: Mapped[dict[str, Any]]


class ActivityPositionRow(Base):
    """How far the trail of one place was read; written together with the profiles of what was read."""

    __tablename__ = "activity_position"

    place: Mapped[str] = mapped_column(String(500), primary_key=True)
    position: Mapped[dict[str, str]]
    read_at: Mapped[Instant]


class ActivityGapRow(Base):
    """What the last reading of a source could not see, and why."""

    __tablename__ = "activity_gap"

    id: Mapped[Id]
    source: Mapped[Short] = mapped_column(index=True)
    scope: Mapped[Words]
    reason: Mapped[Words]
    at: Mapped[Instant]


class ActivitySeenRow(Base):
    """Which events, or files, were read together: eight bytes of each one's digest. The newest are kept."""

    __tablename__ = "activity_seen"
    __table_args__ = (Index(None, "source", "what", "read_at"),)

    id: Mapped[Id]
    source: Mapped[Short]
    what: Mapped[str] = mapped_column(String(8))  # "events" or "files"
    read_at: Mapped[Instant]
    number: Mapped[int]
    digests: Mapped[bytes] = mapped_column(LargeBinary)


class AnomalyRow(Base):
    """One day of an identity that was unlike its others, with the facts side by side, as they were judged last."""

    __tablename__ = "anomaly"
    __table_args__ = (UniqueConstraint("finding_id", "day"), Index(None, "identity_id", "day"))

    id: Mapped[Id]
    finding_id: Mapped[str] = mapped_column(ForeignKey("finding.id"))
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"))
    day: Mapped[date] = mapped_column(Date)
    at: Mapped[Instant]  # when it began
    score: Mapped[float] = mapped_column(Float)
    facts: Mapped[dict[str, Any]]  # signals and what is usual, as nhi/anomalies.py tells them
    found_at: Mapped[Instant]


class LearnedRow(Base):
    """Somebody said "That was us": this fact is no surprise of this identity until then."""

    __tablename__ = "learned"

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    facet: Mapped[Short]
    value: Mapped[Short]
    since: Mapped[Instant]
    until: Mapped[Instant]
    attestation_id: Mapped[str] = mapped_column(ForeignKey("attestation.id"))
