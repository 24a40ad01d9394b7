"""What comes next in one conversation: ask, remind, escalate or wait. Pure, with `now` passed in.

Nothing here ever turns anything off: silence moves a question to somebody else, and the first message says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from nhi import working_days
from nhi.policy import Conversation
from nhi.words import sentence
from nhi.working_days import zone as zone


class Verdict(StrEnum):
    """What a person can say. The first four are the glossary's; "not mine" is evidence; undo takes an act back."""

    CLAIM = "claim"
    JUSTIFY = "justify"
    ROTATE = "rotate"
    DISABLE = "disable"
    NOT_MINE = "not_mine"
    UNDO = "undo"
    WAS_US = "was_us"  # the answers to "was this you?"
    NOT_US = "not_us"


class AskStatus(StrEnum):
    OPEN = "open"
    ANSWERED = "answered"
    PASSED = "passed"  # "not mine": the next candidate is asked
    WITHDRAWN = "withdrawn"  # nothing is left to ask, or the person cannot answer any more


# After a decision that takes its time, the same thing is not asked again for so long.
PATIENCE = {Verdict.ROTATE: timedelta(days=14), Verdict.DISABLE: timedelta(days=7), Verdict.CLAIM: timedelta(0)}

AWAY_BRIEFLY = timedelta(days=4)  # who is back by then is waited for; of who is not, the manager is asked
ADMINS = "admins"  # the rung behind all that policy names: so that no question ends with nobody knowing of it
AWAY_AT_MOST = timedelta(days=21)  # a question waits no longer than so for somebody's return


@dataclass(frozen=True, kw_only=True)
class Ask:
    email: str


@dataclass(frozen=True, kw_only=True)
class Remind:
    number: int


@dataclass(frozen=True, kw_only=True)
class Cover:
    """Ask the manager of this person, who is away for long, about what is theirs."""

    email: str


@dataclass(frozen=True, kw_only=True)
class Escalate:
    to: str  # "manager", "#security", an e-mail


@dataclass(frozen=True, kw_only=True)
class Wait:
    until: datetime | None  # None: until something changes
    why: str


Step = Ask | Cover | Remind | Escalate | Wait


@dataclass(frozen=True, kw_only=True)
class History:
    """What has been said about one identity so far."""

    open_since: datetime | None = None  # when the open ask was sent; None: no ask is open
    reminders: int = 0
    escalated_to: tuple[str, ...] = ()
    last_step_at: datetime | None = None
    last_verdict: Verdict | None = None
    last_verdict_at: datetime | None = None
    is_heard: bool = True  # whether anybody besides who was asked has heard of it, or is about to
    asked: tuple[str, ...] = ()  # who said "not mine", or fell silent: not asked again


def next_step(
    history: History,
    *,
    candidate: str | None,
    tz: str,
    questions_left: int,
    policy: Conversation,
    now: datetime,
    manager_known: bool = False,
    away_until: datetime | None = None,
    cover_known: bool = False,
) -> Step:
    """Decide what to say next about one identity that has findings to ask about.

    `candidate` is the e-mail of whom to ask (None: nobody is known), `tz` their zone, `questions_left` how many more
    questions that person may get this week. `manager_known`: whoever was asked has a manager who can be told.
    `away_until`: they are out of office until then (None: they are here). For a few days that is waited for; for
    longer their manager is asked instead, if policy's ladder has that rung and `cover_known`: that manager is here. Who
    is away for longer than AWAY_AT_MOST, and has none, is treated as here, so that the ladder goes on.
    """
    covers = False
    if away_until is not None and now < away_until:
        covers = _is_covered(history, away_until, policy, now, cover_known)
        if not covers and away_until <= now + AWAY_AT_MOST:
            return Wait(until=away_until, why="away")
    if history.open_since is not None:
        if covers and is_working_time(now, tz, policy):
            return Escalate(to="manager")
        return _while_open(history, tz, policy, now, manager_known)
    if candidate is None:
        return Wait(until=None, why="nobody is known to ask")
    patience_ends = _patience_ends(history)
    if patience_ends is not None and patience_ends > now:
        return Wait(until=patience_ends, why=f"answered: {history.last_verdict}")
    if questions_left <= 0:
        return Wait(until=None, why="has enough questions for now")
    if not is_working_time(now, tz, policy):
        return Wait(until=None, why="outside working hours")
    return Cover(email=candidate) if covers else Ask(email=candidate)


def _is_covered(history: History, away_until: datetime, policy: Conversation, now: datetime, cover_known: bool) -> bool:
    """Whether the manager of somebody who is away is to be asked: once, and not for a few days."""
    once = cover_known and "manager" in policy.escalate_to and "manager" not in history.escalated_to
    return once and away_until > now + AWAY_BRIEFLY


def _patience_ends(history: History) -> datetime | None:
    if history.last_verdict is None or history.last_verdict_at is None:
        return None
    return history.last_verdict_at + PATIENCE.get(history.last_verdict, timedelta(0))


def _while_open(history: History, tz: str, policy: Conversation, now: datetime, manager_known: bool) -> Step:
    last = history.last_step_at or history.open_since
    assert last is not None
    reminds_next = history.reminders < len(policy.remind_after)
    rung = next_rung(policy, history.escalated_to, manager_known=manager_known)
    due = last + (policy.remind_after[history.reminders] if reminds_next else _wait_before(rung, policy))
    if due > now:
        return Wait(until=due, why="asked, waiting for the answer")
    if not is_working_time(now, tz, policy):
        return Wait(until=None, why="outside working hours")
    if reminds_next:
        return Remind(number=history.reminders + 1)
    if rung is None and not history.is_heard and ADMINS not in history.escalated_to:
        rung = ADMINS
    if rung is not None:
        return Escalate(to=rung)
    return Wait(until=None, why="everybody that policy names has been told")


def next_rung(policy: Conversation, told: Sequence[str] = (), *, manager_known: bool = False) -> str | None:
    """Return who hears of silence next; None: everybody that policy names, and who can be told, has been."""
    return next((one for one in reachable(policy.escalate_to, manager_known=manager_known) if one not in told), None)


def _wait_before(rung: str | None, policy: Conversation) -> timedelta:
    """The patience after the last reminder: as long as before it, but a manager hears sooner.

    A manager often knows that somebody is away, or whose it is, and answers before it has to be anybody's trouble.
    Where policy sends no reminders the question itself has its whole patience.
    """
    patience = policy.remind_after[-1] if policy.remind_after else timedelta(days=4)
    return min(policy.manager_after, patience) if rung == "manager" and policy.remind_after else patience


def escalates_at(
    last_step_at: datetime, policy: Conversation, reminders: int = 0, *, rung: str | None = None
) -> datetime:
    """Return when silence goes to somebody else, as the message announces it (working hours may add to it).

    `reminders` is how many were sent, the last of them (or the question itself) at `last_step_at`. `rung` is who
    hears of it then, as `next_rung` says.
    """
    return last_step_at + sum(policy.remind_after[reminders:], _wait_before(rung, policy))


def reminds_at(last_step_at: datetime, policy: Conversation, reminders: int = 0) -> datetime | None:
    """Return when the next reminder comes; None: the last one was sent."""
    return last_step_at + policy.remind_after[reminders] if reminders < len(policy.remind_after) else None


def is_working_time(now: datetime, tz: str, policy: Conversation) -> bool:
    """Whether somebody in this zone may be disturbed now: no weekend, no night, no public holiday of theirs."""
    return working_days.is_working_time(now, tz, policy.working_hours, policy.holidays)


def is_back_soon(away_until: datetime | None, now: datetime) -> bool:
    """Whether somebody is here, or back within the few days that are waited for; who is not is passed over."""
    return away_until is None or away_until <= now + AWAY_BRIEFLY


def reachable(rungs: Sequence[str], *, manager_known: bool = False) -> tuple[str, ...]:
    """Return the rungs that can be told: a manager only where one is known who can answer."""
    return tuple(rung for rung in rungs if rung != "manager" or manager_known)


def names_in_order(rungs: Sequence[str], *, theirs: bool = False) -> str:
    """Return the ladder in words: "your manager, then #security". `theirs`: it is read by somebody else."""
    return sentence("words.ladder", rungs=rungs, theirs=theirs)
