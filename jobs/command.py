"""What every command of `nhi` is made with: the opened program, an example in its help, one JSON document."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from jobs.program import open_program
from nhi.database import in_a_sentence
from nhi.words import sentence

INCOMPLETE = 3  # the exit status of: done, but not everything was seen or handled


def example(text: str) -> Callable[[Any], Any]:
    """Put an example under a command's help."""

    def add(command: Any) -> Any:
        command.epilog = f"Example: {text}"
        return command

    return add


def with_program(command: Callable[..., Any]) -> Callable[..., Any]:
    """Open settings, database and policy for a command, and close the database after it."""

    @wraps(command)
    def opened(**options: Any) -> Any:
        program = open_program()
        try:
            with in_a_sentence():
                return command(program, **options)
        finally:
            program.engine.dispose()

    return opened


def operator() -> str:
    """Return who runs the command, as records and messages name them."""
    return sentence("acts.by_command", who=getpass.getuser())


providers_option = click.option("--provider", "only", multiple=True, metavar="P", help="Only this provider.")
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else.")


def put(document: Any) -> None:
    """Print one JSON document; where the terminal's or pipe's own encoding is not UTF-8, in ASCII alone."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(document, indent=2, ensure_ascii=not is_utf8))
