"""Allocations taken back: the money moves again, as long as none of it went towards the bank."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit import Tag
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotPermitted
from app.db import Database
from app.ledger.models import Book
from app.oversight.payouts import payouts_per_batch, unallocated
from app.oversight.wanted import EVERYTHING, Wanted
from app.payouts import batches, returns
from app.payouts.models import BatchState, Payable, PayableState, PayoutBatch
from app.payouts.payables import find_payable
from app.registry.models import Student
from app.sponsorship import agreements, allocations, claims, deallocations, disbursements, remittances
from app.sponsorship.models import Agreement, Allocation, Claim, Deallocation, Instalment, Remittance, Sponsor
from tests.factories import actor_for
from tests.invariants import at_once, balance, broken
from tests.money import create_agreement, create_remittance
from tests.payouts import create_batch, create_payable, create_team, give_back, pay


def allocated(
    db: Session, finance: Actor, *sums: int
) -> tuple[Agreement, Instalment, list[tuple[Remittance, Allocation]]]:
    """An agreement over two instalments of 600.00, with these sums allocated to the first, each of a remittance."""
    agreement = create_agreement(db)
    first = agreements.instalments_of(db, agreement)[0]
    made = []
    for fen in sums:
        remittance = create_remittance(db, finance, agreement.sponsor_id, fen)
        made.append((remittance, allocations.allocate(db, finance, remittance, first, fen)))
    return agreement, first, made


@pytest.fixture
def finance(db: Session) -> Actor:
    return actor_for(db, Role.FINANCE)


@pytest.fixture
def officer(db: Session) -> Actor:
    return actor_for(db, Role.CITY_OFFICER)


class TestWhatWasStranded:
    def test_part_of_an_instalment_is_refunded_after_the_agreement_has_ended(
        self, db: Session, finance: Actor, officer: Actor
    ) -> None:
        agreement, first, [(remittance, allocation)] = allocated(db, finance, 30_000)
        claims.end(db, officer, db.get_one(Claim, agreement.claim_id), reason="moved away")
        with pytest.raises(Conflict):
            remittances.refund(db, finance, remittance, 30_000, reason="ended")
        assert deallocations.left_over(db, agreement) == 30_000
        assert deallocations.deallocate(db, finance, allocation, reason="ended") == 30_000
        assert deallocations.left_over(db, agreement) == 0
        assert (remittance.allocated_fen, first.allocated_fen) == (0, 0)
        assert balance(db, Book.UNALLOCATED, agreement.sponsor_id) == 30_000
        assert balance(db, Book.ALLOCATED, agreement.sponsor_id) == 0
        assert broken(db) == []
        remittances.refund(db, finance, remittance, 30_000, reason="ended")
        assert balance(db, Book.BANK, agreement.sponsor_id) == 0
        assert broken(db) == []

    def test_the_money_of_a_child_who_has_left_goes_to_another(
        self, db: Session, finance: Actor, officer: Actor
    ) -> None:
        payable = create_payable(db)
        db.get_one(Student, payable.student_id).study_state = "07"
        instalment = db.get_one(Instalment, payable.source_id)
        agreement = db.get_one(Agreement, instalment.agreement_id)
        claims.end(db, officer, db.get_one(Claim, agreement.claim_id), reason="left school")
        assert deallocations.left_over(db, agreement) == 60_000
        assert deallocations.deallocate_instalment(db, finance, instalment, reason="left") == 60_000
        assert payable.state == PayableState.CANCELLED
        assert broken(db) == []
        remittance = db.scalars(select(Remittance)).one()
        other = create_agreement(db, sponsor=db.get_one(Sponsor, agreement.sponsor_id))
        allocations.allocate(db, finance, remittance, agreements.instalments_of(db, other)[0], 60_000)
        assert broken(db) == []

    def test_the_ending_tells_what_is_left_over(self, database: Database) -> None:
        with database.write() as db:
            agreement, _, _ = allocated(db, actor_for(db, Role.FINANCE), 20_000)
            officer = actor_for(db, Role.CITY_OFFICER)
            claims.end(db, officer, db.get_one(Claim, agreement.claim_id), reason="moved away")
        with database.read() as db:
            detail = db.scalar(select(AuditEvent.detail).where(AuditEvent.tag == Tag.AGREEMENT_ENDED))
            assert detail is not None
            assert '"left_over_fen":20000' in detail


class TestAfterwards:
    def test_an_instalment_that_is_filled_again_is_payable_again_and_paid_once(
        self, db: Session, finance: Actor
    ) -> None:
        _, first, [(remittance, allocation)] = allocated(db, finance, 60_000)
        deallocations.deallocate(db, finance, allocation, reason="wrong child")
        allocations.allocate(db, finance, remittance, first, 60_000)
        payable = db.scalars(select(Payable).where(Payable.source_id == first.id)).one()
        assert payable.state == PayableState.OPEN
        assert broken(db) == []
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[payable])
        pay(db, team, batch)
        assert payable.state == PayableState.PAID
        assert broken(db) == []

    def test_one_of_two_remittances_is_taken_back_and_the_other_stands(
        self, db: Session, finance: Actor
    ) -> None:
        agreement, first, made = allocated(db, finance, 40_000, 20_000)
        deallocations.deallocate(db, finance, made[1][1], reason="wrong child")
        assert [remittance.allocated_fen for remittance, _ in made] == [40_000, 0]
        assert first.allocated_fen == 40_000
        assert (payable := find_payable(db, "instalment", first.id)) is not None
        assert payable.state == PayableState.CANCELLED
        assert deallocations.left_over(db, agreement) == 40_000
        assert broken(db) == []

    def test_a_whole_instalment_is_taken_back_from_all_its_remittances(
        self, db: Session, finance: Actor
    ) -> None:
        _, first, made = allocated(db, finance, 40_000, 20_000)
        assert deallocations.deallocate_instalment(db, finance, first, reason="wrong child") == 60_000
        assert [remittance.allocated_fen for remittance, _ in made] == [0, 0]
        assert broken(db) == []

    def test_all_of_one_remittance_is_taken_back_at_once_or_nothing(
        self, db: Session, finance: Actor
    ) -> None:
        agreement = create_agreement(db)
        first, second = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, finance, agreement.sponsor_id, 100_000)
        allocations.allocate_many(db, finance, remittance, [(first.id, 60_000), (second.id, 40_000)])
        payable = db.scalars(select(Payable)).one()
        batch = create_batch(db, team := create_team(db), payables=[payable])
        with pytest.raises(Conflict, match="cannot be taken back"), db.begin_nested():
            deallocations.deallocate_remittance(db, finance, remittance, reason="mistyped")
        db.expire_all()
        assert remittance.allocated_fen == 100_000
        batches.send_back(db, team.reviewer, batch, reason="mistyped")
        assert deallocations.deallocate_remittance(db, finance, remittance, reason="mistyped") == 100_000
        assert (remittance.allocated_fen, first.allocated_fen, second.allocated_fen) == (0, 0, 0)
        assert broken(db) == []
        with pytest.raises(Conflict, match="Nothing of this remittance"):
            deallocations.deallocate_remittance(db, finance, remittance, reason="again")
        remittances.reverse_remittance(db, finance, remittance, reason="mistyped")
        assert broken(db) == []

    def test_a_past_day_keeps_the_figures_that_it_had(self, db: Session, finance: Actor) -> None:
        today, auditor = clock.today(), actor_for(db, Role.AUDITOR)
        with clock.frozen(clock.now() - timedelta(days=3)):
            agreement, _, [(_, allocation)] = allocated(db, finance, 60_000)
        deallocations.deallocate(db, finance, allocation, reason="wrong child")
        db.flush()
        for days, received, apart in ((2, 60_000, 0), (0, 0, 60_000)):
            wanted = Wanted(today - timedelta(days=days), sponsor=agreement.sponsor_id)
            total = payouts_per_batch(db, auditor, wanted).total
            assert (total.received, total.difference) == (received, 0)
            left = unallocated(db, EVERYTHING, wanted)
            assert left is not None
            assert (left.left, left.difference) == (apart, 0)


class TestRefusals:
    @pytest.mark.parametrize("state", [BatchState.PREPARED, BatchState.RELEASED, BatchState.RECONCILED])
    def test_what_is_in_a_batch_or_paid_stays(self, db: Session, finance: Actor, state: BatchState) -> None:
        payable = create_payable(db)
        create_batch(db, create_team(db), state, payables=[payable])
        instalment = db.get_one(Instalment, payable.source_id)
        with pytest.raises(Conflict, match="cannot be taken back"), db.begin_nested():
            deallocations.deallocate_instalment(db, finance, instalment, reason="left")
        db.expire_all()
        assert instalment.allocated_fen == 60_000
        assert db.scalar(select(func.count()).select_from(Deallocation)) == 0
        assert broken(db) == []

    def test_a_batch_that_was_sent_back_gives_it_free(self, db: Session, finance: Actor) -> None:
        payable, team = create_payable(db), create_team(db)
        batch = create_batch(db, team, payables=[payable])
        batches.send_back(db, team.reviewer, batch, reason="wrong school")
        instalment = db.get_one(Instalment, payable.source_id)
        assert deallocations.deallocate_instalment(db, finance, instalment, reason="left") == 60_000
        assert broken(db) == []

    def test_what_the_bank_sent_back_waits_to_be_paid_again(self, db: Session, finance: Actor) -> None:
        payable, team = create_payable(db), create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[payable])
        give_back(db, team, batch)
        [line] = returns.list_returned(db, team.finance)
        instalment = db.get_one(Instalment, payable.source_id)
        agreement = db.get_one(Agreement, instalment.agreement_id)
        payable.state = PayableState.OPEN  # as after the repair
        db.flush()
        assert line.amount_fen == 60_000
        assert deallocations.left_over(db, agreement) == 0
        with pytest.raises(Conflict, match="sent this money back"), db.begin_nested():
            deallocations.deallocate_instalment(db, finance, instalment, reason="left")

    def test_nothing_is_taken_back_twice(self, db: Session, finance: Actor) -> None:
        _, first, made = allocated(db, finance, 30_000, 20_000)
        deallocations.deallocate(db, finance, made[0][1], reason="wrong child")
        with pytest.raises(Conflict, match="already"), db.begin_nested():
            deallocations.deallocate(db, finance, made[0][1], reason="again")
        db.expire_all()
        assert first.allocated_fen == 20_000
        deallocations.deallocate_instalment(db, finance, first, reason="wrong child")
        with pytest.raises(Conflict, match="Nothing is allocated"):
            deallocations.deallocate_instalment(db, finance, first, reason="again")

    def test_only_finance_may_and_only_with_a_reason(
        self, db: Session, finance: Actor, officer: Actor
    ) -> None:
        _, first, [(_, allocation)] = allocated(db, finance, 30_000)
        with pytest.raises(NotPermitted):
            deallocations.deallocate(db, officer, allocation, reason="x")
        with pytest.raises(NotPermitted):
            deallocations.deallocate_instalment(db, officer, first, reason="x")
        with pytest.raises(Invalid) as refused:
            deallocations.deallocate(db, finance, allocation, reason="  ")
        assert set(refused.value.fields) == {"reason"}
        assert first.allocated_fen == 30_000


# --- Races ------------------------------------------------------------------------------------------------


@pytest.mark.race
def test_four_colleagues_take_the_same_money_back_once(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        _, first, _ = allocated(db, actor_for(db, Role.FINANCE), 40_000, 20_000)
        people = [actor_for(db, Role.FINANCE) for _ in range(4)]

    def verb(actor: Actor) -> Callable[[Session], object]:
        return lambda db: deallocations.deallocate_instalment(
            db, actor, db.get_one(Instalment, first.id), reason="ended"
        )

    assert at_once(fresh_database, [verb(actor) for actor in people]) == 1
    with fresh_database.write() as db:
        assert db.scalar(select(func.count()).select_from(Deallocation)) == 2
        assert broken(db) == []


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_money_is_taken_back_or_goes_into_a_batch_never_both(fresh_database: Database, turn: int) -> None:
    with fresh_database.write() as db:
        payable_id = (payable := create_payable(db)).id
        instalment_id = payable.source_id
        finance, team = actor_for(db, Role.FINANCE), create_team(db)

    def take_back(db: Session) -> None:
        deallocations.deallocate_instalment(db, finance, db.get_one(Instalment, instalment_id), reason="x")

    def prepare(db: Session) -> None:
        batches.prepare(db, team.officer, [payable_id])

    assert at_once(fresh_database, [take_back, prepare] if turn % 2 else [prepare, take_back]) >= 1
    with fresh_database.write() as db:
        state = db.scalar(select(Payable.state).where(Payable.id == payable_id))
        taken = db.scalar(select(func.count()).select_from(Deallocation))
        assert (state, taken) in ((PayableState.CANCELLED, 1), (PayableState.BATCHED, 0))
        assert broken(db) == []


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_a_part_is_taken_back_while_another_fills_the_instalment(fresh_database: Database, turn: int) -> None:
    """In whichever order: the child is paid once the instalment is full, and not before."""
    with fresh_database.write() as db:
        finance = actor_for(db, Role.FINANCE)
        agreement, first, [(_, part)] = allocated(db, finance, 40_000)
        other = create_remittance(db, finance, agreement.sponsor_id, 20_000)
        part_id, other_id, first_id = part.id, other.id, first.id

    def take_back(db: Session) -> None:
        deallocations.deallocate(db, finance, db.get_one(Allocation, part_id), reason="x")

    def fill(db: Session) -> None:
        allocations.allocate(
            db, finance, db.get_one(Remittance, other_id), db.get_one(Instalment, first_id), 20_000
        )

    assert at_once(fresh_database, [take_back, fill] if turn % 2 else [fill, take_back]) == 2
    with fresh_database.write() as db:
        assert db.get_one(Instalment, first_id).allocated_fen == 20_000
        assert db.scalar(select(Payable.state)) in (None, PayableState.CANCELLED)
        assert broken(db) == []


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_money_is_taken_back_or_released_never_both(fresh_database: Database, turn: int) -> None:
    with fresh_database.write() as db:
        payable = create_payable(db)
        team, finance, instalment_id = create_team(db), actor_for(db, Role.FINANCE), payable.source_id
        batch_id = create_batch(db, team, BatchState.CHECKED, payables=[payable]).id

    def take_back(db: Session) -> None:
        deallocations.deallocate_instalment(db, finance, db.get_one(Instalment, instalment_id), reason="x")

    def release(db: Session) -> None:
        batches.release(db, team.releaser, db.get_one(PayoutBatch, batch_id))

    assert at_once(fresh_database, [take_back, release] if turn % 2 else [release, take_back]) == 1
    with fresh_database.write() as db:
        assert db.scalar(select(func.count()).select_from(Deallocation)) == 0
        assert broken(db) == []


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_money_is_taken_back_while_its_batch_is_sent_back(fresh_database: Database, turn: int) -> None:
    with fresh_database.write() as db:
        payable = create_payable(db)
        team, finance, instalment_id = create_team(db), actor_for(db, Role.FINANCE), payable.source_id
        payable_id, batch_id = payable.id, create_batch(db, team, payables=[payable]).id

    def take_back(db: Session) -> None:
        deallocations.deallocate_instalment(db, finance, db.get_one(Instalment, instalment_id), reason="x")

    def send_back(db: Session) -> None:
        batches.send_back(db, team.reviewer, db.get_one(PayoutBatch, batch_id), reason="x")

    assert at_once(fresh_database, [take_back, send_back] if turn % 2 else [send_back, take_back]) >= 1
    with fresh_database.write() as db:
        taken = db.scalar(select(func.count()).select_from(Deallocation))
        state = db.scalar(select(Payable.state).where(Payable.id == payable_id))
        assert (state, taken) in ((PayableState.CANCELLED, 1), (PayableState.OPEN, 0))
        assert broken(db) == []


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_an_instalment_goes_directly_only_once_all_is_taken_back(fresh_database: Database, turn: int) -> None:
    with fresh_database.write() as db:
        finance = actor_for(db, Role.FINANCE)
        agreement, first, _ = allocated(db, finance, 40_000, 20_000)
        sponsor = actor_for(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
        first_id, agreement_id = first.id, agreement.id

    def take_back(db: Session) -> None:
        deallocations.deallocate_instalment(db, finance, db.get_one(Instalment, first_id), reason="x")

    def go_direct(db: Session) -> None:
        disbursements.choose_direct(
            db, sponsor, db.get_one(Instalment, first_id), db.get_one(Agreement, agreement_id)
        )

    assert at_once(fresh_database, [take_back, go_direct] if turn % 2 else [go_direct, take_back]) >= 1
    with fresh_database.write() as db:
        assert db.get_one(Instalment, first_id).allocated_fen == 0
        assert broken(db) == []


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_a_whole_remittance_is_taken_back_while_its_payments_are_prepared(
    fresh_database: Database, turn: int
) -> None:
    """The payables are prepared in one order and were filled in the other: nobody waits in a circle."""
    with fresh_database.write() as db:
        finance, team = actor_for(db, Role.FINANCE), create_team(db)
        agreement = create_agreement(db)
        other = create_agreement(db, sponsor=db.get_one(Sponsor, agreement.sponsor_id))
        parts = [agreements.instalments_of(db, deal)[0].id for deal in (other, agreement)]
        money = create_remittance(db, finance, agreement.sponsor_id, 120_000)
        for part in parts:
            allocations.allocate(db, finance, money, db.get_one(Instalment, part), 60_000)
        db.flush()
        due = {payable.source_id: payable.id for payable in db.scalars(select(Payable))}
        money_id, wanted = money.id, [due[part] for part in parts]

    def take_back(db: Session) -> None:
        deallocations.deallocate_remittance(db, finance, db.get_one(Remittance, money_id), reason="x")

    def prepare(db: Session) -> None:
        batches.prepare(db, team.officer, wanted)

    assert at_once(fresh_database, [take_back, prepare] if turn % 2 else [prepare, take_back]) == 1
    with fresh_database.write() as db:
        assert broken(db) == []
