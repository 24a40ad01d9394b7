"""Ten working days of asking a made-up company's people who owns what: truthful, busy, sometimes away.

The engine's own rules say whom to ask, when to remind and when to go to the manager; how people answer is told by
tests/company_generator.py. A person who is no owner says so, and often who is. A lead may take what is their team's.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from nhi.escalation import Ask, Cover, Escalate, History, Remind, next_step
from nhi.identity import Evidence
from nhi.ownership import Directory, explain, team_spoken_of
from nhi.passing import AskNext, AskTeam, Contender, Next, claim_deadline, lead_of, next_to_ask, team_for
from nhi.policy import Policy
from tests import company_generator as made
from tests.company_generator import NOW, Case, Company

CARDS_A_DAY = 6


@dataclass
class Thing:
    """One identity, and what has been said about it."""

    case: Case
    facts: list[Evidence]
    asked: str | None = None
    team: AskTeam | None = None  # asked in its channel; `asked` is its default, whose turn comes at the deadline
    deadline: datetime | None = None
    history: History = field(default_factory=History)
    passed: list[str] = field(default_factory=list)
    questions: int = 0
    told: bool = False  # whoever is asked has had a message about it: not while their manager is asked instead
    manager: str | None = None  # told of the silence, or asked instead; who was asked may still answer
    owner: str | None = None


class Asking:
    """The company while it is being asked."""

    def __init__(self, company: Company, directory: Directory, policy: Policy, facts: list[list[Evidence]]) -> None:
        self._company = company
        self._directory = directory
        self._policy = policy
        self._dice = random.Random(7)
        self.things = [Thing(case, list(found)) for case, found in zip(company.cases, facts, strict=True)]
        self._away = {
            person.email: NOW + timedelta(days=self._dice.choice([3, 7, 14]))
            for person in company.people
            if person.active and self._dice.random() < made.AWAY
        }
        status = random.Random(8)
        self._says_away = {email: until for email, until in self._away.items() if status.random() < made.SHOWS_AWAY}
        self._asked_lately: dict[str, list[datetime]] = {}

    def run(self, working_days: int = 10) -> None:
        day = NOW
        for _ in range(working_days):
            self._ask(day)
            self._answer(day + timedelta(hours=4))
            day += timedelta(days=3 if day.weekday() == 4 else 1)

    def _ask(self, now: datetime) -> None:
        today: Counter[str] = Counter()
        for thing in self.things:
            if thing.owner is not None:
                continue
            if thing.deadline is not None and thing.deadline <= now:
                self._hand_to_default(thing, now)
            if thing.team is not None:
                continue
            found = None if thing.asked else self._next(thing, now)
            if isinstance(found, AskTeam):
                self._put_to_team(thing, found, now)
                continue
            candidate = thing.asked or (found.email if isinstance(found, AskNext) else None)
            lately = [at for at in self._asked_lately.get(candidate or "", []) if at > now - timedelta(days=7)]
            left = min(self._policy.conversation.questions_a_week - len(lately), CARDS_A_DAY - today[candidate or ""])
            manager = self._manager(candidate)
            step = next_step(
                thing.history,
                candidate=candidate,
                tz="UTC",
                questions_left=left,
                policy=self._policy.conversation,
                now=now,
                manager_known=manager is not None,
                away_until=self._says_away.get(candidate or ""),
                cover_known=manager is not None and self._says_away.get(manager, NOW) <= now,
            )
            match step:
                case Ask(email=email):
                    self._put(thing, email, now)
                    today[email] += 1
                case Cover(email=email) if manager is not None:
                    self._put(thing, email, now, instead=manager)
                case Remind(number=number):
                    thing.history = replace(thing.history, reminders=number, last_step_at=now)
                    thing.questions += not thing.told
                    thing.told = True
                case Escalate(to="manager") if manager is not None:
                    thing.manager, thing.questions = manager, thing.questions + 1
                    thing.history = replace(thing.history, escalated_to=("manager",), last_step_at=now)
                case _:
                    pass

    def _put(self, thing: Thing, email: str, now: datetime, *, instead: str | None = None) -> None:
        """Ask somebody, or their manager in their stead."""
        thing.asked, thing.questions = email, thing.questions + 1
        thing.told, thing.manager = instead is None, instead
        told = ("manager",) if instead else ()
        thing.history = History(open_since=now, last_step_at=now, escalated_to=told)
        self._asked_lately.setdefault(email, []).append(now)

    def _put_to_team(self, thing: Thing, found: AskTeam, now: datetime) -> None:
        """Ask a team in its channel: one more question about this thing, whoever reads it."""
        hours = self._policy.conversation.working_hours
        thing.team, thing.asked, thing.questions = found, found.default, thing.questions + 1
        thing.deadline = claim_deadline(now, self._policy.people.claim_within, "UTC", hours)

    def _hand_to_default(self, thing: Thing, now: datetime) -> None:
        """Ask the default person: a question of their own, and so one more."""
        assert thing.asked is not None
        thing.team = thing.deadline = None
        self._put(thing, thing.asked, now)

    def _next(self, thing: Thing, now: datetime) -> Next:
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
        return next_to_ask(
            ranked,
            passed=thing.passed,
            team=team,
            fallback=self._policy.owners.fallback,
            can=lambda email: (found := self._directory.find(email)) is not None and found.may_own,
            lead=lead_of(team, self._manager) if team else None,
        )

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
