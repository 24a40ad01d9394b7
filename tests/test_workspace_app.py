"""The stand-in workspace against a real Bolt app, by HTTP and by Socket Mode, and against apps that misbehave."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from slack_sdk import WebClient

from demo.workspace import Workspace
from tests.workspace_world import CARD, Clock, Heard, Json, build, client_of, running, serving, workspace


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slack(clock: Clock) -> Iterator[Workspace]:
    with workspace(clock) as started:
        yield started


@pytest.fixture
def client(slack: Workspace) -> WebClient:
    return client_of(slack)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=["http", "socket"])
def bolt(request: pytest.FixtureRequest, slack: Workspace, client: WebClient, heard: Heard) -> Iterator[str]:
    transport = str(request.param)
    with running(slack, build(client, slack, heard), transport):
        yield transport


# -- what Slack sends, to a real Bolt app ------------------------------------------------------------------------------


def test_a_click_reaches_the_app_and_the_card_changes(
    slack: Workspace, client: WebClient, bolt: str, heard: Heard
) -> None:
    ts = client.chat_postMessage(channel="UANA", text="Card", blocks=CARD)["ts"]
    ana = slack.as_("ana")
    assert ana.click(ana.last(), "Disable") == ""
    ana.wait_for(lambda: ana.last()["text"] == "Disabled." and "blocks" not in ana.last())
    body = heard.one("block_actions")
    assert body["user"] == {"id": "UANA", "username": "ana", "name": "ana", "team_id": "T0STANDIN"}
    assert body["container"] == {"type": "message", "message_ts": ts, "channel_id": "DANA", "is_ephemeral": False}
    action = body["actions"][0]
    assert (action["action_id"], action["block_id"], action["value"], action["type"]) == (
        "disable",
        "card",
        "7",
        "button",
    )


def test_a_form_shows_errors_until_it_is_filled_in(
    slack: Workspace, client: WebClient, bolt: str, heard: Heard
) -> None:
    client.chat_postMessage(channel="UANA", text="Card", blocks=CARD)
    ana = slack.as_("ana")
    ana.click(ana.last(), "Justify")
    assert ana.wait_for(lambda: ana.modal)["private_metadata"] == "7"
    assert ana.submit() == {"why": "Please complete this required field."}
    assert ana.submit({"Why?": "shrt"}) == {"why": "Must be at least 5 characters."}
    assert heard.bodies[-1]["type"] == "block_actions"  # Slack's own client refused both, so the app heard of neither
    assert ana.submit({"Why?": "wrong"}) == {"why": "Say more."}
    assert ana.fill({"text": "because", "until": "2027-01-31"}).submit() == {}
    assert ana.modal is None
    values = heard.one("view_submission")["view"]["state"]["values"]
    assert values["why"]["text"] == {"type": "plain_text_input", "value": "because"}
    assert values["until"]["date"] == {"type": "datepicker", "selected_date": "2027-01-31"}


def test_the_other_answers_to_a_form(slack: Workspace, client: WebClient, bolt: str, heard: Heard) -> None:
    client.chat_postMessage(channel="UANA", text="Card", blocks=CARD)
    ana = slack.as_("ana")
    ana.click(ana.last(), "Justify")
    first = ana.wait_for(lambda: ana.modal)
    assert "no input block is called no such block" in ana.submit({"why": "nowhere"})[""]
    assert "missing required field" in ana.submit({"why": "broken"})[""]
    ana.submit({"why": "other"})
    assert ana.modal
    assert (ana.modal["id"], ana.modal["title"]["text"]) == (first["id"], "Other")
    ana.submit({"why": "again"})
    assert ana.modal
    assert (ana.modal["previous_view_id"], ana.modal["title"]["text"]) == (first["id"], "Second")
    ana.close_modal()
    assert heard.one("view_closed")["is_cleared"] is False
    assert ana.modal
    assert ana.modal["id"] == first["id"]
    ana.submit({"why": "clear"})
    assert ana.modal is None


def test_a_command_is_escaped_and_answered(slack: Workspace, bolt: str, heard: Heard) -> None:
    ana = slack.as_("ana")
    reply = ana.command("/nhi delegate a&b to @bo in #security")
    assert reply
    assert reply["ephemeral"]
    assert slack.as_("bo").messages() == []
    assert heard.one("command")["text"] == "delegate a&amp;b to <@UBO|bo> in <#CSECURITY|security>"
    quick, aloud = ana.command("/nhi quick"), ana.command("/nhi aloud", channel="#security")
    assert quick
    assert quick["text"] == "At once."
    assert aloud
    assert slack.as_("bo").last("#security")["text"] == "Everybody hears."
    unknown = ana.command("/other")
    assert unknown
    assert "not a valid command" in unknown["text"]


def test_home_and_messages_are_events(slack: Workspace, bolt: str, heard: Heard) -> None:
    ana = slack.as_("ana")
    home = ana.home()
    assert home
    assert home["blocks"][0]["type"] == "divider"
    ana.say("Hello")
    ana.wait_for(lambda: ana.last()["text"] == "Echo: Hello")
    assert heard.one("message")["channel_type"] == "im"
    assert [each["retry"] for each in slack.delivery.sent] == [0, 0]


def test_a_socket_can_be_refreshed_and_cut(slack: Workspace, client: WebClient, heard: Heard) -> None:
    with running(slack, build(client, slack, heard), "socket"):
        link = slack.sockets.any()
        slack.sockets.refresh()
        slack.wait_for(lambda: slack.sockets.any() not in (None, link))
        slack.wait_for(lambda: len(slack.sockets) == 1)
        reply = slack.as_("ana").command("/nhi quick")
        assert reply
        assert reply["text"] == "At once."
        slack.sockets.cut()
        failed = slack.as_("ana").command("/nhi quick")
        assert failed
        assert "dispatch_failed" in failed["text"]


# -- an app that does not answer as it should --------------------------------------------------------------------------


def answering(status: str, seconds: float = 0.0) -> tuple[list[Json], Any]:
    """Return a WSGI app that answers one status after a while, and the list of headers that it saw."""
    seen: list[Json] = []

    def app(environ: Json, start_response: Any) -> list[bytes]:
        seen.append(dict(environ))
        time.sleep(seconds)
        start_response(status, [("Content-Length", "0")])
        return [b""]

    return seen, app


def test_a_click_is_not_sent_twice_and_the_person_sees_an_error(slack: Workspace, client: WebClient) -> None:
    client.chat_postMessage(channel="UANA", text="Card", blocks=CARD)
    ana = slack.as_("ana")
    card = ana.last()
    assert "dispatch_failed" in ana.click(card, "Disable")
    slack.delivery.patience = 0.2
    seen, app = answering("200 OK", seconds=0.4)
    with serving(slack, app):
        assert "operation_timeout" in ana.click(card, "Disable")
        reply = ana.command("/nhi mine")
        assert reply
        assert reply["text"].startswith('/nhi failed with the error "operation_timeout"')
    assert len(seen) == 2
    seen, app = answering("500 Oops")
    with serving(slack, app):
        assert "http_service_error" in ana.click(card, "Disable")
    assert len(seen) == 1


def test_an_event_is_sent_four_times_in_all(slack: Workspace) -> None:
    seen, app = answering("500 Oops")
    with serving(slack, app):
        slack.as_("ana").say("Hello")
    assert [each.get("HTTP_X_SLACK_RETRY_NUM") for each in seen] == [None, "1", "2", "3"]
    assert seen[1]["HTTP_X_SLACK_RETRY_REASON"] == "http_error"


def test_signed_requests_can_be_replayed_and_forged(slack: Workspace, client: WebClient, heard: Heard) -> None:
    body = urlencode({"command": "/nhi", "text": "quick", "user_id": "UANA", "team_id": "T0STANDIN"})
    with running(slack, build(client, slack, heard), "http"):
        assert slack.verify_url().json() == {"challenge": "say-this-back"}
        assert slack.send_signed(body).status == 200
        assert slack.send_signed(body, {"X-Slack-Signature": "v0=forged"}).status == 401
        assert slack.send_signed(body, {"X-Slack-Request-Timestamp": "1000000000"}).status == 401
