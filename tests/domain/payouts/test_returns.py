"""Returned, repaired, sent again: the money is never lost and never doubled."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.errors import Conflict, NotFound, NotPermitted
from app.payouts import batches, lines, queries, returns
from app.payouts.models import BatchState, LineState, Payable, PayoutBatch, PayoutLine
from app.payouts.student_money import rows_of_student
from app.payouts.waiting import waiting
from app.registry import changes
from app.registry.forms import EnrolmentForm
from app.registry.models import Student
from tests.domain.payouts.test_batches import assert_sound, book, said
from tests.factories import (
    COUNTY,
    OTHER_COUNTY,
    actor_for,
    create_bank_account,
    create_school,
    create_student,
)
from tests.payouts import Team, create_batch, create_payable, create_team, give_back, lines_of, pay


def new_account(db: Session, line: PayoutLine) -> None:
    db.execute(
        text("UPDATE bank_account SET valid_to = valid_from WHERE student_id = :id AND valid_to IS NULL"),
        {"id": line.student_id},
    )
    create_bank_account(db, db.get_one(Student, line.student_id))


def returned(db: Session, team: Team, code: str = "3031") -> tuple[PayoutBatch, PayoutLine]:
    batch = create_batch(db, team, BatchState.RELEASED)
    give_back(db, team, batch, code)
    return batch, lines_of(db, batch)[0]


def test_returned_repaired_and_paid_by_the_next_batch(db: Session) -> None:
    team = create_team(db)
    batch, line = returned(db, team)
    batches.reconcile(db, team.finance, batch)
    assert returns.sums_returned(db, team.officer) == (1, batch.total_fen)
    new_account(db, line)
    returns.repair(db, team.officer, line)
    again = batches.prepare(db, team.officer)
    second = lines_of(db, again)[0]
    assert (second.replaces_id, second.amount_fen, second.payable_id) == (
        line.id,
        line.amount_fen,
        line.payable_id,
    )
    assert second.account_number != line.account_number
    batches.check(db, team.reviewer, again)
    bank = book(db, "bank")
    batches.release(db, team.releaser, again)
    assert (book(db, "returned"), book(db, "in_transit"), book(db, "allocated")) == (0, -line.amount_fen, 0)
    pay(db, team, again)
    batches.reconcile(db, team.finance, again)
    assert book(db, "bank") == bank - line.amount_fen
    assert returns.list_returned(db, team.officer) == []
    assert_sound(db)


def test_a_line_may_come_back_again_and_again(db: Session) -> None:
    team = create_team(db)
    batch, line = returned(db, team)
    for _ in range(3):
        new_account(db, line)
        returns.repair(db, team.officer, line)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[db.get_one(Payable, line.payable_id)])
        give_back(db, team, batch)
        line = lines_of(db, batch)[0]
        assert_sound(db)
    assert book(db, "returned") == -line.amount_fen
    assert len(returns.list_returned(db, team.officer)) == 1


def test_a_late_return_is_repaired_like_any_other(db: Session) -> None:
    team = create_team(db)
    batch = create_batch(db, team, BatchState.RECONCILED)
    give_back(db, team, batch)
    line = lines_of(db, batch)[0]
    new_account(db, line)
    returns.repair(db, team.officer, line)
    create_batch(db, team, BatchState.RECONCILED, payables=[db.get_one(Payable, line.payable_id)])
    assert_sound(db)


def test_a_batch_that_is_sent_back_leaves_the_returned_line_to_the_next_one(db: Session) -> None:
    team = create_team(db)
    _, line = returned(db, team)
    new_account(db, line)
    returns.repair(db, team.officer, line)
    payable = db.get_one(Payable, line.payable_id)
    create_batch(db, team, BatchState.CANCELLED, payables=[payable])
    db.refresh(payable)
    again = create_batch(db, team, BatchState.RECONCILED, payables=[payable])
    assert lines_of(db, again)[0].replaces_id == line.id
    assert_sound(db)


def test_wrong_details_must_be_corrected_before(db: Session) -> None:
    team = create_team(db)
    _, line = returned(db, team, "3009")
    with pytest.raises(Conflict) as refusal:
        returns.repair(db, team.officer, line)
    assert "still the one that the bank refused" in said(refusal)
    new_account(db, line)
    returns.repair(db, team.officer, line)
    assert line.repaired_at is not None


@pytest.mark.parametrize("code", ["3017", "3069", "3028"])
def test_an_account_that_the_bank_put_in_order_may_stay(db: Session, code: str) -> None:
    team = create_team(db)
    _, line = returned(db, team, code)
    returns.repair(db, team.officer, line)
    assert db.scalar(select(Payable.state).where(Payable.id == line.payable_id)) == "open"


def test_a_repair_needs_an_account_of_the_family(db: Session) -> None:
    team = create_team(db)
    _, line = returned(db, team)
    new_account(db, line)
    db.execute(
        text("UPDATE bank_account SET holder_name = '班主任' WHERE student_id = :id AND valid_to IS NULL"),
        {"id": line.student_id},
    )
    with pytest.raises(Conflict) as refusal:
        returns.repair(db, team.officer, line)
    assert "neither the student's" in said(refusal)


def test_a_line_is_repaired_once(db: Session) -> None:
    team = create_team(db)
    _, line = returned(db, team, "3028")
    returns.repair(db, team.officer, line)
    with pytest.raises(Conflict):
        returns.repair(db, team.officer, line)


@pytest.mark.parametrize("state", [s for s in LineState if s is not LineState.RETURNED], ids=str)
def test_only_a_returned_line_is_repaired(db: Session, state: LineState) -> None:
    team = create_team(db)
    batch = create_batch(
        db, team,
        {LineState.PREPARED: BatchState.PREPARED, LineState.SENT: BatchState.RELEASED,
         LineState.PAID: BatchState.RECONCILED, LineState.CANCELLED: BatchState.CANCELLED}[state],
    )  # fmt: skip
    with pytest.raises(Conflict):
        returns.repair(db, team.officer, lines_of(db, batch)[0])


def test_a_county_repairs_its_own_lines_only(db: Session) -> None:
    team = create_team(db)
    student = create_student(db, school=create_school(db, authority=OTHER_COUNTY))
    batch = create_batch(db, team, BatchState.RELEASED, payables=[create_payable(db, student=student)])
    give_back(db, team, batch, "3028")
    line = lines_of(db, batch)[0]
    here, there = (actor_for(db, Role.COUNTY_OFFICER, authority=code) for code in (COUNTY, OTHER_COUNTY))
    assert [row.public_id for row in returns.list_returned(db, there)] == [line.public_id]
    assert returns.list_returned(db, here) == []
    with pytest.raises(NotFound):
        returns.get_line(db, here, line.public_id)
    with pytest.raises(Conflict):
        returns.repair(db, here, line)
    with pytest.raises(NotPermitted):
        returns.repair(db, actor_for(db, Role.COUNTY_REVIEWER, authority=OTHER_COUNTY), line)
    returns.repair(db, there, line)


def test_a_line_goes_with_the_student_to_another_county(db: Session) -> None:
    """Who can correct the account sees the line and repairs it; the line's own place stays that of the totals."""
    team = create_team(db)
    student = create_student(db, school=create_school(db), level="severe")
    batch = create_batch(db, team, BatchState.RELEASED, payables=[create_payable(db, student=student)])
    give_back(db, team, batch, "3028")
    line = lines_of(db, batch)[0]
    school = create_school(db, authority=OTHER_COUNTY)
    move = EnrolmentForm(
        version=student.version, school=school.public_id, grade="X5", class_no="1", boarding="1", study_state="01",
        since=clock.today(),
    )  # fmt: skip
    changes.change_enrolment(db, team.officer, student, move)
    db.flush()
    old, new = (actor_for(db, Role.COUNTY_OFFICER, authority=code) for code in (COUNTY, OTHER_COUNTY))
    assert returns.list_returned(db, old) == []
    assert returns.sums_returned(db, old) == (0, 0)
    assert returns.sums_returned(db, new) == (1, line.amount_fen)
    assert [(row.public_id, row.school) for row in returns.list_returned(db, new)] == [
        (line.public_id, school.name)
    ]
    assert [item.count for item in waiting(db, new) if item.href == "/payouts/returned"] == [1]
    assert [item.count for item in waiting(db, old) if item.href == "/payouts/returned"] == [0]
    with pytest.raises(NotFound):
        returns.get_line(db, old, line.public_id)
    with pytest.raises(Conflict):
        returns.repair(db, old, line)
    assert [row.reachable for row in lines.list_lines(db, old, batch).rows] == [False]
    assert queries.list_batches(db, old).rows[0].total_fen == line.amount_fen
    assert not queries.reaches(db, new, batch)
    assert [row.href for row in rows_of_student(db, new, student.id)] == [f"/payouts/lines/{line.public_id}"]
    returns.repair(db, new, returns.get_line(db, new, line.public_id))
    assert line.authority_code == COUNTY
