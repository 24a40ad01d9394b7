"""Which environment an identity belongs to: by policy's accounts, by tags, or by names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nhi.globs import fits_any
from nhi.identity import Access, Identity, TrustKind
from nhi.policy import Environment, Policy
from nhi.words import sentence

TAGS = ("environment", "env", "stage")  # compared without regard to case; also with "project:" before
ACCOUNT_NAME = "aws:account-name"  # the tag by which an organisation's accounts tell their names
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


def of_account(account: str, policy: Policy) -> str | None:
    """Return the environment of an account or project; None: nothing tells."""
    return _of_account(account, policy.environments) or _in_words([account])


def crossings(identity: Identity, policy: Policy) -> tuple[Crossing, ...]:
    """Return the ways in which an identity joins its environment with another one, each once."""
    own = belongs(identity, policy)
    if own is None or identity.access is None:
        return ()
    found = [
        (name, what, inward)
        for account, what, inward in _reached(identity.access, identity.account)
        if (name := of_account(account, policy)) is not None and name != own.name
    ]
    return tuple(
        Crossing(name=name, by=_taken(what) if inward else _allowed(what), inward=inward)
        for name, what, inward in dict.fromkeys(found)
    )


def _taken(who: str) -> str:
    return sentence("findings.crossing_taken", who=who)


def _allowed(what: str) -> str:
    return sentence("findings.crossing_allowed", what=what)


def _reached(access: Access, own: str) -> Iterable[tuple[str, str, bool]]:
    """Yield other accounts that trust and permissions name, each with what names it; True: that may come in here."""
    for trust in access.trust:
        account = account_in(trust.who)
        if trust.kind is TrustKind.IDENTITY and account not in ("", own):
            yield account, trust.who, True
    for permission in access.permissions:
        for resource in permission.resources if permission.allows else ():
            account = account_in(resource)
            if account not in ("", own):
                yield account, resource, False


def account_in(text: str) -> str:
    """Return the account that an ARN or a number names, or the project of a Google resource or account; "": none."""
    if text.startswith("arn:"):
        parts = text.split(":")
        return parts[4] if len(parts) > 5 and parts[4].isdigit() else ""
    if text.isdigit() and len(text) == 12:
        return text
    if text.startswith("projects/"):
        return text.split("/")[1]
    found = re.fullmatch(r"serviceAccount:[^@]+@([a-z0-9-]+)\.iam\.gserviceaccount\.com", text)
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
