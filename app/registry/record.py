"""What the page of one student shows, in few queries; protected values leave here as masks only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import clock, i18n
from app.core.codes import DEPARTMENTS
from app.core.i18n import Message, _m
from app.core.mask import mask_account, mask_id, mask_phone
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardian,
    Guardianship,
    HardshipFact,
    HardshipLevel,
    Student,
)

_SOURCES: Final[Mapping[str, Message]] = {
    "desk": _m("Registered at the desk"),
}
_DEPARTMENTS: Final = {department.zh: department for department in DEPARTMENTS.values()}


@dataclass(frozen=True)
class Facts:
    """Newest first; each row is a tuple ready for its table."""

    enrolments: list[Any]
    guardians: list[Any]
    categories: list[Any]
    levels: list[Any]
    accounts: list[Any]
    masks: Mapping[str, str]
    level_holds: bool

    @property
    def account(self) -> Any | None:
        return next((row for row in self.accounts if row.valid_to is None), None)

    @property
    def enrolment(self) -> Any | None:
        return next((row for row in self.enrolments if row.valid_to is None), None)

    @property
    def open_guardians(self) -> list[Any]:
        return [row for row in self.guardians if row.valid_to is None]


@dataclass(frozen=True, slots=True)
class GuardianRow:
    public_id: str
    name: str
    relation: str
    document_mask: str
    phone_mask: str
    valid_from: date
    valid_to: date | None


@dataclass(frozen=True, slots=True)
class AccountRow:
    holder_name: str
    guardian_id: int | None
    bank_name: str
    number_mask: str
    valid_from: date
    valid_to: date | None
    source: str


def source_name(source: str) -> str:
    """Where a fact comes from, in the reader's language where it is one of ours."""
    if source in _SOURCES:
        return str(_SOURCES[source])
    department = _DEPARTMENTS.get(source) or DEPARTMENTS.get(source)
    return department.label(i18n.locale.get()) if department else source


def masks_of(student: Student) -> dict[str, str]:
    """A student's protected values, as everybody who may open the record sees them."""
    return {
        "document_number": student.document_mask,
        "student_number": mask_id(student.student_number),
        "phone": mask_phone(student.phone),
        "address": "****" if student.address else "",
    }


def facts_of(db: Session, student: Student) -> Facts:
    """Every dated fact of a student, those that have ended as well: nothing is overwritten."""
    mine = student.id
    levels = db.execute(
        select(HardshipLevel.level, HardshipLevel.valid_from, HardshipLevel.valid_to, HardshipLevel.source)
        .where(HardshipLevel.student_id == mine)
        .order_by(HardshipLevel.valid_from.desc(), HardshipLevel.id.desc())
    ).all()  # fmt: skip
    return Facts(
        enrolments=list(
            db.execute(
                select(Enrolment.school_id, Enrolment.stage, Enrolment.grade, Enrolment.class_no, Enrolment.boarding,
                       Enrolment.study_state, Enrolment.valid_from, Enrolment.valid_to, Enrolment.source)
                .where(Enrolment.student_id == mine)
                .order_by(Enrolment.valid_from.desc(), Enrolment.id.desc())
            )
        ),
        guardians=[
            GuardianRow(row.public_id, row.name, row.relation, row.document_mask, mask_phone(row.phone),
                        row.valid_from, row.valid_to)
            for row in db.execute(
                select(Guardian.public_id, Guardian.name, Guardianship.relation, Guardian.document_mask,
                       Guardian.phone, Guardianship.valid_from, Guardianship.valid_to)
                .join(Guardianship, Guardianship.guardian_id == Guardian.id)
                .where(Guardianship.student_id == mine)
                .order_by(Guardianship.valid_to.is_not(None), Guardianship.relation, Guardianship.id)
            )
        ],
        categories=list(
            db.execute(
                select(HardshipFact.category, HardshipFact.valid_from, HardshipFact.valid_to, HardshipFact.source)
                .where(HardshipFact.student_id == mine)
                .order_by(HardshipFact.valid_to.is_not(None), HardshipFact.category, HardshipFact.valid_from.desc())
            )
        ),
        levels=list(levels),
        accounts=[
            AccountRow(row.holder_name, row.guardian_id, row.bank_name, mask_account(row.number_tail.rjust(8, "*")),
                       row.valid_from, row.valid_to, row.source)
            for row in db.execute(
                select(BankAccount.holder_name, BankAccount.guardian_id, BankAccount.bank_name,
                       BankAccount.number_tail, BankAccount.valid_from, BankAccount.valid_to, BankAccount.source)
                .where(BankAccount.student_id == mine)
                .order_by(BankAccount.valid_from.desc(), BankAccount.id.desc())
            )
        ],
        masks=masks_of(student),
        level_holds=student.level_until is not None and student.level_until >= clock.today(),
    )  # fmt: skip
