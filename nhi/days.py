"""A day as people type it: "12 Jan", "Jan 12", "12 December 2026", "2027-01-12", "tomorrow", "Friday". Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from string import ascii_lowercase, ascii_uppercase

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # unlike `lower`, it keeps each character in its place
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
# Whole names and their usual abbreviations only: "3 marketing hosts" is no day in March.
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_ISO = re.compile(r"\b(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})(?:\b|(?=t\d))")
_DOTTED = re.compile(r"(?<![\w.])(?P<day>\d{1,2})\.(?P<number>\d{1,2})\.(?P<year>\d{4})?(?![\w.]*\w)")
_DASHED = re.compile(rf"\b(?P<day>\d{{1,2}})-(?P<month>{_MONTH})-(?P<year>\d{{4}})\b")
_DAY_FIRST = re.compile(
    rf"\b(?P<day>\d{{1,2}})(?P<nth>st|nd|rd|th|\.)?(?: of)? (?P<month>{_MONTH})(?:,? (?P<year>\d{{4}})\b)?"
)
_MONTH_FIRST = re.compile(
    rf"\b(?P<month>{_MONTH}) (?:the )?(?P<day>\d{{1,2}})(?P<nth>st|nd|rd|th)?\b(?:,? (?P<year>\d{{4}})\b)?"
)
# What a longer text says right before a date tells a day to come from one that is over, and from no day at all.
_OVER = re.compile(
    r"\b(?:since(?: (?!(?:until|till|by|before|and|but|will)\b)[\w']+){0,4}"
    r"|from"
    r"|(?:(?<!be )(?:created|made)|last (?!(?:on|in|at|by)\b)\w+|(?:was|were|been) \w+)(?: by \w+)?(?: on| in| at)?)"
    r"(?: (?:about|around|the))* $"
)
_BY = re.compile(r"\b(?:on|by|until|till|before)(?: the)? $")
_WEEKDAY = re.compile(rf"\b(?:{'|'.join(_WEEKDAYS)})\b")


def read_day(text: str, today: date) -> date | None:
    """Return the day that a short text names, as in a command; one without a year is the next to come.

    A written-out date counts before "tomorrow", and that before a weekday. None: it names none.
    """
    return next(_any(text, today), None)


def dates_in(text: str, today: date) -> list[date]:
    """Return the dates that a longer text writes out, in their order in time; one without a year is the next to come.

    Weekdays do not count: what "runs each Monday" is not promised for Monday. Nor does, without a year, a day since
    which something is so, or what is only like a date ("phase 2 may need it", "version 1.2.").
    """
    return sorted(set(_dates(text, today, in_prose=True)))


def _any(text: str, today: date) -> Iterator[date]:
    yield from _dates(text, today)
    lower = text.lower()
    if re.search(r"\btoday\b", lower):
        yield today
    if re.search(r"\btomorrow\b", lower):
        yield today + timedelta(days=1)
    for named in _WEEKDAY.findall(lower):
        yield today + timedelta(days=(_WEEKDAYS.index(named) - today.weekday() - 1) % 7 + 1)


def _dates(text: str, today: date, *, in_prose: bool = False) -> Iterator[date]:
    lower = text.translate(_LOWER)
    for pattern in (_ISO, _DOTTED, _DASHED, _DAY_FIRST, _MONTH_FIRST):
        for found in pattern.finditer(lower):
            parts = found.groupdict()
            number, day = parts.get("number"), int(parts["day"])
            month = int(number) if number else _MONTHS.index(found["month"][:3]) + 1
            if parts["year"]:
                yield from _made(int(parts["year"]), month, day)
            elif not in_prose or _is_day_to_come(lower[: found.start()], found, text):
                yield from _next(month, day, today)


def _is_day_to_come(before: str, found: re.Match[str], text: str) -> bool:
    """Whether a date without a year, found in a longer text, is meant as one, and as one to come."""
    if _OVER.search(before):
        return False
    parts = found.groupdict()
    month = parts.get("month")
    if month is not None and (month != "may" or text[found.start("month")] == "M"):
        return True
    return bool(parts.get("nth")) or _BY.search(before) is not None


def _next(month: int, day: int, today: date) -> Iterator[date]:
    """Yield the next such day; 29 February may be up to eight years away."""
    for year in range(today.year, today.year + 9):
        for found in _made(year, month, day):
            if found >= today:
                yield found
                return


def _made(year: int, month: int, day: int) -> Iterator[date]:
    try:
        yield date(year, month, day)
    except ValueError:
        return
