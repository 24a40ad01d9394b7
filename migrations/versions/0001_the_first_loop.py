"""The first loop: inventory, findings, owners, the conversation, the act, the ledger.

Why: the database keeps the rules that no code may forget. `event` and `attestation` are append-only: triggers refuse
every UPDATE and DELETE, because an audit trail that its own program can edit proves nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from nhi import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("event", "attestation")


def _refuse_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        # INSERT OR REPLACE deletes without firing the trigger above, unless a connection asked for that.
        key = "seq" if table == "event" else "id"
        op.execute(
            f"CREATE TRIGGER {table}_refuses_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key}) "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
        return
    op.execute(
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuses_changes BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()"
    )


def upgrade() -> None:
    op.create_table(
        "delegation",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("delegate", sa.String(length=320), nullable=False),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delegation")),
    )
    with op.batch_alter_table("delegation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delegation_email"), ["email"], unique=False)

    op.create_table(
        "delivery",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("recipient", sa.String(length=255), nullable=False),
        sa.Column("words", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=255), nullable=True),
        sa.Column("ts", sa.String(length=255), nullable=True),
        sa.Column("wanted_version", sa.Integer(), nullable=False),
        sa.Column("shown_version", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delivery_state_not_before"), ["state", "not_before"], unique=False)

    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("hash", name=op.f("uq_event_hash")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_identity_id"), ["identity_id"], unique=False)

    op.create_table(
        "gate",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("not_before", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gate")),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("account", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column(
            "custody",
            sa.Enum("ours", "platform", "nobody", name="custody", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("use_gap", sa.Text(), nullable=True),
        sa.Column("coverage", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("policies", sa.JSON(), nullable=False),
        sa.Column("privileged", sa.Boolean(), nullable=False),
        sa.Column("service_linked", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("gone_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sa.UniqueConstraint("provider", "account", "key", name=op.f("uq_identity_provider_account_key")),
    )
    op.create_table(
        "person",
        sa.Column("slack_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("handle", sa.String(length=255), nullable=False),
        sa.Column("tz", sa.String(length=255), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("guest", sa.Boolean(), nullable=False),
        sa.Column("bot", sa.Boolean(), nullable=False),
        sa.Column("stranger", sa.Boolean(), nullable=False),
        sa.Column("checked_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("slack_id", name=op.f("pk_person")),
    )
    with op.batch_alter_table("person", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_person_email"), ["email"], unique=False)

    op.create_table(
        "run",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=255), nullable=False),
        sa.Column("period", sa.String(length=255), nullable=False),
        sa.Column("started_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("tally", sa.Text(), nullable=True),
        sa.Column("claimed_until", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("job", "period", name=op.f("uq_run_job_period")),
    )
    op.create_table(
        "scan",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("account", sa.String(length=255), nullable=False),
        sa.Column("started_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("identities", sa.Integer(), nullable=False),
        sa.Column("credentials", sa.Integer(), nullable=False),
        sa.Column("api_calls", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scan")),
    )
    op.create_table(
        "switch",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("on_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_switch")),
    )
    op.create_table(
        "ask",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("open", "answered", "passed", "withdrawn", name="askstatus", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("asked_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("escalated_to", sa.JSON(), nullable=False),
        sa.Column("last_step_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ended_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_ask_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ask")),
    )
    with op.batch_alter_table("ask", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ask_email"), ["email"], unique=False)
        batch_op.create_index(batch_op.f("ix_ask_identity_id"), ["identity_id"], unique=False)
        batch_op.create_index(
            "uq_ask_open",
            ["identity_id"],
            unique=True,
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        )

    op.create_table(
        "credential",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "active", "inactive", name="credentialstatus", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column(
            "custody",
            sa.Enum("ours", "platform", "nobody", name="custody", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("rotated_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_used_service", sa.String(length=255), nullable=True),
        sa.Column("last_used_region", sa.String(length=255), nullable=True),
        sa.Column("use_gap", sa.Text(), nullable=True),
        sa.Column("coverage", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("gone_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_credential_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sa.UniqueConstraint("identity_id", "key", name=op.f("uq_credential_identity_id_key")),
    )
    with op.batch_alter_table("credential", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_credential_external_id"), ["external_id"], unique=False)

    op.create_table(
        "event_private",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"], name=op.f("fk_event_private_seq_event")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event_private")),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("fact", sa.String(length=1000), nullable=False),
        sa.Column("points_to", sa.Text(), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("seen_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_evidence_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("identity_id", "source", "fact", name=op.f("uq_evidence_identity_id_source_fact")),
    )
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_evidence_identity_id"), ["identity_id"], unique=False)

    op.create_table(
        "gap",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("scan_id", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hides", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_gap_scan_id_scan")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gap")),
    )
    with op.batch_alter_table("gap", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gap_scan_id"), ["scan_id"], unique=False)

    op.create_table(
        "attestation",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("ask_id", sa.String(length=32), nullable=True),
        sa.Column("credential_id", sa.String(length=32), nullable=True),
        sa.Column(
            "verdict",
            sa.Enum(
                "claim",
                "justify",
                "rotate",
                "disable",
                "not_mine",
                "undo",
                name="verdict",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("slack_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["ask_id"], ["ask.id"], name=op.f("fk_attestation_ask_id_ask")),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credential.id"], name=op.f("fk_attestation_credential_id_credential")
        ),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_attestation_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attestation")),
    )
    with op.batch_alter_table("attestation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attestation_ask_id"), ["ask_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_attestation_email"), ["email"], unique=False)
        batch_op.create_index(batch_op.f("ix_attestation_identity_id"), ["identity_id"], unique=False)

    op.create_table(
        "card",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("ask_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ask_id"], ["ask.id"], name=op.f("fk_card_ask_id_ask")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_card_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card")),
        sa.UniqueConstraint("delivery_id", "ask_id", name=op.f("uq_card_delivery_id_ask_id")),
    )
    with op.batch_alter_table("card", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_card_ask_id"), ["ask_id"], unique=False)

    op.create_table(
        "finding",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("credential_id", sa.String(length=32), nullable=True),
        sa.Column(
            "kind",
            sa.Enum("unused", "unowned", "unrotated", name="findingkind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "open", "asked", "justified", "snoozed", "resolved", name="findingstatus", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column(
            "severity",
            sa.Enum(
                "low",
                "medium",
                "high",
                "critical",
                name="severity",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("owasp", sa.String(length=255), nullable=False),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("coverage", sa.Text(), nullable=False),
        sa.Column("opened_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("justified_until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("resolved_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("resolved_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["credential_id"], ["credential.id"], name=op.f("fk_finding_credential_id_credential")),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_finding_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
    )
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_finding_identity_id"), ["identity_id"], unique=False)
        batch_op.create_index(
            "uq_finding_open_of_credential",
            ["identity_id", "credential_id", "kind"],
            unique=True,
            sqlite_where=sa.text("status <> 'resolved' AND credential_id IS NOT NULL"),
            postgresql_where=sa.text("status <> 'resolved' AND credential_id IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_finding_open_of_identity",
            ["identity_id", "kind"],
            unique=True,
            sqlite_where=sa.text("status <> 'resolved' AND credential_id IS NULL"),
            postgresql_where=sa.text("status <> 'resolved' AND credential_id IS NULL"),
        )

    op.create_table(
        "ask_finding",
        sa.Column("ask_id", sa.String(length=32), nullable=False),
        sa.Column("finding_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["ask_id"], ["ask.id"], name=op.f("fk_ask_finding_ask_id_ask")),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.id"], name=op.f("fk_ask_finding_finding_id_finding")),
        sa.PrimaryKeyConstraint("ask_id", "finding_id", name=op.f("pk_ask_finding")),
    )
    op.create_table(
        "owner",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("since", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("attestation_id", sa.String(length=32), nullable=False),
        sa.Column("ended_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attestation_id"], ["attestation.id"], name=op.f("fk_owner_attestation_id_attestation")
        ),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_owner_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owner")),
    )
    with op.batch_alter_table("owner", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_owner_email"), ["email"], unique=False)
        batch_op.create_index(
            "uq_owner_current",
            ["identity_id"],
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.create_table(
        "remediation",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "kind", sa.Enum("disable", "rotate", name="remediationkind", native_enum=False, length=32), nullable=False
        ),
        sa.Column(
            "status",
            sa.Enum(
                "proposed",
                "planned",
                "acting",
                "done",
                "refused",
                "failed",
                "undoing",
                "undone",
                name="remediationstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("credential_id", sa.String(length=32), nullable=False),
        sa.Column("attestation_id", sa.String(length=32), nullable=False),
        sa.Column("ask_id", sa.String(length=32), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("planned_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("due_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("undo", sa.JSON(), nullable=True),
        sa.Column("acted_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("verified_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("undone_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("undo_by", sa.String(length=255), nullable=True),
        sa.Column("because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["ask_id"], ["ask.id"], name=op.f("fk_remediation_ask_id_ask")),
        sa.ForeignKeyConstraint(
            ["attestation_id"], ["attestation.id"], name=op.f("fk_remediation_attestation_id_attestation")
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credential.id"], name=op.f("fk_remediation_credential_id_credential")
        ),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_remediation_identity_id_identity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remediation")),
    )
    with op.batch_alter_table("remediation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_remediation_credential_id"), ["credential_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_remediation_identity_id"), ["identity_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_remediation_status_due_at"), ["status", "due_at"], unique=False)
        batch_op.create_index(
            "uq_remediation_live",
            ["credential_id", "kind"],
            unique=True,
            sqlite_where=sa.text("status IN ('proposed', 'planned', 'acting')"),
            postgresql_where=sa.text("status IN ('proposed', 'planned', 'acting')"),
        )

    op.create_table(
        "offer",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("ask_id", sa.String(length=32), nullable=True),
        sa.Column("card_id", sa.String(length=32), nullable=True),
        sa.Column("remediation_id", sa.String(length=32), nullable=True),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["ask_id"], ["ask.id"], name=op.f("fk_offer_ask_id_ask")),
        sa.ForeignKeyConstraint(["card_id"], ["card.id"], name=op.f("fk_offer_card_id_card")),
        sa.ForeignKeyConstraint(["identity_id"], ["identity.id"], name=op.f("fk_offer_identity_id_identity")),
        sa.ForeignKeyConstraint(
            ["remediation_id"], ["remediation.id"], name=op.f("fk_offer_remediation_id_remediation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offer")),
    )
    with op.batch_alter_table("offer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_offer_ask_id"), ["ask_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_offer_card_id"), ["card_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_offer_identity_id"), ["identity_id"], unique=False)

    for table in APPEND_ONLY:
        _refuse_changes(table)


def downgrade() -> None:
    with op.batch_alter_table("offer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_offer_identity_id"))
        batch_op.drop_index(batch_op.f("ix_offer_card_id"))
        batch_op.drop_index(batch_op.f("ix_offer_ask_id"))

    op.drop_table("offer")
    with op.batch_alter_table("remediation", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_remediation_live",
            sqlite_where=sa.text("status IN ('proposed', 'planned', 'acting')"),
            postgresql_where=sa.text("status IN ('proposed', 'planned', 'acting')"),
        )
        batch_op.drop_index(batch_op.f("ix_remediation_status_due_at"))
        batch_op.drop_index(batch_op.f("ix_remediation_identity_id"))
        batch_op.drop_index(batch_op.f("ix_remediation_credential_id"))

    op.drop_table("remediation")
    with op.batch_alter_table("owner", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_owner_current", sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL")
        )
        batch_op.drop_index(batch_op.f("ix_owner_email"))

    op.drop_table("owner")
    op.drop_table("ask_finding")
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_finding_open_of_identity",
            sqlite_where=sa.text("status <> 'resolved' AND credential_id IS NULL"),
            postgresql_where=sa.text("status <> 'resolved' AND credential_id IS NULL"),
        )
        batch_op.drop_index(
            "uq_finding_open_of_credential",
            sqlite_where=sa.text("status <> 'resolved' AND credential_id IS NOT NULL"),
            postgresql_where=sa.text("status <> 'resolved' AND credential_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_finding_identity_id"))

    op.drop_table("finding")
    with op.batch_alter_table("card", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_card_ask_id"))

    op.drop_table("card")
    with op.batch_alter_table("attestation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attestation_identity_id"))
        batch_op.drop_index(batch_op.f("ix_attestation_email"))
        batch_op.drop_index(batch_op.f("ix_attestation_ask_id"))

    op.drop_table("attestation")
    with op.batch_alter_table("gap", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gap_scan_id"))

    op.drop_table("gap")
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_evidence_identity_id"))

    op.drop_table("evidence")
    op.drop_table("event_private")
    with op.batch_alter_table("credential", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_credential_external_id"))

    op.drop_table("credential")
    with op.batch_alter_table("ask", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_ask_open", sqlite_where=sa.text("status = 'open'"), postgresql_where=sa.text("status = 'open'")
        )
        batch_op.drop_index(batch_op.f("ix_ask_identity_id"))
        batch_op.drop_index(batch_op.f("ix_ask_email"))

    op.drop_table("ask")
    op.drop_table("switch")
    op.drop_table("scan")
    op.drop_table("run")
    with op.batch_alter_table("person", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_person_email"))

    op.drop_table("person")
    op.drop_table("identity")
    op.drop_table("gate")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_identity_id"))

    op.drop_table("event")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delivery_state_not_before"))

    op.drop_table("delivery")
    with op.batch_alter_table("delegation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delegation_email"))

    op.drop_table("delegation")

    if op.get_bind().dialect.name == "postgresql":
        for table in APPEND_ONLY:
            op.execute(f"DROP FUNCTION {table}_is_append_only()")
