"""The company's list of people as CSV: read forgivingly, judged strictly, with every bad row named. Pure.

Spreadsheets write what they like: a byte order mark, semicolons, UTF-16, quotes before formulas. Column names may be
in any order and almost any spelling. What cannot be read for certain is a problem with its line number, never a guess.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from nhi.people import Entry, People, cycles
from nhi.redact import one_line, tidy

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "email": ("e-mail", "mail", "email address", "work email", "primary email", "user name"),
    "name": ("full name", "display name", "employee", "employee name"),
    "manager": ("manager email", "manager e-mail", "reports to", "line manager", "supervisor"),
    "team": ("group", "department", "squad", "team name"),
    "team channel": ("channel", "slack channel"),
    "team default": ("default", "default person", "team lead"),
    "start date": ("starts on", "start", "hire date", "first day", "joined"),
    "end date": ("ends on", "end", "termination date", "last day", "leaves", "leaving date"),
    "aliases": ("alias", "other emails", "other addresses", "secondary email"),
    "logins": ("login", "username", "usernames", "user id", "github", "handle"),
}
MOST_BYTES = 50_000_000
_EMAIL = re.compile(r"[^@\s<>\"',;]{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,63}")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FORMULA = tuple("=+-@\t\r")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a file that cannot be taken. `line` is as editors count; the sentence says what to do."""

    line: int
    says: str


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a file holds: the good rows, what is wrong with the others, and what is worth knowing."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


def read(data: bytes, known: People | None = None) -> Read:
    """Read a file. `known` are people that a manager's name or address may mean besides those in the file."""
    notes: list[str] = []
    if len(data) > MOST_BYTES:
        return _nothing(1, f"The file has more than {MOST_BYTES // 1_000_000} MB; is it the list of people?")
    text = _decode(data, notes)
    if "\0" in text:
        return _nothing(1, "The file holds NUL characters, so it is not CSV; export it as CSV in UTF-8.")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        lines = [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        return _nothing(rows.line_num, f"From here on it is not CSV ({error}); look for a quote that is never closed.")
    return _read_rows(lines, known or People(()), notes)


def _nothing(line: int, says: str) -> Read:
    return Read(entries=(), problems=(Problem(line=line, says=says),))


def _decode(data: bytes, notes: list[str]) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.append("The file is not UTF-8, so it was read as Windows-1252; check that names with accents are right.")
        return data.decode("cp1252", "replace")


def _delimiter(text: str) -> str:
    """Return what stands between columns: whichever of `,`, `;` and tab the first line has most of."""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _read_rows(lines: Sequence[tuple[int, list[str]]], known: People, notes: list[str]) -> Read:
    filled = [(number, row) for number, row in lines if any(cell.strip() for cell in row)]
    if not filled:
        return _nothing(1, "The file is empty; its first line names the columns, such as email,name,manager,team.")
    number, header = filled[0]
    columns, problems = _columns(number, header, notes)
    if problems:
        return Read(entries=(), problems=tuple(problems), notes=tuple(notes))
    rows: list[tuple[int, Entry]] = []
    for number, row in filled[1:]:
        found = _row(number, row, columns, len(header))
        if isinstance(found, Problem):
            problems.append(found)
        else:
            rows.append((number, found))
    rows = _without_doubles(rows, problems)
    rows = [(number, one) for number, entry in rows if (one := _managed(number, entry, rows, known, problems))]
    entries = tuple(entry for _, entry in rows)
    notes += _notes(entries, known)
    return Read(entries=entries, problems=tuple(sorted(problems, key=lambda one: one.line)), notes=tuple(notes))


# -- the header --------------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


_NAMES = {_plain(name): column for column, others in COLUMNS.items() for name in (column, *others)}


def _columns(number: int, header: Sequence[str], notes: list[str]) -> tuple[dict[int, str], list[Problem]]:
    """Return which column means what, by position."""
    found: dict[int, str] = {}
    problems: list[Problem] = []
    for position, cell in enumerate(header):
        name = tidy(cell, 60)
        meant = _NAMES.get(_plain(cell))
        if meant is None:
            near = difflib.get_close_matches(_plain(cell), _NAMES, n=1, cutoff=0.75)
            if near:
                says = f"The column “{name}” is not known; did you mean “{_NAMES[near[0]]}”? Rename it or drop it."
                problems.append(Problem(line=number, says=says))
            elif name:
                notes.append(f"The column “{name}” is not used.")
        elif meant in found.values():
            problems.append(Problem(line=number, says=f"Two columns mean “{meant}”; leave one of them out."))
        else:
            found[position] = meant
    if "email" not in found.values() and not problems:
        known = ", ".join(COLUMNS)
        problems.append(Problem(line=number, says=f"No column holds the e-mail addresses. Known columns: {known}."))
    return found, problems


# -- one row -----------------------------------------------------------------------------------------------------------


class _BadCellError(Exception):
    """A cell that cannot be taken, and what to do."""


def _row(number: int, row: Sequence[str], columns: Mapping[int, str], width: int) -> Entry | Problem:
    if len(row) > width and any(cell.strip() for cell in row[width:]):
        says = f"There are {len(row)} cells but {width} columns; a cell that holds a separator needs quotes."
        return Problem(line=number, says=says)
    cells = {name: _cell(row[at]) if at < len(row) else "" for at, name in columns.items()}
    try:
        return _entry(cells)
    except _BadCellError as error:
        return Problem(line=number, says=str(error))


def _cell(text: str) -> str:
    """Return a cell's text, without the marks by which spreadsheets keep it a text: `'=x`, `="0042"`."""
    text = text.strip()
    if quoted := re.fullmatch(r'="([^"]*)"', text):
        text = quoted[1]
    elif text.startswith("'") and text[1:2] in _FORMULA:
        text = text[1:]
    return one_line(text)


def _entry(cells: Mapping[str, str]) -> Entry:
    starts_on, ends_on = _day(cells, "start date"), _day(cells, "end date")
    if starts_on and ends_on and ends_on < starts_on:
        raise _BadCellError("The end date is before the start date; swap or mend them.")
    channel = cells.get("team channel", "")
    return Entry(
        email=_email(cells.get("email", ""), "email"),
        name=_words(cells, "name", 200),
        manager=_words(cells, "manager", 320) or None,
        team=_words(cells, "team", 100) or None,
        team_channel=f"#{channel.removeprefix('#')}"[:80] if channel else None,
        team_default=_email(cells["team default"], "team default") if cells.get("team default") else None,
        starts_on=starts_on,
        ends_on=ends_on,
        aliases=tuple(_email(one, "aliases") for one in _several(cells, "aliases")),
        logins=tuple(_login(one) for one in _several(cells, "logins")),
    )


def _email(text: str, column: str) -> str:
    address = text.removeprefix("mailto:").strip("<>").lower()
    if not address:
        raise _BadCellError(f"There is no {column} address; fill it in, or leave the row out.")
    if not _EMAIL.fullmatch(address):
        raise _BadCellError(f"“{tidy(text, 60)}” in {column} is no e-mail address; write one, such as ana@example.com.")
    return address


def _login(text: str) -> str:
    login = text.removeprefix("@")
    if not _LOGIN.fullmatch(login):
        raise _BadCellError(f"“{tidy(text, 60)}” in logins is no login; use letters, digits, dots, dashes.")
    return login.lower()


def _words(cells: Mapping[str, str], column: str, longest: int) -> str:
    text = cells.get(column, "")
    if text.startswith(_FORMULA):
        raise _BadCellError(f"“{tidy(text, 60)}” in {column} looks like a formula; put the plain text there.")
    if len(text) > longest:
        raise _BadCellError(f"The {column} has more than {longest} characters; is the file shifted by a column?")
    return tidy(text, longest)


def _several(cells: Mapping[str, str], column: str) -> list[str]:
    return [one for one in re.split(r"[;,|\s]+", cells.get(column, "")) if one]


def _day(cells: Mapping[str, str], column: str) -> date | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        return date.fromisoformat(text.split("T")[0].split(" ")[0])
    except ValueError:
        says = f"“{tidy(text, 40)}” in {column} is no day that is sure to be read right; write it as 2026-06-30."
        raise _BadCellError(says) from None


# -- rows beside each other --------------------------------------------------------------------------------------------


def _without_doubles(rows: Sequence[tuple[int, Entry]], problems: list[Problem]) -> list[tuple[int, Entry]]:
    """Return the rows whose addresses are nobody else's; of two rows with one address the first stands."""
    line_of: dict[str, int] = {}
    kept = []
    for number, entry in rows:
        if entry.email in line_of:
            says = f"{entry.email} stands in line {line_of[entry.email]} already; keep one of the two."
            problems.append(Problem(line=number, says=says))
            continue
        line_of[entry.email] = number
        kept.append((number, entry))
    return [(number, entry) for number, entry in kept if _names_are_its_own(number, entry, line_of, problems)]


def _names_are_its_own(number: int, entry: Entry, line_of: dict[str, int], problems: list[Problem]) -> bool:
    for name in dict.fromkeys((*entry.aliases, *(f"login {login}" for login in entry.logins))):
        if name == entry.email:
            continue
        if line_of.setdefault(name, number) != number:
            says = f"{name} belongs to line {line_of[name]} as well; nobody could tell whose it is, so give it to one."
            problems.append(Problem(line=number, says=says))
            return False
    return True


def _managed(
    number: int, entry: Entry, rows: Sequence[tuple[int, Entry]], known: People, problems: list[Problem]
) -> Entry | None:
    """Return the entry with its manager's address; a manager's name is looked up, and taken if one person has it."""
    if entry.manager is None:
        return entry
    if "@" in entry.manager:
        try:
            return replace(entry, manager=_email(entry.manager, "manager"))
        except _BadCellError as error:
            problems.append(Problem(line=number, says=str(error)))
            return None
    wanted = entry.manager.casefold()
    called = sorted({one.email for one in (*(row for _, row in rows), *known) if one.name.casefold() == wanted})
    if len(called) == 1:
        return replace(entry, manager=called[0])
    if called:
        says = f"{len(called)} people are called {entry.manager} ({', '.join(called[:3])}); write the manager's e-mail."
    else:
        says = f"Nobody here is called {entry.manager}; write the manager's e-mail address."
    problems.append(Problem(line=number, says=says))
    return None


def _notes(entries: Sequence[Entry], known: People) -> Iterable[str]:
    """Yield what is odd but can be taken."""
    everybody = People((*(("csv", one) for one in known), *(("csv", one) for one in entries)))
    strangers = sorted({one.manager for one in entries if one.manager and everybody.find(one.manager) is None})
    if strangers:
        yield f"Managers who are in no list themselves: {', '.join(strangers[:5])}{' …' if len(strangers) > 5 else ''}."
    for circle in cycles(everybody)[:5]:
        yield (
            f"These manage each other in a circle: {' → '.join((*circle, circle[0]))}. Until that is mended, what they"
            " would decide as managers goes to `owners.fallback`."
        )
    names: dict[str, list[str]] = {}
    for one in entries:
        names.setdefault(one.name.casefold(), []).append(one.email)
    for name, emails in sorted(names.items()):
        if name and len(emails) > 1:
            yield f"Two people have one name and are told apart by their addresses: {', '.join(sorted(emails)[:4])}."
