"""The second person and the code, as people press and type them: signed HTTP into the real app, the stand-in Slack."""

from __future__ import annotations

from datetime import UTC, datetime

import pyotp
import pytest
from pydantic import SecretStr
from slack_sdk import WebClient
from sqlalchemy import select

from bot import delivery
from bot.server import Serving
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import seconds
from nhi import step_up
from nhi.database import Sessions, reading
from nhi.policy import Policy, parse
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.settings import Settings
from nhi.tables import (
    ApprovalRow,
    AttestationRow,
    CredentialRow,
    DeliveryRow,
    EventRow,
    PersonRow,
    RemediationRow,
    StepUpRow,
)
from tests.conftest import Clock, on_sqlite
from tests.factories import make_ask, make_identity, make_key
from tests.test_bot_actions import Json, told

AWAITING, PLANNED, REFUSED = RemediationStatus.AWAITING, RemediationStatus.PLANNED, RemediationStatus.REFUSED
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def policy() -> Policy:
    return parse(
        {
            "people": {"admins": ["dora@example.com", "cem@example.com"], "domains": ["example.com"]},
            "conversation": {"shadow": False},
            "remediation": {"mode": "reversible", "step_up": "privileged"},
            "rotation": {"enabled": True, "destinations": [{"match": {"name": "*"}, "secret": "nhi/{name}"}]},
        }
    )


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"nhi_step_up_key": SecretStr(KEY)})


class Desk:
    """Ana was asked about an identity that can administer its account."""

    def __init__(
        self, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
    ) -> None:
        self.workspace, self.sessions, self.client, self.policy, self.clock = workspace, sessions, client, policy, clock
        with sessions.begin() as session:
            row = make_identity(session, "root-deploy", keys=["AKIA" + "A" * 16], privileged=True)
            delivery.queue(session, "digest", "UANA", {}, [make_ask(session, row, "ana@example.com").id], clock())
        self.drain()

    def drain(self) -> None:
        for _ in range(3):
            seconds.tell(self.sessions, self.policy, self.clock())
            delivery.drain(self.sessions, self.client, self.policy, self.clock)
            self.clock.pass_by(seconds=2)

    def enrol(self, name: str) -> pyotp.TOTP:
        with self.sessions.begin() as session:
            address = step_up.enrol(session, f"{name}@example.com", key=KEY, by="a test", now=self.clock())
        found = pyotp.parse_uri(address)
        assert isinstance(found, pyotp.TOTP)
        return found

    def code(self, totp: pyotp.TOTP) -> str:
        return totp.at(self.clock())

    def status(self) -> RemediationStatus | None:
        with reading(self.sessions) as session:
            return session.scalar(select(RemediationRow.status))

    def disable(self, totp: pyotp.TOTP, verdict: str = "disable", **filled: str) -> None:
        """Let Ana ask for it, with her code."""
        ana = self.workspace.as_("ana")
        assert ana.click(ana.last(), f"nhi:{verdict}") == ""
        ana.wait_for(lambda: ana.modal)
        assert ana.submit({"code": "000000"} | filled)["code"] == step_up.why_not(step_up.Proof.WRONG)
        assert ana.submit({"code": self.code(totp)} | filled) == {}
        self.drain()

    def question(self, name: str = "dora") -> tuple[Actor, Json]:
        actor = self.workspace.as_(name)
        found = [one for one in actor.messages("#security") if "second person" in one["text"]]
        return actor, found[-1]


@pytest.fixture
def desk(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Desk:
    return Desk(workspace, sessions, client, policy, clock)


@on_sqlite
def test_an_act_on_what_administers_its_account_takes_two_people_and_a_code_of_each(desk: Desk) -> None:
    anas, doras = desk.enrol("ana"), desk.enrol("dora")
    desk.disable(anas)
    assert desk.status() is AWAITING
    dora, asked = desk.question()
    assert "because it can administer its account" in asked["text"]
    assert dora.click(asked, "nhi:agree") == ""
    dora.wait_for(lambda: dora.modal)
    assert dora.submit({"code": "000000"}) == {"code": step_up.why_not(step_up.Proof.WRONG)}
    assert desk.status() is AWAITING
    desk.clock.pass_by(seconds=60)
    assert dora.submit({"code": desk.code(doras)}) == {}
    assert desk.status() is PLANNED
    with reading(desk.sessions) as session:
        approval = session.scalars(select(ApprovalRow)).one()
        assert (approval.email, approval.authority, approval.first) == ("dora@example.com", "admin", "ana@example.com")
        kinds = list(session.scalars(select(EventRow.kind).order_by(EventRow.seq)))
    assert [kind for kind in kinds if kind.startswith(("approval", "step_up"))] == [
        *("step_up.failed", "step_up.done", "approval.asked", "step_up.failed", "step_up.done", "approval.agreed")
    ]
    desk.drain()
    now_says = [one["text"] for one in dora.messages("#security")]
    assert any("Dora Lind agreed to turning off" in text for text in now_says)
    assert any("as an admin, agreed as the second person" in text for text in now_says)
    assert not any("button" in str(one["blocks"]) for one in dora.messages("#security"))


@on_sqlite
def test_the_first_person_and_who_is_only_in_the_channel_cannot_be_the_second(desk: Desk) -> None:
    desk.disable(desk.enrol("ana"))
    for name, words in (("ana", "you were the first"), ("bea", "can't take your answer")):
        actor, asked = desk.question(name)
        actor.click(asked, "nhi:agree")
        assert words in told(actor, words, "#security")["text"]
        actor.click(asked, "nhi:decline")
    assert desk.status() is AWAITING


@on_sqlite
def test_the_first_person_stays_the_first_when_their_address_changes(desk: Desk) -> None:
    people = desk.policy.people.model_copy(update={"admins": (*desk.policy.people.admins, "UANA")})
    object.__setattr__(desk.policy, "people", people)
    desk.disable(desk.enrol("ana"))
    with desk.sessions.begin() as session:
        session.get_one(PersonRow, "UANA").email = "ana.lima-berg@example.com"
    ana, asked = desk.question("ana")
    ana.click(asked, "nhi:agree")
    assert "you were the first" in told(ana, "you were the first", "#security")["text"]
    assert desk.status() is AWAITING


@on_sqlite
def test_a_second_person_who_says_no_ends_it(desk: Desk) -> None:
    desk.disable(desk.enrol("ana"))
    dora, asked = desk.question()
    assert dora.click(asked, "nhi:decline") == ""
    assert desk.status() is REFUSED
    cem, same = desk.question("cem")
    cem.click(same, "nhi:agree")
    assert "Dora Lind said no" in told(cem, "said no", "#security")["text"]


@on_sqlite
def test_a_code_is_good_for_one_act_once_and_only_with_an_authenticator(desk: Desk) -> None:
    ana = desk.workspace.as_("ana")
    ana.click(ana.last(), "nhi:disable")
    ana.wait_for(lambda: ana.modal)
    assert "you have none here yet" in ana.submit({"code": "123456"})["code"]
    totp = desk.enrol("ana")
    assert ana.submit({"code": ""})["code"]
    assert ana.submit({"code": desk.code(totp)}) == {}
    with reading(desk.sessions) as session:
        proof = session.scalars(select(StepUpRow)).one()
        assert set(session.scalars(select(AttestationRow.email))) == {"ana@example.com"}
    assert proof.email == "ana@example.com"


@on_sqlite
def test_a_question_is_posted_once_and_an_admins_act_announced_once(desk: Desk) -> None:
    desk.disable(desk.enrol("ana"))
    for _ in range(3):
        desk.drain()
    with reading(desk.sessions) as session:
        assert len(list(session.scalars(select(DeliveryRow).where(DeliveryRow.kind == "second")))) == 1


@on_sqlite
def test_a_console_password_takes_two_people_whoever_it_is_of(desk: Desk) -> None:
    from nhi import risk
    from nhi.records import identity_of

    with desk.sessions.begin() as session:
        row = make_identity(session, "console", keys=["AKIA" + "B" * 16])
        password: CredentialRow = make_key(None, 1, kind="console_password", key="console_password")
        row.credentials.append(password)
        session.flush()
        identity = identity_of(row)
    assert risk.required(identity, desk.policy, "access_key").second is None
    assert risk.required(identity, desk.policy, "console_password").second == risk.Second.CONSOLE


@on_sqlite
def test_where_policy_asks_for_no_code_one_press_agrees(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, clock: Clock, policy: Policy
) -> None:
    object.__setattr__(policy, "remediation", policy.remediation.model_copy(update={"step_up": "never"}))
    desk = Desk(workspace, sessions, client, policy, clock)
    ana = workspace.as_("ana")
    ana.click(ana.last(), "nhi:disable")
    ana.wait_for(lambda: ana.modal)
    assert "A second person has to agree" in str(ana.modal)
    assert ana.submit() == {}
    desk.drain()
    dora, asked = desk.question()
    assert dora.click(asked, "nhi:agree") == ""
    assert desk.status() is PLANNED


@on_sqlite
def test_to_rotate_what_administers_its_account_takes_two_people_and_a_code_of_each_too(desk: Desk) -> None:
    anas, doras = desk.enrol("ana"), desk.enrol("dora")
    desk.disable(anas, "rotate")
    assert desk.status() is AWAITING
    dora, asked = desk.question()
    assert "asked to rotate a credential of" in asked["text"]
    dora.click(asked, "nhi:agree")
    dora.wait_for(lambda: dora.modal)
    assert dora.submit({"code": ""})["code"]
    assert dora.submit({"code": desk.code(doras)}) == {}
    with reading(desk.sessions) as session:
        act = session.scalars(select(RemediationRow)).one()
    assert (act.kind, act.status) == (RemediationKind.ROTATE, PLANNED)


@on_sqlite
def test_ending_a_roles_sessions_is_chosen_in_the_form_and_takes_two_people_as_turning_it_off_does(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        row = make_identity(session, "deploy-role", kind="iam_role", keys=(), privileged=True)
        row.credentials.append(make_key("deploy-role", 1, kind="role", key="role"))
        session.flush()
        delivery.queue(session, "digest", "UANA", {}, [make_ask(session, row, "ana@example.com").id], desk.clock())
    desk.drain()
    desk.disable(desk.enrol("ana"), way="sessions")
    _, asked = desk.question()
    assert "asked to end the sessions of a credential of AWS role deploy-role" in asked["text"]
    with reading(desk.sessions) as session:
        act = session.scalars(select(RemediationRow)).one()
    assert (act.kind, act.status) == (RemediationKind.REVOKE, AWAITING)


@on_sqlite
def test_what_nobody_agrees_to_is_asked_once_more_and_then_refused_and_who_asked_for_it_told(desk: Desk) -> None:
    desk.disable(desk.enrol("ana"))
    dora, asked = desk.question()
    assert "somebody else agrees, by Mon 30 Nov 2026" in " ".join(str(asked["blocks"][-2]).split())
    desk.clock.pass_by(days=3.6)
    for _ in range(2):
        desk.drain()
    reminders = [one["text"] for one in dora.messages("#security") if "The question is above" in one["text"]]
    assert len(reminders) == 1
    desk.clock.pass_by(days=3.5)
    dora.click(asked, "nhi:agree")  # before the worker came by
    assert "Nobody agreed to this in time" in told(dora, "in time", "#security")["text"]
    assert desk.status() is AWAITING
    for _ in range(2):
        desk.drain()
    assert desk.status() is REFUSED
    now_says = [one["text"] for one in dora.messages("#security")]
    assert any("Nobody agreed in time to turning off a credential" in text for text in now_says)
    ana = desk.workspace.as_("ana")
    assert len([one for one in ana.messages() if "You asked to turn off a credential" in one["text"]]) == 1
    with reading(desk.sessions) as session:
        act = session.scalars(select(RemediationRow)).one()
        assert (act.because or "").startswith("Nobody agreed as the second person by")
