"""Registering a student at the desk: the number first, then the child with schooling, guardian and account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import throttle
from app.access.permissions import Permission
from app.access.scope import visible
from app.access.throttle import Purpose
from app.audit import Tag, record
from app.audit.reads import note_reads
from app.core import crash
from app.core.actor import Actor, ScopeKind
from app.core.codes import DEPARTMENTS, HARDSHIP_CATEGORIES
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m
from app.core.identity import Document
from app.core.mask import mask_id
from app.db import violates
from app.registry import current, family, places
from app.registry.forms import NEEDED, RegisterForm
from app.registry.models import Enrolment, HardshipFact, School, Student
from app.registry.students import (
    DOCUMENT_UNIQUE,
    FIELDS,
    NOT_STORED,
    NUMBER_TAKEN,
    STUDENT_NUMBER_UNIQUE,
    grade_of,
    identity_index,
    named,
    rewrite_suffixes,
    student_number_index,
)

SOURCE = "desk"


@dataclass(frozen=True)
class Found:
    """What the desk may know of a number before it is registered.

    `student` is the public id where the child is within reach; `school` is named only to somebody who knows the
    child's name as well as the number.
    """

    sentence: Message
    taken: bool = False
    student: str = ""
    school: str = ""
    birth_date: date | None = None
    sex: str = ""
    warnings: tuple[Message, ...] = ()


class AlreadyRegistered(Conflict):
    """The number belongs to a student in the registry; `found` is what this officer may know about it."""

    def __init__(self, found: Found) -> None:
        super().__init__(
            NOT_STORED, code="registry.already-registered", fields={"document_number": found.sentence}
        )
        self.found = found


def look_up(db: Session, actor: Actor, document: Document, name: str | None) -> Found:
    """Is this child in the registry? Counts against the day's look-ups, and a hit leaves a read line.

    Call it in a transaction that stays whatever becomes of the request.
    """
    actor.require(Permission.STUDENTS_REGISTER)
    throttle.take(db, Purpose.LOOK_UP, str(actor.account_id))
    found = _known(db, actor, document, name)
    if found.taken:
        subject = found.student or _public_id(db, document)
        note_reads(db, actor, [subject], kind="student", what="look-up")
    return found


def _public_id(db: Session, document: Document) -> str:
    index = identity_index(document.type, document.value)
    return db.scalars(select(Student.public_id).where(Student.document_index == index)).one()


def _known(db: Session, actor: Actor, document: Document, name: str | None) -> Found:
    identity = document.identity
    told: dict[str, Any] = {"warnings": document.warnings}
    if identity is not None:
        told |= {"birth_date": identity.birth_date, "sex": identity.sex}
    index = identity_index(document.type, document.value)
    # One look beyond the scope, by the whole number only: a child is registered once in the whole city.
    row = db.execute(
        select(Student.public_id, Student.name, Student.school_id).where(Student.document_index == index)
    ).first()
    if row is None:
        return Found(_m("This number is not in the registry yet. Go on with the form."), **told)
    reachable = db.scalar(
        visible(actor, Student).with_only_columns(Student.id).where(Student.document_index == index)
    )
    if reachable is not None:
        return Found(
            _m("This student is in the registry already. Open the record instead of registering again."),
            taken=True, student=row.public_id, **told,
        )  # fmt: skip
    if name is not None and name == row.name:
        school = places.school_name(db, row.school_id)
        return Found(
            _m("This student is registered at %(school)s. Ask that school or its county office for a transfer.",
               school=school),
            taken=True, school=school, **told,
        )  # fmt: skip
    return Found(
        _m("This number cannot be registered with this name. Compare both with the document; if they are right, "
           "ask the county office."),
        taken=True, **told,
    )  # fmt: skip


def register(db: Session, actor: Actor, form: RegisterForm) -> Student:
    """A new student, enrolled from a day on. One child has one record in the whole city, whoever is quicker."""
    actor.require(Permission.STUDENTS_REGISTER)
    school = school_of(db, actor, form.school)
    stage, year = grade_of(form.grade)
    _complete(form, school, stage)
    document = form.document
    student = Student(
        document_type=document.type.value,
        document_number=document.value,
        document_index=identity_index(document.type, document.value),
        document_mask=mask_id(document.value),
        sex=form.sex,
        birth_date=form.birth_date,
        ethnicity=form.ethnicity,
        student_number=form.student_number,
        student_number_index=student_number_index(form.student_number) if form.student_number else None,
        phone=form.phone,
        address=form.address,
        left_behind=form.left_behind,
        health=form.health,
        disability=form.disability,
        registered_by=actor.account_id,
    )
    named(db, student, form.name)
    enrolment = Enrolment(
        school_id=school.id, stage=stage, grade=year, class_no=form.class_no, boarding=form.boarding,
        study_state="01", valid_from=form.since, source=SOURCE, recorded_by=actor.account_id,
    )  # fmt: skip
    current.enrolled(student, enrolment, school)
    try:
        with db.begin_nested():
            db.add(student)
            db.flush()  # the key, and the answer of the unique indexes
    except IntegrityError as error:
        raise _refusal(db, actor, error, document, form.name) from None
    crash.point("register.student")
    enrolment.student_id = student.id
    db.add(enrolment)
    rewrite_suffixes(db, student)
    record(
        db, actor, Tag.STUDENT_REGISTERED, subject=("student", student.public_id),
        new={"name": student.name, "document": student.document_mask, "school": school.code, "grade": form.grade,
             "class": form.class_no, "boarding": form.boarding, "since": form.since},
    )  # fmt: skip
    _categories(db, actor, student, form)
    _family(db, actor, student, form)
    return student


def school_of(db: Session, actor: Actor, public_id: str | None) -> School:
    """The school typed in a form; somebody who works for one school need not choose it."""
    if actor.scope.kind is ScopeKind.SCHOOL:
        own: School | None = db.scalar(visible(actor, School))
        if own is None:
            raise NotFound(_m("The school of your account does not exist any more. Ask your administrator."))
        if public_id not in (None, own.public_id):
            raise Invalid(FIELDS, fields={"school": _m("You can register at your own school only.")})
        if own.closed_on is not None:
            raise Conflict(_m("Your school is closed. Nobody can be enrolled there any more."))
        return own
    if public_id is None:
        raise Invalid(FIELDS, fields={"school": NEEDED})
    try:
        return places.get_school(db, actor, public_id)
    except NotFound as error:
        raise Invalid(FIELDS, fields={"school": error.message}) from None


def teaches(school: School, stage: str) -> None:
    if stage not in school.stages:
        raise Invalid(
            FIELDS,
            fields={
                "grade": _m("%(school)s does not teach this stage. Choose another grade.", school=school.name)
            },
        )


def _complete(form: RegisterForm, school: School, stage: str) -> None:
    """The parts of the form that belong together are all there, or none of them."""
    wrong: dict[str, Message] = {}
    if stage not in school.stages:
        wrong["grade"] = _m("%(school)s does not teach this stage. Choose another grade.", school=school.name)
    if form.birth_date and form.since < form.birth_date:
        wrong["since"] = _m("This day lies before the student's birth.")
    guardian = (form.guardian_name, form.guardian_relation)
    if any((*guardian, form.guardian_number, form.guardian_phone)):
        wrong |= {
            name: NEEDED
            for name, value in zip(("guardian_name", "guardian_relation"), guardian, strict=True)
            if not value
        }
    account = (form.account_holder, form.bank_name, form.account_number)
    if any(account):
        wrong |= {
            name: NEEDED
            for name, value in zip(("account_holder", "bank_name", "account_number"), account, strict=True)
            if not value
        }
    if form.account_holder == "guardian" and not form.guardian_name:
        wrong["account_holder"] = _m("Enter the guardian above, or choose the student as the holder.")
    if form.guardian_number and form.document_type == "1" and form.guardian_number == form.document_number:
        wrong["guardian_number"] = _m("This is the student's own number.")
    if wrong:
        raise Invalid(FIELDS, fields=wrong)


def _refusal(db: Session, actor: Actor, error: IntegrityError, document: Document, name: str) -> Exception:
    if violates(error, DOCUMENT_UNIQUE):
        return AlreadyRegistered(_known(db, actor, document, name))
    if violates(error, STUDENT_NUMBER_UNIQUE):
        return Conflict(NOT_STORED, fields={"student_number": NUMBER_TAKEN})
    return error


def _categories(db: Session, actor: Actor, student: Student, form: RegisterForm) -> None:
    if not form.categories:
        return
    actor.require(Permission.HARDSHIP_RECORD)
    for code in form.categories:
        db.add(
            HardshipFact(
                student_id=student.id, category=code, valid_from=form.since,
                source=DEPARTMENTS[HARDSHIP_CATEGORIES[code].owner].zh, recorded_by=actor.account_id,
            )
        )  # fmt: skip
        record(
            db, actor, Tag.HARDSHIP_RECORDED, subject=("student", student.public_id),
            new={"category": code, "since": form.since},
        )  # fmt: skip


def _family(db: Session, actor: Actor, student: Student, form: RegisterForm) -> None:
    guardian = None
    if form.guardian_name and form.guardian_relation:
        try:
            guardian = family.attach(
                db, actor, student, name=form.guardian_name, relation=form.guardian_relation,
                number=form.guardian_number, phone=form.guardian_phone, since=form.since,
            )  # fmt: skip
        except (Invalid, Conflict) as error:
            fields = {f"guardian_{name}": sentence for name, sentence in error.fields.items()}
            raise type(error)(error.message, fields=fields) from None
    if form.account_number and form.bank_name:
        family.open_account(
            db, actor, student, guardian if form.account_holder == "guardian" else None,
            bank_name=form.bank_name, number=form.account_number, since=form.since, source=SOURCE,
        )  # fmt: skip
