"""One claimed act in the worker's hands: what is needed to do it, and how it is ended or put off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from bot import delivery
from bot.card import told
from bot.render import say
from jobs import looking
from jobs.holds import Hold
from jobs.looking import Outside, Seen
from jobs.reach import Providers
from jobs.tallying import Tally
from nhi import facts, ledger, steps
from nhi.answers import redraw
from nhi.database import Sessions
from nhi.policy import Policy
from nhi.preflight import Plan, Stop
from nhi.providers import Provider, Target
from nhi.remediation import RemediationStatus, State
from nhi.tables import AttestationRow, RemediationRow

LATER = timedelta(minutes=10)
TAKEN_BACK = (RemediationStatus.UNDOING, RemediationStatus.UNDONE)
SOON = timedelta(seconds=20)  # of what turns something on again: who waits for that waits for work to go on


@dataclass(frozen=True, kw_only=True)
class Work:
    """One claimed row, the way to its cloud, and where to write what came of it."""

    row: RemediationRow
    hold: Hold
    provider: Provider
    target: Target
    policy: Policy
    providers: Providers
    sessions: Sessions
    clock: Callable[[], datetime]
    tally: Tally
    step: timedelta | None = None  # of a scream test that begins now: how long it is off; None: for good

    @property
    def plan(self) -> Plan:
        return looking.plan_of(self.row)

    def gather(self, seen: Seen) -> Outside:
        """Gather what lies outside our own rows."""
        return looking.outside(self.sessions, self.row, seen, self.policy, self.providers, self.clock())


def sentence(stop: Stop) -> str:
    """Return the doubt in words."""
    return say(f"acts.doubt_{stop.doubt.value}", **{"at": None} | dict(stop.facts)).plain()


def no_source() -> str:
    """Return what is said where policy does not reach the account any more."""
    return say("acts.no_source").plain()


def not_now() -> str:
    """Return what a dry run says of what it would have done."""
    return say("acts.dry_run").plain()


def stop(work: Work, state: State, why: str) -> None:
    """End a row that was not done; the reason goes on the card."""
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        row.claimed_until = None
        if row.status in TAKEN_BACK and row.status is not work.row.status:
            return  # somebody called it off while it was looked at
        if was_raised(work, row):
            row.due_at = work.clock()
            return
        steps.void(row, work.clock())
        steps.advance(session, row, state, work.clock(), because=why)
        record(session, row, f"remediation.{state.value}", work.clock(), because=why)
        redraw(session, row.ask_id)
        if row.ask_id is None:
            _tell(session, row, why, work.clock())
    work.tally.refused.append((work.row.id, why))


def _tell(session: Session, row: RemediationRow, why: str, now: datetime) -> None:
    """Tell who decided an act that has no card to show it on, by name, that it was not done."""
    decided = session.get_one(AttestationRow, row.attestation_id)
    about = told({"identity": facts.identity_json(row.identity)})
    said = say("acts.not_done_notice", told=about, why=why).plain()
    delivery.queue(session, "notice", decided.slack_id, {"sentence": said}, [], now)


def was_raised(work: Work, row: RemediationRow) -> bool:
    """Whether somebody said, while it was looked at, that somebody else has it: what speaks against it is void then."""
    return looking.plan_of(row).despite_use and not work.plan.despite_use


def later(work: Work, why: str, after: timedelta = LATER) -> None:
    """Put a row off; the reason goes on the card."""
    after = after if work.row.undo_by is None else min(after, SOON)
    postpone(work.sessions, work.row, work.hold, why, work.clock(), work.tally, after)


def postpone(
    sessions: Sessions,
    work_row: RemediationRow,
    hold: Hold,
    why: str,
    now: datetime,
    tally: Tally,
    after: timedelta = LATER,
) -> None:
    """Put a row off: it is looked at again in ten minutes, or `after` so long."""
    with sessions.begin() as session:
        row = steps.locked(session, work_row.id)
        hold.check_of(row)
        row.claimed_until = None
        if row.status in TAKEN_BACK and row.status is not work_row.status:
            return  # somebody pressed Undo meanwhile: that is due at once
        if (row.undo_by, row.facts) != (work_row.undo_by, work_row.facts):
            row.due_at = now  # the same, of what is being done; or somebody else has it
            return
        row.due_at = now + after
        if row.because != why:
            steps.put_off(session, row, why, now)
            record(session, row, "remediation.put_off", now, because=why)
            redraw(session, row.ask_id)
    tally.waiting.append((work_row.id, why))


def record(session: Session, row: RemediationRow, kind: str, now: datetime, **facts: Any) -> None:
    session.flush()
    about = {"remediation": row.id, "credential": row.credential.external_id, **facts}
    ledger.record(session, kind, now=now, identity_id=row.identity_id, facts=about)
