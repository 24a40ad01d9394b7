"""Read what identities did since the last time, and find days that are unlike their own. Never writes to a cloud.

Profiles, the position of the reading and the ids of what was read are written together, so a run that dies counts
nothing twice and loses nothing. One worker at a time reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from jobs import unlike
from nhi import profiles
from nhi.activity import DayBook
from nhi.database import Sessions, reading
from nhi.errors import PolicyError
from nhi.identity import Aspect, Gap, Identity
from nhi.places import Places
from nhi.policy import Policy, Source
from nhi.policy_activity import LOOKUP, store_of
from nhi.profiles import EVENTS, FILES, Seen
from nhi.profiles import name_in_trail as name_in_trail
from nhi.providers import Batch, Connect, Provider, Reading, SpansAccounts, TellsActivity
from nhi.records import identity_of, storable
from nhi.tables import ActivityGapRow, IdentityRow, new_id

TOGETHER = 100_000  # events a transaction; of a busy day that is about a minute's reading
_ACCOUNT = re.compile(r"/(\d{12})/CloudTrail/")
LONGEST = timedelta(minutes=20)  # of one reading; what is left is read next time


@dataclass
class Tally:
    """What one reading saw, found, and could not see."""

    events: int = 0
    repeated: int = 0  # read before, and not counted again
    files: int = 0
    opened: int = 0
    kept: int = 0
    folded: int = 0
    gaps: list[Gap] = field(default_factory=list)
    touched: set[tuple[str, str, int]] = field(default_factory=set)  # provider, identity, day since 1970

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            events=self.events + other.events,
            repeated=self.repeated + other.repeated,
            files=self.files + other.files,
            opened=self.opened + other.opened,
            kept=self.kept + other.kept,
            folded=self.folded + other.folded,
            gaps=self.gaps + other.gaps,
            touched=self.touched | other.touched,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "repeated": self.repeated,
            "files": self.files,
            "days": len(self.touched),
            "opened": self.opened,
            "kept": self.kept,
            "complete": not self.gaps,
            "gaps": [{"scope": gap.scope, "reason": gap.reason} for gap in self.gaps],
        }

    def sentence(self) -> str:
        """Return the run's account: `Read 1,200 events of 14 days of identities. Found 1 unlike the others, …`."""
        text = f"Read {self.events:,} events of {len(self.touched)} days of identities."
        text += f" Found {self.opened} unlike their others; {self.kept} are open still."
        if self.gaps:
            text += " Could not see " + "; ".join(f"{gap.scope} ({gap.reason})" for gap in self.gaps[:5])
            text += f" and {len(self.gaps) - 5} more places." if len(self.gaps) > 5 else "."
        return text


def read_source(sessions: Sessions, source: Source, connect: Connect, policy: Policy, now: datetime) -> Tally:
    """Read one source's trail, and judge the days that it told something new of."""
    tally = Tally()
    provider = connect(source)
    if not isinstance(provider, TellsActivity):
        return tally
    try:
        places = Places(policy.activity.countries)
    except PolicyError as error:
        tally.gaps.append(_gap(provider, str(error)))
        places = Places(None)
    try:
        _Reader(sessions, source, provider, places, policy, now, tally).read()
    finally:
        places.close()
    if places.fault is not None:
        tally.gaps.append(_gap(provider, places.fault))
    with sessions.begin() as session:
        _write_gaps(session, provider, tally.gaps, now)
        tally.folded = profiles.fold_old(session, policy.activity, now)
    unlike.judge(sessions, provider, tally, policy, now)
    return tally


def _gap(provider: Provider, reason: str) -> Gap:
    return Gap(scope=provider.name, reason=reason, hides=frozenset({Aspect.ACTIVITY}))


class _Reader:
    """One reading of one source."""

    def __init__(
        self,
        sessions: Sessions,
        source: Source,
        provider: Provider,
        places: Places,
        policy: Policy,
        now: datetime,
        tally: Tally,
    ) -> None:
        self._sessions = sessions
        self._provider = provider
        self._places = places
        self._policy = policy
        self._now = now
        self._tally = tally
        self._book = DayBook()
        self._positions: dict[str, dict[str, str]] = {}
        with reading(sessions) as session:
            wide = _tells_of_others(policy)
            self._known = profiles.positions(session)
            elsewhere = _read_elsewhere(source, policy, self._known)
            self._is_read_elsewhere = not isinstance(provider, SpansAccounts) and provider.account in elsewhere
            known = _identities(session, provider, source_wide=wide)
            self._identities = [one for one in known if one.account not in elsewhere]
            self._wanted = {name_in_trail(one) for one in self._identities}
            self._seen = Seen(session, self._label, beside=f"{provider.name}/" if wide else None)

    @property
    def _label(self) -> str:
        return f"{self._provider.name}/{self._provider.account}"

    def read(self) -> None:
        assert isinstance(self._provider, TellsActivity)
        if self._is_read_elsewhere:
            return
        ends_at = time.monotonic() + LONGEST.total_seconds()
        going = Reading(
            positions=self._known,
            is_read=lambda name: self._seen.holds(FILES, name),
            ends=lambda: time.monotonic() > ends_at,
        )
        for found in self._provider.activity(self._identities, going, self._policy.activity, now=self._now):
            if isinstance(found, Gap):
                self._tally.gaps.append(found)
            else:
                self._add(found)
        self._flush()

    def _add(self, batch: Batch) -> None:
        add, is_new, wanted, place_of = self._book.add, self._seen.is_new, self._wanted, self._places.of
        for use in batch.uses:
            if use.who not in wanted:
                continue
            if is_new(EVENTS, use.id):
                add(use, place_of(use.address) if use.address else None)
            else:
                self._tally.repeated += 1
        for name in batch.files:
            self._tally.files += self._seen.is_new(FILES, name)
        self._positions[batch.place] = dict(batch.position)
        if self._book.events >= TOGETHER:
            self._flush()

    def _flush(self) -> None:
        """Write what was read, and how far, in one transaction."""
        book, self._book = self._book, DayBook()
        places, self._positions = self._positions, {}
        with reading(self._sessions) as session:
            merge = profiles.Merge(session, self._provider.name, book.profiles.values())
        with self._sessions.begin() as session:
            merge.write(session)
            self._seen.write(session, self._now)
            for place, position in places.items():
                profiles.move(session, place, position, self._now)
        self._tally.events += book.events
        self._tally.touched |= {(self._provider.name, who, day) for who, day in book.profiles}


def _tells_of_others(policy: Policy) -> bool:
    """Whether a source's trail may tell of accounts of other sources: an organisation's bucket or event data store."""
    return any(source.activity not in (None, "lookup", "logs", "off") for source in policy.sources)


def _read_elsewhere(source: Source, policy: Policy, known: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return the accounts whose log files another source reads: LookupEvents would tell the same, and less, again."""
    if source.provider != "aws" or source.activity not in (None, LOOKUP):
        return set()
    stores = {store_of(other.activity) for other in policy.sources if other.activity is not None}
    found = (place.partition("|") for place in known)
    folders = (folder for store, _, folder in found if store in stores)
    return {account[1] for folder in folders if (account := _ACCOUNT.search(folder)) is not None}


def _identities(session: Session, provider: Provider, *, source_wide: bool) -> list[Identity]:
    query = select(IdentityRow).where(IdentityRow.provider == provider.name, IdentityRow.gone_at.is_(None))
    if not (source_wide or isinstance(provider, SpansAccounts)):
        query = query.where(IdentityRow.account == provider.account)
    known = [identity_of(row) for row in session.scalars(query) if not row.service_linked]
    return [one for one in known if provider.holds(one)] if isinstance(provider, SpansAccounts) else known


def _write_gaps(session: Session, provider: Provider, gaps: Iterable[Gap], now: datetime) -> None:
    label = f"{provider.name}/{provider.account}"
    session.execute(delete(ActivityGapRow).where(ActivityGapRow.source == label))
    for gap in gaps:
        session.add(
            ActivityGapRow(
                id=new_id(), source=label, scope=storable(gap.scope), reason=storable(gap.reason)[:1000], at=now
            )
        )
