"""The review as reviewers meet it: everything decided inside the stand-in Slack, through the real app."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slack_sdk import WebClient
from sqlalchemy import select, update

from bot import delivery
from bot.server import Serving
from demo.workspace import Workspace, refuse
from nhi import permission_records
from nhi.database import Sessions, reading
from nhi.identity import Access, Permission
from nhi.policy import Policy
from nhi.records import identity_of
from nhi.remediation import RemediationStatus
from nhi.tables import IdentityRow, PersonRow, RemediationRow, ReviewItemRow, ReviewOfferRow
from tests.conftest import Clock, Deferred, on_sqlite
from tests.review_world import Review, actions, texts


@pytest.fixture
def review(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Review:
    return Review(sessions=sessions, policy=policy, clock=clock, workspace=workspace, client=client)


def settled(review: Review, name: str, words: str) -> None:
    """Wait until somebody's newest message says this."""
    actor = review.as_(name)
    review.workspace.wait_for(lambda: actor.messages() and words in texts(actor.last()), patience=20)


def test_a_reviewer_decides_item_after_item_in_one_message(review: Review, deferred: Deferred) -> None:
    review.company("ci-deploy", keys=1)
    review.company("backup", keys=2)
    review.company("reports", keys=0)
    review.open()
    review.tell()
    ana = review.as_("ana")
    assert "3 left, about 1 minute" in texts(review.board("ana"))
    assert "backup" in texts(review.board("ana"))

    assert ana.click(review.board("ana"), "nhi:review_keep") == ""
    settled(review, "ana", "2 left")
    assert "ci-deploy" in texts(review.board("ana"))

    assert ana.click(review.board("ana"), "nhi:review_off") == ""
    settled(review, "ana", "1 left")
    assert len(ana.messages()) == 1
    assert review.statuses() == {"backup": "kept", "ci-deploy": "off", "reports": "pending"}
    with reading(review.sessions) as session:
        (act,) = session.scalars(select(RemediationRow)).all()
    assert act.status is RemediationStatus.PLANNED
    assert deferred[-1][0] == "remediate"


@on_sqlite
def test_forty_items_are_decided_in_under_five_minutes_with_no_page_opened(review: Review) -> None:
    for number in range(40):
        review.company(f"service-{number:02d}", policies=[f"policy-{number}"])
    review.open()
    review.tell()
    ana, began = review.as_("ana"), review.clock()
    for left in range(40, 0, -1):
        settled(review, "ana", f"{left} left")
        review.clock.pass_by(seconds=7)
        assert ana.click(review.board("ana"), "nhi:review_keep") == ""
    settled(review, "ana", "All reviewed, thank you.")
    assert set(review.statuses().values()) == {"kept"}
    assert review.clock() - began < timedelta(minutes=5)
    assert len(ana.messages()) == 1
    assert [call["method"] for call in review.workspace.posts if call["method"].startswith("views.")] == []
    assert {one.dwell_seconds for one in review.decisions()[1:]} == {7.0}


@on_sqlite
def test_a_card_says_what_may_be_done_and_what_grew_since_somebody_last_answered_for_it(review: Review) -> None:
    (mine,) = review.company("ci-deploy")
    for back, given in ((timedelta(days=30), ("s3:GetObject",)), (timedelta(hours=1), ("s3:*", "kms:Decrypt"))):
        allowed = Permission(allows=True, actions=given, resources=("*",), via="inline a")
        with review.sessions.begin() as session:
            row = session.get_one(IdentityRow, mine)
            now_it_may = replace(identity_of(row), access=Access(permissions=(allowed,)))
            permission_records.write(session, [mine], [now_it_may], (), review.clock() - back)
    review.open()
    review.tell()
    ana, shown = review.as_("ana"), texts(review.board("ana"))
    assert "May: read secrets, change data and read data." in shown
    assert (
        "It may do more than when somebody last answered for it (Mon 16 Nov 2026): read secrets and change data."
        in shown
    )
    ana.click(review.board("ana"), "nhi:review_list")
    settled(review, "ana", "may read secrets, change data and read data")
    with reading(review.sessions) as session:
        frozen = session.scalars(select(ReviewItemRow.facts)).one()["permissions"]["powers"]
    assert frozen == ["secrets", "data_write", "data_read"]


@on_sqlite
def test_high_risk_asks_for_a_reason_and_says_beside_the_field_what_is_missing(review: Review) -> None:
    review.company("root-bot", privileged=True)
    review.open()
    review.tell()
    dora = review.as_("dora")
    assert "can administer it" in texts(review.board("dora"))
    dora.click(review.board("dora"), "nhi:review_keep")
    dora.wait_for(lambda: dora.modal)
    assert "10 characters" in dora.submit({"reason": "short"})["reason"]
    assert dora.submit({"reason": "The nightly backup of everything runs as it."}) == {}
    settled(review, "dora", "All reviewed")
    assert review.decisions()[0].words == "The nightly backup of everything runs as it."


@on_sqlite
def test_of_several_credentials_a_form_chooses_which_are_turned_off(review: Review) -> None:
    review.company("ci-deploy", keys=2)
    review.open()
    review.tell()
    ana = review.as_("ana")
    ana.click(review.board("ana"), "nhi:review_off")
    ana.wait_for(lambda: ana.modal)
    options = next(b["element"]["options"] for b in ana.modal["blocks"] if b["type"] == "input")  # type: ignore[index]
    assert ana.submit({"credentials": [options[0]["value"]]}) == {}
    settled(review, "ana", "All reviewed")
    with reading(review.sessions) as session:
        assert session.scalars(select(RemediationRow.credential_id)).all() == [options[0]["value"]]


@on_sqlite
def test_not_mine_hands_it_over_with_a_note_that_the_next_reads(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    review.tell()
    ana, bea = review.as_("ana"), review.as_("bea")
    ana.click(review.board("ana"), "nhi:review_reassign")
    ana.wait_for(lambda: ana.modal)
    assert "note" in ana.submit({"to": "UBEA", "note": "no"})
    assert ana.submit({"to": "UBEA", "note": "Bea runs the build servers now."}) == {}
    settled(review, "ana", "All reviewed")
    review.tick()
    assert "Bea runs the build servers now." in texts(review.board("bea"))
    assert bea.click(review.board("bea"), "nhi:review_keep") == ""
    assert review.decisions()[-1].email == "bea@example.com"


@on_sqlite
def test_those_with_the_same_facts_are_answered_at_one_press_and_the_privileged_one_is_not(review: Review) -> None:
    review.company("a-one", "b-two", "c-three")
    review.company("root-bot", of="dora", privileged=True)
    review.company("root-bot-2", of="ana", privileged=True)
    review.open()
    review.tell()
    ana, dora = review.as_("ana"), review.as_("dora")
    assert "2 more with the same facts (kind, permissions, findings, use): b-two, c-three" in texts(review.board("ana"))
    assert "all" not in actions(review.board("dora"))
    assert ana.click(review.board("ana"), "nhi:review_all") == ""
    settled(review, "ana", "All reviewed")
    assert {one.together for one in review.decisions()} == {3}
    assert "reassign" in actions(review.board("dora"))
    assert dora.messages()


@on_sqlite
def test_a_list_has_pages_within_slacks_limits_and_each_line_its_own_buttons(review: Review) -> None:
    review.company(*(f"service-{number:02d}" for number in range(25)))
    review.open()
    review.tell()
    ana = review.as_("ana")
    ana.click(review.board("ana"), "nhi:review_list")
    settled(review, "ana", "Show one by one")
    assert "service-09" in texts(review.board("ana"))
    assert "· used on " in texts(review.board("ana"))
    assert "Page 1 of 3" in texts(review.board("ana"))
    assert len(review.board("ana")["blocks"]) <= 50
    ana.click(review.board("ana"), "nhi:review_more")
    settled(review, "ana", "service-10")
    assert ana.click(review.board("ana"), "nhi:review_keep", nth=9) == ""
    review.workspace.wait_for(lambda: "service-19" not in texts(review.board("ana")).split("Your last answer")[0])
    ana.click(review.board("ana"), "nhi:review_more")
    settled(review, "ana", "service-24")
    assert "more" not in actions(review.board("ana"))
    ana.click(review.board("ana"), "nhi:review_cards")
    settled(review, "ana", "24 more with the same facts" if review.statuses()["service-00"] == "kept" else "23 more")
    assert review.statuses()["service-19"] == "kept"


@on_sqlite
def test_later_puts_an_item_behind_the_others_and_decides_nothing(review: Review) -> None:
    review.company("a-first", policies=["one"])
    review.company("b-second", policies=["two"])
    review.open()
    review.tell()
    ana = review.as_("ana")
    ana.click(review.board("ana"), "nhi:review_later")
    settled(review, "ana", "b-second")
    assert "2 left" in texts(review.board("ana"))
    assert review.decisions() == []


@on_sqlite
def test_details_open_everything_known_and_the_decision_says_that_they_were(review: Review) -> None:
    review.company("ci-deploy", policies=["S3Full"])
    review.open()
    review.tell()
    ana = review.as_("ana")
    ana.click(review.board("ana"), "nhi:review_details")
    view = ana.wait_for(lambda: ana.modal)
    assert "arn:aws:iam::123456789012:user/ci-deploy" in texts(view)
    ana.close_modal()
    ana.click(review.board("ana"), "nhi:review_keep")
    assert review.decisions()[0].evidence_opened


@on_sqlite
def test_the_last_answer_can_be_taken_back(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    review.tell()
    ana = review.as_("ana")
    ana.click(review.board("ana"), "nhi:review_off")
    settled(review, "ana", "Your last answer: ci-deploy, turn it off.")
    assert ana.click(review.board("ana"), "nhi:review_reopen") == ""
    settled(review, "ana", "1 left")
    with reading(review.sessions) as session:
        (act,) = session.scalars(select(RemediationRow)).all()
    assert act.status is RemediationStatus.UNDONE


@on_sqlite
def test_only_the_newest_board_has_buttons_and_an_old_one_says_where_it_went(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    review.tell()
    ana = review.as_("ana")
    review.clock.pass_by(seconds=2)  # one message a second
    assert "1 left" in (ana.command("/nhi review") or {})["text"]
    review.workspace.wait_for(lambda: len([m for m in ana.messages() if not m["ephemeral"]]) == 2)
    review.drain()
    assert "newer message" in texts(ana.messages()[0])
    assert actions(ana.messages()[0]) == []
    newest = [m for m in ana.messages() if not m["ephemeral"]][-1]
    assert ana.click(newest, "nhi:review_keep") == ""
    assert review.statuses() == {"ci-deploy": "kept"}


@on_sqlite
def test_a_delegate_is_shown_the_same_items_and_answers_in_the_reviewers_stead(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    ana, bea = review.as_("ana"), review.as_("bea")
    ana.command("/nhi delegate @bea until 2026-12-24")
    review.tell()
    assert "You review these for ana@example.com" in texts(review.board("bea"))
    assert bea.click(review.board("bea"), "nhi:review_keep") == ""
    (decision,) = review.decisions()
    assert decision.authority == "delegate of ana@example.com"
    assert not decision.self_review


@on_sqlite
def test_who_is_out_of_office_hears_of_it_when_they_are_back_and_their_delegate_at_once(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    with review.sessions.begin() as session:
        away = update(PersonRow).where(PersonRow.email.in_(["ana@example.com", "bea@example.com"]))
        session.execute(away.values(away_until=review.clock() + timedelta(days=3)))
    assert review.tick().told == 0
    review.as_("ana").command("/nhi delegate @dora until 2026-12-24")
    assert review.tick().told == 1
    assert "You review these for ana@example.com" in texts(review.board("dora"))
    review.company("backup", of="bea")
    review.clock.pass_by(days=1)
    assert review.tick().added == 1
    assert [m for m in review.as_("bea").messages() if not m["ephemeral"]] == []
    review.clock.pass_by(days=3)
    review.scan_again()
    review.tick()
    assert "1 left" in texts(review.board("bea"))


@on_sqlite
def test_a_review_begins_on_a_day_without_other_questions_unless_it_ends_soon(review: Review) -> None:
    review.company("one")
    review.open()

    def hears(**time: float) -> int:
        review.clock.pass_by(**time)
        with review.sessions.begin() as session:
            delivery.queue(session, "digest", "UANA", {"kind": "digest"}, [], review.clock())
        return review.tick().told

    assert hears() == 0
    review.clock.now = review.campaign().due_at - timedelta(days=3)
    assert hears() == 1


def test_who_may_not_review_their_own_privileged_identity_sees_how_to_hand_it_over_and_no_other_answer(
    review: Review,
) -> None:
    review.company("root-ish", of="dora", privileged=True)  # Dora is all of security
    review.open()
    review.tell()
    assert "nobody reviews their own privileged identity" in texts(review.board("dora"))
    assert actions(review.board("dora"))[:3] == ["reassign", "details", "later"]
    review.as_("dora").click(review.board("dora"), "nhi:review_list")
    settled(review, "dora", "self-review")
    assert actions(review.board("dora"))[:2] == ["reassign", "details"]


@on_sqlite
def test_the_home_tab_brings_the_review(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    ana = review.as_("ana")
    home = ana.home()
    review.clock.pass_by(seconds=2)
    assert home is not None
    assert "Review of 2026Q4: 1 left" in texts(home)
    assert ana.click(home, "nhi:review_open") == ""
    settled(review, "ana", "1 left")


@on_sqlite
def test_somebody_else_and_a_closed_campaign_are_refused_in_a_sentence(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    review.tell()
    ana = review.as_("ana")
    board = review.board("ana")
    review.clock.now = review.campaign().due_at + timedelta(minutes=1)
    tally = review.tick()
    assert tally.closed == "2026Q4"
    assert "1 identity of yours had no answer" in texts(ana.messages()[0])
    with reading(review.sessions) as session:
        offer = session.scalars(select(ReviewOfferRow)).first()
    assert board
    assert offer is not None
    assert offer.used_at is not None


# -- the clock's part --------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_campaign_opens_by_itself_once_a_quarter_on_fresh_data_only(review: Review) -> None:
    review.company("ci-deploy")
    review.clock.pass_by(days=2)
    assert review.tick().opened is None
    assert "nhi scan" in texts(review.board("dora"))
    review.tick()
    assert len(review.as_("dora").messages()) == 1
    review.scan_again()
    assert review.tick().opened == "2026Q4"
    assert review.tick().opened is None


@on_sqlite
def test_in_shadow_mode_no_review_opens_by_itself_and_no_reviewer_hears_of_one(review: Review) -> None:
    shadow = review.policy.conversation.model_copy(update={"shadow": True})
    quiet = Review(
        sessions=review.sessions,
        policy=review.policy.model_copy(update={"conversation": shadow}),
        clock=review.clock,
        workspace=review.workspace,
        client=review.client,
    )
    quiet.company("ci-deploy")
    assert quiet.tick().opened is None
    quiet.open()
    quiet.tick()
    assert quiet.as_("ana").messages() == []


@on_sqlite
def test_silence_is_reminded_of_then_told_to_somebody_else_and_listed_at_the_close(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    seen = []
    while review.campaign().closed_at is None:
        tally = review.tick()
        seen.append((tally.told, tally.reminded, tally.escalated, tally.closed))
        review.clock.pass_by(days=1)
    assert [day for day, said in enumerate(seen) if said[0]] == [0]
    assert [day for day, said in enumerate(seen) if said[1]][:2] == [3, 7]
    assert [day for day, said in enumerate(seen) if said[2]] == [10]
    assert seen[-1][3] == "2026Q4"
    said = [texts(message) for message in review.as_("dora").messages("#security")]
    assert any("1 has no answer yet" in one for one in said)
    assert any("1 had no answer. That is not a yes" in one and "ana@example.com: 1 (ci-deploy)" in one for one in said)


@on_sqlite
def test_a_closed_campaign_is_signed_in_slack_by_management_and_every_copy_shows_it(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    review.clock.now = review.campaign().due_at
    review.tick()
    dora = review.as_("dora")
    dora.click(dora.last(), "nhi:review_sign")
    dora.wait_for(lambda: dora.modal)
    assert dora.submit({"role": "CISO", "words": "Accepted; the open one is dealt with this week."}) == {}
    settled(review, "dora", "Signed by Dora Lind, CISO")

    def is_shown_in_the_channel() -> bool:
        review.drain()  # a copy that another thread is drawing right now is left to it
        return "Signed by Dora Lind" in texts(dora.last("#security"))

    dora.wait_for(is_shown_in_the_channel)
    assert "sign" not in actions(dora.last())


@on_sqlite
def test_who_was_too_quick_is_asked_once_and_kindly_about_what_matters_most(review: Review) -> None:
    for number in range(12):
        review.company(f"service-{number:02d}", policies=[f"policy-{number}"])
    review.open()
    review.tell()
    ana = review.as_("ana")
    for left in range(12, 0, -1):
        settled(review, "ana", f"{left} left")
        review.clock.pass_by(seconds=1)
        ana.click(review.board("ana"), "nhi:review_keep")
    settled(review, "ana", "All reviewed")
    assert review.tick().asked_again == 1
    assert list(review.statuses().values()).count("pending") == 10
    review.clock.pass_by(days=1)
    review.tick()
    assert "once more" in texts(review.board("ana"))
    assert "I ask this only once" in texts(review.board("ana"))
    for left in range(10, 0, -1):
        settled(review, "ana", f"{left} left")
        review.clock.pass_by(seconds=1)
        ana.click(review.board("ana"), "nhi:review_keep")
    settled(review, "ana", "All reviewed")
    assert review.tick().asked_again == 0
    assert set(review.statuses().values()) == {"kept"}


@on_sqlite
def test_the_burn_down_is_a_picture_in_the_channel_with_words_for_who_cannot_see_it(review: Review) -> None:
    review.company("ci-deploy", "backup")
    review.open()
    assert review.tick().charts == 1
    review.clock.pass_by(minutes=1)
    assert review.tick().charts == 0
    message = review.as_("dora").last("#security")
    (image,) = [block for block in message["blocks"] if block["type"] == "image"]
    assert "2 to review, 2 left on Mon 23 Nov 2026" in image["alt_text"]
    file = review.workspace.state.files[image["slack_file"]["id"]]
    assert file.data.startswith(b"\x89PNG")
    assert "░" in texts(message)


@on_sqlite
def test_without_the_right_to_upload_the_burn_down_is_in_words_alone(review: Review) -> None:
    review.workspace.inject("files.getUploadURLExternal", refuse("missing_scope"), times=None)
    review.company("ci-deploy")
    review.open()
    review.tick()
    message = review.as_("dora").last("#security")
    assert "Review of 2026Q4: 0 of 1 done" in texts(message)
    assert [block["type"] for block in message["blocks"]].count("image") == 0


@on_sqlite
def test_the_items_of_a_reviewer_who_left_go_to_the_next_who_is_answerable(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    with review.sessions.begin() as session:
        session.execute(update(PersonRow).where(PersonRow.slack_id == "UANA").values(active=False))
    review.tick()
    assert review.item("ci-deploy").reviewer == "dora@example.com"


@on_sqlite
def test_hostile_names_are_shown_and_never_obeyed(review: Review) -> None:
    review.company("<!channel> *x* `y` \u202e@here", policies=["<@UDORA>", "a" * 3000])
    review.open()
    review.tell()
    board = review.board("ana")
    assert "mrkdwn" not in str(board["blocks"])
    assert review.as_("ana").click(board, "nhi:review_keep") == ""


@on_sqlite
def test_an_admin_opens_it_in_slack_and_nobody_else_does(review: Review, deferred: Deferred) -> None:
    review.company("ci-deploy")
    assert "Only admins" in (review.as_("ana").command("/nhi review open") or {})["text"]
    review.as_("dora").command("/nhi review open")
    review.workspace.wait_for(lambda: ("review", "asked for in Slack") in deferred)
    assert review.tick().opened == "2026Q4"
    assert review.campaign().opened_by == "dora@example.com"
    assert "open already" in (review.as_("dora").command("/nhi review open") or {})["text"]
    assert "ana@example.com: 1 left" in texts(review.as_("dora").command("/nhi review status") or {})
