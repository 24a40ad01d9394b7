"""The look before an act: every doubt stops it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.identity import CredentialStatus
from nhi.remediation import Go, Look, Plan, Stop, check, was_used_since
from tests.factories import NOW
from tests.strategies import LOOKS, PLANS, TICK, ago

PLAN = Plan(shown_last_used_at=ago(100), shown_at=ago(1), owner_then="ana@example.com")
LOOK = Look(
    status=CredentialStatus.ACTIVE,
    last_used_at=ago(100),
    gap=None,
    owner_now="ana@example.com",
    decider_may=True,
    acts_this_hour=0,
)


def test_an_act_goes_ahead_when_everything_is_as_it_was_shown() -> None:
    assert check(PLAN, LOOK, actions_an_hour=5) == Go()


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (replace(LOOK, gap="AccessDenied"), "It could not be looked at before acting (AccessDenied)"),
        (replace(LOOK, status=None), "It is not there any more"),
        (replace(LOOK, status=CredentialStatus.INACTIVE), "It was already turned off"),
        (replace(LOOK, last_used_at=NOW), "It was used on 23 November 2026 at 09:00 UTC, after the card was made."),
        (replace(LOOK, owner_now="bea@example.com"), "Its owner changed after this was decided."),
        (replace(LOOK, owner_now=None), "Its owner changed after this was decided."),
        (replace(LOOK, decider_may=False), "Who decided this may not decide it any more."),
    ],
)
def test_a_doubt_stops_it_for_good_and_says_which(look: Look, why: str) -> None:
    answer = check(PLAN, look, actions_an_hour=5)

    assert isinstance(answer, Stop)
    assert answer.why.startswith(why)
    assert not answer.later


def test_the_breaker_lets_five_acts_an_hour_through_and_puts_the_sixth_off() -> None:
    assert check(PLAN, replace(LOOK, acts_this_hour=4), actions_an_hour=5) == Go()
    assert check(PLAN, replace(LOOK, acts_this_hour=5), actions_an_hour=5) == Stop(
        why="Policy allows 5 acts an hour.", later=True
    )


def test_a_use_of_one_tick_after_the_one_on_the_card_counts_and_the_same_one_does_not() -> None:
    assert not was_used_since(ago(100), PLAN)
    assert was_used_since(ago(100) + TICK, PLAN)


def test_any_use_counts_where_the_card_said_never_used_even_one_from_before_the_card() -> None:
    never = replace(PLAN, shown_last_used_at=None)

    assert was_used_since(never.shown_at - timedelta(days=400), never)
    assert not was_used_since(None, never)


@settings(max_examples=300, deadline=None)
@given(plan=PLANS, look=LOOKS, an_hour=st.integers(min_value=1, max_value=8))
def test_a_key_is_turned_off_when_there_is_no_doubt_at_all_and_only_then(plan: Plan, look: Look, an_hour: int) -> None:
    shown = plan.shown_last_used_at
    no_doubt = (
        look.gap is None
        and look.status is CredentialStatus.ACTIVE
        and (look.last_used_at is None or (shown is not None and look.last_used_at <= shown))
        and look.owner_now == plan.owner_then
        and look.decider_may
        and look.acts_this_hour < an_hour
    )

    assert isinstance(check(plan, look, actions_an_hour=an_hour), Go) is no_doubt


@settings(max_examples=100, deadline=None)
@given(plan=PLANS, look=LOOKS, later=st.integers(min_value=1, max_value=10**9))
def test_a_use_after_the_card_always_stops_it(plan: Plan, look: Look, later: int) -> None:
    used = replace(look, last_used_at=(plan.shown_last_used_at or plan.shown_at) + timedelta(seconds=later))

    assert isinstance(check(plan, used, actions_an_hour=100), Stop)
