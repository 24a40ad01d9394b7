"""`/nhi snooze` and `/nhi delegate`: what and who is to be left alone, until a day that is always named."""

from __future__ import annotations

import re
from datetime import date, timedelta

from sqlalchemy import select

from bot import delivery, messages
from bot.messages import Message
from bot.typed import Asked, mentioned, plain_text
from nhi import answers, authority, days, facts, ledger, patience
from nhi.errors import NotAllowed
from nhi.escalation import AskStatus
from nhi.shadow import is_shadow
from nhi.tables import AskRow, DelegationRow, IdentityRow, PersonRow, new_id
from nhi.words import sentence

DELEGATED_AT_MOST = timedelta(days=180)
NAMES_SHOWN = 5
OFF = ("off", "none", "stop", "end")


def snooze(asked: Asked) -> Message:
    """Leave one identity alone until a day; security is told who asked for it."""
    found, day = _read_snooze(asked)
    ask = asked.session.scalar(select(AskRow).where(AskRow.identity_id == found.id, AskRow.status == AskStatus.OPEN))
    right = authority.authority(asked.session, asked.who, found, ask, asked.policy, asked.now)
    if right is None or right.startswith(authority.MEMBER_OF):
        raise NotAllowed(sentence("commands.snooze_refused"))
    patience.snooze(asked.session, found, asked.who, day, asked.now)
    told = sentence("commands.snoozed_told", who=asked.who.name, name=found.name, day=day.isoformat())
    security = _security(asked)
    # In shadow mode admins see snoozes on their Home tab.
    for place in () if is_shadow(asked.session, asked.policy) else security:
        delivery.queue(asked.session, "notice", place, {"sentence": told}, [], asked.now)
    if ask is not None:
        answers.redraw(asked.session, ask.id)
        asked.later(asked.bot.redraw, ask.id)
    return messages.note(sentence("commands.snoozed", name=found.name, day=day.isoformat(), seen=bool(security)))


def _security(asked: Asked) -> list[str]:
    """Return who sees what is put off: the last channel that policy brings silence to; without one, the admins."""
    channels = [rung for rung in asked.policy.conversation.escalate_to if rung.startswith("#")]
    return channels[-1:] or [admin.slack_id for admin in authority.admins(asked.session, asked.policy)]


def _read_snooze(asked: Asked) -> tuple[IdentityRow, date]:
    """Return of what, and until which day. Raises NotAllowed with a sentence that says what is amiss."""
    name, _, until = asked.rest.rpartition(" until ")
    day = days.read_day(until, asked.today)
    if not name or day is None:
        raise NotAllowed(sentence("commands.snooze_how"))
    found = facts.find(asked.session, plain_text(name))
    if not found:
        raise NotAllowed(sentence("commands.snooze_unknown", name=plain_text(name)))
    if len(found) > 1:
        raise NotAllowed(sentence("commands.snooze_several", count=len(found), found=found[:NAMES_SHOWN]))
    return found[0], day


def delegate(asked: Asked) -> Message:
    """Let somebody be asked, and answer, in the sender's stead until the end of a day; the last word counts."""
    if asked.rest.strip().lower() in OFF:
        return messages.note(sentence("commands.delegate_off", names=_end_delegations(asked)))
    other, last_day = _read_delegation(asked)
    until = patience.end_of(last_day, asked.who.tz)
    same = select(DelegationRow.id).where(
        DelegationRow.email == asked.who.email,
        DelegationRow.delegate == other.email,
        DelegationRow.until == until,
        DelegationRow.until > asked.now,
    )
    if asked.session.scalar(same) is None:
        _end_delegations(asked)
        row = DelegationRow(id=new_id(), email=asked.who.email, delegate=other.email, since=asked.now, until=until)
        asked.session.add(row)
        ledger.record(
            asked.session,
            "delegation.given",
            now=asked.now,
            facts={"delegation": row.id, "until": until},
            private={"email": asked.who.email, "delegate": other.email},
        )
    return messages.note(sentence("commands.delegated", name=other.name, day=last_day.isoformat()))


def _end_delegations(asked: Asked) -> list[str]:
    """End what the sender gave before; return the names of who was to answer."""
    mine = select(DelegationRow).where(DelegationRow.email == asked.who.email, DelegationRow.until > asked.now)
    names = []
    for row in asked.session.scalars(mine.order_by(DelegationRow.since, DelegationRow.id)):
        row.until = asked.now
        name = asked.session.scalar(select(PersonRow.name).where(PersonRow.email == row.delegate).limit(1))
        names.append(name or row.delegate)
        private = {"email": row.email, "delegate": row.delegate}
        ledger.record(asked.session, "delegation.ended", now=asked.now, facts={"delegation": row.id}, private=private)
    asked.session.flush()
    return list(dict.fromkeys(names))


def _read_delegation(asked: Asked) -> tuple[PersonRow, date]:
    """Return to whom and until which day. Raises NotAllowed with a sentence that says what is amiss."""
    named = mentioned(asked.rest)
    last_day = days.read_day(re.sub(r"<@[^>]*>", " ", asked.rest), asked.today)
    if len(named) != 1 or last_day is None:
        raise NotAllowed(sentence("commands.delegate_how"))
    latest = asked.today + DELEGATED_AT_MOST
    if not asked.today <= last_day <= latest:
        raise NotAllowed(sentence("commands.delegate_when", day=latest.isoformat()))
    other = asked.session.get(PersonRow, named[0])
    if other is None or not authority.is_able(other) or not other.email:
        raise NotAllowed(sentence("commands.delegate_who"))
    if other.slack_id == asked.who.slack_id or not asked.who.email:
        raise NotAllowed(sentence("commands.delegate_self"))
    return other, last_day
