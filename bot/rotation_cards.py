"""A rotation's card: where the new secret is, when both keys were last used, and what comes next."""

from __future__ import annotations

from datetime import datetime

from bot.card import header, join, kind_of
from bot.messages import Message
from bot.render import Blocks, Json, say
from nhi import rotations
from nhi.database import Sessions, reading
from nhi.escalation import Verdict
from nhi.policy import Policy

KIND = "rotation"


def draw(sessions: Sessions, delivery_id: str, policy: Policy, now: datetime) -> tuple[Message, frozenset[str]]:
    """Draw a rotation as it is now. Commits the offer behind its buttons, the same on every copy."""
    with reading(sessions) as session:
        shown = rotations.card(session, rotations.of_delivery(session, delivery_id), policy, now)
    if not shown["can"]:
        return message(shown, None), frozenset()
    with sessions.begin() as session:
        offer = rotations.offer(session, rotations.of_delivery(session, delivery_id), shown, now)
        assert offer is not None, "what can be pressed has an offer"
        drawn = message(shown, offer.id)
        offer.shown = {"facts": shown, "blocks": drawn.blocks}
        return drawn, frozenset([offer.id])


def message(shown: Json, offer_id: str | None) -> Message:
    """Return the card; without `offer_id` it has no buttons."""
    told = shown["rotation"]
    about = {"name": shown["identity"]["name"], "kind": kind_of(shown["identity"]), **told}
    blocks: Blocks = [
        {"type": "header", "text": say("rotation.heading", **about).plain_text(150)},
        join(header(shown | {"findings": []}), say("rotation.place", **about)).rich(),
        say("rotation.keys", **about).rich(),
        say("rotation.next", **about).rich(),
        say("rotation.note", **about).context(),
        *_buttons(shown, offer_id),
    ]
    return Message(blocks=blocks, text=say("rotation.spoken", **about).spoken())


def _buttons(shown: Json, offer_id: str | None) -> Blocks:
    if offer_id is None:
        return []
    elements = [_button(Verdict(verdict), shown, offer_id) for verdict in shown["can"]]
    return [{"type": "actions", "block_id": f"rotation:{offer_id}", "elements": elements}]


def _button(verdict: Verdict, shown: Json, offer_id: str) -> Json:
    off = verdict is Verdict.UNDO and shown["rotation"]["off"] is not None
    label = say(f"rotation.button_{'on' if off else verdict.value}")
    spoken = say("card.button_spoken", label=label.plain(), identity=shown["identity"])
    style = {"style": "danger"} if verdict is Verdict.DISABLE else {}
    return {
        "type": "button",
        "action_id": f"nhi:{verdict.value}",
        "text": label.plain_text(75),
        "accessibility_label": spoken.plain(75),
        "value": offer_id,
        **style,
    }
