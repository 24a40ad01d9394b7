"""Templates to Slack: prose in, blocks out, and escaping that cannot be forgotten.

A template is prose with the mark-up people know from Slack: `*bold*`, `_italic_`, code in backticks, and lines that
begin with `- ` for a list. Whatever a `{{ }}` prints is made inert before it gets there: one line, no control or bidi
characters, no secrets, and each character that could mean something to Slack is swapped for a stand-in from Unicode's
private use area, which untrusted text cannot hold since it is stripped of those. The prose is then read into rich-text
elements or plain text, and only after that do the stand-ins become themselves again. So no text from a cloud or a
person is ever read as mark-up, and nothing that we send is of Slack's type `mrkdwn`; an ARN can still be copied whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from nhi.database import ROOT
from nhi.redact import tidy

Json = dict[str, Any]
Blocks = list[Json]
Cards = Sequence[tuple[Json, str | None]]  # each card's facts, and the id of the offer that its buttons stand for


@dataclass(frozen=True, kw_only=True)
class Message:
    """What goes to Slack: blocks, and the text that notifications and screen readers get instead."""

    blocks: Blocks
    text: str


LANGUAGE = "en"  # what is shipped, and what stands in for what another language lacks
NOT_KNOWN = "not known"
NOTHING = "…"  # where nothing is left to show: Slack refuses an empty text
TEXT_AT_MOST = 1500  # of a message's `text`; Slack updates take 4,000, and nobody listens for longer
PLAIN_AT_MOST = 3000  # of a plain_text element

_MEANING = "*_~`<>&@:#-|"  # characters that mean something in the prose, or to Slack
_STAND_INS = {ord(meant): 0xE100 + at for at, meant in enumerate(_MEANING)}
_THEMSELVES = {stand_in: meant for meant, stand_in in _STAND_INS.items()}
_DATE_OPENS, _DATE_CLOSES = "\ue000", "\ue001"

_KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
_DATE = re.compile(f"{_DATE_OPENS}(\\d+) ([^{_DATE_CLOSES}]*){_DATE_CLOSES}")
_MARKED = re.compile(r"\*(?P<bold>[^*\n]+)\*|(?<!\w)_(?P<italic>[^_\n]+)_(?!\w)|`(?P<code>[^`\n]+)`")
_BULLET = "- "


class Inert(str):
    """Text that is ready to stand in the prose. Whatever is made from it (joined, cut) is ordinary text again."""

    __slots__ = ()


def inert(value: object) -> Inert:
    """Return what a `{{ }}` prints: Jinja's `finalize`, so that no template can leave it out."""
    if isinstance(value, Inert):
        return value
    if value is None:
        return Inert(NOT_KNOWN)
    return Inert(tidy(str(value)).translate(_STAND_INS))


def cut(value: object, longest: int) -> str:
    """Filter: at most so many characters, with an ellipsis where some are left out."""
    return NOT_KNOWN if value is None else tidy(str(value), longest)


def code(value: object, longest: int = 100) -> Inert:
    """Filter: a name, address or ARN, set as code."""
    return Inert(f"`{inert(cut(value, longest) or '(no name)')}`")


def key_id(value: object) -> Inert:
    """Filter: a credential's public id, which we show on purpose; anything else in its place is untrusted text."""
    text = str(value)
    return Inert(f"`{text}`") if _KEY_ID.fullmatch(text) else code(value, 40)


def read_moment(value: object) -> datetime | None:
    """Return the instant of an RFC 3339 text; None: it is none."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def day(value: object) -> str:
    """Filter: the day in UTC, "Fri 21 Nov 2026"."""
    moment = read_moment(value)
    return f"{moment:%a} {moment.day} {moment:%b} {moment.year}" if moment else NOT_KNOWN


def last_day(value: object) -> str:
    """Filter: the last day before an instant that ends a day: what holds until midnight holds on the day before."""
    moment = read_moment(value)
    return day(moment - timedelta(microseconds=1)) if moment and moment.year > 1 else day(value)


def moment(value: object) -> Inert:
    """Filter: day and time, in each reader's own zone where Slack can tell it, else in UTC."""
    instant = read_moment(value)
    if instant is None:
        return Inert(NOT_KNOWN)
    fallback = inert(f"{day(instant)} at {instant:%H:%M} UTC")
    since_1970 = int(instant.timestamp())
    return Inert(f"{_DATE_OPENS}{since_1970} {fallback}{_DATE_CLOSES}") if since_1970 >= 0 else fallback


def plural(count: int, one: str, many: str | None = None) -> str:
    """Filter: the number with its noun, "1 question", "3 questions"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(values: Sequence[object], more: int = 0, *, plain: bool = False) -> Inert:
    """Filter: names after each other, as code or `plain`, and how many more there are: "`a`, `b` and 2 more"."""
    shown = ", ".join(inert(cut(value, 60)) if plain else code(value, 60) for value in values)
    return Inert(f"{shown} and {more} more" if more > 0 else shown)


_speaking: ContextVar[str] = ContextVar("language", default=LANGUAGE)


def speak(language: str) -> None:
    """Say everything from now on in another language, in this thread and in what it hands to others after an ack."""
    _speaking.set(language)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Say everything within this in another language: a folder of templates/."""
    before = _speaking.set(language)
    try:
        yield
    finally:
        _speaking.reset(before)


TEMPLATES = ROOT / "templates"  # a folder for each language


@cache
def environment(language: str = LANGUAGE, folder: Path | None = None) -> Environment:
    """Return the Jinja environment of a language; a template that its folder lacks is taken from English."""
    made = Environment(  # noqa: S701  (HTML's escaping would be wrong here; `finalize` is ours, and cannot be left out)
        loader=FileSystemLoader([(folder or TEMPLATES) / language, (folder or TEMPLATES) / LANGUAGE]),
        undefined=StrictUndefined,
        finalize=inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        {"cut": cut, "code": code, "key_id": key_id, "day": day, "last_day": last_day}
        | {"moment": moment, "plural": plural, "listed": listed}
    )
    return made


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
        shown = "\n".join(_unmarked(line) for line in self.lines())
        return shown if len(shown) <= most else shown[: most - 1] + "…"

    def plain_text(self, most: int = PLAIN_AT_MOST) -> Json:
        """Return a plain_text element."""
        return {"type": "plain_text", "text": self.plain(most) or NOTHING, "emoji": False}

    def context(self) -> Json:
        """Return a context block: small and grey."""
        return {"type": "context", "elements": [self.plain_text()]}

    def spoken(self) -> str:
        """Return a message's `text`: one line that can be read aloud, escaped, without anything that Slack acts on."""
        shown = " ".join(_unmarked(line).removeprefix("• ") for line in self.lines() if line)
        return harmless(shown if len(shown) <= TEXT_AT_MOST else shown[: TEXT_AT_MOST - 1] + "…") or NOTHING


def harmless(text: str) -> str:
    """Return text for the one place that Slack reads as mrkdwn: no mark-up, mention or link can come of it."""
    text = re.sub(r"[*~`]|(?<!\w)[_@]+|_+(?!\w)", "", text).replace("://", ": //")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def say(where: str, /, **facts: Any) -> Words:
    """Render one block of a template: `say("card.open", ...)` is the block `open` of `card.mrkdwn.j2`."""
    name, _, block = where.partition(".")
    template = _template(name, _speaking.get())
    if block not in template.blocks:  # a language that is behind says this piece in English
        template = _template(name, LANGUAGE)
    rendered = "".join(template.blocks[block](template.new_context(facts)))
    return Words(prose=rendered)


def sentence(where: str, /, **facts: Any) -> str:
    """Render one block of a template as one line of plain text."""
    return " ".join(line for line in say(where, **facts).plain().split("\n") if line)


@cache
def _template(name: str, language: str) -> Template:
    return environment(language).get_template(f"{name}.mrkdwn.j2")


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
    for found in _MARKED.finditer(prose):
        yield from _texts_and_dates(prose[at : found.start()], style)
        kind = str(found.lastgroup)
        yield from _leaves(found[kind], style | {kind: True})
        at = found.end()
    yield from _texts_and_dates(prose[at:], style)


def _texts_and_dates(prose: str, style: dict[str, bool]) -> Iterator[Json]:
    styled = {"style": style} if style else {}
    at = 0
    for found in _DATE.finditer(prose):
        yield from _text(prose[at : found.start()], styled)
        date = {"timestamp": int(found[1]), "format": "{date_short_pretty} at {time}"}
        yield {"type": "date", **date, "fallback": _themselves(found[2]), **styled}
        at = found.end()
    yield from _text(prose[at:], styled)


def _text(prose: str, styled: Json) -> Iterator[Json]:
    if prose:
        yield {"type": "text", "text": _themselves(prose), **styled}


def _unmarked(line: str) -> str:
    bullet = line.startswith(_BULLET)
    line = _DATE.sub(r"\2", line.removeprefix(_BULLET) if bullet else line)
    previous = None
    while previous != line:
        previous, line = line, _MARKED.sub(lambda found: found[str(found.lastgroup)], line)
    return ("• " if bullet else "") + _themselves(line)


def _themselves(prose: str) -> str:
    return prose.translate(_THEMSELVES)
