"""What projects and free text tell of owners, each as a kind of evidence of its own: pure.

Google has no labels on service accounts. Their project's labels speak for everything in it, and so do those who own the
project; a description or display name is where people write whom to ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from nhi.identity import Evidence, Identity
from nhi.providers.gcp.bindings import Bindings
from nhi.words import repeated, sentence

SOURCES = ("label", "project_owner", "description")
_OWNERS_AT_MOST = 5  # of a project; where there are more, owning it says little of any one thing in it
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,63}")
_PLATFORM = ("gserviceaccount.com", "googlegroups.com")


def evidence(identity: Identity, bindings: Bindings, keys: Sequence[str]) -> Iterator[Evidence]:
    """Yield what speaks for somebody as the owner of this identity."""
    if identity.service_linked:
        return
    for key in keys:
        value = identity.tags.get(f"project:{key}", "").strip()
        if value:
            says = repeated("clouds.gcp_label_names", key=key, value=value)
            yield _fact(identity, "label", says, value)
    for name in ("gcp:description", "gcp:display-name"):
        for email in _emails(identity.tags, name):
            block = "gcp_description_names" if name == "gcp:description" else "gcp_display_name_names"
            yield _fact(identity, "description", sentence(f"clouds.{block}", email=email), email)
    owners = tuple(dict.fromkeys(bindings.owners.get(identity.tags.get("gcp:project", ""), ())))
    if len(owners) <= _OWNERS_AT_MOST:
        for owner in owners:
            says = repeated("clouds.gcp_owns_project", who=owner, project=identity.account)
            yield _fact(identity, "project_owner", says, owner)


def _emails(tags: Mapping[str, str], name: str) -> list[str]:
    found = dict.fromkeys(_EMAIL.findall(tags.get(name, "")))
    return [email for email in found if not email.lower().endswith(_PLATFORM)][:3]


def _fact(identity: Identity, source: str, fact: str, points_to: str) -> Evidence:
    return Evidence(source=source, fact=fact, points_to=points_to, at=None, identity_key=identity.key)
