"""Alike questions drawn as one piece, and the way through a message: one piece at a time, or all at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.card import (
    CHARACTERS_AT_MOST,
    buttons,
    findings_in_words,
    is_open,
    join,
    kind_of,
    last_use,
    question,
    silence_line,
    why_line,
)
from bot.render import Blocks, Cards, Json, fitting, say, text_length
from nhi import digest

Piece = Sequence[tuple[Json, str | None]]


def group_of(facts: Json) -> str | None:
    """Return the group that a question is asked in; None: it stands alone. What is privileged always does."""
    group = (facts.get("ask") or {}).get("group")
    return None if group is None or facts["identity"]["privileged"] else str(group)


def pieces(cards: Cards) -> list[list[tuple[Json, str | None]]]:
    """Return the cards as pieces, in their order; a piece stands where its first card does."""
    found: dict[str | int, list[tuple[Json, str | None]]] = {}
    for number, (facts, offer_id) in enumerate(cards):
        key = group_of(facts) or number
        found.setdefault(key, []).append((facts, offer_id))
    return list(found.values())


def is_waiting(piece: Piece) -> bool:
    """Whether any question of a piece waits for its answer."""
    return any(is_open(facts) for facts, _ in piece)


def seconds_left(found: Sequence[Piece]) -> int:
    """Return about how long the answers to what waits take."""
    waiting = [sum(is_open(facts) for facts, _ in piece) for piece in found]
    return sum(digest.seconds(count) for count in waiting if count)


def draw(piece: Piece, *, reader_is_asked: bool) -> Blocks:
    """Draw one piece: a card, or a list of alike ones with the buttons that answer all of them."""
    group = group_of(piece[0][0])
    if group is None or not reader_is_asked:
        return [block for one, id_ in piece for block in question(one, id_, reader_is_asked=reader_is_asked)]
    pressed = _buttons(group, [one for one, id_ in piece if is_open(one) and id_])
    room = CHARACTERS_AT_MOST - text_length(pressed)
    return [*fitting(_body, [one for one, _ in piece], room), *pressed]


def shown(facts: Json, offer_id: str | None, *, reader_is_asked: bool = True) -> Blocks:
    """Draw what somebody sees of one question: its card, or its line in a list."""
    if group_of(facts) is None or not reader_is_asked:
        return question(facts, offer_id, reader_is_asked=reader_is_asked)
    pressed = _buttons(str(group_of(facts)), [facts]) if is_open(facts) and offer_id else buttons(facts, offer_id)
    return [*fitting(_body, [facts], CHARACTERS_AT_MOST), *pressed]


def _body(members: Sequence[Json]) -> Blocks:
    waiting = [facts for facts in members if is_open(facts)]
    first = (waiting or list(members))[0]
    shared = [kind for kind in _kinds(first) if all(kind in _kinds(facts) for facts in waiting)]
    about = {
        "kind": kind_of(first["identity"]),
        "account": first["identity"]["account"],
        "kinds": findings_in_words(shared),
    }
    heading = say("groups.heading", left=len(waiting), **about)
    differ = len({facts["ask"]["because"] for facts in waiting}) > 1
    lines = say("groups.lines", lines=[_line(facts, shared, with_reason=differ) for facts in members])
    if not waiting:
        return [join(heading, lines).rich()]
    return [
        join(heading, lines, say("groups.why_each") if differ else why_line(first)).rich(),
        silence_line(first).context(),
        say("groups.note").context(),
    ]


def _kinds(facts: Json) -> list[str]:
    return list(dict.fromkeys(finding["kind"] for finding in facts["findings"]))


def _line(facts: Json, shared: Sequence[str], *, with_reason: bool) -> Json:
    said: Json = facts["answers"][0] if facts["answers"] else {}
    return {
        "name": facts["identity"]["name"],
        "open": is_open(facts),
        "also": findings_in_words([kind for kind in _kinds(facts) if kind not in shared]),
        "because": facts["ask"]["because"] if with_reason else None,
        "last_used_at": last_use(facts)["last_used_at"],
        "verdict": said.get("verdict"),
        "until": said.get("until"),
        "by": said.get("name"),
    }


def _buttons(group: str, waiting: Sequence[Json]) -> Blocks:
    if not waiting:
        return []
    elements = [_button(name, group, waiting) for name in ("claim", "not_mine", "each")]
    return [{"type": "actions", "block_id": f"group:{group}", "elements": elements}]


def _button(name: str, group: str, waiting: Sequence[Json]) -> Json:
    label = say(f"groups.button_{name}", left=len(waiting))
    first = str(waiting[0]["identity"]["name"])
    spoken = say("groups.button_spoken", label=label.plain(), first=first, left=len(waiting))
    return {
        "type": "button",
        "action_id": f"nhi:group_{name}",
        "text": label.plain_text(75),
        "accessibility_label": spoken.plain(75),
        "value": group,
    }


def pace(left: int, minutes: int, *, one: bool, delivery_id: str | None) -> Blocks:
    """Return how much is left, and the button that changes between one at a time and all at once."""
    said = say("groups.progress", left=left, minutes=minutes).context()
    if delivery_id is None or left < 2:
        return [said]
    button = {
        "type": "button",
        "action_id": "nhi:pace",
        "text": say("groups.button_all" if one else "groups.button_one").plain_text(75),
        "value": delivery_id,
    }
    return [said, {"type": "actions", "block_id": f"pace:{delivery_id}", "elements": [button]}]
