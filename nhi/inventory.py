"""Compare what a scan saw with what is known: pure.

Not seen is not the same as not there. Something is gone only if its whole place was seen without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nhi.globs import fits_any
from nhi.identity import Access, Aspect, Credential, Gap, Identity, Permission, hiding_credentials


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
    if _is_partly_read(now, gaps):
        privileged, policies = now.privileged or before.privileged, _keep_policies(now, before)
        now = replace(now, privileged=privileged, policies=policies)
    return replace(now, credentials=tuple(merged))


def _is_partly_read(identity: Identity, gaps: Sequence[Gap]) -> bool:
    """Whether a gap hides some of what the identity may do."""
    partly = identity.access is None or bool(identity.access.unread)
    return partly and any(gap.covers(identity.scope, Aspect.PERMISSIONS) for gap in gaps)


def _keep_policies(now: Identity, before: Identity) -> tuple[str, ...]:
    """Return the names of its policies, with those known before of whatever could not be read."""
    groups = tuple(f"{name.removeprefix('group ')}/" for name in now.access.unread) if now.access else ("",)
    return tuple(dict.fromkeys((*now.policies, *(name for name in before.policies if name.startswith(groups)))))


def remembered(now: Access, before: Access, scope: str, gaps: Sequence[Gap]) -> Access:
    """Return what an identity may do, and of what a gap hides what was known of it before."""
    if any(gap.covers(scope, Aspect.CEILINGS) for gap in gaps) and now.ceilings is None:
        now = replace(now, ceilings=before.ceilings)
    if not any(gap.covers(scope, Aspect.PERMISSIONS) for gap in gaps):
        return now
    given = _given(now, before)
    now = replace(now, by_resources=given, bounds_given=bool(given) and (now.bounds_given or before.bounds_given))
    hidden = [name for name in now.unread if name not in before.unread and not _is_own_word(name)]
    known = [one for one in before.permissions if _comes_from(one.via, hidden)]
    limited = now.boundary
    if limited is None and before.boundary and _comes_from(before.boundary[0].via, hidden):
        limited = before.boundary
    unread = [name for name in before.unread if _comes_from(name, hidden)]
    told = [*(one.via for one in (*known, *(limited or ()))), *unread]
    still = [name for name in now.unread if name not in hidden or not any(_comes_from(via, [name]) for via in told)]
    return replace(
        now,
        permissions=_together(now.permissions, known, before.permissions),
        boundary=limited,
        unread=tuple(dict.fromkeys((*still, *unread))),
    )


def _is_own_word(name: str) -> bool:
    """Whether something unread came with the identity itself: then it is in no known shape, and no gap hides it."""
    return name.rpartition(", ")[2].partition(" ")[0] == "inline"


def _comes_from(via: str, names: Iterable[str]) -> bool:
    """Whether what comes from here ("group ops, ReadOnly") comes from one of these ("group ops")."""
    return any(via == name or via.startswith(f"{name}, ") for name in names)


def _given(now: Access, before: Access) -> tuple[Permission, ...] | None:
    """Return what resources give: of those that could not be read now, what they gave before."""
    if now.by_resources is None or before.by_resources is None:
        return before.by_resources if now.by_resources is None else now.by_resources
    known = [one for one in before.by_resources if fits_any(now.unread_resources, one.via)]
    return _together(now.by_resources, known, before.by_resources)


def _together(
    now: tuple[Permission, ...], known: Iterable[Permission], before: tuple[Permission, ...]
) -> tuple[Permission, ...]:
    """Return statements with those known beside them; as they stood before where they are the same, since their order
    tells nothing new."""
    found = (*now, *(one for one in known if one not in now))
    return before if len(found) == len(before) and set(found) == set(before) else found


def _keep_id(credential: Credential, before: Credential | None) -> Credential:
    """Keep what is fixed or was known: the public id, and the last use where today's could not be seen."""
    if before is None:
        return credential
    if credential.external_id is None:
        credential = replace(credential, external_id=before.external_id)
    if credential.use_gap is not None and credential.last_used_at is None:
        credential = replace(credential, last_used_at=before.last_used_at)
    return credential
