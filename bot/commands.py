"""`/nhi`: one slash command, its first word says what. Answers are seen by nobody but who typed it.

The answer travels in the ack itself, made in one local transaction; only somebody we have never met is looked up first,
after the ack.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import card, directory, leave_alone, lists, messages, offers, review, review_places, stats, whois
from bot.messages import Message
from bot.render import say
from bot.slack import UNWELL, Bot, Json, tell, trouble
from bot.typed import Asked, mentioned, plain_text
from nhi import acts_by_id, authority, facts
from nhi.database import reading
from nhi.errors import NhiError, NotAllowed
from nhi.findings import OWNERSHIP, FindingKind
from nhi.records import storable
from nhi.redact import redact
from nhi.stats import Stats
from nhi.stats import read as read_stats
from nhi.tables import AskRow, IdentityRow, PersonRow, RemediationRow
from nhi.words import sentence

log = logging.getLogger(__name__)

KNOWN_FOR = timedelta(hours=24)
SHORTEST_PREFIX = 6


def register(app: App, bot: Bot) -> None:
    """Listen for the command."""
    app.command("/nhi")(Commands(bot=bot).answer)


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The one listener."""

    bot: Bot

    def answer(self, ack: Ack, body: Json) -> None:
        if not self._is_known(body):
            ack()
            self.bot.later(self._meet_and_answer, body)
            return
        message = self._reply(body)
        ack(text=message.text, blocks=message.blocks, response_type="ephemeral")

    def _is_known(self, body: Json) -> bool:
        with reading(self.bot.sessions) as session:
            rows = [session.get(PersonRow, slack_id) for slack_id in (body["user_id"], *mentioned(body["text"]))]
            return all(row is not None and row.checked_at > self.bot.clock() - KNOWN_FOR for row in rows)

    def _meet_and_answer(self, body: Json) -> None:
        names = [body["user_id"], *mentioned(body["text"])]
        directory.refresh(self.bot.sessions, self.bot.client, names, self.bot.clock(), KNOWN_FOR)
        try:
            message = self._reply(body)
        except NhiError as error:
            message = messages.sorry(str(error))
        tell(self.bot, body, message)

    def _reply(self, body: Json) -> Message:
        word, _, rest = storable(str(body.get("text") or "")).strip().partition(" ")
        command = COMMANDS.get(word.lower() or "help")
        after: list[tuple[object, ...]] = []
        with self.bot.writing() as session:
            asked = Asked(
                session=session,
                who=_member(session, body["user_id"]),
                rest=rest.strip(),
                policy=self.bot.policy(),
                now=self.bot.clock(),
                later=lambda *work: after.append(work),
                bot=self.bot,
                body=body,
            )
            message = command(asked) if command else _unknown(word)
        for work in after:
            self.bot.later(*work)
        return message


def _member(session: Session, slack_id: str) -> PersonRow:
    try:
        return authority.person(session, slack_id)
    except NotAllowed:
        raise NotAllowed(sentence("commands.members_only")) from None


def _unknown(word: str) -> Message:
    word = redact(plain_text(word))
    near = difflib.get_close_matches(word.lower(), list(COMMANDS), n=1)
    return messages.unknown(word, near[0] if near else None)


# -- the commands ------------------------------------------------------------------------------------------------------


def _help(asked: Asked) -> Message:
    return messages.help(authority.is_admin(asked.who, asked.policy))


def _whois(asked: Asked) -> Message:
    """Show what is known of whatever a text names, with the buttons that this person may press."""
    query = _query(asked)
    if not query:
        return messages.sorry(sentence("commands.whois_how"))
    matches = facts.whois(asked.session, query, asked.policy, asked.now)
    found: list[tuple[Json, str | None]] = []
    for number, match in enumerate(matches):
        if number < whois.IN_FULL:
            found.append(offers.of_match(asked.session, asked.who, match, _in_full, asked.policy, asked.now))
        else:
            found.append((match | {"can": []}, None))
    return whois.whois(redact(query), found)


def _claim(asked: Asked) -> Message:
    """Show what a text names, to be claimed with one press; who may claim nothing of it is told why."""
    message = _whois(asked)
    if facts.find(asked.session, _query(asked)) and '"nhi:claim"' not in json.dumps(message.blocks):
        said = say("commands.claim_refused")
        return Message(blocks=[*message.blocks, {"type": "divider"}, said.rich()], text=message.text)
    return message


def _query(asked: Asked) -> str:
    """Return the text to look for; a mention stands for the person's e-mail address."""
    query = asked.rest
    for slack_id in mentioned(query):
        row = asked.session.get(PersonRow, slack_id)
        query = re.sub(rf"<@{slack_id}(?:\|[^>]*)?>", row.email if row else slack_id, query)
    return plain_text(query)


def _in_full(shown: Json, offer_id: str | None) -> messages.Blocks:
    return [*whois.full(shown), *card.buttons(shown, offer_id)]


def _mine(asked: Asked) -> Message:
    items = offers.owned_by(asked.session, asked.who)
    waiting = offers.asked_of(asked.session, asked.who, asked.policy, asked.now, most=messages.CARDS_BESIDE_A_LIST)
    return messages.mine(items, waiting.cards, _page(asked), waiting=waiting.count)


def _stats(asked: Asked) -> Message:
    """Tell the figures at once, and let their picture follow."""
    figures = read_stats(asked.session, asked.policy, asked.now)
    asked.later(_show_picture, asked.bot, asked.body, figures)
    return stats.message(figures)


def _show_picture(bot: Bot, body: Json, figures: Stats) -> None:
    """Upload the picture and show it to who asked; without it nothing is missing, the words said it all."""
    picture, alt = stats.draw(figures), stats.alt_text(figures)
    try:
        kept = bot.client.files_upload_v2(
            content=picture, filename="nhi-stats.png", title=sentence("stats.file"), alt_txt=alt
        )
    except UNWELL as error:
        log.warning("the picture of the stats was left out: Slack answers %s", trouble(error).code)
        return
    tell(bot, body, stats.with_picture(figures, str(kept["files"][0]["id"])))


def _findings(asked: Asked) -> Message:
    kind = _kind(asked)
    rows = [row for row in facts.open_findings(asked.session) if kind in (None, row.kind)]
    kinds = Counter(row.kind.value for row in rows)
    said = sentence("commands.findings", count=len(rows), kinds=kinds.most_common())
    return lists.findings(said, rows, f"findings {kind}" if kind else "findings", _page(asked))


def _kind(asked: Asked) -> FindingKind | None:
    """Return of which kind findings are asked for; None: of all. Raises NotAllowed where there is no such kind."""
    typed = asked.rest.lower().removeprefix("--kind").split()
    if not typed or typed[0].isdecimal():
        return None
    if typed[0] not in list(FindingKind):
        raise NotAllowed(sentence("commands.findings_how", kinds=[kind.value for kind in FindingKind]))
    return FindingKind(typed[0])


def _page(asked: Asked) -> int:
    """Return which page is asked for, as the last word; the first, where none is."""
    last = asked.rest.split()[-1:]
    return int(last[0]) if last and last[0].isdecimal() and len(last[0]) < 6 else 1


def _unowned(asked: Asked) -> Message:
    rows = [row for row in facts.open_findings(asked.session) if row.kind in OWNERSHIP]
    return lists.findings(sentence("commands.unowned", count=len(rows)), rows, "unowned", _page(asked))


def _undo(asked: Asked) -> Message:
    """Take an act back by the beginning of its id, as cards and the command line show it."""
    prefix = plain_text(asked.rest).strip("` ").lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},32}}", prefix):
        return messages.sorry(sentence("commands.undo_how", shortest=SHORTEST_PREFIX))
    starting = select(RemediationRow).where(RemediationRow.id.startswith(prefix, autoescape=True)).limit(2)
    rows = [(row, right) for row in asked.session.scalars(starting) if (right := _right_to_undo(asked, row))]
    if len(rows) != 1:
        return messages.sorry(sentence("commands.undo_unknown"))
    (row, right), said = rows[0], f"/nhi undo {prefix}"
    acts_by_id.undo(asked.session, row, asked.who, by_right=right, said=said, now=asked.now)
    asked.later(asked.bot.defer, "remediate", row.id)
    if row.ask_id:
        asked.later(asked.bot.redraw, row.ask_id)
    return messages.note(sentence("commands.undo"))


def _right_to_undo(asked: Asked, row: RemediationRow) -> str | None:
    """Return by what right the sender may take an act back; None: they may not. To claim is no such right."""
    identity = asked.session.get_one(IdentityRow, row.identity_id)
    ask = asked.session.get(AskRow, row.ask_id) if row.ask_id else None
    right = authority.authority(asked.session, asked.who, identity, ask, asked.policy, asked.now)
    return None if right is None or right.startswith(authority.MEMBER_OF) else right


def _scan(asked: Asked) -> Message:
    if not authority.is_admin(asked.who, asked.policy):
        raise NotAllowed(sentence("commands.scan_refused"))
    asked.later(asked.bot.defer, "scan", "asked for in Slack")
    return messages.note(sentence("commands.scan"))


def _review(asked: Asked) -> Message:
    """Bring the sender's part of the review to the end of their messages; admins open one, or see how far it is."""
    word = asked.rest.lower()
    if word in ("open", "status") and not authority.is_admin(asked.who, asked.policy):
        raise NotAllowed(sentence("commands.review_refused"))
    if word == "open":
        review_places.want(asked.session, asked.who, asked.now)
        asked.later(asked.bot.defer, "review", "asked for in Slack")
        return messages.note(sentence("commands.review_open"))
    if word == "status":
        return review_places.status(asked.session)
    message, boards = review_places.bring(asked.session, asked.who, asked.now)
    asked.later(review.redraw, asked.bot, boards)
    return message


COMMANDS: dict[str, Callable[[Asked], Message]] = {
    "help": _help,
    "whois": _whois,
    "claim": _claim,
    "mine": _mine,
    "findings": _findings,
    "stats": _stats,
    "snooze": leave_alone.snooze,
    "unowned": _unowned,
    "delegate": leave_alone.delegate,
    "undo": _undo,
    "scan": _scan,
    "review": _review,
}
