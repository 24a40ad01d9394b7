"""What buckets, keys and queues themselves let users and roles of their account do; where the source asks for it.

A resource's own policy can give an identity what none of its policies does. Read are statements that name a user or
role of the account; what a resource leaves to everybody is no power of somebody in particular. One list of each kind
and one call a resource: buckets of the whole account, keys (KMS) and queues (SQS) in the regions that the source names.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from nhi.identity import Aspect, Gap, Need, Permission, scope_of
from nhi.providers.aws.calls import AT_ONCE, Calls, CannotSee, reading
from nhi.providers.aws.policies import UnreadablePolicy, granted
from nhi.words import sentence

_WHY = {
    "s3:ListAllMyBuckets": "lists the account's buckets",
    "s3:GetBucketPolicy": "tells whom a bucket's own policy lets do what",
    "kms:ListKeys": "lists keys",
    "kms:GetKeyPolicy": "tells whom a key's own policy lets do what",
    "sqs:ListQueues": "lists queues",
    "sqs:GetQueueAttributes": "tells whom a queue's own policy lets do what",
}
PERMISSIONS = tuple(Need(action=action, why=why) for action, why in _WHY.items())
_BUCKETS = "s3:ListBuckets"  # the call's name, where its permission has another
_NONE = frozenset({"NoSuchBucketPolicy", "NotFoundException"})  # there is none, or it is gone since it was listed


@dataclass(frozen=True, kw_only=True)
class Given:
    """What resources give, by the ARN of a user or role, and globs of where what could not be read would come from."""

    to: Mapping[str, tuple[Permission, ...]]
    unread: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Resource:
    """One resource, and how its policy is read (None: it has none)."""

    arn: str
    words: str  # "bucket reports"
    read: Callable[[], str | None]

    @property
    def via(self) -> str:
        return _via(self.words)


def _via(words: str) -> str:
    return f"policy of {words}"


def read(calls: Calls, account: str, regions: Sequence[str]) -> tuple[Given, list[Gap]]:
    """Return what the resources of an account give to its users and roles, and gaps for what could not be read."""
    found: dict[str, list[Permission]] = defaultdict(list)
    faults: dict[str, int] = {}
    unread: set[str] = set()
    resources: list[_Resource] = []
    regional = (("key", _keys), ("queue", _queues))
    listings = [("bucket", _buckets(calls))]
    listings += [(kind, list_(calls, region)) for region in regions for kind, list_ in regional]
    for kind, listing in listings:
        try:
            resources += listing
        except CannotSee as fault:
            faults[fault.reason] = faults.get(fault.reason, 0) + 1
            unread.add(_via(f"{kind} *"))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aws") as pool:
        for resource, told in zip(resources, pool.map(_said, resources), strict=True):
            if isinstance(told, CannotSee):
                faults[told.reason] = faults.get(told.reason, 0) + 1
                unread.add(resource.via)
                continue
            for who, permission in told:
                if f":{account}:" in who:
                    found[who].append(permission)
    scope, hides = scope_of("aws", account), frozenset({Aspect.PERMISSIONS})
    gaps = [Gap(scope=scope, reason=_reason(reason, count), hides=hides) for reason, count in faults.items()]
    return Given(to={who: tuple(given) for who, given in found.items()}, unread=tuple(sorted(unread))), gaps


def _reason(reason: str, count: int) -> str:
    return sentence("clouds.aws_gap_times", reason=reason, count=count) if count > 1 else reason


def _said(resource: _Resource) -> list[tuple[str, Permission]] | CannotSee:
    try:
        document = resource.read()
    except CannotSee as fault:
        return [] if fault.code in _NONE else fault
    try:
        return list(granted(json.loads(document), resource.arn, resource.via)) if document else []
    except (UnreadablePolicy, ValueError):
        return CannotSee("MalformedPolicy", resource.words, passing=False)


def _buckets(calls: Calls) -> Iterator[_Resource]:
    for page in _pages(calls, _BUCKETS, None, "ContinuationToken", "ContinuationToken"):
        with reading(_BUCKETS):
            for one in page.get("Buckets") or ():
                yield _bucket(calls, str(one["Name"]), one.get("BucketRegion"))


def _bucket(calls: Calls, name: str, region: str | None) -> _Resource:
    def policy() -> str | None:
        answer = calls.ask("s3:GetBucketPolicy", region=region, Bucket=name)
        return str(answer.get("Policy") or "")

    return _Resource(arn=f"arn:aws:s3:::{name}", words=f"bucket {name}", read=policy)


def _keys(calls: Calls, region: str) -> Iterator[_Resource]:
    for page in _pages(calls, "kms:ListKeys", region, "NextMarker", "Marker"):
        with reading("kms:ListKeys"):
            for one in page["Keys"]:
                yield _key(calls, region, str(one["KeyArn"]))


def _key(calls: Calls, region: str, arn: str) -> _Resource:
    def policy() -> str | None:
        answer = calls.ask("kms:GetKeyPolicy", region=region, KeyId=arn, PolicyName="default")
        return str(answer.get("Policy") or "")

    return _Resource(arn=arn, words=f"key {arn.rpartition('/')[2]}", read=policy)


def _queues(calls: Calls, region: str) -> Iterator[_Resource]:
    for page in _pages(calls, "sqs:ListQueues", region, "NextToken", "NextToken", MaxResults=1000):
        with reading("sqs:ListQueues"):
            for url in page.get("QueueUrls") or ():
                yield _queue(calls, region, str(url))


def _queue(calls: Calls, region: str, url: str) -> _Resource:
    *_, account, name = url.split("/")

    def policy() -> str | None:
        answer = calls.ask("sqs:GetQueueAttributes", region=region, QueueUrl=url, AttributeNames=["Policy"])
        return str((answer.get("Attributes") or {}).get("Policy") or "")

    return _Resource(arn=f"arn:aws:sqs:{region}:{account}:{name}", words=f"queue {name}", read=policy)


def _pages(
    calls: Calls, action: str, region: str | None, following: str, ask: str, **asked: Any
) -> Iterator[Mapping[str, Any]]:
    """Yield the pages of a list. Raises CannotSee."""
    seen: set[str] = set()
    while True:
        page = calls.ask(action, region=region, **asked)
        yield page
        mark = page.get(following)
        if not mark:
            return
        if mark in seen:
            raise CannotSee("BrokenPaging", action, passing=True)
        seen.add(mark)
        asked[ask] = mark
