"""One AWS account as a thing to ask: session, rate limit, retries, the count of requests, and faults as one error.

Everything that can go wrong between us and AWS comes out of `Calls.ask` as `CannotSee`, whose words become the
reason of a `Gap`. Neither request bodies nor credentials are ever logged or kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore import xform_name
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from nhi.policy import Source
from nhi.providers.pace import Pace

AT_ONCE = 16  # calls in flight: at 50 ms a call this is above any rate that IAM grants
PAGE = 1000  # items a page, IAM's greatest
_ATTEMPTS = 8  # botocore's tries of one call; its back-off then waits about a minute in all. AWS_MAX_ATTEMPTS overrides
_PATIENCE: dict[str, Any] = {"connect_timeout": 5, "read_timeout": 30}  # seconds
_ROUNDS = 4  # how often a call that was throttled through all its attempts is begun again
_TRAIL_REGIONS = {"cn": "cn-north-1", "us-gov": "us-gov-west-1"}  # where IAM's events are, outside the main partition

# What the SDK is known to raise on a broken answer, beside its own two trees: ResponseParserError stands alone, and
# a body of the right shape with a wrong value (a date, a number) ends in one of the plain ones.
_FAULTS = (BotoCoreError, ClientError, ResponseParserError, ValueError, TypeError, KeyError, AttributeError)
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
)
_PASSING = _THROTTLED | {"ServiceFailure", "InternalFailure", "ServiceUnavailable", "ExpiredToken", "RequestTimeout"}
# Where the name in a permission is not that of the SDK's client, or of its events.
_CLIENTS = {"sso": "sso-admin", "access-analyzer": "accessanalyzer"}
_PERMISSIONS = {"sso-admin": "sso", "secrets-manager": "secretsmanager", "accessanalyzer": "access-analyzer"}

# The SDK logs whole requests and answers below this, and some of them hold a new secret.
logging.getLogger("botocore").setLevel(logging.WARNING)


class CannotSee(Exception):
    """A call that did not answer. `reason` is a Gap's reason: "AccessDenied: iam:ListAccessKeys"."""

    def __init__(self, code: str, action: str, *, passing: bool, said_no: bool = False) -> None:
        super().__init__(f"{code}: {action}")
        self.reason = f"{code}: {action}"
        self.code = code
        self.passing = passing  # the same call may answer later
        self.said_no = said_no  # AWS itself refused, so that the call surely changed nothing


@contextmanager
def reading(action: str) -> Iterator[None]:
    """Take values out of an answer: one that lacks them, or has others in their place, raises CannotSee."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CannotSee("MalformedResponse", action, passing=True) from None


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What one session of a role may do at most (an IAM policy), and the name that CloudTrail shows it by."""

    name: str
    policy: str


class Calls:
    """The calls to one account, as one role. Safe to use from many threads.

    With `once`, no call is ever sent a second time: for what, done twice, is not the same as once.
    """

    def __init__(
        self,
        source: Source,
        *,
        role_arn: str | None,
        through: str | None = None,
        once: bool = False,
        scope: Scope | None = None,
    ) -> None:
        """`through` is a role that is taken first, to take `role_arn` from there; `scope` narrows the latter."""
        self._scope = scope
        self._source = source
        self._through = through
        self._once = once
        self._role_arn = role_arn
        self._lock = threading.Lock()
        self._count_lock = threading.Lock()  # its own: clients are made, and may call, under the other
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._session: Session | None = None
        self._pace = Pace(source.calls_a_second)
        self._trail_pace = Pace(min(source.trail_calls_a_second, source.calls_a_second))
        self._rounds = _ROUNDS
        self.made: Counter[str] = Counter()
        self.queries: dict[str, str] = {}

    def ask(self, action: str, *, region: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Make one call ("iam:ListAccessKeys") and return its answer, shaped as botocore's. Raises CannotSee.

        `region` None: where the service has its one place for IAM, else the configured one.
        """
        self.queries.setdefault(action, _query(parameters))
        for attempt in range(self._rounds):
            try:
                return self._ask(action, region, parameters)
            except CannotSee as fault:
                if fault.code not in _THROTTLED or attempt + 1 >= self._rounds:
                    raise
            time.sleep(2**attempt)
        raise AssertionError("unreachable: the last round returns or raises")

    def pages(self, action: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the pages of an IAM list. Raises CannotSee, also where a page tells of a next one but not which."""
        seen: set[str] = set()
        while True:
            page = self.ask(action, MaxItems=PAGE, **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            marker = page.get("Marker")
            if not marker or marker in seen:
                raise CannotSee("BrokenPaging", action, passing=True)
            seen.add(marker)
            parameters["Marker"] = marker

    def trail_regions(self, others: Iterable[str]) -> tuple[str, ...]:
        """Return the region that IAM and STS write their events to, the configured one, and the others, each once."""
        region = Session().get_config_variable("region") or "us-east-1"
        return tuple(dict.fromkeys((_home_of(region), region, *others)))

    def stream(self, action: str, body: Any, size: int) -> Iterator[bytes]:
        """Yield an answer's body in pieces. Raises CannotSee where the connection breaks."""
        try:
            yield from body.iter_chunks(size)
        except _FAULTS as error:
            raise CannotSee(type(error).__name__, action, passing=True) from None

    def close(self) -> None:
        """Close idle connections. The next call opens new ones."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def _ask(self, action: str, region: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
        service, _, operation = action.partition(":")
        try:
            answer: dict[str, Any] = getattr(self._client(service, region), xform_name(operation))(**parameters)
        except ClientError as error:
            raise _from_answer(error, action) from None
        except _FAULTS as error:
            raise CannotSee(type(error).__name__, action, passing=isinstance(error, BotoCoreError)) from None
        return answer

    def _client(self, service: str, region: str | None) -> Any:
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._new_client(service, region)
            return self._clients[service, region]

    def _new_client(self, service: str, wanted: str | None) -> Any:
        if self._session is None:
            self._session = self._new_session()
        region: str = self._session.get_config_variable("region") or "us-east-1"
        if service == "cloudtrail":
            region = _home_of(region)
        return self._session.create_client(
            _CLIENTS.get(service, service),
            region_name=wanted or region,
            endpoint_url=self._source.endpoint,
            config=self._config(self._session),
        )

    def _config(self, session: Session) -> Config:
        chosen = session.get_config_variable("max_attempts")
        self._rounds = 1 if chosen or self._once else _ROUNDS  # who sets AWS's own limit means it
        attempts = 1 if self._once else int(chosen or _ATTEMPTS)
        return Config(
            retries={"mode": "adaptive", "total_max_attempts": attempts},
            **_PATIENCE,
            max_pool_connections=AT_ONCE,
            user_agent_extra="nhi-audit",
        )

    def _new_session(self) -> Session:
        session = self._counted()
        for role_arn, scope in ((self._through, None), (self._role_arn, self._scope)):
            if role_arn is None:
                continue
            assumed = _Assumed(session, self._source, role_arn, scope)
            session = self._counted()
            session.get_component("credential_provider").insert_before("env", assumed)
        return session

    def _counted(self) -> Session:
        session = Session()
        session.register_component("data_loader", _models(session.get_config_variable("data_path")))
        session.register("before-send", self._before_send)
        return session

    def _before_send(self, **event: Any) -> None:
        """Count and pace every request that really goes out, retries and the taking of roles included."""
        _, service, operation = event["event_name"].split(".")
        service = _PERMISSIONS.get(service, service)
        with self._count_lock:
            self.made[f"{service}:{operation}"] += 1
        (self._trail_pace if service == "cloudtrail" else self._pace).wait()


def _home_of(region: str) -> str:
    """Return where IAM and STS write their events, in the partition of a region."""
    return next((home for prefix, home in _TRAIL_REGIONS.items() if region.startswith(prefix)), "us-east-1")


@cache
def _models(path: str | None) -> Any:
    """Return the loader of botocore's service models: the same for all accounts, and slow to read for each."""
    return create_loader(path)


class _Assumed(CredentialProvider):  # type: ignore[misc, unused-ignore]  # botocore's stubs call the base Any
    """Credentials of a role, taken and renewed by botocore's own machinery (sts:AssumeRole with an external id)."""

    METHOD = "nhi-assume-role"
    CANONICAL_NAME = None

    def __init__(self, session: Session, source: Source, role_arn: str, scope: Scope | None) -> None:
        super().__init__(session)
        self._scope = scope
        self._base = session
        self._source = source
        self._role_arn = role_arn

    def load(self) -> Any:
        mine = self._base.get_credentials()
        if mine is None:
            return None  # botocore goes on to say NoCredentialsError, which is true
        extra = {"RoleSessionName": "nhi-audit"}
        if self._scope is not None:
            extra = {"RoleSessionName": self._scope.name, "Policy": self._scope.policy}
        if self._source.external_id is not None:
            extra["ExternalId"] = self._source.external_id
        fetcher = AssumeRoleCredentialFetcher(self._sts, mine, self._role_arn, extra_args=extra)
        return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method=self.METHOD)

    def _sts(self, service: str, **credentials: Any) -> Any:
        region = self._base.get_config_variable("region") or "us-east-1"
        return self._base.create_client(
            service, region_name=region, endpoint_url=self._source.endpoint, config=Config(**_PATIENCE), **credentials
        )


def _query(parameters: Mapping[str, Any]) -> str:
    """Return what was asked for, without what names one identity: `Filter=User,Role; MaxItems=1000`."""
    told = {name: parameters[name] for name in ("AllUsers", "Filter", "MaxItems", "MaxResults") if name in parameters}
    listed = {name: ",".join(value) if isinstance(value, list) else value for name, value in told.items()}
    return "; ".join(f"{name}={value}" for name, value in listed.items())


def _from_answer(error: ClientError, action: str) -> CannotSee:
    """Turn AWS's own error into ours. One that came while taking the role names sts:AssumeRole."""
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(said.get("Code") or status or "Unknown")
    asked = "sts:AssumeRole" if error.operation_name == "AssumeRole" else action
    passing = code in _PASSING or status >= 500
    return CannotSee(code, asked, passing=passing, said_no=400 <= status < 500 and not passing)
