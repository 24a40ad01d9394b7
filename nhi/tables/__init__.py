"""Rows and their constraints. What must always hold is held here, by the database, before any code.

Times are UTC. Enumerations are stored by value. Ids are opaque. `event` and `attestation` take no UPDATE and no
DELETE: triggers in the migration refuse them, in SQLite and PostgreSQL alike.
"""

from nhi.tables.activity import (
    ActivityGapRow,
    ActivityPositionRow,
    ActivityProfileRow,
    ActivitySeenRow,
    AnomalyRow,
    LearnedRow,
)
from nhi.tables.acts import (
    AnnouncementRow,
    ApprovalRow,
    AuthenticatorRow,
    RemediationStepRow,
    ScreamStepRow,
    SignInRow,
    StepUpRow,
)
from nhi.tables.columns import Base, UtcDateTime, new_id
from nhi.tables.conversation import (
    AskFindingRow,
    AskRow,
    CardRow,
    DelegationRow,
    DeliveryRow,
    InboxRow,
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
    EvidenceSearchRow,
    FindingRow,
    GapRow,
    IdentityRow,
    ScanRow,
)
from nhi.tables.patience import PromiseRow, SnoozeRow
from nhi.tables.people import (
    DirectoryEntryRow,
    DirectoryPullRow,
    HandoverCardRow,
    HandoverItemRow,
    HandoverItemStatus,
    HandoverRow,
    TeamClaimRow,
)
from nhi.tables.permissions import PermissionSetRow, PermissionSpellRow, PermissionUseRow, PolicyDocumentRow
from nhi.tables.proof import AnchorRow, CheckpointRow, PopulationCountRow
from nhi.tables.reviews import (
    ReviewBoardRow,
    ReviewCampaignRow,
    ReviewChartRow,
    ReviewDecisionRow,
    ReviewItemRow,
    ReviewOfferRow,
    ReviewReviewerRow,
    ReviewSignatureRow,
)
from nhi.tables.rotations import RotationCardRow, RotationRow

__all__ = [
    "ActivityGapRow",
    "ActivityPositionRow",
    "ActivityProfileRow",
    "ActivitySeenRow",
    "AnchorRow",
    "AnnouncementRow",
    "AnomalyRow",
    "ApprovalRow",
    "AskFindingRow",
    "AskRow",
    "AttestationRow",
    "AuthenticatorRow",
    "Base",
    "CardRow",
    "CheckpointRow",
    "CredentialRow",
    "DelegationRow",
    "DeliveryRow",
    "DirectoryEntryRow",
    "DirectoryPullRow",
    "EventPrivateRow",
    "EventRow",
    "EvidenceRow",
    "EvidenceSearchRow",
    "FindingRow",
    "GapRow",
    "GateRow",
    "HandoverCardRow",
    "HandoverItemRow",
    "HandoverItemStatus",
    "HandoverRow",
    "IdentityRow",
    "InboxRow",
    "LearnedRow",
    "OfferRow",
    "OwnerRow",
    "PermissionSetRow",
    "PermissionSpellRow",
    "PermissionUseRow",
    "PersonRow",
    "PolicyDocumentRow",
    "PopulationCountRow",
    "PromiseRow",
    "RemediationRow",
    "RemediationStepRow",
    "ReviewBoardRow",
    "ReviewCampaignRow",
    "ReviewChartRow",
    "ReviewDecisionRow",
    "ReviewItemRow",
    "ReviewOfferRow",
    "ReviewReviewerRow",
    "ReviewSignatureRow",
    "RotationCardRow",
    "RotationRow",
    "RunRow",
    "ScanRow",
    "ScreamStepRow",
    "SignInRow",
    "SnoozeRow",
    "StepUpRow",
    "SwitchRow",
    "TeamClaimRow",
    "UtcDateTime",
    "new_id",
]
