"""How often the likely owner is the owner, how well its confidence is calibrated, how fast and small ranking is.

`make bench`, or `python tests/bench_owners.py`; `python tests/bench_owners.py fit` fits the default weights of
nhi/weights.py on the training seeds and prints them. The companies are made up by tests/company_generator.py, which
shares no code with the ranking; the seeds measured on are not those fitted on. Ends with 1 if a target is missed.
"""

from __future__ import annotations

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
from nhi.ownership import Directory, features, tag_evidence, weigh  # noqa: E402
from nhi.policy import Policy, parse  # noqa: E402
from nhi.weights import DEFAULTS  # noqa: E402
from tests.company_generator import DOMAIN, NOW, Company, company  # noqa: E402

TRAINING = range(1, 9)
MEASURED = range(101, 105)

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


def main() -> int:
    measured = list(accuracy())
    for what, value, target, met in measured:
        print(f"  {what:56}{value:10.3f}   target {target:8.2f}   {'met' if met else 'MISSED'}")
    return 0 if all(met for *_, met in measured) else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fit"]:
            fitted()
        case _:
            raise SystemExit(main())
