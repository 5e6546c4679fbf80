"""One guardian with children at schools of two counties: nobody writes into the other one's record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.models import AccessLine, AuditEvent
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict
from app.core.i18n import use_locale
from app.core.identity import make_identity_number
from app.db import Database
from app.payouts.gate import examine
from app.payouts.models import Payable
from app.registry import family
from app.registry.forms import GuardianChangeForm
from app.registry.models import Guardian, School, Student
from tests.factories import (
    OTHER_COUNTY,
    actor_for,
    create_bank_account,
    create_guardian,
    create_school,
    create_student,
)
from tests.payouts import create_payable

TODAY = clock.today()
PHONE = "15412345678"


@dataclass
class Shared:
    here: Student
    there: Student
    guardian: Guardian
    officer: Actor


def officer(db: Session, student: Student) -> Actor:
    return actor_for(db, Role.COUNTY_OFFICER, authority=student.authority_code)


@pytest.fixture
def shared(db: Session) -> Shared:
    here = create_student(db, school=create_school(db))
    there = create_student(
        db, school=create_school(db, authority=OTHER_COUNTY), level="severe", with_account=False
    )
    guardian = create_guardian(db, there, name="盘大山", phone="15490000000")
    create_bank_account(db, there, holder_name=guardian.name, guardian_id=guardian.id)
    return Shared(
        here, there, guardian, actor_for(db, Role.SCHOOL_OFFICER, school=db.get_one(School, here.school_id))
    )


def link(db: Session, shared: Shared, **values: Any) -> Guardian:
    given = {"name": shared.guardian.name, "relation": "99", "number": shared.guardian.document_number,
             "phone": PHONE, "since": TODAY}  # fmt: skip
    return family.attach(db, shared.officer, shared.here, **(given | values))


def rename(db: Session, shared: Shared, actor: Actor, student: Student) -> None:
    form = GuardianChangeForm(version=shared.guardian.version, name="盘小山")
    family.change_guardian(db, actor, student, shared.guardian.public_id, form)
    db.flush()


def test_linking_keeps_the_phone_on_record(db: Session, shared: Shared) -> None:
    assert link(db, shared).id == shared.guardian.id
    assert shared.guardian.phone == "15490000000"
    assert family.kept_phone(db, shared.there, PHONE)
    assert not family.kept_phone(db, shared.there, None)


def test_linking_stores_the_phone_of_a_guardian_who_had_none(db: Session, shared: Shared) -> None:
    shared.guardian.phone = None
    assert link(db, shared).phone == PHONE


def test_one_school_cannot_change_the_guardian_of_another_one_s_child(db: Session, shared: Shared) -> None:
    payable = create_payable(db, student=shared.there)
    link(db, shared)
    db.flush()
    for actor in (shared.officer, officer(db, shared.here)):
        with pytest.raises(Conflict) as refused:
            rename(db, shared, actor, shared.here)
        with use_locale("en"):
            assert "outside your scope. Ask the county office, or the city" in str(refused.value)
    assert shared.guardian.name == "盘大山"
    assert not examine(db, Payable.id == payable.id, on=TODAY)[0].refusals


def test_the_city_can_and_the_accounts_go_with_the_new_name(db: Session, shared: Shared) -> None:
    payable = create_payable(db, student=shared.there)
    link(db, shared)
    db.flush()
    rename(db, shared, actor_for(db, Role.CITY_OFFICER), shared.here)
    account = family.find_account(db, shared.there)
    assert account is not None
    assert account.holder_name == "盘小山"
    assert not examine(db, Payable.id == payable.id, on=TODAY)[0].refusals


def test_a_new_name_of_the_holder_is_told_on_the_student_s_record(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        student = create_student(db, with_account=False)
        guardian = create_guardian(db, student, name="盘大山")
        create_bank_account(db, student, holder_name="盘大山", guardian_id=guardian.id)
        form = GuardianChangeForm(version=guardian.version, name="盘小山")
        family.change_guardian(db, officer(db, student), student, guardian.public_id, form)
        public_id = student.public_id
    with fresh_database.read() as db:
        detail = db.scalars(
            select(AuditEvent.detail).where(
                AuditEvent.subject == public_id, AuditEvent.tag == "registry.bank-account.changed"
            )
        ).one()
    told = json.loads(detail)
    assert (told["old"]["holder"], told["new"]["holder"]) == ("盘大山", "盘小山")
    assert told["new"]["account"].startswith("*")


def test_a_guardian_of_a_voided_record_is_free_again(db: Session, shared: Shared) -> None:
    link(db, shared)
    shared.there.record_state, shared.there.voided_at = "void", clock.now()
    db.flush()
    rename(db, shared, shared.officer, shared.here)


def test_a_number_out_of_scope_leaves_a_read_line_with_the_child(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        there = create_student(db, school=create_school(db, authority=OTHER_COUNTY))
        guardian = create_guardian(db, there)
        here, number = create_student(db), guardian.document_number
        own = create_guardian(db, here).document_number
        actor, public_id = officer(db, here), there.public_id
    assert number is not None
    assert own is not None
    for typed in (number, own, make_identity_number("432929", date(1960, 2, 3), 31)):
        with fresh_database.write() as db:
            family.look_up(db, actor, typed)
    with fresh_database.read() as db:
        lines = db.execute(select(AccessLine.subject_kind, AccessLine.subject, AccessLine.what)).all()
    assert [tuple(line) for line in lines] == [("student", public_id, "guardian look-up")]
