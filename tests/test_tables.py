"""What the database holds by itself, before any code: one open finding, one owner, one question, times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from nhi.database import Sessions, reading
from nhi.escalation import AskStatus, Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.identity import Coverage, CredentialStatus
from nhi.records import identity_of, write_identity
from nhi.remediation import RemediationKind, RemediationStatus
from nhi.tables import (
    AttestationRow,
    CredentialRow,
    FindingRow,
    IdentityRow,
    OwnerRow,
    PersonRow,
    RemediationRow,
    RunRow,
    new_id,
)
from tests.factories import NOW, make_ask, make_finding, make_identity, make_key, make_owner, make_person
from tests.strategies import a_key, a_user, ago

# -- one open finding --------------------------------------------------------------------------------------------------


def test_a_credential_has_one_open_finding_of_a_kind(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        make_finding(session, identity, FindingKind.UNUSED)
        make_finding(session, identity, FindingKind.UNROTATED)

    with pytest.raises(IntegrityError), sessions.begin() as session:
        make_finding(session, session.get_one(IdentityRow, identity.id), FindingKind.UNUSED)


def test_an_identity_has_one_open_finding_of_a_kind_about_the_whole_of_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        make_finding(session, identity, FindingKind.UNOWNED)

    with pytest.raises(IntegrityError), sessions.begin() as session:
        make_finding(session, session.get_one(IdentityRow, identity.id), FindingKind.UNOWNED)


@pytest.mark.parametrize("status", [FindingStatus.ASKED, FindingStatus.JUSTIFIED, FindingStatus.SNOOZED])
def test_a_finding_that_is_asked_about_or_justified_is_open_still(sessions: Sessions, status: FindingStatus) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        make_finding(session, identity, status=status)

    with pytest.raises(IntegrityError), sessions.begin() as session:
        make_finding(session, session.get_one(IdentityRow, identity.id), status=FindingStatus.OPEN)


def test_resolved_findings_may_be_many_and_leave_room_for_a_new_one(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        for kind in (FindingKind.UNUSED, FindingKind.UNOWNED):
            for status in (FindingStatus.RESOLVED, FindingStatus.RESOLVED, FindingStatus.OPEN):
                make_finding(session, identity, kind, status=status)
    with sessions() as session:
        statuses = [row.status for row in session.scalars(select(FindingRow))]
    assert (statuses.count(FindingStatus.RESOLVED), statuses.count(FindingStatus.OPEN)) == (4, 2)


def test_two_credentials_of_one_identity_have_findings_of_their_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session, keys=("AKIAONE", "AKIATWO"))
        for credential in identity.credentials:
            make_finding(session, identity, credential_id=credential.id)


# -- one owner, one question, one act, one run -------------------------------------------------------------------------


def test_an_identity_has_one_owner_at_a_time(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        ana, bea = make_person(session, "ana"), make_person(session, "bea")
        first = make_owner(session, identity, ana)
        first.ended_at = NOW
        make_owner(session, identity, bea)

    with pytest.raises(IntegrityError), sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, identity.id), session.get_one(PersonRow, "UANA"))


def test_an_identity_has_one_open_question_at_a_time(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        make_ask(session, identity, status=AskStatus.PASSED)
        make_ask(session, identity, "bea@example.com")

    with pytest.raises(IntegrityError), sessions.begin() as session:
        make_ask(session, session.get_one(IdentityRow, identity.id), "cem@example.com")


def plan(session: Session, owner: OwnerRow, credential: CredentialRow, status: RemediationStatus) -> None:
    session.add(
        RemediationRow(
            id=new_id(),
            kind=RemediationKind.DISABLE,
            status=status,
            identity_id=credential.identity_id,
            credential_id=credential.id,
            attestation_id=owner.attestation_id,
            facts={},
            planned_at=NOW,
            due_at=NOW,
        )
    )
    session.flush()


@pytest.mark.parametrize("status", [RemediationStatus.PROPOSED, RemediationStatus.PLANNED, RemediationStatus.ACTING])
def test_a_credential_has_one_act_of_a_kind_under_way(sessions: Sessions, status: RemediationStatus) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        owner = make_owner(session, identity, make_person(session))
        [credential] = identity.credentials
        plan(session, owner, credential, RemediationStatus.DONE)
        plan(session, owner, credential, RemediationStatus.UNDONE)
        plan(session, owner, credential, status)

    with pytest.raises(IntegrityError), sessions.begin() as session:
        plan(session, owner, credential, RemediationStatus.PLANNED)


def test_a_job_has_one_run_a_period(sessions: Sessions) -> None:
    def run(period: str) -> None:
        with sessions.begin() as session:
            session.add(RunRow(id=new_id(), job="scan", period=period, started_at=NOW, claimed_until=NOW))

    run("2026-11-23")
    run("2026-11-24")
    with pytest.raises(IntegrityError):
        run("2026-11-23")


def test_a_row_that_points_nowhere_is_refused(sessions: Sessions) -> None:
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(make_key("AKIALOST", identity_id="nobody"))


def test_a_status_that_is_none_is_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_identity(session)

    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(text("UPDATE credential SET status = 'sleeping'"))


# -- times -------------------------------------------------------------------------------------------------------------


def test_times_come_back_aware_in_utc_and_to_the_microsecond(sessions: Sessions) -> None:
    there = datetime(2026, 11, 23, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with sessions.begin() as session:
        make_person(session, checked_at=there)

    with reading(sessions) as session:
        [read] = session.scalars(select(PersonRow.checked_at))
    assert read == there
    assert read.tzinfo is UTC


def test_a_naive_time_is_refused(sessions: Sessions) -> None:
    with pytest.raises(StatementError, match="naive time"), sessions.begin() as session:
        make_person(session, checked_at=datetime(2026, 11, 23))  # noqa: DTZ001  # what is to be refused


def test_times_compare_in_the_database_as_they_do_in_python(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_person(session, checked_at=NOW)

    with reading(sessions) as session:
        later = select(PersonRow).where(PersonRow.checked_at > NOW - timedelta(microseconds=1))
        assert session.scalars(later).all()
        assert not session.scalars(select(PersonRow).where(PersonRow.checked_at > NOW)).all()


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["<!channel>", "a\0b", "\ud800", "\u202e", "x" * 10_000, "'; DROP TABLE identity; --"])
def test_a_hostile_name_or_tag_is_stored_and_read_back_without_what_no_database_takes(
    sessions: Sessions, name: str
) -> None:
    fit = name.replace("\0", "").encode("utf-8", "replace").decode()
    hostile = a_user(a_key(use_gap=name), name=name, tags={name: name}, policies=(name,))
    with sessions.begin() as session:
        row = IdentityRow(id=new_id(), first_seen_at=NOW)
        session.add(row)
        write_identity(row, hostile, NOW)

    with reading(sessions) as session:
        read = identity_of(session.scalars(select(IdentityRow)).one())
    assert (read.name, read.tags, read.policies) == (fit, {fit: fit}, (fit,))
    assert read.credentials[0].use_gap == fit


def test_a_secret_in_a_tag_is_not_stored(sessions: Sessions) -> None:
    secret = "AKI" + "AIOSFODNN7EXAMPLE"
    with sessions.begin() as session:
        row = IdentityRow(id=new_id(), first_seen_at=NOW)
        session.add(row)
        write_identity(row, a_user(tags={"key": f"it is {secret}", secret: "x"}), NOW)

    with reading(sessions) as session:
        [tags] = session.scalars(select(IdentityRow.tags))
    assert secret not in str(tags)


def test_an_identity_reads_back_as_it_was_written(sessions: Sessions) -> None:
    coverage = Coverage(says="Everything.", seen_from=ago(400), seen_until=ago(1))
    identity = a_user(a_key(last_used_at=ago(3), coverage=coverage), a_key(key="password"), coverage=coverage)
    with sessions.begin() as session:
        row = IdentityRow(id=new_id(), first_seen_at=NOW)
        session.add(row)
        write_identity(row, identity, NOW)

    with reading(sessions) as session:
        read = identity_of(session.scalars(select(IdentityRow)).one())
    assert sorted(read.credentials, key=lambda c: c.key) == sorted(identity.credentials, key=lambda c: c.key)
    assert read == a_user(*read.credentials, coverage=coverage)


def test_a_credential_that_is_not_there_any_more_is_gone_and_comes_back_when_it_is_seen(sessions: Sessions) -> None:
    with sessions.begin() as session:
        row = IdentityRow(id=new_id(), first_seen_at=NOW)
        session.add(row)
        write_identity(row, a_user(a_key()), NOW)
        write_identity(row, a_user(), NOW + timedelta(days=1))
        assert [c.gone_at for c in row.credentials] == [NOW + timedelta(days=1)]
        assert identity_of(row).credentials == ()
        write_identity(row, a_user(a_key(status=CredentialStatus.INACTIVE)), NOW + timedelta(days=2))
        assert [(c.gone_at, c.status) for c in row.credentials] == [(None, CredentialStatus.INACTIVE)]


def test_statuses_are_stored_by_value(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        make_owner(session, identity, make_person(session))
        make_finding(session, identity)

    with reading(sessions) as session:
        assert session.execute(text("SELECT verdict FROM attestation")).scalar() == "claim"
        assert session.execute(text("SELECT kind, status, severity FROM finding")).one() == (
            "unused",
            "asked",
            "medium",
        )
        assert session.scalar(select(AttestationRow.verdict)) is Verdict.CLAIM
        assert session.scalar(select(FindingRow.kind)) is FindingKind.UNUSED
