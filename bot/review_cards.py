"""The review's messages and forms: facts in, blocks out. Pure.

One card at a time, or a list of LIST_AT_MOST a page: Slack takes 50 blocks and about 10,000 characters in a message,
and a reviewer may have thousands of items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bot.card import findings_in_words, grown_in_words, kind_of
from bot.messages import first_name
from bot.render import Blocks, Json, Message, Words, fitting, say, text_length
from bot.review_words import changes_in_words, credential_words, powers_in_words, use_in_words
from nhi.errors import BadAnswer, OutOfDate
from nhi.redact import tidy
from nhi.words import read_moment, sentence

LIST_AT_MOST = 10
CARD_CHARACTERS = 3500
LINE_CHARACTERS = 700
POLICIES_AT_MOST = 6
CREDENTIALS_AT_MOST = 3
FINDINGS_AT_MOST = 3
NAMES_AT_MOST = 12
CREDENTIAL_OPTIONS_AT_MOST = 10
SILENT_AT_MOST = 20
LONGEST_TYPED = 2000

Offered = tuple[Json, str | None]  # an item's facts as shown, and the id of the offer behind its buttons


def board(about: Json, cards: Sequence[Offered], alike: Offered | None, last: Offered | None) -> Message:
    """Return the message on which somebody reviews.

    `about`: kind, name, email, for_somebody, quarter, due_at, to, left, total, decided, carried, minutes, again,
    again_because, as_list, page, pages, delivery, mode. `cards` are what is shown now, `alike` those with the same
    facts as the one card, `last` the reader's last answer.
    """
    about = about | {"name": first_name(about["name"]), "first": _told(cards[0][0]) if cards else ""}
    blocks: Blocks = [
        {"type": "header", "text": say("review.heading", **about).plain_text(150)},
        say("review.intro", **about).rich(),
    ]
    if about["left"]:
        blocks.append(say("review.progress", **about).context())
    for facts, offer_id in cards:
        blocks.append({"type": "divider"})
        blocks += _line(facts, offer_id, about) if about["as_list"] else _card(facts, offer_id, about)
    if alike is not None and not about["as_list"]:
        blocks += _alike(*alike)
    return Message(blocks=[*blocks, *_foot(about, last)], text=say("review.text", **about).spoken())


def _told(facts: Json) -> str:
    return f"{kind_of(facts['identity'])} {tidy(facts['identity']['name'], 80)}"


def _card(facts: Json, offer_id: str | None, about: Json) -> Blocks:
    buttons = _buttons(facts, offer_id, about, (*_answers(facts, about), "details", "later"))
    return [*fitting(lambda shown: _said(shown, about), facts, CARD_CHARACTERS - text_length(buttons)), *buttons]


def _said(facts: Json, about: Json) -> Blocks:
    return [
        say("review.card", **_shared(facts), **_history(facts)).rich(),
        say("review.facts", **_known(facts)).rich(),
        say("review.why", **_why(facts), for_somebody=about["for_somebody"]).context(),
    ]


def _shared(facts: Json) -> Json:
    identity = facts["identity"]
    return {"what": kind_of(identity), "identity": identity, "privileged": facts["privileged"], "risk": facts["risk"]}


def _history(facts: Json) -> Json:
    return {
        "changes": changes_in_words(facts["changes"]),
        "since_opening": changes_in_words(facts["since_opening"]),
        "last_decided_at": facts["last_decided_at"],
        "late": facts["late"],
        "asked_again": facts["asked_again"],
    }


def _known(facts: Json) -> Json:
    policies, credentials = facts["permissions"]["policies"], facts["credentials"]
    return {
        "use": use_in_words(facts),
        "policies": policies[:POLICIES_AT_MOST],
        "more_policies": max(0, len(policies) - POLICIES_AT_MOST),
        "powers": powers_in_words(facts),
        "grew": grown_in_words(facts.get("grew")),
        "credentials": [credential_words(each) for each in credentials[:CREDENTIALS_AT_MOST]],
        "more_credentials": max(0, len(credentials) - CREDENTIALS_AT_MOST),
        "findings": facts["findings"][:FINDINGS_AT_MOST],
    }


def _why(facts: Json) -> Json:
    names = ("because", "self_review", "by_creator", "privileged")
    return {name: facts[name] for name in names} | {"note": facts.get("note")}


def _line(facts: Json, offer_id: str | None, about: Json) -> Blocks:
    buttons = _buttons(facts, offer_id, about, (*_answers(facts, about), "details"))
    return [*fitting(_one_line, facts, LINE_CHARACTERS - text_length(buttons)), *buttons]


def _one_line(facts: Json) -> Blocks:
    said = {
        "use": use_in_words(facts, in_line=True),
        "findings": findings_in_words([finding["kind"] for finding in facts["findings"]]),
        "changes": "; ".join(changes_in_words(facts["changes"])),
        "powers": powers_in_words(facts),
        "self_review": facts["self_review"],
    }
    return [say("review.line", **_shared(facts), **said).rich()]


def _answers(facts: Json, about: Json) -> Sequence[str]:
    """Return what this reader can answer: who may not review their own can only hand it over."""
    barred = facts["self_review"] and facts["privileged"] and not about["for_somebody"]
    return ("reassign",) if barred else ("keep", "off", "reassign")


def _buttons(facts: Json, offer_id: str | None, about: Json, names: Sequence[str]) -> Blocks:
    if offer_id is None:
        return []
    elements = [_button(name, offer_id, facts["identity"]["name"]) for name in names]
    for element in elements:
        if element["action_id"] == "nhi:review_off":
            element["style"] = "danger"
            if len(facts["can_disable"]) == 1:
                element["confirm"] = _confirm("off", mode=about["mode"])
    return [{"type": "actions", "block_id": f"review:{offer_id}", "elements": elements}]


def _button(name: str, value: str, spoken: str, **facts: Any) -> Json:
    label = say(f"review.button_{name}", **facts)
    return {
        "type": "button",
        "action_id": f"nhi:review_{name}",
        "text": label.plain_text(75),
        "accessibility_label": say("review.spoken", label=label.plain(), name=spoken).plain(75),
        "value": value,
    }


def _confirm(name: str, **facts: Any) -> Json:
    return {
        "title": say(f"review.confirm_{name}_title", **facts).plain_text(100),
        "text": say(f"review.confirm_{name}", **facts).plain_text(300),
        "confirm": say("review.confirm_yes").plain_text(30),
        "deny": say("review.confirm_no").plain_text(30),
    }


def _alike(facts: Json, offer_id: str | None) -> Blocks:
    """Offer to answer all with the same facts at one press. `facts`: count (the card's own included) and names."""
    count, names = facts["count"], [tidy(name, 60) for name in facts["names"]]
    words = {"count": count - 1, "names": names[:NAMES_AT_MOST], "more": max(0, len(names) - NAMES_AT_MOST)}
    blocks: Blocks = [{"type": "divider"}, say("review.alike", **words).rich()]
    if offer_id is not None:
        button = _button("all", offer_id, "", count=count) | {"confirm": _confirm("all", count=count)}
        blocks.append({"type": "actions", "block_id": f"review:{offer_id}", "elements": [button]})
    return blocks


def _foot(about: Json, last: Offered | None) -> Blocks:
    elements: list[Json] = []
    if about["left"]:
        elements.append(_button("cards" if about["as_list"] else "list", about["delivery"], about["quarter"]))
    if about["as_list"] and about["page"] > 0:
        elements.append(_button("back", about["delivery"], about["quarter"]))
    if about["as_list"] and about["page"] + 1 < about["pages"]:
        elements.append(_button("more", about["delivery"], about["quarter"]))
    blocks: Blocks = []
    if last is not None and last[1] is not None:
        elements.append(_button("reopen", last[1], last[0]["name"]))
        blocks.append(say("review.last_answer", **last[0]).context())
    if about["as_list"] and about["pages"] > 1:
        blocks.append(say("review.page", page=about["page"] + 1, pages=about["pages"]).context())
    if elements:
        blocks.append({"type": "actions", "block_id": f"board:{about['delivery']}", "elements": elements})
    return blocks


def plain(name: str, /, **facts: Any) -> Message:
    """Return one of the review's sentences as a message: `plain("moved")`."""
    words = say(f"review.{name}", **facts)
    return Message(blocks=[words.rich()], text=words.spoken())


def escalation(words: Json) -> Message:
    """Return what a manager or a channel is told of a silent reviewer."""
    heading = say("review.escalation_heading", **words)
    return _headed(heading, say("review.escalation", **words))


def _headed(heading: Words, body: Words, *more: Json) -> Message:
    blocks: Blocks = [{"type": "header", "text": heading.plain_text(150)}, body.rich(), *more]
    return Message(blocks=blocks, text=body.spoken())


def closed(about: Json, campaign_id: str) -> Message:
    """Return what is said at the close: the figures, who was silent, and, while it is not signed, the button."""
    silent = about["silent"]
    words = about | {"silent": silent[:SILENT_AT_MOST], "more_silent": max(0, len(silent) - SILENT_AT_MOST)}
    sign = {
        "type": "actions",
        "block_id": f"sign:{campaign_id}",
        "elements": [_button("sign", campaign_id, about["quarter"]) | {"style": "primary"}],
    }
    more = [sign] if about["signature"] is None and about["may_sign"] else []
    return _headed(say("review.closed_heading", **words), say("review.closed", **words), *more)


def chart(words: Json) -> Message:
    """Return the burn-down: the picture where it could be uploaded, and a bar in words beside it in any case."""
    about, alt = say("review.chart", **words), say("review.chart_alt", **words).plain(1900)
    percent = round(100 * words["decided"] / words["total"]) if words["total"] else 100
    full = percent // 5
    bar = say("review.chart_bar", bar="█" * full + "░" * (20 - full), percent=percent)
    blocks: Blocks = [about.rich(), bar.context()]
    if words.get("file"):
        blocks.insert(1, {"type": "image", "slack_file": {"id": words["file"]}, "alt_text": alt})
    return Message(blocks=blocks, text=say("review.chart_alt", **words).spoken())


def home_section(about: Json) -> Blocks:
    """Return the Home tab's section: how much is left, and the button that brings the board."""
    button = _button("open", about["campaign"], about["quarter"]) | {"style": "primary"}
    return [
        say("review.home", **about).rich(),
        {"type": "actions", "block_id": "review:home", "elements": [button]},
        {"type": "divider"},
    ]


# -- forms -------------------------------------------------------------------------------------------------------------


def keep_form(facts: Json, offer_id: str) -> Json:
    """Draw the form that asks why something of high risk is still needed. Block: reason."""
    return _modal("keep", offer_id, [_about(facts), _input("reason", _text_box("reason"), hint=True)])


def off_form(facts: Json, offer_id: str) -> Json:
    """Draw the form that says what is turned off. Block: credentials, where there is more than one to choose."""
    options = [
        {
            "value": each["row"],
            "text": say("review.option", id=each["id"]).plain_text(75),
            "description": _use_of(each).plain_text(75),
        }
        for each in facts["credentials"]
        if each["row"] in facts["can_disable"]
    ][:CREDENTIAL_OPTIONS_AT_MOST]
    if not options:
        return _modal("off", offer_id, [_about(facts), say("review.off_by_hand").rich()])
    element = {"type": "checkboxes", "action_id": "credentials", "options": options, "initial_options": options}
    return _modal("off", offer_id, [_about(facts), say("review.off_many").rich(), _input("credentials", element)])


def _use_of(credential: Json) -> Words:
    at, service = read_moment(credential["last_used_at"]), credential["last_used_service"]
    return say("review.use", at=at, service=service, gap=credential["use_gap"], in_line=False)


def reassign_form(facts: Json, offer_id: str) -> Json:
    """Draw the form that hands an item over. Blocks: to (may stay empty), note."""
    to = _input("to", {"type": "users_select", "action_id": "to"}, hint=True) | {"optional": True}
    return _modal("reassign", offer_id, [_about(facts), to, _input("note", _text_box("note"), hint=True)])


def details(blocks: Blocks) -> Json:
    """Return the view with everything known: whois' own blocks."""
    return {
        "type": "modal",
        "callback_id": "nhi:review_details",
        "title": say("review.details_title").plain_text(24),
        "close": say("review.close").plain_text(24),
        "blocks": blocks,
    }


def sign_form(about: Mapping[str, Any], name: str) -> Json:
    """Draw the form under which management signs. Blocks: name, role, words."""
    intro = {"quarter": about["quarter"], "closed_at": about["closed_at"], "result": about["result"]}
    named = {"type": "plain_text_input", "action_id": "name", "max_length": 200}
    if tidy(name, 200):
        named["initial_value"] = tidy(name, 200)
    blocks = [
        say("review.sign_intro", **intro).rich(),
        _input("name", named),
        _input("role", {"type": "plain_text_input", "action_id": "role", "max_length": 200}),
        _input("words", _text_box("words"), hint=True),
    ]
    return _modal("sign", about["campaign"], blocks)


def _about(facts: Json) -> Json:
    nothing: Json = {"changes": [], "since_opening": [], "last_decided_at": None, "late": False, "asked_again": False}
    said = say("review.card", **_shared(facts), **nothing).lines()[0]
    return Words(prose=said).rich()


def _text_box(name: str) -> Json:
    return {"type": "plain_text_input", "action_id": name, "multiline": True, "max_length": LONGEST_TYPED}


def _input(name: str, element: Json, *, hint: bool = False) -> Json:
    block: Json = {"type": "input", "block_id": name, "element": element}
    block["label"] = say(f"review.{name}_label").plain_text(2000)
    return block | ({"hint": say(f"review.{name}_hint").plain_text(2000)} if hint else {})


def _modal(name: str, private: str, blocks: Blocks) -> Json:
    return {
        "type": "modal",
        "callback_id": f"nhi:review_{name}",
        "private_metadata": json.dumps({"review": private}),
        "title": say(f"review.{name}_title").plain_text(24),
        "close": say("review.cancel").plain_text(24),
        "submit": say(f"review.{name}_submit").plain_text(24),
        "blocks": blocks,
    }


def read_private(view: Json) -> str:
    """Return the id that a form stands for. Raises OutOfDate for a form that is not one of ours."""
    try:
        private = json.loads(view.get("private_metadata") or "")
        found = private["review"]
    except (TypeError, ValueError, KeyError, RecursionError):
        found = None
    if not isinstance(found, str) or not found.isalnum() or len(found) > 32:
        raise OutOfDate(sentence("refusals.review_form_out_of_date"))
    return found


def read_text(view: Json, field: str) -> str:
    """Return what was typed into a field. Raises BadAnswer where nothing was."""
    typed = _state(view, field).get("value")
    if not isinstance(typed, str) or not typed.strip():
        raise BadAnswer(sentence("refusals.empty"), field=field)
    return typed


def read_person(view: Json) -> str | None:
    """Return the Slack id that was chosen; None: nobody."""
    chosen = _state(view, "to").get("selected_user")
    return chosen if isinstance(chosen, str) and chosen.isalnum() else None


def read_credentials(view: Json) -> list[str]:
    """Return the rows of the credentials that were chosen."""
    options = _state(view, "credentials").get("selected_options")
    values = (
        [option.get("value") for option in options if isinstance(option, dict)] if isinstance(options, list) else []
    )
    return [value for value in values if isinstance(value, str) and value.isalnum()]


def _state(view: Json, field: str) -> Json:
    found: Any = view
    for key in ("state", "values", field, field):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def due_words(at: datetime) -> str:
    """Return a day in words, for sentences on the command line."""
    return f"{at:%a} {at.day} {at:%b} {at.year}"
