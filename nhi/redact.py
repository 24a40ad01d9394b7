"""Secrets in text that people or clouds wrote: found, and taken out, before the text goes out or is stored."""

from __future__ import annotations

import re
import unicodedata

_SECRETS = re.compile(
    r"""
      \bxox[abeprs]-[A-Za-z0-9-]{6,}
    | \bxoxe\.[A-Za-z0-9.-]{6,}
    | \bxapp-[A-Za-z0-9-]{6,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}\b
    | \bgh[pousr]_[A-Za-z0-9]{16,}
    | \bgithub_pat_[A-Za-z0-9_]{16,}
    | -----BEGIN[A-Z ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END[A-Z ]*PRIVATE\ KEY-----|\Z)
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    | (?<![A-Za-z0-9/+=])
      (?=[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))(?=\S*[a-z])(?=\S*[A-Z])(?=\S*[0-9])
      [A-Za-z0-9/+]{40}
    """,
    re.VERBOSE,
)
_LONGEST = 3000


def holds_secret(text: str) -> bool:
    """Whether the text holds what looks like a secret, or the id of an access key."""
    return _SECRETS.search(text) is not None


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret replaced."""
    return _SECRETS.sub("[redacted]", text)


def one_line(text: str) -> str:
    """Return the text as people see it: no control, bidi or invisible characters, and on one line."""
    spaced = re.sub(r"\s+", " ", text)
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")).strip()


def tidy(text: str, longest: int = _LONGEST) -> str:
    """Return untrusted text fit for showing: no control or bidi characters, one line, no secrets, not too long.

    `longest` is in characters; what is cut is marked with an ellipsis.
    """
    shown = redact(one_line(text[: longest * 4]))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
