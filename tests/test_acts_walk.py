"""A few short walks through the life of acts (tests/bench_acts.py takes 5,000 long ones), and that they can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import acting, late
from nhi import preflight
from tests.acts_walk import Broken, staged


@pytest.mark.parametrize("seed", [1])
def test_whatever_happens_no_key_used_after_its_card_stays_off_and_no_other_changes(
    seed: int, migrated_sqlite: Path, tmp_path: Path
) -> None:
    with staged(migrated_sqlite, tmp_path) as stage:
        stage.walk(seed).play(30)


def test_a_walk_notices_what_a_worker_that_stood_still_leaves_off(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "make_up", lambda _: None)
    with staged(migrated_sqlite, tmp_path) as stage:
        walk = stage.walk(4)  # one whose acts have sessions of their own
        walk.decide(scream_test=False)
        walk.sleep(("remediate", "undo", "remediate"))
        walk.watch()
        with pytest.raises(Broken, match="is off, by no act"):
            walk.settle()


def test_a_walk_notices_a_look_that_forgets_to_ask_whether_it_was_used(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (preflight, acting):
        monkeypatch.setattr(module, "was_used_since", lambda *_: False)
    with staged(migrated_sqlite, tmp_path) as stage:
        walk = stage.walk(9)
        walk.decide(scream_test=False)
        walk.use_decided()
        walk.remediate()
        with pytest.raises(Broken, match="and is off"):
            walk.settle()
