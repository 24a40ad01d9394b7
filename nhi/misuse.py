"""Identities that are used for what they are not for: across environments, by several workloads, by people. Pure.

Each rests on what was seen and says it. What only might be is left alone: two functions of one application may share a
role, and a person's own user is no machine's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from nhi import environment
from nhi.finding import OWASP, Finding, FindingKind, Severity, raised
from nhi.identity import Credential, CredentialStatus, Evidence, Identity, TrustKind
from nhi.policy import Policy

LATELY = timedelta(days=90)
USED_BY = "aws:used-by"  # the tag that tells what runs as a role: nhi/providers/aws/others.py
_KUBERNETES = re.compile(r"serviceAccount:[^\[]+\.svc\.id\.goog\[([^/\]]+)/([^\]]+)\]")
_NAMED_AT_MOST = 3
_ACCESS_SAYS = "Read from who may take it and from its own policies; not from what it was used for."
_RUNS_SAYS = "What runs as it is read from the services that were looked at; other services may run as it too."
_PEOPLE_SAYS = "Sign-ins are told by IAM, and sessions by CloudTrail's last 90 days, a few at a time."


def misused(identity: Identity, sessions: Sequence[Evidence], policy: Policy, now: datetime) -> Iterator[Finding]:
    """Yield what an identity is misused for. `sessions` tell who took it lately."""
    yield from _across(identity, policy, now)
    yield from _reused(identity, now)
    yield from _by_people(identity, sessions, now)


def _across(identity: Identity, policy: Policy, now: datetime) -> Iterator[Finding]:
    own, ways = environment.belongs(identity, policy), environment.crossings(identity, policy)
    if own is None or not ways:
        return
    names = sorted({way.name for way in ways})
    into_production = own.name == "production" and any(way.inward for way in ways)
    from_elsewhere = own.name != "production" and "production" in {way.name for way in ways if not way.inward}
    yield _finding(
        FindingKind.CROSS_ENVIRONMENT,
        raised(Severity.LOW, into_production or from_elsewhere, identity.privileged),
        f"It belongs to {own.name} ({own.because}), and joins it with {_listed(names)}:"
        f" {_listed(way.by for way in ways)}.",
        _ACCESS_SAYS,
        identity,
        now,
    )


def _reused(identity: Identity, now: datetime) -> Iterator[Finding]:
    found = workloads(identity)
    if len({_first_word(one) for one in found}) < 2:
        return
    yield _finding(
        FindingKind.REUSED,
        raised(Severity.LOW, identity.privileged),
        f"{len(found)} workloads share it: {_listed(found)}. What one of them needs, or leaks, all of them have.",
        _RUNS_SAYS,
        identity,
        now,
    )


def workloads(identity: Identity) -> list[str]:
    """Return what runs as an identity, as far as was seen, sorted."""
    found = {one.strip() for one in identity.tags.get(USED_BY, "").split(",") if one.strip()}
    for trust in identity.access.trust if identity.access else ():
        match = _KUBERNETES.fullmatch(trust.who)
        if trust.kind is TrustKind.FEDERATED and match is not None:
            found.add(f"kubernetes {match[1]}/{match[2]}")
    return sorted(found)


def _first_word(workload: str) -> str:
    """Return what one application's parts have in common: the first word of its name, or its namespace."""
    name = workload.partition(" ")[2] or workload
    return re.split(r"[^a-z0-9]+", name.lower())[0]


def _by_people(identity: Identity, sessions: Sequence[Evidence], now: datetime) -> Iterator[Finding]:
    facts = [*_signs_in(identity, now), *_taken_by(identity, sessions, now)]
    if not facts:
        return
    yield _finding(
        FindingKind.HUMAN_USE,
        raised(Severity.LOW, identity.privileged),
        f"A person uses it: {_listed(facts)}. What a machine does and what a person does cannot be told apart then.",
        _PEOPLE_SAYS,
        identity,
        now,
    )


def _signs_in(identity: Identity, now: datetime) -> Iterator[str]:
    """Yield the sign-in of a user who has a machine's keys too, both in use."""
    used = [one for one in identity.credentials if _is_in_use(one, now)]
    keys = [one for one in used if one.kind in ("access_key", "service_specific_credential")]
    for password in used:
        if password.kind == "console_password" and keys and password.last_used_at is not None:
            yield f"somebody signed in with its password on {password.last_used_at:%-d %B %Y}"


def _is_in_use(credential: Credential, now: datetime) -> bool:
    used_at = credential.last_used_at
    return credential.status is CredentialStatus.ACTIVE and used_at is not None and used_at > now - LATELY


def _taken_by(identity: Identity, sessions: Sequence[Evidence], now: datetime) -> Iterator[str]:
    """Yield whose sessions used a role. One behind SAML is made for people, and one that nobody can change is AWS's."""
    access = identity.access
    if not identity.credentials or (access and any("saml-provider/" in one.who for one in access.trust)):
        return
    for fact in sessions:
        if "@" in fact.points_to and fact.at is not None and fact.at > now - LATELY:
            yield f"{fact.points_to} took it on {fact.at:%-d %B %Y}"


def _listed(words: Iterable[str]) -> str:
    every = list(dict.fromkeys(words))
    more = len(every) - _NAMED_AT_MOST
    return ", ".join(every[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _finding(
    kind: FindingKind, severity: Severity, why: str, coverage: str, identity: Identity, now: datetime
) -> Finding:
    return Finding(
        kind=kind,
        credential_key=None,
        severity=severity,
        owasp=OWASP[kind],
        since=min(now, identity.created_at or now),
        why=why,
        coverage=coverage,
        exact=False,
    )
