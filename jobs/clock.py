"""The clock and the executor on one machine: APScheduler ticks, and runs what is deferred.

What is due is computed from rows at each tick, so nothing is lost with this process's memory.
"""

from __future__ import annotations

import logging
from datetime import UTC, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from jobs.program import Program
from jobs.work import TASKS
from nhi import database

log = logging.getLogger(__name__)

# The timetable, as data: how often each task looks whether something is due.
TIMETABLE: dict[str, timedelta] = {
    "scan": timedelta(minutes=5),
    "activity": timedelta(minutes=1),
    "alarms": timedelta(seconds=30),
    "people": timedelta(minutes=1),
    "leavers": timedelta(minutes=1),
    "ask": timedelta(minutes=1),
    "remediate": timedelta(seconds=15),
    "checkpoint": timedelta(minutes=5),
    "deliver": timedelta(seconds=2),
    "review": timedelta(minutes=1),
    "inbox": timedelta(seconds=10),
}
THREADS = 8


class Ticker:
    """APScheduler with the timetable in it; `defer` hands it work to do at once."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._database_is_down = False
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(THREADS)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Begin ticking; every task looks once right away."""
        for task, every in TIMETABLE.items():
            self._scheduler.add_job(self._run, IntervalTrigger(seconds=every.total_seconds()), [task], id=task)
            self.defer(task, "at start")
        self._scheduler.start()

    def defer(self, task: str, key: str, **arguments: Any) -> None:
        """Run a task at once, in this process. A second one waiting under the same key is the same."""
        self._scheduler.add_job(self._run, args=[task], kwargs=arguments, id=f"{task}:{key}", replace_existing=True)

    def stop(self) -> None:
        """Stop ticking and wait for what is under way; a clock that never started stops as well."""
        if self._scheduler.running:
            self._scheduler.pause()
            self._scheduler.get_jobs()  # waits for a tick under way: APScheduler stumbles where it is stopped in one
            self._scheduler.shutdown(wait=True)

    def _run(self, task: str, **arguments: Any) -> None:
        try:
            TASKS[task](self._program, **arguments)
            self._says(None)
        except database.UNWELL as error:
            self._says(error)
        except Exception:
            # This loop must outlive any task's fault: the row is still due, and the next tick takes it up.
            log.exception("the task %s failed; the next tick tries again", task)

    def _says(self, error: BaseException | None) -> None:
        """Log once that the database is down, and once that it is back: a tick comes every two seconds."""
        if self._database_is_down == (error is not None):
            return
        self._database_is_down = error is not None
        if error is None:
            log.warning("the database answers again; what was due meanwhile is done now")
        else:
            log.error("the database does not answer (%s); every tick tries again", database.reason_of(error))
