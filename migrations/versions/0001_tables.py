"""Every table of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "access_line",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "subject_kind",
            sa.String(32).with_variant(sa.String(32, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "subject", sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("what", sa.String(length=60), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_line")),
    )
    with op.batch_alter_table("access_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_access_line_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_access_line_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_access_line_subject"), ["subject"], unique=False)

    op.create_table(
        "audit_event",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column(
            "tag", sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "subject_kind",
            sa.String(32).with_variant(sa.String(32, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "subject", sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_event")),
    )
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_event_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_subject"), ["subject"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_tag"), ["tag"], unique=False)

    op.create_table(
        "authority",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "code", sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("name_en", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("place_in_lists", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('city', 'district', 'county', 'county_city', 'autonomous_county', 'zone', 'direct')",
            name=op.f("ck_authority_kind_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authority")),
        sa.UniqueConstraint("code", name=op.f("uq_authority_code")),
        sa.UniqueConstraint("public_id", name=op.f("uq_authority_public_id")),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(length=32), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("seq > 0", name=op.f("ck_checkpoint_seq_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("seq", name=op.f("uq_checkpoint_seq")),
    )
    op.create_table(
        "guardian",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "name", sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "document_type",
            sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("document_number", sa.LargeBinary(), nullable=True),
        sa.Column("document_index", sa.LargeBinary(length=32), nullable=True),
        sa.Column("document_mask", sa.String(length=32), nullable=False),
        sa.Column("phone", sa.LargeBinary(), nullable=True),
        sa.Column("audit_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guardian")),
        sa.UniqueConstraint("document_index", name=op.f("uq_guardian_document_index")),
        sa.UniqueConstraint("public_id", name=op.f("uq_guardian_public_id")),
    )
    op.create_table(
        "installation_setting",
        sa.Column(
            "name", sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("value", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation_setting")),
    )
    op.create_table(
        "introduction",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=120), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("composed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('draft', 'published', 'closed', 'settled')", name=op.f("ck_introduction_state_known")
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_introduction_number_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_introduction")),
        sa.UniqueConstraint("number", name=op.f("uq_introduction_number")),
        sa.UniqueConstraint("public_id", name=op.f("uq_introduction_public_id")),
    )
    op.create_table(
        "ledger_entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column(
            "source_ref",
            sa.String(80).with_variant(sa.String(80, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("reverses_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("memo", sa.String(length=200), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "kind IN ('remittance', 'allocation', 'refund', 'release', 'paid', 'returned', 'direct', 'reversal')",
            name=op.f("ck_ledger_entry_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["reverses_id"],
            ["ledger_entry.id"],
            name=op.f("fk_ledger_entry_reverses_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entry")),
        sa.UniqueConstraint("public_id", name=op.f("uq_ledger_entry_public_id")),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_ledger_entry_reverses_id")),
        sa.UniqueConstraint("source_ref", name=op.f("uq_ledger_entry_source_ref")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("public_id", name=op.f("uq_person_public_id")),
    )
    op.create_table(
        "reads_digest",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_line", sa.BigInteger(), nullable=False),
        sa.Column("last_line", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reads_digest")),
        sa.UniqueConstraint("first_line", name=op.f("uq_reads_digest_first_line")),
    )
    op.create_table(
        "receiving_account",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("bank_name", sa.String(length=120), nullable=False),
        sa.Column("number", sa.LargeBinary(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receiving_account")),
    )
    op.create_table(
        "throttle",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_throttle")),
    )
    op.create_table(
        "used_form",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(length=32), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("location", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_used_form")),
    )
    with op.batch_alter_table("used_form", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_used_form_used_at"), ["used_at"], unique=False)

    op.create_table(
        "verification",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
    )
    op.create_table(
        "authority_division",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("authority_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "division_code",
            sa.String(6).with_variant(sa.String(6, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["authority_id"],
            ["authority.id"],
            name=op.f("fk_authority_division_authority_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authority_division")),
    )
    with op.batch_alter_table("authority_division", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_authority_division_authority_id"), ["authority_id"], unique=False
        )

    op.create_table(
        "payout_batch",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "number", sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.Column("total_fen", sa.BigInteger(), nullable=False),
        sa.Column("prepared_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reconciled_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reconciled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.CheckConstraint(
            "state <> 'reconciled' OR reconciled_by IS NOT NULL",
            name=op.f("ck_payout_batch_reconciled_by_somebody"),
        ),
        sa.CheckConstraint(
            "state IN ('prepared', 'checked', 'released', 'reconciled', 'cancelled')",
            name=op.f("ck_payout_batch_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('checked', 'released', 'reconciled') OR checked_by IS NOT NULL",
            name=op.f("ck_payout_batch_checked_by_somebody"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('released', 'reconciled') OR released_by IS NOT NULL",
            name=op.f("ck_payout_batch_released_by_somebody"),
        ),
        sa.CheckConstraint(
            "(checked_by IS NULL) = (checked_at IS NULL)", name=op.f("ck_payout_batch_checked_stamped")
        ),
        sa.CheckConstraint(
            "(reconciled_by IS NULL) = (reconciled_at IS NULL)",
            name=op.f("ck_payout_batch_reconciled_stamped"),
        ),
        sa.CheckConstraint(
            "(released_by IS NULL) = (released_at IS NULL)", name=op.f("ck_payout_batch_released_stamped")
        ),
        sa.CheckConstraint("line_count > 0 AND total_fen > 0", name=op.f("ck_payout_batch_not_empty")),
        sa.CheckConstraint(
            "prepared_by <> checked_by AND prepared_by <> released_by AND prepared_by <> reconciled_by AND checked_by <> released_by AND checked_by <> reconciled_by AND released_by <> reconciled_by",
            name=op.f("ck_payout_batch_four_persons"),
        ),
        sa.ForeignKeyConstraint(
            ["checked_by"], ["person.id"], name=op.f("fk_payout_batch_checked_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["prepared_by"], ["person.id"], name=op.f("fk_payout_batch_prepared_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["reconciled_by"], ["person.id"], name=op.f("fk_payout_batch_reconciled_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["released_by"], ["person.id"], name=op.f("fk_payout_batch_released_by"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_batch")),
        sa.UniqueConstraint("number", name=op.f("uq_payout_batch_number")),
        sa.UniqueConstraint("public_id", name=op.f("uq_payout_batch_public_id")),
    )
    op.create_table(
        "school",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "code", sa.String(10).with_variant(sa.String(10, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "sort_key",
            sa.String(240).with_variant(sa.String(240, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "kind", sa.String(3).with_variant(sa.String(3, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "stages", sa.String(8).with_variant(sa.String(8, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("ownership", sa.String(length=16), nullable=False),
        sa.Column("township", sa.String(length=120), nullable=False),
        sa.Column("office_phone", sa.String(length=20), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["authority_code"], ["authority.code"], name=op.f("fk_school_authority_code"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_school")),
        sa.UniqueConstraint("code", name=op.f("uq_school_code")),
        sa.UniqueConstraint("public_id", name=op.f("uq_school_public_id")),
    )
    with op.batch_alter_table("school", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_school_authority_code"), ["authority_code"], unique=False)

    op.create_table(
        "sponsor",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "credit_code",
            sa.String(18).with_variant(sa.String(18, collation="C"), "postgresql"),
            nullable=True,
        ),
        sa.Column("contact_name", sa.String(length=120), nullable=False),
        sa.Column("phone", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("signed_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("decision_reason", sa.String(length=400), nullable=False),
        sa.CheckConstraint(
            "(kind = 'organisation') = (credit_code IS NOT NULL)",
            name=op.f("ck_sponsor_credit_code_of_organisation"),
        ),
        sa.CheckConstraint("kind IN ('person', 'organisation')", name=op.f("ck_sponsor_kind_known")),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'refused')", name=op.f("ck_sponsor_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["person.id"], name=op.f("fk_sponsor_decided_by"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sponsor")),
        sa.UniqueConstraint("credit_code", name=op.f("uq_sponsor_credit_code")),
        sa.UniqueConstraint("public_id", name=op.f("uq_sponsor_public_id")),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "login", sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("scope_kind", sa.String(length=16), nullable=False),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=True,
        ),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("must_change_password", sa.Boolean(), nullable=False),
        sa.Column("locale", sa.String(length=8), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(scope_kind = 'authority') = (authority_code IS NOT NULL) AND (scope_kind = 'school') = (school_id IS NOT NULL) AND (scope_kind = 'sponsor') = (sponsor_id IS NOT NULL)",
            name=op.f("ck_account_scope_complete"),
        ),
        sa.CheckConstraint(
            "role IN ('school_officer', 'school_head', 'county_officer', 'county_reviewer', 'city_officer', 'city_reviewer', 'finance', 'releaser', 'sponsor', 'auditor', 'administrator')",
            name=op.f("ck_account_role_known"),
        ),
        sa.CheckConstraint(
            "scope_kind IN ('city', 'authority', 'school', 'sponsor', 'nothing')",
            name=op.f("ck_account_scope_kind_known"),
        ),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_account_state_known")),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_account_person_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_account_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_account_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("login", name=op.f("uq_account_login")),
        sa.UniqueConstraint("public_id", name=op.f("uq_account_public_id")),
    )
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_account_person_id"), ["person_id"], unique=False)

    op.create_table(
        "remittance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("payer_name", sa.String(length=120), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("allocated_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunded_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "bank_reference",
            sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "payment_reference",
            sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "allocated_fen >= 0 AND refunded_fen >= 0 AND allocated_fen + refunded_fen <= amount_fen",
            name=op.f("ck_remittance_used_within"),
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_remittance_amount_positive")),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["person.id"], name=op.f("fk_remittance_recorded_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_remittance_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remittance")),
        sa.UniqueConstraint("bank_reference", name=op.f("uq_remittance_bank_reference")),
        sa.UniqueConstraint("public_id", name=op.f("uq_remittance_public_id")),
    )
    with op.batch_alter_table("remittance", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_remittance_payment_reference"), ["payment_reference"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_remittance_received_on"), ["received_on"], unique=False)
        batch_op.create_index(batch_op.f("ix_remittance_sponsor_id"), ["sponsor_id"], unique=False)

    op.create_table(
        "student",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "name", sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "sort_key",
            sa.String(240).with_variant(sa.String(240, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "py_full",
            sa.String(180).with_variant(sa.String(180, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "py_init", sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "sex", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("birth_date", sa.Date(), nullable=False),
        sa.Column(
            "ethnicity", sa.String(2).with_variant(sa.String(2, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "document_type",
            sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("document_number", sa.LargeBinary(), nullable=True),
        sa.Column("document_index", sa.LargeBinary(length=32), nullable=True),
        sa.Column("document_mask", sa.String(length=32), nullable=False),
        sa.Column("student_number", sa.LargeBinary(), nullable=True),
        sa.Column("student_number_index", sa.LargeBinary(length=32), nullable=True),
        sa.Column("phone", sa.LargeBinary(), nullable=True),
        sa.Column("address", sa.LargeBinary(), nullable=True),
        sa.Column(
            "hukou_kind", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "left_behind",
            sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "health", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "disability", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "stage", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("grade", sa.Integer(), nullable=False),
        sa.Column(
            "class_no", sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "boarding", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "study_state",
            sa.String(2).with_variant(sa.String(2, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("level", sa.String(length=16), nullable=True),
        sa.Column("level_until", sa.Date(), nullable=True),
        sa.Column("record_state", sa.String(length=8), nullable=False),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("void_reason", sa.String(length=400), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("audit_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "(record_state = 'void') = (voided_at IS NOT NULL)", name=op.f("ck_student_void_stamped")
        ),
        sa.CheckConstraint(
            "level IS NULL OR level IN ('severe', 'moderate', 'mild')", name=op.f("ck_student_level_known")
        ),
        sa.CheckConstraint("record_state IN ('active', 'void')", name=op.f("ck_student_record_state_known")),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_student_school_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_student")),
        sa.UniqueConstraint("document_index", name=op.f("uq_student_document_index")),
        sa.UniqueConstraint("public_id", name=op.f("uq_student_public_id")),
        sa.UniqueConstraint("student_number_index", name=op.f("uq_student_student_number_index")),
    )
    with op.batch_alter_table("student", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_student_authority_code"), ["authority_code"], unique=False)
        batch_op.create_index(
            "ix_student_authority_list", ["record_state", "authority_code", "sort_key", "id"], unique=False
        )
        batch_op.create_index(
            "ix_student_facets",
            [
                "record_state",
                "authority_code",
                "stage",
                "grade",
                "boarding",
                "study_state",
                "level",
                "level_until",
            ],
            unique=False,
        )
        batch_op.create_index(
            "ix_student_level",
            ["record_state", "level", "level_until", "authority_code", "stage", "study_state", "id"],
            unique=False,
        )
        batch_op.create_index("ix_student_list", ["record_state", "sort_key", "id"], unique=False)
        batch_op.create_index("ix_student_name", ["name", "id"], unique=False)
        batch_op.create_index("ix_student_py_full", ["py_full", "id"], unique=False)
        batch_op.create_index("ix_student_py_init", ["py_init", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_student_school_id"), ["school_id"], unique=False)
        batch_op.create_index(
            "ix_student_school_list",
            ["school_id", "stage", "grade", "class_no", "sort_key", "id"],
            unique=False,
        )

    op.create_table(
        "bank_account",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("guardian_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "holder_name",
            sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("bank_name", sa.String(length=120), nullable=False),
        sa.Column("number", sa.LargeBinary(), nullable=False),
        sa.Column("number_index", sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            "number_tail",
            sa.String(4).with_variant(sa.String(4, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("source", sa.String(length=60), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_bank_account_interval")
        ),
        sa.ForeignKeyConstraint(
            ["guardian_id"], ["guardian.id"], name=op.f("fk_bank_account_guardian_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_bank_account_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_account")),
        sa.UniqueConstraint("public_id", name=op.f("uq_bank_account_public_id")),
    )
    with op.batch_alter_table("bank_account", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bank_account_number_index"), ["number_index"], unique=False)
        batch_op.create_index("ix_bank_account_student", ["student_id"], unique=False)
        batch_op.create_index(
            "uq_bank_account_open",
            ["student_id"],
            unique=True,
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )

    op.create_table(
        "enrolment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "stage", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("grade", sa.Integer(), nullable=False),
        sa.Column(
            "class_no", sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "boarding", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "study_state",
            sa.String(2).with_variant(sa.String(2, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("source", sa.String(length=60), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_enrolment_interval")),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_enrolment_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_enrolment_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment")),
    )
    with op.batch_alter_table("enrolment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_enrolment_school_id"), ["school_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_enrolment_student_id"), ["student_id"], unique=False)
        batch_op.create_index(
            "uq_enrolment_open",
            ["student_id"],
            unique=True,
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )

    op.create_table(
        "guardianship",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("guardian_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "relation", sa.String(2).with_variant(sa.String(2, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_guardianship_interval")
        ),
        sa.ForeignKeyConstraint(
            ["guardian_id"], ["guardian.id"], name=op.f("fk_guardianship_guardian_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_guardianship_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guardianship")),
    )
    with op.batch_alter_table("guardianship", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_guardianship_guardian_id"), ["guardian_id"], unique=False)
        batch_op.create_index("ix_guardianship_student", ["student_id"], unique=False)
        batch_op.create_index(
            "uq_guardianship_open",
            ["student_id", "guardian_id"],
            unique=True,
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )

    op.create_table(
        "hardship_fact",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "category", sa.String(2).with_variant(sa.String(2, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("source", sa.String(length=60), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_hardship_fact_interval")
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_hardship_fact_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hardship_fact")),
    )
    with op.batch_alter_table("hardship_fact", schema=None) as batch_op:
        batch_op.create_index("ix_hardship_fact_category", ["category", "student_id"], unique=False)
        batch_op.create_index("ix_hardship_fact_student", ["student_id"], unique=False)
        batch_op.create_index(
            "uq_hardship_fact_open",
            ["student_id", "category"],
            unique=True,
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )

    op.create_table(
        "hardship_level",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=False),
        sa.Column("source", sa.String(length=60), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "level IN ('severe', 'moderate', 'mild')", name=op.f("ck_hardship_level_level_known")
        ),
        sa.CheckConstraint("valid_to >= valid_from", name=op.f("ck_hardship_level_interval")),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_hardship_level_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hardship_level")),
    )
    with op.batch_alter_table("hardship_level", schema=None) as batch_op:
        batch_op.create_index("ix_hardship_level_student", ["student_id", "valid_from"], unique=False)
        batch_op.create_index(
            "ix_hardship_level_waiting", ["level", "valid_from", "student_id", "valid_to"], unique=False
        )

    op.create_table(
        "kept_form",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.String(length=400), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_kept_form_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_form")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_kept_form_token_hash")),
    )
    with op.batch_alter_table("kept_form", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_kept_form_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "login_session",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("agent", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_login_session_account_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_session")),
        sa.UniqueConstraint("public_id", name=op.f("uq_login_session_public_id")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_login_session_token_hash")),
    )
    with op.batch_alter_table("login_session", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_login_session_account_id"), ["account_id"], unique=False)
        batch_op.create_index(
            "ix_login_session_open",
            ["account_id"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.create_table(
        "name_suffix",
        sa.Column(
            "suffix", sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_name_suffix_student_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("suffix", "student_id", name=op.f("pk_name_suffix")),
    )
    with op.batch_alter_table("name_suffix", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_name_suffix_student_id"), ["student_id"], unique=False)

    op.create_table(
        "payable",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "source_kind",
            sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("source_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("introduction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "term", sa.String(6).with_variant(sa.String(6, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'batched', 'paid', 'cancelled')", name=op.f("ck_payable_state_known")
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_payable_amount_positive")),
        sa.ForeignKeyConstraint(
            ["introduction_id"],
            ["introduction.id"],
            name=op.f("fk_payable_introduction_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_payable_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_payable_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_payable_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payable")),
        sa.UniqueConstraint("public_id", name=op.f("uq_payable_public_id")),
        sa.UniqueConstraint("source_kind", "source_id", name=op.f("uq_payable_source_kind_source_id")),
    )
    with op.batch_alter_table("payable", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_payable_authority_code"), ["authority_code"], unique=False)
        batch_op.create_index(batch_op.f("ix_payable_school_id"), ["school_id"], unique=False)
        batch_op.create_index("ix_payable_state_due", ["state", "due_on", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_payable_student_id"), ["student_id"], unique=False)

    op.create_table(
        "place",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("introduction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "alias", sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "stage", sa.String(1).with_variant(sa.String(1, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("need_fen", sa.BigInteger(), nullable=False),
        sa.Column("shares", sa.Integer(), nullable=False),
        sa.Column("waiting_since", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "state IN ('nominated', 'listed', 'closed', 'withdrawn')", name=op.f("ck_place_state_known")
        ),
        sa.CheckConstraint("need_fen > 0", name=op.f("ck_place_need_positive")),
        sa.CheckConstraint("shares BETWEEN 1 AND 10", name=op.f("ck_place_shares_range")),
        sa.ForeignKeyConstraint(
            ["introduction_id"],
            ["introduction.id"],
            name=op.f("fk_place_introduction_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_place_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_place_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_place")),
        sa.UniqueConstraint("introduction_id", "alias", name=op.f("uq_place_introduction_id_alias")),
        sa.UniqueConstraint(
            "introduction_id", "student_id", name=op.f("uq_place_introduction_id_student_id")
        ),
        sa.UniqueConstraint("public_id", name=op.f("uq_place_public_id")),
    )
    with op.batch_alter_table("place", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_place_authority_code"), ["authority_code"], unique=False)
        batch_op.create_index(batch_op.f("ix_place_school_id"), ["school_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_place_student_id"), ["student_id"], unique=False)
        batch_op.create_index(
            "uq_place_student_open",
            ["student_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('nominated', 'listed')"),
            postgresql_where=sa.text("state IN ('nominated', 'listed')"),
        )

    op.create_table(
        "stored_file",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            "place", sa.String(80).with_variant(sa.String(80, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('voucher', 'bank_file', 'result_file', 'export')",
            name=op.f("ck_stored_file_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_stored_file_account_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_stored_file_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_stored_file_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stored_file")),
        sa.UniqueConstraint("place", name=op.f("uq_stored_file_place")),
        sa.UniqueConstraint("public_id", name=op.f("uq_stored_file_public_id")),
    )
    with op.batch_alter_table("stored_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stored_file_account_id"), ["account_id"], unique=False)

    op.create_table(
        "claim",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("place_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("share_no", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("hold_token", sa.LargeBinary(length=32), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "state IN ('held', 'confirmed', 'active', 'released', 'expired', 'refused', 'ended')",
            name=op.f("ck_claim_state_known"),
        ),
        sa.CheckConstraint("share_no >= 1", name=op.f("ck_claim_share_positive")),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["person.id"], name=op.f("fk_claim_decided_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_claim_person_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["place_id"], ["place.id"], name=op.f("fk_claim_place_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_claim_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
        sa.UniqueConstraint("hold_token", name=op.f("uq_claim_hold_token")),
        sa.UniqueConstraint("public_id", name=op.f("uq_claim_public_id")),
    )
    with op.batch_alter_table("claim", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_claim_sponsor_id"), ["sponsor_id"], unique=False)
        batch_op.create_index("ix_claim_state_until", ["state", "held_until"], unique=False)
        batch_op.create_index(
            "uq_claim_live",
            ["place_id", "share_no"],
            unique=True,
            sqlite_where=sa.text("state IN ('held', 'confirmed', 'active')"),
            postgresql_where=sa.text("state IN ('held', 'confirmed', 'active')"),
        )

    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "kind", sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column(
            "key", sa.String(120).with_variant(sa.String(120, collation="C"), "postgresql"), nullable=True
        ),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "reach", sa.String(120).with_variant(sa.String(120, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("failure", sa.String(length=2000), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=60), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_job_state_known")
        ),
        sa.CheckConstraint("done >= 0 AND (total IS NULL OR total >= 0)", name=op.f("ck_job_progress")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_job_account_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["stored_file.id"], name=op.f("fk_job_file_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("key", name=op.f("uq_job_key")),
        sa.UniqueConstraint("public_id", name=op.f("uq_job_public_id")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_account_id"), ["account_id"], unique=False)
        batch_op.create_index("ix_job_state_id", ["state", "id"], unique=False)

    op.create_table(
        "payout_file",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("added_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "kind IN ('order_xlsx', 'order_csv', 'result')", name=op.f("ck_payout_file_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["added_by"], ["person.id"], name=op.f("fk_payout_file_added_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["payout_batch.id"], name=op.f("fk_payout_file_batch_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["stored_file.id"], name=op.f("fk_payout_file_file_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_file")),
        sa.UniqueConstraint("public_id", name=op.f("uq_payout_file_public_id")),
    )
    with op.batch_alter_table("payout_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_payout_file_batch_id"), ["batch_id"], unique=False)
        batch_op.create_index(
            "uq_payout_file_result",
            ["sha256"],
            unique=True,
            sqlite_where=sa.text("kind = 'result'"),
            postgresql_where=sa.text("kind = 'result'"),
        )

    op.create_table(
        "payout_line",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column(
            "reference",
            sa.String(24).with_variant(sa.String(24, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("payable_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("student_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("bank_account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "holder_name",
            sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("bank_name", sa.String(length=120), nullable=False),
        sa.Column("account_number", sa.LargeBinary(), nullable=False),
        sa.Column(
            "account_tail",
            sa.String(4).with_variant(sa.String(4, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column(
            "bank_code", sa.String(8).with_variant(sa.String(8, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("bank_text", sa.String(length=120), nullable=False),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("returned_on", sa.Date(), nullable=True),
        sa.Column("repaired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("repaired_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("replaces_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "state <> 'paid' OR paid_on IS NOT NULL", name=op.f("ck_payout_line_paid_stamped")
        ),
        sa.CheckConstraint(
            "state IN ('prepared', 'sent', 'paid', 'returned', 'cancelled')",
            name=op.f("ck_payout_line_state_known"),
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_payout_line_amount_positive")),
        sa.ForeignKeyConstraint(
            ["bank_account_id"],
            ["bank_account.id"],
            name=op.f("fk_payout_line_bank_account_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["payout_batch.id"], name=op.f("fk_payout_line_batch_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["payable_id"], ["payable.id"], name=op.f("fk_payout_line_payable_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["repaired_by"], ["person.id"], name=op.f("fk_payout_line_repaired_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["replaces_id"], ["payout_line.id"], name=op.f("fk_payout_line_replaces_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_payout_line_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_payout_line_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_line")),
        sa.UniqueConstraint("batch_id", "line_no", name=op.f("uq_payout_line_batch_id_line_no")),
        sa.UniqueConstraint("public_id", name=op.f("uq_payout_line_public_id")),
        sa.UniqueConstraint("reference", name=op.f("uq_payout_line_reference")),
    )
    with op.batch_alter_table("payout_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_payout_line_authority_code"), ["authority_code"], unique=False)
        batch_op.create_index(batch_op.f("ix_payout_line_payable_id"), ["payable_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_payout_line_school_id"), ["school_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_payout_line_student_id"), ["student_id"], unique=False)
        batch_op.create_index(
            "uq_payout_line_live",
            ["payable_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('prepared', 'sent', 'paid')"),
            postgresql_where=sa.text("state IN ('prepared', 'sent', 'paid')"),
        )
        batch_op.create_index(
            "uq_payout_line_replaces",
            ["replaces_id"],
            unique=True,
            sqlite_where=sa.text("state <> 'cancelled'"),
            postgresql_where=sa.text("state <> 'cancelled'"),
        )

    op.create_table(
        "agreement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "number", sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("claim_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("place_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "receiving_account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "payment_reference",
            sa.String(16).with_variant(sa.String(16, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "desk_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("yearly_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("made_on", sa.Date(), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("state IN ('active', 'ended')", name=op.f("ck_agreement_state_known")),
        sa.CheckConstraint("yearly_fen > 0", name=op.f("ck_agreement_amount_positive")),
        sa.ForeignKeyConstraint(
            ["claim_id"], ["claim.id"], name=op.f("fk_agreement_claim_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["place_id"], ["place.id"], name=op.f("fk_agreement_place_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["receiving_account_id"],
            ["receiving_account.id"],
            name=op.f("fk_agreement_receiving_account_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_agreement_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreement")),
        sa.UniqueConstraint("claim_id", name=op.f("uq_agreement_claim_id")),
        sa.UniqueConstraint("number", name=op.f("uq_agreement_number")),
        sa.UniqueConstraint("payment_reference", name=op.f("uq_agreement_payment_reference")),
        sa.UniqueConstraint("public_id", name=op.f("uq_agreement_public_id")),
    )
    with op.batch_alter_table("agreement", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_agreement_place_id"), ["place_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_agreement_sponsor_id"), ["sponsor_id"], unique=False)

    op.create_table(
        "result_row",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("payout_file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("row_no", sa.Integer(), nullable=False),
        sa.Column(
            "reference",
            sa.String(60).with_variant(sa.String(60, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("amount_fen", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "bank_code",
            sa.String(16).with_variant(sa.String(16, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("bank_text", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("line_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('paid', 'returned', 'repeated', 'unknown', 'mismatch', 'pending')",
            name=op.f("ck_result_row_outcome_known"),
        ),
        sa.ForeignKeyConstraint(
            ["line_id"], ["payout_line.id"], name=op.f("fk_result_row_line_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["payout_file_id"],
            ["payout_file.id"],
            name=op.f("fk_result_row_payout_file_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result_row")),
        sa.UniqueConstraint("payout_file_id", "row_no", name=op.f("uq_result_row_payout_file_id_row_no")),
    )
    with op.batch_alter_table("result_row", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_result_row_line_id"), ["line_id"], unique=False)

    op.create_table(
        "instalment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("agreement_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "term", sa.String(6).with_variant(sa.String(6, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("allocated_fen", sa.BigInteger(), nullable=False),
        sa.Column("way", sa.String(length=8), nullable=False),
        sa.CheckConstraint("way = 'bureau' OR allocated_fen = 0", name=op.f("ck_instalment_one_way")),
        sa.CheckConstraint("way IN ('bureau', 'direct')", name=op.f("ck_instalment_way_known")),
        sa.CheckConstraint(
            "allocated_fen >= 0 AND allocated_fen <= amount_fen", name=op.f("ck_instalment_allocated_within")
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_instalment_amount_positive")),
        sa.ForeignKeyConstraint(
            ["agreement_id"], ["agreement.id"], name=op.f("fk_instalment_agreement_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instalment")),
        sa.UniqueConstraint("agreement_id", "term", name=op.f("uq_instalment_agreement_id_term")),
        sa.UniqueConstraint("public_id", name=op.f("uq_instalment_public_id")),
    )
    with op.batch_alter_table("instalment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instalment_due_on"), ["due_on"], unique=False)

    op.create_table(
        "allocation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("remittance_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("instalment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("allocated_on", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_allocation_amount_positive")),
        sa.ForeignKeyConstraint(
            ["instalment_id"],
            ["instalment.id"],
            name=op.f("fk_allocation_instalment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["person.id"], name=op.f("fk_allocation_recorded_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["remittance_id"],
            ["remittance.id"],
            name=op.f("fk_allocation_remittance_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocation")),
        sa.UniqueConstraint("public_id", name=op.f("uq_allocation_public_id")),
    )
    with op.batch_alter_table("allocation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_allocation_instalment_id"), ["instalment_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_allocation_remittance_id"), ["remittance_id"], unique=False)

    op.create_table(
        "direct_disbursement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "public_id",
            sa.String(22).with_variant(sa.String(22, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("instalment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("handed_on", sa.Date(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("voucher_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("note", sa.String(length=400), nullable=False),
        sa.Column("logged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("logged_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column(
            "authority_code",
            sa.String(12).with_variant(sa.String(12, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("school_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint(
            "state IN ('logged', 'confirmed', 'disputed', 'withdrawn', 'reversed')",
            name=op.f("ck_direct_disbursement_state_known"),
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_direct_disbursement_amount_positive")),
        sa.CheckConstraint(
            "decided_by IS NULL OR decided_by <> logged_by", name=op.f("ck_direct_disbursement_two_persons")
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["person.id"], name=op.f("fk_direct_disbursement_decided_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["instalment_id"],
            ["instalment.id"],
            name=op.f("fk_direct_disbursement_instalment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["logged_by"], ["person.id"], name=op.f("fk_direct_disbursement_logged_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_direct_disbursement_school_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"],
            ["sponsor.id"],
            name=op.f("fk_direct_disbursement_sponsor_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["voucher_id"],
            ["stored_file.id"],
            name=op.f("fk_direct_disbursement_voucher_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_direct_disbursement")),
        sa.UniqueConstraint("public_id", name=op.f("uq_direct_disbursement_public_id")),
    )
    with op.batch_alter_table("direct_disbursement", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_direct_disbursement_authority_code"), ["authority_code"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_direct_disbursement_instalment_id"), ["instalment_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_direct_disbursement_school_id"), ["school_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_direct_disbursement_sponsor_id"), ["sponsor_id"], unique=False)
        batch_op.create_index(
            "uq_direct_disbursement_standing",
            ["instalment_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('logged', 'confirmed', 'disputed')"),
            postgresql_where=sa.text("state IN ('logged', 'confirmed', 'disputed')"),
        )

    op.create_table(
        "ledger_posting",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("book", sa.String(length=20), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("sponsor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("introduction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("instalment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("line_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "book IN ('bank', 'unallocated', 'allocated', 'in_transit', 'returned', 'direct_given', 'direct_received')",
            name=op.f("ck_ledger_posting_book_known"),
        ),
        sa.CheckConstraint("amount_fen <> 0", name=op.f("ck_ledger_posting_amount_not_zero")),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["ledger_entry.id"], name=op.f("fk_ledger_posting_entry_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["instalment_id"],
            ["instalment.id"],
            name=op.f("fk_ledger_posting_instalment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["introduction_id"],
            ["introduction.id"],
            name=op.f("fk_ledger_posting_introduction_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["line_id"], ["payout_line.id"], name=op.f("fk_ledger_posting_line_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["sponsor.id"], name=op.f("fk_ledger_posting_sponsor_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_posting")),
    )
    with op.batch_alter_table("ledger_posting", schema=None) as batch_op:
        batch_op.create_index(
            "ix_ledger_posting_book_introduction", ["book", "introduction_id", "sponsor_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_ledger_posting_entry_id"), ["entry_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ledger_posting_instalment_id"), ["instalment_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ledger_posting_line_id"), ["line_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ledger_posting_sponsor_id"), ["sponsor_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("ledger_posting", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ledger_posting_sponsor_id"))
        batch_op.drop_index(batch_op.f("ix_ledger_posting_line_id"))
        batch_op.drop_index(batch_op.f("ix_ledger_posting_instalment_id"))
        batch_op.drop_index(batch_op.f("ix_ledger_posting_entry_id"))
        batch_op.drop_index("ix_ledger_posting_book_introduction")

    op.drop_table("ledger_posting")
    with op.batch_alter_table("direct_disbursement", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_direct_disbursement_standing",
            sqlite_where=sa.text("state IN ('logged', 'confirmed', 'disputed')"),
            postgresql_where=sa.text("state IN ('logged', 'confirmed', 'disputed')"),
        )
        batch_op.drop_index(batch_op.f("ix_direct_disbursement_sponsor_id"))
        batch_op.drop_index(batch_op.f("ix_direct_disbursement_school_id"))
        batch_op.drop_index(batch_op.f("ix_direct_disbursement_instalment_id"))
        batch_op.drop_index(batch_op.f("ix_direct_disbursement_authority_code"))

    op.drop_table("direct_disbursement")
    with op.batch_alter_table("allocation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_allocation_remittance_id"))
        batch_op.drop_index(batch_op.f("ix_allocation_instalment_id"))

    op.drop_table("allocation")
    with op.batch_alter_table("instalment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instalment_due_on"))

    op.drop_table("instalment")
    with op.batch_alter_table("result_row", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_result_row_line_id"))

    op.drop_table("result_row")
    with op.batch_alter_table("agreement", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_agreement_sponsor_id"))
        batch_op.drop_index(batch_op.f("ix_agreement_place_id"))

    op.drop_table("agreement")
    with op.batch_alter_table("payout_line", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_payout_line_replaces",
            sqlite_where=sa.text("state <> 'cancelled'"),
            postgresql_where=sa.text("state <> 'cancelled'"),
        )
        batch_op.drop_index(
            "uq_payout_line_live",
            sqlite_where=sa.text("state IN ('prepared', 'sent', 'paid')"),
            postgresql_where=sa.text("state IN ('prepared', 'sent', 'paid')"),
        )
        batch_op.drop_index(batch_op.f("ix_payout_line_student_id"))
        batch_op.drop_index(batch_op.f("ix_payout_line_school_id"))
        batch_op.drop_index(batch_op.f("ix_payout_line_payable_id"))
        batch_op.drop_index(batch_op.f("ix_payout_line_authority_code"))

    op.drop_table("payout_line")
    with op.batch_alter_table("payout_file", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_payout_file_result",
            sqlite_where=sa.text("kind = 'result'"),
            postgresql_where=sa.text("kind = 'result'"),
        )
        batch_op.drop_index(batch_op.f("ix_payout_file_batch_id"))

    op.drop_table("payout_file")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_state_id")
        batch_op.drop_index(batch_op.f("ix_job_account_id"))

    op.drop_table("job")
    with op.batch_alter_table("claim", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_claim_live",
            sqlite_where=sa.text("state IN ('held', 'confirmed', 'active')"),
            postgresql_where=sa.text("state IN ('held', 'confirmed', 'active')"),
        )
        batch_op.drop_index("ix_claim_state_until")
        batch_op.drop_index(batch_op.f("ix_claim_sponsor_id"))

    op.drop_table("claim")
    with op.batch_alter_table("stored_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stored_file_account_id"))

    op.drop_table("stored_file")
    with op.batch_alter_table("place", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_place_student_open",
            sqlite_where=sa.text("state IN ('nominated', 'listed')"),
            postgresql_where=sa.text("state IN ('nominated', 'listed')"),
        )
        batch_op.drop_index(batch_op.f("ix_place_student_id"))
        batch_op.drop_index(batch_op.f("ix_place_school_id"))
        batch_op.drop_index(batch_op.f("ix_place_authority_code"))

    op.drop_table("place")
    with op.batch_alter_table("payable", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_payable_student_id"))
        batch_op.drop_index("ix_payable_state_due")
        batch_op.drop_index(batch_op.f("ix_payable_school_id"))
        batch_op.drop_index(batch_op.f("ix_payable_authority_code"))

    op.drop_table("payable")
    with op.batch_alter_table("name_suffix", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_name_suffix_student_id"))

    op.drop_table("name_suffix")
    with op.batch_alter_table("login_session", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_login_session_open",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_login_session_account_id"))

    op.drop_table("login_session")
    with op.batch_alter_table("kept_form", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_kept_form_expires_at"))

    op.drop_table("kept_form")
    with op.batch_alter_table("hardship_level", schema=None) as batch_op:
        batch_op.drop_index("ix_hardship_level_waiting")
        batch_op.drop_index("ix_hardship_level_student")

    op.drop_table("hardship_level")
    with op.batch_alter_table("hardship_fact", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_hardship_fact_open",
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )
        batch_op.drop_index("ix_hardship_fact_student")
        batch_op.drop_index("ix_hardship_fact_category")

    op.drop_table("hardship_fact")
    with op.batch_alter_table("guardianship", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_guardianship_open",
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )
        batch_op.drop_index("ix_guardianship_student")
        batch_op.drop_index(batch_op.f("ix_guardianship_guardian_id"))

    op.drop_table("guardianship")
    with op.batch_alter_table("enrolment", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_enrolment_open",
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_enrolment_student_id"))
        batch_op.drop_index(batch_op.f("ix_enrolment_school_id"))

    op.drop_table("enrolment")
    with op.batch_alter_table("bank_account", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_bank_account_open",
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )
        batch_op.drop_index("ix_bank_account_student")
        batch_op.drop_index(batch_op.f("ix_bank_account_number_index"))

    op.drop_table("bank_account")
    with op.batch_alter_table("student", schema=None) as batch_op:
        batch_op.drop_index("ix_student_school_list")
        batch_op.drop_index(batch_op.f("ix_student_school_id"))
        batch_op.drop_index("ix_student_py_init")
        batch_op.drop_index("ix_student_py_full")
        batch_op.drop_index("ix_student_name")
        batch_op.drop_index("ix_student_list")
        batch_op.drop_index("ix_student_level")
        batch_op.drop_index("ix_student_facets")
        batch_op.drop_index("ix_student_authority_list")
        batch_op.drop_index(batch_op.f("ix_student_authority_code"))

    op.drop_table("student")
    with op.batch_alter_table("remittance", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_remittance_sponsor_id"))
        batch_op.drop_index(batch_op.f("ix_remittance_received_on"))
        batch_op.drop_index(batch_op.f("ix_remittance_payment_reference"))

    op.drop_table("remittance")
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_account_person_id"))

    op.drop_table("account")
    op.drop_table("sponsor")
    with op.batch_alter_table("school", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_school_authority_code"))

    op.drop_table("school")
    op.drop_table("payout_batch")
    with op.batch_alter_table("authority_division", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_authority_division_authority_id"))

    op.drop_table("authority_division")
    op.drop_table("verification")
    with op.batch_alter_table("used_form", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_used_form_used_at"))

    op.drop_table("used_form")
    op.drop_table("throttle")
    op.drop_table("receiving_account")
    op.drop_table("reads_digest")
    op.drop_table("person")
    op.drop_table("ledger_entry")
    op.drop_table("introduction")
    op.drop_table("installation_setting")
    op.drop_table("guardian")
    op.drop_table("checkpoint")
    op.drop_table("authority")
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_event_tag"))
        batch_op.drop_index(batch_op.f("ix_audit_event_subject"))
        batch_op.drop_index(batch_op.f("ix_audit_event_at"))
        batch_op.drop_index(batch_op.f("ix_audit_event_account_id"))

    op.drop_table("audit_event")
    with op.batch_alter_table("access_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_access_line_subject"))
        batch_op.drop_index(batch_op.f("ix_access_line_at"))
        batch_op.drop_index(batch_op.f("ix_access_line_account_id"))

    op.drop_table("access_line")
