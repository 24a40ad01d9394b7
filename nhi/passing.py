"""Whom to ask after somebody said "not mine": the next candidate, or a whole team with a named default. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nhi.escalation import zone
from nhi.identity import Team
from nhi.people import team_named, team_of
from nhi.policy import Conversation
from nhi.working_days import is_holiday

DEPTH = 3  # people who say "not mine" before a team is asked
ASK_ABOVE = 0.1  # confidence below which somebody whom evidence names is not asked for that
BETTER_THAN_TEAM = 0.65  # confidence below which, once somebody said "not mine", a whole team is the better guess
OF_A_PLACE = frozenset({"account", "label", "project_owner"})  # evidence about all that lies in one account or project


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Somebody whom evidence names, and by which kinds of it."""

    email: str
    confidence: float
    sources: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class AskNext:
    """Ask this person."""

    email: str


@dataclass(frozen=True, kw_only=True)
class AskTeam:
    """Ask a team in its channel, once; whoever claims it first has it, and at the deadline `default` is asked."""

    team: Team
    channel: str
    default: str
    is_lead: bool = False  # the default is not named: they manage most of the team


@dataclass(frozen=True, kw_only=True)
class AskNobody:
    """Nobody is left who could be asked."""


Next = AskNext | AskTeam | AskNobody


def is_worth_asking(one: Contender) -> bool:
    """Whether evidence makes somebody likely enough to be asked for that alone."""
    return one.confidence >= ASK_ABOVE


def next_to_ask(
    ranked: Sequence[Contender],
    *,
    passed: Sequence[str],
    team: Team | None,
    fallback: str | None,
    can: Callable[[str], bool],
    lead: str | None = None,
) -> Next:
    """Decide whom to ask about one identity. Nobody is asked twice about one thing.

    `ranked` are whom evidence names, the likeliest first; `passed` who said "not mine", in their order. After DEPTH of
    them, or when guesses alone are left, the team is asked, where one is known with a channel and a default person who
    can answer and did not pass (else its `lead`, else policy's fallback, is named); then the guesses; then who answers
    for the account that it lies in; then the fallback. Where evidence names nobody worth asking the team comes first.
    """
    out = {email.lower() for email in passed}
    able = [one for one in ranked if one.email not in out and can(one.email)] if len(out) < DEPTH else []
    left = [one for one in able if is_worth_asking(one)]
    for one in left:
        if not out or one.confidence >= BETTER_THAN_TEAM:
            return AskNext(email=one.email)
    if team is not None and team.channel:
        names = (_lower(name) for name in (team.default, lead, fallback))
        default = next((name for name in names if name and name not in out and can(name)), None)
        if default is not None:
            is_lead = default != _lower(team.default) and default == _lower(lead)
            return AskTeam(team=team, channel=team.channel, default=default, is_lead=is_lead)
    for one in (*left, *(one for one in able if one.sources & OF_A_PLACE)):
        return AskNext(email=one.email)
    last = _lower(fallback)
    return AskNext(email=last) if last and last not in out and can(last) else AskNobody()


def _lower(email: str | None) -> str | None:
    return email.lower() if email else None


def lead_of(team: Team, manager_of: Callable[[str], str | None]) -> str | None:
    """Return who manages most of a team's members, so far as their managers are known; None: nobody stands out.

    `manager_of` returns the address of somebody's manager, or None.
    """
    votes = Counter(manager.lower() for one in team.members if (manager := manager_of(one)))
    best, count = next(iter(votes.most_common(1)), ("", 0))
    return best if count >= 2 and count > sum(votes.values()) / 2 else None


def team_for(
    tags: Mapping[str, str],
    keys: Sequence[str],
    involved: Sequence[str],
    teams: Sequence[Team],
    by_evidence: Team | None = None,
) -> Team | None:
    """Return the team to ask about an identity: the one that a tag names, else the one that evidence speaks of.

    `keys` are the tags that tell of owners. `involved` are those who were asked or suggested, the latest last: where
    evidence speaks of no one team the latest one's counts. None: no team is known.
    """
    for key in (*keys, "team", "Team"):
        found = team_named(tags.get(key, ""), teams)
        if found is not None:
            return found
    if by_evidence is not None and by_evidence.channel:
        return by_evidence
    for email in reversed(involved):
        found = team_of(email, teams)
        if found is not None and found.channel:
            return found
    return None


def loop_of(suggestions: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return the people who point at each other in a circle, or None.

    `suggestions` are (who, whom they suggested), in their order: A says B, and B says A.
    """
    says = dict(suggestions)
    for start in says:
        path = [start]
        while (following := says.get(path[-1])) is not None and following not in path:
            path.append(following)
        if following is not None:
            return tuple(path[path.index(following) :])
    return None


def claim_deadline(now: datetime, within: timedelta, tz: str, talk: Conversation) -> datetime:
    """Return until when a team may claim: the end of work, in that zone, on the first working day after `within`."""
    here = zone(tz)
    day = (now + within).astimezone(here).date()
    while day.weekday() > 4 or is_holiday(day, tz, talk.holidays):
        day += timedelta(days=1)
    return datetime.combine(day, talk.working_hours[1], here)
