"""The quarter: what is asked of whom, what was said, and who signed it. Decisions and signatures are only added to."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import JSON, Boolean, Date, Float, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from nhi.reviews import Answer, Because, ItemStatus, Risk
from nhi.tables.columns import Base, Id, Instant, Short, Words, by_value
from nhi.tables.inventory import IdentityRow


class ReviewCampaignRow(Base):
    """One quarter's review. UNIQUE, so that a quarter has one; closed once, and never opened again."""

    __tablename__ = "review_campaign"
    __table_args__ = (UniqueConstraint("quarter"),)

    id: Mapped[Id]
    quarter: Mapped[str] = mapped_column(String(6))  # "2026Q4"
    opened_at: Mapped[Instant]
    opened_by: Mapped[Short]
    due_at: Mapped[Instant]
    population: Mapped[str] = mapped_column(String(64))  # SHA-256 over the items as frozen
    facts: Mapped[dict[str, Any]]  # the scans that it rests on, what was left out and why, the rules in force
    closed_at: Mapped[Instant | None]
    closed_by: Mapped[Short | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # the counts at its close


class ReviewItemRow(Base):
    """One identity in a campaign, frozen as it was, with its one reviewer."""

    __tablename__ = "review_item"
    __table_args__ = (
        UniqueConstraint("campaign_id", "identity_id"),
        Index(None, "campaign_id", "reviewer", "status"),
        Index(None, "identity_id"),
    )

    id: Mapped[Id]
    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"))
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"))
    position: Mapped[int]  # the order of the cards: what changed comes first
    reviewer: Mapped[str] = mapped_column(String(320))
    because: Mapped[Because] = mapped_column(by_value(Because))
    self_review: Mapped[bool] = mapped_column(Boolean)
    by_creator: Mapped[bool] = mapped_column(Boolean)  # the reviewer made the identity
    status: Mapped[ItemStatus] = mapped_column(by_value(ItemStatus))
    risk: Mapped[Risk] = mapped_column(by_value(Risk))
    privileged: Mapped[bool] = mapped_column(Boolean)
    facts: Mapped[dict[str, Any]]
    fingerprint: Mapped[str] = mapped_column(String(64))
    kin: Mapped[str | None] = mapped_column(String(64))  # the same for items with the same facts; None: never in bulk
    changes: Mapped[list[dict[str, Any]]]  # since its last decision
    late: Mapped[bool] = mapped_column(Boolean)
    added_at: Mapped[Instant]
    carried_from: Mapped[str | None] = mapped_column(String(32))  # the decision of a former campaign that still stands
    decision_id: Mapped[str | None] = mapped_column(String(32))  # the decision that counts
    decided_at: Mapped[Instant | None]
    later_at: Mapped[Instant | None]  # put off by its reviewer: it comes after the others
    asked_again_at: Mapped[Instant | None]

    identity: Mapped[IdentityRow] = relationship()


class ReviewDecisionRow(Base):
    """What a person said of one item. Never changed: a correction is a new row."""

    __tablename__ = "review_decision"
    __table_args__ = (Index(None, "campaign_id", "email", "at"),)

    id: Mapped[Id]
    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"))
    item_id: Mapped[str] = mapped_column(ForeignKey("review_item.id"), index=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identity.id"), index=True)
    answer: Mapped[Answer] = mapped_column(by_value(Answer))
    email: Mapped[str] = mapped_column(String(320))
    slack_id: Mapped[str] = mapped_column(String(32))
    name: Mapped[Words]
    authority: Mapped[Words]  # reviewer, delegate of ..., admin
    words: Mapped[Words | None]
    reassigned_to: Mapped[str | None] = mapped_column(String(320))
    fingerprint: Mapped[str] = mapped_column(String(64))  # of the facts that it rests on
    shown: Mapped[dict[str, Any]]
    shown_at: Mapped[Instant]
    at: Mapped[Instant]
    dwell_seconds: Mapped[float] = mapped_column(Float)
    evidence_opened: Mapped[bool] = mapped_column(Boolean)
    together: Mapped[int]  # how many items this one press answered
    self_review: Mapped[bool] = mapped_column(Boolean)
    by_creator: Mapped[bool] = mapped_column(Boolean)
    attestation_id: Mapped[str | None] = mapped_column(ForeignKey("attestation.id"), index=True)
    remediation_ids: Mapped[list[str]]


class ReviewReviewerRow(Base):
    """One person in one campaign: what they were told, and whether they were asked to look again."""

    __tablename__ = "review_reviewer"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"), primary_key=True)
    email: Mapped[str] = mapped_column(String(320), primary_key=True)
    told_at: Mapped[Instant | None]  # the first message; None: not yet
    reminders: Mapped[int]
    last_step_at: Mapped[Instant | None]
    escalated_to: Mapped[list[str]]
    asked_again_at: Mapped[Instant | None]
    asked_again_because: Mapped[Words | None]


class ReviewBoardRow(Base):
    """One message on which somebody reviews. The newest one of a reader is the one with buttons."""

    __tablename__ = "review_board"
    __table_args__ = (Index(None, "campaign_id", "email"),)

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"))
    email: Mapped[str] = mapped_column(String(320))  # whose items it shows
    as_list: Mapped[bool] = mapped_column(Boolean)
    page: Mapped[int]
    created_at: Mapped[Instant]


class ReviewOfferRow(Base):
    """One drawn set of buttons for one item, or for several with the same facts; good for one answer."""

    __tablename__ = "review_offer"

    id: Mapped[Id]
    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"))
    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), index=True)
    item_ids: Mapped[list[str]]
    actions: Mapped[list[str]]
    shown: Mapped[dict[str, Any]]
    created_at: Mapped[Instant]
    opened_at: Mapped[Instant | None]  # when its evidence was looked at; None: it was not
    used_at: Mapped[Instant | None]


class ReviewSignatureRow(Base):
    """Management's word on a closed campaign: at most one, and never changed."""

    __tablename__ = "review_signature"
    __table_args__ = (UniqueConstraint("campaign_id"),)

    id: Mapped[Id]
    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"))
    name: Mapped[Words]
    role: Mapped[Words]
    words: Mapped[Words]
    email: Mapped[str | None] = mapped_column(String(320))  # None: signed on the command line
    slack_id: Mapped[str | None] = mapped_column(String(32))
    by: Mapped[Short]  # which hand: "Slack", or whose shell
    result_hash: Mapped[str] = mapped_column(String(64))  # SHA-256 of the result that was signed
    at: Mapped[Instant]


class ReviewChartRow(Base):
    """One day's burn-down picture: uploaded once, posted once."""

    __tablename__ = "review_chart"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("review_campaign.id"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    left: Mapped[int]
    decided: Mapped[int]
    file_id: Mapped[Short | None]  # Slack's; None: it could not be uploaded, and words do
    delivery_id: Mapped[str | None] = mapped_column(ForeignKey("delivery.id"))
