"""Who made Google's accounts and keys, by the audit log. Over HTTP, against tests/gcp_fake.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from nhi.identity import Aspect, Credential, CredentialStatus, Custody, Evidence, Gap, Identity
from nhi.policy import Source
from nhi.providers.gcp import calls, connect, logs
from tests.gcp_fake import ORGANIZATION, Account, Google, Project

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ANA = "ana@example.com"


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_BACK_OFF", 0.01)
    monkeypatch.setattr(calls, "_QUOTAS", {})


@pytest.fixture
def google() -> Iterator[Google]:
    with Google(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def shop(google: Google) -> Project:
    return google.add_project("shop")


def identity(account: Account, *, made_at: datetime | None = None) -> Identity:
    """Return the account as a scan yields it; `made_at` None: not known."""
    keys = tuple(
        Credential(
            key=f"service_account_key/{key.id}",
            kind="service_account_key",
            external_id=key.id,
            status=CredentialStatus.ACTIVE,
            custody=Custody.OURS,
            created_at=key.made_at,
            rotated_at=key.made_at,
            last_used_at=None,
        )
        for key in account.keys.values()
    )
    return Identity(
        provider="gcp",
        kind="service_account",
        account=account.project.id,
        key=account.unique_id,
        name=account.email,
        principal=account.email,
        custody=Custody.OURS,
        created_at=made_at,
        last_used_at=None,
        credentials=keys,
    )


def told(google: Google, *identities: Identity) -> list[Evidence | Gap]:
    return list(connect(Source(provider="gcp", scope=ORGANIZATION, endpoint=google.url)).creators(identities, now=NOW))


def test_who_made_an_account_and_who_made_its_keys_is_told_each_with_its_time(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "ci", made_at=ago(300), by=ANA)
    google.add_key(account, made_at=ago(20), by="bea@example.com")
    found = told(google, identity(account))
    assert [(one.source, one.fact, one.points_to, one.at) for one in found if isinstance(one, Evidence)] == [
        ("creator", f"CreateServiceAccount by {ANA}", ANA, ago(300)),
        ("creator", "CreateServiceAccountKey by bea@example.com", "bea@example.com", ago(20)),
    ]
    assert {one.identity_key for one in found if isinstance(one, Evidence)} == {account.unique_id}


def test_what_a_machine_made_is_evidence_of_nobody(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "ci", made_at=ago(300), by="terraform@shop.iam.gserviceaccount.com")
    assert told(google, identity(account)) == []


def test_a_call_that_failed_is_evidence_of_nothing(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "ci", made_at=ago(300), by=ANA)
    shop.entries[0]["protoPayload"]["status"] = {"code": 7, "message": "denied"}
    assert told(google, identity(account)) == []


def test_an_earlier_account_of_the_same_e_mail_is_another_one(google: Google, shop: Project) -> None:
    google.add_account(shop, "ci", made_at=ago(300), by=ANA)
    anew = google.add_account(shop, "ci", made_at=ago(100), by="bea@example.com")
    (found,) = told(google, identity(anew))
    assert isinstance(found, Evidence)
    assert found.points_to == "bea@example.com"


def test_entries_in_no_known_shape_are_passed_over(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "ci", made_at=ago(300), by=ANA)
    broken = {"logName": "x", "timestamp": "2026-10-01T00:00:00Z", "protoPayload": {"methodName": logs.CREATED}}
    shop.entries += [broken, {**broken, "resource": {"labels": {"unique_id": account.unique_id}}}]
    assert len(told(google, identity(account))) == 1


@pytest.mark.parametrize(("days", "asked"), [(400, 1), (401, 0)])
def test_only_what_the_log_can_still_hold_is_asked_for(google: Google, shop: Project, days: int, asked: int) -> None:
    account = google.add_account(shop, "ci", made_at=ago(days), by=ANA)
    assert len(told(google, identity(account, made_at=ago(days)))) == asked
    assert google.calls("logging.entries.list").total() == asked


def test_a_hundred_projects_are_asked_about_together(google: Google) -> None:
    accounts = [google.add_account(google.add_project(f"p{n:03}"), "sa", made_at=ago(9), by=ANA) for n in range(101)]
    assert len(told(google, *map(identity, accounts))) == 101
    assert google.calls("logging.entries.list").total() == 2


def test_a_project_that_refuses_is_found_and_hides_nobody_else(google: Google) -> None:
    accounts = [google.add_account(google.add_project(f"p{n:03}"), "sa", made_at=ago(9), by=ANA) for n in range(16)]
    google.refuse("logging.entries.list", '"projects/p005"')
    found = told(google, *map(identity, accounts))
    (gap,) = [one for one in found if isinstance(one, Gap)]
    assert (gap.scope, set(gap.hides)) == ("gcp/p005/service_account", {Aspect.OWNER})
    assert len(found) - 1 == 15
    assert google.calls("logging.entries.list").total() == 1 + 2 * 4


def test_where_all_refuse_the_search_for_the_refusing_ones_is_given_up(google: Google) -> None:
    accounts = [google.add_account(google.add_project(f"p{n:03}"), "sa", made_at=ago(9), by=ANA) for n in range(90)]
    google.refuse("logging.entries.list")
    found = told(google, *map(identity, accounts))
    assert {one.scope for one in found if isinstance(one, Gap)} == {f"gcp/p{n:03}/service_account" for n in range(90)}
    assert google.calls("logging.entries.list").total() <= 1 + 40


def test_a_log_too_long_to_read_is_a_gap(google: Google, shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    account = google.add_account(shop, "ci", made_at=ago(300), by=ANA)
    for _ in range(4):
        google.add_key(account, made_at=ago(20), by=ANA)
    google.page_size = 1
    monkeypatch.setattr(logs, "_PAGES", 2)
    (gap,) = told(google, identity(account))
    assert isinstance(gap, Gap)
    assert gap.reason.startswith("TooManyEntries: ")
