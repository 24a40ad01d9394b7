"""`/nhi stats`: figures in words, and unowned-hours as a picture that reads the same on light and dark. Pure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from bot.messages import Message
from bot.render import Json, say
from nhi.redact import tidy
from nhi.stats import Stats
from nhi.words import written

WIDTH, HEIGHT = 1000, 760
LEFT, RIGHT, TOP, FLOOR = 100, 250, 84, 440  # of the lines' frame; FLOOR is where nothing is
BELOW, BAR, BAR_APART, BARS_FROM, BARS_TO = 540, 24, 36, 250, 560  # of the bars beneath it
BARS_AT_MOST = 5
ANSWERS_FROM = 650
# Its own background is drawn. These five differ in lightness too, for who does not tell colours apart.
PAPER, INK, FAINT = "#f8f8f7", "#1d1c1d", "#d5d4d2"
COLOURS = ("#12436d", "#b4451f", "#1b877e", "#801650", "#76726c")
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


def draw(stats: Stats) -> bytes:
    """Return a PNG: a line a team, each named at its end; beneath it findings by kind, and how soon people answer."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 0, WIDTH - 1, HEIGHT - 1], outline=FAINT)
    _lines(pen, stats)
    _bars(pen, stats)
    _answers(pen, stats)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _lines(pen: ImageDraw.ImageDraw, stats: Stats) -> None:
    """Draw the hours of whole days: today is not over, and would look like an improvement."""
    days, width = stats.days[:-1], WIDTH - LEFT - RIGHT
    teams = [(team, hours[:-1]) for team, hours in stats.hours]
    most = _round_up(max([1.0, *(hour for _, hours in teams for hour in hours)]))
    pen.text((LEFT, 26), _said("title"), fill=INK, font=_font(28))
    for number in range(TICKS + 1):
        y = FLOOR - (FLOOR - TOP) * number / TICKS
        pen.line([(LEFT, y), (LEFT + width, y)], fill=FAINT, width=1)
        pen.text((LEFT - 12, y), f"{most * number / TICKS:,.0f}", fill=INK, font=_font(20), anchor="rm")
    ends: list[tuple[float, str, str]] = []
    for (team, hours), colour in zip(teams, COLOURS, strict=False):
        points = [
            (LEFT + width * day / max(1, len(hours) - 1), FLOOR - (FLOOR - TOP) * value / most)
            for day, value in enumerate(hours)
        ]
        pen.line(points, fill=colour, width=4, joint="curve")
        ends.append((points[-1][1], tidy(team, 18), colour))
    _name(pen, ends, LEFT + width + 12)
    pen.text((LEFT, FLOOR + 14), written(days[0], "%-d %b"), fill=INK, font=_font(20))
    pen.text((LEFT + width, FLOOR + 14), written(days[-1], "%-d %b"), fill=INK, font=_font(20), anchor="ra")


def _round_up(most: float) -> float:
    """Return the least number above it of which each of TICKS parts is easy to read."""
    part = most / TICKS
    size = 10.0 ** math.floor(math.log10(part))
    return TICKS * next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= part)


def _name(pen: ImageDraw.ImageDraw, ends: Sequence[tuple[float, str, str]], x: float) -> None:
    """Write each line's name beside its end, none over another."""
    low = float(TOP)
    for number, (y, name, colour) in enumerate(sorted(ends)):
        room = FLOOR - LABEL_APART * (len(ends) - 1 - number)
        at = min(max(y, low), room)
        pen.text((x, at), name, fill=colour, font=_font(20), anchor="lm")
        low = at + LABEL_APART


def _bars(pen: ImageDraw.ImageDraw, stats: Stats) -> None:
    pen.text((LEFT, BELOW - 46), _said("title_kinds"), fill=INK, font=_font(24))
    most = max([1, *(count for _, count in stats.kinds)])
    for number, (kind, count) in enumerate(stats.kinds[:BARS_AT_MOST]):
        y = BELOW + BAR_APART * number
        end = BARS_FROM + (BARS_TO - BARS_FROM - 60) * count / most
        pen.text((BARS_FROM - 12, y + BAR / 2), tidy(kind, 16), fill=INK, font=_font(20), anchor="rm")
        pen.rectangle([BARS_FROM, y, max(end, BARS_FROM + 2), y + BAR], fill=COLOURS[0])
        pen.text((end + 8, y + BAR / 2), f"{count:,}", fill=INK, font=_font(20), anchor="lm")


def _answers(pen: ImageDraw.ImageDraw, stats: Stats) -> None:
    pen.text((ANSWERS_FROM, BELOW - 46), _said("title_answers"), fill=INK, font=_font(24))
    pen.text((ANSWERS_FROM, BELOW + 4), _said("first_answer", **_words(stats)), fill=COLOURS[0], font=_font(44))
    pen.text((ANSWERS_FROM, BELOW + 66), _said("answered", **_words(stats)), fill=INK, font=_font(20))


def _said(name: str, **facts: object) -> str:
    return say(f"stats.{name}", **facts).plain()


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
