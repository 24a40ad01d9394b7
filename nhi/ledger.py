"""The one way into the append-only history.

An event is written in the transaction of the change that it tells of. Its body is RFC 8785 canonical JSON, chained by
SHA-256 to the event before; its numbers have no gap. What is personal lies apart, under a salted commitment in the
body, so that it can be erased without breaking the chain.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

import rfc8785
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from nhi.database import lock_writers
from nhi.tables import EventPrivateRow, EventRow

GENESIS = "0" * 64
_HEAD = "ledger.head"  # in Session.info: who appended last in which transaction
_SAFE_INTEGER = 2**53 - 1


def record(
    session: Session,
    kind: str,
    *,
    now: datetime,
    identity_id: str | None = None,
    facts: Mapping[str, Any] | None = None,
    private: Mapping[str, Any] | None = None,
) -> EventRow:
    """Append one event to the ledger, within the caller's transaction.

    `kind` reads "finding.opened". `private` holds what tells of people (names, e-mail addresses, their words); only a
    salted commitment to it is chained.
    """
    lock_writers(session)
    last_seq, prev_hash = _head(session)
    seq = last_seq + 1
    body: dict[str, Any] = {"seq": seq, "at": now, "kind": kind, "identity": identity_id, "facts": dict(facts or {})}
    salt = secrets.token_hex(32)
    if private:
        body["private"] = commitment(salt, canonical(private))
    text_body = canonical(body).decode()
    row = EventRow(
        seq=seq,
        at=now,
        kind=kind,
        identity_id=identity_id,
        body=text_body,
        prev_hash=prev_hash,
        hash=chain(prev_hash, text_body),
    )
    session.add(row)
    if session.in_nested_transaction():
        session.info.pop(_HEAD, None)  # a savepoint may be rolled back alone, and this event with it
    else:
        session.info[_HEAD] = (session.get_transaction(), seq, row.hash)
    if private:
        session.flush()
        session.add(EventPrivateRow(seq=seq, salt=salt, body=canonical(private).decode()))
        session.flush()
    return row


def _head(session: Session) -> tuple[int, str]:
    """Return the number and hash of the last event, (0, GENESIS) where there is none.

    While this transaction lasts nobody else can append (SQLite: BEGIN IMMEDIATE; PostgreSQL: the writers' lock), so
    what it appended itself is still the last. Inside a savepoint, and after one, the table is asked.
    """
    transaction, seq, last_hash = session.info.get(_HEAD, (None, 0, GENESIS))
    if transaction is not None and transaction is session.get_transaction() and not session.in_nested_transaction():
        return int(seq), str(last_hash)
    session.flush()
    last = session.execute(select(EventRow.seq, EventRow.hash).order_by(EventRow.seq.desc()).limit(1)).first()
    return (last.seq, last.hash) if last else (0, GENESIS)


def chain(prev_hash: str, body: str) -> str:
    """Return the hash of an event: SHA-256 over the former hash and the canonical body."""
    return hashlib.sha256(bytes.fromhex(prev_hash) + body.encode()).hexdigest()


def commitment(salt: str, private: bytes) -> str:
    """Return what stands in the body for the personal part: it cannot be guessed without the salt."""
    return hashlib.sha256(bytes.fromhex(salt) + private).hexdigest()


def canonical(value: Any) -> bytes:
    """Return RFC 8785 canonical JSON of any value that we meet; a hostile name never stops the ledger.

    Times become RFC 3339 in UTC, integers past 2^53 and odd floats become strings, lone surrogates are replaced.
    """
    return rfc8785.dumps(plain(value))


def plain(value: Any) -> Any:
    """Return the value in JSON's own types."""
    match value:
        case None | bool():
            return value
        case Enum():
            return plain(value.value)
        case str():
            return value.encode("utf-8", "replace").decode()
        case int():
            return value if abs(value) <= _SAFE_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime():
            return instant(value)
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {plain(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return plain(str(value))


def instant(moment: datetime) -> str:
    """Return an instant as RFC 3339 in UTC, to the second where it is whole: `2026-05-01T00:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a check of the chain found. `first_wrong` is the number of the first wrong event; None: all is well."""

    events: int
    last_hash: str
    first_wrong: int | None
    why: str | None


def verify(session: Session) -> Verified:
    """Walk the whole chain and check numbers, links, hashes, and that the columns say what the bodies say."""
    expected, prev_hash = 1, GENESIS
    for event in _events(session):
        why = _wrong(event, expected, prev_hash)
        if why:
            return Verified(events=expected - 1, last_hash=prev_hash, first_wrong=expected, why=why)
        expected, prev_hash = expected + 1, event.hash
    return Verified(events=expected - 1, last_hash=prev_hash, first_wrong=None, why=None)


def _events(session: Session) -> Iterator[EventRow]:
    yield from session.scalars(select(EventRow).order_by(EventRow.seq).execution_options(yield_per=1000))


def _wrong(event: EventRow, expected: int, prev_hash: str) -> str | None:
    if event.seq != expected:
        return f"event {expected} is missing"
    if event.prev_hash != prev_hash:
        return "it does not follow the event before it"
    if chain(prev_hash, event.body) != event.hash:
        return "its body was changed after it was written"
    columns = {"seq": event.seq, "at": instant(event.at), "kind": event.kind, "identity": event.identity_id}
    if not _says(event.body, columns):
        return "its columns do not say what its body says"
    return None


def _says(body: str, columns: Mapping[str, Any]) -> bool:
    """Whether a body says what the columns say; whoever rewrote the chain may have left anything in it."""
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and columns.items() <= told.items()


def count(session: Session) -> int:
    """Return how many events there are."""
    return session.scalar(select(func.count()).select_from(EventRow)) or 0
