"""What is configured, what works, and for each failing check what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from slack_sdk.errors import SlackApiError
from sqlalchemy import func, select

from bot import directory
from jobs import checkpoint
from jobs.program import Program, open_program
from nhi import ledger, roster, settings
from nhi.database import reading
from nhi.errors import NhiError
from nhi.identity import Gap
from nhi.providers import Memory
from nhi.tables import DeliveryRow, DirectoryPullRow, ScanRow


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at. `fix` says what to do; empty where nothing is to be done."""

    name: str
    status: str  # ok, warn, fail
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Check]:
    """Look at everything that can be looked at; a failing check never stops the others that can still be made."""
    try:
        chosen = settings.read()
        program = open_program(chosen)
    except NhiError as error:
        return [Check(name="settings", status="fail", detail=str(error), fix=str(error))]
    try:
        return list(_checks(program))
    finally:
        program.engine.dispose()


def _checks(program: Program) -> Iterator[Check]:
    yield Check(name="database", status="ok", detail=f"{program.engine.dialect.name}, schema up to date")
    yield _policy(program)
    yield from _slack(program)
    yield _people(program)
    yield from _sources(program)
    yield _scanned(program)
    yield _outbox(program)
    yield _ledger(program)


def _people(program: Program) -> Check:
    with reading(program.sessions) as session:
        at = session.get(DirectoryPullRow, directory.SLACK)
        here = roster.count(session)
    if at is None or at.finished_at is None:
        detail = f"{here} people were looked up in Slack one by one; everybody is read once a day by `nhi up`"
        return Check(name="people", status="ok", detail=detail)
    if at.finished_at < program.clock() - timedelta(days=3):
        detail = f"everybody in Slack was last read on {at.finished_at:%-d %B %Y}"
        return Check(name="people", status="warn", detail=detail, fix="Run `nhi people pull`; it says what is amiss.")
    return Check(name="people", status="ok", detail=f"{here} people in Slack, last read {at.finished_at:%-d %B %Y}")


def _policy(program: Program) -> Check:
    policy, path = program.policy(), program.settings.nhi_policy
    if not path.exists():
        fix = f'Write {path} with [people] admins = ["you@…"]; every other key has a default.'
        return Check(name="policy", status="warn", detail="no policy file: the defaults are in force", fix=fix)
    if not policy.people.admins:
        fix = f'Set [people] admins = ["you@…"] in {path}: shadow mode sends its cards to them.'
        return Check(name="policy", status="warn", detail="no admin is named", fix=fix)
    mode = policy.remediation.mode
    return Check(name="policy", status="ok", detail=f"{path}; remediation is {mode}")


def _slack(program: Program) -> Iterator[Check]:
    fix = "Run `nhi slack manifest`, create the app, set SLACK_BOT_TOKEN and SLACK_APP_TOKEN (or SLACK_SIGNING_SECRET)."
    if program.slack is None:
        yield Check(name="slack", status="fail", detail="SLACK_BOT_TOKEN is not set", fix=fix)
        return
    try:
        answer = program.slack.auth_test()
        yield Check(name="slack", status="ok", detail=f"signed in to {answer['team']} as {answer['user']}")
    except SlackApiError as error:
        yield Check(name="slack", status="fail", detail=f"Slack says {error.response['error']}", fix=fix)
    except OSError as error:
        fix = "Check the network, a proxy, or SLACK_API_URL."
        yield Check(name="slack", status="fail", detail=f"Slack cannot be reached ({error})", fix=fix)
    yield _incoming(program.settings.socket_mode, program.settings.signing_secret)


def _incoming(socket_mode: bool, signing_secret: Callable[[], str]) -> Check:
    if socket_mode:
        return Check(name="slack incoming", status="ok", detail="Socket Mode")
    try:
        signing_secret()
    except NhiError as error:
        fix = "Set SLACK_APP_TOKEN for Socket Mode, or SLACK_SIGNING_SECRET for HTTP."
        return Check(name="slack incoming", status="fail", detail=str(error), fix=fix)
    return Check(name="slack incoming", status="ok", detail="HTTP")


def _sources(program: Program) -> Iterator[Check]:
    for source in program.policy().sources:
        provider = program.providers[source.provider](source)
        name = f"source {source.provider} {provider.account}"
        first = next(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: False, now=program.clock()))
        if isinstance(first, Gap):
            needed = ", ".join(permission.action for permission in provider.permissions)
            fix = f"Give the reader these permissions: {needed}."
            yield Check(name=name, status="fail", detail=f"cannot be seen: {first.reason}", fix=fix)
        else:
            yield Check(name=name, status="ok", detail="can be read")


def _scanned(program: Program) -> Check:
    with reading(program.sessions) as session:
        last = session.scalar(select(ScanRow).order_by(ScanRow.finished_at.desc()).limit(1))
    if last is None:
        return Check(name="scan", status="warn", detail="nothing was scanned yet", fix="Run `nhi scan`.")
    when = f"{last.finished_at:%-d %B %Y, %H:%M} UTC"
    if not last.complete:
        gaps = "; ".join(f"{gap.scope} ({gap.reason})" for gap in last.gaps[:3])
        return Check(
            name="scan", status="warn", detail=f"the last one, {when}, could not see {gaps}", fix="See README."
        )
    return Check(name="scan", status="ok", detail=f"last on {when}, complete")


def _outbox(program: Program) -> Check:
    with reading(program.sessions) as session:
        dead = session.scalar(select(func.count()).select_from(DeliveryRow).where(DeliveryRow.state == "dead")) or 0
        why = session.scalar(select(DeliveryRow.error).where(DeliveryRow.state == "dead").limit(1))
    if dead:
        fix = "The reason is Slack's own word; once it is mended, `nhi ask` asks again."
        return Check(name="outbox", status="warn", detail=f"{dead} messages could not be said ({why})", fix=fix)
    return Check(name="outbox", status="ok", detail="every message was said or is waiting its turn")


def _ledger(program: Program) -> Check:
    with reading(program.sessions) as session:
        verified = ledger.verify(session)
    if verified.first_wrong is not None:
        detail = f"broken at event {verified.first_wrong}: {verified.why}"
        return Check(name="ledger", status="fail", detail=detail, fix="Keep this database; find out who changed it.")
    detail = f"{verified.events} events, unbroken"
    if program.settings.nhi_signing_key is None:
        fix = "Run `nhi ledger keygen --out nhi-signing.pem` and set NHI_SIGNING_KEY: then each hour is sealed."
        return Check(name="ledger", status="ok", detail=f"{detail}; not sealed, as NHI_SIGNING_KEY is not set", fix=fix)
    try:
        checkpoint.keys(program)
    except NhiError as error:
        return Check(name="ledger", status="fail", detail=str(error), fix="`nhi ledger keygen` makes a key that works.")
    return Check(name="ledger", status="ok", detail=f"{detail}, sealed each hour")
