"""What is to be paid, in which batch, by which four people, and what the bank said."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.access.scope import Placed
from app.core.columns import (
    BinaryText,
    Encrypted,
    Key,
    Moment,
    day,
    digest,
    fen,
    moment,
    moment_now,
    one_of,
    pk,
    public_id,
    short_text,
)
from app.db import Base


class PayableState(StrEnum):
    OPEN = "open"
    BATCHED = "batched"
    PAID = "paid"
    CANCELLED = "cancelled"


class Payable(Placed, Base):
    """What is to be paid to whom 应发: one per fully allocated instalment (later also per entitlement or waiver)."""

    __tablename__ = "payable"
    __table_args__ = (
        one_of("state", PayableState),
        UniqueConstraint("source_kind", "source_id"),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        Index("ix_payable_state_due", "state", "due_on", "id"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    source_kind: Mapped[str] = mapped_column(BinaryText(20))
    source_id: Mapped[int] = mapped_column(Key)
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"), index=True)
    sponsor_id: Mapped[int | None] = mapped_column(Key, ForeignKey("sponsor.id", ondelete="RESTRICT"))
    introduction_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("introduction.id", ondelete="RESTRICT")
    )
    amount_fen: Mapped[fen]
    term: Mapped[str] = mapped_column(BinaryText(6))
    due_on: Mapped[day]
    state: Mapped[str] = mapped_column(String(16), default=PayableState.OPEN)
    created_at: Mapped[moment_now]


class BatchState(StrEnum):
    PREPARED = "prepared"
    CHECKED = "checked"
    RELEASED = "released"
    RECONCILED = "reconciled"
    CANCELLED = "cancelled"


class PayoutBatch(Base):
    """Lines that are checked, released and reconciled together, by four different people."""

    __tablename__ = "payout_batch"
    __table_args__ = (
        one_of("state", BatchState),
        CheckConstraint("line_count > 0 AND total_fen > 0", name="not_empty"),
        CheckConstraint(
            "prepared_by <> checked_by AND prepared_by <> released_by AND prepared_by <> reconciled_by"
            " AND checked_by <> released_by AND checked_by <> reconciled_by AND released_by <> reconciled_by",
            name="four_persons",
        ),
        CheckConstraint("(checked_by IS NULL) = (checked_at IS NULL)", name="checked_stamped"),
        CheckConstraint("(released_by IS NULL) = (released_at IS NULL)", name="released_stamped"),
        CheckConstraint("(reconciled_by IS NULL) = (reconciled_at IS NULL)", name="reconciled_stamped"),
        CheckConstraint(
            "state NOT IN ('checked', 'released', 'reconciled') OR checked_by IS NOT NULL",
            name="checked_by_somebody",
        ),
        CheckConstraint(
            "state NOT IN ('released', 'reconciled') OR released_by IS NOT NULL", name="released_by_somebody"
        ),
        CheckConstraint("state <> 'reconciled' OR reconciled_by IS NOT NULL", name="reconciled_by_somebody"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    number: Mapped[str] = mapped_column(BinaryText(20), unique=True)
    state: Mapped[str] = mapped_column(String(16), default=BatchState.PREPARED)
    line_count: Mapped[int]
    total_fen: Mapped[fen]
    prepared_by: Mapped[int] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    prepared_at: Mapped[moment]
    checked_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    checked_at: Mapped[datetime | None] = mapped_column(Moment())
    released_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    released_at: Mapped[datetime | None] = mapped_column(Moment())
    reconciled_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    reconciled_at: Mapped[datetime | None] = mapped_column(Moment())
    reason: Mapped[str] = mapped_column(String(400), default="")


class LineState(StrEnum):
    PREPARED = "prepared"
    SENT = "sent"
    PAID = "paid"
    RETURNED = "returned"
    CANCELLED = "cancelled"


LIVE_LINES = frozenset({LineState.PREPARED, LineState.SENT, LineState.PAID})
_LIVE = text("state IN ('prepared', 'sent', 'paid')")
# A batch that was sent back frees the returned line that it would have replaced.
_STANDING = text("state <> 'cancelled'")


class PayoutLine(Placed, Base):
    """One payment in a batch, with the account as it stood when the batch was prepared.

    A payable is on one live line at most; `reference` travels through the bank and finds the line again.
    A line in state `sent` is never sent again, whatever the bank has not said yet.
    """

    __tablename__ = "payout_line"
    __table_args__ = (
        one_of("state", LineState),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("state <> 'paid' OR paid_on IS NOT NULL", name="paid_stamped"),
        UniqueConstraint("batch_id", "line_no"),
        Index("uq_payout_line_live", "payable_id", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
        Index(
            "uq_payout_line_replaces",
            "replaces_id",
            unique=True,
            sqlite_where=_STANDING,
            postgresql_where=_STANDING,
        ),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    batch_id: Mapped[int] = mapped_column(Key, ForeignKey("payout_batch.id", ondelete="RESTRICT"))
    line_no: Mapped[int]
    reference: Mapped[str] = mapped_column(BinaryText(24), unique=True)
    payable_id: Mapped[int] = mapped_column(Key, ForeignKey("payable.id", ondelete="RESTRICT"), index=True)
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"), index=True)
    amount_fen: Mapped[fen]
    bank_account_id: Mapped[int] = mapped_column(Key, ForeignKey("bank_account.id", ondelete="RESTRICT"))
    holder_name: Mapped[str] = mapped_column(BinaryText(60))
    bank_name: Mapped[short_text]
    account_number: Mapped[str] = mapped_column(Encrypted("payout_line.account_number"))
    account_tail: Mapped[str] = mapped_column(BinaryText(4))
    state: Mapped[str] = mapped_column(String(16), default=LineState.PREPARED)
    bank_code: Mapped[str] = mapped_column(BinaryText(8), default="")
    bank_text: Mapped[str] = mapped_column(String(120), default="")
    paid_on: Mapped[date | None] = mapped_column(Date())
    returned_on: Mapped[date | None] = mapped_column(Date())
    repaired_at: Mapped[datetime | None] = mapped_column(Moment())
    repaired_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    replaces_id: Mapped[int | None] = mapped_column(Key, ForeignKey("payout_line.id", ondelete="RESTRICT"))


class PayoutFileKind(StrEnum):
    ORDER_XLSX = "order_xlsx"
    ORDER_CSV = "order_csv"
    RESULT = "result"


class PayoutFile(Base):
    """A file that went to the bank or came from it. A result file is taken once."""

    __tablename__ = "payout_file"
    __table_args__ = (
        one_of("kind", PayoutFileKind),
        Index("uq_payout_file_result", "sha256", unique=True, sqlite_where=text("kind = 'result'"),
              postgresql_where=text("kind = 'result'")),
    )  # fmt: skip

    id: Mapped[pk]
    public_id: Mapped[public_id]
    batch_id: Mapped[int] = mapped_column(Key, ForeignKey("payout_batch.id", ondelete="RESTRICT"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    file_id: Mapped[int] = mapped_column(Key, ForeignKey("stored_file.id", ondelete="RESTRICT"))
    sha256: Mapped[digest]
    rows: Mapped[int] = mapped_column(default=0)
    added_at: Mapped[moment_now]
    added_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))


class RowOutcome(StrEnum):
    PAID = "paid"
    RETURNED = "returned"
    REPEATED = "repeated"
    UNKNOWN = "unknown"
    MISMATCH = "mismatch"
    PENDING = "pending"


class Why(StrEnum):
    """Why a row was kept aside; `LATE` alone marks one that was booked: money that came back after it was paid."""

    NO_LINE = "no_line"
    NOT_SENT = "not_sent"
    AMOUNT = "amount"
    CONFLICTING = "conflicting"
    CAME_BACK = "came_back"
    NOT_FINAL = "not_final"
    LATE = "late"


class ResultRow(Base):
    """One row of a result file and what became of it; rows that match no line are kept aside, not lost.

    `bank_day` is the day that the bank gives, as information: the books have a day of their own. `why` is a `Why`,
    or empty where the outcome says it all.
    """

    __tablename__ = "result_row"
    __table_args__ = (one_of("outcome", RowOutcome), UniqueConstraint("payout_file_id", "row_no"))

    id: Mapped[pk]
    payout_file_id: Mapped[int] = mapped_column(Key, ForeignKey("payout_file.id", ondelete="RESTRICT"))
    row_no: Mapped[int]
    reference: Mapped[str] = mapped_column(BinaryText(60), default="")
    amount_fen: Mapped[int | None] = mapped_column(Key)
    bank_code: Mapped[str] = mapped_column(BinaryText(16), default="")
    bank_text: Mapped[str] = mapped_column(String(200), default="")
    bank_day: Mapped[date | None] = mapped_column(Date())
    outcome: Mapped[str] = mapped_column(String(16))
    why: Mapped[str] = mapped_column(BinaryText(16), default="", server_default="")
    line_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("payout_line.id", ondelete="RESTRICT"), index=True
    )


class ResultClearance(Base):
    """A row kept aside that somebody has dealt with: who, when, and what became of it. Once per row."""

    __tablename__ = "result_clearance"

    id: Mapped[pk]
    result_row_id: Mapped[int] = mapped_column(
        Key, ForeignKey("result_row.id", ondelete="RESTRICT"), unique=True
    )
    reason: Mapped[str] = mapped_column(String(400))
    cleared_at: Mapped[moment_now]
    cleared_by: Mapped[int] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))


APPEND_ONLY = (ResultRow.__table__, ResultClearance.__table__)
