"""The second person in Slack: the question to them, what they press, and the code that policy may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import codes, modals
from bot.card import findings_list, header, join, told
from bot.messages import Message
from bot.render import Blocks, Json, say
from bot.slack import After, Bot, Decide
from nhi import approvals, facts, risk
from nhi.errors import BadAnswer
from nhi.policy import Policy
from nhi.records import identity_of
from nhi.tables import ApprovalRow, AttestationRow, RemediationRow

KIND = "second"  # of a delivery


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw(session: Session, delivery_id: str, policy: Policy) -> Message:
    """Draw the question to a second person as things are now."""
    approval = session.scalars(select(ApprovalRow).where(ApprovalRow.delivery_id == delivery_id)).one()
    return question(_facts(session, approval, policy))


def _facts(session: Session, approval: ApprovalRow, policy: Policy) -> Json:
    act = session.get_one(RemediationRow, approval.remediation_id)
    attestation = session.get_one(AttestationRow, act.attestation_id)
    return {
        "approval": approval.id,
        "state": _state(approval, act),
        "identity": facts.identity_json(act.identity),
        "findings": attestation.shown.get("facts", {}).get("findings", []),
        "act": {"kind": act.kind.value},
        "key": act.credential.external_id,
        "first": attestation.name,
        "decided_at": facts.when(approval.decided_at or act.planned_at),
        "because": approval.because,
        "ends_at": facts.when(approvals.ends_at(approval, policy)),
        "name": approval.name,
        "use_was_shown": act.facts.get("use_was_shown", True),
        "last_used_at": act.facts["shown_last_used_at"],
    }


def _state(approval: ApprovalRow, act: RemediationRow) -> str:
    if approval.decided_at is None:
        return "open"
    if approvals.is_late(approval, act):
        return "late"
    return {True: "agreed", False: "declined", None: "off"}[approval.agreed]


def question(shown: Json) -> Message:
    """Return the question, or what became of it. Pure."""
    about = {**shown, "told": told(shown)}
    is_open = shown["state"] == "open"
    what = say("second.what", **about) if is_open else say("second.answered", **about)
    lists = [findings_list(shown["findings"])] if is_open and shown["findings"] else []
    blocks: Blocks = [
        {"type": "header", "text": say("second.heading", **about).plain_text(150)},
        join(header(shown), *lists, what).rich(),
    ]
    if is_open:
        blocks += [say("second.known", **about).context(), say("second.silence", **about).context(), _buttons(shown)]
    return Message(blocks=blocks, text=say("second.text", **about).spoken())


def _buttons(shown: Json) -> Json:
    agree = _button("agree", shown) | {"style": "primary", "confirm": _confirm(shown)}
    elements = [agree, _button("decline", shown)]
    return {"type": "actions", "block_id": f"second:{shown['approval']}", "elements": elements}


def _button(name: str, shown: Json) -> Json:
    label = say(f"second.button_{name}")
    spoken = say("second.button_spoken", label=label.plain(), identity=shown["identity"])
    return {
        "type": "button",
        "action_id": f"nhi:{name}",
        "text": label.plain_text(75),
        "accessibility_label": spoken.plain(75),
        "value": shown["approval"],
    }


def _confirm(shown: Json) -> Json:
    return {
        "title": say("second.confirm_title").plain_text(100),
        "text": say("second.confirm", **shown).plain_text(300),
        "confirm": say("second.confirm_yes").plain_text(30),
        "deny": say("second.confirm_no").plain_text(30),
    }


def form(shown: Json, ways: codes.Ways) -> Json:
    """Draw the form that asks the second person for their proof."""
    return {
        "type": "modal",
        "callback_id": "nhi:agree",
        "private_metadata": shown["approval"],
        "title": say("second.agree_title").plain_text(24),
        "close": say("modals.cancel").plain_text(24),
        "submit": say("second.agree_submit").plain_text(24),
        "blocks": [
            header(shown).rich(),
            *([] if ways.link else [say("second.agree_intro").context()]),
            *modals.proof(typed=ways.typed, link=ways.link),
        ],
    }


# -- clicks ------------------------------------------------------------------------------------------------------------


def register(app: App, bot: Bot) -> None:
    """Listen for the second person's buttons and form."""
    clicks = Clicks(bot=bot)
    app.action("nhi:agree")(clicks.agree)
    app.view("nhi:agree")(clicks.submit)


def deciding(bot: Bot) -> dict[str, Decide]:
    """Return the second person's button that only decides."""
    return {"nhi:decline": Clicks(bot=bot).decline}


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Parse, one use case, then ack; what follows may be lost."""

    bot: Bot

    def agree(self, ack: Ack, body: Json) -> None:
        now, policy = self.bot.clock(), self.bot.policy()
        with self.bot.writing() as session:
            approving = approvals.begin(session, _value(body), slack_id=body["user"]["id"], policy=policy, now=now)
            shown = _facts(session, approving.approval, policy)
            asks = _takes_code(approving.act, policy)
            if not asks:
                act = approvals.decide(session, approving, agrees=True, now=now)
                done = (act.id, act.ask_id)
        ways = codes.ways(self.bot, body["user"]["id"], shown["approval"]) if asks else None
        ack()
        if ways is not None:
            self.bot.later(codes.open_form, self.bot, body, form(shown, ways))
        else:
            self._follow_up(*done)

    def decline(self, session: Session, body: Json) -> After:
        now, policy = self.bot.clock(), self.bot.policy()
        approving = approvals.begin(session, _value(body), slack_id=body["user"]["id"], policy=policy, now=now)
        act = approvals.decide(session, approving, agrees=False, now=now)
        return partial(self._follow_up, act.id, act.ask_id)

    def submit(self, ack: Ack, body: Json, view: Json) -> None:
        """Take the code, and then the answer. Who submits is checked again."""
        now, policy, slack_id = self.bot.clock(), self.bot.policy(), body["user"]["id"]
        approval_id = codes.opaque(view.get("private_metadata"))
        try:
            if codes.is_asked(view):
                codes.prove(self.bot, approval_id, slack_id, view)
            with self.bot.writing() as session:
                act = self._agree_proven(session, approval_id, slack_id, policy, now)
                done = (act.id, act.ask_id)
        except BadAnswer as error:
            codes.refuse(ack, error, view)
            return
        ack()
        self._follow_up(*done)

    def _agree_proven(
        self, session: Session, approval_id: str, slack_id: str, policy: Policy, now: datetime
    ) -> RemediationRow:
        approving = approvals.begin(session, approval_id, slack_id=slack_id, policy=policy, now=now)
        codes.demand(session, approving.who.email, approval_id, now)
        return approvals.decide(session, approving, agrees=True, now=now)

    def _follow_up(self, remediation_id: str, ask_id: str | None) -> None:
        if ask_id is not None:
            self.bot.redraw(ask_id)
        self.bot.later(self.bot.defer, "remediate", remediation_id)
        self.bot.later(self.bot.defer, "deliver", remediation_id)


def _takes_code(act: RemediationRow, policy: Policy) -> bool:
    return risk.required(identity_of(act.identity), policy, act.credential.kind).step_up


def _value(body: Json) -> str:
    return codes.opaque(body["actions"][0].get("value"))
