"""The review's messages, drawn from rows: boards with their one-time offers, the closing, the burn-down.

A board is the one place where somebody reviews: each answer redraws it with the next card, so nobody scrolls. Only the
newest board of a reader has buttons. Offers are committed before the message is sent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bot import review_cards
from bot.render import Message
from bot.slack import Json
from nhi import campaigns, facts, review_facts, reviews
from nhi.database import Sessions, reading
from nhi.escalation import names_in_order
from nhi.policy import Policy
from nhi.review_answers import can_disable
from nhi.reviews import Answer, ItemStatus, Risk
from nhi.tables import (
    DeliveryRow,
    PersonRow,
    ReviewBoardRow,
    ReviewCampaignRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewOfferRow,
    ReviewReviewerRow,
    new_id,
)

BOARDS = frozenset({"review", "review_reminder", "review_again"})
KINDS = BOARDS | {"review_escalation", "review_closed", "review_chart"}
ALIKE_AT_MOST = 200  # answered at one press
NAMES_SHOWN = 20
EACH = ("keep", "off", "reassign", "details", "later")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One set of buttons to be: what it stands for, what is shown, and the offer that says just that already."""

    item_ids: list[str]
    actions: list[str]
    shown: Json
    offer_id: str | None


@dataclass(frozen=True, kw_only=True)
class Look:
    """A board as its rows say it is."""

    about: Json
    cards: Sequence[Seen]
    alike: Seen | None
    alike_words: Json
    last: Seen | None
    last_words: Json


def draw(sessions: Sessions, delivery_id: str, policy: Policy, now: datetime) -> tuple[Message, frozenset[str]]:
    """Draw one of the review's deliveries as things are now; return it with the offers that stand behind it."""
    with reading(sessions) as session:
        row = session.get_one(DeliveryRow, delivery_id)
        if row.kind == "review_escalation":
            return review_cards.escalation(row.words), frozenset()
        if row.kind == "review_chart":
            return review_cards.chart(row.words), frozenset()
        if row.kind == "review_closed":
            return _closed(session, row), frozenset()
        board = session.get_one(ReviewBoardRow, delivery_id)
        instead = _instead(session, row, board, policy)
        if instead is not None:
            return instead, frozenset()
        look = _look(session, row, board, policy, now)
    return _offered(sessions, delivery_id, look, now)


def _instead(session: Session, row: DeliveryRow, board: ReviewBoardRow, policy: Policy) -> Message | None:
    """Return what an older board, or one of a closed campaign, says; None: it is the one to review on."""
    campaign = session.get_one(ReviewCampaignRow, board.campaign_id)
    if campaign.closed_at is not None:
        unanswered = _count(session, board, ItemStatus.UNANSWERED)
        return review_cards.plain(
            "closed_board",
            quarter=campaign.quarter,
            closed_at=campaign.closed_at,
            unanswered=unanswered,
            to=names_in_order(policy.conversation.escalate_to),
        )
    newest = (
        select(ReviewBoardRow.delivery_id)
        .join(DeliveryRow, DeliveryRow.id == ReviewBoardRow.delivery_id)
        .where(ReviewBoardRow.campaign_id == board.campaign_id, ReviewBoardRow.email == board.email)
        .where(DeliveryRow.recipient == row.recipient)
        .order_by(ReviewBoardRow.created_at.desc(), ReviewBoardRow.delivery_id.desc())
        .limit(1)
    )
    return None if session.scalar(newest) == row.id else review_cards.plain("moved")


def _count(session: Session, board: ReviewBoardRow, *statuses: ItemStatus) -> int:
    query = select(func.count()).select_from(ReviewItemRow)
    of_it = query.where(ReviewItemRow.campaign_id == board.campaign_id, ReviewItemRow.reviewer == board.email)
    return session.scalar(of_it.where(ReviewItemRow.status.in_(statuses))) or 0


def _look(session: Session, row: DeliveryRow, board: ReviewBoardRow, policy: Policy, now: datetime) -> Look:
    campaign = session.get_one(ReviewCampaignRow, board.campaign_id)
    left = _count(session, board, ItemStatus.PENDING)
    most = review_cards.LIST_AT_MOST if board.as_list else 1
    pages = max(1, -(-left // most))
    page = min(board.page, pages - 1) if board.as_list else 0
    items = _pending(session, board).offset(page * most).limit(most)
    rows = list(session.scalars(items))
    alike = [] if board.as_list or not rows else _alike(session, board, rows[0])
    last = _last(session, campaign.id, row.recipient)
    about = _about(session, row, board, campaign, policy) | {"left": left, "page": page, "pages": pages}
    about |= {"minutes": reviews.minutes_left(left, _pace(session, campaign.id, row.recipient))}
    bulk = {"items": {one.id: {"fingerprint": one.fingerprint, "name": _name(one)} for one in alike}}
    return Look(
        about=about,
        cards=[
            _seen(session, row.id, [one.id], EACH, {"items": {one.id: _shown(session, one, policy, now)}})
            for one in rows
        ],
        alike=_seen(session, row.id, [one.id for one in alike], ("all", "keep"), bulk) if len(alike) > 1 else None,
        alike_words={"count": len(alike), "names": [_name(one) for one in alike[1:NAMES_SHOWN]]},
        last=_seen(session, row.id, [last.id], ("reopen",), {"items": {last.id: {"name": _name(last)}}})
        if last
        else None,
        last_words={"name": _name(last), "status": last.status.value} if last else {},
    )


def _name(item: ReviewItemRow) -> str:
    return str(item.facts["identity"]["name"])


def _pending(session: Session, board: ReviewBoardRow):  # type: ignore[no-untyped-def]
    return (
        select(ReviewItemRow)
        .where(ReviewItemRow.campaign_id == board.campaign_id, ReviewItemRow.reviewer == board.email)
        .where(ReviewItemRow.status == ItemStatus.PENDING)
        .order_by(ReviewItemRow.later_at.is_not(None), ReviewItemRow.later_at, ReviewItemRow.position, ReviewItemRow.id)
    )


def _alike(session: Session, board: ReviewBoardRow, item: ReviewItemRow) -> list[ReviewItemRow]:
    """Return the open items with the same facts, this one first; none for what is never answered in bulk."""
    if item.kin is None or item.risk is Risk.HIGH or item.asked_again_at is not None:
        return []
    same = _pending(session, board).where(ReviewItemRow.kin == item.kin, ReviewItemRow.asked_again_at.is_(None))
    rows = list(session.scalars(same.limit(ALIKE_AT_MOST)))
    return [item, *(row for row in rows if row.id != item.id)][:ALIKE_AT_MOST]


def _last(session: Session, campaign_id: str, slack_id: str) -> ReviewItemRow | None:
    """Return the item of this reader's last answer, where it still counts; None: there is none."""
    newest = select(ReviewDecisionRow).where(
        ReviewDecisionRow.campaign_id == campaign_id, ReviewDecisionRow.slack_id == slack_id
    )
    decision = session.scalar(newest.order_by(ReviewDecisionRow.at.desc(), ReviewDecisionRow.id).limit(1))
    if decision is None or decision.answer not in (Answer.KEEP, Answer.OFF) or decision.together > 1:
        return None
    return session.scalar(select(ReviewItemRow).where(ReviewItemRow.decision_id == decision.id))


def _pace(session: Session, campaign_id: str, slack_id: str) -> list[float]:
    lately = select(ReviewDecisionRow.dwell_seconds).where(
        ReviewDecisionRow.campaign_id == campaign_id,
        ReviewDecisionRow.slack_id == slack_id,
        ReviewDecisionRow.together == 1,
    )
    return list(session.scalars(lately.order_by(ReviewDecisionRow.at.desc()).limit(20)))


def _about(
    session: Session, row: DeliveryRow, board: ReviewBoardRow, campaign: ReviewCampaignRow, policy: Policy
) -> Json:
    reader = session.get(PersonRow, row.recipient)
    reviewer = session.get(ReviewReviewerRow, (campaign.id, board.email))
    done = _count(session, board, ItemStatus.KEPT, ItemStatus.OFF, ItemStatus.GONE)
    again = (
        select(func.count())
        .select_from(ReviewItemRow)
        .where(
            ReviewItemRow.campaign_id == campaign.id,
            ReviewItemRow.reviewer == board.email,
            ReviewItemRow.status == ItemStatus.PENDING,
            ReviewItemRow.asked_again_at.is_not(None),
        )
    )
    return {
        "kind": row.kind,
        "delivery": row.id,
        "name": reader.name if reader else "",
        "email": board.email,
        "for_somebody": bool(reader and reader.email != board.email),
        "quarter": campaign.quarter,
        "due_at": campaign.due_at,
        "to": names_in_order(policy.conversation.escalate_to),
        "total": done + _count(session, board, ItemStatus.PENDING),
        "decided": done,
        "carried": _count(session, board, ItemStatus.CARRIED),
        "again": session.scalar(again) or 0,
        "again_because": reviewer.asked_again_because if reviewer else None,
        "as_list": board.as_list,
        "mode": policy.remediation.mode,
    }


def _shown(session: Session, item: ReviewItemRow, policy: Policy, now: datetime) -> Json:
    """Return one item's facts as its card shows them."""
    notes = select(ReviewDecisionRow.words).where(
        ReviewDecisionRow.item_id == item.id, ReviewDecisionRow.answer == Answer.REASSIGN
    )
    return review_facts.live(session, item, now) | {
        "can_disable": [credential.id for credential in can_disable(session, item.identity_id, policy)],
        "note": session.scalar(notes.order_by(ReviewDecisionRow.at.desc()).limit(1)),
    }


def _seen(session: Session, delivery_id: str, item_ids: list[str], actions: Sequence[str], shown: Json) -> Seen:
    """Keep the offer that was made on the very same facts: a form being filled in must not go out of date."""
    unspent = select(ReviewOfferRow).where(ReviewOfferRow.delivery_id == delivery_id, ReviewOfferRow.used_at.is_(None))
    for offer in session.scalars(unspent.order_by(ReviewOfferRow.created_at.desc())):
        same = offer.item_ids == item_ids and offer.actions == list(actions)
        if same and _gist(offer.shown) == _gist(shown):
            return Seen(item_ids=item_ids, actions=list(actions), shown=offer.shown, offer_id=offer.id)
    return Seen(item_ids=item_ids, actions=list(actions), shown=shown, offer_id=None)


def _gist(shown: Json) -> str:
    items = {id_: {k: v for k, v in item.items() if k != "drawn_at"} for id_, item in shown["items"].items()}
    return json.dumps(items, sort_keys=True)


def _offered(sessions: Sessions, delivery_id: str, look: Look, now: datetime) -> tuple[Message, frozenset[str]]:
    seen = [*look.cards, *filter(None, (look.alike, look.last))]
    ids: dict[int, str] = {number: one.offer_id for number, one in enumerate(seen) if one.offer_id}
    if len(ids) < len(seen):
        with sessions.begin() as session:
            campaign_id = session.get_one(ReviewBoardRow, delivery_id).campaign_id
            for number, one in enumerate(seen):
                if number not in ids:
                    ids[number] = _offer(session, campaign_id, delivery_id, one, now)
    by_seen = {id(one): ids[number] for number, one in enumerate(seen)}
    cards = [(one.shown["items"][one.item_ids[0]], by_seen[id(one)]) for one in look.cards]
    alike = (look.alike_words, by_seen[id(look.alike)]) if look.alike else None
    last = (look.last_words, by_seen[id(look.last)]) if look.last else None
    return review_cards.board(look.about, cards, alike, last), frozenset(ids.values())


def _offer(session: Session, campaign_id: str, delivery_id: str, one: Seen, now: datetime) -> str:
    row = ReviewOfferRow(
        id=new_id(),
        campaign_id=campaign_id,
        delivery_id=delivery_id,
        item_ids=one.item_ids,
        actions=one.actions,
        shown=one.shown,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row.id


def void_older(session: Session, delivery_id: str, kept: frozenset[str], now: datetime) -> None:
    """Let the buttons of earlier drawings of this board stand for nothing any more."""
    session.execute(
        update(ReviewOfferRow)
        .where(ReviewOfferRow.delivery_id == delivery_id, ReviewOfferRow.used_at.is_(None))
        .where(ReviewOfferRow.id.not_in(kept))
        .values(used_at=now)
        .execution_options(synchronize_session=False)
    )


# -- the closing -------------------------------------------------------------------------------------------------------


def _closed(session: Session, row: DeliveryRow) -> Message:
    campaign = session.get_one(ReviewCampaignRow, row.words["campaign"])
    return review_cards.closed(closing(session, campaign) | {"may_sign": bool(row.words.get("may_sign"))}, campaign.id)


def closing(session: Session, campaign: ReviewCampaignRow) -> Json:
    """Return what is said of a closed campaign: figures, who was silent about what, who signed."""
    signed = campaigns.signature_of(session, campaign.id)
    by_hand = select(ReviewDecisionRow.remediation_ids).join(
        ReviewItemRow, ReviewItemRow.decision_id == ReviewDecisionRow.id
    )
    offs = session.scalars(
        by_hand.where(ReviewItemRow.campaign_id == campaign.id, ReviewItemRow.status == ItemStatus.OFF)
    )
    return {
        "campaign": campaign.id,
        "quarter": campaign.quarter,
        "closed_at": facts.when(campaign.closed_at),
        "result": campaign.result or campaigns.result(session, campaign.id),
        "silent": silent(session, campaign.id),
        "by_hand": sum(not acts for acts in offs),
        "signature": None
        if signed is None
        else {"name": signed.name, "role": signed.role, "words": signed.words, "at": facts.when(signed.at)},
    }


def silent(session: Session, campaign_id: str) -> list[Json]:
    """Return each reviewer with unanswered items, most first: email, count, the first names."""
    query = (
        select(ReviewItemRow.reviewer, ReviewItemRow.facts)
        .where(ReviewItemRow.campaign_id == campaign_id)
        .where(ReviewItemRow.status.in_([ItemStatus.UNANSWERED, ItemStatus.PENDING]))
        .order_by(ReviewItemRow.position)
    )
    found: dict[str, list[str]] = defaultdict(list)
    for email, frozen in session.execute(query):
        found[email].append(str(frozen["identity"]["name"]))
    ordered = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [
        {"email": email, "count": len(names), "names": names[:4], "more": len(names) > 4} for email, names in ordered
    ]
