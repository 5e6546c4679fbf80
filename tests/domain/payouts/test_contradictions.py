"""The bank says of a payment that came back that it was made: it is not sent again until finance has decided."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.core import clock
from app.core.errors import Conflict, Invalid, NotPermitted
from app.db import Database
from app.payouts import after_all, aside, batches, gate, returns
from app.payouts.accounts import changed_accounts
from app.payouts.checks import CHECKS
from app.payouts.models import (
    BatchState,
    LineState,
    Payable,
    PayoutBatch,
    PayoutLine,
    ResultClearance,
    ResultRow,
)
from app.registry.models import BankAccount
from tests.domain.payouts.test_aside import second_account
from tests.domain.payouts.test_batches import assert_sound, book, said
from tests.domain.payouts.test_returns import new_account
from tests.factories import actor_for
from tests.payouts import (
    Team,
    answer_to,
    bring,
    create_batch,
    create_payable,
    create_team,
    give_back,
    lines_of,
)


def contradicted(db: Session, *, repaired: bool = False) -> tuple[Team, PayoutBatch, PayoutLine, Any]:
    """A line that came back, and the row of a later file that calls it paid."""
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED)
    give_back(db, team, batch)
    line = lines_of(db, batch)[0]
    if repaired:
        new_account(db, line)
        returns.repair(db, team.officer, line)
    bring(db, team.finance, batch, answer_to(db, batch, "0000", note="2"), name="second.csv")
    row = next(one for one in aside.rows_of_batch(db, batch) if one.open)
    return team, batch, lines_of(db, batch)[0], row


def names_the_row(refusal: Any, row: Any) -> bool:
    return f"Row {row.row_no} of the bank's file second.csv" in said(refusal)


def holds(db: Session, code: str) -> bool:
    return next(one for one in CHECKS if one.code == code).run(db).ok


class TestNotSentAgain:
    def test_the_line_is_not_repaired_and_the_refusal_names_the_row(self, db: Session) -> None:
        team, _, line, row = contradicted(db)
        new_account(db, line)
        with pytest.raises(Conflict) as refusal:
            returns.repair(db, team.officer, line)
        assert names_the_row(refusal, row)
        aside.clear(db, team.finance, row.file, row.row_no, reason="the bank says it was not paid")
        returns.repair(db, team.officer, line)
        assert line.repaired_at is not None

    def test_a_repaired_line_is_not_prepared(self, db: Session) -> None:
        team, _, line, row = contradicted(db, repaired=True)
        with pytest.raises(Conflict) as refusal:
            batches.prepare(db, team.officer, [line.payable_id])
        assert names_the_row(refusal, row)
        with pytest.raises(Invalid):
            batches.prepare(db, team.officer)
        aside.clear(db, team.finance, row.file, row.row_no, reason="the bank says it was not paid")
        assert lines_of(db, batches.prepare(db, team.officer))[0].replaces_id == line.id

    @pytest.mark.parametrize("state", [BatchState.PREPARED, BatchState.CHECKED], ids=str)
    def test_a_batch_in_which_it_stands_already_is_neither_checked_nor_released(
        self, db: Session, state: BatchState
    ) -> None:
        team = create_team(db)
        first = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, first)
        line = lines_of(db, first)[0]
        new_account(db, line)
        returns.repair(db, team.officer, line)
        again = create_batch(db, team, state, payables=[db.get_one(Payable, line.payable_id)])
        bring(db, team.finance, first, answer_to(db, first, "0000", note="2"), name="second.csv")
        row = next(one for one in aside.rows_of_batch(db, first) if one.open)
        step = (
            (batches.check, team.reviewer)
            if state is BatchState.PREPARED
            else (batches.release, team.releaser)
        )
        with pytest.raises(Conflict) as refusal:
            step[0](db, step[1], again)
        assert names_the_row(refusal, row)
        assert lines_of(db, again)[0].state == LineState.PREPARED

    def test_a_word_that_is_not_final_and_comes_later_than_the_return_holds_it_too(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch, "3028")
        bring(db, team.finance, batch, answer_to(db, batch, "3059", note="2"), name="second.csv")
        line = lines_of(db, batch)[0]
        assert aside.count_open(db, team.finance) == 1
        with pytest.raises(Conflict):
            returns.repair(db, team.officer, line)
        give_back(db, team, batch, "3028", note="3")
        assert aside.count_open(db, team.finance) == 0
        returns.repair(db, team.officer, line)

    def test_the_batch_is_not_reconciled_before_the_row_is_dealt_with(self, db: Session) -> None:
        team, batch, _, row = contradicted(db)
        with pytest.raises(Conflict) as refusal:
            batches.reconcile(db, team.finance, batch)
        assert names_the_row(refusal, row)
        aside.clear(db, team.finance, row.file, row.row_no, reason="the bank says it was not paid")
        batches.reconcile(db, team.finance, batch)
        assert batch.state == BatchState.RECONCILED

    def test_other_payments_go_their_way(self, db: Session) -> None:
        team, _, _, _ = contradicted(db, repaired=True)
        create_payable(db)
        assert batches.prepare(db, team.officer).line_count == 1

    @pytest.mark.parametrize("cleared_later", [False, True])
    def test_verify_finds_one_that_was_sent_again_all_the_same(
        self, db: Session, cleared_later: bool
    ) -> None:
        team, _, line, _ = contradicted(db, repaired=True)
        assert holds(db, "payouts.not-sent-again")
        gates, gate.REASONS = gate.REASONS, gate.REASONS[1:]  # type: ignore[misc] # the gate is open for once
        try:
            again = batches.prepare(db, team.officer)
        finally:
            gate.REASONS = gates  # type: ignore[misc]
        now = clock.now()
        values = {"checked_by": team.reviewer.person, "checked_at": now, "state": "released",
                  "released_by": team.releaser.person, "released_at": now}  # fmt: skip
        db.execute(update(PayoutBatch).where(PayoutBatch.id == again.id).values(values))
        if cleared_later:
            key = db.scalar(
                select(ResultRow.id).where(ResultRow.line_id == line.id, ResultRow.why == "came_back")
            )
            db.execute(
                insert(ResultClearance).values(
                    result_row_id=key, reason="too late", cleared_by=team.finance.person
                )
            )
        assert not holds(db, "payouts.not-sent-again")


class TestPaidAfterAll:
    @pytest.mark.parametrize("repaired", [False, True])
    def test_the_line_is_paid_as_if_the_bank_had_said_so_the_first_time(
        self, db: Session, repaired: bool
    ) -> None:
        team, batch, line, row = contradicted(db, repaired=repaired)
        bank = book(db, "bank")
        found = after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="confirmed by letter")
        assert (found.id, found.state, found.bank_code, found.paid_on) == (
            line.id,
            "paid",
            "0000",
            clock.today(),
        )
        assert db.scalar(select(Payable.state).where(Payable.id == line.payable_id)) == "paid"
        assert book(db, "bank") == bank - line.amount_fen
        assert (book(db, "returned"), book(db, "in_transit")) == (0, 0)
        assert aside.count_open(db, team.finance) == 0
        assert returns.list_returned(db, team.officer) == []
        batches.reconcile(db, team.finance, batch)
        assert_sound(db)
        with pytest.raises(Conflict):
            returns.repair(db, team.officer, found)

    def test_it_leaves_events_with_the_reason(self, database: Database) -> None:
        with database.write() as db:
            team, _, line, row = contradicted(db)
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="confirmed by letter")
            key = line.public_id
        with database.read() as db:
            event = db.scalars(
                select(AuditEvent).where(AuditEvent.tag == "payouts.line.paid-after-all")
            ).one()
            cleared = select(AuditEvent).where(AuditEvent.tag == "payouts.result-row.cleared")
            assert event.subject == key
            assert "confirmed by letter" in event.detail
            assert db.scalars(cleared).one() is not None

    def test_money_may_come_back_late_and_be_paid_after_all_more_than_once(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        for turn in range(2):
            give_back(db, team, batch, "3056", note=f"back{turn}")
            assert_sound(db)
            bring(db, team.finance, batch, answer_to(db, batch, "0000", note=f"paid{turn}"))
            row = next(one for one in aside.rows_of_batch(db, batch) if one.open)
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="the bank was wrong")
            assert_sound(db)
        assert aside.late_returns(db, batch) == (0, 0)

    def test_a_second_decision_is_refused(self, db: Session) -> None:
        team, _, _, row = contradicted(db)
        after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="yes")
        bank = book(db, "bank")
        with pytest.raises(Conflict):
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="yes")
        with pytest.raises(Conflict):
            aside.clear(db, team.finance, row.file, row.row_no, reason="no")
        assert book(db, "bank") == bank

    @pytest.mark.parametrize(
        "state", [BatchState.PREPARED, BatchState.RELEASED, BatchState.RECONCILED], ids=str
    )
    def test_it_is_refused_while_the_payment_stands_on_another_line(
        self, db: Session, state: BatchState
    ) -> None:
        team = create_team(db)
        first = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, first)
        line = lines_of(db, first)[0]
        new_account(db, line)
        returns.repair(db, team.officer, line)
        again = create_batch(db, team, state, payables=[db.get_one(Payable, line.payable_id)])
        bring(db, team.finance, first, answer_to(db, first, "0000", note="2"))
        row = next(one for one in aside.rows_of_batch(db, first) if one.open)
        before = book(db, "bank")
        with pytest.raises(Conflict) as refusal:
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="yes")
        assert lines_of(db, again)[0].reference in said(refusal)
        assert (lines_of(db, first)[0].state, book(db, "bank")) == ("returned", before)
        assert holds(db, "payouts.not-sent-again")  # the row came after the money had gone out again
        if state is BatchState.PREPARED:
            batches.send_back(db, team.reviewer, again, reason="said to be paid")
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="yes")
            assert_sound(db)

    def test_it_is_refused_when_the_returned_money_is_not_there(self, db: Session) -> None:
        team, _, line, row = contradicted(db)
        db.execute(update(Payable).where(Payable.id == line.payable_id).values(state="cancelled"))
        db.expire_all()
        with pytest.raises(Conflict) as refusal:
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="yes")
        assert "used otherwise" in said(refusal)

    def test_a_row_that_says_something_else_books_nothing(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        bring(db, team.finance, batch, answer_to(db, batch, "3059"))
        row = aside.rows_of_batch(db, batch)[0]
        with pytest.raises(Conflict):
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="yes")
        assert lines_of(db, batch)[0].state == "sent"

    def test_only_finance_decides_with_a_reason_and_not_for_a_batch_of_its_own(self, db: Session) -> None:
        team, _, _, row = contradicted(db)
        with pytest.raises(NotPermitted):
            after_all.book_as_paid(db, actor_for(db, Role.AUDITOR), row.file, row.row_no, reason="yes")
        with pytest.raises(Conflict):
            after_all.book_as_paid(db, second_account(db, team.releaser), row.file, row.row_no, reason="yes")
        with pytest.raises(Invalid):
            after_all.book_as_paid(db, team.finance, row.file, row.row_no, reason="  ")
        assert aside.count_open(db, team.finance) == 1


class TestOwnAccount:
    @staticmethod
    def _recorded(db: Session, payable: Payable, hours: int, **values: Any) -> None:
        at = clock.now() - timedelta(hours=hours)
        db.execute(
            update(BankAccount)
            .where(BankAccount.student_id == payable.student_id)
            .values(recorded_at=at, **values)
        )

    def test_who_recorded_an_account_does_not_prepare_money_for_it_under_any_account(
        self, db: Session
    ) -> None:
        team, payable = create_team(db), create_payable(db)
        same = second_account(db, team.officer, Role.CITY_OFFICER)
        self._recorded(db, payable, 71, recorded_by=same.account_id)
        with pytest.raises(Conflict) as refusal:
            batches.prepare(db, team.officer, [payable.id])
        assert "You recorded this bank account yourself" in said(refusal)
        with pytest.raises(Invalid):
            batches.prepare(db, team.officer)
        other = create_payable(db)
        assert [line.payable_id for line in lines_of(db, batches.prepare(db, team.officer))] == [other.id]
        assert batches.prepare(db, actor_for(db, Role.CITY_OFFICER)).line_count == 1

    def test_after_three_days_the_same_person_may(self, db: Session) -> None:
        team, payable = create_team(db), create_payable(db)
        self._recorded(db, payable, 73, recorded_by=team.officer.account_id)
        assert batches.prepare(db, team.officer).line_count == 1


class TestChangedAccounts:
    def test_a_line_to_another_account_than_before_names_who_changed_it(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=2)
        give_back(db, team, batch)
        moved, kept = lines_of(db, batch)
        db.execute(text("UPDATE payout_line SET bank_code = '3028' WHERE id = :id"), {"id": kept.id})
        db.expire_all()
        new_account(db, moved)
        clerk = actor_for(db, Role.COUNTY_OFFICER, authority=moved.authority_code)
        now = select(BankAccount.id).where(
            BankAccount.student_id == moved.student_id, BankAccount.valid_to.is_(None)
        )
        db.execute(
            update(BankAccount).where(BankAccount.id == db.scalar(now)).values(recorded_by=clerk.account_id)
        )
        for line in lines_of(db, batch):
            returns.repair(db, team.officer, line)
        again = batches.prepare(db, team.officer)
        (found,) = changed_accounts(db, again)
        line = next(one for one in lines_of(db, again) if one.student_id == moved.student_id)
        assert found.public_id == line.public_id
        assert found.before.endswith(f"****{moved.account_tail}")
        assert found.now.endswith(f"****{line.account_tail}")
        assert found.changed_by
        assert line.account_number not in repr(found)
