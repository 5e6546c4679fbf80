"""Accounts that are others than those the last money went to: what a checker and a releaser look at first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.access.models import Account, Person
from app.core.mask import mask_name
from app.payouts.models import LineState, PayoutBatch, PayoutLine
from app.registry.models import BankAccount, School, Student

_SENT: Final = (LineState.SENT, LineState.PAID, LineState.RETURNED)
_SHOWN: Final = 200
# Made once: an alias takes longer to make than its query to run.
_EARLIER, _LAST, _FORMER = aliased(PayoutLine), aliased(PayoutLine), aliased(BankAccount)


@dataclass(frozen=True)
class ChangedAccount:
    """A line whose money goes elsewhere than before, masked, with who recorded the account and when."""

    line_no: int
    public_id: str
    name: str
    school: str
    before: str
    now: str
    changed_by: str
    changed_at: datetime


def changed_accounts(db: Session, batch: PayoutBatch) -> list[ChangedAccount]:
    """Against the line that last went to the bank for the student; one without any, against its former account."""
    last = (
        select(func.max(_EARLIER.id))
        .where(
            _EARLIER.student_id == PayoutLine.student_id,
            _EARLIER.id < PayoutLine.id,
            _EARLIER.batch_id != PayoutLine.batch_id,
            _EARLIER.state.in_(_SENT),
        )
        .correlate(PayoutLine)
        .scalar_subquery()
    )
    former = (
        select(func.max(_FORMER.id))
        .where(_FORMER.student_id == PayoutLine.student_id, _FORMER.id < PayoutLine.bank_account_id)
        .correlate(PayoutLine)
        .scalar_subquery()
    )
    rows: Any = db.execute(
        select(
            PayoutLine.line_no, PayoutLine.public_id, Student.name, School.name.label("school"),
            PayoutLine.holder_name, PayoutLine.account_tail, _LAST.holder_name.label("last_holder"),
            _LAST.account_tail.label("last_tail"), _FORMER.holder_name.label("former_holder"),
            _FORMER.number_tail.label("former_tail"), BankAccount.recorded_at,
            Person.name.label("who"),
        )
        .join(Student, Student.id == PayoutLine.student_id)
        .join(School, School.id == PayoutLine.school_id)
        .join(BankAccount, BankAccount.id == PayoutLine.bank_account_id)
        .outerjoin(Account, Account.id == BankAccount.recorded_by)
        .outerjoin(Person, Person.id == Account.person_id)
        .outerjoin(_LAST, _LAST.id == last)
        .outerjoin(_FORMER, _FORMER.id == former)
        .where(
            PayoutLine.batch_id == batch.id,
            or_(
                _LAST.bank_account_id != PayoutLine.bank_account_id,
                and_(_LAST.id.is_(None), _FORMER.id.is_not(None)),
            ),
        )
        .order_by(PayoutLine.line_no)
        .limit(_SHOWN)
    )  # fmt: skip
    return [
        ChangedAccount(
            row.line_no, row.public_id, mask_name(row.name), row.school,
            _masked(row.last_holder or row.former_holder, row.last_tail or row.former_tail),
            _masked(row.holder_name, row.account_tail), row.who or "", row.recorded_at,
        )
        for row in rows
    ]  # fmt: skip


def _masked(holder: str, tail: str) -> str:
    return f"{mask_name(holder)} ****{tail}"
