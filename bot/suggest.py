"""After "not mine": the form that asks whose it may be. The answer is recorded before it opens; it may be dismissed."""

from __future__ import annotations

import logging
import re
from datetime import datetime

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import messages, metrics, modals
from bot.card import kind_of
from bot.render import say
from bot.slack import UNWELL, Bot, Json, one_sentence, trouble
from nhi import facts, suggestions
from nhi.answers import Answered
from nhi.database import reading
from nhi.errors import BadAnswer, OutOfDate
from nhi.policy import Policy
from nhi.suggestions import Suggested
from nhi.tables import IdentityRow
from nhi.words import sentence

log = logging.getLogger(__name__)

_OPAQUE = re.compile(r"[A-Za-z0-9]{1,64}")


def register(app: App, bot: Bot) -> None:
    """Listen for the submitted form."""
    app.view("nhi:suggest")(lambda ack, body, view: submit(bot, ack, body, view))


def form(identity: Json, attestation_id: str) -> Json:
    """Draw the form. Both fields are optional, and so is the form."""
    return {
        "type": "modal",
        "callback_id": "nhi:suggest",
        "private_metadata": attestation_id,
        "title": say("handover.suggest_title").plain_text(24),
        "submit": say("handover.suggest_submit").plain_text(24),
        "close": say("handover.suggest_close").plain_text(24),
        "blocks": [
            say("modals.about", kind=kind_of(identity), identity=identity).rich(),
            say("handover.suggest_intro").rich(),
            _field("person", {"type": "users_select", "action_id": "person"}),
            _field("email", {"type": "email_text_input", "action_id": "email"}),
        ],
    }


def _field(name: str, element: Json) -> Json:
    label = say(f"handover.suggest_{name}").plain_text(2000)
    return {"type": "input", "block_id": name, "optional": True, "label": label, "element": element}


def offer(bot: Bot, body: Json, answered: Answered) -> None:
    """Open the form. Where it does not open nothing is lost: "not mine" is recorded already."""
    with reading(bot.sessions) as session:
        identity = facts.identity_json(session.get_one(IdentityRow, answered.identity_id))
    try:
        bot.client.views_open(trigger_id=body["trigger_id"], view=form(identity, answered.attestation_id))
    except UNWELL as error:
        log.info("the form after “not mine” did not open: %s", trouble(error).code)


def submit(bot: Bot, ack: Ack, body: Json, view: Json) -> None:
    """Record the suggestion in one short transaction, then say what comes of it."""
    now, policy = bot.clock(), bot.policy()
    try:
        with bot.writing() as session:
            suggested = _suggest(session, body, view, policy, now)
            identity = session.get_one(IdentityRow, suggested.identity_id)
            thanks = thank(suggested, facts.identity_json(identity))
    except BadAnswer as error:
        metrics.REFUSALS.labels(reason="BadAnswer").inc()
        ack(response_action="errors", errors=modals.errors(error, view))
        return
    ack(response_action="update", view=one_sentence(thanks))


def _suggest(session: Session, body: Json, view: Json, policy: Policy, now: datetime) -> Suggested:
    attestation_id = view.get("private_metadata")
    if not isinstance(attestation_id, str) or not _OPAQUE.fullmatch(attestation_id):
        raise OutOfDate(sentence("refusals.form_out_of_date"))
    return suggestions.suggest(
        session,
        attestation_id,
        slack_id=body["user"]["id"],
        chosen=_entered(view, "person", "selected_user"),
        typed=_entered(view, "email", "value"),
        policy=policy,
        now=now,
    )


def _entered(view: Json, field: str, carried: str) -> str | None:
    """Return what was entered, or None; what is no short text counts as nothing."""
    found: object = view
    for key in ("state", "values", field, field, carried):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) and len(found) <= 320 else None


def thank(suggested: Suggested, identity: Json) -> messages.Message:
    """Return the thanks, and what comes of it."""
    words = say(
        "handover.suggest_thanks",
        name=suggested.name,
        identity=identity,
        passed_before=suggested.passed_before,
        loop=list(suggested.loop or ()),
    )
    return messages.Message(blocks=[words.rich()], text=words.spoken())
