"""policy.toml while a process runs: edits count at once, half-made ones do not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from nhi.errors import PolicyError
from nhi.policy_file import PolicyFile

THIRTY, SIXTY = '[rules]\nunused_after = "30d"\n', '[rules]\nunused_after = "60d"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(THIRTY)
    return path


def days(file: PolicyFile) -> int:
    patience: timedelta = file().rules.unused_after
    return patience.days


def test_an_edit_counts_at_the_next_look(path: Path) -> None:
    file = PolicyFile(path)
    path.write_text(SIXTY)
    assert days(file) == 60


@pytest.mark.parametrize("half_made", ["", "[rules\n", "[rules]\nunused_afer = '3d'\n", None])
def test_a_broken_edit_keeps_the_last_good_policy_in_force_and_is_told_once(
    path: Path, half_made: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = PolicyFile(path)
    if half_made is None:
        path.unlink()
    else:
        path.write_text(half_made)
    assert (days(file), days(file)) == (30, 30)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("the policy in force stays as it was: ")
    assert "policy.toml" in told
    path.write_text(SIXTY)
    assert days(file) == 60


def test_a_file_that_comes_later_counts(tmp_path: Path) -> None:
    file = PolicyFile(tmp_path / "policy.toml")
    assert days(file) == 90
    (tmp_path / "policy.toml").write_text(THIRTY)
    assert days(file) == 30


def test_a_policy_that_is_broken_from_the_start_is_refused(path: Path) -> None:
    path.write_text("[rules\n")
    with pytest.raises(PolicyError):
        PolicyFile(path)
