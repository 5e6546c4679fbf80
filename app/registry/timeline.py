"""What happened to a record, who did it, and who has opened it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.permissions import Permission
from app.audit.models import AccessLine, AuditEvent
from app.audit.names import READ_NAMES, TAG_NAMES
from app.audit.tags import Tag
from app.core.actor import Actor
from app.core.codes import (
    BOARDING,
    DISABILITIES,
    ETHNIC_GROUPS,
    GRADES,
    HARDSHIP_CATEGORIES,
    HEALTH,
    LEFT_BEHIND,
    LEVELS,
    RELATIONS,
    SEXES,
    STUDENT_STATES,
    CodeList,
)
from app.core.i18n import Message, _m, format_date
from app.registry.exported import lists_with
from app.registry.models import Student
from app.registry.places import Places
from app.registry.record import source_name

_NEWEST: Final = 100
_READS: Final = 50

# Names of what an event tells, in the order in which it is told.
_WORDS: Final[Mapping[str, Message]] = {
    "name": _m("Name"),
    "document": _m("Document number"),
    "student_number": _m("Student number"),
    "birth_date": _m("Date of birth"),
    "sex": _m("Sex"),
    "ethnicity": _m("Ethnic group"),
    "phone": _m("Phone"),
    "address": _m("Address"),
    "left_behind": _m("Left behind"),
    "health": _m("Health"),
    "disability": _m("Disability"),
    "school": _m("School"),
    "school_id": _m("School"),
    "grade": _m("Grade"),
    "class": _m("Class"),
    "boarding": _m("Boarding"),
    "study_state": _m("Study state"),
    "category": _m("Category"),
    "level": _m("Level"),
    "relation": _m("Relation"),
    "bank": _m("Bank"),
    "account": _m("Account number"),
    "holder": _m("Account holder"),
    "source": _m("Source"),
    "since": _m("Since"),
    "until": _m("Until"),
}
_CODES: Final[Mapping[str, CodeList[Any]]] = {
    "sex": SEXES,
    "ethnicity": ETHNIC_GROUPS,
    "left_behind": LEFT_BEHIND,
    "health": HEALTH,
    "disability": DISABILITIES,
    "grade": GRADES,
    "boarding": BOARDING,
    "study_state": STUDENT_STATES,
    "category": HARDSHIP_CATEGORIES,
    "level": LEVELS,
    "relation": RELATIONS,
}
_DAYS: Final = frozenset({"since", "until", "birth_date"})


@dataclass(frozen=True)
class Happened:
    at: datetime
    what: Message | str
    who: str
    detail: str


def list_events(db: Session, student: Student, places: Places) -> list[Happened]:
    """What happened to this student's record, newest first; the names of those who did it, not their log-ins."""
    rows = db.execute(
        select(AuditEvent.at, AuditEvent.tag, AuditEvent.detail, AuditEvent.actor, Person.name)
        .outerjoin(Account, Account.id == AuditEvent.account_id)
        .outerjoin(Person, Person.id == Account.person_id)
        .where(AuditEvent.subject == student.public_id, AuditEvent.subject_kind == "student")
        .order_by(AuditEvent.seq.desc())
        .limit(_NEWEST)
    ).all()
    found = [
        Happened(row.at, TAG_NAMES.get(row.tag, row.tag), row.name or row.actor, _told(row.detail, places))
        for row in rows
    ]
    if student.audit_seq is not None and len(rows) < _NEWEST:
        # Loaded with many others: the event stands for all of them.
        found.append(Happened(student.registered_at, TAG_NAMES[Tag.STUDENTS_LOADED], "", ""))
    return found


def _told(detail: str, places: Places) -> str:
    kept: Mapping[str, Any] = json.loads(detail)
    old: Mapping[str, Any] = kept.get("old") or {}
    new: Mapping[str, Any] = kept.get("new") or {}
    parts = []
    for name, word in _WORDS.items():
        if name not in new:
            continue
        after = _spoken(name, new[name], places)
        before = _spoken(name, old[name], places) if old.get(name) else ""
        if before and before != after:
            parts.append(str(_m("%(what)s: %(before)s → %(after)s", what=word, before=before, after=after)))
        elif after:
            parts.append(str(_m("%(what)s: %(after)s", what=word, after=after)))
    if kept.get("reason"):
        parts.append(str(_m("Reason: %(reason)s", reason=kept["reason"])))
    return str(_m("; ")).join(parts)


def _spoken(name: str, value: Any, places: Places) -> str:
    if value is None or value == "":
        return ""
    if name in _DAYS:
        return format_date(date.fromisoformat(value))
    if name == "school_id":
        return places.school_name(int(value)) or str(value)
    if name == "school":
        return next((school.name for school in places.schools.values() if school.code == value), str(value))
    if name == "source":
        return source_name(str(value))
    codes = _CODES.get(name)
    return codes.label(str(value)) if codes else str(value)


@dataclass(frozen=True)
class Read:
    at: datetime
    what: Message | str
    who: str
    reason: str


def list_reads(db: Session, actor: Actor, student: Student, purposes: Mapping[str, Message]) -> list[Read]:
    """Who has opened the record, seen one of its values, or taken it along in a list; newest first."""
    actor.require(Permission.READERS_READ)
    rows = db.execute(
        select(AccessLine.at, AccessLine.what, AccessLine.reason, Person.name)
        .outerjoin(Person, Person.id == AccessLine.person_id)
        .where(AccessLine.subject == student.public_id, AccessLine.subject_kind == "student")
        .order_by(AccessLine.id.desc())
        .limit(_READS)
    )
    found = []
    for row in rows:
        purpose, _, note = row.reason.partition(": ")
        reason = str(purposes[purpose]) if purpose in purposes else purpose
        found.append(
            Read(row.at, READ_NAMES.get(row.what, row.what), row.name or "",
                 f"{reason} ({note})" if note else reason)
        )  # fmt: skip
    found += [
        Read(row.at, READ_NAMES.get(row.what, row.what), row.reader or "", row.reason)
        for row in lists_with(db, student.id, limit=_READS)
    ]
    return sorted(found, key=lambda one: one.at, reverse=True)[:_READS]
