"""Returned lines 退票: why, what to do, repaired, and sent again in the next batch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, NotFound
from app.core.i18n import _m
from app.core.mask import mask_name
from app.payouts.codes import ReturnClass, class_of
from app.payouts.gate import examine
from app.payouts.models import LineState, Payable, PayableState, PayoutBatch, PayoutLine
from app.registry.models import BankAccount, School, Student

_AS_ON_LINE = frozenset({"on_another_line"})


@dataclass(frozen=True)
class ReturnedLine:
    """A line that came back and is not on its way again; `changed` says that the account is another one by now."""

    public_id: str
    batch_public_id: str
    batch_number: str
    line_no: int
    student_public_id: str
    name: str
    school: str
    amount_fen: int
    returned_on: date | None
    code: str
    reason: ReturnClass
    bank_text: str
    account_tail: str
    changed: bool
    repaired_at: datetime | None


def of_present_students(actor: Actor) -> ColumnElement[bool]:
    """Lines of students who are within the actor's reach now, wherever they learned when the line was made.

    A line's own place is for totals; whoever can correct the student's account looks after its line.
    """
    present = visible(actor, Student).with_only_columns(Student.id).where(Student.id == PayoutLine.student_id)
    return present.correlate(PayoutLine).exists()


def _open_returns(actor: Actor) -> Select[PayoutLine]:
    later = aliased(PayoutLine)
    return select(PayoutLine).where(
        of_present_students(actor),
        PayoutLine.state == LineState.RETURNED,
        ~select(later.id)
        .where(later.replaces_id == PayoutLine.id, later.state != LineState.CANCELLED)
        .exists(),
    )


def list_returned(db: Session, actor: Actor, *, limit: int = 500) -> list[ReturnedLine]:
    """Longest waiting first; repaired ones, which wait for the next batch, last."""
    actor.require(Permission.PAYOUTS_READ)
    rows = db.execute(
        _open_returns(actor)
        .with_only_columns(
            PayoutLine.public_id, PayoutBatch.public_id, PayoutBatch.number, PayoutLine.line_no, Student.public_id,
            Student.name, School.name, PayoutLine.amount_fen, PayoutLine.returned_on, PayoutLine.bank_code,
            PayoutLine.bank_text, PayoutLine.account_tail, PayoutLine.bank_account_id, BankAccount.id,
            PayoutLine.repaired_at,
        )
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
        .join(Student, Student.id == PayoutLine.student_id)
        .join(School, School.id == Student.school_id)
        .outerjoin(BankAccount, (BankAccount.student_id == Student.id) & BankAccount.valid_to.is_(None))
        .order_by(PayoutLine.repaired_at.is_not(None), PayoutLine.returned_on, PayoutLine.id)
        .limit(limit)
    )  # fmt: skip
    return [
        ReturnedLine(
            row[0], row[1], row[2], row[3], row[4], mask_name(row[5]), row[6], row[7], row[8], row[9],
            class_of(row[9]), row[10], row[11], row[12] != row[13], row[14],
        )
        for row in rows
    ]  # fmt: skip


def sums_returned(db: Session, actor: Actor) -> tuple[int, int]:
    """How many lines are returned and open, and how much."""
    row = db.execute(
        _open_returns(actor).with_only_columns(
            func.count(), func.coalesce(func.sum(PayoutLine.amount_fen), 0)
        )
    ).one()
    return int(row[0]), int(row[1])


def get_line(db: Session, actor: Actor, public_id: str) -> PayoutLine:
    actor.require(Permission.PAYOUTS_READ)
    line = db.scalar(select(PayoutLine).where(of_present_students(actor), PayoutLine.public_id == public_id))
    if line is None:
        raise NotFound(_m("There is no such payout line, or it is not in your scope."))
    return line


def repair(db: Session, actor: Actor, line: PayoutLine) -> None:
    """The reason is gone: the payable is open again and goes out with the next batch, to the account as it is now.

    Wrong details must have been corrected first; an account that the bank has put in order may stay as it is.
    """
    actor.require(Permission.PAYOUTS_REPAIR)
    if line.state != LineState.RETURNED:
        raise Conflict(_m("Only a line that the bank has returned can be repaired."))
    if line.repaired_at is not None:
        raise Conflict(_m("This line is repaired already and waits for the next batch."))
    item = examine(db, Payable.id == line.payable_id, on=clock.today(), without=_AS_ON_LINE)[0]
    if item.refusals:
        raise Conflict(item.refusals[0])
    account = item.account
    if class_of(line.bank_code) is ReturnClass.DATA and account is not None:
        refused = (line.bank_account_id, line.holder_name, line.bank_name, line.account_number)
        if (account.id, account.holder_name, account.bank_name, account.number) == refused:
            raise Conflict(
                _m(
                    "The account is still the one that the bank refused. Correct it in the student's record first."
                )
            )
    now = clock.now()
    changes = {"repaired_at": now, "repaired_by": actor.person}
    won = db.execute(
        update(PayoutLine)
        .where(
            PayoutLine.id == line.id,
            PayoutLine.state == LineState.RETURNED,
            PayoutLine.repaired_at.is_(None),
            of_present_students(actor),
        )
        .values(changes)
        .execution_options(synchronize_session=False)
    ).rowcount  # type: ignore[attr-defined] # an UPDATE's result has it
    if won != 1:
        raise Conflict(_m("This line is repaired already and waits for the next batch."))
    for name, value in changes.items():
        set_committed_value(line, name, value)
    db.execute(
        update(Payable)
        .where(Payable.id == line.payable_id, Payable.state == PayableState.BATCHED)
        .values(state=PayableState.OPEN)
        .execution_options(synchronize_session="fetch")
    )
    record(
        db, actor, Tag.LINE_REPAIRED, subject=("payout_line", line.public_id),
        new={"reference": line.reference, "account": f"****{account.tail}" if account else ""},
    )  # fmt: skip
