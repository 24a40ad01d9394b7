"""One page for people: what the pack says, drawn from the same values as its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from jobs.pack.charts import Bar, bars
from jobs.pack.controls import CONTROLS, open_points
from jobs.pack.model import Decision, Evidence, Json, clean
from nhi.database import ROOT

ROWS_AT_MOST = 500  # of one table; the CSV has them all
VERDICTS = {  # the words of the page, and the tone of the bar
    "claim": ("Mine", "calm"),
    "keep": ("Still needed", "good"),
    "justify": ("Justified", "warn"),
    "rotate": ("Rotate", "good"),
    "disable": ("Turn it off", "good"),
    "off": ("Turn it off", "good"),
    "not_mine": ("Not mine", "calm"),
    "reassign": ("Reassigned", "calm"),
    "reopen": ("Taken back", "warn"),
    "undo": ("Undone", "warn"),
}
_FIRST = ("off", "rotate", "keep", "justify", "claim", "not_mine", "reassign", "reopen")  # of the table
_USES = {
    "within 30 days": "good",
    "within 90 days": "good",
    "within a year": "warn",
    "longer ago": "bad",
    "never": "bad",
    "not known": "calm",
}
_DWELL = ((2, "under 2 s", "bad"), (10, "2 to 10 s", "warn"), (60, "10 to 60 s", "good"), (600, "1 to 10 min", "good"))


def as_html(evidence: Evidence, *, sealed: str | None, keys: Sequence[str]) -> bytes:
    """Return the page. `sealed`: the newest checkpoint before this pack; `keys`: those that sign."""
    page = _environment().get_template("report.html.j2")
    rendered = page.render(
        evidence=evidence,
        decisions=_by_decision(evidence.decisions[:ROWS_AT_MOST]),
        seals=_seals(evidence),
        more_decisions=max(0, len(evidence.decisions) - ROWS_AT_MOST),
        credentials=sum(len(one["credentials"]) for one in evidence.population),
        privileged=sum(one["permissions"]["privileged"] for one in evidence.population),
        off=sum(one.as_decided is True and one.now != "active" for one in evidence.after),
        owned=sum(one["owner"]["state"] == "confirmed" for one in evidence.population),
        points=[point for point in open_points(evidence) if point not in evidence.incomplete],
        charts=_charts(evidence),
        by_verdict=_by_verdict(evidence),
        reviewers=_reviewers(evidence),
        controls=CONTROLS,
        sealed=escape(sealed) if sealed else None,
        keys=keys,
    )
    return rendered.encode()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({"moment": _moment, "day": _day, "span": _span, "verdict": _verdict, "short": _short})
    return made


def _shown(value: object) -> object:
    """Return what a `{{ }}` prints: clean text; nothing where nothing is known."""
    if isinstance(value, Markup):
        return value
    return "–" if value is None else clean(value)


def _moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else "–"


def _day(value: datetime | str | None) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment:%Y-%m-%d}" if moment else "–"


def _span(seconds: float | None) -> str:
    """Return a time as people say it: `4 s`, `3 min`, `2 h`, `5 days`."""
    if seconds is None:
        return "–"
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86400:.0f} days"


def _verdict(value: str) -> str:
    return VERDICTS.get(value, (value.replace("_", " "), "calm"))[0]


def _short(value: object, longest: int = 60) -> str:
    text = clean(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


# -- figures -----------------------------------------------------------------------------------------------------------


def _by_verdict(evidence: Evidence) -> list[tuple[str, int]]:
    return Counter(_verdict(one.verdict) for one in evidence.decisions).most_common()


def _by_decision(decisions: Sequence[Decision]) -> list[tuple[str, list[Decision]]]:
    """Return the decisions by what was decided, what changes something first; each oldest first."""
    of: dict[str, list[Decision]] = {_verdict(name): [] for name in _FIRST}
    for one in decisions:
        of.setdefault(_verdict(one.verdict), []).append(one)
    return [(label, found) for label, found in of.items() if found]


def _seals(evidence: Evidence) -> list[Json]:
    """Return each place that checkpoints are kept at, with the newest that is."""
    found: dict[str, Json] = {}
    for one in evidence.seals:
        if one["target"] is not None:
            place = found.setdefault(one["target"], {"target": one["target"], "size": None, "at": None, "kept": 0})
            if one["state"] == "kept":
                place |= {"size": one["size"], "at": one["kept_at"], "kept": place["kept"] + 1}
    return list(found.values())


def _reviewers(evidence: Evidence) -> list[Json]:
    """Return how each person decided: how many, how fast, how often to keep."""
    of: dict[str, list[Decision]] = {}
    for one in evidence.decisions:
        of.setdefault(one.email, []).append(one)
    rows: list[Json] = []
    for email, decided in of.items():
        dwelt = sorted(one.dwell_seconds for one in decided if one.dwell_seconds is not None)
        rows.append(
            {
                "email": email,
                "decided": len(decided),
                "kept": sum(one.verdict in ("keep", "claim", "justify") for one in decided),
                "median": dwelt[len(dwelt) // 2] if dwelt else None,
                "opened": sum(one.evidence_opened is True for one in decided),
                "self": sum(one.self_review for one in decided),
            }
        )
    return sorted(rows, key=lambda row: (-row["decided"], row["email"]))[:ROWS_AT_MOST]


def _charts(evidence: Evidence) -> list[Markup]:
    charts = [
        bars("Decisions", _verdict_bars(evidence)),
        bars("Time between seeing and deciding", _dwell_bars(evidence)),
    ]
    charts.append(bars("Last use of what can authenticate", _use_bars(evidence)))
    if evidence.campaign is not None:
        charts.append(bars("The review", _review_bars(evidence.campaign.result.items())))
    else:
        charts.append(bars("Who answers for an identity", _owner_bars(evidence)))
    return charts


def _verdict_bars(evidence: Evidence) -> list[Bar]:
    tones = dict(VERDICTS.values())
    return [Bar(label, count, tones.get(label, "calm")) for label, count in _by_verdict(evidence)] or [
        Bar("none yet", 0)
    ]


def _dwell_bars(evidence: Evidence) -> list[Bar]:
    counted: Counter[str] = Counter()
    for one in evidence.decisions:
        seconds = one.dwell_seconds
        fits = next((label for limit, label, _ in _DWELL if seconds is not None and seconds < limit), "longer")
        counted["not measured" if seconds is None else fits] += 1
    labels = [(label, tone) for _, label, tone in _DWELL] + [("longer", "good")]
    rows = [Bar(label, counted[label], tone) for label, tone in labels]
    return [*rows, Bar("not measured", counted["not measured"])] if counted["not measured"] else rows


def _use_bars(evidence: Evidence) -> list[Bar]:
    """Count credentials (and identities that have none) by their last use, as it was when frozen."""
    at = evidence.frozen_at or evidence.made_at
    counted: Counter[str] = Counter()
    for one in evidence.population:
        for thing in one["credentials"] or [one["identity"]]:
            counted[_use_of(thing, at)] += 1
    return [Bar(label, counted[label], tone) for label, tone in _USES.items()]


def _use_of(thing: Json, at: datetime) -> str:
    if thing["last_used_at"] is None:
        return "not known" if thing["use_gap"] else "never"
    since = at - datetime.fromisoformat(thing["last_used_at"])
    for days, label in ((30, "within 30 days"), (90, "within 90 days"), (365, "within a year")):
        if since <= timedelta(days=days):
            return label
    return "longer ago"


def _review_bars(result: Iterable[tuple[str, int]]) -> list[Bar]:
    tones = {"kept": "good", "off": "good", "carried": "calm", "gone": "calm", "pending": "warn", "unanswered": "bad"}
    words = {"off": "turn it off", "carried": "carried over", "pending": "still open", "unanswered": "no answer"}
    told = dict(result)
    return [Bar(words.get(name, name), told[name], tone) for name, tone in tones.items() if told.get(name)]


def _owner_bars(evidence: Evidence) -> list[Bar]:
    counted = Counter(one["owner"]["state"] for one in evidence.population)
    return [
        Bar("confirmed", counted["confirmed"], "good"),
        Bar("likely", counted["likely"], "warn"),
        Bar("nobody", counted["none"], "bad"),
    ]
