"""Activity by CloudTrail's log files, in a bucket or in a folder that somebody copies them to.

Files lie by account, region and day. Today is read first and again each time; then the days before it, back to where
policy says. Which files of new days were read is remembered by name, so a file that comes late is read, and none is
read twice. A day of which a file could not be read is tried again each time, and is a gap until it could.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
_REFUSALS = 3  # days of a region that are refused in one reading before it goes on with what else there is
_QUARTER = 900  # seconds
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
        regions = _regions(store)
    except CannotSee as fault:
        yield _gap(store, fault.reason)
        return
    for region in regions:
        try:
            yield from _Region(store, region, going, limits, now).read()
        except CannotSee as fault:
            yield _gap(store, fault.reason)
        if going.ends():
            return


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


@dataclass
class _Progress:
    """How far one region was read. Of days before these, nothing is remembered file by file: they come in order."""

    until: date  # the newest day that was looked at
    since: date  # the oldest day that was read to its end
    again: set[date]  # days of which something could not be read: they are tried at each reading
    after: str = ""  # of the day before `since`, the last file that was read; "": none yet

    @property
    def position(self) -> Mapping[str, str]:
        told = {"until": self.until.isoformat(), "since": self.since.isoformat(), "after": self.after}
        return told | {"again": " ".join(day.isoformat() for day in sorted(self.again))}


def _progress(known: Mapping[str, str], today: date) -> _Progress:
    return _Progress(
        until=date.fromisoformat(known.get("until") or today.isoformat()),
        since=date.fromisoformat(known.get("since") or today.isoformat()),
        again={date.fromisoformat(day) for day in known.get("again", "").split()},
        after=known.get("after", ""),
    )


class _Region:
    """One reading of one region: the days since the last one, those that could not be read whole, then the past."""

    def __init__(self, store: Store, region: str, going: Reading, limits: Activity, now: datetime) -> None:
        self._store = store
        self._region = region
        self._place = f"{store.name}|{region}"
        self._going = going
        self._now = now
        self._oldest = (now - limits.history).date()
        self._at = _progress(going.positions.get(self._place, {}), now.date())
        self._at.again = {day for day in self._at.again if day >= self._oldest}
        self._told: set[str] = set()  # reasons of gaps: a thousand files fail for the same one
        self._refused = 0  # days

    def read(self) -> Iterator[Batch | Gap]:
        at, today = self._at, self._now.date()
        first = min(at.until, (self._now - LATE).date())
        newer = [today - timedelta(days=back) for back in range((today - first).days + 1)]
        again = self._in_turn(at.again - set(newer))
        for day in [*newer, *again]:
            if day in newer or self._refused < _REFUSALS:
                yield from self._read_again(day)
            if self._going.ends():
                return
        at.until, self._refused = today, 0
        yield self._batch()
        while at.since > self._oldest and self._refused < _REFUSALS:
            day = at.since - timedelta(days=1)
            if day not in at.again:
                yield from self._read_past(day)
            if self._going.ends():
                return
            at.since, at.after = day, ""
            yield self._batch()

    def _in_turn(self, days: set[date]) -> list[date]:
        """Return days with another one first at each reading: some may be refused for ever, and others not."""
        ordered = sorted(days, reverse=True)
        first = int(self._now.timestamp() // _QUARTER) % len(ordered) if ordered else 0
        return ordered[first:] + ordered[:first]

    def _read_again(self, day: date) -> Iterator[Batch | Gap]:
        """Read what is new of a day of which each file that was read is remembered."""
        failed = False
        for name in self._files(day):
            if self._going.is_read(name):
                continue
            if self._going.ends():
                return
            uses, refused = yield from self._read_file(name)
            if uses is None:
                failed = True
                self._at.again.add(day)
                yield self._batch()
                if refused:
                    return
            else:
                yield self._batch(uses, name)
        if not failed:
            self._at.again.discard(day)
            if day == self._at.since - timedelta(days=1):
                self._at.since, self._at.after = day, ""

    def _read_past(self, day: date) -> Iterator[Batch | Gap]:
        """Read a day's files one after the other. Once one fails, all of the day are remembered by name."""
        passed: list[str] = []
        for name in self._files(day):
            if name > self._at.after and not self._going.is_read(name):
                if self._going.ends():
                    return
                uses, refused = yield from self._read_file(name)
                if uses is None:
                    known = () if day in self._at.again else tuple(passed)
                    self._at.again.add(day)
                    yield self._batch((), *known)
                    if refused:
                        return
                    continue
                self._at.after = name
                yield self._batch(uses, *((name,) if day in self._at.again else ()))
            passed.append(name)

    def _files(self, day: date) -> Iterator[str]:
        names = self._store.files(f"{self._region}{day:%Y/%m/%d}/")
        return (name for name in names if name.endswith((".json.gz", ".json")))

    def _read_file(self, name: str) -> Generator[Gap, None, tuple[list[Use] | None, bool]]:
        """Return a file's uses (none where it is broken; None: to be tried again), and whether it was refused."""
        try:
            return uses_of(unpacked(self._store.read(name))), False
        except CannotSee as fault:
            self._refused += not fault.passing
            if fault.reason not in self._told:
                self._told.add(fault.reason)
                yield _gap(self._store, fault.reason)
            return None, not fault.passing
        except ValueError as error:
            yield _gap(self._store, f"Unreadable: {name.rpartition('/')[2]} ({error})")
            return [], False

    def _batch(self, uses: Sequence[Use] = (), *files: str) -> Batch:
        return Batch(place=self._place, uses=uses, position=self._at.position, files=files)


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
