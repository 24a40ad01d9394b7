"""What an identity may do and does, in the shape that `nhi whois --json` promises; and one line of it for a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from nhi import paste, permission_records, permissions, powers
from nhi.escalation import Verdict
from nhi.identity import Access, Exercise, Identity
from nhi.least import Least, least
from nhi.ledger import instant
from nhi.policy import NEVER, Policy
from nhi.records import identity_of
from nhi.reviews import Answer
from nhi.tables import AttestationRow, IdentityRow, PermissionSetRow, ReviewDecisionRow

Json = dict[str, Any]
OUTSIDE_AT_MOST = 5
LONGEST = 60_000  # characters of something to paste


def of(session: Session, rows: Sequence[IdentityRow], policy: Policy) -> dict[str, Json]:
    """Return everything known of what these identities may do, by their row ids."""
    ids = [row.id for row in rows]
    sets, uses = permission_records.sets_in_force(session, ids), permission_records.uses(session, ids)
    return {row.id: _of_one(session, row, sets.get(row.id), uses.get(row.id), policy) for row in rows}


def summaries(session: Session, rows: Sequence[IdentityRow], policy: Policy) -> dict[str, Json]:
    """Return the same without statements and without what there is to paste: what a card has room for."""
    return {row: short(told) for row, told in of(session, rows, policy).items()}


def short(told: Json) -> Json:
    """Return what a card says: powers, how many services, what grew; the rest is for `whois`."""
    use, grown = told.get("use"), told.get("grew")
    return {
        "privileged": told["privileged"],
        "powers": [one["power"] for one in told.get("powers", ())],
        "outside": sorted({one["who"] for one in told.get("trust", ()) if one["outside"]})[:OUTSIDE_AT_MOST],
        "use": use and {"since": use["since"], "used": len(use["used"]), "allowed": use["allowed"]},
        "grew": _grew_short(grown),
        "least": bool(told.get("least")),
    }


def _grew_short(grown: Json | None) -> Json | None:
    return grown and {
        "since": grown["since"],
        "statements": len(grown["statements"]),
        "powers": grown["powers"],
        "trust": grown["trust"][:3],
    }


def grew(session: Session, row: IdentityRow) -> Json | None:
    """Return what a card says of what an identity may do and might not when somebody last answered for it."""
    found = permission_records.sets_in_force(session, [row.id]).get(row.id)
    return None if found is None else _grew_short(_grew(session, row, permission_records.access_of(found.body)))


def _of_one(
    session: Session, row: IdentityRow, found: PermissionSetRow | None, use: Exercise | None, policy: Policy
) -> Json:
    told: Json = {"policies": row.policies, "privileged": row.privileged, "known": found is not None}
    if found is None:
        return told
    access = permission_records.access_of(found.body)
    identity = replace(identity_of(row), access=access, exercise=use)
    return told | {
        "powers": [permission_records.power_json(one) for one in powers.powers(identity)],
        "statements": found.body["permissions"],
        "boundary": found.body["boundary"],
        "ceilings": found.body.get("ceilings"),
        "by_resources": found.body.get("by_resources"),
        "trust": found.body["trust"],
        "unread": found.body["unread"],
        "use": _use(access, use, policy, identity),
        "least": _least(identity, policy),
        "grew": _grew(session, row, access),
        "coverage": permissions.says(row.provider, access),
    }


def _use(access: Access, use: Exercise | None, policy: Policy, identity: Identity) -> Json | None:
    """Return which services are used and which are not; None: nobody asked, or it could not be seen."""
    patience = policy.rules.permissions_unused_after_for(identity)
    if use is None:
        return None
    since = None if patience == NEVER else use.seen_until - patience
    used = {name for name, at in use.services.items() if at is not None and (since is None or at >= since)}
    allowed = permissions.services(access.permissions)
    return {
        "since": instant(since) if since else None,
        "used": {name: instant(at) for name, at in sorted(use.services.items()) if at is not None and name in used},
        "unused": sorted(allowed & use.services.keys() - used),
        "allowed": len(allowed),
        "seen_from": instant(use.seen_from),
        "seen_until": instant(use.seen_until),
        "source": use.source,
    }


def _least(identity: Identity, policy: Policy) -> Json | None:
    """Return the least that covers the use seen, to paste; None: it cannot be told, or nothing would change."""
    patience = policy.rules.permissions_unused_after_for(identity)
    if identity.exercise is None or patience == NEVER:
        return None
    found = least(identity, identity.exercise.seen_until - patience)
    return _to_paste(identity, found) if found is not None and found.is_narrower else None


def _to_paste(identity: Identity, found: Least) -> Json:
    return {
        "policy": paste.as_json(identity, found.permissions),
        "diff": paste.diff(identity, found.before, found.permissions)[:LONGEST],
        "terraform": paste.terraform(identity, found.before, found.permissions)[:LONGEST],
        "drops_services": list(found.dropped),
        "drops_powers": [one.power.value for one in found.lost],
    }


def _grew(session: Session, row: IdentityRow, now: Access) -> Json | None:
    """Return what it may do that it might not when somebody last answered for it; None: nobody did, or nothing is."""
    at = _answered_at(session, row.id)
    before = permission_records.set_at(session, row.id, at) if at is not None else None
    if at is None or before is None:
        return None
    grown = permissions.grew(permission_records.access_of(before.body), now)
    if not grown.permissions and not grown.trust:
        return None
    fresh = Access(permissions=grown.permissions)
    held = powers.held(now, provider=row.provider, account=row.account)
    old = {one["power"] for one in before.powers}
    return {
        "since": instant(at),
        "statements": permission_records.body_of(fresh)["permissions"],
        "powers": [one.power.value for one in held if one.power.value not in old],
        "trust": list(grown.trust),
    }


def _answered_at(session: Session, identity_id: str) -> datetime | None:
    """Return when somebody last said that it is needed as it is: by a claim, a reason to keep it, or in a review."""
    verdicts = (Verdict.CLAIM, Verdict.JUSTIFY)
    said = select(func.max(AttestationRow.at)).where(
        AttestationRow.identity_id == identity_id, AttestationRow.verdict.in_(verdicts)
    )
    reviewed = select(func.max(ReviewDecisionRow.at)).where(
        ReviewDecisionRow.identity_id == identity_id, ReviewDecisionRow.answer == Answer.KEEP
    )
    found = [at for query in (said, reviewed) if (at := session.scalar(query)) is not None]
    return max(found, default=None)
