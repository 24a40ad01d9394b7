"""When a person may be disturbed: weekdays, working hours and public holidays, in their own zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from fnmatch import fnmatchcase
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays

from nhi.countries import of_zone

NO_HOLIDAYS = "none"  # as a place in policy: there nobody is left alone on any


def is_working_time(now: datetime, tz: str, hours: tuple[time, time], places: Mapping[str, str]) -> bool:
    """Whether it is a working hour of a working day in this zone; an unknown zone counts as UTC.

    `places` maps zones (globs) to countries, before the country that the zone itself lies in.
    """
    local = now.astimezone(zone(tz))
    start, end = hours
    return local.weekday() < 5 and start <= local.time() < end and not is_holiday(local.date(), tz, places)


def is_holiday(day: date, tz: str, places: Mapping[str, str]) -> bool:
    """Whether this day is a public holiday where people of this zone live: by policy's first place that fits, else in
    the zone's own country, throughout it. Of a zone of no one country, like UTC, no holiday is known.
    """
    place = next((place for glob, place in places.items() if fnmatchcase(tz, glob)), None)
    place = _country_of(tz) if place is None else place
    return place is not None and place != NO_HOLIDAYS and day in _of_year(place, day.year)


@cache
def _country_of(tz: str) -> str | None:
    country = of_zone(tz)
    return country if country in holidays.list_supported_countries() else None


@cache
def _of_year(place: str, year: int) -> frozenset[date]:
    country, _, part = place.partition("-")
    return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))


def check_place(place: str) -> None:
    """Raise ValueError, with the way out, where no holidays are known of this country or its part."""
    if place == NO_HOLIDAYS:
        return
    country, _, part = place.partition("-")
    known = holidays.list_supported_countries()
    if country not in known or (part and part not in known[country]):
        ways = f'by country, like "DE", or its part, like "DE-BY", or are "{NO_HOLIDAYS}"'
        raise ValueError(f"holidays are known {ways}; got {place!r}")


def zone(tz: str) -> ZoneInfo:
    """Return the zone of that name, or UTC where the name is not a zone (Slack profiles may hold anything)."""
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
