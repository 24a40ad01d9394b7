"""What identities may do, between rows and values: kept since when, and never twice the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import ledger, powers
from nhi.identity import Access, Aspect, Exercise, Gap, Identity, Permission, Trust, TrustKind
from nhi.inventory import remembered
from nhi.ledger import instant
from nhi.records import storable
from nhi.redact import redact
from nhi.tables import PermissionSetRow, PermissionSpellRow, PermissionUseRow, PolicyDocumentRow, new_id

Json = dict[str, Any]
KEPT = 50  # former sets of one identity; the oldest go first
HARMLESS = 99
_CHUNK = 500
_LISTS = ("actions", "but_actions", "resources", "but_resources")


def body_of(access: Access) -> Json:
    """Return what an identity may do as JSON, without what is empty."""
    found: Json = {
        "permissions": [permission_json(one) for one in access.permissions],
        "trust": [trust_json(one) for one in access.trust],
        "unread": list(access.unread),
        "boundary": None if access.boundary is None else [permission_json(one) for one in access.boundary],
    }
    if access.ceilings is not None:
        found["ceilings"] = [[permission_json(one) for one in each] for each in access.ceilings]
    if access.by_resources is not None:
        found["by_resources"] = [permission_json(one) for one in access.by_resources]
    if access.bounds_given:
        found["bounds_given"] = True
    cleaned: Json = _cleaned(found)
    return cleaned


def permission_json(one: Permission) -> Json:
    found: Json = {name: list(values) for name in _LISTS if (values := getattr(one, name))}
    return (
        {"allows": one.allows} | found | {name: text for name in ("condition", "via") if (text := getattr(one, name))}
    )


def trust_json(one: Trust) -> Json:
    return {
        "who": one.who,
        "kind": one.kind.value,
        "outside": one.outside,
        "condition": one.condition,
        "via": one.via,
    }


def _cleaned(value: Any) -> Any:
    """Return JSON that every database takes, with what looks like a secret taken out of its texts."""
    if isinstance(value, dict):
        return {key: _cleaned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    return storable(redact(value)) if isinstance(value, str) else value


def access_of(body: Json) -> Access:
    """Return the value of a stored set."""
    boundary, ceilings, given = body["boundary"], body.get("ceilings"), body.get("by_resources")
    return Access(
        permissions=tuple(_permission(one) for one in body["permissions"]),
        boundary=None if boundary is None else tuple(_permission(one) for one in boundary),
        trust=tuple(Trust(**{**one, "kind": TrustKind(one["kind"])}) for one in body["trust"]),
        unread=tuple(body["unread"]),
        by_resources=None if given is None else tuple(_permission(one) for one in given),
        bounds_given=body.get("bounds_given", False),
        ceilings=None if ceilings is None else tuple(tuple(_permission(one) for one in each) for each in ceilings),
    )


def _permission(told: Json) -> Permission:
    lists: dict[str, Any] = {name: tuple(told.get(name, ())) for name in _LISTS}
    return Permission(allows=told["allows"], condition=told.get("condition", ""), via=told.get("via", ""), **lists)


def write(
    session: Session, row_ids: Sequence[str], identities: Sequence[Identity], gaps: Sequence[Gap], now: datetime
) -> None:
    """Keep what each identity may do now; what nobody told, or a gap hides, stays as it was.

    Both lists are in the same order.
    """
    by_row = {row: one for row, one in zip(row_ids, identities, strict=True) if one.access is not None}
    if not by_row:
        return
    by_row = _with_what_is_hidden(session, by_row, gaps)
    bodies = {row: body_of(one.access) for row, one in by_row.items() if one.access is not None}
    digests = {row: _digest(by_row[row], body) for row, body in bodies.items()}
    _add_sets(session, by_row, bodies, digests)
    in_force = {spell.identity_id: spell for spell in _in_force(session, list(digests))}
    ended = [row for row, digest in digests.items() if row in in_force and in_force[row].digest != digest]
    for row in ended:
        in_force.pop(row).ended_at = now
    session.flush()  # before the next ones begin: an identity has one set in force
    for row, digest in digests.items():
        if row not in in_force:
            session.add(PermissionSpellRow(id=new_id(), identity_id=row, digest=digest, began_at=now))
    for row in ended:
        found = session.get_one(PermissionSetRow, digests[row])
        facts = {"powers": [one["power"] for one in found.powers], "policies": by_row[row].policies}
        ledger.record(session, "permissions.changed", now=now, identity_id=row, facts=facts)
        _forget_oldest(session, row)


def _with_what_is_hidden(session: Session, by_row: Mapping[str, Identity], gaps: Sequence[Gap]) -> dict[str, Identity]:
    """Return the identities with what is in force of whatever these gaps hide."""
    hiding = [gap for gap in gaps if gap.hides & {Aspect.PERMISSIONS, Aspect.CEILINGS}]
    found = dict(by_row)
    for row, old in (sets_in_force(session, list(by_row)) if hiding else {}).items():
        one = by_row[row]
        if one.access is not None:
            now = access_of(body_of(one.access))  # as it is kept: both without what looks like a secret
            now = replace(now, unread_resources=one.access.unread_resources)
            found[row] = replace(one, access=remembered(now, access_of(old.body), one.scope, hiding))
    return found


def _digest(identity: Identity, body: Json) -> str:
    named = json.dumps([identity.provider, identity.account, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(named.encode()).hexdigest()


def _add_sets(
    session: Session, by_row: Mapping[str, Identity], bodies: Mapping[str, Json], digests: Mapping[str, str]
) -> None:
    """Write the sets that are not known yet; only of those it is worked out what is dangerous about them."""
    known = _known_digests(session, set(digests.values()))
    for row, digest in digests.items():
        if digest not in known:
            known.add(digest)
            session.add(_set(by_row[row], bodies[row], digest))
    session.flush()


def _set(identity: Identity, body: Json, digest: str) -> PermissionSetRow:
    held = powers.powers(identity)
    return PermissionSetRow(
        digest=digest,
        body=body,
        powers=[power_json(one) for one in held],
        gravity=list(powers.Power).index(held[0].power) if held else HARMLESS,
    )


def power_json(one: powers.Held) -> Json:
    found: Json = _cleaned({"power": one.power.value, "by": list(one.by), "everywhere": one.everywhere})
    return found


def _known_digests(session: Session, digests: set[str]) -> set[str]:
    query = select(PermissionSetRow.digest).where(PermissionSetRow.digest.in_(digests))
    return set(session.scalars(query))


def _in_force(session: Session, row_ids: Sequence[str]) -> Iterable[PermissionSpellRow]:
    for start in range(0, len(row_ids), _CHUNK):
        query = select(PermissionSpellRow).where(
            PermissionSpellRow.identity_id.in_(row_ids[start : start + _CHUNK]), PermissionSpellRow.ended_at.is_(None)
        )
        yield from session.scalars(query)


def _forget_oldest(session: Session, row: str) -> None:
    query = select(PermissionSpellRow).where(PermissionSpellRow.identity_id == row)
    for old in list(session.scalars(query.order_by(PermissionSpellRow.began_at.desc())))[KEPT:]:
        session.delete(old)


def sets_in_force(session: Session, row_ids: Sequence[str]) -> dict[str, PermissionSetRow]:
    """Return the set in force of each identity that has one."""
    found: dict[str, PermissionSetRow] = {}
    for start in range(0, len(row_ids), _CHUNK):
        query = (
            select(PermissionSpellRow.identity_id, PermissionSetRow)
            .join(PermissionSetRow, PermissionSetRow.digest == PermissionSpellRow.digest)
            .where(
                PermissionSpellRow.identity_id.in_(row_ids[start : start + _CHUNK]),
                PermissionSpellRow.ended_at.is_(None),
            )
        )
        found.update((row, one) for row, one in session.execute(query))
    return found


def powers_in_force(session: Session, row_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the powers of each identity of which it is known what it may do, the gravest first."""
    found: dict[str, list[str]] = {}
    for start in range(0, len(row_ids), _CHUNK):
        query = (
            select(PermissionSpellRow.identity_id, PermissionSetRow.powers)
            .join(PermissionSetRow, PermissionSetRow.digest == PermissionSpellRow.digest)
            .where(
                PermissionSpellRow.identity_id.in_(row_ids[start : start + _CHUNK]),
                PermissionSpellRow.ended_at.is_(None),
            )
        )
        found.update((row, [one["power"] for one in held]) for row, held in session.execute(query))
    return found


def set_at(session: Session, row_id: str, at: datetime) -> PermissionSetRow | None:
    """Return the set that an identity had at an instant, or the oldest known after it; None: there is none."""
    query = (
        select(PermissionSetRow)
        .join(PermissionSpellRow, PermissionSpellRow.digest == PermissionSetRow.digest)
        .where(PermissionSpellRow.identity_id == row_id)
    )
    before = query.where(PermissionSpellRow.began_at <= at).order_by(PermissionSpellRow.began_at.desc()).limit(1)
    return session.scalar(before) or session.scalar(query.order_by(PermissionSpellRow.began_at).limit(1))


def write_use(session: Session, row_id: str, exercise: Exercise, now: datetime) -> None:
    """Keep what an identity was seen to use."""
    session.merge(PermissionUseRow(identity_id=row_id, body=use_json(exercise), asked_at=now))


def use_json(exercise: Exercise) -> Json:
    def told(times: Mapping[str, datetime | None]) -> Json:
        return {storable(name): instant(at) if at else None for name, at in sorted(times.items())}

    return {
        "services": told(exercise.services),
        "actions": told(exercise.actions),
        "seen_from": instant(exercise.seen_from),
        "seen_until": instant(exercise.seen_until),
        "source": exercise.source,
        "instead": {storable(role): list(smaller) for role, smaller in sorted(exercise.instead.items())},
    }


def exercise_of(body: Json) -> Exercise:
    """Return the value of what is stored of a use."""

    def read(times: Json) -> dict[str, datetime | None]:
        return {name: datetime.fromisoformat(at) if at else None for name, at in times.items()}

    return Exercise(
        services=read(body["services"]),
        actions=read(body["actions"]),
        seen_from=datetime.fromisoformat(body["seen_from"]),
        seen_until=datetime.fromisoformat(body["seen_until"]),
        source=body["source"],
        instead={role: tuple(smaller) for role, smaller in body.get("instead", {}).items()},
    )


def uses(session: Session, row_ids: Sequence[str]) -> dict[str, Exercise]:
    """Return what each identity was last seen to use, where that was asked."""
    found: dict[str, Exercise] = {}
    for start in range(0, len(row_ids), _CHUNK):
        query = select(PermissionUseRow).where(PermissionUseRow.identity_id.in_(row_ids[start : start + _CHUNK]))
        found |= {row.identity_id: exercise_of(row.body) for row in session.scalars(query)}
    return found


def documents(session: Session) -> dict[str, Json]:
    """Return every version of a policy of the cloud's own that was ever read."""
    return {row.key: row.body for row in session.scalars(select(PolicyDocumentRow))}


def write_documents(session: Session, read: Mapping[str, Mapping[str, Any]], now: datetime) -> None:
    """Keep what was read for the first time."""
    for key, body in read.items():
        session.merge(PolicyDocumentRow(key=key[:255], body=dict(body), read_at=now))
