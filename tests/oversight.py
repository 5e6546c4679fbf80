"""A small story of money for oversight: two introductions, two counties, both ways, a returned line, money left over.

Told by the real verbs under a moving clock, so that every figure can be asked for as at any day of it.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.money import plain_yuan
from app.payouts import batches
from app.payouts.models import PayoutBatch, PayoutLine
from app.payouts.payables import find_payable
from app.registry.models import School
from app.sponsorship import agreements, allocations, disbursements, remittances
from app.sponsorship.aliases import draw_alias
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    DirectDisbursement,
    Instalment,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    Remittance,
    Sponsor,
)
from app.sponsorship.schedule import Due
from tests.factories import COUNTY, OTHER_COUNTY, actor_for, create_school, create_student
from tests.money import create_receiving_account, create_sponsor, create_voucher, tell_of_claim
from tests.payouts import Team, create_team

_numbers = itertools.count(1)
TERM, NEXT_TERM = "2026-S", "2026-A"


def at(day: date) -> Any:
    """Ten in the morning of that day, in Beijing."""
    return clock.frozen(datetime.combine(day, time(10), clock.BEIJING))


def create_introduction(
    db: Session, *, published: date, closed: date | None = None, title: str = "一期"
) -> Introduction:
    n = next(_numbers)
    introduction = Introduction(
        number=5000 + n, title=title, composed_at=clock.start_of(published), published_at=clock.start_of(published),
        closed_at=clock.start_of(closed) if closed else None,
        state=IntroductionState.CLOSED if closed else IntroductionState.PUBLISHED,
    )  # fmt: skip
    db.add(introduction)
    db.flush()  # the key
    return introduction


def create_place(db: Session, introduction: Introduction, school: School, **values: Any) -> Place:
    student = create_student(db, school=school, level="severe")
    taken = db.scalars(select(Place.alias).where(Place.introduction_id == introduction.id))
    closed = introduction.state == IntroductionState.CLOSED
    place = Place(
        **({"introduction_id": introduction.id, "student_id": student.id, "alias": draw_alias(taken),
            "stage": "X", "need_fen": 120_000, "shares": 1, "waiting_since": clock.today(),
            "state": PlaceState.CLOSED if closed else PlaceState.LISTED, "authority_code": school.authority_code,
            "school_id": school.id} | values)
    )  # fmt: skip
    db.add(place)
    db.flush()  # the key
    return place


def agree(
    db: Session, place: Place, sponsor: Sponsor, dues: Sequence[Due]
) -> tuple[Agreement, list[Instalment]]:
    person = actor_for(db, Role.SPONSOR, sponsor_id=sponsor.id).person
    claim = Claim(
        place_id=place.id, share_no=1, sponsor_id=sponsor.id, person_id=person, state=ClaimState.ACTIVE,
        hold_token=secrets.token_bytes(32), held_at=clock.now(), held_until=clock.now() + timedelta(minutes=15),
        confirmed_at=clock.now(), decided_at=clock.now(),
    )  # fmt: skip
    db.add(claim)
    db.flush()  # the key
    tell_of_claim(db, claim)
    agreement = agreements.make(db, actor_for(db, Role.CITY_OFFICER), claim, dues=dues)
    return agreement, agreements.instalments_of(db, agreement)


@dataclass
class Story:
    """What the tests look for; amounts in fen."""

    team: Team
    charity: Sponsor
    donor: Sponsor
    first: Introduction
    second: Introduction
    paid: Place
    returned: Place
    direct: Place
    free: Place
    school: School
    other: School
    batch: PayoutBatch
    lines: list[PayoutLine]
    disbursement: DirectDisbursement
    remittances: list[Remittance] = field(default_factory=list)


DUES = [Due(TERM, date(2026, 3, 1), 60_000), Due(NEXT_TERM, date(2026, 9, 1), 60_000)]


def tell(db: Session) -> Story:
    """1 February: published. 10: agreed. 20: money in and allocated. 1 March: handed over, 5: confirmed. 10: released.
    12: one line paid. 14: one returned. 20 April: 100.00 refunded. 1 May: closed. 1 June: a second introduction."""
    with at(date(2026, 1, 5)):
        team = create_team(db)
        create_receiving_account(db)
        charity = create_sponsor(db, kind="organisation", name="甲慈善会", credit_code="91430000MA4L000001")
        donor = create_sponsor(db, name="爱心人士甲")
        school, other = create_school(db), create_school(db, authority=OTHER_COUNTY)
    with at(date(2026, 2, 1)):
        first = create_introduction(db, published=date(2026, 2, 1), closed=date(2026, 5, 1))
        paid, free = create_place(db, first, school), create_place(db, first, school)
        returned, direct = create_place(db, first, other), create_place(db, first, other)
    with at(date(2026, 2, 10)):
        _, of_paid = agree(db, paid, charity, DUES)
        _, of_returned = agree(db, returned, charity, DUES)
        agreement, of_direct = agree(db, direct, donor, DUES)
    with at(date(2026, 2, 20)):
        remittance = remittances.record_remittance(
            db, team.finance, payer_name=charity.name, received_on=date(2026, 2, 19), amount_fen=200_000,
            bank_reference=f"R{next(_numbers):08d}", sponsor=charity,
        )  # fmt: skip
        for instalment in (of_paid[0], of_returned[0]):
            allocations.allocate(db, team.finance, remittance, instalment, 60_000)
        # Half of what is due in autumn has come already.
        allocations.allocate(db, team.finance, remittance, of_paid[1], 30_000)
    with at(date(2026, 3, 1)):
        staff = actor_for(db, Role.SPONSOR, sponsor_id=donor.id)
        disbursement = disbursements.log(
            db, staff, of_direct[0], agreement, handed_on=date(2026, 3, 1), amount_fen=60_000,
            voucher=create_voucher(db, donor.id),
        )  # fmt: skip
    with at(date(2026, 3, 5)):
        disbursements.confirm(db, actor_for(db, Role.SCHOOL_HEAD, school=other), disbursement)
    with at(date(2026, 3, 10)):
        payables = [find_payable(db, "instalment", one.id) for one in (of_paid[0], of_returned[0])]
        batch = batches.prepare(db, team.officer, [one.id for one in payables if one])
        batches.check(db, team.reviewer, batch)
        batches.release(db, team.releaser, batch)
    lines = list(
        db.scalars(select(PayoutLine).where(PayoutLine.batch_id == batch.id).order_by(PayoutLine.line_no))
    )
    by_student = {line.student_id: line for line in lines}
    lines = [by_student[paid.student_id], by_student[returned.student_id]]
    for day, code, line in ((date(2026, 3, 12), "0000", lines[0]), (date(2026, 3, 14), "3031", lines[1])):
        with at(day):
            _answer(db, team, batch, line, code)
    with at(date(2026, 4, 20)):
        remittances.refund(db, team.finance, remittance, 10_000, reason="too much was sent")
    with at(date(2026, 6, 1)):
        second = create_introduction(db, published=date(2026, 6, 1), title="二期")
        create_place(db, second, school)
    db.flush()
    return Story(team, charity, donor, first, second, paid, returned, direct, free, school, other, batch, lines,
                 disbursement, [remittance])  # fmt: skip


def _answer(db: Session, team: Team, batch: PayoutBatch, line: PayoutLine, code: str) -> None:
    from tests.payouts import answer, bring

    content = answer([(line.reference, plain_yuan(line.amount_fen), code)], note=f"{line.line_no}")
    bring(db, team.finance, batch, content, f"result-{line.line_no}.csv")


def county_auditor(db: Session, authority: str = COUNTY) -> Actor:
    return actor_for(db, Role.AUDITOR, authority=authority)
