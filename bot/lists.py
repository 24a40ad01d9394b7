"""Short lists of findings, for `/nhi findings` and `/nhi unowned`. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bot.messages import Message
from bot.render import Json, harmless, say
from nhi.tables import FindingRow
from nhi.words import sentence

LINES_AT_MOST = 15


def findings(heading: str, rows: Sequence[FindingRow], word: str, page: int = 1) -> Message:
    """Return a heading and one page of findings, each a line; names stand in elements that mean nothing.

    `word` is what was typed after `/nhi`, for the next page; a page beyond the last is the last.
    """
    pages = max(1, math.ceil(len(rows) / LINES_AT_MOST))
    page = min(max(1, page), pages)
    parts: list[Json] = [_section(heading)]
    if rows:
        lines = [_section(_line(row)) for row in rows[(page - 1) * LINES_AT_MOST : page * LINES_AT_MOST]]
        parts.append({"type": "rich_text_list", "style": "bullet", "elements": lines})
    blocks: list[Json] = [{"type": "rich_text", "elements": parts}]
    if pages > 1:
        blocks.append(say("commands.page", page=page, pages=pages, word=word).context())
    return Message(blocks=blocks, text=harmless(heading))


def _line(row: FindingRow) -> str:
    about = {"severity": row.severity.value, "name": row.identity.name, "account": row.identity.account}
    return sentence("commands.line", **about, why=row.why)


def _section(text: str) -> Json:
    return {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
