"""The bank's own days do not bring the books out of order."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import clock
from app.core.actor import Actor
from app.core.money import plain_yuan
from app.ledger import Book
from app.ledger.models import EntryKind
from app.oversight.payouts import payouts_per_batch
from app.oversight.wanted import Wanted
from app.payouts.batches import post_line
from app.payouts.checks import CHECKS
from app.payouts.models import BatchState, Payable, PayoutBatch, ResultRow
from tests.domain.payouts.test_batches import assert_sound
from tests.payouts import bring, create_batch, create_payable, create_team, lines_of

TODAY = date(2026, 11, 20)


def _file(db: Session, batch: PayoutBatch, code: str, day: date) -> bytes:
    line = lines_of(db, batch)[0]
    head = "业务流水号,金额,返回码,返回信息,交易日期"
    return f"{head}\n{line.reference},{plain_yuan(line.amount_fen)},{code},x,{day.isoformat()}".encode()


def _difference(db: Session, actor: Actor, day: date) -> int:
    return payouts_per_batch(db, actor, Wanted(day)).total.difference


@pytest.mark.parametrize("days_before", [0, 3, 30])
def test_a_payment_that_the_bank_dates_before_our_release_ties_on_every_day(
    db: Session, days_before: int
) -> None:
    with clock.frozen(TODAY - timedelta(days=10)):
        team = create_team(db)
        payable = create_payable(db)
    with clock.frozen(TODAY):
        batch = create_batch(db, team, BatchState.RELEASED, payables=[payable])
        bank_day = TODAY - timedelta(days=days_before)
        bring(db, team.finance, batch, _file(db, batch, "0000", bank_day))
        db.flush()
        line = lines_of(db, batch)[0]
        assert line.paid_on == TODAY
        assert db.scalars(select(ResultRow.bank_day).where(ResultRow.line_id == line.id)).all() == [bank_day]
        assert_sound(db)
        assert [_difference(db, team.finance, TODAY - timedelta(days=n)) for n in (30, 4, 3, 1, 0)] == [0] * 5


def test_a_return_that_the_bank_dates_before_the_payment_ties_on_every_day(db: Session) -> None:
    with clock.frozen(TODAY - timedelta(days=10)):
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[create_payable(db)])
    with clock.frozen(TODAY):
        for code, before in (("0000", 2), ("3056", 4)):
            content = _file(db, batch, code, TODAY - timedelta(days=before))
            bring(db, team.finance, batch, content)
        db.flush()
        line = lines_of(db, batch)[0]
        assert_sound(db)
        assert line.returned_on == line.paid_on == TODAY - timedelta(days=2)
        assert [_difference(db, team.finance, TODAY - timedelta(days=n)) for n in range(6)] == [0] * 6


def test_a_day_that_the_bank_has_not_reached_is_booked_today(db: Session) -> None:
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED)
    bring(db, team.finance, batch, _file(db, batch, "0000", clock.today() + timedelta(days=5)))
    assert lines_of(db, batch)[0].paid_on == clock.today()


def test_entries_of_a_line_that_are_dated_before_one_another_are_found(db: Session) -> None:
    """The negative control: what the import refuses to book, booked all the same."""
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED, lines=2)
    line = lines_of(db, batch)[1]
    payable = db.get_one(Payable, line.payable_id)
    check = next(check for check in CHECKS if check.code == "payouts.line-in-order")
    assert check.run(db).ok
    yesterday = clock.today() - timedelta(days=1)
    post_line(
        db, team.finance, EntryKind.PAID, line, payable, Book.IN_TRANSIT, Book.BANK, booked_on=yesterday
    )
    found = check.run(db)
    assert not found.ok
    assert line.reference in found.detail
