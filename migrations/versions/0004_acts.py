"""Acts.

Why: An act's whole life is written down, so that a crash resumes or stops safely, and an auditor reads each step. A
step is append-only as the events are. Who agreed as the second person, and who proved who they are, is asked by the
worker right before the act, so it is a row and not a word in one. A credential's own pauses are kept with it: they
are few, and every judging of its use reads them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LIVE = "status IN ('proposed', 'awaiting', 'planned', 'acting')"
_LIVE_BEFORE = "status IN ('proposed', 'planned', 'acting')"
_STATES = (
    *("proposed", "awaiting_second", "scheduled", "checked", "acting", "verified", "watching"),
    *("undoing", "undone", "refused", "failed", "closed"),
)


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


def _create_steps() -> None:
    op.create_table(
        "remediation_step",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("remediation_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Enum(*_STATES, name="state", native_enum=False, length=32), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("because", sa.Text(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["remediation_id"], ["remediation.id"], name=op.f("fk_remediation_step_remediation_id_remediation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remediation_step")),
        sa.UniqueConstraint("remediation_id", "number", name=op.f("uq_remediation_step_remediation_id_number")),
    )
    _refuse_changes("remediation_step")


def _create_approvals() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("remediation_id", sa.String(length=32), nullable=False),
        sa.Column("because", sa.String(length=255), nullable=False),
        sa.Column("first", sa.String(length=320), nullable=False),
        sa.Column("asked_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=True),
        sa.Column("decided_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("agreed", sa.Boolean(), nullable=True),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("slack_id", sa.String(length=32), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("authority", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_approval_delivery_id_delivery")),
        sa.ForeignKeyConstraint(
            ["remediation_id"], ["remediation.id"], name=op.f("fk_approval_remediation_id_remediation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    op.create_index(op.f("ix_approval_remediation_id"), "approval", ["remediation_id"])
    op.create_index(op.f("ix_approval_delivery_id"), "approval", ["delivery_id"])
    op.create_index(
        "uq_approval_open",
        "approval",
        ["remediation_id"],
        unique=True,
        sqlite_where=sa.text("decided_at IS NULL"),
        postgresql_where=sa.text("decided_at IS NULL"),
    )


def _create_step_ups() -> None:
    op.create_table(
        "authenticator",
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("enrolled_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_authenticator")),
    )
    op.create_table(
        "step_up",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("slack_id", sa.String(length=32), nullable=False),
        sa.Column("about", sa.String(length=255), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step_up")),
        sa.UniqueConstraint("email", "about", name=op.f("uq_step_up_email_about")),
    )
    op.create_table(
        "announcement",
        sa.Column("about", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_announcement_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("about", name=op.f("pk_announcement")),
    )


def upgrade() -> None:
    _create_steps()
    _create_approvals()
    _create_step_ups()
    _one_live_act(_LIVE)
    op.add_column("credential", sa.Column("pauses", sa.JSON(), nullable=False, server_default=sa.text("'[]'")))


def downgrade() -> None:
    # What the former schema has no word for: an act that waits is planned, one that is closed was done.
    op.execute("UPDATE remediation SET status = 'planned' WHERE status = 'awaiting'")
    op.execute("UPDATE remediation SET status = 'done' WHERE status = 'closed'")
    op.execute("UPDATE remediation SET status = 'refused' WHERE kind = 'revoke' AND status IN ('planned', 'acting')")
    with op.batch_alter_table("credential") as batch_op:
        batch_op.drop_column("pauses")
    _one_live_act(_LIVE_BEFORE)
    op.drop_table("announcement")
    op.drop_table("step_up")
    op.drop_table("authenticator")
    op.drop_table("approval")
    op.drop_table("remediation_step")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION remediation_step_is_append_only()")
