"""Whether changes are frozen right now: by policy, by calendar files, by an AWS Change Calendar.

What cannot be read counts as a freeze that cannot be told: the act waits, and the card says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs.reach import Providers
from nhi import freezes
from nhi.freezes import BadCalendar
from nhi.identity import Gap
from nhi.policy import Policy
from nhi.providers import TellsFreezes
from nhi.words import sentence


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """`name` is of what freezes changes (None: nothing does), `gap` why that cannot be told (None: it can)."""

    name: str | None = None
    gap: str | None = None


def look(policy: Policy, providers: Providers, now: datetime) -> Freeze:
    """Return what freezes changes at `now`; asks the change calendar, so at most once for each act."""
    name = freezes.by_policy(policy.remediation.freezes, now)
    if name is not None:
        return Freeze(name=name)
    for path in policy.remediation.freeze_calendars:
        found = _by_file(path, now)
        if found != Freeze():
            return found
    calendar = policy.remediation.change_calendar
    return _by_change_calendar(calendar, policy, providers) if calendar else Freeze()


def _by_file(path: Path, now: datetime) -> Freeze:
    try:
        changed_at = path.stat().st_mtime_ns
        return Freeze(name=freezes.by_calendar(_read(path, changed_at), now))
    except OSError as error:
        return Freeze(gap=f"{path.name}: {error.strerror or type(error).__name__}")
    except BadCalendar as error:
        return Freeze(gap=f"{path.name}: {error}")


@lru_cache(maxsize=32)
def _read(path: Path, changed_at: int) -> tuple[Any, ...]:
    """Read a calendar file once for each of its versions. Raises OSError and BadCalendar."""
    return freezes.parse(path.read_bytes())


def _by_change_calendar(calendar: str, policy: Policy, providers: Providers) -> Freeze:
    """Ask the source of the calendar's own account, or else the first that can be asked: a calendar may be shared."""
    account = calendar.split(":")[4]
    able = [
        provider
        for source in policy.sources
        if source.provider in providers and isinstance(provider := providers[source.provider](source), TellsFreezes)
    ]
    able.sort(key=lambda provider: getattr(provider, "account", None) != account)
    if not able:
        return Freeze(gap=sentence("acts.calendar_unasked"))
    match able[0].is_open(calendar):
        case Gap(reason=reason):
            return Freeze(gap=reason)
        case True:
            return Freeze()
        case _:
            return Freeze(name=calendar.rpartition("/")[2])
