"""Agreements: one per active claim, numbers without a gap, references that notice a slip, amounts to the fen."""

from __future__ import annotations

import threading
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.db import Database
from app.sponsorship import agreements, money_checks
from app.sponsorship.models import Agreement, Claim, ClaimState, Instalment
from app.sponsorship.references import (
    ALPHABET,
    grouped,
    is_reference,
    new_desk_code,
    new_payment_reference,
    normalise,
    references_in,
)
from app.sponsorship.schedule import Due, check_dues, plan_dues, share_of
from tests.factories import actor_for
from tests.money import create_agreement, create_claim, create_receiving_account, create_sponsor

signs = st.text(alphabet=ALPHABET, min_size=9, max_size=9)


class TestReference:
    def test_every_wrong_sign_is_noticed(self) -> None:
        reference = new_payment_reference()
        assert is_reference(reference)
        for at in range(len(reference)):
            for sign in ALPHABET:
                typed = reference[:at] + sign + reference[at + 1 :]
                assert is_reference(typed) == (typed == reference)

    @given(signs)
    def test_every_swap_of_neighbours_is_noticed(self, body: str) -> None:
        check = next(sign for sign in ALPHABET if is_reference(body + sign))
        reference = body + check
        for at in range(len(reference) - 1):
            swapped = reference[:at] + reference[at + 1] + reference[at] + reference[at + 2 :]
            assert is_reference(swapped) == (swapped == reference)

    def test_spaces_small_letters_full_width_and_look_alikes_do_not_matter(self) -> None:
        reference = next(r for r in iter(new_payment_reference, "") if "0" in r and "1" in r)
        typed = f" {grouped(reference).lower().replace('0', 'o').replace('1', 'l')} "
        wide = "".join(chr(ord(sign) + 0xFEE0) for sign in reference)
        assert normalise(typed) == normalise(wide) == reference

    def test_it_is_found_within_a_banks_remark(self) -> None:
        reference = new_payment_reference()
        assert reference in references_in(f"助学款{grouped(reference)} 谢谢")
        assert reference in references_in(f"DONATION {reference}/2026")
        assert references_in("助学款") == []

    def test_desk_codes_are_short(self) -> None:
        assert len(new_desk_code()) == 6


class TestSchedule:
    @given(st.integers(1, 10**8), st.integers(1, 10))
    def test_shares_sum_to_the_need(self, need: int, shares: int) -> None:
        assert sum(share_of(need, shares, no) for no in range(1, shares + 1)) == need

    @given(st.integers(1, 10**8), st.dates(date(2020, 1, 1), date(2040, 1, 1)))
    def test_instalments_sum_to_the_year_and_lie_in_following_terms(self, yearly: int, made_on: date) -> None:
        dues = plan_dues(yearly, made_on)
        check_dues(dues, yearly)
        assert dues[0].due_on > made_on
        assert [clock.term_of(due.due_on).value for due in dues] == [due.term for due in dues]
        assert [due.due_on for due in dues] == sorted({due.due_on for due in dues})

    def test_halves_are_whole_yuan_and_the_first_takes_the_rest(self) -> None:
        assert [due.amount_fen for due in plan_dues(130_150, date(2026, 9, 10))] == [65_150, 65_000]
        assert [due.term for due in plan_dues(130_150, date(2026, 9, 10))] == ["2026-A", "2027-S"]

    def test_at_the_end_of_a_term_the_first_instalment_is_for_the_next(self) -> None:
        assert plan_dues(100_000, date(2027, 1, 15))[0].term == "2027-S"

    @pytest.mark.parametrize(
        "dues",
        [
            [Due("2026-A", date(2026, 10, 1), 99_999)],
            [Due("2026-A", date(2026, 10, 1), 100_000), Due("2027-S", date(2027, 3, 1), 0)],
            [Due("2026-A", date(2026, 10, 1), 50_000), Due("2026-A", date(2026, 11, 1), 50_000)],
        ],
    )
    def test_a_plan_that_does_not_make_the_year_is_refused(self, dues: list[Due]) -> None:
        with pytest.raises(Invalid):
            check_dues(dues, 100_000)


class TestMake:
    def test_it_names_amounts_account_reference_and_desk_code(self, db: Session) -> None:
        agreement = create_agreement(db, need_fen=120_001, shares=2, share_no=1)
        assert agreement.number == f"XY-{clock.today().year}-000001"
        assert agreement.yearly_fen == 60_001
        assert is_reference(agreement.payment_reference)
        assert [i.amount_fen for i in agreements.instalments_of(db, agreement)] == [30_001, 30_000]
        assert all(check.run(db).ok for check in money_checks.CHECKS)

    def test_numbers_follow_each_other_within_a_year(self, db: Session) -> None:
        first, second = create_agreement(db), create_agreement(db)
        assert int(second.number[-6:]) == int(first.number[-6:]) + 1
        with clock.frozen(date(clock.today().year + 1, 3, 1)):
            assert create_agreement(db).number.endswith("-000001")

    def test_a_claim_has_one_agreement(self, db: Session) -> None:
        agreement = create_agreement(db)
        claim = db.get_one(Claim, agreement.claim_id)
        with pytest.raises(Conflict, match="agreement already"):
            agreements.make(db, actor_for(db, Role.CITY_OFFICER), claim)
        db.add(
            Agreement(number="X", claim_id=claim.id, place_id=claim.place_id, sponsor_id=claim.sponsor_id,
                      receiving_account_id=agreement.receiving_account_id, payment_reference="Y", desk_code="Z",
                      yearly_fen=1, made_on=clock.today())
        )  # fmt: skip
        with pytest.raises(IntegrityError):
            db.flush()
        db.rollback()

    def test_a_claim_that_is_not_active_has_none(self, db: Session) -> None:
        create_receiving_account(db)
        claim = create_claim(db, state=ClaimState.CONFIRMED)
        with pytest.raises(Conflict, match="approved claim"):
            agreements.make(db, actor_for(db, Role.CITY_OFFICER), claim)

    def test_without_a_valid_account_there_is_none(self, db: Session) -> None:
        create_receiving_account(db, valid_to=date(2020, 1, 1), valid_from=date(2019, 1, 1))
        with pytest.raises(Conflict, match="receiving account"):
            agreements.make(db, actor_for(db, Role.CITY_OFFICER), create_claim(db))

    def test_the_account_is_the_one_valid_today(self, db: Session) -> None:
        create_receiving_account(db, valid_from=date(2019, 1, 1))
        newer = create_receiving_account(db, valid_from=date(2020, 1, 1), holder="乙慈善会")
        create_receiving_account(db, valid_from=date(2999, 1, 1))
        assert agreements.receiving_account(db, clock.today()).id == newer.id


class TestScope:
    def test_a_sponsor_sees_its_own_agreements_only(self, db: Session) -> None:
        agreement = create_agreement(db)
        own = actor_for(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
        other = actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id)
        assert agreements.get_agreement(db, own, agreement.public_id) is agreement
        instalment = agreements.instalments_of(db, agreement)[0]
        for look in (
            lambda: agreements.get_agreement(db, other, agreement.public_id),
            lambda: agreements.get_instalment(db, other, instalment.public_id),
        ):
            with pytest.raises(NotFound):
                look()


class TestEnd:
    def test_it_ends_once_with_a_reason_by_the_city(self, db: Session) -> None:
        agreement = create_agreement(db)
        city = actor_for(db, Role.CITY_OFFICER)
        with pytest.raises(Invalid):
            agreements.end_agreement(db, city, agreement, reason=" ")
        with pytest.raises(NotPermitted):
            agreements.end_agreement(db, actor_for(db, Role.FINANCE), agreement, reason="moved away")
        agreements.end_agreement(db, city, agreement, reason="moved away")
        assert agreement.ended_on == clock.today()
        with pytest.raises(Conflict):
            agreements.end_agreement(db, city, agreement, reason="moved away")


class TestInvariants:
    def test_checks_find_a_missing_agreement_and_a_wrong_sum(self, db: Session) -> None:
        agreement = create_agreement(db)
        claim = create_claim(db)
        results = {check.code: check.run(db) for check in money_checks.CHECKS}
        assert results["sponsorship.agreements"].detail == claim.public_id
        first = agreements.instalments_of(db, agreement)[0]
        first.amount_fen -= 1
        db.flush()
        results = {check.code: check.run(db) for check in money_checks.CHECKS}
        assert results["sponsorship.instalments"].detail == agreement.number


@pytest.mark.race
def test_agreements_made_at_the_same_moment_get_different_numbers_without_a_gap(
    fresh_database: Database,
) -> None:
    with fresh_database.write() as db:
        create_receiving_account(db)
        claims = [create_claim(db).id for _ in range(8)]
        city = actor_for(db, Role.CITY_OFFICER)
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def work(mine: list[int]) -> None:
        start.wait()
        for key in mine:
            try:
                with fresh_database.write() as db:
                    agreements.make(db, city, db.get_one(Claim, key))
            except Conflict as error:
                errors.append(error)

    # Each claim is tried by two threads.
    threads = [threading.Thread(target=work, args=(claims[n % 2 :: 2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with fresh_database.read() as db:
        numbers = sorted(db.scalars(select(Agreement.number)))
        assert [int(number[-6:]) for number in numbers] == list(range(1, 9))
        assert db.scalar(select(func.count()).select_from(Instalment)) == 16
    assert len(errors) == 8
