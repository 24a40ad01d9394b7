"""The scream test decided: when a step begins, how long it is, and what ends it. Both sides of each boundary."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhi.errors import PolicyError
from nhi.policy import parse
from nhi.screaming import (
    DEAF_AT_MOST,
    REPEATED_AT_MOST,
    Back,
    Keep,
    Listened,
    Outcome,
    Step,
    begins_at,
    in_words,
    is_hopeless,
    listens_every,
    step_length,
    what_next,
)
from nhi.working_days import is_working_time

HOURS = (time(9), time(17))
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
LADDER = (QUARTER, HOUR, DAY)
OFF_AT = datetime(2026, 11, 23, 10, tzinfo=UTC)  # a Monday
STEP = Step(off_at=OFF_AT, back_on_at=OFF_AT + QUARTER, heard_until=OFF_AT)
QUIET = Listened()


def test_each_silent_step_leads_to_the_next_and_the_last_to_for_good() -> None:
    silent = [Outcome.SILENT]
    assert [step_length(LADDER, silent * done) for done in range(4)] == [QUARTER, HOUR, DAY, None]


def test_a_step_that_could_not_be_listened_to_is_repeated_and_not_for_ever() -> None:
    unheard = [Outcome.UNHEARD]
    assert step_length(LADDER, [Outcome.SILENT, *unheard, Outcome.VOID]) == HOUR
    assert not is_hopeless(unheard * (REPEATED_AT_MOST - 1))
    assert is_hopeless(unheard * REPEATED_AT_MOST)


def test_it_stays_off_until_its_end_and_not_a_tick_longer() -> None:
    tick = timedelta(microseconds=1)
    assert isinstance(what_next(STEP, QUIET, STEP.back_on_at - tick), Keep)
    assert what_next(STEP, QUIET, STEP.back_on_at) == Back(outcome=Outcome.SILENT)


def test_the_first_call_turns_it_on_whatever_else_is_so() -> None:
    found = Listened(calls=True, gap="Throttling: cloudtrail:LookupEvents", changed="somebody did something")
    assert what_next(STEP, found, OFF_AT + timedelta(seconds=1)) == Back(outcome=Outcome.HEARD)


def test_what_somebody_else_changed_ends_it() -> None:
    assert what_next(STEP, Listened(changed="gone"), OFF_AT) == Back(outcome=Outcome.DISTURBED, because="gone")


def test_a_log_that_cannot_be_read_for_a_quarter_of_an_hour_ends_it_and_it_does_not_count_as_silent() -> None:
    long = Step(off_at=OFF_AT, back_on_at=OFF_AT + DAY, heard_until=OFF_AT + HOUR)
    deaf = Listened(gap="AccessDenied")
    assert isinstance(what_next(long, deaf, long.heard_until + DEAF_AT_MOST - timedelta(seconds=1)), Keep)
    unheard = Back(outcome=Outcome.UNHEARD, because="AccessDenied")
    assert what_next(long, deaf, long.heard_until + DEAF_AT_MOST) == unheard
    assert what_next(STEP, deaf, STEP.back_on_at) == unheard


@given(
    st.timedeltas(timedelta(minutes=1), timedelta(days=7)),
    st.timedeltas(timedelta(0), timedelta(days=8)),
    st.booleans(),
    st.none() | st.just("gap"),
    st.none() | st.just("changed"),
)
def test_nothing_is_ever_left_off_beyond_its_end(
    length: timedelta, after: timedelta, calls: bool, gap: str | None, changed: str | None
) -> None:
    step = Step(off_at=OFF_AT, back_on_at=OFF_AT + length, heard_until=OFF_AT)
    now = OFF_AT + after
    match what_next(step, Listened(calls=calls, gap=gap, changed=changed), now):
        case Keep(again_at=again_at):
            assert now < again_at <= step.back_on_at
            assert not calls
            assert changed is None
        case Back(outcome=outcome):
            assert outcome is not Outcome.SILENT or (now >= step.back_on_at and not (calls or gap or changed))


def test_long_steps_are_listened_to_every_five_minutes_and_short_ones_every_minute() -> None:
    assert [listens_every(length) for length in LADDER] == [
        timedelta(minutes=1),
        timedelta(minutes=4),
        timedelta(minutes=5),
    ]


# -- when --------------------------------------------------------------------------------------------------------------


def begins(at: datetime, length: timedelta | None, tz: str = "UTC", holidays: dict[str, str] | None = None) -> datetime:
    return begins_at(at, length, tz=tz, hours=HOURS, holidays=holidays or {})


@pytest.mark.parametrize(
    ("at", "length", "first"),
    [
        ("2026-11-23T10:00", QUARTER, "2026-11-23T10:00"),
        ("2026-11-23T08:59", QUARTER, "2026-11-23T09:00"),
        ("2026-11-23T16:45", QUARTER, "2026-11-23T16:45"),  # it ends as work does
        ("2026-11-23T16:46", QUARTER, "2026-11-24T09:00"),
        ("2026-11-23T16:00", HOUR, "2026-11-23T16:00"),
        ("2026-11-23T16:01", HOUR, "2026-11-24T09:00"),
        ("2026-11-23T16:59", DAY, "2026-11-23T16:59"),  # it ends on a working day
        ("2026-11-23T17:00", DAY, "2026-11-24T09:00"),
        ("2026-11-27T17:00", None, "2026-11-30T09:00"),  # Friday evening: Monday morning
    ],
)
def test_a_step_begins_when_somebody_is_at_work_and_a_short_one_ends_then_too(
    at: str, length: timedelta | None, first: str
) -> None:
    assert begins(datetime.fromisoformat(f"{at}+00:00"), length) == datetime.fromisoformat(f"{first}+00:00")


def test_the_day_is_that_of_who_decided_with_their_holidays() -> None:
    evening = datetime(2026, 12, 24, 20, tzinfo=UTC)  # noon in Los Angeles
    assert begins(evening, QUARTER, "America/Los_Angeles") == evening
    assert begins(evening, QUARTER, "Europe/Berlin", {"Europe/*": "DE"}) == datetime(2026, 12, 28, 8, tzinfo=UTC)


@given(
    st.integers(0, 2 * 365 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    st.sampled_from([*LADDER, None]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "nowhere"]),
)
def test_a_step_never_begins_outside_working_hours_nor_in_the_past(
    at: datetime, length: timedelta | None, tz: str
) -> None:
    first = begins(at, length, tz)
    assert first >= at
    assert is_working_time(first, tz, HOURS, {})
    if length is not None and length <= HOUR:
        assert is_working_time(first + length - timedelta(microseconds=1), tz, HOURS, {})


# -- policy ------------------------------------------------------------------------------------------------------------


def test_the_ladder_is_policys() -> None:
    told = parse({"remediation": {"scream_test": {"when": "always", "ladder": ["30m", "4h"]}}}).remediation.scream_test
    assert (told.when, told.ladder) == ("always", (timedelta(minutes=30), timedelta(hours=4)))
    for wrong in ([], ["8d"], ["never"]):
        with pytest.raises(PolicyError):
            parse({"remediation": {"scream_test": {"ladder": wrong}}})


@pytest.mark.parametrize(("length", "words"), [(QUARTER, "15 minutes"), (HOUR, "1 hour"), (2 * DAY, "2 days")])
def test_a_length_in_words(length: timedelta, words: str) -> None:
    assert in_words(length) == words
