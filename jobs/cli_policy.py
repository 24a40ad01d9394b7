"""`nhi policy`: what policy.toml would do."""

from __future__ import annotations

from pathlib import Path

import click

from jobs import rehearse
from jobs.command import example
from jobs.program import open_program
from nhi import policy, settings
from nhi.database import in_a_sentence
from nhi.errors import SettingsError


@click.group("policy")
def policy_group() -> None:
    """The thresholds and the patience: policy.toml."""


@example("nhi policy check policy.toml")
@policy_group.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def policy_check(file: Path | None) -> None:
    """Read policy.toml, and say what each rule would do today."""
    chosen = settings.read()
    path = file or chosen.nhi_policy
    if file is not None and not file.exists():
        raise SettingsError(f"{file} is not there; name a policy file, or leave it out for {chosen.nhi_policy}")
    read = policy.load(path)
    program = open_program(chosen)
    try:
        with in_a_sentence():
            rehearse.show(program, read, path)
    finally:
        program.engine.dispose()
