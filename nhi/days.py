"""A day as people type it: "12 Jan", "Jan 12", "12 December 2026", "2027-01-12", "tomorrow", "Friday". Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
# Whole names and their usual abbreviations only: "3 marketing hosts" is no day in March.
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_ISO = re.compile(r"\b(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})\b")
_DAY_FIRST = re.compile(
    rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?(?: of)? (?P<month>{_MONTH})(?:,? (?P<year>\d{{4}})\b)?"
)
_MONTH_FIRST = re.compile(rf"\b(?P<month>{_MONTH}) (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<year>\d{{4}})\b)?")
_WEEKDAY = re.compile(rf"\b(?:{'|'.join(_WEEKDAYS)})\b")


def read_day(text: str, today: date) -> date | None:
    """Return the day that a short text names, as in a command; one without a year is the next to come.

    A written-out date counts before "tomorrow", and that before a weekday. None: it names none.
    """
    return next(_any(text.lower(), today), None)


def dates_in(text: str, today: date) -> list[date]:
    """Return the dates that a longer text writes out, in their order in time; one without a year is the next to come.

    Weekdays do not count: what "runs each Monday" is not promised for Monday.
    """
    return sorted(set(_dates(text.lower(), today)))


def _any(text: str, today: date) -> Iterator[date]:
    yield from _dates(text, today)
    if re.search(r"\btoday\b", text):
        yield today
    if re.search(r"\btomorrow\b", text):
        yield today + timedelta(days=1)
    for named in _WEEKDAY.findall(text):
        yield today + timedelta(days=(_WEEKDAYS.index(named) - today.weekday() - 1) % 7 + 1)


def _dates(text: str, today: date) -> Iterator[date]:
    for found in _ISO.finditer(text):
        yield from _made(int(found["year"]), int(found["number"]), int(found["day"]))
    for pattern in (_DAY_FIRST, _MONTH_FIRST):
        for found in pattern.finditer(text):
            number, day = _MONTHS.index(found["month"][:3]) + 1, int(found["day"])
            if found["year"]:
                yield from _made(int(found["year"]), number, day)
            else:
                yield from _next(number, day, today)


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
