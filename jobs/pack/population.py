"""The population of a pack: as the campaign froze it, or as it is now; and whether it still is what was frozen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.pack.model import Json, clean
from nhi import campaigns, facts, permission_records, review_facts, reviews
from nhi.findings import FindingStatus
from nhi.policy import Policy
from nhi.tables import EventRow, FindingRow, IdentityRow, ReviewCampaignRow, ReviewItemRow


def frozen(session: Session, campaign: ReviewCampaignRow) -> tuple[Json, ...]:
    """Return the items of a campaign as they were frozen, with their reviewer and what became of them."""
    rows = session.scalars(
        select(ReviewItemRow).where(ReviewItemRow.campaign_id == campaign.id).order_by(ReviewItemRow.position)
    )
    return tuple(
        {
            **row.facts,
            "reviewer": row.reviewer,
            "reviewer_because": row.because.value,
            "risk": row.risk.value,
            "review": row.status.value,
            "late": row.late,
        }
        for row in rows
    )


def current(session: Session, policy: Policy, now: datetime) -> tuple[Json, ...]:
    """Return every identity that is there, as last seen; nobody reviews it in this quarter (yet)."""
    rows = list(
        session.scalars(select(IdentityRow).where(IdentityRow.gone_at.is_(None)).order_by(IdentityRow.principal))
    )
    ids = [row.id for row in rows]
    owners = facts.owners(session, ids, policy, now)
    findings: dict[str, list[FindingRow]] = {identity_id: [] for identity_id in ids}
    for finding in session.scalars(select(FindingRow).where(FindingRow.status != FindingStatus.RESOLVED)):
        findings.get(finding.identity_id, []).append(finding)
    powers = permission_records.powers_in_force(session, ids)
    nobody = {"reviewer": None, "reviewer_because": None, "risk": None, "review": None, "late": False}
    return tuple(
        {**review_facts.frozen_facts(row, findings[row.id], powers.get(row.id)), "owner": owners[row.id], **nobody}
        for row in rows
    )


def since(session: Session, population: Sequence[Json]) -> Json:
    """Return how many appeared since the population was frozen, and how many of it are gone."""
    known = {one["identity"]["id"] for one in population}
    rows = session.execute(select(IdentityRow.id, IdentityRow.service_linked).where(IdentityRow.gone_at.is_(None)))
    there = dict(rows.all())
    appeared = sum(one not in known and not by_the_platform for one, by_the_platform in there.items())
    return {"appeared": appeared, "gone": len(known - there.keys())}


def altered(session: Session, campaign: ReviewCampaignRow) -> tuple[str, ...]:
    """Return what is not as the ledger tells that it was frozen, a sentence each; () where all is.

    The ledger has the digest of all items at the opening, and the fingerprint of each that was added later.
    """
    sealed, added = _told(session, campaign.id)
    found: list[str] = []
    opened: list[list[str]] = []
    items = select(ReviewItemRow).where(ReviewItemRow.campaign_id == campaign.id).order_by(ReviewItemRow.position)
    for row in session.scalars(items, execution_options={"yield_per": 500}):
        told = added.get(row.id) if row.late else row.fingerprint
        if not reviews.digest(row.facts) == row.fingerprint == told:
            name = clean(row.facts.get("identity", {}).get("name"))
            found.append(f"What was frozen of {name} was changed in the database since.")
        if not row.late:
            opened.append([row.identity_id, row.fingerprint])
    if campaigns.digest_of(opened) != sealed:
        found.append("The items of the review are not those that the ledger tells it was opened with.")
    return tuple(found)


def _told(session: Session, campaign_id: str) -> tuple[str | None, dict[str, str]]:
    """Return what the ledger tells of a campaign: the digest of its items, and fingerprints of late ones by item."""
    sealed, added = None, {}
    kinds = ("review.opened", "review.item_added")
    for kind, body in session.execute(select(EventRow.kind, EventRow.body).where(EventRow.kind.in_(kinds))):
        about = json.loads(body)["facts"]
        if about["campaign"] == campaign_id and kind == "review.opened":
            sealed = about["population"]
        elif about["campaign"] == campaign_id:
            added[about["item"]] = about["fingerprint"]
    return sealed, added
