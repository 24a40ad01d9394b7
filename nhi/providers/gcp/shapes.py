"""From what Google tells to the nouns of this program: pure.

Whose custody: a key that was downloaded or uploaded is ours; an account without one has no secret that anybody here
holds, and proves itself by being attached, impersonated or federated to (nobody's); accounts that Google makes and
uses are the platform's. An account's own ability to sign in is modelled as a credential, since it is a thing that can
be unused, and be turned off by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from nhi.identity import DELEGATED, Coverage, Credential, CredentialStatus, Custody, Identity, Trust
from nhi.providers.gcp import activity
from nhi.providers.gcp.activity import ACCOUNTS, KEYS, Used
from nhi.providers.gcp.assets import Account, ApiKey, Key, Place, Pool, Project
from nhi.providers.gcp.bindings import Grant, access
from nhi.words import sentence

_LONGEST = 250


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one account beside the inventory. A `..._gap` says why its use cannot be told."""

    keys: tuple[Key, ...]
    used: Used
    used_gap: str | None
    keys_used: dict[str, Used]
    keys_gap: str | None
    grants: Sequence[Grant]
    delegated: str | None  # the scopes of its domain-wide delegation; None: none is known
    api_keys: Sequence[ApiKey]  # bound to it
    trust: tuple[Trust, ...] = ()  # who can be it
    denials: bool = False  # whether deny policies were read


def service_account(account: Account, facts: Facts, project: Project | None, now: datetime) -> Identity:
    """Return an account with its keys."""
    keys = tuple(_key(account, key, facts, now) for key in facts.keys)
    return Identity(
        provider="gcp",
        kind="service_account",
        account=account.project,
        key=account.unique_id,
        name=account.email,
        principal=f"serviceAccount:{account.email}",
        custody=Custody.OURS if keys else Custody.PLATFORM if account.default else Custody.NOBODY,
        created_at=account.created_at,
        last_used_at=None,
        tags=_tags(account, facts, project),
        credentials=(_itself(account, facts, now), *keys),
        privileged=any(grant.admin for grant in facts.grants) or facts.delegated is not None,
        coverage=Coverage(says=_says(facts)),
        policies=_names(facts.grants),
        access=access(facts.grants, facts.trust),
    )


def _says(facts: Facts) -> str:
    """Return what is seen of an account's use and of what it may do."""
    of_use = (activity.says(ACCOUNTS), sentence("clouds.gcp_sees_calls"), sentence("clouds.gcp_sees_delegation"))
    return " ".join((*of_use, _of_roles(denials=facts.denials)))


def _of_roles(*, denials: bool) -> str:
    return sentence("clouds.gcp_sees_roles_and_denials" if denials else "clouds.gcp_sees_roles")


def _itself(account: Account, facts: Facts, now: datetime) -> Credential:
    return Credential(
        key="service_account",
        kind="service_account",
        external_id=account.email,
        status=CredentialStatus.INACTIVE if account.disabled else CredentialStatus.ACTIVE,
        custody=Custody.NOBODY,
        created_at=account.created_at,
        rotated_at=None,
        last_used_at=facts.used.at,
        use_gap=_blind(facts) or facts.used_gap,
        coverage=activity.coverage(ACCOUNTS, facts.used.period, now),
    )


def _key(account: Account, key: Key, facts: Facts, now: datetime) -> Credential:
    off = key.disabled or account.disabled or (key.ends_at is not None and key.ends_at <= now)
    used = facts.keys_used.get(key.id, Used(at=None, period=facts.used.period))
    delegated = None if facts.delegated is None else _blind(facts)
    return Credential(
        key=f"service_account_key/{key.id}",
        kind="service_account_key",
        external_id=key.id,
        status=CredentialStatus.INACTIVE if off else CredentialStatus.ACTIVE,
        custody=Custody.OURS,
        created_at=key.made_at,
        rotated_at=key.made_at,
        last_used_at=used.at,
        use_gap=delegated or facts.keys_gap,
        coverage=activity.coverage(KEYS, used.period, now),
    )


def _blind(facts: Facts) -> str | None:
    """Return why the analyser may miss uses of this account; None: nothing is known that it would miss."""
    if facts.delegated is not None:
        return sentence("clouds.gcp_delegation_hides_use")
    if facts.api_keys:
        return sentence("clouds.gcp_api_key_hides_use")
    return None


def _tags(account: Account, facts: Facts, project: Project | None) -> dict[str, str]:
    tags = _place(account.place, project)
    if account.default:
        tags["gcp:default"] = account.default
    if facts.delegated is not None:
        tags[DELEGATED] = facts.delegated[:_LONGEST] or "granted"
    for name, text in (("gcp:display-name", account.display_name), ("gcp:description", account.description)):
        if text:
            tags[name] = text[:_LONGEST]
    return tags


def _place(place: Place, project: Project | None) -> dict[str, str]:
    """Return where it lies, and its project's labels: nobody labels an account itself."""
    tags = {
        "gcp:project": place.project,
        "gcp:folders": " ".join(place.folders),
        "gcp:organization": place.organization,
    }
    labels = {f"project:{key}": value for key, value in (project.labels if project else {}).items()}
    return {key: value for key, value in tags.items() if value} | labels


def _names(grants: Iterable[Grant]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(grant) for grant in grants))


def service_agent(email: str, project: str, scope: str, grants: Sequence[Grant]) -> Identity:
    """Return an account that Google made to act for one of its services; it lives in a project of Google's.

    Only bindings tell of it, so `scope`, where they were read, is where it is known from.
    """
    return Identity(
        provider="gcp",
        kind="service_agent",
        account=project,
        key=email,
        name=email,
        principal=f"serviceAccount:{email}",
        custody=Custody.PLATFORM,
        created_at=None,
        last_used_at=None,
        use_gap=sentence("clouds.gcp_no_agent_use"),
        tags={"gcp:scope": scope},
        privileged=any(grant.admin for grant in grants),
        service_linked=True,
        policies=_names(grants),
        access=access(grants),
    )


def api_key(key: ApiKey, project: str, labels: Project | None) -> Identity:
    """Return an API key: a secret that stands for a project, or for the account that it is bound to."""
    restricted = {"gcp:restricted": "yes" if key.restricted else "no"}
    bound = {"gcp:service-account": key.account} if key.account else {}
    return Identity(
        provider="gcp",
        kind="api_key",
        account=project,
        key=key.uid,
        name=key.display_name or key.uid,
        principal=key.name,
        custody=Custody.OURS,
        created_at=key.made_at,
        last_used_at=None,
        tags=_place(key.place, labels) | restricted | bound | dict(key.annotations),
        credentials=(
            Credential(
                key="api_key",
                kind="api_key",
                external_id=key.uid,
                status=CredentialStatus.ACTIVE,
                custody=Custody.OURS,
                created_at=key.made_at,
                rotated_at=key.made_at,
                last_used_at=None,
                use_gap=sentence("clouds.gcp_no_api_key_use"),
                coverage=Coverage(says=sentence("clouds.gcp_sees_api_key")),
            ),
        ),
        coverage=Coverage(says=sentence("clouds.gcp_sees_api_key")),
    )


def pool(
    found: Pool,
    project: str,
    providers: Sequence[Pool],
    grants: Sequence[Grant],
    labels: Project | None,
    *,
    denials: bool,
) -> Identity:
    """Return a workload identity pool: identities of another system, which nobody holds a secret for here.

    `denials`: whether deny policies were read.
    """
    trusts = {f"gcp:trusts/{one.id}": one.trusts[:_LONGEST] for one in providers if one.trusts}
    return Identity(
        provider="gcp",
        kind="workload_identity_pool",
        account=project,
        key=found.name,
        name=found.id,
        principal=f"principalSet://iam.googleapis.com/{found.name}/*",
        custody=Custody.NOBODY,
        created_at=None,
        last_used_at=None,
        use_gap=sentence("clouds.gcp_no_federated_use"),
        tags=_place(found.place, labels) | trusts,
        credentials=tuple(_provider(found, one) for one in providers),
        privileged=any(grant.admin for grant in grants),
        coverage=Coverage(says=f"{sentence('clouds.gcp_sees_federated')} {_of_roles(denials=denials)}"),
        policies=_names(grants),
        access=access(grants),
    )


def _provider(found: Pool, one: Pool) -> Credential:
    return Credential(
        key=f"workload_identity_provider/{one.id}",
        kind="workload_identity_provider",
        external_id=one.name,
        status=CredentialStatus.INACTIVE if found.disabled or one.disabled else CredentialStatus.ACTIVE,
        custody=Custody.NOBODY,
        created_at=None,
        rotated_at=None,
        last_used_at=None,
        use_gap=sentence("clouds.gcp_no_federated_use"),
        coverage=Coverage(says=sentence("clouds.gcp_sees_federated")),
    )


def pool_elsewhere(name: str, project: str, scope: str, grants: Sequence[Grant]) -> Identity:
    """Return a pool that bindings name and the inventory does not have.

    Google makes the pools of clusters itself (PROJECT.svc.id.goog); any other is of a project outside the scope.
    """
    pool_id = name.rpartition("/")[2]
    ours = pool_id.endswith((".svc.id.goog", ".hub.id.goog"))
    return Identity(
        provider="gcp",
        kind="workload_identity_pool",
        account=project,
        key=name,
        name=pool_id,
        principal=f"principalSet://iam.googleapis.com/{name}/*",
        custody=Custody.PLATFORM if ours else Custody.NOBODY,
        created_at=None,
        last_used_at=None,
        use_gap=sentence("clouds.gcp_no_federated_use"),
        tags={"gcp:scope": scope} | ({} if ours else {"gcp:outside": "yes"}),
        privileged=any(grant.admin for grant in grants),
        service_linked=ours,
        policies=_names(grants),
        access=access(grants),
    )
