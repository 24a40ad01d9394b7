"""What a review's cards say of an identity, in words: its changes, powers, credentials and use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.render import Json, say
from nhi.finding import called
from nhi.powers import Power, in_words
from nhi.words import read_moment


def powers_in_words(facts: Json) -> str:
    """Return what is dangerous about what it may do; "": nothing, or it is not known."""
    held = facts["permissions"].get("powers") or ()
    return in_words([Power(one) for one in held]) if held else ""


def changes_in_words(changes: Sequence[Json]) -> list[str]:
    """Return each change as a line."""
    nothing: Json = {"added": [], "removed": [], "was": None, "now": None}
    return [say("review.change", **(nothing | _in_words(change))).plain(200) for change in changes]


def _in_words(change: Json) -> Json:
    """Return a change with its powers as words."""
    if change["what"] != "powers":
        return change
    sides = {side: [Power(one) for one in change[side]] for side in ("added", "removed")}
    return change | {side: in_words(held) if held else "" for side, held in sides.items()}


def credential_words(credential: Json) -> Json:
    """Return a credential with what it is called."""
    return credential | {"words": called(credential["kind"])}


def use_in_words(facts: Json, *, in_line: bool = False) -> str:
    """Return when anything of it was last used, and for what; `in_line`: no label stands before it."""
    parts = [facts["identity"], *facts["credentials"]]
    used = [(at, part) for part in parts if (at := read_moment(part["last_used_at"]))]
    last: tuple[datetime | None, Json] = max(used, key=lambda pair: pair[0], default=(None, {}))
    at, part = last
    gap = next((each["use_gap"] for each in parts if each["use_gap"]), None)
    return say("review.use", at=at, service=part.get("last_used_service"), gap=gap, in_line=in_line).plain(160)
