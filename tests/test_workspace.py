"""The stand-in workspace against slack_sdk's clients: Web API, faults, triggers, response URLs, the page's door."""

import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import pytest
from slack_sdk import WebClient, WebhookClient
from slack_sdk.errors import SlackApiError

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
from tests.workspace_world import ANA, CARD, Clock, Json, client_of, code, modal, workspace


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slack(clock: Clock) -> Iterator[Workspace]:
    with workspace(clock) as running:
        yield running


@pytest.fixture
def client(slack: Workspace) -> WebClient:
    return client_of(slack)


# -- the Web API -------------------------------------------------------------------------------------------------------


def test_a_message_can_be_posted_read_changed_and_deleted(slack: Workspace, client: WebClient) -> None:
    channel = client.conversations_open(users=ANA.user_id)["channel"]["id"]
    metadata = {"event_type": "ask", "event_payload": {"delivery": "d1"}}
    posted = client.chat_postMessage(channel=channel, text="Hello", blocks=CARD, metadata=metadata)
    assert client.chat_postMessage(channel=ANA.user_id, text="Second")["channel"] == channel

    newest, oldest = client.conversations_history(channel=channel, include_all_metadata=True)["messages"]
    assert (newest["text"], oldest["ts"], oldest["metadata"]) == ("Second", posted["ts"], metadata)
    assert "metadata" not in client.conversations_history(channel=channel)["messages"][1]

    client.chat_update(channel=channel, ts=posted["ts"], text="Changed")
    changed = slack.as_("ana").messages()[0]
    assert (changed["text"], changed["blocks"], changed["metadata"]) == ("Changed", CARD, metadata)
    client.chat_delete(channel=channel, ts=posted["ts"])
    assert [each["text"] for each in slack.as_("ana").messages()] == ["Second"]
    assert slack.as_("bo").messages() == []


def test_every_ts_is_unique_and_later_even_while_the_clock_stands_still(slack: Workspace, client: WebClient) -> None:
    threads = [
        threading.Thread(target=client.chat_postMessage, kwargs={"channel": "#security", "text": str(each)})
        for each in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [each["ts"] for each in slack.as_("ana").messages("#security")]
    assert times == sorted(times)
    assert len(set(times)) == 20


def test_history_is_paged_and_bounded(client: WebClient) -> None:
    times = [client.chat_postMessage(channel="#security", text=str(each))["ts"] for each in range(5)]
    pages = [
        [each["text"] for each in page["messages"]]
        for page in client.conversations_history(channel="CSECURITY", limit=2)
    ]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]
    between = client.conversations_history(channel="CSECURITY", oldest=times[1], latest=times[3])
    assert [each["text"] for each in between["messages"]] == ["2"]
    inclusive = client.conversations_history(channel="CSECURITY", oldest=times[1], latest=times[3], inclusive=True)
    assert len(inclusive["messages"]) == 3


def test_people_are_listed_in_pages_and_looked_up(client: WebClient) -> None:
    names = [each["name"] for page in client.users_list(limit=2) for each in page["members"]]
    assert names == ["ana", "bo", "di", "ci", "nhi"]
    found = client.users_lookupByEmail(email="ANA@example.com")["user"]
    assert (found["id"], found["tz"], found["tz_offset"]) == ("UANA", "Europe/Madrid", 7200)
    assert client.users_info(user="UDI")["user"]["deleted"] is True
    assert client.conversations_members(channel="CSECURITY")["members"] == ["UANA", "UBO", "U0BOT"]


def test_conversations_are_listed_by_type_without_those_the_bot_cannot_see(client: WebClient) -> None:
    public = client.conversations_list(exclude_archived=True)["channels"]
    assert [each["name"] for each in public] == ["security", "other"]
    assert client.conversations_list(types="private_channel")["channels"] == []
    client.conversations_open(users="UBO")
    assert [each["user"] for each in client.conversations_list(types="im")["channels"]] == ["UBO"]


def test_each_refusal_has_slacks_own_code(client: WebClient) -> None:
    post = client.chat_postMessage
    assert code(lambda: post(channel="CNONE", text="x")) == "channel_not_found"
    assert code(lambda: post(channel="CSECRET", text="x")) == "channel_not_found"
    assert code(lambda: post(channel="COTHER", text="x")) == "not_in_channel"
    assert code(lambda: post(channel="COLD", text="x")) == "is_archived"
    assert code(lambda: post(channel="UCI", text="x")) == "cannot_dm_bot"
    assert code(lambda: post(channel="UDI", text="x")) == "user_disabled"
    assert code(lambda: client.api_call("chat.postMessage", json={"channel": "UANA", "text": " "})) == "no_text"
    assert code(lambda: post(channel="UANA", text="x", metadata={"event_type": "x"})) == "invalid_metadata_schema"
    assert code(lambda: client.conversations_open(users="UNONE")) == "user_not_found"
    assert code(lambda: client.conversations_open(users="UDI")) == "user_disabled"
    assert code(lambda: client.users_info(user="UNONE")) == "user_not_found"
    assert code(lambda: client.users_lookupByEmail(email="no@example.com")) == "users_not_found"
    assert code(lambda: client.users_lookupByEmail(email="di@example.com")) == "users_not_found"
    assert code(lambda: client.chat_update(channel="UANA", ts="1.0", text="x")) == "message_not_found"
    assert code(lambda: client.conversations_list(types="pigeon")) == "invalid_types"
    assert code(lambda: client.users_list(cursor="nonsense!")) == "invalid_cursor"
    assert code(lambda: client.views_publish(user_id="UNONE", view={"type": "home", "blocks": []})) == "user_not_found"
    assert code(lambda: client.api_call("files.upload")) == "unknown_method"


def test_a_message_of_somebody_else_cannot_be_changed(slack: Workspace, client: WebClient) -> None:
    slack.as_("ana").say("Mine", channel="#security")
    ts = slack.as_("ana").last("#security")["ts"]
    assert code(lambda: client.chat_update(channel="CSECURITY", ts=ts, text="x")) == "cant_update_message"
    assert code(lambda: client.chat_delete(channel="CSECURITY", ts=ts)) == "cant_delete_message"


def test_invalid_blocks_come_with_the_place_of_the_mistake(client: WebClient) -> None:
    header = {"type": "header", "text": {"type": "mrkdwn", "text": "x"}}
    with pytest.raises(SlackApiError) as refused:
        client.chat_postMessage(channel="UANA", text="x", blocks=[header])
    assert refused.value.response["error"] == "invalid_blocks"
    assert any(
        "json-pointer:/blocks/0/text" in each for each in refused.value.response["response_metadata"]["messages"]
    )


def test_long_text_is_cut_when_posted_and_refused_when_updated(slack: Workspace, client: WebClient) -> None:
    posted = client.chat_postMessage(channel="UANA", text="x" * 40_001)
    assert posted["response_metadata"]["warnings"] == ["message_truncated"]
    assert len(slack.as_("ana").last()["text"]) == 40_000
    client.chat_update(channel=posted["channel"], ts=posted["ts"], text="x" * 4000)
    assert (
        code(lambda: client.chat_update(channel=posted["channel"], ts=posted["ts"], text="x" * 4001)) == "msg_too_long"
    )


def test_all_blocks_together_have_a_limit_too(client: WebClient) -> None:
    def sections(size: int) -> list[Json]:
        return [{"type": "section", "text": {"type": "plain_text", "text": "x" * 2500}}] * 3 + [
            {"type": "section", "text": {"type": "plain_text", "text": "x" * (size - 7500)}}
        ]

    client.chat_postMessage(channel="UANA", text="x", blocks=sections(10_000))
    assert (
        code(lambda: client.chat_postMessage(channel="UANA", text="x", blocks=sections(10_001)))
        == "msg_blocks_too_long"
    )


@pytest.mark.parametrize(("token", "answer"), [("", "not_authed"), ("xoxb-wrong", "invalid_auth")])
def test_a_token_is_needed(slack: Workspace, token: str, answer: str) -> None:
    assert code(WebClient(token=token, base_url=slack.api_url).auth_test) == answer


def test_tokens_are_of_two_kinds_and_can_be_revoked(slack: Workspace, client: WebClient) -> None:
    assert code(lambda: client.apps_connections_open(app_token=slack.bot_token)) == "not_allowed_token_type"
    assert client.auth_test()["user_id"] == "U0BOT"
    slack.revoke_token()
    assert code(client.auth_test) == "token_revoked"


def test_an_ephemeral_message_is_seen_by_one_person_and_not_in_history(slack: Workspace, client: WebClient) -> None:
    client.chat_postEphemeral(channel="CSECURITY", user="UANA", text="Psst")
    assert slack.as_("ana").last("#security")["ephemeral"] is True
    assert slack.as_("bo").messages("#security") == []
    assert client.conversations_history(channel="CSECURITY")["messages"] == []


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "posted", "error"),
    [
        (drop_before(), 0, RemoteDisconnected),
        (drop_after(), 1, RemoteDisconnected),
        (fatal_after(), 1, SlackApiError),
        (server_error(), 0, SlackApiError),
        (rate_limited(7), 0, SlackApiError),
        (refuse("missing_scope"), 0, SlackApiError),
    ],
)
def test_a_fault_happens_once_and_leaves_what_it_should(
    slack: Workspace, client: WebClient, fault: Fault, posted: int, error: type[Exception]
) -> None:
    slack.inject("chat.postMessage", fault)
    with pytest.raises(error):
        client.chat_postMessage(channel="UANA", text="x")
    assert len(slack.as_("ana").messages()) == posted
    client.chat_postMessage(channel="UANA", text="x")
    assert len(slack.calls("chat.postMessage")) == 2


def test_a_429_says_when_to_come_back(slack: Workspace, client: WebClient) -> None:
    slack.inject("*", rate_limited(7))
    with pytest.raises(SlackApiError) as refused:
        client.auth_test()
    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (429, "7")


def test_a_hanging_call_outlasts_an_impatient_client(slack: Workspace) -> None:
    slack.inject("chat.postMessage", hang(1.5))
    hasty = WebClient(token=slack.bot_token, base_url=slack.api_url, timeout=1, retry_handlers=[])
    with pytest.raises(TimeoutError):
        hasty.chat_postMessage(channel="UANA", text="x")
    assert len(slack.as_("ana").messages()) == 1


def test_a_channel_takes_one_message_a_second_where_that_is_enforced(slack: Workspace, client: WebClient) -> None:
    slack.enforce_rate(0.2)
    client.chat_postMessage(channel="UANA", text="x")
    assert code(lambda: client.chat_postMessage(channel="UANA", text="x")) == "ratelimited"
    client.chat_postMessage(channel="UBO", text="x")
    time.sleep(0.25)
    client.chat_postMessage(channel="UANA", text="x")


# -- triggers, hashes and response URLs --------------------------------------------------------------------------------


def test_a_trigger_opens_one_modal_within_three_seconds(slack: Workspace, client: WebClient) -> None:
    def open_with(trigger: str) -> Any:
        return client.views_open(trigger_id=trigger, view=modal())

    trigger = slack.state.new_trigger("UANA")
    assert open_with(trigger)["view"]["type"] == "modal"
    assert code(lambda: open_with(trigger)) == "exchanged_trigger_id"
    late = slack.state.new_trigger("UANA")
    slack.state.triggers[late].expires -= 3.0
    assert code(lambda: open_with(late)) == "expired_trigger_id"
    assert code(lambda: open_with("made.up")) == "invalid_trigger_id"
    assert (
        code(lambda: client.views_push(trigger_id=slack.state.new_trigger("UBO"), view=modal())) == "invalid_trigger_id"
    )


def test_modals_stack_three_deep(slack: Workspace, client: WebClient) -> None:
    client.views_open(trigger_id=slack.state.new_trigger("UANA"), view=modal())
    for _ in range(2):
        client.views_push(trigger_id=slack.state.new_trigger("UANA", from_modal=True), view=modal())
    fourth = slack.state.new_trigger("UANA", from_modal=True)
    assert code(lambda: client.views_push(trigger_id=fourth, view=modal())) == "push_limit_reached"


def test_an_old_hash_is_a_conflict(slack: Workspace, client: WebClient) -> None:
    view = client.views_open(trigger_id=slack.state.new_trigger("UANA"), view=modal(external_id="one"))["view"]
    client.views_update(view_id=view["id"], hash=view["hash"], view=modal(external_id="one"))
    assert code(lambda: client.views_update(view_id=view["id"], hash=view["hash"], view=modal())) == "hash_conflict"
    client.views_update(external_id="one", view=modal(external_id="one"))
    assert code(lambda: client.views_update(view_id="V0", view=modal())) == "not_found"
    again = slack.state.new_trigger("UBO")
    taken = modal(external_id="one")
    assert code(lambda: client.views_open(trigger_id=again, view=taken)) == "duplicate_external_id"


def test_a_response_url_works_five_times_within_half_an_hour(slack: Workspace, clock: Clock) -> None:
    channel = slack.state.direct_message("UANA")
    url = f"{slack.url}/response/{slack.state.new_response_url(channel.id, 'UANA', None)}"
    assert [WebhookClient(url).send(text="x").status_code for _ in range(6)] == [200] * 5 + [404]
    late = f"{slack.url}/response/{slack.state.new_response_url(channel.id, 'UANA', None)}"
    clock.turn(minutes=30)
    assert WebhookClient(late).send(text="x").status_code == 200
    clock.turn(seconds=1)
    assert WebhookClient(late).send(text="x").body == '{"ok":false,"error":"expired_url"}'


def test_a_response_url_replaces_or_deletes_its_message(slack: Workspace, client: WebClient) -> None:
    ts = client.chat_postMessage(channel="UANA", text="Card", blocks=CARD)["ts"]
    message = slack.state.message("DANA", ts)
    url = f"{slack.url}/response/{slack.state.new_response_url('DANA', 'UANA', message)}"
    WebhookClient(url).send(text="Replaced", replace_original=True)
    assert [each["text"] for each in slack.as_("ana").messages()] == ["Replaced"]
    assert WebhookClient(url).send(blocks=[{"type": "nonsense"}]).body == "invalid_blocks"
    WebhookClient(url).send(delete_original=True)
    assert slack.as_("ana").messages() == []


# -- the page's own door -----------------------------------------------------------------------------------------------


def ask_page(slack: Workspace, verb: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", urlsplit(slack.url).port or 0, timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", verb, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_listens_to_nobody_else(slack: Workspace) -> None:
    typed = json.dumps({"as": "ana", "channel": "DANA", "text": "Hello"}).encode()
    assert ask_page(slack, "/ui/state?as=ana")[0] == 200
    assert ask_page(slack, "/ui/state?as=ana", Host="evil.example")[0] == 421
    assert ask_page(slack, "/", Host="evil.example:80")[0] == 421
    assert ask_page(slack, "/ui/type", typed, Content_Type="text/plain")[0] == 415
    assert ask_page(slack, "/ui/type", typed, Content_Type="application/json", Origin="http://evil.example")[0] == 403
    assert ask_page(slack, "/ui/type", typed, Content_Type="application/json")[0] == 200
    assert ask_page(slack, "/ui/state?as=stranger")[0] == 400
    assert ask_page(slack, "/api/auth.test?token=xoxb-stand-in", b"", Origin="http://evil.example")[0] == 403
    assert slack.as_("ana").last()["text"] == "Hello"


def test_nobody_presses_what_only_somebody_else_sees(slack: Workspace, client: WebClient) -> None:
    ts = client.chat_postEphemeral(channel="CSECURITY", user="UANA", text="x", blocks=CARD)["message_ts"]
    body = {"as": "bo", "channel": "CSECURITY", "ts": ts, "block_id": "card", "action_id": "disable"}
    status, words = ask_page(slack, "/ui/press", json.dumps(body).encode(), Content_Type="application/json")
    assert status == 400
    assert "no longer there" in words


def test_the_next_day_turns_every_clock(clock: Clock) -> None:
    with Workspace([ANA], now=clock, on_next_day=lambda: clock.turn(days=1)) as slack:
        assert ask_page(slack, "/ui/next-day", b"{}", Content_Type="application/json")[0] == 200
        assert json.loads(ask_page(slack, "/ui/state?as=ana")[1])["now"].startswith("2026-10-06")
    slack.stop()
    with pytest.raises(RuntimeError, match="call start"):
        _ = slack.url
