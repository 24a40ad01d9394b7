"""How often the likely owner is the owner, how well its confidence is calibrated, how fast and small ranking is.

`make bench`, or `python tests/bench_owners.py`; `python tests/bench_owners.py fit` fits the default weights of
nhi/weights.py on the training seeds and prints them. The companies are made up by tests/company_generator.py, which
shares no code with the ranking; the seeds measured on are not those fitted on. Ends with 1 if a target is missed.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nhi.calibration import Outcome, Sample, fit, outcome, quality  # noqa: E402
from nhi.evidence.names import Names, account_evidence  # noqa: E402
from nhi.identity import Evidence  # noqa: E402
from nhi.ownership import Directory, features, rank, tag_evidence, weigh  # noqa: E402
from nhi.policy import Policy, parse  # noqa: E402
from nhi.weights import DEFAULTS  # noqa: E402
from tests.asking_world import Asking, Thing  # noqa: E402
from tests.company_generator import DOMAIN, NOW, SPARSE, Company, company  # noqa: E402

TRAINING = range(1, 9)
MEASURED = range(101, 111)
QUESTIONS = 2  # a person's, about one identity
MANY = 100_000

Line = tuple[str, float, float, bool]


class Seen:
    """A company as the program would see it: the directory, policy, and the evidence of each identity."""

    def __init__(self, made: Company) -> None:
        self.company = made
        self.policy: Policy = parse(
            {
                "people": {"domains": [DOMAIN]},
                "owners": {"accounts": [{"account": a, "email": e} for a, e in made.accounts.items()]},
            }
        )
        self.directory = Directory(made.people, made.teams)
        names = Names(self.directory, made.people)
        self.evidence: list[list[Evidence]] = [
            [
                *tag_evidence(case.identity, self.policy.owners),
                *names.evidence(case.identity),
                *account_evidence(case.identity, self.policy.owners),
                *case.facts,
            ]
            for case in made.cases
        ]

    def outcomes(self) -> Iterator[Outcome]:
        for case, facts in zip(self.company.cases, self.evidence, strict=True):
            yield outcome(
                weigh(facts, self.directory, self.policy.people, self.policy.owners, NOW),
                case.owner,
            )

    def samples(self) -> Iterator[Sample]:
        for case, facts in zip(self.company.cases, self.evidence, strict=True):
            rows = features(
                facts, directory=self.directory, people=self.policy.people, owners=self.policy.owners, now=NOW
            )
            yield Sample(candidates=rows, owner=case.owner)


def fitted() -> None:
    samples = [sample for seed in TRAINING for sample in Seen(company(seed)).samples()]
    for source, worth in fit(samples, DEFAULTS).items():
        days = f", half-life {worth.half_life.days} days" if worth.half_life else ""
        print(f"  {source:22}{DEFAULTS[source].weight:8.2f} -> {worth.weight:6.2f}{days}")


def accuracy() -> Iterator[Line]:
    found = [one for seed in MEASURED for one in Seen(company(seed)).outcomes()]
    measured = quality(found, Policy().owners.threshold)
    yield "top-1 precision", measured.precision, 0.92, measured.precision >= 0.92
    yield "coverage", measured.coverage, 0.75, measured.coverage >= 0.75
    yield "calibration error", measured.calibration_error, 0.05, measured.calibration_error <= 0.05
    for one in measured.bins:
        print(f"    {one.low:.1f}-{one.high:.1f}  {one.count:6}  said {one.confidence:.3f}  was {one.right:.3f}")


def sparse() -> Iterator[Line]:
    """The same weights in a company that leaves a third of the traces: shown, with no target."""
    found = [one for seed in MEASURED for one in Seen(company(seed, SPARSE)).outcomes()]
    measured = quality(found, Policy().owners.threshold)
    yield "few traces: top-1 precision", measured.precision, 0.0, True
    yield "few traces: coverage", measured.coverage, 0.0, True
    yield "few traces: calibration error", measured.calibration_error, 0.0, True


def asking() -> Iterator[Line]:
    """Ten working days: how many identities got an owner who said yes, with at most two questions each."""
    things = [thing for seed in MEASURED for thing in _asked(seed)]
    accepted = [thing for thing in things if thing.owner is not None]
    share = sum(thing.questions <= QUESTIONS for thing in accepted) / len(things)
    yield f"accepted in 10 working days, {QUESTIONS} questions at most", share, 0.95, share >= 0.95
    yield "accepted, however many questions", len(accepted) / len(things), 0.0, True
    right = sum(thing.owner == thing.case.owner for thing in accepted) / len(accepted)
    yield "of those, by the very owner and not by the lead", right, 0.0, True


def _asked(seed: int) -> list[Thing]:
    seen = Seen(company(seed))
    world = Asking(seen.company, seen.directory, seen.policy, seen.evidence)
    world.run()
    return world.things


def rank_many() -> None:
    """Rank 100,000 identities of ten facts each, all held in memory, as a process of its own; print what it took."""
    made = company(MEASURED[0])
    directory = Directory(made.people, made.teams)
    policy = parse({"people": {"domains": [DOMAIN]}})
    people = [person.email for person in made.people]
    sources = (
        "tag",
        "creator",
        "rotator",
        "session",
        "session",
        "blame",
        "blame",
        "committer",
        "committer",
        "codeowners",
    )
    dice = random.Random(1)
    facts: list[list[Evidence]] = []
    for number in range(MANY):
        few = dice.sample(people, 4)
        facts.append(
            [
                Evidence(
                    source=source,
                    fact=f"{source} {place} of {number}",
                    points_to=f"@acme/{dice.choice(made.teams).name}" if source == "codeowners" else dice.choice(few),
                    at=None if source in ("tag", "codeowners") else NOW - timedelta(days=dice.random() * 900),
                    identity_key=f"AIDA{number}",
                )
                for place, source in enumerate(sources)
            ]
        )
    started = time.process_time()
    ranked = [rank(one, directory=directory, people=policy.people, owners=policy.owners, now=NOW) for one in facts]
    seconds = time.process_time() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(ranked)]))


def speed() -> Iterator[Line]:
    done = subprocess.run([sys.executable, __file__, "rank"], capture_output=True, text=True, check=True)
    seconds, megabytes, _ = json.loads(done.stdout)
    yield f"seconds to rank {MANY:,} identities of 10 facts", seconds, 20.0, seconds < 20
    yield "peak megabytes, facts and results held", megabytes, 500.0, megabytes < 500


def main() -> int:
    measured = [*accuracy(), *sparse(), *asking(), *speed()]
    for what, value, target, met in measured:
        print(f"  {what:56}{value:10.3f}   target {target:8.2f}   {'met' if met else 'MISSED'}")
    return 0 if all(met for *_, met in measured) else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fit"]:
            fitted()
        case ["rank"]:
            rank_many()
        case _:
            raise SystemExit(main())
