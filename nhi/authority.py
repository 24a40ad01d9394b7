"""Who may answer for an identity. Checked at the click, again at the form, and again when the work is done."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import roster
from nhi.errors import NotAllowed
from nhi.escalation import AskStatus
from nhi.policy import Policy
from nhi.tables import AskRow, DelegationRow, IdentityRow, OwnerRow, PersonRow, TeamClaimRow
from nhi.words import sentence

MEMBER_OF = "member of "
STAND_IN_OF = "stand-in of "
TOOK_OVER = ", took it over"
IN_REVIEW = " in the review of "


class OwnerEnd(StrEnum):
    """Why somebody is no owner any more, as their row says it."""

    CLAIMED = "somebody else claimed it"
    NOT_THEIRS = "said that it is not theirs"


def person(session: Session, slack_id: str) -> PersonRow:
    """Return who clicked. Raises NotAllowed for strangers, guests, bots, the deactivated, and the unknown.

    Whoever may answer was looked up in Slack before they were asked, so an unknown person is one who was not.
    """
    row = session.get(PersonRow, slack_id)
    if row is None or not is_able(row):
        raise NotAllowed(sentence("refusals.not_for_you"))
    return row


def is_able(row: PersonRow) -> bool:
    """Whether this person can answer for anything at all."""
    return row.active and not (row.guest or row.bot or row.stranger)


def is_admin(row: PersonRow, policy: Policy) -> bool:
    """Whether policy names this person as an admin, by e-mail or Slack id."""
    admins = {admin.lower() for admin in policy.people.admins}
    return is_able(row) and bool({row.email.lower(), row.slack_id.lower()} & (admins - {""}))


def admins(session: Session, policy: Policy) -> list[PersonRow]:
    """Return the admins that policy names and Slack knows, in policy's order."""
    found: dict[str, PersonRow] = {}
    for admin in policy.people.admins:
        query = select(PersonRow).where((PersonRow.email == admin.lower()) | (PersonRow.slack_id == admin))
        found |= {row.slack_id: row for row in session.scalars(query) if is_able(row)}
    return list(found.values())


def authority(
    session: Session, who: PersonRow, identity: IdentityRow, ask: AskRow | None, policy: Policy, now: datetime
) -> str | None:
    """Return by what right this person may answer for this identity, or None: they may not.

    The right is one of: `owner`, `asked`, `delegate of <e-mail>`, `manager of <e-mail>` and `stand-in of <e-mail>`
    (whom policy names by address; both once silence was told to them), `admin`, or `member of <team>`, which may claim
    what their team is asked about and say nothing else.
    """
    if not is_able(who) or not who.email:
        return None  # rights are held by e-mail address: two people whom Slack tells none of are not one
    owner = current_owner(session, identity.id)
    answerable = [owner.email] if owner else []
    if owner and owner.email == who.email:
        return "owner"
    if ask is not None and ask.status in (AskStatus.OPEN, AskStatus.ANSWERED):
        if ask.email == who.email:
            return "asked"
        answerable.append(ask.email)
    for email in answerable:
        if email in delegating_to(session, who.email, now):
            return f"delegate of {email}"
    if is_admin(who, policy):
        return "admin"
    return _right_by_ask(session, who, ask, policy, now) if ask is not None else None


def _right_by_ask(session: Session, who: PersonRow, ask: AskRow, policy: Policy, now: datetime) -> str | None:
    """Return the right of somebody whom an open question was brought to besides the one asked."""
    if ask.status is not AskStatus.OPEN:
        return None
    if who.email in {rung.lower() for rung in ask.escalated_to}:
        return f"{STAND_IN_OF}{ask.email}"
    if "manager" in ask.escalated_to:
        manager = roster.manager_of(session, ask.email, policy, now)
        if manager is not None and manager.slack_id == who.slack_id:
            return f"manager of {ask.email}"
    claim = session.get(TeamClaimRow, ask.id)
    if claim is not None and roster.is_of_team(session, who.email, claim.team, policy):
        return f"{MEMBER_OF}{claim.team}"
    return None


def in_words(right: str) -> str:
    """Return a right, as an attestation keeps it, in words for people."""
    kept = right.removesuffix(TOOK_OVER)
    role, _, quarter = kept.partition(IN_REVIEW)
    role, _, whom = role.partition(" of ")
    return sentence("answers.right", role=role, whom=whom, quarter=quarter, taken_over=kept != right)


def delegating_to(session: Session, email: str, now: datetime) -> set[str]:
    """Return whose answers this person may give right now."""
    rows = session.scalars(
        select(DelegationRow.email).where(
            DelegationRow.delegate == email, DelegationRow.since <= now, DelegationRow.until > now
        )
    )
    return set(rows)


def current_owner(session: Session, identity_id: str) -> OwnerRow | None:
    """Return the confirmed owner; None: nobody has claimed it."""
    return session.scalar(select(OwnerRow).where(OwnerRow.identity_id == identity_id, OwnerRow.ended_at.is_(None)))
