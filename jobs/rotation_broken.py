"""A rotation whose run broke off: look at what is there, and deal with it as nhi/rotation.py decides."""

from __future__ import annotations

from bot.render import say
from jobs import handling, rotating
from jobs.handling import Work
from nhi.errors import ProviderError
from nhi.identity import Gap
from nhi.providers import Rotates
from nhi.remediation import State
from nhi.rotation import (
    Adopt,
    After,
    Again,
    Broken,
    GiveUp,
    Key,
    NotOurs,
    Place,
    Stage,
    Stored,
    Vanished,
    Wait,
    after_break,
    suspects,
)
from nhi.tables import RotationRow


def resume(work: Work, provider: Rotates) -> None:
    """Find out what a broken run left behind, and deal with it."""
    with work.sessions() as session:
        row = rotating.rotation_of(session, work)
        session.expunge(row)
    place = Place(**row.place)
    try:
        stored = provider.stored(work.target, place, row.version, row.former)
    except ProviderError as error:
        handling.later(work, rotating.words("unsure", error=str(error)))
        return
    keys = provider.keys(work.target)
    if isinstance(keys, Gap):
        handling.later(work, rotating.words("unsure", error=keys.reason))
    elif place.native:
        _resume_native(work, row, stored, keys or ())
    else:
        _deal(work, provider, row, stored, keys or ())


def _resume_native(work: Work, row: RotationRow, stored: Stored | None, keys: tuple[Key, ...]) -> None:
    """Wait for a secret's own rotation, which makes the key by itself."""
    now = work.clock()
    new = next((key.id for key in keys if key.id not in row.keys_before), None)
    if stored is not None:
        rotating.is_stored(work, stored, new)
    elif now - row.began_at < rotating.NATIVE_TAKES:
        handling.later(work, rotating.words("native_waits", secret=row.place["secret"]))
    else:
        rotating.end(work, State.FAILED, rotating.words("native_stuck", secret=row.place["secret"]), Stage.FAILED)


def _deal(work: Work, provider: Rotates, row: RotationRow, stored: Stored | None, keys: tuple[Key, ...]) -> None:
    broken = Broken(
        keys_before=frozenset(row.keys_before),
        began_at=row.began_at,
        new_id=row.new_key,
        is_stored=stored is not None,
    )
    ours = None
    if row.new_key is None and stored is None and (found := suspects(broken, keys)):
        ours = provider.made_by(work.target, found[0].id, row.acting_as, row.began_at)
    answer: After = after_break(broken, keys, ours, work.clock())
    match answer:
        case Adopt(key_id=key_id):
            assert stored is not None
            rotating.is_stored(work, stored, key_id)
        case Wait():
            handling.later(work, rotating.words("not_known_yet" if row.new_key is None else "not_stored_yet"))
        case Again():
            _again(work, provider, row, keys)
        case GiveUp(key_id=key_id, is_off=is_off):
            _give_up(work, key_id, is_off=is_off)
        case NotOurs(key_id=key_id):
            rotating.end(
                work, State.FAILED, rotating.words("not_ours", key=key_id, name=work.row.identity.name), Stage.FAILED
            )
        case Vanished(key_id=key_id):
            rotating.end(work, State.FAILED, rotating.words("vanished", key=key_id), Stage.FAILED)


def _again(work: Work, provider: Rotates, row: RotationRow, keys: tuple[Key, ...]) -> None:
    """Begin anew what certainly made nothing, where it is still wanted and nothing speaks against it by now."""
    if work.row.undo_by is not None or work.policy.remediation.mode != "reversible" or rotating.place_of(work) is None:
        rotating.end(work, State.REFUSED, say("acts.called_off").plain(), Stage.FAILED)
        return
    if rotating.is_stopped(work, rotating.doubt(work, provider, keys), Stage.FAILED):
        return
    with work.sessions.begin() as session:
        kept = session.get_one(RotationRow, row.id)
        kept.began_at, kept.keys_before = work.clock(), [key.id for key in keys]
        session.flush()
        session.expunge(kept)
    if not rotating.make(work, provider, kept):
        handling.later(work, rotating.words("not_known_yet"))


def _give_up(work: Work, key_id: str, *, is_off: bool) -> None:
    """Turn off a key whose secret nobody has, mark it, and say what to do. It is not deleted: see nhi/rotation.py."""
    if not is_off and not rotating.turn_off(work, key_id):
        return
    why = rotating.words("lost", key=key_id, name=work.row.identity.name)
    rotating.end(work, State.FAILED, why, Stage.LOST, key_id)
