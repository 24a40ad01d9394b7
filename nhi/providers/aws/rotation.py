"""A second access key, put straight into AWS Secrets Manager.

The secret lives in one local variable between CreateAccessKey's answer and PutSecretValue's request. It is in no error
(ours name codes and actions only), no log (calls.py keeps the SDK from logging bodies), no row, and is never read
back: there is no call of GetSecretValue, and no permission for it.

CreateAccessKey is asked once and never retried: asked twice, it makes two keys. PutSecretValue may be: a version has
the name that was fixed before, and is written once under it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nhi.errors import ProviderError
from nhi.identity import Aspect, Gap, Need, scope_of
from nhi.providers import Target
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.users import list_keys, with_use
from nhi.providers.aws.who import known, renamed
from nhi.rotation import Key, Place, Ready, Stored
from nhi.words import sentence

KEYS_AT_MOST = 2  # that IAM allows a user
MARK = "nhi-rotates"  # the tag by which a secret says for whom it may be written
PERMISSIONS = tuple(
    Need(action=action, why=why, writes=True)
    for action, why in {
        "iam:CreateAccessKey": "makes the second key of one user",
        "secretsmanager:DescribeSecret": "tells whether the secret is there and for whom; never reads its value",
        "secretsmanager:CreateSecret": "makes the secret where there is none yet, empty",
        "secretsmanager:TagResource": "marks a secret that it makes, by the tag `nhi-rotates`",
        "secretsmanager:PutSecretValue": "puts the new key into the secret",
        "secretsmanager:UpdateSecretVersionStage": "makes the former value current again, on undo",
        "secretsmanager:RotateSecret": "asks a secret with rotation of its own to rotate",
    }.items()
)
_SLACK = timedelta(minutes=15)
_CREATE, _PUT, _DESCRIBE = "iam:CreateAccessKey", "secretsmanager:PutSecretValue", "secretsmanager:DescribeSecret"
_WHERE = {"ResourceNotFound", "ResourceNotFoundException"}


def keys(calls: Calls, target: Target) -> tuple[Key, ...] | Gap | None:
    """Read a user's keys and their last use; None: the user is gone. One that has another name now is a Gap."""
    try:
        if known(calls, target) is None:
            moved = renamed(calls, target)
            return (
                None
                if moved is None
                else _gap(target, sentence("clouds.aws_blocked_by_name", name=moved.identity_name))
            )
        found = [with_use(calls, key) for key in list_keys(calls, target.identity_name)]
        with reading("iam:ListAccessKeys"):
            return tuple(
                Key(
                    id=str(key.external_id),
                    status=key.status,
                    created_at=key.created_at or datetime.min.replace(tzinfo=UTC),
                    last_used_at=key.last_used_at,
                )
                for key in found
            )
    except CannotSee as fault:
        if fault.code == "NoSuchEntity":
            return None
        return _gap(target, fault.reason)


def _gap(target: Target, reason: str) -> Gap:
    scope = scope_of("aws", target.account, "iam_user", target.identity_name)
    return Gap(scope=scope, reason=reason, hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}))


def prepare(acting: Calls, place: Place) -> Ready:
    """Make sure that the secret is there and is this identity's, before a key is made. Raises ProviderError."""
    try:
        who = acting.ask("sts:GetCallerIdentity")
        with reading("sts:GetCallerIdentity"):
            acting_as = str(who["Arn"])
        found = _describe(acting, place)
        if place.native:
            return Ready(former=_native(place, found), acting_as=acting_as)
        if found is None:
            _create(acting, place)
            return Ready(former=None, acting_as=acting_as)
    except CannotSee as fault:
        raise _failure("secret_not_ready", place, fault) from None
    return Ready(former=_former(place, found), acting_as=acting_as)


def _native(place: Place, found: Mapping[str, Any] | None) -> str | None:
    if found is None or not found.get("RotationEnabled"):
        message = sentence("clouds.aws_secret_without_rotation", secret=place.secret)
        raise ProviderError(message, code="NoRotation", permanent=True)
    return _current(found)


def _former(place: Place, found: Mapping[str, Any]) -> str | None:
    if found.get("DeletedDate"):
        message = sentence("clouds.aws_secret_deleted", secret=place.secret)
        raise ProviderError(message, code="SecretDeleted", permanent=True)
    marks = {tag.get("Key"): tag.get("Value") for tag in found.get("Tags") or ()}
    if marks.get(MARK) != place.mark:
        message = sentence("clouds.aws_secret_not_marked", secret=place.secret, mark=MARK, value=place.mark)
        raise ProviderError(message, code="NotMarked", permanent=True)
    return _current(found)


def _current(found: Mapping[str, Any]) -> str | None:
    stages: Mapping[str, list[str]] = found.get("VersionIdsToStages") or {}
    return next((version for version, names in stages.items() if "AWSCURRENT" in names), None)


def _describe(acting: Calls, place: Place) -> Mapping[str, Any] | None:
    try:
        return acting.ask(_DESCRIBE, region=_region(place), SecretId=place.secret)
    except CannotSee as fault:
        if fault.code in _WHERE:
            return None
        raise


def _create(acting: Calls, place: Place) -> None:
    extra = {"KmsKeyId": place.kms_key} if place.kms_key else {}
    acting.ask(
        "secretsmanager:CreateSecret",
        region=_region(place),
        Name=place.secret,
        Description="An access key, put here by its rotation",
        Tags=[{"Key": MARK, "Value": place.mark}],
        **extra,
    )


def make(
    once: Calls, acting: Calls, target: Target, place: Place, version: str, made: Callable[[str], None]
) -> Stored | None:
    """Make a key and store it under `version`; None: the secret rotates by itself, which takes a while."""
    if place.native:
        _rotate(acting, place, version)
        return None
    try:
        answer = once.ask(_CREATE, UserName=target.identity_name)
        with reading(_CREATE):
            key = answer["AccessKey"]
            key_id, secret = str(key["AccessKeyId"]), str(key["SecretAccessKey"])
    except CannotSee as fault:
        raise _refusal(target, fault) from None
    made(key_id)
    return _put(acting, place, version, key_id, secret)


def _put(acting: Calls, place: Place, version: str, key_id: str, secret: str) -> Stored:
    try:
        answer = acting.ask(
            _PUT,
            region=_region(place),
            SecretId=place.secret,
            ClientRequestToken=version,
            SecretString=json.dumps({"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}),
        )
        with reading(_PUT):
            return Stored(where=str(answer["ARN"]), version=version)
    except CannotSee as fault:
        message = sentence("clouds.key_not_stored", id=key_id, secret=place.secret, reason=fault.reason)
        raise ProviderError(message, code=fault.code, permanent=False) from None


def _region(place: Place) -> str | None:
    """Return where the secret is: as policy says, or as its ARN does; None: the configured region."""
    return place.region or (place.secret.split(":")[3] if place.secret.startswith("arn:") else None)


def _rotate(acting: Calls, place: Place, version: str) -> None:
    try:
        acting.ask(
            "secretsmanager:RotateSecret", region=_region(place), SecretId=place.secret, ClientRequestToken=version
        )
    except CannotSee as fault:
        raise _failure("aws_secret_not_asked", place, fault) from None


def stored(acting: Calls, place: Place, version: str) -> Stored | None:
    """Return where this version is, if it is the secret's current one. Raises ProviderError."""
    try:
        found = _describe(acting, place)
    except CannotSee as fault:
        raise _failure("secret_not_looked_at", place, fault) from None
    if found is None or _current(found) != version:
        return None
    return Stored(where=str(found.get("ARN") or place.secret), version=version)


def put_back(acting: Calls, place: Place, version: str, former: str | None) -> None:
    """Make the former version current again; where there was none, the value stays, of a key that is off."""
    if former is None:
        return
    try:
        found = _describe(acting, place)
        if found is None or _current(found) != version:
            return  # somebody wrote a newer one since: that is theirs
        acting.ask(
            "secretsmanager:UpdateSecretVersionStage",
            region=_region(place),
            SecretId=place.secret,
            VersionStage="AWSCURRENT",
            MoveToVersionId=former,
            RemoveFromVersionId=version,
        )
    except CannotSee as fault:
        raise _failure("secret_not_put_back", place, fault) from None


def made_by(calls: Calls, target: Target, key_id: str, acting_as: str, since: datetime) -> bool | None:
    """Whether `acting_as` made this key, as CloudTrail tells; None: it does not tell, or cannot be asked."""
    asked = [{"AttributeKey": "ResourceName", "AttributeValue": target.identity_name}]
    try:
        answer = calls.ask(
            "cloudtrail:LookupEvents", LookupAttributes=asked, StartTime=since - _SLACK, EndTime=since + 8 * _SLACK
        )
        with reading("cloudtrail:LookupEvents"):
            told = [json.loads(event["CloudTrailEvent"]) for event in answer["Events"]]
            makers = [who for one in told if (who := _maker(one, key_id)) is not None]
    except CannotSee:
        return None
    return acting_as in makers if makers else None


def _maker(told: Mapping[str, Any], key_id: str) -> str | None:
    """Return who made the key, if that is what an event tells."""
    made = ((told.get("responseElements") or {}).get("accessKey") or {}).get("accessKeyId")
    if told.get("eventName") != "CreateAccessKey" or made != key_id:
        return None
    return str((told.get("userIdentity") or {}).get("arn") or "")


def _refusal(target: Target, fault: CannotSee) -> ProviderError:
    """Return the error of a key that was not made, or of which it is not known; only a plain no is the former."""
    message = sentence("clouds.aws_no_second_key", name=target.identity_name, reason=fault.reason)
    return ProviderError(message, code=fault.code, permanent=fault.said_no)


def _failure(block: str, place: Place, fault: CannotSee) -> ProviderError:
    message = sentence(f"clouds.{block}", secret=place.secret, reason=fault.reason)
    return ProviderError(message, code=fault.code, permanent=not fault.passing)
