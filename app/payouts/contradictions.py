"""What the bank says against the books: a payment that an open row of a result file speaks of is not sent again."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session, aliased

from app.core.i18n import Message, _m
from app.files.models import StoredFile
from app.payouts.models import PayoutFile, PayoutLine, ResultClearance, ResultRow, RowOutcome

ASIDE: Final = (RowOutcome.UNKNOWN, RowOutcome.MISMATCH, RowOutcome.PENDING)
_FINAL: Final = (RowOutcome.PAID, RowOutcome.RETURNED, RowOutcome.REPEATED)
# Made once: an alias takes longer to make than its query to run.
_DONE, _LATER = aliased(ResultClearance), aliased(ResultRow)
_CLEARED = select(_DONE.id).where(_DONE.result_row_id == ResultRow.id).correlate(ResultRow).exists()


def is_open() -> ColumnElement[bool]:
    """Nobody has dealt with the row; one that was not final is settled by the line's result in a later file."""
    settled = (
        select(_LATER.id)
        .where(_LATER.line_id == ResultRow.line_id, _LATER.id > ResultRow.id, _LATER.outcome.in_(_FINAL))
        .correlate(ResultRow)
        .exists()
    )
    return and_(
        ResultRow.outcome.in_(ASIDE), ~_CLEARED, ~and_(ResultRow.outcome == RowOutcome.PENDING, settled)
    )


def against_payables(db: Session, condition: ColumnElement[bool]) -> dict[int, tuple[str, int]]:
    """By payable: file and number of the first open row that names one of its lines; `condition` is on lines."""
    found: dict[int, tuple[str, int]] = {}
    for payable_id, name, row_no in db.execute(
        select(PayoutLine.payable_id, StoredFile.name, ResultRow.row_no)
        .join(ResultRow, ResultRow.line_id == PayoutLine.id)
        .join(PayoutFile, PayoutFile.id == ResultRow.payout_file_id)
        .join(StoredFile, StoredFile.id == PayoutFile.file_id)
        .where(condition, is_open())
        .order_by(ResultRow.id)
    ):
        found.setdefault(payable_id, (name, row_no))
    return found


def not_again(row: tuple[str, int]) -> Message:
    """Why a payment stays where it is, with the row that somebody has to deal with."""
    return _m(
        "Row %(row)s of the bank's file %(file)s says otherwise of this payment and is kept aside. It is not sent "
        "again until finance has dealt with that row.",
        file=row[0],
        row=row[1],
    )
