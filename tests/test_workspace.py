"""The stand-in workspace against the real clients: slack_sdk's WebClient and a Bolt app, by HTTP and by socket."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_sdk import WebClient, WebhookClient
from slack_sdk.errors import SlackApiError
from waitress import wasyncore
from waitress.server import create_server

from demo.workspace import (
    Channel,
    Fault,
    Person,
    Workspace,
    drop_after,
    drop_before,
    fatal_after,
    hang,
    rate_limited,
    refuse,
    server_error,
)

Json = dict[str, Any]

ANA = Person(name="ana", real_name="Ana Diaz", email="ana@example.com", tz="Europe/Madrid")
BO = Person(name="bo", real_name="Bo Lindqvist", email="bo@example.com")
GONE = Person(name="di", real_name="Di Moreau", email="di@example.com", deleted=True)
ROBOT = Person(name="ci", real_name="CI", is_bot=True)
CARD = [
    {
        "type": "actions",
        "block_id": "card",
        "elements": [
            {"type": "button", "action_id": "disable", "value": "7", "text": {"type": "plain_text", "text": "Disable"}},
            {"type": "button", "action_id": "ask", "value": "7", "text": {"type": "plain_text", "text": "Justify"}},
        ],
    }
]


class Clock:
    """A pretend clock that tests turn by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


def modal(**more: Any) -> Json:
    box = {"type": "plain_text_input", "action_id": "text", "min_length": 5}
    why = {"type": "input", "block_id": "why", "label": {"type": "plain_text", "text": "Why?"}, "element": box}
    until = {"type": "datepicker", "action_id": "date", "initial_date": "2026-12-31"}
    when = {"type": "input", "block_id": "until", "label": {"type": "plain_text", "text": "Until?"}, "element": until}
    head = {
        "type": "modal",
        "callback_id": "why",
        "private_metadata": "7",
        "title": {"type": "plain_text", "text": "Why"},
    }
    return (
        head | {"submit": {"type": "plain_text", "text": "Go"}, "blocks": [why, when], "notify_on_close": True} | more
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slack(clock: Clock) -> Iterator[Workspace]:
    secret = Channel(id="CSECRET", name="secret", is_private=True, bot_is_member=False)
    old = Channel(id="COLD", name="old", is_archived=True)
    other = Channel(id="COTHER", name="other", bot_is_member=False)
    with Workspace([ANA, BO, GONE, ROBOT], now=clock, channels=["security", secret, old, other]) as workspace:
        yield workspace


@pytest.fixture
def client(slack: Workspace) -> WebClient:
    return WebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=[])


@contextmanager
def serving(slack: Workspace, app: Any) -> Iterator[None]:
    """Serve a WSGI application where the workspace sends its requests."""
    server: Any = create_server(app, host="127.0.0.1", port=0, threads=8, asyncore_loop_timeout=0.05)
    thread = threading.Thread(target=server.run)
    thread.start()
    slack.app_url = f"http://127.0.0.1:{server.effective_port}/slack/events"
    try:
        yield
    finally:
        server.task_dispatcher.shutdown()  # first, so that no answer under way finds its server closed
        server.close()
        thread.join()
        wasyncore.close_all(server._map)  # server.close() leaves the connections that clients keep open


@contextmanager
def running(slack: Workspace, app: App, transport: str) -> Iterator[None]:
    """Run a Bolt app by HTTP or by Socket Mode."""
    if transport == "http":
        with serving(slack, SlackRequestHandler(app)):
            yield
        return
    handler: Any = SocketModeHandler(app, slack.app_token)
    handler.connect()
    try:
        slack.wait_for(lambda: len(slack.sockets) == 1)
        yield
    finally:
        # The SDK's close() waits out a read of up to three seconds; a cut connection ends that read at once.
        handler.client.auto_reconnect_enabled = False
        slack.sockets.cut()
        handler.close()


class Heard:
    """What the Bolt app below was told."""

    def __init__(self) -> None:
        self.bodies: list[Json] = []

    def add(self, body: Json) -> None:
        self.bodies.append(body)

    def one(self, kind: str) -> Json:
        return next(each for each in reversed(self.bodies) if each.get("type", "command") == kind)


def build(client: WebClient, slack: Workspace, heard: Heard) -> App:
    logger = logging.getLogger("test.bolt")
    logger.setLevel(logging.CRITICAL)
    app = App(client=client, signing_secret=slack.signing_secret, logger=logger)

    @app.action("disable")
    def disable(ack: Any, body: Json, client: WebClient) -> None:
        heard.add(body)
        ack()
        client.chat_update(channel=body["channel"]["id"], ts=body["message"]["ts"], text="Disabled.", blocks=[])

    @app.action("ask")
    def ask(ack: Any, body: Json, client: WebClient) -> None:
        heard.add(body)
        ack()
        client.views_open(trigger_id=body["trigger_id"], view=modal())

    @app.view("why")
    def why(ack: Any, body: Json, view: Json) -> None:
        heard.add(body)
        words = view["state"]["values"]["why"]["text"]["value"]
        answers: dict[str, Json] = {
            "wrong": {"response_action": "errors", "errors": {"why": "Say more."}},
            "nowhere": {"response_action": "errors", "errors": {"no such block": "Say more."}},
            "again": {"response_action": "push", "view": modal(title={"type": "plain_text", "text": "Second"})},
            "other": {"response_action": "update", "view": modal(title={"type": "plain_text", "text": "Other"})},
            "clear": {"response_action": "clear"},
            "broken": {"response_action": "update", "view": {"type": "modal"}},
        }
        ack(**answers[words]) if words in answers else ack()

    @app.view_closed("why")
    def closed(ack: Any, body: Json) -> None:
        heard.add(body)
        ack()

    @app.command("/nhi")
    def command(ack: Any, body: Json, respond: Any) -> None:
        heard.add(body)
        match body["text"]:
            case "quick":
                ack("At once.")
            case "aloud":
                ack(text="Everybody hears.", response_type="in_channel")
            case "fail":
                raise RuntimeError("a bug")
            case _:
                ack()
                respond(f"You said {body['text']}")

    @app.event("app_home_opened")
    def home(event: Json, client: WebClient) -> None:
        heard.add(event)
        client.views_publish(user_id=event["user"], view={"type": "home", "blocks": [{"type": "divider"}]})

    @app.event("message")
    def message(event: Json, say: Any) -> None:
        heard.add(event)
        say(f"Echo: {event['text']}")

    return app


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=["http", "socket"])
def bolt(request: pytest.FixtureRequest, slack: Workspace, client: WebClient, heard: Heard) -> Iterator[str]:
    transport = str(request.param)
    with running(slack, build(client, slack, heard), transport):
        yield transport


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(SlackApiError) as refused:
        call()
    return str(refused.value.response["error"])


# -- the Web API -------------------------------------------------------------------------------------------------------


def test_a_message_can_be_posted_read_changed_and_deleted(slack: Workspace, client: WebClient) -> None:
    channel = client.conversations_open(users=ANA.user_id)["channel"]["id"]
    metadata = {"event_type": "ask", "event_payload": {"delivery": "d1"}}
    posted = client.chat_postMessage(channel=channel, text="Hello", blocks=CARD, metadata=metadata)
    assert client.chat_postMessage(channel=ANA.user_id, text="Second")["channel"] == channel

    newest, oldest = client.conversations_history(channel=channel, include_all_metadata=True)["messages"]
    assert (newest["text"], oldest["ts"], oldest["metadata"]) == ("Second", posted["ts"], metadata)
    assert "metadata" not in client.conversations_history(channel=channel)["messages"][1]

    client.chat_update(channel=channel, ts=posted["ts"], text="Changed")
    changed = slack.as_("ana").messages()[0]
    assert (changed["text"], changed["blocks"], changed["metadata"]) == ("Changed", CARD, metadata)
    client.chat_delete(channel=channel, ts=posted["ts"])
    assert [each["text"] for each in slack.as_("ana").messages()] == ["Second"]
    assert slack.as_("bo").messages() == []


def test_every_ts_is_unique_and_later_even_while_the_clock_stands_still(slack: Workspace, client: WebClient) -> None:
    threads = [
        threading.Thread(target=client.chat_postMessage, kwargs={"channel": "#security", "text": str(each)})
        for each in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [each["ts"] for each in slack.as_("ana").messages("#security")]
    assert times == sorted(times)
    assert len(set(times)) == 20


def test_history_is_paged_and_bounded(client: WebClient) -> None:
    times = [client.chat_postMessage(channel="#security", text=str(each))["ts"] for each in range(5)]
    pages = [
        [each["text"] for each in page["messages"]]
        for page in client.conversations_history(channel="CSECURITY", limit=2)
    ]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]
    between = client.conversations_history(channel="CSECURITY", oldest=times[1], latest=times[3])
    assert [each["text"] for each in between["messages"]] == ["2"]
    inclusive = client.conversations_history(channel="CSECURITY", oldest=times[1], latest=times[3], inclusive=True)
    assert len(inclusive["messages"]) == 3


def test_people_are_listed_in_pages_and_looked_up(client: WebClient) -> None:
    names = [each["name"] for page in client.users_list(limit=2) for each in page["members"]]
    assert names == ["ana", "bo", "di", "ci", "nhi"]
    found = client.users_lookupByEmail(email="ANA@example.com")["user"]
    assert (found["id"], found["tz"], found["tz_offset"]) == ("UANA", "Europe/Madrid", 7200)
    assert client.users_info(user="UDI")["user"]["deleted"] is True
    assert client.conversations_members(channel="CSECURITY")["members"] == ["UANA", "UBO", "U0BOT"]


def test_conversations_are_listed_by_type_without_those_the_bot_cannot_see(client: WebClient) -> None:
    public = client.conversations_list(exclude_archived=True)["channels"]
    assert [each["name"] for each in public] == ["security", "other"]
    assert client.conversations_list(types="private_channel")["channels"] == []
    client.conversations_open(users="UBO")
    assert [each["user"] for each in client.conversations_list(types="im")["channels"]] == ["UBO"]


def test_each_refusal_has_slacks_own_code(client: WebClient) -> None:
    post = client.chat_postMessage
    assert code(lambda: post(channel="CNONE", text="x")) == "channel_not_found"
    assert code(lambda: post(channel="CSECRET", text="x")) == "channel_not_found"
    assert code(lambda: post(channel="COTHER", text="x")) == "not_in_channel"
    assert code(lambda: post(channel="COLD", text="x")) == "is_archived"
    assert code(lambda: post(channel="UCI", text="x")) == "cannot_dm_bot"
    assert code(lambda: post(channel="UDI", text="x")) == "user_disabled"
    assert code(lambda: client.api_call("chat.postMessage", json={"channel": "UANA", "text": " "})) == "no_text"
    assert code(lambda: post(channel="UANA", text="x", metadata={"event_type": "x"})) == "invalid_metadata_schema"
    assert code(lambda: client.conversations_open(users="UNONE")) == "user_not_found"
    assert code(lambda: client.conversations_open(users="UDI")) == "user_disabled"
    assert code(lambda: client.users_info(user="UNONE")) == "user_not_found"
    assert code(lambda: client.users_lookupByEmail(email="no@example.com")) == "users_not_found"
    assert code(lambda: client.users_lookupByEmail(email="di@example.com")) == "users_not_found"
    assert code(lambda: client.chat_update(channel="UANA", ts="1.0", text="x")) == "message_not_found"
    assert code(lambda: client.conversations_list(types="pigeon")) == "invalid_types"
    assert code(lambda: client.users_list(cursor="nonsense!")) == "invalid_cursor"
    assert code(lambda: client.views_publish(user_id="UNONE", view={"type": "home", "blocks": []})) == "user_not_found"
    assert code(lambda: client.api_call("files.upload")) == "unknown_method"


def test_a_message_of_somebody_else_cannot_be_changed(slack: Workspace, client: WebClient) -> None:
    slack.as_("ana").say("Mine", channel="#security")
    ts = slack.as_("ana").last("#security")["ts"]
    assert code(lambda: client.chat_update(channel="CSECURITY", ts=ts, text="x")) == "cant_update_message"
    assert code(lambda: client.chat_delete(channel="CSECURITY", ts=ts)) == "cant_delete_message"


def test_invalid_blocks_come_with_the_place_of_the_mistake(client: WebClient) -> None:
    header = {"type": "header", "text": {"type": "mrkdwn", "text": "x"}}
    with pytest.raises(SlackApiError) as refused:
        client.chat_postMessage(channel="UANA", text="x", blocks=[header])
    assert refused.value.response["error"] == "invalid_blocks"
    assert any(
        "json-pointer:/blocks/0/text" in each for each in refused.value.response["response_metadata"]["messages"]
    )


def test_long_text_is_cut_when_posted_and_refused_when_updated(slack: Workspace, client: WebClient) -> None:
    posted = client.chat_postMessage(channel="UANA", text="x" * 40_001)
    assert posted["response_metadata"]["warnings"] == ["message_truncated"]
    assert len(slack.as_("ana").last()["text"]) == 40_000
    client.chat_update(channel=posted["channel"], ts=posted["ts"], text="x" * 4000)
    assert (
        code(lambda: client.chat_update(channel=posted["channel"], ts=posted["ts"], text="x" * 4001)) == "msg_too_long"
    )


def test_all_blocks_together_have_a_limit_too(client: WebClient) -> None:
    def sections(size: int) -> list[Json]:
        return [{"type": "section", "text": {"type": "plain_text", "text": "x" * 2500}}] * 3 + [
            {"type": "section", "text": {"type": "plain_text", "text": "x" * (size - 7500)}}
        ]

    client.chat_postMessage(channel="UANA", text="x", blocks=sections(10_000))
    assert (
        code(lambda: client.chat_postMessage(channel="UANA", text="x", blocks=sections(10_001)))
        == "msg_blocks_too_long"
    )


@pytest.mark.parametrize(("token", "answer"), [("", "not_authed"), ("xoxb-wrong", "invalid_auth")])
def test_a_token_is_needed(slack: Workspace, token: str, answer: str) -> None:
    assert code(WebClient(token=token, base_url=slack.api_url).auth_test) == answer


def test_tokens_are_of_two_kinds_and_can_be_revoked(slack: Workspace, client: WebClient) -> None:
    assert code(lambda: client.apps_connections_open(app_token=slack.bot_token)) == "not_allowed_token_type"
    assert client.auth_test()["user_id"] == "U0BOT"
    slack.revoke_token()
    assert code(client.auth_test) == "token_revoked"


def test_an_ephemeral_message_is_seen_by_one_person_and_not_in_history(slack: Workspace, client: WebClient) -> None:
    client.chat_postEphemeral(channel="CSECURITY", user="UANA", text="Psst")
    assert slack.as_("ana").last("#security")["ephemeral"] is True
    assert slack.as_("bo").messages("#security") == []
    assert client.conversations_history(channel="CSECURITY")["messages"] == []


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "posted", "error"),
    [
        (drop_before(), 0, RemoteDisconnected),
        (drop_after(), 1, RemoteDisconnected),
        (fatal_after(), 1, SlackApiError),
        (server_error(), 0, SlackApiError),
        (rate_limited(7), 0, SlackApiError),
        (refuse("missing_scope"), 0, SlackApiError),
    ],
)
def test_a_fault_happens_once_and_leaves_what_it_should(
    slack: Workspace, client: WebClient, fault: Fault, posted: int, error: type[Exception]
) -> None:
    slack.inject("chat.postMessage", fault)
    with pytest.raises(error):
        client.chat_postMessage(channel="UANA", text="x")
    assert len(slack.as_("ana").messages()) == posted
    client.chat_postMessage(channel="UANA", text="x")
    assert len(slack.calls("chat.postMessage")) == 2


def test_a_429_says_when_to_come_back(slack: Workspace, client: WebClient) -> None:
    slack.inject("*", rate_limited(7))
    with pytest.raises(SlackApiError) as refused:
        client.auth_test()
    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (429, "7")


def test_a_hanging_call_outlasts_an_impatient_client(slack: Workspace) -> None:
    slack.inject("chat.postMessage", hang(1.5))
    hasty = WebClient(token=slack.bot_token, base_url=slack.api_url, timeout=1, retry_handlers=[])
    with pytest.raises(TimeoutError):
        hasty.chat_postMessage(channel="UANA", text="x")
    assert len(slack.as_("ana").messages()) == 1


def test_a_channel_takes_one_message_a_second_where_that_is_enforced(slack: Workspace, client: WebClient) -> None:
    slack.enforce_rate(0.2)
    client.chat_postMessage(channel="UANA", text="x")
    assert code(lambda: client.chat_postMessage(channel="UANA", text="x")) == "ratelimited"
    client.chat_postMessage(channel="UBO", text="x")
    time.sleep(0.25)
    client.chat_postMessage(channel="UANA", text="x")


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
        assert slack.as_("ana").command("/nhi quick") != reply


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


# -- triggers, hashes and response URLs --------------------------------------------------------------------------------


def test_a_trigger_opens_one_modal_within_three_seconds(slack: Workspace, client: WebClient) -> None:
    def open_with(trigger: str) -> Any:
        return client.views_open(trigger_id=trigger, view=modal())

    trigger = slack.state.new_trigger("UANA")
    assert open_with(trigger)["view"]["type"] == "modal"
    assert code(lambda: open_with(trigger)) == "exchanged_trigger_id"
    late = slack.state.new_trigger("UANA")
    slack.state.triggers[late].expires -= 3.0
    assert code(lambda: open_with(late)) == "expired_trigger_id"
    assert code(lambda: open_with("made.up")) == "invalid_trigger_id"
    assert (
        code(lambda: client.views_push(trigger_id=slack.state.new_trigger("UBO"), view=modal())) == "invalid_trigger_id"
    )


def test_modals_stack_three_deep(slack: Workspace, client: WebClient) -> None:
    client.views_open(trigger_id=slack.state.new_trigger("UANA"), view=modal())
    for _ in range(2):
        client.views_push(trigger_id=slack.state.new_trigger("UANA", from_modal=True), view=modal())
    fourth = slack.state.new_trigger("UANA", from_modal=True)
    assert code(lambda: client.views_push(trigger_id=fourth, view=modal())) == "push_limit_reached"


def test_an_old_hash_is_a_conflict(slack: Workspace, client: WebClient) -> None:
    view = client.views_open(trigger_id=slack.state.new_trigger("UANA"), view=modal(external_id="one"))["view"]
    client.views_update(view_id=view["id"], hash=view["hash"], view=modal(external_id="one"))
    assert code(lambda: client.views_update(view_id=view["id"], hash=view["hash"], view=modal())) == "hash_conflict"
    client.views_update(external_id="one", view=modal(external_id="one"))
    assert code(lambda: client.views_update(view_id="V0", view=modal())) == "not_found"
    again = slack.state.new_trigger("UBO")
    taken = modal(external_id="one")
    assert code(lambda: client.views_open(trigger_id=again, view=taken)) == "duplicate_external_id"


def test_a_response_url_works_five_times_within_half_an_hour(slack: Workspace, clock: Clock) -> None:
    channel = slack.state.direct_message("UANA")
    url = f"{slack.url}/response/{slack.state.new_response_url(channel.id, 'UANA', None)}"
    assert [WebhookClient(url).send(text="x").status_code for _ in range(6)] == [200] * 5 + [404]
    late = f"{slack.url}/response/{slack.state.new_response_url(channel.id, 'UANA', None)}"
    clock.turn(minutes=30)
    assert WebhookClient(late).send(text="x").status_code == 200
    clock.turn(seconds=1)
    assert WebhookClient(late).send(text="x").body == '{"ok":false,"error":"expired_url"}'


def test_a_response_url_replaces_or_deletes_its_message(slack: Workspace, client: WebClient) -> None:
    ts = client.chat_postMessage(channel="UANA", text="Card", blocks=CARD)["ts"]
    message = slack.state.message("DANA", ts)
    url = f"{slack.url}/response/{slack.state.new_response_url('DANA', 'UANA', message)}"
    WebhookClient(url).send(text="Replaced", replace_original=True)
    assert [each["text"] for each in slack.as_("ana").messages()] == ["Replaced"]
    assert WebhookClient(url).send(blocks=[{"type": "nonsense"}]).body == "invalid_blocks"
    WebhookClient(url).send(delete_original=True)
    assert slack.as_("ana").messages() == []


# -- the page's own door -----------------------------------------------------------------------------------------------


def ask_page(slack: Workspace, verb: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", urlsplit(slack.url).port or 0, timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", verb, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_listens_to_nobody_else(slack: Workspace) -> None:
    typed = json.dumps({"as": "ana", "channel": "DANA", "text": "Hello"}).encode()
    assert ask_page(slack, "/ui/state?as=ana")[0] == 200
    assert ask_page(slack, "/ui/state?as=ana", Host="evil.example")[0] == 421
    assert ask_page(slack, "/", Host="evil.example:80")[0] == 421
    assert ask_page(slack, "/ui/type", typed, Content_Type="text/plain")[0] == 415
    assert ask_page(slack, "/ui/type", typed, Content_Type="application/json", Origin="http://evil.example")[0] == 403
    assert ask_page(slack, "/ui/type", typed, Content_Type="application/json")[0] == 200
    assert ask_page(slack, "/ui/state?as=stranger")[0] == 400
    assert slack.as_("ana").last()["text"] == "Hello"


def test_nobody_presses_what_only_somebody_else_sees(slack: Workspace, client: WebClient) -> None:
    ts = client.chat_postEphemeral(channel="CSECURITY", user="UANA", text="x", blocks=CARD)["message_ts"]
    body = {"as": "bo", "channel": "CSECURITY", "ts": ts, "block_id": "card", "action_id": "disable"}
    status, words = ask_page(slack, "/ui/press", json.dumps(body).encode(), Content_Type="application/json")
    assert status == 400
    assert "no longer there" in words


def test_the_next_day_turns_every_clock(clock: Clock) -> None:
    with Workspace([ANA], now=clock, on_next_day=lambda: clock.turn(days=1)) as slack:
        assert ask_page(slack, "/ui/next-day", b"{}", Content_Type="application/json")[0] == 200
        assert json.loads(ask_page(slack, "/ui/state?as=ana")[1])["now"].startswith("2026-10-06")
    slack.stop()
    with pytest.raises(RuntimeError, match="call start"):
        _ = slack.url
