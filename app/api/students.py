"""Students: search and read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Coded, PublicId
from app.api.replies import (
    USUAL,
    Cursor,
    IfNoneMatch,
    In,
    Limit,
    Out,
    many,
    must_know,
    one,
    place,
    unread,
)
from app.api.routing import api_router, said
from app.api.streaming import Export, FormatWish, ReasonWish
from app.api.student_records import (
    ADDRESS,
    Boarding,
    Category,
    Grade,
    Stage,
    StudentId,
    StudentList,
    StudentRecord,
    StudentRow,
    StudyState,
    student_record,
    student_row,
)
from app.core import codes
from app.core.actor import Actor
from app.core.errors import Invalid, NotFound
from app.core.i18n import _m
from app.core.paging import Direction
from app.door.access import requires
from app.door.number_search import find_by_number
from app.door.problems import CHECK
from app.door.sessions import ReadDb
from app.door.side import note_read
from app.registry import exports, lists, search
from app.registry.models import RecordState, Student
from app.registry.places import known
from app.registry.students import get_student

router = api_router("students")
Reader = Annotated[Actor, requires(Permission.STUDENTS_READ)]


@router.get(
    "/students",
    operation_id="list_students",
    summary=said(_m("Students in your scope")),
    description=said(
        _m(
            "By the sound of their names, within a school by class. Numbers are masked. As csv or ndjson "
            "the whole list comes at once: that is an export, with its permission, its reason, its cap and "
            "its events."
        )
    ),
    response_model=StudentList,
)
def list_students(
    request: Request,
    actor: Reader,
    db: ReadDb,
    q: Annotated[str, Query(max_length=100, description=said(
        _m("Part of a name, its pinyin or initials. A number is searched with POST.")))] = "",
    authority: Annotated[str, Query(pattern="^[0-9]{4,12}$")] = "",
    school: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{22}$")] = "",
    stage: Annotated[Stage | None, Query()] = None,
    grade: Annotated[Grade | None, Query()] = None,
    class_no: Annotated[str, Query(max_length=12)] = "",
    boarding: Annotated[Boarding | None, Query()] = None,
    category: Annotated[Category | None, Query()] = None,
    level: Annotated[Annotated[str, Coded((*codes.LEVELS, lists.NO_LEVEL, lists.ALL_LEVELS))] | None, Query()] = None,
    state: Annotated[StudyState | None, Query()] = None,
    record: Annotated[Annotated[str, Coded((RecordState.VOID.value,))] | None, Query()] = None,
    sort: Annotated[Annotated[str, Coded(lists.SORTS)] | None, Query()] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
    format: FormatWish = None,  # noqa: A002 - the parameter's own name
    reason: ReasonWish = None,
) -> Response:  # fmt: skip
    given = {name: value or "" for name, value in (
        ("q", q), ("authority", authority), ("school", school), ("stage", stage), ("grade", grade),
        ("class_no", class_no), ("boarding", boarding), ("category", category), ("level", level), ("state", state),
        ("record", record),
    )}  # fmt: skip
    if search.holds_number(q):
        sentence = _m("A number never stands in an address. Send it with POST to /students/search.")
        raise Invalid(CHECK, fields={"q": sentence}, code="number-in-address")
    if (why := search.unsearchable(q)) is not None:
        raise Invalid(CHECK, fields={"q": why})
    export = Export.asked(request, actor, format, reason, Permission.STUDENTS_EXPORT)
    if export is not None:
        return export.answer(
            "students", StudentRow, lambda read, after: _slice(read, actor, given, after), given=given
        )
    places = known(db)
    wanted = lists.read_filter(given, places, actor)
    unread(given, wanted.given())
    row, direction = place(cursor)
    forwards = direction is Direction.FORWARD
    page = lists.list_students(
        db, actor, wanted, places, sort=lists.sort_in_force(sort or "", actor, wanted), size=limit,
        after=(row or "") if forwards else "", before="" if forwards else (row or ""),
    )  # fmt: skip
    must_know(cursor, page)
    return many(request, StudentList(items=[student_row(one, places) for one in page.rows]), page)


_SLICE = 1_000
_EXPORTED = (*lists.COLUMNS, Student.sort_key, Student.id)


def _slice(
    db: Session, actor: Actor, given: dict[str, str], after: Any
) -> tuple[list[StudentRow], list[int], Any]:
    places = known(db)
    wanted = lists.read_filter(given, places, actor)
    unread(given, wanted.given())
    if after is None:
        exports.check_cap(db, actor, wanted, places)
    rows = lists.slice_after(db, actor, wanted, places, _EXPORTED, after, size=_SLICE)
    last = (rows[-1].sort_key, rows[-1].id) if len(rows) == _SLICE else None
    return [student_row(row, places) for row in rows], [row.id for row in rows], last


@router.get(
    "/students/{student_id:pid}",
    operation_id="get_student",
    summary=said(_m("One student")),
    description=said(_m("With every dated fact. Each read is noted with the child.")),
    response_model=StudentRecord,
)
def read_student(
    request: Request, actor: Reader, student_id: StudentId, db: ReadDb, if_none_match: IfNoneMatch = None
) -> Response:
    student = get_student(db, actor, student_id)
    note_read(request, actor, [student.public_id], what="record")
    return one(student_record(db, student), if_none_match)


class NumberQuery(In):
    """A whole number of a child. It never stands in an address."""

    number: str = Field(
        min_length=5, max_length=30, pattern="^[0-9A-Za-z()-]+$", examples=["431199201401011234"]
    )


class FoundStudent(Out):
    id: PublicId
    href: str


@router.post(
    "/students/search",
    operation_id="find_student_by_number",
    summary=said(_m("The student with a number")),
    description=said(_m("An identity number or student number, whole. It counts against the budget of the day, and "
                        "leaves a read line whatever it finds.")),
    response_model=FoundStudent,
)  # fmt: skip
def find_student(request: Request, actor: Reader, body: NumberQuery) -> Response:
    found = find_by_number(request, actor, body.number)
    if found is None:
        raise NotFound(
            _m("The number is not registered, or it is registered outside your scope."), code="number-unknown"
        )
    return one(FoundStudent(id=found, href=ADDRESS + found))
