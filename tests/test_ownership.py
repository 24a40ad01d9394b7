"""Who is answerable, as far as evidence tells, and when nobody is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.identity import Evidence, Person, Team
from nhi.ownership import Directory, LikelyOwner, features, names_of, rank, tag_evidence, team_spoken_of, weigh
from nhi.policy import Owners, People
from tests.factories import NOW
from tests.strategies import HOSTILE_TEXTS, MAYBE, a_fact, a_user, ago


def person(handle: str, **changes: Any) -> Person:
    values: dict[str, Any] = {
        "email": f"{handle}@example.com",
        "slack_id": "U" + handle.upper(),
        "name": handle.title(),
        "tz": "UTC",
        "active": True,
        "handle": handle,
    }
    return Person(**(values | changes))


PEOPLE = (
    person("ana"),
    person("bea"),
    person("otto", active=False),
    person("gus", guest=True),
    person("robo", bot=True),
    person("sam", stranger=True),
)
COMPANY = People(domains=("example.com",))


def likely(*facts: Evidence, people: Sequence[Person] = PEOPLE, **owners: Any) -> tuple[LikelyOwner, ...]:
    return rank(facts, directory=people, people=COMPANY, owners=Owners(**owners), now=NOW)


def emails(*facts: Evidence, **owners: Any) -> list[str]:
    return [owner.email for owner in likely(*facts, **owners)]


def test_a_tag_makes_a_likely_owner_with_the_tag_as_the_reason() -> None:
    [owner] = likely(a_fact("tag"))

    assert (owner.email, owner.evidence) == ("ana@example.com", (a_fact("tag"),))
    assert 0.6 <= owner.confidence < 1


def test_a_tag_speaks_louder_than_the_creator() -> None:
    facts = [a_fact("creator", "bea@example.com", ago(0)), a_fact("tag", "ana@example.com")]

    assert emails(*facts) == ["ana@example.com", "bea@example.com"]


def test_facts_that_agree_add_up_and_the_strongest_is_told_first() -> None:
    for days in (1, 500, 1500):
        tag, creator = a_fact("tag"), a_fact("creator", at=ago(days))
        [both], [alone] = likely(creator, tag), likely(tag)

        assert both.confidence >= alone.confidence
        assert both.evidence == (tag, creator)


def test_an_old_creation_fades_until_nobody_is_good_enough() -> None:
    def seen(days: float) -> list[Evidence]:
        return [a_fact("creator", at=ago(days)), a_fact("session", at=ago(days))]

    assert emails(*seen(1)) == ["ana@example.com"]
    assert emails(*seen(2000)) == []
    assert emails(a_fact("creator", at=ago(1))) == [], "who made a thing may only have been asked to"


def test_not_mine_outweighs_a_tag_and_a_creator_together() -> None:
    assert emails(a_fact("tag"), a_fact("creator", at=ago(1)), a_fact("not_mine", at=ago(0))) == []


def test_nobody_is_better_than_somebody_below_the_threshold() -> None:
    fact = a_fact("tag")
    [owner] = likely(fact)

    assert emails(fact, threshold=owner.confidence) == ["ana@example.com"]
    assert emails(fact, threshold=owner.confidence + 0.0001) == []
    assert emails(a_fact("rumour")) == []


@pytest.mark.parametrize("handle", ["otto", "gus", "robo", "sam", "nobody"])
def test_the_deactivated_guests_bots_strangers_and_the_unknown_are_no_owners(handle: str) -> None:
    assert emails(a_fact("tag", f"{handle}@example.com")) == []


def test_where_the_directory_could_not_be_looked_into_an_address_stands_for_itself() -> None:
    assert [owner.email for owner in likely(a_fact("tag"), people=())] == ["ana@example.com"]
    assert likely(a_fact("tag", "UANA12"), people=()) == ()


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("ana@example.com", ("ana@example.com",)),
        (" Ana@Example.COM ", ("ana@example.com",)),
        ("mailto:ana@example.com", ("ana@example.com",)),
        ("UANA12", ("UANA12",)),
        ("ana", ("ana@example.com",)),
        ("@ana", ("ana@example.com",)),
        ("Platform Team", ()),
        ("<!channel>", ()),
        ("<@UANA12>", ()),
        ("ana@example.com, bea@example.com", ()),
        ("a@b", ()),
        ("", ()),
        ("x" * 10_000, ()),
    ],
)
def test_a_value_stands_for_an_address_a_slack_id_or_a_login_and_else_for_nobody(
    value: str, names: tuple[str, ...]
) -> None:
    assert names_of(value, COMPANY) == names


def test_a_login_is_looked_for_at_the_domains_of_the_company_or_else_of_its_admins() -> None:
    assert names_of("ana", People(domains=("a.example", "b.example"))) == ("ana@a.example", "ana@b.example")
    assert names_of("ana", People(admins=("dora@c.example", "UDORA"))) == ("ana@c.example",)
    assert names_of("ana", People()) == ()


def test_tags_speak_in_the_order_of_policy_and_empty_ones_not_at_all() -> None:
    user = a_user(tags={"Owner": " bea@example.com ", "owner": "", "team-email": "t@example.com", "other": "ana"})

    found = tag_evidence(user, Owners())

    assert [(fact.fact, fact.points_to) for fact in found] == [
        ("Owner= bea@example.com ", "bea@example.com"),
        ("team-email=t@example.com", "t@example.com"),
    ]


def test_people_are_found_by_address_in_any_case_and_by_slack_id() -> None:
    directory = Directory(PEOPLE)

    assert directory.find("ANA@example.com") == directory.find("UANA") == PEOPLE[0]
    assert directory.find("eve@example.com") is None


FACTS = st.builds(
    Evidence,
    source=st.sampled_from(["tag", "creator", "not_mine", "rumour"]),
    fact=HOSTILE_TEXTS,
    points_to=st.sampled_from(["ana@example.com", "BEA@example.com", "UOTTO", "gus@example.com", "ana"])
    | HOSTILE_TEXTS,
    at=MAYBE,
    identity_key=st.just("AIDAEXAMPLE"),
)


@settings(max_examples=150, deadline=None)
@given(facts=st.lists(FACTS, max_size=8), threshold=st.floats(min_value=0.01, max_value=0.99))
def test_whatever_evidence_says_only_people_who_can_own_are_ranked_each_with_reasons(
    facts: list[Evidence], threshold: float
) -> None:
    found = likely(*facts, threshold=threshold)

    assert {owner.email for owner in found} <= {"ana@example.com", "bea@example.com"}
    assert [owner.confidence for owner in found] == sorted((owner.confidence for owner in found), reverse=True)
    assert not found or found[0].confidence >= threshold  # after the likeliest come the rivals, however faint
    for owner in found:
        assert 0 <= owner.confidence <= 1
        assert owner.evidence
        assert set(owner.evidence) <= set(facts)


@settings(max_examples=100, deadline=None)
@given(facts=st.lists(FACTS, max_size=6), data=st.data())
def test_the_order_in_which_facts_come_does_not_matter(facts: list[Evidence], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(facts))

    def ranking(found: Sequence[Evidence]) -> list[tuple[str, float]]:
        return [(owner.email, round(owner.confidence, 3)) for owner in likely(*found, threshold=0.01)]

    assert sorted(ranking(facts)) == sorted(ranking(shuffled))


def test_the_team_that_evidence_speaks_of_is_the_one_of_most_facts_and_none_where_they_are_divided() -> None:
    pay = Team(name="payments", aliases=("@acme/payments",), members=("ana@example.com", "bea@example.com"))
    data = Team(name="data", members=("cem@example.com",))
    known = Directory([person(name) for name in ("ana", "bea", "cem")], [pay, data])

    def spoken_of(*facts: tuple[str, str]) -> str | None:
        found = team_spoken_of([a_fact(source, to) for source, to in facts], known, COMPANY)
        return found.name if found else None

    assert spoken_of(("codeowners", "@acme/payments")) == "payments"
    assert spoken_of(("committer", "ana@example.com"), ("blame", "bea@example.com")) == "payments"
    assert spoken_of(("committer", "ana@example.com"), ("blame", "cem@example.com")) is None
    assert spoken_of(("codeowners", "@acme/payments"), ("blame", "cem@example.com")) == "payments"
    assert spoken_of(("account", "cem@example.com"), ("not_mine", "cem@example.com")) is None
    assert spoken_of() is None


def test_whose_trace_is_the_oldest_and_who_dealt_with_it_for_longest_counts_for_more() -> None:
    """Bea is new to it; Ana was there first, and has touched it since."""
    both = [a_fact("committer", "bea@example.com", ago(40)), a_fact("committer", "bea@example.com", ago(30))]
    once = [a_fact("committer", "ana@example.com", ago(41)), a_fact("committer", "ana@example.com", ago(30))]
    long = [a_fact("committer", "ana@example.com", ago(900)), a_fact("committer", "ana@example.com", ago(30))]
    known = Directory(PEOPLE)

    def table(*facts: Evidence) -> dict[str, dict[str, float]]:
        return features(facts, directory=known, people=COMPANY, owners=Owners(), now=NOW)

    assert table(*both, *long)["ana@example.com"]["span"] > table(*both, *once)["ana@example.com"]["span"] > 0
    assert table(*both, *once)["ana@example.com"]["first"] == 1
    assert "first" not in table(*both, *once)["bea@example.com"]
    assert "first" not in table(*long)["ana@example.com"], "where nobody else has a trace the first tells nothing"
    left = [a_fact("creator", "otto@example.com", ago(1000))]
    assert "first" not in table(*left, *both, *once)["ana@example.com"], "the first was somebody who has left"


def test_code_owned_by_who_leads_its_authors_and_a_tag_that_names_the_maker_say_less() -> None:
    lead, report = person("bea"), person("ana", manager="bea@example.com")
    team = Team(name="payments", members=("ana@example.com", "bea@example.com"))
    known = Directory([lead, report], [team])

    def confidence(of: str, *facts: Evidence) -> float:
        ranked = weigh(facts, known, COMPANY, Owners(), NOW)
        return next((one.confidence for one in ranked if one.email == f"{of}@example.com"), 0.0)

    def added(of: str, first: Evidence, second: Evidence) -> float:
        return confidence(of, first, second) - confidence(of, second)

    by_ana, by_bea = (a_fact("committer", f"{who}@example.com", ago(10)) for who in ("ana", "bea"))
    of_ana, of_bea = (a_fact("codeowners", f"{who}@example.com") for who in ("ana", "bea"))
    assert added("ana", of_ana, by_bea) > added("bea", of_bea, by_ana) + 0.1, "Bea is there to merge what Ana writes"

    def table(*facts: Evidence) -> dict[str, float]:
        return features(facts, directory=known, people=COMPANY, owners=Owners(), now=NOW)["ana@example.com"]

    assert table(a_fact("tag"), a_fact("creator", at=ago(0)))["tagged_maker"] == 1
    assert "tagged_maker" not in table(a_fact("tag"), a_fact("rotator", at=ago(1)))


def test_what_points_to_who_said_not_mine_speaks_of_their_team_only_where_all_else_is_divided() -> None:
    known = Directory(
        [person("ana"), person("bea")],
        [Team(name="red", members=("ana@example.com",)), Team(name="blue", members=("bea@example.com",))],
    )
    copied = [
        a_fact("tag", "ana@example.com"),
        a_fact("iac_tag", "ana@example.com"),
        a_fact("blame", "bea@example.com"),
    ]
    no = a_fact("not_mine", "ana@example.com")
    for facts, team in ((copied, "red"), ([*copied, no], "blue"), ([*copied[:2], no], "red")):
        found = team_spoken_of(facts, known, COMPANY)
        assert found is not None
        assert found.name == team
