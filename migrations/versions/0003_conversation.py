"""Conversation.

Why: Snoozes and promises end on a day and must outlive a process. Who is away is not asked, and questions that one
answer fits are asked as one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("person", sa.Column("away_until", tables.UtcDateTime(timezone=True), nullable=True))
    op.add_column("ask", sa.Column("group_id", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_ask_group_id"), "ask", ["group_id"])
    op.create_table(
        "snooze",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_snooze_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snooze")),
    )
    op.create_index(op.f("ix_snooze_identity_id"), "snooze", ["identity_id"])
    op.create_table(
        "promise",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("attestation_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("made_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("followed_up_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_promise_identity_id_identity")),
        sa.ForeignKeyConstraint(
            ["attestation_id"], ["attestation.id"], name=op.f("fk_promise_attestation_id_attestation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promise")),
    )
    op.create_index(op.f("ix_promise_identity_id"), "promise", ["identity_id"])


def downgrade() -> None:
    op.drop_table("promise")
    op.drop_table("snooze")
    op.drop_index(op.f("ix_ask_group_id"), table_name="ask")
    op.drop_column("ask", "group_id")
    op.drop_column("person", "away_until")
