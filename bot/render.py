"""Templates to Slack: prose in (nhi/words.py makes it, with what was put into it inert), Slack's blocks out.

Prose is read into rich-text elements or plain text, and only after that does text from a cloud or a person become
itself again. So it is never read as mark-up, and nothing that we send is of Slack's type `mrkdwn`; an ARN can still be
copied whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nhi.words import DATE, MARKED, PLAIN_AT_MOST, cut, prose, shown, themselves

Json = dict[str, Any]
Blocks = list[Json]
Cards = Sequence[tuple[Json, str | None]]  # each card's facts, and the id of the offer that its buttons stand for


@dataclass(frozen=True, kw_only=True)
class Message:
    """What goes to Slack: blocks, and the text that notifications and screen readers get instead."""

    blocks: Blocks
    text: str


NOTHING = "…"  # where nothing is left to show: Slack refuses an empty text
TEXT_AT_MOST = 1500  # of a message's `text`; Slack updates take 4,000, and nobody listens for longer
_BULLET = "- "


@dataclass(frozen=True, kw_only=True)
class Words:
    """A rendered piece of prose, not yet in any of Slack's shapes."""

    prose: str

    def lines(self) -> list[str]:
        """Return the lines, without space around them, with at most one empty line between two."""
        stripped = "\n".join(line.strip() for line in self.prose.split("\n")).strip("\n")
        return re.sub(r"\n{3,}", "\n\n", stripped).split("\n")

    def rich(self, block_id: str | None = None) -> Json:
        """Return a rich_text block."""
        named = {"block_id": block_id} if block_id else {}
        return {"type": "rich_text", **named, "elements": list(_parts(self.lines())) or [_leaves_section(NOTHING)]}

    def plain(self, most: int = PLAIN_AT_MOST) -> str:
        """Return plain text, for titles, labels and context lines."""
        text = "\n".join(_unmarked(line) for line in self.lines())
        return text if len(text) <= most else text[: most - 1] + "…"

    def plain_text(self, most: int = PLAIN_AT_MOST) -> Json:
        """Return a plain_text element."""
        return {"type": "plain_text", "text": self.plain(most) or NOTHING, "emoji": False}

    def context(self) -> Json:
        """Return a context block: small and grey."""
        return {"type": "context", "elements": [self.plain_text()]}

    def spoken(self) -> str:
        """Return a message's `text`: one line that can be read aloud, escaped, without anything that Slack acts on."""
        text = " ".join(_unmarked(line).removeprefix("• ") for line in self.lines() if line)
        return harmless(text if len(text) <= TEXT_AT_MOST else text[: TEXT_AT_MOST - 1] + "…") or NOTHING


def harmless(text: str) -> str:
    """Return text for the one place that Slack reads as mrkdwn: no mark-up, mention or link can come of it."""
    text = re.sub(r"[*~`]|(?<!\w)[_@]+|_+(?!\w)", "", text).replace("://", ": //")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def say(where: str, /, **facts: Any) -> Words:
    """Render one block of a template: `say("card.open", ...)` is the block `open` of `card.mrkdwn.j2`."""
    return Words(prose=prose(where, **facts))


def text_length(part: Any) -> int:
    """Return the characters of text in blocks, at any depth; Slack takes about 10,000 in one message."""
    if isinstance(part, list):
        return sum(map(text_length, part))
    if not isinstance(part, dict):
        return 0
    own = part.get("text")
    return sum(map(text_length, part.values())) + (len(own) if isinstance(own, str) else 0)


def fitting(draw: Callable[[Any], Blocks], facts: Any, most: int) -> Blocks:
    """Return the blocks drawn from facts, with the facts' texts cut shorter where they would hold too much text."""
    blocks = draw(facts)
    for longest in (120, 60, 40):  # an id and an instant have fewer characters, so they stay whole
        if text_length(blocks) <= most:
            break
        blocks = draw(_shorter(facts, longest))
    return blocks


def _shorter(facts: Any, longest: int) -> Any:
    match facts:
        case str():
            return facts if len(facts) <= longest else cut(facts, longest)
        case dict():
            return {name: _shorter(value, longest) for name, value in facts.items()}
        case list() | tuple():
            return [_shorter(value, longest) for value in facts]
        case _:
            return facts


def _parts(lines: list[str]) -> Iterator[Json]:
    """Yield sections of running text and lists, in the order of the lines."""
    text: list[str] = []
    bullets: list[Json] = []
    for line in lines:
        if line.startswith(_BULLET):
            yield from _section(text)
            text = []
            bullets.append(_leaves_section(line.removeprefix(_BULLET)))
            continue
        if bullets:
            yield _list(bullets)
            bullets = []
        text.append(line)
    yield from _section(text)
    if bullets:
        yield _list(bullets)


def _section(lines: list[str]) -> Iterator[Json]:
    if prose := "\n".join(lines).strip("\n"):
        yield _leaves_section(prose)


def _leaves_section(prose: str) -> Json:
    return {"type": "rich_text_section", "elements": list(_leaves(prose, {}))}


def _list(bullets: list[Json]) -> Json:
    return {"type": "rich_text_list", "style": "bullet", "elements": bullets}


def _leaves(prose: str, style: dict[str, bool]) -> Iterator[Json]:
    at = 0
    for found in MARKED.finditer(prose):
        yield from _texts_and_dates(prose[at : found.start()], style)
        kind = str(found.lastgroup)
        yield from _leaves(found[kind], style | {kind: True})
        at = found.end()
    yield from _texts_and_dates(prose[at:], style)


def _texts_and_dates(prose: str, style: dict[str, bool]) -> Iterator[Json]:
    styled = {"style": style} if style else {}
    at = 0
    for found in DATE.finditer(prose):
        yield from _text(prose[at : found.start()], styled)
        date = {"timestamp": int(found[1]), "format": "{date_short_pretty} at {time}"}
        yield {"type": "date", **date, "fallback": themselves(found[2]), **styled}
        at = found.end()
    yield from _text(prose[at:], styled)


def _text(prose: str, styled: Json) -> Iterator[Json]:
    if prose:
        yield {"type": "text", "text": themselves(prose), **styled}


def _unmarked(line: str) -> str:
    bullet = line.startswith(_BULLET)
    return ("• " if bullet else "") + shown(line.removeprefix(_BULLET) if bullet else line)
