"""Direct disbursements: one way only, confirmed by the school, counted once confirmed, reversed and never erased."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError, Invalid, NotFound, NotPermitted
from app.db import Database
from app.files.models import FileKind
from app.ledger.models import Book, Posting
from app.registry.models import School
from app.sponsorship import agreements, allocations, disbursements, money_checks, overview
from app.sponsorship.disbursements import WORKFLOW
from app.sponsorship.models import (
    Agreement,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Place,
    Remittance,
)
from tests.factories import actor_for, create_school
from tests.money import create_agreement, create_remittance, create_sponsor, create_voucher


class Scene(NamedTuple):
    agreement: Agreement
    instalment: Instalment
    sponsor: Actor
    school: Actor
    school_row: School


def scene(db: Session) -> Scene:
    row = create_school(db)
    agreement = create_agreement(db, school=row)
    return Scene(
        agreement,
        agreements.instalments_of(db, agreement)[0],
        actor_for(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id),
        actor_for(db, Role.SCHOOL_OFFICER, school=row),
        row,
    )


def log(db: Session, on: Scene, **given: object) -> DirectDisbursement:
    values = {
        "handed_on": clock.today(), "amount_fen": on.instalment.amount_fen,
        "voucher": create_voucher(db, on.agreement.sponsor_id),
    }  # fmt: skip
    return disbursements.log(db, on.sponsor, on.instalment, on.agreement, **(values | given))  # type: ignore[arg-type]


def given_fen(db: Session) -> int:
    db.flush()
    return int(db.scalar(select(func.sum(Posting.amount_fen)).where(Posting.book == Book.DIRECT_GIVEN)) or 0)


def all_hold(db: Session) -> bool:
    db.flush()
    return all(check.run(db).ok for check in money_checks.CHECKS)


class TestTheWay:
    def test_it_may_change_until_money_or_a_log_is_there(self, db: Session) -> None:
        on = scene(db)
        disbursements.choose_direct(db, on.sponsor, on.instalment, on.agreement)
        assert on.instalment.way == "direct"
        disbursements.choose_bureau(db, on.sponsor, on.instalment, on.agreement)
        assert on.instalment.way == "bureau"
        finance = actor_for(db, Role.FINANCE)
        money = create_remittance(db, finance, on.agreement.sponsor_id)
        allocations.allocate(db, finance, money, on.instalment, 1)
        with pytest.raises(Conflict, match="goes through the bureau"):
            disbursements.choose_direct(db, on.sponsor, on.instalment, on.agreement)
        with pytest.raises(Conflict, match="goes through the bureau"):
            log(db, on)

    def test_no_way_back_while_a_log_stands(self, db: Session) -> None:
        on = scene(db)
        disbursement = log(db, on)
        with pytest.raises(Conflict, match="Withdraw it first"):
            disbursements.choose_bureau(db, on.sponsor, on.instalment, on.agreement)
        disbursements.withdraw(db, on.sponsor, disbursement)
        disbursements.choose_bureau(db, on.sponsor, on.instalment, on.agreement)

    def test_only_the_sponsor_itself_chooses(self, db: Session) -> None:
        on = scene(db)
        other = actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id)
        with pytest.raises(NotFound):
            disbursements.choose_direct(db, other, on.instalment, on.agreement)
        with pytest.raises(NotPermitted):
            disbursements.choose_direct(db, actor_for(db, Role.FINANCE), on.instalment, on.agreement)


class TestLog:
    def test_a_log_waits_for_the_school_and_counts_nowhere(self, db: Session) -> None:
        on = scene(db)
        disbursement = log(db, on, note="  at the desk ")
        assert (disbursement.state, disbursement.note) == ("logged", "at the desk")
        assert disbursement.school_id == on.school_row.id
        assert on.instalment.way == "direct"
        assert given_fen(db) == 0
        assert overview.totals(db, on.sponsor).direct == 0
        assert all_hold(db)

    def test_dates_and_amounts_that_cannot_be_are_refused_beside_their_field(self, db: Session) -> None:
        on = scene(db)
        for given, field in (
            ({"handed_on": clock.today() + timedelta(days=30)}, "handed_on"),
            ({"handed_on": on.agreement.made_on - timedelta(days=1)}, "handed_on"),
            ({"amount_fen": on.instalment.amount_fen - 1}, "amount"),
            ({"amount_fen": on.instalment.amount_fen + 1}, "amount"),
            ({"voucher": create_voucher(db, create_sponsor(db).id)}, "voucher"),
            ({"voucher": create_voucher(db, on.agreement.sponsor_id, kind=FileKind.EXPORT)}, "voucher"),
        ):
            with pytest.raises(Invalid) as refused:
                log(db, on, **given)
            assert list(refused.value.fields) == [field]
        assert on.instalment.way == "bureau"

    def test_a_second_log_is_refused_while_one_stands(self, db: Session) -> None:
        on = scene(db)
        first = log(db, on)
        with pytest.raises(Conflict, match="logged for this instalment already"):
            log(db, on)
        disbursements.withdraw(db, on.sponsor, first)
        assert log(db, on).public_id != first.public_id


class TestDecide:
    def test_confirmed_money_stands_in_the_books_as_a_pair_with_its_dimensions(self, db: Session) -> None:
        on = scene(db)
        disbursement = log(db, on)
        disbursements.confirm(db, on.school, disbursement)
        assert disbursement.decided_by == on.school.person_id
        rows = db.execute(
            select(Posting.book, Posting.amount_fen, Posting.sponsor_id, Posting.introduction_id,
                   Posting.instalment_id).order_by(Posting.id)
        ).all()  # fmt: skip
        introduction = db.get_one(Place, on.agreement.place_id).introduction_id
        whose = (on.agreement.sponsor_id, introduction, on.instalment.id)
        assert [tuple(row) for row in rows] == [
            ("direct_given", 60_000, *whose), ("direct_received", -60_000, *whose)
        ]  # fmt: skip
        assert overview.totals(db, on.sponsor).direct == 60_000
        assert all_hold(db)
        with pytest.raises(Conflict):
            disbursements.confirm(db, on.school, disbursement)
        assert given_fen(db) == 60_000

    def test_disputed_with_a_reason_then_withdrawn_and_logged_again(self, db: Session) -> None:
        on = scene(db)
        disbursement = log(db, on)
        with pytest.raises(Invalid):
            disbursements.dispute(db, on.school, disbursement, reason=" ")
        disbursements.dispute(db, on.school, disbursement, reason="Only 500.00 came.")
        assert disbursement.reason == "Only 500.00 came."
        with pytest.raises(Conflict):
            log(db, on)
        disbursements.withdraw(db, on.sponsor, disbursement)
        disbursements.confirm(db, on.school, log(db, on))
        assert given_fen(db) == 60_000
        assert all_hold(db)

    def test_a_confirmation_is_reversed_by_the_city_with_a_reason_and_stays_in_the_books(
        self, db: Session
    ) -> None:
        on = scene(db)
        disbursement = log(db, on)
        disbursements.confirm(db, on.school, disbursement)
        with pytest.raises(Conflict):
            disbursements.withdraw(db, on.sponsor, disbursement)
        finance = actor_for(db, Role.FINANCE)
        with pytest.raises(Invalid):
            disbursements.reverse_confirmation(db, finance, disbursement, reason="")
        disbursements.reverse_confirmation(db, finance, disbursement, reason="the wrong child")
        assert given_fen(db) == 0
        assert db.scalar(select(func.count()).select_from(Posting)) == 4
        with pytest.raises(Conflict):
            disbursements.reverse_confirmation(db, finance, disbursement, reason="again")
        disbursements.confirm(db, on.school, log(db, on))
        assert given_fen(db) == 60_000
        assert all_hold(db)

    def test_who_logged_it_never_decides_about_it(self, db: Session) -> None:
        on = scene(db)
        disbursement = log(db, on)
        both = actor_for(
            db, Role.SCHOOL_OFFICER, school=on.school_row, person=db.get_one(Person, on.sponsor.person)
        )
        for decide in (
            lambda: disbursements.confirm(db, both, disbursement),
            lambda: disbursements.dispute(db, both, disbursement, reason="x"),
        ):
            with pytest.raises(Conflict, match="yourself"):
                decide()
        with pytest.raises(IntegrityError), db.begin_nested():
            db.execute(update(DirectDisbursement).values(decided_by=DirectDisbursement.logged_by))

    def test_another_school_and_another_sponsor_do_not_find_it(self, db: Session) -> None:
        on = scene(db)
        disbursement = log(db, on)
        for stranger in (
            actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db)),
            actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id),
        ):
            with pytest.raises(NotFound):
                disbursements.get_disbursement(db, stranger, disbursement.public_id)
        with pytest.raises(NotFound):
            disbursements.withdraw(
                db, actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id), disbursement
            )


@pytest.mark.parametrize("state", list(DisbursementState))
@pytest.mark.parametrize("step", WORKFLOW.transitions, ids=lambda step: step.action)
@pytest.mark.parametrize("role", [Role.SPONSOR, Role.SCHOOL_OFFICER, Role.CITY_OFFICER, Role.AUDITOR])
def test_every_step_in_every_state_by_every_role(db: Session, state: str, step: object, role: Role) -> None:
    from app.access.permissions import GRANTS
    from app.workflow import Transition, advance

    assert isinstance(step, Transition)
    on = scene(db)
    disbursement = log(db, on)
    db.execute(update(DirectDisbursement).values(state=state))
    db.expire(disbursement)
    actor = {
        Role.SPONSOR: on.sponsor,
        Role.SCHOOL_OFFICER: on.school,
    }.get(role) or actor_for(db, role)
    if step.permission not in GRANTS[role]:
        with pytest.raises(NotPermitted):
            advance(db, actor, WORKFLOW, disbursement, step.action, reason="x")
    elif state not in step.sources:
        with pytest.raises(Conflict):
            advance(db, actor, WORKFLOW, disbursement, step.action, reason="x")
    else:
        advance(db, actor, WORKFLOW, disbursement, step.action, reason="x")
        assert disbursement.state == step.target


def _race(database: Database, works: list[Callable[[Session], object]]) -> list[DomainError]:
    start = threading.Barrier(len(works))
    refused: list[DomainError] = []

    def run(work: Callable[[Session], object]) -> None:
        start.wait()
        try:
            with database.write() as db:
                work(db)
        except DomainError as error:
            refused.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused


@pytest.mark.race
class TestRaces:
    def test_money_through_the_bureau_and_a_direct_log_exclude_each_other(
        self, fresh_database: Database
    ) -> None:
        with fresh_database.write() as db:
            on = scene(db)
            finance = actor_for(db, Role.FINANCE)
            money = create_remittance(db, finance, on.agreement.sponsor_id).id
            voucher = create_voucher(db, on.agreement.sponsor_id)
        refused = _race(
            fresh_database,
            [
                lambda db: allocations.allocate(
                    db, finance, db.get_one(Remittance, money), db.get_one(Instalment, on.instalment.id), 60_000
                ),
                lambda db: disbursements.log(
                    db, on.sponsor, db.get_one(Instalment, on.instalment.id), on.agreement,
                    handed_on=clock.today(), amount_fen=60_000, voucher=voucher,
                ),
            ],
        )  # fmt: skip
        with fresh_database.read() as db:
            assert all(check.run(db).ok for check in money_checks.CHECKS)
        assert len(refused) == 1

    def test_the_way_back_and_a_log_exclude_each_other(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            on = scene(db)
            disbursements.choose_direct(db, on.sponsor, on.instalment, on.agreement)
            vouchers = [create_voucher(db, on.agreement.sponsor_id) for _ in range(3)]

        def log_it(voucher: object) -> Callable[[Session], object]:
            return lambda db: disbursements.log(
                db, on.sponsor, db.get_one(Instalment, on.instalment.id), on.agreement,
                handed_on=clock.today(), amount_fen=60_000, voucher=voucher,
            )  # type: ignore[arg-type] # fmt: skip

        _race(
            fresh_database,
            [
                lambda db: disbursements.choose_bureau(
                    db, on.sponsor, db.get_one(Instalment, on.instalment.id), on.agreement
                ),
                *(log_it(voucher) for voucher in vouchers),
            ],
        )
        with fresh_database.read() as db:
            assert db.scalar(select(func.count()).select_from(DirectDisbursement)) == 1
            assert db.scalar(select(Instalment.way).where(Instalment.id == on.instalment.id)) == "direct"
            assert all(check.run(db).ok for check in money_checks.CHECKS)

    def test_confirmed_or_withdrawn_but_not_both(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            on = scene(db)
            key = log(db, on).id
        refused = _race(
            fresh_database,
            [
                lambda db: disbursements.confirm(db, on.school, db.get_one(DirectDisbursement, key)),
                lambda db: disbursements.confirm(db, on.school, db.get_one(DirectDisbursement, key)),
                lambda db: disbursements.withdraw(db, on.sponsor, db.get_one(DirectDisbursement, key)),
            ],
        )
        with fresh_database.read() as db:
            assert all(check.run(db).ok for check in money_checks.CHECKS)
        assert len(refused) == 2


def test_the_school_finds_the_child_by_the_code_and_only_its_own(db: Session) -> None:
    from app.sponsorship.disbursement_lists import expected_at_desk

    on = scene(db)
    create_agreement(db)
    code = on.agreement.desk_code
    assert [row.desk_code for row in expected_at_desk(db, on.school, code=code.lower())] == [code, code]
    assert expected_at_desk(db, on.school) == []
    disbursements.choose_direct(db, on.sponsor, on.instalment, on.agreement)
    assert len(expected_at_desk(db, on.school)) == 1
    stranger = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
    assert expected_at_desk(db, stranger, code=code) == []


def test_the_students_page_lists_each_instalment_for_those_in_whose_scope_the_place_is(db: Session) -> None:
    from app.sponsorship.student_instalments import rows_of_student

    on = scene(db)
    student = db.get_one(Place, on.agreement.place_id).student_id
    disbursement = log(db, on)
    rows = rows_of_student(db, on.school, student)
    assert [(row.amount_fen, row.href) for row in rows] == [
        (60_000, f"/disbursements/{disbursement.public_id}"), (60_000, "")
    ]  # fmt: skip
    assert rows_of_student(db, actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db)), student) == []
    assert rows_of_student(db, on.sponsor, student) == []
