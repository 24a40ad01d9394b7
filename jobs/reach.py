"""From an act's row to its cloud: which source reaches it, and the one credential that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nhi.policy import Policy, Source
from nhi.providers import Connect, EndsSessions, Provider, SpansAccounts, Target
from nhi.records import identity_of
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.tables import IdentityRow, RemediationRow

Providers = Mapping[str, Connect]
BEGUN = (RemediationStatus.ACTING, RemediationStatus.TESTING, RemediationStatus.UNDOING)


def opened_once(providers: Providers) -> Providers:
    """Return the same providers, which open each source only once: for one run, whose acts share its session.

    What an act itself does still goes out by a session of its own, narrowed to what the act is about.
    """
    return {name: _once(connect) for name, connect in providers.items()}


def _once(connect: Connect) -> Connect:
    opened: list[tuple[Source, Provider]] = []  # a policy's sources are few

    def connect_once(source: Source) -> Provider:
        found = next((provider for known, provider in opened if known == source), None)
        if found is None:
            found = connect(source)
            opened.append((source, found))
        return found

    return connect_once


def open_source(row: RemediationRow, policy: Policy, providers: Providers) -> Provider | None:
    """Open the source that reaches the account of this credential."""
    for source in policy.sources:
        if source.provider != row.identity.provider or source.provider not in providers:
            continue
        provider = providers[source.provider](source)
        if _reaches(provider, row.identity):
            return provider
    return None


def _reaches(provider: Provider, row: IdentityRow) -> bool:
    if isinstance(provider, SpansAccounts):
        return provider.holds(identity_of(row))
    return provider.account == row.account


def target_of(row: RemediationRow, provider: Provider | None = None, *, anew: bool = False) -> Target:
    """Return the one credential that a row is about; it has a public id.

    `anew`: as it is turned off next, and not as it was. Where only its sessions are to be ended, `provider` says by
    which kind of target they go.
    """
    assert row.credential.external_id is not None
    kind, begun_at = row.credential.kind, None
    former: dict[str, Any] = {}
    if row.undo is not None and row.status in BEGUN and not anew:
        kind = row.undo.get("target_kind", kind)  # as it was turned off, it is turned on
        begun_at, former = row.acted_at, row.undo.get("former") or {}
    if row.kind is RemediationKind.REVOKE and provider is not None and isinstance(provider, EndsSessions):
        kind = provider.sessions_of(kind) or kind
    return Target(
        account=row.identity.account,
        identity_name=row.identity.name,
        identity_key=row.identity.key,
        credential_kind=kind,
        credential_id=row.credential.external_id,
        principal=row.identity.principal,
        begun_at=begun_at,
        former=former,
    )
