"""How well likely owners fit the truth that an organisation knows, and which weights would fit it better.

The truth is a CSV file of identities and their owners, or what people have confirmed in Slack. Evidence that came from
people's answers is left out, as it may be the very truth; and so is nothing else.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.program import Program
from nhi import facts, roster
from nhi.calibration import Outcome, Quality, Sample, fit, outcome, quality
from nhi.database import reading
from nhi.errors import SettingsError
from nhi.identity import Evidence
from nhi.ownership import Directory, features, weigh
from nhi.policy import NEVER, Owners, Policy
from nhi.redact import tidy
from nhi.tables import OwnerRow
from nhi.weights import DEFAULTS, Worth

Json = dict[str, Any]
FROM_ANSWERS = frozenset({"attestation", "former_owner", "not_mine", "not_mine_suggestion", "handover"})
FOLDS = 5  # a fit is judged on the fifth that it has not seen, five times
FEWEST_TO_FIT = 20
_LARGEST = 50_000_000  # bytes
_COLUMNS = ("identity", "owner")


@dataclass(frozen=True, kw_only=True)
class Known:
    """One identity whose owner is known."""

    facts: tuple[Evidence, ...]
    owner: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found. `fitted` is None where no fit was asked for."""

    before: Quality
    missing: tuple[str, ...]  # identities of the file that are not known here, or not only one
    fitted: Mapping[str, Worth] | None
    after: Quality | None  # of the fitted weights, each identity judged by a fit that has not seen it

    def as_json(self) -> Json:
        document = _quality_json(self.before) | {"missing": list(self.missing)}
        if self.fitted is not None and self.after is not None:
            document["fitted"] = {source: round(worth.weight, 2) for source, worth in self.fitted.items()}
            document["after"] = _quality_json(self.after)
        return document


def evaluate(program: Program, truth: Path | None, *, with_fit: bool) -> Evaluation:
    """Compare likely owners with the truth of a file (None: with confirmed owners). Raises SettingsError."""
    policy, now = program.policy(), program.clock()
    with reading(program.sessions) as session:
        told = list(_from_file(session, truth)) if truth is not None else list(_confirmed(session))
        ids = [identity_id for identity_id, _ in told if identity_id is not None]
        directory = roster.directory(session, policy, now)
        evidence = facts.evidence(session, ids)
    missing = tuple(owner for identity_id, owner in told if identity_id is None)
    known = [
        Known(facts=tuple(fact for fact in evidence[one] if fact.source not in FROM_ANSWERS), owner=owner)
        for one, owner in told
        if one is not None
    ]
    if not known:
        raise SettingsError("No identity of the truth is known here: run `nhi scan` first, and name them as it does")
    before = quality(_outcomes(known, directory, policy, policy.owners, now), policy.owners.threshold)
    if not with_fit:
        return Evaluation(before=before, missing=missing, fitted=None, after=None)
    if len(known) < FEWEST_TO_FIT:
        raise SettingsError(f"A fit needs {FEWEST_TO_FIT} identities whose owner is known; there are {len(known)}")
    fitted = fit(_samples(known, directory, policy, now), policy.owners.worths)
    after = quality(_unseen(known, directory, policy, now), policy.owners.threshold)
    return Evaluation(before=before, missing=missing, fitted=fitted, after=after)


def _from_file(session: Session, path: Path) -> Iterator[tuple[str | None, str]]:
    """Yield (identity's id, owner); (None, what the file calls it) where it is not known. Raises SettingsError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise SettingsError(
                f"{path} is larger than {_LARGEST // 1_000_000} MB; give the owners of fewer identities"
            )
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} cannot be read ({type(error).__name__}); give a CSV file in UTF-8") from None
    if not rows or not set(_COLUMNS) <= rows[0].keys():
        raise SettingsError(f"{path} needs a first line that names its columns, and among them: identity, owner")
    for row in rows:
        name, owner = (row["identity"] or "").strip(), (row["owner"] or "").strip().lower()
        if not name or not owner:
            continue
        found = [one for one in facts.find(session, name) if name in (one.principal, one.key, one.id, one.name)]
        yield (found[0].id, owner) if len(found) == 1 else (None, tidy(name, 200))


def _confirmed(session: Session) -> Iterator[tuple[str | None, str]]:
    for row in session.scalars(select(OwnerRow).where(OwnerRow.ended_at.is_(None))):
        yield row.identity_id, row.email


def _outcomes(
    known: Sequence[Known], directory: Directory, policy: Policy, owners: Owners, now: datetime
) -> Iterator[Outcome]:
    for one in known:
        yield outcome(weigh(one.facts, directory, policy.people, owners, now), one.owner)


def _samples(known: Sequence[Known], directory: Directory, policy: Policy, now: datetime) -> list[Sample]:
    return [
        Sample(
            candidates=features(one.facts, directory=directory, people=policy.people, owners=policy.owners, now=now),
            owner=one.owner,
        )
        for one in known
    ]


def _unseen(known: Sequence[Known], directory: Directory, policy: Policy, now: datetime) -> Iterator[Outcome]:
    """Yield each identity's outcome under weights that were fitted without it."""
    for fold in range(FOLDS):
        rest = [one for number, one in enumerate(known) if number % FOLDS != fold]
        fitted = fit(_samples(rest, directory, policy, now), policy.owners.worths)
        yield from _outcomes(known[fold::FOLDS], directory, policy, with_weights(policy.owners, fitted), now)


def with_weights(owners: Owners, weights: Mapping[str, Worth]) -> Owners:
    """Return the owners' policy with other weights and half-lives."""
    told = {
        source: {"weight": worth.weight, "half_life": worth.half_life or NEVER} for source, worth in weights.items()
    }
    return Owners.model_validate(owners.model_dump() | {"weights": told})


def _quality_json(measured: Quality) -> Json:
    return {
        "identities": measured.identities,
        "named": measured.named,
        "precision": round(measured.precision, 4),
        "coverage": round(measured.coverage, 4),
        "calibration_error": round(measured.calibration_error, 4),
        "reliability": [
            {
                "from": one.low,
                "to": one.high,
                "identities": one.count,
                "confidence": round(one.confidence, 4),
                "right": round(one.right, 4),
            }
            for one in measured.bins
        ],
    }


def sentences(found: Evaluation, threshold: float) -> Iterator[str]:
    """Yield what an evaluation found, line by line, for people."""
    yield from _lines(found.before, threshold)
    if found.missing:
        some = ", ".join(found.missing[:5])
        yield f"Not known here, or not the only one of that name: {len(found.missing)} of the file ({some})."
    if found.fitted is not None and found.after is not None:
        yield ""
        yield "With weights fitted to this truth, each identity judged by a fit that has not seen it:"
        yield from _lines(found.after, threshold)
        yield ""
        yield "For policy.toml:"
        yield "[owners.weights]"
        for source, worth in sorted(found.fitted.items()):
            if round(worth.weight, 2) != round(DEFAULTS[source].weight, 2):
                yield f"{source} = {worth.weight:.2f}"


def _lines(measured: Quality, threshold: float) -> Iterator[str]:
    yield (
        f"{measured.identities} identities: an owner is named for {measured.named} ({measured.coverage:.0%} coverage,"
        f" confidence {threshold} or more), and rightly for {measured.right} ({measured.precision:.1%} precision)."
    )
    yield f"Calibration error {measured.calibration_error:.3f}: how far confidence is from being right, on average."
    for one in measured.bins:
        yield (
            f"  confidence {one.low:.1f} to {one.high:.1f}: {one.count:6} identities,"
            f" said {one.confidence:.2f}, was {one.right:.2f}"
        )
