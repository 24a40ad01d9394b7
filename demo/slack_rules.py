"""What Slack refuses: pure functions from a payload to the list of its problems, which is empty when Slack takes it.

The limits are those of Slack's Block Kit reference (blocks, block elements, composition objects, views). Block and
element types that the product never sends (video, table, file and external inputs, workflow buttons) are refused as
unsupported.
"""

import json
from collections.abc import Iterator
from datetime import date, time
from typing import Any, Literal

from demo.slack_shapes import (
    Check,
    at_least_one,
    boolean,
    by_type,
    exactly_one,
    fields,
    integer,
    list_of,
    one_of,
    problem,
    string,
    typed,
)

Surface = Literal["message", "modal", "home"]

BLOCKS_AT_MOST = {"message": 50, "modal": 100, "home": 100}
TEXT_AT_MOST = 40_000
UPDATED_TEXT_AT_MOST = 4_000
METADATA_BYTES_AT_MOST = 16_000
VIEW_BYTES_AT_MOST = 250_000
# Slack documents no sum over a message's blocks, yet answers msg_blocks_too_long for one: 9,597 characters were seen
# to pass and 11,341 to be refused (slackapi/bolt-js issue 2867). The round number between keeps us on the safe side.
ALL_BLOCKS_TEXT_AT_MOST = 10_000


def plain(most: int) -> Check:
    """Check a text object that has to be `plain_text`."""
    return typed("plain_text", {"text": string(most)}, {"emoji": boolean})


def any_text(most: int) -> Check:
    """Check a text object of either kind."""
    mrkdwn = typed("mrkdwn", {"text": string(most)}, {"verbatim": boolean})
    return by_type({"plain_text": plain(most), "mrkdwn": mrkdwn})


URL = string(3000, pattern=r"[A-Za-z][A-Za-z0-9+.-]*:\S+", expected="a valid url")
WEB_URL = string(3000, pattern=r"https?://\S+", expected="a valid image url")
CONFIRM = fields(
    {"title": plain(100), "text": any_text(300), "confirm": plain(30), "deny": plain(30)},
    {"style": one_of("primary", "danger")},
)
ACTION = {"action_id": string(255), "confirm": CONFIRM}
FOCUS = {**ACTION, "focus_on_load": boolean}
PROMPT = {**FOCUS, "placeholder": plain(150)}
SLACK_ID = string(30, pattern=r"[A-Z0-9]+", expected="a Slack id")


def _option(text: Check, **extra: Check) -> Check:
    return fields({"text": text, "value": string(150)}, {"description": any_text(75), **extra})


MENU_OPTION = _option(plain(75))
RICH_OPTION = _option(any_text(75))
OPTION_GROUP = fields({"label": plain(75), "options": list_of(MENU_OPTION, 100)})


def _all_options(element: Any) -> list[Any]:
    groups = element.get("option_groups") or []
    options = list(element.get("options") or [])
    return options + [each for group in groups if isinstance(group, dict) for each in group.get("options") or []]


def _initial_among_options(element: Any, at: str) -> Iterator[str]:
    chosen = [element["initial_option"]] if "initial_option" in element else element.get("initial_options") or []
    if any(each not in _all_options(element) for each in chosen):
        yield problem("initial option must exactly match one of the provided options", at)


def _distinct_values(element: Any, at: str) -> Iterator[str]:
    values = [each.get("value") for each in _all_options(element) if isinstance(each, dict)]
    if len(values) != len({str(value) for value in values}):
        yield problem("options must have distinct values", at)


def _choices(kind: str, option: Check, most: int, many: bool, *, grouped: bool = False) -> Check:
    """Check an element that offers options: one of them, or several, is chosen."""
    initial: dict[str, Check] = {"initial_options": list_of(option, most)} if many else {"initial_option": option}
    more = [_initial_among_options, _distinct_values]
    if not grouped:
        return typed(kind, {"options": list_of(option, most)}, {**FOCUS, **initial}, *more)
    limit: dict[str, Check] = {"max_selected_items": integer(1)} if many else {}
    offers = {"options": list_of(option, most), "option_groups": list_of(OPTION_GROUP, 100)}
    return typed(kind, {}, {**PROMPT, **initial, **limit, **offers}, exactly_one("options", "option_groups"), *more)


def _moment(parse: Any, expected: str) -> Check:
    def check(value: Any, at: str) -> Iterator[str]:
        try:
            if parse(value).isoformat()[: len(expected)] != value:
                yield problem(f"must be in the format {expected}", at)
        except (ValueError, TypeError):
            yield problem(f"must be in the format {expected}", at)

    return check


def _lengths_agree(element: Any, at: str) -> Iterator[str]:
    least, most = element.get("min_length", 0), element.get("max_length", 3000)
    if not isinstance(least, int) or not isinstance(most, int):
        return
    if least > most:
        yield problem("min_length must not be greater than max_length", at)
    if len(str(element.get("initial_value", ""))) > most:
        yield problem("initial_value must not be longer than max_length", at)


DISPATCH = {
    "dispatch_action_config": fields(
        {}, {"trigger_actions_on": list_of(one_of("on_enter_pressed", "on_character_entered"), 2)}
    )
}
NUMBER = string(40, pattern=r"-?\d+(\.\d+)?", expected="a number")
TYPED_INPUTS = {
    "plain_text_input": typed(
        "plain_text_input",
        {},
        PROMPT
        | DISPATCH
        | {"initial_value": string(3000, 0), "multiline": boolean}
        | {"min_length": integer(0, 3000), "max_length": integer(1, 3000)},
        _lengths_agree,
    ),
    "number_input": typed(
        "number_input",
        {"is_decimal_allowed": boolean},
        PROMPT | DISPATCH | {"initial_value": NUMBER, "min_value": NUMBER, "max_value": NUMBER},
    ),
    "email_text_input": typed("email_text_input", {}, PROMPT | DISPATCH | {"initial_value": string(3000, 0)}),
    "url_text_input": typed("url_text_input", {}, PROMPT | DISPATCH | {"initial_value": string(3000, 0)}),
}
# Elements that may stand in a section, in an actions block and in an input block alike.
CHOOSERS = {
    "checkboxes": _choices("checkboxes", RICH_OPTION, 10, many=True),
    "radio_buttons": _choices("radio_buttons", RICH_OPTION, 10, many=False),
    "static_select": _choices("static_select", MENU_OPTION, 100, many=False, grouped=True),
    "multi_static_select": _choices("multi_static_select", MENU_OPTION, 100, many=True, grouped=True),
    "datepicker": typed("datepicker", {}, PROMPT | {"initial_date": _moment(date.fromisoformat, "YYYY-MM-DD")}),
    "timepicker": typed(
        "timepicker", {}, PROMPT | {"initial_time": _moment(time.fromisoformat, "HH:mm"), "timezone": string(100)}
    ),
    "datetimepicker": typed("datetimepicker", {}, FOCUS | {"initial_date_time": integer(10**9, 10**10 - 1)}),
    "users_select": typed("users_select", {}, PROMPT | {"initial_user": SLACK_ID}),
    "multi_users_select": typed(
        "multi_users_select", {}, PROMPT | {"initial_users": list_of(SLACK_ID, 100), "max_selected_items": integer(1)}
    ),
    "channels_select": typed(
        "channels_select", {}, PROMPT | {"initial_channel": SLACK_ID, "response_url_enabled": boolean}
    ),
    "conversations_select": typed(
        "conversations_select",
        {},
        PROMPT
        | {"initial_conversation": SLACK_ID, "default_to_current_conversation": boolean}
        | {"response_url_enabled": boolean},
    ),
}
BUTTON = typed(
    "button",
    {"text": plain(75)},
    {
        **ACTION,
        "url": URL,
        "value": string(2000),
        "style": one_of("primary", "danger"),
        "accessibility_label": string(75),
    },
)
OVERFLOW = typed("overflow", {"options": list_of(_option(plain(75), url=URL), 5)}, ACTION)
SLACK_FILE = fields({}, {"id": string(30), "url": URL}, exactly_one("id", "url"))
PICTURE = {"image_url": WEB_URL, "slack_file": SLACK_FILE}
ONE_PICTURE = exactly_one("image_url", "slack_file")
IMAGE = typed("image", {"alt_text": string(2000)}, PICTURE, ONE_PICTURE)

# Rich text: who mentions what, in which style. A list's items and a quote are made of the same leaves.
BASIC_STYLE = fields({}, dict.fromkeys(("bold", "italic", "strike", "code", "underline"), boolean))
STYLE = {"style": BASIC_STYLE}
MENTION_STYLE = {
    "style": fields({}, dict.fromkeys(("bold", "italic", "strike", "highlight", "client_highlight", "unlink"), boolean))
}
LEAVES = {
    "text": typed("text", {"text": string(TEXT_AT_MOST)}, STYLE),
    "link": typed("link", {"url": URL}, {"text": string(TEXT_AT_MOST), "unsafe": boolean, **STYLE}),
    "user": typed("user", {"user_id": SLACK_ID}, MENTION_STYLE),
    "usergroup": typed("usergroup", {"usergroup_id": SLACK_ID}, MENTION_STYLE),
    "channel": typed("channel", {"channel_id": SLACK_ID}, MENTION_STYLE),
    "emoji": typed("emoji", {"name": string(100)}, {"unicode": string(100), "skin_tone": integer(1, 6), **STYLE}),
    "broadcast": typed("broadcast", {"range": one_of("here", "channel", "everyone")}, STYLE),
    "color": typed("color", {"value": string(7, pattern=r"#[0-9A-Fa-f]{6}", expected="a hex colour")}, STYLE),
    "date": typed(
        "date", {"timestamp": integer(), "format": string(300)}, {"url": URL, "fallback": string(3000), **STYLE}
    ),
}
BORDER = {"border": integer(0, 1)}
LEAF_LIST = list_of(by_type(LEAVES), 1000, 0)
RICH_SECTION = typed("rich_text_section", {"elements": LEAF_LIST})
CODE_LEAVES = list_of(by_type({kind: LEAVES[kind] for kind in ("text", "link")}), 1000, 0)
RICH_PARTS = {
    "rich_text_section": RICH_SECTION,
    "rich_text_quote": typed("rich_text_quote", {"elements": LEAF_LIST}, BORDER),
    "rich_text_preformatted": typed(
        "rich_text_preformatted", {"elements": CODE_LEAVES}, {**BORDER, "language": string(50)}
    ),
    "rich_text_list": typed(
        "rich_text_list",
        {"style": one_of("bullet", "ordered"), "elements": list_of(RICH_SECTION, 1000)},
        {"indent": integer(0, 8), "offset": integer(), **BORDER},
    ),
}

NAMED = {"block_id": string(255)}
CONTEXT_ELEMENT = by_type({"image": IMAGE, **dict.fromkeys(("plain_text", "mrkdwn"), any_text(3000))})
PRESSABLE = {**CHOOSERS, "button": BUTTON, "overflow": OVERFLOW}
BLOCKS: dict[str, Check] = {
    "section": typed(
        "section",
        {},
        {
            **NAMED,
            "text": any_text(3000),
            "fields": list_of(any_text(2000), 10),
            "accessory": by_type({**PRESSABLE, "image": IMAGE}),
            "expand": boolean,
        },
        at_least_one("text", "fields"),
    ),
    "header": typed("header", {"text": plain(150)}, NAMED),
    "divider": typed("divider", {}, NAMED),
    "context": typed("context", {"elements": list_of(CONTEXT_ELEMENT, 10)}, NAMED),
    "actions": typed("actions", {"elements": list_of(by_type(PRESSABLE), 25)}, NAMED),
    "image": typed("image", {"alt_text": string(2000)}, {**NAMED, **PICTURE, "title": plain(2000)}, ONE_PICTURE),
    "input": typed(
        "input",
        {"label": plain(2000), "element": by_type({**CHOOSERS, **TYPED_INPUTS})},
        {**NAMED, "hint": plain(2000), "optional": boolean, "dispatch_action": boolean},
    ),
    "rich_text": typed("rich_text", {"elements": list_of(by_type(RICH_PARTS), 1000)}, NAMED),
}
MARKDOWN = typed("markdown", {"text": string(12_000)}, NAMED)


def check_blocks(blocks: Any, surface: Surface, at: str = "/blocks") -> list[str]:
    """Return what Slack would find wrong with these blocks on that surface; an empty list means that it takes them."""
    kinds = BLOCKS | {"markdown": MARKDOWN} if surface == "message" else BLOCKS
    found = list(list_of(by_type(kinds), BLOCKS_AT_MOST[surface], 0)(blocks, at))
    return found or [*_repeated_ids(blocks, at), *_too_many_focused(blocks, at)]


def elements_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the elements of a block that a person can press or fill in."""
    found = [block.get("accessory"), block.get("element")]
    found += block["elements"] if block.get("type") == "actions" else []
    return [each for each in found if isinstance(each, dict) and each.get("type") != "image"]


def _repeated_ids(blocks: list[dict[str, Any]], at: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        name = block.get("block_id")
        if name is not None and name in seen:
            yield problem(f"block_id must be unique: {name}", f"{at}/{index}/block_id")
        seen.add(name or "")
        actions = [each["action_id"] for each in elements_of(block) if "action_id" in each]
        if len(actions) != len(set(actions)):
            yield problem("action_id must be unique within the block", f"{at}/{index}/elements")


def _too_many_focused(blocks: list[dict[str, Any]], at: str) -> Iterator[str]:
    if sum(each.get("focus_on_load") is True for block in blocks for each in elements_of(block)) > 1:
        yield problem("focus_on_load may be true for one element only", at)


VIEW_COMMON: dict[str, Check] = {
    "private_metadata": string(3000, 0),
    "callback_id": string(255, 0),
    "external_id": string(255, 0),
}


def _blocks_on(surface: Surface) -> Check:
    return lambda blocks, at: iter(check_blocks(blocks, surface, at))


def _submit_where_inputs(view: Any, at: str) -> Iterator[str]:
    blocks = view.get("blocks")
    inputs = isinstance(blocks, list) and any(isinstance(each, dict) and each.get("type") == "input" for each in blocks)
    if inputs and "submit" not in view:
        yield problem("missing required field: submit (a modal with an input block needs it)", at)


MODAL = typed(
    "modal",
    {"title": plain(24), "blocks": _blocks_on("modal")},
    {
        **VIEW_COMMON,
        "submit": plain(24),
        "close": plain(24),
        "clear_on_close": boolean,
        "notify_on_close": boolean,
        "submit_disabled": boolean,
    },
    _submit_where_inputs,
)
HOME = typed("home", {"blocks": _blocks_on("home")}, VIEW_COMMON)


def check_view(view: Any, surface: Literal["modal", "home"]) -> list[str]:
    """Return what Slack would find wrong with a view; an empty list means that it takes it."""
    return list((MODAL if surface == "modal" else HOME)(view, "/view"))


def check_metadata(metadata: Any) -> str | None:
    """Return the error code that Slack answers for a message's metadata, or None where it takes it."""
    if not isinstance(metadata, dict) or metadata.keys() - {"event_type", "event_payload"}:
        return "invalid_metadata_format"
    if not isinstance(metadata.get("event_type"), str) or not isinstance(metadata.get("event_payload"), dict):
        return "invalid_metadata_schema"
    too_large = len(json.dumps(metadata).encode()) > METADATA_BYTES_AT_MOST
    return "metadata_too_large" if too_large else None


def text_length(blocks: Any) -> int:
    """Return the characters of text in blocks, counted over every `text` string at any depth."""
    if isinstance(blocks, list):
        return sum(text_length(each) for each in blocks)
    if not isinstance(blocks, dict):
        return 0
    own = blocks.get("text")
    below = sum(text_length(each) for each in blocks.values())
    return below + (len(own) if isinstance(own, str) else 0)
