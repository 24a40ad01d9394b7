"""The `nhi` command as people and scripts use it: a process of its own, its exit status, its stdout and its stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from alembic import command
from sqlalchemy import Engine, create_engine, update

from demo.cloud import Cloud
from demo.workspace import Workspace
from jobs.cli import main
from nhi import database
from nhi.tables import EventRow
from tests.conftest import PEOPLE
from tests.jobs_world import POLICY, ROOT, environment_of

Json = dict[str, Any]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# Questions are asked in working hours only, and tests run on Sundays too: a process may be given a Monday noon. It was
# noon when the tests began, so that for one process after another time never runs back.
MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEGAN = datetime.now(UTC)
FORMULAS = ("=1+1", "+2", "-3", "@sum")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Nursery:
    """A process that has `nhi` imported, and runs each command in a child of its own: importing takes a second."""

    PROGRAM = """
import gc, json, os, sys
from datetime import datetime
from importlib import import_module
import bot.app, boto3, google.auth
from alembic import command
from freezegun import freeze_time
from jobs.cli import COMMANDS, main
from nhi.providers import providers
for where in COMMANDS.values():
    import_module(where.partition(":")[0])
providers()
gc.freeze()  # a child that looked at all of it would first have to copy it
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        if asked["now"]:
            freeze_time(datetime.fromisoformat(asked["now"]), tick=True).start()
        status = 0
        try:
            main(args=asked["words"], prog_name="nhi")
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

    def __init__(self, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], now: datetime | None = None
    ) -> Ran:
        """Run a command; `now` is what it takes for the time, None: the time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"words": words, "folder": str(folder), "environment": environment, "now": now and now.isoformat()}
        self._process.stdin.write(json.dumps(asked | {"out": str(self._out), "err": str(self._err)}) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return Ran(status, self._out.read_text(), self._err.read_text())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    started = Nursery(tmp_path_factory.mktemp("nursery"))
    yield started
    started.close()


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Somebody's shell: a folder, an environment, and `nhi`."""

    folder: Path
    environment: Mapping[str, str]
    cloud: Cloud
    workspace: Workspace
    nursery: Nursery

    def nhi(self, *words: str, at_monday_noon: bool = False, **environment: str) -> Ran:
        """Run `nhi` with these words; keyword arguments set, or with "" unset, settings."""
        env = {name: value for name, value in {**self.environment, **environment}.items() if value}
        now = MONDAY_NOON + (datetime.now(UTC) - BEGAN) if at_monday_noon else None
        return self.nursery.run(words, self.folder, env, now)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Iterator[Desk]:
    """A desk whose account has been scanned once. Tests leave the inventory as it is."""
    folder = tmp_path_factory.mktemp("desk")
    now = datetime.now(UTC)
    (folder / "policy.toml").write_text(POLICY)
    with Cloud() as cloud, Workspace(PEOPLE) as workspace:
        for name in ("ci-deploy", *FORMULAS):
            cloud.add_user(name, tags={"owner": "ana@example.com"}, created_at=now - timedelta(days=400))
            cloud.add_access_key(name, created_at=now - timedelta(days=300), last_used_at=now - timedelta(days=200))
        opened = Desk(
            folder=folder,
            environment=environment_of(folder, cloud, workspace),
            cloud=cloud,
            workspace=workspace,
            nursery=nursery,
        )
        first = opened.nhi("scan", "--json")
        assert (first.status, first.err) == (0, "")
        yield opened


@pytest.fixture
def blank(tmp_path: Path, nursery: Nursery) -> Iterator[Desk]:
    """A desk where nothing was done yet, with nothing that is reached."""
    with Cloud() as cloud, Workspace(PEOPLE) as workspace:
        env = environment_of(tmp_path, cloud, workspace)
        yield Desk(folder=tmp_path, environment=env, cloud=cloud, workspace=workspace, nursery=nursery)


def is_one_sentence(ran: Ran) -> bool:
    """Whether a refusal is one line on stderr, nothing on stdout, and no traceback."""
    return ran.out == "" and len(ran.err.strip().splitlines()) == 1 and "Traceback" not in ran.err


def test_the_installed_program_runs_by_its_name() -> None:
    program = Path(sys.executable).parent / "nhi"
    ran = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=90)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.fullmatch(r"nhi, version [\d.]+\n", ran.stdout)


# -- scan --------------------------------------------------------------------------------------------------------------


def test_scan_json_is_one_document_with_the_promised_keys_and_nothing_else_is_said(desk: Desk) -> None:
    ran = desk.nhi("scan", "--json")
    told = ran.json()
    assert (ran.status, ran.err) == (0, "")
    assert (told["opened"], told["resolved"]) == (0, 0)
    assert isinstance(told["seconds"], float)
    (source,) = told["sources"]
    assert {"provider", "scope", "identities", "credentials", "complete", "gaps", "api_calls"} <= set(source)
    assert (source["provider"], source["scope"]) == ("aws", desk.cloud.account)
    assert (source["identities"], source["credentials"], source["complete"], source["gaps"]) == (5, 5, True, [])
    assert source["api_calls"]["iam:GetCredentialReport"] == 1
    assert sum(source["api_calls"].values()) <= 14


def test_scan_says_its_tally_in_a_sentence_and_shows_no_progress_in_a_pipe(desk: Desk) -> None:
    ran = desk.nhi("scan", "--provider", "aws")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == "Saw 5 identities and 5 credentials in 1 source. Opened 0 findings, resolved 0.\n"


def test_a_scan_that_could_not_see_exits_3_and_says_what(blank: Desk) -> None:
    blank.cloud.faults.deny("iam:GetAccountAuthorizationDetails")
    ran = blank.nhi("scan", "--json")
    gaps = ran.json()["sources"][0]["gaps"]
    assert ran.status == 3
    assert gaps == [
        {"scope": f"aws/{blank.cloud.account}", "reason": "AccessDenied: iam:GetAccountAuthorizationDetails"}
    ]
    assert "Could not see" in ran.err
    assert blank.nhi("scan").status == 3


def test_a_scan_of_an_account_out_of_reach_exits_3(blank: Desk) -> None:
    ran = blank.nhi("scan", "--json", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert ran.status == 3
    assert ran.json()["sources"][0]["complete"] is False


@pytest.mark.parametrize("command", ["scan", "activity"])
def test_an_unknown_provider_is_wrong_usage_and_gets_the_nearest_or_the_known_ones(desk: Desk, command: str) -> None:
    ran = desk.nhi(command, "--provider", "awz")
    assert (ran.status, is_one_sentence(ran)) == (2, True)
    assert ran.err == "nhi: --provider awz is not known; did you mean aws?\n"
    assert desk.nhi(command, "--provider", "azure").err == "nhi: --provider azure is not known; there are: aws, gcp\n"


# -- findings ----------------------------------------------------------------------------------------------------------


def test_findings_json_has_the_promised_keys_and_types(desk: Desk) -> None:
    ran = desk.nhi("findings", "--json")
    found = ran.json()
    assert (ran.status, ran.err, len(found)) == (0, "", 15)
    for one in found:
        check_finding(one)
    unowned = [one for one in found if one["kind"] == "unowned"]
    assert all(one["credential"] is None for one in unowned)


def check_finding(one: Json) -> None:
    """Hold a finding to interface.md."""
    for name, values in {
        "kind": {"unused", "unowned", "unrotated"},
        "owasp": {"NHI1", "NHI7"},
        "severity": {"low", "medium", "high", "critical"},
        "status": {"open", "asked", "justified", "snoozed"},
    }.items():
        assert one[name] in values
    assert INSTANT.fullmatch(one["since"])
    assert all(isinstance(one[name], str) and one[name] for name in ("id", "why", "coverage"))
    assert all(
        isinstance(one["identity"][name], str) and one["identity"][name]
        for name in ("id", "provider", "kind", "account", "name", "principal")
    )
    if one["credential"]:
        credential = one["credential"]
        assert credential["id"].startswith("AKIA")
        assert credential["kind"] == "access_key"
        assert INSTANT.fullmatch(credential["created_at"])
        assert credential["last_used_at"] is None or INSTANT.fullmatch(credential["last_used_at"])
    owner = one["owner"]
    assert (owner["state"], owner["email"]) == ("likely", "ana@example.com")
    assert 0 < owner["confidence"] <= 1
    for fact in owner["evidence"]:
        assert {"source", "fact", "at"} <= set(fact)


def test_findings_are_filtered_by_kind_owner_and_provider(desk: Desk) -> None:
    assert {one["kind"] for one in desk.nhi("findings", "--kind", "unused", "--json").json()} == {"unused"}
    assert len(desk.nhi("findings", "--owner", "ANA@example.com", "--json").json()) == 15
    assert desk.nhi("findings", "--owner", "bea@example.com", "--json").json() == []
    assert len(desk.nhi("findings", "--provider", "aws", "--json").json()) == 15
    assert desk.nhi("findings", "--provider", "awz").err == "nhi: --provider awz is not known; did you mean aws?\n"


def test_a_finding_kind_that_does_not_exist_gets_the_nearest_one(desk: Desk) -> None:
    ran = desk.nhi("findings", "--kind", "unusd")
    assert (ran.status, ran.err) == (2, "nhi: --kind unusd is not known; did you mean unused?\n")


def test_no_cell_of_the_csv_runs_as_a_formula(desk: Desk) -> None:
    ran = desk.nhi("findings", "--csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert (ran.status, ran.err, len(rows)) == (0, "", 15)
    assert {row["identity"] for row in rows} == {"ci-deploy", *(f"'{name}" for name in FORMULAS)}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_findings_on_a_narrow_terminal_cut_nothing_off(desk: Desk) -> None:
    told = desk.nhi("findings", "--kind", "unused", "--json").json()
    shown, status = on_terminal(desk, 60, "findings", "--kind", "unused")
    assert status == 0
    assert [one["credential"]["id"] for one in told if one["credential"]["id"] not in shown] == []
    assert "…" not in shown
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in shown.splitlines()) <= 60
    plain, _ = on_terminal(desk, 60, "findings", NO_COLOR="1")
    assert re.findall(r"\x1b\[3\dm", plain) == []


def on_terminal(desk: Desk, columns: int, *words: str, **environment: str) -> tuple[str, int]:
    """Run `nhi` on a terminal of so many columns; return what it shows and how it ended."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    env = {**desk.environment, "TERM": "xterm", **environment}
    shown = bytearray()
    with subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *words], cwd=desk.folder, env=env, stdout=slave, stdin=slave, stderr=slave
    ) as process:
        os.close(slave)
        while True:
            try:
                piece = os.read(master, 65_536)
            except OSError:  # Linux' way to say that the other end is closed
                break
            if not piece:
                break
            shown += piece
    os.close(master)
    return shown.decode(), process.returncode


def test_json_and_csv_at_once_is_wrong_usage(desk: Desk) -> None:
    ran = desk.nhi("findings", "--json", "--csv")
    assert (ran.status, ran.out) == (2, "")
    assert "choose one of --json and --csv" in ran.err


def test_findings_for_people_are_a_table_with_whole_sentences(desk: Desk) -> None:
    ran = desk.nhi("findings", "--kind", "unused")
    assert ran.status == 0
    assert "5 open findings" in ran.out
    assert "ci-deploy" in ran.out
    assert "\x1b[" not in ran.out


# -- whois -------------------------------------------------------------------------------------------------------------


def test_whois_json_tells_everything_known_newest_first(desk: Desk) -> None:
    key_id = desk.nhi("findings", "--kind", "unused", "--json").json()[0]["credential"]["id"]
    for query in ("ci-deploy", f"arn:aws:iam::{desk.cloud.account}:user/ci-deploy"):
        (match,) = desk.nhi("whois", query, "--json").json()["matches"]
        assert match["identity"]["name"] == "ci-deploy"
        assert {"identity", "owner", "credentials", "permissions", "findings", "history"} <= set(match)
        for one in match["findings"]:
            check_finding(one)
        numbers = [event["seq"] for event in match["history"]]
        assert numbers == sorted(numbers, reverse=True)
        assert {"identity.seen", "finding.opened"} <= {event["kind"] for event in match["history"]}
    text = f'the log says "{key_id}" was refused'
    (match,) = desk.nhi("whois", text, "--json").json()["matches"]
    assert key_id in {credential["id"] for credential in match["credentials"]}


def test_whois_of_a_stranger_is_an_empty_list_and_exit_1(desk: Desk) -> None:
    ran = desk.nhi("whois", "nobody-at-all", "--json")
    assert (ran.status, ran.json(), ran.err) == (1, {"matches": []}, "")
    words = desk.nhi("whois", "nobody-at-all")
    assert (words.status, words.out.startswith("Nothing by that name was seen.")) == (1, True)


@pytest.mark.parametrize("query", ["'; DROP TABLE identity; --", "%", "\u202e\u200b", "[bold]x[/nope]", "x" * 30_000])
def test_whois_takes_any_text_without_a_traceback(desk: Desk, query: str) -> None:
    ran = desk.nhi("whois", "--", query)
    assert (ran.status, "Traceback" in ran.err) == (1, False)


def test_whois_for_people_keeps_hostile_text_on_its_line_and_the_right_way_round(blank: Desk) -> None:
    past = datetime.now(UTC) - timedelta(days=300)
    blank.cloud.add_user("mixed", tags={"owner": "ana\u202e\n=cmd|x!A0", "Owner": "[bold]x[/]"}, created_at=past)
    blank.cloud.add_access_key("mixed", created_at=past)
    assert blank.nhi("scan").status == 0
    ran = blank.nhi("whois", "mixed")
    assert (ran.status, "\u202e" in ran.out, "[bold]x[/]" in ran.out) == (0, False, True)
    assert [line for line in ran.out.splitlines() if line.lstrip().startswith("=cmd")] == []


def test_letters_that_a_terminal_does_not_have_end_no_command(blank: Desk) -> None:
    past = datetime.now(UTC) - timedelta(days=300)
    blank.cloud.add_user("mixed", tags={"owner": "ана@пример.рф"}, created_at=past)
    assert blank.nhi("scan").status == 0
    env = {**blank.environment, "PYTHONIOENCODING": "latin-1"}
    words = [sys.executable, "-m", "jobs.cli", "whois", "mixed"]
    told = subprocess.run([*words, "--json"], check=False, cwd=blank.folder, env=env, capture_output=True, timeout=90)
    assert json.loads(told.stdout)["matches"][0]["identity"]["tags"] == {"owner": "ана@пример.рф"}
    shown = subprocess.run(words, check=False, cwd=blank.folder, env=env, capture_output=True, timeout=90)
    assert (told.returncode, shown.returncode, shown.stderr) == (0, 0, b"")


# -- a database in trouble ---------------------------------------------------------------------------------------------

WITH_LITTLE_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
from jobs.cli import main
main()
"""


def test_a_full_disk_in_the_middle_is_one_sentence_and_nothing_is_half_written(blank: Desk) -> None:
    assert blank.nhi("scan").status == 0
    for number in range(120):
        blank.cloud.add_user(f"user-{number}", created_at=datetime.now(UTC) - timedelta(days=400))
    blank.cloud.forget_report()
    full = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_ROOM, "scan"],
        check=False,
        cwd=blank.folder,
        env=dict(blank.environment),
        capture_output=True,
        text=True,
        timeout=90,
    )
    ran = Ran(full.returncode, full.stdout, full.stderr)
    assert (ran.status, is_one_sentence(ran)) == (1, True), ran.err
    assert ran.err.startswith("nhi: The database failed (")
    assert ran.err.endswith("and run the command again\n")
    assert blank.nhi("ledger", "verify").status == 0
    again = blank.nhi("scan", "--json")
    assert (again.status, again.json()["sources"][0]["identities"]) == (0, 120)
    assert len(blank.nhi("findings", "--json").json()) == 120


# -- ask, remediate, undo ----------------------------------------------------------------------------------------------


def test_ask_and_its_rehearsal_then_remediate_and_undo(blank: Desk) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    (blank.folder / "policy.toml").write_text(POLICY)
    blank.cloud.add_user("ci-deploy", tags={"owner": "bea@example.com"}, created_at=now - timedelta(days=400))
    key_id = blank.cloud.add_access_key("ci-deploy", created_at=now - timedelta(days=300))
    assert blank.nhi("scan", at_monday_noon=True).status == 0

    rehearsed = blank.nhi("ask", "--dry-run", "--json", at_monday_noon=True)
    assert (rehearsed.status, rehearsed.err) == (0, "")
    assert {name: rehearsed.json()[name] for name in ("sent", "people", "items", "skipped")} == {
        "sent": 1,
        "people": 1,
        "items": 1,
        "skipped": [],
    }
    assert blank.workspace.as_("bea").messages() == []
    words = blank.nhi("ask", "--dry-run", at_monday_noon=True)
    assert words.out == "Would have: Asked 1 people about 1 identities in 1 messages.\n"

    asked = blank.nhi("ask", "--json", at_monday_noon=True)
    assert (asked.status, asked.json()["sent"]) == (0, 1)
    assert len(blank.workspace.as_("bea").messages()) == 1
    again = blank.nhi("ask", "--json", at_monday_noon=True)
    assert again.json()["skipped"] == [{"reason": "asked, waiting for the answer", "count": 1}]
    assert len(blank.workspace.as_("bea").messages()) == 1

    idle = blank.nhi("remediate", "--json")
    lists = {"done", "undone", "proposed", "awaiting", "closed", "refused", "waiting"}
    assert (idle.status, lists <= set(idle.json()), any(idle.json().values())) == (0, True, False)
    assert blank.nhi("undo", "abc").err == "nhi: No remediation starts with 'abc'; `nhi whois` shows their ids.\n"
    assert blank.cloud.key_status(key_id) == "Active"


def test_ask_tells_what_slack_did_not_take_and_says_it_once_the_token_is_mended(blank: Desk) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    (blank.folder / "policy.toml").write_text(POLICY)
    blank.cloud.add_user("ci-deploy", tags={"owner": "bea@example.com"}, created_at=now - timedelta(days=400))
    assert blank.nhi("scan", at_monday_noon=True).status == 0

    refused = blank.nhi("ask", "--json", at_monday_noon=True, SLACK_BOT_TOKEN="xoxb-wrong")
    told = refused.json()
    assert (refused.status, told["sent"], told["people"]) == (3, 0, 1)
    assert told["unsaid"] == [{"reason": "invalid_auth", "count": 1}]
    checks = blank.nhi("doctor", "--json", at_monday_noon=True).json()["checks"]
    (outbox,) = [one for one in checks if one["name"] == "outbox"]
    assert (outbox["status"], "invalid_auth" in outbox["detail"]) == ("warn", True)

    assert blank.nhi("ask", at_monday_noon=True).status == 0
    assert len(blank.workspace.as_("bea").messages()) == 1


def test_ask_without_a_bot_token_names_the_setting(desk: Desk) -> None:
    ran = desk.nhi("ask", SLACK_BOT_TOKEN="")
    assert (ran.status, is_one_sentence(ran)) == (2, True)
    assert ran.err.startswith("nhi: SLACK_BOT_TOKEN is not set: ")


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL is not a database address"),
        ({"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL names mysql"),
        ({"DATABASE_URL": "sqlite:////nowhere/at/all.db"}, "The database cannot be opened"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:9/x"}, "The database cannot be opened"),
        ({"PORT": "many"}, "PORT"),
        ({"SLACK_API_URL": "nonsense"}, "SLACK_API_URL: an address looks like https://slack.com/api/"),
        ({"SLACK_BOT_TOKEN": "xoxp-wrong-kind"}, "SLACK_BOT_TOKEN should start with `xoxb-`"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_one_sentence_and_exit_2(desk: Desk, setting: dict[str, str], words: str) -> None:
    ran = desk.nhi("scan", at_monday_noon=False, **setting)
    assert (ran.status, is_one_sentence(ran)) == (2, True), ran.err
    assert ran.err.startswith(f"nhi: {words}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[rules]\nunused_afer = '30d'\n", "did you mean `unused_after`"),
        (b"[rules]\nunused_after = 'soon'\n", "a duration is a whole number above 0 with a unit"),
        (b"[rules\n", "is not TOML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[[sources]]\nprovider = 'azure'\n", "provider"),
    ],
    ids=["unknown key", "wrong duration", "not TOML", "not text", "unknown provider"],
)
def test_a_policy_that_does_not_read_is_one_sentence_and_exit_2(blank: Desk, text: bytes, words: str) -> None:
    (blank.folder / "policy.toml").write_bytes(text)
    for asked in (("scan",), ("policy", "check")):
        ran = blank.nhi(*asked)
        assert (ran.status, is_one_sentence(ran)) == (2, True), ran.err
        assert words in ran.err
        assert "policy.toml" in ran.err


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_postgresql_without_a_schema_gets_the_command_to_run(desk: Desk, engine: Engine, database_url: str) -> None:
    command.downgrade(database.alembic_config(database_url), "base")
    ran = desk.nhi("findings", DATABASE_URL=database_url)
    assert (ran.status, is_one_sentence(ran)) == (2, True)
    assert "run `nhi migrate`, or `alembic upgrade head` in a checkout" in ran.err
    assert desk.nhi("migrate", DATABASE_URL=database_url) == Ran(0, "The schema is up to date now.\n", "")
    assert desk.nhi("findings", "--json", DATABASE_URL=database_url).json() == []


def test_an_unknown_command_or_option_is_wrong_usage(desk: Desk) -> None:
    for words in (("scn",), ("scan", "--jsn"), ("whois",)):
        ran = desk.nhi(*words)
        assert (ran.status, ran.out) == (2, "")


def test_every_command_has_help_with_an_example(desk: Desk) -> None:
    context = click.Context(main)
    found: dict[str, Any] = {name: main.get_command(context, name) for name in main.list_commands(context)}
    for name in [name for name, each in found.items() if isinstance(each, click.Group)]:
        group = found.pop(name)
        found |= {f"{name} {word}": each for word, each in group.commands.items()}
    assert len(found) > len(main.list_commands(context))
    for words, each in found.items():
        assert each.help
        assert f"Example: nhi {words}" in re.sub(r"DATABASE_URL=\S+ ", "", each.epilog or ""), words
    shown = desk.nhi("scan", "--help")
    assert (shown.status, "Example: nhi scan --provider aws --json" in shown.out) == (0, True)


# -- policy, doctor, ledger, manifest ----------------------------------------------------------------------------------


def test_policy_check_shows_what_each_rule_would_match_today(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(
        "[rules]\nunused_after = '201d'\n[[rules.exceptions]]\nmatch = {name = 'ci-*'}\nunused_after = '10d'\n"
    )
    ran = desk.nhi("policy", "check", str(other))
    assert (ran.status, ran.err) == (0, "")
    assert "reads well." in ran.out
    assert re.search(r"rules.unused_after +│ 201d +│ 1 unused", ran.out)
    assert re.search(r"rules.unrotated_after +│ 90d +│ 5 unrotated", ran.out)
    assert re.search(r"1 identities +│ unused_after = 10d", ran.out)


def test_policy_check_of_a_file_that_is_not_there_says_so(desk: Desk) -> None:
    ran = desk.nhi("policy", "check", "missing.toml")
    assert (ran.status, is_one_sentence(ran)) == (2, True)
    assert "missing.toml is not there" in ran.err


def test_policy_check_before_the_first_scan_says_what_to_do(blank: Desk) -> None:
    ran = blank.nhi("policy", "check")
    assert (ran.status, "run `nhi scan`" in ran.out) == (0, True)


def test_policy_backtest_says_what_would_have_been_off_and_what_it_cannot_know(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[rules]\nunused_after = '100d'\n")
    ran = desk.nhi("policy", "backtest", str(other), "--since", "365d")
    assert (ran.status, ran.err) == (0, "")
    assert re.search(r"this policy would have turned off [1-9]\d* of \d+ credentials", ran.out.replace("\n", " "))
    assert "known only by its last use before that day" in ran.out.replace("\n", " ")
    told = desk.nhi("policy", "backtest", str(other), "--since", "365d", "--json").json()
    assert {"turned_off", "used_later", "judged", "recorded_since"} <= set(told)
    wrong = desk.nhi("policy", "backtest", str(other), "--since", "soon")
    assert (wrong.status, '"90d"' in wrong.err) == (2, True)


def test_doctor_json_names_each_check_with_what_to_do(desk: Desk) -> None:
    ran = desk.nhi("doctor", "--json")
    checks = ran.json()["checks"]
    assert (ran.status, ran.err) == (0, "")
    assert all(set(check) >= {"name", "status", "detail", "fix"} for check in checks)
    powers = [check for check in checks if check["name"].startswith("power")]
    assert {check["status"] for check in checks if check not in powers} == {"ok"}
    reads, acts = powers  # the stand-in's caller may do everything, and acts by itself
    assert (reads["status"], "iam:DeleteUser" in reads["fix"]) == ("warn", True)
    assert (acts["status"], "remediator_role_arn" in acts["fix"]) == ("warn", True)
    assert {"database", "policy", "slack", "scan", "outbox", "ledger"} <= {check["name"] for check in checks}


def test_doctor_exits_1_where_something_fails_and_says_what_to_do(desk: Desk) -> None:
    ran = desk.nhi("doctor", "--json", SLACK_BOT_TOKEN="xoxb-wrong")
    failing = [check for check in ran.json()["checks"] if check["status"] == "fail"]
    assert (ran.status, [check["name"] for check in failing]) == (1, ["slack"])
    assert "invalid_auth" in failing[0]["detail"]
    assert failing[0]["fix"]


def test_doctor_of_a_machine_with_nothing_set_still_answers(blank: Desk) -> None:
    ran = blank.nhi(
        "doctor", "--json", SLACK_BOT_TOKEN="", SLACK_SIGNING_SECRET="", AWS_ENDPOINT_URL="http://127.0.0.1:9"
    )
    failing = {check["name"].split()[0] for check in ran.json()["checks"] if check["status"] == "fail"}
    assert (ran.status, failing) == (1, {"slack", "source"})
    (source,) = [check for check in ran.json()["checks"] if check["name"].startswith("source")]
    assert "network" in source["fix"]
    blind = blank.nhi("doctor", "--json", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    (source,) = [check for check in blind.json()["checks"] if check["name"].startswith("source")]
    assert ("NoCredentialsError" in source["detail"], "AWS_PROFILE" in source["fix"]) == (True, True)


def test_doctor_looks_at_all_that_can_be_looked_at_whatever_else_fails(blank: Desk) -> None:
    def judged(**setting: str) -> dict[str, str]:
        ran = blank.nhi("doctor", "--json", at_monday_noon=False, **setting)
        assert ran.status == 1
        return {check["name"].split()[0]: check["status"] for check in ran.json()["checks"]}

    without_database = judged(DATABASE_URL="nonsense")
    assert without_database["database"] == "fail"
    assert (without_database["slack"], without_database["source"]) == ("ok", "ok")
    (blank.folder / "policy.toml").write_text("[rules]\nunused_aftr = '3d'\n")
    without_policy = judged(SLACK_BOT_TOKEN="xoxp-1")
    assert (without_policy["policy"], without_policy["slack"]) == ("fail", "fail")
    assert (without_policy["database"], without_policy["ledger"]) == ("ok", "ok")


def test_ledger_verify_tells_an_unbroken_chain_and_a_broken_one(blank: Desk) -> None:
    assert blank.nhi("scan").status == 0
    fine = blank.nhi("ledger", "verify")
    assert (fine.status, "unbroken" in fine.out) == (0, True)
    engine = create_engine(blank.environment["DATABASE_URL"])
    with engine.begin() as connection:
        for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.execute(update(EventRow).values(body='{"seq": 1}'))
    engine.dispose()
    broken = blank.nhi("ledger", "verify")
    assert (broken.status, "unbroken" in broken.out, "Traceback" in broken.err) == (1, False, False)
    assert "event 1" in broken.err.lower()


@pytest.mark.parametrize("mode", ["socket", "http"])
def test_the_manifest_is_one_json_document_that_names_the_scopes_we_need(desk: Desk, mode: str) -> None:
    ran = desk.nhi("slack", "manifest", "--mode", mode, "--url", "https://bot.example.com/")
    told = ran.json()
    assert ran.status == 0
    assert told["settings"]["socket_mode_enabled"] is (mode == "socket")
    slash = told["features"]["slash_commands"][0]
    assert slash.get("url") == (None if mode == "socket" else "https://bot.example.com/slack/events")
    assert set(told["oauth_config"]["scopes"]["bot"]) >= {"chat:write", "commands", "im:write", "users:read.email"}
    assert "admin" not in f"{told['oauth_config']}"
    assert "https://api.slack.com/apps?new_app=1&manifest_json=" in ran.err


@pytest.mark.parametrize("url", ["bot.example.com", "http://bot.example.com", "https://"])
def test_slack_takes_only_an_address_with_https(desk: Desk, url: str) -> None:
    ran = desk.nhi("slack", "manifest", "--mode", "http", "--url", url)
    assert (ran.status, is_one_sentence(ran), ran.err.startswith("nhi: --url ")) == (2, True, True)


def test_asking_in_shadow_mode_without_an_admin_is_no_success(blank: Desk) -> None:
    ran = blank.nhi("ask", "--json")
    assert (ran.status, ran.json()["skipped"][0]["reason"].startswith("questions: shadow mode, and no admin")) == (
        3,
        True,
    )


def test_secrets_are_never_said(desk: Desk) -> None:
    ran = desk.nhi("-v", "doctor", "--json")
    for secret in (desk.environment["SLACK_BOT_TOKEN"], desk.environment["SLACK_SIGNING_SECRET"]):
        assert secret not in ran.out + ran.err
