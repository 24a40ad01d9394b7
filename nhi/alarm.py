"""When somebody is asked "was this you?", and who is told where there is no answer. Pure, with `now` passed in.

What is grave is asked at once, at any hour: Slack's own "do not disturb" keeps a phone silent, and security is told
besides. What is not waits for working hours. Nobody gets more than a few a day, or they would stop reading them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nhi.escalation import Ask, Escalate, Step, Wait, is_working_time, reachable
from nhi.findings import SEVERITIES, Severity
from nhi.policy import Policy

A_PERSON_A_DAY = 3


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One finding of activity, and what has been said about it so far."""

    severity: Severity
    asked_at: datetime | None = None  # None: nobody was asked yet
    last_step_at: datetime | None = None
    escalated_to: tuple[str, ...] = ()


def is_grave(severity: Severity) -> bool:
    """Whether it is asked at any hour."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(Severity.HIGH)


def next_alarm(
    alarm: Alarm,
    *,
    candidate: str | None,
    tz: str,
    today: int,
    today_of_candidate: int,
    manager_known: bool,
    policy: Policy,
    now: datetime,
) -> Step:
    """Decide what to say next. `today` counts the alarms of the last 24 hours, to all people and to the candidate."""
    rules, ladder = policy.activity, policy.conversation
    disturbs = is_grave(alarm.severity) or is_working_time(now, tz, ladder)
    if alarm.asked_at is not None:
        return _while_asked(alarm, disturbs=disturbs, manager_known=manager_known, policy=policy, now=now)
    if candidate is None:
        return Wait(until=None, why="nobody is known to ask")
    if alarm.severity is not Severity.CRITICAL:
        if today >= rules.alarms_a_day:
            return Wait(until=None, why="policy allows no more alarms today")
        if today_of_candidate >= A_PERSON_A_DAY:
            return Wait(until=None, why="had enough alarms today")
    if not disturbs:
        return Wait(until=None, why="outside working hours")
    return Ask(email=candidate)


def _while_asked(alarm: Alarm, *, disturbs: bool, manager_known: bool, policy: Policy, now: datetime) -> Step:
    last = alarm.last_step_at or alarm.asked_at
    assert last is not None
    due = last + policy.activity.answer_within
    if due > now:
        return Wait(until=due, why="asked, waiting for the answer")
    if not disturbs:
        return Wait(until=None, why="outside working hours")
    for rung in reachable(policy.conversation.escalate_to, manager_known=manager_known):
        if rung not in alarm.escalated_to:
            return Escalate(to=rung)
    return Wait(until=None, why="everybody that policy names has been told")
