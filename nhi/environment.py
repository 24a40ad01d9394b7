"""Which environment an identity belongs to: by policy's accounts, by tags, or by names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nhi.globs import fits_any
from nhi.identity import Access, Identity, Permission
from nhi.permissions import leaves
from nhi.policy import Environment, Policy
from nhi.words import sentence

TAGS = ("environment", "env", "stage")  # compared without regard to case; also with "project:" before
ACCOUNT_NAME = "aws:account-name"  # the tag by which an organisation's accounts tell their names
_DEFAULTS = r"(?:developer|cloudservices|gcp-sa-[a-z0-9-]+\.iam)\.gserviceaccount\.com"
_NUMBERED = re.compile(rf"(?:service-)?(\d+)(?:-compute)?@{_DEFAULTS}")
# How members of Google's policies name the project that they are of, by id or number. Source:
# https://cloud.google.com/iam/docs/principal-identifiers.
_PROJECT = (
    re.compile(rf"serviceAccount:{_NUMBERED.pattern}"),
    re.compile(r"serviceAccount:[^@]+@([a-z0-9-]+)\.iam\.gserviceaccount\.com"),
    re.compile(r"serviceAccount:([a-z0-9-]+)@appspot\.gserviceaccount\.com"),
    re.compile(r"serviceAccount:([a-z0-9-]+)\.svc\.id\.goog\[[^\]]+\]"),
    re.compile(r"principal(?:Set)?://iam\.googleapis\.com/projects/(\d+)/locations/global/workloadIdentityPools/.+"),
)
# What people call them. A name of a policy's own that is none of these stands for itself.
WORDS: Mapping[str, str] = {
    **dict.fromkeys(("prod", "production", "prd", "live"), "production"),
    **dict.fromkeys(("staging", "stage", "stg", "preprod", "uat", "integration"), "staging"),
    **dict.fromkeys(("dev", "devel", "develop", "development", "sandbox", "playground"), "development"),
    **dict.fromkeys(("test", "tests", "testing", "qa"), "test"),
}


class How(StrEnum):
    """What tells of an environment."""

    POLICY = "policy"
    TAG = "tag"
    ACCOUNT = "account"
    NAME = "name"


@dataclass(frozen=True, kw_only=True)
class Belongs:
    """The environment of an identity, and how that is known."""

    name: str  # "production"
    how: How
    what: str  # the account, the tag or the name that tells

    @property
    def because(self) -> str:
        """Say how it is known: "policy says so of account 111122223333". Made late: each identity is asked."""
        return sentence(f"findings.environment_{self.how.value}", what=self.what)


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A way from one environment into another. `inward`: the other one comes in here."""

    name: str  # of the other environment
    by: str  # "arn:aws:iam::444455556666:root may be it"
    inward: bool


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What is known of accounts and projects by themselves."""

    names: Mapping[str, str] = field(
        default_factory=dict
    )  # what an organisation of AWS calls an account, by its number
    ids: Mapping[str, str] = field(default_factory=dict)  # of Google's projects, by their numbers


NONE_KNOWN = Accounts()


def accounts_of(identities: Iterable[Identity]) -> Accounts:
    """Return what identities tell of the accounts that they are in."""
    names: dict[str, str] = {}
    ids: dict[str, str] = {}
    for one in identities:
        if (name := one.tags.get(ACCOUNT_NAME)) is not None:
            names[one.account] = name
        elif one.provider == "gcp" and (numbered := _NUMBERED.fullmatch(one.name)) is not None:
            ids[numbered[1]] = one.account
    return Accounts(names=names, ids=ids)


def belongs(identity: Identity, policy: Policy) -> Belongs | None:
    """Return the environment of an identity; None: nothing tells. What is said on purpose comes before names."""
    if (told := _of_account(identity.account, policy.environments)) is not None:
        return Belongs(name=told, how=How.POLICY, what=identity.account)
    if (tagged := _of_tags(identity.tags)) is not None:
        return tagged
    called = identity.tags.get(ACCOUNT_NAME) or identity.account
    if (name := _in_words([called])) is not None:
        return Belongs(name=name, how=How.ACCOUNT, what=called)
    if (own := _of_name(identity.name, policy.environments)) is not None:
        return Belongs(name=own, how=How.NAME, what=identity.name)
    return None


def of_account(account: str, policy: Policy, known: Accounts = NONE_KNOWN) -> str | None:
    """Return the environment of an account or project; None: nothing tells."""
    return _of_account(account, policy.environments) or _in_words([known.names.get(account, account)])


def crossings(identity: Identity, policy: Policy, known: Accounts = NONE_KNOWN) -> tuple[Crossing, ...]:
    """Return the ways in which an identity joins its environment with another one, each once."""
    own, access = belongs(identity, policy), identity.access
    if own is None or access is None:
        return ()
    found: dict[Crossing, None] = {}
    for told, what, given in _reached(access):
        account = known.ids.get(told, told)
        name = None if account in ("", identity.account) else of_account(account, policy, known)
        if name is None or name == own.name:
            continue
        if given is None:
            found[Crossing(name=name, by=_taken(what), inward=True)] = None
        elif identity.provider != "aws" or leaves(access, given, what):
            found[Crossing(name=name, by=_allowed(what), inward=False)] = None
    return tuple(found)


def _taken(who: str) -> str:
    return sentence("findings.crossing_taken", who=who)


def _allowed(what: str) -> str:
    return sentence("findings.crossing_allowed", what=what)


def _reached(access: Access) -> Iterable[tuple[str, str, Permission | None]]:
    """Yield accounts that trust and permissions name, what names them, and what is given there; None: may come in."""
    for trust in access.trust:
        yield account_in(trust.who), trust.who, None
    for permission in access.permissions:
        for resource in permission.resources if permission.allows else ():
            yield account_in(resource), resource, permission


def account_in(text: str) -> str:
    """Return the account that an ARN or a number names, or the project of a Google resource or account; "": none.

    A project may be named by its number.
    """
    if text.startswith("arn:"):
        parts = text.split(":")
        return parts[4] if len(parts) > 5 and parts[4].isdigit() else ""
    if text.isdigit() and len(text) == 12:
        return text
    if text.startswith("projects/"):
        return text.split("/")[1]
    if not text.startswith(("serviceAccount:", "principal")):  # most are patterns, such as "*"
        return ""
    found = next((match for one in _PROJECT if (match := one.fullmatch(text)) is not None), None)
    return found[1] if found else ""


def _of_account(account: str, told: Sequence[Environment]) -> str | None:
    return next((one.name for one in told if fits_any(one.accounts, account)), None)


def _of_tags(tags: Mapping[str, str]) -> Belongs | None:
    for key, value in tags.items():
        if key.lower().removeprefix("project:") in TAGS and value.strip():
            name = WORDS.get(value.strip().lower(), value.strip().lower())
            return Belongs(name=name, how=How.TAG, what=f"{key}={value.strip()}")
    return None


def _of_name(name: str, told: Sequence[Environment]) -> str | None:
    return next((one.name for one in told if fits_any(one.names, name)), None) or _in_words([name])


def _in_words(texts: Iterable[str]) -> str | None:
    """Return the environment that one of the words of a name tells; two that differ tell nothing."""
    words = {word for text in texts for word in re.split(r"[^a-z0-9]+", text.lower())}
    found = {WORDS[word] for word in words if word in WORDS}
    return found.pop() if len(found) == 1 else None
