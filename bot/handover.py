"""Hand-overs in Slack: the list for a leaver and for their manager, the question to an heir, and their clicks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.card import findings_list, header, join, kind_of, last_use, symbol, told
from bot.messages import Message, first_name
from bot.render import Blocks, Json, Words, fitting, say
from bot.slack import After, Bot, Decide
from nhi import facts, handover
from nhi.database import Sessions, reading
from nhi.errors import OutOfDate
from nhi.people import Reason
from nhi.policy import Policy
from nhi.tables import HandoverCardRow, HandoverItemRow, HandoverItemStatus, HandoverRow, OfferRow
from nhi.words import sentence

KINDS = frozenset({"handover", "heir"})
ITEMS_AT_MOST = 8  # in one message; each is two blocks, and Slack takes about 10,000 characters
CHARACTERS_AT_MOST = 9_000
PATIENCE = timedelta(days=3)
_OPAQUE = re.compile(r"[A-Za-z0-9]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A message ready to be sent, and the version of the truth that it shows."""

    message: Message
    version: int
    offers: frozenset[str]


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw(sessions: Sessions, delivery_id: str, version: int, words: Json, policy: Policy, now: datetime) -> Drawn:
    """Draw a delivery of one of KINDS as things are now. Commits the offer behind an heir's buttons."""
    with reading(sessions) as session:
        card = session.get_one(HandoverCardRow, delivery_id)
        if card.item_id is None:
            shown = _facts(session, session.get_one(HandoverRow, card.handover_id), words, policy)
            return Drawn(message=listing(shown), version=version, offers=frozenset())
        item = session.get_one(HandoverItemRow, card.item_id)
        reader = handover.recipient_of(session, delivery_id)
        shown = handover.item_facts(session, item) | {"silence": _silence(item, policy, now), "reader": reader}
        asked = item.status is HandoverItemStatus.PROPOSED and item.heir == reader  # a former heir has no buttons left
    if not asked:
        return Drawn(message=to_heir(shown, None), version=version, offers=frozenset())
    with sessions.begin() as session:
        item = session.get_one(HandoverItemRow, shown["handover"]["item"])
        offer = _unspent(session, item, shown) or handover.offer(session, item, shown, now)
        message = to_heir(shown, offer.id)
        offer.shown = {"facts": shown, "blocks": message.blocks}
        return Drawn(message=message, version=version, offers=frozenset([offer.id]))


def _unspent(session: Session, item: HandoverItemRow, shown: Json) -> OfferRow | None:
    """Return the buttons that this heir has already: a reminder repeats the question, it does not replace it."""
    rows = session.scalars(
        select(OfferRow).where(
            OfferRow.identity_id == item.identity_id, OfferRow.used_at.is_(None), OfferRow.ask_id.is_(None)
        )
    )
    return next((row for row in rows if row.shown.get("facts", {}).get("handover") == shown["handover"]), None)


def _facts(session: Session, one: HandoverRow, words: Json, policy: Policy) -> Json:
    patience = policy.conversation.remind_after[0] if policy.conversation.remind_after else PATIENCE
    releases = one.manager_asked_at + 2 * patience if one.manager_asked_at else None
    return {
        "id": one.id,
        "to_leaver": words.get("to") == "leaver",
        "name": words.get("name", ""),
        "leaver": one.name,
        "reason": one.reason,
        "last_day": handover.in_words(one),
        "why": one.manager_because or "",
        "releases_at": facts.when(releases) if one.reason != Reason.ANNOUNCED.value else None,
        "items": [handover.item_facts(session, item) for item in one.items],
    }


def _silence(item: HandoverItemRow, policy: Policy, now: datetime) -> Json:
    patience = policy.conversation.remind_after[0] if policy.conversation.remind_after else PATIENCE
    asked = item.asked_at or now
    return {"reminder_at": facts.when(asked + patience), "lapses_at": facts.when(asked + 2 * patience)}


def listing(shown: Json) -> Message:
    """Return what a leaver or a manager sees: each identity, whom evidence proposes, and how to name somebody."""
    left = sum(item["handover"]["status"] == "open" for item in shown["items"])
    about = {name: shown[name] for name in ("to_leaver", "leaver", "reason", "last_day", "why", "releases_at")}
    waiting = sum(item["handover"]["status"] == "proposed" for item in shown["items"])
    about |= {"left": left, "waiting": waiting, "name": first_name(shown["name"])}
    ordered = sorted(shown["items"], key=lambda item: item["handover"]["status"] != "open")
    blocks: Blocks = [
        {"type": "header", "text": say("handover.handover_heading", **about).plain_text(150)},
        say("handover.handover_intro", **about).rich(),
        *fitting(partial(_listed, take=not shown["to_leaver"]), ordered[:ITEMS_AT_MOST], CHARACTERS_AT_MOST),
    ]
    if len(ordered) > ITEMS_AT_MOST:
        blocks.append(say("handover.handover_more", count=len(ordered) - ITEMS_AT_MOST).context())
    if left:
        blocks.append(say("handover.handover_silence", **about).context())
    return Message(blocks=blocks, text=say("handover.handover_text", **about).spoken())


def _listed(items: list[Json], *, take: bool) -> Blocks:
    blocks: Blocks = []
    for item in items:
        about = {"symbol": symbol(item), "kind": kind_of(item["identity"]), "identity": item["identity"]}
        blocks.append(say("handover.handover_item", **about, **item["handover"]).rich())
        if item["handover"]["status"] == "open":
            blocks.append(_hand(item, take=take))
    return blocks


def _hand(item: Json, *, take: bool) -> Json:
    item_id, suggested = item["handover"]["item"], item["handover"]["suggested"]
    elements: Blocks = []
    if suggested:
        label = say("handover.button_hand", name=first_name(suggested) or suggested)
        elements.append(_button("hand", label, item, item_id))
    if take:
        elements.append(_button("take", say("handover.button_take"), item, item_id))
    pick = say("handover.pick_somebody").plain_text(150)
    elements.append({"type": "users_select", "action_id": "nhi:hand_pick", "placeholder": pick})
    return {"type": "actions", "block_id": f"hand:{item_id}", "elements": elements}


def _button(action: str, label: Words, item: Json, value: str) -> Json:
    spoken = say("handover.button_spoken", label=label.plain(), identity=item["identity"])
    return {
        "type": "button",
        "action_id": f"nhi:{action}",
        "text": label.plain_text(75),
        "accessibility_label": spoken.plain(75),
        "value": value,
    }


def to_heir(shown: Json, offer_id: str | None) -> Message:
    """Return the question to an heir, with the reasons for them; without `offer_id` it has no buttons."""
    named = shown["handover"]
    about = {
        "open": offer_id is not None,
        "accepted": named["status"] == "accepted" and named["heir"] == shown["reader"],
    }
    blocks: Blocks = [{"type": "header", "text": say("handover.heir_heading", **about).plain_text(150)}]
    if offer_id is None:
        said_no = shown["reader"] in named["passed_by"]
        status = "accepted" if named["status"] == "accepted" else "open" if said_no else ""
        blocks.append(join(header(shown), say("handover.heir_done", status=status, heir=named["heir_name"])).rich())
    else:
        told_why = {name: named[name] for name in ("leaver", "reason", "last_day", "named_by", "why")}
        why = say("handover.heir_why", **told_why)
        blocks += [
            join(header(shown), findings_list(shown["findings"]), why).rich(),
            say("card.known", use=last_use(shown), coverages=[]).context(),
            say("handover.heir_silence", **shown["silence"]).context(),
            {
                "type": "actions",
                "block_id": f"heir:{offer_id}",
                "elements": [
                    _button("heir_accept", say("handover.button_accept"), shown, offer_id),
                    _button("heir_pass", say("handover.button_pass"), shown, offer_id),
                ],
            },
        ]
    spoken = say("handover.heir_text", **about, named_by=named["named_by"], leaver=named["leaver"], told=told(shown))
    return Message(blocks=blocks, text=spoken.spoken())


# -- clicks ------------------------------------------------------------------------------------------------------------


def register(app: App, bot: Bot) -> None:
    """Listen for the buttons of hand-overs."""
    clicks = Clicks(bot=bot)
    app.action("nhi:hand_pick")(clicks.pick)


def deciding(bot: Bot) -> dict[str, Decide]:
    """Return the buttons of hand-overs that only decide."""
    clicks = Clicks(bot=bot)
    return {
        "nhi:hand": clicks.hand,
        "nhi:take": clicks.take,
        "nhi:heir_accept": clicks.accept,
        "nhi:heir_pass": clicks.decline,
    }


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Parse, one use case; what follows may be lost."""

    bot: Bot

    def hand(self, session: Session, body: Json) -> After:
        return self._propose(session, body, _value(body), None)

    def take(self, session: Session, body: Json) -> After:
        return self._propose(session, body, _value(body), str(body["user"]["id"]))

    def pick(self, ack: Ack, body: Json) -> None:
        chosen = body["actions"][0].get("selected_user")
        place = str(body["actions"][0].get("block_id") or "").removeprefix("hand:")
        if not isinstance(chosen, str):
            ack()  # the choice was cleared
            return
        with self.bot.writing() as session:
            then = self._propose(session, body, place if _OPAQUE.fullmatch(place) else "", chosen)
        ack()
        then()

    def _propose(self, session: Session, body: Json, item_id: str, heir: str | None) -> After:
        now, policy = self.bot.clock(), self.bot.policy()
        handover.propose(session, item_id, heir=heir, slack_id=body["user"]["id"], policy=policy, now=now)
        return partial(self._follow_up, item_id)

    def accept(self, session: Session, body: Json) -> After:
        now, policy = self.bot.clock(), self.bot.policy()
        done = handover.accept(session, _value(body), slack_id=body["user"]["id"], policy=policy, now=now)
        return partial(self._follow_up, done.attestation_id)

    def decline(self, session: Session, body: Json) -> After:
        now, policy = self.bot.clock(), self.bot.policy()
        done = handover.decline(session, _value(body), slack_id=body["user"]["id"], policy=policy, now=now)
        return partial(self._follow_up, done.attestation_id)

    def _follow_up(self, key: str) -> None:
        """Let the worker ask the heir and redraw the cards at once; its next tick would do both anyway."""
        self.bot.later(self.bot.defer, "leavers", key)


def _value(body: Json) -> str:
    value = str(body["actions"][0].get("value"))
    if not _OPAQUE.fullmatch(value):
        raise OutOfDate(sentence("refusals.handover_out_of_date"))
    return value
