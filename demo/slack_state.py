"""What the stand-in workspace knows: people, channels, messages, open modals, home tabs, triggers and response URLs.

Everything here is plain data behind one lock. It neither sends nor receives; see slack_api and slack_hands for that.
"""

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Json = dict[str, Any]

TEAM_ID = "T0STANDIN"
APP_ID = "A0STANDIN"
BOT_USER_ID = "U0BOT"
BOT_ID = "B0BOT"
TRIGGER_LIVES_SECONDS = 3.0
RESPONSE_URL_LIVES = timedelta(minutes=30)
RESPONSE_URL_USES = 5
MODALS_AT_MOST = 3


class RefusalError(Exception):
    """The Web API's answer `ok: false` with an error code, and with sentences where Slack gives any."""

    def __init__(self, code: str, *messages: str) -> None:
        super().__init__(code)
        self.code = code
        self.messages = messages


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody in the workspace. `name` is the handle that tests use: `workspace.as_("ana")`."""

    name: str
    real_name: str
    email: str | None = None
    id: str = ""  # empty: made from the name
    title: str = ""
    tz: str = "UTC"
    is_admin: bool = False
    is_bot: bool = False
    deleted: bool = False
    is_restricted: bool = False
    is_ultra_restricted: bool = False
    is_stranger: bool = False
    team_id: str = TEAM_ID

    @property
    def user_id(self) -> str:
        """Return the Slack id, `U` and the upper-case name unless one was given."""
        return self.id or "U" + "".join(each for each in self.name.upper() if each.isalnum())

    def as_user(self, now: datetime) -> Json:
        """Return the user object that users.info and users.list answer."""
        offset = now.astimezone(ZoneInfo(self.tz)).utcoffset() or timedelta()
        profile = {"real_name": self.real_name, "display_name": self.name, "title": self.title}
        if self.email and not self.is_bot:
            profile["email"] = self.email
        flags = {} if self.deleted else {"is_admin": self.is_admin, "is_owner": False, "is_primary_owner": False}
        return flags | {
            "id": self.user_id,
            "team_id": self.team_id,
            "name": self.name,
            "real_name": self.real_name,
            "deleted": self.deleted,
            "tz": self.tz,
            "tz_offset": int(offset.total_seconds()),
            "is_bot": self.is_bot,
            "is_app_user": False,
            "is_restricted": self.is_restricted,
            "is_ultra_restricted": self.is_ultra_restricted,
            "is_stranger": self.is_stranger,
            "profile": profile,
            "updated": 0,
        }


@dataclass(kw_only=True)
class Message:
    """One message. `visible_to` is the one person who sees an ephemeral message; None means everybody."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[Json] = field(default_factory=list)
    metadata: Json | None = None
    visible_to: str | None = None
    thread_ts: str | None = None
    edited_ts: str | None = None
    failed: str = ""  # what went wrong when somebody last pressed a button here, for the page to show

    def as_json(self, with_metadata: bool = True) -> Json:
        """Return the message object that conversations.history and payloads carry."""
        body: Json = {"type": "message", "user": self.user, "text": self.text, "ts": self.ts, "team": TEAM_ID}
        if self.user == BOT_USER_ID:
            body |= {"bot_id": BOT_ID, "app_id": APP_ID}
        if self.blocks:
            body["blocks"] = self.blocks
        if self.metadata and with_metadata:
            body["metadata"] = self.metadata
        if self.edited_ts:
            body["edited"] = {"user": self.user, "ts": self.edited_ts}
        if self.thread_ts:
            body["thread_ts"] = self.thread_ts
        return body


@dataclass(kw_only=True)
class Channel:
    """A conversation. `with_user` names the person of a direct message with the bot; None for a named channel."""

    id: str
    name: str
    with_user: str | None = None
    bot_is_member: bool = True
    is_private: bool = False
    is_archived: bool = False
    messages: list[Message] = field(default_factory=list)

    def as_json(self) -> Json:
        """Return the channel object that conversations.list and conversations.info answer."""
        common = {"id": self.id, "created": 0, "is_archived": self.is_archived}
        if self.with_user:
            return common | {"is_im": True, "user": self.with_user, "is_user_deleted": False}
        kind = {"is_channel": not self.is_private, "is_group": self.is_private, "is_private": self.is_private}
        return common | kind | {"is_im": False, "name": self.name, "is_member": self.bot_is_member}


@dataclass(kw_only=True)
class View:
    """One modal or home tab, as its person sees it."""

    id: str
    user: str
    body: Json  # what the app sent, with block and action ids filled in
    hash: str
    root_id: str
    previous_id: str | None = None
    errors: dict[str, str] = field(default_factory=dict)
    failed: str = ""

    def as_json(self, values: Json | None = None) -> Json:
        """Return the view object that views.* answer and that payloads carry."""
        body = {
            "callback_id": "",
            "external_id": "",
            "private_metadata": "",
            "title": None,
            "submit": None,
            "close": None,
        }
        return body | {"clear_on_close": False, "notify_on_close": False} | self.body | {
            "id": self.id,
            "team_id": TEAM_ID,
            "app_id": APP_ID,
            "bot_id": BOT_ID,
            "app_installed_team_id": TEAM_ID,
            "hash": self.hash,
            "root_view_id": self.root_id,
            "previous_view_id": self.previous_id,
            "state": {"values": values or {}},
        }  # fmt: skip


@dataclass(kw_only=True)
class Trigger:
    """The short-lived right to open a modal for somebody."""

    user: str
    expires: float  # on the monotonic clock: three real seconds, however fast the pretend calendar turns
    from_modal: bool
    used: bool = False


@dataclass(kw_only=True)
class ResponseUrl:
    """The right to answer an interaction five times within half an hour."""

    channel: str
    user: str
    expires_at: datetime
    message: Message | None = None  # what replace_original and delete_original mean
    uses: int = 0


class State:
    """All that the workspace remembers. Hold `lock` to read several things or to change one, then call `touch`."""

    def __init__(
        self, people: Sequence[Person], channels: Sequence[str | Channel], now: Callable[[], datetime], bot_name: str
    ) -> None:
        self.now = now
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.version = time.time_ns() // 1_000_000  # so that a page of an earlier run cannot mistake ours for its own
        bot = Person(name=bot_name, real_name=bot_name, id=BOT_USER_ID, is_bot=True)
        self.people = {person.user_id: person for person in (*people, bot)}
        self.channels: dict[str, Channel] = {}
        for each in channels:
            channel = each if isinstance(each, Channel) else Channel(id="C" + each.upper().replace("-", ""), name=each)
            self.channels[channel.id] = channel
        self.modals: dict[str, list[View]] = {}
        self.homes: dict[str, View] = {}
        self.triggers: dict[str, Trigger] = {}
        self.response_urls: dict[str, ResponseUrl] = {}
        self.files: dict[str, Any] = {}  # demo.slack_files.File by id
        self.reads: dict[tuple[str, str], str] = {}  # (person, channel) -> ts of the last message read
        self.chosen: dict[tuple[str, str], Json] = {}  # (person, message ts or view id) -> state.values
        self._last_ts = 0
        self._serial = itertools.count(1)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock for a change, and wake whoever waits for one."""
        with self.lock:
            yield
            self.version += 1
            self.changed.notify_all()

    def next_ts(self) -> str:
        """Return a message's time and identity: by the pretend clock, unique, and later than every one before."""
        self._last_ts = max(int(self.now().timestamp() * 1_000_000), self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def next_id(self, prefix: str) -> str:
        """Return a new id with Slack's prefix for its kind."""
        return f"{prefix}{next(self._serial):08d}"

    def person(self, name_or_id: str) -> Person:
        """Return a person by handle or id; raises KeyError for a stranger."""
        for person in self.people.values():
            if name_or_id in (person.name, person.user_id):
                return person
        raise KeyError(f"nobody in the workspace is called {name_or_id}")

    def direct_message(self, user_id: str) -> Channel:
        """Return the conversation between a person and the bot, new if they never talked."""
        channel_id = "D" + user_id[1:]
        return self.channels.setdefault(channel_id, Channel(id=channel_id, name="directmessage", with_user=user_id))

    def channel(self, reference: str) -> Channel | None:
        """Return a channel by id or `#name`, or the direct message with a user id; None where there is none."""
        if reference in self.channels:
            return self.channels[reference]
        if reference in self.people and reference != BOT_USER_ID:
            return self.direct_message(reference)
        return next(
            (each for each in self.channels.values() if each.name == reference.lstrip("#") and not each.with_user), None
        )

    def message(self, channel_id: str, ts: str) -> Message | None:
        """Return a message by channel and ts, ephemeral ones included."""
        channel = self.channels.get(channel_id)
        return next((each for each in channel.messages if each.ts == ts), None) if channel else None

    def view(self, view_id: str) -> View | None:
        """Return an open modal or a home tab by id."""
        stacks = [view for stack in self.modals.values() for view in stack]
        return next((view for view in (*stacks, *self.homes.values()) if view.id == view_id), None)

    def new_trigger(self, user_id: str, from_modal: bool = False) -> str:
        """Return a trigger id that opens one modal within three real seconds."""
        name = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        expires = time.monotonic() + TRIGGER_LIVES_SECONDS
        self.triggers[name] = Trigger(user=user_id, expires=expires, from_modal=from_modal)
        return name

    def use_trigger(self, name: object) -> Trigger:
        """Spend a trigger id; raises RefusalError where it is unknown, spent or older than three seconds."""
        trigger = self.triggers.get(str(name))
        if trigger is None:
            raise RefusalError("invalid_trigger_id")
        if trigger.used:
            raise RefusalError("exchanged_trigger_id")
        if time.monotonic() > trigger.expires:
            raise RefusalError("expired_trigger_id")
        trigger.used = True
        return trigger

    def new_response_url(self, channel_id: str, user_id: str, message: Message | None) -> str:
        """Return the secret part of a response_url."""
        name = secrets.token_urlsafe(24)
        expires_at = self.now() + RESPONSE_URL_LIVES
        self.response_urls[name] = ResponseUrl(channel=channel_id, user=user_id, expires_at=expires_at, message=message)
        return name

    def with_ids(self, blocks: list[Json]) -> list[Json]:
        """Return copies of blocks with the block and action ids that Slack makes up where the app gave none."""
        return [self._with_ids(block) for block in blocks]

    def _with_ids(self, block: Json) -> Json:
        filled: Json = {"block_id": secrets.token_urlsafe(4)} | block
        for place in ("accessory", "element"):
            if place in filled:
                filled[place] = self._with_action_id(filled[place])
        if filled["type"] == "actions":
            filled["elements"] = [self._with_action_id(each) for each in filled["elements"]]
        return filled

    @staticmethod
    def _with_action_id(element: Json) -> Json:
        return element if element["type"] == "image" else {"action_id": secrets.token_urlsafe(4)} | element


def real_now() -> datetime:
    """Return the time of day, for a workspace that shares nobody's pretend clock."""
    return datetime.now(UTC)
