"""The judge of the stand-in Google: what Google's discovery documents would refuse is refused, and seen by tests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nhi.providers.gcp.activity import ACCOUNTS, KEYS
from nhi.providers.gcp.assets import Assets
from nhi.providers.gcp.bindings import Bindings
from tests.gcp_discovery import find, wrong_with_answer, wrong_with_request
from tests.gcp_fake import Google

DATA = Path(__file__).parent / "data" / "gcp"
ASSET, IAM = "cloudasset.googleapis.com", "iam.googleapis.com"
SEARCH = "v1/organizations/1:searchAllResources"


def recorded(name: str) -> Any:
    return json.loads((DATA / name).read_text())


@pytest.mark.parametrize(
    ("host", "verb", "path"),
    [
        (ASSET, "POST", SEARCH),
        (ASSET, "GET", "v1/organizations/1:searchEverything"),
        (IAM, "POST", "v1/projects/shop/serviceAccounts/1:disableAll"),
        (IAM, "DELETE", "v1/serviceAccounts/1"),
        (
            "policyanalyzer.googleapis.com",
            "GET",
            f"v1/billingAccounts/1/locations/global/activityTypes/{KEYS}/activities:query",
        ),
        ("unknown.googleapis.com", "GET", "v1/x"),
    ],
)
def test_there_is_no_such_method(host: str, verb: str, path: str) -> None:
    assert find(host, verb, path) is None


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ([("assetTypes", "a"), ("assetTypes", "b"), ("pageSize", "500")], 0),
        ([("pageSize", "many")], 1),
        ([("pagesize", "5")], 1),
        ([("query", "a"), ("query", "b")], 2),
        ([("scope", "organizations/1")], 1),
        ([("alt", "json")], 0),
        ([("alt", "yaml")], 1),
    ],
)
def test_query_parameters_are_those_of_the_method_and_of_their_type(query: list[tuple[str, str]], wrong: int) -> None:
    method = find(ASSET, "GET", SEARCH)
    assert method is not None
    assert len(wrong_with_request(method, query, None)) == wrong


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"resourceNames": ["projects/a"], "filter": "x", "pageSize": 5}, 0),
        ({"resourceNames": "projects/a"}, 1),
        ({"resourcesNames": ["projects/a"]}, 1),
        ({"pageSize": "5"}, 1),
        (None, 1),
    ],
)
def test_a_body_holds_known_fields_of_the_right_types(body: Any, wrong: int) -> None:
    method = find("logging.googleapis.com", "POST", "v2/entries:list")
    assert method is not None
    assert len(wrong_with_request(method, [], body)) == wrong


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"name": "projects/a/serviceAccounts/b", "disabled": True}, 0),
        ({"name": "projects/a/serviceAccounts/b", "disabled": "true"}, 1),
        ({"createTime": "2026-01-01T00:00:00Z"}, 1),
        ([], 1),
    ],
)
def test_an_answer_holds_known_fields_of_the_right_types(answer: Any, wrong: int) -> None:
    method = find(IAM, "GET", "v1/projects/a/serviceAccounts/b")
    assert method is not None
    assert len(wrong_with_answer(method, answer)) == wrong


def test_times_and_numbers_are_written_as_google_writes_them() -> None:
    method = find(IAM, "GET", "v1/projects/a/serviceAccounts/b/keys/c")
    assert method is not None
    assert wrong_with_answer(method, {"validAfterTime": "2026-01-01T00:00:00Z", "keyType": "USER_MANAGED"}) == []
    assert len(wrong_with_answer(method, {"validAfterTime": "yesterday", "keyType": "MINE"})) == 2


def test_a_violation_fails_the_test_that_made_it() -> None:
    def violating() -> None:
        with Google(now=lambda: datetime(2026, 11, 1, tzinfo=UTC)) as google:
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{google.url}/{ASSET}/v1/nothing")
            urllib.request.urlopen(f"{google.url}/{ASSET}/{SEARCH}?pagesize=7").read()

    with pytest.raises(AssertionError, match=r"Google has no GET .*\n.*unknown parameter pagesize"):
        violating()


# Recorded answers, with made-up names


@pytest.mark.parametrize(
    ("name", "host", "verb", "path"),
    [
        ("search_resources.json", ASSET, "GET", SEARCH),
        ("search_policies.json", ASSET, "GET", "v1/organizations/1:searchAllIamPolicies"),
        (
            "activities.json",
            "policyanalyzer.googleapis.com",
            "GET",
            f"v1/projects/shop-prod/locations/global/activityTypes/{ACCOUNTS}/activities:query",
        ),
        ("entries.json", "logging.googleapis.com", "POST", "v2/entries:list"),
    ],
)
def test_a_recorded_answer_is_one_that_google_gives(name: str, host: str, verb: str, path: str) -> None:
    method = find(host, verb, path)
    assert method is not None
    assert wrong_with_answer(method, recorded(name)) == []


def test_a_recorded_search_is_understood() -> None:
    assets = Assets()
    assets.add(recorded("search_resources.json"))
    assert {one.email: one.disabled for one in assets.accounts.values()} == {
        "ci-deploy@shop-prod.iam.gserviceaccount.com": False,
        "1027384950617-compute@developer.gserviceaccount.com": True,
    }
    (account,) = [one for one in assets.accounts.values() if one.default is None]
    assert [(key.ours, key.disabled) for key in assets.keys_of(account)] == [(True, False)]
    assert assets.projects["projects/1027384950617"].labels == {"owner": "ana-diaz", "environment": "prod"}
    assert [pool.id for pool in assets.pools.values()] == ["github"]
    assert [provider.trusts for provider in next(iter(assets.providers.values()))] == [
        "https://token.actions.githubusercontent.com"
    ]
    assert [key.uid for key in assets.api_keys] == ["9f1a6d0e-2b7c-4f35-9c11-5f2d8f7f0a01"]


def test_recorded_policies_are_understood() -> None:
    bindings = Bindings()
    bindings.add(recorded("search_policies.json"))
    assert bindings.owners == {"projects/1027384950617": ["ana.diaz@example.com"]}
    assert bindings.agents() == {
        "service-1027384950617@gcp-sa-pubsub.iam.gserviceaccount.com": "1027384950617",
        "1027384950617@cloudservices.gserviceaccount.com": "1027384950617",
    }
    (pool,) = bindings.pools
    assert pool == "projects/1027384950617/locations/global/workloadIdentityPools/github"
