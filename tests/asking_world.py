"""Ten working days of asking a made-up company's people who owns what: truthful, busy, sometimes away.

The engine's own rules say whom to ask, when to remind and when to go to the manager; how people answer is told by
tests/company_generator.py. A person who is no owner says so, and often who is. A lead may take what is their team's.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from nhi.digest import Item, arrange
from nhi.escalation import Ask, Cover, Escalate, History, Remind, next_step
from nhi.identity import Evidence
from nhi.ownership import Directory, explain, team_spoken_of
from nhi.passing import AskNext, AskTeam, Contender, Next, claim_deadline, lead_of, next_to_ask, team_for
from nhi.policy import Policy
from tests import company_generator as made
from tests.company_generator import NOW, Case, Company

PIECES_A_DAY = 6  # of one person: a card, or a list of alike ones


@dataclass
class Thing:
    """One identity, and what has been said about it."""

    case: Case
    facts: list[Evidence]
    also: frozenset[str]  # what else is wrong with it
    privileged: bool
    asked: str | None = None
    team: AskTeam | None = None  # asked in its channel; `asked` is its default, whose turn comes at the deadline
    deadline: datetime | None = None
    history: History = field(default_factory=History)
    passed: list[str] = field(default_factory=list)
    questions: int = 0
    told: bool = False  # whoever is asked has had a message about it: not while their manager is asked instead
    manager: str | None = None  # told of the silence, or asked instead; who was asked may still answer
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Open:
    """A thing without an owner, whom to ask about it, and what is asked along with it: things of one piece."""

    thing: Thing
    found: Next | None  # None: somebody is asked already
    piece: int


@dataclass
class Day:
    """What is to be said on one day: one message a person."""

    busy: set[str]  # had theirs
    questions: dict[str, list[Open]] = field(default_factory=lambda: defaultdict(list))
    reminders: dict[str, list[Thing]] = field(default_factory=lambda: defaultdict(list))
    silence: list[tuple[Thing, str, str]] = field(default_factory=list)  # who is asked, and who hears of it


class Asking:
    """The company while it is being asked."""

    def __init__(self, company: Company, directory: Directory, policy: Policy, facts: list[list[Evidence]]) -> None:
        self._company = company
        self._directory = directory
        self._policy = policy
        self._dice = random.Random(7)
        dice = random.Random(9)
        self.things = [
            Thing(case, list(found), _also(case, dice), dice.random() < made.ADMINISTERS)
            for case, found in zip(company.cases, facts, strict=True)
        ]
        self._away = {
            person.email: NOW + timedelta(days=self._dice.choice([3, 7, 14]))
            for person in company.people
            if person.active and self._dice.random() < made.AWAY
        }
        status = random.Random(8)
        self._says_away = {email: until for email, until in self._away.items() if status.random() < made.SHOWS_AWAY}
        self._asked_lately: dict[str, dict[int, datetime]] = defaultdict(dict)  # by person: when which piece
        self._pieces = count()

    def run(self, working_days: int = 10) -> None:
        day = NOW
        for _ in range(working_days):
            self._ask(day)
            self._answer(day + timedelta(hours=4))
            day += timedelta(days=3 if day.weekday() == 4 else 1)

    def _ask(self, now: datetime) -> None:
        day = Day(busy=self._hand_over_due(now))
        for one in self._in_order(now):
            self._decide(one, day, now)
        self._tell_of_silence(day, now)
        for things in day.reminders.values():
            for thing in things:
                thing.history = replace(thing.history, reminders=thing.history.reminders + 1, last_step_at=now)
                thing.questions += not thing.told
                thing.told = True
        for email, asked in day.questions.items():
            for one in asked:
                self._put(one.thing, email, now, one.piece)

    def _hand_over_due(self, now: datetime) -> set[str]:
        """Ask the default persons of teams whose time is over, a question of their own and so one more; return them."""
        handed: dict[str, int] = Counter()
        for thing in self.things:
            if thing.deadline is not None and thing.deadline <= now and thing.asked is not None:
                handed[thing.asked] += 1
                if handed[thing.asked] <= PIECES_A_DAY:
                    thing.team = thing.deadline = None
                    self._put(thing, thing.asked, now, next(self._pieces))
        return set(handed)

    def _in_order(self, now: datetime) -> list[Open]:
        """Return what is open as pieces: alike ones, to which one answer fits, beside each other."""
        found: dict[str, tuple[Thing, Next | None]] = {}
        items = []
        for number, thing in enumerate(self.things):
            if thing.owner is None and thing.team is None:
                next_one, alike, roughly = (None, None, None) if thing.asked else self._next(thing, now)
                found[str(number)] = thing, next_one
                items.append(
                    Item(
                        id=str(number),
                        rank=1,
                        privileged=thing.privileged,
                        alike=alike,
                        reader=next_one.email if isinstance(next_one, AskNext) else None,
                        roughly=roughly,
                    )
                )
        return [
            Open(thing=found[item.id][0], found=found[item.id][1], piece=number)
            for piece in arrange(items, a_week=self._policy.conversation.questions_a_week)
            for number in [next(self._pieces)]
            for item in piece.items
        ]

    def _decide(self, one: Open, day: Day, now: datetime) -> None:
        thing = one.thing
        if isinstance(one.found, AskTeam):
            self._put_to_team(thing, one.found, now)
            return
        candidate = thing.asked or (one.found.email if isinstance(one.found, AskNext) else None)
        manager = self._manager(candidate)
        step = next_step(
            thing.history,
            candidate=candidate,
            tz="UTC",
            questions_left=self._room(candidate, one, day, now) if candidate else 0,
            policy=self._policy.conversation,
            now=now,
            manager_known=manager is not None,
            away_until=self._says_away.get(candidate or ""),
            cover_known=manager is not None and self._says_away.get(manager, NOW) <= now,
        )
        match step:
            case Ask(email=email):
                day.questions[email].append(one)
            case Remind() if candidate is not None and candidate not in day.busy:
                day.reminders[candidate].append(thing)
            case Cover(email=email) if manager is not None:
                day.silence.append((thing, email, manager))
            case Escalate(to="manager") if manager is not None and candidate is not None:
                day.silence.append((thing, candidate, manager))
            case _:
                pass

    def _room(self, email: str, one: Open, day: Day, now: datetime) -> int:
        """Return how many more questions somebody may get: alike ones in one piece are one to its reader."""
        if email in day.busy:
            return 0
        planned = {each.piece for each in day.questions[email]}
        if one.piece in planned:
            return 1
        lately = sum(at > now - timedelta(days=7) for at in self._asked_lately[email].values())
        return min(self._policy.conversation.questions_a_week - lately, PIECES_A_DAY) - len(planned)

    def _tell_of_silence(self, day: Day, now: datetime) -> None:
        """Tell managers of who is silent, in the one message that they get; what of theirs has no room is not asked."""
        told: dict[str, int] = Counter()
        for thing, email, manager in day.silence:
            is_away = self._says_away.get(manager, NOW) > now
            if manager in day.busy or told[manager] >= PIECES_A_DAY or is_away:
                continue
            told[manager] += 1
            if thing.asked is None:
                self._put(thing, email, now, next(self._pieces), instead=manager)
            else:
                thing.manager, thing.questions = manager, thing.questions + 1
                thing.history = replace(thing.history, escalated_to=("manager",), last_step_at=now)
        for manager, number in told.items():
            kept = list(dict.fromkeys(one.piece for one in day.questions[manager]))[: PIECES_A_DAY - number]
            day.questions[manager] = [one for one in day.questions[manager] if one.piece in kept]

    def _put(self, thing: Thing, email: str, now: datetime, piece: int, *, instead: str | None = None) -> None:
        """Ask somebody, or their manager in their stead."""
        thing.asked, thing.questions = email, thing.questions + 1
        thing.told, thing.manager = instead is None, instead
        told = ("manager",) if instead else ()
        thing.history = History(open_since=now, last_step_at=now, escalated_to=told)
        if instead is None:
            self._asked_lately[email][piece] = now

    def _put_to_team(self, thing: Thing, found: AskTeam, now: datetime) -> None:
        """Ask a team in its channel: one more question about this thing, whoever reads it."""
        thing.team, thing.asked, thing.questions = found, found.default, thing.questions + 1
        talk = self._policy.conversation
        thing.deadline = claim_deadline(now, self._policy.people.claim_within, "UTC", talk)

    def _next(self, thing: Thing, now: datetime) -> tuple[Next, Hashable | None, Hashable | None]:
        """Return whom to ask, and what the question shares, also roughly, with those that the same answer fits."""
        told = explain(
            thing.facts, directory=self._directory, people=self._policy.people, owners=self._policy.owners, now=now
        )
        ranked = [
            Contender(
                email=one.email,
                confidence=one.confidence,
                sources=frozenset(fact.source for fact in one.evidence),
            )
            for one in told.likely or told.possible
        ]
        suggested = [fact.points_to for fact in thing.facts if fact.source == "not_mine_suggestion"]
        team = team_for(
            thing.case.identity.tags,
            self._policy.owners.tags,
            [*thing.passed, *suggested],
            self._company.teams,
            team_spoken_of(thing.facts, self._directory, self._policy.people),
        )
        found = next_to_ask(
            ranked,
            passed=thing.passed,
            team=team,
            fallback=self._policy.owners.fallback,
            can=lambda email: (found := self._directory.find(email)) is not None and found.may_own,
            lead=lead_of(team, self._manager) if team else None,
        )
        if not isinstance(found, AskNext):
            return found, None, None
        of_theirs = next((one.evidence for one in told.likely or told.possible if one.email == found.email), ())
        is_likely = found.email == next((one.email for one in told.likely), None)
        why = tuple(fact.fact for fact in of_theirs[:2]) if thing.also else is_likely
        roughly = thing.case.identity.account, thing.case.identity.kind, found.email, is_likely
        return found, (*roughly, thing.also, why), roughly

    def _manager(self, email: str | None) -> str | None:
        person = self._directory.find(email) if email else None
        return person.manager if person else None

    def _answer(self, now: datetime) -> None:
        for thing in self.things:
            if thing.team is not None:
                self._read_channel(thing, now)
                continue
            if thing.asked is not None and thing.told and self._answers(thing.asked, now):
                self._say(thing, thing.asked, now)
            if thing.manager is not None and thing.owner is None and self._answers(thing.manager, now):
                self._say_for(thing, thing.manager, now)

    def _answers(self, who: str, now: datetime) -> bool:
        return self._away.get(who, NOW) <= now and self._dice.random() < made.ANSWERS_A_DAY

    def _read_channel(self, thing: Thing, now: datetime) -> None:
        """Let the owner claim it, if they are in that team, are there, and look."""
        truth = thing.case.owner
        here = thing.team is not None and truth in thing.team.team.members and self._away.get(truth, NOW) <= now
        if here and self._dice.random() < made.READS_CHANNEL:
            thing.owner, thing.team, thing.deadline = truth, None, None

    def _say(self, thing: Thing, who: str, now: datetime) -> None:
        truth, lead = thing.case.owner, self._company.leads[thing.case.team]
        ours = self._company.team_of.get(who) == thing.case.team
        knows = made.LEAD_KNOWS_OWNER if who == lead else made.KNOWS_OWNER if ours else made.KNOWS_OWNER_ELSEWHERE
        if who == truth:
            thing.owner = who
        elif self._dice.random() < knows:
            wrong = self._dice.random() < made.SUGGESTS_WRONGLY
            self._pass(thing, who, now, suggestion=self._colleague(thing.case.team) if wrong else truth)
        elif who == lead and self._dice.random() < made.LEAD_TAKES_IT:
            thing.owner = who
        else:
            self._pass(thing, who, now, suggestion=None)

    def _say_for(self, thing: Thing, manager: str, now: datetime) -> None:
        """Let a manager speak of who is silent: "not theirs, but hers", or take it.

        Where it is theirs, and they are away, the manager may answer for it meanwhile; else they leave it to them.
        """
        truth, asked = thing.case.owner, thing.asked
        assert asked is not None
        is_lead = manager == self._company.leads[thing.case.team]
        if manager == truth:
            thing.owner = manager
        elif self._dice.random() < (made.LEAD_KNOWS_OWNER if is_lead else made.KNOWS_OWNER_ELSEWHERE):
            if asked != truth:
                self._pass(thing, asked, now, suggestion=truth)
            elif is_lead and self._away.get(truth, NOW) > now and self._dice.random() < made.LEAD_COVERS:
                thing.owner = manager
        elif is_lead and self._dice.random() < made.LEAD_TAKES_IT:
            thing.owner = manager

    def _pass(self, thing: Thing, who: str, now: datetime, *, suggestion: str | None) -> None:
        key = thing.case.identity.key
        thing.facts.append(
            Evidence(source="not_mine", fact="said it is not theirs", points_to=who, at=now, identity_key=key)
        )
        if suggestion is not None:
            fact = f"{who} suggested {suggestion}"
            thing.facts.append(
                Evidence(source="not_mine_suggestion", fact=fact, points_to=suggestion, at=now, identity_key=key)
            )
        thing.passed.append(who)
        thing.asked, thing.told, thing.manager, thing.history = None, False, None, History()

    def _colleague(self, team: int) -> str:
        there = [one.email for one in self._company.people if one.active and self._company.team_of[one.email] == team]
        return self._dice.choice(there)


def _also(case: Case, dice: random.Random) -> frozenset[str]:
    """Return what is wrong with it besides that nobody has claimed it."""
    rates = made.ALSO_WRONG | (made.ALSO_WRONG_WITH_USERS if case.identity.kind == "iam_user" else {})
    return frozenset(kind for kind, rate in rates.items() if dice.random() < rate)
