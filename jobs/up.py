"""The processes: bot and jobs in one (`nhi up`), or the jobs alone (`python -m jobs`)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from bot.app import build_app
from bot.server import Serving, get_ready_for_bursts, serve
from jobs.clock import Ticker
from jobs.program import Program

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0  # of the 25 within which a process is gone after SIGTERM


class Up:
    """Bot and jobs running in this process."""

    def __init__(self, program: Program, *, host: str | None = None, port: int | None = None) -> None:
        """Listen at once; nothing ticks until `start`. `host` and `port` None: as bot.server and the settings say."""
        self.ticker = Ticker(program)
        app = build_app(program.settings, program.sessions, program.policy, program.clock, self.ticker.defer)
        self.serving: Serving = serve(
            program.settings, app, program.sessions, program.clock, port=port, **({"host": host} if host else {})
        )

    @property
    def where(self) -> str:
        """Where Slack reaches this process, for the operator."""
        return f"Slack reaches it {self.serving.where}."

    def start(self) -> None:
        """Begin ticking."""
        self.ticker.start()
        get_ready_for_bursts()

    def stop(self) -> None:
        """Take no more clicks, finish those under way, then the tasks."""
        within(DRAIN_SECONDS, lambda: self.serving.close(DRAIN_SECONDS / 2), self.ticker.stop)


def within(seconds: float, *steps: Callable[[], None]) -> None:
    """Run the steps one after the other, and give up waiting after so many seconds: rows say what was left."""

    def walk() -> None:
        for step in steps:
            step()

    walker = threading.Thread(target=walk, daemon=True, name="drain")
    walker.start()
    walker.join(seconds)
    if walker.is_alive():
        log.warning("not everything was finished in %.0f s; the next start takes it up", seconds)


def exit_now() -> None:
    """End the process. A task that hangs in a cloud's answer must not keep it: its row says where it was."""
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(0)


def asked_to_end() -> threading.Event:
    """Listen for SIGTERM and Ctrl-C from now on, and return what they set: to be called before anything starts."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return asked
