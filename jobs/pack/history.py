"""The ledger as a pack holds it: each event's line, what is kept back of it, the seals over it, and proofs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.pack.model import Decision, Json
from nhi.ledger import ERASED
from nhi.merkle import Tree, leaf_hash
from nhi.redact import without_secrets
from nhi.tables import CheckpointRow, EventPrivateRow, EventRow
from nhi.verify_ledger import line_of


class History:
    """The events as lines, up to where they were read. What looks like a secret is kept back, and said to be.

    `withheld` and `private_withheld` are the numbers of events whose text, or whose personal part, is not shown;
    `lost` of those whose personal part is gone from the database without an erasure on the record.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.leaves: list[bytes] = []
        self.withheld: list[int] = []
        self.private_withheld: list[int] = []
        self._without: set[int] = set()
        self._erased: set[int] = set()

    @property
    def lost(self) -> list[int]:
        return sorted(self._without - self._erased)

    def read(self, session: Session, up_to: int | None = None) -> None:
        """Read on from where the last reading ended."""
        query = (
            select(
                *(EventRow.seq, EventRow.kind, EventRow.body, EventRow.prev_hash, EventRow.hash, EventPrivateRow.salt),
                EventPrivateRow.body.label("private"),
            )
            .outerjoin(EventPrivateRow, EventPrivateRow.seq == EventRow.seq)
            .where(EventRow.seq > len(self.lines))
            .order_by(EventRow.seq)
        )
        if up_to is not None:
            query = query.where(EventRow.seq <= up_to)
        for row in session.execute(query, execution_options={"yield_per": 1000}):
            self.lines.append(line_of(self._record(row)))

    def _record(self, row: Any) -> Json:
        told, leaf = json.loads(row.body), leaf_hash(row.body.encode())
        self.leaves.append(leaf)
        links = {"prev_hash": row.prev_hash, "hash": row.hash}
        if holds_secret(told):
            self.withheld.append(row.seq)
            return {**links, "seq": row.seq, "withheld": leaf.hex()}
        if row.kind == ERASED:
            self._erased.update(told["facts"]["events"])
        if row.private is None and "private" in told:
            self._without.add(row.seq)
        if row.private is None or holds_secret(json.loads(row.private)):
            self.private_withheld += [row.seq] if row.private is not None else []
            return {**links, "body": row.body, "private": None}
        return {**links, "body": row.body, "private": {"salt": row.salt, "body": row.private}}

    def as_file(self) -> bytes:
        return "".join(f"{line}\n" for line in self.lines).encode()


def holds_secret(value: Any) -> bool:
    """Whether any text in a value, keys included, looks like a secret; the ids of access keys do not count."""
    match value:
        case str():
            return without_secrets(value) != value
        case dict():
            return any(holds_secret(key) or holds_secret(item) for key, item in value.items())
        case list() | tuple():
            return any(holds_secret(item) for item in value)
        case _:
            return False


def seal(session: Session, files: dict[str, bytes], history: History, decisions: Iterable[Decision], size: int) -> None:
    """Add the ledger up to its last seal, the seals, and proofs of the decisions; then MANIFEST over everything."""
    history.read(session, size)
    files["events.jsonl"] = history.as_file()
    rows = list(session.scalars(select(CheckpointRow).where(CheckpointRow.size <= size).order_by(CheckpointRow.size)))
    files["checkpoints.jsonl"] = lines({"size": row.size, "root": row.root, "note": row.note} for row in rows)
    files["checkpoint.note"] = rows[-1].note.encode()
    files["proofs.jsonl"] = lines(_proofs(Tree(history.leaves), decisions))
    listed = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    files["MANIFEST"] = "".join(listed).encode()


def _proofs(tree: Tree, decisions: Iterable[Decision]) -> Iterator[Json]:
    for seq in sorted({one.event for one in decisions if one.event is not None}):
        path = [digest.hex() for digest in tree.inclusion(seq - 1)]
        yield {"seq": seq, "size": len(tree), "path": path}


def lines(records: Iterable[Json]) -> bytes:
    """Return records as JSON, a line each."""
    return "".join(f"{line_of(record)}\n" for record in records).encode()
