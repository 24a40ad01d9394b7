"""A campaign's life in the database, on both engines: opened on fresh data, frozen, carried over, closed, signed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from slack_sdk import WebClient
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from demo.workspace import Workspace
from jobs import review as job
from nhi import campaigns, ledger, review_answers, review_facts, review_handover, review_report, reviews, signing
from nhi.database import Sessions, reading
from nhi.errors import AlreadyAnswered, BadAnswer, NhiError, NotAllowed, OutOfDate
from nhi.findings import FindingKind, Severity
from nhi.policy import Policy
from nhi.reviews import Answer
from nhi.signing import Signer
from nhi.tables import (
    AttestationRow,
    CredentialRow,
    EvidenceRow,
    IdentityRow,
    PersonRow,
    RemediationRow,
    ReviewItemRow,
    ReviewOfferRow,
    new_id,
)
from tests.conftest import Clock, on_sqlite
from tests.factories import ACCOUNT, NOW, make_finding, make_identity
from tests.review_world import Review, key_id, make_scan, own

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def review(
    known: None, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Review:
    return Review(sessions=sessions, policy=policy, clock=clock, workspace=workspace, client=client)


def press(review: Review, name: str, action: Answer, *, by: str = "ana", **more: object) -> review_answers.Reviewed:
    """Answer one item through its use cases, as a button would."""
    offer_id = offer(review, name)
    with review.sessions.begin() as session:
        return answer(session, review, offer_id, action, by, **more)


def offer(review: Review, *names: str) -> str:
    """Write the offer that a drawn board would hold; return its id."""
    from bot import review_boards, review_queue

    with review.sessions.begin() as session:
        items = [session.get_one(ReviewItemRow, review.item(name).id) for name in names]
        board = review_queue.queue_board(
            session, items[0].campaign_id, items[0].reviewer, "UANA", "review", review.clock()
        )
        shown = {
            "items": {item.id: review_boards._shown(session, item, review.policy, review.clock()) for item in items}
        }
        row = ReviewOfferRow(
            id=new_id(),
            campaign_id=items[0].campaign_id,
            delivery_id=board.id,
            item_ids=[item.id for item in items],
            actions=["keep", "off", "reassign", "reopen", "later"],
            shown=shown,
            created_at=review.clock(),
        )
        session.add(row)
        return row.id


def answer(
    session: Session, review: Review, offer_id: str, action: Answer, by: str, **more: object
) -> review_answers.Reviewed:
    now, policy = review.clock(), review.policy
    who = review_answers.begin(session, offer_id, action, slack_id="U" + by.upper(), policy=policy, now=now)
    match action:
        case Answer.KEEP:
            return review_answers.keep(session, who, now, **more)  # type: ignore[arg-type]
        case Answer.OFF:
            rows = [row.id for row in review_answers.can_disable(session, who.item.identity_id, policy)]
            return review_answers.turn_off(session, who, rows, policy, now)
        case Answer.REASSIGN:
            return review_handover.reassign(session, who, policy=policy, now=now, **more)  # type: ignore[arg-type]
        case Answer.REOPEN:
            return review_answers.reopen(session, who, now)


# -- opening -----------------------------------------------------------------------------------------------------------


def test_opening_freezes_everything_and_gives_each_item_one_reviewer(review: Review) -> None:
    (mine,) = review.company("ci-deploy", policies=["S3Full"])
    review.company("orphan", of="bea")
    with review.sessions.begin() as session:
        make_identity(session, "nobodys", keys=[])
        make_identity(session, "AWSServiceRoleForX", kind="iam_role", keys=[], service_linked=True)
    review.open()
    review.change(mine, policies=["AdministratorAccess"], name="renamed")
    item = review.item("renamed")
    assert item.facts["permissions"]["policies"] == ["S3Full"]
    assert item.facts["identity"]["name"] == "ci-deploy"
    assert (item.reviewer, item.because.value) == ("ana@example.com", "owner")
    assert (review.item("orphan").reviewer, review.item("nobodys").reviewer) == ("bea@example.com", "dora@example.com")
    assert review.campaign().facts["left_out"] == {"made by the platform for itself": 1}
    assert review.campaign().facts["scans"][0]["source"] == f"aws {ACCOUNT}"
    assert review.events("review.opened") == 1


def test_a_quarter_has_one_campaign_however_many_open_it_at_once(review: Review) -> None:
    review.company("ci-deploy")

    def attempt(_: int) -> str:
        try:
            return review.open()
        except AlreadyAnswered:
            return ""

    with ThreadPoolExecutor(4) as hands:
        opened = [id_ for id_ in hands.map(attempt, range(4)) if id_]
    assert len(opened) == 1
    assert review.events("review.opened") == 1
    with reading(review.sessions) as session:
        assert len(session.scalars(select(ReviewItemRow)).all()) == 1


@on_sqlite
def test_stale_data_opens_nothing_and_says_what_to_do(review: Review) -> None:
    review.company("ci-deploy")
    review.clock.pass_by(hours=36)
    with pytest.raises(NhiError, match="nhi scan"):
        review.open()
    review.scan_again()
    review.open()


@on_sqlite
def test_an_account_that_was_seen_only_in_part_opens_nothing(review: Review) -> None:
    review.company("ci-deploy")
    with review.sessions.begin() as session:
        make_identity(session, "elsewhere", account="210987654321")
        make_scan(session, NOW, account="210987654321", complete=False)
    with pytest.raises(NhiError, match="aws 210987654321: never seen whole"):
        review.open()


@on_sqlite
def test_where_nobody_can_review_the_opening_says_whom_to_name(review: Review) -> None:
    with review.sessions.begin() as session:
        make_identity(session, "nobodys")
        make_scan(session, NOW)
    lonely = review.policy.model_copy(update={"people": review.policy.people.model_copy(update={"admins": ()})})
    with pytest.raises(NhiError, match="Name one who is"):
        campaigns.open_campaign(review.sessions, lonely, by="a test", now=NOW)


@on_sqlite
def test_a_privileged_identity_is_never_reviewed_by_its_owner(review: Review) -> None:
    review.company("root-bot", privileged=True)
    review.open()
    assert review.item("root-bot").reviewer == "dora@example.com"
    offer_id = offer(review, "root-bot")
    with review.sessions.begin() as session:
        session.get_one(ReviewItemRow, review.item("root-bot").id).reviewer = "ana@example.com"
    for action in (Answer.KEEP, Answer.OFF):
        with pytest.raises(NotAllowed, match="reassign"), review.sessions.begin() as session:
            answer(session, review, offer_id, action, "ana")


@on_sqlite
def test_a_reviewer_who_created_it_is_flagged_and_so_is_the_decision(review: Review) -> None:
    (mine,) = review.company("ci-deploy")
    with review.sessions.begin() as session:
        fact = EvidenceRow(
            identity_id=mine, source="creator", fact="CreateUser", points_to="ana@example.com", at=NOW, seen_at=NOW
        )
        session.add(fact)
    review.open()
    assert review.item("ci-deploy").by_creator
    press(review, "ci-deploy", Answer.KEEP)
    (decision,) = review.decisions()
    assert decision.by_creator
    assert decision.self_review


# -- deciding ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_taken_once_and_the_second_hears_who_was_first(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    first, second = offer(review, "ci-deploy"), offer(review, "ci-deploy")

    def attempt(offer_id: str) -> str:
        try:
            with review.sessions.begin() as session:
                answer(session, review, offer_id, Answer.KEEP, "ana")
        except AlreadyAnswered as error:
            return str(error)
        return "taken"

    with ThreadPoolExecutor(2) as hands:
        said = sorted(hands.map(attempt, [first, second, first]))
    assert said.count("taken") == 1
    assert all("still needed" in one for one in said if one != "taken")
    assert len(review.decisions()) == 1
    assert review.events("review.decided") == 1


def test_decisions_and_signatures_are_never_changed(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    press(review, "ci-deploy", Answer.KEEP)
    with review.sessions.begin() as session:
        campaigns.close(session, "2026Q4", by="a test", now=NOW)
        signer = Signer(name="Dora Lind", role="CISO", words="Accepted.", by="a test")
        signing.sign(session, "2026Q4", signer, review.policy, NOW)
    for statement in (
        "UPDATE review_decision SET answer = 'off'",
        "DELETE FROM review_decision",
        "UPDATE review_signature SET name = 'Eve'",
        "DELETE FROM review_signature",
    ):
        with pytest.raises(DBAPIError, match="append-only"), review.sessions.begin() as session:
            session.execute(text(statement))


@on_sqlite
def test_high_risk_needs_a_reason_and_a_reason_holds_no_secret(review: Review) -> None:
    (mine,) = review.company("ci-deploy")
    with review.sessions.begin() as session:
        make_finding(session, session.get_one(IdentityRow, mine), FindingKind.UNUSED, severity=Severity.HIGH)
    review.open()
    for words in (None, "too short", "it uses AKIAIOSFODNN7EXAMPLE each night"):
        with pytest.raises(BadAnswer):
            press(review, "ci-deploy", Answer.KEEP, words=words)
    press(review, "ci-deploy", Answer.KEEP, words="The nightly export of accounting uses it.")
    assert review.statuses() == {"ci-deploy": "kept"}


def test_turn_it_off_plans_an_act_for_each_credential_with_what_was_shown(review: Review) -> None:
    review.company("ci-deploy", keys=2)
    review.open()
    review.clock.pass_by(days=2)
    with review.sessions.begin() as session:  # used since the opening: the card shows that, and the act rests on it
        used = session.scalars(select(CredentialRow)).first()
        assert used is not None
        used.last_used_at = review.clock() - timedelta(hours=1)
        used_id = used.id
    reviewed = press(review, "ci-deploy", Answer.OFF)
    assert len(reviewed.remediation_ids) == 2
    with reading(review.sessions) as session:
        acts = {act.credential_id: act for act in session.scalars(select(RemediationRow))}
        attested = list(session.scalars(select(AttestationRow).where(AttestationRow.verdict == "disable")))
    assert acts[used_id].facts["shown_last_used_at"] == ledger.instant(review.clock() - timedelta(hours=1))
    assert {one.authority for one in attested} == {"reviewer in the review of 2026Q4"}


@on_sqlite
def test_what_cannot_be_turned_off_from_here_is_written_down_for_hands(review: Review) -> None:
    review.company("a-role", kind="iam_role", keys=0)
    review.open()
    assert press(review, "a-role", Answer.OFF).by_hand
    with reading(review.sessions) as session:
        assert campaigns.pack_rows(session, "2026Q4")["items"][0]["by_hand"]


@on_sqlite
def test_an_answer_taken_back_calls_its_act_off_and_opens_the_item(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    press(review, "ci-deploy", Answer.OFF)
    press(review, "ci-deploy", Answer.REOPEN)
    with reading(review.sessions) as session:
        (act,) = session.scalars(select(RemediationRow)).all()
    assert act.status.value == "undone"
    assert review.statuses() == {"ci-deploy": "pending"}
    assert [one.answer.value for one in review.decisions()] == ["off", "reopen"]


@on_sqlite
def test_bulk_takes_only_items_with_the_same_facts(review: Review) -> None:
    review.company("one", "two", policies=["ReadOnly"])
    review.company("other", policies=["S3Full"])
    review.open()
    mixed = offer(review, "one", "other")
    with pytest.raises(OutOfDate, match="one by one"), review.sessions.begin() as session:
        answer(session, review, mixed, Answer.KEEP, "ana")
    same = offer(review, "one", "two")
    with review.sessions.begin() as session:
        assert answer(session, review, same, Answer.KEEP, "ana").items == 2
    assert {one.together for one in review.decisions()} == {2}


@on_sqlite
@pytest.mark.parametrize("by", ["bea", "gus", "otto", "robo", "sam"])
def test_nobody_else_can_answer(review: Review, by: str) -> None:
    review.company("ci-deploy")
    review.open()
    with pytest.raises(NotAllowed):
        press(review, "ci-deploy", Answer.KEEP, by=by)


# -- reassigning -------------------------------------------------------------------------------------------------------


def test_a_reassigned_item_goes_to_the_person_named_with_its_note(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    press(review, "ci-deploy", Answer.REASSIGN, to="UBEA", note="Bea runs the build servers now.")
    item = review.item("ci-deploy")
    assert (item.reviewer, item.because.value, item.self_review) == ("bea@example.com", "reassigned", False)
    assert review.events("review.reassigned") == 1
    with pytest.raises(NotAllowed):
        press(review, "ci-deploy", Answer.KEEP, by="ana")
    press(review, "ci-deploy", Answer.KEEP, by="bea")


@on_sqlite
@pytest.mark.parametrize("to", ["UGUS", "UOTTO", "UROBO", "USAM", "UANA", "UNOBODY"])
def test_an_item_goes_to_nobody_who_cannot_review_it(review: Review, to: str) -> None:
    review.company("ci-deploy")
    review.open()
    with pytest.raises(BadAnswer):
        press(review, "ci-deploy", Answer.REASSIGN, to=to, note="Somebody else knows this one.")


@on_sqlite
def test_not_mine_without_a_name_goes_to_security_and_is_evidence_against_a_likely_owner(review: Review) -> None:
    with review.sessions.begin() as session:
        identity = make_identity(session, "ci-deploy", keys=[key_id()], tags={"owner": "ana"})
        fact = EvidenceRow(
            identity_id=identity.id, source="tag", fact="owner=ana", points_to="ana", at=None, seen_at=NOW
        )
        session.add(fact)
        make_scan(session, NOW)
    review.open()
    assert review.item("ci-deploy").because.value == "likely"
    press(review, "ci-deploy", Answer.REASSIGN, to=None, note="I never saw this one.")
    assert review.item("ci-deploy").reviewer == "dora@example.com"
    with reading(review.sessions) as session:
        assert session.scalars(select(EvidenceRow.points_to).where(EvidenceRow.source == "not_mine")).all() == [
            "ana@example.com"
        ]


# -- delta review ------------------------------------------------------------------------------------------------------


def test_what_did_not_change_is_carried_over_and_what_did_comes_first(review: Review) -> None:
    changed, same = review.company("z-changed", "same")
    with review.sessions.begin() as session:
        fresh = own(session, "a-new")
    review.change(fresh[0], gone_at=NOW)  # not there yet
    review.open()
    for name in ("z-changed", "same"):
        press(review, name, Answer.KEEP)
    with review.sessions.begin() as session:
        campaigns.close(session, "2026Q4", by="a test", now=review.clock())
    review.next_quarter()
    review.change(fresh[0], gone_at=None)
    review.change(changed, policies=["AdministratorAccess"])
    review.open()
    assert review.item("same").status.value == "carried"
    assert review.item("z-changed").status.value == "pending"
    assert review.item("z-changed").changes[0] == {
        "what": "policies",
        "added": ["AdministratorAccess"],
        "removed": [],
    }
    assert review.item("z-changed").position < review.item("a-new").position
    with reading(review.sessions) as session:
        rows = {row["identity"]["name"]: row for row in campaigns.pack_rows(session, "2027Q1")["items"]}
    assert rows["same"]["carried_from"]["quarter"] == "2026Q4"
    assert same


@on_sqlite
def test_a_carried_decision_is_asked_again_once_its_time_is_over(review: Review) -> None:
    review.company("same")
    review.open()
    press(review, "same", Answer.KEEP)
    found = []
    for _ in range(4):
        with review.sessions.begin() as session:
            campaigns.close(session, campaigns.current(session).quarter, by="a test", now=review.clock())  # type: ignore[union-attr]
        review.next_quarter()
        review.open()
        found.append(review.item("same").status.value)
    assert found == ["carried", "carried", "carried", "pending"]


# -- late, gone, closed ------------------------------------------------------------------------------------------------


def test_what_appears_is_added_and_what_is_gone_ends(review: Review) -> None:
    (mine,) = review.company("ci-deploy")
    review.open()
    review.tick()
    review.clock.pass_by(hours=1)
    review.company("late", of="bea")
    review.change(mine, gone_at=review.clock())
    tally = review.tick()
    assert (tally.added, tally.gone) == (1, 1)
    assert review.statuses() == {"ci-deploy": "gone", "late": "pending"}
    assert review.item("late").late
    assert review.events("review.item_added") == 1


def test_silence_is_never_kept_and_a_closed_campaign_never_reopens(review: Review) -> None:
    review.company("answered", "silent")
    review.open()
    press(review, "answered", Answer.KEEP)
    waiting = offer(review, "silent")
    with review.sessions.begin() as session:
        job.close(session, "2026Q4", review.policy, by="a test", now=review.clock())
    assert review.statuses() == {"answered": "kept", "silent": "unanswered"}
    assert review.events("review.unanswered") == 1
    with pytest.raises(OutOfDate, match="closed"), review.sessions.begin() as session:
        answer(session, review, waiting, Answer.KEEP, "ana")
    with pytest.raises(OutOfDate, match="does not reopen"):
        review.open()
    with pytest.raises(OutOfDate, match="does not reopen"), review.sessions.begin() as session:
        campaigns.close(session, "2026Q4", by="a test", now=review.clock())


def test_a_campaign_is_signed_once_closed_and_once_only(review: Review) -> None:
    review.company("ci-deploy")
    review.open()
    signer = Signer(name="Dora Lind", role="CISO", words="Reviewed and accepted.", by="a test")
    with pytest.raises(OutOfDate, match="still open"), review.sessions.begin() as session:
        signing.sign(session, "2026Q4", signer, review.policy, NOW)
    with review.sessions.begin() as session:
        campaigns.close(session, "2026Q4", by="a test", now=NOW)
        row = signing.sign(session, "2026Q4", signer, review.policy, NOW)
        assert row.result_hash == reviews.digest(campaigns.get(session, "2026Q4").result)
    with pytest.raises(AlreadyAnswered, match="Dora Lind"), review.sessions.begin() as session:
        signing.sign(session, "2026Q4", signer, review.policy, NOW)
    with reading(review.sessions) as session:
        assert review_report.status(session, "2026Q4")["state"] == "signed"
        assert ledger.verify(session).first_wrong is None


@on_sqlite
def test_the_pack_has_each_decision_with_what_was_shown_and_what_came_of_it(review: Review) -> None:
    review.company("ci-deploy")
    review.company("backup", of="bea")
    review.open()
    review.clock.pass_by(seconds=8)
    press(review, "ci-deploy", Answer.OFF)
    with reading(review.sessions) as session:
        pack = campaigns.pack_rows(session, "2026Q4")
    rows = {row["identity"]["name"]: row for row in pack["items"]}
    (decision,) = rows["ci-deploy"]["decisions"]
    assert (decision["answer"], decision["email"], decision["authority"]) == ("off", "ana@example.com", "reviewer")
    assert decision["shown"]["permissions"] == rows["ci-deploy"]["facts"]["permissions"]
    assert rows["ci-deploy"]["remediations"][0]["status"] == "planned"
    assert rows["backup"]["status"] == "pending"
    assert pack["campaign"]["counts"] == {
        "items": 2, "pending": 1, "kept": 0, "off": 1, "carried": 0, "gone": 0, "unanswered": 0,
    }  # fmt: skip


# -- a crash loses no answer -------------------------------------------------------------------------------------------

DIES = """
    import os, signal, sys
    from datetime import datetime
    from sqlalchemy import event
    from nhi import review_answers
    from nhi.database import open_engine, open_sessions
    from nhi.policy import parse
    from nhi.reviews import Answer

    policy = parse({"people": {"admins": ["dora@example.com"]}, "remediation": {"mode": "reversible"}})
    url, offer_id, now = sys.argv[1], sys.argv[2], datetime.fromisoformat(sys.argv[3])

    def answer(die_at, heard):
        engine, seen = open_engine(url), []

        @event.listens_for(engine, "before_cursor_execute")
        def count(connection, cursor, statement, parameters, context, executemany):
            seen.append(statement)
            if len(seen) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        with open_sessions(engine).begin() as session:
            who = review_answers.begin(session, offer_id, Answer.OFF, slack_id="UANA", policy=policy, now=now)
            rows = [row.id for row in review_answers.can_disable(session, who.item.identity_id, policy)]
            review_answers.turn_off(session, who, rows, policy, now)
        os.write(heard, str(len(seen)).encode())
        os.kill(os.getpid(), signal.SIGKILL)

    for line in sys.stdin:
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            answer(int(line), writes)
        os.close(writes)
        _, status = os.waitpid(child, 0)
        acknowledged = os.read(reads, 100).decode() or "0"
        print(os.waitstatus_to_exitcode(status), acknowledged, flush=True)
"""


@contextmanager
def dying(url: str, offer_id: str, now: str) -> Iterator[Callable[[int], int]]:
    """Yield a function that answers in a process of its own, killed before its `at`-th statement.

    It returns how many statements the answer took where it was acknowledged, else 0.
    """
    command = [sys.executable, "-c", textwrap.dedent(DIES), url, offer_id, now]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as forking:
        assert forking.stdin is not None
        assert forking.stdout is not None

        def die(at: int) -> int:
            print(at, file=forking.stdin, flush=True)
            code, acknowledged = forking.stdout.readline().split()  # type: ignore[union-attr]
            assert int(code) == -signal.SIGKILL
            return int(acknowledged)

        yield die
        forking.stdin.close()


def test_killed_at_any_statement_an_answer_is_whole_or_not_there_and_one_that_was_acknowledged_stays(
    review: Review, database_url: str
) -> None:
    review.company("ci-deploy")
    review.open()
    offer_id = offer(review, "ci-deploy")
    with dying(database_url, offer_id, review.clock().isoformat()) as die:
        for at in (2, 5, 9, 13, 17, 21):
            assert die(at) == 0
            assert review.statuses() == {"ci-deploy": "pending"}
            assert review.decisions() == []
            assert review.events("review.decided") == review.events("attestation.disable") == 0
        assert die(10_000) > 21
    assert review.statuses() == {"ci-deploy": "off"}
    assert len(review.decisions()) == review.events("review.decided") == 1
    with reading(review.sessions) as session:
        assert ledger.verify(session).first_wrong is None
        assert len(session.scalars(select(RemediationRow)).all()) == 1


@on_sqlite
def test_where_policy_asks_for_a_code_the_review_leaves_turning_off_to_hands(review: Review) -> None:
    review.company("ci-deploy")
    strict = review.policy.remediation.model_copy(update={"step_up": "always"})
    guarded = Review(
        sessions=review.sessions,
        policy=review.policy.model_copy(update={"remediation": strict}),
        clock=review.clock,
        workspace=review.workspace,
        client=review.client,
    )
    guarded.open()
    assert press(guarded, "ci-deploy", Answer.OFF).by_hand
    assert guarded.statuses() == {"ci-deploy": "off"}


@on_sqlite
def test_a_reviewer_who_owns_nothing_may_still_have_decided_when_the_act_is_due(review: Review) -> None:
    with review.sessions.begin() as session:
        make_identity(session, "nobodys", keys=[key_id()])
        make_scan(session, NOW)
    review.open()
    press(review, "nobodys", Answer.REASSIGN, by="dora", to="UBEA", note="Bea knows the build servers.")
    press(review, "nobodys", Answer.OFF, by="bea")
    with reading(review.sessions) as session:
        (said,) = session.scalars(select(AttestationRow).where(AttestationRow.verdict == "disable")).all()
        bea, cem = (session.get_one(PersonRow, slack_id) for slack_id in ("UBEA", "UCEM"))
        assert review_facts.decided_in_review(session, bea, said)
        assert not review_facts.decided_in_review(session, cem, said)
        bea.active = False
        assert not review_facts.decided_in_review(session, bea, said)
