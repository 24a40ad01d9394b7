"""The processes themselves: they start, say that they are well, end when asked, and lose nothing when killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from demo.cloud import Cloud
from demo.cloud_faults import Asked, Fault, refuse
from demo.workspace import Workspace, hang
from jobs.program import open_program
from nhi import database
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import DeliveryRow, GateRow, IdentityRow, RemediationRow, RunRow, ScanRow
from nhi.working_days import is_holiday
from tests.conftest import PEOPLE, Clock, copy_of
from tests.jobs_world import POLICY, World, environment_of, use_stand_in_aws

PATIENCE = 60.0  # seconds: what is waited for comes far sooner, on a machine that has little else to do
UP = ["-m", "jobs.cli", "up"]
BOT = ["-m", "bot"]
JOBS = ["-m", "jobs"]


def last_noon(now: datetime) -> datetime:
    """Return noon of the last working day: then people could be asked, whatever day it is today."""
    day = now - timedelta(days=1)
    while day.weekday() > 4 or is_holiday(day.date(), "Europe/Berlin", {}):
        day -= timedelta(days=1)
    return day.replace(hour=12, minute=0, second=0, microsecond=0)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(question: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.1)  # each look costs the processes that are waited for some of their time
    raise TimeoutError(f"not within {patience} seconds")


class Process:
    """One process of ours, its HTTP port, and what it said."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.said = folder / f"said-{self.port}.txt"
        with self.said.open("wb") as said:
            self.popen = subprocess.Popen(
                [sys.executable, *words],
                cwd=folder,
                env=environment | {"PORT": str(self.port)},
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str) -> tuple[int, str] | None:
        """Return status and text of a page; None: nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return None

    def is_ready(self) -> bool:
        assert self.popen.poll() is None, self.said.read_text()
        return (self.get("/readyz") or (0, ""))[0] == 200

    def ends(self) -> int:
        """Ask it to end, and return its exit status."""
        self.popen.terminate()
        return self.popen.wait(25 + PATIENCE)

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)


class Machine:
    """A folder, a database in it, a cloud and a workspace; processes come and go."""

    def __init__(self, folder: Path, cloud: Cloud, workspace: Workspace, migrated: Path) -> None:
        self.folder, self.cloud, self.workspace = folder, cloud, workspace
        self.environment = environment_of(folder, cloud, workspace) | {"DATABASE_URL": copy_of(migrated, folder)}
        (folder / "policy.toml").write_text(POLICY)
        self.running: list[Process] = []

    def start(self, words: list[str], **environment: str) -> Process:
        process = Process(words, self.folder, self.environment | environment)
        self.running.append(process)
        return process

    @contextmanager
    def world(self, now: datetime | None = None) -> Iterator[World]:
        """Open the same database in this process, at a time of one's own."""
        clock = Clock(now or datetime.now(UTC))
        settings = Settings(
            _env_file=None,
            database_url=self.environment["DATABASE_URL"],
            slack_bot_token=SecretStr(self.workspace.bot_token),
            slack_app_token=None,
            slack_signing_secret=SecretStr(self.workspace.signing_secret),
            slack_api_url=self.workspace.api_url,
            nhi_policy=self.folder / "policy.toml",
        )
        program = open_program(settings, clock=clock)
        try:
            yield World(program, self.cloud, self.workspace, clock)
        finally:
            program.engine.dispose()

    def ask_ana(self) -> str:
        """Let Ana have been asked about an idle key lately: written down, not yet posted. Return the key's id."""
        with self.world(last_noon(datetime.now(UTC))) as world:
            (key_id,) = world.add_user("ci-deploy", 200)
            world.scan()
            assert world.ask().items == 1
            with world.sessions.begin() as session:  # only now, or it would count as delayed, and wait out the night
                session.execute(update(DeliveryRow).values(created_at=datetime.now(UTC)))
            return key_id

    def has_shown(self, status: RemediationStatus) -> bool:
        """Whether the one act is so far, and every card shows it."""
        with self.world() as world:
            acts = [row.status for row in world.rows(RemediationRow)]
            return acts == [status] and all(row.wanted_version == row.shown_version for row in world.rows(DeliveryRow))

    def lease_ends(self) -> None:
        """Let so much time pass that a dead process's claims count no more."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        with self.world() as world, world.sessions.begin() as session:
            for table in (RunRow, DeliveryRow, RemediationRow):
                session.execute(update(table).where(table.claimed_until.is_not(None)).values(claimed_until=past))
            session.execute(update(GateRow).values(not_before=past))  # a channel is held as long as the claim


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_sqlite: Path) -> Iterator[Machine]:
    use_stand_in_aws(monkeypatch)
    with Cloud() as cloud, Workspace(PEOPLE) as workspace:
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
        made = Machine(tmp_path, cloud, workspace, migrated_sqlite)
        try:
            yield made
        finally:
            for process in made.running:
                if process.popen.poll() is None:
                    process.kill()


# -- starting and ending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [UP, BOT], ids=["nhi up", "python -m bot"])
def test_a_serving_process_migrates_an_empty_sqlite_says_that_it_is_well_and_ends_when_asked(
    machine: Machine, words: list[str]
) -> None:
    (machine.folder / "nhi.db").unlink()
    process = machine.start(words)
    until(process.is_ready)
    assert process.get("/healthz") == (200, "ok\n")
    assert json.loads((process.get("/readyz") or (0, ""))[1]) == {"ready": True, "reasons": []}
    assert (process.get("/metrics") or (0, ""))[0] == 200
    engine = database.open_engine(machine.environment["DATABASE_URL"])
    assert database.what_is_missing(engine, machine.environment["DATABASE_URL"]) is None
    engine.dispose()
    assert process.ends() == 0, process.said.read_text()
    assert "Traceback" not in process.said.read_text()


def test_the_worker_scans_at_its_start_and_ends_when_asked(machine: Machine) -> None:
    process = machine.start(JOBS)
    with machine.world() as world:
        until(lambda: process.popen.poll() is not None or world.rows(ScanRow))
    assert process.ends() == 0, process.said.read_text()
    assert "Traceback" not in process.said.read_text()


@pytest.mark.parametrize("words", [UP, JOBS, BOT], ids=["nhi up", "python -m jobs", "python -m bot"])
def test_a_process_without_a_token_ends_with_one_sentence_and_exit_2(machine: Machine, words: list[str]) -> None:
    process = machine.start(words, SLACK_BOT_TOKEN="")
    assert process.popen.wait(PATIENCE) == 2
    said = process.said.read_text()
    assert "SLACK_BOT_TOKEN is not set" in said
    assert len(said.strip().splitlines()) == 1


def test_a_process_whose_token_slack_refuses_ends_with_one_sentence_and_exit_2(machine: Machine) -> None:
    process = machine.start(UP, SLACK_BOT_TOKEN="xoxb-wrong")
    assert process.popen.wait(PATIENCE) == 2
    assert "SLACK_BOT_TOKEN is refused by Slack (invalid_auth)" in process.said.read_text()
    assert "Traceback" not in process.said.read_text()


def test_a_process_that_cannot_reach_slack_lives_but_is_not_ready(machine: Machine) -> None:
    process = machine.start(BOT, SLACK_API_URL="http://127.0.0.1:9/api/")
    until(lambda: process.get("/healthz"))
    status, text = process.get("/readyz") or (0, "")
    assert (status, "check SLACK_BOT_TOKEN and the network" in text) == (503, True)


def test_a_port_that_is_taken_is_one_sentence(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        ran = subprocess.run(
            [sys.executable, *UP],
            check=False,
            cwd=machine.folder,
            env=machine.environment | {"PORT": str(taken.getsockname()[1])},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr
        assert "PORT" in ran.stderr


def test_a_process_that_waits_for_a_hanging_cloud_still_ends_when_asked(machine: Machine) -> None:
    machine.cloud.faults.latency = 60.0
    process = machine.start(JOBS)
    until(lambda: machine.cloud.requests)
    assert process.ends() == 0
    machine.cloud.faults.clear()


# -- one whole answer through real processes ---------------------------------------------------------------------------


def test_web_and_worker_as_two_processes_carry_an_answer_to_the_cloud(machine: Machine) -> None:
    key_id = machine.ask_ana()
    web, worker = machine.start(BOT), machine.start(JOBS)
    until(web.is_ready)
    machine.workspace.app_url = f"http://127.0.0.1:{web.port}/slack/events"
    ana = machine.workspace.as_("ana")
    until(ana.messages)
    press_disable(machine)
    until(lambda: machine.has_shown(RemediationStatus.DONE))
    assert machine.cloud.key_status(key_id) == "Inactive"
    assert "nhi:undo" in f"{ana.last()['blocks']}"
    assert (web.ends(), worker.ends()) == (0, 0)
    assert len(ana.messages()) == 1


def press_disable(machine: Machine) -> None:
    ana = machine.workspace.as_("ana")
    until(lambda: "nhi:disable" in f"{ana.last()['blocks']}")
    assert ana.click(ana.last(), "nhi:disable") == ""
    ana.wait_for(lambda: ana.modal, PATIENCE)
    assert ana.submit() == {}


# -- killed ------------------------------------------------------------------------------------------------------------


def test_a_process_killed_while_it_posts_neither_loses_the_message_nor_says_it_twice(machine: Machine) -> None:
    machine.ask_ana()
    machine.workspace.inject("chat.postMessage", hang(30.0))
    first = machine.start(UP)
    until(lambda: machine.workspace.calls("chat.postMessage"))
    first.kill()
    machine.lease_ends()
    second = machine.start(UP)

    def settled() -> bool:
        with machine.world() as world:
            return [row.state for row in world.rows(DeliveryRow)] == ["posted"]

    until(settled)
    assert len(machine.workspace.as_("ana").messages()) == 1
    assert second.ends() == 0


def test_a_process_killed_in_the_middle_of_a_scan_is_followed_by_one_that_scans_the_whole(machine: Machine) -> None:
    with machine.world() as world:
        world.add_user("ci-deploy", 200)
    machine.cloud.faults.add(Fault(action="iam:GetCredentialReport", answer=lambda asked: stall(asked, 30.0), times=1))
    first = machine.start(JOBS)
    until(lambda: any(asked.action == "iam:GetCredentialReport" for asked in [*machine.cloud.requests]))
    first.kill()
    machine.lease_ends()
    second = machine.start(JOBS)

    def scanned() -> bool:
        with machine.world() as world:
            return bool(world.rows(ScanRow, complete=True)) and bool(world.rows(IdentityRow))

    until(scanned)
    with machine.world() as world:
        assert len(world.findings("ci-deploy")) == 3
        assert world.events()[-1] == "scan.finished"
    assert second.ends() == 0


def stall(asked: Asked, seconds: float) -> Any:
    time.sleep(seconds)
    return refuse(asked, 500, "ServiceFailure")


def test_an_answer_given_before_a_kill_is_carried_out_after_it(machine: Machine) -> None:
    key_id = machine.ask_ana()
    machine.cloud.faults.deny("iam:GetUser", code="Throttling")  # nothing can be looked at before an act
    first = machine.start(UP)
    until(first.is_ready)
    machine.workspace.app_url = f"http://127.0.0.1:{first.port}/slack/events"
    until(machine.workspace.as_("ana").messages)
    press_disable(machine)
    first.kill()
    machine.cloud.faults.clear()
    machine.lease_ends()
    assert machine.cloud.key_status(key_id) == "Active"
    second = machine.start(UP)
    until(lambda: machine.cloud.key_status(key_id) == "Inactive")
    assert second.ends() == 0
