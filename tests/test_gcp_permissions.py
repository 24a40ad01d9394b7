"""What accounts of Google Cloud may do, who can be them, and what the recommender says: against tests/gcp_fake.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nhi import findings, paste
from nhi.findings import FindingKind
from nhi.identity import Access, Aspect, Gap, Identity, Permission, TrustKind
from nhi.least import least
from nhi.permissions import says
from nhi.policy import Policy, Source
from nhi.powers import ROLE_NEEDS, Power, powers
from nhi.powers import held as powers_of
from nhi.providers import Exercised, Memory
from nhi.providers.gcp import Gcp, connect
from nhi.providers.gcp.recommender import LIST, ROLE
from tests.gcp_discovery import Json
from tests.gcp_fake import ORGANIZATION, Account, Google, Project

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ROLES = {role for roles in ROLE_NEEDS.values() for role in roles if "*" not in role}
NEEDED = sorted({need for roles in ROLE_NEEDS.values() for needs in roles.values() for need in needs})
EDITOR, VIEWER, ADMIN = "roles/editor", "roles/storage.objectViewer", "roles/storage.admin"


@pytest.fixture
def google() -> Iterator[Google]:
    with Google(now=lambda: NOW) as running:
        running.roles = {EDITOR: ["a.get", "a.set", "b.get"], VIEWER: ["a.get"], ADMIN: ["a.get", "a.setIamPolicy"]}
        yield running


@pytest.fixture
def shop(google: Google) -> Project:
    return google.add_project("shop-prod", folders=["folders/77"])


@pytest.fixture
def ci(google: Google, shop: Project) -> Account:
    return google.add_account(shop, "ci", made_at=NOW - timedelta(days=900), last_used_at=NOW - timedelta(days=3))


def opened(google: Google, *, recommender: bool = True, denials: bool = False) -> Gcp:
    wanted = {"recommender": recommender, "deny_policies": denials}
    return connect(Source.model_validate({"provider": "gcp", "scope": ORGANIZATION, "endpoint": google.url, **wanted}))


def seen(google: Google, account: Account, *, denials: bool = False) -> Identity:
    found = opened(google, denials=denials).scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW)
    return next(one for one in found if isinstance(one, Identity) and one.name == account.email)


def told(google: Google, account: Account) -> tuple[Identity, list[Gap]]:
    """Return the account with what the recommender tells of it."""
    identity = seen(google, account)
    answers = list(opened(google).exercises([identity], now=NOW))
    gaps = [one for one in answers if isinstance(one, Gap)]
    use = next((one.exercise for one in answers if isinstance(one, Exercised)), None)
    return replace(identity, exercise=use), gaps


def overprivileged(identity: Identity) -> findings.Finding | None:
    found = findings.assess(identity, owner_active=True, gaps=(), policy=Policy(), now=NOW)
    return next((one for one in found if one.kind is FindingKind.OVERPRIVILEGED), None)


class TestWhatItMay:
    def test_roles_given_above_are_inherited_and_said_with_where_they_were_given(
        self, google: Google, ci: Account
    ) -> None:
        member = f"serviceAccount:{ci.email}"
        google.bind("roles/viewer", member)
        google.bind(EDITOR, member, on=ci.project)
        identity = seen(google, ci)
        assert identity.access is not None
        given = {(one.actions[0], one.via) for one in identity.access.permissions}
        assert given == {("roles/viewer", ORGANIZATION), (EDITOR, "projects/shop-prod")}
        assert {one.power for one in powers(identity)} >= {Power.ADMIN, Power.DATA_WRITE, Power.CROSS_ACCOUNT}

    def test_who_can_be_it_is_told_from_its_own_policy_its_project_s_and_those_above(
        self, google: Google, ci: Account
    ) -> None:
        pool = f"principalSet://iam.googleapis.com/{ci.project.number}/locations/global/workloadIdentityPools/gh/*"
        google.bind("roles/iam.workloadIdentityUser", pool, on=ci)
        google.bind("roles/iam.serviceAccountTokenCreator", "user:ana@example.com", on=ci.project)
        google.bind("roles/iam.serviceAccountUser", "serviceAccount:x@other.iam.gserviceaccount.com")
        google.bind("roles/iam.serviceAccountUser", "deleted:user:gone@example.com?uid=1", on=ci.project)
        google.bind("roles/viewer", "user:bea@example.com", on=ci.project)
        access = seen(google, ci).access
        assert access is not None
        assert {(one.who, one.kind, one.outside) for one in access.trust} == {
            (pool, TrustKind.FEDERATED, True),
            ("user:ana@example.com", TrustKind.IDENTITY, False),
            ("serviceAccount:x@other.iam.gserviceaccount.com", TrustKind.IDENTITY, True),
        }

    def test_who_can_be_it_comes_from_outside_unless_it_lies_in_its_project_or_google_made_it_for_that(
        self, google: Google, ci: Account
    ) -> None:
        number = ci.project.number.rpartition("/")[2]
        pools = f"principal://iam.googleapis.com/{ci.project.number}/locations/global/workloadIdentityPools"
        inside = {
            f"serviceAccount:{number}-compute@developer.gserviceaccount.com",
            f"serviceAccount:{number}@cloudservices.gserviceaccount.com",
            f"serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com",
            f"serviceAccount:service-{number}@compute-system.iam.gserviceaccount.com",
            "serviceAccount:shop-prod@appspot.gserviceaccount.com",
            "serviceAccount:a@shop-prod.iam.gserviceaccount.com",
            "serviceAccount:shop-prod.svc.id.goog[default/default]",
            f"{pools}/shop-prod.svc.id.goog/subject/ns/default/sa/default",
            "projectEditor:shop-prod",
        }
        outside = {
            "serviceAccount:999-compute@developer.gserviceaccount.com",
            "serviceAccount:999@cloudservices.gserviceaccount.com",
            "serviceAccount:service-999@gcp-sa-pubsub.iam.gserviceaccount.com",
            f"serviceAccount:service-{number}@evil.iam.gserviceaccount.com",
            "serviceAccount:evil@appspot.gserviceaccount.com",
            "serviceAccount:a@shop-prod.iam.evil.gserviceaccount.com",
            "serviceAccount:evil.svc.id.goog[default/default]",
            f"{pools}/evil.svc.id.goog/subject/ns/default/sa/default",
            "projectEditor:evil",
            "user:mallory@gmail.com",
            "domain:gmail.com",
        }
        for member in inside | outside:
            google.bind("roles/iam.serviceAccountTokenCreator", member, on=ci)
        for role in ("owner", "admin", "editor", "writer", "iam.serviceAccountAdmin", "iam.securityAdmin"):
            google.bind(f"roles/{role}", f"serviceAccount:{role}@evil.iam.gserviceaccount.com", on=ci.project)
            outside.add(f"serviceAccount:{role}@evil.iam.gserviceaccount.com")
        access = seen(google, ci).access
        assert access is not None
        assert {one.who for one in access.trust if not one.outside} == inside
        assert {one.who for one in access.trust if one.outside} == outside

    def test_what_a_custom_role_holds_is_not_known_and_said(self, google: Google, ci: Account) -> None:
        custom = f"{ORGANIZATION}/roles/deployer"
        google.bind(custom, f"serviceAccount:{ci.email}", on=ci.project)
        access = seen(google, ci).access
        assert access is not None
        assert access.unread == (custom,)


ACCESS, ACT_AS = "secretmanager.googleapis.com/versions.access", "iam.googleapis.com/serviceAccounts.actAs"
HERE = "principalSet://cloudresourcemanager.googleapis.com/folders/77/type/ServiceAccount"
THERE = "principalSet://cloudresourcemanager.googleapis.com/folders/78/type/ServiceAccount"
ITSELF = "principal://iam.googleapis.com/projects/-/serviceAccounts/ci@shop-prod.iam.gserviceaccount.com"
GROUP = "principalSet://goog/group/ci@example.com"


class TestDenyPolicies:
    @pytest.mark.parametrize(
        ("place", "permissions", "to", "more", "denied"),
        [
            ("folders/77", [ACCESS], [HERE], {}, True),
            ("folders/77", ["secretmanager.googleapis.com/*.*"], [ITSELF], {}, True),
            (ORGANIZATION, [ACCESS, ACT_AS], ["principalSet://goog/public:all"], {}, True),
            ("folders/77", [ACT_AS], [HERE], {}, False),
            ("folders/77", [ACCESS], [THERE], {}, False),
            ("folders/77", [ACCESS], [GROUP], {}, None),
            ("folders/77", [ACCESS], [HERE], {"exceptionPrincipals": [ITSELF]}, False),
            ("folders/77", [ACCESS], [HERE], {"exceptionPrincipals": [GROUP]}, None),
            (
                "folders/77",
                [ACCESS],
                [HERE],
                {"denialCondition": {"expression": "resource.matchTag('a/b', 'c')"}},
                None,
            ),
            ("folders/77", ["secretmanager.googleapis.com/*.*"], [HERE], {"exceptionPermissions": [ACCESS]}, None),
            ("folders/77", [ACCESS, ACT_AS], [HERE], {"exceptionPermissions": [ACCESS]}, False),
        ],
    )
    def test_what_is_surely_denied_is_no_power_and_what_is_perhaps_is_told(
        self,
        google: Google,
        ci: Account,
        place: str,
        permissions: list[str],
        to: list[str],
        more: Json,
        denied: bool | None,
    ) -> None:
        google.bind("roles/secretmanager.secretAccessor", f"serviceAccount:{ci.email}", on=ci.project)
        google.deny(place, *permissions, to=to, **more)
        identity = seen(google, ci, denials=True)
        assert identity.access is not None
        told = [one for each in identity.access.ceilings or () for one in each if not one.allows]
        assert ({one.power for one in powers(identity)} == {Power.SECRETS}) is (denied is not True)
        assert [one.condition != "" for one in told if ACCESS in one.actions or "*" in one.actions[0]] == (
            [] if denied is False else [denied is None]
        )
        assert "deny policies" not in identity.coverage.says
        assert "and deny policies" in says("gcp", identity.access)

    def test_a_denial_below_where_the_role_is_given_leaves_the_power_elsewhere(
        self, google: Google, ci: Account
    ) -> None:
        google.bind("roles/secretmanager.secretAccessor", f"serviceAccount:{ci.email}")
        google.deny(ci.project.number, ACCESS)
        assert Power.SECRETS in {one.power for one in powers(seen(google, ci, denials=True))}

    def test_they_are_read_only_where_the_source_says_so_and_a_refusal_hides_nothing_else(
        self, google: Google, ci: Account
    ) -> None:
        google.bind("roles/secretmanager.secretAccessor", f"serviceAccount:{ci.email}", on=ci.project)
        access = seen(google, ci).access
        assert access is not None
        assert (access.ceilings, google.calls("iam.policies.listPolicies")) == (None, {})
        google.refuse("iam.policies.listPolicies", "folders")
        gcp = opened(google, denials=True)
        found = list(gcp.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
        gaps = [one for one in found if isinstance(one, Gap)]
        assert [(one.reason, one.hides) for one in gaps] == [
            ("PERMISSION_DENIED: iam.denypolicies.list on folders/77", frozenset({Aspect.CEILINGS}))
        ]
        (identity,) = [one for one in found if isinstance(one, Identity)]
        assert identity.access is not None
        assert identity.access.ceilings is None  # one place on the way is not known: nothing is claimed of any
        assert "not from deny policies" in says("gcp", identity.access)
        assert google.calls("iam.policies.listPolicies") == {"iam.policies.listPolicies": 3}

    @settings(max_examples=50, deadline=None)
    @example(given=["roles/storage.objectCreator"], denied=["*"], condition="")
    @given(
        given=st.lists(st.sampled_from(sorted(ROLES)), min_size=1, max_size=4),
        denied=st.lists(st.sampled_from((*NEEDED, "*", "iam.googleapis.com/*.*", "storage.googleapis.com/objects.*"))),
        condition=st.sampled_from(("", "c")),
    )
    def test_a_denial_never_adds_a_power(self, given: list[str], denied: list[str], condition: str) -> None:
        def held(denials: list[str]) -> set[Power]:
            place = ("projects/shop",)
            roles = tuple(Permission(allows=True, actions=(role,), resources=place) for role in given)
            said = Permission(allows=False, actions=tuple(denials), resources=place, condition=condition)
            access = Access(permissions=roles, ceilings=((said,),))
            return {one.power for one in powers_of(access, provider="gcp", account="shop")}

        assert held(denied) <= held(denied[:-1]) <= held([])
        assert condition == "" or held(denied) == held([])
        assert "*" not in denied or condition or not held(denied)


class TestTheRecommender:
    def test_a_role_that_is_not_used_makes_it_overprivileged(self, google: Google, ci: Account) -> None:
        member = f"serviceAccount:{ci.email}"
        google.bind(EDITOR, member, on=ci.project)
        google.bind("roles/logging.logWriter", member, on=ci.project)
        google.recommend(ci, EDITOR, at=NOW - timedelta(days=1))
        identity, gaps = told(google, ci)
        assert gaps == []
        finding = overprivileged(identity)
        assert finding is not None
        assert "Of 2 roles that it may use it used 1 in 90 days" in finding.why
        found = least(identity, NOW - timedelta(days=90))
        assert found is not None
        assert [one.actions for one in found.permissions] == [("roles/logging.logWriter",)]
        text = paste.terraform(identity, found.before, found.permissions)
        assert "#   roles/editor on projects/shop-prod" in text

    def test_a_smaller_role_takes_its_place_where_it_holds_nothing_new(self, google: Google, ci: Account) -> None:
        google.bind(EDITOR, f"serviceAccount:{ci.email}", on=ci.project)
        google.recommend(ci, EDITOR, VIEWER, at=NOW - timedelta(days=1))
        identity, _ = told(google, ci)
        found = least(identity, NOW - timedelta(days=90))
        assert found is not None
        assert [one.actions for one in found.permissions] == [(VIEWER,)]
        text = paste.terraform(identity, found.before, found.permissions)
        assert 'resource "google_project_iam_member" "ci_shop_prod_iam_gserviceaccount_com_1"' in text
        assert overprivileged(identity) is not None

    def test_one_that_would_hold_something_new_is_never_offered(self, google: Google, ci: Account) -> None:
        google.bind(EDITOR, f"serviceAccount:{ci.email}", on=ci.project)
        google.recommend(ci, EDITOR, ADMIN, at=NOW - timedelta(days=1))
        identity, _ = told(google, ci)
        found = least(identity, NOW - timedelta(days=90))
        assert found is not None
        assert not found.is_narrower
        assert overprivileged(identity) is None

    def test_without_advice_nothing_is_said(self, google: Google, ci: Account) -> None:
        google.bind(EDITOR, f"serviceAccount:{ci.email}", on=ci.project)
        identity, gaps = told(google, ci)
        assert (overprivileged(identity), gaps) == (None, [])

    def test_it_is_asked_only_where_the_source_says_so(self, google: Google, ci: Account) -> None:
        identity = seen(google, ci)
        assert list(opened(google, recommender=False).exercises([identity], now=NOW)) == []

    @pytest.mark.parametrize(
        ("method", "permission"),
        [("recommender.projects.locations.recommenders.recommendations.list", LIST), ("iam.roles.get", ROLE)],
    )
    def test_a_refusal_is_a_gap_and_nothing_is_offered(
        self, google: Google, ci: Account, method: str, permission: str
    ) -> None:
        google.bind(EDITOR, f"serviceAccount:{ci.email}", on=ci.project)
        google.recommend(ci, EDITOR, VIEWER, at=NOW - timedelta(days=1))
        google.refuse(method)
        identity, gaps = told(google, ci)
        assert [gap.reason for gap in gaps] == [f"PERMISSION_DENIED: {permission}"]
        assert identity.exercise is None
