"""What a scan writes down: real HTTP to the stand-in cloud, a real database, and two looks at a world that changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.wrappers import Response

from demo.app import Demo
from demo.cloud_faults import Asked, Fault, refuse
from demo.company import COMPANY, DOMAIN
from demo.workspace import Workspace
from jobs import show, trails, work
from nhi import facts
from nhi.database import reading
from nhi.errors import NhiError
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.identity import Evidence
from nhi.settings import Settings
from nhi.tables import EvidenceRow, FindingRow, GapRow, IdentityRow, ScanRow
from tests.conftest import Clock, on_sqlite
from tests.jobs_world import AWS, World, open_world, use_stand_in_aws

UNUSED, UNOWNED, UNROTATED = FindingKind.UNUSED, FindingKind.UNOWNED, FindingKind.UNROTATED
MOST_CALLS_ON_A_SECOND_SCAN = 14


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


def resolved_because(world: World, kind: FindingKind) -> list[str | None]:
    return [row.resolved_because for row in world.rows(FindingRow, kind=kind, status=FindingStatus.RESOLVED)]


def statuses(world: World) -> dict[FindingKind, FindingStatus]:
    return {row.kind: row.status for row in world.rows(FindingRow) if row.status is not FindingStatus.RESOLVED}


# -- the sample company ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def company() -> Iterator[Demo]:
    """The sample company, scanned for the first time, with its diligent owners' claims."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        with Demo() as demo:
            demo.begin()
            yield demo


def scan_finds(company: Demo) -> list[dict[str, Any]]:
    """Return the open findings of scans: what its trail tells of is found meanwhile, or a moment later."""
    every = show.findings_of(company.program, kind=None, owner=None, providers=())
    return [one for one in every if one["kind"] != FindingKind.ANOMALOUS]


def test_the_sample_company_gets_exactly_the_findings_that_it_expects(company: Demo) -> None:
    found: dict[str, list[str]] = {sample.name: [] for sample in COMPANY}
    for one in scan_finds(company):
        found[one["identity"]["name"]].append(one["kind"])
    assert {name: tuple(sorted(kinds)) for name, kinds in found.items()} == {
        sample.name: sample.expects for sample in COMPANY
    }


def test_the_sample_companys_likely_owners_are_those_whom_the_truth_names(company: Demo) -> None:
    with reading(company.program.sessions) as session:
        names = {row.id: row.name for row in session.scalars(select(IdentityRow))}
        owners = facts.owners(session, list(names), company.program.policy(), company.clock())
    named = {names[identity_id]: owner["email"] for identity_id, owner in owners.items()}
    expected = {sample.name: f"{sample.likely}@{DOMAIN}" if sample.likely else None for sample in COMPANY}
    assert named == expected


def test_a_second_scan_of_the_unchanged_company_changes_nothing_and_costs_fourteen_calls_at_most(company: Demo) -> None:
    before = scan_finds(company)
    tally = work.scan_all(company.program)
    after = scan_finds(company)
    calls = tally.sources[0].api_calls
    assert (tally.opened, tally.resolved, tally.complete) == (0, 0, True)
    assert [one["id"] for one in after] == [one["id"] for one in before]
    assert sum(calls.values()) <= MOST_CALLS_ON_A_SECOND_SCAN, calls
    assert "iam:ListAccessKeys" not in calls


# -- the first look ----------------------------------------------------------------------------------------------------


def test_the_first_scan_writes_inventory_findings_evidence_and_ledger(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.cloud.add_role("fine", created_at=world.clock() - timedelta(days=10), last_used_at=world.clock())
    tally = world.scan()
    row = world.identity("ci-deploy")
    assert (row.kind, row.account, [key.external_id for key in row.credentials]) == (
        "iam_user",
        world.cloud.account,
        [key_id],
    )
    assert world.findings() == [
        ("ci-deploy", UNOWNED),
        ("ci-deploy", UNROTATED),
        ("ci-deploy", UNUSED),
        ("fine", UNOWNED),
    ]
    assert [fact.fact for fact in world.rows(EvidenceRow)] == ["owner=ana@example.com"]
    assert world.events("identity.seen", "finding.opened") == ["identity.seen"] * 2 + ["finding.opened"] * 4
    assert world.events()[-1] == "scan.finished"
    assert (tally.opened, tally.resolved, tally.complete) == (4, 0, True)
    assert tally.sentence() == "Saw 2 identities and 2 credentials in 1 source. Opened 4 findings, resolved 0."


@on_sqlite
def test_a_second_scan_of_an_unchanged_account_writes_no_event_but_its_own_end(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    before, rows = world.events(), world.counts()
    tally = world.scan()
    assert world.events() == [*before, "scan.finished"]
    assert world.counts() == rows | {"event": rows["event"] + 1, "scan": 2}
    assert sum(tally.sources[0].api_calls.values()) <= MOST_CALLS_ON_A_SECOND_SCAN


@on_sqlite
def test_people_whom_tags_name_are_looked_up_in_slack(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    assert {call.get("email") for call in world.workspace.calls("users.lookupByEmail")} == {
        "ana@example.com",
        "dora@example.com",
    }


# -- what changed between two looks ------------------------------------------------------------------------------------


def test_a_key_that_was_used_since_is_no_longer_unused_and_the_finding_says_why(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.cloud.record_use(key_id, world.clock.pass_by(days=1))
    tally = world.scan()
    assert world.findings() == [("ci-deploy", UNOWNED), ("ci-deploy", UNROTATED)]
    assert resolved_because(world, UNUSED) == ["It was used since, or policy allows more now."]
    assert (tally.opened, tally.resolved) == (0, 1)


@on_sqlite
def test_a_deleted_key_resolves_its_findings_and_leaves_the_identitys_own(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.cloud.delete_key("ci-deploy", key_id)
    world.clock.pass_by(days=1)
    world.scan()
    assert world.findings() == [("ci-deploy", UNOWNED)]
    assert resolved_because(world, UNUSED) == ["The credential is gone."]
    assert world.identity("ci-deploy").credentials[0].gone_at == world.clock()


@on_sqlite
def test_a_key_turned_off_by_somebody_resolves_its_findings(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.cloud.iam.update_access_key("ci-deploy", key_id, "Inactive")
    world.clock.pass_by(days=1)
    world.scan()
    assert resolved_because(world, UNUSED) == ["The credential is turned off."]
    assert resolved_because(world, UNROTATED) == ["The credential is turned off."]


def test_a_deleted_user_is_gone_its_findings_are_resolved_and_the_question_is_withdrawn(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.add_user("other", 1)
    world.scan()
    world.ask()
    world.cloud.delete_user("ci-deploy")
    world.clock.pass_by(days=1)
    world.scan()
    assert world.identity("ci-deploy").gone_at == world.clock()
    assert world.findings("ci-deploy") == []
    assert set(resolved_because(world, UNUSED)) == {"The identity is gone."}
    assert world.asked(status=AskStatus.WITHDRAWN) == [("ci-deploy", "ana")]
    assert world.asked() == [("other", "ana")]
    assert world.events("identity.gone", "ask.withdrawn") == ["identity.gone", "ask.withdrawn"]


@on_sqlite
def test_a_user_made_again_under_the_same_name_is_another_identity(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    world.cloud.delete_user("ci-deploy")
    world.clock.pass_by(days=1)
    world.add_user("ci-deploy", 100)
    world.scan()
    old, new = sorted(world.rows(IdentityRow, name="ci-deploy"), key=lambda row: str(row.first_seen_at))
    assert (old.gone_at, new.gone_at) == (world.clock(), None)
    assert old.key != new.key


@on_sqlite
def test_the_audit_trail_is_asked_once_again_for_a_new_key_and_weekly_for_uses(world: World) -> None:
    world.add_user("ci-deploy", 60)
    world.cloud.add_role("nightly", created_at=world.clock() - timedelta(days=80), last_used_at=world.clock())
    assert lookups(world) == 2, "who made the role and who uses it; the user is older than the trail"
    world.clock.pass_by(days=1)
    assert lookups(world) == 0
    world.cloud.add_access_key("ci-deploy", created_at=world.clock() - timedelta(hours=2))
    world.clock.pass_by(hours=1)
    assert lookups(world) == 1, "who made the new key"
    world.clock.pass_by(days=7)
    assert lookups(world) == 1, "who uses the role"


@on_sqlite
def test_what_the_trail_could_not_show_yet_or_would_not_tell_is_asked_again(world: World) -> None:
    world.cloud.add_role("just-made", created_at=world.clock() - timedelta(minutes=5))
    assert lookups(world) == 1
    world.clock.pass_by(hours=2)
    world.cloud.faults.deny("cloudtrail:LookupEvents")
    assert [gap.reason for gap in world.scan().sources[0].gaps] == ["AccessDeniedException: cloudtrail:LookupEvents"]
    world.cloud.faults.clear()
    assert lookups(world) == 1
    assert lookups(world) == 0


@on_sqlite
def test_so_many_uses_a_scan_and_the_others_have_their_turn_at_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.trails.LOOKUPS_AT_MOST", 2)
    monkeypatch.setattr("jobs.trails.TOGETHER", 1)
    made, used = world.clock() - timedelta(days=100), world.clock()
    for number in range(3):
        world.cloud.add_role(f"role-{number}", created_at=made, last_used_at=used)
    assert [lookups(world) for _ in range(3)] == [2, 1, 0]


def lookups(world: World) -> int:
    """Scan, and return how often the trail was asked; nothing is hidden by a gap."""
    tally = world.scan()
    assert tally.complete
    return tally.sources[0].api_calls.get("cloudtrail:LookupEvents", 0)


@on_sqlite
def test_a_finding_that_comes_back_is_opened_anew_and_the_ledger_says_reopened(world: World) -> None:
    (key_id,) = world.add_user("ci-deploy", 200)
    world.scan()
    world.cloud.record_use(key_id, world.clock.pass_by(days=1))
    world.scan()
    world.clock.pass_by(days=257)  # it once paused for 201 days and came back: it gets a quarter more, and a week
    assert world.scan().opened == 0
    world.clock.pass_by(days=2)
    assert world.scan().opened == 1
    assert len(world.rows(FindingRow, kind=UNUSED)) == 2
    assert world.events("finding.reopened") == ["finding.reopened"]


@on_sqlite
def test_a_justified_finding_sleeps_until_its_day_and_wakes_after_it(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    until = date(2026, 12, 31)
    world.say(
        "ci-deploy",
        Verdict.JUSTIFY,
        by="ana",
        words="needed for the yearly audit",
        until=until,
        also_claim=True,
        policy=world.program.policy(),
    )
    world.clock.now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    world.scan()
    assert statuses(world) == {UNUSED: FindingStatus.JUSTIFIED, UNROTATED: FindingStatus.JUSTIFIED}
    world.clock.now = datetime(2027, 1, 1, 0, 0, tzinfo=UTC)
    world.scan()
    assert statuses(world) == {UNUSED: FindingStatus.OPEN, UNROTATED: FindingStatus.OPEN}
    assert world.events("finding.expired") == ["finding.expired"] * 2


@on_sqlite
def test_an_owner_who_left_leaves_the_identity_without_one_again(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    world.ask()
    world.say("ci-deploy", Verdict.CLAIM, by="ana")
    world.scan()
    assert of_the_whole(world) == []
    world.change_person("ana", deleted=True)
    world.clock.pass_by(days=2)
    world.scan()  # the directory is looked at after the clouds
    world.scan()
    (why,) = of_the_whole(world)
    assert "no longer active" in why


def of_the_whole(world: World) -> list[str]:
    """Return the sentences of the open findings that are about an identity, and not one of its credentials."""
    rows = world.rows(FindingRow, credential_id=None)
    return [row.why for row in rows if row.status is not FindingStatus.RESOLVED]


@on_sqlite
def test_evidence_follows_the_tags(world: World) -> None:
    world.add_user("ci-deploy", 200, owner="ana")
    world.scan()
    world.cloud.iam.untag_user("ci-deploy", ["owner"])
    world.cloud.iam.tag_user("ci-deploy", [{"Key": "Owner", "Value": "bea"}])
    world.scan()
    assert [fact.fact for fact in world.rows(EvidenceRow)] == ["Owner=bea"]
    world.ask()
    assert world.asked() == [("ci-deploy", "bea")]


@on_sqlite
def test_who_made_a_young_user_is_evidence_from_cloudtrail(world: World) -> None:
    made = world.clock() - timedelta(days=41)
    world.add_user("hackday", 3, made=40, owner=None)
    world.cloud.add_event("CreateUser", subject="hackday", by="bea@example.com", at=made)
    world.scan()
    (fact,) = world.rows(EvidenceRow)
    assert (fact.source, fact.points_to, fact.at) == ("creator", "bea@example.com", made)


@on_sqlite
def test_a_session_that_is_told_anew_in_another_language_is_the_same_evidence(world: World) -> None:
    world.add_user("ci-deploy", 3, owner=None)
    world.scan()
    (identity,) = world.rows(IdentityRow)
    with world.sessions.begin() as session:
        for said in ("ana used it", "ana hat es benutzt"):
            fact = Evidence(source="session", fact=said, points_to="ana", at=world.clock(), identity_key=identity.key)
            trails.renew_evidence(session, identity.id, fact, world.clock())
    assert [fact.fact for fact in world.rows(EvidenceRow)] == ["ana hat es benutzt"]


# -- what nobody trusts ------------------------------------------------------------------------------------------------

HOSTILE = (
    "<!channel> *look* <https://evil.example|here> `x`",
    "\u202egnp.exe\u202c \u200b",
    "a" * 256,
    "'; DROP TABLE identity; -- \" {{ 7*7 }} {% raw %}",
    "line\nbreak\ttab",
    "AKIA" + "QYLPMN5HFIQR7XYZ" + " and xoxb-" + "1234567890-abcdef",
)


def test_hostile_tags_are_kept_as_text_without_their_secrets_and_name_nobody(world: World) -> None:
    for number, value in enumerate(HOSTILE):
        world.add_user(f"odd-{number}", 200, owner=None)
        world.cloud.iam.tag_user(f"odd-{number}", [{"Key": "owner", "Value": value}])
    tally = world.scan()
    assert (tally.sources[0].identities, tally.complete) == (len(HOSTILE), True)
    kept = " ".join(f"{row.tags}" for row in world.rows(IdentityRow))
    said = " ".join(f"{fact.fact} {fact.points_to}" for fact in world.rows(EvidenceRow))
    for secret in ("QYLPMN5HFIQR7XYZ", "1234567890-abcdef"):
        assert secret not in kept + said
    assert "\u202e" not in "".join(fact.fact for fact in world.rows(EvidenceRow))
    assert world.ask().items == 0


# -- what could not be seen --------------------------------------------------------------------------------------------

DETAILS = "iam:GetAccountAuthorizationDetails"


def test_a_denied_account_is_a_gap_and_nothing_in_it_is_gone_or_resolved(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.scan()
    before = world.findings()
    world.cloud.faults.deny(DETAILS)
    world.cloud.delete_user("ci-deploy")
    tally = world.scan()
    assert not tally.complete
    assert world.identity("ci-deploy").gone_at is None
    assert world.findings() == before
    assert "AccessDenied: iam:GetAccountAuthorizationDetails" in tally.sentence()
    (newest,) = world.rows(ScanRow, complete=False)
    assert [gap.scope for gap in world.rows(GapRow, scan_id=newest.id)] == [f"aws/{world.cloud.account}"]
    world.cloud.faults.clear()
    world.scan()
    assert world.identity("ci-deploy").gone_at is not None


@on_sqlite
def test_a_denied_report_makes_no_key_unused_and_keeps_the_findings_there_are(world: World) -> None:
    world.add_user("before", 200)
    world.scan()
    world.add_user("after", 200)
    world.cloud.faults.deny("iam:GetCredentialReport")
    tally = world.scan()
    assert not tally.complete
    assert tally.as_json()["sources"][0]["complete"] is False
    assert world.findings("after") == [("after", UNOWNED)]
    assert world.findings("before") == [("before", UNOWNED), ("before", UNROTATED), ("before", UNUSED)]


@on_sqlite
def test_credentials_that_could_not_be_listed_are_not_gone_nor_are_their_findings(world: World) -> None:
    world.add_user("git")
    world.cloud.add_service_credential("git", created_at=world.clock() - timedelta(days=300))
    world.scan()
    before = world.findings()
    world.cloud.faults.deny("iam:ListServiceSpecificCredentials")
    world.clock.pass_by(days=1)
    assert not world.scan().complete
    assert [credential.gone_at for credential in world.identity("git").credentials] == [None]
    assert world.findings() == before == [("git", UNOWNED), ("git", UNROTATED)]


@on_sqlite
def test_a_denied_cloudtrail_is_a_gap_and_the_findings_are_written_all_the_same(world: World) -> None:
    world.add_user("hackday", 3, made=40, owner=None)
    world.cloud.faults.deny("cloudtrail:LookupEvents")
    tally = world.scan()
    assert not tally.complete
    assert world.findings() == [("hackday", UNOWNED)]


@on_sqlite
def test_slack_out_of_reach_is_a_gap_of_the_directory_and_of_nothing_else(world: World) -> None:
    world.add_user("ci-deploy", 200)
    world.workspace.revoke_token()
    tally = world.scan()
    assert [gap.scope for gap in tally.gaps] == ["slack/users"]
    assert tally.sources[0].gaps == []
    assert len(world.findings()) == 3


# -- one at a time -----------------------------------------------------------------------------------------------------


def test_a_scan_during_a_scan_is_refused_with_a_sentence(world: World) -> None:
    world.add_user("ci-deploy", 200)
    inside, go_on = threading.Event(), threading.Event()

    def wait(asked: Asked) -> Response:
        inside.set()
        go_on.wait(20)
        return refuse(asked, 500, "ServiceFailure")  # it is tried again

    world.cloud.faults.add(Fault(action=DETAILS, answer=wait, times=1))
    first = threading.Thread(target=world.scan)
    first.start()
    assert inside.wait(20)
    try:
        with pytest.raises(NhiError, match="A scan is under way already") as refused:
            work.scan_all(world.program)
        assert not refused.value.permanent
    finally:
        go_on.set()
        first.join(30)
    assert len(world.findings()) == 3
    assert world.scan().complete


@on_sqlite
def test_a_scan_that_failed_does_not_keep_the_next_one_away(world: World) -> None:
    world.program.settings.nhi_policy.write_text('[[sources]]\nendpoint = "http://127.0.0.1:9"\n')
    assert not world.scan().complete
    world.set_policy("")
    assert world.scan().complete
