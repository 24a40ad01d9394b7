"""What the rest of `bot` needs of Slack: its errors by kind, the gates that all workers keep, one sentence back.

A call to Slack ends in one of four ways besides success, and each has its own answer (the codes are those of Slack's
method pages): stop all sending and tell the admin; this person or channel is gone; our own bug; or wait and, because it
may have been done after all, look before trying again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http.client import HTTPException
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook import WebhookClient
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bot import messages
from bot.render import say
from bot.turns import Turns
from nhi.database import Sessions, reading
from nhi.defer import Defer
from nhi.policy import Policy
from nhi.tables import GateRow

Json = dict[str, Any]

log = logging.getLogger(__name__)

# Everything that a call to Slack can raise: an answer that says no, or no answer.
UNWELL = (SlackApiError, SlackClientError, HTTPException, OSError)
CALL_SECONDS = 10
ALL_SENDING = "slack"  # the gate before every post


class Kind(StrEnum):
    """What a failed call asks of us."""

    STOP = "stop"  # no call can work before a person mends it
    GONE = "gone"  # this person or channel cannot be reached
    OURS = "ours"  # Slack refuses what we made
    WAIT = "wait"  # later; what we asked may have been done


_KINDS = {
    Kind.STOP: """
        invalid_auth not_authed token_revoked token_expired account_inactive missing_scope not_allowed_token_type
        org_login_required team_access_not_granted access_denied no_permission
    """,
    Kind.GONE: """
        user_not_found users_not_found channel_not_found cannot_dm_bot user_disabled is_inactive is_archived
        not_in_channel user_not_visible restricted_action user_not_in_channel
    """,
    Kind.OURS: """
        invalid_blocks invalid_blocks_format msg_too_long msg_blocks_too_long no_text invalid_arguments invalid_args
        metadata_too_large invalid_metadata_format invalid_metadata_schema metadata_must_be_sent_from_app
        view_too_large unknown_method invalid_form_data invalid_json
        message_not_found cant_update_message edit_window_closed
    """,
}
_KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes.split()}
_UNDONE = frozenset(["ratelimited", "rate_limited"])


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One failed call. `code` is Slack's own, or the name of what went wrong on the way."""

    kind: Kind
    code: str
    retry_after: timedelta | None = None  # Slack says how long to wait; None: it does not
    surely_not_done: bool = False  # False: it may have been done all the same


def trouble(error: BaseException) -> Trouble:
    """Judge a failed call. `error` is one of UNWELL."""
    if not isinstance(error, SlackApiError):
        return Trouble(kind=Kind.WAIT, code=type(error).__name__)
    code, status = _code_of(error), getattr(error.response, "status_code", 200)
    if status == 429 or code in _UNDONE:
        return Trouble(kind=Kind.WAIT, code="ratelimited", retry_after=_retry_after(error), surely_not_done=True)
    if status >= 500:
        return Trouble(kind=Kind.WAIT, code=f"HTTP {status}")
    kind = _KIND_OF.get(code, Kind.WAIT)
    return Trouble(kind=kind, code=code, surely_not_done=kind is not Kind.WAIT)


def _code_of(error: SlackApiError) -> str:
    data = getattr(error.response, "data", error.response)
    return str(data.get("error", "unknown")) if isinstance(data, dict) else "unknown"


def _retry_after(error: SlackApiError) -> timedelta:
    headers = {str(name).lower(): str(value) for name, value in dict(error.response.headers).items()}
    seconds = headers.get("retry-after", "")
    return timedelta(seconds=min(int(seconds), 3600)) if seconds.isdecimal() else timedelta(seconds=30)


def is_hopeless(code: str | None) -> bool:
    """Whether a failed call cannot work however often it is tried: who should hear is gone, or it is a bug of ours."""
    return code is not None and _KIND_OF.get(code) in (Kind.GONE, Kind.OURS)


# -- gates -------------------------------------------------------------------------------------------------------------


def is_shut(session: Session, name: str, now: datetime) -> bool:
    """Whether nothing may pass this gate yet."""
    opens = session.scalar(select(GateRow.not_before).where(GateRow.name == name[:64]))
    return opens is not None and opens > now


def why_shut(session: Session, name: str, now: datetime) -> str | None:
    """Return why nothing may pass this gate yet; None: it is open."""
    query = select(GateRow.because).where(GateRow.name == name[:64], GateRow.not_before > now)
    return session.scalar(query)


def reopen_if_mended(sessions: Sessions, client: WebClient, now: datetime) -> None:
    """Let messages pass again where Slack had refused our token and takes it now: nobody need wait out the hour."""
    with reading(sessions) as session:
        because = why_shut(session, ALL_SENDING, now)
    if _KIND_OF.get(because or "") is not Kind.STOP:
        return
    try:
        client.auth_test()
    except UNWELL:
        return
    with sessions.begin() as session:
        session.execute(
            update(GateRow).where(GateRow.name == ALL_SENDING, GateRow.because == because).values(not_before=now)
        )


def shut(session: Session, name: str, until: datetime, because: str) -> None:
    """Let nobody pass this gate before then; a gate that is shut for longer stays so."""
    _upsert(session, name, until, because, until)


def passes(session: Session, name: str, now: datetime, shut_for: timedelta, because: str) -> bool:
    """Pass a gate and shut it behind oneself, in one statement: of two that try at once, one gets through."""
    return _upsert(session, name, now + shut_for, because, now)


def hold(session: Session, name: str, now: datetime, until: datetime, because: str) -> bool:
    """Take a gate for as long as a call may last, so that nobody else is inside; `release` lets the next one in."""
    return _upsert(session, name, until, because, now)


def release(session: Session, name: str, opens_at: datetime) -> None:
    """Let the next one pass the gate that we hold from then on."""
    session.execute(
        update(GateRow)
        .where(GateRow.name == name[:64])
        .values(not_before=opens_at)
        .execution_options(synchronize_session=False)
    )


def _upsert(session: Session, name: str, not_before: datetime, because: str, if_opens_by: datetime) -> bool:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    values = {"not_before": not_before, "because": because}
    statement = insert(GateRow).values(name=name[:64], **values)
    passed = statement.on_conflict_do_update(
        index_elements=[GateRow.name], set_=values, where=GateRow.not_before <= if_opens_by
    )
    return session.scalar(passed.returning(GateRow.name)) is not None


# -- what listeners share ----------------------------------------------------------------------------------------------


After = Callable[[], None]  # what follows a decision's commit: quick, and harmless if it is lost
Decide = Callable[[Session, Json], After]  # one use case on a click's body, in the session's transaction


@dataclass(frozen=True, kw_only=True)
class Bot:
    """What every listener is given: the database, the policy as it is now, the clock, and what to do after the ack."""

    sessions: Sessions
    policy: Callable[[], Policy]
    clock: Callable[[], datetime]
    defer: Defer
    client: WebClient
    later: Callable[..., None]  # later(function, *arguments): after the ack, in another thread
    redraw: Callable[[str], None]  # redraw(ask_id): every copy of its card, when acks leave time for it
    turns: Turns
    step_up_key: str | None = None  # NHI_STEP_UP_KEY; None: not set, so no code can be checked
    signs_in_at: str | None = None  # the address that a token makes a link of; None: no identity provider is named

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open the one transaction of a listener. Raises whatever the database does; then nothing was recorded."""
        with self.turns.writing() as session:
            yield session


def tell(bot: Bot, body: Json, message: messages.Message) -> None:
    """Answer the person of an interaction where only they see it; does nothing where Slack cannot be reached."""
    url, trigger_id = body.get("response_url"), body.get("trigger_id")
    if url:
        webhook = WebhookClient(url, timeout=CALL_SECONDS, retry_handlers=[])
        webhook.proxy = bot.client.proxy
        answer = webhook.send(
            text=message.text, blocks=message.blocks, response_type="ephemeral", replace_original=False
        )
        if answer.status_code != 200:
            log.warning("Slack did not take an answer: HTTP %s", answer.status_code)
    elif trigger_id and (body.get("view") or {}).get("type") == "modal":
        bot.client.views_push(trigger_id=trigger_id, view=one_sentence(message))
    elif trigger_id:
        bot.client.views_open(trigger_id=trigger_id, view=one_sentence(message))


def one_sentence(message: messages.Message) -> Json:
    """Return a modal that says one thing."""
    return {
        "type": "modal",
        "title": say("commands.modal_title").plain_text(24),
        "close": say("commands.modal_close").plain_text(24),
        "blocks": message.blocks,
    }
