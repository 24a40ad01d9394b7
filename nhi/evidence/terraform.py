"""Terraform: which resources of a .tf file, and of a state, declare identities. Pure.

HCL is read here and not by python-hcl2: that one reads about 20 KB a second, loses a whole file for one line that it
does not like, and the text of a block's lines is all that is wanted. This reader knows strings, heredocs, comments and
brackets; of expressions it takes plain strings, and variables and locals whose value stands in the same folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nhi.evidence.declared import Declared, parts_of_arn

# Which argument of a resource names the identity, and of what kind that is.
_RESOURCES = {
    "aws_iam_user": ("name", "iam_user"),
    "aws_iam_role": ("name", "iam_role"),
    "aws_iam_access_key": ("user", "iam_user"),
    "aws_iam_user_policy_attachment": ("user", "iam_user"),
    "google_service_account": ("account_id", "service_account"),
}
_LABELS = ("tags", "tags_all", "labels")
_TOKEN = re.compile(
    r"""(?P<skip>\#[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z)|[ \t\r]+)
      | (?P<line>\n)
      | (?P<heredoc><<[-~]?(?P<mark>[A-Za-z_][\w-]*)[^\n]*\n.*?(?:\n[ \t]*(?P=mark)\b|\Z))
      | (?P<string>"(?:[^"\\\n$%]|\\.|[$%](?!\{)|[$%]\{[^}"\n]*(?:"[^"\n]*"[^}"\n]*)*\})*")
      | (?P<word>[A-Za-z_][\w.-]*(?:\[[^\]\n]*\])?(?:\.[\w.-]+)?)
      | (?P<open>[\[{(])
      | (?P<close>[\]})])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_REFERENCE = re.compile(r"^(var|local)\.([\w-]+)$")
_INSIDE = re.compile(r"\$\{\s*((?:var|local)\.[\w-]+)\s*\}")
_NAME_OF = re.compile(r"^(aws_iam_\w+|google_service_account)\.([\w-]+)(?:\[[^\]]*\])?\.(?:name|id|arn|email)$")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """One top-level block: `resource "aws_iam_user" "ci" { ... }`."""

    words: tuple[str, ...]
    values: Mapping[str, Any]  # arguments: texts, maps of texts; what is more than that is left out
    first_line: int
    last_line: int


def blocks(text: str) -> Iterator[Block]:
    """Yield the top-level blocks of a .tf file. What cannot be read is passed over, up to the next block."""
    tokens = [token for token in _tokens(text) if token.kind != "skip"]
    place = 0
    while place < len(tokens):
        first = tokens[place]
        words: list[str] = []
        while place < len(tokens) and tokens[place].kind in ("word", "string"):
            words.append(_unquoted(tokens[place].text))
            place += 1
        if not words or place >= len(tokens) or tokens[place].text != "{":
            place += 1
            continue
        end = _closing(tokens, place)
        yield Block(
            words=tuple(words),
            values=_arguments(tokens[place + 1 : end]),
            first_line=first.line,
            last_line=tokens[min(end, len(tokens) - 1)].line,
        )
        place = end + 1


def declared(files: Mapping[str, str]) -> Iterator[tuple[str, Declared]]:
    """Yield what the .tf files of one folder declare, each with its file.

    Where a name is made of what the folder does not tell, the name is "": a state may know it.
    """
    found = [(path, block) for path, text in files.items() for block in blocks(text)]
    known = _known_values(block for _, block in found)
    names: dict[str, str] = {}
    for _, block in found:
        if len(block.words) == 3 and block.words[0] == "resource" and block.words[1] in _RESOURCES:
            name = _text(block.values.get(_RESOURCES[block.words[1]][0]), known)
            if name:
                names[f"{block.words[1]}.{block.words[2]}"] = name
    for path, block in found:
        if one := _declared(block, known, names):
            yield path, one


def _declared(block: Block, known: Mapping[str, str], names: Mapping[str, str]) -> Declared | None:
    if len(block.words) != 3 or block.words[0] != "resource" or block.words[1] not in _RESOURCES:
        return None
    argument, kind = _RESOURCES[block.words[1]]
    value = block.values.get(argument)
    reference = _NAME_OF.match(value) if isinstance(value, str) else None
    name = names.get(f"{reference[1]}.{reference[2]}", "") if reference else _text(value, known) or ""
    project = _text(block.values.get("project"), known) if kind == "service_account" else None
    return Declared(
        how="Terraform",
        address=f"{block.words[1]}.{block.words[2]}",
        kind=kind,
        name=name,
        account=project,
        first_line=block.first_line,
        last_line=block.last_line,
        tags=_tags(block.values, known),
    )


def _tags(values: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for label in _LABELS:
        told = values.get(label)
        for key, value in told.items() if isinstance(told, Mapping) else ():
            if (text := _text(value, known)) is not None:
                tags[key] = text
    return tags


def _known_values(found: Iterator[Block]) -> dict[str, str]:
    """Return the values of variables' defaults and of locals, as `var.x` and `local.x`."""
    known: dict[str, str] = {}
    for block in found:
        match block.words:
            case ("variable", name) if _is_text(block.values.get("default")):
                known[f"var.{name}"] = _unquoted(block.values["default"])
            case ("locals",):
                known |= {f"local.{key}": _unquoted(value) for key, value in block.values.items() if _is_text(value)}
            case _:
                pass
    return known


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.startswith('"') and "${" not in value


def _text(value: object, known: Mapping[str, str]) -> str | None:
    """Return an argument's text; None: it is made of what is not known here."""
    if not isinstance(value, str):
        return None
    if _REFERENCE.match(value):
        return known.get(value)
    if not value.startswith('"'):
        return None
    filled = _INSIDE.sub(lambda found: known.get(found[1], found[0]), _unquoted(value))
    return None if "${" in filled or "%{" in filled else filled


def _unquoted(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text[1:-1]) if text.startswith('"') else text


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        kind = next(
            name for name in ("skip", "line", "heredoc", "string", "word", "open", "close", "other") if found[name]
        )
        yield _Token(kind, found[0], line)
        line += found[0].count("\n")


def _closing(tokens: list[_Token], place: int) -> int:
    """Return the place of the bracket that closes the one here; where none does, the end."""
    depth = 0
    for number in range(place, len(tokens)):
        if tokens[number].kind == "open":
            depth += 1
        elif tokens[number].kind == "close":
            depth -= 1
            if depth == 0:
                return number
    return len(tokens)


def _arguments(tokens: list[_Token]) -> dict[str, Any]:
    """Return `key = value` pairs of a block's own level: a value is one token's text, or a map of such."""
    values: dict[str, Any] = {}
    place = 0
    while place < len(tokens):
        token = tokens[place]
        after = tokens[place + 1].text if place + 1 < len(tokens) else ""
        if token.kind in ("word", "string") and after in ("=", ":"):
            place = _argument(tokens, place, values)
        elif token.kind == "open":
            place = _closing(tokens, place) + 1
        else:
            place += 1
    return values


def _argument(tokens: list[_Token], place: int, values: dict[str, Any]) -> int:
    """Read one `key = value` into `values`; return where the next thing begins."""
    key, start = _unquoted(tokens[place].text), place + 2
    if start < len(tokens) and tokens[start].text == "{":
        end = _closing(tokens, start)
        values[key] = _arguments(tokens[start + 1 : end])
        return end + 1
    end = start
    while end < len(tokens) and tokens[end].kind != "line" and tokens[end].text != ",":
        end = _closing(tokens, end) + 1 if tokens[end].kind == "open" else end + 1
    if end == start + 1 and tokens[start].kind in ("string", "word"):
        values[key] = tokens[start].text
    elif end > start and tokens[start].text == "merge":  # merge(local.tags, { Owner = "ana" })
        values[key] = _arguments([t for t in tokens[start + 1 : end] if t.text not in "(){}"])
    return end


def state_addresses(text: str) -> dict[tuple[str, str, str], str]:
    """Return {(account, kind, name): address in the code} of a Terraform state (version 4). Raises ValueError.

    A state tells what each resource really is called, whatever expressions its name was made of. Its values may hold
    secrets: nothing else is read.
    """
    told = json.loads(text)
    if not isinstance(told, Mapping) or not isinstance(told.get("resources", []), list):
        raise ValueError("no Terraform state")
    found: dict[tuple[str, str, str], str] = {}
    for resource in told.get("resources", []):
        if not isinstance(resource, Mapping) or resource.get("type") not in ("aws_iam_user", "aws_iam_role"):
            continue
        for instance in resource.get("instances") or []:
            attributes = instance.get("attributes") if isinstance(instance, Mapping) else None
            parts = parts_of_arn(str(attributes.get("arn"))) if isinstance(attributes, Mapping) else None
            if parts is not None:
                module = f"{resource['module']}." if isinstance(resource.get("module"), str) else ""
                found[parts] = f"{module}{resource['type']}.{resource.get('name')}"
    return found
