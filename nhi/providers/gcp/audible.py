"""What Cloud Audit Logs tell of an account or a key while it is off: who still calls with it (logging entries:list).

Google keeps no trace of a token that it refuses to make. What shows are calls with tokens that were taken before, which
hold for an hour, and attempts to act as an account, where the project logs them. Our own acts on it are no such calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from json import dumps
from typing import Any

from nhi.certificate import Caller
from nhi.providers import Target
from nhi.providers.gcp.calls import Calls, instant, reading
from nhi.providers.gcp.logs import ACTION
from nhi.screaming import Hearing
from nhi.words import sentence

_URL = "logging.googleapis.com/v2/entries:list"
_LAG = timedelta(minutes=15)  # how late an entry may come
_MOST = 100  # entries; one is enough to end a step
_LOGS = '(log_id("cloudaudit.googleapis.com/activity") OR log_id("cloudaudit.googleapis.com/data_access"))'


def hearing(target: Target) -> Hearing:
    """Say what can be heard of a target while it is off. Pure."""
    of_key = target.credential_kind == "service_account_key"
    says = sentence("clouds.gcp_hears_key" if of_key else "clouds.gcp_hears_account")
    return Hearing(audible=True, says=says, lag=_LAG)


def heard(calls: Calls, target: Target, since: datetime) -> Sequence[Caller]:
    """Return calls with a target since an instant, oldest first. Raises CannotSee."""
    body = {
        "resourceNames": [f"projects/{target.account}"],
        "filter": f'{_LOGS} AND {_calls_with(target)} AND timestamp>="{since:%Y-%m-%dT%H:%M:%SZ}"',
        "orderBy": "timestamp asc",
        "pageSize": _MOST,
    }
    page = next(iter(calls.posted_pages(ACTION, _URL, body)))
    with reading(ACTION):
        return [_caller(entry) for entry in page.get("entries", ()) if instant(entry["timestamp"]) >= since]


def _calls_with(target: Target) -> str:
    """Return the filter of calls with a target, in the language of Cloud Logging."""
    caller = "protoPayload.authenticationInfo"
    if target.credential_kind == "service_account_key":
        return f"{caller}.serviceAccountKeyName:{dumps(f'/keys/{target.credential_id}')}"
    # What acts as it is told under the account's own name; what is done to it (our act, too) under another service.
    acts_as = (
        'protoPayload.serviceName="iamcredentials.googleapis.com"'
        f" AND resource.labels.unique_id={dumps(target.identity_key)}"
    )
    return f"({caller}.principalEmail={dumps(target.identity_name)} OR ({acts_as}))"


def _caller(entry: Mapping[str, Any]) -> Caller:
    told = entry["protoPayload"]
    around = told.get("requestMetadata") or {}
    service = str(told.get("serviceName", "")).partition(".")[0]
    return Caller(
        at=instant(entry["timestamp"]),
        who=(told.get("authenticationInfo") or {}).get("principalEmail"),
        where=around.get("callerIp"),
        what=f"{service}:{told.get('methodName', '')}",
        tool=around.get("callerSuppliedUserAgent"),
    )
