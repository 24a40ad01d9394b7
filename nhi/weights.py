"""How much each kind of evidence is worth, and for how long: the defaults that policy may change.

A weight is in log-odds. That somebody is the owner has the probability e^(sum of theirs) divided by e^NOBODY and the
same of everybody else whom evidence names, so rivals lower each other (a conditional logit). A half-life says after
what time a fact is worth half.

The numbers were fitted by `python tests/bench_owners.py fit` (maximum likelihood with a ridge, on the training seeds
of tests/company_generator.py); what that generator has no rate for is a judgement, and marked so. An organisation fits
its own with `nhi owners evaluate --fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Worth:
    """What one source's fact adds to the log-odds of the person it points to."""

    weight: float
    half_life: timedelta | None = None  # None: it does not fade


def _days(days: int) -> timedelta:
    return timedelta(days=days)


NOBODY = "nobody"  # the log-odds of "none of those that evidence names"

# Sources of one family tell much the same: of the facts of a family that point to one person the first counts in
# full, the second half, the third a quarter. The order below is the order in which they are counted.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("tag", "iac_tag"),
    ("creator", "rotator"),
    ("session",),
    ("blame", "committer"),
    ("codeowners",),
    ("name",),
    ("account",),
    ("attestation", "former_owner"),
    ("not_mine_suggestion",),
    ("not_mine",),
    ("heir",),
    ("team_default",),
    ("kin",),
    ("outsider",),
    ("fallback",),
)

DEFAULTS: dict[str, Worth] = {
    NOBODY: Worth(1.0),
    # What somebody wrote down on purpose.
    "tag": Worth(3.2),
    "iac_tag": Worth(2.6),
    # What CloudTrail saw people do.
    "creator": Worth(2.0, _days(720)),
    "rotator": Worth(2.2, _days(540)),
    "session": Worth(1.8, _days(180)),
    # What repositories tell.
    "blame": Worth(1.6, _days(720)),
    "committer": Worth(0.9, _days(365)),
    "codeowners": Worth(1.8),
    # What it is called, and where it lies.
    "name": Worth(1.2),
    "account": Worth(0.6),
    # What people said.
    "attestation": Worth(3.0, _days(365)),
    "former_owner": Worth(1.5, _days(365)),
    "not_mine_suggestion": Worth(2.4, _days(365)),
    "not_mine": Worth(-6.0),
    # What a fact that names a team, or somebody who has left, says of others.
    "heir": Worth(1.0),
    "team_default": Worth(1.2),
    "kin": Worth(1.0),
    "outsider": Worth(-0.5),
    # Somebody whom policy names is asked, and is no owner for that.
    "fallback": Worth(0.0),
}

FAMILY_OF: dict[str, int] = {source: number for number, family in enumerate(FAMILIES) for source in family}
