"""How much authority an act on an identity takes: one person, two, and whether each proves who they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from nhi.identity import Identity
from nhi.policy import Policy
from nhi.words import sentence


class Second(StrEnum):
    """Why one person is not enough for an act."""

    ADMINISTERS = "administers"
    CONSOLE = "console"
    NAMED = "named"  # by policy
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Required:
    """What an act takes beside one person's click. `second` says why another person must agree; None: nobody must."""

    second: Second | None
    step_up: bool


def in_words(second: Second) -> str:
    """Return why another person must agree, as words that stand after "because"."""
    return sentence(f"second.because_{second.value}")


def required(identity: Identity, policy: Policy, credential_kind: str | None = None) -> Required:
    """Return what turning off something of this identity takes, by policy.

    A console password is a person's way in, whoever the identity is: that takes two, unless policy says "never".
    """
    rules = policy.remediation
    named = any(match.fits(identity) for match in rules.second_person_for)
    privileged = identity.privileged or named
    second = None
    if rules.second_person == "always":
        second = Second.ALWAYS
    elif named:
        second = Second.NAMED
    elif rules.second_person == "privileged" and identity.privileged:
        second = Second.ADMINISTERS
    elif rules.second_person == "privileged" and credential_kind == "console_password":
        second = Second.CONSOLE
    return Required(second=second, step_up=rules.step_up == "always" or (rules.step_up == "privileged" and privileged))


def protecting(patterns: Sequence[str], identity: Identity, credential_id: str | None) -> str | None:
    """Return the first of these globs that the identity's ARN or name or the credential's id fits; None: none does."""
    names = [name for name in (identity.principal, identity.name, credential_id) if name]
    return next((glob for glob in patterns if _fits(glob, names)), None)


def _fits(glob: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names)


ITSELF = "itself"  # the source of evidence that this program runs as an identity


def own_names(policy: Policy) -> tuple[str, ...]:
    """Return globs of what this program runs as, as policy names it."""
    named: list[str] = []
    for source in policy.sources:
        named += [arn for arn in (source.role_arn, source.remediator_role_arn) if arn is not None]
        roles = (source.role_name, source.remediator_role_name)
        named += [f"arn:aws*:iam::*:role/*{role}" for role in roles if role is not None]
        accounts = (source.impersonate, source.remediator_impersonate)
        named += [f"serviceAccount:{account}" for account in accounts if account is not None]
    return tuple(named)


def answers_for_us(policy: Policy) -> str | None:
    """Return who answers for this program: the first admin with an e-mail, the fallback, or an admin's Slack id."""
    admins = policy.people.admins
    emails = [admin for admin in admins if "@" in admin]
    return emails[0] if emails else policy.owners.fallback or next(iter(admins), None)


def is_same(principal: str, name: str) -> bool:
    """Whether two ARNs are of the same user or role: a session's does not tell the path of its role."""
    ours, theirs = principal.split(":"), name.split(":")
    if len(ours) != 6 or len(theirs) != 6:
        return principal == name
    kinds = [pieces[5].partition("/")[0] for pieces in (ours, theirs)]
    names = [pieces[5].rpartition("/")[2] for pieces in (ours, theirs)]
    return ours[4] == theirs[4] and kinds[0] == kinds[1] and names[0] == names[1]
