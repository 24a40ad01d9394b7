"""Rotations.

Why: A second key must never get lost: what is about to be made is written before it is made, with the keys that were
there, so that a run that was killed is found out by the next. Names and times only; a secret is in no row.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STAGES = ("making", "storing", "watching", "ready", "off", "lost", "failed", "taken_back")


def upgrade() -> None:
    op.create_table(
        "rotation",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("remediation_id", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.Enum(*_STAGES, name="stage", native_enum=False, length=32), nullable=False),
        sa.Column("place", sa.JSON(), nullable=False),
        sa.Column("keys_before", sa.JSON(), nullable=False),
        sa.Column("acting_as", sa.Text(), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=False),
        sa.Column("former", sa.String(length=255), nullable=True),
        sa.Column("began_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("new_key", sa.String(length=255), nullable=True),
        sa.Column("stored_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("where", sa.Text(), nullable=True),
        sa.Column("old_used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("new_used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("looked_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("blind", sa.Text(), nullable=True),
        sa.Column("ready_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("drawn", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["remediation_id"], ["remediation.id"], name=op.f("fk_rotation_remediation_id_remediation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rotation")),
        sa.UniqueConstraint("remediation_id", name=op.f("uq_rotation_remediation_id")),
    )
    op.create_table(
        "rotation_card",
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("rotation_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_rotation_card_delivery_id_delivery")),
        sa.ForeignKeyConstraint(["rotation_id"], ["rotation.id"], name=op.f("fk_rotation_card_rotation_id_rotation")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_rotation_card")),
    )
    op.create_index(op.f("ix_rotation_card_rotation_id"), "rotation_card", ["rotation_id"])


def downgrade() -> None:
    op.drop_table("rotation_card")
    op.drop_table("rotation")
