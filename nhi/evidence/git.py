"""What git says of lines and files: the porcelain of `git blame`, and a log of our own format. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

LOG_FORMAT = "%aE%x09%aN%x09%at"  # address (by .mailmap), name, time
_HEAD = re.compile(r"^([0-9a-f]{40,64}) \d+ (\d+)(?: \d+)?$")


@dataclass(frozen=True, kw_only=True)
class Author:
    """Somebody who wrote lines, or changed a file."""

    email: str
    name: str
    count: int  # lines written, or commits
    at: datetime  # the latest


def blame(porcelain: str) -> tuple[Author, ...]:
    """Read `git blame --line-porcelain`: who wrote how many of the lines, the most first."""
    lines: Counter[str] = Counter()
    latest: dict[str, tuple[int, str]] = {}
    email, name, time = "", "", 0
    for line in porcelain.split("\n"):
        if line.startswith("\t"):
            if email:
                lines[email] += 1
                latest[email] = max(latest.get(email, (0, "")), (time, name))
        elif line.startswith("author-mail "):
            email = line.removeprefix("author-mail ").strip().strip("<>").lower()
        elif line.startswith("author-time "):
            time = _seconds(line.removeprefix("author-time "))
        elif line.startswith("author "):
            name = line.removeprefix("author ")
        elif _HEAD.match(line):
            email, name, time = "", "", 0
    return _authors(lines, latest)


def log(text: str) -> tuple[Author, ...]:
    """Read `git log --format=LOG_FORMAT`: who made how many of the commits, the latest first."""
    commits: Counter[str] = Counter()
    latest: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        email, _, rest = line.partition("\t")
        name, _, time = rest.rpartition("\t")
        if email and time:
            commits[email.lower()] += 1
            latest[email.lower()] = max(latest.get(email.lower(), (0, "")), (_seconds(time), name))
    return tuple(sorted(_authors(commits, latest), key=lambda one: one.at, reverse=True))


def _authors(counts: Counter[str], latest: dict[str, tuple[int, str]]) -> tuple[Author, ...]:
    return tuple(
        Author(email=email, name=latest[email][1], count=count, at=datetime.fromtimestamp(latest[email][0], UTC))
        for email, count in counts.most_common()
    )


def _seconds(text: str) -> int:
    """Return a time as git writes it; one that no calendar has (a forged commit) counts as the earliest."""
    try:
        return min(max(int(text), 0), 253_402_300_799)
    except ValueError:
        return 0
