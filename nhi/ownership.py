"""Who is answerable, as far as evidence tells: pure.

Each source of evidence carries a weight in log-odds and a half-life: agreeing facts add up, old ones fade, and "not
mine" speaks against. Below the policy's threshold the answer is *nobody known*.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nhi.identity import Evidence, Identity, Person
from nhi.policy import Owners, People

# log-odds that the person a fact points to is the owner, and after what time the fact is worth half.
# A tag is somebody's deliberate statement. Who made a thing once may only have been asked to.
WEIGHTS: dict[str, tuple[float, timedelta | None]] = {
    "tag": (3.2, None),
    "creator": (2.0, timedelta(days=720)),
    "not_mine": (-6.0, None),
    "not_mine_suggestion": (2.4, timedelta(days=365)),
    "fallback": (0.0, None),
}
PRIOR = -1.0  # before any fact, somebody named at random is not the owner

_EMAIL = re.compile(r"^[^@\s<>\"']{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,63}$")
_SLACK_ID = re.compile(r"^[UW][A-Z0-9]{5,20}$")
_LOGIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@dataclass(frozen=True, kw_only=True)
class LikelyOwner:
    """Somebody who may be the owner, with every reason, the strongest first."""

    email: str
    confidence: float  # 0 to 1
    evidence: tuple[Evidence, ...]


def tag_evidence(identity: Identity, policy: Owners) -> tuple[Evidence, ...]:
    """Return what the identity's own tags say about its owner, in the policy's order of keys."""
    return tuple(
        Evidence(
            source="tag",
            fact=f"{key}={identity.tags[key]}"[:1000],
            points_to=identity.tags[key].strip(),
            at=None,
            identity_key=identity.key,
        )
        for key in policy.tags
        if identity.tags.get(key, "").strip()
    )


def names_of(points_to: str, people: People) -> tuple[str, ...]:
    """Return the directory keys that a fact's literal value may stand for: e-mails in lower case, or a Slack id.

    A login stands for that name at each of the company's domains. Anything else (a sentence, a group's name with
    spaces, mark-up) stands for nobody.
    """
    value = points_to.strip().removeprefix("mailto:")
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


def rank(
    evidence: Iterable[Evidence],
    *,
    directory: Sequence[Person] | Directory,
    people: People,
    owners: Owners,
    now: datetime,
) -> tuple[LikelyOwner, ...]:
    """Return the likely owners, the likeliest first, none below the threshold.

    Only people who can own count: unknown, deactivated, guest and bot users do not.
    """
    known = directory if isinstance(directory, Directory) else Directory(directory)
    facts: dict[str, list[tuple[float, Evidence]]] = {}
    for fact in evidence:
        weight = _weight(fact, now)
        for person in known.people(names_of(fact.points_to, people)):
            if person.may_own and weight:
                facts.setdefault(person.email, []).append((weight, fact))
    ranked = [
        LikelyOwner(
            email=email,
            confidence=round(_logistic(PRIOR + sum(weight for weight, _ in found)), 4),
            evidence=tuple(fact for _, fact in sorted(found, key=lambda pair: -abs(pair[0]))),
        )
        for email, found in facts.items()
    ]
    good = [owner for owner in ranked if owner.confidence >= owners.threshold]
    return tuple(sorted(good, key=lambda owner: (-owner.confidence, owner.email)))


class Directory:
    """People by e-mail and by Slack id."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._by_name: dict[str, Person] = {}
        for person in people:
            self._by_name[person.slack_id] = person
            if person.email:
                self._by_name[person.email.lower()] = person

    def people(self, names: Iterable[str]) -> tuple[Person, ...]:
        """Return the people of these names, each once.

        An empty directory is one that could not be looked into: then an e-mail address stands for itself.
        """
        if not self._by_name:
            return tuple(_unchecked(name) for name in names if "@" in name)
        found = {self._by_name[name].slack_id: self._by_name[name] for name in names if name in self._by_name}
        return tuple(found.values())

    def find(self, name: str) -> Person | None:
        """Return the person of this e-mail or Slack id; None: not in the directory."""
        return self._by_name.get(name) or self._by_name.get(name.lower())


def _unchecked(email: str) -> Person:
    return Person(email=email, slack_id=email, name=email, tz="UTC", active=True)


def _weight(fact: Evidence, now: datetime) -> float:
    weight, half_life = WEIGHTS.get(fact.source, (0.0, None))
    if half_life is None or fact.at is None:
        return weight
    age = max((now - fact.at) / half_life, 0.0)
    return float(weight * math.pow(0.5, age))


def _logistic(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
