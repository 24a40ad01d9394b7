"""How an act came about: each of its steps, who agreed as the second person, and who proved who they are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from nhi.remediation import State
from nhi.screaming import Outcome
from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value


class RemediationStepRow(Base):
    """One step of one act, written before what it begins and after what it ends. Never changed."""

    __tablename__ = "remediation_step"
    __table_args__ = (UniqueConstraint("remediation_id", "number"),)

    id: Mapped[Id]
    remediation_id: Mapped[str] = mapped_column(ForeignKey("remediation.id"))
    number: Mapped[int]  # 1 for the first
    state: Mapped[State] = mapped_column(by_value(State))
    at: Mapped[Instant]
    because: Mapped[Words | None]  # the sentence on the card; None: the step speaks for itself
    facts: Mapped[dict[str, Any]]  # of a checked step, the certificate; of an acting one, the stored undo


class ScreamStepRow(Base):
    """One step of a scream test: off until `back_on_at`, whatever becomes of who turned it off.

    Written before the cloud is asked. While `back_at` is empty, any worker turns it on again from `back_on_at` on.
    """

    __tablename__ = "scream_step"
    __table_args__ = (UniqueConstraint("remediation_id", "number"),)

    id: Mapped[Id]
    remediation_id: Mapped[str] = mapped_column(ForeignKey("remediation.id"))
    number: Mapped[int]  # 1 for the first
    target_kind: Mapped[Short]  # by what it is turned off: the credential's kind, or a way that can be heard
    audible: Mapped[bool] = mapped_column(Boolean)
    coverage: Mapped[Words]  # what can be heard, and what cannot
    lag_seconds: Mapped[int]  # how late a call shows
    off_at: Mapped[Instant]
    back_on_at: Mapped[Instant]
    heard_until: Mapped[Instant]  # up to here the log was read
    back_at: Mapped[Instant | None]
    outcome: Mapped[Outcome | None] = mapped_column(by_value(Outcome))  # None: under way, or not all is heard yet
    heard: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # the first call: who, whence, what


class ApprovalRow(Base):
    """The question to a second person about one act, and what they said. One is open at a time."""

    __tablename__ = "approval"
    __table_args__ = (
        Index(
            "uq_approval_open",
            "remediation_id",
            unique=True,
            sqlite_where=text("decided_at IS NULL"),
            postgresql_where=text("decided_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    remediation_id: Mapped[str] = mapped_column(ForeignKey("remediation.id"), index=True)
    because: Mapped[Short]  # why a second person is needed
    first: Mapped[str] = mapped_column(String(320))  # the e-mail of who decided: never the second
    asked_at: Mapped[Instant]
    delivery_id: Mapped[str | None] = mapped_column(ForeignKey("delivery.id"), index=True)  # None: not posted yet
    decided_at: Mapped[Instant | None]
    agreed: Mapped[bool | None] = mapped_column(Boolean)  # None: nobody has answered, or it was called off
    email: Mapped[str | None] = mapped_column(String(320))
    slack_id: Mapped[str | None] = mapped_column(String(32))
    name: Mapped[Words | None]
    authority: Mapped[Words | None]


class AuthenticatorRow(Base):
    """Somebody's authenticator. Its secret is nowhere: it follows from NHI_STEP_UP_KEY, the e-mail and the serial."""

    __tablename__ = "authenticator"

    email: Mapped[str] = mapped_column(String(320), primary_key=True)
    serial: Mapped[int]  # counts up with each enrolment, so that an old phone's codes are worth nothing
    enrolled_at: Mapped[Instant]
    by: Mapped[Short]  # who enrolled them
    last_step: Mapped[int | None]  # the last code's half minute, counted from 1970: no code is good twice
    failures: Mapped[int]
    locked_until: Mapped[Instant | None]


class StepUpRow(Base):
    """Somebody proved who they are, for one act, for five minutes."""

    __tablename__ = "step_up"
    __table_args__ = (UniqueConstraint("email", "about"),)

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320))
    slack_id: Mapped[str] = mapped_column(String(32))
    about: Mapped[Short]  # the offer or approval that the code was given for: an act, not a session
    at: Mapped[Instant]
    until: Mapped[Instant]


class SignInRow(Base):
    """A link by which somebody signs in, to prove who they are for one act. Of what opens it, only hashes are kept."""

    __tablename__ = "sign_in"

    id: Mapped[Id]
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str] = mapped_column(String(320))
    slack_id: Mapped[str] = mapped_column(String(32))
    about: Mapped[Short]  # the offer or approval that it is for
    until: Mapped[Instant]
    state_hash: Mapped[str | None] = mapped_column(String(64), index=True)  # of a sign-in under way; None: none is
    cookie_hash: Mapped[str | None] = mapped_column(String(64))
    began_at: Mapped[Instant | None]
    used_at: Mapped[Instant | None]


class AnnouncementRow(Base):
    """Something was told in the admins' channel: once, by its id."""

    __tablename__ = "announcement"

    about: Mapped[str] = mapped_column(
        String(64), primary_key=True
    )  # an attestation's or approval's id; "undo:" and an act's
    # or "second:" and that of an approval that nobody answered yet
    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"))
    at: Mapped[Instant]
