"""What is unusual is told by an identity's own history, quietly where that is short."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nhi.activity import Facet, Place, Profile
from nhi.anomalies import THRESHOLDS, Anomaly, Dead, Kind, Limits, judge_day, kilometres
from nhi.findings import Severity
from nhi.habits import habit_of, usual_of
from nhi.incident import facts_of, sentence, usual_words, values_of
from nhi.sensitive import is_grave, is_sensitive
from tests.test_activity import MIDNIGHT, profile, use

LIMITS = Limits(threshold=THRESHOLDS["normal"], learn_for=timedelta(days=14))
DUBLIN, PARIS, SAO_PAULO = Place("IE", 53.3, -6.2), Place("FR", 48.9, 2.4), Place("BR", -23.5, -46.6)
WORK = ("s3:ListBuckets", "sqs:SendMessage", "ecs:DescribeServices")
KEY = "AKIAEXAMPLE000000001"


def day(back: int, *, hours: tuple[int, ...] = (8, 11, 15), place: Place | None = DUBLIN, **other: Any) -> Profile:
    """Return a day of ordinary work, so many days before the Saturday."""
    start = MIDNIGHT - back * 86_400
    return profile(
        *(use(start + hour * 3600, action=action, key=KEY, **other) for hour in hours for action in WORK), place=place
    )


def history(days: int = 60, **other: Any) -> list[Profile]:
    """Return working days before the Saturday."""
    return [day(back, **other) for back in range(days, 0, -1) if (5 - back) % 7 < 5]


def judged(today: Profile, earlier: list[Profile], **other: Any) -> Anomaly | None:
    learned = other.get("learned", frozenset())
    return judge_day(today, habit_of(earlier, learned), limits=LIMITS, **other)


def stolen(at: int = 3 * 3600 + 720, place: Place = SAO_PAULO) -> Profile:
    actions = ("sts:GetCallerIdentity", "iam:CreateUser")
    calls = [
        use(MIDNIGHT + at, action=one, network="203.0.113.0/24", agent="aws-cli on linux", key=KEY) for one in actions
    ]
    return profile(*calls, place=place)


def test_a_stolen_key_is_told_with_the_facts_side_by_side() -> None:
    found = judged(stolen(), history())
    assert found is not None
    assert sentence(found) == (
        "On Saturday 21 November, 03:12 UTC from Brazil, from the new network 203.0.113.0/24, with aws-cli on linux for"
        " the first time, doing iam:CreateUser for the first time, at an unusual hour; always from 1 network in Ireland"
        " on weekdays from 08:00 to 16:00 before (44 days)."
    )
    assert found.severity is Severity.HIGH
    assert found.credential == KEY
    assert {signal["kind"] for signal in facts_of(found)["signals"]} == {
        "country",
        "network",
        "agent",
        "action",
        "hour",
    }


def test_a_privileged_identity_that_makes_access_is_critical() -> None:
    found = judged(stolen(), history(), privileged=True)
    assert found is not None
    assert found.severity is Severity.CRITICAL


@pytest.mark.parametrize("days", [1, 3, 7, 13])
def test_with_little_history_it_is_quiet(days: int) -> None:
    assert judged(stolen(), history(days)) is None


def test_an_ordinary_day_is_like_the_others() -> None:
    assert judged(day(1), history()[:-1]) is None


def test_working_once_on_a_saturday_is_not_enough_to_wake_anybody() -> None:
    assert judged(day(0), history()) is None


def test_one_new_network_alone_wakes_nobody() -> None:
    assert judged(day(1, network="192.0.2.0/24"), history()[:-1]) is None


def test_what_often_comes_from_new_networks_is_not_surprised_by_one_more() -> None:
    roaming = [day(back, network=f"192.0.{back}.0/24") for back in range(60, 1, -1)]
    settled = judged(day(1, network="203.0.113.0/24", agent="aws-cli on linux", hours=(3,)), history()[:-1])
    roams = judged(day(1, network="203.0.113.0/24", agent="aws-cli on linux", hours=(3,)), roaming)
    assert settled is not None
    assert roams is None


def test_two_places_at_once_need_no_new_action() -> None:
    today = day(1)
    far = [use(MIDNIGHT - 86_400 + 11 * 3600 + 300, network="203.0.113.0/24", key=KEY)]
    for one in far:
        today = _joined(today, profile(one, place=SAO_PAULO))
    found = judged(today, history()[:-1])
    assert found is not None
    travel = next(signal for signal in found.signals if signal.kind is Kind.TRAVEL)
    assert travel.facts == {"from": "IE", "to": "BR", "minutes": 5, "one_key": True}
    assert found.owasp == "NHI2"
    assert "in Ireland and Brazil 5 minutes apart" in sentence(found)


def test_a_key_is_blamed_only_for_a_day_that_was_all_done_with_it() -> None:
    at, agent = MIDNIGHT - 86_400 + 11 * 3600 + 300, "Mozilla on windows"
    calls = [use(at, action=one, network="203.0.113.0/24", agent=agent) for one in ("iam:CreateUser", *WORK)]
    found = judged(_joined(day(1), profile(*calls, place=SAO_PAULO)), history()[:-1])
    assert found is not None
    assert Kind.TRAVEL in {signal.kind for signal in found.signals}
    assert (found.credential, found.owasp) == (None, "")


def _joined(one: Profile, other: Profile) -> Profile:
    from nhi.activity import join

    return join(one, other)


def test_what_a_train_can_do_is_not_impossible() -> None:
    near = Place("GB", 51.5, -0.1)
    today = _joined(
        profile(use(MIDNIGHT - 86_400 + 8 * 3600, key=KEY), place=PARIS),
        profile(use(MIDNIGHT - 86_400 + 15 * 3600, key=KEY, network="203.0.113.0/24"), place=near),
    )
    found = judged(today, history(place=PARIS)[:-1])
    assert found is None or all(signal.kind is not Kind.TRAVEL for signal in found.signals)


def test_without_coordinates_only_half_an_hour_between_two_countries_is_impossible() -> None:
    def at(minutes: int) -> Profile:
        here = profile(use(MIDNIGHT - 86_400 + 11 * 3600, key=KEY), place=Place("IE"))
        there = use(MIDNIGHT - 86_400 + 11 * 3600 + 60 * minutes, network="203.0.113.0/24", key=KEY)
        return _joined(here, profile(there, place=Place("BR")))

    earlier = history(place=Place("IE"))[:-1]
    near, far = judged(at(30), earlier), judged(at(31), earlier)
    assert near is not None
    assert Kind.TRAVEL in {signal.kind for signal in near.signals}
    assert far is None or Kind.TRAVEL not in {signal.kind for signal in far.signals}


def test_trying_many_doors_is_a_burst_and_a_broken_job_is_none() -> None:
    start = MIDNIGHT - 86_400 + 11 * 3600
    doors = [
        use(start + n, action=f"{service}:List{n}", error="AccessDenied")
        for n, service in enumerate(["iam", "kms"] * 12)
    ]
    broken = [use(start + n, action="s3:ListBuckets", error="AccessDenied") for n in range(200)]
    tried = judged(_joined(day(1), profile(*doors, place=DUBLIN)), history()[:-1])
    assert tried is not None
    assert Kind.DENIALS in {signal.kind for signal in tried.signals}
    assert judged(_joined(day(1), profile(*broken, place=DUBLIN)), history()[:-1]) is None


def test_new_actions_are_counted_only_where_it_is_known_how_many_come() -> None:
    def run(back: int, *more: str) -> Profile:
        return profile(*(use(MIDNIGHT - back * 86_400 + 10_800, action=one, key=KEY) for one in (*WORK, *more)))

    looked = [f"ec2:DescribeThing{number}" for number in range(12)]
    found = judged(run(0, *looked), [run(back) for back in range(60, 0, -1)])
    assert found is not None
    assert Kind.BREADTH in {signal.kind for signal in found.signals}
    assert judged(run(0, *looked), [run(7 * back) for back in range(8, 0, -1)]) is None


@pytest.mark.parametrize(
    "name",
    [
        *("lambda:AddPermission20150331v2", "sso:CreateAccountAssignment", "iam:CreateUser"),
        *("s3:DeleteBucketPublicAccessBlock", "s3:DeleteAccountPublicAccessBlock"),
    ],
)
def test_actions_are_grave_under_the_names_that_a_trail_has_for_them(name: str) -> None:
    assert is_grave(name)
    assert is_sensitive("lambda:GetFunction20150331v2")
    assert not is_sensitive("lambda:ListFunctions20150331")


def test_a_key_that_was_thought_dead_needs_no_history() -> None:
    found = judged(day(1), [], dead={KEY: Dead(why="was last used on 1 March 2026, 264 days before")})
    assert found is not None
    assert (found.severity, found.owasp, found.credential) == (Severity.HIGH, "NHI1", KEY)
    assert "a key that was last used on 1 March 2026" in sentence(found)


def test_that_was_us_silences_the_same_facts_and_no_others() -> None:
    first = judged(stolen(), history())
    assert first is not None
    learned = frozenset((Facet(facet), value) for facet, value in values_of(facts_of(first)))
    assert judged(stolen(), history(), learned=learned) is None
    more = _joined(
        stolen(), profile(use(MIDNIGHT + 3 * 3600, action="iam:AttachUserPolicy"), place=Place("NG", 6.5, 3.4))
    )
    again = judged(more, history(), learned=learned)
    assert again is not None
    assert not {("action", "iam:CreateUser"), ("country", "BR")} & set(values_of(facts_of(again)))


def test_a_lower_sensitivity_asks_less() -> None:
    today = day(1, network="203.0.113.0/24", agent="aws-cli on linux", hours=(11,))
    habit = habit_of(history()[:-1])
    asked = {
        name: judge_day(today, habit, limits=replace(LIMITS, threshold=threshold)) is not None
        for name, threshold in THRESHOLDS.items()
    }
    assert asked["high"]
    assert not asked["low"]


def test_what_is_usual_is_told_in_few_words() -> None:
    habit = habit_of(history())
    assert habit is not None
    assert (
        usual_words(usual_of(habit))
        == "always from 1 network in Ireland on weekdays from 08:00 to 16:00 before (44 days)"
    )
    nights = habit_of([day(back, hours=(23, 0, 1)) for back in range(40, 0, -1)])
    assert nights is not None
    assert usual_of(nights).hours == (23, 2)


def test_distances_are_those_of_a_globe() -> None:
    assert kilometres((53.3, -6.2), (48.9, 2.4)) == pytest.approx(780, abs=15)
    assert kilometres((0.0, 179.5), (0.0, -179.5)) == pytest.approx(111, abs=1)
