"""The bot's Home tab: what is asked of somebody, what they own, what they decided. Pure, and short."""

from __future__ import annotations

from collections.abc import Sequence

from bot.messages import card, golive_button, minutes, owned
from bot.render import Blocks, Cards, Json, say

QUESTIONS_AT_MOST = 10  # Slack takes 100 blocks in a view; a card and its divider are eight of them at most
ITEMS_AT_MOST = 10
DECISIONS_AT_MOST = 5


def home(
    items: Sequence[Json], asks: Cards, decided: Sequence[Json], admin: Json | None, *, waiting: int | None = None
) -> Json:
    """Return the view.

    `items` are facts of the identities that they own, `asks` their open cards (the first of `waiting`
    in all; None: that is all of them), `decided` facts that hold "identity"
    and their own "answers" (newest first), the newest decision first. `admin` is None for everybody else, and for
    admins holds `overview` (see nhi/overview.py), `shadow` and, where that is true, `preview` (whom we would message,
    see jobs/shadow.py) and `offer` for the Go button.
    """
    return {
        "type": "home",
        "callback_id": "nhi:home",
        "blocks": [
            *_admin(admin),
            *_questions(asks, len(asks) if waiting is None else waiting),
            {"type": "divider"},
            owned(items, ITEMS_AT_MOST).rich(),
            *_decided(decided),
            say("home.note").context(),
        ],
    }


def _questions(asks: Cards, waiting: int) -> Blocks:
    heading = say("home.heading", asked=waiting, minutes=minutes(waiting))
    blocks: Blocks = [{"type": "header", "text": heading.plain_text(150)}]
    for facts, offer_id in asks[:QUESTIONS_AT_MOST]:
        blocks += [{"type": "divider"}, *card(facts, offer_id)]
    if waiting > QUESTIONS_AT_MOST:
        blocks.append(say("home.more_questions", count=waiting - QUESTIONS_AT_MOST).rich())
    return blocks


def _decided(decided: Sequence[Json]) -> Blocks:
    lines = [
        {"name": facts["identity"]["name"], **{key: facts["answers"][0][key] for key in ("verdict", "until", "at")}}
        for facts in decided[:DECISIONS_AT_MOST]
        if facts["answers"]
    ]
    return [say("home.decided", lines=lines).rich()] if lines else []


def _admin(admin: Json | None) -> Blocks:
    if not admin:
        return []
    seen = [say("home.overview", **admin["overview"]).rich(), {"type": "divider"}] if admin.get("overview") else []
    if not admin.get("shadow"):
        return seen
    preview = admin.get("preview") or {}
    counts = {"people": int(preview.get("people") or 0), "identities": int(preview.get("identities") or 0)}
    said = say("home.shadow", **counts, unsure=preview.get("unsure") or [])
    button = [golive_button(admin["offer"])] if admin.get("offer") else []
    return [said.rich(), *button, {"type": "divider"}, *seen]
