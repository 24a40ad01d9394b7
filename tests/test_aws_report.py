"""The credential report's parser: pure, so it is given anything at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhi.identity import Credential, CredentialStatus
from nhi.providers.aws.report import MalformedReport, Report, parse_report

MADE_AT = datetime(2026, 11, 1, 9, tzinfo=UTC)
SAMPLE = Path(__file__).parent / "data" / "aws" / "credential_report.csv"
COLUMNS = SAMPLE.read_text().partition("\n")[0].split(",")
EMPTY = dict.fromkeys(COLUMNS, "N/A") | {
    "user": "ci",
    "user_creation_time": "2025-01-01T00:00:00+00:00",
    "password_enabled": "false",
    "access_key_1_active": "false",
    "access_key_2_active": "false",
}

names = st.text(st.sampled_from("abcXYZ019+=,.@-_"), min_size=1, max_size=64)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2026, 10, 31)).map(lambda one: one.replace(microsecond=0))  # noqa: DTZ001
words = st.sampled_from(
    ["N/A", "no_information", "not_supported", "true", "false", "", "2026", "2026-01-01T00:00:00+00:00"]
)


def parsed(*rows: Mapping[str, str]) -> Report:
    text = io.StringIO()
    sheet = csv.DictWriter(text, COLUMNS)
    sheet.writeheader()
    sheet.writerows(rows)
    return parse_report(text.getvalue().encode(), seen_until=MADE_AT)


def keys_of(report: Report, user: str = "ci") -> list[Credential]:
    return [one for one in report.rows[user].credentials if one.kind == "access_key"]


def test_a_sample_report_is_read() -> None:
    report = parse_report(SAMPLE.read_bytes(), seen_until=MADE_AT)
    assert report.malformed == {}
    assert set(report.rows) == {"admin", "ci-deploy", "contractor", "nobody"}
    assert [one.key for one in report.rows["ci-deploy"].credentials] == [
        "access_key/2024-02-02T10:11:12Z",
        "access_key/2026-05-06T07:08:09Z",
    ]
    first, second = keys_of(report, "ci-deploy")
    assert (first.status, first.last_used_at) == (CredentialStatus.INACTIVE, None)
    assert (second.last_used_service, second.last_used_region) == ("ecr", "eu-west-1")
    assert report.rows["nobody"].credentials == ()
    assert [one.key for one in report.rows["admin"].credentials] == ["access_key/2025-12-24T18:00:00Z", "password"]


@pytest.mark.parametrize("word", ["N/A", "no_information", "not_supported"])
def test_each_word_for_nothing_is_never_used(word: str) -> None:
    rotated = {"access_key_1_last_rotated": "2025-01-01T00:00:00+00:00", "access_key_1_last_used_date": word}
    (key,) = keys_of(parsed(EMPTY | rotated))
    assert key.last_used_at is None


def test_a_report_that_tells_of_more_credentials_says_so() -> None:
    row = ",".join([*COLUMNS, "additional_credentials_info"]) + "\n" + ",".join([*EMPTY.values(), "1 more access key"])
    assert parse_report(row.encode(), seen_until=MADE_AT).rows["ci"].more
    assert not parsed(EMPTY).rows["ci"].more


def test_times_with_another_offset_are_turned_to_utc_and_times_without_one_are_refused() -> None:
    report = parsed(EMPTY | {"user_creation_time": "2025-01-01T02:00:00+02:00"})
    assert report.rows["ci"].created_at == datetime(2025, 1, 1, tzinfo=UTC)
    assert set(parsed(EMPTY | {"user_creation_time": "2025-01-01T00:00:00"}).malformed) == {"ci"}


@given(name=names, first=instants, second=instants, used=st.none() | instants)
def test_every_key_comes_out_as_it_went_in(name: str, first: datetime, second: datetime, used: datetime | None) -> None:
    row = EMPTY | {
        "user": name,
        "access_key_1_active": "true",
        "access_key_1_last_rotated": f"{first.isoformat()}+00:00",
        "access_key_1_last_used_date": "N/A" if used is None else f"{used.isoformat()}+00:00",
        "access_key_2_last_rotated": f"{second.isoformat()}+00:00",
    }
    one, two = keys_of(parsed(row), name)
    assert (one.created_at, two.created_at) == (first.replace(tzinfo=UTC), second.replace(tzinfo=UTC))
    assert one.last_used_at == (None if used is None else used.replace(tzinfo=UTC))
    assert (one.status, two.status) == (CredentialStatus.ACTIVE, CredentialStatus.INACTIVE)
    assert one.key != two.key, "two credentials of one user never share a key"


@given(first=instants, days=st.integers(1, 9))
def test_a_key_keeps_its_name_when_it_moves_to_the_other_slot(first: datetime, days: int) -> None:
    second = f"{(first + timedelta(days=days)).isoformat()}+00:00"
    both = EMPTY | {"access_key_1_last_rotated": f"{first.isoformat()}+00:00", "access_key_2_last_rotated": second}
    alone = EMPTY | {"access_key_1_last_rotated": second}
    assert keys_of(parsed(both))[1].key == keys_of(parsed(alone))[0].key


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_bytes_at_all_raise_anything_but_a_malformed_report(content: bytes) -> None:
    with suppress(MalformedReport):
        parse_report(content, seen_until=MADE_AT)


@given(st.dictionaries(st.sampled_from(COLUMNS[1:]), words | st.text(max_size=30), max_size=6))
def test_whatever_a_row_holds_its_user_is_read_or_malformed_and_never_lost(values: dict[str, str]) -> None:
    report = parsed(EMPTY | values, EMPTY | {"user": "other"})
    assert ("ci" in report.rows) != ("ci" in report.malformed)
    assert "other" in report.rows, "a bad row does not spoil the next one"


@given(values=st.dictionaries(st.sampled_from(COLUMNS[1:]), words, max_size=6))
def test_what_is_read_has_no_time_without_an_offset(values: dict[str, str]) -> None:
    for row in parsed(EMPTY | values).rows.values():
        for one in row.credentials:
            for time in (one.created_at, one.rotated_at, one.last_used_at):
                assert time is None or time.utcoffset() == timedelta(0)
