"""From what was gathered to one zip: files, their hashes in the ledger, the ledger itself, its seals and its proofs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from jobs import anchors, checkpoint, work
from jobs.pack import after, history, oscal, report, sheets
from jobs.pack.gather import gather
from jobs.pack.history import History, holds_secret
from jobs.pack.model import Decision, Evidence, Json
from jobs.pack.tables import tables
from jobs.program import Program
from nhi import ledger, verify_pack
from nhi.database import reading
from nhi.errors import NhiError, SettingsError
from nhi.facts import when
from nhi.reviews import Quarter
from nhi.tables import CheckpointRow, EventRow
from nhi.verify_ledger import EXPORTED

Files = dict[str, bytes]
READABLE = (".csv", ".html", ".json", ".jsonl")  # files that are looked through for secrets before they go out
ABOUT = """Evidence of the review of non-human identities, {quarter}
Made {made_at} by nhi-audit {version}

Begin with report.html. Then check the pack:

    python3 verify.py --anchor NOTE        (NOTE: a checkpoint that you kept, or found outside of the program's reach)

Whoever can change a pack can change the verify.py in it. Take that file from where you trust it, or use
`nhi evidence verify PACK.zip --anchor NOTE`.

population.csv, .xlsx   every identity and credential as frozen; what the spreadsheet's other sheets hold is beside it
sources.csv             how the population was obtained: queries, parameters, requests (pages), counts, times, version
completeness.csv        what the clouds themselves count, against what was seen; every place that could not be seen
decisions.csv           who decided what, when, on what they were shown; `event` is the number in the ledger
shown.jsonl             what they were shown, word for word; the ledger has its hash
after.csv               what was decided to be turned off, looked at again for this pack
exceptions.csv          what may break a rule, why, by whom, until when
assessment-results.json the same as OSCAL {oscal}
events.jsonl            the whole ledger: each event's text, its hash, the hash of the event before
checkpoints.jsonl       the signed seals over it; the last one is checkpoint.note
seals.csv               when and why each earlier seal was made, and where else it is kept, with the receipt
proofs.jsonl            RFC 6962 inclusion proofs of the decisions, against that last one
KEYS                    who signs: NAME+ID+KEY, a line each
MANIFEST                the SHA-256 of every file: `sha256sum --check MANIFEST`
"""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote."""

    path: Path
    quarter: Quarter
    evidence: Evidence
    note: str  # the checkpoint that seals it

    def as_json(self) -> Json:
        return {
            "file": str(self.path),
            "quarter": str(self.quarter),
            "identities": len(self.evidence.population),
            "decisions": len(self.evidence.decisions),
            "read_back": len(self.evidence.after),
            "exceptions": len(self.evidence.exceptions),
            "incomplete": list(self.evidence.incomplete),
            "checkpoint": self.note,
        }

    def sentence(self) -> str:
        """Return the export's account."""
        evidence = self.evidence
        text = (
            f"Wrote {self.path}: {len(evidence.population)} identities, {len(evidence.decisions)} decisions,"
            f" {len(evidence.after)} read back, {len(evidence.exceptions)} exceptions, for {self.quarter}."
        )
        if evidence.incomplete:
            text += " It is incomplete, and says so: " + " ".join(evidence.incomplete[:5])
        return text


def export(program: Program, quarter: Quarter, out: Path, *, by: str, scan: bool = True) -> Exported:
    """Look at the clouds afresh, gather, bind everything to the ledger, seal it, and write the zip.

    `scan` False: nothing is scanned or counted anew; what was turned off is read back all the same. Raises
    SettingsError where no key is set or the file cannot be written; NhiError where the ledger is not what it was.
    """
    keys = [str(key) for key in checkpoint.keys(program)]
    if not out.parent.is_dir():
        raise SettingsError(f"{out.parent} is no folder; name a file in one that is there")
    if scan:
        work.scan_all(program)
        after.count(program)
    told = History()
    with reading(program.sessions) as session:
        told.read(session)
    evidence = _gathered(program, quarter, told)
    files = _files(program, evidence, keys)
    _refuse_secrets(files)
    made = _bind(program, quarter, files, told, by)
    with reading(program.sessions) as session:
        history.seal(session, files, told, evidence.decisions, made.size)
    _write(out, files, evidence.made_at)
    anchors.bring(program)
    work.deliver_all(program)
    return Exported(path=out, quarter=quarter, evidence=evidence, note=made.note)


def _gathered(program: Program, quarter: Quarter, told: History) -> Evidence:
    looked = after.read_back(program, quarter)
    unseen = [
        (f"{one.identity['provider']}/{one.identity['account']}/{one.credential}", one.why)
        for one in looked
        if one.now == "not seen" and one.acted_at is not None
    ]
    if told.lost:
        events = ", ".join(map(str, told.lost[:10])) + (", …" if len(told.lost) > 10 else "")
        unseen.append((f"Personal parts of the ledger (events {events})", "they are gone without an erasure on record"))
    with reading(program.sessions) as session:
        return gather(session, program.policy(), quarter, after=looked, other_gaps=unseen, now=program.clock())


def _files(program: Program, evidence: Evidence, keys: Sequence[str]) -> Files:
    """Return the files that the ledger will tell of."""
    made = tables(evidence)
    about = [made[name] for name in ("population", "sources", "completeness")]
    return {
        **{f"{name}.csv": sheets.as_csv(table) for name, table in made.items()},
        "population.xlsx": sheets.as_xlsx(about, evidence.made_at),
        "report.html": report.as_html(evidence, sealed=_newest_note(program), keys=keys),
        "assessment-results.json": oscal.as_oscal(evidence),
        "shown.jsonl": history.lines(_shown(one) for one in evidence.decisions),
        "KEYS": "".join(f"{key}\n" for key in keys).encode(),
        "verify.py": verify_pack.verifier().encode(),
        "README.txt": ABOUT.format(
            quarter=evidence.quarter, made_at=when(evidence.made_at), version=evidence.version, oscal=oscal.VERSION
        ).encode(),
    }


def _newest_note(program: Program) -> str | None:
    with reading(program.sessions) as session:
        return session.scalar(select(CheckpointRow.note).order_by(CheckpointRow.size.desc()).limit(1))


def _shown(one: Decision) -> Json:
    if holds_secret(one.shown):
        return {"record": one.record, "withheld": "it looks like it holds a secret"}
    return {"record": one.record, "shown": ledger.canonical(one.shown).decode()}


def _refuse_secrets(files: Mapping[str, bytes]) -> None:
    """Raise NhiError where a secret is about to go out after all: better no pack than that."""
    for name, content in files.items():
        for number, part in enumerate(_parts(name, content.decode() if name.endswith(READABLE) else ""), start=1):
            if holds_secret(part):
                raise NhiError(f"Nothing was written: line {number} of {name} looks like it holds a secret.")


def _parts(name: str, text: str) -> Iterator[Any]:
    """Return what a file holds, line by line, as its reader would have it."""
    match name.rpartition(".")[2]:
        case "csv":
            yield from csv.reader(io.StringIO(text, newline=""))
        case "json":
            yield json.loads(text)
        case "jsonl":
            yield from (json.loads(line) for line in text.split("\n") if line)
        case _:
            yield from text.splitlines()


def _bind(program: Program, quarter: Quarter, files: Mapping[str, bytes], told: History, by: str) -> checkpoint.Made:
    """Tell the ledger of the files, and seal it. Where another export came between, tell it again: a pack is held
    against the last one that its seal covers.
    """
    while True:
        seq = _tell_ledger(program, quarter, files, told, by)
        made = checkpoint.seal(program, because=f"export of {quarter}")
        with reading(program.sessions) as session:
            sealed = select(func.max(EventRow.seq)).where(EventRow.kind == EXPORTED, EventRow.seq <= made.size)
            if session.scalar(sealed) == seq:
                return made


def _tell_ledger(program: Program, quarter: Quarter, files: Mapping[str, bytes], told: History, by: str) -> int:
    facts = {
        "quarter": str(quarter),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
        "withheld": told.withheld,
        "private_withheld": [*told.private_withheld, *told.lost],
    }
    with program.sessions.begin() as session:
        return ledger.record(session, EXPORTED, now=program.clock(), facts=facts, private={"by": by}).seq


# -- the zip -----------------------------------------------------------------------------------------------------------


def zipped(files: Mapping[str, bytes], made_at: datetime) -> bytes:
    """Return the files as a zip, in the order of their names, all of the time that the pack was made."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, made_at.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name == "verify.py" else 0o644) << 16
            packed.writestr(entry, content)
    return out.getvalue()


def _write(out: Path, files: Mapping[str, bytes], made_at: datetime) -> None:
    """Write the zip whole or not at all; its owner alone can read it."""
    beside = out.with_name(f".{out.name}.part")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(zipped(files, made_at))
        beside.replace(out)
    except OSError as error:
        raise SettingsError(f"{out} cannot be written ({error.strerror})") from None
