"""The burn-down as a picture: how much of a review is left, day by day. Pure: figures in, PNG out.

Its own background is drawn, with dark ink on a light card, so that it reads the same in Slack's light and dark themes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date

from PIL import Image, ImageDraw, ImageFont

from nhi.words import sentence

WIDTH, HEIGHT = 1000, 460
LEFT, RIGHT, TOP, BOTTOM = 90, 40, 118, 70
PAPER, INK, FAINT, LINE, EVEN, DUE = "#f8f8f7", "#1d1c1d", "#d5d4d2", "#1264a3", "#76726c", "#b4451f"
TICKS = 4


def draw(title: str, days: Sequence[tuple[date, int]], due_on: date) -> bytes:
    """Return a PNG: `days` holds what was left each day, oldest first, and is not empty."""
    first, most = days[0][0], max(1, *(left for _, left in days))
    span = max(1, (max(due_on, days[-1][0]) - first).days)
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)

    def at(day: date, left: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (day - first).days / span
        return x, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * left / most

    _frame(pen, title, most, at(first, 0)[1])
    _dashed(pen, at(first, days[0][1]), at(due_on, 0))
    x, _ = at(due_on, 0)
    pen.line([(x, TOP), (x, HEIGHT - BOTTOM)], fill=DUE, width=2)
    points = [at(day, left) for day, left in days]
    if len(points) > 1:
        pen.line(points, fill=LINE, width=5, joint="curve")
    last_x, last_y = points[-1]
    pen.ellipse([last_x - 8, last_y - 8, last_x + 8, last_y + 8], fill=LINE)
    near_edge = last_x > WIDTH - RIGHT - 140
    where, anchor = (last_x + (0 if near_edge else 14), last_y - 12), "rs" if near_edge else "ls"
    pen.text(where, sentence("review.burndown_left", left=days[-1][1]), fill=LINE, font=_font(24), anchor=anchor)
    pen.text((LEFT, HEIGHT - BOTTOM + 14), sentence("review.burndown_day", day=first), fill=INK, font=_font(20))
    pen.text(
        (x, HEIGHT - BOTTOM + 14), sentence("review.burndown_due", day=due_on), fill=DUE, font=_font(20), anchor="ra"
    )
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _frame(pen: ImageDraw.ImageDraw, title: str, most: int, floor: float) -> None:
    pen.rectangle([0, 0, WIDTH - 1, HEIGHT - 1], outline=FAINT)
    pen.text((LEFT, 26), title, fill=INK, font=_font(28))
    for value in sorted({round(most * number / TICKS) for number in range(TICKS + 1)}):
        y = floor - (floor - TOP) * value / most
        pen.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=FAINT, width=1)
        pen.text((LEFT - 12, y), f"{value:,}", fill=INK, font=_font(20), anchor="rm")


def _dashed(pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], pieces: int = 60) -> None:
    """Draw the even pace, as dashes: it is what should be, and not what was."""
    (x0, y0), (x1, y1) = start, end
    for number in range(0, pieces, 2):
        a, b = number / pieces, (number + 1) / pieces
        pen.line(
            [(x0 + (x1 - x0) * a, y0 + (y1 - y0) * a), (x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)], fill=EVEN, width=3
        )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
