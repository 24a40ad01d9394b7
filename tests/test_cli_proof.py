"""`nhi ledger` and `nhi evidence` as people type them: exit status, sentences, and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demo.cloud import Cloud
from jobs.cli import main
from tests.jobs_world import use_stand_in_aws


class Desk:
    """A folder with a signing key, a policy and an empty database, before a stand-in cloud."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def nhi(self, *words: str, **environment: str) -> Result:
        return CliRunner().invoke(main, list(words), env=environment, catch_exceptions=False)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    use_stand_in_aws(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "NHI_POLICY"):
        monkeypatch.delenv(name, raising=False)
    with Cloud() as cloud:
        cloud.add_user("ci-deploy")
        source = f'[[sources]]\nprovider = "aws"\nendpoint = "{cloud.url}"\n'
        (tmp_path / "policy.toml").write_text(f'[ledger]\nanchors = ["file:{tmp_path}/kept"]\n{source}')
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/nhi.db")
        monkeypatch.setenv("NHI_SIGNING_KEY", str(tmp_path / "key.pem"))
        opened = Desk(tmp_path)
        assert opened.nhi("ledger", "keygen", "--out", "key.pem").exit_code == 0
        yield opened


def test_from_a_key_to_a_checked_pack(desk: Desk) -> None:
    exported = desk.nhi("evidence", "export", "--out", "pack.zip", "--json")
    assert exported.exit_code == 0, exported.output
    told = json.loads(exported.stdout)
    assert (told["identities"], told["incomplete"]) == (1, [])

    (kept,) = (desk.folder / "kept").iterdir()
    checked = desk.nhi("evidence", "verify", "pack.zip", "--anchor", str(kept), DATABASE_URL="nonsense")
    assert (checked.exit_code, "It continues the anchor." in checked.output) == (0, True)
    assert desk.nhi("ledger", "verify", "--anchor", str(kept)).exit_code == 0
    told = json.loads(desk.nhi("ledger", "verify", "--json").stdout)
    assert (told["problems"], told["checkpoints"], told["unsealed_since"]) == ([], 1, None)


def test_a_checkpoint_is_printed_to_be_kept(desk: Desk) -> None:
    assert desk.nhi("ledger", "checkpoint").output.strip() == "There is no event to seal yet."
    assert desk.nhi("scan").exit_code == 0
    made = desk.nhi("ledger", "checkpoint")
    assert made.stdout.startswith("nhi-ledger\n")
    (desk.folder / "mine.note").write_text(made.stdout)
    assert desk.nhi("ledger", "verify", "--anchor", "mine.note").exit_code == 0


def test_an_incomplete_pack_ends_with_status_3_and_a_wrong_one_with_1(desk: Desk) -> None:
    assert desk.nhi("evidence", "export", "--out", "pack.zip", "--no-scan").exit_code == 3
    (desk.folder / "other.note").write_text("nhi-ledger\n9\n" + "A" * 43 + "=\n\n— nhi-ledger AAAA\n")
    wrong = desk.nhi("evidence", "verify", "pack.zip", "--anchor", "other.note")
    assert (wrong.exit_code, wrong.output.startswith("WRONG: the anchor")) == (1, True)
    assert desk.nhi("ledger", "verify", "--anchor", "other.note").exit_code == 1


def test_usage_and_settings_are_one_sentence_with_status_2(desk: Desk) -> None:
    for words in (
        ("evidence", "export", "--out", "pack.zip", "--quarter", "spring"),
        ("evidence", "export", "--out", "not/there/pack.zip"),
        ("ledger", "keygen", "--out", "key.pem"),
    ):
        refused = desk.nhi(*words)
        assert (refused.exit_code, len(refused.output.strip().splitlines())) == (2, 1), refused.output
    assert desk.nhi("evidence", "export", "--out", "pack.zip", NHI_SIGNING_KEY="").exit_code == 2


def test_erasing_says_what_went_and_what_stays(desk: Desk) -> None:
    assert desk.nhi("evidence", "export", "--out", "pack.zip").exit_code == 0
    erased = desk.nhi("ledger", "erase", "ana@example.com")
    assert erased.output.strip() == "Erased the personal parts of 0 events; the chain still verifies."
