""" "Not mine": whose it may be instead, who is asked next, and the one question to a team with a named default."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from slack_sdk import WebClient
from sqlalchemy import func, select

from bot import delivery
from bot.server import Serving
from demo.workspace import Workspace, drop_before
from jobs import ask as asking
from nhi import facts, ledger, patience, suggestions
from nhi.database import Sessions, reading
from nhi.errors import AlreadyAnswered, BadAnswer, NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict, is_working_time
from nhi.findings import FindingKind, FindingStatus
from nhi.identity import Team
from nhi.passing import (
    DEPTH,
    AskNext,
    AskNobody,
    AskTeam,
    Contender,
    claim_deadline,
    lead_of,
    loop_of,
    next_to_ask,
    team_for,
)
from nhi.policy import Conversation, Policy, parse
from nhi.tables import (
    AskRow,
    AttestationRow,
    EvidenceRow,
    IdentityRow,
    OwnerRow,
    PersonRow,
    TeamClaimRow,
)
from tests.conftest import PEOPLE, Clock, on_sqlite
from tests.factories import NOW, make_finding, make_identity

PAY = Team(name="payments", channel="#payments", default="bea@example.com", members=("ana@example.com",))
ALL = ("ana", "bea", "cem", "dan", "eve", "dora")


# -- whom to ask next: pure --------------------------------------------------------------------------------------------


def address(handle: str) -> str:
    return f"{handle}@example.com"


def following(
    *passed: str,
    ranked: tuple[str, ...] = ("ana", "bea", "cem", "dan"),
    team: Team | None = PAY,
    fallback: str | None = "dora",
    able: tuple[str, ...] = ALL,
    unsure: tuple[str, ...] = (),
    faint: tuple[Contender, ...] = (),
) -> str:
    found = next_to_ask(
        [*(Contender(email=address(one), confidence=0.3 if one in unsure else 0.9) for one in ranked), *faint],
        passed=[address(one) for one in passed],
        team=team,
        fallback=address(fallback) if fallback else None,
        can=lambda email: email.partition("@")[0] in able,
    )
    match found:
        case AskNext(email=email):
            return email.partition("@")[0]
        case AskTeam(channel=channel, default=default):
            return f"{channel} then {default.partition('@')[0]}"
        case AskNobody():
            return "nobody"


def test_the_next_likeliest_who_did_not_pass_is_asked() -> None:
    assert following() == "ana"
    assert following("ana") == "bea"
    assert following("bea", "ana") == "cem"
    assert following(able=("cem",)) == "cem"


def test_after_three_people_a_team_is_asked_and_not_before() -> None:
    assert following("ana", "cem", ranked=("ana", "cem", "dan", "eve")) == "dan"
    assert following("ana", "cem", "dan", ranked=("ana", "cem", "dan", "eve")) == "#payments then bea"
    assert DEPTH == 3


def test_once_somebody_passed_a_team_is_a_better_guess_than_a_person_who_is_one() -> None:
    assert following(unsure=("ana",)) == "ana", "the first question goes to the likeliest, however likely"
    assert following("ana", unsure=("bea",)) == "cem"
    assert following("ana", unsure=("bea", "cem", "dan")) == "#payments then bea"
    assert following("ana", unsure=("bea", "cem", "dan"), team=None) == "bea"


def test_a_team_is_asked_where_nobody_else_is_left_or_nobody_was_known_from_the_start() -> None:
    assert following("ana", ranked=("ana",)) == "#payments then bea"
    assert following(ranked=()) == "#payments then bea"
    assert following(ranked=(), team=None) == "dora"


def test_who_answers_for_the_account_is_asked_before_the_fallback_and_after_everybody_better() -> None:
    account = (Contender(email=address("eve"), confidence=0.05, sources=frozenset({"account"})),)
    stray = (Contender(email=address("eve"), confidence=0.05, sources=frozenset({"committer"})),)
    assert following(ranked=(), team=None, faint=account) == "eve"
    assert following(ranked=(), faint=account) == "#payments then bea"
    assert following("ana", ranked=("ana", "bea"), team=None, unsure=("bea",), faint=account) == "bea"
    assert following("eve", ranked=(), team=None, faint=account) == "dora"
    assert following(ranked=(), team=None, faint=stray) == "dora", "one faint trace alone is no reason to ask anybody"
    assert following(ranked=(), team=None, faint=account, fallback=None, able=("dora",)) == "nobody"


def test_the_default_is_somebody_who_can_answer_and_did_not_pass_or_no_team_is_asked() -> None:
    assert following("bea", ranked=("bea",)) == "#payments then dora"
    assert following("ana", ranked=(), able=("dora",)) == "#payments then dora", "bea is not here to be named"
    assert following("ana", ranked=(), able=(), fallback=None) == "nobody"
    assert following("bea", "dora", ranked=()) == "nobody"
    assert following("ana", ranked=(), team=None) == "dora"
    assert following("ana", ranked=(), team=Team(name="pay"), fallback=None) == "nobody"


def test_where_a_team_names_nobody_who_can_answer_its_lead_is_the_default() -> None:
    manager_of = {"ana": "cem", "bea": "cem", "dan": "eve"}
    nameless = Team(name="pay", channel="#pay", members=tuple(address(one) for one in (*manager_of, "cem")))

    def lead(team: Team) -> str | None:
        above = {address(one): address(manager) for one, manager in manager_of.items()}
        return lead_of(team, above.get)

    assert lead(nameless) == address("cem")
    assert lead(Team(name="pay", members=(address("ana"), address("dan")))) is None, "one each: nobody stands out"
    assert lead(Team(name="pay")) is None
    found = next_to_ask([], passed=[], team=nameless, fallback=address("dora"), can=bool, lead=address("cem"))
    assert found == AskTeam(team=nameless, channel="#pay", default=address("cem"), is_lead=True)
    passed = [address("cem")]
    found = next_to_ask([], passed=passed, team=nameless, fallback=address("dora"), can=bool, lead=address("cem"))
    assert found == AskTeam(team=nameless, channel="#pay", default=address("dora"))


HANDLES = st.sampled_from(ALL)


@hypothesis_settings(max_examples=300, deadline=None)
@given(ranked=st.lists(HANDLES, max_size=6), passed=st.lists(HANDLES, max_size=6), fallback=st.none() | HANDLES)
def test_nobody_is_ever_asked_twice_about_one_thing(ranked: list[str], passed: list[str], fallback: str | None) -> None:
    found = following(*passed, ranked=tuple(ranked), fallback=fallback)
    assert found.removeprefix("#payments then ") not in passed


def test_a_circle_of_suggestions_is_seen() -> None:
    assert loop_of([("ana", "bea")]) is None
    assert loop_of([("ana", "bea"), ("bea", "ana")]) == ("ana", "bea")
    assert loop_of([("ana", "bea"), ("bea", "cem"), ("cem", "bea")]) == ("bea", "cem")
    assert loop_of([("ana", "bea"), ("bea", "ana"), ("bea", "cem")]) is None, "who thinks again has the last word"


def test_the_team_is_the_one_of_a_tag_or_else_of_the_last_person_involved() -> None:
    data = Team(name="data", channel="#data", members=("cem@example.com",))
    assert team_for({"team": "Payments"}, ("owner",), [], [PAY, data]) == PAY
    assert team_for({"owner": "data"}, ("owner",), ["ana@example.com"], [PAY, data]) == data
    assert team_for({}, ("owner",), ["cem@example.com", "ana@example.com"], [PAY, data]) == PAY
    assert team_for({}, ("owner",), ["zoe@example.com"], [PAY, data]) is None
    assert team_for({}, ("owner",), ["ana@example.com"], [PAY, data], data) == data, "evidence before who passed it on"
    assert team_for({"team": "Payments"}, ("owner",), [], [PAY, data], data) == PAY, "a tag was written on purpose"


def test_the_deadline_is_the_end_of_work_on_a_working_day_where_the_default_person_is() -> None:
    friday = claim_deadline(NOW, timedelta(days=4), "UTC", Conversation())
    assert (f"{friday:%A %H:%M}", friday.tzname()) == ("Friday 17:00", "UTC")
    for days, deadline in ((5, "Monday 17:00 JST"), (39, "Monday 17:00 JST")):  # a Saturday; New Year's Day, a Friday
        assert f"{claim_deadline(NOW, timedelta(days=days), 'Asia/Tokyo', Conversation()):%A %H:%M %Z}" == deadline


@hypothesis_settings(max_examples=100, deadline=None)
@given(minutes=st.integers(0, 60 * 24 * 400), days=st.integers(1, 30), tz=st.sampled_from(["UTC", "Asia/Tokyo", "x"]))
def test_a_deadline_is_ahead_at_the_end_of_a_working_day(minutes: int, days: int, tz: str) -> None:
    now, within = NOW + timedelta(minutes=minutes), timedelta(days=days)
    deadline = claim_deadline(now, within, tz, Conversation())
    assert timedelta(hours=-15) <= deadline - (now + within) < timedelta(days=5, hours=17)  # with Golden Week
    assert is_working_time(deadline - timedelta(minutes=1), tz, Conversation())


# -- in Slack ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy() -> Policy:
    team = {"name": "payments", "channel": "#payments", "default": "bea@example.com", "members": ["cem@example.com"]}
    return parse(
        {
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"], "teams": [team]},
            "conversation": {"shadow": False, "working_hours": "00:00-23:59"},
        }
    )


@pytest.fixture
def workspace(clock: Clock) -> Iterator[Workspace]:
    with Workspace(PEOPLE, now=clock, channels=["security", "payments"]) as slack:
        yield slack


@dataclass(frozen=True, kw_only=True)
class Office:
    """Everything of one test: the workspace, the app behind it, and the database."""

    workspace: Workspace
    sessions: Sessions
    client: WebClient
    policy: Policy
    clock: Clock

    def add(self, name: str = "ci-deploy", **tags: str) -> str:
        """Let a scan have seen an identity with these tags; return its id."""
        with self.sessions.begin() as session:
            row = make_identity(session, name, tags=tags)
            make_finding(session, row, FindingKind.UNOWNED, status=FindingStatus.OPEN)
            for key, value in tags.items():
                if key == "owner":
                    fact = f"{key}={value}"
                    session.add(self._fact(row, "tag", fact, f"{value}@example.com"))
            return row.id

    def _fact(self, row: IdentityRow, source: str, fact: str, points_to: str) -> EvidenceRow:
        return EvidenceRow(
            identity_id=row.id, source=source, fact=fact, points_to=points_to, at=None, seen_at=self.clock()
        )

    def ask(self) -> asking.Tally:
        tally = asking.run(self.sessions, self.policy, now=self.clock())
        self.drain()
        return tally

    def drain(self) -> None:
        for _ in range(3):
            delivery.drain(self.sessions, self.client, self.policy, self.clock)
            self.clock.pass_by(seconds=1.1)

    def asked(self, identity_id: str) -> str | None:
        with reading(self.sessions) as session:
            query = select(AskRow.email).where(AskRow.identity_id == identity_id, AskRow.status == AskStatus.OPEN)
            email = session.scalar(query)
            return email.partition("@")[0] if email else None

    def owner(self, identity_id: str) -> str | None:
        with reading(self.sessions) as session:
            query = select(OwnerRow.email).where(OwnerRow.identity_id == identity_id, OwnerRow.ended_at.is_(None))
            email = session.scalar(query)
            return email.partition("@")[0] if email else None

    def evidence(self, source: str) -> list[tuple[str, str]]:
        with reading(self.sessions) as session:
            rows = session.scalars(select(EvidenceRow).where(EvidenceRow.source == source).order_by(EvidenceRow.at))
            return [(row.fact.partition(" (")[0], row.points_to) for row in rows]

    def not_mine(self, handle: str, *, then: dict[str, str] | None = None) -> dict[str, str]:
        """Press "Not mine" on the newest card, then close the form, or fill it in; return what stands beside fields."""
        actor = self.workspace.as_(handle)
        assert actor.click(actor.last(), "Not mine") == ""
        actor.wait_for(lambda: actor.modal)
        errors: dict[str, str] = {}
        if then:
            errors = actor.submit(then)
        while actor.modal:
            actor.close_modal()
        self.clock.pass_by(days=1)  # one message a day
        return errors


@pytest.fixture
def office(
    server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, policy: Policy, clock: Clock
) -> Office:
    return Office(workspace=workspace, sessions=sessions, client=client, policy=policy, clock=clock)


def test_not_mine_is_recorded_at_the_click_and_the_form_may_be_dismissed(office: Office) -> None:
    identity = office.add(owner="ana")
    office.ask()
    office.not_mine("ana")
    assert [fact for fact, _ in office.evidence("not_mine")] == ["ana@example.com said it is not theirs"]
    assert office.evidence("not_mine_suggestion") == []
    assert office.asked(identity) is None


def test_a_suggestion_is_evidence_and_the_suggested_person_is_asked_next(office: Office) -> None:
    identity = office.add(owner="ana")
    office.ask()
    assert office.not_mine("ana", then={"person": "UCEM"}) == {}
    assert office.evidence("not_mine_suggestion") == [("ana@example.com suggested Cem Kaya", "cem@example.com")]
    office.ask()
    assert office.asked(identity) == "cem"
    assert "ana@example.com suggested Cem Kaya" in str(office.workspace.as_("cem").last()["blocks"])


@on_sqlite
def test_people_who_point_at_each_other_are_not_asked_again(office: Office) -> None:
    identity = office.add(owner="ana")
    office.ask()
    office.not_mine("ana", then={"person": "UCEM"})
    office.ask()
    cem = office.workspace.as_("cem")
    cem.click(cem.last(), "Not mine")
    cem.wait_for(lambda: cem.modal)
    cem.submit({"email": "ana@example.com"})
    assert "lead in a circle" in str(cem.modal)
    office.clock.pass_by(days=1)
    office.ask()
    with reading(office.sessions) as session:
        claim = session.scalars(select(TeamClaimRow)).one()
    assert (claim.team, office.asked(identity)) == ("payments", "bea"), "the team of the two, with its default"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"email": "ana@example.com"}, "That is you"),
        ({"person": "UANA"}, "That is you"),
        ({"person": "UGUS"}, "cannot own"),
        ({"person": "UOTTO"}, "cannot own"),
        ({"email": "cemm@example.com"}, "Did you mean cem@example.com?"),
        ({"email": "zoe@elsewhere.example"}, "not one of the company's"),
        ({"email": "otto@example.com"}, "has left"),
        ({"email": "jenkins@example.com"}, "a machine"),
        ({}, "recorded already"),
    ],
)
@on_sqlite
def test_a_suggestion_that_cannot_be_is_answered_beside_its_field(
    office: Office, typed: dict[str, str], says: str
) -> None:
    office.add(owner="ana")
    office.ask()
    actor = office.workspace.as_("ana")
    actor.click(actor.last(), "Not mine")
    actor.wait_for(lambda: actor.modal)
    assert says in str(actor.submit(typed))
    assert office.evidence("not_mine_suggestion") == []


@on_sqlite
def test_the_form_that_slack_does_not_open_loses_nothing(office: Office) -> None:
    office.add(owner="ana")
    office.ask()
    office.workspace.inject("views.open", drop_before())
    actor = office.workspace.as_("ana")
    assert actor.click(actor.last(), "Not mine") == ""
    assert len(office.evidence("not_mine")) == 1


@on_sqlite
def test_only_who_said_not_mine_suggests_and_only_once(office: Office) -> None:
    office.add(owner="ana")
    office.ask()
    office.not_mine("ana")
    with reading(office.sessions) as session:
        said = session.scalars(select(AttestationRow.id)).one()

    def suggest(slack_id: str, attestation: str = said, chosen: str = "UCEM") -> suggestions.Suggested:
        with office.sessions.begin() as session:
            return suggestions.suggest(
                session,
                attestation,
                slack_id=slack_id,
                chosen=chosen,
                typed=None,
                policy=office.policy,
                now=office.clock(),
            )

    with pytest.raises(NotAllowed):
        suggest("UBEA")
    with pytest.raises(OutOfDate):
        suggest("UANA", "nothing")
    with pytest.raises(BadAnswer):
        suggest("UANA", chosen="UANA")
    suggest("UANA")
    with pytest.raises(AlreadyAnswered):
        suggest("UANA", chosen="UBEA")


# -- the team ----------------------------------------------------------------------------------------------------------


def to_the_team(office: Office) -> str:
    """Ask about something of the team's of which Ana says that it is not hers."""
    identity = office.add(owner="ana", team="payments")
    office.ask()
    office.not_mine("ana")
    office.ask()
    return identity


def test_one_card_in_the_teams_channel_names_the_deadline_and_to_whom_it_goes_then(office: Office) -> None:
    identity = to_the_team(office)
    [card] = office.workspace.as_("cem").messages("#payments")
    text = str(card["blocks"])
    assert "Unless somebody of you claims it by" in text
    assert "it goes to Bea Okoye" in text
    assert "Mon 30 Nov 2026 at 23:59 UTC" in text
    assert "Ana Diaz said it isn't theirs" in text
    assert "It's mine" in text
    assert "Disable" not in text
    assert office.workspace.as_("bea").messages() == [], "she is asked at the deadline, and not before"
    assert office.owner(identity) is None
    office.clock.pass_by(days=2)
    office.ask()
    assert len(office.workspace.as_("cem").messages("#payments")) == 1, "once, and no reminders there"


def test_the_first_of_the_team_to_claim_has_it_and_every_copy_shows_it(office: Office) -> None:
    identity = to_the_team(office)
    cem, bea = office.workspace.as_("cem"), office.workspace.as_("bea")
    card = cem.last("#payments")
    assert cem.click(card, "It's mine") == ""
    cem.wait_for(lambda: "claimed it" in str(cem.last("#payments")["blocks"]))
    assert office.owner(identity) == "cem"
    with reading(office.sessions) as session:
        newest = session.scalars(select(AttestationRow).order_by(AttestationRow.at.desc())).first()
    assert newest is not None
    assert (newest.verdict, newest.authority) == (Verdict.CLAIM, "member of payments")
    office.clock.pass_by(days=8)
    office.ask()
    assert bea.messages() == []


def test_at_the_deadline_the_default_person_is_asked_with_the_rule_and_owns_nothing_before_they_say_so(
    office: Office,
) -> None:
    identity = to_the_team(office)
    bea = office.workspace.as_("bea")
    deadline = office_deadline(office)
    office.clock.now = deadline - timedelta(minutes=30)
    office.ask()
    assert bea.messages() == []
    office.clock.now = deadline + timedelta(hours=10)
    office.ask()
    [card] = bea.messages()
    assert "nobody in #payments claimed it in time" in str(card["blocks"])
    assert "you are the default person of the team payments" in str(card["blocks"])
    assert office.owner(identity) is None
    assert "bea@example.com was asked" in str(office.workspace.as_("cem").last("#payments")["blocks"])
    bea.click(card, "It's mine")
    assert office.owner(identity) == "bea"
    with reading(office.sessions) as session:
        assert ledger.verify(session).first_wrong is None


def office_deadline(office: Office) -> Any:
    with reading(office.sessions) as session:
        return session.scalars(select(TeamClaimRow)).one().deadline_at


def test_after_a_default_person_who_passes_an_admin_is_asked_and_no_second_card_goes_to_the_team(
    office: Office,
) -> None:
    identity = to_the_team(office)
    office.clock.now = office_deadline(office) + timedelta(hours=10)
    office.ask()
    office.not_mine("bea")
    office.ask()
    assert office.asked(identity) == "dora"
    office.not_mine("dora")
    assert office.ask().skipped["nobody is known to ask"] == 1
    assert len(office.workspace.as_("cem").messages("#payments")) == 1


@on_sqlite
def test_who_is_not_of_the_team_cannot_claim_though_the_channel_is_open_to_them(office: Office) -> None:
    identity = to_the_team(office)
    ana = office.workspace.as_("ana")
    ana.click(ana.last("#payments"), "It's mine")
    ana.wait_for(lambda: any(each["ephemeral"] for each in ana.messages("#payments")))
    assert office.owner(identity) is None


def test_of_many_who_claim_at_once_one_is_first_and_the_others_hear_who(office: Office) -> None:
    identity = to_the_team(office)
    card = office.workspace.as_("cem").last("#payments")
    errors: list[str] = []
    members = ["cem", "bea", "dora"]
    threads = [
        threading.Thread(target=lambda who=who: errors.append(office.workspace.as_(who).click(card, "It's mine")))
        for who in members * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(errors) == {""}
    with reading(office.sessions) as session:
        claims = session.scalar(
            select(func.count()).select_from(AttestationRow).where(AttestationRow.verdict == Verdict.CLAIM)
        )
        owners = list(session.scalars(select(OwnerRow.email).where(OwnerRow.identity_id == identity)))
        assert ledger.verify(session).first_wrong is None
    assert (claims, len(owners)) == (1, 1)


@on_sqlite
def test_in_shadow_mode_no_team_is_asked(office: Office) -> None:
    shadow = office.policy.model_copy(
        update={"conversation": office.policy.conversation.model_copy(update={"shadow": True})}
    )
    identity = office.add(owner="ana", team="payments")
    office.ask()
    office.not_mine("ana")
    asking.run(office.sessions, shadow, now=office.clock())
    office.drain()
    assert office.workspace.as_("cem").messages("#payments") == []
    assert office.asked(identity) == "dora"


def test_what_a_team_left_reaches_its_default_person_in_one_message_within_their_week_and_not_while_it_is_snoozed(
    office: Office,
) -> None:
    talk = office.policy.conversation.model_copy(update={"questions_a_week": 2})
    office = replace(office, policy=office.policy.model_copy(update={"conversation": talk}))
    snoozed, *_ = [office.add(f"job-{number}", team="payments") for number in range(4)]
    office.ask()
    office.drain()
    assert len(office.workspace.as_("cem").messages("#payments")) == 4
    office.clock.now = NOW + timedelta(days=8)
    with office.sessions.begin() as session:
        identity, bea = session.get_one(IdentityRow, snoozed), session.get_one(PersonRow, "UBEA")
        patience.snooze(session, identity, bea, (NOW + timedelta(days=12)).date(), office.clock())
    for _ in range(2):
        office.clock.pass_by(days=1)
        office.ask()
    [message] = office.workspace.as_("bea").messages()
    shown = [f"job-{number}" in str(message["blocks"]) for number in range(4)]
    assert (shown[0], sum(shown)) == (False, 2)


def test_a_line_in_codeowners_is_not_advised_where_one_names_a_team(office: Office) -> None:
    identity = office.add("with-code")
    told = []
    for points_to in ("", "@acme/nobody-known"):
        with office.sessions.begin() as session:
            if points_to:
                fact = {"source": "codeowners", "fact": "CODEOWNERS names it", "points_to": points_to, "at": None}
                session.add(EvidenceRow(identity_id=identity, seen_at=NOW, **fact))
                session.flush()
            owner = facts.owners(session, [identity], office.policy, NOW)[identity]
        told.append({one["source"]: one["words"] for one in owner["would_help"]}["codeowners"])
    assert told == ["a line in CODEOWNERS where it is declared", "a person beside who CODEOWNERS names for it"]
