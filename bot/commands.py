"""`/nhi`: one slash command, its first word says what. Answers are seen by nobody but who typed it.

The answer travels in the ack itself, made in one local transaction; only somebody we have never met is looked up first,
after the ack.
"""

from __future__ import annotations

import difflib
import html
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import card, delivery, directory, lists, messages, offers, review, review_places, stats, whois
from bot.messages import Message
from bot.render import say, speaking
from bot.slack import UNWELL, Bot, Json, tell, trouble
from nhi import answers, authority, days, decisions, facts, ledger, patience
from nhi.database import reading
from nhi.errors import NhiError, NotAllowed
from nhi.escalation import AskStatus
from nhi.findings import OWNERSHIP
from nhi.policy import Policy
from nhi.records import storable
from nhi.redact import redact
from nhi.stats import Stats
from nhi.stats import read as read_stats
from nhi.tables import AskRow, DelegationRow, IdentityRow, PersonRow, RemediationRow, new_id

log = logging.getLogger(__name__)

KNOWN_FOR = timedelta(hours=24)
DELEGATED_AT_MOST = timedelta(days=180)
SHORTEST_PREFIX = 6
MEMBERS_ONLY = "Sorry, only members of this workspace can use `/nhi`; guests and bots cannot."
HOW_TO_DELEGATE = "Say who and until when, like this: `/nhi delegate @bea until 12 Jan`."


def register(app: App, bot: Bot) -> None:
    """Listen for the command."""
    app.command("/nhi")(Commands(bot=bot).answer)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One command: who typed it, what follows the first word, and when."""

    session: Session
    who: PersonRow
    rest: str
    policy: Policy
    now: datetime
    later: Callable[..., None]  # after the commit
    bot: Bot
    body: Json


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
            rows = [session.get(PersonRow, slack_id) for slack_id in (body["user_id"], *_mentioned(body["text"]))]
            return all(row is not None and row.checked_at > self.bot.clock() - KNOWN_FOR for row in rows)

    def _meet_and_answer(self, body: Json) -> None:
        names = [body["user_id"], *_mentioned(body["text"])]
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
            with speaking(asked.policy.conversation.language):
                message = command(asked) if command else _unknown(word)
        for work in after:
            self.bot.later(*work)
        return message


def _member(session: Session, slack_id: str) -> PersonRow:
    try:
        return authority.person(session, slack_id)
    except NotAllowed:
        raise NotAllowed(MEMBERS_ONLY) from None


def _unknown(word: str) -> Message:
    word = redact(plain_text(word))
    near = difflib.get_close_matches(word.lower(), list(COMMANDS), n=1)
    return messages.unknown(word, near[0] if near else None)


def plain_text(typed: str) -> str:
    """Return what somebody typed, without Slack's marks: `<mailto:a@b.c|a@b.c>` is `a@b.c`, `&amp;` is `&`."""
    typed = re.sub(r"<(?:mailto:|tel:)?([^|>]*)(?:\|[^>]*)?>", r"\1", typed)
    return html.unescape(typed)


def _mentioned(typed: str | None) -> list[str]:
    return re.findall(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>", typed or "")


# -- the commands ------------------------------------------------------------------------------------------------------


def _help(asked: Asked) -> Message:
    return messages.help(authority.is_admin(asked.who, asked.policy))


def _whois(asked: Asked) -> Message:
    """Show what is known of whatever a text names, with the buttons that this person may press."""
    query = _query(asked)
    if not query:
        return messages.sorry("Say of what: `/nhi whois ci-deploy`. An ARN, a key id or an e-mail address works too.")
    matches = facts.whois(asked.session, query, asked.policy, asked.now)
    found: list[tuple[Json, str | None]] = []
    for number, match in enumerate(matches):
        if number < whois.IN_FULL:
            found.append(offers.of_match(asked.session, asked.who, match, _in_full, asked.policy, asked.now))
        else:
            found.append((match | {"can": []}, None))
    return whois.whois(redact(query), found)


def _query(asked: Asked) -> str:
    """Return the text to look for; a mention stands for the person's e-mail address."""
    query = asked.rest
    for slack_id in _mentioned(query):
        row = asked.session.get(PersonRow, slack_id)
        query = re.sub(rf"<@{slack_id}(?:\|[^>]*)?>", row.email if row else slack_id, query)
    return plain_text(query)


def _in_full(shown: Json, offer_id: str | None) -> messages.Blocks:
    return [*whois.full(shown), *card.buttons(shown, offer_id)]


def _mine(asked: Asked) -> Message:
    items = offers.owned_by(asked.session, asked.who)
    return messages.mine(items, offers.asked_of(asked.session, asked.who, asked.policy, asked.now))


def _stats(asked: Asked) -> Message:
    """Tell the figures at once, and let their picture follow."""
    figures = read_stats(asked.session, asked.policy, asked.now)
    asked.later(_show_picture, asked.bot, asked.body, figures)
    return stats.message(figures)


def _show_picture(bot: Bot, body: Json, figures: Stats) -> None:
    """Upload the picture and show it to who asked; without it nothing is missing, the words said it all."""
    picture, alt = stats.draw(figures, say("stats.title").plain()), stats.alt_text(figures)
    try:
        kept = bot.client.files_upload_v2(content=picture, filename="nhi-stats.png", title="nhi stats", alt_txt=alt)
    except UNWELL as error:
        log.warning("the picture of the stats was left out: Slack answers %s", trouble(error).code)
        return
    tell(bot, body, stats.with_picture(figures, str(kept["files"][0]["id"])))


def _snooze(asked: Asked) -> Message:
    """Leave one identity alone until a day; security is told who asked for it."""
    name, _, until = asked.rest.rpartition(" until ")
    day = days.read_day(until, asked.now.date())
    found = facts.find(asked.session, plain_text(name)) if name and day else []
    if day is None or len(found) != 1:
        raise NotAllowed("Say what and until when, like this: `/nhi snooze ci-deploy until 12 Jan`.")
    ask = asked.session.scalar(select(AskRow).where(AskRow.identity_id == found[0].id, AskRow.status == AskStatus.OPEN))
    if authority.authority(asked.session, asked.who, found[0], ask, asked.policy, asked.now) is None:
        raise NotAllowed("Only who is asked about it, its owner or an admin can snooze it.")
    row = patience.snooze(asked.session, found[0], asked.who, day, asked.now)
    words = {"name": found[0].name, "until": facts.when(row.until)}
    told = say("stats.snoozed_told", who=asked.who.name, **words).plain()
    for rung in [rung for rung in asked.policy.conversation.escalate_to if rung.startswith("#")][-1:]:
        delivery.queue(asked.session, "notice", rung, {"sentence": told}, [], asked.now)
    if ask is not None:
        answers.redraw(asked.session, ask.id)
        asked.bot.redraw(ask.id)
    return messages.note(say("stats.snoozed", **words).plain())


def _findings(asked: Asked) -> Message:
    rows = facts.open_findings(asked.session)
    kinds = Counter(row.kind.value for row in rows)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    heading = f"{len(rows):,} open findings: {counts}." if rows else "Nothing is open."
    return lists.findings(heading, rows, "findings", _page(asked))


def _page(asked: Asked) -> int:
    """Return which page is asked for; the first, where none is."""
    return int(asked.rest) if asked.rest.isdecimal() and len(asked.rest) < 6 else 1


def _unowned(asked: Asked) -> Message:
    rows = [row for row in facts.open_findings(asked.session) if row.kind in OWNERSHIP]
    heading = f"{len(rows):,} identities have no active, confirmed owner."
    heading = heading if rows else "Every identity has a confirmed owner."
    return lists.findings(heading, rows, "unowned", _page(asked))


def _delegate(asked: Asked) -> Message:
    """Let somebody answer for the sender until the end of a day."""
    delegate, last_day = _read_delegation(asked)
    until = datetime.combine(last_day + timedelta(days=1), time(0), UTC)
    same = select(DelegationRow.id).where(
        DelegationRow.email == asked.who.email,
        DelegationRow.delegate == delegate.email,
        DelegationRow.until == until,
    )
    if asked.session.scalar(same) is None:
        row = DelegationRow(id=new_id(), email=asked.who.email, delegate=delegate.email, since=asked.now, until=until)
        asked.session.add(row)
        ledger.record(
            asked.session,
            "delegation.given",
            now=asked.now,
            facts={"delegation": row.id, "until": until},
            private={"email": asked.who.email, "delegate": delegate.email},
        )
    return messages.note(f"{delegate.name} can answer for you until {last_day:%-d %B %Y}; you still can too.")


def _read_delegation(asked: Asked) -> tuple[PersonRow, date]:
    """Return to whom and until which day. Raises NotAllowed with a sentence that says what is amiss."""
    named = _mentioned(asked.rest)
    last_day = days.read_day(re.sub(r"<@[^>]*>", " ", asked.rest), asked.now.date())
    if len(named) != 1 or last_day is None:
        raise NotAllowed(HOW_TO_DELEGATE)
    latest = (asked.now + DELEGATED_AT_MOST).date()
    if not asked.now.date() <= last_day <= latest:
        raise NotAllowed(f"The day must be between today and {latest:%-d %B %Y}.")
    delegate = asked.session.get(PersonRow, named[0])
    if delegate is None or not authority.is_able(delegate) or not delegate.email:
        raise NotAllowed("Guests, bots and people who left cannot answer for you; please choose a member.")
    if delegate.slack_id == asked.who.slack_id or not asked.who.email:
        raise NotAllowed("You answer for yourself already.")
    return delegate, last_day


def _undo(asked: Asked) -> Message:
    """Take an act back by the beginning of its id, as cards and the command line show it."""
    prefix = plain_text(asked.rest).strip("` ").lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},32}}", prefix):
        return messages.sorry(
            f"Say which act, by {SHORTEST_PREFIX} characters of its id or more; the Undo button on the card is easier."
        )
    starting = select(RemediationRow).where(RemediationRow.id.startswith(prefix, autoescape=True)).limit(2)
    rows = [row for row in asked.session.scalars(starting) if _may_undo(asked, row)]
    if len(rows) != 1:
        return messages.sorry("There is no such act that you may undo. `/nhi whois` and a name shows what was done.")
    row = decisions.request_undo(asked.session, rows[0].id, by=asked.who.email, now=asked.now)
    asked.later(asked.bot.defer, "remediate", row.id)
    if row.ask_id:
        asked.bot.redraw(row.ask_id)
    return messages.note("Thank you. I am taking it back; the card shows when that is done.")


def _may_undo(asked: Asked, row: RemediationRow) -> bool:
    identity = asked.session.get_one(IdentityRow, row.identity_id)
    ask = asked.session.get(AskRow, row.ask_id) if row.ask_id else None
    right = authority.authority(asked.session, asked.who, identity, ask, asked.policy, asked.now)
    return right is not None


def _scan(asked: Asked) -> Message:
    if not authority.is_admin(asked.who, asked.policy):
        raise NotAllowed("Only admins can start a scan; policy.toml names them under `[people]`.")
    asked.later(asked.bot.defer, "scan", "asked for in Slack")
    return messages.note("I asked the worker to look again; if it is busy, the next scan on its timetable does.")


def _review(asked: Asked) -> Message:
    """Bring the sender's part of the review to the end of their messages; admins open one, or see how far it is."""
    word = asked.rest.lower()
    if word in ("open", "status") and not authority.is_admin(asked.who, asked.policy):
        raise NotAllowed("Only admins can do that; `/nhi review` alone brings your own part of it.")
    if word == "open":
        review_places.want(asked.session, asked.who, asked.now)
        asked.later(asked.bot.defer, "review", "asked for in Slack")
        return messages.note("I open this quarter's review within minutes, and tell the admins if its data is too old.")
    if word == "status":
        return review_places.status(asked.session)
    message, boards = review_places.bring(asked.session, asked.who, asked.now)
    asked.later(review.redraw, asked.bot, boards)
    return message


COMMANDS: dict[str, Callable[[Asked], Message]] = {
    "help": _help,
    "whois": _whois,
    "claim": _whois,
    "mine": _mine,
    "findings": _findings,
    "stats": _stats,
    "snooze": _snooze,
    "unowned": _unowned,
    "delegate": _delegate,
    "undo": _undo,
    "scan": _scan,
    "review": _review,
}
