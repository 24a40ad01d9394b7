"""Acts.

Why: An act's whole life is written down, so that a crash resumes or stops safely.
"""

from __future__ import annotations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
