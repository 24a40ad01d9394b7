"""What names, accounts, code and earlier answers tell of owners, gathered for real: git, databases, files."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from jobs import evidence
from nhi import facts
from nhi.authority import OwnerEnd
from nhi.database import Sessions, reading
from nhi.identity import Aspect, Gap
from nhi.policy import Policy, parse
from nhi.tables import EvidenceRow, IdentityRow, PersonRow
from tests.conftest import on_sqlite
from tests.factories import ACCOUNT, NOW, make_finding, make_identity, make_owner, make_person

TERRAFORM = 'resource "aws_iam_user" "ci" {\n  name = "ci-deploy"\n  tags = { owner = "ana@example.com" }\n}\n'


def git(folder: Path, *words: str, who: str = "ana") -> None:
    names = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in
             (("NAME", who.title()), ("EMAIL", f"{who}@example.com"), ("DATE", "2026-10-01T10:00:00Z"))}  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"} | names
    subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository in which Ana declared ci-deploy, Bea changed the file, and CODEOWNERS names Cem."""
    folder = tmp_path / "infra"
    (folder / "iam").mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / "iam" / "main.tf").write_text(TERRAFORM)
    (folder / "CODEOWNERS").write_text("*.tf @cem\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Add it")
    (folder / "iam" / "main.tf").write_text(TERRAFORM + "# more\n")
    git(folder, "commit", "--quiet", "-am", "Say more", who="bea")
    return folder


def policy_with(*checkouts: Path) -> Policy:
    return parse(
        {
            "people": {"domains": ["example.com"]},
            "owners": {
                "checkouts": [
                    {"path": str(one), "url": "https://git.example.com/infra/blob/main/{path}#L{line}"}
                    for one in checkouts
                ],
                "accounts": [{"account": ACCOUNT, "email": "dora@example.com"}],
            },
        }
    )


def told(sessions: Sessions) -> dict[tuple[str, str], EvidenceRow]:
    with reading(sessions) as session:
        return {(row.source, row.points_to): row for row in session.scalars(select(EvidenceRow))}


def seed(sessions: Sessions, name: str = "ci-deploy") -> str:
    with sessions.begin() as session:
        for handle in ("ana", "bea", "cem", "dora"):
            make_person(session, handle)
        identity = make_identity(session, name)
        make_finding(session, identity)
        return identity.id


def test_a_checkout_tells_of_tags_authors_committers_and_code_owners_with_links(
    sessions: Sessions, checkout: Path
) -> None:
    seed(sessions)

    assert evidence.gather(sessions, policy_with(checkout), NOW) == ()

    found = told(sessions)
    assert {key for key in found if key[0] != "account"} == {
        ("iac_tag", "ana@example.com"),
        ("blame", "ana@example.com"),
        ("committer", "bea@example.com"),
        ("committer", "ana@example.com"),
        ("codeowners", "@cem"),
    }
    blame = found["blame", "ana@example.com"]
    assert blame.fact == "ana@example.com wrote 4 of the 4 lines that declare it (infra/iam/main.tf:1)"
    assert blame.url == "https://git.example.com/infra/blob/main/iam/main.tf#L1"
    assert blame.at is not None
    assert blame.at.isoformat() == "2026-10-01T10:00:00+00:00"


def test_policy_tells_who_answers_for_the_account_and_the_name_whose_login_it_holds(sessions: Sessions) -> None:
    seed(sessions, "svc-bea-exports")

    evidence.gather(sessions, policy_with(), NOW)

    assert set(told(sessions)) == {("account", "dora@example.com"), ("name", "bea@example.com")}


@on_sqlite
def test_what_a_checkout_does_not_say_any_more_does_not_speak_any_more(sessions: Sessions, checkout: Path) -> None:
    seed(sessions)
    evidence.gather(sessions, policy_with(checkout), NOW)
    git(checkout, "rm", "--quiet", "CODEOWNERS")
    git(checkout, "commit", "--quiet", "-m", "Nobody")

    evidence.gather(sessions, policy_with(checkout), NOW + timedelta(days=1))

    assert ("codeowners", "@cem") not in told(sessions)
    assert ("blame", "ana@example.com") in told(sessions)


@on_sqlite
def test_a_repository_that_cannot_be_read_is_a_gap_and_what_it_said_before_stays(
    sessions: Sessions, checkout: Path
) -> None:
    seed(sessions)
    evidence.gather(sessions, policy_with(checkout), NOW)
    before = set(told(sessions))
    (checkout / ".git").rename(checkout / "no-git")

    gaps = evidence.gather(sessions, policy_with(checkout, checkout / "nowhere"), NOW)

    hidden = frozenset({Aspect.OWNER})
    assert gaps == (
        Gap(scope="checkout/infra", reason="NotARepository: git ls-tree", hides=hidden),
        Gap(scope="checkout/nowhere", reason="NotFound: no such folder", hides=hidden),
    )
    assert set(told(sessions)) == before


@on_sqlite
def test_nothing_that_a_repositorys_configuration_names_is_ever_run(sessions: Sessions, checkout: Path) -> None:
    trap = checkout.parent / "trap"
    program = checkout.parent / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch {trap}\ncat\n")
    program.chmod(0o755)
    for name in ("core.fsmonitor", "diff.x.textconv", "filter.x.clean", "filter.x.smudge", "gpg.program", "core.pager"):
        git(checkout, "config", name, str(program))
    git(checkout, "config", "log.showSignature", "true")
    git(checkout, "config", "core.hooksPath", str(checkout.parent))
    (checkout / ".git" / "info").mkdir(exist_ok=True)
    (checkout / ".git" / "info" / "attributes").write_text("*.tf diff=x filter=x\n")
    trap.unlink(missing_ok=True)
    seed(sessions)

    assert evidence.gather(sessions, policy_with(checkout), NOW) == ()

    assert ("blame", "ana@example.com") in told(sessions)
    assert not trap.exists()


@on_sqlite
def test_a_state_beside_the_code_tells_what_a_made_up_name_came_out_as(sessions: Sessions, checkout: Path) -> None:
    seed(sessions)
    made_up = TERRAFORM.replace('"ci-deploy"', '"ci-${random_pet.x.id}"')
    (checkout / "iam" / "main.tf").write_text(made_up)
    git(checkout, "commit", "--quiet", "-am", "Make the name up")
    evidence.gather(sessions, policy_with(checkout), NOW)
    assert not [key for key in told(sessions) if key[0] == "blame"]
    arn = f"arn:aws:iam::{ACCOUNT}:user/ci-deploy"
    (checkout / "iam" / "terraform.tfstate").write_text(
        '{"resources": [{"type": "aws_iam_user", "name": "ci", "instances": [{"attributes": {"arn": "' + arn + '"}}]}]}'
    )

    evidence.gather(sessions, policy_with(checkout), NOW)

    assert [key for key in told(sessions) if key[0] == "blame"] == [("blame", "ana@example.com")]


@on_sqlite
def test_who_owned_it_before_and_who_answered_for_it_are_evidence(sessions: Sessions) -> None:
    identity_id = seed(sessions)
    with sessions.begin() as session:
        identity = session.get_one(IdentityRow, identity_id)
        cem = session.get_one(PersonRow, "UCEM")
        owner = make_owner(session, identity, cem)
        owner.ended_at, owner.ended_because = NOW, OwnerEnd.CLAIMED
        session.flush()
        mistaken = make_owner(session, identity, session.get_one(PersonRow, "UBEA"))
        mistaken.ended_at, mistaken.ended_because = NOW, OwnerEnd.NOT_THEIRS

    evidence.gather(sessions, policy_with(), NOW)

    assert {("attestation", "cem@example.com"), ("former_owner", "cem@example.com")} <= set(told(sessions))
    assert ("former_owner", "bea@example.com") not in set(told(sessions)), "it never was theirs"


@on_sqlite
def test_an_identity_with_a_confirmed_active_owner_is_left_alone(sessions: Sessions, checkout: Path) -> None:
    identity_id = seed(sessions)
    with sessions.begin() as session:
        make_owner(session, session.get_one(IdentityRow, identity_id), session.get_one(PersonRow, "UCEM"))

    evidence.gather(sessions, policy_with(checkout), NOW)

    assert told(sessions) == {}


@on_sqlite
def test_whois_shows_the_links_and_who_else_it_may_be(sessions: Sessions, checkout: Path) -> None:
    seed(sessions)
    policy = policy_with(checkout)
    evidence.gather(sessions, policy, NOW)

    with reading(sessions) as session:
        [match] = facts.whois(session, "ci-deploy", policy, NOW)

    owner = match["owner"]
    assert (owner["state"], owner["email"]) == ("likely", "ana@example.com")
    assert "cem@example.com" in {other["email"] for other in owner["others"]}
    assert any(fact["url"] and fact["url"].endswith("iam/main.tf#L1") for fact in owner["evidence"])
