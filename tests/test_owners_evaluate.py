"""`nhi owners evaluate`: likely owners against a truth that somebody brings."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import insert

from jobs.cli import main
from nhi import database
from nhi.policy import parse
from nhi.tables import EvidenceRow, new_id
from tests.conftest import copy_of
from tests.factories import NOW, make_identity, make_person

PEOPLE = ("ana", "bea", "cem", "dora")


@pytest.fixture
def installed(migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty identities, each tagged with one of four people: rightly but for every tenth."""
    url = copy_of(migrated_sqlite, tmp_path)
    for name, value in {"DATABASE_URL": url, "NHI_POLICY": str(tmp_path / "policy.toml")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text('[people]\ndomains = ["example.com"]\n')
    engine = database.open_engine(url)
    with database.open_sessions(engine).begin() as session:
        for handle in PEOPLE:
            make_person(session, handle)
        for number in range(30):
            identity = make_identity(session, f"svc-{number}", keys=())
            tagged = PEOPLE[number % 4]
            fact = {"source": "tag", "fact": f"owner={tagged}", "points_to": tagged, "at": None, "seen_at": NOW}
            session.execute(insert(EvidenceRow).values(id=new_id(), identity_id=identity.id, **fact))
    engine.dispose()
    owners = [PEOPLE[(number + (number % 10 == 0)) % 4] for number in range(30)]
    lines = [f"svc-{number},{owner}@example.com" for number, owner in enumerate(owners)]
    (tmp_path / "truth.csv").write_text("\n".join(["identity,owner", *lines, "nowhere,ana@example.com"]) + "\n")
    return tmp_path


def nhi(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.output


def test_an_evaluation_tells_precision_coverage_and_a_reliability_table(installed: Path) -> None:
    status, out = nhi("owners", "evaluate", "--truth", "truth.csv", "--json")

    found = json.loads(out)
    assert status == 0
    assert (found["identities"], found["named"], found["missing"]) == (30, 30, ["nowhere"])
    assert (found["precision"], found["coverage"]) == (0.9, 1.0)
    [row] = found["reliability"]
    assert (row["identities"], row["right"]) == (30, 0.9)
    assert found["calibration_error"] == pytest.approx(abs(row["confidence"] - 0.9), abs=0.001)


def test_fitted_weights_can_be_put_into_policy_as_they_are_printed(installed: Path) -> None:
    status, out = nhi("owners", "evaluate", "--truth", "truth.csv", "--fit")

    assert status == 0, out
    assert "30 identities: an owner is named for 30 (100% coverage" in out
    printed = out[out.index("[owners.weights]") :]
    assert parse(tomllib.loads(printed)).owners.worths


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name,email\na,b\n", "among them: identity, owner"),
        ("identity,owner\nnowhere,ana@example.com\n", "No identity of the truth is known here"),
        ("identity,owner\nsvc-1,ana@example.com\n", "A fit needs 20 identities"),
        ("", "among them: identity, owner"),
    ],
)
def test_a_truth_that_cannot_be_used_is_one_sentence_and_status_2(installed: Path, content: str, says: str) -> None:
    (installed / "truth.csv").write_text(content)

    status, out = nhi("owners", "evaluate", "--truth", "truth.csv", "--fit")

    assert (status, says in out) == (2, True), out
