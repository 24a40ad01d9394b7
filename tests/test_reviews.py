"""The review's rules, on both sides of each boundary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhi import reviews, stamps
from nhi.errors import SettingsError
from nhi.policy import Conversation
from nhi.reviews import Answer, Because, Before, Looked, Nudge, Quarter, Risk, Subject, Told
from nhi.stamps import Stamp

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
ANA, BEA, CEM, DORA = (f"{name}@example.com" for name in ("ana", "bea", "cem", "dora"))
Json = dict[str, Any]


def facts(**changes: Any) -> Json:
    credential = {
        "row": "c1",
        "kind": "access_key",
        "status": "active",
        "rotated_at": "2026-01-01T00:00:00Z",
        "last_used_at": "2026-11-20T00:00:00Z",
        "use_gap": None,
    }
    identity = {"provider": "aws", "kind": "iam_user", "account": "1", "custody": "ours", "name": "ci"}
    values: Json = {
        "identity": identity | {"last_used_at": None, "use_gap": None},
        "credentials": [credential],
        "permissions": {"policies": ["ReadOnly"], "privileged": False},
        "findings": [],
        "owner": {"state": "confirmed", "email": ANA},
    }
    return values | changes


# -- quarters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "quarter"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026Q1"),
        (datetime(2026, 4, 1, tzinfo=UTC) - TICK, "2026Q1"),
        (datetime(2026, 4, 1, tzinfo=UTC), "2026Q2"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "2026Q4"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2027Q1"),
        (datetime(2027, 1, 1, 0, 30, tzinfo=UTC).astimezone(UTC), "2027Q1"),
    ],
)
def test_a_quarter_begins_at_midnight_utc_of_its_first_day(moment: datetime, quarter: str) -> None:
    assert str(reviews.quarter_of(moment)) == quarter


@given(st.integers(1_000_000_000, 4_000_000_000))
def test_every_instant_lies_in_exactly_one_quarter(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    quarter = reviews.quarter_of(moment)
    assert quarter.begins_at <= moment < quarter.ends_at
    assert quarter.following.begins_at == quarter.ends_at
    assert reviews.read_quarter(str(quarter)) == quarter


@pytest.mark.parametrize("text", ["2026", "2026Q5", "2026Q0", "Q4", "26Q4", "2026Q44", ""])
def test_what_is_no_quarter_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="2026Q4"):
        reviews.read_quarter(text)


def test_answers_are_due_after_the_patience_and_within_the_quarter() -> None:
    quarter = Quarter(2026, 4)
    assert reviews.due_at(quarter, NOW, 21 * DAY) == NOW + 21 * DAY
    assert reviews.due_at(quarter, NOW, 100 * DAY) == quarter.ends_at


def test_a_campaign_opened_late_in_the_quarter_still_has_a_week() -> None:
    late = datetime(2026, 12, 29, tzinfo=UTC)
    assert reviews.due_at(Quarter(2026, 4), late, 21 * DAY) == late + 7 * DAY


# -- fresh data --------------------------------------------------------------------------------------------------------


def looked(**changes: Any) -> Looked:
    values: Json = {"source": "aws 1", "complete_at": NOW - DAY, "last_at": NOW - DAY}
    return Looked(**(values | changes))


def test_a_newcomers_first_review_opens_by_itself_after_two_weeks_or_in_the_first_two_of_a_quarter() -> None:
    quarter = Quarter(2026, 4)
    begins, limit = quarter.begins_at, quarter.begins_at + 14 * DAY
    instant = timedelta(microseconds=1)
    assert reviews.opens_by_itself(quarter, begins, limit - instant)
    late = begins + 5 * DAY
    assert not reviews.opens_by_itself(quarter, late, limit)
    assert not reviews.opens_by_itself(quarter, late, late + 14 * DAY - instant)
    assert reviews.opens_by_itself(quarter, late, late + 14 * DAY)
    assert reviews.opens_by_itself(quarter, begins - instant, begins + 30 * DAY), "who was here before is no newcomer"
    assert not reviews.opens_by_itself(quarter, None, begins)


def test_data_is_fresh_until_it_is_as_old_as_policy_allows() -> None:
    at_the_edge = looked(complete_at=NOW - 36 * timedelta(hours=1))
    assert reviews.stale([at_the_edge], timedelta(hours=36), NOW) != ()
    assert reviews.stale([at_the_edge], timedelta(hours=36) + TICK, NOW) == ()


def test_an_incomplete_scan_does_not_make_data_fresh_and_its_gap_is_named() -> None:
    blind = looked(complete_at=NOW - 9 * DAY, last_at=NOW, gaps=("aws/1/user (AccessDenied)",))
    (said,) = reviews.stale([blind], 2 * DAY, NOW)
    assert "AccessDenied" in said
    assert "14 November 2026" in said
    assert "nhi scan" in said


def test_one_stale_source_of_several_is_enough() -> None:
    assert len(reviews.stale([looked(), looked(source="aws 2", complete_at=None, last_at=None)], 2 * DAY, NOW)) == 1


def test_without_any_scan_nothing_is_fresh() -> None:
    assert reviews.stale([], 2 * DAY, NOW) == ("Nothing was ever scanned: run `nhi scan`.",)


# -- who reviews what --------------------------------------------------------------------------------------------------


def subject(**changes: Any) -> Subject:
    values: Json = {"owner": None, "likely": None, "managers": (), "creators": frozenset(), "privileged": False}
    return Subject(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "who", "because"),
    [
        ({"owner": ANA, "managers": (BEA,)}, ANA, Because.OWNER),
        ({"likely": ANA, "managers": (BEA,)}, ANA, Because.LIKELY),
        ({"managers": (BEA, CEM)}, BEA, Because.MANAGER),
        ({}, DORA, Because.SECURITY),
        ({"owner": ANA, "managers": (BEA,), "privileged": True}, BEA, Because.MANAGER),
        ({"owner": ANA, "privileged": True}, DORA, Because.SECURITY),
        ({"likely": ANA, "privileged": True}, DORA, Because.SECURITY),
    ],
)
def test_the_owner_reviews_else_the_manager_else_security(changes: Json, who: str, because: Because) -> None:
    found = reviews.assign(subject(**changes), [DORA])
    assert found is not None
    assert (found.email, found.because) == (who, because)


def test_a_self_review_and_a_reviewer_who_created_it_are_flagged() -> None:
    found = reviews.assign(subject(owner=ANA, creators=frozenset({ANA})), [DORA])
    assert found is not None
    assert found.self_review
    assert found.by_creator


def test_a_privileged_identity_of_the_only_person_is_theirs_to_see_and_not_to_decide() -> None:
    found = reviews.assign(subject(owner=DORA, privileged=True), [DORA])
    assert found is not None
    assert found.self_review
    assert reviews.forbidden(facts(owner={"state": "confirmed", "email": DORA}), True, DORA) is not None
    assert reviews.forbidden(facts(owner={"state": "confirmed", "email": DORA}), False, DORA) is None
    assert reviews.forbidden(facts(owner={"state": "confirmed", "email": ANA}), True, DORA) is None


people = st.sampled_from([ANA, BEA, CEM, DORA])


@given(
    st.builds(
        Subject,
        owner=st.none() | people,
        likely=st.none() | people,
        managers=st.lists(people, unique=True).map(tuple),
        creators=st.frozensets(people),
        privileged=st.booleans(),
    ),
    st.lists(people, unique=True),
)
def test_everything_has_one_reviewer_and_nobody_reviews_their_own_privileged_one_while_others_can(
    who: Subject, security: list[str]
) -> None:
    found = reviews.assign(who, security)
    able = {name for name in (who.owner, who.likely, *who.managers, *security) if name}
    assert (found is None) == (not able)
    if found is not None and who.privileged and able - who.themselves:
        assert not found.self_review


# -- risk, change, carry-over ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "risk"),
    [
        ({}, Risk.LOW),
        ({"findings": [{"kind": "unused", "severity": "low"}]}, Risk.LOW),
        ({"findings": [{"kind": "unused", "severity": "medium"}]}, Risk.MEDIUM),
        ({"findings": [{"kind": "unused", "severity": "high"}]}, Risk.HIGH),
        ({"permissions": {"policies": [], "privileged": True}}, Risk.HIGH),
        ({"credentials": [{"use_gap": "AccessDenied"}]}, Risk.MEDIUM),
    ],
)
def test_privileges_and_grave_findings_are_high_and_blindness_is_medium(changes: Json, risk: Risk) -> None:
    assert reviews.risk_of(facts(**changes)) is risk


def test_a_use_each_day_is_no_change_and_falling_out_of_use_is() -> None:
    before = reviews.gist(facts(), NOW)
    used_today = facts()
    used_today["credentials"][0]["last_used_at"] = "2026-11-23T08:00:00Z"
    assert reviews.changes(before, reviews.gist(used_today, NOW)) == []
    much_later = reviews.gist(facts(), NOW + 100 * DAY)
    assert reviews.changes(before, much_later) == [{"what": "used_lately", "was": True, "now": False}]


def test_changes_tell_what_was_added_and_removed() -> None:
    before = reviews.gist(facts(), NOW)
    after = facts(permissions={"policies": ["Admin"], "privileged": True, "powers": ["secrets"]})
    reads = facts(permissions={"policies": ["ReadOnly"], "privileged": False, "powers": ["data_read"]})
    after["credentials"].append(after["credentials"][0] | {"row": "c2"})
    found = {change["what"]: change for change in reviews.changes(before, reviews.gist(after, NOW))}
    assert "powers" not in found  # it was not known before what it may do
    told = reviews.changes(reviews.gist(reads, NOW), reviews.gist(after, NOW))
    assert {"what": "powers", "added": ["secrets"], "removed": ["data_read"]} in told
    assert found["policies"] == {"what": "policies", "added": ["Admin"], "removed": ["ReadOnly"]}
    assert found["credentials"] == {"what": "credentials", "added": 1, "removed": 0}
    assert found["privileged"] == {"what": "privileged", "was": False, "now": True}


ALLOWED = {Risk.LOW: 360 * DAY, Risk.MEDIUM: 180 * DAY}


@pytest.mark.parametrize(
    ("age", "risk", "carried"),
    [
        (360 * DAY - TICK, Risk.LOW, True),
        (360 * DAY, Risk.LOW, False),
        (180 * DAY - TICK, Risk.MEDIUM, True),
        (180 * DAY, Risk.MEDIUM, False),
        (TICK, Risk.HIGH, False),
    ],
)
def test_a_decision_is_carried_over_for_as_long_as_its_risk_allows(age: timedelta, risk: Risk, carried: bool) -> None:
    gist = reviews.gist(facts(), NOW)
    before = Before(decision_id="d", answer=Answer.KEEP, at=NOW - age, gist=gist)
    assert reviews.carries(before, gist, risk, ALLOWED, NOW) is carried


def test_nothing_that_changed_or_was_to_be_turned_off_is_carried_over() -> None:
    gist = reviews.gist(facts(), NOW)
    known = reviews.gist(facts(permissions={"policies": ["ReadOnly"], "privileged": False, "powers": []}), NOW)
    more = reviews.gist(facts(permissions={"policies": ["ReadOnly"], "privileged": False, "powers": ["secrets"]}), NOW)
    changed = reviews.gist(facts(permissions={"policies": ["Admin"], "privileged": False}), NOW)
    kept = Before(decision_id="d", answer=Answer.KEEP, at=NOW - DAY, gist=gist)
    off = Before(decision_id="d", answer=Answer.OFF, at=NOW - DAY, gist=gist)
    assert not reviews.carries(kept, changed, Risk.LOW, ALLOWED, NOW)
    assert reviews.carries(kept, known, Risk.LOW, ALLOWED, NOW)  # that it is known now is no change of it
    assert not reviews.carries(replace(kept, gist=known), more, Risk.LOW, ALLOWED, NOW)
    assert not reviews.carries(off, gist, Risk.LOW, ALLOWED, NOW)
    assert not reviews.carries(None, gist, Risk.LOW, ALLOWED, NOW)


def test_only_items_with_the_same_facts_are_kin_and_privileged_or_risky_ones_never() -> None:
    def kin(one: Json, since: list[Json] | None = None) -> str | None:
        return reviews.kin_of(one, reviews.gist(one, NOW), since or [], reviews.risk_of(one))

    twin = facts(identity=facts()["identity"] | {"name": "other"})
    assert kin(facts()) == kin(twin) is not None
    assert kin(facts()) != kin(facts(permissions={"policies": ["Other"], "privileged": False}))
    assert kin(facts()) != kin(facts(), [{"what": "owner"}])
    assert kin(facts(permissions={"policies": [], "privileged": True})) is None
    assert kin(facts(findings=[{"kind": "unused", "severity": "high"}])) is None


# -- time --------------------------------------------------------------------------------------------------------------


def told(**changes: Any) -> Told:
    values: Json = {
        "told_at": NOW - 3 * DAY,
        "last_step_at": NOW - 3 * DAY,
        "reminders": 0,
        "escalations": 0,
        "left": 4,
        "last_answer_at": None,
    }
    return Told(**(values | changes))


def nudge(one: Told, *, due: timedelta = 20 * DAY, now: datetime = NOW) -> Nudge | None:
    return reviews.next_nudge(one, NOW + due, "UTC", Conversation(), now)


def test_a_reviewer_is_told_in_working_hours_and_only_while_something_is_left() -> None:
    new = told(told_at=None, last_step_at=None)
    assert nudge(new) is Nudge.TELL
    assert nudge(new, now=NOW - timedelta(hours=1)) is None
    assert nudge(new, now=NOW + 5 * DAY) is None  # a Saturday
    assert nudge(told(told_at=None, last_step_at=None, left=0)) is None


def test_who_is_silent_is_reminded_after_the_patience_and_not_before() -> None:
    assert nudge(told()) is Nudge.REMIND
    assert nudge(told(last_step_at=NOW - 3 * DAY + TICK)) is None


def test_who_is_at_it_is_not_reminded() -> None:
    assert nudge(told(last_answer_at=NOW - DAY)) is None


def test_there_is_one_message_a_day_at_most() -> None:
    today = told(last_step_at=NOW - timedelta(minutes=1))
    assert nudge(today, due=DAY) is None
    assert nudge(told(told_at=None, last_step_at=NOW - timedelta(minutes=1))) is None
    assert nudge(told(last_step_at=NOW - DAY), due=DAY) is Nudge.REMIND


def test_after_the_reminders_somebody_else_is_told_once() -> None:
    silent = told(reminders=2, last_step_at=NOW - 4 * DAY)
    assert nudge(silent) is Nudge.ESCALATE
    assert nudge(told(reminders=2, escalations=1, last_step_at=NOW - 4 * DAY)) is None


def test_who_is_out_of_office_is_left_alone_unless_they_come_back_too_late_to_answer() -> None:
    back = NOW + 5 * DAY
    assert nudge(told(away_until=back)) is None
    assert nudge(told(away_until=NOW)) is Nudge.REMIND
    assert nudge(told(away_until=back), due=8 * DAY) is None  # three days are left to them then
    assert nudge(told(away_until=back), due=8 * DAY - TICK) is Nudge.REMIND
    assert nudge(told(away_until=NOW + 22 * DAY), due=60 * DAY) is Nudge.REMIND


def test_the_time_left_follows_the_readers_own_pace() -> None:
    assert reviews.minutes_left(9) == 3
    assert reviews.minutes_left(9, [60.0] * 5) == 9
    assert reviews.minutes_left(9, [60.0] * 4) == 3
    assert reviews.minutes_left(0) == 0
    assert reviews.minutes_left(1, [0.1] * 9) == 1


def test_dwell_counts_from_the_card_or_from_the_answer_before_it() -> None:
    assert reviews.dwell(NOW - timedelta(seconds=90), None, NOW) == 90
    assert reviews.dwell(NOW - timedelta(seconds=90), NOW - timedelta(seconds=4), NOW) == 4
    assert reviews.dwell(NOW + DAY, None, NOW) == 0


# -- the rubber-stamp meter --------------------------------------------------------------------------------------------


def stamp(number: int = 0, **changes: Any) -> Stamp:
    values: Json = {
        "item_id": f"i{number:03d}",
        "answer": Answer.KEEP,
        "seconds": 20.0,
        "opened": False,
        "together": 1,
        "risk": Risk.LOW,
        "changed": False,
    }
    return Stamp(**(values | changes))


def test_ten_answers_in_less_than_three_seconds_each_are_doubted_and_nine_are_not() -> None:
    quick = [stamp(n, seconds=2.9) for n in range(10)]
    assert stamps.quality(quick).low
    assert not stamps.quality(quick[:9]).low
    assert not stamps.quality([stamp(n, seconds=3.0) for n in range(10)]).low


def test_an_unbroken_row_of_yes_is_doubted_only_where_it_was_quick_and_nothing_was_opened() -> None:
    row = [stamp(n, seconds=5.9) for n in range(20)]
    assert stamps.quality(row).low
    assert not stamps.quality(row[:19]).low
    assert not stamps.quality([*row[:19], stamp(19, seconds=5.9, opened=True)]).low
    assert not stamps.quality([stamp(n, seconds=6.0) for n in range(20)]).low
    broken = [*row[:10], stamp(99, answer=Answer.OFF, seconds=5.9), *row[10:]]
    assert stamps.quality(broken).longest_streak == 10
    assert not stamps.quality(broken).low


def test_bulk_answers_are_no_sign_of_haste() -> None:
    assert not stamps.quality([stamp(n, seconds=0.0, together=200) for n in range(200)]).low


def test_the_riskiest_the_changed_and_the_quickest_are_asked_about_again() -> None:
    row = [stamp(n, seconds=2 + n) for n in range(20)]
    row += [stamp(50, risk=Risk.HIGH), stamp(51, changed=True), stamp(52, answer=Answer.OFF, risk=Risk.HIGH)]
    again = stamps.to_ask_again(row)
    assert again[:3] == ("i050", "i051", "i000")
    assert len(again) == stamps.AGAIN_AT_MOST
    assert "i052" not in again
