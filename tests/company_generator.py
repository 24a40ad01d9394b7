"""Companies made up from a seed, each with the truth of who owns what: to measure the ranking of owners against.

This shares no code with the ranking: it knows how organisations leave traces, and nothing of how traces are weighed.
It imports plain nouns alone. Its rates are guesses at an ordinary company of five hundred that tags most things, keeps
most of them as code, and is untidy in the ordinary ways. How often a trace is wrong was set before the first
measurement and is the same for all companies; how many traces there are is told by `Traces`: ORDINARY has about ten
facts an identity, SPARSE a third of that. SHOWS_AWAY and LEAD_COVERS came when managers began to be asked instead of
who is away, for which there was no rate before; they too were set before that was measured. So were the rates of what
else is wrong, which came when alike questions, asked as one, began to count as one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from nhi.identity import Custody, Evidence, Identity, Person, Team

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
DOMAIN = "acme.example"

# People
LEFT = 0.14  # have left within the last three years; Slack knows them as deactivated
MOVED = 0.10  # have changed team within the last two years
AWAY = 0.08  # are out of office when asked, for a week or two
SHOWS_AWAY = 0.6  # of those: who says so in their Slack status, and until when
LISTED_LOGIN = 0.6  # whose login at the repository's host is in the company's list
# Teams
RENAMED = 4  # of the twenty
ALIAS_LISTED = 0.75  # of a renamed team's old name
DEFAULT_NAMED = 0.9  # of teams, whom to ask for it
DEFAULT_STALE = 0.15  # of those: the lead before the present one
# Ownership
MEAN_AGE = 700.0  # days, exponential, at most 2,500
HANDED_OVER = 0.12  # though the founder is still in the team
HANDED_OVER_ON_MOVE = 0.6  # when the founder changed team
HEIR_IS_MAINTAINER = 0.7  # else the team's lead
OWN_ACCOUNT = 0.75  # lie in the account of the team that owns them
# Tags
RETAGGED = 0.4  # when it changed hands
TAG_FORMS = {"email": 0.58, "login": 0.2, "team": 0.13, "mailbox": 0.04, "full name": 0.05}
TAG_OF_ANOTHER = 0.04  # copied along with the code that it was copied from
TAG_MISSPELT = 0.02
TAG_NONSENSE = 0.02  # a cost centre, "tbd"
# The trail; in some accounts nobody may read it
TRAIL_MISSING = 0.2  # of accounts
MADE_BY = {"founder": 0.45, "robot": 0.43, "platform": 0.12}
ROTATED_BY = {"owner": 0.4, "maintainer": 0.2, "robot": 0.25, "platform": 0.15}
USERS_INCLUDE_OWNER = 0.65
USED_BY_ROBOT = 0.5
# Code
LINES_BY = {"founder": 0.5, "maintainer": 0.27, "platform": 0.14, "robot": 0.09}
COMMITS_BY = {"owner": 0.3, "maintainer": 0.3, "colleague": 0.2, "platform": 0.12, "robot": 0.08}
GIT_ADDRESS = {"work": 0.84, "noreply": 0.09, "private": 0.07}
CODEOWNERS_PERSON = 0.25  # of those; else the team's handle
CODEOWNERS_OLD_NAME = 0.5  # of renamed teams' handles
IAC_TAG = 0.8  # of what is tagged and declared: the tag stands in the code
# Names
NAMED_AFTER_TEAM = 0.32
NAMED_AFTER_OTHER_TEAM = 0.04  # whom it serves
NAMED_AFTER_FOUNDER = 0.05
# The rest
ACCOUNT_OWNER_STALE = 0.25  # the lead before the present one
ANSWERED_BEFORE = 0.08  # somebody answered for it in an earlier campaign
# What people do when they are asked
ANSWERS_A_DAY = 0.45  # the probability that somebody present answers on a given day
KNOWS_OWNER = 0.6  # of things of one's own team; a lead more often
LEAD_KNOWS_OWNER = 0.75
KNOWS_OWNER_ELSEWHERE = 0.2  # of things of other teams
SUGGESTS_WRONGLY = 0.1
LEAD_TAKES_IT = 0.8  # a lead who does not know whose it is, of what is their team's
LEAD_COVERS = 0.6  # a lead who knows whose it is, of their team, and that they are away: answers for it meanwhile
READS_CHANNEL = 0.35  # the probability that an owner who is present sees a question in their team's channel on a day
# What else is wrong with what nobody has claimed: the questions about it are about that too
ALSO_WRONG = {"unused": 0.25, "overprivileged": 0.2}
ALSO_WRONG_WITH_USERS = {"unrotated": 0.4}
ADMINISTERS = 0.1  # of what there is: can administer its account, and so is asked about by itself
ROBOTS = ("terraform", "github-actions[bot]", "jenkins", "ci-deployer", "atlantis", "svc-provisioning", "renovate[bot]")


def _words(text: str) -> list[str]:
    return text.split()


_FIRST = _words("""
    ana bea cem dora eli fay gus hana ivo jo kai lou mia noa ole pia quinn rosa sam tess uma vito wen xena yara
    zoe alba bjorn carla dimitri emre farid greta hugo ines jens karim lena marco nadia omar paula rafael sofia
    tariq
""")
_LAST = _words("""
    ruiz okafor yildiz lind novak chen meyer sato marin walsh berg petit silva kowalski haddad jansen rossi
    dubois fischer moreau larsen costa nagy popov keller weber santos ali khan patel kim tanaka garcia lopez
    muller schmidt
""")
_TEAMS = _words("""
    payments checkout platform search data-lake mobile identity billing logistics fraud growth support-tools
    observability catalog messaging pricing web-frontend machine-learning compliance internal-tools
""")
_OLD_NAMES = ("moneyworks", "phoenix", "blue-whale", "core-services", "gatekeepers", "bi-squad")
_THINGS = _words("""
    export sync backup loader worker ingest reports webhook mailer crawler reader writer replicator notifier
    importer gateway batch cache indexer scheduler-job thumbnails ledger archive cleanup probe
""")


@dataclass(frozen=True, kw_only=True)
class Traces:
    """How much a company leaves to be seen, as shares of what could have left a trace."""

    tagged: float
    declared: float  # in a checkout that policy names
    codeowners: float  # of what is declared
    authors: tuple[int, int]  # least and most that a declaration's lines have
    committers: tuple[int, int]  # least and most that a declaration's file has
    trail: float  # days that the audit trail is known for: ninety, and as long as the program has been running
    rotated: float  # of users, within the trail
    used_by_people: float  # of roles, within the trail


ORDINARY = Traces(
    tagged=0.8,
    declared=0.9,
    codeowners=0.75,
    authors=(1, 3),
    committers=(3, 6),
    trail=400,
    rotated=0.5,
    used_by_people=0.6,
)
SPARSE = Traces(
    tagged=0.62,
    declared=0.6,
    codeowners=0.5,
    authors=(1, 1),
    committers=(1, 3),
    trail=90,
    rotated=0.18,
    used_by_people=0.3,
)


@dataclass
class Employee:
    """Somebody as they are: what directories tell of them is a part of it."""

    email: str
    login: str  # before the @
    name: str
    forge: str  # the login at the repository's host
    team: int
    former_team: int | None
    moved_at: datetime | None
    left_at: datetime | None
    joined_at: datetime
    listed: bool

    def in_team(self, at: datetime) -> int:
        return self.former_team if self.former_team is not None and self.moved_at and at < self.moved_at else self.team

    def present(self, at: datetime) -> bool:
        return self.joined_at <= at and (self.left_at is None or at < self.left_at)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One identity, what can be seen of it, and the truth."""

    identity: Identity
    facts: tuple[Evidence, ...]
    owner: str  # the truth: an active person's e-mail
    team: int  # the truth


@dataclass
class Company:
    """One made-up company."""

    people: tuple[Person, ...]
    teams: tuple[Team, ...]
    accounts: dict[str, str]  # who answers for each account, as policy would name them
    cases: tuple[Case, ...]
    leads: dict[int, str] = field(default_factory=dict)
    team_of: dict[str, int] = field(default_factory=dict)


def company(seed: int, traces: Traces = ORDINARY, *, people: int = 500, identities: int = 2000) -> Company:
    """Make a company up. The same seed gives the same company."""
    return _Maker(random.Random(seed), traces, people, identities).make()


class _Maker:
    def __init__(self, dice: random.Random, traces: Traces, people: int, identities: int) -> None:
        self.dice = dice
        self.traces = traces
        self.employees = self._hire(people)
        self.leads = {number: self._lead(number) for number in range(len(_TEAMS))}
        self.old_leads = {number: self._any_of(number, NOW) for number in range(len(_TEAMS))}
        renamed = dice.sample(range(len(_TEAMS)), RENAMED)
        self.old_names = dict(zip(renamed, dice.sample(_OLD_NAMES, RENAMED), strict=True))
        self.renamed_at = {number: self._ago(100, 900) for number in renamed}
        self.silent = set(dice.sample(range(len(_TEAMS)), round(TRAIL_MISSING * len(_TEAMS))))
        self.count = identities

    def make(self) -> Company:
        tagged: list[str] = []
        cases = tuple(self._case(number, tagged) for number in range(self.count))
        return Company(
            people=tuple(self._person(one) for one in self.employees),
            teams=tuple(self._team(number) for number in range(len(_TEAMS))),
            accounts={_account(number): self._account_owner(number).email for number in range(len(_TEAMS))},
            cases=cases,
            leads={number: lead.email for number, lead in self.leads.items()},
            team_of={one.email: one.team for one in self.employees},
        )

    # People and teams

    def _hire(self, count: int) -> list[Employee]:
        taken: dict[str, int] = {}
        hired = []
        sizes = [self.dice.uniform(0.5, 2.0) for _ in _TEAMS]
        for _ in range(count):
            first, last = self.dice.choice(_FIRST), self.dice.choice(_LAST)
            login = f"{first}.{last}"
            taken[login] = taken.get(login, 0) + 1
            login += str(taken[login]) if taken[login] > 1 else ""
            team = self.dice.choices(range(len(_TEAMS)), sizes)[0]
            moved = self.dice.random() < MOVED
            hired.append(
                Employee(
                    email=f"{login}@{DOMAIN}",
                    login=login,
                    name=f"{first.title()} {last.title()}",
                    forge=f"{first[:2]}{last}{self.dice.randrange(100)}",
                    team=team,
                    former_team=self.dice.randrange(len(_TEAMS)) if moved else None,
                    moved_at=self._ago(30, 730) if moved else None,
                    left_at=self._ago(10, 1000) if self.dice.random() < LEFT else None,
                    joined_at=self._ago(1000, 3500) if self.dice.random() < 0.7 else self._ago(120, 1000),
                    listed=self.dice.random() < LISTED_LOGIN,
                )
            )
        return hired

    def _lead(self, team: int) -> Employee:
        long_here = [one for one in self._members(team, NOW) if one.joined_at < NOW - timedelta(days=300)]
        return self.dice.choice(long_here or self._members(team, NOW))

    def _members(self, team: int, at: datetime) -> list[Employee]:
        return [one for one in self.employees if one.present(at) and one.in_team(at) == team]

    def _any_of(self, team: int, at: datetime) -> Employee:
        return self.dice.choice(self._members(team, at) or self._members(team, NOW))

    def _person(self, one: Employee) -> Person:
        manager = self.leads[one.team]
        return Person(
            email=one.email,
            slack_id="U" + one.login.replace(".", "").upper(),
            name=one.name,
            tz="Europe/Berlin",
            active=one.left_at is None,
            handle=one.login,
            aliases=(one.forge,) if one.listed else (),
            manager=None if manager is one else manager.email,
        )

    def _team(self, number: int) -> Team:
        name = _TEAMS[number]
        aliases = [f"{name}@{DOMAIN}", f"@acme/{name}"]
        if number in self.old_names and self.dice.random() < ALIAS_LISTED:
            aliases.append(self.old_names[number])
        default = self.old_leads[number] if self.dice.random() < DEFAULT_STALE else self.leads[number]
        return Team(
            name=name,
            aliases=tuple(aliases),
            members=tuple(one.email for one in self.employees if one.team == number),
            default=default.email if self.dice.random() < DEFAULT_NAMED else None,
            channel="#" + name,
        )

    def _account_owner(self, number: int) -> Employee:
        return self.old_leads[number] if self.dice.random() < ACCOUNT_OWNER_STALE else self.leads[number]

    # Identities

    def _case(self, number: int, tagged: list[str]) -> Case:
        made_at = NOW - timedelta(days=min(self.dice.expovariate(1 / MEAN_AGE), 2500.0) + 1)
        team = self.dice.randrange(len(_TEAMS))
        founder = self._any_of(team, made_at)
        maintainer = self._any_of(team, NOW)
        owner = self._owner(founder, maintainer, team)
        is_role = self.dice.random() < 0.5
        name = self._name(team, founder, number)
        where = team if self.dice.random() < OWN_ACCOUNT else self.dice.randrange(len(_TEAMS))
        identity = Identity(
            provider="aws",
            kind="iam_role" if is_role else "iam_user",
            account=_account(where),
            key=f"AIDA{number:06d}",
            name=name,
            principal=f"arn:aws:iam::{_account(where)}:{'role' if is_role else 'user'}/{name}",
            custody=Custody.NOBODY if is_role else Custody.OURS,
            created_at=made_at,
            last_used_at=None,
        )
        handed_at = self._handed_at(made_at, founder, team)
        hand = _Hand(self, identity, team, made_at, handed_at, founder, maintainer, owner)
        if self.dice.random() < self.traces.tagged:
            value = hand.tag(tagged)
            tagged.append(value)
            identity = replace(identity, tags={self.dice.choice(["owner", "Owner"]): value})
            hand.identity = identity
        facts = [*hand.trail(silent=where in self.silent), *hand.code(), *hand.answers()]
        return Case(identity=identity, facts=tuple(facts), owner=owner.email, team=team)

    def _owner(self, founder: Employee, maintainer: Employee, team: int) -> Employee:
        """Return who answers for it now: the founder, unless they have gone, moved on or handed it over."""
        if founder.left_at is None:
            gone = founder.team != team
            if self.dice.random() >= (HANDED_OVER_ON_MOVE if gone else HANDED_OVER):
                return founder
        return maintainer if self.dice.random() < HEIR_IS_MAINTAINER else self.leads[team]

    def _handed_at(self, made_at: datetime, founder: Employee, team: int) -> datetime:
        """Return when whoever owns it now took over, if that is not the founder: when they left, moved, or some day."""
        if founder.left_at is not None:
            return founder.left_at
        if founder.team != team and founder.moved_at is not None and founder.moved_at > made_at:
            return founder.moved_at
        return made_at + (NOW - made_at) * self.dice.random()

    def _name(self, team: int, founder: Employee, number: int) -> str:
        thing = self.dice.choice(_THINGS)
        roll = self.dice.random()
        if roll < NAMED_AFTER_FOUNDER:
            return f"{founder.login.replace('.', '-')}-{thing}-{number}"
        if roll < NAMED_AFTER_FOUNDER + NAMED_AFTER_TEAM:
            return f"svc-{_TEAMS[team]}-{thing}-{number}"
        if roll < NAMED_AFTER_FOUNDER + NAMED_AFTER_TEAM + NAMED_AFTER_OTHER_TEAM:
            return f"{self.dice.choice(_TEAMS)}-{thing}-{number}"
        return f"{thing}-{self.dice.choice(['prod', 'eu', 'v2', 'daily', 'tmp'])}-{number}"

    def _ago(self, least: int, most: int) -> datetime:
        return NOW - timedelta(days=self.dice.uniform(least, most))


def _account(number: int) -> str:
    return f"{300000000000 + number}"


@dataclass
class _Hand:
    """The traces that one identity's life has left."""

    maker: _Maker
    identity: Identity
    team: int
    made_at: datetime
    handed_at: datetime
    founder: Employee
    maintainer: Employee
    owner: Employee

    @property
    def dice(self) -> random.Random:
        return self.maker.dice

    @property
    def traces(self) -> Traces:
        return self.maker.traces

    def _trail_days(self) -> float:
        return min(self.traces.trail, (NOW - self.made_at) / timedelta(days=1))

    def tag(self, others: Sequence[str]) -> str:
        roll = self.dice.random()
        if roll < TAG_OF_ANOTHER and others:
            return self.dice.choice(others)
        if roll < TAG_OF_ANOTHER + TAG_NONSENSE:
            return self.dice.choice(["tbd", "CC-4711", "n/a", "-", "unknown", "Engineering"])
        named = self.owner if self.owner is self.founder or self.dice.random() < RETAGGED else self.founder
        form = self._one(TAG_FORMS)
        if form == "team":
            return self._team_name(self.made_at)
        if form == "mailbox":
            return f"{_TEAMS[self.team]}@{DOMAIN}"
        value = {"email": named.email, "login": named.login, "full name": named.name}[form]
        return self._misspell(value) if self.dice.random() < TAG_MISSPELT else value

    def _team_name(self, at: datetime) -> str:
        renamed_at = self.maker.renamed_at.get(self.team)
        if renamed_at and at < renamed_at:
            return self.maker.old_names[self.team]
        return self.dice.choice([_TEAMS[self.team], "Team " + _TEAMS[self.team].title()])

    def _misspell(self, value: str) -> str:
        place = self.dice.randrange(1, len(value.partition("@")[0]) - 1)
        return value[:place] + value[place + 1] + value[place] + value[place + 2 :]

    def trail(self, *, silent: bool) -> Iterator[Evidence]:
        """Yield what the audit trail tells, where it may be read."""
        if silent:
            return
        if self.made_at > NOW - timedelta(days=self.traces.trail):
            by = self._who(MADE_BY, self.made_at)
            yield self._fact("creator", f"CreateUser by {by}", by, self.made_at)
        if self.identity.kind == "iam_user" and self.dice.random() < self.traces.rotated:
            at = self._between(self._trail_days())
            by = self._who(ROTATED_BY, at)
            yield self._fact("rotator", f"CreateAccessKey by {by}", by, at)
        if self.identity.kind == "iam_role":
            yield from self._uses()

    def _uses(self) -> Iterator[Evidence]:
        if self.dice.random() < USED_BY_ROBOT:
            robot = self.dice.choice(ROBOTS)
            yield self._fact("session", f"{robot} assumed it", robot, self._between(5))
        if self.dice.random() >= self.traces.used_by_people:
            return
        at = self._between(self._trail_days())
        users = {self._owner_then(at).email} if self.dice.random() < USERS_INCLUDE_OWNER else set()
        users |= {self._colleague(at).email for _ in range(self.dice.randrange(0 if users else 1, 3))}
        for email in sorted(users):
            yield self._fact("session", f"{email} assumed it", email, at)

    def code(self) -> Iterator[Evidence]:
        """Yield what repositories tell of what is declared in them."""
        if self.dice.random() >= self.traces.declared:
            return
        for _ in range(self.dice.randint(*self.traces.authors)):
            whose = self._one(LINES_BY)  # most lines are as old as the thing, unless somebody went over them later
            written_at = self._soon_after_making() if whose == "founder" else self._since_making()
            author = self._name_in_git(whose, written_at)
            yield self._fact("blame", f"{author} wrote main.tf:{self.identity.key}", author, written_at)
        latest: dict[str, datetime] = {}
        for _ in range(self.dice.randint(*self.traces.committers)):
            at = self._between(min(500.0, (NOW - self.made_at) / timedelta(days=1)))  # the last commits are late ones
            who = self._name_in_git(self._one(COMMITS_BY), at)
            latest[who] = max(at, latest.get(who, at))
        for who, at in latest.items():
            yield self._fact("committer", f"{who} changed main.tf", who, at)
        if self.dice.random() < self.traces.codeowners:
            yield self._codeowners()
        for key, value in self.identity.tags.items():
            if self.dice.random() < IAC_TAG:
                yield self._fact("iac_tag", f"{key}={value} in main.tf", value, None)

    def _codeowners(self) -> Evidence:
        if self.dice.random() < CODEOWNERS_PERSON:
            who = self.owner if self.dice.random() < 0.6 else self.maker.leads[self.team]
            return self._fact("codeowners", f"CODEOWNERS names {who.email}", who.email, None)
        old = self.maker.old_names.get(self.team)
        name = old if old and self.dice.random() < CODEOWNERS_OLD_NAME else _TEAMS[self.team]
        return self._fact("codeowners", f"CODEOWNERS names @acme/{name}", f"@acme/{name}", None)

    def answers(self) -> Iterator[Evidence]:
        if self.dice.random() < ANSWERED_BEFORE:
            at = self.maker._ago(80, 400)
            who = self.founder if at < self.made_at + timedelta(days=200) else self.owner
            if who.present(at) and at > self.made_at:
                yield self._fact("attestation", f"{who.email} justified it", who.email, at)

    def _who(self, rates: dict[str, float], at: datetime) -> str:
        chosen = self._one(rates)
        return self.dice.choice(ROBOTS) if chosen == "robot" else self._somebody(chosen, at).email

    def _name_in_git(self, chosen: str, at: datetime) -> str:
        return self.dice.choice(ROBOTS) if chosen == "robot" else self._git_address(self._somebody(chosen, at))

    def _somebody(self, chosen: str, at: datetime) -> Employee:
        """Return who did it then. Who was not here yet, or no longer, did nothing: somebody of the team did."""
        somebody: dict[str, Callable[[], Employee]] = {
            "founder": lambda: self.founder,
            "maintainer": lambda: self.maintainer,
            "owner": lambda: self._owner_then(at),
            "colleague": lambda: self._colleague(at),
            "platform": lambda: self.maker._any_of(_TEAMS.index("platform"), at),
        }
        who = somebody[chosen]()
        return who if who.present(at) else self._colleague(at)

    def _owner_then(self, at: datetime) -> Employee:
        return self.owner if at >= self.handed_at else self.founder

    def _git_address(self, who: Employee) -> str:
        match self._one(GIT_ADDRESS):
            case "noreply":
                return f"{self.dice.randrange(10**7)}+{who.forge}@users.noreply.github.com"
            case "private":
                return f"{who.forge}@mail.example"
            case _:
                return who.email

    def _colleague(self, at: datetime) -> Employee:
        return self.maker._any_of(self.team, at)

    def _soon_after_making(self) -> datetime:
        """Return a day in the first months; when the founder was still there."""
        latest = min(NOW, self.founder.left_at or NOW)
        return min(self.made_at + timedelta(days=self.dice.expovariate(1 / 90)), latest)

    def _since_making(self) -> datetime:
        return self.made_at + (NOW - self.made_at) * self.dice.random()

    def _one(self, rates: dict[str, float]) -> str:
        return self.dice.choices(list(rates), list(rates.values()))[0]

    def _between(self, days: float) -> datetime:
        return NOW - timedelta(days=self.dice.uniform(0, max(days, 0.5)))

    def _fact(self, source: str, fact: str, points_to: str, at: datetime | None) -> Evidence:
        return Evidence(source=source, fact=fact, points_to=points_to, at=at, identity_key=self.identity.key)
