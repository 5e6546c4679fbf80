"""Who changed which field of a record last: for somebody whose form was overtaken by another one's change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.audit.models import AuditEvent
from app.audit.tags import Tag
from app.registry.models import Student

_NEWEST: Final = 50
# Where an event tells a field by another name than the form: a student's, a guardian's.
_FIELDS: Final = {"document": "document_number"}
_GUARDIAN_FIELDS: Final = {"document": "number"}


@dataclass(frozen=True)
class Change:
    who: str
    at: datetime


def last_changes(db: Session, student: Student, *, guardian: str = "") -> dict[str, Change]:
    """By field of the form of personal data, or of one guardian's; a field that nobody changed is not in it."""
    fields = _GUARDIAN_FIELDS if guardian else _FIELDS
    rows = db.execute(
        select(AuditEvent.at, AuditEvent.detail, AuditEvent.actor, Person.name)
        .outerjoin(Account, Account.id == AuditEvent.account_id)
        .outerjoin(Person, Person.id == Account.person_id)
        .where(
            AuditEvent.subject == student.public_id, AuditEvent.subject_kind == "student",
            AuditEvent.tag == (Tag.GUARDIAN_CHANGED if guardian else Tag.STUDENT_CHANGED),
        )
        .order_by(AuditEvent.seq.desc())
        .limit(_NEWEST)
    )  # fmt: skip
    found: dict[str, Change] = {}
    for row in rows:
        new = json.loads(row.detail).get("new") or {}
        if new.get("guardian", "") == guardian:
            for name in new:
                found.setdefault(fields.get(name, name), Change(row.name or row.actor, row.at))
    return found
