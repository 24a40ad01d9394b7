"""Scream tests.

Why: What is turned off for a while must come back whatever becomes of who turned it off, so the instant at which it
does is written before the cloud is asked: a row for each step, that any worker finds. The steps that a person agreed
to are kept with the act, so that a later change of policy does not lengthen them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LIVE = "status IN ('proposed', 'awaiting', 'planned', 'acting', 'testing')"
_LIVE_BEFORE = "status IN ('proposed', 'awaiting', 'planned', 'acting')"
_OUTCOMES = ("heard", "silent", "unheard", "disturbed", "undone", "void")


def _one_live_act(condition: str) -> None:
    op.drop_index("uq_remediation_live", table_name="remediation")
    op.create_index(
        "uq_remediation_live",
        "remediation",
        ["credential_id", "kind"],
        unique=True,
        sqlite_where=sa.text(condition),
        postgresql_where=sa.text(condition),
    )


def upgrade() -> None:
    op.add_column("remediation", sa.Column("ladder", sa.JSON(), nullable=True))
    op.create_table(
        "scream_step",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("remediation_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("target_kind", sa.String(length=255), nullable=False),
        sa.Column("audible", sa.Boolean(), nullable=False),
        sa.Column("coverage", sa.Text(), nullable=False),
        sa.Column("lag_seconds", sa.Integer(), nullable=False),
        sa.Column("off_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("back_on_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("heard_until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("back_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Enum(*_OUTCOMES, name="outcome", native_enum=False, length=32), nullable=True),
        sa.Column("heard", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["remediation_id"], ["remediation.id"], name=op.f("fk_scream_step_remediation_id_remediation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scream_step")),
        sa.UniqueConstraint("remediation_id", "number", name=op.f("uq_scream_step_remediation_id_number")),
    )
    _one_live_act(_LIVE)


def downgrade() -> None:
    # What is off for a while is one that was done to the former schema: its Undo still turns it on.
    op.execute("UPDATE remediation SET status = 'done' WHERE status = 'testing'")
    _one_live_act(_LIVE_BEFORE)
    op.drop_table("scream_step")
    with op.batch_alter_table("remediation") as batch_op:
        batch_op.drop_column("ladder")
