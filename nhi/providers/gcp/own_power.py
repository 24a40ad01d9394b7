"""What this program may do in a scope of Google Cloud: asked by testIamPermissions, and never tried out.

It needs no permission, and tells of the caller alone. Source:
https://cloud.google.com/resource-manager/reference/rest/v3/projects/testIamPermissions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nhi.own_power import ACTING, NEVER_NEEDED, Power
from nhi.providers.gcp.calls import Calls, CannotSee, reading

_TEST = "testIamPermissions"
_HOST = "cloudresourcemanager.googleapis.com/v3"
_AT_ONCE = 100  # permissions in one question


def powers(reader: Calls, remediator: Calls | None, actions: Sequence[str], scope: str) -> Iterator[Power]:
    """Yield what the reader and the remediator may do of these actions in a scope ("projects/my-project")."""
    yield _power(reader, "reads", actions, scope, own=True)
    yield _power(remediator or reader, ACTING, actions, scope, own=remediator is not None)


def _power(calls: Calls, purpose: str, actions: Sequence[str], scope: str, *, own: bool) -> Power:
    others = {"organizations", "folders", "projects"} - {scope.partition("/")[0]}  # whose permissions mean nothing here
    elsewhere = tuple(f"resourcemanager.{kind}." for kind in others)
    never = {one for one in NEVER_NEEDED if ":" not in one and not one.startswith(elsewhere)}
    try:
        principal = calls.acts_as() or "the ambient account"
        may = _held(calls, scope, sorted({*actions, *never}))
    except CannotSee as fault:
        return Power(purpose=purpose, principal="", own_role=own, unseen=fault.reason)
    return Power(purpose=purpose, principal=principal, own_role=own, may=may)


def _held(calls: Calls, scope: str, permissions: Sequence[str]) -> frozenset[str]:
    held: set[str] = set()
    for start in range(0, len(permissions), _AT_ONCE):
        asked = {"permissions": list(permissions[start : start + _AT_ONCE])}
        answer = calls.post(_TEST, f"{_HOST}/{scope}:testIamPermissions", asked)
        with reading(_TEST):
            held |= {str(one) for one in answer.get("permissions") or ()}
    return frozenset(held)
