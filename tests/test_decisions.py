"""What people decide: who may, what it writes, and that it counts once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import evidence
from nhi import acts_by_id, answers, authority, cards, decisions, ledger, reasons
from nhi.answers import Answered, Answering
from nhi.database import Sessions, reading
from nhi.errors import AlreadyAnswered, BadAnswer, NhiError, NotAllowed, OutOfDate
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.identity import CredentialStatus
from nhi.policy import Policy, parse
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.tables import (
    AskRow,
    AttestationRow,
    CardRow,
    CredentialRow,
    DelegationRow,
    DeliveryRow,
    EventRow,
    EvidenceRow,
    FindingRow,
    IdentityRow,
    OfferRow,
    OwnerRow,
    PersonRow,
    RemediationRow,
    new_id,
)
from tests.conftest import on_sqlite
from tests.factories import NOW, make_ask, make_finding, make_identity, make_key, make_owner
from tests.strategies import TICK

ALL = [verdict.value for verdict in Verdict]
PROPOSING = parse({"people": {"admins": ["dora@example.com"]}})
REASON = "The website is deployed with it every night."
LATER = date(2026, 12, 24)


def make_offer(session: Session, identity: IdentityRow, ask: AskRow | None, policy: Policy = PROPOSING) -> str:
    """Write a set of buttons as a card would carry them, with the card as drawn."""
    shown = cards.of_ask(session, ask, policy, NOW) if ask else _whois_card(identity)
    offer = OfferRow(
        id=new_id(),
        actions=ALL,
        identity_id=identity.id,
        ask_id=ask.id if ask else None,
        shown={"facts": shown, "blocks": [{"type": "divider"}]},
        created_at=NOW,
    )
    session.add(offer)
    session.flush()
    return offer.id


def _whois_card(identity: IdentityRow) -> dict[str, object]:
    seen = [
        {"row": c.id, "last_used_at": ledger.instant(c.last_used_at)} for c in identity.credentials if c.last_used_at
    ]
    return {"credentials": seen, "can": ALL}


class Desk:
    """One identity, the question to Ana about it, and people who press its buttons."""

    def __init__(self, sessions: Sessions, policy: Policy) -> None:
        self.sessions, self.policy = sessions, policy
        with sessions.begin() as session:
            identity = make_identity(session)
            make_finding(session, identity, FindingKind.UNUSED)
            make_finding(session, identity, FindingKind.UNOWNED)
            ask = make_ask(session, identity)
            self.identity, self.ask, self.credential = identity.id, ask.id, identity.credentials[0].id
            self.offer = make_offer(session, identity, ask, policy)

    def new_offer(self, *, of_the_ask: bool = True) -> str:
        with self.sessions.begin() as session:
            ask = session.get_one(AskRow, self.ask) if of_the_ask else None
            return make_offer(session, session.get_one(IdentityRow, self.identity), ask, self.policy)

    def press(
        self,
        who: str,
        verdict: Verdict,
        decide: Callable[[Session, Answering], Answered],
        *,
        offer: str | None = None,
        now: datetime = NOW,
    ) -> Answered:
        with self.sessions.begin() as session:
            answering = answers.begin(
                session, offer or self.offer, verdict, slack_id="U" + who.upper(), policy=self.policy, now=now
            )
            return decide(session, answering)

    def claim(self, who: str = "ana", *, offer: str | None = None, now: datetime = NOW) -> Answered:
        return self.press(who, Verdict.CLAIM, lambda s, a: decisions.claim(s, a, now), offer=offer, now=now)

    def not_mine(self, who: str = "ana", *, offer: str | None = None) -> Answered:
        return self.press(who, Verdict.NOT_MINE, lambda s, a: decisions.not_mine(s, a, NOW), offer=offer)

    def justify(
        self, who: str = "ana", words: str = REASON, until: date = LATER, *, also_claim: bool = False
    ) -> Answered:
        def decide(session: Session, answering: Answering) -> Answered:
            return decisions.justify(
                session, answering, words=words, until=until, also_claim=also_claim, policy=self.policy, now=NOW
            )

        return self.press(who, Verdict.JUSTIFY, decide)

    def disable(
        self, who: str = "ana", *, offer: str | None = None, also_claim: bool = False, credential: str | None = None
    ) -> Answered:
        def decide(session: Session, answering: Answering) -> Answered:
            return decisions.disable(
                session,
                answering,
                credential_id=credential or self.credential,
                also_claim=also_claim,
                policy=self.policy,
                now=NOW,
            )

        return self.press(who, Verdict.DISABLE, decide, offer=offer)

    def rotate(self, who: str = "ana") -> Answered:
        def decide(session: Session, answering: Answering) -> Answered:
            return decisions.rotate(
                session, answering, credential_id=self.credential, also_claim=False, policy=self.policy, now=NOW
            )

        return self.press(who, Verdict.ROTATE, decide)

    def undo(self, offer: str, who: str = "ana", *, now: datetime = NOW) -> Answered:
        return self.press(who, Verdict.UNDO, lambda s, a: decisions.undo(s, a, now), offer=offer, now=now)

    def undo_offer(self, remediation_id: str | None) -> str:
        """Write the buttons of the card after the answer, with Undo on it."""
        offer = self.new_offer()
        with self.sessions.begin() as session:
            session.get_one(OfferRow, offer).remediation_id = remediation_id
        return offer

    def owner(self) -> str | None:
        with reading(self.sessions) as session:
            row = authority.current_owner(session, self.identity)
            return row.email if row else None

    def statuses(self) -> dict[FindingKind, FindingStatus]:
        with reading(self.sessions) as session:
            return {row.kind: row.status for row in session.scalars(select(FindingRow))}

    def ask_status(self) -> AskStatus:
        with reading(self.sessions) as session:
            return session.get_one(AskRow, self.ask).status

    def attestations(self) -> list[AttestationRow]:
        with reading(self.sessions) as session:
            return list(session.scalars(select(AttestationRow).order_by(AttestationRow.at, AttestationRow.id)))

    def remediations(self) -> list[RemediationRow]:
        with reading(self.sessions) as session:
            return list(session.scalars(select(RemediationRow)))

    def events(self) -> list[str]:
        with reading(self.sessions) as session:
            assert ledger.verify(session).first_wrong is None
            return list(session.scalars(select(EventRow.kind).order_by(EventRow.seq)))

    def move(self, remediation_id: str | None, status: RemediationStatus, acted_at: datetime | None = None) -> None:
        """Let the worker have come so far."""
        with self.sessions.begin() as session:
            row = session.get_one(RemediationRow, remediation_id)
            row.status, row.acted_at = status, acted_at


@pytest.fixture
def desk(sessions: Sessions, policy: Policy, known: None) -> Desk:
    return Desk(sessions, policy)


# -- who may answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "right"), [("ana", "asked"), ("dora", "admin")])
@on_sqlite
def test_who_was_asked_and_an_admin_may_answer(desk: Desk, who: str, right: str) -> None:
    desk.claim(who)

    [said] = desk.attestations()
    assert (said.email, said.authority) == (f"{who}@example.com", right)


@pytest.mark.parametrize("who", ["bea", "gus", "otto", "robo", "sam", "nobody"])
@on_sqlite
def test_others_guests_the_deactivated_bots_strangers_and_the_unknown_may_not(desk: Desk, who: str) -> None:
    with pytest.raises(NotAllowed, match="This question is for somebody else"):
        desk.claim(who)

    assert (desk.attestations(), desk.events(), desk.ask_status()) == ([], [], AskStatus.OPEN)


@pytest.mark.parametrize("change", ["active", "guest", "bot", "stranger"])
@on_sqlite
def test_who_was_asked_and_is_no_colleague_any_more_may_not(desk: Desk, change: str) -> None:
    with desk.sessions.begin() as session:
        setattr(session.get_one(PersonRow, "UANA"), change, change != "active")

    with pytest.raises(NotAllowed):
        desk.claim()


def test_the_owner_may_answer_a_question_that_went_to_somebody_else(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, desk.identity), session.get_one(PersonRow, "UBEA"))

    desk.justify("bea")

    assert [said.authority for said in desk.attestations() if said.verdict is Verdict.JUSTIFY] == ["owner"]


@pytest.mark.parametrize(
    ("since", "until", "may"),
    [
        (NOW, NOW + TICK, True),
        (NOW - timedelta(days=1), NOW, False),
        (NOW + TICK, NOW + timedelta(days=1), False),
    ],
)
def test_a_delegate_may_answer_while_the_delegation_lasts(
    desk: Desk, since: datetime, until: datetime, may: bool
) -> None:
    with desk.sessions.begin() as session:
        session.add(
            DelegationRow(id=new_id(), email="ana@example.com", delegate="bea@example.com", since=since, until=until)
        )

    if may:
        desk.claim("bea")
        assert [said.authority for said in desk.attestations()] == ["delegate of ana@example.com"]
    else:
        with pytest.raises(NotAllowed):
            desk.claim("bea")


@on_sqlite
def test_an_admin_may_be_named_by_slack_id_and_in_any_case(sessions: Sessions, known: None) -> None:
    with reading(sessions) as session:
        bea = session.get_one(PersonRow, "UBEA")
        assert authority.is_admin(bea, parse({"people": {"admins": ["UBEA"]}}))
        assert authority.is_admin(bea, parse({"people": {"admins": ["Bea@Example.com"]}}))
        assert not authority.is_admin(bea, parse({}))
        gus = session.get_one(PersonRow, "UGUS")
        assert not authority.is_admin(gus, parse({"people": {"admins": ["UGUS"]}}))


@on_sqlite
def test_a_button_that_the_card_did_not_have_is_out_of_date(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        session.get_one(OfferRow, desk.offer).actions = ["justify"]

    with pytest.raises(OutOfDate):
        desk.claim()


@on_sqlite
def test_a_button_of_ours_that_never_was_is_out_of_date(desk: Desk) -> None:
    for offer in ("nothing", "None", "x" * 300, "'; --"):
        with pytest.raises(OutOfDate, match="/nhi mine"):
            desk.claim(offer=offer)


# -- once --------------------------------------------------------------------------------------------------------------


def test_a_second_click_hears_who_was_first(desk: Desk) -> None:
    desk.claim()

    with pytest.raises(AlreadyAnswered, match=r"^Ana Diaz claimed it on 23 November at 09:00 UTC already\.$"):
        desk.claim()
    assert len(desk.attestations()) == 1


def test_a_second_click_on_not_mine_hears_so_too(desk: Desk) -> None:
    desk.not_mine()

    with pytest.raises(AlreadyAnswered, match="Ana Diaz said it is not theirs"):
        desk.not_mine()


def test_of_two_copies_of_a_card_the_first_answer_counts(desk: Desk) -> None:
    copy = desk.new_offer()
    desk.disable()

    with pytest.raises(AlreadyAnswered, match="Ana Diaz asked to disable it"):
        desk.claim("dora", offer=copy)
    assert [said.verdict for said in desk.attestations()] == [Verdict.DISABLE]


@on_sqlite
def test_a_card_whose_question_was_withdrawn_is_out_of_date(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        session.get_one(AskRow, desk.ask).status = AskStatus.WITHDRAWN

    for who in ("ana", "dora"):
        with pytest.raises(OutOfDate):
            desk.claim(who)


def test_a_card_of_whois_is_out_of_date_once_the_question_is_open(desk: Desk) -> None:
    """Else the answer would stand beside the question, and leave it open for ever."""
    with pytest.raises(OutOfDate):
        desk.claim("dora", offer=desk.new_offer(of_the_ask=False))


def at_once(*works: Callable[[], object]) -> list[object]:
    """Run these at the same moment; return what each returned, or raised on purpose."""
    ready = Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        ready.wait(10)
        try:
            return work()
        except NhiError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_a_double_click_acts_once(desk: Desk) -> None:
    results = at_once(*[desk.disable] * 6)

    assert sum(isinstance(result, Answered) for result in results) == 1
    assert sum(isinstance(result, AlreadyAnswered) for result in results) == 5
    assert len(desk.attestations()) == len(desk.remediations()) == 1
    assert desk.events() == ["attestation.disable", "remediation.planned"]


def test_a_double_click_on_a_card_of_whois_acts_once_too(desk: Desk) -> None:
    """There no question stands behind the card: the offer alone is what is good for one answer."""
    with desk.sessions.begin() as session:
        session.get_one(AskRow, desk.ask).status = AskStatus.WITHDRAWN
    offer = desk.new_offer(of_the_ask=False)

    results = at_once(*[lambda: desk.disable("dora", offer=offer)] * 6)

    assert sum(isinstance(result, Answered) for result in results) == 1
    assert sum(isinstance(result, OutOfDate) for result in results) == 5
    assert len(desk.attestations()) == 1


def test_two_people_on_two_copies_at_once_make_one_answer(desk: Desk) -> None:
    copies = [desk.offer, *(desk.new_offer() for _ in range(3))]

    results = at_once(
        lambda: desk.claim("ana", offer=copies[0]),
        lambda: desk.disable("dora", offer=copies[1]),
        lambda: desk.not_mine("ana", offer=copies[2]),
        lambda: desk.claim("dora", offer=copies[3]),
    )

    assert sum(isinstance(result, Answered) for result in results) == 1
    assert len(desk.attestations()) == 1


def test_undo_pressed_twice_at_once_acts_once(desk: Desk) -> None:
    done = desk.disable().remediation_id
    desk.move(done, RemediationStatus.DONE, NOW)
    offer = desk.undo_offer(done)

    results = at_once(*[lambda: desk.undo(offer)] * 4)

    assert sum(isinstance(result, Answered) for result in results) == 1
    assert desk.events().count("remediation.undo_requested") == 1


# -- claim, not mine ---------------------------------------------------------------------------------------------------


def test_a_claim_makes_an_owner_and_resolves_unowned_and_leaves_the_rest_to_be_asked(desk: Desk) -> None:
    answered = desk.claim()

    assert desk.owner() == "ana@example.com"
    assert desk.statuses() == {FindingKind.UNOWNED: FindingStatus.RESOLVED, FindingKind.UNUSED: FindingStatus.OPEN}
    assert desk.ask_status() is AskStatus.ANSWERED
    assert desk.events() == ["attestation.claim", "finding.resolved"]
    assert (answered.verdict, answered.ask_id) == (Verdict.CLAIM, desk.ask)


def test_a_claim_takes_over_from_the_owner_before(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, desk.identity), session.get_one(PersonRow, "UBEA"))

    desk.claim()

    with reading(desk.sessions) as session:
        rows = session.scalars(select(OwnerRow))
        assert {(row.email, row.ended_at, row.ended_because) for row in rows} == {
            ("bea@example.com", NOW, "somebody else claimed it"),
            ("ana@example.com", None, None),
        }


def test_not_mine_is_evidence_against_and_opens_the_question_to_the_next(desk: Desk) -> None:
    desk.not_mine()

    assert desk.ask_status() is AskStatus.PASSED
    assert set(desk.statuses().values()) == {FindingStatus.OPEN}
    with reading(desk.sessions) as session:
        fact = session.scalars(select(EvidenceRow)).one()
    assert (fact.source, fact.points_to) == ("not_mine", "ana@example.com")
    assert fact.fact.startswith("ana@example.com said it is not theirs")
    assert desk.owner() is None


def test_an_owner_who_says_not_mine_is_no_owner_any_more(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, desk.identity), session.get_one(PersonRow, "UANA"))

    desk.not_mine()

    assert desk.owner() is None
    evidence.gather(desk.sessions, desk.policy, NOW)
    with reading(desk.sessions) as session:
        told = {fact.source for fact in session.scalars(select(EvidenceRow))}
    assert "not_mine" in told
    assert "former_owner" not in told, "they never owned it"


def test_not_mine_from_an_admin_speaks_of_who_was_asked_and_leaves_another_owner(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, desk.identity), session.get_one(PersonRow, "UBEA"))

    desk.not_mine("dora")

    with reading(desk.sessions) as session:
        fact = session.scalars(select(EvidenceRow)).one()
    assert fact.points_to == "ana@example.com"
    assert fact.fact.startswith("dora@example.com said it is not ana@example.com's")
    assert desk.owner() == "bea@example.com"


# -- justify -----------------------------------------------------------------------------------------------------------


def test_a_justification_keeps_its_words_and_its_end_and_leaves_unowned_open(desk: Desk) -> None:
    desk.justify()

    [said] = desk.attestations()
    end = datetime(2026, 12, 25, tzinfo=UTC)
    assert (said.verdict, said.words, said.until) == (Verdict.JUSTIFY, REASON, end)
    assert desk.statuses() == {FindingKind.UNUSED: FindingStatus.JUSTIFIED, FindingKind.UNOWNED: FindingStatus.OPEN}
    with reading(desk.sessions) as session:
        justified = session.scalars(select(FindingRow).where(FindingRow.kind == FindingKind.UNUSED)).one()
    assert justified.justified_until == end


@on_sqlite
def test_a_justification_may_claim_as_well(desk: Desk) -> None:
    desk.justify(also_claim=True)

    assert {said.verdict for said in desk.attestations()} == {Verdict.JUSTIFY, Verdict.CLAIM}
    assert desk.owner() == "ana@example.com"
    assert desk.statuses()[FindingKind.UNOWNED] is FindingStatus.RESOLVED


@on_sqlite
def test_an_owner_who_also_claims_stays_the_owner_since_when_they_were(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, desk.identity), session.get_one(PersonRow, "UANA"))

    desk.justify(also_claim=True)

    with reading(desk.sessions) as session:
        assert len(session.scalars(select(OwnerRow)).all()) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("x" * 9, "10 characters or more"),
        ("  " + "x" * 9 + "  ", "10 characters or more"),
        ("\u200b" * 20, "10 characters or more"),
        ("x \n\t     y", "10 characters or more"),
        ("x" * 2001, "keep it to 2000"),
        ("the key is AKI" + "AIOSFODNN7EXAMPLE", "looks like it holds a key"),
        ("the key is AKI" + "\u200bAIOSFODNN7EXAMPLE", "looks like it holds a key"),
        ("xox" + "b-123456789012-abcdefghijkl", "looks like it holds a key"),
        ("-----BEGIN " + "PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "looks like it holds a key"),
    ],
)
def test_a_reason_that_cannot_be_taken_is_told_beside_its_field(words: str, complaint: str) -> None:
    with pytest.raises(BadAnswer, match=complaint) as refused:
        reasons.check_reason(words)

    assert refused.value.field == "reason"
    assert words.strip() not in str(refused.value)


def test_an_answer_that_cannot_be_taken_leaves_the_question_open_and_writes_nothing(desk: Desk) -> None:
    for words, until in (("too short", LATER), (REASON, NOW.date())):
        with pytest.raises(BadAnswer):
            desk.justify(words=words, until=until)

    assert (desk.attestations(), desk.events(), desk.ask_status()) == ([], [], AskStatus.OPEN)
    desk.justify()


@pytest.mark.parametrize("words", ["x" * 10, "  " + "x" * 10, "x" * 2000, "Ünïcödé gründe", "<!channel> ping"])
def test_a_reason_of_ten_characters_and_of_two_thousand_is_taken(words: str) -> None:
    assert reasons.check_reason(words) == words.strip()


@pytest.mark.parametrize(
    ("until", "complaint"),
    [
        (date(2026, 11, 23), "after today"),
        (date(2026, 11, 24), None),
        (date(2027, 5, 22), None),
        (date(2027, 5, 23), "22 May 2027 at the latest"),
        (date.max, "at the latest"),
        (date.min, "after today"),
    ],
)
def test_a_justification_ends_after_today_and_within_policy(until: date, complaint: str | None) -> None:
    if complaint is None:
        ends = reasons.check_until(until, PROPOSING, NOW)
        assert ends == datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)
        return
    with pytest.raises(BadAnswer, match=complaint) as refused:
        reasons.check_until(until, PROPOSING, NOW)
    assert refused.value.field == "until"


# -- rotate, disable ---------------------------------------------------------------------------------------------------


def test_disable_plans_an_act_on_the_one_credential_with_the_facts_that_were_shown(desk: Desk) -> None:
    answered = desk.disable()

    [planned] = desk.remediations()
    assert (planned.id, planned.kind, planned.status) == (
        answered.remediation_id,
        RemediationKind.DISABLE,
        RemediationStatus.PLANNED,
    )
    assert planned.credential_id == desk.credential
    assert planned.facts == {
        "shown_last_used_at": ledger.instant(NOW - timedelta(days=200)),
        "use_was_shown": True,
        "shown_at": ledger.instant(NOW),
        "owner": None,
        "likely": None,
        "principal": "arn:aws:iam::123456789012:user/ci-deploy",
    }
    assert desk.events() == ["attestation.disable", "remediation.planned"]


@on_sqlite
def test_in_propose_mode_a_disable_is_only_proposed(sessions: Sessions, known: None) -> None:
    desk = Desk(sessions, PROPOSING)

    desk.disable()

    assert [row.status for row in desk.remediations()] == [RemediationStatus.PROPOSED]
    assert desk.events() == ["attestation.disable", "remediation.proposed"]


@on_sqlite
def test_a_rotation_is_recorded_and_proposed_in_either_mode(desk: Desk) -> None:
    desk.rotate()

    [planned] = desk.remediations()
    assert (planned.kind, planned.status) == (RemediationKind.ROTATE, RemediationStatus.PROPOSED)


def test_who_disables_and_claims_is_the_owner_that_the_act_rests_on(desk: Desk) -> None:
    desk.disable(also_claim=True)

    assert desk.owner() == "ana@example.com"
    assert desk.remediations()[0].facts["owner"] == "ana@example.com"


def test_a_second_answer_joins_the_act_that_is_under_way(desk: Desk) -> None:
    first = desk.disable().remediation_id

    second = desk.disable("dora", offer=desk.new_offer(of_the_ask=False))

    assert second.remediation_id == first
    assert len(desk.remediations()) == 1
    assert len(desk.attestations()) == 2


def credential(session: Session, desk: Desk, **changes: object) -> str:
    row = make_key(changes.pop("key_id", "AKIAOTHERKEY"), 7, **changes)  # type: ignore[arg-type]
    row.identity_id = desk.identity
    session.add(row)
    session.flush()
    return row.id


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"status": CredentialStatus.INACTIVE}, "off or gone already"),
        ({"gone_at": NOW}, "off or gone already"),
        ({"key_id": None}, "cannot be turned off from here"),
    ],
)
@on_sqlite
def test_a_credential_that_cannot_be_turned_off_is_refused_beside_its_field(
    desk: Desk, changes: dict[str, object], complaint: str
) -> None:
    with desk.sessions.begin() as session:
        other = credential(session, desk, **changes)

    with pytest.raises(BadAnswer, match=complaint) as refused:
        desk.disable(credential=other)
    assert (refused.value.field, desk.ask_status()) == ("credential", AskStatus.OPEN)


@on_sqlite
def test_a_credential_of_another_identity_is_refused(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        other = make_identity(session, "other").credentials[0].id

    for id_ in (other, "nothing", ""):
        with pytest.raises(BadAnswer, match="one of the credentials listed"):
            desk.disable(credential=id_ or "-")


def test_a_credential_that_came_after_the_card_was_drawn_cannot_be_disabled_from_it(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        other = credential(session, desk)

    with pytest.raises(OutOfDate, match="does not show that credential"):
        desk.disable(credential=other)
    assert (desk.attestations(), desk.ask_status()) == ([], AskStatus.OPEN)


# -- undo --------------------------------------------------------------------------------------------------------------


def test_undo_hands_a_done_act_to_the_worker(desk: Desk) -> None:
    done = desk.disable().remediation_id
    desk.move(done, RemediationStatus.DONE, NOW)

    desk.undo(desk.undo_offer(done))

    [row] = desk.remediations()
    assert (row.status, row.undo_by, row.undone_at) == (RemediationStatus.UNDOING, "ana@example.com", None)
    assert desk.events()[-2:] == ["attestation.undo", "remediation.undo_requested"]


@pytest.mark.parametrize("status", [RemediationStatus.PLANNED, RemediationStatus.PROPOSED])
@on_sqlite
def test_what_was_not_done_yet_is_called_off_on_the_spot(desk: Desk, status: RemediationStatus) -> None:
    planned = desk.disable().remediation_id
    desk.move(planned, status)

    desk.undo(desk.undo_offer(planned))

    [row] = desk.remediations()
    assert (row.status, row.undone_at) == (RemediationStatus.UNDONE, NOW)


@pytest.mark.parametrize(
    "status",
    [
        RemediationStatus.REFUSED,
        RemediationStatus.FAILED,
        RemediationStatus.UNDOING,
        RemediationStatus.UNDONE,
    ],
)
@on_sqlite
def test_what_is_not_done_or_not_done_any_more_cannot_be_undone(desk: Desk, status: RemediationStatus) -> None:
    planned = desk.disable().remediation_id
    desk.move(planned, status)

    with pytest.raises(OutOfDate, match=status.value):
        desk.undo(desk.undo_offer(planned))
    assert [row.status for row in desk.remediations()] == [status]


@on_sqlite
def test_undo_is_possible_for_thirty_days_and_not_after(desk: Desk) -> None:
    done = desk.disable().remediation_id
    desk.move(done, RemediationStatus.DONE, NOW)
    late = NOW + timedelta(days=30)

    with pytest.raises(OutOfDate, match="Undo was possible until 23 December 2026"):
        desk.undo(desk.undo_offer(done), now=late + TICK)
    desk.undo(desk.undo_offer(done), now=late)


@pytest.mark.parametrize("who", ["bea", "gus", "otto", "sam"])
@on_sqlite
def test_undo_is_for_those_who_may_decide(desk: Desk, who: str) -> None:
    done = desk.disable().remediation_id
    desk.move(done, RemediationStatus.DONE, NOW)

    with pytest.raises(NotAllowed):
        desk.undo(desk.undo_offer(done), who)


@on_sqlite
def test_there_is_nothing_to_undo_on_a_card_without_an_act(desk: Desk) -> None:
    with pytest.raises(OutOfDate, match="nothing to undo"):
        desk.undo(desk.undo_offer(None))


def test_a_remediation_is_found_by_the_start_of_its_id(desk: Desk) -> None:
    planned = desk.disable().remediation_id
    assert planned is not None

    with reading(desk.sessions) as session:
        assert acts_by_id.find(session, planned[:6]).id == planned
        for start in ("", "zz", "%", "_"):
            with pytest.raises(OutOfDate, match="No remediation starts"):
                acts_by_id.find(session, start)


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_an_attestation_keeps_the_card_as_it_was_shown_whatever_changes_later(desk: Desk) -> None:
    with reading(desk.sessions) as session:
        shown = session.get_one(OfferRow, desk.offer).shown
    with desk.sessions.begin() as session:
        session.get_one(CredentialRow, desk.credential).last_used_at = NOW
        session.get_one(IdentityRow, desk.identity).name = "renamed"

    desk.disable()

    [said] = desk.attestations()
    assert said.shown == shown
    assert said.shown["facts"]["identity"]["name"] == "ci-deploy"
    assert said.shown["blocks"] == [{"type": "divider"}]
    assert desk.remediations()[0].facts["shown_last_used_at"] == ledger.instant(NOW - timedelta(days=200))


def test_the_ledger_holds_a_commitment_to_the_card_and_nothing_personal(desk: Desk) -> None:
    desk.justify()

    with reading(desk.sessions) as session:
        body = session.scalars(select(EventRow.body).where(EventRow.kind == "attestation.justify")).one()
        said = session.scalars(select(AttestationRow)).one()
    assert "ana" not in body
    assert REASON not in body
    event_facts = json.loads(body)["facts"]
    assert event_facts["attestation"] == said.id
    assert event_facts["shown"] == ledger.commitment("", ledger.canonical(said.shown))


def test_every_posted_copy_is_due_for_a_redraw_after_an_answer(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        for number in range(2):
            delivery = DeliveryRow(
                id=f"d{number}",
                kind="digest",
                recipient="UANA",
                words={},
                state="posted",
                wanted_version=1,
                shown_version=1,
                attempts=1,
                not_before=NOW,
                created_at=NOW,
            )
            session.add(delivery)
            session.flush()
            session.add(CardRow(id=f"c{number}", delivery_id=delivery.id, ask_id=desk.ask, position=0))

    desk.claim()

    with reading(desk.sessions) as session:
        assert session.scalars(select(DeliveryRow.wanted_version)).all() == [2, 2]


def test_an_answer_that_fails_half_way_leaves_nothing(desk: Desk) -> None:
    def fail(session: Session, answering: Answering) -> Answered:
        decisions.claim(session, answering, NOW)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        desk.press("ana", Verdict.CLAIM, fail)

    assert (desk.attestations(), desk.events(), desk.ask_status(), desk.owner()) == ([], [], AskStatus.OPEN, None)
    desk.claim()
