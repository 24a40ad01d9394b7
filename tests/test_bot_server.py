"""What comes in from outside: forged, garbled, replayed, too large, too many; and how the process starts and ends."""

from __future__ import annotations

import http.client
import json
import logging
import os
import resource
import signal
import socket as sockets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from slack_bolt import BoltRequest
from sqlalchemy import select

from bot import delivery
from bot.app import Redacting, Slackbot, build_app, is_signed
from bot.server import BODY_AT_MOST, SLACK_PATH, Once, Serving, serve
from demo.slack_delivery import sign
from demo.workspace import Workspace, drop_before
from nhi.database import ROOT, Sessions, reading
from nhi.errors import SettingsError
from nhi.policy import Policy
from nhi.settings import Settings
from nhi.tables import AttestationRow, DelegationRow
from tests.conftest import Clock, Deferred, copy_of, decided, on_sqlite
from tests.factories import make_ask, make_identity


@pytest.fixture
def database_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """What comes in from outside is the same whatever the database: these tests run on one."""
    return copy_of(migrated_sqlite, tmp_path)


def ask(
    server: Serving, path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def signed(workspace: Workspace, body: bytes, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": sign(workspace.signing_secret, body, timestamp),
    }


COMMAND = urlencode({"command": "/nhi", "text": "help", "user_id": "UANA", "team_id": "T0STANDIN"}).encode()


# -- signatures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        {"X-Slack-Request-Timestamp": "abc"},
        {"X-Slack-Request-Timestamp": ""},
        {"X-Slack-Request-Timestamp": "-1"},
        {"X-Slack-Request-Timestamp": "9" * 400},
        {"X-Slack-Request-Timestamp": "1e9"},
        {"X-Slack-Request-Timestamp": "\u0661\u0662".encode().decode("latin-1")},
        {"X-Slack-Signature": ""},
        {"X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Signature": "v0=\xe9\xff"},
        {"X-Slack-Signature": "x" * 8000},
    ],
)
def test_a_forged_request_is_401(server: Serving, workspace: Workspace, spoil: dict[str, str]) -> None:
    status, _ = ask(server, SLACK_PATH, "POST", COMMAND, signed(workspace, COMMAND) | spoil)
    assert status == 401


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\x00", b"ssl_check=1&token=x", b'{"type":"url_verification"}', b"[" * 9999]
)
def test_an_unsigned_body_is_401_whatever_it_holds(server: Serving, body: bytes) -> None:
    assert ask(server, SLACK_PATH, "POST", body)[0] == 401


@pytest.mark.parametrize(("age", "status"), [(290, 200), (310, 401), (-310, 401)])
def test_a_signature_is_good_for_five_minutes(server: Serving, workspace: Workspace, age: int, status: int) -> None:
    headers = signed(workspace, COMMAND, time.time() - age)
    assert ask(server, SLACK_PATH, "POST", COMMAND, headers)[0] == status


@given(timestamp=st.text(max_size=20), signature=st.text(max_size=80), body=st.binary(max_size=50))
@hypothesis_settings(max_examples=200, deadline=None)
def test_no_header_makes_the_check_raise(timestamp: str, signature: str, body: bytes) -> None:
    assert not is_signed("secret", body, timestamp, signature, 1_800_000_000.0)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"{",
        b"[]",
        b"5",
        b"payload=[]",
        b"payload={",
        b"payload=5",
        b"payload=%7B%22user%22%3A5%7D",
        b"payload=%7B%22type%22%3A%22block_actions%22%7D",
        b'{"type":"event_callback","event":[]}',
        b"[" * 100_000,
        b"command=/nhi",
    ],
)
def test_a_garbled_body_is_refused_and_never_breaks_anything_even_signed(
    server: Serving, workspace: Workspace, body: bytes
) -> None:
    status, _ = ask(server, SLACK_PATH, "POST", body, signed(workspace, body))
    assert status in (200, 400, 401, 404)


def test_the_app_itself_answers_401_too_behind_whatever_server(app: Slackbot) -> None:
    headers: dict[str, Any] = {"x-slack-request-timestamp": ["abc"], "x-slack-signature": ["v0=x"]}
    for given_headers in (headers, {}):
        assert app.dispatch(BoltRequest(body="command=%2Fnhi", headers=given_headers)).status == 401


def test_slack_can_verify_the_address(server: Serving, workspace: Workspace) -> None:
    assert workspace.verify_url().json() == {"challenge": "say-this-back"}


def test_bodies_and_tokens_are_never_logged(
    server: Serving, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-very-private-sentence"
    body = urlencode({"command": "/nhi", "text": secret, "user_id": "UANA", "team_id": "T0STANDIN"}).encode()
    ask(server, SLACK_PATH, "POST", body, signed(workspace, body))
    ask(server, SLACK_PATH, "POST", body, {"X-Slack-Request-Timestamp": "1", "X-Slack-Signature": "v0="})
    assert secret not in caplog.text
    assert workspace.bot_token not in caplog.text


# -- replays and limits ------------------------------------------------------------------------------------------------


def test_a_replayed_request_changes_nothing(server: Serving, workspace: Workspace, sessions: Sessions) -> None:
    text = "delegate <@UBEA|bea> until 2026-12-01"
    body = urlencode({"command": "/nhi", "text": text, "user_id": "UANA", "team_id": "T0STANDIN"}).encode()
    headers = signed(workspace, body)
    assert "Bea" in ask(server, SLACK_PATH, "POST", body, headers)[1]
    with sessions.begin() as session:
        session.delete(session.scalars(select(DelegationRow)).one())
    assert ask(server, SLACK_PATH, "POST", body, headers) == (200, "")
    with reading(sessions) as session:
        assert list(session.scalars(select(DelegationRow))) == []


def test_a_request_that_failed_may_be_sent_again(server: Serving, workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        ask_row = make_ask(session, make_identity(session))
        delivery.queue(session, "digest", "UANA", {}, [ask_row.id], ask_row.asked_at)
        session.connection().exec_driver_sql("ALTER TABLE inbox RENAME TO away")
    payload = {
        "type": "block_actions",
        "user": {"id": "UANA", "team_id": "T0STANDIN"},
        "team": {"id": "T0STANDIN"},
        "actions": [{"type": "button", "action_id": "nhi:claim", "block_id": "x", "value": "0" * 32}],
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    headers = signed(workspace, body)
    assert ask(server, SLACK_PATH, "POST", body, headers)[0] == 500
    assert ask(server, SLACK_PATH, "POST", body, headers)[0] == 500, "it was not swallowed as a replay"


def test_a_signature_is_remembered_for_ten_minutes() -> None:
    now = [0.0]
    once = Once(lambda: now[0])
    assert once.is_new("v0=a")
    now[0] = 600.0
    assert not once.is_new("v0=a")
    now[0] = 600.1
    assert once.is_new("v0=a")


def test_a_body_above_one_megabyte_is_413(server: Serving, workspace: Workspace) -> None:
    for size in (BODY_AT_MOST + 1, 10**12):
        # Only the headers: the server answers before it reads any of such a body, and hangs up.
        assert ask(server, SLACK_PATH, "POST", b"", {"Content-Length": str(size)})[0] == 413
    body = b"text=" + b"x" * (BODY_AT_MOST - 5)
    assert ask(server, SLACK_PATH, "POST", body, signed(workspace, body))[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/slack/events/x", "POST", 404),
        ("/../etc/passwd", "GET", 404),
        (SLACK_PATH, "GET", 405),
        (SLACK_PATH, "PUT", 405),
        ("/healthz", "POST", 405),
        ("/metrics", "DELETE", 405),
        ("/healthz", "GET", 200),
        ("/healthz", "HEAD", 200),
    ],
)
def test_other_paths_and_methods(server: Serving, path: str, method: str, status: int) -> None:
    assert ask(server, path, method)[0] == status


# -- operators ---------------------------------------------------------------------------------------------------------


def test_ready_when_database_and_slack_are_well(server: Serving) -> None:
    status, body = ask(server, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "reasons": []})


def test_not_ready_says_why(server: Serving, workspace: Workspace, sessions: Sessions) -> None:
    workspace.inject("auth.test", drop_before())
    with sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'from the future'")
    status, body = ask(server, "/readyz")
    assert status == 503
    assert len(json.loads(body)["reasons"]) == 2
    assert "newer version" in body
    assert "SLACK_BOT_TOKEN" in body


def test_metrics_count_answers_and_what_is_open(server: Serving, workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session))
    ana = workspace.as_("ana")
    card = ana.command("/nhi mine")
    assert card is not None
    before = ask(server, "/metrics")[1]
    assert 'nhi_open_findings{kind="unowned"} 1.0' in before
    ana.click(card, "nhi:claim")
    workspace.wait_for(lambda: 'nhi_answers_total{verdict="claim"}' in ask(server, "/metrics")[1])
    after = ask(server, "/metrics")[1]
    assert 'nhi_open_findings{kind="unowned"}' not in after
    assert "nhi_ack_seconds_bucket" in after


def test_logs_hold_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    token = "xoxb-" + "1234567890" * 2
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "token %s", (token,), None)
    Redacting().filter(record)
    assert token not in record.getMessage()
    try:
        raise ValueError(token)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "broken", (), sys.exc_info())
    Redacting().filter(record)
    assert token not in logging.Formatter().format(record)


# -- starting and ending -----------------------------------------------------------------------------------------------


def test_a_token_that_slack_refuses_is_one_sentence(
    settings: Settings, sessions: Sessions, policy: Policy, clock: Clock, deferred: Deferred, workspace: Workspace
) -> None:
    workspace.revoke_token()
    with pytest.raises(SettingsError, match="SLACK_BOT_TOKEN"):
        build_app(settings, sessions, lambda: policy, clock, deferred)


def test_a_slack_that_cannot_be_reached_at_the_start_is_waited_for(
    settings: Settings,
    sessions: Sessions,
    policy: Policy,
    clock: Clock,
    deferred: Deferred,
    workspace: Workspace,
    known: None,
) -> None:
    workspace.inject("auth.test", drop_before(), times=2)
    app = build_app(settings, sessions, lambda: policy, clock, deferred)
    serving = serve(settings, app, sessions, clock, host="127.0.0.1", port=0)
    workspace.app_url = f"http://127.0.0.1:{serving.port}{SLACK_PATH}"
    try:
        assert ask(serving, "/readyz")[0] == 503
        assert ask(serving, "/readyz")[0] == 200
        assert workspace.as_("ana").command("/nhi help") is not None
    finally:
        serving.close(5)


def test_closing_finishes_the_request_under_way_and_takes_no_more(
    app: Slackbot, settings: Settings, sessions: Sessions, clock: Clock, workspace: Workspace, known: None
) -> None:
    serving = serve(settings, app, sessions, clock, host="127.0.0.1", port=0)
    with sessions.begin() as session:
        make_ask(session, make_identity(session))
        # SQLite lets one writer in at a time: the command below waits until this transaction ends.
        results: list[tuple[int, str]] = []
        body = urlencode({"command": "/nhi", "text": "mine", "user_id": "UANA", "team_id": "T0STANDIN"}).encode()
        headers = signed(workspace, body)
        waiting = threading.Thread(target=lambda: results.append(ask(serving, SLACK_PATH, "POST", body, headers)))
        waiting.start()
        time.sleep(0.3)
        closing = threading.Thread(target=lambda: serving.close(10))
        closing.start()
        time.sleep(0.3)
        with pytest.raises(OSError):  # noqa: PT011  refused or reset, as the system likes
            ask(serving, "/healthz")
    waiting.join(10)
    closing.join(10)
    assert results
    assert results[0][0] == 200
    assert "ci-deploy" in results[0][1]


@pytest.fixture
def environment(settings: Settings, workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLACK_", "NHI_", "DATABASE_"))}
    return clean | {
        "DATABASE_URL": settings.database_url,
        "SLACK_BOT_TOKEN": workspace.bot_token,
        "SLACK_SIGNING_SECRET": workspace.signing_secret,
        "SLACK_API_URL": workspace.api_url,
        "NHI_POLICY": str(tmp_path / "policy.toml"),
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bot"]
    running = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    yield running
    running.kill()
    running.communicate()


def test_the_process_serves_and_ends_well_on_sigterm(
    process: subprocess.Popen[str], environment: dict[str, str], workspace: Workspace
) -> None:
    workspace.app_url = f"http://127.0.0.1:{environment['PORT']}{SLACK_PATH}"
    workspace.wait_for(lambda: workspace.verify_url().status == 200, patience=20)
    process.send_signal(signal.SIGTERM)
    _, logged = process.communicate(timeout=25)
    assert process.returncode == 0
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"SLACK_BOT_TOKEN": ""}, "SLACK_BOT_TOKEN"),
        ({"SLACK_BOT_TOKEN": "xapp-pasted-wrong"}, "SLACK_BOT_TOKEN"),
        ({"SLACK_SIGNING_SECRET": ""}, "SLACK_SIGNING_SECRET"),
        ({"PORT": "http"}, "PORT"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_status_2(
    environment: dict[str, str], tmp_path: Path, change: dict[str, str], names: str
) -> None:
    command = [sys.executable, "-m", "bot"]
    ran = subprocess.run(
        command, env=environment | change, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
    )
    assert ran.returncode == 2
    assert names in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


class Waking:
    """A worker's task that wakes the server's loop all the time, as each finished answer does."""

    def __init__(self, serving: Serving) -> None:
        self._trigger, self._ends = serving._server.trigger, time.monotonic() + 0.3

    def service(self) -> None:
        while time.monotonic() < self._ends:
            self._trigger.pull_trigger()

    def cancel(self) -> None:
        """Nothing is to be taken back."""


@on_sqlite
def test_closing_while_workers_wake_the_loop_ends_it_and_nothing_else(
    app: Slackbot, settings: Settings, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = serve(settings, app, sessions, clock, host="127.0.0.1", port=0)
    pull = serving._server.trigger._physical_pull

    def pull_late() -> None:
        time.sleep(0.02)  # between the task that is handed over and the call that wakes the loop, another may wake it
        pull()

    monkeypatch.setattr(serving._server.trigger, "_physical_pull", pull_late)
    for _ in range(4):
        serving._server.task_dispatcher.add_task(Waking(serving))
    serving.close(5)
    assert not serving._thread.is_alive()


@on_sqlite
def test_a_process_with_thousands_of_open_files_still_serves(
    app: Slackbot, settings: Settings, sessions: Sessions, clock: Clock
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        serving = serve(settings, app, sessions, clock, host="127.0.0.1", port=0)
        assert ask(serving, "/healthz")[0] == 200
        serving.close(5)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# -- Socket Mode -------------------------------------------------------------------------------------------------------


@pytest.fixture
def by_socket(
    settings: Settings,
    workspace: Workspace,
    sessions: Sessions,
    policy: Policy,
    clock: Clock,
    deferred: Deferred,
    known: None,
) -> Iterator[Serving]:
    chosen = settings.model_copy(update={"slack_app_token": SecretStr(workspace.app_token)})
    app = build_app(chosen, sessions, lambda: policy, clock, deferred)
    serving = serve(chosen, app, sessions, clock, host="127.0.0.1", port=0)
    workspace.wait_for(lambda: ask(serving, "/readyz")[0] == 200, patience=10)
    with decided(workspace, app):
        yield serving
    serving.close(5)


def test_socket_mode_takes_clicks_and_commands_and_no_http(
    by_socket: Serving, workspace: Workspace, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session))
    ana = workspace.as_("ana")
    card = ana.command("/nhi mine")
    assert card is not None
    assert ana.click(card, "nhi:claim") == ""
    with reading(sessions) as session:
        assert len(list(session.scalars(select(AttestationRow)))) == 1
    assert ask(by_socket, SLACK_PATH, "POST", COMMAND, signed(workspace, COMMAND))[0] == 404


def test_a_cut_socket_is_not_ready_and_is_connected_again(by_socket: Serving, workspace: Workspace) -> None:
    workspace.inject("apps.connections.open", drop_before(), times=None)
    workspace.sockets.cut()
    workspace.wait_for(lambda: ask(by_socket, "/readyz")[0] == 503, patience=40)
    workspace.clear_faults()
    workspace.wait_for(lambda: ask(by_socket, "/readyz")[0] == 200, patience=60)
    assert workspace.as_("ana").command("/nhi help") is not None
