"""Payouts per batch: the figures, the day, the filters, the scope, and that records and ledger agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.checks import run_all
from app.core.errors import NotFound, NotPermitted
from app.ledger import Book, Dimensions, Leg, post
from app.ledger.models import EntryKind
from app.oversight import checks
from app.oversight.payouts import Figures, figures_by, payouts_per_batch, total_of, unallocated
from app.oversight.trace import introduction_view, place_view
from app.oversight.wanted import Wanted
from app.sponsorship import disbursements
from app.sponsorship.agreements import agreement_of_claim, end_agreement
from app.sponsorship.models import Agreement, Claim, Instalment, Place
from tests.factories import COUNTY, OTHER_COUNTY, actor_for
from tests.oversight import Story, at, county_auditor, tell

TODAY = Wanted(date(2026, 6, 30))


@pytest.fixture
def story(db: Session) -> Story:
    return tell(db)


def _total(db: Session, wanted: Wanted, role: Role = Role.AUDITOR) -> Figures:
    return payouts_per_batch(db, actor_for(db, role), wanted).total


def test_every_figure_of_an_introduction(db: Session, story: Story) -> None:
    found = payouts_per_batch(db, actor_for(db, Role.AUDITOR), TODAY)
    assert [row.number for row in found.introductions] == [story.second.number, story.first.number]
    figures = found.introductions[1].figures
    assert (figures.introduced, figures.sponsored) == (4, 3)
    assert figures.agreed == 3 * 120_000
    assert figures.received == 60_000 + 60_000 + 30_000 + 60_000
    assert (figures.paid, figures.direct, figures.refunded) == (60_000, 60_000, 0)
    assert figures.balance == 90_000
    assert figures.returned == 60_000
    assert figures.difference == 0
    assert found.introductions[0].figures == Figures(introduced=1)
    assert found.total == total_of(row.figures for row in found.introductions)


def test_the_views_by_introduction_and_by_authority_are_sums_over_the_same(db: Session, story: Story) -> None:
    found = payouts_per_batch(db, actor_for(db, Role.AUDITOR), TODAY)
    assert [code for code, _ in found.authorities] == [OTHER_COUNTY, COUNTY]
    assert total_of(figures for _, figures in found.authorities) == found.total


@pytest.mark.parametrize(
    ("day", "introduced", "sponsored", "received", "paid", "direct", "in_transit", "returned"),
    [
        (date(2026, 1, 31), 0, 0, 0, 0, 0, 0, 0),
        (date(2026, 2, 1), 4, 0, 0, 0, 0, 0, 0),
        (date(2026, 2, 10), 4, 3, 0, 0, 0, 0, 0),
        (date(2026, 2, 20), 4, 3, 150_000, 0, 0, 0, 0),
        (date(2026, 3, 4), 4, 3, 150_000, 0, 0, 0, 0),
        (date(2026, 3, 5), 4, 3, 210_000, 0, 60_000, 0, 0),
        (date(2026, 3, 10), 4, 3, 210_000, 0, 60_000, 120_000, 0),
        (date(2026, 3, 12), 4, 3, 210_000, 60_000, 60_000, 60_000, 0),
        (date(2026, 3, 14), 4, 3, 210_000, 60_000, 60_000, 0, 60_000),
        (date(2026, 6, 1), 5, 3, 210_000, 60_000, 60_000, 0, 60_000),
    ],
)  # fmt: skip
def test_as_at_a_day_every_figure_is_that_of_its_end(
    db: Session, story: Story, day: date, introduced: int, sponsored: int, received: int, paid: int, direct: int,
    in_transit: int, returned: int,
) -> None:  # fmt: skip
    found = _total(db, Wanted(day))
    assert (found.introduced, found.sponsored, found.received) == (introduced, sponsored, received)
    assert (found.paid, found.direct) == (paid, direct)
    assert (found.in_transit, found.returned, found.difference) == (in_transit, returned, 0)


def test_a_state_is_that_of_the_day(db: Session, story: Story) -> None:
    auditor = actor_for(db, Role.AUDITOR)
    before = payouts_per_batch(db, auditor, Wanted(date(2026, 4, 30)))
    assert [row.state for row in before.introductions] == ["published"]
    assert [row.state for row in payouts_per_batch(db, auditor, TODAY).introductions] == [
        "published",
        "closed",
    ]
    closed = payouts_per_batch(db, auditor, replace(TODAY, state="closed"))
    assert [row.number for row in closed.introductions] == [story.first.number]
    assert not payouts_per_batch(db, auditor, replace(TODAY, state="settled")).introductions


def test_a_reversed_disbursement_counts_until_the_day_before_its_reversal(db: Session, story: Story) -> None:
    with at(date(2026, 7, 1)):
        disbursements.reverse_confirmation(
            db, actor_for(db, Role.FINANCE), story.disbursement, reason="wrong child"
        )
    db.commit()
    before, after = _total(db, TODAY), _total(db, Wanted(date(2026, 7, 1)))
    assert (before.direct, before.difference) == (60_000, 0)
    assert (after.direct, after.difference) == (0, 0)


def test_an_ended_agreement_counts_with_what_came_in(db: Session, story: Story) -> None:
    claim = db.scalars(select(Claim).where(Claim.place_id == story.paid.id)).one()
    agreement = agreement_of_claim(db, claim.id)
    assert agreement is not None
    with at(date(2026, 7, 1)):
        end_agreement(db, actor_for(db, Role.CITY_OFFICER), agreement, reason="moved away")
    found = _total(db, Wanted(date(2026, 7, 1)))
    assert (found.sponsored, found.agreed) == (3, 90_000 + 120_000 + 120_000)
    assert _total(db, TODAY).agreed == 360_000


@pytest.mark.parametrize(
    ("narrow", "introduced", "received"),
    [
        (lambda _: {"authority": COUNTY}, 3, 90_000),
        (lambda _: {"authority": OTHER_COUNTY}, 2, 120_000),
        (lambda s: {"school": s.other.id}, 2, 120_000),
        (lambda s: {"sponsor": s.charity.id}, 2, 150_000),
        (lambda s: {"sponsor": s.donor.id}, 1, 60_000),
        (lambda _: {"sponsor": -1}, 0, 0),
        (lambda _: {"since": date(2026, 3, 1)}, 1, 0),
        (lambda _: {"until": date(2026, 3, 1)}, 4, 210_000),
        (lambda s: {"authority": COUNTY, "sponsor": s.donor.id}, 0, 0),
    ],
)  # fmt: skip
def test_each_filter_narrows_records_and_ledger_alike(
    db: Session, story: Story, narrow: object, introduced: int, received: int
) -> None:
    found = _total(db, replace(TODAY, **narrow(story)))  # type: ignore[operator]
    assert (found.introduced, found.received, found.difference) == (introduced, received, 0)


def test_a_county_sees_its_own_places_alone(db: Session, story: Story) -> None:
    auditor = county_auditor(db)
    found = payouts_per_batch(db, auditor, TODAY)
    assert [code for code, _ in found.authorities] == [COUNTY]
    assert found.total.received == 90_000
    assert unallocated(db, auditor, TODAY) is None
    with pytest.raises(NotFound):
        place_view(db, auditor, TODAY, story.direct.public_id)
    with pytest.raises(NotFound):
        introduction_view(db, county_auditor(db, "431103"), TODAY, story.first.public_id)


def test_a_school_officer_has_no_oversight(db: Session, story: Story) -> None:
    with pytest.raises(NotPermitted):
        payouts_per_batch(db, actor_for(db, Role.SCHOOL_OFFICER, school=story.school), TODAY)


def test_money_that_is_not_allocated_stands_apart(db: Session, story: Story) -> None:
    auditor = actor_for(db, Role.AUDITOR)
    apart = unallocated(db, auditor, TODAY)
    assert apart == (200_000, 150_000, 10_000, 40_000)
    assert (apart.left, apart.difference) == (40_000, 0)
    earlier = unallocated(db, auditor, Wanted(date(2026, 2, 19)))
    assert earlier == (200_000, 0, 0, 200_000)
    assert unallocated(db, auditor, replace(TODAY, authority=COUNTY)) is None
    assert unallocated(db, auditor, replace(TODAY, sponsor=story.donor.id)) == (0, 0, 0, 0)


def test_every_level_ties_to_the_level_above(db: Session, story: Story) -> None:
    auditor = actor_for(db, Role.AUDITOR)
    for wanted in (TODAY, Wanted(date(2026, 3, 12)), replace(TODAY, sponsor=story.charity.id)):
        for row in payouts_per_batch(db, auditor, wanted).introductions:
            view = introduction_view(db, auditor, wanted, row.public_id)
            assert view.introduction.figures == row.figures
            assert total_of(place.figures for place in view.places.rows) == row.figures
            for place in view.places.rows:
                below = place_view(db, auditor, wanted, place.public_id)
                assert below.figures.cells == place.figures.cells
                paid = sum(line.amount_fen for line in below.lines if line.state == "paid")
                handed = sum(one.amount_fen for one in below.directs if one.state == "confirmed")
                assert (paid, handed) == (place.figures.paid, place.figures.direct)
                assert sum(one.amount_fen for one in below.allocations) == place.figures.allocated


def test_the_child_has_a_masked_name_for_those_who_may_read_students(db: Session, story: Story) -> None:
    seen = place_view(db, actor_for(db, Role.AUDITOR), TODAY, story.paid.public_id)
    assert "*" in seen.masked_name
    assert place_view(db, actor_for(db, Role.FINANCE), TODAY, story.paid.public_id).masked_name == ""


def test_a_payment_that_only_the_ledger_knows_is_a_difference(db: Session, story: Story) -> None:
    instalment = db.scalars(
        select(Instalment)
        .join(Agreement)
        .where(Agreement.place_id == story.paid.id)
        .order_by(Instalment.id.desc())
    ).first()
    assert instalment is not None
    whose = Dimensions(story.charity.id, story.first.id, instalment.id)
    post(db, actor_for(db, Role.FINANCE), EntryKind.PAID,
         [Leg(Book.ALLOCATED, 30_000, whose), Leg(Book.BANK, -30_000, whose)],
         booked_on=date(2026, 5, 5), source_ref="paid:nobody")  # fmt: skip
    found = _total(db, TODAY)
    assert found.difference == 60_000  # paid and balance, each by 300.00
    assert _total(db, Wanted(date(2026, 5, 4))).difference == 0


def test_invariants_hold_and_name_what_does_not_tie(db: Session, story: Story) -> None:
    db.commit()
    assert {one.code: one.result.ok for one in run_all(db, checks.CHECKS)} == dict.fromkeys(
        (check.code for check in checks.CHECKS), True
    )
    db.execute(text("UPDATE payout_line SET amount_fen = amount_fen - 1 WHERE state = 'paid'"))
    db.execute(text("UPDATE remittance SET refunded_fen = 0"))
    failed = {one.code: one.result.detail for one in run_all(db, checks.CHECKS) if not one.result.ok}
    assert f"introduction {story.first.number}" in failed["oversight.introductions"]
    assert story.charity.public_id in failed["oversight.sponsors"]


def test_the_figures_take_the_same_number_of_statements_for_one_place_and_for_all(
    db: Session, story: Story
) -> None:
    from sqlalchemy import event

    auditor = actor_for(db, Role.AUDITOR)
    seen: list[str] = []
    connection = db.connection()
    event.listen(connection, "before_cursor_execute", lambda *args: seen.append(args[2]))
    figures_by(db, auditor, TODAY, Place.id)
    assert len(seen) == 8
    seen.clear()
    payouts_per_batch(db, auditor, TODAY)
    assert len(seen) == 9
