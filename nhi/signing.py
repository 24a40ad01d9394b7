"""Management's signature under a closed review: once, with name, role and words, over its exact figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from nhi import campaigns, ledger, review_facts, reviews
from nhi.database import lock_writers
from nhi.errors import AlreadyAnswered, BadAnswer, NotAllowed, OutOfDate
from nhi.policy import Policy
from nhi.redact import holds_secret, one_line
from nhi.reviews import Quarter
from nhi.tables import PersonRow, ReviewSignatureRow, new_id
from nhi.words import sentence

LONGEST_WORDS = 2000


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Who signs, and with which hand. `person` None: on the command line, whose account `by` names."""

    name: str
    role: str
    words: str
    by: str
    person: PersonRow | None = None


def sign(session: Session, quarter: Quarter | str, signer: Signer, policy: Policy, now: datetime) -> ReviewSignatureRow:
    """Write management's word on a closed campaign, with its result. Raises where it is open, or signed already."""
    lock_writers(session)
    row = campaigns.get(session, quarter)
    if row.closed_at is None:
        raise OutOfDate(sentence("refusals.sign_not_yet", quarter=row.quarter))
    if signer.person is not None and signer.person.slack_id not in _signers(session, policy):
        raise NotAllowed(sentence("refusals.sign_not_you"))
    name, role = _filled(signer.name, "name", 200), _filled(signer.role, "role", 200)
    words = _filled(signer.words, "words", LONGEST_WORDS)
    known = session.scalar(select(ReviewSignatureRow).where(ReviewSignatureRow.campaign_id == row.id))
    if known is not None:
        raise AlreadyAnswered(sentence("refusals.signed_already", name=known.name, quarter=row.quarter, at=known.at))
    signature = ReviewSignatureRow(
        id=new_id(),
        campaign_id=row.id,
        name=name,
        role=role,
        words=words,
        email=signer.person.email if signer.person else None,
        slack_id=signer.person.slack_id if signer.person else None,
        by=signer.by[:255],
        result_hash=reviews.digest(row.result),
        at=now,
    )
    session.add(signature)
    session.flush()
    facts = {"campaign": row.id, "quarter": row.quarter, "signature": signature.id, "result": signature.result_hash}
    ledger.record(
        session,
        "review.signed",
        now=now,
        facts=facts,
        private={"name": name, "role": role, "words": words, "email": signature.email, "by": signer.by},
    )
    return signature


def _signers(session: Session, policy: Policy) -> set[str]:
    return {person.slack_id for person in review_facts.signers(session, policy)}


def _filled(text: str, field: str, longest: int) -> str:
    """Return what was typed, tidied. Raises BadAnswer: empty, too long, or it holds a secret."""
    said = one_line(text)
    if len(said) < 2:
        raise BadAnswer(sentence("refusals.empty"), field=field)
    if len(said) > longest:
        raise BadAnswer(sentence("refusals.too_long", longest=longest), field=field)
    if holds_secret(said) or holds_secret(text):
        raise BadAnswer(sentence("refusals.holds_secret"), field=field)
    return said
