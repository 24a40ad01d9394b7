"""The pieces that every answer is made of: the check, the one-time offer, the attestation, the redraw."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, lazyload

from nhi import authority, ledger, rotations
from nhi.errors import AlreadyAnswered, NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.policy import Policy
from nhi.tables import (
    AskFindingRow,
    AskRow,
    AttestationRow,
    CardRow,
    CredentialRow,
    DeliveryRow,
    FindingRow,
    IdentityRow,
    OfferRow,
    PersonRow,
    new_id,
)
from nhi.words import sentence

_OPAQUE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Somebody about to answer: checked, nothing written yet."""

    offer: OfferRow
    identity: IdentityRow
    ask: AskRow | None
    who: PersonRow
    by_right: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What an answer led to, for the sentence that thanks."""

    verdict: Verdict
    identity_id: str
    ask_id: str | None
    attestation_id: str
    remediation_id: str | None = None


def begin(
    session: Session, offer_id: str, action: Verdict, *, slack_id: str, policy: Policy, now: datetime
) -> Answering:
    """Check that this person may press this button now. Writes nothing.

    Raises OutOfDate for a button that stands for nothing any more, AlreadyAnswered where somebody was faster, and
    NotAllowed for anyone but the person asked, the owner, their delegate or an admin.
    """
    offer = session.get(OfferRow, offer_id) if _OPAQUE.fullmatch(offer_id) else None
    if offer is None or action.value not in offer.actions:
        raise OutOfDate(sentence("refusals.out_of_date"))
    identity = session.get_one(IdentityRow, offer.identity_id)
    # The identity is here already: a click has three seconds, and each query more is paid two hundred times in a burst.
    light = [lazyload(AskRow.identity)]
    ask = session.get(AskRow, offer.ask_id, options=light) if offer.ask_id else None
    behind = None if ask is not None else rotations.question_behind(session, offer)
    who = authority.person(session, slack_id)
    by_right = authority.authority(session, who, identity, ask or behind, policy, now)
    if by_right is None and ask is not None and ask.email == who.email:
        raise too_late(session, ask.id)  # it was their question, and is over: a second click on "Not mine"
    if by_right is not None and by_right.startswith(authority.MEMBER_OF) and action is not Verdict.CLAIM:
        raise NotAllowed(sentence("refusals.only_claim"))
    if by_right is None:
        raise NotAllowed(sentence("refusals.not_for_you"))
    if ask is not None and action is not Verdict.UNDO and ask.status is not AskStatus.OPEN:
        raise too_late(session, ask.id)
    beside = ask is None and behind is None
    if offer.used_at is not None or (beside and action is not Verdict.UNDO and _is_asked(session, identity)):
        raise too_late(session, offer.ask_id)
    return Answering(offer=offer, identity=identity, ask=ask, who=who, by_right=by_right)


def _is_asked(session: Session, identity: IdentityRow) -> bool:
    """Whether a question is open about it: an answer beside the question would leave it open for ever."""
    query = select(AskRow.id).where(AskRow.identity_id == identity.id, AskRow.status == AskStatus.OPEN)
    return session.scalar(query) is not None


def too_late(session: Session, ask_id: str | None) -> AlreadyAnswered | OutOfDate:
    """Return what to tell somebody whose button came too late: who was first, where that is known."""
    first = session.scalar(
        select(AttestationRow)
        .where(AttestationRow.ask_id == ask_id)
        .order_by(AttestationRow.at.desc(), AttestationRow.verdict.desc())
        .limit(1)
    )
    if ask_id is None or first is None:
        return OutOfDate(sentence("refusals.out_of_date"))
    return AlreadyAnswered(
        sentence("refusals.answered_already", name=first.name, verdict=first.verdict.value, at=first.at)
    )


def attest(
    session: Session,
    answering: Answering,
    verdict: Verdict,
    now: datetime,
    *,
    words: str | None = None,
    until: datetime | None = None,
    credential: CredentialRow | None = None,
) -> AttestationRow:
    """Write what a person said, with the card as they saw it, and tell the ledger."""
    ask = answering.ask
    return attest_beside(
        session,
        answering.who,
        verdict,
        now,
        identity_id=answering.identity.id,
        by_right=answering.by_right,
        shown=answering.offer.shown,
        ask_id=ask.id if ask else None,
        words=words,
        until=until,
        credential_id=credential.id if credential else None,
    )


def attest_beside(
    session: Session,
    who: PersonRow,
    verdict: Verdict,
    now: datetime,
    *,
    identity_id: str,
    by_right: str,
    shown: dict[str, Any],
    ask_id: str | None = None,
    words: str | None = None,
    until: datetime | None = None,
    credential_id: str | None = None,
) -> AttestationRow:
    """Write what a person said, whether a card's button or a command said it; `shown` is what was before them."""
    attestation = AttestationRow(
        id=new_id(),
        identity_id=identity_id,
        ask_id=ask_id,
        credential_id=credential_id,
        verdict=verdict,
        email=who.email,
        slack_id=who.slack_id,
        name=who.name,
        authority=by_right,
        words=words,
        shown=shown,
        at=now,
        until=until,
    )
    session.add(attestation)
    session.flush()
    ledger.record(
        session,
        f"attestation.{verdict.value}",
        now=now,
        identity_id=identity_id,
        facts={
            "attestation": attestation.id,
            "until": until,
            "shown": ledger.commitment("", ledger.canonical(shown)),
        },
        private={"email": who.email, "slack_id": who.slack_id, "authority": by_right, "words": words},
    )
    return attestation


def spend(session: Session, answering: Answering, status: AskStatus, now: datetime) -> None:
    """Close the offer and the ask by one conditional UPDATE each: who changes a row was first."""
    if not spend_offer(session, answering.offer, now):
        raise too_late(session, answering.offer.ask_id)
    if answering.ask is None:
        return
    closed = session.execute(
        update(AskRow)
        .where(AskRow.id == answering.ask.id, AskRow.status == AskStatus.OPEN)
        .values(status=status, ended_at=now)
    )
    if closed.rowcount != 1:  # type: ignore[attr-defined]
        raise too_late(session, answering.ask.id)
    redraw(session, answering.ask.id)


def spend_offer(session: Session, offer: OfferRow, now: datetime) -> bool:
    """Take the offer by one conditional UPDATE; return whether it was still to be had."""
    spent = session.execute(
        update(OfferRow).where(OfferRow.id == offer.id, OfferRow.used_at.is_(None)).values(used_at=now)
    )
    return bool(spent.rowcount == 1)  # type: ignore[attr-defined]


def redraw(session: Session, ask_id: str | None) -> None:
    """Mark every posted copy of this ask's card as due for a redraw."""
    if ask_id is None:
        return
    copies = select(CardRow.delivery_id).where(CardRow.ask_id == ask_id)
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(copies))
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )


def resolve(session: Session, finding: FindingRow, because: str, now: datetime) -> None:
    """Close a finding, with the reason."""
    finding.status, finding.resolved_at, finding.resolved_because = FindingStatus.RESOLVED, now, because
    session.flush()
    ledger.record(
        session,
        "finding.resolved",
        now=now,
        identity_id=finding.identity_id,
        facts={"finding": finding.id, "kind": finding.kind, "because": because},
    )


def findings_of(
    session: Session, answering: Answering, kinds: Collection[FindingKind] | None = None
) -> list[FindingRow]:
    """Return the open findings that the card was about; without an ask, or of some kinds, all open ones."""
    query = select(FindingRow).where(
        FindingRow.identity_id == answering.identity.id, FindingRow.status != FindingStatus.RESOLVED
    )
    if kinds is not None:
        query = query.where(FindingRow.kind.in_(kinds)).order_by(FindingRow.kind, FindingRow.id)
    elif answering.ask is not None:
        asked = select(AskFindingRow.finding_id).where(AskFindingRow.ask_id == answering.ask.id)
        query = query.where(FindingRow.id.in_(asked))
    return list(session.scalars(query))


def answered(answering: Answering, attestation: AttestationRow, remediation_id: str | None = None) -> Answered:
    return Answered(
        verdict=attestation.verdict,
        identity_id=answering.identity.id,
        ask_id=answering.ask.id if answering.ask else None,
        attestation_id=attestation.id,
        remediation_id=remediation_id,
    )


def whose(answering: Answering) -> str:
    """Return of whom an answer speaks: of who gives it, or of the person in whose stead they do."""
    for right in ("delegate of ", "manager of ", "stand-in of "):
        if answering.by_right.startswith(right):
            return answering.by_right.removeprefix(right)
    if answering.by_right == "admin" and answering.ask is not None:
        return answering.ask.email
    return answering.who.email


def not_theirs(email: str, whose: str) -> str:
    """Return a "not mine" as evidence tells of it."""
    return sentence("answers.not_theirs", who=email, whose=whose)
