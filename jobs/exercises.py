"""Ask what identities use of what they may do: only of those who can do harm, a few a scan, and seldom again.

Each costs two calls or more, so the longest unasked have their turn first, and of them those with the gravest powers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from jobs import judge
from nhi import permission_records
from nhi.database import Sessions, reading
from nhi.identity import Gap, Identity
from nhi.policy import NEVER, Policy
from nhi.powers import Power
from nhi.providers import Exercised, Provider, SpansAccounts, TellsExercise
from nhi.records import identity_of
from nhi.tables import IdentityRow, PermissionSetRow, PermissionSpellRow, PermissionUseRow

# Of those who can only read data, or reach another account, nobody is asked: there is little to take away.
_GRAVE = list(Power).index(Power.DATA_WRITE)


def gather(sessions: Sessions, provider: Provider, policy: Policy, now: datetime) -> tuple[list[Gap], int, int]:
    """Ask, write down, and judge those who were told of; return the gaps, and how many findings opened and resolved."""
    wanted = policy.permissions
    if not isinstance(provider, TellsExercise) or not wanted.last_accessed or not wanted.lookups_a_scan:
        return [], 0, 0
    asked = _unasked(sessions, provider, policy, now)
    if not asked:
        return [], 0, 0
    rows = {identity.key: row_id for row_id, identity in asked}
    gaps: list[Gap] = []
    opened = resolved = 0
    for told in provider.exercises([identity for _, identity in asked], now=now):
        if isinstance(told, Gap):
            gaps.append(told)
            continue
        with sessions.begin() as session:
            more, fewer = _take(session, rows[told.identity_key], told, policy, now)
        opened, resolved = opened + more, resolved + fewer
    return gaps, opened, resolved


def _take(session: Session, row_id: str, told: Exercised, policy: Policy, now: datetime) -> tuple[int, int]:
    permission_records.write_use(session, row_id, told.exercise, now)
    session.flush()
    row = session.get(IdentityRow, row_id)
    return (0, 0) if row is None else judge.judge_permissions(session, [row], policy, now)


def _unasked(sessions: Sessions, provider: Provider, policy: Policy, now: datetime) -> Sequence[tuple[str, Identity]]:
    """Return who is to be asked about now, with their row ids."""
    query: Select[IdentityRow] = (
        select(IdentityRow)
        .join(PermissionSpellRow, PermissionSpellRow.identity_id == IdentityRow.id)
        .join(PermissionSetRow, PermissionSetRow.digest == PermissionSpellRow.digest)
        .outerjoin(PermissionUseRow, PermissionUseRow.identity_id == IdentityRow.id)
        .where(
            IdentityRow.provider == provider.name,
            IdentityRow.gone_at.is_(None),
            IdentityRow.service_linked.is_(False),
            PermissionSpellRow.ended_at.is_(None),
            PermissionSetRow.gravity <= _GRAVE,
            or_(
                PermissionUseRow.asked_at.is_(None),
                PermissionUseRow.asked_at <= now - policy.permissions.again_after,
            ),
        )
        .order_by(PermissionUseRow.asked_at.asc().nulls_first(), PermissionSetRow.gravity, IdentityRow.id)
    )
    if not isinstance(provider, SpansAccounts):
        query = query.where(IdentityRow.account == provider.account)
    with reading(sessions) as session:
        rows = list(session.scalars(query.limit(policy.permissions.lookups_a_scan)))
        sets = permission_records.sets_in_force(session, [row.id for row in rows])
        found = [
            (row.id, replace(identity_of(row), access=permission_records.access_of(sets[row.id].body))) for row in rows
        ]
    return [
        (row, one)
        for row, one in found
        if policy.rules.permissions_unused_after_for(one) != NEVER
        and (not isinstance(provider, SpansAccounts) or provider.holds(one))
    ]
