"""The directory: who somebody in Slack is, looked up seldom and never forgotten by accident."""

from __future__ import annotations

import pytest
from slack_sdk import WebClient

from bot.directory import refresh
from demo.workspace import Fault, Workspace, drop_before, rate_limited, refuse, server_error
from nhi.authority import is_able
from nhi.database import Sessions, reading
from nhi.identity import Aspect
from nhi.tables import PersonRow
from tests.conftest import Clock, on_sqlite
from tests.factories import make_person


def person(sessions: Sessions, slack_id: str) -> PersonRow:
    with sessions() as session:
        return session.get_one(PersonRow, slack_id)


def lookups(workspace: Workspace) -> int:
    return len(workspace.calls("users.lookupByEmail")) + len(workspace.calls("users.info"))


def test_people_are_found_by_address_in_any_case_and_by_slack_id(
    sessions: Sessions, client: WebClient, clock: Clock
) -> None:
    assert refresh(sessions, client, ["Ana@Example.com", "UCEM"], clock()) == ()
    ana, cem = person(sessions, "UANA"), person(sessions, "UCEM")
    assert (ana.email, ana.name, ana.tz) == ("ana@example.com", "Ana Diaz", "Europe/Berlin")
    assert (cem.email, is_able(cem)) == ("cem@example.com", True)


@pytest.mark.parametrize("name", ["UGUS", "UOTTO", "UROBO", "USAM"])
@on_sqlite
def test_guests_bots_strangers_and_the_deactivated_are_known_as_such(
    sessions: Sessions, client: WebClient, clock: Clock, name: str
) -> None:
    refresh(sessions, client, [name], clock())
    assert not is_able(person(sessions, name))


@on_sqlite
def test_who_is_known_is_looked_up_again_after_a_day_and_not_before(
    sessions: Sessions, client: WebClient, workspace: Workspace, clock: Clock
) -> None:
    refresh(sessions, client, ["ana@example.com"], clock())
    clock.pass_by(hours=23, minutes=59)
    refresh(sessions, client, ["ana@example.com"], clock())
    assert lookups(workspace) == 1
    clock.pass_by(minutes=1)
    refresh(sessions, client, ["ana@example.com"], clock())
    assert lookups(workspace) == 2


def test_who_is_not_found_is_looked_up_again_after_an_hour_and_not_before(
    sessions: Sessions, client: WebClient, workspace: Workspace, clock: Clock
) -> None:
    assert refresh(sessions, client, ["nobody@example.com"], clock()) == ()
    clock.pass_by(minutes=59)
    refresh(sessions, client, ["nobody@example.com"], clock())
    assert lookups(workspace) == 1
    clock.pass_by(minutes=1)
    refresh(sessions, client, ["nobody@example.com"], clock())
    assert lookups(workspace) == 2


@on_sqlite
def test_whose_address_is_not_found_any_more_is_inactive(sessions: Sessions, client: WebClient, clock: Clock) -> None:
    with sessions.begin() as session:
        make_person(session, "otto")
        make_person(session, "gone")
    clock.pass_by(days=2)
    refresh(sessions, client, ["otto@example.com", "gone@example.com"], clock())
    assert not person(sessions, "UOTTO").active
    assert not person(sessions, "UGONE").active


@on_sqlite
def test_somebody_with_a_new_address_stays_the_same_person(sessions: Sessions, client: WebClient, clock: Clock) -> None:
    with sessions.begin() as session:
        make_person(session, "ana", email="ana.before@example.com")
    clock.pass_by(days=2)
    refresh(sessions, client, ["ana.before@example.com"], clock())
    ana = person(sessions, "UANA")
    assert (ana.email, ana.active) == ("ana@example.com", True)


@pytest.mark.parametrize(
    "fault",
    [rate_limited(30), server_error(), drop_before(), refuse("missing_scope")],
    ids=["429", "500", "drop", "scope"],
)
@on_sqlite
def test_where_slack_cannot_tell_there_is_a_gap_and_people_stay_as_they_are_known(
    sessions: Sessions, client: WebClient, workspace: Workspace, clock: Clock, fault: Fault
) -> None:
    with sessions.begin() as session:
        make_person(session, "bea")
    clock.pass_by(days=2)
    workspace.inject("users.lookupByEmail", fault)
    gaps = refresh(sessions, client, ["bea@example.com", "cem@example.com"], clock())
    assert [gap.scope for gap in gaps] == ["slack/users"]
    assert gaps[0].hides == frozenset({Aspect.OWNER})
    assert person(sessions, "UBEA").active
    assert lookups(workspace) == 1, "one refusal is enough"
    assert len(refresh(sessions, client, ["bea@example.com"], clock())) == 1, "and all workers wait"
    assert lookups(workspace) == 1
    clock.pass_by(minutes=1)
    assert refresh(sessions, client, ["bea@example.com"], clock()) == ()


@on_sqlite
def test_what_was_found_before_a_limit_is_kept(
    sessions: Sessions, client: WebClient, workspace: Workspace, clock: Clock
) -> None:
    refresh(sessions, client, ["ana@example.com"], clock())
    workspace.inject("users.info", rate_limited(30))
    refresh(sessions, client, ["bea@example.com", "UCEM", "dora@example.com"], clock())
    with reading(sessions) as session:
        known = {row.slack_id for row in session.query(PersonRow)}
    assert known == {"UANA", "UBEA"}


@pytest.mark.parametrize("name", ["", "team platform", "@ana", "a@b@c d", "C024BE91L", "x" * 400 + "@example.com"])
@on_sqlite
def test_what_is_no_address_and_no_id_is_passed_over(
    sessions: Sessions, client: WebClient, workspace: Workspace, clock: Clock, name: str
) -> None:
    assert refresh(sessions, client, [name], clock()) == ()
    assert lookups(workspace) == 0
