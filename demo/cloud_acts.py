"""What the stand-in cloud answers around acts, where moto has nothing: service-specific credentials and the last access
to a service, the change calendar."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.wrappers import Response

from demo.cloud_faults import Asked, refuse
from demo.cloud_shapes import answer_of, iso


@dataclass(frozen=True, kw_only=True)
class StandInJob:
    """A program that nobody thinks of, and that calls with a key soon after it is denied."""

    user: str
    key_id: str
    after: timedelta
    call: str = "ListBuckets"
    address: str = "10.20.4.17"
    tool: str = "backup-agent/1.4"


@dataclass
class Acts:
    """The part of an account's state that only acts ask about. Set it from the outside."""

    services: MutableMapping[str, dict[str, str]]  # service-specific credentials, by id
    reached: dict[tuple[str, str], datetime] = field(default_factory=dict)  # by user's name and service
    done: dict[tuple[str, str], datetime | None] = field(default_factory=dict)  # by name and action; None: never
    reachable: dict[str, set[str]] = field(default_factory=dict)  # services, by name
    tracked: set[str] = field(default_factory=lambda: {"codecommit", "bedrock", "cassandra"})
    closed: set[str] = field(default_factory=set)  # change calendars, by ARN
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    jobs: list[StandInJob] = field(default_factory=list)
    denied: dict[str, datetime] = field(default_factory=dict)  # users whose every call is denied, since when
    powers: dict[str, set[str]] = field(default_factory=dict)  # actions that a role may do, by its ARN; others: all
    polls: int = 0  # how many answers say "in progress" before one says "completed"
    _jobs: dict[str, list[Any]] = field(default_factory=dict)  # [user, polls left], by id

    def answer(self, asked: Asked) -> Response | None:
        """Return this part's answer; None: it has none."""
        match asked.action:
            case "iam:UpdateServiceSpecificCredential":
                return self._update(asked)
            case "iam:SimulatePrincipalPolicy":
                return self._simulate(asked)
            case "iam:GenerateServiceLastAccessedDetails":
                job = str(uuid.uuid4())
                self._jobs[job] = [asked.parameters["Arn"].rpartition("/")[2], self.polls]
                return answer_of("GenerateServiceLastAccessedDetails", {"JobId": job})
            case "iam:GetServiceLastAccessedDetails":
                return self._last_accessed(asked.parameters["JobId"])
            case "ssm:GetCalendarState":
                (calendar,) = json.loads(asked.parameters["body"])["CalendarNames"]
                state = "CLOSED" if calendar in self.closed else "OPEN"
                body = json.dumps({"State": state, "AtTime": "2026-01-01T00:00:00Z"})
                return Response(body, mimetype="application/x-amz-json-1.1")
            case _:
                return None

    def screams(self, now: datetime) -> Iterator[tuple[StandInJob, datetime]]:
        """Yield the jobs that called in vain by now, and when; each once."""
        for job in [*self.jobs]:
            since = self.denied.get(job.user)
            if since is not None and now >= since + job.after:
                self.jobs.remove(job)
                yield job, since + job.after

    def _simulate(self, asked: Asked) -> Response:
        may = self.powers.get(asked.parameters["PolicySourceArn"])
        actions = [value for name, value in asked.parameters.items() if name.startswith("ActionNames.member.")]
        told = [
            {"EvalActionName": one, "EvalDecision": "allowed" if may is None or one in may else "implicitDeny"}
            for one in actions
        ]
        return answer_of("SimulatePrincipalPolicy", {"EvaluationResults": told, "IsTruncated": "false"})

    def _update(self, asked: Asked) -> Response:
        one = self.services.get(asked.parameters["ServiceSpecificCredentialId"])
        if one is None or one["UserName"] != asked.parameters["UserName"]:
            return refuse(asked, 404, "NoSuchEntity")
        one["Status"] = asked.parameters["Status"]
        return answer_of("UpdateServiceSpecificCredential", {})

    def _last_accessed(self, job: str) -> Response:
        user, left = self._jobs[job]
        self._jobs[job][1] -= 1
        if left > 0:
            told: dict[str, Any] = {"JobStatus": "IN_PROGRESS", "ServicesLastAccessed": []}
        else:
            mine = {service for name, service in self.reached if name == user} | self.reachable.get(user, set())
            lines = [self._line(user, service) for service in sorted(self.tracked | mine)]
            told = {
                "JobStatus": "COMPLETED",
                "JobCompletionDate": iso(self.now()),
                "ServicesLastAccessed": lines,
            }
        return answer_of("GetServiceLastAccessedDetails", {"JobCreationDate": "2026-01-01T00:00:00Z", **told})

    def _line(self, user: str, service: str) -> dict[str, Any]:
        at = self.reached.get((user, service))
        known: dict[str, Any] = {"LastAuthenticated": iso(at), "LastAuthenticatedRegion": "eu-west-1"} if at else {}
        actions = [
            {"ActionName": action.partition(":")[2]} | ({"LastAccessedTime": iso(when)} if when else {})
            for (name, action), when in sorted(self.done.items())
            if name == user and action.startswith(f"{service}:")
        ]
        known |= {"TrackedActionsLastAccessed": actions} if actions else {}
        return {"ServiceName": service, "ServiceNamespace": service, **known}
