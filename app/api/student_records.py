"""What programs are told of a student, and the values that a student's fields may have."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session

from app.api.fields import Coded, PublicId, SchoolRef, path_id, school_ref
from app.api.replies import Out
from app.api.routing import PREFIX
from app.core import codes
from app.registry import record
from app.registry.models import Student
from app.registry.places import Places, known

StudentId = Annotated[str, path_id("student_id")]
ADDRESS = PREFIX + "/students/"

Sex = Annotated[str, Coded(codes.SEXES)]
Ethnicity = Annotated[str, Coded(codes.ETHNIC_GROUPS)]
DocumentType = Annotated[str, Coded(codes.DOCUMENT_TYPES)]
LeftBehind = Annotated[str, Coded(codes.LEFT_BEHIND)]
Health = Annotated[str, Coded(codes.HEALTH)]
Disability = Annotated[str, Coded(codes.DISABILITIES)]
Grade = Annotated[str, Coded(codes.GRADES)]
Stage = Annotated[str, Coded(codes.STAGES)]
Boarding = Annotated[str, Coded(codes.BOARDING)]
StudyState = Annotated[str, Coded(codes.STUDENT_STATES)]
Level = Annotated[str, Coded(codes.LEVELS)]
Category = Annotated[str, Coded(codes.HARDSHIP_CATEGORIES)]
Relation = Annotated[str, Coded(sorted(codes.GUARDIAN_RELATIONS))]
Words = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\u0000-\u001f\u007f]+$")]
Name = Annotated[str, Field(min_length=1, max_length=60, examples=["Pan Yijia"])]


class StudentRow(Out):
    """A student in a list. The document number is masked."""

    id: PublicId
    name: str
    sex: str
    document_number: str = Field(examples=["4311**********1234"])
    school: SchoolRef | None
    stage: str
    grade: str = Field(examples=["X5"])
    class_no: str
    boarding: str
    study_state: str
    level: str | None
    level_until: date | None


class StudentList(Out):
    items: list[StudentRow]


class EnrolmentOut(Out):
    school: SchoolRef | None
    grade: str
    class_no: str
    boarding: str
    study_state: str
    valid_from: date
    valid_to: date | None
    source: str


class GuardianOut(Out):
    id: PublicId
    name: str
    relation: str
    document_number: str
    phone: str
    valid_from: date
    valid_to: date | None


class CategoryOut(Out):
    category: str
    valid_from: date
    valid_to: date | None
    source: str


class LevelOut(Out):
    level: str
    valid_from: date
    valid_to: date
    source: str


class BankAccountOut(Out):
    holder_name: str
    bank_name: str
    number: str = Field(examples=["****1234"])
    valid_from: date
    valid_to: date | None


class StudentRecord(Out):
    """Everything that is known of a student; protected values are masked."""

    id: PublicId
    version: int
    name: str
    sex: str
    birth_date: date
    ethnicity: str
    document_type: str
    document_number: str
    student_number: str
    phone: str
    address: str
    left_behind: str
    health: str
    disability: str
    authority: str
    school: SchoolRef | None
    grade: str
    class_no: str
    boarding: str
    study_state: str
    level: str | None
    level_until: date | None
    record_state: str
    voided_at: datetime | None
    void_reason: str
    registered_at: datetime
    enrolments: list[EnrolmentOut]
    guardians: list[GuardianOut]
    categories: list[CategoryOut]
    levels: list[LevelOut]
    bank_accounts: list[BankAccountOut]


def student_row(row: Any, places: Places) -> StudentRow:
    return StudentRow(
        id=row.public_id, name=row.name, sex=row.sex, document_number=row.document_mask,
        school=school_ref(places, row.school_id), stage=row.stage, grade=f"{row.stage}{row.grade}",
        class_no=row.class_no, boarding=row.boarding, study_state=row.study_state, level=row.level,
        level_until=row.level_until,
    )  # fmt: skip


def student_record(db: Session, student: Student) -> StudentRecord:
    places = known(db)
    facts = record.facts_of(db, student)
    return StudentRecord(
        id=student.public_id, version=student.version, name=student.name, sex=student.sex,
        birth_date=student.birth_date, ethnicity=student.ethnicity, document_type=student.document_type,
        **record.masks_of(student),
        left_behind=student.left_behind, health=student.health, disability=student.disability,
        authority=student.authority_code, school=school_ref(places, student.school_id),
        grade=f"{student.stage}{student.grade}", class_no=student.class_no, boarding=student.boarding,
        study_state=student.study_state, level=student.level, level_until=student.level_until,
        record_state=student.record_state, voided_at=student.voided_at, void_reason=student.void_reason,
        registered_at=student.registered_at,
        enrolments=[
            EnrolmentOut(school=school_ref(places, row.school_id), grade=f"{row.stage}{row.grade}",
                         class_no=row.class_no, boarding=row.boarding, study_state=row.study_state,
                         valid_from=row.valid_from, valid_to=row.valid_to, source=row.source)
            for row in facts.enrolments
        ],
        guardians=[
            GuardianOut(id=row.public_id, name=row.name, relation=row.relation, document_number=row.document_mask,
                        phone=row.phone_mask, valid_from=row.valid_from, valid_to=row.valid_to)
            for row in facts.guardians
        ],
        categories=[
            CategoryOut(category=row.category, valid_from=row.valid_from, valid_to=row.valid_to, source=row.source)
            for row in facts.categories
        ],
        levels=[
            LevelOut(level=row.level, valid_from=row.valid_from, valid_to=row.valid_to, source=row.source)
            for row in facts.levels
        ],
        bank_accounts=[
            BankAccountOut(holder_name=row.holder_name, bank_name=row.bank_name, number=row.number_mask,
                           valid_from=row.valid_from, valid_to=row.valid_to)
            for row in facts.accounts
        ],
    )  # fmt: skip
