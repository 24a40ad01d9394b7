"""Signing in at the company's identity provider (OpenID Connect Core 1.0): what it is asked, and what is believed.

The authorization code flow with PKCE (RFC 7636) and a fresh sign-in (`prompt=login`, `max_age=0`). The ID token is
believed where its signature is that of the provider's published keys, it is for this program and for this one sign-in,
and it says that the person signed in just now. Nothing that the provider sends is kept or logged.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jwt

from nhi.errors import NhiError, SettingsError
from nhi.settings import Settings
from nhi.words import sentence

CALLBACK = "/step-up/callback"  # below NHI_PUBLIC_URL; the provider has to know it
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
METADATA_LASTS = timedelta(hours=1)
KEYS_LAST = timedelta(minutes=1)  # a key that is not known is looked for again only so often
CLOCKS_DIFFER = timedelta(minutes=1)
_SECONDS = 5  # of patience with one call
_BYTES_AT_MOST = 200_000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

Json = Mapping[str, Any]


class SignInFailed(NhiError):
    """A sign-in that proves nothing: the sentence says why."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """This program as its provider knows it."""

    issuer: str
    client_id: str
    secret: str | None  # None: a public client, which PKCE alone protects
    public_url: str  # where people's browsers reach the bot, without a slash at its end

    @property
    def redirect_uri(self) -> str:
        return self.public_url + CALLBACK


def client_of(settings: Settings) -> Client | None:
    """Return the client that the settings name; None: they name none. Raises SettingsError where one is half named."""
    issuer, client_id, public = settings.nhi_oidc_issuer, settings.nhi_oidc_client_id, settings.nhi_public_url
    if issuer is None:
        return None
    for name, value in (("NHI_OIDC_CLIENT_ID", client_id), ("NHI_PUBLIC_URL", public)):
        if not value:
            raise SettingsError(f"{name} is not set: NHI_OIDC_ISSUER needs it, in the environment or in .env")
    for name, value in (("NHI_OIDC_ISSUER", issuer), ("NHI_PUBLIC_URL", public)):
        if not _is_safe(str(value)):
            raise SettingsError(f"{name} should be an address that begins with https://")
    secret = settings.nhi_oidc_client_secret
    return Client(
        issuer=issuer,
        client_id=str(client_id),
        secret=secret.get_secret_value() if secret else None,
        public_url=str(public).rstrip("/"),
    )


class Issuer:
    """The provider. Safe to use from many threads; keeps what it publishes for a while."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._lock = threading.Lock()
        self._metadata: tuple[datetime, Json] | None = None
        self._keys: tuple[datetime, jwt.PyJWKSet] | None = None

    def metadata(self, now: datetime) -> Json:
        """Return its discovery document. Raises SignInFailed where it cannot be read or is another's."""
        with self._lock:
            if self._metadata is not None and now - self._metadata[0] < METADATA_LASTS:
                return self._metadata[1]
        found = _fetch(self.client.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.client.issuer:
            raise SignInFailed(sentence("sign_in.other_name"))
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not _is_safe(str(found.get(name))):
                raise SignInFailed(sentence("sign_in.names_no", what=name))
        with self._lock:
            self._metadata = now, found
        return found

    def address(self, *, state: str, nonce: str, verifier_hash: str, now: datetime) -> str:
        """Return where the browser is sent to sign in. Raises SignInFailed."""
        endpoint = str(self.metadata(now)["authorization_endpoint"])
        asked = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.client.redirect_uri,
            "scope": "openid email",
            "state": state,
            "nonce": nonce,
            "code_challenge": verifier_hash,
            "code_challenge_method": "S256",
            "prompt": "login",
            "max_age": "0",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    def claims(self, code: str, *, verifier: str, nonce: str, since: datetime, now: datetime) -> Json:
        """Change a code for an ID token, and return what that says of a person who signed in since an instant.

        Raises SignInFailed where anything about it is not right.
        """
        metadata = self.metadata(now)
        token = self._redeem(metadata, code, verifier)
        claims = self._signed(metadata, token, now)
        _check(claims, self.client, nonce=nonce, since=since, now=now)
        return claims

    def _redeem(self, metadata: Json, code: str, verifier: str) -> str:
        client = self.client
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if client.secret is not None and "client_secret_basic" in methods:
            pair = f"{quote(client.client_id, safe='')}:{quote(client.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client.client_id} | ({"client_secret": client.secret} if client.secret else {})
        answer = _fetch(str(metadata["token_endpoint"]), urlencode(form).encode(), headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInFailed(sentence("sign_in.no_token"))
        return token

    def _signed(self, metadata: Json, token: str, now: datetime) -> Json:
        """Return the claims of a token whose signature is right. Its times are checked by our own clock, later."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise SignInFailed(sentence("sign_in.signed_otherwise"))
            key = self._key(metadata, header.get("kid"), now)
            claims: Json = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self.client.client_id,
                issuer=self.client.issuer,
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidAudienceError:
            raise SignInFailed(sentence("sign_in.other_program")) from None
        except jwt.InvalidIssuerError:
            raise SignInFailed(sentence("sign_in.other_provider")) from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise SignInFailed(sentence("sign_in.not_signed")) from None
        return claims

    def _key(self, metadata: Json, kid: object, now: datetime) -> jwt.PyJWK:
        """Return the key that a token names, or the only one; asks for the keys anew where it is not among them."""
        with self._lock:
            known = self._keys
        if known is not None and (now - known[0] < KEYS_LAST or _pick(known[1], kid) is not None):
            keys = known[1]
        else:
            keys = jwt.PyJWKSet.from_dict(dict(_fetch(str(metadata["jwks_uri"]))))
            with self._lock:
                self._keys = now, keys
        found = _pick(keys, kid)
        if found is None:
            raise SignInFailed(sentence("sign_in.key_unknown"))
        return found


def _pick(keys: jwt.PyJWKSet, kid: object) -> jwt.PyJWK | None:
    usable = [key for key in keys.keys if key.public_key_use in (None, "sig")]
    if kid is None:
        return usable[0] if len(usable) == 1 else None
    return next((key for key in usable if key.key_id == kid), None)


def _check(claims: Json, client: Client, *, nonce: str, since: datetime, now: datetime) -> None:
    """Raise SignInFailed where a signed token is not of this sign-in, or not of now. Pure."""
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != client.client_id:
        raise SignInFailed(sentence("sign_in.other_program"))
    if claims.get("nonce") != nonce:
        raise SignInFailed(sentence("sign_in.other_sign_in"))
    if _instant(claims["exp"]) <= now - CLOCKS_DIFFER or _instant(claims["iat"]) > now + CLOCKS_DIFFER:
        raise SignInFailed(sentence("sign_in.expired"))
    if "auth_time" not in claims:
        raise SignInFailed(sentence("sign_in.when_is_untold"))
    if _instant(claims["auth_time"]) < since - CLOCKS_DIFFER:
        raise SignInFailed(sentence("sign_in.older"))


def _instant(value: object) -> datetime:
    try:
        return datetime.fromtimestamp(float(value), UTC)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        raise SignInFailed(sentence("sign_in.no_time")) from None


def email_of(claims: Json) -> str | None:
    """Return the person's address, in lower case, where the provider vouches for it; None: it does not. Pure."""
    email, is_verified = claims.get("email"), claims.get("email_verified")
    if not isinstance(email, str) or is_verified not in (True, "true"):  # some providers send the word
        return None
    return email.strip().lower()


def _is_safe(address: str) -> bool:
    """Whether an address is https; on this machine itself plain http does, for tests."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        )
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A provider that sends us elsewhere is not followed: what it is sent is for itself alone."""


def _fetch(address: str, form: bytes | None = None, headers: Mapping[str, str] | None = None) -> Json:
    """Return the JSON object at an address. Raises SignInFailed; the provider's own words stay out of it."""
    asked = urllib.request.Request(address, form, {"Accept": "application/json", **(headers or {})})  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirects).open(asked, timeout=_SECONDS) as answer:
            found = json.loads(answer.read(_BYTES_AT_MOST))
    except urllib.error.HTTPError as error:
        error.close()
        raise SignInFailed(sentence("sign_in.refused", code=error.code)) from None
    except (OSError, ValueError, RecursionError):
        raise SignInFailed(sentence("sign_in.unreachable"), permanent=False) from None
    if not isinstance(found, dict):
        raise SignInFailed(sentence("sign_in.unreadable"))
    return found
