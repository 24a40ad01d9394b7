"""The one seam to whatever executes work: `defer(task, key, **arguments)`.

The truth is in our own rows, so a task that an engine loses or doubles is harmless: the next tick computes what is due
again. Without an engine (a process that only serves Slack), deferring does nothing, and the worker's next tick finds
the row.
"""

from __future__ import annotations

from typing import Any, Protocol


class Defer(Protocol):
    """Hand work to the engine: the task's name, a key under which a second waiting one is the same, its arguments."""

    def __call__(self, task: str, key: str, **arguments: Any) -> None: ...


def to_the_next_tick(task: str, key: str, **arguments: Any) -> None:
    """Leave the work to the worker's next tick, which computes from rows what is due."""
