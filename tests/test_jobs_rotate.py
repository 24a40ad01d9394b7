"""Rotation, end to end: the second key, where it goes, the watch, the old one's end, and every way that it can break.

Keys and secrets are read from the stand-in cloud itself. Nothing of ours is replaced.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.secretsmanager.models import secretsmanager_backends
from sqlalchemy import select
from werkzeug.wrappers import Response

from demo.cloud_faults import Asked, Fault, refuse
from demo.workspace import Workspace
from jobs import holds
from jobs.remediate import Tally
from nhi.database import reading
from nhi.errors import OutOfDate
from nhi.findings import FindingKind
from nhi.identity import CredentialStatus
from nhi.remediation import RemediationStatus
from nhi.rotation import Stage
from nhi.settings import Settings
from nhi.tables import Base, FindingRow, OfferRow, RemediationRow, RotationCardRow, RotationRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, environment_of, open_world, use_stand_in_aws
from tests.rotation_world import act, killed, newest_card, pass_by, rotate, rotation, turn_off
from tests.test_jobs_screaming import rename

CREATE, PUT = "iam:CreateAccessKey", "secretsmanager:PutSecretValue"
POLICY = """
[remediation]
mode = "reversible"
[rotation]
enabled = true
still_for = "7d"
[[rotation.destinations]]
match = { name = "by-itself" }
secret = "app/native"
native = true
[[rotation.destinations]]
match = { name = "ci-*" }
secret = "nhi/{account}/{name}"
region = "eu-west-1"
"""


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        opened.set_policy(POLICY)
        yield opened


def asked(world: World, name: str = "ci-deploy", *used: int | None) -> str:
    """Let Ana have answered Rotate for a user whose key is old and in use; return the old key's id."""
    old, *_ = world.add_user(name, *(used or (1,)))
    world.scan()
    world.ask()
    rotate(world, name, old)
    return old


def keys(world: World, name: str = "ci-deploy") -> dict[str, str]:
    """Return the keys that the user really has, each with its status."""
    return {str(key.access_key_id): str(key.status) for key in world.cloud.iam.users[name].access_keys}


def secret(world: World, name: str = "ci-deploy", region: str = "eu-west-1") -> dict[str, str] | None:
    """Return what the secret really holds now; None: nothing."""
    backend = secretsmanager_backends[world.cloud.account][region]
    found = backend.secrets.get(f"nhi/{world.cloud.account}/{name}")
    versions = found.versions.values() if found is not None else ()
    held = [one.get("secret_string") for one in versions if "AWSCURRENT" in one["version_stages"]]
    return json.loads(held[0]) if held and held[0] else None


def add_secret(world: World, name: str, value: str, *, region: str = "eu-west-1", mark: str | None = None) -> Any:
    """Let a secret be there already; return the account's secrets of that region."""
    backend = secretsmanager_backends[world.cloud.account][region]
    tags = [{"Key": "nhi-rotates", "Value": mark}] if mark else []
    backend.create_secret(name, value, None, None, tags, None, None, [], False)
    return backend


def new_key(world: World, old: str) -> str:
    (found,) = [key for key in keys(world) if key != old]
    return found


def moved(world: World, old: str, *, days: float = 8) -> Tally:
    """Let everything use the new key from now on, and the days go by."""
    world.cloud.record_use(new_key(world, old), world.clock() + timedelta(minutes=1))
    return pass_by(world, days=days)


# -- by policy alone ---------------------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize(
    "policy",
    [
        '[remediation]\nmode = "reversible"\n',
        POLICY.replace("enabled = true", "enabled = false"),
        POLICY.replace('"reversible"', '"propose"'),
        POLICY.replace('"ci-*"', '"others-*"'),
    ],
    ids=["no rotation", "switched off", "propose only", "no place fits"],
)
def test_no_key_is_made_unless_policy_switches_rotation_on_and_names_a_place(world: World, policy: str) -> None:
    world.set_policy(policy)
    old = asked(world)
    world.remediate()
    assert keys(world) == {old: "Active"}
    assert act(world).status is RemediationStatus.PROPOSED
    assert not [one for one in world.cloud.requests if one.action in (CREATE, PUT)]


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_a_key_is_rotated_from_the_answer_to_the_old_ones_end_and_back(world: World) -> None:
    old = asked(world)
    tally = world.remediate()
    new = new_key(world, old)
    assert tally.rotated == [act(world).id]
    assert keys(world) == {old: "Active", new: "Active"}
    assert secret(world) == {
        "AWS_ACCESS_KEY_ID": new,
        "AWS_SECRET_ACCESS_KEY": world.cloud.iam.access_keys[new].secret_access_key,
    }
    assert (rotation(world).stage, rotation(world).new_key) == (Stage.WATCHING, new)
    assert new in f"{newest_card(world)['blocks']}"
    assert f"nhi/{world.cloud.account}/ci-deploy" in f"{newest_card(world)['blocks']}"
    assert "nhi:disable" not in f"{newest_card(world)['blocks']}"
    assert "no use is known" not in f"{newest_card(world)['blocks']}"  # the old one was used yesterday

    assert moved(world, old).ready == [act(world).id]
    shown = newest_card(world)
    assert "The old key can go" in f"{shown['blocks']}"
    offer = next(one for one in world.rows(OfferRow, used_at=None) if "rotation" in one.shown["facts"])
    turn_off(world, offer.id)
    world.remediate()
    assert keys(world) == {old: "Inactive", new: "Active"}
    assert rotation(world).stage is Stage.OFF
    assert FindingKind.UNROTATED not in [kind for _, kind in world.findings("ci-deploy")]
    assert "Turn it on again" in f"{newest_card(world)['blocks']}"

    off = next(one for one in world.rows(RemediationRow, kind="disable"))
    world.undo(off.id)
    world.remediate()
    assert keys(world) == {old: "Active", new: "Active"}
    assert rotation(world).stage is Stage.WATCHING
    kinds = [kind for kind in world.events() if kind.startswith(("rotation", "credential"))]
    assert kinds == [
        "rotation.began",
        "rotation.key_made",
        "credential.rotated",
        "rotation.ready",
        "credential.disabled",
        "credential.enabled",
    ]


@on_sqlite
def test_thirty_days_after_the_old_key_is_off_the_rotation_is_closed(world: World) -> None:
    old = asked(world)
    world.remediate()
    moved(world, old)
    newest_card(world)
    turn_off(world, next(one.id for one in world.rows(OfferRow, used_at=None) if "rotation" in one.shown["facts"]))
    world.remediate()
    pass_by(world, days=31)
    pass_by(world, minutes=1)
    assert act(world).status is RemediationStatus.CLOSED
    assert [one.status for one in world.rows(RemediationRow, kind="disable")] == [RemediationStatus.CLOSED]


@on_sqlite
def test_the_old_key_is_not_asked_about_while_it_is_used_or_the_new_one_is_not(world: World) -> None:
    old = asked(world)
    world.remediate()
    assert pass_by(world, days=30).ready == []  # still, but nobody moved
    world.cloud.record_use(new_key(world, old), world.clock())
    world.cloud.record_use(old, world.clock())
    assert pass_by(world, days=7).ready == []  # a use may show four hours late
    assert pass_by(world, hours=5).ready == [act(world).id]


@on_sqlite
def test_a_question_about_the_old_key_that_nobody_answers_is_posted_again_after_a_week(world: World) -> None:
    old = asked(world)
    world.remediate()
    moved(world, old)
    cards_then = len(world.rows(RotationCardRow))
    pass_by(world, days=6)
    assert len(world.rows(RotationCardRow)) == cards_then
    pass_by(world, days=2)
    assert len(world.rows(RotationCardRow)) == cards_then + 1
    assert keys(world)[old] == "Active"  # silence turns nothing off


@on_sqlite
def test_an_old_key_that_is_used_again_is_not_offered_any_more_and_never_turned_off(world: World) -> None:
    old = asked(world)
    world.remediate()
    moved(world, old)
    newest_card(world)
    offer = next(one.id for one in world.rows(OfferRow, used_at=None) if "rotation" in one.shown["facts"])
    world.cloud.record_use(old, world.clock())
    turn_off(world, offer)  # pressed before the card was drawn anew
    world.remediate()
    pass_by(world, hours=2)
    assert keys(world)[old] == "Active"
    assert rotation(world).stage is Stage.WATCHING
    assert "nhi:disable" not in f"{newest_card(world)['blocks']}"


# -- no secret anywhere ------------------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("fails", [False, True])
def test_the_new_secret_is_in_no_row_no_log_no_message_and_no_error(
    world: World, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    if fails:
        world.cloud.faults.deny(PUT)
    old = asked(world)
    tally = world.remediate()
    new = new_key(world, old)
    hidden = world.cloud.iam.access_keys[new].secret_access_key
    if not fails:
        moved(world, old)
        assert secret(world, region="eu-west-1") is not None
    pass_by(world, minutes=11)
    world.deliver()
    with reading(world.sessions) as session:
        for name, table in Base.metadata.tables.items():
            assert hidden not in str(session.execute(select(table)).all()), name
    assert hidden not in caplog.text
    assert hidden not in f"{world.messages('ana')} {world.messages('dora')} {tally.as_json()}"


# -- what stands against it --------------------------------------------------------------------------------------------


@on_sqlite
def test_a_user_with_two_keys_is_refused_kindly_and_told_what_to_do(world: World) -> None:
    old = asked(world, "ci-deploy", 1, 300)
    before = keys(world)
    world.remediate()
    assert keys(world) == before
    told = act(world).because or ""
    (other,) = before.keys() - {old}
    assert act(world).status is RemediationStatus.REFUSED
    assert other in told
    assert "AWS allows two" in told
    assert "delete it in AWS; then press Rotate again" in told
    world.deliver()  # the first question: before it is read, nothing more is asked
    world.clock.now += timedelta(days=1)  # one message a day
    world.ask()
    assert ("ci-deploy", "ana") in world.asked()  # with a Rotate to press again


@on_sqlite
def test_a_secret_that_is_somebody_elses_is_never_written_to(world: World) -> None:
    name = f"nhi/{world.cloud.account}/ci-deploy"
    backend = add_secret(world, name, "theirs")
    old = asked(world)
    world.remediate()
    assert keys(world) == {old: "Active"}
    assert backend.get_secret_value(name, None, None)["SecretString"] == "theirs"
    assert "nhi-rotates" in (act(world).because or "")


@on_sqlite
def test_no_key_is_made_where_the_secret_cannot_be_made_ready(world: World) -> None:
    world.cloud.faults.deny("secretsmanager:CreateSecret")
    old = asked(world)
    world.remediate()
    assert keys(world) == {old: "Active"}
    assert "AccessDenied" in (act(world).because or "")
    assert world.rows(RotationRow) == []


@on_sqlite
def test_a_cloud_that_makes_no_key_ends_the_rotation_at_once(world: World) -> None:
    world.cloud.faults.deny(CREATE)
    old = asked(world)
    world.remediate()
    assert (keys(world), act(world).status) == ({old: "Active"}, RemediationStatus.FAILED)
    assert rotation(world).stage is Stage.FAILED


@on_sqlite
def test_making_a_key_is_asked_once_however_the_cloud_answers(world: World) -> None:
    world.cloud.faults.fail(CREATE, status=500, times=1)
    old = asked(world)
    world.remediate()
    assert sum(one.action == CREATE for one in world.cloud.requests) == 1
    assert act(world).status is RemediationStatus.ACTING
    pass_by(world, minutes=11)  # by now it is certain that nothing was made
    assert rotation(world).stage is Stage.WATCHING
    assert len(keys(world)) == 2
    assert sum(one.action == CREATE for one in world.cloud.requests) == 2
    assert keys(world)[old] == "Active"


# -- roll-back ---------------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_key_that_could_not_be_stored_is_turned_off_and_marked_and_never_deleted(world: World) -> None:
    world.cloud.faults.deny(PUT)
    old = asked(world)
    world.remediate()
    pass_by(world, minutes=11)
    new = new_key(world, old)
    assert keys(world) == {old: "Active", new: "Inactive"}
    assert (rotation(world).stage, rotation(world).new_key) == (Stage.LOST, new)
    assert act(world).status is RemediationStatus.FAILED
    assert new in (act(world).because or "")
    assert not [one for one in world.cloud.requests if "Delete" in one.action]


@on_sqlite
def test_a_rotation_is_taken_back_exactly_while_nobody_uses_the_new_key(world: World) -> None:
    old = asked(world)
    world.remediate()
    new = new_key(world, old)
    world.undo(act(world).id)
    world.remediate()
    assert keys(world) == {old: "Active", new: "Inactive"}
    assert (rotation(world).stage, act(world).status) == (Stage.TAKEN_BACK, RemediationStatus.UNDONE)


@on_sqlite
def test_taking_back_gives_the_secret_its_former_value(world: World) -> None:
    name = f"nhi/{world.cloud.account}/ci-deploy"
    old = asked(world)
    add_secret(world, name, '{"was": "here"}', mark=world.identity("ci-deploy").principal)
    world.remediate()
    assert secret(world) != {"was": "here"}
    world.undo(act(world).id)
    world.remediate()
    assert secret(world) == {"was": "here"}
    assert keys(world)[old] == "Active"


@on_sqlite
def test_a_renamed_users_rotation_is_taken_back_once_a_scan_knows_its_name(world: World) -> None:
    old = asked(world)
    world.remediate()
    new = new_key(world, old)
    rename(world, "ci-deploy", "ci-release")
    world.undo(act(world).id)
    pass_by(world, minutes=1)
    assert "its user is called ci-release now" in (act(world).because or "")
    world.scan()
    pass_by(world, minutes=11)
    assert keys(world, "ci-release") == {old: "Active", new: "Inactive"}
    assert rotation(world).stage is Stage.TAKEN_BACK


@on_sqlite
def test_a_new_key_in_use_is_not_taken_back(world: World) -> None:
    old = asked(world)
    world.remediate()
    world.cloud.record_use(new_key(world, old), world.clock())
    world.undo(act(world).id)
    world.remediate()
    assert set(keys(world).values()) == {"Active"}
    assert act(world).status is RemediationStatus.DONE
    assert "in use by now" in (act(world).because or "")


@on_sqlite
def test_a_rotation_is_not_taken_back_once_the_old_key_is_off(world: World) -> None:
    old = asked(world)
    world.remediate()
    moved(world, old)
    newest_card(world)
    turn_off(world, next(one.id for one in world.rows(OfferRow, used_at=None) if "rotation" in one.shown["facts"]))
    world.remediate()
    with pytest.raises(OutOfDate, match="undo that first"):
        world.undo(act(world).id)


# -- a run that is killed ----------------------------------------------------------------------------------------------


@on_sqlite
def test_killed_at_any_moment_the_next_runs_find_what_was_made_and_lose_nothing(world: World) -> None:
    """Kill the run at each reading of its clock in turn, which are all the moments between two of its steps."""
    many = "[conversation]\nshadow = false\nquestions_a_week = 20\n"
    world.set_policy(many + POLICY.replace("[rotation]", "actions_an_hour = 50\nshare_of_account = 1.0\n[rotation]"))
    users = {f"ci-{turn}": world.add_user(f"ci-{turn}", 1)[0] for turn in range(1, 13)}
    world.scan()
    world.ask()
    ends = set()
    for turn, (name, old) in enumerate(users.items(), start=1):
        rotate(world, name, old)
        if not killed(world, turn):
            break
        for _ in range(3):
            pass_by(world, minutes=31)
        row = next(one for one in world.rows(RotationRow) if one.remediation.credential.external_id == old)
        others = {key: status for key, status in keys(world, name).items() if key != old}
        assert keys(world, name)[old] == "Active", name
        assert len(others) == 1, name  # never two made, and none forgotten
        ((new, status),) = others.items()
        assert row.new_key == new, name
        if row.stage is Stage.WATCHING:
            held = secret(world, name)
            assert (status, held and held["AWS_ACCESS_KEY_ID"]) == ("Active", new), name
        else:
            assert (status, row.stage) == ("Inactive", Stage.LOST), name
        ends.add(row.stage)
    else:
        pytest.fail("the run never came to its end")
    assert ends == {Stage.WATCHING, Stage.LOST}


@on_sqlite
def test_a_process_killed_while_it_stores_leaves_a_key_that_the_next_one_turns_off(
    world: World, tmp_path: Path, workspace: Workspace
) -> None:
    old = asked(world)
    children: list[int] = []

    def kill(_: Asked) -> Response:
        os.kill(children[0], signal.SIGKILL)
        return Response(status=500)

    world.cloud.faults.add(Fault(action=PUT, answer=kill, times=1))
    environment = environment_of(tmp_path, world.cloud, workspace)
    world.deliver()
    # The child reads the real clock, by which nothing of this test's pretend day is due later than now.
    world.change(RemediationRow, {"due_at": datetime(2020, 1, 1, tzinfo=UTC)}, kind="rotate")
    child = subprocess.Popen([sys.executable, "-m", "jobs.cli", "remediate"], env=environment, cwd=tmp_path)
    children.append(child.pid)
    assert child.wait(60) == -signal.SIGKILL
    new = new_key(world, old)
    assert (keys(world)[new], rotation(world).stage) == ("Active", Stage.STORING)
    world.clock.now = datetime.now(UTC) + timedelta(minutes=20)
    world.remediate()
    assert keys(world) == {old: "Active", new: "Inactive"}
    assert rotation(world).stage is Stage.LOST


@on_sqlite
@pytest.mark.parametrize("slept_in", [CREATE, PUT])
def test_a_worker_that_slept_until_its_key_was_given_up_leaves_the_former_secret_and_no_key_on(
    world: World, monkeypatch: pytest.MonkeyPatch, slept_in: str
) -> None:
    monkeypatch.setattr(holds.Hold, "_renew", lambda _: True)  # asleep
    add_secret(
        world,
        f"nhi/{world.cloud.account}/ci-deploy",
        '{"former": "1"}',
        mark=f"arn:aws:iam::{world.cloud.account}:user/ci-deploy",
    )
    old = asked(world)

    def sleep(request: Asked) -> Response:
        answer = world.cloud._create_key(request) if slept_in == CREATE else None
        for minutes in (1, 11, 11, 61):
            pass_by(world, minutes=minutes)
        assert rotation(world).stage is Stage.LOST
        return answer or refuse(request, 500, "InternalServiceError")  # that call is made again, and is taken then

    world.cloud.faults.add(Fault(action=slept_in, answer=sleep, times=1))
    world.remediate()
    assert (secret(world), rotation(world).stage) == ({"former": "1"}, Stage.LOST)
    assert keys(world) == {old: "Active", new_key(world, old): "Inactive"}


@on_sqlite
@pytest.mark.parametrize("maker", ["somebody else", "nobody knows"])
def test_a_key_that_somebody_made_at_the_same_moment_is_theirs_and_stays_on(world: World, maker: str) -> None:
    old = asked(world)
    theirs: list[str] = []

    def fail(request: Asked) -> Response:
        theirs.append(world.cloud.add_access_key("ci-deploy", created_at=world.clock()))
        return refuse(request, 500, "ServiceFailure")

    world.cloud.faults.add(Fault(action=CREATE, answer=fail, times=1))
    world.remediate()
    if maker == "somebody else":
        made = {"accessKey": {"accessKeyId": theirs[0], "userName": "ci-deploy"}}
        world.cloud.add_event("CreateAccessKey", subject="ci-deploy", by="bea@example.com", made=made)
    else:
        world.cloud.record_use(theirs[0], world.clock())
    pass_by(world, minutes=11)
    assert keys(world) == {old: "Active", theirs[0]: "Active"}
    assert act(world).status is RemediationStatus.FAILED
    assert "left alone" in (act(world).because or "")


# -- secrets that rotate by themselves ---------------------------------------------------------------------------------


@on_sqlite
def test_a_secret_with_rotation_of_its_own_is_asked_to_rotate_and_watched(world: World) -> None:
    backend = add_secret(world, "app/native", "old", region="us-east-1")
    kept = backend.secrets["app/native"]
    kept.rotation_enabled = kept.rotation_requested = True

    def rotates(asked: Asked) -> Response:
        told = json.loads(asked.parameters["body"])
        world.cloud.add_access_key("by-itself", created_at=world.clock())
        backend.put_secret_value("app/native", '{"new": "one"}', None, told["ClientRequestToken"], ["AWSCURRENT"])
        body = {"ARN": kept.arn, "Name": "app/native", "VersionId": told["ClientRequestToken"]}
        return Response(json.dumps(body), mimetype="application/x-amz-json-1.1")

    world.cloud.faults.add(Fault(action="secretsmanager:RotateSecret", answer=rotates, times=1))
    old = asked(world, "by-itself")
    world.remediate()
    pass_by(world, minutes=11)
    (new,) = keys(world, "by-itself").keys() - {old}
    assert (rotation(world).stage, rotation(world).new_key) == (Stage.WATCHING, new)
    assert not [one for one in world.cloud.requests if one.action in (CREATE, PUT)]


@on_sqlite
def test_a_secret_without_rotation_of_its_own_is_refused_where_policy_calls_it_native(world: World) -> None:
    add_secret(world, "app/native", "old", region="us-east-1")
    asked(world, "by-itself")
    world.remediate()
    assert act(world).status is RemediationStatus.REFUSED
    assert "no rotation of its own" in (act(world).because or "")


def test_what_ends_badly_leaves_the_finding_open(world: World) -> None:
    world.cloud.faults.deny(CREATE)
    asked(world)
    world.remediate()
    found = [one for one in world.rows(FindingRow) if one.kind is FindingKind.UNROTATED]
    assert [one.resolved_at for one in found] == [None]
    assert CredentialStatus.ACTIVE is act(world).credential.status
