"""How policy.toml writes durations, hours and instants, read into values. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
NEVER = timedelta.max


def parse_duration(text: object) -> timedelta:
    """Read `90d`, `4h`, `30m`, `2w` or `never`. Raises ValueError with the way out."""
    if isinstance(text, timedelta):
        return text
    if text == "never":
        return NEVER
    found = re.fullmatch(r"(\d{1,5})\s*([mhdw])", text) if isinstance(text, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(
            f'a duration is a whole number above 0 with a unit, like "90d", "4h", "30m" or "2w"; got {text!r}'
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def parse_hours(text: object) -> tuple[time, time]:
    """Read `09:00-17:00`. Raises ValueError with the way out."""
    if isinstance(text, tuple):
        return text
    found = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text) if isinstance(text, str) else None
    try:
        if found is None:
            raise ValueError
        start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    except ValueError:
        raise ValueError(f'working hours look like "09:00-17:00"; got {text!r}') from None
    if start >= end:
        raise ValueError(f"working hours must start before they end; got {text!r}")
    return start, end


def parse_end(text: object) -> timedelta:
    """Read a duration that ends. Raises ValueError with the way out."""
    if text == "never":
        raise ValueError('"never" is no answer here: this must end; give a duration like "180d"')
    return parse_duration(text)


def parse_instant(text: object) -> datetime:
    """Read an instant of TOML or text; a day is its beginning, and what names no zone is UTC. Raises ValueError."""
    if isinstance(text, str):
        try:
            text = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f'an instant looks like 2026-12-20 or "2026-12-20T18:00:00Z"; got {text!r}') from None
    if isinstance(text, date) and not isinstance(text, datetime):
        text = datetime.combine(text, time(0), UTC)
    if not isinstance(text, datetime):
        raise ValueError(f'an instant looks like 2026-12-20 or "2026-12-20T18:00:00Z"; got {text!r}')
    return text.replace(tzinfo=UTC) if text.tzinfo is None else text.astimezone(UTC)


def problem_in_words(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with a value in words of TOML; pydantic speaks of Python."""
    limits = problem.get("ctx") or {}
    words = _PROBLEMS.get(problem["type"])
    return words.format_map(limits) if words else str(problem["msg"]).removeprefix("Value error, ")


_PROBLEMS = {
    "missing": "is missing",
    "tuple_type": 'must be a list, like ["one", "two"]',
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "model_type": "must be a table, like [name] with keys below it",
    "dict_type": "must be a table, like [name] with keys below it",
}


def _like(pattern: str, words: str) -> AfterValidator:
    """Return a check that a text is whole of this pattern; `words` say how one looks."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{words}; got {text!r}")
        return text

    return AfterValidator(check)


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError('a network looks like "203.0.113.0/24" or "2001:db8::/32"') from None


_MAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
Mail = Annotated[str, _like(_MAIL, "an e-mail address looks like ana@example.com")]
Network = Annotated[str, AfterValidator(_network)]
Who = Annotated[str, _like(rf"{_MAIL}|[UW][A-Z0-9]+", "a person is an e-mail address or a Slack id, like U012AB3CD")]
Rung = Annotated[
    str,
    _like(rf"manager|#[^\s#]+|[CG][A-Z0-9]+|{_MAIL}", 'silence goes to "manager", "#channel" or an e-mail address'),
]
RoleArn = Annotated[
    str, _like(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+", "a role's ARN looks like arn:aws:iam::111122223333:role/name")
]
Patience = Annotated[timedelta, BeforeValidator(parse_duration)]
Duration = Annotated[timedelta, BeforeValidator(parse_end)]
Hours = Annotated[tuple[time, time], BeforeValidator(parse_hours)]
Moment = Annotated[datetime, BeforeValidator(parse_instant)]
