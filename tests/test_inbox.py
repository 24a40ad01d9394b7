"""The inbox: a click that was acknowledged is decided once, whatever dies between, and its person hears why not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from slack_sdk import WebClient
from sqlalchemy import select

from bot import clicks, deciding, delivery
from bot.after import AfterAck
from bot.app import Slackbot, build_app
from bot.server import Serving
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import doctor
from jobs import inbox as worker
from jobs.program import Program, open_program
from nhi.database import Sessions, reading
from nhi.policy import Policy
from nhi.settings import Settings
from nhi.tables import AttestationRow, DeliveryRow, InboxRow
from tests.conftest import Clock, Deferred, on_sqlite
from tests.factories import make_ask, make_identity
from tests.test_bot_actions import told

Json = dict[str, Any]
Start = Callable[[], Slackbot]


@pytest.fixture
def start(
    settings: Settings,
    sessions: Sessions,
    policy: Policy,
    clock: Clock,
    deferred: Deferred,
    workspace: Workspace,
    known: None,
) -> Iterator[Start]:
    """Make a bot whose inbox takes clicks in; unless it is started, it dies before it decides any."""
    made: list[Slackbot] = []

    def start() -> Slackbot:
        made.append(build_app(settings, sessions, lambda: policy, clock, deferred))
        return made[-1]

    yield start
    for bot in made:
        bot.inbox.close(1)
        after = bot.listener_runner.listener_executor
        assert isinstance(after, AfterAck)
        assert after.finish(10)


@pytest.fixture
def cards(sessions: Sessions, workspace: Workspace, client: WebClient, policy: Policy, clock: Clock) -> list[Json]:
    """The clicks on "It's mine" of three cards that Ana has, as Slack sends them."""
    with sessions.begin() as session:
        asks = [make_ask(session, make_identity(session, f"job-{number}", keys=[])) for number in range(3)]
        delivery.queue(session, "digest", "UANA", {}, [ask.id for ask in asks], clock())
    delivery.drain(sessions, client, policy, clock)
    message = workspace.as_("ana").last()
    return [
        {
            "type": "block_actions",
            "token": "stand-in",
            "team": {"id": "T0STANDIN"},
            "user": {"id": "UANA", "name": "ana", "team_id": "T0STANDIN"},
            "trigger_id": workspace.state.new_trigger("UANA"),
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": message["channel"]},
            "message": message,
            "response_url": answer_url(workspace),
            "actions": [element],
        }
        for block in message["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
        if element["action_id"] == "nhi:claim"
    ]


def answer_url(workspace: Workspace) -> str:
    """Return a fresh address that answers Ana where only she sees it."""
    channel = workspace.state.channel("UANA")
    assert channel is not None
    return f"{workspace.url}/response/{workspace.state.new_response_url(channel.id, 'UANA', None)}"


def outcomes(sessions: Sessions) -> list[str | None]:
    with reading(sessions) as session:
        return list(session.scalars(select(InboxRow.outcome).order_by(InboxRow.number)))


def verdicts(sessions: Sessions) -> list[str]:
    with reading(sessions) as session:
        return [verdict.value for verdict in session.scalars(select(AttestationRow.verdict))]


def ephemerals(actor: Actor) -> list[str]:
    return [each["text"] for each in actor.messages() if each["ephemeral"]]


# -- once --------------------------------------------------------------------------------------------------------------


def test_what_a_bot_acknowledged_before_it_died_is_decided_once_by_the_next_one(
    start: Start, cards: list[Json], sessions: Sessions, workspace: Workspace
) -> None:
    dead = start()
    assert all(dead.inbox.take(payload) for payload in cards)
    assert verdicts(sessions) == []
    assert outcomes(sessions) == [None] * 3
    following = start()
    following.inbox.start()
    workspace.wait_for(lambda: outcomes(sessions) == [deciding.RECORDED] * 3)
    assert verdicts(sessions) == ["claim"] * 3
    assert ephemerals(workspace.as_("ana")) == []


def test_bots_at_once_decide_each_click_once(start: Start, cards: list[Json], sessions: Sessions) -> None:
    bots = [start() for _ in range(3)]
    takers = [threading.Thread(target=bots[number].inbox.take, args=(cards[number],)) for number in range(3)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    for bot in bots:
        bot.inbox.start()
    assert [bot.inbox.settle() for bot in bots] == [True] * 3
    assert verdicts(sessions) == ["claim"] * 3
    assert outcomes(sessions) == [deciding.RECORDED] * 3, "none was tried by two of them"


def test_a_click_that_is_delivered_twice_is_one_and_a_second_press_hears_who_was_first(
    start: Start, cards: list[Json], sessions: Sessions, workspace: Workspace
) -> None:
    bot, ana = start(), workspace.as_("ana")
    bot.inbox.start()
    bot.inbox.take(cards[0])
    assert bot.inbox.take(cards[0] | {"response_url": answer_url(workspace)})
    assert bot.inbox.settle()
    assert outcomes(sessions) == [deciding.RECORDED]
    assert ephemerals(ana) == []
    again = {"trigger_id": workspace.state.new_trigger("UANA"), "response_url": answer_url(workspace)}
    bot.inbox.take(cards[0] | again)
    assert bot.inbox.settle()
    assert outcomes(sessions) == [deciding.RECORDED, deciding.REFUSED]
    assert "already" in told(ana, "already")["text"]


# -- what is kept ------------------------------------------------------------------------------------------------------


@on_sqlite
def test_of_a_click_only_what_its_use_case_reads_is_kept_and_nothing_once_it_is_decided(
    start: Start, cards: list[Json], sessions: Sessions, clock: Clock
) -> None:
    bot = start()
    bot.inbox.take(cards[0])
    with reading(sessions) as session:
        row = session.scalars(select(InboxRow)).one()
    assert set(row.body) == {"type", "team", "user", "trigger_id", "container", "message", "actions"}
    assert row.body["message"].keys() == {"ts"}
    assert row.body["user"] == {"id": "UANA", "team_id": "T0STANDIN"}
    bot.inbox.start()
    assert bot.inbox.settle()
    with reading(sessions) as session:
        row = session.scalars(select(InboxRow)).one()
    assert (row.body, row.response_url) == ({}, None)
    clock.pass_by(days=1, seconds=-1)
    deciding.tidy(sessions, clock())
    assert len(outcomes(sessions)) == 1
    clock.pass_by(seconds=1)
    deciding.tidy(sessions, clock())
    assert outcomes(sessions) == []


@given(st.text())
def test_a_field_of_a_form_is_read_as_it_was_written(text: str) -> None:
    written = text.encode("utf-8", "replace")
    assert clicks.decoded(quote_plus(written).encode()) == written


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_nothing_that_a_payload_can_hold_breaks_the_reading(part: Any) -> None:
    for name in ("user", "team", "container", "message", "view", "actions", "response_url"):
        payload = {"type": "block_actions", "user": {"id": "UANA"}, "actions": [{"action_id": "nhi:claim"}], name: part}
        body = urlencode({"payload": json.dumps(payload)}).encode()
        read = clicks.read(body, clicks.FORM)
        assert read == payload
        found = clicks.of(read, {"nhi:claim"})
        assert found is None or found.body["user"]["id"] == "UANA"


# -- what cannot be decided --------------------------------------------------------------------------------------------


def test_a_click_that_fails_is_tried_again_and_its_person_told_where_it_stays_so(
    server: Serving, app: Slackbot, cards: list[Json], sessions: Sessions, workspace: Workspace, clock: Clock
) -> None:
    def rename(old: str, new: str) -> None:
        with sessions.begin() as session:
            session.connection().exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    def again() -> None:
        clock.pass_by(minutes=1)
        assert app.inbox.settle()

    ana = workspace.as_("ana")
    card = ana.last()
    rename("attestation", "away")
    assert ana.click(card, "nhi:claim", nth=0) == ""
    rename("away", "attestation")
    assert outcomes(sessions) == [None]
    again()
    assert outcomes(sessions) == [deciding.RECORDED], "the second try was in time"

    rename("attestation", "away")
    assert ana.click(card, "nhi:claim", nth=1) == ""
    again()
    assert ephemerals(ana) == []
    again()
    assert outcomes(sessions)[1:] == [deciding.GIVEN_UP]
    told(ana, "Something broke")
    rename("away", "attestation")
    assert ana.click(card, "nhi:claim", nth=1) == "", "what was not recorded can be said again"
    assert verdicts(sessions) == ["claim", "claim"]


# -- the worker --------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(settings: Settings, clock: Clock) -> Iterator[Program]:
    opened = open_program(settings, clock=clock)
    yield opened
    opened.engine.dispose()


def test_the_worker_takes_up_what_no_bot_decides_and_the_doctor_warns_of_it(
    start: Start, cards: list[Json], sessions: Sessions, workspace: Workspace, clock: Clock, program: Program
) -> None:
    dead = start()
    dead.inbox.take(cards[0])
    clock.pass_by(seconds=29)
    assert worker.take_up(program) == 0, "a bot may be about to"
    assert doctor._inbox(program).status == "ok"
    clock.pass_by(minutes=2)
    assert doctor._inbox(program).status == "fail"
    stranger = cards[1] | {"user": {"id": "UBEA", "team_id": "T0STANDIN"}}
    dead.inbox.take(stranger)
    clock.pass_by(hours=1)
    assert worker.take_up(program) == 2
    assert verdicts(sessions) == ["claim"]
    assert doctor._inbox(program).status == "ok"
    with reading(sessions) as session:
        notice = session.scalars(select(DeliveryRow).where(DeliveryRow.kind == "notice")).one()
    assert notice.recipient == "UBEA", "her click can be answered no more, so the outbox tells her"
    assert "can't take your answer" in notice.words["sentence"]
