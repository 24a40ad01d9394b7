"""`python -m bot`: the process that serves Slack and nothing else. What is to be done in clouds, the worker does."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime

from bot.app import build_app, keep_secrets_out_of_logs
from bot.server import get_ready_for_bursts, serve
from nhi import database, settings
from nhi.defer import to_the_next_tick
from nhi.errors import NhiError
from nhi.policy_file import PolicyFile

CLOSE_SECONDS = 20.0  # a process has 25 s after SIGTERM

log = logging.getLogger("bot")


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the exit status: 2 where settings or database are not right."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("bot").setLevel(logging.INFO)
    keep_secrets_out_of_logs()
    asked_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_end.set())
    try:
        chosen = settings.read()
        policy = PolicyFile(chosen.nhi_policy)
        engine = database.open_engine(chosen.database_url)
        database.make_ready(engine, chosen.database_url)
        sessions = database.open_sessions(engine)
        app = build_app(chosen, sessions, policy, now, to_the_next_tick)
        serving = serve(chosen, app, sessions, now)
    except NhiError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"Port {chosen.port} cannot be used ({error.strerror}): set PORT to another one\n")
        return 2
    log.info("serving: Slack reaches this process %s", serving.where)
    get_ready_for_bursts()
    asked_to_end.wait()
    log.info("stopping")
    serving.close(CLOSE_SECONDS)
    return 0


def now() -> datetime:
    """Read the clock: the one place in this process that does."""
    return datetime.now(UTC)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # A thread that still waits for Slack must not keep the process: its row says what is left to do.
    os._exit(status)
