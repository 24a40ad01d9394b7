"""The credential report: text in, plain values out. Pure.

Source: IAM's GetCredentialReport, https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html.
The report shows each user's two access keys without their ids, and its words for "nothing" differ: `N/A` as a last
use is *never since tracking began* (2015), `no_information` for a password is *never signed in* (since 2014).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nhi.identity import Coverage, Credential, CredentialStatus, Custody
from nhi.words import sentence

_NOTHING = frozenset({"", "N/A", "no_information", "not_supported"})
_ROOT = "<root_account>"
_KEYS_SEEN_FROM = datetime(2015, 4, 22, tzinfo=UTC)  # since when IAM keeps the last use of keys
_PASSWORDS_SEEN_FROM = datetime(2014, 10, 20, tzinfo=UTC)


class MalformedReport(ValueError):
    """The report, or one row of it, does not read as one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the report says of one user."""

    user: str
    created_at: datetime
    credentials: tuple[Credential, ...]
    more: bool  # the report says that there are credentials it does not show


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every user's row; a row that cannot be read is a sentence instead."""

    rows: Mapping[str, Row]
    malformed: Mapping[str, str]


def parse_report(content: bytes, *, seen_until: datetime) -> Report:
    """Read the report's CSV, made at `seen_until`. Raises MalformedReport where the whole of it is not one."""
    try:
        lines = list(csv.DictReader(io.StringIO(content.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedReport(f"not CSV: {error}") from None
    if not lines and not content.startswith(b"user,"):
        raise MalformedReport("no header")
    rows: dict[str, Row] = {}
    malformed: dict[str, str] = {}
    for line in lines:
        user = _user(line)
        if user == _ROOT:
            continue
        try:
            rows[user] = _row(user, line, seen_until)
        except MalformedReport as error:
            malformed[user] = str(error)
    return Report(rows=rows, malformed=malformed)


def access_key_key(created_at: datetime) -> str:
    """Return the key of an access key: its creation second, to which `in_slots` adds the slot where two share it.

    The slot alone would not do: the second key may move into slot 1 when the first is deleted.
    """
    return f"access_key/{created_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def _user(line: Mapping[str, str | None]) -> str:
    user = line.get("user")
    if not user:
        raise MalformedReport("a row without a user")
    return user


def _row(user: str, line: Mapping[str, str | None], seen_until: datetime) -> Row:
    created_at = _time(line, "user_creation_time")
    if created_at is None:
        raise MalformedReport("user_creation_time is empty")
    keys = [key for slot in (1, 2) if (key := _access_key(line, slot, seen_until)) is not None]
    return Row(
        user=user,
        created_at=created_at,
        credentials=(*in_slots(keys), *_password(line, seen_until)),
        more=(line.get("additional_credentials_info") or "") not in _NOTHING,
    )


def in_slots(keys: list[Credential]) -> list[Credential]:
    """Give keys that share a creation second their slots, in the order that AWS lists them."""
    times = [key.key for key in keys]
    return [
        key if times.count(key.key) == 1 else replace(key, key=f"{key.key}/{slot}")
        for slot, key in enumerate(keys, start=1)
    ]


def _access_key(line: Mapping[str, str | None], slot: int, seen_until: datetime) -> Credential | None:
    """Read one slot; None: there is no key in it (it was never rotated, that is, never made)."""
    prefix = f"access_key_{slot}_"
    created_at = _time(line, prefix + "last_rotated")
    active = _flag(line, prefix + "active")
    if created_at is None:
        if active:
            raise MalformedReport(f"{prefix}active without {prefix}last_rotated")
        return None
    return Credential(
        key=access_key_key(created_at),
        kind="access_key",
        external_id=None,
        status=CredentialStatus.ACTIVE if active else CredentialStatus.INACTIVE,
        custody=Custody.OURS,
        created_at=created_at,
        rotated_at=created_at,
        last_used_at=_time(line, prefix + "last_used_date"),
        last_used_service=_word(line, prefix + "last_used_service"),
        last_used_region=_word(line, prefix + "last_used_region"),
        coverage=key_coverage(seen_until),
    )


def _password(line: Mapping[str, str | None], seen_until: datetime) -> Iterator[Credential]:
    if not _flag(line, "password_enabled"):
        return
    yield password(
        rotated_at=_time(line, "password_last_changed"),
        last_used_at=_time(line, "password_last_used"),
        seen_until=seen_until,
    )


def password(
    *, rotated_at: datetime | None, last_used_at: datetime | None, seen_until: datetime | None = None
) -> Credential:
    """Return a user's console password; AWS tells when it was last changed, not when it was first set."""
    return Credential(
        key="password",
        kind="console_password",
        external_id=None,
        status=CredentialStatus.ACTIVE,
        custody=Custody.OURS,
        created_at=None,
        rotated_at=rotated_at,
        last_used_at=last_used_at,
        coverage=Coverage(
            says=sentence("clouds.aws_sees_password"), seen_from=_PASSWORDS_SEEN_FROM, seen_until=seen_until
        ),
    )


def key_coverage(seen_until: datetime | None = None) -> Coverage:
    """Return what IAM can see of an access key's use, up to when the report was made (None: up to now)."""
    return Coverage(says=sentence("clouds.aws_sees_key"), seen_from=_KEYS_SEEN_FROM, seen_until=seen_until)


def _value(line: Mapping[str, str | None], column: str) -> str:
    value = line.get(column)
    if value is None:
        raise MalformedReport(f"{column} is missing")
    return value


def _word(line: Mapping[str, str | None], column: str) -> str | None:
    value = _value(line, column)
    return None if value in _NOTHING else value


def _flag(line: Mapping[str, str | None], column: str) -> bool:
    value = _value(line, column).lower()
    if value not in {"true", "false", "not_supported"}:
        raise MalformedReport(f"{column} is neither true nor false")
    return value == "true"


def _time(line: Mapping[str, str | None], column: str) -> datetime | None:
    """Read an instant; None: the report's words for nothing. An instant without its offset is not one."""
    value = _value(line, column)
    if value in _NOTHING:
        return None
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError("no offset")
        return instant.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise MalformedReport(f"{column} is not a time") from None
