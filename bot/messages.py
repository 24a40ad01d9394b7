"""Facts to messages: frames, buttons, Slack's limits. Pure.

Each message carries a `text` beside its blocks: a whole sentence that works when it is read aloud by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bot import groups
from bot.card import buttons, findings_in_words, is_open, kind_of, question, told
from bot.render import Blocks, Cards, Json, Message, Words, say
from bot.whois import full, whois

__all__ = [
    "Blocks",
    "Cards",
    "Message",
    "alarm_not_us",
    "answered",
    "card",
    "checkpoint",
    "digest",
    "each",
    "golive",
    "help",
    "mine",
    "note",
    "sorry",
    "unknown",
    "whois",
]

CARDS_AT_MOST = 6  # a message
CARDS_BESIDE_A_LIST = 4
ITEMS_AT_MOST = 15  # of what somebody owns, in one list
SECONDS_A_QUESTION = 20
ALARMS = {"alarm": "alarm.", "alarm_told": "alarm.told_"}  # where the words of these kinds are
NOT_TO_ASKED = ("escalation", "claim", "alarm_told")  # read by somebody else than who is asked
OF_OTHERS = "of_others"  # in a message's words: the asks in it that were put to somebody else, who is silent or away
_KINDS = frozenset({"digest", "reminder", "escalation", "shadow", "claim", *ALARMS})


def card(facts: Json, offer_id: str | None, *, reader_is_asked: bool = True) -> Blocks:
    """Draw one identity's card: an ask's, or, for facts that stand beside no ask, what `whois` shows of it.

    Without `offer_id` it has no buttons. `reader_is_asked` is False where somebody else reads it (an escalation).
    """
    if "ask" in facts:
        return question(facts, offer_id, reader_is_asked=reader_is_asked)
    return [*full(facts), *buttons(facts, offer_id)]


def is_readers(kind: str, words: Json, ask_id: str) -> bool:
    """Whether who reads a message of this kind, with these words, is who this question in it was put to."""
    return kind not in NOT_TO_ASKED and ask_id not in words.get(OF_OTHERS, ())


def digest(words: Json, cards: Cards) -> Message:
    """Return what a delivery says: a heading for its kind, then its cards, at most CARDS_AT_MOST.

    `words` holds `kind` (digest, reminder, escalation, shadow) and, where they are known, `name` (the reader's, but in
    an escalation that of the person who was asked), `number` (which reminder), `asked_at`, and for shadow `to`: who
    would be asked otherwise.
    """
    kind = words["kind"] if words["kind"] in _KINDS else "digest"
    about, said = _about(kind, words, cards), ALARMS.get(kind, f"messages.{kind}_")
    blocks: Blocks = [
        {"type": "header", "text": say(f"{said}heading", **about).plain_text(150)},
        say(f"{said}intro", **about).rich(),
        *_pieces(kind, words, cards),
    ]
    return Message(blocks=blocks, text=say(f"{said}text", **about).spoken())


def _pieces(kind: str, words: Json, cards: Cards) -> Blocks:
    """Draw the pieces of a message: all that it has room for, or, as its reader chose, the first that waits."""
    reader_is_asked = kind not in NOT_TO_ASKED
    own = [one for one in cards if is_readers(kind, words, _ask_of(one))]
    of_others = [[one] for one in cards if not is_readers(kind, words, _ask_of(one))]
    found = [*of_others, *groups.pieces(own)]
    waiting = [piece for piece in found if groups.is_waiting(piece)]
    one = bool(words.get("one")) and len(waiting) > 0
    # What waits comes before what is answered, where there is no room for both.
    kept = waiting[:1] if one else found if len(found) <= CARDS_AT_MOST else waiting[:CARDS_AT_MOST]
    blocks: Blocks = []
    for piece in kept:
        blocks += [{"type": "divider"}, *groups.draw(piece, reader_is_asked=piece not in of_others)]
    hidden = [piece for piece in waiting if piece not in kept and not one]
    for name, pieces in (
        ("more_of_others", [piece for piece in hidden if piece in of_others]),
        ("more_cards", [piece for piece in hidden if piece not in of_others]),
    ):
        if count := sum(is_open(facts) for piece in pieces for facts, _ in piece):
            blocks.append(say(f"messages.{name}", count=count).rich())
    if reader_is_asked and waiting and kind not in ALARMS:
        left = sum(is_open(facts) for piece in waiting for facts, _ in piece)
        turnable = words.get("delivery") if len(waiting) > 1 or one else None
        blocks += groups.pace(left, _minutes(groups.seconds_left(found)), one=one, delivery_id=turnable)
    return blocks


def _ask_of(card: tuple[Json, str | None]) -> str:
    return str((card[0].get("ask") or {}).get("id", ""))


def each(cards: Cards, waiting: int) -> Message:
    """Return the first CARDS_AT_MOST questions of a group as cards of their own; `waiting` is how many wait in all."""
    alone = [(facts | {"ask": facts["ask"] | {"group": None}}, offer_id) for facts, offer_id in cards]
    note = say("groups.each_note")
    blocks = [note.rich(), *_drawn(alone[:CARDS_AT_MOST], reader_is_asked=True)]
    if waiting > CARDS_AT_MOST:
        blocks.append(say("messages.more_after_these", count=waiting - CARDS_AT_MOST).rich())
    return Message(blocks=blocks, text=note.spoken())


def _about(kind: str, words: Json, cards: Cards) -> Json:
    waiting = [facts for facts, _ in cards if is_open(facts)]
    asks = [facts["ask"] for facts, _ in cards if facts.get("ask")]
    name = str(words.get("name") or "")
    emails = " and ".join(list(dict.fromkeys(ask["email"] for ask in asks))[:2])
    return {
        "left": len(waiting),
        "minutes": _minutes(groups.seconds_left(groups.pieces([card for card in cards if card[0].get("ask")]))),
        "again": int(words.get("again") or 0),
        "meanwhile": int(words.get("meanwhile") or 0),
        "first": told(waiting[0]) if waiting else "",
        "name": first_name(name),
        "number": int(words.get("number") or 1),
        "asked": words.get("asked") or ((name or emails) if kind == "escalation" else words.get("to")),
        "shadow": bool(words.get("shadow")),
        "silent": bool(words.get("silent")),
        "away_until": words.get("away_until"),
        "people": int(words.get("people") or 1),
        "others": sum(facts["ask"]["id"] in words.get(OF_OTHERS, ()) for facts in waiting if facts.get("ask")),
        "silent_names": words.get("silent_names") or "",
        "away_names": words.get("away_names") or "",
        "asked_at": words.get("asked_at") or min((ask["asked_at"] for ask in asks), default=None),
    }


def first_name(name: str) -> str:
    """Return how somebody is greeted: by the first word of their name; nobody is greeted by an e-mail address."""
    first = name.split()[0] if name.split() else ""
    return "" if "@" in first else first


def minutes(questions: int) -> int:
    """Return about how long so many questions take."""
    return max(1, math.ceil(questions * SECONDS_A_QUESTION / 60))


def _minutes(seconds: int) -> int:
    return max(1, math.ceil(seconds / 60))


def _drawn(cards: Cards, *, reader_is_asked: bool) -> Blocks:
    blocks: Blocks = []
    for facts, offer_id in cards:
        blocks += [{"type": "divider"}, *card(facts, offer_id, reader_is_asked=reader_is_asked)]
    return blocks


def golive(words: Json) -> Message:
    """Return to admins whom we would message, and of whom we are least sure.

    `people` and `identities` are numbers, `unsure` a few guesses; `offer` is opaque, and None where Go was pressed.
    """
    offer = words.get("offer")
    counts = {"people": int(words["people"]), "identities": int(words["identities"]), "is_live": offer is None}
    unsure = words.get("unsure") or []
    blocks: Blocks = [say("messages.golive", **counts, unsure=unsure).rich()]
    if offer is not None:
        blocks += [say("messages.golive_note").context(), golive_button(str(offer))]
    return Message(blocks=blocks, text=say("messages.golive_text", **counts, unsure=len(unsure)).spoken())


def golive_button(offer: str) -> Json:
    """Return the actions block with the one button that ends shadow mode."""
    label = say("messages.button_go").plain_text(75)
    button = {"type": "button", "action_id": "nhi:go", "style": "primary", "text": label, "value": offer}
    return {"type": "actions", "block_id": f"go:{offer}", "elements": [button]}


def mine(items: Sequence[Json], open_cards: Cards, page: int = 1, *, waiting: int | None = None) -> Message:
    """Return one page of what somebody owns (`items`: facts of whole identities), below the first questions.

    `waiting` is how many questions there are in all; None: `open_cards` are all of them.
    """
    waiting = len(open_cards) if waiting is None else waiting
    counts = {"asked": waiting, "owned": len(items)}
    pages = max(1, math.ceil(len(items) / ITEMS_AT_MOST))
    page = min(max(1, page), pages)
    shown = items[(page - 1) * ITEMS_AT_MOST : page * ITEMS_AT_MOST]
    blocks: Blocks = [
        {"type": "header", "text": say("messages.mine_heading", **counts).plain_text(150)},
        *_drawn(open_cards[:CARDS_BESIDE_A_LIST], reader_is_asked=True),
        {"type": "divider"},
        _owned(shown, len(items)).rich(),
    ]
    if waiting > CARDS_BESIDE_A_LIST:
        blocks.insert(-2, say("messages.more_after_these", count=waiting - CARDS_BESIDE_A_LIST).rich())
    if pages > 1:
        blocks.append(say("commands.page", page=page, pages=pages, word="mine").context())
    return Message(blocks=blocks, text=say("messages.mine_text", **counts).spoken())


def owned(items: Sequence[Json], most: int = ITEMS_AT_MOST) -> Words:
    """Return the beginning of the list of what somebody owns, a line each, and how many more there are."""
    return _owned(items[:most], len(items), more=max(0, len(items) - most))


def _owned(items: Sequence[Json], owned: int, more: int = 0) -> Words:
    lines = [
        {
            "kind": kind_of(item["identity"]),
            "name": item["identity"]["name"],
            "account": item["identity"]["account"],
            "findings": findings_in_words([finding["kind"] for finding in item.get("findings", [])]),
        }
        for item in items
    ]
    return say("messages.mine_owned", items=lines, owned=owned, more=more)


def help(is_admin: bool) -> Message:  # noqa: A001  (it is what people type)
    """Return what can be typed."""
    return Message(blocks=[say("messages.help", is_admin=is_admin).rich()], text=say("messages.help_text").spoken())


def unknown(word: str, nearest: str | None) -> Message:
    """Return the answer to a word that is no command; `nearest` is the most similar one that is."""
    return _brief(say("messages.unknown", word=word, nearest=nearest))


def sorry(sentence: str) -> Message:
    """Return a refusal or a failure, in one sentence that tells the way out; only its reader should see it."""
    return _brief(say("messages.sorry", sentence=sentence))


def note(sentence: str) -> Message:
    """Return one sentence."""
    return _brief(say("messages.note", sentence=sentence))


def checkpoint(words: Json) -> Message:
    """Return a sealed state of the ledger (`note`, over `size` events), to be kept where it was posted."""
    note: Json = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": words["note"].rstrip()}]}
    said = say("messages.checkpoint", size=words["size"])
    return Message(blocks=[said.rich(), {"type": "rich_text", "elements": [note]}], text=said.spoken())


def alarm_not_us(words: Json) -> Message:
    """Return what security is told of a "Not us": who said it, of what (`identity`), and what is done (`status`)."""
    about = {name: words[name] for name in ("name", "identity", "status", "key")}
    return _brief(say("alarm.not_us", kind=kind_of(words["identity"]), **about))


def answered(facts: Json) -> Message:
    """Return the thanks for the newest answer in the facts of a card; a claim given along with another is not named."""
    newest: list[Json] = [answer for answer in facts["answers"] if answer["at"] == facts["answers"][0]["at"]]
    answer: dict[str, Any] = min(newest, key=lambda each: each["verdict"] == "claim", default={})
    thanks = {"verdict": answer.get("verdict", ""), "until": answer.get("until")}
    return _brief(say("messages.answered", **thanks, name=facts["identity"]["name"], mode=facts["mode"]))


def _brief(words: Words) -> Message:
    return Message(blocks=[words.rich()], text=words.spoken())
