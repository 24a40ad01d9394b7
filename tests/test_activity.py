"""Profiles: uses marked in any order come to the same, and nothing grows beyond its cap."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.activity import (
    CAPS,
    PLACES_AT_MOST,
    DayBook,
    Facet,
    Place,
    Profile,
    Use,
    agent_of,
    body_of,
    fold,
    join,
    network_of,
    slot,
)

MIDNIGHT = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp())  # a Saturday


def use(
    at: int = MIDNIGHT, *, action: str = "s3:ListBuckets", network: str = "198.51.100.0/24", **other: object
) -> Use:
    return Use(
        id=f"{at}/{action}/{network}",
        who="AIDA1",
        at=at,
        service=action.partition(":")[0],
        action=action,
        network=network,
        address=None,
        agent=str(other.get("agent", "Boto3 on linux")),
        error=str(other["error"]) if "error" in other else None,
        denied="error" in other,
        credential=str(other["key"]) if "key" in other else None,
    )


def profile(*uses: Use, place: Place | None = None) -> Profile:
    book = DayBook()
    for one in uses:
        book.add(one, place)
    [found] = book.profiles.values()
    return found


@pytest.mark.parametrize(
    ("source", "network", "address"),
    [
        ("198.51.100.77", "198.51.100.0/24", "198.51.100.77"),
        ("2001:db8:1:2::7", "2001:db8:1::/48", "2001:db8:1:2::7"),
        ("::ffff:198.51.100.77", "198.51.100.0/24", "198.51.100.77"),
        ("cloudformation.amazonaws.com", "cloud:cloudformation", None),
        ("AWS Internal", "AWS Internal", None),
        ("198.51.100.256", "198.51.100.256", None),
        ("1.2.3", "1.2.3", None),
        ("198.51.100.007", "198.51.100.007", None),
        ("", "unknown", None),
    ],
)
def test_a_caller_is_known_by_its_network(source: str, network: str, address: str | None) -> None:
    assert network_of(source) == (network, address)


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("aws-cli/2.15.3 Python/3.11.6 Linux/6.1 exe/x86_64", "aws-cli on linux"),
        ("aws-cli/2.16.0 Python/3.12 Linux/6.8 exe/x86_64", "aws-cli on linux"),
        ("Boto3/1.34.0 md/Botocore#1.34.0 os/windows#10", "Boto3 on windows"),
        ("aws-cli/2.30 os/linux#6.6.9-kali", "aws-cli on kali"),
        ("[S3Console/0.4, aws-internal/3]", "S3Console"),
        ("cloudformation.amazonaws.com", "cloud:cloudformation"),
        ("", "unknown"),
        ("\u202e<script>", "unknown"),
    ],
)
def test_a_tool_is_the_same_after_an_update(text: str, tool: str) -> None:
    assert agent_of(text) == tool


def test_hours_are_counted_by_the_week() -> None:
    assert slot(MIDNIGHT + 3 * 3600 + 720) == "5-03"
    assert slot(MIDNIGHT - 1) == "4-23"


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            use,
            st.integers(MIDNIGHT, MIDNIGHT + 86_399),
            action=st.sampled_from(["s3:ListBuckets", "iam:CreateUser", "sqs:SendMessage"]),
            network=st.sampled_from(["198.51.100.0/24", "203.0.113.0/24"]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 30),
    st.randoms(),
)
def test_a_day_read_in_parts_and_in_any_order_is_the_day_read_at_once(uses: list[Use], cut: int, dice: object) -> None:
    whole = profile(*uses)
    mixed = list(uses)
    dice.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis' own Random
    parts = [part for part in (mixed[:cut], mixed[cut:]) if part]
    together = profile(*parts[0])
    for part in parts[1:]:
        together = join(together, profile(*part))
    assert together == whole


def test_a_profile_is_bounded_and_what_came_beyond_is_counted() -> None:
    many = [
        use(MIDNIGHT + n % 86_400, action=f"s3:Get{n}", network=f"10.{n // 256}.{n % 256}.0/24") for n in range(5000)
    ]
    found = profile(*many, place=Place("IE", 53.0, -6.0))
    assert {facet: len(values) <= CAPS[Facet(facet)] for facet, values in found.seen.items()} == dict.fromkeys(
        found.seen, True
    )
    assert found.over[Facet.NETWORK] == 5000 - CAPS[Facet.NETWORK]
    assert len(found.stays) <= PLACES_AT_MOST
    assert len(str(body_of(found))) < 20_000


def test_what_matters_most_is_kept_beyond_the_cap() -> None:
    flood = [use(action=f"s3:Get{n}") for n in range(CAPS[Facet.ACTION] + 50)]
    assert "iam:CreateUser" in profile(*flood, use(action="iam:CreateUser")).values(Facet.ACTION)


def test_a_week_counts_days_and_not_only_events() -> None:
    days = [profile(use(MIDNIGHT + day * 86_400), use(MIDNIGHT + day * 86_400 + 60)) for day in range(5)]
    week = fold(days)
    assert week.values(Facet.ACTION)["s3:ListBuckets"] == [10, 5, MIDNIGHT]
    assert (week.day, week.days, week.active_days) == (date(2026, 11, 21), 5, 5)
    assert week.events == 10
    assert days[0].day + timedelta(days=4) == days[4].day
