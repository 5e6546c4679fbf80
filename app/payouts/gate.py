"""The gate before a payment: named reasons, as data, why an amount must not be paid to this account today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session, aliased

from app.access.models import Account as Login
from app.core import clock
from app.core.codes import ATTENDING_STATES
from app.core.i18n import Message, _m
from app.payouts.contradictions import against_payables, not_again
from app.payouts.models import LIVE_LINES, LineState, Payable, PayoutLine
from app.registry.models import BankAccount, Guardian, Guardianship, RecordState, School, Student


@dataclass(frozen=True)
class Account:
    """The open account of a student, as it stands in the registry."""

    id: int
    guardian_id: int | None
    holder_name: str
    bank_name: str
    number: str
    tail: str
    recorded_at: datetime
    recorded_by: int | None
    """The person behind the account that recorded it; None for lists that were taken in."""


# Whoever redirects money does not put it into a batch as well, until others have had time to see the change.
_OWN_ACCOUNT_WAITS: Final = timedelta(hours=72)


@dataclass(frozen=True)
class Candidate:
    """A payable with what the gate has to know about its student."""

    payable_id: int
    public_id: str
    student_id: int
    student_public_id: str
    name: str
    authority_code: str
    school_id: int
    school: str
    amount_fen: int
    term: str
    due_on: date
    record_state: str
    study_state: str
    level: str | None
    level_until: date | None
    account: Account | None
    guardians: Mapping[int, str] = field(default_factory=dict)
    on_live_line: bool = False
    replaces_id: int | None = None
    said_otherwise: tuple[str, int] | None = None
    preparer: int | None = None
    refusals: tuple[Message, ...] = ()
    warnings: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Reason:
    """One rule of the gate: `code` is stable; a warning is shown but stops nothing."""

    code: str
    sentence: Message | Callable[[Candidate], Message]
    stands_against: Callable[[Candidate, date], bool]
    warning: bool = False

    def said_of(self, item: Candidate) -> Message:
        return self.sentence if isinstance(self.sentence, Message) else self.sentence(item)


def _own_account_until(item: Candidate) -> datetime | None:
    """Until when the account waits because the person who prepares has recorded it."""
    account = item.account
    if account is None or item.preparer is None or account.recorded_by != item.preparer:
        return None
    return account.recorded_at + _OWN_ACCOUNT_WAITS


def _is_own_account(item: Candidate, _on: date) -> bool:
    until = _own_account_until(item)
    return until is not None and clock.now() < until


def _own_account(item: Candidate) -> Message:
    return _m(
        "You recorded this bank account yourself. Have a colleague prepare the batch, or prepare it after "
        "%(until)s.",
        until=_own_account_until(item),
    )


def _said_otherwise(item: Candidate) -> Message:
    return not_again(item.said_otherwise or ("", 0))


def _holder_is_family(item: Candidate) -> bool:
    """The holder is the student, or a guardian whose guardianship is open."""
    account = item.account
    if account is None:
        return True  # another reason says so
    if account.guardian_id is not None:
        return account.guardian_id in item.guardians
    return account.holder_name == item.name or account.holder_name in item.guardians.values()


REASONS: Final = (
    Reason("said_otherwise", _said_otherwise, lambda item, _: item.said_otherwise is not None),
    Reason(
        "record_void",
        _m("The student's record was voided."),
        lambda item, _: item.record_state != RecordState.ACTIVE,
    ),
    Reason(
        "not_attending",
        _m("The student no longer attends school. Correct the record, or have the sponsorship ended."),
        lambda item, _: item.study_state not in ATTENDING_STATES,
    ),
    Reason(
        "no_account",
        _m("No bank account is on record. Have the school enter one."),
        lambda item, _: item.account is None,
    ),
    Reason(
        "holder_not_family",
        _m("The account is neither the student's nor a present guardian's. Have the school correct it."),
        lambda item, _: not _holder_is_family(item),
    ),
    Reason(
        "on_another_line",
        _m("It is already on a payout line that stands."),
        lambda item, _: item.on_live_line,
    ),
    Reason(
        "amount_not_positive",
        _m("The amount is not above zero."),
        lambda item, _: item.amount_fen <= 0,
    ),
    Reason("own_account", _own_account, _is_own_account),
    Reason(
        "level_not_valid",
        _m("No hardship level is valid on this day. The agreement goes on, but look into it."),
        lambda item, on: item.level is None or item.level_until is None or item.level_until < on,
        warning=True,
    ),
)  # fmt: skip


def judge(
    item: Candidate, on: date, *, without: frozenset[str] = frozenset()
) -> tuple[list[Message], list[Message]]:
    """The refusals and the warnings for one payable; `without` leaves reasons out by code."""
    hits = [reason for reason in REASONS if reason.code not in without and reason.stands_against(item, on)]
    return [hit.said_of(item) for hit in hits if not hit.warning], [
        hit.said_of(item) for hit in hits if hit.warning
    ]


def examine(
    db: Session, condition: ColumnElement[bool], *, on: date, limit: int | None = None,
    without: frozenset[str] = frozenset(), preparer: int | None = None,
) -> list[Candidate]:  # fmt: skip
    """The payables of `condition` with their refusals, oldest due first. Five queries, however many there are.

    `preparer` is the person who is about to put them into a batch.
    """
    rows = db.execute(
        select(
            Payable.id, Payable.public_id, Payable.student_id, Student.public_id, Student.name,
            Payable.authority_code, Payable.school_id, School.name, Payable.amount_fen, Payable.term, Payable.due_on,
            Student.record_state, Student.study_state, Student.level, Student.level_until,
            BankAccount.id, BankAccount.guardian_id, BankAccount.holder_name, BankAccount.bank_name,
            BankAccount.number, BankAccount.number_tail, BankAccount.recorded_at, Login.person_id,
        )
        .join(Student, Student.id == Payable.student_id)
        .join(School, School.id == Payable.school_id)
        .outerjoin(BankAccount, and_(BankAccount.student_id == Student.id, BankAccount.valid_to.is_(None)))
        .outerjoin(Login, Login.id == BankAccount.recorded_by)
        .where(condition)
        .order_by(Payable.due_on, Payable.id)
        .limit(limit)
    ).all()  # fmt: skip
    students = select(Payable.student_id).where(condition)
    guardians: dict[int, dict[int, str]] = defaultdict(dict)
    for student_id, guardian_id, name in db.execute(
        select(Guardianship.student_id, Guardian.id, Guardian.name)
        .join(Guardian, Guardian.id == Guardianship.guardian_id)
        .where(Guardianship.student_id.in_(students), Guardianship.valid_to.is_(None))
    ):
        guardians[student_id][guardian_id] = name
    payables = select(Payable.id).where(condition)
    live = set(
        db.scalars(
            select(PayoutLine.payable_id).where(
                PayoutLine.payable_id.in_(payables), PayoutLine.state.in_(LIVE_LINES)
            )
        )
    )
    replaced = _repaired_lines(db, PayoutLine.payable_id.in_(payables))
    otherwise = against_payables(db, PayoutLine.payable_id.in_(payables))
    found = []
    for row in rows:
        values: tuple[Any, ...] = tuple(row)
        looked_up: dict[str, Any] = {
            "account": Account(*values[15:23]) if values[15] is not None else None,
            "guardians": guardians.get(row[2], {}),
            "on_live_line": row[0] in live,
            "replaces_id": replaced.get(row[0]),
            "said_otherwise": otherwise.get(row[0]),
            "preparer": preparer,
        }
        item = Candidate(*values[:15], **looked_up)
        refusals, warnings = judge(item, on, without=without)
        found.append(replace(item, refusals=tuple(refusals), warnings=tuple(warnings)))
    return found


def _repaired_lines(db: Session, condition: ColumnElement[bool]) -> dict[int, int]:
    """By payable: the returned line that was repaired and is not replaced by another one yet."""
    later = aliased(PayoutLine)
    rows = db.execute(
        select(PayoutLine.payable_id, PayoutLine.id).where(
            condition,
            PayoutLine.state == LineState.RETURNED,
            PayoutLine.repaired_at.is_not(None),
            ~select(later.id)
            .where(later.replaces_id == PayoutLine.id, later.state != LineState.CANCELLED)
            .exists(),
        )
    )
    return {row.payable_id: row.id for row in rows}


def stale_lines(db: Session, batch_id: int, *, on: date) -> list[tuple[int, list[Message]]]:
    """Lines of a batch that must not go out: (line number, why). Looked at again just before the release."""
    condition = Payable.id.in_(select(PayoutLine.payable_id).where(PayoutLine.batch_id == batch_id))
    today = {
        item.payable_id: item
        for item in examine(db, condition, on=on, without=frozenset({"on_another_line"}))
    }
    stale: list[tuple[int, list[Message]]] = []
    for line_no, payable_id, account_id, holder, bank, number in db.execute(
        select(
            PayoutLine.line_no, PayoutLine.payable_id, PayoutLine.bank_account_id, PayoutLine.holder_name,
            PayoutLine.bank_name, PayoutLine.account_number,
        ).where(PayoutLine.batch_id == batch_id).order_by(PayoutLine.line_no)
    ):  # fmt: skip
        item = today[payable_id]
        why = list(item.refusals)
        account = item.account
        if account is not None and (account.id, account.holder_name, account.bank_name, account.number) != (
            account_id, holder, bank, number,
        ):  # fmt: skip
            why.append(_m("The account was changed after the batch was prepared."))
        if why:
            stale.append((line_no, why))
    return stale
