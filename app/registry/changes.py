"""Changing what is known of a student: personal data, schooling, and taking a wrong record out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import column, exists, select, table, union_all
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m
from app.core.identity import check_document
from app.core.mask import mask_id, mask_phone
from app.core.problem import Problem
from app.db import violates
from app.registry import current, desk
from app.registry.forms import ERASABLE, ChangeForm, EnrolmentForm, VoidForm, must_belong
from app.registry.models import Enrolment, RecordState, School, Student
from app.registry.students import (
    DOCUMENT_UNIQUE,
    FIELDS,
    NOT_STORED,
    NUMBER_TAKEN,
    STUDENT_NUMBER_UNIQUE,
    grade_of,
    identity_index,
    must_be_unchanged,
    must_stand,
    named,
    rewrite_suffixes,
    student_number_index,
)

PLAIN: Final = ("birth_date", "sex", "ethnicity", "left_behind", "health", "disability")
# Where money hangs on a student; these tables lie on the floors above and are asked by name.
_MONEY: Final = ("payable", "payout_line")


# --- Personal data ----------------------------------------------------------------------------


def change(db: Session, actor: Actor, student: Student, form: ChangeForm) -> Student:
    """Correct personal data. An empty protected field stays as it is."""
    actor.require(Permission.STUDENTS_CHANGE)
    must_stand(student)
    must_be_unchanged(student, form.version)
    _agree(student, form)
    number = form.document_number
    document = {"document_type": form.document_type, "document_number": number} if number else {}
    values = {name: getattr(form, name) for name in ("name", *PLAIN, *ERASABLE)}
    rewrite(db, actor, student, {**values, **document}, reason=form.reason, erase=form.erase)
    return student


def rewrite(
    db: Session, actor: Actor, student: Student, values: Mapping[str, Any], *, reason: str | None = None,
    source: str | None = None, erase: Collection[str] = (),
) -> bool:  # fmt: skip
    """Set what differs of the personal data among `values`; an empty protected value leaves what is on record, but
    for those to `erase`. Tells whether anything differed. `source` is the import that says so, where it was one."""
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    name = values.get("name")
    if name and name != student.name:
        old["name"], new["name"] = student.name, name
        named(db, student, name)
    for plain in (*PLAIN, "hukou_kind"):
        before, after = getattr(student, plain), values.get(plain, getattr(student, plain))
        if before != after:
            old[plain], new[plain] = before, after
            setattr(student, plain, after)
    _protected(student, values, old, new)
    for name in erase:
        if getattr(student, name):
            old[name], new[name] = "***", ""
            setattr(student, name, None)
            if name == "student_number":
                student.student_number_index = None
    if not new:
        return False
    try:
        with db.begin_nested():
            db.flush()  # the answer of the unique indexes
    except IntegrityError as error:
        if violates(error, DOCUMENT_UNIQUE):
            taken = _m("Another student has this number. Compare it with the document.")
            raise Conflict(NOT_STORED, fields={"document_number": taken}) from None
        if violates(error, STUDENT_NUMBER_UNIQUE):
            raise Conflict(NOT_STORED, fields={"student_number": NUMBER_TAKEN}) from None
        raise
    told = {"import": source} if source else {}
    record(db, actor, Tag.STUDENT_CHANGED, subject=("student", student.public_id), old=old, new={**new, **told},
           reason=reason)  # fmt: skip
    return True


def _agree(student: Student, form: ChangeForm) -> None:
    """Birth date, sex and a new student number agree with the number that the student will have; what is to be erased
    is not typed as well."""
    if form.document_number is None and form.document_type != student.document_type:
        wrong = _m("Another kind of document has another number. Enter it.")
        raise Invalid(FIELDS, fields={"document_number": wrong})
    number = form.document_number or student.document_number
    identity = check_document(form.document_type, number, today=clock.today()).identity if number else None
    said: dict[str, Message] = {}
    if identity is not None and form.document_number is None:
        if form.birth_date != identity.birth_date:
            said["birth_date"] = _m(
                "The identity number says %(day)s. Correct one of the two.", day=identity.birth_date
            )
        if form.sex != identity.sex:
            said["sex"] = _m("The identity number says otherwise. Correct one of the two.")
    # The one on record may lag behind a corrected identity number.
    if form.student_number and form.student_number != student.student_number:
        try:
            must_belong(form.student_number, identity)
        except Problem as problem:
            said["student_number"] = problem.message
    for name in form.erase:
        if getattr(form, name):
            said[name] = _m("A new value is typed, and the stored one is to be removed. Do one of the two.")
    if said:
        raise Invalid(FIELDS, fields=said)


def _protected(student: Student, values: Mapping[str, Any], old: dict[str, Any], new: dict[str, Any]) -> None:
    number, kind = values.get("document_number"), values.get("document_type")
    if number and kind and (number, kind) != (student.document_number, student.document_type):
        old["document"], new["document"] = student.document_mask, mask_id(number)
        student.document_type = kind
        student.document_number, student.document_mask = number, mask_id(number)
        student.document_index = identity_index(kind, number)
    if (text := values.get("student_number")) and text != student.student_number:
        old["student_number"], new["student_number"] = mask_id(student.student_number), mask_id(text)
        student.student_number = text
        student.student_number_index = student_number_index(text)
    if (phone := values.get("phone")) and phone != student.phone:
        old["phone"], new["phone"] = mask_phone(student.phone), mask_phone(phone)
        student.phone = phone
    if (address := values.get("address")) and address != student.address:
        old["address"], new["address"] = "***" if student.address else "", "***"
        student.address = address


# --- Schooling --------------------------------------------------------------------------------


def find_enrolment(db: Session, student: Student) -> Enrolment | None:
    """The enrolment that is open."""
    return db.scalar(
        select(Enrolment).where(Enrolment.student_id == student.id, Enrolment.valid_to.is_(None))
    )


def change_enrolment(db: Session, actor: Actor, student: Student, form: EnrolmentForm) -> Enrolment:
    """From a day on the student learns elsewhere, in another class, or no longer. The former enrolment ends on the
    day before and is kept; one that began on the very day is taken for a slip and corrected."""
    actor.require(Permission.STUDENTS_CHANGE)
    must_stand(student)
    must_be_unchanged(student, form.version)
    school = _school(db, actor, student, form.school)
    stage, year = grade_of(form.grade)
    desk.teaches(school, stage)
    values: dict[str, Any] = {
        "school_id": school.id, "stage": stage, "grade": year, "class_no": form.class_no,
        "boarding": form.boarding, "study_state": form.study_state,
    }  # fmt: skip
    former = find_enrolment(db, student)
    old = _schooling(former) if former else None
    enrolment = Enrolment(student_id=student.id, valid_from=form.since)
    if former is not None:
        if all(getattr(former, name) == value for name, value in values.items()):
            raise Invalid(_m("Nothing differs from the present enrolment, so nothing was stored."))
        if form.since < former.valid_from:
            raise Invalid(FIELDS, fields={"since": _began(former.valid_from)})
        if form.since == former.valid_from:
            enrolment = former
        else:
            former.valid_to = form.since - timedelta(days=1)
    for name, value in values.items():
        setattr(enrolment, name, value)
    enrolment.source = desk.SOURCE
    enrolment.recorded_at, enrolment.recorded_by = clock.now(), actor.account_id
    current.enrolled(student, enrolment, school)
    # The student's row comes first, so that two editors meet at its version; the former enrolment is closed
    # before the next one opens.
    db.flush()  # see above
    db.add(enrolment)
    record(
        db, actor, Tag.ENROLMENT_CHANGED, subject=("student", student.public_id), old=old,
        new={**_schooling(enrolment), "since": form.since},
    )  # fmt: skip
    return enrolment


def _school(db: Session, actor: Actor, student: Student, public_id: str | None) -> School:
    """Somebody who works for one school keeps students there; offices move them within their reach."""
    if actor.scope.kind is ScopeKind.SCHOOL or public_id is not None:
        return desk.school_of(db, actor, public_id)
    school = db.get(School, student.school_id)
    if school is None:
        raise NotFound(_m("The school of this student does not exist any more."))
    return school


def _schooling(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "school_id": enrolment.school_id, "grade": f"{enrolment.stage}{enrolment.grade}", "class": enrolment.class_no,
        "boarding": enrolment.boarding, "study_state": enrolment.study_state,
    }  # fmt: skip


def _began(day: date) -> Message:
    return _m("The present one began on %(day)s; the new one begins on that day or later.", day=day)


# --- Void -------------------------------------------------------------------------------------


def void(db: Session, actor: Actor, student: Student, form: VoidForm) -> Student:
    """Take a wrongly created record out of every list and count. It is kept with its reason, its number becomes
    free; not possible once money hangs on it."""
    actor.require(Permission.STUDENTS_VOID)
    must_stand(student)
    student.record_state = RecordState.VOID.value
    student.voided_at = clock.now()
    student.void_reason = form.reason
    # Giving the number up also locks the row against new references (PostgreSQL), so that no place can be added
    # between the question below and the commit.
    student.document_index = None
    student.student_number_index = None
    rewrite_suffixes(db, student)
    db.flush()  # the row is ours before we ask what hangs on it
    if holds_money(db, student):
        raise Conflict(
            _m("This student stands in an introduction or a payout, so the record cannot be voided. Correct it "
               "instead, or have the place withdrawn first."),
            code="registry.money",
        )  # fmt: skip
    record(db, actor, Tag.STUDENT_VOIDED, subject=("student", student.public_id),
           old={"name": student.name, "document": student.document_mask}, reason=form.reason)  # fmt: skip
    return student


def holds_money(db: Session, student: Student) -> bool:
    """Does the student stand in an introduction that was not withdrawn, or in anything due or paid?"""
    place = table("place", column("student_id"), column("state"))
    asked = [select(place.c.student_id).where(place.c.student_id == student.id, place.c.state != "withdrawn")]
    for name in _MONEY:
        owed = table(name, column("student_id"))
        asked.append(select(owed.c.student_id).where(owed.c.student_id == student.id))
    return bool(db.scalar(select(exists(union_all(*asked).subquery().select()))))
