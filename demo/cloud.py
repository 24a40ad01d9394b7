"""A stand-in AWS over HTTP, on this machine: moto, and in front of it what moto lacks.

Moto answers for IAM and STS. This layer adds what it has not or has otherwise than AWS: pages of
GetAccountAuthorizationDetails, a credential report that is a snapshot of up to four hours ago, service-specific
credentials, CloudTrail's LookupEvents; a past (creation and last use are written into moto's own state); and faults.
Every Cloud is an account of its own, so two in one process do not see each other.
"""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace, TracebackType
from typing import Any, Self
from xml.etree import ElementTree as Xml

from moto.backends import list_of_moto_modules
from moto.iam.models import AccessKeyLastUsed, iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.secretsmanager.models import secretsmanager_backends
from moto.sts.models import sts_backends
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from demo import cloud_policies
from demo.cloud_acts import Acts
from demo.cloud_faults import NS, Asked, Faults, refuse
from demo.cloud_others import Others
from demo.cloud_shapes import (
    COLUMNS,
    EVENT_SUBJECTS,
    answer_of,
    event_of,
    fits,
    iso,
    key_columns,
    lake_answer,
    marker,
    naive,
    next_page,
    offset,
    read_request,
    root_row,
    signed_in,
    use_told,
)

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
KEYS_A_USER = 2
REPORT_LASTS = timedelta(hours=4)
_ACCOUNTS = itertools.count(111122223333)
_LISTS = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


class Cloud:
    """One AWS account to put things into, and to ask over HTTP at `url`. Start it, or use it in a `with`."""

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), port: int = 0, external_id: str | None = None
    ) -> None:
        self.account = str(next(_ACCOUNTS))
        self._now = now
        self._port = port
        self._external_id = external_id  # what AssumeRole must bring; None: nothing
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be an account with nothing in it and nothing wrong with it, of the same number and at the same address."""
        self._forget()
        self.requests: deque[Asked] = deque(maxlen=100_000)  # a demo may run for weeks
        self.faults = Faults()
        self.iam = iam_backends[self.account]["aws"]  # moto's own state, for what has no method here
        self._passwords: dict[str, datetime] = {}  # when each was last changed, by user id
        self._services: dict[str, dict[str, str]] = {}  # service-specific credentials, by id
        self.others = Others(account=self.account)
        self.acts = Acts(services=self._services, now=self._now)
        self._events: list[dict[str, Any]] = []
        self._queries: dict[str, str] = {}  # statements put to CloudTrail Lake, by their ids
        self._report: tuple[datetime, bytes] | None = None
        self._polls = 0
        self._whole = b""  # moto's answer of GetAccountAuthorizationDetails, which pages are cut from
        self._lagging: list[list[Any]] = []  # [reads left, key, status]

    def _forget(self) -> None:
        iam_backends[self.account].pop("aws", None)
        secretsmanager_backends[self.account].clear()

    # The server

    @property
    def url(self) -> str:
        assert self._server is not None, "the cloud is not started"
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        self._server = make_server("127.0.0.1", self._port, self, threaded=True, request_handler=_Quiet)
        self._server.daemon_threads = True  # type: ignore[attr-defined, unused-ignore]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True, name="cloud")
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None
        self._forget()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What is in it

    def add_user(
        self, name: str, *, tags: Mapping[str, str] | None = None, created_at: datetime | None = None, path: str = "/"
    ) -> str:
        """Add a user and return its UserId."""
        user = self.iam.create_user("us-east-1", name, path, [{"Key": k, "Value": v} for k, v in (tags or {}).items()])
        user.create_date = naive(created_at or self._now())
        user.id = f"AIDA{user.id.upper()[:17]}"
        return str(user.id)

    def add_access_key(
        self,
        user: str,
        *,
        created_at: datetime | None = None,
        last_used_at: datetime | None = None,
        service: str = "s3",
        region: str = "eu-west-1",
        active: bool = True,
    ) -> str:
        """Add an access key and return its id."""
        key = self.iam.create_access_key(user, status="Active" if active else "Inactive")
        key.create_date = naive(created_at or self._now())
        if last_used_at is not None:
            key.last_used = AccessKeyLastUsed(naive(last_used_at), service, region)
        return str(key.access_key_id)

    def add_password(
        self, user: str, *, changed_at: datetime | None = None, last_used_at: datetime | None = None, mfa: bool = False
    ) -> None:
        found = self.iam.get_user(user)
        found.password = secrets.token_hex()
        found.password_last_used = None if last_used_at is None else naive(last_used_at)  # type: ignore[assignment]
        self._passwords[found.id] = changed_at or self._now()
        if mfa:
            found.enable_mfa_device(f"arn:aws:iam::{self.account}:mfa/{user}", "123456", "654321")

    def add_service_credential(
        self, user: str, *, service: str = "codecommit.amazonaws.com", created_at: datetime | None = None
    ) -> str:
        """Add a service-specific credential and return its id."""
        one = f"ACCA{secrets.token_hex(8).upper()}"
        self._services[one] = {
            "UserName": user,
            "Status": "Active",
            "ServiceUserName": f"{user}-at-{self.account}",
            "CreateDate": iso(created_at or self._now()),
            "ServiceSpecificCredentialId": one,
            "ServiceName": service,
        }
        return one

    def add_role(
        self,
        name: str,
        *,
        tags: Mapping[str, str] | None = None,
        created_at: datetime | None = None,
        last_used_at: datetime | None = None,
        service: str | None = None,
        path: str = "/",
        trust: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a role and return its RoleId; with `service` ("ecs.amazonaws.com"), a service-linked one.

        `trust` is a statement's `Principal` (`{"Service": "lambda.amazonaws.com"}`), and `Condition` where it has one.
        """
        where = f"/aws-service-role/{service}/" if service else path
        pairs = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
        role = self.iam.create_role(name, _trust(trust), where, None, "", pairs, "3600", service)
        role.create_date = naive(created_at or self._now())
        if last_used_at is not None:
            role.last_used, role.last_used_region = naive(last_used_at), "eu-west-1"  # type: ignore[assignment]
        return str(role.id)

    def add_group(self, name: str, members: Iterable[str] = ()) -> None:
        self.iam.create_group(name)
        for member in members:
            self.iam.add_user_to_group(name, member)

    def attach(self, arn: str, *, user: str | None = None, role: str | None = None, group: str | None = None) -> None:
        """Attach a managed policy by its ARN. Moto does not load AWS's own, so only name and ARN are there."""
        users, roles, groups = self.iam.users, self.iam.roles.values(), self.iam.groups
        to: Any = users[user] if user else groups[group] if group else next(one for one in roles if one.name == role)
        to.managed_policies[arn] = SimpleNamespace(arn=arn, name=arn.rpartition("/")[2], path="/")

    def put_policy(
        self, name: str, *statements: Mapping[str, Any], user: str | None = None, role: str | None = None
    ) -> None:
        """Give a user or a role an inline policy."""
        text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        if user is not None:
            self.iam.users[user].policies[name] = text
        else:
            next(one for one in self.iam.roles.values() if one.name == role).policies[name] = text

    def add_event(
        self,
        name: str,
        *,
        subject: str,
        by: str | Mapping[str, Any],
        at: datetime | None = None,
        made: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Add a CloudTrail event ("CreateUser"). `by`: an e-mail (SSO), an IAM user's name, or a whole userIdentity.

        The subject of "AssumeRole" is the role's ARN.
        """
        parameter, kind = EVENT_SUBJECTS.get(name, ("userName", "AWS::IAM::User"))
        who = signed_in(self.account, by) if isinstance(by, str) else dict(by)
        told = {
            "eventVersion": "1.11",
            "eventID": secrets.token_hex(16),
            "eventName": name,
            "eventSource": "sts.amazonaws.com" if name.startswith("AssumeRole") else "iam.amazonaws.com",
            "eventTime": iso(at or self._now()),
            "userIdentity": who,
            "requestParameters": {parameter: subject},
            "responseElements": None if error else made,
            **({"errorCode": error} if error else {}),
        }
        resources = [{"ResourceType": kind, "ResourceName": subject}]
        self._events.append({"told": told, "resources": resources, "at": at or self._now()})

    def add_call(
        self,
        name: str,
        *,
        at: datetime,
        source: str = "s3.amazonaws.com",
        key_id: str | None = None,
        role: str | None = None,
        user: str | None = None,
        address: str = "198.51.100.7",
        tool: str = "aws-cli/2.30",
        error: str | None = None,
        by: str | None = None,
    ) -> None:
        """Add a CloudTrail event of somebody using a key ("ListBuckets"), assuming a role or signing in.

        `error` ("AccessDenied"): it was refused. `by`: an e-mail, of whoever stands behind the session that called.
        """
        who: dict[str, Any] = {"type": "IAMUser", "arn": f"arn:aws:iam::{self.account}:user/{user or 'somebody'}"}
        if key_id is not None:
            who["accessKeyId"] = key_id
        if user is not None:
            who["userName"] = user
        if by is not None:
            who = signed_in(self.account, by)
        told = {
            "eventID": secrets.token_hex(16),
            "eventName": name,
            "eventSource": source,
            "eventTime": iso(at),
            "userIdentity": who,
            "sourceIPAddress": address,
            "userAgent": tool,
            **({"errorCode": error} if error else {}),
        }
        arn = f"arn:aws:iam::{self.account}:role/{role}"  # CloudTrail names a role by its ARN alone
        resources = [{"ResourceType": "AWS::IAM::Role", "ResourceName": arn}] if role else []
        self._events.append({"told": told, "resources": resources, "at": at})

    def add_use(
        self,
        action: str,
        *,
        at: datetime,
        user: str | None = None,
        role: str | None = None,
        key_id: str | None = None,
        address: str = "198.51.100.7",
        agent: str = "Boto3/1.40 md/Botocore#1.40 os/linux#6.1",
        error: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """Add a CloudTrail event of an identity doing something ("s3:ListBuckets"): a user by its key, or a role."""
        subject = self.iam.get_user(user) if user else self.iam.get_role(str(role))
        told = use_told(self.account, action, subject.id, user=user, role=role, key_id=key_id, at=iso(at))
        told |= {"eventID": event_id or secrets.token_hex(16), "sourceIPAddress": address, "userAgent": agent}
        self._events.append({"told": told | ({"errorCode": error} if error else {}), "resources": [], "at": at})

    def inline_policies(self, *, user: str | None = None, role: str | None = None) -> dict[str, Any]:
        """Return the inline policies that a user or role really has, by name."""
        if role is not None:
            found = next(one for one in self.iam.roles.values() if one.name == role).policies
        else:
            assert user is not None
            found = self.iam.users[user].policies
        return {name: json.loads(text) for name, text in found.items()}

    def service_status(self, credential_id: str) -> str:
        """Return "Active" or "Inactive" of a service-specific credential."""
        return self._services[credential_id]["Status"]

    def record_use(self, key_id: str, at: datetime, *, service: str = "s3", region: str = "eu-west-1") -> None:
        """Note that somebody used an access key."""
        self._key(key_id).last_used = AccessKeyLastUsed(naive(at), service, region)

    def key_status(self, key_id: str) -> str:
        """Return "Active" or "Inactive", as the account really has it."""
        return str(self._key(key_id).status)

    def delete_key(self, user: str, key_id: str) -> None:
        self.iam.delete_access_key(key_id, user)

    def delete_user(self, name: str) -> None:
        user = self.iam.get_user(name)
        for key in [*user.access_keys]:
            self.iam.delete_access_key(key.access_key_id, name)
        user.password = None
        self.iam.delete_user(name)

    def _key(self, key_id: str) -> Any:
        return self.iam.access_keys[key_id]

    # What it answers

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # for moto, which reads it again
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account
        asked = read_request(request, body)
        self.requests.append(asked)
        answer = self.faults.meet(asked) or self._own_answer(asked, environ)
        return answer(environ, start_response) if answer else _moto(asked)(environ, start_response)

    def _own_answer(self, asked: Asked, environ: dict[str, Any]) -> Response | None:
        """Return this layer's answer; None: moto answers."""
        match asked.action:
            case "iam:GetAccountAuthorizationDetails":
                return self._details(asked, environ)
            case "iam:GenerateCredentialReport":
                return self._generate()
            case "iam:GetCredentialReport":
                return self._get_report(asked)
            case "iam:ListServiceSpecificCredentials":
                return self._list_services(asked)
            case "iam:UpdateAccessKey":
                return self._update_late(asked)
            case "iam:PutUserPolicy":
                self.acts.denied[asked.parameters["UserName"]] = self._now()
            case "iam:DeleteUserPolicy":
                self.acts.denied.pop(asked.parameters["UserName"], None)
            case "iam:CreateAccessKey":
                return self._create_key(asked)
            case "iam:ListAccessKeys":
                self._catch_up()
            case "cloudtrail:LookupEvents" | "cloudtrail:StartQuery" | "cloudtrail:GetQueryResults":
                return self._lookup(asked)
            case "sts:AssumeRole" if self._external_id not in (None, asked.parameters.get("ExternalId")):
                return refuse(asked, 403, "AccessDenied")
        return self.acts.answer(asked) or self.others.answer(asked) or cloud_policies.answer(asked, self.iam)

    def _details(self, asked: Asked, environ: dict[str, Any]) -> Response:
        """Cut moto's one long answer, made for the first page, into pages of MaxItems."""
        if asked.page == 1:
            self._whole = Response.from_app(_moto(asked), environ).get_data()
        whole = Xml.fromstring(self._whole)  # noqa: S314  # our own XML
        result = whole.find(f"{{{NS}}}GetAccountAuthorizationDetailsResult")
        assert result is not None
        size, first = int(asked.parameters.get("MaxItems", 100)), marker(asked)
        place = 0
        for items in [item for name in _LISTS if (item := result.find(f"{{{NS}}}{name}")) is not None]:
            for member in [*items]:
                if not first <= place < first + size:
                    items.remove(member)
                place += 1
        for old in [one for name in ("IsTruncated", "Marker") if (one := result.find(f"{{{NS}}}{name}")) is not None]:
            result.remove(old)
        for name, value in next_page(first + size, place).items():
            Xml.SubElement(result, f"{{{NS}}}{name}").text = value
        return Response(Xml.tostring(whole), mimetype="text/xml")

    def _generate(self) -> Response:
        if self._report is None or self._now() - self._report[0] > REPORT_LASTS:
            if self._polls < self.faults.report_polls:
                self._polls += 1
                return answer_of("GenerateCredentialReport", {"State": "STARTED" if self._polls == 1 else "INPROGRESS"})
            self.take_report()
        return answer_of("GenerateCredentialReport", {"State": "COMPLETE"})

    def take_report(self) -> None:
        """Make the credential report now; for four hours, later changes do not show in it."""
        text = io.StringIO()
        sheet = csv.DictWriter(text, COLUMNS, restval="N/A", lineterminator="\n")
        sheet.writeheader()
        sheet.writerow(root_row(self.account))
        sheet.writerows(self._row(user) for user in self.iam.users.values())
        self._report, self._polls = (self._now(), text.getvalue().rstrip("\n").encode()), 0

    def forget_report(self) -> None:
        """Have no report yet, as an account that was never asked for one."""
        self._report = None

    def set_report(self, content: bytes) -> None:
        """Put another text in the report's place, for four hours."""
        self._report = (self._now(), content)

    def _row(self, user: Any) -> dict[str, str]:
        has_password = user.password is not None
        row = {
            "user": user.name,
            "arn": user.arn,
            "user_creation_time": offset(user.create_date),
            "password_enabled": str(has_password).lower(),
            "mfa_active": str(bool(user.mfa_devices)).lower(),
            "access_key_1_active": "false",
            "access_key_2_active": "false",
            "cert_1_active": "false",
            "cert_2_active": "false",
        }
        if has_password:
            used = user.password_last_used
            row["password_last_used"] = offset(used) if used else "no_information"
            row["password_last_changed"] = offset(naive(self._passwords.get(user.id, self._now())))
        for slot, key in enumerate(user.access_keys[:2], start=1):
            row |= {f"access_key_{slot}_{name}": value for name, value in key_columns(key).items()}
        return row

    def _get_report(self, asked: Asked) -> Response:
        if self._report is None:
            return refuse(asked, 410, "ReportNotPresent")
        made_at, content = self._report
        body = {
            "Content": base64.b64encode(content).decode(),
            "ReportFormat": "text/csv",
            "GeneratedTime": iso(made_at),
        }
        return answer_of("GetCredentialReport", body)

    def _list_services(self, asked: Asked) -> Response:
        wanted = None if asked.parameters.get("AllUsers") == "true" else asked.parameters.get("UserName")
        found = [one for one in self._services.values() if wanted in (None, one["UserName"])]
        size, first = int(asked.parameters.get("MaxItems", 100)), marker(asked)
        body = {"ServiceSpecificCredentials": found[first : first + size], **next_page(first + size, len(found))}
        return answer_of("ListServiceSpecificCredentials", body)

    def _create_key(self, asked: Asked) -> Response:
        """Make a key in this cloud's own time, two a user, and let the trail tell of it."""
        user = asked.parameters["UserName"]
        if user not in self.iam.users:
            return refuse(asked, 404, "NoSuchEntity")
        if len(self.iam.users[user].access_keys) >= KEYS_A_USER:
            return refuse(asked, 409, "LimitExceeded")
        key_id = self.add_access_key(user)
        made = {"UserName": user, "AccessKeyId": key_id, "Status": "Active", "CreateDate": iso(self._now())}
        by = sts_backends[self.account]["aws"].get_caller_identity(asked.access_key, "us-east-1")[1]
        told = {"accessKey": {"accessKeyId": key_id, "userName": user, "status": "Active"}}
        self.add_event("CreateAccessKey", subject=user, by={"type": "IAMUser", "arn": by}, made=told)
        secret = str(self._key(key_id).secret_access_key)
        return answer_of("CreateAccessKey", {"AccessKey": made | {"SecretAccessKey": secret}})

    def _update_late(self, asked: Asked) -> Response | None:
        if not self.faults.update_lag:
            return None
        key = self.iam.get_user(asked.parameters["UserName"]).get_access_key_by_id(asked.parameters["AccessKeyId"])
        self._lagging.append([self.faults.update_lag, key, asked.parameters["Status"]])
        return answer_of("UpdateAccessKey", {})

    def _catch_up(self) -> None:
        for late in [*self._lagging]:
            if late[0] == 0:
                late[1].status = late[2]
                self._lagging.remove(late)
            late[0] -= 1

    def _lookup(self, asked: Asked) -> Response:
        if not asked.action.endswith("LookupEvents"):
            return lake_answer(asked, [one["told"] for one in self._events], self._queries)
        for job, at in self.acts.screams(self._now()):
            who: dict[str, Any] = {"key_id": job.key_id, "user": job.user, "address": job.address, "tool": job.tool}
            self.add_call(job.call, at=at, error="AccessDenied", **who)
        asked_for = json.loads(asked.parameters["body"])
        fitting = [one for one in self._events if fits(one, asked_for)]
        fitting.sort(key=lambda one: one["at"], reverse=True)
        size, first = int(asked_for.get("MaxResults", 50)), marker(asked)
        body: dict[str, Any] = {"Events": [event_of(one) for one in fitting[first : first + size]]}
        if first + size < len(fitting):
            body["NextToken"] = str(first + size)
        return Response(json.dumps(body), mimetype="application/x-amz-json-1.1")


@cache
def _moto_of(service: str) -> Any:
    """Return moto's application of one service. It knows no account: each request names its own."""
    if service in list_of_moto_modules():
        return create_backend_app(service)  # type: ignore[arg-type, unused-ignore]
    return DomainDispatcherApplication(create_backend_app)


def _moto(asked: Asked) -> Any:
    """Return who answers for moto. Its own dispatcher lists a folder at each request, and is made for each cloud."""
    return _moto_of(asked.action.partition(":")[0])


def _trust(statement: Mapping[str, Any] | None) -> str:
    statements = [{"Effect": "Allow", "Action": "sts:AssumeRole", **statement}] if statement else []
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as AWS keeps them
    disable_nagle_algorithm = True  # or a kept connection waits 40 ms for the second half of an answer

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # werkzeug's own name
        pass
