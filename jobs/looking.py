"""Gather what is so right now, for the look before an act: from the cloud, from policy, and from what people said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from jobs import freezes
from jobs.freezes import Freeze
from jobs.reach import Providers
from nhi import approvals, authority, facts, review_facts, risk, seasons
from nhi.certificate import Certificate, Read
from nhi.database import Sessions, reading
from nhi.identity import CredentialStatus, Gap, Identity
from nhi.policy import NEVER, Policy
from nhi.preflight import Doubt, Limits, Look, Plan
from nhi.providers import CredentialState
from nhi.records import credential_of, identity_of
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.tables import (
    AskRow,
    AttestationRow,
    CredentialRow,
    EvidenceRow,
    IdentityRow,
    PersonRow,
    RemediationRow,
    ScreamStepRow,
)
from nhi.words import sentence

Seen = CredentialState | Gap | None  # what a provider's look found


def plan_of(row: RemediationRow) -> Plan:
    """Return what was decided, on which facts."""
    told = row.facts
    shown = told["shown_last_used_at"]
    return Plan(
        shown_last_used_at=datetime.fromisoformat(shown) if shown else None,
        use_was_shown=told.get("use_was_shown", True),
        shown_at=datetime.fromisoformat(told["shown_at"]),
        owner_then=told["owner"],
        likely_then=told.get("likely"),
        principal_then=told.get("principal"),
        ends_sessions=row.kind is not RemediationKind.DISABLE,  # nor does making a second key stop a use
        despite_use=bool(told.get("despite_use")),
    )


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What takes long to gather, and so is gathered before the transaction that decides."""

    seen: Seen
    freeze: Freeze
    likely: str | None


def outside(
    sessions: Sessions, row: RemediationRow, seen: Seen, policy: Policy, providers: Providers, now: datetime
) -> Outside:
    """Gather what lies outside our own rows, and who the likely owner is now."""
    likely = None
    if row.facts.get("owner") is None and row.facts.get("likely") is not None:
        with reading(sessions) as session:
            likely = facts.owners(session, [row.identity_id], policy, now)[row.identity_id]["email"]
    return Outside(seen=seen, freeze=freezes.look(policy, providers, now), likely=likely)


def look(session: Session, row: RemediationRow, found: Outside, policy: Policy, now: datetime) -> Look:
    """Return what is so now. Nobody else may write while what it counts is relied on."""
    identity = identity_of(session.get_one(IdentityRow, row.identity_id))
    owner = authority.current_owner(session, row.identity_id)
    state = found.seen if isinstance(found.seen, CredentialState) else None
    rules, key = policy.remediation, row.credential.external_id
    second = risk.required(identity, policy, row.credential.kind).second is not None
    return Look(
        status=state.status if state else None,
        last_used_at=state.last_used_at if state else None,
        gap=found.seen.reason if isinstance(found.seen, Gap) else None,
        blocked=state.blocked if state else None,
        principal_now=identity.principal,
        owner_now=owner.email if owner else None,
        likely_now=found.likely,
        decider_may=_may_decide(session, row, policy, now),
        second_is_missing=second and not approvals.agreed(session, row, policy, now),
        never_touch=risk.protecting(rules.never_touch, identity, key),
        break_glass=risk.protecting(rules.break_glass, identity, key),
        frozen=found.freeze.name,
        freeze_gap=found.freeze.gap,
        acts_this_hour=_times_off(session, row, now - timedelta(hours=1)),
        acts_in_account_today=_acts(session, row, now - timedelta(days=1)),
        credentials_in_account=_credentials(session, row),
        account_is_busy=_is_busy(session, row),
        is_itself=_is_itself(session, identity, row.identity_id, policy),
    )


def _is_itself(session: Session, identity: Identity, identity_id: str, policy: Policy) -> bool:
    """Whether this program runs as it, by policy or by what the last scan told."""
    told = select(EvidenceRow.id).where(EvidenceRow.identity_id == identity_id, EvidenceRow.source == risk.ITSELF)
    by_policy = risk.protecting(risk.own_names(policy), identity, None) is not None
    return by_policy or session.scalar(told.limit(1)) is not None


def limits(row: RemediationRow, policy: Policy, now: datetime) -> Limits:
    """Return what policy lets through, and how long this credential may be unused."""
    return Limits(
        actions_an_hour=policy.remediation.actions_an_hour,
        share_of_account=policy.remediation.share_of_account,
        unused_after=_patience(row, policy, now)[0],
    )


def _patience(row: RemediationRow, policy: Policy, now: datetime) -> tuple[timedelta, seasons.Season | None]:
    allowed = policy.rules.unused_after_for(identity_of(row.identity))
    return seasons.patience(allowed, credential_of(row.credential).pauses, now)


def certificate(row: RemediationRow, state: CredentialState, policy: Policy, now: datetime) -> Certificate:
    """Return what was checked right before the act, for the card and the evidence."""
    credential = credential_of(row.credential)
    allowed = policy.rules.unused_after_for(identity_of(row.identity))
    record = Read(
        source=sentence("acts.certificate_record"),
        seen_from=credential.coverage.seen_from,
        seen_until=None,
        lag=None,
        hidden=credential.coverage.says,
    )
    return Certificate(
        made_at=now,
        principal=row.identity.principal,
        credential_kind=credential.kind,
        credential_id=str(credential.external_id),
        last_used_at=state.last_used_at,
        last_used_service=state.last_used_service,
        last_used_region=state.last_used_region,
        reads=state.reads or (record,),
        caller=state.caller,
        season=seasons.season_of(credential.pauses, now),
        allowed=None if allowed == NEVER else allowed,
        checks=tuple(doubt.value for doubt in Doubt),
    )


def _may_decide(session: Session, row: RemediationRow, policy: Policy, now: datetime) -> bool:
    """Whether who decided this is still somebody who may."""
    attestation = session.get_one(AttestationRow, row.attestation_id)
    who = session.get(PersonRow, attestation.slack_id)
    identity = session.get_one(IdentityRow, row.identity_id)
    ask = session.get(AskRow, row.ask_id) if row.ask_id else None
    if who is None:
        return False
    right = authority.authority(session, who, identity, ask, policy, now)
    return right is not None or review_facts.decided_in_review(session, who, attestation)


def _acts(session: Session, row: RemediationRow, since: datetime) -> int:
    """Return how many other acts in the account were begun since."""
    query = select(func.count()).select_from(RemediationRow).where(RemediationRow.id != row.id)
    return (
        session.scalar(query.where(RemediationRow.acted_at > since, RemediationRow.identity_id.in_(_of_account(row))))
        or 0
    )


def _times_off(session: Session, row: RemediationRow, since: datetime) -> int:
    """Return how often something was turned off since, wherever: every step of a scream test counts, its own too."""
    act, step = RemediationRow, ScreamStepRow
    is_under_way = (step.remediation_id == row.id) & step.back_at.is_(None)  # that is what is looked at again
    steps = select(func.count()).select_from(step).where(step.off_at > since, ~is_under_way)
    had_steps = select(step.id).where(step.remediation_id == act.id, step.off_at == act.acted_at).exists()
    acts = select(func.count()).select_from(act).where(act.id != row.id, act.acted_at > since, ~had_steps)
    return (session.scalar(steps) or 0) + (session.scalar(acts) or 0)


def _of_account(row: RemediationRow) -> Select[str]:
    return select(IdentityRow.id).where(
        IdentityRow.provider == row.identity.provider, IdentityRow.account == row.identity.account
    )


def _credentials(session: Session, row: RemediationRow) -> int:
    query = select(func.count()).select_from(CredentialRow).where(CredentialRow.identity_id.in_(_of_account(row)))
    live = query.where(CredentialRow.gone_at.is_(None), CredentialRow.status == CredentialStatus.ACTIVE)
    return session.scalar(live) or 0


def _is_busy(session: Session, row: RemediationRow) -> bool:
    """Whether another act is under way: in the account, or a test on the same identity, which this might disturb.

    What somebody else has does not wait for a test.
    """
    act = RemediationRow
    acting = (act.status == RemediationStatus.ACTING) & act.identity_id.in_(_of_account(row))
    testing = (act.status == RemediationStatus.TESTING) & (act.identity_id == row.identity_id)
    under_way = acting if plan_of(row).despite_use else or_(acting, testing)
    busy = select(act.id).where(act.id != row.id, under_way)
    return session.scalar(busy.limit(1)) is not None
