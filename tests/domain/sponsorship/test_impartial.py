"""Who belongs to a sponsor decides nothing about it, whichever of their accounts they use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from app.access.models import Account, AccountState, Person
from app.access.permissions import Role
from app.access.sessions import actor_of_account_id
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict
from app.registry.models import School, Student
from app.sponsorship import agreements, claims, disbursements, sponsors
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Place,
    Sponsor,
    SponsorState,
)
from tests.factories import actor_for, create_account
from tests.money import create_agreement, create_claim, create_sponsor, create_voucher
from tests.places import with_receiving_account

ALSO = "You belong"


def of_two_minds(
    db: Session, sponsor: Sponsor, role: Role, *, closed: bool = False, school: School | None = None
) -> Actor:
    """Somebody with an account of the sponsor, as they come in by another one."""
    other = create_account(db, Role.SPONSOR, sponsor_id=sponsor.id)
    if closed:
        other.state = AccountState.DISABLED
    account = create_account(db, role, person=db.get_one(Person, other.person_id), school=school)
    actor = actor_of_account_id(db, account.id)
    assert actor is not None
    return actor


def colleague(db: Session) -> Actor:
    """Belongs to another sponsor, which is no reason to keep out of this one's affairs."""
    return of_two_minds(db, create_sponsor(db), Role.CITY_OFFICER)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("step", ["approve", "refuse"])
def test_a_sponsor_is_not_decided_by_its_own_people(db: Session, step: str, closed: bool) -> None:
    sponsor = create_sponsor(db, state=SponsorState.PENDING)
    verbs: dict[str, Callable[[Actor], None]] = {
        "approve": lambda actor: sponsors.approve(db, actor, sponsor),
        "refuse": lambda actor: sponsors.refuse(db, actor, sponsor, reason="x"),
    }
    with pytest.raises(Conflict, match=ALSO):
        verbs[step](of_two_minds(db, sponsor, Role.CITY_OFFICER, closed=closed))
    assert sponsor.state == SponsorState.PENDING
    verbs[step](colleague(db))
    assert sponsor.state != SponsorState.PENDING


@pytest.mark.parametrize("step", ["approve", "refuse"])
def test_a_claim_is_not_decided_by_the_sponsor_s_own_people(db: Session, step: str) -> None:
    with_receiving_account(db)
    claim = create_claim(db, state=ClaimState.CONFIRMED)
    own = of_two_minds(db, db.get_one(Sponsor, claim.sponsor_id), Role.CITY_OFFICER)
    assert claim.person_id != own.person_id
    verbs: dict[str, Callable[[Actor], object]] = {
        "approve": lambda actor: claims.approve(db, actor, claim),
        "refuse": lambda actor: claims.refuse(db, actor, claim, reason="x"),
    }
    with pytest.raises(Conflict, match=ALSO):
        verbs[step](own)
    [decision] = claims.decide_many(db, own, [claim.public_id], action=step, reason="x")
    assert decision.refusal is not None
    assert claim.state == ClaimState.CONFIRMED
    [decision] = claims.decide_many(db, colleague(db), [claim.public_id], action=step, reason="x")
    assert decision.refusal is None


def test_nor_is_it_ended_by_them(db: Session) -> None:
    agreement = create_agreement(db)
    claim = db.get_one(Claim, agreement.claim_id)
    own = of_two_minds(db, db.get_one(Sponsor, claim.sponsor_id), Role.CITY_OFFICER)
    with pytest.raises(Conflict, match=ALSO):
        claims.end(db, own, claim, reason="x")
    assert claim.state == ClaimState.ACTIVE


def logged(db: Session) -> tuple[Agreement, DirectDisbursement, School]:
    agreement = create_agreement(db)
    instalment = agreements.instalments_of(db, agreement)[0]
    made = disbursements.log(
        db, actor_for(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id), instalment, agreement,
        handed_on=clock.today(), amount_fen=instalment.amount_fen, voucher=create_voucher(db, agreement.sponsor_id),
    )  # fmt: skip
    student = db.get_one(Student, db.get_one(Place, agreement.place_id).student_id)
    return agreement, made, db.get_one(School, student.school_id)


@pytest.mark.parametrize("step", ["confirm", "dispute"])
def test_a_disbursement_is_not_decided_by_the_giver_s_own_people(db: Session, step: str) -> None:
    agreement, made, school = logged(db)
    verbs: dict[str, Callable[[Actor], None]] = {
        "confirm": lambda actor: disbursements.confirm(db, actor, made),
        "dispute": lambda actor: disbursements.dispute(db, actor, made, reason="x"),
    }
    sponsor = db.get_one(Sponsor, agreement.sponsor_id)
    with pytest.raises(Conflict, match=ALSO):
        verbs[step](of_two_minds(db, sponsor, Role.SCHOOL_OFFICER, school=school))
    assert made.state == DisbursementState.LOGGED
    verbs[step](of_two_minds(db, create_sponsor(db), Role.SCHOOL_OFFICER, school=school))
    assert made.state != DisbursementState.LOGGED


def test_nor_is_a_confirmation_reversed_by_them(db: Session) -> None:
    agreement, made, school = logged(db)
    disbursements.confirm(db, actor_for(db, Role.SCHOOL_OFFICER, school=school), made)
    own = of_two_minds(db, db.get_one(Sponsor, agreement.sponsor_id), Role.CITY_OFFICER)
    with pytest.raises(Conflict, match=ALSO):
        disbursements.reverse_confirmation(db, own, made, reason="x")
    assert made.state == DisbursementState.CONFIRMED


def test_an_account_of_the_same_name_is_somebody_else(db: Session) -> None:
    sponsor = create_sponsor(db, state=SponsorState.PENDING)
    theirs = create_account(db, Role.SPONSOR, sponsor_id=sponsor.id)
    account: Account = create_account(db, Role.CITY_OFFICER)
    db.get_one(Person, account.person_id).name = db.get_one(Person, theirs.person_id).name
    db.flush()
    actor = actor_of_account_id(db, account.id)
    assert actor is not None
    sponsors.approve(db, actor, sponsor)
    assert sponsor.state == SponsorState.APPROVED
