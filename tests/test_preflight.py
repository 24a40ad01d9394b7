"""The look before an act: every doubt stops it, and each doubt is a sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.handling import sentence
from nhi.identity import CredentialStatus
from nhi.policy import NEVER
from nhi.preflight import PASSING, Doubt, Go, Limits, Look, Plan, Stop, check, was_used_since
from tests.factories import NOW
from tests.strategies import DAY, LIMITS, LOOKS, PLANS, TICK, ago

ANA, BEA = "ana@example.com", "bea@example.com"
PLAN = Plan(
    shown_last_used_at=ago(100),
    use_was_shown=True,
    shown_at=ago(1),
    owner_then=ANA,
    likely_then=ANA,
    principal_then="arn:ci",
)
LOOK = Look(
    status=CredentialStatus.ACTIVE,
    last_used_at=ago(100),
    gap=None,
    blocked=None,
    principal_now="arn:ci",
    owner_now=ANA,
    likely_now=ANA,
    decider_may=True,
    second_is_missing=False,
    never_touch=None,
    break_glass=None,
    frozen=None,
    freeze_gap=None,
    acts_this_hour=0,
    acts_in_account_today=0,
    credentials_in_account=100,
    account_is_busy=False,
)
LIMIT = Limits(actions_an_hour=5, share_of_account=0.1, unused_after=90 * DAY)
UNCLAIMED = replace(PLAN, owner_then=None)


def test_an_act_goes_ahead_when_everything_is_as_it_was_shown() -> None:
    assert check(PLAN, LOOK, LIMIT) == Go()


@pytest.mark.parametrize(
    ("changes", "doubt", "words"),
    [
        ({"gap": "AccessDenied"}, Doubt.CANNOT_SEE, "It could not be looked at before acting (AccessDenied), so"),
        ({"status": None}, Doubt.GONE, "It is not there any more: somebody deleted it."),
        ({"status": CredentialStatus.INACTIVE}, Doubt.OFF_ALREADY, "It was already turned off by somebody else."),
        (
            {"blocked": "the user has a key too"},
            Doubt.BLOCKED,
            "It cannot be turned off alone: the user has a key too.",
        ),
        ({"principal_now": "arn:x"}, Doubt.RENAMED, "It has another name than on the card: arn:ci is arn:x now."),
        (
            {"last_used_at": NOW},
            Doubt.USED_SINCE,
            "It was used on 23 November 2026 at 09:00 UTC, after the card was made.",
        ),
        ({"owner_now": BEA}, Doubt.OWNER_CHANGED, "Its owner changed after this was decided."),
        ({"owner_now": None}, Doubt.OWNER_CHANGED, "Its owner changed after this was decided."),
        ({"decider_may": False}, Doubt.DECIDER_MAY_NOT, "Who decided this may not decide it any more."),
        ({"never_touch": "prod-*"}, Doubt.NEVER_TOUCH, "Policy says never to touch it (prod-*)."),
        ({"break_glass": "break-*"}, Doubt.BREAK_GLASS, "It is kept for emergencies (break-*), so it is never"),
        ({"second_is_missing": True}, Doubt.SECOND_PERSON, "A second person has to agree first."),
        ({"frozen": "year end"}, Doubt.FROZEN, "Changes are frozen now: year end. It is done when that is over."),
        ({"freeze_gap": "AccessDenied"}, Doubt.FREEZE_UNKNOWN, "It cannot be told whether changes are frozen now"),
        ({"account_is_busy": True}, Doubt.ONE_AT_A_TIME, "Another act is under way in this account; one at a time."),
        ({"acts_this_hour": 5}, Doubt.TOO_MANY_AN_HOUR, "Policy allows 5 acts an hour."),
        ({"acts_in_account_today": 10}, Doubt.SHARE_OF_ACCOUNT, "Policy allows 10 acts in 24 hours in an account"),
    ],
    ids=lambda value: value.value if isinstance(value, Doubt) else "",
)
def test_each_doubt_stops_it_with_a_sentence(changes: dict[str, Any], doubt: Doubt, words: str) -> None:
    answer = check(PLAN, replace(LOOK, **changes), LIMIT)
    assert isinstance(answer, Stop)
    assert answer.doubt is doubt
    assert sentence(answer).startswith(words)
    assert answer.later is (doubt in PASSING)


def test_a_likely_owner_who_changed_stops_what_nobody_had_claimed_and_a_claim_counts_for_more() -> None:
    assert check(UNCLAIMED, replace(LOOK, owner_now=None), LIMIT) == Go()
    changed = check(UNCLAIMED, replace(LOOK, owner_now=None, likely_now=BEA), LIMIT)
    assert changed == Stop(doubt=Doubt.LIKELY_OWNER_CHANGED)
    assert sentence(Stop(doubt=Doubt.LIKELY_OWNER_CHANGED)) == (
        "What speaks for its owner changed after this was decided."
    )
    assert check(PLAN, replace(LOOK, likely_now=BEA), LIMIT) == Go()


@pytest.mark.parametrize(("credentials", "most"), [(0, 3), (39, 3), (40, 4), (100, 10)])
def test_the_share_of_an_account_never_lets_fewer_than_three_through(credentials: int, most: int) -> None:
    at = replace(LOOK, credentials_in_account=credentials)
    assert check(PLAN, replace(at, acts_in_account_today=most - 1), LIMIT) == Go()
    answer = check(PLAN, replace(at, acts_in_account_today=most), LIMIT)
    assert answer == Stop(doubt=Doubt.SHARE_OF_ACCOUNT, facts={"most": most})


def test_a_use_of_one_tick_after_the_one_on_the_card_counts_and_the_same_one_does_not() -> None:
    assert not was_used_since(ago(100), PLAN, 90 * DAY)
    assert was_used_since(ago(100) + TICK, PLAN, 90 * DAY)


def test_any_use_counts_where_the_card_said_never_used_even_one_from_before_the_card() -> None:
    never = replace(PLAN, shown_last_used_at=None)
    assert was_used_since(never.shown_at - timedelta(days=400), never, 90 * DAY)
    assert not was_used_since(None, never, 90 * DAY)


def test_a_use_that_the_card_could_not_show_counts_within_policys_patience() -> None:
    unseen = replace(PLAN, shown_last_used_at=None, use_was_shown=False)
    assert not was_used_since(unseen.shown_at - 90 * DAY, unseen, 90 * DAY)
    assert was_used_since(unseen.shown_at - 90 * DAY + TICK, unseen, 90 * DAY)
    assert was_used_since(unseen.shown_at - 4000 * DAY, unseen, NEVER)
    answer = check(unseen, replace(LOOK, last_used_at=ago(3)), LIMIT)
    assert isinstance(answer, Stop)
    assert sentence(answer) == "It was used on 20 November 2026 at 09:00 UTC, which the card could not show."


def test_a_use_speaks_for_ending_sessions_and_not_against_it() -> None:
    ends = replace(PLAN, ends_sessions=True)
    assert check(ends, replace(LOOK, last_used_at=NOW), LIMIT) == Go()


def test_every_doubt_has_a_sentence_and_no_fact_of_it_can_break_one() -> None:
    facts = {"reason": "`*x*` <!here>", "before": "a", "now": "b", "pattern": "p", "name": "n", "at": NOW, "most": 3}
    for doubt in Doubt:
        assert sentence(Stop(doubt=doubt, facts=facts)).endswith(".")


@settings(max_examples=300, deadline=None)
@given(plan=PLANS, look=LOOKS, limits=LIMITS)
def test_a_key_is_turned_off_when_there_is_no_doubt_at_all_and_only_then(
    plan: Plan, look: Look, limits: Limits
) -> None:
    unused = plan.ends_sessions or look.last_used_at is None
    if not unused and look.last_used_at is not None and plan.use_was_shown:
        unused = plan.shown_last_used_at is not None and look.last_used_at <= plan.shown_last_used_at
    elif not unused and look.last_used_at is not None and limits.unused_after != NEVER:
        unused = look.last_used_at <= plan.shown_at - limits.unused_after
    no_doubt = (
        look.status is CredentialStatus.ACTIVE
        and (look.gap, look.blocked, look.never_touch, look.break_glass) == (None,) * 4
        and (look.frozen, look.freeze_gap) == (None, None)
        and plan.principal_then in (None, look.principal_now)
        and unused
        and look.owner_now == plan.owner_then
        and (plan.owner_then is not None or plan.likely_then in (None, look.likely_now))
        and look.decider_may
        and not look.second_is_missing
        and not look.account_is_busy
        and look.acts_this_hour < limits.actions_an_hour
        and look.acts_in_account_today < max(3, int(limits.share_of_account * look.credentials_in_account))
    )
    assert isinstance(check(plan, look, limits), Go) is no_doubt


@settings(max_examples=100, deadline=None)
@given(plan=PLANS, look=LOOKS, limits=LIMITS, later=st.integers(min_value=1, max_value=10**7))
def test_a_use_after_the_card_always_stops_it(plan: Plan, look: Look, limits: Limits, later: int) -> None:
    turned_off = replace(plan, ends_sessions=False)
    shown = turned_off.shown_last_used_at if turned_off.use_was_shown else None
    used = replace(look, last_used_at=(shown or turned_off.shown_at) + timedelta(seconds=later))
    assert isinstance(check(turned_off, used, limits), Stop)
