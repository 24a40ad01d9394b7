"""Whom this program is in an account, and what it may do there: asked, and never tried out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nhi.own_power import ACTING, NEVER_NEEDED, Power
from nhi.providers.aws.calls import Calls, CannotSee, reading

_WHO, _SIMULATE = "sts:GetCallerIdentity", "iam:SimulatePrincipalPolicy"


def caller(calls: Calls) -> str:
    """Return the ARN of whom we are; of a role's session, that of the role. Raises CannotSee."""
    answer = calls.ask(_WHO)
    with reading(_WHO):
        return role_of(str(answer["Arn"]))


def role_of(arn: str) -> str:
    """Return the role of a session's ARN (without the path that it does not tell); any other ARN as it is."""
    pieces = arn.split(":")
    if len(pieces) != 6 or not pieces[5].startswith("assumed-role/"):
        return arn
    return ":".join([pieces[0], pieces[1], "iam", "", pieces[4], f"role/{pieces[5].split('/')[1]}"])


def powers(
    reader: Calls, remediator: Calls | None, actions: Sequence[str], arns: tuple[str | None, str | None]
) -> Iterator[Power]:
    """Yield what the reader and the remediator may do, of these actions. `arns` are their roles as policy has them."""
    yield _power(reader, reader, "reads", actions, arns[0], own=arns[0] is not None)
    acting = remediator or reader
    yield _power(reader, acting, ACTING, actions, arns[1] or arns[0], own=remediator is not None)


def _power(reader: Calls, of: Calls, purpose: str, actions: Sequence[str], arn: str | None, *, own: bool) -> Power:
    try:
        principal = arn or caller(of)
        caller(of)  # it can be taken
    except CannotSee as fault:
        return Power(purpose=purpose, principal="", own_role=own, unseen=fault.reason)
    try:
        may = _simulated(reader, principal, sorted({*actions, *(one for one in NEVER_NEEDED if ":" in one)}))
    except CannotSee as fault:
        return Power(purpose=purpose, principal=principal, own_role=own, unseen=fault.reason)
    return Power(purpose=purpose, principal=principal, own_role=own, may=may)


def _simulated(reader: Calls, principal: str, actions: Sequence[str]) -> frozenset[str]:
    """Ask of each action on a thing of its kind: a permission may be for users alone, or for secrets."""
    may: set[str] = set()
    for resource, asked in _by_resource(principal, actions).items():
        answer = reader.ask(_SIMULATE, PolicySourceArn=principal, ActionNames=sorted(asked), ResourceArns=[resource])
        with reading(_SIMULATE):
            told = answer["EvaluationResults"]
            may |= {str(one["EvalActionName"]) for one in told if one["EvalDecision"] == "allowed"}
    return frozenset(may)


def _by_resource(principal: str, actions: Sequence[str]) -> dict[str, list[str]]:
    """Return the actions by what they would be done to: somebody's user, role or secret."""
    _, partition, _, _, account, _ = principal.split(":", 5)
    found: dict[str, list[str]] = {}
    for action in actions:
        if action.startswith("secretsmanager:"):
            resource = f"arn:{partition}:secretsmanager:us-east-1:{account}:secret:nhi/asked-AbCdEf"
        else:
            kind = "role" if "Role" in action else "user"
            resource = f"arn:{partition}:iam::{account}:{kind}/asked"
        found.setdefault(resource, []).append(action)
    return found
