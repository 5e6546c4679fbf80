"""Students: search, read, register, change, reveal."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import throttle
from app.access.permissions import Permission
from app.access.throttle import Purpose
from app.api.fields import Coded, Day, PublicId, SchoolRef, path_id, school_ref
from app.api.replies import (
    Cursor,
    IfMatch,
    IfNoneMatch,
    In,
    Limit,
    Out,
    example,
    many,
    must_know,
    must_match,
    one,
    place,
    unread,
)
from app.api.routing import PREFIX, api_router, said
from app.api.streaming import Export, FormatWish, ReasonWish
from app.core import codes
from app.core.actor import Actor
from app.core.errors import Invalid, NotFound
from app.core.i18n import _m
from app.core.paging import Direction
from app.door.access import requires
from app.door.idempotency import OnceKey
from app.door.number_search import find_by_number
from app.door.problems import CHECK, fill
from app.door.sessions import Db, ReadDb
from app.door.side import at_once, note_read
from app.registry import changes, desk, exports, family, lists, record, search
from app.registry import reveal as revealing
from app.registry.forms import ChangeForm, EnrolmentForm, RegisterForm, RevealForm
from app.registry.models import RecordState, Student
from app.registry.places import Places, known
from app.registry.students import get_student

router = api_router("students")
Reader = Annotated[Actor, requires(Permission.STUDENTS_READ)]
StudentId = Annotated[str, path_id("student_id")]
ADDRESS = PREFIX + "/students/"

Sex = Annotated[str, Coded(codes.SEXES)]
Ethnicity = Annotated[str, Coded(codes.ETHNIC_GROUPS)]
DocumentType = Annotated[str, Coded(codes.DOCUMENT_TYPES)]
LeftBehind = Annotated[str, Coded(codes.LEFT_BEHIND)]
Health = Annotated[str, Coded(codes.HEALTH)]
Disability = Annotated[str, Coded(codes.DISABILITIES)]
Grade = Annotated[str, Coded(codes.GRADES)]
Stage = Annotated[str, Coded(codes.STAGES)]
Boarding = Annotated[str, Coded(codes.BOARDING)]
StudyState = Annotated[str, Coded(codes.STUDENT_STATES)]
Level = Annotated[str, Coded(codes.LEVELS)]
Category = Annotated[str, Coded(codes.HARDSHIP_CATEGORIES)]
Relation = Annotated[str, Coded(sorted(codes.GUARDIAN_RELATIONS))]
Words = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\u0000-\u001f\u007f]+$")]
Name = Annotated[str, Field(min_length=1, max_length=60, examples=["Pan Yijia"])]


# --- What is sent ---------------------------------------------------------------------------------------------


class StudentRow(Out):
    """A student in a list. The document number is masked."""

    id: PublicId
    name: str
    sex: str
    document_number: str = Field(examples=["4311**********1234"])
    school: SchoolRef | None
    stage: str
    grade: str = Field(examples=["X5"])
    class_no: str
    boarding: str
    study_state: str
    level: str | None
    level_until: date | None


class StudentList(Out):
    items: list[StudentRow]


class EnrolmentOut(Out):
    school: SchoolRef | None
    grade: str
    class_no: str
    boarding: str
    study_state: str
    valid_from: date
    valid_to: date | None
    source: str


class GuardianOut(Out):
    id: PublicId
    name: str
    relation: str
    document_number: str
    phone: str
    valid_from: date
    valid_to: date | None


class CategoryOut(Out):
    category: str
    valid_from: date
    valid_to: date | None
    source: str


class LevelOut(Out):
    level: str
    valid_from: date
    valid_to: date
    source: str


class BankAccountOut(Out):
    holder_name: str
    bank_name: str
    number: str = Field(examples=["****1234"])
    valid_from: date
    valid_to: date | None


class StudentRecord(Out):
    """Everything that is known of a student; protected values are masked."""

    id: PublicId
    version: int
    name: str
    sex: str
    birth_date: date
    ethnicity: str
    document_type: str
    document_number: str
    student_number: str
    phone: str
    address: str
    left_behind: str
    health: str
    disability: str
    authority: str
    school: SchoolRef | None
    grade: str
    class_no: str
    boarding: str
    study_state: str
    level: str | None
    level_until: date | None
    record_state: str
    voided_at: datetime | None
    void_reason: str
    registered_at: datetime
    enrolments: list[EnrolmentOut]
    guardians: list[GuardianOut]
    categories: list[CategoryOut]
    levels: list[LevelOut]
    bank_accounts: list[BankAccountOut]


def student_row(row: Any, places: Places) -> StudentRow:
    return StudentRow(
        id=row.public_id, name=row.name, sex=row.sex, document_number=row.document_mask,
        school=school_ref(places, row.school_id), stage=row.stage, grade=f"{row.stage}{row.grade}",
        class_no=row.class_no, boarding=row.boarding, study_state=row.study_state, level=row.level,
        level_until=row.level_until,
    )  # fmt: skip


def student_record(db: Session, student: Student) -> StudentRecord:
    places = known(db)
    facts = record.facts_of(db, student)
    return StudentRecord(
        id=student.public_id, version=student.version, name=student.name, sex=student.sex,
        birth_date=student.birth_date, ethnicity=student.ethnicity, document_type=student.document_type,
        **record.masks_of(student),
        left_behind=student.left_behind, health=student.health, disability=student.disability,
        authority=student.authority_code, school=school_ref(places, student.school_id),
        grade=f"{student.stage}{student.grade}", class_no=student.class_no, boarding=student.boarding,
        study_state=student.study_state, level=student.level, level_until=student.level_until,
        record_state=student.record_state, voided_at=student.voided_at, void_reason=student.void_reason,
        registered_at=student.registered_at,
        enrolments=[
            EnrolmentOut(school=school_ref(places, row.school_id), grade=f"{row.stage}{row.grade}",
                         class_no=row.class_no, boarding=row.boarding, study_state=row.study_state,
                         valid_from=row.valid_from, valid_to=row.valid_to, source=row.source)
            for row in facts.enrolments
        ],
        guardians=[
            GuardianOut(id=row.public_id, name=row.name, relation=row.relation, document_number=row.document_mask,
                        phone=row.phone_mask, valid_from=row.valid_from, valid_to=row.valid_to)
            for row in facts.guardians
        ],
        categories=[
            CategoryOut(category=row.category, valid_from=row.valid_from, valid_to=row.valid_to, source=row.source)
            for row in facts.categories
        ],
        levels=[
            LevelOut(level=row.level, valid_from=row.valid_from, valid_to=row.valid_to, source=row.source)
            for row in facts.levels
        ],
        bank_accounts=[
            BankAccountOut(holder_name=row.holder_name, bank_name=row.bank_name, number=row.number_mask,
                           valid_from=row.valid_from, valid_to=row.valid_to)
            for row in facts.accounts
        ],
    )  # fmt: skip


# --- Search and read ------------------------------------------------------------------------------------------


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
    limit: Limit = 50,
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


# --- Register and change --------------------------------------------------------------------------------------


class RegisterIn(In):
    """A student with schooling, and if known a guardian, an account and categories."""

    model_config = example(
        document_type="1",
        document_number="431199201401011234",
        name="Pan Yijia",
        ethnicity="13",
        school="V1StGXR8_Z5jdHi6B-myTw",
        grade="X5",
        class_no="1",
        boarding="1",
        since="2026-09-01",
        guardian_name="Pan Dashan",
        guardian_relation="51",
    )

    document_type: DocumentType
    document_number: Annotated[str, Field(min_length=1, max_length=40, examples=["431199201401011234"])]
    name: Name
    birth_date: Day | None = None
    sex: Annotated[str, Coded(("1", "2"))] | None = None
    ethnicity: Ethnicity
    student_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    phone: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    address: Words | None = None
    left_behind: LeftBehind = "0"
    health: Health = "1"
    disability: Disability = "0"
    school: PublicId | None = Field(None, description=said(_m("May be left out by somebody of one school.")))
    grade: Grade
    class_no: Annotated[str, Field(min_length=1, max_length=12)]
    boarding: Boarding
    since: Day
    guardian_name: Name | None = None
    guardian_relation: Relation | None = None
    guardian_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    guardian_phone: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    account_holder: Annotated[str, Coded(("student", "guardian"))] | None = None
    bank_name: Words | None = None
    account_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    categories: Annotated[list[Category], Field(max_length=24)] = Field(default_factory=list)


@router.post(
    "/students",
    operation_id="register_student",
    summary=said(_m("Register a student")),
    description=said(_m("The number is looked up first, which counts against the budget of the day. A child who is "
                        "registered already is refused, whatever the school.")),
    status_code=201,
    response_model=StudentRecord,
)  # fmt: skip
def register_student(
    request: Request, actor: Annotated[Actor, requires(Permission.STUDENTS_REGISTER)], key: OnceKey, body: RegisterIn,
    db: Db,
) -> Response:  # fmt: skip
    form: RegisterForm = fill(RegisterForm, body.model_dump(exclude_unset=True))
    found = at_once(request, lambda own: desk.look_up(own, actor, form.document, form.name))
    if found.taken:
        raise desk.AlreadyRegistered(found)
    number = form.guardian_number
    if number:
        at_once(request, lambda own: family.note_hit(own, actor, number))

    def work() -> Response:
        student = desk.register(db, actor, form)
        db.flush()  # the answer is read back
        key.note_read(actor, student.public_id, what="record")
        return one(student_record(db, student), status=201, location=ADDRESS + student.public_id)

    return key.once(db, work)


Changer = Annotated[Actor, requires(Permission.STUDENTS_CHANGE)]


class ChangeIn(In):
    """What is to be another; what is not named stays as it is."""

    model_config = example(phone="13811112222", reason="the family has a new number")

    document_type: DocumentType | None = None
    document_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    name: Name | None = None
    birth_date: Day | None = None
    sex: Annotated[str, Coded(("1", "2"))] | None = None
    ethnicity: Ethnicity | None = None
    student_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    phone: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    address: Words | None = None
    left_behind: LeftBehind | None = None
    health: Health | None = None
    disability: Disability | None = None
    reason: Words | None = None


_PLAIN = ("document_type", "name", "birth_date", "sex", "ethnicity", "left_behind", "health", "disability")


@router.patch(
    "/students/{student_id:pid}",
    operation_id="change_student",
    summary=said(_m("Change personal data")),
    description=said(_m("Only what is named changes. Made on a version: send its ETag in If-Match.")),
    response_model=StudentRecord,
)
def change_student(
    request: Request, actor: Changer, student_id: StudentId, body: ChangeIn, db: Db, if_match: IfMatch = None
) -> Response:
    if body.document_number or body.student_number:
        # A number may turn out to be somebody else's: that is a look-up, and counts as one.
        at_once(request, lambda own: throttle.take(own, Purpose.LOOK_UP, str(actor.account_id)))
    student = get_student(db, actor, student_id)
    must_match(if_match, student_record(db, student))
    note_read(request, actor, [student.public_id], what="record")
    values = {name: getattr(student, name) for name in _PLAIN} | body.model_dump(exclude_none=True)
    changes.change(db, actor, student, fill(ChangeForm, {**values, "version": student.version}))
    db.flush()  # the answer names the new version
    return one(student_record(db, student))


class EnrolmentIn(In):
    """Where the student learns from a day on."""

    model_config = example(grade="X6", class_no="2", boarding="1", study_state="01", since="2026-09-01")

    school: PublicId | None = None
    grade: Grade
    class_no: Annotated[str, Field(min_length=1, max_length=12)]
    boarding: Boarding
    study_state: StudyState
    since: Day


@router.post(
    "/students/{student_id:pid}/enrolments",
    operation_id="change_enrolment",
    summary=said(_m("Change where a student learns")),
    description=said(
        _m("From a day on: another school, class or state. The former enrolment ends the day before.")
    ),
    response_model=StudentRecord,
)
def change_enrolment(
    actor: Changer, student_id: StudentId, key: OnceKey, body: EnrolmentIn, db: Db, if_match: IfMatch = None
) -> Response:
    def work() -> Response:
        student = get_student(db, actor, student_id)
        must_match(if_match, student_record(db, student))
        form: EnrolmentForm = fill(
            EnrolmentForm, {**body.model_dump(exclude_none=True), "version": student.version}
        )
        changes.change_enrolment(db, actor, student, form)
        key.note_read(actor, student.public_id, what="record")
        db.flush()  # the answer names the new version
        return one(student_record(db, student))

    return key.once(db, work)


# --- One protected value in clear -----------------------------------------------------------------------------


class RevealIn(In):
    """Which value, and why: the reason is kept with the child."""

    model_config = example(field="phone", purpose="contact")

    field: Annotated[
        str,
        Field(pattern=r"^(document_number|student_number|phone|address|account_number|"
                      r"guardian\.[A-Za-z0-9_-]{22}\.(number|phone))$", examples=["phone"]),
    ]  # fmt: skip
    purpose: Annotated[str, Coded(revealing.PURPOSES)]
    note: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Revealed(Out):
    field: str
    value: str


@router.post(
    "/students/{student_id:pid}/reveal",
    operation_id="reveal_value",
    summary=said(_m("Show one protected value in clear")),
    description=said(_m("Within the budget of the day. Value and reason are noted with the child.")),
    response_model=Revealed,
)
def reveal_value(
    request: Request, actor: Annotated[Actor, requires(Permission.STUDENTS_REVEAL)], student_id: StudentId,
    body: RevealIn, db: ReadDb,
) -> Response:  # fmt: skip
    form: RevealForm = fill(RevealForm, body.model_dump(exclude_none=True))
    revealing.reason_of(form)
    at_once(request, lambda own: throttle.take(own, Purpose.REVEAL, str(actor.account_id)))
    student = get_student(db, actor, student_id)
    shown = revealing.reveal(db, actor, student, form)
    note_read(request, actor, [student.public_id], what=shown.what, reason=shown.reason)
    return one(Revealed(field=body.field, value=shown.value))
