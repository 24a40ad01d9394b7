"""How far an act's scream test is, in the shape that cards and JSON show."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nhi.ledger import instant
from nhi.remediation import RemediationStatus
from nhi.screaming import Outcome
from nhi.tables import RemediationRow, ScreamStepRow


def scream_test(row: RemediationRow) -> dict[str, Any] | None:
    """Return the steps of an act's scream test; None: it is turned off for good at once."""
    if not row.ladder:
        return None
    newest = row.trials[-1] if row.trials else None
    counted = sum(trial.outcome in (None, Outcome.SILENT) for trial in row.trials)
    return {
        "step": counted,  # that is under way, or was the last
        "of": len(row.ladder),
        "seconds": row.ladder,
        "next_at": instant(row.due_at) if row.status is RemediationStatus.PLANNED else None,
        "outcomes": [trial.outcome.value if trial.outcome else None for trial in row.trials],
        **_newest(newest),
    }


def _newest(trial: ScreamStepRow | None) -> dict[str, Any]:
    if trial is None:
        return dict.fromkeys(("off_at", "back_on_at", "back_at", "audible", "coverage", "heard"))
    return {
        "off_at": _when(trial.off_at),
        "back_on_at": _when(trial.back_on_at),
        "back_at": _when(trial.back_at),
        "audible": trial.audible,
        "coverage": trial.coverage,
        "heard": trial.heard,
    }


def _when(moment: datetime | None) -> str | None:
    return instant(moment) if moment else None
