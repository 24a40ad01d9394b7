"""A sign-in at the identity provider as a second proof of who somebody is: for one person and one act, used once.

A link in Slack stands for the person and the act. Of the link, and of what goes through the browser, only hashes are
kept: whoever reads the database cannot go on with a sign-in. What ties the way back to the browser that began is a
cookie, from which the nonce and PKCE's verifier follow.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from nhi import authority, step_up
from nhi.errors import OutOfDate
from nhi.oidc import SignInFailed, email_of
from nhi.tables import PersonRow, SignInRow, new_id
from nhi.words import sentence

LINK_LASTS = timedelta(minutes=15)
KEPT = timedelta(days=1)  # of a link that is over


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What goes through the browser: the state, and the cookie that only the browser which began has."""

    state: str
    cookie: str

    @property
    def nonce(self) -> str:
        return _derived("nonce", self.cookie)

    @property
    def verifier(self) -> str:
        return _derived("verifier", self.cookie)

    @property
    def verifier_hash(self) -> str:
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A way back that belongs to a sign-in of ours, and was not taken before."""

    id: str
    begun: Begun
    began_at: datetime


def link(session: Session, who: PersonRow, about: str, now: datetime) -> str:
    """Return a new token for the link: for this person and this act. What is long over is cleared away."""
    session.execute(delete(SignInRow).where(SignInRow.until < now - KEPT))
    token = secrets.token_urlsafe(32)
    session.add(
        SignInRow(
            id=new_id(),
            token_hash=_hash(token),
            email=who.email,
            slack_id=who.slack_id,
            about=about,
            until=now + LINK_LASTS,
        )
    )
    session.flush()
    return token


def begin(session: Session, token: str, now: datetime) -> Begun:
    """Begin a sign-in, or begin it anew: the way back of an earlier try is worth nothing then. Raises OutOfDate."""
    begun = Begun(state=secrets.token_urlsafe(32), cookie=secrets.token_urlsafe(32))
    started = session.execute(
        update(SignInRow)
        .where(SignInRow.token_hash == _hash(token), SignInRow.until > now, SignInRow.used_at.is_(None))
        .values(state_hash=_hash(begun.state), cookie_hash=_hash(begun.cookie), began_at=now)
    )
    if started.rowcount != 1:  # type: ignore[attr-defined]
        raise OutOfDate(sentence("sign_in.over"))
    return begun


def take(session: Session, state: str, cookie: str, now: datetime) -> Taken:
    """Take the way back, once: by one conditional UPDATE. Raises OutOfDate."""
    row = session.scalar(
        select(SignInRow).where(SignInRow.state_hash == _hash(state), SignInRow.cookie_hash == _hash(cookie))
    )
    taken = session.execute(
        update(SignInRow)
        .where(
            SignInRow.state_hash == _hash(state),
            SignInRow.cookie_hash == _hash(cookie),
            SignInRow.until > now,
            SignInRow.used_at.is_(None),
        )
        .values(state_hash=None, cookie_hash=None)
        .execution_options(synchronize_session=False)
    )
    if row is None or row.began_at is None or taken.rowcount != 1:  # type: ignore[attr-defined]
        raise OutOfDate(sentence("sign_in.over"))
    return Taken(id=row.id, begun=Begun(state=state, cookie=cookie), began_at=row.began_at)


def finish(session: Session, taken: Taken, claims: Mapping[str, Any], now: datetime) -> PersonRow:
    """Write the proof of whoever the link was for, where it is they who signed in. Raises SignInFailed or OutOfDate."""
    row = session.get_one(SignInRow, taken.id)
    who = authority.person(session, row.slack_id)
    email = email_of(claims)
    if email is None:
        raise SignInFailed(sentence("sign_in.not_vouched"))
    if email != row.email.lower() or who.email != row.email:
        raise SignInFailed(sentence("sign_in.somebody_else"))
    used = session.execute(
        update(SignInRow).where(SignInRow.id == row.id, SignInRow.used_at.is_(None)).values(used_at=now)
    )
    if used.rowcount != 1:  # type: ignore[attr-defined]
        raise OutOfDate(sentence("sign_in.over"))
    step_up.write(session, who, row.about, now, by=step_up.SIGN_IN)
    return who


def failed(session: Session, taken: Taken, now: datetime) -> None:
    """Write that a sign-in proved nothing."""
    row = session.get_one(SignInRow, taken.id)
    step_up.write_failed(session, row.email, row.about, now)


def _derived(name: str, cookie: str) -> str:
    return _base64url(hashlib.sha256(f"nhi-{name}\n{cookie}".encode()).digest())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
