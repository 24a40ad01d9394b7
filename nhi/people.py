"""People as several sources tell of them: merged by e-mail, with managers, teams, and who leaves when. Pure.

The company's list (CSV), its identity provider (SCIM) and Slack each say something of a person. Nobody is forgotten:
what a source said last of somebody who is no longer in it still counts, so a leaver's manager is known later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from nhi.identity import Person, Team
from nhi.naming import team_forms
from nhi.policy import NEVER
from nhi.words import sentence

# Where sources disagree, the first that says something is believed: a person wrote the company's list on purpose.
SOURCES = ("csv", "scim", "slack")
LONGEST_CHAIN = 20  # of managers; no company is deeper, and a garbled list must not keep anybody busy


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one source says of one person. Addresses are in lower case; None: the source does not say."""

    email: str
    name: str = ""
    manager: str | None = None  # an e-mail address
    team: str | None = None
    team_channel: str | None = None
    team_default: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None  # the last day
    aliases: tuple[str, ...] = ()  # other addresses
    logins: tuple[str, ...] = ()
    active: bool | None = None


class People:
    """Everybody that any source told of, found by address or alias."""

    def __init__(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Take (source, entry) pairs, each source's newest word on a person last."""
        told: dict[str, dict[str, Entry]] = {}
        for source, entry in entries:
            told.setdefault(entry.email, {})[source] = entry
        self._people = {email: merge(by_source) for email, by_source in told.items()}
        self._alias = _unambiguous(
            (alias, one.email) for one in self._people.values() for alias in one.aliases if alias not in self._people
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._people.values())

    def find(self, email: str | None) -> Entry | None:
        """Return what is known of this address; None: nothing, or it stands for several people."""
        if email is None:
            return None
        email = email.lower()
        return self._people.get(email) or self._people.get(self._alias.get(email, ""))

    def managers(self, email: str) -> Managers:
        """Return the managers above somebody, the nearest first."""
        return managers(email, self.find)

    def manager(self, email: str, can: Callable[[str], bool]) -> str | None:
        """Return the nearest manager who can answer; None: there is nobody above them who can."""
        return next((above for above in self.managers(email).emails if can(above)), None)


def merge(by_source: Mapping[str, Entry]) -> Entry:
    """Return one entry from what each source says: the first that says something counts, aliases and logins add up.

    Somebody is inactive as soon as one source says so: who left one system is leaving.
    """
    ordered = sorted(by_source.items(), key=lambda pair: SOURCES.index(pair[0]) if pair[0] in SOURCES else 99)
    entries = [entry for _, entry in ordered]
    said = {one.active for one in entries}
    return Entry(
        email=entries[0].email,
        name=next((one.name for one in entries if one.name), ""),
        manager=next((one.manager for one in entries if one.manager), None),
        team=next((one.team for one in entries if one.team), None),
        team_channel=next((one.team_channel for one in entries if one.team_channel), None),
        team_default=next((one.team_default for one in entries if one.team_default), None),
        starts_on=next((one.starts_on for one in entries if one.starts_on), None),
        ends_on=next((one.ends_on for one in entries if one.ends_on), None),
        aliases=tuple(dict.fromkeys(alias for one in entries for alias in one.aliases)),
        logins=tuple(dict.fromkeys(login for one in entries for login in one.logins)),
        active=False if False in said else (True if True in said else None),
    )


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return name to address, without the names that stand for more than one address: nobody is guessed."""
    found: dict[str, set[str]] = {}
    for name, email in pairs:
        found.setdefault(name, set()).add(email)
    return {name: next(iter(emails)) for name, emails in found.items() if len(emails) == 1}


@dataclass(frozen=True, kw_only=True)
class Managers:
    """The chain above somebody, the nearest first. `cyclic`: it comes back to somebody who is in it already."""

    emails: tuple[str, ...]
    cyclic: bool = False


def managers(email: str, find: Callable[[str], Entry | None]) -> Managers:
    """Walk up from somebody to the top, or to where the chain bites its tail."""
    person = find(email)
    seen = {email.lower(), person.email if person else email.lower()}
    chain: list[str] = []
    while person is not None and person.manager and len(chain) < LONGEST_CHAIN:
        above = find(person.manager)
        name = above.email if above else person.manager.lower()
        if name in seen:
            return Managers(emails=tuple(chain), cyclic=True)
        chain.append(name)
        seen.add(name)
        person = above
    return Managers(emails=tuple(chain))


def cycles(people: People) -> tuple[tuple[str, ...], ...]:
    """Return each circle of managers once, beginning with its first address in the alphabet."""
    found: set[tuple[str, ...]] = set()
    settled: set[str] = set()
    for start in people:
        path: list[str] = []
        person: Entry | None = start
        while person is not None and person.email not in settled and person.email not in path:
            path.append(person.email)
            person = people.find(person.manager)
        if person is not None and person.email in path:
            circle = path[path.index(person.email) :]
            at = circle.index(min(circle))
            found.add((*circle[at:], *circle[:at]))
        settled.update(path)
    return tuple(sorted(found))


def with_told(person: Person, told: Entry | None, today: date) -> Person:
    """Return a person of Slack's directory with what other sources know of them: other names, manager, departure."""
    if told is None:
        return person
    names = dict.fromkeys((told.email, *told.aliases, *told.logins))
    return replace(
        person,
        active=person.active and not has_left(told, today),
        aliases=tuple(name for name in names if name != person.email),
        manager=told.manager,
    )


def has_left(told: Entry, today: date) -> bool:
    """Whether somebody is gone by what sources say: switched off, or past the last day. On it they are still here."""
    return told.active is False or (told.ends_on is not None and told.ends_on < today)


# -- teams -------------------------------------------------------------------------------------------------------------


def teams(named: Sequence[Team], people: People) -> tuple[Team, ...]:
    """Return the teams that policy names, and those that sources tell of; policy's word on a team counts first."""
    members: dict[str, list[Entry]] = {}
    for one in people:
        if one.team:
            members.setdefault(one.team.casefold(), []).append(one)
    found = []
    for team in named:
        told = [one for name in (team.name, *team.aliases) for one in members.pop(name.casefold(), [])]
        found.append(_team(team, told))
    return (*found, *(_team(Team(name=told[0].team or name), told) for name, told in members.items()))


def _team(team: Team, told: Sequence[Entry]) -> Team:
    return Team(
        name=team.name,
        aliases=team.aliases,
        members=tuple(dict.fromkeys((*team.members, *(one.email for one in told)))),
        default=team.default or next((one.team_default for one in told if one.team_default), None),
        channel=team.channel or next((one.team_channel for one in told if one.team_channel), None),
    )


def team_named(name: str, among: Sequence[Team]) -> Team | None:
    """Return the team that a tag's value names by its name, an alias or its channel, in any spelling; None: no team."""
    wanted = set(team_forms(name.strip().removeprefix("#")))
    for team in among:
        names = (team.name, *team.aliases, (team.channel or "").removeprefix("#"))
        if wanted & {form for one in names for form in team_forms(one)}:
            return team
    return None


def team_of(email: str, among: Sequence[Team]) -> Team | None:
    """Return the team that somebody is in; None: in none, or in several."""
    found = [team for team in among if email.lower() in [member.lower() for member in team.members]]
    return found[0] if len(found) == 1 else None


# -- who leaves --------------------------------------------------------------------------------------------------------


class Reason(StrEnum):
    """How we know that somebody leaves or has left."""

    ANNOUNCED = "announced"  # their last day is known and near
    ENDED = "ended"  # their last day is past
    DEACTIVATED = "deactivated"  # in Slack, or in the identity provider
    UNABLE = "unable"  # still in Slack, but as a guest, who cannot answer for anything
    UNRESOLVED = "unresolved"  # their address belongs to nobody any more


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Somebody who leaves (`left` is False) or has left. `last_day` None: nobody told it."""

    email: str
    reason: Reason
    last_day: date | None

    @property
    def left(self) -> bool:
        return self.reason is not Reason.ANNOUNCED


def departure(
    email: str, *, slack: Person | None, told: Entry | None, today: date, notice: timedelta
) -> Departure | None:
    """Return how somebody leaves or left; None: they stay.

    `slack` None means that the address belongs to nobody in Slack, though it did. `today` is the day where they are.
    An announced last day counts from `notice` before it; on that day itself they are still here.
    """
    last_day = told.ends_on if told else None

    def because(reason: Reason) -> Departure:
        return Departure(email=email, reason=reason, last_day=last_day)

    if last_day is not None and last_day < today:
        return because(Reason.ENDED)
    if (told is not None and told.active is False) or (slack is not None and not slack.active):
        return because(Reason.DEACTIVATED)
    if slack is None:
        return because(Reason.UNRESOLVED)
    if not slack.may_own:
        return because(Reason.UNABLE)
    if last_day is not None and (notice == NEVER or last_day <= today + notice):
        return because(Reason.ANNOUNCED)
    return None


@dataclass(frozen=True, kw_only=True)
class Heir:
    """Somebody to propose for what a leaver owned, and why them, in facts."""

    email: str
    why: tuple[str, ...]


def heir(
    ranked: Sequence[tuple[str, tuple[str, ...]]],
    *,
    leaver: str,
    passed: Iterable[str],
    team: Team | None,
    can: Callable[[str], bool],
) -> Heir | None:
    """Return whom to propose: the likeliest by evidence, else the default person of the leaver's team; None: nobody.

    `ranked` holds addresses with their facts, the likeliest first. Whoever said no is not proposed again, nor is the
    leaver.
    """
    out = {leaver, *passed}
    for email, facts in ranked:
        if email not in out and can(email):
            return Heir(email=email, why=facts)
    default = team.default.lower() if team and team.default else None
    if team and default and default not in out and can(default):
        return Heir(email=default, why=(sentence("evidence.why_heir_of_team", team=team.name),))
    return None


# -- handing over ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What was said so far about what one leaver owns."""

    left: bool
    last_day: date | None
    leaver_asked_at: datetime | None = None
    manager_asked_at: datetime | None = None
    reminded: bool = False  # the manager was


@dataclass(frozen=True, kw_only=True)
class AskLeaver:
    pass


@dataclass(frozen=True, kw_only=True)
class AskManager:
    pass


@dataclass(frozen=True, kw_only=True)
class RemindManager:
    pass


@dataclass(frozen=True, kw_only=True)
class Release:
    """Nobody handed it over in time: the likely owners are asked by evidence, as of any identity without an owner."""


@dataclass(frozen=True, kw_only=True)
class Stay:
    pass


Step = AskLeaver | AskManager | RemindManager | Release | Stay


def next_handover_step(
    leaving: Leaving, *, leaver_can: bool, manager_known: bool, patience: timedelta, now: datetime, today: date
) -> Step:
    """Decide whom to ask next to hand over what a leaver owns.

    `patience` is how long one person has before the next is asked; the manager has it twice, with a reminder between.
    Nothing is released while the leaver is still here, as they still answer for it.
    """
    if leaver_can and not leaving.left and leaving.leaver_asked_at is None:
        return AskLeaver()
    if leaving.manager_asked_at is None:
        waits = not leaving.left and leaving.leaver_asked_at is not None
        last_call = leaving.last_day is not None and leaving.last_day <= today + timedelta(days=1)
        if waits and not last_call and leaving.leaver_asked_at and now < leaving.leaver_asked_at + patience:
            return Stay()
        if manager_known:
            return AskManager()
        return Release() if leaving.left else Stay()
    if not leaving.reminded and now >= leaving.manager_asked_at + patience:
        return RemindManager()
    if leaving.left and now >= leaving.manager_asked_at + 2 * patience:
        return Release()
    return Stay()
