"""Entries and their postings. A debit is positive, a credit negative; each entry sums to zero."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.columns import BinaryText, Key, day, fen, moment_now, one_of, pk, public_id
from app.db import Base


class Book(StrEnum):
    """The accounts of sponsored money. The special account belongs to a charity; the bureau keeps its books."""

    BANK = "bank"
    """Money in the special account 专户存款."""
    UNALLOCATED = "unallocated"
    """Received from a sponsor and not yet allocated to an instalment."""
    ALLOCATED = "allocated"
    """Restricted to one student's instalment."""
    IN_TRANSIT = "in_transit"
    """Released to the bank; its result is not known yet."""
    RETURNED = "returned"
    """Sent back by the bank 退票 and waiting for repair."""
    DIRECT_GIVEN = "direct_given"
    """Memo: handed over by a sponsor itself and confirmed by the school."""
    DIRECT_RECEIVED = "direct_received"
    """Memo: the other side of the pair."""


class EntryKind(StrEnum):
    REMITTANCE = "remittance"
    ALLOCATION = "allocation"
    REFUND = "refund"
    RELEASE = "release"
    PAID = "paid"
    RETURNED = "returned"
    DIRECT = "direct"
    REVERSAL = "reversal"


class Entry(Base):
    """One booking. `source_ref` is unique: nothing is booked twice."""

    __tablename__ = "ledger_entry"
    __table_args__ = (one_of("kind", EntryKind),)

    id: Mapped[pk]
    public_id: Mapped[public_id]
    kind: Mapped[str] = mapped_column(String(16))
    booked_on: Mapped[day]
    source_ref: Mapped[str] = mapped_column(BinaryText(80), unique=True)
    reverses_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("ledger_entry.id", ondelete="RESTRICT"), unique=True
    )
    memo: Mapped[str] = mapped_column(String(200), default="")
    recorded_at: Mapped[moment_now]
    account_id: Mapped[int | None] = mapped_column(Key)


class Posting(Base):
    """One leg of an entry, with the dimensions by which every total can be followed."""

    __tablename__ = "ledger_posting"
    __table_args__ = (
        one_of("book", Book),
        CheckConstraint("amount_fen <> 0", name="amount_not_zero"),
        Index("ix_ledger_posting_book_introduction", "book", "introduction_id", "sponsor_id"),
    )

    id: Mapped[pk]
    entry_id: Mapped[int] = mapped_column(Key, ForeignKey("ledger_entry.id", ondelete="RESTRICT"), index=True)
    book: Mapped[str] = mapped_column(String(20))
    amount_fen: Mapped[fen]
    sponsor_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("sponsor.id", ondelete="RESTRICT"), index=True
    )
    introduction_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("introduction.id", ondelete="RESTRICT")
    )
    instalment_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("instalment.id", ondelete="RESTRICT"), index=True
    )
    line_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("payout_line.id", ondelete="RESTRICT"), index=True
    )


@dataclass(frozen=True)
class Dimensions:
    """What a posting belongs to; keys of the channel's own records."""

    sponsor_id: int | None = None
    introduction_id: int | None = None
    instalment_id: int | None = None
    line_id: int | None = None


@dataclass(frozen=True)
class Leg:
    """One side of an entry to be posted: debit positive, credit negative, in fen."""

    book: Book
    amount_fen: int
    dimensions: Dimensions = Dimensions()


APPEND_ONLY = (Entry.__table__, Posting.__table__)
__all__ = ["APPEND_ONLY", "Book", "Dimensions", "Entry", "EntryKind", "Leg", "Posting"]
