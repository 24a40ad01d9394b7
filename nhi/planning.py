"""From a decision to the act that carries it out: the one under way already, or a new one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import approvals, authority, ledger, risk, rotations, steps
from nhi.answers import Answering, redraw
from nhi.errors import OutOfDate
from nhi.policy import Policy
from nhi.records import identity_of
from nhi.remediation import (
    LIVE,
    NOT_BEGUN,
    REVERSIBLE,
    STATUS,
    RemediationKind,
    RemediationStatus,
    State,
)
from nhi.tables import AttestationRow, CredentialRow, RemediationRow, new_id
from nhi.words import sentence


def needs(answering: Answering, policy: Policy, credential_kind: str | None = None) -> risk.Required:
    """Return what turning off something of this identity takes beside one person's click."""
    return risk.required(identity_of(answering.identity), policy, credential_kind)


def live_or_new(
    session: Session,
    answering: Answering,
    kind: RemediationKind,
    credential: CredentialRow,
    attestation: AttestationRow,
    policy: Policy,
    now: datetime,
    *,
    scream_test: bool = False,
    despite_use: bool = False,
) -> RemediationRow:
    """Return the act that is under way for this credential already, or plan one."""
    acts = policy.remediation.mode == "reversible" and (
        kind in REVERSIBLE or rotations.is_done_here(kind, answering.identity, credential.kind, policy)
    )
    live = _live(session, kind, credential)
    if live is not None and not (acts and _gives_way(live, despite_use=despite_use)):
        return live
    facts = _shown(session, answering, credential) | ({"despite_use": True} if despite_use else {})
    if live is not None and live.status not in NOT_BEGUN:
        _raise(session, live, facts, now)
        return live
    if live is not None:
        _replace(session, live, now)
    second = needs(answering, policy, credential.kind).second if acts else None
    state = State.PROPOSED if not acts else State.AWAITING_SECOND if second else State.SCHEDULED
    planned = RemediationRow(
        id=new_id(),
        kind=kind,
        status=STATUS[state],
        identity_id=answering.identity.id,
        credential_id=credential.id,
        attestation_id=attestation.id,
        ask_id=answering.ask.id if answering.ask else None,
        facts=facts,
        ladder=None if despite_use else _ladder(kind, policy, wanted=scream_test),
        planned_at=now,
        due_at=now,
    )
    session.add(planned)
    session.flush()
    steps.begin(session, planned, state, now)
    if second:
        approvals.ask(session, planned, risk.in_words(second), answering.who.email, now)
    ledger.record(
        session,
        f"remediation.{planned.status.value}",
        now=now,
        identity_id=answering.identity.id,
        facts={"remediation": planned.id, "kind": kind, "credential": credential.external_id or credential.key},
    )
    return planned


def _live(session: Session, kind: RemediationKind, credential: CredentialRow) -> RemediationRow | None:
    """Return the act of this kind that is under way for a credential; nobody changes it before the transaction ends."""
    return session.scalar(
        select(RemediationRow)
        .where(
            RemediationRow.credential_id == credential.id,
            RemediationRow.kind == kind,
            RemediationRow.status.in_(LIVE),
        )
        .with_for_update()
    )


def _gives_way(live: RemediationRow, *, despite_use: bool) -> bool:
    """Whether a new decision is more than the act under way.

    What was only proposed is never done, and what was decided as nobody uses it ends at the first use.
    """
    return live.status is RemediationStatus.PROPOSED or (despite_use and not live.facts.get("despite_use"))


def _replace(session: Session, live: RemediationRow, now: datetime) -> None:
    """End an act that had not begun: a new one takes its place."""
    live.undone_at = now
    steps.advance(session, live, State.UNDONE, now, because=sentence("acts.replaced"))
    approvals.call_off(session, live, now)
    told = {"remediation": live.id}
    ledger.record(session, "remediation.replaced", now=now, identity_id=live.identity_id, facts=told)
    redraw(session, live.ask_id)


def _raise(session: Session, live: RemediationRow, facts: dict[str, Any], now: datetime) -> None:
    """Let an act that has begun go on to the end, now: its use, and what a scream test hears, speak for it."""
    live.facts, live.ladder, live.due_at = facts, None, now
    session.flush()
    told = {"remediation": live.id}
    ledger.record(session, "remediation.raised", now=now, identity_id=live.identity_id, facts=told)
    redraw(session, live.ask_id)


def _ladder(kind: RemediationKind, policy: Policy, *, wanted: bool) -> list[int] | None:
    """Return the steps of a scream test in seconds, as policy has them now; None: it is turned off for good at once."""
    rules = policy.remediation.scream_test
    tests = rules.when == "always" or (rules.when == "offered" and wanted)
    if kind is not RemediationKind.DISABLE or not tests:
        return None
    return [int(step.total_seconds()) for step in rules.ladder]


def _shown(session: Session, answering: Answering, credential: CredentialRow) -> dict[str, Any]:
    """Return the facts that the person saw on the card: the act rests on them."""
    told = answering.offer.shown.get("facts", {})
    seen = next((one for one in told.get("credentials", []) if one["row"] == credential.id), None)
    if seen is None:
        raise OutOfDate(sentence("refusals.credential_not_shown"))
    owner = authority.current_owner(session, answering.identity.id)
    likely = told.get("owner") if "drawn_at" in told else None  # a review's facts may be weeks old in this
    return {
        "shown_last_used_at": seen["last_used_at"],
        "use_was_shown": not seen.get("use_gap"),
        "shown_at": ledger.instant(answering.offer.created_at),
        "owner": owner.email if owner else None,
        "likely": likely.get("email") if isinstance(likely, dict) else None,
        "principal": answering.identity.principal,
    }
