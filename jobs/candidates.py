"""Whom to ask about an identity, and why them, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import facts
from nhi.escalation import AskStatus
from nhi.identity import Team
from nhi.ownership import Directory, team_spoken_of
from nhi.passing import AskNext, AskNobody, AskTeam, Contender, is_worth_asking, lead_of, next_to_ask, team_for
from nhi.policy import Policy
from nhi.roster import Roster, directory
from nhi.tables import AskRow, EvidenceRow, HandoverItemRow, IdentityRow, PersonRow, TeamClaimRow
from nhi.words import sentence

Json = dict[str, Any]
A_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Somebody to ask, and by what reason."""

    person: PersonRow
    provider: str  # of the identity
    owner: Json  # as facts.owners tells it: confirmed, likely or none (then this is the fallback)
    team: AskTeam | None = None  # ask this team first; `person` is its default
    is_admin: bool = False  # asked as an admin: nobody is left whom evidence or policy names


def candidates(session: Session, identity_ids: list[str], policy: Policy, now: datetime) -> dict[str, Candidate | None]:
    """Return whom to ask about each identity: its owner, else the likeliest, else their team; None: nobody.

    Nobody is asked twice about one thing. Where nothing else is left, policy's fallback is asked.
    """
    roster = Roster.read(session, policy, now)
    passed = _passed(session)
    owners = facts.owners(session, identity_ids, policy, now)
    unclear = [one for one in identity_ids if one in passed or not any(map(is_worth_asking, _contenders(owners[one])))]
    teams = _teams(session, unclear, passed, roster, policy, now)
    return {
        row_id: _choose(provider, owners[row_id], passed.get(row_id, []), teams.get(row_id), roster, policy)
        for row_id, provider in _providers(session, identity_ids).items()
    }


def _providers(session: Session, identity_ids: Sequence[str]) -> dict[str, str]:
    """Return of which provider each identity is, in the order given."""
    found: dict[str, str] = {}
    for start in range(0, len(identity_ids), A_BATCH):
        batch = IdentityRow.id.in_(identity_ids[start : start + A_BATCH])
        found |= dict(session.execute(select(IdentityRow.id, IdentityRow.provider).where(batch)).all())
    return {row_id: found[row_id] for row_id in identity_ids}


def _passed(session: Session) -> dict[str, list[str]]:
    """Return who said "not mine" of what, in their order: on a card, or when it was to be handed to them."""
    found: dict[str, list[str]] = {}
    asks = select(AskRow).where(AskRow.status == AskStatus.PASSED, AskRow.shadow.is_(False))
    for ask in session.scalars(asks.order_by(AskRow.ended_at, AskRow.id)):
        found.setdefault(ask.identity_id, []).append(ask.email)
    for identity_id, emails in session.execute(select(HandoverItemRow.identity_id, HandoverItemRow.passed)):
        if emails:
            found.setdefault(identity_id, []).extend(emails)
    return {identity_id: list(dict.fromkeys(emails)) for identity_id, emails in found.items()}


def _teams(
    session: Session,
    identity_ids: Sequence[str],
    passed: dict[str, list[str]],
    roster: Roster,
    policy: Policy,
    now: datetime,
) -> dict[str, Team | None]:
    """Return which team may know, of identities of which no person is known who does."""
    suggested: dict[str, list[str]] = {}
    suggestions = select(EvidenceRow).where(EvidenceRow.source == "not_mine_suggestion")
    for row in session.scalars(suggestions.where(EvidenceRow.identity_id.in_(identity_ids)).order_by(EvidenceRow.at)):
        known = roster.by_id.get(row.points_to)
        suggested.setdefault(row.identity_id, []).append(known.email if known else row.points_to)
    had_one = (
        select(AskRow.identity_id)
        .join(TeamClaimRow, TeamClaimRow.ask_id == AskRow.id)
        .where(AskRow.status.in_([AskStatus.PASSED, AskStatus.WITHDRAWN]))
    )
    before = set(session.scalars(had_one))
    identity_ids = [one for one in identity_ids if one not in before]  # a team is asked once
    tags = session.execute(select(IdentityRow.id, IdentityRow.tags).where(IdentityRow.id.in_(identity_ids)))
    told = facts.evidence(session, identity_ids)
    everybody = directory(session, policy, now) if identity_ids else Directory([])
    return {
        identity_id: team_for(
            its_tags,
            policy.owners.tags,
            [*passed.get(identity_id, []), *suggested.get(identity_id, [])],
            roster.teams,
            team_spoken_of(told[identity_id], everybody, policy.people),
        )
        for identity_id, its_tags in tags
    }


def _choose(
    provider: str, owner: Json, passed: Sequence[str], team: Team | None, roster: Roster, policy: Policy
) -> Candidate | None:
    mine = roster.able(owner["email"]) if owner["state"] == "confirmed" and owner["active"] else None
    if mine is not None:
        return Candidate(person=mine, provider=provider, owner=owner)  # whatever they said before
    contenders, last = _contenders(owner), _last_resort(passed, roster, policy)
    found = next_to_ask(
        contenders,
        passed=passed,
        team=team,
        fallback=last,
        can=lambda email: bool(roster.able(email)),
        lead=lead_of(team, roster.manager_told) if team else None,
    )
    match found:
        case AskNext(email=email) | AskTeam(default=email):
            person = roster.able(email)
            assert person is not None
            is_likely = any(one.email == email and is_worth_asking(one) for one in contenders)
            fitting = owner if is_likely else owner | {"state": "none"}
            asked = found if isinstance(found, AskTeam) else None
            is_admin = not is_likely and email == last and email != (policy.owners.fallback or "").lower()
            return Candidate(person=person, provider=provider, owner=fitting, team=asked, is_admin=is_admin)
        case AskNobody():
            return None


def _last_resort(passed: Sequence[str], roster: Roster, policy: Policy) -> str | None:
    """Return who is asked where nobody else is left: policy's fallback, or, once somebody said no, an admin.

    Before that no admin is asked: that something has no owner, and that nobody is known, stands in their overview.
    """
    if roster.able(policy.owners.fallback) or not passed:
        return (policy.owners.fallback or "").lower() or None
    found = (roster.by_id.get(admin) or roster.able(admin) for admin in policy.people.admins)
    able = [row.email for row in found if row is not None and roster.able(row.email)]
    return next((email for email in able if email not in passed), None)


def _contenders(owner: Json) -> list[Contender]:
    """Return whom evidence names, the likeliest first."""
    named = [owner] if owner["email"] else []
    return [
        Contender(
            email=one["email"],
            confidence=one["confidence"],
            sources=frozenset(fact["source"] for fact in one["evidence"]),
        )
        for one in (*named, *owner.get("others", []), *owner.get("possible", []))
    ]


def confidence(candidate: Candidate) -> float:
    """Return how sure it is that this person is the one to ask; 0 where nobody is known and they are the fallback."""
    owner, email = candidate.owner, candidate.person.email
    rivals = [*owner.get("others", []), *owner.get("possible", [])]
    sure = {one["email"]: one["confidence"] for one in rivals} | {owner["email"]: owner["confidence"]}
    return float(sure.get(email) or 0.0)


def why_you(candidate: Candidate | None, *, shadow: bool) -> str:
    """Return the card's "why you": the half of a sentence that follows "because"."""
    if candidate is None:
        return sentence("evidence.why_admin")
    reason = _reason(candidate)
    return sentence("evidence.why_in_shadow", name=candidate.person.name, why=reason) if shadow else reason


def _reason(candidate: Candidate) -> str:
    owner, me = candidate.owner, candidate.person

    def first(facts: Sequence[Json]) -> list[str]:
        return [_fact(fact, candidate.provider) for fact in facts[:2]]

    if candidate.team is not None:
        return _reason_of_default(candidate.team, me)
    match owner["state"]:
        case "confirmed" if owner["email"] == me.email:
            return sentence("evidence.why_owner")
        case "confirmed":
            mine = [fact for other in owner["others"] if other["email"] == me.email for fact in other["evidence"]]
            return sentence("evidence.why_owner_is_gone", owner=owner["name"], facts=first(mine))
        case "likely" if owner["email"] == me.email:
            return sentence("evidence.why_likely", facts=first(owner["evidence"]))
        case "likely":
            return sentence("evidence.why_likely_too")
        case "none" if mine := [one for one in owner.get("possible", []) if one["email"] == me.email]:
            return sentence("evidence.why_likeliest", facts=first(mine[0]["evidence"]))
        case _:
            return sentence("evidence.why_admin" if candidate.is_admin else "evidence.why_fallback")


def _reason_of_default(asked: AskTeam, me: PersonRow) -> str:
    named = (asked.team.default or "").lower() == me.email
    by = "default" if named else "lead" if asked.is_lead else "fallback"
    return sentence(f"evidence.why_team_{by}", channel=asked.channel, team=asked.team.name)


def _fact(fact: Json, provider: str) -> str:
    match fact["source"]:
        case "tag":
            return sentence("evidence.fact_tag", fact=fact["fact"])
        case "iac_tag":
            return sentence("evidence.fact_code", fact=fact["fact"])
        case "creator" | "rotator" | "session":
            return sentence("evidence.fact_gcp" if provider == "gcp" else "evidence.fact_aws", fact=fact["fact"])
        case _:
            return str(fact["fact"])
