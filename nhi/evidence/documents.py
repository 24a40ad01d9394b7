"""YAML and JSON documents with the line that each value stands on. Pure.

Nothing is constructed: a tag such as CloudFormation's `!Sub` is kept as it stands, an alias is followed once, and
what is larger than code that people write is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

_MOST_NODES = 50_000  # of one file: a few aliases of aliases would be billions
_DEEPEST = 40

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """A text that is no YAML, or too much of it."""


@dataclass(frozen=True)
class Value:
    """One value and where it stands. A text has `text`, a map `items`, a list `members`."""

    first_line: int  # counted from 1
    last_line: int
    tag: str = ""  # "!Sub"; "": none of its own
    text: str | None = None
    items: Mapping[str, Value] = field(default_factory=dict)
    members: tuple[Value, ...] = ()

    def at(self, *path: str) -> Value | None:
        """Return the value below these keys; None: there is none."""
        here: Value | None = self
        for key in path:
            here = here.items.get(key) if here is not None else None
        return here

    def text_at(self, *path: str) -> str | None:
        """Return the plain text below these keys; None: there is none, or it has to be worked out (`!Sub`)."""
        found = self.at(*path)
        return found.text if found is not None and not found.tag else None

    def texts(self) -> dict[str, str]:
        """Return the plain texts of a map."""
        return {key: value.text for key, value in self.items.items() if value.text is not None and not value.tag}


def documents(text: str) -> Iterator[Value]:
    """Yield the documents of a YAML (or JSON) text. Raises Unreadable."""
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            if node is not None:
                yield _Reader().value(node, 0)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(type(error).__name__) from None


class _Reader:
    def __init__(self) -> None:
        self._nodes = 0

    def value(self, node: yaml.Node, depth: int) -> Value:
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise Unreadable("too large")
        first, last = node.start_mark.line + 1, max(node.end_mark.line, node.start_mark.line + 1)
        tag = node.tag if node.tag.startswith("!") else ""
        if isinstance(node, yaml.MappingNode):
            items = {
                str(key.value): self.value(inner, depth + 1)
                for key, inner in node.value
                if isinstance(key, yaml.ScalarNode)
            }
            return Value(first, last, tag, items=items)
        if isinstance(node, yaml.SequenceNode):
            return Value(first, last, tag, members=tuple(self.value(one, depth + 1) for one in node.value))
        return Value(first, last, tag, text=str(node.value))
