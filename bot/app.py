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
from urllib.parse import urlsplit

from slack_bolt import App, BoltContext, BoltRequest, BoltResponse
from slack_bolt.logger.messages import warning_client_prioritized_and_token_skipped
from slack_bolt.middleware import Middleware
from slack_sdk import WebClient

from bot import (
    actions,
    clicks,
    commands,
    delivery,
    events,
    grouping,
    handover,
    review,
    second,
    shortcuts,
)
from bot.after import AfterAck, Completed, Started
from bot.clicks import Ours
from bot.inbox import Inbox
from bot.refusals import Refusals
from bot.sign_in import PREFIX
from bot.slack import CALL_SECONDS, UNWELL, Bot, Decide, Json, Kind, reopen_if_mended, trouble
from bot.turns import Together, Turns
from nhi import oidc
from nhi.database import Sessions
from nhi.defer import Defer
from nhi.errors import SettingsError
from nhi.policy import Policy
from nhi.redact import redact
from nhi.settings import Settings
from nhi.words import speak

log = logging.getLogger(__name__)

SIGNATURE_SECONDS = 300  # a signed request is good for so long, by Slack's own rule


def build_app(
    settings: Settings,
    sessions: Sessions,
    policy_loader: Callable[[], Policy],
    clock: Callable[[], datetime],
    defer: Defer,
) -> Slackbot:
    """Return the app, with every listener in place.

    Raises SettingsError where a token is missing or Slack refuses it. A Slack that cannot be reached is no error: the
    app starts, and `/readyz` says so until it can.
    """
    keep_secrets_out_of_logs()
    client = _client(settings)
    ours = Ours(client)
    known = _is_known(ours)
    if known:
        reopen_if_mended(sessions, client, clock())
    signs_in = oidc.client_of(settings)
    after, turns = AfterAck(), Turns(sessions)
    together = Together(sessions, turns)
    app = Slackbot(
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
        after.redraw(ask_id, lambda: delivery.drain(together, client, policy_loader(), clock, only_ask=ask_id))

    bot = Bot(
        sessions=together,
        policy=policy_loader,
        clock=clock,
        defer=defer,
        client=client,
        later=after.later,
        redraw=redraw,
        turns=turns,
        step_up_key=settings.nhi_step_up_key.get_secret_value() if settings.nhi_step_up_key else None,
        signs_in_at=f"{signs_in.public_url}{PREFIX}" if signs_in else None,
    )
    app.listener_runner.listener_start_handler = Started(after)
    app.listener_runner.listener_completion_handler = Completed(after)
    app.middleware(_in_policys_language(policy_loader))
    app.middleware(_only_ours)
    refusals = Refusals(bot)
    app.error(refusals.answer)
    app.inbox = Inbox(bot, use_cases(bot), refusals, ours, after)
    for action in app.inbox.actions:
        app.action(action)(app.inbox.listen)
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


def use_cases(bot: Bot) -> dict[str, Decide]:
    """Return the use case behind each button that only decides, by its action id: what the inbox takes."""
    modules = (actions, grouping, handover, review, second)
    return {name: use_case for module in modules for name, use_case in module.deciding(bot).items()}


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


def _is_known(ours: Ours) -> bool:
    """Whether Slack knows our token. Raises SettingsError where it says that it does not."""
    try:
        ours.learn()
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


class Slackbot(App):
    """Bolt's app, and the inbox that its clicks go into."""

    inbox: Inbox


class _Signed(Middleware):
    """Lets through what Slack signed; Socket Mode needs no signature, its connection is authenticated.

    `secret` None: the app is reached by Socket Mode alone, and no HTTP request is let through.
    """

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def process(self, *, req: BoltRequest, resp: BoltResponse, next: Callable[[], BoltResponse]) -> BoltResponse:  # noqa: A002
        if req.mode != "socket_mode" and not self._is_signed(req):
            return BoltResponse(status=401, body="invalid signature")
        if not clicks.is_sound(req.body):
            return BoltResponse(status=400, body="not a request of Slack's")
        return next()

    def _is_signed(self, req: BoltRequest) -> bool:
        timestamp = str(req.headers.get("x-slack-request-timestamp", [""])[0])
        signature = str(req.headers.get("x-slack-signature", [""])[0])
        body = req.raw_body.encode("utf-8", "replace")
        return self._secret is not None and is_signed(self._secret, body, timestamp, signature, time.time())


# -- who may knock -----------------------------------------------------------------------------------------------------


def _only_ours(body: Json, context: BoltContext, next: Callable[[], None]) -> None:  # noqa: A002  Bolt's own name
    """Refuse people of other workspaces. The payload's team is compared to the one that our token is of."""
    ours = context.authorize_result
    if ours is not None:
        clicks.refuse_others(body, ours.team_id, ours.enterprise_id)
    next()


def _in_policys_language(policy: Callable[[], Policy]) -> Callable[..., None]:
    """Return the middleware after which everything in this request is said in policy's language."""

    def listen(next: Callable[[], None]) -> None:  # noqa: A002  Bolt's own name
        speak(policy().conversation.language)
        next()

    return listen


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
