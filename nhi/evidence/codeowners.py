"""CODEOWNERS: who answers for a path, as GitHub and GitLab read the file. Pure.

The last line that fits a path counts. Sections (GitLab's `[Name]`) each have a last line of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

PLACES = ("CODEOWNERS", ".github/CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS")
_SECTION = re.compile(r"^\^?\[([^\]]+)\](?:\[\d+\])?(.*)$")
_OWNER = re.compile(r"^(@[\w./-]+|[^@\s]+@[^@\s]+)$")
_MOST_LINES = 20_000
_MOST_WILD = 6  # wildcards of one pattern; what has more is no pattern that people wrote, and slow to try
_WILD = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_PIECES = re.compile(r"(\*\*/|/\*\*|\*\*|\*|\?)")


@dataclass(frozen=True, kw_only=True)
class Rule:
    pattern: str
    owners: tuple[str, ...]  # (): nobody, said on purpose
    line: int
    section: str = ""


def rules(text: str) -> tuple[Rule, ...]:
    """Read a CODEOWNERS file. Lines in no known shape are passed over."""
    found: list[Rule] = []
    section = ""
    defaults: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines()[:_MOST_LINES], start=1):
        line = re.sub(r"(?<!\\)\s#.*$|^#.*$", "", line).strip()
        if not line:
            continue
        if heading := _SECTION.match(line):
            section, defaults = heading[1].lower(), _owners(heading[2].split())
            continue
        pattern, *words = re.split(r"(?<!\\)\s+", line)
        owners = _owners(words) or defaults
        if pattern.count("*") > 2 * _MOST_WILD:
            continue
        found.append(Rule(pattern=pattern.replace("\\ ", " "), owners=owners, line=number, section=section))
    return tuple(found)


def _owners(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if _OWNER.match(word))


def owners_of(path: str, known: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the rule of each section that answers for this path, where it names somebody."""
    last: dict[str, Rule] = {}
    for rule in known:
        if _regex(rule.pattern).match(path):
            last[rule.section] = rule
    return tuple(rule for rule in last.values() if rule.owners)


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    """Return a gitignore-like pattern as a regular expression over a path without a leading slash."""
    anchored = "/" in pattern.rstrip("/")
    body = pattern.strip("/")
    pieces = [_WILD.get(piece) or re.escape(piece) for piece in _PIECES.split(body)]
    inside = "/.*" if pattern.endswith("/") else "" if pattern.endswith("*") and anchored else "(?:/.*)?"
    return re.compile(("" if anchored else "(?:.*/)?") + "".join(pieces) + inside + r"\Z", re.DOTALL)
