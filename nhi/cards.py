"""What a card shows, as facts: read from the database, drawn elsewhere.

A card's facts are what its reader rests an answer on, so they are kept with the answer, word for word.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from nhi import activity_facts, authority, facts, patience, permission_facts, rotations
from nhi.escalation import AskStatus, Verdict, escalates_at, is_back_soon, next_rung, reachable, reminds_at
from nhi.findings import OF_ACTIVITY, OWNERSHIP, FindingKind
from nhi.identity import CredentialStatus, Custody
from nhi.policy import Policy
from nhi.remediation import LIVE, REVERSIBLE, UNDO_FOR, RemediationKind, RemediationStatus
from nhi.roster import manager_of
from nhi.tables import (
    AskFindingRow,
    AskRow,
    AttestationRow,
    CredentialRow,
    FindingRow,
    IdentityRow,
    OfferRow,
    PersonRow,
    RemediationRow,
    TeamClaimRow,
    new_id,
)

Json = dict[str, Any]
# Of two findings as grave as each other, the one that tells more about whether the thing is needed comes first.
ORDER = [
    FindingKind.ANOMALOUS,
    FindingKind.EXPOSED,
    *(FindingKind.UNUSED, FindingKind.OVERPRIVILEGED, FindingKind.UNROTATED, FindingKind.CROSS_ENVIRONMENT),
    *(FindingKind.REUSED, FindingKind.HUMAN_USE),
    *(FindingKind.ORPHANED, FindingKind.UNOWNED),
]
# Kinds that a provider can turn off reversibly. Of a service account that is its own ability to sign in, of which
# nobody holds a secret.
DISABLES = frozenset(
    {
        *("access_key", "service_specific_credential", "console_password", "role"),
        *("service_account", "service_account_key"),
    }
)
# Of these nobody here can make another secret: a person sets their own password, and a role has none.
NOT_ROTATED = frozenset({"console_password"})
ALARM = (Verdict.WAS_US, Verdict.NOT_US, Verdict.NOT_MINE)  # what is answered to "was this you?"


def of_ask(session: Session, ask: AskRow, policy: Policy, now: datetime) -> Json:
    """Return everything that the card of an ask says: what, how we know, why you, what if nothing, by when."""
    identity = ask.identity
    owner = facts.owners(session, [identity.id], policy, now)[identity.id]
    rows = session.scalars(
        select(FindingRow)
        .join(AskFindingRow, AskFindingRow.finding_id == FindingRow.id)
        .where(AskFindingRow.ask_id == ask.id)
    )
    findings = sorted(rows, key=lambda row: (-facts.rank_of(row), ORDER.index(row.kind), row.since, row.id))
    return _about(session, identity, policy) | {
        "ask": {
            "id": ask.id,
            "email": ask.email,
            "because": ask.because,
            "status": ask.status.value,
            "asked_at": facts.when(ask.asked_at),
            "group": ask.group_id,
        },
        "findings": [_finding(session, row) for row in findings],
        "owner": owner,
        "answers": facts.answers(session, identity.id, ask.id),
        "remediations": facts.remediations(session, identity.id, ask.id),
        "silence": _silence(session, ask, findings, policy, now),
        "claim": _claim(session, ask),
        "snoozed": _snoozed(session, ask, now),
        "mode": policy.remediation.mode,
        "rotates_into": rotations.goes_to(ask.identity, policy),
        "on_not_us": policy.activity.on_not_us,
        "can": [verdict.value for verdict in _can_answer(session, ask, findings, now)],
        "drawn_at": facts.when(now),
    }


def of_identity(match: Json, identity: IdentityRow, can: list[str], policy: Policy, now: datetime) -> Json:
    """Return the facts of a card beside no ask: what `whois` found of one identity, and what may be done."""
    short, into = permission_facts.short(match["permissions"]), rotations.goes_to(identity, policy)
    about = {"permissions": short, "mode": policy.remediation.mode, "rotates_into": into}
    return match | about | {"can": can, "drawn_at": facts.when(now)}


def _about(session: Session, identity: IdentityRow, policy: Policy) -> Json:
    return {
        "identity": facts.identity_json(identity) | {"tags": identity.tags},
        "permissions": permission_facts.summaries(session, [identity], policy)[identity.id],
        "credentials": [facts.credential_json(c) for c in identity.credentials if c.gone_at is None],
    }


def _finding(session: Session, row: FindingRow) -> Json:
    shown = facts.finding_json(row, {})
    del shown["identity"], shown["owner"]
    return shown | activity_facts.unusual(session, row) | {"resolved_because": row.resolved_because}


def _claim(session: Session, ask: AskRow) -> Json | None:
    """Return what a card in a team's channel says besides: until when, and to whom it goes then; None: no team's."""
    row = session.get(TeamClaimRow, ask.id)
    if row is None:
        return None
    default = session.scalar(select(PersonRow).where(PersonRow.email == ask.email, PersonRow.active.is_(True)))
    passed = select(AttestationRow.name).where(
        AttestationRow.identity_id == ask.identity_id, AttestationRow.verdict == Verdict.NOT_MINE
    )
    return {
        "team": row.team,
        "channel": row.channel,
        "deadline_at": facts.when(row.deadline_at),
        "handed_at": facts.when(row.handed_at),
        "default": default.name if default else ask.email,
        "passed": list(dict.fromkeys(session.scalars(passed.order_by(AttestationRow.at)))),
    }


def _silence(session: Session, ask: AskRow, findings: list[FindingRow], policy: Policy, now: datetime) -> Json:
    talk = policy.conversation
    urgent = any(finding.kind in OF_ACTIVITY for finding in findings)
    manager = manager_of(session, ask.email, policy, now)
    manager_known = manager is not None and is_back_soon(manager.away_until, now)
    rung = next_rung(talk, ask.escalated_to, manager_known=manager_known)
    later = escalates_at(ask.last_step_at, talk, ask.reminders, rung=rung)
    ahead = ask.last_step_at + policy.activity.answer_within if urgent else later
    return {
        "reminder_at": None if urgent else facts.when(reminds_at(ask.last_step_at, talk, ask.reminders)),
        # In shadow mode the silence of admins goes to nobody.
        "escalates_at": None if ask.shadow else facts.when(ahead),
        "to": list(reachable(talk.escalate_to, manager_known=manager_known)),
        "escalated_to": ask.escalated_to,
    }


def _snoozed(session: Session, ask: AskRow, now: datetime) -> Json | None:
    """Return by whom and until when the question is put off; None: it is not."""
    row = patience.snooze_of(session, ask.identity_id, now)
    return None if row is None else {"by": row.email, "until": facts.when(row.until)}


def _can_answer(session: Session, ask: AskRow, findings: list[FindingRow], now: datetime) -> list[Verdict]:
    if ask.status is AskStatus.OPEN and _team_may_claim(session, ask):
        return [Verdict.CLAIM]
    if ask.status is AskStatus.OPEN and any(finding.kind in OF_ACTIVITY for finding in findings):
        return list(ALARM)
    if ask.status is AskStatus.OPEN:
        owner = authority.current_owner(session, ask.identity_id)
        return verdicts(ask.identity, findings, owned_by_asked=owner is not None and owner.email == ask.email)
    return [Verdict.UNDO] if undoable(session, ask.identity_id, ask.id, now) else []


def _team_may_claim(session: Session, ask: AskRow) -> bool:
    """Whether the question is still with a whole team: the one thing to say is "It's mine"."""
    row = session.get(TeamClaimRow, ask.id)
    return row is not None and row.handed_at is None


def verdicts(identity: IdentityRow, findings: list[FindingRow], *, owned_by_asked: bool) -> list[Verdict]:
    """Return the buttons that make sense for this identity, in their order on the card."""
    live = [c for c in identity.credentials if _is_live(c) and c.external_id]
    can = [] if owned_by_asked else [Verdict.CLAIM]
    can.append(Verdict.NOT_MINE)
    if any(finding.kind not in OWNERSHIP | OF_ACTIVITY for finding in findings):
        can.append(Verdict.JUSTIFY)
    if any(credential.custody is Custody.OURS and credential.kind not in NOT_ROTATED for credential in live):
        can.append(Verdict.ROTATE)
    if any(credential.kind in DISABLES and credential.custody is not Custody.PLATFORM for credential in live):
        can.append(Verdict.DISABLE)
    return can


def _is_live(credential: CredentialRow) -> bool:
    return credential.gone_at is None and credential.status is CredentialStatus.ACTIVE


def undoable(session: Session, identity_id: str, ask_id: str | None, now: datetime) -> RemediationRow | None:
    """Return the newest act (from this ask, where one is given) that one press takes back; None: there is none."""
    act = RemediationRow
    off = act.kind.in_(REVERSIBLE) & act.status.in_([RemediationStatus.DONE, *LIVE])
    # A rotation that has begun has a card of its own, with an undo of its own.
    rotation = (act.kind == RemediationKind.ROTATE) & act.status.in_(
        [RemediationStatus.AWAITING, RemediationStatus.PLANNED]
    )
    # What is being done right now is done in a moment; what could not be ended yet is taken back by a press.
    is_put_off = act.because.is_not(None) & act.undo_by.is_(None)
    rests = or_(act.status != RemediationStatus.ACTING, is_put_off)
    query = select(act).where(act.identity_id == identity_id, or_(off, rotation), rests)
    if ask_id is not None:
        query = query.where(RemediationRow.ask_id == ask_id)
    rows = session.scalars(query.order_by(RemediationRow.planned_at.desc()))
    return next((row for row in rows if row.acted_at is None or now <= row.acted_at + UNDO_FOR), None)


def offer(
    session: Session,
    shown: Json,
    *,
    identity_id: str,
    ask_id: str | None = None,
    card_id: str | None = None,
    now: datetime,
) -> OfferRow | None:
    """Write one set of buttons for what `shown["facts"]["can"]` says; None where there is nothing to press.

    Write `shown["blocks"]` into the row before it is committed: the attestation keeps both.
    """
    can: list[str] = shown["facts"]["can"]
    if not can:
        return None
    act = undoable(session, identity_id, ask_id, now) if Verdict.UNDO.value in can else None
    row = OfferRow(
        id=new_id(),
        actions=can,
        identity_id=identity_id,
        ask_id=ask_id,
        card_id=card_id,
        remediation_id=act.id if act else None,
        shown=shown,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row
