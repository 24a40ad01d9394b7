"""Who made what, by CloudTrail. Over HTTP, with boto3 itself, against demo/cloud.py."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.cloud import Cloud
from nhi.identity import Aspect, Evidence, Gap, Identity
from nhi.policy import Source
from nhi.providers import Memory
from nhi.providers.aws import Aws, connect

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
LATELY = NOW - timedelta(days=10)


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
    return list(aws.creators([one for one in found if isinstance(one, Identity)], now=NOW))


def test_whoever_signed_in_and_made_a_user_and_its_key_is_named_by_e_mail(cloud: Cloud, aws: Aws) -> None:
    user_id = cloud.add_user("ci", created_at=LATELY)
    cloud.add_access_key("ci", created_at=LATELY + timedelta(minutes=1))
    cloud.add_event("CreateUser", subject="ci", by="ana@example.com", at=LATELY)
    cloud.add_event("CreateAccessKey", subject="ci", by="ben", at=LATELY + timedelta(minutes=1))
    evidence = told(aws)
    assert (
        Evidence(
            source="creator",
            fact="CreateUser by ana@example.com",
            points_to="ana@example.com",
            at=LATELY,
            identity_key=user_id,
        )
        in evidence
    )
    assert {(one.fact, one.points_to) for one in evidence if isinstance(one, Evidence)} == {
        ("CreateUser by ana@example.com", "ana@example.com"),
        ("CreateAccessKey by ben", "ben"),
    }


def test_a_role_and_a_user_of_one_name_keep_their_own_creators(cloud: Cloud, aws: Aws) -> None:
    user_id = cloud.add_user("same", created_at=LATELY)
    role_id = cloud.add_role("same", created_at=LATELY)
    cloud.add_event("CreateUser", subject="same", by="ana@example.com", at=LATELY)
    cloud.add_event("CreateRole", subject="same", by="ben@example.com", at=LATELY)
    found = {one.identity_key: one.points_to for one in told(aws) if isinstance(one, Evidence)}
    assert found == {user_id: "ana@example.com", role_id: "ben@example.com"}


def test_what_is_older_than_ninety_days_costs_no_call_and_is_no_gap(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("old", created_at=LONG_AGO)
    cloud.add_role("older", created_at=LONG_AGO)
    assert told(aws) == []
    assert "cloudtrail:LookupEvents" not in aws.api_calls


def test_the_maker_of_a_new_key_of_an_old_user_is_found(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("old", created_at=LONG_AGO)
    cloud.add_access_key("old", created_at=LATELY)
    cloud.add_event("CreateAccessKey", subject="old", by="ana@example.com", at=LATELY)
    (evidence,) = told(aws)
    assert isinstance(evidence, Evidence)
    assert evidence.points_to == "ana@example.com"


def test_many_identities_are_asked_for_by_event_and_not_one_by_one(cloud: Cloud, aws: Aws) -> None:
    for number in range(60):
        cloud.add_user(f"user-{number}", created_at=LATELY)
        cloud.add_event("CreateUser", subject=f"user-{number}", by=f"p{number}@example.com", at=LATELY)
    assert len(told(aws)) == 60
    assert aws.api_calls["cloudtrail:LookupEvents"] == 6


SESSION = "arn:aws:sts::111122223333:assumed-role/Ops/"


@pytest.mark.parametrize(
    ("who", "points_to"),
    [
        ({"type": "IAMUser", "userName": "ana"}, "ana"),
        ({"type": "AssumedRole", "arn": f"{SESSION}ana@example.com"}, "ana@example.com"),
        ({"type": "AssumedRole", "arn": f"{SESSION}ana"}, "ana"),
        ({"type": "SAMLUser", "userName": "ana@example.com"}, "ana@example.com"),
        (
            {"type": "AssumedRole", "arn": f"{SESSION}ana@example.com", "invokedBy": "cloudformation.amazonaws.com"},
            "ana@example.com",
        ),
        ({"type": "AssumedRole", "arn": f"{SESSION}AutoScaling", "invokedBy": "autoscaling.amazonaws.com"}, None),
        ({"type": "AssumedRole", "arn": f"{SESSION}i-0abc1234def567890"}, None),
        ({"type": "AssumedRole", "arn": f"{SESSION}botocore-session-1700000000"}, None),
        ({"type": "AWSService", "invokedBy": "ecs.amazonaws.com"}, None),
        ({"type": "Root", "arn": "arn:aws:iam::111122223333:root"}, None),
        ({}, None),
    ],
)
def test_a_creator_is_a_person_or_nobody(cloud: Cloud, aws: Aws, who: Mapping[str, Any], points_to: str | None) -> None:
    cloud.add_user("ci", created_at=LATELY)
    cloud.add_event("CreateUser", subject="ci", by=who, at=LATELY)
    assert [one.points_to for one in told(aws) if isinstance(one, Evidence)] == ([points_to] if points_to else [])


def test_an_attempt_that_failed_or_made_a_namesake_is_no_evidence(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("ci", created_at=LATELY)
    cloud.add_event("CreateUser", subject="ci", by="eve@example.com", at=LATELY, error="AccessDenied")
    cloud.add_event("CreateUser", subject="ci", by="eve@example.com", at=LATELY, made={"user": {"userId": "AIDAOLD"}})
    cloud.add_event("DeleteUser", subject="ci", by="eve@example.com", at=LATELY)
    assert told(aws) == []


def test_being_denied_is_one_gap_that_hides_owners(cloud: Cloud, aws: Aws) -> None:
    for name in ("one", "two"):
        cloud.add_user(name, created_at=LATELY)
    cloud.faults.deny("cloudtrail:LookupEvents")
    (gap,) = told(aws)
    assert gap == Gap(
        scope=f"aws/{cloud.account}",
        reason="AccessDeniedException: cloudtrail:LookupEvents",
        hides=frozenset({Aspect.OWNER}),
    )


def test_more_events_than_are_worth_reading_are_a_gap_and_the_rest_is_still_asked_for(
    cloud: Cloud, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nhi.providers.aws.creators._PAGES", 2)
    cloud.add_user("busy", created_at=LATELY)
    cloud.add_user("calm", created_at=LATELY)
    for _ in range(120):
        cloud.add_event("TagUser", subject="busy", by="ana@example.com", at=LATELY)
    cloud.add_event("CreateUser", subject="calm", by="ana@example.com", at=LATELY)
    found = told(aws)
    assert [one.reason for one in found if isinstance(one, Gap)] == ["TooManyEvents: cloudtrail:LookupEvents"]
    assert [one.points_to for one in found if isinstance(one, Evidence)] == ["ana@example.com"]


def test_events_in_no_known_shape_are_passed_over(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("ci", created_at=LATELY)
    cloud.add_event("CreateUser", subject="ci", by={"type": "AssumedRole", "arn": ["list"]}, at=LATELY)
    cloud.add_event("CreateAccessKey", subject="ci", by="ana@example.com", at=LATELY)
    assert [one.points_to for one in told(aws) if isinstance(one, Evidence)][-1] == "ana@example.com"


def test_cloudtrail_is_asked_at_most_twice_a_second(cloud: Cloud) -> None:
    for name in ("a", "b", "c", "d"):
        cloud.add_user(name, created_at=LATELY)
    started = time.monotonic()
    assert told(connect(Source(endpoint=cloud.url))) == []
    assert time.monotonic() - started >= 1.0  # two at once, then two with half a second before each
