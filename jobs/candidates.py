"""Whom to ask about an identity, and why them, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import facts
from nhi.authority import is_able
from nhi.escalation import AskStatus
from nhi.policy import Policy
from nhi.tables import AskRow, PersonRow

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Somebody to ask, and by what reason."""

    person: PersonRow
    owner: Json  # as facts.owners tells it: confirmed, likely or none (then this is the fallback)


def candidates(session: Session, identity_ids: list[str], policy: Policy, now: datetime) -> dict[str, Candidate | None]:
    """Return whom to ask about each identity: its owner, else the likeliest, else policy's fallback; None: nobody."""
    rows = {row.email: row for row in session.scalars(select(PersonRow)) if is_able(row)}
    passed = _passed(session)
    owners = facts.owners(session, identity_ids, policy, now)
    return {
        identity_id: _choose(owners[identity_id], passed.get(identity_id, set()), rows, policy)
        for identity_id in identity_ids
    }


def _passed(session: Session) -> dict[str, set[str]]:
    """Return who said "not mine" of what: nobody is asked twice about one thing."""
    found: dict[str, set[str]] = {}
    for ask in session.scalars(select(AskRow).where(AskRow.status == AskStatus.PASSED, AskRow.shadow.is_(False))):
        found.setdefault(ask.identity_id, set()).add(ask.email)
    return found


def _choose(owner: Json, passed: set[str], rows: dict[str, PersonRow], policy: Policy) -> Candidate | None:
    named = [owner["email"], *(other["email"] for other in owner.get("others", []))]
    for email in named:
        if email in rows and email not in passed:
            return Candidate(person=rows[email], owner=owner)
    fallback = (policy.owners.fallback or "").lower()
    if fallback in rows and fallback not in passed:
        return Candidate(person=rows[fallback], owner=owner | {"state": "none"})
    return None


def why_you(candidate: Candidate | None, *, shadow: bool) -> str:
    """Return the card's "why you": the half of a sentence that follows "because"."""
    if candidate is None:
        return "nobody is known who could own it; you are an admin"
    reason = _reason(candidate)
    if shadow:
        return f"in shadow mode admins are asked; otherwise {candidate.person.name} would be, because {reason}"
    return reason


def _reason(candidate: Candidate) -> str:
    owner, me = candidate.owner, candidate.person
    match owner["state"]:
        case "confirmed" if owner["email"] == me.email:
            return "you are its owner"
        case "likely" if owner["email"] == me.email:
            return " and ".join(_fact(fact) for fact in owner["evidence"][:2])
        case "likely":
            return "evidence points to you as well"
        case _:
            return "nobody better is known, and policy names you for that"


def _fact(fact: Json) -> str:
    match fact["source"]:
        case "tag":
            return f"its tag says {fact['fact']}"
        case "creator":
            return f"CloudTrail shows {fact['fact']}"
        case _:
            return str(fact["fact"])
