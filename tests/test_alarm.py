"""When "was this you?" is asked, and who is told where nobody answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nhi.alarm import A_PERSON_A_DAY, Alarm, next_alarm
from nhi.escalation import Ask, Escalate, Step, Wait
from nhi.findings import Severity
from nhi.policy import parse

MONDAY = datetime(2026, 11, 23, 10, tzinfo=UTC)
NIGHT = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)  # a Saturday
POLICY = parse({"activity": {"answer_within": "4h", "alarms_a_day": 10}})


def step(alarm: Alarm, now: datetime = MONDAY, **other: Any) -> Step:
    facts: dict[str, Any] = {"candidate": "ana@example.com", "tz": "UTC", "today": 0, "today_of_candidate": 0}
    return next_alarm(alarm, **(facts | {"manager_known": False} | other), policy=POLICY, now=now)


@pytest.mark.parametrize("severity", [Severity.HIGH, Severity.CRITICAL])
def test_what_is_grave_is_asked_at_any_hour(severity: Severity) -> None:
    assert step(Alarm(severity=severity), NIGHT) == Ask(email="ana@example.com")


def test_what_is_not_waits_for_working_hours() -> None:
    medium = Alarm(severity=Severity.MEDIUM)
    assert step(medium, NIGHT) == Wait(until=None, why="outside working hours")
    assert step(medium) == Ask(email="ana@example.com")


def test_nobody_gets_more_than_a_few_a_day_and_a_company_not_more_than_policy_says_unless_it_is_critical() -> None:
    high, critical = Alarm(severity=Severity.HIGH), Alarm(severity=Severity.CRITICAL)
    assert step(high, today_of_candidate=A_PERSON_A_DAY - 1) == Ask(email="ana@example.com")
    assert isinstance(step(high, today_of_candidate=A_PERSON_A_DAY), Wait)
    assert step(high, today=9) == Ask(email="ana@example.com")
    assert isinstance(step(high, today=10), Wait)
    assert step(critical, today=10, today_of_candidate=A_PERSON_A_DAY) == Ask(email="ana@example.com")


def test_silence_climbs_the_ladder_a_rung_each_time_and_then_rests() -> None:
    asked = Alarm(severity=Severity.HIGH, asked_at=MONDAY, last_step_at=MONDAY)
    just_before, due = MONDAY + timedelta(hours=4, seconds=-1), MONDAY + timedelta(hours=4)
    assert step(asked, just_before) == Wait(until=due, why="asked, waiting for the answer")
    assert step(asked, due) == Escalate(to="#security")
    assert step(asked, due, manager_known=True) == Escalate(to="manager")
    told = Alarm(severity=Severity.HIGH, asked_at=MONDAY, last_step_at=due, escalated_to=("#security",))
    assert isinstance(step(told, due + timedelta(hours=4)), Wait)


def test_where_nobody_is_known_it_waits() -> None:
    assert step(Alarm(severity=Severity.CRITICAL), candidate=None) == Wait(until=None, why="nobody is known to ask")
