"""The registry: one record per child; every fact carries its dates and its source."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.access.scope import Placed
from app.core.columns import (
    BinaryText,
    Encrypted,
    Key,
    Moment,
    day,
    digest,
    moment,
    moment_now,
    one_of,
    pk,
    public_id,
    short_text,
)
from app.db import Base


class AuthorityKind(StrEnum):
    CITY = "city"
    DISTRICT = "district"
    COUNTY = "county"
    COUNTY_CITY = "county_city"
    AUTONOMOUS_COUNTY = "autonomous_county"
    ZONE = "zone"
    DIRECT = "direct"


class Authority(Base):
    """An education authority under its own stable code; division codes are dated data beside it."""

    __tablename__ = "authority"
    __table_args__ = (one_of("kind", AuthorityKind),)

    id: Mapped[pk]
    public_id: Mapped[public_id]
    code: Mapped[str] = mapped_column(BinaryText(12), unique=True)
    name: Mapped[short_text]
    name_en: Mapped[short_text]
    kind: Mapped[str] = mapped_column(String(24))
    place_in_lists: Mapped[int]

    @classmethod
    def scope_authority(cls) -> Any:
        return cls.code


class AuthorityDivision(Base):
    """The division code (GB/T 2260) that an authority's area had from a day on."""

    __tablename__ = "authority_division"

    id: Mapped[pk]
    authority_id: Mapped[int] = mapped_column(
        Key, ForeignKey("authority.id", ondelete="RESTRICT"), index=True
    )
    division_code: Mapped[str] = mapped_column(BinaryText(6))
    valid_from: Mapped[day]
    valid_to: Mapped[date | None] = mapped_column(Date())


class School(Base):
    """A school, kindergarten or teaching point; `stages` holds the letters of the stages it teaches."""

    __tablename__ = "school"

    id: Mapped[pk]
    public_id: Mapped[public_id]
    code: Mapped[str] = mapped_column(BinaryText(10), unique=True)
    name: Mapped[short_text]
    sort_key: Mapped[str] = mapped_column(BinaryText(240))
    authority_code: Mapped[str] = mapped_column(
        BinaryText(12), ForeignKey("authority.code", ondelete="RESTRICT"), index=True
    )
    kind: Mapped[str] = mapped_column(BinaryText(3))
    stages: Mapped[str] = mapped_column(BinaryText(8))
    ownership: Mapped[str] = mapped_column(String(16), default="public")
    township: Mapped[short_text]
    office_phone: Mapped[str] = mapped_column(String(20), default="")
    closed_on: Mapped[date | None] = mapped_column(Date())

    @classmethod
    def scope_authority(cls) -> Any:
        return cls.authority_code

    @classmethod
    def scope_school(cls) -> Any:
        return cls.id


class Level(StrEnum):
    """Hardship level 认定等级."""

    SEVERE = "severe"
    MODERATE = "moderate"
    MILD = "mild"


class RecordState(StrEnum):
    ACTIVE = "active"
    VOID = "void"


class Student(Placed, Base):
    """A child in the registry, with where it learns now.

    School, stage, grade, class, boarding, study state and level are those of the open enrolment and the newest
    level; they stand here so that a list of the whole city reads one table, and `registry.current` alone writes
    them. `zhuxue verify` compares them with the facts.
    """

    __tablename__ = "student"
    __table_args__ = (
        one_of("record_state", RecordState),
        one_of("level", Level, nullable=True),
        CheckConstraint("(record_state = 'void') = (voided_at IS NOT NULL)", name="void_stamped"),
        Index("ix_student_list", "record_state", "sort_key", "id"),
        Index("ix_student_authority_list", "record_state", "authority_code", "sort_key", "id"),
        Index("ix_student_school_list", "school_id", "stage", "grade", "class_no", "sort_key", "id"),
        # All that a list is narrowed by: an exact count of any of it reads this index alone.
        Index(
            "ix_student_facets",
            "record_state",
            "authority_code",
            "stage",
            "grade",
            "boarding",
            "study_state",
            "level",
            "level_until",
        ),
        # The city's levels at a glance, and who may be introduced.
        Index(
            "ix_student_level",
            "record_state",
            "level",
            "level_until",
            "authority_code",
            "stage",
            "study_state",
            "id",
        ),
        Index("ix_student_name", "name", "id"),
        Index("ix_student_py_full", "py_full", "id"),
        Index("ix_student_py_init", "py_init", "id"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    name: Mapped[str] = mapped_column(BinaryText(60))
    sort_key: Mapped[str] = mapped_column(BinaryText(240))
    py_full: Mapped[str] = mapped_column(BinaryText(180))
    py_init: Mapped[str] = mapped_column(BinaryText(60))
    sex: Mapped[str] = mapped_column(BinaryText(1))
    birth_date: Mapped[day]
    ethnicity: Mapped[str] = mapped_column(BinaryText(2))
    document_type: Mapped[str] = mapped_column(BinaryText(1))
    document_number: Mapped[str | None] = mapped_column(Encrypted("student.document_number"))
    document_index: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    document_mask: Mapped[str] = mapped_column(String(32), default="")
    student_number: Mapped[str | None] = mapped_column(Encrypted("student.student_number"))
    student_number_index: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    phone: Mapped[str | None] = mapped_column(Encrypted("student.phone"))
    address: Mapped[str | None] = mapped_column(Encrypted("student.address"))
    hukou_kind: Mapped[str] = mapped_column(BinaryText(1), default="")
    left_behind: Mapped[str] = mapped_column(BinaryText(1), default="0")
    health: Mapped[str] = mapped_column(BinaryText(1), default="1")
    disability: Mapped[str] = mapped_column(BinaryText(1), default="0")
    stage: Mapped[str] = mapped_column(BinaryText(1))
    grade: Mapped[int]
    class_no: Mapped[str] = mapped_column(BinaryText(12), default="")
    boarding: Mapped[str] = mapped_column(BinaryText(1))
    study_state: Mapped[str] = mapped_column(BinaryText(2), default="01")
    level: Mapped[str | None] = mapped_column(String(16))
    level_until: Mapped[date | None] = mapped_column(Date())
    record_state: Mapped[str] = mapped_column(String(8), default=RecordState.ACTIVE)
    voided_at: Mapped[datetime | None] = mapped_column(Moment())
    void_reason: Mapped[str] = mapped_column(String(400), default="")
    registered_at: Mapped[moment_now]
    registered_by: Mapped[int | None] = mapped_column(Key)
    audit_seq: Mapped[int | None] = mapped_column(Key)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}


class NameSuffix(Base):
    """Every suffix of a student's name, so that any substring is a prefix range."""

    __tablename__ = "name_suffix"

    suffix: Mapped[str] = mapped_column(BinaryText(60), primary_key=True)
    student_id: Mapped[int] = mapped_column(
        Key, ForeignKey("student.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Enrolment(Base):
    """Where a student learned, from a day to a day; at most one is open."""

    __tablename__ = "enrolment"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="interval"),
        Index("uq_enrolment_open", "student_id", unique=True, sqlite_where=text("valid_to IS NULL"),
              postgresql_where=text("valid_to IS NULL")),
    )  # fmt: skip

    id: Mapped[pk]
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"), index=True)
    school_id: Mapped[int] = mapped_column(Key, ForeignKey("school.id", ondelete="RESTRICT"), index=True)
    stage: Mapped[str] = mapped_column(BinaryText(1))
    grade: Mapped[int]
    class_no: Mapped[str] = mapped_column(BinaryText(12), default="")
    boarding: Mapped[str] = mapped_column(BinaryText(1))
    study_state: Mapped[str] = mapped_column(BinaryText(2), default="01")
    valid_from: Mapped[day]
    valid_to: Mapped[date | None] = mapped_column(Date())
    source: Mapped[str] = mapped_column(String(60))
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key)


class HardshipFact(Base):
    """A hardship category of a student, from a day to a day, with who says so."""

    __tablename__ = "hardship_fact"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="interval"),
        Index("uq_hardship_fact_open", "student_id", "category", unique=True, sqlite_where=text("valid_to IS NULL"),
              postgresql_where=text("valid_to IS NULL")),
        Index("ix_hardship_fact_category", "category", "student_id"),
        Index("ix_hardship_fact_student", "student_id"),
    )  # fmt: skip

    id: Mapped[pk]
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"))
    category: Mapped[str] = mapped_column(BinaryText(2))
    valid_from: Mapped[day]
    valid_to: Mapped[date | None] = mapped_column(Date())
    source: Mapped[str] = mapped_column(String(60))
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key)


class HardshipLevel(Base):
    """A hardship level, from a day to the end of a school year at most, with who decided it.

    A new level closes the one before it on the day before, so that a day has one level.
    """

    __tablename__ = "hardship_level"
    __table_args__ = (
        one_of("level", Level),
        CheckConstraint("valid_to >= valid_from", name="interval"),
        Index("ix_hardship_level_student", "student_id", "valid_from"),
        # The longest waiting first, without a look at the levels of former years.
        Index("ix_hardship_level_waiting", "level", "valid_from", "student_id", "valid_to"),
    )

    id: Mapped[pk]
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"))
    level: Mapped[str] = mapped_column(String(16))
    valid_from: Mapped[day]
    valid_to: Mapped[day]
    source: Mapped[str] = mapped_column(String(60))
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key)


class Guardian(Base):
    """A guardian: a person of their own, who may be linked to several children."""

    __tablename__ = "guardian"

    id: Mapped[pk]
    public_id: Mapped[public_id]
    name: Mapped[str] = mapped_column(BinaryText(60))
    document_type: Mapped[str] = mapped_column(BinaryText(1), default="1")
    document_number: Mapped[str | None] = mapped_column(Encrypted("guardian.document_number"))
    document_index: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    document_mask: Mapped[str] = mapped_column(String(32), default="")
    phone: Mapped[str | None] = mapped_column(Encrypted("guardian.phone"))
    audit_seq: Mapped[int | None] = mapped_column(Key)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}


class Guardianship(Base):
    """Who stands for a child, in which relation (GB/T 4761), from a day to a day."""

    __tablename__ = "guardianship"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="interval"),
        Index("ix_guardianship_student", "student_id"),
        Index("uq_guardianship_open", "student_id", "guardian_id", unique=True, sqlite_where=text("valid_to IS NULL"),
              postgresql_where=text("valid_to IS NULL")),
    )  # fmt: skip

    id: Mapped[pk]
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"))
    guardian_id: Mapped[int] = mapped_column(Key, ForeignKey("guardian.id", ondelete="RESTRICT"), index=True)
    relation: Mapped[str] = mapped_column(BinaryText(2))
    valid_from: Mapped[day]
    valid_to: Mapped[date | None] = mapped_column(Date())


class BankAccount(Base):
    """Where a student's money goes: the student's own account, or a guardian's; at most one is open."""

    __tablename__ = "bank_account"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="interval"),
        Index("ix_bank_account_student", "student_id"),
        Index("uq_bank_account_open", "student_id", unique=True, sqlite_where=text("valid_to IS NULL"),
              postgresql_where=text("valid_to IS NULL")),
    )  # fmt: skip

    id: Mapped[pk]
    public_id: Mapped[public_id]
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"))
    guardian_id: Mapped[int | None] = mapped_column(Key, ForeignKey("guardian.id", ondelete="RESTRICT"))
    holder_name: Mapped[str] = mapped_column(BinaryText(60))
    bank_name: Mapped[short_text]
    number: Mapped[str] = mapped_column(Encrypted("bank_account.number"))
    number_index: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    number_tail: Mapped[str] = mapped_column(BinaryText(4))
    valid_from: Mapped[day]
    valid_to: Mapped[date | None] = mapped_column(Date())
    source: Mapped[str] = mapped_column(String(60))
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key)


class ExportedList(Base):
    """A list of students that left the system as a file: who had it made, when and for what.

    `digest` covers the keys of its members in their order; the audit event of the export carries it as well.
    """

    __tablename__ = "exported_list"

    id: Mapped[pk]
    job: Mapped[str] = mapped_column(BinaryText(22), unique=True)
    at: Mapped[moment] = mapped_column(index=True)
    account_id: Mapped[int | None] = mapped_column(Key, index=True)
    person_id: Mapped[int | None] = mapped_column(Key)
    what: Mapped[str] = mapped_column(String(60))
    reason: Mapped[str] = mapped_column(String(200), default="")
    members: Mapped[int]
    digest: Mapped[digest]


class ExportedMember(Base):
    """One student in an exported list."""

    __tablename__ = "exported_member"

    list_id: Mapped[int] = mapped_column(
        Key, ForeignKey("exported_list.id", ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    student_id: Mapped[int] = mapped_column(
        Key, ForeignKey("student.id", ondelete="RESTRICT"), primary_key=True, autoincrement=False, index=True
    )


APPEND_ONLY = (ExportedList.__table__, ExportedMember.__table__)
