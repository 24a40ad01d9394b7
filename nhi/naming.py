"""Whom a name stands for: an address, a login, a Slack id, a full name, a team, or a robot. Pure.

Nothing here guesses. A name that fits nobody stays unknown (the nearest one can be offered to people, and is never
assumed); a name that fits two people stands for both.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from nhi.identity import Person, Team
from nhi.policy import People

_EMAIL = re.compile(r"^[^@\s<>\"']{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,63}$")
_SLACK_ID = re.compile(r"^[UW][A-Z0-9]{5,20}$")
_LOGIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_NOREPLY = re.compile(r"^(?:\d+\+)?([A-Za-z0-9-]+)@users\.noreply\.[a-z0-9.-]+$", re.IGNORECASE)
LONGEST_NAME = 320  # in characters: an e-mail address has no more


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Whole names that many share, or that nobody has.
_SHARED = _words("""
    admin admins administrator root system sysadmin superuser user test noreply no-reply donotreply postmaster webmaster
    hostmaster abuse support help helpdesk info contact office billing accounts ops devops sre infra infrastructure it
    security secops platform cloud aws gcp azure ec2-user ubuntu centos oracle shared service robot
""")
# Words that make a robot of a name that they are part of; a dot does not part words here: `jan.bot` is somebody.
_ROBOT_WORDS = _words("""
    bot robot ci cd cicd jenkins terraform tf atlantis spacelift pulumi ansible puppet chef packer gitlab-ci actions
    github-actions githubactions circleci buildkite travis teamcity bamboo drone argocd argo flux fluxcd codebuild
    codepipeline cloudformation dependabot renovate runner pipeline automation autodeploy deployer svc service
    serviceaccount daemon cron scheduler lambda noreply
""")
_ROBOT_MARKS = re.compile(
    r"\[bot\]|\.gserviceaccount\.com$|^github-?actions|^gitlab-?ci|^gitlab-?runner|^aws-?sdk|^botocore-session"
    r"|^i-[0-9a-f]{8,}$|^arn:|^repo:|^system:serviceaccount:|^project_\d+_bot|^circleci|^terraform-?cloud",
    re.IGNORECASE,
)
_GROUP_WORDS = _words("team teams group squad guild tribe chapter list all everyone devs developers dl grp")
_WORDS = re.compile(r"[^a-z0-9]+")


class Fit(StrEnum):
    """What a name turned out to be."""

    PERSON = "person"
    TWO = "two"  # more people than one have it
    LEFT = "left"  # somebody who cannot own any more: has left, or is a guest
    TEAM = "team"
    GROUP = "group"  # it reads like a group, but no such team is known
    ROBOT = "robot"  # a machine, or a login that many share
    OUTSIDE = "outside"  # an address outside of the company's domains
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a name stands for."""

    fit: Fit
    people: tuple[Person, ...] = ()  # of PERSON and TWO those who can own; of LEFT those who cannot
    team: Team | None = None


def is_robot(name: str) -> bool:
    """Whether a name is a machine's, or of a login that many share: nobody can be asked for it."""
    value = name.strip().lower()
    local = value.partition("@")[0]
    if _ROBOT_MARKS.search(value) or local in _SHARED:
        return True
    words = {word for word in re.split(r"[-_+/\s]+", local) if word}
    return bool(words & _ROBOT_WORDS) or (bool(words) and words <= _SHARED)


def is_group(name: str) -> bool:
    """Whether a name reads like that of several people."""
    local = plain(name).partition("@")[0]
    return bool(_GROUP_WORDS.intersection(_WORDS.split(local))) or ("/" in name and name.strip().startswith("@"))


def plain(name: str) -> str:
    """Return a name as it is compared: no case, no accents of typography, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def names_of(points_to: str, people: People) -> tuple[str, ...]:
    """Return the directory keys that a fact's literal value may stand for: e-mails in lower case, or a Slack id.

    A login stands for that name at each of the company's domains. Anything else (a sentence, a group's name with
    spaces, mark-up) stands for nobody.
    """
    value = points_to.strip().removeprefix("mailto:")
    if hidden := _NOREPLY.match(value):
        value = hidden[1]
    if _EMAIL.match(value):
        return (value.lower(),)
    if _SLACK_ID.match(value):
        return (value,)
    login = value.removeprefix("@")
    if _LOGIN.match(login):
        return tuple(f"{login.lower()}@{domain.lower()}" for domain in domains_of(people))
    return ()


def domains_of(people: People) -> tuple[str, ...]:
    """Return the company's e-mail domains: those that policy names, else those of its admins."""
    named = people.domains or tuple(admin.partition("@")[2] for admin in people.admins if "@" in admin)
    return tuple(dict.fromkeys(named))


class Directory:
    """People by address, Slack id, login and full name; teams by every name that they go by."""

    def __init__(self, people: Iterable[Person], teams: Iterable[Team] = ()) -> None:
        self._by_name: dict[str, Person] = {}  # addresses and Slack ids: one each
        self._by_login: dict[str, list[Person]] = {}  # logins, aliases and full names: perhaps several people each
        self._teams: dict[str, Team] = {}
        self._teams_of: dict[str, list[Team]] = {}
        self._seen: dict[tuple[str, tuple[str, ...]], Resolved] = {}
        for person in people:
            self._add(person)
        for team in teams:
            self._add_team(team)

    def _add(self, person: Person) -> None:
        self._by_name[person.slack_id] = person
        if person.email:
            known = self._by_name.get(person.email.lower())
            if known is None or not known.may_own:  # of two accounts with one address the one that can own counts
                self._by_name[person.email.lower()] = person
        for login in {plain(name) for name in (person.handle, person.name, *person.aliases) if name}:
            self._by_login.setdefault(login, []).append(person)

    def _add_team(self, team: Team) -> None:
        for name in (team.name, *team.aliases):
            for form in team_forms(name):
                self._teams.setdefault(form, team)
        for email in team.members:
            self._teams_of.setdefault(email.lower(), []).append(team)

    def __bool__(self) -> bool:
        return bool(self._by_name)

    @property
    def everybody(self) -> tuple[Person, ...]:
        """Everybody that is known, each once."""
        return tuple({person.slack_id: person for person in self._by_name.values()}.values())

    @property
    def teams(self) -> Mapping[str, Team]:
        """The teams, by each form of each of their names."""
        return self._teams

    def people(self, names: Iterable[str]) -> tuple[Person, ...]:
        """Return the people of these addresses or Slack ids, each once.

        An empty directory is one that could not be looked into: then an e-mail address stands for itself.
        """
        if not self._by_name:
            return tuple(_unchecked(name) for name in names if "@" in name)
        found = {self._by_name[name].slack_id: self._by_name[name] for name in names if name in self._by_name}
        return tuple(found.values())

    def find(self, name: str) -> Person | None:
        """Return the person of this e-mail or Slack id; None: not in the directory."""
        return self._by_name.get(name) or self._by_name.get(name.lower())

    def teams_of(self, person: Person) -> tuple[Team, ...]:
        """Return the teams that somebody is, or was, in."""
        return tuple(self._teams_of.get(person.email.lower(), ()))

    def resolve(self, points_to: str, policy: People) -> Resolved:
        """Return whom a fact's literal value stands for. Remembered, so that a million facts cost a few thousand."""
        key = (points_to, policy.domains or policy.admins)
        known = self._seen.get(key)
        if known is None:
            known = self._seen[key] = self._resolve(points_to[:LONGEST_NAME], policy)
        return known

    def _resolve(self, points_to: str, policy: People) -> Resolved:
        if team := self._team(points_to):
            return Resolved(Fit.TEAM, team=team)
        names = names_of(points_to, policy)
        found = self.people(names) or self._named(points_to)
        able = tuple(person for person in found if person.may_own)
        if is_robot(points_to):
            return Resolved(Fit.ROBOT)
        domains = tuple(domain.lower() for domain in domains_of(policy))
        if not self and domains:  # nobody could be looked up: an address stands for itself, if it is the company's
            able = tuple(person for person in able if person.email.partition("@")[2] in domains)
        if able:
            return Resolved(Fit.PERSON if len(able) == 1 else Fit.TWO, people=able)
        if found and self:
            return Resolved(Fit.ROBOT if all(person.bot for person in found) else Fit.LEFT, people=found)
        if is_group(points_to):
            return Resolved(Fit.GROUP)
        outside = len(names) == 1 and "@" in names[0] and names[0].partition("@")[2] not in domains
        return Resolved(Fit.OUTSIDE if outside and domains else Fit.UNKNOWN)

    def _team(self, points_to: str) -> Team | None:
        if not self._teams:
            return None
        return next((self._teams[form] for form in team_forms(points_to) if form in self._teams), None)

    def _named(self, points_to: str) -> tuple[Person, ...]:
        """Return who has this login, alias or full name; one that more have than one stands for all of them."""
        value = points_to.strip().removeprefix("mailto:")
        if hidden := _NOREPLY.match(value):
            value = hidden[1]
        found = self._by_login.get(plain(value.removeprefix("@")), [])
        able = [person for person in found if person.may_own]
        return tuple({person.slack_id: person for person in able or found}.values())

    def nearest(self, points_to: str, policy: People) -> str | None:
        """Return the address, or the team's name, that a misspelt one may mean, to be offered and never assumed.

        None: none is near.
        """
        wanted = next(iter(names_of(points_to, policy)), plain(points_to))
        able = {name: person.email for name, person in self._by_name.items() if "@" in name and person.may_own}
        able |= {name: who[0].email for name, who in self._by_login.items() if len(who) == 1 and who[0].may_own}
        near = difflib.get_close_matches(wanted, able, n=1, cutoff=0.85)
        return able[near[0]] if near else self._nearest_team(points_to)

    def _nearest_team(self, points_to: str) -> str | None:
        if "@" in points_to.lstrip("@"):
            return None  # an address is nobody's short name
        names = {name: team.name for form, team in self._teams.items() for name in (form, f"{form}-team")}
        near = [found for form in team_forms(points_to) for found in difflib.get_close_matches(form, names, 1, 0.85)]
        return names[near[0]] if near else None


def team_forms(name: str) -> tuple[str, ...]:
    """Return the forms in which a team's name is compared: `Team Payments`, `@acme/payments` and `payments` are one."""
    value = plain(name).removeprefix("mailto:")
    if "@" in value and not value.startswith("@"):
        return (value,)  # an address is itself, and nothing shorter: `ana@` must not be the team Ana
    value = value.removeprefix("@").rpartition("/")[2]
    words = [word for word in _WORDS.split(value) if word]
    short = [word for word in words if word not in ("team", "squad", "group", "the")]
    return tuple(dict.fromkeys(form for form in ("-".join(words), "-".join(short)) if form))


def _unchecked(email: str) -> Person:
    return Person(email=email, slack_id=email, name=email, tz="UTC", active=True)
