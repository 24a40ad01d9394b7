"""People, what they are asked, and the messages that must be said once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.escalation import AskStatus
from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value
from nhi.tables.inventory import IdentityRow


class PersonRow(Base):
    """Somebody in Slack, as last looked up. E-mail addresses are kept in lower case."""

    __tablename__ = "person"

    slack_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    email: Mapped[str] = mapped_column(String(320), index=True)
    name: Mapped[Words]
    handle: Mapped[Short]
    tz: Mapped[Short]
    active: Mapped[bool] = mapped_column(Boolean)
    guest: Mapped[bool] = mapped_column(Boolean)
    bot: Mapped[bool] = mapped_column(Boolean)
    stranger: Mapped[bool] = mapped_column(Boolean)
    away_until: Mapped[Instant | None]  # as their Slack status says; None: they are here
    checked_at: Mapped[Instant]


class DelegationRow(Base):
    """Until then, this person may answer for that one."""

    __tablename__ = "delegation"

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320), index=True)
    delegate: Mapped[str] = mapped_column(String(320))
    since: Mapped[Instant]
    until: Mapped[Instant]


class OwnerRow(Base):
    """The person answerable: they claimed it. At most one at a time."""

    __tablename__ = "owner"
    __table_args__ = (
        Index(
            "uq_owner_current",
            "identity_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"))
    email: Mapped[str] = mapped_column(String(320), index=True)
    since: Mapped[Instant]
    attestation_id: Mapped[str] = mapped_column(ForeignKey("attestation.id"))
    ended_at: Mapped[Instant | None]
    ended_because: Mapped[Words | None]


class AskRow(Base):
    """The question to one person about one identity; it has a deadline and a next step."""

    __tablename__ = "ask"
    __table_args__ = (
        Index(
            "uq_ask_open",
            "identity_id",
            unique=True,
            sqlite_where=text("status = 'open'"),
            postgresql_where=text("status = 'open'"),
        ),
    )

    id: Mapped[Id]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    email: Mapped[str] = mapped_column(String(320), index=True)  # who is asked
    because: Mapped[Words]  # "why you", as the card says it
    shadow: Mapped[bool] = mapped_column(Boolean)  # asked of an admin in somebody's stead, until an admin presses Go
    status: Mapped[AskStatus] = mapped_column(by_value(AskStatus))
    asked_at: Mapped[Instant]
    reminders: Mapped[int]
    escalated_to: Mapped[list[str]]
    last_step_at: Mapped[Instant]
    ended_at: Mapped[Instant | None]
    group_id: Mapped[str | None] = mapped_column(String(32), index=True)  # asked with others that one answer fits

    identity: Mapped[IdentityRow] = relationship(lazy="selectin")


class AskFindingRow(Base):
    """Which findings an ask is about."""

    __tablename__ = "ask_finding"

    ask_id: Mapped[str] = mapped_column(ForeignKey("ask.id"), primary_key=True)
    finding_id: Mapped[str] = mapped_column(ForeignKey("finding.id"), primary_key=True)


class DeliveryRow(Base):
    """One message that must be said, once. Written before posting; `ts` after.

    The id travels in the message's metadata, so that a second try finds the first one's message. A redraw is due
    while `wanted_version` is above `shown_version`.
    """

    __tablename__ = "delivery"
    __table_args__ = (Index(None, "state", "not_before"),)

    id: Mapped[Id]
    kind: Mapped[Short]  # digest, reminder, escalation, notice
    recipient: Mapped[Short]  # a Slack user's or channel's id, or "#name"
    words: Mapped[dict[str, Any]]  # what the template needs beside the cards
    state: Mapped[Short]  # waiting, posted, dead
    channel: Mapped[Short | None]  # where it was posted
    ts: Mapped[Short | None]
    wanted_version: Mapped[int]
    shown_version: Mapped[int]
    attempts: Mapped[int]
    not_before: Mapped[Instant]
    claimed_until: Mapped[Instant | None]  # a worker has it; None: free
    error: Mapped[Words | None]
    created_at: Mapped[Instant]


class CardRow(Base):
    """One posted copy of an ask."""

    __tablename__ = "card"
    __table_args__ = (UniqueConstraint("delivery_id", "ask_id"), Index(None, "ask_id"))

    id: Mapped[Id]
    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"))
    ask_id: Mapped[str] = mapped_column(ForeignKey("ask.id"))
    position: Mapped[int]


class OfferRow(Base):
    """One drawn set of buttons. Its id is the opaque value of each of them, and it is good for one answer.

    A redraw makes a new offer, so an answer always tells what the person was shown.
    """

    __tablename__ = "offer"

    id: Mapped[Id]
    actions: Mapped[list[str]]
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    ask_id: Mapped[str | None] = mapped_column(ForeignKey("ask.id"), index=True)
    card_id: Mapped[str | None] = mapped_column(ForeignKey("card.id"), index=True)
    remediation_id: Mapped[str | None] = mapped_column(ForeignKey("remediation.id"))
    shown: Mapped[dict[str, Any]]  # the card as drawn: facts, and blocks
    created_at: Mapped[Instant]
    used_at: Mapped[Instant | None]


class InboxRow(Base):
    """One click that was acknowledged, and what became of it. Written before the acknowledgement; decided after.

    What the click said is kept until it is decided, and then taken out; the digest stays a day, so that one delivered
    twice is one row.
    """

    __tablename__ = "inbox"
    __table_args__ = (
        Index(
            "ix_inbox_waiting",
            "number",
            sqlite_where=text("decided_at IS NULL"),
            postgresql_where=text("decided_at IS NULL"),
        ),
    )

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)  # their order
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # of who pressed what, where and when
    action: Mapped[Short]
    body: Mapped[dict[str, Any]]  # what its use case reads; empty once it is decided
    response_url: Mapped[Words | None]  # good for half an hour; None: there is none, or not any more
    received_at: Mapped[Instant] = mapped_column(index=True)
    not_before: Mapped[Instant]
    attempts: Mapped[int]
    decided_at: Mapped[Instant | None]
    outcome: Mapped[Short | None]  # recorded, refused, given up
    error: Mapped[Words | None]  # the kind of fault that the last try ended with
