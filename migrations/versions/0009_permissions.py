"""Permissions.

Why: What an identity may do is kept since when, so that what grew since somebody last answered for it can be told.
Sets are named by their digest, since many identities share one. What AWS's own policies say never changes by version,
so it is read once and kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "permission_set",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("powers", sa.JSON(), nullable=False),
        sa.Column("gravity", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_permission_set")),
    )
    op.create_table(
        "permission_spell",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("began_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ended_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["identity_id"], ["identity.id"], name=op.f("fk_permission_spell_identity_id_identity")
        ),
        sa.ForeignKeyConstraint(
            ["digest"], ["permission_set.digest"], name=op.f("fk_permission_spell_digest_permission_set")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permission_spell")),
    )
    op.create_index(op.f("ix_permission_spell_digest"), "permission_spell", ["digest"])
    op.create_index(op.f("ix_permission_spell_identity_id_began_at"), "permission_spell", ["identity_id", "began_at"])
    op.create_index(
        "uq_permission_spell_in_force",
        "permission_spell",
        ["identity_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "permission_use",
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("asked_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_permission_use_identity_id_identity")),
        sa.PrimaryKeyConstraint("identity_id", name=op.f("pk_permission_use")),
    )
    op.create_table(
        "policy_document",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("read_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_policy_document")),
    )


def downgrade() -> None:
    op.drop_table("policy_document")
    op.drop_table("permission_use")
    op.drop_index("uq_permission_spell_in_force", table_name="permission_spell")
    op.drop_index(op.f("ix_permission_spell_identity_id_began_at"), table_name="permission_spell")
    op.drop_index(op.f("ix_permission_spell_digest"), table_name="permission_spell")
    op.drop_table("permission_spell")
    op.drop_table("permission_set")
