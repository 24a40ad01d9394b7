"""What sources tell of people, teams that are asked together, and what leavers hand over."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from sqlalchemy import Boolean, Date, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value
from nhi.tables.inventory import IdentityRow


class DirectoryEntryRow(Base):
    """What a source said of somebody from `since` on. A change closes it and begins a new one: nothing is forgotten."""

    __tablename__ = "directory_entry"
    __table_args__ = (
        Index(
            "uq_directory_entry_current",
            "source",
            "email",
            unique=True,
            sqlite_where=text("until IS NULL"),
            postgresql_where=text("until IS NULL"),
        ),
        Index(None, "email"),
    )

    id: Mapped[Id]
    source: Mapped[Short]  # csv, scim, slack
    email: Mapped[str] = mapped_column(String(320))
    name: Mapped[Words]
    manager: Mapped[str | None] = mapped_column(String(320))
    team: Mapped[Short | None]
    team_channel: Mapped[Short | None]
    team_default: Mapped[str | None] = mapped_column(String(320))
    starts_on: Mapped[date | None] = mapped_column(Date)
    ends_on: Mapped[date | None] = mapped_column(Date)
    aliases: Mapped[list[str]]
    logins: Mapped[list[str]]
    active: Mapped[bool | None] = mapped_column(Boolean)
    since: Mapped[Instant]
    until: Mapped[Instant | None]


class DirectoryPullRow(Base):
    """How far a source was read, so that a limit half-way loses nothing."""

    __tablename__ = "directory_pull"

    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    cursor: Mapped[Words]  # where to go on; empty: at the beginning
    started_at: Mapped[Instant]
    finished_at: Mapped[Instant | None]  # of the last complete pull
    people: Mapped[int]


class TeamClaimRow(Base):
    """A question to a whole team: until the deadline whoever claims first has it, then the default person is asked."""

    __tablename__ = "team_claim"

    ask_id: Mapped[str] = mapped_column(ForeignKey("ask.id"), primary_key=True)
    team: Mapped[Short]
    channel: Mapped[Short]
    deadline_at: Mapped[Instant]
    handed_at: Mapped[Instant | None]  # when the default person was asked; None: not yet


class HandoverItemStatus(StrEnum):
    OPEN = "open"  # an heir is to be named
    PROPOSED = "proposed"  # an heir is named, and has not said yes or no
    ACCEPTED = "accepted"
    RELEASED = "released"  # nobody handed it over in time: the likely owners are asked by evidence
    CLOSED = "closed"  # it has another owner already, or is gone


class HandoverRow(Base):
    """Somebody leaves, and what they own goes to others. At most one at a time for a person."""

    __tablename__ = "handover"
    __table_args__ = (
        Index(
            "uq_handover_open",
            "email",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320))  # the leaver
    name: Mapped[Words]
    reason: Mapped[Short]  # nhi.people.Reason
    last_day: Mapped[date | None] = mapped_column(Date)
    manager: Mapped[str | None] = mapped_column(String(320))  # who is asked besides the leaver
    manager_because: Mapped[Words | None]
    opened_at: Mapped[Instant]
    leaver_asked_at: Mapped[Instant | None]
    manager_asked_at: Mapped[Instant | None]
    reminded_at: Mapped[Instant | None]
    closed_at: Mapped[Instant | None]

    items: Mapped[list[HandoverItemRow]] = relationship(
        back_populates="handover", order_by="HandoverItemRow.position", lazy="selectin"
    )


class HandoverItemRow(Base):
    """One identity of a leaver's."""

    __tablename__ = "handover_item"
    __table_args__ = (
        UniqueConstraint("handover_id", "identity_id"),
        Index(
            "uq_handover_item_live",
            "identity_id",
            unique=True,
            sqlite_where=text("status IN ('open', 'proposed')"),
            postgresql_where=text("status IN ('open', 'proposed')"),
        ),
    )

    id: Mapped[Id]
    handover_id: Mapped[str] = mapped_column(ForeignKey("handover.id"))
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"))
    position: Mapped[int]
    status: Mapped[HandoverItemStatus] = mapped_column(by_value(HandoverItemStatus))
    suggested: Mapped[str | None] = mapped_column(String(320))  # the heir by evidence
    why: Mapped[list[str]]  # the facts that speak for them
    heir: Mapped[str | None] = mapped_column(String(320))  # whom a person named
    named_by: Mapped[str | None] = mapped_column(String(320))
    named_at: Mapped[Instant | None]
    asked_at: Mapped[Instant | None]  # when the heir was
    reminded_at: Mapped[Instant | None]
    passed: Mapped[list[str]]  # who said no
    ended_at: Mapped[Instant | None]

    handover: Mapped[HandoverRow] = relationship(back_populates="items", lazy="selectin")
    identity: Mapped[IdentityRow] = relationship(lazy="selectin")


class HandoverCardRow(Base):
    """One posted message about a hand-over, or (with `item_id`) about one heir's answer."""

    __tablename__ = "handover_card"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    handover_id: Mapped[str] = mapped_column(ForeignKey("handover.id"), index=True)
    item_id: Mapped[str | None] = mapped_column(ForeignKey("handover_item.id"), index=True)
