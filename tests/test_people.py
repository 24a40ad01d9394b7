"""Who is who: several sources merged by e-mail, managers and their circles, teams, and who leaves when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.identity import Person, Team
from nhi.people import (
    LONGEST_CHAIN,
    AskLeaver,
    AskManager,
    Departure,
    Entry,
    Leaving,
    People,
    Reason,
    Release,
    RemindManager,
    Stay,
    cycles,
    departure,
    has_left,
    heir,
    managers,
    merge,
    next_handover_step,
    team_named,
    team_of,
    teams,
    with_told,
)
from nhi.policy import NEVER
from tests.factories import NOW

TODAY = date(2026, 11, 23)
WEEK2 = timedelta(days=14)
DAYS3 = timedelta(days=3)


def one(handle: str, **changes: Any) -> Entry:
    return replace(Entry(email=f"{handle}@example.com"), **changes)


def known(*entries: Entry) -> People:
    return People(("csv", entry) for entry in entries)


def person(**changes: Any) -> Person:
    values: dict[str, Any] = {
        "email": "ana@example.com",
        "slack_id": "UANA",
        "name": "Ana",
        "tz": "UTC",
        "active": True,
    }
    return Person(**(values | changes))


# -- merging -----------------------------------------------------------------------------------------------------------


def test_sources_are_merged_by_address_and_the_companys_list_counts_first() -> None:
    people = People(
        [
            ("slack", one("ana", name="ana", aliases=("ana.before@example.com",))),
            ("scim", one("ana", name="Ana D", team="Infra", manager="bea@example.com", active=True)),
            ("csv", one("ana", name="Ana Diaz", logins=("adiaz",), ends_on=TODAY)),
        ]
    )
    ana = people.find("ANA@example.com")
    assert ana is not None
    assert (ana.name, ana.team, ana.manager, ana.ends_on) == ("Ana Diaz", "Infra", "bea@example.com", TODAY)
    assert (ana.aliases, ana.logins, ana.active) == (("ana.before@example.com",), ("adiaz",), True)
    assert people.find("ana.before@example.com") == ana


def test_one_source_that_switched_somebody_off_is_enough() -> None:
    assert merge({"csv": one("ana", active=True), "scim": one("ana", active=False)}).active is False
    assert merge({"csv": one("ana"), "scim": one("ana", active=True)}).active is True
    assert merge({"csv": one("ana")}).active is None


def test_an_alias_of_two_people_is_nobodys() -> None:
    people = known(one("ana", aliases=("ops@example.com",)), one("bea", aliases=("ops@example.com",)))
    assert people.find("ops@example.com") is None


def test_a_newer_word_of_the_same_source_replaces_the_older() -> None:
    assert known(one("ana", team="Old"), one("ana", team="New")).find("ana@example.com") == one("ana", team="New")


def test_other_names_the_manager_and_the_departure_are_known_of_a_person_in_slack() -> None:
    told = one("ana", logins=("adiaz",), aliases=("a.diaz@example.com",), manager="bea@example.com")
    merged = with_told(person(), told, TODAY)
    assert (merged.aliases, merged.manager) == (("a.diaz@example.com", "adiaz"), "bea@example.com")
    assert merged.may_own
    assert not with_told(person(), replace(told, ends_on=TODAY - timedelta(days=1)), TODAY).may_own
    assert with_told(person(), None, TODAY) == person()


# -- managers ----------------------------------------------------------------------------------------------------------


def test_the_nearest_manager_who_can_answer_is_asked() -> None:
    people = known(one("ana", manager="bea@example.com"), one("bea", manager="cem@example.com"), one("cem"))
    assert people.managers("ana@example.com").emails == ("bea@example.com", "cem@example.com")
    assert people.manager("ana@example.com", lambda _: True) == "bea@example.com"
    assert people.manager("ana@example.com", lambda email: email != "bea@example.com") == "cem@example.com"
    assert people.manager("cem@example.com", lambda _: True) is None


def test_a_circle_of_managers_ends_where_it_bites_its_tail() -> None:
    people = known(
        one("ana", manager="bea@example.com"),
        one("bea", manager="cem@example.com"),
        one("cem", manager="ana@example.com"),
    )
    above = people.managers("ana@example.com")
    assert (above.emails, above.cyclic) == (("bea@example.com", "cem@example.com"), True)
    assert cycles(people) == (("ana@example.com", "bea@example.com", "cem@example.com"),)


def test_who_manages_themselves_has_no_manager() -> None:
    people = known(one("ana", manager="ana@example.com"))
    assert people.managers("ana@example.com").emails == ()
    assert people.managers("ana@example.com").cyclic


def test_a_manager_is_followed_by_alias_and_one_who_is_in_no_list_still_counts() -> None:
    people = known(
        one("ana", manager="b.o@example.com"), one("bea", aliases=("b.o@example.com",), manager="x@example.com")
    )
    assert people.managers("ana@example.com").emails == ("bea@example.com", "x@example.com")


NAMES = st.sampled_from([f"p{number}" for number in range(8)])


@settings(max_examples=200, deadline=None)
@given(above=st.dictionaries(NAMES, NAMES, max_size=8), start=NAMES)
def test_however_garbled_a_chain_ends_and_names_nobody_twice(above: dict[str, str], start: str) -> None:
    people = known(*(one(name, manager=f"{boss}@example.com") for name, boss in above.items()))
    chain = managers(f"{start}@example.com", people.find)
    assert len(set(chain.emails)) == len(chain.emails) <= LONGEST_CHAIN
    assert f"{start}@example.com" not in chain.emails
    assert all(len(set(circle)) == len(circle) for circle in cycles(people))


# -- teams -------------------------------------------------------------------------------------------------------------

PAYMENTS = Team(name="payments", channel="#pay", default="bea@example.com", aliases=("billing",))


def test_policys_word_on_a_team_counts_first_and_members_add_up() -> None:
    people = known(
        one("ana", team="Payments", team_channel="#other"),
        one("bea", team="billing"),
        one("cem", team="Data", team_channel="#data", team_default="cem@example.com"),
    )
    payments, data = teams([PAYMENTS], people)
    assert (payments.channel, payments.default) == ("#pay", "bea@example.com")
    assert payments.members == ("ana@example.com", "bea@example.com")
    assert (data.name, data.channel, data.default) == ("Data", "#data", "cem@example.com")


@pytest.mark.parametrize("name", ["payments", "Team Payments", "@acme/payments", "#pay", " BILLING "])
def test_a_team_is_found_by_every_name_it_goes_by(name: str) -> None:
    assert team_named(name, [PAYMENTS]) == PAYMENTS


@pytest.mark.parametrize("name", ["", "pay ments", "payments@example.com", "ana"])
def test_no_other_name_is_taken_for_a_team(name: str) -> None:
    assert team_named(name, [PAYMENTS]) is None


def test_somebody_in_two_teams_is_in_none_for_certain() -> None:
    first, second = Team(name="a", members=("ana@example.com",)), Team(name="b", members=("ANA@example.com",))
    assert team_of("ana@example.com", [first]) == first
    assert team_of("ana@example.com", [first, second]) is None


# -- leaving -----------------------------------------------------------------------------------------------------------


def leaves(told: Entry | None = None, slack: Person | None = None, notice: timedelta = WEEK2) -> Reason | None:
    found = departure("ana@example.com", slack=slack, told=told, today=TODAY, notice=notice)
    return found.reason if found else None


def test_an_announced_end_counts_from_its_notice_on_and_the_last_day_is_a_day_at_work() -> None:
    def ends(day: date) -> Reason | None:
        return leaves(one("ana", ends_on=day), person())

    assert ends(TODAY + timedelta(days=15)) is None
    assert ends(TODAY + timedelta(days=14)) is Reason.ANNOUNCED
    assert ends(TODAY) is Reason.ANNOUNCED
    assert ends(TODAY - timedelta(days=1)) is Reason.ENDED
    assert leaves(one("ana", ends_on=date(2090, 1, 1)), person(), NEVER) is Reason.ANNOUNCED


def test_deactivated_unresolved_and_made_a_guest_are_ways_to_leave() -> None:
    assert leaves(None, person()) is None
    assert leaves(None, person(active=False)) is Reason.DEACTIVATED
    assert leaves(one("ana", active=False), person()) is Reason.DEACTIVATED
    assert leaves(None, None) is Reason.UNRESOLVED
    assert leaves(None, person(guest=True)) is Reason.UNABLE
    assert not Departure(email="a", reason=Reason.ANNOUNCED, last_day=None).left


def test_whoever_is_past_the_last_day_has_left_and_on_it_has_not() -> None:
    assert not has_left(one("ana", ends_on=TODAY), TODAY)
    assert has_left(one("ana", ends_on=TODAY), TODAY + timedelta(days=1))


def test_the_likeliest_who_can_and_has_not_said_no_is_proposed() -> None:
    ranked = [("leo@example.com", ("tag",)), ("bea@example.com", ("made it",)), ("cem@example.com", ("runs it",))]

    def proposed(*passed: str, able: tuple[str, ...] = ("bea", "cem", "leo")) -> str | None:
        found = heir(
            ranked,
            leaver="leo@example.com",
            passed=[f"{one}@example.com" for one in passed],
            team=PAYMENTS,
            can=lambda email: email.partition("@")[0] in able,
        )
        return found.email.partition("@")[0] if found else None

    assert proposed() == "bea"
    assert proposed("bea") == "cem"
    assert proposed(able=("cem",)) == "cem"
    assert proposed("cem", able=("cem",)) is None
    assert proposed("cem", able=("bea", "cem")) == "bea"


def step(now: timedelta = timedelta(0), *, leaver_can: bool = True, manager: bool = True, **leaving: Any) -> Any:
    values: dict[str, Any] = {"left": False, "last_day": None} | leaving
    return next_handover_step(
        Leaving(**values), leaver_can=leaver_can, manager_known=manager, patience=DAYS3, now=NOW + now, today=TODAY
    )


def test_the_leaver_is_asked_first_and_the_manager_after_their_silence() -> None:
    assert isinstance(step(), AskLeaver)
    assert isinstance(step(DAYS3 - timedelta(seconds=1), leaver_asked_at=NOW), Stay)
    assert isinstance(step(DAYS3, leaver_asked_at=NOW), AskManager)
    assert isinstance(step(leaver_can=False), AskManager)


def test_the_manager_is_asked_at_once_when_the_leaver_is_gone_or_nearly() -> None:
    assert isinstance(step(left=True), AskManager)
    assert isinstance(step(leaver_asked_at=NOW, last_day=TODAY + timedelta(days=1)), AskManager)
    assert isinstance(step(leaver_asked_at=NOW, last_day=TODAY + timedelta(days=2)), Stay)


def test_the_manager_is_reminded_once_and_then_the_likeliest_owner_is_asked_instead() -> None:
    asked: dict[str, Any] = {"left": True, "manager_asked_at": NOW}
    assert isinstance(step(DAYS3 - timedelta(seconds=1), **asked), Stay)
    assert isinstance(step(DAYS3, **asked), RemindManager)
    assert isinstance(step(2 * DAYS3 - timedelta(seconds=1), **asked, reminded=True), Stay)
    assert isinstance(step(2 * DAYS3, **asked, reminded=True), Release)


def test_nothing_is_released_while_the_leaver_still_answers_for_it() -> None:
    asked: dict[str, Any] = {"leaver_asked_at": NOW, "manager_asked_at": NOW, "reminded": True}
    assert isinstance(step(10 * DAYS3, **asked), Stay)
    assert isinstance(step(DAYS3, leaver_asked_at=NOW, manager=False), Stay)
    assert isinstance(step(left=True, manager=False), Release)
