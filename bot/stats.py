"""`/nhi stats`: figures in words, and unowned-hours as a picture that reads the same on light and dark. Pure."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from bot.messages import Message
from bot.render import Json, say
from nhi.redact import tidy
from nhi.stats import Stats

WIDTH, HEIGHT = 1000, 520
LEFT, RIGHT, TOP, BOTTOM = 100, 250, 84, 64
# Its own background is drawn. These five differ in lightness too, for who does not tell colours apart.
PAPER, INK, FAINT = "#f8f8f7", "#1d1c1d", "#d5d4d2"
COLOURS = ("#12436d", "#b4451f", "#28a197", "#801650", "#76726c")
TICKS = 4
LABEL_APART = 26
LINES_AT_MOST = 8


def message(stats: Stats) -> Message:
    """Return the figures in words; they say all that the picture shows."""
    said = say("stats.figures", **_words(stats))
    return Message(blocks=[said.rich()], text=say("stats.text", **_words(stats)).spoken())


def with_picture(stats: Stats, file_id: str) -> Message:
    """Return the message that shows the uploaded picture, and says in words what is on it."""
    alt = alt_text(stats)
    picture: Json = {
        "type": "image",
        "slack_file": {"id": file_id},
        "alt_text": alt,
        "title": say("stats.title").plain_text(2000),
    }
    return Message(blocks=[picture], text=alt)


def alt_text(stats: Stats) -> str:
    """Return what the picture shows, in words."""
    return say("stats.alt", **_words(stats)).plain(1900)


def _words(stats: Stats) -> Json:
    first = stats.first_answer
    return {
        "days": len(stats.days),
        "kinds": [{"kind": kind, "count": count} for kind, count in stats.kinds[:LINES_AT_MOST]],
        "teams": [
            {"team": team, "hours": round(sum(hours)), "before": round(hours[0]), "now": round(hours[-2])}
            for team, hours in stats.hours
        ],
        "asked": stats.asked,
        "answered": stats.answered,
        "first_hours": None if first is None else round(first.total_seconds() / 3600, 1),
    }


def draw(stats: Stats, title: str) -> bytes:
    """Return a PNG: a line a team, each named at its end; without a team, an empty frame."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    most = max([1.0, *(hour for _, hours in stats.hours for hour in hours)])
    floor, width = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT
    pen.rectangle([0, 0, WIDTH - 1, HEIGHT - 1], outline=FAINT)
    pen.text((LEFT, 26), title, fill=INK, font=_font(28))
    for number in range(TICKS + 1):
        y = floor - (floor - TOP) * number / TICKS
        pen.line([(LEFT, y), (LEFT + width, y)], fill=FAINT, width=1)
        pen.text((LEFT - 12, y), f"{most * number / TICKS:,.0f}", fill=INK, font=_font(20), anchor="rm")
    ends: list[tuple[float, str, str]] = []
    for (team, hours), colour in zip(stats.hours, COLOURS, strict=False):
        points = [
            (LEFT + width * day / max(1, len(hours) - 1), floor - (floor - TOP) * value / most)
            for day, value in enumerate(hours)
        ]
        pen.line(points, fill=colour, width=4, joint="curve")
        ends.append((points[-1][1], tidy(team, 18), colour))
    _name(pen, ends, LEFT + width + 12)
    pen.text((LEFT, floor + 14), f"{stats.days[0]:%-d %b}", fill=INK, font=_font(20))
    pen.text((LEFT + width, floor + 14), f"{stats.days[-1]:%-d %b}", fill=INK, font=_font(20), anchor="ra")
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _name(pen: ImageDraw.ImageDraw, ends: Sequence[tuple[float, str, str]], x: float) -> None:
    """Write each line's name beside its end, none over another."""
    low = float(TOP)
    for number, (y, name, colour) in enumerate(sorted(ends)):
        room = HEIGHT - BOTTOM - LABEL_APART * (len(ends) - 1 - number)
        at = min(max(y, low), room)
        pen.text((x, at), name, fill=colour, font=_font(20), anchor="lm")
        low = at + LABEL_APART


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
