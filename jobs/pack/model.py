"""What a pack is made of: values that were gathered once, and that every file of it is written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nhi.completeness import Counted, incomplete
from nhi.redact import one_line, without_secrets
from nhi.reviews import Quarter

Json = dict[str, Any]
Cell = str | int | float | bool | None
LONGEST = 32_000  # characters; a spreadsheet's cell takes 32,767


def clean(value: object) -> str:
    """Return text as it may stand in a pack: on one line, nothing invisible in it, and no secret."""
    shown = without_secrets(one_line(str(value)))
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows for a CSV file or a sheet. Texts in it are clean."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, name: str, columns: tuple[str, ...], records: list[Mapping[str, Any]]) -> Table:
        """Return the table of these columns; a record has all of them."""
        rows = tuple(tuple(_cell(record[column]) for column in columns) for record in records)
        return cls(name=name, columns=columns, rows=rows)


def _cell(value: Any) -> Cell:
    match value:
        case None | bool() | int() | float():
            return value
        case list() | tuple():
            return clean("; ".join(str(item) for item in value))
        case _:
            return clean(value)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that was looked at, and how."""

    provider: str
    account: str
    scan: str  # the id of the last scan
    at: datetime
    complete: bool
    identities: int
    credentials: int
    requests: Mapping[str, int]  # by action, pages and retries included
    queries: Mapping[str, str]  # parameters by action
    gaps: tuple[tuple[str, str], ...]  # scope, reason


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one person said of one identity, and where the ledger tells of it."""

    record: str  # the attestation's or review decision's id
    event: int | None  # the ledger's number; None: it is not in the ledger (which verify.py will say is wrong)
    event_kind: str
    at: datetime
    identity_id: str
    identity: Json  # as facts.identity_json has it
    credential: str | None
    verdict: str  # claim, justify, keep, off, reassign, ...
    email: str
    name: str
    authority: str
    words: str | None
    until: datetime | None
    asked_at: datetime | None  # None: not asked, they answered by themselves
    shown_at: datetime | None  # when the card was drawn that was answered
    dwell_seconds: float | None  # between seeing and answering; None: not known
    reassignments: int  # how often it was passed on before, in this quarter
    evidence_opened: bool | None  # None: not measured
    together: int  # items answered by this one press
    self_review: bool
    by_creator: bool
    last_used: str | None  # as shown: an instant, or "never"; None: it could not be seen
    findings: tuple[str, ...]  # as shown
    shown: Json
    stands: bool | None = None  # whether this answer is the one that counts for its item; None: not of a review


@dataclass(frozen=True, kw_only=True)
class After:
    """What came of a decision to turn something off."""

    remediation: str
    identity: Json
    credential: str
    kind: str
    status: str
    decided_by: str
    decided_at: datetime
    acted_at: datetime | None
    verified_at: datetime | None
    undone_at: datetime | None
    now: str  # inactive, active, gone, not seen
    looked_at: datetime
    as_decided: bool | None  # None: nothing to be as, or it could not be seen
    why: str
    certificate: Json | None = None  # what was checked right before the act; None: nothing was done
    scream_test: Json | None = None  # its steps; None: it had none


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """The quarter's review, as it stands."""

    id: str
    opened_at: datetime
    opened_by: str
    due_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    result: Mapping[str, int]
    unanswered: tuple[Json, ...]  # identities, with their reviewer
    signed_at: datetime | None
    signed_by: str | None  # name and role
    signed_words: str | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of it."""

    quarter: Quarter
    made_at: datetime
    version: str
    origin: str  # the ledger's name
    campaign: Campaign | None
    frozen_at: datetime | None  # of the population; None: nothing was ever looked at
    population: tuple[Json, ...]  # frozen facts: identity, credentials, permissions, findings, owner
    since_frozen: Json  # {"appeared": n, "gone": n}: between the freezing and the fresh scan
    sources: tuple[Source, ...]
    counts: tuple[Counted, ...]
    decisions: tuple[Decision, ...]
    after: tuple[After, ...]
    exceptions: tuple[Json, ...]
    events: int
    altered: tuple[str, ...] = ()  # what is not as the ledger tells that it was frozen, a sentence each
    seals: tuple[Json, ...] = ()  # checkpoints before this pack's, a record for each place where one is kept
    other_gaps: tuple[tuple[str, str], ...] = ()  # places that the read-back could not see

    @property
    def gaps(self) -> tuple[tuple[str, str], ...]:
        """The places that the last scans, or the look afterwards, could not see: scope and reason, without secrets."""
        found = [gap for source in self.sources for gap in source.gaps] + list(self.other_gaps)
        return tuple(dict.fromkeys((clean(scope), clean(reason)) for scope, reason in found))

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Why the pack is not whole, a sentence each; () where it is."""
        nothing = () if self.sources else ("Nothing was ever scanned.",)
        unsealed = tuple(
            f"The ledger does not tell of the decision {one.record}." for one in self.decisions if one.event is None
        )
        return nothing + self.altered + incomplete(self.gaps, self.counts) + unsealed
