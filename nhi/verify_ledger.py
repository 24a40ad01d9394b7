"""The part of a pack's verifier that reads the ledger: its chain, its Merkle roots, and the notes that seal it. Pure.

In a pack this and nhi/verify_pack.py are one file, verify.py. They import nothing else of this program, and run on
Python 3.9.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    CAN_CHECK_SIGNATURES = True
except ImportError:  # said in the result, and in the exit status
    CAN_CHECK_SIGNATURES = False

GENESIS = "0" * 64
EXPORTED = "evidence.exported"  # the kind of event that tells the hashes of a pack's files, and what it keeps back
ERASED = "ledger.erased"  # the kind that tells whose personal parts are gone
_HEX = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")


class Unreadable(Exception):
    """What was given is no pack, no note or no key; the message is a sentence."""


class Wrong(Exception):
    """A record is not what it was; the message names it."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Key(NamedTuple):
    """Who signs: the text NAME+ID+KEY, taken apart."""

    name: str
    id: bytes
    public: bytes


def read_key(text: str) -> Key:
    try:
        name, key_id, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        if raw[:1] != b"\x01" or len(raw) != 33 or sha256(name.encode() + b"\n" + raw)[:4].hex() != key_id:
            raise ValueError
    except ValueError:
        raise Unreadable(f"{text!r} is no Ed25519 key; one looks like NAME+ID+KEY") from None
    return Key(name, bytes.fromhex(key_id), raw[1:])


@dataclass(frozen=True)
class Note:
    """A signed checkpoint: so many events, of this root."""

    whole: str
    text: str  # the part that is signed
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def keys_of(self, keys: Sequence[Key]) -> list[Key]:
        """Return those of the keys that this note says it is signed with."""
        return [key for key in keys if any((name, raw[:4]) == (key.name, key.id) for name, raw in self.signatures)]

    def signed_by(self, keys: Sequence[Key]) -> str | None:
        """Return what is wrong with the signature; None: one of the keys signed it, as far as that can be checked."""
        of = {(key.name, key.id): key.public for key in keys}
        found = [(of[name, raw[:4]], raw[4:]) for name, raw in self.signatures if (name, raw[:4]) in of]
        if not found:
            return "it is signed with another key: keys were swapped"
        if CAN_CHECK_SIGNATURES:
            try:
                Ed25519PublicKey.from_public_bytes(found[0][0]).verify(found[0][1], self.text.encode())
            except InvalidSignature:
                return "it was changed after it was signed"
        return None


def read_note(note: str) -> Note:
    text, _, rest = note.replace("\r\n", "\n").partition("\n\n")
    lines = text.split("\n")
    try:
        signatures = [found for line in rest.splitlines() if (found := _SIGNATURE.fullmatch(line))]
        decoded = tuple((found["name"], base64.b64decode(found["signature"], validate=True)) for found in signatures)
        read = Note(note, f"{text}\n", lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True), decoded)
        if len(read.root) != 32 or read.size < 0 or str(read.size) != lines[1]:
            raise ValueError
    except (IndexError, ValueError):
        raise Unreadable("the checkpoint is none: its lines are not a name, a size, a root and a signature") from None
    return read


@dataclass
class Ledger:
    """Where the reading of events.jsonl has come to. `expected` are the roots that checkpoints tell, by size."""

    expected: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    last_hash: str = GENESIS
    peaks: tuple[bytes, ...] = ()
    wanted: frozenset[int] = frozenset()  # events whose leaves are to be kept, for proofs
    leaves: dict[int, bytes] = field(default_factory=dict)
    records: dict[str, tuple[int, dict[str, Any], dict[str, Any] | None]] = field(default_factory=dict)  # by id
    export: dict[str, Any] | None = None  # what the last export told: of its files, and of what it keeps back
    exported_at: int = 0  # the number of that event
    withheld: frozenset[int] = frozenset()
    without_private: frozenset[int] = frozenset()
    erased: frozenset[int] = frozenset()

    def read(self, lines: Iterable[str]) -> None:
        """Take lines in. Raises Wrong at the first one that is not what it was."""
        for line in lines:
            try:
                self._step(line)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise Wrong(f"event {self.size + 1} is not a record of this ledger") from None

    def _step(self, line: str) -> None:
        seq = self.size + 1
        record = object_of(line, f"event {seq}")
        if record.get("prev_hash") != self.last_hash:
            raise Wrong(f"event {seq} does not follow the event before it")
        if "withheld" in record:  # its text is kept back: only the checkpoints hold its leaf in its place
            leaf = bytes.fromhex(record["withheld"])
            self.withheld |= {seq}
            if record["seq"] != seq or not _HEX.fullmatch(record["hash"]) or len(leaf) != 32:
                raise ValueError
        else:
            body = str(record.get("body"))
            if hashlib.sha256(bytes.fromhex(self.last_hash) + body.encode()).hexdigest() != record.get("hash"):
                raise Wrong(f"event {seq} was changed after it was written")
            leaf = sha256(b"\x00" + body.encode())
            self._told(object_of(body, f"event {seq}", exact=False), record.get("private"), seq)
        self.last_hash = str(record["hash"])
        self._append(leaf)
        if seq in self.wanted:
            self.leaves[seq] = leaf
        if seq in self.expected and self.root() != self.expected[seq]:
            raise Wrong(f"the first {seq} events are not those that the checkpoint of {seq} events sealed")

    def _told(self, body: dict[str, Any], private: Any, seq: int) -> None:
        if body.get("seq") != seq:
            raise Wrong(f"event {seq} says that it is event {body.get('seq')}: one is missing, doubled or moved")
        personal = self._personal(body, private, seq)
        facts, kind = body.get("facts") or {}, str(body.get("kind"))
        if kind.startswith(("attestation.", "review.")):
            self.records.update((record, (seq, body, personal)) for record in records_of(body))
        elif kind == EXPORTED:
            self.export, self.exported_at = facts, seq
        elif kind == ERASED:
            self.erased |= frozenset(facts["events"])

    def _personal(self, body: dict[str, Any], private: Any, seq: int) -> dict[str, Any] | None:
        if private is None:
            self.without_private |= {seq} if body.get("private") is not None else set()
            return None
        commitment = sha256(bytes.fromhex(private["salt"]) + private["body"].encode()).hex()
        if commitment != body.get("private"):
            raise Wrong(f"event {seq} has another personal part than it was written with")
        return object_of(private["body"], f"event {seq}", exact=False)

    def _append(self, leaf: bytes) -> None:
        size, peaks = self.size, self.peaks
        while size & 1:
            leaf = sha256(b"\x01" + peaks[-1] + leaf)
            peaks, size = peaks[:-1], size >> 1
        self.size, self.peaks = self.size + 1, (*peaks, leaf)

    def root(self) -> bytes:
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = sha256(b"\x01" + peak + root)
        return root


def records_of(body: dict[str, Any]) -> list[str]:
    """Return the ids of the decisions that an event tells of."""
    facts = body.get("facts") or {}
    return [str(facts[name]) for name in ("attestation", "decision") if facts.get(name)]


def object_of(text: str, what: str, *, exact: bool = True) -> dict[str, Any]:
    """Return a JSON object; `exact`: written as packs write it, so that no second reading of the line is possible."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or (exact and line_of(found) != text.rstrip("\n")):
        raise Wrong(f"{what} is not a record of this ledger")
    return found


def line_of(record: dict[str, Any]) -> str:
    """Return how packs write a record as a line."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def expected_roots(notes: Iterable[Note]) -> dict[int, bytes]:
    """Return which root must be found at which size. Raises Wrong where two notes say different things."""
    expected: dict[int, bytes] = {}
    for note in notes:
        if expected.setdefault(note.size, note.root) != note.root:
            raise Wrong(f"two checkpoints of {note.size} events have different roots: this ledger was forked")
    return expected


def check_end(ledger: Ledger, last: Note) -> None:
    """Check that the last checkpoint seals all events, and that nothing sealed (the anchor too) is missing."""
    most = max(ledger.expected)
    if most > ledger.size:
        raise Wrong(
            f"event {ledger.size + 1} is missing of the {most} that were sealed: the end was cut, or this is old"
        )
    if last.size < ledger.size:
        raise Wrong(f"event {last.size + 1} is not sealed: it was added after the last checkpoint")


def includes(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether a path shows the leaf at `index`, from 0, under the root of so many leaves (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, digest = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            digest = sha256(b"\x01" + sibling + digest)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            digest = sha256(b"\x01" + digest + sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and digest == root
