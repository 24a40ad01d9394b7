"""Short lists of findings, for `/nhi findings` and `/nhi unowned`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.messages import Message
from bot.render import Json, harmless
from nhi.redact import tidy
from nhi.tables import FindingRow

LINES_AT_MOST = 15


def findings(heading: str, rows: Sequence[FindingRow]) -> Message:
    """Return a heading and the first LINES_AT_MOST findings, each a line; names stand in elements that mean nothing."""
    parts: list[Json] = [_section(heading)]
    if rows:
        lines = [_section(_line(row)) for row in rows[:LINES_AT_MOST]]
        parts.append({"type": "rich_text_list", "style": "bullet", "elements": lines})
    if len(rows) > LINES_AT_MOST:
        parts.append(_section(f"And {len(rows) - LINES_AT_MOST:,} more: `nhi findings` on the command line lists all."))
    return Message(blocks=[{"type": "rich_text", "elements": parts}], text=harmless(heading))


def _line(row: FindingRow) -> str:
    identity = row.identity
    return f"{row.severity.value}: {tidy(identity.name, 60)} in {tidy(identity.account, 40)}. {tidy(row.why, 200)}"


def _section(text: str) -> Json:
    return {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
