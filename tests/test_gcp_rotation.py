"""Rotation of service account keys, end to end: the second key, Secret Manager, the watch, and every way it can break.

Keys and secrets are read from the stand-in Google itself, which is held to Google's own documents.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from sqlalchemy import select

from demo.cloud import Cloud
from demo.workspace import Workspace
from jobs.program import open_program
from nhi.database import reading
from nhi.remediation import RemediationStatus
from nhi.rotation import Stage
from nhi.settings import Settings
from nhi.tables import Base, OfferRow, RemediationRow, RotationRow
from tests.conftest import Clock, on_sqlite
from tests.gcp_fake import ORGANIZATION, Account, Google, Key, Secret
from tests.jobs_world import POLICY
from tests.rotation_world import act, killed, newest_card, pass_by, rotate, rotation, turn_off
from tests.test_gcp_loop import GoogleWorld

MAKE, ADD = "iam.projects.serviceAccounts.keys.create", "secretmanager.projects.secrets.addVersion"
ALIAS = "secretmanager.projects.secrets.patch"
SECRET = "projects/shop-prod/secrets/nhi-ci-shop-prod-iam-gserviceaccount-com"
ROTATION = """
[owners]
fallback = "ana@example.com"
[rotation]
enabled = true
[[rotation.destinations]]
secret = "nhi/{name}"
region = "europe-west3"
"""


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nhi.providers.gcp.calls._BACK_OFF", 0.001)
    monkeypatch.setattr("nhi.providers.gcp.acts._PAUSE", 0.0)


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace) -> Iterator[GoogleWorld]:
    with Google(now=clock) as google:
        source = f'[[sources]]\nprovider = "gcp"\nscope = "{ORGANIZATION}"\nendpoint = "{google.url}"\n'
        source += f'remediator_impersonate = "{google.acts_as}"\n'
        settings.nhi_policy.write_text(f"{POLICY}\nactions_an_hour = 50\nshare_of_account = 1.0\n{ROTATION}\n{source}")
        program = open_program(settings, clock=clock)
        try:
            found = GoogleWorld(program, cast(Cloud, google), workspace, clock)
            found.google = google
            yield found
        finally:
            program.engine.dispose()


def add(world: GoogleWorld, name: str = "ci", keys: int = 1) -> tuple[Account, list[Key]]:
    """Add an account with keys that are a year old, and used yesterday."""
    google, now = world.google, world.clock()
    project = google.projects.get("shop-prod") or google.add_project("shop-prod", owner="ana")
    made_at, used = now - timedelta(days=390), now - timedelta(days=1)
    account = google.add_account(project, name, made_at=made_at, last_used_at=used, by="ana@example.com")
    return account, [google.add_key(account, made_at=made_at, last_used_at=used) for _ in range(keys)]


def asked(world: GoogleWorld, keys: int = 1) -> tuple[Account, Key]:
    """Let Ana have answered Rotate for an old key in use; return the account and that key."""
    account, (old, *_) = add(world, keys=keys)
    world.scan()
    world.ask()
    rotate(world, account.email, old.id)
    return account, old


def others(account: Account, old: Key) -> list[Key]:
    return [key for key in account.keys.values() if key is not old]


def add_secret(world: GoogleWorld, mark: str | None) -> Secret:
    about = {"name": SECRET, "etag": '"0"', "replication": {"automatic": {}}}
    version = {"name": f"{SECRET}/versions/1", "state": "ENABLED"}
    world.google.secrets[SECRET] = Secret(
        about | ({"annotations": {"nhi-rotates": mark}} if mark else {}), [version], [b'{"was": "here"}']
    )
    return world.google.secrets[SECRET]


# -- the whole way -----------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_key_is_rotated_into_secret_manager_and_the_old_one_is_asked_about_when_it_is_still(
    world: GoogleWorld,
) -> None:
    account, old = asked(world)
    assert world.remediate().rotated == [act(world).id]
    (new,) = others(account, old)
    held = world.google.held(SECRET, "nhi-current")
    assert held is not None
    assert held["private_key"] == world.google.private_keys[new.id]
    assert (old.disabled, new.disabled, rotation(world).new_key) == (False, False, new.id)
    about = world.google.secrets[SECRET].about
    assert about["replication"] == {"userManaged": {"replicas": [{"location": "europe-west3"}]}}
    shown = f"{newest_card(world)['blocks']}"
    assert new.id in shown
    assert SECRET in shown
    assert "Google's Secret Manager" in shown

    new.last_used_at = world.clock() + timedelta(minutes=1)
    assert pass_by(world, days=6).ready == []
    old.last_used_at = world.clock() - timedelta(minutes=1)  # the analyser has not seen it: Monitoring has
    assert pass_by(world, days=7).ready == []  # and tells the minute, where the analyser tells the day
    assert pass_by(world, hours=4).ready == [act(world).id]
    newest_card(world)
    turn_off(world, next(one.id for one in world.rows(OfferRow, used_at=None) if "rotation" in one.shown["facts"]))
    world.remediate()
    assert (old.disabled, new.disabled, rotation(world).stage) == (True, False, Stage.OFF)


@on_sqlite
@pytest.mark.parametrize("fails", [False, True])
def test_the_new_key_is_in_no_row_no_log_no_message_and_no_error(
    world: GoogleWorld, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    if fails:
        world.google.refuse(ADD)
    account, old = asked(world)
    tally = world.remediate()
    pass_by(world, minutes=11)
    world.deliver()
    (new,) = others(account, old)
    assert (new.disabled, rotation(world).stage) == ((True, Stage.LOST) if fails else (False, Stage.WATCHING))
    secret = (asked_for.body["payload"]["data"] for asked_for in world.google.asked if asked_for.method == ADD)
    hidden = [world.google.private_keys[new.id].split("\n")[1], next(secret)[:60]]
    with reading(world.sessions) as session:
        everything = [str(session.execute(select(table)).all()) for table in Base.metadata.tables.values()]
    everything += [caplog.text, f"{world.messages('ana')} {world.messages('dora')} {tally.as_json()}"]
    assert [one for one in hidden for text in everything if one in text] == []


# -- what stands against it --------------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("why", ["theirs", "native", "ten keys", "refused"])
def test_no_key_is_made_where_something_speaks_against_it(world: GoogleWorld, why: str) -> None:
    if why == "theirs":
        add_secret(world, None)
    elif why == "native":
        path = world.program.settings.nhi_policy
        path.write_text(path.read_text().replace('region = "europe-west3"', "native = true"))
    elif why == "refused":
        world.google.refuse("secretmanager.projects.secrets.create")
    asked(world, keys=10 if why == "ten keys" else 1)
    world.remediate()
    said = {
        "theirs": "annotation nhi-rotates = serviceAccount:ci@",
        "native": "take `native` out",
        "ten keys": "has 10 keys already, and Google allows no more",
        "refused": "PERMISSION_DENIED: secretmanager.secrets.create",
    }
    assert world.google.calls(MAKE, ADD) == {}
    assert act(world).status is RemediationStatus.REFUSED
    assert said[why] in (act(world).because or "")
    if why == "theirs":
        assert world.google.held(SECRET) == {"was": "here"}


@on_sqlite
def test_making_a_key_is_asked_once_however_google_answers(world: GoogleWorld) -> None:
    world.google.refuse(MAKE, status=503, times=1)
    account, old = asked(world)
    world.remediate()
    assert world.google.calls(MAKE) == {MAKE: 1}
    assert act(world).status is RemediationStatus.ACTING
    pass_by(world, minutes=11)  # by now it is certain that nothing was made
    assert len(others(account, old)) == 1
    assert (rotation(world).stage, world.google.calls(MAKE)) == (Stage.WATCHING, {MAKE: 2})


# -- roll-back ---------------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_rotation_is_taken_back_exactly_while_nobody_uses_the_new_key(world: GoogleWorld) -> None:
    secret = add_secret(world, "serviceAccount:ci@shop-prod.iam.gserviceaccount.com")
    account, old = asked(world)
    world.remediate()
    (new,) = others(account, old)
    assert secret.about["versionAliases"] == {"nhi-current": "2"}
    world.google.refuse(ALIAS, times=1)
    world.undo(act(world).id)
    world.remediate()  # which breaks off half-way
    assert act(world).status is RemediationStatus.UNDOING
    pass_by(world, minutes=31)
    assert world.google.held(SECRET, "nhi-current") == {"was": "here"}
    assert [one["state"] for one in secret.versions] == ["ENABLED", "DISABLED"]
    assert (old.disabled, new.disabled) == (False, True)
    assert (rotation(world).stage, act(world).status) == (Stage.TAKEN_BACK, RemediationStatus.UNDONE)
    assert "nhi-current" in f"{newest_card(world)['blocks']}"

    new.last_used_at = world.clock()
    assert world.remediate().undone == []


@on_sqlite
def test_a_new_key_in_use_is_not_taken_back(world: GoogleWorld) -> None:
    account, old = asked(world)
    world.remediate()
    (new,) = others(account, old)
    new.last_used_at = world.clock()
    world.undo(act(world).id)
    pass_by(world, minutes=1)
    assert (new.disabled, act(world).status) == (False, RemediationStatus.DONE)
    assert "in use by now" in (act(world).because or "")


# -- a run that breaks off ---------------------------------------------------------------------------------------------


@on_sqlite
def test_killed_at_any_moment_the_next_runs_find_what_was_made_and_lose_nothing(world: GoogleWorld) -> None:
    added = [add(world, f"ci-{turn}") for turn in range(1, 11)]
    world.scan()
    world.ask()
    ends = set()
    for turn, (account, (old,)) in enumerate(added, start=1):
        rotate(world, account.email, old.id)
        if not killed(world, turn):
            break
        for _ in range(3):
            pass_by(world, minutes=31)
        row = next(one for one in world.rows(RotationRow) if one.remediation.credential.external_id == old.id)
        (new,) = others(account, old)  # never two made, and none forgotten
        assert (old.disabled, row.new_key) == (False, new.id), turn
        held = world.google.held(SECRET.replace("nhi-ci-", f"nhi-ci-{turn}-"), "nhi-current")
        if row.stage is Stage.WATCHING:
            assert not new.disabled, turn
            assert held is not None, turn
            assert held["private_key_id"] == new.id, turn
        else:
            assert (new.disabled, row.stage, held) == (True, Stage.LOST, None), turn
        ends.add(row.stage)
    else:
        pytest.fail("the run never came to its end")
    assert ends == {Stage.WATCHING, Stage.LOST}


@on_sqlite
def test_a_run_that_broke_off_after_the_key_was_stored_goes_on_from_there(world: GoogleWorld) -> None:
    secret = add_secret(world, "serviceAccount:ci@shop-prod.iam.gserviceaccount.com")
    world.google.refuse(ALIAS, times=2)  # it looks again at once
    account, old = asked(world)
    world.remediate()
    assert rotation(world).stage is Stage.STORING
    pass_by(world, minutes=11)
    (new,) = others(account, old)
    held = world.google.held(SECRET, "nhi-current")
    assert (held and held["private_key_id"], new.disabled, rotation(world).stage) == (new.id, False, Stage.WATCHING)
    assert secret.about["versionAliases"] == {"nhi-current": "2"}


@on_sqlite
@pytest.mark.parametrize("maker", ["we", "somebody else"])
def test_whose_a_key_is_that_appeared_is_told_by_the_audit_log(world: GoogleWorld, maker: str) -> None:
    account, old = asked(world)
    if maker == "somebody else":
        world.google.acts_as = "bea@example.com"
    world.google.lose(MAKE, times=1)
    world.remediate()
    pass_by(world, minutes=11)
    (new,) = others(account, old)
    assert (new.disabled, act(world).status) == (maker == "we", RemediationStatus.FAILED)
    assert [one.status for one in world.rows(RemediationRow, kind="disable")] == []
