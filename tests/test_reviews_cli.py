"""`nhi review` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main
from nhi import database
from nhi.database import Sessions
from nhi.tables import ReviewCampaignRow
from tests.conftest import copy_of
from tests.factories import make_person
from tests.review_world import make_scan, own

Json = dict[str, Any]


@pytest.fixture
def sessions(tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    url = copy_of(migrated_sqlite, tmp_path)
    (tmp_path / "policy.toml").write_text('[people]\nadmins = ["dora@example.com"]\n')
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "NHI_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("NHI_POLICY", str(tmp_path / "policy.toml"))
    monkeypatch.chdir(tmp_path)
    return database.open_sessions(database.open_engine(url))


def nhi(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["review", *arguments])


def company(sessions: Sessions) -> None:
    from jobs.program import real_clock

    with sessions.begin() as session:
        make_person(session, "ana")
        make_person(session, "dora")
        own(session, "ci-deploy", "backup")
        make_scan(session, real_clock())


def test_a_review_is_opened_looked_at_closed_and_signed(sessions: Sessions) -> None:
    company(sessions)
    opened = nhi("open")
    assert opened.exit_code == 0, opened.output
    assert "2 identities, 0 of them carried over; 1 reviewer will" in opened.output
    again = nhi("open")
    assert (again.exit_code, "open already" in again.output) == (1, True)

    status: Json = json.loads(nhi("status", "--json").stdout)
    assert (status["state"], status["counts"]["pending"]) == ("open", 2)
    assert status["reviewers"][0]["email"] == "ana@example.com"

    early = nhi("sign", "--name", "Dora Lind", "--role", "CISO", "--words", "Accepted.")
    assert (early.exit_code, "still open" in early.output) == (1, True)
    closed = nhi("close")
    assert closed.exit_code == 0, closed.output
    assert "2 unanswered" in closed.output
    signed = nhi("sign", "--name", "Dora Lind", "--role", "CISO", "--words", "Accepted.", "--json")
    assert json.loads(signed.stdout)["signature"]["name"] == "Dora Lind"
    assert json.loads(signed.stdout)["state"] == "signed"
    assert nhi("open").exit_code == 1
    with sessions() as session:
        assert session.query(ReviewCampaignRow).count() == 1


def test_without_a_scan_no_review_opens(sessions: Sessions) -> None:
    refused = nhi("open")
    assert refused.exit_code == 1
    assert "run `nhi scan`" in refused.output


def test_a_quarter_that_is_none_or_has_no_review_is_told_in_a_sentence(sessions: Sessions) -> None:
    assert (nhi("status", "--quarter", "2026").exit_code, nhi("status", "--quarter", "2020Q1").exit_code) == (2, 1)
    assert nhi("open", "--quarter", "2020Q1").exit_code == 2
