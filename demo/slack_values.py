"""What a person fills in: from simple values to Slack's `state.values`, and what Slack's client refuses to submit."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from demo.slack_rules import elements_of
from demo.slack_state import Json

# The field of state.values and of an action that carries what was chosen, by the type of the element.
CARRIES = {
    "plain_text_input": "value",
    "number_input": "value",
    "email_text_input": "value",
    "url_text_input": "value",
    "radio_buttons": "selected_option",
    "static_select": "selected_option",
    "overflow": "selected_option",
    "checkboxes": "selected_options",
    "multi_static_select": "selected_options",
    "datepicker": "selected_date",
    "timepicker": "selected_time",
    "datetimepicker": "selected_date_time",
    "users_select": "selected_user",
    "multi_users_select": "selected_users",
    "channels_select": "selected_channel",
    "conversations_select": "selected_conversation",
}
INITIAL = {"selected_option": "initial_option", "selected_options": "initial_options", "value": "initial_value"}
REQUIRED_WORDS = "Please complete this required field."


def options_of(element: Json) -> list[Json]:
    """Return the options of an element, those in groups included."""
    grouped = [option for group in element.get("option_groups", []) for option in group["options"]]
    return [*element.get("options", []), *grouped]


def find_option(element: Json, choice: object) -> Json:
    """Return the option with this value or label; raises LookupError that says which there are."""
    for option in options_of(element):
        if choice in (option.get("value"), option["text"]["text"]):
            return option
    known = ", ".join(str(option.get("value")) for option in options_of(element))
    raise LookupError(f"{element['action_id']} has no option {choice!r}; it has {known}")


def carried(element: Json, simple: Any) -> Any:
    """Return what Slack carries for a simple value: an option object for its value, a list of them for a list."""
    name = CARRIES[element["type"]]
    if simple is None or simple == "":
        return [] if name.endswith("s") else None
    if name == "selected_option":
        return find_option(element, simple)
    if name == "selected_options":
        return [find_option(element, each) for each in ([simple] if isinstance(simple, str) else simple)]
    return [simple] if name == "selected_users" and isinstance(simple, str) else simple


def initial(element: Json) -> Any:
    """Return what an element carries before anybody touched it."""
    name = CARRIES[element["type"]]
    found = element.get(INITIAL.get(name, name.replace("selected", "initial")))
    return [] if found is None and name.endswith("s") else found


def fillable(blocks: list[Json]) -> Iterator[tuple[Json, Json]]:
    """Yield each block and element that keeps a value: inputs, and choices in sections and actions."""
    for block in blocks:
        for element in elements_of(block):
            if element["type"] in CARRIES and element["type"] != "overflow":
                yield block, element


def state_values(blocks: list[Json], simple: Mapping[str, Mapping[str, Any]]) -> Json:
    """Return `state.values` from simple values by block id and action id; what is not named keeps its initial value."""
    values: Json = {}
    for block, element in fillable(blocks):
        given = simple.get(block["block_id"], {})
        name = element["action_id"]
        now = carried(element, given[name]) if name in given else initial(element)
        values.setdefault(block["block_id"], {})[name] = {"type": element["type"], CARRIES[element["type"]]: now}
    return values


def by_ids(blocks: list[Json], named: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort simple values that name an input by label, block id or action id; raises LookupError for any other name."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in named.items():
        for block, element in fillable(blocks):
            label = block.get("label", {}).get("text")
            if name in (label, block["block_id"], element["action_id"]):
                found.setdefault(block["block_id"], {})[element["action_id"]] = value
                break
        else:
            known = ", ".join(element["action_id"] for _, element in fillable(blocks))
            raise LookupError(f"nothing here is called {name!r}; there is {known}")
    return found


def check_values(blocks: list[Json], values: Json) -> dict[str, str]:
    """Return what Slack's own client says beside an input instead of submitting, by block id."""
    errors: dict[str, str] = {}
    for block, element in fillable(blocks):
        if block["type"] != "input":
            continue
        value = values[block["block_id"]][element["action_id"]][CARRIES[element["type"]]]
        words = _complaint(block, element, value)
        if words:
            errors[block["block_id"]] = words
    return errors


def _complaint(block: Json, element: Json, value: Any) -> str:
    if not value:
        return "" if block.get("optional") else REQUIRED_WORDS
    match element["type"]:
        case "plain_text_input":
            return _length_complaint(element, str(value))
        case "number_input":
            return _number_complaint(element, str(value))
        case "email_text_input" if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(value)):
            return "Please enter a valid email address."
        case "url_text_input" if not re.fullmatch(r"https?://\S+", str(value)):
            return "Please enter a valid URL."
    return ""


def _length_complaint(element: Json, value: str) -> str:
    least, most = element.get("min_length", 0), element.get("max_length", 3000)
    if len(value) < least:
        return f"Must be at least {least} characters."
    return f"Must be at most {most} characters." if len(value) > most else ""


def _number_complaint(element: Json, value: str) -> str:
    pattern = r"-?\d+(\.\d+)?" if element.get("is_decimal_allowed") else r"-?\d+"
    if not re.fullmatch(pattern, value):
        return "Please enter a valid number."
    if "min_value" in element and float(value) < float(element["min_value"]):
        return f"Must be at least {element['min_value']}."
    if "max_value" in element and float(value) > float(element["max_value"]):
        return f"Must be at most {element['max_value']}."
    return ""
