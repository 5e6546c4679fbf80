"""Remittances that were mistyped: reversed with a reason, recorded again, and in no total meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit import Tag
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotPermitted
from app.db import Database
from app.ledger.models import Book, Entry
from app.oversight.payouts import unallocated
from app.oversight.wanted import EVERYTHING, Wanted
from app.sponsorship import (
    agreements,
    allocations,
    deallocations,
    money_checks,
    overview,
    remittance_lists,
    remittances,
    waiting,
)
from app.sponsorship.models import Agreement, Instalment, Remittance, Sponsor
from app.sponsorship.remittance_lists import RemittanceFilter
from tests.factories import actor_for
from tests.invariants import at_once, balance, broken
from tests.money import create_agreement, create_remittance, create_sponsor


@pytest.fixture
def finance(db: Session) -> Actor:
    return actor_for(db, Role.FINANCE)


def again(db: Session, finance: Actor, wrong: Remittance, amount_fen: int, sponsor: Sponsor) -> Remittance:
    """What the statement says, under the bank reference of what was reversed."""
    return remittances.record_remittance(
        db, finance, payer_name="乙", received_on=wrong.received_on, amount_fen=amount_fen,
        bank_reference=wrong.bank_reference, sponsor=sponsor,
    )  # fmt: skip


class TestPuttingRight:
    def test_a_mistyped_remittance_is_recorded_again_under_the_same_bank_reference(
        self, db: Session, finance: Actor
    ) -> None:
        wrong, right = create_sponsor(db), create_sponsor(db)
        remittance = create_remittance(db, finance, wrong.id, 6_000_000)
        with pytest.raises(Conflict, match="booked before"), db.begin_nested():
            again(db, finance, remittance, 60_000, right)
        remittances.reverse_remittance(db, finance, remittance, reason="two zeros too many")
        second = again(db, finance, remittance, 60_000, right)
        assert (second.bank_reference, second.sponsor_id) == (remittance.bank_reference, right.id)
        assert balance(db, Book.UNALLOCATED, wrong.id) == balance(db, Book.BANK, wrong.id) == 0
        assert balance(db, Book.UNALLOCATED, right.id) == 60_000
        assert broken(db) == []
        with pytest.raises(Conflict, match="booked before"), db.begin_nested():
            again(db, finance, remittance, 60_000, right)

    def test_it_counts_in_no_total_and_is_still_listed(self, db: Session, finance: Actor) -> None:
        sponsor = create_sponsor(db)
        stays = create_remittance(db, finance, sponsor.id, 50_000)
        remittance = create_remittance(db, finance, sponsor.id, 60_000)
        remittances.reverse_remittance(db, finance, remittance, reason="wrong payer")
        db.flush()
        found, total_fen = remittance_lists.list_remittances(db, finance, RemittanceFilter())
        assert total_fen == 50_000
        by_id = {row.public_id: row for row in found.rows}
        assert set(by_id) == {stays.public_id, remittance.public_id}
        assert by_id[remittance.public_id].reversed_on == clock.today()
        assert (by_id[remittance.public_id].left_fen, remittance.left_fen) == (0, 0)
        for state, wanted in (("open", {stays}), ("used", set()), ("reversed", {remittance})):
            found, _ = remittance_lists.list_remittances(db, finance, RemittanceFilter(state=state))
            assert {row.public_id for row in found.rows} == {one.public_id for one in wanted}
        assert overview.totals(db, finance, sponsor_id=sponsor.id).received == 50_000
        assert [item.count for item in waiting.waiting(db, finance) if "remittances" in item.href] == [1]

    def test_once_its_allocations_are_taken_back_it_can_be_reversed(
        self, db: Session, finance: Actor
    ) -> None:
        agreement = create_agreement(db)
        remittance = create_remittance(db, finance, agreement.sponsor_id)
        part = allocations.allocate(
            db, finance, remittance, agreements.instalments_of(db, agreement)[0], 60_000
        )
        with pytest.raises(Conflict, match="Take that back first"):
            remittances.reverse_remittance(db, finance, remittance, reason="wrong sponsor")
        deallocations.deallocate(db, finance, part, reason="wrong sponsor")
        remittances.reverse_remittance(db, finance, remittance, reason="wrong sponsor")
        assert broken(db) == []

    def test_a_past_day_keeps_what_it_said(self, db: Session, finance: Actor) -> None:
        today = clock.today()
        sponsor = create_sponsor(db)
        with clock.frozen(clock.now() - timedelta(days=3)):
            remittance = create_remittance(db, finance, sponsor.id, 60_000)
        remittances.reverse_remittance(db, finance, remittance, reason="wrong payer")
        db.flush()
        for days, received in ((2, 60_000), (0, 0)):
            left = unallocated(db, EVERYTHING, Wanted(today - timedelta(days=days), sponsor=sponsor.id))
            assert left is not None
            assert (left.received, left.left, left.difference) == (received, received, 0)

    def test_the_event_says_what_was_wrong_and_why(self, database: Database) -> None:
        with database.write() as db:
            finance = actor_for(db, Role.FINANCE)
            remittance = create_remittance(db, finance, create_sponsor(db).id, 60_000)
            remittances.reverse_remittance(db, finance, remittance, reason="wrong payer")
            name = remittance.public_id
        with database.read() as db:
            detail = db.scalar(
                select(AuditEvent.detail).where(
                    AuditEvent.tag == Tag.REMITTANCE_REVERSED, AuditEvent.subject == name
                )
            )
            assert detail is not None
            assert '"amount_fen":60000' in detail
            assert "wrong payer" in detail


class TestRefusals:
    def test_what_went_back_to_the_sponsor_stays(self, db: Session, finance: Actor) -> None:
        remittance = create_remittance(db, finance, create_sponsor(db).id)
        remittances.refund(db, finance, remittance, 1_000, reason="too much")
        with pytest.raises(Conflict, match="of this remittance went back"):
            remittances.reverse_remittance(db, finance, remittance, reason="wrong payer")
        assert broken(db) == []

    def test_nothing_of_it_is_used_afterwards_nor_is_it_reversed_twice(
        self, db: Session, finance: Actor
    ) -> None:
        agreement = create_agreement(db)
        remittance = create_remittance(db, finance, agreement.sponsor_id)
        remittances.reverse_remittance(db, finance, remittance, reason="wrong payer")
        first = agreements.instalments_of(db, agreement)[0]
        with pytest.raises(Conflict, match="was reversed"), db.begin_nested():
            allocations.allocate(db, finance, remittance, first, 1)
        with pytest.raises(Conflict), db.begin_nested():
            remittances.refund(db, finance, remittance, 1, reason="x")
        with pytest.raises(Conflict, match="reversed already"), db.begin_nested():
            remittances.reverse_remittance(db, finance, remittance, reason="again")
        assert db.scalar(select(func.count()).select_from(Entry)) == 2
        assert broken(db) == []

    def test_only_finance_may_and_only_with_a_reason(self, db: Session, finance: Actor) -> None:
        remittance = create_remittance(db, finance, create_sponsor(db).id)
        for role in (Role.CITY_OFFICER, Role.AUDITOR, Role.RELEASER):
            with pytest.raises(NotPermitted):
                remittances.reverse_remittance(db, actor_for(db, role), remittance, reason="x")
        with pytest.raises(Invalid) as refused:
            remittances.reverse_remittance(db, finance, remittance, reason="  ")
        assert set(refused.value.fields) == {"reason"}
        assert remittance.reversed_on is None

    def test_the_database_itself_refuses_half_a_reversal(self, db: Session, finance: Actor) -> None:
        remittance = create_remittance(db, finance, create_sponsor(db).id)
        its = update(Remittance).where(Remittance.id == remittance.id)
        whole = {"reversed_on": clock.today(), "reversed_by": finance.person, "reversal_reason": "x"}
        for values in (
            {"reversed_on": clock.today()},
            whole | {"allocated_fen": 1},
            whole | {"refunded_fen": 1},
        ):
            with pytest.raises(IntegrityError), db.begin_nested():
                db.execute(its.values(**values))

    def test_a_reversal_without_its_entry_is_found(self, db: Session, finance: Actor) -> None:
        remittance = create_remittance(db, finance, create_sponsor(db).id)
        remittance.reversed_on, remittance.reversed_by = clock.today(), finance.person
        remittance.reversal_reason = "x"
        db.flush()
        check = next(one for one in money_checks.CHECKS if one.code == "sponsorship.remittances")
        assert check.run(db).detail == remittance.public_id


# --- Races ------------------------------------------------------------------------------------------------


def _money(database: Database) -> tuple[Actor, int, int]:
    """Who records, a remittance of 600.00, and an instalment that it would fill."""
    with database.write() as db:
        agreement: Agreement = create_agreement(db)
        finance = actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, finance, agreement.sponsor_id)
        return finance, remittance.id, agreements.instalments_of(db, agreement)[0].id


def _reverse(finance: Actor, remittance: int) -> Callable[[Session], object]:
    return lambda db: remittances.reverse_remittance(
        db, finance, db.get_one(Remittance, remittance), reason="x"
    )


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("use", ["allocate", "refund"])
def test_money_is_used_or_reversed_never_both(fresh_database: Database, use: str, turn: int) -> None:
    finance, money, instalment = _money(fresh_database)

    def take(db: Session) -> None:
        remittance = db.get_one(Remittance, money)
        if use == "refund":
            remittances.refund(db, finance, remittance, 60_000, reason="x")
        else:
            allocations.allocate(db, finance, remittance, db.get_one(Instalment, instalment), 60_000)

    verbs = [take, _reverse(finance, money)]
    assert at_once(fresh_database, verbs if turn % 2 else verbs[::-1]) == 1
    with fresh_database.write() as db:
        remittance = db.get_one(Remittance, money)
        used = remittance.allocated_fen + remittance.refunded_fen
        assert (remittance.reversed_on is None) == (used == 60_000)
        assert broken(db) == []


@pytest.mark.race
def test_four_colleagues_reverse_it_once(fresh_database: Database) -> None:
    _, money, _ = _money(fresh_database)
    with fresh_database.write() as db:
        people = [actor_for(db, Role.FINANCE) for _ in range(4)]
    assert at_once(fresh_database, [_reverse(actor, money) for actor in people]) == 1
    with fresh_database.write() as db:
        assert db.scalar(select(func.count()).select_from(Entry)) == 2
        assert broken(db) == []


@pytest.mark.race
def test_one_bank_reference_is_recorded_again_once(fresh_database: Database) -> None:
    finance, money, _ = _money(fresh_database)
    with fresh_database.write() as db:
        remittances.reverse_remittance(db, finance, db.get_one(Remittance, money), reason="x")

    def record(db: Session) -> None:
        wrong = db.get_one(Remittance, money)
        again(db, finance, wrong, 50_000, db.get_one(Sponsor, wrong.sponsor_id))

    assert at_once(fresh_database, [record] * 3) == 1
    with fresh_database.write() as db:
        assert broken(db) == []
