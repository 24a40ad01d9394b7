"""Clicks and forms, as people make them: signed HTTP into the real app, the stand-in Slack around it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from slack_sdk import WebClient
from sqlalchemy import func, select

from bot import delivery
from bot.server import Serving
from demo.actor import Actor
from demo.workspace import Workspace, refuse
from nhi import ledger
from nhi.database import Sessions, reading
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingStatus
from nhi.policy import Policy
from nhi.remediation import RemediationStatus
from nhi.tables import (
    AskRow,
    AttestationRow,
    DelegationRow,
    DeliveryRow,
    EventRow,
    EvidenceRow,
    FindingRow,
    IdentityRow,
    OfferRow,
    OwnerRow,
    PersonRow,
    RemediationRow,
    SwitchRow,
    new_id,
)
from tests.conftest import Clock, Deferred, on_sqlite
from tests.factories import make_ask, make_identity
from tests.slack_facts import shown

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Office:
    """Everything of one test: the workspace, the app behind it, and the database."""

    workspace: Workspace
    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Clock
    deferred: Deferred

    def ask(self, *names: str, of: str = "ana", copies: tuple[str, ...] = ()) -> list[str]:
        """Ask somebody about new identities in one digest, and post copies of it; return the asks' ids."""
        with self.sessions.begin() as session:
            asks = [
                make_ask(session, make_identity(session, name, keys=[self.key()]), of + "@example.com")
                for name in names
            ]
            ids = [ask.id for ask in asks]
            for recipient in ("U" + of.upper(), *copies):
                kind = "digest" if recipient == "U" + of.upper() else "escalation"
                delivery.queue(session, kind, recipient, {}, ids, self.clock())
        self.drain()
        return ids

    def key(self) -> str:
        return "AKIA" + new_id()[:16].upper()

    def drain(self) -> delivery.Tally:
        return delivery.drain(self.sessions, self.client, self.policy, self.clock)

    def verdicts(self) -> list[tuple[str, str]]:
        """Return who said what, oldest first."""
        with reading(self.sessions) as session:
            rows = session.execute(select(AttestationRow.slack_id, AttestationRow.verdict).order_by(AttestationRow.at))
            return [(slack_id, verdict.value) for slack_id, verdict in rows]

    def status(self, ask_id: str) -> AskStatus:
        with reading(self.sessions) as session:
            return session.get_one(AskRow, ask_id).status

    def settled(self) -> bool:
        """Whether every posted message shows the newest state."""
        with reading(self.sessions) as session:
            behind = select(DeliveryRow.id).where(DeliveryRow.wanted_version > DeliveryRow.shown_version)
            return session.scalar(behind.limit(1)) is None

    def as_(self, name: str) -> Actor:
        return self.workspace.as_(name)


@pytest.fixture
def office(
    server: Serving,
    workspace: Workspace,
    sessions: Sessions,
    client: WebClient,
    policy: Policy,
    clock: Clock,
    deferred: Deferred,
) -> Office:
    return Office(workspace=workspace, sessions=sessions, client=client, policy=policy, clock=clock, deferred=deferred)


def told(actor: Actor, words: str, channel: str | None = None) -> Json:
    """Wait until the person is told something only they see, and return that message."""

    def found() -> Json | None:
        shown = [each for each in actor.messages(channel) if each["ephemeral"] and words in each["text"]]
        return shown[-1] if shown else None

    message: Json = actor.wait_for(found)
    return message


def labels(message: Json) -> list[str]:
    return [
        element["action_id"].removeprefix("nhi:")
        for block in message["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    ]


# -- claim, not mine, undo: act at the click ---------------------------------------------------------------------------


def test_a_claim_makes_an_owner_resolves_unowned_and_redraws_the_card(office: Office) -> None:
    (ask_id,) = office.ask("ci-deploy")
    ana = office.as_("ana")
    assert ana.click(ana.last(), "nhi:claim") == ""
    assert office.verdicts() == [("UANA", "claim")]
    assert office.status(ask_id) is AskStatus.ANSWERED
    with reading(office.sessions) as session:
        assert session.scalar(select(OwnerRow.email)) == "ana@example.com"
        kinds = session.execute(select(FindingRow.kind, FindingRow.status)).all()
        assert ("unowned", FindingStatus.RESOLVED) in [(kind.value, status) for kind, status in kinds]
        assert ledger.verify(session).first_wrong is None
    ana.wait_for(lambda: "claim" not in labels(ana.last()))
    assert len(ana.messages()) == 1, "the card is redrawn, nothing is posted beside it"


@on_sqlite
def test_the_attestation_keeps_what_the_person_was_shown(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    card = ana.last()
    ana.click(card, "nhi:claim")
    with reading(office.sessions) as session:
        shown = session.scalars(select(AttestationRow.shown)).one()
    assert shown["facts"]["identity"]["name"] == "ci-deploy"
    drawn = [block for block in card["blocks"] if block["type"] in ("rich_text", "actions")]
    assert any(json.dumps(block["elements"]) in json.dumps(shown["blocks"]) for block in drawn)


def test_not_mine_is_evidence_and_frees_the_finding_for_the_next_candidate(office: Office) -> None:
    (ask_id,) = office.ask("ci-deploy")
    ana = office.as_("ana")
    assert ana.click(ana.last(), "nhi:not_mine") == ""
    assert office.status(ask_id) is AskStatus.PASSED
    with reading(office.sessions) as session:
        assert session.scalar(select(EvidenceRow.points_to)) == "ana@example.com"
        assert set(session.scalars(select(FindingRow.status))) == {FindingStatus.OPEN}


def test_a_double_click_is_recorded_once_and_the_second_is_told_so(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    card = ana.last()
    errors = together([lambda: ana.click(card, "nhi:claim"), lambda: ana.click(card, "nhi:claim")])
    assert errors == ["", ""]
    assert office.verdicts() == [("UANA", "claim")]
    assert "already" in told(ana, "already")["text"]


def test_two_copies_of_a_card_take_one_answer_and_both_show_it(office: Office) -> None:
    (ask_id,) = office.ask("ci-deploy", copies=("#security",))
    with office.sessions.begin() as session:
        session.add(
            DelegationRow(
                id=new_id(),
                email="ana@example.com",
                delegate="bea@example.com",
                since=office.clock(),
                until=office.clock() + timedelta(days=1),
            )
        )
    ana, bea = office.as_("ana"), office.as_("bea")
    mine, theirs = ana.last(), bea.last("#security")
    together([lambda: ana.click(mine, "nhi:claim"), lambda: bea.click(theirs, "nhi:not_mine")])
    assert len(office.verdicts()) == 1
    office.workspace.wait_for(office.settled)
    assert "claim" not in labels(ana.last())
    public = [each for each in bea.messages("#security") if not each["ephemeral"]]
    assert "claim" not in labels(public[-1])
    assert office.status(ask_id) in (AskStatus.ANSWERED, AskStatus.PASSED)


@on_sqlite
def test_an_old_button_stands_for_nothing_after_a_redraw(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    before = ana.last()
    old = next(block for block in before["blocks"] if block["type"] == "actions")
    ana.click(before, "nhi:claim")
    office.workspace.wait_for(office.settled)
    payload = click_payload(office, "ana", old["elements"][0])
    ack = office.workspace.delivery.interactive(payload)
    assert ack.status == 200
    assert len(office.verdicts()) == 1


@on_sqlite
def test_a_redraw_of_one_card_leaves_the_buttons_of_the_others_good(office: Office) -> None:
    """A form that is open for the second card must not go out of date because the first one was answered."""
    _, second = office.ask("ci-deploy", "backup")
    ana = office.as_("ana")
    digest = ana.last()
    assert ana.click(digest, "nhi:justify", nth=1) == ""
    ana.wait_for(lambda: ana.modal)
    ana.click(digest, "nhi:claim", nth=0)
    office.workspace.wait_for(office.settled)
    assert ana.submit({"reason": "The nightly backup uses it.", "until": "2026-12-31"}) == {}
    assert office.status(second) is AskStatus.ANSWERED


def click_payload(office: Office, name: str, element: Json) -> Json:
    person = office.workspace.state.person(name)
    return {
        "type": "block_actions",
        "team": {"id": "T0STANDIN"},
        "user": {"id": person.user_id, "team_id": person.team_id},
        "trigger_id": office.workspace.state.new_trigger(person.user_id),
        "container": {"type": "message"},
        "actions": [{"type": "button", "block_id": "x"} | element],
    }


# -- who may answer ----------------------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("name", ["bea", "gus", "sam", "robo"])
@pytest.mark.parametrize("button", ["nhi:claim", "nhi:disable"])
def test_nobody_but_the_asked_the_owner_a_delegate_or_an_admin_can_answer(
    office: Office, name: str, button: str
) -> None:
    office.ask("ci-deploy", copies=("#security",))
    somebody = office.as_(name)
    assert somebody.click(somebody.last("#security"), button) == "", "the click arrived; the answer is no"
    assert "can't take your answer" in told(somebody, "Thanks for looking", "#security")["text"]
    assert office.verdicts() == []
    assert somebody.modal is None


@on_sqlite
def test_an_admin_can_answer_in_somebodys_stead(office: Office) -> None:
    office.ask("ci-deploy", copies=("#security",))
    dora = office.as_("dora")
    dora.click(dora.last("#security"), "nhi:claim")
    with reading(office.sessions) as session:
        assert session.scalars(select(AttestationRow.authority)).one() == "admin"


@on_sqlite
def test_somebody_of_another_workspace_is_refused_whatever_the_directory_says(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    button = next(block for block in ana.last()["blocks"] if block["type"] == "actions")["elements"][0]
    payload = click_payload(office, "ana", button)
    payload["user"]["team_id"] = "T0OTHER"
    assert office.workspace.delivery.interactive(payload).status == 200
    assert office.verdicts() == []


def test_an_admin_who_was_never_looked_up_is_known_at_the_second_press(office: Office) -> None:
    office.ask("ci-deploy", copies=("#security",))
    with office.sessions.begin() as session:
        session.delete(session.get_one(PersonRow, "UDORA"))
    dora = office.as_("dora")
    card = dora.last("#security")
    dora.click(card, "nhi:claim")
    told(dora, "Thanks for looking", "#security")

    def is_known() -> bool:
        with reading(office.sessions) as session:
            return session.get(PersonRow, "UDORA") is not None

    office.workspace.wait_for(is_known)
    dora.click(card, "nhi:claim")
    assert office.verdicts() == [("UDORA", "claim")]


# -- forms -------------------------------------------------------------------------------------------------------------


def open_form(office: Office, button: str, name: str = "ana") -> Actor:
    actor = office.as_(name)
    assert actor.click(actor.last(), button) == ""
    actor.wait_for(lambda: actor.modal)
    return actor


@on_sqlite
def test_a_justification_needs_a_reason_and_a_day_within_policy(office: Office) -> None:
    (ask_id,) = office.ask("ci-deploy")
    ana = open_form(office, "nhi:justify")
    assert "more" in ana.submit({"reason": "short", "until": "2026-12-31"})["reason"]
    assert "latest" in ana.submit({"reason": "A good and long reason.", "until": "2028-01-01"})["until"]
    assert "after today" in ana.submit({"reason": "A good and long reason.", "until": "2026-11-23"})["until"]
    assert office.verdicts() == []
    assert ana.submit({"reason": "A good and long reason.", "until": "2026-12-31"}) == {}
    assert ana.modal is None
    assert office.status(ask_id) is AskStatus.ANSWERED
    assert ("UANA", "justify") in office.verdicts()


@on_sqlite
def test_a_justification_that_holds_a_secret_is_neither_stored_nor_repeated(office: Office) -> None:
    office.ask("ci-deploy")
    ana = open_form(office, "nhi:justify")
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    answer = ana.submit({"reason": f"It signs in with {secret}.", "until": "2026-12-31"})
    assert "rotate" in answer["reason"]
    assert secret not in answer["reason"]
    assert office.verdicts() == []


def test_disable_plans_an_act_for_one_credential_and_hands_it_to_the_worker(office: Office) -> None:
    office.ask("ci-deploy")
    ana = open_form(office, "nhi:disable")
    assert ana.submit() == {}
    with reading(office.sessions) as session:
        planned = session.scalars(select(RemediationRow)).one()
        assert planned.status is RemediationStatus.PLANNED
        assert planned.credential.external_id
        planned_id = planned.id
    office.workspace.wait_for(lambda: ("remediate", planned_id) in office.deferred)
    office.workspace.wait_for(office.settled)
    assert labels(ana.last()) == ["undo"]


def test_undo_on_the_card_calls_a_planned_act_off(office: Office) -> None:
    office.ask("ci-deploy")
    ana = open_form(office, "nhi:disable")
    ana.submit()
    office.workspace.wait_for(office.settled)
    ana.wait_for(lambda: labels(ana.last()) == ["undo"])
    assert ana.click(ana.last(), "nhi:undo") == ""
    with reading(office.sessions) as session:
        assert session.scalars(select(RemediationRow.status)).one() is RemediationStatus.UNDONE
    assert [verdict for _, verdict in office.verdicts()][-1] == "undo"


def test_rotate_is_written_down_as_a_proposal(office: Office) -> None:
    office.ask("ci-deploy")
    ana = open_form(office, "nhi:rotate")
    assert ana.submit() == {}
    with reading(office.sessions) as session:
        assert session.scalars(select(RemediationRow.status)).one() is RemediationStatus.PROPOSED


@on_sqlite
def test_a_form_that_is_overtaken_says_who_was_faster(office: Office) -> None:
    office.ask("ci-deploy", copies=("#security",))
    ana = open_form(office, "nhi:justify")
    dora = office.as_("dora")
    dora.click(dora.last("#security"), "nhi:claim")
    ana.submit({"reason": "A good and long reason.", "until": "2026-12-31"})
    assert ana.modal is not None
    assert "Dora Lind claimed it" in json.dumps(ana.modal["blocks"])
    assert office.verdicts() == [("UDORA", "claim")]


@on_sqlite
def test_who_lost_the_right_between_click_and_form_is_refused_at_the_form(office: Office) -> None:
    office.ask("ci-deploy")
    ana = open_form(office, "nhi:justify")
    with office.sessions.begin() as session:
        session.get_one(PersonRow, "UANA").guest = True
    ana.submit({"reason": "A good and long reason.", "until": "2026-12-31"})
    assert ana.modal is not None
    assert "can't take your answer" in json.dumps(ana.modal["blocks"])
    assert office.verdicts() == []


@on_sqlite
def test_a_forged_credential_of_another_identity_is_refused(office: Office) -> None:
    office.ask("ci-deploy", "backup")
    with reading(office.sessions) as session:
        other = session.scalars(select(IdentityRow).where(IdentityRow.name == "backup")).one().credentials[0].id
    ana = office.as_("ana")
    ana.click(ana.last(), "nhi:disable", nth=0)
    view = ana.wait_for(lambda: ana.modal)
    forged = dict(view) | {"private_metadata": json.dumps({"offer": first_offer(ana), "credential": other})}
    payload = {"type": "view_submission", "team": {"id": "T0STANDIN"}, "user": {"id": "UANA"}, "view": forged}
    answer = office.workspace.delivery.interactive(payload)
    assert "choose one of the credentials" in answer.body
    with reading(office.sessions) as session:
        assert session.scalar(select(func.count()).select_from(RemediationRow)) == 0


def first_offer(actor: Actor) -> str:
    buttons = next(block for block in actor.last()["blocks"] if block["type"] == "actions")
    return str(buttons["elements"][0]["value"])


@on_sqlite
def test_a_form_that_cannot_open_in_time_tells_the_person_that_nothing_was_recorded(office: Office) -> None:
    office.ask("ci-deploy")
    office.workspace.inject("views.open", refuse("expired_trigger_id"))
    ana = office.as_("ana")
    ana.click(ana.last(), "nhi:justify")
    assert "press again" in told(ana, "did not open")["text"]


@pytest.mark.parametrize("value", ["", "0" * 32, "x" * 2000, "'; DROP TABLE ask; --", "\x00"])
def test_a_button_with_a_forged_value_is_out_of_date(office: Office, value: str) -> None:
    payload = click_payload(office, "ana", {"action_id": "nhi:claim", "value": value})
    assert office.workspace.delivery.interactive(payload).status == 200
    assert office.verdicts() == []


@on_sqlite
def test_a_button_of_a_later_version_is_out_of_date_and_not_an_error(office: Office) -> None:
    payload = click_payload(office, "ana", {"action_id": "nhi:certify", "value": "x"})
    assert office.workspace.delivery.interactive(payload).status == 200


@on_sqlite
def test_an_offer_takes_only_the_verdicts_that_it_was_drawn_with(office: Office) -> None:
    office.ask("ci-deploy")
    offer_id = first_offer(office.as_("ana"))
    payload = click_payload(office, "ana", {"action_id": "nhi:undo", "value": offer_id})
    office.workspace.delivery.interactive(payload)
    assert office.verdicts() == []


# -- unexpected --------------------------------------------------------------------------------------------------------


def test_a_click_that_could_not_be_recorded_shows_slacks_error_and_an_id_that_is_in_the_log(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.ask("ci-deploy")
    with office.sessions.begin() as session:
        session.connection().exec_driver_sql("ALTER TABLE inbox RENAME TO away")
    ana = office.as_("ana")
    card = ana.last()
    assert ana.click(card, "nhi:claim") != "", "Slack must show that it failed"
    sentence = told(ana, "Something broke")["text"]
    assert sentence.rstrip(".").split()[-1] in caplog.text
    with office.sessions.begin() as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO inbox")
    assert ana.click(card, "nhi:claim") == ""
    assert office.verdicts() == [("UANA", "claim")], "what was not recorded can be said again"


# -- go ----------------------------------------------------------------------------------------------------------------


def queue_golive(office: Office) -> None:
    with office.sessions.begin() as session:
        words = {"people": 3, "identities": 41, "offer": "go"}
        delivery.queue(session, "golive", "UDORA", words, [], office.clock())
        delivery.queue(session, "golive", "UANA", words, [], office.clock())
    office.drain()


def test_go_is_an_admins_decision_and_counts_once(office: Office) -> None:
    queue_golive(office)
    ana, dora = office.as_("ana"), office.as_("dora")
    ana.click(ana.last(), "nhi:go")
    told(ana, "Only an admin")
    dora.click(dora.messages()[0], "nhi:go")
    told(dora, "From now on")
    dora.click(dora.messages()[0], "nhi:go")
    told(dora, "already")
    with reading(office.sessions) as session:
        assert session.get_one(SwitchRow, "live").by == "dora@example.com"
        kinds = list(session.scalars(select(EventRow.kind)))
    assert kinds.count("conversation.went_live") == 1
    office.workspace.wait_for(lambda: any(task == "ask" for task, _ in office.deferred))
    office.drain()
    assert not any("nhi:go" in json.dumps(each["blocks"]) for who in (ana, dora) for each in who.messages())


# -- home and direct messages ------------------------------------------------------------------------------------------


@on_sqlite
def test_the_home_tab_shows_what_is_asked_and_takes_answers(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    home = ana.home()
    assert home is not None
    assert ana.click(home, "nhi:claim") == ""
    assert office.verdicts() == [("UANA", "claim")]
    office.workspace.wait_for(office.settled)
    again = ana.home()
    assert again is not None
    assert "nhi:claim" not in json.dumps(again["blocks"])


@on_sqlite
def test_what_is_answered_in_a_form_that_the_home_tab_opened_is_asked_there_no_more(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    home = ana.home()
    assert home is not None
    ana.click(home, "nhi:justify")
    ana.wait_for(lambda: ana.modal)
    assert not ana.submit({"reason": "The payroll needs it each month."})
    ana.wait_for(lambda: "Nothing is waiting for you" in shown(office.workspace.state.homes["UANA"].as_json()))


@on_sqlite
def test_a_guest_opens_an_empty_home_tab(office: Office) -> None:
    office.ask("ci-deploy")
    home = office.as_("gus").home()
    assert home is not None
    assert "ci-deploy" not in json.dumps(home["blocks"])


@on_sqlite
def test_a_secret_in_a_direct_message_is_answered_and_never_repeated_or_kept(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "xoxb-" + "1234567890" * 3
    ana = office.as_("ana")
    ana.say(f"my token is {secret}")
    ana.wait_for(lambda: "rotate" in ana.last()["text"])
    assert secret not in ana.last()["text"]
    assert secret not in caplog.text
    ana.say("hello?")
    ana.wait_for(lambda: "/nhi" in ana.last()["text"])
    assert len(ana.messages()) == 4


# -- a burst -----------------------------------------------------------------------------------------------------------


def test_sixty_clicks_at_once_are_each_acknowledged_and_recorded_once(office: Office) -> None:
    with office.sessions.begin() as session:
        asks = [make_ask(session, make_identity(session, f"job-{n}", keys=[])) for n in range(60)]
        for start in range(0, 60, 5):
            ids = [ask.id for ask in asks[start : start + 5]]
            delivery.queue(session, "digest", "UANA", {}, ids, office.clock())
    for _ in range(12):
        office.drain()
        office.clock.pass_by(seconds=2)
    ana = office.as_("ana")
    clicks = [partial(ana.click, message, "nhi:claim", nth=number) for message in ana.messages() for number in range(5)]
    assert len(clicks) == 60
    # The sixty threads that press share one interpreter with the app here, so no time is held against it.
    office.workspace.delivery.patience = 60
    errors = together(clicks)
    assert [error for error in errors if error] == []
    assert sorted(office.verdicts()) == [("UANA", "claim")] * 60
    office.workspace.wait_for(office.settled, patience=60)


def together(deeds: Sequence[Callable[[], str]]) -> list[str]:
    """Do everything at once, and return what each returned."""
    ready, results = threading.Barrier(len(deeds)), [""] * len(deeds)

    def do(number: int, deed: Callable[[], str]) -> None:
        ready.wait()
        results[number] = deed()

    threads = [threading.Thread(target=do, args=(number, deed)) for number, deed in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_offers_are_good_for_one_answer_each(office: Office) -> None:
    office.ask("ci-deploy")
    ana = office.as_("ana")
    ana.click(ana.last(), "nhi:claim")
    office.workspace.wait_for(office.settled)
    with reading(office.sessions) as session:
        unspent = list(session.scalars(select(OfferRow).where(OfferRow.used_at.is_(None))))
        assert [offer.actions for offer in unspent] == [] or all(
            Verdict.CLAIM.value not in offer.actions for offer in unspent
        )
