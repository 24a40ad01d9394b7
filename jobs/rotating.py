"""One rotation: make the second key, store it, watch both, hand the old one to the ordinary off switch; and back.

Each step is a row before it begins and after it ended. A run that dies in between leaves a row that says what was there
before; the next run looks at the cloud, and nhi/rotation.py decides what that means.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import delivery
from bot.render import say
from jobs import acting, handling, looking
from jobs.handling import Work
from jobs.holds import Lost
from nhi import authority, ledger, rotations, steps
from nhi.answers import redraw
from nhi.database import lock_writers
from nhi.errors import NhiError, ProviderError
from nhi.escalation import AskStatus
from nhi.findings import FindingStatus
from nhi.identity import Gap
from nhi.preflight import Doubt, Stop, check
from nhi.providers import CredentialState, Disables, Rotates, Target
from nhi.records import identity_of
from nhi.remediation import RemediationStatus, State
from nhi.rotation import (
    Hindered,
    Key,
    Place,
    Ready,
    Stage,
    Stored,
    hindrance,
    place_for,
)
from nhi.tables import AskRow, FindingRow, RemediationRow, RotationRow, new_id

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(hours=1)
NATIVE_TAKES = timedelta(hours=1)  # at most; then the secret's own rotation counts as broken


class Begun(NhiError):
    """Somebody else carried this rotation on, or called it off, in the meantime."""


def words(block: str, **facts: Any) -> str:
    """Return a sentence for the card."""
    return say(f"rotation.{block}", **facts).plain()


# -- begin -------------------------------------------------------------------------------------------------------------


def begin(work: Work, provider: Rotates) -> bool:
    """Make the second key and store it, or write down why not; return False where `make` does."""
    if (place := place_of(work)) is None:
        handling.later(work, words("no_place"))
        return True
    keys = provider.keys(work.target)
    if is_stopped(work, doubt(work, provider, keys), None):
        return True
    try:
        ready = provider.prepare(work.target, place)
    except ProviderError as error:
        _not_ready(work, error)
        return True
    assert isinstance(keys, tuple)
    began = _start(work, place, keys, ready)
    if isinstance(began, Stop):
        return is_stopped(work, began, None)
    return make(work, provider, began)


def rehearse(work: Work, provider: Rotates) -> tuple[str, bool] | None:
    """Look as before a rotation, and write nothing. Return why it would not be done, and whether only not now."""
    if place_of(work) is None:
        return words("no_place"), True
    match doubt(work, provider, provider.keys(work.target)):
        case Stop() as stop:
            return handling.sentence(stop), stop.later
        case Hindered() as hindered:
            return _hindered(work, hindered), False
        case None:
            return None


def place_of(work: Work) -> Place | None:
    identity, kind = work.row.identity, work.row.credential.kind
    destination = rotations.destination(identity, kind, work.policy)
    return place_for(identity_of(identity), destination) if destination is not None else None


def doubt(work: Work, provider: Rotates, keys: tuple[Key, ...] | Gap | None) -> Stop | Hindered | None:
    """Return what speaks against it; None: nothing does."""
    found, now = work.gather(_seen(work.target, keys)), work.clock()
    with work.sessions() as session:
        look = looking.look(session, work.row, found, work.policy, now)
        answer = check(work.plan, look, looking.limits(work.row, work.policy, now))
    if isinstance(answer, Stop):
        return answer
    assert isinstance(keys, tuple)
    if (place := place_of(work)) is not None and place.native:
        return None  # the secret's own rotation sees to its keys
    return hindrance(work.target.credential_id, keys, provider.keys_at_most)


def _hindered(work: Work, why: Hindered) -> str:
    others = [{"id": key.id, "used": key.last_used_at, "status": key.status.value} for key in why.others]
    most = work.provider.keys_at_most if isinstance(work.provider, Rotates) else len(others) + 1
    about = {"name": work.row.identity.name, "provider": work.row.identity.provider, "most": most}
    return words(f"hindered_{why.why.value}", others=others, **about)


def _seen(target: Target, keys: tuple[Key, ...] | Gap | None) -> looking.Seen:
    if not isinstance(keys, tuple):
        return keys
    old = next((key for key in keys if key.id == target.credential_id), None)
    return CredentialState(status=old.status, last_used_at=old.last_used_at) if old is not None else None


def is_stopped(work: Work, doubt: Stop | Hindered | None, stage: Stage | None) -> bool:
    """Write down what speaks against it; return whether anything does."""
    match doubt:
        case None:
            return False
        case Stop(doubt=Doubt.SECOND_PERSON):
            acting.await_second(work)
        case Stop() as stop if stop.later:
            handling.later(work, handling.sentence(stop))
        case Stop() as stop:
            end(work, State.REFUSED, handling.sentence(stop), stage)
        case Hindered() as hindered:
            end(work, State.REFUSED, _hindered(work, hindered), stage)
    return True


def _not_ready(work: Work, error: ProviderError) -> None:
    if error.permanent:
        end(work, State.REFUSED, words("not_ready", error=str(error)), None)
    else:
        handling.later(work, words("not_ready", error=str(error)))


def _start(work: Work, place: Place, keys: tuple[Key, ...], ready: Ready) -> RotationRow | Stop:
    """Check once more, where nobody else can write, and write that a key is about to be made."""
    found, now = work.gather(_seen(work.target, keys)), work.clock()
    with work.sessions.begin() as session:
        lock_writers(session)
        look = looking.look(session, work.row, found, work.policy, now)
        answer = check(work.plan, look, looking.limits(work.row, work.policy, now))
        if isinstance(answer, Stop):
            return answer
        row = steps.locked(session, work.row.id)
        before = steps.state_of(row)
        moved = session.execute(
            update(RemediationRow)
            .where(RemediationRow.id == row.id, RemediationRow.status == RemediationStatus.PLANNED)
            .values(status=RemediationStatus.ACTING, acted_at=now, undo={"keys": [key.id for key in keys]})
        )
        if moved.rowcount != 1:  # type: ignore[attr-defined]
            raise Begun(words("called_off"), permanent=True)
        session.refresh(row)
        steps.advance(session, row, State.CHECKED, now, after=before, keys=[key.id for key in keys])
        steps.advance(session, row, State.ACTING, now, place=asdict(place))
        began = RotationRow(
            id=new_id(),
            remediation_id=row.id,
            stage=Stage.MAKING,
            place=asdict(place),
            keys_before=[key.id for key in keys],
            acting_as=ready.acting_as,
            version=str(uuid5(NAMESPACE_URL, f"nhi-rotation:{row.id}")),
            former=ready.former,
            began_at=now,
            old_used_at=next((key.last_used_at for key in keys if key.id == work.target.credential_id), None),
            drawn="",
        )
        session.add(began)
        record(session, row, "rotation.began", now, secret=place.secret, native=place.native)
        redraw(session, row.ask_id)
        return began


# -- make and store ----------------------------------------------------------------------------------------------------


def make(work: Work, provider: Rotates, row: RotationRow) -> bool:
    """Make the key and store it; return False where it has to be found out, by looking, what became of it.

    Raises Lost, where another worker has the rotation by now.
    """
    place = Place(**row.place)
    work.hold.check()
    try:
        stored = provider.make(work.target, place, row.version, lambda key_id: _note_made(work, row.id, key_id))
    except ProviderError as error:
        if error.permanent:
            end(work, State.FAILED, str(error), Stage.FAILED)
        elif not is_held(work):
            _came_late(work, provider, row)
        return error.permanent
    if stored is None:
        handling.later(work, words("native_waits", secret=place.secret))
        return True
    try:
        is_stored(work, stored, None)
    except Lost:
        _came_late(work, provider, row)
    return True


def is_held(work: Work) -> bool:
    with work.sessions() as session:
        return work.hold.is_of(session.get_one(RemediationRow, work.row.id))


def _came_late(work: Work, provider: Rotates, row: RotationRow) -> NoReturn:
    """Take a secret back that was stored after another worker had given its key up: nobody must read a dead key there.

    Raises Lost.
    """
    place = Place(**row.place)
    with work.sessions() as session:
        is_given_up = rotation_of(session, work).stage in (Stage.LOST, Stage.FAILED, Stage.TAKEN_BACK)
    if is_given_up and not place.native:
        try:
            provider.put_back(work.target, place, row.version, row.former)
        except ProviderError as error:
            log.error("a key that is off was stored late, and the secret was not given its former value: %s", error)
    raise Lost


def _note_made(work: Work, rotation_id: str, key_id: str) -> None:
    """Write which key was made, before its secret is stored: a run that dies next leaves a trace of it.

    Raises Lost where another worker has the rotation by now: then nobody gets this key's secret, so it is turned off.
    """
    now = work.clock()
    with work.sessions.begin() as session:
        is_ours = work.hold.is_of(steps.locked(session, work.row.id))
        if is_ours:
            row = session.get_one(RotationRow, rotation_id)
            row.new_key, row.stage = key_id, Stage.STORING
            session.flush()
            record(session, row.remediation, "rotation.key_made", now, new=key_id)
    if not is_ours:
        turn_off(work, key_id)
        raise Lost


def is_stored(work: Work, stored: Stored, key_id: str | None) -> None:
    """Write where the new secret is, and tell the owner."""
    now = work.clock()
    with work.sessions.begin() as session:
        row = rotation_of(session, work)
        act = steps.locked(session, work.row.id)
        work.hold.check_of(act)
        row.stage, row.stored_at, row.where = Stage.WATCHING, now, stored.where
        row.new_key = row.new_key or key_id
        act.verified_at, act.claimed_until, act.due_at = now, None, now
        steps.advance(session, act, State.VERIFIED, now, new=row.new_key, secret=stored.where)
        steps.advance(session, act, State.WATCHING, now)
        record(session, act, "credential.rotated", now, new=row.new_key, secret=stored.where, version=stored.version)
        if act.undo_by is not None:  # somebody pressed Undo while it was being done
            steps.advance(session, act, State.UNDOING, now)
        tell(session, row, now)
        redraw(session, act.ask_id)
    work.tally.rotated.append(work.row.id)


def tell(session: Session, row: RotationRow, now: datetime) -> None:
    """Post this rotation's card to the owner, or else to who decided it."""
    owner = authority.current_owner(session, row.remediation.identity_id)
    reader = rotations.reader_of(session, row, owner.email if owner else None)
    if reader is not None:
        posted = delivery.queue(session, "rotation", reader, {"stage": row.stage.value}, [], now)
        rotations.add_card(session, row, posted.id)


# -- what all steps share ----------------------------------------------------------------------------------------------


def end(work: Work, state: State, why: str, stage: Stage | None, key_id: str | None = None) -> None:
    """End a rotation that was not done; the reason goes on the card."""
    now = work.clock()
    with work.sessions.begin() as session:
        act = steps.locked(session, work.row.id)
        work.hold.check_of(act)
        if act.status is RemediationStatus.UNDONE:
            return  # somebody called it off while it was looked at
        act.claimed_until = None
        row = rotations.of_remediation(session, act.id)
        if row is not None and stage is not None:
            row.stage, row.new_key = stage, row.new_key or key_id
        steps.advance(session, act, state, now, because=why)
        record(session, act, f"remediation.{state.value}", now, because=why, **({"lost": key_id} if key_id else {}))
        reopen(session, act)
        redraw(session, act.ask_id)
    work.tally.refused.append((work.row.id, why))


def reopen(session: Session, act: RemediationRow) -> None:
    """Let the key be asked about again: what was answered is not done, and its card has no buttons any more."""
    is_asked = select(AskRow.id).where(AskRow.identity_id == act.identity_id, AskRow.status == AskStatus.OPEN)
    if session.scalar(is_asked.limit(1)) is None:
        session.execute(
            update(FindingRow)
            .where(FindingRow.credential_id == act.credential_id, FindingRow.status == FindingStatus.ASKED)
            .values(status=FindingStatus.OPEN)
        )


def rotation_of(session: Session, work: Work) -> RotationRow:
    row = rotations.of_remediation(session, work.row.id)
    assert row is not None, "an act that began has its rotation, written in the same transaction"
    return row


def record(session: Session, act: RemediationRow, kind: str, now: datetime, **facts: Any) -> None:
    session.flush()
    about = {"remediation": act.id, "credential": act.credential.external_id, **facts}
    ledger.record(session, kind, now=now, identity_id=act.identity_id, facts=ledger.plain(about))


def turn_off(work: Work, key_id: str) -> bool:
    """Turn one new key off; return whether that worked, else it is tried again later."""
    assert isinstance(work.provider, Disables)
    try:
        work.provider.disable(replace(work.target, credential_id=key_id))
    except ProviderError as error:
        handling.later(work, words("not_off_yet", key=key_id, error=str(error)))
        return False
    return True
