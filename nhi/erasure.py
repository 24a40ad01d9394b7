"""Taking a person's data out of the ledger, on request, without breaking its chain.

Erased are the personal parts of events, which lie apart under salted commitments; without the salt, nobody can tell
from a commitment what it was made of. That it was done, and to which events, is itself an event.

Not erased are attestations, questions and ownership: they are the record of who decided what, kept because the law or
a contract asks for it (GDPR, article 17(3)(b) and (e)), and end with that record's own time. A click in the inbox names
who pressed until it is decided, which takes seconds, and nobody after that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from nhi import ledger
from nhi.database import lock_writers
from nhi.tables import AskRow, AttestationRow, EventPrivateRow, OwnerRow, PersonRow

Json = dict[str, Any]
AT_ONCE = 500  # rows in one DELETE; SQLite takes so many parameters in all its versions


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What an erasure did, and what it left on purpose."""

    events: int
    attestations: int
    asks: int
    owners: int


def erase(session: Session, email: str, *, now: datetime) -> Erased:
    """Erase the personal part of every event that names this person, by e-mail address or Slack id.

    A part that names somebody else too goes as a whole. Returns what was erased, and how many records still name the
    person. Does nothing, and tells the ledger nothing, where no event names them.
    """
    lock_writers(session)
    address = email.strip().lower()
    person = session.scalar(select(PersonRow).where(PersonRow.email == address))
    names = _names({address} | ({person.slack_id} if person else set()))
    rows = session.execute(select(EventPrivateRow.seq, EventPrivateRow.body).order_by(EventPrivateRow.seq))
    found = [seq for seq, body in rows if any(map(names.search, _texts(json.loads(body))))]
    for start in range(0, len(found), AT_ONCE):
        session.execute(delete(EventPrivateRow).where(EventPrivateRow.seq.in_(found[start : start + AT_ONCE])))
    if found:
        ledger.record(session, ledger.ERASED, now=now, facts={"events": found})
    return Erased(
        events=len(found),
        attestations=_count(session, AttestationRow.email, address),
        asks=_count(session, AskRow.email, address),
        owners=_count(session, OwnerRow.email, address),
    )


def _count(session: Session, column: Any, address: str) -> int:
    return session.scalar(select(func.count()).where(column == address)) or 0


def _names(marks: set[str]) -> re.Pattern[str]:
    """Return what finds a mark that stands for itself: diana@example.com does not name ana@example.com."""
    any_of = "|".join(re.escape(mark) for mark in sorted(marks))
    return re.compile(rf"(?<![\w.+-])(?:{any_of})(?![\w-])", re.IGNORECASE)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield key
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case _:
            return
