"""Imports: what somebody sent, its rows with what became of them, and how its columns were understood."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KINDS = "'voucher', 'bank_file', 'result_file', 'export'"


def _binary(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    with op.batch_alter_table("stored_file") as batch:
        batch.drop_constraint(op.f("ck_stored_file_kind_known"), type_="check")
        batch.create_check_constraint(op.f("ck_stored_file_kind_known"), f"kind IN ({_KINDS}, 'import')")
    op.create_table(
        "import_run",
        sa.Column("id", key, nullable=False),
        sa.Column("public_id", _binary(22), nullable=False),
        sa.Column("kind", _binary(40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("authority_code", _binary(12), nullable=False),
        sa.Column("school_id", key, nullable=True),
        sa.Column("account_id", key, nullable=True),
        sa.Column("file_id", key, nullable=True),
        sa.Column("file_name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("book", sa.LargeBinary(), nullable=False),
        sa.Column("sheet", sa.String(length=120), nullable=False),
        sa.Column("job", _binary(22), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("same", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("warned", sa.Integer(), nullable=False),
        sa.Column("failure", sa.String(length=2000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_by", key, nullable=True),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('reading', 'choosing', 'checked', 'storing', 'stored', 'unreadable', 'cancelled', 'undoing', "
            "'undone')",
            name=op.f("ck_import_run_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('storing', 'stored', 'undoing', 'undone') OR confirmed_at IS NOT NULL",
            name=op.f("ck_import_run_confirmed"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_import_run_account_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["confirmed_by"], ["account.id"], name=op.f("fk_import_run_confirmed_by"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["stored_file.id"], name=op.f("fk_import_run_file_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.id"], name=op.f("fk_import_run_school_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_run")),
        sa.UniqueConstraint("public_id", name=op.f("uq_import_run_public_id")),
    )
    op.create_index(op.f("ix_import_run_account_id"), "import_run", ["account_id"], unique=False)
    op.create_index("ix_import_run_authority", "import_run", ["authority_code", "id"], unique=False)
    op.create_index("ix_import_run_school", "import_run", ["school_id", "id"], unique=False)
    op.create_table(
        "import_row",
        sa.Column("run_id", key, autoincrement=False, nullable=False),
        sa.Column("row_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("warned", sa.Boolean(), nullable=False),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=True),
        sa.Column("identity_index", sa.LargeBinary(length=32), nullable=True),
        sa.Column("subject_id", key, nullable=True),
        sa.CheckConstraint(
            "outcome IN ('new', 'changed', 'same', 'refused')", name=op.f("ck_import_row_outcome_known")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["import_run.id"], name=op.f("fk_import_row_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "row_no", name=op.f("pk_import_row")),
    )
    op.create_index("ix_import_row_outcome", "import_row", ["run_id", "outcome", "row_no"], unique=False)
    op.create_index("ix_import_row_warned", "import_row", ["run_id", "warned", "row_no"], unique=False)
    op.create_index("ix_import_row_identity", "import_row", ["run_id", "identity_index"], unique=False)
    op.create_table(
        "import_memory",
        sa.Column("id", key, nullable=False),
        sa.Column("kind", _binary(40), nullable=False),
        sa.Column("place", _binary(40), nullable=False),
        sa.Column("columns", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_memory")),
        sa.UniqueConstraint("kind", "place", name=op.f("uq_import_memory_kind")),
    )


def downgrade() -> None:
    op.drop_table("import_memory")
    op.drop_table("import_row")
    op.drop_table("import_run")
    with op.batch_alter_table("stored_file") as batch:
        batch.drop_constraint(op.f("ck_stored_file_kind_known"), type_="check")
        batch.create_check_constraint(op.f("ck_stored_file_kind_known"), f"kind IN ({_KINDS})")
