"""Google's own discovery documents as the judge of what goes over the wire: each request, and each answer of the fake.

google-api-python-client ships them; nothing else of it is used. What is checked: that there is such a method at that
path, that each query parameter is one of its and of the right type, and that bodies hold known fields of right types.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

Json = dict[str, Any]
DOCUMENTS = {
    "cloudasset.googleapis.com": "cloudasset.v1",
    "cloudresourcemanager.googleapis.com": "cloudresourcemanager.v3",
    "iam.googleapis.com": "iam.v1",
    "iam.googleapis.com/v2": "iam.v2",
    "logging.googleapis.com": "logging.v2",
    "monitoring.googleapis.com": "monitoring.v3",
    "policyanalyzer.googleapis.com": "policyanalyzer.v1",
    "recommender.googleapis.com": "recommender.v1",
    "secretmanager.googleapis.com": "secretmanager.v1",
}


@dataclass(frozen=True)
class Method:
    """One method of one API, as its document has it."""

    host: str
    id: str  # "cloudasset.searchAllResources"
    about: Json
    path: Mapping[str, str]  # the parameters that the path carries


@cache
def document(host: str) -> Json:
    name = f"discovery_cache/documents/{DOCUMENTS[host]}.json"
    found: Json = json.loads(files("googleapiclient").joinpath(name).read_text())
    return found


@cache
def _methods(host: str) -> tuple[tuple[re.Pattern[str], Json], ...]:
    def walk(part: Json) -> Iterator[Json]:
        yield from part.get("methods", {}).values()
        for inner in part.get("resources", {}).values():
            yield from walk(inner)

    return tuple((_pattern(about), about) for about in walk(document(host)))


def _pattern(about: Json) -> re.Pattern[str]:
    def group(found: re.Match[str]) -> str:
        told = about["parameters"][found[2]].get("pattern", "^[^/]+$")
        return f"(?P<{found[2]}>{told.strip('^$')})"

    pieces = re.split(r"(\{\+?\w+\})", about["path"])
    return re.compile(
        "".join(re.sub(r"\{(\+?)(\w+)\}", group, piece) if "{" in piece else re.escape(piece) for piece in pieces)
    )


def find(host: str, http_method: str, path: str) -> Method | None:
    """Return the method that this address is of; None: Google has none such."""
    if f"{host}/{path.partition('/')[0]}" in DOCUMENTS:
        host = f"{host}/{path.partition('/')[0]}"
    if host not in DOCUMENTS:
        return None
    for pattern, about in _methods(host):
        if about["httpMethod"] == http_method and (found := pattern.fullmatch(path)):
            return Method(host, about["id"], about, found.groupdict())
    return None


def wrong_with_request(method: Method, query: Sequence[tuple[str, str]], body: Any) -> list[str]:
    """Return what Google would refuse of a request."""
    known = document(method.host)["parameters"] | method.about.get("parameters", {})
    found = []
    for name, value in query:
        if name not in known or known[name].get("location") == "path":
            found.append(f"{method.id}: unknown parameter {name}")
        elif not _is_of_type(known[name], value):
            found.append(f"{method.id}: {name}={value!r} is no {known[name]['type']}")
        elif not known[name].get("repeated") and [each for each, _ in query].count(name) > 1:
            found.append(f"{method.id}: {name} is given twice")
    reference = method.about.get("request")
    if reference is None:
        return found + ([f"{method.id}: takes no body"] if body is not None else [])
    return found + list(_wrong(document(method.host), reference, body, f"{method.id} request"))


def wrong_with_answer(method: Method, answer: Any) -> list[str]:
    """Return what Google would never have answered."""
    return list(_wrong(document(method.host), method.about["response"], answer, f"{method.id} answer"))


def _is_of_type(about: Json, value: str) -> bool:
    if "enum" in about and value not in about["enum"]:
        return False
    match about["type"]:
        case "integer":
            return value.lstrip("-").isdigit()
        case "boolean":
            return value in ("true", "false")
        case _:
            pass
    return about.get("format") != "google-datetime" or _is_time(value)


def _wrong(root: Json, schema: Json, value: Any, where: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = root["schemas"][schema["$ref"]]
    match schema.get("type"), value:
        case "any", _:
            return
        case "object", dict():
            yield from _wrong_object(root, schema, value, where)
        case "array", list():
            for number, each in enumerate(value):
                yield from _wrong(root, schema["items"], each, f"{where}[{number}]")
        case "string", str():
            if not _is_well_written(schema, value):
                yield f"{where}: {value!r} is no {schema.get('format') or schema.get('enum')}"
        case "boolean", bool():
            return
        case "integer" | "number", int() | float() if not isinstance(value, bool):
            return
        case kind, _:
            yield f"{where}: {value!r} is no {kind}"


def _wrong_object(root: Json, schema: Json, value: Json, where: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, each in value.items():
        inner = properties.get(name, others)
        if inner is None:
            yield f"{where}: no field {name}"
        else:
            yield from _wrong(root, inner, each, f"{where}.{name}")


def _is_well_written(schema: Json, value: str) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    match schema.get("format"):
        case "google-datetime":
            return _is_time(value)
        case "int64" | "uint64":
            return value.lstrip("-").isdigit()
        case "byte":
            return base64.b64encode(base64.b64decode(value)).decode() == value
        case _:
            return True


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
