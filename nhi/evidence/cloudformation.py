"""CloudFormation: which resources of a template declare identities. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from nhi.evidence.declared import Declared
from nhi.evidence.documents import Value, documents

_RESOURCES = {
    "AWS::IAM::User": ("UserName", "iam_user"),
    "AWS::IAM::Role": ("RoleName", "iam_role"),
    "AWS::IAM::AccessKey": ("UserName", "iam_user"),
    "AWS::Serverless::Function": ("Role", "iam_role"),
}


def is_template(text: str) -> bool:
    """Whether it is worth reading as a template."""
    return "AWS::" in text and "Resources" in text


def declared(text: str) -> Iterator[Declared]:
    """Yield what a template declares. Raises Unreadable."""
    for document in documents(text):
        resources = document.at("Resources")
        parameters = document.at("Parameters")
        for name, resource in resources.items.items() if resources else ():
            argument, kind = _RESOURCES.get(resource.text_at("Type") or "", ("", ""))
            properties = resource.at("Properties")
            told = _text(properties.at(argument), parameters) if argument and properties else None
            if told is None or properties is None or told.startswith("arn:"):
                continue
            yield Declared(
                how="CloudFormation",
                address=name,
                kind=kind,
                name=told,
                first_line=resource.first_line,
                last_line=resource.last_line,
                tags=_tags(properties.at("Tags")),
            )


def _text(value: Value | None, parameters: Value | None) -> str | None:
    """Return a plain text, or the default of the parameter that it refers to; None: it is made up at deployment."""
    if value is None:
        return None
    if value.tag == "!Ref" or "Ref" in value.items:
        name = value.text if value.tag else value.text_at("Ref")
        return parameters.text_at(name, "Default") if parameters is not None and name else None
    if value.tag == "!Sub" and value.text is not None:
        return value.text if "${" not in value.text else None
    return value.text if not value.tag else None


def _tags(value: Value | None) -> dict[str, str]:
    """Return tags, which are a list of keys and values, or in serverless templates a map."""
    if value is None:
        return {}
    pairs = ((one.text_at("Key"), one.text_at("Value")) for one in value.members)
    return {key: text for key, text in pairs if key and text is not None} | value.texts()
