"""Judge the days that activity told something new of, and write down those that are unlike their identity's others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import activity_facts, anomalies, ledger, profiles
from nhi.activity import EPOCH, Facet, instant
from nhi.anomalies import Anomaly, Dead, Limits
from nhi.answers import redraw
from nhi.database import Sessions, reading
from nhi.escalation import AskStatus
from nhi.findings import SEVERITIES, FindingKind, FindingStatus
from nhi.habits import habit_of, without
from nhi.identity import CredentialStatus
from nhi.incident import facts_of, sentence, values_of
from nhi.policy import Policy
from nhi.policy_activity import Activity
from nhi.profiles import profile_of
from nhi.providers import Provider, TellsActivity
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.tables import (
    AnomalyRow,
    AskFindingRow,
    AskRow,
    CredentialRow,
    FindingRow,
    IdentityRow,
    RemediationRow,
    new_id,
)
from nhi.words import sentence as say

if TYPE_CHECKING:
    from jobs.activity import Tally

RECENT = timedelta(days=3)  # older days are history, and raise no alarm
HISTORY = timedelta(days=120)  # that habits are made of
USED_AGAIN = timedelta(days=3)  # how long a key counts as thought dead after a scan saw that it is not
_ITSELF = ("role", "service_account")  # credentials that are the identity's own ability to act
_ASLEEP = (FindingStatus.OPEN, FindingStatus.ASKED, FindingStatus.SNOOZED)


def judge(sessions: Sessions, provider: Provider, tally: Tally, policy: Policy, now: datetime) -> None:
    """Hold each day that was touched against its identity's history; one short transaction an anomaly."""
    recent = (now - RECENT).date()
    days = sorted((who, EPOCH + timedelta(days=day)) for name, who, day in tally.touched if name == provider.name)
    for who, day in days:
        if day < recent:
            continue
        with reading(sessions) as session:
            row = _identity(session, provider.name, who)
            found = None if row is None else _judge_day(session, row, who, day, policy, now)
            row_id = row.id if row is not None else None
        if found is None or row_id is None:
            continue
        with sessions.begin() as session:
            row = session.get_one(IdentityRow, row_id)
            opened = write(session, row, found, _coverage(session, provider, row), now)
        tally.opened += opened is True
        tally.kept += opened is False


def _identity(session: Session, provider: str, who: str) -> IdentityRow | None:
    name = IdentityRow.name if provider == "gcp" else IdentityRow.key
    query = select(IdentityRow).where(IdentityRow.provider == provider, name == who, IdentityRow.gone_at.is_(None))
    return session.scalar(query.limit(1))


def _judge_day(
    session: Session, row: IdentityRow, who: str, day: date, policy: Policy, now: datetime
) -> Anomaly | None:
    today = profiles.of_day(session, row.provider, who, day)
    if today is None:
        return None
    learned = frozenset((Facet(facet), value) for facet, value in profiles.learned(session, row.id, now))
    earlier = profiles.history(session, row.provider, who, day, day - HISTORY)
    earlier = without(earlier, profiles.ended(session, row.id, now))
    return anomalies.judge_day(
        profile_of(today),
        habit_of(earlier, learned),
        learned=learned,
        dead=_dead(session, row, now),
        privileged=row.privileged,
        limits=limits_of(policy.activity),
    )


def limits_of(rules: Activity) -> Limits:
    """Return what policy says of anomalies."""
    return Limits(threshold=anomalies.THRESHOLDS[rules.sensitivity], learn_for=rules.learn_for)


def _dead(session: Session, row: IdentityRow, now: datetime) -> dict[str, Dead]:
    """Return the credentials that were thought dead: turned off, or found unused, until now or until lately."""
    live = {one.id: one for one in row.credentials if one.gone_at is None and one.external_id}
    found = {
        str(one.external_id): Dead(why=say("findings.dead_turned_off"), since=int(_off_at(session, one).timestamp()))
        for one in live.values()
        if one.status is CredentialStatus.INACTIVE and one.kind not in _ITSELF
    }
    unused = select(FindingRow).where(FindingRow.identity_id == row.id, FindingRow.kind == FindingKind.UNUSED)
    for finding in session.scalars(unused):
        credential = live.get(finding.credential_id or "")
        if credential is not None and (finding.status in _ASLEEP or _woke(credential, finding, now)):
            quiet = finding.resolved_at or now
            found[str(credential.external_id)] = Dead(why=_asleep(credential, finding, quiet))
    return found


def _off_at(session: Session, credential: CredentialRow) -> datetime:
    """Return from when a credential is known to be off: since we did it, else since a scan saw it so last.

    The trail is late, and tells for a quarter of an hour of what was done before.
    """
    done = select(RemediationRow.verified_at).where(
        RemediationRow.credential_id == credential.id,
        RemediationRow.kind == RemediationKind.DISABLE,
        RemediationRow.status.in_([RemediationStatus.DONE, RemediationStatus.CLOSED]),
    )
    ours = session.scalar(done.order_by(RemediationRow.verified_at.desc()).limit(1))
    return ours or credential.seen_at


def _woke(credential: CredentialRow, finding: FindingRow, now: datetime) -> bool:
    """Whether a scan saw lately that what was found unused is used again."""
    lately = finding.resolved_at is not None and finding.resolved_at > now - USED_AGAIN
    return lately and credential.last_used_at is not None and credential.last_used_at >= finding.since


def _asleep(credential: CredentialRow, finding: FindingRow, until: datetime) -> str:
    last = credential.last_used_at
    if last is not None and last < finding.since:
        return say("findings.dead_last_used", at=last, quiet=until - last)
    return say("findings.dead_found", since=finding.since)


def _coverage(session: Session, provider: Provider, row: IdentityRow) -> str:
    assert isinstance(provider, TellsActivity)
    gaps = activity_facts.unread(session, row)
    says = provider.activity_coverage
    return say("findings.activity_unseen", says=says, reasons=gaps[:2]) if gaps else says


def write(session: Session, row: IdentityRow, found: Anomaly, coverage: str, now: datetime) -> bool | None:
    """Open a finding, or bring the open one up to date; True: opened, False: kept, None: it was answered already.

    An identity has at most one such finding open: what comes up while its question is open is on the same card.
    """
    if _is_answered(session, row, found):
        return None
    finding = session.scalar(
        select(FindingRow).where(
            FindingRow.identity_id == row.id,
            FindingRow.kind == FindingKind.ANOMALOUS,
            FindingRow.status != FindingStatus.RESOLVED,
        )
    )
    opened = finding is None
    before = None if finding is None else _credential_of_all(session, finding, row)
    _learn_id(session, row, found)
    if finding is None:
        finding = _new_finding(row, found, coverage, now)
        session.add(finding)
        session.flush()
    changed = _write_anomaly(session, finding, row, found, now)
    if not opened and before != (only := _credential_of_all(session, finding, row)):
        _tell_of(session, finding, only)
        changed = True
    _mark_day(session, row.provider, found)
    if opened:
        facts: dict[str, Any] = {"finding": finding.id, "kind": finding.kind, "since": finding.since}
        ledger.record(session, "finding.opened", now=now, identity_id=row.id, facts=facts | {"why": finding.why})
    elif changed:
        _bring_up_to_date(session, finding, found, coverage, now)
    return opened


def _is_answered(session: Session, row: IdentityRow, found: Anomaly) -> bool:
    """Whether everything of it was asked about this day already, and that question is closed."""
    rows = session.scalars(
        select(AnomalyRow)
        .join(FindingRow, FindingRow.id == AnomalyRow.finding_id)
        .where(
            AnomalyRow.identity_id == row.id,
            AnomalyRow.day == found.day,
            FindingRow.status == FindingStatus.RESOLVED,
        )
    )
    asked = {pair for one in rows for pair in values_of(one.facts)}
    return bool(asked) and set(values_of(facts_of(found))) <= asked


def _learn_id(session: Session, row: IdentityRow, found: Anomaly) -> None:
    """Learn which key of a user was used, where it can be no other than the one whose id was never asked for.

    A scan asks for the id only of keys that break a rule. The key was used before the last scan and after it, so it is
    one of those that the scan saw; of those, all the others are known by their ids.
    """
    keys = [one for one in row.credentials if one.kind == "access_key"]
    unnamed = [one for one in keys if one.gone_at is None and one.external_id is None]
    if found.credential is None or len(unnamed) != 1 or any(one.external_id == found.credential for one in keys):
        return
    seen_on = unnamed[0].seen_at.date()
    earlier = profiles.history(session, row.provider, found.who, seen_on, seen_on - HISTORY)
    if found.day >= seen_on and any(found.credential in one.values(Facet.CREDENTIAL) for one in earlier):
        unnamed[0].external_id = found.credential
        session.flush()


def _new_finding(row: IdentityRow, found: Anomaly, coverage: str, now: datetime) -> FindingRow:
    credential = credential_of(row, found.credential)
    return FindingRow(
        id=new_id(),
        identity_id=row.id,
        credential_id=credential.id if credential else None,
        kind=FindingKind.ANOMALOUS,
        status=FindingStatus.OPEN,
        opened_at=now,
        severity=found.severity,
        owasp=found.owasp,
        since=instant(found.at),
        why=sentence(found),
        coverage=coverage,
    )


def credential_of(row: IdentityRow, key: str | None) -> CredentialRow | None:
    """Return the credential that it was done with: by its id, or the identity's one ability to act; None: not known."""
    live: Sequence[CredentialRow] = [one for one in row.credentials if one.gone_at is None]
    if key is not None:
        return next((one for one in live if one.external_id == key), None)
    itself = [one for one in live if one.kind in _ITSELF]
    return itself[0] if len(itself) == 1 else None


def _credential_of_all(session: Session, finding: FindingRow, row: IdentityRow) -> str | None:
    """Return the one credential that all days of a finding name; None: they name several, or none."""
    days = session.scalars(select(AnomalyRow).where(AnomalyRow.finding_id == finding.id))
    credentials = {one.id if one else None for one in (credential_of(row, day.facts["credential"]) for day in days)}
    return credentials.pop() if len(credentials) == 1 else None


def _tell_of(session: Session, finding: FindingRow, credential_id: str | None) -> None:
    """Let a finding be about another credential, or about none alone: nobody's "Not us" may turn the wrong one off.

    What was answered already is asked again: that answer was about the other one.
    """
    finding.credential_id = credential_id
    asked = (
        select(AskRow.id)
        .join(AskFindingRow, AskFindingRow.ask_id == AskRow.id)
        .where(AskFindingRow.finding_id == finding.id, AskRow.status == AskStatus.OPEN)
    )
    if finding.status is FindingStatus.ASKED and session.scalar(asked.limit(1)) is None:
        finding.status = FindingStatus.OPEN


def _write_anomaly(session: Session, finding: FindingRow, row: IdentityRow, found: Anomaly, now: datetime) -> bool:
    """Write the day's facts as they are judged now; return whether there is something new in them."""
    facts = facts_of(found)
    known = session.scalar(select(AnomalyRow).where(AnomalyRow.finding_id == finding.id, AnomalyRow.day == found.day))
    if known is None:
        known = AnomalyRow(id=new_id(), finding_id=finding.id, identity_id=row.id, day=found.day, found_at=now)
        session.add(known)
        before: set[tuple[str, str]] = set()
    else:
        before = set(values_of(known.facts))
    known.at, known.score, known.facts = instant(found.at), found.score, facts
    session.flush()
    return not set(values_of(facts)) <= before


def _mark_day(session: Session, provider: str, found: Anomaly) -> None:
    profile = profiles.of_day(session, provider, found.who, found.day)
    if profile is not None:
        profile.unlike = True


def _bring_up_to_date(session: Session, finding: FindingRow, found: Anomaly, coverage: str, now: datetime) -> None:
    graver = SEVERITIES.index(found.severity) >= SEVERITIES.index(finding.severity)
    if graver:
        finding.severity, finding.why, finding.owasp = found.severity, sentence(found), found.owasp or finding.owasp
    finding.coverage, finding.since = coverage, min(finding.since, instant(found.at))
    session.flush()
    facts: dict[str, Any] = {"finding": finding.id, "kind": finding.kind, "severity": finding.severity}
    facts |= {"day": found.day.isoformat(), "why": sentence(found)}
    ledger.record(session, "finding.grew", now=now, identity_id=finding.identity_id, facts=facts)
    for ask_id in session.scalars(select(AskFindingRow.ask_id).where(AskFindingRow.finding_id == finding.id)):
        redraw(session, ask_id)
