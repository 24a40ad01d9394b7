"""The Slack app: the one place that constructs Bolt, and the one that turns errors into answers."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from slack_bolt import App, BoltContext, BoltRequest, BoltResponse
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.logger.messages import warning_client_prioritized_and_token_skipped
from slack_bolt.middleware import Middleware
from slack_sdk import WebClient

from bot import (
    actions,
    commands,
    delivery,
    directory,
    events,
    freshen,
    grouping,
    handover,
    messages,
    metrics,
    review,
    second,
    shortcuts,
)
from bot.after import AfterAck, Completed, Started
from bot.render import sentence, speak
from bot.sign_in import PREFIX
from bot.slack import CALL_SECONDS, UNWELL, Bot, Json, Kind, one_sentence, reopen_if_mended, tell, trouble
from bot.turns import Turns
from nhi import oidc
from nhi.database import Sessions, reading
from nhi.defer import Defer
from nhi.errors import NhiError, NotAllowed, OutOfDate, SettingsError
from nhi.policy import Policy
from nhi.redact import redact
from nhi.settings import Settings
from nhi.tables import PersonRow, new_id

log = logging.getLogger(__name__)

SIGNATURE_SECONDS = 300  # a signed request is good for so long, by Slack's own rule


def build_app(
    settings: Settings,
    sessions: Sessions,
    policy_loader: Callable[[], Policy],
    clock: Callable[[], datetime],
    defer: Defer,
) -> App:
    """Return the app, with every listener in place.

    Raises SettingsError where a token is missing or Slack refuses it. A Slack that cannot be reached is no error: the
    app starts, and `/readyz` says so until it can.
    """
    keep_secrets_out_of_logs()
    client = _client(settings)
    known = _is_known(client)
    if known:
        reopen_if_mended(sessions, client, clock())
    signs_in = oidc.client_of(settings)
    after = AfterAck()
    app = App(
        name="nhi",
        logger=_bolts_logger(),
        client=client,
        token_verification_enabled=known,
        # Ours does what Bolt's does, and answers 401 where Bolt's raises or logs the body.
        request_verification_enabled=False,
        ssl_check_enabled=False,
        before_authorize=_Signed(None if settings.socket_mode else settings.signing_secret()),
        # A listener runs in the thread that took the request and its ack is the answer; events too are only
        # acknowledged once they are dealt with, so a crash makes Slack send them again.
        process_before_response=True,
        listener_executor=after,
        raise_error_for_unhandled_request=True,
    )

    def redraw(ask_id: str) -> None:
        after.redraw(ask_id, lambda: delivery.drain(sessions, client, policy_loader(), clock, only_ask=ask_id))

    bot = Bot(
        sessions=sessions,
        policy=policy_loader,
        clock=clock,
        defer=defer,
        client=client,
        later=after.later,
        redraw=redraw,
        turns=Turns(sessions),
        step_up_key=settings.nhi_step_up_key.get_secret_value() if settings.nhi_step_up_key else None,
        signs_in_at=f"{signs_in.public_url}{PREFIX}" if signs_in else None,
    )
    app.listener_runner.listener_start_handler = Started(after)
    app.listener_runner.listener_completion_handler = Completed(after)
    app.middleware(_in_policys_language(policy_loader))
    app.middleware(_only_ours)
    app.error(_Errors(bot).answer)
    actions.register(app, bot)
    grouping.register(app, bot)
    handover.register(app, bot)
    commands.register(app, bot)
    events.register(app, bot)
    review.register(app, bot)
    second.register(app, bot)
    app.action("nhi:sign_in")(lambda ack: ack())  # Slack opens the link, and tells of it
    shortcuts.register(app, bot)
    return app


def _client(settings: Settings) -> WebClient:
    """Return the one client: it retries nothing, since a call that was sent twice posts twice."""
    client = WebClient(
        token=settings.bot_token(),
        base_url=settings.slack_api_url,
        timeout=CALL_SECONDS,
        retry_handlers=[],
        logger=_quiet("bot.web"),
    )
    if urllib.request.proxy_bypass(urlsplit(settings.slack_api_url).hostname or ""):
        client.proxy = None
    return client


def _is_known(client: WebClient) -> bool:
    """Whether Slack knows our token. Raises SettingsError where it says that it does not."""
    try:
        client.auth_test()
    except UNWELL as error:
        what = trouble(error)
        if what.kind is Kind.STOP:
            raise SettingsError(
                f"SLACK_BOT_TOKEN is refused by Slack ({what.code}): copy it anew from your Slack app's page"
            ) from None
        log.warning("Slack cannot be reached (%s); the app starts all the same", what.code)
        return False
    return True


def _quiet(name: str) -> logging.Logger:
    """Return a logger for a library that would log bodies at lower levels, whatever the root logger wants."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.WARNING)
    return logger


def _bolts_logger() -> logging.Logger:
    """Return Bolt's logger, without its warning that a client beats the token which it found in the environment."""
    logger = _quiet("bot.bolt")
    logger.addFilter(_is_news)
    return logger


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != warning_client_prioritized_and_token_skipped()


# -- signatures --------------------------------------------------------------------------------------------------------


def is_signed(secret: str, body: bytes, timestamp: str, signature: str, now: float) -> bool:
    """Whether Slack signed this body within the last five minutes. Never raises, whatever the headers hold."""
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > SIGNATURE_SECONDS:
        return False
    base = b"v0:" + timestamp.encode() + b":" + body
    expected = "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


class _Signed(Middleware):
    """Lets through what Slack signed; Socket Mode needs no signature, its connection is authenticated.

    `secret` None: the app is reached by Socket Mode alone, and no HTTP request is let through.
    """

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def process(self, *, req: BoltRequest, resp: BoltResponse, next: Callable[[], BoltResponse]) -> BoltResponse:  # noqa: A002
        if req.mode != "socket_mode" and not self._is_signed(req):
            return BoltResponse(status=401, body="invalid signature")
        if not _is_sound(req.body):
            return BoltResponse(status=400, body="not a request of Slack's")
        return next()

    def _is_signed(self, req: BoltRequest) -> bool:
        timestamp = str(req.headers.get("x-slack-request-timestamp", [""])[0])
        signature = str(req.headers.get("x-slack-signature", [""])[0])
        body = req.raw_body.encode("utf-8", "replace")
        return self._secret is not None and is_signed(self._secret, body, timestamp, signature, time.time())


def _is_sound(body: Json) -> bool:
    """Whether the parts that Bolt and we look into have the shapes that Slack gives them."""
    parts = [body.get(name) for name in ("event", "view", "container", "channel", "message")]
    actions_taken = body.get("actions", [])
    return (
        all(part is None or isinstance(part, dict) for part in parts)
        and isinstance(body.get("user"), dict | str | None)
        and isinstance(actions_taken, list)
        and all(isinstance(action, dict) for action in actions_taken)
    )


# -- who may knock -----------------------------------------------------------------------------------------------------


def _only_ours(body: Json, context: BoltContext, next: Callable[[], None]) -> None:  # noqa: A002  Bolt's own name
    """Refuse people of other workspaces. The payload's team is compared to the one that our token is of."""
    ours = context.authorize_result
    if ours is not None and ours.enterprise_id is None and _teams(body) - {ours.team_id}:
        raise NotAllowed(sentence("commands.not_ours"))
    next()


def _in_policys_language(policy: Callable[[], Policy]) -> Callable[..., None]:
    """Return the middleware after which everything in this request is said in policy's language."""

    def listen(next: Callable[[], None]) -> None:  # noqa: A002  Bolt's own name
        speak(policy().conversation.language)
        next()

    return listen


def _teams(body: Json) -> set[str]:
    """Return every workspace that a payload says its person is of. (In an organisation, one person has several.)"""
    places = [body.get("user"), body.get("team"), body.get("event")]
    named: list[Any] = [body.get("team_id")]
    for place in places:
        if isinstance(place, dict):
            named += [place.get("team_id"), place.get("user_team")]
    team = body.get("team")
    named.append(team.get("id") if isinstance(team, dict) else team)
    return {name for name in named if isinstance(name, str)}


# -- errors become answers ---------------------------------------------------------------------------------------------


class _Errors:
    """What a person sees when a listener raises."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def answer(self, error: Exception, body: Json) -> BoltResponse:
        if isinstance(error, BoltUnhandledRequestError):
            error = OutOfDate(sentence("commands.out_of_date"))
        if isinstance(error, NhiError):
            return self._refuse(error, body)
        return self._break(error, body)

    def _refuse(self, error: NhiError, body: Json) -> BoltResponse:
        metrics.REFUSALS.labels(reason=type(error).__name__).inc()
        said = messages.sorry(str(error))
        if isinstance(error, NotAllowed):
            self._bot.later(_get_to_know, self._bot, body)
        match _kind(body):
            case "command":
                return BoltResponse(status=200, body=ephemeral(said))
            case "view_submission":
                return BoltResponse(status=200, body={"response_action": "update", "view": one_sentence(said)})
            case "block_actions" if isinstance(error, OutOfDate):
                self._bot.later(freshen.answer, self._bot, body, str(error))
            case "block_actions" | "message_action" | "shortcut":
                self._bot.later(tell, self._bot, body, said)
            case _:
                pass  # an event: there is nobody to tell
        return BoltResponse(status=200, body="")

    def _break(self, error: Exception, body: Json) -> BoltResponse:
        """Answer 500, so that Slack says truly that it failed; the person also gets an id that is in the log."""
        error_id = new_id()[:8]
        log.error("error %s in a %s", error_id, _kind(body), exc_info=error)
        said = messages.sorry(sentence("commands.broke", number=error_id))
        if _kind(body) == "command":
            return BoltResponse(status=200, body=ephemeral(said))
        if _kind(body) == "block_actions":
            self._bot.later(tell, self._bot, body, said)
        return BoltResponse(status=500, body="")


def ephemeral(message: messages.Message) -> Json:
    """Return the answer to a command that only its sender sees."""
    return {"response_type": "ephemeral", "text": message.text, "blocks": message.blocks}


def _kind(body: Json) -> str:
    return "command" if "command" in body else str(body.get("type"))


def _get_to_know(bot: Bot, body: Json) -> None:
    """Look a stranger to us up, so that an admin who was never asked anything is known at the next press."""
    user = body.get("user")
    slack_id = user.get("id") if isinstance(user, dict) else body.get("user_id")
    if not isinstance(slack_id, str):
        return
    with reading(bot.sessions) as session:
        known = session.get(PersonRow, slack_id) is not None
    if not known:
        directory.refresh(bot.sessions, bot.client, [slack_id], bot.clock())


# -- logs --------------------------------------------------------------------------------------------------------------


class Redacting(logging.Filter):
    """Takes everything that looks like a secret out of a record, its traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


def keep_secrets_out_of_logs() -> None:
    """Put the filter before every handler of the root logger; a second time does nothing."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, Redacting) for each in handler.filters):
            handler.addFilter(Redacting())
