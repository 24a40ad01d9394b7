"""Names of countries, for sentences: from the list that the time zone database ships."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def _names() -> dict[str, str]:
    text = (resources.files("tzdata") / "zoneinfo" / "iso3166.tab").read_text(encoding="utf-8")
    rows = (line.split("\t", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {code: name.strip() for code, name in rows}


def name_of(code: str) -> str:
    """Return what a country is called in English: "Ireland" of "IE"; an unknown code stays as it is."""
    return _names().get(code, code)
