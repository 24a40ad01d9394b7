"""Sign-ins at the identity provider.

Why: Policy may ask for a second proof of who somebody is, and a company that has single sign-on wants its own. A link
in Slack stands for one person and one act, and is used once; of the link, and of what goes through the browser, only
hashes are kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_in",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("slack_id", sa.String(length=32), nullable=False),
        sa.Column("about", sa.String(length=255), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("state_hash", sa.String(length=64), nullable=True),
        sa.Column("cookie_hash", sa.String(length=64), nullable=True),
        sa.Column("began_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_in_token_hash")),
    )
    op.create_index(op.f("ix_sign_in_state_hash"), "sign_in", ["state_hash"])


def downgrade() -> None:
    op.drop_index(op.f("ix_sign_in_state_hash"), table_name="sign_in")
    op.drop_table("sign_in")
