"""The auditor's pack: what is in it, what is never in it, and what its verifier says of it."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from demo.workspace import Workspace
from jobs import checkpoint
from jobs.pack import archive, history, sheets
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
            *(
                "after.csv",
                "exceptions.csv",
                "seals.csv",
                "events.jsonl",
                "checkpoints.jsonl",
                "checkpoint.note",
                "proofs.jsonl",
            ),
        }
    status, sentences = said(pack)
    assert (status, "WRONG" in sentences) == (0, False)
    assert "2 decisions are as the ledger tells, none is left out; 2 inclusion proofs hold." in sentences


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
    assert "IAM: the key's last use: up to 4.0 h late" in row["sources_read"]
    assert (row["checked_at"][:10], "data events" in row["not_seen"]) == (row["acted_at"][:10], True)

    world.cloud.iam.update_access_key("ci-deploy", key, "Active")  # somebody turned it on again, past this program
    again = export("again.zip")
    (row,) = rows(again, "after.csv")
    assert (row["now"], row["as_decided"]) == ("active", "no")
    assert "ci-deploy is not as it was decided (active)" in read(again, "report.html")


@on_sqlite
def test_what_was_decided_and_not_done_is_an_open_point_until_it_is_off(
    world: World, export: Callable[..., Path]
) -> None:
    world.set_policy("[remediation]\nmode = 'propose'\n")
    key = decide(world)
    first = export()
    (row,) = rows(first, "after.csv")
    assert (row["status"], row["now"], row["as_decided"]) == ("proposed", "active", "no")
    assert f"{key} of ci-deploy is not as it was decided (active): its act is proposed." in read(first, "report.html")

    world.cloud.iam.update_access_key("ci-deploy", key, "Inactive")  # somebody did it by hand
    (row,) = rows(export("again.zip"), "after.csv")
    assert (row["now"], row["as_decided"]) == ("inactive", "yes")


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

    ast.parse((apart / "verify.py").read_text("utf-8"), feature_version=(3, 9))  # an auditor's Python may be older
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


@on_sqlite
def test_what_came_after_the_anchor_is_signed_with_its_key_or_with_one_that_you_were_told_of(
    world: World, export: Callable[..., Path], settings: Settings, tmp_path: Path
) -> None:
    decide(world)
    first = read(export("first.zip"), "KEYS").strip()
    with reading(world.sessions) as session:
        anchor = tmp_path / "anchor.note"
        anchor.write_text(session.query(CheckpointRow).one().note)
    notes.write_key(tmp_path / "second.pem")  # a new key, or somebody's own: a pack's KEYS can name any
    changed = settings.model_copy(update={"nhi_signing_key": SecretStr(str(tmp_path / "second.pem"))})
    world.set_policy(f"[ledger]\nformer_keys = ['{first}']\n")
    world.clock.pass_by(days=1)
    late = archive.export(replace(world.program, settings=changed), QUARTER, tmp_path / "late.zip", by="a test").path
    [second] = {*read(late, "KEYS").split()} - {first}

    assert said(late)[0] == 0
    status, sentences = said(late, "--anchor", str(anchor))
    assert (status, "signed with another key than the anchor" in sentences) == (1, True), sentences
    assert said(late, "--anchor", str(anchor), "--key", first)[0] == 1
    status, sentences = said(late, "--anchor", str(anchor), "--key", first, "--key", second)
    assert (status, "by the keys that you gave" in sentences) == (0, True), sentences


def test_packs_that_are_exported_at_once_are_all_well(world: World, tmp_path: Path) -> None:
    decide(world)

    def one(number: int) -> Path:
        out = tmp_path / f"pack-{number}.zip"
        return archive.export(world.program, QUARTER, out, by="a test", scan=False).path

    with ThreadPoolExecutor(3) as together:
        made = list(together.map(one, range(3)))
    assert [said(pack)[0] for pack in made] == [0, 0, 0], [said(pack)[1] for pack in made]


def rezipped(
    pack: Path,
    change: Callable[[dict[str, bytes]], object],
    *,
    manifest: bool = True,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Change a pack's files as somebody would who can write a new MANIFEST, too."""
    with zipfile.ZipFile(pack) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    change(files)
    if manifest:
        del files["MANIFEST"]
        listed = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
        files["MANIFEST"] = "".join(listed).encode()
    changed = pack.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w", compression) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return changed


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("population.csv", b"reports", b"rep0rts", "population.csv is not the file whose hash the ledger tells"),
        ("report.html", b"Complete", b"complete", "report.html is not the file"),
        ("verify.py", b"Check an", b"check an", "verify.py is not the file"),
        ("decisions.csv", b",disable,", b",keep,", "decisions.csv, line 2: the ledger has another `verdict`"),
        ("decisions.csv", b",iam_user,", b",iam_role,", "decisions.csv is not the file whose hash"),
        ("shown.jsonl", b"ci-deploy", b"ci-other", "shown.jsonl, line 1: the ledger has another hash"),
        ("population.xlsx", b"PK", b"pk", "population.xlsx is not the file whose hash"),
        ("checkpoints.jsonl", b'"size":', b'"at":"2020-01-01T00:00:00Z","size":', "checkpoints.jsonl, line 1"),
        ("events.jsonl", b"{", b"\xff{", "event 1 is not a record"),
        ("events.jsonl", b"{", b"[" * 100_000 + b"{", "event 1 is not a record"),
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
    known = f"{name} is not the file that MANIFEST tells of"
    assert (status in (1, 2), why in sentences or known in sentences) == (True, True), sentences


def test_files_that_were_added_taken_out_or_doubled_are_named(pack: Path) -> None:
    assert "extra.txt was added" in said(rezipped(pack, lambda f: f.update({"extra.txt": b"x"}), manifest=False))[1]
    assert "after.csv is missing" in said(rezipped(pack, lambda f: f.pop("after.csv"), manifest=False))[1]
    assert "after.csv is not the file whose hash" in said(rezipped(pack, lambda f: f.pop("after.csv")))[1]
    assert "MANIFEST" in said(rezipped(pack, lambda f: f.pop("MANIFEST"), manifest=False))[1]
    copy = pack.with_name("copy.zip")
    copy.write_bytes(pack.read_bytes())
    with zipfile.ZipFile(copy, "a") as doubled, pytest.warns(UserWarning, match="Duplicate name"):
        doubled.writestr("after.csv", b"")
    assert "'after.csv' was added" in said(copy)[1]
    for name in ("../after.csv", "sub/after.csv", "sub/", "/etc/passwd", "C:\\x.csv", ".hidden"):
        status, sentences = said(rezipped(pack, lambda f, name=name: f.update({name: b"x"})))  # type: ignore[misc]
        assert (status, " was added" in sentences) == (1, True), sentences


def records(files: dict[str, bytes], name: str) -> list[Json]:
    return [json.loads(line) for line in files[name].decode().split("\n") if line]


def hide_an_event(files: dict[str, bytes]) -> None:
    """Say of an answer that its text is kept back, with the very leaf that the seal covers."""
    told = records(files, "events.jsonl")
    at = next(at for at, one in enumerate(told) if "attestation.disable" in one["body"])
    leaf = hashlib.sha256(b"\0" + told[at]["body"].encode()).hexdigest()
    told[at] = {"prev_hash": told[at]["prev_hash"], "hash": told[at]["hash"], "seq": at + 1, "withheld": leaf}
    files["events.jsonl"] = history.lines(told)


def hide_who(files: dict[str, bytes]) -> None:
    told = records(files, "events.jsonl")
    next(one for one in told if "attestation.disable" in one["body"])["private"] = None
    files["events.jsonl"] = history.lines(told)


def leave_out_a_decision(files: dict[str, bytes]) -> None:
    head, *kept = files["decisions.csv"].splitlines(keepends=True)
    files["decisions.csv"] = b"".join([head, *kept[1:]])


def leave_out_a_proof(files: dict[str, bytes]) -> None:
    files["proofs.jsonl"] = history.lines(records(files, "proofs.jsonl")[1:])


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (hide_an_event, "its text was taken out after this pack was made"),
        (hide_who, "its personal part was taken out after this pack was made"),
        (leave_out_a_decision, "decisions.csv leaves out a decision: event"),
        (leave_out_a_proof, "proofs.jsonl has no proof of event"),
    ],
)
def test_what_is_left_out_of_a_pack_is_named(pack: Path, forge: Callable[[dict[str, bytes]], None], why: str) -> None:
    status, sentences = said(rezipped(pack, forge))
    assert (status, why in sentences) == (1, True), sentences


def hidden_entry(name: str, content: bytes) -> bytes:
    """Return a file as a zip begins one; programs that read a zip from its beginning unpack it."""
    sizes = (zlib.crc32(content), len(content), len(content), len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, *sizes) + name.encode() + content


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        (lambda raw: hidden_entry("report.html", b"<h1>All well</h1>") + raw, 1, "something hidden before or in"),
        (lambda raw: b"#!/bin/sh\n" + raw, 1, "something hidden before or in"),
        (lambda raw: raw + b"\0" * 30, 1, "something hidden after"),
        (lambda raw: raw[:18] + bytes([raw[18] ^ 1]) + raw[19:], 1, "something hidden before or in"),  # a local size
        (lambda raw: raw.replace(b"PK\1\2\x14\x03\x14\0\0", b"PK\1\2\x14\x03\x14\0\1", 1), 2, "unzip it"),  # encrypted
        (lambda raw: raw.replace(b"PK\1\2\x14\x03\x14\0\0\0\x08", b"PK\1\2\x14\x03\x14\0\0\0c", 1), 2, "unzip it"),
        (lambda raw: raw[:60] + bytes([raw[60] ^ 255]) + raw[61:], 2, "cannot be read"),
        (lambda raw: raw[:-40], 2, "not a zip"),
        (lambda raw: b"", 2, "not a zip"),
    ],
)
def test_a_zip_that_holds_more_than_its_files_or_cannot_be_read_is_told_of(
    pack: Path, change: Callable[[bytes], bytes], status: int, why: str
) -> None:
    raw = pack.read_bytes()
    changed = pack.with_name("changed.zip")
    changed.write_bytes(change(raw))
    assert changed.read_bytes() != raw
    told = said(changed)
    assert (told[0], why in told[1]) == (status, True), told


def test_a_zip_that_is_to_fill_a_disk_is_not_unpacked(pack: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        files["zeros"] = b"\0" * 30_000_000

    status, sentences = said(rezipped(pack, change, compression=zipfile.ZIP_DEFLATED))
    assert (status, "unpack to far more" in sentences) == (2, True), sentences


@given(st.data())
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_pack_with_any_byte_changed_is_never_well_and_never_a_crash(pack: Path, data: st.DataObject) -> None:
    raw = bytearray(pack.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    changed = pack.with_name("changed.zip")
    changed.write_bytes(raw)
    told = said(changed)
    same = zip_of(changed) == zip_of(pack) if told[0] == 0 else False
    assert told[0] in (1, 2) or same, told  # a changed date of a file says nothing else


def zip_of(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


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
