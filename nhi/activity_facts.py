"""What is known of an identity's activity, in the shapes that cards and `whois` show: read from rows, not decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import profiles
from nhi.activity import Facet
from nhi.finding import OF_ACTIVITY
from nhi.habits import habit_of, usual_of
from nhi.identity import scope_of
from nhi.incident import usual_json, usual_words, written
from nhi.tables import ActivityGapRow, ActivityProfileRow, AnomalyRow, FindingRow, IdentityRow, LearnedRow

Json = dict[str, Any]
DAYS_SHOWN = 3  # unusual days of one finding
_MOST = 20  # values of a facet


def unusual(session: Session, finding: FindingRow) -> Json:
    """Return what a finding of activity tells besides: its unusual days, the newest first; nothing of any other."""
    if finding.kind not in OF_ACTIVITY:
        return {}
    rows = select(AnomalyRow).where(AnomalyRow.finding_id == finding.id).order_by(AnomalyRow.day.desc())
    return {"anomalies": [row.facts for row in session.scalars(rows.limit(DAYS_SHOWN))]}


def activity_of(session: Session, row: IdentityRow, now: datetime) -> Json:
    """Return what is known of what an identity does; `days` is 0 where nothing is."""
    who = row.name if row.provider == "gcp" else row.key
    found = select(ActivityProfileRow).where(ActivityProfileRow.provider == row.provider, ActivityProfileRow.who == who)
    days = [profiles.profile_of(one) for one in session.scalars(found)]
    habit = habit_of(days)
    learned = list(
        session.scalars(select(LearnedRow.until).where(LearnedRow.identity_id == row.id, LearnedRow.until > now))
    )
    gaps = unread(session, row)
    known: Json = {"days": 0, "events": 0, "last_at": None, "usual": None, "usual_words": "", "values": {}}
    if habit is not None:
        usual = usual_of(habit)
        known = {
            "days": habit.active_days,
            "events": sum(day.events for day in days),
            "last_at": written(max(day.last_at for day in days)),
            "usual": usual_json(usual),
            "usual_words": usual_words(usual),
            "values": {facet.value: _most(habit.seen.get(facet, {})) for facet in Facet},
        }
    return known | {
        "learned": len(learned),
        "learned_until": max(learned).isoformat() if learned else None,
        "gap": gaps[0] if gaps else None,
    }


def unread(session: Session, row: IdentityRow) -> list[str]:
    """Return why not all that an identity did could be read, lately; each reason once."""
    here = scope_of(row.provider, row.account, row.kind, row.name)
    gaps = session.execute(
        select(ActivityGapRow.scope, ActivityGapRow.reason).where(
            (ActivityGapRow.scope == row.provider) | ActivityGapRow.scope.startswith(f"{row.provider}/")
        )
    )
    return list(dict.fromkeys(reason for scope, reason in gaps if f"{here}/".startswith(f"{scope}/")))


def _most(values: Any) -> list[Json]:
    ordered = sorted(values.items(), key=lambda one: (-one[1][1], -one[1][0], one[0]))
    return [{"value": value, "events": count[0], "days": count[1]} for value, count in ordered[:_MOST]]
