"""Words from templates: prose in, one sentence out, and escaping that cannot be forgotten.

A template is prose with the mark-up people know from Slack: `*bold*`, `_italic_`, code in backticks, and lines that
begin with `- ` for a list. Whatever a `{{ }}` prints is made inert before it gets there: one line, no control or bidi
characters, no secrets, and each character that could mean something to Slack is swapped for a stand-in from Unicode's
private use area, which untrusted text cannot hold since it is stripped of those. The prose is then read into plain text
here, or into Slack's blocks by bot/render.py, and only after that do the stand-ins become themselves again. So no text
from a cloud or a person is ever read as mark-up.

What people read is looked up here by whoever makes it (a finding's reason, a refusal), and kept as text from then on:
a record says what was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from nhi.redact import tidy

LANGUAGE = "en"  # what is shipped, and what stands in for what another language lacks
TEMPLATES = Path(__file__).resolve().parent.parent / "templates"  # a folder for each language
NOT_KNOWN = "not known"
PLAIN_AT_MOST = 3000  # characters

_MEANING = "*_~`<>&@:#-|"  # characters that mean something in the prose, or to Slack
_STAND_INS = {ord(meant): 0xE100 + at for at, meant in enumerate(_MEANING)}
_THEMSELVES = {stand_in: meant for meant, stand_in in _STAND_INS.items()}
_DATE_OPENS, _DATE_CLOSES = "\ue000", "\ue001"

_KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
DATE = re.compile(f"{_DATE_OPENS}(\\d+) ([^{_DATE_CLOSES}]*){_DATE_CLOSES}")
MARKED = re.compile(r"\*(?P<bold>[^*\n]+)\*|(?<!\w)_(?P<italic>[^_\n]+)_(?!\w)|`(?P<code>[^`\n]+)`")
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


def public_id(value: object) -> Inert:
    """Filter: a credential's public id in running text, without ticks; anything else in its place is untrusted text."""
    text = str(value)
    return Inert(text) if _KEY_ID.fullmatch(text) else inert(text)


def read_moment(value: object) -> datetime | None:
    """Return the instant of an RFC 3339 text; None: it is none."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def written(value: date | None, form: str) -> str:
    """Filter: a day or an instant as `strftime` writes it, with the language's own names of days and months."""
    if value is None:
        return NOT_KNOWN
    names = _names(_speaking.get() or _usual)
    for sign, at in (("%A", value.weekday()), ("%B", value.month - 1)):
        form = form.replace(sign, names[sign][at]).replace(sign.lower(), names[sign.lower()][at])
    return value.strftime(form)


@cache
def _names(language: str) -> Mapping[str, Sequence[str]]:
    """Return what days and months are called, in full and for short, by strftime's signs."""
    blocks = {"%A": "weekdays", "%a": "weekdays_short", "%B": "months", "%b": "months_short"}
    with speaking(language):
        return {sign: prose(f"words.{block}").split() for sign, block in blocks.items()}


def day(value: object) -> str:
    """Filter: the day in UTC, "Fri 21 Nov 2026"."""
    moment = read_moment(value)
    return written(moment, "%a %-d %b %Y") if moment else NOT_KNOWN


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
    return _and_more([inert(cut(value, 60)) if plain else code(value, 60) for value in values], more)


def few(values: Sequence[object], most: int = 3, of: int | None = None) -> Inert:
    """Filter: the first of many (`of`: of how many) in full, and how many more there are: "a, b, c and 2 more"."""
    return _and_more([inert(value) for value in values[:most]], (len(values) if of is None else of) - most)


def _and_more(names: Sequence[Inert], more: int) -> Inert:
    listing = Inert(", ".join(names))
    return Inert(prose("words.and_more", listing=listing, more=more)) if more > 0 else listing


def coded(value: object) -> Inert:
    """Filter: a sentence of ours that holds commands and settings in backticks, with those set as code."""
    parts = str(value).split("`")
    if len(parts) % 2 == 0:  # one was cut off
        parts[-2:] = ["`".join(parts[-2:])]
    return Inert("".join(code(part) if at % 2 and part.strip() else _between(part) for at, part in enumerate(parts)))


def _between(part: str) -> str:
    """Return text that stands beside code, with the spaces that part the two: `inert` takes those away."""
    said = inert(part)
    return " " * part[:1].isspace() + said + " " * (part[-1:].isspace() and said != "")


def span(length: timedelta) -> Inert:
    """Filter: a duration, rounded down: "90 days", "1 day", "4 hours"."""
    where, number = ("words.days", length.days) if length.days else ("words.hours", length // timedelta(hours=1))
    return _number_of(where, number, _speaking.get() or _usual)


@lru_cache(maxsize=10_000)
def _number_of(where: str, number: int, language: str) -> Inert:
    with speaking(language):
        return Inert(prose(where, number=number))


_speaking: ContextVar[str | None] = ContextVar("language", default=None)
_usual = LANGUAGE


def speak(language: str) -> None:
    """Say everything from now on in another language, in this thread and in what it hands to others after an ack."""
    _speaking.set(language)


def speak_usually(language: str) -> None:
    """Say everything in another language wherever `speak` and `speaking` say nothing else: in every thread."""
    global _usual  # noqa: PLW0603  (a process has one policy, and that names one language)
    _usual = language


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Say everything within this in another language: a folder of templates/."""
    before = _speaking.set(language)
    try:
        yield
    finally:
        _speaking.reset(before)


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
        | {"coded": coded, "span": span, "few": few, "public_id": public_id, "written": written}
    )
    return made


def prose(where: str, /, **facts: Any) -> str:
    """Render one block of a template, mark-up and all: `prose("card.open", ...)` is `open` of `card.mrkdwn.j2`."""
    name, _, block = where.partition(".")
    template = _template(name, _speaking.get() or _usual)
    if block not in template.blocks:  # a language that is behind says this piece in English
        template = _template(name, LANGUAGE)
    return "".join(template.blocks[block](template.new_context(facts)))


@cache
def _template(name: str, language: str) -> Template:
    return environment(language).get_template(f"{name}.mrkdwn.j2")


def sentence(where: str, /, **facts: Any) -> str:
    """Render one block of a template as one line of plain text. What is code keeps its backticks."""
    return _one_line(prose(where, **facts)) if facts else _fixed(where, _speaking.get() or _usual)


def repeated(where: str, /, **facts: str) -> str:
    """As `sentence`, for what is said with the same facts of many things, as of all in one project: made once."""
    return _repeated(where, _speaking.get() or _usual, tuple(facts.items()))


@lru_cache(maxsize=1000)
def _repeated(where: str, language: str, facts: tuple[tuple[str, str], ...]) -> str:
    with speaking(language):
        return sentence(where, **dict(facts))


@cache
def _fixed(where: str, language: str) -> str:
    with speaking(language):
        return _one_line(prose(where))


def _one_line(rendered: str) -> str:
    return shown(" ".join(filter(None, map(str.strip, rendered.split("\n")))), keep=("code",))[:PLAIN_AT_MOST]


def shown(line: str, keep: Sequence[str] = ()) -> str:
    """Return a line of prose as plain text: without its marks, but for those of the kinds to keep."""
    line = DATE.sub(r"\2", line)
    previous = None
    while previous != line:
        previous, line = line, MARKED.sub(partial(_unmark, keep=keep), line)
    return themselves(line)


def _unmark(found: re.Match[str], keep: Sequence[str]) -> str:
    kind = str(found.lastgroup)
    return found[0] if kind in keep else found[kind]


def themselves(line: str) -> str:
    """Return prose with what was made inert as it was."""
    return line.translate(_THEMSELVES)
