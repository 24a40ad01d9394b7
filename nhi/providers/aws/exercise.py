"""Which services, and of some services which actions, an identity last reached: IAM's own reckoning over 400 days.

AWS makes the answer in the background, so all are asked for first, many at a time, and then looked for with a back-off.
Two calls an identity at the least. Source:
https://docs.aws.amazon.com/IAM/latest/APIReference/API_GenerateServiceLastAccessedDetails.html.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from nhi.identity import Aspect, Exercise, Gap, Identity
from nhi.providers import Exercised
from nhi.providers.aws.calls import AT_ONCE, PAGE, Calls, CannotSee, reading
from nhi.providers.aws.details import utc

ASK, GET = "iam:GenerateServiceLastAccessedDetails", "iam:GetServiceLastAccessedDetails"
_POLLS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)  # seconds before each look for an answer in the making
_KEPT = timedelta(days=400)
_LAG = timedelta(hours=4)


def find_exercises(calls: Calls, identities: Sequence[Identity], now: datetime) -> Iterator[Exercised | Gap]:
    """Yield what each identity reached, or a gap for it; after a refusal nobody else is asked for."""
    if not identities:
        return
    first, *rest = identities
    told = _read(calls, first, now)
    yield told
    if isinstance(told, Gap) and "AccessDenied" in told.reason:
        return
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aws") as pool:
        try:
            yield from pool.map(lambda one: _read(calls, one, now), rest)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # who stops listening must not wait for the rest


def _read(calls: Calls, identity: Identity, now: datetime) -> Exercised | Gap:
    try:
        job = calls.ask(ASK, Arn=identity.principal, Granularity="ACTION_LEVEL")
        with reading(ASK):
            job_id = str(job["JobId"])
        services: dict[str, datetime | None] = {}
        actions: dict[str, datetime | None] = {}
        made_at = now
        for page in _pages(calls, job_id):
            with reading(GET):
                made_at = min(now, utc(page["JobCompletionDate"]))
                for service in page["ServicesLastAccessed"]:
                    _take(service, services, actions)
    except CannotSee as fault:
        return Gap(scope=identity.scope, reason=fault.reason, hides=frozenset({Aspect.PERMISSIONS}))
    exercise = Exercise(
        services=services, actions=actions, seen_from=now - _KEPT, seen_until=made_at - _LAG, source=GET
    )
    return Exercised(identity_key=identity.key, exercise=exercise)


def _take(
    service: Mapping[str, Any], services: dict[str, datetime | None], actions: dict[str, datetime | None]
) -> None:
    name = str(service["ServiceNamespace"])
    at = service.get("LastAuthenticated")
    services[name] = None if at is None else utc(at)
    for action in service.get("TrackedActionsLastAccessed") or ():
        done_at = action.get("LastAccessedTime")
        actions[f"{name}:{action['ActionName']}"] = None if done_at is None else utc(done_at)


def _pages(calls: Calls, job_id: str) -> Iterator[Mapping[str, Any]]:
    """Yield the pages of an answer once it is there. Raises CannotSee."""
    page = _finished(calls, job_id)
    seen: set[str] = set()
    while True:
        yield page
        if not page.get("IsTruncated"):
            return
        marker = str(page.get("Marker") or "")
        if not marker or marker in seen:
            raise CannotSee("BrokenPaging", GET, passing=True)
        seen.add(marker)
        page = calls.ask(GET, JobId=job_id, MaxItems=PAGE, Marker=marker)


def _finished(calls: Calls, job_id: str) -> Mapping[str, Any]:
    for pause in _POLLS:
        time.sleep(pause)
        answer = calls.ask(GET, JobId=job_id, MaxItems=PAGE)
        with reading(GET):
            if answer["JobStatus"] == "FAILED":
                raise CannotSee("JobFailed", GET, passing=True)
            if answer["JobStatus"] == "COMPLETED":
                return answer
    raise CannotSee("JobInProgress", GET, passing=True)
