"""A small world for tests of the jobs: a stand-in cloud, a stand-in Slack, a real database, and the opened program.

Nothing of ours is replaced: what a test does to the world it does from the outside, as clouds and people do.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from demo.cloud import Cloud
from demo.workspace import Workspace
from jobs import ask, remediate, scan, work
from jobs.program import Program, open_program
from nhi import answers, cards, decisions, facts
from nhi.answers import Answering
from nhi.database import reading
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.ledger import verify
from nhi.providers.aws import acts
from nhi.settings import Settings
from nhi.tables import AskRow, Base, EventRow, FindingRow, IdentityRow, PersonRow, RemediationRow
from tests.conftest import Clock

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "2",  # what fails for ever need not be waited for
}
POLICY = """
[people]
admins = ["dora@example.com"]
domains = ["example.com"]
[conversation]
shadow = false
[remediation]
mode = "reversible"
"""


def environment_of(folder: Path, cloud: Cloud, workspace: Workspace) -> dict[str, str]:
    """Return the environment of a process of ours: nothing of this machine's own settings is in it."""
    return {
        **AWS,
        "NO_PROXY": "127.0.0.1,localhost",  # macOS must not be asked for its proxies after a fork
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": cloud.url,
        "DATABASE_URL": f"sqlite:///{folder / 'nhi.db'}",
        "SLACK_BOT_TOKEN": workspace.bot_token,
        "SLACK_SIGNING_SECRET": workspace.signing_secret,
        "SLACK_API_URL": workspace.api_url,
        "NHI_POLICY": str(folder / "policy.toml"),
    }


def use_stand_in_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 see made-up credentials only, and let an act be read back without a pause."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IAM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(acts, "_PAUSE", 0.0)


class World:
    """One program between one cloud and one workspace, on a clock that stands still."""

    def __init__(self, program: Program, cloud: Cloud, workspace: Workspace, clock: Clock) -> None:
        self.program = program
        self.cloud = cloud
        self.workspace = workspace
        self.clock = clock
        self.sessions = program.sessions

    # What is in the cloud

    def add_user(
        self, name: str, *used: int | None, made: int = 400, owner: str | None = "ana", **tags: str
    ) -> list[str]:
        """Add a user with a key for each of `used` (days since its last use, None: never); return the keys' ids."""
        told = {**({"owner": f"{owner}@example.com"} if owner else {}), **tags}
        now = self.clock()
        self.cloud.add_user(name, tags=told, created_at=now - timedelta(days=made + 1))
        return [
            self.cloud.add_access_key(
                name,
                created_at=now - timedelta(days=made, hours=number),
                last_used_at=None if days is None else now - timedelta(days=days),
            )
            for number, days in enumerate(used)
        ]

    def status(self, key_id: str) -> str:
        return self.cloud.key_status(key_id)

    def switched(self) -> list[tuple[str, str]]:
        """Return every UpdateAccessKey that came in: key id, wanted status."""
        return [
            (asked.parameters["AccessKeyId"], asked.parameters["Status"])
            for asked in self.cloud.requests
            if asked.action == "iam:UpdateAccessKey"
        ]

    # The jobs

    def scan(self) -> scan.Tally:
        self.cloud.forget_report()  # a real scan comes once a day: its report is never that of the one before
        return work.scan_all(self.program)

    def ask(self, **options: bool) -> ask.Tally:
        return work.ask_all(self.program, **options)

    def deliver(self) -> None:
        """Post and redraw whatever is due; a second post to one channel has to wait a second."""
        for _ in range(5):
            work.deliver_all(self.program)
            self.clock.pass_by(seconds=1.5)

    def remediate(self, *, dry_run: bool = False) -> remediate.Tally:
        return work.remediate_all(self.program, dry_run=dry_run)

    def set_policy(self, text: str) -> None:
        """Write policy.toml: POLICY with these sections in place of its own, and this world's cloud as source."""
        head = "".join(part for part in _sections(POLICY) if part.split("\n")[0] not in text)
        told = (
            f'{head}\n{text}\n[[sources]]\nprovider = "aws"\nendpoint = "{self.cloud.url}"\ntrail_calls_a_second = 50\n'
        )
        tomllib.loads(told)
        self.program.settings.nhi_policy.write_text(told)

    # What people decide

    def pressed(self, session: Session, name: str, verdict: Verdict, by: str = "ana") -> Answering:
        """Let somebody press a button on the question about a user, or beside one on what `/nhi whois` shows."""
        now, policy = self.clock(), self.program.policy()
        question = self.open_ask(session, name)
        identity = session.scalars(select(IdentityRow).where(IdentityRow.name == name)).one()
        if question is not None:
            told = cards.of_ask(session, question, policy, now)
        else:
            told = {**facts.whois(session, identity.id, policy, now)[0], "can": [verdict.value]}
        shown, about = {"facts": told, "blocks": []}, question.id if question else None
        offer = cards.offer(session, shown, identity_id=identity.id, ask_id=about, now=now)
        assert offer is not None
        who = session.scalars(select(PersonRow).where(PersonRow.email == f"{by}@example.com")).one()
        return answers.begin(session, offer.id, verdict, slack_id=who.slack_id, policy=policy, now=now)

    def decide(self, name: str, key_id: str, *, by: str = "ana") -> str:
        """Answer the open question about a user with Disable, as click and form do; return the remediation's id."""
        now, policy = self.clock(), self.program.policy()
        with self.sessions.begin() as session:
            answering = self.pressed(session, name, Verdict.DISABLE, by)
            credential = next(one for one in answering.identity.credentials if one.external_id == key_id)
            planned = decisions.disable(
                session, answering, credential_id=credential.id, also_claim=False, policy=policy, now=now
            )
            assert planned.remediation_id is not None
            return planned.remediation_id

    def decide_unasked(self, name: str, key_id: str, *, by: str = "dora", not_us: bool = False) -> str | None:
        """Let somebody decide on a card that `whois` drew, where nothing is asked; `not_us`: somebody else has it."""
        now, policy = self.clock(), self.program.policy()
        with self.sessions.begin() as session:
            identity = session.scalars(select(IdentityRow).where(IdentityRow.name == name)).one()
            credential = next(one for one in identity.credentials if one.external_id == key_id)
            told = {"credentials": [facts.credential_json(one) for one in identity.credentials], "can": ["disable"]}
            offer = cards.offer(session, {"facts": told, "blocks": []}, identity_id=identity.id, now=now)
            assert offer is not None
            who = session.scalars(select(PersonRow).where(PersonRow.email == f"{by}@example.com")).one()
            answering = answers.begin(session, offer.id, Verdict.DISABLE, slack_id=who.slack_id, policy=policy, now=now)
            if not_us:
                attestation = answers.attest(session, answering, Verdict.NOT_US, now, credential=credential)
                return decisions.quarantine(session, answering, credential, attestation, policy, now)
            return decisions.disable(
                session, answering, credential_id=credential.id, also_claim=False, policy=policy, now=now
            ).remediation_id

    def say(self, name: str, verdict: Verdict, *, by: str, **options: Any) -> None:
        """Answer the open question about a user with something else than Disable."""
        use_case: dict[Verdict, Callable[..., object]] = {
            Verdict.CLAIM: decisions.claim,
            Verdict.NOT_MINE: decisions.not_mine,
            Verdict.JUSTIFY: decisions.justify,
        }
        with self.sessions.begin() as session:
            answering = self.pressed(session, name, verdict, by)
            use_case[verdict](session, answering, now=self.clock(), **options)

    def undo(self, remediation_id: str) -> None:
        with self.sessions.begin() as session:
            decisions.request_undo(session, remediation_id, by="ana@example.com", now=self.clock())

    # What is written

    @staticmethod
    def open_ask(session: Session, name: str) -> AskRow | None:
        query = select(AskRow).join(IdentityRow, IdentityRow.id == AskRow.identity_id)
        return session.scalar(query.where(IdentityRow.name == name, AskRow.status == AskStatus.OPEN))

    def asked(self, *, status: AskStatus | None = AskStatus.OPEN) -> list[tuple[str, str]]:
        """Return who is asked about what, in the order of names: (identity, handle)."""
        query = select(IdentityRow.name, AskRow.email).join(IdentityRow, IdentityRow.id == AskRow.identity_id)
        with reading(self.sessions) as session:
            rows = session.execute(query.where(AskRow.status == status) if status else query)
            return sorted((name, email.partition("@")[0]) for name, email in rows)

    def findings(self, name: str | None = None) -> list[tuple[str, FindingKind]]:
        """Return the open findings: (identity, kind)."""
        query = select(IdentityRow.name, FindingRow.kind).join(IdentityRow, IdentityRow.id == FindingRow.identity_id)
        query = query.where(FindingRow.status != FindingStatus.RESOLVED)
        with reading(self.sessions) as session:
            rows = session.execute(query.where(IdentityRow.name == name) if name else query)
            return sorted((found, kind) for found, kind in rows)

    def rows(self, table: type[Base], /, **fits: Any) -> list[Any]:
        with reading(self.sessions) as session:
            found = list(session.scalars(select(table).filter_by(**fits)))
            session.expunge_all()  # so that they stay readable after the session's end
            return found

    def identity(self, name: str) -> IdentityRow:
        (row,) = self.rows(IdentityRow, name=name)
        assert isinstance(row, IdentityRow)
        return row

    def remediation(self, remediation_id: str) -> RemediationRow:
        (row,) = self.rows(RemediationRow, id=remediation_id)
        assert isinstance(row, RemediationRow)
        return row

    def change(self, table: type[Base], values: Mapping[str, Any], /, **fits: Any) -> None:
        """Change rows from the outside, where nothing of the program's own does so."""
        with self.sessions.begin() as session:
            session.execute(update(table).filter_by(**fits).values(**values))

    def events(self, *kinds: str) -> list[str]:
        """Return the kinds of the ledger's events in their order, of these kinds or of all. Its chain must hold."""
        with reading(self.sessions) as session:
            assert verify(session).first_wrong is None
            found = session.scalars(select(EventRow.kind).order_by(EventRow.seq))
            return [kind for kind in found if not kinds or kind in kinds]

    def counts(self) -> dict[str, int]:
        """Return how many rows each table holds."""
        with reading(self.sessions) as session:
            return {
                name: session.scalar(select(func.count()).select_from(table)) or 0
                for name, table in sorted(Base.metadata.tables.items())
            }

    def change_person(self, handle: str, **changes: Any) -> None:
        """Let Slack tell something else of a person from now on: `deleted=True`."""
        people = self.workspace.state.people
        known = self.workspace.state.person(handle)
        people[known.user_id] = replace(known, **changes)

    def messages(self, handle: str) -> list[Json]:
        return self.workspace.as_(handle).messages()


def _sections(text: str) -> Sequence[str]:
    """Return the text of each section, its head included."""
    sections: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith("["):
            sections.append("")
        sections[-1] += f"{line}\n"
    return sections


@contextmanager
def open_world(settings: Settings, clock: Clock, workspace: Workspace) -> Iterator[World]:
    """Start a cloud, and open the program on it."""
    with Cloud(now=clock) as cloud:
        settings.nhi_policy.write_text(
            f'{POLICY}\n[[sources]]\nprovider = "aws"\nendpoint = "{cloud.url}"\ntrail_calls_a_second = 50\n'
        )
        program = open_program(settings, clock=clock)
        try:
            yield World(program, cloud, workspace, clock)
        finally:
            program.engine.dispose()
