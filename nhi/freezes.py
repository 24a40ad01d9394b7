"""When nothing may be changed: windows of policy and events of a calendar. Pure; `now` is passed in.

Each event of an iCalendar file (RFC 5545) freezes changes while it lasts, repeating ones each time. What was cancelled
freezes nothing, nor do hours marked as free time (TRANSP:TRANSPARENT); whole days do, since calendars mark those as
free unless somebody says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import icalendar
import recurring_ical_events

from nhi.policy import Freeze
from nhi.redact import tidy
from nhi.words import sentence


class BadCalendar(ValueError):
    """A calendar that does not read as one. The text is one phrase."""


def by_policy(windows: Iterable[Freeze], now: datetime) -> str | None:
    """Return the name of the window of policy that freezes changes now; None: none does."""
    return next((window.name for window in windows if window.begins <= now < window.ends), None)


def parse(content: bytes) -> tuple[Any, ...]:
    """Read an iCalendar file. Raises BadCalendar where it is none."""
    try:
        found = tuple(icalendar.Calendar.from_ical(content, multiple=True))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise BadCalendar(sentence("acts.calendar_other_format", error=type(error).__name__)) from None
    if not found or any(one.name != "VCALENDAR" for one in found):
        raise BadCalendar(sentence("acts.calendar_empty"))
    for event in (event for calendar in found for event in calendar.walk("VEVENT")):
        if _ends_too_soon(event):
            raise BadCalendar(sentence("acts.calendar_backwards", name=event.get("SUMMARY")))
    return found


def _ends_too_soon(event: Any) -> bool:
    """Whether an event, which nothing would find while it lasts, has its end before its beginning."""
    try:
        begins, ends = event["DTSTART"].dt, event["DTEND"].dt
        return bool(_instant(ends, timedelta(0)) < _instant(begins, timedelta(0)))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
        return False  # it has no end of its own; or it cannot be read, which is told when it matters


def by_calendar(calendars: Sequence[Any], now: datetime) -> str | None:
    """Return the name of the event that freezes changes now; None: none does. Raises BadCalendar.

    An event without a zone counts where it is noon anywhere: a freeze too long is better than one too short.
    """
    near = timedelta(days=1)
    try:
        for calendar in calendars:
            for event in recurring_ical_events.of(calendar).between(now - near, now + near):
                if _freezes(event) and _lasts_at(event, now):
                    return tidy(str(event.get("SUMMARY") or sentence("acts.calendar_unnamed")), 80)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise BadCalendar(sentence("acts.calendar_event", error=type(error).__name__)) from None
    return None


def _freezes(event: Any) -> bool:
    is_hours = isinstance(event.start, datetime)
    is_free = is_hours and str(event.get("TRANSP", "OPAQUE")).upper() == "TRANSPARENT"
    return not is_free and str(event.get("STATUS", "")).upper() != "CANCELLED"


def _lasts_at(event: Any, now: datetime) -> bool:
    begins, ends = _moments(event)
    return begins <= now < ends


def _moments(event: Any) -> tuple[datetime, datetime]:
    begins, ends = event.start, event.end
    if begins == ends and not isinstance(begins, datetime):
        ends = begins + timedelta(days=1)
    return _instant(begins, timedelta(hours=-14)), _instant(ends, timedelta(hours=12))


def _instant(moment: date | datetime, anywhere: timedelta) -> datetime:
    """Return an instant; of a day or a time without a zone, the outermost one that it can be on earth."""
    if isinstance(moment, datetime):
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC) + anywhere
    return datetime.combine(moment, time(0), UTC) + anywhere
