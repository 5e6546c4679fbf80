"""Showing one protected value in clear, for a reason that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.errors import Invalid, NotFound
from app.core.i18n import Message, _m
from app.registry import family
from app.registry.forms import NEEDED, RevealForm
from app.registry.models import Student

PURPOSES: Final[dict[str, Message]] = {
    "document": _m("Compare with a document at the desk"),
    "contact": _m("Contact the family"),
    "payment": _m("Clear up a payment or an account"),
    "duplicate": _m("Clear up a possible duplicate"),
    "other": _m("Another reason"),
}
STUDENT_FIELDS: Final[dict[str, tuple[Message, Callable[[Student], str | None]]]] = {
    "document_number": (_m("Document number"), lambda student: student.document_number),
    "student_number": (_m("Student number"), lambda student: student.student_number),
    "phone": (_m("Phone"), lambda student: student.phone),
    "address": (_m("Address"), lambda student: student.address),
}
GUARDIAN_FIELDS: Final[dict[str, Message]] = {
    "number": _m("Guardian's identity number"),
    "phone": _m("Guardian's phone"),
}


@dataclass(frozen=True)
class Revealed:
    """`what` is how the read line names the value."""

    label: Message
    value: str
    what: str
    reason: str


def label_of(field: str) -> Message:
    """The name of a protected value: a field of the student, `account_number`, or `guardian.<public id>.<field>`."""
    parts = field.split(".")
    if field in STUDENT_FIELDS:
        return STUDENT_FIELDS[field][0]
    if field == "account_number":
        return _m("Account number")
    if len(parts) == 3 and parts[0] == "guardian" and parts[2] in GUARDIAN_FIELDS:
        return GUARDIAN_FIELDS[parts[2]]
    raise NotFound(_m("There is no such value on this record."))


def reason_of(form: RevealForm) -> str:
    """The reason as the read line keeps it: the purpose's code, and what was written to it."""
    if form.purpose not in PURPOSES:
        raise Invalid(NEEDED, fields={"purpose": _m("Choose one of the options.")})
    if form.purpose == "other" and not form.note:
        raise Invalid(NEEDED, fields={"note": _m("Write a reason.")})
    return f"{form.purpose}: {form.note}"[:200] if form.note else form.purpose


def reveal(db: Session, actor: Actor, student: Student, form: RevealForm) -> Revealed:
    """The value in clear. The caller writes the read line before it is shown."""
    actor.require(Permission.STUDENTS_REVEAL)
    label, reason = label_of(form.field), reason_of(form)
    what = form.field
    if form.field in STUDENT_FIELDS:
        value = STUDENT_FIELDS[form.field][1](student)
    elif form.field == "account_number":
        account = family.find_account(db, student)
        value = account.number if account else None
    else:
        _, public_id, name = form.field.split(".")
        guardian, _ = family.get_guardian(db, student, public_id)
        value = guardian.document_number if name == "number" else guardian.phone
        what = f"guardian.{name}"
    if not value:
        raise NotFound(_m("There is no such value on this record."))
    return Revealed(label, value, what, reason)
