"""AWS acts beside access keys: roles, console passwords, service-specific credentials, and what a look tells of each.

Over HTTP, with boto3 itself, against demo/cloud.py; what the account holds is read from the stand-in, not from us.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.cloud import Cloud
from nhi.errors import ProviderError
from nhi.identity import CredentialStatus, Gap
from nhi.policy import Source
from nhi.providers import CredentialState, Target
from nhi.providers.aws import Aws, connect
from nhi.providers.aws.denials import CONSOLE, QUARANTINE, REVOKE

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
OTHERS = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
CALENDAR = "arn:aws:ssm:eu-west-1:111122223333:document/changes"


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
    monkeypatch.setattr("nhi.providers.aws.services._POLLS", (0.0, 0.01, 0.01))


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def aws(cloud: Cloud) -> Aws:
    return connect(Source(endpoint=cloud.url))


def target(cloud: Cloud, kind: str, name: str, key: str, credential: str | None = None) -> Target:
    return Target(
        account=cloud.account,
        identity_name=name,
        identity_key=key,
        credential_kind=kind,
        credential_id=credential or key,
    )


@pytest.fixture
def role(cloud: Cloud) -> Target:
    """A role with a policy and a tag of its own, beside one that must never change."""
    key = cloud.add_role("etl", created_at=LONG_AGO, last_used_at=NOW - timedelta(days=200), tags={"owner": "ana"})
    cloud.iam.put_role_policy("etl", "reads", OTHERS)
    cloud.attach("arn:aws:iam::aws:policy/ReadOnlyAccess", role="etl")
    cloud.add_role("bystander")
    return target(cloud, "role", "etl", key)


@pytest.fixture
def password(cloud: Cloud) -> Target:
    key = cloud.add_user("console", created_at=LONG_AGO, tags={"owner": "ana"})
    cloud.add_password("console", changed_at=LONG_AGO, last_used_at=NOW - timedelta(days=100))
    cloud.iam.put_user_policy("console", "reads", OTHERS)
    return target(cloud, "console_password", "console", key)


@pytest.fixture
def service(cloud: Cloud) -> Target:
    key = cloud.add_user("git", created_at=LONG_AGO)
    return target(
        cloud, "service_specific_credential", "git", key, cloud.add_service_credential("git", created_at=LONG_AGO)
    )


def look(aws: Aws, at: Target) -> CredentialState:
    state = aws.look(at)
    assert isinstance(state, CredentialState)
    return state


def account(cloud: Cloud) -> dict[str, Any]:
    """Return everything of the account that an act or its undo could change."""
    roles = {
        one.name: (cloud.inline_policies(role=one.name), sorted(one.managed_policies), one.tags)
        for one in cloud.iam.roles.values()
    }
    users = {name: (cloud.inline_policies(user=name), user.password) for name, user in cloud.iam.users.items()}
    return {"roles": roles, "users": users, "services": {key: cloud.service_status(key) for key in cloud.acts.services}}


# -- roles -------------------------------------------------------------------------------------------------------------


def test_a_quarantined_role_is_denied_everything_by_one_policy_and_keeps_all_others(
    cloud: Cloud, aws: Aws, role: Target
) -> None:
    aws.disable(role)
    policies = cloud.inline_policies(role="etl")
    assert set(policies) == {"reads", "nhi-quarantine"}
    assert policies["nhi-quarantine"]["Statement"] == [
        {"Sid": "NhiQuarantine", "Effect": "Deny", "Action": "*", "Resource": "*"}
    ]
    assert cloud.inline_policies(role="bystander") == {}


@pytest.mark.parametrize("kind", ["role", "password", "service"])
def test_off_and_on_again_leaves_the_account_exactly_as_it_was(
    cloud: Cloud, aws: Aws, kind: str, request: pytest.FixtureRequest
) -> None:
    at: Target = request.getfixturevalue(kind)
    before, former = account(cloud), look(aws, at).former
    aws.disable(at)
    assert account(cloud) != before
    assert look(aws, at).status is CredentialStatus.INACTIVE
    assert look(aws, at).former == former
    aws.enable(at)
    assert account(cloud) == before
    assert look(aws, at).status is CredentialStatus.ACTIVE


@pytest.mark.parametrize("kind", ["role", "password", "service"])
def test_twice_off_and_twice_on_is_as_once(cloud: Cloud, aws: Aws, kind: str, request: pytest.FixtureRequest) -> None:
    at: Target = request.getfixturevalue(kind)
    before = account(cloud)
    for _ in range(2):
        aws.disable(at)
    for _ in range(2):
        aws.enable(at)
    assert account(cloud) == before


@pytest.mark.parametrize("kind", ["role", "password", "service"])
def test_each_call_of_an_act_is_declared(cloud: Cloud, aws: Aws, kind: str, request: pytest.FixtureRequest) -> None:
    at: Target = request.getfixturevalue(kind)
    look(aws, at)
    aws.disable(at)
    aws.enable(at)
    reads = {one.action for one in (*aws.permissions, *aws.look_permissions)}
    writes = {one.action for one in aws.disable_permissions}
    assert {one.action for one in cloud.requests} <= reads | writes
    assert {one.action for one in cloud.requests} - reads


def test_ending_a_roles_sessions_denies_those_that_began_before_and_is_taken_back_exactly(
    cloud: Cloud, aws: Aws, role: Target
) -> None:
    kind = aws.sessions_of("role")
    assert kind is not None
    sessions, before = target(cloud, kind, "etl", role.identity_key), account(cloud)
    aws.disable(sessions)
    (statement,) = cloud.inline_policies(role="etl")["nhi-revoke-sessions"]["Statement"]
    instant = datetime.fromisoformat(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"])
    assert abs(instant - datetime.now(UTC)) < timedelta(minutes=1)
    assert look(aws, role).status is CredentialStatus.ACTIVE
    aws.enable(sessions)
    assert account(cloud) == before
    assert aws.sessions_of("access_key") is None


def test_sessions_can_be_ended_again_and_an_undo_leaves_those_ended_that_were_before(
    cloud: Cloud, aws: Aws, role: Target
) -> None:
    first = replace(role, credential_kind=aws.sessions_of("role") or "", begun_at=NOW - timedelta(days=3))
    aws.disable(first)
    once = account(cloud)
    second = replace(first, begun_at=None)
    before = look(aws, second)
    assert before.status is CredentialStatus.ACTIVE, "what began since is not ended"
    second = replace(second, begun_at=NOW, former=before.former)
    assert look(aws, second).status is CredentialStatus.ACTIVE
    aws.disable(second)
    after = look(aws, second)
    assert (after.status, after.former) == (CredentialStatus.INACTIVE, before.former)
    aws.enable(second)
    assert account(cloud) == once
    aws.enable(first)
    assert REVOKE.name not in cloud.inline_policies(role="etl")


def test_a_policy_of_our_name_that_is_not_ours_is_neither_overwritten_nor_deleted(
    cloud: Cloud, aws: Aws, role: Target, password: Target
) -> None:
    cloud.iam.put_role_policy("etl", QUARANTINE.name, OTHERS)
    cloud.iam.put_user_policy("console", CONSOLE.name, OTHERS)
    for at in (role, password):
        assert "is there that is not ours" in (look(aws, at).blocked or "")
        aws.enable(at)  # somebody put it there after ours, and then this is undone
    assert cloud.inline_policies(role="etl")[QUARANTINE.name]["Statement"][0]["Action"] == "s3:*"
    assert CONSOLE.name in cloud.inline_policies(user="console")


def test_a_denial_whose_password_is_gone_is_taken_off_all_the_same(cloud: Cloud, aws: Aws, password: Target) -> None:
    aws.disable(password)
    cloud.iam.delete_login_profile("console")
    state = look(aws, password)
    assert (state.status, state.blocked) == (CredentialStatus.INACTIVE, "the password itself is gone")
    aws.enable(password)
    assert CONSOLE.name not in cloud.inline_policies(user="console")
    assert aws.look(password) is None


def test_a_role_made_again_under_its_name_is_not_the_one_that_was_decided_about(
    cloud: Cloud, aws: Aws, role: Target
) -> None:
    other = target(cloud, "role", "etl", "AROAFORMERLY")
    assert aws.look(other) is None
    assert aws.look(target(cloud, "role", "nobody", "AROA")) is None


def test_a_role_tells_its_last_use_and_who_assumed_it_lately(cloud: Cloud, aws: Aws, role: Target) -> None:
    assert look(aws, role).last_used_at == NOW - timedelta(days=200)
    cloud.add_call("AssumeRole", at=NOW, source="sts.amazonaws.com", role="etl", user="ana", address="203.0.113.9")
    cloud.add_call("UpdateRole", at=NOW + timedelta(hours=1), source="iam.amazonaws.com", role="etl")
    state = look(aws, role)
    assert state.caller is not None
    assert (state.last_used_at, state.caller.where) == (NOW, "203.0.113.9")
    assert (state.caller.what, state.caller.who) == ("sts:AssumeRole", f"arn:aws:iam::{cloud.account}:user/ana")


@pytest.mark.parametrize("action", ["iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies"])
def test_a_role_that_cannot_be_looked_at_is_a_gap(cloud: Cloud, aws: Aws, role: Target, action: str) -> None:
    cloud.faults.deny(action)
    seen = aws.look(role)
    assert isinstance(seen, Gap)
    assert (seen.scope, seen.reason) == (f"aws/{cloud.account}/iam_role/etl", f"AccessDenied: {action}")


def test_a_denied_quarantine_is_a_permanent_error_and_changes_nothing(cloud: Cloud, aws: Aws, role: Target) -> None:
    before = account(cloud)
    cloud.faults.deny("iam:PutRolePolicy")
    with pytest.raises(ProviderError, match="AccessDenied: iam:PutRolePolicy") as error:
        aws.disable(role)
    assert error.value.permanent
    assert account(cloud) == before


def test_a_scan_tells_a_role_that_is_quarantined_and_a_password_that_is_denied(
    cloud: Cloud, aws: Aws, role: Target, password: Target
) -> None:
    from tests.test_aws_scan import seen_by

    def statuses() -> list[CredentialStatus]:
        seen, _ = seen_by(connect(Source(endpoint=cloud.url)))
        return [seen[name].credentials[0].status for name in ("etl", "bystander", "console")]

    assert statuses() == [CredentialStatus.ACTIVE] * 3
    aws.disable(role)
    aws.disable(password)
    assert statuses() == [CredentialStatus.INACTIVE, CredentialStatus.ACTIVE, CredentialStatus.INACTIVE]


def test_a_role_of_the_platform_has_nothing_that_could_be_turned_off(cloud: Cloud, aws: Aws) -> None:
    from tests.test_aws_scan import seen_by

    cloud.add_role("AWSServiceRoleForECS", service="ecs.amazonaws.com")
    cloud.add_role("AWSReservedSSO_Admin_0", path="/aws-reserved/sso.amazonaws.com/")
    seen, _ = seen_by(aws)
    assert [one.credentials for one in seen.values()] == [(), ()]


# -- console passwords -------------------------------------------------------------------------------------------------


def test_a_console_is_denied_by_policy_and_the_password_stays(cloud: Cloud, aws: Aws, password: Target) -> None:
    secret = cloud.iam.users["console"].password
    aws.disable(password)
    (statement,) = cloud.inline_policies(user="console")["nhi-deny-console"]["Statement"]
    assert statement["Condition"] == {"Null": {"aws:TokenIssueTime": "false"}}
    assert cloud.iam.users["console"].password == secret


def test_a_console_is_not_denied_where_that_would_reach_an_active_key_too(
    cloud: Cloud, aws: Aws, password: Target
) -> None:
    key = cloud.add_access_key("console")
    assert "active access key" in (look(aws, password).blocked or "")
    cloud.iam.update_access_key("console", key, "Inactive")
    assert look(aws, password).blocked is None


def test_a_user_without_a_password_has_nothing_to_deny(cloud: Cloud, aws: Aws) -> None:
    key = cloud.add_user("plain")
    assert aws.look(target(cloud, "console_password", "plain", key)) is None


def test_a_sign_in_that_the_trail_tells_of_counts(cloud: Cloud, aws: Aws, password: Target) -> None:
    assert look(aws, password).last_used_at == NOW - timedelta(days=100)
    cloud.add_call("ConsoleLogin", at=NOW, source="signin.amazonaws.com", user="console")
    cloud.add_call("CreateUser", at=NOW + timedelta(hours=1), source="iam.amazonaws.com", user="console")
    assert look(aws, password).last_used_at == NOW


# -- service-specific credentials --------------------------------------------------------------------------------------


def test_the_last_access_to_its_service_counts_as_its_last_use(cloud: Cloud, aws: Aws, service: Target) -> None:
    assert look(aws, service).last_used_at is None
    cloud.acts.reached["git", "codecommit"] = NOW
    cloud.acts.reached["git", "s3"] = NOW + timedelta(hours=1)
    cloud.acts.polls = 2
    state = look(aws, service)
    assert (state.last_used_at, state.last_used_service) == (NOW, "codecommit")
    assert "whatever means" in state.reads[0].source


@pytest.mark.parametrize("why", ["no policy names its service", "the answer never comes", "it may not be asked"])
def test_where_the_last_access_is_not_told_nothing_is_known(cloud: Cloud, aws: Aws, service: Target, why: str) -> None:
    if why == "no policy names its service":
        cloud.acts.tracked.clear()
    elif why == "the answer never comes":
        cloud.acts.polls = 99
    else:
        cloud.faults.deny("iam:GenerateServiceLastAccessedDetails")
    assert isinstance(aws.look(service), Gap)


def test_a_service_credential_of_somebody_else_is_not_touched(cloud: Cloud, aws: Aws, service: Target) -> None:
    cloud.add_user("other")
    theirs = cloud.add_service_credential("other")
    mixed = target(cloud, service.credential_kind, "git", service.identity_key, theirs)
    assert aws.look(mixed) is None
    with pytest.raises(ProviderError):
        aws.disable(mixed)
    assert cloud.service_status(theirs) == "Active"


# -- keys: who called last ---------------------------------------------------------------------------------------------


def test_a_look_at_a_key_tells_who_called_with_it_last_from_where_for_what(cloud: Cloud, aws: Aws) -> None:
    user = cloud.add_user("ci", created_at=LONG_AGO)
    key = cloud.add_access_key("ci", created_at=LONG_AGO, last_used_at=NOW - timedelta(days=2))
    cloud.add_call("ListBuckets", at=NOW - timedelta(days=1), key_id=key, user="ci", tool="Jenkins/2")
    cloud.add_call("ListBuckets", at=NOW, key_id="AKIASOMEBODYELSES000")
    state = look(aws, target(cloud, "access_key", "ci", user, key))
    assert state.caller is not None
    assert (state.caller.what, state.caller.tool, state.caller.where) == ("s3:ListBuckets", "Jenkins/2", "198.51.100.7")
    assert state.last_used_at == NOW - timedelta(days=1)
    assert [read.gap for read in state.reads] == [None, None]


def test_a_trail_that_may_not_be_read_is_said_and_stops_nothing(cloud: Cloud, aws: Aws) -> None:
    user = cloud.add_user("ci", created_at=LONG_AGO)
    key = cloud.add_access_key("ci", created_at=LONG_AGO)
    cloud.faults.deny("cloudtrail:LookupEvents")
    state = look(aws, target(cloud, "access_key", "ci", user, key))
    assert (state.status, state.caller) == (CredentialStatus.ACTIVE, None)
    assert [bool(read.gap) for read in state.reads] == [False, True]


# -- the change calendar -----------------------------------------------------------------------------------------------


def test_a_change_calendar_is_open_closed_or_not_to_be_seen(cloud: Cloud, aws: Aws) -> None:
    assert aws.is_open(CALENDAR) is True
    cloud.acts.closed.add(CALENDAR)
    assert aws.is_open(CALENDAR) is False
    cloud.faults.deny("ssm:GetCalendarState")
    told = aws.is_open(CALENDAR)
    assert isinstance(told, Gap)
    assert "ssm:GetCalendarState" in told.reason


def test_the_denials_tell_each_other_apart_whatever_fills_them() -> None:
    for denial in (QUARANTINE, REVOKE, CONSOLE):
        for other in (QUARANTINE, REVOKE, CONSOLE):
            assert denial._is_ours(other.document(before="2026-01-01T00:00:00Z")) is (denial is other)
        assert not denial._is_ours("not json")
        assert not denial._is_ours({"Statement": [denial.document(before="x")["Statement"][0]] * 2})
