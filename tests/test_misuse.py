"""Environments, and identities used for what they are not for: across environments, by several workloads, by people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from demo.workspace import Workspace
from nhi import environment
from nhi.activity import DAY, DayBook, Facet, Profile, Use, agent_of, fold
from nhi.errors import PolicyError
from nhi.finding import Finding, FindingKind, Severity
from nhi.identity import (
    Access,
    Credential,
    CredentialStatus,
    Custody,
    Evidence,
    Identity,
    Permission,
    Trust,
    TrustKind,
)
from nhi.misuse import USED_BY, misused, workloads
from nhi.policy import Policy, parse
from nhi.settings import Settings
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_owner, make_person
from tests.jobs_world import World, open_world, use_stand_in_aws

PROD, DEV = "111111111111", "222222222222"
POLICY = parse(
    {
        "environments": [
            {"name": "production", "accounts": [PROD], "names": ["*-live"]},
            {"name": "development", "accounts": [DEV]},
        ]
    }
)


def identity(**changes: Any) -> Identity:
    values: dict[str, Any] = {
        "provider": "aws",
        "kind": "iam_role",
        "account": PROD,
        "key": "AROA1",
        "name": "worker",
        "principal": f"arn:aws:iam::{PROD}:role/worker",
        "custody": Custody.NOBODY,
        "created_at": NOW - timedelta(days=300),
        "last_used_at": NOW,
    }
    return Identity(**(values | changes))


def found(one: Identity, *sessions: Evidence, policy: Policy = POLICY) -> dict[FindingKind, Finding]:
    return {finding.kind: finding for finding in misused(one, sessions, policy, NOW)}


class TestItsEnvironment:
    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({}, "production"),
            ({"tags": {"env": "dev"}}, "production"),
            ({"account": "333333333333", "tags": {"Environment": "stg"}}, "staging"),
            ({"account": "333333333333", "tags": {"project:env": "qa"}}, "test"),
            ({"account": "333333333333", "tags": {"env": "Blue"}}, "blue"),
            ({"account": "shop-prod-1", "name": "ci-dev"}, "production"),
            ({"account": "333333333333", "name": "checkout-live"}, "production"),
            ({"account": "333333333333", "name": "checkout-dev-worker"}, "development"),
            ({"account": "333333333333", "name": "prod-to-dev-sync"}, None),
            ({"account": "333333333333", "name": "product-api"}, None),
        ],
    )
    def test_it_is_told_by_policy_then_by_tags_then_by_names(self, changes: dict[str, Any], name: str | None) -> None:
        belongs = environment.belongs(identity(**changes), POLICY)
        assert (belongs.name if belongs else None) == name

    def test_an_unknown_key_of_an_environment_is_refused(self) -> None:
        with pytest.raises(Exception, match="acounts"):
            parse({"environments": [{"name": "production", "acounts": ["1"]}]})


FROM_DEV = Trust(who=f"arn:aws:iam::{DEV}:root", kind=TrustKind.IDENTITY, outside=True)
SEND = Permission(allows=True, actions=("sqs:*",), resources=(f"arn:aws:sqs:eu-west-1:{DEV}:q",))


class TestAcrossEnvironments:
    def test_who_lets_another_environment_in_joins_both_and_production_is_graver(self) -> None:
        other = Trust(who=f"arn:aws:iam::{DEV}:root", kind=TrustKind.IDENTITY, outside=True)
        finding = found(identity(access=Access(trust=(other,))))[FindingKind.CROSS_ENVIRONMENT]
        assert finding.owasp == "NHI8"
        assert finding.severity is Severity.MEDIUM
        assert f"arn:aws:iam::{DEV}:root may be it" in finding.why
        inside = replace(other, who=f"arn:aws:iam::{PROD}:root", outside=False)
        assert not found(identity(access=Access(trust=(inside,))))

    def test_who_reaches_into_another_environment_joins_both(self) -> None:
        take = Permission(allows=True, actions=("sts:AssumeRole",), resources=(f"arn:aws:iam::{PROD}:role/deploy",))
        finding = found(identity(account=DEV, access=Access(permissions=(take,))))[FindingKind.CROSS_ENVIRONMENT]
        assert finding.severity is Severity.MEDIUM
        denied = replace(take, allows=False)
        assert not found(identity(account=DEV, access=Access(permissions=(denied,))))

    def test_an_account_that_its_organisation_calls_dev_is_of_development(self) -> None:
        one = identity(account="3" * 12, tags={environment.ACCOUNT_NAME: "shop-prod"}, access=Access(trust=(FROM_DEV,)))
        there = replace(one, key="AROA2", account=DEV, tags={environment.ACCOUNT_NAME: "shop-dev"})
        accounts = environment.accounts_of([one, there])
        (finding,) = misused(one, (), Policy(), NOW, None, accounts)
        assert (finding.kind, finding.severity) == (FindingKind.CROSS_ENVIRONMENT, Severity.MEDIUM)
        assert not found(one, policy=Policy())

    @pytest.mark.parametrize(
        ("limits", "is_found"),
        [
            ({}, True),
            ({"permissions": (SEND, replace(SEND, allows=False, resources=("*",)))}, False),
            ({"permissions": (SEND, replace(SEND, allows=False))}, False),
            ({"permissions": (SEND, replace(SEND, allows=False, condition="c1"))}, True),
            ({"permissions": (SEND, replace(SEND, allows=False, actions=("sqs:PurgeQueue",)))}, True),
            ({"boundary": (replace(SEND, actions=("s3:*",), resources=("*",)),)}, False),
            ({"boundary": (replace(SEND, actions=("sqs:Send*",), resources=("*",)),)}, True),
            ({"ceilings": ((replace(SEND, allows=False, resources=("*",)),),)}, False),
        ],
    )
    def test_what_is_wholly_denied_reaches_nowhere(self, limits: dict[str, Any], is_found: bool) -> None:
        access = replace(Access(permissions=(SEND,)), **limits)
        assert (FindingKind.CROSS_ENVIRONMENT in found(identity(access=access))) is is_found

    @pytest.mark.parametrize(
        "member",
        [
            "serviceAccount:77-compute@developer.gserviceaccount.com",
            "serviceAccount:service-77@gcp-sa-pubsub.iam.gserviceaccount.com",
            "serviceAccount:shop-dev@appspot.gserviceaccount.com",
            "serviceAccount:shop-dev.svc.id.goog[web/front]",
            "principalSet://iam.googleapis.com/projects/77/locations/global/workloadIdentityPools/ci/*",
        ],
    )
    def test_accounts_that_google_names_after_a_project_are_of_its_environment(self, member: str) -> None:
        trust = Trust(who=member, kind=TrustKind.IDENTITY, outside=True)
        one = identity(provider="gcp", account="shop-prod", access=Access(trust=(trust,)))
        default = identity(provider="gcp", account="shop-dev", name="77-compute@developer.gserviceaccount.com")
        (told,) = environment.crossings(one, POLICY, environment.accounts_of([default]))
        assert (told.name, told.by) == ("development", f"{member} may be it")
        assert not environment.crossings(replace(one, account="shop-dev"), POLICY, environment.accounts_of([default]))

    def test_google_grants_on_a_project_of_another_environment_count_too(self) -> None:
        grant = Permission(allows=True, actions=("roles/viewer",), resources=("projects/shop-prod",))
        one = identity(provider="gcp", account="shop-dev", access=Access(permissions=(grant,)))
        assert FindingKind.CROSS_ENVIRONMENT in found(one)

    def test_where_an_environment_is_not_known_nothing_is_said(self) -> None:
        other = Trust(who="arn:aws:iam::999999999999:root", kind=TrustKind.IDENTITY, outside=True)
        assert not found(identity(access=Access(trust=(other,))))
        assert not found(identity(account="999999999999", access=Access(trust=(other,))))


class TestReuse:
    def test_two_workloads_of_different_applications_share_it_and_two_of_one_do_not(self) -> None:
        shared = identity(tags={USED_BY: "lambda thumbnails (eu-west-1), codebuild site (eu-west-1)"})
        finding = found(shared)[FindingKind.REUSED]
        assert finding.owasp == "NHI9"
        assert finding.why.startswith(
            "2 workloads share it: codebuild site (eu-west-1), lambda thumbnails (eu-west-1)."
        )
        assert not found(
            identity(tags={USED_BY: "lambda checkout-api (eu-west-1), lambda checkout-worker (eu-west-1)"})
        )
        assert not found(identity(tags={USED_BY: "lambda thumbnails (eu-west-1)"}))

    def test_kubernetes_accounts_that_may_be_it_are_workloads(self) -> None:
        def pod(name: str) -> Trust:
            who = f"serviceAccount:shop.svc.id.goog[{name}]"
            return Trust(who=who, kind=TrustKind.FEDERATED, outside=False)

        one = identity(provider="gcp", access=Access(trust=(pod("shop/web"), pod("billing/job"))))
        assert workloads(one) == ["kubernetes billing/job", "kubernetes shop/web"]
        assert FindingKind.REUSED in found(one)
        assert not found(identity(provider="gcp", access=Access(trust=(pod("shop/web"), pod("shop/job")))))


def credential(kind: str, used: int | None, **changes: Any) -> Credential:
    values: dict[str, Any] = {
        "key": kind,
        "kind": kind,
        "external_id": None,
        "status": CredentialStatus.ACTIVE,
        "custody": Custody.OURS,
        "created_at": NOW - timedelta(days=300),
        "rotated_at": None,
        "last_used_at": None if used is None else NOW - timedelta(days=used),
    }
    return Credential(**(values | changes))


class TestPeople:
    @pytest.mark.parametrize(("signed_in", "is_found"), [(89, True), (91, False), (None, False)])
    def test_a_sign_in_beside_a_key_in_use_is_a_person_and_an_old_one_is_not(
        self, signed_in: int | None, is_found: bool
    ) -> None:
        both = (credential("access_key", 1), credential("console_password", signed_in))
        assert (FindingKind.HUMAN_USE in found(identity(kind="iam_user", credentials=both))) is is_found

    def test_a_persons_own_user_without_keys_is_no_machine(self) -> None:
        assert not found(identity(kind="iam_user", credentials=(credential("console_password", 1),)))

    def test_a_person_who_takes_a_machines_role_is_named_and_one_behind_saml_is_expected(self) -> None:
        fact = Evidence(
            source="session",
            fact="ana@example.com used it (AssumeRole)",
            points_to="ana@example.com",
            at=NOW - timedelta(days=3),
            identity_key="AROA1",
        )
        machine = identity(credentials=(credential("role", 1, custody=Custody.NOBODY),))
        finding = found(machine, fact)[FindingKind.HUMAN_USE]
        assert finding.owasp == "NHI10"
        assert "ana@example.com took it on 20 November 2026" in finding.why
        assert not found(machine, replace(fact, points_to="ci-runner"))
        assert not found(machine, replace(fact, at=NOW - timedelta(days=91)))
        saml = Trust(who="arn:aws:iam::1:saml-provider/okta", kind=TrustKind.FEDERATED, outside=True)
        assert not found(replace(machine, access=Access(trust=(saml,))), fact)


OFFICE, CLUSTER = "198.51.100.0/24", "203.0.113.0/24"
BOTO, GO = "Boto3 on linux", "aws-sdk-go on linux"


def conduct(*used: tuple[str, str, range]) -> Profile:
    """Return what was done in thirty days: with which agent, from which network, on which of them."""
    book = DayBook()
    for agent, network, days in used:
        for number in days:
            at = int(NOW.timestamp()) // DAY * DAY + (number - 30) * DAY
            book.add(Use("", "AIDA1", at, "s3", "s3:GetObject", network, None, agent, None, False, None), None)
    return fold(book.profiles.values())


def judged(did: Profile, policy: Policy = POLICY) -> set[FindingKind]:
    user = identity(kind="iam_user", credentials=(credential("access_key", 1),))
    return {finding.kind for finding in misused(user, (), policy, NOW, did)}


class TestWhatATrailTells:
    def test_what_it_reaches_in_another_environment_joins_the_two_whatever_its_policies_name(self) -> None:
        did = conduct((BOTO, CLUSTER, range(9)))
        did.seen[Facet.ELSEWHERE.value] = {PROD: [9, 4, 0], "333333333333": [1, 1, 0]}
        (finding,) = misused(identity(account=DEV), (), POLICY, NOW, did)
        assert (finding.kind, finding.owasp) == (FindingKind.CROSS_ENVIRONMENT, "NHI8")
        assert f"joins it with production: it was used in {PROD} on 4 days" in finding.why
        assert "that its trail names" in finding.coverage
        assert judged(did) == set()  # it is of production itself

    @pytest.mark.parametrize(("days", "is_found"), [(5, True), (4, False)])
    def test_two_programs_from_two_networks_on_many_days_are_two_workloads(self, days: int, is_found: bool) -> None:
        did = conduct((BOTO, OFFICE, range(20)), (BOTO, "192.0.2.0/24", range(20)), (GO, CLUSTER, range(days)))
        assert (FindingKind.REUSED in judged(did)) is is_found

    @pytest.mark.parametrize(
        "used",
        [
            [(BOTO, OFFICE, range(20)), (BOTO, CLUSTER, range(20))],
            [(BOTO, OFFICE, range(20)), (GO, OFFICE, range(20))],
            [(BOTO, OFFICE, range(20)), (GO, "cloud:cloudformation", range(20))],
            [(BOTO, OFFICE, range(7)), (GO, CLUSTER, range(7, 14))],
            [(agent, network, range(20)) for agent in (BOTO, GO) for network in (OFFICE, CLUSTER)],
        ],
        ids=["one program", "one network", "a service of the cloud calls", "it moved", "one runner with two tools"],
    )
    def test_what_may_be_one_workload_is_one(self, used: list[tuple[str, str, range]]) -> None:
        assert judged(conduct(*used)) == set()

    @pytest.mark.parametrize(
        ("agent", "sign"),
        [
            ("Mozilla on macos", "with Mozilla on macos"),
            ("aws-cli on macos", "with aws-cli on macos"),
            (agent_of("console.amazonaws.com"), "in the AWS console"),
            (agent_of("signin.amazonaws.com"), "in the AWS console"),
            ("aws-cli on linux", None),
            ("Botocore on windows", None),
            ("cloud:ec2", None),
        ],
    )
    def test_a_browser_the_console_or_a_desktop_is_a_person(self, agent: str, sign: str | None) -> None:
        user = identity(kind="iam_user", credentials=(credential("access_key", 1),))
        told = [one.why for one in misused(user, (), POLICY, NOW, conduct((agent, OFFICE, range(1))))]
        assert [f"it was used {sign}." in why for why in told] == ([True] if sign else [])

    def test_the_networks_that_policy_calls_offices_are_people_s(self) -> None:
        did = conduct(("aws-cli on linux", OFFICE, range(1)))
        office = parse({"people": {"office_networks": ["198.51.100.0/22"]}})
        elsewhere = parse({"people": {"office_networks": ["192.0.2.0/24", "2001:db8::/32"]}})
        assert FindingKind.HUMAN_USE in judged(did, office)
        assert FindingKind.HUMAN_USE not in judged(did, elsewhere)
        with pytest.raises(PolicyError, match=r'a network looks like "203\.0\.113\.0/24"'):
            parse({"people": {"office_networks": ["the office"]}})


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


@on_sqlite
def test_a_scan_finds_all_three_and_resolves_what_is_mended(world: World) -> None:
    cloud, now = world.cloud, world.clock()
    account = cloud.account
    world.set_policy(
        f'[[environments]]\nname = "production"\naccounts = ["{account}"]\n'
        f'[[environments]]\nname = "development"\naccounts = ["{DEV}"]\n'
    )
    policy = world.program.settings.nhi_policy
    policy.write_text(policy.read_text() + 'regions = ["eu-west-1"]\n')
    trust = {"Principal": {"AWS": f"arn:aws:iam::{DEV}:root"}}
    cloud.add_role("shared", created_at=now - timedelta(days=9), last_used_at=now - timedelta(days=1), trust=trust)
    arn = f"arn:aws:iam::{account}:role/shared"
    cloud.others.add_function("thumbnails", arn)
    cloud.others.add_build("site", arn)
    world.scan()
    with world.sessions.begin() as session:
        make_owner(session, world.identity("shared"), make_person(session, "bea"))
    cloud.add_event("AssumeRole", subject=arn, by="ana@example.com", at=now - timedelta(days=1))
    world.clock.pass_by(days=8)
    world.scan()
    world.scan()  # whose sessions they are is told after the first look, and judged with the next
    kinds = {kind for _, kind in world.findings("shared")}
    assert {FindingKind.CROSS_ENVIRONMENT, FindingKind.REUSED, FindingKind.HUMAN_USE} <= kinds
    cloud.others.listed["codebuild:ListProjects", "eu-west-1"].clear()
    world.clock.pass_by(days=100)
    world.scan()
    left = {kind for _, kind in world.findings("shared")}
    assert FindingKind.REUSED not in left
    assert FindingKind.HUMAN_USE not in left
    assert FindingKind.CROSS_ENVIRONMENT in left
