"""People who leave: noticed, listed, handed over by a yes and by nothing else, and orphaned until then."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from slack_sdk import WebClient
from sqlalchemy import func, select

from bot import delivery
from bot.directory import pull
from bot.server import Serving
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import ask as asking
from jobs import leavers
from jobs.cli import main
from nhi import handover, ledger, roster
from nhi.database import Sessions, reading
from nhi.errors import NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.people import Entry
from nhi.policy import Policy, parse
from nhi.settings import Settings
from nhi.tables import (
    AskRow,
    AttestationRow,
    DelegationRow,
    EventRow,
    EvidenceRow,
    FindingRow,
    HandoverItemRow,
    HandoverItemStatus,
    HandoverRow,
    IdentityRow,
    OwnerRow,
    PersonRow,
    new_id,
)
from tests.conftest import Clock, on_sqlite
from tests.factories import make_finding, make_identity, make_owner

TODAY = date(2026, 11, 23)


@pytest.fixture
def policy() -> Policy:
    return parse(
        {
            "owners": {"fallback": "dora@example.com"},
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"]},
            "conversation": {"shadow": False, "working_hours": "00:00-23:59", "remind_after": ["3d"]},
        }
    )


@dataclass(frozen=True, kw_only=True)
class Office:
    """Everything of one test. Ana owns things and leaves, Bea manages her, Cem made them, Dora is the fallback."""

    workspace: Workspace
    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Clock

    def owns(self, *names: str, who: str = "UANA", creator: str | None = "cem") -> list[str]:
        """Let somebody have claimed new identities, which somebody else made; return their ids."""
        ids = []
        with self.sessions.begin() as session:
            for name in names:
                row = make_identity(session, name)
                make_owner(session, row, session.get_one(PersonRow, who))
                if creator:
                    fact = EvidenceRow(
                        identity_id=row.id,
                        source="creator",
                        fact=f"CreateUser by {creator}@example.com",
                        points_to=f"{creator}@example.com",
                        at=self.clock() - timedelta(days=5),
                        seen_at=self.clock(),
                    )
                    session.add(fact)
                ids.append(row.id)
        return ids

    def told(self, handle: str, **changes: Any) -> None:
        """Let the company's list say this of somebody."""
        with self.sessions.begin() as session:
            roster.write(session, "csv", [replace(Entry(email=f"{handle}@example.com"), **changes)], self.clock())

    def deactivate(self, slack_id: str) -> None:
        state = self.workspace.state
        with state.lock:
            state.people[slack_id] = replace(state.people[slack_id], deleted=True)
        pull(self.sessions, self.client, self.clock())

    def tick(self, **time: float) -> leavers.Tally:
        """Let time pass, then let the job look, and say what it has to."""
        self.clock.pass_by(**time)
        tally = leavers.run(self.sessions, self.policy, now=self.clock())
        for _ in range(2):
            delivery.drain(self.sessions, self.client, self.policy, self.clock)
            self.clock.pass_by(seconds=1.1)
        return tally

    def as_(self, handle: str) -> Actor:
        return self.workspace.as_(handle)

    def orphans(self) -> list[str]:
        with reading(self.sessions) as session:
            rows = session.scalars(
                select(FindingRow).where(
                    FindingRow.kind == FindingKind.ORPHANED, FindingRow.status != FindingStatus.RESOLVED
                )
            )
            return sorted(row.identity.name for row in rows)

    def owner(self, identity_id: str) -> str | None:
        with reading(self.sessions) as session:
            query = select(OwnerRow.email).where(OwnerRow.identity_id == identity_id, OwnerRow.ended_at.is_(None))
            email = session.scalar(query)
            return email.partition("@")[0] if email else None

    def items(self) -> list[HandoverItemRow]:
        with reading(self.sessions) as session:
            rows = list(session.scalars(select(HandoverItemRow).order_by(HandoverItemRow.position)))
            session.expunge_all()
            return rows

    def events(self) -> list[str]:
        with reading(self.sessions) as session:
            assert ledger.verify(session).first_wrong is None
            return list(session.scalars(select(EventRow.kind).order_by(EventRow.seq)))


@pytest.fixture
def office(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Office:
    return Office(workspace=workspace, sessions=sessions, client=client, policy=policy, clock=clock)


def text(message: dict[str, Any]) -> str:
    return str(message["blocks"])


# -- noticing ----------------------------------------------------------------------------------------------------------


def test_who_was_deactivated_leaves_orphans_at_once_and_the_manager_is_asked(office: Office) -> None:
    [identity] = office.owns("ci-deploy")
    office.told("ana", manager="bea@example.com")
    assert office.tick().leavers == 0
    office.deactivate("UANA")
    tally = office.tick()
    assert (tally.leavers, tally.identities, tally.orphaned, tally.asked) == (1, 1, 1, 1)
    assert office.orphans() == ["ci-deploy"]
    card = office.as_("bea").last()
    assert "Ana Diaz is deactivated" in text(card)
    assert "you are their manager" in text(card)
    assert "I would ask " in text(card)
    assert "CreateUser by cem@example.com" in text(card)
    assert office.owner(identity) == "ana", "nothing changes owner silently"
    again = office.tick(minutes=5)
    assert (again.asked, again.orphaned, len(office.as_("bea").messages())) == (0, 0, 1)


def test_an_end_that_is_announced_asks_the_leaver_and_nothing_is_orphaned_before_the_last_day_is_past(
    office: Office,
) -> None:
    [identity] = office.owns("ci-deploy")
    office.told("ana", ends_on=TODAY + timedelta(days=15), manager="bea@example.com")
    assert office.tick().leavers == 0
    assert office.tick(days=1).asked == 1
    assert "Your last day is 8 December 2026" in text(office.as_("ana").last())
    assert office.as_("bea").messages() == []
    assert office.orphans() == []
    office.tick(days=3)
    assert "Ana Diaz leaves on 8 December 2026" in text(office.as_("bea").last())
    office.clock.now += timedelta(days=12)
    office.tick()
    assert (office.orphans(), office.owner(identity)) == (["ci-deploy"], "ana")


def test_an_address_that_stops_resolving_is_a_way_to_leave(office: Office) -> None:
    office.owns("ci-deploy")
    with office.sessions.begin() as session:
        session.get_one(PersonRow, "UANA").email = ""
        session.get_one(PersonRow, "UANA").active = False
    office.tick()
    assert office.orphans() == ["ci-deploy"]


@on_sqlite
def test_the_identity_providers_word_is_enough_while_slack_still_knows_them(office: Office) -> None:
    office.owns("ci-deploy")
    with office.sessions.begin() as session:
        roster.write(session, "scim", [Entry(email="ana@example.com", active=False)], office.clock())
    office.tick()
    assert office.orphans() == ["ci-deploy"]


def test_a_leavers_manager_is_known_though_no_list_names_them_any_more(office: Office) -> None:
    office.owns("ci-deploy")
    office.told("ana", manager="bea@example.com")
    office.told("cem")  # a later list
    office.deactivate("UANA")
    office.tick(days=100)
    assert "you are their manager" in text(office.as_("bea").last())


@on_sqlite
def test_a_manager_who_left_too_is_passed_over_and_a_circle_ends_at_the_fallback(office: Office) -> None:
    office.owns("one")
    office.told("ana", manager="otto@example.com")
    office.told("otto", manager="bea@example.com")
    office.deactivate("UANA")
    office.tick()
    assert "the nearest manager above them who is here" in text(office.as_("bea").last())
    office.owns("two", who="UCEM", creator=None)
    office.told("cem", manager="otto@example.com")
    office.told("otto", manager="cem@example.com")
    office.deactivate("UCEM")
    office.tick()
    assert "the managers above them form a circle, and policy names you" in text(office.as_("dora").last())


@on_sqlite
def test_who_comes_back_keeps_what_they_own(office: Office) -> None:
    [identity] = office.owns("ci-deploy")
    office.told("ana", ends_on=TODAY - timedelta(days=1))
    office.tick()
    assert office.orphans() == ["ci-deploy"]
    office.told("ana", ends_on=TODAY + timedelta(days=300))
    office.tick()
    assert (office.orphans(), office.owner(identity)) == ([], "ana")
    [item] = office.items()
    assert item.status is HandoverItemStatus.CLOSED
    assert "Hand to" not in text(office.as_("dora").last())
    office.told("ana", ends_on=TODAY)
    office.tick(days=1)
    assert office.orphans() == ["ci-deploy"], "and leaving a second time is leaving"
    assert "Hand to" in text(office.as_("dora").last())


@on_sqlite
def test_in_shadow_mode_orphans_are_found_and_nobody_is_told(office: Office) -> None:
    office.owns("ci-deploy")
    office.deactivate("UANA")
    talk = office.policy.conversation.model_copy(update={"shadow": True})
    shadow = office.policy.model_copy(update={"conversation": talk})
    tally = leavers.run(office.sessions, shadow, now=office.clock())
    assert (tally.orphaned, tally.asked, sum(tally.skipped.values())) == (1, 0, 1)


@on_sqlite
def test_all_who_leave_share_one_day_of_their_manager_and_none_of_it_comes_beside_other_questions(
    office: Office,
) -> None:
    office.owns("c1")
    office.owns("c2", who="UCEM")
    for handle in ("ana", "cem"):
        office.told(handle, manager="bea@example.com")
        office.deactivate(f"U{handle.upper()}")
    with office.sessions.begin() as session:
        delivery.queue(session, "digest", "UBEA", {"kind": "digest"}, [], office.clock())
    assert office.tick().skipped["had a message today"] == 2
    assert office.tick(days=1).asked == 2
    assert len(office.as_("bea").messages()) == 3


def test_outside_working_hours_nobody_is_told_and_later_they_are(office: Office) -> None:
    office.owns("ci-deploy")
    office.deactivate("UANA")
    saturday = timedelta(days=5)
    assert office.tick(days=saturday.days).asked == 0
    assert office.orphans() == ["ci-deploy"]
    assert office.tick(days=2).asked == 1


# -- handing over ------------------------------------------------------------------------------------------------------


def hand_over(office: Office, *names: str) -> list[str]:
    """Let Ana be gone, and Bea have the list of what she owned."""
    ids = office.owns(*(names or ("ci-deploy",)))
    office.told("ana", manager="bea@example.com")
    office.deactivate("UANA")
    office.tick()
    return ids


def test_the_manager_names_the_heir_who_is_told_why_and_owns_it_only_after_saying_yes(office: Office) -> None:
    [identity] = hand_over(office)
    bea, cem = office.as_("bea"), office.as_("cem")
    assert bea.click(bea.last(), "Hand to Cem") == ""
    assert office.owner(identity) == "ana"
    tally = office.tick()
    assert tally.heirs == 1
    card = cem.last()
    assert "Ana Diaz, its owner, is gone" in text(card)
    assert "Bea Okoye named you" in text(card)
    assert "CreateUser by cem@example.com" in text(card)
    assert "Bea Okoye named Cem Kaya, who is asked" in text(bea.last())
    assert (office.owner(identity), office.orphans()) == ("ana", ["ci-deploy"])
    assert cem.click(card, "I take it over") == ""
    assert (office.owner(identity), office.orphans()) == ("cem", [])
    office.tick()
    assert "Cem Kaya took it" in text(bea.last())
    assert "You took it over" in text(cem.last())
    with reading(office.sessions) as session:
        newest = session.scalars(select(AttestationRow).order_by(AttestationRow.at.desc())).first()
        assert newest is not None
        assert (newest.verdict, newest.authority) == (Verdict.CLAIM, "heir of ana@example.com")
        assert newest.shown["facts"]["handover"]["why"]
        assert newest.shown["blocks"]
        assert session.scalars(select(HandoverRow.closed_at)).one() is not None
    told = [kind for kind in office.events() if kind.startswith("handover.")]
    assert told == [
        "handover.opened",
        "handover.listed",
        "handover.asked",
        "handover.proposed",
        "handover.heir_asked",
        "handover.accepted",
        "handover.closed",
    ]


def test_the_leaver_hands_over_before_the_last_day_and_may_choose_anybody(office: Office) -> None:
    [identity] = office.owns("ci-deploy")
    office.told("ana", ends_on=TODAY + timedelta(days=7))
    office.tick()
    ana, bea = office.as_("ana"), office.as_("bea")
    assert ana.click(ana.last(), "nhi:hand_pick", value="UBEA") == ""
    office.tick()
    assert "Ana Diaz, its owner, leaves on 30 November 2026" in text(bea.last())
    bea.click(bea.last(), "I take it over")
    assert office.owner(identity) == "bea"
    office.clock.now += timedelta(days=10)
    office.tick()
    assert office.orphans() == []


@on_sqlite
def test_an_heir_who_says_no_is_evidence_and_the_next_is_proposed_and_three_are_enough(office: Office) -> None:
    [identity] = hand_over(office)
    bea, cem = office.as_("bea"), office.as_("cem")
    bea.click(bea.last(), "Hand to Cem")
    office.tick()
    cem.click(cem.last(), "Not me")
    with reading(office.sessions) as session:
        facts = session.scalars(select(EvidenceRow).where(EvidenceRow.source == "not_mine")).all()
    assert [fact.points_to for fact in facts] == ["cem@example.com"]
    office.tick()
    assert "Cem Kaya was asked already" in text(bea.last())
    assert "Hand to Cem" not in text(bea.last())
    assert bea.click(bea.last(), "nhi:hand_pick", value="UCEM") == ""
    bea.wait_for(lambda: any(each["ephemeral"] and "asked already" in text(each) for each in bea.messages()))
    bea_card = [each for each in bea.messages() if not each["ephemeral"]][-1]
    bea.click(bea_card, "nhi:hand_pick", value="UDORA")
    office.tick()
    dora = office.as_("dora")
    dora.click(dora.last(), "Not me")
    office.tick()
    bea_card = [each for each in bea.messages() if not each["ephemeral"]][-1]
    bea.click(bea_card, "I take it")
    assert office.owner(identity) == "bea"


@on_sqlite
def test_who_takes_it_themselves_is_asked_no_second_time(office: Office) -> None:
    [identity] = hand_over(office)
    bea = office.as_("bea")
    assert bea.click(bea.last(), "I take it") == ""
    assert (office.owner(identity), office.orphans()) == ("bea", [])


@on_sqlite
def test_silence_is_reminded_of_and_then_the_likeliest_owner_is_asked_by_evidence(office: Office) -> None:
    [identity] = hand_over(office)
    with office.sessions.begin() as session:
        tag = {"source": "tag", "fact": "owner=cem", "points_to": "cem@example.com", "at": None}
        session.add(EvidenceRow(identity_id=identity, seen_at=office.clock(), **tag))
    assert asking.run(office.sessions, office.policy, now=office.clock()).skipped["is being handed over"] == 1
    assert office.tick(days=3).reminded == 1
    assert office.tick(days=3).released == 1
    assert office.owner(identity) == "ana", "silence changes nothing"
    office.clock.pass_by(days=1)
    assert asking.run(office.sessions, office.policy, now=office.clock()).items == 1
    with reading(office.sessions) as session:
        asked = session.scalars(select(AskRow).where(AskRow.status == AskStatus.OPEN)).one()
    assert (asked.email, "its owner, Ana Diaz, is gone" in asked.because) == ("cem@example.com", True)
    assert office.tick(days=1).leavers == 0, "what was released is not listed again"


@on_sqlite
def test_an_heir_who_stays_silent_or_leaves_gives_way_to_another(office: Office) -> None:
    hand_over(office)
    bea = office.as_("bea")
    bea.click(bea.last(), "Hand to Cem")
    office.tick()
    assert office.tick(days=3).reminded == 1
    office.tick(days=4)  # a Monday: nobody is told anything on Sundays
    [item] = office.items()
    assert (item.status, item.passed) == (HandoverItemStatus.OPEN, ["cem@example.com"])
    assert len([each for each in bea.messages() if not each["ephemeral"]]) == 2, "who names the next is told"
    assert "I take it over" not in text(office.as_("cem").last())


def test_the_open_question_about_it_goes_to_the_new_owner(office: Office) -> None:
    [identity] = office.owns("ci-deploy")
    with office.sessions.begin() as session:
        make_finding(session, session.get_one(IdentityRow, identity), status=FindingStatus.OPEN)
    asking.run(office.sessions, office.policy, now=office.clock())
    office.told("ana", ends_on=TODAY + timedelta(days=4))
    office.tick()
    office.tick(days=1)  # not on the day of another question
    ana, bea = office.as_("ana"), office.as_("bea")
    card = next(each for each in ana.messages() if "Your last day" in text(each))
    ana.click(card, "nhi:hand_pick", value="UBEA")
    office.tick()
    bea.click(bea.last(), "I take it over")
    with reading(office.sessions) as session:
        assert session.scalars(select(AskRow)).one().status is AskStatus.WITHDRAWN
    office.clock.pass_by(days=1)
    asking.run(office.sessions, office.policy, now=office.clock())
    with reading(office.sessions) as session:
        asked = session.scalars(select(AskRow).where(AskRow.status == AskStatus.OPEN)).one()
    assert (asked.email, asked.because) == ("bea@example.com", "you are its owner")


def test_of_yes_and_no_pressed_at_once_by_many_hands_one_counts(office: Office) -> None:
    [identity] = hand_over(office)
    bea, cem = office.as_("bea"), office.as_("cem")
    bea.click(bea.last(), "Hand to Cem")
    office.tick()
    card = cem.last()
    errors: list[str] = []
    words = ["I take it over", "Not me"] * 4
    threads = [threading.Thread(target=lambda what=what: errors.append(cem.click(card, what))) for what in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(errors) == {""}
    with reading(office.sessions) as session:
        said = list(session.scalars(select(AttestationRow.verdict).where(AttestationRow.slack_id == "UCEM")))
        current = select(func.count()).select_from(OwnerRow).where(OwnerRow.ended_at.is_(None))
        assert session.scalar(current) == 1
    assert len(said) == 1
    assert office.owner(identity) == ("cem" if said == [Verdict.CLAIM] else "ana")
    office.events()


def test_of_two_who_name_an_heir_at_once_the_first_counts(office: Office) -> None:
    hand_over(office)
    [item] = office.items()
    outcomes: list[str] = []

    def name(heir: str) -> None:
        try:
            with office.sessions.begin() as session:
                handover.propose(
                    session, item.id, heir=heir, slack_id="UDORA", policy=office.policy, now=office.clock()
                )
            outcomes.append(heir)
        except Exception as error:  # noqa: BLE001  (a thread's refusal is what is looked at)
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=name, args=[heir]) for heir in ("UBEA", "UCEM") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[:7] == ["AlreadyAnswered"] * 7
    [item] = office.items()
    assert item.heir == {"UBEA": "bea@example.com", "UCEM": "cem@example.com"}[max(outcomes)]


# -- who may -----------------------------------------------------------------------------------------------------------


@on_sqlite
def test_only_the_leaver_their_manager_delegates_and_admins_name_an_heir(office: Office) -> None:
    hand_over(office)
    [item] = office.items()

    def propose(slack_id: str, heir: str) -> handover.Proposed:
        with office.sessions.begin() as session:
            return handover.propose(
                session, item.id, heir=heir, slack_id=slack_id, policy=office.policy, now=office.clock()
            )

    for stranger in ("UCEM", "UGUS", "UANA", "UNOBODY"):
        with pytest.raises(NotAllowed):
            propose(stranger, "UBEA")
    for heir in ("UGUS", "UOTTO", "UROBO", "UANA", "UNOBODY"):
        with pytest.raises(NotAllowed):
            propose("UBEA", heir)
    with pytest.raises(OutOfDate), office.sessions.begin() as session:
        handover.propose(session, "nothing", heir=None, slack_id="UBEA", policy=office.policy, now=office.clock())
    with office.sessions.begin() as session:
        until = office.clock() + timedelta(days=5)
        session.add(
            DelegationRow(
                id=new_id(), email="bea@example.com", delegate="cem@example.com", since=office.clock(), until=until
            )
        )
    assert propose("UCEM", "UDORA").heir == "Dora Lind"


@on_sqlite
def test_only_the_heir_answers_and_not_for_what_somebody_else_claimed_meanwhile(office: Office) -> None:
    [identity] = hand_over(office)
    bea, cem, dora = office.as_("bea"), office.as_("cem"), office.as_("dora")
    bea.click(bea.last(), "Hand to Cem")
    office.tick()
    [offer] = [
        element["value"]
        for block in cem.last()["blocks"]
        for element in block.get("elements", [])
        if element.get("action_id") == "nhi:heir_accept"
    ]
    with pytest.raises(NotAllowed), office.sessions.begin() as session:
        handover.accept(session, offer, slack_id="UBEA", policy=office.policy, now=office.clock())
    dora.command("/nhi whois ci-deploy")
    dora.click(dora.last(), "It's mine")
    assert office.owner(identity) == "dora"
    with pytest.raises(OutOfDate), office.sessions.begin() as session:
        handover.accept(session, offer, slack_id="UCEM", policy=office.policy, now=office.clock())
    office.tick()
    assert "I take it over" not in text(cem.last())
    assert office.owner(identity) == "dora"


@on_sqlite
def test_a_leaver_with_very_much_gets_one_message_within_slacks_limits(office: Office) -> None:
    hand_over(office, *(f"thing-{number}-{'x' * 50}" for number in range(60)))
    bea = office.as_("bea")
    [card] = bea.messages()
    assert len(card["blocks"]) <= 50
    assert "And 52 more" in text(card)
    with reading(office.sessions) as session:
        assert session.scalar(select(func.count()).select_from(HandoverItemRow)) == 60


@on_sqlite
def test_the_command_line_lists_the_orphans(
    office: Office, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over(office)
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("NHI_POLICY", str(settings.nhi_policy))
    done = CliRunner().invoke(main, ["findings", "--kind", "orphaned", "--json"])
    [one] = json.loads(done.stdout)
    assert (one["kind"], one["owasp"], one["identity"]["name"]) == ("orphaned", "NHI1", "ci-deploy")
    assert (one["owner"]["state"], one["owner"]["email"]) == ("confirmed", "ana@example.com")
