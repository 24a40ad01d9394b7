"""Events: somebody opens the Home tab, or writes to us. No answer ever depends on one; Slack may lose them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import directory, home, messages, offers, review_places, shortcuts
from bot.slack import Bot, Json, passes
from nhi import authority, overview
from nhi.errors import NotAllowed
from nhi.policy import Policy
from nhi.redact import holds_secret
from nhi.shadow import is_shadow
from nhi.tables import PersonRow
from nhi.words import sentence

ONCE_FOR = timedelta(hours=1)  # Slack sends an event again for minutes, never for an hour
WRITTEN = (None, "file_share", "thread_broadcast")  # subtypes of messages that a person has just written


def register(app: App, bot: Bot) -> None:
    """Listen for the two events that the app subscribes to."""
    listener = Events(bot=bot)
    app.event("app_home_opened")(listener.home_opened)
    app.event("message")(listener.message)


@dataclass(frozen=True, kw_only=True)
class Events:
    """What people do without pressing a button."""

    bot: Bot

    def home_opened(self, ack: Ack, event: Json) -> None:
        ack()
        if event.get("tab") == "home":
            self.bot.later(publish_home, self.bot, str(event["user"]))

    def message(self, ack: Ack, event: Json, body: Json) -> None:
        """Answer a direct message with one sentence; what it says is neither kept nor repeated."""
        written = _written(event) if event.get("channel_type") == "im" else None
        if written is None:
            ack()
            return
        with self.bot.writing() as session:
            name = f"event {body.get('event_id') or event.get('ts')}"
            is_first = passes(session, name, self.bot.clock(), ONCE_FOR, "Slack may send it again")
        ack()
        if is_first:
            who, text = written
            message = self._beware(who, text) if holds_secret(text) else messages.note(sentence("commands.hint"))
            self.bot.later(_say, self.bot, str(event["channel"]), message)

    def _beware(self, slack_id: str, text: str) -> messages.Message:
        """Warn of a pasted secret; of what it names and its sender may rotate, the cards to do so follow.

        Nothing of the text is kept or repeated: a credential is found by its public id, which is in our rows already.
        """
        with self.bot.writing() as session:
            return shortcuts.beware(session, slack_id, text, self.bot.policy(), self.bot.clock())


def _written(event: Json) -> tuple[str, str] | None:
    """Return who wrote what just now; None: nobody did, or they changed a message that holds no secret now either.

    Our own redraws are such changes too, and as many as there are answers: for those nothing is written down.
    """
    if event.get("subtype") == "message_changed":
        message = event.get("message") or {}
        text = _words_of(message)
        is_new = text != _words_of(event.get("previous_message") or {})
        return (str(message.get("user")), text) if is_new and not message.get("bot_id") and holds_secret(text) else None
    if event.get("subtype") not in WRITTEN or event.get("bot_id"):
        return None
    return str(event.get("user")), _words_of(event)


def _words_of(message: Json) -> str:
    """Return the words that a person gave a message, and its files: a key is downloaded under its id."""
    files = [each for each in message.get("files") or () if isinstance(each, dict)]
    words = [message.get("text"), *(each.get(name) for each in files for name in ("name", "title"))]
    return "\n".join(str(each) for each in words if each)


def _say(bot: Bot, channel: str, message: messages.Message) -> None:
    bot.client.chat_postMessage(
        channel=channel, text=message.text, blocks=message.blocks, unfurl_links=False, unfurl_media=False
    )


def publish_home(bot: Bot, slack_id: str) -> None:
    """Draw somebody's Home tab as things are now. Looks them up in Slack first where they are not known."""
    now, policy = bot.clock(), bot.policy()
    directory.refresh(bot.sessions, bot.client, [slack_id], now)
    with bot.writing() as session:
        view = _home_of(session, slack_id, policy, now)
    bot.client.views_publish(user_id=slack_id, view=view)


def _home_of(session: Session, slack_id: str, policy: Policy, now: datetime) -> Json:
    try:
        who = authority.person(session, slack_id)
    except NotAllowed:
        return home.home([], [], [], None)
    items, decided = offers.owned_by(session, who), offers.decided_by(session, who)
    asks = offers.asked_of(session, who, policy, now)
    view = home.home(items, asks.cards, decided, _admin(session, who, policy, now), waiting=asks.count)
    view["blocks"] = [*review_places.home_of(session, who, now), *view["blocks"]]
    return view


def _admin(session: Session, who: PersonRow, policy: Policy, now: datetime) -> Json | None:
    """Return what admins see above the rest; None: not an admin."""
    if not authority.is_admin(who, policy):
        return None
    shadow = is_shadow(session, policy)
    preview = (overview.last_preview(session) if shadow else None) or {}
    go = {"shadow": shadow, "preview": preview, "offer": "home" if shadow else None}
    return go | {"overview": overview.read(session, now)}
