"""A batch goes through four pairs of hands, and every other way is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.i18n import use_locale
from app.ledger.models import Entry, Posting
from app.payouts import batches
from app.payouts.checks import CHECKS
from app.payouts.models import BatchState, LineState, Payable, PayableState, PayoutBatch, PayoutLine
from app.payouts.payables import add_payable, cancel_payable
from app.payouts.workflow import BATCH
from tests.factories import (
    COUNTY,
    OTHER_COUNTY,
    actor_for,
    create_bank_account,
    create_school,
    create_student,
)
from tests.payouts import Team, create_batch, create_payable, create_team, lines_of, pay


def said(refusal: pytest.ExceptionInfo[Conflict] | pytest.ExceptionInfo[Invalid]) -> str:
    with use_locale("en"):
        return str(refusal.value.message)


def assert_sound(db: Session) -> None:
    db.flush()
    wrong = {check.code: check.run(db).detail for check in CHECKS if not check.run(db).ok}
    assert not wrong


def book(db: Session, name: str) -> int:
    return int(
        db.scalar(select(func.coalesce(func.sum(Posting.amount_fen), 0)).where(Posting.book == name)) or 0
    )


class TestPayables:
    def test_a_source_is_payable_once(self, db: Session) -> None:
        payable = create_payable(db)
        values = {
            name: getattr(payable, name)
            for name in ("source_kind", "source_id", "student_id", "authority_code", "school_id", "sponsor_id",
                         "introduction_id", "amount_fen", "term", "due_on")
        }  # fmt: skip
        with pytest.raises(Conflict) as refusal:
            add_payable(db, actor_for(db, Role.FINANCE), **values)
        assert "already" in said(refusal)

    def test_an_amount_of_zero_is_refused(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(Invalid) as refusal:
            add_payable(
                db, actor_for(db, Role.FINANCE), source_kind="test", source_id=1, student_id=student.id,
                authority_code=student.authority_code, school_id=student.school_id, sponsor_id=None,
                introduction_id=None, amount_fen=0, term="2026-A", due_on=clock.today(),
            )  # fmt: skip
        assert "¥0.00 cannot be paid" in said(refusal)

    def test_only_an_open_payable_can_be_taken_back(self, db: Session) -> None:
        team = create_team(db)
        payable = create_payable(db)
        create_batch(db, team, payables=[payable])
        with pytest.raises(Conflict):
            cancel_payable(db, team.finance, payable, reason="money goes back")
        free = create_payable(db)
        cancel_payable(db, team.finance, free, reason="money goes back")
        assert free.state == PayableState.CANCELLED


class TestPrepare:
    def test_all_that_is_due_goes_into_the_batch(self, db: Session) -> None:
        team = create_team(db)
        due = [create_payable(db, amount_fen=amount) for amount in (60_000, 50_000)]
        later = create_payable(db, due_on=clock.today() + timedelta(days=1))
        batch = batches.prepare(db, team.officer)
        assert (batch.line_count, batch.total_fen, batch.state) == (2, 110_000, "prepared")
        assert {payable.state for payable in due} == {"batched"}
        assert later.state == "open"
        assert [line.amount_fen for line in lines_of(db, batch)] == [60_000, 50_000]
        assert_sound(db)

    def test_numbers_and_references_can_be_typed_and_do_not_repeat(self, db: Session) -> None:
        team = create_team(db)
        first, second = create_batch(db, team, lines=2), create_batch(db, team)
        year = clock.today().year
        assert (first.number, second.number) == (f"P{year}0001", f"P{year}0002")
        references = [line.reference for batch in (first, second) for line in lines_of(db, batch)]
        assert len(set(references)) == 3
        assert all(reference.isalnum() and reference.isupper() for reference in references)

    def test_an_empty_batch_is_refused(self, db: Session) -> None:
        with pytest.raises(Invalid) as refusal:
            batches.prepare(db, actor_for(db, Role.CITY_OFFICER))
        assert "An empty batch cannot be prepared" in said(refusal)
        with pytest.raises(Invalid):
            batches.prepare(db, actor_for(db, Role.CITY_OFFICER), [])

    def test_a_batch_of_nothing_but_refused_payables_is_empty_too(self, db: Session) -> None:
        student = create_student(db, with_account=False)
        create_payable(db, student=student)
        with pytest.raises(Invalid) as refusal:
            batches.prepare(db, actor_for(db, Role.CITY_OFFICER))
        assert "1 payable is held back" in said(refusal)

    def test_what_the_gate_refuses_is_left_out_of_all_and_blocks_a_choice(self, db: Session) -> None:
        team = create_team(db)
        good, bad = create_payable(db), create_payable(db, student=create_student(db, with_account=False))
        with pytest.raises(Conflict) as refusal:
            batches.prepare(db, team.officer, [good.id, bad.id])
        assert "No bank account is on record" in said(refusal)
        batch = batches.prepare(db, team.officer)
        assert [line.payable_id for line in lines_of(db, batch)] == [good.id]
        assert bad.state == "open"

    def test_a_payable_is_in_one_batch_only(self, db: Session) -> None:
        team = create_team(db)
        payable = create_payable(db)
        create_batch(db, team, payables=[payable])
        with pytest.raises(Conflict):
            batches.prepare(db, team.officer, [payable.id])

    def test_the_database_itself_refuses_a_second_live_line(self, db: Session) -> None:
        line = lines_of(db, create_batch(db, create_team(db)))[0]
        copy = {column.name: getattr(line, column.name) for column in PayoutLine.__table__.columns}
        copy |= {"public_id": "x", "line_no": 2, "reference": "OTHER"}
        del copy["id"]
        with pytest.raises(IntegrityError), db.begin_nested():
            db.execute(insert(PayoutLine).values(copy))

    def test_somebody_can_be_held_back(self, db: Session) -> None:
        team = create_team(db)
        first, second = create_payable(db), create_payable(db)
        batch = batches.prepare(db, team.officer, leave_out=[first.id])
        assert [line.payable_id for line in lines_of(db, batch)] == [second.id]

    def test_a_batch_other_than_the_one_on_the_page_is_refused(self, db: Session) -> None:
        team = create_team(db)
        create_payable(db)
        create_payable(db)
        with pytest.raises(Conflict) as refusal:
            batches.prepare(db, team.officer, expected=(1, 60_000))
        assert "2 lines, ¥1,200.00" in said(refusal)
        assert batches.prepare(db, team.officer, expected=(2, 120_000)).line_count == 2

    @pytest.mark.parametrize(
        "role", [role for role in Role if role not in (Role.CITY_OFFICER, Role.SPONSOR)], ids=str
    )
    def test_only_the_city_officer_prepares(self, db: Session, role: Role) -> None:
        payable = create_payable(db)
        with pytest.raises(NotPermitted):
            batches.prepare(db, actor_for(db, role), [payable.id])

    def test_money_of_two_special_accounts_takes_two_batches(self, db: Session) -> None:
        from app.sponsorship.models import Agreement, Instalment
        from tests.money import create_receiving_account

        team = create_team(db)
        create_payable(db)
        other = create_payable(db)
        second = create_receiving_account(db, holder="乙市慈善总会", number="9906600000000000456")
        db.execute(
            update(Agreement)
            .where(Agreement.id.in_(select(Instalment.agreement_id).where(Instalment.id == other.source_id)))
            .values(receiving_account_id=second.id)
        )  # fmt: skip
        with pytest.raises(Conflict) as refusal:
            batches.prepare(db, team.officer)
        assert "different special accounts" in said(refusal)


ACTIONS = [step.action for step in BATCH.transitions]


def _take(db: Session, team: Team, batch: PayoutBatch, action: str, actor: Actor | None = None) -> None:
    actor = actor or team.of(action)
    if action in ("send-back", "refuse", "cancel"):
        batches.send_back(db, actor, batch, reason="a line is wrong", action=action)
    else:
        {"check": batches.check, "release": batches.release, "reconcile": batches.reconcile}[action](
            db, actor, batch
        )


class TestSteps:
    @pytest.mark.parametrize("state", list(BatchState), ids=str)
    @pytest.mark.parametrize("action", ACTIONS)
    def test_each_action_in_each_state(self, db: Session, action: str, state: BatchState) -> None:
        team = create_team(db)
        batch = create_batch(db, team, state)
        step = BATCH.transition(action)
        if action == "reconcile" and state is BatchState.RELEASED:
            pay(db, team, batch)
        if state in step.sources:
            _take(db, team, batch, action)
            assert batch.state == step.target
        else:
            with pytest.raises(Conflict):
                _take(db, team, batch, action)
            assert batch.state == state
        assert_sound(db)

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.SPONSOR], ids=str)
    def test_each_action_is_one_role_s(self, db: Session, action: str, role: Role) -> None:
        team = create_team(db)
        step = BATCH.transition(action)
        batch = create_batch(db, team, BatchState(next(iter(step.sources))))
        if action == "reconcile":
            pay(db, team, batch)
        actor = actor_for(db, role, **({"authority": COUNTY} if role.value.startswith("county") else {}))
        if actor.may(step.permission or ""):
            _take(db, team, batch, action, actor)
            assert batch.state == step.target
        else:
            with pytest.raises(NotPermitted):
                _take(db, team, batch, action, actor)

    def test_the_four_persons_and_their_times_are_kept(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RECONCILED)
        db.expire(batch)
        assert (batch.prepared_by, batch.checked_by, batch.released_by, batch.reconciled_by) == (
            team.officer.person_id, team.reviewer.person_id, team.releaser.person_id, team.finance.person_id,
        )  # fmt: skip
        assert batch.prepared_at <= batch.checked_at <= batch.released_at <= batch.reconciled_at

    @pytest.mark.parametrize("action", ["send-back", "refuse", "cancel"])
    def test_a_batch_that_is_sent_back_frees_its_payables(self, db: Session, action: str) -> None:
        team = create_team(db)
        payable = create_payable(db)
        batch = create_batch(
            db, team, BatchState.CHECKED if action == "refuse" else BatchState.PREPARED, payables=[payable]
        )
        _take(db, team, batch, action)
        db.refresh(payable)
        assert (batch.state, batch.reason, payable.state) == ("cancelled", "a line is wrong", "open")
        assert [line.state for line in lines_of(db, batch)] == [LineState.CANCELLED]
        again = create_batch(db, team, BatchState.RECONCILED, payables=[payable])
        assert again.total_fen == payable.amount_fen
        assert_sound(db)

    @pytest.mark.parametrize("action", ["send-back", "refuse", "cancel"])
    def test_sending_back_needs_a_reason(self, db: Session, action: str) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.CHECKED if action == "refuse" else BatchState.PREPARED)
        with pytest.raises(Invalid):
            batches.send_back(db, team.of(action), batch, reason=" ", action=action)
        assert batch.state != "cancelled"

    def test_a_released_batch_is_in_the_ledger_line_by_line(self, db: Session) -> None:
        team = create_team(db)
        before = book(db, "bank")
        batch = create_batch(db, team, BatchState.RELEASED, lines=2)
        assert book(db, "in_transit") == -batch.total_fen
        assert book(db, "allocated") == 0
        assert book(db, "bank") - before == batch.total_fen  # what came in, nothing of it gone yet
        line = lines_of(db, batch)[0]
        payable = db.get_one(Payable, line.payable_id)
        row = db.execute(
            select(Posting.sponsor_id, Posting.introduction_id, Posting.instalment_id, Entry.source_ref)
            .join(Entry, Entry.id == Posting.entry_id)
            .where(Posting.line_id == line.id, Posting.book == "in_transit")
        ).one()
        assert tuple(row) == (
            payable.sponsor_id, payable.introduction_id, payable.source_id, f"release:{line.public_id}",
        )  # fmt: skip
        assert_sound(db)

    def test_a_batch_is_not_reconciled_while_a_line_has_no_result(self, db: Session) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=2)
        with pytest.raises(Conflict) as refusal:
            batches.reconcile(db, team.finance, batch)
        assert "2 lines have no final result" in said(refusal)


_STAMPS = ("prepared", "checked", "released", "reconciled")


class TestOnePersonTwoDuties:
    """All orders of two duties by one person, by the same account's person and by a second account."""

    DUTIES = ("prepare", "check", "release", "reconcile")
    ROLES = (Role.CITY_OFFICER, Role.CITY_REVIEWER, Role.RELEASER, Role.FINANCE)

    @pytest.mark.parametrize(
        ("first", "second"), [(a, b) for a in range(4) for b in range(a + 1, 4)], ids=str
    )
    def test_a_second_account_of_the_same_person_is_refused(
        self, db: Session, first: int, second: int
    ) -> None:
        person = Person(name="一人两职")
        db.add(person)
        db.flush()
        actors = [
            actor_for(db, role, person=person if place in (first, second) else None)
            for place, role in enumerate(self.ROLES)
        ]
        assert actors[first].account_id != actors[second].account_id
        team = Team(*actors)
        batch = batches.prepare(db, team.officer, [create_payable(db).id])
        steps = [batches.check, batches.release, batches.reconcile]
        for place, step in enumerate(steps, 1):
            if place == 3:
                pay(db, create_team(db), batch)
            if place == second:
                with pytest.raises(Conflict) as refusal:
                    step(db, actors[place], batch)
                assert "Another person must take this step" in said(refusal)
                return
            step(db, actors[place], batch)

    @pytest.mark.parametrize(
        ("one", "other"),
        [(a, b) for a in _STAMPS for b in _STAMPS if a < b],
    )  # fmt: skip
    def test_the_database_itself_refuses_it(self, db: Session, one: str, other: str) -> None:
        batch = create_batch(db, create_team(db), BatchState.RECONCILED)
        same = getattr(batch, f"{one}_by")
        with pytest.raises(IntegrityError, match="four_persons"), db.begin_nested():
            db.execute(update(PayoutBatch).where(PayoutBatch.id == batch.id).values({f"{other}_by": same}))

    def test_four_people_are_let_through(self, db: Session) -> None:
        assert create_batch(db, create_team(db), BatchState.RECONCILED).state == "reconciled"


class TestLookAgainAtTheRelease:
    def test_an_account_changed_after_the_preparation_stops_the_release(self, db: Session) -> None:
        team = create_team(db)
        student = create_student(db)
        batch = create_batch(db, team, BatchState.CHECKED, payables=[create_payable(db, student=student)])
        db.execute(
            text("UPDATE bank_account SET valid_to = valid_from WHERE student_id = :id"), {"id": student.id}
        )
        create_bank_account(db, student)
        with pytest.raises(Conflict) as refusal:
            batches.release(db, team.releaser, batch)
        assert "line 1: The account was changed after the batch was prepared" in said(refusal).replace(
            "Line", "line"
        )
        assert batch.state == "checked"
        assert [line.state for line in lines_of(db, batch)] == ["prepared"]

    def test_a_student_who_left_since_stops_the_release(self, db: Session) -> None:
        team = create_team(db)
        student = create_student(db)
        batch = create_batch(db, team, BatchState.CHECKED, payables=[create_payable(db, student=student)])
        student.study_state = "06"
        db.flush()
        with pytest.raises(Conflict) as refusal:
            batches.release(db, team.releaser, batch)
        assert "no longer attends school" in said(refusal)


class TestScope:
    def test_a_county_sees_the_batches_with_a_line_of_its_own(self, db: Session) -> None:
        team = create_team(db)
        there = create_school(db, authority=OTHER_COUNTY)
        batch = create_batch(
            db, team, payables=[create_payable(db, student=create_student(db, school=there))]
        )
        assert (
            batches.get_batch(db, actor_for(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY), batch.public_id)
            is batch
        )
        with pytest.raises(NotFound):
            batches.get_batch(db, actor_for(db, Role.COUNTY_OFFICER, authority=COUNTY), batch.public_id)
        with pytest.raises(NotPermitted):
            batches.get_batch(db, actor_for(db, Role.SCHOOL_OFFICER, school=there), batch.public_id)
