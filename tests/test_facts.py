"""What `whois` finds in whatever people paste, and the shapes that interface.md promises."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nhi import facts, ledger
from nhi.database import Sessions, reading
from nhi.findings import FindingKind, FindingStatus, Severity
from nhi.policy import Policy
from nhi.tables import EvidenceRow
from tests.factories import ACCOUNT, NOW, make_finding, make_identity, make_owner, make_person
from tests.strategies import HOSTILE_TEXTS

KEY_ID = "AKIA2E0A8F3B244C9986"


@pytest.fixture
def company(sessions: Sessions) -> Sessions:
    """A user with a key and an owner, a role, a namesake in another account, and one that is gone."""
    with sessions.begin() as session:
        user = make_identity(session, "ci-deploy", keys=(KEY_ID,), key="AIDACIDEPLOY")
        make_owner(session, user, make_person(session, "ana"))
        make_identity(session, "lambda-runner", "iam_role", keys=(), key="AROALAMBDA")
        make_identity(
            session,
            "ci-deploy",
            keys=("AKIAOTHERACCOUNT",),
            account="999999999999",
            principal="arn:aws:iam::999999999999:user/ci-deploy",
            key="AIDAOTHER",
        )
        make_identity(session, "old_backup", keys=("AKIAGONE",), key="AIDAGONE", gone_at=NOW)
    return sessions


def found(sessions: Sessions, query: str) -> list[str]:
    with reading(sessions) as session:
        return [row.key for row in facts.find(session, query)]


# -- find --------------------------------------------------------------------------------------------------------------


NAMED: dict[str, list[str]] = {
    f"arn:aws:iam::{ACCOUNT}:user/ci-deploy": ["AIDACIDEPLOY"],
    f"  `arn:aws:iam::{ACCOUNT}:user/ci-deploy`  ": ["AIDACIDEPLOY"],
    f"arn:aws:sts::{ACCOUNT}:assumed-role/lambda-runner/i-0123456789": ["AROALAMBDA"],
    "arn:aws:sts::999999999999:assumed-role/lambda-runner/i-0123456789": [],
    "arn:aws:iam::999999999999:user/ci-deploy": ["AIDAOTHER"],
    "arn:aws:iam::111111111111:user/ci-deploy": [],
    KEY_ID: ["AIDACIDEPLOY"],
    "AIDACIDEPLOY": ["AIDACIDEPLOY"],
    "lambda-runner": ["AROALAMBDA"],
    "Lambda-RUNNER": ["AROALAMBDA"],
    "ana@example.com": ["AIDACIDEPLOY"],
    "Ana@Example.com": ["AIDACIDEPLOY"],
    "<mailto:ana@example.com|ana@example.com>": ["AIDACIDEPLOY"],
    "AKIAGONE": ["AIDAGONE"],
    "lambda": ["AROALAMBDA"],
    "backup": ["AIDAGONE"],
    "old_": ["AIDAGONE"],
    "ol_-b": [],
    "": [],
    "   ": [],
    "%": [],
    "%%%": [],
    "nobody": [],
    "la": [],
}


def test_an_identity_is_found_by_what_people_have_of_it(company: Sessions) -> None:
    assert {query: found(company, query) for query in NAMED} == NAMED


def test_a_name_is_found_in_every_account_that_has_it(company: Sessions) -> None:
    assert sorted(found(company, "ci-deploy")) == ["AIDACIDEPLOY", "AIDAOTHER"]


def test_an_arn_or_a_key_id_is_found_inside_pasted_text(company: Sessions) -> None:
    error = (
        f"An error occurred (AccessDenied): User: arn:aws:iam::{ACCOUNT}:user/ci-deploy is not authorized.\n"
        "Please ask somebody, urgently!!"
    )

    assert found(company, error) == ["AIDACIDEPLOY"]
    assert found(company, f'aws_access_key_id = "{KEY_ID}", what is it?') == ["AIDACIDEPLOY"]
    assert found(company, f"who owns {KEY_ID}.") == ["AIDACIDEPLOY"]


def test_a_key_id_is_found_in_a_long_log(company: Sessions) -> None:
    log = "\n".join(f"0-line-{number} all is well" for number in range(600))

    assert found(company, f"{log}\n{KEY_ID}") == ["AIDACIDEPLOY"]


def test_what_is_there_still_comes_first_and_there_is_an_end_to_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for number in range(30):
            make_identity(
                session,
                f"job-{number:02d}",
                keys=(),
                key=f"K{number:02d}",
                gone_at=NOW if number < 15 else None,
            )

    keys = found(sessions, "job-")

    assert len(keys) == facts.MOST_MATCHES
    assert keys[:15] == [f"K{number:02d}" for number in range(15, 30)]


HOSTILE = (
    "\0",
    "a\0b" * 5,
    "\ud800\ud800\ud800",
    "'; DROP TABLE identity; --",
    "\\",
    "_" * 300,
    "😀" * 20_000,
    "%" * 20_000,
    f"{'x' * 30} " * 3000,
    "arn:" * 5000,
    "arn:aws:iam::1:user/" + "y" * 19_000,
)


def test_hostile_text_finds_nothing_and_breaks_nothing(company: Sessions) -> None:
    assert [found(company, query) for query in HOSTILE] == [[]] * len(HOSTILE)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=HOSTILE_TEXTS, after=HOSTILE_TEXTS)
def test_a_key_id_is_found_between_any_lines(company: Sessions, before: str, after: str) -> None:
    assert "AIDACIDEPLOY" in found(company, f"{before}\n{KEY_ID}\n{after}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=60) | HOSTILE_TEXTS)
def test_any_text_can_be_asked_for(company: Sessions, query: str) -> None:
    assert len(found(company, query)) <= facts.MOST_MATCHES


# -- the shapes --------------------------------------------------------------------------------------------------------


def test_whois_tells_everything_that_the_interface_promises(company: Sessions, policy: Policy) -> None:
    with company.begin() as session:
        [row] = facts.find(session, KEY_ID)
        make_finding(session, row)
        ledger.record(session, "identity.seen", now=NOW, identity_id=row.id, facts={"n": 1})
        ledger.record(session, "finding.opened", now=NOW, identity_id=row.id)

    with reading(company) as session:
        [match] = facts.whois(session, KEY_ID, policy, NOW)

    assert match["identity"]["principal"] == f"arn:aws:iam::{ACCOUNT}:user/ci-deploy"
    promised = {"state": "confirmed", "email": "ana@example.com", "name": "Ana", "active": True, "confidence": 1.0}
    assert promised.items() <= match["owner"].items()
    assert [credential["id"] for credential in match["credentials"]] == [KEY_ID]
    assert [finding["kind"] for finding in match["findings"]] == ["unused"]
    assert [event["kind"] for event in match["history"]] == ["finding.opened", "identity.seen"]
    assert set(match["permissions"]) == {"policies", "privileged", "known"}
    assert [answer["verdict"] for answer in match["answers"]] == ["claim"]


def test_a_finding_reads_as_the_interface_promises(sessions: Sessions) -> None:
    with sessions.begin() as session:
        identity = make_identity(session)
        about_key, about_all = make_finding(session, identity), make_finding(session, identity, FindingKind.UNOWNED)
        shown, whole = facts.finding_json(about_key, {"state": "none"}), facts.finding_json(about_all, {})

    promised = {
        "id",
        "kind",
        "owasp",
        "severity",
        "status",
        "since",
        "why",
        "coverage",
        "identity",
        "credential",
        "owner",
    }
    assert promised <= set(shown)
    assert shown["since"] == "2026-08-05T09:00:00Z"
    assert {"id", "provider", "kind", "account", "name", "principal"} <= set(shown["identity"])
    assert {"id", "kind", "created_at", "last_used_at"} <= set(shown["credential"])
    assert whole["credential"] is None


def test_open_findings_come_gravest_first_and_then_oldest(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for name, severity, days, status in (
            ("young", Severity.HIGH, 1, FindingStatus.OPEN),
            ("old", Severity.HIGH, 9, FindingStatus.JUSTIFIED),
            ("grave", Severity.CRITICAL, 0, FindingStatus.ASKED),
            ("light", Severity.LOW, 99, FindingStatus.OPEN),
            ("done", Severity.CRITICAL, 99, FindingStatus.RESOLVED),
        ):
            identity = make_identity(session, name)
            make_finding(session, identity, severity=severity, since=NOW - timedelta(days=days), status=status)

    with reading(sessions) as session:
        names = [finding.identity.name for finding in facts.open_findings(session)]
    assert names == ["grave", "old", "young", "light"]


def test_a_likely_owner_is_told_with_the_evidence_and_nobody_without(sessions: Sessions, policy: Policy) -> None:
    with sessions.begin() as session:
        make_person(session, "ana")
        identity, orphan = make_identity(session), make_identity(session, "orphan", keys=())
        session.add(
            EvidenceRow(identity_id=identity.id, source="tag", fact="owner=ana", points_to="ana", at=None, seen_at=NOW)
        )
        ids = [identity.id, orphan.id]

    with reading(sessions) as session:
        likely, none = (facts.owners(session, ids, policy, NOW)[id_] for id_ in ids)

    assert (likely["state"], likely["email"]) == ("likely", "ana@example.com")
    assert likely["evidence"] == [{"source": "tag", "fact": "owner=ana", "at": None, "url": None}]
    assert (none["state"], none["email"], none["evidence"]) == ("none", None, [])


def test_whois_of_an_address_tells_what_its_person_owns_and_likely_owns(company: Sessions, policy: Policy) -> None:
    with company.begin() as session:
        make_person(session, "bea")
        for name, who in (("of-bea", "bea@example.com"), ("of-bea-too", "Bea"), ("of-ana", "ana@example.com")):
            identity = make_identity(session, name, keys=(), key=name)
            fact = f"owner={who}"
            session.add(EvidenceRow(identity_id=identity.id, source="tag", fact=fact, points_to=who, seen_at=NOW))
    with reading(company) as session:
        told = {
            who: [match["identity"]["name"] for match in facts.whois(session, who, policy, NOW)]
            for who in ("Bea@example.com", "ana@example.com", "bea", "cem@example.com")
        }
    assert told == {
        "Bea@example.com": ["of-bea", "of-bea-too"],
        "ana@example.com": ["ci-deploy", "of-ana"],
        "bea": ["of-bea", "of-bea-too"],  # by name
        "cem@example.com": [],
    }
