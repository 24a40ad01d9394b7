"""One card: the facts about one identity, drawn so that they can be taken in within ten seconds.

An open card says what it is, what is wrong, how we know, why you, and what happens if you do nothing, and by when.
An ended one says who said what, and what came of it. Pure: facts in (see nhi/cards.py), blocks out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from bot import alarm_card
from bot.render import Blocks, Json, Words, fitting, say, text_length
from nhi import authority
from nhi import powers as dangers
from nhi.escalation import AskStatus, Verdict, names_in_order
from nhi.findings import OWNERSHIP
from nhi.remediation import UNDO_FOR, RemediationStatus
from nhi.screaming import in_words
from nhi.words import read_moment, sentence

# Slack takes 50 blocks and about 10,000 characters of text in one message: six cards of these sizes, and a heading.
BLOCKS_AT_MOST = 7
CHARACTERS_AT_MOST = 1500
FINDINGS_AT_MOST = 3
ANSWERS_AT_MOST = 3
ACTS_AT_MOST = 2
REASONS_AT_MOST = 2
POWERS_AT_MOST = 3

_CERTIFIED = ("acting", "testing", "done", "undoing", "undone", "closed")
WAITS = ("awaiting", "planned", "acting", "testing", "undoing")  # statuses of an act that something is still to come of
_SYMBOLS = {"critical": "🔴", "high": "🔴", "medium": "🟠", "low": "🟡"}


def question(facts: Json, offer_id: str | None, *, reader_is_asked: bool) -> Blocks:
    """Draw the card of an ask, at most BLOCKS_AT_MOST blocks. Without `offer_id` it has no buttons.

    `reader_is_asked` is False where somebody else reads it: a manager, a channel.
    """
    pressed = buttons(facts, offer_id)
    room = CHARACTERS_AT_MOST - text_length(pressed)
    draw = partial(_open, reader_is_asked=reader_is_asked) if is_open(facts) else _ended
    return [*fitting(draw, facts, room), *pressed]


def is_open(facts: Json) -> bool:
    """Whether the card still waits for its answer."""
    ask = facts.get("ask")
    return bool(ask and ask["status"] == AskStatus.OPEN.value)


def _open(facts: Json, reader_is_asked: bool) -> Blocks:
    if facts.get("claim") and not facts["claim"]["handed_at"]:
        return _to_claim(facts)
    if alarm_card.is_alarm(facts):
        said = alarm_card.happened(facts), alarm_card.usual(facts), alarm_card.why_you(facts, reader_is_asked)
        return [join(header(facts), *said).rich(), *alarm_card.below(facts, reader_is_asked)]
    findings = facts["findings"]
    body = join(header(facts), permissions_line(facts), findings_list(findings), why_line(facts, reader_is_asked))
    return [
        body.rich(),
        say("card.known", use=last_use(facts), coverages=_coverages(findings)).context(),
        silence_line(facts, reader_is_asked).context(),
    ]


def why_line(facts: Json, reader_is_asked: bool = True) -> Words:
    """Return why this person is asked."""
    return say("card.why_you", asked_is_reader=reader_is_asked, ask=facts["ask"], reasons=_reasons(facts))


def silence_line(facts: Json, reader_is_asked: bool = True) -> Words:
    """Return what happens if nobody answers, and by when."""
    about = {"ask": facts["ask"], "snoozed": facts.get("snoozed"), **_silence(facts, reader_is_asked)}
    return say("card.silence", asked_is_reader=reader_is_asked, **about)


def _to_claim(facts: Json) -> Blocks:
    """Draw the card that a whole team sees: until when to claim it, and to whom it goes then."""
    body = join(header(facts), findings_list(facts["findings"]), say("handover.claim_why", **facts["claim"]))
    known = say("card.known", use=last_use(facts), coverages=_coverages(facts["findings"]))
    return [body.rich(), known.context(), say("handover.claim_note").context()]


def _ended(facts: Json) -> Blocks:
    return [join(header(facts), answers_lines(facts), acts_lines(facts)).rich(), *certificate_lines(facts)]


def join(*pieces: Words) -> Words:
    """Put pieces of prose under each other."""
    return Words(prose="\n".join(prose for piece in pieces if (prose := "\n".join(piece.lines()))))


def header(facts: Json) -> Words:
    """Return the line that says what it is."""
    return say("card.header", symbol=symbol(facts), kind=kind_of(facts["identity"]), identity=facts["identity"])


def permissions_line(facts: Json) -> Words:
    """Return what is dangerous about what it may do, how much of it it uses, and what grew; nothing where all is well.

    A card that was drawn before permissions were read has none.
    """
    may = facts.get("permissions") or {}
    held = [dangers.Power(power) for power in may.get("powers", ())]
    words = dangers.in_words(held[:POWERS_AT_MOST]) if held else ""
    return say(
        "card.permissions",
        powers=words,
        more=max(0, len(held) - POWERS_AT_MOST),
        use=may.get("use"),
        grew=grown_in_words(may.get("grew")),
        outside=may.get("outside", []),
    )


def grown_in_words(grown: Json | None) -> Json | None:
    """Return what grew since somebody last answered for it, its powers as words; None: nothing did."""
    if grown is None:
        return None
    held = [dangers.Power(power) for power in grown.get("powers", ())]
    return grown | {"powers": dangers.in_words(held) if held else ""}


def told(facts: Json) -> str:
    """Return what an identity is in a few words, for a sentence that is read aloud."""
    return say("card.told", kind=kind_of(facts["identity"]), identity=facts["identity"]).plain()


def kind_of(identity: Json) -> str:
    """Return what an identity is, in plain words."""
    provider, kind = str(identity["provider"]), str(identity["kind"])
    return sentence("kinds.identity", provider=provider, kind=kind)[:60]


def findings_in_words(kinds: Iterable[str]) -> str:
    """Return what is wrong, after each other, each once; nothing where nothing is."""
    found = list(dict.fromkeys(kinds))
    return sentence("kinds.findings", kinds=found) if found else ""


def symbol(facts: Json) -> str:
    """Return the one symbol of a card: how severe it is, or what came of it."""
    if facts.get("ask") and not is_open(facts):
        return _symbol_of_ended(facts)
    severities = [finding["severity"] for finding in facts["findings"]]
    return next((sign for severity, sign in _SYMBOLS.items() if severity in severities), "⚪")


def _symbol_of_ended(facts: Json) -> str:
    status = facts["remediations"][0]["status"] if facts["remediations"] else ""
    if status in (RemediationStatus.REFUSED.value, RemediationStatus.FAILED.value):
        return "⚠️"
    if status in WAITS:
        return "⏳"
    return "✅" if facts["ask"]["status"] == AskStatus.ANSWERED.value else "⚪"


def findings_list(findings: Sequence[Json], most: int = FINDINGS_AT_MOST) -> Words:
    """Return the findings, a line each, each with the credential that it is about."""
    lines = [finding | {"key": public_id(finding.get("credential"))} for finding in findings[:most]]
    return say("card.findings", findings=lines, more=max(0, len(findings) - most))


def public_id(credential: Json | None) -> str | None:
    """Return a credential's public id; None: there is no credential, or none that is known by an id."""
    return (credential or {}).get("id")


def last_use(facts: Json) -> Json:
    """Return when anything of the identity was last used (None: no use is known), and what hid it from us.

    `elsewhere`: that was by none of the credentials that the findings are about.
    """
    parts = [facts["identity"], *facts["credentials"]]
    used = [at for part in parts if (at := read_moment(part["last_used_at"]))]
    gap = next((part["use_gap"] for part in parts if part["use_gap"]), None)
    told = {public_id(finding["credential"]) for finding in facts["findings"] if finding["credential"]}
    by_them = [read_moment(part["last_used_at"]) for part in facts["credentials"] if public_id(part) in told]
    elsewhere = bool(by_them and used) and max(used) not in by_them
    return {"last_used_at": max(used).isoformat() if used else None, "gap": gap, "elsewhere": elsewhere}


def _coverages(findings: Iterable[Json]) -> list[str]:
    """Return what the sources of the findings see; what is said of an owner comes last, and only if nothing else is."""
    told = sorted(findings, key=lambda finding: bool(finding["kind"] in OWNERSHIP))
    return list(dict.fromkeys(finding["coverage"] for finding in told if finding["coverage"]))[:1]


def _reasons(facts: Json) -> list[Json]:
    """Return the best reasons that the sentence "why you" does not hold already."""
    because = facts["ask"]["because"] or ""
    evidence = facts["owner"]["evidence"] if _is_about_asked(facts) else []
    return [fact for fact in evidence if fact["fact"] and fact["fact"] not in because][:REASONS_AT_MOST]


def _is_about_asked(facts: Json) -> bool:
    return bool(facts["owner"].get("email") == facts["ask"]["email"])


def _silence(facts: Json, reader_is_asked: bool) -> Json:
    """Return what silence leads to: a reminder that is still ahead, and who is asked then."""
    silence, drawn_at = facts["silence"], read_moment(facts["drawn_at"])
    reminder_at = read_moment(silence["reminder_at"])
    ahead = reminder_at is not None and drawn_at is not None and reminder_at > drawn_at
    ladder: list[str] = silence["to"]
    told: list[str] = silence["escalated_to"]
    next_ones = [rung for rung in ladder if rung not in told]
    theirs = not reader_is_asked
    return {
        "reminder_at": silence["reminder_at"] if ahead else None,
        "escalates_at": silence["escalates_at"],
        "to": names_in_order(next_ones, theirs=theirs) if next_ones or not (ladder or told) else "",
        "escalated_to": names_in_order(told, theirs=theirs) if told else "",
    }


def answers_lines(facts: Json, most: int = ANSWERS_AT_MOST) -> Words:
    """Return who said what, and when, the newest last."""
    ids = {credential["row"]: credential["id"] for credential in facts["credentials"]}
    # Of two answers given with one press, the claim comes first.
    newest_last = sorted(facts["answers"][:most], key=lambda answer: (answer["at"], answer["verdict"] != "claim"))
    said = [_answer(answer, ids) for answer in newest_last]
    return say("card.answers", answers=said, status=(facts.get("ask") or {}).get("status", ""))


def _answer(answer: Json, ids: dict[str, Any]) -> Json:
    by_right = authority.in_words(answer["authority"]) if answer["authority"] not in ("asked", "owner") else None
    return answer | {"key": ids.get(answer["credential"]), "authority": by_right}


def acts_lines(facts: Json, most: int = ACTS_AT_MOST) -> Words:
    """Return what came of it, a line for each act, the newest last."""
    return join(*(say("card.act", act=_act(act)) for act in reversed(facts["remediations"][:most])))


def _act(act: Json) -> Json:
    acted_at = read_moment(act["acted_at"])
    until = (acted_at + UNDO_FOR).isoformat() if acted_at and acted_at.year < 9000 else None
    return act | {"key": public_id(act["credential"]), "undo_until": until, "then": _then(act.get("test"))}


def _then(test: Json | None) -> str | None:
    """Return what comes after this step of a scream test; None: it has none."""
    if not test:
        return None
    lengths = [in_words(timedelta(seconds=seconds)) for seconds in test["seconds"][test["step"] :]]
    return say("card.then", lengths=lengths).plain()


def certificate_lines(facts: Json) -> Blocks:
    """Return the small print under the newest act: what was read right before it, and what nobody could see."""
    newest = facts["remediations"][0] if facts["remediations"] else {}
    told_of = newest.get("certificate")
    if not told_of or newest["status"] not in _CERTIFIED:
        return []
    read = [source for source in told_of["sources"] if not source["gap"]]
    words = {
        "made_at": told_of["made_at"],
        "key": public_id(newest["credential"]),
        "sources": told_of["sources"],
        "caller": told_of["last_caller"],
        "last_used_at": told_of["last_used_at"],
        "season": told_of["season"],
        "hidden": "; ".join(source["cannot_see"] for source in read or told_of["sources"]),
    }
    return [say("card.certificate", **words).context()]


def buttons(facts: Json, offer_id: str | None) -> Blocks:
    """Return the actions block for what `facts["can"]` says, with the offer as each button's value."""
    can = [Verdict(verdict) for verdict in facts["can"]]
    if not can or offer_id is None:
        return []
    elements = [_button(verdict, facts, offer_id) for verdict in can]
    return [{"type": "actions", "block_id": f"card:{offer_id}", "elements": elements}]


def _button(verdict: Verdict, facts: Json, offer_id: str) -> Json:
    label = say(f"card.button_{verdict.value}")
    spoken = say("card.button_spoken", label=label.plain(), identity=facts["identity"])
    style = {"style": "danger"} if verdict in (Verdict.DISABLE, Verdict.NOT_US) else {}
    return {
        "type": "button",
        "action_id": f"nhi:{verdict.value}",
        "text": label.plain_text(75),
        "accessibility_label": spoken.plain(75),
        "value": offer_id,
        **style,
    }
