"""Rows of a result file that change nothing: why they were kept aside, and who has dealt with them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.permissions import Role
from app.access.sessions import actor_of_account_id
from app.audit.models import AuditEvent
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.money import plain_yuan
from app.db import Database
from app.payouts import aside, batches, waiting
from app.payouts.models import BatchState, PayoutFile, ResultClearance, ResultRow
from tests.domain.payouts.test_batches import assert_sound, book, said
from tests.factories import COUNTY, actor_for, create_account
from tests.payouts import answer, answer_to, bring, create_batch, create_team, give_back, lines_of

HEAD = "业务流水号,金额,返回码,返回信息"


def second_account(db: Session, actor: Actor, role: Role = Role.FINANCE) -> Actor:
    """Another account of the same person."""
    account = create_account(db, role, person=db.get_one(Person, actor.person_id))
    found = actor_of_account_id(db, account.id)
    assert found is not None
    return found


def whys(db: Session) -> list[tuple[str, str]]:
    return [tuple(row) for row in db.execute(select(ResultRow.outcome, ResultRow.why).order_by(ResultRow.id))]


def row_of(db: Session, code: str, amount: str | None = None) -> Any:
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED)
    line = lines_of(db, batch)[0]
    bring(db, team.finance, batch, answer([(line.reference, amount or plain_yuan(line.amount_fen), code)]))
    return team, batch, aside.rows_of_batch(db, batch)[0]


class TestContradictions:
    @pytest.mark.parametrize("order", list(permutations(["0000", "3031"])), ids=" ".join)
    def test_a_file_that_says_paid_and_returned_books_neither_in_whatever_order(
        self, db: Session, order: tuple[str, ...]
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=2)
        first, second = lines_of(db, batch)
        before = book(db, "bank")
        rows = [(first.reference, plain_yuan(first.amount_fen), code) for code in order]
        imported = bring(
            db,
            team.finance,
            batch,
            answer([*rows, (second.reference, plain_yuan(second.amount_fen), "0000")]),
        )
        assert imported.counts == {"mismatch": 2, "paid": 1}
        assert whys(db) == [("mismatch", "conflicting"), ("mismatch", "conflicting"), ("paid", "")]
        assert [line.state for line in lines_of(db, batch)] == ["sent", "paid"]
        assert book(db, "bank") == before - second.amount_fen
        assert_sound(db)
        # The right row in a later file is booked as usual.
        right = [(first.reference, plain_yuan(first.amount_fen), "0000")]
        assert bring(db, team.finance, batch, answer(right, note="2")).counts == {"paid": 1}
        assert_sound(db)

    def test_two_amounts_for_one_line_are_both_kept_aside(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        line = lines_of(db, batch)[0]
        rows = [(line.reference, plain_yuan(line.amount_fen), "0000"), (line.reference, "1.00", "0000")]
        assert bring(db, team.finance, batch, answer(rows)).counts == {"mismatch": 2}
        assert lines_of(db, batch)[0].state == "sent"

    def test_the_same_row_twice_is_one_row(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        line = lines_of(db, batch)[0]
        rows = [(line.reference, plain_yuan(line.amount_fen), "0000")] * 2
        assert bring(db, team.finance, batch, answer(rows)).counts == {"paid": 1, "repeated": 1}
        assert_sound(db)

    def test_a_later_file_that_says_paid_of_a_returned_line_is_kept_aside(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch)
        bring(db, team.finance, batch, answer_to(db, batch, "0000", note="2"))
        assert whys(db)[-1] == ("mismatch", "came_back")
        assert lines_of(db, batch)[0].state == "returned"


class TestAfterReconciliation:
    def test_a_file_without_news_is_refused(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        with pytest.raises(Conflict) as refusal:
            bring(db, team.finance, batch, answer_to(db, batch, "4000", note="again"))
        assert f"Batch {batch.number} is reconciled, and every row" in said(refusal)
        files = select(func.count()).select_from(PayoutFile).where(PayoutFile.kind == "result")
        assert db.scalar(files) == 1

    def test_money_that_comes_back_later_is_booked_and_counted_as_late(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        imported = give_back(db, team, batch, "3056")
        assert (imported.late, imported.counts) == (1, {"returned": 1})
        assert aside.late_returns(db, batch) == (1, batch.total_fen)
        assert whys(db)[-1] == ("returned", "late")
        assert batch.state == "reconciled"
        assert_sound(db)

    def test_a_return_that_comes_before_any_payment_is_not_late(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        assert give_back(db, team, batch).late == 0
        assert aside.late_returns(db, batch) == (0, 0)

    def test_a_row_that_fits_nothing_is_kept_aside_even_then(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        line = lines_of(db, batch)[0]
        rows = [(line.reference, plain_yuan(line.amount_fen), "0000"), ("NOBODY1", "1.00", "0000")]
        assert bring(db, team.finance, batch, answer(rows, note="2")).counts == {"repeated": 1, "unknown": 1}


class TestPersons:
    @pytest.mark.parametrize("duty", ["officer", "reviewer", "releaser"])
    def test_whoever_sent_a_batch_out_neither_imports_nor_reconciles_under_another_account(
        self, db: Session, duty: str
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        same = second_account(db, getattr(team, duty))
        with pytest.raises(Conflict) as refusal:
            bring(db, same, batch, answer_to(db, batch, "0000"))
        assert "Another person must take this step" in said(refusal)
        assert lines_of(db, batch)[0].state == "sent"
        bring(db, team.finance, batch, answer_to(db, batch, "0000"))
        with pytest.raises(Conflict):
            batches.reconcile(db, same, batch)

    def test_a_file_that_touches_a_batch_of_ones_own_is_refused_whole(self, db: Session) -> None:
        team, other = create_team(db), create_team(db)
        one, mine = create_batch(db, team, BatchState.RELEASED), create_batch(db, other, BatchState.RELEASED)
        lines = lines_of(db, one) + lines_of(db, mine)
        content = answer([(line.reference, plain_yuan(line.amount_fen), "0000") for line in lines])
        with pytest.raises(Conflict):
            bring(db, second_account(db, other.releaser), one, content)
        assert lines_of(db, one)[0].state == "sent"

    def test_the_reconciler_may_import_what_comes_later(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        assert give_back(db, team, batch, "3056").late == 1


class TestClearing:
    def test_a_row_waits_until_somebody_says_what_became_of_it(self, db: Session) -> None:
        team, _, row = row_of(db, "0000", "1.00")
        assert (row.why, row.open) == ("amount", True)
        assert [one.count for one in waiting.waiting(db, team.finance) if one.href == "/payouts/aside"] == [1]
        cleared = aside.clear(db, team.finance, row.file, row.row_no, reason=" The bank  has corrected it ")
        db.flush()
        assert cleared == 1
        assert aside.count_open(db, team.finance) == 0
        assert [one.count for one in waiting.waiting(db, team.finance) if one.href == "/payouts/aside"] == [0]
        found = aside.list_aside(db, team.finance, dealt_with=True)[0]
        assert (found.reason, found.open) == ("The bank has corrected it", False)
        assert found.cleared_by == db.get_one(Person, team.finance.person_id).name
        kept = db.scalars(select(ResultClearance)).one()
        assert kept.cleared_by == team.finance.person_id

    def test_it_leaves_an_event_with_the_reason(self, database: Database) -> None:
        with database.write() as db:
            team, batch, row = row_of(db, "0000", "1.00")
            aside.clear(db, team.finance, row.file, row.row_no, reason="cleared by phone")
            number = batch.public_id
        with database.read() as db:
            event = db.scalars(select(AuditEvent).where(AuditEvent.tag == "payouts.result-row.cleared")).one()
        assert event.subject == number
        assert "cleared by phone" in event.detail

    def test_rows_of_one_reference_in_one_file_are_cleared_together(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        line = lines_of(db, batch)[0]
        rows = [(line.reference, plain_yuan(line.amount_fen), code) for code in ("0000", "3031")]
        bring(db, team.finance, batch, answer([*rows, ("NOBODY1", "1.00", "0000")]))
        first = aside.rows_of_batch(db, batch)[0]
        assert aside.clear(db, team.finance, first.file, first.row_no, reason="asked the bank") == 2
        assert [row.reference for row in aside.list_aside(db, team.finance)] == ["NOBODY1"]

    def test_a_row_that_was_not_final_is_settled_by_the_file_that_is(self, db: Session) -> None:
        team, batch, row = row_of(db, "3059")
        assert aside.count_open(db, team.finance) == 1
        bring(db, team.finance, batch, answer_to(db, batch, "0000", note="2"))
        assert aside.count_open(db, team.finance) == 0
        with pytest.raises(Conflict):
            aside.clear(db, team.finance, row.file, row.row_no, reason="late")

    def test_a_second_time_is_refused_and_changes_nothing(self, db: Session) -> None:
        team, _, row = row_of(db, "0000", "1.00")
        aside.clear(db, team.finance, row.file, row.row_no, reason="first")
        with pytest.raises(Conflict):
            aside.clear(db, team.finance, row.file, row.row_no, reason="second")
        assert db.scalars(select(ResultClearance.reason)).all() == ["first"]

    @pytest.mark.parametrize(
        "statement", ["UPDATE result_clearance SET reason = 'x'", "DELETE FROM result_clearance"]
    )
    def test_what_was_said_is_never_changed(self, db: Session, statement: str) -> None:
        from sqlalchemy import text

        team, _, row = row_of(db, "0000", "1.00")
        aside.clear(db, team.finance, row.file, row.row_no, reason="said")
        with pytest.raises(DBAPIError, match="append-only"), db.begin_nested():
            db.execute(text(statement))

    def test_a_reason_is_needed(self, db: Session) -> None:
        team, _, row = row_of(db, "0000", "1.00")
        with pytest.raises(Invalid) as refusal:
            aside.clear(db, team.finance, row.file, row.row_no, reason="   ")
        assert "reason" in refusal.value.fields

    def test_only_finance_clears_and_not_for_a_batch_of_its_own(self, db: Session) -> None:
        team, _, row = row_of(db, "0000", "1.00")
        with pytest.raises(NotPermitted):
            aside.clear(db, actor_for(db, Role.AUDITOR), row.file, row.row_no, reason="x")
        with pytest.raises(Conflict):
            aside.clear(db, second_account(db, team.releaser), row.file, row.row_no, reason="x")
        assert aside.count_open(db, team.finance) == 1

    def test_a_county_knows_of_none(self, db: Session) -> None:
        _, _, row = row_of(db, "0000", "1.00")
        county = actor_for(db, Role.COUNTY_OFFICER, authority=COUNTY)
        with pytest.raises(NotFound):
            aside.list_aside(db, county)
        with pytest.raises(NotFound):
            aside.get_aside(db, county, row.file, row.row_no)

    def test_a_row_that_was_booked_is_none_of_them(self, db: Session) -> None:
        team, _, row = row_of(db, "0000", "1.00")
        for file, number in ((row.file, 999), ("x" * 22, row.row_no), (row.file, 2**40), (row.file, 0)):
            with pytest.raises(NotFound):
                aside.get_aside(db, team.finance, file, number)


def test_accounts_are_told_apart_from_persons(db: Session) -> None:
    """The negative control: a second account of somebody who had no part in the batch may import."""
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED)
    other = second_account(db, actor_for(db, Role.FINANCE))
    assert bring(db, other, batch, answer_to(db, batch, "0000")).counts == {"paid": 1}
    assert db.scalar(select(func.count()).select_from(Account)) or 0
