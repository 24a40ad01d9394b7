"""Who is left alone, and for how long; what goes on when a message cannot be said; what admins see before Go."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from slack_sdk import WebClient
from sqlalchemy import Connection, event, select, update

from bot import delivery, offers
from bot.server import Serving
from demo.workspace import Workspace, refuse, server_error
from jobs import ask as asking
from jobs.shadow import LIVE_SWITCH
from nhi import answers, cards, decisions, facts, patience, roster
from nhi.database import Sessions, reading
from nhi.errors import NotAllowed
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.ledger import verify
from nhi.people import Entry
from nhi.policy import Policy, parse
from nhi.tables import (
    AskRow,
    AttestationRow,
    CredentialRow,
    DelegationRow,
    DeliveryRow,
    EvidenceRow,
    FindingRow,
    IdentityRow,
    PersonRow,
    PromiseRow,
    RemediationRow,
    SnoozeRow,
    SwitchRow,
)
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_ask, make_finding, make_identity
from tests.slack_facts import shown

pytestmark = on_sqlite
Json = dict[str, Any]
TALK: Json = {"shadow": False, "working_hours": "00:00-23:59", "remind_after": ["1d", "1d"]}


def talking(**talk: Any) -> Policy:
    return parse(
        {
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"]},
            "conversation": TALK | {"escalate_to": ["manager", "#security"]} | talk,
        }
    )


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Policy:
    return talking(**getattr(request, "param", {}))


@dataclass(kw_only=True)
class Office:
    """People with things to be asked about, and the jobs that ask."""

    workspace: Workspace
    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Clock

    def has(self, owner: str | None, *names: str, keys: Sequence[str] = (), **changes: Any) -> list[str]:
        """Let there be open findings about these identities, each with a tag that names the owner."""
        with self.sessions.begin() as session:
            made = [make_identity(session, name, keys=keys, **changes) for name in names]
            for row in made:
                make_finding(session, row, FindingKind.UNUSED, status=FindingStatus.OPEN)
                if owner is not None:
                    tag = {"source": "tag", "fact": f"owner={owner}", "points_to": f"{owner}@example.com", "at": None}
                    session.add(EvidenceRow(identity_id=row.id, seen_at=NOW, **tag))
            return [row.id for row in made]

    def told(self, handle: str, **changes: Any) -> None:
        with self.sessions.begin() as session:
            roster.write(session, "csv", [replace(Entry(email=f"{handle}@example.com"), **changes)], self.clock())

    def person(self, handle: str, **changes: Any) -> None:
        with self.sessions.begin() as session:
            session.execute(update(PersonRow).where(PersonRow.slack_id == "U" + handle.upper()).values(**changes))

    def ask(self, **options: bool) -> asking.Tally:
        return asking.run(self.sessions, self.policy, now=self.clock(), **options)

    def drain(self) -> delivery.Tally:
        return delivery.drain(self.sessions, self.client, self.policy, self.clock)

    def tick(self, **time: float) -> asking.Tally:
        self.clock.pass_by(**time)
        tally = self.ask()
        for _ in range(2):
            self.drain()
            self.clock.pass_by(seconds=1.1)
        return tally

    def messages(self, place: str) -> list[Json]:
        if place.startswith("#"):
            return self.workspace.as_("dora").messages(place)
        return self.workspace.as_(place).messages()

    def asks(self, **fits: Any) -> list[AskRow]:
        with reading(self.sessions) as session:
            return list(session.scalars(select(AskRow).filter_by(**fits).order_by(AskRow.asked_at, AskRow.id)))

    def recipients(self, kind: str) -> list[str]:
        with reading(self.sessions) as session:
            rows = select(DeliveryRow.recipient).where(DeliveryRow.kind == kind)
            return list(session.scalars(rows.order_by(DeliveryRow.created_at, DeliveryRow.id)))

    def status(self) -> set[FindingStatus]:
        with reading(self.sessions) as session:
            return set(session.scalars(select(FindingRow.status)))

    def say(self, verdict: Verdict, by: str = "ana", **options: Any) -> None:
        """Answer the one open question."""
        now = self.clock()
        with self.sessions.begin() as session:
            ask = session.scalars(select(AskRow).where(AskRow.status == AskStatus.OPEN)).one()
            shown = {"facts": cards.of_ask(session, ask, self.policy, now), "blocks": []}
            offer = cards.offer(session, shown, identity_id=ask.identity_id, ask_id=ask.id, now=now)
            assert offer is not None
            who = answers.begin(session, offer.id, verdict, slack_id="U" + by.upper(), policy=self.policy, now=now)
            if verdict is Verdict.JUSTIFY:
                decisions.justify(session, who, also_claim=False, policy=self.policy, now=now, **options)
            elif verdict is Verdict.DISABLE:
                key = ask.identity.credentials[0].id
                decisions.disable(session, who, credential_id=key, also_claim=True, policy=self.policy, now=now)
            else:
                {Verdict.CLAIM: decisions.claim, Verdict.NOT_MINE: decisions.not_mine}[verdict](session, who, now)


@contextmanager
def statements(office: Office) -> Iterator[Counter[bool]]:
    """Count what the database is asked, by whether only to read; the rest is asked while nobody else can write."""
    counted: Counter[bool] = Counter()

    def count(connection: Connection, *_: Any) -> None:
        counted[bool(connection.get_execution_options().get("reads_only"))] += 1

    engine = office.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", count)
    yield counted
    event.remove(engine, "before_cursor_execute", count)


@pytest.fixture
def office(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Office:
    workspace.delivery.patience = 30  # the machine may be busy, and how soon an ack comes is not what is tested here
    return Office(workspace=workspace, sessions=sessions, client=client, policy=policy, clock=clock)


# -- left alone --------------------------------------------------------------------------------------------------------


def test_who_is_away_is_not_asked_before_they_are_back(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.person("ana", away_until=NOW + timedelta(days=2))
    assert office.tick().skipped == {"away": 1}
    assert office.tick(days=2, seconds=-10).items == 0
    assert office.tick(seconds=20).items == 1


def test_who_is_away_for_longer_than_three_weeks_does_not_stop_the_ladder(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.person("ana", away_until=NOW + timedelta(days=22))
    assert office.tick().items == 1


def test_a_delegate_is_asked_instead_is_told_why_and_their_answer_counts(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.workspace.as_("ana").command("/nhi delegate @bea until 30 Nov")
    office.tick()
    assert [row.email for row in office.asks()] == ["ana@example.com"]
    assert office.recipients("digest") == ["UBEA"]
    bea = office.workspace.as_("bea")
    assert "Ana Diaz is away and asked you to answer for them" in json.dumps(bea.last()["blocks"])
    bea.click(bea.last(), "nhi:justify")
    assert bea.wait_for(lambda: bea.modal) is not None


def test_a_delegate_who_handed_on_or_is_away_is_not_asked_a_new_one_is_told_why_and_off_ends_it(
    office: Office,
) -> None:
    ana, bea = office.workspace.as_("ana"), office.workspace.as_("bea")
    ana.command("/nhi delegate @bea until 30 Nov")
    bea.command("/nhi delegate @cem until 30 Nov")
    office.has("ana", "ci-deploy")
    office.tick()
    bea.command("/nhi delegate off")
    office.person("bea", away_until=office.clock() + timedelta(days=20))
    office.has("ana", "other")
    office.tick(days=1)
    assert office.recipients("digest") == ["UANA"] * 2
    office.person("bea", away_until=None)
    office.tick(days=1)
    assert office.recipients("digest") == ["UANA"] * 2 + ["UBEA"]
    shown = json.dumps(office.messages("bea")[-1]["blocks"])
    assert "Ana Diaz asked you to answer in their stead" in shown
    assert "ana@example.com was asked, with this reason" in shown
    ana.command("/nhi delegate @dora until 30 Nov")
    assert "Dora Lind is not asked in your stead" in str(ana.command("/nhi delegate off"))
    office.tick(days=1)
    assert office.recipients("reminder") == ["UANA"]


def test_after_the_delegations_last_day_the_person_is_asked_themselves(office: Office) -> None:
    office.workspace.as_("ana").command("/nhi delegate @bea until tomorrow")
    with reading(office.sessions) as session:
        until = session.scalars(select(DelegationRow.until)).one()
    assert until == datetime(2026, 11, 24, 23, tzinfo=UTC), "midnight in Berlin, where Ana is"
    office.has("ana", "ci-deploy")
    office.clock.now = until
    office.tick()
    assert office.recipients("digest") == ["UANA"]


def test_what_a_delegate_is_asked_counts_as_theirs_in_the_week(office: Office) -> None:
    office.policy = talking(questions_a_week=2)
    office.workspace.as_("ana").command("/nhi delegate @bea until 1 Dec")
    office.has("ana", "one", "two", "three", privileged=True)
    assert office.tick().items == 2
    office.has("bea", "four", privileged=True)
    assert office.tick(days=1).items == 0
    assert len([each for each in office.asks() if each.status is AskStatus.OPEN]) == 2


def test_a_manager_is_told_in_their_own_working_hours(office: Office) -> None:
    office.policy = talking(working_hours="09:00-17:00", remind_after=["1d"])
    office.person("ana", tz="UTC")
    office.told("ana", manager="cem@example.com")  # nine in London is six in the evening in Seoul
    office.has("ana", "ci-deploy")
    office.tick()
    office.tick(days=1)
    assert office.tick(days=1).skipped["outside working hours"] == 1
    assert office.recipients("escalation") == []
    office.person("cem", tz="Europe/Paris")
    office.tick(minutes=5)
    assert office.recipients("escalation") == ["UCEM"]


def test_nobody_gets_two_messages_with_questions_on_one_day(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.has("ana", "ci-deploy")
    office.tick()
    office.tick(days=1)
    office.tick(days=1)
    office.has("bea", "hers")
    office.tick(days=1)  # Bea is asked, and is told of Ana's silence: in one message
    office.tick(minutes=5)
    (message,) = office.messages("bea")
    shown = json.dumps(message["blocks"])
    assert "The first was put to Ana Diaz, and there is no answer yet" in shown
    assert "ana@example.com was asked, with this reason" in shown
    assert "Why you:" in shown
    assert office.workspace.as_("bea").click(message, "It's mine") == ""
    with reading(office.sessions) as session:
        assert session.scalars(select(AttestationRow.authority)).one() == "manager of ana@example.com"
    office.tick(days=1)
    assert len(office.messages("bea")) == 2


def test_every_copy_tells_of_the_steps_that_are_still_to_come(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.has("ana", "ci-deploy")
    office.tick()
    for _ in range(4):  # reminded, reminded, and then to their manager
        office.tick(days=1)
        (what_follows,) = {notes(message)[-2] for message in office.messages("ana")}
    assert "It already went to your manager" in what_follows


def notes(message: Json) -> list[str]:
    return [block["elements"][0]["text"] for block in message["blocks"] if block["type"] == "context"]


def test_a_manager_hears_of_all_who_are_silent_in_one_message(office: Office) -> None:
    for handle in ("ana", "dora"):
        office.told(handle, manager="bea@example.com")
        office.has(handle, f"of-{handle}")
    office.tick()
    office.tick(days=1)
    office.tick(days=1)
    assert office.tick(days=1).escalated == 2
    (message,) = office.messages("bea")
    assert " were asked, the first on Mon 23 Nov 2026" in json.dumps(message["blocks"])
    assert "Ana Diaz and " in json.dumps(message["blocks"]) or " and Ana Diaz" in json.dumps(message["blocks"])


def test_questions_of_whose_they_are_are_asked_as_one_each_with_its_reason_and_an_owners_are_not(
    office: Office,
) -> None:
    with office.sessions.begin() as session:
        for number, source in enumerate(("tag", "tag", "attestation")):
            row = make_identity(session, f"job-{number}", keys=[])
            make_finding(session, row, FindingKind.UNOWNED, status=FindingStatus.OPEN)
            fact = {"source": source, "fact": f"reason {number}", "points_to": "ana@example.com", "at": NOW}
            session.add(EvidenceRow(identity_id=row.id, seen_at=NOW, **fact))
    office.tick()
    (message,) = office.messages("ana")
    shown = json.dumps(message["blocks"])
    assert "Same answer for these 3?" in shown
    assert all(f"reason {number}" in shown for number in range(3))
    assert "each line says it" in shown


def test_the_database_is_asked_no_more_for_more_that_waits_and_what_waits_keeps_no_click_waiting(
    office: Office,
) -> None:
    def costs() -> tuple[Counter[bool], Counter[bool]]:
        with statements(office) as of_a_run:
            assert office.ask().items == 0
        with office.sessions.begin() as session, statements(office) as of_a_list:
            ana = session.get_one(PersonRow, "UANA")
            asked = offers.asked_of(session, ana, office.policy, office.clock(), most=1)
        assert (len(asked.cards), asked.count) == (1, len(office.asks()))
        return of_a_run, of_a_list

    def more(many: int) -> None:
        office.has("ana", *("later" for _ in range(many)))
        with office.sessions.begin() as session:
            for _ in range(many):
                make_ask(session, make_identity(session, "asked", keys=[]))

    office.has("ana", "first")
    office.tick()
    more(1)
    few = costs()
    more(9)
    assert costs() == few
    assert few[0][False] < few[0][True]


# -- snoozes and promises ----------------------------------------------------------------------------------------------


def test_a_snooze_leaves_a_thing_alone_until_it_ends_and_security_sees_it(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.tick()
    answer = office.workspace.as_("ana").command("/nhi snooze ci-deploy until 30 Nov")
    assert answer is not None
    assert "left alone until the end of Mon 30 Nov 2026" in answer["text"]
    assert office.status() == {FindingStatus.SNOOZED}
    office.drain()
    assert "Ana Diaz asked to leave ci-deploy alone" in office.messages("#security")[-1]["text"]
    office.workspace.wait_for(lambda: "Put off by ana@example.com" in json.dumps(office.messages("ana")[0]["blocks"]))
    home = office.workspace.as_("dora").home()
    assert "Snoozed until" in json.dumps(home)
    for _ in range(7):
        assert office.tick(days=1).reminded == 0
    assert office.tick(days=1).skipped == {"asked, waiting for the answer": 1}, "the patience begins anew"
    assert office.status() == {FindingStatus.ASKED}
    assert "Put off" not in json.dumps(office.messages("ana")[0]["blocks"])
    assert office.tick(days=1).reminded == 1


def test_snoozes_one_after_another_last_no_longer_than_one_may(office: Office) -> None:
    (identity_id,) = office.has("ana", "ci-deploy")
    with office.sessions.begin() as session:
        identity, ana = session.get_one(IdentityRow, identity_id), session.get_one(PersonRow, "UANA")
        patience.snooze(session, identity, ana, (NOW + timedelta(days=30)).date(), NOW)
        later = NOW + timedelta(days=20)
        with pytest.raises(NotAllowed, match="between today and 23 December 2026"):
            patience.snooze(session, identity, ana, (NOW + timedelta(days=31)).date(), later)
        shorter = patience.snooze(session, identity, ana, later.date(), later)
        assert patience.snooze_of(session, identity_id, later) is shorter, "the last word counts"
        assert patience.snoozed(session, shorter.until) == set()


@pytest.mark.parametrize("policy", [{"escalate_to": ["manager", "dora@example.com"]}], indirect=True)
def test_where_no_channel_hears_of_silence_admins_are_told_of_each_snooze(office: Office) -> None:
    names = [f"job-{number}" for number in range(7)]
    office.has("ana", *names)
    office.tick()
    for name in names:
        said = office.workspace.as_("ana").command(f"/nhi snooze {name} until 30 Nov")
        assert said is not None
        assert "Security sees that you asked for it" in said["text"]
    assert office.recipients("notice") == ["UDORA"] * 7
    assert "And 2 more that are snoozed" in shown(office.workspace.as_("dora").home())


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("ci-deploy", "like this: /nhi snooze ci-deploy until 12 Jan"),
        ("ci-deploy until some day", "like this"),
        ("nothing-such until 30 Nov", "I know of nothing called nothing-such"),
        ("twin until 30 Nov", "2 identities fit"),
        ("of-bea until 30 Nov", "Only who is asked about it"),
        ("ci-deploy until 1 Feb", "A snooze ends between today and 23 December 2026"),
    ],
)
def test_a_snooze_that_cannot_be_says_why(office: Office, typed: str, answer: str) -> None:
    office.has("ana", "ci-deploy", "twin-1", "twin-2")
    office.has("bea", "of-bea")
    office.tick()
    said = office.workspace.as_("ana").command(f"/nhi snooze {typed}")
    assert said is not None
    assert answer in said["text"]
    with reading(office.sessions) as session:
        assert session.scalars(select(SnoozeRow)).all() == []


def test_a_promise_is_asked_about_again_after_its_day_with_the_persons_own_words(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.tick()
    words = "I'll remove it after the migration on 4 December. It runs each Friday."
    office.say(Verdict.JUSTIFY, words=words, until=datetime(2027, 3, 1, tzinfo=UTC).date())
    with reading(office.sessions) as session:
        assert session.scalars(select(PromiseRow.due_on)).one() == datetime(2026, 12, 4, tzinfo=UTC).date()
    office.clock.now = datetime(2026, 12, 4, 20, tzinfo=UTC)
    assert office.tick().items == 0
    assert office.status() == {FindingStatus.JUSTIFIED}
    office.clock.now = datetime(2026, 12, 7, 9, tzinfo=UTC)
    assert office.tick().items == 1
    assert "on 23 November you said: “I'll remove it after" in office.asks()[-1].because
    with reading(office.sessions) as session:
        assert verify(session).first_wrong is None


def test_a_promise_does_not_undo_a_justification_that_came_after_it(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.tick()
    office.say(Verdict.JUSTIFY, words="Gone by 4 December.", until=datetime(2026, 12, 20, tzinfo=UTC).date())
    with office.sessions.begin() as session:
        session.execute(update(FindingRow).values(justified_until=datetime(2027, 1, 31, tzinfo=UTC)))
    office.tick(days=14)
    assert office.status() == {FindingStatus.JUSTIFIED}


def test_who_said_what_to_do_is_not_asked_again_before_it_is_done_or_they_had_a_week(office: Office) -> None:
    office.has("ana", "ci-deploy", keys=["AKIAIOSFODNN7EXAMPLE"])
    office.tick()
    office.say(Verdict.DISABLE)  # and claims it with the same press
    with office.sessions.begin() as session:
        act = session.scalars(select(RemediationRow.id)).one()
        decisions.request_undo(session, act, by="ana@example.com", now=office.clock())
    assert office.tick(days=1).skipped == {"answered: disable": 1}
    assert office.tick(days=7).items == 1
    office.say(Verdict.DISABLE)
    assert office.tick(days=20).skipped == {"answered: what was decided is not done yet": 1}, "policy proposes only"
    with office.sessions.begin() as session:
        session.execute(update(CredentialRow).values(rotated_at=office.clock()))
    assert office.tick(days=1).items == 1, "what was proposed is about another secret"


# -- what cannot be said -----------------------------------------------------------------------------------------------


def test_whom_no_message_reaches_is_not_waited_for_the_question_goes_up_at_once(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.workspace.inject("conversations.open", refuse("user_not_found"))
    office.tick()
    assert office.tick(minutes=5).escalated == 1
    assert office.recipients("escalation") == ["#security"]
    assert [row.status for row in office.asks()] == [AskStatus.OPEN], "it can still be answered"


def test_what_slack_was_too_unwell_to_take_is_asked_anew_and_nobody_is_told_of_silence(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.workspace.inject("chat.postMessage", server_error(), times=8)
    office.ask()
    for _ in range(9):  # eight tries, and a last look
        office.drain()
        office.clock.pass_by(hours=1)
    assert office.tick().items == 1
    assert office.messages("ana")
    assert [row.status for row in office.asks()] == [AskStatus.WITHDRAWN, AskStatus.OPEN]
    assert office.recipients("escalation") == []


def test_no_question_ends_with_nobody_knowing_of_it(office: Office) -> None:
    office.policy = talking(escalate_to=["manager"], remind_after=["1d"])
    office.has("ana", "ci-deploy")
    office.tick()
    assert "the question goes to the security team" in json.dumps(office.messages("ana")[0]["blocks"])
    office.tick(days=1)
    assert office.tick(days=1).escalated == 1
    assert office.recipients("escalation") == ["UDORA"], "an admin, as policy names nobody who can be told"
    assert office.tick(days=6).skipped == {"everybody that policy names has been told": 1}
    office.say(Verdict.NOT_MINE)
    office.tick(days=1)
    assert (office.asks()[-1].email, "you are an admin" in office.asks()[-1].because) == ("dora@example.com", True)


def test_a_manager_who_is_away_for_long_is_passed_over_and_whom_policy_names_by_address_can_answer(
    office: Office,
) -> None:
    office.policy = talking(escalate_to=["manager", "cem@example.com"], remind_after=["1d"])
    office.told("ana", manager="bea@example.com")
    office.has("ana", "ci-deploy")
    for day in range(2):
        office.tick(days=day)
    office.person("bea", away_until=office.clock() + timedelta(days=21))
    office.tick(days=1)
    assert office.recipients("escalation") == ["UCEM"]
    office.say(Verdict.CLAIM, by="cem")
    with reading(office.sessions) as session:
        assert session.scalars(select(AttestationRow.authority)).one() == "stand-in of ana@example.com"


def test_what_arrives_late_counts_from_then_and_nothing_is_added_to_it_before(office: Office) -> None:
    office.told("ana", manager="bea@example.com")
    office.has("ana", "ci-deploy")
    office.workspace.inject("chat.postMessage", refuse("token_revoked"), None)
    office.tick()
    office.has("ana", "mighty", privileged=True)
    for _ in range(3):
        assert office.tick(days=1).sent == 0, "neither a second digest nor a reminder"
    office.workspace.clear_faults()
    office.clock.pass_by(hours=2)
    office.drain()
    assert office.tick(minutes=5).sent == 0, "one message a day, and it came today"
    (message,) = office.messages("ana")
    assert "a reminder on Fri 27 Nov 2026; from Sun 29 Nov 2026 the question goes to" in json.dumps(message["blocks"])
    friday, monday = office.tick(hours=21), office.tick(days=3)
    assert (friday.items, friday.reminded, monday.reminded) == (1, 0, 2)
    assert office.recipients("escalation") == []


def test_an_archived_channel_is_passed_over_for_the_next_rung(office: Office) -> None:
    office.policy = talking(remind_after=["1d"], escalate_to=["#security", "dora@example.com"])
    office.has("ana", "ci-deploy")
    office.tick()
    office.tick(days=1)
    office.workspace.inject("chat.postMessage", refuse("is_archived"))
    office.tick(days=1)
    office.tick(minutes=5)
    assert office.recipients("escalation") == ["#security", "UDORA"]
    assert len(office.messages("dora")) == 1


def test_who_is_deactivated_while_asked_is_followed_by_the_next(office: Office) -> None:
    (identity_id,) = office.has("ana", "ci-deploy")
    with office.sessions.begin() as session:
        made = {"source": "creator", "fact": "bea made it", "points_to": "bea@example.com", "at": NOW}
        session.add(EvidenceRow(identity_id=identity_id, seen_at=NOW, **made))
    office.tick()
    office.person("ana", active=False)
    office.tick(minutes=5)
    assert office.recipients("digest") == ["UANA", "UBEA"]


def test_a_deleted_message_is_followed_by_a_reminder_that_can_be_answered(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.tick()
    ana = office.workspace.as_("ana")
    channel = ana.last()["channel"]
    office.client.chat_delete(channel=channel, ts=ana.last()["ts"])
    office.tick(days=1)
    assert "Still open" in json.dumps(ana.last()["blocks"])
    ana.click(ana.last(), "nhi:claim")
    assert [row.status for row in office.asks()] == [AskStatus.ANSWERED]


# -- shadow mode -------------------------------------------------------------------------------------------------------


def test_in_shadow_mode_silence_of_admins_goes_to_nobody(office: Office) -> None:
    office.policy = talking(shadow=True)
    office.told("dora", manager="bea@example.com")
    office.has("ana", "ci-deploy")
    for _ in range(8):
        office.tick(days=1)
    assert office.recipients("escalation") == []
    assert office.messages("bea") == []
    assert office.messages("ana") == []
    assert office.messages("#security") == []
    assert "the question stays open" in json.dumps(office.messages("dora")), "and the card says so"


@pytest.mark.parametrize("policy", [{"shadow": True}], indirect=True)
def test_before_go_admins_see_how_many_and_the_three_that_are_least_sure(office: Office) -> None:
    office.has("ana", "ci-deploy", "backup")
    for number in range(4):
        (guess,) = office.has(None, f"guess-{number}")
        with office.sessions.begin() as session:
            fact = {"source": "creator", "fact": "bea made it", "points_to": "bea@example.com"}
            session.add(EvidenceRow(identity_id=guess, seen_at=NOW, at=NOW - timedelta(days=500 * number), **fact))
    tally = office.tick()
    assert tally.would is not None
    assert (tally.would["people"], tally.would["identities"]) == (2, 6)
    unsure = [one["name"] for one in tally.would["unsure"]]
    assert len(unsure) == 3
    assert unsure[0] == "guess-3"
    assert "I would message 2 people about 6 identities. Here are the 3 I am least sure of:" in tally.sentence()
    said = next(message for message in office.messages("dora") if "I would message" in message["text"])
    assert "here are the 3 I am least sure of" in said["text"]
    assert "guess-3" in json.dumps(said["blocks"])
    home = json.dumps(office.workspace.as_("dora").home())
    assert '"2 people"' in home
    assert "guess-3" in home
    assert office.tick(days=1).would is not None
    assert office.recipients("golive") == ["UDORA"], "once a week"


def test_a_rehearsal_while_live_leaves_real_questions_alone(office: Office) -> None:
    office.has("ana", "ci-deploy")
    office.tick()
    office.has("bea", "hers")
    tally = office.ask(to_admin=True)
    assert tally.skipped["asked already, outside shadow mode"] == 1
    assert (tally.items, tally.reminded) == (1, 0)
    assert office.recipients("shadow") == ["UDORA"]
    with reading(office.sessions) as session:
        (words,) = session.scalars(select(DeliveryRow.words).where(DeliveryRow.kind == "golive"))
    assert words["offer"] is None, "there is no Go to press: it is live"
    for days in (0, 3):
        office.drain()
        office.clock.pass_by(days=days, seconds=2)
    assert office.ask(to_admin=True).reminded == 1, "the admin's own"
    assert {row.reminders for row in office.asks(shadow=False)} == {0}
    office.tick(days=1)
    assert office.recipients("digest") == ["UANA", "UBEA"]


def test_go_begins_the_real_conversation(office: Office) -> None:
    office.policy = talking(shadow=True)
    office.has("ana", "ci-deploy")
    office.tick()
    with office.sessions.begin() as session:
        session.add(SwitchRow(name=LIVE_SWITCH, on_at=office.clock(), by="dora@example.com"))
    office.tick(minutes=5)
    assert office.recipients("digest") == ["UANA"]


# -- the contract ------------------------------------------------------------------------------------------------------


def test_a_snoozed_finding_is_told_as_snoozed(office: Office) -> None:
    (identity_id,) = office.has("ana", "ci-deploy")
    with office.sessions.begin() as session:
        ana = session.get_one(PersonRow, "UANA")
        patience.snooze(session, session.get_one(IdentityRow, identity_id), ana, NOW.date(), NOW)
        (finding,) = facts.open_findings(session)
        assert facts.finding_json(finding, {})["status"] == "snoozed"
