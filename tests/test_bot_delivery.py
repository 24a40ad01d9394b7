"""The outbox against everything that can go wrong between us and Slack: nothing lost, nothing doubled."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from slack_sdk import WebClient
from sqlalchemy import select

from bot import delivery
from demo.workspace import (
    Fault,
    Workspace,
    drop_after,
    drop_before,
    fatal_after,
    hang,
    rate_limited,
    refuse,
    server_error,
)
from nhi import answers
from nhi.database import Sessions, reading
from nhi.policy import Policy
from nhi.tables import AskRow, CardRow, DeliveryRow, GateRow, OfferRow
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_ask, make_identity

Drain = Callable[[], delivery.Tally]


@pytest.fixture
def client(workspace: Workspace) -> WebClient:
    """A client with little patience, so that a hanging Slack costs a test no more than a second."""
    return WebClient(token=workspace.bot_token, base_url=workspace.api_url, retry_handlers=[], timeout=1)


@pytest.fixture
def drain(sessions: Sessions, client: WebClient, policy: Policy, clock: Clock, known: None) -> Drain:
    return lambda: delivery.drain(sessions, client, policy, clock)


_numbers = itertools.count()


def soon() -> datetime:
    """Return a moment just before NOW, each later than the one before: the order in which messages were queued."""
    return NOW - timedelta(seconds=1) + timedelta(microseconds=next(_numbers))


def queue(sessions: Sessions, recipient: str = "UANA", *names: str, kind: str = "digest") -> str:
    """Queue one message with a card for each name (one where none is given); return its id."""
    with sessions.begin() as session:
        asks = [make_ask(session, make_identity(session, name)) for name in names or ("ci-deploy",)]
        return delivery.queue(session, kind, recipient, {"name": "Ana"}, [ask.id for ask in asks], soon()).id


def notice(sessions: Sessions, recipient: str, sentence: str) -> str:
    with sessions.begin() as session:
        return delivery.queue(session, "notice", recipient, {"sentence": sentence}, [], soon()).id


def row(sessions: Sessions, delivery_id: str) -> dict[str, Any]:
    with reading(sessions) as session:
        kept = session.get_one(DeliveryRow, delivery_id)
        return {column.name: getattr(kept, column.name) for column in DeliveryRow.__table__.columns}


def posted(workspace: Workspace, name: str = "ana", channel: str | None = None) -> list[dict[str, Any]]:
    return workspace.as_(name).messages(channel)


def drain_until_quiet(drain: Drain, clock: Clock, hours: int = 12) -> None:
    """Let the worker tick for some hours."""
    for _ in range(hours * 12):
        drain()
        clock.pass_by(minutes=5)


def test_a_message_is_posted_once_and_its_place_is_kept(sessions: Sessions, workspace: Workspace, drain: Drain) -> None:
    delivery_id = queue(sessions)
    assert drain().posted == 1
    assert drain().posted == 0
    kept, message = row(sessions, delivery_id), posted(workspace)[0]
    assert (kept["state"], kept["channel"], kept["ts"]) == ("posted", message["channel"], message["ts"])
    assert kept["attempts"] == 0
    assert message["metadata"] == {"event_type": "nhi_delivery", "event_payload": {"id": delivery_id}}
    assert workspace.calls("chat.postMessage")[0]["unfurl_links"] in ("0", False)


@on_sqlite
def test_every_kind_of_message_is_taken_by_slack(sessions: Sessions, workspace: Workspace, drain: Drain) -> None:
    for number, kind in enumerate(("digest", "reminder", "escalation", "shadow")):
        queue(sessions, ["UANA", "UBEA", "UCEM", "UDORA"][number], f"job-{number}", kind=kind)
    notice(sessions, "#security", "All is well.")
    assert drain().posted == 5
    assert "All is well." in posted(workspace, channel="#security")[0]["text"]


@pytest.mark.parametrize("kind", ["digest", "shadow", "golive"])
@on_sqlite
def test_a_question_that_an_outage_delayed_waits_for_working_hours_and_a_notice_does_not(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock, kind: str
) -> None:
    clock.now = NOW.replace(hour=15, minute=50)  # ten minutes before Ana's evening, in Berlin
    with sessions.begin() as session:
        asks = [make_ask(session, make_identity(session, name)) for name in ("ci-deploy", "at-night")]
        words = {"name": "Ana", "people": 1, "identities": 1, "offer": "go-1"}
        late = delivery.queue(session, kind, "UANA", words, [asks[0].id], clock()).id
        delivery.queue(session, "notice", "UANA", {"sentence": "All is well."}, [], clock())
        delivery.queue(session, "escalation", "#security", {"name": "Ana"}, [asks[0].id], clock())
    workspace.inject("chat.postMessage", rate_limited(retry_after=1200))
    assert drain().posted == 0
    clock.pass_by(minutes=20, seconds=1)
    for _ in range(3):
        drain()
        clock.pass_by(seconds=2)
    assert [each["text"] for each in posted(workspace)] == ["All is well."]
    assert len(posted(workspace, channel="#security")) == 1
    assert row(sessions, late)["not_before"] == (NOW + timedelta(days=1)).replace(hour=8)
    with sessions.begin() as session:  # somebody asked by hand for this one, at this hour
        delivery.queue(session, "digest", "UANA", {"name": "Ana"}, [asks[1].id], clock())
    clock.pass_by(minutes=16)
    assert drain().posted == 1
    clock.now = row(sessions, late)["not_before"]
    assert drain().posted == 1


FAULTS: dict[str, Fault] = {
    "dropped before": drop_before(),
    "dropped after": drop_after(),
    "500": server_error(500),
    "503": server_error(503),
    "fatal_error after posting": fatal_after(),
    "hangs, then posts": hang(1.2),
    "429": rate_limited(30),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["chat.postMessage", "conversations.open"])
@on_sqlite
def test_whatever_fails_once_the_message_is_said_once(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock, fault: str, method: str
) -> None:
    delivery_id = queue(sessions)
    workspace.inject(method, FAULTS[fault])
    drain()
    drain_until_quiet(drain, clock, hours=1)
    assert len(posted(workspace)) == 1
    kept = row(sessions, delivery_id)
    assert (kept["state"], kept["ts"]) == ("posted", posted(workspace)[0]["ts"])
    assert kept["wanted_version"] == kept["shown_version"]


@pytest.mark.parametrize("recipient", ["UANA", "#security", "CSECURITY"])
def test_a_second_try_looks_first_and_adopts_what_the_first_had_posted(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock, recipient: str
) -> None:
    queue(sessions, recipient)
    workspace.inject("chat.postMessage", drop_after())
    assert drain().waiting == 1
    clock.pass_by(minutes=1)
    tally = drain()
    assert (tally.adopted, tally.posted, tally.redrawn) == (1, 0, 1), "its buttons are made anew, and known"
    assert len(workspace.calls("chat.postMessage")) == 1


def test_the_buttons_of_an_adopted_message_work_before_it_is_redrawn(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    queue(sessions)
    workspace.inject("chat.postMessage", drop_after())
    drain()
    shown = posted(workspace)[0]
    values = {e["value"] for b in shown["blocks"] if b["type"] == "actions" for e in b["elements"]}
    with reading(sessions) as session:
        unspent = set(session.scalars(select(OfferRow.id).where(OfferRow.used_at.is_(None))))
    assert values <= unspent


def test_killed_between_the_post_and_the_write_nothing_is_said_twice(
    sessions: Sessions, workspace: Workspace, policy: Policy, clock: Clock, drain: Drain, client: WebClient
) -> None:
    """The row is claimed and posted, and the process is gone before it could write that down."""
    delivery_id = queue(sessions)
    with sessions.begin() as session:
        kept = session.get_one(DeliveryRow, delivery_id)
        kept.attempts, kept.claimed_until = 1, clock() + delivery.LEASE
    channel = client.conversations_open(users="UANA")["channel"]["id"]
    metadata = {"event_type": "nhi_delivery", "event_payload": {"id": delivery_id}}
    client.chat_postMessage(channel=channel, text="posted by the process that died", metadata=metadata)
    assert drain().posted == 0, "it is still claimed"
    clock.now += delivery.LEASE + timedelta(seconds=1)
    assert drain().adopted == 1
    assert len(posted(workspace)) == 1


def test_killed_before_the_post_the_message_is_still_said(
    sessions: Sessions, workspace: Workspace, clock: Clock, drain: Drain
) -> None:
    delivery_id = queue(sessions)
    with sessions.begin() as session:
        kept = session.get_one(DeliveryRow, delivery_id)
        kept.attempts, kept.claimed_until = 1, clock() + delivery.LEASE
    clock.now += delivery.LEASE + timedelta(seconds=1)
    assert drain().posted == 1


def test_many_workers_and_a_bad_network_lose_nothing_and_double_nothing(
    sessions: Sessions, workspace: Workspace, client: WebClient, policy: Policy, known: None
) -> None:
    """Four workers at once over forty messages, while one call in three fails in one of four ways."""
    wanted = {notice(sessions, ("UANA", "UBEA", "UCEM", "UDORA")[n % 4], f"Message {n}.") for n in range(24)}
    rng = random.Random(11)
    for fault in (drop_before(), drop_after(), fatal_after(), server_error()):
        workspace.inject("chat.postMessage", fault, times=None, probability=0.09, rng=rng)
    clock = Clock(NOW)

    def work() -> None:
        for _ in range(60):
            delivery.drain(sessions, client, policy, clock)

    def walk() -> None:
        while any(worker.is_alive() for worker in workers):
            clock.pass_by(seconds=1)
            tick.wait(0.01)

    tick = threading.Event()
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    walk()
    for worker in workers:
        worker.join()
    workspace.clear_faults()
    clock.pass_by(hours=3)
    for _ in range(8):
        delivery.drain(sessions, client, policy, clock)
        clock.pass_by(minutes=2)
    said = [
        message["metadata"]["event_payload"]["id"]
        for name in ("ana", "bea", "cem", "dora")
        for message in posted(workspace, name)
    ]
    assert sorted(said) == sorted(wanted)


# -- waiting -----------------------------------------------------------------------------------------------------------


@on_sqlite
def test_retry_after_is_kept_by_all_workers_and_nobody_sleeps(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    queue(sessions, "UANA", "job-1")
    queue(sessions, "UBEA", "job-2")
    workspace.inject("chat.postMessage", rate_limited(30))
    assert drain().posted == 0
    clock.pass_by(seconds=29)
    assert drain().posted == 0, "not before Retry-After has passed, for anybody"
    clock.pass_by(seconds=1)
    assert drain().posted == 2


@on_sqlite
def test_one_channel_gets_at_most_one_message_a_second(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    for number in range(3):
        notice(sessions, "UANA", f"Message {number}.")
    notice(sessions, "UBEA", "Hello.")
    assert drain().posted == 2, "one each"
    assert drain().posted == 0
    clock.pass_by(seconds=1)
    assert drain().posted == 1
    assert [m["text"] for m in posted(workspace)] == ["Message 0.", "Message 1."], "the oldest first"


@on_sqlite
def test_while_a_message_is_on_its_way_to_a_channel_no_other_is_begun(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    notice(sessions, "UANA", "The first.")
    notice(sessions, "UANA", "The second.")
    workspace.inject("chat.postMessage", hang(0.6))
    slow = threading.Thread(target=drain)
    slow.start()
    workspace.wait_for(lambda: workspace.calls("chat.postMessage"))
    clock.pass_by(seconds=5)
    assert drain().posted == 0, "the first may still come, and then both would stand there in one second"
    slow.join()
    clock.pass_by(seconds=1)
    assert drain().posted == 1
    assert [message["text"] for message in posted(workspace)] == ["The first.", "The second."]


@on_sqlite
def test_a_busy_channel_does_not_hold_up_the_others(sessions: Sessions, drain: Drain) -> None:
    for number in range(150):
        notice(sessions, "UANA", f"Message {number}.")
    notice(sessions, "UBEA", "Hello.")
    drain()
    assert drain().posted == 1, "Bea's, though a hundred and forty-nine are older"


@pytest.mark.parametrize("code", ["invalid_auth", "token_revoked", "account_inactive", "missing_scope"])
@on_sqlite
def test_a_refused_token_stops_all_sending_for_an_hour(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock, code: str
) -> None:
    first = queue(sessions, "UANA", "job-1")
    queue(sessions, "UBEA", "job-2")
    workspace.inject("chat.postMessage", refuse(code))
    assert drain().reasons == {code: 1}
    assert len(workspace.calls("chat.postMessage")) == 1
    kept = row(sessions, first)
    assert (kept["state"], kept["error"], kept["attempts"]) == ("waiting", code, 0)
    with reading(sessions) as session:
        assert session.get_one(GateRow, "slack").because == code
    clock.pass_by(minutes=59)
    assert drain().posted == 0
    clock.pass_by(minutes=1)
    assert drain().posted == 2


@pytest.mark.parametrize("recipient", ["UOTTO", "UROBO", "UNOBODY", "#no-such-channel"])
@on_sqlite
def test_who_cannot_be_reached_is_given_up_at_once_with_slacks_reason(
    sessions: Sessions, drain: Drain, clock: Clock, recipient: str
) -> None:
    delivery_id = queue(sessions, recipient)
    assert drain().dead == 1
    kept = row(sessions, delivery_id)
    assert kept["state"] == "dead"
    assert kept["error"] in ("user_disabled", "cannot_dm_bot", "user_not_found", "channel_not_found")


@on_sqlite
def test_what_slack_refuses_as_malformed_is_our_bug_and_is_not_tried_again(
    sessions: Sessions, workspace: Workspace, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    delivery_id = queue(sessions)
    workspace.inject("chat.postMessage", refuse("invalid_blocks"))
    assert drain().dead == 1
    assert "This is a bug" in caplog.text
    assert row(sessions, delivery_id)["error"] == "invalid_blocks"


@on_sqlite
def test_after_eight_tries_and_a_last_look_a_message_is_given_up_and_not_before(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    delivery_id = queue(sessions)
    workspace.inject("chat.postMessage", server_error(), times=None)
    for number in range(1, 10):
        if number == 9:
            workspace.inject("conversations.history", server_error())
            drain()  # it could not even be looked up
            clock.pass_by(minutes=65)
        drain()
        assert row(sessions, delivery_id)["state"] == ("waiting" if number < 9 else "dead")
        clock.pass_by(minutes=33 if number < 8 else 65)
    assert len(workspace.calls("chat.postMessage")) == 8
    assert row(sessions, delivery_id)["error"] == "HTTP 500"


@on_sqlite
def test_what_the_last_try_posted_after_all_is_found_and_said_no_second_time(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    delivery_id = queue(sessions)
    workspace.inject("chat.postMessage", server_error(), times=delivery.TRIES - 1)
    workspace.inject("chat.postMessage", fatal_after())
    drain_until_quiet(drain, clock)
    assert len(posted(workspace)) == 1
    assert row(sessions, delivery_id)["state"] == "posted"


@on_sqlite
def test_a_long_rate_limit_is_no_reason_to_give_up(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    queue(sessions)
    workspace.inject("chat.postMessage", rate_limited(60), times=20)
    for _ in range(21):
        drain()
        clock.pass_by(minutes=1)
    assert len(posted(workspace)) == 1


# -- redraws -----------------------------------------------------------------------------------------------------------


def want_redraw(sessions: Sessions, delivery_id: str) -> None:
    with sessions.begin() as session:
        answers.redraw(
            session, session.scalars(select(CardRow.ask_id).where(CardRow.delivery_id == delivery_id)).first()
        )


def test_a_redraw_changes_the_message_in_place(sessions: Sessions, workspace: Workspace, drain: Drain) -> None:
    delivery_id = queue(sessions)
    drain()
    ts = posted(workspace)[0]["ts"]
    want_redraw(sessions, delivery_id)
    assert drain().redrawn == 1
    assert [message["ts"] for message in posted(workspace)] == [ts]
    kept = row(sessions, delivery_id)
    assert kept["shown_version"] == kept["wanted_version"] == 2
    assert drain().redrawn == 0


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "429"])
@on_sqlite
def test_a_redraw_that_failed_is_done_later(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock, fault: str
) -> None:
    delivery_id = queue(sessions)
    drain()
    want_redraw(sessions, delivery_id)
    workspace.inject("chat.update", FAULTS[fault])
    assert drain().redrawn == 0
    clock.pass_by(hours=1)
    assert drain().redrawn == 1
    kept = row(sessions, delivery_id)
    assert (kept["shown_version"], kept["error"]) == (kept["wanted_version"], None)


@on_sqlite
def test_a_copy_is_redrawn_however_long_slack_was_unwell(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock
) -> None:
    delivery_id = queue(sessions)
    drain()
    want_redraw(sessions, delivery_id)
    workspace.inject("chat.update", server_error(), times=12)
    for _ in range(12):
        assert drain().redrawn == 0
        clock.pass_by(hours=1)
    assert drain().redrawn == 1


@pytest.mark.parametrize("code", ["message_not_found", "cant_update_message", "channel_not_found", "is_archived"])
@on_sqlite
def test_a_message_that_is_gone_is_not_redrawn_for_ever(
    sessions: Sessions, workspace: Workspace, drain: Drain, clock: Clock, code: str
) -> None:
    delivery_id = queue(sessions)
    drain()
    want_redraw(sessions, delivery_id)
    workspace.inject("chat.update", refuse(code))
    drain()
    kept = row(sessions, delivery_id)
    assert (kept["state"], kept["shown_version"], kept["error"]) == ("posted", kept["wanted_version"], code)


def test_an_unchanged_card_keeps_its_offer_and_a_changed_one_gets_a_new_one(
    sessions: Sessions, workspace: Workspace, drain: Drain
) -> None:
    delivery_id = queue(sessions)
    drain()
    with reading(sessions) as session:
        first = set(session.scalars(select(OfferRow.id)))
    want_redraw(sessions, delivery_id)
    drain()
    with sessions.begin() as session:
        assert set(session.scalars(select(OfferRow.id))) == first
        card = session.scalars(select(CardRow)).one()
        session.get_one(AskRow, card.ask_id).because = "you created it"
    want_redraw(sessions, delivery_id)
    drain()
    with reading(sessions) as session:
        unspent = set(session.scalars(select(OfferRow.id).where(OfferRow.used_at.is_(None))))
    assert len(unspent) == 1
    assert not unspent & first


@on_sqlite
def test_only_the_copies_of_one_ask_are_drained_when_asked_for(
    sessions: Sessions, client: WebClient, policy: Policy, clock: Clock, drain: Drain
) -> None:
    first, second = queue(sessions, "UANA", "job-1"), queue(sessions, "UBEA", "job-2")
    drain()
    want_redraw(sessions, first)
    want_redraw(sessions, second)
    with reading(sessions) as session:
        ask_id = session.scalars(select(CardRow.ask_id).where(CardRow.delivery_id == second)).one()
    assert delivery.drain(sessions, client, policy, clock, only_ask=ask_id).redrawn == 1
    assert drain().redrawn == 1


@on_sqlite
def test_a_drain_does_no_more_than_its_limit(
    sessions: Sessions, client: WebClient, policy: Policy, clock: Clock, known: None
) -> None:
    for number in range(4):
        queue(sessions, ("UANA", "UBEA", "UCEM", "UDORA")[number], f"job-{number}")
    assert delivery.drain(sessions, client, policy, clock, limit=3).posted == 3


@on_sqlite
def test_the_tally_says_what_happened(sessions: Sessions, workspace: Workspace, drain: Drain) -> None:
    queue(sessions, "UANA", "job-1")
    queue(sessions, "UOTTO", "job-2")
    assert str(drain()) == "Posted 1, redrew 0. Gave up on 1. Slack said: user_disabled (1)."
