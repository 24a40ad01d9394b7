"""Whom to ask after somebody said "not mine": the next candidate, or a whole team with a named default. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from nhi.escalation import zone
from nhi.identity import Team
from nhi.people import team_named, team_of

DEPTH = 3  # people who say "not mine" before a team is asked
BETTER_THAN_TEAM = 0.5  # confidence below which, once somebody said "not mine", a whole team is the better guess


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


@dataclass(frozen=True, kw_only=True)
class AskNobody:
    """Nobody is left who could be asked."""


Next = AskNext | AskTeam | AskNobody


def next_to_ask(
    ranked: Sequence[str],
    *,
    passed: Sequence[str],
    team: Team | None,
    fallback: str | None,
    can: Callable[[str], bool],
    unsure: Collection[str] = (),
) -> Next:
    """Decide whom to ask about one identity. Nobody is asked twice about one thing.

    `ranked` are the candidates, the likeliest first, of whom those in `unsure` are guesses; `passed` who said "not
    mine", in their order. After DEPTH of them, or when guesses alone are left, the team is asked, where one is known
    with a channel and a default person who did not pass; then the guesses; then policy's fallback.
    """
    out = {email.lower() for email in passed}
    left = [email for email in ranked if email not in out and can(email)] if len(out) < DEPTH else []
    for email in left:
        if not out or email not in unsure:
            return AskNext(email=email)
    if out and team is not None and team.channel:
        default = next((one for one in (_lower(team.default), _lower(fallback)) if one and one not in out), None)
        if default is not None and can(default):
            return AskTeam(team=team, channel=team.channel, default=default)
    if left:
        return AskNext(email=left[0])
    last = _lower(fallback)
    return AskNext(email=last) if last and last not in out and can(last) else AskNobody()


def _lower(email: str | None) -> str | None:
    return email.lower() if email else None


def team_for(
    tags: Mapping[str, str], keys: Sequence[str], involved: Sequence[str], teams: Sequence[Team]
) -> Team | None:
    """Return the team to ask about an identity: the one that a tag names, else the one that the people involved share.

    `keys` are the tags that tell of owners; `involved` are those who were asked or suggested, the latest last: the
    latest one's team counts. None: no team is known.
    """
    for key in (*keys, "team", "Team"):
        found = team_named(tags.get(key, ""), teams)
        if found is not None:
            return found
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


def claim_deadline(now: datetime, within: timedelta, tz: str, working_hours: tuple[time, time]) -> datetime:
    """Return until when a team may claim: the end of work, in that zone, on the first working day after `within`."""
    here = zone(tz)
    day = (now + within).astimezone(here).date()
    while day.weekday() > 4:
        day += timedelta(days=1)
    return datetime.combine(day, working_hours[1], here)
