"""One service-specific credential (CodeCommit, Keyspaces, Bedrock): its state, its two statuses.

AWS does not tell when such a credential was used. It does tell when the user last reached the credential's one
service, by whatever means: no use of the credential can be later than that, so that counts as its last use.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from nhi.certificate import Read
from nhi.identity import CredentialStatus
from nhi.providers import CredentialState, Target
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.providers.aws.details import utc
from nhi.providers.aws.who import same_user
from nhi.words import sentence

_LIST = "iam:ListServiceSpecificCredentials"
_ASK, _GET = "iam:GenerateServiceLastAccessedDetails", "iam:GetServiceLastAccessedDetails"
_POLLS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)  # seconds before each look for an answer in the making


def look(calls: Calls, target: Target) -> CredentialState | None:
    """Read one credential. None: it or the user is gone, or the name now belongs to another. Raises CannotSee."""
    user = same_user(calls, target)
    found = _find(calls, target) if user is not None else None
    if user is None or found is None:
        return None
    with reading(_LIST):
        status, service = _status(found), str(found["ServiceName"]).partition(".")[0]
    with reading("iam:GetUser"):
        arn = str(user["Arn"])
    reached = _reached(calls, arn, service)
    at = reached.get("LastAuthenticated")
    return CredentialState(
        status=status,
        last_used_at=None if at is None else utc(at),
        last_used_service=service if at is not None else None,
        last_used_region=reached.get("LastAuthenticatedRegion"),
        reads=(_read(service),),
    )


def status(calls: Calls, target: Target) -> CredentialStatus | None:
    """Read its status alone; None: it is gone. Raises CannotSee."""
    found = _find(calls, target)
    with reading(_LIST):
        return _status(found) if found else None


def switch(acting: Calls, target: Target, status: CredentialStatus) -> None:
    """Set its status. Raises CannotSee."""
    acting.ask(
        "iam:UpdateServiceSpecificCredential",
        UserName=target.identity_name,
        ServiceSpecificCredentialId=target.credential_id,
        Status=status.value.capitalize(),
    )


def _find(calls: Calls, target: Target) -> Mapping[str, Any] | None:
    answer = calls.ask(_LIST, UserName=target.identity_name)
    with reading(_LIST):
        listed: list[Mapping[str, Any]] = answer["ServiceSpecificCredentials"]
        return next((one for one in listed if one["ServiceSpecificCredentialId"] == target.credential_id), None)


def _status(found: Mapping[str, Any]) -> CredentialStatus:
    return CredentialStatus.ACTIVE if found["Status"] == "Active" else CredentialStatus.INACTIVE


def _reached(calls: Calls, arn: str, service: str) -> Mapping[str, Any]:
    """Return what AWS tells of the user's last access to a service. Raises CannotSee, also where it tells nothing."""
    job = calls.ask(_ASK, Arn=arn, Granularity="SERVICE_LEVEL")
    with reading(_ASK):
        job_id = job["JobId"]
    for pause in _POLLS:
        time.sleep(pause)
        answer = calls.ask(_GET, JobId=job_id)
        with reading(_GET):
            if answer["JobStatus"] == "FAILED":
                raise CannotSee("JobFailed", _GET, passing=True)
            if answer["JobStatus"] == "COMPLETED":
                return _of_service(answer["ServicesLastAccessed"], service)
    raise CannotSee("JobInProgress", _GET, passing=True)


def _of_service(told: list[Mapping[str, Any]], service: str) -> Mapping[str, Any]:
    """Return one service's line. A service that no policy of the user names has none, and then nothing is known."""
    found = next((one for one in told if one["ServiceNamespace"] == service), None)
    if found is None:
        raise CannotSee("NotTracked", f"{_GET} {service}", passing=False)
    return found


def _read(service: str) -> Read:
    return Read(
        source=sentence("clouds.aws_read_service", service=service),
        seen_from=None,
        seen_until=None,
        lag=timedelta(hours=4),
        hidden=sentence("clouds.aws_read_service_not"),
    )
