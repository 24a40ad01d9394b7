"""The Web API methods of the stand-in workspace: one function a method, from arguments to Slack's answer.

Each takes the state and the decoded arguments, and returns the body of an `ok: true` answer or raises RefusalError.
What is not in METHODS answers `unknown_method`, as Slack does.
"""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

from demo.slack_files import complete_upload, refuse_unknown
from demo.slack_rules import (
    ALL_BLOCKS_TEXT_AT_MOST,
    TEXT_AT_MOST,
    UPDATED_TEXT_AT_MOST,
    check_blocks,
    check_metadata,
    text_length,
)
from demo.slack_state import APP_ID, BOT_ID, BOT_USER_ID, TEAM_ID, Channel, Json, Message, Person, RefusalError, State

Method = Callable[[State, Json], Json]
PAGE_AT_MOST = 1000


def test_api(state: State, args: Json) -> Json:
    """api.test: say the arguments back."""
    if "error" in args:
        raise RefusalError(str(args["error"]))
    return {"args": args}


def test_auth(state: State, args: Json) -> Json:
    """auth.test: who the token belongs to."""
    bot = state.people[BOT_USER_ID]
    who = {"team": "Stand-in", "team_id": TEAM_ID, "user": bot.name, "user_id": BOT_USER_ID, "bot_id": BOT_ID}
    return who | {"url": "https://stand-in.example.com/", "app_id": APP_ID, "is_enterprise_install": False}


def required(args: Json, *names: str) -> list[str]:
    """Return these arguments as strings; raises RefusalError naming the missing ones."""
    missing = [f"[ERROR] missing required field: {name}" for name in names if not args.get(name)]
    if missing:
        raise RefusalError("invalid_arguments", *missing)
    return [str(args[name]) for name in names]


def is_true(value: object) -> bool:
    """Read a boolean as the SDK sends it in a form: `1`, `true` or JSON's own."""
    return value in (True, 1, "1", "true", "True")


def page(items: Sequence[Any], args: Json, default: int) -> tuple[list[Any], Json]:
    """Return one page of items, and the response_metadata with the cursor of the next one."""
    try:
        limit = int(args.get("limit") or default)
        start = int(base64.b64decode(str(args.get("cursor") or ""), validate=True) or 0)
    except ValueError:
        raise RefusalError("invalid_cursor") from None
    if not 0 < limit <= PAGE_AT_MOST or start < 0:
        raise RefusalError("invalid_limit")
    end = start + limit
    cursor = base64.b64encode(str(end).encode()).decode() if end < len(items) else ""
    return list(items[start:end]), {"response_metadata": {"next_cursor": cursor}}


def find_channel(state: State, args: Json) -> Channel:
    """Return the channel that `channel` names, if the bot may look into it."""
    reference = args.get("channel")
    channel = state.channel(str(reference)) if reference else None
    if channel is None or (channel.is_private and not channel.bot_is_member):
        raise RefusalError("channel_not_found")
    return channel


def _find_writable(state: State, args: Json) -> Channel:
    channel = find_channel(state, args)
    if channel.is_archived:
        raise RefusalError("is_archived")
    if not channel.bot_is_member:
        raise RefusalError("not_in_channel")
    if channel.with_user:
        _refuse_unreachable(state.people[channel.with_user])
    return channel


def _refuse_unreachable(person: Person) -> None:
    if person.is_bot:
        raise RefusalError("cannot_dm_bot")
    if person.deleted:
        raise RefusalError("user_disabled")


def check_content(args: Json, text_at_most: int | None = None) -> Json:
    """Return a message's checked `text`, `blocks` and `metadata`; raises RefusalError with what Slack finds wrong."""
    text, blocks = args.get("text") or "", args.get("blocks") or []
    if not isinstance(text, str):
        raise RefusalError("invalid_arguments", "[ERROR] must provide a string [json-pointer:/text]")
    if isinstance(blocks, str):
        raise RefusalError("invalid_blocks_format")
    if not text.strip() and not blocks and not args.get("attachments"):
        raise RefusalError("no_text")
    if problems := check_blocks(blocks, "message"):
        raise RefusalError("invalid_blocks", *(f"[ERROR] {each}" for each in problems))
    if text_length(blocks) > ALL_BLOCKS_TEXT_AT_MOST:
        raise RefusalError("msg_blocks_too_long")
    if text_at_most and len(text) > text_at_most:
        raise RefusalError("msg_too_long")
    metadata = args.get("metadata")
    if metadata is not None and (code := check_metadata(metadata)):
        raise RefusalError(code)
    return {"text": text[:TEXT_AT_MOST], "blocks": blocks, "metadata": metadata}


def _warnings(args: Json) -> Json:
    if len(args.get("text") or "") <= TEXT_AT_MOST:
        return {}
    words = "[WARN] Your message was truncated but still posted. The `text` field accepts up to 40,000 characters."
    return {"response_metadata": {"messages": [words], "warnings": ["message_truncated"]}}


def add_message(state: State, channel: Channel, user: str, content: Json, visible_to: str | None = None) -> Message:
    """Append a message whose content was checked."""
    content = content | {"blocks": state.with_ids(content.get("blocks") or [])}
    message = Message(channel=channel.id, ts=state.next_ts(), user=user, visible_to=visible_to, **content)
    channel.messages.append(message)
    return message


def replace_content(state: State, message: Message, args: Json, content: Json) -> None:
    """Change a message to content that was checked; what the caller did not mention about metadata stays."""
    message.text, message.blocks = content["text"], state.with_ids(content["blocks"])
    if "metadata" in args:
        message.metadata = content["metadata"]
    message.edited_ts = f"{int(state.now().timestamp())}.000000"
    message.failed = ""


def post_message(state: State, args: Json) -> Json:
    """chat.postMessage."""
    channel = _find_writable(state, args)
    content = check_content(args) | {"thread_ts": args.get("thread_ts")}
    refuse_unknown(state, content["blocks"])
    message = add_message(state, channel, BOT_USER_ID, content)
    return {"channel": channel.id, "ts": message.ts, "message": message.as_json(), **_warnings(args)}


def post_ephemeral(state: State, args: Json) -> Json:
    """chat.postEphemeral."""
    channel = _find_writable(state, args)
    user = str(args.get("user") or "")
    if user not in state.people or channel.with_user not in (None, user):
        raise RefusalError("user_not_in_channel")
    content = check_content(args) | {"metadata": None}
    message = add_message(state, channel, BOT_USER_ID, content, visible_to=user)
    return {"message_ts": message.ts, **_warnings(args)}


def _own_message(state: State, args: Json, otherwise: str) -> tuple[Channel, Message]:
    channel = find_channel(state, args)
    (ts,) = required(args, "ts")
    message = state.message(channel.id, ts)
    if message is None or message.visible_to:
        raise RefusalError("message_not_found")
    if message.user != BOT_USER_ID:
        raise RefusalError(otherwise)
    return channel, message


def update_message(state: State, args: Json) -> Json:
    """chat.update."""
    channel, message = _own_message(state, args, "cant_update_message")
    # Slack keeps the blocks of a message where an update does not mention them; only an empty array removes them.
    kept = args if "blocks" in args else args | {"blocks": message.blocks}
    replace_content(state, message, args, check_content(kept, UPDATED_TEXT_AT_MOST))
    return {"channel": channel.id, "ts": message.ts, "text": message.text, "message": message.as_json()}


def delete_message(state: State, args: Json) -> Json:
    """chat.delete."""
    channel, message = _own_message(state, args, "cant_delete_message")
    channel.messages.remove(message)
    return {"channel": channel.id, "ts": message.ts}


def open_conversation(state: State, args: Json) -> Json:
    """conversations.open, with one person or an existing direct message."""
    if args.get("channel"):
        channel = find_channel(state, args)
    else:
        users = [each for each in str(args.get("users") or "").split(",") if each]
        if not users:
            raise RefusalError("users_list_not_supplied")
        if len(users) > 1:
            raise RefusalError("not_enough_users", "[ERROR] the stand-in has no group messages")
        if users[0] not in state.people:
            raise RefusalError("user_not_found")
        _refuse_unreachable(state.people[users[0]])
        channel = state.direct_message(users[0])
    return {"channel": channel.as_json() if is_true(args.get("return_im")) else {"id": channel.id}}


def history(state: State, args: Json) -> Json:
    """conversations.history: newest first, without what only one person sees."""
    channel = find_channel(state, args)
    if not channel.bot_is_member:
        raise RefusalError("not_in_channel")
    shown = [each for each in reversed(channel.messages) if not each.visible_to and _within(each.ts, args)]
    some, meta = page(shown, args, 100)
    with_metadata = is_true(args.get("include_all_metadata"))
    more = bool(meta["response_metadata"]["next_cursor"])
    return {"messages": [each.as_json(with_metadata) for each in some], "has_more": more} | (meta if more else {})


def _within(ts: str, args: Json) -> bool:
    try:
        oldest, latest = float(args.get("oldest") or 0), float(args.get("latest") or "inf")
    except ValueError:
        raise RefusalError("invalid_ts_oldest") from None
    at = float(ts)
    return oldest <= at <= latest if is_true(args.get("inclusive")) else oldest < at < latest


def list_conversations(state: State, args: Json) -> Json:
    """conversations.list."""
    types = str(args.get("types") or "public_channel").split(",")
    if set(types) - {"public_channel", "private_channel", "mpim", "im"}:
        raise RefusalError("invalid_types")
    shown = [each.as_json() for each in state.channels.values() if _kind(each) in types and _visible(each, args)]
    some, meta = page(shown, args, 100)
    return {"channels": some, **meta}


def _kind(channel: Channel) -> str:
    if channel.with_user:
        return "im"
    return "private_channel" if channel.is_private else "public_channel"


def _visible(channel: Channel, args: Json) -> bool:
    if channel.is_archived and is_true(args.get("exclude_archived")):
        return False
    return channel.bot_is_member or not channel.is_private


def conversation_info(state: State, args: Json) -> Json:
    """conversations.info."""
    return {"channel": find_channel(state, args).as_json()}


def members(state: State, args: Json) -> Json:
    """conversations.members."""
    channel = find_channel(state, args)
    ids = [channel.with_user, BOT_USER_ID] if channel.with_user else members_of(state, channel)
    some, meta = page(ids, args, 100)
    return {"members": some, **meta}


def members_of(state: State, channel: Channel) -> list[str]:
    """Return who is in a named channel: everybody who still works here, and the bot if it was invited."""
    people = [each.user_id for each in state.people.values() if not each.deleted and not each.is_bot]
    return people + ([BOT_USER_ID] if channel.bot_is_member else [])


def list_users(state: State, args: Json) -> Json:
    """users.list."""
    now = state.now()
    some, meta = page([each.as_user(now) for each in state.people.values()], args, 100)
    return {"members": some, "cache_ts": int(now.timestamp()), **meta}


def user_info(state: State, args: Json) -> Json:
    """users.info."""
    person = state.people.get(str(args.get("user") or ""))
    if person is None:
        raise RefusalError("user_not_found")
    return {"user": person.as_user(state.now())}


def lookup_by_email(state: State, args: Json) -> Json:
    """users.lookupByEmail: deactivated people are not found, as in Slack."""
    (email,) = required(args, "email")
    for person in state.people.values():
        if person.email and person.email.lower() == email.lower() and not person.deleted:
            return {"user": person.as_user(state.now())}
    raise RefusalError("users_not_found")


def decode(args: Json) -> Json:
    """Decode the arguments that a form carries as JSON text; what is no JSON stays a string and is refused later."""
    decoded = dict(args)
    for name in ("blocks", "view", "metadata", "attachments"):
        if isinstance(decoded.get(name), str):
            try:
                decoded[name] = json.loads(decoded[name])
            except ValueError:
                continue
    return decoded


METHODS: dict[str, Method] = {
    "api.test": test_api,
    "auth.test": test_auth,
    "chat.delete": delete_message,
    "chat.postEphemeral": post_ephemeral,
    "chat.postMessage": post_message,
    "chat.update": update_message,
    "conversations.history": history,
    "conversations.info": conversation_info,
    "conversations.list": list_conversations,
    "conversations.members": members,
    "conversations.open": open_conversation,
    "files.completeUploadExternal": complete_upload,
    "users.info": user_info,
    "users.list": list_users,
    "users.lookupByEmail": lookup_by_email,
}
