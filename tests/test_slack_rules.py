"""What Slack takes and what it refuses, on both sides of every limit."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.slack_rules import (
    BLOCKS,
    LEAVES,
    PRESSABLE,
    RICH_PARTS,
    check_blocks,
    check_metadata,
    check_view,
    text_length,
)

Json = dict[str, Any]


def plain(text: str = "x") -> Json:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str = "x") -> Json:
    return {"type": "mrkdwn", "text": text}


def button(**more: Any) -> Json:
    return {"type": "button", "text": plain(), "action_id": "go"} | more


def option(value: str = "v", **more: Any) -> Json:
    return {"text": plain(), "value": value} | more


def options(count: int) -> list[Json]:
    return [option(str(number)) for number in range(count)]


def actions(*elements: Json) -> Json:
    return {"type": "actions", "elements": list(elements)}


def section(text: str = "x", **more: Any) -> Json:
    return {"type": "section", "text": mrkdwn(text)} | more


def asked(element: Json, **more: Any) -> Json:
    return {"type": "input", "label": plain(), "element": element} | more


def typed(**more: Any) -> Json:
    return {"type": "plain_text_input", "action_id": "text"} | more


def confirm(title: int = 1, text: int = 1, yes: int = 1, no: int = 1) -> Json:
    wide = plain("x" * title), mrkdwn("x" * text), plain("x" * yes), plain("x" * no)
    return dict(zip(("title", "text", "confirm", "deny"), wide, strict=True))


def radio(count: int = 2, **more: Any) -> Json:
    return {"type": "radio_buttons", "action_id": "r", "options": options(count)} | more


def select(count: int = 2, **more: Any) -> Json:
    return {"type": "static_select", "action_id": "s", "options": options(count)} | more


def rich(*parts: Json) -> Json:
    return {"type": "rich_text", "elements": list(parts)}


def rich_section(*leaves: Json) -> Json:
    return {"type": "rich_text_section", "elements": list(leaves)}


def modal(**more: Any) -> Json:
    return {"type": "modal", "title": plain(), "blocks": [section()]} | more


# The largest that Slack takes, and how it is made: one more is refused.
BLOCK_LIMITS: dict[str, tuple[int, Callable[[int], Json]]] = {
    "section text": (3000, lambda size: section("x" * size)),
    "section fields": (10, lambda size: {"type": "section", "fields": [mrkdwn()] * size}),
    "section field": (2000, lambda size: {"type": "section", "fields": [mrkdwn("x" * size)]}),
    "header": (150, lambda size: {"type": "header", "text": plain("x" * size)}),
    "context elements": (10, lambda size: {"type": "context", "elements": [mrkdwn()] * size}),
    "actions elements": (25, lambda size: actions(*(button(action_id=str(each)) for each in range(size)))),
    "button text": (75, lambda size: actions(button(text=plain("x" * size)))),
    "button value": (2000, lambda size: actions(button(value="x" * size))),
    "button url": (3000, lambda size: actions(button(url="https://e.example/".ljust(size, "x")))),
    "action_id": (255, lambda size: actions(button(action_id="x" * size))),
    "block_id": (255, lambda size: section(block_id="x" * size)),
    "accessibility label": (75, lambda size: actions(button(accessibility_label="x" * size))),
    "confirm title": (100, lambda size: actions(button(confirm=confirm(title=size)))),
    "confirm text": (300, lambda size: actions(button(confirm=confirm(text=size)))),
    "confirm yes": (30, lambda size: actions(button(confirm=confirm(yes=size)))),
    "confirm no": (30, lambda size: actions(button(confirm=confirm(no=size)))),
    "option text": (75, lambda size: actions(radio(options=[option(text=plain("x" * size))]))),
    "option value": (150, lambda size: actions(radio(options=[option("x" * size)]))),
    "option description": (75, lambda size: actions(radio(options=[option(description=plain("x" * size))]))),
    "radio options": (10, lambda size: actions(radio(size))),
    "select options": (100, lambda size: actions(select(size))),
    "placeholder": (150, lambda size: asked(typed(placeholder=plain("x" * size)))),
    "label": (2000, lambda size: asked(typed(), label=plain("x" * size))),
    "hint": (2000, lambda size: asked(typed(), hint=plain("x" * size))),
    "input max_length": (3000, lambda size: asked(typed(max_length=size))),
    "input min_length": (3000, lambda size: asked(typed(min_length=size))),
    "initial_value": (20, lambda size: asked(typed(max_length=20, initial_value="x" * size))),
    "image title": (2000, lambda size: picture(title=plain("x" * size))),
    "image alt_text": (2000, lambda size: picture(alt_text="x" * size)),
    "list indent": (8, lambda size: rich(bullets(indent=size))),
    "overflow options": (
        5,
        lambda size: actions({"type": "overflow", "action_id": "o", "options": options(size)}),
    ),
}


def picture(**more: Any) -> Json:
    return {"type": "image", "image_url": "https://e.example/a.png", "alt_text": "a chart"} | more


def bullets(**more: Any) -> Json:
    item = rich_section({"type": "text", "text": "x"})
    return {"type": "rich_text_list", "style": "bullet", "elements": [item]} | more


@pytest.mark.parametrize("name", BLOCK_LIMITS)
def test_a_block_at_its_limit_is_taken_and_one_more_is_refused(name: str) -> None:
    most, make = BLOCK_LIMITS[name]
    assert check_blocks([make(most)], "message") == []
    assert check_blocks([make(most + 1)], "message") != []


@pytest.mark.parametrize(("surface", "most"), [("message", 50), ("modal", 100), ("home", 100)])
def test_a_surface_takes_so_many_blocks_and_no_more(surface: Any, most: int) -> None:
    assert check_blocks([{"type": "divider"}] * most, surface) == []
    assert check_blocks([{"type": "divider"}] * (most + 1), surface) == [
        f"no more than {most} items allowed [json-pointer:/blocks]"
    ]


def test_a_problem_is_worded_as_slack_words_it() -> None:
    assert check_blocks([section("x" * 3001)], "message") == [
        "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
    ]


REFUSED = {
    "an unknown block": {"type": "carousel"},
    "a block without a type": {"text": plain()},
    "a block that is no object": "section",
    "an unknown field on a block": section(color="red"),
    "an unknown field on an element": actions(button(colour="red")),
    "an unknown field on a text": {"type": "header", "text": plain() | {"bold": True}},
    "an emoji flag on mrkdwn": {"type": "section", "text": mrkdwn() | {"emoji": True}},
    "a section without text or fields": {"type": "section"},
    "a header in mrkdwn": {"type": "header", "text": mrkdwn()},
    "a button in mrkdwn": actions(button(text=mrkdwn())),
    "a label in mrkdwn": asked(typed(), label=mrkdwn()),
    "a text without words": section(""),
    "an invented style": actions(button(style="warning")),
    "a button without text": actions({"type": "button"}),
    "an empty actions block": actions(),
    "an unknown element": actions({"type": "slider"}),
    "an input element among actions": actions(typed()),
    "a button as an input": asked(button()),
    "a repeated action_id in a block": actions(button(), button()),
    "an image without alt_text": {"type": "image", "image_url": "https://e.example/a.png"},
    "an image without a source": {"type": "image", "alt_text": "x"},
    "an image of two sources": picture(slack_file={"id": "F1"}),
    "an image by another scheme": picture(image_url="javascript:alert(1)"),
    "a url without a scheme": actions(button(url="e.example")),
    "no options": actions(radio(0)),
    "options and groups": actions(select(option_groups=[{"label": plain(), "options": options(1)}])),
    "a select without options": actions({"type": "static_select", "action_id": "s"}),
    "an initial option of none offered": actions(radio(initial_option=option("other"))),
    "two options of one value": actions(radio(options=[option("v"), option("v")])),
    "an option in mrkdwn of a select": actions(select(options=[option(text=mrkdwn())])),
    "a half confirm object": actions(button(confirm={"title": plain(), "text": plain()})),
    "min above max": asked(typed(min_length=5, max_length=4)),
    "a max_length of nothing": asked(typed(max_length=0)),
    "an American date": actions({"type": "datepicker", "action_id": "d", "initial_date": "12/31/2026"}),
    "a date that never was": actions({"type": "datepicker", "action_id": "d", "initial_date": "2026-02-30"}),
    "a time past midnight": actions({"type": "timepicker", "action_id": "t", "initial_time": "24:01"}),
    "a number without is_decimal_allowed": asked({"type": "number_input", "action_id": "n"}),
    "a rich text leaf of no kind": rich(rich_section({"type": "marquee", "text": "x"})),
    "an empty rich text leaf": rich(rich_section({"type": "text", "text": ""})),
    "an invented rich style": rich(rich_section({"type": "text", "text": "x", "style": {"blink": True}})),
    "text straight in a rich list": rich(bullets(elements=[{"type": "text", "text": "x"}])),
    "a mention in a code block": rich(
        {"type": "rich_text_preformatted", "elements": [{"type": "user", "user_id": "U1"}]}
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_slack_refuses(name: str) -> None:
    assert check_blocks([REFUSED[name]], "message") != []


TAKEN = {
    "a section of fields alone": {"type": "section", "fields": [plain(), mrkdwn()]},
    "verbatim mrkdwn": {"type": "section", "text": mrkdwn() | {"verbatim": True}},
    "a button as an accessory": section(accessory=button(style="danger", confirm=confirm())),
    "an image as an accessory": section(
        accessory={"type": "image", "image_url": "https://e.example/a", "alt_text": "x"}
    ),
    "a radio option in mrkdwn": actions(radio(options=[option(text=mrkdwn("*bold*"))])),
    "an initial option": actions(radio(initial_option=option("1"))),
    "grouped options": actions(
        {"type": "static_select", "action_id": "s", "option_groups": [{"label": plain(), "options": options(2)}]}
    ),
    "checkboxes with two ticked": asked(
        {"type": "checkboxes", "action_id": "c", "options": options(3), "initial_options": options(2)}
    ),
    "a date": actions({"type": "datepicker", "action_id": "d", "initial_date": "2026-12-31"}),
    "a time": actions({"type": "timepicker", "action_id": "t", "initial_time": "09:05"}),
    "people": asked({"type": "multi_users_select", "action_id": "u", "initial_users": ["U1"]}, optional=True),
    "a context of both": {"type": "context", "elements": [mrkdwn(), plain()]},
    "rich text of every kind": rich(
        rich_section(
            {"type": "text", "text": "x", "style": {"bold": True, "code": True}},
            {"type": "link", "url": "https://e.example/", "text": "x"},
            {"type": "user", "user_id": "U1"},
            {"type": "emoji", "name": "wave"},
            {"type": "date", "timestamp": 1_790_000_000, "format": "{date}"},
        ),
        bullets(indent=1, style="ordered"),
        {"type": "rich_text_quote", "elements": [{"type": "text", "text": "x"}]},
        {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "x"}]},
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_slack_takes(name: str) -> None:
    for surface in ("message", "modal", "home"):
        assert check_blocks([TAKEN[name]], surface) == []


def test_a_block_id_stands_once_in_a_message_and_an_action_id_once_in_a_block() -> None:
    twice = [section(block_id="a"), section(block_id="a")]
    assert check_blocks(twice, "message") == ["block_id must be unique: a [json-pointer:/blocks/1/block_id]"]
    assert check_blocks([actions(button()), actions(button())], "message") == []


def test_one_element_only_may_take_the_focus() -> None:
    both = [asked(typed(action_id=name, focus_on_load=True)) for name in "ab"]
    assert check_blocks(both[:1], "modal") == []
    assert check_blocks(both, "modal") != []


def test_blocks_that_are_no_list_are_refused() -> None:
    assert check_blocks({"type": "divider"}, "message") == ["must provide an array [json-pointer:/blocks]"]


@pytest.mark.parametrize("surface", ["modal", "home"])
def test_markdown_blocks_are_for_messages_only(surface: Any) -> None:
    block = {"type": "markdown", "text": "**x**"}
    assert check_blocks([block], "message") == []
    assert check_blocks([block], surface) != []


VIEW_LIMITS: dict[str, tuple[int, Callable[[int], Json]]] = {
    "title": (24, lambda size: modal(title=plain("x" * size))),
    "submit": (24, lambda size: modal(submit=plain("x" * size))),
    "close": (24, lambda size: modal(close=plain("x" * size))),
    "private_metadata": (3000, lambda size: modal(private_metadata="x" * size)),
    "callback_id": (255, lambda size: modal(callback_id="x" * size)),
    "external_id": (255, lambda size: modal(external_id="x" * size)),
    "blocks": (100, lambda size: modal(blocks=[{"type": "divider"}] * size)),
}


@pytest.mark.parametrize("name", VIEW_LIMITS)
def test_a_modal_at_its_limit_is_taken_and_one_more_is_refused(name: str) -> None:
    most, make = VIEW_LIMITS[name]
    assert check_view(make(most), "modal") == []
    assert check_view(make(most + 1), "modal") != []


@pytest.mark.parametrize(
    "view",
    [
        modal(title=mrkdwn()),
        {"type": "modal", "blocks": []},
        {"type": "modal", "title": plain()},
        {"type": "home", "blocks": []},
        modal(colour="red"),
        modal(blocks=[asked(typed())]),
        modal(notify_on_close="yes"),
    ],
)
def test_a_modal_is_refused(view: Json) -> None:
    assert check_view(view, "modal") != []


def test_a_modal_with_an_input_needs_a_submit_button() -> None:
    assert check_view(modal(blocks=[asked(typed())], submit=plain()), "modal") == []


def test_a_home_tab_has_no_title() -> None:
    assert check_view({"type": "home", "blocks": [section()]}, "home") == []
    assert check_view({"type": "home", "blocks": [section()], "title": plain()}, "home") != []


def test_metadata_has_a_type_and_a_payload_of_limited_size() -> None:
    assert check_metadata({"event_type": "ask", "event_payload": {"id": "1"}}) is None
    assert check_metadata({"event_type": "ask"}) == "invalid_metadata_schema"
    assert check_metadata({"event_type": "ask", "event_payload": [1]}) == "invalid_metadata_schema"
    assert check_metadata({"event_type": "ask", "event_payload": {}, "more": 1}) == "invalid_metadata_format"
    assert check_metadata("ask") == "invalid_metadata_format"
    room = 16_000 - len('{"event_type": "a", "event_payload": {"k": ""}}')
    assert check_metadata({"event_type": "a", "event_payload": {"k": "x" * room}}) is None
    assert check_metadata({"event_type": "a", "event_payload": {"k": "x" * (room + 1)}}) == "metadata_too_large"


def test_text_is_counted_at_every_depth() -> None:
    blocks = [section("four", fields=[mrkdwn("ab")]), rich(rich_section({"type": "text", "text": "abc"}))]
    assert text_length(blocks) == 9


KINDS = st.sampled_from([*BLOCKS, *LEAVES, *PRESSABLE, *RICH_PARTS, "plain_text", "mrkdwn", "plain_text_input"])
NAMES = st.sampled_from(
    ["type", "text", "elements", "options", "accessory", "element", "fields", "initial_option", "min_length", "style"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)


@given(JSON, st.sampled_from(["message", "modal", "home"]))
def test_whatever_is_sent_gets_an_answer_and_never_an_exception(payload: Any, surface: Any) -> None:
    assert isinstance(check_blocks(payload, surface), list)
    assert isinstance(check_blocks([payload], surface), list)
    assert isinstance(check_view(payload, "modal"), list)
    assert text_length(payload) >= 0
    assert check_metadata(payload) in (None, "invalid_metadata_format", "invalid_metadata_schema")
