"""An import: one table that somebody sent, its rows as they were read, and what became of each of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.columns import BinaryText, Encrypted, Key, Moment, day, moment_now, one_of, pk, public_id
from app.db import Base


class ImportState(StrEnum):
    READING = "reading"
    CHOOSING = "choosing"
    CHECKED = "checked"
    STORING = "storing"
    STORED = "stored"
    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"
    UNDOING = "undoing"
    UNDONE = "undone"


class Outcome(StrEnum):
    """What a row would do, and once it is stored, what it did. Each row has exactly one."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    REFUSED = "refused"


class ImportRun(Base):
    """One sheet of one file. `authority_code` and `school_id` are the reach of whoever sent it: colleagues of the
    same place see it as well. `since` is the day from which its facts hold.

    Counts are those of the check until the rows are stored, then those of what was stored.
    """

    __tablename__ = "import_run"
    __table_args__ = (
        one_of("state", ImportState),
        CheckConstraint("state NOT IN ('storing', 'stored', 'undoing', 'undone') OR confirmed_at IS NOT NULL",
                        name="confirmed"),
        Index("ix_import_run_authority", "authority_code", "id"),
        Index("ix_import_run_school", "school_id", "id"),
    )  # fmt: skip

    id: Mapped[pk]
    public_id: Mapped[public_id]
    kind: Mapped[str] = mapped_column(BinaryText(40))
    state: Mapped[str] = mapped_column(String(16), default=ImportState.READING)
    authority_code: Mapped[str] = mapped_column(BinaryText(12))
    school_id: Mapped[int | None] = mapped_column(Key, ForeignKey("school.id", ondelete="RESTRICT"))
    account_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    file_id: Mapped[int | None] = mapped_column(Key, ForeignKey("stored_file.id", ondelete="RESTRICT"))
    file_name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    since: Mapped[day]
    # What was found in the file, and what a person chose otherwise.
    book: Mapped[str] = mapped_column(Encrypted("import_run.book"))
    sheet: Mapped[str] = mapped_column(String(120), default="")
    job: Mapped[str] = mapped_column(BinaryText(22), default="")
    total: Mapped[int] = mapped_column(default=0)
    new: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0)
    same: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    warned: Mapped[int] = mapped_column(default=0)
    failure: Mapped[str] = mapped_column(String(2000), default="")
    created_at: Mapped[moment_now]
    checked_at: Mapped[datetime | None] = mapped_column(Moment())
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment())
    confirmed_by: Mapped[int | None] = mapped_column(Key, ForeignKey("account.id", ondelete="RESTRICT"))
    stored_at: Mapped[datetime | None] = mapped_column(Moment())
    undone_at: Mapped[datetime | None] = mapped_column(Moment())

    @classmethod
    def scope_authority(cls) -> Any:
        return cls.authority_code

    @classmethod
    def scope_school(cls) -> Any:
        return cls.school_id


class ImportRow(Base):
    """One row of the table, under the number that a spreadsheet shows. `content` is sealed: the values as they were
    understood, remarks on cells, what differs from the record. `stored` says that the row has had its effect."""

    __tablename__ = "import_row"
    __table_args__ = (
        one_of("outcome", Outcome),
        Index("ix_import_row_outcome", "run_id", "outcome", "row_no"),
        Index("ix_import_row_warned", "run_id", "warned", "row_no"),
        Index("ix_import_row_identity", "run_id", "identity_index"),
    )

    run_id: Mapped[int] = mapped_column(
        Key, ForeignKey("import_run.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    row_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str] = mapped_column(String(8))
    warned: Mapped[bool] = mapped_column(default=False)
    stored: Mapped[bool] = mapped_column(default=False)
    content: Mapped[str] = mapped_column(Encrypted("import_row.content"))
    before: Mapped[str | None] = mapped_column(Encrypted("import_row.before"))
    identity_index: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    subject_id: Mapped[int | None] = mapped_column(Key)


class ImportMemory(Base):
    """How the columns of one place's tables were understood the last time: header to field, empty for "ignore"."""

    __tablename__ = "import_memory"
    __table_args__ = (UniqueConstraint("kind", "place", name="uq_import_memory_kind"),)

    id: Mapped[pk]
    kind: Mapped[str] = mapped_column(BinaryText(40))
    place: Mapped[str] = mapped_column(BinaryText(40))
    columns: Mapped[str] = mapped_column(Encrypted("import_memory.columns"))
