"""The life of a payout batch: prepared, checked, released, reconciled, by four different persons."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.audit import Tag
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import Message, _m, _mn
from app.core.money import format_yuan
from app.ledger import Book
from app.ledger.models import Posting
from app.payouts.contradictions import against_payables, not_again
from app.payouts.gate import stale_lines
from app.payouts.models import BatchState, LineState, PayoutBatch, PayoutLine
from app.workflow import Transition, Workflow

# Column that names who did a duty, and how the refusal of a second one says it.
DUTIES: Final = (
    ("prepared_by", _m("You prepared this batch. Another person must take this step.")),
    ("checked_by", _m("You checked this batch. Another person must take this step.")),
    ("released_by", _m("You released this batch. Another person must take this step.")),
    ("reconciled_by", _m("You reconciled this batch. Another person must take this step.")),
)


def another_person(_db: Session, actor: Actor, batch: PayoutBatch) -> Message | None:
    """Persons are compared, not accounts: a second account of the same person changes nothing."""
    for column, sentence in DUTIES:
        if getattr(batch, column) == actor.person:
            return sentence
    return None


def a_sender(actor: Actor, batch: PayoutBatch) -> Message | None:
    """Whoever prepared, checked or released a batch, under whichever account, does not say what the bank answered."""
    for column, sentence in DUTIES[:3]:
        if getattr(batch, column) == actor.person:
            return sentence
    return None


def may_be_checked(db: Session, actor: Actor, batch: PayoutBatch) -> Message | None:
    """Another person, and the bank does not say of any payment in it that it was made before."""
    return another_person(db, actor, batch) or _said_otherwise(db, batch)


def _said_otherwise(db: Session, batch: PayoutBatch) -> Message | None:
    here = select(PayoutLine.payable_id).where(PayoutLine.batch_id == batch.id)
    rows = against_payables(db, PayoutLine.payable_id.in_(here))
    if not rows:
        return None
    first = db.execute(
        select(PayoutLine.line_no, PayoutLine.payable_id)
        .where(PayoutLine.batch_id == batch.id, PayoutLine.payable_id.in_(rows))
        .order_by(PayoutLine.line_no)
        .limit(1)
    ).one()
    return _m("Line %(no)s: %(why)s", no=first.line_no, why=not_again(rows[first.payable_id]))


def may_be_released(db: Session, actor: Actor, batch: PayoutBatch) -> Message | None:
    """Another person, and every line still goes to the account that was checked."""
    return another_person(db, actor, batch) or must_not_go_out(db, batch)


def must_not_go_out(db: Session, batch: PayoutBatch) -> Message | None:
    """Why the batch as it stands cannot go to the bank: a line whose account or student has changed."""
    stale = stale_lines(db, batch.id, on=clock.today())
    if not stale:
        return None
    return _mn(
        "%(n)s line must not go out. Line %(no)s: %(why)s Send the batch back and have it prepared again.",
        "%(n)s lines must not go out. First, line %(no)s: %(why)s Send the batch back and have it prepared again.",
        len(stale),
        no=stale[0][0],
        why=stale[0][1][0],
    )


def may_be_reconciled(db: Session, actor: Actor, batch: PayoutBatch) -> Message | None:
    """Another person, a result for every line, and the books say what the lines say."""
    refusal = another_person(db, actor, batch)
    if refusal is not None:
        return refusal
    sums = {
        state: (count, amount)
        for state, count, amount in db.execute(
            select(PayoutLine.state, func.count(), func.sum(PayoutLine.amount_fen))
            .where(PayoutLine.batch_id == batch.id)
            .group_by(PayoutLine.state)
        )
    }
    if LineState.SENT in sums:
        return _mn(
            "%(n)s line has no final result from the bank yet. Import the bank's result first.",
            "%(n)s lines have no final result from the bank yet. Import the bank's result first.",
            sums[LineState.SENT][0],
        )
    rows = against_payables(db, PayoutLine.batch_id == batch.id)
    if rows:
        file, row_no = next(iter(rows.values()))
        return _m(
            "Row %(row)s of the bank's file %(file)s says otherwise of a line of this batch and is kept aside. Deal "
            "with that row first.",
            file=file,
            row=row_no,
        )
    paid = int(sums.get(LineState.PAID, (0, 0))[1])
    booked = -int(
        db.scalar(
            select(func.coalesce(func.sum(Posting.amount_fen), 0))
            .join(PayoutLine, PayoutLine.id == Posting.line_id)
            .where(PayoutLine.batch_id == batch.id, Posting.book == Book.BANK)
        )
        or 0
    )
    if paid != booked:
        return _m(
            "The paid lines add up to %(paid)s, but the ledger says %(booked)s. Tell your administrator.",
            paid=format_yuan(paid),
            booked=format_yuan(booked),
        )
    return None


def _transitions() -> tuple[Transition, ...]:
    prepared, checked = frozenset({BatchState.PREPARED}), frozenset({BatchState.CHECKED})
    cancelled = BatchState.CANCELLED
    return (
        Transition(
            "check", prepared, BatchState.CHECKED, Permission.PAYOUTS_CHECK, _m("Confirm the check"),
            Tag.BATCH_CHECKED, guard=may_be_checked,
        ),
        Transition(
            "send-back", prepared, cancelled, Permission.PAYOUTS_CHECK, _m("Send back"), Tag.BATCH_SENT_BACK,
            guard=another_person, needs_reason=True,
        ),
        Transition(
            "cancel", prepared, cancelled, Permission.PAYOUTS_PREPARE, _m("Cancel the batch"),
            Tag.BATCH_CANCELLED, needs_reason=True, danger=True,
        ),
        Transition(
            "release", checked, BatchState.RELEASED, Permission.PAYOUTS_RELEASE, _m("Release the batch"),
            Tag.BATCH_RELEASED, guard=may_be_released,
        ),
        Transition(
            "refuse", checked, cancelled, Permission.PAYOUTS_RELEASE, _m("Refuse and send back"),
            Tag.BATCH_SENT_BACK, guard=another_person, needs_reason=True,
        ),
        Transition(
            "reconcile", frozenset({BatchState.RELEASED}), BatchState.RECONCILED, Permission.PAYOUTS_RECONCILE,
            _m("Reconcile the batch"), Tag.BATCH_RECONCILED, guard=may_be_reconciled,
        ),
    )  # fmt: skip


BATCH: Final = Workflow(
    "payout_batch",
    PayoutBatch,
    {
        BatchState.PREPARED: (_m("Prepared, to be checked"), "notice"),
        BatchState.CHECKED: (_m("Checked, to be released"), "notice"),
        BatchState.RELEASED: (_m("Released, to be reconciled"), "warning"),
        BatchState.RECONCILED: (_m("Reconciled"), "success"),
        BatchState.CANCELLED: (_m("Sent back or cancelled"), "neutral"),
    },
    _transitions(),
)

LINE_STATES: Final[dict[str, tuple[Message, str]]] = {
    LineState.PREPARED: (_m("Prepared"), "neutral"),
    LineState.SENT: (_m("Sent to the bank"), "notice"),
    LineState.PAID: (_m("Paid"), "success"),
    LineState.RETURNED: (_m("Returned by the bank"), "error"),
    LineState.CANCELLED: (_m("Cancelled"), "neutral"),
}
