"""Exported lists with their members; why a bank row was kept aside, and who has dealt with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As in 0002: the table, and the columns by which a row could be replaced. A member is its own key: nothing of it could
# be replaced by something else.
TABLES: dict[str, tuple[str, ...]] = {
    "result_clearance": ("id", "result_row_id"),
    "exported_list": ("id", "job"),
    "exported_member": (),
}


def _binary(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("result_row", sa.Column("why", _binary(16), server_default="", nullable=False))
    op.create_table(
        "result_clearance",
        sa.Column("id", key, nullable=False),
        sa.Column("result_row_id", key, nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_by", key, nullable=False),
        sa.ForeignKeyConstraint(
            ["result_row_id"],
            ["result_row.id"],
            name=op.f("fk_result_clearance_result_row_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["cleared_by"], ["person.id"], name=op.f("fk_result_clearance_cleared_by"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result_clearance")),
        sa.UniqueConstraint("result_row_id", name=op.f("uq_result_clearance_result_row_id")),
    )
    op.create_table(
        "exported_list",
        sa.Column("id", key, nullable=False),
        sa.Column("job", _binary(22), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", key, nullable=True),
        sa.Column("person_id", key, nullable=True),
        sa.Column("what", sa.String(length=60), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exported_list")),
        sa.UniqueConstraint("job", name=op.f("uq_exported_list_job")),
    )
    op.create_index(op.f("ix_exported_list_at"), "exported_list", ["at"], unique=False)
    op.create_index(op.f("ix_exported_list_account_id"), "exported_list", ["account_id"], unique=False)
    op.create_table(
        "exported_member",
        sa.Column("list_id", key, autoincrement=False, nullable=False),
        sa.Column("student_id", key, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["list_id"], ["exported_list.id"], name=op.f("fk_exported_member_list_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_exported_member_student_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("list_id", "student_id", name=op.f("pk_exported_member")),
    )
    op.create_index(op.f("ix_exported_member_student_id"), "exported_member", ["student_id"], unique=False)
    for table, keys in TABLES.items():
        _guard(table, keys)


def _guard(table: str, keys: tuple[str, ...]) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        if keys:
            same = " OR ".join(f"{name} = NEW.{name}" for name in keys)
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change")
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate")


def downgrade() -> None:
    for table in ("exported_member", "exported_list", "result_clearance"):
        op.drop_table(table)
    with op.batch_alter_table("result_row") as batch_op:
        batch_op.drop_column("why")
