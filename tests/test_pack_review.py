"""A quarter's review in the auditor's pack: frozen population, decisions as people gave them in Slack, the close."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest
from slack_sdk import WebClient

from bot.server import Serving
from demo.workspace import Workspace
from jobs.pack import oscal, report, sheets
from jobs.pack.gather import gather
from jobs.pack.model import Evidence
from jobs.pack.tables import tables
from nhi import campaigns, reviews, signing
from nhi.database import Sessions, reading
from nhi.policy import Policy
from nhi.tables import EventRow
from tests.conftest import Clock
from tests.review_world import Review, texts


@pytest.fixture
def review(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Review:
    return Review(sessions=sessions, policy=policy, clock=clock, workspace=workspace, client=client)


def evidence(review: Review) -> Evidence:
    with reading(review.sessions) as session:
        quarter = reviews.quarter_of(review.clock())
        return gather(session, review.policy, quarter, after=(), now=review.clock())


def rows(told: Evidence, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(sheets.as_csv(tables(told)[name]).decode(), newline="")))


def decide(review: Review) -> None:
    """Let Ana keep one item and have one turned off, of three."""
    for name in ("ci-deploy", "backup", "reports"):
        review.company(name, keys=1)
    review.open()
    review.tell()
    ana = review.as_("ana")
    for action, left in (("nhi:review_keep", "2 left"), ("nhi:review_off", "1 left")):
        review.clock.pass_by(seconds=9)
        assert ana.click(review.board("ana"), action) == ""
        review.workspace.wait_for(lambda left=left: left in texts(review.board("ana")), patience=20)  # type: ignore[misc]


def test_the_population_is_as_it_was_frozen_with_reviewers_and_what_came_of_each(review: Review) -> None:
    decide(review)
    review.change(review.item("reports").identity_id, name="renamed-since")
    review.company("appeared-since")
    told = evidence(review)

    population = {row["name"]: (row["reviewer"], row["review"]) for row in rows(told, "population")}
    assert set(population) == {"ci-deploy", "backup", "reports"}
    assert {reviewer for reviewer, _ in population.values()} == {"ana@example.com"}
    assert sorted(state for _, state in population.values()) == ["kept", "off", "pending"]
    assert told.since_frozen == {"appeared": 1, "gone": 0}


def test_a_press_in_slack_is_one_decision_with_its_dwell_time_and_its_event(review: Review) -> None:
    decide(review)
    told = evidence(review)

    decisions = [row for row in rows(told, "decisions") if row["event_kind"] == "review.decided"]
    assert len(rows(told, "decisions")) == 2 + 3  # and the claim of each item's owner, from before
    assert [row["verdict"] for row in decisions] == ["keep", "off"]
    assert float(decisions[1]["dwell_seconds"]) == 9.0
    with reading(review.sessions) as session:
        for row in decisions:
            event = session.get_one(EventRow, int(row["event"]))
            assert (event.kind, json.loads(event.body)["facts"]["decision"]) == ("review.decided", row["record"])


def test_a_review_that_closed_lists_the_unanswered_and_who_signed(review: Review) -> None:
    decide(review)
    with review.sessions.begin() as session:
        campaign = campaigns.close(session, reviews.quarter_of(review.clock()), by="dora", now=review.clock())
    page = report.as_html(evidence(review), sealed=None, keys=()).decode()
    assert "1 items of the review have no answer." in page
    assert "Management has not signed" in page

    review.clock.pass_by(seconds=timedelta(hours=1).total_seconds())
    signer = signing.Signer(name="Cleo Ciso", role="CISO", words="I have read all of it.", by="a shell")
    with review.sessions.begin() as session:
        signing.sign(session, campaign.quarter, signer, review.policy, review.clock())
    told = evidence(review)
    assert "Cleo Ciso, CISO" in report.as_html(told, sealed=None, keys=()).decode()
    (result,) = json.loads(oscal.as_oscal(told))["assessment-results"]["results"]
    assert result["attestations"][0]["parts"][0]["prose"] == "I have read all of it."
