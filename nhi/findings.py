"""Which rules an identity breaks: pure, with `now` passed in.

A finding never claims more than its sources can see: use is judged up to where the sources reach, never to `now`,
and a gap makes silence, not a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nhi import permissions, seasons
from nhi.activity import Profile
from nhi.environment import NONE_KNOWN, Accounts
from nhi.exposure import exposed
from nhi.finding import OF_ACTIVITY as OF_ACTIVITY
from nhi.finding import OWASP as OWASP
from nhi.finding import OWNERSHIP as OWNERSHIP
from nhi.finding import SEVERITIES as SEVERITIES
from nhi.finding import Finding as Finding
from nhi.finding import FindingKind as FindingKind
from nhi.finding import FindingStatus as FindingStatus
from nhi.finding import Severity as Severity
from nhi.finding import called, raised
from nhi.identity import (
    Aspect,
    Coverage,
    Credential,
    CredentialStatus,
    Custody,
    Evidence,
    Gap,
    Identity,
    hiding_credentials,
)
from nhi.least import least
from nhi.misuse import misused
from nhi.policy import NEVER, Policy
from nhi.powers import Power, in_words
from nhi.words import sentence

MISUSE = frozenset({FindingKind.CROSS_ENVIRONMENT, FindingKind.REUSED, FindingKind.HUMAN_USE, FindingKind.EXPOSED})
TOLD_OF_USE = ("aws", "gcp")  # providers that tell of which permissions use is made


@dataclass(frozen=True, kw_only=True)
class Known:
    """An open finding as the database has it."""

    id: str
    kind: FindingKind
    credential_key: str | None
    status: FindingStatus
    justified_until: datetime | None  # None: not justified


@dataclass(frozen=True, kw_only=True)
class FindingChanges:
    """What to write: open these, refresh those (by id), resolve the rest (by id, with the reason), wake the expired."""

    opened: tuple[Finding, ...]
    kept: tuple[tuple[str, Finding], ...]
    resolved: tuple[tuple[str, str], ...]
    expired: tuple[str, ...]


def assess(
    identity: Identity,
    *,
    owner_active: bool | None,
    gaps: Sequence[Gap],
    policy: Policy,
    now: datetime,
    sessions: Sequence[Evidence] = (),
    conduct: Profile | None = None,
    accounts: Accounts = NONE_KNOWN,
) -> tuple[Finding, ...]:
    """Return every rule that this identity breaks at `now`.

    `owner_active` tells of the confirmed owner: True active, False gone, None there is none; `sessions` who took it
    lately, as far as a trail was asked, `conduct` what it did, and `accounts` what other accounts are called.
    Identities made and used by the platform (service-linked) break no rule: nobody here can own, use or rotate them.
    """
    if identity.service_linked or identity.custody is Custody.PLATFORM:
        return ()
    found = _findings(identity, owner_active, gaps, policy, now)
    return (*found, *misused(identity, sessions, policy, now, conduct, accounts), *exposed(identity, now))


def _findings(
    identity: Identity, owner_active: bool | None, gaps: Sequence[Gap], policy: Policy, now: datetime
) -> Iterator[Finding]:
    if not owner_active:
        yield _unowned(identity, owner_active, now)
    yield from _overprivileged(identity, policy.rules.permissions_unused_after_for(identity), now)
    use_hidden = any(gap.covers(identity.scope, Aspect.USE) for gap in gaps)
    if not use_hidden and not identity.credentials and identity.custody is Custody.NOBODY:
        yield from _unused(identity, None, policy.rules.unused_after_for(identity), now)
    for credential in identity.credentials:
        if credential.status is not CredentialStatus.ACTIVE:
            continue
        if not use_hidden:
            yield from _unused(identity, credential, policy.rules.unused_after_for(identity), now)
        if not _may_be_remembered_only(identity, credential, gaps):
            yield from _unrotated(identity, credential, policy.rules.unrotated_after_for(identity), now)


def _may_be_remembered_only(identity: Identity, credential: Credential, gaps: Sequence[Gap]) -> bool:
    """Whether a credential may stand here from a former scan: a gap hides credentials, and its use was not seen."""
    return credential.use_gap is not None and hiding_credentials(gaps, identity, credential.kind) is not None


def matters(identity: Identity, credential: Credential, policy: Policy, now: datetime) -> bool:
    """Whether this credential breaks a rule of its own, so that it is worth a call to learn its public id."""
    return any(
        finding.credential_key == credential.key
        for finding in assess(identity, owner_active=True, gaps=(), policy=policy, now=now)
    )


def quiet_since(subject: Identity | Credential, fallback: datetime | None) -> datetime | None:
    """Return since when no use is known, as far back as the sources see; None when that cannot be told.

    Where the provider does not tell when a credential was made, it is as young as its secret may be: a password set
    yesterday has had one day to be used. `fallback` is the creation of the whole identity, for credentials of which
    the provider tells no time at all.
    """
    if subject.use_gap is not None:
        return None
    changed = subject.rotated_at if isinstance(subject, Credential) else None
    start = subject.last_used_at or subject.created_at or changed or fallback
    return max((moment for moment in (start, subject.coverage.seen_from) if moment is not None), default=None)


def _unused(identity: Identity, credential: Credential | None, patience: timedelta, now: datetime) -> Iterator[Finding]:
    subject = credential or identity
    start = quiet_since(subject, identity.created_at)
    seen_until = min(now, subject.coverage.seen_until or now)
    if start is None or patience == NEVER:
        return
    allowed, (patience, season) = patience, seasons.patience(patience, credential.pauses if credential else (), now)
    if seen_until - start < patience:
        return
    yield Finding(
        kind=FindingKind.UNUSED,
        credential_key=credential.key if credential else None,
        severity=raised(Severity.MEDIUM, identity.privileged, subject.last_used_at is None),
        owasp=OWASP[FindingKind.UNUSED],
        since=start + patience,
        why=sentence(
            "findings.unused",
            what=_words(credential),
            how=_how_unused(subject, start),
            start=start,
            service=credential.last_used_service if credential else None,
            quiet=seen_until - start,
            limit=allowed,
            season=season,
        ),
        coverage=_says(subject.coverage, seen_until),
        exact=start != subject.coverage.seen_from,
    )


def _how_unused(subject: Identity | Credential, start: datetime) -> str:
    if subject.last_used_at is not None and start == subject.last_used_at:
        return "used"
    if start == subject.coverage.seen_from:
        return "remembered"
    return "created" if subject.created_at is not None else "set"


def _unrotated(identity: Identity, credential: Credential, patience: timedelta, now: datetime) -> Iterator[Finding]:
    changed = credential.rotated_at or credential.created_at
    if credential.custody is not Custody.OURS or changed is None or patience == NEVER or now - changed < patience:
        return
    age = now - changed
    told = credential.rotated_at is not None
    yield Finding(
        kind=FindingKind.UNROTATED,
        credential_key=credential.key,
        severity=raised(Severity.LOW, identity.privileged, age >= 4 * patience),
        owasp=OWASP[FindingKind.UNROTATED],
        since=changed + patience,
        why=sentence(
            "findings.unrotated", what=_words(credential), told=told, changed=changed, age=age, limit=patience
        ),
        coverage=sentence("findings.unrotated_told" if told else "findings.unrotated_made"),
    )


def _overprivileged(identity: Identity, patience: timedelta, now: datetime) -> Iterator[Finding]:
    """Judge what it may do against what it was seen to use, up to where that is told. One that is new has its grace."""
    access, exercise, made_at = identity.access, identity.exercise, identity.created_at
    if exercise is None or patience == NEVER or (made_at is not None and exercise.seen_until - made_at < patience):
        return
    found = least(identity, exercise.seen_until - patience)
    if found is None or not found.lost:
        return
    lost = [one.power for one in found.lost]
    graver = any(power in (Power.ADMIN, Power.ESCALATION, Power.SECRETS) for power in lost)
    yield Finding(
        kind=FindingKind.OVERPRIVILEGED,
        credential_key=None,
        severity=raised(Severity.LOW, graver, Power.ADMIN in lost),
        owasp=OWASP[FindingKind.OVERPRIVILEGED],
        since=min(now, max(made_at or exercise.seen_from, exercise.seen_from) + patience),
        why=sentence(
            "findings.overprivileged",
            provider=identity.provider,
            count=len(found.kept) + len(found.dropped),
            used=found.used,
            limit=patience,
            powers=in_words(lost[:3], either=True),
        ),
        coverage=f"{_says_of_exercise(identity.provider)} {permissions.says(identity.provider, access)}".strip(),
        exact=False,
    )


def _says_of_exercise(provider: str) -> str:
    """Return what the source of a use tells and does not, said with every finding that rests on it."""
    return sentence(f"findings.exercise_{provider}") if provider in TOLD_OF_USE else ""


def _unowned(identity: Identity, owner_active: bool | None, now: datetime) -> Finding:
    gone = owner_active is False
    return Finding(
        kind=FindingKind.ORPHANED if gone else FindingKind.UNOWNED,
        credential_key=None,
        severity=raised(Severity.LOW, identity.privileged, gone),
        owasp=OWASP[FindingKind.ORPHANED if gone else FindingKind.UNOWNED],
        since=now if gone or identity.created_at is None else identity.created_at,
        why=sentence("findings.orphaned" if gone else "findings.unowned"),
        coverage=sentence("findings.ownership_coverage"),
        exact=False,
    )


def _words(credential: Credential | None) -> str:
    """Return what a credential is called; without one it is about a role, which is an identity by itself."""
    kind = credential.kind if credential else "role"
    return called(kind)


def _says(coverage: Coverage, seen_until: datetime) -> str:
    return sentence("findings.seen_until", says=coverage.says, until=seen_until)


def reconcile(
    assessed: Iterable[Finding], known: Sequence[Known], *, identity: Identity, gaps: Sequence[Gap], now: datetime
) -> FindingChanges:
    """Compare what is broken now with the open findings: open, keep, resolve, and wake justified ones that ran out.

    A finding that cannot be judged because of a gap is kept as it is, neither refreshed nor resolved.
    """
    current = {(finding.kind, finding.credential_key): finding for finding in assessed}
    old = {(finding.kind, finding.credential_key): finding for finding in known}
    standing = {key for key, finding in old.items() if key in current or is_hidden(finding, identity, gaps)}
    return FindingChanges(
        opened=tuple(finding for key, finding in current.items() if key not in old),
        kept=tuple((old[key].id, finding) for key, finding in current.items() if key in old),
        resolved=tuple(
            (finding.id, _because(finding, identity, current)) for key, finding in old.items() if key not in standing
        ),
        expired=tuple(
            finding.id
            for key, finding in old.items()
            if key in standing and finding.justified_until is not None and finding.justified_until <= now
        ),
    )


def is_hidden(finding: Known, identity: Identity, gaps: Sequence[Gap]) -> bool:
    """Whether a scan, by a gap or by its nature, cannot tell if this finding still stands."""
    if finding.kind in OWNERSHIP:
        return False
    if finding.kind in (FindingKind.CROSS_ENVIRONMENT, FindingKind.REUSED, FindingKind.EXPOSED):
        return identity.access is None or any(gap.covers(identity.scope, Aspect.PERMISSIONS) for gap in gaps)
    if finding.kind is FindingKind.HUMAN_USE:
        told = ("access_key", "console_password", "role")
        return any(one.use_gap is not None for one in identity.credentials if one.kind in told)
    if finding.kind is FindingKind.OVERPRIVILEGED:
        return identity.access is None or identity.exercise is None or bool(identity.access.unread)
    credential = next((c for c in identity.credentials if c.key == finding.credential_key), None)
    if finding.credential_key is not None and credential is None:
        return any(gap.covers(identity.scope, Aspect.CREDENTIALS) for gap in gaps)
    if credential is not None and _may_be_remembered_only(identity, credential, gaps):
        return True
    if finding.kind is FindingKind.UNROTATED or (credential and credential.status is CredentialStatus.INACTIVE):
        return False  # it was seen in this scan, and its own record is enough to judge
    if finding.kind in OF_ACTIVITY:
        return True  # what was done stays done: no scan tells otherwise
    subject: Identity | Credential = credential or identity
    return subject.use_gap is not None or any(gap.covers(identity.scope, Aspect.USE) for gap in gaps)


def _because(finding: Known, identity: Identity, current: Iterable[tuple[FindingKind, str | None]]) -> str:
    return sentence(f"findings.resolved_{_how_resolved(finding, identity, current)}")


def _how_resolved(finding: Known, identity: Identity, current: Iterable[tuple[FindingKind, str | None]]) -> str:
    if finding.kind in OWNERSHIP:
        other = next((kind for kind, key in current if kind in OWNERSHIP), None)
        return other.value if other else "owned"
    credential = next((c for c in identity.credentials if c.key == finding.credential_key), None)
    if finding.credential_key is not None and credential is None:
        return "credential_gone"
    if credential is not None and credential.status is CredentialStatus.INACTIVE:
        return "turned_off"
    if finding.kind in MISUSE:
        return "misuse"
    if finding.kind in (FindingKind.OVERPRIVILEGED, FindingKind.UNUSED):
        return finding.kind.value
    return "unrotated"
