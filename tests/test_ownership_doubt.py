"""Where evidence names nobody, or more than one: robots, groups, misspellings, outsiders, namesakes, conflicts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.identity import Evidence, Person, Team
from nhi.naming import Directory, Fit, is_robot
from nhi.ownership import Ranking, explain, features, rank
from nhi.policy import Owners, People
from nhi.weights import DEFAULTS
from tests.factories import NOW
from tests.strategies import HOSTILE_TEXTS, MAYBE, a_fact, ago


def person(login: str, name: str | None = None, **changes: Any) -> Person:
    values: dict[str, Any] = {
        "email": f"{login}@example.com",
        "slack_id": "U" + login.replace(".", "").upper(),
        "name": name or login.title(),
        "tz": "UTC",
        "active": True,
        "handle": login,
    }
    return Person(**(values | changes))


ANA, BEA, OTTO = (
    person("ana"),
    person("bea", aliases=("bea-codes",)),
    person("otto", active=False, manager="bea@example.com"),
)
KIM_1, KIM_2 = person("kim.lee", "Kim Lee"), person("kim.lee2", "Kim Lee")
PAYMENTS = Team(
    name="payments",
    aliases=("moneyworks", "payments@example.com"),
    members=("ana@example.com",),
    default="ana@example.com",
)
PEOPLE = (ANA, BEA, OTTO, KIM_1, KIM_2)
COMPANY = People(domains=("example.com",))
DIRECTORY = Directory(PEOPLE, (PAYMENTS,))


def told(*facts: Evidence, **owners: Any) -> Ranking:
    return explain(facts, directory=DIRECTORY, people=COMPANY, owners=Owners(**owners), now=NOW)


def names(ranking: Ranking) -> list[str]:
    return [one.email.partition("@")[0] for one in ranking.likely]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "jenkins",
            "github-actions[bot]",
            "deploy-bot",
            "svc-payments",
            "ci@example.com",
            "terraform",
            "root",
            "admin",
        ),
        *("123+dependabot[bot]@users.noreply.github.com", "noreply@example.com", "i-0abc1234def567890", "aws-admin"),
        *("repo:acme/pay:ref:refs/heads/main", "x@p.iam.gserviceaccount.com", "system:serviceaccount:a:b", "DevOps"),
    ],
)
def test_robots_and_shared_logins_are_no_people(name: str) -> None:
    assert is_robot(name)
    assert DIRECTORY.resolve(name, COMPANY).fit is Fit.ROBOT


@pytest.mark.parametrize("name", ["ana", "jan.bot@example.com", "cirrus@example.com", "robin", "Ana Diaz", "abbot"])
def test_people_whose_names_resemble_a_robots_are_people(name: str) -> None:
    assert not is_robot(name)


def test_a_shared_login_that_slack_knows_as_a_person_is_still_nobody() -> None:
    everybody = Directory([person("admin"), person("deploy-bot")])

    for name in ("admin@example.com", "deploy-bot"):
        assert not rank([a_fact("tag", name)], directory=everybody, people=COMPANY, owners=Owners(), now=NOW)


def test_a_tag_that_names_a_team_speaks_for_whom_to_ask_there_and_is_no_owner_by_itself() -> None:
    ranking = told(a_fact("tag", "Team Payments"))

    assert names(ranking) == []
    assert [one.email for one in ranking.possible] == ["ana@example.com"]
    assert ranking.notes == ()


@pytest.mark.parametrize("value", ["payments", "Payments", "@acme/payments", "moneyworks", "payments@example.com"])
def test_a_team_is_known_by_each_of_its_names(value: str) -> None:
    assert DIRECTORY.resolve(value, COMPANY).team == PAYMENTS


def test_a_group_that_is_no_known_team_is_said_to_be_one() -> None:
    [note] = told(a_fact("tag", "Platform Team")).notes

    assert (note.fit, note.value, note.nearest) == (Fit.GROUP, "Platform Team", None)


def test_the_nearest_match_of_a_misspelling_is_offered_and_never_assumed() -> None:
    ranking = told(a_fact("tag", "kim.leee@example.com"))

    assert (ranking.likely, ranking.possible) == ((), ())
    assert [(note.fit, note.nearest) for note in ranking.notes] == [(Fit.UNKNOWN, "kim.lee@example.com")]


@pytest.mark.parametrize("value", ["paymets", "payments-tem", "Team Paymentts", "@acme/payment"])
def test_the_nearest_team_of_a_misspelling_is_offered_and_never_assumed(value: str) -> None:
    ranking = told(a_fact("tag", value))

    assert (ranking.likely, ranking.possible) == ((), ())
    assert [note.nearest for note in ranking.notes] == ["payments"]


def test_what_is_like_nobody_is_offered_nobody() -> None:
    assert [note.nearest for note in told(a_fact("tag", "zz9@example.com")).notes] == [None]


def test_an_address_outside_of_the_companys_domains_is_nobodys() -> None:
    ranking = told(a_fact("tag", "ana@agency.example"))

    assert ranking.likely == ()
    assert [note.fit for note in ranking.notes] == [Fit.OUTSIDE]


def test_an_address_outside_does_not_stand_for_itself_either_where_slack_cannot_be_asked() -> None:
    for email, found in (("ana@agency.example", 0), ("ana@example.com", 1)):
        ranked = rank([a_fact("tag", email)], directory=Directory([]), people=COMPANY, owners=Owners(), now=NOW)
        assert len(ranked) == found


def test_two_people_of_one_name_share_what_it_says_and_nobody_is_known() -> None:
    ranking = told(a_fact("tag", "Kim Lee"))

    assert ranking.likely == ()
    one, other = ranking.possible
    assert {one.email, other.email} == {"kim.lee@example.com", "kim.lee2@example.com"}
    assert one.confidence == other.confidence
    assert [note.fit for note in ranking.notes] == [Fit.TWO]


def test_a_full_name_an_alias_and_a_repositorys_hidden_address_are_known() -> None:
    for value in ("Bea", "bea-codes", "12345+bea-codes@users.noreply.github.com", "@bea"):
        assert DIRECTORY.resolve(value, COMPANY).people == (BEA,)


def test_who_has_left_speaks_for_their_manager() -> None:
    ranking = told(a_fact("tag", "otto@example.com"))

    assert [one.email for one in (*ranking.likely, *ranking.possible)] == ["bea@example.com"]
    assert [note.fit for note in ranking.notes] == [Fit.LEFT]


def test_a_conflict_is_shown_side_by_side_each_with_their_own_reasons() -> None:
    one, other = a_fact("tag", "ana@example.com"), a_fact("codeowners", "bea@example.com")
    ranking = told(one, other)

    assert [(owner.email, owner.evidence) for owner in (*ranking.likely, *ranking.possible)] == [
        ("ana@example.com", (one,)),
        ("bea@example.com", (other,)),
    ]


def test_a_rival_lowers_confidence_and_a_second_source_raises_it() -> None:
    tag = a_fact("tag", "ana@example.com")
    alone = told(tag).likely[0].confidence
    everybody = told(tag, a_fact("codeowners", "bea@example.com"))
    both = told(tag, a_fact("codeowners", "ana@example.com"))

    rivalled = next(one for one in (*everybody.likely, *everybody.possible) if one.email == "ana@example.com")
    assert rivalled.confidence < alone < both.likely[0].confidence


def test_the_second_fact_of_a_family_counts_less_than_the_first() -> None:
    def counted(*facts: Evidence) -> float:
        rows = features(facts, directory=DIRECTORY, people=COMPANY, owners=Owners(), now=NOW)
        return rows["ana@example.com"]["codeowners"]

    one = a_fact("codeowners", "ana@example.com")
    assert counted(one) == 1
    assert counted(one, a_fact("codeowners", "ana")) == 1.5


def test_a_tag_in_the_code_is_a_tag_and_beside_the_clouds_own_the_same_statement_again() -> None:
    def confidence(*sources: str) -> float:
        return told(*(a_fact(source) for source in sources), threshold=0.01).likely[0].confidence

    assert confidence("iac_tag") == confidence("tag")
    assert confidence("tag", "iac_tag") - confidence("tag") < 0.02


def test_nobody_known_comes_with_what_would_change_that() -> None:
    weak = told(a_fact("account", "ana@example.com"))

    assert weak.likely == ()
    assert {"tag", "attestation"} <= set(weak.would_help)
    for source in weak.would_help:
        assert names(told(a_fact("account", "ana@example.com"), a_fact(source, "ana@example.com", NOW))) == ["ana"]


def test_where_somebody_is_known_nothing_else_is_wanted() -> None:
    assert told(a_fact("tag")).would_help == ()


def test_policy_may_weigh_a_source_otherwise() -> None:
    facts = (a_fact("tag", "ana@example.com"), a_fact("codeowners", "bea@example.com"))

    assert names(told(*facts, weights={"codeowners": {"weight": 9}}))[0] == "bea"
    assert told(*facts, weights={"tag": {"weight": 0}}).likely[:1] != told(*facts).likely[:1]


def test_a_half_life_halves_what_a_fact_counts() -> None:
    def counted(days: float) -> float:
        fact = a_fact("session", "ana@example.com", ago(days))
        owners = Owners.model_validate({"weights": {"session": {"weight": 2, "half_life": "100d"}}})
        return features([fact], directory=DIRECTORY, people=COMPANY, owners=owners, now=NOW)["ana@example.com"][
            "session"
        ]

    assert counted(0) == 1
    assert counted(100) == pytest.approx(0.5)
    assert counted(-5) == 1, "what is dated tomorrow counts as today"


FACTS = st.builds(
    Evidence,
    source=st.sampled_from([*DEFAULTS, "rumour"]),
    fact=HOSTILE_TEXTS,
    points_to=st.sampled_from(["ana@example.com", "Kim Lee", "payments", "otto@example.com", "bea", "jenkins"])
    | HOSTILE_TEXTS,
    at=MAYBE,
    identity_key=st.just("AIDAEXAMPLE"),
)


@settings(max_examples=100, deadline=None)
@given(facts=st.lists(FACTS, max_size=8))
def test_confidences_are_shares_of_one_and_every_fact_is_accounted_for(facts: list[Evidence]) -> None:
    ranking = told(*facts)
    everybody = (*ranking.likely, *ranking.possible)

    assert sum(one.confidence for one in everybody) <= 1.001
    assert all(one.evidence for one in everybody)
    assert bool(ranking.likely) != bool(ranking.would_help) or not ranking.would_help
