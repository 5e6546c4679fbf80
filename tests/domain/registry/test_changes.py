"""Changing a record: nothing is overwritten, two editors meet, and money keeps a record where it is."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError, Invalid, NotFound, NotPermitted
from app.core.identity import make_identity_number
from app.db import Database
from app.registry import changes, family, hardship, reveal
from app.registry.checks import CHECKS
from app.registry.forms import (
    AccountForm,
    ChangeForm,
    EndForm,
    EnrolmentForm,
    GuardianChangeForm,
    GuardianForm,
    HardshipForm,
    LevelForm,
    RevealForm,
    VoidForm,
)
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardianship,
    HardshipFact,
    HardshipLevel,
    NameSuffix,
    School,
    Student,
)
from app.registry.students import get_student
from app.sponsorship.models import Introduction, Place
from tests.factories import COUNTY, OTHER_COUNTY, actor_for, create_guardian, create_school, create_student

TODAY = clock.today()
YESTERDAY = TODAY - timedelta(days=1)


def officer(db: Session, student: Student) -> Actor:
    return actor_for(db, Role.COUNTY_OFFICER, authority=student.authority_code)


def change_form(student: Student, **values: Any) -> ChangeForm:
    given = {
        "version": student.version, "document_type": student.document_type, "name": student.name,
        "birth_date": student.birth_date.isoformat(), "sex": student.sex, "ethnicity": student.ethnicity,
    }  # fmt: skip
    return ChangeForm.model_validate(given | values)


def enrolment_form(student: Student, **values: Any) -> EnrolmentForm:
    given = {
        "version": student.version, "grade": f"{student.stage}{student.grade}", "class_no": student.class_no,
        "boarding": student.boarding, "study_state": student.study_state, "since": TODAY.isoformat(),
    }  # fmt: skip
    return EnrolmentForm.model_validate(given | values)


def level_form(student: Student, level: str, since: date = TODAY, until: date | None = None) -> LevelForm:
    until = until or clock.school_year_bounds(clock.school_year(since))[1]
    return LevelForm(version=student.version, level=level, source="committee", since=since, until=until)


def details(db: Session, student: Student) -> str:
    return "\n".join(db.scalars(select(AuditEvent.detail).where(AuditEvent.subject == student.public_id)))


class TestPersonalData:
    def test_a_new_name_is_found_and_the_old_one_is_not(self, db: Session) -> None:
        student = create_student(db, name="旧名")
        changes.change(db, officer(db, student), student, change_form(student, name="解新月"))
        assert student.py_full == "xiexinyue"
        found = set(db.scalars(select(NameSuffix.suffix).where(NameSuffix.student_id == student.id)))
        assert found == {"解新月", "新月", "月"}

    def test_an_empty_protected_field_keeps_what_is_stored(self, db: Session) -> None:
        student = create_student(db)
        before = (student.phone, student.address, student.document_number)
        changes.change(db, officer(db, student), student, change_form(student, health="3"))
        assert (student.phone, student.address, student.document_number, student.health) == (*before, "3")

    def test_the_log_holds_masks_only(self, database: Database) -> None:
        with database.write() as db:
            student = create_student(db)
            number = make_identity_number("431199", student.birth_date, 801)
            form = change_form(
                student, phone="15492345678", address="西佛桥村三组", document_number=number, sex="1"
            )
            changes.change(db, officer(db, student), student, form)
        with database.read() as db:
            told = details(db, student)
        assert "154****5678" in told
        for secret in ("15492345678", number, "西佛桥村", "10012345678"):
            assert secret not in told

    def test_the_second_editor_is_told(self, db: Session) -> None:
        student = create_student(db)
        first, second = change_form(student, health="3"), change_form(student, disability="4")
        changes.change(db, officer(db, student), student, first)
        with pytest.raises(Conflict) as refused:
            changes.change(db, officer(db, student), student, second)
        assert refused.value.code == "registry.overtaken"

    def test_birth_date_and_number_must_agree(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(Invalid) as refused:
            changes.change(db, officer(db, student), student, change_form(student, birth_date="2013-01-01"))
        assert set(refused.value.fields) == {"birth_date"}

    def test_another_students_number_is_refused(self, db: Session) -> None:
        student, other = create_student(db), create_student(db)
        form = change_form(student, document_number=other.document_number, birth_date=other.birth_date.isoformat(),
                           sex=other.sex)  # fmt: skip
        with pytest.raises(Conflict) as refused:
            changes.change(db, officer(db, student), student, form)
        assert set(refused.value.fields) == {"document_number"}
        db.rollback()

    def test_a_student_number_may_lag_but_no_other_one_is_taken(self, db: Session) -> None:
        student = create_student(db)
        lagging, stranger = student.student_number, create_student(db)
        corrected = make_identity_number("431199", student.birth_date, 990 + int(student.sex))
        form = change_form(student, document_number=corrected, student_number=lagging, sex=None)
        changes.change(db, officer(db, student), student, form)
        assert (student.document_number, student.student_number) == (corrected, lagging)
        db.flush()  # the new version
        for other in (f"G{make_identity_number('431199', date(2012, 3, 4), 77)}", stranger.student_number):
            with pytest.raises(Invalid) as refused:
                changes.change(db, officer(db, student), student, change_form(student, student_number=other))
            assert set(refused.value.fields) == {"student_number"}

    def test_what_is_removed_is_told_to_the_log_without_the_value(self, db: Session) -> None:
        student = create_student(db, phone="10012345679")
        changes.change(db, officer(db, student), student, change_form(student, erase=["phone"]))
        db.commit()
        assert student.phone is None
        assert "phone" in details(db, student)
        assert "10012345679" not in details(db, student)

    def test_an_auditor_reads_only(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(NotPermitted):
            changes.change(db, actor_for(db, Role.AUDITOR), student, change_form(student))

    def test_another_county_does_not_find_the_record(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(NotFound):
            get_student(db, actor_for(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY), student.public_id)


class TestEnrolment:
    def test_the_former_one_ends_the_day_before_and_is_kept(self, db: Session) -> None:
        student = create_student(db)
        next_school = create_school(db, authority=COUNTY)
        form = enrolment_form(student, school=next_school.public_id, grade="X6", class_no="3", boarding="2")
        changes.change_enrolment(db, officer(db, student), student, form)
        rows = db.scalars(
            select(Enrolment).where(Enrolment.student_id == student.id).order_by(Enrolment.valid_from)
        ).all()
        assert [(row.valid_to, row.school_id == next_school.id) for row in rows] == [
            (YESTERDAY, False),
            (None, True),
        ]
        assert (student.school_id, student.grade, student.class_no, student.boarding) == (
            next_school.id,
            6,
            "3",
            "2",
        )

    def test_a_slip_of_the_same_day_is_corrected(self, db: Session) -> None:
        student = create_student(db)
        actor = officer(db, student)
        changes.change_enrolment(db, actor, student, enrolment_form(student, class_no="7"))
        changes.change_enrolment(db, actor, student, enrolment_form(student, class_no="8"))
        rows = db.scalars(select(Enrolment.class_no).where(Enrolment.student_id == student.id)).all()
        assert sorted(rows) == ["1", "8"]

    def test_it_cannot_begin_before_the_present_one(self, db: Session) -> None:
        student = create_student(db)
        form = enrolment_form(student, class_no="7", since=(TODAY - timedelta(days=800)).isoformat())
        with pytest.raises(Invalid) as refused:
            changes.change_enrolment(db, officer(db, student), student, form)
        assert set(refused.value.fields) == {"since"}

    def test_the_same_again_is_no_change(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(Invalid):
            changes.change_enrolment(db, officer(db, student), student, enrolment_form(student))

    def test_a_school_officer_cannot_move_a_student_elsewhere(self, db: Session) -> None:
        student = create_student(db)
        school = db.get(School, student.school_id)
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=school)
        form = enrolment_form(student, school=create_school(db).public_id)
        with pytest.raises(Invalid):
            changes.change_enrolment(db, actor, student, form)


class TestFamily:
    def guardian(self, db: Session, student: Student, **values: Any) -> Any:
        given = {"name": "赵四", "relation": "61", "since": TODAY.isoformat(),
                 "number": make_identity_number("432929", date(1960, 2, 3), 31)}  # fmt: skip
        return family.link_guardian(
            db, officer(db, student), student, GuardianForm.model_validate(given | values)
        )

    def test_one_person_stands_for_several_children(self, db: Session) -> None:
        first, second = create_student(db), create_student(db)
        assert self.guardian(db, first).id == self.guardian(db, second).id
        with pytest.raises(Conflict):
            self.guardian(db, first)

    def test_nobody_is_the_own_guardian(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(Invalid) as refused:
            self.guardian(db, student, number=student.document_number)
        assert set(refused.value.fields) == {"number"}

    def test_a_guardian_whose_account_is_in_use_stays(self, db: Session) -> None:
        student = create_student(db)
        actor = officer(db, student)
        guardian = self.guardian(db, student)
        account = {"bank_name": "农商行", "number": "9906600000000000017", "since": TODAY}
        family.change_account(db, actor, student, AccountForm(holder=guardian.public_id, **account))
        with pytest.raises(Conflict):
            family.end_guardian(db, actor, student, guardian.public_id, EndForm(until=TODAY))
        family.change_account(db, actor, student, AccountForm(holder="student", **account))
        family.end_guardian(db, actor, student, guardian.public_id, EndForm(until=TODAY))
        link = db.scalars(select(Guardianship).where(Guardianship.guardian_id == guardian.id)).one()
        assert link.valid_to == TODAY

    def test_a_stranger_holds_no_account(self, db: Session) -> None:
        student, other = create_student(db), create_student(db)
        stranger = create_guardian(db, other)
        form = AccountForm(
            holder=stranger.public_id, bank_name="行", number="9906600000000000017", since=TODAY
        )
        with pytest.raises(Invalid) as refused:
            family.change_account(db, officer(db, student), student, form)
        assert set(refused.value.fields) == {"holder"}

    def test_the_former_account_is_closed_and_kept(self, db: Session) -> None:
        student = create_student(db)
        old = db.scalars(select(BankAccount).where(BankAccount.student_id == student.id)).one()
        old.valid_from = TODAY - timedelta(days=30)
        form = AccountForm(holder="student", bank_name="邮储", number="9906600000000000017", since=TODAY)
        new = family.change_account(db, officer(db, student), student, form)
        assert (old.valid_to, new.valid_to, new.number_tail) == (YESTERDAY, None, "0017")
        assert new.id != old.id

    def test_a_guardian_changed_by_two_is_told(self, db: Session) -> None:
        student = create_student(db)
        guardian = self.guardian(db, student)
        actor = officer(db, student)
        form = GuardianChangeForm(version=guardian.version, name="赵四", phone="15412345678")
        family.change_guardian(db, actor, student, guardian.public_id, form)
        with pytest.raises(Conflict):
            family.change_guardian(
                db, actor, student, guardian.public_id,
                GuardianChangeForm(version=form.version, name="赵五"),
            )  # fmt: skip


class TestHardship:
    def test_a_category_opens_once_and_ends(self, db: Session) -> None:
        student = create_student(db)
        actor = officer(db, student)
        form = HardshipForm(category="06", since=YESTERDAY)
        fact = hardship.record_category(db, actor, student, form)
        with pytest.raises(Conflict):
            hardship.record_category(db, actor, student, form)
        hardship.end_category(db, actor, student, "06", EndForm(until=TODAY))
        assert fact.valid_to == TODAY
        with pytest.raises(Invalid):
            hardship.record_category(db, actor, student, form)
        assert db.scalar(select(func.count()).where(HardshipFact.student_id == student.id)) == 1

    def test_a_new_level_ends_the_former_the_day_before(self, db: Session) -> None:
        student = create_student(db, level="mild")
        hardship.record_level(db, officer(db, student), student, level_form(student, "severe"))
        levels = db.scalars(
            select(HardshipLevel)
            .where(HardshipLevel.student_id == student.id)
            .order_by(HardshipLevel.valid_from)
        ).all()
        assert (levels[0].level, levels[0].valid_to) == ("mild", YESTERDAY)
        assert (student.level, student.level_until) == ("severe", levels[1].valid_to)

    def test_a_level_ends_with_the_school_year(self, db: Session) -> None:
        student = create_student(db)
        late = clock.school_year_bounds(clock.school_year(TODAY))[1] + timedelta(days=1)
        with pytest.raises(Invalid) as refused:
            hardship.record_level(
                db, officer(db, student), student, level_form(student, "severe", until=late)
            )
        assert set(refused.value.fields) == {"until"}

    def test_a_school_officer_does_not_decide_levels(self, db: Session) -> None:
        student = create_student(db)
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=db.get(School, student.school_id))
        with pytest.raises(NotPermitted):
            hardship.record_level(db, actor, student, level_form(student, "severe"))


class TestVoid:
    def test_it_leaves_the_search_and_frees_the_number(self, db: Session) -> None:
        student = create_student(db)
        number = student.document_number
        changes.void(db, officer(db, student), student, VoidForm(reason="created twice"))
        assert student.record_state == "void"
        assert not db.scalars(select(NameSuffix).where(NameSuffix.student_id == student.id)).all()
        create_student(db, identity_number=number, birth_date=student.birth_date)
        with pytest.raises(Conflict):
            changes.change(db, officer(db, student), student, change_form(student))

    @pytest.mark.parametrize(
        ("state", "refused"), [("nominated", True), ("closed", True), ("withdrawn", False)]
    )
    def test_not_once_money_may_hang_on_it(self, db: Session, state: str, refused: bool) -> None:
        student = create_student(db, level="severe")
        introduction = Introduction(number=99, title="t")
        db.add(introduction)
        db.flush()  # the key
        db.add(
            Place(introduction_id=introduction.id, student_id=student.id, alias="A1", stage="X", need_fen=100,
                  waiting_since=TODAY,
                  state=state, authority_code=student.authority_code, school_id=student.school_id)
        )  # fmt: skip
        db.flush()  # seen by the check
        if refused:
            with pytest.raises(Conflict):
                changes.void(db, officer(db, student), student, VoidForm(reason="x y"))
        else:
            changes.void(db, officer(db, student), student, VoidForm(reason="x y"))


class TestReveal:
    def test_a_value_is_shown_for_a_reason(self, db: Session) -> None:
        student = create_student(db)
        shown = reveal.reveal(db, officer(db, student), student, RevealForm(field="phone", purpose="contact"))
        assert (shown.value, shown.what, shown.reason) == ("10012345678", "phone", "contact")

    def test_another_reason_needs_words(self, db: Session) -> None:
        student = create_student(db)
        for purpose in ("other", "curious"):
            with pytest.raises(Invalid):
                reveal.reveal(db, officer(db, student), student, RevealForm(field="phone", purpose=purpose))

    def test_an_auditor_sees_masks_only(self, db: Session) -> None:
        student = create_student(db)
        with pytest.raises(NotPermitted):
            reveal.reveal(
                db, actor_for(db, Role.AUDITOR), student, RevealForm(field="phone", purpose="contact")
            )

    @pytest.mark.parametrize("field", ["name", "version", "__class__", "guardian.x", "guardian.x.number", ""])
    def test_nothing_else_is_shown(self, db: Session, field: str) -> None:
        student = create_student(db)
        with pytest.raises(NotFound):
            reveal.reveal(db, officer(db, student), student, RevealForm(field=field, purpose="contact"))


class TestChecks:
    def run(self, db: Session) -> dict[str, bool]:
        db.flush()  # the checks are plain selects
        return {check.code: check.run(db).ok for check in CHECKS}

    def test_all_hold_after_the_verbs(self, db: Session) -> None:
        student = create_student(db, level="mild")
        actor = officer(db, student)
        changes.change_enrolment(db, actor, student, enrolment_form(student, class_no="7"))
        hardship.record_level(db, actor, student, level_form(student, "severe"))
        changes.change(db, actor, student, change_form(student, name="新名字"))
        changes.void(db, officer(db, other := create_student(db)), other, VoidForm(reason="twice"))
        assert all(self.run(db).values())

    @pytest.mark.parametrize(
        ("code", "break_it"),
        [
            ("registry.enrolment", lambda db, _: db.execute(Enrolment.__table__.delete())),
            ("registry.current", lambda _, s: setattr(s, "class_no", "9")),
            ("registry.level", lambda _, s: setattr(s, "level", "mild")),
            ("registry.suffix", lambda db, _: db.execute(NameSuffix.__table__.delete())),
            ("registry.sealed", lambda _, s: setattr(s, "document_index", b"x" * 32)),
            ("registry.placed", lambda _, s: setattr(s, "authority_code", "431102")),
            ("registry.overlap", lambda db, s: db.add(
                Enrolment(student_id=s.id, school_id=s.school_id, stage="X", grade=4, boarding="1", source="t",
                          valid_from=TODAY - timedelta(days=410), valid_to=TODAY - timedelta(days=390)))),
        ],
    )  # fmt: skip
    def test_each_sees_what_it_guards_against(self, db: Session, code: str, break_it: Any) -> None:
        student = create_student(db, level="severe")
        db.flush()  # there before it is broken
        break_it(db, student)
        assert not self.run(db)[code]


@pytest.mark.race
@pytest.mark.parametrize("what", ["change", "enrolment"])
def test_of_two_editors_at_once_one_is_told(fresh_database: Database, what: str) -> None:
    with fresh_database.write() as db:
        student = create_student(db)
        actors = [officer(db, student) for _ in range(2)]
        public_id = student.public_id
    with fresh_database.read() as db:
        seen = get_student(db, actors[0], public_id)
        forms: list[Any] = [
            change_form(seen, health=value) if what == "change" else enrolment_form(seen, class_no=value)
            for value in ("3", "5")
        ]
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def editor(actor: Actor, form: Any) -> None:
        start.wait()
        try:
            with fresh_database.write() as db:
                mine = get_student(db, actor, public_id)
                verb: Any = changes.change if what == "change" else changes.change_enrolment
                verb(db, actor, mine, form)
            outcomes.append("stored")
        except (DomainError, StaleDataError):
            outcomes.append("told")

    threads = [threading.Thread(target=editor, args=pair) for pair in zip(actors, forms, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["stored", "told"]
    with fresh_database.read() as db:
        assert all(check.run(db).ok for check in CHECKS)
