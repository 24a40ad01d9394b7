"""What a scan of an AWS account sees, and what it costs. Over HTTP, with boto3 itself, against demo/cloud.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.cloud import ADMINISTRATOR, Cloud
from nhi import words
from nhi.identity import Aspect, Credential, CredentialStatus, Custody, Gap, Identity
from nhi.policy import Source
from nhi.providers import Disables, Memory, Progress, TellsCreators
from nhi.providers.aws import Aws, connect

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
MARCH = datetime(2026, 3, 3, 12, tzinfo=UTC)
SINGLE_READS = ("iam:ListAccessKeys", "iam:GetAccessKeyLastUsed", "iam:GetLoginProfile", "iam:GetUser")


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def aws(cloud: Cloud) -> Aws:
    return connect(Source(endpoint=cloud.url))


def everything(_: Identity, __: Credential) -> bool:
    return True


def nothing(_: Identity, __: Credential) -> bool:
    return False


def seen_by(
    aws: Aws,
    *,
    matters: Callable[[Identity, Credential], bool] = nothing,
    ids: Mapping[tuple[str, str], str] | None = None,
) -> tuple[dict[str, Identity], list[Gap]]:
    """Scan, and return identities by name, and the gaps."""
    found = list(aws.scan(memory=Memory(credential_ids=ids or {}), matters=matters, now=NOW))
    return {one.name: one for one in found if isinstance(one, Identity)}, [one for one in found if isinstance(one, Gap)]


def ids_of(identities: Mapping[str, Identity]) -> dict[tuple[str, str], str]:
    return {
        (one.key, key.key): key.external_id for one in identities.values() for key in one.credentials if key.external_id
    }


def key_of(identity: Identity) -> Credential:
    (key,) = (one for one in identity.credentials if one.kind == "access_key")
    return key


def test_a_provider_tells_creators_and_disables_what_it_can_turn_on_again(aws: Aws) -> None:
    assert isinstance(aws, TellsCreators)
    assert isinstance(aws, Disables)
    assert aws.disables("access_key")
    assert not aws.disables("signing_certificate")


def test_a_user_is_seen_with_its_key_tags_and_last_use(cloud: Cloud, aws: Aws) -> None:
    user_id = cloud.add_user("ci-deploy", tags={"owner": "ana@example.com"}, created_at=LONG_AGO)
    cloud.add_access_key("ci-deploy", created_at=LONG_AGO, last_used_at=MARCH, service="ecr", region="eu-central-1")
    identities, gaps = seen_by(aws)
    user = identities["ci-deploy"]
    assert (user.kind, user.key, user.account, user.custody) == ("iam_user", user_id, cloud.account, Custody.OURS)
    assert user.principal == f"arn:aws:iam::{cloud.account}:user/ci-deploy"
    assert user.tags == {"owner": "ana@example.com"}
    assert user.created_at == LONG_AGO
    key = key_of(user)
    assert (key.key, key.last_used_at) == (f"access_key/{LONG_AGO:%Y-%m-%dT%H:%M:%SZ}", MARCH)
    assert (key.last_used_service, key.last_used_region, key.use_gap) == ("ecr", "eu-central-1", None)
    assert key.coverage.seen_until == NOW
    assert gaps == []


def test_a_key_that_was_never_used_has_no_last_use_and_no_gap(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("idle", created_at=LONG_AGO)
    cloud.add_access_key("idle", created_at=LONG_AGO)
    identities, gaps = seen_by(aws)
    assert (key_of(identities["idle"]).last_used_at, key_of(identities["idle"]).use_gap, gaps) == (None, None, [])


def test_an_inactive_key_is_listed_as_inactive(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("off", created_at=LONG_AGO)
    cloud.add_access_key("off", created_at=LONG_AGO, active=False)
    assert key_of(seen_by(aws)[0]["off"]).status is CredentialStatus.INACTIVE


def test_a_console_user_with_mfa_is_listed_with_its_password(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("zoe", created_at=LONG_AGO)
    cloud.add_password("zoe", changed_at=MARCH, last_used_at=NOW - timedelta(days=2), mfa=True)
    (password,) = seen_by(aws)[0]["zoe"].credentials
    assert (password.kind, password.key) == ("console_password", "password")
    assert (password.rotated_at, password.last_used_at) == (MARCH, NOW - timedelta(days=2))


def test_a_service_specific_credential_is_listed_and_its_use_is_not_claimed(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("git", created_at=LONG_AGO)
    one = cloud.add_service_credential("git", created_at=MARCH)
    (credential,) = seen_by(aws)[0]["git"].credentials
    assert (credential.kind, credential.external_id) == ("service_specific_credential", one)
    assert credential.created_at == MARCH
    assert credential.use_gap is not None


def test_a_role_is_in_nobodys_custody_and_tells_when_it_was_assumed(cloud: Cloud, aws: Aws) -> None:
    cloud.add_role("lambda", created_at=LONG_AGO, last_used_at=MARCH, tags={"team": "data"})
    cloud.add_role("forgotten", created_at=LONG_AGO)
    roles, gaps = seen_by(aws)
    assert (roles["lambda"].custody, roles["lambda"].last_used_at) == (Custody.NOBODY, MARCH)
    assert roles["lambda"].tags == {"team": "data"}
    assert (roles["forgotten"].last_used_at, roles["forgotten"].use_gap, gaps) == (None, None, [])
    assert roles["forgotten"].coverage.seen_from == NOW - timedelta(days=400)


def test_a_role_that_a_service_made_is_service_linked(cloud: Cloud, aws: Aws) -> None:
    cloud.add_role("AWSServiceRoleForECS", service="ecs.amazonaws.com")
    cloud.add_role("ours", path="/service/")
    roles, _ = seen_by(aws)
    assert roles["AWSServiceRoleForECS"].service_linked
    assert not roles["ours"].service_linked


@pytest.mark.parametrize(
    ("document", "privileged"),
    [
        ('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}', True),
        ('{"Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "IAM:*"], "Resource": ["*"]}]}', True),
        ('{"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}', False),
        ('{"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}', False),
        ('{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::one/*"}]}', False),
        ('{"Statement": [7, null]}', False),
        ("not JSON", False),
    ],
)
def test_an_inline_policy_that_allows_everything_makes_a_user_privileged(
    cloud: Cloud, aws: Aws, document: str, privileged: bool
) -> None:
    cloud.add_user("one", created_at=LONG_AGO)
    cloud.iam.get_user("one").put_policy("inline", document)
    user = seen_by(aws)[0]["one"]
    assert (user.privileged, user.policies) == (privileged, ("inline",))


def test_a_group_or_an_attached_policy_makes_an_administrator(cloud: Cloud, aws: Aws) -> None:
    for name in ("attached", "grouped", "plain"):
        cloud.add_user(name, created_at=LONG_AGO)
    cloud.attach(ADMINISTRATOR, user="attached")
    cloud.add_group("admins", ["grouped"])
    cloud.attach(ADMINISTRATOR, group="admins")
    cloud.add_role("ops")
    local = cloud.iam.create_policy(
        "",
        "/",
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}',
        "all",
        [],
    )
    cloud.attach(local.arn, role="ops")
    seen, _ = seen_by(aws)
    assert {name for name, one in seen.items() if one.privileged} == {"attached", "grouped", "ops"}
    assert seen["grouped"].policies == ("admins/AdministratorAccess",)


def test_root_is_out_of_scope(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("one", created_at=LONG_AGO)
    assert set(seen_by(aws)[0]) == {"one"}


def test_an_empty_account_is_complete(aws: Aws) -> None:
    assert seen_by(aws) == ({}, [])


def test_more_than_a_page_of_users_and_roles_is_seen_whole(cloud: Cloud, aws: Aws) -> None:
    for number in range(700):
        cloud.add_user(f"user-{number}", created_at=LONG_AGO)
        cloud.add_role(f"role-{number}")
    identities, gaps = seen_by(aws)
    assert (len(identities), gaps) == (1400, [])
    assert aws.api_calls["iam:GetAccountAuthorizationDetails"] == 2


def test_progress_is_told_by_the_page_and_by_the_user(cloud: Cloud, aws: Aws) -> None:
    for number in range(3):
        cloud.add_user(f"user-{number}", created_at=LONG_AGO)
        cloud.add_access_key(f"user-{number}", created_at=LONG_AGO)
    told = [
        one
        for one in aws.scan(memory=Memory(credential_ids={}), matters=everything, now=NOW)
        if isinstance(one, Progress)
    ]
    assert told[0] == Progress(what="users and roles", done=3, total=None)
    assert told[-1] == Progress(what="access keys", done=3, total=3)


def test_a_scan_that_nobody_reads_to_the_end_stops(cloud: Cloud, aws: Aws) -> None:
    for number in range(60):
        cloud.add_user(f"user-{number}", created_at=LONG_AGO)
        cloud.add_access_key(f"user-{number}", created_at=LONG_AGO)
    scan = aws.scan(memory=Memory(credential_ids={}), matters=everything, now=NOW)
    next(one for one in scan if isinstance(one, Identity))
    scan.close()  # type: ignore[attr-defined]
    assert aws.api_calls["iam:ListAccessKeys"] < 60


# What a scan costs


def test_only_users_with_a_key_that_matters_cost_a_call(cloud: Cloud, aws: Aws) -> None:
    for number in range(20):
        cloud.add_user(f"user-{number}", created_at=LONG_AGO)
        cloud.add_access_key(f"user-{number}", created_at=LONG_AGO, last_used_at=MARCH if number < 3 else NOW)
    identities, _ = seen_by(aws, matters=lambda _, key: key.last_used_at == MARCH)
    assert aws.api_calls["iam:ListAccessKeys"] == 3
    assert sum(aws.api_calls.values()) <= 1.1 * (10 + 3)
    assert sum(key_of(one).external_id is not None for one in identities.values()) == 3


def test_a_second_scan_asks_for_no_id_again(cloud: Cloud, aws: Aws) -> None:
    for number in range(20):
        cloud.add_user(f"user-{number}", created_at=LONG_AGO)
        cloud.add_access_key(f"user-{number}", created_at=LONG_AGO)
    first, _ = seen_by(aws, matters=everything)
    again = connect(Source(endpoint=cloud.url))
    second, _ = seen_by(again, matters=everything, ids=ids_of(first))
    assert second == first
    assert sum(again.api_calls.values()) <= 14
    assert "iam:ListAccessKeys" not in again.api_calls


def test_an_id_stands_beside_the_facts_of_its_own_key(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("two", created_at=LONG_AGO)
    used = cloud.add_access_key("two", created_at=LONG_AGO, last_used_at=NOW)
    idle = cloud.add_access_key("two", created_at=LONG_AGO + timedelta(days=1))
    keys = seen_by(aws, matters=everything)[0]["two"].credentials
    assert {key.external_id: key.last_used_at for key in keys} == {used: NOW, idle: None}


@pytest.mark.parametrize("reversed_list", [False, True])
@pytest.mark.parametrize("told_by", ["use", "status", "nothing"])
def test_two_keys_of_one_second_are_not_mixed_up(cloud: Cloud, aws: Aws, told_by: str, reversed_list: bool) -> None:
    cloud.add_user("twins", created_at=LONG_AGO)
    used = cloud.add_access_key("twins", created_at=LONG_AGO, last_used_at=NOW if told_by == "use" else None)
    other = cloud.add_access_key("twins", created_at=LONG_AGO, active=told_by != "status")
    cloud.take_report()
    if reversed_list:
        cloud.iam.get_user("twins").access_keys.reverse()
    first, _ = seen_by(aws, matters=everything)
    keys = {key.external_id: key for key in first["twins"].credentials}
    stamp = f"access_key/{LONG_AGO:%Y-%m-%dT%H:%M:%SZ}"
    assert {key.key for key in keys.values()} == {f"{stamp}/1", f"{stamp}/2"}
    assert keys[used].last_used_at == (NOW if told_by == "use" else None)
    assert keys[other].status is (CredentialStatus.INACTIVE if told_by == "status" else CredentialStatus.ACTIVE)
    assert seen_by(aws, matters=everything, ids=ids_of(first))[0] == first


def test_when_one_of_two_twins_is_deleted_the_other_is_asked_for_anew(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("twins", created_at=LONG_AGO)
    first_key = cloud.add_access_key("twins", created_at=LONG_AGO)
    second_key = cloud.add_access_key("twins", created_at=LONG_AGO)
    first, _ = seen_by(aws, matters=everything)
    cloud.delete_key("twins", first_key)
    cloud.take_report()
    second, _ = seen_by(aws, matters=everything, ids=ids_of(first))
    assert key_of(second["twins"]).external_id == second_key


# In another language


@pytest.fixture
def spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another language is the usual one, in every thread; it has two sentences so far."""
    words.environment()  # English stays where it is
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "clouds.mrkdwn.j2").write_text(
        "{% block aws_sees_key %}IAM sieht jede Anfrage.{% endblock %}"
        "{% block aws_no_service_credential_use %}AWS sagt es nicht{% endblock %}"
    )
    (tmp_path / "en").symlink_to(words.TEMPLATES / "en")
    monkeypatch.setattr(words, "TEMPLATES", tmp_path)
    words.speak_usually("scan")
    yield
    words.speak_usually(words.LANGUAGE)


@pytest.mark.usefixtures("spoken")
def test_what_is_seen_and_what_is_not_is_said_in_policys_language_also_of_what_threads_read(
    cloud: Cloud, aws: Aws
) -> None:
    cloud.take_report()
    cloud.add_user("young")
    cloud.add_access_key("young", last_used_at=NOW)
    cloud.add_service_credential("young", created_at=NOW)
    cloud.add_role("lambda", created_at=LONG_AGO)
    identities, _ = seen_by(aws)
    key, service = identities["young"].credentials
    assert (key.coverage.says, service.use_gap) == ("IAM sieht jede Anfrage.", "AWS sagt es nicht")
    assert identities["lambda"].coverage.says.startswith("IAM remembers"), "what it lacks is said in English"


# A report is up to four hours old


def test_a_user_younger_than_the_report_is_read_singly(cloud: Cloud, aws: Aws) -> None:
    cloud.take_report()
    cloud.add_user("young")
    key_id = cloud.add_access_key("young", last_used_at=NOW, service="sts")
    cloud.add_password("young", last_used_at=NOW)
    identities, gaps = seen_by(aws)
    key, password = identities["young"].credentials
    assert (key.external_id, key.last_used_at, key.last_used_service) == (key_id, NOW, "sts")
    assert password.kind == "console_password"
    assert gaps == []


def test_a_young_user_without_a_password_has_none(cloud: Cloud, aws: Aws) -> None:
    cloud.take_report()
    cloud.add_user("young")
    identities, gaps = seen_by(aws)
    assert (identities["young"].credentials, gaps) == ((), [])


def test_a_key_is_the_same_whether_read_singly_or_from_the_report(cloud: Cloud, aws: Aws) -> None:
    cloud.take_report()
    cloud.add_user("young")
    cloud.add_access_key("young", created_at=NOW)
    cloud.add_access_key("young", created_at=NOW)
    singly, _ = seen_by(aws)
    cloud.take_report()
    reported, _ = seen_by(aws)
    assert [key.key for key in singly["young"].credentials] == [key.key for key in reported["young"].credentials]


def test_a_user_deleted_since_the_report_is_not_listed(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("gone", created_at=LONG_AGO)
    cloud.take_report()
    cloud.delete_user("gone")
    assert seen_by(aws) == ({}, [])


def test_a_namesake_of_a_deleted_user_does_not_inherit_its_keys(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("reborn", created_at=LONG_AGO)
    cloud.add_access_key("reborn", created_at=LONG_AGO)
    cloud.take_report()
    cloud.delete_user("reborn")
    cloud.add_user("reborn")
    assert seen_by(aws)[0]["reborn"].credentials == ()


def test_what_changed_since_the_report_is_seen_where_a_key_matters(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("busy", created_at=LONG_AGO)
    deleted = cloud.add_access_key("busy", created_at=LONG_AGO)
    kept = cloud.add_access_key("busy", created_at=MARCH)
    cloud.take_report()
    cloud.delete_key("busy", deleted)
    fresh = cloud.add_access_key("busy", last_used_at=NOW)
    cloud.iam.get_user("busy").update_access_key(kept, "Inactive")
    keys = {key.external_id: key for key in seen_by(aws, matters=everything)[0]["busy"].credentials}
    assert set(keys) == {kept, fresh}
    assert keys[kept].status is CredentialStatus.INACTIVE
    assert keys[fresh].last_used_at == NOW


def test_a_report_in_the_making_is_waited_for_with_few_calls(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("one", created_at=LONG_AGO)
    cloud.add_access_key("one", created_at=LONG_AGO)
    cloud.faults.report_polls = 3
    identities, gaps = seen_by(aws)
    assert (len(identities["one"].credentials), gaps) == (1, [])
    assert aws.api_calls["iam:GenerateCredentialReport"] == 4
    assert aws.api_calls["iam:GetCredentialReport"] == 1


# Names and tags are anybody's text


def test_hostile_names_and_tags_pass_through_unharmed(cloud: Cloud, aws: Aws) -> None:
    name = "a,b=c+d@e.com-_."
    tags = {"owner": "<script>&amp;\"';--\u202e", "note": "line\nline", "ключ": "значение 🗝"}
    cloud.add_user(name, tags=tags, created_at=LONG_AGO, path="/x/y/")
    cloud.add_access_key(name, created_at=LONG_AGO)
    identities, gaps = seen_by(aws, matters=everything)
    assert identities[name].tags == tags
    assert key_of(identities[name]).external_id is not None
    assert gaps == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("access_key_1_last_rotated", "yesterday"),
        ("access_key_1_active", "maybe"),
        ("access_key_1_last_used_date", "2026-13-45T00:00:00+00:00"),
        ("user_creation_time", "N/A"),
        ("password_enabled", ""),
    ],
)
def test_a_row_that_cannot_be_read_is_a_gap_on_that_user_alone(cloud: Cloud, aws: Aws, column: str, value: str) -> None:
    row = {
        "user": "bad",
        "user_creation_time": f"{LONG_AGO.isoformat()}",
        "password_enabled": "false",
        "access_key_1_active": "true",
        "access_key_1_last_rotated": LONG_AGO.isoformat(),
        "access_key_1_last_used_date": "N/A",
        "access_key_1_last_used_region": "N/A",
        "access_key_1_last_used_service": "N/A",
        "access_key_2_active": "false",
        "access_key_2_last_rotated": "N/A",
    }
    good, bad = {**row, "user": "good"}, {**row, column: value}
    lines = (",".join(one.values()) for one in (bad, good))
    for name in ("bad", "good"):
        cloud.add_user(name, created_at=LONG_AGO)
    cloud.set_report("\n".join([",".join(row), *lines]).encode())
    identities, (gap,) = seen_by(aws)
    assert gap.scope == identities["bad"].scope
    assert gap.hides == {Aspect.CREDENTIALS, Aspect.USE}
    assert identities["bad"].use_gap is not None
    assert len(identities["good"].credentials) == 1


def test_two_clouds_in_one_process_do_not_see_each_other(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("here", created_at=LONG_AGO)
    with Cloud(now=lambda: NOW) as other:
        other.add_user("there", created_at=LONG_AGO)
        assert set(seen_by(aws)[0]) == {"here"}
        assert set(seen_by(connect(Source(endpoint=other.url)))[0]) == {"there"}


# What it may do


def test_a_scan_makes_only_declared_calls_and_writes_nothing(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("old", created_at=LONG_AGO)
    cloud.add_access_key("old", created_at=LONG_AGO)
    cloud.take_report()
    cloud.add_user("young")
    cloud.add_access_key("young")
    cloud.add_password("young")
    cloud.attach("arn:aws:iam::aws:policy/ReadOnlyAccess", user="young")
    cloud.iam.create_open_id_connect_provider("https://idp.example", ["a" * 40], [], [])
    identities, _ = seen_by(aws, matters=everything)
    list(aws.creators([*identities.values()], now=NOW))
    list(aws.exercises([*identities.values()], now=NOW))
    list(aws.counts())
    list(aws.powers())
    declared = {permission.action for permission in aws.permissions if not permission.writes}
    asked = {one.action for one in cloud.requests}
    assert asked == declared
    assert asked == set(aws.api_calls)


def test_the_number_of_calls_told_is_the_number_made(cloud: Cloud, aws: Aws) -> None:
    cloud.add_user("one", created_at=LONG_AGO)
    cloud.faults.fail("iam:GetAccountAuthorizationDetails", times=2)
    _, gaps = seen_by(aws)
    assert gaps == []
    assert aws.api_calls["iam:GetAccountAuthorizationDetails"] == 3
    assert sum(aws.api_calls.values()) == len(cloud.requests)


# Where it looks


def test_the_ambient_endpoint_and_account_are_used(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    assert connect(Source()).account == cloud.account


def test_a_role_is_assumed_with_its_external_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with Cloud(now=lambda: NOW, external_id="secret-handshake") as guarded:
        guarded.add_user("one", created_at=LONG_AGO)
        arn = f"arn:aws:iam::{guarded.account}:role/nhi-reader"
        aws = connect(Source(endpoint=guarded.url, role_arn=arn, external_id="secret-handshake"))
        identities, gaps = seen_by(aws)
        assert (set(identities), gaps) == ({"one"}, [])
        assert aws.api_calls["sts:AssumeRole"] == 1
        assert all(one.access_key.startswith("ASIA") for one in guarded.requests if one.action.startswith("iam:"))

        refused = connect(Source(endpoint=guarded.url, role_arn=arn, external_id="wrong"))
        assert refused.account == guarded.account
        _, (gap,) = seen_by(refused)
        assert gap == Gap(
            scope=f"aws/{guarded.account}", reason="AccessDenied: sts:AssumeRole", hides=frozenset(Aspect)
        )
