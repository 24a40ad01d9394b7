"""A person in the stand-in workspace, driven from a test: `workspace.as_("ana").click(message, "Disable")`.

Everything goes through the same code as the page, so a test that drives an actor proves what a visitor would see.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from demo.slack_hands import Outcome
from demo.slack_rules import elements_of
from demo.slack_state import Channel, Json, Message, View
from demo.slack_values import by_ids, options_of

if TYPE_CHECKING:
    from demo.workspace import Workspace

# Bolt acknowledges first and works afterwards, so what a listener posts may come a moment after the click returns.
PATIENCE_SECONDS = 3.0
WAIT_SECONDS = 15.0  # for what other threads do, on a machine that is busy with much else


class Actor:
    """One person's eyes and hands. Messages and views are plain dictionaries in Slack's own shape."""

    def __init__(self, workspace: "Workspace", user_id: str) -> None:
        self._workspace = workspace
        self._filled: dict[str, Any] = {}
        self.id = user_id

    def messages(self, channel: str | None = None) -> list[Json]:
        """Return what this person sees in a channel (`#name` or id; default: the direct message), oldest first.

        Each has `ts`, `text`, `blocks`, `channel`, `user`, `metadata`, and `ephemeral`, which is true for what only
        this person sees.
        """
        with self._workspace.state.lock:
            shown = self._channel(channel).messages
            return [self._seen(each) for each in shown if each.visible_to in (None, self.id)]

    @staticmethod
    def _seen(message: Message) -> Json:
        return message.as_json() | {"channel": message.channel, "ephemeral": message.visible_to is not None}

    def _channel(self, reference: str | None) -> Channel:
        found = self._workspace.state.channel(reference or self.id)
        if found is None or found.with_user not in (None, self.id):
            raise LookupError(f"no channel {reference} for this person")
        return found

    def last(self, channel: str | None = None) -> Json:
        """Return the newest message; raises LookupError where there is none."""
        shown = self.messages(channel)
        if not shown:
            raise LookupError("there is no message yet")
        return shown[-1]

    def wait_for(self, question: Callable[[], Any], patience: float = WAIT_SECONDS) -> Any:
        """Ask `question` after every change until the answer is true, and return it; raises TimeoutError."""
        return self._workspace.wait_for(question, patience)

    def click(self, place: Json, what: str, *, value: Any = None, block_id: str | None = None, nth: int = 0) -> str:
        """Press the button with this label or action id in a message, modal or home tab, or choose `value` in a menu.

        Of several, `block_id` or `nth` chooses. Returns "" once the app acknowledged, else the sentence that the person
        sees. A confirm dialog counts as confirmed. Raises LookupError where there is no such thing to press.
        """
        target = self._place(place)
        blocks = target.blocks if isinstance(target, Message) else target.body["blocks"]
        found = [
            (block["block_id"], element["action_id"])
            for block in blocks
            for element in elements_of(block)
            if what in _names(element) and block_id in (None, block["block_id"])
        ]
        if nth >= len(found):
            there = [name for block in blocks for element in elements_of(block) for name in _names(element)]
            raise LookupError(f"there is no {what!r} to press; there is {there}")
        if isinstance(target, View) and self._filled:
            with self._workspace.state.lock:
                self._workspace.hands.remember(self.id, target, by_ids(blocks, self._filled))
        return self._workspace.hands.press(self.id, target, *found[nth], value).error

    def shortcut(self, message: Json, callback_id: str) -> str:
        """Choose a shortcut of the app for a message; return "" once it is acknowledged, else what the person sees."""
        target = self._place(message)
        if not isinstance(target, Message):
            raise LookupError("a shortcut is for a message")
        return self._workspace.hands.shortcut(self.id, target, callback_id).error

    def _place(self, place: Json) -> Message | View:
        state = self._workspace.state
        found = state.message(place["channel"], place["ts"]) if "ts" in place else state.view(place["id"])
        if found is None:
            raise LookupError("it is no longer there")
        return found

    @property
    def modal(self) -> Json | None:
        """Return the modal on top, or None. `wait_for(lambda: ana.modal)` where it may still be on its way."""
        stack = self._workspace.state.modals.get(self.id, [])
        return stack[-1].as_json() if stack else None

    def fill(self, values: Mapping[str, Any]) -> "Actor":
        """Fill in the open modal: label, block id or action id to a simple value (an option's value or label, a list
        of them, `2026-12-31`, a person's id, text)."""
        self._filled |= values
        return self

    def submit(self, values: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Submit the modal on top; return the messages beside its inputs by block id, which are none when it was taken.

        Where the app failed, the sentence that the person sees stands under the key "".
        """
        stack = self._workspace.state.modals.get(self.id, [])
        if not stack:
            raise LookupError("no modal is open")
        named = by_ids(stack[-1].body["blocks"], self._filled | dict(values or {}))
        outcome = self._workspace.hands.submit(self.id, stack[-1], named)
        if not outcome.errors and not outcome.error:
            self._filled = {}
        return dict(outcome.errors) | ({"": outcome.error} if outcome.error else {})

    def close_modal(self) -> None:
        """Close the modal on top."""
        stack = self._workspace.state.modals.get(self.id, [])
        if not stack:
            raise LookupError("no modal is open")
        self._filled = {}
        self._workspace.hands.close(self.id, stack[-1])

    def command(self, typed: str, channel: str | None = None, patience: float = PATIENCE_SECONDS) -> Json | None:
        """Type a slash command; return the first reply that comes within `patience` seconds, or None."""
        before = {each["ts"] for each in self.messages(channel)}
        self._workspace.hands.command(self.id, self._channel(channel), typed)
        return self._first_new(channel, before, patience)

    def say(self, text: str, channel: str | None = None) -> None:
        """Post a message."""
        self._workspace.hands.say(self.id, self._channel(channel), text)

    def _first_new(self, channel: str | None, before: set[str], patience: float) -> Json | None:
        def new() -> list[Json]:
            return [each for each in self.messages(channel) if each["ts"] not in before]

        try:
            first: Json = self.wait_for(new, patience)[0]
        except TimeoutError:
            return None
        return first

    def home(self, patience: float = PATIENCE_SECONDS) -> Json | None:
        """Open the bot's home tab; return the view once it was published anew, or what was there before."""
        homes = self._workspace.state.homes
        old = homes[self.id].hash if self.id in homes else None
        outcome: Outcome = self._workspace.hands.open_home(self.id)
        if not outcome.error:
            with suppress(TimeoutError):
                self.wait_for(lambda: self.id in homes and homes[self.id].hash != old, patience)
        return homes[self.id].as_json() if self.id in homes else None


def _names(element: Json) -> list[str]:
    label = element.get("text", {}).get("text")
    options = [option["text"]["text"] for option in options_of(element)] if element["type"] == "overflow" else []
    return [name for name in (label, element.get("action_id"), *options) if name]
