"""What somebody typed after `/nhi`, and in whose name."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.orm import Session

from bot.slack import Bot, Json
from nhi.policy import Policy
from nhi.tables import PersonRow
from nhi.working_days import zone


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One command: who typed it, what follows the first word, and when."""

    session: Session
    who: PersonRow
    rest: str
    policy: Policy
    now: datetime
    later: Callable[..., None]  # after the commit
    bot: Bot
    body: Json

    @property
    def today(self) -> date:
        """The day that it is for who typed it."""
        return self.now.astimezone(zone(self.who.tz)).date()


def plain_text(typed: str) -> str:
    """Return what somebody typed, without Slack's marks: `<mailto:a@b.c|a@b.c>` is `a@b.c`, `&amp;` is `&`."""
    typed = re.sub(r"<(?:mailto:|tel:)?([^|>]*)(?:\|[^>]*)?>", r"\1", typed)
    return html.unescape(typed)


def mentioned(typed: str | None) -> list[str]:
    """Return the Slack ids of the people that a text mentions."""
    return re.findall(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>", typed or "")
