"""A stand-in Slack workspace over HTTP, for `nhi demo` and for tests: the real Bolt app cannot tell it from Slack.

    with Workspace([Person(name="ana", real_name="Ana Diaz", email="ana@example.com")], now=clock) as slack:
        client = WebClient(token=slack.bot_token, base_url=slack.api_url)
        slack.app_url = "http://127.0.0.1:3000/slack/events"
        ana = slack.as_("ana")
        ana.click(ana.last(), "Disable")

It serves the Web API at `api_url`, Socket Mode, response URLs, and at `url` a web page in which one can be any of the
people. It refuses what Slack refuses (slack_rules) and fails on demand (`inject`). Nothing is kept once it stops.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from demo.actor import Actor
from demo.slack_delivery import Ack, Delivery
from demo.slack_faults import (
    Fault,
    drop_after,
    drop_before,
    fatal_after,
    hang,
    rate_limited,
    refuse,
    server_error,
)
from demo.slack_files import upload
from demo.slack_gate import Gate, Tokens
from demo.slack_hands import Hands
from demo.slack_server import Request, Response, Server, as_json
from demo.slack_socket import Links
from demo.slack_state import Channel, Json, Person, State, real_now
from demo.slack_ui import serve_file, serve_ui

__all__ = [
    "Channel",
    "Fault",
    "Person",
    "Workspace",
    "drop_after",
    "drop_before",
    "fatal_after",
    "hang",
    "rate_limited",
    "refuse",
    "server_error",
]

# What `/nhi` understands, for the list that opens as one types.
SUGGESTIONS = {
    "/nhi whois": "who owns a key, ARN or name",
    "/nhi mine": "what you own",
    "/nhi findings": "what is open",
    "/nhi unowned": "what nobody owns",
    "/nhi stats": "how things stand",
    "/nhi claim": "say that something is yours",
    "/nhi undo": "turn back what was done",
    "/nhi snooze": "be asked later",
    "/nhi delegate": "ask somebody else instead",
    "/nhi review": "this quarter's review",
    "/nhi scan": "look again now (admins)",
    "/nhi help": "all commands",
}


class Workspace:
    """One pretend workspace with one app in it. Start it, or use it as a context manager."""

    def __init__(
        self,
        people: Sequence[Person],
        *,
        now: Callable[[], datetime] = real_now,
        name: str = "Example Company",
        bot_name: str = "nhi",
        channels: Sequence[str | Channel] = ("general", "security"),
        commands: Sequence[str] = ("/nhi",),
        bot_token: str = "xoxb-stand-in",
        app_token: str = "xapp-stand-in",
        signing_secret: str = "stand-in-signing-secret",
        app_url: str | None = None,
        on_next_day: Callable[[], object] | None = None,
        world: Callable[[], Sequence[Json]] | None = None,
        hints: Sequence[str] = (),
        suggestions: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Set a workspace up, not yet listening.

        `now` is the pretend clock; `on_next_day` turns it (and runs what is due) when somebody presses Next day.
        `world` returns rows of `title`, `subtitle` and `status` for the panel beside the chat. `app_url` is where
        signed requests go while the app holds no Socket Mode connection. `port` 0 takes a free one. `hints` are the
        lines of "Try this", in which `` `/nhi mine` `` becomes a button; `suggestions` maps a command to what it does.
        """
        self.people = tuple(people)
        self.name = name
        self.bot_token, self.app_token, self.signing_secret = bot_token, app_token, signing_secret
        self.app_url = app_url
        self.hints = tuple(hints)
        self.suggestions = dict(SUGGESTIONS if suggestions is None else suggestions)
        self.on_next_day: list[Callable[[], object]] = [on_next_day] if on_next_day else []
        self.stopping = False
        self._world = world
        self._address = host, port
        self._server: Server | None = None
        self.state = State(people, channels, now, bot_name)
        self.sockets = Links()
        self.delivery = Delivery(self.sockets, signing_secret, lambda: self.app_url)
        self.gate = Gate(self.state, self.sockets, Tokens(bot=bot_token, app=app_token))
        self.hands = Hands(self.state, self.delivery, lambda: self.url, tuple(commands))

    # -- serving -------------------------------------------------------------------------------------------------------

    def start(self) -> "Workspace":
        """Listen and serve in the background."""
        self._server = Server(self._answer, *self._address)
        self.gate.socket_url = f"ws://{self._address[0]}:{self._server.port}/link/"
        self.gate.web_url = self.url
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection; stopping twice is harmless."""
        if self._server is None:
            return
        with self.state.changing():
            self.stopping = True
        self.gate.stopping.set()
        self.sockets.cut()
        self._server.stop()
        self._server = None

    def __enter__(self) -> "Workspace":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return the address of the page; raises RuntimeError before start()."""
        if self._server is None:
            raise RuntimeError("The workspace is not running: call start() first.")
        return f"http://{self._address[0]}:{self._server.port}"

    @property
    def api_url(self) -> str:
        """Return what SLACK_API_URL, or WebClient's base_url, has to be."""
        return f"{self.url}/api/"

    def _answer(self, request: Request) -> Response:
        if request.path.startswith("/ui/"):
            return serve_ui(self, request)
        if "origin" in request.headers and request.path.startswith(("/api/", "/response/", "/link/", "/upload/")):
            # Only a browser says where it comes from, and no page has business here: the tokens are well known.
            return Response(status=403)
        if request.path.startswith("/api/"):
            return self._answer_call(request)
        if request.path.startswith("/upload/") and request.method == "POST":
            with self.state.changing():
                return Response(status=upload(self.state, request.path.removeprefix("/upload/"), request.body))
        if request.path.startswith("/files/") and request.method == "GET":
            file = self.state.files.get(request.path.removeprefix("/files/"))
            if file is not None and file.complete and file.data is not None:
                return Response(status=200, body=file.data, content_type="image/png")
            return Response(status=404)
        if request.path.startswith("/response/") and request.method == "POST":
            return self._answer_response_url(request)
        if request.path == "/link/" and request.headers.get("upgrade", "").lower() == "websocket":
            known = self.sockets.take_ticket(request.query.get("ticket", ""))
            return Response(link=self.sockets.serve) if known else Response(status=403)
        return serve_file(request.path) or Response(status=404)

    def _answer_call(self, request: Request) -> Response:
        try:
            args = request.arguments()
        except ValueError:
            return as_json({"ok": False, "error": "invalid_json" if request.is_json else "invalid_form_data"})
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        reply = self.gate.call(request.path.removeprefix("/api/"), args, bearer or str(args.pop("token", "")))
        if reply.status is None:
            return Response(status=None)
        return as_json(reply.body, reply.status, **reply.headers)

    def _answer_response_url(self, request: Request) -> Response:
        try:
            body = request.arguments()
        except ValueError:
            return Response(status=400, body=b"invalid_payload", content_type="text/plain")
        status, words = self.hands.respond(request.path.removeprefix("/response/"), body)
        return Response(status=status, body=words.encode(), content_type="text/plain; charset=utf-8")

    # -- driving it from a test ----------------------------------------------------------------------------------------

    def as_(self, name: str) -> Actor:
        """Return the eyes and hands of a person, by handle or id; raises KeyError for a stranger."""
        return Actor(self, self.state.person(name).user_id)

    @property
    def posts(self) -> list[Json]:
        """Return every Web API call so far: `method`, `args` (decoded), `response` (None: dropped) and `at`."""
        return list(self.gate.calls)

    def calls(self, method: str) -> list[Json]:
        """Return the arguments of every call of one method."""
        return [each["args"] for each in self.posts if each["method"] == method]

    def inject(
        self,
        method: str,
        fault: Fault,
        times: int | None = 1,
        probability: float = 1.0,
        rng: random.Random | None = None,
    ) -> None:
        """Fail the next `times` calls of a method (`*`: of any; None: without end), each with `probability`."""
        self.gate.faults.plan(method, fault, times, probability, rng)

    def clear_faults(self) -> None:
        """Forget all faults that are still planned."""
        self.gate.faults.clear()

    def enforce_rate(self, seconds: float = 1.0) -> None:
        """From now on answer 429 where one channel gets messages faster than one in `seconds` (real ones)."""
        self.gate.faults.enforces_rate, self.gate.faults.seconds_between_posts = True, seconds

    def revoke_token(self) -> None:
        """Answer `token_revoked` from now on, as after the app was removed."""
        self.gate.revoked = True

    def send_signed(self, body: bytes | str, headers: Mapping[str, str] | None = None) -> Ack:
        """POST a body to the app with a valid signature; `headers` overwrite, for replays and forgeries."""
        own = {"Content-Type": "application/x-www-form-urlencoded"}
        data = body.encode() if isinstance(body, str) else body
        return self.delivery.post_signed(data, own | dict(headers or {}))

    def verify_url(self) -> Ack:
        """Send `url_verification`, as Slack does when an app's address is set."""
        body = b'{"type":"url_verification","token":"stand-in","challenge":"say-this-back"}'
        return self.send_signed(body, {"Content-Type": "application/json"})

    def wait_for(self, question: Callable[[], Any], patience: float = 15.0) -> Any:
        """Ask after every change until the answer is true, and return it; raises TimeoutError after `patience`."""
        deadline = time.monotonic() + patience
        while True:
            # Asked without the lock: a question may itself call the Web API, which needs the lock in its own thread.
            if answer := question():
                return answer
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not within {patience} seconds")
            with self.state.changed:
                self.state.changed.wait(min(left, 0.05))

    def next_day(self) -> None:
        """Turn the pretend calendar, as the button does."""
        for hook in self.on_next_day:
            hook()
        with self.state.changing():
            pass

    def world_rows(self) -> list[Json]:
        """Return the rows of the panel beside the chat."""
        return list(self._world()) if self._world else []
