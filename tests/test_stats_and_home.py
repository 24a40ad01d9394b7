"""`/nhi stats` and its picture, long lists by the page, the Home tab of admins, the shortcut, and another language."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from slack_sdk import WebClient

from bot import card, delivery, home, shortcuts, stats
from demo.slack_rules import check_blocks, check_view
from demo.workspace import Workspace, refuse
from nhi import overview, words
from nhi import stats as figures
from nhi.database import Sessions, reading
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus, Known, assess, reconcile
from nhi.policy import Policy, parse
from nhi.stats import Stats, unowned_hours
from nhi.tables import AttestationRow, DeliveryRow, GapRow, PersonRow, ScanRow, new_id
from nhi.words import speaking
from tests.conftest import Clock, copy_of
from tests.factories import NOW, make_ask, make_finding, make_identity, make_owner
from tests.slack_facts import ask, shown
from tests.strategies import a_key, a_user, ago

Json = dict[str, Any]
DAYS = tuple(date(2026, 11, 23) - timedelta(days=27 - number) for number in range(28))
SOME = Stats(
    kinds=(("unused", 41), ("unowned", 22)),
    days=DAYS,
    hours=(("payments", tuple(240.0 - 3 * number for number in range(28))), ("data", (96.0,) * 28)),
    asked=44,
    answered=31,
    first_answer=timedelta(hours=5, minutes=12),
)
NONE = Stats(kinds=(), days=DAYS, hours=(), asked=0, answered=0, first_answer=None)


@pytest.fixture
def database_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """SQLite alone: the other engine would only show the same again."""
    return copy_of(migrated_sqlite, tmp_path)


# -- figures -----------------------------------------------------------------------------------------------------------


def test_hours_without_an_owner_count_within_the_day_and_up_to_now() -> None:
    days = (date(2026, 11, 22), date(2026, 11, 23))
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    begins = datetime(2026, 11, 22, 18, tzinfo=UTC)
    assert unowned_hours([("a", begins, None)], days, now) == (("a", (6.0, 12.0)),)
    assert unowned_hours([("a", begins, begins + timedelta(hours=2))], days, now) == (("a", (2.0, 0.0)),)
    assert unowned_hours([("a", begins, None)] * 2, days, now) == (("a", (12.0, 24.0)),), "each identity counts"


def test_of_many_teams_the_worst_are_named_and_the_rest_are_one_line() -> None:
    days, now = (date(2026, 11, 22),), datetime(2026, 11, 23, tzinfo=UTC)
    begin = datetime(2026, 11, 22, tzinfo=UTC)
    told = unowned_hours([(f"t{n}", begin, begin + timedelta(hours=n)) for n in range(1, 9)], days, now)
    assert [team for team, _ in told] == ["t8", "t7", "t6", "t5", "others"]
    assert told[-1][1] == (1.0 + 2 + 3 + 4,)


def test_the_figures_are_read_from_findings_questions_and_first_answers(sessions: Sessions, policy: Policy) -> None:
    with sessions.begin() as session:
        for number, hours in enumerate((2, 4, 30)):
            row = make_identity(session, f"job-{number}", tags={"team": "payments"}, keys=[])
            make_finding(session, row, FindingKind.UNOWNED, opened_at=NOW - timedelta(days=2))
            question = make_ask(session, row, now=NOW - timedelta(days=3))
            for later in (hours, hours + 5):  # a second answer changes nothing
                said: Json = {"verdict": Verdict.CLAIM, "email": "a@x", "slack_id": "UA", "name": "A"}
                at = question.asked_at + timedelta(hours=later)
                session.add(
                    AttestationRow(
                        id=new_id(), identity_id=row.id, ask_id=question.id, authority="asked", shown={}, at=at, **said
                    )
                )
        unanswered = make_identity(session, "silent", keys=[])
        make_finding(session, unanswered, FindingKind.UNUSED, opened_at=NOW)
        make_ask(session, unanswered, now=NOW)
        make_ask(session, make_identity(session, "preview", keys=[]), now=NOW, shadow=True)
    with reading(sessions) as session:
        told = figures.read(session, policy, NOW)
    assert (told.asked, told.answered, told.first_answer) == (4, 3, timedelta(hours=4))
    assert dict(told.kinds) == {"unowned": 4, "unused": 2}
    assert dict(told.hours)["payments"][-2:] == (72.0, 27.0), "three identities, and today until nine"


# -- the picture -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [SOME, NONE])
def test_the_picture_is_drawn_whatever_there_is_to_tell_and_says_it_in_words_too(told: Stats) -> None:
    with Image.open(io.BytesIO(stats.draw(told))) as picture:
        assert picture.format == "PNG"
        assert picture.size == (stats.WIDTH, stats.HEIGHT)
        assert picture.convert("RGB").getpixel((5, 5)) == (0xF8, 0xF8, 0xF7), "its own background, in any theme"
    message = stats.with_picture(told, "F1")
    assert check_blocks(message.blocks, "message") == []
    assert len(stats.alt_text(told)) <= 2000
    assert check_blocks(stats.message(told).blocks, "message") == []
    if told is SOME:
        assert "payments from 240 to 162" in stats.alt_text(told)
        assert "half of the first answers came within 5.2 hours" in stats.alt_text(told)


def test_everything_in_the_picture_stands_out_from_its_background() -> None:
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        high, low = sorted((light(one), light(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast(stats.INK, stats.PAPER) >= 4.5
    assert all(contrast(colour, stats.PAPER) >= 3 for colour in stats.COLOURS), "WCAG 1.4.11, for graphics"


@pytest.mark.usefixtures("server")
def test_stats_answers_in_words_at_once_and_shows_the_picture_when_it_is_uploaded(
    workspace: Workspace, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
    ana = workspace.as_("ana")
    answer = ana.command("/nhi stats")
    assert answer is not None
    assert "1 question asked, 0 answered" in shown(answer["blocks"])
    picture = ana.wait_for(lambda: next((m for m in ana.messages() if '"image"' in json.dumps(m.get("blocks"))), None))
    assert picture["ephemeral"]
    assert "A chart of the hours a day without an owner" in picture["blocks"][0]["alt_text"]


# -- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("server")
def test_long_lists_come_by_the_page(workspace: Workspace, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for number in range(32):
            make_finding(session, make_identity(session, f"job-{number:02}", keys=[]), FindingKind.UNOWNED)
        ana = session.get_one(PersonRow, "UANA")
        for number in range(17):
            make_owner(session, make_identity(session, f"own-{number:02}", keys=[]), ana)
    told = []
    for page in ("", " 2", " 3", " 99", " x"):
        answer = workspace.as_("ana").command(f"/nhi unowned{page}")
        assert answer is not None
        told.append(shown(answer["blocks"]))
    assert "32 identities have no active, confirmed owner." in told[0]
    assert "Page 1 of 3. /nhi unowned 2 shows the next." in told[0]
    assert [text.count("in 123456789012") for text in told] == [15, 15, 2, 2, 15]
    assert "Page 3 of 3." in told[3], "a page beyond the last is the last"
    mine = workspace.as_("ana").command("/nhi mine 2")
    assert mine is not None
    assert "own-16" in shown(mine["blocks"])
    assert "Page 2 of 2." in shown(mine["blocks"])


@pytest.mark.usefixtures("server")
def test_claim_shows_the_button_to_who_may_and_says_why_to_who_may_not(
    workspace: Workspace, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
    asked = workspace.as_("ana").command("/nhi claim ci-deploy")
    other = workspace.as_("bea").command("/nhi claim ci-deploy")
    nothing = workspace.as_("bea").command("/nhi claim no-such-thing")
    assert asked is not None
    assert other is not None
    assert nothing is not None
    assert "nhi:claim" in json.dumps(asked["blocks"])
    assert "I can't take a claim from you here" in shown(other["blocks"])
    assert "I can't take a claim" not in shown(nothing["blocks"])


# -- the Home tab ------------------------------------------------------------------------------------------------------


def test_the_funnel_narrows_and_gaps_are_those_of_each_accounts_newest_scan(sessions: Sessions) -> None:
    with sessions.begin() as session:
        rows = [make_identity(session, f"job-{number}", keys=[]) for number in range(4)]
        make_ask(session, rows[0])
        make_finding(session, rows[1], status=FindingStatus.RESOLVED, resolved_at=NOW, resolved_because="x")
        make_ask(session, rows[2], status=AskStatus.ANSWERED)
        make_identity(session, "harmless", keys=[])
        for at, reason in ((NOW - timedelta(days=1), "AccessDenied"), (NOW, "Throttled")):
            scan = ScanRow(
                id=new_id(), provider="aws", account="1", started_at=at, finished_at=at, complete=False,
                identities=4, credentials=0, api_calls={},
            )  # fmt: skip
            scan.gaps = [GapRow(id=new_id(), hides=[], scope="us-east-1", reason=reason)]
            session.add(scan)
        dead: Json = {"state": "dead", "error": "is_archived", "attempts": 8, "created_at": NOW - timedelta(hours=1)}
        place: Json = {"kind": "digest", "recipient": "UANA", "words": {}, "wanted_version": 1, "shown_version": 0}
        session.add(DeliveryRow(id=new_id(), not_before=NOW, **place, **dead))
    with reading(sessions) as session:
        told = overview.read(session, NOW + timedelta(hours=1))
    assert {name: told[name] for name in ("found", "owned", "asked", "answered", "done")} == {
        "found": 3, "owned": 0, "asked": 2, "answered": 0, "done": 1,
    }  # fmt: skip
    assert told["gaps"] == [{"scope": "us-east-1", "reason": "Throttled"}]
    with reading(sessions) as session:
        a_week_later = overview.read(session, NOW + timedelta(days=7))
    assert (told["dead"], told["dead_because"]) == (1, "is_archived")
    assert a_week_later["dead"] == 0, "by then it was asked anew, or nobody can do anything about it"
    assert told["silence"]["name"] == "job-0"
    view = home.home([], [], [], {"shadow": False, "overview": told})
    assert check_view(view, "home") == []
    for piece in ("3 found → 0 owned → 2 asked", "job-0, ana@example.com", "Throttled", "1 message that could not"):
        assert piece in shown(view["blocks"])


@pytest.mark.parametrize("count", [1, 500])
def test_a_home_tab_with_everything_on_it_stays_within_slacks_limits(count: int) -> None:
    seen: Json = {
        "found": count, "owned": 1, "asked": 1, "answered": 1, "done": 0, "dead": count, "dead_because": "x" * 500,
        "silence": {"name": "n" * 300, "email": "e" * 300, "at": "2026-11-01T00:00:00Z"}, "late": count,
        "gaps": [{"scope": "s" * 300, "reason": "r" * 300}] * count, "stopped": "invalid_auth", "scanned_at": None,
        "snoozed": [{"name": "n" * 300, "email": "e" * 300, "until": "2026-12-01T00:00:00Z"}] * 5,
        "snoozed_more": count, "unsaid_for": overview.UNSAID_FOR,
    }  # fmt: skip
    guess = {"name": "n" * 300, "account": "1", "who": "w" * 300, "email": "e", "confidence": 0.4, "because": "b" * 300}
    admin = {"shadow": True, "preview": {"people": 9, "identities": count, "unsure": [guess] * 3}, "offer": "home"}
    cards = [(ask(), f"{number:032x}") for number in range(count)]
    items = [{"identity": ask()["identity"], "findings": []}] * count
    view = home.home(items, cards, [], admin | {"overview": seen})
    assert check_view(view, "home") == []


# -- "Whose is this?" --------------------------------------------------------------------------------------------------


WORDS = "Denied for arn:aws:iam::123456789012:user/ci-deploy on s3"


@pytest.fixture
def alert(client: WebClient, workspace: Workspace) -> Json:
    """A message of another tool's, that names an identity only in its blocks."""
    blocks = [{"type": "section", "text": {"type": "plain_text", "text": WORDS}}]
    client.chat_postMessage(channel="#security", text="A finding", blocks=blocks)
    found: Json = workspace.as_("dora").messages("#security")[-1]
    return found


def test_what_a_message_says_stands_in_its_text_blocks_and_attachments() -> None:
    field = {"title": "Who", "value": "ci-deploy", "short": True}
    message = {
        "text": "An alert",
        "blocks": [{"type": "rich_text", "elements": [{"elements": [{"type": "text", "text": "in account 1"}]}]}],
        "attachments": [{"title": "GuardDuty", "color": "#f00", "fields": [field], "fallback": "An alert"}],
    }
    assert shortcuts.words_of(message).split("\n") == ["An alert", "in account 1", "GuardDuty", "Who", "ci-deploy"]
    assert shortcuts.words_of({"text": None, "blocks": "no list", "attachments": [None, 3]}) == ""


@pytest.mark.usefixtures("server")
def test_the_shortcut_finds_what_a_message_names_also_in_its_blocks(
    workspace: Workspace, sessions: Sessions, alert: Json
) -> None:
    with sessions.begin() as session:
        make_ask(session, make_identity(session, "ci-deploy"))
    ana = workspace.as_("ana")
    assert ana.shortcut(alert, "nhi:whose") == ""
    modal = ana.wait_for(lambda: ana.modal)
    assert "ci-deploy" in shown(modal["blocks"])
    ana.click(modal, "nhi:claim")
    thanks = ana.wait_for(lambda: ana.modal if ana.modal and ana.modal["id"] != modal["id"] else None)
    assert "You are now the owner of ci-deploy" in shown(thanks["blocks"])


@pytest.mark.usefixtures("server")
def test_the_shortcut_knows_somebody_whom_we_never_met_and_refuses_guests(
    workspace: Workspace, sessions: Sessions, alert: Json
) -> None:
    with sessions.begin() as session:
        session.delete(session.get_one(PersonRow, "UBEA"))
        make_identity(session, "ci-deploy")
    bea, gus = workspace.as_("bea"), workspace.as_("gus")
    assert bea.shortcut(alert, "nhi:whose") == ""
    assert "ci-deploy" in shown(bea.wait_for(lambda: bea.modal)["blocks"])
    assert gus.shortcut(alert, "nhi:whose") == ""
    told = gus.wait_for(lambda: [m for m in gus.messages("#security") if m["ephemeral"]])
    assert "only members of this workspace" in told[-1]["text"]
    assert gus.modal is None


@pytest.mark.usefixtures("server")
def test_a_form_that_opens_too_late_is_a_message_instead(workspace: Workspace, sessions: Sessions, alert: Json) -> None:
    with sessions.begin() as session:
        make_identity(session, "ci-deploy")
    workspace.inject("views.open", refuse("expired_trigger_id"))
    ana = workspace.as_("ana")
    ana.shortcut(alert, "nhi:whose")
    told = ana.wait_for(lambda: [m for m in ana.messages("#security") if m["ephemeral"]])
    assert "ci-deploy" in shown(told[-1]["blocks"])


# -- another language --------------------------------------------------------------------------------------------------


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of templates with English whole and German begun."""
    folder = tmp_path / "templates"
    (folder / "de").mkdir(parents=True)
    (folder / "en").symlink_to(words.TEMPLATES / "en")
    (folder / "de" / "card.mrkdwn.j2").write_text("{% block button_claim %}Gehört mir{% endblock %}")
    (folder / "de" / "commands.mrkdwn.j2").write_text("{% block undo_how %}Welche Handlung?{% endblock %}")
    (folder / "de" / "refusals.mrkdwn.j2").write_text("{% block not_for_you %}Diese Frage gilt anderen.{% endblock %}")
    (folder / "de" / "messages.mrkdwn.j2").write_text(
        "{% block answered %}Danke, {{ name | code }} gehört jetzt Ihnen.{% endblock %}"
    )
    (folder / "de" / "findings.mrkdwn.j2").write_text(
        "{% block unused %}Seit {{ quiet | span }} nicht benutzt.{% endblock %}"
        "{% block resolved_owned %}Es hat jetzt einen Besitzer.{% endblock %}"
    )
    (folder / "de" / "words.mrkdwn.j2").write_text(
        "{% block days %}{{ number }} Tagen{% endblock %}"
        "{% block months_short %}Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.{% endblock %}"
        "{% block weekdays_short %}Mo Di Mi Do Fr Sa So{% endblock %}"
    )
    monkeypatch.setattr(words, "TEMPLATES", folder)
    kept = (words.environment, words._template, words._fixed, words._number_of, words._names)
    for one in kept:
        one.cache_clear()
    yield
    for one in kept:
        one.cache_clear()


@pytest.mark.usefixtures("german")
def test_a_second_language_loads_and_what_it_lacks_is_said_in_english() -> None:
    with speaking("de"):
        labels = [element["text"]["text"] for element in card.buttons(ask(), "o" * 32)[0]["elements"]]
        assert words.day("2026-05-03") == "So 3 Mai 2026"
    assert labels[:2] == ["Gehört mir", "Not mine"]
    assert words.day("2026-05-03") == "Sun 3 May 2026"
    assert card.buttons(ask(), "o" * 32)[0]["elements"][0]["text"]["text"] == "It's mine"


@pytest.mark.usefixtures("german")
def test_why_something_is_a_finding_and_why_it_is_over_is_said_in_the_language_that_is_spoken() -> None:
    user = a_user(a_key(last_used_at=ago(90), rotated_at=ago(1)))
    owned = a_user(a_key(last_used_at=NOW))
    known = Known(
        id="f", kind=FindingKind.UNOWNED, credential_key=None, status=FindingStatus.OPEN, justified_until=None
    )

    def told() -> set[str]:
        broken = assess(user, owner_active=None, gaps=(), policy=Policy(), now=NOW)
        over = reconcile((), [known], identity=owned, gaps=(), now=NOW).resolved
        return {finding.why for finding in broken} | {because for _, because in over}

    english = told()
    with speaking("de"):
        german = told()
    assert german - english == {"Seit 90 Tagen nicht benutzt.", "Es hat jetzt einen Besitzer."}
    assert len(german & english) == len(english) - 2, "what German lacks is said in English"


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize("policy", [parse({"conversation": {"shadow": False, "language": "de"}})])
def test_policys_language_is_spoken_in_messages_in_answers_and_after_the_ack(
    policy: Policy, workspace: Workspace, sessions: Sessions, client: WebClient, clock: Clock, server: object
) -> None:
    with sessions.begin() as session:
        question = make_ask(session, make_identity(session, "ci-deploy"))
        delivery.queue(session, "digest", "UANA", {"name": "Ana"}, [question.id], NOW)
    delivery.drain(sessions, client, policy, clock)
    ana = workspace.as_("ana")
    assert "Gehört mir" in json.dumps(ana.last()["blocks"], ensure_ascii=False)
    how = ana.command("/nhi undo")
    assert how is not None
    assert how["text"] == "Welche Handlung?"
    found = ana.command("/nhi whois ci-deploy")
    assert found is not None
    ana.click(found, "nhi:claim")
    ana.wait_for(lambda: any("gehört jetzt Ihnen" in message["text"] for message in ana.messages()))


@pytest.mark.usefixtures("german", "server")
@pytest.mark.parametrize("policy", [parse({"conversation": {"shadow": False, "language": "de"}})])
def test_a_refusal_of_the_core_reaches_a_person_in_policys_language(
    policy: Policy, workspace: Workspace, sessions: Sessions, client: WebClient, clock: Clock
) -> None:
    with sessions.begin() as session:
        question = make_ask(session, make_identity(session, "ci-deploy"))
        delivery.queue(session, "escalation", "#security", {"name": "Ana"}, [question.id], NOW)
    delivery.drain(sessions, client, policy, clock)
    bea = workspace.as_("bea")
    bea.click(bea.last("#security"), "nhi:claim")  # decided after its acknowledgement
    bea.wait_for(lambda: "gilt anderen" in bea.last("#security")["text"])
    bea.click(bea.messages("#security")[0], "nhi:justify")  # before it
    bea.wait_for(lambda: sum("gilt anderen" in message["text"] for message in bea.messages("#security")) == 2)
