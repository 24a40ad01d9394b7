"""The `nhi` command.

Exit status: 0 done; 1 failed; 2 wrong usage or settings; 3 done, but not everything was seen or handled.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from jobs.logs import log_to_stderr
from nhi.errors import DatabaseNotReady, NhiError, SettingsError

# Where each command lives. Its module is imported when it is run or helped with, not before: who asks for findings
# need not wait for clouds' and Slack's clients to load.
COMMANDS = {
    "activity": "jobs.cli_work:activity",
    "ask": "jobs.cli_work:ask",
    "demo": "jobs.cli_run:demo",
    "doctor": "jobs.cli_run:doctor_command",
    "evidence": "jobs.cli_proof:evidence_group",
    "findings": "jobs.cli_look:findings",
    "ledger": "jobs.cli_proof:ledger_group",
    "migrate": "jobs.cli_run:migrate",
    "owners": "jobs.cli_owners:owners_group",
    "people": "jobs.cli_people:people_group",
    "policy": "jobs.cli_policy:policy_group",
    "remediate": "jobs.cli_work:remediate",
    "review": "jobs.review_cli:review_group",
    "scan": "jobs.cli_work:scan",
    "slack": "jobs.cli_run:slack_group",
    "undo": "jobs.cli_work:undo",
    "up": "jobs.cli_run:up",
    "whois": "jobs.cli_look:whois",
}


class Commands(click.Group):
    """A group that imports a command when it is wanted, and whose commands end with one sentence, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"No such command '{cmd_name}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, DatabaseNotReady) as error:
            click.echo(f"nhi: {error}", err=True)
            ctx.exit(2)
        except NhiError as error:
            click.echo(f"nhi: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nhi-audit", prog_name="nhi")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def main(verbose: bool) -> None:
    """Audit non-human identities by asking the people who own them, in Slack."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name in letters that this terminal has not must not end a command
    log_to_stderr(20 if verbose else 30)


if __name__ == "__main__":
    main()
