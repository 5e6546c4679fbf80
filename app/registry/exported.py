"""Which students left the system in which list: who had it made, when, and for what.

A read line per row would be 188,900 lines for the whole city. A list and its members say the same: they are stored in
the transaction that stores the file, and the event of the export carries the digest of the members.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.scope import scope_condition
from app.audit.checks import CheckResult
from app.audit.models import AuditEvent
from app.audit.tags import Tag
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.db import bulk_insert
from app.registry.models import ExportedList, ExportedMember, Student

_MEMBERS: Any = ExportedMember.__table__
_TAGS = (Tag.STUDENTS_EXPORTED.value, Tag.OVERSIGHT_EXPORTED.value)


def note_exported(
    db: Session, actor: Actor, job: str, students: Collection[int], *, what: str, reason: str = ""
) -> str:
    """Store who is in the list that this job has made; answers with the digest, for the event of the export."""
    members = sorted(set(students))
    digest = _digest(members)
    made = ExportedList(
        job=job, at=clock.now(), account_id=actor.account_id, person_id=actor.person_id, what=what, reason=reason[:200],
        members=len(members), digest=digest,
    )  # fmt: skip
    db.add(made)
    db.flush()  # the members name its key
    bulk_insert(db, _MEMBERS, ("list_id", "student_id"), ((made.id, member) for member in members))
    return digest.hex()


def _digest(members: Sequence[int]) -> bytes:
    return hashlib.sha256("\n".join(map(str, members)).encode()).digest()


# --- For its readers ----------------------------------------------------------------------------------------


def _lists() -> Select[Any]:
    found: Any = (
        select(
            ExportedList.at, Account.login, Person.name.label("reader"), Account.role, ExportedList.what,
            ExportedList.reason, ExportedList.members, ExportedList.job,
        )
        .outerjoin(Account, Account.id == ExportedList.account_id)
        .outerjoin(Person, Person.id == ExportedList.person_id)
        .order_by(ExportedList.id.desc())
    )  # fmt: skip
    lists: Select[Any] = found
    return lists


def lists_with(db: Session, student_id: int, *, limit: int) -> list[Any]:
    """The lists that a student stands in, the newest first. The caller has found the student within its scope."""
    of_student = select(ExportedMember.list_id).where(ExportedMember.student_id == student_id)
    return list(db.execute(_lists().where(ExportedList.id.in_(of_student)).limit(limit)))


def list_exported(
    db: Session, actor: Actor, *, student: str = "", login: str = "", since: date | None = None,
    until: date | None = None, limit: int = 50,
) -> tuple[list[Any], int]:  # fmt: skip
    """Exported lists with a student within the actor's scope, the newest first, and how many there are in all.

    `student` is a public id. A reader of part of the city is told of the list, not how long it is.
    """
    wanted = _lists()
    if student or actor.scope.kind is not ScopeKind.CITY:
        reached = (
            select(ExportedMember.list_id)
            .join(Student, Student.id == ExportedMember.student_id)
            .where(scope_condition(actor, Student))
        )
        if student:
            reached = reached.where(Student.public_id == student)
        wanted = wanted.where(ExportedList.id.in_(reached))
    if login:
        wanted = wanted.where(Account.login == login)
    if since is not None:
        wanted = wanted.where(ExportedList.at >= clock.start_of(since))
    if until is not None:
        wanted = wanted.where(ExportedList.at < clock.start_of(until + timedelta(days=1)))
    total = db.scalar(select(func.count()).select_from(wanted.order_by(None).subquery())) or 0
    return list(db.execute(wanted.limit(limit))), total


# --- What must hold -----------------------------------------------------------------------------------------


def members_are_told(db: Session) -> CheckResult:
    """Each list has its members, and the chain's event of the export names the same digest."""
    told = {
        subject: (json.loads(detail).get("new") or {}).get("members")
        for subject, detail in db.execute(
            select(AuditEvent.subject, AuditEvent.detail).where(AuditEvent.tag.in_(_TAGS))
        )
    }
    count = 0
    for made in db.scalars(select(ExportedList).order_by(ExportedList.id)):
        members = db.scalars(
            select(ExportedMember.student_id)
            .where(ExportedMember.list_id == made.id)
            .order_by(ExportedMember.student_id)
        ).all()
        digest = _digest(members)
        if len(members) != made.members or digest != bytes(made.digest) or told.get(made.job) != digest.hex():
            return CheckResult(False, str(count), f"list of job {made.job}")
        count += 1
    kept = set(db.scalars(select(ExportedList.job)))
    missing = next((job for job, digest in told.items() if digest and job not in kept), None)
    return CheckResult(missing is None, str(count), "" if missing is None else f"list of job {missing}")
