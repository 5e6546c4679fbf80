"""The list of students as a file: a job, so that the whole city can be had without anybody waiting for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.audit import Tag, record
from app.core import clock, codes
from app.core.actor import Actor
from app.core.errors import Invalid, NotPermitted
from app.core.i18n import Message, _m, _mn, format_datetime, format_number
from app.exchange.tables import MEDIA_TYPES, Column, Kind, open_table
from app.files.models import FileKind
from app.files.store import scratch, store
from app.jobs.models import Job
from app.jobs.queue import Task, enqueue, handler
from app.jobs.worker import actor_of
from app.registry.exported import note_exported
from app.registry.lists import NO_LEVEL, Filter, count_students, read_filter, slices
from app.registry.models import HardshipFact, RecordState, Student
from app.registry.places import Places, known

CAP: Final = 5_000
FORMATS: Final = ("xlsx", "csv")
REASON_LENGTH: Final = (5, 200)
_KEPT_FOR: Final = timedelta(days=7)
_SLICE: Final = 2_000
_KIND: Final = "registry.export"
_CHECK: Final = _m("Some fields need another look. What you typed is kept.")


def request_export(db: Session, actor: Actor, wanted: Filter, *, format_: str, reason: str = "") -> Job:
    """Ask for the list as a file. Schools and counties up to 5,000 rows; the city without a cap, with a reason."""
    actor.require(Permission.STUDENTS_EXPORT)
    if format_ not in FORMATS:
        raise Invalid(_CHECK, fields={"format": _m("Choose one of the options.")})
    reason = " ".join(reason.split())
    if needs_reason(actor) and not REASON_LENGTH[0] <= len(reason) <= REASON_LENGTH[1]:
        sentence = _m("Say in 5 to 200 characters what the list is for: it is kept with the export.")
        raise Invalid(_CHECK, fields={"reason": sentence})
    places = known(db)
    total = count_students(db, actor, wanted, places)
    _within_cap(actor, total)
    if not total:
        raise Invalid(_m("No student matches, so there is nothing to export. Take a filter away."))
    return enqueue(
        db, actor, _KIND, {"filter": wanted.given(), "format": format_, "reason": reason[: REASON_LENGTH[1]]}
    )


def needs_reason(actor: Actor) -> bool:
    return actor.may(Permission.STUDENTS_EXPORT_ALL)


def check_cap(db: Session, actor: Actor, wanted: Filter, places: Places) -> None:
    """Refuse a list that is longer than the actor may export at once."""
    _within_cap(actor, count_students(db, actor, wanted, places))


def _within_cap(actor: Actor, total: int) -> None:
    if total > CAP and not actor.may(Permission.STUDENTS_EXPORT_ALL):
        raise Invalid(
            _m(
                "This list has %(total)s rows, more than the %(cap)s that may be exported at once. "
                "Narrow it by school, grade or level, or ask the city bureau.",
                total=format_number(total),
                cap=format_number(CAP),
            ),
            code="registry.export_cap",
        )


@handler(_KIND, title=_m("Export of students"))
def export_students(task: Task) -> None:
    """Read slice by slice, write a file beside, store it with the job's end in one transaction.

    Nothing is stored before that, so a restart simply begins anew.
    """
    actor = actor_of(task)
    if not actor.may(Permission.STUDENTS_EXPORT):
        raise NotPermitted(
            _m("Your role does not include this action. Ask your administrator if you need it.")
        )
    with task.database.read() as db:
        places = known(db)
        wanted = read_filter(task.payload["filter"], places, actor)
        total = count_students(db, actor, wanted, places)
    _within_cap(actor, total)
    task.progress(done=0, total=total)
    format_: str = task.payload["format"]
    asked_at = clock.now()
    watermark = str(
        _m("For official use only. %(name)s (%(login)s), %(at)s", name=actor.name, login=actor.login,
           at=format_datetime(asked_at))
    )  # fmt: skip
    columns = _columns()
    with scratch() as folder:
        path = folder / "list"
        table = open_table(format_, path, str(_m("Students")), columns, watermark=watermark)
        members: list[int] = []
        for rows in _rows(task, actor, wanted, places, members):
            table.write(rows)
            task.progress(done=table.count, total=max(total, table.count))
        words = filter_in_words(wanted, places)
        table.close(
            [
                (str(_m("Filter")), "; ".join(f"{name}: {value}" for name, value in words) or str(_m("All students"))),
                (str(_m("Rows")), format_number(table.count)),
                (str(_m("Reason")), task.payload["reason"] or "\N{EN DASH}"),
            ]
        )  # fmt: skip
        with task.step() as step:
            name = f"{_m('Students')}-{clock.local(asked_at):%Y%m%d-%H%M}.{format_}"
            file = store(
                step.db,
                actor,
                FileKind.EXPORT,
                name,
                MEDIA_TYPES[format_],
                path,
                expires=clock.now() + _KEPT_FOR,
            )
            reason = task.payload["reason"]
            told = note_exported(
                step.db, actor, task.public_id, members, what="students exported", reason=reason
            )
            record(
                step.db, actor, Tag.STUDENTS_EXPORTED, subject=("job", task.public_id),
                new={"count": table.count, "filter": wanted.given(), "format": format_, "sha256": file.sha256,
                     "members": told},
                reason=reason or None,
            )  # fmt: skip
            step.progress(done=table.count, total=table.count)
            step.finish(
                _mn("%(n)s student was exported.", "%(n)s students were exported.", table.count), file=file
            )


# --- Rows ---------------------------------------------------------------------------------------------------

_READ: Final = (
    Student.name, Student.sex, Student.birth_date, Student.ethnicity, Student.document_type, Student.document_mask,
    Student.authority_code, Student.school_id, Student.stage, Student.grade, Student.class_no, Student.boarding,
    Student.study_state, Student.left_behind, Student.level, Student.level_until, Student.sort_key, Student.id,
)  # fmt: skip


def _columns() -> list[Column]:
    return [
        Column(str(_m("Name")), width=14),
        Column(str(_m("Sex")), width=6),
        Column(str(_m("Date of birth")), Kind.DATE),
        Column(str(_m("Ethnic group")), width=10),
        Column(str(_m("Kind of document")), width=18),
        Column(str(_m("Document number")), Kind.CODE, 22),
        Column(str(_m("Authority")), width=24),
        Column(str(_m("School")), width=28),
        Column(str(_m("School code")), Kind.CODE, 14),
        Column(str(_m("Stage")), width=10),
        Column(str(_m("Grade")), width=14),
        Column(str(_m("Class")), Kind.CODE, 8),
        Column(str(_m("Boarding")), width=12),
        Column(str(_m("Study state")), width=12),
        Column(str(_m("Left behind")), width=14),
        Column(str(_m("Level")), width=10),
        Column(str(_m("Level until")), Kind.DATE),
        Column(str(_m("Categories")), width=30),
    ]


def _rows(
    task: Task, actor: Actor, wanted: Filter, places: Places, members: list[int]
) -> Iterator[list[Sequence[Any]]]:
    """The rows of the file, slice by slice; the keys of those who are in it go to `members`."""
    today = clock.today()
    for found in slices(task.database.read, actor, wanted, places, _READ, size=_SLICE):
        started = time.monotonic()
        with task.database.read() as db:
            categories = _categories(db, actor, found)
        members += [row.id for row in found]
        yield [_row(row, places, categories, today) for row in found]
        # A breath between slices: pages come first.
        time.sleep(min(0.01, (time.monotonic() - started) / 10))


def _row(row: Any, places: Places, categories: dict[int, list[str]], today: Any) -> Sequence[Any]:
    school = places.schools.get(row.school_id)
    levelled = row.level is not None and row.level_until is not None and row.level_until >= today
    return (
        row.name,
        codes.SEXES.label(row.sex),
        row.birth_date,
        codes.ETHNIC_GROUPS.label(row.ethnicity),
        codes.DOCUMENT_TYPES.label(row.document_type),
        row.document_mask,
        places.authority_name(row.authority_code),
        school.name if school else "",
        school.code if school else "",
        codes.STAGES.label(row.stage),
        codes.GRADES.label(f"{row.stage}{row.grade}"),
        row.class_no,
        codes.BOARDING.label(row.boarding),
        codes.STUDENT_STATES.label(row.study_state),
        codes.LEFT_BEHIND.label(row.left_behind),
        codes.LEVELS.label(row.level) if levelled else "",
        row.level_until if levelled else None,
        ", ".join(codes.HARDSHIP_CATEGORIES.label(category) for category in categories.get(row.id, ())),
    )


def _categories(db: Session, actor: Actor, found: Sequence[Any]) -> dict[int, list[str]]:
    """The open categories of these students."""
    today = clock.today()
    rows = db.execute(
        select(HardshipFact.student_id, HardshipFact.category)
        .join(Student, Student.id == HardshipFact.student_id)
        .where(
            scope_condition(actor, Student),
            HardshipFact.student_id.in_([row.id for row in found]),
            HardshipFact.valid_from <= today,
            or_(HardshipFact.valid_to.is_(None), HardshipFact.valid_to >= today),
        )
        .order_by(HardshipFact.student_id, HardshipFact.category)
    )
    kept: dict[int, list[str]] = {}
    for student_id, category in rows:
        kept.setdefault(student_id, []).append(category)
    return kept


# --- Filters in words ---------------------------------------------------------------------------------------


def filter_in_words(wanted: Filter, places: Places) -> list[tuple[Message, str]]:
    """Each part of a filter, as people say it."""
    return [(name, value) for _, name, value in named_parts(wanted, places)]


def named_parts(wanted: Filter, places: Places) -> list[tuple[str, Message, str]]:
    """Field, its name and its value in words, for every part of a filter that narrows."""
    school = next((one.name for one in places.schools.values() if one.public_id == wanted.school), "")
    level = str(_m("No level")) if wanted.level == NO_LEVEL else codes.LEVELS.label(wanted.level)
    if wanted.level == "any":
        level = str(_m("Any level"))
    void = str(_m("Void records")) if wanted.record == RecordState.VOID else ""
    parts = (
        ("q", _m("Search"), wanted.q),
        ("authority", _m("Authority"), places.authority_name(wanted.authority)),
        ("school", _m("School"), school),
        ("stage", _m("Stage"), codes.STAGES.label(wanted.stage)),
        ("grade", _m("Grade"), codes.GRADES.label(wanted.grade)),
        ("class_no", _m("Class"), wanted.class_no),
        ("boarding", _m("Boarding"), codes.BOARDING.label(wanted.boarding)),
        ("category", _m("Category"), codes.HARDSHIP_CATEGORIES.label(wanted.category)),
        ("level", _m("Level"), level),
        ("state", _m("Study state"), codes.STUDENT_STATES.label(wanted.state)),
        ("record", _m("Records"), void),
    )
    return [(field, name, value) for field, name, value in parts if value]
