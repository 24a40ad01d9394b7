"""Profiles and positions as rows: written together, folded when they are old, and read as an identity's history."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from nhi.activity import Facet, Profile, body_of, fold, instant, join
from nhi.habits import Ended
from nhi.identity import Identity
from nhi.policy_activity import Activity
from nhi.tables import ActivityPositionRow, ActivityProfileRow, ActivitySeenRow, IdentityRow, LearnedRow, new_id

EVENTS, FILES = "events", "files"
REMEMBERED = {EVENTS: 1_000_000, FILES: 1_000_000}  # the newest of a source: 8 bytes each
_TOGETHER = 400  # rows a query
_WEEK = 7


def digest(text: str) -> int:
    """Return eight bytes of an id's digest, as a number."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


class Seen:
    """Which events and files of a source were read, as far as is remembered: nothing of those is counted again."""

    def __init__(self, session: Session, source: str, *, beside: str | None = None) -> None:
        """Read what is remembered of a source, and of those whose names begin with `beside`: they may tell the same."""
        self._source = source
        self._written_at: datetime | None = None
        self._known: dict[str, set[int]] = {EVENTS: set(), FILES: set()}
        self._fresh: dict[str, array[int]] = {EVENTS: array("Q"), FILES: array("Q")}
        theirs = ActivitySeenRow.source == source
        if beside is not None:
            theirs |= ActivitySeenRow.source.startswith(beside, autoescape=True)
        for what, digests in session.execute(select(ActivitySeenRow.what, ActivitySeenRow.digests).where(theirs)):
            found = array("Q")
            found.frombytes(digests)
            self._known[what].update(found)

    def is_new(self, what: str, id_: str) -> bool:
        """Whether this is read for the first time; from now on it is not."""
        number = digest(id_)
        known = self._known[what]
        if number in known:
            return False
        known.add(number)
        self._fresh[what].append(number)
        return True

    def holds(self, what: str, id_: str) -> bool:
        """Whether this was read before."""
        return digest(id_) in self._known[what]

    def write(self, session: Session, now: datetime) -> None:
        """Write down what was read since the last time, and forget the oldest beyond what is remembered."""
        for what, fresh in self._fresh.items():
            if fresh:
                row = ActivitySeenRow(
                    id=new_id(),
                    source=self._source,
                    what=what,
                    read_at=self._next(now),
                    number=len(fresh),
                    digests=fresh.tobytes(),
                )
                session.add(row)
                session.flush()
                self._forget(session, what)
                self._fresh[what] = array("Q")

    def _next(self, now: datetime) -> datetime:
        """Return now, or the moment after what was written last: the order of writing is the order of forgetting."""
        after = self._written_at + timedelta(microseconds=1) if self._written_at else now
        self._written_at = max(now, after)
        return self._written_at

    def _forget(self, session: Session, what: str) -> None:
        rows = session.execute(
            select(ActivitySeenRow.id, ActivitySeenRow.number)
            .where(ActivitySeenRow.source == self._source, ActivitySeenRow.what == what)
            .order_by(ActivitySeenRow.read_at.desc(), ActivitySeenRow.id)
        )
        total, old = 0, list[str]()
        for id_, number in rows:
            total += number
            if total - number >= REMEMBERED[what]:
                old.append(id_)
        if old:
            digests = session.scalars(select(ActivitySeenRow.digests).where(ActivitySeenRow.id.in_(old)))
            for packed in digests:
                found = array("Q")
                found.frombytes(packed)
                self._known[what].difference_update(found)
            session.execute(delete(ActivitySeenRow).where(ActivitySeenRow.id.in_(old)))


def profile_of(row: ActivityProfileRow) -> Profile:
    """Return the value of a row."""
    body = row.body
    return Profile(
        who=row.who,
        day=row.day,
        days=row.days,
        active_days=body["active_days"],
        events=row.events,
        denied=row.denied,
        most_denied=body["most_denied"],
        first_at=int(row.first_at.timestamp()),
        last_at=int(row.last_at.timestamp()),
        seen=body["seen"],
        over=body["over"],
        stays=body["stays"],
    )


def _columns(profile: Profile) -> dict[str, Any]:
    return {
        "days": profile.days,
        "events": profile.events,
        "denied": profile.denied,
        "first_at": instant(profile.first_at),
        "last_at": instant(profile.last_at),
        "body": body_of(profile),
    }


class Merge:
    """New profiles joined to the known ones. Made outside the write lock, by the one worker that reads activity."""

    def __init__(self, session: Session, provider: str, profiles: Iterable[Profile]) -> None:
        self._new: list[dict[str, Any]] = []
        self._changed: list[dict[str, Any]] = []
        by_day: dict[date, dict[str, Profile]] = defaultdict(dict)
        for profile in profiles:
            by_day[profile.day][profile.who] = profile
        for day, found in by_day.items():
            known = _rows_of(session, provider, day, list(found))
            for who, profile in found.items():
                row = known.get(who)
                if row is None:
                    columns = {"id": new_id(), "provider": provider, "who": who, "day": day, "unlike": False}
                    self._new.append(columns | _columns(profile))
                else:
                    self._changed.append({"id": row.id} | _columns(join(profile_of(row), profile)))

    def write(self, session: Session) -> None:
        """Write all of it, in two statements."""
        if self._new:
            session.execute(insert(ActivityProfileRow), self._new)
        if self._changed:
            session.execute(update(ActivityProfileRow), self._changed)


def _rows_of(session: Session, provider: str, day: date, names: Sequence[str]) -> dict[str, ActivityProfileRow]:
    found: dict[str, ActivityProfileRow] = {}
    for start in range(0, len(names), _TOGETHER):
        rows = select(ActivityProfileRow).where(
            ActivityProfileRow.provider == provider,
            ActivityProfileRow.day == day,
            ActivityProfileRow.days == 1,
            ActivityProfileRow.who.in_(names[start : start + _TOGETHER]),
        )
        found |= {row.who: row for row in session.scalars(rows)}
    return found


def positions(session: Session) -> dict[str, Mapping[str, str]]:
    """Return how far each place was read."""
    return {row.place: row.position for row in session.scalars(select(ActivityPositionRow))}


def move(session: Session, place: str, position: Mapping[str, str], now: datetime) -> None:
    """Write how far a place was read."""
    session.merge(ActivityPositionRow(place=place, position=dict(position), read_at=now))


def history(session: Session, provider: str, who: str, before: date, since: date) -> list[Profile]:
    """Return what is known of an identity's usual days, in the order of the days; unlike ones tell nothing of that."""
    rows = select(ActivityProfileRow).where(
        ActivityProfileRow.provider == provider,
        ActivityProfileRow.who == who,
        ActivityProfileRow.day < before,
        ActivityProfileRow.day >= since,
        ActivityProfileRow.unlike.is_(False),
    )
    return [profile_of(row) for row in session.scalars(rows.order_by(ActivityProfileRow.day))]


def lately(session: Session, identities: Sequence[IdentityRow], since: date) -> dict[str, Profile]:
    """Return what these identities did since then, each in one profile, by their row ids."""
    ids = {(row.provider, name_in_trail(row)): row.id for row in identities}
    found: dict[str, list[Profile]] = defaultdict(list)
    names = sorted({who for _, who in ids})
    for start in range(0, len(names), _TOGETHER):
        rows = select(ActivityProfileRow).where(
            ActivityProfileRow.who.in_(names[start : start + _TOGETHER]), ActivityProfileRow.day >= since
        )
        for row in session.scalars(rows):
            if (row_id := ids.get((row.provider, row.who))) is not None:
                found[row_id].append(profile_of(row))
    return {row_id: fold(told) for row_id, told in found.items()}


def name_in_trail(identity: Identity | IdentityRow) -> str:
    """Return what an audit trail calls an identity: its unique id, or, in Google's, its e-mail."""
    return identity.name if identity.provider == "gcp" else identity.key


def of_day(session: Session, provider: str, who: str, day: date) -> ActivityProfileRow | None:
    """Return the row of one day; None: nothing was done."""
    return session.scalar(
        select(ActivityProfileRow).where(
            ActivityProfileRow.provider == provider,
            ActivityProfileRow.who == who,
            ActivityProfileRow.day == day,
            ActivityProfileRow.days == 1,
        )
    )


def learned(session: Session, identity_id: str, now: datetime) -> frozenset[tuple[str, str]]:
    """Return what people said is this identity's own, and still holds."""
    rows = session.execute(
        select(LearnedRow.facet, LearnedRow.value).where(LearnedRow.identity_id == identity_id, LearnedRow.until > now)
    )
    return frozenset((facet, value) for facet, value in rows)


def ended(session: Session, identity_id: str, now: datetime) -> list[Ended]:
    """Return what people said was this identity's own for a while, where that is over."""
    rows = session.scalars(select(LearnedRow).where(LearnedRow.identity_id == identity_id, LearnedRow.until <= now))
    return [
        Ended(facet=Facet(row.facet), value=row.value, since=row.since.date(), until=row.until.date()) for row in rows
    ]


def fold_old(session: Session, limits: Activity, now: datetime, most: int = 200) -> int:
    """Put days that are old together by the week, and forget what is older than policy keeps; return of how many weeks.

    At most so many weeks at once: what is left has its turn at the next reading.
    """
    forgotten = (now - limits.kept_for).date()
    session.execute(delete(ActivityProfileRow).where(ActivityProfileRow.day < forgotten))
    old = (now - limits.days_kept).date()
    begins = old - timedelta(days=old.weekday())  # of the week that is not over yet
    query = select(ActivityProfileRow).where(
        ActivityProfileRow.day < begins, ActivityProfileRow.days == 1, ActivityProfileRow.unlike.is_(False)
    )
    weeks: dict[tuple[str, str, date], list[ActivityProfileRow]] = defaultdict(list)
    for row in session.scalars(query.order_by(ActivityProfileRow.day).limit(most * _WEEK)):
        monday = row.day - timedelta(days=row.day.weekday())
        weeks[row.provider, row.who, monday].append(row)
    for (provider, who, monday), rows in list(weeks.items())[:most]:
        _fold_week(session, provider, who, monday, rows)
    return min(len(weeks), most)


def _fold_week(session: Session, provider: str, who: str, monday: date, rows: Sequence[ActivityProfileRow]) -> None:
    known = session.scalar(
        select(ActivityProfileRow).where(
            ActivityProfileRow.provider == provider,
            ActivityProfileRow.who == who,
            ActivityProfileRow.day == monday,
            ActivityProfileRow.days > 1,
        )
    )
    together = fold(profile_of(row) for row in ([known] if known else []) + list(rows))
    together.day, together.days = monday, _WEEK
    session.execute(delete(ActivityProfileRow).where(ActivityProfileRow.id.in_([row.id for row in rows])))
    if known is not None:
        session.execute(delete(ActivityProfileRow).where(ActivityProfileRow.id == known.id))
    columns = {"id": new_id(), "provider": provider, "who": who, "day": monday, "unlike": False}
    session.execute(insert(ActivityProfileRow), [columns | _columns(together)])
