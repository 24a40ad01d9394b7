"""The whole loop on Google Cloud: scan, ask, disable, undo. The real jobs on stand-in Google, Slack and database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import cast

import pytest
from sqlalchemy import select

from demo.cloud import Cloud
from demo.workspace import Workspace
from jobs import scan, work
from jobs.program import open_program
from nhi.database import reading
from nhi.escalation import AskStatus
from nhi.findings import FindingKind
from nhi.identity import DELEGATED, CredentialStatus, Custody
from nhi.providers.gcp import acts, calls
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import CredentialRow, EvidenceRow, FindingRow, IdentityRow, ScreamStepRow
from tests.conftest import Clock, on_sqlite
from tests.gcp_fake import ORGANIZATION, Account, Google, Key, Project
from tests.jobs_world import POLICY, World

USE = "policyanalyzer.projects.locations.activityTypes.activities.query"


class GoogleWorld(World):
    """The same small world, with Google Cloud in the place of AWS."""

    google: Google

    def scan(self) -> scan.Tally:
        return work.scan_all(self.program)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_BACK_OFF", 0.01)
    monkeypatch.setattr(acts, "_PAUSE", 0.0)


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace) -> Iterator[GoogleWorld]:
    with Google(now=clock) as google:
        source = f'[[sources]]\nprovider = "gcp"\nscope = "{ORGANIZATION}"\nendpoint = "{google.url}"\n'
        settings.nhi_policy.write_text(f'{POLICY}\n[owners]\nfallback = "ana@example.com"\n{source}')
        program = open_program(settings, clock=clock)
        try:
            found = GoogleWorld(program, cast(Cloud, google), workspace, clock)
            found.google = google
            yield found
        finally:
            program.engine.dispose()


@pytest.fixture
def shop(world: GoogleWorld) -> Project:
    return world.google.add_project("shop-prod", owner="ana")


@pytest.fixture
def ci(world: GoogleWorld, shop: Project) -> tuple[Account, Key]:
    """An account that nobody used for long, with a key that is used every day but for the last three months."""
    now = world.clock()
    ana = "ana@example.com"
    account = world.google.add_account(
        shop, "ci", made_at=now - timedelta(days=390), last_used_at=now - timedelta(days=120), by=ana
    )
    key = world.google.add_key(
        account, made_at=now - timedelta(days=380), last_used_at=now - timedelta(days=120), by=ana
    )
    return account, key


def credential_rows(world: GoogleWorld) -> dict[str, CredentialRow]:
    return {row.kind: row for row in world.rows(CredentialRow)}


def test_an_unused_account_and_its_old_key_are_found_and_their_maker_is_asked(
    world: GoogleWorld, ci: tuple[Account, Key]
) -> None:
    account, _ = ci
    tally = world.scan()
    assert tally.complete
    assert world.findings(account.email) == [
        (account.email, FindingKind.UNOWNED),
        (account.email, FindingKind.UNROTATED),
        (account.email, FindingKind.UNUSED),
        (account.email, FindingKind.UNUSED),
    ]
    world.ask()
    assert world.asked() == [(account.email, "ana")]
    world.deliver()
    (message,) = [str(one) for one in world.messages("ana")]
    assert "Google Cloud service account" in message
    assert "Google's audit log shows CreateServiceAccount" in message
    assert "domain-wide delegation. Seen up to" in message  # what the sources do not see is on the card, whole


def test_another_projects_default_account_is_of_that_projects_environment(
    world: GoogleWorld, shop: Project, ci: tuple[Account, Key]
) -> None:
    lab = world.google.add_project("shop-dev")
    email = f"{lab.number.partition('/')[2]}-compute@developer.gserviceaccount.com"
    default = world.google.add_account(lab, "default", made_at=world.clock() - timedelta(days=9), email=email)
    world.google.bind("roles/iam.serviceAccountTokenCreator", f"serviceAccount:{default.email}", on=shop)
    world.scan()
    account, _ = ci
    assert (account.email, FindingKind.CROSS_ENVIRONMENT) in world.findings(account.email)


def test_a_key_is_disabled_on_a_person_s_word_and_comes_back_with_undo(
    world: GoogleWorld, ci: tuple[Account, Key]
) -> None:
    account, key = ci
    world.scan()
    world.ask()
    remediation = world.decide(account.email, key.id)
    assert world.remediate().done == [remediation]
    assert (key.disabled, account.disabled) == (True, False)
    assert credential_rows(world)["service_account_key"].status is CredentialStatus.INACTIVE
    world.undo(remediation)
    assert world.remediate().undone == [remediation]
    assert not key.disabled
    assert world.google.switched() == [f"{verb} {account.unique_id}/keys/{key.id}" for verb in ("disable", "enable")]
    assert world.events("credential.disabled", "credential.enabled") == ["credential.disabled", "credential.enabled"]


@on_sqlite
def test_an_account_itself_is_disabled_and_comes_back_with_undo(world: GoogleWorld, ci: tuple[Account, Key]) -> None:
    account, key = ci
    world.scan()
    world.ask()
    remediation = world.decide(account.email, account.email)
    assert world.remediate().done == [remediation]
    assert (account.disabled, key.disabled) == (True, False)
    world.scan()
    assert world.findings(account.email) == [(account.email, FindingKind.UNOWNED)]  # its keys are as good as off
    world.undo(remediation)
    assert world.remediate().undone == [remediation]
    assert not account.disabled


@on_sqlite
def test_a_scream_test_hears_in_the_audit_log_who_still_calls(world: GoogleWorld, ci: tuple[Account, Key]) -> None:
    account, key = ci
    policy = world.program.settings.nhi_policy
    told = policy.read_text().replace('mode = "reversible"', 'mode = "reversible"\nscream_test = { when = "always" }')
    policy.write_text(told)
    world.scan()
    world.ask()
    remediation = world.decide(account.email, key.id)
    assert world.remediate().testing == [remediation]
    assert "leaves no trace" in world.rows(ScreamStepRow)[0].coverage
    world.clock.pass_by(minutes=2)
    world.remediate()
    assert key.disabled
    world.google.add_use(account, "storage.objects.list", world.clock(), key=key.id)
    world.clock.pass_by(minutes=2)
    world.remediate()
    row = world.remediation(remediation)
    assert (key.disabled, row.status) == (False, RemediationStatus.REFUSED)
    assert "storage:storage.objects.list from 198.51.100.7" in (row.because or "")


@on_sqlite
def test_an_account_without_a_key_has_a_button_that_turns_it_off(world: GoogleWorld, shop: Project) -> None:
    now = world.clock()
    account = world.google.add_account(
        shop, "lone", made_at=now - timedelta(days=390), last_used_at=now - timedelta(days=120), by="ana@example.com"
    )
    world.scan()
    assert world.identity(account.email).custody is Custody.NOBODY
    world.ask()
    world.deliver()
    (message,) = [str(one) for one in world.messages("ana")]
    assert "nhi:disable" in message
    assert "nhi:rotate" not in message
    assert world.remediate().done == []
    remediation = world.decide(account.email, account.email)
    assert world.remediate().done == [remediation]
    assert account.disabled


@on_sqlite
def test_what_was_used_an_hour_ago_is_not_turned_off_though_the_analyser_has_not_seen_it(
    world: GoogleWorld, ci: tuple[Account, Key]
) -> None:
    account, key = ci
    world.scan()
    world.ask()
    remediation = world.decide(account.email, key.id)
    key.last_used_at = world.clock() - timedelta(hours=1)
    tally = world.remediate()
    assert tally.done == []
    assert world.remediation(remediation).status is RemediationStatus.REFUSED
    assert "It was used on" in str(world.remediation(remediation).because)
    assert world.google.switched() == []


@on_sqlite
def test_what_cannot_be_looked_at_is_not_turned_off(world: GoogleWorld, ci: tuple[Account, Key]) -> None:
    account, key = ci
    world.scan()
    world.ask()
    remediation = world.decide(account.email, key.id)
    world.google.refuse("monitoring.projects.timeSeries.list")
    world.remediate()
    assert world.remediation(remediation).status is RemediationStatus.REFUSED
    assert world.google.switched() == []


@on_sqlite
def test_a_scan_that_cannot_look_calls_nothing_gone_and_resolves_nothing(
    world: GoogleWorld, ci: tuple[Account, Key]
) -> None:
    world.scan()
    before = world.findings()
    world.google.refuse("cloudasset.searchAllResources")
    world.clock.pass_by(days=1)
    tally = world.scan()
    assert not tally.complete
    assert world.findings() == before
    assert world.identity(ci[0].email).gone_at is None


def test_an_account_that_is_deleted_is_gone_and_one_of_another_source_is_not(
    world: GoogleWorld, ci: tuple[Account, Key]
) -> None:
    world.scan()
    world.change(IdentityRow, {"tags": {"gcp:organization": "organizations/1"}, "account": "elsewhere", "key": "7"})
    world.scan()
    held, other = sorted(world.rows(IdentityRow), key=lambda row: row.account != "shop-prod")
    assert (held.gone_at, other.gone_at) == (None, None)
    del world.google.accounts[ci[0].unique_id]
    world.clock.pass_by(days=1)
    world.scan()
    held, other = sorted(world.rows(IdentityRow), key=lambda row: row.account != "shop-prod")
    assert held.gone_at is not None
    assert other.gone_at is None


def test_what_lies_around_an_account_is_evidence_while_it_is_told(world: GoogleWorld, ci: tuple[Account, Key]) -> None:
    account, _ = ci
    account.description = "nightly export, ask bea@example.com"
    world.google.bind("roles/owner", "user:cem@example.com", "group:team@example.com", on=account.project)
    world.google.delegate(account.unique_id, ["mail"], at=world.clock() - timedelta(days=399))
    world.scan()
    assert evidence(world) == {
        ("label", "ana"),
        ("description", "bea@example.com"),
        ("project_owner", "cem@example.com"),
        ("creator", "ana@example.com"),
    }
    account.description = ""
    world.google.organization_entries = []  # the log keeps it no longer, and tells of no end
    world.google.refuse("cloudasset.searchAllIamPolicies", times=1)
    world.scan()
    assert world.identity(account.email).tags[DELEGATED] == "mail"
    assert ("project_owner", "cem@example.com") in evidence(world)  # a gap hides owners: what was known still speaks
    assert ("description", "bea@example.com") in evidence(world)
    world.scan()
    assert evidence(world) == {
        ("label", "ana"),
        ("project_owner", "cem@example.com"),
        ("creator", "ana@example.com"),
    }


@on_sqlite
def test_permissions_that_were_not_read_are_not_gone(world: GoogleWorld, ci: tuple[Account, Key]) -> None:
    account, _ = ci
    policy = world.program.settings.nhi_policy
    policy.write_text(policy.read_text() + "recommender = true\n")
    world.google.roles = {"roles/editor": ["a.get"]}
    world.google.bind("roles/editor", f"serviceAccount:{account.email}", on=account.project)
    trusting = "roles/iam.serviceAccountTokenCreator"
    world.google.bind(trusting, "serviceAccount:x@dev-lab.iam.gserviceaccount.com", on=account)
    world.google.recommend(account, "roles/editor", at=world.clock() - timedelta(days=1))
    world.scan()
    before = world.findings(account.email)
    assert {FindingKind.OVERPRIVILEGED, FindingKind.CROSS_ENVIRONMENT} <= {kind for _, kind in before}
    world.google.refuse("cloudasset.searchAllIamPolicies")
    world.clock.pass_by(days=1)
    tally = world.scan()
    assert (tally.complete, tally.opened, tally.resolved) == (False, 0, 0)
    assert world.findings(account.email) == before
    (row,) = world.rows(IdentityRow)
    assert (row.privileged, row.policies) == (True, ["roles/editor on projects/shop-prod"])
    assert world.events("permissions.changed") == []


def evidence(world: GoogleWorld) -> set[tuple[str, str]]:
    with reading(world.sessions) as session:
        return {(source, who) for source, who in session.execute(select(EvidenceRow.source, EvidenceRow.points_to))}


@on_sqlite
def test_a_second_scan_of_the_same_opens_and_resolves_nothing(world: GoogleWorld, ci: tuple[Account, Key]) -> None:
    world.google.add_api_key(ci[0].project, "maps", made_at=world.clock() - timedelta(days=300))
    first = world.scan()
    again = world.scan()
    assert first.opened == 6
    assert (again.opened, again.resolved) == (0, 0)
    assert len(world.rows(FindingRow)) == 6
    assert world.asked(status=AskStatus.OPEN) == []
