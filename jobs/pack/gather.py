"""Read what a pack tells from the database: the population as it was frozen, the decisions, and what was excepted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from jobs.pack import population
from jobs.pack.model import After, Campaign, Decision, Evidence, Json, Source
from nhi import facts
from nhi.completeness import Counted
from nhi.escalation import Verdict
from nhi.policy import NEVER, Policy
from nhi.reviews import Answer, ItemStatus, Quarter
from nhi.tables import (
    AnchorRow,
    AskRow,
    AttestationRow,
    CheckpointRow,
    CredentialRow,
    EventRow,
    IdentityRow,
    PopulationCountRow,
    ReviewCampaignRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewSignatureRow,
    ScanRow,
)

AT_ONCE = 500


def gather(
    session: Session,
    policy: Policy,
    quarter: Quarter,
    *,
    after: Sequence[After],
    other_gaps: Sequence[tuple[str, str]] = (),
    now: datetime,
) -> Evidence:
    """Read everything that a pack of this quarter tells, as it is now. `after`: what was looked at again."""
    campaign_row = session.scalar(select(ReviewCampaignRow).where(ReviewCampaignRow.quarter == str(quarter)))
    sources = _sources(session)
    frozen = population.frozen(session, campaign_row) if campaign_row else population.current(session, policy, now)
    frozen_at = campaign_row.opened_at if campaign_row else max((source.at for source in sources), default=None)
    return Evidence(
        quarter=quarter,
        made_at=now,
        version=version("nhi-audit"),
        origin=policy.ledger.origin,
        campaign=_campaign(session, campaign_row) if campaign_row else None,
        frozen_at=frozen_at,
        population=frozen,
        altered=population.altered(session, campaign_row) if campaign_row else (),
        since_frozen=population.since(session, frozen),
        sources=sources,
        counts=_counts(session, sources),
        decisions=_decisions(session, quarter),
        after=tuple(after),
        exceptions=(*_justified(session, quarter), *_by_rule(policy)),
        events=session.scalar(select(func.count()).select_from(EventRow)) or 0,
        seals=_seals(session),
        other_gaps=tuple(other_gaps),
    )


# -- where it was looked -----------------------------------------------------------------------------------------------


def _sources(session: Session) -> tuple[Source, ...]:
    """Return the last scan of each account; of two at the same instant the one that saw less."""
    rows = session.scalars(select(ScanRow).order_by(ScanRow.finished_at, ScanRow.complete.desc()))
    newest = {(row.provider, row.account): row for row in rows}
    queries = _queries(session)
    return tuple(
        Source(
            provider=row.provider,
            account=row.account,
            scan=row.id,
            at=row.finished_at,
            complete=row.complete,
            identities=row.identities,
            credentials=row.credentials,
            requests=row.api_calls,
            queries=queries.get(place, {}),
            gaps=tuple((gap.scope, gap.reason) for gap in row.gaps),
        )
        for place, row in sorted(newest.items())
    )


def _queries(session: Session) -> dict[tuple[str, str], dict[str, str]]:
    """Return the parameters that the last scans asked with, as the ledger tells of them."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    newest = select(EventRow.body).where(EventRow.kind == "scan.finished").order_by(EventRow.seq.desc()).limit(AT_ONCE)
    for body in session.scalars(newest):
        told = json.loads(body)["facts"]
        found.setdefault((told["provider"], told["scope"]), told.get("queries", {}))
    return found


def _counts(session: Session, sources: Sequence[Source]) -> tuple[Counted, ...]:
    """Return the last count of each kind in the accounts that were scanned."""
    rows = session.scalars(select(PopulationCountRow).order_by(PopulationCountRow.at.desc(), PopulationCountRow.kind))
    newest: dict[tuple[str, str], datetime] = {}
    found: list[Counted] = []
    scanned = {(source.provider, source.account) for source in sources}
    for row in rows:
        place = (row.provider, row.account)
        if place in scanned and newest.setdefault(place, row.at) == row.at:
            name = f"{row.provider} {row.account}"
            found.append(Counted(place=name, kind=row.kind, counted=row.counted, seen=row.seen, source=row.source))
    return tuple(found)


def _seals(session: Session) -> tuple[Json, ...]:
    """Return the checkpoints so far, the oldest first, a record for each place that one is, or is to be, kept at."""
    kept = (AnchorRow.target, AnchorRow.state, AnchorRow.kept_at, AnchorRow.receipt)
    query = select(CheckpointRow.size, CheckpointRow.at, CheckpointRow.because, *kept).outerjoin(
        AnchorRow, AnchorRow.size == CheckpointRow.size
    )
    rows = session.execute(query.order_by(CheckpointRow.size, AnchorRow.target))
    return tuple(dict(row._mapping) for row in rows)


# -- the review --------------------------------------------------------------------------------------------------------


def _campaign(session: Session, row: ReviewCampaignRow) -> Campaign:
    signed = session.scalar(select(ReviewSignatureRow).where(ReviewSignatureRow.campaign_id == row.id))
    by_status = session.execute(
        select(ReviewItemRow.status, func.count())
        .where(ReviewItemRow.campaign_id == row.id)
        .group_by(ReviewItemRow.status)
    )
    without = session.scalars(
        select(ReviewItemRow).where(
            ReviewItemRow.campaign_id == row.id, ReviewItemRow.status.in_([ItemStatus.PENDING, ItemStatus.UNANSWERED])
        )
    )
    return Campaign(
        id=row.id,
        opened_at=row.opened_at,
        opened_by=row.opened_by,
        due_at=row.due_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        result={status.value: count for status, count in by_status},
        unanswered=tuple({"identity": item.facts["identity"], "reviewer": item.reviewer} for item in without),
        signed_at=signed.at if signed else None,
        signed_by=f"{signed.name}, {signed.role}" if signed else None,
        signed_words=signed.words if signed else None,
    )


# -- decisions ---------------------------------------------------------------------------------------------------------


class _Told(NamedTuple):
    """Where the ledger tells of a record."""

    seq: int
    kind: str


def _decisions(session: Session, quarter: Quarter) -> tuple[Decision, ...]:
    """Return what was said in the quarter, oldest first; a review's answer and its attestation count as one."""
    told = _told(session, quarter)
    reviewed = list(
        session.scalars(
            select(ReviewDecisionRow).where(
                ReviewDecisionRow.at >= quarter.begins_at, ReviewDecisionRow.at < quarter.ends_at
            )
        )
    )
    by_review = {row.attestation_id for row in reviewed}
    attested = session.scalars(
        select(AttestationRow).where(AttestationRow.at >= quarter.begins_at, AttestationRow.at < quarter.ends_at)
    )
    asks = dict(session.execute(select(AskRow.id, AskRow.asked_at)).all())
    keys = dict(session.execute(select(CredentialRow.id, CredentialRow.external_id)).all())
    counting = select(ReviewItemRow.decision_id).where(ReviewItemRow.decision_id.is_not(None))
    stand = set(session.scalars(counting))
    found = [_of_review(row, told, row.id in stand) for row in reviewed]
    found += [_of_ask(row, told, asks, keys) for row in attested if row.id not in by_review]
    found.sort(key=lambda one: (one.at, one.event or 0))
    return tuple(_with_passing_on(session, found))


def _told(session: Session, quarter: Quarter) -> dict[str, _Told]:
    """Return where the ledger tells of each attestation and review decision of the quarter."""
    found: dict[str, _Told] = {}
    rows = session.execute(
        select(EventRow.seq, EventRow.kind, EventRow.body).where(
            or_(EventRow.kind.startswith("attestation."), EventRow.kind.startswith("review.")),
            EventRow.at >= quarter.begins_at,
            EventRow.at < quarter.ends_at,
        )
    )
    for seq, kind, body in rows:
        about = json.loads(body)["facts"]
        for name in ("attestation", "decision"):
            if name in about:
                found[about[name]] = _Told(seq, kind)
    return found


def _of_review(row: ReviewDecisionRow, told: dict[str, _Told], stands: bool) -> Decision:
    event = told.get(row.id)
    return Decision(
        stands=stands if row.answer in (Answer.KEEP, Answer.OFF) else None,
        record=row.id,
        event=event.seq if event else None,
        event_kind=event.kind if event else "",
        verdict=row.answer.value,
        until=None,
        asked_at=None,
        shown_at=row.shown_at,
        dwell_seconds=round(row.dwell_seconds, 1),
        evidence_opened=row.evidence_opened,
        together=row.together,
        self_review=row.self_review,
        by_creator=row.by_creator,
        credential=None,
        **_common(row),
    )


def _of_ask(
    row: AttestationRow, told: dict[str, _Told], asks: dict[str, datetime], keys: dict[str, str | None]
) -> Decision:
    event = told.get(row.id)
    drawn = row.shown.get("facts", {}).get("drawn_at")
    shown_at = datetime.fromisoformat(drawn) if drawn else None
    return Decision(
        record=row.id,
        event=event.seq if event else None,
        event_kind=event.kind if event else "",
        verdict=row.verdict.value,
        until=row.until,
        asked_at=asks.get(row.ask_id or ""),
        shown_at=shown_at,
        dwell_seconds=None,
        evidence_opened=None,
        together=1,
        self_review=False,
        by_creator=False,
        credential=keys.get(row.credential_id or ""),
        **_common(row),
    )


def _common(row: AttestationRow | ReviewDecisionRow) -> dict[str, Any]:
    shown = row.shown.get("facts", row.shown)
    identity = shown.get("identity", {})
    return {
        "at": row.at,
        "identity_id": row.identity_id,
        "identity": identity,
        "email": row.email,
        "name": row.name,
        "authority": row.authority,
        "words": row.words,
        "reassignments": 0,
        "last_used": _last_use([identity, *shown.get("credentials", [])]),
        "findings": tuple(dict.fromkeys(str(finding["kind"]) for finding in shown.get("findings", []))),
        "shown": row.shown,
    }


def _last_use(things: Sequence[Json]) -> str | None:
    """Return the last use that a card showed, "never", or None where it could not be seen."""
    uses = [one["last_used_at"] for one in things if one.get("last_used_at")]
    return max(uses) if uses else None if any(one.get("use_gap") for one in things) else "never"


def _with_passing_on(session: Session, decisions: Sequence[Decision]) -> list[Decision]:
    """Fill in what a card showed too little of, how long each answer took, and how often it was passed on before."""
    ids = list({one.identity_id for one in decisions})
    names: dict[str, Json] = {}
    for start in range(0, len(ids), AT_ONCE):
        rows = session.scalars(select(IdentityRow).where(IdentityRow.id.in_(ids[start : start + AT_ONCE])))
        names |= {row.id: facts.identity_json(row) for row in rows}
    passed: Counter[str] = Counter()
    before: dict[str, datetime] = {}
    filled = []
    for one in decisions:
        seen_at = max(filter(None, (one.shown_at, before.get(one.email))), default=None)
        dwell = (one.at - seen_at).total_seconds() if seen_at and one.shown_at and one.dwell_seconds is None else None
        known = one.dwell_seconds if one.dwell_seconds is not None else dwell
        identity = names.get(one.identity_id, one.identity) | one.identity
        filled.append(replace(one, identity=identity, dwell_seconds=known, reassignments=passed[one.identity_id]))
        before[one.email] = one.at
        passed[one.identity_id] += one.verdict in (Verdict.NOT_MINE.value, Answer.REASSIGN.value)
    return filled


# -- exceptions --------------------------------------------------------------------------------------------------------


def _justified(session: Session, quarter: Quarter) -> list[Json]:
    """Return the justifications that held at any time in the quarter."""
    rows = session.scalars(
        select(AttestationRow)
        .where(
            AttestationRow.verdict == Verdict.JUSTIFY,
            AttestationRow.at < quarter.ends_at,
            AttestationRow.until >= quarter.begins_at,
        )
        .order_by(AttestationRow.at)
    )
    return [
        {
            "kind": "justification",
            "principal": row.shown.get("facts", {}).get("identity", {}).get("principal", row.identity_id),
            "breaks": [finding["kind"] for finding in row.shown.get("facts", {}).get("findings", [])],
            "reason": row.words,
            "by": row.email,
            "authority": row.authority,
            "from": facts.when(row.at),
            "until": facts.when(row.until),
        }
        for row in rows
    ]


def _by_rule(policy: Policy) -> list[Json]:
    """Return the exceptions that policy makes for whole kinds of identities."""
    found: list[Json] = []
    for exception in policy.rules.exceptions:
        match = exception.match.model_dump(exclude_none=True, exclude_defaults=True)
        for name in ("unused_after", "unrotated_after"):
            patience = getattr(exception, name)
            if patience is not None:
                limit = "never" if patience == NEVER else f"{patience.total_seconds() / 86400:g} days"
                found.append(
                    {
                        "kind": "policy",
                        "principal": "; ".join(f"{key} = {value}" for key, value in match.items()) or "everything",
                        "breaks": [name.removesuffix("_after")],
                        "reason": f"{name} is {limit} by policy.toml",
                        "by": "policy.toml",
                        "authority": "policy",
                        "from": None,
                        "until": None,
                    }
                )
    return found
