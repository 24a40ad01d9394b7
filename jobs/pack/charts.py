"""Charts as inline SVG: no script, colours from the page's style, the numbers written beside the bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, ROW, LABEL, NUMBER = 420, 26, 132, 52  # in the drawing's own units


@dataclass(frozen=True)
class Bar:
    """One bar. `tone` is a class of the page's style: calm, good, warn, bad."""

    label: str
    value: int
    tone: str = "calm"


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Return a chart of horizontal bars, in the order given; the widest is as wide as there is room."""
    most = max((row.value for row in rows), default=0) or 1
    height = ROW * len(rows) + 4
    said = "; ".join(f"{row.label}: {row.value}" for row in rows)
    drawn = Markup("").join(_bar(row, number, most) for number, row in enumerate(rows))
    return Markup(
        '<figure class="chart"><figcaption>{title}</figcaption><svg viewBox="0 0 {width} {height}" role="img" '
        'aria-label="{title}. {said}" preserveAspectRatio="xMinYMin meet">{drawn}</svg></figure>'
    ).format(title=title, width=WIDTH, height=height, said=said, drawn=drawn)


def _bar(row: Bar, number: int, most: int) -> Markup:
    room = WIDTH - LABEL - NUMBER
    width = round(room * row.value / most, 1)
    top = ROW * number + 4
    return Markup(
        '<text class="label" x="{end}" y="{base}" text-anchor="end">{label}</text>'
        '<rect class="track" x="{left}" y="{top}" width="{room}" height="{thick}" rx="3"/>'
        '<rect class="bar {tone}" x="{left}" y="{top}" width="{width}" height="{thick}" rx="3"/>'
        '<text class="value" x="{after}" y="{base}">{value:,}</text>'
    ).format(
        end=LABEL - 8,
        base=top + 13,
        label=row.label,
        left=LABEL,
        top=top,
        room=room,
        thick=ROW - 8,
        tone=row.tone,
        width=width,
        after=WIDTH - NUMBER + 8,
        value=row.value,
    )
