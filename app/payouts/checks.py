"""What must always be true of payouts; run by `zhuxue verify`, by a nightly job and by tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Select, String, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.audit.checks import Check, CheckResult, no_rows
from app.core.i18n import _m
from app.core.money import format_yuan
from app.ledger import Book
from app.ledger.models import Entry, Posting
from app.payouts.after_all import OCCASION
from app.payouts.contradictions import is_open
from app.payouts.models import (
    LIVE_LINES,
    BatchState,
    LineState,
    Payable,
    PayableState,
    PayoutBatch,
    PayoutFile,
    PayoutLine,
    ResultClearance,
    ResultRow,
    RowOutcome,
)

_OUT = (BatchState.RELEASED, BatchState.RECONCILED)


def _count(db: Session, model: type[PayoutBatch | PayoutLine | Payable | ResultRow]) -> str:
    return str(db.scalar(select(func.count()).select_from(model)))


def _batch_totals(db: Session) -> CheckResult:
    sums = (
        select(
            PayoutLine.batch_id, func.count().label("lines"), func.sum(PayoutLine.amount_fen).label("total")
        )
        .group_by(PayoutLine.batch_id)
        .subquery()
    )
    rows = db.execute(
        select(PayoutBatch.number, PayoutBatch.line_count, sums.c.lines, PayoutBatch.total_fen, sums.c.total)
        .outerjoin(sums, sums.c.batch_id == PayoutBatch.id)
        .where(
            or_(
                sums.c.lines.is_(None),
                sums.c.lines != PayoutBatch.line_count,
                sums.c.total != PayoutBatch.total_fen,
            )
        )
        .order_by(PayoutBatch.id)
        .limit(1)
    ).all()
    return no_rows([tuple(row) for row in rows], figure=_count(db, PayoutBatch))


def _one_live_line(db: Session) -> CheckResult:
    rows = db.execute(
        select(Payable.public_id, func.count())
        .join(PayoutLine, PayoutLine.payable_id == Payable.id)
        .where(PayoutLine.state.in_(LIVE_LINES))
        .group_by(Payable.id, Payable.public_id)
        .having(func.count() > 1)
        .limit(1)
    ).all()
    return no_rows([tuple(row) for row in rows], figure=_count(db, Payable))


def _paid_once(db: Session) -> CheckResult:
    """A payable is paid exactly when one paid line of its own amount stands, and its state says so."""
    paid = and_(PayoutLine.payable_id == Payable.id, PayoutLine.state == LineState.PAID)
    rows = db.execute(
        select(Payable.public_id, Payable.state, func.count(PayoutLine.id))
        .outerjoin(PayoutLine, paid)
        .group_by(Payable.id, Payable.public_id, Payable.state, Payable.amount_fen)
        .having(
            or_(
                func.count(PayoutLine.id) > 1,
                and_(Payable.state == PayableState.PAID, func.count(PayoutLine.id) != 1),
                and_(Payable.state != PayableState.PAID, func.count(PayoutLine.id) != 0),
                func.coalesce(func.max(PayoutLine.amount_fen), Payable.amount_fen) != Payable.amount_fen,
            )
        )
        .limit(1)
    ).all()
    count = db.scalar(select(func.count()).select_from(Payable).where(Payable.state == PayableState.PAID))
    return no_rows([tuple(row) for row in rows], figure=str(count))


def _four_persons(db: Session) -> CheckResult:
    b = PayoutBatch
    equal = or_(
        b.prepared_by == b.checked_by, b.prepared_by == b.released_by, b.prepared_by == b.reconciled_by,
        b.checked_by == b.released_by, b.checked_by == b.reconciled_by, b.released_by == b.reconciled_by,
    )  # fmt: skip
    missing = or_(
        and_(b.state.in_(_OUT), or_(b.checked_by.is_(None), b.released_by.is_(None))),
        and_(b.state == BatchState.RECONCILED, b.reconciled_by.is_(None)),
    )  # fmt: skip
    rows = db.execute(select(b.number).where(or_(equal, missing)).order_by(b.id).limit(1)).all()
    return no_rows([tuple(row) for row in rows], figure=_count(db, PayoutBatch))


def _lines_tie(states: Select[int], book: Book, sign: int) -> Callable[[Session], CheckResult]:
    """The sum of lines in some states against a book, over the postings that name a line."""

    def run(db: Session) -> CheckResult:
        lines = int(db.scalar(states) or 0)
        booked = sign * int(
            db.scalar(
                select(func.coalesce(func.sum(Posting.amount_fen), 0)).where(
                    Posting.book == book, Posting.line_id.is_not(None)
                )
            )
            or 0
        )
        difference = booked - lines
        return CheckResult(
            difference == 0, format_yuan(lines), "" if difference == 0 else format_yuan(difference)
        )

    return run


def _sum_of(state: LineState) -> Select[int]:
    return select(func.coalesce(func.sum(PayoutLine.amount_fen), 0)).where(PayoutLine.state == state)


def _returned_open() -> Select[int]:
    """Returned lines, less those that a line in transit, paid or returned again has taken over."""
    taken = select(PayoutLine.replaces_id).where(
        PayoutLine.replaces_id.is_not(None),
        PayoutLine.state.in_([LineState.SENT, LineState.PAID, LineState.RETURNED]),
    )
    return _sum_of(LineState.RETURNED).where(PayoutLine.id.not_in(taken))


def _each_line_ties(db: Session) -> CheckResult:
    """Line by line: a paid one left the bank, a sent one is in transit, a returned one is neither."""
    booked = (
        select(
            Posting.line_id,
            func.sum(case((Posting.book == Book.BANK, Posting.amount_fen), else_=0)).label("bank"),
            func.sum(case((Posting.book == Book.IN_TRANSIT, Posting.amount_fen), else_=0)).label("transit"),
        )
        .where(Posting.line_id.is_not(None))
        .group_by(Posting.line_id)
        .subquery()
    )
    bank, transit = func.coalesce(booked.c.bank, 0), func.coalesce(booked.c.transit, 0)
    paid = case((PayoutLine.state == LineState.PAID, -PayoutLine.amount_fen), else_=0)
    sent = case((PayoutLine.state == LineState.SENT, -PayoutLine.amount_fen), else_=0)
    rows = db.execute(
        select(PayoutLine.reference, PayoutLine.state)
        .outerjoin(booked, booked.c.line_id == PayoutLine.id)
        .where(or_(bank != paid, transit != sent))
        .order_by(PayoutLine.id)
        .limit(1)
    ).all()
    return no_rows([tuple(row) for row in rows], figure=_count(db, PayoutLine))


def _line_in_order(db: Session) -> CheckResult:
    """Line by line: what was booked later is not dated earlier, or a past day would not tie."""
    booked = (
        select(Posting.line_id, Entry.id, Entry.booked_on)
        .join(Entry, Entry.id == Posting.entry_id)
        .where(Posting.line_id.is_not(None))
        .distinct()
        .subquery()
    )
    before = func.lag(booked.c.booked_on).over(partition_by=booked.c.line_id, order_by=booked.c.id)
    dated = select(booked.c.line_id, booked.c.booked_on, before.label("before")).subquery()
    rows = db.execute(
        select(PayoutLine.reference, dated.c.before, dated.c.booked_on)
        .join(dated, dated.c.line_id == PayoutLine.id)
        .where(dated.c.booked_on < dated.c.before)
        .order_by(PayoutLine.id)
        .limit(1)
    ).all()
    return no_rows([tuple(row) for row in rows], figure=_count(db, PayoutLine))


def _results_fit(db: Session) -> CheckResult:
    """A paid or returned line has the row that says so; a row that did something has its line, of its amount.

    The row of a payment that was made after all stands aside; the entry that finance has booked from it names it.
    """
    wanted = case(
        (PayoutLine.state == LineState.PAID, RowOutcome.PAID.value), else_=RowOutcome.RETURNED.value
    )
    said = (
        select(ResultRow.id)
        .where(
            ResultRow.line_id == PayoutLine.id,
            ResultRow.outcome == wanted,
        )
        .exists()
    )
    after_all = (
        select(ResultRow.id)
        .join(
            Entry,
            Entry.source_ref == f"{OCCASION}:" + cast(ResultRow.id, String) + ":" + PayoutLine.public_id,
        )
        .where(ResultRow.line_id == PayoutLine.id, PayoutLine.state == LineState.PAID)
        .correlate(PayoutLine)
        .exists()
    )
    lines = db.execute(
        select(PayoutLine.reference, PayoutLine.state)
        .where(PayoutLine.state.in_([LineState.PAID, LineState.RETURNED]), ~or_(said, after_all))
        .order_by(PayoutLine.id)
        .limit(1)
    ).all()
    did = ResultRow.outcome.in_([RowOutcome.PAID, RowOutcome.RETURNED])
    rows = db.execute(
        select(ResultRow.payout_file_id, ResultRow.row_no)
        .outerjoin(PayoutLine, PayoutLine.id == ResultRow.line_id)
        .where(
            did,
            or_(
                PayoutLine.id.is_(None),
                PayoutLine.amount_fen != ResultRow.amount_fen,
                PayoutLine.reference != ResultRow.reference,
                PayoutLine.state.not_in([LineState.PAID, LineState.RETURNED]),
            ),
        )
        .limit(1)
    ).all()
    decided = (
        select(func.count(Entry.id.distinct()))
        .join(Posting, Posting.entry_id == Entry.id)
        .where(
            Posting.line_id == ResultRow.line_id,
            Entry.source_ref > f"{OCCASION}:",
            Entry.source_ref < f"{OCCASION};",
        )
        .correlate(ResultRow)
        .scalar_subquery()
    )
    twice = db.execute(
        select(ResultRow.line_id, ResultRow.outcome, func.count())
        .where(did)
        .group_by(ResultRow.line_id, ResultRow.outcome)
        .having(func.count() > 1)
        .having(func.count() > 1 + decided)
        .limit(1)
    ).all()
    return no_rows([tuple(row) for row in (*lines, *rows, *twice)], figure=_count(db, ResultRow))


def _not_sent_again(db: Session) -> CheckResult:
    """No payment went to the bank while a row of the bank that spoke of it stood open.

    A row that comes when the money is on its way again breaks nothing here: it waits among the rows kept aside.
    """
    before = aliased(PayoutLine)
    rows = db.execute(
        select(PayoutLine.reference, before.reference, ResultRow.row_no)
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
        .join(before, and_(before.payable_id == PayoutLine.payable_id, before.id < PayoutLine.id))
        .join(ResultRow, ResultRow.line_id == before.id)
        .join(PayoutFile, PayoutFile.id == ResultRow.payout_file_id)
        .outerjoin(ResultClearance, ResultClearance.result_row_id == ResultRow.id)
        .where(
            PayoutLine.state != LineState.CANCELLED,
            PayoutFile.added_at < PayoutBatch.released_at,
            or_(
                and_(
                    ResultRow.outcome == RowOutcome.MISMATCH,
                    or_(ResultClearance.id.is_(None), ResultClearance.cleared_at > PayoutBatch.released_at),
                ),
                and_(ResultRow.outcome == RowOutcome.PENDING, is_open()),
            ),
        )
        .order_by(PayoutLine.id)
        .limit(1)
    ).all()
    count = db.scalar(select(func.count()).where(PayoutLine.replaces_id.is_not(None)))
    return no_rows([tuple(row) for row in rows], figure=str(count))


CHECKS: Final = (
    Check("payouts.batch-total", _m("The total of each payout batch is the sum of its lines"), _batch_totals),
    Check("payouts.one-live-line", _m("A payable is on at most one payout line that stands"), _one_live_line),
    Check("payouts.paid-once", _m("A payable is paid at most once, and in full"), _paid_once),
    Check("payouts.four-persons", _m("Four different persons prepare, check, release and reconcile"), _four_persons),
    Check(
        "payouts.paid-is-ledger",
        _m("Paid lines and the ledger's payments out of the bank are equal"),
        _lines_tie(_sum_of(LineState.PAID), Book.BANK, -1),
    ),
    Check(
        "payouts.sent-is-transit",
        _m("Lines without a result and the ledger's money in transit are equal"),
        _lines_tie(_sum_of(LineState.SENT), Book.IN_TRANSIT, -1),
    ),
    Check(
        "payouts.returned-is-ledger",
        _m("Returned and open lines and the ledger's returned money are equal"),
        _lines_tie(_returned_open(), Book.RETURNED, -1),
    ),
    Check("payouts.line-ties", _m("Each payout line stands in the ledger as its state says"), _each_line_ties),
    Check(
        "payouts.line-in-order",
        _m("The ledger entries of each payout line are in the order of their days"),
        _line_in_order,
    ),
    Check(
        "payouts.not-sent-again",
        _m("No payment went out again while the bank's word on it was open"),
        _not_sent_again,
    ),
    Check("payouts.results-fit", _m("Each bank result and its payout line say the same"), _results_fit),
)  # fmt: skip
