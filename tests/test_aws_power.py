"""What the program may do in AWS: sessions narrowed to one thing, two roles as code, and the doctor's word on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from demo.cloud import Cloud
from nhi.database import ROOT
from nhi.evidence import terraform
from nhi.own_power import NEW_KEYS, Power, judge
from nhi.policy import Policy, Source, parse
from nhi.providers import Target
from nhi.providers.aws import Aws, acts, connect, role_documents, scope
from nhi.providers.aws.own_power import role_of
from nhi.rotation import Place

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACE = Place(secret="nhi/ci", mark="arn:aws:iam::1:user/ci", region="eu-west-1")
ROTATING = {"rotation": {"enabled": True, "destinations": [{"secret": "nhi/{name}"}]}}


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nhi.providers.aws.acts._PAUSE", 0.0)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def aws(cloud: Cloud) -> Aws:
    role = f"arn:aws:iam::{cloud.account}:role/nhi-remediator"
    return connect(Source(endpoint=cloud.url, remediator_role_arn=role))


def target(cloud: Cloud, name: str = "ci") -> Target:
    user = cloud.add_user(name, created_at=NOW - timedelta(days=300), path="/apps/")
    key = cloud.add_access_key(name, created_at=NOW - timedelta(days=200))
    principal = f"arn:aws:iam::{cloud.account}:user/apps/{name}"
    return Target(
        account=cloud.account,
        identity_name=name,
        identity_key=user,
        credential_kind="access_key",
        credential_id=key,
        principal=principal,
    )


def sessions(cloud: Cloud) -> list[tuple[str, Any]]:
    """Return the sessions that were taken: name, and the one policy that narrows each."""
    taken = [one.parameters for one in cloud.requests if one.action == "sts:AssumeRole"]
    return [(one["RoleSessionName"], json.loads(one["Policy"])) for one in taken]


# -- one act, one ARN --------------------------------------------------------------------------------------------------


def test_each_act_has_a_session_that_reaches_one_arn(cloud: Cloud, aws: Aws) -> None:
    one, other = target(cloud), target(cloud, "etl")
    aws.disable(one)
    aws.disable(other)
    assert [name for name, _ in sessions(cloud)] == ["nhi-ci", "nhi-etl"]
    assert [policy["Statement"] for _, policy in sessions(cloud)] == [
        [{"Effect": "Allow", "Action": ["iam:UpdateAccessKey"], "Resource": each.principal}] for each in (one, other)
    ]
    assert aws.api_calls["sts:AssumeRole"] == 2
    assert aws.api_calls["iam:UpdateAccessKey"] == 2


def test_what_is_turned_on_again_is_reached_under_the_name_and_path_of_today(cloud: Cloud, aws: Aws) -> None:
    one = target(cloud)
    aws.disable(one)
    user = cloud.iam.users.pop("ci")
    cloud.iam.users["release"] = user
    user.name, user.path = "release", "/other/"
    for key in user.access_keys:
        key.user_name = "release"
    aws.enable(one)
    _, (name, policy) = sessions(cloud)
    assert (name, policy["Statement"][0]["Resource"]) == (
        "nhi-release",
        f"arn:aws:iam::{cloud.account}:user/other/release",
    )


def test_a_rotation_reaches_one_user_and_one_secret(cloud: Cloud, aws: Aws) -> None:
    one = target(cloud)
    aws.prepare(one, PLACE)
    assert aws.make(one, PLACE, "v" * 32, lambda _: None) is not None
    for name, policy in sessions(cloud):
        assert name == "nhi-ci"
        users, secrets, keys = policy["Statement"]
        assert (users["Action"], users["Resource"]) == (["iam:CreateAccessKey"], one.principal)
        assert secrets["Resource"] == "arn:*:secretsmanager:eu-west-1:*:secret:nhi/ci-??????"
        assert "secretsmanager:GetSecretValue" not in secrets["Action"]
        assert keys["Condition"] == {"StringLike": {"kms:ViaService": "secretsmanager.*.amazonaws.com"}}


def test_every_kind_that_is_switched_has_its_own_calls_and_no_session_policy_is_too_long() -> None:
    assert set(scope.ACTIONS) == set(acts.SWITCHED)
    declared = {need.action for need in Aws.disable_permissions}
    assert {action for actions in scope.ACTIONS.values() for action in actions} == declared
    rotated = {"iam:CreateAccessKey", *scope.SECRETS}
    assert rotated == {need.action for need in Aws.rotate_permissions}
    long = Target(
        account="1" * 12,
        identity_name="n" * 64,
        identity_key="AIDA",
        credential_kind="access_key",
        credential_id="AKIA",
        principal="arn:aws:iam::111122223333:user/" + "p" * 576,
    )
    session = scope.of_rotation(long, Place(secret="s" * 512, mark="m"))
    assert len(session.policy) <= 2048
    assert len(session.name) <= 64


# -- two roles, as code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(role_documents.FILES))
def test_the_roles_in_docs_are_those_that_the_code_declares(name: str) -> None:
    assert (ROOT / name).read_text() == role_documents.FILES[name](), "run `make roles`"


def statements(role: str, *, rotates: bool, break_glass: bool, kms_keys: bool = False) -> dict[str, Any]:
    """Return the statements of a role in the CloudFormation template, its conditions decided, by their Sid."""
    template = yaml.safe_load(role_documents.cloudformation())
    (policy,) = template["Resources"][role]["Properties"]["Policies"]
    holds = {"Rotates": rotates, "HasBreakGlass": break_glass, "HasKmsKeys": rotates and kms_keys}
    found = {}
    for one in policy["PolicyDocument"]["Statement"]:
        if "Fn::If" in one:
            condition, then, otherwise = one["Fn::If"]
            one = then if holds[condition] else otherwise
        if "Sid" in one:
            found[one["Sid"]] = one
    return found


def test_the_reader_only_reads() -> None:
    (reads,) = statements("Reader", rotates=True, break_glass=True).values()
    assert set(reads["Action"]) >= {need.action for need in Aws.permissions}
    assert not set(reads["Action"]) & {need.action for need in (*Aws.disable_permissions, *Aws.rotate_permissions)}


def test_the_remediator_is_denied_itself_break_glass_deleting_and_new_keys_unless_rotation_is_on() -> None:
    off, on = (statements("Remediator", rotates=on, break_glass=True) for on in (False, True))
    assert off["NoNewKeys"]["Effect"] == "Deny"
    assert off["NoNewKeys"]["Action"] == ["iam:CreateAccessKey"]
    assert ("NoNewKeys" in on, "MakesSecondKeys" in on, "MakesSecondKeys" in off) == (False, True, False)
    for each in (off, on):
        assert "nhi-remediator" in f"{each['NeverItself']['Resource']}"
        assert each["NeverBreakGlass"]["Resource"] == {"Ref": "BreakGlassArns"}
        assert {"iam:DeleteAccessKey", "secretsmanager:GetSecretValue"} <= set(each["Never"]["Action"])
        allowed = {action for one in each.values() if one["Effect"] == "Allow" for action in one["Action"]}
        assert not allowed & set(each["Never"]["Action"])
    assert "NeverBreakGlass" not in statements("Remediator", rotates=False, break_glass=False)


def test_keys_of_ones_own_are_used_only_where_named_and_only_by_secrets_manager() -> None:
    assert "EncryptsThem" not in statements("Remediator", rotates=True, break_glass=False)
    granted = statements("Remediator", rotates=True, break_glass=False, kms_keys=True)["EncryptsThem"]
    assert (granted["Resource"], set(granted["Action"])) == (
        {"Ref": "KmsKeyArns"},
        {"kms:GenerateDataKey", "kms:Decrypt"},
    )
    assert granted["Condition"] == {"StringLike": {"kms:ViaService": "secretsmanager.*.amazonaws.com"}}


def test_the_templates_have_no_aliases_and_terraform_reads_as_hcl() -> None:
    assert "*id" not in role_documents.cloudformation()
    blocks = list(terraform.blocks(role_documents.terraform()))
    assert blocks


# -- what the doctor says ----------------------------------------------------------------------------------------------


def test_what_both_roles_may_do_is_asked_and_not_tried_out(cloud: Cloud, aws: Aws) -> None:
    remediator = f"arn:aws:iam::{cloud.account}:role/nhi-remediator"
    cloud.acts.powers = {remediator: {"iam:UpdateAccessKey", NEW_KEYS}}
    reads, acting = aws.powers()
    assert (reads.purpose, reads.own_role, acting.principal, acting.own_role) == ("reads", False, remediator, True)
    assert acting.may == {"iam:UpdateAccessKey", NEW_KEYS}
    asked = {one.action for one in cloud.requests}
    assert asked == {"sts:GetCallerIdentity", "sts:AssumeRole", "iam:SimulatePrincipalPolicy"}


def test_a_role_that_cannot_be_taken_is_told_apart_from_one_that_cannot_be_asked_about(cloud: Cloud, aws: Aws) -> None:
    cloud.faults.deny("iam:SimulatePrincipalPolicy")
    assert [power.unseen for power in aws.powers()] == ["AccessDenied: iam:SimulatePrincipalPolicy"] * 2
    cloud.faults.deny("sts:AssumeRole")
    reads, acting = aws.powers()
    assert (bool(reads.principal), acting.principal) == (True, "")


def power(*may: str, purpose: str = "acts", own: bool = True, unseen: str | None = None) -> Power:
    return Power(purpose=purpose, principal="arn:role", own_role=own, may=frozenset(may), unseen=unseen)


@pytest.mark.parametrize(
    ("told", "policy", "status"),
    [
        (power("iam:UpdateAccessKey"), Policy(), "ok"),
        (power("iam:UpdateAccessKey", "iam:DeleteUser"), Policy(), "warn"),
        (power(NEW_KEYS), Policy(), "warn"),
        (power(NEW_KEYS), parse(ROTATING), "ok"),
        (power("iam:UpdateAccessKey"), parse(ROTATING), "warn"),
        (power(NEW_KEYS, purpose="reads"), parse(ROTATING), "warn"),
        (power(own=False), Policy(), "ok"),
        (power(own=False), parse({"remediation": {"mode": "reversible"}}), "warn"),
        (power(unseen="AccessDenied"), Policy(), "ok"),
        (Power(purpose="acts", principal="", own_role=True, unseen="AccessDenied"), Policy(), "fail"),
    ],
)
def test_the_doctor_warns_of_more_power_than_policy_needs(told: Power, policy: Policy, status: str) -> None:
    (said,) = judge([told], policy)
    assert said.status == status
    assert bool(said.fix) == (status != "ok") or told.unseen or not told.own_role


def test_a_session_is_told_as_its_role() -> None:
    assert role_of("arn:aws:sts::111122223333:assumed-role/nhi/x") == "arn:aws:iam::111122223333:role/nhi"
    assert role_of("arn:aws:iam::111122223333:user/me") == "arn:aws:iam::111122223333:user/me"
