"""How a section of policy.toml says which identities it is about."""

from __future__ import annotations

from fnmatch import fnmatchcase

from nhi.identity import Identity
from nhi.policy_sources import Section


class Match(Section):
    """What a rule applies to: every key given must fit. Names are globs, tags are exact."""

    provider: str | None = None
    account: str | None = None
    kind: str | None = None
    name: str | None = None
    tag: dict[str, str] = {}

    def fits(self, identity: Identity) -> bool:
        return (
            self.provider in (None, identity.provider)
            and self.account in (None, identity.account)
            and self.kind in (None, identity.kind)
            and (self.name is None or fnmatchcase(identity.name, self.name))
            and all(identity.tags.get(key) == value for key, value in self.tag.items())
        )
