"""What starts from a message: "Whose is this?" on any, and a secret that somebody pasted to the bot."""

from __future__ import annotations

from datetime import datetime

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import card, messages, offers, whois
from bot.messages import Message
from bot.render import say
from bot.slack import Bot, Json, one_sentence
from nhi import authority, facts
from nhi.errors import NotAllowed
from nhi.policy import Policy
from nhi.records import storable
from nhi.redact import redact
from nhi.tables import PersonRow

TEXT_AT_MOST = 10_000  # of a message, that is looked through
QUERY_SHOWN = 60


def register(app: App, bot: Bot) -> None:
    """Listen for the shortcut."""
    app.shortcut("nhi:whose")(lambda ack, body: _whose(bot, ack, body))


def _whose(bot: Bot, ack: Ack, body: Json) -> None:
    text = storable(str((body.get("message") or {}).get("text") or ""))[:TEXT_AT_MOST]
    with bot.writing() as session:
        who = authority.person(session, body["user"]["id"])
        shown = _found(session, who, text, bot.policy(), bot.clock())
        message = whois.whois(redact(text)[:QUERY_SHOWN], shown)
    ack()
    bot.later(_open, bot, body, message)


def _open(bot: Bot, body: Json, message: Message) -> None:
    bot.client.views_open(trigger_id=body["trigger_id"], view=one_sentence(message))


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
