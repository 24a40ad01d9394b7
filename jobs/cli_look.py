"""`nhi findings` and `nhi whois`: what is known. They read the database, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from jobs import show
from jobs.command import as_json, example, providers_option, put, with_program
from jobs.program import Program
from nhi import facts
from nhi.database import reading


@example("nhi findings --kind unused --owner ana@example.com --json")
@click.command()
@click.option("--kind", metavar="K", help="Only this kind: unused, unowned, orphaned, unrotated, anomalous.")
@click.option("--owner", metavar="EMAIL", help="Only those whose confirmed or likely owner this is.")
@providers_option
@as_json
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout; no cell can run as a formula.")
@with_program
def findings(
    program: Program, kind: str | None, owner: str | None, only: Sequence[str], as_json: bool, as_csv: bool
) -> None:
    """Show what is open."""
    if as_json and as_csv:
        raise click.UsageError("choose one of --json and --csv")
    found = show.findings_of(program, kind=kind, owner=owner, providers=only)
    if as_json:
        put(found)
    elif as_csv:
        show.findings_csv(found, sys.stdout)
    else:
        show.findings_table(found)


@example("nhi whois AKIAIOSFODNN7EXAMPLE")
@click.command()
@click.argument("query", nargs=-1, required=True)
@as_json
@with_program
def whois(program: Program, query: Sequence[str], as_json: bool) -> None:
    """Tell everything known of an ARN, key id, e-mail, name, or any text that holds one."""
    text = " ".join(query)
    with reading(program.sessions) as session:
        matches = facts.whois(session, text, program.policy(), program.clock())
    if as_json:
        put({"matches": matches})
    else:
        show.whois(matches)
    if not matches:
        sys.exit(1)
