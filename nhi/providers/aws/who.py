"""Whether a name still belongs to the identity that was decided about, and what an act must give back exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nhi.identity import CredentialStatus
from nhi.providers import Target
from nhi.providers.aws.calls import Calls, CannotSee, reading

_DETAILS = "iam:GetAccountAuthorizationDetails"


def same_user(calls: Calls, target: Target) -> Mapping[str, Any] | None:
    """Return IAM's user; None: the name belongs to another now. Raises CannotSee (NoSuchEntity: to nobody)."""
    answer = calls.ask("iam:GetUser", UserName=target.identity_name)
    with reading("iam:GetUser"):
        user: Mapping[str, Any] = answer["User"]
        return user if user["UserId"] == target.identity_key else None


def renamed(calls: Calls, target: Target) -> Target | None:
    """Return the target under the name that its user has by now; None: the user is gone, or is called so still.

    IAM keeps a user's id when its name changes, and what was turned off stays off under the new one. Raises CannotSee.
    """
    for page in calls.pages(_DETAILS, Filter=["User"]):
        with reading(_DETAILS):
            for user in page["UserDetailList"]:
                if user["UserId"] == target.identity_key and user["UserName"] != target.identity_name:
                    return replace(target, identity_name=str(user["UserName"]), principal=str(user["Arn"]))
    return None


def known(calls: Calls, target: Target) -> Target | None:
    """Return the target with its user's ARN of today, whose path may be another; None: the name is another's, or
    nobody's. Raises CannotSee."""
    try:
        user = same_user(calls, target)
        with reading("iam:GetUser"):
            return None if user is None else replace(target, principal=str(user["Arn"]))
    except CannotSee as fault:
        if fault.code == "NoSuchEntity":
            return None
        raise


def same_role(calls: Calls, target: Target) -> Mapping[str, Any] | None:
    """Return IAM's role; None: the name belongs to another now. Raises CannotSee (NoSuchEntity: to nobody)."""
    answer = calls.ask("iam:GetRole", RoleName=target.identity_name)
    with reading("iam:GetRole"):
        role: Mapping[str, Any] = answer["Role"]
        return role if role["RoleId"] == target.identity_key else None


def tags_of(thing: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in thing.get("Tags") or ()}


def names(calls: Calls, action: str, field: str, name: str | None = None, **who: str) -> list[str]:
    """Return the sorted names of one list (of the field `name` in each, or of plain texts). Raises CannotSee."""
    with reading(action):
        found = [one[name] if name else one for page in calls.pages(action, **who) for one in page[field]]
    return sorted(str(one) for one in found)


STATUS_OF = {True: CredentialStatus.INACTIVE, False: CredentialStatus.ACTIVE}  # by whether our denial is there
