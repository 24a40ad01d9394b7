"""The forms behind Justify, Rotate and Disable: drawn from facts, and read back with suspicion. Pure.

What comes back is whatever somebody sent. It is checked for its shape here, and for its truth and the sender's right
by the use cases in nhi/decisions.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from bot.card import findings_in_words, kind_of
from bot.render import Blocks, Json, Words, say
from nhi import alarms
from nhi.cards import DISABLES, NOT_ROTATED
from nhi.errors import BadAnswer, OutOfDate
from nhi.escalation import Verdict
from nhi.finding import called
from nhi.findings import OF_ACTIVITY, OWNERSHIP
from nhi.policy import Policy
from nhi.reasons import LONGEST_REASON, latest_day
from nhi.redact import tidy
from nhi.screaming import in_words
from nhi.words import sentence

OPTIONS_AT_MOST = 10  # radio buttons that Slack takes
REASONABLE = timedelta(days=90)  # the day that is offered first, where policy allows it
_ONCE = timedelta(days=30)
_UNKNOWN = "unknown"  # chosen instead of a credential
CHOICES_AT_MOST = 75  # characters of an option's text
_WITHOUT_SECRET = frozenset({"service_account", "role"})  # an ability to sign in or be assumed: nothing to rotate
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def justify(facts: Json, offer_id: str, *, policy: Policy, now: datetime) -> Json:
    """Draw the form that asks for a reason and its end. Blocks: reason, until and, where it can be claimed, claim."""
    day = latest_day(policy, now)
    latest = day if day < date.max else None  # None: policy sets no limit
    first = min((now + REASONABLE).date(), day)
    findings = findings_in_words([finding["kind"] for finding in facts["findings"] if finding["kind"] not in OWNERSHIP])
    blocks = [
        _about(facts),
        say("modals.justify_intro", findings=findings).context(),
        _input("reason", _reason_element()),
        _input("until", {"type": "datepicker", "action_id": "until", "initial_date": first.isoformat()}, latest=latest),
        *_claim(facts),
    ]
    return _modal("justify", offer_id, blocks)


def _reason_element() -> Json:
    # No min_length: Slack would say it in its own words, the use case says it in ours.
    return {"type": "plain_text_input", "action_id": "reason", "multiline": True, "max_length": LONGEST_REASON}


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What turning something off takes beside a click, and which ways there are, for the form to say."""

    second: str | None = None  # why a second person must agree; None: nobody must
    code: bool = False  # a second proof: a code of an authenticator, or a sign-in
    typed: bool = True  # a code can be typed
    link: str | None = None  # where to sign in; None: there is nowhere
    ladder: tuple[timedelta, ...] = ()  # of a scream test; none: there is none
    only_test: bool = False  # policy always tests first
    sessions: bool = False  # it has sessions that could be ended instead


def disable(facts: Json, offer_id: str, takes: Takes = Takes()) -> Json:
    """Draw the form that confirms which one credential is turned off, and how."""
    ways = _ways(takes, facts["mode"])
    return _before_claim(_about_credential(Verdict.DISABLE, facts, offer_id), [*ways, *_second(takes)])


def _before_claim(view: Json, blocks: Blocks) -> Json:
    """Put blocks at the end of a form that can be sent, but before the box that claims it."""
    if "submit" not in view:
        return view
    claim = view["blocks"][-1:] if view["blocks"][-1].get("block_id") == "claim" else []
    rest = view["blocks"][: len(view["blocks"]) - len(claim)]
    view["blocks"] = [*rest, *blocks, *claim]
    return view


def _ways(takes: Takes, mode: str) -> Blocks:
    """Offer how it is turned off, where there is more than one way."""
    steps = sentence("words.steps", lengths=[in_words(step) for step in takes.ladder])
    if takes.only_test and mode != "propose":
        return [say("modals.only_test", steps=steps).rich()]
    ways = ["now", *(["test"] if takes.ladder else []), *(["sessions"] if takes.sessions else [])]
    if len(ways) == 1 or mode == "propose":
        return []
    options = [
        {
            "value": way,
            "text": say(f"modals.way_{way}").plain_text(CHOICES_AT_MOST),
            "description": say(f"modals.way_{way}_means", steps=steps).plain_text(CHOICES_AT_MOST),
        }
        for way in ways
    ]
    element = {"type": "radio_buttons", "action_id": "way", "options": options, "initial_option": options[0]}
    return [_input("way", element)]


def _second(takes: Takes) -> Blocks:
    said = [say("modals.second", because=takes.second).context()] if takes.second else []
    return [*said, *(proof(typed=takes.typed, link=takes.link) if takes.code else [])]


def proof(*, typed: bool, link: str | None) -> Blocks:
    """Return what a form offers for a second proof: a link to sign in, the field for a code, or both."""
    code = _input("code", {"type": "plain_text_input", "action_id": "code", "max_length": 16})
    if link is None:
        return [code]
    button = {
        "type": "button",
        "action_id": "nhi:sign_in",
        "text": say("sign_in.button").plain_text(75),
        "accessibility_label": say("sign_in.button_spoken").plain(75),
        "url": link,
    }
    said = say("sign_in.intro", typed=typed).rich()
    return [said, {"type": "actions", "elements": [button]}, *([code | {"optional": True}] if typed else [])]


def read_way(view: Json) -> str:
    """Return how it is to be turned off: "now", "test" or "sessions"; what is none of them is "now"."""
    option = _state(view, "way").get("selected_option")
    way = option.get("value") if isinstance(option, dict) else None
    return way if way in ("test", "sessions") else "now"


def rotate(facts: Json, offer_id: str, takes: Takes = Takes()) -> Json:
    """Draw the form that confirms which one credential is rotated; it takes more than a click where we do it."""
    more = _second(takes) if facts.get("rotates_into") else []
    return _before_claim(_about_credential(Verdict.ROTATE, facts, offer_id), more)


def was_us(facts: Json, offer_id: str, *, policy: Policy, now: datetime) -> Json:
    """Draw the form that asks what it was, and until when it is usual. Blocks: reason and until."""
    latest = alarms.latest_day(policy, now)
    first = min((now + _ONCE).date(), latest)
    until = {"type": "datepicker", "action_id": "until", "initial_date": first.isoformat()}
    blocks = [
        _about(facts),
        say("alarm.was_us_intro").context(),
        _input("reason", _reason_element(), where="alarm.was_us"),
        _input("until", until, where="alarm.was_us", latest=latest),
    ]
    return _modal("was_us", offer_id, blocks, where="alarm")


def not_us(facts: Json, offer_id: str) -> Json:
    """Draw the form that says what "Not us" leads to, and confirms it, asking which credential where none is named."""
    unusual = [finding for finding in facts["findings"] if finding["kind"] in OF_ACTIVITY]
    known = next((finding["credential"] for finding in unusual if finding["credential"]), None)
    named = {day["credential"] for finding in unusual for day in finding.get("anomalies", ())}
    offered = [] if known or facts["on_not_us"] == "tell" else choices(Verdict.DISABLE, facts)
    # Of days that name their keys, it can be no other one.
    offered = [one for one in offered if None in named or one["id"] in named]
    intro = say(
        "alarm.not_us_intro",
        mode=facts["mode"],
        on_not_us=facts["on_not_us"],
        key=known["id"] if known else None,
        choose=bool(offered),
    )
    chooser = _chooser(offered, facts, unknown=True) if offered else []
    return _modal("not_us", offer_id, [_about(facts), intro.rich(), *chooser], where="alarm")


def read_not_us(view: Json) -> tuple[str, str | None]:
    """Return the offer's id, and the credential's row that was chosen (None: none was, or it is not known).

    Raises OutOfDate for a form that is not one of ours.
    """
    option = _state(view, "credential").get("selected_option")
    chosen = option.get("value") if isinstance(option, dict) else None
    known = isinstance(chosen, str) and chosen != _UNKNOWN and _OPAQUE.fullmatch(chosen)
    return _opaque(view.get("private_metadata")), chosen if known else None


def choices(verdict: Verdict, facts: Json) -> list[Json]:
    """Return the credentials that a form offers: active, known by an id; those with findings first.

    To rotate there must be a secret in our custody; to disable, a kind that can be turned back on.
    """
    custody, found = facts["identity"]["custody"], _found(facts)
    offered = [
        credential
        for credential in facts["credentials"]
        if credential["status"] == "active" and credential["id"]
        if _is_offered(verdict, credential["kind"], custody)
    ]
    return sorted(offered, key=lambda credential: credential["row"] not in found)


def _is_offered(verdict: Verdict, kind: str, custody: str) -> bool:
    if verdict is Verdict.DISABLE:
        return kind in DISABLES and custody != "platform" and (custody == "ours" or kind in _WITHOUT_SECRET)
    return custody == "ours" and kind not in _WITHOUT_SECRET | NOT_ROTATED


def _found(facts: Json) -> dict[str, str]:
    """Return what was found of each credential, by its row."""
    found: dict[str, list[str]] = {}
    for finding in facts["findings"]:
        if finding["credential"]:
            found.setdefault(finding["credential"]["row"], []).append(finding["kind"])
    return {row: findings_in_words(kinds) for row, kinds in found.items()}


def _about_credential(verdict: Verdict, facts: Json, offer_id: str) -> Json:
    offered = choices(verdict, facts)
    if not offered:
        return _modal(verdict.value, offer_id, [_about(facts), say("modals.no_credential").rich()], submit=False)
    intro = say(f"modals.{verdict.value}_intro", mode=facts["mode"], into=facts.get("rotates_into")).rich()
    only = offered[0]["row"] if len(offered) == 1 else None
    chooser = [_only(offered[0], facts)] if only else _chooser(offered, facts)
    private = json.dumps({"offer": offer_id, "credential": only})
    return _modal(verdict.value, private, [_about(facts), *chooser, intro, *_claim(facts)])


def _only(credential: Json, facts: Json) -> Json:
    words = called(credential["kind"])
    return say("modals.only_credential", words=words, credential=credential, use=_use(credential, facts).plain()).rich()


def _use(credential: Json, facts: Json) -> Words:
    return say("modals.credential_use", credential=credential, found=_found(facts).get(credential["row"]))


def _chooser(offered: Sequence[Json], facts: Json, *, unknown: bool = False) -> Blocks:
    """Offer the credentials; with `unknown`, also that it is not known which, which stands chosen."""
    none = [{"value": _UNKNOWN, "text": say("modals.credential_unknown").plain_text(CHOICES_AT_MOST)}]
    options = [*(none if unknown else [])] + [
        {
            "value": credential["row"],
            "text": say("modals.credential_option", id=credential["id"]).plain_text(CHOICES_AT_MOST),
            "description": _use(credential, facts).plain_text(CHOICES_AT_MOST),
        }
        for credential in offered[: OPTIONS_AT_MOST - unknown]
    ]
    found = _found(facts)
    asked_about = [option for option in options if option["value"] in found]
    # The one that the card is about stands chosen already; of several, the person says which.
    chosen = {"initial_option": asked_about[0]} if len(asked_about) == 1 else {}
    chosen = {"initial_option": options[0]} if unknown else chosen
    blocks = [_input("credential", {"type": "radio_buttons", "action_id": "credential", "options": options} | chosen)]
    if len(offered) > OPTIONS_AT_MOST - unknown:
        blocks.append(say("modals.more_credentials", shown=OPTIONS_AT_MOST - unknown, total=len(offered)).context())
    return blocks


def _claim(facts: Json) -> Blocks:
    """Offer to claim the identity along with the answer, where the reader is not its owner yet."""
    if Verdict.CLAIM.value not in facts["can"]:
        return []
    option = {"value": "claim", "text": say("modals.claim_option").plain_text(CHOICES_AT_MOST)}
    element = {"type": "checkboxes", "action_id": "claim", "options": [option], "initial_options": [option]}
    return [_input("claim", element) | {"optional": True}]


def _about(facts: Json) -> Json:
    return say("modals.about", kind=kind_of(facts["identity"]), identity=facts["identity"]).rich()


def _input(name: str, element: Json, where: str | None = None, **facts: Any) -> Json:
    """Return an input block whose block_id and action_id are the field's name; its hint, where it has one, in words."""
    block: Json = {"type": "input", "block_id": name, "element": element}
    said = f"{where}_{name}" if where else f"modals.{name}"
    block["label"] = say(f"{said}_label").plain_text(2000)
    if name in ("reason", "until", "code"):
        block["hint"] = say(f"{said}_hint", **facts).plain_text(2000)
    return block


def _modal(name: str, private_metadata: str, blocks: Blocks, *, submit: bool = True, where: str = "modals") -> Json:
    pressed = {"submit": say(f"{where}.{name}_submit").plain_text(24)} if submit else {}
    return {
        "type": "modal",
        "callback_id": f"nhi:{name}",
        "private_metadata": private_metadata,
        "title": say(f"{where}.{name}_title").plain_text(24),
        "close": say("modals.cancel").plain_text(24),
        **pressed,
        "blocks": blocks,
    }


def read_justify(view: Json) -> tuple[str, str, date, bool]:
    """Return the offer's id, the words, the last day, and whether it is claimed as well.

    Raises BadAnswer for a field that is missing or garbled, OutOfDate for a form that is not one of ours.
    """
    offer_id = _opaque(view.get("private_metadata"))
    words = _state(view, "reason").get("value")
    if not isinstance(words, str) or not words.strip():
        raise BadAnswer(sentence("refusals.no_reason"), field="reason")
    return offer_id, words, _read_until(view), _read_claim(view)


def _read_until(view: Json) -> date:
    chosen = _state(view, "until").get("selected_date")
    try:
        return date.fromisoformat(chosen)  # type: ignore[arg-type]  # whatever it is, it is caught
    except (TypeError, ValueError):
        raise BadAnswer(sentence("refusals.no_day"), field="until") from None


def read_credential(view: Json) -> tuple[str, str, bool]:
    """Return the offer's id, the credential's row, and whether the identity is claimed as well.

    Raises BadAnswer where none is chosen, OutOfDate for a form that is not one of ours.
    """
    try:
        private = json.loads(view.get("private_metadata") or "")
    except (TypeError, ValueError, RecursionError):
        raise _out_of_date() from None
    if not isinstance(private, dict):
        raise _out_of_date()
    offer_id = _opaque(private.get("offer"))
    if private.get("credential") is not None:
        return offer_id, _opaque(private["credential"]), _read_claim(view)
    option = _state(view, "credential").get("selected_option")
    chosen = option.get("value") if isinstance(option, dict) else None
    if not isinstance(chosen, str) or not _OPAQUE.fullmatch(chosen):
        raise BadAnswer(sentence("refusals.choose_credential"), field="credential")
    return offer_id, chosen, _read_claim(view)


def _read_claim(view: Json) -> bool:
    options = _state(view, "claim").get("selected_options")
    return isinstance(options, list) and any(isinstance(o, dict) and o.get("value") == "claim" for o in options)


def _state(view: Json, field: str) -> Json:
    """Return what was entered into a field, or nothing."""
    found: Any = view
    for key in ("state", "values", field, field):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _opaque(value: object) -> str:
    if isinstance(value, str) and _OPAQUE.fullmatch(value):
        return value
    raise _out_of_date()


def _out_of_date() -> OutOfDate:
    return OutOfDate(sentence("refusals.form_out_of_date"))


def errors(error: BadAnswer, view: Json | None = None) -> Json:
    """Return what is answered to a submission that cannot be taken: the sentence, beside the field it is about.

    Slack refuses a block_id that the form does not have, so with the `view` an error about a field that is not there
    stands beside the first one that is.
    """
    fields = list(_input_ids(view)) if view else []
    at = error.field if not fields or error.field in fields else fields[0]
    return {at: tidy(str(error), 300)}


def _input_ids(view: Json) -> Iterator[str]:
    for block in view.get("blocks") or []:
        if isinstance(block, dict) and block.get("type") == "input" and isinstance(block.get("block_id"), str):
            yield block["block_id"]
