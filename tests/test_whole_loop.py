"""The whole loop, every layer the real one: a scan, a question in Slack, an answer, a safe act, and its record.

The real Bolt app and the real ticking jobs run in this process, behind HTTP on both sides, on both databases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from demo.actor import Actor
from demo.workspace import Workspace
from jobs.up import Up
from nhi.database import reading
from nhi.ledger import canonical, commitment
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import AttestationRow, DeliveryRow, EventRow, RemediationRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws

Json = dict[str, Any]
PATIENCE = 30.0


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


@pytest.fixture
def up(world: World) -> Iterator[Up]:
    """The program, up: nothing is scanned yet."""
    running = Up(world.program, host="127.0.0.1", port=0)
    world.workspace.app_url = f"http://127.0.0.1:{running.serving.port}/slack/events"
    yield running
    running.stop()


def press(world: World, actor: Actor, button: str) -> None:
    """Press a button of the card as soon as it is there."""
    actor.wait_for(lambda: f"nhi:{button}" in f"{card_of(world, actor)['blocks']}", PATIENCE)
    assert actor.click(card_of(world, actor), f"nhi:{button}") == ""


def card_of(world: World, actor: Actor) -> Json:
    """Return the message with the question, as the actor sees it now; waits until it is posted."""

    def posted() -> list[Json]:
        places = [row.ts for row in world.rows(DeliveryRow, kind="digest", state="posted")]
        return [message for message in actor.messages() if message["ts"] in places]

    (message,) = actor.wait_for(posted, PATIENCE)
    found: Json = message
    return found


def is_shown(world: World, status: RemediationStatus) -> bool:
    """Whether the one act is so far, and every card shows it."""
    acts = [row.status for row in world.rows(RemediationRow)]
    return acts == [status] and all(
        row.wanted_version == row.shown_version for row in world.rows(DeliveryRow, kind="digest")
    )


def fill_in(actor: Actor, **values: Any) -> None:
    actor.wait_for(lambda: actor.modal, PATIENCE)
    assert actor.submit(values) == {}


def test_an_unused_key_becomes_a_question_an_answer_a_safe_act_and_a_record(world: World, up: Up) -> None:
    idle, busy = world.add_user("ci-deploy", 200, 0)
    world.scan()
    up.start()
    ana = world.workspace.as_("ana")
    shown = card_of(world, ana)
    assert "tag" in f"{shown['blocks']}"

    press(world, ana, "disable")
    ana.wait_for(lambda: ana.modal, PATIENCE)
    row = next(one for one in world.identity("ci-deploy").credentials if one.external_id == idle)
    assert ana.submit({"credential": row.id} if "radio_buttons" in f"{ana.modal}" else {}) == {}
    ana.wait_for(lambda: is_shown(world, RemediationStatus.DONE), PATIENCE)
    assert (world.status(idle), world.status(busy)) == ("Inactive", "Active")

    press(world, ana, "undo")
    ana.wait_for(lambda: is_shown(world, RemediationStatus.UNDONE), PATIENCE)
    assert (world.status(idle), world.status(busy)) == ("Active", "Active")
    assert world.switched() == [(idle, "Inactive"), (idle, "Active")]
    assert "nhi:undo" not in f"{card_of(world, ana)['blocks']}"

    told = ana.command("/nhi whois ci-deploy", patience=PATIENCE)
    assert told is not None
    assert "ci-deploy" in f"{told['blocks']}"
    events = [
        kind
        for kind in world.events()
        if kind.startswith(("owner", "attestation", "remediation", "credential")) or kind == "identity.seen"
    ]
    assert events == [
        "identity.seen",
        "owner.asked",
        "attestation.disable",
        "attestation.claim",  # the form's "and it is mine" is ticked
        "remediation.planned",
        "remediation.acting",
        "credential.disabled",
        "attestation.undo",
        "remediation.undo_requested",
        "credential.enabled",
    ]


def test_an_answer_is_kept_with_the_card_as_it_was_shown_and_the_ledger_commits_to_it(world: World, up: Up) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    up.start()
    ana = world.workspace.as_("ana")
    shown = card_of(world, ana)
    press(world, ana, "claim")
    ana.wait_for(lambda: world.rows(AttestationRow), PATIENCE)
    (said,) = world.rows(AttestationRow)
    assert (said.email, said.verdict, said.authority) == ("ana@example.com", "claim", "asked")
    on_the_card = [without_id(block) for block in shown["blocks"]]
    kept = [without_id(block) for block in said.shown["blocks"]]
    assert len(kept) >= 4
    assert [block for block in kept if block not in on_the_card] == []
    with reading(world.sessions) as session:
        event = session.scalars(select(EventRow).where(EventRow.kind == "attestation.claim")).one()
        assert json.loads(event.body)["facts"]["shown"] == commitment("", canonical(said.shown))
        assert "ana" not in event.body


def without_id(block: Json) -> Json:
    return {name: value for name, value in block.items() if name != "block_id"}


@on_sqlite
def test_a_justified_key_is_left_alone_and_asked_about_again_after_its_day(world: World, up: Up) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    up.start()
    ana = world.workspace.as_("ana")
    press(world, ana, "justify")
    fill_in(ana, reason="needed for the yearly audit", until="2026-12-31")
    ana.wait_for(lambda: world.rows(AttestationRow), PATIENCE)
    up.ticker.stop()
    world.clock.now = datetime(2027, 1, 4, 12, tzinfo=UTC)
    world.scan()
    assert world.ask().items == 1
    assert world.status(key_id) == "Active"


@on_sqlite
def test_somebody_elses_click_changes_nothing_and_gets_a_kind_sentence(world: World, up: Up) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    up.start()
    ana, bea = world.workspace.as_("ana"), world.workspace.as_("bea")
    bea.click(card_of(world, ana), "nhi:disable")
    assert world.rows(AttestationRow) == []
    assert bea.modal is None


@on_sqlite
def test_a_key_used_between_answer_and_act_stays_on_and_the_card_says_why(world: World, up: Up) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    up.start()
    ana = world.workspace.as_("ana")
    world.cloud.record_use(key_id, world.clock())
    press(world, ana, "disable")
    fill_in(ana)
    ana.wait_for(lambda: "It was used on" in f"{card_of(world, ana)['blocks']}", PATIENCE)
    assert (world.status(key_id), world.switched()) == ("Active", [])
