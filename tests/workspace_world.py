"""What the tests of the stand-in workspace share: its people, a clock to turn, a card, a modal, a Bolt app to run."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from werkzeug.serving import make_server

from demo.workspace import Channel, Person, Workspace

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


def workspace(clock: Clock) -> Workspace:
    """Return a workspace with everything in it that Slack treats differently, not yet started."""
    secret = Channel(id="CSECRET", name="secret", is_private=True, bot_is_member=False)
    old = Channel(id="COLD", name="old", is_archived=True)
    other = Channel(id="COTHER", name="other", bot_is_member=False)
    return Workspace([ANA, BO, GONE, ROBOT], now=clock, channels=["security", secret, old, other])


def client_of(slack: Workspace) -> WebClient:
    """Return a client that tries every call once."""
    return WebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=[])


@contextmanager
def serving(slack: Workspace, app: Any) -> Iterator[None]:
    """Serve a WSGI application where the workspace sends its requests."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    slack.app_url = f"http://127.0.0.1:{server.server_port}/slack/events"
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(SlackApiError) as refused:
        call()
    return str(refused.value.response["error"])
