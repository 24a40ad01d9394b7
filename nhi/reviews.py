"""The quarterly review's rules: what is due, who answers for what, what may be carried over, and who was too quick.

Pure, with `now` passed in. Facts are JSON as nhi/review_facts.py freezes them; addresses are in lower case.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from nhi.errors import SettingsError
from nhi.escalation import AWAY_AT_MOST, is_working_time, zone
from nhi.policy import Conversation
from nhi.words import sentence

Json = dict[str, Any]


class ItemStatus(StrEnum):
    PENDING = "pending"
    KEPT = "kept"
    OFF = "off"  # somebody said: turn it off
    CARRIED = "carried"  # nothing changed since its last decision, within the time that its risk allows
    GONE = "gone"  # it was deleted before anybody answered
    UNANSWERED = "unanswered"  # the campaign closed without an answer; never the same as kept


class Answer(StrEnum):
    """What can be said of an item. The first two decide it."""

    KEEP = "keep"
    OFF = "off"
    REASSIGN = "reassign"
    REOPEN = "reopen"  # an answer is taken back by who gave it


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Because(StrEnum):
    """Why somebody reviews an item."""

    OWNER = "owner"
    LIKELY = "likely"
    MANAGER = "manager"
    SECURITY = "security"
    REASSIGNED = "reassigned"


# -- quarters ----------------------------------------------------------------------------------------------------------

SHORTEST_CAMPAIGN = timedelta(days=7)
TO_GET_TO_KNOW_IT = timedelta(days=14)  # what newcomers have before their first review, unless a quarter just began


@dataclass(frozen=True, order=True)
class Quarter:
    """A quarter of a calendar year in UTC; `str()` of it is "2026Q4"."""

    year: int
    number: int  # 1 to 4

    def __str__(self) -> str:
        return f"{self.year:04d}Q{self.number}"

    @property
    def begins_at(self) -> datetime:
        return datetime(self.year, 3 * self.number - 2, 1, tzinfo=UTC)

    @property
    def ends_at(self) -> datetime:
        """The first instant after it."""
        return self.following.begins_at

    @property
    def following(self) -> Quarter:
        return Quarter(self.year, self.number + 1) if self.number < 4 else Quarter(self.year + 1, 1)


def quarter_of(now: datetime) -> Quarter:
    """Return the quarter that an instant lies in, in UTC."""
    here = now.astimezone(UTC)
    return Quarter(here.year, (here.month - 1) // 3 + 1)


def read_quarter(text: str) -> Quarter:
    """Read `2026Q4`. Raises SettingsError with the way out."""
    found = re.fullmatch(r"(20\d\d)[-\s]?[qQ]([1-4])", text.strip())
    if found is None:
        raise SettingsError(f"a quarter looks like 2026Q4; got {text[:20]!r}")
    return Quarter(int(found[1]), int(found[2]))


def due_at(quarter: Quarter, opened_at: datetime, after: timedelta) -> datetime:
    """Return when answers are due: `after` the opening, within the quarter, and never sooner than in a week."""
    return max(min(opened_at + after, quarter.ends_at), opened_at + SHORTEST_CAMPAIGN)


def opens_by_itself(quarter: Quarter, watching_since: datetime | None, now: datetime) -> bool:
    """Whether a quarter's campaign opens unasked; `watching_since` is the first look at anything (None: no look yet).

    Who installs this in the middle of a quarter gets to know it by questions before a review of everything.
    """
    if watching_since is None:
        return False
    is_new = quarter.begins_at <= watching_since and now < watching_since + TO_GET_TO_KNOW_IT
    return not is_new or now < quarter.begins_at + TO_GET_TO_KNOW_IT


# -- fresh data --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Looked:
    """The last looks at one source."""

    source: str  # "aws 123456789012"
    complete_at: datetime | None  # the last one that saw everything; None: there was none
    last_at: datetime | None  # the last one of any kind
    gaps: tuple[str, ...] = ()  # what the last one could not see


def stale(sources: Sequence[Looked], within: timedelta, now: datetime) -> tuple[str, ...]:
    """Return what is too old to review, a sentence each with what to do; () where all is fresh."""
    if not sources:
        return (sentence("refusals.review_never_scanned"),)
    return tuple(_stale(source) for source in sources if not _is_fresh(source, within, now))


def _is_fresh(source: Looked, within: timedelta, now: datetime) -> bool:
    return source.complete_at is not None and source.complete_at > now - within


def _stale(source: Looked) -> str:
    gap = source.gaps[0] if source.gaps and source.last_at != source.complete_at else None
    about = {"source": source.source, "complete_at": source.complete_at, "gap": gap}
    return sentence("refusals.review_stale", looked=source.last_at is not None, **about)


# -- who reviews what --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who has to do with one identity. All of these people can answer (active, no guests, no bots)."""

    owner: str | None  # confirmed; None: nobody claimed it, or they left
    likely: str | None  # by evidence, where nobody is confirmed
    managers: tuple[str, ...]  # above the owner (also one who left), the nearest first
    creators: frozenset[str]
    privileged: bool

    @property
    def themselves(self) -> frozenset[str]:
        """Whose review of it is a self-review."""
        return frozenset(name for name in (self.owner, self.likely) if name)


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """The one reviewer of an item."""

    email: str
    because: Because
    self_review: bool
    by_creator: bool


def assign(subject: Subject, security: Sequence[str]) -> Assigned | None:
    """Return who reviews it: the owner, else the manager, else security; None: nobody at all can.

    Nobody reviews their own privileged identity. Where only its owner is left, they are named all the same, so that it
    shows, but their answer is not taken (`forbidden`).
    """
    ladder = [
        (subject.owner, Because.OWNER),
        (subject.likely, Because.LIKELY),
        *((name, Because.MANAGER) for name in subject.managers),
        *((name, Because.SECURITY) for name in security),
    ]
    able = [(name, because) for name, because in ladder if name]
    allowed = [(name, because) for name, because in able if not (subject.privileged and name in subject.themselves)]
    for name, because in allowed or able:
        return Assigned(
            email=name,
            because=because,
            self_review=name in subject.themselves,
            by_creator=name in subject.creators,
        )
    return None


def themselves_of(facts: Json) -> frozenset[str]:
    """Return whose review of these frozen facts is a self-review."""
    return frozenset(filter(None, [facts["owner"].get("email")]))


def forbidden(facts: Json, privileged: bool, email: str) -> str | None:
    """Return why this person may not decide this item; None: they may."""
    if privileged and email in themselves_of(facts):
        return sentence("refusals.review_of_oneself")
    return None


# -- risk, change and what is the same ---------------------------------------------------------------------------------

LATELY = timedelta(days=90)


def risk_of(facts: Json) -> Risk:
    """Return how much hangs on an item: privileges and grave findings are high, other findings and blindness medium."""
    severities = {finding["severity"] for finding in facts["findings"]}
    if facts["permissions"]["privileged"] or severities & {"high", "critical"}:
        return Risk.HIGH
    blind = facts["identity"]["use_gap"] or any(c["use_gap"] for c in facts["credentials"])
    return Risk.MEDIUM if severities & {"medium"} or blind else Risk.LOW


def gist(facts: Json, now: datetime) -> Json:
    """Return what a decision rests on, without what changes every day: a use is "lately" or not, never an instant."""
    owner = facts["owner"]
    return {
        "privileged": facts["permissions"]["privileged"],
        "policies": sorted(facts["permissions"]["policies"]),
        "powers": facts["permissions"].get("powers"),
        "credentials": {c["row"]: f"{c['status']} {c['rotated_at'] or ''}" for c in facts["credentials"]},
        "owner": owner["email"] if owner["state"] == "confirmed" else None,
        "findings": sorted({finding["kind"] for finding in facts["findings"]}),
        "used_lately": used_lately(facts, now),
    }


def used_lately(facts: Json, now: datetime) -> bool | None:
    """Whether anything of it was used within 90 days; None: its use could not be seen."""
    parts = [facts["identity"], *facts["credentials"]]
    uses = [datetime.fromisoformat(part["last_used_at"]) for part in parts if part["last_used_at"]]
    if any(use > now - LATELY for use in uses):
        return True
    return None if any(part["use_gap"] for part in parts) else False


def digest(value: object) -> str:
    """Return SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def changes(before: Json, after: Json) -> list[Json]:
    """Return what differs between two gists: each `what` with what was added and removed, or `was` and `now`."""
    found: list[Json] = []
    before, after = _comparable(before, after)
    for what in ("policies", "powers", "findings"):
        was, now = set(before[what]), set(after[what])
        if was != now:
            found.append({"what": what, "added": sorted(now - was), "removed": sorted(was - now)})
    old, new = before["credentials"], after["credentials"]
    if old.keys() != new.keys():
        more, less = len(new.keys() - old.keys()), len(old.keys() - new.keys())
        found.append({"what": "credentials", "added": more, "removed": less})
    if any(old[row] != new[row] for row in set(old) & set(new)):
        found.append({"what": "credential_state"})
    rest = ("privileged", "owner", "used_lately")
    return found + [{"what": one, "was": before[one], "now": after[one]} for one in rest if before[one] != after[one]]


def _comparable(before: Json, after: Json) -> tuple[Json, Json]:
    """Return two gists without powers where one does not know them: that says nothing of a change."""
    unknown = None in (before.get("powers"), after.get("powers"))
    return (before | {"powers": []}, after | {"powers": []}) if unknown else (before, after)


@dataclass(frozen=True, kw_only=True)
class Before:
    """The last decision on an identity in a former campaign."""

    decision_id: str
    answer: Answer
    at: datetime
    gist: Json


def carries(
    before: Before | None, now_gist: Json, risk: Risk, allowed: Mapping[Risk, timedelta], now: datetime
) -> bool:
    """Whether the last decision still stands: kept, nothing changed, and within the time that the risk allows."""
    if before is None or before.answer is not Answer.KEEP:
        return False
    old, same = _comparable(before.gist, now_gist)
    return old == same and before.at > now - allowed.get(risk, timedelta(0))


def kin_of(facts: Json, now_gist: Json, since: Sequence[Json], risk: Risk) -> str | None:
    """Return what items with the same facts share; None: this one is never answered together with others."""
    if risk is Risk.HIGH or facts["permissions"]["privileged"]:
        return None
    identity = facts["identity"]
    same = {
        **now_gist,
        "credentials": sorted(f"{c['kind']} {c['status']}" for c in facts["credentials"]),
        "place": [identity["provider"], identity["kind"], identity["account"]],
        "custody": identity["custody"],
        "changes": list(since),
    }
    return digest(same)


def order_of(since: Sequence[Json], is_new: bool, risk: Risk, first_of_kin: str, name: str) -> tuple[object, ...]:
    """Return what items are sorted by: what changed first, then the risk, then such as are alike side by side.

    `first_of_kin` is the first name among those with the same facts; without kin its own.
    """
    rank = 0 if since else (1 if is_new else 2)
    return rank, [Risk.HIGH, Risk.MEDIUM, Risk.LOW].index(risk), first_of_kin, name


# -- time --------------------------------------------------------------------------------------------------------------

SECONDS_AN_ITEM = 20.0


def minutes_left(left: int, pace: Sequence[float] = ()) -> int:
    """Return about how long so many items take: at the reader's own pace, once it is known (`pace`: seconds each)."""
    each = min(max(statistics.median(pace), 5.0), 120.0) if len(pace) >= 5 else SECONDS_AN_ITEM
    return max(1, math.ceil(left * each / 60)) if left else 0


def dwell(shown_at: datetime, previous_at: datetime | None, now: datetime) -> float:
    """Return the seconds that somebody had for one card: since it was shown, or since their answer before it."""
    since = shown_at if previous_at is None else max(shown_at, previous_at)
    return max(0.0, (now - since).total_seconds())


class Nudge(StrEnum):
    TELL = "tell"
    REMIND = "remind"
    ESCALATE = "escalate"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one reviewer heard so far."""

    told_at: datetime | None
    last_step_at: datetime | None
    reminders: int
    escalations: int
    left: int
    last_answer_at: datetime | None  # who is at it is not reminded
    away_until: datetime | None = None  # they, and whoever answers for them, are out of office; None: somebody is here


def _is_same_day(one: datetime, other: datetime, tz: str) -> bool:
    here = zone(tz)
    return one.astimezone(here).date() == other.astimezone(here).date()


LAST_DAYS = timedelta(days=3)  # before the due day a reminder comes each day


def next_nudge(told: Told, due: datetime, tz: str, policy: Conversation, now: datetime) -> Nudge | None:
    """Decide what to say to a reviewer now: in their working hours, and at most one message a day.

    Who is out of office is left alone, unless they come back too late to answer in time.
    """
    if told.left == 0 or not is_working_time(now, tz, policy):
        return None
    if told.away_until is not None and now < told.away_until <= min(now + AWAY_AT_MOST, due - LAST_DAYS):
        return None
    if told.last_step_at is None:
        return Nudge.TELL
    last = max(told.last_step_at, told.last_answer_at or told.last_step_at)
    if _is_same_day(last if told.told_at else told.last_step_at, now, tz):
        return None
    if told.told_at is None:
        return Nudge.TELL
    if told.reminders < len(policy.remind_after):
        return Nudge.REMIND if now >= last + policy.remind_after[told.reminders] or now >= due - LAST_DAYS else None
    patience = policy.remind_after[-1] if policy.remind_after else timedelta(days=4)
    if told.escalations == 0 and now >= last + min(patience, LAST_DAYS):
        return Nudge.ESCALATE
    return Nudge.REMIND if now >= due - LAST_DAYS else None
