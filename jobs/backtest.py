"""`nhi policy backtest`: what a policy would have turned off, on recorded history. Nothing is written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from jobs.show import console
from nhi.backtest import Known, Replay, WouldBeOff
from nhi.facts import when
from nhi.records import credential_of, identity_of
from nhi.seasons import WORTH_KEEPING
from nhi.tables import CredentialRow

SHOWN = 50  # rows of the table; --json has them all


def known(session: Session) -> list[Known]:
    """Return every credential that was ever seen, with what is recorded of its use."""
    rows = session.scalars(select(CredentialRow).options(joinedload(CredentialRow.identity)))
    return [
        Known(
            identity=identity_of(row.identity),
            credential=credential_of(row),
            first_seen_at=row.first_seen_at,
            gone_at=row.gone_at or row.identity.gone_at,
        )
        for row in rows
    ]


def as_json(told: Replay) -> dict[str, Any]:
    return {
        "since": when(told.since),
        "recorded_since": when(told.recorded_since),
        "judged": told.judged,
        "turned_off": [_json(one) for one in told.off],
        "used_later": [_json(one) for one in told.used_later],
        "unseen": told.unseen,
        "too_short": told.too_short,
    }


def _json(one: WouldBeOff) -> dict[str, Any]:
    return {
        "principal": one.identity.principal,
        "credential": one.credential.external_id or one.credential.key,
        "quiet_since": when(one.quiet_since),
        "off_at": when(one.off_at),
        "used_at": when(one.used_at),
    }


def sentences(told: Replay) -> list[str]:
    """Return what the replay showed and what it cannot know, a sentence each."""
    count, later = len(told.off), len(told.used_later)
    said = [f"Since {_day(told.since)} this policy would have turned off {count} of {told.judged} credentials"]
    said[0] += "; none of them was used later." if not later else f"; {later} of them {_were(later)} used later:"
    if told.recorded_since is None:
        return ["Nothing was scanned yet; run `nhi scan`, then history is recorded from day to day."]
    if told.recorded_since > told.since:
        said.append(f"What was used before {_day(told.recorded_since)} is known only by its last use before that day.")
    if told.too_short:
        said.append(
            f"Of {told.too_short} the rule is below {WORTH_KEEPING.days} days: shorter pauses are not recorded, so it"
            " would have turned off more."
        )
    if told.unseen:
        said.append(f"{told.unseen} could not be judged: no source told of their use.")
    return said


def show(told: Replay) -> None:
    """Print it: the sentences, and those that were used later."""
    out, said = console(), sentences(told)
    out.print(said[0])
    if told.used_later:
        table = Table("identity", "credential", "would be off on", "used again on", "after")
        for one in told.used_later[:SHOWN]:
            assert one.used_at is not None
            days = (one.used_at - one.off_at).days
            credential = one.credential.external_id or one.credential.kind
            table.add_row(one.identity.name, credential, _day(one.off_at), _day(one.used_at), f"{days} days")
        out.print(table)
        if len(told.used_later) > SHOWN:
            out.print(f"And {len(told.used_later) - SHOWN} more; --json lists them all.")
    for sentence in said[1:]:
        out.print(sentence)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _day(at: datetime) -> str:
    return f"{at:%-d %B %Y}"
