"""What a scan of Google Cloud says when it cannot see. Over HTTP, against tests/gcp_fake.py."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nhi import findings
from nhi.identity import DELEGATED, Aspect, Gap, Identity
from nhi.inventory import reconcile
from nhi.policy import Policy, Source
from nhi.providers import Memory, Progress
from nhi.providers.gcp import Gcp, calls, connect
from tests.gcp_fake import ORGANIZATION, Google, Project

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
SEARCH, POLICIES = "cloudasset.searchAllResources", "cloudasset.searchAllIamPolicies"
USE = "policyanalyzer.projects.locations.activityTypes.activities.query"
ACCOUNT_USE = "policyanalyzer.serviceAccountLastAuthenticationActivities.query"
KEY_USE = "policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query"
LOGS = "logging.entries.list"


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_BACK_OFF", 0.01)


@pytest.fixture
def google() -> Iterator[Google]:
    """Two projects with an account each that is unused, and one key of ours."""
    with Google(now=lambda: NOW) as running:
        for name in ("one", "two"):
            account = running.add_account(running.add_project(name), name, made_at=ago(900), last_used_at=ago(200))
            running.add_key(account, made_at=ago(300), last_used_at=ago(200))
        yield running


def opened(google: Google, **more: object) -> Gcp:
    return connect(Source.model_validate({"provider": "gcp", "scope": ORGANIZATION, "endpoint": google.url} | more))


def scanned(
    google: Google, delegated: Mapping[str, str] | None = None, **more: object
) -> tuple[list[Identity], list[Gap]]:
    memory = Memory(credential_ids={}, delegated=delegated or {})
    seen = list(opened(google, **more).scan(memory=memory, matters=lambda *_: True, now=NOW))
    return [one for one in seen if isinstance(one, Identity)], [one for one in seen if isinstance(one, Gap)]


def unused(identities: list[Identity], gaps: list[Gap]) -> list[str]:
    """Return of what an unused account or key is found: names of identities, one for each finding."""
    return sorted(
        identity.name.partition("@")[0]
        for identity in identities
        for finding in findings.assess(identity, owner_active=True, gaps=gaps, policy=Policy(), now=NOW)
        if finding.kind is findings.FindingKind.UNUSED
    )


def test_everything_is_well_at_first(google: Google) -> None:
    identities, gaps = scanned(google)
    assert not gaps
    assert unused(identities, gaps) == ["one", "one", "two", "two"]


def test_where_the_search_is_refused_everything_is_a_gap_and_nothing_is_gone(google: Google) -> None:
    known, _ = scanned(google)
    google.refuse(SEARCH)
    provider = opened(google)
    first = next(iter(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW)))
    assert first == Gap(
        scope="gcp",
        reason=f"PERMISSION_DENIED: cloudasset.assets.searchAllResources on {ORGANIZATION}",
        hides=frozenset(Aspect),
    )
    identities, gaps = scanned(google)
    assert identities == []
    assert reconcile(identities, known, gaps).gone == ()


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 500}, {"status": 200, "raw": b"<html>"}])
def test_what_a_search_showed_before_it_broke_off_is_kept_and_the_rest_is_not_gone(
    google: Google, fault: dict[str, Any]
) -> None:
    known, _ = scanned(google)
    google.page_size = 3  # a project, its account and its key come before the next project
    google.refuse(SEARCH, page=2, **fault)
    identities, gaps = scanned(google)
    assert 0 < len(identities) < len(known)
    assert [gap.hides for gap in gaps if "Resources" in gap.reason] == [frozenset(Aspect)]
    assert reconcile(identities, known, gaps).gone == ()
    assert unused(identities, gaps) == []


def test_where_policies_are_refused_owners_may_be_missing_and_google_s_own_accounts_are_not_gone(
    google: Google,
) -> None:
    google.bind("roles/editor", "serviceAccount:100000@cloudservices.gserviceaccount.com")
    one = google.projects["one"]
    google.bind("roles/editor", "serviceAccount:one@one.iam.gserviceaccount.com", on=one)
    known, _ = scanned(google)
    google.refuse(POLICIES)
    identities, gaps = scanned(google)
    assert len(identities) == len(known) - 1
    assert [gap.hides for gap in gaps] == [frozenset({Aspect.OWNER, Aspect.EXISTENCE, Aspect.PERMISSIONS})]
    assert all(identity.access is None for identity in identities)
    changes = reconcile(identities, known, gaps)
    assert changes.gone == ()
    assert {(each.account, each.privileged, each.policies) for each in changes.updated} == {
        ("one", True, ("roles/editor on projects/one",)),
        ("two", False, ()),
    }
    assert unused(identities, gaps) == ["one", "one", "two", "two"]


def test_a_project_that_does_not_tell_use_is_a_gap_of_its_own_and_the_others_are_judged(google: Google) -> None:
    google.refuse(USE, "projects/one/")
    identities, gaps = scanned(google)
    assert {(gap.scope, gap.reason) for gap in gaps} == {
        ("gcp/one/service_account", f"PERMISSION_DENIED: {ACCOUNT_USE}"),
        ("gcp/one/service_account", f"PERMISSION_DENIED: {KEY_USE}"),
    }
    assert all(gap.hides == {Aspect.USE} for gap in gaps)
    assert unused(identities, gaps) == ["two", "two"]
    (one,) = [identity for identity in identities if identity.account == "one"]
    assert [credential.use_gap for credential in one.credentials] == [
        f"PERMISSION_DENIED: {ACCOUNT_USE}",
        f"PERMISSION_DENIED: {KEY_USE}",
    ]


def test_where_every_project_refuses_alike_it_is_said_once(google: Google) -> None:
    google.refuse(USE)
    identities, gaps = scanned(google)
    assert {(gap.scope, gap.reason) for gap in gaps} == {
        ("gcp", f"PERMISSION_DENIED: {ACCOUNT_USE} in every project of {ORGANIZATION}"),
        ("gcp", f"PERMISSION_DENIED: {KEY_USE} in every project of {ORGANIZATION}"),
    }
    assert unused(identities, gaps) == []


def test_an_analyser_that_is_not_enabled_is_asked_once_and_not_in_every_project(google: Google) -> None:
    google.refuse(USE, reason="SERVICE_DISABLED")
    _, gaps = scanned(google)
    assert google.calls(USE).total() == 2  # once for accounts, once for keys
    assert google.calls(LOGS).total() == 1  # the organisation's: nothing is never used that cannot be seen
    assert all(gap.reason.startswith("SERVICE_DISABLED") for gap in gaps)


def test_one_page_of_use_that_fails_makes_its_project_a_gap_and_no_half_answer(google: Google) -> None:
    project = google.projects["one"]
    for number in range(3):
        google.add_account(project, f"more-{number}", made_at=ago(900), last_used_at=ago(200))
    google.page_size = 2
    google.refuse(USE, "projects/one/", page=2, status=403)
    identities, gaps = scanned(google)
    assert {gap.scope for gap in gaps} == {"gcp/one/service_account"}
    assert unused(identities, gaps) == ["two", "two"]


def test_a_never_used_account_whose_birth_cannot_be_seen_is_not_called_unused(google: Google) -> None:
    born = google.add_account(google.projects["one"], "born", made_at=ago(300), by="ana@example.com")
    google.add_account(google.projects["two"], "old", made_at=ago(900))
    google.refuse(LOGS, '"projects/one"')
    identities, gaps = scanned(google)
    assert [(gap.scope, set(gap.hides)) for gap in gaps] == [("gcp/one/service_account", {Aspect.OWNER})]
    assert unused(identities, gaps) == ["old", "one", "one", "two", "two"]
    (found,) = [identity for identity in identities if identity.name == born.email]
    assert found.credentials[0].use_gap == (
        "It was never used, and when it was made could not be seen (PERMISSION_DENIED: logging.logEntries.list)"
    )


def test_the_organisation_s_log_refused_is_told_and_hides_nothing_else(google: Google) -> None:
    google.refuse(LOGS, ORGANIZATION)
    identities, gaps = scanned(google)
    assert [(gap.scope, set(gap.hides)) for gap in gaps] == [("gcp", set())]
    assert unused(identities, gaps) == ["one", "one", "two", "two"]


def test_a_delegation_once_known_holds_until_the_log_tells_that_it_ended(google: Google) -> None:
    one = next(account for account in google.accounts.values() if account.project.id == "one")
    google.delegate(one.unique_id, ["mail"], at=ago(300))
    identities, gaps = scanned(google)
    known = {each.key: each.tags[DELEGATED] for each in identities if DELEGATED in each.tags}
    assert (known, unused(identities, gaps)) == ({one.unique_id: "mail"}, ["two", "two"])
    kept, google.organization_entries = google.organization_entries, []  # beyond the log's 400 days
    assert unused(*scanned(google, known)) == ["two", "two"]
    google.refuse(LOGS, ORGANIZATION)
    identities, gaps = scanned(google, known)
    assert unused(identities, gaps) == ["two", "two"]
    assert [(each.privileged, each.tags.get(DELEGATED)) for each in identities] == [(True, "mail"), (False, None)]
    google.faults.clear()
    google.organization_entries = kept
    google.delegate(one.unique_id, ["mail"], at=ago(1), withdrawn=True)
    assert unused(*scanned(google, known)) == ["one", "one", "two", "two"]


def test_keys_that_cannot_be_listed_are_a_gap_of_their_account(google: Google) -> None:
    known, _ = scanned(google)
    google.tells_key_types = False
    google.refuse("iam.projects.serviceAccounts.keys.list", "projects/one/")
    identities, gaps = scanned(google)
    (gap,) = gaps
    assert (gap.scope, set(gap.hides)) == (
        "gcp/one/service_account/one@one.iam.gserviceaccount.com",
        {Aspect.CREDENTIALS},
    )
    merged = reconcile(identities, known, gaps).updated
    assert all(len(identity.credentials) == 2 for identity in merged)


def test_a_key_whose_account_the_inventory_lacks_is_a_gap(google: Google) -> None:
    known, _ = scanned(google)
    google.unlisted.add(known[0].key)
    identities, gaps = scanned(google)
    assert len(identities) == len(known) - 1
    assert [gap.reason.partition(":")[0] for gap in gaps] == ["NotListed"]


# Passing faults


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_waited_out_and_loses_nothing(google: Google, status: int) -> None:
    for method in (SEARCH, POLICIES, USE, LOGS):
        google.refuse(method, times=2, status=status)
    identities, gaps = scanned(google)
    assert not gaps
    assert unused(identities, gaps) == ["one", "one", "two", "two"]


def test_retry_after_is_obeyed_to_the_second(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("nhi.providers.gcp.calls.time.sleep", slept.append)
    google.refuse(SEARCH, times=2, status=429, retry_after="7")
    _, gaps = scanned(google)
    assert not gaps
    assert [pause for pause in slept if pause > 1][:1] == [7.0]


def test_a_fault_that_does_not_pass_ends_after_six_attempts(google: Google) -> None:
    google.refuse(SEARCH, status=503)
    provider = opened(google)
    first = next(iter(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW)))
    assert isinstance(first, Gap)
    assert first.reason.startswith("UNAVAILABLE: ")
    assert provider.api_calls == {"cloudasset.assets.searchAllResources": 6}


def test_a_refusal_is_not_tried_again(google: Google) -> None:
    google.refuse(POLICIES)
    scanned(google)
    assert google.calls(POLICIES).total() == 1


def test_a_throttled_scan_loses_nothing_and_counts_every_request(google: Google) -> None:
    for number in range(12):
        account = google.add_account(google.add_project(f"p{number}"), "sa", made_at=ago(900), last_used_at=ago(200))
        google.add_key(account, made_at=ago(300), last_used_at=ago(200))
    google.throttle = 20.0
    provider = opened(google)
    seen = list(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
    assert not [one for one in seen if isinstance(one, Gap)]
    assert sum(provider.api_calls.values()) == len(google.asked)
    assert len(unused([one for one in seen if isinstance(one, Identity)], [])) == 28


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b'"text"', b'{"results": 7}', b'{"results": [{}]}', b'{"results": [{"assetType": "x"', b"\xff\xfe"],
)
def test_a_broken_answer_is_a_gap_and_never_an_error(google: Google, raw: bytes) -> None:
    google.refuse(SEARCH, status=200, raw=raw)
    google.refuse(POLICIES, status=200, raw=raw)
    identities, gaps = scanned(google)
    assert identities == []
    assert {gap.reason.partition(":")[0] for gap in gaps} == {"MalformedResponse"}


@pytest.mark.parametrize("raw", [b'{"activities": [{}]}', b'{"activities": [7]}', b"null"])
def test_a_broken_answer_about_use_is_a_gap_of_use(google: Google, raw: bytes) -> None:
    google.refuse(USE, status=200, raw=raw)
    identities, gaps = scanned(google)
    assert len(identities) == 2
    assert unused(identities, gaps) == []
    assert all(gap.hides == {Aspect.USE} for gap in gaps)


def test_a_list_that_never_ends_is_a_gap(google: Google) -> None:
    google.refuse(POLICIES, status=200, raw=b'{"results": [], "nextPageToken": "again"}')
    _, gaps = scanned(google)
    assert [gap.reason.partition(":")[0] for gap in gaps] == ["BrokenPaging"]


def test_a_cloud_that_is_not_there_is_a_gap() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        source = Source(provider="gcp", scope=ORGANIZATION, endpoint=url)
        scan = connect(source).scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW)
        first = next(iter(scan))
    assert isinstance(first, Gap)
    assert first.reason.startswith("ConnectionError: ")


def test_a_source_without_a_scope_and_without_a_project_says_what_to_set(google: Google) -> None:
    provider = opened(google, scope=None)
    assert provider.account == "ambient"
    (gap,) = provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW)
    assert isinstance(gap, Gap)
    assert "set `scope`" in gap.reason


def test_who_stops_listening_need_not_wait_for_the_rest(google: Google) -> None:
    project: Project
    for number in range(40):
        project = google.add_project(f"p{number}")
        google.add_account(project, "sa", made_at=ago(900), last_used_at=ago(200))
    google.latency = 0.02
    scan = iter(opened(google).scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
    for seen in scan:
        if isinstance(seen, Progress) and seen.what == "use" and seen.done == 2:
            break
    scan.close()  # type: ignore[attr-defined]  # a generator
    assert google.calls(USE).total() < 42
