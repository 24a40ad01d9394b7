"""Identities that strangers can become: trust that names nobody in particular. Pure.

Trust in another account is shown and is no finding: suppliers are trusted on purpose. A finding is what leaves it to
somebody else altogether who comes in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from nhi.finding import OWASP, Finding, FindingKind, Severity, raised
from nhi.identity import Identity, Trust, TrustKind
from nhi.words import sentence

# Issuers that vouch for everybody who has an account with them: without a condition on whom, that is everybody.
_PUBLIC_ISSUERS = ("token.actions.githubusercontent.com", "gitlab.com", "app.terraform.io", "agent.buildkite.com")
# Conditions that tie "anyone" to somebody: an account, an organisation, a principal, a network of one's own.
_NARROWING = (
    *("aws:principalorgid", "aws:principalorgpaths", "aws:principalaccount", "aws:principalarn", "aws:sourceaccount"),
    *("aws:sourcearn", "aws:sourceowner", "sts:externalid", "aws:sourcevpc", "aws:sourcevpce", "aws:userid"),
)


def exposed(identity: Identity, now: datetime) -> Iterator[Finding]:
    """Yield one finding where strangers can become the identity."""
    found = [why for trust in (identity.access.trust if identity.access else ()) if (why := _open(trust)) is not None]
    if not found:
        return
    yield Finding(
        kind=FindingKind.EXPOSED,
        credential_key=None,
        severity=raised(Severity.HIGH, identity.privileged),
        owasp=OWASP[FindingKind.EXPOSED],
        since=min(now, identity.created_at or now),
        why=sentence("findings.exposed", way=found[0], more=len(found) - 1),
        coverage=sentence("findings.exposed_coverage"),
        exact=False,
    )


def _open(trust: Trust) -> str | None:
    """Return why a trust names nobody in particular; None: it does."""
    if trust.kind is TrustKind.ANYONE and not _is_narrowed(trust):
        return sentence("findings.exposed_everybody", who=trust.who, via=trust.via)
    if trust.kind is not TrustKind.FEDERATED:
        return None
    issuer = trust.who.partition("oidc-provider/")[2] or trust.who
    if issuer.split("/")[0] in _PUBLIC_ISSUERS and not _says_whom(trust):
        return sentence("findings.exposed_issuer", issuer=issuer.split("/")[0])
    if trust.who.startswith("principalSet://") and trust.who.endswith("/*"):
        return sentence("findings.exposed_pool", pool=trust.who.split("/")[-2])
    return None


def _is_narrowed(trust: Trust) -> bool:
    return any(key.lower() in _NARROWING for key, _ in _conditions(trust))


def _says_whom(trust: Trust) -> bool:
    """Whether a condition names whom a public issuer must vouch for; one that everybody meets names nobody."""
    named = [values for key, values in _conditions(trust) if key.endswith(":sub")]
    return any(value not in ("*", "repo:*") for values in named for value in values)


def _conditions(trust: Trust) -> Iterator[tuple[str, list[str]]]:
    """Yield each key of a condition that can narrow, with its values; nothing where it is no JSON object (CEL)."""
    try:
        told = json.loads(trust.condition) if trust.condition else {}
    except ValueError:
        return
    for operator, keys in told.items() if isinstance(told, dict) else ():
        if "Not" in operator or "Null" in operator or not isinstance(keys, dict):
            continue  # what must not be narrows nothing
        for key, values in keys.items():
            yield str(key), [str(one) for one in values] if isinstance(values, list) else [str(values)]
