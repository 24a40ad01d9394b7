"""The gate of the Web API: checks the token, plays the planned fault, calls the method, and keeps a log of it all."""

import threading
from dataclasses import dataclass, field

from demo.slack_api import decode
from demo.slack_faults import Fault, Faults, answer_of
from demo.slack_files import get_upload_url
from demo.slack_socket import Links
from demo.slack_state import APP_ID, Json, RefusalError, State
from demo.slack_views import ALL_METHODS


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the HTTP server sends back; with `status` None it drops the connection instead."""

    status: int | None = 200
    body: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The two tokens that an app holds."""

    bot: str
    app: str


class Gate:
    """Answers one Web API call at a time. `calls` is the log: method, arguments, and the answer given or None."""

    def __init__(self, state: State, links: Links, tokens: Tokens) -> None:
        self.state = state
        self.links = links
        self.tokens = tokens
        self.faults = Faults()
        self.revoked = False
        self.stopping = threading.Event()  # ends what hangs on purpose
        self.socket_url = ""
        self.web_url = ""  # where files are uploaded to
        self.calls: list[Json] = []

    def call(self, method: str, args: Json, token: str) -> Reply:
        """Answer one call as Slack would, or as the planned fault has it."""
        args = decode(args)
        fault = self.faults.next(method) or self.faults.refuse_haste(method, args.get("channel"))
        entry: Json = {"method": method, "args": args, "response": None, "at": self.state.now()}
        self.calls.append(entry)
        if fault is None:
            entry["response"] = self._act(method, args, token)
            return Reply(body=entry["response"])
        return self._fail(fault, entry, token)

    def _fail(self, fault: Fault, entry: Json, token: str) -> Reply:
        done = self._act(entry["method"], entry["args"], token) if fault.acts else {}
        if fault.seconds:
            self.stopping.wait(fault.seconds)
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        entry["response"] = None if fault.status is None else fault.body or done
        return Reply(status=fault.status, body=fault.body or done, headers=headers)

    def _act(self, method: str, args: Json, token: str) -> Json:
        try:
            self._check_token(method, token)
            if method == "apps.connections.open":
                return {"ok": True, "url": f"{self.socket_url}?ticket={self.links.new_ticket()}&app_id={APP_ID}"}
            if method == "files.getUploadURLExternal":
                with self.state.changing():
                    return {"ok": True, **get_upload_url(lambda: self.web_url)(self.state, args)}
            if method not in ALL_METHODS:
                raise RefusalError("unknown_method", f"[ERROR] the stand-in has no {method}")
            with self.state.changing():
                return {"ok": True, **ALL_METHODS[method](self.state, args)}
        except RefusalError as refused:
            return answer_of(refused)

    def _check_token(self, method: str, token: str) -> None:
        wanted = self.tokens.app if method == "apps.connections.open" else self.tokens.bot
        if method == "api.test":
            return
        if not token:
            raise RefusalError("not_authed")
        if token not in (self.tokens.bot, self.tokens.app):
            raise RefusalError("invalid_auth")
        if self.revoked:
            raise RefusalError("token_revoked")
        if token != wanted:
            raise RefusalError("not_allowed_token_type")
