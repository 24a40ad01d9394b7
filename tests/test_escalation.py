"""What comes next in one conversation. Nothing here turns anything off."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.escalation import (
    AWAY_AT_MOST,
    AWAY_BRIEFLY,
    Ask,
    Cover,
    Escalate,
    History,
    Remind,
    Step,
    Verdict,
    Wait,
    escalates_at,
    is_working_time,
    names_in_order,
    next_step,
    reachable,
    zone,
)
from nhi.policy import Conversation, parse
from tests.factories import NOW
from tests.strategies import HOSTILE_TEXTS, MOMENTS, TICK

TALK = Conversation()


def step(history: History | None = None, *, now: datetime = NOW, policy: Conversation = TALK, **changes: Any) -> Step:
    values: dict[str, Any] = {"candidate": "ana@example.com", "tz": "UTC", "questions_left": 5}
    return next_step(history or History(), policy=policy, now=now, **(values | changes))


def talk(**conversation: Any) -> Conversation:
    return parse({"conversation": conversation}).conversation


def test_somebody_known_is_asked_in_working_hours() -> None:
    assert step() == Ask(email="ana@example.com")


def test_nobody_known_is_waited_for() -> None:
    assert step(candidate=None) == Wait(until=None, why="nobody is known to ask")


def test_who_has_had_the_weeks_questions_is_not_asked_another() -> None:
    assert step(questions_left=1) == Ask(email="ana@example.com")
    assert isinstance(step(questions_left=0), Wait)
    assert isinstance(step(questions_left=-1), Wait)


@pytest.mark.parametrize(
    ("moment", "working"),
    [
        (datetime(2026, 11, 23, 9, 0, tzinfo=UTC), True),  # Monday, the first minute
        (datetime(2026, 11, 23, 8, 59, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 16, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 23, 17, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 27, 12, 0, tzinfo=UTC), True),  # Friday
        (datetime(2026, 11, 28, 12, 0, tzinfo=UTC), False),  # Saturday
        (datetime(2026, 11, 29, 12, 0, tzinfo=UTC), False),  # Sunday
    ],
)
def test_work_is_monday_to_friday_from_the_first_hour_to_before_the_last(moment: datetime, working: bool) -> None:
    assert is_working_time(moment, "UTC", TALK) is working
    assert isinstance(step(now=moment), Ask) is working


@pytest.mark.parametrize(
    ("tz", "hour", "working"),
    [
        ("Europe/Berlin", 8, True),
        ("Europe/Berlin", 7, False),
        ("Asia/Seoul", 0, True),
        ("Asia/Seoul", 9, False),
        ("America/New_York", 14, True),
        ("America/New_York", 13, False),
    ],
)
def test_working_hours_are_those_of_the_person(tz: str, hour: int, working: bool) -> None:
    assert is_working_time(datetime(2026, 11, 23, hour, 0, tzinfo=UTC), tz, TALK) is working


def test_it_is_monday_already_in_tokyo_when_it_is_sunday_in_london() -> None:
    assert is_working_time(datetime(2026, 11, 22, 23, 30, tzinfo=UTC), "Pacific/Auckland", TALK)


@settings(max_examples=100, deadline=None)
@given(tz=HOSTILE_TEXTS | st.sampled_from(["", "../etc/passwd", "/etc/passwd", "Europe", "posix", "UTC\0"]))
def test_a_zone_that_is_none_counts_as_utc(tz: str) -> None:
    assert zone(tz).key in ("UTC", tz)


# -- reminders, escalations --------------------------------------------------------------------------------------------


def test_the_first_reminder_comes_after_three_days_and_not_before() -> None:
    asked = History(open_since=NOW - timedelta(days=3), last_step_at=NOW - timedelta(days=3))

    assert step(asked) == Remind(number=1)
    assert step(asked, now=NOW - TICK, policy=talk(working_hours="00:00-23:59")) == Wait(
        until=NOW, why="asked, waiting for the answer"
    )


def test_the_second_reminder_comes_four_days_after_the_first() -> None:
    reminded = History(open_since=NOW - timedelta(days=7), reminders=1, last_step_at=NOW - timedelta(days=4))

    assert step(reminded) == Remind(number=2)
    assert isinstance(step(reminded, now=NOW - TICK), Wait)


def test_after_the_last_reminder_the_rungs_are_climbed_one_by_one() -> None:
    def silent(*told: str) -> Step:
        return step(
            History(
                open_since=NOW - timedelta(days=30),
                reminders=2,
                last_step_at=NOW - timedelta(days=4),
                escalated_to=told,
            ),
            policy=talk(escalate_to=["manager", "#security", "boss@example.com"]),
        )

    assert silent() == Escalate(to="#security")
    assert silent("#security") == Escalate(to="boss@example.com")
    assert silent("#security", "boss@example.com") == Wait(until=None, why="everybody that policy names has been told")


def test_nobody_is_reminded_at_night() -> None:
    asked = History(open_since=NOW - timedelta(days=5), last_step_at=NOW - timedelta(days=5))

    assert step(asked, now=NOW - timedelta(hours=1)) == Wait(until=None, why="outside working hours")


def test_without_reminders_silence_goes_up_after_four_days() -> None:
    asked = History(open_since=NOW - timedelta(days=4), last_step_at=NOW - timedelta(days=4))

    assert step(asked, policy=talk(remind_after=[])) == Escalate(to="#security")
    assert isinstance(step(asked, policy=talk(remind_after=[]), now=NOW - TICK), Wait)


def test_the_card_announces_the_escalation_for_when_it_can_happen_at_the_earliest() -> None:
    assert escalates_at(NOW, TALK) == NOW + timedelta(days=3 + 4 + 4)
    assert escalates_at(NOW, talk(remind_after=["1h"])) == NOW + timedelta(hours=2)
    assert escalates_at(NOW, talk(remind_after=[])) == NOW + timedelta(days=4)


def test_a_manager_hears_two_days_after_the_last_reminder_as_announced_and_the_next_rung_after_four() -> None:
    silent = History(open_since=NOW - timedelta(days=9), reminders=2, last_step_at=NOW - timedelta(days=2))
    assert step(silent, manager_known=True) == Escalate(to="manager")
    assert isinstance(step(silent, now=NOW - TICK, manager_known=True), Wait)
    assert isinstance(step(silent), Wait), "security hears after the whole patience"
    assert escalates_at(NOW, TALK, rung="manager") == NOW + timedelta(days=3 + 4 + 2)
    assert escalates_at(NOW, TALK, 2, rung="#security") == NOW + timedelta(days=4)
    told = replace(silent, escalated_to=("manager",))
    assert isinstance(step(told, manager_known=True), Wait)
    assert step(told, now=NOW + timedelta(days=2), manager_known=True) == Escalate(to="#security")
    assert escalates_at(NOW, talk(remind_after=["1h"]), rung="manager") == NOW + timedelta(hours=2)
    assert escalates_at(NOW, talk(remind_after=[]), rung="manager") == NOW + timedelta(days=4)


def test_nobodys_manager_is_known_so_the_card_promises_no_manager() -> None:
    assert names_in_order(reachable(("manager", "#security"))) == "#security"
    assert names_in_order(("manager", "#security")) == "your manager, then #security"
    assert names_in_order(()) == "the security team"


# -- after an answer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "days"), [(Verdict.ROTATE, 14), (Verdict.DISABLE, 7)])
def test_a_decision_that_takes_its_time_gets_its_time(verdict: Verdict, days: int) -> None:
    answered = History(last_verdict=verdict, last_verdict_at=NOW - timedelta(days=days))

    assert step(answered) == Ask(email="ana@example.com")
    early = NOW - timedelta(minutes=1)
    assert step(answered, now=early, policy=talk(working_hours="00:00-23:59")) == Wait(
        until=NOW, why=f"answered: {verdict}"
    )


@pytest.mark.parametrize("verdict", [Verdict.CLAIM, Verdict.JUSTIFY, Verdict.NOT_MINE])
def test_what_other_answers_leave_open_may_be_asked_at_once(verdict: Verdict) -> None:
    assert step(History(last_verdict=verdict, last_verdict_at=NOW)) == Ask(email="ana@example.com")


@settings(max_examples=200, deadline=None)
@given(
    open_since=st.none() | MOMENTS,
    reminders=st.integers(min_value=0, max_value=4),
    told=st.lists(st.sampled_from(["#security", "boss@example.com"]), unique=True).map(tuple),
    now=MOMENTS,
    left=st.integers(min_value=-1, max_value=2),
)
def test_an_open_question_is_never_asked_again_and_no_rung_is_told_twice(
    open_since: datetime | None, reminders: int, told: tuple[str, ...], now: datetime, left: int
) -> None:
    history = History(open_since=open_since, reminders=reminders, escalated_to=told, last_step_at=open_since)

    match step(history, now=now, questions_left=left, policy=talk(escalate_to=["#security", "boss@example.com"])):
        case Ask():
            assert open_since is None
            assert left > 0
            assert is_working_time(now, "UTC", TALK)
        case Remind(number=number):
            assert open_since is not None
            assert number == reminders + 1 <= 2
        case Escalate(to=rung):
            assert reminders >= 2
            assert rung not in told
        case Cover():
            pytest.fail("nobody is away")
        case Wait(until=until):
            assert until is None or until > now


HERE_AGAIN = NOW + AWAY_BRIEFLY + timedelta(minutes=1)


def test_who_is_away_for_a_few_days_is_waited_for_and_for_longer_their_manager_is_asked() -> None:
    soon = NOW + AWAY_BRIEFLY
    assert step(away_until=soon, cover_known=True) == Wait(until=soon, why="away")
    assert step(away_until=HERE_AGAIN, cover_known=True) == Cover(email="ana@example.com")
    assert step(away_until=NOW, cover_known=True) == Ask(email="ana@example.com"), "they are back"
    assert isinstance(step(away_until=HERE_AGAIN, cover_known=True, questions_left=0), Wait)
    assert step(away_until=HERE_AGAIN, cover_known=True, candidate=None) == Wait(
        until=None, why="nobody is known to ask"
    )


def test_without_a_manager_who_could_be_asked_a_question_waits_for_three_weeks_at_most() -> None:
    assert step(away_until=HERE_AGAIN) == Wait(until=HERE_AGAIN, why="away")
    no_rung = talk(escalate_to=["#security"])
    assert isinstance(step(away_until=HERE_AGAIN, cover_known=True, policy=no_rung), Wait)
    assert isinstance(step(away_until=NOW + AWAY_AT_MOST), Wait)
    assert step(away_until=NOW + AWAY_AT_MOST + timedelta(seconds=1)) == Ask(email="ana@example.com")


def test_an_open_question_goes_to_the_manager_of_who_went_away_once_and_then_waits() -> None:
    asked = History(open_since=NOW - timedelta(hours=1), last_step_at=NOW - timedelta(hours=1))
    assert step(asked, away_until=HERE_AGAIN, cover_known=True) == Escalate(to="manager")
    told = History(open_since=NOW - timedelta(days=30), escalated_to=("manager",))
    assert step(told, away_until=HERE_AGAIN, cover_known=True) == Wait(until=HERE_AGAIN, why="away")
    night = NOW.replace(hour=3)
    assert isinstance(step(asked, now=night, away_until=HERE_AGAIN, cover_known=True), Wait)
