"""The program is an identity too: it is listed with who answers for it, and it never acts on what it runs as."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from demo.workspace import Workspace
from nhi import risk
from nhi.policy import Policy, Source
from nhi.providers import TellsItself
from nhi.providers.gcp import connect
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import EvidenceRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


@on_sqlite
def test_it_lists_itself_with_who_answers_for_it_and_never_turns_itself_off(world: World) -> None:
    (key_id,) = world.add_user("moto", 200, owner=None)  # whom the stand-in cloud takes these credentials for
    world.add_user("somebody", 200)
    world.scan()
    world.change(EvidenceRow, {"points_to": "otto@example.com"}, source=risk.ITSELF)  # as policy said before
    world.scan()
    (found,) = world.rows(EvidenceRow, source=risk.ITSELF)
    assert (found.identity_id, found.points_to) == (world.identity("moto").id, "dora@example.com")
    world.ask()
    assert ("moto", "dora") in world.asked()
    remediation_id = world.decide("moto", key_id, by="dora")
    world.remediate()
    row = world.remediation(remediation_id)
    assert (row.status, row.because) == (RemediationStatus.REFUSED, "I run as it myself, so I never touch it.")
    assert (world.status(key_id), world.switched()) == ("Active", [])


@on_sqlite
@pytest.mark.parametrize(("admins", "whom"), [(("UDORA",), "UDORA"), ((), "")])
def test_it_never_turns_itself_off_whether_or_not_anybody_is_named_who_answers_for_it(
    world: World, admins: tuple[str, ...], whom: str
) -> None:
    (key_id,) = world.add_user("moto", 200, owner=None)
    world.scan()
    world.ask()
    world.set_policy(f"[people]\nadmins = {json.dumps(admins)}\n")
    world.scan()
    (found,) = world.rows(EvidenceRow, source=risk.ITSELF)
    assert found.points_to == whom
    remediation_id = world.decide("moto", key_id, by="dora")
    world.remediate()
    assert world.remediation(remediation_id).because == "I run as it myself, so I never touch it."
    assert world.status(key_id) == "Active"


def test_in_google_cloud_it_is_who_policy_or_the_ambient_credentials_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    told = {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key": pem.decode()}
    (tmp_path / "key.json").write_text(json.dumps(told | {"token_uri": "https://localhost/token", "project_id": "p"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    acting = "b@p.iam.gserviceaccount.com"
    source = Source(provider="gcp", scope="projects/p", remediator_impersonate=acting)
    assert connect(source).itself() == ["serviceAccount:a@p.iam.gserviceaccount.com", f"serviceAccount:{acting}"]
    assert isinstance(connect(source), TellsItself)


def test_the_roles_that_policy_names_are_its_own_in_every_account() -> None:
    role = "arn:aws:iam::111122223333:role/audit/nhi-remediator"
    policy = Policy(
        sources=(Source(remediator_role_arn=role), Source(provider="gcp", impersonate="r@p.iam.gserviceaccount.com"))
    )
    assert risk.own_names(policy) == (role, "serviceAccount:r@p.iam.gserviceaccount.com")


def test_a_session_is_the_same_as_its_role_whatever_its_path_and_no_other() -> None:
    role = "arn:aws:iam::111122223333:role/audit/nhi"
    assert risk.is_same(role, "arn:aws:iam::111122223333:role/nhi")
    assert not risk.is_same(role, "arn:aws:iam::111122223333:user/nhi")
    assert not risk.is_same(role, "arn:aws:iam::444455556666:role/nhi")
    assert not risk.is_same(role, "arn:aws:iam::111122223333:role/nhi2")
