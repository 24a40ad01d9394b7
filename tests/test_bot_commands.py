"""`/nhi`, typed by people: what they see, what they may, and what stays away from them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from slack_sdk import WebClient
from sqlalchemy import select

from bot import delivery
from bot.server import Serving
from demo.workspace import Workspace
from nhi.database import Sessions, reading
from nhi.escalation import Verdict
from nhi.findings import FindingKind
from nhi.policy import Policy
from nhi.remediation import RemediationStatus
from nhi.tables import (
    AttestationRow,
    DelegationRow,
    EventRow,
    OfferRow,
    PersonRow,
    RemediationRow,
)
from tests.conftest import Clock, Deferred, on_sqlite
from tests.factories import make_ask, make_finding, make_identity, make_owner

Json = dict[str, Any]
pytestmark = pytest.mark.usefixtures("server")


def said(workspace: Workspace, name: str, typed: str) -> Json:
    """Type a command and return the answer, which nobody else may see."""
    message = workspace.as_(name).command(typed)
    assert message is not None, "there is always an answer"
    assert message["ephemeral"]
    return message


def words(message: Json) -> str:
    return json.dumps(message["blocks"], ensure_ascii=False) + str(message["text"])


def buttons(message: Json) -> set[str]:
    return {
        element["action_id"].removeprefix("nhi:")
        for block in message["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    }


# -- whois -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "ci-deploy",
        "CI-Deploy",
        "arn:aws:iam::123456789012:user/ci-deploy",
        "AKIAIOSFODNN7EXAMPLE",
        "denied for `arn:aws:iam::123456789012:user/ci-deploy` on bucket x",
        "<mailto:ana@example.com|ana@example.com>",
        "@ana",
    ],
)
@on_sqlite
def test_whois_finds_by_name_arn_key_owner_and_mention(workspace: Workspace, sessions: Sessions, query: str) -> None:
    with sessions.begin() as session:
        identity = make_identity(session, "ci-deploy")
        make_owner(session, identity, session.get_one(PersonRow, "UANA"))
    assert "ci-deploy" in words(said(workspace, "bea", f"/nhi whois {query}"))


def test_whois_offers_buttons_to_whoever_may_press_them_and_to_nobody_else(
    workspace: Workspace, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        identity = make_identity(session, "ci-deploy")
        make_owner(session, identity, session.get_one(PersonRow, "UANA"))
        make_finding(session, identity)
    assert buttons(said(workspace, "bea", "/nhi whois ci-deploy")) == set()
    assert "claim" not in buttons(said(workspace, "ana", "/nhi whois ci-deploy")), "she owns it already"
    assert {"justify", "rotate", "disable"} <= buttons(said(workspace, "ana", "/nhi whois ci-deploy"))
    assert {"claim", "disable"} <= buttons(said(workspace, "dora", "/nhi whois ci-deploy"))
    assert "not_mine" not in buttons(said(workspace, "dora", "/nhi whois ci-deploy")), "an admin was not asked"


def test_an_answer_from_whois_counts_on_the_open_ask_and_redraws_its_card(
    workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> None:
    with sessions.begin() as session:
        ask = make_ask(session, make_identity(session, "ci-deploy"))
        delivery.queue(session, "digest", "UANA", {}, [ask.id], clock())
    delivery.drain(sessions, client, policy, clock)
    ana = workspace.as_("ana")
    assert ana.click(said(workspace, "ana", "/nhi whois ci-deploy"), "nhi:claim") == ""
    card = ana.messages()[0]["ts"]
    ana.wait_for(lambda: "claim" not in buttons(next(m for m in ana.messages() if m["ts"] == card)))
    ana.wait_for(lambda: any("You are now the owner" in message["text"] for message in ana.messages()))
    with reading(sessions) as session:
        shown = session.scalars(select(AttestationRow.shown)).one()
        assert shown["blocks"], "what whois showed is kept with the answer"


def test_a_form_opened_from_whois_thanks_in_the_form(workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session, "ci-deploy")
        make_owner(session, identity, session.get_one(PersonRow, "UANA"))
        make_finding(session, identity)
    ana = workspace.as_("ana")
    ana.click(said(workspace, "ana", "/nhi whois ci-deploy"), "nhi:justify")
    ana.wait_for(lambda: ana.modal)
    assert ana.submit({"reason": "The nightly backup uses it.", "until": "2026-12-31"}) == {}
    assert ana.modal is not None
    assert "Thank you" in json.dumps(ana.modal["blocks"])


@on_sqlite
def test_who_asked_to_disable_can_undo_from_whois(workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
    ana = workspace.as_("ana")
    ana.click(said(workspace, "ana", "/nhi mine"), "nhi:disable")
    ana.wait_for(lambda: ana.modal)
    assert ana.submit({"claim": []}) == {}
    assert buttons(said(workspace, "ana", "/nhi whois ci-deploy")) == {"undo"}
    assert ana.click(ana.last(), "nhi:undo") == ""
    with reading(sessions) as session:
        assert session.scalars(select(RemediationRow.status)).one() is RemediationStatus.UNDONE


@on_sqlite
def test_a_secret_pasted_into_a_query_is_not_echoed(
    workspace: Workspace, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    answer = said(workspace, "ana", f"/nhi whois {secret}")
    assert secret not in words(answer)
    assert secret not in words(said(workspace, "ana", f"/nhi {secret}"))
    assert secret not in caplog.text


@on_sqlite
def test_slacks_limits_hold_however_much_there_is_to_say(workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for number in range(60):
            identity = make_identity(session, f"job-{number}-" + "x" * 180, keys=[f"AKIA{number:016d}"] * 1)
            identity.tags = {"note": "y" * 200}
            make_finding(session, identity, FindingKind.UNOWNED)
            make_ask(session, identity)
            make_owner(session, identity, session.get_one(PersonRow, "UANA"))
    for typed in ("whois job-", "whois ana@example.com", "mine", "findings", "unowned"):
        answer = said(workspace, "ana", f"/nhi {typed}")
        assert "job-" in words(answer), typed


@pytest.mark.parametrize(
    "query", ["%", "_" * 3, "\\", "'; DROP TABLE identity; --", "𝓬𝓲", "\u202e" * 9, "<@UNOBODY>", "a\x00b"]
)
def test_a_hostile_query_finds_nothing_and_breaks_nothing(workspace: Workspace, sessions: Sessions, query: str) -> None:
    with sessions.begin() as session:
        make_identity(session, "ci-deploy")
    answer = said(workspace, "ana", f"/nhi whois {query}")
    assert "Something broke" not in answer["text"]
    assert "\u202e" not in words(answer)


@on_sqlite
def test_offers_are_made_only_for_the_cards_that_are_shown_whole(workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for number in range(12):
            make_finding(session, make_identity(session, f"job-{number}", keys=[]))
    said(workspace, "dora", "/nhi whois job-")
    with reading(sessions) as session:
        assert len(list(session.scalars(select(OfferRow)))) <= 3


# -- who may type it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gus", "sam", "robo"])
@on_sqlite
def test_guests_strangers_and_bots_learn_nothing(workspace: Workspace, sessions: Sessions, name: str) -> None:
    with sessions.begin() as session:
        make_identity(session, "ci-deploy")
    answer = said(workspace, name, "/nhi whois ci-deploy")
    assert "ci-deploy" not in words(answer)
    assert "only members" in answer["text"]


@pytest.mark.parametrize("name", ["bea", "gus"])
@on_sqlite
def test_somebody_we_never_met_is_looked_up_first(workspace: Workspace, sessions: Sessions, name: str) -> None:
    with sessions.begin() as session:
        make_identity(session, "ci-deploy")
        session.delete(session.get_one(PersonRow, "U" + name.upper()))
    answer = said(workspace, name, "/nhi whois ci-deploy")
    assert ("ci-deploy" in words(answer)) is (name == "bea")


@on_sqlite
def test_a_member_who_became_a_guest_is_one_after_a_day(workspace: Workspace, sessions: Sessions, clock: Clock) -> None:
    with sessions.begin() as session:
        make_identity(session, "ci-deploy")
        session.get_one(PersonRow, "UGUS").guest = False
    assert "ci-deploy" in words(said(workspace, "gus", "/nhi whois ci-deploy"))
    clock.pass_by(days=1)
    assert "only members" in said(workspace, "gus", "/nhi whois ci-deploy")["text"]


# -- the others --------------------------------------------------------------------------------------------------------


@on_sqlite
def test_mine_shows_what_is_asked_and_what_is_owned(workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
        make_owner(session, make_identity(session, "backup", keys=[]), session.get_one(PersonRow, "UANA"))
        make_ask(session, make_identity(session, "of-somebody-else", keys=[]), "bea@example.com")
    answer = said(workspace, "ana", "/nhi mine")
    assert "ci-deploy" in words(answer)
    assert "backup" in words(answer)
    assert "of-somebody-else" not in words(answer)
    assert "claim" in buttons(answer)


@pytest.mark.parametrize(("typed", "near"), [("whosi x", "whois"), ("min", "mine"), ("HELP", None), ("", None)])
@on_sqlite
def test_an_unknown_word_names_the_nearest(workspace: Workspace, typed: str, near: str | None) -> None:
    answer = said(workspace, "ana", f"/nhi {typed}")
    if near is None:
        assert "/nhi whois" in words(answer)
    else:
        assert f"Did you mean /nhi {near}?" in answer["text"]


@on_sqlite
def test_findings_and_unowned_count_and_list(workspace: Workspace, sessions: Sessions) -> None:
    assert "Nothing is open" in said(workspace, "ana", "/nhi findings")["text"]
    with sessions.begin() as session:
        identity = make_identity(session, "ci-deploy")
        make_finding(session, identity)
        make_finding(session, identity, FindingKind.UNOWNED)
    assert "2 open findings" in said(workspace, "ana", "/nhi findings")["text"]
    assert "1 identity has" in said(workspace, "ana", "/nhi unowned")["text"]
    assert "1 open finding: 1 unused" in said(workspace, "ana", "/nhi findings --kind Unused 1")["text"]
    assert "/nhi findings cross_environment" in said(workspace, "ana", "/nhi findings unusual")["text"]


def test_a_delegate_answers_until_the_day_has_passed_and_not_after(
    workspace: Workspace, sessions: Sessions, clock: Clock, client: WebClient, policy: Policy
) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
    assert "Bea" in said(workspace, "ana", "/nhi delegate @bea until 2026-11-24")["text"]
    said(workspace, "ana", "/nhi delegate @bea until 2026-11-24")
    with reading(sessions) as session:
        assert len(list(session.scalars(select(DelegationRow)))) == 1, "saying it twice is saying it once"
        assert list(session.scalars(select(EventRow.kind))) == ["delegation.given"]
    card = said(workspace, "bea", "/nhi mine")
    clock.now = datetime(2026, 11, 24, 23, tzinfo=UTC)  # midnight in Berlin, where Ana is
    bea = workspace.as_("bea")
    bea.click(card, "nhi:claim")
    bea.wait_for(lambda: any("Thanks for looking" in message["text"] for message in bea.messages()))
    clock.now -= timedelta(seconds=1)
    bea.click(card, "nhi:claim")
    with reading(sessions) as session:
        assert session.scalars(select(AttestationRow.authority)).one() == "delegate of ana@example.com"


@pytest.mark.parametrize(
    "typed",
    [
        "@bea",
        "until 2026-12-01",
        "@bea until some day",
        "@bea until 2026-13-45",
        "@bea until 2026-11-22",
        "@bea until 2028-01-01",
        "@gus until 2026-12-01",
        "@otto until 2026-12-01",
        "@robo until 2026-12-01",
        "@ana until 2026-12-01",
        "@bea @cem until 2026-12-01",
    ],
)
@on_sqlite
def test_a_delegation_that_makes_no_sense_is_refused_in_a_sentence(
    workspace: Workspace, sessions: Sessions, typed: str
) -> None:
    answer = said(workspace, "ana", f"/nhi delegate {typed}")
    assert "can answer for you until" not in answer["text"]
    assert "broke" not in answer["text"]
    with reading(sessions) as session:
        assert list(session.scalars(select(DelegationRow))) == []


def test_undo_takes_the_beginning_of_an_acts_id_from_whoever_may(
    workspace: Workspace, sessions: Sessions, deferred: Deferred
) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
    ana = workspace.as_("ana")
    ana.click(said(workspace, "ana", "/nhi mine"), "nhi:disable")
    ana.wait_for(lambda: ana.modal)
    ana.submit()
    with reading(sessions) as session:
        act_id = session.scalars(select(RemediationRow.id)).one()
    assert "no such act" in said(workspace, "bea", f"/nhi undo {act_id[:8]}")["text"]
    assert "characters" in said(workspace, "ana", "/nhi undo %")["text"]
    assert "taking it back" in said(workspace, "ana", f"/nhi undo {act_id[:8]}")["text"]
    with reading(sessions) as session:
        assert session.scalars(select(RemediationRow.status)).one() is RemediationStatus.UNDONE
        attested = session.scalars(select(AttestationRow).where(AttestationRow.verdict == Verdict.UNDO)).one()
        assert (attested.email, attested.authority) == ("ana@example.com", "owner")
        assert attested.shown == {"command": f"/nhi undo {act_id[:8]}", "remediation": act_id}


@on_sqlite
def test_scan_is_for_admins(workspace: Workspace, deferred: Deferred) -> None:
    assert "Only admins" in said(workspace, "ana", "/nhi scan")["text"]
    assert ("scan", "asked for in Slack") not in deferred
    said(workspace, "dora", "/nhi scan")
    workspace.wait_for(lambda: ("scan", "asked for in Slack") in deferred)


@on_sqlite
def test_a_command_that_breaks_says_so_with_an_id_that_is_in_the_log(
    workspace: Workspace, sessions: Sessions, caplog: pytest.LogCaptureFixture, server: Serving
) -> None:
    with sessions.begin() as session:
        session.connection().exec_driver_sql("ALTER TABLE finding RENAME TO away")
    answer = said(workspace, "ana", "/nhi findings")
    assert answer["text"].rstrip(".").split()[-1] in caplog.text
