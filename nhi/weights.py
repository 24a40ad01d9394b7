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

BREADTH = "breadth"  # of how many facts of one's own: the logarithm of one more than there are, the older the less
BESIDE_TAG = "beside_tag"  # the same of what stands beside a tag: it adds less to what was said on purpose
SINGLE = "single"  # one fact of one's own and no more
SPAN = "span"  # over how long somebody dealt with it: the logarithm of one more than the hundreds of days
CODE_OF_LEAD = (
    "code_of_lead"  # CODEOWNERS names who leads those that work with it: whom to ask to merge, not whose it is
)
TAGGED_MAKER = (
    "tagged_maker"  # a tag that names who made it, written on that day perhaps: it adds less to having made it
)
FIRST = "first"  # the oldest trace of all is theirs: most likely they brought it into being

# Sources of one family tell much the same: of the facts of a family that point to one person the first counts in
# full, the second half, the third a quarter. The order below is the order in which they are counted.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("tag", "iac_tag", "description"),
    ("creator", "rotator"),
    ("session", "scream"),
    ("blame", "committer"),
    ("codeowners",),
    ("name",),
    ("account", "label", "project_owner"),
    ("attestation", "former_owner"),
    ("not_mine_suggestion", "handover"),
    ("not_mine",),
    ("heir",),
    ("team_default",),
    ("kin",),
    ("outsider",),
    ("elsewhere",),
    ("leads",),
    (FIRST,),
    ("itself",),
    ("fallback",),
)

DEFAULTS: dict[str, Worth] = {
    NOBODY: Worth(2.55),
    # What somebody wrote down on purpose.
    "tag": Worth(3.91),
    "iac_tag": Worth(-0.02),
    "itself": Worth(4.0),  # this program runs as it, and policy says who answers for that; a judgement, not a fit
    # What CloudTrail saw people do.
    "creator": Worth(1.88, _days(1440)),
    "rotator": Worth(1.13, _days(960)),
    "session": Worth(1.52, _days(480)),
    "scream": Worth(2.0, _days(480)),  # whose job called while it was off; a judgement, not a fit
    # What repositories tell.
    "blame": Worth(0.65),  # of lines that still stand: as true as on the day they were written
    "committer": Worth(1.60, _days(480)),
    # A judgement, below the fit: the generator never leaves somebody in CODEOWNERS who has handed the thing over.
    "codeowners": Worth(3.2),
    # What it is called, and where it lies.
    "name": Worth(1.24),
    "account": Worth(-0.07),
    # What Google's project and an account's own description say; judgements, not fits: the generator knows AWS only.
    "description": Worth(3.5),
    "label": Worth(1.2),  # on the project, so of everything in it
    "project_owner": Worth(0.4),
    # What people said.
    "attestation": Worth(4.59, _days(480)),
    "former_owner": Worth(1.5, _days(365)),
    "not_mine_suggestion": Worth(5.00, _days(365)),
    "handover": Worth(2.4, _days(365)),  # named by who left, or by their manager; a judgement, not a fit
    "not_mine": Worth(-12.00),
    # What a fact that names a team, or somebody who has left, says of others.
    "heir": Worth(0.44),
    "team_default": Worth(-0.09),
    "kin": Worth(0.80),
    "outsider": Worth(-0.24),
    "elsewhere": Worth(-1.63),
    "leads": Worth(1.17),
    BESIDE_TAG: Worth(-1.63),
    SINGLE: Worth(-0.01),
    SPAN: Worth(0.32),
    CODE_OF_LEAD: Worth(-2.8),  # as `codeowners`
    TAGGED_MAKER: Worth(-1.4),  # a little below the fit: to agree must never count against both
    FIRST: Worth(0.22),
    BREADTH: Worth(2.04),
    # Somebody whom policy names is asked, and is no owner for that.
    "fallback": Worth(0.00),
}

# Facts that name somebody themselves, and are no guess of ours or of policy's. A tag in the code is most often the
# very tag that the cloud shows.
OF_THEIR_OWN = frozenset(
    {
        *("tag", "description", "creator", "rotator", "session", "scream", "blame", "committer", "codeowners", "name"),
        *("attestation", "former_owner", "not_mine_suggestion"),
    }
)

FAMILY_OF: dict[str, int] = {source: number for number, family in enumerate(FAMILIES) for source in family}
