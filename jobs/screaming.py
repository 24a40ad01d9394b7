"""The steps of a scream test: off, listened for, and on again, by whichever worker comes by (nhi/screaming.py decides).

The row of a step says when it is on again, and is written before the cloud is asked to turn it off: a worker that dies
in between leaves what any other one brings back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from bot.render import say
from jobs import screamed
from jobs.handling import SOON, Work, later, record, stop, was_raised
from nhi import screaming, steps
from nhi.answers import redraw
from nhi.certificate import Caller
from nhi.database import reading
from nhi.errors import ProviderError
from nhi.identity import CredentialStatus, Gap
from nhi.policy import Policy
from nhi.providers import CredentialState, Disables, Listens, Target
from nhi.remediation import RemediationStatus, State
from nhi.screaming import Back, Hearing, Keep, Listened, Outcome, Step
from nhi.tables import AttestationRow, PersonRow, RemediationRow, ScreamStepRow, new_id

JUDGED_WITHIN = timedelta(hours=6)  # of a step's end; a log that cannot be read for longer counts as unheard


# -- before a step -----------------------------------------------------------------------------------------------------


def prepare(work: Work) -> Work | None:
    """Return the work of the step that begins now (or of the act for good); None: not now, or not at all."""
    judged = _judge(work)
    if judged is None:
        return None
    work = judged
    outcomes = [trial.outcome for trial in work.row.trials if trial.outcome is not None]
    if screaming.is_hopeless(outcomes):
        stop(work, State.REFUSED, say("acts.scream_hopeless", times=screaming.REPEATED_AT_MOST).plain())
        return None
    length = screaming.step_length(_ladder(work.row), outcomes)
    with reading(work.sessions) as session:
        begins = _begins_at(session, work.row, length, work.policy, work.clock())
    if begins > work.clock():
        _schedule_anew(work, begins, _next_words(len(work.row.trials), length, begins))
        return None
    return replace(work, step=length, target=_audible(work) if length is not None else work.target)


def _ladder(row: RemediationRow) -> list[timedelta]:
    return [timedelta(seconds=seconds) for seconds in row.ladder or ()]


def _begins_at(
    session: Session, row: RemediationRow, length: timedelta | None, policy: Policy, after: datetime
) -> datetime:
    """Return when a step may begin: in the working hours of who decided it."""
    decided = session.get_one(AttestationRow, row.attestation_id)
    who = session.get(PersonRow, decided.slack_id)
    tz, rules = (who.tz if who is not None else "") or "UTC", policy.conversation
    return screaming.begins_at(after, length, tz=tz, hours=rules.working_hours, holidays=rules.holidays)


def _next_words(begun: int, length: timedelta | None, begins: datetime) -> str:
    words = screaming.in_words(length) if length else None
    return say("acts.scream_next", begun=begun, length=words, begins=begins).plain()


def _audible(work: Work) -> Target:
    """Return the target that can be heard while it is off, where there is one that reaches no more than this."""
    provider, base = work.provider, work.target
    if not isinstance(provider, Listens) or not isinstance(provider, Disables):
        return base
    kind = provider.audible_kind(base.credential_kind)
    if kind is None or kind == base.credential_kind:
        return base
    target = replace(base, credential_kind=kind)
    seen = provider.look(target)
    can = isinstance(seen, CredentialState) and seen.blocked is None
    return target if can else base


def _wait(work: Work, until: datetime, why: str) -> None:
    after = max(until - work.clock(), timedelta(0))
    later(work, why, after)


def _schedule_anew(work: Work, begins: datetime, why: str) -> None:
    """Let a step wait until somebody is at work, also one that a former run began and that had no effect."""
    if work.row.status is RemediationStatus.PLANNED:
        _wait(work, begins, why)
        return
    now = work.clock()
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        row.claimed_until = None
        if row.undo_by is not None:  # somebody pressed Undo while it was looked at
            row.due_at = now
            return
        steps.void(row, now)
        row.due_at = begins
        steps.advance(session, row, State.SCHEDULED, now, because=why)
        record(session, row, "remediation.put_off", now, because=why)
        redraw(session, row.ask_id)
    work.tally.waiting.append((work.row.id, why))


def _judge(work: Work) -> Work | None:
    """Decide how the step that ended last went, now that late calls are in the log; None: it does not go on (now)."""
    trial = work.row.trials[-1] if work.row.trials else None
    if trial is None or trial.back_at is None or trial.outcome is not None:
        return work
    heard = _heard(work, trial)
    now, judged_at = work.clock(), trial.back_at + timedelta(seconds=trial.lag_seconds)
    if isinstance(heard, Gap) and now - judged_at < JUDGED_WITHIN:
        later(work, say("acts.scream_cannot_listen", reason=heard.reason).plain())
        return None
    if not isinstance(heard, Gap) and now < judged_at and not any(call.at <= trial.back_at for call in heard):
        _wait(work, judged_at, say("acts.scream_late").plain())
        return None
    # What called after it was on again did not scream; it is a use, and the look before the next step finds it.
    calls = () if isinstance(heard, Gap) else tuple(call for call in heard if call.at <= trial.back_at)
    outcome = Outcome.UNHEARD if isinstance(heard, Gap) else Outcome.HEARD if calls else Outcome.SILENT
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        if row.status is not RemediationStatus.PLANNED:
            row.claimed_until = None
            return None
        _end(session, row, row.trials[-1], outcome, calls, now)
        if outcome is Outcome.HEARD:
            row.claimed_until = None
            screamed.tell(session, row, State.REFUSED, calls[0], now)
            work.tally.refused.append((row.id, row.because or ""))
        _ = row.identity, row.credential, row.steps, row.trials
    return None if outcome is Outcome.HEARD else replace(work, row=row)


# -- a step begins -----------------------------------------------------------------------------------------------------


def begin(session: Session, row: RemediationRow, work: Work, now: datetime) -> None:
    """Write down until when it is off, before it is; a step of a former run that had no effect is void."""
    steps.void(row, now)
    if work.step is None:
        return
    hearing = _hearing(work)
    number = row.trials[-1].number + 1 if row.trials else 1
    trial = ScreamStepRow(
        id=new_id(),
        number=number,
        target_kind=work.target.credential_kind,
        audible=hearing.audible,
        coverage=hearing.says,
        lag_seconds=int(hearing.lag.total_seconds()),
        off_at=now,
        back_on_at=now + work.step,
        heard_until=now,
    )
    row.trials.append(trial)
    session.flush()


def _hearing(work: Work) -> Hearing:
    if isinstance(work.provider, Listens):
        return work.provider.hearing(work.target)
    return Hearing(audible=False, says=say("acts.scream_deaf").plain())


def is_off(session: Session, row: RemediationRow, work: Work, now: datetime) -> None:
    """Write that a step has begun: it was seen to be off."""
    trial = steps.step_of(row)
    assert trial is not None
    row.verified_at, row.claimed_until = now, None
    row.due_at = min(now + screaming.listens_every(trial.back_on_at - trial.off_at), trial.back_on_at)
    told_of: dict[str, Any] = {"step": trial.number, "until": trial.back_on_at, "audible": trial.audible}
    steps.advance(session, row, State.TESTING, now, **told_of)
    record(session, row, "scream_test.off", now, **told_of)
    if was_raised(work, row):
        row.due_at = now
    if row.undo_by is not None:  # somebody pressed Undo while it was being done
        row.due_at = now
        steps.advance(session, row, State.UNDOING, now)
    redraw(session, row.ask_id)
    work.tally.testing.append(row.id)


def cut_short(session: Session, row: RemediationRow, now: datetime) -> None:
    """End the step under way with the credential off, by the switch that an act for good has."""
    trial = steps.step_of(row)
    assert trial is not None
    _end(session, row, trial, Outcome.CUT_SHORT, (), now)
    row.undo = {name: value for name, value in (row.undo or {}).items() if name != "target_kind"}


def give_up(work: Work, because: str) -> None:
    """End a step whose credential is gone, and leave no denial behind."""
    _back(work, Back(outcome=Outcome.DISTURBED, because=because), ())


def undone(session: Session, row: RemediationRow, now: datetime) -> None:
    """End the step that somebody's Undo ended; whoever screams knows something of it: that is evidence."""
    trial = steps.step_of(row)
    if trial is None:
        return
    _end(session, row, trial, Outcome.UNDONE, (), now)
    if row.undo_by is not None and "@" in row.undo_by and " " not in row.undo_by:
        screamed.write_evidence(session, row, row.undo_by, say("acts.scream_pressed", who=row.undo_by).plain(), now)


# -- during a step -----------------------------------------------------------------------------------------------------


def listen(work: Work) -> None:
    """Listen once, and turn it on again where something called, or its time is over."""
    trial = steps.step_of(work.row)
    assert trial is not None, "an act that is tested has a step under way"
    if steps.state_of(work.row) is State.RESTORING:  # a former run began to turn it on again
        told_of = work.row.steps[-1].facts
        heard = (screamed.caller_of(trial.heard),) if trial.heard else ()
        _back(
            work, Back(outcome=Outcome(told_of["outcome"]), because=steps.because_of(work.row, State.RESTORING)), heard
        )
        return
    calls, found = _listen(work, trial)
    now = work.clock()
    begun = Step(off_at=trial.off_at, back_on_at=trial.back_on_at, heard_until=trial.heard_until)
    match screaming.what_next(begun, found, now):
        case Keep(again_at=again_at):
            _keep(work, again_at, found, now)
        case Back() as back:
            _back(work, back, calls)


def _listen(work: Work, trial: ScreamStepRow) -> tuple[Sequence[Caller], Listened]:
    assert isinstance(work.provider, Disables)
    seen = work.provider.look(work.target)
    heard = _heard(work, trial)
    calls = () if isinstance(heard, Gap) else tuple(heard)
    gap = heard.reason if isinstance(heard, Gap) else seen.reason if isinstance(seen, Gap) else None
    used = isinstance(seen, CredentialState) and seen.last_used_at is not None and seen.last_used_at > trial.off_at
    if used and not calls and isinstance(seen, CredentialState) and seen.last_used_at is not None:
        calls = (seen.caller or Caller(at=seen.last_used_at, who=None, where=None, what=None, tool=None),)
    return calls, Listened(calls=bool(calls), gap=gap, changed=_changed(seen))


def _changed(seen: CredentialState | Gap | None) -> str | None:
    """Return what somebody else did to it meanwhile; None: nothing that shows."""
    if seen is None:
        return say("acts.scream_gone").plain()
    if isinstance(seen, Gap):
        return None
    if seen.status is CredentialStatus.ACTIVE:
        return say("acts.scream_on_already").plain()
    return say("acts.scream_blocked", reason=seen.blocked).plain() if seen.blocked is not None else None


def _heard(work: Work, trial: ScreamStepRow) -> Sequence[Caller] | Gap:
    if not trial.audible or not isinstance(work.provider, Listens):
        return ()
    return work.provider.heard(replace(work.target, credential_kind=trial.target_kind), trial.off_at)


def _keep(work: Work, again_at: datetime, found: Listened, now: datetime) -> None:
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        row.claimed_until = None
        trial = steps.step_of(row)
        if row.status is not RemediationStatus.TESTING or trial is None:
            return  # somebody pressed Undo meanwhile
        row.due_at = now if was_raised(work, row) else again_at
        if found.gap is None:
            trial.heard_until = now
        if row.because != found.gap:
            row.because = found.gap
            redraw(session, row.ask_id)


# -- a step ends -------------------------------------------------------------------------------------------------------


def _back(work: Work, back: Back, calls: Sequence[Caller]) -> None:
    """Turn it on again, whatever can be seen of it, and write down what the step told."""
    assert isinstance(work.provider, Disables)
    if not _restoring(work, back, calls):
        return
    work.hold.check()
    try:
        work.provider.enable(work.target)
    except ProviderError as error:
        if work.provider.look(work.target) is None:
            stop(work, State.REFUSED, say("acts.doubt_gone").plain())
            return
        why = say("acts.undo_not_yet", error=str(error)).plain()
        later(work, why, SOON)
        return
    _restored(work, back, calls)


def _restoring(work: Work, back: Back, calls: Sequence[Caller]) -> bool:
    """Write that it is about to be turned on, and who called, if that is why; return whether it still is to be."""
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        if row.status is not RemediationStatus.TESTING:
            row.claimed_until = None
            return False
        if steps.state_of(row) is not State.RESTORING:
            if calls and (trial := steps.step_of(row)) is not None:
                trial.heard = screamed.call_json(calls[0])
            steps.advance(session, row, State.RESTORING, work.clock(), because=back.because, outcome=back.outcome.value)
    return True


def _restored(work: Work, back: Back, calls: Sequence[Caller]) -> None:
    now = work.clock()
    with work.sessions.begin() as session:
        row = steps.locked(session, work.row.id)
        work.hold.check_of(row)
        row.claimed_until = None
        trial = steps.step_of(row)
        if row.status is not RemediationStatus.TESTING or trial is None:
            return
        lag = timedelta(seconds=trial.lag_seconds)
        is_judged = back.outcome is not Outcome.SILENT or not lag
        if was_raised(work, row):
            row.due_at = now
            return
        row.credential.status = CredentialStatus.ACTIVE  # a scan during the step may have seen it off
        _end(session, row, trial, back.outcome if is_judged else None, calls, now)
        if back.outcome is Outcome.HEARD:
            screamed.tell(session, row, State.REFUSED, calls[0] if calls else None, now)
        elif back.outcome is Outcome.DISTURBED:
            steps.advance(session, row, State.REFUSED, now, because=back.because)
            record(session, row, "remediation.refused", now, because=back.because)
        else:
            _schedule(session, row, work, lag, now)
        redraw(session, row.ask_id)
    work.tally.back.append(work.row.id)


def _schedule(session: Session, row: RemediationRow, work: Work, lag: timedelta, now: datetime) -> None:
    """Let the next step begin when somebody is at work, and late calls are in the log."""
    trial = row.trials[-1]
    # What is not judged yet is planned on as silent; the judgement, before the next step, has the last word.
    outcomes = [each.outcome or Outcome.SILENT for each in row.trials]
    length = screaming.step_length(_ladder(row), outcomes)
    row.due_at = _begins_at(session, row, length, work.policy, now + lag)
    steps.advance(
        session, row, State.SCHEDULED, now, because=_next_words(trial.number, length, row.due_at), step=trial.number
    )


def _end(
    session: Session,
    row: RemediationRow,
    trial: ScreamStepRow,
    outcome: Outcome | None,
    calls: Sequence[Caller],
    now: datetime,
) -> None:
    """Write how a step ended. `outcome` None: it is on again, and late calls may still come in."""
    trial.outcome, trial.back_at = outcome, trial.back_at or now
    trial.heard = screamed.call_json(calls[0]) if calls else trial.heard
    told_of = {
        "step": trial.number,
        "outcome": outcome.value if outcome else None,
        "heard": screamed.public(trial.heard),
    }
    record(session, row, "scream_test.back" if outcome is None else "scream_test.ended", now, **told_of)
