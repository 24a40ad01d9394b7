"""Handing over what a leaver owns: somebody is named, is asked, and says yes or no. Nothing else changes its owner.

One use case each, one short transaction each, claimed by one conditional UPDATE: of two answers the first counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from nhi import authority, decisions, facts, ledger, roster
from nhi.answers import Answered, Answering, answered, attest, redraw, spend_offer
from nhi.database import lock_writers
from nhi.errors import AlreadyAnswered, NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingStatus
from nhi.passing import DEPTH
from nhi.people import Reason
from nhi.policy import Policy
from nhi.tables import (
    AskFindingRow,
    AskRow,
    DeliveryRow,
    EvidenceRow,
    FindingRow,
    HandoverCardRow,
    HandoverItemRow,
    HandoverItemStatus,
    HandoverRow,
    IdentityRow,
    OfferRow,
    PersonRow,
    new_id,
)
from nhi.words import sentence

Json = dict[str, Any]
LIVE = (HandoverItemStatus.OPEN, HandoverItemStatus.PROPOSED)


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """What naming an heir led to. `taken`: who named took it themselves, and owns it now."""

    item_id: str
    identity: str
    heir: str
    taken: bool


def propose(
    session: Session, item_id: str, *, heir: str | None, slack_id: str, policy: Policy, now: datetime
) -> Proposed:
    """Name who should take an identity over; they are asked next. `heir` is a Slack id; None: whom evidence suggests.

    Raises NotAllowed for anybody but the leaver, the manager asked, their delegates and admins, and for an heir who
    cannot own; OutOfDate and AlreadyAnswered where the card is not true any more.
    """
    lock_writers(session)
    item = _item(session, item_id)
    who = authority.person(session, slack_id)
    right = _right(session, item.handover, who, policy, now)
    _still_theirs(session, item)
    chosen = _heir(session, item, heir, policy, now)
    moved = session.execute(
        update(HandoverItemRow)
        .where(HandoverItemRow.id == item.id, HandoverItemRow.status == HandoverItemStatus.OPEN)
        .values(
            status=HandoverItemStatus.PROPOSED,
            heir=chosen.email,
            named_by=who.email,
            named_at=now,
            asked_at=None,
            reminded_at=None,
        )
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]
        raise _too_late(item)
    session.refresh(item)
    _write_evidence(session, item, who, chosen, now)
    ledger.record(
        session,
        "handover.proposed",
        now=now,
        identity_id=item.identity_id,
        facts={"item": item.id},
        private={"by": who.email, "right": right, "heir": chosen.email, "leaver": item.handover.email},
    )
    taken = chosen.slack_id == who.slack_id
    if taken:
        _take(session, item, who, f"{right}{authority.TOOK_OVER}", _offer(session, item, now), now)
    redraw_cards(session, item.handover_id)
    return Proposed(item_id=item.id, identity=item.identity.name, heir=chosen.name, taken=taken)


def accept(session: Session, offer_id: str, *, slack_id: str, policy: Policy, now: datetime) -> Answered:
    """Record that the heir is answerable for the identity from now on."""
    lock_writers(session)
    offer, item, who, right = _heirs_answer(session, offer_id, slack_id, now)
    _still_theirs(session, item)
    done = _take(session, item, who, right, offer, now)
    redraw_cards(session, item.handover_id)
    return done


def decline(session: Session, offer_id: str, *, slack_id: str, policy: Policy, now: datetime) -> Answered:
    """Record that the heir does not take it: evidence against them, and somebody else is named."""
    lock_writers(session)
    offer, item, who, right = _heirs_answer(session, offer_id, slack_id, now)
    _leave(session, item, offer, HandoverItemStatus.OPEN, now)
    answering = Answering(offer=offer, identity=item.identity, ask=None, who=who, by_right=right)
    attestation = attest(session, answering, Verdict.NOT_MINE, now)
    heir = item.heir or who.email
    fact = sentence("answers.not_taken_over", who=who.email, leaver=item.handover.email)
    _evidence(session, item.identity_id, "not_mine", f"{fact} ({attestation.id[:8]})", heir, now)
    pass_on(session, item, heir, now)
    redraw_cards(session, item.handover_id)
    return answered(answering, attestation)


def pass_on(session: Session, item: HandoverItemRow, heir: str, now: datetime) -> None:
    """Let somebody else be named after this heir, or, after DEPTH of them, the likeliest owner be asked by evidence."""
    item.passed = [*item.passed, heir]
    item.status, item.heir, item.suggested, item.why = HandoverItemStatus.OPEN, None, None, []
    if len(item.passed) >= DEPTH:
        release(session, item, now)
    else:
        item.handover.manager_asked_at = item.handover.reminded_at = None  # who names the next one gets a new message
    session.flush()


def release(session: Session, item: HandoverItemRow, now: datetime) -> None:
    """Stop waiting for a name: the likeliest owner is asked, as of any identity without an owner."""
    item.status, item.ended_at = HandoverItemStatus.RELEASED, now
    session.flush()
    ledger.record(session, "handover.released", now=now, identity_id=item.identity_id, facts={"item": item.id})


# -- who may, and is it still so ---------------------------------------------------------------------------------------


def _item(session: Session, item_id: str) -> HandoverItemRow:
    item = session.get(HandoverItemRow, item_id)
    if item is None or item.handover.closed_at is not None:
        raise OutOfDate(sentence("refusals.handover_out_of_date"))
    return item


def _right(session: Session, handover: HandoverRow, who: PersonRow, policy: Policy, now: datetime) -> str:
    """Return by what right somebody names an heir. Raises NotAllowed."""
    asked = {handover.email: "leaver"} if handover.reason == Reason.ANNOUNCED.value else {}
    if handover.manager:
        asked[handover.manager] = f"manager of {handover.email}"
    if who.email in asked:
        return asked[who.email]
    for email in authority.delegating_to(session, who.email, now) & asked.keys():
        return f"delegate of {email}"
    if authority.is_admin(who, policy):
        return "admin"
    raise NotAllowed(sentence("refusals.not_for_you"))


def _still_theirs(session: Session, item: HandoverItemRow) -> None:
    """Raise OutOfDate where the leaver does not own it any more: somebody claimed it meanwhile."""
    owner = authority.current_owner(session, item.identity_id)
    if owner is None or owner.email != item.handover.email:
        raise OutOfDate(sentence("refusals.not_the_leavers"))


def _heir(session: Session, item: HandoverItemRow, slack_id: str | None, policy: Policy, now: datetime) -> PersonRow:
    known = roster.Roster.read(session, policy, now)
    row = known.by_id.get(slack_id) if slack_id else known.able(item.suggested)
    if row is None:
        raise NotAllowed(sentence("refusals.heir_unknown"))
    if known.able(row.email) is None or not row.email:
        raise NotAllowed(sentence("refusals.heir_cannot_own"))
    if row.email == item.handover.email:
        raise NotAllowed(sentence("refusals.heir_leaves"))
    if row.email in item.passed:
        raise NotAllowed(sentence("refusals.heir_was_asked", name=row.name))
    return row


def _too_late(item: HandoverItemRow) -> AlreadyAnswered:
    return AlreadyAnswered(sentence("refusals.heir_named_already", status=item.status.value, heir=item.heir))


def _heirs_answer(
    session: Session, offer_id: str, slack_id: str, now: datetime
) -> tuple[OfferRow, HandoverItemRow, PersonRow, str]:
    """Return the offer, the item, who answers, and by what right. Raises where it is not theirs, or not open."""
    offer = session.get(OfferRow, offer_id)
    named = offer.shown.get("facts", {}).get("handover") if offer else None
    if offer is None or not isinstance(named, dict):
        raise OutOfDate(sentence("refusals.handover_out_of_date"))
    item = session.get_one(HandoverItemRow, str(named.get("item")))
    who = authority.person(session, slack_id)
    asked = str(named.get("heir"))
    if who.email == asked:
        right = f"heir of {item.handover.email}"
    elif asked in authority.delegating_to(session, who.email, now):
        right = f"delegate of {asked}"
    else:
        raise NotAllowed(sentence("refusals.not_for_you"))
    if item.status is not HandoverItemStatus.PROPOSED or item.heir != asked or offer.used_at is not None:
        raise _too_late(item)
    return offer, item, who, right


# -- what follows ------------------------------------------------------------------------------------------------------


def _take(
    session: Session, item: HandoverItemRow, who: PersonRow, right: str, offer: OfferRow, now: datetime
) -> Answered:
    _leave(session, item, offer, HandoverItemStatus.ACCEPTED, now)
    item.ended_at = now
    answering = Answering(offer=offer, identity=item.identity, ask=None, who=who, by_right=right)
    done = decisions.take_over(session, answering, now)
    _withdraw_ask(session, item.identity_id, now)
    ledger.record(
        session,
        "handover.accepted",
        now=now,
        identity_id=item.identity_id,
        facts={"item": item.id, "attestation": done.attestation_id},
        private={"heir": who.email, "leaver": item.handover.email},
    )
    return done


def _leave(session: Session, item: HandoverItemRow, offer: OfferRow, status: HandoverItemStatus, now: datetime) -> None:
    """Move an item on from PROPOSED by one conditional UPDATE; of two answers the second hears who was first."""
    moved = session.execute(
        update(HandoverItemRow)
        .where(
            HandoverItemRow.id == item.id,
            HandoverItemRow.status == HandoverItemStatus.PROPOSED,
            HandoverItemRow.heir == item.heir,
        )
        .values(status=status)
    )
    if moved.rowcount != 1 or not spend_offer(session, offer, now):  # type: ignore[attr-defined]
        raise _too_late(item)
    session.refresh(item)


def _withdraw_ask(session: Session, identity_id: str, now: datetime) -> None:
    """End the question that was open with the former owner; what is left to ask is asked of the new one."""
    ask = session.scalar(select(AskRow).where(AskRow.identity_id == identity_id, AskRow.status == AskStatus.OPEN))
    if ask is None:
        return
    ask.status, ask.ended_at = AskStatus.WITHDRAWN, now
    asked = select(AskFindingRow.finding_id).where(AskFindingRow.ask_id == ask.id)
    session.execute(
        update(FindingRow)
        .where(FindingRow.id.in_(asked), FindingRow.status == FindingStatus.ASKED)
        .values(status=FindingStatus.OPEN)
        .execution_options(synchronize_session="fetch")
    )
    session.flush()
    gone = {"ask": ask.id, "because": "it was handed over"}
    ledger.record(session, "ask.withdrawn", now=now, identity_id=identity_id, facts=gone)
    redraw(session, ask.id)


def _write_evidence(session: Session, item: HandoverItemRow, who: PersonRow, chosen: PersonRow, now: datetime) -> None:
    fact = sentence("answers.named_heir", who=who.email, heir=chosen.email, leaver=item.handover.email)
    _evidence(session, item.identity_id, "handover", f"{fact} ({new_id()[:8]})", chosen.email, now)


def _evidence(session: Session, identity_id: str, source: str, fact: str, points_to: str, now: datetime) -> None:
    row = EvidenceRow(
        identity_id=identity_id, source=source, fact=fact[:1000], points_to=points_to, at=now, seen_at=now
    )
    session.add(row)
    session.flush()


def redraw_cards(session: Session, handover_id: str) -> None:
    """Mark every message about a hand-over as due for a redraw."""
    session.flush()
    copies = select(HandoverCardRow.delivery_id).where(HandoverCardRow.handover_id == handover_id)
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(copies))
        .values(wanted_version=DeliveryRow.wanted_version + 1)
        .execution_options(synchronize_session=False)
    )


# -- what cards show ---------------------------------------------------------------------------------------------------


def names(session: Session, emails: set[str]) -> dict[str, str]:
    """Return what people are called, by address; who is not known is called by the address."""
    rows = session.scalars(select(PersonRow).where(PersonRow.email.in_(emails)))
    return {email: email for email in emails} | {row.email: row.name for row in rows}


def recipient_of(session: Session, delivery_id: str) -> str | None:
    """Return the address of whom a message went to; None: they are not known (any more)."""
    query = select(PersonRow.email).join(DeliveryRow, DeliveryRow.recipient == PersonRow.slack_id)
    return session.scalar(query.where(DeliveryRow.id == delivery_id))


def item_facts(session: Session, item: HandoverItemRow) -> Json:
    """Return what a card says of one identity that is handed over."""
    handover = item.handover
    involved = {email for email in (item.suggested, item.heir, item.named_by, *item.passed) if email}
    called = names(session, involved)
    identity: IdentityRow = item.identity
    return {
        "identity": facts.identity_json(identity) | {"tags": identity.tags},
        "credentials": [facts.credential_json(one) for one in identity.credentials if one.gone_at is None],
        "findings": [_finding(row) for row in facts.open_findings(session, [identity.id])],
        "handover": {
            "item": item.id,
            "status": item.status.value,
            "leaver": handover.name,
            "reason": handover.reason,
            "last_day": in_words(handover),
            "suggested": called.get(item.suggested or ""),
            "why": item.why,
            "heir": item.heir,
            "heir_name": called.get(item.heir or ""),
            "named_by": called.get(item.named_by or ""),
            "asked_at": facts.when(item.asked_at),
            "passed": [called[email] for email in item.passed],
            "passed_by": item.passed,
        },
    }


def in_words(handover: HandoverRow) -> str | None:
    """Return the last day as people write it: "30 June 2026"; None: not told."""
    return sentence("words.date", day=handover.last_day) if handover.last_day else None


def _finding(row: FindingRow) -> Json:
    shown = facts.finding_json(row, {})
    del shown["identity"], shown["owner"]
    return shown


def _offer(session: Session, item: HandoverItemRow, now: datetime, blocks: list[Json] | None = None) -> OfferRow:
    return offer(session, item, item_facts(session, item), now, blocks)


def offer(
    session: Session, item: HandoverItemRow, shown: Json, now: datetime, blocks: list[Json] | None = None
) -> OfferRow:
    """Write the heir's buttons, with the card that they stand on."""
    row = OfferRow(
        id=new_id(),
        actions=[Verdict.CLAIM.value, Verdict.NOT_MINE.value],
        identity_id=item.identity_id,
        shown={"facts": shown, "blocks": blocks or []},
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row
