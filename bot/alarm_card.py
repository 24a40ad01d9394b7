"""The card that asks "was this you?": what happened beside what is usual, why you, and what each answer does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.render import Blocks, Json, Words, say
from nhi.escalation import names_in_order
from nhi.findings import OF_ACTIVITY
from nhi.words import read_moment

SIGNALS_AT_MOST = 6
NAMES_AT_MOST = 3
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# What is said by another line already.
_SAID_BY = {"breadth": "action"}


def is_alarm(facts: Json) -> bool:
    """Whether an open question is about what an identity did."""
    return any(finding["kind"] in OF_ACTIVITY for finding in facts["findings"])


def happened(facts: Json) -> Words:
    """Return what was unlike before, a line each, the weightiest first."""
    anomalies = [one for finding in facts["findings"] for one in finding.get("anomalies", ())]
    if not anomalies:
        return Words(prose="")
    newest: Json = anomalies[0]
    at = read_moment(newest["at"])
    return say(
        "alarm.happened",
        at=newest["at"],
        weekday=_WEEKDAYS[at.weekday()] if at else "",
        key=newest["credential"],
        signals=_shown(newest["signals"]),
        usual=newest["usual"],
        more_days=len(anomalies) - 1,
    )


def _shown(signals: Sequence[Json]) -> list[Json]:
    kinds = {signal["kind"] for signal in signals}
    told = [signal for signal in signals if _SAID_BY.get(signal["kind"]) not in kinds]
    return [
        signal
        | {
            "names": signal["names"][:NAMES_AT_MOST],
            "more": len(signal["values"]) - len(signal["names"][:NAMES_AT_MOST]),
        }
        for signal in told[:SIGNALS_AT_MOST]
    ]


def usual(facts: Json) -> Words:
    """Return what is usual for the identity."""
    anomalies = [one for finding in facts["findings"] for one in finding.get("anomalies", ())]
    return say("alarm.usual", usual=anomalies[0]["usual"] if anomalies else None)


def below(facts: Json, reader_is_asked: bool) -> Blocks:
    """Return the small print: what the source shows, and what follows."""
    silence: dict[str, Any] = facts["silence"]
    coverage = next((finding["coverage"] for finding in facts["findings"]), "")
    return [
        say("alarm.coverage", coverage=coverage).context(),
        say(
            "alarm.what_then",
            asked_is_reader=reader_is_asked,
            mode=facts["mode"],
            on_not_us=facts["on_not_us"],
            named=any(finding["credential"] for finding in facts["findings"]),
            to=names_in_order(silence["to"], theirs=not reader_is_asked),
            escalates_at=silence["escalates_at"],
        ).context(),
    ]


def why_you(facts: Json, reader_is_asked: bool) -> Words:
    """Return why this person is asked."""
    return say("alarm.why_you", asked_is_reader=reader_is_asked, ask=facts["ask"])
