"""Whose sessions use a role, by CloudTrail. Over HTTP, with boto3 itself, against demo/cloud.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from demo.cloud import Cloud
from nhi.identity import Evidence, Gap, Identity
from nhi.policy import Source
from nhi.providers import Memory
from nhi.providers.aws import Aws, connect

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


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


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def aws(cloud: Cloud) -> Aws:
    return connect(Source(endpoint=cloud.url, trail_calls_a_second=100))


def told(aws: Aws) -> list[Evidence | Gap]:
    found = aws.scan(memory=Memory(credential_ids={}), matters=lambda _, __: False, now=NOW)
    return list(aws.uses([one for one in found if isinstance(one, Identity)], now=NOW))


def arn(cloud: Cloud, role: str) -> str:
    return f"arn:aws:iam::{cloud.account}:role/{role}"


def test_each_person_who_assumed_a_role_is_named_once_with_the_latest_time(cloud: Cloud, aws: Aws) -> None:
    role_id = cloud.add_role("deploy", created_at=ago(400), last_used_at=ago(1))
    for day in (9, 3):
        cloud.add_event("AssumeRole", subject=arn(cloud, "deploy"), by="ana@example.com", at=ago(day))
    cloud.add_event("AssumeRole", subject=arn(cloud, "deploy"), by="jenkins", at=ago(2))

    assert sorted((one.points_to, one.at, one.identity_key) for one in told(aws) if isinstance(one, Evidence)) == [
        ("ana@example.com", ago(3), role_id),
        ("jenkins", ago(2), role_id),
    ]


def test_a_service_a_failed_try_and_another_roles_session_say_nothing(cloud: Cloud, aws: Aws) -> None:
    cloud.add_role("deploy", created_at=ago(400), last_used_at=ago(1))
    service = {"type": "AWSService", "invokedBy": "ecs.amazonaws.com"}
    cloud.add_event("AssumeRole", subject=arn(cloud, "deploy"), by=service, at=ago(1))
    cloud.add_event("AssumeRole", subject=arn(cloud, "deploy"), by="eve@example.com", at=ago(1), error="AccessDenied")
    cloud.add_event("AssumeRole", subject=arn(cloud, "other"), by="bea@example.com", at=ago(1))
    cloud.add_event("AssumeRole", subject=arn(cloud, "deploy"), by="old@example.com", at=ago(91))

    assert told(aws) == []


def test_a_role_that_was_not_used_in_ninety_days_and_a_user_cost_no_call(cloud: Cloud, aws: Aws) -> None:
    cloud.add_role("old", created_at=ago(400), last_used_at=ago(91))
    cloud.add_role("never", created_at=ago(400))
    cloud.add_user("user", created_at=ago(400))

    assert told(aws) == []
    assert "cloudtrail:LookupEvents" not in aws.api_calls


def test_being_denied_is_one_gap_for_all_roles(cloud: Cloud, aws: Aws) -> None:
    for name in ("one", "two"):
        cloud.add_role(name, created_at=ago(400), last_used_at=ago(1))

    cloud.faults.deny("cloudtrail:LookupEvents")
    assert [one.reason for one in told(aws) if isinstance(one, Gap)] == [
        "AccessDeniedException: cloudtrail:LookupEvents"
    ]


def test_a_key_that_is_made_later_than_its_user_tells_who_renews_it(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("ci", created_at=ago(50))
    cloud.add_access_key("ci", created_at=ago(10))
    cloud.add_event("CreateUser", subject="ci", by="ana@example.com", at=ago(50))
    cloud.add_event("CreateAccessKey", subject="ci", by="ana@example.com", at=ago(50))
    cloud.add_event("CreateAccessKey", subject="ci", by="bea@example.com", at=ago(10))
    found = aws.scan(memory=Memory(credential_ids={}), matters=lambda _, __: False, now=NOW)
    seen = list(aws.creators([one for one in found if isinstance(one, Identity)], now=NOW))

    assert sorted((one.source, one.points_to) for one in seen if isinstance(one, Evidence)) == [
        ("creator", "ana@example.com"),
        ("creator", "ana@example.com"),
        ("rotator", "bea@example.com"),
    ]
