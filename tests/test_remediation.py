"""The machine of states: which step may follow which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhi.remediation import (
    BEGINNINGS,
    ENDS,
    FOLLOWS,
    LIVE,
    NOT_BEGUN,
    RESTS,
    STATUS,
    RemediationStatus,
    State,
    WrongStep,
    check_step,
)


def test_every_state_has_a_status_and_every_status_a_state_that_it_rests_in() -> None:
    assert set(STATUS) == set(FOLLOWS) == set(State)
    assert set(STATUS.values()) == set(RESTS) == set(RemediationStatus)
    assert all(STATUS[state] is status for status, state in RESTS.items())


def test_every_state_can_be_reached_and_from_every_state_an_end_can() -> None:
    reached = set(BEGINNINGS)
    for _ in State:
        reached |= {after for before in reached for after in FOLLOWS[before]}
    assert reached == set(State)
    ending = set(ENDS)
    for _ in State:
        ending |= {before for before in State if FOLLOWS[before] & ending}
    assert ending == set(State)


@given(st.sampled_from(State))
def test_what_has_ended_never_goes_on_but_to_turn_on_what_was_turned_off_late(after: State) -> None:
    for end in ENDS:
        if after is State.UNDOING and end is not State.CLOSED:
            continue
        with pytest.raises(WrongStep):
            check_step(end, after)


def test_nothing_is_acted_on_that_was_not_checked_right_before() -> None:
    before_acting = {state for state in State if State.ACTING in FOLLOWS[state]}
    assert before_acting == {State.CHECKED, State.ACTING}
    assert {state for state in State if State.CHECKED in FOLLOWS[state]} == {State.SCHEDULED, State.ACTING}


def test_what_awaits_a_second_person_cannot_be_checked_before_they_agreed() -> None:
    check_step(State.AWAITING_SECOND, State.SCHEDULED)
    with pytest.raises(WrongStep):
        check_step(State.AWAITING_SECOND, State.CHECKED)


def test_only_what_was_not_begun_is_called_off_on_the_spot() -> None:
    called_off = {STATUS[state] for state in State if State.UNDONE in FOLLOWS[state]} - {RemediationStatus.UNDOING}
    assert called_off == set(NOT_BEGUN)
    assert set(LIVE) - called_off == {RemediationStatus.ACTING, RemediationStatus.TESTING}
