"""README and docs promise what the code declares."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Sequence

import pytest

from nhi import policy
from nhi.database import ROOT
from nhi.identity import Need
from nhi.policy import Policy
from nhi.providers.aws import Aws, organization
from nhi.providers.gcp import Gcp

README = (ROOT / "README.md").read_text()
PERMISSIONS = README + (ROOT / "docs" / "permissions.md").read_text()
POLICIES = README + (ROOT / "docs" / "policy.md").read_text()


def table(permissions: Sequence[Need]) -> str:
    rows = [f"| `{permission.action}` | {permission.why} |" for permission in permissions]
    return "\n".join(["| permission | what for |", "|---|---|", *rows])


@pytest.mark.parametrize(
    ("name", "permissions"),
    [
        ("read", Aws.permissions),
        ("activity", Aws.activity_permissions),
        ("regions", Aws.region_permissions),
        ("organization", organization.PERMISSIONS),
        ("resources", Aws.resource_permissions),
        ("analyzer", Aws.analyzer_permissions),
        ("look", Aws.look_permissions),
        ("write", Aws.disable_permissions),
        ("rotate", Aws.rotate_permissions),
        ("gcp-read", Gcp.permissions),
        ("gcp-recommender", Gcp.recommender_permissions),
        ("gcp-denials", Gcp.denial_permissions),
        ("gcp-write", Gcp.disable_permissions),
        ("gcp-rotate", Gcp.rotate_permissions),
    ],
    ids=[
        *("read", "activity", "regions", "organization", "resources", "analyzer", "look", "write", "rotate"),
        *("gcp-read", "gcp-recommender", "gcp-denials", "gcp-write", "gcp-rotate"),
    ],
)
def test_readme_and_docs_list_exactly_the_permissions_declared_beside_the_code(
    name: str, permissions: Sequence[Need]
) -> None:
    found = re.search(rf"<!-- permissions: {name} -->\n(.*?)\n<!-- end -->", PERMISSIONS, re.DOTALL)
    assert found is not None
    assert found[1] == table(permissions)


def test_reading_permissions_write_nothing_and_acting_ones_say_that_they_write() -> None:
    for provider in (Aws, Gcp):
        assert not any(permission.writes for permission in provider.permissions)
        assert all(permission.writes for permission in provider.disable_permissions)


def test_the_readme_opens_with_the_two_commands_that_do_all_the_set_up() -> None:
    first = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("written", re.findall(r"```toml\n(.*?)```", POLICIES, re.DOTALL))
def test_every_policy_that_is_shown_reads_well(written: str) -> None:
    assert policy.parse(tomllib.loads(textwrap.dedent(written))) != Policy()


def test_the_policy_reference_names_every_section() -> None:
    shown = (ROOT / "docs" / "policy.md").read_text()
    for section in Policy.model_fields:
        assert re.search(rf"^\[+{section}[\].]", shown, re.MULTILINE), section
