"""The merged directory: Slack read page by page, the company's list, SCIM over real HTTP, and what stays known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from slack_sdk import WebClient
from sqlalchemy import select

from bot.directory import pull
from demo.workspace import Person, Workspace, rate_limited, refuse
from jobs import directories, people, scim
from jobs.cli import main
from nhi import facts, roster
from nhi.database import Sessions, reading
from nhi.errors import SettingsError
from nhi.people import Entry
from nhi.policy import Policy, parse
from nhi.tables import DirectoryEntryRow, DirectoryPullRow, EventRow, EvidenceRow, PersonRow
from tests import fake_scim
from tests.conftest import PEOPLE, Clock, on_sqlite
from tests.factories import NOW, make_identity, make_owner, make_person
from tests.fake_scim import TOKEN, Scim, user

EVERYBODY = len(PEOPLE) + 450 + 1  # and the bot itself


def entry(handle: str, **changes: Any) -> Entry:
    return replace(Entry(email=f"{handle}@example.com"), **changes)


def rows(sessions: Sessions, table: Any) -> list[Any]:
    with reading(sessions) as session:
        found = list(session.scalars(select(table)))
        session.expunge_all()
        return found


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_change_begins_a_new_snapshot_and_the_former_one_stays(sessions: Sessions) -> None:
    first, second = entry("ana", manager="bea@example.com"), entry("ana", manager="cem@example.com")
    with sessions.begin() as session:
        assert roster.write(session, "csv", [first], NOW) == 1
        assert roster.write(session, "csv", [first], NOW + timedelta(days=1)) == 0
        assert roster.write(session, "csv", [second], NOW + timedelta(days=2)) == 1
    kept = sorted(rows(sessions, DirectoryEntryRow), key=lambda row: row.since)
    assert [(row.manager, row.until) for row in kept] == [
        ("bea@example.com", NOW + timedelta(days=2)),
        ("cem@example.com", None),
    ]
    with reading(sessions) as session:
        found = roster.people(session).find("ana@example.com")
        assert found == second


def test_whom_a_shorter_list_does_not_name_stays_known_with_their_manager(sessions: Sessions) -> None:
    people.import_csv(sessions, b"email,manager\ngus@example.com,bea@example.com\nbea@example.com,\n", NOW)
    people.import_csv(sessions, b"email,manager\nbea@example.com,\n", NOW + timedelta(days=30))
    with reading(sessions) as session:
        assert roster.people(session).managers("gus@example.com").emails == ("bea@example.com",)


# -- importing ---------------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_file_with_a_bad_row_writes_nothing_unless_told_to_take_the_good_ones(sessions: Sessions) -> None:
    data = b"email,end date\nana@example.com,\nbea@example.com,soon\n"
    refused = people.import_csv(sessions, data, NOW)
    assert (refused.written, [one.line for one in refused.problems]) == (False, [3])
    assert rows(sessions, DirectoryEntryRow) == []
    taken = people.import_csv(sessions, data, NOW, partial=True)
    assert (taken.written, taken.changed) == (True, 1)
    assert [row.email for row in rows(sessions, DirectoryEntryRow)] == ["ana@example.com"]


def test_an_import_is_told_to_the_ledger_without_anybodys_name(sessions: Sessions) -> None:
    people.import_csv(sessions, b"email\nana@example.com\n", NOW)
    [event] = [row for row in rows(sessions, EventRow) if row.kind == "people.told"]
    assert "ana" not in event.body


@pytest.fixture
def command(sessions: Sessions, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("NHI_POLICY", str(settings.nhi_policy))
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    monkeypatch.chdir(settings.nhi_policy.parent)
    settings.nhi_policy.write_text('[people]\ndomains = ["example.com"]\n')

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["people", *words])
        return done.exit_code, done.stdout, done.stderr

    return run


@on_sqlite
def test_the_command_says_what_is_wrong_in_which_line_and_exits_so(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,name,end date\nana@example.com,Ana,2026-12-31\nbad,Bea,\n")
    code, out, err = command("import", str(file))
    assert (code, "line 3:" in err, "Nothing was written" in out) == (1, True, True)
    code, out, err = command("import", str(file), "--partial", "--json")
    assert (code, json.loads(out)["changed"]) == (3, 1)
    code, out, _ = command("list", "--json")
    assert (code, [one["email"] for one in json.loads(out)]) == (0, ["ana@example.com"])
    assert json.loads(out)[0]["ends_on"] == "2026-12-31"
    file.write_text("email\nana@example.com\n")
    assert command("import", str(file))[0] == 0
    assert command("import", "nowhere.csv")[0] == 2


@on_sqlite
def test_a_scim_address_without_its_token_is_one_sentence_that_names_the_setting(command: Any, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('[people]\nscim_url = "https://idp.example.com/scim/v2"\n')
    code, _, err = command("pull")
    assert (code, "NHI_SCIM_TOKEN" in err) == (2, True)


# -- whom evidence means -----------------------------------------------------------------------------------------------


def test_logins_and_aliases_of_the_list_resolve_owners(sessions: Sessions, policy: Policy) -> None:
    with sessions.begin() as session:
        make_person(session, "ana")
        tagged = make_identity(session, "one", tags={"owner": "adiaz"})
        renamed = make_identity(session, "two", tags={"owner": "ana.diaz@example.com"})
        for row, value in ((tagged, "adiaz"), (renamed, "ana.diaz@example.com")):
            fact = EvidenceRow(
                identity_id=row.id, source="tag", fact=f"owner={value}", points_to=value, at=None, seen_at=NOW
            )
            session.add(fact)
        roster.write(session, "csv", [entry("ana", logins=("adiaz",), aliases=("ana.diaz@example.com",))], NOW)
        ids = [tagged.id, renamed.id]
    with reading(sessions) as session:
        owners = facts.owners(session, ids, policy, NOW)
    assert [owners[one]["email"] for one in ids] == ["ana@example.com"] * 2


def test_whoever_is_past_the_last_day_is_no_likely_owner_any_more(sessions: Sessions, policy: Policy) -> None:
    with sessions.begin() as session:
        make_person(session, "ana")
        row = make_identity(session, "one")
        session.add(
            EvidenceRow(
                identity_id=row.id, source="tag", fact="owner=ana", points_to="ana@example.com", at=None, seen_at=NOW
            )
        )
        roster.write(session, "csv", [entry("ana", ends_on=NOW.date())], NOW)
        identity_id = row.id
    with reading(sessions) as session:
        assert facts.owners(session, [identity_id], policy, NOW)[identity_id]["state"] == "likely"
        tomorrow = NOW + timedelta(days=1)
        assert facts.owners(session, [identity_id], policy, tomorrow)[identity_id]["state"] == "none"


# -- Slack -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(clock: Clock) -> Iterator[Workspace]:
    more = [Person(name=f"p{n}", real_name=f"P {n}", email=f"p{n}@example.com") for n in range(450)]
    with Workspace([*PEOPLE, *more], now=clock) as slack:
        yield slack


def client_of(slack: Workspace) -> WebClient:
    return WebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=[], timeout=5)


@on_sqlite
def test_everybody_is_read_page_by_page_the_deactivated_too(sessions: Sessions, crowd: Workspace, clock: Clock) -> None:
    seen, gaps = pull(sessions, client_of(crowd), clock())
    assert (seen, gaps) == (EVERYBODY, ())
    assert len(crowd.calls("users.list")) == 3
    by_name = {row.handle: row for row in rows(sessions, PersonRow)}
    assert len(by_name) == EVERYBODY
    assert (by_name["otto"].active, by_name["otto"].email) == (False, "otto@example.com")
    assert (by_name["ana"].tz, by_name["sam"].stranger, by_name["gus"].guest) == ("Europe/Berlin", True, True)
    [at] = rows(sessions, DirectoryPullRow)
    assert (at.people, at.finished_at, at.cursor) == (EVERYBODY, clock(), "")


def test_a_limit_half_way_is_a_gap_and_the_next_tick_goes_on_where_it_stopped(
    sessions: Sessions, crowd: Workspace, clock: Clock
) -> None:
    first, calls = client_of(crowd), crowd.calls
    page = first.users_list(limit=200)
    assert page["response_metadata"]["next_cursor"]
    with sessions.begin() as session:
        cursor = page["response_metadata"]["next_cursor"]
        session.add(DirectoryPullRow(source="slack", cursor=cursor, started_at=clock(), finished_at=None, people=200))
    crowd.inject("users.list", rate_limited(30))
    _, [gap] = pull(sessions, first, clock())
    assert (gap.scope, "ratelimited" in gap.reason) == ("slack/users", True)
    before = len(calls("users.list"))
    _, [waits] = pull(sessions, first, clock.pass_by(seconds=29))
    assert ("wait" in waits.reason, len(calls("users.list"))) == (True, before)
    seen, gaps = pull(sessions, first, clock.pass_by(seconds=1))
    assert (seen, gaps) == (EVERYBODY, ())
    assert len(rows(sessions, PersonRow)) == EVERYBODY - 200, "the first 200 are those of the pull before"


@on_sqlite
def test_a_cursor_that_slack_does_not_know_any_more_begins_anew(
    sessions: Sessions, crowd: Workspace, clock: Clock
) -> None:
    with sessions.begin() as session:
        session.add(DirectoryPullRow(source="slack", cursor="old", started_at=clock(), finished_at=None, people=200))
    crowd.inject("users.list", refuse("invalid_cursor"))
    assert len(pull(sessions, client_of(crowd), clock())[1]) == 1
    assert pull(sessions, client_of(crowd), clock.pass_by(minutes=2)) == (EVERYBODY, ())


def test_a_new_address_of_the_same_account_is_the_same_owner(
    sessions: Sessions, workspace: Workspace, client: WebClient, clock: Clock
) -> None:
    with sessions.begin() as session:
        ana = make_person(session, "ana", email="ana.before@example.com")
        make_owner(session, make_identity(session), ana)
    pull(sessions, client, clock())
    with sessions.begin() as session:
        assert roster.follow_new_addresses(session, clock()) == 1
        [(owner, row)] = roster.owner_people(session)
        assert (owner.email, row.slack_id if row else None) == ("ana@example.com", "UANA")
        assert roster.people(session).find("ana.before@example.com") is not None
        assert roster.owners_active(session, [owner.identity_id], clock()) == {owner.identity_id: True}


def test_somebody_new_at_a_leavers_address_does_not_own_what_the_leaver_did(sessions: Sessions, clock: Clock) -> None:
    with sessions.begin() as session:
        former = make_person(session, "ana", active=False)
        identity = make_identity(session)
        make_owner(session, identity, former)
        make_person(session, "ana2", email="ana@example.com")
        assert roster.owners_active(session, [identity.id], clock()) == {identity.id: False}


# -- SCIM --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[Scim]:
    with fake_scim.serving() as scim_service:
        yield scim_service


@on_sqlite
def test_people_managers_and_teams_come_over_scim_page_by_page(sessions: Sessions, service: Scim) -> None:
    service.users = [user("ana", manager="bea"), user("bea"), user("cem", active=False), user("dan"), user("eve")]
    tally = scim.pull(sessions, service.url, TOKEN, NOW)
    assert (tally.people, tally.changed, tally.gaps) == (5, 5, ())
    assert service.asked == [(1, 200), (3, 200), (5, 200)]
    with reading(sessions) as session:
        known = roster.people(session)
    ana, cem = known.find("ana@example.com"), known.find("cem@example.com")
    assert ana == entry("ana", name="Ana", manager="bea@example.com", team="Infra", logins=("ana",), active=True)
    assert (cem.active if cem else None) is False
    assert scim.pull(sessions, service.url, TOKEN, NOW).changed == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, {}, b""), "NHI_SCIM_TOKEN"),
        ((500, {}, b""), "500"),
        ((429, {"Retry-After": "30"}, b""), "429"),
        ((302, {"Location": "http://127.0.0.1:1/elsewhere"}, b""), "points elsewhere"),
        ((200, {}, b"<html>"), "no JSON"),
        ((200, {}, b"[]"), "no SCIM list"),
        ((200, {}, b'{"totalResults": 3, "Resources": []}'), "3 people were promised"),
        ((200, {}, b'{"Resources": [{}]}'), "no SCIM list"),
    ],
    ids=["401", "500", "429", "302", "html", "list", "short", "no total"],
)
@on_sqlite
def test_a_pull_that_is_not_complete_is_a_gap_and_nobody_is_called_gone(
    sessions: Sessions, service: Scim, answer: tuple[int, dict[str, str], bytes], says: str
) -> None:
    service.users = [user("ana"), user("bea")]
    scim.pull(sessions, service.url, TOKEN, NOW)
    service.users, service.answers = [user("ana")], [answer]
    tally = scim.pull(sessions, service.url, TOKEN, NOW)
    assert [says in gap.reason for gap in tally.gaps] == [True]
    with reading(sessions) as session:
        bea = roster.people(session).find("bea@example.com")
    assert bea is not None
    assert bea.active is True


def test_who_is_missing_in_a_complete_pull_is_switched_off(sessions: Sessions, service: Scim) -> None:
    service.users = [user("ana"), user("bea", manager="ana")]
    scim.pull(sessions, service.url, TOKEN, NOW)
    service.users = [user("ana")]
    assert scim.pull(sessions, service.url, TOKEN, NOW + timedelta(days=1)).ended == 1
    with reading(sessions) as session:
        bea = roster.people(session).find("bea@example.com")
    assert bea is not None
    assert (bea.active, bea.manager) == (False, "ana@example.com"), "and their manager stays known"


@on_sqlite
def test_a_service_that_lacks_a_fifth_of_the_company_at_once_is_not_believed(sessions: Sessions, service: Scim) -> None:
    service.most_a_page = 200
    service.users = [user(f"p{number}") for number in range(40)]
    scim.pull(sessions, service.url, TOKEN, NOW)
    service.users = service.users[:32]
    assert (scim.pull(sessions, service.url, TOKEN, NOW).ended, len(service.tokens)) == (8, 2)
    service.users = service.users[:25]
    tally = scim.pull(sessions, service.url, TOKEN, NOW)
    assert (tally.ended, "7 of 32" in tally.gaps[0].reason) == (0, True)


def test_the_token_travels_over_https_or_stays_on_this_machine() -> None:
    assert scim.check("https://idp.example.com/scim/v2/Users") == "https://idp.example.com/scim/v2"
    assert scim.check("http://127.0.0.1:8000/") == "http://127.0.0.1:8000"
    for address in ("http://idp.example.com/scim", "ftp://idp.example.com", "file:///etc/passwd"):
        with pytest.raises(SettingsError):
            scim.check(address)


def test_garbled_resources_are_passed_over() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"userName": 7, "emails": "x"},
        {"userName": "no-mail", "emails": [{"value": "nobody"}]},
        {"userName": "ana@example.com", "active": "yes", fake_scim.ENTERPRISE: []},
        {"userName": "bea@example.com", fake_scim.ENTERPRISE: {"manager": "ana@example.com"}},
    ]
    assert list(scim.entries(odd)) == [entry("ana"), entry("bea", manager="ana@example.com")]


def test_policy_knows_teams_and_refuses_what_it_does_not_know() -> None:
    read = parse({"people": {"teams": [{"name": "pay", "channel": "#pay", "default": "bea@example.com"}]}})
    assert read.people.teams[0].default == "bea@example.com"
    assert directories.Pulled(people=1, scim=None, gaps=()).sentence() == "Read 1 people in Slack."
