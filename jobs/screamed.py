"""Something called while it was off: write it down, tell who decided, and keep what that says of its owner."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from bot import delivery
from bot.card import told
from bot.render import say
from jobs.handling import record
from jobs.trails import renew_evidence
from nhi import facts, steps
from nhi.answers import redraw
from nhi.certificate import Caller, instant
from nhi.identity import Evidence
from nhi.remediation import State
from nhi.tables import AttestationRow, RemediationRow

SOURCE = "scream"


def call_json(call: Caller) -> dict[str, Any]:
    return {
        "at": instant(call.at),
        "who": call.who,
        "from": call.where,
        "for": call.what,
        "with": call.tool,
        "person": call.person,
    }


def caller_of(call: dict[str, Any]) -> Caller:
    """Return a call as `call_json` wrote it."""
    return Caller(
        at=datetime.fromisoformat(call["at"]),
        who=call["who"],
        where=call["from"],
        what=call["for"],
        tool=call["with"],
        person=call["person"],
    )


def public(call: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what of a call names no person."""
    return {name: call[name] for name in ("at", "for")} if call else None


def tell(session: Session, row: RemediationRow, state: State, call: Caller | None, now: datetime) -> None:
    """Write that something called: it is on, and stays so; tell who decided; keep what that says of its owner."""
    words = {"what": call.what if call else None, "where": call.where if call else None, "at": call.at if call else now}
    why = say("acts.scream_heard", **words).plain()
    steps.advance(session, row, state, now, because=why)
    record(session, row, "scream_test.heard", now, because=why)
    person = call.person if call else None
    if person is not None:
        write_evidence(session, row, person, say("acts.scream_evidence", who=person, **words).plain(), now)
    decided = session.get_one(AttestationRow, row.attestation_id)
    about = told({"identity": facts.identity_json(row.identity)})
    sentence = say("acts.scream_notice", told=about, why=why).plain()
    delivery.queue(session, "notice", decided.slack_id, {"sentence": sentence}, [], now)
    redraw(session, row.ask_id)


def write_evidence(session: Session, row: RemediationRow, person: str, fact: str, now: datetime) -> None:
    """Keep who screamed as evidence of who owns it."""
    known = Evidence(source=SOURCE, fact=fact, points_to=person, at=now, identity_key=row.identity.key)
    renew_evidence(session, row.identity_id, known, now)
