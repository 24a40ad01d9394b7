"""Owners.

Why: People, teams and what evidence says of owners need rows of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _evidence_up()
    _people_up()


def downgrade() -> None:
    _people_down()
    _evidence_down()


def _evidence_up() -> None:
    """A fact may tell where it can be looked up: a line in a repository, an event."""
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.add_column(sa.Column("url", sa.Text(), nullable=True))
    op.create_table(
        "evidence_search",
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("question", sa.String(length=32), nullable=False),
        sa.Column("searched_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_evidence_search_identity_id_identity")),
        sa.PrimaryKeyConstraint("identity_id", "question", name=op.f("pk_evidence_search")),
    )


def _evidence_down() -> None:
    op.drop_table("evidence_search")
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.drop_column("url")


def _people_up() -> None:
    """People as sources tell of them, teams that are asked together, and what leavers hand over."""
    op.create_table(
        "directory_entry",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("manager", sa.String(length=320), nullable=True),
        sa.Column("team", sa.String(length=255), nullable=True),
        sa.Column("team_channel", sa.String(length=255), nullable=True),
        sa.Column("team_default", sa.String(length=320), nullable=True),
        sa.Column("starts_on", sa.Date(), nullable=True),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("logins", sa.JSON(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_entry")),
    )
    with op.batch_alter_table("directory_entry", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_directory_entry_email"), ["email"], unique=False)
        batch_op.create_index(
            "uq_directory_entry_current",
            ["source", "email"],
            unique=True,
            sqlite_where=sa.text("until IS NULL"),
            postgresql_where=sa.text("until IS NULL"),
        )

    op.create_table(
        "directory_pull",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("started_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_directory_pull")),
    )
    op.create_table(
        "handover",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("manager", sa.String(length=320), nullable=True),
        sa.Column("manager_because", sa.Text(), nullable=True),
        sa.Column("opened_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("leaver_asked_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("manager_asked_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("reminded_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("closed_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handover")),
    )
    with op.batch_alter_table("handover", schema=None) as batch_op:
        batch_op.create_index(
            "uq_handover_open",
            ["email"],
            unique=True,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        )

    op.create_table(
        "handover_item",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("handover_id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "open",
                "proposed",
                "accepted",
                "released",
                "closed",
                name="handoveritemstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("suggested", sa.String(length=320), nullable=True),
        sa.Column("why", sa.JSON(), nullable=False),
        sa.Column("heir", sa.String(length=320), nullable=True),
        sa.Column("named_by", sa.String(length=320), nullable=True),
        sa.Column("named_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("asked_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("reminded_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("passed", sa.JSON(), nullable=False),
        sa.Column("ended_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["handover_id"], ["handover.id"], name=op.f("fk_handover_item_handover_id_handover")),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_handover_item_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handover_item")),
        sa.UniqueConstraint("handover_id", "identity_id", name=op.f("uq_handover_item_handover_id_identity_id")),
    )
    with op.batch_alter_table("handover_item", schema=None) as batch_op:
        batch_op.create_index(
            "uq_handover_item_live",
            ["identity_id"],
            unique=True,
            sqlite_where=sa.text("status IN ('open', 'proposed')"),
            postgresql_where=sa.text("status IN ('open', 'proposed')"),
        )

    op.create_table(
        "handover_card",
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("handover_id", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_handover_card_delivery_id_delivery")),
        sa.ForeignKeyConstraint(["handover_id"], ["handover.id"], name=op.f("fk_handover_card_handover_id_handover")),
        sa.ForeignKeyConstraint(["item_id"], ["handover_item.id"], name=op.f("fk_handover_card_item_id_handover_item")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_handover_card")),
    )
    with op.batch_alter_table("handover_card", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_handover_card_handover_id"), ["handover_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_handover_card_item_id"), ["item_id"], unique=False)

    op.create_table(
        "team_claim",
        sa.Column("ask_id", sa.String(length=32), nullable=False),
        sa.Column("team", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=255), nullable=False),
        sa.Column("deadline_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("handed_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["ask_id"], ["ask.id"], name=op.f("fk_team_claim_ask_id_ask")),
        sa.PrimaryKeyConstraint("ask_id", name=op.f("pk_team_claim")),
    )


def _people_down() -> None:
    for table in ("team_claim", "handover_card", "handover_item", "handover", "directory_pull", "directory_entry"):
        op.drop_table(table)
