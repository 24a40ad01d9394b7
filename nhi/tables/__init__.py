"""Rows and their constraints. What must always hold is held here, by the database, before any code.

Times are UTC. Enumerations are stored by value. Ids are opaque. `event` and `attestation` take no UPDATE and no
DELETE: triggers in the migration refuse them, in SQLite and PostgreSQL alike.
"""

from nhi.tables.columns import Base, UtcDateTime, new_id
from nhi.tables.conversation import (
    AskFindingRow,
    AskRow,
    CardRow,
    DelegationRow,
    DeliveryRow,
    OfferRow,
    OwnerRow,
    PersonRow,
)
from nhi.tables.history import (
    AttestationRow,
    EventPrivateRow,
    EventRow,
    GateRow,
    RemediationRow,
    RunRow,
    SwitchRow,
)
from nhi.tables.inventory import (
    CredentialRow,
    EvidenceRow,
    FindingRow,
    GapRow,
    IdentityRow,
    ScanRow,
)

__all__ = [
    "AskFindingRow",
    "AskRow",
    "AttestationRow",
    "Base",
    "CardRow",
    "CredentialRow",
    "DelegationRow",
    "DeliveryRow",
    "EventPrivateRow",
    "EventRow",
    "EvidenceRow",
    "FindingRow",
    "GapRow",
    "GateRow",
    "IdentityRow",
    "OfferRow",
    "OwnerRow",
    "PersonRow",
    "RemediationRow",
    "RunRow",
    "ScanRow",
    "SwitchRow",
    "UtcDateTime",
    "new_id",
]
