"""What a certificate says, and the seasons that lengthen patience."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhi import findings, freezes, seasons
from nhi.certificate import Caller, Certificate, Read, worst_lag
from nhi.findings import FindingKind
from nhi.freezes import BadCalendar
from nhi.policy import Freeze, Policy, parse
from nhi.seasons import Pause, Season, kept, patience, season_of, witnessed
from tests.factories import NOW
from tests.strategies import DAY, TICK, a_key, a_user, ago

QUARTER = Pause(began_at=ago(200), ended_at=ago(108), quiet_at=ago(109))


# -- pauses ------------------------------------------------------------------------------------------------------------


def test_a_pause_is_kept_from_two_weeks_that_a_scan_saw_to_be_quiet_and_not_before() -> None:
    assert witnessed(ago(100), ago(50), ago(100) + 14 * DAY - TICK) is None
    assert witnessed(ago(100), ago(50), ago(100) + 14 * DAY) == Pause(
        began_at=ago(100), ended_at=ago(50), quiet_at=ago(86)
    )


def test_days_that_no_scan_looked_at_are_no_pause() -> None:
    assert witnessed(ago(100), ago(2), ago(100)) is None


@pytest.mark.parametrize(
    ("before", "after", "seen"), [(None, ago(1), ago(2)), (ago(9), None, ago(2)), (ago(9), ago(9), ago(2))]
)
def test_a_first_use_or_none_at_all_ends_no_pause(
    before: datetime | None, after: datetime | None, seen: datetime
) -> None:
    assert witnessed(before, after, seen) is None


@pytest.mark.parametrize(
    ("days", "name"), [(31, "monthly"), (92, "quarterly"), (184, "half-yearly"), (366, "yearly"), (700, "rare")]
)
def test_a_rhythm_is_named_by_its_longest_pause(days: int, name: str) -> None:
    pauses = [Pause(began_at=ago(days + 10), ended_at=ago(10), quiet_at=ago(11)), QUARTER][: 1 if days < 92 else 2]
    season = season_of(pauses, NOW)
    assert season is not None
    assert (season.name, season.longest) == (name, days * DAY)


def test_what_paused_for_a_quarter_is_given_a_quarter_and_a_margin() -> None:
    assert patience(90 * DAY, [QUARTER], NOW) == (
        122 * DAY,
        Season(name="quarterly", longest=92 * DAY, pauses=1, patience=122 * DAY),
    )
    assert patience(180 * DAY, [QUARTER], NOW) == (180 * DAY, None)


def test_a_pause_of_three_years_ago_is_forgotten() -> None:
    ended = NOW - seasons.REMEMBERED
    assert season_of([Pause(began_at=ended - 92 * DAY, ended_at=ended, quiet_at=ended)], NOW) is None
    assert season_of([Pause(began_at=ended - 92 * DAY, ended_at=ended + TICK, quiet_at=ended)], NOW) is not None


@given(st.lists(st.integers(min_value=15, max_value=900), max_size=30))
def test_patience_is_never_shorter_than_policys_nor_than_any_pause_it_remembers(lengths: list[int]) -> None:
    pauses = kept([Pause(began_at=ago(n + 1), ended_at=ago(1), quiet_at=ago(1)) for n in lengths])
    allowed, season = patience(90 * DAY, pauses, NOW)
    assert len(pauses) <= seasons.KEPT
    assert allowed >= max([90 * DAY, *(n * DAY for n in lengths)])
    assert (season is None) is (allowed == 90 * DAY)


def test_a_quarterly_job_is_unused_after_its_own_patience_and_not_before_and_the_finding_says_so() -> None:
    def found(days: float) -> list[findings.Finding]:
        key = a_key(created_at=ago(900), last_used_at=ago(days), pauses=(QUARTER,))
        everything = findings.assess(a_user(key), owner_active=True, gaps=(), policy=Policy(), now=NOW)
        return [finding for finding in everything if finding.kind is FindingKind.UNUSED]

    assert found(121) == []
    (finding,) = found(122)
    assert finding.since == NOW
    assert finding.why.endswith(
        "It paused for up to 92 days before (quarterly use, once), so 122 days were allowed for it."
    )
    assert "policy allows 90 days" in finding.why


# -- the certificate ---------------------------------------------------------------------------------------------------


def test_a_certificate_says_what_was_read_for_which_days_how_late_and_what_stays_hidden() -> None:
    read = Read(source="IAM", seen_from=ago(400), seen_until=None, lag=timedelta(hours=4), hidden="who")
    told = Certificate(
        made_at=NOW,
        principal="arn:ci",
        credential_kind="access_key",
        credential_id="AKIAIOSFODNN7EXAMPLE",
        last_used_at=ago(200),
        last_used_service="s3",
        last_used_region="eu-west-1",
        reads=(read,),
        caller=Caller(at=ago(200), who="arn:ci", where="198.51.100.7", what="s3:ListBuckets", tool="aws-cli"),
        season=season_of([QUARTER], NOW),
        allowed=90 * DAY,
        checks=("gone",),
    ).as_json()
    assert told["credential"] == {"kind": "access_key", "id": "AKIAIOSFODNN7EXAMPLE"}
    assert told["sources"] == [
        {
            "source": "IAM",
            "from": "2025-10-19T09:00:00Z",
            "until": None,
            "lag_hours": 4.0,
            "cannot_see": "who",
            "gap": None,
        }
    ]
    assert told["last_caller"]["from"] == "198.51.100.7"
    assert told["season"] == {"name": "quarterly", "longest_pause_days": 92, "pauses": 1, "patience_days": 122}


def test_the_lag_is_that_of_the_quickest_source_that_could_be_read() -> None:
    slow = Read(source="a", seen_from=None, seen_until=None, lag=timedelta(hours=4), hidden="")
    quick = Read(source="b", seen_from=None, seen_until=None, lag=timedelta(minutes=15), hidden="", gap="AccessDenied")
    assert worst_lag([slow, quick]) == timedelta(hours=4)
    assert worst_lag([quick]) is None


# -- freezes -----------------------------------------------------------------------------------------------------------


def window(begins: str, ends: str) -> Freeze:
    document = {"remediation": {"freezes": [{"name": "year end", "begins": begins, "ends": ends}]}}
    return parse(document).remediation.freezes[0]


def test_a_window_of_policy_freezes_from_its_first_instant_to_before_its_last() -> None:
    freeze = window("2026-11-23T09:00:00Z", "2026-11-24")
    assert freezes.by_policy([freeze], NOW) == "year end"
    assert freezes.by_policy([freeze], NOW - TICK) is None
    assert freezes.by_policy([freeze], datetime(2026, 11, 24, tzinfo=NOW.tzinfo) - TICK) == "year end"
    assert freezes.by_policy([freeze], datetime(2026, 11, 24, tzinfo=NOW.tzinfo)) is None


def calendar(*lines: str) -> bytes:
    event = "\r\n".join(["BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z", *lines, "END:VEVENT"])
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\n{event}\r\nEND:VCALENDAR\r\n".encode()


def by(content: bytes, now: datetime = NOW) -> str | None:
    return freezes.by_calendar(freezes.parse(content), now)


def test_an_event_freezes_while_it_lasts_and_a_repeating_one_each_time() -> None:
    weekly = calendar(
        "SUMMARY:Payday", "DTSTART:20260105T080000Z", "DTEND:20260105T100000Z", "RRULE:FREQ=WEEKLY;BYDAY=MO"
    )
    assert by(weekly) == "Payday"  # NOW is a Monday, 09:00
    assert by(weekly, NOW + timedelta(hours=1)) is None
    assert by(weekly, NOW + 7 * DAY) == "Payday"
    assert by(weekly, NOW + DAY) is None


def test_an_event_in_a_zone_freezes_by_its_own_clock() -> None:
    zoned = calendar("SUMMARY:Sale", "DTSTART;TZID=Europe/Berlin:20261123T100000", "DURATION:PT1H")
    assert by(zoned) == "Sale"  # 10:00 in Berlin is 09:00 UTC
    assert by(zoned, NOW - TICK) is None
    assert NOW.astimezone(ZoneInfo("Europe/Berlin")).hour == 10


def test_a_whole_day_freezes_wherever_on_earth_it_is_still_that_day() -> None:
    day = calendar("SUMMARY:Launch", "DTSTART;VALUE=DATE:20261123", "DTEND;VALUE=DATE:20261124")
    assert by(day, datetime(2026, 11, 22, 10, tzinfo=NOW.tzinfo)) == "Launch"
    assert by(day, datetime(2026, 11, 24, 11, 59, tzinfo=NOW.tzinfo)) == "Launch"
    assert by(day, datetime(2026, 11, 24, 12, tzinfo=NOW.tzinfo)) is None


@pytest.mark.parametrize("line", ["TRANSP:TRANSPARENT", "STATUS:CANCELLED"])
def test_free_time_and_what_was_cancelled_freeze_nothing(line: str) -> None:
    assert by(calendar("SUMMARY:x", "DTSTART:20261123T080000Z", "DTEND:20261123T100000Z", line)) is None


def test_a_whole_day_freezes_also_where_the_calendar_marked_it_as_free_as_calendars_do_by_themselves() -> None:
    day = ("SUMMARY:Launch", "DTSTART;VALUE=DATE:20261123", "DTEND;VALUE=DATE:20261124")
    assert by(calendar(*day, "TRANSP:TRANSPARENT")) == "Launch"
    assert by(calendar(*day, "TRANSP:TRANSPARENT", "STATUS:CANCELLED")) is None


def test_a_calendar_with_an_event_that_ends_before_it_begins_is_not_trusted() -> None:
    with pytest.raises(BadCalendar, match="ends before it begins: Sale"):
        by(calendar("SUMMARY:Sale", "DTSTART:20261123T100000Z", "DTEND:20261123T080000Z"))


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\xff\xfe", b"BEGIN:VEVENT\r\nEND:VEVENT\r\n", b"BEGIN:VCALENDAR"]
)
def test_what_is_no_calendar_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(BadCalendar):
        by(content)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: calendar(f"SUMMARY:{text}")))
def test_no_calendar_raises_anything_else(content: bytes) -> None:
    with suppress(BadCalendar):
        by(content)
