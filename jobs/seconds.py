"""Post the question to a second person, remind of it, and end it; tell in the admins' channel what admins did.

Each once. Who may answer is checked when they press: that somebody is in the channel is no right.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from bot import delivery
from bot.card import told
from bot.render import say
from nhi import approvals, authority, facts
from nhi.database import Sessions, lock_writers
from nhi.escalation import Verdict
from nhi.policy import Policy
from nhi.tables import (
    AnnouncementRow,
    ApprovalRow,
    AttestationRow,
    IdentityRow,
    RemediationRow,
)

TOLD_OF = timedelta(days=1)  # what is older was decided before this program told of it
ACTS = (Verdict.DISABLE, Verdict.ROTATE, Verdict.UNDO)
# What Slack's people act as, their e-mail, has no space; whoever is at the command line is told in words.
AT_THE_COMMAND_LINE = RemediationRow.undo_by.not_like("%@%") | RemediationRow.undo_by.like("% %")


def tell(sessions: Sessions, policy: Policy, now: datetime) -> int:
    """Write down what is to be said; return how many messages. A second call says nothing anew."""
    with sessions.begin() as session:
        lock_writers(session)  # two workers at once would say it twice
        said = _end(session, policy, now) + _ask(session, policy, now) + _remind(session, policy, now)
        return said + _announce(session, policy, now)


def channel(policy: Policy) -> str | None:
    """Return the admins' channel; None: there is none."""
    rungs = policy.conversation.escalate_to
    return policy.remediation.announce_to or next((rung for rung in rungs if rung.startswith("#")), None)


def _place(session: Session, policy: Policy, besides: str) -> str | None:
    """Return where admins hear of it: their channel, else the first of them who is not `besides`; None: nowhere."""
    others = (admin.slack_id for admin in authority.admins(session, policy) if admin.email != besides)
    return channel(policy) or next(others, None)


def _ask(session: Session, policy: Policy, now: datetime) -> int:
    asked = 0
    unposted = select(ApprovalRow).where(ApprovalRow.delivery_id.is_(None), ApprovalRow.decided_at.is_(None))
    for approval in session.scalars(unposted.order_by(ApprovalRow.asked_at, ApprovalRow.id)):
        place = _place(session, policy, approval.first)
        if place is None:
            continue  # `nhi doctor` says that no admin is known; the act waits, and its card says for whom
        approval.delivery_id = delivery.queue(session, "second", place, {}, [], now).id
        asked += 1
    session.flush()
    return asked


def _unanswered(session: Session) -> list[ApprovalRow]:
    rows = select(ApprovalRow).where(ApprovalRow.decided_at.is_(None))
    return list(session.scalars(rows.order_by(ApprovalRow.asked_at, ApprovalRow.id)))


def _end(session: Session, policy: Policy, now: datetime) -> int:
    """Refuse what nobody agreed to in time, and tell who asked for it."""
    said = 0
    for approval in _unanswered(session):
        if now < approvals.ends_at(approval, policy):
            continue
        because = say("second.late_card", ends_at=approvals.ends_at(approval, policy)).plain()
        act = approvals.expire(session, approval, because, now)
        if act is None:
            continue
        first = session.get_one(AttestationRow, act.attestation_id)
        sentence = say("second.late_told", **_about(session, approval, act, policy)).plain()
        delivery.queue(session, "notice", first.slack_id, {"sentence": sentence}, [], now)
        said += 1
    return said


def _remind(session: Session, policy: Policy, now: datetime) -> int:
    """Say once more, half of the time later, that somebody has to agree."""
    said = 0
    for approval in _unanswered(session):
        about = f"second:{approval.id}"
        if now < approvals.reminds_at(approval, policy) or session.get(AnnouncementRow, about) is not None:
            continue
        place = _place(session, policy, approval.first)
        if place is None or approval.delivery_id is None:
            continue
        act = session.get_one(RemediationRow, approval.remediation_id)
        sentence = say("second.reminder", **_about(session, approval, act, policy)).plain()
        row = delivery.queue(session, "notice", place, {"sentence": sentence}, [], now)
        session.add(AnnouncementRow(about=about, delivery_id=row.id, at=now))
        session.flush()
        said += 1
    return said


def _about(session: Session, approval: ApprovalRow, act: RemediationRow, policy: Policy) -> dict[str, Any]:
    first = session.get_one(AttestationRow, act.attestation_id)
    return {
        "act": {"kind": act.kind.value},
        "first": first.name,
        "told": _told(session, act.identity_id),
        "asked_at": approval.asked_at,
        "ends_at": approvals.ends_at(approval, policy),
    }


def _announce(session: Session, policy: Policy, now: datetime) -> int:
    since = now - TOLD_OF
    said = 0
    for about, besides, sentence in (*_decided(session, since), *_agreed(session, since), *_undone(session, since)):
        place = _place(session, policy, besides)
        if place is None or session.get(AnnouncementRow, about) is not None:
            continue
        row = delivery.queue(session, "notice", place, {"sentence": sentence}, [], now)
        session.add(AnnouncementRow(about=about, delivery_id=row.id, at=now))
        session.flush()
        said += 1
    return said


def _untold(about: ColumnElement[str]) -> ColumnElement[bool]:
    return about.not_in(select(AnnouncementRow.about))


def _decided(session: Session, since: datetime) -> list[tuple[str, str, str]]:
    """Return what admins decided by no other right than that: (about, their e-mail, the sentence)."""
    rows = session.scalars(
        select(AttestationRow)
        .where(
            AttestationRow.authority == "admin",
            AttestationRow.verdict.in_(ACTS),
            AttestationRow.at > since,
            _untold(AttestationRow.id),  # type: ignore[arg-type]
        )
        .order_by(AttestationRow.at, AttestationRow.id)
    )
    return [
        (
            row.id,
            row.email,
            say(
                "second.announced", name=row.name, verdict=row.verdict.value, told=_told(session, row.identity_id)
            ).plain(),
        )
        for row in rows
    ]


def _agreed(session: Session, since: datetime) -> list[tuple[str, str, str]]:
    rows = session.execute(
        select(ApprovalRow, RemediationRow)
        .join(RemediationRow, RemediationRow.id == ApprovalRow.remediation_id)
        .where(
            ApprovalRow.agreed.is_(True),
            ApprovalRow.authority == "admin",
            ApprovalRow.decided_at > since,
            _untold(ApprovalRow.id),  # type: ignore[arg-type]
        )
        .order_by(ApprovalRow.decided_at, ApprovalRow.id)
    )
    return [
        (
            row.id,
            row.email or "",
            say(
                "second.announced_agreed",
                name=row.name,
                told=_told(session, act.identity_id),
                act={"kind": act.kind.value},
            ).plain(),
        )
        for row, act in rows
    ]


def _undone(session: Session, since: datetime) -> list[tuple[str, str, str]]:
    """Return what somebody at the command line took back: whoever has it needs no right of Slack's."""
    rows = session.scalars(select(RemediationRow).where(AT_THE_COMMAND_LINE, RemediationRow.due_at > since - TOLD_OF))
    return [
        (
            f"undo:{row.id}",
            "",
            say("second.announced_undo", by=row.undo_by, told=_told(session, row.identity_id)).plain(),
        )
        for row in rows
        if session.get(AnnouncementRow, f"undo:{row.id}") is None
    ]


def _told(session: Session, identity_id: str) -> str:
    return told({"identity": facts.identity_json(session.get_one(IdentityRow, identity_id))})
