"""The invented bank's side: what it answers to an order, and how an account that it refused is put right."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import date
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import clock
from app.core.actor import Actor
from app.core.money import plain_yuan
from app.demo.numbers import bank_account
from app.payouts.codes import BANK_CODES, ReturnClass, class_of
from app.registry.family import change_account, find_account
from app.registry.forms import AccountForm
from app.registry.models import Guardian, Student

_COLUMNS: Final = ("业务流水号", "金额", "返回码", "返回信息", "交易日期")
_NEW_ACCOUNTS_FROM: Final = 500_000_000
"""Beyond the accounts that the children began with."""


def result_file(rows: Iterable[tuple[str, int, str]], on: date) -> bytes:
    """(reference, fen, the bank's code) of each line, as a county bank sends them back."""
    target = io.StringIO(newline="")
    writer = csv.writer(target)
    writer.writerow(_COLUMNS)
    for reference, fen, code in rows:
        writer.writerow((reference, plain_yuan(fen), code, BANK_CODES[code].zh, on.isoformat()))
    return target.getvalue().encode("gb18030")


def repair_account(db: Session, actor: Actor, student: Student, code: str, *, nth: int) -> None:
    """A wrong or closed account is replaced by a new one of the same holder; one that was merely blocked stays.
    This is the `nth` repair of the story."""
    account = find_account(db, student)
    if account is None or class_of(code) not in (ReturnClass.DATA, ReturnClass.ACCOUNT):
        return
    holder = "student"
    if account.guardian_id is not None:
        holder = db.scalars(select(Guardian.public_id).where(Guardian.id == account.guardian_id)).one()
    form = AccountForm(
        holder=holder,
        bank_name=account.bank_name,
        number=bank_account(_NEW_ACCOUNTS_FROM + nth),
        since=clock.today(),
    )
    change_account(db, actor, student, form)
