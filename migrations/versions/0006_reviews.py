"""Reviews.

Why: A campaign freezes what it asks about, and who is asked. What people decide and sign is append-only, as
attestations are: an answer that could be changed afterwards would prove nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPEND_ONLY = ("review_decision", "review_signature")


def _refuse_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuses_changes BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()"
    )


def upgrade() -> None:
    op.create_table(
        "review_campaign",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("quarter", sa.String(length=6), nullable=False),
        sa.Column("opened_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("opened_by", sa.String(length=255), nullable=False),
        sa.Column("due_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("population", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("closed_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.String(length=255), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_campaign")),
        sa.UniqueConstraint("quarter", name=op.f("uq_review_campaign_quarter")),
    )
    op.create_table(
        "review_board",
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("as_list", sa.Boolean(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_board_campaign_id_review_campaign")
        ),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_review_board_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_review_board")),
    )
    with op.batch_alter_table("review_board", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_review_board_campaign_id_email"), ["campaign_id", "email"], unique=False)

    op.create_table(
        "review_chart",
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("left", sa.Integer(), nullable=False),
        sa.Column("decided", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.String(length=255), nullable=True),
        sa.Column("delivery_id", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_chart_campaign_id_review_campaign")
        ),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_review_chart_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("campaign_id", "day", name=op.f("pk_review_chart")),
    )
    op.create_table(
        "review_item",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(length=320), nullable=False),
        sa.Column(
            "because",
            sa.Enum(
                "owner", "likely", "manager", "security", "reassigned", name="because", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column("self_review", sa.Boolean(), nullable=False),
        sa.Column("by_creator", sa.Boolean(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "kept",
                "off",
                "carried",
                "gone",
                "unanswered",
                name="itemstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("risk", sa.Enum("low", "medium", "high", name="risk", native_enum=False, length=32), nullable=False),
        sa.Column("privileged", sa.Boolean(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("kin", sa.String(length=64), nullable=True),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("added_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("carried_from", sa.String(length=32), nullable=True),
        sa.Column("decision_id", sa.String(length=32), nullable=True),
        sa.Column("decided_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("later_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("asked_again_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_item_campaign_id_review_campaign")
        ),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_review_item_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_item")),
        sa.UniqueConstraint("campaign_id", "identity_id", name=op.f("uq_review_item_campaign_id_identity_id")),
    )
    with op.batch_alter_table("review_item", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_review_item_campaign_id_reviewer_status"),
            ["campaign_id", "reviewer", "status"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_review_item_identity_id"), ["identity_id"], unique=False)

    op.create_table(
        "review_offer",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("item_ids", sa.JSON(), nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("opened_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_offer_campaign_id_review_campaign")
        ),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_review_offer_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_offer")),
    )
    with op.batch_alter_table("review_offer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_review_offer_delivery_id"), ["delivery_id"], unique=False)

    op.create_table(
        "review_reviewer",
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("told_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("last_step_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("escalated_to", sa.JSON(), nullable=False),
        sa.Column("asked_again_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("asked_again_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_reviewer_campaign_id_review_campaign")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "email", name=op.f("pk_review_reviewer")),
    )
    op.create_table(
        "review_signature",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("slack_id", sa.String(length=32), nullable=True),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("result_hash", sa.String(length=64), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_signature_campaign_id_review_campaign")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_signature")),
        sa.UniqueConstraint("campaign_id", name=op.f("uq_review_signature_campaign_id")),
    )
    op.create_table(
        "review_decision",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column(
            "answer",
            sa.Enum("keep", "off", "reassign", "reopen", name="answer", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("slack_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("reassigned_to", sa.String(length=320), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("shown_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("dwell_seconds", sa.Float(), nullable=False),
        sa.Column("evidence_opened", sa.Boolean(), nullable=False),
        sa.Column("together", sa.Integer(), nullable=False),
        sa.Column("self_review", sa.Boolean(), nullable=False),
        sa.Column("by_creator", sa.Boolean(), nullable=False),
        sa.Column("attestation_id", sa.String(length=32), nullable=True),
        sa.Column("remediation_ids", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attestation_id"], ["attestation.id"], name=op.f("fk_review_decision_attestation_id_attestation")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["review_campaign.id"], name=op.f("fk_review_decision_campaign_id_review_campaign")
        ),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_review_decision_identity_id_identity")),
        sa.ForeignKeyConstraint(["item_id"], ["review_item.id"], name=op.f("fk_review_decision_item_id_review_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_decision")),
    )
    with op.batch_alter_table("review_decision", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_review_decision_attestation_id"), ["attestation_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_review_decision_campaign_id_email_at"), ["campaign_id", "email", "at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_review_decision_identity_id"), ["identity_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_review_decision_item_id"), ["item_id"], unique=False)

    for table in APPEND_ONLY:
        _refuse_changes(table)


def downgrade() -> None:
    with op.batch_alter_table("review_decision", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_review_decision_item_id"))
        batch_op.drop_index(batch_op.f("ix_review_decision_identity_id"))
        batch_op.drop_index(batch_op.f("ix_review_decision_campaign_id_email_at"))
        batch_op.drop_index(batch_op.f("ix_review_decision_attestation_id"))

    op.drop_table("review_decision")
    op.drop_table("review_signature")
    op.drop_table("review_reviewer")
    with op.batch_alter_table("review_offer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_review_offer_delivery_id"))

    op.drop_table("review_offer")
    with op.batch_alter_table("review_item", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_review_item_identity_id"))
        batch_op.drop_index(batch_op.f("ix_review_item_campaign_id_reviewer_status"))

    op.drop_table("review_item")
    op.drop_table("review_chart")
    with op.batch_alter_table("review_board", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_review_board_campaign_id_email"))

    op.drop_table("review_board")
    op.drop_table("review_campaign")
    if op.get_bind().dialect.name == "postgresql":
        for table in APPEND_ONLY:
            op.execute(f"DROP FUNCTION {table}_is_append_only()")
