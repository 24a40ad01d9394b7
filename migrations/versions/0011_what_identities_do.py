"""What identities do.

Why: What is unusual for an identity is told by its own history, so that is kept, bounded, day by day. How far a trail
was read, and which events, is written with it: an event counts once, whatever dies. What somebody said is theirs is
never changed: it takes no UPDATE and no DELETE, as the attestation that it comes from.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


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
        "activity_gap",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_gap")),
    )
    op.create_index(op.f("ix_activity_gap_source"), "activity_gap", ["source"])

    op.create_table(
        "activity_position",
        sa.Column("place", sa.String(length=500), nullable=False),
        sa.Column("position", sa.JSON(), nullable=False),
        sa.Column("read_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_activity_position")),
    )
    op.create_table(
        "activity_profile",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("who", sa.String(length=320), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("unlike", sa.Boolean(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("denied", sa.Integer(), nullable=False),
        sa.Column("first_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_profile")),
        sa.UniqueConstraint("provider", "who", "day", "days", name=op.f("uq_activity_profile_provider_who_day_days")),
    )
    op.create_index(op.f("ix_activity_profile_day"), "activity_profile", ["day"])

    op.create_table(
        "activity_seen",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("what", sa.String(length=8), nullable=False),
        sa.Column("read_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_seen")),
    )
    op.create_index(op.f("ix_activity_seen_source_what_read_at"), "activity_seen", ["source", "what", "read_at"])

    op.create_table(
        "anomaly",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("finding_id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("found_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.id"], name=op.f("fk_anomaly_finding_id_finding")),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_anomaly_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anomaly")),
        sa.UniqueConstraint("finding_id", "day", name=op.f("uq_anomaly_finding_id_day")),
    )
    op.create_index(op.f("ix_anomaly_identity_id_day"), "anomaly", ["identity_id", "day"])

    op.create_table(
        "learned",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("facet", sa.String(length=255), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("attestation_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["attestation_id"], ["attestation.id"], name=op.f("fk_learned_attestation_id_attestation")
        ),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_learned_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_learned")),
    )
    op.create_index(op.f("ix_learned_identity_id"), "learned", ["identity_id"])
    _refuse_changes("learned")


def downgrade() -> None:
    # The former schema has no word for what was found in what an identity did, nor for the answers to it.
    op.execute("DELETE FROM ask_finding WHERE finding_id IN (SELECT id FROM finding WHERE kind = 'anomalous')")
    op.drop_table("learned")
    op.drop_table("anomaly")
    op.execute("DELETE FROM finding WHERE kind = 'anomalous'")
    op.drop_table("activity_seen")
    op.drop_table("activity_profile")
    op.drop_table("activity_position")
    op.drop_table("activity_gap")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION learned_is_append_only()")
