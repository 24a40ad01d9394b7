"""With whose credentials Google is asked. A local server stands for token endpoints, and nothing else is reached."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.transport.requests import Request

from nhi.identity import Gap
from nhi.policy import Source
from nhi.providers import Memory
from nhi.providers.gcp import connect
from nhi.providers.gcp.calls import Calls
from tests.factories import NOW

READER = "reader@audit.iam.gserviceaccount.com"


class Tokens:
    """A token endpoint that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                tokens.asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                body = json.dumps({"access_token": "made-up", "expires_in": 3600, "token_type": "Bearer"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/token"


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    found = Tokens()
    threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def ambient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes a document the application default credentials."""

    def use(document: dict[str, Any]) -> None:
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(document))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

    return use


@pytest.fixture(scope="module")
def private_key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode()


def key_file(tokens: Tokens, private_key: str) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "audit",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": READER,
        "token_uri": tokens.url,
    }


def federated(tokens: Tokens, subject: Path) -> dict[str, Any]:
    subject.write_text("a token of another cloud")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/aws/providers/audit",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": tokens.url,
        "credential_source": {"file": str(subject)},
    }


def credentials(**source: Any) -> Any:
    chosen = Source(provider="gcp", **source)
    return Calls(chosen, impersonate=chosen.impersonate)._credentials()


def test_a_key_file_signs_in_and_tells_the_project(tokens: Tokens, ambient: Any, private_key: str) -> None:
    ambient(key_file(tokens, private_key))
    found = credentials()
    found.refresh(Request())
    assert found.token == "made-up"
    assert tokens.asked[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert connect(Source(provider="gcp")).account == "projects/audit"


def test_workload_identity_federation_changes_a_token_of_another_cloud(
    tokens: Tokens, ambient: Any, tmp_path: Path
) -> None:
    ambient(federated(tokens, tmp_path / "subject"))
    found = credentials(scope="organizations/1")
    found.refresh(Request())
    assert found.token == "made-up"
    assert tokens.asked[0]["subject_token"] == ["a token of another cloud"]


def test_an_account_is_impersonated_where_the_source_says_so(tokens: Tokens, ambient: Any, private_key: str) -> None:
    ambient(key_file(tokens, private_key))
    found = credentials(impersonate="other@audit.iam.gserviceaccount.com")
    assert found.service_account_email == "other@audit.iam.gserviceaccount.com"


def test_a_test_endpoint_is_never_shown_a_credential(tokens: Tokens, ambient: Any, private_key: str) -> None:
    ambient(key_file(tokens, private_key))
    found = credentials(endpoint=tokens.url, impersonate="other@audit.iam.gserviceaccount.com")
    assert found.token is None
    assert tokens.asked == []


def test_without_credentials_everything_is_a_gap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    provider = connect(Source(provider="gcp", scope="organizations/1"))
    first = next(iter(provider.scan(memory=Memory(credential_ids={}), matters=lambda *_: True, now=NOW)))
    assert isinstance(first, Gap)
    assert first.reason.startswith("DefaultCredentialsError: application default credentials")
    assert connect(Source(provider="gcp")).account == "ambient"
