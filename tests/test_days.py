"""Days as people write them, and the hours in which they may be disturbed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from nhi.days import dates_in, read_day
from nhi.escalation import escalates_at, is_working_time, reminds_at
from nhi.patience import end_of
from nhi.policy import Conversation, parse
from nhi.working_days import check_place

TODAY = date(2026, 11, 24)  # a Tuesday
TALK = parse({"conversation": {"holidays": {"Europe/*": "DE-BY", "America/*": "US", "Africa/*": "none"}}}).conversation


@pytest.mark.parametrize(
    ("typed", "day"),
    [
        ("12 Jan", date(2027, 1, 12)),
        ("Jan 12", date(2027, 1, 12)),
        ("until 12 December", date(2026, 12, 12)),
        ("24 Nov", TODAY),
        ("23 Nov", date(2027, 11, 23)),
        ("1st of March 2027", date(2027, 3, 1)),
        ("Sept. 3, 2027", date(2027, 9, 3)),
        ("2027-01-12", date(2027, 1, 12)),
        ("29 Feb", date(2028, 2, 29)),
        ("today", TODAY),
        ("tomorrow", date(2026, 11, 25)),
        ("Friday", date(2026, 11, 27)),
        ("tuesday", date(2026, 12, 1)),
        ("31.12.", date(2026, 12, 31)),
        ("until 5.1.2027", date(2027, 1, 5)),
        ("12-Dec-2026", date(2026, 12, 12)),
        ("2026-12-12T10:00", date(2026, 12, 12)),
        ("2 may", date(2027, 5, 2)),
        ("10.00.", None),
        ("2026-00-12", None),
        ("31 Feb", None),
        ("soon", None),
        ("3 marketing hosts", None),
        ("5 octets, 7 sepals and 2 decoys", None),
        ("", None),
    ],
)
def test_a_day_is_read_as_people_type_it(typed: str, day: date | None) -> None:
    assert read_day(typed, TODAY) == day


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("I'll remove it after the migration on 12 December.", [date(2026, 12, 12)]),
        ("Made on 3 March; goes away by 12 December", [date(2026, 12, 12)]),
        ("We have needed this since 3 March", []),
        ("Since Bea left on 3 March it runs until 4 April", [date(2027, 4, 4)]),
        ("Last used on 1 Dec. It will be made anew on 2 Dec", [date(2026, 12, 2)]),
        ("Phase 2 may need it, and may 2 others", []),
        ("Gone by 2 may, or on the 3rd may, at last on May 4", [date(2027, 5, day) for day in (2, 3, 4)]),
        ("It runs on version 3.12. of it, at 10.1.2.3; İ will remove it by 31.12.", [date(2026, 12, 31)]),
        ("The backup runs each Friday night, and tomorrow too", []),
        ("In use since 3 March 2024", [date(2024, 3, 3)]),
    ],
)
def test_a_promise_is_a_date_that_is_written_out(said: str, found: list[date]) -> None:
    assert dates_in(said, TODAY) == found


@pytest.mark.parametrize(
    ("moment", "tz", "working"),
    [
        (datetime(2026, 12, 24, 12, tzinfo=UTC), "Europe/Berlin", True),
        (datetime(2026, 12, 25, 12, tzinfo=UTC), "Europe/Berlin", False),
        (datetime(2027, 1, 6, 12, tzinfo=UTC), "Europe/Berlin", False),  # a holiday of Bavaria only
        (datetime(2027, 1, 6, 17, tzinfo=UTC), "America/New_York", True),
        (datetime(2026, 11, 26, 17, tzinfo=UTC), "America/New_York", False),  # Thanksgiving
        (datetime(2026, 11, 26, 17, tzinfo=UTC), "Asia/Tokyo", False),  # two in the morning
        (datetime(2026, 12, 25, 3, tzinfo=UTC), "Asia/Tokyo", True),
        (datetime(2026, 11, 23, 3, tzinfo=UTC), "Asia/Tokyo", False),  # policy names no country for it; it lies in one
        (datetime(2026, 10, 2, 6, tzinfo=UTC), "Asia/Calcutta", True),  # an older name: no country is known of it
        (datetime(2026, 12, 25, 12, tzinfo=UTC), "UTC", True),
        (datetime(2026, 12, 25, 12, tzinfo=UTC), "Africa/Accra", True),  # policy says "none"
    ],
)
def test_nobody_is_disturbed_on_a_holiday_of_theirs(moment: datetime, tz: str, working: bool) -> None:
    assert is_working_time(moment, tz, TALK) is working


@pytest.mark.parametrize("place", ["XX", "DE-XX", "Germany", ""])
def test_a_country_of_which_no_holidays_are_known_is_refused_with_the_way_out(place: str) -> None:
    with pytest.raises(ValueError, match='like "DE"'):
        check_place(place)


@pytest.mark.parametrize(
    ("moment", "working"),
    [
        # Sunday 25 October 2026: clocks in Berlin go back. On Monday, nine o'clock is an hour later in UTC.
        (datetime(2026, 10, 23, 7, 0, tzinfo=UTC), True),
        (datetime(2026, 10, 26, 7, 59, tzinfo=UTC), False),
        (datetime(2026, 10, 26, 8, 0, tzinfo=UTC), True),
        # Sunday 28 March 2027: they go forward.
        (datetime(2027, 3, 25, 8, 0, tzinfo=UTC), True),
        (datetime(2027, 3, 30, 6, 59, tzinfo=UTC), False),
        (datetime(2027, 3, 30, 7, 0, tzinfo=UTC), True),
    ],
)
def test_nine_oclock_is_nine_oclock_on_both_sides_of_a_change_of_clocks(moment: datetime, working: bool) -> None:
    assert is_working_time(moment, "Europe/Berlin", Conversation()) is working


def test_hours_that_a_change_of_clocks_skips_on_a_working_day_break_nothing() -> None:
    night = Conversation(working_hours=(time(0), time(2)))  # on this Friday in Cairo, one o'clock follows midnight
    moments = [datetime(2026, 4, 23, 21, 59, tzinfo=UTC) + n * timedelta(minutes=30) for n in range(4)]
    assert [is_working_time(moment, "Africa/Cairo", night) for moment in moments] == [False, True, True, False]


@pytest.mark.parametrize(
    ("tz", "ends"),
    [
        ("UTC", datetime(2027, 1, 13, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2027, 1, 13, 8, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2027, 1, 12, 15, tzinfo=UTC)),
    ],
)
def test_a_day_ends_at_midnight_where_the_person_is(tz: str, ends: datetime) -> None:
    assert end_of(date(2027, 1, 12), tz) == ends


def test_a_card_announces_what_is_left_of_the_ladder() -> None:
    talk, asked = Conversation(), datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert reminds_at(asked, talk) == datetime(2026, 11, 26, 9, tzinfo=UTC)
    assert escalates_at(asked, talk) == datetime(2026, 12, 4, 9, tzinfo=UTC)
    late = datetime(2026, 11, 30, 9, tzinfo=UTC)  # the first reminder waited for Monday
    assert reminds_at(late, talk, 1) == datetime(2026, 12, 4, 9, tzinfo=UTC)
    assert escalates_at(late, talk, 1) == datetime(2026, 12, 8, 9, tzinfo=UTC)
    assert reminds_at(late, talk, 2) is None
