"""Rotations as rows: where a new secret goes by policy, what a rotation's card shows, and the act that ends it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from nhi import facts
from nhi.errors import OutOfDate
from nhi.escalation import Verdict
from nhi.policy import Policy
from nhi.policy_rotation import Destination
from nhi.records import identity_of
from nhi.remediation import UNDO_FOR, RemediationKind, RemediationStatus
from nhi.rotation import Stage, Watched, place_for, watch
from nhi.tables import (
    AskRow,
    AttestationRow,
    CredentialRow,
    DeliveryRow,
    IdentityRow,
    OfferRow,
    PersonRow,
    RemediationRow,
    RotationCardRow,
    RotationRow,
    new_id,
)
from nhi.words import sentence

Json = dict[str, Any]
# What a provider can make a second one of; jobs ask the provider itself (nhi.providers.Rotates) before they do.
ROTATED = frozenset({("aws", "access_key"), ("gcp", "service_account_key")})
_OFF_CAN_BE_UNDONE = (
    RemediationStatus.AWAITING,
    RemediationStatus.PLANNED,
    RemediationStatus.TESTING,
    RemediationStatus.DONE,
)


def destination(identity: IdentityRow, credential_kind: str, policy: Policy) -> Destination | None:
    """Return where a new secret would go; None: such a credential is not rotated from here."""
    if (identity.provider, credential_kind) not in ROTATED:
        return None
    return policy.rotation.destination_for(identity_of(identity))


def is_done_here(kind: RemediationKind, identity: IdentityRow, credential_kind: str, policy: Policy) -> bool:
    """Whether this is a rotation that the worker carries out, and not a person."""
    return kind is RemediationKind.ROTATE and destination(identity, credential_kind, policy) is not None


def goes_to(identity: IdentityRow, policy: Policy) -> str | None:
    """Return the name of the secret that a rotation would write, for cards and forms; None: nothing is rotated."""
    value = identity_of(identity)
    kinds = {(identity.provider, credential.kind) for credential in value.credentials}
    found = policy.rotation.destination_for(value)
    if found is None or policy.remediation.mode != "reversible" or not kinds & ROTATED:
        return None
    return place_for(value, found).secret


def of_remediation(session: Session, remediation_id: str | None) -> RotationRow | None:
    """Return the rotation that an act began; None: it is no rotation, or has not begun."""
    return session.scalar(select(RotationRow).where(RotationRow.remediation_id == remediation_id))


def off_act(session: Session, row: RotationRow) -> RemediationRow | None:
    """Return the newest act that turns the old key off, planned since the new one was stored; None: there is none."""
    act = row.remediation
    query = select(RemediationRow).where(
        RemediationRow.credential_id == act.credential_id,
        RemediationRow.kind == RemediationKind.DISABLE,
        RemediationRow.planned_at >= (row.stored_at or row.began_at),
    )
    return session.scalar(query.order_by(RemediationRow.planned_at.desc(), RemediationRow.id).limit(1))


def check_undo(session: Session, act: RemediationRow) -> None:
    """Raise OutOfDate where a rotation cannot be taken back by its own undo, in a sentence that says what can."""
    if act.kind is not RemediationKind.ROTATE or act.status is not RemediationStatus.DONE:
        return
    row = of_remediation(session, act.id)
    off = off_act(session, row) if row is not None else None
    if off is not None and off.status in (RemediationStatus.ACTING, RemediationStatus.TESTING, RemediationStatus.DONE):
        raise OutOfDate(sentence("refusals.old_key_is_off", act=off.id[:8]))


def question_behind(session: Session, offer: OfferRow) -> AskRow | None:
    """Return the question whose answer began the rotation that these buttons are about; None: they are about none."""
    rotation_id = (offer.shown.get("facts") or {}).get("rotation", {}).get("id")
    row = session.get(RotationRow, rotation_id) if rotation_id else None
    return session.get(AskRow, row.remediation.ask_id) if row is not None and row.remediation.ask_id else None


# -- the card ----------------------------------------------------------------------------------------------------------


def reader_of(session: Session, row: RotationRow, owner_email: str | None) -> str | None:
    """Return the Slack id of who is told: the owner, or else who decided it."""
    owner = select(PersonRow.slack_id).where(PersonRow.email == owner_email, PersonRow.active.is_(True))
    decided = session.get_one(AttestationRow, row.remediation.attestation_id)
    return (session.scalar(owner.limit(1)) if owner_email else None) or decided.slack_id


def add_card(session: Session, row: RotationRow, delivery_id: str) -> None:
    """Note that a message shows this rotation."""
    session.add(RotationCardRow(delivery_id=delivery_id, rotation_id=row.id))
    session.flush()


def told_at(session: Session, row: RotationRow) -> datetime:
    """Return when a card of it was last posted, or else when the new key was stored."""
    cards = select(DeliveryRow.created_at).join(RotationCardRow, RotationCardRow.delivery_id == DeliveryRow.id)
    newest = cards.where(RotationCardRow.rotation_id == row.id).order_by(DeliveryRow.created_at.desc()).limit(1)
    return session.scalar(newest) or row.stored_at or row.began_at


def of_delivery(session: Session, delivery_id: str) -> RotationRow:
    """Return the rotation that a message shows."""
    return session.get_one(RotationRow, session.get_one(RotationCardRow, delivery_id).rotation_id)


def redraw(session: Session, row: RotationRow) -> None:
    """Mark every posted copy of this rotation's card as due for a redraw."""
    copies = select(RotationCardRow.delivery_id).where(RotationCardRow.rotation_id == row.id)
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(copies))
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )


def watched(session: Session, row: RotationRow, policy: Policy, now: datetime) -> Watched:
    """Judge the two keys by what the last look told."""
    off = off_act(session, row)
    return watch(
        old_used_at=row.old_used_at,
        new_used_at=row.new_used_at,
        stored_at=row.stored_at or row.began_at,
        turned_on_at=off.undone_at if off is not None and off.acted_at else None,
        still_for=policy.rotation.still_for,
        now=now,
    )


def card(session: Session, row: RotationRow, policy: Policy, now: datetime) -> Json:
    """Return everything that a rotation's card says, in the shape that forms and answers read."""
    act, off, seen = row.remediation, off_act(session, row), watched(session, row, policy, now)
    identity, old = act.identity, act.credential
    shown_old = facts.credential_json(old) | {"last_used_at": facts.when(row.old_used_at), "use_gap": row.blind}
    return {
        "identity": facts.identity_json(identity) | {"tags": identity.tags},
        "credentials": [shown_old],
        "findings": [],
        "owner": facts.owners(session, [identity.id], policy, now)[identity.id],
        "mode": policy.remediation.mode,
        "rotates_into": None,
        "rotation": {
            "id": row.id,
            "act": act.id,
            "stage": row.stage.value,
            "status": act.status.value,
            "because": act.because,
            "old": {
                "id": old.external_id,
                "created_at": facts.when(old.created_at),
                "use": facts.when(row.old_used_at),
            },
            "new": {"id": row.new_key, "created_at": facts.when(row.stored_at), "use": facts.when(row.new_used_at)},
            "provider": identity.provider,
            "native": bool(row.place.get("native")),
            "secret": row.place["secret"],
            "region": row.place.get("region"),
            "where": row.where,
            "looked_at": facts.when(row.looked_at),
            "blind": row.blind,
            "still_days": policy.rotation.still_for.days,
            "still_since": facts.when(seen.still_since),
            "ready_from": facts.when(seen.ready_from),
            "moved": seen.new_moved,
            "off": facts.remediation_json(off) if off is not None else None,
        },
        "can": [verdict.value for verdict in _can(row, off, old, now)],
        "drawn_at": facts.when(now),
    }


def _can(row: RotationRow, off: RemediationRow | None, old: CredentialRow, now: datetime) -> list[Verdict]:
    status = off.status if off is not None else None
    if off is not None and off.status in _OFF_CAN_BE_UNDONE:
        return [Verdict.UNDO] if off.acted_at is None or now <= off.acted_at + UNDO_FOR else []
    if row.remediation.status is not RemediationStatus.DONE or row.stage not in (Stage.WATCHING, Stage.READY):
        return []
    if status in (RemediationStatus.ACTING, RemediationStatus.UNDOING):
        return []
    off_it = [Verdict.DISABLE] if row.stage is Stage.READY else []
    taken_back = [Verdict.UNDO] if row.new_used_at is None and _undo_is_open(row, now) else []
    return off_it + taken_back


def _undo_is_open(row: RotationRow, now: datetime) -> bool:
    acted_at = row.remediation.acted_at
    return acted_at is None or now <= acted_at + UNDO_FOR


def offer(session: Session, row: RotationRow, shown: Json, now: datetime) -> OfferRow | None:
    """Return the buttons for what `shown["can"]` says, the same on every copy; None: there is nothing to press.

    Buttons of an earlier state stand for nothing any more. Write `shown["blocks"]` into it before it is committed.
    """
    can: list[str] = shown["can"]
    earlier = _unspent(session, row)
    same = next((one for one in earlier if _gist(one.shown["facts"]) == _gist(shown)), None)
    for one in earlier:
        if one is not same:
            one.used_at = now
    if same is not None or not can:
        return same if can else None
    off = off_act(session, row)
    undoes = off if off is not None and off.status in _OFF_CAN_BE_UNDONE else None
    made = OfferRow(
        id=new_id(),
        actions=can,
        identity_id=row.remediation.identity_id,
        remediation_id=undoes.id if undoes is not None else row.remediation_id,
        shown={"facts": shown, "blocks": []},
        created_at=now,
    )
    session.add(made)
    session.flush()
    return made


def _unspent(session: Session, row: RotationRow) -> list[OfferRow]:
    open_ones = select(OfferRow).where(
        OfferRow.identity_id == row.remediation.identity_id, OfferRow.used_at.is_(None), OfferRow.ask_id.is_(None)
    )
    found = session.scalars(open_ones)
    return [one for one in found if one.shown.get("facts", {}).get("rotation", {}).get("id") == row.id]


def _gist(shown: Json) -> Json:
    return {name: value for name, value in shown.items() if name not in ("drawn_at", "owner")}
