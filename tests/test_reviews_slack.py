"""The review as reviewers meet it: everything decided inside the stand-in Slack, through the real app."""

from __future__ import annotations

import pytest
from slack_sdk import WebClient
from sqlalchemy import select

from bot.server import Serving
from demo.workspace import Workspace
from nhi.database import Sessions, reading
from nhi.policy import Policy
from nhi.remediation import RemediationStatus
from nhi.tables import RemediationRow
from tests.conftest import Clock, Deferred
from tests.review_world import Review, texts


@pytest.fixture
def review(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Review:
    return Review(sessions=sessions, policy=policy, clock=clock, workspace=workspace, client=client)


def settled(review: Review, name: str, words: str) -> None:
    """Wait until somebody's newest message says this."""
    review.workspace.wait_for(lambda: words in texts(review.board(name)))


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
