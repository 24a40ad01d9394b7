"""The scream test end to end: off, listened for, on again by itself, by whichever worker comes by.

What the account holds is always read from the stand-in cloud itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from werkzeug.wrappers import Response

from demo.cloud_faults import Asked, Fault, refuse
from demo.workspace import Workspace
from jobs import holds
from jobs.doctor import _acts
from nhi.findings import FindingKind
from nhi.identity import CredentialStatus
from nhi.providers.aws.denials import SCREAM
from nhi.remediation import RemediationStatus, State
from nhi.screaming import Outcome
from nhi.settings import Settings
from nhi.tables import DeliveryRow, EvidenceRow, ScreamStepRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws
from tests.test_jobs_remediate import run_until_killed

POLICY = '[remediation]\nmode = "reversible"\n[remediation.scream_test]\nwhen = "always"\n'
TESTING, PLANNED, REFUSED = RemediationStatus.TESTING, RemediationStatus.PLANNED, RemediationStatus.REFUSED
DENIAL = "nhi-scream-test"


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday; Ana works in Madrid, until 16:00 UTC


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        opened.set_policy(POLICY)
        yield opened


def begun(world: World, *used: int | None) -> tuple[str, str]:
    """Let Ana have decided on a user's first key, and the first step have begun; return the key's and the act's id."""
    key_id, *_ = world.add_user("ci-deploy", *(used or (200,)))
    world.scan()
    world.ask()
    remediation_id = world.decide("ci-deploy", key_id)
    assert world.remediate().testing == [remediation_id]
    return key_id, remediation_id


def denied(world: World, user: str = "ci-deploy") -> bool:
    return DENIAL in world.cloud.inline_policies(user=user)


def tick(world: World, **later: float) -> None:
    world.clock.pass_by(**later)
    world.remediate()


def steps(world: World, remediation_id: str) -> list[ScreamStepRow]:
    return sorted(world.rows(ScreamStepRow, remediation_id=remediation_id), key=lambda step: step.number)


def status(world: World, remediation_id: str) -> RemediationStatus:
    return world.remediation(remediation_id).status


# -- silence -----------------------------------------------------------------------------------------------------------


def test_a_silent_ladder_is_climbed_step_by_step_and_ends_with_the_key_off_for_good(world: World) -> None:
    key_id, act = begun(world)
    assert (denied(world), world.status(key_id)) == (True, "Active")  # so that a call is denied, and logged
    tick(world, minutes=15)
    assert (denied(world), status(world, act)) == (False, PLANNED)
    assert "Next it is off for 1 hour, from Monday 23 November, 12:30 UTC" in (world.remediation(act).because or "")
    tick(world, minutes=15)
    assert (denied(world), status(world, act)) == (True, TESTING)
    tick(world, hours=1)
    assert not denied(world)
    tick(world, minutes=15)
    assert denied(world)
    tick(world, days=1)
    assert not denied(world)
    tick(world, minutes=15)
    assert (denied(world), world.status(key_id)) == (False, "Inactive")
    row = world.remediation(act)
    assert (row.status, row.undo and row.undo["status"]) == (RemediationStatus.DONE, "active")
    assert [step.outcome for step in steps(world, act)] == [Outcome.SILENT] * 3
    assert ("ci-deploy", FindingKind.UNUSED) not in world.findings("ci-deploy")
    world.undo(act)
    world.remediate()
    assert world.status(key_id) == "Active"


@on_sqlite
def test_until_when_it_is_off_is_written_before_the_cloud_is_asked(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    written: list[timedelta] = []

    def answer(asked: Asked) -> Response:
        written.extend(step.back_on_at - step.off_at for step in steps(world, act))
        return refuse(asked, 500, "ServiceFailure")

    world.cloud.faults.add(Fault(action="iam:PutUserPolicy", answer=answer, times=1))
    world.remediate()
    assert written == [timedelta(minutes=15)]


@on_sqlite
def test_a_step_begins_in_working_hours_of_who_decided_and_the_card_says_when(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    world.clock.pass_by(hours=6)  # 18:00 UTC: nobody is there to hear it
    world.remediate()
    assert (denied(world), status(world, act)) == (False, PLANNED)
    assert "Next it is off for 15 minutes, from Tuesday 24 November" in (world.remediation(act).because or "")
    world.clock.now = world.remediation(act).due_at
    world.remediate()
    assert denied(world)


# -- screams -----------------------------------------------------------------------------------------------------------


def test_the_first_denied_call_turns_it_on_again_and_ends_the_test(world: World) -> None:
    key_id, act = begun(world)
    world.clock.pass_by(minutes=2)
    world.cloud.add_call(
        "ListBuckets", at=world.clock(), key_id=key_id, user="ci-deploy", address="203.0.113.9", error="AccessDenied"
    )
    tick(world, minutes=1)
    assert (denied(world), world.status(key_id), status(world, act)) == (False, "Active", REFUSED)
    because = world.remediation(act).because or ""
    assert "(s3:ListBuckets from 203.0.113.9, 23 November at 12:02 UTC)" in because
    assert because.endswith("so it is on again and stays on.")
    (step,) = steps(world, act)
    assert (step.outcome, step.heard and step.heard["from"]) == (Outcome.HEARD, "203.0.113.9")
    assert world.events("scream_test.off", "scream_test.ended", "scream_test.heard") == [
        "scream_test.off",
        "scream_test.ended",
        "scream_test.heard",
    ]
    notices = [row.words["sentence"] for row in world.rows(DeliveryRow, kind="notice")]
    assert len([words for words in notices if "Something called with it" in words]) == 1
    tick(world, days=3)
    assert not denied(world)  # it ended there


@on_sqlite
def test_a_call_that_shows_only_after_the_step_ended_stops_the_next_one(world: World) -> None:
    key_id, act = begun(world)
    tick(world, minutes=15)
    assert status(world, act) is PLANNED
    at = world.clock() - timedelta(minutes=1)  # in the step's last minute; CloudTrail tells of it later
    world.cloud.add_call("ListBuckets", at=at, key_id=key_id, user="ci-deploy", error="AccessDenied")
    tick(world, minutes=15)
    assert (denied(world), status(world, act)) == (False, REFUSED)
    assert [step.outcome for step in steps(world, act)] == [Outcome.HEARD]


@on_sqlite
def test_whose_job_screams_is_evidence_of_the_owner(world: World) -> None:
    key = world.cloud.add_role("etl", created_at=world.clock() - timedelta(days=400), tags={"owner": "ana@example.com"})
    world.scan()
    world.ask()
    act = world.decide("etl", key)
    # An unused role of nobody's second person: quarantined, and heard by who assumes it.
    world.remediate()
    assert "nhi-quarantine" in world.cloud.inline_policies(role="etl")
    world.clock.pass_by(minutes=3)
    world.cloud.add_call("AssumeRole", at=world.clock(), source="sts.amazonaws.com", role="etl", by="bea@example.com")
    tick(world, minutes=1)
    assert world.cloud.inline_policies(role="etl") == {}
    assert status(world, act) is REFUSED
    (fact,) = world.rows(EvidenceRow, source="scream")
    assert (fact.points_to, fact.identity_id) == ("bea@example.com", world.identity("etl").id)


@on_sqlite
def test_who_called_is_not_forgotten_where_the_cloud_does_not_turn_it_on_at_once(world: World) -> None:
    key_id, act = begun(world)
    world.clock.pass_by(minutes=2)
    world.cloud.add_call(
        "ListBuckets", at=world.clock(), key_id=key_id, user="ci-deploy", address="203.0.113.9", error="AccessDenied"
    )
    world.cloud.faults.fail("iam:DeleteUserPolicy", times=2)
    tick(world, minutes=1)
    assert (denied(world), status(world, act)) == (True, TESTING)
    tick(world, seconds=20)
    assert (denied(world), status(world, act)) == (False, REFUSED)
    assert "(s3:ListBuckets from 203.0.113.9, 23 November at 12:02 UTC)" in (world.remediation(act).because or "")
    assert [step.heard and step.heard["from"] for step in steps(world, act)] == ["203.0.113.9"]


@on_sqlite
def test_who_presses_undo_during_a_step_gets_it_back_at_once_and_is_evidence(world: World) -> None:
    _, act = begun(world)
    world.undo(act)
    world.remediate()
    assert (denied(world), status(world, act)) == (False, RemediationStatus.UNDONE)
    assert [step.outcome for step in steps(world, act)] == [Outcome.UNDONE]
    assert [fact.points_to for fact in world.rows(EvidenceRow, source="scream")] == ["ana@example.com"]


@on_sqlite
def test_a_key_beside_another_active_one_is_tested_by_its_status_and_only_people_can_scream(world: World) -> None:
    key_id, act = begun(world, 200, 1)
    assert (denied(world), world.status(key_id)) == (False, "Inactive")
    (step,) = steps(world, act)
    assert not step.audible
    assert "leave no trace in CloudTrail" in step.coverage
    # A scan in between sees it off; and the user's other key is not tested meanwhile: its denial would end this test.
    world.scan()
    other = next(key for key in world.cloud.iam.access_keys if key != key_id)
    second = world.decide_unasked("ci-deploy", other)
    assert second is not None
    assert world.remediate().waiting == [(second, "Another act is under way in this account; one at a time.")]
    tick(world, minutes=15)
    assert (world.status(key_id), status(world, act)) == ("Active", PLANNED)
    assert world.remediation(act).credential.status is CredentialStatus.ACTIVE


@on_sqlite
@pytest.mark.parametrize("hidden", [False, True])
def test_a_key_beside_an_ssh_key_or_where_nobody_can_tell_is_tested_by_its_status(world: World, hidden: bool) -> None:
    world.cloud.add_user("ci-deploy", created_at=world.clock() - timedelta(days=300), tags={"owner": "ana@example.com"})
    key_id = world.cloud.add_access_key("ci-deploy", created_at=world.clock() - timedelta(days=200))
    if hidden:
        world.cloud.faults.deny("iam:ListSSHPublicKeys")
    else:
        rsa = generate_private_key(65537, 2048).public_key()
        key = rsa.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        world.cloud.iam.upload_ssh_public_key("ci-deploy", key)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    assert world.remediate().testing == [act]
    assert (denied(world), world.status(key_id)) == (False, "Inactive")


@on_sqlite
def test_a_key_made_during_a_step_ends_it_as_the_denial_would_reach_it(world: World) -> None:
    _, act = begun(world)
    world.cloud.add_access_key("ci-deploy", created_at=world.clock())
    tick(world, minutes=1)
    assert (denied(world), status(world, act)) == (False, REFUSED)
    assert "another active access key" in (world.remediation(act).because or "")


@on_sqlite
@pytest.mark.parametrize("heard", [False, True], ids=["seen before", "heard meanwhile"])
def test_a_key_that_somebody_else_turns_out_to_have_stays_off_in_the_middle_of_its_test(
    world: World, heard: bool
) -> None:
    key_id, act = begun(world)
    world.clock.pass_by(minutes=2)

    def say_it(_: object = None) -> None:
        assert world.decide_unasked("ci-deploy", key_id, not_us=True) == act

    world.cloud.add_call("ListBuckets", at=world.clock(), key_id=key_id, user="ci-deploy", error="AccessDenied")
    if heard:
        world.cloud.faults.add(Fault(action="iam:DeleteUserPolicy", answer=say_it, times=1))  # type: ignore[arg-type]
        world.remediate()
    else:
        say_it()
    world.remediate()
    assert (world.status(key_id), denied(world), status(world, act)) == ("Inactive", False, RemediationStatus.DONE)
    assert [step.outcome for step in steps(world, act)] == [Outcome.CUT_SHORT]
    tick(world, days=3)
    world.undo(act)
    world.remediate()
    assert (world.status(key_id), status(world, act)) == ("Active", RemediationStatus.UNDONE)


@on_sqlite
def test_a_key_that_somebody_else_turns_out_to_have_does_not_wait_for_a_test_that_was_planned(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    world.clock.pass_by(hours=6)  # in the evening it waits for the morning
    world.remediate()
    world.cloud.record_use(key_id, world.clock())
    newer = world.decide_unasked("ci-deploy", key_id, not_us=True)
    world.remediate()
    assert (world.status(key_id), status(world, act)) == ("Inactive", RemediationStatus.UNDONE)
    assert newer is not None
    assert status(world, newer) is RemediationStatus.DONE


# -- whatever happens --------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_worker_that_dies_turning_it_off_leaves_what_any_other_brings_back(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    run_until_killed(world, "iam:PutUserPolicy", acts=False)
    # The cloud did what it was asked, and the answer never came.
    world.cloud.iam.put_user_policy("ci-deploy", DENIAL, json.dumps(SCREAM.document()))
    (step,) = steps(world, act)
    assert (step.back_on_at, step.back_at) == (world.clock() + timedelta(minutes=15), None)
    tick(world, minutes=6)  # the dead worker's lease is over: another finds it off, and listens
    assert (denied(world), status(world, act)) == (True, TESTING)
    tick(world, minutes=9)
    assert (denied(world), status(world, act)) == (False, PLANNED)


@on_sqlite
def test_a_worker_that_slept_through_a_whole_step_leaves_no_denial_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds.Hold, "_renew", lambda _: True)  # asleep
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)

    def sleep(asked: Asked) -> Response:
        tick(world, seconds=31)
        assert (denied(world), status(world, act)) == (True, TESTING)
        tick(world, minutes=15)
        assert (denied(world), status(world, act)) == (False, PLANNED)
        return refuse(asked, 500, "ServiceFailure")  # the call is made again, and is taken then

    world.cloud.faults.add(Fault(action="iam:PutUserPolicy", answer=sleep, times=1))
    world.remediate()
    assert (denied(world), status(world, act)) == (False, RemediationStatus.UNDONE)


@on_sqlite
def test_what_broke_off_right_before_closing_time_is_ended_at_once_and_undone_at_once(world: World) -> None:
    world.set_policy(POLICY + 'ladder = ["15m"]\n')
    key_id, act = begun(world)
    tick(world, minutes=15)
    world.clock.now = datetime(2026, 11, 27, 15, 55, tzinfo=UTC)  # a Friday, five minutes before Ana leaves

    def take_and_fail(asked: Asked) -> Response:
        world.cloud.iam.update_access_key("ci-deploy", key_id, "Inactive")
        return refuse(asked, 500, "ServiceFailure")

    world.cloud.faults.add(Fault(action="iam:UpdateAccessKey", answer=take_and_fail, times=2))
    world.remediate()
    assert (world.status(key_id), status(world, act)) == ("Inactive", RemediationStatus.ACTING)
    tick(world, minutes=11)
    assert status(world, act) is RemediationStatus.DONE
    world.undo(act)
    world.remediate()
    assert (world.status(key_id), status(world, act)) == ("Active", RemediationStatus.UNDONE)


@on_sqlite
def test_a_step_that_broke_off_without_effect_is_begun_anew_in_working_hours_only(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    world.cloud.faults.fail("iam:PutUserPolicy", times=2)
    world.remediate()
    assert status(world, act) is RemediationStatus.ACTING
    world.clock.now = datetime(2026, 11, 24, 2, tzinfo=UTC)
    world.remediate()
    assert (denied(world), status(world, act)) == (False, PLANNED)
    assert [step.outcome for step in steps(world, act)] == [Outcome.VOID]
    world.clock.now = world.remediation(act).due_at
    world.remediate()
    assert (denied(world), world.clock().hour) == (True, 8)  # 09:00 in Madrid


@on_sqlite
def test_a_worker_that_dies_turning_it_on_is_followed_by_one_that_does(world: World) -> None:
    _, act = begun(world)
    world.clock.pass_by(minutes=15)
    run_until_killed(world, "iam:DeleteUserPolicy", acts=False)
    assert denied(world)
    tick(world, minutes=6)
    assert (denied(world), status(world, act)) == (False, PLANNED)


@on_sqlite
def test_it_comes_back_in_propose_mode_and_where_nothing_can_be_seen(world: World) -> None:
    _, act = begun(world)
    world.set_policy('[remediation]\nmode = "propose"\n')
    for action in ("iam:ListAccessKeys", "iam:GetUser", "cloudtrail:LookupEvents"):
        world.cloud.faults.deny(action)
    tick(world, minutes=15)
    assert not denied(world)
    assert [step.outcome for step in steps(world, act)] == [Outcome.UNHEARD]


@on_sqlite
def test_a_cloud_that_does_not_turn_it_on_is_asked_again_every_minute(world: World) -> None:
    _, act = begun(world)
    world.cloud.faults.fail("iam:DeleteUserPolicy")
    tick(world, minutes=15)
    assert denied(world)
    assert "could not turn it on yet" in (world.remediation(act).because or "")
    world.cloud.faults.clear()
    tick(world, minutes=1)
    assert not denied(world)


@on_sqlite
def test_a_log_that_cannot_be_read_lets_no_step_follow(world: World) -> None:
    _, act = begun(world)
    tick(world, minutes=15)
    world.cloud.faults.deny("cloudtrail:LookupEvents")
    tick(world, minutes=15)
    assert (denied(world), status(world, act)) == (False, PLANNED)
    assert "cannot be read (AccessDenied" in (world.remediation(act).because or "")


@on_sqlite
def test_each_step_is_looked_at_again_before_it_begins(world: World) -> None:
    key_id, act = begun(world)
    tick(world, minutes=15)
    world.cloud.record_use(key_id, world.clock())  # on again, and used: nothing screamed, and yet it is needed
    tick(world, minutes=15)
    assert (denied(world), status(world, act)) == (False, REFUSED)


@on_sqlite
def test_each_step_counts_against_policys_acts_an_hour(world: World) -> None:
    world.set_policy(
        '[remediation]\nmode = "reversible"\nactions_an_hour = 1\n' + POLICY.partition("\n")[2].partition("\n")[2]
    )
    _, act = begun(world)
    tick(world, minutes=15)
    tick(world, minutes=15)
    assert (denied(world), world.remediation(act).because) == (False, "Policy allows 1 acts an hour.")
    tick(world, minutes=31)
    assert denied(world)


@on_sqlite
def test_every_step_of_it_is_written_down(world: World) -> None:
    _, act = begun(world)
    tick(world, minutes=15)
    states = [step.state for step in world.remediation(act).steps]
    assert states == [State.SCHEDULED, State.CHECKED, State.ACTING, State.TESTING, State.RESTORING, State.SCHEDULED]
    assert world.events("scream_test.off", "scream_test.back") == ["scream_test.off", "scream_test.back"]


@on_sqlite
def test_where_policy_offers_it_who_did_not_choose_it_has_it_turned_off_for_good_at_once(world: World) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\n')
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    act = world.decide("ci-deploy", key_id)
    world.remediate()
    assert (world.status(key_id), world.remediation(act).ladder) == ("Inactive", None)


@on_sqlite
def test_an_undo_that_the_cloud_refuses_is_tried_again_within_a_minute(world: World) -> None:
    _, act = begun(world)
    world.cloud.faults.fail("iam:DeleteUserPolicy")
    world.undo(act)
    world.remediate()
    assert denied(world)
    tick(world, seconds=20)
    assert world.events("remediation.put_off") == ["remediation.put_off"]  # for the same reason: told once
    world.cloud.faults.clear()
    tick(world, seconds=20)
    assert (denied(world), status(world, act)) == (False, RemediationStatus.UNDONE)


@on_sqlite
def test_an_undo_whose_worker_died_is_taken_up_within_a_minute(world: World) -> None:
    _, act = begun(world)
    world.undo(act)
    run_until_killed(world, "iam:DeleteUserPolicy", acts=False)
    assert denied(world)
    tick(world, seconds=50)
    assert (denied(world), status(world, act)) == (False, RemediationStatus.UNDONE)


@on_sqlite
def test_a_user_that_is_renamed_during_a_step_is_freed_under_its_new_name(world: World) -> None:
    _, act = begun(world)
    rename(world, "ci-deploy", "ci-release")
    tick(world, minutes=1)
    assert (denied(world, "ci-release"), status(world, act)) == (False, REFUSED)
    assert "its user is called ci-release now" in (world.remediation(act).because or "")


@on_sqlite
@pytest.mark.parametrize("also_denied", [(), ("iam:GetAccountAuthorizationDetails",)], ids=["listed", "unseen"])
def test_a_user_that_is_renamed_while_it_cannot_be_read_is_never_taken_for_freed(
    world: World, also_denied: tuple[str, ...]
) -> None:
    _, act = begun(world)
    rename(world, "ci-deploy", "ci-release")
    for action in ("iam:GetUser", *also_denied):
        world.cloud.faults.deny(action)
    tick(world, minutes=61)
    tick(world, minutes=1)
    assert denied(world, "ci-release") is bool(also_denied)
    world.cloud.faults.clear()
    tick(world, minutes=2)
    assert denied(world, "ci-release") is False
    assert status(world, act) is not RemediationStatus.TESTING


@on_sqlite
def test_a_key_that_is_deleted_during_a_step_leaves_no_denial_behind(world: World) -> None:
    key_id, act = begun(world)
    world.cloud.delete_key("ci-deploy", key_id)
    tick(world, minutes=1)
    assert (denied(world), status(world, act)) == (False, REFUSED)


@on_sqlite
def test_a_renamed_users_key_is_undone_under_its_new_name_and_never_turned_off_under_it(world: World) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\n')
    key_id, other = world.add_user("ci-deploy", 200), world.add_user("later", 200)[0]
    world.scan()
    world.ask()
    acts = [world.decide("ci-deploy", key_id[0]), world.decide("later", other)]
    rename(world, "later", "earlier")
    world.remediate()
    assert [status(world, act) for act in acts] == [RemediationStatus.DONE, REFUSED]
    assert "its user is called earlier now" in (world.remediation(acts[1]).because or "")
    rename(world, "ci-deploy", "ci-release")
    world.undo(acts[0])
    world.remediate()
    assert (world.status(key_id[0]), status(world, acts[0])) == ("Active", RemediationStatus.UNDONE)


def rename(world: World, old: str, new: str) -> None:
    """Give a user another name, as IAM's UpdateUser does: id, keys and policies stay."""
    user = world.cloud.iam.users.pop(old)
    world.cloud.iam.users[new] = user
    user.name = new
    for key in user.access_keys:
        key.user_name = new


@on_sqlite
def test_doctor_says_where_something_is_off_beyond_its_step(world: World) -> None:
    _, act = begun(world)
    assert _acts(world.program).status == "ok"
    world.clock.pass_by(minutes=26)  # no worker came by
    told = _acts(world.program)
    assert (told.status, "1 credential is off beyond" in told.detail) == ("fail", True)
    world.remediate()
    assert (_acts(world.program).status, denied(world), status(world, act)) == ("ok", False, PLANNED)
