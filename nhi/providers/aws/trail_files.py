"""Activity by CloudTrail's log files, in a bucket or in a folder that somebody copies them to.

Files lie by account, region and day. Today is read first and again each time; then the days before it, back to where
policy says. Which files were read is remembered by name, so a file that comes late is read, and none is read twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Protocol

from nhi.activity import Use
from nhi.identity import Aspect, Gap
from nhi.policy_activity import Activity
from nhi.providers import Batch, Reading
from nhi.providers.aws.calls import Calls, CannotSee
from nhi.providers.aws.cloudtrail import records, use_of
from nhi.words import sentence

LATE = timedelta(hours=6)  # into a new day, the day before is looked at again for as long
LARGEST = 200_000_000  # bytes of one file, unpacked; CloudTrail's own are far smaller
_CHUNK = 1 << 20
_DEEPEST = 3  # AWSLogs / organisation / account


class Store(Protocol):
    """Where log files lie."""

    name: str  # "s3://bucket/prefix"

    def folders(self, under: str) -> Sequence[str]:
        """Return the folders right under a folder, each ending with "/". Raises CannotSee."""

    def files(self, under: str) -> Iterator[str]:
        """Yield the names of all files of a folder. Raises CannotSee."""

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes. Raises CannotSee."""


class Bucket:
    """A bucket of S3."""

    def __init__(self, calls: Calls, bucket: str, prefix: str) -> None:
        self._calls = calls
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")

    def folders(self, under: str) -> Sequence[str]:
        found: list[str] = []
        for page in self._pages(Prefix=self._prefix + under, Delimiter="/"):
            found += [one["Prefix"].removeprefix(self._prefix) for one in page.get("CommonPrefixes", ())]
        return found

    def files(self, under: str) -> Iterator[str]:
        for page in self._pages(Prefix=self._prefix + under):
            yield from (one["Key"].removeprefix(self._prefix) for one in page.get("Contents", ()))

    def read(self, name: str) -> Iterator[bytes]:
        answer = self._calls.ask("s3:GetObject", Bucket=self._bucket, Key=self._prefix + name)
        yield from self._calls.stream("s3:GetObject", answer["Body"], _CHUNK)

    def _pages(self, **parameters: str) -> Iterator[Mapping[str, list[dict[str, str]]]]:
        more: dict[str, str] = {}
        while True:
            page = self._calls.ask("s3:ListObjectsV2", Bucket=self._bucket, **parameters, **more)
            yield page
            if not page.get("NextContinuationToken"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"file:{path}"

    def folders(self, under: str) -> Sequence[str]:
        return sorted(f"{under}{one.name}/" for one in self._entries(under) if one.is_dir())

    def files(self, under: str) -> Iterator[str]:
        yield from sorted(f"{under}{one.name}" for one in self._entries(under) if one.is_file())

    def read(self, name: str) -> Iterator[bytes]:
        try:
            with (self._path / name).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise CannotSee(error.strerror or "unreadable", str(self._path), passing=True) from None

    def _entries(self, under: str) -> list[Path]:
        place = self._path / under
        try:
            return list(place.iterdir()) if place.is_dir() or not under else []
        except OSError as error:
            raise CannotSee(error.strerror or "unreadable", str(self._path), passing=False) from None


def read(store: Store, going: Reading, limits: Activity, now: datetime) -> Iterator[Batch | Gap]:
    """Yield the events of files that were not read before, a file at a time; a gap for what could not be read."""
    try:
        for region in _regions(store):
            yield from _read_region(store, region, going, limits, now)
    except CannotSee as fault:
        yield _gap(store, fault.reason)


def _gap(store: Store, reason: str) -> Gap:
    return Gap(scope="aws", reason=f"{reason} ({store.name})", hides=frozenset({Aspect.ACTIVITY}))


def _regions(store: Store) -> list[str]:
    """Return the folders of all regions: AWSLogs/[organisation/]account/CloudTrail/region/."""
    level, found = ["AWSLogs/"], list[str]()
    for _ in range(_DEEPEST):
        below = [one for folder in level for one in store.folders(folder)]
        trails = [one for one in below if one.endswith("/CloudTrail/")]
        found += [region for trail in trails for region in store.folders(trail)]
        level = [one for one in below if one not in trails and "CloudTrail-" not in one]
    if not found:
        raise CannotSee("NoLogFiles", "AWSLogs/*/CloudTrail/*", passing=True)
    return found


def _read_region(store: Store, region: str, going: Reading, limits: Activity, now: datetime) -> Iterator[Batch | Gap]:
    """Read what is new of one region. Of its position, `since` is the oldest day that was read whole."""
    place = f"{store.name}|{region}"
    known = going.positions.get(place, {})
    until = date.fromisoformat(known["until"]) if "until" in known else now.date()
    since = date.fromisoformat(known["since"]) if "since" in known else now.date()
    oldest = (now - limits.history).date()
    again = (now - LATE).date()
    newer = [now.date() - timedelta(days=back) for back in range((now.date() - min(until, again)).days + 1)]
    older = [since - timedelta(days=back) for back in range(1, max((since - oldest).days, 0) + 1)]
    for day in newer:
        yield from _read_day(store, region, day, going, {"until": until.isoformat(), "since": since.isoformat()})
        if going.ends():
            return
    until = now.date()
    yield Batch(place=place, uses=(), position={"until": until.isoformat(), "since": since.isoformat()})
    for day in older:
        yield from _read_day(store, region, day, going, {"until": until.isoformat(), "since": since.isoformat()})
        if going.ends():
            return
        since = day
        yield Batch(place=place, uses=(), position={"until": until.isoformat(), "since": since.isoformat()})


def _read_day(
    store: Store, region: str, day: date, going: Reading, position: Mapping[str, str]
) -> Iterator[Batch | Gap]:
    for name in store.files(f"{region}{day:%Y/%m/%d}/"):
        if going.is_read(name) or not name.endswith((".json.gz", ".json")):
            continue
        if going.ends():
            return
        try:
            uses = uses_of(unpacked(store.read(name)))
        except CannotSee as fault:
            yield _gap(store, fault.reason)
            if not fault.passing:
                return
            continue
        except ValueError as error:
            yield _gap(store, f"Unreadable: {name.rpartition('/')[2]} ({error})")
            uses = []
        yield Batch(place=f"{store.name}|{region}", uses=uses, position=position, files=(name,))


def uses_of(text: str) -> list[Use]:
    """Return the uses in a log file's text. Raises ValueError."""
    return [use for told in records(text) if (use := use_of(told)) is not None]


def unpacked(chunks: Iterator[bytes]) -> str:
    """Return a file's text, unpacked where it is packed. Raises ValueError: broken, or larger than LARGEST."""
    parts: list[bytes] = []
    size = 0
    unpack = None
    for number, chunk in enumerate(chunks):
        if number == 0 and chunk[:2] == b"\x1f\x8b":
            unpack = zlib.decompressobj(wbits=31)
        try:
            part = unpack.decompress(chunk, LARGEST) if unpack else chunk
        except zlib.error as error:
            raise ValueError(str(error)) from None
        size += len(part)
        if size > LARGEST or (unpack and unpack.unconsumed_tail):
            raise ValueError(sentence("clouds.aws_file_too_large", most=LARGEST))
        parts.append(part)
    if unpack is not None and not unpack.eof:
        raise ValueError(sentence("clouds.aws_file_ends"))
    return b"".join(parts).decode()
