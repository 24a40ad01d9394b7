"""Where a review is reached from: `/nhi review`, and the Home tab."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from bot import messages, review_boards, review_cards, review_queue
from nhi import authority, campaigns, reviews
from nhi.tables import PersonRow, SwitchRow


def bring(session: Session, who: PersonRow, now: datetime) -> tuple[messages.Message, list[str]]:
    """Put somebody's boards at the end of their direct messages; return the sentence, and the boards to post."""
    campaign = campaigns.current(session)
    if campaign is None:
        return review_cards.plain("none_open"), []
    whose = [who.email, *sorted(authority.delegating_to(session, who.email, now))]
    counts = {email: campaigns.left_of(session, campaign.id, email) for email in whose}
    rows = [
        review_queue.queue_board(session, campaign.id, email, who.slack_id, "review", now).id
        for email, left in counts.items()
        if left
    ]
    left = sum(counts.values())
    if rows:
        return review_cards.plain("brought", left=left, minutes=reviews.minutes_left(left)), rows
    done = campaigns.result(session, campaign.id)
    total = done["items"] - done["carried"]
    return review_cards.plain("nothing_left", quarter=campaign.quarter, left=done["pending"], total=total), []


def status(session: Session) -> messages.Message:
    """Return how far the open review is, and who has how many left."""
    campaign = campaigns.current(session)
    if campaign is None:
        return review_cards.plain("none_open")
    result = campaigns.result(session, campaign.id)
    silent = review_boards.silent(session, campaign.id)
    shown = {"silent": silent[:20], "more_silent": max(0, len(silent) - 20)}
    return review_cards.plain("status", quarter=campaign.quarter, due_at=campaign.due_at, result=result, **shown)


def home_of(session: Session, who: PersonRow, now: datetime) -> messages.Blocks:
    """Return the Home tab's section about the review; nothing where nothing waits for them."""
    campaign = campaigns.current(session)
    if campaign is None:
        return []
    whose = {who.email} | authority.delegating_to(session, who.email, now)
    left = sum(campaigns.left_of(session, campaign.id, email) for email in whose)
    if not left:
        return []
    about = {"campaign": campaign.id, "quarter": campaign.quarter, "due_at": campaign.due_at, "left": left}
    return review_cards.home_section(about | {"minutes": reviews.minutes_left(left)})


def want(session: Session, who: PersonRow, now: datetime) -> None:
    """Write down that an admin wants this quarter's review opened: a row, so that it outlives this process.

    Raises AlreadyAnswered or OutOfDate where the quarter has its campaign.
    """
    quarter = reviews.quarter_of(now)
    campaigns.refuse_second(session, quarter)
    if session.get(SwitchRow, campaigns.wanted(quarter)) is None:
        session.add(SwitchRow(name=campaigns.wanted(quarter), on_at=now, by=who.email or who.slack_id))
