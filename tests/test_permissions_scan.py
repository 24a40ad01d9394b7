"""What a scan reads of permissions, and what comes of it: real HTTP to the stand-in cloud, a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from bot import card
from demo.cloud import Cloud
from demo.workspace import Workspace
from jobs import show
from nhi import facts
from nhi.database import reading
from nhi.escalation import Verdict
from nhi.findings import FindingKind, FindingStatus
from nhi.identity import Gap, Identity, TrustKind
from nhi.policy import Source
from nhi.providers import Memory
from nhi.providers.aws import Aws, calls, connect
from nhi.settings import Settings
from nhi.tables import FindingRow
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW
from tests.jobs_world import World, open_world, use_stand_in_aws

ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
POWER = "arn:aws:iam::aws:policy/PowerUserAccess"
S3 = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
BOTH = {"Effect": "Allow", "Action": ["s3:*", "secretsmanager:*"], "Resource": "*"}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    use_stand_in_aws(monkeypatch)
    with Cloud(now=lambda: NOW) as cloud:
        yield cloud


@pytest.fixture
def world(settings: Settings, clock: Clock, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    use_stand_in_aws(monkeypatch)
    with open_world(settings, clock, workspace) as opened:
        yield opened


def seen_by(aws: Aws, documents: Any = None) -> tuple[dict[str, Identity], list[Gap]]:
    memory = Memory(credential_ids={}, documents=documents or {})
    seen = list(aws.scan(memory=memory, matters=lambda *_: False, now=NOW))
    return {one.name: one for one in seen if isinstance(one, Identity)}, [one for one in seen if isinstance(one, Gap)]


def vias(identity: Identity) -> set[str]:
    assert identity.access is not None
    return {one.via for one in identity.access.permissions}


class TestWhatIsRead:
    def test_own_policies_those_of_groups_and_aws_s_own_are_read_with_where_they_come_from(self, cloud: Cloud) -> None:
        cloud.add_user("deploy")
        cloud.add_group("ops", ["deploy"])
        cloud.put_policy("own", S3, user="deploy")
        cloud.attach(POWER, group="ops")
        aws = connect(Source(endpoint=cloud.url))
        found, gaps = seen_by(aws)
        assert gaps == []
        assert vias(found["deploy"]) == {"inline own", "group ops, PowerUserAccess"}
        assert found["deploy"].access is not None
        assert found["deploy"].access.unread == ()

    def test_a_version_of_aws_s_own_policy_is_read_once_and_never_again(self, cloud: Cloud) -> None:
        cloud.add_role("worker")
        cloud.attach(ADMIN, role="worker")
        first = connect(Source(endpoint=cloud.url))
        seen_by(first)
        assert first.api_calls["iam:GetPolicyVersion"] == 1
        again = connect(Source(endpoint=cloud.url))
        found, gaps = seen_by(again, first.documents)
        assert (gaps, again.api_calls["iam:GetPolicyVersion"]) == ([], 0)
        assert found["worker"].privileged

    def test_without_such_a_policy_nothing_is_asked(self, cloud: Cloud) -> None:
        cloud.add_user("plain")
        aws = connect(Source(endpoint=cloud.url))
        seen_by(aws)
        assert "iam:ListPolicies" not in aws.api_calls

    @pytest.mark.parametrize("action", ["iam:ListPolicies", "iam:GetPolicyVersion"])
    def test_a_policy_that_may_not_be_read_is_a_gap_and_said_of_whoever_has_it(self, cloud: Cloud, action: str) -> None:
        cloud.add_user("deploy")
        cloud.attach(POWER, user="deploy")
        cloud.faults.deny(action)
        found, gaps = seen_by(connect(Source(endpoint=cloud.url)))
        assert [gap.reason for gap in gaps] == [f"AccessDenied: {action}"]
        assert found["deploy"].access is not None
        assert found["deploy"].access.unread == ("PowerUserAccess",)

    def test_a_boundary_limits_an_administrator_and_one_that_is_unknown_is_said(self, cloud: Cloud) -> None:
        cloud.add_role("bounded")
        cloud.put_policy("own", {"Effect": "Allow", "Action": "*", "Resource": "*"}, role="bounded")
        arn = f"arn:aws:iam::{cloud.account}:policy/limits"
        text = json.dumps({"Version": "2012-10-17", "Statement": [S3]})
        cloud.iam.create_policy("", "/", text, "limits", [])
        cloud.iam.put_role_permissions_boundary("bounded", arn)
        found, _ = seen_by(connect(Source(endpoint=cloud.url)))
        access = found["bounded"].access
        assert access is not None
        assert access.boundary is not None
        assert [one.actions for one in access.boundary] == [("s3:*",)]

    def test_who_may_take_a_role_is_told_and_who_of_them_is_outside(self, cloud: Cloud) -> None:
        cloud.add_role("fn", trust={"Principal": {"Service": "lambda.amazonaws.com"}})
        cloud.add_role("own", trust={"Principal": {"AWS": f"arn:aws:iam::{cloud.account}:root"}})
        cloud.add_role("other", trust={"Principal": {"AWS": ["arn:aws:iam::444455556666:role/x", "777788889999"]}})
        cloud.add_role("open", trust={"Principal": "*"})
        cloud.add_role("vouched", trust={"Principal": {"Service": "rolesanywhere.amazonaws.com"}})
        found, _ = seen_by(connect(Source(endpoint=cloud.url)))

        def trusted(name: str) -> list[tuple[TrustKind, bool]]:
            access = found[name].access
            assert access is not None
            return [(one.kind, one.outside) for one in access.trust]

        assert trusted("fn") == [(TrustKind.SERVICE, False)]
        assert trusted("own") == [(TrustKind.IDENTITY, False)]
        assert trusted("other") == [(TrustKind.IDENTITY, True)] * 2
        assert trusted("vouched") == [(TrustKind.FEDERATED, True)]
        assert trusted("open") == [(TrustKind.ANYONE, True)]


def kinds(world: World, name: str) -> set[FindingKind]:
    return {row.kind for row in findings_of(world, name)}


def findings_of(world: World, name: str) -> list[FindingRow]:
    rows = world.rows(FindingRow)
    with reading(world.sessions) as session:
        ids = {row.id for row in facts.find(session, name)}
    return [row for row in rows if row.identity_id in ids and row.status is not FindingStatus.RESOLVED]


def told(world: World, name: str) -> dict[str, Any]:
    with reading(world.sessions) as session:
        (match,) = facts.whois(session, name, world.program.policy(), world.clock())
    return match


def reach(world: World, name: str, **days: int | None) -> None:
    """Let AWS tell when services were last reached, in days ago; None: never."""
    world.cloud.acts.reachable[name] = set(days)
    for service, ago in days.items():
        if ago is not None:
            world.cloud.acts.reached[name, service] = world.clock() - timedelta(days=ago)


@on_sqlite
class TestOverprivileged:
    def test_who_may_read_secrets_and_never_does_is_overprivileged_with_the_least_that_would_do(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.cloud.add_role("worker", created_at=world.clock() - timedelta(days=500), last_used_at=world.clock())
        world.cloud.put_policy("own", BOTH, role="worker")
        reach(world, "worker", s3=3, secretsmanager=None)
        world.scan()
        (finding,) = [one for one in findings_of(world, "worker") if one.kind is FindingKind.OVERPRIVILEGED]
        assert finding.owasp == "NHI5"
        assert finding.why == (
            "Of 2 services that it may use it used 1 in 90 days (s3). It has no need to read secrets."
        )
        may = told(world, "worker")["permissions"]
        assert may["least"]["policy"]["Statement"] == [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
        assert may["least"]["drops_powers"] == ["secrets"]
        assert '-        "secretsmanager:*"' in may["least"]["diff"]
        assert 'resource "aws_iam_role_policy_attachment" "worker_least"' in may["least"]["terraform"]
        assert may["use"]["unused"] == ["secretsmanager"]
        show.whois([told(world, "worker")])
        printed = capsys.readouterr().out
        assert "may read secrets, change data and read data" in printed
        assert '-        "secretsmanager:*"' in printed

    def test_it_is_resolved_when_the_policy_is_cut(self, world: World) -> None:
        world.cloud.add_role("worker", created_at=world.clock() - timedelta(days=500), last_used_at=world.clock())
        world.cloud.put_policy("own", BOTH, role="worker")
        reach(world, "worker", s3=3, secretsmanager=None)
        world.scan()
        world.cloud.put_policy("own", S3, role="worker")
        world.clock.pass_by(days=1)
        world.scan()
        assert FindingKind.OVERPRIVILEGED not in kinds(world, "worker")

    def test_the_question_is_asked_only_of_who_can_do_harm_and_not_again_within_a_week(self, world: World) -> None:
        world.cloud.add_role("harmless", created_at=world.clock() - timedelta(days=500), last_used_at=world.clock())
        world.cloud.put_policy("own", {**S3, "Action": "s3:GetObject"}, role="harmless")
        world.scan()
        assert asked(world) == 0
        world.cloud.put_policy("own", S3, role="harmless")
        for days, times in ((1, 1), (6, 1), (1, 2)):
            world.clock.pass_by(days=days)
            world.scan()
            assert asked(world) == times

    def test_so_many_a_scan_as_policy_says_and_none_where_it_says_so(self, world: World) -> None:
        for number in range(3):
            name = f"worker-{number}"
            world.cloud.add_role(name, created_at=world.clock() - timedelta(days=500), last_used_at=world.clock())
            world.cloud.put_policy("own", S3, role=name)
        world.set_policy("[permissions]\nlast_accessed = false\n")
        world.scan()
        assert asked(world) == 0
        world.set_policy("[permissions]\nlookups_a_scan = 2\n")
        world.scan()
        assert asked(world) == 2

    def test_a_refused_question_is_a_gap_and_no_finding(self, world: World) -> None:
        world.cloud.add_role("worker", created_at=world.clock() - timedelta(days=500), last_used_at=world.clock())
        world.cloud.put_policy("own", BOTH, role="worker")
        world.cloud.faults.deny("iam:GenerateServiceLastAccessedDetails")
        tally = world.scan()
        reasons = [gap.reason for source in tally.sources for gap in source.gaps]
        assert "AccessDenied: iam:GenerateServiceLastAccessedDetails" in reasons
        assert FindingKind.OVERPRIVILEGED not in kinds(world, "worker")
        assert told(world, "worker")["permissions"]["use"] is None

    def test_an_analyzer_that_the_source_names_is_believed_and_iam_is_asked_about_the_others_alone(
        self, world: World
    ) -> None:
        made_at = world.clock() - timedelta(days=500)
        for name in ("analyzed", "other"):
            world.cloud.add_role(name, created_at=made_at, last_used_at=world.clock())
            world.cloud.put_policy("own", BOTH, role=name)
        arn = f"arn:aws:iam::{world.cloud.account}:role/analyzed"
        world.cloud.others.add_unused(arn, "secretsmanager", actions=("s3:DeleteBucket",), at=world.clock())
        name_analyzer(world)
        world.scan()
        assert asked(world) == 1
        assert FindingKind.OVERPRIVILEGED in kinds(world, "analyzed")
        (statement,) = told(world, "analyzed")["permissions"]["least"]["policy"]["Statement"]
        assert "s3:DeleteBucket" not in statement["Action"]
        assert "s3:GetObject" in statement["Action"] or statement["Action"] == "s3:*"

    @pytest.mark.parametrize("action", ["access-analyzer:ListFindingsV2", "access-analyzer:GetFindingV2"])
    def test_an_analyzer_that_refuses_is_a_gap_and_iam_is_asked_instead(self, world: World, action: str) -> None:
        world.cloud.add_role("worker", created_at=world.clock() - timedelta(days=500), last_used_at=world.clock())
        world.cloud.put_policy("own", BOTH, role="worker")
        reach(world, "worker", s3=3, secretsmanager=None)
        arn = f"arn:aws:iam::{world.cloud.account}:role/worker"
        world.cloud.others.add_unused(arn, "secretsmanager", at=world.clock())
        world.cloud.faults.deny(action)
        name_analyzer(world)
        tally = world.scan()
        reasons = [gap.reason for source in tally.sources for gap in source.gaps]
        assert f"AccessDeniedException: {action} in eu-west-1" in reasons
        assert FindingKind.OVERPRIVILEGED in kinds(world, "worker")

    def test_what_grew_since_somebody_answered_for_it_is_told_and_the_ledger_says_when(self, world: World) -> None:
        world.add_user("deploy", 1)
        world.cloud.put_policy("own", S3, user="deploy")
        world.scan()
        world.ask()
        world.say("deploy", Verdict.CLAIM, by="ana")
        assert told(world, "deploy")["permissions"]["grew"] is None
        world.cloud.put_policy("more", {**BOTH, "Action": "iam:PutUserPolicy"}, user="deploy")
        world.clock.pass_by(days=1)
        world.scan()
        match = told(world, "deploy")
        assert match["permissions"]["grew"]["powers"] == ["escalation"]
        assert [one["actions"] for one in match["permissions"]["grew"]["statements"]] == [["iam:PutUserPolicy"]]
        assert "permissions.changed" in [event["kind"] for event in match["history"]]


@on_sqlite
def test_what_a_gap_hides_of_permissions_stays_as_it_was_and_the_rest_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_user("boss", 200)
    world.cloud.add_group("ops", ["boss"])
    world.cloud.attach(ADMIN, group="ops")
    world.cloud.attach(POWER, user="boss")
    world.cloud.put_policy("own", S3, user="boss")

    def seen() -> tuple[Any, ...]:
        may, found = told(world, "boss")["permissions"], findings_of(world, "boss")
        severities = {(one.kind, one.severity) for one in found}
        return may["privileged"], sorted(may["policies"]), may["statements"], may["unread"], severities

    world.scan()
    before = seen()
    assert before[:2] == (True, ["PowerUserAccess", "ops/AdministratorAccess", "own"])
    with monkeypatch.context() as patched:
        patched.setattr(calls, "PAGE", 1)
        world.cloud.faults.fail("iam:GetAccountAuthorizationDetails", page=2, times=99)  # the page of the group
        world.clock.pass_by(hours=1)
        assert not world.scan().complete
    assert seen() == before
    world.cloud.faults.clear()
    world.cloud.faults.deny("iam:ListPolicies")
    world.clock.pass_by(hours=1)
    assert not world.scan().complete
    assert seen() == before
    assert world.events("permissions.changed") == []
    world.cloud.put_policy("own", {**S3, "Action": "sqs:*"}, user="boss")
    world.clock.pass_by(hours=1)
    assert not world.scan().complete
    assert world.events("permissions.changed") == ["permissions.changed"]
    assert sorted(one["via"] for one in seen()[2]) == sorted(one["via"] for one in before[2])


def name_analyzer(world: World) -> None:
    world.set_policy("")
    policy = world.program.settings.nhi_policy
    arn = f"arn:aws:access-analyzer:eu-west-1:{world.cloud.account}:analyzer/unused"
    policy.write_text(f'{policy.read_text()}access_analyzers = ["{arn}"]\n')


def asked(world: World) -> int:
    return sum(one.action == "iam:GenerateServiceLastAccessedDetails" for one in world.cloud.requests)


def test_a_card_says_what_it_may_do_and_what_grew() -> None:
    may = {
        "powers": ["admin", "escalation", "secrets", "data_write"],
        "use": {"since": "2026-08-25T00:00:00Z", "used": 2, "allowed": 457},
        "outside": ["arn:aws:iam::444455556666:root"],
        "grew": {"since": "2026-05-01T00:00:00Z", "powers": ["admin"], "trust": ["x"]},
    }
    text = "\n".join(card.permissions_line({"permissions": may}).lines())
    assert "administer its account, give itself more rights and read secrets" in text
    assert "used 2 of 457 services" in text
    assert "It may do more" in text
    assert card.permissions_line({}).prose == ""
