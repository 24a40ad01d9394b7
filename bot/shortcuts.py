"""What starts from a message: "Whose is this?" on any, and a secret that somebody pasted to the bot."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import card, directory, messages, offers, whois
from bot.messages import Message
from bot.render import say
from bot.slack import UNWELL, Bot, Json, one_sentence, tell, trouble
from nhi import authority, facts
from nhi.database import reading
from nhi.errors import NhiError, NotAllowed
from nhi.policy import Policy
from nhi.records import storable
from nhi.redact import redact
from nhi.tables import PersonRow
from nhi.words import sentence

log = logging.getLogger(__name__)

WORDS = frozenset({"text", "title", "value", "fallback", "pretext", "footer", "author_name"})
DEPTH_AT_MOST = 12
TEXT_AT_MOST = 10_000  # of a message, that is looked through
QUERY_SHOWN = 60


def register(app: App, bot: Bot) -> None:
    """Listen for the shortcut."""
    app.shortcut("nhi:whose")(lambda ack, body: _whose(bot, ack, body))


def _whose(bot: Bot, ack: Ack, body: Json) -> None:
    """Show whose the identities are that a message names. Somebody we never met is looked up first, after the ack."""
    with reading(bot.sessions) as session:
        is_known = session.get(PersonRow, body["user"]["id"]) is not None
    if not is_known:
        ack()
        bot.later(_meet_and_open, bot, body)
        return
    message = _answer(bot, body)
    ack()
    bot.later(_open, bot, body, message)


def _meet_and_open(bot: Bot, body: Json) -> None:
    directory.refresh(bot.sessions, bot.client, [body["user"]["id"]], bot.clock())
    try:
        _open(bot, body, _answer(bot, body))
    except NhiError as error:
        tell(bot, body, messages.sorry(str(error)))


def _answer(bot: Bot, body: Json) -> Message:
    text = storable(words_of(body.get("message") or {}))[:TEXT_AT_MOST]
    with bot.writing() as session:
        try:
            who = authority.person(session, body["user"]["id"])
        except NotAllowed:
            raise NotAllowed(sentence("commands.members_only")) from None
        shown = _found(session, who, text, bot.policy(), bot.clock())
    return whois.whois(redact(text)[:QUERY_SHOWN], shown)


def words_of(message: Json) -> str:
    """Return everything that a message says: its text, and what stands in its blocks and attachments (as alerts do)."""
    parts = [message.get("text"), *_texts(message.get("blocks")), *_texts(message.get("attachments"))]
    return "\n".join(dict.fromkeys(part for part in parts if isinstance(part, str) and part))


def _texts(part: Any, depth: int = 0) -> Iterator[str]:
    """Yield the strings at any depth of blocks or attachments that are words, not addresses or ids of ours."""
    if isinstance(part, list) and depth < DEPTH_AT_MOST:
        for one in part:
            yield from _texts(one, depth + 1)
    elif isinstance(part, dict) and depth < DEPTH_AT_MOST:
        for name, value in part.items():
            if isinstance(value, str) and name in WORDS:
                yield value
            yield from _texts(value, depth + 1)


def _open(bot: Bot, body: Json, message: Message) -> None:
    """Show it in a form; where that comes too late for Slack, as a message that only its reader sees."""
    try:
        bot.client.views_open(trigger_id=body["trigger_id"], view=one_sentence(message))
    except UNWELL as error:
        log.warning("a form could not be opened: %s", trouble(error).code)
        tell(bot, body, message)


def _found(session: Session, who: PersonRow, text: str, policy: Policy, now: datetime) -> list[tuple[Json, str | None]]:
    """Return the identities that a text names, the first ones with the buttons that this person may press."""
    found: list[tuple[Json, str | None]] = []
    for number, match in enumerate(facts.whois(session, text, policy, now)):
        if number < whois.IN_FULL:
            found.append(offers.of_match(session, who, match, _in_full, policy, now))
        else:
            found.append((match | {"can": []}, None))
    return found


def _in_full(shown: Json, offer_id: str | None) -> messages.Blocks:
    return [*whois.full(shown), *card.buttons(shown, offer_id)]


def beware(session: Session, slack_id: str, text: str, policy: Policy, now: datetime) -> Message:
    """Return the warning after a pasted secret, with the cards of what it names that its sender may have rotated."""
    try:
        who = authority.person(session, slack_id)
    except NotAllowed:
        return _warned([])
    found = _found(session, who, storable(text)[:TEXT_AT_MOST], policy, now)[: whois.IN_FULL]
    return _warned([(shown, offer_id) for shown, offer_id in found if offer_id and "rotate" in shown["can"]])


def _warned(cards: list[tuple[Json, str | None]]) -> Message:
    said = say("home.beware", count=len(cards))
    blocks: messages.Blocks = [said.rich()]
    for shown, offer_id in cards:
        blocks += [{"type": "divider"}, *_in_full(shown, offer_id)]
    return Message(blocks=blocks, text=said.spoken())
