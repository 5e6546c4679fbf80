"""Taking an import back within 30 days: one compensating change per row, by the verbs that anybody else would use.

A record that was worked on since, or that money hangs on, stays as it is, and its row says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent
from app.core import clock, crash
from app.core.actor import SYSTEM, Actor
from app.core.errors import Conflict, DomainError, Invalid
from app.core.i18n import Message, _m, _mn
from app.exchange.models import ImportRow, ImportRun, ImportState, Outcome
from app.jobs.queue import Task, handler, pack
from app.registry import changes, family, hardship
from app.registry.forms import ERASABLE, EndForm, EnrolmentForm, VoidForm
from app.registry.imports import compare, runs
from app.registry.imports.compare import PERSON, SCHOOLING, Known
from app.registry.imports.rows import ReadRow
from app.registry.imports.work import CHUNK, acting, reread
from app.registry.imports.workflow import IMPORTS
from app.registry.models import School, Student
from app.registry.places import Places, known
from app.workflow import advance

WORKED_ON: Final = _m("The record was changed after the import, so it stays as it is.")
ACCOUNT_STAYS: Final = _m(
    "The student had no account before, so the account stays. Record another one if it is wrong."
)


def undo(db: Session, actor: Actor, run: ImportRun, *, reason: str) -> None:
    """Take back what this import did, as far as nothing was built upon it."""
    if run.stored_at is None or clock.now() > run.stored_at + runs.UNDO_FOR:
        raise Conflict(
            _m("An import can be taken back for %(n)s days after it was stored; this time is over, or it is not "
               "stored.", n=runs.UNDO_FOR.days),
            code="import.undo_over",
        )  # fmt: skip
    advance(db, actor, IMPORTS, run, "undo", reason=reason)
    run.job = runs.start(db, actor, runs.UNDO_JOB, run, reason=reason)


@handler(runs.UNDO_JOB, title=_m("Taking back an import"))
def undo_import(task: Task) -> None:
    """Row by row from the last to the first, chunk by chunk."""
    actor = acting(task)
    with task.database.read() as db:
        run = runs.get_import(db, actor, task.payload["run"])
        if run.state != ImportState.UNDOING:
            return
        places = known(db)
        total = run.new + run.changed
    while _chunk(task, actor, places, total):
        pass
    with task.step() as step:
        run = step.db.scalars(select(ImportRun).where(ImportRun.public_id == task.payload["run"])).one()
        kept = step.db.scalar(
            select(func.count()).where(ImportRow.run_id == run.id, ImportRow.stored.is_(True))
        ) or 0  # fmt: skip
        done = total - kept
        advance(
            step.db, SYSTEM, IMPORTS, run, "undone", values={"undone_at": clock.now()},
            new={"taken_back": done, "kept": kept},
        )  # fmt: skip
        step.finish(
            _mn("%(n)s row taken back, %(kept)s kept: each says why.",
                "%(n)s rows taken back, %(kept)s kept: each says why.", done, kept=kept)
        )  # fmt: skip


def _chunk(task: Task, actor: Actor, places: Places, total: int) -> bool:
    with task.step() as step:
        db = step.db
        run = db.scalars(select(ImportRun).where(ImportRun.public_id == task.payload["run"])).one()
        statement = (
            select(ImportRow)
            .where(ImportRow.run_id == run.id, ImportRow.stored.is_(True))
            .order_by(ImportRow.row_no.desc())
            .limit(CHUNK)
        )
        if task.cursor:
            statement = statement.where(ImportRow.row_no < int(task.cursor))
        rows = list(db.scalars(statement))
        if not rows:
            return False
        read = {row.row_no: reread(row) for row in rows}
        have = compare.look(db, actor, list(read.values()))
        events = _events(db, [one.public_id for one in have.students.values()])
        for row in rows:
            refusal = _take_back(
                db, actor, run, row, read[row.row_no], have, events, places, task.payload["reason"]
            )
            if refusal is None:
                row.stored = False
            else:
                row.content = json.dumps(
                    {**json.loads(row.content), "kept": pack(refusal)}, ensure_ascii=False
                )
        crash.point("import.undone")
        step.progress(done=task.done + len(rows), total=total, cursor=str(rows[-1].row_no))
    return True


def _events(db: Session, subjects: list[str]) -> Mapping[str, int]:
    counted = db.execute(
        select(AuditEvent.subject, func.count())
        .where(AuditEvent.subject_kind == "student", AuditEvent.subject.in_(subjects))
        .group_by(AuditEvent.subject)
    )
    return {row.subject: row[1] for row in counted}


def _take_back(
    db: Session, actor: Actor, run: ImportRun, row: ImportRow, read: ReadRow, have: Known,
    events: Mapping[str, int], places: Places, reason: str,
) -> Message | None:  # fmt: skip
    """Why this row stays, if it does."""
    index = compare.identity_of(read.values)
    student = have.students.get(index) if index else None
    if student is None or student.id != row.subject_id or student.id not in have.reachable:
        return WORKED_ON
    try:
        with db.begin_nested():
            if row.outcome == Outcome.NEW:
                if events.get(student.public_id, 0) != 1:  # its registration, and nothing since
                    return WORKED_ON
                changes.void(db, actor, student, VoidForm(reason=reason))
            else:
                _restore(db, actor, run, student, read, json.loads(row.before or "{}"), have, places)
            db.flush()  # what the rules of the database say belongs to this row
    except DomainError as refusal:
        return refusal.message
    return None


def _restore(
    db: Session, actor: Actor, run: ImportRun, student: Student, read: ReadRow, before: Mapping[str, Any],
    have: Known, places: Places,
) -> None:  # fmt: skip
    verdict = compare.verdicts([read], have, places)[0]
    if any(name in verdict.differs for name in before):
        raise Conflict(WORKED_ON)  # what the import wrote is not what stands there
    values = {name: before[name] for name in PERSON if name in before}
    if "birth_date" in values:
        values["birth_date"] = date.fromisoformat(values["birth_date"])
    if values:
        erased = {name for name, value in values.items() if value == "" and name in ERASABLE}
        changes.rewrite(db, actor, student, values, source=run.public_id, erase=erased)
    former = have.enrolments.get(student.id)
    if former is not None and any(name in before for name in SCHOOLING):
        code = before.get("school_code")
        school = next((one for one in places.schools.values() if one.code == code), None) if code else None
        here = school.public_id if school else db.get_one(School, student.school_id).public_id
        form = EnrolmentForm(
            version=student.version, school=here, grade=before.get("grade", f"{student.stage}{student.grade}"),
            class_no=before.get("class_no", student.class_no), boarding=before.get("boarding", student.boarding),
            study_state=before.get("study_state", student.study_state), since=former.valid_from,
        )  # fmt: skip
        changes.change_enrolment(db, actor, student, form)
    _account_back(db, actor, student, before)
    _guardians_back(db, actor, student, read, before, have)
    if "hardship_categories" in before:
        already = set(before["hardship_categories"].split(","))
        for code in compare.categories_of(read.values):
            if code not in already:
                fact = hardship.get_category(db, student, code)
                hardship.end_category(db, actor, student, code, EndForm(until=fact.valid_from))


def _account_back(db: Session, actor: Actor, student: Student, before: Mapping[str, Any]) -> None:
    if "account_number" not in before and "bank_name" not in before:
        return
    former = before.get("account")
    if not former:
        raise Invalid(ACCOUNT_STAYS, fields={"account_number": ACCOUNT_STAYS})
    guardian = None
    if former["guardian"]:
        guardian, _ = family.get_guardian(db, student, former["guardian"])
    account = family.find_account(db, student)
    since = account.valid_from if account else clock.today()
    family.open_account(
        db, actor, student, guardian, bank_name=former["bank"], number=former["number"], since=since,
        source="import",
    )  # fmt: skip


def _guardians_back(
    db: Session, actor: Actor, student: Student, read: ReadRow, before: Mapping[str, Any], have: Known
) -> None:
    for prefix in compare.GUARDIANS:
        name, number = read.values.get(f"{prefix}_name", ""), read.values.get(f"{prefix}_id_number")
        found = compare.find_guardian(have.guardians.get(student.id, []), name, number)
        if found is None:
            continue
        if before.get(f"{prefix}_name") == "":
            family.end_guardian(db, actor, student, found.person.public_id, EndForm(until=clock.today()))
        elif phone := before.get(f"{prefix}_phone"):
            family.rewrite_guardian(
                db, actor, student, found.person, name=found.person.name, number=None, phone=phone
            )
