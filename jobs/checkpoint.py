"""Seal the ledger: hourly, at each review's close, at an export, and by hand.

A checkpoint is made only of a ledger that was just checked from its first event to its last: a broken one is not
sealed, it is told of. Where policy names anchors, a row says where the checkpoint is to be kept; jobs/anchors.py brings
it there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from jobs.program import Program
from nhi import checkpoint
from nhi.checkpoint import Signer, VerifierKey
from nhi.database import Sessions, reading
from nhi.errors import NhiError
from nhi.policy import Ledger
from nhi.proof import Proved, prove
from nhi.tables import AnchorRow, CheckpointRow, EventRow, new_id

WAITING, KEPT, DEAD = "waiting", "kept", "dead"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What sealing led to. `size` 0: there was nothing to seal."""

    size: int
    note: str
    is_new: bool
    anchors: int  # places that it is now to be brought to

    def sentence(self) -> str:
        """Return the run's account."""
        if not self.size:
            return "There is no event to seal yet."
        places = f" It goes to {self.anchors} place{'' if self.anchors == 1 else 's'}." if self.anchors else ""
        return f"{'Sealed' if self.is_new else 'Sealed before:'} {self.size} events.{places}"


def signer(program: Program) -> Signer:
    """Return who signs. Raises SettingsError where no key is set."""
    setting = program.settings.nhi_signing_key
    return checkpoint.read_signer(
        setting.get_secret_value().strip() if setting else None, program.policy().ledger.origin
    )


def keys(program: Program) -> tuple[VerifierKey, ...]:
    """Return the keys whose signatures count: those that signed before, and today's. Raises SettingsError."""
    former = tuple(VerifierKey.parse(text) for text in program.policy().ledger.former_keys)
    return (*former, signer(program).verifier)


def seal(program: Program, *, because: str, anchor_now: bool = True) -> Made:
    """Check the ledger and sign its size and root; write where the note is to be kept.

    `because` is one of few words: "hourly", "export", "review 2026Q4 closed". A ledger that did not grow is not sealed
    twice. Raises SettingsError where no key is set, NhiError where the ledger is not what it was.
    """
    mine, now = signer(program), program.clock()
    with reading(program.sessions) as session:
        proved = prove(session, keys=keys(program))
    if proved.problems:
        raise NhiError(f"The ledger is not what it was, so it was not sealed. {' '.join(proved.problems)}")
    size = proved.verified.events
    if not size:
        return Made(size=0, note="", is_new=False, anchors=0)
    is_new = proved.sealed < size and _write(program.sessions, proved, mine, because, now)
    with program.sessions.begin() as session:
        row = session.get_one(CheckpointRow, size)
        places = _to_keep(session, row, program.policy().ledger, now, anchor_now=anchor_now)
        return Made(size=size, note=row.note, is_new=is_new, anchors=len(places))


def closed_review(session: Session) -> str | None:
    """Return the quarter of a review that was closed after the newest checkpoint; None: there is none."""
    newest = select(func.coalesce(func.max(CheckpointRow.size), 0)).scalar_subquery()
    closed = select(EventRow.body).where(EventRow.kind == "review.closed", EventRow.seq > newest)
    body = session.scalar(closed.order_by(EventRow.seq.desc()).limit(1))
    return str(json.loads(body)["facts"]["quarter"]) if body else None


def _write(sessions: Sessions, proved: Proved, mine: Signer, because: str, now: datetime) -> bool:
    """Write the checkpoint; return False where another process has just done so."""
    size = proved.verified.events
    root = proved.verified.roots[size]
    try:
        with sessions.begin() as session:
            session.add(
                CheckpointRow(size=size, root=root.hex(), note=mine.sign(size, root), because=because[:255], at=now)
            )
    except IntegrityError:
        return False
    return True


def _to_keep(
    session: Session, row: CheckpointRow, policy: Ledger, now: datetime, *, anchor_now: bool
) -> Sequence[AnchorRow]:
    """Write down the places that this checkpoint is to be brought to, unless others were brought there of late."""
    written: list[AnchorRow] = []
    for target in dict.fromkeys(policy.anchors):
        size, at = session.execute(
            select(func.max(CheckpointRow.size), func.max(CheckpointRow.at))
            .join(AnchorRow, AnchorRow.size == CheckpointRow.size)
            .where(AnchorRow.target == target)
        ).one()
        if size == row.size or (size and not anchor_now and now - at < policy.anchor_every):
            continue
        anchor = AnchorRow(
            id=new_id(), size=row.size, target=target, state=WAITING, attempts=0, not_before=now, receipt={}
        )
        session.add(anchor)
        written.append(anchor)
    return written
