"""What `/nhi whois` answers: everything known of the identities that a text names. Pure."""

from __future__ import annotations

from typing import Any

from bot.card import (
    acts_lines,
    answers_lines,
    buttons,
    findings_list,
    header,
    join,
    kind_of,
    last_use,
    permissions_line,
    told,
)
from bot.render import Blocks, Cards, Json, Message, Words, fitting, say
from nhi.finding import called

IN_FULL = 3  # matches that are shown whole; of the others, a line each
OTHERS_AT_MOST = 10
CREDENTIALS_AT_MOST = 4
EVENTS_AT_MOST = 5
CHARACTERS_AT_MOST = 9_800  # of all the text: see bot.render.text_length
REASONS_AT_MOST = 2
RIVALS_AT_MOST = 2
NOTES_AT_MOST = 2
MORE_REASONS_AT_MOST = 5


def whois(query: str, cards: Cards) -> Message:
    """Return what is known: the first IN_FULL matches whole and with their buttons, the rest a line each."""
    first = told(cards[0][0]) if cards else ""
    text = say("whois.text", query=query, count=len(cards), first=first).spoken()
    if not cards:
        return Message(blocks=[say("whois.none", query=query).rich()], text=text)
    return Message(blocks=fitting(_matches, cards, CHARACTERS_AT_MOST), text=text)


def _matches(cards: Cards) -> Blocks:
    blocks: Blocks = [{"type": "header", "text": say("whois.heading", count=len(cards)).plain_text(150)}]
    for index, (facts, offer_id) in enumerate(cards[:IN_FULL]):
        blocks += [{"type": "divider"}] if index else []
        blocks += [*full(facts), *buttons(facts, offer_id)]
    return blocks + _others(cards[IN_FULL:])


def full(facts: Json) -> Blocks:
    """Draw everything known of one identity, without buttons."""
    body = join(
        header(facts),
        say("whois.place", identity=facts["identity"]),
        _owner(facts["owner"]),
        _credentials(facts["credentials"]),
        permissions_line(facts),
        _activity(facts),
        findings_list(facts["findings"]),
        answers_lines(facts, most=1),
        acts_lines(facts, most=1),
    )
    coverages = [facts["identity"].get("coverage") or ""]
    known = say("card.known", use=last_use(facts), coverages=[words for words in coverages if words])
    least = (facts.get("permissions") or {}).get("least")
    smaller = [say("whois.least", name=facts["identity"]["name"]).context()] if least else []
    return [body.rich(), *_more_reasons(facts["owner"]), *smaller, known.context(), *_history(facts["history"])]


def _owner(owner: Json) -> Words:
    confirmed = owner["state"] == "confirmed"
    evidence = owner["evidence"][:REASONS_AT_MOST]
    since = evidence[0]["at"] if confirmed and evidence else None
    active = owner.get("active", True)
    rivals = [] if confirmed else owner.get("others" if owner["state"] == "likely" else "possible", [])
    return say(
        "whois.owner",
        owner=owner,
        since=since,
        active=active,
        reasons=[] if confirmed else evidence,
        rivals=[_rival(rival) for rival in rivals[:RIVALS_AT_MOST]],
        would_help=[one["words"] for one in owner.get("would_help", [])],
        notes=[note["words"] for note in owner.get("notes", [])[:NOTES_AT_MOST]],
    )


def _rival(rival: Json) -> Json:
    evidence = rival.get("evidence") or []
    return rival | {"reason": evidence[0]["fact"] if evidence else ""}


def _more_reasons(owner: Json) -> Blocks:
    """Return the reasons beyond the two best, small."""
    rest = owner["evidence"][REASONS_AT_MOST:] if owner["state"] != "confirmed" else []
    if not rest:
        return []
    more = max(0, len(rest) - MORE_REASONS_AT_MOST)
    return [say("whois.more_reasons", reasons=rest[:MORE_REASONS_AT_MOST], more=more).context()]


def _credentials(credentials: list[Json]) -> Words:
    shown = [credential | {"words": called(credential["kind"])} for credential in credentials[:CREDENTIALS_AT_MOST]]
    return say("whois.credentials", credentials=shown, more=max(0, len(credentials) - CREDENTIALS_AT_MOST))


def _activity(facts: Json) -> Words:
    """Return what it does from day to day; nothing where no activity was read."""
    told = facts.get("activity")
    if not told or not (told["days"] or told["gap"]):
        return Words(prose="")
    names = ("days", "events", "last_at", "usual_words", "learned", "learned_until", "gap")
    return say("alarm.whois", **{name: told[name] for name in names})


def _history(history: list[Json]) -> Blocks:
    if not history:
        return []
    return [say("whois.history", events=[_event(event) for event in history[:EVENTS_AT_MOST]]).context()]


def _event(event: Json) -> dict[str, Any]:
    what = event["facts"].get("kind", "")
    return {"at": event["at"], "words": say("whois.event", kind=event["kind"], what=what).plain(60)}


def _others(cards: Cards) -> Blocks:
    if not cards:
        return []
    lines = [
        say(
            "whois.other",
            kind=kind_of(facts["identity"]),
            identity=facts["identity"],
            owner_email=facts["owner"]["email"],
            findings=len(facts["findings"]),
        )
        for facts, _ in cards[:OTHERS_AT_MOST]
    ]
    return [{"type": "divider"}, join(say("whois.others_intro", count=len(cards), shown=len(lines)), *lines).rich()]
