#!/usr/bin/env python3
"""Check an evidence pack: python3 verify.py [PACK.zip or its folder] [--anchor NOTE] [--key NAME+ID+KEY]

One file, Python 3.9 or newer, nothing to install. Signatures alone need the package `cryptography`
(`pip install cryptography`); where it is missing that is said, and everything else is checked.

It checks that the ledger (events.jsonl) is one unbroken chain, that its Merkle roots (RFC 6962) are those of the signed
checkpoints (c2sp.org/tlog-checkpoint), that the ledger tells of the decisions, all of them, and of the other files'
hashes, that each inclusion proof holds, and that nothing else is in the zip. It names the first wrong record.

A pack alone cannot show two things: that it is the newest one, and that it was not made anew from end to end under
another key. A checkpoint that was kept elsewhere shows both (--anchor); a key that you were told of, the second. And a
verify.py out of a pack can be forged like the rest: take this file from where you trust it, not from the pack.

Exit status: 0 all is well; 1 something is wrong; 2 it cannot be read; 3 well, but signatures could not be checked.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import re
import struct
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nhi.verify_ledger import (  # in verify.py its text stands here
    CAN_CHECK_SIGNATURES,
    EXPORTED,
    Key,
    Ledger,
    Note,
    Unreadable,
    Wrong,
    check_end,
    expected_roots,
    includes,
    object_of,
    read_key,
    read_note,
    records_of,
    sha256,
)

OF_THE_LEDGER = ("events.jsonl", "checkpoints.jsonl", "checkpoint.note", "proofs.jsonl", "MANIFEST")
NOT_SEEN = """Without --anchor it cannot be seen whether an older pack was put in this one's place,
nor (unless you know the key) whether everything was made anew under another key."""
MOST = 100  # times larger than the zip, and 16 MB: no pack is, a zip that is to fill a disk is
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[a-z]+)?")


def check_zip(path: Path, opened: zipfile.ZipFile) -> None:
    """Check that a zip is its files and nothing else, so that all programs find the same in it. Raises Wrong."""
    if sum(entry.file_size for entry in opened.infolist()) > MOST * path.stat().st_size + 2**24:
        raise Unreadable(f"{path} would unpack to far more than any pack holds")
    at = 0
    with path.open("rb") as file:
        for entry in sorted(opened.infolist(), key=lambda entry: entry.header_offset):
            if entry.flag_bits & ~0x806 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Unreadable(f"{entry.filename} was zipped anew in another way; unzip it, and check the folder")
            file.seek(at)
            head = struct.unpack("<4s5H3I2H", file.read(30).ljust(30, b"\0"))
            told = (entry.flag_bits, entry.compress_type, entry.CRC, entry.compress_size, entry.file_size)
            if entry.header_offset != at or (*head[2:4], *head[6:9]) != told:
                raise Wrong(f"the zip holds something hidden before or in {entry.filename}")
            at += 30 + head[9] + head[10] + entry.compress_size
        file.seek(-22, io.SEEK_END)
        end = file.read()
    if at != opened.start_dir or (end[:4], end[20:]) != (b"PK\5\6", b"\0\0"):
        raise Wrong("the zip holds something hidden after its last file")


class Pack:
    """A zip, or the folder that it was taken apart into. Raises Wrong where it holds two files of one name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = None if path.is_dir() else zipfile.ZipFile(path)
        files = (str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
        self.names = [entry.orig_filename for entry in self._zip.infolist()] if self._zip else sorted(files)
        if "MANIFEST" not in self.names:
            raise Unreadable(f"{path} is no pack: it has no MANIFEST")
        often = Counter(self.names)
        for name in self.names:
            if often[name] > 1 or not _NAME.fullmatch(name):
                raise Wrong(f"{name!r} was added: it is in the pack twice, or no name of a pack's file")
        if self._zip:
            check_zip(path, self._zip)

    def bytes_of(self, name: str) -> bytes:
        if name not in self.names:
            raise Wrong(f"{name} is missing")
        return self._zip.read(name) if self._zip else (self._path / name).read_bytes()

    def lines_of(self, name: str) -> list[str]:
        """Return the lines; some characters that are no end of a line here would count as one elsewhere."""
        text = self.bytes_of(name).decode(errors="surrogateescape")
        return text.removesuffix("\n").split("\n") if text else []

    def records(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(self.lines_of(name), start=1):
            yield number, object_of(line, f"{name}, line {number},")


def check_manifest(pack: Pack) -> dict[str, str]:
    """Check every file against MANIFEST; return their hashes. Raises Wrong."""
    told: dict[str, str] = {}
    for line in pack.lines_of("MANIFEST"):
        digest, _, name = line.partition("  ")
        if told.setdefault(name, digest) != digest:
            raise Wrong(f"MANIFEST tells of {name} twice")
    for name in pack.names:
        if name not in {*told, "MANIFEST"}:
            raise Wrong(f"{name} was added: it is not in MANIFEST")
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


def check_kept_back(ledger: Ledger) -> None:
    """Check that no text is missing but what the ledger says was kept back or erased. Raises Wrong."""
    told = ledger.export or {}
    erased = ledger.erased | frozenset(told.get("private_withheld", ()))
    for what, missing in (
        ("text", ledger.withheld - frozenset(told.get("withheld", ()))),
        ("personal part", ledger.without_private - erased),
    ):
        if (seq := min(missing, default=ledger.exported_at)) < ledger.exported_at:
            raise Wrong(f"event {seq}: its {what} was taken out after this pack was made")


def check_decisions(pack: Pack, ledger: Ledger) -> set[int]:
    """Check decisions.csv, row by row, against the events that tell of them; return their numbers. Raises Wrong."""
    rows = csv.DictReader(io.StringIO(pack.bytes_of("decisions.csv").decode(), newline=""))
    seen: set[str] = set()
    events: set[int] = set()
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
        events.add(seq)
        seen.update(records_of(body))
    year, _, quarter = str((ledger.export or {}).get("quarter")).partition("Q")
    months = [f"{year}-{3 * int(quarter or 0) - 2 + month:02d}" for month in range(3)]
    for record, (seq, body, _) in ledger.records.items():
        if body["at"][:7] in months and record not in seen:
            raise Wrong(f"decisions.csv leaves out a decision: event {seq} of the ledger tells of it")
    return events


def check_shown(pack: Pack, ledger: Ledger) -> None:
    """Check what people were shown against its hash in the ledger. Raises Wrong."""
    for number, record in pack.records("shown.jsonl"):
        found = ledger.records.get(str(record["record"]))
        if found and "shown" in record and found[1]["facts"]["shown"] != sha256(record["shown"].encode()).hex():
            raise Wrong(f"shown.jsonl, line {number}: the ledger has another hash, in event {found[0]}")


def check_proofs(proofs: Sequence[tuple[int, dict[str, Any]]], ledger: Ledger, last: Note, wanted: set[int]) -> None:
    """Check each inclusion proof against the last checkpoint, and that no decision lacks its own. Raises Wrong."""
    for number, record in proofs:
        seq, path = record["seq"], [bytes.fromhex(digest) for digest in record["path"]]
        leaf = ledger.leaves.get(seq, b"")
        if record["size"] != last.size or not includes(last.root, last.size, seq - 1, leaf, path):
            raise Wrong(f"proofs.jsonl, line {number}: the proof of event {seq} does not hold")
    for seq in sorted(wanted - ledger.wanted):
        raise Wrong(f"proofs.jsonl has no proof of event {seq}, which tells of a decision")


def read_notes(pack: Pack) -> list[Note]:
    """Return the checkpoints, the smallest first; the last one lies beside them as a file. Raises Wrong."""
    notes: list[Note] = []
    for number, record in pack.records("checkpoints.jsonl"):
        note, before = read_note(str(record.get("note"))), notes[-1].size if notes else 0
        if record != {"note": note.whole, "root": note.root.hex(), "size": note.size} or note.size <= before:
            raise Wrong(f"checkpoints.jsonl, line {number}: it does not say what its note says, or is out of order")
        notes.append(note)
    if not notes or pack.bytes_of("checkpoint.note").decode() != notes[-1].whole:
        raise Wrong("checkpoint.note is not the last of checkpoints.jsonl")
    return notes


def check_signatures(notes: Sequence[Note], outside: Note | None, known: Sequence[Key], own: Sequence[Key]) -> None:
    """Check who signed. What came after the anchor is its signer's, or a known key's: a pack can name any. Raises."""
    keys = known or own
    for note in (*notes, outside) if outside else notes:
        if why := note.signed_by(keys):
            raise Wrong(f"{'the anchor' if note is outside else f'the checkpoint of {note.size} events'}: {why}")
    if outside and not known:
        for note in notes:
            if note.size > outside.size and note.signed_by(outside.keys_of(keys)):
                raise Wrong(
                    f"the checkpoint of {note.size} events is signed with another key than the anchor; if you were told"
                    " that the key was changed, name both with --key"
                )


def verify(path: Path, anchor: str | None = None, known: Sequence[str] = ()) -> Iterator[str]:
    """Check a pack; yield what was seen, in sentences. Raises Wrong, or Unreadable."""
    outside = read_note(anchor) if anchor is not None else None
    pack = Pack(path)
    notes = read_notes(pack)
    keys = [read_key(line) for line in known or pack.lines_of("KEYS")]
    check_signatures(notes, outside, keys if known else (), keys)
    proofs = list(pack.records("proofs.jsonl"))
    every = (*notes, outside) if outside else notes
    ledger = Ledger(expected_roots(every), wanted=frozenset(record["seq"] for _, record in proofs))
    ledger.read(pack.lines_of("events.jsonl"))
    check_end(ledger, notes[-1])
    check_kept_back(ledger)
    decisions = check_decisions(pack, ledger)
    check_shown(pack, ledger)
    check_proofs(proofs, ledger, notes[-1], decisions)
    manifest = check_manifest(pack)
    check_bound(manifest, (ledger.export or {}).get("files"))
    yield f"{len(manifest)} files are as MANIFEST and the ledger tell."
    yield f"{ledger.size} events are one unbroken chain, sealed by {len(notes)} checkpoints, the last over all of them."
    yield f"{len(decisions)} decisions are as the ledger tells, none is left out; {len(proofs)} inclusion proofs hold."
    if ledger.withheld:
        yield f"The text of {len(ledger.withheld)} events is kept back: it looks like a secret. The roots cover it."
    if ledger.without_private:
        yield f"The personal parts of {len(ledger.without_private)} events are not here: erased, or kept back."
    whose = "the keys that you gave" if known else "the pack's own key (compare it with the one that you were told of)"
    how = f"by {whose}" if CAN_CHECK_SIGNATURES else "NOT checked, as the package `cryptography` is not installed"
    yield f"Signatures are {how}: {', '.join(f'{one.name} {one.id.hex()}' for one in keys)}."
    yield "It continues the anchor." if outside else NOT_SEEN


def verifier() -> str:
    """Return verify.py: this module and the one that it imports, as one file."""
    ledger, pack = (Path(sys.modules[name].__file__ or "").read_text("utf-8") for name in (Note.__module__, __name__))
    own = pack[pack.index("from nhi.verify_ledger") : pack.index("OF_THE_LEDGER = ")]
    return pack.replace(own, ledger[ledger.index("import base64") :] + "\n\n")


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] = print) -> int:
    """Run as a command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", nargs="?", type=Path, default=Path(__file__).parent, help="the zip, or its folder")
    parser.add_argument("--anchor", type=Path, metavar="NOTE", help="a checkpoint that was kept elsewhere")
    parser.add_argument("--key", metavar="NAME+ID+KEY", action="append", default=[], help="a key that you were told of")
    chosen = parser.parse_args(arguments)
    if sys.version_info < (3, 9):  # noqa: UP036  # it is run by the Python that an auditor has
        say("It cannot be read: this needs Python 3.9 or newer.")
        return 2
    try:
        anchor = chosen.anchor.read_bytes().decode(errors="replace") if chosen.anchor else None
        for sentence in verify(chosen.pack, anchor, chosen.key):
            say(sentence)
    except (Unreadable, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        say(f"It cannot be read: {error}.")
        return 2
    except (Wrong, KeyError, TypeError, ValueError, AttributeError, RecursionError, csv.Error) as error:
        shapeless = "" if isinstance(error, Wrong) else f" ({type(error).__name__}: {error})"
        say(f"WRONG: {'a record is not shaped as those of a pack' if shapeless else error}{shapeless}.")
        return 1
    return 0 if CAN_CHECK_SIGNATURES else 3


if __name__ == "__main__":
    sys.exit(main())
