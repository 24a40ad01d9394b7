"""What a finding is: its kinds, how severe, in which state, and its words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nhi.words import sentence


class FindingKind(StrEnum):
    UNUSED = "unused"
    UNOWNED = "unowned"
    ORPHANED = "orphaned"
    UNROTATED = "unrotated"
    OVERPRIVILEGED = "overprivileged"
    CROSS_ENVIRONMENT = "cross_environment"
    REUSED = "reused"
    HUMAN_USE = "human_use"
    ANOMALOUS = "anomalous"
    EXPOSED = "exposed"


# Found in what an identity did, not in what it is: only an answer, or its end, resolves it (nhi/anomalies.py).
OF_ACTIVITY = frozenset({FindingKind.ANOMALOUS})

# What is wrong with its owner, and not with what it does: a claim resolves it, a justification does not.
OWNERSHIP = frozenset({FindingKind.UNOWNED, FindingKind.ORPHANED})


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


SEVERITIES = list(Severity)  # rising


class FindingStatus(StrEnum):
    OPEN = "open"
    ASKED = "asked"
    JUSTIFIED = "justified"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


# OWASP NHI Top 10 (2025): unused, unowned and orphaned are leftovers of somebody or something that is gone (NHI1), an
# old secret is long-lived (NHI7), and what may do much that it never does is overprivileged (NHI5).
OWASP = {
    FindingKind.UNUSED: "NHI1",
    FindingKind.UNOWNED: "NHI1",
    FindingKind.ORPHANED: "NHI1",
    FindingKind.UNROTATED: "NHI7",
    FindingKind.OVERPRIVILEGED: "NHI5",
    FindingKind.CROSS_ENVIRONMENT: "NHI8",
    FindingKind.REUSED: "NHI9",
    FindingKind.HUMAN_USE: "NHI10",
    FindingKind.EXPOSED: "NHI6",
}


_CREDENTIALS = (
    *("access_key", "role", "console_password", "service_specific_credential", "service_account"),
    *("service_account_key", "api_key", "workload_identity_provider", "server_certificate", "stored_secret"),
    "certificate",
)


def called(kind: str) -> str:
    """Return what a credential of a kind is called in sentences for people."""
    return sentence(f"findings.credential_{kind}") if kind in _CREDENTIALS else kind.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One broken rule, as it stands now. `credential_key` is None where the whole identity breaks it."""

    kind: FindingKind
    credential_key: str | None
    severity: Severity
    owasp: str
    since: datetime
    why: str
    coverage: str
    exact: bool = True  # False: it may have begun earlier than anybody remembers


def raised(severity: Severity, *reasons: bool) -> Severity:
    return SEVERITIES[min(SEVERITIES.index(severity) + sum(reasons), len(SEVERITIES) - 1)]
