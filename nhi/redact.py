"""Secrets in text that people or clouds wrote: found, and taken out, before the text goes out or is stored."""

from __future__ import annotations

import re
import unicodedata

# No word boundaries: a token glued to other text is a token still.
_SECRETS = re.compile(
    r"""
      xox[abcdeprs]-[A-Za-z0-9%-]{6,}
    | xoxe\.[A-Za-z0-9.-]{6,}
    | xapp-[A-Za-z0-9-]{6,}
    | (?:AKIA|ASIA)[A-Z0-9]{12,}
    | gh[pousr]_[A-Za-z0-9]{16,}
    | github_pat_[A-Za-z0-9_]{16,}
    | glpat-[A-Za-z0-9_-]{16,}
    | npm_[A-Za-z0-9]{30,}
    | [rs]k_(?:live|test)_[A-Za-z0-9]{16,}
    | AIza[A-Za-z0-9_-]{30,}
    | ya29\.[A-Za-z0-9_.-]{16,}
    | GOCSPX-[A-Za-z0-9_-]{16,}
    | hooks\.slack\.com/[a-z]+/[A-Za-z0-9/]{16,}
    | -----BEGIN[A-Z ]*PRIVATE\ KEY(?:\ BLOCK)?-----[\s\S]*?(?:-----END[A-Z ]*PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)
    | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    | (?<![A-Za-z0-9/+])
      (?=[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))(?=\S*[a-z])(?=\S*[A-Z])(?=\S*[0-9])
      [A-Za-z0-9/+]{40}
    """,
    re.VERBOSE,
)
_KEY_ID = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{12,28}")
_LONGEST = 3000


def holds_secret(text: str) -> bool:
    """Whether the text holds what looks like a secret, or the id of an access key."""
    return _SECRETS.search(text) is not None


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret replaced."""
    return _SECRETS.sub("[redacted]", text)


def without_secrets(text: str) -> str:
    """Return the text with secrets replaced; ids of access keys stay, as they are names that evidence needs."""
    return _SECRETS.sub(lambda found: found[0] if _KEY_ID.fullmatch(found[0]) else "[redacted]", text)


def one_line(text: str) -> str:
    """Return the text as people see it: no control, bidi or invisible characters, and on one line."""
    if text.isascii() and text.isprintable():  # as most are: a tenth of the time
        return " ".join(text.split())
    hidden = ("Cc", "Cf", "Cs", "Co", "Cn")
    seen = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in hidden)
    return re.sub(r"\s+", " ", seen).strip()


def tidy(text: str, longest: int = _LONGEST) -> str:
    """Return untrusted text fit for showing: no control or bidi characters, one line, no secrets, not too long.

    `longest` is in characters; what is cut is marked with an ellipsis.
    """
    shown = redact(one_line(text[: longest * 4]))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
