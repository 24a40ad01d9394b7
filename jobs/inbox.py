"""What bots left: clicks that were acknowledged by a process that died, or that is too busy, are decided here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from bot import deciding
from bot.app import use_cases
from bot.clicks import Ours
from bot.deciding import Decider
from bot.refusals import Refusals
from bot.slack import UNWELL, Bot, trouble
from bot.turns import Turns
from jobs.program import Program
from nhi.defer import to_the_next_tick

log = logging.getLogger(__name__)

LEFT_FOR = timedelta(seconds=30)  # to the bots; who is older than that, nobody decides just now
TURNS = 100  # in one tick


def take_up(program: Program) -> int:
    """Decide what is older than LEFT_FOR, and remove what was decided long ago; return how many were decided.

    Without Slack nothing can be decided: who pressed must be of its workspace.
    """
    deciding.tidy(program.sessions, program.clock())
    before = deciding.waiting(program.sessions, program.clock() - LEFT_FOR)
    if program.slack is None or before == 0:
        return 0
    bot = Bot(
        sessions=program.sessions,
        policy=program.policy,
        clock=program.clock,
        defer=to_the_next_tick,
        client=program.slack,
        later=_now,
        redraw=lambda ask_id: None,  # its row says that it is due: the next tick of the outbox does it
        turns=Turns(program.sessions),
    )
    decider = Decider(
        bot=bot, decides=use_cases(bot), refusals=Refusals(bot), ours=Ours(program.slack), waited=LEFT_FOR
    )
    for _ in range(TURNS):
        if not decider.turn():
            break
    decided = before - deciding.waiting(program.sessions, program.clock() - LEFT_FOR)
    if decided:
        log.info("Decided %d clicks that no bot had decided.", decided)
    return decided


def _now(function: Callable[..., object], *arguments: object) -> None:
    """Do at once what a bot does after an acknowledgement; it may be lost."""
    try:
        function(*arguments)
    except UNWELL as error:
        log.warning("after a click: Slack answers %s", trouble(error).code)
