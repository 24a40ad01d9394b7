"""The one way into the append-only history.

An event is written in the transaction of the change that it tells of. Its body is RFC 8785 canonical JSON, chained by
SHA-256 to the event before; its numbers have no gap. What is personal lies apart, under a salted commitment in the
body, so that it can be erased without breaking the chain. Secrets are taken out before anything is hashed: what was
once chained could never be taken out again.

The bodies are also the leaves of a Merkle tree (nhi/merkle.py), whose root a signed checkpoint keeps elsewhere: a chain
alone shows neither that its tail was cut, nor that somebody wrote it anew from end to end.

The three hashes need no tags to be told apart: an event is hashed after 32 bytes, a leaf after the one byte 0x00, and
whatever is checked is first read as canonical JSON of the shape that its place asks for.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

import rfc8785
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from nhi.database import lock_writers
from nhi.merkle import Frontier, leaf_hash
from nhi.redact import without_secrets
from nhi.tables import EventPrivateRow, EventRow

GENESIS = "0" * 64
ERASED = "ledger.erased"  # the kind of event that says which personal parts were erased
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
    body: dict[str, Any] = {"seq": seq, "at": now, "kind": kind, "identity": identity_id, "facts": _clean(facts or {})}
    salt, personal = secrets.token_hex(32), canonical(_clean(private or {}))
    if private:
        body["private"] = commitment(salt, personal)
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
        session.add(EventPrivateRow(seq=seq, salt=salt, body=personal.decode()))
        session.flush()
    return row


def _clean(value: Any) -> Any:
    """Return the value in JSON's types, without the secrets that anybody may have put into a name or a tag."""
    match plain(value):
        case str() as text:
            return without_secrets(text)
        case dict() as items:
            return {without_secrets(key): _clean(item) for key, item in items.items()}
        case list() as items:
            return [_clean(item) for item in items]
        case other:
            return other


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
    """What a check of the chain found. `first_wrong` is the number of the first wrong event; None: all is well.

    `roots` holds the Merkle root at each size that was asked for and at the end. `erased` counts personal parts that
    were erased and whose erasure the ledger tells of; `lost` are the numbers of those that are gone without a word.
    """

    events: int
    last_hash: str
    first_wrong: int | None
    why: str | None
    roots: Mapping[int, bytes] = field(default_factory=dict, compare=False)
    erased: int = field(default=0, compare=False)
    lost: tuple[int, ...] = field(default=(), compare=False)


def verify(session: Session, sizes: Collection[int] = ()) -> Verified:
    """Walk the whole chain: numbers, links, hashes, columns that say what the bodies say, and personal parts that are
    those that were committed to. `sizes`: where to take the Merkle root on the way.
    """
    walk = _Walk(frozenset(sizes))
    with closing(_events(session)) as events:
        for event in events:
            why = walk.step(event)
            if why:
                return Verified(
                    events=walk.tree.size,
                    last_hash=walk.last_hash,
                    first_wrong=walk.tree.size + 1,
                    why=why,
                    roots=walk.roots,
                )
    walk.roots[walk.tree.size] = walk.tree.root()
    return Verified(
        events=walk.tree.size,
        last_hash=walk.last_hash,
        first_wrong=None,
        why=None,
        roots=walk.roots,
        erased=len(walk.without_private & walk.erased),
        lost=tuple(sorted(walk.without_private - walk.erased)),
    )


class _Walk:
    """Where a check of the chain has come to."""

    def __init__(self, sizes: frozenset[int]) -> None:
        self.tree = Frontier()
        self.last_hash = GENESIS
        self.roots: dict[int, bytes] = {0: self.tree.root()} if 0 in sizes else {}
        self.without_private: set[int] = set()
        self.erased: set[int] = set()
        self._sizes = sizes

    def step(self, event: Any) -> str | None:
        """Take one event in; return what is wrong with it, or None."""
        body = event.body.encode()
        if event.seq != self.tree.size + 1:
            return f"event {self.tree.size + 1} is missing"
        if event.prev_hash != self.last_hash:
            return "it does not follow the event before it"
        if chain(self.last_hash, event.body) != event.hash:
            return "its body was changed after it was written"
        told = _told(event.body)
        columns = {"seq": event.seq, "at": instant(event.at), "kind": event.kind, "identity": event.identity_id}
        if not columns.items() <= told.items():
            return "its columns do not say what its body says"
        if why := self._private(event, told):
            return why
        self.tree.append(leaf_hash(body))
        self.last_hash = event.hash
        if event.seq in self._sizes:
            self.roots[event.seq] = self.tree.root()
        return None

    def _private(self, event: Any, told: Mapping[str, Any]) -> str | None:
        committed = told.get("private")
        if event.kind == ERASED and isinstance(told.get("facts"), dict):
            self.erased.update(seq for seq in told["facts"].get("events", []) if isinstance(seq, int))
        if event.salt is None:
            if committed is not None:
                self.without_private.add(event.seq)
            return None
        if committed != commitment(event.salt, event.private.encode()):
            return "its personal part is not the one that was written"
        return None


def _events(session: Session) -> Generator[Any, None, None]:
    """Yield all events with their personal parts, a thousand in memory at a time; closing this closes the cursor."""
    query = (
        select(
            *(EventRow.seq, EventRow.at, EventRow.kind, EventRow.identity_id),
            *(EventRow.body, EventRow.prev_hash, EventRow.hash),
            EventPrivateRow.salt,
            EventPrivateRow.body.label("private"),
        )
        .outerjoin(EventPrivateRow, EventPrivateRow.seq == EventRow.seq)
        .order_by(EventRow.seq)
    )
    rows = session.execute(query, execution_options={"yield_per": 1000})
    try:
        yield from rows
    finally:
        rows.close()


def _told(body: str) -> dict[str, Any]:
    """Return what a body says, nothing where it is no JSON object; whoever rewrote it may have left anything in it."""
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def count(session: Session) -> int:
    """Return how many events there are."""
    return session.scalar(select(func.count()).select_from(EventRow)) or 0
