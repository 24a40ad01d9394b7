"""Shadow mode: until an admin presses Go, or policy ends it, nobody but admins hears anything."""

from __future__ import annotations

from sqlalchemy.orm import Session

from nhi.policy import Policy
from nhi.tables import SwitchRow

LIVE_SWITCH = "live"  # on since an admin pressed Go


def is_shadow(session: Session, policy: Policy) -> bool:
    """Whether cards go to admins only: policy says so, and no admin has pressed Go."""
    return policy.conversation.shadow and session.get(SwitchRow, LIVE_SWITCH) is None
