"""A source of Google Cloud in policy.toml: what it may say, and the sentence for what it may not."""

from __future__ import annotations

import tomllib

import pytest

from nhi.errors import PolicyError
from nhi.policy import Source, parse
from nhi.providers import providers
from nhi.providers.gcp import Gcp

READER = "nhi-reader@audit.iam.gserviceaccount.com"


def source(text: str) -> Source:
    return parse(tomllib.loads(f"[[sources]]\n{text}")).sources[0]


def test_the_provider_of_the_name_opens_it_and_no_call_is_made() -> None:
    given = source('provider = "gcp"\nscope = "organizations/1234567890"\nendpoint = "http://127.0.0.1:9"')
    opened = providers()["gcp"](given)
    assert isinstance(opened, Gcp)
    assert opened.account == "organizations/1234567890"
    assert opened.api_calls == {}


@pytest.mark.parametrize("scope", ["organizations/1", "folders/99", "projects/shop-prod", "projects/example.com:old"])
def test_a_scope_is_an_organisation_a_folder_or_a_project(scope: str) -> None:
    assert source(f'provider = "gcp"\nscope = "{scope}"').scope == scope


@pytest.mark.parametrize(
    "scope", ["shop-prod", "organizations/example.com", "organizations/", "projects/A", "projects/a/b"]
)
def test_anything_else_is_refused_with_what_it_should_be(scope: str) -> None:
    with pytest.raises(PolicyError, match=r"sources\.0\.scope`: a scope is \"organizations/123\""):
        source(f'provider = "gcp"\nscope = "{scope}"')


@pytest.mark.parametrize("key", ["impersonate", "remediator_impersonate"])
def test_only_a_service_account_can_be_impersonated(key: str) -> None:
    assert getattr(source(f'provider = "gcp"\n{key} = "{READER}"'), key) == READER
    with pytest.raises(PolicyError, match=r"e-mail ends with gserviceaccount\.com"):
        source(f'provider = "gcp"\n{key} = "ana@example.com"')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('provider = "gcp"\nrole_arn = "arn:aws:iam::111122223333:role/x"', '`role_arn` is for provider = "aws"'),
        ('provider = "gcp"\nexternal_id = "x"', '`external_id` is for provider = "aws"'),
        ('scope = "organizations/1"', '`scope` is for provider = "gcp"'),
        (f'provider = "aws"\nimpersonate = "{READER}"', '`impersonate` is for provider = "gcp"'),
    ],
)
def test_a_key_of_one_cloud_in_a_source_of_the_other_is_refused_with_the_way_out(text: str, sentence: str) -> None:
    with pytest.raises(PolicyError) as refused:
        source(text)
    assert sentence in str(refused.value)
    assert "take the key out, or set the provider" in str(refused.value)
