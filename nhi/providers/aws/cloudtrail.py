"""What one CloudTrail event tells of use: who, when, from where, with what, and whether it was refused. Pure.

An IAM user is told by its unique id (AIDA...), a session by that of its role or user: neither is ever used again.
Root, AWS's own services and callers from other accounts are no identities of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from nhi.activity import Use, agent_of, network_of, tidy_value
from nhi.words import sentence

_SESSIONS = frozenset({"AssumedRole", "FederatedUser"})
_decoder = json.JSONDecoder()


def use_of(told: Mapping[str, Any]) -> Use | None:
    """Read one event. None: it is nobody's of ours, or in no known shape, and so tells of nothing."""
    try:
        caller = told["userIdentity"]
        kind = caller.get("type")
        if kind == "IAMUser":
            who, key = caller["principalId"], caller.get("accessKeyId")
        elif kind in _SESSIONS:
            who, key = caller["sessionContext"]["sessionIssuer"]["principalId"], None
        else:
            return None
        source, error = told["eventSource"], told.get("errorCode")
        service = source[: source.index(".")] if "." in source else source
        network, address = network_of(told.get("sourceIPAddress") or "")
        return Use(
            id=told["eventID"],
            who=who,
            at=at_of(told["eventTime"]),
            service=_clean(service),
            action=_clean(f"{service}:{told['eventName']}"),
            network=network,
            address=address,
            agent=agent_of(told.get("userAgent") or "unknown"),
            error=_clean(error) if error else None,
            denied=is_denied(error) if error else False,
            credential=key if key and key.startswith("AKIA") else None,
            elsewhere=_elsewhere(caller, told["resources"]) if told.get("resources") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _elsewhere(caller: Mapping[str, Any], resources: Any) -> str | None:
    """Return the account of the first resource that lies in another one than the caller; None: none does."""
    others = (str(one.get("accountId") or "") for one in resources)
    return next((one for one in others if one.isdigit() and one != caller.get("accountId")), None)


@lru_cache(maxsize=20_000)
def _clean(text: str) -> str:
    return tidy_value(text)


@lru_cache(maxsize=1_000)
def is_denied(code: str) -> bool:
    """Whether an error code says that permission was lacking."""
    return "AccessDenied" in code or "Unauthorized" in code or "AuthorizationError" in code


@lru_cache(maxsize=10_000)
def _minute(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}:00").replace(tzinfo=UTC).timestamp())


def at_of(text: str) -> int:
    """Return the second of an event's time ("2026-11-21T03:12:45Z"). Raises ValueError."""
    if len(text) == 20 and text[19] == "Z" and text[16] == ":":
        return _minute(text[:16]) + int(text[17:19])
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def records(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a log file one by one, so that no file is ever whole in memory as objects.

    Raises ValueError where it is no log file of CloudTrail, or ends too early.
    """
    place = text.index("[", text.index('"Records"')) + 1
    decode = _decoder.raw_decode
    try:
        while True:
            while text[place] in " \t\r\n,":
                place += 1
            if text[place] == "]":
                return
            event, place = decode(text, place)
            if isinstance(event, dict):
                yield event
    except IndexError:
        raise ValueError(sentence("clouds.aws_file_ends")) from None
