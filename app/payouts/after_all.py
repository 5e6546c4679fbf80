"""A payment that came back, as the bank first said, and that was made after all: finance books it as paid."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict
from app.core.i18n import Message, _m
from app.ledger import Book
from app.ledger.models import EntryKind, Posting
from app.payouts.aside import mark_cleared, to_decide
from app.payouts.batches import hold, post_line
from app.payouts.codes import Verdict, verdict_of
from app.payouts.models import LineState, Payable, PayableState, PayoutLine, RowOutcome, Why

OCCASION = "paid-after-all"


def says_paid(row: Any) -> bool:
    """The row says of a returned line that it was paid, in full; rows of earlier versions have no `why`."""
    return bool(
        row.open
        and row.outcome == RowOutcome.MISMATCH
        and row.why in (Why.CAME_BACK, "")
        and row.state == LineState.RETURNED
        and row.amount_fen == row.expected
        and verdict_of(row.bank_code) is Verdict.PAID
    )


def why_not(db: Session, line: PayoutLine) -> Message | None:
    """Why a returned line cannot be booked as paid: its money went another way in the meantime."""
    other = db.scalar(
        select(PayoutLine)
        .where(
            PayoutLine.payable_id == line.payable_id,
            PayoutLine.id > line.id,
            PayoutLine.state != LineState.CANCELLED,
        )
        .order_by(PayoutLine.id.desc())
        .limit(1)
    )
    if other is not None and other.state == LineState.PAID:
        return _m(
            "Line %(reference)s has paid it in the meantime. Ask the bank for one of the two payments back, then mark "
            "the row as dealt with.",
            reference=other.reference,
        )
    if other is not None:
        return _m(
            "It stands on line %(reference)s as well. Have that batch sent back first; if it went to the bank, ask the "
            "bank which of the two was paid.",
            reference=other.reference,
        )
    payable = db.get_one(Payable, line.payable_id)
    lines = select(PayoutLine.id).where(PayoutLine.payable_id == line.payable_id)
    waits = db.scalar(
        select(func.coalesce(func.sum(Posting.amount_fen), 0)).where(
            Posting.book == Book.RETURNED, Posting.line_id.in_(lines)
        )
    )
    if payable.state == PayableState.CANCELLED or -int(waits or 0) != line.amount_fen:
        return _m("The returned money was used otherwise in the meantime. Tell your administrator.")
    return None


def book_as_paid(db: Session, actor: Actor, file: str, row_no: int, *, reason: str) -> PayoutLine:
    """The line is paid as if the bank had said so the first time, and the row is dealt with."""
    row, batch, reason = to_decide(db, actor, file, row_no, reason)
    hold(db, {batch.id})
    if not says_paid(row):
        raise Conflict(_m("This row does not say that a returned line was paid. Load the page again."))
    line = db.scalars(
        select(PayoutLine).where(PayoutLine.public_id == row.line).execution_options(populate_existing=True)
    ).one()
    refusal = why_not(db, line)
    if refusal is not None:
        raise Conflict(refusal)
    payable = db.get_one(Payable, line.payable_id, populate_existing=True)
    today = clock.today()
    # The books keep their order: never before the release or the return that it follows.
    before = [
        line.returned_on,
        line.paid_on,
        clock.local(batch.released_at).date() if batch.released_at else None,
    ]
    on = min(today, max([row.bank_day or today, *(day for day in before if day is not None)]))
    _take(
        db, line, payable, {"bank_code": row.bank_code[:8], "bank_text": row.bank_text[:120], "paid_on": on}
    )
    post_line(
        db, actor, EntryKind.PAID, line, payable, Book.RETURNED, Book.BANK, booked_on=on,
        occasion=f"{OCCASION}:{row.id}",
    )  # fmt: skip
    record(
        db, actor, Tag.LINE_PAID_AFTER_ALL, subject=("payout_line", line.public_id),
        old={"state": LineState.RETURNED.value},
        new={"state": LineState.PAID.value, "reference": line.reference, "code": row.bank_code,
             "amount_fen": line.amount_fen, "file": row.file, "row": row.row_no},
        reason=reason,
    )  # fmt: skip
    mark_cleared(db, actor, row, batch, reason)
    return line


def _take(db: Session, line: PayoutLine, payable: Payable, values: dict[str, Any]) -> None:
    """From returned to paid, once: neither a repair nor a new batch comes between."""
    quicker = _m("Somebody else was quicker: the state has just changed. Load the page again.")
    try:
        with db.begin_nested():
            won = [
                db.execute(
                    update(PayoutLine)
                    .where(PayoutLine.id == line.id, PayoutLine.state == LineState.RETURNED)
                    .values(state=LineState.PAID.value, **values)
                    .execution_options(synchronize_session=False)
                ).rowcount,  # type: ignore[attr-defined] # an UPDATE's result has it
                db.execute(
                    update(Payable)
                    .where(
                        Payable.id == payable.id,
                        Payable.state.in_([PayableState.OPEN, PayableState.BATCHED]),
                    )
                    .values(state=PayableState.PAID.value)
                    .execution_options(synchronize_session=False)
                ).rowcount,  # type: ignore[attr-defined] # an UPDATE's result has it
            ]
    except IntegrityError:  # a batch that was being prepared has a live line of it
        raise Conflict(quicker) from None
    if won != [1, 1]:
        raise Conflict(quicker)
    db.refresh(line)
    db.refresh(payable)
