"""An organisation as one source, and what lies in an account beside users and roles: real HTTP to stand-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from demo.cloud import Cloud
from demo.workspace import Workspace
from nhi import environment, misuse
from nhi.errors import PolicyError
from nhi.identity import Aspect, CredentialStatus, Custody, Gap, Identity, scope_of
from nhi.permissions import says
from nhi.policy import Policy, Source, parse
from nhi.policy_activity import Activity
from nhi.powers import Power, powers
from nhi.providers import Batch, Count, Memory, Reading, Rotates, SpansAccounts, Target, TellsPowers, providers
from nhi.providers.aws import Aws, connect, others
from nhi.providers.aws.organization import Organization as Provider
from nhi.rotation import Place
from nhi.settings import Settings
from nhi.tables import IdentityRow
from tests.aws_organization import ID, Organization
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW
from tests.jobs_world import World, open_world, use_stand_in_aws

LONG_AGO = NOW - timedelta(days=400)


@pytest.fixture
def organization(monkeypatch: pytest.MonkeyPatch) -> Iterator[Organization]:
    use_stand_in_aws(monkeypatch)
    with Organization(3, now=lambda: NOW, page=2) as organization:
        for number, cloud in enumerate(organization.clouds):
            cloud.add_user(f"user-{number}", created_at=LONG_AGO)
            cloud.add_access_key(f"user-{number}", created_at=LONG_AGO)
        yield organization


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    use_stand_in_aws(monkeypatch)
    with Cloud(now=lambda: NOW) as cloud:
        yield cloud


def opened(organization: Organization, **more: Any) -> Provider:
    source = Source(endpoint=organization.url, organization=True, role_name="nhi-reader", **more)
    provider = providers()["aws"](source)
    assert isinstance(provider, Provider)
    return provider


def seen_by(provider: Provider | Aws) -> tuple[dict[str, Identity], list[Gap]]:
    memory = Memory(credential_ids={})
    seen = list(provider.scan(memory=memory, matters=lambda *_: True, now=NOW))
    return {one.name: one for one in seen if isinstance(one, Identity)}, [one for one in seen if isinstance(one, Gap)]


class TestAnOrganization:
    def test_every_account_is_read_each_by_its_own_role(self, organization: Organization) -> None:
        provider = opened(organization)
        found, gaps = seen_by(provider)
        assert gaps == []
        assert {one.name: one.account for one in found.values()} == {
            f"user-{number}": cloud.account for number, cloud in enumerate(organization.clouds)
        }
        assert provider.account == ID
        belongs = environment.belongs(found["user-1"], Policy())
        assert belongs is not None
        assert belongs.name == "production"
        assert provider.api_calls["organizations:ListAccounts"] == 2
        assert provider.api_calls["sts:AssumeRole"] == 2, "in its own account it takes no role"

    def test_what_it_may_do_is_told_of_its_own_account_and_one_more(self, organization: Organization) -> None:
        provider = opened(organization, remediator_role_name="nhi-remediator")
        assert isinstance(provider, TellsPowers)
        told = [(one.purpose, one.principal.split(":")[4]) for one in provider.powers()]
        here, other, _ = (cloud.account for cloud in organization.clouds)
        assert told == [("reads", here), ("acts", here), ("reads", other), ("acts", other)]

    def test_one_accounts_failure_is_a_gap_of_that_account_alone(self, organization: Organization) -> None:
        broken = organization.clouds[1]
        broken.faults.deny("sts:AssumeRole")
        found, gaps = seen_by(opened(organization))
        assert set(found) == {"user-0", "user-2"}
        (gap,) = gaps
        assert (gap.scope, gap.reason) == (f"aws/{broken.account}", "AccessDenied: sts:AssumeRole")
        assert gap.hides == frozenset(Aspect)

    def test_a_suspended_account_is_a_gap(self, organization: Organization) -> None:
        organization.suspended.add(organization.clouds[2].account)
        provider = opened(organization)
        found, gaps = seen_by(provider)
        assert set(found) == {"user-0", "user-1"}
        assert [gap.scope for gap in gaps] == [f"aws/{organization.clouds[2].account}"]

    def test_accounts_that_cannot_be_listed_hide_everything_and_nothing_is_held(
        self, organization: Organization
    ) -> None:
        known, _ = seen_by(opened(organization))
        organization.refuses_list = True
        provider = opened(organization)
        found, gaps = seen_by(provider)
        assert (found, [gap.scope for gap in gaps]) == ({}, ["aws"])
        assert isinstance(provider, SpansAccounts)
        assert not provider.holds(known["user-0"])

    def test_what_the_organisation_forbids_is_no_power_and_only_the_management_account_is_free_of_it(
        self, organization: Organization
    ) -> None:
        everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        no_keys = {"Statement": [{"Effect": "Deny", "Action": ["iam:*", "sts:*"], "Resource": "*"}]}
        only_s3 = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        management, in_unit, in_root = organization.clouds
        for number, cloud in enumerate(organization.clouds):
            cloud.iam.users[f"user-{number}"].put_policy("all", json.dumps(everything))
        organization.units = {"ou-a": "r-root", "ou-b": "ou-a", "ou-c": "ou-a"}
        organization.lies_in = {in_unit.account: "ou-b"}
        organization.add_scp("FullAWSAccess", everything, "r-root", "ou-a", "ou-c", management.account, in_root.account)
        organization.add_scp("NoKeys", no_keys, "r-root")
        organization.add_scp("OnlyS3", only_s3, "ou-b", management.account)
        found, gaps = seen_by(opened(organization))
        held = {name: {one.power for one in powers(identity)} for name, identity in found.items()}
        assert gaps == []
        assert held["user-0"] == set(Power)
        assert Power.SECRETS in held["user-2"]
        assert not held["user-2"] & {Power.ADMIN, Power.CROSS_ACCOUNT}
        assert held["user-1"] == {Power.DATA_READ, Power.DATA_WRITE}
        levels = found["user-1"].access.ceilings if found["user-1"].access else None
        assert [sorted({one.via for one in level}) for level in levels or ()] == [
            ["SCP FullAWSAccess", "SCP NoKeys"],
            ["SCP OnlyS3"],
        ]

    @pytest.mark.parametrize("why", ["refused", "not in force"])
    def test_limits_that_cannot_be_read_are_told_and_hide_nothing_else(
        self, organization: Organization, why: str
    ) -> None:
        no_iam = {"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
        organization.add_scp("Nothing", no_iam, "r-root")
        organization.limits = why == "refused"
        organization.refuses = {"organizations:DescribePolicy"}
        found, gaps = seen_by(opened(organization))
        told = [(gap.scope, gap.reason, gap.hides) for gap in gaps]
        hidden = frozenset({Aspect.CEILINGS})
        refused: list[object] = [("aws", "AccessDeniedException: organizations:DescribePolicy", hidden)]
        assert told == (refused if why == "refused" else [])
        access = found["user-1"].access
        assert access is not None
        assert access.ceilings == (None if why == "refused" else ())
        assert ("and organisations" in says("aws", access)) is (why == "refused")

    def test_an_act_goes_to_the_account_of_its_credential(self, organization: Organization) -> None:
        provider = opened(organization, remediator_role_name="nhi-remediator")
        found, _ = seen_by(provider)
        user = found["user-1"]
        key = str(user.credentials[0].external_id)
        target = Target(
            account=user.account,
            identity_name=user.name,
            identity_key=user.key,
            credential_kind="access_key",
            credential_id=key,
        )
        provider.disable(target)
        assert organization.clouds[1].key_status(key) == "Inactive"
        provider.enable(target)
        assert organization.clouds[1].key_status(key) == "Active"

    def test_what_is_done_is_read_of_each_account(self, organization: Organization) -> None:
        provider = opened(organization)
        found, _ = seen_by(provider)
        for number, cloud in enumerate(organization.clouds):
            who = found[f"user-{number}"]
            cloud.add_call(
                "ListBuckets", at=NOW - timedelta(hours=1), user=who.name, key_id=str(who.credentials[0].external_id)
            )
        reading = Reading(positions={}, is_read=lambda _: False, ends=lambda: False)
        batches = [
            one
            for one in provider.activity([*found.values()], reading, Activity(), now=NOW)
            if not isinstance(one, Gap)
        ]
        assert {one.place.split("/")[1] for one in batches} == {cloud.account for cloud in organization.clouds}

    def test_where_time_is_short_each_account_has_its_turn_and_the_others_are_gaps(
        self, organization: Organization
    ) -> None:
        provider = opened(organization)
        identities = [*seen_by(provider)[0].values()]
        accounts = {one.account for one in identities}
        positions: dict[str, Mapping[str, str]] = {}
        read, batches = list[str](), list[Batch]()
        for turn in range(4):
            batches.clear()
            reading = Reading(positions=dict(positions), is_read=lambda _: False, ends=lambda: bool(batches))
            limits, now, gaps = Activity(regions=("us-east-1",)), NOW + timedelta(hours=turn), list[Gap]()
            for one in provider.activity(identities, reading, limits, now=now):
                gaps.append(one) if isinstance(one, Gap) else batches.append(one)
            positions |= {one.place: one.position for one in batches}
            (account,) = {one.place.split("/")[1] for one in batches}
            read.append(account)
            assert {gap.scope for gap in gaps} == {f"aws/{other}" for other in accounts - {account}}
        assert set(read[:3]) == accounts
        assert read[3] == read[0]

    def test_the_count_is_that_of_all_accounts(self, organization: Organization) -> None:
        counts = {one.kind: one.number for one in opened(organization).counts() if isinstance(one, Count)}
        assert counts["iam_user"] == 3

    def test_aws_s_own_policies_are_read_once_for_all_accounts(self, organization: Organization) -> None:
        for number, cloud in enumerate(organization.clouds):
            cloud.attach("arn:aws:iam::aws:policy/ReadOnlyAccess", user=f"user-{number}")
        provider = opened(organization)
        seen_by(provider)
        assert list(provider.documents) == ["arn:aws:iam::aws:policy/ReadOnlyAccess@v1"]

    @pytest.mark.parametrize(
        ("source", "sentence"),
        [
            ({"organization": True}, "an organisation needs `role_name`"),
            ({"role_name": "nhi-reader"}, "`role_name` is for `organization = true`"),
            ({"provider": "gcp", "organization": True}, '`organization` is for provider = "aws"'),
            ({"regions": ["mars"]}, "regions"),
        ],
    )
    def test_a_source_that_cannot_be_meant_is_refused(self, source: dict[str, Any], sentence: str) -> None:
        with pytest.raises(PolicyError, match=sentence):
            parse({"sources": [source]})


class TestWhatElseAuthenticates:
    def test_identity_providers_and_certificates_are_always_read(self, cloud: Cloud) -> None:
        url = "https://token.actions.githubusercontent.com"
        cloud.iam.create_open_id_connect_provider(url, ["a" * 40], ["sts.amazonaws.com"], [])
        cloud.iam.create_saml_provider("okta", "<xml/>")
        found, gaps = seen_by(connect(Source(endpoint=cloud.url)))
        assert gaps == []
        assert found["token.actions.githubusercontent.com"].kind == "oidc_provider"
        assert found["okta"].custody is Custody.NOBODY

    def test_what_lies_in_regions_is_read_where_the_source_names_them(self, cloud: Cloud) -> None:
        stored = cloud.others
        stored.page = 1
        stored.add_secret(
            "db", made_at=LONG_AGO, used_at=NOW - timedelta(days=3), Tags=[{"Key": "owner", "Value": "ana"}]
        )
        stored.add_secret("rds!x", made_at=LONG_AGO, OwningService="rds")
        stored.add_secret("elsewhere", made_at=LONG_AGO, region="us-east-1")
        stored.add_subject("build-7", made_at=LONG_AGO, seen_at=NOW - timedelta(days=200))
        stored.add_anchor("ca", made_at=LONG_AGO)
        stored.add_application("grafana", made_at=LONG_AGO)
        aws = connect(Source(endpoint=cloud.url, regions=("eu-west-1",)))
        found, gaps = seen_by(aws)
        assert gaps == []
        assert set(found) == {"db", "rds!x", "CN=build-7", "ca", "grafana"}
        assert found["db"].tags["owner"] == "ana"
        assert found["db"].credentials[0].last_used_at == NOW - timedelta(days=3)
        assert (found["db"].custody, found["rds!x"].custody) == (Custody.OURS, Custody.PLATFORM)
        assert found["CN=build-7"].credentials[0].status is CredentialStatus.ACTIVE
        assert connect(Source(endpoint=cloud.url)).looks_at(found["db"]) is False
        assert aws.looks_at(found["db"])

    def test_a_server_certificate_that_iam_keeps_is_found_with_the_day_it_was_uploaded(self, cloud: Cloud) -> None:
        cloud.iam.upload_server_certificate("edge", "a certificate", "a private key")
        found, gaps = seen_by(connect(Source(endpoint=cloud.url)))
        (credential,) = found["edge"].credentials
        assert gaps == []
        assert (found["edge"].kind, found["edge"].custody) == ("server_certificate", Custody.OURS)
        assert credential.created_at == credential.rotated_at == found["edge"].created_at is not None
        assert found["edge"].tags["aws:valid-until"]
        assert "private" not in f"{found['edge']}"

    def test_without_regions_nothing_is_asked_of_any(self, cloud: Cloud) -> None:
        aws = connect(Source(endpoint=cloud.url))
        seen_by(aws)
        assert not [action for action in aws.api_calls if action in {need.action for need in Aws.region_permissions}]

    def test_a_permission_set_tells_what_it_allows_and_to_whom_in_which_account(self, cloud: Cloud) -> None:
        center = cloud.others
        center.called = {"g-1": "platform", "u-1": "ana@example.com"}
        center.add_permission_set(
            "Operators",
            made_at=LONG_AGO,
            managed=["arn:aws:iam::aws:policy/IAMFullAccess"],
            customer=["house-rules"],
            inline={"Statement": {"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*"}},
            boundary={"ManagedPolicyArn": "arn:aws:iam::aws:policy/PowerUserAccess"},
            tags={"owner": "ana"},
            assigned=[("111122223333", "GROUP/g-1"), ("444455556666", "GROUP/g-1"), ("111122223333", "USER/u-1")],
        )
        found, gaps = seen_by(connect(Source(endpoint=cloud.url, regions=("eu-west-1",))))
        assert gaps == []
        it = found["Operators"]
        assert it.access is not None
        assert {one.who for one in it.access.trust} == {
            "group:platform in 111122223333",
            "group:platform in 444455556666",
            "user:ana@example.com in 111122223333",
        }
        assert it.access.unread == ("house-rules, of each account's own",)
        assert {one.power for one in powers(it)} == {Power.SECRETS}  # its boundary leaves nothing of IAM
        assert (it.tags["owner"], it.tags["aws:accounts"], it.privileged) == (
            "ana",
            "111122223333, 444455556666",
            False,
        )
        assert "SCIM" in it.coverage.says

    def test_what_another_account_s_identity_center_holds_is_read_where_it_is_seen_and_a_refusal_is_a_gap(
        self, cloud: Cloud
    ) -> None:
        everything_regional(cloud)
        (instance,) = cloud.others.listed["sso:ListInstances", "eu-west-1"]
        instance["OwnerAccountId"] = "999999999999"
        cloud.others.listed["sso:ListApplications", "eu-west-1"][0]["ApplicationAccount"] = "999999999999"
        found, gaps = seen_by(connect(Source(endpoint=cloud.url, regions=("eu-west-1",))))
        assert gaps == []
        assert {found[name].account for name in ("Operators", "grafana")} == {cloud.account}
        assert found["grafana"].tags["aws:account"] == "999999999999"
        cloud.faults.deny("sso:ListPermissionSets")
        found, gaps = seen_by(connect(Source(endpoint=cloud.url, regions=("eu-west-1",))))
        assert "Operators" not in found
        assert [gap.covers(scope_of("aws", cloud.account, "permission_set"), Aspect.EXISTENCE) for gap in gaps] == [
            True
        ]

    def test_an_identity_center_that_two_accounts_see_is_read_in_its_owner_s(self, organization: Organization) -> None:
        owner, delegate, _ = organization.clouds
        everything_regional(owner)
        delegate.others = owner.others
        found, gaps = [], []
        for one in opened(organization, regions=("eu-west-1",)).scan(
            memory=Memory(credential_ids={}), matters=lambda *_: False, now=NOW
        ):
            found += [(one.name, one.account)] if isinstance(one, Identity) and one.kind in others.REGIONAL else []
            gaps += [one] if isinstance(one, Gap) else []
        assert sorted(found) == [("Operators", owner.account), ("grafana", owner.account)]
        assert not gaps

    def test_a_role_is_marked_by_what_runs_as_it(self, cloud: Cloud) -> None:
        cloud.add_role("shared")
        arn = f"arn:aws:iam::{cloud.account}:role/shared"
        cloud.others.add_function("thumbnails", arn)
        cloud.others.add_build("site", arn)
        cloud.others.add_template("cache", arn)
        found, _ = seen_by(connect(Source(endpoint=cloud.url, regions=("eu-west-1",))))
        used_by = found["shared"].tags[misuse.USED_BY]
        assert used_by == "codebuild site (eu-west-1), ecr cache (eu-west-1), lambda thumbnails (eu-west-1)"

    @pytest.mark.parametrize("need", [*Aws.region_permissions, *others.PERMISSIONS], ids=lambda need: need.action)
    def test_each_refusal_is_a_gap_that_names_the_call(self, cloud: Cloud, need: Any) -> None:
        everything_regional(cloud)
        cloud.iam.create_open_id_connect_provider("https://idp.example", ["a" * 40], [], [])
        cloud.faults.deny(need.action)
        _, gaps = seen_by(connect(Source(endpoint=cloud.url, regions=("eu-west-1",))))
        assert (
            [gap.reason for gap in gaps if need.action in gap.reason]
            == [gap.reason for gap in gaps if "AccessDenied" in gap.reason]
            != []
        )

    def test_all_declared_calls_are_made_and_no_other(self, cloud: Cloud) -> None:
        everything_regional(cloud)
        aws = connect(Source(endpoint=cloud.url, regions=("eu-west-1",)))
        seen_by(aws)
        regional = {need.action for need in Aws.region_permissions}
        assert {action for action in aws.api_calls if not action.startswith(("iam:", "sts:"))} == regional


def everything_regional(cloud: Cloud) -> None:
    """Let there be something of each kind that only a further call tells of."""
    cloud.others.add_application("grafana", made_at=LONG_AGO)
    cloud.others.add_build("site", "arn:aws:iam::1:role/x")
    cloud.others.called = {"g-1": "platform", "u-1": "ana@example.com"}
    to = [("111122223333", "GROUP/g-1"), ("111122223333", "USER/u-1")]
    cloud.others.add_permission_set("Operators", made_at=LONG_AGO, assigned=to)


def test_a_rotation_is_done_in_the_users_own_account_and_by_the_remediator_of_it(organization: Organization) -> None:
    cloud = organization.clouds[1]
    user = cloud.iam.users["user-1"]
    at = Target(
        account=cloud.account,
        identity_name="user-1",
        identity_key=user.id,
        credential_kind="access_key",
        credential_id=user.access_keys[0].access_key_id,
        principal=user.arn,
    )
    aws, place = opened(organization, remediator_role_name="nhi-remediator"), Place(secret="nhi/it", mark=user.arn)
    assert isinstance(aws, Rotates)
    aws.prepare(at, place)
    made: list[str] = []
    stored = aws.make(at, place, "v" * 32, made.append)
    assert stored is not None
    assert aws.stored(at, place, "v" * 32, None) == stored
    assert f":{cloud.account}:secret:nhi/it" in stored.where
    keys = aws.keys(at)
    assert isinstance(keys, tuple)
    assert {key.id for key in keys} == {at.credential_id, *made}
    assert any(name.endswith(f"{cloud.account}:role/nhi-remediator") for name in aws.itself())


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


@on_sqlite
def test_what_is_no_longer_looked_for_is_not_gone(world: World) -> None:
    world.cloud.others.add_secret("db", made_at=world.clock() - timedelta(days=400))
    policy = world.program.settings.nhi_policy
    world.set_policy("")
    policy.write_text(policy.read_text() + 'regions = ["eu-west-1"]\n')
    world.scan()
    world.set_policy("")
    world.clock.pass_by(days=1)
    world.scan()
    (row,) = world.rows(IdentityRow, name="db")
    assert row.gone_at is None
