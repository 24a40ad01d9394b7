"""Between rows and values: the pure functions read values, the database keeps rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nhi import seasons
from nhi.identity import Aspect, Coverage, Credential, Evidence, Gap, Identity, Person
from nhi.ledger import instant
from nhi.redact import redact
from nhi.seasons import Pause
from nhi.tables import CredentialRow, EvidenceRow, GapRow, IdentityRow, PersonRow

_SAME = ("provider", "kind", "account", "key", "name", "principal", "custody", "created_at", "last_used_at", "use_gap")
_PAUSE = ("began_at", "ended_at", "quiet_at")
_CREDENTIAL_SAME = (
    *("key", "kind", "external_id", "status", "custody", "created_at", "rotated_at"),
    *("last_used_at", "last_used_service", "last_used_region", "use_gap"),
)


def identity_of(row: IdentityRow) -> Identity:
    """Return the value of a row, with those of its credentials that are not gone."""
    return Identity(
        **{name: getattr(row, name) for name in _SAME},
        tags=row.tags,
        policies=tuple(row.policies),
        privileged=row.privileged,
        service_linked=row.service_linked,
        coverage=_coverage_of(row.coverage),
        credentials=tuple(credential_of(credential) for credential in row.credentials if credential.gone_at is None),
    )


def credential_of(row: CredentialRow) -> Credential:
    """Return the value of a credential's row."""
    return Credential(
        **{name: getattr(row, name) for name in _CREDENTIAL_SAME},
        coverage=_coverage_of(row.coverage),
        pauses=tuple(_pause_of(told) for told in row.pauses),
    )


def _pause_of(told: dict[str, str]) -> Pause:
    return Pause(**{name: datetime.fromisoformat(told[name]) for name in _PAUSE})


def _note_pause(row: CredentialRow, seen: Credential) -> None:
    """Keep the pause that a new last use ended, where the former scan witnessed one."""
    seen_until = _coverage_of(row.coverage).seen_until or row.seen_at
    pause = seasons.witnessed(row.last_used_at, seen.last_used_at, seen_until)
    if pause is not None and row.use_gap is None and seen.use_gap is None:
        pauses = seasons.kept([*(_pause_of(told) for told in row.pauses), pause])
        row.pauses = [{name: instant(getattr(one, name)) for name in _PAUSE} for one in pauses]


def write_identity(row: IdentityRow, identity: Identity, now: datetime) -> None:
    """Copy a value into its row, credentials included; a credential that is not in the value is gone."""
    for name in _SAME:
        setattr(row, name, storable(getattr(identity, name)))
    row.tags = {storable(redact(key)): storable(redact(value)) for key, value in identity.tags.items()}
    row.policies = [storable(policy) for policy in identity.policies]
    row.privileged = identity.privileged
    row.service_linked = identity.service_linked
    row.coverage = _coverage_row(identity.coverage)
    row.seen_at = now
    row.gone_at = None
    known = {credential.key: credential for credential in row.credentials}
    for credential in identity.credentials:
        _write_credential(row, known.pop(credential.key, None), credential, now)
    for missing in known.values():
        missing.gone_at = missing.gone_at or now


def _write_credential(parent: IdentityRow, row: CredentialRow | None, credential: Credential, now: datetime) -> None:
    if row is None:
        row = CredentialRow(first_seen_at=now, pauses=[])
        parent.credentials.append(row)
    else:
        _note_pause(row, credential)
    for name in _CREDENTIAL_SAME:
        setattr(row, name, storable(getattr(credential, name)))
    row.coverage = _coverage_row(credential.coverage)
    row.seen_at = now
    row.gone_at = None


def storable(value: Any) -> Any:
    """Return a text that every database takes: PostgreSQL refuses NUL, and no UTF-8 has lone surrogates."""
    return value.replace("\0", "").encode("utf-8", "replace").decode() if type(value) is str else value


def _coverage_of(row: dict[str, Any]) -> Coverage:
    moments = {
        name: datetime.fromisoformat(row[name]) if row.get(name) else None for name in ("seen_from", "seen_until")
    }
    return Coverage(says=row.get("says", ""), **moments)


def _coverage_row(coverage: Coverage) -> dict[str, Any]:
    return {
        "says": coverage.says,
        "seen_from": instant(coverage.seen_from) if coverage.seen_from else None,
        "seen_until": instant(coverage.seen_until) if coverage.seen_until else None,
    }


def gap_of(row: GapRow) -> Gap:
    """Return the value of a gap's row."""
    return Gap(scope=row.scope, reason=row.reason, hides=frozenset(Aspect(aspect) for aspect in row.hides))


def evidence_of(row: EvidenceRow, identity_key: str) -> Evidence:
    """Return the value of an evidence row."""
    return Evidence(
        source=row.source, fact=row.fact, points_to=row.points_to, at=row.at, identity_key=identity_key, url=row.url
    )


def person_of(row: PersonRow) -> Person:
    """Return the value of a person's row."""
    return Person(
        email=row.email,
        slack_id=row.slack_id,
        name=row.name,
        tz=row.tz,
        active=row.active,
        guest=row.guest,
        bot=row.bot,
        stranger=row.stranger,
        handle=row.handle,
    )
