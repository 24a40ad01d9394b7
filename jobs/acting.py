"""One act: look again, store the undo, act on one credential, read back, write it down; and the same way back.

Every step is a row before and after. A run that dies between two steps leaves a row that says where it was; the next
run looks again before it does anything. Turning a credential off twice, or on twice, is the same as once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot.render import say
from jobs import looking, screaming
from jobs.handling import SOON, Work, later, record, sentence, stop
from jobs.holds import Lost
from jobs.looking import Seen
from jobs.reach import target_of
from nhi import approvals, ledger, risk, steps
from nhi.answers import redraw, resolve
from nhi.database import lock_writers
from nhi.errors import ProviderError
from nhi.findings import FindingStatus
from nhi.identity import CredentialStatus, Gap
from nhi.preflight import Doubt, Go, Plan, Stop, check, was_used_since
from nhi.providers import CredentialState, Disables
from nhi.records import identity_of
from nhi.remediation import UNDO_FOR, RemediationKind, RemediationStatus, State
from nhi.tables import AttestationRow, FindingRow, RemediationRow


class Late(Lost):
    """The same, of a worker that has asked the cloud to turn the credential off: jobs/late.py sees to it."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work


def not_supported() -> str:
    """Return what is said of a credential that no provider can turn off."""
    return say("acts.not_supported").plain()


# -- off ---------------------------------------------------------------------------------------------------------------


def disable(work: Work) -> None:
    """Do what was decided, or write down why not."""
    provider = work.provider
    if not isinstance(provider, Disables) or not provider.disables(work.target.credential_kind):
        stop(work, State.REFUSED, not_supported())
        return
    if work.row.status is RemediationStatus.ACTING and not _is_to_begin_anew(work, provider):
        return
    work = replace(work, target=target_of(work.row, provider, anew=True))
    prepared = screaming.prepare(work) if work.row.ladder else work
    if prepared is None:
        return  # its scream test told enough, or its next step waits
    work = prepared
    match _decide(work, provider.look(work.target)):
        case None:
            return  # somebody undid it while it was looked at
        case Stop(doubt=Doubt.SECOND_PERSON):
            await_second(work)
        case Stop() as doubt if doubt.later:
            later(work, sentence(doubt))
        case Stop() as doubt:
            stop(work, State.REFUSED, sentence(doubt))
        case Go():
            _act(replace(work, target=replace(work.target, begun_at=work.clock())), provider)


def rehearse(work: Work) -> Stop | Go | None:
    """Look as before an act, and write nothing; None: it cannot be turned off from here."""
    provider = work.provider
    if not isinstance(provider, Disables) or not provider.disables(work.target.credential_kind):
        return None
    found, now = work.gather(provider.look(work.target)), work.clock()
    with work.sessions() as session:
        look = looking.look(session, work.row, found, work.policy, now)
        return check(work.plan, look, looking.limits(work.row, work.policy, now))


def _is_to_begin_anew(work: Work, provider: Disables) -> bool:
    """Return whether what a former run began had no effect, and still is to be done; what may be off is ended here."""
    seen = provider.look(work.target)
    if not _is_on(seen):
        _resume(work, provider, seen)
        return False
    if (unwanted := _unwanted(work)) is not None:
        stop(work, State.REFUSED, unwanted)
        return False
    return True


def _unwanted(work: Work) -> str | None:
    """Return why an act that a former run began, without effect, is not begun again; None: it still is to be done."""
    if work.row.undo_by is not None:
        return say("acts.called_off").plain()
    if work.policy.remediation.mode == "propose":
        return say("acts.only_proposed").plain()
    return None


def _is_on(seen: Seen) -> bool:
    return isinstance(seen, CredentialState) and seen.status is CredentialStatus.ACTIVE


def _resume(work: Work, provider: Disables, seen: Seen) -> None:
    """Finish what a former run began and could not write down: it may have turned the credential off."""
    match seen:
        case CredentialState():
            _after(work, provider, seen)
        case Gap(reason=reason):
            later(work, say("acts.unsure", reason=reason).plain())
        case None:
            stop(work, State.REFUSED, sentence(Stop(doubt=Doubt.GONE)))


def _decide(work: Work, seen: Seen) -> Go | Stop | None:
    """Check the plan against what is so now and, if nothing speaks against it, write that the act begins.

    One transaction, in which no other worker can write: two of them cannot both take the hour's last act. None: it is
    not wanted any more.
    """
    found, now = work.gather(seen), work.clock()
    with work.sessions.begin() as session:
        lock_writers(session)
        look = looking.look(session, work.row, found, work.policy, now)
        answer = check(work.plan, look, looking.limits(work.row, work.policy, now))
        if isinstance(answer, Stop):
            return answer
        assert isinstance(seen, CredentialState)
        return answer if _start_acting(session, work, seen, now) else None


def _start_acting(session: Session, work: Work, seen: CredentialState, now: datetime) -> bool:
    """Store certificate and undo, and say that the act begins, by one conditional UPDATE; return if it is wanted."""
    undo = {"status": seen.status.value} | ({"former": ledger.plain(seen.former)} if seen.former else {})
    if work.step is not None:
        undo |= {"target_kind": work.target.credential_kind}
    row = session.get_one(RemediationRow, work.row.id, populate_existing=True)
    work.hold.check_of(row)
    before = steps.state_of(row)
    startable = [RemediationStatus.PLANNED, RemediationStatus.ACTING]
    started = session.execute(
        update(RemediationRow)
        .where(RemediationRow.id == row.id, RemediationRow.status.in_(startable))
        .values(status=RemediationStatus.ACTING, acted_at=now, undo=undo)
    )
    if started.rowcount != 1:  # type: ignore[attr-defined]
        row.claimed_until = None
        return False
    session.refresh(row)
    told = looking.certificate(row, seen, work.policy, now).as_json()
    steps.advance(session, row, State.CHECKED, now, after=before, certificate=told)
    steps.advance(session, row, State.ACTING, now, undo=undo)
    screaming.begin(session, row, work, now)
    record(session, row, "remediation.acting", now, certificate=ledger.commitment("", ledger.canonical(told)))
    return True


def await_second(work: Work) -> None:
    """Ask for a second person: the identity became privileged, or policy stricter, after this was decided."""
    now = work.clock()
    with work.sessions.begin() as session:
        row = session.get_one(RemediationRow, work.row.id)
        work.hold.check_of(row)
        row.claimed_until = None
        if row.status not in (RemediationStatus.PLANNED, RemediationStatus.ACTING):
            return
        why = sentence(Stop(doubt=Doubt.SECOND_PERSON))
        steps.advance(session, row, State.AWAITING_SECOND, now, because=why)
        first = session.get_one(AttestationRow, row.attestation_id).email
        second = risk.required(identity_of(row.identity), work.policy, row.credential.kind).second
        approvals.ask(session, row, risk.in_words(second or risk.Second.NAMED), first, now)
        redraw(session, row.ask_id)
    work.tally.waiting.append((work.row.id, why))


def _act(work: Work, provider: Disables) -> None:
    """Turn it off, look once more, and write down what came of it; the undo is stored already."""
    work.hold.check()
    try:
        _turn_off(work, provider)
    except Lost:
        raise Late(work) from None


def _turn_off(work: Work, provider: Disables) -> None:
    try:
        provider.disable(work.target)
    except ProviderError as error:
        # Given up only where it is seen to be on: what may be off is finished by a later run, and can be undone then.
        if error.permanent and _is_on(provider.look(work.target)):
            stop(work, State.FAILED, say("acts.cloud_refused", error=str(error)).plain())
        else:
            later(work, say("acts.cloud_not_yet", error=str(error)).plain())
        return
    after = provider.look(work.target)
    _after(work, provider, after if isinstance(after, CredentialState) else None)


def _after(work: Work, provider: Disables, seen: CredentialState | None) -> None:
    """Write that it is off; one that was used in spite of what the card said is turned on again at once."""
    patience = looking.limits(work.row, work.policy, work.clock()).unused_after
    if seen is None or not was_used_since(seen.last_used_at, _plan_now(work), patience):
        _done(work)
        return
    work.hold.check()
    try:
        provider.enable(work.target)
    except ProviderError as error:
        later(work, say("acts.used_and_stuck", error=str(error)).plain(), SOON)
        return
    stop(work, State.REFUSED, say("acts.used_meanwhile").plain())


def _plan_now(work: Work) -> Plan:
    """Return what is decided by now: somebody may have said meanwhile that somebody else has it."""
    with work.sessions() as session:
        return looking.plan_of(session.get_one(RemediationRow, work.row.id))


def stay_off(work: Work) -> None:
    """End a scream test with the credential off, as somebody else turned out to have it; it is never on in between."""
    provider, base = work.provider, target_of(work.row, work.provider, anew=True)
    assert isinstance(provider, Disables)
    work.hold.check()
    try:
        provider.disable(base)
        if work.target.credential_kind != base.credential_kind:
            provider.enable(work.target)  # the denial by which it was tested reaches more than the credential
    except ProviderError as error:
        if provider.look(base) is None:
            screaming.give_up(work, sentence(Stop(doubt=Doubt.GONE)))
        else:
            later(work, say("acts.cloud_not_yet", error=str(error)).plain(), SOON)
        return
    _done(work)


def _done(work: Work) -> None:
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        _write_done(session, row, work, work.clock())


def _write_done(session: Session, row: RemediationRow, work: Work, now: datetime) -> None:
    if steps.step_of(row) is not None and row.status is RemediationStatus.TESTING:
        screaming.cut_short(session, row, now)
    elif steps.step_of(row) is not None:
        screaming.is_off(session, row, work, now)
        return
    row.verified_at, row.claimed_until = now, None
    steps.advance(session, row, State.VERIFIED, now)
    steps.advance(session, row, State.WATCHING, now, until=(row.acted_at or now) + UNDO_FOR)
    if row.kind is RemediationKind.REVOKE:
        record(session, row, "sessions.revoked", now)
    else:
        _resolve_findings(session, row, now)
        record(session, row, "credential.disabled", now)
    if row.undo_by is not None:  # somebody pressed Undo while it was being done
        row.due_at = now
        steps.advance(session, row, State.UNDOING, now)
    redraw(session, row.ask_id)
    work.tally.done.append(work.row.id)


def _resolve_findings(session: Session, row: RemediationRow, now: datetime) -> None:
    row.credential.status = CredentialStatus.INACTIVE
    open_ones = select(FindingRow).where(
        FindingRow.credential_id == row.credential_id, FindingRow.status != FindingStatus.RESOLVED
    )
    for finding in session.scalars(open_ones):
        resolve(session, finding, say("findings.resolved_turned_off").plain(), now)


# -- and on ------------------------------------------------------------------------------------------------------------


def undo(work: Work) -> None:
    """Give back the former state, exactly, and say what else is different by now."""
    if not isinstance(work.provider, Disables):
        stop(work, State.FAILED, say("acts.undo_not_supported").plain())
        return
    seen = work.provider.look(work.target)
    if isinstance(seen, Gap):
        later(work, say("acts.undo_cannot_see", reason=seen.reason).plain(), SOON)
        return
    if seen is None:
        stop(work, State.FAILED, sentence(Stop(doubt=Doubt.GONE)))
        return
    try:
        if (work.row.undo or {}).get("status") == CredentialStatus.ACTIVE.value:
            work.hold.check()
            work.provider.enable(work.target)
    except ProviderError as error:
        later(work, say("acts.undo_not_yet", error=str(error)).plain(), SOON)
        return
    _undone(work, differing((work.row.undo or {}).get("former") or {}, ledger.plain(seen.former)))


def differing(former: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of what is around a credential that somebody else changed since the undo was stored."""
    return sorted(name for name, value in former.items() if name in now and now[name] != value)


def _undone(work: Work, changed_by_others: list[str]) -> None:
    now = work.clock()
    others = say("acts.others_changed", names=", ".join(changed_by_others)).plain() if changed_by_others else None
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        row.undone_at, row.claimed_until = now, None
        screaming.undone(session, row, now)
        because = " ".join(filter(None, (steps.because_of(row, State.UNDOING), others))) or None
        steps.advance(session, row, State.UNDONE, now, because=because, changed_by_others=changed_by_others)
        if row.kind is RemediationKind.REVOKE:
            record(session, row, "sessions.restored", now)
        else:
            row.credential.status = CredentialStatus.ACTIVE
            record(session, row, "credential.enabled", now)
        redraw(session, row.ask_id)
    work.tally.undone.append(work.row.id)
