"""A random walk through the life of acts: people, scans, denials, renames and deaths in any order, and what must hold.

The program is the real one on a real database; only the cloud is pretended, over HTTP. A worker that dies is a process
of its own that gets SIGKILL while one of its calls is under way.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from moto.sts.models import sts_backends
from sqlalchemy import select
from werkzeug.wrappers import Response

from demo.cloud import Cloud
from demo.cloud_faults import Asked, Fault, refuse
from jobs import work
from jobs.program import Program, open_program
from nhi import answers, cards, decisions, ledger
from nhi.database import reading
from nhi.errors import NhiError
from nhi.escalation import Verdict
from nhi.policy import Source
from nhi.providers import Provider
from nhi.providers.aws import acts
from nhi.providers.aws.denials import QUARANTINE, SCREAM
from nhi.remediation import BEGINNINGS, FOLLOWS, RemediationStatus
from nhi.settings import Settings
from nhi.tables import AskRow, CredentialRow, IdentityRow, PersonRow, RemediationRow, ScreamStepRow
from tests.factories import make_ask, make_person

BEGINS = datetime(2026, 11, 23, 10, tzinfo=UTC)  # a Monday morning
ADMIN = "dora@example.com"
POLICY = """
[people]
admins = ["dora@example.com"]
[conversation]
shadow = false
[remediation]
mode = "reversible"
actions_an_hour = 3
[[sources]]
provider = "aws"
endpoint = "{endpoint}"
trail_calls_a_second = 1000
calls_a_second = 10000
"""
REMEDIATOR = 'remediator_role_arn = "arn:aws:iam::{account}:role/nhi-remediator"\n'
WITH_REMEDIATOR = 5  # every so many runs: each of its acts opens a session of its own, which costs
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}
READS = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}'
USERS, ROLE = ("one", "two", "three"), "etl"
DENIED = (
    *("iam:GetUser", "iam:ListAccessKeys", "iam:GetAccessKeyLastUsed", "iam:UpdateAccessKey", "iam:PutUserPolicy"),
    *("iam:DeleteUserPolicy", "iam:GetUserPolicy", "cloudtrail:LookupEvents"),
    *("iam:GetRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy"),
)
SCANNED = ("iam:GetAccountAuthorizationDetails", "iam:ListAccessKeys", "iam:GetCredentialReport")
OURS = (
    *("iam:UpdateAccessKey", "iam:PutUserPolicy", "iam:DeleteUserPolicy"),
    *("iam:PutRolePolicy", "iam:DeleteRolePolicy"),
)
FORK = multiprocessing.get_context("forkserver")
# The steps, and how often each is drawn.
STEPS = {
    "remediate": 26,
    "wait": 14,
    "decide": 12,
    "use": 10,
    "undo": 6,
    "scan": 4,
    "stale scan": 2,
    "partial scan": 2,
    "deny": 5,
    "allow": 5,
    "kill": 3,
    "sleep": 4,
    "switch": 3,
    "new key": 2,
    "delete key": 2,
    "rename": 2,
    "remake": 2,
}


class Broken(AssertionError):
    """Something that must always hold did not. The text tells the run's seed and its steps."""


class Walk:
    """One run: a small account, one database, and a clock."""

    def __init__(
        self, seed: int, cloud: Cloud, program: Program, clock: Callable[[], datetime], *, is_narrowed: bool
    ) -> None:
        self.random = random.Random(seed)
        self.seed, self.cloud, self.program = seed, cloud, program
        self.now = clock
        self.is_narrowed = is_narrowed  # each act has a session of the remediator's, which reaches one ARN
        self.played: list[str] = []
        self.counts: Counter[str] = Counter()
        self.decided: dict[str, datetime] = {}  # by key or role: when its card was made
        self.used: dict[str, datetime] = {}
        self.others: set[str] = set()  # keys that somebody else switched or deleted
        self.names = {user: user for user in USERS}
        self.alone: list[str] = []  # what is wrong with a denial that was put on
        for user in USERS:
            cloud.add_user(user, tags={"owner": ADMIN}, created_at=BEGINS - timedelta(days=500))
            cloud.iam.put_user_policy(user, "reads", READS)
            for number in range(self.random.choice((1, 1, 2))):
                cloud.add_access_key(user, created_at=BEGINS - timedelta(days=400 + number), last_used_at=self._idle())
        made, tags = BEGINS - timedelta(days=500), {"owner": ADMIN}
        self.role_id = cloud.add_role(ROLE, tags=tags, created_at=made, last_used_at=self._idle())
        with program.sessions.begin() as session:
            make_person(session, "dora", email=ADMIN)
        self.scan()

    def _idle(self) -> datetime | None:
        days = self.random.choice((None, 200, 300))
        return None if days is None else BEGINS - timedelta(days=days)

    # What happens

    def play(self, steps: int) -> None:
        names, weights = list(STEPS), list(STEPS.values())
        for step in self.random.choices(names, weights, k=steps):
            self.played.append(step)
            self.counts[step] += 1
            self.now.pass_by(seconds=self.random.randint(1, 90))  # type: ignore[attr-defined]
            getattr(self, step.replace(" ", "_"))()
            self.watch()
        self.settle()

    def settle(self) -> None:
        """Let every fault pass and every worker's lease run out; then all that was begun has to have an end."""
        self.cloud.faults.clear()
        for _ in range(6):
            self.now.pass_by(minutes=11)  # type: ignore[attr-defined]
            self.remediate()
        self.scan()
        self.check()

    def wait(self) -> None:
        self.now.pass_by(minutes=self.random.choice((5, 16, 31, 61, 24 * 60)))  # type: ignore[attr-defined]

    def scan(self) -> None:
        self.cloud.forget_report()
        self.stale_scan()

    def stale_scan(self) -> None:
        """Scan with a credential report of before, as a second scan within four hours does."""
        work.scan_all(self.program)

    def partial_scan(self) -> None:
        self.cloud.faults.deny(self.random.choice(SCANNED))
        work.scan_all(self.program)
        self.cloud.faults.clear()

    def remediate(self) -> None:
        work.remediate_all(self.program)

    def deny(self) -> None:
        self.cloud.faults.deny(self.random.choice(DENIED))

    def allow(self) -> None:
        self.cloud.faults.clear()

    def kill(self) -> None:
        """Let a worker die while its nth call is under way; half of these calls do what they were asked to."""
        left, done = self.random.randint(1, 14), self.random.random() < 0.5
        reached, dead = FORK.Event(), FORK.Event()

        def answer(asked: Asked) -> Response:
            if done and asked.action in OURS:
                self._obey(asked)
            reached.set()
            dead.wait(20)
            return refuse(asked, 500, "ServiceFailure")

        class OnTheNth(Fault):
            def takes(self, asked: Asked) -> bool:
                nonlocal left
                left -= 1
                return left == 0

        self.cloud.faults.add(OnTheNth(action="*", answer=answer))
        worker = FORK.Process(target=remediate_once, args=(self.program.settings, self.now()))
        worker.start()
        while not reached.wait(0.005) and worker.is_alive():
            pass
        self.counts["killed in a call"] += reached.is_set()
        worker.kill()
        worker.join()
        dead.set()
        self.cloud.faults.clear()

    def sleep(self, meanwhile: Sequence[str] = ()) -> None:
        """Let a worker stand still for longer than its hold while a call that changes something is on its way."""
        left, told = self.random.randint(1, 2) if not meanwhile else 1, self.random.random() < 0.5
        drawn = self.random.choices(("remediate", "undo", "use", "decide", "wait"), (6, 3, 1, 1, 1), k=5)

        def answer(asked: Asked) -> Response | None:
            self.counts["slept in a call"] += 1
            self.now.pass_by(seconds=31)  # type: ignore[attr-defined]
            for step in meanwhile or drawn:
                getattr(self, step)()
            if told:
                return None  # it is taken now
            self._obey(asked)
            return refuse(asked, 500, "ServiceFailure")

        class OnTheNth(Fault):
            def takes(self, asked: Asked) -> bool:
                nonlocal left
                left -= asked.action in OURS
                return left == 0 and asked.action in OURS

        self.cloud.faults.add(OnTheNth(action="*", answer=answer))  # type: ignore[arg-type]
        self.remediate()
        left = 0

    def _obey(self, asked: Asked) -> None:
        told, iam = asked.parameters, self.cloud.iam
        with suppress(Exception):
            match asked.action:
                case "iam:UpdateAccessKey":
                    iam.update_access_key(told["UserName"], told["AccessKeyId"], told["Status"])
                case "iam:PutUserPolicy":
                    iam.put_user_policy(told["UserName"], told["PolicyName"], told["PolicyDocument"])
                case "iam:DeleteUserPolicy":
                    iam.delete_user_policy(told["UserName"], told["PolicyName"])
                case "iam:PutRolePolicy":
                    iam.put_role_policy(told["RoleName"], told["PolicyName"], told["PolicyDocument"])
                case "iam:DeleteRolePolicy":
                    iam.delete_role_policy(told["RoleName"], told["PolicyName"])
                case _:
                    pass

    # What people and others do

    def decide(self, *, scream_test: bool | None = None) -> None:
        """Let somebody answer a card that is drawn now: off at once, or by a scream test."""
        policy, now = self.program.policy(), self.now()
        with suppress(NhiError), self.program.sessions.begin() as session:
            live = select(CredentialRow).where(CredentialRow.gone_at.is_(None), CredentialRow.external_id.is_not(None))
            rows = list(session.scalars(live.order_by(CredentialRow.external_id)))
            if not rows:
                return
            credential = self.random.choice(rows)
            identity = session.get_one(IdentityRow, credential.identity_id)
            ask = self._ask(session, identity)
            shown = {"facts": cards.of_ask(session, ask, policy, now), "blocks": []}
            offer = cards.offer(session, shown, identity_id=identity.id, ask_id=ask.id, now=now)
            who = session.scalars(select(PersonRow).where(PersonRow.email == ADMIN)).one()
            assert offer is not None
            answering = answers.begin(session, offer.id, Verdict.DISABLE, slack_id=who.slack_id, policy=policy, now=now)
            decisions.disable(
                session,
                answering,
                credential_id=credential.id,
                also_claim=False,
                policy=policy,
                now=now,
                scream_test=self.random.random() < 0.5 if scream_test is None else scream_test,
            )
            assert credential.external_id is not None
            self.decided[credential.external_id] = now
            self.counts["decided"] += 1

    def _ask(self, session: Any, identity: IdentityRow) -> AskRow:
        found = select(AskRow).where(AskRow.identity_id == identity.id, AskRow.status == "open")
        return session.scalar(found) or make_ask(session, identity, ADMIN, now=self.now())

    def undo(self) -> None:
        with reading(self.program.sessions) as session:
            ids = list(session.scalars(select(RemediationRow.id).order_by(RemediationRow.planned_at)))
        if ids:
            with suppress(NhiError), self.program.sessions.begin() as session:
                decisions.request_undo(session, self.random.choice(ids), by=ADMIN, now=self.now())

    def use(self) -> None:
        """Let a job call with a key. Of a key that is inactive no log tells; a denied call is written down."""
        if self.random.random() < 0.1:
            self.use_role()
            return
        keys = self._keys()
        if not keys:
            return
        key = self.random.choice(keys)
        if key.status != "Active":
            return
        self.cloud.record_use(key.access_key_id, self.now())
        is_denied = SCREAM.name in self.cloud.inline_policies(user=key.user_name)
        error = "AccessDenied" if is_denied else None
        self.cloud.add_call("ListBuckets", at=self.now(), key_id=key.access_key_id, user=key.user_name, error=error)
        self.counts["screams"] += is_denied
        self.used[key.access_key_id] = self.now().replace(microsecond=0)

    def use_role(self) -> None:
        """Let somebody begin a session of the role, which its quarantine does not refuse."""
        self.cloud.add_call("AssumeRole", at=self.now(), source="sts.amazonaws.com", role=ROLE, by=ADMIN)
        if QUARANTINE.name in self.cloud.inline_policies(role=ROLE):
            self.counts["screams"] += 1
            return
        self.cloud.iam.get_role(ROLE).last_used = self.now().replace(tzinfo=None)
        self.used[self.role_id] = self.now().replace(microsecond=0)

    def use_decided(self) -> None:
        """Let a job call with a key that somebody has decided on."""
        for key_id in self.decided:
            self.cloud.record_use(key_id, self.now() + timedelta(minutes=1))
            self.used[key_id] = self.now() + timedelta(minutes=1)

    def switch(self) -> None:
        """Let somebody else turn a key off or on."""
        if keys := self._keys():
            key = self.random.choice(keys)
            self.others.add(key.access_key_id)
            key.status = "Inactive" if key.status == "Active" else "Active"

    def new_key(self) -> None:
        user = self._user()
        if user is not None and len(user.access_keys) < 2:
            self.cloud.add_access_key(user.name, created_at=self.now())

    def delete_key(self) -> None:
        if keys := self._keys():
            key = self.random.choice(keys)
            self.others.add(key.access_key_id)
            self.cloud.delete_key(str(key.user_name), key.access_key_id)

    def _keys(self) -> list[Any]:
        """Return the users' keys; those of sessions belong to nobody."""
        return [key for key in self.cloud.iam.access_keys.values() if key.user_name is not None]

    def _user(self) -> Any:
        users = list(self.cloud.iam.users.values())
        return self.random.choice(users) if users else None

    def rename(self) -> None:
        user = self._user()
        if user is None:
            return
        old, new = user.name, f"{user.name[:12]}-{len(self.played)}"
        self.cloud.iam.users[new] = self.cloud.iam.users.pop(old)
        user.name = new
        for key in user.access_keys:
            key.user_name = new

    def remake(self) -> None:
        """Let somebody delete a user and make another one of the same name, with a key of its own."""
        user = self._user()
        if user is None:
            return
        self.others.update(key.access_key_id for key in user.access_keys)
        for name in [*user.policies]:
            self.cloud.iam.delete_user_policy(user.name, name)
        self.cloud.delete_user(user.name)
        self.cloud.add_user(user.name, created_at=self.now())
        self.cloud.add_access_key(user.name, created_at=self.now())

    # What must hold

    def watch(self) -> None:
        """Hold every call that changed something against what was decided. Holds after each step."""
        for asked in [*self.cloud.requests]:
            if asked.action not in OURS:
                continue
            self._must(not self.is_narrowed or self._may(asked), f"by no session for it alone: {asked}")
            if "RolePolicy" in asked.action:
                about = (asked.parameters["RoleName"], asked.parameters["PolicyName"])
                is_decided = self.role_id in self.decided and about == (ROLE, QUARANTINE.name)
                self._must(is_decided, f"a role that nobody decided on, or a policy of somebody else's: {asked}")
            elif asked.action == "iam:UpdateAccessKey":
                self._must(asked.parameters["AccessKeyId"] in self.decided, f"a key that nobody decided on: {asked}")
            else:
                self._must(asked.parameters["PolicyName"] == SCREAM.name, f"a policy of somebody else's: {asked}")
        self.cloud.requests.clear()

    def _may(self, asked: Asked) -> bool:
        """Whether the session that asked was narrowed to what it asked about."""
        name = asked.parameters.get("UserName") or asked.parameters["RoleName"]
        session = sts_backends[self.cloud.account]["aws"].get_assumed_role_from_access_key(asked.access_key)
        return session is not None and f'/{name}"' in (session.policy or "")

    def check(self) -> None:
        """Hold the account and the database against each other, when all is quiet."""
        with reading(self.program.sessions) as session:
            acts_by_key: dict[str, list[RemediationRow]] = defaultdict(list)
            for row in session.scalars(select(RemediationRow).order_by(RemediationRow.planned_at)):
                self._check_steps(row)
                acts_by_key[row.credential.external_id or ""].append(row)
                self.counts[f"ended {row.status.value}"] += 1
            late = select(ScreamStepRow).where(ScreamStepRow.back_at.is_(None), ScreamStepRow.back_on_at < self.now())
            for trial in session.scalars(late):
                self._must(trial.remediation_id in self._unreachable(acts_by_key), f"off beyond its end: {trial.id}")
            self._must(ledger.verify(session).first_wrong is None, "the chain does not hold")
            self._check_keys(acts_by_key)

    def _unreachable(self, acts_by_key: dict[str, list[RemediationRow]]) -> set[str]:
        return {row.id for key in self.others for row in acts_by_key.get(key, ())}

    def _check_steps(self, row: RemediationRow) -> None:
        before = None
        for step in row.steps:
            allowed = BEGINNINGS if before is None else FOLLOWS[before]
            self._must(step.state in allowed, f"{row.id}: {step.state} after {before}")
            before = step.state

    def _check_keys(self, acts_by_key: dict[str, list[RemediationRow]]) -> None:
        for key in self._keys():
            key_id = key.access_key_id
            if key_id in self.others:
                continue
            is_off = key.status != "Active" or SCREAM.name in self.cloud.inline_policies(user=key.user_name)
            self._check_one(key_id, is_off, acts_by_key.get(key_id, []))
        is_off = QUARANTINE.name in self.cloud.inline_policies(role=ROLE)
        self._check_one(self.role_id, is_off, acts_by_key.get(self.role_id, []))

    def _check_one(self, key_id: str, is_off: bool, rows: list[RemediationRow]) -> None:
        ours = [row for row in rows if row.status in (RemediationStatus.DONE, RemediationStatus.TESTING)]
        self._must(not is_off or bool(ours), f"{key_id} is off, by no act")
        ended = [row for row in rows if row.status is RemediationStatus.DONE]
        self._must(not ended or is_off, f"{key_id} is on, and its act says that it is off")
        used, card = self.used.get(key_id), self.decided.get(key_id)
        if used is not None and card is not None and used > card:
            self._must(not (is_off and ended), f"{key_id} was used at {used}, after its card of {card}, and is off")

    def _must(self, holds: bool, what: str) -> None:
        if not holds:
            raise Broken(f"seed {self.seed}, {len(self.played)} steps ({', '.join(self.played)}): {what}")


class Clock:
    def __init__(self) -> None:
        self.time = BEGINS

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, **later: float) -> None:
        self.time += timedelta(**later)


def remediate_once(settings: Settings, now: datetime) -> None:
    """Be a worker that lives for one run; for a process of its own."""
    os.environ.update(AWS)
    acts._PAUSE = 0.0
    program = open_program(settings, clock=lambda: now)
    with suppress(Exception):
        work.remediate_all(program)


class Stage:
    """What many runs share, since to make it costs more than a run: the program opened on one file, and its cloud.

    Each run begins with a copy of an empty, migrated database, an account with nothing in it, and a clock set back.
    """

    def __init__(self, template: Path, folder: Path) -> None:
        self.clock = Clock()
        self._template, self._database, self._policy = template, folder / "walk.db", folder / "walk.toml"
        self._cloud = Cloud(now=self.clock).start()
        shutil.copy(template, self._database)
        self._policy.write_text(POLICY.format(endpoint=self._cloud.url))
        settings = Settings(_env_file=None, database_url=f"sqlite:///{self._database}", nhi_policy=self._policy)
        self.program = _patient(open_program(settings, clock=self.clock))

    def walk(self, seed: int) -> Walk:
        """Begin one run."""
        self.program.engine.dispose()
        for path in self._database.parent.glob(f"{self._database.name}-*"):
            path.unlink()
        shutil.copy(self._template, self._database)
        self.clock.time = BEGINS
        self._cloud.begin_anew()
        is_narrowed = seed % WITH_REMEDIATOR == WITH_REMEDIATOR - 1
        role = REMEDIATOR.format(account=self._cloud.account) if is_narrowed else ""
        self._policy.write_text(POLICY.format(endpoint=self._cloud.url) + role)
        return Walk(seed, self._cloud, self.program, self.clock, is_narrowed=is_narrowed)

    def close(self) -> None:
        self.program.engine.dispose()
        self._cloud.stop()


@contextmanager
def staged(template: Path, folder: Path) -> Iterator[Stage]:
    """Open a stage for runs in this process."""
    with patch.dict(os.environ, AWS), patch.object(acts, "_PAUSE", 0.0):
        stage = Stage(template, folder)
        try:
            yield stage
        finally:
            stage.close()


def _patient(program: Program) -> Program:
    """Let the source be opened once: boto3's clients cost more than all that a run does with them."""
    opened: dict[str, Provider] = {}

    def connect_once(source: Source) -> Provider:
        known = str(source.remediator_role_arn)
        if known not in opened:
            aws = program.providers[source.provider](source)
            aws._calls.close = lambda: None  # type: ignore[attr-defined]  # keeps its clients
            opened[known] = aws
        return opened[known]

    return replace(program, providers={"aws": connect_once})
