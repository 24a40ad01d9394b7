"""What tests of rotations share, whatever the cloud is: answering, watching, and a run that is killed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from jobs.remediate import Tally
from nhi import answers, decisions
from nhi.escalation import Verdict
from nhi.tables import PersonRow, RemediationRow, RotationRow
from tests.jobs_world import World


def rotate(world: World, name: str, key_id: str) -> str:
    now, policy = world.clock(), world.program.policy()
    with world.sessions.begin() as session:
        answering = world.pressed(session, name, Verdict.ROTATE)
        credential = next(one for one in answering.identity.credentials if one.external_id == key_id)
        planned = decisions.rotate(
            session, answering, credential_id=credential.id, also_claim=True, policy=policy, now=now
        )
        assert planned.remediation_id is not None
        return planned.remediation_id


def rotation(world: World) -> RotationRow:
    (row,) = world.rows(RotationRow)
    assert isinstance(row, RotationRow)
    return row


def act(world: World) -> RemediationRow:
    (row,) = world.rows(RemediationRow, kind="rotate")
    assert isinstance(row, RemediationRow)
    return row


def pass_by(world: World, **by: float) -> Tally:
    world.clock.now += timedelta(**by)
    return world.remediate()


def newest_card(world: World) -> dict[str, Any]:
    """Return the newest rotation card that Ana sees."""
    world.deliver()
    found = [one for one in world.messages("ana") if "New key" in f"{one['blocks']}"]
    return found[-1]


def turn_off(world: World, offer_id: str, *, by: str = "ana") -> None:
    now, policy = world.clock(), world.program.policy()
    with world.sessions.begin() as session:
        who = session.scalars(select(PersonRow).where(PersonRow.email == f"{by}@example.com")).one()
        answering = answers.begin(session, offer_id, Verdict.DISABLE, slack_id=who.slack_id, policy=policy, now=now)
        credential = answering.offer.shown["facts"]["credentials"][0]["row"]
        decisions.disable(session, answering, credential_id=credential, also_claim=False, policy=policy, now=now)


class Killed(BaseException):
    """What no handler of ours may catch, as a real kill is caught by none."""


def killed(world: World, turn: int) -> bool:
    """Run once and kill it at its clock's reading of this number; return whether it came that far."""
    count, real = 0, type(world.clock).__call__

    class Deadly:
        def __call__(self) -> datetime:
            nonlocal count
            count += 1
            if count == turn + 1:
                raise Killed
            return real(world.clock)

    from jobs import rotate as job

    program = world.program
    try:
        job.run(program.sessions, program.policy(), program.providers, clock=Deadly(), tally=Tally())
    except Killed:
        return True
    return False
