"""What is asked first, what is asked as one, and what one press on it writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk import WebClient
from sqlalchemy import select

from bot import delivery, messages
from bot.render import text_length
from bot.server import Serving
from demo.slack_rules import check_blocks
from demo.workspace import Workspace
from nhi import digest
from nhi.database import Sessions, reading
from nhi.digest import GROUP_AT_LEAST, GROUP_AT_MOST, Item
from nhi.escalation import AskStatus
from nhi.policy import Policy
from nhi.tables import AskRow, AttestationRow, OwnerRow
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_ask, make_identity
from tests.slack_facts import ask

items = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.one_of(st.none(), st.sampled_from("abc"))), max_size=60
).map(
    lambda told: [
        Item(id=str(number), rank=rank, privileged=privileged, alike=alike)
        for number, (rank, privileged, alike) in enumerate(told)
    ]
)


@given(items)
def test_every_question_is_in_one_piece_and_the_most_risk_a_minute_comes_first(given_items: list[Item]) -> None:
    pieces = digest.arrange(given_items)
    assert sorted(one.id for piece in pieces for one in piece.items) == sorted(one.id for one in given_items)
    assert [piece.worth for piece in pieces] == sorted((piece.worth for piece in pieces), reverse=True)
    for piece in pieces:
        assert len(piece.items) == 1 or GROUP_AT_LEAST <= len(piece.items) <= GROUP_AT_MOST
        assert len({one.alike for one in piece.items}) == 1
        assert len(piece.items) == 1 or not any(one.privileged or one.alike is None for one in piece.items)


def test_seven_alike_ones_are_worth_more_of_a_minute_than_one_graver_one() -> None:
    alike = [Item(id=str(n), rank=1, privileged=False, alike="a") for n in range(7)]
    grave, gravest = (Item(id=f"g{r}", rank=r, privileged=r == 3, alike=None) for r in (2, 3))
    assert [len(piece.items) for piece in digest.arrange([grave, *alike, gravest])] == [1, 7, 1]


@pytest.mark.parametrize(("a_week", "sizes"), [(None, [1] * 7), (5, [1] * 7), (4, [4, 1, 1, 1])])
def test_only_who_has_more_than_fits_into_a_week_gets_what_differs_as_one(a_week: int | None, sizes: list[int]) -> None:
    def item(reader: str, alike: int, *, privileged: bool = False) -> Item:
        name = f"{reader}-{alike}"
        return Item(id=name, rank=1, privileged=privileged, alike=alike, reader=reader, roughly=reader)

    anas, beas = [item("ana", n) for n in range(4)], [item("bea", n) for n in range(4, 6)]
    pieces = digest.arrange([*anas, *beas, item("ana", 9, privileged=True)], a_week=a_week)
    assert sorted((len(piece.items) for piece in pieces), reverse=True) == sizes


@pytest.mark.parametrize("count", [1, 2, 7, 60, 500])
@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("one", [False, True])
def test_a_digest_stays_within_slacks_limits(count: int, groups: bool, one: bool) -> None:
    cards = []
    for number in range(count):
        facts = ask()
        facts["identity"] = facts["identity"] | {"name": "n" * 300, "privileged": False}
        facts["ask"] = facts["ask"] | {"group": f"{number // GROUP_AT_MOST:032d}" if groups else None}
        cards.append((facts, f"{number:032x}"))
    message = messages.digest({"kind": "digest", "name": "Ana", "one": one, "delivery": "d" * 32}, cards)
    assert check_blocks(message.blocks, "message") == []
    assert text_length(message.blocks) <= 10_000
    assert f"{count} question" in json.dumps(message.blocks)
    assert ("Same answer for" in json.dumps(message.blocks)) is groups


# -- in Slack ----------------------------------------------------------------------------------------------------------


def queue_group(sessions: Sessions, *, privileged: str | None = None) -> str:
    with sessions.begin() as session:
        asks = []
        for number in range(4):
            name = f"ci-{number}"
            identity = make_identity(
                session, name, keys=[f"AKIAIOSFODNN7EXAMP{number:02d}"], privileged=name == privileged
            )
            asks.append(make_ask(session, identity, group_id="a" * 32))
        return delivery.queue(session, "digest", "UANA", {"name": "Ana"}, [one.id for one in asks], NOW).id


def test_a_list_tells_what_is_wrong_with_some_of_its_lines_alone() -> None:
    both, one = ask(), ask()
    for number, facts in enumerate((both, one)):
        kinds = ("unowned", "unused")[: 2 - number]
        finding = facts["findings"][0]
        facts["findings"] = [finding | {"kind": kind} for kind in kinds]
        facts["identity"] = facts["identity"] | {"name": f"ci-{number}", "privileged": False}
        facts["ask"] = facts["ask"] | {"group": "a" * 32}
    shown = json.dumps(messages.digest({"kind": "digest", "name": "Ana"}, [(both, "b" * 32), (one, "c" * 32)]).blocks)
    assert shown.count("also unused") == 1
    assert ", unowned" in shown
    assert "unowned, unused" not in shown


@pytest.fixture
def drain(sessions: Sessions, client: WebClient, policy: Policy, clock: Clock, server: Serving) -> Any:
    return lambda: delivery.drain(sessions, client, policy, clock)


def test_one_press_answers_alike_questions_with_an_attestation_each(
    workspace: Workspace, sessions: Sessions, drain: Any
) -> None:
    queue_group(sessions, privileged="ci-3")
    drain()
    ana = workspace.as_("ana")
    (message,) = ana.messages()
    shown = json.dumps(message["blocks"])
    assert "Same answer for these 3?" in shown
    assert "All 3 are mine" in shown
    ana.click(message, "nhi:group_claim")
    with reading(sessions) as session:
        said = session.scalars(select(AttestationRow)).all()
        assert [one.email for one in said] == ["ana@example.com"] * 3
        assert len({one.identity_id for one in said}) == 3
        assert all("ci-3" not in json.dumps(one.shown) for one in said)
        assert len(session.scalars(select(OwnerRow)).all()) == 3
        (left,) = session.scalars(select(AskRow).where(AskRow.status == AskStatus.OPEN))
        assert left.identity.name == "ci-3", "what is privileged is answered by itself"


@on_sqlite
def test_a_second_press_a_stranger_and_a_forged_group_change_nothing(
    workspace: Workspace, sessions: Sessions, drain: Any
) -> None:
    queue_group(sessions)
    drain()
    (message,) = workspace.as_("ana").messages()
    workspace.as_("ana").click(message, "nhi:group_not_mine")
    workspace.as_("ana").click(message, "nhi:group_not_mine")
    with reading(sessions) as session:
        assert len(session.scalars(select(AttestationRow)).all()) == 4


@on_sqlite
def test_a_reader_can_have_one_question_at_a_time(workspace: Workspace, sessions: Sessions, drain: Any) -> None:
    with sessions.begin() as session:
        asks = [make_ask(session, make_identity(session, f"job-{n}")).id for n in range(3)]
        delivery.queue(session, "digest", "UANA", {"name": "Ana"}, asks, NOW)
    drain()
    ana = workspace.as_("ana")

    def cards() -> int:
        return json.dumps(ana.messages()[0]["blocks"]).count('"nhi:claim"')

    assert cards() == 3
    assert "3 left, about 1 minute" in json.dumps(ana.messages()[0]["blocks"])
    ana.click(ana.messages()[0], "nhi:pace")
    workspace.wait_for(lambda: cards() == 1)
    ana.click(ana.messages()[0], "nhi:claim")
    workspace.wait_for(lambda: "2 left, about 1 minute" in json.dumps(ana.messages()[0]["blocks"]))
    assert cards() == 1
    ana.click(ana.messages()[0], "nhi:pace")
    workspace.wait_for(lambda: cards() == 2)
