"""`nhi policy`: what policy.toml would do."""

from __future__ import annotations

from pathlib import Path

import click

from jobs import backtest, rehearse
from jobs.command import as_json, example, put
from jobs.program import open_program
from nhi import policy, settings
from nhi.backtest import replay
from nhi.database import in_a_sentence, reading
from nhi.errors import SettingsError
from nhi.policy_words import parse_end


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


@example("nhi policy backtest stricter.toml --since 180d")
@policy_group.command("backtest")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--since", default="180d", show_default=True, metavar="AGO", help="How far to look back.")
@as_json
def policy_backtest(file: Path, since: str, as_json: bool) -> None:
    """Say what a policy would have turned off on recorded history, and what of that was used later."""
    chosen = settings.read()
    if not file.exists():
        raise SettingsError(f"{file} is not there; name the policy file to be tried")
    try:
        ago = parse_end(since)
    except ValueError as error:
        raise click.UsageError(f"--since: {error}") from None
    read = policy.load(file)
    program = open_program(chosen)
    try:
        with in_a_sentence():
            now = program.clock()
            with reading(program.sessions) as session:
                told = replay(backtest.known(session), read, since=now - ago, now=now)
    finally:
        program.engine.dispose()
    if as_json:
        put(backtest.as_json(told))
    else:
        backtest.show(told)
