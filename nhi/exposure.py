"""Identities that strangers can become: trust that names nobody in particular. Pure.

Trust in another account is shown and is no finding: suppliers are trusted on purpose. A finding is what leaves it to
somebody else altogether who comes in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from nhi.finding import OWASP, Finding, FindingKind, Severity, raised
from nhi.identity import Identity, Trust, TrustKind
from nhi.words import sentence

# Issuers that vouch for everybody who has an account with them: without a condition on whom, that is everybody.
_PUBLIC_ISSUERS = ("token.actions.githubusercontent.com", "gitlab.com", "app.terraform.io", "agent.buildkite.com")
# Conditions that tie "anyone" to somebody (an account, an organisation, a principal, a network of one's own), each with
# what a value must hold to do so: what only a sign ("*") stands for is anybody's.
_LITERAL = r"[^*?]+"
_ACCOUNT = r".*:\d{12}:.*"
_NARROWING = {
    "aws:principalorgid": _LITERAL,
    "aws:principalorgpaths": r"o-[^*?/]+/.*",
    "aws:principalaccount": _LITERAL,
    "aws:principalarn": rf"{_ACCOUNT}|{_LITERAL}",
    "aws:sourceaccount": _LITERAL,
    "aws:sourcearn": rf"{_ACCOUNT}|arn:[^:]*:s3:::[^*?/]+(/.*)?|{_LITERAL}",
    "aws:sourceowner": _LITERAL,
    "sts:externalid": r".*[^*?].*",
    "aws:sourcevpc": _LITERAL,
    "aws:sourcevpce": _LITERAL,
    "aws:userid": r"[^*?]{12,}.*",
}
# Of whom an issuer vouches for, the owner must stand there in full: "repo:harbour/*", not "repo:harbour*".
_WHOM = rf"[^:*?]+:[^:/@*?]+[:/@].*|{_LITERAL}"
_ALWAYS_TOLD = ("aws:principalaccount", "aws:principalarn", "aws:userid")  # so that "if it exists" is no way round
_TAKE_SIGNS = ("Like", "ArnEquals")  # operators that take "*" and "?" for signs; ArnEquals does what ArnLike does


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
    return any(
        all(re.fullmatch(_NARROWING[one.key], value, re.DOTALL) for value in one.values)
        for one in _conditions(trust)
        if one.key in _NARROWING and (not one.if_told or one.key in _ALWAYS_TOLD)
    )


def _says_whom(trust: Trust) -> bool:
    """Whether a condition names whom a public issuer must vouch for; one that everybody meets names nobody."""
    named = [one.values for one in _conditions(trust) if one.key.endswith(":sub")]
    return any(all(re.fullmatch(_WHOM, value, re.DOTALL) for value in values) for values in named)


@dataclass(frozen=True, kw_only=True)
class _Condition:
    """One key of a condition, any of whose values will do. `if_told`: it holds too where the request has no such key.

    A sign that an operator takes literally is left out of the values: it stands for nothing but itself.
    """

    key: str
    values: tuple[str, ...]
    if_told: bool


def _conditions(trust: Trust) -> Iterator[_Condition]:
    """Yield each key of a condition that can narrow, with its values; nothing where it is no JSON object (CEL)."""
    try:
        told = json.loads(trust.condition) if trust.condition else {}
    except ValueError:
        return
    for operator, keys in told.items() if isinstance(told, dict) else ():
        if "Not" in operator or "Null" in operator or not isinstance(keys, dict):
            continue  # what must not be narrows nothing
        if_told = operator.endswith("IfExists") or operator.startswith("ForAllValues:")
        signs = any(one in operator for one in _TAKE_SIGNS)
        for key, values in keys.items():
            texts = [str(one) for one in values] if isinstance(values, list) else [str(values)]
            plain = tuple(text if signs else re.sub(r"[*?]", "-", text) for text in texts)
            if plain:
                yield _Condition(key=str(key).lower(), values=plain, if_told=if_told)
