"""From a press in Slack to a row of the signed pack: a review of a real inventory, an act, and its read-back."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from pydantic import SecretStr
from sqlalchemy import update

from demo.actor import Actor
from demo.workspace import Workspace
from jobs import work
from jobs.pack import archive
from jobs.up import Up
from nhi import checkpoint, reviews, verify_pack
from nhi.database import reading
from nhi.settings import Settings
from nhi.tables import CheckpointRow, DeliveryRow, ReviewItemRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws
from tests.review_world import actions, texts

PATIENCE = 30.0
SCHEMA = Path(__file__).parent / "data" / "oscal" / "assessment-results.schema.json"


@pytest.fixture
def world(
    settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    checkpoint.write_key(tmp_path / "key.pem")
    signed = settings.model_copy(update={"nhi_signing_key": SecretStr(str(tmp_path / "key.pem"))})
    with open_world(signed, clock, workspace) as opened:
        up = Up(opened.program, host="127.0.0.1", port=0)  # serving; its clock is not started
        workspace.app_url = f"http://127.0.0.1:{up.serving.port}/slack/events"
        yield opened
        up.stop()


def rows(pack: Path, name: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(pack) as opened:
        return list(csv.DictReader(io.StringIO(opened.read(name).decode(), newline="")))


def said(pack: Path) -> tuple[int, str]:
    sentences: list[str] = []
    return verify_pack.main([str(pack)], sentences.append), "\n".join(sentences)


def press(world: World, actor: Actor, button: str, words: str) -> None:
    """Press a button of somebody's board once it says this."""
    actor.wait_for(lambda: words in texts(actor.last()) and button in actions(actor.last()), PATIENCE)
    world.clock.pass_by(seconds=8)
    assert actor.click(actor.last(), f"nhi:review_{button}") == ""


@on_sqlite
def test_what_is_turned_off_in_the_review_is_done_read_back_and_in_the_signed_pack(
    world: World, tmp_path: Path
) -> None:
    idle = world.add_user("ci-deploy", 200)[0]
    busy = world.add_user("reports", 1, made=60)[0]
    world.add_user("silent", 1, made=60, owner="bea")
    grand = world.add_user("root-bot", 200)[0]
    world.cloud.attach("arn:aws:iam::aws:policy/AdministratorAccess", user="root-bot")
    world.add_user("zz-empty")  # nothing of it could be turned off from here
    world.scan()
    ana, dora = world.workspace.as_("ana"), world.workspace.as_("dora")
    assert dora.command("/nhi review open") is not None
    assert work.review_all(world.program).opened == "2026Q4"
    work.review_all(world.program)
    world.deliver()

    press(world, ana, "off", "ci-deploy")
    press(world, ana, "keep", "reports")
    press(world, ana, "off", "zz-empty")
    ana.wait_for(lambda: ana.modal, PATIENCE)
    assert ana.submit({}) == {}
    ana.wait_for(lambda: "All reviewed" in texts(ana.last()), PATIENCE)
    press(world, dora, "off", "root-bot")  # of what can administer its account another person has to agree
    assert world.status(idle) == "Active"
    world.remediate()
    assert (world.status(idle), world.status(busy)) == ("Inactive", "Active")
    world.deliver()
    (question,) = world.rows(DeliveryRow, kind="second")
    assert (question.state, world.status(grand)) == ("posted", "Active")

    world.clock.pass_by(days=22)
    world.scan()
    assert work.review_all(world.program).closed == "2026Q4"
    world.deliver()
    with reading(world.sessions) as session:
        assert session.query(CheckpointRow).one().because == "review 2026Q4 closed"
    dora.click(dora.last(), "nhi:review_sign")
    dora.wait_for(lambda: dora.modal, PATIENCE)
    assert dora.submit({"role": "CISO", "words": "Read, and accepted."}) == {}

    pack = archive.export(world.program, reviews.Quarter(2026, 4), tmp_path / "pack.zip", by="a test").path
    after, by_hand, waits = sorted(rows(pack, "after.csv"), key=lambda row: (row["name"] != "ci-deploy", row["act"]))
    assert (waits["credential"], waits["status"], waits["as_decided"]) == (grand, "awaiting", "no")
    assert (by_hand["name"], by_hand["act"], by_hand["as_decided"]) == ("zz-empty", "by hand", "no")
    assert (after["name"], after["credential"], after["act"]) == ("ci-deploy", idle, "disable")
    assert (after["now"], after["as_decided"], after["decided_by"]) == ("inactive", "yes", "ana@example.com")
    decided = {row["name"]: (row["verdict"], row["dwell_seconds"]) for row in rows(pack, "decisions.csv")}
    assert {name: verdict for name, (verdict, _) in decided.items()} == {
        "ci-deploy": "off",
        "reports": "keep",
        "root-bot": "off",
        "zz-empty": "off",
    }
    assert {row["stands"] for row in rows(pack, "decisions.csv")} == {"yes"}
    states = {row["name"]: row["review"] for row in rows(pack, "population.csv")}
    assert states == {"ci-deploy": "off", "reports": "kept", "silent": "unanswered", "zz-empty": "off"} | {
        "root-bot": "off"
    }
    with zipfile.ZipFile(pack) as opened:
        page = opened.read("report.html").decode()
    assert "Dora Lind, CISO" in page
    assert "Read, and accepted." in page
    with zipfile.ZipFile(pack) as opened:
        document = json.loads(opened.read("assessment-results.json"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    uuids = [one["uuid"] for one in document["assessment-results"]["results"][0]["observations"]]
    assert len(set(uuids)) == len(uuids) == 1 + 4 + 3
    assert "zz-empty is not as it was decided (active): nobody turned it off by hand." in page
    assert said(pack)[0] == 0, said(pack)

    with world.sessions.begin() as session:  # somebody who has the database makes a frozen item look better
        item = session.query(ReviewItemRow).filter_by(reviewer="bea@example.com").one()
        session.execute(
            update(ReviewItemRow).where(ReviewItemRow.id == item.id).values(facts={**item.facts, "findings": []})
        )
    again = archive.export(world.program, reviews.Quarter(2026, 4), tmp_path / "again.zip", by="a test", scan=False)
    assert again.evidence.incomplete == ("What was frozen of silent was changed in the database since.",)
    with world.sessions.begin() as session:
        session.query(ReviewItemRow).filter_by(reviewer="bea@example.com").delete()
    again = archive.export(world.program, reviews.Quarter(2026, 4), tmp_path / "third.zip", by="a test", scan=False)
    assert "not those that the ledger tells" in again.evidence.incomplete[0]
