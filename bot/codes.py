"""The second proof in a form: the ways to it, how a code is taken, and that there was one (nhi/step_up.py)."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime

from slack_bolt import Ack
from sqlalchemy.orm import Session

from bot import messages, modals
from bot.render import Json
from bot.slack import UNWELL, Bot, one_sentence, tell, trouble
from nhi import authority, sign_ins, step_up
from nhi.errors import BadAnswer, OutOfDate
from nhi.step_up import Proof
from nhi.words import sentence

log = logging.getLogger(__name__)

_OPAQUE = re.compile(r"[A-Za-z0-9]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How somebody may prove who they are, for a form to offer."""

    typed: bool = True  # a code of an authenticator
    link: str | None = None  # where to sign in; None: there is nowhere


def ways(bot: Bot, slack_id: str, about: str) -> Ways:
    """Return the ways for one person and one act. A link is written down, in a transaction of its own."""
    if bot.signs_in_at is None:
        return Ways()
    with bot.writing() as session:
        token = sign_ins.link(session, authority.person(session, slack_id), about, bot.clock())
    return Ways(typed=bot.step_up_key is not None, link=bot.signs_in_at + token)


def is_asked(view: Json) -> bool:
    """Whether a form had the field."""
    return any(isinstance(block, dict) and block.get("block_id") == "code" for block in view.get("blocks") or [])


def prove(bot: Bot, about: str, slack_id: str, view: Json) -> None:
    """Take the code of a form for one act. What it writes is kept, also of a wrong code. Raises BadAnswer.

    Without a code, somebody may have signed in instead.
    """
    typed = _typed(view)
    if not typed.strip() and bot.signs_in_at is not None:
        return  # `demand` says whether they did
    with bot.writing() as session:
        who = authority.person(session, slack_id)
        key = step_up.check_key(bot.step_up_key)
        proof = step_up.prove(session, who, about, typed, key=key, now=bot.clock())
    if proof is not Proof.GOOD:
        raise BadAnswer(step_up.why_not(proof), field="code")


def refuse(ack: Ack, error: BadAnswer, view: Json) -> None:
    """Say what is wrong beside the form's field; a form without any stays, with the sentence above it."""
    if any(block.get("type") == "input" for block in view["blocks"]):
        ack(response_action="errors", errors=modals.errors(error, view))
    else:
        ack(response_action="push", view=one_sentence(messages.sorry(str(error))))


def demand(session: Session, email: str, about: str, now: datetime) -> None:
    """Raise BadAnswer where this person gave no good code for this act within five minutes."""
    step_up.demand(session, email, about, now)


def _typed(view: Json) -> str:
    found: object = view
    for name in ("state", "values", "code", "code"):
        found = found.get(name) if isinstance(found, dict) else None
    typed = found.get("value") if isinstance(found, dict) else None
    return typed if isinstance(typed, str) else ""


def opaque(value: object) -> str:
    """Return an id of ours. Raises OutOfDate for anything else."""
    if isinstance(value, str) and _OPAQUE.fullmatch(value):
        return value
    raise OutOfDate(sentence("refusals.question_out_of_date"))


def open_form(bot: Bot, body: Json, view: Json) -> None:
    """Open a form; where Slack does not take it in time, say that nothing was recorded."""
    try:
        bot.client.views_open(trigger_id=body["trigger_id"], view=view)
    except UNWELL as error:
        log.warning("a form could not be opened: %s", trouble(error).code)
        if body.get("response_url"):
            tell(bot, body, messages.sorry(sentence("commands.form_late")))
