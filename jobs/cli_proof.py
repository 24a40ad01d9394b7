"""`nhi ledger` and `nhi evidence`: the history that cannot be changed unseen, and the auditor's pack."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from jobs import anchors, checkpoint, work
from jobs.command import INCOMPLETE, as_json, example, operator, put, with_program
from jobs.pack import archive
from jobs.program import Program
from nhi import erasure, facts, proof, reviews, verify_pack
from nhi.checkpoint import write_key
from nhi.database import reading
from nhi.errors import NhiError

anchor_option = click.option(
    "--anchor",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="NOTE",
    help="A checkpoint that was kept elsewhere: only that shows that nothing was cut from the end.",
)


@click.group("ledger")
def ledger_group() -> None:
    """The append-only history."""


@example("nhi ledger verify --anchor checkpoint-000000012345.note")
@ledger_group.command("verify")
@anchor_option
@as_json
@with_program
def ledger_verify(program: Program, anchor: Path | None, as_json: bool) -> None:
    """Check the chain from its first event to its last, and the signed checkpoints over it."""
    keys = checkpoint.keys(program) if program.settings.nhi_signing_key else ()
    note = anchor.read_text("utf-8") if anchor else None
    with reading(program.sessions) as session:
        proved = proof.prove(session, keys=keys, anchor=note)
    if as_json:
        put(_proved_json(proved))
    if proved.problems:
        raise NhiError(f"The ledger is not what it was. {' '.join(proved.problems)}")
    if not as_json:
        click.echo(_proved_sentence(proved, is_signed=bool(keys), is_anchored=note is not None))
    if proved.verified.lost:
        seqs = ", ".join(map(str, proved.verified.lost[:10]))
        click.echo(f"nhi: personal parts are gone without an erasure on the record: events {seqs}.", err=True)
        sys.exit(INCOMPLETE)


def _proved_json(proved: proof.Proved) -> dict[str, object]:
    verified = proved.verified
    return {
        "events": verified.events,
        "last_hash": verified.last_hash,
        "root": verified.roots[verified.events].hex() if verified.events in verified.roots else None,
        "checkpoints": proved.checkpoints,
        "sealed": proved.sealed,
        "unsealed_since": facts.when(proved.unsealed_since),
        "erased": verified.erased,
        "lost": list(verified.lost),
        "problems": list(proved.problems),
    }


def _proved_sentence(proved: proof.Proved, *, is_signed: bool, is_anchored: bool) -> str:
    verified = proved.verified
    said = [f"{verified.events} events, unbroken. The last one's hash is {verified.last_hash}."]
    if proved.checkpoints:
        checked = "hold" if is_signed else "agree; their signatures were not checked, as NHI_SIGNING_KEY is not set"
        said.append(f"The checkpoints ({proved.checkpoints}, over the first {proved.sealed} events) {checked}.")
    if proved.unsealed_since:
        said.append(
            f"Not sealed yet: {verified.events - proved.sealed} events, since {facts.when(proved.unsealed_since)}."
        )
    if verified.erased:
        said.append(f"The personal parts of {verified.erased} events were erased, as the ledger tells.")
    if is_anchored:
        said.append("It continues the anchor.")
    else:
        said.append("Without --anchor it cannot be seen whether newer events were cut off, or an older copy put back.")
    return "\n".join(said)


@example("nhi ledger checkpoint")
@ledger_group.command("checkpoint")
@as_json
@with_program
def ledger_checkpoint(program: Program, as_json: bool) -> None:
    """Check the ledger, sign its size and root, and bring the note to where policy keeps it. Prints the note."""
    made = checkpoint.seal(program, because="by hand")
    brought = anchors.bring(program)
    work.deliver_all(program)
    if as_json:
        waiting = [{"target": target, "reason": why} for target, why in brought.waiting]
        put({"size": made.size, "note": made.note, "kept": brought.kept, "waiting": waiting})
    else:
        click.echo(made.note or made.sentence(), nl=not made.note)
        click.echo(f"{made.sentence()} {brought.sentence()}" if made.note else "", err=True)
    if brought.waiting:
        sys.exit(INCOMPLETE)


@example("nhi ledger keygen --out nhi-signing.pem")
@ledger_group.command("keygen")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where the key is written.")
def ledger_keygen(out: Path) -> None:
    """Make the key that signs checkpoints. Keep it where the database's owner cannot read it."""
    write_key(out)
    click.echo(f"Wrote {out}, readable by you alone. Set NHI_SIGNING_KEY={out.resolve()}, and back the file up.")


@example("nhi ledger erase otto@example.com")
@ledger_group.command("erase")
@click.argument("email")
@as_json
@with_program
def ledger_erase(program: Program, email: str, as_json: bool) -> None:
    """Erase what the history tells of a person, without breaking its chain. This cannot be undone.

    Attestations, questions and ownership stay: they are the record of who decided what.
    """
    with program.sessions.begin() as session:
        erased = erasure.erase(session, email, now=program.clock())
    left = {"attestations": erased.attestations, "asks": erased.asks, "owners": erased.owners}
    if as_json:
        put({"events": erased.events, "left": left})
        return
    click.echo(f"Erased the personal parts of {erased.events} events; the chain still verifies.")
    if any(left.values()):
        click.echo(
            f"Left, as the record of who decided what: {erased.attestations} attestations, {erased.asks} questions,"
            f" {erased.owners} ownerships. Keep them for as long as your audits need them."
        )


@click.group("evidence")
def evidence_group() -> None:
    """The auditor's pack."""


@example("nhi evidence export --quarter 2026Q4 --out evidence.zip")
@evidence_group.command("export")
@click.option("--quarter", metavar="Q", help="Like 2026Q4; without it, the quarter that we are in.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.zip")
@click.option("--no-scan", is_flag=True, help="Tell of the last scan; what was turned off is read back all the same.")
@as_json
@with_program
def evidence_export(program: Program, quarter: str | None, out: Path, no_scan: bool, as_json: bool) -> None:
    """Scan afresh, read back what was turned off, and write the auditor's pack. Never writes to a cloud."""
    chosen = reviews.read_quarter(quarter) if quarter else reviews.quarter_of(program.clock())
    exported = archive.export(program, chosen, out, by=operator(), scan=not no_scan)
    if as_json:
        put(exported.as_json())
    else:
        click.echo(exported.sentence())
    if exported.evidence.incomplete:
        sys.exit(INCOMPLETE)


@example("nhi evidence verify evidence.zip --anchor checkpoint-000000012345.note")
@evidence_group.command("verify")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@anchor_option
@click.option("--key", metavar="NAME+ID+KEY", multiple=True, help="A key that you were told of.")
def evidence_verify(file: Path, anchor: Path | None, key: Sequence[str]) -> None:
    """Check a pack, as the verify.py in it does. Needs neither settings nor database."""
    chosen = [str(file), *(("--anchor", str(anchor)) if anchor else ()), *(f"--key={one}" for one in key)]
    status = verify_pack.main(chosen, click.echo)
    if status:
        sys.exit(1 if status == 2 else status)
