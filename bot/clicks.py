"""A click as Slack sends it, and what of it the inbox keeps. Pure, but for the one question of whose app we are.

What a payload carries is the sender's: its shape is checked before anything looks into it.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from slack_sdk import WebClient

from bot.slack import Json
from nhi.errors import NotAllowed
from nhi.words import sentence

FORM = "application/x-www-form-urlencoded"
TEXT_AT_MOST = 2000  # Slack's own limit of a button's value, the longest of what is kept
_URL = re.compile(r"https?://[!-~]{1,2000}")
_SLACK_ID = re.compile(r"[A-Za-z0-9]{1,32}")

# What the use cases read of a click, and what its answer is sent by. None: the text itself; else, parts of that object.
Shape = Mapping[str, Any]
_KEPT: Shape = {
    "type": None,
    "team_id": None,
    "trigger_id": None,
    "team": {"id": None},
    "user": {"id": None, "team_id": None, "user_team": None},
    "container": {"type": None, "message_ts": None, "channel_id": None},
    "channel": {"id": None},
    "message": {"ts": None},
    "view": {"type": None},
}
_KEPT_OF_ACTION: Shape = {"action_id": None, "block_id": None, "value": None, "selected_user": None, "action_ts": None}


@dataclass(frozen=True, kw_only=True)
class Click:
    """One press, cut down to what is kept of it. `digest` is the same for a press that is delivered twice."""

    action: str
    body: Json
    response_url: str | None
    digest: str


def read(body: bytes, content_type: str) -> Json | None:
    """Return the payload of a body that holds a click; None: it holds none, or cannot be read as one."""
    if not content_type.startswith(FORM) or not body.startswith(b"payload=") or b"block_actions" not in body:
        return None
    try:
        payload = json.loads(decoded(body.removeprefix(b"payload=")))
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) and payload.get("type") == "block_actions" else None


def decoded(encoded: bytes) -> bytes:
    """Return the bytes that stand in a form's field.

    A payload holds the whole message, and Python's own way through its thousands of escapes takes half of what a click
    costs before its acknowledgement. Quoted-printable is the same but for its sign, and is decoded in C. A field that
    no form can hold comes out as something else than it says; it is no JSON then.
    """
    return binascii.a2b_qp(encoded.replace(b"=", b"=3D").replace(b"+", b" ").replace(b"%", b"="))


def of(payload: Json, actions: Collection[str]) -> Click | None:
    """Return the click where it is one of these actions'; None: it is another's, or not whole."""
    if not is_sound(payload) or not payload.get("actions"):
        return None
    first, user = payload["actions"][0], payload.get("user")
    action = first.get("action_id")
    if not isinstance(action, str) or action not in actions or not isinstance(user, dict):
        return None
    if not isinstance(user.get("id"), str) or not _SLACK_ID.fullmatch(user["id"]):
        return None
    if isinstance(payload.get("team"), str):
        payload = payload | {"team": {"id": payload["team"]}}
    body = _cut(payload, _KEPT) | {"actions": [_cut(first, _KEPT_OF_ACTION)]}
    url = payload.get("response_url")
    return Click(
        action=action,
        body=body,
        response_url=url if isinstance(url, str) and _URL.fullmatch(url) else None,
        digest=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(),
    )


def _cut(whole: Json, shape: Shape) -> Json:
    """Return what the shape names and the object has: short texts, and objects of them."""
    kept: Json = {}
    for name, parts in shape.items():
        found = whole.get(name)
        if parts is None and isinstance(found, str):
            kept[name] = found[:TEXT_AT_MOST]
        elif parts is not None and isinstance(found, dict):
            kept[name] = _cut(found, parts)
    return kept


def is_sound(body: Json) -> bool:
    """Whether the parts that Bolt and we look into have the shapes that Slack gives them."""
    parts = [body.get(name) for name in ("event", "view", "container", "channel", "message")]
    actions_taken = body.get("actions", [])
    return (
        all(part is None or isinstance(part, dict) for part in parts)
        and isinstance(body.get("user"), dict | str | None)
        and isinstance(actions_taken, list)
        and all(isinstance(action, dict) for action in actions_taken)
    )


# -- who may knock -----------------------------------------------------------------------------------------------------


def refuse_others(body: Json, team_id: str | None, enterprise_id: str | None) -> None:
    """Raise NotAllowed for people of other workspaces than this one, which our token is of.

    In an organisation one person has several, so there nobody is refused by this.
    """
    if enterprise_id is None and _teams(body) - {team_id}:
        raise NotAllowed(sentence("commands.not_ours"))


def _teams(body: Json) -> set[str]:
    """Return every workspace that a payload says its person is of."""
    places = [body.get("user"), body.get("team"), body.get("event")]
    named: list[Any] = [body.get("team_id")]
    for place in places:
        if isinstance(place, dict):
            named += [place.get("team_id"), place.get("user_team")]
    team = body.get("team")
    named.append(team.get("id") if isinstance(team, dict) else team)
    return {name for name in named if isinstance(name, str)}


class Ours:
    """The workspace that our token is of. Slack is asked until it has said so once."""

    def __init__(self, client: WebClient) -> None:
        self._client, self._lock = client, threading.Lock()
        self._known: tuple[str | None, str | None] | None = None

    def learn(self) -> None:
        """Know it from now on. Raises one of UNWELL where Slack does not tell."""
        with self._lock:
            if self._known is None:
                answer = self._client.auth_test()
                self._known = answer.get("team_id"), answer.get("enterprise_id")

    def check(self, body: Json) -> None:
        """Raise NotAllowed for a click of somebody else's workspace. To be called once `learn` was."""
        if self._known is None:
            raise RuntimeError("whose app this is, Slack has not said yet")
        refuse_others(body, *self._known)
