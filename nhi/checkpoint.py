"""Checkpoints: size and root of the ledger's Merkle tree, as a signed note (C2SP tlog-checkpoint, Ed25519). Pure.

    example.com/nhi
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.com/nhi Az3grlgtzPICa5OS8npVmf1Myq/5…

The key never is in the database: who owns the one must not be able to use the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nhi.errors import NhiError, SettingsError

_ED25519 = b"\x01"  # the signature type of c2sp.org/signed-note
_NAME = re.compile(r"[^\s+]{1,255}")
_SIZE = re.compile(r"0|[1-9]\d{0,18}")
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")


class BadNote(NhiError):
    """A note that is none, or that its signer did not sign."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a note says: the ledger `origin` had `size` events, whose Merkle root was `root`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The signed part of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, kw_only=True)
class VerifierKey:
    """Who signs, and how it is checked: `NAME+ID+KEY`, the form of c2sp.org/signed-note."""

    name: str
    public: bytes  # 32 bytes

    @property
    def id(self) -> bytes:
        """The four bytes that stand before each signature."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read `NAME+ID+KEY`. Raises BadNote."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        key = cls(name=name, public=raw[1:])
        if not _NAME.fullmatch(name) or raw[:1] != _ED25519 or len(raw) != 33 or key.id.hex() != key_id:
            raise BadNote("This is no key that checks notes; it looks like NAME+ID+KEY")
        return key


@dataclass(frozen=True)
class Signer:
    """The one who seals: a name and an Ed25519 key."""

    name: str
    key: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        public = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return VerifierKey(name=self.name, public=public)

    def sign(self, size: int, root: bytes) -> str:
        """Return the signed note of a tree of that size and root."""
        text = Checkpoint(origin=self.name, size=size, root=root).text
        signature = base64.b64encode(self.verifier.id + self.key.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n"


def read(note: str) -> Checkpoint:
    """Return what a note says, whoever signed it. Raises BadNote, one sentence."""
    lines = note.replace("\r\n", "\n").partition("\n\n")[0].split("\n")
    if len(lines) < 3 or not _NAME.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise BadNote("This is no checkpoint: its first lines are not a name, a size and a root")
    root = _decoded(lines[2])
    if len(root) != 32:
        raise BadNote("This is no checkpoint: its third line is not a SHA-256 root in base64")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)


def verify(note: str, key: VerifierKey) -> Checkpoint:
    """Return what a note says, if this key signed it. Raises BadNote."""
    text, _, signatures = note.replace("\r\n", "\n").partition("\n\n")
    public = Ed25519PublicKey.from_public_bytes(key.public)
    for line in signatures.splitlines():
        found = _SIGNATURE.fullmatch(line)
        if found is None or found["name"] != key.name:
            continue
        raw = _decoded(found["signature"])
        if raw[:4] != key.id:
            continue
        try:
            public.verify(raw[4:], f"{text}\n".encode())
        except InvalidSignature:
            raise BadNote("The note was changed after it was signed") from None
        return read(note)
    raise BadNote(f"The note is not signed by {key.name} with the key {key.id.hex()}")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadNote("The note holds what is no base64") from None


# -- keys --------------------------------------------------------------------------------------------------------------


def read_signer(setting: str | None, name: str) -> Signer:
    """Return the signer of a setting: a PEM, or the path of one. Raises SettingsError, one sentence."""
    if not setting:
        raise SettingsError(
            "NHI_SIGNING_KEY is not set, so no checkpoint can be signed: `nhi ledger keygen --out nhi-signing.pem`"
            " makes a key; keep it away from the database, and set NHI_SIGNING_KEY to its path"
        )
    if "-----BEGIN" in setting:
        pem = setting.replace("\\n", "\n").encode()
    else:
        try:
            pem = Path(setting).expanduser().read_bytes()
        except OSError as error:
            raise SettingsError(f"NHI_SIGNING_KEY names a file that cannot be read ({error.strerror})") from None
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(
            "NHI_SIGNING_KEY is no unencrypted private key in PEM; `nhi ledger keygen` makes one"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError("NHI_SIGNING_KEY is a key of another kind than Ed25519; `nhi ledger keygen` makes one")
    return Signer(name, key)


def write_key(path: Path) -> None:
    """Make a new signing key in a file that its owner alone can read. Raises SettingsError where there is one."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsError(f"{path} is there already; a key in use is never written over") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror})") from None
    with os.fdopen(opened, "wb") as file:
        file.write(pem)
