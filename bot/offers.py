"""The offers behind buttons, and for whom: whose card may carry which.

An offer is made from facts and kept with them, so an answer always tells what the person was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot import messages
from bot.render import Blocks
from bot.slack import Json
from nhi import alarms, authority, cards, facts
from nhi.escalation import AskStatus, Verdict
from nhi.policy import Policy
from nhi.tables import AskRow, AttestationRow, FindingRow, IdentityRow, OfferRow, OwnerRow, PersonRow

Draw = Callable[[Json, str | None], Blocks]
CARDS_AT_MOST = 10  # drawn for one answer; the messages say how many more there are


def with_offer(
    session: Session,
    shown: Json,
    draw: Draw,
    *,
    identity_id: str,
    ask_id: str | None,
    card_id: str | None = None,
    now: datetime,
) -> tuple[Json, str | None]:
    """Make a new offer on these facts; return them and its id (None: there is nothing to press)."""
    made = cards.offer(session, {"facts": shown}, identity_id=identity_id, ask_id=ask_id, card_id=card_id, now=now)
    if made is None:
        return shown, None
    made.shown = {"facts": shown, "blocks": draw(shown, made.id)}
    session.flush()
    return shown, made.id


def unspent(session: Session, shown: Json, card_id: str) -> OfferRow | None:
    """Return the offer that this card has already, where it was made on the very same facts.

    Then it stays: a form that somebody is filling in must not go out of date because another card of the same message
    changed.
    """
    newest = session.scalar(
        select(OfferRow)
        .where(OfferRow.card_id == card_id, OfferRow.used_at.is_(None))
        .order_by(OfferRow.created_at.desc(), OfferRow.id)
        .limit(1)
    )
    if newest is None or "blocks" not in newest.shown or _gist(newest.shown["facts"]) != _gist(shown):
        return None
    return newest


def _gist(shown: Json) -> str:
    return json.dumps({name: value for name, value in shown.items() if name != "drawn_at"}, sort_keys=True)


def of_match(
    session: Session, who: PersonRow, match: Json, draw: Draw, policy: Policy, now: datetime
) -> tuple[Json, str | None]:
    """Return the card of one identity that `whois` found, with the buttons that this person may press."""
    identity = session.get_one(IdentityRow, match["identity"]["id"])
    can, ask_id = _may(session, who, identity, policy, now)
    shown = cards.of_identity(match, identity, [verdict.value for verdict in can], policy, now)
    return with_offer(session, shown, draw, identity_id=identity.id, ask_id=ask_id, now=now)


def _may(
    session: Session, who: PersonRow, identity: IdentityRow, policy: Policy, now: datetime
) -> tuple[list[Verdict], str | None]:
    """Return what this person may answer for an identity, and on which ask the answer counts."""
    newest = select(AskRow).where(
        AskRow.identity_id == identity.id, AskRow.status.in_([AskStatus.OPEN, AskStatus.ANSWERED])
    )
    ask = session.scalar(newest.order_by(AskRow.asked_at.desc(), AskRow.id).limit(1))
    asked = ask if ask is not None and ask.status is AskStatus.OPEN else None
    right = authority.authority(session, who, identity, asked, policy, now)
    if right is not None:
        can = [] if identity.gone_at else _verdicts(session, who, identity, asked, right)
        undo = [Verdict.UNDO] if cards.undoable(session, identity.id, asked.id if asked else None, now) else []
        return can + undo, asked.id if asked else None
    if ask is not None and authority.authority(session, who, identity, ask, policy, now) is not None:
        return [Verdict.UNDO] if cards.undoable(session, identity.id, ask.id, now) else [], ask.id
    return [], None


def _verdicts(
    session: Session, who: PersonRow, identity: IdentityRow, asked: AskRow | None, right: str
) -> list[Verdict]:
    if right.startswith(authority.MEMBER_OF):
        return [Verdict.CLAIM]
    if alarms.is_alarm(session, asked):
        return list(cards.ALARM)
    owner = authority.current_owner(session, identity.id)
    is_owner = owner is not None and owner.email == who.email
    can = cards.verdicts(identity, _findings(session, identity), owned_by_asked=is_owner)
    # "Not mine" is evidence about who was asked; from an admin who only looks on it would be none.
    was_asked = asked is not None or right != "admin"
    return [verdict for verdict in can if verdict is not Verdict.NOT_MINE or was_asked]


def _findings(session: Session, identity: IdentityRow) -> list[FindingRow]:
    return facts.open_findings(session, [identity.id])


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The open questions that wait for somebody: the first as cards, and how many there are in all."""

    cards: list[tuple[Json, str | None]]
    count: int


def asked_of(
    session: Session,
    who: PersonRow,
    policy: Policy,
    now: datetime,
    *,
    group: str | None = None,
    identity_id: str | None = None,
    most: int = CARDS_AT_MOST,
) -> Waiting:
    """Return what waits for this person, or for whom they answer; the longest waiting first, `most` of it drawn.

    `group` keeps to the questions that were asked as that one, `identity_id` to those about one identity.
    """
    emails = {who.email} | authority.delegating_to(session, who.email, now)
    waiting = select(AskRow).where(AskRow.email.in_(emails), AskRow.status == AskStatus.OPEN)
    if group is not None:
        waiting = waiting.where(AskRow.group_id == group)
    if identity_id is not None:
        waiting = waiting.where(AskRow.identity_id == identity_id)
    found: list[tuple[Json, str | None]] = []
    for ask in session.scalars(waiting.order_by(AskRow.asked_at, AskRow.id).limit(most)):
        shown = cards.of_ask(session, ask, policy, now)  # costs: whoever waits for this holds the only write lock
        found.append(with_offer(session, shown, messages.card, identity_id=ask.identity_id, ask_id=ask.id, now=now))
    count = session.scalar(select(func.count()).select_from(waiting.subquery())) or 0
    return Waiting(cards=found, count=count)


def owned_by(session: Session, who: PersonRow) -> list[Json]:
    """Return the identities that this person owns, each with its open findings."""
    owned = select(IdentityRow).join(OwnerRow, OwnerRow.identity_id == IdentityRow.id)
    mine = owned.where(OwnerRow.email == who.email, OwnerRow.ended_at.is_(None), IdentityRow.gone_at.is_(None))
    rows = list(session.scalars(mine.order_by(IdentityRow.name, IdentityRow.id)))
    findings = facts.open_findings(session, [row.id for row in rows])
    return [
        {
            "identity": facts.identity_json(row),
            "findings": [{"kind": found.kind.value} for found in findings if found.identity_id == row.id],
        }
        for row in rows
    ]


def decided_by(session: Session, who: PersonRow, most: int = 5) -> Sequence[Json]:
    """Return what this person decided lately, newest first: each with its identity and their own answers."""
    newest = select(AttestationRow).where(AttestationRow.slack_id == who.slack_id)
    rows = session.scalars(newest.order_by(AttestationRow.at.desc(), AttestationRow.id).limit(most))
    return [
        {
            "identity": facts.identity_json(session.get_one(IdentityRow, row.identity_id)),
            "answers": [{"verdict": row.verdict.value, "at": facts.when(row.at), "until": facts.when(row.until)}],
        }
        for row in rows
    ]
