"""Each way to a trail tells the same uses, reads no file twice, and says what it could not read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from demo.cloud import Cloud
from nhi.activity import Use
from nhi.identity import Aspect, Custody, Gap, Identity
from nhi.policy import Source
from nhi.policy_activity import Activity
from nhi.providers import Batch, Reading
from nhi.providers.aws import Aws, lake, trail_files
from nhi.providers.aws.calls import CannotSee
from nhi.providers.aws.cloudtrail import records, use_of
from nhi.providers.gcp import Gcp
from nhi.providers.gcp import calls as gcp_calls
from tests.gcp_fake import ORGANIZATION, Account, Google
from tests.jobs_world import use_stand_in_aws

Json = dict[str, Any]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WHO: Json = {"type": "IAMUser", "principalId": "AIDA1", "userName": "ci", "accessKeyId": "AKIAEXAMPLE000000001"}
LIMITS = Activity(history=timedelta(days=3))


def event(number: int, at: datetime = NOW, **changes: Any) -> Json:
    told = {
        "eventID": f"event-{number}",
        "userIdentity": WHO,
        "eventTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": "s3.amazonaws.com",
        "eventName": "ListBuckets",
        "sourceIPAddress": "198.51.100.7",
        "userAgent": "Boto3/1.40 os/linux",
    }
    return told | changes


def file_of(*events: Json) -> bytes:
    return gzip.compress(json.dumps({"Records": list(events)}).encode())


def name_of(day: datetime, number: int = 1, region: str = "eu-west-1") -> str:
    folder = f"AWSLogs/o-1/111122223333/CloudTrail/{region}/{day:%Y/%m/%d}"
    return f"{folder}/111122223333_CloudTrail_{region}_{day:%Y%m%dT%H%MZ}_{number:016d}.json.gz"


class Read:
    """What readings yielded, and where each goes on."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.gaps: list[Gap] = []
        self.positions: dict[str, Mapping[str, str]] = {}
        self.files: list[str] = []

    def once(self, found: Iterator[Batch | Gap]) -> list[str]:
        """Take everything of one reading; return the ids of its events."""
        before = len(self.uses)
        self.gaps = []
        for one in found:
            if isinstance(one, Gap):
                self.gaps.append(one)
            else:
                self.uses += one.uses
                self.positions[one.place] = one.position
                self.files += one.files
        return sorted(use.id for use in self.uses[before:])

    @property
    def going(self) -> Reading:
        return Reading(positions=self.positions, is_read=lambda name: name in self.files, ends=lambda: False)


# -- events ------------------------------------------------------------------------------------------------------------


def test_a_session_is_told_by_its_role_and_a_key_by_its_id() -> None:
    issuer = {"type": "Role", "principalId": "AROA1", "userName": "deploy"}
    role = {"type": "AssumedRole", "principalId": "AROA1:job", "accessKeyId": "ASIA1"}
    session = use_of(event(1, userIdentity=role | {"sessionContext": {"sessionIssuer": issuer}}))
    reached = [{"accountId": "111122223333"}, {"accountId": "444455556666", "ARN": "arn:aws:iam::444455556666:role/x"}]
    user = use_of(
        event(2, errorCode="AccessDenied", userIdentity=WHO | {"accountId": "111122223333"}, resources=reached)
    )
    assert session is not None
    assert session.elsewhere is None
    assert (session.who, session.credential, session.denied) == ("AROA1", None, False)
    assert user is not None
    assert (user.who, user.credential, user.denied, user.action) == (
        "AIDA1",
        WHO["accessKeyId"],
        True,
        "s3:ListBuckets",
    )
    assert user.elsewhere == "444455556666"
    assert (user.network, user.address, user.agent) == ("198.51.100.0/24", "198.51.100.7", "Boto3 on linux")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"userIdentity": None},
        event(1, userIdentity={"type": "Root", "principalId": "1"}),
        event(1, userIdentity={"type": "AWSService", "invokedBy": "ecs.amazonaws.com"}),
        event(1, userIdentity={"type": "AssumedRole", "principalId": "AROA1:x"}),
        event(1, eventTime="yesterday"),
        event(1, eventSource=7),
        event(1, sourceIPAddress=["1.2.3.4"]),
    ],
)
def test_what_is_nobodys_or_in_no_known_shape_tells_of_nothing(told: Json) -> None:
    assert use_of(told) is None


def test_records_are_read_one_by_one_and_a_cut_file_is_an_error() -> None:
    text = json.dumps({"Records": [event(1), event(2)]}, indent=1)
    assert [one["eventID"] for one in records(text)] == ["event-1", "event-2"]
    for cut in ('{"Records"', text[:200], text.replace("]", ""), "{}"):
        with pytest.raises(ValueError, match=r".+"):
            list(records(cut))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, back in enumerate((0, 0, 1, 2, 9)):
        path = tmp_path / name_of(NOW - timedelta(days=back, minutes=5 * number), number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(event(number, NOW - timedelta(days=back))))
    return tmp_path


def test_today_is_read_first_then_the_days_before_and_each_file_once(folder: Path) -> None:
    read, store = Read(), trail_files.Folder(folder)
    assert read.once(trail_files.read(store, read.going, LIMITS, NOW)) == [f"event-{n}" for n in range(4)]
    assert [use.id for use in read.uses][:2] == ["event-0", "event-1"] or [use.id for use in read.uses][1] == "event-0"
    late = folder / name_of(NOW, 77)
    late.write_bytes(file_of(event(77)))
    assert read.once(trail_files.read(store, read.going, LIMITS, NOW)) == ["event-77"]
    assert read.once(trail_files.read(store, read.going, LIMITS, NOW)) == []
    tomorrow = NOW + timedelta(days=1)
    (folder / name_of(tomorrow)).parent.mkdir()
    (folder / name_of(tomorrow)).write_bytes(file_of(event(78, tomorrow)))
    assert read.once(trail_files.read(store, read.going, LIMITS, tomorrow)) == ["event-78"]
    assert not read.gaps


def test_a_broken_file_is_a_gap_and_stops_no_other(folder: Path) -> None:
    (folder / name_of(NOW, 50)).write_bytes(file_of(event(50))[:-30])
    (folder / name_of(NOW, 51)).write_bytes(b"\x1f\x8bgarbage")
    (folder / name_of(NOW, 52)).write_bytes(file_of(event(52)))
    read = Read()
    assert "event-52" in read.once(trail_files.read(trail_files.Folder(folder), read.going, LIMITS, NOW))
    assert [gap.reason.partition(":")[0] for gap in read.gaps] == ["Unreadable", "Unreadable"]
    assert {gap.hides for gap in read.gaps} == {frozenset({Aspect.ACTIVITY})}


class Flaky(trail_files.Folder):
    """A folder of which some days cannot be read, and that ends a reading after so many files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.faults: dict[str, CannotSee] = {}  # by day: "2026/11/23"
        self.left = 1000

    def read(self, name: str) -> Iterator[bytes]:
        for day, fault in self.faults.items():
            if day in name:
                raise fault
        self.left -= 1
        return super().read(name)


def test_what_could_not_be_read_is_tried_again_and_a_gap_until_then(tmp_path: Path) -> None:
    def write(day: datetime, *numbers: int) -> None:
        for number in numbers:
            path = tmp_path / name_of(day, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file_of(event(number, day)))

    def once(now: datetime) -> list[str]:
        store.left = 1000
        return read.once(trail_files.read(store, read.going, LIMITS, now))

    days = [NOW - timedelta(days=back) for back in range(4)]
    for number, day in enumerate(days):
        write(day, 2 * number, 2 * number + 1)
    read, store = Read(), Flaky(tmp_path)
    store.faults = {f"{days[2]:%Y/%m/%d}": CannotSee("SlowDown", "s3:GetObject", passing=True)}
    assert once(NOW) == ["event-0", "event-1", "event-2", "event-3", "event-6", "event-7"]
    assert [gap.reason.partition(":")[0] for gap in read.gaps] == ["SlowDown"]
    store.faults = {}
    assert once(NOW + timedelta(minutes=15)) == ["event-4", "event-5"]
    later = [NOW + timedelta(days=ahead) for ahead in (1, 2)]
    for number, day in enumerate(later):
        write(day, 10 + number)
        store.faults[f"{day:%Y/%m/%d}"] = CannotSee("AccessDenied", "kms:Decrypt", passing=False)
        assert once(day) == []
        assert read.gaps
    store.faults = {}
    assert once(later[1] + timedelta(minutes=15)) == ["event-10", "event-11"]
    assert once(later[1] + timedelta(minutes=30)) == []
    assert not read.gaps


def test_a_day_of_the_past_goes_on_where_its_reading_ended_and_is_not_kept_file_by_file(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / name_of(NOW - timedelta(days=number % 4), number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(event(number)))
    read, store, told = Read(), Flaky(tmp_path), list[str]()
    while len(told) < 12:
        store.left = 2
        going = Reading(positions=read.positions, is_read=lambda name: name in read.files, ends=lambda: store.left <= 0)
        found = read.once(trail_files.read(store, going, LIMITS, NOW))
        assert found
        told += found
    assert sorted(told) == sorted(f"event-{number}" for number in range(12))
    assert len(read.files) == 3  # of today


def test_a_file_that_unpacks_to_more_than_there_is_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_files, "LARGEST", 100_000)
    with pytest.raises(ValueError, match="larger than"):
        trail_files.unpacked(iter([gzip.compress(bytes(10_000_000))]))


def test_a_folder_without_log_files_is_a_gap(tmp_path: Path) -> None:
    read = Read()
    read.once(trail_files.read(trail_files.Folder(tmp_path), read.going, LIMITS, NOW))
    assert [gap.reason for gap in read.gaps] == [f"NoLogFiles: AWSLogs/*/CloudTrail/* (file:{tmp_path})"]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    use_stand_in_aws(monkeypatch)
    with Cloud(now=lambda: NOW) as opened:
        yield opened


def test_a_bucket_is_read_like_a_folder_and_a_refusal_is_a_gap(cloud: Cloud) -> None:
    s3 = boto3.client("s3", endpoint_url=cloud.url)
    s3.create_bucket(Bucket="trail")
    for number, back in enumerate((0, 1, 9)):
        at = NOW - timedelta(days=back)
        s3.put_object(Bucket="trail", Key=f"logs/{name_of(at, number)}", Body=file_of(event(number, at)))
    read, aws = Read(), Aws(Source(endpoint=cloud.url, activity="s3://trail/logs"))
    assert read.once(aws.activity((), read.going, LIMITS, now=NOW)) == ["event-0", "event-1"]
    assert read.once(aws.activity((), read.going, LIMITS, now=NOW)) == []
    assert not read.gaps
    gone = Aws(Source(endpoint=cloud.url, activity="s3://no-such-trail"))
    assert read.once(gone.activity((), read.going, LIMITS, now=NOW)) == []
    assert [gap.reason for gap in read.gaps] == ["NoSuchBucket: s3:ListObjectsV2 (s3://no-such-trail)"]
    s3.close()


def test_an_allowance_that_is_used_up_is_a_gap_until_what_it_did_not_reach_is_read_too(cloud: Cloud) -> None:
    cloud.add_user("ci")
    for number in range(180):
        cloud.add_use("s3:ListBuckets", user="ci", at=NOW - timedelta(minutes=number), event_id=f"e{number}")
    read, aws = Read(), Aws(Source(endpoint=cloud.url, trail_calls_a_second=50))
    limits = Activity(lookups_an_hour=8, history=timedelta(days=1))  # two calls a reading
    assert len(read.once(aws.activity((), read.going, limits, now=NOW))) == 100
    assert not read.gaps
    later = NOW + timedelta(minutes=15)
    for number in range(120):
        cloud.add_use("s3:ListBuckets", user="ci", at=later - timedelta(seconds=number), event_id=f"new{number}")
    assert len(read.once(aws.activity((), read.going, limits, now=later))) == 100
    too_many = ["TooManyEvents: cloudtrail:LookupEvents"]
    assert [gap.reason.partition(",")[0] for gap in read.gaps] == too_many
    gaps = []
    for minutes in (30, 60):  # of these readings the second one has a call left
        read.once(aws.activity((), read.going, limits, now=later + timedelta(minutes=minutes)))
        gaps.append([gap.reason.partition(",")[0] for gap in read.gaps])
    assert gaps == [too_many, []]
    assert len({use.id for use in read.uses if use.id.startswith("new")}) == 120


def test_an_event_data_store_tells_the_same_as_the_other_ways_page_by_page(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_user("ci")
    cloud.add_role("deploy")
    for number in range(130):
        at = NOW - timedelta(minutes=10 * number)
        who: Json = {"user": "ci", "key_id": WHO["accessKeyId"]} if number % 2 else {"role": "deploy"}
        cloud.add_use(
            "s3:ListBuckets", at=at, event_id=f"e{number:03d}", error="AccessDenied" if number == 1 else None, **who
        )
    monkeypatch.setattr(lake, "_PAUSE", 0.01)
    store = "arn:aws:cloudtrail:us-east-1:111122223333:eventdatastore/0123-abc"
    by_query, by_lookup = Read(), Read()
    lakes = Aws(Source(endpoint=cloud.url, activity=store))
    found = by_query.once(lakes.activity((), by_query.going, LIMITS, now=NOW + timedelta(seconds=1)))
    assert not by_query.gaps
    assert len(found) == 130
    plain = Aws(Source(endpoint=cloud.url, trail_calls_a_second=50))
    by_lookup.once(plain.activity((), by_lookup.going, LIMITS, now=NOW + timedelta(seconds=1)))
    assert sorted(by_query.uses) == sorted(by_lookup.uses)
    assert by_query.once(lakes.activity((), by_query.going, LIMITS, now=NOW + timedelta(minutes=15))) == [
        "e000",
        "e001",
        "e002",
    ]
    cloud.faults.deny("cloudtrail:StartQuery")
    by_query.once(lakes.activity((), by_query.going, LIMITS, now=NOW + timedelta(minutes=30)))
    assert [gap.reason for gap in by_query.gaps] == [f"AccessDeniedException: cloudtrail:StartQuery ({store})"]


# -- Google ------------------------------------------------------------------------------------------------------------


def test_google_audit_logs_tell_what_accounts_do_and_a_refusing_project_stops_no_other() -> None:
    with Google(now=lambda: NOW) as google:
        shop, walled = google.add_project("shop"), google.add_project("walled")
        account, other = (
            google.add_account(shop, "deploy", made_at=NOW),
            google.add_account(walled, "batch", made_at=NOW),
        )
        key = google.add_key(account, made_at=NOW)
        for number in range(3):
            google.add_use(account, "storage.buckets.list", NOW - timedelta(hours=number), key=key.id)
        google.add_use(account, "google.iam.admin.v1.CreateServiceAccountKey", NOW - timedelta(days=2), denied=True)
        google.add_use(other, "storage.buckets.list", NOW)
        google.add_use(other, "storage.buckets.list", NOW - timedelta(hours=5), on=shop)
        google.refuse("logging.entries.list", '"projects/walled"')
        identities = [_google_identity(one) for one in (account, other)]
        read, source = Read(), Gcp(Source(provider="gcp", scope="projects/shop", endpoint=google.url))
        assert len(read.once(source.activity(identities, read.going, LIMITS, now=NOW + timedelta(seconds=1)))) == 5
        assert {use.elsewhere for use in read.uses if use.who == other.email} == {"shop"}
        assert {use.elsewhere for use in read.uses if use.who == account.email} == {None}
        assert [(gap.scope, gap.hides) for gap in read.gaps] == [("gcp/walled", frozenset({Aspect.ACTIVITY}))]
        newest = max(read.uses, key=lambda use: use.at)
        assert (newest.who, newest.action, newest.credential) == (account.email, "storage:storage.buckets.list", key.id)
        assert (newest.network, newest.agent) == ("198.51.100.0/24", "google-api-python-client")
        assert [use.action for use in read.uses if use.denied] == ["iam:google.iam.admin.v1.CreateServiceAccountKey"]
        off = Gcp(Source(provider="gcp", scope="projects/shop", endpoint=google.url, activity="off"))
        assert read.once(off.activity(identities, read.going, LIMITS, now=NOW)) == []


def test_a_day_of_google_s_that_is_more_than_a_reading_is_read_in_parts_and_a_new_project_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gcp_calls, "_QUOTAS", {})
    with Google(now=lambda: NOW) as google:
        google.page_size = 5
        limits = Activity(history=timedelta(days=3), lookups_an_hour=12)  # three pages a reading
        source = Gcp(Source(provider="gcp", scope=ORGANIZATION, endpoint=google.url))
        account = google.add_account(google.add_project("shop"), "deploy", made_at=NOW)
        for number in range(40):  # in one day, long before the first reading
            google.add_use(account, "storage.buckets.list", NOW - timedelta(days=1.1, minutes=30 * number))
        read, identities = Read(), [_google_identity(account)]
        fresh = [set(read.once(source.activity(identities, read.going, limits, now=NOW))) for _ in range(6)]
        assert all(fresh[:4])
        assert len(set().union(*fresh)) == 40
        assert read.once(source.activity(identities, read.going, limits, now=NOW)) == []
        other = google.add_account(google.add_project("a-new-one"), "batch", made_at=NOW)
        google.add_use(other, "storage.buckets.list", NOW - timedelta(days=2))
        later = NOW + timedelta(minutes=15)
        both = [*identities, _google_identity(other)]
        again = [use for _ in range(2) for use in read.once(source.activity(both, read.going, limits, now=later))]
        assert len(again) == 1  # of the one that is known nothing is read again
        assert not read.gaps


def _google_identity(account: Account) -> Identity:
    return Identity(
        provider="gcp",
        kind="service_account",
        account=account.project.id,
        key=account.unique_id,
        name=account.email,
        principal=f"serviceAccount:{account.email}",
        custody=Custody.OURS,
        created_at=None,
        last_used_at=None,
    )


def test_off_reads_nothing_and_costs_nothing(cloud: Cloud) -> None:
    read, aws = Read(), Aws(Source(endpoint=cloud.url, activity="off"))
    assert read.once(aws.activity((), read.going, LIMITS, now=NOW)) == []
    assert not aws.api_calls


@pytest.mark.parametrize(
    "told", ["s3://", "lookups", "file:relative", "arn:aws:s3:::bucket", "logs", "s3://UPPER/x", "s3://a b"]
)
def test_a_trail_that_is_none_is_refused_with_what_there_is(told: str) -> None:
    with pytest.raises(ValueError, match="event data store"):
        Source(activity=told)
