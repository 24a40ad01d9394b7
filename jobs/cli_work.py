"""`nhi scan`, `nhi ask`, `nhi remediate` and `nhi undo`: a job, now, and its tally."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from jobs import outbox, show, work
from jobs.command import INCOMPLETE, as_json, example, operator, providers_option, put, with_program
from jobs.program import Program
from nhi import acts_by_id, decisions, facts
from nhi.database import reading
from nhi.providers import Progress
from nhi.tables import RemediationRow


@example("nhi scan --provider aws --json")
@click.command()
@providers_option
@as_json
@with_program
def scan(program: Program, only: Sequence[str], as_json: bool) -> None:
    """Look at every source: inventory, use, owners, findings. Never writes to a cloud."""
    for name in only:
        show.known_provider(program, name)
    with show.progress() as on_progress:
        tally = work.scan_all(program, only=tuple(only), progress=on_progress)
    if as_json:
        put(tally.as_json())
    else:
        click.echo(tally.sentence())
    if not tally.complete:
        if as_json:
            click.echo(tally.sentence(), err=True)
        sys.exit(INCOMPLETE)


@example("nhi activity --json")
@click.command()
@providers_option
@as_json
@with_program
def activity(program: Program, only: Sequence[str], as_json: bool) -> None:
    """Read what identities did since the last time, and find what is unusual. Never writes to a cloud."""
    for name in only:
        show.known_provider(program, name)
    tally = work.activity_all(program, only=tuple(only))
    if as_json:
        put(tally.as_json())
    else:
        click.echo(tally.sentence())
    if tally.gaps:
        sys.exit(INCOMPLETE)


@example("nhi ask --dry-run")
@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be asked; write and send nothing.")
@click.option("--to-admin", is_flag=True, help="Send every card to the admins instead.")
@as_json
@with_program
def ask(program: Program, dry_run: bool, to_admin: bool, as_json: bool) -> None:
    """Send what is due now, one message a person."""
    began = program.clock()
    tally = work.ask_all(program, dry_run=dry_run, to_admin=to_admin)
    if not dry_run:
        tally.unsaid = outbox.say_now(program, began)
    if as_json:
        put(tally.as_json())
    else:
        click.echo(("Would have: " if dry_run else "") + tally.sentence())
    if tally.unsaid or tally.is_stuck:
        sys.exit(INCOMPLETE)


@example("nhi remediate --dry-run")
@click.command()
@click.option("--dry-run", is_flag=True, help="Look at what is due and say what would come of it; change nothing.")
@as_json
@with_program
def remediate(program: Program, dry_run: bool, as_json: bool) -> None:
    """Carry out planned remediations that are due: reversibly, one credential each. Writes to clouds.

    While policy's remediation.mode is "propose", nothing is turned off; undos and the ends of scream tests are done.
    """
    with show.progress() as on_progress:
        tally = work.remediate_all(
            program,
            dry_run=dry_run,
            progress=lambda done, total: on_progress("acts", Progress(what="looked at", done=done, total=total)),
        )
    if not dry_run:
        work.deliver_all(program)
    if as_json:
        put(tally.as_json())
    else:
        click.echo(tally.sentence())
    if tally.refused or (tally.waiting and not dry_run):
        sys.exit(INCOMPLETE)


@example("nhi undo 3f2a9c")
@click.command()
@click.argument("remediation")
@as_json
@with_program
def undo(program: Program, remediation: str, as_json: bool) -> None:
    """Turn back what a remediation did. Takes its id, or the first characters of it. Writes to clouds."""
    by = operator()
    with program.sessions.begin() as session:
        row = acts_by_id.find(session, remediation)
        decisions.request_undo(session, row.id, by=by, now=program.clock())
        remediation_id = row.id
    work.remediate_all(program)
    work.deliver_all(program)
    with reading(program.sessions) as session:
        done = facts.remediation_json(session.get_one(RemediationRow, remediation_id))
    if as_json:
        put(done)
    else:
        click.echo(show.undone(done))
    if done["status"] != "undone":
        sys.exit(INCOMPLETE)
