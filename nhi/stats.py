"""How well the estate is looked after, in figures: read from findings, questions and answers. Nothing is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from nhi.findings import OWNERSHIP, FindingStatus
from nhi.policy import Policy
from nhi.tables import AskRow, AttestationRow, FindingRow, IdentityRow

DAYS = 28
OTHERS = "others"
DAY = timedelta(days=1)
Interval = tuple[str, datetime, datetime | None]  # of which team, from when, and until when (None: still so)


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What `/nhi stats` tells."""

    kinds: tuple[tuple[str, int], ...]  # open findings, the most first
    days: tuple[date, ...]
    hours: tuple[tuple[str, tuple[float, ...]], ...]  # a team, and its unowned-hours on each day; the most first
    asked: int  # questions in these days
    answered: int
    first_answer: timedelta | None  # the median; None: nobody answered yet


def read(session: Session, policy: Policy, now: datetime) -> Stats:
    """Gather the figures of the last DAYS days."""
    open_kinds = select(FindingRow.kind, func.count()).where(FindingRow.status != FindingStatus.RESOLVED)
    kinds = session.execute(open_kinds.group_by(FindingRow.kind)).all()
    counted = sorted(((kind.value, int(count)) for kind, count in kinds), key=lambda each: (-each[1], each[0]))
    days = tuple(now.date() - timedelta(days=DAYS - 1 - number) for number in range(DAYS))
    begin = datetime.combine(days[0], time(0), UTC)
    lately = (AskRow.asked_at >= begin, AskRow.shadow.is_(False))
    first = select(AskRow.asked_at, func.min(AttestationRow.at)).join(
        AttestationRow, AttestationRow.ask_id == AskRow.id
    )
    answered = session.execute(first.where(*lately).group_by(AskRow.id, AskRow.asked_at)).all()
    waits = [(at - asked_at).total_seconds() for asked_at, at in answered]
    return Stats(
        kinds=tuple(counted),
        days=days,
        hours=unowned_hours(_intervals(session, policy, begin), days, now),
        asked=session.scalar(select(func.count()).select_from(AskRow).where(*lately)) or 0,
        answered=len(waits),
        first_answer=timedelta(seconds=median(waits)) if waits else None,
    )


def _intervals(session: Session, policy: Policy, begin: datetime) -> list[Interval]:
    rows = session.execute(
        select(IdentityRow.tags, IdentityRow.account, FindingRow.opened_at, FindingRow.resolved_at)
        .join(FindingRow, FindingRow.identity_id == IdentityRow.id)
        .where(FindingRow.kind.in_(OWNERSHIP), (FindingRow.resolved_at.is_(None)) | (FindingRow.resolved_at > begin))
    )
    return [(team_of(tags, account), opened, resolved) for tags, account, opened, resolved in rows]


def team_of(tags: dict[str, str], account: str) -> str:
    """Return whose an identity is counted as: its team's tag says it, else its account stands for a team."""
    return next((value for name, value in sorted(tags.items()) if name.lower() == "team" and value), account)


def unowned_hours(
    intervals: Iterable[Interval], days: tuple[date, ...], now: datetime, most: int = 5
) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return for each team how many hours its identities were without an owner on each day (UTC), together.

    At most `most` lines: the teams with the most hours, and all others as one. Pure.
    """
    hours: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(days))
    for team, begins, ends in intervals:
        for number, day in enumerate(days):
            start = datetime.combine(day, time(0), UTC)
            overlap = min(ends or now, now, start + DAY) - max(begins, start)
            hours[team][number] += max(0.0, overlap / timedelta(hours=1))
    ranked = [team for team, _ in Counter({team: sum(each) for team, each in hours.items()}).most_common()]
    kept = ranked if len(ranked) <= most else ranked[: most - 1]
    lines = [(team, tuple(hours[team])) for team in kept]
    if rest := ranked[len(kept) :]:
        lines.append((OTHERS, tuple(sum(hours[team][number] for team in rest) for number in range(len(days)))))
    return tuple(lines)
