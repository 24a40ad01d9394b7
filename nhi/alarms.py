"""What people answer to "was this you?": that was us, until a day; or not us, which by policy starts a quarantine.

As in nhi/decisions.py: one use case each, one short transaction each, with the attestation of the card as shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import activity_facts, decisions, ledger
from nhi.answers import Answered, Answering, answered, attest, findings_of, resolve, spend
from nhi.errors import BadAnswer, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.findings import OF_ACTIVITY, FindingKind, FindingStatus, Severity
from nhi.identity import CredentialStatus
from nhi.incident import values_of
from nhi.policy import Policy
from nhi.reasons import check_reason
from nhi.remediation import RemediationStatus
from nhi.tables import (
    AskFindingRow,
    AskRow,
    AttestationRow,
    CredentialRow,
    FindingRow,
    LearnedRow,
    RemediationRow,
    new_id,
)
from nhi.words import sentence

Json = dict[str, Any]


def is_alarm(session: Session, ask: AskRow | None) -> bool:
    """Whether a question is "was this you?"."""
    if ask is None:
        return False
    kinds = (
        select(FindingRow.kind)
        .join(AskFindingRow, AskFindingRow.finding_id == FindingRow.id)
        .where(AskFindingRow.ask_id == ask.id)
    )
    return any(kind in OF_ACTIVITY for kind in session.scalars(kinds))


def latest_day(policy: Policy, now: datetime) -> date:
    """Return the last day that a "That was us" may hold to."""
    return (now + policy.activity.ours_at_most).date()


def was_us(
    session: Session, answering: Answering, *, words: str, until: date, policy: Policy, now: datetime
) -> Answered:
    """Record that it was them, and let the same facts be no surprise until a day. Raises BadAnswer about a field.

    Learned is what the card showed, and no more. Raises OutOfDate where more is known by now than it showed.
    """
    reason = check_reason(words)
    if not now.date() < until <= latest_day(policy, now):
        raise BadAnswer(sentence("refusals.day_between", latest=latest_day(policy, now)), field="until")
    ends = datetime.combine(until + timedelta(days=1), time(0), UTC)
    for finding in _unusual(session, answering):
        if not set(_told(activity_facts.unusual(session, finding))) <= set(_told(_shown_of(answering, finding))):
            raise OutOfDate(sentence("refusals.unusual_grew"))
    spend(session, answering, AskStatus.ANSWERED, now)
    attestation = attest(session, answering, Verdict.WAS_US, now, words=reason, until=ends)
    learned = _learn(session, answering, attestation, now, ends)
    for finding in _unusual(session, answering):
        resolve(session, finding, sentence("answers.it_was_them", name=answering.who.name), now)
    facts = {"attestation": attestation.id, "facts": learned, "until": ends}
    ledger.record(session, "activity.learned", now=now, identity_id=answering.identity.id, facts=facts)
    return answered(answering, attestation)


def _learn(session: Session, answering: Answering, attestation: AttestationRow, now: datetime, until: datetime) -> int:
    shown = answering.offer.shown["facts"]["findings"]
    pairs = {pair for finding in shown for facts in finding.get("anomalies", ()) for pair in values_of(facts)}
    for facet, value in sorted(pairs):
        session.add(
            LearnedRow(
                id=new_id(),
                identity_id=answering.identity.id,
                facet=facet,
                value=value,
                since=now,
                until=until,
                attestation_id=attestation.id,
            )
        )
    session.flush()
    return len(pairs)


def not_us(
    session: Session, answering: Answering, *, policy: Policy, now: datetime, chosen: str | None = None
) -> Answered:
    """Record that it was not them. By policy this plans to turn the credential off, by the ordinary safe machinery.

    That is the one that the card named; where it named none, the `chosen` one (None: they do not know either). Raises
    OutOfDate where it is known by now that another one was used than the card named. The finding stays open until the
    credential is off: now it is known that somebody else has it.
    """
    found = _unusual(session, answering)
    named = {_named(_shown_of(answering, finding)) for finding in found}
    if named != {finding.credential_id for finding in found}:
        raise OutOfDate(sentence("refusals.unusual_grew"))
    spend(session, answering, AskStatus.ANSWERED, now)
    credential = _credential(session, answering, named.pop() if len(named) == 1 else None, chosen)
    attestation = attest(session, answering, Verdict.NOT_US, now, credential=credential)
    for finding in found:
        finding.severity = Severity.CRITICAL
        finding.credential_id = credential.id if credential is not None else finding.credential_id
    session.flush()
    planned = None
    if credential is not None and policy.activity.on_not_us == "quarantine":
        planned = decisions.quarantine(session, answering, credential, attestation, policy, now)
    return answered(answering, attestation, planned)


def _unusual(session: Session, answering: Answering) -> list[FindingRow]:
    return [finding for finding in findings_of(session, answering) if finding.kind in OF_ACTIVITY]


def _shown_of(answering: Answering, finding: FindingRow) -> Json:
    """Return what the card told of a finding; nothing where it did not show it."""
    shown = answering.offer.shown["facts"]["findings"]
    return next((one for one in shown if one["id"] == finding.id), {})


def _told(shown: Json) -> Iterator[tuple[str, str, str]]:
    return ((day["day"], *pair) for day in shown.get("anomalies", ()) for pair in values_of(day))


def _named(shown: Json) -> str | None:
    credential = shown.get("credential")
    return credential["row"] if credential else None


def _credential(session: Session, answering: Answering, named: str | None, chosen: str | None) -> CredentialRow | None:
    """Return the credential that it was done with, where it is known, stood on the card and can be turned off."""
    shown = {one["row"] for one in answering.offer.shown["facts"]["credentials"]}
    credential = session.get(CredentialRow, named or chosen) if (named or chosen) in shown else None
    if credential is None or credential.gone_at is not None or credential.external_id is None:
        return None
    return credential if credential.status is CredentialStatus.ACTIVE else None


def announcement(session: Session, said: AttestationRow) -> Json:
    """Return what security is told of a "Not us": what was planned, or that nothing was."""
    row = session.scalar(select(RemediationRow).where(RemediationRow.attestation_id == said.id).limit(1))
    credential = session.get(CredentialRow, said.credential_id) if said.credential_id else None
    status = row.status.value if row else ("unknown" if credential is None else "none")
    awaits = row is not None and row.status is RemediationStatus.AWAITING
    return {"status": "awaiting" if awaits else status, "key": credential.external_id if credential else None}


def open_alarms(session: Session) -> set[str]:
    """Return the identities about which "was this you?" is open: nothing else is asked of them meanwhile."""
    waiting = (
        select(AskRow.identity_id)
        .join(AskFindingRow, AskFindingRow.ask_id == AskRow.id)
        .join(FindingRow, FindingRow.id == AskFindingRow.finding_id)
        .where(AskRow.status == AskStatus.OPEN, FindingRow.kind == FindingKind.ANOMALOUS)
    )
    asleep = select(FindingRow.identity_id).where(
        FindingRow.kind == FindingKind.ANOMALOUS, FindingRow.status == FindingStatus.OPEN
    )
    return {*session.scalars(waiting), *session.scalars(asleep)}
