"""How much authority an act on an identity takes: one person, two, and whether each proves who they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from nhi.identity import Identity
from nhi.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Required:
    """What an act takes beside one person's click. `second` says why another person must agree; None: nobody must."""

    second: str | None
    step_up: bool


# The words of `Required.second`, of which templates/en/acts.mrkdwn.j2 makes sentences.
ADMINISTERS = "it can administer its account"
CONSOLE = "it denies somebody's sign-in to the console"
BY_POLICY = "policy names it"
ALWAYS = "policy asks for it each time"


def required(identity: Identity, policy: Policy, credential_kind: str | None = None) -> Required:
    """Return what turning off something of this identity takes, by policy.

    A console password is a person's way in, whoever the identity is: that takes two, unless policy says "never".
    """
    rules = policy.remediation
    named = any(match.fits(identity) for match in rules.second_person_for)
    privileged = identity.privileged or named
    second = None
    if rules.second_person == "always":
        second = ALWAYS
    elif named:
        second = BY_POLICY
    elif rules.second_person == "privileged" and identity.privileged:
        second = ADMINISTERS
    elif rules.second_person == "privileged" and credential_kind == "console_password":
        second = CONSOLE
    return Required(second=second, step_up=rules.step_up == "always" or (rules.step_up == "privileged" and privileged))


def protecting(patterns: Sequence[str], identity: Identity, credential_id: str | None) -> str | None:
    """Return the first of these globs that the identity's ARN or name or the credential's id fits; None: none does."""
    names = [name for name in (identity.principal, identity.name, credential_id) if name]
    return next((glob for glob in patterns if _fits(glob, names)), None)


def _fits(glob: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names)
