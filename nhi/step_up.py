"""A second proof of who somebody is, for one act, for five minutes: a code of their authenticator (RFC 6238), or a
sign-in at the identity provider (nhi/sign_ins.py).

No secret is stored: each person's follows from NHI_STEP_UP_KEY, their e-mail and how often they enrolled. A code is
good once, and ten wrong ones lock somebody out for a quarter of an hour.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from enum import StrEnum

import pyotp
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from nhi import ledger
from nhi.errors import BadAnswer, SettingsError
from nhi.tables import AuthenticatorRow, PersonRow, StepUpRow, new_id
from nhi.words import sentence

GOOD_FOR = timedelta(minutes=5)
FAILURES_AT_MOST = 10
LOCKED_FOR = timedelta(minutes=15)
SHORTEST_KEY = 32  # characters of NHI_STEP_UP_KEY
_STEP = 30  # seconds, as every authenticator counts
_ISSUER = "NHI"
CODE, SIGN_IN = "code", "sign_in"  # by what it was proved


class Proof(StrEnum):
    """What became of a code."""

    GOOD = "good"
    WRONG = "wrong"
    LOCKED = "locked"
    NOT_ENROLLED = "not_enrolled"


def why_not(proof: Proof) -> str:
    """Return what somebody is told whose code was not taken."""
    return sentence(f"refusals.code_{proof.value}")


def check_key(key: str | None) -> str:
    """Return NHI_STEP_UP_KEY. Raises SettingsError, one sentence, where it is missing or too short."""
    if key is None or len(key.strip()) < SHORTEST_KEY:
        raise SettingsError(sentence("refusals.step_up_key", shortest=SHORTEST_KEY))
    return key.strip()


def enrol(session: Session, email: str, *, key: str, by: str, now: datetime) -> str:
    """Give somebody a new authenticator; return its otpauth address, to be shown once. The former is worth nothing."""
    row = session.get(AuthenticatorRow, email)
    if row is None:
        row = AuthenticatorRow(email=email, serial=0, failures=0)
        session.add(row)
    row.serial, row.enrolled_at, row.by = row.serial + 1, now, by[:255]
    row.last_step, row.failures, row.locked_until = None, 0, None
    session.flush()
    facts = {"serial": row.serial}
    ledger.record(session, "authenticator.enrolled", now=now, facts=facts, private={"email": email, "by": by})
    return _totp(key, row).provisioning_uri(name=email, issuer_name=_ISSUER)


def _totp(key: str, row: AuthenticatorRow) -> pyotp.TOTP:
    seed = hmac.new(key.encode(), f"nhi-totp\n{row.email}\n{row.serial}".encode(), hashlib.sha256).digest()[:20]
    return pyotp.TOTP(base64.b32encode(seed).decode(), interval=_STEP)


def prove(session: Session, who: PersonRow, about: str, code: str, *, key: str, now: datetime) -> Proof:
    """Take a code for one act. Commit what this writes whatever it returns: wrong codes are counted."""
    row = session.get(AuthenticatorRow, who.email)
    if row is None:
        return Proof.NOT_ENROLLED
    if row.locked_until is not None and row.locked_until > now:
        return Proof.LOCKED
    step = _matching_step(_totp(key, row), code, now)
    if step is None or not _spend_step(session, row.email, step):
        return _failed(session, row, about, now)
    row.failures, row.locked_until = 0, None
    write(session, who, about, now, by=CODE)
    return Proof.GOOD


def _matching_step(totp: pyotp.TOTP, code: str, now: datetime) -> int | None:
    """Return the half minute whose code this is, now or one before or after; None: it is nobody's."""
    current = int(now.timestamp()) // _STEP
    typed = "".join(code.split())
    if not (typed.isascii() and typed.isdecimal() and len(typed) == 6):
        return None
    steps = (current, current - 1, current + 1)
    return next((step for step in steps if hmac.compare_digest(totp.at(step * _STEP), typed)), None)


def _spend_step(session: Session, email: str, step: int) -> bool:
    """Take a half minute by one conditional UPDATE; return whether its code, and any later, was still to be had."""
    spent = session.execute(
        update(AuthenticatorRow)
        .where(
            AuthenticatorRow.email == email,
            or_(AuthenticatorRow.last_step.is_(None), AuthenticatorRow.last_step < step),
        )
        .values(last_step=step)
    )
    return bool(spent.rowcount == 1)  # type: ignore[attr-defined]


def _failed(session: Session, row: AuthenticatorRow, about: str, now: datetime) -> Proof:
    row.failures += 1
    if row.failures >= FAILURES_AT_MOST:
        row.failures, row.locked_until = 0, now + LOCKED_FOR
    session.flush()
    write_failed(session, row.email, about, now)
    return Proof.LOCKED if row.locked_until is not None and row.locked_until > now else Proof.WRONG


def write_failed(session: Session, email: str, about: str, now: datetime) -> None:
    """Tell the ledger of a proof that was none."""
    ledger.record(session, "step_up.failed", now=now, facts={"about": about}, private={"email": email})


def write(session: Session, who: PersonRow, about: str, now: datetime, *, by: str) -> None:
    """Write that somebody proved who they are, for one act: it is good for five minutes."""
    known = session.scalar(select(StepUpRow).where(StepUpRow.email == who.email, StepUpRow.about == about))
    if known is None:
        known = StepUpRow(id=new_id(), email=who.email, slack_id=who.slack_id, about=about)
        session.add(known)
    known.at, known.until = now, now + GOOD_FOR
    session.flush()
    facts = {"about": about, "by": by}
    ledger.record(session, "step_up.done", now=now, facts=facts, private={"email": who.email})


def demand(session: Session, email: str, about: str, now: datetime) -> None:
    """Raise BadAnswer where this person did not prove who they are, for this act, within the last five minutes."""
    found = select(StepUpRow.id).where(StepUpRow.email == email, StepUpRow.about == about, StepUpRow.until > now)
    if session.scalar(found) is None:
        raise BadAnswer(sentence("refusals.prove_first"), field="code")
