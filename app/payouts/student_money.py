"""What a student's page says of payouts: what is due, and each line with its state."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _m
from app.payouts.models import Payable, PayableState, PayoutBatch, PayoutLine
from app.payouts.returns import of_present_students
from app.payouts.workflow import LINE_STATES
from app.registry.hooks import MoneyRow


def rows_of_student(db: Session, actor: Actor, student_id: int) -> list[MoneyRow]:
    """Payables that are in no batch yet, and payout lines; the address is given to those who may open it."""
    may_open = actor.may(Permission.PAYOUTS_READ)
    found = [
        MoneyRow(_m("Payment due"), amount, due_on, _m("Waits for a payout batch"), "notice")
        for amount, due_on in db.execute(
            select(Payable.amount_fen, Payable.due_on).where(
                Payable.student_id == student_id,
                Payable.state == PayableState.OPEN,
                scope_condition(actor, Payable),
            )
        )
    ]
    for public_id, number, line_no, amount, state, paid_on, prepared_at in db.execute(
        select(
            PayoutLine.public_id, PayoutBatch.number, PayoutLine.line_no, PayoutLine.amount_fen, PayoutLine.state,
            PayoutLine.paid_on, PayoutBatch.prepared_at,
        )
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
        .where(PayoutLine.student_id == student_id, of_present_students(actor))
        .order_by(PayoutLine.id.desc())
    ):  # fmt: skip
        label, kind = LINE_STATES[state]
        found.append(
            MoneyRow(
                _m("Payout batch %(number)s, line %(no)s", number=number, no=line_no), amount,
                paid_on or clock.local(prepared_at).date(), label, kind,
                f"/payouts/lines/{public_id}" if may_open else "",
            )
        )  # fmt: skip
    return found
