"""What is told of an anomaly: facts for the card, one sentence for lists, and what "That was us" teaches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nhi.activity import Facet, instant
from nhi.anomalies import Anomaly, Kind, Signal
from nhi.countries import name_of
from nhi.habits import Usual
from nhi.words import sentence as say

Json = dict[str, Any]
SHOWN = 12  # values of one fact that a card can hold; all are kept to be learned


def written(at: int) -> str:
    return f"{instant(at):%Y-%m-%dT%H:%M:%SZ}"


def facts_of(found: Anomaly) -> Json:
    """Return an anomaly as it is kept: signals, and what is usual, in values that templates make sentences of."""
    return {
        "day": found.day.isoformat(),
        "at": written(found.at),
        "score": found.score,
        "credential": found.credential,
        "signals": [_signal(signal) for signal in found.signals],
        "usual": usual_json(found.usual) if found.usual else None,
    }


def _signal(signal: Signal) -> Json:
    return {
        "kind": signal.kind.value,
        "facet": signal.facet.value,
        "values": list(signal.values),
        "names": names(signal.facet, signal.values[:SHOWN]),
        "at": written(signal.at),
        "bits": signal.bits,
        **_named(signal.facts),
    }


def _named(facts: Mapping[str, Any]) -> Json:
    found = dict(facts)
    for name in ("from", "to"):
        if name in found:
            found[name] = name_of(found[name])
    return found


def names(facet: Facet, values: Iterable[str]) -> list[str]:
    """Return values as people read them: "Brazil" for BR, "Saturday 03:00" for 5-03."""
    if facet is Facet.COUNTRY:
        return [name_of(value) for value in values]
    if facet is Facet.HOUR:
        return [say("findings.hour_of_week", weekday=int(value[0]), hour=value[2:]) for value in values]
    return list(values)


def usual_json(usual: Usual) -> Json:
    """Return a habit as it is kept and shown."""
    found = asdict(usual)
    return found | {
        "countries": countries_words(usual.countries, usual.countries_known) if usual.countries else None,
        "agents": list(usual.agents),
        "services": list(usual.services),
        "hours": list(usual.hours) if usual.hours else None,
    }


def values_of(facts: Json) -> list[tuple[str, str]]:
    """Return every fact of an anomaly that can be learned, as (facet, value)."""
    return [(signal["facet"], value) for signal in facts["signals"] for value in signal["values"]]


def sentence(found: Anomaly) -> str:
    """Return what happened and what is usual, in one sentence."""
    by_kind: dict[Kind, Signal] = {}
    for signal in found.signals:
        by_kind.setdefault(signal.kind, signal)
    return say(
        "findings.anomaly",
        at=instant(found.at),
        signals=[_signal(by_kind[kind]) for kind in _ORDER if kind in by_kind],
        usual=usual_words(found.usual) if found.usual else None,
    )


_ORDER = (Kind.DEAD_KEY, Kind.COUNTRY, Kind.TRAVEL, Kind.NETWORK, Kind.AGENT, Kind.ACTION, Kind.DENIALS, Kind.HOUR)


def countries_words(codes: Sequence[str], number: int) -> str:
    """Return "Ireland", "Ireland and France", or "5 countries"."""
    return say("findings.countries", names=names(Facet.COUNTRY, codes), number=number)


def usual_words(usual: Usual) -> str:
    """Return a habit in half a sentence: "always from 3 networks in Ireland on weekdays"."""
    countries = countries_words(usual.countries, usual.countries_known) if usual.countries else None
    return say("findings.usual", usual=usual, countries=countries)
