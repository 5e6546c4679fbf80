"""Finding one student, and the words by which a verb refuses a record that is closed to it."""

from __future__ import annotations

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.orm import Session

from app.access.scope import visible
from app.core.actor import Actor
from app.core.codes import GRADES
from app.core.crypto import blind_index
from app.core.errors import Conflict, NotFound
from app.core.i18n import Message, _m
from app.core.text import name_keys, suffixes
from app.registry.models import Guardian, NameSuffix, RecordState, Student

DOCUMENT_UNIQUE = next(
    rule for rule in Student.__table__.constraints  # type: ignore[attr-defined] # a mapped class's table
    if isinstance(rule, UniqueConstraint) and "document_index" in rule.columns
)  # fmt: skip
STUDENT_NUMBER_UNIQUE = next(
    rule for rule in Student.__table__.constraints  # type: ignore[attr-defined] # a mapped class's table
    if isinstance(rule, UniqueConstraint) and "student_number_index" in rule.columns
)  # fmt: skip
GUARDIAN_UNIQUE = next(
    rule for rule in Guardian.__table__.constraints  # type: ignore[attr-defined] # a mapped class's table
    if isinstance(rule, UniqueConstraint) and "document_index" in rule.columns
)  # fmt: skip
FIELDS: Message = _m("Some fields need another look. What you typed is kept.")
NOT_STORED: Message = _m("Nothing was stored; what you typed is kept.")
NUMBER_TAKEN: Message = _m("Another student has this student number. Compare it with the enrolment register.")


def identity_index(document_type: str, number: str) -> bytes:
    return blind_index("identity", f"{document_type}:{number}")


def guardian_index(number: str, document_type: str = "1") -> bytes:
    return blind_index("guardian_identity", f"{document_type}:{number}")


def student_number_index(number: str) -> bytes:
    return blind_index("student_number", number)


def account_index(number: str) -> bytes:
    return blind_index("account_number", number)


def get_student(db: Session, actor: Actor, public_id: str) -> Student:
    """A student within the actor's reach; voided records are found as well, each verb says whether it takes them."""
    student: Student | None = db.scalar(visible(actor, Student).where(Student.public_id == public_id))
    if student is None:
        raise NotFound(
            _m("This student does not exist, or is not in your scope. Look for the name in the list.")
        )
    return student


def must_stand(student: Student) -> None:
    """Nothing is written to a record that was voided."""
    if student.record_state == RecordState.VOID:
        raise Conflict(
            _m("This record was voided on %(day)s. Nothing can be changed in it.", day=student.voided_at)
        )


def must_be_unchanged(student: Student, version: int) -> None:
    """The record is as the editor saw it; otherwise the page shows both versions."""
    if student.version != version:
        raise Conflict(
            _m(
                "Somebody else has changed this record since you opened it. Nothing was stored yet: compare both "
                "versions below, then send yours again if it still holds."
            ),
            code="registry.overtaken",
        )


def named(db: Session, student: Student, name: str) -> None:
    """Give the student this name, with all that is found and sorted by it."""
    keys = name_keys(name)
    student.name, student.sort_key = name, keys.sort_key
    student.py_full, student.py_init = keys.py_full, keys.py_init
    if student.id is not None:
        rewrite_suffixes(db, student)


def rewrite_suffixes(db: Session, student: Student) -> None:
    wanted = set(suffixes(student.name)) if student.record_state != RecordState.VOID else set()
    for row in db.scalars(select(NameSuffix).where(NameSuffix.student_id == student.id)):
        if row.suffix in wanted:
            wanted.discard(row.suffix)
        else:
            db.delete(row)
    db.add_all(NameSuffix(suffix=suffix, student_id=student.id) for suffix in sorted(wanted))


def grade_of(code: str) -> tuple[str, int]:
    """Stage and year of a grade's code, `X5`."""
    grade = GRADES[code]
    return grade.stage, grade.year
