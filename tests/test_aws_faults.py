"""What a scan of an AWS account says when it cannot see. Over HTTP, with boto3 itself, against demo/cloud.py."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.cloud import Cloud
from nhi.identity import Aspect, Gap, Identity, hiding_credentials
from nhi.policy import Source
from nhi.providers import Memory
from nhi.providers.aws import Aws, connect

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
EVERYTHING_OF_IT = frozenset({Aspect.EXISTENCE, Aspect.CREDENTIALS, Aspect.USE, Aspect.PERMISSIONS})
DETAILS = "iam:GetAccountAuthorizationDetails"


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",  # what fails for ever need not be waited for
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(now=lambda: NOW) as running:
        fill(running)
        yield running


def fill(cloud: Cloud) -> None:
    """Put in an old user with a key, a user younger than the report with a key and a password, and a role."""
    cloud.add_user("old", created_at=LONG_AGO)
    cloud.add_access_key("old", created_at=LONG_AGO)
    cloud.take_report()
    cloud.add_user("young")
    cloud.add_access_key("young")
    cloud.add_password("young")
    cloud.add_role("lambda", created_at=LONG_AGO)


@pytest.fixture
def aws(cloud: Cloud) -> Aws:
    return connect(Source(endpoint=cloud.url))


def seen_by(aws: Aws) -> tuple[dict[str, Identity], list[Gap]]:
    """Scan with every key mattering, and return identities by name, and the gaps."""
    found = list(aws.scan(memory=Memory(credential_ids={}), matters=lambda _, __: True, now=NOW))
    return {one.name: one for one in found if isinstance(one, Identity)}, [one for one in found if isinstance(one, Gap)]


def test_the_account_has_no_gap_where_nothing_is_wrong(aws: Aws) -> None:
    identities, gaps = seen_by(aws)
    assert (set(identities), gaps) == ({"old", "young", "lambda"}, [])


@pytest.mark.parametrize("action", ["iam:GenerateCredentialReport", "iam:GetCredentialReport"])
def test_a_denied_credential_report_is_a_gap_and_no_user_is_unused(cloud: Cloud, aws: Aws, action: str) -> None:
    cloud.faults.deny(action)
    identities, (gap,) = seen_by(aws)
    assert gap == Gap(
        scope=f"aws/{cloud.account}/iam_user",
        reason=f"AccessDenied: {action}",
        hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}),
    )
    assert identities["old"].use_gap == gap.reason
    assert gap.covers(identities["old"].scope, Aspect.USE)
    assert not gap.covers(identities["lambda"].scope, Aspect.USE)
    assert not gap.covers(identities["old"].scope, Aspect.EXISTENCE)


def test_denied_details_hide_the_whole_account(cloud: Cloud, aws: Aws) -> None:
    cloud.faults.deny(DETAILS)
    identities, (gap,) = seen_by(aws)
    assert identities == {}
    assert gap == Gap(scope=f"aws/{cloud.account}", reason=f"AccessDenied: {DETAILS}", hides=EVERYTHING_OF_IT)


def test_a_page_that_fails_half_way_leaves_what_was_read_and_a_gap_on_the_rest(cloud: Cloud, aws: Aws) -> None:
    for number in range(1000):
        cloud.add_role(f"role-{number}")
    cloud.faults.fail(DETAILS, page=2)
    identities, (gap,) = seen_by(aws)
    assert len(identities) == 1000
    assert gap == Gap(scope=f"aws/{cloud.account}", reason=f"ServiceFailure: {DETAILS}", hides=EVERYTHING_OF_IT)


def test_denied_service_specific_credentials_are_a_gap_and_not_a_call_a_user(cloud: Cloud, aws: Aws) -> None:
    cloud.faults.deny("iam:ListServiceSpecificCredentials")
    identities, (gap,) = seen_by(aws)
    assert hiding_credentials([gap], identities["old"], "service_specific_credential") == gap
    assert hiding_credentials([gap], identities["old"], "access_key") is None
    assert not gap.covers(identities["old"].scope, Aspect.USE)
    assert gap.reason == "AccessDenied: iam:ListServiceSpecificCredentials"
    assert aws.api_calls["iam:ListServiceSpecificCredentials"] == 1


def test_a_user_whose_key_ids_are_denied_is_still_listed_with_its_keys(cloud: Cloud, aws: Aws) -> None:
    cloud.faults.deny("iam:ListAccessKeys", user="old")
    identities, (gap,) = seen_by(aws)
    assert gap == Gap(
        scope=identities["old"].scope, reason="AccessDenied: iam:ListAccessKeys", hides=frozenset({Aspect.CREDENTIALS})
    )
    (key,) = identities["old"].credentials
    assert (key.external_id, key.use_gap) == (None, None)


@pytest.mark.parametrize(
    ("action", "hides", "kinds"),
    [
        ("iam:ListAccessKeys", {Aspect.CREDENTIALS, Aspect.USE}, ["console_password"]),
        ("iam:GetLoginProfile", {Aspect.CREDENTIALS, Aspect.USE}, ["access_key"]),
        ("iam:GetAccessKeyLastUsed", {Aspect.USE}, ["access_key", "console_password"]),
        ("iam:GetUser", {Aspect.USE}, ["access_key", "console_password"]),
    ],
)
def test_a_young_user_that_cannot_be_read_is_a_gap_on_that_user(
    cloud: Cloud, aws: Aws, action: str, hides: set[Aspect], kinds: list[str]
) -> None:
    cloud.faults.deny(action)
    identities, gaps = seen_by(aws)
    (gap,) = (one for one in gaps if one.scope == identities["young"].scope)
    assert gap == Gap(scope=identities["young"].scope, reason=f"AccessDenied: {action}", hides=frozenset(hides))
    assert [one.kind for one in identities["young"].credentials] == kinds
    unknown = [one.use_gap for one in identities["young"].credentials if one.use_gap]
    assert unknown == ([gap.reason] if hides == {Aspect.USE} else [])


def test_an_account_that_cannot_be_named_is_one_gap_that_hides_all(cloud: Cloud, aws: Aws) -> None:
    cloud.faults.deny("sts:GetCallerIdentity", code="InvalidClientTokenId")
    assert aws.account == "ambient"
    assert seen_by(aws) == (
        {},
        [Gap(scope="aws/ambient", reason="InvalidClientTokenId: sts:GetCallerIdentity", hides=frozenset(Aspect))],
    )


def test_missing_credentials_are_a_gap(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    _, (gap,) = seen_by(connect(Source(endpoint=cloud.url)))
    assert gap.reason == "NoCredentialsError: sts:GetCallerIdentity"


def test_a_role_that_cannot_be_reached_is_named_by_its_arn() -> None:
    role_arn = "arn:aws:iam::444455556666:role/reader"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        aws = connect(Source(endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}", role_arn=role_arn))
        _, (gap,) = seen_by(aws)
    assert gap.scope == "aws/444455556666"
    assert gap.reason.startswith("EndpointConnectionError")


def test_an_endpoint_that_is_no_address_is_a_gap() -> None:
    _, (gap,) = seen_by(connect(Source(endpoint="nowhere")))
    assert gap.reason == "ValueError: sts:GetCallerIdentity"


@pytest.mark.parametrize(
    "body",
    [b"<html>no", b"", b"\x00\xff", b"<a/>"],
)
@pytest.mark.parametrize(
    "action",
    [
        DETAILS,
        "iam:GenerateCredentialReport",
        "iam:GetCredentialReport",
        "iam:ListServiceSpecificCredentials",
        "iam:ListAccessKeys",
        "iam:GetAccessKeyLastUsed",
        "iam:GetLoginProfile",
        "iam:GetUser",
        "sts:GetCallerIdentity",
    ],
)
def test_garbage_in_place_of_an_answer_is_a_gap(
    cloud: Cloud, aws: Aws, action: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nhi.providers.aws.scan._POLLS", (0.0, 0.01))  # a report that never comes is not waited for
    cloud.faults.garble(action, body)
    _, gaps = seen_by(aws)
    assert any(action in gap.reason for gap in gaps)


@pytest.mark.parametrize(
    "wrong",
    [
        "<UserDetailList><member><UserName>x</UserName></member></UserDetailList>",
        "<RoleDetailList><member><RoleName>x</RoleName><CreateDate>soon</CreateDate></member></RoleDetailList>",
        "",
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>true</IsTruncated><Marker>again</Marker>",
    ],
)
def test_a_page_of_the_right_shape_with_wrong_values_is_a_gap(cloud: Cloud, aws: Aws, wrong: str) -> None:
    operation = DETAILS.removeprefix("iam:")
    cloud.faults.garble(
        DETAILS, f"<{operation}Response><{operation}Result>{wrong}</{operation}Result></{operation}Response>".encode()
    )
    _, (gap,) = seen_by(aws)
    assert (gap.scope, gap.hides) == (f"aws/{cloud.account}", EVERYTHING_OF_IT)


@pytest.mark.parametrize("content", [b"", b"no header at all", b"user\n\xff\xfe", b"user,arn\n,x"])
def test_a_report_that_is_none_is_a_gap(cloud: Cloud, aws: Aws, content: bytes) -> None:
    cloud.set_report(content)
    identities, gaps = seen_by(aws)
    (gap,) = (one for one in gaps if one.scope == f"aws/{cloud.account}/iam_user")
    assert "iam:GetCredentialReport" in gap.reason
    assert identities["old"].use_gap == gap.reason


def test_a_report_that_never_comes_is_a_gap(cloud: Cloud, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nhi.providers.aws.scan._POLLS", (0.0, 0.01))
    cloud.faults.report_polls = 99
    cloud.forget_report()
    _, gaps = seen_by(aws)
    assert "ReportInProgress: iam:GenerateCredentialReport" in {gap.reason for gap in gaps}


@pytest.mark.parametrize("code", ["ExpiredToken", "Throttling", "RequestExpired", "SignatureDoesNotMatch", "Surprise"])
def test_a_refusal_with_any_code_is_a_gap_with_that_code(cloud: Cloud, aws: Aws, code: str) -> None:
    cloud.faults.deny("iam:ListAccessKeys", user="old", code=code)
    _, (gap,) = seen_by(aws)
    assert gap.reason == f"{code}: iam:ListAccessKeys"


def test_a_server_that_errs_once_is_asked_again_and_leaves_no_gap(cloud: Cloud, aws: Aws) -> None:
    cloud.faults.fail("*", times=1)
    assert seen_by(aws)[1] == []


def test_throttling_slows_a_scan_and_loses_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    for number in range(40):
        cloud.add_user(f"user-{number}", created_at=LONG_AGO)
        cloud.add_access_key(f"user-{number}", created_at=LONG_AGO)
    cloud.take_report()
    cloud.faults.throttle = 20
    aws = connect(Source(endpoint=cloud.url))
    identities, gaps = seen_by(aws)
    assert gaps == []
    assert all(key.external_id for one in identities.values() for key in one.credentials if key.kind == "access_key")
    assert sum(aws.api_calls.values()) > 46, "the cloud did throttle"


def test_the_limit_on_calls_a_second_is_kept(cloud: Cloud) -> None:
    aws = connect(Source(endpoint=cloud.url, calls_a_second=4))
    cloud.faults.throttle = 5  # a bucket as large as a second's worth: what keeps the limit is never throttled
    _, gaps = seen_by(aws)
    assert gaps == []
    assert sum(aws.api_calls.values()) == 13


@pytest.fixture(scope="module")
def storm() -> Iterator[str]:
    """microburst, an independent fault injector that knows AWS's protocols, between the scanner and a cloud."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Cloud(now=lambda: NOW) as cloud:
        fill(cloud)
        command = [sys.executable, "-m", "microburst", "--upstream", cloud.url, "--port", str(port), "--no-resign"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield f"http://127.0.0.1:{port}"
            process.kill()


def rage(storm: str, *rules: dict[str, Any]) -> None:
    body = json.dumps(rules).encode()
    headers = {"Content-Type": "application/json"}
    for attempt in range(100):
        request = urllib.request.Request(f"{storm}/_microburst/rules", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (ConnectionError, urllib.error.URLError):
            if attempt == 99:
                raise
            time.sleep(0.05)


def test_a_storm_of_throttling_and_broken_connections_loses_nothing(
    storm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    throttled = {"code": "Throttling"}
    rage(
        storm,
        {"service": "iam", "operation": "ListAccessKeys", "rate": {"count": 2, "window_s": 60}, "error": throttled},
        {"service": "iam", "rate": {"count": 2, "window_s": 60}, "error": {"code": "ServiceFailure", "status": 500}},
    )
    aws = connect(Source(endpoint=storm))
    identities, gaps = seen_by(aws)
    assert (set(identities), gaps) == ({"old", "young", "lambda"}, [])
    assert sum(aws.api_calls.values()) > 10


def test_a_denial_as_another_tool_words_it_is_a_gap(storm: str) -> None:
    rage(storm, {"service": "iam", "operation": "ListAccessKeys", "error": {"code": "AccessDenied", "status": 403}})
    _, gaps = seen_by(connect(Source(endpoint=storm)))
    assert {gap.reason for gap in gaps} == {"AccessDenied: iam:ListAccessKeys"}
