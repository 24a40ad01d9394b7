"""The jobs by name, each ready to run on an opened program, and each ending with its tally."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from bot import delivery
from jobs import (
    activity,
    alarms,
    anchors,
    ask,
    checkpoint,
    directories,
    evidence,
    inbox,
    leavers,
    people,
    periods,
    remediate,
    review,
    rotate,
    scan,
    seconds,
)
from jobs.program import Program
from jobs.reach import opened_once
from nhi.database import reading
from nhi.errors import NhiError
from nhi.identity import Gap
from nhi.policy import Policy, Source
from nhi.providers import Progress

log = logging.getLogger(__name__)


def scan_all(
    program: Program, *, only: tuple[str, ...] = (), progress: Callable[[str, Progress], None] = lambda _, __: None
) -> scan.Tally:
    """Look at every source of the policy (or those of the `only` providers), then at Slack's directory.

    Raises NhiError where another scan is under way.
    """
    with periods.alone(program.sessions, "scan-now", program.clock) as ours:
        if not ours:
            raise NhiError(
                "A scan is under way already; its findings appear when it is done."
                " If it was cut short, try again in two minutes.",
                permanent=False,
            )
        return _scan_all(program, program.policy(), only, progress)


def _scan_all(
    program: Program, policy: Policy, only: tuple[str, ...], progress: Callable[[str, Progress], None]
) -> scan.Tally:
    now = program.clock()
    tallies = [
        scan.scan_source(program.sessions, source, program.providers[source.provider], policy, now, progress)
        for source in _sources(policy, only)
    ]
    gaps: tuple[Gap, ...] = evidence.gather(program.sessions, policy, now)
    if program.slack is not None:
        gaps += people.refresh(program.sessions, program.slack, policy, now)
    return scan.Tally(sources=tuple(tallies), gaps=gaps, seconds=(program.clock() - now) / timedelta(seconds=1))


def _sources(policy: Policy, only: tuple[str, ...]) -> list[Source]:
    return [source for source in policy.sources if not only or source.provider in only]


def activity_all(program: Program, *, only: tuple[str, ...] = ()) -> activity.Tally:
    """Read what identities did since the last time, at every source, and judge it.

    Raises NhiError where another reading is under way.
    """
    with periods.alone(program.sessions, "activity-now", program.clock) as ours:
        if not ours:
            raise NhiError("Activity is being read already; please try again in a few minutes.", permanent=False)
        tally = activity.Tally()
        for source in _sources(program.policy(), only):
            connect = program.providers[source.provider]
            tally += activity.read_source(program.sessions, source, connect, program.policy(), program.clock())
        return tally


def ask_all(program: Program, *, dry_run: bool = False, to_admin: bool = False) -> ask.Tally:
    """Say what is due. Raises SettingsError where no bot token is set: without Slack nobody can be asked."""
    policy = program.policy()
    program.settings.bot_token()
    assert program.slack is not None
    people.refresh(program.sessions, program.slack, policy, program.clock())
    return ask.run(program.sessions, policy, now=program.clock(), dry_run=dry_run, to_admin=to_admin)


def remediate_all(
    program: Program, *, dry_run: bool = False, progress: remediate.OnStep = lambda done, total: None
) -> remediate.Tally:
    """Do what was decided and is due: turn off, turn on again, rotate."""
    sessions, policy, clock = program.sessions, program.policy(), program.clock
    providers = opened_once(program.providers)
    tally = remediate.run(sessions, policy, providers, clock=clock, dry_run=dry_run, progress=progress)
    rotate.run(sessions, policy, providers, clock=clock, tally=tally, dry_run=dry_run)
    if not dry_run:
        seconds.tell(sessions, policy, clock())
    return tally


def deliver_all(program: Program) -> None:
    """Post and redraw what is due; nothing happens where no bot token is set."""
    if program.slack is not None:
        delivery.drain(program.sessions, program.slack, program.policy(), program.clock)


def task_scan(program: Program, **_: Any) -> None:
    """Scan once a day, from 02:00 UTC on; a day that was missed is made up for at the next start."""
    day = (program.clock() - timedelta(hours=2)).date().isoformat()
    periods.once(program.sessions, "scan", day, lambda: _logged(scan_all(program)), program.clock)


def task_activity(program: Program, **_: Any) -> None:
    """Read activity as often as policy says."""
    every = int(program.policy().activity.read_every.total_seconds())
    period = f"{int(program.clock().timestamp()) // every * every}"
    periods.once(program.sessions, "activity", period, lambda: _logged(activity_all(program)), program.clock)


def alarms_all(program: Program) -> alarms.Tally:
    """Ask "was this you?" where it is due. Without Slack nobody can be asked."""
    if program.slack is None:
        return alarms.Tally()
    return alarms.run(program.sessions, program.policy(), now=program.clock())


def task_alarms(program: Program, **_: Any) -> None:
    """Ask at once about what is unusual, and tell of what is not answered."""
    tally = alarms_all(program)
    if not tally.is_quiet:
        log.info(tally.sentence())
        deliver_all(program)


def task_people(program: Program, **_: Any) -> None:
    """Read Slack's directory and the identity provider's once a day."""
    directories.tick(program)


def task_leavers(program: Program, **_: Any) -> None:
    """See who leaves, and let what they own be handed over."""
    tally = leavers.run(program.sessions, program.policy(), now=program.clock())
    if not tally.is_quiet:
        log.info(tally.sentence())
        deliver_all(program)


def task_ask(program: Program, **_: Any) -> None:
    """Say what is due, every five minutes."""
    now = program.clock()
    period = f"{now:%Y-%m-%dT%H}:{now.minute // 5 * 5:02d}"
    periods.once(program.sessions, "ask", period, lambda: _logged(ask_all(program)), program.clock)
    deliver_all(program)


def task_remediate(program: Program, **_: Any) -> None:
    """Do what was decided, and show it on the cards."""
    tally = remediate_all(program)
    if any((tally.done, tally.undone, tally.refused, tally.testing, tally.back, tally.rotated, tally.ready)):
        _logged(tally)
    deliver_all(program)


def task_checkpoint(program: Program, **_: Any) -> None:
    """Seal the ledger once an hour and at a review's close, where a key is set; bring seals to where policy says."""
    if program.settings.nhi_signing_key is not None:
        hour = f"{program.clock():%Y-%m-%dT%H}"
        made = partial(checkpoint.seal, program, because="hourly", anchor_now=False)
        with reading(program.sessions) as session:
            closed = checkpoint.closed_review(session)
        if closed:
            _logged(checkpoint.seal(program, because=f"review {closed} closed"))
        periods.once(program.sessions, "checkpoint", hour, lambda: _logged(made()), program.clock)
    if (brought := anchors.bring(program)).kept:
        _logged(brought)


def task_deliver(program: Program, **_: Any) -> None:
    """Post and redraw what is due."""
    deliver_all(program)


def task_inbox(program: Program, **_: Any) -> None:
    """Decide the clicks that no bot decides, and show it on the cards."""
    if inbox.take_up(program):
        deliver_all(program)


def _logged(
    tally: activity.Tally | scan.Tally | ask.Tally | remediate.Tally | checkpoint.Made | anchors.Tally | review.Tally,
) -> str:
    sentence = tally.sentence()
    log.info(sentence)
    return sentence


def review_all(program: Program) -> review.Tally:
    """Do what the quarter's review needs now."""
    tally = review.run(program.sessions, program.policy(), program.slack, now=program.clock())
    if tally.closed is not None:
        seal_review(program, tally.closed)
    return tally


def seal_review(program: Program, quarter: str) -> None:
    """Seal the ledger at a review's close. Without a signing key it goes unsealed, and the log says so."""
    try:
        log.info(checkpoint.seal(program, because=f"review {quarter} closed").sentence())
    except NhiError as error:
        log.warning("the ledger was not sealed at the close of the review of %s: %s", quarter, error)


def task_review(program: Program, **_: Any) -> None:
    """Look every five minutes what the review needs, and at once where an admin wants one opened."""
    now = program.clock()
    if review.is_wanted(program.sessions, now):
        _review_line(program)
    period = f"{now:%Y-%m-%dT%H}:{now.minute // 5 * 5:02d}"
    periods.once(program.sessions, "review", period, lambda: _review_line(program), program.clock)
    deliver_all(program)


def _review_line(program: Program) -> str:
    tally = review_all(program)
    return _logged(tally) if tally.is_worth_a_line else tally.sentence()


TASKS: dict[str, Callable[..., None]] = {
    "scan": task_scan,
    "activity": task_activity,
    "alarms": task_alarms,
    "people": task_people,
    "leavers": task_leavers,
    "ask": task_ask,
    "remediate": task_remediate,
    "checkpoint": task_checkpoint,
    "deliver": task_deliver,
    "inbox": task_inbox,
    "review": task_review,
}
