"""The tables of a pack: population, sources, completeness, decisions, what came of them, exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.pack.model import Evidence, Json, Table
from nhi.facts import when
from nhi.verify_ledger import line_of


def tables(evidence: Evidence) -> dict[str, Table]:
    """Return the tables by name; each becomes NAME.csv."""
    made = (_population, _sources, _counts, _decisions, _after, _exceptions, _seals)
    return {table.name: table for table in (make(evidence) for make in made)}


_IDENTITY: tuple[str, ...] = (
    "provider",
    "account",
    "kind",
    "name",
    "principal",
)
_OF_CREDENTIALS: tuple[str, ...] = (
    "credential_kind",
    "credential",
    "credential_status",
    "credential_custody",
    "credential_created_at",
    "credential_rotated_at",
    "credential_last_used_at",
    "credential_last_used_service",
    "credential_use_gap",
)
POPULATION: tuple[str, ...] = (
    "identity_id",
    *_IDENTITY,
    "created_at",
    "last_used_at",
    "use_gap",
    "custody",
    "privileged",
    "policies",
    "tags",
    "owner_state",
    "owner",
    "owner_confidence",
    "reviewer",
    "reviewer_because",
    "risk",
    "review",
    "late",
    "findings",
    *_OF_CREDENTIALS,
)


def _population(evidence: Evidence) -> Table:
    """Return a row for each credential, and one for each identity that has none."""
    rows: list[Mapping[str, Any]] = []
    for one in evidence.population:
        about = _about(one)
        rows += [about | _credential(credential) for credential in one["credentials"] or [None]]
    return Table.of("population", POPULATION, rows)


def _about(one: Json) -> Json:
    identity, owner = one["identity"], one["owner"]
    return {
        **{
            name: identity[name]
            for name in (*_IDENTITY, "created_at", "last_used_at", "use_gap", "custody", "privileged")
        },
        "identity_id": identity["id"],
        "policies": one["permissions"]["policies"],
        "tags": [f"{key}={value}" for key, value in sorted(identity["tags"].items())],
        "owner_state": owner["state"],
        "owner": owner["email"],
        "owner_confidence": round(owner["confidence"], 3) if owner.get("confidence") is not None else None,
        "findings": [finding["kind"] for finding in one["findings"]],
        **{name: one[name] for name in ("reviewer", "reviewer_because", "risk", "review", "late")},
    }


def _credential(credential: Json | None) -> Json:
    if credential is None:
        return dict.fromkeys(_OF_CREDENTIALS)
    names = ("status", "created_at", "rotated_at", "last_used_at", "last_used_service", "use_gap")
    return {
        "credential_kind": credential["kind"],
        "credential": credential["id"],
        "credential_custody": credential.get("custody"),
        **{f"credential_{name}": credential[name] for name in names},
    }


SOURCES: tuple[str, ...] = (
    "provider",
    "account",
    "scan",
    "at",
    "complete",
    "identities",
    "credentials",
    "query",
    "parameters",
    "requests",
    "tool",
)


def _sources(evidence: Evidence) -> Table:
    """Return a row for each action that a source was asked with: how often, and with which parameters."""
    rows: list[Mapping[str, Any]] = [
        {
            **{name: getattr(source, name) for name in SOURCES[:3]},
            "at": when(source.at),
            "complete": source.complete,
            "identities": source.identities,
            "credentials": source.credentials,
            "query": action,
            "parameters": source.queries.get(action, ""),
            "requests": number,
            "tool": f"nhi-audit {evidence.version}",
        }
        for source in evidence.sources
        for action, number in sorted(source.requests.items() or {"(none)": 0}.items())
    ]
    return Table.of("sources", SOURCES, rows)


COUNTS: tuple[str, ...] = (
    "place",
    "kind",
    "counted",
    "seen",
    "difference",
    "source",
    "says",
)


def _counts(evidence: Evidence) -> Table:
    rows: list[Mapping[str, Any]] = [
        {
            "place": count.place,
            "kind": count.kind,
            "counted": count.counted,
            "seen": count.seen,
            "difference": None if count.counted is None else count.counted - count.seen,
            "source": count.source,
            "says": count.sentence or "the same",
        }
        for count in evidence.counts
    ]
    rows += [
        dict.fromkeys(COUNTS) | {"place": scope, "says": f"could not be seen: {reason}"}
        for scope, reason in evidence.gaps
    ]
    return Table.of("completeness", COUNTS, rows)


DECISIONS: tuple[str, ...] = (
    "event",
    "event_kind",
    "record",
    "at",
    "identity_id",
    *_IDENTITY,
    "credential",
    "verdict",
    "stands",
    "email",
    "who",
    "authority",
    "words",
    "until",
    "asked_at",
    "shown_at",
    "dwell_seconds",
    "reassignments",
    "evidence_opened",
    "together",
    "self_review",
    "by_creator",
    "last_used_as_shown",
    "findings_as_shown",
)


def _decisions(evidence: Evidence) -> Table:
    same = {"event", "event_kind", "record", "identity_id", "credential", "verdict", "stands", "email", "authority"}
    same |= {"words"}
    same |= {"dwell_seconds", "reassignments", "evidence_opened", "together", "self_review", "by_creator"}
    rows: list[Mapping[str, Any]] = [
        {
            **{name: getattr(one, name) for name in same},
            **{name: one.identity.get(name) for name in _IDENTITY},
            **{name: when(getattr(one, name)) for name in ("at", "until", "asked_at", "shown_at")},
            "who": one.name,
            "last_used_as_shown": one.last_used,
            "findings_as_shown": one.findings,
        }
        for one in evidence.decisions
    ]
    return Table.of("decisions", DECISIONS, rows)


AFTER: tuple[str, ...] = (
    "remediation",
    *_IDENTITY,
    "credential",
    "act",
    "status",
    "decided_by",
    "decided_at",
    "acted_at",
    "verified_at",
    "undone_at",
    "now",
    "looked_at",
    "as_decided",
    "why",
    "checked_at",  # right before the act: what was read then, how late that may be, who called last, what stays unseen
    "sources_read",
    "last_caller",
    "not_seen",
    "season",
    "scream_test",
)


def _after(evidence: Evidence) -> Table:
    same = ("remediation", "credential", "status", "decided_by", "now", "as_decided", "why")
    moments = ("decided_at", "acted_at", "verified_at", "undone_at", "looked_at")
    rows: list[Mapping[str, Any]] = [
        {
            **{name: getattr(one, name) for name in same},
            **{name: one.identity.get(name) for name in _IDENTITY},
            **{name: when(getattr(one, name)) for name in moments},
            "act": one.kind,
            **_certificate(one.certificate),
            "scream_test": _scream_test(one.scream_test),
        }
        for one in evidence.after
    ]
    return Table.of("after", AFTER, rows)


def _certificate(told: Json | None) -> Mapping[str, Any]:
    """Return what was checked right before an act, for its row; nothing where nothing was done."""
    if told is None:
        return dict.fromkeys(("checked_at", "sources_read", "last_caller", "not_seen", "season"))
    caller, season = told["last_caller"] or {}, told["season"]
    return {
        "checked_at": told["made_at"],
        "sources_read": [_source(one) for one in told["sources"]],
        "last_caller": " ".join(str(caller[name]) for name in ("at", "for", "from") if caller.get(name)) or None,
        "not_seen": [one["cannot_see"] for one in told["sources"]],
        "season": f"{season['name']}, given {season['patience_days']} days" if season else None,
    }


def _source(one: Json) -> str:
    if one["gap"]:
        return f"{one['source']}: could not be read ({one['gap']})"
    return f"{one['source']}: up to {one['lag_hours']} h late" if one["lag_hours"] is not None else str(one["source"])


def _scream_test(told: Json | None) -> str | None:
    """Return how its steps ended, in their order; None: it had no scream test."""
    if told is None:
        return None
    return ", ".join(outcome or "under way" for outcome in told["outcomes"]) or "not begun"


EXCEPTIONS: tuple[str, ...] = (
    "kind",
    "principal",
    "breaks",
    "reason",
    "by",
    "authority",
    "from",
    "until",
)


def _exceptions(evidence: Evidence) -> Table:
    return Table.of("exceptions", EXCEPTIONS, list(evidence.exceptions))


SEALS: tuple[str, ...] = (
    "size",
    "at",
    "because",
    "target",
    "state",
    "kept_at",
    "receipt",
)


def _seals(evidence: Evidence) -> Table:
    """Return a row for each place that an earlier checkpoint was to be kept at, and one for each that has none."""
    rows = [one | {"at": when(one["at"]), "kept_at": when(one["kept_at"])} for one in evidence.seals]
    return Table.of("seals", SEALS, [row | {"receipt": line_of(row["receipt"] or {})} for row in rows])
