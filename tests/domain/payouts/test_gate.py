"""Before money goes out: each reason by its name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from app.core import clock
from app.core.i18n import use_locale
from app.payouts.gate import REASONS, Candidate, examine, judge
from app.payouts.models import Payable
from app.registry.models import Guardianship, Student
from tests.factories import create_bank_account, create_guardian, create_student
from tests.payouts import create_batch, create_payable, create_team


def look(db: Session, student: Student) -> Candidate:
    return examine(db, Payable.student_id == student.id, on=clock.today())[0]


def codes(item: Candidate) -> set[str]:
    return {reason.code for reason in REASONS if reason.stands_against(item, clock.today())}


def payee(db: Session, **values: object) -> Student:
    student = create_student(db, level="severe", **values)  # type: ignore[arg-type]
    create_payable(db, student=student)
    return student


def test_a_student_with_an_account_of_its_own_passes(db: Session) -> None:
    item = look(db, payee(db))
    assert item.refusals == ()
    assert item.warnings == ()


@pytest.mark.parametrize("state", ["01", "05"])
def test_who_attends_is_paid(db: Session, state: str) -> None:
    assert not look(db, payee(db, study_state=state)).refusals


@pytest.mark.parametrize("state", ["02", "03", "04", "06", "07", "10", "11", "14", "15"])
def test_who_does_not_attend_is_not(db: Session, state: str) -> None:
    assert codes(look(db, payee(db, study_state=state))) == {"not_attending"}


def test_a_void_record_is_not_paid(db: Session) -> None:
    student = payee(db)
    student.record_state, student.voided_at = "void", clock.now()
    db.flush()
    assert codes(look(db, student)) == {"record_void"}


def test_without_an_open_account_nothing_is_paid(db: Session) -> None:
    assert codes(look(db, payee(db, with_account=False))) == {"no_account"}


class TestHolder:
    def test_a_present_guardian_may_hold_the_account(self, db: Session) -> None:
        student = payee(db, with_account=False)
        guardian = create_guardian(db, student, name="盘阿妈")
        create_bank_account(db, student, holder_name="盘阿妈", guardian_id=guardian.id)
        assert not look(db, student).refusals

    def test_a_former_guardian_may_not(self, db: Session) -> None:
        student = payee(db, with_account=False)
        guardian = create_guardian(db, student, name="盘阿妈")
        create_bank_account(db, student, holder_name="盘阿妈", guardian_id=guardian.id)
        db.execute(
            update(Guardianship)
            .where(Guardianship.guardian_id == guardian.id)
            .values(valid_from=clock.today() - timedelta(days=9), valid_to=clock.today() - timedelta(days=1))
        )
        assert codes(look(db, student)) == {"holder_not_family"}

    @pytest.mark.parametrize("holder", ["班主任老师", "盘大山 ", "甲县希望小学"])
    def test_nobody_else_may(self, db: Session, holder: str) -> None:
        student = payee(db, with_account=False)
        create_bank_account(db, student, holder_name=holder)
        item = look(db, student)
        assert codes(item) == {"holder_not_family"}
        with use_locale("en"):
            assert "neither the student's nor a present guardian's" in str(item.refusals[0])

    def test_a_guardian_called_otherwise_at_the_opening_is_still_the_guardian(self, db: Session) -> None:
        student = payee(db, with_account=False)
        guardian = create_guardian(db, student, name="盘阿妈")
        create_bank_account(db, student, holder_name="盘阿玛", guardian_id=guardian.id)
        assert not look(db, student).refusals

    def test_a_guardian_of_another_child_is_nobody_here(self, db: Session) -> None:
        student, other = payee(db, with_account=False), create_student(db)
        guardian = create_guardian(db, other, name="他家阿爸")
        create_bank_account(db, student, holder_name="他家阿爸", guardian_id=guardian.id)
        assert codes(look(db, student)) == {"holder_not_family"}


def test_what_stands_on_a_line_is_not_paid_again(db: Session) -> None:
    student = payee(db)

    create_batch(
        db,
        create_team(db),
        payables=[db.scalars(select(Payable).where(Payable.student_id == student.id)).one()],
    )
    assert codes(look(db, student)) == {"on_another_line"}


def test_a_level_that_has_run_out_warns_and_stops_nothing(db: Session) -> None:
    student = payee(db)
    student.level_until = clock.today() - timedelta(days=1)
    db.flush()
    item = look(db, student)
    assert item.refusals == ()
    assert len(item.warnings) == 1


def test_an_amount_that_is_not_above_zero_never_passes(db: Session) -> None:
    """The table refuses it before; the gate does not count on that."""
    from dataclasses import replace

    item = replace(look(db, payee(db)), amount_fen=0)
    assert len(judge(item, clock.today())[0]) == 1


def test_looking_at_many_takes_as_many_queries_as_looking_at_one(db: Session) -> None:
    def queries(count: int) -> int:
        for _ in range(count):
            payee(db)
        db.flush()
        seen: list[str] = []

        def note(*args: object) -> None:
            seen.append(str(args[2]))

        engine = db.get_bind().engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            examine(db, Payable.state == "open", on=clock.today())
        finally:
            event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    assert queries(1) == queries(12) == 5
