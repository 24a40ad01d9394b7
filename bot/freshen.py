"""A press on a card that is out of date: its person gets the newest state of what it stood for, with its buttons."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import messages, offers
from bot.render import say
from bot.slack import Bot, Json, tell
from nhi import authority
from nhi.errors import NotAllowed
from nhi.policy import Policy
from nhi.tables import AskRow, CardRow, DeliveryRow, OfferRow


def answer(bot: Bot, body: Json, sentence: str) -> None:
    """Say the sentence, and show what waits for this person now; the old message is drawn anew besides."""
    now, policy = bot.clock(), bot.policy()
    with bot.writing() as session:
        blocks = _fresh(session, str(body["user"]["id"]), body, policy, now)
        ask_id = _wants_redraw(session, body)
    said = messages.sorry(sentence)
    tell(bot, body, messages.Message(blocks=[*said.blocks, *blocks], text=said.text))
    if ask_id is not None:
        bot.redraw(ask_id)


def _fresh(session: Session, slack_id: str, body: Json, policy: Policy, now: datetime) -> messages.Blocks:
    try:
        who = authority.person(session, slack_id)
    except NotAllowed:
        return []
    old = session.get(OfferRow, _opaque(body))
    same = offers.asked_of(session, who, policy, now, identity_id=old.identity_id, most=1).cards if old else []
    shown = same or offers.asked_of(session, who, policy, now, most=1).cards
    return [say("messages.fresh").rich(), *messages.card(*shown[0])] if shown else []


def _opaque(body: Json) -> str:
    value = str((body.get("actions") or [{}])[0].get("value"))
    return value if value.isalnum() else ""


def _wants_redraw(session: Session, body: Json) -> str | None:
    """Mark the message that was pressed as due for a redraw; return an ask of it, where it is one of ours."""
    place = body.get("container") or {}
    row = session.scalar(
        select(DeliveryRow).where(
            DeliveryRow.ts == str(place.get("message_ts") or ""),
            DeliveryRow.channel == str(place.get("channel_id") or ""),
        )
    )
    if row is None:
        return None
    row.wanted_version += 1
    return session.scalar(
        select(AskRow.id).join(CardRow, CardRow.ask_id == AskRow.id).where(CardRow.delivery_id == row.id).limit(1)
    )
