"""What an identity may do, for a terminal: a line each, and the smaller policy as a diff that can be pasted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape

from nhi.powers import Power, in_words
from nhi.redact import one_line

Json = dict[str, Any]
OUTSIDE_AT_MOST = 5
LINES_AT_MOST = 60
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def lines(match: Json) -> Iterator[str]:
    """Yield what is known of what it may do, in the order in which people want to know it."""
    may, place = match["permissions"], match["identity"].get("environment")
    if place:
        yield f"environment: {place['name']} ({place['because']})"
    if powers := may.get("powers"):
        yield f"may {in_words(Power(one['power']) for one in powers)}"
        yield from (f"  {one['power'].replace('_', ' ')}: {_some(one['by'])}" for one in powers)
    if use := may.get("use"):
        since = f" since {use['since'][:10]}" if use["since"] else ""
        yield f"used {len(use['used'])} of {use['allowed']}{since}: {_some(sorted(use['used'])) or 'none'}"
    if unread := may.get("unread"):
        yield f"may be able to do more, since these could not be read: {_some(unread)}"
    for trust in [one for one in may.get("trust", ()) if one["outside"]][:OUTSIDE_AT_MOST]:
        only = f" if {trust['condition']}" if trust["condition"] else ""
        yield f"from outside, {trust['who']} may be it{only}"
    if grown := may.get("grew"):
        new = _some(action for one in grown["statements"] for action in one.get("actions", ["all but some"]))
        more = _some([new, *grown["trust"]])
        yield f"may do more than when somebody last answered for it ({grown['since'][:10]}): {more}"


def smaller(match: Json) -> Iterator[str]:
    """Yield the diff to what would do, coloured; the whole, and Terraform, are in `--json`."""
    least = match["permissions"].get("least")
    if not least:
        return
    yield "[bold]This would do[/] (as JSON and Terraform: `--json`, permissions.least):"
    found = least["diff"].splitlines()
    for line in map(_plain, found[:LINES_AT_MOST]):
        colour = _COLOURS.get(line[:1])
        yield f"[{colour}]{escape(line)}[/]" if colour else escape(line)
    if len(found) > LINES_AT_MOST:
        yield f"[dim]and {len(found) - LINES_AT_MOST} more lines[/]"


def _plain(line: str) -> str:
    """Return a line with its indentation, and nothing in it that would turn it around or end it."""
    rest = line[1:].lstrip(" ")
    return line[: len(line) - len(rest)] + one_line(rest)


def _some(words: Any, most: int = 6) -> str:
    every = [str(word) for word in words if word]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
