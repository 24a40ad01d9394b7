"""What one more fact would be enough to know an owner by, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from nhi.identity import Evidence

WORDS = {
    "tag": "a tag `owner=` with their address",
    "session": "one use from CI or a console that says whose session it is",
    "codeowners": "a line in CODEOWNERS where it is declared",
    "attestation": "somebody's word in Slack",
}


def in_words(source: str, facts: Iterable[Evidence]) -> str:
    """Return what would tell; of CODEOWNERS, where a line is there already, what that line lacks."""
    if source == "codeowners" and any(fact.source == source for fact in facts):
        return "a person beside who CODEOWNERS names for it"
    return WORDS[source]
