"""Invariants of the books."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.checks import Check, CheckResult
from app.core.i18n import _m
from app.core.money import plain_yuan
from app.ledger.models import Book, Entry, Posting


def balance_of(db: Session, book: Book) -> int:
    """Sum of an account in fen; debit positive."""
    # PostgreSQL sums whole numbers into a decimal.
    return int(db.scalar(select(func.sum(Posting.amount_fen)).where(Posting.book == book.value)) or 0)


def _entries_balance(db: Session) -> CheckResult:
    count = db.scalar(select(func.count()).select_from(Entry)) or 0
    bad = db.execute(
        select(Entry.source_ref)
        .outerjoin(Posting, Posting.entry_id == Entry.id)
        .group_by(Entry.id, Entry.source_ref)
        .having((func.coalesce(func.sum(Posting.amount_fen), 0) != 0) | (func.count(Posting.id) < 2))
        .limit(1)
    ).first()
    return CheckResult(bad is None, str(count), "" if bad is None else str(bad.source_ref))


def _bank_covers_liabilities(db: Session) -> CheckResult:
    """What lies in the special account is what is owed: unallocated, allocated, in transit, returned."""
    bank = balance_of(db, Book.BANK)
    owed = -sum(
        balance_of(db, book) for book in (Book.UNALLOCATED, Book.ALLOCATED, Book.IN_TRANSIT, Book.RETURNED)
    )
    return CheckResult(bank == owed, plain_yuan(bank), "" if bank == owed else f"owed {plain_yuan(owed)}")


def _nothing_overdrawn(db: Session) -> CheckResult:
    """No sponsor has more allocated, and no instalment more released, than there was."""
    bad = db.execute(
        select(Posting.book, Posting.sponsor_id, func.sum(Posting.amount_fen))
        .where(Posting.book.in_([Book.UNALLOCATED, Book.ALLOCATED, Book.IN_TRANSIT, Book.RETURNED]))
        .group_by(Posting.book, Posting.sponsor_id)
        .having(func.sum(Posting.amount_fen) > 0)
        .limit(1)
    ).first()
    return CheckResult(bad is None, "0.00", "" if bad is None else f"{bad.book} of sponsor {bad.sponsor_id}")


def _memo_pairs(db: Session) -> CheckResult:
    given, received = balance_of(db, Book.DIRECT_GIVEN), balance_of(db, Book.DIRECT_RECEIVED)
    return CheckResult(given + received == 0 and given >= 0, plain_yuan(given))


CHECKS = (
    Check("ledger.zero", _m("Every entry has two legs at least and sums to zero"), _entries_balance),
    Check("ledger.bank", _m("The special account holds exactly what is owed"), _bank_covers_liabilities),
    Check("ledger.overdrawn", _m("No sponsor's money is used twice"), _nothing_overdrawn),
    Check("ledger.memo", _m("Direct disbursements stand in the books as pairs"), _memo_pairs),
)
