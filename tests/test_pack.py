"""The auditor's pack: what is in it, what is never in it, and what its verifier says of it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest
from pydantic import SecretStr

from demo.workspace import Workspace
from jobs import checkpoint
from jobs.pack import archive, sheets
from jobs.pack.model import Table
from nhi import checkpoint as notes
from nhi import reviews, verify_pack
from nhi.database import reading
from nhi.errors import NhiError, SettingsError
from nhi.escalation import Verdict
from nhi.settings import Settings
from nhi.tables import CheckpointRow, EventRow
from tests.conftest import PEOPLE, Clock, copy_of, on_sqlite
from tests.factories import NOW
from tests.jobs_world import World, open_world, use_stand_in_aws

Json = dict[str, Any]
QUARTER = reviews.Quarter(2026, 4)
SECRETS = (
    "xoxb-12345678-abcdefgh",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "-----BEGIN RSA PRIVATE KEY-----MIIBOgIBAAJBAK-----END RSA PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
)
SCHEMA = Path(__file__).parent / "data" / "oscal" / "assessment-results.schema.json"


@pytest.fixture
def world(
    settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_signing(settings, clock, workspace, tmp_path) as opened:
        yield opened


@contextmanager
def open_signing(settings: Settings, clock: Clock, workspace: Workspace, folder: Path) -> Iterator[World]:
    """Open a world that has a signing key."""
    notes.write_key(folder / "key.pem")
    signed = settings.model_copy(update={"nhi_signing_key": SecretStr(str(folder / "key.pem"))})
    with open_world(signed, clock, workspace) as opened:
        yield opened


@pytest.fixture(scope="module")
def pack(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One pack for all tests that only read it: three users, two decisions, one key turned off, nothing unseen."""
    folder, clock = tmp_path_factory.mktemp("pack"), Clock(NOW)
    with pytest.MonkeyPatch.context() as patch, Workspace(PEOPLE, now=clock) as slack:
        use_stand_in_aws(patch)
        settings = Settings(
            _env_file=None,
            database_url=copy_of(migrated_sqlite, folder),
            slack_bot_token=SecretStr(slack.bot_token),
            slack_api_url=slack.api_url,
            nhi_policy=folder / "policy.toml",
        )
        with open_signing(settings, clock, slack, folder) as opened:
            decide(opened)
            opened.cloud.add_role("lambda-runner")
            opened.cloud.forget_report()
            yield archive.export(opened.program, QUARTER, folder / "pack.zip", by="a test").path


def decide(world: World) -> str:
    """Let three people answer, and one key be turned off; return its id."""
    key = world.add_user("ci-deploy", 200)[0]
    world.add_user("reports", 150)
    world.add_user("=cmd|' /C calc'!A0", 150)
    world.scan()
    world.ask()
    world.deliver()
    world.clock.pass_by(minutes=3)
    world.decide("ci-deploy", key)
    world.clock.pass_by(seconds=40)
    until = world.clock().date() + timedelta(days=60)
    world.say(
        "reports",
        Verdict.JUSTIFY,
        by="ana",
        words="=HYPERLINK the yearly report",
        until=until,
        also_claim=False,
        policy=world.program.policy(),
    )
    world.remediate()
    world.clock.pass_by(minutes=5)
    return key


@pytest.fixture
def export(world: World, tmp_path: Path) -> Callable[..., Path]:
    """Export a pack; return its path."""

    def run(name: str = "pack.zip", **options: Any) -> Path:
        world.cloud.forget_report()
        return archive.export(world.program, QUARTER, tmp_path / name, by="a test", **options).path

    return run


def read(pack: Path, name: str) -> str:
    with zipfile.ZipFile(pack) as opened:
        return opened.read(name).decode()


def rows(pack: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read(pack, name), newline="")))


def said(pack: Path, *arguments: str) -> tuple[int, str]:
    """Return what the verifier says of a pack: status, and its sentences."""
    sentences: list[str] = []
    status = verify_pack.main([str(pack), *arguments], sentences.append)
    return status, "\n".join(sentences)


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_a_pack_holds_every_file_and_verifies(pack: Path) -> None:
    with zipfile.ZipFile(pack) as opened:
        assert set(opened.namelist()) == {
            *("MANIFEST", "KEYS", "README.txt", "verify.py", "report.html", "assessment-results.json"),
            *("population.csv", "population.xlsx", "sources.csv", "completeness.csv", "decisions.csv", "shown.jsonl"),
            *("after.csv", "exceptions.csv", "events.jsonl", "checkpoints.jsonl", "checkpoint.note", "proofs.jsonl"),
        }
    status, sentences = said(pack)
    assert (status, "WRONG" in sentences) == (0, False)
    assert "2 decisions are as the ledger tells; 2 inclusion proofs hold." in sentences


def test_decisions_tell_who_what_when_on_what_and_how_long_it_took(pack: Path) -> None:
    decisions = rows(pack, "decisions.csv")

    told = [(row["verdict"], row["name"], row["email"], row["dwell_seconds"]) for row in decisions]
    assert told == [
        ("disable", "ci-deploy", "ana@example.com", "0.0"),
        ("justify", "reports", "ana@example.com", "0.0"),
    ]
    assert decisions[0]["credential"].startswith("AKIA")
    assert decisions[0]["findings_as_shown"] == "unused; unrotated; unowned"
    assert decisions[0]["last_used_as_shown"].startswith("2026-05-07")
    assert decisions[0]["asked_at"].startswith("2026-11-23T09:00")
    assert decisions[1]["words"] == "'=HYPERLINK the yearly report"
    assert all(row["event"].isdigit() and row["event_kind"] == f"attestation.{row['verdict']}" for row in decisions)


@on_sqlite
def test_what_was_turned_off_is_read_back_from_the_cloud(world: World, export: Callable[..., Path]) -> None:
    key = decide(world)
    (row,) = rows(export(), "after.csv")
    assert (row["credential"], row["status"], row["now"], row["as_decided"]) == (key, "done", "inactive", "yes")

    world.cloud.iam.update_access_key("ci-deploy", key, "Active")  # somebody turned it on again, past this program
    again = export("again.zip")
    (row,) = rows(again, "after.csv")
    assert (row["now"], row["as_decided"]) == ("active", "no")
    assert "ci-deploy is not as it was decided (active)" in read(again, "report.html")


def test_the_population_is_whole_and_the_clouds_own_count_agrees(pack: Path) -> None:
    assert {row["name"] for row in rows(pack, "population.csv")} == {
        "ci-deploy",
        "reports",
        "'=cmd|' /C calc'!A0",
        "lambda-runner",
    }
    counted = {(row["kind"], row["counted"], row["seen"], row["says"]) for row in rows(pack, "completeness.csv")}
    assert counted == {("iam_user", "3", "3", "the same"), ("iam_role", "1", "1", "the same")}
    asked = {row["query"]: row for row in rows(pack, "sources.csv")}
    details = asked["iam:GetAccountAuthorizationDetails"]
    assert details["parameters"] == "Filter=User,Role,Group,LocalManagedPolicy; MaxItems=1000"
    assert (details["requests"], details["complete"], details["tool"][:9]) == ("1", "yes", "nhi-audit")
    assert "Complete." in read(pack, "report.html")


@on_sqlite
def test_a_count_that_differs_is_named_and_makes_the_pack_incomplete(
    world: World, export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(world)
    summary = world.cloud.iam.get_account_summary()
    monkeypatch.setattr(type(summary), "summary_map", property(lambda _: {"Users": 5, "Roles": 0}), raising=False)
    pack = export()

    says = {row["kind"]: row["says"] for row in rows(pack, "completeness.csv")}
    assert says["iam_user"].endswith("iam:GetAccountSummary Users counts 5 iam_user, 2 more than we saw (3).")
    assert "Incomplete." in read(pack, "report.html")


@on_sqlite
def test_a_gap_makes_the_pack_say_incomplete_on_its_first_page(world: World, export: Callable[..., Path]) -> None:
    decide(world)
    for action in ("iam:GetCredentialReport", "iam:GetAccountSummary"):
        world.cloud.faults.deny(action)
    pack = export()

    page = read(pack, "report.html")
    first = page.index("Incomplete.")
    assert first < page.index("Decisions")
    assert "AccessDenied: iam:GetCredentialReport" in page[first : first + 1500]
    assert "could not be counted" in page[first : first + 1500]
    assert (
        "Incomplete:"
        in json.loads(read(pack, "assessment-results.json"))["assessment-results"]["results"][0]["description"]
    )
    assert said(pack)[0] == 0


@on_sqlite
def test_without_a_single_scan_a_pack_says_so(world: World, export: Callable[..., Path]) -> None:
    pack = export(scan=False)
    assert "Nothing was ever scanned." in read(pack, "report.html")
    assert said(pack)[0] == 0


@on_sqlite
def test_a_page_shows_hostile_names_as_text_and_needs_no_script(world: World, export: Callable[..., Path]) -> None:
    world.add_user("<script>alert(1)</script>", 200, note='"><img src=x>')
    world.scan()
    world.ask()
    world.clock.pass_by(minutes=1)
    world.say("<script>alert(1)</script>", Verdict.CLAIM, by="ana")
    page = read(export(), "report.html")
    assert "&lt;script&gt;alert(1)" in page
    assert not [tag for tag in ("<script", "<img", "<link", "http://", "url(") if tag in page]


# -- spreadsheets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [*sheets.FORMULA, "  =", "\t="])
def test_no_cell_of_a_csv_begins_as_a_formula(start: str) -> None:
    table = Table(name="t", columns=("a",), rows=((f"{start}1+1",),))
    (_, (cell,)) = csv.reader(io.StringIO(sheets.as_csv(table).decode(), newline=""))
    assert cell == f"'{start}1+1"


def test_ordinary_cells_stay_as_they_are() -> None:
    table = Table(name="t", columns=("a", "b", "c", "d"), rows=(('x=1, "y"', -3, True, None),))
    (_, row) = csv.reader(io.StringIO(sheets.as_csv(table).decode(), newline=""))
    assert row == ['x=1, "y"', "-3", "yes", ""]


def test_the_spreadsheet_has_texts_and_no_formulas(pack: Path) -> None:
    with zipfile.ZipFile(pack) as opened, zipfile.ZipFile(io.BytesIO(opened.read("population.xlsx"))) as book:
        pages = [
            Xml.fromstring(book.read(name))  # noqa: S314  # our own XML
            for name in book.namelist()
            if name.startswith("xl/worksheets/")
        ]
        texts = book.read("xl/sharedStrings.xml").decode()
    assert len(pages) == 3
    assert not [cell for page in pages for cell in page.iter() if cell.tag.endswith("}f")]
    assert "=cmd|" in texts


# -- OSCAL -------------------------------------------------------------------------------------------------------------


def test_assessment_results_have_the_shape_that_oscal_publishes(pack: Path) -> None:
    document = json.loads(read(pack, "assessment-results.json"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text()), format_checker=jsonschema.FormatChecker())

    (result,) = document["assessment-results"]["results"]
    controls = {each["control-id"] for each in result["reviewed-controls"]["control-selections"][0]["include-controls"]}
    assert {"ac-2", "ac-6.7", "ia-5", "pci-7.2.5.1", "pci-8.6.3", "iso27001-a.8.2", "soc2-cc6.3"} <= controls
    assert len(result["observations"]) == 1 + 2 + 1
    uuids = [each["uuid"] for each in [*result["observations"], *result["findings"]]]
    assert len(set(uuids)) == len(uuids)


# -- secrets -----------------------------------------------------------------------------------------------------------


@on_sqlite
def test_no_secret_is_in_a_pack_wherever_somebody_put_one(world: World, export: Callable[..., Path]) -> None:
    for number, secret in enumerate(SECRETS):
        name = f"u{number}-{secret}"[:60].replace(" ", "-")
        world.cloud.add_user(name, tags={"note": secret, secret[:100]: "x", "owner": f"{secret}@example.com"})
        world.cloud.add_access_key(name, created_at=world.clock() - timedelta(days=300))
        world.cloud.add_event("CreateUser", subject=name, by=f"{secret}@example.com")
    decide(world)
    with zipfile.ZipFile(export()) as pack:
        for name in pack.namelist():
            content = pack.read(name)
            if name.endswith(".xlsx"):
                with zipfile.ZipFile(io.BytesIO(content)) as book:
                    content = b"".join(map(book.read, book.namelist()))
            for secret in SECRETS:
                assert secret.encode() not in content, name
                assert json.dumps(secret)[1:-1].encode() not in content, name


@on_sqlite
def test_an_event_that_holds_a_secret_after_all_is_kept_back_and_the_proof_still_holds(
    world: World, export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(world)
    from nhi import ledger

    monkeypatch.setattr(ledger, "without_secrets", lambda text: text)  # as if a rule was younger than the event
    with world.sessions.begin() as session:
        ledger.record(session, "a.slip", now=world.clock(), facts={"tag": SECRETS[0]}, private={"tag": SECRETS[1]})
        ledger.record(session, "a.slip", now=world.clock(), private={"tag": SECRETS[1]})
    monkeypatch.undo()
    use_stand_in_aws(monkeypatch)
    pack = export()

    assert not [secret for secret in SECRETS if secret in read(pack, "events.jsonl")]
    status, sentences = said(pack)
    assert status == 0
    assert "The text of 1 events is kept back" in sentences
    assert "The personal parts of 1 events are not here" in sentences


# -- the verifier ------------------------------------------------------------------------------------------------------


def test_the_verifier_in_the_pack_needs_nothing_else(pack: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    with zipfile.ZipFile(pack) as opened:
        opened.extractall(apart)

    alone = [sys.executable, "-I", "-S", str(apart / "verify.py")]  # -S: no package is found, cryptography neither
    ran = subprocess.run(alone, check=False, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (3, "")
    assert "NOT checked" in ran.stdout

    ran = subprocess.run(
        [sys.executable, str(apart / "verify.py")], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "the pack's own key" in ran.stdout


@on_sqlite
def test_an_anchor_and_a_known_key_are_held_against_the_pack(
    world: World, export: Callable[..., Path], tmp_path: Path
) -> None:
    decide(world)
    early = export("early.zip")
    with reading(world.sessions) as session:
        anchor = tmp_path / "anchor.note"
        anchor.write_text(session.query(CheckpointRow).one().note)
    key = read(early, "KEYS").strip()
    world.clock.pass_by(days=1)
    late = export("late.zip")
    with reading(world.sessions) as session:
        newest = tmp_path / "newest.note"
        newest.write_text(session.query(CheckpointRow).order_by(CheckpointRow.size.desc()).first().note)  # type: ignore[union-attr]

    assert said(late, "--anchor", str(anchor), "--key", key) == (
        0,
        said(late, "--anchor", str(anchor), "--key", key)[1],
    )
    assert "It continues the anchor." in said(late, "--anchor", str(anchor))[1]
    status, sentences = said(early, "--anchor", str(newest))
    assert status == 1
    assert "is missing" in sentences

    notes.write_key(tmp_path / "other.pem")
    other = notes.read_signer(str(tmp_path / "other.pem"), "nhi-ledger").verifier
    status, sentences = said(late, "--key", str(other))
    assert (status, "keys were swapped" in sentences) == (1, True)


def rezipped(pack: Path, change: Callable[[dict[str, bytes]], object], *, manifest: bool = True) -> Path:
    """Change a pack's files as somebody would who can write a new MANIFEST, too."""
    with zipfile.ZipFile(pack) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    change(files)
    if manifest:
        import hashlib

        del files["MANIFEST"]
        listed = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
        files["MANIFEST"] = "".join(listed).encode()
    changed = pack.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return changed


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("population.csv", b"reports", b"rep0rts", "population.csv is not the file whose hash the ledger tells"),
        ("report.html", b"Complete", b"complete", "report.html is not the file"),
        ("verify.py", b"Check an", b"check an", "verify.py is not the file"),
        ("decisions.csv", b"disable", b"keep", "decisions.csv is not the file"),
        ("shown.jsonl", b"ci-deploy", b"ci-other", "shown.jsonl is not the file"),
        ("events.jsonl", b"attestation.disable", b"attestation.justify", "was changed after it was written"),
        ("events.jsonl", b"ana@example.com", b"eve@example.com", "has another personal part"),
        ("checkpoint.note", b"nhi-ledger\n", b"nhi-forged\n", "checkpoint.note is not the last"),
        ("checkpoints.jsonl", b"nhi-ledger\\n", b"nhi-forged\\n", "checkpoint.note is not the last"),
        ("proofs.jsonl", b'"seq":', b'"seq" :', "proofs.jsonl, line 1, is not a record"),
        ("KEYS", b"nhi-ledger+", b"nhi-forged+", "is no Ed25519 key"),
    ],
)
def test_a_file_that_was_changed_is_named_even_with_a_new_manifest(
    pack: Path, name: str, old: bytes, new: bytes, why: str
) -> None:
    def change(files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    status, sentences = said(rezipped(pack, change))
    assert (status in (1, 2), why in sentences) == (True, True), sentences
    status, sentences = said(rezipped(pack, change, manifest=False))
    assert (status, f"{name} is not the file that MANIFEST tells of" in sentences) == (1, True)


def test_files_that_were_added_taken_out_or_doubled_are_named(pack: Path) -> None:
    assert "extra.txt was added" in said(rezipped(pack, lambda f: f.update({"extra.txt": b"x"}), manifest=False))[1]
    assert "after.csv is missing" in said(rezipped(pack, lambda f: f.pop("after.csv"), manifest=False))[1]
    assert "after.csv is not the file whose hash" in said(rezipped(pack, lambda f: f.pop("after.csv")))[1]
    assert "MANIFEST" in said(rezipped(pack, lambda f: f.pop("MANIFEST"), manifest=False))[1]
    copy = pack.with_name("copy.zip")
    copy.write_bytes(pack.read_bytes())
    with zipfile.ZipFile(copy, "a") as doubled, pytest.warns(UserWarning, match="Duplicate name"):
        doubled.writestr("after.csv", b"")
    assert "after.csv was added" in said(copy)[1]


@pytest.mark.parametrize("line", ["", "null", "[]", "{}", '{"body":1}', '{"hash":"","prev_hash":""}', "\u2028"])
def test_a_hostile_ledger_is_wrong_and_never_a_crash(pack: Path, line: str) -> None:
    def change(files: dict[str, bytes]) -> None:
        files["events.jsonl"] = line.encode() + b"\n" + files["events.jsonl"]

    status, sentences = said(rezipped(pack, change))
    assert (status, sentences.startswith("WRONG: event 1")) == (1, True), sentences


# -- what refuses ------------------------------------------------------------------------------------------------------


@on_sqlite
def test_without_a_key_nothing_is_exported_and_the_sentence_says_how_to_make_one(
    settings: Settings, clock: Clock, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as world, pytest.raises(SettingsError, match="nhi ledger keygen"):
        archive.export(world.program, QUARTER, tmp_path / "pack.zip", by="a test")
    assert not (tmp_path / "pack.zip").exists()


@on_sqlite
def test_a_broken_ledger_is_told_of_and_not_sealed(world: World, tmp_path: Path) -> None:
    from sqlalchemy import text

    decide(world)
    checkpoint.seal(world.program, because="hourly")
    with world.sessions.begin() as session:
        session.execute(text("DROP TRIGGER event_refuses_update"))
        session.execute(text("UPDATE event SET body = replace(body, 'reports', 'rep0rts')"))
    with pytest.raises(NhiError, match="not what it was"):
        archive.export(world.program, QUARTER, tmp_path / "pack.zip", by="a test")
    assert not (tmp_path / "pack.zip").exists()


def test_the_same_pack_on_postgresql(world: World, export: Callable[..., Path]) -> None:
    decide(world)
    assert said(export())[0] == 0
    assert len(world.rows(EventRow, kind="evidence.exported")) == 1
