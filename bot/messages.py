"""Facts to blocks: frames, buttons, Slack's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Blocks = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Message:
    """What goes to Slack: blocks, and the text that notifications and screen readers get instead."""

    blocks: Blocks
    text: str
