"""The ledger: how fast 100,000 events are checked, and whether 14 kinds of tampering, each at 100 places, are seen.

Each kind is done as well as somebody can who has the database and the pack, but not the signing key: hashes, MANIFEST
and CSV hashes are made anew wherever that helps. The checker is the pack's own verify.py. Because a check stops at the
first wrong event and depends on nothing but what came before, it is resumed from just before the place; once for
each kind the whole is checked from its beginning, and must say the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nhi import database, ledger, proof, verify_ledger, verify_pack
from nhi.checkpoint import Signer
from nhi.database import reading
from nhi.merkle import Frontier, Tree, includes, leaf_hash
from nhi.tables import CheckpointRow
from nhi.verify_ledger import EXPORTED, Key, Ledger, Note, Wrong, line_of, read_key, read_note
from tests.factories import NOW

EVENTS, PLACES, EVERY = 100_000, 100, 1000  # a checkpoint each thousand events, as an hour may have
SEEN_WITHIN = 5.0  # seconds
CSV = b"record,event\r\n"
NOT_SEEN_ALONE = {"restore an old copy", "swap keys"}


@dataclass
class Copy:
    """A pack as far as its ledger goes: what somebody may change, all of it."""

    lines: list[str]
    notes: list[Note]
    key: Key
    csv: bytes = CSV
    first: int = 1  # the first event that is another than in the original; what is before need not be read again


@dataclass
class World:
    """The original, and what checking can be resumed from."""

    pack: Copy
    signer: Signer
    states: list[Ledger] = field(default_factory=list)  # before events 1, 1001, 2001, ...
    signed: dict[tuple[Note, Key], str | None] = field(default_factory=dict)  # each signature is checked once
    again: dict[Note, Note] = field(default_factory=dict)  # the same seals by the other key

    def signature_of(self, note: Note, key: Key) -> str | None:
        """Return what is wrong with a note's signature, None: nothing."""
        if (note, key) not in self.signed:
            self.signed[note, key] = note.signed_by([key])
        return self.signed[note, key]

    def signed_again(self, signer: Signer, note: Note) -> Note:
        """Return the same seal by another signer, always the same one."""
        if note not in self.again:
            self.again[note] = read_note(signer.sign(note.size, note.root))
        return self.again[note]


def file_hashes(csv: bytes) -> dict[str, str]:
    return {"decisions.csv": hashlib.sha256(csv).hexdigest()}


class Took(NamedTuple):
    """Seconds on the wall, and of the processor: on a busy machine the second says what the first would be alone."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.processor:.2f} s ({self.wall:.2f} s on the wall)"


def write(folder: Path) -> tuple[World, float, Took]:
    """Write the events with the program's own `record`, seal them, and check them; return how long both took."""
    url = f"sqlite:///{folder / 'bench.db'}"
    engine = database.open_engine(url)
    database.make_ready(engine, url)
    sessions = database.open_sessions(engine)
    begun = time.perf_counter()
    for start in range(0, EVENTS, 500):
        with sessions.begin() as session:
            for number in range(start + 1, start + 501):
                tell(session, number)
    wrote = time.perf_counter() - begun
    signer = Signer("nhi-ledger", Ed25519PrivateKey.generate())
    sizes = range(EVERY, EVENTS + 1, EVERY)
    with reading(sessions) as session:
        roots = ledger.verify(session, sizes).roots
    with sessions.begin() as session:
        for size in sizes:
            root = roots[size]
            note = signer.sign(size, root)
            session.add(CheckpointRow(size=size, root=root.hex(), note=note, because="hourly", at=NOW))
    begun, worked = time.perf_counter(), time.process_time()
    with reading(sessions) as session:
        proved = proof.prove(session, keys=[signer.verifier], anchor=signer.sign(EVENTS, roots[EVENTS]))
    checked = Took(time.perf_counter() - begun, time.process_time() - worked)
    assert not proved.problems
    assert proved.verified.events == EVENTS
    lines = lines_of(sessions)
    engine.dispose()
    notes = [read_note(signer.sign(size, roots[size])) for size in sizes]
    return World(Copy(lines, notes, read_key(str(signer.verifier))), signer), wrote, checked


def tell(session: Any, number: int) -> None:
    at, identity = NOW + timedelta(seconds=number), f"{number % 4000:032x}"
    if number == EVENTS:
        ledger.record(session, EXPORTED, now=at, facts={"quarter": "2026Q4", "files": file_hashes(CSV)})
        return
    facts = {"finding": f"{number:032x}", "kind": "unused", "severity": "medium", "why": f"ci-{number} is unused"}
    private = {"email": f"person{number % 50}@example.com", "words": "we need it"} if number % 5 == 0 else None
    ledger.record(session, "finding.opened", now=at, identity_id=identity, facts=facts, private=private)


def lines_of(sessions: database.Sessions) -> list[str]:
    with reading(sessions) as session:
        return [
            line_of(
                {
                    "body": row.body,
                    "hash": row.hash,
                    "prev_hash": row.prev_hash,
                    "private": None if row.salt is None else {"salt": row.salt, "body": row.private},
                }
            )
            for row in ledger._events(session)
        ]


# -- the check ---------------------------------------------------------------------------------------------------------


def check(world: World, changed: Copy, anchor: Note | None, *, whole: bool = False) -> str | None:
    """Return what the verifier says is wrong; None: it sees nothing."""
    every = (*changed.notes, anchor) if anchor else (*changed.notes,)
    try:
        for note in every:
            if why := world.signature_of(note, changed.key):
                return why
        start = 0 if whole else (changed.first - 1) // EVERY
        state = copy.copy(world.states[start])
        state.records = {}
        state.expected = verify_ledger.expected_roots(every)
        if any(state.expected.get(note.size, note.root) != note.root for note in world.pack.notes[:start]):
            return check(world, changed, anchor, whole=True)  # a note over the part that is not read again was changed
        state.read(changed.lines[start * EVERY :])
        verify_ledger.check_end(state, changed.notes[-1])
        verify_pack.check_bound(file_hashes(changed.csv), (state.export or {}).get("files"))
    except Wrong as error:
        return str(error)
    return None


def learn(world: World) -> Took:
    """Check the original, remember where to resume; return how long a check from the beginning takes."""
    state = Ledger()
    for start in range(0, EVENTS, EVERY):
        world.states.append(copy.copy(state))
        state.read(world.pack.lines[start : start + EVERY])
    begun, worked = time.perf_counter(), time.process_time()
    assert check(world, world.pack, world.pack.notes[-1], whole=True) is None
    return Took(time.perf_counter() - begun, time.process_time() - worked)


# -- tampering ---------------------------------------------------------------------------------------------------------


def anew(lines: Sequence[str], first: int, change: Callable[[dict[str, Any]], None] | None = None) -> list[str]:
    """Write the chain anew from an event on: numbers, links and hashes; `change` is made to the first one's body."""
    done = list(lines[: first - 1])
    prev = json.loads(done[-1])["hash"] if done else ledger.GENESIS
    for seq, line in enumerate(lines[first - 1 :], start=first):
        record = json.loads(line)
        body = json.loads(record["body"])
        body["seq"] = seq
        if change is not None and seq == first:
            change(body)
        record["body"], record["prev_hash"] = ledger.canonical(body).decode(), prev
        record["hash"] = prev = ledger.chain(prev, record["body"])
        done.append(line_of(record))
    return done


def forge(body: dict[str, Any]) -> None:
    body["facts"]["why"] = "it is used"


def edit(world: World, at: int) -> Copy:
    lines = list(world.pack.lines)
    record = json.loads(lines[at - 1])
    record["body"] = record["body"].replace("unused", "in use")
    record["hash"] = ledger.chain(record["prev_hash"], record["body"])  # its own hash is easily made anew
    lines[at - 1] = line_of(record)
    return Copy(lines, world.pack.notes, world.pack.key, first=at)


def delete(world: World, at: int) -> Copy:
    lines = world.pack.lines[: at - 1] + world.pack.lines[at:]
    return Copy(lines, world.pack.notes, world.pack.key, first=at)


def insert(world: World, at: int) -> Copy:
    record = json.loads(world.pack.lines[at - 1])
    body = json.loads(record["body"]) | {"kind": "attestation.justify"}
    record |= {"body": ledger.canonical(body).decode(), "private": None}
    record["hash"] = ledger.chain(record["prev_hash"], record["body"])
    lines = [*world.pack.lines[: at - 1], line_of(record), *world.pack.lines[at - 1 :]]
    return Copy(lines, world.pack.notes, world.pack.key, first=at)


def swap(world: World, at: int) -> Copy:
    lines = list(world.pack.lines)
    lines[at - 1], lines[at] = lines[at], lines[at - 1]
    return Copy(lines, world.pack.notes, world.pack.key, first=at)


def cut(world: World, at: int) -> Copy:
    """Cut the tail, and leave out the checkpoints that saw it; an export's event for the files is put at the end."""
    kept = [note for note in world.pack.notes if note.size <= at]
    size = kept[-1].size if kept else at
    return Copy(world.pack.lines[:size], kept or world.pack.notes[:1], world.pack.key, first=size)


def rehash(world: World, at: int) -> Copy:
    """Change an event and write everything after it anew; the checkpoints cannot be signed anew, and are left."""
    return Copy(anew(world.pack.lines[: reach(at)], at, forge), world.pack.notes, world.pack.key, first=at)


def reach(at: int) -> int:
    """Return how far a new chain has to be written for a check to come to its end: past the next checkpoint."""
    return min(EVENTS, (at // EVERY + 1) * EVERY)


def fork(world: World, at: int) -> Copy:
    """Go on from an event as if the rest had been otherwise; checkpoints that saw the rest are left out."""
    kept = [note for note in world.pack.notes if note.size < at]
    other = anew(world.pack.lines[: reach(at)], at, forge)
    return Copy(other, kept or world.pack.notes[:1], world.pack.key, first=at)


def restore(world: World, at: int) -> Copy:
    """Put an older pack in its place, whole and genuine: it ended with its own export and its own checkpoint."""
    older = anew([*world.pack.lines[: at - 1], world.pack.lines[-1]], at)
    return Copy(older, resealed(world, world.signer, older, at), world.pack.key, first=at)


def resealed(world: World, signer: Signer, lines: Sequence[str], first: int) -> list[Note]:
    """Return the checkpoints over these lines, which are as they were before `first`, signed by whoever it is."""
    sealed = [note for note in world.pack.notes if note.size < first]
    if signer is not world.signer:
        sealed = [world.signed_again(signer, note) for note in sealed]
    tree = frontier(world, first - 1)
    for line in lines[first - 1 :]:
        tree.append(leaf_hash(json.loads(line)["body"].encode()))
        if tree.size % EVERY == 0 or tree.size == len(lines):
            sealed.append(read_note(signer.sign(tree.size, tree.root())))
    return sealed


def frontier(world: World, size: int) -> Frontier:
    """Return the tree of the first `size` events, from where the check can be resumed."""
    state = world.states[size // EVERY]
    tree = Frontier()
    tree.size, tree._peaks = state.size, list(state.peaks)
    for line in world.pack.lines[state.size : size]:
        tree.append(leaf_hash(json.loads(line)["body"].encode()))
    return tree


EVE = Signer("nhi-ledger", Ed25519PrivateKey.generate())


def swap_keys(world: World, at: int) -> Copy:
    """Change an event, write everything after it anew, and seal all of it with a key of one's own."""
    short = [*world.pack.lines[: at + 200], world.pack.lines[-1]]  # a shorter ledger is as good for the forger
    other = anew(short, at, forge)
    notes = resealed(world, EVE, other, at)
    return Copy(other, notes, read_key(str(EVE.verifier)), first=at)


def edit_note(world: World, at: int) -> Copy:
    """Let a checkpoint tell of the changed events."""
    number = min(at // EVERY, len(world.pack.notes) - 1)
    other = anew(world.pack.lines[: reach(at)], at, forge)
    tree = frontier(world, at - 1)
    for line in other[at - 1 : world.pack.notes[number].size]:
        tree.append(leaf_hash(json.loads(line)["body"].encode()))
    old = world.pack.notes[number]
    forged = EVE.sign(old.size, tree.root()).partition("\n\n")[0] + "\n\n" + old.whole.partition("\n\n")[2]
    notes = [*world.pack.notes[:number], read_note(forged), *world.pack.notes[number + 1 :]]
    return Copy(other, notes, world.pack.key, first=at)


def edit_csv(world: World, at: int) -> Copy:
    changed = CSV + f"{at:032x},{at}\r\n".encode()
    return Copy(world.pack.lines, world.pack.notes, world.pack.key, csv=changed, first=EVENTS)


def edit_time(world: World, at: int) -> Copy:
    lines = list(world.pack.lines)
    record = json.loads(lines[at - 1])
    record["body"] = record["body"].replace('"at":"2026', '"at":"2025')
    record["hash"] = ledger.chain(record["prev_hash"], record["body"])
    lines[at - 1] = line_of(record)
    return Copy(lines, world.pack.notes, world.pack.key, first=at)


def double(world: World, at: int) -> Copy:
    """Have a number twice: the second event of it follows the first, as a real one would."""
    first, second = json.loads(world.pack.lines[at - 1]), json.loads(world.pack.lines[at - 1])
    second["prev_hash"] = first["hash"]
    second["hash"] = ledger.chain(first["hash"], second["body"])
    lines = [*world.pack.lines[:at], line_of(second), *world.pack.lines[at:]]
    return Copy(lines, world.pack.notes, world.pack.key, first=at)


def swap_prefix(world: World, at: int) -> Copy:
    """Put other events, chained well, before the true rest: only the link at the seam is forced."""
    start = max(1, at - 300)
    other = anew(world.pack.lines[:at], start, forge)
    seam = json.loads(world.pack.lines[at])
    seam["prev_hash"] = json.loads(other[-1])["hash"]
    seam["hash"] = ledger.chain(seam["prev_hash"], seam["body"])
    return Copy([*other, line_of(seam), *world.pack.lines[at + 1 :]], world.pack.notes, world.pack.key, first=start)


KINDS: dict[str, Callable[[World, int], Copy]] = {
    "edit": edit,
    "delete": delete,
    "insert": insert,
    "swap": swap,
    "cut the tail": cut,
    "re-hash all": rehash,
    "fork": fork,
    "restore an old copy": restore,
    "swap keys": swap_keys,
    "edit the note": edit_note,
    "edit the CSV": edit_csv,
    "edit a time": edit_time,
    "double a number": double,
    "swap a prefix": swap_prefix,
}


# -- the figures -------------------------------------------------------------------------------------------------------


def tampering(world: World) -> tuple[int, int, set[str]]:
    """Return how many were seen with the anchor, how many without, and the kinds that were not seen without it."""
    dice = random.Random(6962)  # the same places each time
    places = sorted(dice.sample(range(EVERY + 2, EVENTS - EVERY), PLACES))
    with_anchor = without = 0
    missed: set[str] = set()
    for kind, tamper in KINDS.items():
        begun = time.perf_counter()
        for number, at in enumerate(places):
            changed = tamper(world, at)
            seen = check(world, changed, world.pack.notes[-1])
            alone = seen if world.pack.notes[-1] in changed.notes else check(world, changed, None)
            if number == 0:
                assert check(world, changed, world.pack.notes[-1], whole=True) == seen, kind
            with_anchor += seen is not None
            without += alone is not None
            if alone is None:
                missed.add(kind)
        print(f"  {kind:20} {time.perf_counter() - begun:6.1f} s  e.g. {seen!r}", file=sys.stderr)
    return with_anchor, without, missed


def proofs(world: World) -> tuple[int, float]:
    """Return how many of 1,000 inclusion proofs hold, and the seconds that the tree and they took."""
    begun = time.perf_counter()
    leaves = [leaf_hash(json.loads(line)["body"].encode()) for line in world.pack.lines]
    tree = Tree(leaves)
    root = tree.root()
    held = sum(includes(root, EVENTS, at, leaves[at], tree.inclusion(at)) for at in range(0, EVENTS, EVENTS // 1000))
    return held, time.perf_counter() - begun


def main() -> int:
    """Print the table; return 1 where a target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        world, wrote, checked = write(Path(folder))
    pack_checked = learn(world)
    held, proved = proofs(world)
    seen, alone, missed = tampering(world)
    total = len(KINDS) * PLACES
    assert bisect_left([note.size for note in world.pack.notes], EVENTS) == len(world.pack.notes) - 1
    rows = [
        ("nhi ledger verify, 100,000 events", f"{checked}", f"< {SEEN_WITHIN:g} s", checked.processor < SEEN_WITHIN),
        ("verify.py, 100,000 events", f"{pack_checked}", f"< {SEEN_WITHIN:g} s", pack_checked.processor < SEEN_WITHIN),
        ("events written a second", f"{EVENTS / wrote:,.0f}", "-", True),
        ("1,000 inclusion proofs, tree and check", f"{held} hold, {proved:.2f} s", "1,000", held == 1000),
        ("tampering seen with the last anchor", f"{seen} of {total}", f"{total}", seen == total),
        ("tampering seen without it", f"{alone} of {total}", f"{total - 200}", alone == total - 200),
        ("not seen without it", ", ".join(sorted(missed)), "these two", missed == NOT_SEEN_ALONE),
    ]
    for name, value, target, is_met in rows:
        print(f"{name:42} {value:36} {target:12} {'met' if is_met else 'MISSED'}")
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
