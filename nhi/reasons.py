"""What a person may write as a reason, and until when it may hold. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from nhi.errors import BadAnswer
from nhi.policy import Policy
from nhi.redact import holds_secret, one_line
from nhi.words import sentence

SHORTEST_REASON = 10
LONGEST_REASON = 2000


def check_reason(words: str) -> str:
    """Return the reason without the space around it. Raises BadAnswer: too short, too long, or it holds a secret."""
    reason = one_line(words)  # as it will be read: neither ten invisible characters nor a key cut by one pass
    if len(reason) < SHORTEST_REASON:
        raise BadAnswer(sentence("refusals.reason_too_short", shortest=SHORTEST_REASON), field="reason")
    if len(reason) > LONGEST_REASON:
        raise BadAnswer(sentence("refusals.too_long", longest=LONGEST_REASON), field="reason")
    if holds_secret(reason) or holds_secret(words):
        raise BadAnswer(sentence("refusals.reason_holds_secret"), field="reason")
    return reason


def latest_day(policy: Policy, now: datetime) -> date:
    """Return the last day that a justification may run to; a policy of "never" an end allows the calendar's last."""
    most = policy.rules.justification_at_most
    return (now + most).date() if most < datetime.max.replace(tzinfo=UTC) - now - timedelta(days=2) else date.max


def check_until(until: date, policy: Policy, now: datetime) -> datetime:
    """Return the end of that day in UTC. Raises BadAnswer where it is past, or later than policy allows."""
    longest = latest_day(policy, now)
    if until <= now.date():
        raise BadAnswer(sentence("refusals.day_is_past"), field="until")
    if until > longest:
        raise BadAnswer(sentence("refusals.day_too_late", latest=longest), field="until")
    if until >= date.max - timedelta(days=1):
        raise BadAnswer(sentence("refusals.day_beyond_calendar"), field="until")
    return datetime.combine(until + timedelta(days=1), time(0), UTC)
