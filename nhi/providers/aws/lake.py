"""Activity by CloudTrail Lake: one query a reading, of the columns that profiles need. AWS bills what it scans."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.activity import Use
from nhi.identity import Aspect, Gap
from nhi.policy_activity import Activity
from nhi.providers import Batch, Reading
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.cloudtrail import use_of

LATE = timedelta(minutes=30)
STEP = timedelta(days=1)  # of the past, by one query
_COLUMNS = {
    "eventID": "eventID",
    "eventTime": "eventTime",
    "eventSource": "eventSource",
    "eventName": "eventName",
    "sourceIPAddress": "sourceIPAddress",
    "userAgent": "userAgent",
    "errorCode": "errorCode",
    "kind": "userIdentity.type",
    "principal": "userIdentity.principalId",
    "accessKey": "userIdentity.accessKeyId",
    "issuer": "userIdentity.sessionContext.sessionIssuer.principalId",
}
_PATIENCE = 300.0  # seconds for one query
_PAUSE = 1.0
_PAGE = 1000


def read(calls: Calls, store: str, going: Reading, limits: Activity, now: datetime) -> Iterator[Batch | Gap]:
    """Yield what an event data store (its ARN) tells since the last reading, then the days before the first one."""
    known = going.positions.get(store, {})
    until = datetime.fromisoformat(known["until"]) if "until" in known else None
    since = datetime.fromisoformat(known["since"]) if "since" in known else now
    try:
        begin = until - LATE if until else now - STEP
        uses = _query(calls, store, begin, now)
        since = min(since, begin)
        yield Batch(place=store, uses=uses, position={"until": now.isoformat(), "since": since.isoformat()})
        while since > now - limits.history and not going.ends():
            begin = max(since - STEP, now - limits.history)
            uses = _query(calls, store, begin, since)
            since = begin
            yield Batch(place=store, uses=uses, position={"until": now.isoformat(), "since": since.isoformat()})
    except CannotSee as fault:
        yield Gap(scope="aws", reason=f"{fault.reason} ({store})", hides=frozenset({Aspect.ACTIVITY}))


def _query(calls: Calls, store: str, begin: datetime, end: datetime) -> Sequence[Use]:
    """Ask for a stretch of time, and wait for the answer. Raises CannotSee."""
    region, name = store.split(":")[3], store.rpartition("/")[2]
    columns = ", ".join(f"{path} AS {alias}" if path != alias else path for alias, path in _COLUMNS.items())
    # Nothing of a person or a cloud is in this: the name was checked by policy, the times are our own.
    statement = f"SELECT {columns} FROM {name} WHERE eventTime >= '{_sql(begin)}' AND eventTime < '{_sql(end)}'"  # noqa: S608
    with reading("cloudtrail:StartQuery"):
        asked = calls.ask("cloudtrail:StartQuery", region=region, QueryStatement=statement)["QueryId"]
    uses: list[Use] = []
    more: dict[str, str] = {}
    waited = 0.0
    while True:
        page = calls.ask("cloudtrail:GetQueryResults", region=region, QueryId=asked, MaxQueryResults=_PAGE, **more)
        with reading("cloudtrail:GetQueryResults"):
            status = page["QueryStatus"]
            if status in ("FAILED", "CANCELLED", "TIMED_OUT"):
                raise CannotSee(f"Query{status.title().replace('_', '')}", "cloudtrail:GetQueryResults", passing=True)
            if status != "FINISHED":
                waited += _PAUSE
                if waited > _PATIENCE:
                    raise CannotSee("QueryTooSlow", "cloudtrail:GetQueryResults", passing=True)
                time.sleep(_PAUSE)
                continue
            uses += [use for row in page.get("QueryResultRows", ()) if (use := _use(row)) is not None]
        if not page.get("NextToken"):
            return uses
        more = {"NextToken": page["NextToken"]}


def _sql(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _use(row: Sequence[Mapping[str, str]]) -> Use | None:
    """Read one row: a list of maps of one column each."""
    told = {name: value for column in row for name, value in column.items() if value not in ("", "null")}
    caller: dict[str, Any] = {"type": told.get("kind"), "principalId": told.get("principal")}
    caller["accessKeyId"] = told.get("accessKey")
    caller["sessionContext"] = {"sessionIssuer": {"principalId": told.get("issuer")}}
    at = told.get("eventTime", "").partition(".")[0].replace(" ", "T") + "Z"
    use = use_of({**told, "eventTime": at, "userIdentity": caller})
    return use if use is not None and use.who else None
