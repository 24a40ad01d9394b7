"""Who is answerable, as far as evidence tells: pure.

Each fact adds to the log-odds of the person it points to, by its source's weight and its age (nhi/weights.py). Facts
that agree add up, those of one family not twice in full; "not mine" speaks against; rivals lower each other. Below the
policy's threshold the answer is *nobody known*, with what would change it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nhi.identity import Evidence, Identity, Person, Team
from nhi.naming import Directory, Fit, domains_of, is_robot, names_of
from nhi.policy import Owners, People
from nhi.weights import (
    BESIDE_TAG,
    BREADTH,
    CODE_OF_LEAD,
    FAMILIES,
    FAMILY_OF,
    FIRST,
    NOBODY,
    OF_THEIR_OWN,
    SINGLE,
    SPAN,
    TAGGED_MAKER,
    Worth,
)

__all__ = [
    "Directory",
    "LikelyOwner",
    "Note",
    "Ranking",
    "domains_of",
    "explain",
    "features",
    "is_robot",
    "names_of",
    "rank",
    "tag_evidence",
    "team_spoken_of",
    "weigh",
]

FAINTEST = 0.02  # confidence below which a rival is not worth a line
_FADES = 0.5  # what each further fact of a family counts, of the one before
_ORDER = {source: number for number, source in enumerate(source for family in FAMILIES for source in family)}

Facts = Iterable[Evidence]
Voice = tuple[str, tuple[Team, ...], Evidence]  # who or which team a fact names, and their teams
Weighed = tuple[str, Evidence | None]  # a source, and its fact; None: what is no fact of its own, like whom others name
Found = dict[str, list[Weighed]]  # by person's e-mail


@dataclass(frozen=True, kw_only=True)
class LikelyOwner:
    """Somebody who may be the owner, with every reason, the strongest first."""

    email: str
    confidence: float  # 0 to 1
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, kw_only=True)
class Note:
    """Why a fact speaks for nobody, or for more than one."""

    fit: Fit
    value: str  # what the fact names
    fact: Evidence
    nearest: str | None = None  # an address or a team that it may be a misspelling of; None: none is near


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What evidence tells of an owner, and what it fails to tell."""

    likely: tuple[LikelyOwner, ...]  # the best, at or above the threshold, and then the rivals; (): nobody is known
    possible: tuple[LikelyOwner, ...]  # where nobody is known: who it might be, side by side
    notes: tuple[Note, ...]
    would_help: tuple[str, ...]  # sources of which one more fact would be enough; (): an owner is known


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


def rank(
    evidence: Facts, *, directory: Sequence[Person] | Directory, people: People, owners: Owners, now: datetime
) -> tuple[LikelyOwner, ...]:
    """Return the likely owners, the likeliest first; nobody where the likeliest is below the threshold.

    After the likeliest come the rivals, however faint, for a conflict is shown side by side. Only people who can own
    count: unknown, deactivated, guest and bot users do not.
    """
    known = directory if isinstance(directory, Directory) else Directory(directory)
    everybody = weigh(evidence, known, people, owners, now)
    return everybody if everybody and everybody[0].confidence >= owners.threshold else ()


def explain(
    evidence: Sequence[Evidence], *, directory: Directory, people: People, owners: Owners, now: datetime
) -> Ranking:
    """Return the ranking with what it leaves out: facts that name nobody, and what would make an owner known."""
    everybody = weigh(evidence, directory, people, owners, now)
    known = bool(everybody) and everybody[0].confidence >= owners.threshold
    return Ranking(
        likely=everybody if known else (),
        possible=() if known else everybody,
        notes=tuple(_notes(evidence, directory, people)),
        would_help=() if known else _would_help(evidence, directory, people, owners, now),
    )


def weigh(
    evidence: Facts, directory: Directory, people: People, owners: Owners, now: datetime
) -> tuple[LikelyOwner, ...]:
    """Return everybody that evidence names and who can own, the likeliest first, whatever the threshold."""
    found = gather(evidence, directory, people)
    weights = owners.worths
    worth = {email: _contributions(facts, weights, now) for email, facts in found.items()}
    scores = {email: math.fsum(value for value, _ in values) for email, values in worth.items()}
    odds = {email: math.exp(min(score, 500.0)) for email, score in scores.items()}
    total = math.exp(weights[NOBODY].weight) + math.fsum(odds.values())
    ranked = [
        LikelyOwner(
            email=email,
            confidence=round(odds[email] / total, 4),
            evidence=_strongest_first(worth[email]),
        )
        for email in found
        if odds[email] / total >= FAINTEST and any(fact is not None for _, fact in worth[email])
    ]
    return tuple(sorted(ranked, key=lambda owner: (-owner.confidence, owner.email)))


def gather(evidence: Facts, directory: Directory, people: People) -> Found:
    """Return the facts of each person that can own, each with the source that it is weighed as.

    A fact that names a team speaks for whom to ask there; one that names somebody who has left speaks for their
    manager, and for whom to ask in their team.
    """
    found: Found = {}
    voices: list[Voice] = []
    for fact in evidence:
        resolved = directory.resolve(fact.points_to, people)
        match resolved.fit:
            case Fit.PERSON | Fit.TWO:
                for person in resolved.people:
                    found.setdefault(person.email, []).append((fact.source, fact))
                    if fact.source != "account":
                        voices.append((person.email, directory.teams_of(person), fact))
            case Fit.TEAM if resolved.team is not None:
                voices.append((resolved.team.name, (resolved.team,), fact))
            case Fit.LEFT:
                for person in resolved.people:
                    voices.append((person.email, directory.teams_of(person), fact))
                    _add(found, "heir", person.manager, directory, fact)
            case _:
                pass
    for name, teams, fact in voices:
        for team in teams if name not in found else ():
            _add(found, "team_default", team.default, directory, fact)
    _add_kin(found, voices, directory)
    _add_first(found, voices)
    return found


def _add_first(found: Found, voices: Sequence[Voice]) -> None:
    """Tell whose trace is the oldest, of somebody who has left too; where nobody else has one that tells nothing."""
    dated = [(fact.at, name) for name, _, fact in voices if fact.at is not None and fact.source in OF_THEIR_OWN]
    if len({name for _, name in dated}) > 1 and (oldest := min(dated)[1]) in found:
        found[oldest].append((FIRST, None))


def team_spoken_of(evidence: Facts, directory: Directory, people: People) -> Team | None:
    """Return the team that most of the evidence speaks of, by its name or by its members; None: it is divided.

    What names a team counts twice: it was said of the thing, and not by chance of who did something. Who answers for
    an account says nothing of one thing in it. What points to who said "not mine" was wrong once, a copied tag perhaps,
    so it speaks of their team only where all else is divided.
    """
    facts = [one for one in evidence if one.source not in ("account", "label", "project_owner", "fallback")]
    out = {one.email for fact in facts if fact.source == "not_mine" for one in _named(fact, directory, people)}
    others = [fact for fact in facts if not any(one.email in out for one in _named(fact, directory, people))]
    found = _majority(others, directory, people) if out else None
    return found or _majority([fact for fact in facts if fact.source != "not_mine"], directory, people)


def _named(fact: Evidence, directory: Directory, people: People) -> Sequence[Person]:
    return directory.resolve(fact.points_to, people).people


def _majority(facts: Facts, directory: Directory, people: People) -> Team | None:
    """Return the team with more than half of the votes; None: there is none."""
    votes: dict[str, float] = {}
    known: dict[str, Team] = {}
    for fact in facts:
        resolved = directory.resolve(fact.points_to, people)
        named = (resolved.team,) if resolved.team is not None else ()
        found = named or {team.name: team for one in resolved.people for team in directory.teams_of(one)}.values()
        for team in found:
            known[team.name] = team
            votes[team.name] = votes.get(team.name, 0.0) + (2.0 if named else 1.0 / len(found))
    best = max(votes, key=lambda name: votes[name], default=None)
    return known[best] if best is not None and votes[best] > math.fsum(votes.values()) / 2 else None


def _add(found: Found, source: str, email: str | None, directory: Directory, fact: Evidence) -> None:
    person = directory.find(email) if email else None
    if person is not None and person.may_own:
        found.setdefault(person.email, []).append((source, fact))


def _add_kin(found: Found, voices: Sequence[Voice], directory: Directory) -> None:
    """Tell whose team the other facts speak of too: who works with the others that touch a thing may well own it."""
    said = {name: teams for name, teams, _ in voices if teams}
    named = {team.name for name, teams in said.items() for team in teams if team.name == name}
    for email, facts in found.items() if said else ():
        person = directory.find(email)
        mine = {team.name for team in directory.teams_of(person)} if person else set()
        others = [teams for name, teams in said.items() if name != email]
        if not mine or not others:
            continue
        kin = sum(any(team.name in mine for team in teams) for teams in others)
        facts += [("kin", None)] * kin or [("outsider", None)]
        if named and not named & mine:
            facts.append(("elsewhere", None))
        if any(_leads(email, name, directory) for name in said):
            facts.append(("leads", None))


def _leads(email: str, name: str, directory: Directory) -> bool:
    person = directory.find(name)
    return person is not None and person.manager == email


def _contributions(
    facts: Sequence[Weighed], weights: dict[str, Worth], now: datetime
) -> list[tuple[float, Evidence | None]]:
    return [(weights[source].weight * value, fact) for source, value, fact in _counted(facts, weights, now)]


def _counted(
    facts: Sequence[Weighed], weights: dict[str, Worth], now: datetime
) -> list[tuple[str, float, Evidence | None]]:
    """Return how much of its source's weight each fact counts: by its age, and by its place in its family."""
    facts = _as_tags(facts)
    fresh = [
        (_ORDER[source], -_freshness(fact, weights[source], now), number, source, fact)
        for number, (source, fact) in enumerate(facts)
        if source in _ORDER
    ]
    if len(fresh) > 1:
        fresh.sort()
    places: dict[int, int] = {}
    counted: list[tuple[str, float, Evidence | None]] = []
    breadth, own = 0.0, 0
    for _, value, _, source, fact in fresh:
        family = FAMILY_OF[source]
        place = places[family] = places.get(family, -1) + 1
        counted.append((source, -value * _FADES**place, fact))
        if source in OF_THEIR_OWN:
            breadth, own = breadth - value, own + 1
    sources = {source for source, _ in facts}
    counted.append((BREADTH, math.log1p(breadth), None))
    if breadth > 1 and "tag" in sources:
        counted.append((BESIDE_TAG, math.log(breadth), None))
    if own == 1:
        counted.append((SINGLE, 1.0, None))
    if {"codeowners", "leads"} <= sources:
        counted.append((CODE_OF_LEAD, 1.0, None))
    if {"tag", "creator"} <= sources:  # fades as the fact itself does: that the two agree must never count against both
        counted.append((TAGGED_MAKER, max(-one[1] for one in fresh if one[3] == "creator"), None))
    if span := _span(facts):
        counted.append((SPAN, math.log1p(span / timedelta(days=100)), None))
    return counted


def _span(facts: Sequence[Weighed]) -> timedelta:
    """Return how long it is from somebody's first dated trace to their last."""
    times = [fact.at for source, fact in facts if fact is not None and fact.at is not None and source in OF_THEIR_OWN]
    return max(times) - min(times) if len(times) > 1 else timedelta(0)


def _as_tags(facts: Sequence[Weighed]) -> Sequence[Weighed]:
    """Weigh a tag that stands only in the code as a tag: beside the cloud's own it is the same statement again."""
    sources = {source for source, _ in facts}
    if "iac_tag" not in sources or "tag" in sources:
        return facts
    return [("tag" if source == "iac_tag" else source, fact) for source, fact in facts]


def _freshness(fact: Evidence | None, worth: Worth, now: datetime) -> float:
    if fact is None or worth.half_life is None or fact.at is None:
        return 1.0
    return float(0.5 ** max((now - fact.at) / worth.half_life, 0.0))


def _strongest_first(values: Sequence[tuple[float, Evidence | None]]) -> tuple[Evidence, ...]:
    """Return the facts, each once: one that speaks for somebody in two ways is one reason."""
    ordered = sorted(values, key=lambda pair: -abs(pair[0]))
    return tuple({id(fact): fact for _, fact in ordered if fact is not None}.values())


def features(
    evidence: Facts, *, directory: Directory, people: People, owners: Owners, now: datetime
) -> dict[str, dict[str, float]]:
    """Return for each person that evidence names how much of each source's weight speaks for them: what a fit needs."""
    weights = owners.worths
    table: dict[str, dict[str, float]] = {}
    for email, facts in gather(evidence, directory, people).items():
        row = table[email] = {}
        for source, value, _ in _counted(facts, weights, now):
            row[source] = row.get(source, 0.0) + value
    return table


def _notes(evidence: Facts, directory: Directory, people: People) -> Iterable[Note]:
    for fact in evidence:
        fit = directory.resolve(fact.points_to, people).fit
        if fit in (Fit.PERSON, Fit.TEAM) or not fact.points_to:
            continue
        nearest = directory.nearest(fact.points_to, people) if fit in (Fit.UNKNOWN, Fit.OUTSIDE, Fit.GROUP) else None
        yield Note(fit=fit, value=fact.points_to, fact=fact, nearest=nearest)


def _would_help(
    evidence: Sequence[Evidence], directory: Directory, people: People, owners: Owners, now: datetime
) -> tuple[str, ...]:
    """Return the sources of which one more fact, for whoever is likeliest so far, would be enough: tried out."""
    likeliest = next(iter(weigh(evidence, directory, people, owners, now)), None)
    somebody = likeliest.email if likeliest else _stand_in(people)
    known = directory if likeliest and directory else Directory([_somebody(somebody)])
    helps = []
    for source in ("tag", "session", "codeowners", "attestation"):
        more = Evidence(source=source, fact="", points_to=somebody, at=now, identity_key="")
        if _owner_is_known([*evidence, more], known, people, owners, now):
            helps.append(source)
    return tuple(helps)


def _owner_is_known(
    evidence: Sequence[Evidence], directory: Directory, people: People, owners: Owners, now: datetime
) -> bool:
    return bool(rank(evidence, directory=directory, people=people, owners=owners, now=now))


def _stand_in(people: People) -> str:
    return f"somebody@{next(iter(domains_of(people)), 'example.com')}"


def _somebody(email: str) -> Person:
    return Person(email=email, slack_id="USOMEBODY", name="Somebody", tz="UTC", active=True)
