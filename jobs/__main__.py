"""The worker: `python -m jobs` keeps the timetable of jobs/clock.py until it is asked to end."""

from __future__ import annotations

import sys

from jobs.clock import Ticker
from jobs.logs import log_to_stderr
from jobs.program import open_program
from jobs.up import DRAIN_SECONDS, asked_to_end, exit_now, within
from nhi.errors import DatabaseNotReady, SettingsError


def main() -> None:
    """Run the worker. Exits 2 with one sentence where a setting is missing."""
    log_to_stderr()
    asked = asked_to_end()
    try:
        program = open_program()
        program.settings.bot_token()
    except (SettingsError, DatabaseNotReady) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    ticker = Ticker(program)
    ticker.start()
    asked.wait()
    within(DRAIN_SECONDS, ticker.stop)
    exit_now()


if __name__ == "__main__":
    main()
