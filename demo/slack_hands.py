"""What a person can do in the workspace: press, choose, submit, close, type a command or a message, open the home tab.

Each turns into the payload that Slack would send, is delivered once, and its acknowledgement is carried out. What fails
is shown to the person, never raised: Slack's users see a sentence, not an exception.
"""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.slack_api import add_message, check_content, replace_content
from demo.slack_delivery import TIMED_OUT, UNREACHABLE, Ack, Delivery
from demo.slack_rules import elements_of
from demo.slack_state import (
    APP_ID,
    BOT_USER_ID,
    RESPONSE_URL_USES,
    TEAM_ID,
    Channel,
    Json,
    Message,
    RefusalError,
    State,
    View,
)
from demo.slack_values import CARRIES, carried, check_values, state_values
from demo.slack_views import checked, replace_view, stack_modal

TEAM = {"id": TEAM_ID, "domain": "stand-in"}
VERIFICATION_TOKEN = "stand-in-verification-token"  # deprecated by Slack; apps check the signature instead
REASONS = {TIMED_OUT: "it did not answer within 3 seconds", UNREACHABLE: "it is not running or not reachable"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the person sees at once: an error sentence, or messages beside the inputs of a form."""

    error: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


class Hands:
    """The deeds of people, over one workspace's state and the way to its app."""

    def __init__(
        self, state: State, delivery: Delivery, base_url: Callable[[], str], commands: tuple[str, ...]
    ) -> None:
        self.state = state
        self.delivery = delivery
        self.base_url = base_url
        self.commands = commands

    # -- messages, home tab and modals: pressing and choosing ---------------------------------------------------------

    def press(self, user: str, place: Message | View, block_id: str, action_id: str, value: Any = None) -> Outcome:
        """Press a button, or choose `value` in an element, of a message, a modal or the home tab."""
        with self.state.changing():
            place.failed = ""
            payload = self._block_actions(user, place, block_id, action_id, value)
        ack = self.delivery.interactive(payload)
        if not ack.error:
            return Outcome()
        words = failure("This", ack)
        with self.state.changing():
            place.failed = words
        return Outcome(error=words)

    def _block_actions(self, user: str, place: Message | View, block_id: str, action_id: str, value: Any) -> Json:
        blocks = place.blocks if isinstance(place, Message) else place.body["blocks"]
        block, element = _find(blocks, block_id, action_id)
        chosen = {} if element["type"] == "button" else {CARRIES[element["type"]]: carried(element, value)}
        shown = {name: element[name] for name in ("text", "value", "style", "confirm", "url") if name in element}
        action: Json = {"type": element["type"], "action_id": action_id, "block_id": block["block_id"]}
        action |= (shown if element["type"] == "button" else {}) | chosen | {"action_ts": self.state.next_ts()}
        values = self.remember(user, place, {block_id: {action_id: value}} if chosen else {})
        return self._about(user, place, values) | {"type": "block_actions", "actions": [action]}

    def shortcut(self, user: str, message: Message, callback_id: str) -> Outcome:
        """Choose the app's shortcut in a message's menu."""
        with self.state.changing():
            channel = self.state.channels[message.channel]
            url = self._response_url(channel, user, message)
            body = self._common(user, from_modal=False) | {"type": "message_action", "callback_id": callback_id}
            body |= {"channel": {"id": channel.id, "name": channel.name}, "message_ts": message.ts, "response_url": url}
            body |= {"action_ts": self.state.next_ts(), "message": message.as_json(with_metadata=False)}
        ack = self.delivery.interactive(body)
        return Outcome(error=failure("The shortcut", ack)) if ack.error else Outcome()

    def remember(self, user: str, place: Message | View, simple: Mapping[str, Mapping[str, Any]]) -> Json:
        """Keep what a person chose so far, and return it as Slack's `state.values`."""
        key = (user, place.ts if isinstance(place, Message) else place.id)
        blocks = place.blocks if isinstance(place, Message) else place.body["blocks"]
        kept = self.state.chosen.setdefault(key, {})
        for block_id, values in simple.items():
            kept.setdefault(block_id, {}).update(values)
        return state_values(blocks, kept)

    def _about(self, user: str, place: Message | View, values: Json) -> Json:
        common = self._common(user, from_modal=isinstance(place, View) and place.body["type"] == "modal")
        if isinstance(place, View):
            container: Json = {"type": "view", "view_id": place.id}
            return common | {"container": container, "view": place.as_json(values)}
        hidden = place.visible_to is not None
        channel = self.state.channels[place.channel]
        container = {"type": "message", "message_ts": place.ts, "channel_id": channel.id, "is_ephemeral": hidden}
        url = self._response_url(channel, user, place)
        body = common | {"container": container, "channel": {"id": channel.id, "name": channel.name}}
        body |= {"state": {"values": values}, "response_url": url}
        return body if hidden else body | {"message": place.as_json(with_metadata=False)}

    def _common(self, user: str, from_modal: bool) -> Json:
        person = self.state.people[user]
        who = {"id": user, "username": person.name, "name": person.name, "team_id": person.team_id}
        trigger = self.state.new_trigger(user, from_modal)
        app = {"api_app_id": APP_ID, "token": VERIFICATION_TOKEN, "enterprise": None, "is_enterprise_install": False}
        return app | {"team": TEAM, "user": who, "trigger_id": trigger}

    def _response_url(self, channel: Channel, user: str, message: Message | None) -> str:
        return f"{self.base_url()}/response/{self.state.new_response_url(channel.id, user, message)}"

    # -- modals: submitting and closing --------------------------------------------------------------------------------

    def submit(self, user: str, view: View, simple: Mapping[str, Mapping[str, Any]]) -> Outcome:
        """Submit a modal with simple values by block id and action id."""
        with self.state.changing():
            values = self.remember(user, view, simple)
            view.errors, view.failed = check_values(view.body["blocks"], values), ""
            if view.errors:
                return Outcome(errors=view.errors)
            payload = self._common(user, from_modal=True) | {"type": "view_submission", "view": view.as_json(values)}
        ack = self.delivery.interactive(payload | {"response_urls": []})
        with self.state.changing():
            try:
                return self._carry_out(user, view, ack)
            except RefusalError as refused:
                view.failed = f"The app's answer to this form was refused: {refused.code} {' '.join(refused.messages)}"
                return Outcome(error=view.failed)

    def _carry_out(self, user: str, view: View, ack: Ack) -> Outcome:
        if ack.error:
            view.failed = "We had some trouble connecting. Try again? " + failure("This", ack)
            return Outcome(error=view.failed)
        answer, stack = ack.json(), self.state.modals.get(user, [])
        match answer.get("response_action"):
            case None if not answer:
                self.state.modals[user] = [each for each in stack if each is not view]
            case "clear":
                self.state.modals[user] = []
            case "errors":
                view.errors = _checked_errors(view, answer.get("errors"))
                return Outcome(errors=view.errors)
            case "update":
                replace_view(self.state, view, checked(answer.get("view"), "modal"))
            case "push":
                stack_modal(self.state, user, checked(answer.get("view"), "modal"), stack)
            case _:
                raise RefusalError("invalid_response_action", f"[ERROR] unknown: {answer}")
        return Outcome()

    def close(self, user: str, view: View) -> Outcome:
        """Close a modal; the app hears of it if the modal asked for that."""
        with self.state.changing():
            everything = bool(view.body.get("clear_on_close"))
            below = [each for each in self.state.modals.get(user, []) if each is not view]
            self.state.modals[user] = [] if everything else below
            values = self.remember(user, view, {})
            payload = self._common(user, from_modal=False) | {"view": view.as_json(values)}
            del payload["trigger_id"]  # nothing can be opened in answer to a closed modal
        if view.body.get("notify_on_close"):
            self.delivery.interactive(payload | {"type": "view_closed", "is_cleared": everything})
        return Outcome()

    # -- typing --------------------------------------------------------------------------------------------------------

    def type(self, user: str, channel: Channel, text: str) -> Outcome:
        """Send what a person typed: a slash command if it starts with a slash, else a message."""
        if text.startswith("/"):
            return self.command(user, channel, text)
        return self.say(user, channel, text)

    def command(self, user: str, channel: Channel, typed: str) -> Outcome:
        """Run a slash command; the answer, or what went wrong, becomes a message that only this person sees."""
        name, _, text = typed.strip().partition(" ")
        if name not in self.commands:
            words = f"{name} is not a valid command. This workspace knows {', '.join(self.commands)}."
            return self._tell(user, channel, words)
        person = self.state.people[user]
        with self.state.changing():
            payload = {
                "token": VERIFICATION_TOKEN, "team_id": TEAM_ID, "team_domain": TEAM["domain"],
                "channel_id": channel.id, "channel_name": channel.name, "user_id": user, "user_name": person.name,
                "command": name, "text": self.escape(text.strip()), "api_app_id": APP_ID,
                "is_enterprise_install": "false", "response_url": self._response_url(channel, user, None),
                "trigger_id": self.state.new_trigger(user),
            }  # fmt: skip
        ack = self.delivery.command(payload)
        if ack.error:
            return self._tell(
                user, channel, f'{name} failed with the error "{ack.error}": {REASONS.get(ack.error, "")}'
            )
        with self.state.changing():
            try:
                self.answer(user, channel, ack.json())
            except RefusalError as refused:
                return self._tell(user, channel, f'{name} failed with the error "{refused.code}"')
        return Outcome()

    def escape(self, text: str, with_names: bool = True) -> str:
        """Escape typed text as Slack does: `@ana` becomes `<@U123|ana>` in a command and `<@U123>` in a message."""
        by_name = {each.name: each.user_id for each in self.state.people.values()}
        rooms = {each.name: each.id for each in self.state.channels.values() if not each.with_user}

        def refer(found: re.Match[str]) -> str:
            sign, name = found.groups()
            known = by_name if sign == "@" else rooms
            if name not in known:
                return found[0]
            return f"<{sign}{known[name]}|{name}>" if with_names else f"<{sign}{known[name]}>"

        return re.sub(r"(?<![\w<])([@#])([\w.-]*\w)", refer, html.escape(text, quote=False))

    def answer(self, user: str, channel: Channel, body: Json) -> None:
        """Post what an acknowledgement or a response_url carries; only the person sees it unless it is in_channel."""
        if not body:
            return
        hidden = None if body.get("response_type") == "in_channel" else user
        content = check_content(body) | {"metadata": None if hidden else body.get("metadata")}
        add_message(self.state, channel, BOT_USER_ID, content, visible_to=hidden)

    def _tell(self, user: str, channel: Channel, words: str) -> Outcome:
        with self.state.changing():
            add_message(self.state, channel, "USLACKBOT", {"text": words}, visible_to=user)
        return Outcome(error=words)

    def say(self, user: str, channel: Channel, text: str) -> Outcome:
        """Post a person's message; in a direct message the bot gets the event message.im."""
        with self.state.changing():
            message = add_message(self.state, channel, user, {"text": self.escape(text, with_names=False)})
        if channel.with_user:
            event = {"type": "message", "user": user, "text": message.text, "ts": message.ts, "channel": channel.id}
            self._event(event | {"event_ts": message.ts, "channel_type": "im", "team": TEAM_ID})
        return Outcome()

    def open_home(self, user: str) -> Outcome:
        """Open the bot's home tab, which tells the app so that it can publish."""
        event: Json = {"type": "app_home_opened", "user": user, "channel": self.state.direct_message(user).id}
        event |= {"tab": "home", "event_ts": self.state.next_ts()}
        if home := self.state.homes.get(user):
            event["view"] = home.as_json()
        ack = self._event(event)
        return Outcome(error=failure("The home tab", ack) if ack.error else "")

    def _event(self, event: Json) -> Ack:
        with self.state.lock:
            name = self.state.next_id("Ev")
        envelope: Json = {"token": VERIFICATION_TOKEN, "team_id": TEAM_ID, "api_app_id": APP_ID, "event": event}
        authorization = {"team_id": TEAM_ID, "user_id": BOT_USER_ID, "is_bot": True, "is_enterprise_install": False}
        envelope |= {"type": "event_callback", "event_id": name, "event_time": int(float(event["event_ts"]))}
        return self.delivery.event(envelope | {"authorizations": [authorization], "is_ext_shared_channel": False})

    # -- what comes back on a response_url -----------------------------------------------------------------------------

    def respond(self, name: str, body: Json) -> tuple[int, str]:
        """Carry out a POST to a response_url; return the HTTP status and body that Slack answers."""
        with self.state.changing():
            ticket = self.state.response_urls.get(name)
            if ticket is None or self.state.now() > ticket.expires_at:
                return 404, '{"ok":false,"error":"expired_url"}'
            if ticket.uses >= RESPONSE_URL_USES:
                return 404, '{"ok":false,"error":"used_url"}'
            ticket.uses += 1
            channel = self.state.channels[ticket.channel]
            original = ticket.message if ticket.message in channel.messages else None
            try:
                if original is not None and body.get("delete_original"):
                    channel.messages.remove(original)
                elif original is not None and body.get("replace_original"):
                    replace_content(self.state, original, {}, check_content(body))
                else:
                    self.answer(ticket.user, channel, body)
            except RefusalError as refused:
                return 400, refused.code
            return 200, "ok"


def failure(what: str, ack: Ack) -> str:
    """Word an unacknowledged interaction for the person, with Slack's own name of the error."""
    reason = REASONS.get(ack.error or "", f"it answered with status {ack.status}")
    return f"{what} did not reach the app: {reason} ({ack.error})."


def _find(blocks: list[Json], block_id: str, action_id: str) -> tuple[Json, Json]:
    for block in blocks:
        for element in elements_of(block):
            if (block["block_id"], element.get("action_id")) == (block_id, action_id):
                return block, element
    raise LookupError(f"nothing to press is called {block_id}/{action_id} here")


def _checked_errors(view: View, errors: Any) -> dict[str, str]:
    """Return the messages of `response_action: errors`; Slack refuses keys that are no input block's block_id."""
    inputs = {block["block_id"] for block in view.body["blocks"] if block["type"] == "input"}
    if not isinstance(errors, dict) or not errors or not all(isinstance(each, str) for each in errors.values()):
        raise RefusalError("invalid_errors", "[ERROR] errors must be an object of block_id to message")
    if strangers := errors.keys() - inputs:
        raise RefusalError("invalid_errors", f"[ERROR] no input block is called {', '.join(sorted(strangers))}")
    return errors
