"""Invariants of the registry. Each names the first record that breaks it, by its public id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    column,
    func,
    literal,
    or_,
    select,
    table,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from app.audit.checks import Check, CheckResult, no_rows
from app.core.i18n import _m
from app.core.mask import mask_id
from app.registry.exported import members_are_told
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardianship,
    HardshipFact,
    HardshipLevel,
    NameSuffix,
    RecordState,
    School,
    Student,
)
from app.registry.students import account_index, identity_index, student_number_index

_SAMPLE: Final = 400
_EVER: Final = date(9999, 12, 31)
_ACTIVE: Final = Student.record_state == RecordState.ACTIVE.value


def _rows(db: Session, statement: Select[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute(statement)]


def _count(db: Session, model: Any, *conditions: ColumnElement[bool]) -> str:
    return str(db.scalar(select(func.count()).select_from(model).where(*conditions)) or 0)


def _one_per_number(db: Session) -> CheckResult:
    twice = (
        select(func.min(Student.public_id))
        .where(_ACTIVE, Student.document_index.is_not(None))
        .group_by(Student.document_index)
        .having(func.count() > 1)
        .limit(1)
    )
    return no_rows(_rows(db, twice), figure=_count(db, Student, _ACTIVE))


def _one_open_enrolment(db: Session) -> CheckResult:
    per_student = (
        select(Enrolment.student_id, func.count().label("n"))
        .where(Enrolment.valid_to.is_(None))
        .group_by(Enrolment.student_id)
        .subquery()
    )
    wrong = (
        select(Student.public_id)
        .outerjoin(per_student, per_student.c.student_id == Student.id)
        .where(_ACTIVE, func.coalesce(per_student.c.n, 0) != 1)
        .limit(1)
    )
    return no_rows(_rows(db, wrong), figure=_count(db, Enrolment, Enrolment.valid_to.is_(None)))


# Facts of one person and kind: their days never overlap.
_KINDS: Final[Sequence[tuple[Any, tuple[Any, ...]]]] = (
    (Enrolment, (Enrolment.student_id,)),
    (HardshipFact, (HardshipFact.student_id, HardshipFact.category)),
    (HardshipLevel, (HardshipLevel.student_id,)),
    (BankAccount, (BankAccount.student_id,)),
    (Guardianship, (Guardianship.student_id, Guardianship.guardian_id)),
)


def _no_overlap(db: Session) -> CheckResult:
    facts = 0
    for model, kind in _KINDS:
        facts += int(_count(db, model))
        following = func.lead(model.valid_from).over(partition_by=kind, order_by=(model.valid_from, model.id))
        rows = select(
            model.student_id, func.coalesce(model.valid_to, _EVER).label("until"), following.label("next")
        ).subquery()
        wrong = db.execute(
            select(Student.public_id)
            .join(rows, rows.c.student_id == Student.id)
            .where(rows.c.next <= rows.c.until)
            .limit(1)
        ).first()
        if wrong is not None:
            return CheckResult(False, str(facts), f"{model.__tablename__} of {wrong.public_id}")
    return CheckResult(True, str(facts))


def _current_enrolment(db: Session) -> CheckResult:
    names = ("school_id", "stage", "grade", "class_no", "boarding", "study_state")
    wrong = (
        select(Student.public_id)
        .join(Enrolment, and_(Enrolment.student_id == Student.id, Enrolment.valid_to.is_(None)))
        .where(_ACTIVE, or_(*(getattr(Student, name) != getattr(Enrolment, name) for name in names)))
        .limit(1)
    )
    return no_rows(_rows(db, wrong), figure=_count(db, Student, _ACTIVE))


def _current_level(db: Session) -> CheckResult:
    later = aliased(HardshipLevel)
    newest = (
        select(HardshipLevel.student_id, HardshipLevel.level, HardshipLevel.valid_to)
        .outerjoin(
            later,
            and_(
                later.student_id == HardshipLevel.student_id,
                tuple_(later.valid_from, later.id) > tuple_(HardshipLevel.valid_from, HardshipLevel.id),
            ),
        )
        .where(later.id.is_(None))
        .subquery()
    )
    wrong = (
        select(Student.public_id)
        .outerjoin(newest, newest.c.student_id == Student.id)
        .where(
            _ACTIVE,
            or_(
                func.coalesce(Student.level, "") != func.coalesce(newest.c.level, ""),
                func.coalesce(Student.level_until, _EVER) != func.coalesce(newest.c.valid_to, _EVER),
            ),
        )
        .limit(1)
    )
    return no_rows(_rows(db, wrong), figure=_count(db, Student, _ACTIVE, Student.level.is_not(None)))


def _suffixes(db: Session) -> CheckResult:
    """Every name in force is found by its whole; no voided one is found at all."""
    lost = (
        select(Student.public_id)
        .outerjoin(NameSuffix, and_(NameSuffix.student_id == Student.id, NameSuffix.suffix == Student.name))
        .where(_ACTIVE, NameSuffix.student_id.is_(None))
        .limit(1)
    )
    left = (
        select(Student.public_id)
        .join(NameSuffix, NameSuffix.student_id == Student.id)
        .where(Student.record_state == RecordState.VOID.value)
        .limit(1)
    )
    wrong = db.execute(lost).first() or db.execute(left).first()
    return no_rows([tuple(wrong)] if wrong else [], figure=_count(db, NameSuffix))


def _sample(db: Session, model: Any, *columns: Any) -> Iterator[Any]:
    """Rows spread evenly over the table."""
    last = db.scalar(select(func.max(model.id))) or 0
    step = last // _SAMPLE + 1
    yield from db.execute(select(*columns).where(model.id % step == last % step).order_by(model.id))


def _protected_values(db: Session) -> CheckResult:
    """A sample of numbers opens with its key, and its index and mask are those of the value inside."""
    looked = 0
    for row in _sample(
        db, Student, Student.public_id, Student.document_type, Student.document_number, Student.document_index,
        Student.document_mask, Student.student_number, Student.student_number_index, Student.record_state,
    ):  # fmt: skip
        looked += 1
        wrong = row.document_mask != mask_id(row.document_number)
        if row.record_state == RecordState.ACTIVE:
            if row.document_number is not None:
                expected = identity_index(row.document_type, row.document_number)
                wrong = wrong or bytes(row.document_index or b"") != expected
            if row.student_number is not None:
                expected = student_number_index(row.student_number)
                wrong = wrong or bytes(row.student_number_index or b"") != expected
        if wrong:
            return CheckResult(False, str(looked), row.public_id)
    for account in _sample(
        db,
        BankAccount,
        BankAccount.public_id,
        BankAccount.number,
        BankAccount.number_index,
        BankAccount.number_tail,
    ):
        looked += 1
        if (bytes(account.number_index), account.number_tail) != (
            account_index(account.number),
            account.number[-4:],
        ):
            return CheckResult(False, str(looked), account.public_id)
    return CheckResult(True, str(looked))


def _placed(db: Session) -> CheckResult:
    wrong = (
        select(Student.public_id)
        .join(School, School.id == Student.school_id)
        .where(Student.authority_code != School.authority_code)
        .limit(1)
    )
    return no_rows(_rows(db, wrong), figure=_count(db, Student))


def _void_without_money(db: Session) -> CheckResult:
    place = table("place", column("student_id"), column("state"))
    owed = [table(name, column("student_id")) for name in ("payable", "payout_line")]
    asked = union_all(
        select(place.c.student_id).where(place.c.state != literal("withdrawn")),
        *(select(one.c.student_id) for one in owed),
    ).subquery()
    void = Student.record_state == RecordState.VOID.value
    wrong = select(Student.public_id).where(void, Student.id.in_(select(asked.c.student_id))).limit(1)
    return no_rows(_rows(db, wrong), figure=_count(db, Student, void))


def _account_holders(db: Session) -> CheckResult:
    """An account is the student's, or that of somebody who was a guardian of this student."""
    wrong = (
        select(Student.public_id)
        .join(BankAccount, BankAccount.student_id == Student.id)
        .outerjoin(
            Guardianship,
            and_(Guardianship.student_id == Student.id, Guardianship.guardian_id == BankAccount.guardian_id),
        )
        .where(BankAccount.guardian_id.is_not(None), Guardianship.id.is_(None))
        .limit(1)
    )
    return no_rows(_rows(db, wrong), figure=_count(db, BankAccount))


CHECKS: tuple[Check, ...] = (
    Check("registry.number", _m("One student per identity number"), _one_per_number),
    Check("registry.enrolment", _m("Every student has exactly one open enrolment"), _one_open_enrolment),
    Check("registry.overlap", _m("Facts of one kind do not overlap"), _no_overlap),
    Check("registry.current", _m("The list shows where each student learns now"), _current_enrolment),
    Check("registry.level", _m("The list shows the newest hardship level"), _current_level),
    Check("registry.suffix", _m("Every name is found, and no voided one"), _suffixes),
    Check(
        "registry.sealed", _m("Sealed numbers agree with their index and mask (sample)"), _protected_values
    ),
    Check("registry.placed", _m("Students belong to the authority of their school"), _placed),
    Check("registry.void", _m("No money hangs on a voided record"), _void_without_money),
    Check("registry.holder", _m("Accounts belong to the student or a guardian"), _account_holders),
    Check(
        "registry.exported",
        _m("Every exported list has its members, and its event names them"),
        members_are_told,
    ),
)
