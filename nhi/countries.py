"""Countries, by their names for sentences and by the zones that lie in them: as the time zone database tells."""

from __future__ import annotations

from functools import cache
from importlib import resources


def _rows(name: str) -> list[list[str]]:
    text = (resources.files("tzdata") / "zoneinfo" / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


@cache
def _names() -> dict[str, str]:
    return {row[0]: row[1].strip() for row in _rows("iso3166.tab")}


@cache
def _of_zones() -> dict[str, str]:
    return {row[2]: row[0] for row in _rows("zone.tab")}


def name_of(code: str) -> str:
    """Return what a country is called in English: "Ireland" of "IE"; an unknown code stays as it is."""
    return _names().get(code, code)


def of_zone(tz: str) -> str | None:
    """Return the code of the country that a time zone lies in; None: it is of no one country, or an older name."""
    return _of_zones().get(tz)
