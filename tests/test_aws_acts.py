"""Turning AWS access keys off and on. Over HTTP, with boto3 itself, against demo/cloud.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from demo.cloud import Cloud
from nhi.errors import ProviderError
from nhi.identity import Aspect, CredentialStatus, Gap
from nhi.policy import Source
from nhi.providers import CredentialState, Target
from nhi.providers.aws import Aws, connect

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)


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
    monkeypatch.setattr("nhi.providers.aws.acts._PAUSE", 0.01)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def aws(cloud: Cloud) -> Aws:
    return connect(Source(endpoint=cloud.url))


@pytest.fixture
def target(cloud: Cloud) -> Target:
    """The unused one of a user's two keys, which were made in the same second."""
    user_id = cloud.add_user("ci", created_at=LONG_AGO)
    cloud.add_access_key("ci", created_at=LONG_AGO, last_used_at=NOW)
    return target_of(cloud, user_id, cloud.add_access_key("ci", created_at=LONG_AGO))


def target_of(cloud: Cloud, user_id: str, key_id: str, name: str = "ci") -> Target:
    return Target(
        account=cloud.account,
        identity_name=name,
        identity_key=user_id,
        credential_kind="access_key",
        credential_id=key_id,
    )


def statuses(cloud: Cloud) -> dict[str, str]:
    return {key: cloud.key_status(key) for key in cloud.iam.access_keys}


def test_disabling_turns_off_that_key_and_no_other(cloud: Cloud, aws: Aws, target: Target) -> None:
    before = statuses(cloud)
    aws.disable(target)
    assert statuses(cloud) == {**before, target.credential_id: "Inactive"}


def test_enabling_turns_that_key_on_and_no_other(cloud: Cloud, aws: Aws, target: Target) -> None:
    for key in statuses(cloud):
        cloud.iam.get_user("ci").update_access_key(key, "Inactive")
    aws.enable(target)
    assert [key for key, status in statuses(cloud).items() if status == "Active"] == [target.credential_id]


def test_the_only_write_is_declared(cloud: Cloud, aws: Aws, target: Target) -> None:
    aws.look(target)
    aws.disable(target)
    reads = {permission.action for permission in aws.permissions}
    writes = {permission.action for permission in aws.disable_permissions if permission.writes}
    assert {one.action for one in cloud.requests} - reads == {"iam:UpdateAccessKey"}
    assert "iam:UpdateAccessKey" in writes


def test_disabling_twice_is_no_error(cloud: Cloud, aws: Aws, target: Target) -> None:
    aws.disable(target)
    aws.disable(target)
    assert cloud.key_status(target.credential_id) == "Inactive"


def test_a_change_that_shows_late_is_waited_for(cloud: Cloud, aws: Aws, target: Target) -> None:
    cloud.faults.update_lag = 3
    aws.disable(target)
    assert aws.api_calls["iam:ListAccessKeys"] == 5  # three that still show it on, and two in a row that do not


def test_a_change_that_does_not_take_is_an_error_that_may_pass(cloud: Cloud, aws: Aws, target: Target) -> None:
    cloud.faults.update_lag = 99
    with pytest.raises(ProviderError, match="does not read as Inactive") as error:
        aws.disable(target)
    assert (error.value.code, error.value.permanent) == ("NotVerified", False)


def test_a_denied_change_is_a_permanent_error_and_changes_nothing(cloud: Cloud, aws: Aws, target: Target) -> None:
    before = statuses(cloud)
    cloud.faults.deny("iam:UpdateAccessKey")
    with pytest.raises(ProviderError, match="AccessDenied: iam:UpdateAccessKey") as error:
        aws.disable(target)
    assert (error.value.code, error.value.permanent) == ("AccessDenied", True)
    assert statuses(cloud) == before


@pytest.mark.parametrize("code", ["Throttling", "ServiceFailure", "ExpiredToken"])
def test_a_passing_refusal_is_not_permanent(cloud: Cloud, aws: Aws, target: Target, code: str) -> None:
    cloud.faults.deny("iam:UpdateAccessKey", code=code)
    with pytest.raises(ProviderError) as error:
        aws.disable(target)
    assert not error.value.permanent


def test_a_change_that_cannot_be_read_back_says_that_it_was_made(cloud: Cloud, aws: Aws, target: Target) -> None:
    cloud.faults.deny("iam:ListAccessKeys")
    with pytest.raises(ProviderError, match=r"AWS changed .* but it cannot be read back"):
        aws.disable(target)
    assert cloud.key_status(target.credential_id) == "Inactive"


def test_a_key_of_somebody_else_is_not_touched(cloud: Cloud, aws: Aws, target: Target) -> None:
    other_id = cloud.add_user("other")
    other_key = cloud.add_access_key("other")
    mixed_up = target_of(cloud, target.identity_key, other_key)
    assert aws.look(mixed_up) is None
    with pytest.raises(ProviderError) as error:
        aws.disable(mixed_up)
    assert (error.value.code, error.value.permanent) == ("NoSuchEntity", True)
    assert cloud.key_status(other_key) == "Active"
    assert isinstance(aws.look(target_of(cloud, other_id, other_key, "other")), CredentialState)


def test_what_could_not_be_turned_on_again_is_not_turned_off(cloud: Cloud, aws: Aws) -> None:
    certificate = Target(
        account=cloud.account,
        identity_name="ci",
        identity_key="AIDA",
        credential_kind="signing_certificate",
        credential_id="certificate",
    )
    with pytest.raises(ProviderError) as error:
        aws.disable(certificate)
    assert error.value.permanent
    assert isinstance(aws.look(certificate), Gap)
    assert not cloud.requests


def test_looking_tells_status_and_last_use_of_right_now(cloud: Cloud, aws: Aws, target: Target) -> None:
    before = aws.look(target)
    assert isinstance(before, CredentialState)
    assert (before.status, before.last_used_at, before.caller) == (CredentialStatus.ACTIVE, None, None)
    cloud.record_use(target.credential_id, NOW, service="sqs")
    aws.disable(target)
    after = aws.look(target)
    assert isinstance(after, CredentialState)
    assert (after.status, after.last_used_at) == (CredentialStatus.INACTIVE, NOW)
    assert (after.last_used_service, after.last_used_region) == ("sqs", "eu-west-1")


def test_looking_at_a_deleted_key_finds_nothing(cloud: Cloud, aws: Aws, target: Target) -> None:
    cloud.delete_key("ci", target.credential_id)
    assert aws.look(target) is None


def test_looking_at_a_deleted_user_finds_nothing(cloud: Cloud, aws: Aws, target: Target) -> None:
    cloud.delete_user("ci")
    assert aws.look(target) is None


def test_looking_at_a_namesake_of_a_deleted_user_finds_nothing(cloud: Cloud, aws: Aws, target: Target) -> None:
    cloud.delete_user("ci")
    cloud.add_user("ci")
    assert aws.look(target) is None


@pytest.mark.parametrize("action", ["iam:GetUser", "iam:ListAccessKeys", "iam:GetAccessKeyLastUsed"])
def test_a_look_that_is_denied_is_a_gap(cloud: Cloud, aws: Aws, target: Target, action: str) -> None:
    cloud.faults.deny(action)
    assert aws.look(target) == Gap(
        scope=f"aws/{cloud.account}/iam_user/ci",
        reason=f"AccessDenied: {action}",
        hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}),
    )


def test_a_remediator_role_makes_the_change_and_nothing_else(cloud: Cloud, target: Target) -> None:
    role = f"arn:aws:iam::{cloud.account}:role/nhi-remediator"
    aws = connect(Source(endpoint=cloud.url, remediator_role_arn=role))
    aws.disable(target)
    as_role = {one.action for one in cloud.requests if one.access_key.startswith("ASIA")}
    assert as_role == {"iam:UpdateAccessKey"}
    assert aws.api_calls["sts:AssumeRole"] == 1
    assert aws.api_calls["iam:UpdateAccessKey"] == 1
