"""What each rule of a policy would match today, on the inventory as last seen. Nothing is written."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.program import Program
from jobs.show import console
from nhi import findings, roster
from nhi.database import reading
from nhi.identity import Gap, Identity
from nhi.policy import NEVER, Policy
from nhi.records import gap_of, identity_of
from nhi.tables import IdentityRow, ScanRow


def show(program: Program, policy: Policy, path: Path) -> None:
    """Print what the policy would find today, rule by rule and exception by exception."""
    with reading(program.sessions) as session:
        identities = [
            (row.id, identity_of(row))
            for row in session.scalars(select(IdentityRow).where(IdentityRow.gone_at.is_(None)))
        ]
        owned = roster.owners_active(session, [identity_id for identity_id, _ in identities], program.clock())
        gaps = last_gaps(session)
    out = console()
    out.print(f"{path} reads well." if path.exists() else "There is no policy file: the defaults are in force.")
    if not identities:
        out.print("Nothing was scanned yet; run `nhi scan`, then this shows what each rule would do.")
        return
    counted: Counter[str] = Counter()
    for identity_id, identity in identities:
        for finding in findings.assess(
            identity, owner_active=owned.get(identity_id), gaps=gaps, policy=policy, now=program.clock()
        ):
            counted[finding.kind.value] += 1
    out.print(_rules(policy, counted, identities))
    if policy.rules.exceptions:
        out.print(_exceptions(policy, [identity for _, identity in identities]))


def last_gaps(session: Session) -> tuple[Gap, ...]:
    """Return the gaps of the newest scan of each account."""
    newest: dict[tuple[str, str], ScanRow] = {}
    for scan in session.scalars(select(ScanRow).order_by(ScanRow.finished_at)):
        newest[scan.provider, scan.account] = scan
    return tuple(gap_of(gap) for scan in newest.values() for gap in scan.gaps)


def _rules(policy: Policy, counted: Counter[str], identities: list[tuple[str, Identity]]) -> Table:
    table = Table("rule", "is", "would match today", title=f"{len(identities)} identities")
    table.add_row("rules.unused_after", in_words(policy.rules.unused_after), f"{counted['unused']} unused")
    table.add_row("rules.unrotated_after", in_words(policy.rules.unrotated_after), f"{counted['unrotated']} unrotated")
    without = f"{counted['unowned']} unowned, {counted['orphaned']} orphaned"
    table.add_row("(always)", "a confirmed, active owner", without)
    return table


def _exceptions(policy: Policy, identities: list[Identity]) -> Table:
    table = Table("exception", "matches", "says")
    for number, exception in enumerate(policy.rules.exceptions, start=1):
        fitting = sum(exception.match.fits(identity) for identity in identities)
        says = [
            f"{name} = {in_words(value)}"
            for name in ("unused_after", "unrotated_after")
            if (value := getattr(exception, name)) is not None
        ]
        given = exception.match.model_dump(exclude_defaults=True)
        table.add_row(f"{number}: {given}", f"{fitting} identities", ", ".join(says) or "nothing")
    return table


def in_words(duration: timedelta) -> str:
    """Return a duration as policy.toml would write it."""
    if duration == NEVER:
        return "never"
    return f"{duration.days}d" if duration.days else f"{duration.seconds // 3600}h"
