"""`nhi people`: who is who, from the company's own list, its identity provider and Slack."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from jobs import directories, people
from jobs.command import INCOMPLETE, as_json, example, operator, put, with_program
from jobs.program import Program
from jobs.show import console
from nhi import step_up
from nhi.database import reading


@click.group("people")
def people_group() -> None:
    """Who is who: managers, teams, who leaves when."""


@example("nhi people import people.csv")
@people_group.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--partial", is_flag=True, help="Take the good rows, where others cannot be taken.")
@as_json
@with_program
def people_import(program: Program, file: Path, partial: bool, as_json: bool) -> None:
    """Read the company's list of people: e-mail, name, manager, team, start and end date, aliases, logins.

    Columns may stand in any order; only the e-mail is needed. A file with a bad row writes nothing.
    """
    done = people.import_csv(program.sessions, file.read_bytes(), program.clock(), partial=partial)
    if as_json:
        put(done.as_json())
    for problem in () if as_json else done.problems:
        click.echo(f"line {problem.line}: {problem.says}", err=True)
    for note in () if as_json else done.notes:
        click.echo(f"Note: {note}", err=True)
    if not as_json:
        click.echo(done.sentence())
    if done.problems:
        sys.exit(INCOMPLETE if done.written else 1)


@example("nhi people list --json")
@people_group.command("list")
@as_json
@with_program
def people_list(program: Program, as_json: bool) -> None:
    """Show everybody known, merged by e-mail address."""
    with reading(program.sessions) as session:
        found = people.listing(session, program.policy(), program.clock())
    if as_json:
        put(found)
        return
    table = Table("e-mail", "name", "team", "manager", "last day", "can be asked", title=f"{len(found)} people")
    for one in found:
        able = "yes" if one["can_answer"] else "no"
        cells = (one["email"], one["name"], one["team"], one["manager"], one["ends_on"], able)
        table.add_row(*(escape(str(cell or "")) for cell in cells))
    console().print(table)


@example("nhi people pull")
@people_group.command("pull")
@as_json
@with_program
def people_pull(program: Program, as_json: bool) -> None:
    """Read everybody in Slack, and in the identity provider where policy names `people.scim_url`."""
    pulled = directories.pull(program)
    if as_json:
        put(pulled.as_json())
    else:
        click.echo(pulled.sentence())
    if pulled.gaps:
        sys.exit(INCOMPLETE)


@example("nhi people authenticator ana@example.com")
@people_group.command("authenticator")
@click.argument("email")
@as_json
@with_program
def people_authenticator(program: Program, email: str, as_json: bool) -> None:
    """Give somebody an authenticator for `step_up`: prints its address once, for their app to read. Nothing keeps it.

    The one that they had before is worth nothing from then on.
    """
    setting = program.settings.nhi_step_up_key
    key = step_up.check_key(setting.get_secret_value() if setting else None)
    by = operator()
    with program.sessions.begin() as session:
        address = step_up.enrol(session, email.strip().lower(), key=key, by=by, now=program.clock())
    if as_json:
        put({"email": email.strip().lower(), "otpauth": address})
        return
    click.echo(f"For the authenticator of {email} alone; it is not shown again:\n{address}")
