"""Turning Google's accounts and keys off and on. Over HTTP, against tests/gcp_fake.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nhi.errors import ProviderError
from nhi.identity import Aspect, CredentialStatus, Gap
from nhi.own_power import judge
from nhi.policy import Policy, Source
from nhi.providers import CredentialState, Disables, Target, TellsPowers
from nhi.providers.gcp import Gcp, acts, calls, connect
from tests.gcp_fake import ORGANIZATION, Account, Fault, Google, Key

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
MONITORING = "monitoring.projects.timeSeries.list"
USE = "policyanalyzer.projects.locations.activityTypes.activities.query"
GET = {
    "service_account": "iam.projects.serviceAccounts.get",
    "service_account_key": "iam.projects.serviceAccounts.keys.get",
}


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_BACK_OFF", 0.01)
    monkeypatch.setattr(acts, "_PAUSE", 0.0)


@pytest.fixture
def google() -> Iterator[Google]:
    with Google(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def gcp(google: Google) -> Gcp:
    return connect(Source(provider="gcp", scope=ORGANIZATION, endpoint=google.url))


@pytest.fixture
def ci(google: Google) -> Account:
    """An account with two keys, both unused."""
    account = google.add_account(google.add_project("shop"), "ci", made_at=ago(900), last_used_at=ago(200))
    for _ in range(2):
        google.add_key(account, made_at=ago(300), last_used_at=ago(250))
    return account


def target_of(account: Account, key: Key | None = None) -> Target:
    return Target(
        account=account.project.id,
        identity_name=account.email,
        identity_key=account.unique_id,
        credential_kind="service_account_key" if key else "service_account",
        credential_id=key.id if key else account.email,
    )


def targets(account: Account) -> list[Target]:
    return [target_of(account), target_of(account, next(iter(account.keys.values())))]


def off(account: Account) -> list[str]:
    """Return what is off: "account", and the places of keys."""
    keys = [str(number) for number, key in enumerate(account.keys.values()) if key.disabled]
    return (["account"] if account.disabled else []) + keys


@pytest.mark.parametrize(("which", "expected"), [(0, ["account"]), (1, ["0"])])
def test_disabling_turns_off_that_one_and_enabling_turns_it_on_again(
    google: Google, gcp: Gcp, ci: Account, which: int, expected: list[str]
) -> None:
    other = google.add_account(ci.project, "other", made_at=ago(900))
    target = targets(ci)[which]
    gcp.disable(target)
    assert (off(ci), off(other)) == (expected, [])
    gcp.disable(target)  # twice is the same as once
    assert off(ci) == expected
    gcp.enable(target)
    assert off(ci) == []


def test_the_only_writes_are_declared(gcp: Gcp, google: Google, ci: Account) -> None:
    for target in targets(ci):
        gcp.disable(target)
        gcp.enable(target)
    declared = {one.action for one in gcp.disable_permissions}
    read = {one.action for one in gcp.permissions}
    assert set(gcp.api_calls) - read == declared
    assert sum(gcp.api_calls.values()) == len(google.asked)


def test_a_look_tells_status_and_last_use(gcp: Gcp, ci: Account) -> None:
    key = next(iter(ci.keys.values()))
    seen = gcp.look(target_of(ci, key))
    assert isinstance(seen, CredentialState)
    assert seen.status is CredentialStatus.ACTIVE
    assert seen.last_used_at == ago(250).replace(hour=7, minute=0, second=0)
    key.disabled = True
    assert isinstance(again := gcp.look(target_of(ci, key)), CredentialState)
    assert again.status is CredentialStatus.INACTIVE


@pytest.mark.parametrize("which", [0, 1])
def test_a_look_knows_of_a_use_that_the_analyser_has_not_seen_yet(gcp: Gcp, ci: Account, which: int) -> None:
    used_at = NOW - timedelta(minutes=10)
    ci.last_used_at = used_at
    next(iter(ci.keys.values())).last_used_at = used_at
    seen = gcp.look(targets(ci)[which])
    assert isinstance(seen, CredentialState)
    assert seen.last_used_at == used_at


def test_a_look_tells_never_used_as_such(gcp: Gcp, google: Google, ci: Account) -> None:
    key = google.add_key(ci, made_at=ago(300))
    seen = gcp.look(target_of(ci, key))
    assert isinstance(seen, CredentialState)
    assert (seen.status, seen.last_used_at) == (CredentialStatus.ACTIVE, None)


def test_a_look_says_what_was_read_for_which_days_and_what_stays_hidden(gcp: Gcp, google: Google, ci: Account) -> None:
    seen = gcp.look(target_of(ci))
    assert isinstance(seen, CredentialState)
    analyser, monitoring = seen.reads
    assert (analyser.seen_until, monitoring.seen_from, monitoring.seen_until) == (
        google.seen_until,
        google.seen_until,
        None,
    )
    assert "HMAC" in analyser.hidden


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_there_any_more_looks_like_nothing(gcp: Gcp, google: Google, ci: Account, which: int) -> None:
    target = targets(ci)[which]
    del google.accounts[ci.unique_id]
    assert gcp.look(target) is None


@pytest.mark.parametrize("which", [0, 1])
def test_an_account_made_anew_under_the_same_e_mail_is_another_one_and_cannot_be_hit(
    gcp: Gcp, google: Google, ci: Account, which: int
) -> None:
    target = targets(ci)[which]
    del google.accounts[ci.unique_id]
    anew = Account(ci.project, ci.email, "999999999999999999999", ago(1), keys=ci.keys)
    google.accounts[anew.unique_id] = anew
    assert gcp.look(target) is None
    with pytest.raises(ProviderError) as refused:
        gcp.disable(target)
    assert (refused.value.code, refused.value.permanent) == ("NOT_FOUND", True)
    assert off(anew) == []


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("method", ["read", USE, MONITORING])
def test_a_look_that_cannot_see_everything_is_a_gap(
    gcp: Gcp, google: Google, ci: Account, method: str, which: int
) -> None:
    target = targets(ci)[which]
    google.refuse(GET[target.credential_kind] if method == "read" else method)
    seen = gcp.look(target)
    assert isinstance(seen, Gap)
    assert seen.covers(f"gcp/shop/service_account/{ci.email}", Aspect.USE)
    assert seen.reason.startswith("PERMISSION_DENIED: ")


def test_a_change_is_believed_when_two_reads_in_a_row_show_it(gcp: Gcp, google: Google, ci: Account) -> None:
    google.update_lag = 3
    gcp.disable(target_of(ci))
    assert google.calls(GET["service_account"]).total() == 5


def test_a_change_that_never_shows_is_not_believed(gcp: Gcp, google: Google, ci: Account) -> None:
    google.update_lag = 100
    with pytest.raises(ProviderError) as unsure:
        gcp.disable(target_of(ci))
    assert (unsure.value.code, unsure.value.permanent) == ("NotVerified", False)


@pytest.mark.parametrize(("status", "permanent"), [(403, True), (503, False)])
def test_a_refused_change_says_whether_trying_again_can_help(
    gcp: Gcp, google: Google, ci: Account, status: int, permanent: bool
) -> None:
    google.refuse("iam.projects.serviceAccounts.disable", status=status)
    with pytest.raises(ProviderError) as refused:
        gcp.disable(target_of(ci))
    assert refused.value.permanent is permanent
    assert ci.email in str(refused.value)
    assert off(ci) == []


def test_a_change_that_cannot_be_read_back_says_so(gcp: Gcp, google: Google, ci: Account) -> None:
    google.refuse(GET["service_account"])
    with pytest.raises(ProviderError, match="cannot be read back"):
        gcp.disable(target_of(ci))


def test_other_kinds_are_neither_turned_off_nor_looked_at(gcp: Gcp, google: Google, ci: Account) -> None:
    assert isinstance(gcp, Disables)
    other = replace(target_of(ci), credential_kind="api_key")
    assert [gcp.disables(kind) for kind in ("service_account", "service_account_key", "api_key")] == [True, True, False]
    assert isinstance(gcp.look(other), Gap)
    with pytest.raises(ProviderError):
        gcp.disable(other)
    assert not google.asked


def test_a_key_is_heard_by_its_own_calls_and_an_account_by_all_of_its_and_by_who_acts_as_it(
    gcp: Gcp, google: Google, ci: Account
) -> None:
    account, key = targets(ci)
    since = google.now()
    used = next(iter(ci.keys))
    google.add_use(ci, "before", since - timedelta(seconds=2), key=used)
    google._log(ci, "google.iam.admin.v1.DisableServiceAccount", "nhi@example.com", since)  # our own act
    google.add_use(ci, "by.another.way", since + timedelta(seconds=1))
    google.add_use(ci, "by.the.key", since + timedelta(seconds=2), key=used)
    google._log(ci, "GenerateAccessToken", "somebody@example.com", since + timedelta(seconds=3))
    ci.project.entries[-1]["protoPayload"]["serviceName"] = "iamcredentials.googleapis.com"

    def heard(target: Target) -> list[str | None]:
        found = gcp.heard(target, since)
        assert not isinstance(found, Gap)
        return [call.what for call in found]

    assert heard(key) == ["by:by.the.key"]
    assert heard(account) == ["by:by.another.way", "by:by.the.key", "iamcredentials:GenerateAccessToken"]
    google.refuse("logging.entries.list")
    assert isinstance(gcp.heard(key, since), Gap)


def test_what_it_may_do_is_asked_and_not_tried_out(google: Google) -> None:
    acting = "b@p.iam.gserviceaccount.com"
    google.may = {"iam.serviceAccounts.disable", "iam.serviceAccounts.delete"}
    gcp = connect(Source(provider="gcp", scope=ORGANIZATION, endpoint=google.url, remediator_impersonate=acting))
    assert isinstance(gcp, TellsPowers)
    reads, acts_as = gcp.powers()
    assert (acts_as.principal, acts_as.own_role) == (acting, True)
    assert set(reads.may) == set(acts_as.may) == google.may
    (told,) = judge([acts_as], Policy())
    assert (told.status, "iam.serviceAccounts.delete" in told.fix) == ("warn", True)
    google.faults.append(Fault(method="cloudresourcemanager.organizations.testIamPermissions"))
    assert [one.unseen for one in gcp.powers()] == ["PERMISSION_DENIED: testIamPermissions"] * 2
