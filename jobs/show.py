"""What commands print for people: tables, a progress bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import csv
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from jobs import permitted
from jobs.program import Program
from nhi import facts
from nhi.database import reading
from nhi.errors import SettingsError
from nhi.findings import FindingKind
from nhi.providers import Progress
from nhi.redact import one_line, tidy

if TYPE_CHECKING:
    from jobs.doctor import Check  # only to read its answers: what it examines with need not be loaded for a table

Json = dict[str, Any]
NARROW = 130  # columns, below which a table of findings would cut ids off
COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}


def console() -> Console:
    """Return where people read: as wide as the terminal, and never cut in a pipe."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(width=200, no_color=True, highlight=False)


def say(text: str) -> None:
    """Print one line: wrapped and kept indented on a terminal, whole in a pipe, where a script reads it."""
    if not sys.stdout.isatty():
        console().print(text, soft_wrap=True)
        return
    words = text.lstrip(" ")
    console().print(Padding(words, (0, 0, 0, len(text) - len(words))))


@contextmanager
def progress() -> Iterator[Callable[[str, Progress], None]]:
    """Show how far a scan is: a bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda account, step: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def on_progress(account: str, step: Progress) -> None:
            key = (account, step.what)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{account} {step.what}", total=step.total)
            bars.update(tasks[key], completed=step.done, total=step.total)

        yield on_progress


def findings_of(program: Program, *, kind: str | None, owner: str | None, providers: Sequence[str]) -> list[Json]:
    """Return the open findings that fit, as `nhi findings --json` prints them. Raises SettingsError: unknown kind."""
    kinds = [known.value for known in FindingKind]
    if kind is not None and kind not in kinds:
        raise SettingsError(f"--kind {kind} is not known; {_hint(kind, kinds)}")
    for name in providers:
        known_provider(program, name)
    with reading(program.sessions) as session:
        rows = [
            row
            for row in facts.open_findings(session)
            if kind in (None, row.kind.value) and (not providers or row.identity.provider in providers)
        ]
        ids = list(dict.fromkeys(row.identity_id for row in rows))
        owners = facts.owners(session, ids, program.policy(), program.clock())
        found = [facts.finding_json(row, owners[row.identity_id]) for row in rows]
    return [one for one in found if owner is None or (one["owner"]["email"] or "").lower() == owner.lower()]


def known_provider(program: Program, name: str) -> None:
    """Raise SettingsError where there is no provider of that name."""
    if name not in program.providers:
        raise SettingsError(f"--provider {name} is not known; {_hint(name, [*program.providers])}")


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"


def findings_table(found: Sequence[Json]) -> None:
    """Print findings, the gravest first: a table where it fits, else a few lines each, so that nothing is cut off."""
    if not found:
        console().print("Nothing is open.")
        return
    if console().width < NARROW:
        for one in found:
            for line in _finding_lines(one):
                say(line)
        say(f"{len(found)} open finding{'' if len(found) == 1 else 's'}")
        return
    table = Table("severity", "kind", title=f"{len(found)} open findings")
    for heading in ("identity", "credential", "owner", "why"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(_severity(one), one["kind"], *map(_shown, _finding_facts(one)), _shown(one["why"]))
    console().print(table)


def _severity(finding: Json) -> str:
    return f"[{COLOURS[finding['severity']]}]{finding['severity']}[/]"


def _finding_facts(finding: Json) -> tuple[str, str, str]:
    identity, credential = finding["identity"], finding["credential"]
    place = f"{identity['account']} {tidy(identity['name'], 60)}"
    return place, _credential(credential) if credential else "", _owner(finding["owner"])


def _finding_lines(finding: Json) -> Iterator[str]:
    place, credential, owner = _finding_facts(finding)
    yield f"{_severity(finding)} {finding['kind']} [bold]{_shown(place)}[/]"
    yield f"  {_shown(', '.join(filter(None, (credential, f'owner: {owner}'))))}"
    yield f"  {_shown(finding['why'])}"


def _credential(credential: Json) -> str:
    return str(credential["id"] or credential["kind"].replace("_", " "))


def _owner(owner: Json) -> str:
    if owner["state"] == "confirmed":
        return str(owner["email"])
    return f"{owner['email']}? ({owner['confidence']:.0%})" if owner["state"] == "likely" else "nobody known"


CSV_COLUMNS = ("id", "kind", "owasp", "severity", "status", "since", "provider", "account", "identity", "principal")
CSV_MORE = ("credential", "last_used_at", "owner_state", "owner", "confidence", "why", "coverage")


def findings_csv(found: Sequence[Json], out: TextIO) -> None:
    """Write findings as CSV. A cell that a spreadsheet would run as a formula gets a quote before it."""
    writer = csv.writer(out)
    writer.writerow([*CSV_COLUMNS, *CSV_MORE])
    for one in found:
        identity, credential, owner = one["identity"], one["credential"] or {}, one["owner"]
        row = [one[name] for name in CSV_COLUMNS[:6]]
        row += [identity["provider"], identity["account"], identity["name"], identity["principal"]]
        row += [credential.get("id"), credential.get("last_used_at"), owner["state"], owner["email"]]
        row += [owner["confidence"], one["why"], one["coverage"]]
        writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def whois(matches: Sequence[Json]) -> None:
    """Print everything known of the matches."""
    if not matches:
        say("Nothing by that name was seen. Try an ARN, a key id, a user's or role's name, or an owner's e-mail.")
    for match in matches:
        say(f"[bold]{_shown(match['identity']['principal'])}[/]")
        for line in _about(match):
            say(f"  {_shown(line)}")
        for line in permitted.lines(match):
            say(f"  {_shown(line)}")
        for line in permitted.smaller(match):
            say(f"    {line}")
        for event in match["history"][:10]:
            kind = event["facts"].get("kind", "") if event["kind"].startswith("finding.") else ""
            say(f"  [dim]{event['at'][:19]}Z {event['kind']} {_shown(kind)}[/]".replace(" [/]", "[/]"))


def _shown(text: object) -> str:
    """Return text from elsewhere as one line in which nothing is markup, and nothing turns the line around."""
    return escape(one_line(str(text)))


def _about(match: Json) -> Iterator[str]:
    """Yield what is known of one identity, a line each, in the order in which people want to know it."""
    owner = match["owner"]
    reasons = "; ".join(fact["fact"] for fact in owner["evidence"][:2])
    yield f"owner: {_owner(owner)}" + (f" ({reasons})" if reasons else "")
    yield from _about_owner(owner)
    if match["identity"]["gone_at"]:
        yield f"gone since {match['identity']['gone_at']}"
    for credential in match["credentials"]:
        used = credential["last_used_at"] or ("not known" if credential["use_gap"] else "never")
        kind = credential["kind"].replace("_", " ")
        yield f"{kind} {credential['id'] or ''}: {credential['status']}, last used {used}".replace(" :", ":")
    yield from _about_activity(match["activity"])
    for finding in match["findings"]:
        yield f"{finding['severity']} {finding['kind']}: {finding['why']}"
    for said in match["answers"][:5]:
        words = f": {said['words']}" if said["words"] else ""
        yield f"{said['name']} said {said['verdict'].replace('_', ' ')} on {said['at'][:10]}{words}"
    for act in match["remediations"][:5]:
        because = f" ({act['because']})" if act["because"] else ""
        undo = f"; `nhi undo {act['id'][:8]}` turns it back" if act["status"] == "done" else ""
        yield f"{act['kind']} {act['id'][:8]} of {_credential(act['credential'])}: {act['status']}{because}{undo}"


def _about_activity(told: Json) -> Iterator[str]:
    """Yield what an identity does from day to day, and what of that could not be read."""
    if told["days"]:
        what = f"{told['events']:,} events on {told['days']} days, last {told['last_at']}"
        yield f"activity: {what}; {told['usual_words']}"
    if told["gap"]:
        yield f"activity that could not be read: {told['gap']}"


def _about_owner(owner: Json) -> Iterator[str]:
    """Yield who else it may be, what would tell, and what names nobody, a line each."""
    for rival in owner.get("others", []) + owner.get("possible", []):
        reasons = "; ".join(fact["fact"] for fact in rival.get("evidence", [])[:2])
        yield f"perhaps {rival['email']} ({rival['confidence']:.0%}): {reasons}"
    if helps := [one["words"] for one in owner.get("would_help", [])]:
        yield f"what would tell: {'; or '.join(helps)}"
    for note in owner.get("notes", [])[:3]:
        yield note["words"]
    for fact in owner["evidence"][2:]:
        yield f"also {fact['fact']}" + (f" ({fact['url']})" if fact.get("url") else "")


def undone(remediation: Json) -> str:
    """Return what an undo led to, in a sentence."""
    credential = _credential(remediation["credential"])
    if remediation["status"] == "undone":
        return f"{credential} is back as it was."
    return f"{credential} is not back yet: {remediation['because'] or 'it will be tried again'}"


def checks(found: Sequence[Check]) -> None:
    """Print what doctor found."""
    marks = {"ok": "[green]ok[/]  ", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
    for check in found:
        say(f"{marks[check.status]}  {_shown(check.name)}: {_shown(check.detail)}")
        if check.fix and check.fix != check.detail:
            say(f"      {_shown(check.fix)}")
