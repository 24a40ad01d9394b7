"""Where checkpoints are kept, as policy names the places. Pure.

A place is worth something if whoever has the database cannot change what is kept there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    SLACK = "slack"  # a channel: slack:#audit
    FILE = "file"  # a folder, best a mount that can only be appended to: file:/mnt/worm/nhi
    S3 = "s3"  # a bucket, best with Object Lock: s3://bucket/prefix
    MAIL = "mailto"  # mailto:audit@example.com
    TIMESTAMP = "rfc3161"  # a time-stamping authority: rfc3161:https://tsa.example.com/


@dataclass(frozen=True, kw_only=True)
class Target:
    """One place: what kind, and which."""

    place: Place
    where: str  # "#audit", "/mnt/worm/nhi", "bucket/prefix", "audit@example.com", "https://tsa.example.com/"


_SHAPES = {
    Place.SLACK: re.compile(r"#[^\s#@]{1,80}|[CG][A-Z0-9]{6,30}"),
    Place.FILE: re.compile(r"[^\0]{1,200}"),
    Place.S3: re.compile(r"//([a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9!_.*'()/-]{0,150})?)"),
    Place.MAIL: re.compile(r"[^\s@<>,;:]{1,64}@[A-Za-z0-9.-]{1,150}"),
    Place.TIMESTAMP: re.compile(r"https?://[^\s@]{1,200}"),
}
_EXAMPLES = (
    "slack:#audit, file:/mnt/worm/nhi, s3://bucket/prefix, mailto:audit@example.com, rfc3161:https://tsa.example.com/"
)


def parse(text: str) -> Target:
    """Read one place of policy's list. Raises ValueError with examples of all kinds."""
    kind, _, rest = text.partition(":")
    if kind not in set(Place):
        raise ValueError(f"an anchor is one of {_EXAMPLES}; got {text!r}")
    place = Place(kind)
    found = _SHAPES[place].fullmatch(rest)
    if found is None:
        raise ValueError(f"{text!r} is no {kind} anchor; these are anchors: {_EXAMPLES}")
    return Target(place=place, where=found[1].rstrip("/") if place is Place.S3 else rest)
