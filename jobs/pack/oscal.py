"""The pack as OSCAL assessment results (NIST, 1.1.2, JSON): for programs that gather evidence from many tools.

Ids are made from what they name (UUID version 5), so two exports of the same thing name it alike.
"""

from __future__ import annotations

import json
from uuid import UUID, uuid5

from jobs.pack.controls import CONTROLS, Control, open_points
from jobs.pack.model import After, Decision, Evidence, Json, clean
from nhi.facts import when

VERSION = "1.1.2"
NAMESPACE = UUID("6f1f2c0a-6a0e-5b39-9a43-6e68692d6175")  # of this program's ids; chosen once
OURS = "https://nhi-audit.invalid/ns/oscal"


def as_oscal(evidence: Evidence) -> bytes:
    """Return the assessment-results document."""
    document = {
        "assessment-results": {
            "uuid": _id(evidence, "results"),
            "metadata": {
                "title": f"Non-human identities, {evidence.quarter}",
                "last-modified": when(evidence.made_at),
                "version": str(evidence.quarter),
                "oscal-version": VERSION,
                "props": [_prop("tool", f"nhi-audit {evidence.version}")],
            },
            "import-ap": {"href": f"#{_id(evidence, 'plan')}"},
            "results": [_result(evidence)],
            "back-matter": {"resources": [_plan(evidence)]},
        }
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _plan(evidence: Evidence) -> Json:
    """Return what stands for the assessment plan: policy, and this program's own doing."""
    return {
        "uuid": _id(evidence, "plan"),
        "title": "Assessment plan",
        "description": "policy.toml as it is in force, and the quarterly review of all non-human identities.",
    }


def _result(evidence: Evidence) -> Json:
    observations = [
        _population(evidence),
        *(_decision(evidence, one) for one in evidence.decisions),
        *(_after(evidence, one) for one in evidence.after),
    ]
    result: Json = {
        "uuid": _id(evidence, "result"),
        "title": f"Review of non-human identities, {evidence.quarter}",
        "description": _description(evidence),
        "start": when(evidence.quarter.begins_at),
        "end": when(evidence.made_at),
        "reviewed-controls": {
            "control-selections": [{"include-controls": [{"control-id": control.id} for control in CONTROLS]}]
        },
        "observations": observations,
        "findings": [_finding(evidence, control) for control in CONTROLS],
    }
    if evidence.campaign and evidence.campaign.signed_by:
        part = {"name": "statement", "title": clean(evidence.campaign.signed_by)}
        result["attestations"] = [{"parts": [part | {"prose": clean(evidence.campaign.signed_words)}]}]
    return result


def _description(evidence: Evidence) -> str:
    said = f"{len(evidence.population)} identities, {len(evidence.decisions)} decisions, {len(evidence.after)} acts."
    return " ".join([said, *(("Incomplete:", *evidence.incomplete) if evidence.incomplete else ())])


def _population(evidence: Evidence) -> Json:
    frozen = evidence.frozen_at or evidence.made_at
    observation: Json = {
        "uuid": _id(evidence, "population"),
        "title": "Population",
        "description": f"All {len(evidence.population)} identities, as frozen: population.csv.",
        "methods": ["EXAMINE"],
        "types": ["discovery"],
        "collected": when(frozen),
        "relevant-evidence": [{"href": "population.csv", "description": "Every identity and credential, a row each."}],
    }
    return observation


def _decision(evidence: Evidence, one: Decision) -> Json:
    props = [_prop("verdict", one.verdict)]
    props += [_prop("ledger-event", str(one.event))] if one.event else []
    props += [_prop("dwell-seconds", f"{one.dwell_seconds:g}")] if one.dwell_seconds is not None else []
    return {
        "uuid": _id(evidence, one.record),
        "title": f"{one.verdict}: {clean(one.identity.get('name', one.identity_id))}",
        "description": clean(f"{one.name} ({one.email}, {one.authority}): {one.words or one.verdict}"),
        "props": props,
        "methods": ["INTERVIEW"],
        "types": ["control-objective"],
        "subjects": [_subject(evidence, one.identity, one.identity_id)],
        "collected": when(one.at),
        **({"expires": when(one.until)} if one.until else {}),
    }


def _after(evidence: Evidence, one: After) -> Json:
    return {
        "uuid": _id(evidence, f"read back {one.remediation}"),
        "title": f"Read back: {clean(one.identity['name'])}",
        "description": clean(f"{one.kind} of {one.credential}, {one.status}; now {one.now}. {one.why}".strip()),
        "props": [_prop("state", one.now.replace(" ", "-"))],
        "methods": ["TEST"],
        "types": ["finding"],
        "subjects": [_subject(evidence, one.identity, one.identity["id"])],
        "collected": when(one.looked_at),
    }


def _subject(evidence: Evidence, identity: Json, identity_id: str) -> Json:
    title = clean(identity.get("principal", identity_id))
    return {"subject-uuid": _id(evidence, f"identity {identity_id}"), "type": "component", "title": title}


def _finding(evidence: Evidence, control: Control) -> Json:
    """Return what the pack says of one control: met where nothing in it speaks against that, and it can be seen."""
    points = open_points(evidence)
    is_met = control.is_seen and not points
    return {
        "uuid": _id(evidence, f"finding {control.id}"),
        "title": f"{control.framework} {control.number}",
        "description": clean(" ".join([control.shows, *points])),
        "target": {
            "type": "objective-id",
            "target-id": control.id,
            "description": control.asks,
            "status": {
                "state": "satisfied" if is_met else "not-satisfied",
                "reason": "pass" if is_met else "fail" if control.is_seen else "other",
            },
        },
        "related-observations": [{"observation-uuid": _id(evidence, "population")}],
    }


def _prop(name: str, value: str) -> Json:
    return {"name": name, "ns": OURS, "value": clean(value) or "none"}


def _id(evidence: Evidence, what: str) -> str:
    return str(uuid5(NAMESPACE, f"{evidence.origin} {evidence.quarter} {what}"))
