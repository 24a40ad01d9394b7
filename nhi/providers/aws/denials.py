"""The inline policies by which something is denied: one name each, one document each, put on and taken off whole.

An explicit denial beats every permission, and taking it off leaves what was there before, untouched. A policy of our
name with another document is somebody else's: it is neither overwritten nor deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nhi.providers.aws.calls import Calls, CannotSee, reading

_EVERYTHING: Mapping[str, Any] = {"Effect": "Deny", "Action": "*", "Resource": "*"}


class Found(StrEnum):
    """What stands under the name of a denial."""

    NOTHING = "nothing"
    OURS = "ours"
    ANOTHER = "another"


@dataclass(frozen=True, kw_only=True)
class Denial:
    """One inline policy of ours. `of` is "Role" or "User"."""

    of: str
    name: str
    sid: str
    condition: Mapping[str, Any] | None = None

    def document(self, **values: str) -> dict[str, Any]:
        """Return the policy; `values` fill the places of its condition."""
        statement: dict[str, Any] = {"Sid": self.sid, **_EVERYTHING}
        if self.condition is not None:
            statement["Condition"] = _filled(self.condition, values)
        return {"Version": "2012-10-17", "Statement": [statement]}

    def find(self, calls: Calls, owner: str) -> tuple[Found, Mapping[str, Any] | None]:
        """Return what is there under this name, with its document. Raises CannotSee."""
        action = f"iam:Get{self.of}Policy"
        try:
            answer = calls.ask(action, **{f"{self.of}Name": owner, "PolicyName": self.name})
        except CannotSee as fault:
            if fault.code == "NoSuchEntity":
                return Found.NOTHING, None
            raise
        with reading(action):
            document = answer["PolicyDocument"]
        return (Found.OURS if self._is_ours(document) else Found.ANOTHER), document

    def value(self, document: Mapping[str, Any] | None, name: str) -> str | None:
        """Return what fills a place of the condition in a document of ours; None: nothing does."""
        for operator, keys in (self.condition or {}).items():
            for key, text in keys.items():
                if text == f"{{{name}}}" and document is not None:
                    return str(document["Statement"][0]["Condition"][operator][key])
        return None

    def put(self, calls: Calls, owner: str, **values: str) -> None:
        """Put it on. Raises CannotSee."""
        document = json.dumps(self.document(**values))
        self._ask(calls, "Put", owner, PolicyDocument=document)

    def take_off(self, calls: Calls, owner: str) -> None:
        """Take it off; one that is off already is as good. Raises CannotSee."""
        try:
            self._ask(calls, "Delete", owner)
        except CannotSee as fault:
            if fault.code != "NoSuchEntity":
                raise

    def _ask(self, calls: Calls, verb: str, owner: str, **more: str) -> None:
        calls.ask(f"iam:{verb}{self.of}Policy", **{f"{self.of}Name": owner, "PolicyName": self.name}, **more)

    def _is_ours(self, document: object) -> bool:
        """Whether a document is this one, whatever fills its condition."""
        if not isinstance(document, Mapping):
            return False
        statements = document.get("Statement")
        if not isinstance(statements, list) or len(statements) != 1 or not isinstance(statements[0], Mapping):
            return False
        told = statements[0]
        same = all(told.get(key) == value for key, value in {"Sid": self.sid, **_EVERYTHING}.items())
        return same and _shape(told.get("Condition")) == _shape(self.condition)


def _filled(condition: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    return {
        operator: {key: text.format(**values) for key, text in keys.items()} for operator, keys in condition.items()
    }


def _shape(condition: object) -> object:
    if not isinstance(condition, Mapping):
        return None
    return {operator: sorted(keys) for operator, keys in condition.items() if isinstance(keys, Mapping)}


# Everything, for whoever assumes the role and for the sessions that are under way.
QUARANTINE = Denial(of="Role", name="nhi-quarantine", sid="NhiQuarantine")
# The sessions that began before an instant, as the console's own "Revoke sessions" does:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
REVOKE = Denial(
    of="Role",
    name="nhi-revoke-sessions",
    sid="NhiRevokeSessions",
    condition={"DateLessThan": {"aws:TokenIssueTime": "{before}"}},
)
# Everything that a user does, with whatever credential: put on only where one alone is active. Calls are then denied
# after they are authenticated, so CloudTrail writes them down; of a key that is Inactive it writes nothing.
SCREAM = Denial(of="User", name="nhi-scream-test", sid="NhiScreamTest")
# Everything that a user's temporary credentials sign: that is the console, and sessions that the user's access keys
# ask STS for. A key's own requests carry no aws:TokenIssueTime.
CONSOLE = Denial(
    of="User",
    name="nhi-deny-console",
    sid="NhiDenyConsole",
    condition={"Null": {"aws:TokenIssueTime": "false"}},
)
