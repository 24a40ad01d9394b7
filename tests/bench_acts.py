"""Random walks through the life of acts: 5,000 runs of 50 steps each, and what must hold in every one of them.

Steps are people's decisions and undos, uses, whole, stale and partial scans, denials, renames, users made anew under an
old name, keys made, deleted and switched by others, two keys a user, a role, scream tests, workers that get SIGKILL
while a call is under way, and workers that stand still in one for longer than their hold (tests/acts_walk.py). In every
fifth run each act has a session of the remediator's. What must hold: only what was decided on is ever switched, and
nothing else changes; no session reaches more than its act is about; no key used after its card is off when all is
quiet; a scream test's step ends by itself; each step follows the one before; the chain of the ledger holds.

Run by `make bench`; the first argument, where there is one, is the number of runs, the second the first seed, and
AT_ONCE=1 in the environment leaves the other core alone. Exits 1 where anything broke.
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from nhi import database
from tests.acts_walk import FORK, Broken, staged

RUNS, STEPS = 5_000, 50
AT_ONCE = int(os.environ.get("AT_ONCE", "2"))  # processes
CHUNK = 50  # runs that share a stage


def template(folder: Path) -> Path:
    """Return an empty, migrated database to copy."""
    path = folder / "template.db"
    url = f"sqlite:///{path}"
    engine = database.open_engine(url)
    database.make_ready(engine, url)
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def chunk(seeds: Sequence[int], empty: Path, folder: Path) -> list[tuple[Counter[str], str | None]]:
    """Take some walks, one after the other; return what happened in each, and what broke (None: nothing)."""
    FORK.set_forkserver_preload(["tests.acts_warm"])
    told: list[tuple[Counter[str], str | None]] = []
    with tempfile.TemporaryDirectory(dir=folder) as own, staged(empty, Path(own)) as stage:
        for seed in seeds:
            walk = stage.walk(seed)
            wrong = None
            try:
                walk.play(STEPS)
            except Broken as broken:
                wrong = str(broken)
            told.append((walk.counts, wrong))
    return told


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began, counts, broken, done = time.monotonic(), Counter[str](), list[str](), 0
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        folder = Path(name)
        chunks = [range(at, min(at + CHUNK, first + runs)) for at in range(first, first + runs, CHUNK)]
        walks = partial(chunk, empty=template(folder), folder=folder)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(AT_ONCE, mp_context=context) as pool:  # max_tasks_per_child hangs in Python 3.11
            for told in pool.map(walks, chunks):
                for happened, wrong in told:
                    counts += happened
                    done += 1
                    if wrong is not None:
                        broken.append(wrong)
                        sys.stdout.write(f"BROKEN: {wrong}\n")
                sys.stderr.write(f"{done:,} of {runs:,} runs, {len(broken)} broke, {time.monotonic() - began:.0f} s\n")
    ended = ", ".join(f"{name.removeprefix('ended ')} {n:,}" for name, n in counts.items() if name.startswith("ended"))
    sys.stdout.write(
        f"{runs:,} runs of {STEPS} steps: {len(broken)} broke (target 0). {counts['decided']:,} acts decided ({ended});"
        f" {counts['killed in a call']:,} workers killed in a call,"
        f" {counts['slept in a call']:,} that stood still in one, {counts['screams']:,} denied calls,"
        f" {counts['rename'] + counts['remake']:,} renames, {counts['partial scan']:,} partial scans."
        f" {time.monotonic() - began:.0f} s.\n"
    )
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
