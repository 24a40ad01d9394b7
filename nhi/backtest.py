"""What a policy would have turned off, replayed on recorded history, and what of that was used later. Pure.

What is recorded of a credential's use over time is its pauses: each spell of 14 days or more that scans witnessed, with
the use that ended it (nhi/seasons.py), and the spell that goes on now. A rule that is more patient than that is
replayed exactly; of a shorter one, what began and ended between is not known, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nhi import seasons
from nhi.identity import Credential, CredentialStatus, Identity
from nhi.policy import NEVER, Policy
from nhi.seasons import WORTH_KEEPING


@dataclass(frozen=True, kw_only=True)
class Known:
    """One credential, and since when it is scanned. `gone_at` None: it is still there."""

    identity: Identity
    credential: Credential
    first_seen_at: datetime
    gone_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class WouldBeOff:
    """One credential that the rule would have turned off. `used_at` is its next use; None: it was not used since."""

    identity: Identity
    credential: Credential
    quiet_since: datetime  # its last use before, or its creation
    off_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the whole replay showed."""

    since: datetime
    recorded_since: datetime | None  # when the first of them was first scanned; None: nothing was
    judged: int
    off: tuple[WouldBeOff, ...]
    unseen: int  # credentials of which no source told a use
    too_short: int  # credentials whose patience is below what is recorded

    @property
    def used_later(self) -> tuple[WouldBeOff, ...]:
        """Those that were used again after the rule would have turned them off, the soonest first."""
        return tuple(sorted((one for one in self.off if one.used_at), key=_came_back))


def _came_back(one: WouldBeOff) -> tuple[timedelta, str, str]:
    assert one.used_at is not None
    return one.used_at - one.off_at, one.identity.principal, one.credential.key


def replay(known: Sequence[Known], policy: Policy, *, since: datetime, now: datetime) -> Replay:
    """Return what `policy` would have turned off between `since` and `now`; each credential once, the first time."""
    off: list[WouldBeOff] = []
    unseen = short = 0
    for one in known:
        if one.gone_at is not None and one.gone_at <= since:
            continue
        allowed = policy.rules.unused_after_for(one.identity)
        if one.credential.use_gap is not None:
            unseen += 1
            continue
        short += allowed < WORTH_KEEPING
        found = _first_off(one, allowed, since, now)
        if found is not None:
            off.append(found)
    return Replay(
        since=since,
        recorded_since=min((one.first_seen_at for one in known), default=None),
        judged=len([one for one in known if one.credential.use_gap is None]),
        off=tuple(sorted(off, key=lambda one: (one.off_at, one.identity.principal, one.credential.key))),
        unseen=unseen,
        too_short=short,
    )


def _first_off(one: Known, allowed: timedelta, since: datetime, now: datetime) -> WouldBeOff | None:
    if allowed == NEVER:
        return None
    for began, ended in _spells(one.credential):
        before = [pause for pause in one.credential.pauses if pause.ended_at <= began]
        off_at = began + seasons.patience(allowed, before, began)[0]
        over = ended or one.gone_at or now
        if since <= off_at <= now and off_at < over:
            return WouldBeOff(
                identity=one.identity, credential=one.credential, quiet_since=began, off_at=off_at, used_at=ended
            )
    return None


def _spells(credential: Credential) -> Iterator[tuple[datetime, datetime | None]]:
    """Yield the spells without a use, oldest first: from when, and the use that ended it (None: it goes on)."""
    for pause in credential.pauses:
        yield pause.began_at, pause.ended_at
    began = credential.last_used_at or credential.created_at
    if began is not None and credential.status is CredentialStatus.ACTIVE:
        yield began, None
