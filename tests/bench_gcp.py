"""How few calls, how fast and how small a scan of a large organisation is: `make bench`.

The organisation has 1,000 projects, each with 10 accounts; half of the accounts have a key of ours, all have one of
Google's own, and one in ten was never used. The cloud runs in one process, 50 ms behind every answer, and each scan in
a new one, so that what is measured is the scanner. Ends with 1 if a target is missed.

The least number of calls. Cloud Asset gives 500 results a page, so resources and policies cost their number over 500,
rounded up: no other list shows more accounts or keys at once, but for assets.list with 1,000 a page, which has a fourth
of the quota. Last use can only be asked a project at a time (activities:query takes no other parent), accounts and keys
apart: one call for each project with accounts, one for each with keys of ours. When never-used accounts were made is in
projects' logs, 100 projects a call. Who may act for people of Workspace is in the organisation's log: one call.
"""

from __future__ import annotations

import json
import math
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

from nhi.identity import Gap, Identity  # noqa: E402
from nhi.policy import Source  # noqa: E402
from nhi.providers import Memory  # noqa: E402
from nhi.providers.gcp import connect  # noqa: E402
from tests.gcp_fake import ORGANIZATION, Google  # noqa: E402

PROJECTS = int(os.environ.get("BENCH_PROJECTS", "1000"))
ACCOUNTS = 10  # a project
KEYS = PROJECTS * ACCOUNTS // 2
NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
CLOUDS: dict[str, dict[str, float]] = {"slow": {"latency": 0.05}, "throttled": {"throttle": 60.0}}


def fill(google: Google) -> None:
    old = NOW - timedelta(days=390)
    for number in range(PROJECTS):
        project = google.add_project(f"project-{number:04}", owner=f"person-{number % 50}")
        for place in range(ACCOUNTS):
            used = None if place == 9 else NOW - timedelta(days=200 if place == 8 else 5)
            account = google.add_account(project, f"sa-{place}", made_at=old, last_used_at=used, by="ana@example.com")
            google.add_key(account, made_at=NOW - timedelta(days=9), kind="SYSTEM_MANAGED")
            if place % 2:
                google.add_key(account, made_at=old, last_used_at=used, by="ana@example.com")
        google.bind("roles/owner", "user:ana@example.com", on=project)


def serve() -> None:
    """Run the clouds until the input closes; print where they are."""
    clouds = {name: Google(now=lambda: NOW, checked=False).start() for name in CLOUDS}
    for name, google in clouds.items():
        fill(google)
        for fault, value in CLOUDS[name].items():
            setattr(google, fault, value)
    print(json.dumps({name: google.url for name, google in clouds.items()}), flush=True)
    sys.stdin.read()


def scan(url: str) -> None:
    """Scan once; print what it cost and what it found."""
    provider = connect(Source(provider="gcp", scope=ORGANIZATION, endpoint=url))
    started = time.perf_counter()
    seen = list(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW))
    seconds = time.perf_counter() - started
    identities = [one for one in seen if isinstance(one, Identity)]
    credentials = [credential for one in identities for credential in one.credentials]
    outcome = {
        "calls": sum(provider.api_calls.values()),
        "seconds": seconds,
        "accounts": len(identities),
        "keys": sum(credential.kind == "service_account_key" for credential in credentials),
        "undated": sum(one.last_used_at is None and one.created_at is None for one in credentials),
        "gaps": len([one for one in seen if isinstance(one, Gap)]),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(outcome))


def scanned(url: str) -> dict[str, Any]:
    """Scan in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "scan", url], capture_output=True, text=True, check=True)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def least() -> int:
    """Return the number of calls below which nobody can see all this; the module's head says why."""
    resources = PROJECTS + PROJECTS * ACCOUNTS * 2 + KEYS  # projects, accounts with Google's own key each, our keys
    return math.ceil(resources / 500) + math.ceil(PROJECTS / 500) + 2 * PROJECTS + math.ceil(PROJECTS / 100) + 1


def lines(urls: dict[str, str]) -> Iterator[tuple[str, float, float, bool]]:
    """Yield what was measured, each with its target and whether it is met."""
    slow, throttled = scanned(urls["slow"]), scanned(urls["throttled"])
    runs = (slow, throttled)
    missing = sum(
        PROJECTS * ACCOUNTS - run["accounts"] + KEYS - run["keys"] + run["gaps"] + run["undated"] for run in runs
    )
    for what, value, target in (
        (f"calls (the least is {least()})", slow["calls"], 1.2 * least()),
        ("seconds at 50 ms a call", slow["seconds"], 90.0),
        ("peak megabytes", max(run["megabytes"] for run in runs), 300.0),
        ("seconds at 60 calls a second", throttled["seconds"], 180.0),
        ("calls at 60 calls a second", throttled["calls"], 2 * least()),
        ("lost: accounts, keys, dates or gaps, both", missing, 0),
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
    print(f"{PROJECTS} projects, {PROJECTS * ACCOUNTS} accounts, {KEYS} keys of ours")
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
