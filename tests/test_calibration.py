"""How well likely owners fit the truth, and which weights fit it better."""

from __future__ import annotations

import ast
import random
from datetime import timedelta
from pathlib import Path

import pytest

from nhi.calibration import Outcome, Sample, fit, outcome, quality
from nhi.ownership import LikelyOwner
from nhi.weights import DEFAULTS, NOBODY, Worth
from tests.company_generator import company

ANA = "ana@example.com"


def outcomes(*pairs: tuple[float, bool]) -> list[Outcome]:
    return [Outcome(confidence=confidence, right=right) for confidence, right in pairs]


def test_precision_counts_the_named_and_coverage_all() -> None:
    measured = quality(outcomes((0.9, True), (0.7, False), (0.69, True), (0.0, False)), threshold=0.7)

    assert (measured.identities, measured.named, measured.right) == (4, 2, 1)
    assert (measured.precision, measured.coverage) == (0.5, 0.5)


def test_the_calibration_error_is_the_mean_gap_of_ten_bins_weighed_by_their_share() -> None:
    measured = quality(outcomes((0.95, True), (0.95, True), (0.95, False), (0.25, False)), threshold=0.5)

    assert measured.calibration_error == pytest.approx((3 * abs(0.95 - 2 / 3) + 0.25) / 4)
    assert [(one.low, one.count) for one in measured.bins] == [(0.2, 1), (0.9, 3)]


def test_nothing_measured_is_no_quality_and_no_error() -> None:
    measured = quality([], threshold=0.5)

    assert (measured.precision, measured.coverage, measured.calibration_error, measured.bins) == (0.0, 0.0, 0.0, ())


def test_a_ranking_is_right_where_its_first_is_the_owner() -> None:
    ana = LikelyOwner(email=ANA, confidence=0.8, evidence=())

    assert outcome([ana], "Ana@example.com") == Outcome(confidence=0.8, right=True)
    assert outcome([ana], "bea@example.com").right is False
    assert outcome([], ANA) == Outcome(confidence=0.0, right=False)


def test_a_fit_finds_the_weights_that_made_the_truth() -> None:
    dice = random.Random(3)
    weights = {NOBODY: Worth(0.0), "tag": Worth(0.0, timedelta(days=9)), "name": Worth(0.0)}
    samples = []
    for _ in range(4000):
        rows = {who: {"tag": float(dice.random() < 0.5), "name": dice.random()} for who in "ab"}
        odds = [1.0] + [2.718281828 ** (2 * row["tag"] - row["name"]) for row in rows.values()]
        [owner] = dice.choices([None, *rows], odds)
        samples.append(Sample(candidates=rows, owner=owner))

    found = fit(samples, weights)

    assert found["tag"].weight == pytest.approx(2, abs=0.25)
    assert found["name"].weight == pytest.approx(-1, abs=0.25)
    assert found["tag"].half_life == timedelta(days=9), "half-lives stay"


def test_few_samples_move_a_weight_little_and_an_unseen_source_not_at_all() -> None:
    samples = [Sample(candidates={"a": {"tag": 1.0}}, owner="b")] * 3

    found = fit(samples, DEFAULTS, ridge=100)

    assert abs(found["tag"].weight - DEFAULTS["tag"].weight) < 0.1
    assert found["codeowners"] == DEFAULTS["codeowners"]


def test_a_fit_to_nothing_and_to_what_always_holds_comes_to_an_end() -> None:
    assert fit([], DEFAULTS) == DEFAULTS
    certain = fit([Sample(candidates={"a": {"tag": 1.0}}, owner="a")] * 500, DEFAULTS)
    assert 0 < certain["tag"].weight < 20


def test_the_generator_shares_no_code_with_the_ranking() -> None:
    tree = ast.parse((Path(__file__).parent / "company_generator.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}

    assert {name for name in imported | plain if name and name.startswith(("nhi", "bot", "jobs", "tests"))} == {
        "nhi.identity"
    }


def test_a_seed_makes_the_same_company_and_another_seed_another() -> None:
    one, same, other = (company(seed, identities=30) for seed in (1, 1, 2))

    assert one == same
    assert one.cases != other.cases
