"""The quarter by the clock: open on fresh data, tell and remind, add what appeared, show how far it is, close.

Everything is computed from rows at each run, so a run that was missed or doubled is harmless. Nothing is ever turned
off, and nothing ever counts as kept, because of silence.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slack_sdk import WebClient
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from bot import burndown, delivery, review_queue
from bot.review import redraw_closed
from bot.slack import UNWELL, passes, trouble
from jobs import people
from jobs.asking import had_a_message_today
from jobs.shadow import is_shadow
from nhi import (
    authority,
    campaigns,
    facts,
    ledger,
    review_answers,
    review_facts,
    review_handover,
    review_report,
    reviews,
)
from nhi.database import Sessions, reading
from nhi.errors import NhiError
from nhi.escalation import is_working_time
from nhi.policy import Policy
from nhi.reviews import ItemStatus, Nudge
from nhi.stamps import quality
from nhi.tables import (
    IdentityRow,
    PersonRow,
    ReviewCampaignRow,
    ReviewChartRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewReviewerRow,
    SwitchRow,
)
from nhi.words import sentence

log = logging.getLogger(__name__)

BY_ITSELF = "by itself, at the quarter"
ONE_DAY = timedelta(days=1)
ONE_HOUR = timedelta(hours=1)
PICTURE_SETTLES = timedelta(seconds=20)  # Slack refuses a picture in a message while it still processes the upload


@dataclass
class Tally:
    """What one run did, and what it left undone and why."""

    opened: str | None = None
    closed: str | None = None
    added: int = 0
    gone: int = 0
    told: int = 0
    reminded: int = 0
    escalated: int = 0
    asked_again: int = 0
    charts: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def is_worth_a_line(self) -> bool:
        numbers = (self.added, self.gone, self.told, self.reminded, self.escalated, self.asked_again, self.charts)
        return bool(self.opened or self.closed or any(numbers))

    def sentence(self) -> str:
        """Return the run's account: `Opened 2026Q4. Told 12 reviewers, reminded 3. Skipped 1: …`."""
        text = f"Opened the review of {self.opened}. " if self.opened else ""
        text += f"Closed the review of {self.closed}. " if self.closed else ""
        text += f"Told {self.told} reviewers, reminded {self.reminded}, escalated {self.escalated}."
        if self.added or self.gone:
            text += f" {self.added} late additions, {self.gone} gone."
        if self.asked_again:
            text += f" Asked {self.asked_again} to look again."
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
            text += f" Skipped {self.skipped.total()}: {reasons}."
        return text


def is_wanted(sessions: Sessions, now: datetime) -> bool:
    """Whether an admin asked for this quarter's campaign, and it was not tried yet."""
    with reading(sessions) as session:
        return session.get(SwitchRow, campaigns.wanted(reviews.quarter_of(now))) is not None


def run(sessions: Sessions, policy: Policy, client: WebClient | None, *, now: datetime) -> Tally:
    """Do what is due now. `client` None: without Slack, nothing is drawn."""
    tally = Tally()
    with reading(sessions) as session:
        shadow = is_shadow(session, policy)
    _open_if_due(sessions, policy, shadow, now, tally)
    with reading(sessions) as session:
        campaign = campaigns.current(session)
    if campaign is None:
        return tally
    if now >= campaign.due_at:
        with sessions.begin() as session:
            close(session, campaign.quarter, policy, by="by itself, on the due day", now=now)
        tally.closed = campaign.quarter
        return tally
    _keep_up(sessions, campaign, policy, now, tally)
    if shadow:
        tally.skipped["reviewers: shadow mode, nobody is told until an admin presses Go"] += 1
        return tally
    _ask_again(sessions, campaign, now, tally)
    _nudge_all(sessions, campaign, policy, now, tally)
    _show_progress(sessions, campaign, policy, client, now, tally)
    return tally


# -- open --------------------------------------------------------------------------------------------------------------


def _open_if_due(sessions: Sessions, policy: Policy, shadow: bool, now: datetime, tally: Tally) -> None:
    """Open the quarter's campaign once; where its data is too old, tell the admins once a day what to do."""
    quarter = reviews.quarter_of(now)
    with reading(sessions) as session:
        if campaigns.find(session, quarter) is not None:
            return
        asked = session.get(SwitchRow, campaigns.wanted(quarter))
        since = session.scalar(select(func.min(IdentityRow.first_seen_at)))
    by_itself = policy.review.automatic and not shadow and reviews.opens_by_itself(quarter, since, now)
    if asked is None and not by_itself:
        return
    try:
        opened = campaigns.open_campaign(sessions, policy, by=asked.by if asked else BY_ITSELF, now=now)
        tally.opened = opened.quarter
    except NhiError as error:
        tally.skipped["campaign, which could not be opened"] += 1
        _tell_admins(sessions, policy, str(error), by_hand=asked is not None, now=now)
    if asked is not None:
        with sessions.begin() as session:
            session.execute(delete(SwitchRow).where(SwitchRow.name == asked.name))


def _tell_admins(sessions: Sessions, policy: Policy, why: str, *, by_hand: bool, now: datetime) -> None:
    with sessions.begin() as session:
        if not by_hand and not passes(session, "review not opened", now, ONE_DAY, why[:200]):
            return
        for admin in authority.admins(session, policy):
            if by_hand or is_working_time(now, admin.tz, policy.conversation):
                words = {"sentence": sentence("review.not_open_yet", why=why)}
                delivery.queue(session, "notice", admin.slack_id, words, [], now)


def _keep_up(sessions: Sessions, campaign: ReviewCampaignRow, policy: Policy, now: datetime, tally: Tally) -> None:
    """Once an hour: add what appeared since the opening, end what is gone."""
    with sessions.begin() as session:
        if not passes(session, "review late additions", now, ONE_HOUR, "once an hour"):
            return
    tally.gone = campaigns.end_gone(sessions, campaign.id, now)
    tally.added = campaigns.add_late(sessions, campaign.id, policy, now)


# -- reviewers ---------------------------------------------------------------------------------------------------------


def _ask_again(sessions: Sessions, campaign: ReviewCampaignRow, now: datetime, tally: Tally) -> None:
    """Ask who is done and was too quick to look again, once and kindly."""
    with reading(sessions) as session:
        waiting = select(ReviewReviewerRow.email).where(
            ReviewReviewerRow.campaign_id == campaign.id, ReviewReviewerRow.asked_again_at.is_(None)
        )
        decided = select(ReviewDecisionRow.email).where(ReviewDecisionRow.campaign_id == campaign.id)
        emails = list(session.scalars(waiting.where(ReviewReviewerRow.email.in_(decided))))
    for email in emails:
        with sessions.begin() as session:
            if campaigns.left_of(session, campaign.id, email):
                continue
            low = quality(review_answers.stamps(session, campaign.id, email)).low
            row = session.get_one(ReviewReviewerRow, (campaign.id, email))
            if low and review_answers.ask_again(session, row, low, now):
                tally.asked_again += 1


def _nudge_all(sessions: Sessions, campaign: ReviewCampaignRow, policy: Policy, now: datetime, tally: Tally) -> None:
    with reading(sessions) as session:
        waiting = select(ReviewItemRow.reviewer).where(
            ReviewItemRow.campaign_id == campaign.id, ReviewItemRow.status == ItemStatus.PENDING
        )
        emails = sorted(set(session.scalars(waiting)))
    for email in emails:
        with sessions.begin() as session:
            _nudge(session, campaign, email, policy, now, tally)


def _nudge(
    session: Session, campaign: ReviewCampaignRow, email: str, policy: Policy, now: datetime, tally: Tally
) -> None:
    """Say to one reviewer what is due: at most one message a day, in their working hours."""
    readers = review_queue.readers(session, email, now)
    row = campaigns.ensure_reviewer(session, campaign.id, email)
    if not readers:
        tally.skipped["reviewers who are not in Slack any more"] += _hand_on(session, campaign, email, policy, now)
        return
    told = reviews.Told(
        told_at=row.told_at,
        last_step_at=row.last_step_at,
        reminders=row.reminders,
        escalations=len(row.escalated_to),
        left=campaigns.left_of(session, campaign.id, email),
        last_answer_at=review_report.answered_at(session, campaign.id, email),
        away_until=min((reader.away_until or now for reader in readers), default=None),
    )
    first = next((reader for reader in readers if reader.away_until is None or reader.away_until <= now), readers[0])
    if _waits_for_tomorrow(session, first, campaign, now):
        tally.skipped["reviewers who had a message today"] += 1
        return
    match reviews.next_nudge(told, campaign.due_at, first.tz, policy.conversation, now):
        case Nudge.TELL:
            _tell(session, campaign, row, readers, now)
            tally.told += 1
        case Nudge.REMIND:
            _remind(session, campaign, row, readers, now)
            tally.reminded += 1
        case Nudge.ESCALATE:
            _escalate(session, campaign, row, told.left, policy, now)
            tally.escalated += 1
        case None:
            pass


def _waits_for_tomorrow(session: Session, who: PersonRow, campaign: ReviewCampaignRow, now: datetime) -> bool:
    """Whether this person had their one message of the day; in the last days of a review that is no reason to wait."""
    return now < campaign.due_at - reviews.LAST_DAYS and had_a_message_today(session, who, now)


def _tell(
    session: Session, campaign: ReviewCampaignRow, row: ReviewReviewerRow, readers: list[PersonRow], now: datetime
) -> None:
    again = row.asked_again_at is not None and row.reminders == 0 and row.last_step_at is not None
    kind = "review_again" if again else "review"
    for reader in readers:
        review_queue.queue_board(session, campaign.id, row.email, reader.slack_id, kind, now)
    row.told_at, row.last_step_at = now, now
    session.flush()
    private = {"email": row.email, "readers": [reader.email for reader in readers]}
    ledger.record(session, "review.told", now=now, facts={"campaign": campaign.id, "kind": kind}, private=private)


def _remind(
    session: Session, campaign: ReviewCampaignRow, row: ReviewReviewerRow, readers: list[PersonRow], now: datetime
) -> None:
    for reader in readers:
        review_queue.queue_board(session, campaign.id, row.email, reader.slack_id, "review_reminder", now)
    row.reminders, row.last_step_at = row.reminders + 1, now
    session.flush()
    about = {"campaign": campaign.id, "number": row.reminders}
    ledger.record(session, "review.reminded", now=now, facts=about, private={"email": row.email})


def _escalate(
    session: Session, campaign: ReviewCampaignRow, row: ReviewReviewerRow, left: int, policy: Policy, now: datetime
) -> None:
    """Tell the manager, or the next rung that can be told, how much waits; what it is stays with the reviewer."""
    rungs = policy.conversation.escalate_to
    reached = [(rung, people.recipient(session, row.email, rung, policy, now)) for rung in rungs]
    rung, recipient = next(((rung, to) for rung, to in reached if to), ("nobody", None))
    person = session.scalar(select(PersonRow).where(PersonRow.email == row.email).limit(1))
    total = select(ReviewItemRow.id).where(
        ReviewItemRow.campaign_id == campaign.id,
        ReviewItemRow.reviewer == row.email,
        ReviewItemRow.status != ItemStatus.CARRIED,
    )
    words = {
        "name": person.name if person else row.email,
        "left": left,
        "total": len(session.scalars(total).all()),
        "quarter": campaign.quarter,
        "due_at": facts.when(campaign.due_at),
    }
    if recipient is not None:
        delivery.queue(session, "review_escalation", recipient, words, [], now)
    row.escalated_to, row.last_step_at = [*row.escalated_to, rung], now
    session.flush()
    about = {"campaign": campaign.id, "to": rung, "reached": recipient is not None, "left": left}
    ledger.record(session, "review.escalated", now=now, facts=about, private={"email": row.email})


def _hand_on(session: Session, campaign: ReviewCampaignRow, email: str, policy: Policy, now: datetime) -> int:
    """Give the open items of somebody who left to the next who is answerable; return how many nobody can take."""
    waiting = select(ReviewItemRow).where(
        ReviewItemRow.campaign_id == campaign.id,
        ReviewItemRow.reviewer == email,
        ReviewItemRow.status == ItemStatus.PENDING,
    )
    stuck = 0
    for item in session.scalars(waiting):
        stuck += not review_handover.hand_on(session, item, policy, now)
    return stuck


# -- how far it is -----------------------------------------------------------------------------------------------------


def channel_of(policy: Policy) -> str | None:
    """Return where the burn-down is shown; None: policy names no channel."""
    rungs = [policy.review.channel, *policy.conversation.escalate_to]
    return next((rung for rung in rungs if rung and rung.startswith(("#", "C", "G")) and "@" not in rung), None)


def _show_progress(
    sessions: Sessions,
    campaign: ReviewCampaignRow,
    policy: Policy,
    client: WebClient | None,
    now: datetime,
    tally: Tally,
) -> None:
    """Post the burn-down once each working day. Where no picture can be uploaded, the words say the same."""
    channel = channel_of(policy)
    if channel is None or client is None or not is_working_time(now, "UTC", policy.conversation):
        return
    with sessions.begin() as session:
        if session.get(ReviewChartRow, (campaign.id, now.date())) is not None:
            return
        days = review_report.burn_down(session, campaign, now)
        words = _words(session, campaign, days[-1][1], now)
        chart = ReviewChartRow(campaign_id=campaign.id, day=now.date(), left=words["left"], decided=words["decided"])
        session.add(chart)  # written before anything is sent: a day's picture is tried once
    picture = burndown.draw(sentence("review.burndown_title", quarter=campaign.quarter), days, campaign.due_at.date())
    file_id = _upload(client, campaign.quarter, picture, str(words["alt"]))
    with sessions.begin() as session:
        kept = session.get_one(ReviewChartRow, (campaign.id, now.date()))
        row = delivery.queue(session, "review_chart", channel, words | {"file": file_id}, [], now)
        row.not_before = now + PICTURE_SETTLES if file_id else now
        kept.file_id, kept.delivery_id = file_id, row.id
    tally.charts += 1


def _words(session: Session, campaign: ReviewCampaignRow, left: int, now: datetime) -> dict[str, object]:
    counts = campaigns.result(session, campaign.id)
    total = counts["items"] - counts["carried"]
    whole = (campaign.due_at - campaign.opened_at) / ONE_DAY
    even = round(total * max(0.0, 1 - (now - campaign.opened_at) / ONE_DAY / whole))
    return {
        "quarter": campaign.quarter,
        "total": total,
        "left": left,
        "decided": total - left,
        "due_at": facts.when(campaign.due_at),
        "day": facts.when(now),
        "even": even,
        "ahead": left <= even,
        "alt": sentence("review.burndown_alt", quarter=campaign.quarter, left=left, total=total),
    }


def _upload(client: WebClient, quarter: str, picture: bytes, alt: str) -> str | None:
    """Return Slack's id of the uploaded picture; None: it could not be uploaded."""
    try:
        answer = client.files_upload_v2(content=picture, filename=f"review-{quarter}.png", title=alt, alt_txt=alt)
        return str(answer["files"][0]["id"])
    except UNWELL as error:
        log.warning("the burn-down's picture was left out: Slack answers %s", trouble(error).code)
        return None


# -- close -------------------------------------------------------------------------------------------------------------


def close(
    session: Session, quarter: reviews.Quarter | str, policy: Policy, *, by: str, now: datetime
) -> ReviewCampaignRow:
    """Close a campaign, and tell the channels and who may sign: with everything that nobody answered.

    Raises OutOfDate where it is closed already: a closed campaign does not reopen.
    """
    campaign = campaigns.close(session, quarter, by=by, now=now)
    words = {"campaign": campaign.id}
    for rung in policy.conversation.escalate_to:
        to = None if rung == "manager" else people.recipient(session, "", rung, policy, now)
        if to is not None:
            delivery.queue(session, "review_closed", to, words | {"may_sign": False}, [], now)
    for signer in review_facts.signers(session, policy):
        delivery.queue(session, "review_closed", signer.slack_id, words | {"may_sign": True}, [], now)
    review_queue.redraw_all(session, campaign.id)
    return campaign


__all__ = ["Tally", "channel_of", "close", "redraw_closed", "run"]
