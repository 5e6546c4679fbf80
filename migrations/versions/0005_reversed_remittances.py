"""Remittances that were mistyped and reversed; a bank reference is unique among those that are not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COMPLETE = (
    "(reversed_on IS NULL) = (reversed_by IS NULL) AND (reversed_on IS NULL) = (reversal_reason IS NULL)"
)


def upgrade() -> None:
    with op.batch_alter_table("remittance") as batch:
        batch.add_column(sa.Column("reversed_on", sa.Date(), nullable=True))
        batch.add_column(sa.Column("reversed_by", _KEY, nullable=True))
        batch.add_column(sa.Column("reversal_reason", sa.String(length=400), nullable=True))
        batch.create_foreign_key(
            op.f("fk_remittance_reversed_by"), "person", ["reversed_by"], ["id"], ondelete="RESTRICT"
        )
        batch.create_check_constraint(
            op.f("ck_remittance_reversed_unused"),
            "reversed_on IS NULL OR (allocated_fen = 0 AND refunded_fen = 0)",
        )
        batch.create_check_constraint(op.f("ck_remittance_reversal_complete"), _COMPLETE)
        batch.drop_constraint(op.f("uq_remittance_bank_reference"), type_="unique")
    booked = sa.text("reversed_on IS NULL")
    op.create_index(
        "uq_remittance_booked",
        "remittance",
        ["bank_reference"],
        unique=True,
        sqlite_where=booked,
        postgresql_where=booked,
    )


def downgrade() -> None:
    op.drop_index("uq_remittance_booked", table_name="remittance")
    with op.batch_alter_table("remittance") as batch:
        batch.create_unique_constraint(op.f("uq_remittance_bank_reference"), ["bank_reference"])
        batch.drop_constraint(op.f("ck_remittance_reversal_complete"), type_="check")
        batch.drop_constraint(op.f("ck_remittance_reversed_unused"), type_="check")
        batch.drop_constraint(op.f("fk_remittance_reversed_by"), type_="foreignkey")
        batch.drop_column("reversal_reason")
        batch.drop_column("reversed_by")
        batch.drop_column("reversed_on")
