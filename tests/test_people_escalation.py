"""Silence goes to the manager where one is known, as the card announced, and the manager can answer it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from slack_sdk import WebClient
from sqlalchemy import select

from bot import delivery
from bot.server import Serving
from demo.workspace import Workspace
from jobs import ask as asking
from nhi import roster
from nhi.database import Sessions, reading
from nhi.escalation import AskStatus, Verdict, reachable
from nhi.findings import FindingKind, FindingStatus
from nhi.people import Entry
from nhi.policy import Policy, parse
from nhi.tables import AskRow, AttestationRow, EvidenceRow, IdentityRow, PersonRow
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_finding, make_identity, make_owner, make_person


@pytest.fixture
def policy() -> Policy:
    talk = {"shadow": False, "working_hours": "00:00-23:59", "remind_after": ["1d"]}
    return parse(
        {
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"]},
            "conversation": talk | {"escalate_to": ["manager", "#security"]},
        }
    )


@dataclass(frozen=True, kw_only=True)
class Office:
    """Ana is asked about one identity, and says nothing."""

    workspace: Workspace
    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Clock

    def told(self, handle: str, **changes: Any) -> None:
        with self.sessions.begin() as session:
            roster.write(session, "csv", [replace(Entry(email=f"{handle}@example.com"), **changes)], self.clock())

    def away(self, handle: str, days: float) -> None:
        with self.sessions.begin() as session:
            row = session.get(PersonRow, "U" + handle.upper()) or make_person(session, handle)
            row.away_until = self.clock() + timedelta(days=days)

    def begin(self) -> None:
        with self.sessions.begin() as session:
            row = make_identity(session)
            make_finding(session, row, FindingKind.UNOWNED, status=FindingStatus.OPEN)
            tag: dict[str, Any] = {"source": "tag", "fact": "owner=ana", "points_to": "ana@example.com", "at": None}
            session.add(EvidenceRow(identity_id=row.id, seen_at=NOW, **tag))
        self.tick()

    def tick(self, **time: float) -> asking.Tally:
        self.clock.pass_by(**time)
        tally = asking.run(self.sessions, self.policy, now=self.clock())
        for _ in range(2):
            delivery.drain(self.sessions, self.client, self.policy, self.clock)
            self.clock.pass_by(seconds=1.1)
        return tally

    def text(self, handle: str) -> str:
        return str(self.workspace.as_(handle).last()["blocks"])


@pytest.fixture
def office(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Office:
    return Office(workspace=workspace, sessions=sessions, client=client, policy=policy, clock=clock)


def test_a_manager_is_a_rung_where_one_is_known_and_else_none() -> None:
    assert reachable(("manager", "#security")) == ("#security",)
    assert reachable(("manager", "#security"), manager_known=True) == ("manager", "#security")


def test_silence_goes_to_the_real_manager_as_the_first_card_said_and_they_can_answer(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.begin()
    assert "the question goes to your manager, then #security" in office.text("ana")
    assert office.tick(days=1).reminded == 1
    assert office.tick(days=1).escalated == 1
    bea = office.workspace.as_("bea")
    assert "Ana Diaz was asked" in office.text("bea")
    assert bea.click(bea.last(), "Not mine") == ""
    with reading(office.sessions) as session:
        said = session.scalars(select(AttestationRow)).one()
        against = session.scalars(select(EvidenceRow).where(EvidenceRow.source == "not_mine")).one()
    assert (said.authority, said.verdict) == ("manager of ana@example.com", Verdict.NOT_MINE)
    assert against.points_to == "ana@example.com", "a manager answers for the person who was asked"


@on_sqlite
def test_while_the_likely_owner_is_away_for_long_their_manager_is_asked_at_once_and_can_take_it(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.away("ana", days=9)
    office.begin()
    assert "Ana Diaz may own this identity and is away until" in office.text("bea")
    assert office.workspace.as_("ana").messages() == [], "nobody is disturbed on holiday"
    bea = office.workspace.as_("bea")
    assert bea.click(bea.last(), "It's mine") == ""
    with reading(office.sessions) as session:
        said = session.scalars(select(AttestationRow)).one()
        asked = session.scalars(select(AskRow)).one()
    assert (said.authority, said.verdict, said.email) == (
        "manager of ana@example.com",
        Verdict.CLAIM,
        "bea@example.com",
    )
    assert (asked.email, asked.escalated_to, asked.status) == ("ana@example.com", ["manager"], AskStatus.ANSWERED)


@on_sqlite
def test_who_is_back_from_a_holiday_is_asked_themselves_what_their_manager_left_open(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.away("ana", days=9)
    office.begin()
    assert office.tick(days=8).skipped == {"away": 1}
    assert office.tick(days=2).reminded == 1
    assert "You probably know this identity best" in office.text("ana"), "no reminder: it is the first that she hears"
    assert "While you were away, the question went to your manager" in office.text("ana")


@on_sqlite
def test_nobody_covers_for_a_few_days_nor_by_somebody_who_is_away_too_nor_what_has_an_owner(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.away("ana", days=3)
    office.begin()
    assert office.tick(hours=1).skipped == {"away": 1}
    office.away("ana", days=9)
    office.away("bea", days=9)
    assert office.tick(hours=1).skipped == {"away": 1}
    with office.sessions.begin() as session:
        session.get_one(PersonRow, "UBEA").away_until = None
        make_owner(session, session.scalars(select(IdentityRow)).one(), session.get_one(PersonRow, "UANA"))
    assert office.tick(hours=1).skipped == {"away": 1}
    with reading(office.sessions) as session:
        assert session.scalars(select(AskRow)).all() == []


@on_sqlite
def test_where_no_manager_is_known_the_card_does_not_promise_one(office: Office) -> None:
    office.told("ana")
    office.begin()
    assert "the question goes to #security" in office.text("ana")
    office.tick(days=1)
    office.tick(days=1)
    with reading(office.sessions) as session:
        assert session.scalars(select(AskRow)).one().escalated_to == ["#security"]


@on_sqlite
def test_a_manager_whom_silence_was_not_told_to_cannot_answer(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.begin()
    bea = office.workspace.as_("bea")
    bea.command("/nhi whois ci-deploy")
    assert "It's mine" not in office.text("bea")
    with reading(office.sessions) as session:
        assert session.scalars(select(AskRow.status)).one() is AskStatus.OPEN


def test_the_manager_of_one_person_is_the_same_read_alone_or_with_everybody(sessions: Sessions, policy: Policy) -> None:
    entries = [
        Entry(email="ana@example.com", manager="b.okoye@example.com"),
        Entry(email="bea@example.com", aliases=("b.okoye@example.com",), manager="cem@example.com"),
        Entry(email="cem@example.com", manager="ana@example.com"),
        Entry(email="dan@example.com", manager="left@example.com"),
        Entry(email="left@example.com", manager="cem@example.com", ends_on=(NOW - timedelta(days=1)).date()),
        Entry(email="eve@example.com", manager="eve@example.com"),
        Entry(email="fay@example.com", manager="boss@example.com"),
    ]
    with sessions.begin() as session:
        roster.write(session, "csv", entries, NOW)
        for handle in ("ana", "bea", "cem", "dan", "left", "eve", "fay", "boss"):
            make_person(session, handle)
        everybody = roster.Roster.read(session, policy, NOW)
        for handle, above in {
            "ana": "bea",
            "bea": "cem",
            "cem": "ana",
            "dan": "cem",
            "eve": None,
            "fay": "boss",
            "nobody": None,
        }.items():
            alone = roster.manager_of(session, f"{handle}@example.com", policy, NOW)
            together = everybody.manager(f"{handle}@example.com")
            assert (alone.handle if alone else None) == (together.handle if together else None) == above, handle
        assert session.get_one(PersonRow, "UANA").active
