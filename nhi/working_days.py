"""When a person may be disturbed: weekdays, working hours and public holidays, in their own zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from fnmatch import fnmatchcase
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays


def is_working_time(now: datetime, tz: str, hours: tuple[time, time], places: Mapping[str, str]) -> bool:
    """Whether it is a working hour of a working day in this zone; an unknown zone counts as UTC.

    `places` maps zones (globs) to countries; of a zone that none fits no holiday is known.
    """
    local = now.astimezone(zone(tz))
    start, end = hours
    return local.weekday() < 5 and start <= local.time() < end and not is_holiday(local.date(), tz, places)


def is_holiday(day: date, tz: str, places: Mapping[str, str]) -> bool:
    """Whether this day is a public holiday where people of this zone live, by policy's first place that fits."""
    place = next((place for glob, place in places.items() if fnmatchcase(tz, glob)), None)
    return place is not None and day in _of_year(place, day.year)


@cache
def _of_year(place: str, year: int) -> frozenset[date]:
    country, _, part = place.partition("-")
    return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))


def check_place(place: str) -> None:
    """Raise ValueError, with the way out, where no holidays are known of this country or its part."""
    country, _, part = place.partition("-")
    known = holidays.list_supported_countries()
    if country not in known or (part and part not in known[country]):
        raise ValueError(f'holidays are known by country, like "DE", or its part, like "DE-BY"; got {place!r}')


def zone(tz: str) -> ZoneInfo:
    """Return the zone of that name, or UTC where the name is not a zone (Slack profiles may hold anything)."""
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
