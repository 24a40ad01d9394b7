"""The outbox: what must be said, said once.

A row is written before its message is posted. Each try is counted, and committed, before it is made; the row's id
travels in the message's metadata, so a second try reads the channel first and adopts what the first one posted. Killed
anywhere in between, nothing is lost and nothing is said twice. No thread ever sleeps: who has to wait, waits in a row.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slack_sdk import WebClient
from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from bot import drawing, late, quiet_hours
from bot.slack import ALL_SENDING, UNWELL, Json, Kind, Trouble, hold, is_shut, release, shut, trouble
from nhi.database import Sessions, lock_writers, reading
from nhi.policy import Policy
from nhi.tables import CardRow, DeliveryRow, GateRow, new_id

log = logging.getLogger(__name__)

WAITING, POSTED, DEAD = "waiting", "posted", "dead"
TRIES = 8
LOOKS = 8  # after the last try, for what it may have posted all the same: the first that can be made ends it
LEASE = timedelta(minutes=2)  # longer than the calls of one try can take together
BETWEEN_POSTS = timedelta(seconds=1)  # to one channel
STOPPED_FOR = timedelta(hours=1)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
REDRAWS_AT_ONCE = 5  # of one message, while answers keep coming in
SKEW = timedelta(minutes=10)  # Slack's clock, which numbers messages, may differ from ours
PAGES_TO_SEARCH = 10  # of 200 messages: what a busy channel says while Slack was unwell
EVENT_TYPE = "nhi_delivery"


@dataclass(kw_only=True)
class Tally:
    """What one drain did, and what it could not do."""

    posted: int = 0
    adopted: int = 0  # found in the channel: an earlier try had posted them after all
    redrawn: int = 0
    waiting: int = 0
    dead: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # Slack's codes, of what waits or is dead

    def __str__(self) -> str:
        said = [f"Posted {self.posted}, redrew {self.redrawn}."]
        if self.adopted:
            said.append(f"Found {self.adopted} that an earlier try had posted.")
        if self.waiting:
            said.append(f"{self.waiting} will be tried again.")
        if self.dead:
            said.append(f"Gave up on {self.dead}.")
        if self.reasons:
            said.append("Slack said: " + ", ".join(f"{code} ({n})" for code, n in self.reasons.most_common()) + ".")
        return " ".join(said)


def queue(
    session: Session, kind: str, recipient: str, words: Json, ask_ids: Sequence[str], now: datetime
) -> DeliveryRow:
    """Write down one message to be said, in the caller's transaction.

    `kind` is digest, reminder, escalation, shadow, golive or notice (whose sentence is `words["sentence"]`);
    `recipient` a Slack user's or channel's id, or "#name"; the cards stand in the order of `ask_ids`.
    """
    row = DeliveryRow(
        id=new_id(),
        kind=kind,
        recipient=recipient,
        words=words,
        state=WAITING,
        wanted_version=1,
        shown_version=0,
        attempts=0,
        not_before=now,
        created_at=now,
    )
    session.add(row)
    session.flush()
    for position, ask_id in enumerate(dict.fromkeys(ask_ids)):
        session.add(CardRow(id=new_id(), delivery_id=row.id, ask_id=ask_id, position=position))
    session.flush()
    return row


def drain(
    sessions: Sessions,
    client: WebClient,
    policy: Policy,
    now_clock: Callable[[], datetime],
    *,
    limit: int = 100,
    only_ask: str | None = None,
    only_deliveries: Sequence[str] | None = None,
) -> Tally:
    """Say what is due, oldest first: at most `limit` messages, posts and redraws together.

    `only_ask` keeps to the copies of one ask's card, `only_deliveries` to these messages. Raises nothing that Slack
    says: the tally and the rows tell it.
    """
    outbox = _Outbox(sessions=sessions, client=client, policy=policy, clock=now_clock, tally=Tally())
    with reading(sessions) as session:
        due = _due_ids(now_clock(), limit, only_ask)
        if only_deliveries is not None:
            due = due.where(DeliveryRow.id.in_(only_deliveries))
        ids = session.scalars(due).all()
    for delivery_id in ids:
        if not outbox.work_on(delivery_id):
            break
    return outbox.tally


def _due_ids(now: datetime, limit: int, only_ask: str | None) -> Select[str]:
    gate = func.substr("to " + DeliveryRow.recipient, 1, 64)
    shut_channel = exists().where(GateRow.name == gate, GateRow.not_before > now)
    due = select(DeliveryRow.id).where(
        _is_due(now),
        or_(DeliveryRow.state == POSTED, ~shut_channel),
        ~exists().where(GateRow.name == ALL_SENDING, GateRow.not_before > now),
    )
    if only_ask is not None:
        due = due.where(DeliveryRow.id.in_(select(CardRow.delivery_id).where(CardRow.ask_id == only_ask)))
    return due.order_by(DeliveryRow.created_at, DeliveryRow.id).limit(limit)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return and_(
        or_(
            DeliveryRow.state == WAITING,
            and_(DeliveryRow.state == POSTED, DeliveryRow.wanted_version > DeliveryRow.shown_version),
        ),
        DeliveryRow.not_before <= now,
        or_(DeliveryRow.claimed_until.is_(None), DeliveryRow.claimed_until <= now),
    )


@dataclass(frozen=True, kw_only=True)
class _Outbox:
    """One drain: its tools and its tally."""

    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Callable[[], datetime]
    tally: Tally

    def work_on(self, delivery_id: str) -> bool:
        """Post or redraw one message; return False where nothing more should be sent now."""
        for _ in range(REDRAWS_AT_ONCE):
            row = self._claim(delivery_id)
            if row is None:
                return True
            try:
                again = self._redraw(row) if row.state == POSTED else self._post(row)
            except UNWELL as error:
                return self._failed(row, trouble(error))
            if not again:
                return True
        return True

    def _claim(self, delivery_id: str) -> DeliveryRow | None:
        """Take a row by one conditional UPDATE, and count the try before it is made; None: it is not ours to do."""
        now = self.clock()
        with self.sessions.begin() as session:
            if is_shut(session, ALL_SENDING, now):
                return None
            claimed = session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id, _is_due(now))
                .values(claimed_until=now + LEASE, attempts=DeliveryRow.attempts + 1)
                .execution_options(synchronize_session=False)
            )
            if claimed.rowcount != 1:  # type: ignore[attr-defined]
                return None
            row = session.get_one(DeliveryRow, delivery_id, populate_existing=True)
            says = row.state == WAITING and row.attempts <= TRIES
            if says and (later := quiet_hours.put_off_until(session, row, self.policy, now)):
                row.not_before, row.claimed_until, row.attempts = later, None, row.attempts - 1
                row.error = row.error or quiet_hours.OUT_OF_HOURS
                self.tally.waiting += 1
                return None
            # Held until the try is over: how long a call takes, nobody knows, and two must not overtake each other.
            if row.state == WAITING and not hold(session, _gate(row), now, now + LEASE, "one message a second"):
                session.rollback()
                return None
            if row.state == WAITING:
                late.count_anew(session, row, self.policy, now)
            return row

    def _post(self, row: DeliveryRow) -> bool:
        channel = self._channel(row)
        if row.attempts > 1 and (ts := self._find(row, channel)):
            # What it shows is an earlier try's drawing; a redraw makes sure that its buttons are the newest.
            self._posted(row, None, channel, ts)
            self.tally.adopted += 1
            return True
        if row.attempts > TRIES:
            return self._unsaid(row)
        drawn = drawing.draw(self.sessions, row.id, self.policy, self.clock())
        answer = self.client.chat_postMessage(
            channel=channel,
            text=drawn.message.text,
            blocks=drawn.message.blocks,
            metadata=_metadata(row),
            unfurl_links=False,
            unfurl_media=False,
        )
        self.tally.posted += 1
        return self._posted(row, drawn, str(answer["channel"]), str(answer["ts"]))

    def _channel(self, row: DeliveryRow) -> str:
        """Return where to post; a person's direct message is opened first, so that it can be searched later."""
        if row.channel:
            return row.channel
        if row.recipient.startswith(("U", "W")):
            return str(self.client.conversations_open(users=row.recipient)["channel"]["id"])
        if row.attempts > 1 and row.recipient.startswith("#"):
            return self._id_of(row.recipient)
        return row.recipient

    def _id_of(self, name: str) -> str:
        """Return the id of a named channel, which only a search of its history needs; the name where none is known."""
        known = select(DeliveryRow.channel).where(DeliveryRow.recipient == name, DeliveryRow.channel.is_not(None))
        with reading(self.sessions) as session:
            channel = session.scalar(known.order_by(DeliveryRow.created_at.desc()).limit(1))
        if channel:
            return channel
        cursor = ""
        while True:
            page = self.client.conversations_list(
                types="public_channel,private_channel", exclude_archived=True, limit=999, cursor=cursor
            )
            for each in page["channels"]:
                if each.get("name") == name.removeprefix("#"):
                    return str(each["id"])
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return name

    def _find(self, row: DeliveryRow, channel: str) -> str | None:
        """Return the ts of the message that an earlier try of this row posted; None: none did."""
        oldest = f"{(row.created_at - SKEW).timestamp():.6f}"
        cursor = ""
        for _ in range(PAGES_TO_SEARCH):
            page = self.client.conversations_history(
                channel=channel, oldest=oldest, include_all_metadata=True, limit=200, cursor=cursor
            )
            for message in page["messages"]:
                if message.get("metadata") == _metadata(row):
                    return str(message["ts"])
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        return None

    def _posted(self, row: DeliveryRow, drawn: drawing.Drawn | None, channel: str, ts: str) -> bool:
        """Write down what is shown where; return whether a newer state of it is wanted already."""
        with self.sessions.begin() as session:
            now = self.clock()
            lock_writers(session)  # an answer that comes in now waits, or is seen as a newer version
            kept = session.get_one(DeliveryRow, row.id)
            if drawn is None:
                kept.wanted_version = max(kept.wanted_version, kept.shown_version + 1)
            else:
                kept.shown_version = drawn.version
                drawing.void_older(session, row.id, drawn, now)
            if kept.state == WAITING:
                release(session, _gate(row), now + BETWEEN_POSTS)
            kept.state, kept.channel, kept.ts = POSTED, channel, ts
            kept.claimed_until, kept.error, kept.attempts = None, None, 0
            return kept.wanted_version > kept.shown_version

    def _unsaid(self, row: DeliveryRow) -> bool:
        """Give up what no try has posted; who looks this up next can say it anew without saying it twice."""
        with self.sessions.begin() as session:
            now = self.clock()
            lock_writers(session)
            kept = session.get_one(DeliveryRow, row.id)
            release(session, _gate(row), now)
            kept.state, kept.claimed_until = DEAD, None
            self.tally.reasons[kept.error or "unknown"] += 1
        self.tally.dead += 1
        return False

    def _redraw(self, row: DeliveryRow) -> bool:
        assert row.channel
        assert row.ts
        drawn = drawing.draw(self.sessions, row.id, self.policy, self.clock())
        self.client.chat_update(
            channel=row.channel,
            ts=row.ts,
            text=drawn.message.text,
            blocks=drawn.message.blocks,
            metadata=_metadata(row),
        )
        self.tally.redrawn += 1
        return self._posted(row, drawn, row.channel, row.ts)

    def _failed(self, row: DeliveryRow, what: Trouble) -> bool:
        """Write down a failed try and when the next may be made; return whether others may still be sent."""
        self.tally.reasons[what.code] += 1
        with self.sessions.begin() as session:
            now = self.clock()
            lock_writers(session)
            kept = session.get_one(DeliveryRow, row.id)
            kept.claimed_until, kept.error = None, what.code
            if kept.state == WAITING:
                release(session, _gate(row), now + BETWEEN_POSTS)  # it may have been posted all the same
            if what.kind is Kind.STOP:
                kept.attempts -= 1
                shut(session, ALL_SENDING, now + STOPPED_FOR, what.code)
                log.error("All sending stops for an hour: Slack answers %s. `nhi doctor` says what to do.", what.code)
            elif what.kind is Kind.WAIT and (
                what.surely_not_done or kept.attempts < TRIES + LOOKS or kept.state == POSTED
            ):
                self._wait(session, kept, what, now)
            else:
                self._give_up(kept, what)
            if kept.state != DEAD:
                self.tally.waiting += 1
        return what.kind is not Kind.STOP and what.retry_after is None

    def _wait(self, session: Session, row: DeliveryRow, what: Trouble, now: datetime) -> None:
        tries = min(row.attempts, TRIES)
        row.not_before = now + (what.retry_after or min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT))
        if what.surely_not_done:
            row.attempts -= 1
        if what.retry_after is not None:
            shut(session, ALL_SENDING, row.not_before, what.code)

    def _give_up(self, row: DeliveryRow, what: Trouble) -> None:
        """Stop trying: a message that was never posted is dead, one that Slack lets nobody redraw stays as it is."""
        if row.state == POSTED:
            row.shown_version, row.attempts = row.wanted_version, 0
        else:
            row.state = DEAD
            self.tally.dead += 1
        if what.kind is Kind.OURS:
            log.error("Slack refuses delivery %s (%s): %s. This is a bug.", row.id, row.kind, what.code)


def _gate(row: DeliveryRow) -> str:
    return f"to {row.recipient}"


def _metadata(row: DeliveryRow) -> Json:
    return {"event_type": EVENT_TYPE, "event_payload": {"id": row.id}}
