"""The act: what is turned off, what is left alone, and where a run ends that died half way.

The key's state is always read from the stand-in cloud itself, never from our own rows alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from sqlalchemy import select
from werkzeug.wrappers import Response

from demo.cloud_faults import Asked, Fault, refuse
from demo.workspace import Workspace
from jobs import holds, remediate
from nhi import cards
from nhi.errors import NhiError, OutOfDate
from nhi.escalation import Verdict
from nhi.findings import FindingKind
from nhi.identity import CredentialStatus
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import AskRow, DeliveryRow, FindingRow, OwnerRow, RemediationRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws

ROOT = Path(__file__).resolve().parent.parent
UPDATE, LOOK = "iam:UpdateAccessKey", "iam:GetUser"
DONE, REFUSED, FAILED, UNDONE = (
    RemediationStatus.DONE,
    RemediationStatus.REFUSED,
    RemediationStatus.FAILED,
    RemediationStatus.UNDONE,
)


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


def planned(world: World, name: str = "ci-deploy", *used: int | None) -> tuple[str, str]:
    """Let Ana have answered Disable for a user with one idle key; return the key's and the remediation's id."""
    (key_id,) = world.add_user(name, *(used or (200,)))
    world.scan()
    world.ask()
    return key_id, world.decide(name, key_id)


def reason(world: World, remediation_id: str) -> str:
    return world.remediation(remediation_id).because or ""


def how_it_ended(world: World, remediation_id: str) -> tuple[RemediationStatus, str | None]:
    row = world.remediation(remediation_id)
    return row.status, row.because


# -- propose -----------------------------------------------------------------------------------------------------------


@on_sqlite
def test_in_propose_mode_a_disable_is_written_down_and_never_done(world: World) -> None:
    world.set_policy('[remediation]\nmode = "propose"\n')
    key_id, remediation_id = planned(world)
    tally = world.remediate()
    assert (tally.proposed, tally.done) == ([remediation_id], [])
    assert world.remediation(remediation_id).status is RemediationStatus.PROPOSED
    assert (world.status(key_id), world.switched()) == ("Active", [])


@on_sqlite
def test_what_was_proposed_is_not_done_when_policy_changes_to_reversible(world: World) -> None:
    world.set_policy('[remediation]\nmode = "propose"\n')
    key_id, remediation_id = planned(world)
    world.set_policy('[remediation]\nmode = "reversible"\n')
    world.remediate()
    assert (world.status(key_id), world.remediation(remediation_id).status) == ("Active", RemediationStatus.PROPOSED)
    newer = world.decide_unasked("ci-deploy", key_id)
    assert world.remediate().done == [newer]
    assert world.status(key_id) == "Inactive"
    assert how_it_ended(world, remediation_id) == (UNDONE, "A newer decision took its place.")


@on_sqlite
def test_what_was_planned_waits_when_policy_changes_to_propose(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.set_policy('[remediation]\nmode = "propose"\n')
    world.remediate()
    assert (world.status(key_id), world.remediation(remediation_id).status) == ("Active", RemediationStatus.PLANNED)


# -- done --------------------------------------------------------------------------------------------------------------


def test_exactly_the_key_that_was_decided_on_is_turned_off(world: World) -> None:
    idle, busy = world.add_user("deploy-eu", 200, 200)
    other = world.add_user("bystander", 300)[0]
    world.scan()
    world.ask()
    remediation_id = world.decide("deploy-eu", idle)
    tally = world.remediate()
    assert tally.done == [remediation_id]
    assert [world.status(key) for key in (idle, busy, other)] == ["Inactive", "Active", "Active"]
    assert world.switched() == [(idle, "Inactive")]
    row = world.remediation(remediation_id)
    assert (row.status, row.undo, row.credential.status) == (DONE, {"status": "active"}, CredentialStatus.INACTIVE)
    assert (row.acted_at, row.verified_at) == (world.clock(), world.clock())
    assert world.events()[-4:] == [
        "remediation.acting",
        "finding.resolved",
        "finding.resolved",
        "credential.disabled",
    ]
    off = {found.credential_id: found.resolved_because for found in world.rows(FindingRow) if found.resolved_at}
    assert off == {row.credential_id: "The credential is turned off."}


@on_sqlite
def test_the_undo_is_stored_before_the_cloud_is_asked_to_act(world: World) -> None:
    key_id, remediation_id = planned(world)
    stored: list[object] = []

    def watch(asked: Asked) -> Response:
        row = world.remediation(remediation_id)
        stored.append((row.status, row.undo))
        return refuse(asked, 500, "ServiceFailure")  # it is tried again

    world.cloud.faults.add(Fault(action=UPDATE, answer=watch, times=1))
    world.remediate()
    assert stored == [(RemediationStatus.ACTING, {"status": "active"})]
    assert world.status(key_id) == "Inactive"


@on_sqlite
def test_the_card_says_that_it_is_done_and_offers_undo(world: World) -> None:
    key_id, _ = planned(world)
    world.deliver()
    world.remediate()
    world.deliver()
    (card,) = world.messages("ana")
    assert "Undo" in f"{card['blocks']}"
    assert "'nhi:disable'" not in f"{card['blocks']}"
    assert world.status(key_id) == "Inactive"


@on_sqlite
def test_a_status_that_lags_behind_is_read_until_it_shows(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.cloud.faults.update_lag = 2
    assert world.remediate().done == [remediation_id]
    assert world.status(key_id) == "Inactive"


@on_sqlite
def test_a_status_that_never_shows_is_looked_at_again_later(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.cloud.faults.update_lag = 8
    tally = world.remediate()
    assert (tally.done, len(tally.waiting)) == ([], 1)
    assert world.remediation(remediation_id).status is RemediationStatus.ACTING
    world.clock.pass_by(minutes=11)
    world.remediate()
    world.clock.pass_by(minutes=11)
    world.remediate()
    assert (world.remediation(remediation_id).status, world.status(key_id)) == (DONE, "Inactive")


@on_sqlite
def test_a_dry_run_does_nothing_and_says_what_is_due(world: World) -> None:
    key_id, remediation_id = planned(world)
    before = world.counts()
    tally = world.remediate(dry_run=True)
    assert tally.waiting == [(remediation_id, "Due now; not done, as this is a dry run.")]
    assert (world.counts(), world.status(key_id)) == (before, "Active")
    assert world.remediation(remediation_id).claimed_until is None


# -- looked at again, and left alone -----------------------------------------------------------------------------------


def used_since(world: World, key_id: str) -> None:
    world.cloud.record_use(key_id, world.clock.pass_by(minutes=10))


def owner_changed(world: World, key_id: str) -> None:
    with world.sessions.begin() as session:
        row = world.identity("ci-deploy")
        attestation_id = session.query(RemediationRow).one().attestation_id
        session.add(
            OwnerRow(identity_id=row.id, email="bea@example.com", since=world.clock(), attestation_id=attestation_id)
        )


def already_off(world: World, key_id: str) -> None:
    world.cloud.iam.update_access_key("ci-deploy", key_id, "Inactive")


def key_deleted(world: World, key_id: str) -> None:
    world.cloud.delete_key("ci-deploy", key_id)


def user_made_again(world: World, key_id: str) -> None:
    world.cloud.delete_user("ci-deploy")
    world.add_user("ci-deploy", 1)


def denied(world: World, key_id: str) -> None:
    world.cloud.faults.deny("iam:GetAccessKeyLastUsed")


def decider_left(world: World, key_id: str) -> None:
    world.change_person("ana", deleted=True)
    world.clock.pass_by(days=2)
    world.scan()


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (used_since, "It was used on 23 November 2026 at 12:10 UTC, after the card was made."),
        (owner_changed, "Its owner changed after this was decided."),
        (already_off, "It was already turned off by somebody else."),
        (key_deleted, "It is not there any more: somebody deleted it."),
        (user_made_again, "It is not there any more: somebody deleted it."),
        (denied, "It could not be looked at before acting"),
        (decider_left, "Who decided this may not decide it any more."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@on_sqlite
def test_a_doubt_stops_the_act_and_the_card_says_why(
    world: World, happens: Callable[[World, str], None], words: str
) -> None:
    key_id, remediation_id = planned(world)
    world.deliver()
    world.clock.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    happens(world, key_id)
    tally = world.remediate()
    assert [id_ for id_, _ in tally.refused] == [remediation_id]
    row = world.remediation(remediation_id)
    assert (row.status, words in (row.because or "")) == (REFUSED, True)
    assert world.switched() == []
    assert world.events("remediation.refused") == ["remediation.refused"]
    world.clock.pass_by(days=1)
    assert world.remediate().refused == []
    world.cloud.faults.clear()
    world.deliver()
    assert words.split(".")[0] in f"{world.messages('ana')[0]['blocks']}"


@on_sqlite
def test_who_decided_beside_any_question_is_told_that_it_was_not_done(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    world.say("ci-deploy", Verdict.CLAIM, by="ana")
    remediation_id = world.decide("ci-deploy", key_id)  # from `/nhi whois`: no card shows what comes of it
    world.cloud.record_use(key_id, world.clock())
    world.remediate()
    because = world.remediation(remediation_id).because
    (told,) = [row for row in world.rows(DeliveryRow, kind="notice") if row.recipient == "UANA"]
    assert because
    assert (
        told.words["sentence"]
        == f"What you asked for about AWS user ci-deploy in account {world.cloud.account} was not done. {because}"
    )


@on_sqlite
def test_a_decider_who_is_only_an_admin_no_longer_may_not_decide(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    remediation_id = world.decide("ci-deploy", key_id, by="dora")
    world.set_policy('[people]\nadmins = ["bea@example.com"]\ndomains = ["example.com"]\n')
    world.remediate()
    assert how_it_ended(world, remediation_id) == (REFUSED, "Who decided this may not decide it any more.")
    assert world.status(key_id) == "Active"


@on_sqlite
def test_a_use_that_the_card_showed_does_not_stop_the_act(world: World) -> None:
    key_id, remediation_id = planned(world, "ci-deploy", 91)
    assert world.remediate().done == [remediation_id]
    assert world.status(key_id) == "Inactive"


@on_sqlite
def test_a_key_used_while_it_is_being_turned_off_is_turned_on_again(world: World) -> None:
    key_id, remediation_id = planned(world)

    def used_just_now(asked: Asked) -> Response:
        world.cloud.record_use(key_id, world.clock())
        return refuse(asked, 500, "ServiceFailure")  # it is tried again, and then works

    def turned_off(asked: Asked) -> None:
        world.cloud.faults.fail(UPDATE, times=2)  # it cannot be turned on yet

    world.cloud.faults.add(Fault(action=UPDATE, answer=used_just_now, times=1))
    world.cloud.faults.add(Fault(action=UPDATE, answer=turned_off, times=1))  # type: ignore[arg-type]
    world.remediate()
    assert world.status(key_id) == "Inactive"
    world.clock.pass_by(seconds=20)
    world.remediate()
    assert world.status(key_id) == "Active"
    assert how_it_ended(world, remediation_id) == (
        REFUSED,
        "It was used while it was being turned off, so it was turned back on.",
    )


@on_sqlite
def test_a_cloud_that_refuses_for_good_ends_the_act_as_failed_with_the_reason(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.cloud.faults.deny(UPDATE)
    world.remediate()
    row = world.remediation(remediation_id)
    assert (row.status, world.status(key_id)) == (FAILED, "Active")
    assert "AccessDenied: iam:UpdateAccessKey" in (row.because or "")
    assert len(world.findings()) == 3


@on_sqlite
def test_an_act_that_cannot_be_read_back_is_finished_once_it_can(world: World) -> None:
    key_id, remediation_id = planned(world)
    reads: list[int] = []

    def only_the_first(asked: Asked) -> Response:
        return refuse(asked, 403, "AccessDenied")

    def after_the_look(asked: Asked) -> Response:
        world.cloud.faults.add(Fault(action="iam:ListAccessKeys", answer=only_the_first))
        reads.append(1)
        return refuse(asked, 500, "ServiceFailure")  # it is tried again

    world.cloud.faults.add(Fault(action=UPDATE, answer=after_the_look, times=1))
    tally = world.remediate()
    assert (world.status(key_id), len(tally.waiting), reads) == ("Inactive", 1, [1])
    assert world.remediation(remediation_id).status is RemediationStatus.ACTING
    world.clock.pass_by(minutes=11)
    world.remediate()  # still not seen: it may be off, so it is not given up
    assert world.remediation(remediation_id).status is RemediationStatus.ACTING
    with world.sessions() as session:
        asked = session.scalars(select(AskRow)).one()
        assert cards.of_ask(session, asked, world.program.policy(), world.clock())["can"] == ["undo"]
    world.undo(remediation_id)  # is looked at at once
    world.remediate()
    assert world.status(key_id) == "Inactive"
    world.cloud.faults.clear()
    world.clock.pass_by(seconds=20)
    assert world.remediate().undone == [remediation_id]
    assert world.status(key_id) == "Active"


@on_sqlite
def test_an_account_that_no_source_reaches_any_more_makes_the_act_wait(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.cloud.account = "999999999999"  # what GetCallerIdentity says from now on
    world.program.settings.nhi_policy.write_text(
        world.program.settings.nhi_policy.read_text().replace("[[sources]]", "[[sources]]\nexternal_id = 'x'")
    )
    tally = world.remediate()
    world.cloud.account = world.identity("ci-deploy").account
    assert tally.waiting == [(remediation_id, "No source of policy.toml reaches this account any more.")]
    assert world.status(key_id) == "Active"


# -- the breaker -------------------------------------------------------------------------------------------------------


@on_sqlite
def test_over_policys_acts_an_hour_the_rest_waits(world: World) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\nactions_an_hour = 2\n')
    keys = {name: world.add_user(name, 200)[0] for name in ("one", "two", "three")}
    world.scan()
    world.ask()
    for name, key_id in keys.items():
        world.decide(name, key_id)
    world.cloud.requests.clear()
    tally = world.remediate()
    assert (len(tally.done), [why for _, why in tally.waiting]) == (2, ["Policy allows 2 acts an hour."])
    assert [asked.action for asked in world.cloud.requests].count("sts:GetCallerIdentity") == 1  # opened once a run
    assert sorted(world.status(key_id) for key_id in keys.values()) == ["Active", "Inactive", "Inactive"]
    world.clock.pass_by(minutes=59)
    assert world.remediate().done == []
    world.clock.pass_by(minutes=11)
    assert len(world.remediate().done) == 1


def test_two_workers_at_once_do_not_pass_the_breaker_together(world: World) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\nactions_an_hour = 1\n')
    keys = {name: world.add_user(name, 200)[0] for name in ("one", "two")}
    world.scan()
    world.ask()
    for name, key_id in keys.items():
        world.decide(name, key_id)
    tallies = at_once(world, 2)
    assert sum(len(tally.done) for tally in tallies) == 1
    assert sorted(world.status(key_id) for key_id in keys.values()) == ["Active", "Inactive"]


# -- once --------------------------------------------------------------------------------------------------------------


def at_once(world: World, workers: int) -> list[remediate.Tally]:
    tallies: list[remediate.Tally] = []
    together = threading.Barrier(workers)

    def work() -> None:
        together.wait()
        tallies.append(world.remediate())

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(tallies) == workers
    return tallies


def test_two_workers_at_once_act_once(world: World) -> None:
    key_id, remediation_id = planned(world)
    tallies = at_once(world, 3)
    assert [id_ for tally in tallies for id_ in tally.done] == [remediation_id]
    assert world.switched() == [(key_id, "Inactive")]
    assert world.events("credential.disabled", "remediation.acting") == ["remediation.acting", "credential.disabled"]


@on_sqlite
def test_a_remediation_that_is_done_is_not_done_again(world: World) -> None:
    planned(world)
    world.remediate()
    world.clock.pass_by(days=1)
    assert world.remediate().done == []
    assert len(world.switched()) == 1


# -- undo --------------------------------------------------------------------------------------------------------------


def test_undo_turns_exactly_that_key_on_again(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.remediate()
    world.undo(remediation_id)
    tally = world.remediate()
    assert (tally.undone, world.status(key_id)) == ([remediation_id], "Active")
    row = world.remediation(remediation_id)
    assert (row.status, row.undo_by, row.undone_at) == (UNDONE, "ana@example.com", world.clock())
    assert world.switched() == [(key_id, "Inactive"), (key_id, "Active")]
    assert world.events()[-1] == "credential.enabled"


@on_sqlite
def test_an_undo_does_not_wait_for_acts_that_only_wait_themselves(world: World) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\nactions_an_hour = 1\n')
    keys = {name: world.add_user(name, 200)[0] for name in ("done", "first", "second", "third")}
    world.scan()
    world.ask()
    done = world.decide("done", keys["done"])
    assert world.remediate().done == [done]
    waiting = {world.decide(name, keys[name]) for name in ("first", "second", "third")}
    world.clock.pass_by(seconds=1)
    looked_at = len(world.cloud.requests)

    def press(asked: Asked) -> None:
        world.undo(done)

    world.cloud.faults.add(Fault(action=LOOK, answer=press, times=1))  # type: ignore[arg-type]
    tally = world.remediate()
    assert (tally.undone, {act for act, _ in tally.waiting}) == ([done], waiting)
    users = [asked.parameters["UserName"] for asked in [*world.cloud.requests][looked_at:] if asked.action == LOOK]
    assert [user == "done" for user in dict.fromkeys(users)] == [False, True, False, False]


@on_sqlite
def test_an_older_act_is_not_undone_under_a_newer_one(world: World) -> None:
    key_id, older = planned(world)
    world.remediate()
    world.cloud.iam.update_access_key("ci-deploy", key_id, "Active")  # by hand
    world.clock.pass_by(days=1)
    world.scan()
    newer = world.decide_unasked("ci-deploy", key_id)
    assert newer is not None
    assert world.remediate().done == [newer]
    with pytest.raises(OutOfDate, match=f"undo that instead.*{newer[:8]}"):
        world.undo(older)
    world.undo(newer)
    world.remediate()
    assert world.status(key_id) == "Active"


@on_sqlite
def test_undo_works_in_propose_mode_and_over_the_breaker_too(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.remediate()
    world.set_policy('[remediation]\nmode = "propose"\nactions_an_hour = 1\n')
    world.undo(remediation_id)
    world.remediate()
    assert world.status(key_id) == "Active"


@on_sqlite
def test_undo_before_the_act_calls_it_off(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.undo(remediation_id)
    world.remediate()
    assert (world.remediation(remediation_id).status, world.status(key_id)) == (UNDONE, "Active")
    assert world.switched() == []


@on_sqlite
def test_undo_while_it_is_looked_at_calls_it_off(world: World) -> None:
    key_id, remediation_id = planned(world)

    def undone_meanwhile(asked: Asked) -> Response:
        world.undo(remediation_id)
        return refuse(asked, 500, "ServiceFailure")  # it is tried again

    world.cloud.faults.add(Fault(action="iam:GetAccessKeyLastUsed", answer=undone_meanwhile, times=1))
    world.remediate()
    assert (world.remediation(remediation_id).status, world.switched()) == (UNDONE, [])
    assert world.status(key_id) == "Active"


@on_sqlite
def test_undo_while_it_is_being_done_takes_it_back_right_after(world: World) -> None:
    key_id, remediation_id = planned(world)

    def undone_meanwhile(asked: Asked) -> Response:
        assert world.remediation(remediation_id).status is RemediationStatus.ACTING
        world.undo(remediation_id)
        return refuse(asked, 500, "ServiceFailure")  # the call is made again, and is taken then

    world.cloud.faults.add(Fault(action=UPDATE, answer=undone_meanwhile, times=1))
    tally = world.remediate()
    assert (tally.done, tally.undone) == ([remediation_id], [remediation_id])
    assert (world.status(key_id), world.remediation(remediation_id).undo_by) == ("Active", "ana@example.com")


@on_sqlite
def test_what_began_is_called_off_where_it_had_no_effect_yet(world: World) -> None:
    key_id, remediation_id = planned(world)
    run_until_killed(world, UPDATE, acts=False)
    world.undo(remediation_id)
    world.clock.pass_by(minutes=6)
    world.remediate()
    assert how_it_ended(world, remediation_id) == (REFUSED, "It was called off before anything was changed.")
    assert world.status(key_id) == "Active"


@on_sqlite
@pytest.mark.parametrize(("acts", "ends"), [(True, DONE), (False, REFUSED)])
def test_a_policy_that_turns_to_propose_in_the_middle_of_an_act_leaves_it_ended_either_way(
    world: World, acts: bool, ends: RemediationStatus
) -> None:
    key_id, remediation_id = planned(world)
    run_until_killed(world, UPDATE, acts=acts)
    world.set_policy('[remediation]\nmode = "propose"\n')
    world.clock.pass_by(minutes=6)
    world.remediate()
    assert world.remediation(remediation_id).status is ends
    assert world.status(key_id) == ("Inactive" if acts else "Active")


@on_sqlite
def test_undo_of_a_deleted_key_fails_with_a_sentence(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.remediate()
    world.cloud.delete_key("ci-deploy", key_id)
    world.undo(remediation_id)
    world.remediate()
    assert how_it_ended(world, remediation_id) == (FAILED, "It is not there any more: somebody deleted it.")
    with pytest.raises(OutOfDate, match="nothing to undo"):
        world.undo(remediation_id)


@on_sqlite
def test_undo_that_cannot_look_waits_and_is_done_once_it_can(world: World) -> None:
    key_id, remediation_id = planned(world)
    world.remediate()
    world.undo(remediation_id)
    world.cloud.faults.deny("iam:ListAccessKeys")
    assert "AccessDenied" in world.remediate().waiting[0][1]
    world.cloud.faults.clear()
    world.clock.pass_by(minutes=11)
    assert (world.remediate().undone, world.status(key_id)) == ([remediation_id], "Active")


@on_sqlite
def test_an_undone_key_that_is_still_idle_is_found_again_by_the_next_scan(world: World) -> None:
    _, remediation_id = planned(world)
    world.remediate()
    world.scan()
    assert world.findings("ci-deploy") == [("ci-deploy", FindingKind.UNOWNED)]
    world.undo(remediation_id)
    world.remediate()
    world.scan()
    assert ("ci-deploy", FindingKind.UNUSED) in world.findings("ci-deploy")


# -- killed half way ---------------------------------------------------------------------------------------------------

WORKER = """
from datetime import datetime
from jobs import work
from jobs.program import open_program
import sys
program = open_program(clock=lambda: datetime.fromisoformat(sys.argv[1]))
work.remediate_all(program)
"""


def run_until_killed(world: World, action: str, *, acts: bool, nth: int = 1) -> None:
    """Start a worker in a process of its own, and SIGKILL it when its nth call of this kind has come in.

    `acts`: whether the cloud does what was asked before the worker dies.
    """
    reached, dead = threading.Event(), threading.Event()
    left = [nth]

    def answer(asked: Asked) -> Response:
        if acts and asked.action == UPDATE:
            named = asked.parameters
            world.cloud.iam.update_access_key(named["UserName"], named["AccessKeyId"], named["Status"])
        reached.set()
        dead.wait(30)
        return refuse(asked, 500, "ServiceFailure")

    def count(asked: Asked) -> bool:
        left[0] -= asked.action == action
        return left[0] == 0 and asked.action == action

    class OnTheNth(Fault):
        def takes(self, asked: Asked) -> bool:
            return count(asked)

    world.cloud.faults.add(OnTheNth(action=action, answer=answer))
    environment = os.environ | {
        "DATABASE_URL": world.program.settings.database_url,
        "NHI_POLICY": str(world.program.settings.nhi_policy),
        "PYTHONPATH": str(ROOT),
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, world.clock().isoformat()], env=environment, cwd=tempfile.gettempdir()
    )
    try:
        assert reached.wait(60)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait(30)
        dead.set()
        world.cloud.faults.clear()


@pytest.mark.parametrize(
    ("action", "nth", "acts"),
    [
        ("iam:GetAccessKeyLastUsed", 1, False),  # claimed, looking
        (UPDATE, 1, False),  # the undo is stored, nothing is done
        (UPDATE, 1, True),  # done, the answer never came
        ("iam:ListAccessKeys", 2, True),  # answered, being read back
        ("iam:GetAccessKeyLastUsed", 2, True),  # read back, looked at once more, not yet written
    ],
    ids=["looking", "before the act", "after the act", "reading back", "before writing"],
)
@on_sqlite
def test_a_worker_killed_half_way_is_followed_by_one_that_ends_right(
    world: World, action: str, nth: int, acts: bool
) -> None:
    key_id, remediation_id = planned(world)
    run_until_killed(world, action, nth=nth, acts=acts)
    assert world.remediate().done == []  # the dead worker's lease holds
    world.clock.pass_by(minutes=6)
    world.remediate()
    row = world.remediation(remediation_id)
    assert (row.status, row.undo, world.status(key_id)) == (DONE, {"status": "active"}, "Inactive")
    assert world.events("credential.disabled", "remediation.refused") == ["credential.disabled"]
    world.undo(remediation_id)
    world.remediate()
    assert world.status(key_id) == "Active"


@on_sqlite
def test_an_undo_waits_half_a_minute_for_a_worker_that_died_with_the_key_turned_off_and_no_longer(world: World) -> None:
    key_id, remediation_id = planned(world)
    run_until_killed(world, UPDATE, acts=True)
    world.undo(remediation_id)
    world.clock.pass_by(seconds=29)
    assert world.remediate().undone == []
    world.clock.pass_by(seconds=2)
    assert world.remediate().undone == [remediation_id]
    assert (world.remediation(remediation_id).status, world.status(key_id)) == (UNDONE, "Active")


def test_a_worker_keeps_its_act_for_as_long_as_a_call_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "RENEWED_EVERY", timedelta(milliseconds=5))
    key_id, remediation_id = planned(world)
    others: list[remediate.Tally] = []

    def take_long(asked: Asked) -> Response:
        for _ in range(3):
            held = world.remediation(remediation_id).claimed_until
            world.clock.pass_by(seconds=25)
            while world.remediation(remediation_id).claimed_until == held:
                pass
            others.append(world.remediate())
        return refuse(asked, 500, "ServiceFailure")  # the call is made again, and is taken then

    world.cloud.faults.add(Fault(action=UPDATE, answer=take_long, times=1))
    assert world.remediate().done == [remediation_id]
    assert [tally.done + [one for one, _ in tally.waiting] for tally in others] == [[], [], []]
    assert world.switched() == [(key_id, "Inactive")] * 2


@on_sqlite
def test_a_worker_that_slept_while_another_did_and_undid_its_act_leaves_the_key_on_however_the_cloud_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds.Hold, "_renew", lambda _: True)  # asleep
    key_id, remediation_id = planned(world)

    def sleep(asked: Asked) -> Response:
        world.clock.pass_by(seconds=31)
        world.remediate()
        world.undo(remediation_id)
        world.remediate()
        assert (world.status(key_id), world.remediation(remediation_id).status) == ("Active", UNDONE)
        world.cloud.faults.add(Fault(action=UPDATE, answer=take_and_fail, times=2))
        return refuse(asked, 500, "ServiceFailure")  # the call is made again

    def take_and_fail(asked: Asked) -> Response:
        if asked.parameters["Status"] == "Inactive":  # taken, though it is not told
            world.cloud.iam.update_access_key("ci-deploy", key_id, "Inactive")
            world.cloud.faults.fail(UPDATE, times=2)
        return refuse(asked, 503, "ServiceUnavailable")

    world.cloud.faults.add(Fault(action=UPDATE, answer=sleep, times=1))
    assert world.remediate().done == []
    assert (world.status(key_id), world.remediation(remediation_id).status) == ("Inactive", RemediationStatus.UNDOING)
    world.clock.pass_by(seconds=20)
    world.remediate()
    assert (world.status(key_id), world.remediation(remediation_id).status) == ("Active", UNDONE)
    assert "A worker that had stood still turned it off after that" in reason(world, remediation_id)


@on_sqlite
def test_a_key_that_was_used_after_a_worker_died_with_it_turned_off_is_turned_on_again(world: World) -> None:
    key_id, remediation_id = planned(world)
    run_until_killed(world, UPDATE, acts=True)
    world.cloud.record_use(key_id, world.clock())
    world.clock.pass_by(minutes=6)
    world.remediate()
    assert (world.remediation(remediation_id).status, world.status(key_id)) == (REFUSED, "Active")


@on_sqlite
def test_a_key_that_was_used_after_a_worker_died_before_the_act_stays_on(world: World) -> None:
    key_id, remediation_id = planned(world)
    run_until_killed(world, UPDATE, acts=False)
    world.cloud.record_use(key_id, world.clock())
    world.clock.pass_by(minutes=6)
    world.remediate()
    assert (world.remediation(remediation_id).status, world.status(key_id)) == (REFUSED, "Active")


@on_sqlite
def test_after_a_death_the_breaker_does_not_count_the_act_itself(world: World) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\nactions_an_hour = 1\n')
    _, remediation_id = planned(world)
    run_until_killed(world, UPDATE, acts=False)
    world.clock.pass_by(minutes=6)
    assert world.remediate().done == [remediation_id]


# -- whatever happens --------------------------------------------------------------------------------------------------

USERS = ("one", "two")
STEPS = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 3)),
    st.tuples(st.sampled_from(("decide", "undo", "delete", "switch off")), st.integers(0, 3)),
    st.tuples(st.sampled_from(("scan", "ask", "remediate", "deny", "allow", "wait")), st.just(0)),
)


@on_sqlite
@how(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
def test_no_key_used_after_its_card_is_off_when_a_run_ends_and_no_other_key_ever_changes(
    world: World, steps: list[tuple[str, int]]
) -> None:
    played = Played(world)
    for step, number in [("scan", 0), ("ask", 0), ("decide", 0), *steps, ("allow", 0), ("wait", 0), ("remediate", 0)]:
        played.play(step, number)


class Played:
    """A sequence of events in a world of fresh users, and what must hold after every one of them."""

    count = 0

    def __init__(self, world: World) -> None:
        Played.count += 1
        self.world = world
        world.clock.now = max(world.clock(), datetime(2026, 11, 23, 12, tzinfo=UTC)) + timedelta(days=7)
        world.cloud.faults.clear()
        world.change(RemediationRow, {"status": UNDONE, "claimed_until": None})
        self.names = [f"{name}-{Played.count}" for name in USERS]
        self.keys = [(name, key) for name in self.names for key in world.add_user(name, 200, None)]
        self.decided: dict[str, datetime] = {}  # by key: when its card was made
        self.used: dict[str, datetime] = {}
        self.off_by_others: set[str] = set()
        self.gone: set[str] = set()

    def play(self, step: str, number: int) -> None:
        self.world.clock.pass_by(seconds=30)
        of_a_key: dict[str, Callable[[str, str], None]] = {
            "use": self.use,
            "switch off": self.switch_off,
            "delete": self.delete,
            "decide": self.decide,
            "undo": self.undo,
        }
        of_the_world: dict[str, Callable[[], object]] = {
            "deny": lambda: self.world.cloud.faults.deny("iam:GetAccessKeyLastUsed"),
            "allow": self.world.cloud.faults.clear,
            "wait": lambda: self.world.clock.pass_by(minutes=61),
            "scan": self.world.scan,
            "ask": self.world.ask,
            "remediate": self.world.remediate,
        }
        if step in of_the_world:
            of_the_world[step]()
        elif self.keys[number][1] not in self.gone:
            of_a_key[step](*self.keys[number])
        if step == "remediate":
            self.check()

    def use(self, name: str, key: str) -> None:
        if self.world.status(key) == "Active":
            self.used[key] = self.world.clock()
            self.world.cloud.record_use(key, self.world.clock())

    def switch_off(self, name: str, key: str) -> None:
        self.off_by_others.add(key)
        self.world.cloud.iam.update_access_key(name, key, "Inactive")

    def delete(self, name: str, key: str) -> None:
        self.gone.add(key)
        self.world.cloud.delete_key(name, key)

    def undo(self, name: str, key: str) -> None:
        for row in self.world.rows(RemediationRow):
            if row.credential.external_id == key:
                with suppress(NhiError):
                    self.world.undo(row.id)

    def decide(self, name: str, key: str) -> None:
        world = self.world
        with world.sessions() as session:
            if world.open_ask(session, name) is None:
                return
        try:
            world.decide(name, key)
        except NhiError:
            return
        self.decided[key] = world.clock()

    def check(self) -> None:
        touched = {key for key, _ in self.world.switched()}
        for name, key in self.keys:
            assert key in self.decided or key not in touched, f"{name}: a key that nobody decided on was switched"
            if key in self.gone or key in self.off_by_others:
                continue
            is_off = self.world.status(key) == "Inactive"
            assert not (is_off and key not in self.decided)
            used = self.used.get(key)
            if used and key in self.decided and used > self.decided[key]:
                assert not is_off, f"{name}: {key} was used at {used}, after its card, and is off"
