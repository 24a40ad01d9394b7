"""The safe-to-disable certificate: which credential, what was read for which days, and what cannot be seen. Pure.

It is written at the moment of the act, from what was read for it alone, and kept with the act. It never says "safe": it
says what was looked at, how late that may be, and what stays hidden, so that a person can judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.seasons import Season


@dataclass(frozen=True, kw_only=True)
class Read:
    """One source that was read. `hidden` says what it cannot see; `gap` why it could not be read (None: it was)."""

    source: str  # "IAM: last use of the key"
    seen_from: datetime | None  # None: from the credential's creation on
    seen_until: datetime | None  # None: up to the moment of reading
    lag: timedelta | None  # how late a use may show; None: the provider does not tell
    hidden: str
    gap: str | None = None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who called with it last, as far as a log tells."""

    at: datetime
    who: str | None  # the caller's own name for itself; None: not told
    where: str | None  # the address it called from
    what: str | None  # "s3:GetObject"
    tool: str | None  # the caller's software, as it calls itself
    person: str | None = None  # the e-mail or name of whoever stands behind the session; None: not told


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was checked before an act."""

    made_at: datetime
    principal: str
    credential_kind: str
    credential_id: str
    last_used_at: datetime | None  # None: never, as far as the sources reach
    last_used_service: str | None
    last_used_region: str | None
    reads: tuple[Read, ...]
    caller: Caller | None  # None: no log tells of a call
    season: Season | None  # None: its history shows no pauses
    allowed: timedelta | None  # policy's patience, without the season; None: policy has none
    checks: tuple[str, ...]  # what was checked and found well, in the words of nhi/preflight.py

    def as_json(self) -> dict[str, Any]:
        """Return it for the database, the ledger and scripts; times RFC 3339, durations in days."""
        return {
            "made_at": instant(self.made_at),
            "principal": self.principal,
            "credential": {"kind": self.credential_kind, "id": self.credential_id},
            "last_used_at": instant(self.last_used_at) if self.last_used_at else None,
            "last_used_service": self.last_used_service,
            "last_used_region": self.last_used_region,
            "sources": [_read(one) for one in self.reads],
            "last_caller": _caller(self.caller) if self.caller else None,
            "season": _season(self.season) if self.season else None,
            "unused_after_days": self.allowed.days if self.allowed else None,
            "checks": list(self.checks),
        }


def instant(moment: datetime) -> str:
    """Return an instant as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read(one: Read) -> Mapping[str, Any]:
    return {
        "source": one.source,
        "from": instant(one.seen_from) if one.seen_from else None,
        "until": instant(one.seen_until) if one.seen_until else None,
        "lag_hours": round(one.lag / timedelta(hours=1), 2) if one.lag is not None else None,
        "cannot_see": one.hidden,
        "gap": one.gap,
    }


def _caller(caller: Caller) -> Mapping[str, Any]:
    return {
        "at": instant(caller.at),
        "who": caller.who,
        "from": caller.where,
        "for": caller.what,
        "with": caller.tool,
    }


def _season(season: Season) -> Mapping[str, Any]:
    return {
        "name": season.name,
        "longest_pause_days": season.longest.days,
        "pauses": season.pauses,
        "patience_days": season.patience.days,
    }


def worst_lag(reads: Sequence[Read]) -> timedelta | None:
    """Return how late a use may show in all of these at once; None: no source tells its lag."""
    lags = [one.lag for one in reads if one.lag is not None and one.gap is None]
    return min(lags, default=None)
