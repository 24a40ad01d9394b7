"""What a scan of Google Cloud sees. Over HTTP, against tests/gcp_fake.py, which Google's discovery documents judge."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nhi import findings
from nhi.findings import FindingKind
from nhi.identity import Credential, CredentialStatus, Custody, Gap, Identity
from nhi.policy import Policy, Source
from nhi.providers import Memory, SpansAccounts, TellsCreators, TellsOwners
from nhi.providers.gcp import Gcp, connect
from tests.gcp_fake import ORGANIZATION, Account, Google, Project

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ANA = "ana@example.com"


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def day(days: float) -> datetime:
    """Return a day as the activity analyser tells it."""
    return ago(days).replace(hour=7, minute=0, second=0, microsecond=0)


@pytest.fixture
def google() -> Iterator[Google]:
    with Google(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def shop(google: Google) -> Project:
    return google.add_project("shop-prod", folders=["folders/77"], owner="ana", environment="prod")


@pytest.fixture
def ci(google: Google, shop: Project) -> Account:
    return google.add_account(shop, "ci", made_at=ago(900), last_used_at=ago(10))


def opened(google: Google, scope: str = ORGANIZATION) -> Gcp:
    return connect(Source(provider="gcp", scope=scope, endpoint=google.url))


def scanned(google: Google, scope: str = ORGANIZATION) -> tuple[dict[str, Identity], list[Gap]]:
    """Scan once; return the identities by name, and the gaps."""
    seen = list(opened(google, scope).scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
    identities = [one for one in seen if isinstance(one, Identity)]
    assert len({one.key for one in identities}) == len(identities)
    return {one.name: one for one in identities}, [one for one in seen if isinstance(one, Gap)]


def credential(identity: Identity, kind: str) -> Credential:
    (found,) = [one for one in identity.credentials if one.kind == kind]
    return found


def kinds(identity: Identity, gaps: list[Gap] | None = None) -> list[tuple[FindingKind, str]]:
    """Return what is found of the identity's credentials: (finding, kind of credential)."""
    assessed = findings.assess(identity, owner_active=True, gaps=gaps or [], policy=Policy(), now=NOW)
    return sorted((one.kind, str(one.credential_key).partition("/")[0]) for one in assessed)


# Accounts and their keys


def test_an_account_is_an_identity_and_its_ability_to_sign_in_a_credential_that_nobody_holds(
    google: Google, ci: Account
) -> None:
    identities, gaps = scanned(google)
    found = identities[ci.email]
    assert (found.provider, found.kind, found.account) == ("gcp", "service_account", "shop-prod")
    assert (found.key, found.principal) == (ci.unique_id, f"serviceAccount:{ci.email}")
    assert found.custody is Custody.NOBODY
    itself = credential(found, "service_account")
    assert (itself.external_id, itself.custody, itself.status) == (ci.email, Custody.NOBODY, CredentialStatus.ACTIVE)
    assert itself.last_used_at == day(10)
    assert not gaps


def test_a_key_that_was_handed_out_is_ours_and_google_s_own_keys_are_not_shown(google: Google, ci: Account) -> None:
    ours = google.add_key(ci, made_at=ago(200), last_used_at=ago(100))
    google.add_key(ci, made_at=ago(5), kind="SYSTEM_MANAGED")
    found = scanned(google)[0][ci.email]
    key = credential(found, "service_account_key")
    assert found.custody is Custody.OURS
    assert (key.external_id, key.custody, key.last_used_at) == (ours.id, Custody.OURS, day(100))
    assert key.created_at == key.rotated_at == ago(200)


@pytest.mark.parametrize("named_by_email", [True, False])
@pytest.mark.parametrize("tells_key_types", [True, False])
def test_keys_are_found_however_the_inventory_names_their_account_and_whatever_it_tells_of_them(
    google: Google, ci: Account, named_by_email: bool, tells_key_types: bool
) -> None:
    ours = google.add_key(ci, made_at=ago(200))
    google.add_key(ci, made_at=ago(5), kind="SYSTEM_MANAGED")
    google.named_by_email, google.tells_key_types = named_by_email, tells_key_types
    found = scanned(google)[0][ci.email]
    assert credential(found, "service_account_key").external_id == ours.id
    assert google.calls()["iam.projects.serviceAccounts.keys.list"] == (0 if tells_key_types else 1)


def test_a_key_is_off_when_it_its_account_or_its_time_says_so(google: Google, shop: Project, ci: Account) -> None:
    google.add_key(ci, made_at=ago(200), disabled=True)
    google.add_key(ci, made_at=ago(200), ends_at=NOW)
    google.add_key(ci, made_at=ago(200), ends_at=NOW + timedelta(seconds=1))
    off = google.add_account(shop, "off", made_at=ago(900), disabled=True)
    google.add_key(off, made_at=ago(200))
    identities, _ = scanned(google)
    keys = [one.status for one in identities[ci.email].credentials if one.kind == "service_account_key"]
    assert keys == [CredentialStatus.INACTIVE, CredentialStatus.INACTIVE, CredentialStatus.ACTIVE]
    assert {one.status for one in identities[off.email].credentials} == {CredentialStatus.INACTIVE}


def test_a_default_account_is_the_platform_s_until_it_has_a_key_of_ours(google: Google, shop: Project) -> None:
    email = "100000-compute@developer.gserviceaccount.com"
    default = google.add_account(shop, "", made_at=ago(900), email=email)
    found = scanned(google)[0][email]
    assert (found.custody, found.tags["gcp:default"], kinds(found)) == (Custody.PLATFORM, "compute", [])
    google.add_key(default, made_at=ago(400))
    found = scanned(google)[0][email]
    assert found.custody is Custody.OURS
    assert (FindingKind.UNROTATED, "service_account_key") in kinds(found)


def test_accounts_that_google_makes_for_its_services_are_marked_and_break_no_rule(
    google: Google, shop: Project
) -> None:
    agents = ["service-100000@gcp-sa-pubsub.iam.gserviceaccount.com", "100000@cloudservices.gserviceaccount.com"]
    google.bind("roles/editor", *(f"serviceAccount:{agent}" for agent in agents), on=shop)
    identities, _ = scanned(google)
    for agent in agents:
        found = identities[agent]
        assert (found.kind, found.account, found.custody) == ("service_agent", "shop-prod", Custody.PLATFORM)
        assert found.service_linked
        assert found.policies == ("roles/editor on projects/shop-prod",)
        assert not findings.assess(found, owner_active=None, gaps=(), policy=Policy(), now=NOW)


@pytest.mark.parametrize("broad", ["roles/editor", "roles/writer"])
def test_an_account_is_privileged_by_a_broad_role_on_a_project_and_not_by_a_narrow_one(
    google: Google, shop: Project, ci: Account, broad: str
) -> None:
    google.bind("roles/storage.objectViewer", f"serviceAccount:{ci.email}", on=shop)
    google.bind("roles/owner", f"serviceAccount:{ci.email}", on=ci)  # of one account, not of a project
    assert not scanned(google)[0][ci.email].privileged
    google.bind(broad, f"serviceAccount:{ci.email}")
    found = scanned(google)[0][ci.email]
    assert found.privileged
    assert f"{broad} on {ORGANIZATION}" in found.policies


# Use


def test_use_is_told_to_the_day_and_only_up_to_where_the_analyser_has_looked(google: Google, ci: Account) -> None:
    late = google.add_account(ci.project, "late", made_at=ago(300), last_used_at=ago(1), by=ANA)
    found = scanned(google)[0][late.email]
    itself = credential(found, "service_account")
    assert itself.last_used_at is None  # the analyser is two days late
    assert itself.coverage.seen_until == google.seen_until < ago(1)
    assert itself.coverage.seen_from == google.seen_until - timedelta(days=500)
    assert "HMAC" in itself.coverage.says


def test_where_the_analyser_knows_of_no_use_at_all_it_counts_as_three_days_late(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "only", made_at=ago(93), by=ANA)
    found = scanned(google)[0][account.email]
    assert credential(found, "service_account").coverage.seen_until == ago(3)
    assert kinds(found) == [(FindingKind.UNUSED, "service_account")]


@pytest.mark.parametrize(("age", "unused"), [(timedelta(days=90), True), (timedelta(days=90, seconds=-1), False)])
def test_a_never_used_account_is_unused_from_its_creation_as_the_audit_log_tells_it(
    google: Google, shop: Project, age: timedelta, unused: bool
) -> None:
    account = google.add_account(shop, "new", made_at=google.seen_until - age, by=ANA)
    google.add_account(shop, "busy", made_at=ago(900), last_used_at=ago(3))
    found = scanned(google)[0][account.email]
    assert found.created_at == account.made_at
    assert ((FindingKind.UNUSED, "service_account") in kinds(found)) is unused


def test_a_never_used_account_that_is_older_than_the_audit_log_is_unused_for_as_long_as_the_analyser_remembers(
    google: Google, shop: Project
) -> None:
    account = google.add_account(shop, "old", made_at=ago(900))
    google.add_account(shop, "busy", made_at=ago(900), last_used_at=ago(3))
    found = scanned(google)[0][account.email]
    assert found.created_at is None
    (finding,) = findings.assess(found, owner_active=True, gaps=(), policy=Policy(), now=NOW)
    assert (
        finding.why == "This service account was not used in the 500 days that are remembered; policy allows 90 days."
    )


def test_when_accounts_in_use_were_made_is_not_asked(google: Google, ci: Account) -> None:
    scanned(google, "projects/shop-prod")
    assert google.calls("logging.entries.list").total() == 0


def test_a_key_that_was_never_used_is_unused_from_its_creation(google: Google, ci: Account) -> None:
    google.add_key(ci, made_at=google.seen_until - timedelta(days=90))
    google.add_key(ci, made_at=google.seen_until - timedelta(days=90) + timedelta(seconds=1))
    google.add_key(ci, made_at=ago(80), last_used_at=ago(10))
    found = scanned(google)[0][ci.email]
    assert kinds(found).count((FindingKind.UNUSED, "service_account_key")) == 1


def test_an_account_that_acts_for_people_of_workspace_is_marked_and_never_called_unused(
    google: Google, shop: Project
) -> None:
    account = google.add_account(shop, "mailer", made_at=ago(900), last_used_at=ago(300))
    google.add_key(account, made_at=ago(20))
    google.delegate(account.unique_id, ["https://mail.google.com/"], at=ago(300))
    found = scanned(google)[0][account.email]
    assert found.tags["gcp:domain-wide-delegation"] == "https://mail.google.com/"
    assert found.privileged
    assert kinds(found) == []
    assert all(one.use_gap for one in found.credentials)


def test_a_delegation_that_was_withdrawn_marks_nothing(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "mailer", made_at=ago(900), last_used_at=ago(300))
    google.delegate(account.unique_id, ["a"], at=ago(300))
    google.delegate(account.unique_id, ["a"], at=ago(200), withdrawn=True)
    found = scanned(google)[0][account.email]
    assert "gcp:domain-wide-delegation" not in found.tags
    assert (FindingKind.UNUSED, "service_account") in kinds(found)


def test_an_account_with_an_api_key_bound_to_it_is_never_called_unused(google: Google, shop: Project) -> None:
    account = google.add_account(shop, "vision", made_at=ago(900), last_used_at=ago(300))
    uid = google.add_api_key(shop, "vision key", made_at=ago(20), serviceAccountEmail=account.email)
    identities, _ = scanned(google)
    assert kinds(identities[account.email]) == []
    assert identities["vision key"].tags["gcp:service-account"] == account.email
    assert identities["vision key"].key == uid


# API keys and workload identity


def test_an_api_key_is_ours_grows_old_and_tells_nothing_of_its_use(google: Google, shop: Project) -> None:
    google.add_api_key(shop, "maps", made_at=ago(91), annotations={"owner": ANA})
    google.add_api_key(
        shop, "fresh", made_at=ago(89), restrictions={"apiTargets": [{"service": "maps.googleapis.com"}]}
    )
    google.add_api_key(shop, "deleted", made_at=ago(91), deleteTime="2026-10-31T00:00:00Z")
    identities, _ = scanned(google)
    assert set(identities) == {"maps", "fresh"}
    assert kinds(identities["maps"]) == [(FindingKind.UNROTATED, "api_key")]
    assert kinds(identities["fresh"]) == []
    assert identities["maps"].tags["owner"] == ANA
    assert [identities[name].tags["gcp:restricted"] for name in ("maps", "fresh")] == ["no", "yes"]


def test_a_workload_identity_pool_is_nobody_s_with_what_it_trusts_and_what_its_identities_may_do(
    google: Google, shop: Project, ci: Account
) -> None:
    pool = google.add_pool(shop, "github")
    google.add_provider(shop, pool, "actions", oidc={"issuerUri": "https://token.actions.githubusercontent.com"})
    google.add_provider(shop, pool, "build", aws={"accountId": "111122223333"}, disabled=True)
    google.add_provider(shop, pool, "deleted", state="DELETED")
    member = f"principalSet://iam.googleapis.com/{pool}/attribute.repository/example/shop"
    google.bind("roles/iam.workloadIdentityUser", member, on=ci)
    found = scanned(google)[0]["github"]
    assert (found.kind, found.account, found.custody) == ("workload_identity_pool", "shop-prod", Custody.NOBODY)
    assert {one.key: (one.custody, one.status) for one in found.credentials} == {
        "workload_identity_provider/actions": (Custody.NOBODY, CredentialStatus.ACTIVE),
        "workload_identity_provider/build": (Custody.NOBODY, CredentialStatus.INACTIVE),
    }
    assert found.tags["gcp:trusts/build"] == "AWS account 111122223333"
    (grant,) = found.policies
    assert grant.endswith("for attribute.repository/example/shop")
    assert kinds(found) == []


def test_pools_that_only_bindings_know_are_google_s_own_or_from_outside(google: Google, shop: Project) -> None:
    cluster, other = "projects/100000/locations/global/workloadIdentityPools/shop-prod.svc.id.goog", "projects/42"
    outside = f"{other}/locations/global/workloadIdentityPools/partner"
    for name in (cluster, outside):
        google.bind("roles/viewer", f"principal://iam.googleapis.com/{name}/subject/ns/shop/sa/web", on=shop)
    identities, _ = scanned(google)
    assert identities["shop-prod.svc.id.goog"].service_linked
    assert identities["partner"].tags["gcp:outside"] == "yes"
    assert identities["partner"].account == "42"


# Scopes, pages and calls


def test_a_project_and_a_folder_show_what_lies_in_them_and_the_organisation_s_log_is_left_alone(
    google: Google, ci: Account
) -> None:
    elsewhere = google.add_account(google.add_project("lab"), "lab", made_at=ago(900), last_used_at=ago(3))
    assert set(scanned(google, "projects/shop-prod")[0]) == set(scanned(google, "folders/77")[0]) == {ci.email}
    assert google.calls("logging.entries.list").total() == 0
    assert set(scanned(google)[0]) == {ci.email, elsewhere.email}


def test_a_source_holds_what_lies_in_its_scope_and_nothing_else(google: Google, ci: Account) -> None:
    google.bind("roles/editor", "serviceAccount:100000@cloudservices.gserviceaccount.com", on=ci.project)
    identities, _ = scanned(google)
    account, agent = identities[ci.email], identities["100000@cloudservices.gserviceaccount.com"]
    for scope in (ORGANIZATION, "folders/77", "projects/shop-prod", "projects/100000"):
        assert opened(google, scope).holds(account)
    for scope in ("organizations/1", "folders/7", "projects/shop", "projects/10000"):
        assert not opened(google, scope).holds(account)
    assert opened(google).holds(agent)
    assert not opened(google, "projects/shop-prod").holds(agent)  # a narrower look may not see its bindings


def test_a_scan_costs_two_searches_and_a_call_or_two_a_project(google: Google, ci: Account) -> None:
    google.add_project("empty")
    google.add_account(google.add_project("lab"), "lab", made_at=ago(900), last_used_at=ago(3))
    google.add_key(ci, made_at=ago(200))
    provider = opened(google)
    list(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
    assert provider.api_calls == {
        "cloudasset.assets.searchAllResources": 1,
        "cloudasset.assets.searchAllIamPolicies": 1,
        "policyanalyzer.serviceAccountLastAuthenticationActivities.query": 2,
        "policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query": 1,
        "logging.logEntries.list": 1,
    }
    assert sum(provider.api_calls.values()) == len(google.asked)
    assert set(provider.api_calls) <= {one.action for one in provider.permissions}
    assert set(provider.queries) == set(provider.api_calls)
    assert "pageSize=500" in provider.queries["cloudasset.assets.searchAllResources"]
    assert ci.email not in str(provider.queries)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page_size=st.integers(1, 9), accounts=st.integers(0, 6), keys=st.integers(0, 3))
def test_the_same_is_seen_whatever_the_pages(page_size: int, accounts: int, keys: int) -> None:
    with Google(now=lambda: NOW) as google:
        for project in (google.add_project("one"), google.add_project("two")):
            for number in range(accounts):
                account = google.add_account(project, f"sa-{number}", made_at=ago(100), last_used_at=ago(95), by=ANA)
                google.bind("roles/viewer", f"serviceAccount:{account.email}", on=project)
                for _ in range(keys):
                    google.add_key(account, made_at=ago(90 + number), last_used_at=ago(number + 3))
        whole, no_gaps = scanned(google)
        google.page_size = page_size
        assert scanned(google) == (whole, no_gaps)
        assert no_gaps == []
        assert len(whole) == 2 * accounts


def test_it_is_all_that_it_says_it_is(google: Google) -> None:
    provider = opened(google)
    assert isinstance(provider, SpansAccounts)
    assert isinstance(provider, TellsCreators)
    assert isinstance(provider, TellsOwners)
    assert provider.account == ORGANIZATION
    assert not google.asked
