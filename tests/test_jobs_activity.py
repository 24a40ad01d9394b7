"""Activity is read, counted once, and a day that is unlike the others becomes a finding and a question at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from bot.whois import whois
from demo import company_incident
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import work
from jobs.up import Up
from nhi import cards, facts
from nhi.database import reading
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus, Severity
from nhi.identity import Aspect
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import (
    ActivityPositionRow,
    ActivityProfileRow,
    AskRow,
    AttestationRow,
    CredentialRow,
    FindingRow,
    LearnedRow,
    RemediationRow,
)
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import World, open_world, use_stand_in_aws

pytestmark = on_sqlite
PATIENCE = 30.0


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


@pytest.fixture
def up(world: World) -> Iterator[Up]:
    """The bot, up; the clock does not tick: each job is run by the test."""
    running = Up(world.program, host="127.0.0.1", port=0)
    world.workspace.app_url = f"http://127.0.0.1:{running.serving.port}/slack/events"
    yield running
    running.stop()


def ordinary_days(world: World, name: str, key: str, *, days: int = 28) -> None:
    """Let a user do what it always does: on weekdays, from one network, the same three things."""
    for back in range(1, days + 1):
        day = world.clock() - timedelta(days=back)
        if day.weekday() < 5:
            for hour in (8, 11, 15):
                at = day.replace(hour=hour, minute=20)
                for action in ("s3:ListBuckets", "sqs:SendMessage", "ecs:DescribeServices"):
                    world.cloud.add_use(action, user=name, key_id=key, at=at)


def stolen(world: World, name: str, key: str) -> None:
    """Let somebody else use the key: elsewhere, with another tool, for what it never did; then read it."""
    for number, action in enumerate(("sts:GetCallerIdentity", "iam:CreateUser", "iam:CreateAccessKey")):
        world.cloud.add_use(
            action,
            user=name,
            key_id=key,
            at=world.clock() + timedelta(minutes=5, seconds=40 * number),
            address="203.0.113.77",
            agent="aws-cli/2.30 md/awscrt os/linux#kali",
        )
    world.clock.pass_by(minutes=15)


def alarmed(world: World, *, used: int | None = 1) -> str:
    """Let a key be stolen and seen, and ask about it; return the key."""
    (key,) = world.add_user("ci-deploy", used)
    world.scan()
    ordinary_days(world, "ci-deploy", key)
    assert work.activity_all(world.program).opened == 0
    stolen(world, "ci-deploy", key)
    assert work.activity_all(world.program).opened == 1
    work.alarms_all(world.program)
    world.deliver()
    return key


def finding(world: World) -> FindingRow:
    (row,) = world.rows(FindingRow, kind=FindingKind.ANOMALOUS)
    assert isinstance(row, FindingRow)
    return row


def answer(world: World, actor: Actor, button: str, **values: Any) -> None:
    """Press a button of the newest card, fill in the form, and wait until the answer is drawn."""
    assert actor.click(actor.last(), f"nhi:{button}") == ""
    actor.wait_for(lambda: actor.modal, PATIENCE)
    assert actor.submit(values) == {}


def test_a_stolen_key_becomes_a_finding_with_the_facts_side_by_side_and_a_question_at_once(world: World) -> None:
    key = alarmed(world)
    found = finding(world)
    assert found.severity is Severity.HIGH
    assert found.owasp == ""
    assert found.why == (
        "On Monday 23 November, 09:05 UTC from the new network 203.0.113.0/24, with aws-cli on kali for the first time,"
        " doing iam:CreateUser, iam:CreateAccessKey for the first time; always from 1 network on weekdays from 08:00 to"
        " 16:00 before (20 days)."
    )
    shown = f"{world.workspace.as_('ana').last()}"
    for told in ("203.0.113.0/24", "198.51.100.0/24", "aws-cli on kali", "Boto3 on linux", "iam:CreateUser", key):
        assert told in shown
    assert world.events("finding.opened", "owner.asked")[-2:] == ["finding.opened", "owner.asked"]
    asked, policy = world.identity("ci-deploy"), world.program.policy()
    with reading(world.sessions) as session:
        (match,) = facts.whois(session, asked.principal, policy, world.clock())
    drawn = f"{whois('ci-deploy', [(cards.of_identity(match, asked, [], policy, world.clock()), None)]).blocks}"
    assert "Activity:" in drawn
    assert "183 events on 21 days" in drawn


def test_what_the_demo_plants_is_asked_about_after_one_reading(world: World) -> None:
    (key,) = world.add_user(company_incident.USER, 1, made=30)
    world.scan()
    company_incident.plant(world.cloud, key, world.clock())
    assert work.activity_all(world.program).opened == 1
    work.alarms_all(world.program)
    world.deliver()
    assert "Was this you?" in world.workspace.as_("ana").last()["text"]
    found = finding(world)
    assert found.severity is Severity.HIGH
    # A key that breaks no rule: no scan asked for its id.
    assert [(one.id, one.external_id) for one in world.rows(CredentialRow)] == [(found.credential_id, key)]


def test_what_is_read_again_counts_once_and_nothing_is_lost_where_a_reading_breaks_off(world: World) -> None:
    (key,) = world.add_user("ci-deploy", 1)
    world.scan()
    ordinary_days(world, "ci-deploy", key)
    world.cloud.faults.fail("cloudtrail:LookupEvents", page=2, times=8)
    broken = work.activity_all(world.program)
    assert [gap.hides for gap in broken.gaps] == [{Aspect.ACTIVITY}]
    whole = work.activity_all(world.program)
    assert not whole.gaps
    assert work.activity_all(world.program).events == 0
    counted = [(row.day, row.events) for row in world.rows(ActivityProfileRow)]
    assert broken.events + whole.events == sum(events for _, events in counted) == 180
    assert {events for _, events in counted} == {9}
    (position,) = world.rows(ActivityPositionRow)
    assert datetime.fromisoformat(position.position["since"]) == world.clock() - timedelta(days=30)


def test_a_refused_trail_is_a_gap_and_says_nothing_of_what_is_usual(world: World) -> None:
    world.add_user("ci-deploy", 1)
    world.scan()
    world.cloud.faults.deny("cloudtrail:LookupEvents")
    tally = work.activity_all(world.program)
    assert [gap.reason for gap in tally.gaps] == ["AccessDeniedException: cloudtrail:LookupEvents"]
    assert "Could not see" in tally.sentence()


def test_not_us_is_recorded_with_the_card_told_to_security_and_turns_the_key_off_although_it_is_in_use(
    world: World, up: Up
) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\nannounce_to = "#security"')
    key = alarmed(world)
    ana = world.workspace.as_("ana")
    answer(world, ana, "not_us")
    [said] = world.rows(AttestationRow, verdict=Verdict.NOT_US)
    assert said.email == "ana@example.com"
    assert said.shown["facts"]["findings"][0]["anomalies"][0]["signals"]
    assert finding(world).severity is Severity.CRITICAL
    world.cloud.record_use(key, world.clock() + timedelta(minutes=1))  # whoever has it goes on
    late = {
        "user": "ci-deploy",
        "key_id": key,
        "address": "203.0.113.77",
        "agent": "aws-cli/2.30 md/awscrt os/linux#kali",
    }
    world.cloud.add_use("iam:CreateUser", at=world.clock() + timedelta(minutes=1), **late)
    world.clock.pass_by(minutes=2)
    work.alarms_all(world.program)
    assert world.remediate().done
    assert world.status(key) == "Inactive"
    assert finding(world).status is FindingStatus.RESOLVED
    world.deliver()
    assert "was not them" in world.workspace.as_("dora").last("#security")["text"]
    world.clock.pass_by(minutes=15)
    assert work.activity_all(world.program).opened == 0  # what the trail tells late of is no use of a key that is off
    work.alarms_all(world.program)
    assert len(world.rows(AskRow)) == 1
    world.clock.pass_by(days=1)
    stolen(world, "ci-deploy", key)
    assert work.activity_all(world.program).opened == 1


def test_not_us_turns_off_the_key_that_was_shown_and_an_older_card_answers_for_no_other(world: World, up: Up) -> None:
    world.set_policy('[remediation]\nmode = "reversible"\nannounce_to = "#security"')
    first = alarmed(world)
    ana = world.workspace.as_("ana")
    second = world.cloud.add_access_key("ci-deploy", created_at=world.clock() - timedelta(days=95))
    world.cloud.record_use(second, world.clock() - timedelta(hours=1))
    world.cloud.take_report()
    world.clock.pass_by(days=1)
    world.scan()
    stolen(world, "ci-deploy", second)
    for number in range(4):  # and for more than the day before
        world.cloud.add_use(f"kms:CreateGrant{number}", user="ci-deploy", key_id=second, at=world.clock())
    assert work.activity_all(world.program).kept == 1
    tomorrow = (world.clock() + timedelta(days=1)).date().isoformat()
    for button, values in (("not_us", {}), ("was_us", {"reason": "We moved to a new runner.", "until": tomorrow})):
        answer(world, ana, button, **values)  # the card as it was: it knows nothing of the second key
        assert "Please look at the card as it is now" in f"{ana.modal}"
        ana.close_modal()
    world.deliver()
    rows = {row.external_id: row.id for row in world.rows(CredentialRow)}
    answer(world, ana, "not_us", credential=rows[second])
    assert world.remediate().done
    assert (world.status(first), world.status(second)) == ("Active", "Inactive")
    [said] = world.rows(AttestationRow)
    assert said.credential_id == rows[second]
    assert second in f"{said.shown['facts']['findings']}"
    assert finding(world).status is FindingStatus.RESOLVED


def test_not_us_in_propose_mode_only_writes_the_act_down(world: World, up: Up) -> None:
    world.set_policy('[remediation]\nmode = "propose"')
    key = alarmed(world)
    answer(world, world.workspace.as_("ana"), "not_us")
    [planned] = world.rows(RemediationRow)
    assert planned.status is RemediationStatus.PROPOSED
    world.remediate()
    assert world.status(key) == "Active"
    assert finding(world).status is FindingStatus.ASKED


def test_that_was_us_is_no_surprise_until_its_day(world: World, up: Up) -> None:
    key = alarmed(world)
    until = (world.clock() + timedelta(days=10)).date()
    answer(world, world.workspace.as_("ana"), "was_us", reason="We moved to a new runner.", until=until.isoformat())
    assert finding(world).status is FindingStatus.RESOLVED
    assert {row.facet for row in world.rows(LearnedRow)} == {"network", "agent", "action"}
    with pytest.raises(DBAPIError, match="append-only"):
        world.change(LearnedRow, {"until": world.clock() + timedelta(days=900)})
    world.clock.pass_by(days=1)
    stolen(world, "ci-deploy", key)
    assert work.activity_all(world.program).opened == 0
    world.clock.pass_by(days=10)  # past the day until which it was learned
    stolen(world, "ci-deploy", key)
    assert work.activity_all(world.program).opened == 1
    assert [row.status for row in world.rows(FindingRow, kind=FindingKind.ANOMALOUS)].count(FindingStatus.OPEN) == 1


def test_what_is_unusual_while_the_question_is_open_grows_it_and_asks_nobody_twice(world: World) -> None:
    key = alarmed(world)
    before = finding(world)
    for number in range(25):  # and now it looks around, and is refused
        at = world.clock() + timedelta(minutes=1, seconds=number)
        world.cloud.add_use(
            "iam:ListRoles", user="ci-deploy", key_id=key, at=at, address="192.0.2.9", error="AccessDenied"
        )
    world.clock.pass_by(minutes=20)
    tally = work.activity_all(world.program)
    assert (tally.opened, tally.kept) == (0, 1)
    grown = finding(world)
    assert (grown.id, grown.since) == (before.id, before.since)
    assert grown.why != before.why
    assert world.events("finding.opened", "finding.grew")[-1] == "finding.grew"
    work.alarms_all(world.program)
    world.deliver()
    assert len(world.rows(AskRow)) == 1
    assert "192.0.2.0/24" in f"{world.workspace.as_('ana').last()}"


def test_a_key_that_a_scan_saw_used_first_was_thought_dead_all_the_same(world: World) -> None:
    (key,) = world.add_user("ci-deploy", 200)
    world.scan()
    stolen(world, "ci-deploy", key)
    world.cloud.record_use(key, world.clock())
    world.scan()
    (unused,) = world.rows(FindingRow, kind=FindingKind.UNUSED)
    assert unused.status is FindingStatus.RESOLVED
    assert work.activity_all(world.program).opened == 1
    assert "a key that was found unused, since" in finding(world).why


def test_silence_goes_to_the_next_after_some_hours_and_turns_nothing_off(world: World) -> None:
    key = alarmed(world)
    world.clock.pass_by(hours=3, minutes=50)
    assert work.alarms_all(world.program).escalated == 0
    world.clock.pass_by(minutes=15)
    assert work.alarms_all(world.program).escalated == 1
    (asked,) = world.rows(AskRow)
    assert asked.escalated_to == ["#security"]
    assert world.status(key) == "Active"
    assert not world.rows(RemediationRow)


def test_the_alarm_goes_before_an_ordinary_question_which_is_asked_again_after_it(world: World, up: Up) -> None:
    (key,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    assert world.asked() == [("ci-deploy", "ana")]
    ordinary_days(world, "ci-deploy", key, days=0)
    stolen(world, "ci-deploy", key)
    assert work.activity_all(world.program).opened == 1  # a key that was found unused: no history is needed
    assert finding(world).owasp == "NHI1"
    work.alarms_all(world.program)
    world.deliver()
    assert [row.status for row in world.rows(AskRow)] == [AskStatus.WITHDRAWN, AskStatus.OPEN]
    world.clock.pass_by(days=1)
    world.ask()
    assert len(world.rows(AskRow)) == 2
    until = (world.clock() + timedelta(days=2)).date()
    answer(world, world.workspace.as_("ana"), "was_us", reason="A yearly job of ours.", until=until.isoformat())
    world.ask()
    assert [row.status for row in world.rows(AskRow)][-1] is AskStatus.OPEN
