"""Kubernetes manifests: which service accounts act as which cloud identities, and who uses them. Pure.

The annotations are those of EKS (IAM roles for service accounts), GKE and Azure (workload identity).
"""

from __future__ import annotations

from collections.abc import Iterator

from nhi.evidence.declared import Declared, parts_of_arn
from nhi.evidence.documents import Value, documents

_IRSA = "eks.amazonaws.com/role-arn"
_GKE = "iam.gke.io/gcp-service-account"
_AZURE = "azure.workload.identity/client-id"


def is_manifest(text: str) -> bool:
    """Whether it is worth reading as a manifest that has to do with cloud identities."""
    return any(mark in text for mark in (_IRSA, _GKE, _AZURE))


def declared(text: str) -> Iterator[Declared]:
    """Yield the cloud identities that a file's manifests act as. Raises Unreadable."""
    for document in documents(text):
        for manifest in (document, *(document.at("items") or document).members):
            yield from _manifest(manifest)


def _manifest(manifest: Value) -> Iterator[Declared]:
    kind, metadata = manifest.text_at("kind"), manifest.at("metadata")
    annotations = metadata.at("annotations") if metadata else None
    if not kind or metadata is None or annotations is None:
        return
    labels = metadata.at("labels")
    for identity_kind, name, account in _identities(annotations.texts()):
        yield Declared(
            how="Kubernetes",
            address=f"{kind}/{metadata.text_at('namespace') or 'default'}/{metadata.text_at('name') or '?'}",
            kind=identity_kind,
            name=name,
            account=account,
            first_line=manifest.first_line,
            last_line=manifest.last_line,
            tags=(labels.texts() if labels else {}) | annotations.texts(),
        )


def _identities(annotations: dict[str, str]) -> Iterator[tuple[str, str, str | None]]:
    if parts := parts_of_arn(annotations.get(_IRSA, "")):
        account, kind, name = parts
        yield kind, name, account or None
    if email := annotations.get(_GKE):
        yield "service_account", email, None
    if client := annotations.get(_AZURE):
        yield "service_principal", client, None
