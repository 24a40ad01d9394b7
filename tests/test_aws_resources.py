"""What buckets, keys and queues let users and roles do by policies of their own: real HTTP to the stand-in cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from demo.cloud import Cloud
from nhi.identity import Aspect, Gap, Identity
from nhi.inventory import remembered
from nhi.least import least
from nhi.permission_records import access_of, body_of
from nhi.permissions import grew, says
from nhi.policy import Source
from nhi.powers import Power, powers
from nhi.providers import Memory
from nhi.providers.aws import connect
from tests.factories import NOW
from tests.jobs_world import use_stand_in_aws

REGION = "eu-west-1"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    use_stand_in_aws(monkeypatch)
    with Cloud(now=lambda: NOW) as cloud:
        cloud.add_user("batch")
        yield cloud


def scanned(cloud: Cloud, name: str = "batch", *, resources: bool = True) -> tuple[Identity, list[Gap]]:
    source = Source(endpoint=cloud.url, regions=(REGION,), resource_policies=resources)
    seen = list(connect(source).scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
    return next(one for one in seen if isinstance(one, Identity) and one.name == name), [
        one for one in seen if isinstance(one, Gap)
    ]


def policy(who: str, action: str, effect: str = "Allow", resource: str = "*") -> str:
    told = {"Effect": effect, "Principal": {"AWS": who}, "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [told]})


def client(cloud: Cloud, service: Any) -> Any:
    return boto3.client(service, endpoint_url=cloud.url, region_name=REGION)


def fill(cloud: Cloud, who: str) -> None:
    """Let a bucket, a key and a queue name somebody; another bucket has no policy, and one names everybody."""
    s3, kms, sqs = (client(cloud, service) for service in ("s3", "kms", "sqs"))
    there = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    reports, plain, public = (f"{name}-{cloud.account}" for name in ("reports", "plain", "public"))
    for name in (reports, plain, public):
        s3.create_bucket(Bucket=name, **there)
    s3.put_bucket_policy(Bucket=reports, Policy=policy(who, "s3:GetObject", resource=f"arn:aws:s3:::{reports}/*"))
    s3.put_bucket_policy(Bucket=public, Policy=policy("*", "s3:PutObject", resource=f"arn:aws:s3:::{public}/*"))
    kms.create_key(Policy=policy(who, "kms:Decrypt"))
    sqs.create_queue(QueueName="jobs", Attributes={"Policy": policy(who, "sqs:SendMessage", "Deny")})
    for one in (s3, kms, sqs):
        one.close()


def test_what_a_resource_gives_somebody_is_a_power_and_no_policy_of_theirs(cloud: Cloud) -> None:
    arn = f"arn:aws:iam::{cloud.account}:user/batch"
    fill(cloud, arn)
    before, _ = scanned(cloud, resources=False)
    now, gaps = scanned(cloud)
    assert gaps == []
    assert powers(before) == ()
    assert {one.power for one in powers(now)} == {Power.DATA_READ, Power.SECRETS}
    assert before.access is not None
    assert now.access is not None
    assert now.access.permissions == before.access.permissions == ()
    given = {(one.via.split()[2], one.allows, one.actions) for one in now.access.by_resources or ()}
    assert given == {("bucket", True, ("s3:GetObject",)), ("key", True, ("kms:Decrypt",))} | {
        ("queue", False, ("sqs:SendMessage",))
    }
    assert all(one.resources != ("*",) for one in now.access.by_resources or ())
    assert "buckets" in says("aws", now.access)
    assert "not from policies of resources" in says("aws", before.access)
    assert least(now, NOW) is None
    assert grew(before.access, now.access).permissions == ()  # nobody looked before: that is no growth


def test_a_boundary_limits_what_resources_give_to_a_role(cloud: Cloud) -> None:
    cloud.add_role("batch-role")
    text = policy("*", "kms:*").replace('"Principal": {"AWS": "*"}, ', "")
    arn = cloud.iam.create_policy("", "/", text, "limits", []).arn
    cloud.iam.put_role_permissions_boundary("batch-role", arn)
    fill(cloud, f"arn:aws:iam::{cloud.account}:role/batch-role")
    role, _ = scanned(cloud, "batch-role")
    assert {one.power for one in powers(role)} == {Power.SECRETS}
    assert role.access is not None
    assert access_of(body_of(role.access)) == role.access


@pytest.mark.parametrize("action", ["kms:ListKeys", "kms:GetKeyPolicy", "sqs:ListQueues", "sqs:GetQueueAttributes"])
def test_each_refusal_is_a_gap_and_stops_no_other(cloud: Cloud, action: str) -> None:
    fill(cloud, f"arn:aws:iam::{cloud.account}:user/batch")
    before, _ = scanned(cloud)
    cloud.faults.deny(action)
    found, gaps = scanned(cloud)
    assert before.access is not None
    assert found.access is not None
    assert found.access.by_resources != before.access.by_resources
    kept = remembered(found.access, before.access, found.scope, gaps)
    assert kept.by_resources == before.access.by_resources  # what could not be read now gives what it gave
    assert [(gap.reason.split(": ")[1], gap.hides) for gap in gaps] == [(action, frozenset({Aspect.PERMISSIONS}))]
    assert Power.DATA_READ in {one.power for one in powers(found)}
