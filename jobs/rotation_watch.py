"""The watch over two keys: when the old one can go, its owner is asked; and the way back."""

from __future__ import annotations

from datetime import timedelta

from bot.render import say
from jobs import handling, rotating
from jobs.handling import Work
from nhi import rotations, steps
from nhi.answers import redraw
from nhi.errors import ProviderError
from nhi.identity import Gap
from nhi.providers import Rotates
from nhi.remediation import State
from nhi.rotation import Key, Objection, Place, Stage, objection
from nhi.tables import RotationRow

# -- the watch ---------------------------------------------------------------------------------------------------------

AGAIN_AFTER = timedelta(days=7)  # a card that waits for an answer is posted again


def watch(work: Work, provider: Rotates) -> None:
    """Read when both keys were last used, and ask to turn the old one off once the move is over."""
    keys, now = provider.keys(work.target), work.clock()
    with work.sessions.begin() as session:
        row = rotating.rotation_of(session, work)
        act = steps.locked(session, work.row.id)
        work.hold.check_of(act)
        act.due_at, act.claimed_until, row.looked_at = now + rotating.LOOK_EVERY, None, now
        row.blind = _read_uses(row, work.target.credential_id, keys)
        if row.stage not in (Stage.WATCHING, Stage.READY) or row.blind is not None:
            return
        seen = rotations.watched(session, row, work.policy, now)
        if seen.is_ready and row.stage is Stage.WATCHING:
            row.stage, row.ready_at = Stage.READY, now
            session.flush()
            rotating.record(session, act, "rotation.ready", now, still_since=seen.still_since)
            rotating.tell(session, row, now)
            work.tally.ready.append(work.row.id)
        elif seen.is_ready and rotations.told_at(session, row) <= now - AGAIN_AFTER:
            rotating.tell(session, row, now)
        elif not seen.is_ready and row.stage is Stage.READY:
            row.stage, row.ready_at = Stage.WATCHING, None  # the old one was used again


def _read_uses(row: RotationRow, old_id: str, keys: tuple[Key, ...] | Gap | None) -> str | None:
    """Write down the last uses; return why they could not be told (None: they could)."""
    if isinstance(keys, Gap):
        return keys.reason
    by_id = {key.id: key for key in keys or ()}
    new = by_id.get(row.new_key) if row.new_key else None
    if row.new_key and new is None:
        return rotating.words("new_is_gone")
    if new is None:
        return rotating.words("new_is_unknown")
    old = by_id.get(old_id)
    row.old_used_at = old.last_used_at if old is not None else row.old_used_at
    row.new_used_at = new.last_used_at
    return None


# -- back --------------------------------------------------------------------------------------------------------------


def undo(work: Work, provider: Rotates) -> None:
    """Take the new key back: the secret gets its former value, the new key is turned off. Nothing is deleted."""
    keys = provider.keys(work.target)
    if isinstance(keys, Gap):
        handling.later(work, say("acts.undo_cannot_see", reason=keys.reason).plain())
        return
    with work.sessions() as session:
        row = rotating.rotation_of(session, work)
        session.expunge(row)
    against = objection(work.target.credential_id, row.new_key or "", keys or ())
    if against is not None or row.new_key is None:
        _keep(work, against)
        return
    try:
        provider.put_back(work.target, Place(**row.place), row.version, row.former)
    except ProviderError as error:
        handling.later(work, say("acts.undo_not_yet", error=str(error)).plain())
        return
    if any(key.id == row.new_key for key in keys or ()) and not rotating.turn_off(work, row.new_key):
        return
    now = work.clock()
    with work.sessions.begin() as session:
        kept, act = rotating.rotation_of(session, work), steps.locked(session, work.row.id)
        work.hold.check_of(act)
        kept.stage, act.undone_at, act.claimed_until = Stage.TAKEN_BACK, now, None
        steps.advance(session, act, State.UNDONE, now, because=rotating.words("taken_back", key=row.new_key))
        rotating.record(session, act, "rotation.taken_back", now, new=row.new_key)
        rotating.reopen(session, act)
        redraw(session, act.ask_id)
        rotations.redraw(session, kept)
    work.tally.undone.append(work.row.id)


def _keep(work: Work, against: Objection | None) -> None:
    """Go on watching: whoever uses one of the two keys must not lose it."""
    why = rotating.words(f"kept_{against.value}" if against is not None else "new_is_unknown")
    with work.sessions.begin() as session:
        act = steps.locked(session, work.row.id)
        work.hold.check_of(act)
        act.claimed_until, act.undo_by = None, None
        steps.advance(session, act, State.WATCHING, work.clock(), because=why)
        rotating.record(session, act, "rotation.kept", work.clock(), because=why)
        rotations.redraw(session, rotating.rotation_of(session, work))
    work.tally.refused.append((work.row.id, why))
