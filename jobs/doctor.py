"""What is configured, what works, and for each failing check what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, func, select

from bot import deciding, delivery, directory
from bot.slack import ALL_SENDING, UNWELL, Kind, trouble, why_shut
from jobs import checkpoint
from jobs.program import Program, open_database, real_clock, slack_client
from nhi import ledger, oidc, overview, own_power, policy, roster, settings, step_up
from nhi.database import in_a_sentence, open_sessions, reading
from nhi.errors import NhiError
from nhi.identity import Gap
from nhi.policy import Policy
from nhi.providers import Memory, Provider, TellsPowers, providers
from nhi.settings import Settings
from nhi.tables import DeliveryRow, DirectoryPullRow, InboxRow, ScanRow, ScreamStepRow

T = TypeVar("T")


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
    except NhiError as error:
        return [_failed("settings", error)]
    return list(_checks(chosen))


def _failed(name: str, error: NhiError) -> Check:
    """Split an error's sentence where it begins to tell the way out."""
    detail, _, fix = str(error).partition("; ")
    return Check(name=name, status="fail", detail=detail, fix=fix[:1].upper() + fix[1:] or str(error))


def _checks(chosen: Settings) -> Iterator[Check]:
    told = _or_check("policy", lambda: policy.load(chosen.nhi_policy))
    engine = _or_check("database", lambda: open_database(chosen))
    well = "" if isinstance(engine, Check) else f"{engine.dialect.name}, schema up to date"
    yield engine if isinstance(engine, Check) else Check(name="database", status="ok", detail=well)
    yield told if isinstance(told, Check) else _policy(told, chosen.nhi_policy)
    if isinstance(told, Policy) and told.remediation.step_up != "never":
        yield _step_up(chosen)
    yield from _slack(chosen)
    if isinstance(told, Policy):
        yield from _sources(told)
    if isinstance(engine, Check):
        return
    try:
        yield from _kept(_program(chosen, engine, told if isinstance(told, Policy) else Policy()))
    finally:
        engine.dispose()


def _or_check(name: str, look: Callable[[], T]) -> T | Check:
    """Return what was looked for, or the failing check that says why it cannot be had."""
    try:
        with in_a_sentence():
            return look()
    except NhiError as error:
        return _failed(name, error)


def _program(chosen: Settings, engine: Engine, told: Policy) -> Program:
    return Program(
        settings=chosen,
        engine=engine,
        sessions=open_sessions(engine),
        policy=lambda: told,
        clock=real_clock,
        slack=None,
        providers={},
    )


def _kept(program: Program) -> Iterator[Check]:
    """Yield what the database itself tells."""
    looks = {
        "people": _people,
        "scan": _scanned,
        "acts": _acts,
        "inbox": _inbox,
        "outbox": _outbox,
        "ledger": _ledger,
    }
    for name, look in looks.items():
        yield _or_check(name, partial(look, program))


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


def _policy(told: Policy, path: Path) -> Check:
    if not path.exists():
        fix = f'Write {path} with [people] admins = ["you@…"]; every other key has a default.'
        return Check(name="policy", status="warn", detail="no policy file: the defaults are in force", fix=fix)
    if not told.people.admins:
        fix = f'Set [people] admins = ["you@…"] in {path}: shadow mode sends its cards to them.'
        return Check(name="policy", status="warn", detail="no admin is named", fix=fix)
    return Check(name="policy", status="ok", detail=f"{path}; remediation is {told.remediation.mode}")


def _step_up(chosen: Settings) -> Check:
    """Whether the codes that policy asks for can be checked, and the provider that settings name be reached."""
    found = _or_check("step-up", lambda: "; ".join(_ways_to_prove(chosen)))
    return found if isinstance(found, Check) else Check(name="step-up", status="ok", detail=found)


def _ways_to_prove(chosen: Settings) -> Iterator[str]:
    """Yield how people prove who they are. Raises NhiError where a way that the settings name does not work."""
    key, client = chosen.nhi_step_up_key, oidc.client_of(chosen)
    if client is not None:
        oidc.Issuer(client).metadata(real_clock())
        yield f"people sign in at {client.issuer}, which has to know {client.redirect_uri}"
    if client is None or key is not None:
        step_up.check_key(key.get_secret_value() if key else None)
        yield "codes can be checked"


def _slack(chosen: Settings) -> Iterator[Check]:
    fix = "Run `nhi slack manifest`, create the app, set SLACK_BOT_TOKEN and SLACK_APP_TOKEN (or SLACK_SIGNING_SECRET)."
    client = _or_check("slack", lambda: slack_client(chosen))
    if client is None:
        yield Check(name="slack", status="fail", detail="SLACK_BOT_TOKEN is not set", fix=fix)
        return
    if isinstance(client, Check):
        yield client
        return
    try:
        answer = client.auth_test()
        yield Check(name="slack", status="ok", detail=f"signed in to {answer['team']} as {answer['user']}")
    except UNWELL as error:
        what = trouble(error)
        if what.kind is Kind.STOP:
            yield Check(name="slack", status="fail", detail=f"Slack says {what.code}", fix=fix)
        else:
            fix = "Check the network, a proxy, or SLACK_API_URL."
            yield Check(name="slack", status="fail", detail=f"Slack cannot be reached ({what.code})", fix=fix)
    yield _incoming(chosen)


def _incoming(chosen: Settings) -> Check:
    mode, token = ("Socket Mode", chosen.app_token) if chosen.socket_mode else ("HTTP", chosen.signing_secret)
    try:
        token()
    except NhiError as error:
        fix = "Set SLACK_APP_TOKEN for Socket Mode, or SLACK_SIGNING_SECRET for HTTP."
        return Check(name="slack incoming", status="fail", detail=str(error), fix=fix)
    return Check(name="slack incoming", status="ok", detail=mode)


# What keeps a cloud's client from asking at all, by the beginning of a gap's reason.
_NO_WAY_IN = {
    ("NoCredentials", "PartialCredentials", "ProfileNotFound", "UnauthorizedSSO", "SSO", "TokenRetrieval"): (
        "Let AWS's own settings reach the account: AWS_PROFILE, AWS_ACCESS_KEY_ID, or an instance's role;"
        " `aws sts get-caller-identity` tells whether they do."
    ),
    ("ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClient"): (
        "AWS does not take these credentials: get new ones, or set AWS_PROFILE."
    ),
    ("EndpointConnection", "ConnectTimeout", "ReadTimeout", "ConnectionClosed", "ProxyConnection", "SSLError"): (
        "Check the network, a proxy, or AWS_ENDPOINT_URL."
    ),
}


def _sources(told: Policy) -> Iterator[Check]:
    known = providers()
    for source in told.sources:
        provider = known[source.provider](source)
        name = f"source {source.provider} {provider.account}"
        first = next(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: False, now=real_clock()))
        if isinstance(first, Gap):
            needed = ", ".join(permission.action for permission in provider.permissions)
            ways = (fix for signs, fix in _NO_WAY_IN.items() if first.reason.startswith(signs))
            fix = next(ways, f"Give the reader these permissions: {needed}.")
            yield Check(name=name, status="fail", detail=f"cannot be seen: {first.reason}", fix=fix)
        else:
            yield Check(name=name, status="ok", detail="can be read")
            yield from _powers(provider, told)


def _powers(provider: Provider, told: Policy) -> Iterator[Check]:
    """Say what this program may do there, where the provider can tell."""
    if isinstance(provider, TellsPowers):
        for judged in own_power.judge(list(provider.powers()), told):
            yield Check(name=f"power {provider.account}", **asdict(judged))


def _scanned(program: Program) -> Check:
    newest: dict[tuple[str, str], ScanRow] = {}
    with reading(program.sessions) as session:
        for row in session.scalars(select(ScanRow).order_by(ScanRow.finished_at)):
            newest[row.provider, row.account] = row
    if not newest:
        return Check(name="scan", status="warn", detail="nothing was scanned yet", fix="Run `nhi scan`.")
    last = max(newest.values(), key=lambda row: row.finished_at)
    when = f"{last.finished_at:%-d %B %Y, %H:%M} UTC"
    gaps = [f"{gap.scope} ({gap.reason})" for row in newest.values() for gap in row.gaps]
    if gaps:
        more = f", and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        detail = f"the last one, {when}, could not see {'; '.join(gaps[:3])}{more}"
        fix = "Nothing there is called gone or unused. README and docs/permissions.md list what each call needs."
        return Check(name="scan", status="warn", detail=detail, fix=fix)
    if last.finished_at < program.clock() - timedelta(days=2):
        fix = "`nhi up` (or `python -m jobs`) scans once a day; or run `nhi scan`."
        return Check(name="scan", status="warn", detail=f"the last one was on {when}", fix=fix)
    return Check(name="scan", status="ok", detail=f"last on {when}, complete")


def _acts(program: Program) -> Check:
    """Whether anything is off beyond the end of its scream test's step: then no worker runs, or none reaches it."""
    over = program.clock() - timedelta(minutes=10)
    late = select(ScreamStepRow.back_on_at).where(ScreamStepRow.back_at.is_(None), ScreamStepRow.back_on_at < over)
    with reading(program.sessions) as session:
        found = list(session.scalars(late.order_by(ScreamStepRow.back_on_at)))
    if not found:
        return Check(name="acts", status="ok", detail="nothing is off longer than its scream test says")
    number = "1 credential is" if len(found) == 1 else f"{len(found)} credentials are"
    detail = f"{number} off beyond the end of a scream test's step, the first since {found[0]:%-d %B, %H:%M} UTC"
    fix = "Run `nhi remediate`: it turns them on, or says why it cannot. Then see that a worker (`nhi up`) is running."
    return Check(name="acts", status="fail", detail=detail, fix=fix)


def _inbox(program: Program) -> Check:
    """Whether clicks wait that somebody was told had arrived: then neither a bot nor a worker runs, or both fail."""
    over = program.clock() - timedelta(minutes=2)
    late = select(InboxRow.received_at).where(InboxRow.decided_at.is_(None), InboxRow.received_at < over)
    given_up = select(InboxRow.error).where(InboxRow.outcome == deciding.GIVEN_UP).order_by(InboxRow.number.desc())
    with reading(program.sessions) as session:
        found = list(session.scalars(late.order_by(InboxRow.number)))
        lost = list(session.scalars(given_up))
    if found:
        number = "1 click is" if len(found) == 1 else f"{len(found)} clicks are"
        detail = f"{number} acknowledged and not decided, the first since {found[0]:%-d %B, %H:%M} UTC"
        fix = "See that `nhi up` (or `python -m bot`) is running: it decides them. Its log says what fails."
        return Check(name="inbox", status="fail", detail=detail, fix=fix)
    if lost:
        detail = f"{len(lost)} clicks of the last day could not be decided ({lost[0]}); who pressed was told"
        return Check(name="inbox", status="warn", detail=detail, fix="The bot's log has each under a number.")
    return Check(name="inbox", status="ok", detail="every click is decided")


def _outbox(program: Program) -> Check:
    with reading(program.sessions) as session:
        count = select(func.count()).select_from(DeliveryRow)
        dead = overview.unsaid(session, program.clock())
        waiting = session.scalar(count.where(DeliveryRow.state == delivery.WAITING)) or 0
        shut = why_shut(session, ALL_SENDING, program.clock())
    if shut:
        fix = "The reason is Slack's own word; once it is mended, `nhi ask` or a new start of `nhi up` goes on at once."
        detail = f"nothing is sent for now, as Slack said {shut}; {waiting} messages wait"
        return Check(name="outbox", status="warn", detail=detail, fix=fix)
    if dead:
        fix = "The reason is Slack's own word; once it is mended, `nhi ask` asks again."
        number = "1 message" if len(dead) == 1 else f"{len(dead)} messages"
        detail = f"{number} of the last {overview.UNSAID_FOR.days} days could not be said ({dead[-1]})"
        return Check(name="outbox", status="warn", detail=detail, fix=fix)
    told = f"{waiting} messages wait their turn" if waiting else "every message was said"
    return Check(name="outbox", status="ok", detail=told)


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
