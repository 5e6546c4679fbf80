"""Remittances: booked once, allocated within both caps, refunded only from what is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError, Invalid, NotFound, NotPermitted
from app.db import Database
from app.ledger.models import Book, Entry, Posting
from app.payouts.models import Payable
from app.sponsorship import (
    agreements,
    allocations,
    disbursements,
    money_checks,
    remittance_lists,
    remittances,
)
from app.sponsorship.models import Agreement, Allocation, Instalment, Remittance, Sponsor
from app.sponsorship.references import grouped
from tests.factories import actor_for
from tests.money import create_agreement, create_remittance, create_sponsor


def balances(db: Session, sponsor_id: int) -> dict[str, int]:
    rows = db.execute(
        select(Posting.book, func.sum(Posting.amount_fen))
        .where(Posting.sponsor_id == sponsor_id)
        .group_by(Posting.book)
    )
    return {book: int(fen) for book, fen in rows}


def all_hold(db: Session) -> bool:
    db.flush()
    return all(check.run(db).ok for check in money_checks.CHECKS)


def record(db: Session, finance: Actor, **given: object) -> Remittance:
    values = {"payer_name": "甲", "received_on": clock.today(), "amount_fen": 60_000, "bank_reference": "R1"}
    return remittances.record_remittance(db, finance, **(values | given))  # type: ignore[arg-type]


def test_sponsors_are_offered_in_the_order_in_which_their_names_are_spoken(db: Session) -> None:
    for name in ("张慧", "白云", "安宁"):
        create_sponsor(db, name=name)
    found = remittance_lists.sponsor_options(db, actor_for(db, Role.FINANCE))
    assert [name for _, name in found if name in ("张慧", "白云", "安宁")] == ["安宁", "白云", "张慧"]


class TestRecord:
    def test_the_payment_reference_finds_sponsor_and_agreement_as_people_type_it(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        typed = f"助学 {grouped(agreement.payment_reference).lower().replace('0', 'o').replace('1', 'i')}"
        remittance = record(db, finance, payment_reference=typed, bank_reference=" ab 12 ")
        assert remittance.sponsor_id == agreement.sponsor_id
        assert remittance.payment_reference == agreement.payment_reference
        assert remittance.bank_reference == "AB12"
        assert balances(db, agreement.sponsor_id) == {Book.BANK: 60_000, Book.UNALLOCATED: -60_000}
        assert all_hold(db)

    def test_the_same_bank_reference_is_booked_once_and_told_so(self, db: Session) -> None:
        finance, sponsor = actor_for(db, Role.FINANCE), create_sponsor(db)
        record(db, finance, sponsor=sponsor, bank_reference="R 7")
        with pytest.raises(Conflict, match="booked before") as refused:
            record(db, finance, sponsor=sponsor, bank_reference="r7")
        assert "bank_reference" in refused.value.fields
        assert db.scalar(select(func.count()).select_from(Entry)) == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("received_on", clock.today() + timedelta(days=30)),
            ("received_on", clock.today().replace(year=1999)),
            ("amount_fen", 0),
            ("amount_fen", -1),
            ("payer_name", " "),
            ("payer_name", "x" * 121),
            ("bank_reference", " "),
            ("bank_reference", "x" * 61),
        ],
    )
    def test_what_cannot_be_is_refused_beside_its_field(self, db: Session, field: str, value: object) -> None:
        finance, sponsor = actor_for(db, Role.FINANCE), create_sponsor(db)
        with pytest.raises(Invalid) as refused:
            record(db, finance, sponsor=sponsor, **{field: value})
        assert list(refused.value.fields) == ["amount" if field == "amount_fen" else field]
        assert db.scalar(select(func.count()).select_from(Remittance)) == 0

    def test_without_a_known_reference_the_sponsor_is_chosen_by_hand(self, db: Session) -> None:
        finance = actor_for(db, Role.FINANCE)
        for typed in ("", "0000000001", "捐款"):
            with pytest.raises(Invalid) as refused:
                record(db, finance, payment_reference=typed)
            assert "sponsor" in refused.value.fields
        assert (
            record(db, finance, payment_reference="捐款", sponsor=create_sponsor(db)).payment_reference
            == "捐款"
        )

    def test_a_reference_of_one_sponsor_and_the_name_of_another_is_refused(self, db: Session) -> None:
        with pytest.raises(Invalid, match="another look"):
            record(db, actor_for(db, Role.FINANCE), sponsor=create_sponsor(db),
                   payment_reference=create_agreement(db).payment_reference)  # fmt: skip

    def test_money_of_a_sponsor_who_is_not_approved_is_refused(self, db: Session) -> None:
        with pytest.raises(Invalid):
            record(db, actor_for(db, Role.FINANCE), sponsor=create_sponsor(db, state="pending"))

    def test_only_finance_records(self, db: Session) -> None:
        sponsor = create_sponsor(db)
        for role in (Role.CITY_OFFICER, Role.AUDITOR, Role.RELEASER):
            with pytest.raises(NotPermitted):
                record(db, actor_for(db, role), sponsor=sponsor)

    def test_a_sponsor_reaches_no_remittance_of_another(self, db: Session) -> None:
        remittance = record(db, actor_for(db, Role.FINANCE), sponsor=create_sponsor(db))
        with pytest.raises(NotFound):
            remittances.get_remittance(
                db, actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id), remittance.public_id
            )


class TestAllocate:
    def test_part_of_a_remittance_then_the_rest_makes_the_instalment_payable_once(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        first = agreements.instalments_of(db, agreement)[0]
        remittance = create_remittance(db, finance, agreement.sponsor_id, 70_000)
        allocations.allocate(db, finance, remittance, first, 20_000)
        assert db.scalar(select(func.count()).select_from(Payable)) == 0
        allocations.allocate(db, finance, remittance, first, 40_000)
        payable = db.scalars(select(Payable)).one()
        assert (payable.source_kind, payable.source_id, payable.amount_fen) == (
            "instalment",
            first.id,
            60_000,
        )
        assert (payable.sponsor_id, payable.term, payable.due_on) == (
            agreement.sponsor_id,
            first.term,
            first.due_on,
        )
        assert (remittance.allocated_fen, first.allocated_fen) == (60_000, 60_000)
        assert balances(db, agreement.sponsor_id) == {
            Book.BANK: 70_000, Book.UNALLOCATED: -10_000, Book.ALLOCATED: -60_000
        }  # fmt: skip
        assert all_hold(db)

    def test_neither_side_takes_more_than_there_is(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        first, second = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, finance, agreement.sponsor_id, 70_000)
        with pytest.raises(Conflict, match="still open"), db.begin_nested():
            allocations.allocate(db, finance, remittance, first, 60_001)
        allocations.allocate(db, finance, remittance, first, 60_000)
        with pytest.raises(Conflict, match="is left"), db.begin_nested():
            allocations.allocate(db, finance, remittance, second, 10_001)
        for amount in (0, -5):
            with pytest.raises(Invalid):
                allocations.allocate(db, finance, remittance, second, amount)
        assert all_hold(db)

    def test_money_never_goes_to_an_instalment_of_somebody_else(self, db: Session) -> None:
        finance = actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, finance, create_sponsor(db).id)
        other = agreements.instalments_of(db, create_agreement(db))[0]
        with pytest.raises(Conflict, match="another sponsor"):
            allocations.allocate(db, finance, remittance, other, 1)

    def test_nothing_is_allocated_on_the_direct_way_or_after_the_end(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        first, second = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, finance, agreement.sponsor_id, 120_000)
        sponsor = actor_for(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
        disbursements.choose_direct(db, sponsor, first, agreement)
        with pytest.raises(Conflict, match="hands this instalment over"), db.begin_nested():
            allocations.allocate(db, finance, remittance, first, 1)
        agreements.end_agreement(db, actor_for(db, Role.CITY_OFFICER), agreement, reason="moved")
        with pytest.raises(Conflict, match="has ended"), db.begin_nested():
            allocations.allocate(db, finance, remittance, second, 1)
        db.refresh(remittance)
        assert remittance.allocated_fen == 0

    def test_many_at_once_are_all_allocated_or_none(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        first, second = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, finance, agreement.sponsor_id, 100_000)
        with pytest.raises(Conflict), db.begin_nested():
            allocations.allocate_many(db, finance, remittance, [(second.id, 60_000), (first.id, 60_000)])
        assert db.scalar(select(func.count()).select_from(Allocation)) == 0
        made = allocations.allocate_many(
            db, finance, remittance, [(second.id, 40_000), (first.id, 60_000), (first.id, 0)]
        )
        assert [part.instalment_id for part in made] == [first.id, second.id]
        assert all_hold(db)

    def test_the_database_itself_refuses_more(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, finance, agreement.sponsor_id)
        instalment = agreements.instalments_of(db, agreement)[0]
        for change in (
            update(Remittance).where(Remittance.id == remittance.id).values(allocated_fen=60_001),
            update(Instalment).where(Instalment.id == instalment.id).values(allocated_fen=60_001),
            update(Instalment).where(Instalment.id == instalment.id).values(way="direct", allocated_fen=1),
        ):
            with pytest.raises(IntegrityError), db.begin_nested():
                db.execute(change)


class TestPropose:
    def test_the_agreement_named_comes_first_then_the_oldest_due(self, db: Session) -> None:
        finance, sponsor = actor_for(db, Role.FINANCE), create_sponsor(db)
        with clock.frozen(clock.today() - timedelta(days=20)):
            older = create_agreement(db, sponsor=sponsor)
        named = create_agreement(db, sponsor=sponsor)
        create_agreement(db)
        proposed = allocations.propose(db, finance, sponsor.id, 130_000, first=named)
        assert [(p.agreement_number, p.amount_fen) for p in proposed] == [
            (named.number, 60_000), (named.number, 60_000), (older.number, 10_000), (older.number, 0)
        ]  # fmt: skip
        proposed = allocations.propose(db, finance, sponsor.id, 70_000)
        assert [p.due_on for p in proposed] == sorted(p.due_on for p in proposed)
        assert [p.amount_fen for p in proposed] == [60_000, 10_000, 0, 0]


class TestRefund:
    def test_what_is_left_goes_back_in_steps_and_never_more(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, finance, agreement.sponsor_id, 100_000)
        allocations.allocate(db, finance, remittance, agreements.instalments_of(db, agreement)[0], 60_000)
        remittances.refund(db, finance, remittance, 15_000, reason="paid too much")
        remittances.refund(db, finance, remittance, 15_000, reason="paid too much")
        with pytest.raises(Conflict, match="not been allocated"):
            remittances.refund(db, finance, remittance, 10_001, reason="again")
        assert remittance.refunded_fen == 30_000
        assert balances(db, agreement.sponsor_id)[Book.UNALLOCATED] == -10_000
        assert all_hold(db)

    def test_it_needs_a_reason_an_amount_and_finance(self, db: Session) -> None:
        finance = actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, finance, create_sponsor(db).id)
        with pytest.raises(Invalid) as refused:
            remittances.refund(db, finance, remittance, 0, reason=" ")
        assert set(refused.value.fields) == {"amount", "reason"}
        with pytest.raises(NotPermitted):
            remittances.refund(db, actor_for(db, Role.CITY_OFFICER), remittance, 1, reason="x")


class TestInvariants:
    def test_checks_find_a_sum_that_was_tampered_with(self, db: Session) -> None:
        agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, finance, agreement.sponsor_id)
        db.flush()
        db.execute(update(Remittance).values(allocated_fen=1))
        results = {check.code: check.run(db) for check in money_checks.CHECKS}
        assert results["sponsorship.allocations"].detail == f"remittance {remittance.public_id}"
        db.execute(update(Remittance).values(allocated_fen=0, amount_fen=60_001))
        results = {check.code: check.run(db) for check in money_checks.CHECKS}
        assert results["sponsorship.sponsors"].detail == f"sponsor {agreement.sponsor_id}: 0.01"
        db.execute(update(Remittance).values(amount_fen=60_000))
        db.execute(update(Instalment).values(allocated_fen=Instalment.amount_fen))
        assert not {c.code: c.run(db) for c in money_checks.CHECKS}["sponsorship.payables"].ok


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
    def test_the_same_yuan_is_allocated_once(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            sponsor = create_sponsor(db)
            open_ = [
                agreements.instalments_of(db, create_agreement(db, sponsor=sponsor))[0].id for _ in range(6)
            ]
            finance = actor_for(db, Role.FINANCE)
            money = create_remittance(db, finance, sponsor.id, 120_000).id

        def work(key: int) -> Callable[[Session], object]:
            return lambda db: allocations.allocate(
                db, finance, db.get_one(Remittance, money), db.get_one(Instalment, key), 60_000
            )

        refused = _race(fresh_database, [work(key) for key in open_])
        with fresh_database.read() as db:
            assert db.get_one(Remittance, money).allocated_fen == 120_000
            assert db.scalar(select(func.count()).select_from(Payable)) == 2
            assert all(check.run(db).ok for check in money_checks.CHECKS)
        assert len(refused) == 4

    def test_the_same_instalment_is_filled_once(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
            key = agreements.instalments_of(db, agreement)[0].id
            money = [create_remittance(db, finance, agreement.sponsor_id, 40_000).id for _ in range(6)]

        def work(remittance: int) -> Callable[[Session], object]:
            return lambda db: allocations.allocate(
                db, finance, db.get_one(Remittance, remittance), db.get_one(Instalment, key), 30_000
            )

        refused = _race(fresh_database, [work(remittance) for remittance in money])
        with fresh_database.read() as db:
            assert db.get_one(Instalment, key).allocated_fen == 60_000
            assert db.scalar(select(func.count()).select_from(Payable)) == 1
            assert all(check.run(db).ok for check in money_checks.CHECKS)
        assert len(refused) == 4

    def test_refund_and_allocation_of_the_same_money_exclude_each_other(
        self, fresh_database: Database
    ) -> None:
        with fresh_database.write() as db:
            agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
            key = agreements.instalments_of(db, agreement)[0].id
            money = create_remittance(db, finance, agreement.sponsor_id).id
        refused = _race(
            fresh_database,
            [
                lambda db: remittances.refund(db, finance, db.get_one(Remittance, money), 60_000, reason="x"),
                lambda db: allocations.allocate(
                    db, finance, db.get_one(Remittance, money), db.get_one(Instalment, key), 60_000
                ),
            ],
        )
        with fresh_database.read() as db:
            assert all(check.run(db).ok for check in money_checks.CHECKS)
        assert len(refused) == 1

    def test_one_bank_reference_recorded_by_two_is_booked_once(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            sponsor, finance = create_sponsor(db).id, actor_for(db, Role.FINANCE)
        refused = _race(
            fresh_database,
            [lambda db: record(db, finance, sponsor=db.get_one(Sponsor, sponsor), bank_reference="S1")] * 4,
        )
        with fresh_database.read() as db:
            assert db.scalar(select(func.count()).select_from(Remittance)) == 1
        assert len(refused) == 3

    def test_control_reading_comparing_and_writing_would_allocate_twice(
        self, fresh_database: Database
    ) -> None:
        """The same race with the guard left out: without the conditional update both would win."""
        with fresh_database.write() as db:
            agreement, finance = create_agreement(db), actor_for(db, Role.FINANCE)
            money = create_remittance(db, finance, agreement.sponsor_id).id
            first, second = (i.id for i in agreements.instalments_of(db, agreement))
        both_have_read = threading.Barrier(2)
        won = []

        def naive(key: int) -> None:
            with fresh_database.read() as db:
                left = db.scalar(
                    select(Remittance.amount_fen - Remittance.allocated_fen).where(Remittance.id == money)
                )
            both_have_read.wait()
            if left is not None and left >= 60_000:
                with fresh_database.write() as db:
                    db.execute(update(Instalment).where(Instalment.id == key).values(allocated_fen=60_000))
                won.append(key)

        threads = [threading.Thread(target=naive, args=(key,)) for key in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with fresh_database.read() as db:
            assert sorted(won) == [first, second]
            results = {check.code: check.run(db).ok for check in money_checks.CHECKS}
            assert not results["sponsorship.allocations"]
            assert db.get_one(Agreement, agreement.id).yearly_fen == 120_000
