"""Turning one service account, or one key of one, off and on, and looking at it right before.

Both are named by the account's unique id, which is never used again: an account deleted and made anew under the same
e-mail cannot be hit. The activity analyser is days late, so a look also asks Cloud Monitoring, which is minutes late,
for the days that the analyser has not seen yet. An act is believed when two reads in a row show it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nhi.certificate import Read
from nhi.errors import ProviderError
from nhi.identity import Aspect, CredentialStatus, Gap, scope_of
from nhi.providers import CredentialState, Target
from nhi.providers.gcp import activity
from nhi.providers.gcp.activity import Period, Used
from nhi.providers.gcp.calls import Calls, CannotSee, instant, reading
from nhi.words import sentence

SWITCHED = frozenset({"service_account", "service_account_key"})
_MONITORING = "monitoring.timeSeries.list"
_GET = {"service_account": "iam.serviceAccounts.get", "service_account_key": "iam.serviceAccountKeys.get"}
_ACTIONS = {
    ("service_account", CredentialStatus.INACTIVE): "iam.serviceAccounts.disable",
    ("service_account", CredentialStatus.ACTIVE): "iam.serviceAccounts.enable",
    ("service_account_key", CredentialStatus.INACTIVE): "iam.serviceAccountKeys.disable",
    ("service_account_key", CredentialStatus.ACTIVE): "iam.serviceAccountKeys.enable",
}
_METRIC = {
    "service_account": "iam.googleapis.com/service_account/authn_events_count",
    "service_account_key": "iam.googleapis.com/service_account/key/authn_events_count",
}
_KINDS = {"service_account": activity.ACCOUNTS, "service_account_key": activity.KEYS}
_ANALYSER_LAG, _MONITORING_LAG = timedelta(days=3), timedelta(minutes=10)
_QUERY: dict[str, dict[str, str]] = {"service_account_key": {"publicKeyType": "TYPE_NONE"}}
_UNSEEN = timedelta(days=7)  # looked at in Monitoring where the analyser does not tell up to when it has seen
_READS = 6  # at most; then the act did not take
_PAUSE = 0.5  # seconds between two reads


def look(calls: Calls, target: Target) -> CredentialState | Gap | None:
    """Read one account or key right now. None: it is not there any more."""
    kind = target.credential_kind
    if kind not in SWITCHED:
        return gap(target, f"NotSupported: {kind}")
    try:
        found, now = calls.get_dated(_GET[kind], _url(target), **_QUERY.get(kind, {}))
    except CannotSee as fault:
        return None if fault.code == "NOT_FOUND" else gap(target, fault.reason)
    try:
        last, period, since = last_use(calls, target, now)
    except CannotSee as fault:
        return gap(target, fault.reason)
    return CredentialState(status=_status(found), last_used_at=last, reads=_reads(kind, period, since))


def key_of(target: Target, key_id: str) -> Target:
    """Return the target for another key of the same account."""
    return replace(target, credential_kind="service_account_key", credential_id=key_id)


def last_use(
    calls: Calls, target: Target, now: datetime, to_the_minute: timedelta = timedelta()
) -> tuple[datetime | None, Period, datetime]:
    """Return the last use (None: never), the time that the analyser has seen, and since when Monitoring was asked.

    `now` is what time it is for Google. The analyser tells days; `to_the_minute` is how far back Monitoring, which is
    more exact, is asked at least. Raises CannotSee.
    """
    used = _used(calls, target)
    since = min(used.period.end or now - _UNSEEN, now - to_the_minute)
    recent = _recently_used_at(calls, target, since, now)
    return max((at for at in (used.at, recent) if at is not None), default=None), used.period, since


def switch(acting: Calls, reading_calls: Calls, target: Target, status: CredentialStatus) -> None:
    """Turn this one account or key off or on, and read it back.

    Raises ProviderError, permanent where trying again cannot help.
    """
    kind, what = target.credential_kind, target.credential_id
    if kind not in SWITCHED:
        raise ProviderError(sentence("clouds.gcp_cannot_switch", kind=kind), code="NotSupported", permanent=True)
    off = status is CredentialStatus.INACTIVE
    try:
        acting.post(_ACTIONS[kind, status], f"{_url(target)}:{'disable' if off else 'enable'}", {})
    except CannotSee as fault:
        raise _failure(sentence("clouds.gcp_not_changed", id=what, off=off, reason=fault.reason), fault) from None
    try:
        took = _reads_twice_as(reading_calls, target, status)
    except CannotSee as fault:
        raise _failure(sentence("clouds.gcp_not_read_back", id=what, reason=fault.reason), fault) from None
    if not took:
        raise ProviderError(sentence("clouds.gcp_not_verified", id=what, off=off), code="NotVerified", permanent=False)


def _reads_twice_as(calls: Calls, target: Target, status: CredentialStatus) -> bool:
    kind, agreed = target.credential_kind, 0
    for attempt in range(_READS):
        if attempt:
            time.sleep(_PAUSE)
        found = calls.get(_GET[kind], _url(target), **_QUERY.get(kind, {}))
        agreed = agreed + 1 if _status(found) is status else 0
        if agreed == 2:
            return True
    return False


def _used(calls: Calls, target: Target) -> Used:
    """Return what the analyser tells of its last use. Raises CannotSee."""
    full = f"//iam.googleapis.com/projects/{target.account}/serviceAccounts/{target.identity_name}"
    if target.credential_kind == "service_account_key":
        full = f"{full}/keys/{target.credential_id}"
    return activity.ask_one(calls, target.account, _KINDS[target.credential_kind], full)


def _reads(kind: str, period: Period, since: datetime) -> tuple[Read, ...]:
    """Return what was read, for the certificate of an act."""
    of_key = kind == "service_account_key"
    hidden = sentence("clouds.gcp_read_key_not" if of_key else "clouds.gcp_read_account_not")
    return (
        Read(
            source=sentence("clouds.gcp_read_analyser"),
            seen_from=period.start,
            seen_until=since,
            lag=_ANALYSER_LAG,
            hidden=hidden,
        ),
        Read(
            source=sentence("clouds.gcp_read_monitoring"),
            seen_from=since,
            seen_until=None,
            lag=_MONITORING_LAG,
            hidden=hidden,
        ),
    )


def _recently_used_at(calls: Calls, target: Target, start: datetime, now: datetime) -> datetime | None:
    told = f'metric.type="{_METRIC[target.credential_kind]}" AND resource.labels.unique_id="{target.identity_key}"'
    if target.credential_kind == "service_account_key":
        told += f' AND metric.labels.key_id="{target.credential_id}"'
    interval = {"interval.startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "interval.endTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    url = f"monitoring.googleapis.com/v3/projects/{target.account}/timeSeries"
    used = []
    for page in calls.pages(_MONITORING, url, filter=told, view="FULL", **interval):
        with reading(_MONITORING):
            used += [_used_at(point) for series in page.get("timeSeries", ()) for point in series.get("points", ())]
    return max((at for at in used if at is not None), default=None)


def _used_at(point: dict[str, Any]) -> datetime | None:
    return instant(point["interval"]["endTime"]) if int(point["value"].get("int64Value", 0)) > 0 else None


def _url(target: Target) -> str:
    account = f"iam.googleapis.com/v1/projects/{target.account}/serviceAccounts/{target.identity_key}"
    return account if target.credential_kind == "service_account" else f"{account}/keys/{target.credential_id}"


def _status(found: dict[str, Any]) -> CredentialStatus:
    return CredentialStatus.INACTIVE if found.get("disabled") else CredentialStatus.ACTIVE


def _failure(message: str, fault: CannotSee) -> ProviderError:
    return ProviderError(message, code=fault.code, permanent=not fault.passing)


def gap(target: Target, reason: str) -> Gap:
    """Return the gap of an account whose keys and their use could not be seen."""
    scope = scope_of("gcp", target.account, "service_account", target.identity_name)
    return Gap(scope=scope, reason=reason, hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}))
