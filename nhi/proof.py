"""Whether the ledger is what it was: its chain, the checkpoints kept in the database, and one kept elsewhere.

The chain shows what was changed in it. The checkpoints, signed with a key that is not in the database, show that it was
not written anew by somebody who has the database. A checkpoint that was kept elsewhere (an anchor) shows also that
nothing was cut from its end, and that no older copy was put in its place: nothing inside the database can show that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import checkpoint, ledger
from nhi.checkpoint import BadNote, Checkpoint, VerifierKey
from nhi.ledger import Verified
from nhi.tables import CheckpointRow, EventRow


@dataclass(frozen=True, kw_only=True)
class Proved:
    """What a check of ledger and checkpoints found. `problems` are whole sentences; none: all is well."""

    verified: Verified
    checkpoints: int
    sealed: int  # events under the newest checkpoint
    unsealed_since: datetime | None  # the time of the first event that no checkpoint covers; None: all are covered
    problems: tuple[str, ...]


def prove(session: Session, *, keys: Sequence[VerifierKey] = (), anchor: str | None = None) -> Proved:
    """Check the chain, every checkpoint kept beside it, and a note that was kept elsewhere.

    A note counts if any of `keys` signed it; without keys, signatures are not checked, only what the notes say. Raises
    BadNote where the anchor cannot be read, or none of the keys signed it.
    """
    outside = _read(anchor, keys) if anchor is not None else None
    rows = list(session.scalars(select(CheckpointRow).order_by(CheckpointRow.size)))
    sizes = {row.size for row in rows} | ({outside.size} if outside else set())
    verified = ledger.verify(session, sizes)
    problems = [f"Event {verified.first_wrong}: {verified.why}."] if verified.first_wrong else []
    problems += [problem for row in rows if (problem := _of_row(row, verified, keys))]
    if outside and (problem := _against(outside, verified, "The anchor")):
        problems.append(problem)
    sealed = rows[-1].size if rows else 0
    return Proved(
        verified=verified,
        checkpoints=len(rows),
        sealed=sealed,
        unsealed_since=session.scalar(select(EventRow.at).where(EventRow.seq == sealed + 1)),
        problems=tuple(problems),
    )


def _read(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    if not keys:
        return checkpoint.read(note)
    for key in keys[:-1]:
        try:
            return checkpoint.verify(note, key)
        except BadNote:
            continue
    return checkpoint.verify(note, keys[-1])


def _of_row(row: CheckpointRow, verified: Verified, keys: Sequence[VerifierKey]) -> str | None:
    try:
        said = _read(row.note, keys)
    except BadNote as error:
        return f"The checkpoint of {row.size} events: {str(error).rstrip('.')}."
    if (said.size, said.root.hex()) != (row.size, row.root):
        return f"The checkpoint of {row.size} events: its columns do not say what its note says."
    return _against(said, verified, "The checkpoint")


def _against(said: Checkpoint, verified: Verified, what: str) -> str | None:
    """Return how the ledger contradicts a checkpoint; None: it does not, or its chain broke before."""
    root = verified.roots.get(said.size)
    if root is None:
        if verified.first_wrong is not None:
            return None
        return f"{what} saw {said.size} events; here are {verified.events}: the end was cut, or an older copy put back."
    return None if root == said.root else f"{what} of {said.size} events has another root: they were written anew."
