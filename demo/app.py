"""`nhi demo`: the sample company in a stand-in cloud, a stand-in Slack as a web page, the real program between them.

Nothing leaves this machine, and nothing is kept: the database lies in a temporary folder.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
import webbrowser
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr
from sqlalchemy import select

from bot import directory
from demo import company_incident
from demo.cloud import Cloud
from demo.cloud_acts import StandInJob
from demo.company import COMPANY, DOMAIN, PEOPLE, PEOPLE_CSV, seed
from demo.workspace import Workspace
from jobs import leavers, people, work
from jobs.program import Program, open_program
from jobs.up import Up, asked_to_end
from nhi import answers, cards, decisions, facts
from nhi.errors import SettingsError
from nhi.escalation import Verdict
from nhi.providers.aws.denials import SCREAM
from nhi.settings import Settings
from nhi.tables import IdentityRow, PersonRow

POLICY = """\
[people]
admins = ["dora@{domain}"]
domains = ["{domain}"]

[conversation]
shadow = false                  # this is a demo: owners are asked at once
escalate_to = ["#security"]
holidays = {{ "*" = "none" }}     # its days are pretended: none of them should be without a question

[remediation]
mode = "reversible"

[review]
automatic = false               # the first message is the question; `/nhi review open` opens the quarter's review

[[sources]]
provider = "aws"
endpoint = "{endpoint}"
trail_calls_a_second = 100      # AWS answers 2; the stand-in needs no such care
"""
HINTS = (
    "You are Ana. The bot asks about keys that nobody seems to use: open its message and press Disable, then confirm.",
    "Watch the key turn Inactive in the stand-in cloud on the right; then press Undo and see it come back.",
    "Disable legacy-backup by trying it first: something still calls with it. Within two minutes the bot hears it,"
    " and turns it on again.",
    "Be Fay: terraform-old can administer its account, so after her Disable somebody else must agree in #security.",
    "Type `/nhi whois ci-deploy` to see who answered what, when.",
    "Be Bea: within a minute the bot asks her whether it was them who used payments-settlement. Say Not us.",
    "Gus left: as Ana, who managed him, name who takes over what he owned; it is theirs once they say yes.",
    "Be Dora, the security lead: try `/nhi whois old-jenkins`, which nobody owns.",
    "As Dora, `/nhi review open` opens the quarterly review; as Ana, decide your part of it with a press each.",
    "Press Next day: silence is reminded of, then told to #security. It never turns anything off.",
)
BEGINS_WITHIN = 15.0  # seconds; it takes about four
OPENS_AT = time(10, 30)  # working hours for the whole cast


class DemoClock:
    """Pretend time: it begins on a Monday morning, runs as real time does, and can be turned a day on."""

    def __init__(self) -> None:
        self._ahead = monday_after(datetime.now(UTC)) - datetime.now(UTC)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def next_working_day(self) -> None:
        """Turn to the same hour of the next day, weekends skipped."""
        day = self() + timedelta(days=1)
        while day.weekday() > 4:
            day += timedelta(days=1)
        self._ahead = datetime.combine(day.date(), OPENS_AT, UTC) - datetime.now(UTC)


def monday_after(now: datetime) -> datetime:
    """Return the opening hour of the Monday of this week or, if that is past by more than a day's work, of the next."""
    day = now.date() + timedelta(days=-now.weekday() % 7)
    return datetime.combine(day, OPENS_AT, UTC)


class Demo:
    """The whole pretend world, running."""

    def __init__(self, *, port: int = 0, clock: DemoClock | None = None) -> None:
        pretend_credentials()  # before the stand-in cloud, whose making reads AWS's settings too
        self.clock = clock or DemoClock()
        self._folder = tempfile.TemporaryDirectory(prefix="nhi-demo-", ignore_cleanup_errors=True)
        self.cloud = Cloud(now=self.clock)
        self.workspace = Workspace(
            PEOPLE,
            now=self.clock,
            name="Harbour",
            port=port,
            on_next_day=self.next_day,
            world=self.keys,
            hints=HINTS,
        )
        self._key_ids: dict[str, list[str]] = {}
        self.program: Program
        self.up: Up

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start cloud, workspace and bot; then look, ask and tick in the background."""
        self.workspace.start()  # first, as its port is the only thing that can be had by somebody else
        self.cloud.start()
        self._key_ids = seed(self.cloud, self.clock())
        (forgotten,) = self._key_ids["legacy-backup"]
        company_incident.plant(self.cloud, self._key_ids[company_incident.USER][0], self.clock())
        self.cloud.acts.jobs.append(StandInJob(user="legacy-backup", key_id=forgotten, after=timedelta(seconds=20)))
        self.program = open_program(self._settings(), clock=self.clock)
        self.up = Up(self.program, host="127.0.0.1", port=0)
        self.workspace.app_url = f"http://127.0.0.1:{self.up.serving.port}/slack/events"
        return self

    def begin(self) -> None:
        """Scan for the first time, let the diligent owners have claimed what is theirs, and start the clock."""
        work.task_scan(self.program)  # as the day's scan, so that the clock makes no second one of it
        self._claim_before()
        work.task_ask(self.program)  # before the leaver's manager gets that day's message about him
        leavers.run(self.program.sessions, self.program.policy(), now=self.clock())
        self.up.start()

    def stop(self) -> None:
        """Stop everything and forget everything."""
        self.up.stop()
        self.program.engine.dispose()
        self.workspace.stop()
        self.cloud.stop()
        self._folder.cleanup()

    def next_day(self) -> None:
        """Turn the calendar; what is due then is done by the same ticks as ever."""
        self.clock.next_working_day()
        for task in ("scan", "ask", "review"):
            self.up.ticker.defer(task, "next day")

    def keys(self) -> list[dict[str, Any]]:
        """Return every access key as the stand-in cloud has it, for the panel beside the chat."""
        return [
            {"title": name, "subtitle": key_id, "status": self._status(name, key_id)}
            for name, key_ids in self._key_ids.items()
            for key_id in key_ids
        ]

    def _status(self, user: str, key_id: str) -> str:
        """Return what the stand-in cloud does with a key: "Denied" while a scream test's policy is on its user."""
        is_denied = SCREAM.name in self.cloud.inline_policies(user=user)
        return "Denied" if is_denied else self.cloud.key_status(key_id)

    def _settings(self) -> Settings:
        folder = Path(self._folder.name)
        policy = folder / "policy.toml"
        policy.write_text(POLICY.format(domain=DOMAIN, endpoint=self.cloud.url))
        return Settings(
            _env_file=None,  # pydantic-settings' own argument
            database_url=f"sqlite:///{folder / 'nhi.db'}",
            slack_bot_token=SecretStr(self.workspace.bot_token),
            slack_app_token=None,
            slack_signing_secret=SecretStr(self.workspace.signing_secret),
            slack_api_url=self.workspace.api_url,
            nhi_policy=policy,
        )

    def _claim_before(self) -> None:
        """Some owners claimed theirs before: written by the same use case as a click."""
        policy, now = self.program.policy(), self.clock()
        assert self.program.slack is not None
        people.import_csv(self.program.sessions, PEOPLE_CSV.encode(), now)
        directory.pull(self.program.sessions, self.program.slack, now)
        for sample in COMPANY:
            if sample.claimed_by is None:
                continue
            with self.program.sessions.begin() as session:
                row = session.scalars(select(IdentityRow).where(IdentityRow.name == sample.name)).one()
                who = session.scalars(select(PersonRow).where(PersonRow.email == f"{sample.claimed_by}@{DOMAIN}")).one()
                (match,) = facts.whois(session, row.principal, policy, now)
                shown = {"facts": cards.of_identity(match, row, [Verdict.CLAIM.value], policy, now)}
                offer = cards.offer(session, shown, identity_id=row.id, now=now)
                assert offer is not None
                answering = answers.Answering(offer=offer, identity=row, ask=None, who=who, by_right="asked")
                decisions.claim(session, answering, now)


def pretend_credentials() -> None:
    """Keep boto3 from ever looking at the real settings of this machine, and everything from going through a proxy."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = "127.0.0.1,localhost"
    os.environ.update(
        AWS_ACCESS_KEY_ID="stand-in",
        AWS_SECRET_ACCESS_KEY="stand-in",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )


def run(*, port: int, browser: bool) -> None:
    """Run the demo until Ctrl-C. Raises SettingsError where the port cannot be had."""
    asked = asked_to_end()
    demo = Demo(port=port)
    try:
        demo.start()
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise SettingsError(
            f"Port {port} cannot be used ({error.strerror}): `nhi demo --port 0` takes a free one"
        ) from None
    said = (
        f"The stand-in workspace is at {demo.workspace.url}",
        "Try this:",
        *(f"  {number}. {hint}" for number, hint in enumerate(HINTS, start=1)),
        "Nothing leaves this machine. Ctrl-C ends it.",
    )
    sys.stdout.write("\n".join(said) + "\n")
    sys.stdout.flush()
    beginning = threading.Thread(target=demo.begin, name="begin", daemon=True)
    beginning.start()
    if browser:
        webbrowser.open(demo.workspace.url)
    asked.wait()
    beginning.join(BEGINS_WITHIN)  # who ends it at once must not take its database away under it
    demo.stop()
