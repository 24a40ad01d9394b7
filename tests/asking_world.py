"""Ten working days of asking a made-up company's people who owns what: truthful, busy, sometimes away.

The engine's own rules say whom to ask, when to remind and when to go to the manager; how people answer is told by
tests/company_generator.py. A person who is no owner says so, and often who is. A lead may take what is their team's.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nhi.escalation import Ask, Escalate, History, Remind, next_step
from nhi.identity import Evidence
from nhi.ownership import Directory, explain
from nhi.passing import AskNext, next_to_ask
from nhi.policy import Policy
from tests import company_generator as made
from tests.company_generator import NOW, Case, Company

CARDS_A_DAY = 6
ASK_ABOVE = 0.1  # confidence: below the threshold nobody is known, but they may be asked


@dataclass
class Thing:
    """One identity, and what has been said about it."""

    case: Case
    facts: list[Evidence]
    asked: str | None = None
    history: History = field(default_factory=History)
    passed: list[str] = field(default_factory=list)
    questions: int = 0
    silent: list[str] = field(default_factory=list)  # who was asked and told of to their manager
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
            candidate = thing.asked or self._next(thing, now)
            lately = [at for at in self._asked_lately.get(candidate or "", []) if at > now - timedelta(days=7)]
            left = min(self._policy.conversation.questions_a_week - len(lately), CARDS_A_DAY - today[candidate or ""])
            manager = self._manager(thing.asked)
            step = next_step(
                thing.history,
                candidate=candidate,
                tz="UTC",
                questions_left=left,
                policy=self._policy.conversation,
                now=now,
                manager_known=manager is not None,
            )
            match step:
                case Ask(email=email):
                    self._put(thing, email, now)
                    today[email] += 1
                case Remind(number=number):
                    thing.history = History(open_since=thing.history.open_since, reminders=number, last_step_at=now)
                case Escalate(to="manager") if manager is not None:
                    self._put(thing, manager, now)
                case _:
                    pass

    def _put(self, thing: Thing, email: str, now: datetime) -> None:
        if thing.asked is not None:
            thing.silent.append(thing.asked)
        thing.asked, thing.questions = email, thing.questions + 1
        thing.history = History(open_since=now, last_step_at=now)
        self._asked_lately.setdefault(email, []).append(now)

    def _next(self, thing: Thing, now: datetime) -> str | None:
        told = explain(
            thing.facts, directory=self._directory, people=self._policy.people, owners=self._policy.owners, now=now
        )
        ranked = [one.email for one in told.likely or told.possible if one.confidence >= ASK_ABOVE]
        found = next_to_ask(
            ranked,
            passed=thing.passed,
            team=None,
            fallback=self._policy.owners.fallback,
            can=lambda email: (found := self._directory.find(email)) is not None and found.may_own,
        )
        return found.email if isinstance(found, AskNext) else None

    def _manager(self, email: str | None) -> str | None:
        person = self._directory.find(email) if email else None
        return person.manager if person else None

    def _answer(self, now: datetime) -> None:
        for thing in self.things:
            who = thing.asked
            if thing.owner is not None or who is None or self._away.get(who, NOW) > now:
                continue
            if self._dice.random() < made.ANSWERS_A_DAY:
                self._say(thing, who, now)

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
        thing.passed += [who, *thing.silent]
        thing.asked, thing.history = None, History()

    def _colleague(self, team: int) -> str:
        there = [one.email for one in self._company.people if one.active and self._company.team_of[one.email] == team]
        return self._dice.choice(there)
