"""How AWS words things: requests, answers, the rows of a credential report, CloudTrail's events. Pure."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as Xml

from werkzeug.wrappers import Request, Response

from demo.cloud_faults import NS, Asked

_KEY_COLUMNS = ("active", "last_rotated", "last_used_date", "last_used_region", "last_used_service")
COLUMNS = (
    *("user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed"),
    *("password_next_rotation", "mfa_active"),
    *(f"access_key_1_{name}" for name in _KEY_COLUMNS),
    *(f"access_key_2_{name}" for name in _KEY_COLUMNS),
    *("cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated"),
)

# Operations of services that are told by their path.
REST = {
    ("lambda", "/2015-03-31/functions"): "ListFunctions",
    ("rolesanywhere", "/subjects"): "ListSubjects",
    ("rolesanywhere", "/trustanchors"): "ListTrustAnchors",
}

# How an event names what it is about, where that is no user: the parameter, and the kind of resource.
EVENT_SUBJECTS = {
    "CreateRole": ("roleName", "AWS::IAM::Role"),
    "AssumeRole": ("roleArn", "AWS::IAM::Role"),
    "AssumeRoleWithSAML": ("roleArn", "AWS::IAM::Role"),
    "AssumeRoleWithWebIdentity": ("roleArn", "AWS::IAM::Role"),
}


def read_request(request: Request, body: bytes) -> Asked:
    """Read which call a request makes; IAM and STS speak in forms, CloudTrail in JSON."""
    found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", request.headers.get("Authorization", ""))
    access_key, region, service = found.groups() if found else ("", "", "")
    target = request.headers.get("X-Amz-Target", "")
    if target:
        told = json.loads(body)
        parameters = {"body": body.decode(), "Marker": told.get("NextToken") or told.get("nextToken") or ""}
        operation = target.rpartition(".")[2]
    elif service == "access-analyzer":
        operation = "ListFindingsV2" if request.method == "POST" else "GetFindingV2"
        parameters = {"body": body.decode(), **request.args, "id": request.path.rpartition("/")[2]}
    elif (operation := REST.get((service, request.path.rstrip("/")), "")) != "":
        parameters = dict(request.args)
    else:
        parameters = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        operation = parameters.get("Action", "")
    size = int(parameters.get("MaxItems") or 50)
    page = int(parameters.get("Marker") or 0) // size + 1
    action = f"{service}:{operation}"
    return Asked(action=action, parameters=parameters, access_key=access_key, page=page, region=region)


def marker(asked: Asked) -> int:
    return int(asked.parameters.get("Marker") or 0)


def next_page(start: int, total: int) -> dict[str, str]:
    return {"IsTruncated": "true", "Marker": str(start)} if start < total else {"IsTruncated": "false"}


def answer_of(operation: str, result: Mapping[str, Any]) -> Response:
    """Return a result in the shape of AWS's query protocol: lists of members, members of fields."""
    root = Xml.Element(f"{operation}Response", xmlns=NS)
    _fill(Xml.SubElement(root, f"{operation}Result"), result)
    return Response(Xml.tostring(root), mimetype="text/xml")


def _fill(parent: Xml.Element, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        child = Xml.SubElement(parent, name)
        if isinstance(value, str):
            child.text = value
        elif isinstance(value, Mapping):
            _fill(child, value)
        for one in value if isinstance(value, list) else ():
            _fill(Xml.SubElement(child, "member"), one)


def key_columns(key: Any) -> dict[str, str]:
    columns = {"active": str(key.status == "Active").lower(), "last_rotated": offset(key.create_date)}
    if key.last_used is None:
        return columns
    used = {"date": offset(key.last_used.timestamp), "region": key.last_used.region, "service": key.last_used.service}
    return columns | {f"last_used_{name}": value for name, value in used.items()}


def root_row(account: str) -> dict[str, str]:
    return {
        "user": "<root_account>",
        "arn": f"arn:aws:iam::{account}:root",
        "user_creation_time": "2015-01-01T00:00:00+00:00",
        "password_enabled": "not_supported",
        "password_last_used": "no_information",
        "password_last_changed": "not_supported",
        "password_next_rotation": "not_supported",
        "mfa_active": "true",
        "access_key_1_active": "false",
        "access_key_2_active": "false",
        "cert_1_active": "false",
        "cert_2_active": "false",
    }


def signed_in(account: str, by: str) -> dict[str, Any]:
    """Return the userIdentity of somebody who signed in with SSO (an e-mail), or of an IAM user."""
    if "@" not in by:
        return {"type": "IAMUser", "userName": by, "arn": f"arn:aws:iam::{account}:user/{by}", "accountId": account}
    role = "AWSReservedSSO_AdministratorAccess_0123456789abcdef"
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE:{by}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{by}",
        "accountId": account,
        "sessionContext": {"sessionIssuer": {"type": "Role", "userName": role}},
    }


def use_told(
    account: str, action: str, id_: str, *, user: str | None, role: str | None, key_id: str | None, at: str
) -> dict[str, Any]:
    """Return what CloudTrail tells of a call by an IAM user, or by a session of a role."""
    service, _, name = action.partition(":")
    who: dict[str, Any] = {
        "type": "IAMUser",
        "principalId": id_,
        "arn": f"arn:aws:iam::{account}:user/{user}",
        "accountId": account,
        "userName": user,
        **({"accessKeyId": key_id} if key_id else {}),
    }
    if user is None:
        issuer = {"type": "Role", "principalId": id_, "arn": f"arn:aws:iam::{account}:role/{role}", "userName": role}
        who = {
            "type": "AssumedRole",
            "principalId": f"{id_}:job",
            "arn": f"arn:aws:sts::{account}:assumed-role/{role}/job",
            "accountId": account,
            "accessKeyId": "ASIAEXAMPLEEXAMPLE00",
            "sessionContext": {"sessionIssuer": issuer},
        }
    return {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": at,
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "awsRegion": "us-east-1",
        "eventType": "AwsApiCall",
        "managementEvent": True,
    }


def lake_answer(
    asked: Asked, events: Sequence[Mapping[str, Any]], queries: dict[str, str], page: int = 100
) -> Response:
    """Answer a query of CloudTrail Lake for a stretch of time; the first look at it finds it running."""
    told = json.loads(asked.parameters["body"])
    if asked.action.endswith("StartQuery"):
        id_ = str(uuid.uuid4())
        queries[id_] = f"RUNNING {told['QueryStatement']}"
        return _json({"QueryId": id_})
    statement = queries[told["QueryId"]].removeprefix("RUNNING ")
    if queries[told["QueryId"]] != statement:
        queries[told["QueryId"]] = statement
        return _json({"QueryStatus": "RUNNING"})
    columns = re.findall(r"([\w.]+)(?: AS (\w+))?[,\s]", statement[len("SELECT ") : statement.index("FROM")])
    begin, end = re.findall(r"'([^']+)'", statement)
    rows = [_lake_row(one, columns) for one in events if begin <= _lake_time(one["eventTime"]) < end]
    first = int(told.get("NextToken") or 0)
    more = {"NextToken": f"{first + page:06d}"} if first + page < len(rows) else {}
    return _json({"QueryStatus": "FINISHED", "QueryResultRows": rows[first : first + page], **more})


def _lake_row(event: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    row = []
    for path, alias in columns:
        value: Any = event
        for step in path.split("."):
            value = (value or {}).get(step) if isinstance(value, Mapping) else None
        text = _lake_time(value) if path == "eventTime" else str(value or "")
        row.append({alias or path: text})
    return row


def _lake_time(text: str) -> str:
    return text.replace("T", " ").replace("Z", ".000")


def _json(body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body), mimetype="application/x-amz-json-1.1")


def fits(event: Mapping[str, Any], asked_for: Mapping[str, Any]) -> bool:
    start, end = asked_for.get("StartTime", 0), asked_for.get("EndTime", float("inf"))
    if not start <= event["at"].timestamp() <= end:
        return False
    return all(
        attribute["AttributeValue"] in _attributes(event)[attribute["AttributeKey"]]
        for attribute in asked_for.get("LookupAttributes", ())
    )


def _attributes(event: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "ResourceName": [one["ResourceName"] for one in event["resources"]],
        "EventName": [event["told"]["eventName"]],
        "EventId": [event["told"]["eventID"]],
        "AccessKeyId": [event["told"]["userIdentity"].get("accessKeyId", "")],
        "Username": [event["told"]["userIdentity"].get("userName", "")],
    }


def event_of(event: Mapping[str, Any]) -> dict[str, Any]:
    told = event["told"]
    return {
        "EventId": told["eventID"],
        "EventName": told["eventName"],
        "EventSource": told["eventSource"],
        "EventTime": event["at"].timestamp(),
        "ReadOnly": "false",
        "Resources": event["resources"],
        "CloudTrailEvent": json.dumps(told),
    }


def naive(instant: datetime) -> datetime:
    """Return the instant as moto keeps it: UTC without an offset, in IAM's whole seconds."""
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None)


def iso(instant: datetime) -> str:
    return f"{naive(instant).isoformat()}Z"


def offset(naive: datetime) -> str:
    return naive.replace(microsecond=0).isoformat() + "+00:00"
