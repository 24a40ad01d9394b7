"""A small company in its review: identities of every kind, people, a fresh scan, and hands that press."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slack_sdk import WebClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import delivery
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import review
from nhi import campaigns
from nhi.database import Sessions, reading
from nhi.policy import Policy
from nhi.tables import (
    DeliveryRow,
    EventRow,
    IdentityRow,
    PersonRow,
    ReviewCampaignRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ScanRow,
    new_id,
)
from tests.conftest import Clock
from tests.factories import ACCOUNT, make_identity, make_owner

Json = dict[str, Any]


def key_id() -> str:
    return "AKIA" + new_id()[:16].upper()


def make_scan(session: Session, at: datetime, account: str = ACCOUNT, **changes: Any) -> ScanRow:
    """Write a scan that saw everything."""
    values: dict[str, Any] = {
        "provider": "aws",
        "account": account,
        "started_at": at,
        "finished_at": at,
        "complete": True,
        "identities": 1,
        "credentials": 1,
        "api_calls": {},
    }
    row = ScanRow(id=new_id(), **(values | changes))
    session.add(row)
    session.flush()
    return row


def own(session: Session, *names: str, of: str = "ana", keys: int = 1, **changes: Any) -> list[str]:
    """Write identities that somebody has claimed, each with keys that were used yesterday; return their ids."""
    person = session.scalars(select(PersonRow).where(PersonRow.email == f"{of}@example.com")).one()
    found = []
    for name in names:
        identity = make_identity(session, name, keys=[key_id() for _ in range(keys)], **changes)
        make_owner(session, identity, person)
        found.append(identity.id)
    return found


@dataclass(frozen=True, kw_only=True)
class Review:
    """One test's company: the database, the stand-in Slack, and the clock that both share."""

    sessions: Sessions
    policy: Policy
    clock: Clock
    workspace: Workspace
    client: WebClient

    def company(self, *names: str, of: str = "ana", **changes: Any) -> list[str]:
        """Add identities of somebody's, seen by a fresh scan."""
        with self.sessions.begin() as session:
            ids = own(session, *names, of=of, **changes)
            make_scan(session, self.clock())
        return ids

    def scan_again(self) -> None:
        """Let everything be seen whole once more, now."""
        with self.sessions.begin() as session:
            make_scan(session, self.clock())

    def open(self) -> str:
        """Open the quarter's campaign; return its id."""
        opened = campaigns.open_campaign(self.sessions, self.policy, by="a test", now=self.clock())
        return opened.campaign_id

    def tick(self) -> review.Tally:
        """Run the job once, and say what is due: a channel gets one message a second, so the clock goes on a little."""
        tally = review.run(self.sessions, self.policy, self.client, now=self.clock())
        self.drain()
        with reading(self.sessions) as session:
            waiting = len(session.scalars(select(DeliveryRow.id).where(DeliveryRow.state == "waiting")).all())
        for _ in range(waiting):
            self.clock.pass_by(seconds=2)
            self.drain()
        return tally

    def drain(self) -> delivery.Tally:
        return delivery.drain(self.sessions, self.client, self.policy, self.clock)

    def tell(self) -> None:
        """Let every reviewer hear of it, in the working hours of all of them together."""
        self.tick()

    def as_(self, name: str) -> Actor:
        return self.workspace.as_(name)

    def board(self, name: str) -> Json:
        """Return somebody's newest message."""
        return self.as_(name).last()

    def item(self, name: str) -> ReviewItemRow:
        """Return the newest item about the identity of that name."""
        with reading(self.sessions) as session:
            query = select(ReviewItemRow).join(IdentityRow, IdentityRow.id == ReviewItemRow.identity_id)
            newest = query.where(IdentityRow.name == name).order_by(ReviewItemRow.added_at.desc())
            return session.scalars(newest).first() or _missing(name)

    def statuses(self) -> dict[str, str]:
        with reading(self.sessions) as session:
            rows = session.scalars(select(ReviewItemRow).order_by(ReviewItemRow.added_at))
            return {row.facts["identity"]["name"]: row.status.value for row in rows}

    def decisions(self) -> list[ReviewDecisionRow]:
        with reading(self.sessions) as session:
            return list(session.scalars(select(ReviewDecisionRow).order_by(ReviewDecisionRow.at)))

    def campaign(self) -> ReviewCampaignRow:
        with reading(self.sessions) as session:
            return session.scalars(select(ReviewCampaignRow).order_by(ReviewCampaignRow.opened_at.desc())).first() or (
                _missing("campaign")
            )

    def events(self, kind: str) -> int:
        with reading(self.sessions) as session:
            return len(session.scalars(select(EventRow.seq).where(EventRow.kind == kind)).all())

    def change(self, identity_id: str, **values: Any) -> None:
        """Let something of an identity be otherwise, as a scan would find it."""
        with self.sessions.begin() as session:
            session.execute(update(IdentityRow).where(IdentityRow.id == identity_id).values(**values))

    def next_quarter(self) -> None:
        """Turn to a Monday morning of the next quarter, and see everything once more."""
        self.clock.now += timedelta(days=91)
        self.scan_again()


def _missing(what: str) -> Any:
    raise LookupError(f"there is no {what}")


def texts(message: Json) -> str:
    """Return all text of a message or view, for a look at what somebody reads."""
    found: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, list):
            for each in part:
                walk(each)
        elif isinstance(part, dict):
            if part.get("type") == "rich_text_section":
                found.append("".join(leaf.get("text") or leaf.get("fallback") or "" for leaf in part["elements"]))
                return
            if isinstance(part.get("text"), str):
                found.append(part["text"])
            for each in part.values():
                walk(each)

    walk(message["blocks"])
    return " ".join(found)


def actions(message: Json) -> list[str]:
    """Return the buttons of a message, by their short names."""
    return [
        element["action_id"].removeprefix("nhi:review_")
        for block in message["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    ]


def names_of(items: Sequence[ReviewItemRow]) -> list[str]:
    return [item.facts["identity"]["name"] for item in items]
