"""What an outage delayed is not said at night: a question waits for its reader's next working hour.

Who writes a message down decides that now is a good time for it; this is for what could not be posted then. What was
written outside working hours is meant to be read there: an answer to a click, or what somebody asked for by hand.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from nhi.escalation import is_working_time
from nhi.policy import Policy
from nhi.screaming import begins_at
from nhi.tables import DeliveryRow, PersonRow

QUESTIONS = frozenset(
    {
        *("digest", "reminder", "escalation", "handover", "heir", "shadow", "golive"),
        *("review", "review_reminder", "review_again", "review_escalation"),
    }
)
DELAYED_AFTER = timedelta(minutes=15)  # before that, nothing was amiss: it was written at the end of a working day
OUT_OF_HOURS = "outside working hours"


def put_off_until(session: Session, row: DeliveryRow, policy: Policy, now: datetime) -> datetime | None:
    """Return when a delayed question may be posted to its reader; None: now. Alarms and channels never wait."""
    if row.kind not in QUESTIONS or now - row.created_at < DELAYED_AFTER:
        return None
    who, rules = session.get(PersonRow, row.recipient), policy.conversation
    if who is None or is_working_time(now, who.tz, rules) or not is_working_time(row.created_at, who.tz, rules):
        return None
    opens = begins_at(now, None, tz=who.tz, hours=rules.working_hours, holidays=rules.holidays)
    return opens if opens > now else None
