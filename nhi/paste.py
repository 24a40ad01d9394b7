"""A smaller policy as something to paste: JSON, a diff, and Terraform, in each cloud's own words. Pure.

AWS: one customer-managed policy in place of everything that is attached now, so that policies which others share are
left alone. Google Cloud: the roles that go, and those that come in their place.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nhi.identity import Identity, Permission

Json = dict[str, Any]
MANAGED_AT_MOST = 6144  # characters of a managed policy, spaces left out: IAM's own limit


def document(permissions: Iterable[Permission]) -> Json:
    """Return the statements as an AWS policy."""
    return {"Version": "2012-10-17", "Statement": [_statement(one) for one in permissions]}


def _statement(one: Permission) -> Json:
    found: Json = {"Effect": "Allow" if one.allows else "Deny"}
    for name, values in (
        ("Action", one.actions),
        ("NotAction", one.but_actions),
        ("Resource", one.resources),
        ("NotResource", one.but_resources),
    ):
        if values:
            found[name] = list(values) if len(values) > 1 else values[0]
    if one.condition:
        found["Condition"] = json.loads(one.condition)
    return found


def bindings(permissions: Iterable[Permission]) -> list[Json]:
    """Return roles on resources as Google's bindings."""
    return [
        {"role": one.actions[0], "resource": one.resources[0]}
        | ({"condition": {"expression": one.condition}} if one.condition else {})
        for one in permissions
        if one.allows
    ]


def as_json(identity: Identity, permissions: Sequence[Permission]) -> Any:
    """Return the whole in the cloud's own words, as values for JSON."""
    return bindings(permissions) if identity.provider == "gcp" else document(permissions)


def diff(identity: Identity, before: Sequence[Permission], after: Sequence[Permission]) -> str:
    """Return a unified diff of the JSON, one piece for each policy that changes; "" where nothing does."""
    places = list(dict.fromkeys(one.via for one in before))
    pieces = (_piece(identity, place, _of(before, place), _of(after, place)) for place in places)
    return "".join(piece for piece in pieces if piece)


def _of(permissions: Sequence[Permission], place: str) -> list[Permission]:
    return [one for one in permissions if one.via == place]


def _piece(identity: Identity, place: str, before: list[Permission], after: list[Permission]) -> str:
    old, new = (_lines(identity, one) if one else [] for one in (before, after))
    named = place or "policy"
    return "".join(difflib.unified_diff(old, new, f"a/{named}", f"b/{named}" if new else "/dev/null"))


def _lines(identity: Identity, permissions: list[Permission]) -> list[str]:
    text = json.dumps(as_json(identity, permissions), indent=2, ensure_ascii=False)
    return [f"{line}\n" for line in text.splitlines()]


def terraform(identity: Identity, before: Sequence[Permission], after: Sequence[Permission]) -> str:
    """Return Terraform that gives an identity what it keeps, with the list of what it takes the place of."""
    if identity.provider == "gcp":
        return "\n".join(_google(identity, before, after))
    return "\n".join(_aws(identity, before, after)) + "\n"


def _aws(identity: Identity, before: Sequence[Permission], after: Sequence[Permission]) -> Iterator[str]:
    what = "role" if identity.kind == "iam_role" else "user"
    name = _identifier(identity.name)
    policy = document(after)
    length = len(re.sub(r"\s", "", json.dumps(policy, separators=(",", ":"))))
    yield f"# In place of, for this {what} alone:"
    yield from (f"#   {_comment(place)}" for place in dict.fromkeys(one.via for one in before if one.via))
    if length > MANAGED_AT_MOST:
        yield f"# It has {length} characters; a managed policy takes {MANAGED_AT_MOST}. Split it by statements."
    yield f'resource "aws_iam_policy" "{name}_least" {{'
    yield f"  name   = {_quoted(f'{identity.name}-least')}"
    yield f"  policy = jsonencode({_hcl(policy, '  ')})"
    yield "}"
    yield ""
    yield f'resource "aws_iam_{what}_policy_attachment" "{name}_least" {{'
    yield f"  {what}       = {_quoted(identity.name)}"
    yield f"  policy_arn = aws_iam_policy.{name}_least.arn"
    yield "}"


def _google(identity: Identity, before: Sequence[Permission], after: Sequence[Permission]) -> Iterator[str]:
    kept = {(one.actions, one.resources, one.condition) for one in after}
    yield "# Taken out:"
    for one in before:
        if (one.actions, one.resources, one.condition) not in kept:
            yield f"#   {_comment(one.actions[0])} on {_comment(one.resources[0])}"
    for number, one in enumerate((one for one in after if one not in before), start=1):
        kind, _, place = one.resources[0].partition("/")
        thing = {"projects": "project", "folders": "folder", "organizations": "organization"}.get(kind)
        if thing is None:
            yield f"# Give {_comment(one.actions[0])} on {_comment(one.resources[0])} instead."
            continue
        key = {"project": "project", "folder": "folder", "organization": "org_id"}[thing]
        yield f'resource "google_{thing}_iam_member" "{_identifier(identity.name)}_{number}" {{'
        yield f"  {key:<7} = {_quoted(place)}"
        yield f"  role    = {_quoted(one.actions[0])}"
        yield f"  member  = {_quoted(identity.principal)}"
        yield "}"


def _identifier(name: str) -> str:
    found = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")
    return found if found[:1].isalpha() else f"i_{found}"


def _comment(text: str) -> str:
    """Keep a name on its own line: it was typed by somebody."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", text)


def _quoted(text: str) -> str:
    """Return a text as HCL's: JSON's, with the signs of its templates doubled."""
    return json.dumps(text, ensure_ascii=True).replace("${", "$${").replace("%{", "%%{")


def _hcl(value: object, indent: str) -> str:
    more = indent + "  "
    if isinstance(value, dict):
        lines = [f"{more}{_quoted(str(key))} = {_hcl(one, more)}" for key, one in value.items()]
        return "{\n" + "\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(more + _hcl(one, more) for one in value) + f"\n{indent}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)
