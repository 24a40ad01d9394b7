"""What one more fact would be enough to know an owner by, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from nhi.identity import Evidence
from nhi.words import sentence


def in_words(source: str, facts: Iterable[Evidence]) -> str:
    """Return what would tell; of CODEOWNERS, where a line is there already, what that line lacks."""
    if source == "codeowners" and any(fact.source == source for fact in facts):
        return sentence("evidence.help_codeowners_beside")
    return sentence(f"evidence.help_{source}")
