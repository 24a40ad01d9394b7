"""Compare what a scan saw with what is known: pure.

Not seen is not the same as not there. Something is gone only if its whole place was seen without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nhi.identity import Aspect, Credential, Gap, Identity, hiding_credentials


@dataclass(frozen=True, kw_only=True)
class InventoryChanges:
    """What to write. `updated` holds each known identity merged with what was seen of it now."""

    appeared: tuple[Identity, ...]
    updated: tuple[Identity, ...]
    gone: tuple[Identity, ...]


def reconcile(seen: Iterable[Identity], known: Iterable[Identity], gaps: Sequence[Gap]) -> InventoryChanges:
    """Compare identities by their key, within one account.

    `known` are those not gone before. Raises nothing: an identity seen twice counts as last seen.
    """
    by_key = {identity.key: identity for identity in seen}
    before = {identity.key: identity for identity in known}
    return InventoryChanges(
        appeared=tuple(identity for key, identity in by_key.items() if key not in before),
        updated=tuple(merge(identity, before[key], gaps) for key, identity in by_key.items() if key in before),
        gone=tuple(identity for key, identity in before.items() if key not in by_key and not _hidden(identity, gaps)),
    )


def _hidden(identity: Identity, gaps: Sequence[Gap]) -> bool:
    return any(gap.covers(identity.scope, Aspect.EXISTENCE) for gap in gaps)


def merge(now: Identity, before: Identity, gaps: Sequence[Gap]) -> Identity:
    """Return what is now known: what was seen, and what a gap hides as it was known before.

    A credential's public id, once learnt, stays. A credential that a gap may hide stays as it was, with its use
    marked unseen.
    """
    old = {credential.key: credential for credential in before.credentials}
    merged = [_keep_id(credential, old.get(credential.key)) for credential in now.credentials]
    seen = {credential.key for credential in now.credentials}
    merged += [
        replace(credential, use_gap=credential.use_gap or gap.reason)
        for key, credential in old.items()
        if key not in seen and (gap := hiding_credentials(gaps, now, credential.kind)) is not None
    ]
    if now.use_gap is not None and now.last_used_at is None:
        now = replace(now, last_used_at=before.last_used_at)
    return replace(now, credentials=tuple(merged))


def _keep_id(credential: Credential, before: Credential | None) -> Credential:
    """Keep what is fixed or was known: the public id, and the last use where today's could not be seen."""
    if before is None:
        return credential
    if credential.external_id is None:
        credential = replace(credential, external_id=before.external_id)
    if credential.use_gap is not None and credential.last_used_at is None:
        credential = replace(credential, last_used_at=before.last_used_at)
    return credential
