"""Errors become answers: what a person sees when a listener, or the deciding of a click, raises."""

from __future__ import annotations

import logging
from datetime import datetime

from slack_bolt import BoltResponse
from slack_bolt.error import BoltUnhandledRequestError
from sqlalchemy.orm import Session

from bot import delivery, directory, freshen, messages, metrics
from bot.slack import Bot, Json, one_sentence, tell
from nhi.database import reading
from nhi.errors import NhiError, NotAllowed, OutOfDate
from nhi.tables import PersonRow, new_id
from nhi.words import sentence

log = logging.getLogger(__name__)


class Refusals:
    """What a person sees when a listener raises, or what they pressed cannot be decided."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def answer(self, error: Exception, body: Json) -> BoltResponse:
        if isinstance(error, BoltUnhandledRequestError):
            error = OutOfDate(sentence("refusals.out_of_date"))
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

    def write(self, error: Exception, body: Json, session: Session, now: datetime) -> None:
        """Let the outbox say it to them: what Slack gave to answer a click with is over."""
        said = str(error) if isinstance(error, NhiError) else _broke(error, body)
        metrics.REFUSALS.labels(reason=type(error).__name__).inc()
        delivery.queue(session, "notice", str(body["user"]["id"]), {"sentence": said}, [], now)

    def _break(self, error: Exception, body: Json) -> BoltResponse:
        """Answer 500, so that Slack says truly that it failed; the person also gets an id that is in the log."""
        said = messages.sorry(_broke(error, body))
        if _kind(body) == "command":
            return BoltResponse(status=200, body=ephemeral(said))
        if _kind(body) == "block_actions":
            self._bot.later(tell, self._bot, body, said)
        return BoltResponse(status=500, body="")


def _broke(error: Exception, body: Json) -> str:
    """Log it under a number, and return the sentence that tells the number."""
    number = new_id()[:8]
    log.error("error %s in a %s", number, _kind(body), exc_info=error)
    return sentence("commands.broke", number=number)


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
