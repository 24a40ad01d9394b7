#!/usr/bin/env python3
"""Check an evidence pack: python3 verify.py [PACK.zip or its folder] [--anchor NOTE] [--key NAME+ID+KEY]

One file, Python 3.11 or newer, nothing to install. Signatures alone need the package `cryptography`
(`pip install cryptography`); where it is missing that is said, and everything else is checked.

It checks that every file is as MANIFEST says; that the ledger (events.jsonl) is one unbroken chain, that its Merkle
roots (RFC 6962) are those of the signed checkpoints (c2sp.org/tlog-checkpoint), that the ledger tells of the other
files' hashes and of the decisions, and that each inclusion proof holds. It names the first wrong record.

A pack alone cannot show two things: that it is the newest one, and that it was not made anew from end to end under
another key. A checkpoint that was kept elsewhere shows both (--anchor); a key that you were told of, the second.

Exit status: 0 all is well; 1 something is wrong; 2 it cannot be read; 3 well, but signatures could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    CAN_CHECK_SIGNATURES = True
except ImportError:  # said in the result, and in the exit status
    CAN_CHECK_SIGNATURES = False

GENESIS = "0" * 64
EXPORTED = "evidence.exported"  # the kind of event that tells the hashes of a pack's files
OF_THE_LEDGER = ("events.jsonl", "checkpoints.jsonl", "checkpoint.note", "proofs.jsonl", "MANIFEST")
NOT_SEEN = """Without --anchor it cannot be seen whether an older pack was put in this one's place,
nor (unless you know the key) whether everything was made anew under another key."""
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
    files: dict[str, str] | None = None  # what the last export told of its files
    withheld: int = 0
    without_private: int = 0

    def read(self, lines: Iterable[str]) -> None:
        """Take lines in. Raises Wrong at the first one that is not what it was."""
        for line in lines:
            try:
                self._step(line)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise Wrong(f"event {self.size + 1} is not a record of this ledger") from None

    def _step(self, line: str) -> None:
        seq = self.size + 1
        record = _object(line, f"event {seq}")
        if record.get("prev_hash") != self.last_hash:
            raise Wrong(f"event {seq} does not follow the event before it")
        if "withheld" in record:  # its text is kept back: only the checkpoints hold its leaf in its place
            leaf = bytes.fromhex(record["withheld"])
            self.withheld += 1
            if record["seq"] != seq or not _HEX.fullmatch(record["hash"]) or len(leaf) != 32:
                raise ValueError
        else:
            body = str(record.get("body"))
            if hashlib.sha256(bytes.fromhex(self.last_hash) + body.encode()).hexdigest() != record.get("hash"):
                raise Wrong(f"event {seq} was changed after it was written")
            leaf = sha256(b"\x00" + body.encode())
            self._told(_object(body, f"event {seq}", exact=False), record.get("private"), seq)
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
        facts = body.get("facts") or {}
        for name in {"attestation", "decision"} & facts.keys():
            self.records[facts[name]] = (seq, body, personal)
        if body.get("kind") == EXPORTED:
            self.files = facts.get("files")

    def _personal(self, body: dict[str, Any], private: Any, seq: int) -> dict[str, Any] | None:
        if private is None:
            self.without_private += body.get("private") is not None
            return None
        commitment = sha256(bytes.fromhex(private["salt"]) + private["body"].encode()).hex()
        if commitment != body.get("private"):
            raise Wrong(f"event {seq} has another personal part than it was written with")
        return _object(private["body"], f"event {seq}", exact=False)

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


def _object(text: str, what: str, *, exact: bool = True) -> dict[str, Any]:
    """Return a JSON object; `exact`: written as packs write it, so that no second reading of the line is possible."""
    try:
        found = json.loads(text)
    except ValueError:
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


class Pack:
    """A zip, or the folder that it was taken apart into."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = None if path.is_dir() else zipfile.ZipFile(path)
        files = (str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
        self.names = self._zip.namelist() if self._zip else sorted(files)
        if "MANIFEST" not in self.names:
            raise Unreadable(f"{path} is no pack: it has no MANIFEST")

    def bytes_of(self, name: str) -> bytes:
        if name not in self.names:
            raise Wrong(f"{name} is missing")
        return self._zip.read(name) if self._zip else (self._path / name).read_bytes()

    def lines_of(self, name: str) -> list[str]:
        """Return the lines; some characters that are no end of a line here would count as one elsewhere."""
        return self.bytes_of(name).decode().removesuffix("\n").split("\n") if self.bytes_of(name) else []

    def records(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(self.lines_of(name), start=1):
            yield number, _object(line, f"{name}, line {number},")


def check_manifest(pack: Pack) -> dict[str, str]:
    """Check every file against MANIFEST; return their hashes. Raises Wrong."""
    told: dict[str, str] = {}
    for line in pack.lines_of("MANIFEST"):
        digest, _, name = line.partition("  ")
        if told.setdefault(name, digest) != digest:
            raise Wrong(f"MANIFEST tells of {name} twice")
    for name in pack.names:
        if pack.names.count(name) > 1 or name not in {*told, "MANIFEST"}:
            raise Wrong(f"{name} was added: it is in the pack twice, or not in MANIFEST")
    for name, digest in told.items():
        if hashlib.sha256(pack.bytes_of(name)).hexdigest() != digest:
            raise Wrong(f"{name} is not the file that MANIFEST tells of")
    return told


def check_bound(manifest: dict[str, str], told: dict[str, str] | None) -> None:
    """Check that the sealed ledger tells of the same files as MANIFEST, which anybody can write. Raises Wrong."""
    if told is None:
        raise Wrong(f"no event {EXPORTED} tells of this pack's files")
    for name in sorted({*manifest, *told} - {*OF_THE_LEDGER}):
        if manifest.get(name) != told.get(name):
            raise Wrong(f"{name} is not the file whose hash the ledger tells")


def check_decisions(pack: Pack, ledger: Ledger) -> int:
    """Check each row of decisions.csv against the event that tells of it; return how many there are. Raises Wrong."""
    rows = list(csv.DictReader(io.StringIO(pack.bytes_of("decisions.csv").decode(), newline="")))
    for number, row in enumerate(rows, start=2):
        if row["record"] not in ledger.records:
            if ledger.withheld:
                continue
            raise Wrong(f"decisions.csv, line {number}: the ledger does not tell of this decision")
        seq, body, personal = ledger.records[row["record"]]
        verdict = body["facts"].get("answer") or body["kind"].partition(".")[2]
        says = {"event": seq, "event_kind": body["kind"], "verdict": verdict, "at": body["at"]}
        says |= {"identity_id": body["identity"]} | ({"email": personal.get("email")} if personal else {})
        for column, value in says.items():
            if row[column].removeprefix("'") != str(value or ""):
                raise Wrong(f"decisions.csv, line {number}: the ledger has another `{column}`, in event {seq}")
    for number, record in pack.records("shown.jsonl"):
        found = ledger.records.get(str(record["record"]))
        if found and "shown" in record and found[1]["facts"]["shown"] != sha256(record["shown"].encode()).hex():
            raise Wrong(f"shown.jsonl, line {number}: the ledger has another hash, in event {found[0]}")
    return len(rows)


def check_proofs(proofs: Sequence[tuple[int, dict[str, Any]]], ledger: Ledger, last: Note) -> None:
    """Check each inclusion proof against the last checkpoint. Raises Wrong."""
    for number, record in proofs:
        seq, path = record["seq"], [bytes.fromhex(digest) for digest in record["path"]]
        leaf = ledger.leaves.get(seq, b"")
        if record["size"] != last.size or not includes(last.root, last.size, seq - 1, leaf, path):
            raise Wrong(f"proofs.jsonl, line {number}: the proof of event {seq} does not hold")


def read_notes(pack: Pack) -> list[Note]:
    """Return the checkpoints, the smallest first; the last one lies beside them as a file. Raises Wrong."""
    notes: list[Note] = []
    for number, record in pack.records("checkpoints.jsonl"):
        note, before = read_note(str(record.get("note"))), notes[-1].size if notes else 0
        if (note.size, note.root.hex()) != (record.get("size"), record.get("root")) or note.size <= before:
            raise Wrong(f"checkpoints.jsonl, line {number}: it does not say what its note says, or is out of order")
        notes.append(note)
    if not notes or pack.bytes_of("checkpoint.note").decode() != notes[-1].whole:
        raise Wrong("checkpoint.note is not the last of checkpoints.jsonl")
    return notes


def verify(path: Path, anchor: str | None = None, key: str | None = None) -> Iterator[str]:
    """Check a pack; yield what was seen, in sentences. Raises Wrong, or Unreadable."""
    pack = Pack(path)
    outside = read_note(anchor) if anchor is not None else None
    manifest = check_manifest(pack)
    notes = read_notes(pack)
    keys = [read_key(line) for line in ([key] if key else pack.lines_of("KEYS"))]
    every = (*notes, outside) if outside else (*notes,)
    for note in every:
        if why := note.signed_by(keys):
            raise Wrong(f"{'the anchor' if note is outside else f'the checkpoint of {note.size} events'}: {why}")
    proofs = list(pack.records("proofs.jsonl"))
    ledger = Ledger(expected_roots(every), wanted=frozenset(record["seq"] for _, record in proofs))
    ledger.read(pack.lines_of("events.jsonl"))
    check_end(ledger, notes[-1])
    check_bound(manifest, ledger.files)
    decisions = check_decisions(pack, ledger)
    check_proofs(proofs, ledger, notes[-1])
    yield f"{len(manifest)} files are as MANIFEST and the ledger tell."
    yield f"{ledger.size} events are one unbroken chain, sealed by {len(notes)} checkpoints, the last over all of them."
    yield f"{decisions} decisions are as the ledger tells; {len(proofs)} inclusion proofs hold."
    if ledger.withheld:
        yield f"The text of {ledger.withheld} events is kept back, as it looks like a secret; the roots cover them."
    if ledger.without_private:
        yield f"The personal parts of {ledger.without_private} events are not here: they were erased, or kept back."
    whose = "the key that you gave" if key else "the pack's own key (compare it with the one that you were told of)"
    how = f"by {whose}" if CAN_CHECK_SIGNATURES else "NOT checked, as the package `cryptography` is not installed"
    yield f"Signatures are {how}: {', '.join(f'{one.name} {one.id.hex()}' for one in keys)}."
    yield "It continues the anchor." if outside else NOT_SEEN


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] = print) -> int:
    """Run as a command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", nargs="?", type=Path, default=Path(__file__).parent, help="the zip, or its folder")
    parser.add_argument("--anchor", type=Path, metavar="NOTE", help="a checkpoint that was kept elsewhere")
    parser.add_argument("--key", metavar="NAME+ID+KEY", help="the key that you were told of")
    chosen = parser.parse_args(arguments)
    try:
        anchor = chosen.anchor.read_text("utf-8") if chosen.anchor else None
        for sentence in verify(chosen.pack, anchor, chosen.key):
            say(sentence)
    except (Unreadable, OSError, zipfile.BadZipFile) as error:
        say(f"It cannot be read: {error}.")
        return 2
    except (Wrong, KeyError, TypeError, ValueError, AttributeError) as error:
        shapeless = "" if isinstance(error, Wrong) else f"a record is not shaped as this ledger's are: {error!r}"
        say(f"WRONG: {shapeless or error}.")
        return 1
    return 0 if CAN_CHECK_SIGNATURES else 3


if __name__ == "__main__":
    sys.exit(main())
