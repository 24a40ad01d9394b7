"""Patterns with `*` (anything) and `?` (one character), as policies use them: no other sign is special. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=32_768)  # the same few hundred actions are held against the same patterns again and again
def fits(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether the whole text fits the pattern."""
    if ignore_case:
        pattern, text = pattern.lower(), text.lower()
    return pattern == text or _compiled(pattern).fullmatch(text) is not None


def fits_any(patterns: Iterable[str], text: str, *, ignore_case: bool = False) -> bool:
    return any(fits(pattern, text, ignore_case=ignore_case) for pattern in patterns)


def within(inner: str, outer: str, *, ignore_case: bool = False) -> bool:
    """Whether it is certain that whatever fits `inner` fits `outer`.

    The stars of `inner` stand for themselves, and so do its question marks: only a star of `outer` takes a star.
    """
    if ignore_case:
        inner, outer = inner.lower(), outer.lower()
    return inner == outer or _taking(outer).fullmatch(inner) is not None


def apart(one: str, other: str, *, ignore_case: bool = False) -> bool:
    """Whether it is certain that nothing fits both, as what stands before their first signs shows."""
    if ignore_case:
        one, other = one.lower(), other.lower()
    if not is_pattern(one):
        return not fits(other, one)
    if not is_pattern(other):
        return not fits(one, other)
    first, second = _fixed(one), _fixed(other)
    return not (first.startswith(second) or second.startswith(first))


def is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def _fixed(pattern: str) -> str:
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


@lru_cache(maxsize=8192)
def _compiled(pattern: str) -> re.Pattern[str]:
    return _regex(pattern, ".")


@lru_cache(maxsize=8192)
def _taking(pattern: str) -> re.Pattern[str]:
    return _regex(pattern, "[^*]")


def _regex(pattern: str, one: str) -> re.Pattern[str]:
    """Translate a pattern. What lies between stars is looked for once and not again, so none costs time without end."""
    first, *rest = ("".join(one if sign == "?" else re.escape(sign) for sign in part) for part in pattern.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{last}", re.DOTALL)
