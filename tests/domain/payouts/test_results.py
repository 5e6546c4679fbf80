"""What the bank answers, however it answers it."""

from __future__ import annotations

import io
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.errors import Conflict, Invalid, NotPermitted
from app.core.money import plain_yuan
from app.ledger.models import Posting
from app.payouts import batches, resultfile, returns
from app.payouts.codes import BANK_CODES, ReturnClass, Verdict, class_of, verdict_of
from app.payouts.models import BatchState, LineState, Payable, PayoutFile, ResultRow
from tests.domain.payouts.test_batches import assert_sound, book, said
from tests.factories import actor_for
from tests.payouts import (
    answer,
    answer_to,
    bring,
    create_batch,
    create_payable,
    create_team,
    give_back,
    lines_of,
)


def take(db: Session, team: Any, batch: Any, content: bytes) -> dict[str, int]:
    return dict(bring(db, team.finance, batch, content).counts)


class TestCodes:
    def test_the_list_says_what_each_code_means(self) -> None:
        assert {code for code in BANK_CODES if verdict_of(code) is Verdict.PAID} == {"0000", "4000"}
        assert {code for code in BANK_CODES if verdict_of(code) is Verdict.OPEN} == {"3051", "3059", "3999"}
        assert class_of("3031") is ReturnClass.DATA
        assert class_of("3017") is ReturnClass.ACCOUNT
        assert class_of("3028") is ReturnClass.TRANSIENT
        assert class_of("3051") is ReturnClass.DUPLICATE

    def test_a_code_nobody_knows_says_nothing(self) -> None:
        assert verdict_of("8888") is Verdict.OPEN
        assert verdict_of("") is Verdict.OPEN


class TestImport:
    @pytest.mark.parametrize("code", list(BANK_CODES))
    def test_each_code_does_what_it_means(self, db: Session, code: str) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch, code)
        line = lines_of(db, batch)[0]
        expected = {
            Verdict.PAID: LineState.PAID, Verdict.RETURNED: LineState.RETURNED, Verdict.OPEN: LineState.SENT,
        }[verdict_of(code)]  # fmt: skip
        assert line.state == expected
        assert_sound(db)

    def test_paid_lines_leave_the_bank_and_returned_ones_wait(self, db: Session) -> None:
        team = create_team(db)
        payables = [create_payable(db, amount_fen=amount) for amount in (60_000, 40_000)]
        batch = create_batch(db, team, BatchState.RELEASED, payables=payables)
        before = book(db, "bank")
        assert take(db, team, batch, answer_to(db, batch, "0000", "3031")) == {"paid": 1, "returned": 1}
        assert book(db, "bank") == before - 60_000
        assert (book(db, "in_transit"), book(db, "returned")) == (0, -40_000)
        paid, back = lines_of(db, batch)
        assert (paid.state, paid.paid_on, back.state, back.returned_on) == (
            "paid", clock.today(), "returned", clock.today(),
        )  # fmt: skip
        assert [db.get_one(Payable, line.payable_id, populate_existing=True).state for line in (paid, back)] == [
            "paid", "batched",
        ]  # fmt: skip
        batches.reconcile(db, team.finance, batch)
        assert_sound(db)

    def test_the_same_file_is_refused_a_second_time(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        content = answer_to(db, batch, "0000")
        take(db, team, batch, content)
        with pytest.raises(Conflict) as refusal:
            take(db, team, batch, content)
        assert f"for batch {batch.number}. Nothing was booked a second time" in said(refusal)
        assert db.scalar(select(func.count()).select_from(ResultRow)) == 1

    def test_a_line_reported_paid_twice_is_booked_once(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        take(db, team, batch, answer_to(db, batch, "0000"))
        bank = book(db, "bank")
        assert take(db, team, batch, answer_to(db, batch, "4000", note="2")) == {"repeated": 1}
        line = lines_of(db, batch)[0]
        row = (line.reference, plain_yuan(line.amount_fen), "0000")
        assert take(db, team, batch, answer([row, row])) == {"repeated": 2}
        assert book(db, "bank") == bank
        assert_sound(db)

    def test_a_line_reported_returned_twice_is_booked_once(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch)
        assert give_back(db, team, batch, note="2").counts == {"repeated": 1}
        assert_sound(db)

    def test_a_late_return_takes_the_money_back_into_the_books(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        bank = book(db, "bank")
        assert give_back(db, team, batch, "3056").counts == {"returned": 1}
        assert book(db, "bank") == bank + batch.total_fen
        assert book(db, "returned") == -batch.total_fen
        assert batch.state == "reconciled"
        assert_sound(db)

    def test_paid_after_returned_is_a_contradiction_to_be_cleared(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch)
        assert take(db, team, batch, answer_to(db, batch, "0000", note="2")) == {"mismatch": 1}
        assert lines_of(db, batch)[0].state == "returned"
        assert_sound(db)

    def test_rows_that_fit_no_line_are_kept_aside_and_crash_nothing(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=5)
        first, *others = lines_of(db, batch)
        amount = plain_yuan(first.amount_fen)
        content = answer(
            [
                (first.reference, amount, "0000"),
                ("P99990001" + "0001X", "600.00", "0000"),
                ("", "600.00", "0000"),
                (others[0].reference, "599.99", "0000"),
                (others[1].reference, "six hundred", "0000"),
                (others[2].reference, amount, "3059"),
                (others[3].reference, amount, ""),
                ("合计", "1200.00", ""),
            ]
        )
        imported = bring(db, team.finance, batch, content)
        assert imported.counts == {"paid": 1, "unknown": 2, "mismatch": 2, "pending": 2}
        assert imported.aside == 6
        assert [line.state for line in lines_of(db, batch)] == ["paid", "sent", "sent", "sent", "sent"]
        assert db.scalar(select(func.count()).select_from(ResultRow)) == 7
        assert_sound(db)

    def test_a_line_whose_result_is_unknown_is_never_sent_again(self, db: Session) -> None:
        team = create_team(db)
        payable = create_payable(db)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[payable])
        give_back(db, team, batch, "3059")
        with pytest.raises(Conflict):
            batches.prepare(db, team.officer, [payable.id])
        with pytest.raises(Conflict):
            batches.reconcile(db, team.finance, batch)
        with pytest.raises(Conflict):
            returns.repair(db, team.officer, lines_of(db, batch)[0])

    def test_a_file_of_another_batch_is_refused_and_can_be_imported_there(self, db: Session) -> None:
        team = create_team(db)
        one, other = create_batch(db, team, BatchState.RELEASED), create_batch(db, team, BatchState.RELEASED)
        content = answer_to(db, other, "0000")
        with pytest.raises(Invalid) as refusal:
            take(db, team, one, content)
        assert f"No row of this file belongs to batch {one.number}" in said(refusal)
        assert take(db, team, other, content) == {"paid": 1}

    def test_one_file_may_answer_two_batches(self, db: Session) -> None:
        team = create_team(db)
        one, other = create_batch(db, team, BatchState.RELEASED), create_batch(db, team, BatchState.RELEASED)
        lines = lines_of(db, one) + lines_of(db, other)
        take(db, team, one, answer([(line.reference, plain_yuan(line.amount_fen), "0000") for line in lines]))
        batches.reconcile(db, team.finance, one)
        batches.reconcile(db, team.finance, other)
        assert_sound(db)

    @pytest.mark.parametrize(
        "state", [BatchState.PREPARED, BatchState.CHECKED, BatchState.CANCELLED], ids=str
    )
    def test_a_batch_that_did_not_go_out_has_no_result(self, db: Session, state: BatchState) -> None:
        team = create_team(db)
        batch = create_batch(db, team, state)
        with pytest.raises(Conflict):
            take(db, team, batch, answer_to(db, batch, "0000"))

    def test_a_row_for_a_line_that_did_not_go_out_changes_nothing(self, db: Session) -> None:
        team = create_team(db)
        sent, not_yet = create_batch(db, team, BatchState.RELEASED), create_batch(db, team)
        lines = lines_of(db, sent) + lines_of(db, not_yet)
        content = answer([(line.reference, plain_yuan(line.amount_fen), "0000") for line in lines])
        assert take(db, team, sent, content) == {"paid": 1, "mismatch": 1}
        assert lines_of(db, not_yet)[0].state == "prepared"

    @pytest.mark.parametrize("role", [r for r in Role if r not in (Role.FINANCE, Role.SPONSOR)], ids=str)
    def test_only_finance_imports(self, db: Session, role: Role) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        with pytest.raises(NotPermitted):
            bring(db, actor_for(db, role), batch, answer_to(db, batch, "0000"))


class TestForms:
    """The same answer in every dress that banks give it."""

    def test_other_heads_orders_delimiters_and_encodings(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=4)
        lines = lines_of(db, batch)
        for line, delimiter, encoding in zip(
            lines, (",", "|", "\t", ";"), ("gb18030", "utf-8-sig", "utf-16", "utf-8"), strict=True
        ):
            head = delimiter.join(["序号", "状态码", "备注(业务流水号)", "金额(元)", "失败原因", "入账日期"])
            row = delimiter.join(
                ["1", "0", line.reference.lower(), f"￥{plain_yuan(line.amount_fen)}00", "", "20200101"]
            )
            content = f"{head}\n{row}\n".encode(encoding)
            assert [found.day for found in resultfile.read_result(content)] == [date(2020, 1, 1)]
            assert take(db, team, batch, content) == {"paid": 1}
        # The bank's day lies before the release, and the books keep their order.
        assert {line.paid_on for line in lines_of(db, batch)} == {clock.today()}

    def test_a_workbook_with_numbers_for_cells(self, db: Session) -> None:
        from xlsxwriter import Workbook

        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[create_payable(db, amount_fen=60_010)])
        target = io.BytesIO()
        with Workbook(target, {"in_memory": True}) as book_:
            sheet = book_.add_worksheet()
            sheet.write_row(0, 0, ["某银行代发回盘"])
            sheet.write_row(2, 0, ["业务流水号", "金额", "返回码", "返回信息"])
            sheet.write_row(3, 0, [lines_of(db, batch)[0].reference, 600.1, 0, "成功"])
        assert take(db, team, batch, target.getvalue()) == {"paid": 1}

    def test_the_order_file_itself_is_no_result(self, db: Session) -> None:
        from app.files.models import StoredFile
        from app.files.store import read_stored

        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        for file_id in db.scalars(select(PayoutFile.file_id)):
            with pytest.raises(Invalid) as refusal:
                take(db, team, batch, read_stored(db.get_one(StoredFile, file_id)))
            assert "“result code” was not found" in said(refusal)

    def test_a_day_that_cannot_be_is_today(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        line = lines_of(db, batch)[0]
        day = (clock.today() + timedelta(days=1)).isoformat()
        content = f"流水号,金额,返回码,入账日期\n{line.reference},600.00,0000,{day}\n".encode()
        take(db, team, batch, content)
        assert lines_of(db, batch)[0].paid_on == clock.today()

    @pytest.mark.parametrize(
        "content",
        [b"", b"   ", b"\x00\x01\x02", b"PK\x03\x04 not a workbook", b"\xd0\xcf\x11\xe0broken", b"a,b,c\n1,2,3\n",
         "业务流水号,金额,返回码\n".encode(), b"\xff\xfe\x00", b'"' + b"x" * 200_000, b"%PDF-1.7"],
    )  # fmt: skip
    def test_anything_else_is_refused_with_a_sentence_and_leaves_nothing(
        self, db: Session, content: bytes
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        with pytest.raises(Invalid) as refusal:
            take(db, team, batch, content)
        assert refusal.value.fields["file"]
        assert db.scalar(select(func.count()).select_from(PayoutFile).where(PayoutFile.kind == "result")) == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12), st.text(max_size=6)), max_size=6))
def test_no_row_crashes_an_import(db: Session, rows: list[tuple[str, str, str]]) -> None:
    savepoint = db.begin_nested()
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED)
    line = lines_of(db, batch)[0]
    good = (line.reference, plain_yuan(line.amount_fen), "0000")
    try:
        counts = take(db, team, batch, answer([good, *rows], encoding="gb18030" if _fits(rows) else "utf-16"))
        assert counts["paid"] == 1
    except Invalid:
        pass  # a quotation mark may leave no table at all
    total = db.scalar(select(func.sum(Posting.amount_fen)))
    assert total == 0
    savepoint.rollback()


def _fits(rows: list[tuple[str, str, str]]) -> bool:
    try:
        str(rows).encode("gb18030")
    except UnicodeEncodeError:
        return False
    return True
