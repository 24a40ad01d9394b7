"""A small OpenID Connect provider over HTTP: real keys, discovery, codes with PKCE. Faults from outside."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

Json = dict[str, Any]


class Provider:
    """One provider, at `issuer`. Whoever comes to its authorization endpoint is `email`, and has just signed in."""

    def __init__(
        self, now: Callable[[], datetime], *, client_id: str = "nhi", secret: str = "a secret / of ours"
    ) -> None:
        self._now, self.client_id, self.secret = now, client_id, secret
        self.email = "ana@example.com"
        self.changes: Json = {}  # claims that are put over the right ones; None: the claim is left out
        self.metadata: Json = {}  # the same for the discovery document
        self.key_ids = ["one"]
        self.signs_with = "one"
        self.keys = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("one", "two")}
        self.codes: dict[str, Json] = {}
        self.asked: list[str] = []  # paths
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.asked.append(parts.path)
        match parts.path:
            case "/.well-known/openid-configuration":
                _answer(handler, self._discovery())
            case "/keys":
                _answer(handler, {"keys": [self._public(name) for name in self.key_ids]})
            case "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                code = secrets.token_urlsafe(16)
                self.codes[code] = asked | {"auth_time": int(self._now().timestamp())}
                back = urlencode({"code": code, "state": asked["state"]})
                _answer(handler, {}, 302, ("Location", f"{asked['redirect_uri']}?{back}"))
            case _:
                _answer(handler, {}, 404)

    def _discovery(self) -> Json:
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        return told | self.metadata

    def _public(self, name: str) -> Json:
        told = jwt.algorithms.RSAAlgorithm.to_jwk(self.keys[name].public_key(), as_dict=True)
        return told | {"kid": name, "use": "sig", "alg": "RS256"}

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        """Change a code, once, for whoever has the client's secret and the verifier."""
        self.asked.append(handler.path)
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        pair = urlencode({self.client_id: self.secret}).replace("=", ":").replace("+", "%20")
        is_client = handler.headers.get("Authorization") == f"Basic {base64.b64encode(pair.encode()).decode()}"
        hashed = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if not is_client or asked is None or hashed.decode() != asked["code_challenge"]:
            _answer(handler, {"error": "invalid_grant"}, 400)
            return
        if form["redirect_uri"] != asked["redirect_uri"]:
            _answer(handler, {"error": "invalid_grant"}, 400)
            return
        _answer(handler, {"access_token": "not used", "token_type": "Bearer", "id_token": self._token(asked)})

    def _token(self, asked: Json) -> str:
        now = int(self._now().timestamp())
        right = {
            "iss": self.issuer,
            "sub": "a person",
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            "auth_time": asked["auth_time"],
            "nonce": asked["nonce"],
            "email": self.email,
            "email_verified": True,
        }
        claims = {name: value for name, value in (right | self.changes).items() if value is not None}
        return jwt.encode(claims, self.keys[self.signs_with], algorithm="RS256", headers={"kid": self.signs_with})


def _answer(handler: BaseHTTPRequestHandler, body: Json, status: int = 200, *headers: tuple[str, str]) -> None:
    text = json.dumps(body).encode()
    handler.send_response(status)
    for name, value in (*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(text)))):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(text)
