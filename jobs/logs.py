"""Logs go to stderr, one line each, without secrets."""

from __future__ import annotations

import logging
import sys

from nhi.redact import redact


class Redacting(logging.Formatter):
    """Takes everything that looks like a secret out of a finished line, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log our own doings from `level` on, and other libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("nhi", "bot", "jobs", "demo"):
        logging.getLogger(name).setLevel(level)
    # What Slack did not answer is told in a command's own words; only who asks for more gets the library's as well.
    logging.getLogger("slack_sdk").setLevel(logging.WARNING if level < logging.WARNING else logging.CRITICAL)
    # It warns of each tick that finds the one before it still at work; the next tick takes up what is due.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
