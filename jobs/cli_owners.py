"""`nhi owners`: how well likely owners fit the truth."""

from __future__ import annotations

from pathlib import Path

import click

from jobs import owners
from jobs.command import as_json, example, put, with_program
from jobs.program import Program


@click.group("owners")
def owners_group() -> None:
    """Likely owners: how often they are right."""


@example("nhi owners evaluate --truth owners.csv --fit")
@owners_group.command("evaluate")
@click.option(
    "--truth",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.csv",
    help="Columns `identity` (ARN, key or name) and `owner` (e-mail). Without it: what people have confirmed.",
)
@click.option("--fit", "with_fit", is_flag=True, help="Also fit the weights of evidence to this truth, and print them.")
@as_json
@with_program
def owners_evaluate(program: Program, truth: Path | None, with_fit: bool, as_json: bool) -> None:
    """Print precision, coverage and a reliability table of likely owners, from the evidence that is known now.

    Writes nothing: put the fitted weights into policy.toml if you want them. What people answered in Slack does not
    count as evidence here, for it may be the very truth.
    """
    found = owners.evaluate(program, truth, with_fit=with_fit)
    if as_json:
        put(found.as_json())
        return
    for line in owners.sentences(found, program.policy().owners.threshold):
        click.echo(line)
