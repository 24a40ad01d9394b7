"""AWS's policy documents made sense of: statements and trust, in the one shape for all clouds. Pure.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html. botocore decodes documents;
one that is no JSON stays text, and then nobody knows what it allows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nhi.identity import Permission, Trust, TrustKind

_IDENTITY = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(?:user|role)/.+")
_ACCOUNT = re.compile(r"(?:arn:aws[a-z-]*:(?:iam|sts)::)?(\d{12})(?::.*)?")

_VOUCHING = frozenset({"rolesanywhere.amazonaws.com"})  # services that let in whom somebody's certificates vouch for


class UnreadablePolicy(ValueError):
    """A document in no known shape."""


def statements(document: object, via: str) -> tuple[Permission, ...]:
    """Return a document's statements. Raises UnreadablePolicy."""
    return tuple(_permission(one, via) for one in _statements(document))


def _statements(document: object) -> list[Mapping[str, Any]]:
    if not isinstance(document, Mapping):
        raise UnreadablePolicy("a policy is a JSON object")
    found = _several(document.get("Statement"))
    if not all(isinstance(one, Mapping) for one in found):
        raise UnreadablePolicy("a policy's statements are JSON objects")
    return found


def _permission(statement: Mapping[str, Any], via: str) -> Permission:
    effect = statement.get("Effect")
    actions, but_actions = _texts(statement, "Action"), _texts(statement, "NotAction")
    if effect not in ("Allow", "Deny") or bool(actions) == bool(but_actions):
        raise UnreadablePolicy("a statement has an effect, and actions or all but some")
    resources, but_resources = _texts(statement, "Resource"), _texts(statement, "NotResource")
    return Permission(
        allows=effect == "Allow",
        actions=actions,
        but_actions=but_actions,
        resources=resources,
        but_resources=but_resources,
        condition=_condition(statement),
        via=via,
    )


def granted(document: object, resource: str, via: str) -> Iterator[tuple[str, Permission]]:
    """Yield what a resource's policy allows or denies a user or role that it names, by ARN. Raises UnreadablePolicy."""
    for one in _statements(document):
        principal = one.get("Principal")
        for who in _several(principal.get("AWS") if isinstance(principal, Mapping) else None):
            if isinstance(who, str) and _IDENTITY.fullmatch(who):
                said = _permission(one, via)
                places = tuple(resource if place == "*" else place for place in said.resources) or (resource,)
                yield who, replace(said, resources=places, but_resources=())


def trusted(document: object, account: str) -> tuple[Trust, ...]:
    """Return who may take a role by its trust policy; its denials are left out. Raises UnreadablePolicy."""
    return tuple(
        trust for one in _statements(document) if one.get("Effect") == "Allow" for trust in _trusts(one, account)
    )


def _trusts(statement: Mapping[str, Any], account: str) -> Iterator[Trust]:
    condition = _condition(statement)
    if "NotPrincipal" in statement:
        yield Trust(who="*", kind=TrustKind.ANYONE, outside=True, condition=condition)
        return
    principal = statement.get("Principal")
    listed = principal if isinstance(principal, Mapping) else {"AWS": principal}
    for kind, value in listed.items():
        for who in _several(value):
            if isinstance(who, str):
                yield _trust(kind, who, condition, account)


def _trust(kind: str, who: str, condition: str, account: str) -> Trust:
    if kind == "Service" and who in _VOUCHING:
        return Trust(who=who, kind=TrustKind.FEDERATED, outside=True, condition=condition)
    if kind == "Service":
        return Trust(who=who, kind=TrustKind.SERVICE, outside=False, condition=condition)
    if kind == "Federated":
        return Trust(who=who, kind=TrustKind.FEDERATED, outside=True, condition=condition)
    if who == "*":
        return Trust(who=who, kind=TrustKind.ANYONE, outside=True, condition=condition)
    match = _ACCOUNT.fullmatch(who)
    return Trust(
        # A principal that was deleted is left as its unique id ("AIDA..."): of this account, as it cannot come back.
        who=who,
        kind=TrustKind.IDENTITY,
        outside=match is not None and match[1] != account,
        condition=condition,
    )


def _condition(statement: Mapping[str, Any]) -> str:
    told = statement.get("Condition")
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False) if told else ""


def _texts(statement: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = _several(statement.get(name))
    if not all(isinstance(one, str) for one in found):
        raise UnreadablePolicy(f"{name} is text, or a list of texts")
    return tuple(found)


def _several(value: object) -> list[Any]:
    """A policy's element may stand alone, in a list, or be missing."""
    return [] if value is None else value if isinstance(value, list) else [value]
