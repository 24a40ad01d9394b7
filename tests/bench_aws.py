"""How few calls, how fast and how small a scan of a large account is. `make bench`, or `python tests/bench_aws.py`.

The account has 1,000 users with a key each and 1,000 roles; 100 of the keys are unused, and so flagged. The cloud
runs in one process and each scan in a new one, so that what is measured is the scanner. Ends with 1 if a target is
missed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nhi.identity import Credential, Gap, Identity  # noqa: E402
from nhi.policy import Source  # noqa: E402
from nhi.providers import Memory  # noqa: E402
from nhi.providers.aws import connect  # noqa: E402

USERS = 1000
ROLES = 1000
FLAGGED = int(os.environ.get("BENCH_FLAGGED", "100"))
NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
CLOUDS = {"plain": {}, "slow": {"latency": 0.05}, "throttled": {"throttle": 20.0}}


def serve() -> None:
    """Run the three clouds until the input closes; print where they are."""
    from demo.cloud import Cloud

    clouds = {name: Cloud(now=lambda: NOW).start() for name in CLOUDS}
    for name, cloud in clouds.items():
        for number in range(USERS):
            old, user = NOW - timedelta(days=400, minutes=number), f"user-{number:04}"
            used = NOW - timedelta(days=200 if number < FLAGGED else 1)
            cloud.add_user(user, created_at=old, tags={"owner": f"person-{number % 50}@example.com"})
            cloud.add_access_key(user, created_at=old, last_used_at=used)
        for number in range(ROLES):
            cloud.add_role(f"role-{number:04}", created_at=NOW - timedelta(days=500), last_used_at=NOW)
        for fault, value in CLOUDS[name].items():
            setattr(cloud.faults, fault, value)
    print(json.dumps({name: cloud.url for name, cloud in clouds.items()}), flush=True)
    sys.stdin.read()


def scan(url: str) -> None:
    """Scan once with what stdin remembers; print what it cost and what it found."""
    known = {(user, key): one for user, key, one in json.loads(sys.stdin.read())}
    provider = connect(Source(endpoint=url))
    started = time.perf_counter()
    seen = list(provider.scan(memory=Memory(credential_ids=known), matters=is_flagged, now=NOW))
    seconds = time.perf_counter() - started
    identities = [one for one in seen if isinstance(one, Identity)]
    keys = [(one.key, key) for one in identities for key in one.credentials if key.kind == "access_key"]
    ids = [[user, key.key, key.external_id] for user, key in keys if key.external_id]
    outcome = {
        "calls": sum(provider.api_calls.values()),
        "seconds": seconds,
        "identities": len(identities),
        "ids": ids,
        "gaps": [f"{one.scope}: {one.reason}" for one in seen if isinstance(one, Gap)],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(outcome))


def is_flagged(_: Identity, credential: Credential) -> bool:
    used_at = credential.last_used_at or credential.created_at
    return used_at is not None and NOW - used_at > timedelta(days=90)


def scanned(url: str, known: list[Any]) -> dict[str, Any]:
    """Scan in a process of its own."""
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, __file__, "scan", url],
        input=json.dumps(known),
        env=os.environ | keys,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def lines(urls: dict[str, str]) -> Iterator[tuple[str, float, float, bool]]:
    """Yield what was measured, each with its target and whether it is met."""
    first = scanned(urls["plain"], [])
    again = scanned(urls["plain"], first["ids"])
    slow = scanned(urls["slow"], [])
    throttled = scanned(urls["throttled"], [])
    runs = (first, again, slow, throttled)
    missing = sum(USERS + ROLES - run["identities"] + FLAGGED - len(run["ids"]) + len(run["gaps"]) for run in runs)
    for what, value, target in (
        ("calls, first scan", first["calls"], 1.1 * (10 + FLAGGED)),
        ("calls, unchanged second scan", again["calls"], 14),
        ("seconds at 50 ms a call", slow["seconds"], 5.0),
        ("seconds at 20 calls a second", throttled["seconds"], 60.0),
        ("calls at 20 calls a second", throttled["calls"], float("inf")),
        ("lost: identities, ids or gaps, all runs", missing, 0),
        ("peak megabytes", max(run["megabytes"] for run in runs), 150),
    ):
        yield what, value, target, value <= target


def main() -> int:
    server = subprocess.Popen(
        [sys.executable, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        measured = list(lines(json.loads(server.stdout.readline())))
    finally:
        server.communicate()
    print(f"{USERS} users, {ROLES} roles, {FLAGGED} users with a flagged key")
    for what, value, target, met in measured:
        print(f"  {what:42}{value:10.2f}   target {target:8.2f}   {'met' if met else 'MISSED'}")
    return 0 if all(met for *_, met in measured) else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["scan", address]:
            scan(address)
        case _:
            raise SystemExit(main())
