"""The `[rotation]` of policy.toml: whether second keys are made at all, and where each new secret goes."""

from __future__ import annotations

import re
from datetime import timedelta

from pydantic import Field, field_validator, model_validator

from nhi.identity import Identity
from nhi.policy_match import Match
from nhi.policy_sources import Section
from nhi.policy_words import Duration

_HOLES = frozenset({"account", "name", "provider"})


class Destination(Section):
    """Where the new secret of what `match` fits goes; it is written there, and never read."""

    match: Match = Match()
    secret: str = Field(min_length=1, max_length=512)  # a name or an ARN, with {account} and {name} filled in
    region: str | None = None  # where the secret is; None: the source's own region
    kms_key: str | None = None  # encrypts a secret that is made for this; None: the account's own key
    native: bool = False  # the secret has rotation of its own: it is asked to rotate, and makes the key itself

    @field_validator("secret")
    @classmethod
    def _holes_are_known(cls, value: str) -> str:
        strange = set(re.findall(r"\{([^{}]*)\}", value)) - _HOLES
        if strange:
            known = ", ".join(sorted("{" + hole + "}" for hole in _HOLES))
            raise ValueError(f"a secret's name may hold {known}; got {{{min(strange)}}}")
        return value


class Rotation(Section):
    """Off by default: without `enabled`, no key is ever made."""

    enabled: bool = False
    still_for: Duration = timedelta(days=7)  # the old key unused so long, and the new one used: then it is asked about
    destinations: tuple[Destination, ...] = ()  # the first that fits; what none fits is not rotated from here

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Rotation:
        if self.enabled and not self.destinations:
            raise ValueError(
                "rotation needs a place for new secrets: add [[rotation.destinations]] with"
                ' secret = "nhi/{account}/{name}"'
            )
        return self

    def destination_for(self, identity: Identity) -> Destination | None:
        """Return where this identity's new secret goes; None: policy does not let it be rotated from here."""
        if not self.enabled:
            return None
        return next((one for one in self.destinations if one.match.fits(identity)), None)
