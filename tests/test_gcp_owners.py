"""What lies around a Google identity and speaks for its owner; what bindings tell of roles and pools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhi.identity import Custody, Identity
from nhi.providers.gcp.bindings import Bindings
from nhi.providers.gcp.owners import SOURCES, evidence

NUMBER = "projects/1"


def identity(*, service_linked: bool = False, **tags: str) -> Identity:
    named = {name.replace("__", ":").replace("_", "-"): value for name, value in tags.items()}
    return Identity(
        provider="gcp",
        kind="service_account",
        account="shop",
        key="1",
        name="ci@shop.iam.gserviceaccount.com",
        principal="serviceAccount:ci@shop.iam.gserviceaccount.com",
        custody=Custody.NOBODY,
        created_at=None,
        last_used_at=None,
        tags={"gcp:project": NUMBER, **named},
        service_linked=service_linked,
    )


def owned_by(*people: str) -> Bindings:
    bindings = Bindings()
    bindings.add(page("roles/owner", *people))
    return bindings


def page(role: str, *members: str, kind: str = "cloudresourcemanager.googleapis.com/Project") -> dict[str, object]:
    policy = {"bindings": [{"role": role, "members": list(members)}]}
    resource = "//cloudresourcemanager.googleapis.com/projects/shop"
    return {"results": [{"resource": resource, "assetType": kind, "project": NUMBER, "policy": policy}]}


def told(about: Identity, bindings: Bindings | None = None) -> list[tuple[str, str]]:
    found = list(evidence(about, bindings or Bindings(), ("owner", "team-email")))
    assert {one.source for one in found} <= set(SOURCES)
    return [(one.source, one.points_to) for one in found]


def test_a_project_s_label_counts_where_policy_names_its_key() -> None:
    assert told(identity(project__owner="ana", project__cost_center="bea")) == [("label", "ana")]


def test_an_address_in_the_description_or_the_display_name_counts() -> None:
    about = identity(
        gcp__description="Ask ana@example.com, or bea@example.com.", gcp__display_name="by cem@example.com"
    )
    assert told(about) == [
        ("description", "ana@example.com"),
        ("description", "bea@example.com"),
        ("description", "cem@example.com"),
    ]


def test_an_account_s_own_address_in_its_description_is_nobody() -> None:
    assert told(identity(gcp__description="runs as ci@shop.iam.gserviceaccount.com")) == []


@pytest.mark.parametrize(("count", "named"), [(5, 5), (6, 0)])
def test_who_owns_the_project_counts_unless_it_is_a_crowd(count: int, named: int) -> None:
    people = [f"user:p{number}@example.com" for number in range(count)]
    assert len(told(identity(), owned_by(*people))) == named


def test_groups_accounts_and_other_roles_own_no_project() -> None:
    bindings = owned_by("group:team@example.com", "serviceAccount:x@shop.iam.gserviceaccount.com", "domain:example.com")
    bindings.add(page("roles/editor", "user:ana@example.com"))
    bindings.add(page("roles/owner", "user:ana@example.com", kind="iam.googleapis.com/ServiceAccount"))
    assert told(identity(), bindings) == []


def test_nobody_owns_what_google_makes_for_itself() -> None:
    assert told(identity(service_linked=True, project__owner="ana"), owned_by("user:ana@example.com")) == []


@pytest.mark.parametrize(
    ("email", "is_agent"),
    [
        ("service-123@gcp-sa-pubsub.iam.gserviceaccount.com", True),
        ("service-123@compute-system.iam.gserviceaccount.com", True),
        ("123@cloudservices.gserviceaccount.com", True),
        ("123@cloudbuild.gserviceaccount.com", True),
        ("123-compute@developer.gserviceaccount.com", False),
        ("shop@appspot.gserviceaccount.com", False),
        ("ci@shop.iam.gserviceaccount.com", False),
        ("service-ci@shop.iam.gserviceaccount.com", False),
    ],
)
def test_which_accounts_google_makes_for_its_services(email: str, is_agent: bool) -> None:
    bindings = Bindings()
    bindings.add(page("roles/viewer", f"serviceAccount:{email}"))
    assert bindings.agents() == ({email: "123"} if is_agent else {})


def test_members_that_were_deleted_or_are_everybody_are_nobody_s_identity() -> None:
    bindings = owned_by("deleted:user:ana@example.com?uid=1", "allUsers", "allAuthenticatedUsers", "")
    assert (dict(bindings.owners), dict(bindings.accounts), dict(bindings.pools)) == ({}, {}, {})


@given(st.text(max_size=200))
def test_no_member_and_no_description_is_too_strange(text: str) -> None:
    bindings = owned_by(text, f"user:{text}", f"serviceAccount:{text}", f"principalSet://iam.googleapis.com/{text}")
    bindings.agents()
    about = identity(gcp__description=text, gcp__display_name=text, project__owner=text)
    for source, points_to in told(about, bindings):
        assert points_to in text or source == "project_owner"
