"""Small checks that combine into a description of a JSON shape, with Slack's own wording for what is wrong.

A check takes a value and the JSON pointer of where it stands, and yields one sentence for each problem. The sentences
are those that Slack puts into `response_metadata.messages`, so that a developer who looks one up finds help.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Check = Callable[[Any, str], Iterator[str]]


def problem(words: str, at: str) -> str:
    """Word a problem as Slack does: the sentence, then the JSON pointer of the place."""
    return f"{words} [json-pointer:{at}]"


def string(most: int = 3000, least: int = 1, pattern: str | None = None, expected: str = "") -> Check:
    """Check a string of `least` to `most` characters that matches `pattern` as a whole, where one is given."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield problem("must provide a string", at)
        elif len(value) > most:
            yield problem(f"must be less than {most + 1} characters", at)
        elif len(value) < least:
            yield problem(f"must be more than {least - 1} characters", at)
        elif pattern and not re.fullmatch(pattern, value, re.DOTALL):
            yield problem(f"must be {expected}", at)

    return check


def integer(least: int = 0, most: int = 2**53) -> Check:
    """Check a whole number in a range, ends included."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield problem("must provide an integer", at)
        elif not least <= value <= most:
            yield problem(f"must be between {least} and {most}", at)

    return check


def boolean(value: Any, at: str) -> Iterator[str]:
    """Check true or false."""
    if not isinstance(value, bool):
        yield problem("must provide a boolean", at)


def one_of(*words: str) -> Check:
    """Check a word out of a fixed set."""

    def check(value: Any, at: str) -> Iterator[str]:
        if value not in words:
            yield problem(f"must be one of: {', '.join(words)}", at)

    return check


def list_of(item: Check, most: int, least: int = 1) -> Check:
    """Check a list of `least` to `most` items, each of which passes `item`."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield problem("must provide an array", at)
            return
        if len(value) > most:
            yield problem(f"no more than {most} items allowed", at)
        if len(value) < least:
            yield problem(f"no fewer than {least} items allowed", at)
        for index, each in enumerate(value[:most]):
            yield from item(each, f"{at}/{index}")

    return check


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *more: Check) -> Check:
    """Check an object: every required field, no unknown field, then `more` checks of the object as a whole."""
    known = {**required, **(optional or {})}

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield problem("must provide an object", at)
            return
        found = [problem(f"missing required field: {name}", at) for name in required if name not in value]
        for name, each in value.items():
            if name in known:
                found += known[name](each, f"{at}/{name}")
            else:
                found.append(problem(f"invalid additional property: {name}", at))
        yield from found
        # Checks of the object as a whole may rely on fields that are each in order.
        for extra in () if found else more:
            yield from extra(value, at)

    return check


def by_type(kinds: Mapping[str, Check]) -> Check:
    """Check an object by the entry for its `type`."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield problem("must provide an object", at)
        elif "type" not in value:
            yield problem("missing required field: type", at)
        elif not isinstance(value["type"], str) or value["type"] not in kinds:
            yield problem(f"unsupported type: {value['type']}", f"{at}/type")
        else:
            yield from kinds[value["type"]](value, at)

    return check


def typed(kind: str, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *more: Check) -> Check:
    """Check an object whose `type` is `kind`."""
    return fields({"type": one_of(kind), **required}, optional, *more)


def exactly_one(*names: str) -> Check:
    """Check that one, and only one, of these fields is there."""

    def check(value: Any, at: str) -> Iterator[str]:
        if sum(name in value for name in names) != 1:
            yield problem(f"must define exactly one of: {', '.join(names)}", at)

    return check


def at_least_one(*names: str) -> Check:
    """Check that one or more of these fields are there."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not any(name in value for name in names):
            yield problem(f"must define at least one of: {', '.join(names)}", at)

    return check
