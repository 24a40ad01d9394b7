"""Profiles in the database: whatever dies, an event counts once; and what is old takes less room, and then none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from jobs import activity
from nhi import profiles
from nhi.activity import DayBook, Facet, Use
from nhi.database import Sessions
from nhi.identity import Gap, Need
from nhi.policy import Policy, Source
from nhi.policy_activity import Activity
from nhi.profiles import EVENTS, Seen
from nhi.providers import Batch, Reading
from nhi.tables import ActivityPositionRow, ActivityProfileRow, ActivitySeenRow
from tests.conftest import on_sqlite
from tests.factories import make_identity
from tests.test_activity import MIDNIGHT, use

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Trail:
    """A cloud whose trail comes in batches, and breaks off after some of them as often as it is told to."""

    name = "aws"
    account = "111122223333"
    permissions: Sequence[Need] = ()
    api_calls: Mapping[str, int] = {}
    activity_coverage = "A made-up trail."

    place = "a place"

    def __init__(self, batches: Sequence[Sequence[Use]], breaks: Sequence[int] = ()) -> None:
        self.batches = batches
        self.breaks = list(breaks)

    def scan(self, **_: Any) -> Iterator[Any]:
        return iter(())

    def activity(self, identities: Any, reading: Reading, limits: Activity, *, now: datetime) -> Iterator[Batch | Gap]:
        start = int(reading.positions.get(self.place, {}).get("next", 0))
        stop = self.breaks.pop(0) if self.breaks else None
        for number in range(max(start - 1, 0), len(self.batches)):  # with an overlap, as real readings have
            if stop is not None and number >= stop:
                raise ConnectionError("the machine went away")
            yield Batch(place=self.place, uses=self.batches[number], position={"next": str(number + 1)})


def test_an_event_counts_once_wherever_a_reading_dies(
    sessions: Sessions, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "TOGETHER", 10)
    with sessions.begin() as session:
        make_identity(session, key="AIDA1", account=Trail.account)
    batches = [[use(MIDNIGHT + 600 * number + at) for at in range(6)] for number in range(12)]
    trail = Trail(batches, breaks=[0, 3, 4, 9])
    for _ in range(4):
        with pytest.raises(ConnectionError):
            activity.read_source(sessions, Source(), lambda _: trail, policy, NOW)
    activity.read_source(sessions, Source(), lambda _: trail, policy, NOW)
    assert activity.read_source(sessions, Source(), lambda _: trail, policy, NOW).events == 0
    with sessions() as session:
        assert session.scalar(select(func.sum(ActivityProfileRow.events))) == 72
        assert session.scalars(select(ActivityPositionRow.position)).all() == [{"next": "12"}]


@on_sqlite
def test_an_event_counts_once_where_two_sources_tell_of_an_account(sessions: Sessions) -> None:
    bucket, lookups = Source(activity="s3://org-trail/logs"), Source()
    policy = Policy(sources=(bucket, lookups))
    with sessions.begin() as session:
        make_identity(session, key="AIDA1", account=Trail.account)
    its_own, organizations = (Trail([[use(MIDNIGHT + at) for at in range(6)]]) for _ in range(2))
    organizations.account = "999999999999"
    organizations.place = f"s3://org-trail/logs|AWSLogs/o-1/{Trail.account}/CloudTrail/eu-west-1/"

    def read(source: Source, trail: Trail) -> int:
        return activity.read_source(sessions, source, lambda _: trail, policy, NOW).events

    assert read(lookups, its_own) == 6
    assert read(bucket, organizations) == 0
    its_own.batches = organizations.batches = [[], [use(MIDNIGHT + 60)]]
    assert read(lookups, its_own) == 0  # its log files are read by the other
    assert read(bucket, organizations) == 1


@on_sqlite
def test_old_days_become_weeks_and_then_nothing(sessions: Sessions) -> None:
    limits = Activity(days_kept=timedelta(days=14), kept_for=timedelta(days=60))
    with sessions.begin() as session:
        book = DayBook()
        for back in range(100):
            book.add(use(MIDNIGHT - back * 86_400), None)
        profiles.Merge(session, "aws", book.profiles.values()).write(session)
        while profiles.fold_old(session, limits, NOW):
            pass
        rows = session.scalars(select(ActivityProfileRow).order_by(ActivityProfileRow.day)).all()
        weeks = [row for row in rows if row.days == 7]
        assert {row.day.weekday() for row in weeks} == {0}
        assert len(rows) < 30
        assert min(row.day for row in rows) >= date(2026, 9, 25) - timedelta(days=7)
        known = profiles.history(session, "aws", "AIDA1", date(2026, 12, 1), date(2026, 1, 1))
        counted = sum(one.values(Facet.ACTION)["s3:ListBuckets"][1] for one in known)
        assert counted == sum(row.events for row in rows) >= 55


@on_sqlite
def test_only_the_newest_ids_are_remembered(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(profiles.REMEMBERED, EVENTS, 100)
    for batch in range(5):
        with sessions.begin() as session:
            seen = Seen(session, "aws/1")
            assert all(seen.is_new(EVENTS, f"{batch}-{number}") for number in range(50))
            assert not seen.is_new(EVENTS, f"{batch}-0")
            seen.write(session, NOW + timedelta(minutes=batch))
    with sessions.begin() as session:
        whole = Seen(session, "aws/2")
        for batch in range(20):
            assert all(whole.is_new(EVENTS, f"{batch}-{number}") for number in range(50))
            whole.write(session, NOW)  # all in one run
    with sessions() as session:
        newest = Seen(session, "aws/2")
        assert [newest.holds(EVENTS, f"{batch}-7") for batch in (0, 17, 18, 19)] == [False, False, True, True]
        assert session.scalar(select(func.count()).select_from(ActivitySeenRow)) == 4
        again = Seen(session, "aws/1")
        assert [again.holds(EVENTS, f"{batch}-7") for batch in range(5)] == [False, False, False, True, True]
