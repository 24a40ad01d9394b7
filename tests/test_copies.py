"""Every copy of a card shows one state, also after a restart; old ones bring a fresh one; a pasted secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from slack_sdk import WebClient
from sqlalchemy import select, update

from bot import delivery
from bot.server import Serving
from demo.workspace import Workspace
from nhi import answers, cards, decisions
from nhi.database import Sessions, reading
from nhi.escalation import Verdict
from nhi.policy import Policy
from nhi.tables import AskRow, AttestationRow, DelegationRow, IdentityRow, OfferRow
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_ask, make_identity
from tests.slack_facts import shown

pytestmark = on_sqlite
Json = dict[str, Any]
KEY = "AKIAIOSFODNN7EXAMPLE"


@dataclass(frozen=True, kw_only=True)
class Office:
    workspace: Workspace
    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Clock

    def ask(self, *places: str, name: str = "ci-deploy") -> str:
        """Ask Ana about an identity, with a copy of the card in each of these places; return the ask's id."""
        with self.sessions.begin() as session:
            question = make_ask(session, make_identity(session, name, keys=[KEY]), escalated_to=["#security"])
            for place in places:
                kind = "escalation" if place in ("#security", "UCEM") else "digest"
                delivery.queue(session, kind, place, {"name": "Ana"}, [question.id], NOW)
        self.drain()
        return question.id

    def drain(self) -> None:
        """What the worker does, in whatever process."""
        delivery.drain(self.sessions, self.client, self.policy, self.clock)

    def claim_and_die(self, ask_id: str) -> None:
        """Record Ana's answer, and end before anything is redrawn."""
        with self.sessions.begin() as session:
            question = session.get_one(AskRow, ask_id)
            seen = {"facts": cards.of_ask(session, question, self.policy, NOW), "blocks": []}
            offer = cards.offer(session, seen, identity_id=question.identity_id, ask_id=ask_id, now=NOW)
            assert offer is not None
            who = answers.begin(session, offer.id, Verdict.CLAIM, slack_id="UANA", policy=self.policy, now=NOW)
            decisions.claim(session, who, NOW)

    def messages(self) -> list[list[Json]]:
        """Return the blocks of each message that everybody in its channel sees, as they are now."""
        channels = self.workspace.state.channels.values()
        return [each.blocks for one in channels for each in one.messages if each.blocks and each.visible_to is None]

    def copies(self) -> list[str]:
        """Return what each of them shows."""
        return [shown(blocks) for blocks in self.messages()]

    def press_old(self, name: str, message: Json, what: str) -> None:
        """Press a button as it stood in a message before that was redrawn: as a slow client still shows it."""
        block = next(each for each in message["blocks"] if each["type"] == "actions")
        element = next(each for each in block["elements"] if each["action_id"] == what)
        body = self.workspace.hands._common("U" + name.upper(), from_modal=False)
        channel = self.workspace.state.channels[message["channel"]]
        place = {"type": "message", "message_ts": message["ts"], "channel_id": message["channel"]}
        body |= {"type": "block_actions", "container": place, "channel": {"id": channel.id, "name": channel.name}}
        body |= {"response_url": self.workspace.hands._response_url(channel, "U" + name.upper(), None)}
        body |= {"actions": [{**element, "block_id": block["block_id"], "action_ts": "1.0"}]}
        assert self.workspace.delivery.interactive(body).status == 200


@pytest.fixture
def office(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Office:
    workspace.delivery.patience = 30  # the machine may be busy, and how soon an ack comes is not what is tested here
    return Office(workspace=workspace, sessions=sessions, client=client, policy=policy, clock=clock)


def test_every_copy_shows_one_state_also_where_the_process_died_right_after_the_answer(office: Office) -> None:
    with office.sessions.begin() as session:
        delegation = {"email": "ana@example.com", "delegate": "bea@example.com", "since": NOW}
        session.add(DelegationRow(until=NOW.replace(year=2027), **delegation))
    ask_id = office.ask("UANA", "UBEA", "UCEM", "#security")
    assert len(office.copies()) == 4
    assert all("claimed it" not in copy for copy in office.copies())
    office.claim_and_die(ask_id)
    assert all("claimed it" not in copy for copy in office.copies()), "nobody was there to redraw"
    office.drain()  # the worker's next tick, in another process
    assert all("Ana Diaz claimed it" in copy for copy in office.copies())
    assert '"nhi:' not in json.dumps(office.messages()), "and nothing is left to press"


def test_an_old_card_is_answered_with_a_fresh_one_that_works(office: Office) -> None:
    office.ask("UANA")
    ana = office.workspace.as_("ana")
    old = ana.last()
    with office.sessions.begin() as session:  # a redraw has made new buttons, and this client has not seen it yet
        session.execute(update(OfferRow).values(used_at=NOW))
    office.press_old("ana", old, "nhi:claim")
    fresh = ana.wait_for(lambda: next((each for each in ana.messages() if each["ephemeral"]), None))
    assert "out of date" in fresh["text"]
    assert "Here is how it stands now" in shown(fresh["blocks"])
    assert "ci-deploy" in shown(fresh["blocks"])
    with reading(office.sessions) as session:
        assert session.scalars(select(AttestationRow)).all() == []
    assert ana.click(fresh, "nhi:claim") == ""
    office.workspace.wait_for(lambda: "Ana Diaz claimed it" in office.copies()[0])


def test_an_old_card_of_something_that_is_gone_shows_what_else_is_open(office: Office) -> None:
    office.ask("UANA", name="gone")
    ana = office.workspace.as_("ana")
    old = ana.last()
    with office.sessions.begin() as session:
        session.execute(update(OfferRow).values(used_at=NOW))
        session.execute(update(AskRow).values(status="withdrawn", ended_at=NOW))
        make_ask(session, make_identity(session, "still-there", keys=[]))
    office.press_old("ana", old, "nhi:claim")
    fresh = ana.wait_for(lambda: next((each for each in ana.messages() if each["ephemeral"]), None))
    assert "still-there" in shown(fresh["blocks"])


def test_a_stranger_with_an_old_card_learns_nothing(office: Office) -> None:
    office.ask("#security")
    old = office.workspace.as_("dora").messages("#security")[-1]
    office.press_old("gus", {**old, "blocks": [claim_button()]}, "nhi:claim")
    gus = office.workspace.as_("gus")
    told = gus.wait_for(lambda: [each for each in gus.messages("#security") if each["ephemeral"]])
    assert "ci-deploy" not in json.dumps(told)


def claim_button() -> Json:
    button = {
        "type": "button",
        "action_id": "nhi:claim",
        "value": "f" * 32,
        "text": {"type": "plain_text", "text": "x"},
    }
    return {"type": "actions", "block_id": "b", "elements": [button]}


def test_a_pasted_secret_is_not_kept_and_the_credential_that_it_names_can_be_rotated_at_once(office: Office) -> None:
    office.ask("UANA")
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    ana = office.workspace.as_("ana")
    ana.say(f"is this ours? {KEY} {secret}")
    warning = ana.wait_for(lambda: ana.last() if "I did not keep it" in shown(ana.last().get("blocks", [])) else None)
    assert "here you can have it rotated" in shown(warning["blocks"])
    assert secret not in json.dumps(warning)
    ana.click(warning, "nhi:rotate")
    modal = ana.wait_for(lambda: ana.modal)
    assert "Rotate" in json.dumps(modal["title"])
    with reading(office.sessions) as session:
        kept = [str(row.shown) for row in session.scalars(select(OfferRow))]
        kept += [str(vars(row)) for row in session.scalars(select(IdentityRow))]
    assert not any(secret in each for each in kept)


@pytest.mark.parametrize("where", ["the name of a file", "an edit"])
def test_a_secret_elsewhere_is_noticed_and_somebody_else_is_offered_no_rotation(office: Office, where: str) -> None:
    office.ask("UANA")
    bea = office.workspace.as_("bea")
    event: Json = {"type": "message", "ts": "1795424400.9", "event_ts": "1795424400.9", "team": "T0STANDIN"}
    event |= {"channel": bea._channel(None).id, "channel_type": "im"}
    before, after = {"user": "UBEA", "text": "see above"}, {"user": "UBEA", "text": f"see {KEY}"}
    if where == "an edit":
        event |= {"subtype": "message_changed"}
        for old, new in ((after, after), (before, after | {"bot_id": "B1"}), (before, before | {"text": "see below"})):
            office.workspace.hands._event(event | {"message": new, "previous_message": old})
        office.workspace.hands._event(event | {"message": after, "previous_message": before})
    else:
        file = {"id": "F1", "name": f"{KEY}.csv", "title": "x"}
        office.workspace.hands._event(event | before | {"subtype": "file_share", "files": [file]})

    def warned() -> bool:
        return bool(bea.messages()) and "did not keep" in shown(bea.last().get("blocks", []))

    bea.wait_for(warned)
    assert "nhi:rotate" not in json.dumps(bea.last()["blocks"])
    assert len(bea.messages()) == 1, "neither a link's preview, nor our own redraw, nor a harmless change is answered"
