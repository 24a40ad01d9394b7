"""Who is asked what, when, and who is not: rows after a run, and the messages that people see."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bot import delivery
from demo.workspace import Workspace
from jobs import outbox, work
from jobs.program import open_program
from nhi.database import reading
from nhi.errors import SettingsError
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingStatus
from nhi.settings import Settings
from nhi.tables import AskRow, CardRow, DeliveryRow, FindingRow, IdentityRow, SwitchRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # 13:00 in Berlin, 21:00 in Seoul
SHADOW = "[conversation]\nshadow = true\n"


@pytest.fixture
def now() -> datetime:
    return MONDAY_NOON


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


def texts(message: dict[str, Any]) -> str:
    return f"{message['text']} {message['blocks']}"


def digests(world: World) -> list[DeliveryRow]:
    return world.rows(DeliveryRow, kind="digest")


# -- who ---------------------------------------------------------------------------------------------------------------


def test_the_likely_owner_is_asked_once_with_the_reason_why_them(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    tally = world.ask()
    assert (tally.sent, tally.people, tally.items) == (1, 1, 1)
    (asked,) = world.rows(AskRow)
    assert (asked.email, asked.because) == ("ana@example.com", "its tag says owner=ana@example.com")
    assert {row.status for row in world.rows(FindingRow)} == {FindingStatus.ASKED}
    world.deliver()
    (message,) = world.messages("ana")
    assert "ci-deploy" in texts(message)
    again = world.ask()
    assert (again.sent, again.items, len(world.rows(AskRow))) == (0, 0, 1)
    world.deliver()
    assert len(world.messages("ana")) == 1
    assert world.events("owner.asked") == ["owner.asked"]


@on_sqlite
@pytest.mark.parametrize(
    "email", ["gus@partner.example", "otto@example.com", "robo@example.com", "sam@other.example", "nobody@example.com"]
)
def test_guests_the_deactivated_bots_strangers_and_the_unknown_are_never_asked(world: World, email: str) -> None:
    world.cloud.add_user("ci-deploy", tags={"owner": email}, created_at=world.clock() - timedelta(days=300))
    world.scan()
    tally = world.ask()
    assert (tally.items, dict(tally.skipped)) == (0, {"nobody is known to ask": 1})
    assert world.rows(AskRow) == []


@on_sqlite
def test_where_nobody_is_known_policys_fallback_is_asked_and_told_so(world: World) -> None:
    world.set_policy('[owners]\nfallback = "bea@example.com"\n')
    world.add_user("mystery", 200, owner=None)
    world.scan()
    world.ask()
    (asked,) = world.rows(AskRow)
    assert (asked.email, asked.because) == (
        "bea@example.com",
        "nobody better is known, and policy names you for that",
    )


@on_sqlite
def test_a_fallback_that_slack_does_not_know_is_not_asked(world: World) -> None:
    world.set_policy('[owners]\nfallback = "otto@example.com"\n')
    world.add_user("mystery", 200, owner=None)
    world.scan()
    assert dict(world.ask().skipped) == {"nobody is known to ask": 1}


@on_sqlite
def test_without_a_bot_token_one_sentence_says_which_setting_is_missing(world: World) -> None:
    settings = world.program.settings.model_copy(update={"slack_bot_token": None})
    program = open_program(settings, clock=world.clock)
    try:
        with pytest.raises(SettingsError, match="SLACK_BOT_TOKEN is not set"):
            work.ask_all(program)
    finally:
        program.engine.dispose()


def test_not_mine_asks_the_next_candidate_and_never_the_same_person_again(world: World) -> None:
    world.set_policy('[owners]\nfallback = "bea@example.com"\n')
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    assert world.asked() == [("ci-deploy", "ana")]
    world.say("ci-deploy", Verdict.NOT_MINE, by="ana")
    world.ask()
    assert world.asked() == [("ci-deploy", "bea")]
    world.say("ci-deploy", Verdict.NOT_MINE, by="bea")
    for _ in range(4):
        world.clock.pass_by(days=1)
        world.scan()
        assert world.ask().items == 0
    assert world.asked(status=None) == [("ci-deploy", "ana"), ("ci-deploy", "bea")]


@on_sqlite
def test_whose_question_is_open_and_who_leaves_passes_it_on_to_the_next(world: World) -> None:
    world.set_policy('[owners]\nfallback = "bea@example.com"\n')
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.change_person("ana", deleted=True)
    world.clock.pass_by(days=2)
    world.ask()
    assert world.asked(status=AskStatus.WITHDRAWN) == [("ci-deploy", "ana")]
    assert world.asked() == [("ci-deploy", "bea")]


@on_sqlite
def test_an_owner_who_confirmed_is_asked_about_what_is_left(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.deliver()
    world.say("ci-deploy", Verdict.CLAIM, by="ana")
    world.clock.pass_by(days=1)
    world.ask()
    (first, second) = world.rows(AskRow)
    assert {first.status, second.status} == {AskStatus.ANSWERED, AskStatus.OPEN}
    assert "you are its owner" in {first.because, second.because}


# -- how much ----------------------------------------------------------------------------------------------------------


@on_sqlite
def test_one_message_a_person_holds_six_cards_at_most_the_riskiest_first(world: World) -> None:
    for number in range(7):  # each can administer the account, so each stands alone
        world.add_user(f"mighty-{number}", 100 + number, owner="ana")
        world.cloud.attach("arn:aws:iam::aws:policy/AdministratorAccess", user=f"mighty-{number}")
    world.add_user("plain", 300, owner="ana")
    world.add_user("other", 200, owner="bea")
    world.scan()
    tally = world.ask()
    assert (tally.people, tally.items, tally.sent) == (2, 7, 2)
    assert dict(tally.skipped) == {"has enough questions for now": 2}
    (to_ana,) = [row for row in digests(world) if row.recipient == "UANA"]
    with reading(world.sessions) as session:
        order = session.scalars(
            select(IdentityRow.name)
            .join(AskRow, AskRow.identity_id == IdentityRow.id)
            .join(CardRow, CardRow.ask_id == AskRow.id)
            .where(CardRow.delivery_id == to_ana.id)
            .order_by(CardRow.position)
        ).all()
    assert all(name.startswith("mighty") for name in order), "the plain one is worth less of a minute"
    assert len(order) == 6
    world.deliver()
    assert len(world.messages("ana")) == 1


@on_sqlite
def test_nobody_gets_two_digests_on_one_day_of_theirs(world: World) -> None:
    world.add_user("first", 200, owner="ana")
    world.scan()
    world.ask()
    world.deliver()
    world.add_user("second", 200, owner="ana")
    world.scan()
    assert dict(world.ask().skipped) == {"asked, waiting for the answer": 1, "has enough questions for now": 1}
    world.clock.now = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    assert world.ask().items == 1
    assert world.asked() == [("first", "ana"), ("second", "ana")]


@on_sqlite
def test_nobody_gets_more_questions_a_week_than_policy_says(world: World) -> None:
    world.set_policy("[conversation]\nshadow = false\nquestions_a_week = 2\n")
    for number in range(5):  # each can administer the account, so each stands alone
        world.add_user(f"user-{number}", 200, owner="ana")
        world.cloud.attach("arn:aws:iam::aws:policy/AdministratorAccess", user=f"user-{number}")
    world.scan()
    assert world.ask().items == 2
    world.deliver()
    for _ in range(4):  # Tuesday to Friday
        world.clock.pass_by(days=1)
        assert world.ask().items == 0
        world.deliver()
    world.clock.now = MONDAY_NOON + timedelta(days=7)
    assert world.ask().items == 2


@on_sqlite
def test_alike_questions_that_one_press_answers_are_one_of_the_weeks_questions(world: World) -> None:
    world.set_policy("[conversation]\nshadow = false\nquestions_a_week = 2\n")
    for number in range(4):
        world.add_user(f"user-{number}", 200, owner="ana")
    world.scan()
    assert world.ask().items == 4
    for name, items in (("mighty", 1), ("mightier", 0)):
        world.deliver()
        world.add_user(name, 200, owner="ana")
        world.cloud.attach("arn:aws:iam::aws:policy/AdministratorAccess", user=name)
        world.scan()
        world.clock.pass_by(days=1)
        assert world.ask().items == items, name


@on_sqlite
@pytest.mark.parametrize(("a_week", "groups"), [(2, 1), (4, 0)])
def test_what_differs_beside_the_owner_is_one_list_to_who_has_too_much_for_a_week(
    world: World, a_week: int, groups: int
) -> None:
    world.set_policy(f"[conversation]\nshadow = false\nquestions_a_week = {a_week}\n")
    for number, days in enumerate((200, 200, 10, 10)):  # unused as well, or not
        world.add_user(f"user-{number}", days, owner="ana")
    world.scan()
    assert world.ask().items == 4
    with reading(world.sessions) as session:
        found = set(session.scalars(select(AskRow.group_id)))
    assert len(found - {None, ""}) == groups


# -- when --------------------------------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize(
    ("handle", "at", "items"),
    [
        ("ana", datetime(2026, 11, 23, 7, 59, tzinfo=UTC), 0),  # 08:59 in Berlin
        ("ana", datetime(2026, 11, 23, 8, 0, tzinfo=UTC), 1),
        ("ana", datetime(2026, 11, 23, 15, 59, tzinfo=UTC), 1),
        ("ana", datetime(2026, 11, 23, 16, 0, tzinfo=UTC), 0),  # 17:00 in Berlin
        ("cem", datetime(2026, 11, 23, 0, 0, tzinfo=UTC), 1),  # 09:00 in Seoul
        ("cem", datetime(2026, 11, 23, 8, 0, tzinfo=UTC), 0),  # 17:00 in Seoul
        ("cem", datetime(2026, 11, 22, 23, 59, tzinfo=UTC), 0),
        ("ana", datetime(2026, 11, 28, 12, 0, tzinfo=UTC), 0),  # Saturday
        ("cem", datetime(2026, 11, 27, 23, 59, tzinfo=UTC), 0),  # Saturday in Seoul, Friday here
        ("cem", datetime(2026, 11, 26, 23, 59, tzinfo=UTC), 0),  # Friday 08:59 in Seoul
        ("cem", datetime(2026, 11, 27, 0, 0, tzinfo=UTC), 1),  # Friday 09:00 in Seoul
    ],
)
def test_a_question_comes_in_working_hours_of_the_persons_own_zone(
    world: World, handle: str, at: datetime, items: int
) -> None:
    world.clock.now = at
    world.add_user("ci-deploy", 200, owner=handle)
    world.scan()
    tally = world.ask()
    assert tally.items == items
    assert dict(tally.skipped) == ({} if items else {"outside working hours": 1})


# -- silence -----------------------------------------------------------------------------------------------------------


def test_silence_is_reminded_of_twice_then_told_to_security_on_the_day_that_the_card_announced(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.deliver()
    announced = texts(world.messages("ana")[0])
    assert "from Fri 4 Dec 2026 the question goes to" in announced
    assert "#security" in announced
    world.clock.now = MONDAY_NOON
    said: list[tuple[str, int, int]] = []
    for _ in range(14):
        world.clock.pass_by(days=1)
        tally = world.ask()
        if tally.sent:
            said.append((f"{world.clock():%d %B}", tally.reminded, tally.escalated))
            world.deliver()
    assert said == [("26 November", 1, 0), ("30 November", 1, 0), ("04 December", 0, 1)]
    (told,) = world.workspace.as_("dora").messages("#security")
    assert "ci-deploy" in texts(told)
    assert "Ana Diaz" in texts(told)
    assert world.events("owner.reminded", "finding.escalated") == ["owner.reminded"] * 2 + ["finding.escalated"]
    assert world.cloud.iam.get_user("ci-deploy").access_keys[0].status == "Active"


@on_sqlite
def test_a_command_stays_until_one_channel_has_taken_all_its_messages(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel takes a message a second, and no worker need be there to say the second one."""
    monkeypatch.setattr("jobs.outbox.time.sleep", lambda seconds: world.clock.pass_by(seconds=seconds))
    began = world.clock()
    with world.sessions.begin() as session:
        for number in range(3):
            delivery.queue(session, "notice", "#security", {"sentence": f"Message {number}."}, [], began)
    assert outbox.say_now(world.program, began).total() == 0
    assert len(world.workspace.as_("dora").messages("#security")) == 3


@on_sqlite
def test_a_reminder_that_falls_on_a_weekend_waits_for_monday(world: World) -> None:
    world.clock.now = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday; three days later is Saturday
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.deliver()
    said = []
    for _ in range(6):
        world.clock.pass_by(days=1)
        if world.ask().reminded:
            said.append(f"{world.clock():%A}")
    assert said == ["Monday"]


@on_sqlite
def test_an_answer_ends_reminders(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.say("ci-deploy", Verdict.NOT_MINE, by="ana")
    for _ in range(12):
        world.clock.pass_by(days=1)
        tally = world.ask()
        assert (tally.reminded, tally.escalated) == (0, 0)


# -- shadow mode and rehearsal -----------------------------------------------------------------------------------------


def test_in_shadow_mode_only_admins_get_cards_and_an_admins_go_ends_it(world: World) -> None:
    world.set_policy(SHADOW)
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.deliver()
    assert world.asked() == [("ci-deploy", "dora")]
    assert world.messages("ana") == []
    assert "ci-deploy" in " ".join(texts(message) for message in world.messages("dora"))
    with world.sessions.begin() as session:
        session.add(SwitchRow(name="live", on_at=world.clock(), by="dora@example.com"))
    world.ask()
    assert world.asked() == [("ci-deploy", "ana")]
    assert world.asked(status=AskStatus.WITHDRAWN) == [("ci-deploy", "dora")]


@on_sqlite
def test_in_shadow_mode_without_a_known_admin_nothing_is_asked_and_the_tally_says_so(world: World) -> None:
    world.set_policy(f'[people]\nadmins = ["otto@example.com"]\n{SHADOW}')
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    tally = world.ask()
    assert (tally.items, list(tally.skipped)) == (
        0,
        ["questions: shadow mode, and no admin of policy.toml is known in Slack"],
    )


@on_sqlite
def test_to_admin_sends_the_cards_to_admins_for_this_run(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask(to_admin=True)
    assert world.asked() == [("ci-deploy", "dora")]


@on_sqlite
def test_a_dry_run_writes_nothing_but_who_is_who_and_sends_nothing(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.add_user("other", 200, owner="bea")
    world.scan()
    before = world.counts()
    tally = world.ask(dry_run=True)
    assert (tally.items, tally.people) == (2, 2)
    after = world.counts()
    assert {name for name in after if after[name] != before[name]} <= {"person", "gate"}
    assert {row.status for row in world.rows(FindingRow)} == {FindingStatus.OPEN}
    assert world.workspace.calls("chat.postMessage") == []


@on_sqlite
def test_a_dry_run_withdraws_nothing(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.ask()
    world.change_person("ana", deleted=True)
    world.clock.pass_by(days=2)
    world.ask(dry_run=True)
    assert world.asked() == [("ci-deploy", "ana")]


@on_sqlite
def test_the_tally_reads_as_a_sentence(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.add_user("mystery", 200, owner=None)
    world.scan()
    assert world.ask().sentence() == (
        "Asked 1 people about 1 identities in 1 messages. Skipped 1: 1 nobody is known to ask."
    )
