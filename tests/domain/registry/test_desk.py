"""Registering: the number first, one record per child, and what an officer may know of a child elsewhere."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.access.throttle import RULES, Budget, Purpose
from app.audit.models import AccessLine
from app.core import clock
from app.core.errors import Conflict, DomainError, Invalid, NotPermitted, TooMany
from app.core.identity import check_document, make_identity_number
from app.core.problem import Problem
from app.db import Database
from app.registry import desk
from app.registry.forms import RegisterForm
from app.registry.models import BankAccount, Enrolment, Guardian, Guardianship, NameSuffix, Student
from app.registry.students import student_number_index
from tests.factories import OTHER_COUNTY, actor_for, create_school, create_student

NUMBER = make_identity_number("431199", date(2015, 3, 4), 321)


def filled(**values: Any) -> RegisterForm:
    given = {
        "document_type": "1", "document_number": NUMBER, "name": "盘小妹", "ethnicity": "13", "grade": "X3",
        "class_no": "2", "boarding": "2", "since": clock.today().isoformat(),
    }  # fmt: skip
    return RegisterForm.model_validate({k: v for k, v in (given | values).items() if v is not None})


def document(number: str = NUMBER) -> Any:
    return check_document("1", number, today=clock.today())


class TestRegister:
    def test_the_number_fills_in_birth_date_and_sex(self, db: Session) -> None:
        school = create_school(db)
        student = desk.register(db, actor_for(db, Role.SCHOOL_OFFICER, school=school), filled())
        assert (student.birth_date, student.sex) == (date(2015, 3, 4), "1")
        assert (student.school_id, student.authority_code) == (school.id, school.authority_code)
        assert (student.stage, student.grade, student.class_no, student.boarding) == ("X", 3, "2", "2")
        assert student.document_mask == f"4311**********{NUMBER[-4:]}"
        open_one = db.scalars(select(Enrolment).where(Enrolment.student_id == student.id)).one()
        assert (open_one.school_id, open_one.valid_to) == (school.id, None)
        found = set(db.scalars(select(NameSuffix.suffix).where(NameSuffix.student_id == student.id)))
        assert found == {"盘小妹", "小妹", "妹"}

    def test_full_width_digits_spaces_and_a_small_x_are_taken(self, db: Session) -> None:
        number = next(
            n
            for n in (make_identity_number("431199", date(2014, 1, 1), s) for s in range(1, 99))
            if n[-1] == "X"
        )
        typed = " ".join([number[:6], number[6:14], number[14:-1] + "ｘ"]).translate(
            {ord(str(d)): 0xFF10 + d for d in range(10)}
        )
        assert filled(document_number=typed).document_number == number

    def test_guardian_account_and_categories_come_with_it(self, db: Session) -> None:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        mother = make_identity_number("432929", date(1985, 5, 6), 22)
        student = desk.register(
            db, actor,
            filled(guardian_name="赵大娘", guardian_relation="52", guardian_number=mother, guardian_phone="15412345678",
                   account_holder="guardian", bank_name="农商行", account_number="6217 9950 0000 0000 01",
                   categories=["06", "15", "06"]),
        )  # fmt: skip
        db.flush()  # seen by the selects below
        account = db.scalars(select(BankAccount).where(BankAccount.student_id == student.id)).one()
        assert (account.holder_name, account.number_tail) == ("赵大娘", "0001")
        assert (
            db.scalars(select(Guardianship).where(Guardianship.student_id == student.id)).one().relation
            == "52"
        )

    def test_a_guardian_known_by_number_is_taken_again(self, db: Session) -> None:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        mother = make_identity_number("432929", date(1985, 5, 6), 22)
        shared = {"guardian_name": "赵大娘", "guardian_relation": "52", "guardian_number": mother}
        desk.register(db, actor, filled(**shared))
        other = make_identity_number("431199", date(2016, 3, 4), 322)
        desk.register(db, actor, filled(document_number=other, name="盘小弟", **shared))
        assert db.scalar(select(func.count()).select_from(Guardian).where(Guardian.name == "赵大娘")) == 1

    def test_a_guardians_number_under_another_name_is_refused_at_its_field(self, db: Session) -> None:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        mother = make_identity_number("432929", date(1985, 5, 6), 22)
        desk.register(
            db, actor, filled(guardian_name="赵大娘", guardian_relation="52", guardian_number=mother)
        )
        other = make_identity_number("431199", date(2016, 3, 4), 322)
        with pytest.raises(Invalid) as refused:
            desk.register(
                db, actor,
                filled(document_number=other, guardian_name="钱大娘", guardian_relation="52", guardian_number=mother),
            )  # fmt: skip
        assert set(refused.value.fields) == {"guardian_number"}

    @pytest.mark.parametrize(
        ("values", "fields"),
        [
            ({"guardian_name": "赵大娘"}, {"guardian_relation"}),
            ({"account_number": "9906600000000000017"}, {"account_holder", "bank_name"}),
            ({"account_holder": "guardian", "bank_name": "行", "account_number": "99066000000"}, {"account_holder"}),
            ({"grade": "G1"}, {"grade"}),
            ({"guardian_name": "甲", "guardian_relation": "51", "guardian_number": NUMBER}, {"guardian_number"}),
        ],
    )  # fmt: skip
    def test_parts_that_belong_together_are_asked_for(
        self, db: Session, values: Any, fields: set[str]
    ) -> None:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        with pytest.raises(Invalid) as refused:
            desk.register(db, actor, filled(**values))
        assert set(refused.value.fields) == fields
        assert db.scalar(select(func.count()).select_from(Student).where(Student.name == "盘小妹")) == 0

    def test_a_school_officer_registers_at_the_own_school_only(self, db: Session) -> None:
        own, other = create_school(db), create_school(db)
        with pytest.raises(Invalid) as refused:
            desk.register(db, actor_for(db, Role.SCHOOL_OFFICER, school=own), filled(school=other.public_id))
        assert "school" in refused.value.fields

    def test_a_county_officer_chooses_among_the_countys_schools(self, db: Session) -> None:
        here, there = create_school(db), create_school(db, authority=OTHER_COUNTY)
        actor = actor_for(db, Role.COUNTY_OFFICER, authority=here.authority_code)
        for public_id in (there.public_id, None):
            with pytest.raises(Invalid) as refused:
                desk.register(db, actor, filled(school=public_id))
            assert "school" in refused.value.fields
        assert desk.register(db, actor, filled(school=here.public_id)).school_id == here.id

    def test_a_head_does_not_register(self, db: Session) -> None:
        with pytest.raises(NotPermitted):
            desk.register(db, actor_for(db, Role.SCHOOL_HEAD, school=create_school(db)), filled())

    def test_a_taken_student_number_is_refused_at_its_field(self, db: Session) -> None:
        school = create_school(db)
        known = f"L{NUMBER[:17]}0"
        create_student(
            db, school=school, student_number=known, student_number_index=student_number_index(known)
        )
        with pytest.raises(Conflict) as refused:
            desk.register(db, actor_for(db, Role.SCHOOL_OFFICER, school=school), filled(student_number=known))
        assert set(refused.value.fields) == {"student_number"}


class TestForm:
    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"document_number": NUMBER[:-1] + ("0" if NUMBER[-1] != "0" else "1")}, "document_number"),
            ({"birth_date": "2015-03-05"}, "birth_date"),
            ({"sex": "2"}, "sex"),
            ({"since": (clock.today() + timedelta(days=30)).isoformat()}, "since"),
            ({"document_type": "A", "document_number": "E12345678"}, "birth_date"),
            ({"name": "盘\u202e小妹"}, "name"),
            ({"name": "1234"}, "name"),
            ({"class_no": "一二三四五六七八九十甲乙丙"}, "class_no"),
            ({"address": "x\x00y"}, "address"),
            ({"phone": "12345"}, "phone"),
            ({"grade": "X9"}, "grade"),
            ({"categories": ["77"]}, "categories.0"),
            ({"document_number": make_identity_number("431199", date(1950, 1, 1), 5)}, "birth_date"),
            ({"unknown": "1"}, "unknown"),
            ({"since": "first of May"}, "since"),
            ({"name": "盘" * 5000}, "name"),
        ],
    )
    def test_each_wrong_value_has_a_sentence_at_its_field(self, values: Any, field: str) -> None:
        with pytest.raises(ValidationError) as refused:
            filled(**values)
        assert field in {".".join(map(str, item["loc"])) for item in refused.value.errors()}

    @pytest.mark.parametrize(
        "typed", ["2024/9/1", "2024.09.01", "２０２４年９月１日", "20240901", " 2024-09-01 "]
    )
    def test_dates_are_read_as_people_type_them(self, typed: str) -> None:
        assert filled(since=typed).since == date(2024, 9, 1)

    def test_a_passport_needs_birth_date_and_sex(self) -> None:
        form = filled(document_type="A", document_number="e 1234 5678", birth_date="2015-03-04", sex="2")
        assert (form.document_number, form.sex) == ("E12345678", "2")

    def test_problems_carry_their_sentence(self) -> None:
        with pytest.raises(ValidationError) as refused:
            filled(name="!!")
        assert isinstance(refused.value.errors()[0]["ctx"]["error"], Problem)


class TestLookUp:
    def test_a_free_number_tells_what_it_says(self, db: Session) -> None:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        found = desk.look_up(db, actor, document(), None)
        assert (found.taken, found.birth_date, found.sex) == (False, date(2015, 3, 4), "1")

    def test_a_student_in_reach_leads_to_the_record(self, db: Session) -> None:
        student = create_student(db)
        actor = actor_for(db, Role.COUNTY_OFFICER, authority=student.authority_code)
        assert desk.look_up(db, actor, document(student.document_number), None).student == student.public_id

    def test_elsewhere_the_school_is_named_only_to_who_knows_the_name(self, db: Session) -> None:
        student = create_student(db, name="奉阿妹", school=create_school(db, name="远方学校"))
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        known = desk.look_up(db, actor, document(student.document_number), "奉阿妹")
        assert (known.taken, known.school, known.student) == (True, "远方学校", "")
        for name in (None, "奉阿弟"):
            stranger = desk.look_up(db, actor, document(student.document_number), name)
            assert (stranger.taken, stranger.school, stranger.student) == (True, "", "")
            assert "远方学校" not in str(stranger.sentence)

    def test_a_hit_leaves_a_read_line(self, database: Database) -> None:
        with database.write() as db:
            student = create_student(db)
            actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
            desk.look_up(db, actor, document(student.document_number), None)
        with database.read() as db:
            line = db.scalars(select(AccessLine).where(AccessLine.subject == student.public_id)).one()
        assert (line.what, line.account_id) == ("look-up", actor.account_id)

    def test_the_day_has_a_limit(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(RULES, Purpose.LOOK_UP, Budget(2, timedelta(days=1)))  # type: ignore[arg-type]
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        for _ in range(2):
            desk.look_up(db, actor, document(), None)
        with pytest.raises(TooMany):
            desk.look_up(db, actor, document(), None)
        other = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        desk.look_up(db, other, document(), None)

    def test_a_double_registration_is_refused_with_what_may_be_known(self, db: Session) -> None:
        school = create_school(db)
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=school)
        first = desk.register(db, actor, filled())
        with pytest.raises(desk.AlreadyRegistered) as refused:
            desk.register(db, actor, filled())
        assert refused.value.found.student == first.public_id
        assert set(refused.value.fields) == {"document_number"}


@pytest.mark.race
def test_of_two_officers_who_register_one_child_one_is_told(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        actors = [actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db)) for _ in range(2)]
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def officer(actor: Any) -> None:
        start.wait()
        try:
            with fresh_database.write() as db:
                desk.register(db, actor, filled())
            outcomes.append("stored")
        except DomainError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=officer, args=(actor,)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["AlreadyRegistered", "stored"]
    with fresh_database.read() as db:
        assert db.scalar(select(func.count()).select_from(Student)) == 1
        assert db.scalar(select(func.count()).select_from(Enrolment)) == 1
